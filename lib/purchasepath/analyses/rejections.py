"""The most common reasons for rejecting a raw row."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analyses.analysis import Analysis
from purchasepath.report.panels import Content, Grid, Panel, Query, Row
from purchasepath.report.wording import count
from purchasepath.tables.catalog import REJECTED_EVENTS

QUERY = Query((REJECTED_EVENTS,), """
SELECT reason, count(*) AS rows
FROM rejected_events
LATERAL VIEW explode(reasons) AS reason
GROUP BY reason
ORDER BY rows DESC, reason
LIMIT 10
""")


def _draw(rows: Sequence[Row]) -> Content:
    grid = Grid(("reason", "rows"), tuple((row["reason"], count(row["rows"])) for row in rows))
    first = rows[0]
    return Content(f"The most common reason for rejecting a row is: {first['reason']} ({count(first['rows'])} rows). "
                   f"A row may have several reasons.", grid=grid)


ANALYSIS = Analysis("rejections", (Panel("rejections", "Why rows were rejected", QUERY, _draw),))
