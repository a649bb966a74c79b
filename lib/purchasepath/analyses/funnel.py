"""How far sessions come on the way to a purchase, and where they drop off.

A session reaches step n if its events contain steps 1 to n in that order, each strictly later than the
one before it; other events may lie between them and steps may be repeated. Of view > cart > purchase:

    view cart view purchase    reaches all three steps
    cart view purchase         reaches view only: no cart after the view
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from purchasepath.analyses.analysis import Analysis, Findings, Inputs
from purchasepath.analyses.shares import FEW, surely_apart
from purchasepath.analyses.walks import ACCURACY, UNKNOWN, keep_people
from purchasepath.errors import ConfigError, nearest
from purchasepath.report import figures, wording
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import count, percent
from purchasepath.tables.catalog import EVENT_TYPES, SESSIONS
from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

FUNNEL = Table(
    "funnel",
    "dimension value and funnel step",
    "analyze",
    (
        C("dimension", "string", "all, channel, price_band or device"),
        C("value", "string", "value of the dimension"),
        C("step_number", "int", "1 for the first step"),
        C("step", "string", "event type of the step"),
        C("sessions", "bigint", "sessions that reached this step after all steps before it, in order"),
        C("share_of_first", "double", "sessions / sessions of step 1"),
        C("drop_off", "double", "share of the previous step's sessions that did not get here; 0 for step 1"),
    ),
    key=("dimension", "value", "step_number"),
)


def check_steps(steps: Sequence[str]) -> None:
    """Raise ConfigError for every step of `analyze.funnel` that is not an event type."""
    faults = [
        f"analyze.funnel: {step!r} is not an event type{nearest(step, EVENT_TYPES)}"
        for step in steps if step not in EVENT_TYPES
    ]
    if faults:
        raise ConfigError(faults)


def steps_reached(event_types: Column, steps: Sequence[str]) -> Column:
    """Number of leading `steps` that occur in order (int).

    Taking each step at its first chance leaves the most events for the later ones, so one pass is exact.
    """
    wanted = F.array(*(F.lit(step) for step in steps))

    def advance(reached: Column, event_type: Column) -> Column:
        # get() is null once all steps are reached, and null = x is not true
        return F.when(F.get(wanted, reached) == event_type, reached + 1).otherwise(reached)

    return F.aggregate(event_types, F.lit(0), advance)


def mean_viewed_price(event_types: Column, prices: Column) -> Column:
    """Mean price of the items viewed, to the cent; null where no viewed item has a price."""
    viewed = F.filter(prices, lambda price, i: price.isNotNull() & (F.get(event_types, i) == "view"))
    total = F.aggregate(viewed, F.lit(0.0), lambda so_far, price: so_far + price)
    return F.round(F.try_divide(total, F.size(viewed)), 2)


def observe(sessions: DataFrame, steps: Sequence[str], num_bands: int) -> tuple[list[str], list[float]]:
    """The steps that occur in some session at all, and the bounds of the price bands, in one pass.

    A shop that logs no checkout has no sessions that check out *in its data*; a funnel with that step
    would end there with 0, and a funnel that begins with views is all 0 where purchases alone are logged.
    Bounds are approximate quantiles of the sessions' mean viewed prices: lowest, cuts between the bands,
    highest; fewer where many sessions share a price, none without prices.
    """
    shares = [band / num_bands for band in range(num_bands + 1)]
    price = mean_viewed_price(F.col("event_types"), F.col("prices"))
    seen = [F.max(F.array_contains("event_types", step)).alias(f"step_{n}") for n, step in enumerate(steps)]
    row = keep_people(sessions).agg(*seen, F.percentile_approx(price, shares, ACCURACY).alias("bounds")).first()
    if row is None:
        return [], []
    return [step for n, step in enumerate(steps) if row[f"step_{n}"]], sorted(set(row["bounds"] or ()))


def price_band(price: Column, bounds: Sequence[float]) -> Column:
    """The label of the band that holds `price`, its real range such as `10.00-24.99`; `unknown` for null."""
    lows = list(bounds[:-1]) or list(bounds)
    band = F.lit(None).cast("string")
    for n, low in enumerate(lows):
        is_last = n == len(lows) - 1
        # prices are whole cents: the band ends a cent below the next one; the last one ends at the highest
        high = bounds[-1] if is_last else lows[n + 1] - 0.01
        band = F.when(price >= low, F.lit(f"{low:.2f}-{high:.2f}")).otherwise(band)
    return F.coalesce(band, F.lit(UNKNOWN))


def summarize_funnel(sessions: DataFrame, steps: Sequence[str], bounds: Sequence[float]) -> DataFrame:
    """One row per dimension value and step (FUNNEL), over the sessions of people."""
    price = mean_viewed_price(F.col("event_types"), F.col("prices"))
    dimensions = {
        "all": F.lit("all"),
        "channel": F.coalesce("channel", F.lit(UNKNOWN)),
        "device": F.coalesce("device", F.lit(UNKNOWN)),
        "price_band": price_band(price, bounds),
    }
    by_dimension = F.array(*(
        F.struct(F.lit(name).alias("dimension"), value.alias("value")) for name, value in dimensions.items()))
    reached = keep_people(sessions).select(
        steps_reached(F.col("event_types"), steps).alias("reached"), F.inline(by_dimension))
    counts = reached.groupBy("dimension", "value").agg(*(
        F.count_if(F.col("reached") >= number).alias(f"step_{number}") for number in range(1, len(steps) + 1)))
    return FUNNEL.select(_one_row_per_step(counts, steps))


def _one_row_per_step(counts: DataFrame, steps: Sequence[str]) -> DataFrame:
    """Columns step_1, step_2, … as rows, with their shares; a share of nothing is 0."""
    numbers = range(1, len(steps) + 1)
    rows = F.array(*(
        F.struct(
            F.lit(number).alias("step_number"),
            F.lit(steps[number - 1]).alias("step"),
            F.col(f"step_{number}").alias("sessions"),
            F.col(f"step_{max(number - 1, 1)}").alias("before"),
            F.col("step_1").alias("first"),
        ) for number in numbers))
    kept = F.try_divide("sessions", "before")
    return counts.select("dimension", "value", F.inline(rows)).select(
        "dimension", "value", "step_number", "step", "sessions",
        F.coalesce(F.try_divide("sessions", "first"), F.lit(0.0)).alias("share_of_first"),
        F.coalesce(1 - kept, F.lit(0.0)).alias("drop_off"),
    )


def _run(inputs: Inputs) -> Findings:
    sessions, config = inputs.read(SESSIONS), inputs.config
    observed, bounds = observe(sessions, config.funnel, config.price_bands)
    steps = observed or list(config.funnel)  # sessions without any of them reach none
    skipped = [step for step in config.funnel if step not in steps]
    lines = [f"funnel: {' > '.join(steps)}" if observed else f"no session has a step of the funnel: {', '.join(steps)}"]
    if skipped:
        lines.append(f"left out of the funnel, no session has them: {', '.join(skipped)}")
    return Findings({FUNNEL: summarize_funnel(sessions, steps, bounds)}, lines)


QUERY = Query((FUNNEL,), """
SELECT step_number, step, sessions, share_of_first, drop_off
FROM funnel
WHERE dimension = 'all'
ORDER BY step_number
""")


def _query_by(dimension: str) -> Query:
    return Query((FUNNEL,), """
SELECT value, step_number, step, sessions, share_of_first, drop_off
FROM funnel
WHERE dimension = '{dimension}'
  AND value IN (SELECT value FROM funnel
                WHERE dimension = '{dimension}' AND step_number = 1
                ORDER BY sessions DESC, value
                LIMIT 10)
ORDER BY value, step_number
""".replace("{dimension}", dimension))


def _draw_all(rows: Sequence[Row]) -> Content:
    first, last = rows[0], rows[-1]
    if not first["sessions"]:
        return Content(f"No session has a {first['step']}.", _steps_figure(rows))
    if len(rows) == 1:
        return Content(f"{count(first['sessions'])} sessions have a {first['step']}, the only step of the funnel that "
                       f"the events tell of; without others there is no way to follow.", _steps_figure(rows))
    worst = max(rows[1:], key=lambda row: row["drop_off"])
    before = rows[worst["step_number"] - 2]
    return Content(
        f"Of {count(first['sessions'])} sessions with a {first['step']}, {count(last['sessions'])} "
        f"({percent(last['share_of_first'])}) got as far as {last['step']}; the largest loss is between "
        f"{before['step']} and {worst['step']}, where {percent(worst['drop_off'])} drop off.",
        _steps_figure(rows),
        hint="A session reaches a step if it has all steps before it, in this order; other events may lie between.")


def draw_parts(rows: Sequence[Row], of_what: str) -> Content:
    """Which value of a dimension gets furthest, where the difference is more than chance."""
    if {row["value"] for row in rows} == {"unknown"}:
        return Content(f"The events do not say the {of_what}, so there is nothing to compare.")
    rows = [row for row in rows if row["value"] in _begun(rows)]
    if not rows:
        return Content("No session has the first step of the funnel.")
    if all(row["step_number"] == 1 for row in rows):
        return Content(f"The funnel has one step alone, {rows[0]['step']}: there is no way on to compare by {of_what}.")
    firsts = {row["value"]: row for row in rows if row["step_number"] == 1}
    lasts = {row["value"]: row for row in rows if row["step_number"] == max(r["step_number"] for r in rows)}
    enough = [v for v in firsts if firsts[v]["sessions"] >= FEW]
    figure = _parts_figure(sorted(rows, key=_by_number))
    if len(enough) < 2:
        return Content(f"Too few sessions per {of_what} to call one better than another.", figure)
    best = max(enough, key=lambda v: lasts[v]["share_of_first"])
    worst = min(enough, key=lambda v: lasts[v]["share_of_first"])
    goal = lasts[best]["step"]
    high, low = ((lasts[value]["sessions"], firsts[value]["sessions"]) for value in (best, worst))
    if not surely_apart(high, low, len(enough)):
        return Content(
            f"Between the {of_what}s there is no difference that could not be chance: of sessions with a "
            f"{firsts[best]['step']}, {percent(lasts[worst]['share_of_first'])} ({worst}) to "
            f"{percent(lasts[best]['share_of_first'])} ({best}) get to {goal}.", figure)
    return Content(
        f"{of_what.capitalize()} {best} gets to {goal} most often ({percent(lasts[best]['share_of_first'])} of its "
        f"sessions with a {firsts[best]['step']}), {worst} least often ({percent(lasts[worst]['share_of_first'])}).",
        figure)


def _begun(rows: Sequence[Row]) -> set[str]:
    """Values with at least one session in the funnel."""
    return {row["value"] for row in rows if row["step_number"] == 1 and row["sessions"]}


def _by_number(row: Row) -> tuple[float, str]:
    """Price bands by their lower end, everything else by name, unknown last."""
    if row["value"] == "unknown":
        return (float("inf"), "")
    try:
        return (float(row["value"].split("-")[0]), "")
    except ValueError:
        return (0.0, row["value"])


def _steps_figure(rows: Sequence[Row]) -> figures.Figure:
    """One bar per step, widest first."""
    steps = [row["step"] for row in rows]
    trace = figures.trace(
        "funnel", y=steps, x=[row["sessions"] for row in rows],
        marker={"color": [figures.color(step) for step in steps]},
        text=[f"{wording.count(row['sessions'])}  ·  {wording.percent(row['share_of_first'])}" for row in rows],
        textinfo="text", textposition="auto", connector={"fillcolor": "var(--line)", "line": {"width": 0}},
        hovertemplate="%{y}<br>%{x:,} sessions<extra></extra>", constraintext="none",
    )
    return figures.figure([trace], 90 + 62 * len(rows), yaxis={**figures.CATEGORIES, "showline": False},
                          xaxis={"visible": False})


def _parts_figure(rows: Sequence[Row]) -> figures.Figure:
    """For each later step, the share of sessions that reached it, by value of a dimension."""
    steps = {row["step_number"]: row["step"] for row in rows if row["step_number"] > 1}
    traces = []
    for number, step in sorted(steps.items()):
        part = [row for row in rows if row["step_number"] == number]
        shares = [row["share_of_first"] for row in part]
        traces.append(figures.trace(
            "bar", x=[escape(row["value"], quote=False) for row in part], y=shares, name=step,
            marker_color=figures.color(step), text=[wording.short_percent(share) for share in shares],
            textposition="outside", cliponaxis=False, constraintext="none", textfont={"size": 11},
            customdata=[row["sessions"] for row in part],
            hovertemplate=f"%{{x}}: {step}<br>%{{y:.2%}} · %{{customdata:,}} sessions<extra></extra>"))
    quiet = {"traces": {"textposition": "none"}}
    return figures.figure(traces, 330, quiet, barmode="group", bargap=0.3, xaxis=figures.CATEGORIES,
                          yaxis={"title": {"text": "of sessions with the first step"}, **figures.PERCENT_AXIS})


def _parts(name: str, title: str, dimension: str, of_what: str) -> Panel:
    return Panel(name, title, _query_by(dimension), lambda rows: draw_parts(rows, of_what))


ANALYSIS = Analysis("funnel", (
    Panel("funnel", "All sessions", QUERY, _draw_all),
    _parts("funnel-channel", "By channel", "channel", "channel"),
    _parts("funnel-price", "By price of the items viewed", "price_band", "price"),
    _parts("funnel-device", "By device", "device", "device"),
), (FUNNEL,), _run, lambda config: check_steps(config.funnel))
