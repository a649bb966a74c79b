"""The first steps of a session, as flows from event to event."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report import figures
from purchasepath.report.panels import Content, Panel, Query, Row
from purchasepath.report.wording import percent
from purchasepath.tables.catalog import SESSIONS

QUERY = Query((SESSIONS,), """
WITH walks AS (
  SELECT slice(event_types, 1, if(array_contains(event_types, 'purchase'),
                                  CAST(array_position(event_types, 'purchase') AS int),
                                  size(event_types))) AS walk
  FROM sessions
  WHERE NOT is_bot
), paths AS (
  SELECT concat(array('start'),
                filter(walk, (state, i) -> i = 0 OR state <> get(walk, i - 1)),
                if(array_contains(walk, 'purchase'), array(), array('leave'))) AS states
  FROM walks
)
SELECT step, states[step] AS from_state, states[step + 1] AS to_state, count(*) AS sessions
FROM paths
LATERAL VIEW explode(sequence(0, least(4, size(states) - 2))) AS step
GROUP BY ALL
ORDER BY step, from_state, to_state
""")


LAST_STEP = 4


def _draw(rows: Sequence[Row]) -> Content:
    sessions = sum(row["sessions"] for row in rows if row["step"] == 0)
    early = [row for row in rows if row["step"] < LAST_STEP]
    bought = sum(row["sessions"] for row in early if row["to_state"] == "purchase")
    left = sum(row["sessions"] for row in early if row["to_state"] == "leave")
    entry = max((row for row in rows if row["step"] == 0), key=lambda row: row["sessions"])
    return Content(
        f"{percent(entry['sessions'] / sessions)} of the sessions begin with a {entry['to_state']}; within their first "
        f"{LAST_STEP} steps {percent(bought / sessions)} buy and {percent(left / sessions)} leave.",
        _figure(rows),
        hint="Width is the number of sessions. Repeats of the same event in a row count as one step; "
             "“later” goes on beyond the last step shown.")


def _figure(rows: Sequence[Row]) -> figures.Figure:
    """A Sankey diagram of the first steps; whoever has neither bought nor left by then is `later`.

    A state has one node per step; `purchase` and `leave` have one each, to which all steps flow.
    """
    nodes: dict[tuple[int, str], int] = {}

    def node(step: int, state: str) -> int:
        ends = state in ("purchase", "leave")
        return nodes.setdefault((-1 if ends else step, state), len(nodes))

    links = [(node(row["step"], row["from_state"]), node(row["step"] + 1, row["to_state"]), row["to_state"],
              row["sessions"]) for row in rows if row["step"] < LAST_STEP]
    for row in rows:
        if row["step"] == LAST_STEP:
            links.append((node(LAST_STEP, row["from_state"]), node(-1, "later"), "later", row["sessions"]))
    labels = [state for _, state in nodes]
    # a narrow screen has no room for names between the last two columns
    few_labels = ["" if step == LAST_STEP else state for step, state in nodes]
    trace = figures.trace(
        "sankey", arrangement="snap",
        node={"label": labels, "color": [figures.color(state) for state in labels], "pad": 16, "thickness": 14,
              "line": {"width": 0},
              "customdata": labels, "hovertemplate": "%{customdata}: %{value:,} sessions<extra></extra>"},
        link={"source": [s for s, _, _, _ in links], "target": [t for _, t, _, _ in links],
              "value": [n for _, _, _, n in links], "color": [f"var(--{s}-faint)" for _, _, s, _ in links],
              "hovertemplate": "%{source.customdata} to %{target.customdata}: %{value:,} sessions<extra></extra>"},
    )
    small = {"traces": {"node": {"thickness": 8, "pad": 12, "label": few_labels}, "textfont": {"size": 10}}}
    return figures.figure([trace], 460, small)


ANALYSIS = Analysis("first_steps", (Panel("first-steps", "The first steps of a session", QUERY, _draw),))
