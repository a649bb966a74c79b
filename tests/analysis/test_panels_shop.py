"""What the panels say of shops that log few kinds of events."""

from __future__ import annotations

from pyspark.sql import SparkSession

from purchasepath.analysis import report
from purchasepath.analysis.attribution import effects_frame, effects_of_events
from purchasepath.analysis.channels import summarize_channels, summarize_journeys
from purchasepath.analysis.funnel import summarize_funnel
from purchasepath.analysis.paths import summarize_paths
from purchasepath.analysis.transitions import summarize_transitions
from purchasepath.tables import catalog


def readings(spark: SparkSession, walks: list[str], steps: list[str]) -> dict[str, str]:
    """Panel -> what it says of the sessions, about the shop."""
    rows = []
    for number, walk in enumerate(walks):
        types = walk.split()
        rows.append({"session_id": str(number), "user_id": str(number), "event_types": types, "num_events": len(types),
                     "offsets_us": [1_000_000 * i for i in range(len(types))], "prices": [2.0] * len(types),
                     "num_purchases": types.count("purchase"), "channel": ("ad", "email")[number % 2]})
    sessions = catalog.SESSIONS.frame(spark, rows).cache()
    transitions = summarize_transitions(sessions).cache()
    tables = {
        catalog.SESSIONS: sessions, catalog.FUNNEL: summarize_funnel(sessions, steps, []),
        catalog.TRANSITIONS: transitions,
        catalog.REMOVAL_EFFECTS: effects_frame(spark, effects_of_events(transitions)),
        catalog.PATHS: summarize_paths(sessions, path_length=8, top_paths=20),
        catalog.CHANNELS: summarize_channels(summarize_journeys(sessions)),
    }
    answers = report.ask(spark, tables.get)
    shown = [report.show(panel, answers) for panel in report.all_panels()]
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
