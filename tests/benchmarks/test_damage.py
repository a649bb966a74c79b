"""A sample of benchmarks/damage.py: no damage passes unnoticed, and none ends in a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from benchmarks.damage import DETECTED, HARMLESS, OTHERS, OUTCOMES, Target, build_shop, run, targets_of, try_damage
from purchasepath.errors import DamagedFileError


def test_what_becomes_of_damage_is_told_by_rows_and_exit_code(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"right" * 9)
    other.write_bytes(b"other" * 9)

    def read() -> tuple[int, ...]:
        return tuple(file.read_bytes())

    def careful() -> tuple[int, ...]:
        if not file.exists() or read() != truth:
            raise DamagedFileError(file, "is not what it was")
        return truth

    truth = read()
    careless, named = (Target("t", [file, other], reader) for reader in (read, careful))
    outcomes = {try_damage(careless, truth, OTHERS["exchanged"], random.Random(0)),
                try_damage(named, truth, OTHERS["exchanged"], random.Random(0))}
    assert outcomes == {"unnoticed", DETECTED}
    gone = Target("t", [file], read)
    assert try_damage(gone, truth, OTHERS["deleted"], random.Random(0)) == "traceback"
    assert file.read_bytes() == b"right" * 9  # put right again
    assert try_damage(Target("t", [other], read), truth, OTHERS["deleted"], random.Random(0)) == HARMLESS


@pytest.mark.slow
def test_no_damage_to_a_small_shop_passes_unnoticed(spark: SparkSession, tmp_path: Path) -> None:
    targets = targets_of(spark, build_shop(spark, tmp_path, users=60))
    counts = run(targets, flips=64, others=24, seed=11)
    told = {outcome: sum(n for (_, found), n in counts.items() if found == outcome) for outcome in OUTCOMES}
    assert sum(told.values()) == 88
    assert told["unnoticed"] == told["traceback"] == 0, counts
    assert told[DETECTED] > 60
