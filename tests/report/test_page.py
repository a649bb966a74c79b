"""The report: figures that a real browser draws, on a desk and on a phone, from every table or from none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from purchasepath.analyses import books, bots, first_steps
from purchasepath.analyses.catalog import ALL_TABLES, REPORT
from purchasepath.errors import UserError
from purchasepath.report import page
from purchasepath.sessions.bots import count_sessions, left_out, measure_bots
from purchasepath.sessions.visitors import count_visitors
from purchasepath.tables import catalog
from tests.analyses.shop import EVIL_CHANNEL, EVIL_ITEM, EVIL_REASON, WALKS, all_tables, session_rows
from tests.report.browser import open_page

NOW = datetime(2024, 2, 1, 12, 30, tzinfo=UTC)
DESK, PHONE = 1280, 390


@pytest.fixture(scope="module")
def answers(spark: SparkSession) -> page.Answers:
    return page.ask(spark, REPORT.queries, all_tables(spark).get)


@pytest.fixture(scope="module")
def shown(answers: page.Answers, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What the browser shows of the full report, by width."""
    directory = tmp_path_factory.mktemp("page")
    page.write_report(page.render(REPORT, answers, now=NOW), directory / "report.html")
    return open_page(directory / "report.html", [DESK, PHONE], tmp_path_factory.mktemp("profile"))


def test_the_browser_draws_every_figure_of_every_panel(
    answers: page.Answers, shown: dict[int, dict[str, Any]]
) -> None:
    panels = [page.show(panel, answers) for panel in REPORT.panels]
    expected = {f"figure-{p.panel.name}" for p in panels if p.content and p.content.figure}
    assert len(expected) > 10
    for width in (DESK, PHONE):
        figures = shown[width]["figures"]
        assert figures.keys() == expected
        assert {name: figure["state"] for name, figure in figures.items()} == dict.fromkeys(expected, "drawn")


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_figures_hold_their_marks(shown: dict[int, dict[str, Any]], width: int) -> None:
    figures = shown[width]["figures"]
    assert figures["figure-days"]["bars"] == 7
    assert figures["figure-days"]["lines"] == 1
    assert figures["figure-funnel"]["bars"] == 4
    assert figures["figure-funnel-channel"]["bars"] == 3 * 3
    assert figures["figure-funnel-price"]["bars"] == 2 * 3
    assert figures["figure-funnel-device"]["bars"] == 2 * 3
    assert figures["figure-transitions"]["cells"] > 10
    assert figures["figure-removal-effects"]["bars"] == 2 * 6
    assert figures["figure-channels"]["bars"] == 3 * 4
    assert figures["figure-next-item"]["bars"] == 2 * 2
    assert figures["figure-purchase"]["bars"] == 2
    assert figures["figure-calibration"]["lines"] == 2
    assert figures["figure-training"]["lines"] == 2
    assert figures["figure-scores"]["bars"] == 40
    assert figures["figure-top-items"]["bars"] == 6
    assert figures["figure-books"]["bars"] == 3
    # start; search, category and view; ...; purchase and leave once each
    assert figures["figure-first-steps"]["nodes"] > 8
    assert figures["figure-first-steps"]["links"] > 12


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_nothing_is_wider_than_the_page_or_its_card(shown: dict[int, dict[str, Any]], width: int) -> None:
    drawn = shown[width]
    assert drawn["page_width"] == width
    assert drawn["content_width"] <= width
    for figure in drawn["figures"].values():
        assert 0 < figure["drawn_width"] <= figure["width"] < width


def test_the_page_loads_nothing_from_anywhere(shown: dict[int, dict[str, Any]]) -> None:
    assert shown[DESK]["resources"] == []


def test_words_from_the_data_are_shown_and_never_run(shown: dict[int, dict[str, Any]]) -> None:
    for drawn in shown.values():
        assert drawn["hacked"] is None
        assert drawn["injected"] == 0
        assert EVIL_CHANNEL in drawn["figures"]["figure-funnel-channel"]["labels"]
        assert EVIL_ITEM in drawn["figures"]["figure-top-items"]["labels"]
        assert EVIL_REASON in drawn["text"]


def test_words_from_the_data_stand_nowhere_in_the_page_as_markup(answers: page.Answers) -> None:
    html = page.render(REPORT, answers, now=NOW)
    assert not [word for word in (EVIL_CHANNEL, EVIL_ITEM, EVIL_REASON) if word in html]
    assert [words in html for words in ("window.hacked=1", "window.hacked=2", "&lt;b&gt;price")] == [True] * 3


def test_findings_are_said_in_words_with_their_numbers(answers: page.Answers) -> None:
    readings = {p.panel.name: p.content.reading for panel in REPORT.panels
                if (p := page.show(panel, answers)).content}
    # by hand from WALKS: 425 sessions, every fiftieth a bot's
    assert "417 sessions" in readings["headline"]
    assert "8 of 425 sessions" in readings["bots"]
    assert readings["next-item"] == (
        "At guessing the next item the model beats the baseline with the highest Recall@10: 0.300 against 0.200 for "
        "First-order Markov; the difference lies between +0.040 and +0.160.")
    assert "epoch 3 had the lowest validation loss (1.6667)" in readings["training"]
    assert "the books balance" in readings["books"]
    # view, cart and checkout are on the way of every purchase, and search leads to views like any other beginning
    assert readings["removal-effects"].startswith(
        "No step beside what belongs to every purchase (cart, checkout, view) is passed more often on the way")


def test_bots_take_the_same_out_on_the_page_as_in_sessionize(spark: SparkSession, answers: page.Answers) -> None:
    rows = answers[bots.QUERY]
    assert not isinstance(rows, page.Missing)
    sessions = all_tables(spark)[catalog.SESSIONS]
    expected = measure_bots(count_sessions(sessions), count_visitors(sessions, sum(row["events"] for row in rows)))
    assert left_out(rows, sum(row["visitors_revenue"] or 0.0 for row in rows),
                    sum(row["visitors_purchases"] or 0 for row in rows)) == expected
    assert (expected.num_sessions, expected.flagged) == (425, 8)
    assert 0 < expected.value <= expected.value_of_visitors


def test_how_it_was_measured_is_said_once_and_what_each_model_saw_beside_it(answers: page.Answers) -> None:
    [panel] = [panel for panel in REPORT.panels if panel.name == "next-item"]
    content = page.show(panel, answers).content
    assert content
    assert content.hint == ("Measured on 400 cases. Whole catalogue; data: a shop. Purchasepath: purchasepath counted. "
                    "First-order Markov: markov_1 counted. In brackets and as whiskers: 95\u00a0% intervals, from "
                    "resampling visitors.")


def test_first_steps_agree_with_a_loop(answers: page.Answers) -> None:
    expected: Counter[tuple[int, str, str]] = Counter()
    for row in session_rows():
        if row["is_bot"]:
            continue
        types = row["event_types"]
        assert isinstance(types, list)
        ended = types[: types.index("purchase") + 1] if "purchase" in types else [*types, "leave"]
        states = ["start", *(state for state, _ in groupby(ended))]
        expected.update((step, *pair) for step, pair in enumerate(pairwise(states)) if step < 5)
    rows = answers[first_steps.QUERY]
    assert not isinstance(rows, page.Missing)
    assert {(r["step"], r["from_state"], r["to_state"]): r["sessions"] for r in rows} == expected
    assert sum(times for _, times in WALKS) == len(session_rows())


def test_without_tables_each_panel_names_the_command_that_makes_them(spark: SparkSession) -> None:
    html = page.render(REPORT, page.ask(spark, REPORT.queries, lambda table: None), now=NOW)
    for stage in ("ingest", "sessionize", "analyze", "train", "evaluate", "score"):
        assert f"./spark-submit.sh {stage}<" in html
    assert "data-figure=" not in html.split("<script>")[0]
    assert "SYNTHETIC DATA" not in html


def test_tables_without_rows_are_no_error(spark: SparkSession) -> None:
    answers = page.ask(spark, REPORT.queries, lambda table: table.frame(spark).where("false"))
    html = page.render(REPORT, answers, now=NOW)
    assert "There are no sessions of people in the warehouse." in html
    assert html.count("There is nothing to show") > 10


def test_synthetic_data_is_labelled_and_real_data_is_not(answers: page.Answers) -> None:
    assert "SYNTHETIC DATA" in page.render(REPORT, answers, now=NOW)
    told = {**_books(answers), "source": "retailrocket"}
    real: Mapping[Any, Any] = {**answers, REPORT.source: [told]}
    assert "SYNTHETIC DATA" not in page.render(REPORT, real, now=NOW)


def _books(answers: page.Answers) -> Mapping[str, Any]:
    rows = answers[books.QUERY]
    assert not isinstance(rows, page.Missing)
    return rows[0]


def test_asking_leaves_no_views_behind(spark: SparkSession, answers: page.Answers) -> None:
    left = {table.name for table in spark.catalog.listTables() if table.isTemporary}
    assert left.isdisjoint(table.name for table in ALL_TABLES)


def test_a_report_that_cannot_be_written_says_where_and_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    page.write_report("old", target)
    page.write_report("new", target)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("report.html", "new")]
    with pytest.raises(UserError, match=r"paths\.report"):
        page.write_report("lost", target / "below-a-file.html")
