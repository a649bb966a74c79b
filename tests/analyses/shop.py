"""A small set of every table the report reads, made by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime

from pyspark.sql import DataFrame, SparkSession

from purchasepath.analyses.analysis import Inputs
from purchasepath.analyses.catalog import ANALYSES
from purchasepath.config import load_config
from purchasepath.tables import catalog
from purchasepath.tables.types import Table

# words that would break the page if they were not escaped
EVIL_CHANNEL = "<img src=x onerror=window.hacked=1>"
EVIL_ITEM = "</script><script>window.hacked=2</script>"
EVIL_REASON = "<b>price</b> & 'quotes'"

WALKS = (
    ("view cart checkout purchase", 40), ("search view cart checkout purchase", 20), ("view", 200), ("search view", 60),
    ("category view view", 50), ("view cart", 30), ("view cart remove view", 10), ("view cart checkout", 15),
)


def session_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for walk, times in WALKS:
        types = walk.split()
        for _ in range(times):
            number = len(rows)
            bought = types.count("purchase")
            rows.append({
                "session_id": str(number), "user_id": f"user-{number // 2}", "event_types": types,
                "offsets_us": [30_000_000 * i for i in range(len(types))], "prices": [5.0 + number % 40] * len(types),
                "num_events": len(types), "num_purchases": bought, "revenue": 25.0 * bought,
                "duration_s": 30.0 * (len(types) - 1), "channel": ("search", "ad", EVIL_CHANNEL)[number % 3],
                "device": ("phone", "desktop")[number % 2], "is_bot": number % 50 == 49,
                "started_at": datetime(2024, 1, 1 + number % 7, 12, tzinfo=UTC),
                "ended_at": datetime(2024, 1, 1 + number % 7, 13, tzinfo=UTC),
                "session_date": date(2024, 1, 1 + number % 7),
            })
    return rows


def all_tables(spark: SparkSession) -> dict[Table, DataFrame]:
    """Every table of the report, by declaration."""
    sessions = local(catalog.SESSIONS.frame(spark, session_rows()))
    model = {"as_of": datetime(2024, 1, 8, tzinfo=UTC), "as_of_date": date(2024, 1, 8), "model_name": "purchasepath"}
    beside = {"baseline": "markov_1", "difference": 0.1, "difference_low": 0.04, "difference_high": 0.16}
    ranking = [
        {"model": name, "task": "next_item", "metric": metric, "k": k, "value": value, "support": 400,
         "low": value - 0.05, "high": value + 0.06, **(beside if name == "purchasepath" else {}),
         "protocol": f"whole catalogue; {name} counted; data: a shop"}
        for name, value in (("purchasepath", 0.3), ("markov_1", 0.2)) for metric in ("recall", "ndcg") for k in (5, 10)]
    purchase = [
        {"model": name, "task": "purchase", "metric": metric, "value": value, "support": 90, "protocol": "test span"}
        for name, value in (("purchasepath", 0.8), ("logistic_regression", 0.7)) for metric in ("roc_auc", "log_loss")]
    tables = {
        catalog.SESSIONS: sessions,
        **run_analyses(sessions, "analyze.price_bands=2"),
        catalog.METRICS: catalog.METRICS.frame(spark, ranking + purchase),
        catalog.CALIBRATION: catalog.CALIBRATION.frame(spark, [
            {"model": "purchasepath", "bin": n, "points": 10, "mean_predicted": n / 10, "observed": n / 9}
            for n in range(3)]),
        catalog.TRAINING_CURVES: catalog.TRAINING_CURVES.frame(spark, [
            {"epoch": epoch, "metric": metric, "value": 5.0 / epoch}
            for epoch in (1, 2, 3) for metric in ("train_loss", "valid_loss")]),
        catalog.SCORES: catalog.SCORES.frame(spark, [
            {"entity_id": str(n), "task": "purchase", "value": n / 400, "horizon_hours": 168.0, **model}
            for n in range(100)]),
        catalog.RECOMMENDATIONS: catalog.RECOMMENDATIONS.frame(spark, [
            {"user_id": str(user), "rank": rank, "item_id": item, **model}
            for user in range(4) for rank, item in enumerate((EVIL_ITEM, "item-1", f"item-{user + 2}"), start=1)]),
        catalog.INGEST_BOOKS: catalog.INGEST_BOOKS.frame(spark, [
            {"run_id": "1", "source": "simulated", "files": 2, "read": 100, "accepted": 90, "duplicates": 7,
             "rejected": 3, "history": "replace"}]),
        catalog.REJECTED_EVENTS: catalog.REJECTED_EVENTS.frame(spark, [{"raw": "x", "reasons": [EVIL_REASON]}] * 3),
    }
    return {table: local(frame) for table, frame in tables.items()}


def run_analyses(sessions: DataFrame, *overrides: str) -> dict[Table, DataFrame]:
    """What every analysis of the list makes of the sessions."""
    frames = {catalog.SESSIONS: sessions}
    inputs = Inputs(frames.__getitem__, lambda frame, name: local(frame), load_config([], overrides).analyze)
    for analysis in ANALYSES:
        if analysis.run:
            made = analysis.run(inputs).tables
            assert set(made) == set(analysis.tables), analysis.name
            frames |= made
    return {table: frame for table, frame in frames.items() if table != catalog.SESSIONS}


def local(frame: DataFrame) -> DataFrame:
    """The same rows held by the driver: a query on them needs no Python worker."""
    return frame.sparkSession.createDataFrame(frame.toArrow(), frame.schema)
