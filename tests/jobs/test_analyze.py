"""analyze: the tables of all analyses from SESSIONS, all of them or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs import analyze
from purchasepath.analyses.catalog import ANALYSES
from purchasepath.analyses.funnel import FUNNEL
from purchasepath.config import load_config
from purchasepath.errors import ConfigError, TableMissingError
from purchasepath.job import Job
from purchasepath.tables.catalog import SESSIONS

TABLES = [table for analysis in ANALYSES for table in analysis.tables]


def open_job(spark: SparkSession, scratch: Path, *overrides: str) -> Job:
    paths = [f"paths.warehouse={scratch / 'warehouse'}", f"paths.runs={scratch / 'runs'}"]
    return Job("analyze", load_config([], [*paths, *overrides]), spark=spark)


def write_sessions(job: Job, sessions: DataFrame) -> None:
    with job.warehouse.transaction("sessions") as tx:
        tx.write(SESSIONS, sessions)


def session(number: int, types: str) -> dict[str, object]:
    words = types.split()
    return {"session_id": str(number), "user_id": str(number), "event_types": words, "prices": [9.5] * len(words),
            "offsets_us": [1_000_000 * n for n in range(len(words))]}


def test_analyze_writes_its_tables_and_says_what_it_left_out(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    write_sessions(job, SESSIONS.frame(spark, [
        session(1, "view cart purchase"), session(2, "view cart"), session(3, "view"), session(4, "search view")]))

    summary = analyze.run(job)

    assert summary.rows == {t.name: job.warehouse.read(t).count() for t in TABLES}
    assert all(summary.rows.values())
    steps = job.warehouse.read(FUNNEL).where("dimension = 'all'").orderBy("step_number").collect()
    assert [(r.step, r.sessions) for r in steps] == [("view", 4), ("cart", 2), ("purchase", 1)]
    assert any("checkout" in line and "left out" in line for line in summary.lines)
    assert not any("decides" in line for line in summary.lines)


def test_the_step_that_decides_is_told_with_how_sure_that_is(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    walks = ["view cart purchase"] * 3 + ["view purchase"] * 2 + ["view cart"] + ["view"] * 6
    write_sessions(job, SESSIONS.frame(spark, [session(n, walks[n % 12]) for n in range(240)]))
    [line] = [line for line in analyze.run(job).lines if "decides" in line]
    # 4 of 12 get to the cart and 3 of them buy, 2 of the other 8: .6 of the purchases go through it
    assert line.startswith("the step that decides is cart: 33.3% of the sessions get there, 60.0% of the purchases go "
                           "through it (95 %: +")


@pytest.mark.parametrize(("walks", "knob", "steps", "told"), [
    (["purchase", "purchase purchase"], "", [("purchase", 2)],
     "left out of the funnel, no session has them: view, cart, checkout"),
    (["view purchase", "view"], "", [("view", 2), ("purchase", 1)],
     "left out of the funnel, no session has them: cart, checkout"),
    (["view", "purchase"], "analyze.funnel=[purchase]", [("purchase", 1)], "funnel: purchase"),
    (["view", "view"], "analyze.funnel=[view, purchase]", [("view", 2)],
     "left out of the funnel, no session has them: purchase"),
    (["search"], "analyze.funnel=[view, purchase]", [("view", 0), ("purchase", 0)],
     "no session has a step of the funnel: view, purchase"),
])
def test_the_funnel_has_the_steps_that_the_shop_logs(
    spark: SparkSession, tmp_path: Path, walks: list[str], knob: str, steps: list[tuple[str, int]], told: str
) -> None:
    job = open_job(spark, tmp_path, *([knob] if knob else []))
    write_sessions(job, SESSIONS.frame(spark, [session(number, types) for number, types in enumerate(walks)]))
    summary = analyze.run(job)
    found = job.warehouse.read(FUNNEL).where("dimension = 'all'").orderBy("step_number").collect()
    assert [(r.step, r.sessions) for r in found] == steps
    assert told in summary.lines


def test_a_funnel_step_that_is_no_event_type_fails_before_anything_is_read(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path, "analyze.funnel=[view, chekout, purchase]")
    with pytest.raises(ConfigError, match="did you mean `checkout`"):
        analyze.run(job)


def test_without_sessions_analyze_names_the_stage_to_run(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TableMissingError, match=r"spark-submit\.sh sessionize"):
        analyze.run(open_job(spark, tmp_path))


def test_no_sessions_at_all_give_empty_tables(spark: SparkSession, tmp_path: Path) -> None:
    job = open_job(spark, tmp_path)
    write_sessions(job, SESSIONS.frame(spark))
    assert set(analyze.run(job).rows.values()) == {0}
