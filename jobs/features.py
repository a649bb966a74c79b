"""SESSIONS -> USER_FEATURES, ITEM_FEATURES and SESSION_FEATURES, from cached partial aggregates of each day."""

from __future__ import annotations

from purchasepath.features.build import FeatureBuilder
from purchasepath.job import Job, Summary, main
from purchasepath.tables.features import FEATURE_TABLES


def run(job: Job) -> Summary:
    """Bring the tables up to date; what has not changed since the last run is left as it is."""
    report = FeatureBuilder(job.spark, job.warehouse, job.config, job.run_id, job.log).build()
    kinds = ", ".join(f"{sum(c.type == 'double' for c in table.columns)} per {table.name.split('_')[0]}"
                      for table in FEATURE_TABLES)
    persons = "; of users those of the person behind them" if job.config.features.identity == "person" else ""
    times = report.times
    return Summary(report.rows, [
        f"as of {len(times)} times, {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC, "
        f"every {job.config.features.every_hours:g} h",
        f"features: {kinds}" + persons,
        f"computed: {report.session_days} days of session features, {report.event_days} days of partial aggregates, "
        f"{report.as_of_days} as-of days; the rest was up to date",
    ], events=report.events or None)


if __name__ == "__main__":
    main("features", run)
