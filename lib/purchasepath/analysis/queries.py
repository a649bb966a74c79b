"""The questions of the report, in SQL: what is shown beside a figure is what computed it.

Every query aggregates in Spark and returns few rows; each runs as it stands in `./spark-submit.sh sql`.
"""

from __future__ import annotations

from dataclasses import dataclass

from purchasepath.tables import catalog
from purchasepath.tables.types import Table


@dataclass(frozen=True)
class Query:
    """One question to the warehouse, and the tables that it reads."""

    tables: tuple[Table, ...]
    sql: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "sql", self.sql.strip())


HEADLINE = Query((catalog.SESSIONS,), """
SELECT count(DISTINCT user_id) AS visitors,
       count(*) AS sessions,
       sum(num_events) AS events,
       count_if(num_purchases > 0) AS buying_sessions,
       sum(revenue) AS revenue,
       min(started_at) AS first_event,
       max(ended_at) AS last_event
FROM sessions
WHERE NOT is_bot
""")

DAYS = Query((catalog.SESSIONS,), """
SELECT session_date AS day,
       count(*) AS sessions,
       count_if(num_purchases > 0) AS buying_sessions,
       sum(revenue) AS revenue
FROM sessions
WHERE NOT is_bot
GROUP BY session_date
ORDER BY session_date
""")

FUNNEL = Query((catalog.FUNNEL,), """
SELECT step_number, step, sessions, share_of_first, drop_off
FROM funnel
WHERE dimension = 'all'
ORDER BY step_number
""")


def _funnel_by(dimension: str) -> Query:
    return Query((catalog.FUNNEL,), """
SELECT value, step_number, step, sessions, share_of_first, drop_off
FROM funnel
WHERE dimension = '{dimension}'
  AND value IN (SELECT value FROM funnel
                WHERE dimension = '{dimension}' AND step_number = 1
                ORDER BY sessions DESC, value
                LIMIT 10)
ORDER BY value, step_number
""".replace("{dimension}", dimension))


FUNNEL_BY_CHANNEL = _funnel_by("channel")
FUNNEL_BY_DEVICE = _funnel_by("device")
FUNNEL_BY_PRICE_BAND = _funnel_by("price_band")

FIRST_STEPS = Query((catalog.SESSIONS,), """
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

TRANSITIONS = Query((catalog.TRANSITIONS,), """
SELECT from_state, to_state, transitions, probability, median_seconds
FROM transitions
ORDER BY from_state, to_state
""")

REMOVAL_EFFECTS = Query((catalog.REMOVAL_EFFECTS,), """
SELECT state, reach_probability, conversion_probability, removal_effect, excess_low, excess_high
FROM removal_effects
ORDER BY removal_effect DESC, state
""")

BUYING_PATHS = Query((catalog.PATHS,), """
SELECT path, sessions, purchases, revenue, median_duration_s
FROM paths
WHERE purchases > 0
ORDER BY purchases DESC, path
LIMIT 12
""")

COMMON_PATHS = Query((catalog.PATHS, catalog.SESSIONS), """
SELECT path, sessions,
       try_divide(sessions, (SELECT count(*) FROM sessions WHERE NOT is_bot)) AS share,
       purchases, median_duration_s
FROM paths
ORDER BY sessions DESC, path
LIMIT 12
""")

CHANNELS = Query((catalog.CHANNELS,), """
SELECT channel, journeys, first_touch, last_touch, linear_touch, markov, removal_effect,
       sum(first_touch) OVER () AS all_conversions
FROM channels
ORDER BY markov DESC, channel
LIMIT 10
""")

METRICS = Query((catalog.METRICS,), """
SELECT model, task, metric, k, value, low, high,
       baseline, difference, difference_low, difference_high, support, protocol
FROM metrics
ORDER BY task, metric, k, model
""")

CALIBRATION = Query((catalog.CALIBRATION,), """
SELECT model, bin, points, mean_predicted, observed
FROM calibration
WHERE points > 0 AND coalesce(task, 'purchase') = 'purchase'
ORDER BY model, bin
""")

TRAINING_CURVES = Query((catalog.TRAINING_CURVES,), """
SELECT epoch, metric, value
FROM training_curves
ORDER BY metric, epoch
""")

SCORES = Query((catalog.SCORES,), """
WITH latest AS (
  SELECT as_of_date, model_name FROM scores
  WHERE task = 'purchase'
  GROUP BY as_of_date, model_name
  ORDER BY as_of_date DESC, max(run_number) DESC, max(run_id) DESC
  LIMIT 1
), scored AS (
  SELECT value AS p, as_of, horizon_hours
  FROM scores JOIN latest USING (as_of_date, model_name)
  WHERE task = 'purchase'
), limits AS (
  SELECT greatest(max(p), 0.01) AS highest, percentile_approx(p, 0.9, 10000) AS top_tenth FROM scored
)
SELECT least(width_bucket(p, 0, highest, 40), 40) AS bin,
       highest / 40 AS bin_width,
       count(*) AS visitors,
       sum(p) AS expected_buyers,
       sum(if(p >= top_tenth, p, 0)) AS expected_buyers_in_top_tenth,
       max(as_of) AS as_of,
       max(horizon_hours) AS horizon_hours
FROM scored CROSS JOIN limits
GROUP BY ALL
ORDER BY bin
""")

TOP_ITEMS = Query((catalog.RECOMMENDATIONS,), """
WITH latest AS (
  SELECT as_of_date, model_name, count(DISTINCT user_id) AS all_visitors
  FROM recommendations
  GROUP BY as_of_date, model_name
  ORDER BY as_of_date DESC, max(run_number) DESC, max(run_id) DESC
  LIMIT 1
)
SELECT item_id,
       count(*) AS visitors,
       count(*) / max(all_visitors) AS share_of_visitors,
       count_if(rank = 1) AS first_places
FROM recommendations JOIN latest USING (as_of_date, model_name)
GROUP BY item_id
ORDER BY visitors DESC, item_id
LIMIT 15
""")

BOOKS = Query((catalog.INGEST_BOOKS,), """
WITH runs AS (
  SELECT *, struct(coalesce(run_number, 0), finished_at, run_id) AS place FROM ingest_books
)
SELECT array_join(array_sort(collect_set(source)), ', ') AS source,
       sum(files) AS files,
       sum(read) AS read,
       sum(accepted) - sum(replaced) AS accepted,
       sum(duplicates) + sum(replaced) AS duplicates,
       sum(rejected) AS rejected
FROM runs
WHERE place >= (SELECT max(place) FROM runs WHERE history = 'replace')
HAVING count(*) > 0
""")

REJECTIONS = Query((catalog.REJECTED_EVENTS,), """
SELECT reason, count(*) AS rows
FROM rejected_events
LATERAL VIEW explode(reasons) AS reason
GROUP BY reason
ORDER BY rows DESC, reason
LIMIT 10
""")

BOTS = Query((catalog.SESSIONS,), """
WITH flagged AS (
  SELECT DISTINCT user_id, 1 AS theirs FROM sessions WHERE is_bot
)
SELECT is_bot,
       count(*) AS sessions,
       count(DISTINCT user_id) AS visitors,
       sum(num_events) AS events,
       sum(revenue) AS revenue,
       sum(num_purchases) AS purchases,
       sum(revenue * theirs) AS visitors_revenue,
       sum(num_purchases * theirs) AS visitors_purchases
FROM sessions LEFT JOIN flagged USING (user_id)
GROUP BY is_bot
ORDER BY is_bot
""")
