from __future__ import annotations

from pathlib import Path

import pytest
import torch

from purchasepath.training.checkpoint import Checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    """Checkpoints after 10, 20 and 30 updates; each holds its number."""
    checkpoints = Checkpoints(tmp_path, "config-and-data")
    for update in (10, 20, 30):
        checkpoints.save(update, {"w": torch.full((100,), float(update))}, {"updates": update})
    return checkpoints


def loaded(checkpoints: Checkpoints) -> float | None:
    found = checkpoints.load()
    if found is None:
        return None
    assert found.state["updates"] == found.tensors["w"][0].item()
    return found.tensors["w"][0].item()


def test_the_newest_is_loaded_and_the_newest_two_are_kept(saved: Checkpoints) -> None:
    assert loaded(saved) == 30
    assert sorted(f.name for f in saved.directory.iterdir()) == [
        "step-00000020.json", "step-00000020.safetensors", "step-00000030.json", "step-00000030.safetensors",
    ]


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_truncated_file_makes_the_previous_one_count(saved: Checkpoints, suffix: str) -> None:
    file = saved.directory / f"step-00000030.{suffix}"
    file.write_bytes(file.read_bytes()[:-20])
    assert loaded(saved) == 20


def test_a_flipped_byte_makes_the_previous_one_count(saved: Checkpoints) -> None:
    file = saved.directory / "step-00000030.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert loaded(saved) == 20


def test_a_kill_between_the_two_files_makes_the_previous_one_count(saved: Checkpoints) -> None:
    (saved.directory / "step-00000030.json").unlink()
    assert loaded(saved) == 20


def test_all_damaged_is_as_none(saved: Checkpoints) -> None:
    for file in saved.directory.glob("*.safetensors"):
        file.write_bytes(b"")
    assert loaded(saved) is None


def test_a_run_with_another_config_or_other_data_does_not_resume(saved: Checkpoints) -> None:
    assert loaded(Checkpoints(saved.directory, "something else")) is None


def test_a_missing_directory_has_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere", "x").load() is None


def test_clear_leaves_nothing(saved: Checkpoints) -> None:
    saved.clear()
    assert not list(saved.directory.iterdir())
