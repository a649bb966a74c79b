"""Peers in environments of their own: made once, found again, and asked for figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.feeds.generated_examples import THREE_LISTS, write_examples
from benchmarks.peers import environments
from benchmarks.peers.environments import (
    PeerEnvironment,
    PeerFailedError,
    PeerUnavailableError,
    ask_peer,
    find_python,
    peer_python,
)

PEERS = Path(environments.__file__).parent
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
PEER = PeerEnvironment("peer", THIS, (("first==1",), ("second==2", "third==3")))


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that make environments, which only leave a python where `venv` would."""
    commands: list[list[str]] = []

    def run(command: list[Any], environment: PeerEnvironment) -> None:
        commands.append([str(word) for word in command])
        if "venv" in commands[-1]:
            (environment.directory / "bin").mkdir(parents=True)
            (environment.directory / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(environments, "_run", run)
    return commands


def test_an_environment_is_made_step_by_step_and_once(ran: list[list[str]], tmp_path: Path) -> None:
    python = peer_python(PEER)
    assert python.is_relative_to(tmp_path / "purchasepath" / "peers")
    assert [command[command.index("install") + 1:] for command in ran[1:]] == [["first==1"], ["second==2", "third==3"]]
    assert peer_python(PEER) == python
    assert len(ran) == 3
    assert peer_python(PeerEnvironment("peer", THIS, (("first==2",),))) != python


def test_an_interrupted_environment_is_made_again(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = environments._run

    def fail(command: list[Any], environment: PeerEnvironment) -> None:
        whole(command, environment)
        if "second==2" in command:
            raise PeerUnavailableError("the network is gone")

    monkeypatch.setattr(environments, "_run", fail)
    with pytest.raises(PeerUnavailableError):
        peer_python(PEER)
    (PEER.directory / "half").touch()
    monkeypatch.setattr(environments, "_run", whole)
    assert peer_python(PEER).exists()
    assert not (PEER.directory / "half").exists()


def test_a_step_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailableError, match=r"exit code 3:\nno such release"):
        environments._run([sys.executable, "-c", "print('no such release'); raise SystemExit(3)"], PEER)


def test_a_python_of_pyenv_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "versions" / "2.7.18" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 2.7\n")
    python.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_python(PeerEnvironment("old", "2.7", ())) == python
    with pytest.raises(PeerUnavailableError, match=r"expected to run on Python 2\.6; found none"):
        find_python(PeerEnvironment("old", "2.6", ()))


def test_a_peer_answers_with_its_last_line_and_without_our_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "peer.py"
    script.write_text("import json, os, sys\n"
                      "print('on its way')\n"
                      "print(json.dumps({'given': sys.argv[1:], 'path': os.environ.get('PYTHONPATH')}))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ask_peer(Path(sys.executable), script, "a", tmp_path) == {"given": ["a", str(tmp_path)], "path": None}


@pytest.mark.parametrize("code", ["print('{}'); raise SystemExit(1)", "print('no figures')", ""])
def test_a_peer_without_figures_is_an_error(code: str, tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text(code)
    with pytest.raises(PeerFailedError, match=r"expected figures from peer\.py"):
        ask_peer(Path(sys.executable), tmp_path / "peer.py")


def test_petastorms_script_reads_every_example_once(tmp_path: Path) -> None:
    """With the Petastorm installed here: the script is the same, whatever environment it runs in."""
    write_examples(tmp_path, 600, 64)
    tokens = sum(len(row) for row in pq.read_table(tmp_path / "ragged")["type"].to_pylist())
    settings = {"columns": THREE_LISTS, "batch_size": 50, "workers": 2}
    told = ask_peer(Path(sys.executable), PEERS / "stock_petastorm.py", tmp_path / "padded", json.dumps(settings))
    assert (told["sequences"], told["tokens"]) == (600, tokens)
    assert told["cpu_seconds"] > 0
    assert told["versions"]["petastorm"].startswith("0.12.1")
