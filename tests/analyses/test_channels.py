"""Channels: journeys by hand, and the credit shared as the reference of a known package shares it."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.analyses import channels
from purchasepath.analyses.channels import (
    LEAVE,
    PURCHASE,
    START,
    channel_transitions,
    summarize_channels,
    summarize_journeys,
)
from purchasepath.analyses.removal_effects import removal_effects
from purchasepath.tables.catalog import SESSIONS

# the Markov part of the reference is simulated, and says how far it converged: 3.47 %
REFERENCE_NOISE = 0.035

Reference = dict[str, dict[str, list[float]]]


def visit(user: str, day: int, channel: str | None, **more: object) -> dict[str, object]:
    return {"user_id": user, "session_id": f"{user}{day}", "started_at": datetime(2024, 1, day, tzinfo=UTC),
            "channel": channel, **more}


def test_a_channel_may_have_any_name(spark: SparkSession) -> None:
    journeys = spark.createDataFrame([(["start", "purchase"], 3, 2), (["leave"], 4, 1)],
                                     "touches array<string>, journeys bigint, conversions bigint")
    effects = {r.channel: r.removal_effect for r in summarize_channels(journeys).collect()}
    assert effects == pytest.approx({"start": 2 / 3, "purchase": 2 / 3, "leave": 1 / 3})


def test_channels_stay_apart_whatever_their_names_differ_in(spark: SparkSession) -> None:
    names = ["Email", "email", "e-mail", "<img src=x>", "a&b{{7*7}}"]
    visits = [visit(f"u{n}", 1, name, num_purchases=1) for n, name in enumerate(names)]
    found = summarize_channels(summarize_journeys(SESSIONS.frame(spark, visits))).collect()
    assert {r.channel: (r.journeys, r.last_touch) for r in found} == dict.fromkeys(names, (1, 1.0))


def test_a_journey_ends_with_the_session_that_buys(spark: SparkSession) -> None:
    journeys = summarize_journeys(SESSIONS.frame(spark, [
        visit("ann", 3, "search", num_purchases=2), visit("ann", 1, "ad"), visit("ann", 4, "direct"),
        visit("bob", 1, "ad"), visit("bob", 2, "search", num_purchases=1),
        visit("cat", 1, None), visit("dan", 1, "ad"), visit("dan", 2, "search"), visit("eve", 1, "ad", is_bot=True),
    ]))
    assert sorted((r.touches, r.journeys, r.conversions) for r in journeys.collect()) == [
        (["ad", "search"], 3, 2), (["direct"], 1, 0), (["unknown"], 1, 0)]


def test_credit_of_journeys_worked_out_by_hand(spark: SparkSession) -> None:
    journeys = spark.createDataFrame(
        [(["ad", "search"], 3, 2), (["ad"], 4, 1), (["ad", "search", "ad"], 1, 1)],
        "touches array<string>, journeys bigint, conversions bigint")
    rows = {r.channel: r for r in summarize_channels(journeys).collect()}
    assert (rows["ad"].journeys, rows["search"].journeys) == (8, 4)
    assert (rows["ad"].first_touch, rows["search"].first_touch) == (4.0, 0.0)
    assert (rows["ad"].last_touch, rows["search"].last_touch) == (2.0, 2.0)
    assert rows["ad"].linear_touch == pytest.approx(2 / 2 + 1 + 2 / 3)
    assert rows["search"].linear_touch == pytest.approx(2 / 2 + 1 / 3)
    assert rows["ad"].removal_effect == pytest.approx(1.0)  # every journey begins with an ad
    assert rows["ad"].markov + rows["search"].markov == pytest.approx(4.0)


def test_rare_channels_share_a_name(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_CHANNELS", 1)
    visits = [visit("a", 1, "ad"), visit("b", 1, "ad"), visit("c", 1, "x"), visit("d", 1, None)]
    journeys = summarize_journeys(SESSIONS.frame(spark, visits))
    assert sorted((r.touches, r.journeys) for r in journeys.collect()) == [(["ad"], 2), (["other"], 2)]


@pytest.fixture(scope="module")
def marketing(spark: SparkSession, shared_data: Path) -> DataFrame:
    """10,000 weighted paths over 12 channels as journeys."""
    with gzip.open(shared_data / "attribution" / "paths.csv.gz", "rt") as file:
        rows = [(row["path"].split(" > "), int(row["total_conversions"]) + int(row["total_null"]),
                 int(row["total_conversions"])) for row in csv.DictReader(file, delimiter=";")]
    return spark.createDataFrame(rows, "touches array<string>, journeys bigint, conversions bigint").cache()


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Reference:
    """The printed tables of the reference: heading column -> channel -> numbers."""
    text = (shared_data / "attribution" / "reference_output.txt").read_text()
    tables: Reference = {}
    heading = ""
    for line in io.StringIO(text):
        words = line.split()
        if words and words[0].startswith("channel_"):
            heading = words[1]
            tables[heading] = {}
        elif heading and len(words) > 2 and words[0].isdigit():
            key = words[1] if heading != "channel_to" else f"{words[1]}>{words[2]}"
            tables[heading][key] = [float(w) for w in words[(3 if heading == "channel_to" else 2):]]
    return tables


def test_heuristics_equal_and_removal_effects_agree_with_the_reference(
    marketing: DataFrame, reference: Reference
) -> None:
    ours = {r.channel: r for r in summarize_channels(marketing).collect()}
    heuristics, simulated = reference["first_touch_conversions"], reference["removal_effects_conversion"]
    assert ours.keys() == heuristics.keys() == simulated.keys()
    assert len(ours) == 12
    for channel, row in ours.items():
        first, _, last, _, linear, _ = heuristics[channel]
        assert (row.first_touch, row.last_touch) == (first, last)
        assert row.linear_touch == pytest.approx(linear, abs=1e-6)
        effect, markov = simulated[channel][0], reference["total_conversions"][channel][0]
        assert row.removal_effect == pytest.approx(effect, abs=REFERENCE_NOISE)
        if effect >= 0.05:  # of rarer channels the reference simulated too few paths for a relative comparison
            assert row.removal_effect == pytest.approx(effect, rel=REFERENCE_NOISE)
            assert row.markov == pytest.approx(markov, rel=REFERENCE_NOISE)


def test_transition_probabilities_equal_the_reference(marketing: DataFrame, reference: Reference) -> None:
    # the reference leaves out repeats of a channel, which changes no removal effect
    whole = channel_transitions(marketing)
    counts = {pair: n for pair, n in whole.items() if pair[0] != pair[1] and n > 0}
    with_repeats, without = (
        [e.removal_effect for e in removal_effects(c, start=START, goal=PURCHASE)] for c in (whole, counts))
    assert without == pytest.approx(with_repeats)
    totals: dict[str, float] = defaultdict(float)
    for (source, _), count in counts.items():
        totals[source] += count
    # the reference numbers its channels in the order of its tables
    numbers = {name: str(n) for n, name in enumerate(reference["first_touch_conversions"], start=1)}
    names = {START: "(start)", PURCHASE: "(conversion)", LEAVE: "(null)", **numbers}
    ours = {f"{names[s]}>{names[t]}": count / totals[s] for (s, t), count in counts.items()}
    expected = {pair: probability for pair, (probability,) in reference["channel_to"].items()}
    assert ours == pytest.approx(expected, abs=6e-7)
