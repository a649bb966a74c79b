"""Funnel: steps in order, against a plain loop; bands; books of the table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from purchasepath.analyses.funnel import check_steps, observe, price_band, steps_reached, summarize_funnel
from purchasepath.errors import ConfigError
from purchasepath.tables.catalog import EVENT_TYPES, SESSIONS

STEPS = ("view", "cart", "purchase")


def session(types: str, **more: object) -> dict[str, object]:
    words = types.split()
    return {"event_types": words, "prices": [None] * len(words), **more}


def reached_by_search(types: list[str], steps: list[str]) -> int:
    """The longest prefix of `steps` for which some choice of increasing positions exists, tried one by one."""
    ends = {-1}
    for n, step in enumerate(steps):
        ends = {i for i, t in enumerate(types) if t == step and any(end < i for end in ends)}
        if not ends:
            return n
    return len(steps)


@pytest.mark.parametrize(("types", "expected"), [
    ("view cart view purchase", 3),
    ("cart view purchase", 1),
    ("view purchase cart", 2),
    ("purchase", 0),
    ("cart view cart search purchase", 3),
    ("view view view", 1),
])
def test_steps_count_only_in_order(spark: SparkSession, types: str, expected: int) -> None:
    frame = SESSIONS.frame(spark, [session(types)])
    assert frame.select(steps_reached(F.col("event_types"), STEPS)).collect()[0][0] == expected


def test_steps_reached_agrees_with_trying_all_positions(spark: SparkSession) -> None:
    cases: list[tuple[list[str], list[str]]] = []

    @given(st.lists(st.sampled_from(["view", "cart", "purchase", "search"]), max_size=7),
           st.lists(st.sampled_from(["view", "cart", "purchase"]), min_size=2, max_size=4))
    def collect(types: list[str], steps: list[str]) -> None:
        cases.append((types, steps))

    collect()
    by_steps: dict[tuple[str, ...], list[list[str]]] = {}
    for types, steps in cases:
        by_steps.setdefault(tuple(steps), []).append(types)
    # one Spark query for all cases: a column per funnel, a row per case
    funnels = list(by_steps)
    rows = [(number, types) for number, funnel in enumerate(funnels) for types in by_steps[funnel]]
    frame = spark.createDataFrame(rows, "funnel int, types array<string>")
    reached = F.array(*(steps_reached(F.col("types"), funnel) for funnel in funnels))
    found = frame.select("funnel", "types", F.get(reached, F.col("funnel")).alias("reached")).collect()
    assert len(found) == len(cases)
    assert [row.reached for row in found] == [reached_by_search(row.types, list(funnels[row.funnel])) for row in found]


def test_funnel_by_channel_with_bots_left_out(spark: SparkSession) -> None:
    sessions = SESSIONS.frame(spark, [
        session("view cart purchase", channel="ad"),
        session("view cart", channel="ad"),
        session("view", channel="ad"),
        session("view", channel="ad"),
        session("search", channel=None),
        session("view cart purchase", channel="ad", is_bot=True),
    ])
    funnel = summarize_funnel(sessions, STEPS, []).where("dimension = 'channel'").orderBy("value", "step_number")
    assert [(r.value, r.step, r.sessions, r.share_of_first, r.drop_off) for r in funnel.collect()] == [
        ("ad", "view", 4, 1.0, 0.0), ("ad", "cart", 2, 0.5, 0.5), ("ad", "purchase", 1, 0.25, 0.5),
        ("unknown", "view", 0, 0.0, 0.0), ("unknown", "cart", 0, 0.0, 0.0), ("unknown", "purchase", 0, 0.0, 0.0),
    ]


def test_every_dimension_adds_up_to_all_sessions(spark: SparkSession) -> None:
    words = ["view", "view cart", "view cart purchase", "search", "cart view"]
    sessions = SESSIONS.frame(spark, [
        {"event_types": (types := words[n % 5].split()), "prices": [float(n)] * len(types),
         "channel": ["ad", "email", None][n % 3], "device": ["phone", "desktop"][n % 2]} for n in range(40)])
    _, bounds = observe(sessions, STEPS, 4)
    totals = summarize_funnel(sessions, STEPS, bounds).groupBy("dimension").pivot("step_number").sum("sessions")
    rows = {row["dimension"]: (row["1"], row["2"], row["3"]) for row in totals.collect()}
    assert set(rows) == {"all", "channel", "device", "price_band"}
    assert set(rows.values()) == {(32, 16, 8)}


def test_price_bands_are_quantiles_of_viewed_prices_with_their_real_ranges(spark: SparkSession) -> None:
    # the cart event's price must not count; a session's price is the mean over its views
    sessions = SESSIONS.frame(spark, [
        {"event_types": ["view", "view", "cart"], "prices": [price - 1, price + 1, 9999.0]}
        for price in (10.0, 20.0, 30.0, 40.0)])
    _, bounds = observe(sessions, STEPS, 2)
    assert bounds == [10.0, 20.0, 40.0]
    prices = spark.createDataFrame([(10.0,), (19.99,), (20.0,), (40.0,), (None,)], "price double")
    assert [r[0] for r in prices.select(price_band(F.col("price"), bounds)).collect()] == [
        "10.00-19.99", "10.00-19.99", "20.00-40.00", "20.00-40.00", "unknown"]


def test_one_price_is_one_band_and_no_price_none(spark: SparkSession) -> None:
    same = SESSIONS.frame(spark, [{"event_types": ["view"], "prices": [5.0]}] * 3)
    _, bounds = observe(same, STEPS, 4)
    assert bounds == [5.0]
    assert same.select(price_band(F.lit(5.0), bounds)).collect()[0][0] == "5.00-5.00"
    _, nothing = observe(SESSIONS.frame(spark, [session("view")]), STEPS, 4)
    assert nothing == []


def test_steps_that_never_occur_are_not_observed(spark: SparkSession) -> None:
    sessions = SESSIONS.frame(spark, [session("view cart"), session("purchase"), session("checkout", is_bot=True)])
    observed, _ = observe(sessions, ("view", "cart", "checkout", "purchase"), 4)
    assert observed == ["view", "cart", "purchase"]


def test_unknown_steps_are_all_named_with_the_nearest_event_type() -> None:
    with pytest.raises(ConfigError) as error:
        check_steps(("view", "carts", "purchse"))
    assert "did you mean `cart`?" in str(error.value)
    assert "did you mean `purchase`?" in str(error.value)
    check_steps(EVENT_TYPES)
