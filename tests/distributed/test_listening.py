"""Nobody from outside is let in: what ranks and the services around them listen on, as the system tells it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from purchasepath.config import load_config
from purchasepath.errors import ConfigError
from purchasepath.storage.session import build_session
from purchasepath.training.interfaces import address_of, choose_interface, horovod_listens_on
from purchasepath.training.launch import run_on_ranks
from purchasepath.training.ranks import Ranks
from tests.conftest import ROOT
from tests.distributed.sockets import exposed, listeners, watched

LEAST = {"horovod": 5, "torch": 3}
"""Of two ranks. Horovod: its driver, rendezvous and two tasks; torch: a store; and for both one of Gloo per rank."""


def _stay(ranks: Ranks, request: str) -> None:
    ranks.barrier()
    time.sleep(1.5)
    ranks.barrier()


@pytest.mark.parametrize("backend", ["horovod", "torch"])
def test_two_ranks_listen_on_loopback_alone(spark: Any, backend: str) -> None:
    config = load_config([], ["training.ranks=2", f"training.backend={backend}", "training.timeout_minutes=2"])
    before = listeners({os.getpid()})
    with watched({os.getpid()}, every=0.1) as found:  # some are there for a moment
        run_on_ranks(_stay, "", spark=lambda: spark, config=config.training)
    assert len(found - before) >= LEAST[backend]
    assert not exposed(found - before)


@pytest.mark.slow
def test_elastic_ranks_listen_on_loopback_alone() -> None:
    with subprocess.Popen([sys.executable, "-m", "tests.distributed.test_listening"], cwd=ROOT) as process, \
            watched({process.pid}, every=0.1) as found:
        assert process.wait(240) == 0
    assert len(found) >= LEAST["horovod"]
    assert not exposed(found)


def test_a_service_of_horovod_listens_where_it_is_told(tmp_path: Path) -> None:
    from horovod.runner.http.http_server import RendezvousServer

    with horovod_listens_on("lo"):
        server = RendezvousServer()
        port = server.start()
    assert server._httpd.server_address == ("127.0.0.1", port)
    server.stop()
    server._httpd.server_close()


def test_an_interface_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config([], ["training.network_interface=eth77"]).training
    monkeypatch.setattr("purchasepath.training.interfaces.on_one_machine", lambda _: False)
    with pytest.raises(ConfigError, match=r"training\.network_interface: found `eth77`; expected one of .*lo"):
        choose_interface(None, config)  # type: ignore[arg-type]


def test_on_one_machine_nothing_but_loopback_will_do(spark: Any) -> None:
    config = load_config([], ["training.network_interface=eth0"]).training
    assert address_of(choose_interface(spark, config)) == socket.gethostbyname("localhost") == "127.0.0.1"


if __name__ == "__main__":
    chosen = load_config([], ["training.ranks=2", "training.elastic=true", "training.timeout_minutes=3"])
    session = build_session("listening", chosen, master="local[2,4]")
    run_on_ranks(_stay, "", spark=lambda: session, config=chosen.training)
