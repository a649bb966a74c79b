from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest

from purchasepath.config import Training
from purchasepath.errors import ConfigError, UserError
from purchasepath.job import guarded
from purchasepath.training.failures import Failure, lost_ranks, raise_first
from purchasepath.training.launch import RankOutput, _is_news, check_slots, run_on_ranks
from purchasepath.training.ranks import Ranks


def session(master: str) -> SimpleNamespace:
    return SimpleNamespace(sparkContext=SimpleNamespace(master=master))


@pytest.mark.parametrize("master", ["local", "local[1]", "local[1, 4]"])
def test_too_few_local_slots_are_refused_with_the_master_to_use(master: str) -> None:
    with pytest.raises(UserError, match=r"has 1 task slot for 2 ranks .* use --master local\[2\]"):
        check_slots(session(master), 2)


@pytest.mark.parametrize("master", ["local[2]", "local[8]", "local[3,2]", "spark://host:7077", "yarn"])
def test_enough_slots_and_clusters_pass(master: str) -> None:
    check_slots(session(master), 2)


@pytest.mark.parametrize("master", ["local[2]", "local[2,1]"])
def test_elastic_ranks_need_a_local_spark_that_starts_tasks_again(master: str) -> None:
    with pytest.raises(UserError, match=r"use --master local\[2,4\]"):
        check_slots(session(master), 2, elastic=True)


@pytest.mark.parametrize("master", ["local[2,4]", "local[*, 8]", "spark://host:7077"])
def test_elastic_ranks_run_where_tasks_are_started_again(master: str) -> None:
    check_slots(session(master), 1, elastic=True)


def test_elastic_ranks_of_torch_are_refused() -> None:
    config = Training(backend="torch", elastic=True)
    with pytest.raises(ConfigError, match=r"training\.backend=horovod, found torch"):
        run_on_ranks(lambda ranks, request: None, "", spark=lambda: None, config=config)


def test_one_rank_runs_in_this_process_without_spark() -> None:
    seen = []

    def task(ranks: Ranks, request: str) -> None:
        seen.append((ranks.rank, ranks.size, request))

    def no_spark() -> None:
        raise AssertionError("asked for Spark")

    run_on_ranks(task, "{}", spark=no_spark, config=Training(ranks=1))
    assert seen == [(0, 1, "{}")]


def test_the_solo_backend_refuses_several_ranks() -> None:
    with pytest.raises(ConfigError, match=r"training\.ranks=1"):
        run_on_ranks(lambda ranks, request: None, "", spark=lambda: None, config=Training(ranks=2, backend="solo"))


def test_the_failure_that_the_others_followed_is_told() -> None:
    followed = Failure(0, "Horovod has been shut down", followed=True)
    with pytest.raises(RuntimeError, match="rank 1 failed:\nZeroDivisionError"):
        raise_first([followed, Failure(1, "ZeroDivisionError")])
    with pytest.raises(UserError, match=r"^the learning rate is too high$"):
        raise_first([followed, Failure(1, "the learning rate is too high", by_user=True)])
    with pytest.raises(RuntimeError, match="shut down"):
        raise_first([followed])
    raise_first([])


def test_a_lost_rank_is_a_failure_of_the_environment_not_a_defect() -> None:
    def lose() -> None:
        raise lost_ranks(2, "exit code 137")

    assert guarded(lose) == 2


def test_output_of_ranks_is_forwarded_without_the_launchers_prefix() -> None:
    written = io.BytesIO()
    output = RankOutput(io.TextIOWrapper(written), keep=2)  # as a file would, it holds lines back until it is flushed
    output.write("[1]<stdout>:first\n")
    output.write("[0]<stderr>:second\n[0]<stderr>:third\n")
    assert written.getvalue() == b"first\nsecond\nthird\n"
    assert list(output.last) == ["second", "third"]


def test_notes_of_py4j_and_horovod_on_their_own_bookkeeping_are_dropped() -> None:
    def record(path: str, level: int) -> logging.LogRecord:
        return logging.LogRecord("root", level, path, 1, "text", None, None)

    for path in ("/x/py4j/java_gateway.py", "/x/horovod/runner/elastic/driver.py"):
        assert not _is_news(record(path, logging.INFO))
        assert _is_news(record(path, logging.ERROR))
    assert _is_news(record("/x/other.py", logging.INFO))
