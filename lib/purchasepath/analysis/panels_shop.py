"""Panels about the shop's visitors: how many, how far they come, which paths they walk."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import NormalDist

from purchasepath.analysis import figures, queries, wording
from purchasepath.analysis.attribution import BY_CONSTRUCTION, EVERY_PURCHASE, RemovalEffect, most_decisive
from purchasepath.analysis.figures import Row
from purchasepath.analysis.panels import Content, Grid, Panel
from purchasepath.analysis.wording import count, percent

FEW = 30
"""Shares of fewer sessions than this are not called best or worst."""

LAST_STEP = 4


def headline(rows: Sequence[Row]) -> Content:
    row = rows[0]
    if not row["sessions"]:
        return Content("There are no sessions of people in the warehouse.")
    conversion = row["buying_sessions"] / row["sessions"]
    # purchases that brought in nothing are purchases without a price
    priced = row["revenue"] > 0 or not row["buying_sessions"]
    revenue = wording.amount(row["revenue"]) if priced else "–"
    per_session = wording.amount(row["revenue"] / row["sessions"]) if priced else "–"
    tiles = (
        ("visitors", count(row["visitors"])), ("sessions", count(row["sessions"])),
        ("conversion", percent(conversion)), ("revenue", revenue), ("revenue per session", per_session),
        ("events", count(row["events"])),
    )
    return Content(
        f"From {wording.day(row['first_event'])} to {wording.day(row['last_event'])}, {count(row['visitors'])} "
        f"visitors came in {count(row['sessions'])} sessions, and {count(row['buying_sessions'])} of these sessions "
        f"({percent(conversion)}) bought something.", tiles=tiles)


def days(rows: Sequence[Row]) -> Content:
    sessions = sum(row["sessions"] for row in rows)
    buying = sum(row["buying_sessions"] for row in rows)
    busiest = max(rows, key=lambda row: row["sessions"])
    return Content(
        f"On an average day {count(sessions / len(rows))} sessions began and {percent(buying / sessions)} of them "
        f"bought; the busiest day was {wording.day(busiest['day'])} with {count(busiest['sessions'])} sessions.",
        figures.days(rows))


def funnel(rows: Sequence[Row]) -> Content:
    first, last = rows[0], rows[-1]
    if not first["sessions"]:
        return Content(f"No session has a {first['step']}.", figures.funnel(rows))
    if len(rows) == 1:
        return Content(f"{count(first['sessions'])} sessions have a {first['step']}, the only step of the funnel that "
                       f"the events tell of; without others there is no way to follow.", figures.funnel(rows))
    worst = max(rows[1:], key=lambda row: row["drop_off"])
    before = rows[worst["step_number"] - 2]
    return Content(
        f"Of {count(first['sessions'])} sessions with a {first['step']}, {count(last['sessions'])} "
        f"({percent(last['share_of_first'])}) got as far as {last['step']}; the largest loss is between "
        f"{before['step']} and {worst['step']}, where {percent(worst['drop_off'])} drop off.",
        figures.funnel(rows),
        hint="A session reaches a step if it has all steps before it, in this order; other events may lie between.")


def funnel_part(rows: Sequence[Row], of_what: str) -> Content:
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
    figure = figures.funnel_parts(sorted(rows, key=_by_number))
    if len(enough) < 2:
        return Content(f"Too few sessions per {of_what} to call one better than another.", figure)
    best = max(enough, key=lambda v: lasts[v]["share_of_first"])
    worst = min(enough, key=lambda v: lasts[v]["share_of_first"])
    goal = lasts[best]["step"]
    if not _surely_apart(lasts[best], firsts[best], lasts[worst], firsts[worst], len(enough)):
        return Content(
            f"Between the {of_what}s there is no difference that could not be chance: of sessions with a "
            f"{firsts[best]['step']}, {percent(lasts[worst]['share_of_first'])} ({worst}) to "
            f"{percent(lasts[best]['share_of_first'])} ({best}) get to {goal}.", figure)
    return Content(
        f"{of_what.capitalize()} {best} gets to {goal} most often ({percent(lasts[best]['share_of_first'])} of its "
        f"sessions with a {firsts[best]['step']}), {worst} least often ({percent(lasts[worst]['share_of_first'])}).",
        figure)


def _surely_apart(more: Row, more_of: Row, less: Row, less_of: Row, compared: int) -> bool:
    """Whether two shares of sessions, the largest and the smallest of `compared`, differ by more than chance.

    Newcombe's interval (1998, method 10) of their difference, at 5 % shared by all pairs (Bonferroni), with sessions
    taken for independent.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / (compared * (compared - 1) / 2))
    high, low = ((row["sessions"] / of["sessions"], *_wilson(row["sessions"], of["sessions"], z))
                 for row, of in ((more, more_of), (less, less_of)))
    return high[0] - low[0] > hypot(high[0] - high[1], low[2] - low[0])


def _wilson(hits: int, cases: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    middle, spread = hits + z**2 / 2, z * sqrt(hits * (cases - hits) / cases + z**2 / 4)
    return (middle - spread) / (cases + z**2), (middle + spread) / (cases + z**2)


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


def first_steps(rows: Sequence[Row]) -> Content:
    sessions = sum(row["sessions"] for row in rows if row["step"] == 0)
    early = [row for row in rows if row["step"] < LAST_STEP]
    bought = sum(row["sessions"] for row in early if row["to_state"] == "purchase")
    left = sum(row["sessions"] for row in early if row["to_state"] == "leave")
    entry = max((row for row in rows if row["step"] == 0), key=lambda row: row["sessions"])
    return Content(
        f"{percent(entry['sessions'] / sessions)} of the sessions begin with a {entry['to_state']}; within their first "
        f"{LAST_STEP} steps {percent(bought / sessions)} buy and {percent(left / sessions)} leave.",
        figures.first_steps(rows, LAST_STEP),
        hint="Width is the number of sessions. Repeats of the same event in a row count as one step; "
             "“later” goes on beyond the last step shown.")


def transition_matrix(rows: Sequence[Row]) -> Content:
    seen: dict[str, int] = {}
    for row in rows:
        seen[row["from_state"]] = seen.get(row["from_state"], 0) + row["transitions"]
    inner = [row for row in rows if row["from_state"] != "start" and seen[row["from_state"]] >= FEW] or rows
    leave = max((r for r in inner if r["to_state"] == "leave"), key=lambda r: r["probability"], default=None)
    buy = max((r for r in inner if r["to_state"] == "purchase"), key=lambda r: r["probability"], default=None)
    parts = []
    if leave:
        parts.append(f"people leave most readily after a {leave['from_state']} ({percent(leave['probability'])} of the "
                     f"times it is their last event)")
    if buy:
        parts.append(f"they buy most readily after a {buy['from_state']} ({percent(buy['probability'])})")
    reading = " and ".join(parts) or "no session has left or bought yet"
    return Content(reading[0].upper() + reading[1:] + ".", figures.transition_matrix(rows),
                   hint="Each row says, in percent, what comes next after its event, up to a session's first purchase. "
                        "Touch a cell for the count and the median time between the two (approximate).")


def removal_effects(rows: Sequence[Row]) -> Content:
    effects = [RemovalEffect(**row) for row in rows]
    decisive = most_decisive(effects)
    passed = sorted(e.state for e in effects if e.state in BY_CONSTRUCTION or e.removal_effect >= EVERY_PURCHASE)
    beside = f" beside what belongs to every purchase ({', '.join(passed)})" if passed else ""
    if decisive is None:
        reading = (f"No step{beside} is passed more often on the way to a purchase than by sessions in general, by "
                   f"more than could be chance.")
    else:
        low, high = ((end or 0.0) * 100 for end in (decisive.excess_low, decisive.excess_high))
        reading = (f"The step that decides{beside} is {decisive.state}: {percent(decisive.reach_probability)} of the "
                   f"sessions get there, but {percent(decisive.removal_effect)} of the purchases would be lost "
                   f"if they left at that point ({low:.1f} to {high:.1f} points more, at 95{wording.NBSP}%).")
    return Content(reading, figures.removal_effects(rows),
                   hint="Removal effects of a first-order Markov chain of the events, solved exactly: what share of "
                        "purchases is lost if every session that gets to a step leaves there.")


def buying_paths(rows: Sequence[Row]) -> Content:
    first = rows[0]
    grid = Grid(("path", "purchases", "revenue", "median time"), tuple(
        (row["path"], count(row["purchases"]), wording.amount(row["revenue"]),
         wording.duration(row["median_duration_s"])) for row in rows), path_column=0)
    return Content(f"The most walked way to a purchase is {_arrows(first['path'])}, by {count(first['purchases'])} "
                   f"sessions, which typically took {wording.duration(first['median_duration_s'])}.", grid=grid)


def common_paths(rows: Sequence[Row]) -> Content:
    grid = Grid(("path", "sessions", "share", "of them bought", "median time"), tuple(
        (row["path"], count(row["sessions"]), percent(row["share"]), count(row["purchases"]),
         wording.duration(row["median_duration_s"])) for row in rows), path_column=0)
    together = sum(row["share"] for row in rows)
    return Content(f"The {len(rows)} most common paths are those of {percent(together)} of all sessions; "
                   f"{_arrows(rows[0]['path'])} alone is {percent(rows[0]['share'])}.", grid=grid)


def channels(rows: Sequence[Row]) -> Content:
    if {row["channel"] for row in rows} == {"unknown"}:
        return Content("The events do not say the channel, so there is nothing to compare.")
    best = rows[0]
    conversions = best["all_conversions"]
    if not conversions:
        return Content("No journey has led to a purchase yet.")
    return Content(
        f"Without {best['channel']}, {percent(best['removal_effect'])} of the journeys that end with a purchase would "
        f"be lost; it begins {percent(best['first_touch'] / conversions)} of them and is the last visit of "
        f"{percent(best['last_touch'] / conversions)}.",
        figures.channels(rows),
        hint="A journey is a visitor's sessions up to one with a purchase. First, last and linear touch share the "
             "purchases among the channels of their journeys by rule; the removal effect also weighs the journeys "
             "that did not end with a purchase.")


def _arrows(path: str) -> str:
    return path.replace(" > ", " → ")


HEADLINE = Panel("headline", "At a glance", queries.HEADLINE, headline)
VISITS = (Panel("days", "Sessions and conversion per day", queries.DAYS, days),)
FUNNEL = (
    Panel("funnel", "All sessions", queries.FUNNEL, funnel),
    Panel("funnel-channel", "By channel", queries.FUNNEL_BY_CHANNEL, lambda rows: funnel_part(rows, "channel")),
    Panel("funnel-price", "By price of the items viewed", queries.FUNNEL_BY_PRICE_BAND,
          lambda rows: funnel_part(rows, "price")),
    Panel("funnel-device", "By device", queries.FUNNEL_BY_DEVICE, lambda rows: funnel_part(rows, "device")),
)
PATHS = (
    Panel("first-steps", "The first steps of a session", queries.FIRST_STEPS, first_steps),
    Panel("transitions", "What comes next", queries.TRANSITIONS, transition_matrix),
    Panel("removal-effects", "Which steps lead to a purchase", queries.REMOVAL_EFFECTS, removal_effects),
    Panel("buying-paths", "Most common ways to a purchase", queries.BUYING_PATHS, buying_paths),
    Panel("common-paths", "Most common paths of all sessions", queries.COMMON_PATHS, common_paths),
    Panel("channels", "Which channels earn the purchases", queries.CHANNELS, channels),
)
