"""What the panels say of shops that log few kinds of events."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from purchasepath.analyses.catalog import REPORT
from purchasepath.analyses.funnel import draw_parts
from purchasepath.report import page
from purchasepath.tables import catalog
from tests.analyses.shop import run_analyses


def readings(spark: SparkSession, walks: list[str], steps: list[str]) -> dict[str, str]:
    """Panel -> what it says of the sessions, about the shop."""
    rows = []
    for number, walk in enumerate(walks):
        types = walk.split()
        rows.append({"session_id": str(number), "user_id": str(number), "event_types": types, "num_events": len(types),
                     "offsets_us": [1_000_000 * i for i in range(len(types))], "prices": [2.0] * len(types),
                     "num_purchases": types.count("purchase"), "channel": ("ad", "email")[number % 2]})
    sessions = catalog.SESSIONS.frame(spark, rows).cache()
    tables = {catalog.SESSIONS: sessions, **run_analyses(sessions, f"analyze.funnel=[{','.join(steps)}]")}
    answers = page.ask(spark, REPORT.queries, tables.get)
    shown = [page.show(panel, answers) for panel in REPORT.panels]
    return {panel.panel.name: panel.content.reading for panel in shown if panel.content}


def test_a_funnel_of_one_step_compares_nothing(spark: SparkSession) -> None:
    said = readings(spark, ["purchase"] * 70 + ["purchase purchase"], ["purchase"])
    assert said["funnel"].startswith("71 sessions have a purchase, the only step of the funnel")
    assert said["funnel-channel"].startswith("The funnel has one step alone, purchase")
    assert said["first-steps"].startswith("100")
    assert said["buying-paths"].startswith("The most walked way to a purchase is purchase")


def test_a_funnel_of_views_and_purchases_goes_from_one_to_the_other(spark: SparkSession) -> None:
    said = readings(spark, ["view purchase", "view", "view", "view"], ["view", "purchase"])
    assert "Of 4 sessions with a view, 1 (25.0" in said["funnel"]
    assert "between view and purchase" in said["funnel"]


def funnel_rows(bought: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows of a funnel of two steps, from value -> (purchases, sessions)."""
    return [{"value": value, "step_number": number, "step": step, "sessions": n, "share_of_first": n / sessions}
            for value, (hits, sessions) in bought.items()
            for number, step, n in ((1, "view", sessions), (2, "purchase", hits))]


def test_parts_of_a_funnel_are_told_apart_where_they_differ_by_more_than_chance() -> None:
    apart = draw_parts(funnel_rows({"ad": (20, 400), "email": (60, 400), "search": (40, 400)}), "channel")
    assert apart.reading.startswith("Channel email gets to purchase most often (15.0")
    alike = draw_parts(funnel_rows({"ad": (20, 400), "email": (30, 400), "search": (25, 400)}), "channel")
    assert alike.reading.startswith("Between the channels there is no difference that could not be chance: of sessions "
                                    "with a view, 5.0")
