"""Raw ids: pseudonyms take their place in every text that is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.ingest import run
from purchasepath.config import load_config
from purchasepath.errors import InputError
from purchasepath.job import Job
from purchasepath.sources.pseudonyms import add_pseudonyms, pseudonym_of
from purchasepath.sources.raw import RAW
from purchasepath.sources.raw_ids import check_raw_ids, hide_in_text, hide_raw_ids
from purchasepath.tables.catalog import EVENTS
from tests.sources.reading import KEY, write_files

MAPPING = """name: mine
inputs:
  - format: csv
    time: {format: iso}
    events: {view: view, buy: purchase}
    fields: {event_id: id, user_id: user, login_id: login, event_ts: at, event_type: what, item_id: item, query: words,
             order_id: order, source_session: session}
"""


def test_the_rows_own_ids_give_way_as_whole_words(spark: SparkSession) -> None:
    rows = EVENTS.frame(spark, [
        {"user_id": "anna-q+", "login_id": "a@bc.de", "event_id": "anna-q+-17", "order_id": "x/a@bc.de",
         "query": "from a@bc.de", "source_session": "17-anna-q+", "item_id": "anna-q+", "channel": "anna-q+7"},
        {"user_id": r"o\E$1", "event_id": r"o\E$1.2", "query": "o"},
        {"user_id": "7", "event_id": "177-7", "query": "size 7", "login_id": "3", "source_session": "3-12"},
    ]).selectExpr("*", f"concat(user_id, ',', coalesce(login_id, ''), ',x') as {RAW}")
    hidden = hide_in_text(hide_raw_ids(add_pseudonyms(rows, KEY, ("user_id", "login_id"))))
    found = {row["raw_user_id"]: row for row in hidden.collect()}
    anna, account, odd, seven = (pseudonym_of(KEY, raw) for raw in ("anna-q+", "a@bc.de", r"o\E$1", "7"))
    first, second, third = found["anna-q+"], found[r"o\E$1"], found["7"]
    assert (first["event_id"], first["order_id"]) == (f"{anna}-17", f"x/{account}")
    assert (first["query"], first["source_session"]) == (f"from {account}", f"17-{anna}")
    assert (first["item_id"], first["channel"]) == ("anna-q+", "anna-q+7")  # an item is an item
    assert first[RAW] == f"{anna},{account},x"
    assert (second["event_id"], second["query"]) == (f"{odd}.2", "o")
    assert (third["event_id"], third["query"]) == (f"177-{seven}", "size 7")  # a short number may be anything
    assert third["source_session"] == "3-12"  # as in the session's rows before the login


@pytest.mark.parametrize(("values", "told"), [
    ({"item_id": "for anna-1"}, r"item_id \(3 of 3 events\); leave them out"),
    ({"category": "of a@bc.de", "login_id": "a@bc.de"}, r"category \(3 of 3 events\); leave them out")])
def test_columns_that_hold_an_own_id_are_refused_by_name(
    spark: SparkSession, values: dict[str, str], told: str
) -> None:
    plain = {"user_id": "anna-1", "brand": "b"}

    def events(more: dict[str, str]) -> DataFrame:
        rows = [{**plain, "event_id": f"e{n}", **more} for n in range(3)]
        return add_pseudonyms(EVENTS.frame(spark, rows), KEY, ("user_id", "login_id"))

    with pytest.raises(InputError, match=told):
        check_raw_ids(events(values))
    check_raw_ids(events({"item_id": "for annabel-1"}))


def test_no_file_but_the_keys_holds_an_id_after_ingest(spark: SparkSession, tmp_path: Path) -> None:
    head = "id,user,login,at,what,item,words,order,session\n"
    lines = [f"visitor-{n:04d}-e{k},visitor-{n:04d},account-{n:04d},2024-01-0{1 + k} 10:00:00,{what},i{k},"
             f"account-{n:04d} size 7,o-visitor-{n:04d},visitor-{n:04d}/{k}\n"
             for n in range(20) for k, what in enumerate(("view", "buy", "fly"))]
    (tmp_path / "mine.yaml").write_text(MAPPING)
    config = load_config([], [
        f"paths.raw={write_files(tmp_path / 'raw', {'a.csv': head + ''.join(lines)})}", "ingest.max_rejected_share=1",
        f"paths.warehouse={tmp_path / 'warehouse'}", f"ingest.source={tmp_path / 'mine.yaml'}",
        f"ingest.pseudonym_key_file={tmp_path / 'key'}"])
    summary = run(Job("ingest", config, spark=spark))
    assert summary.rows == {"events": 40, "rejected_events": 20, "user_keys": 40}
    held = {}
    for file in (tmp_path / "warehouse/data").rglob("*.parquet"):
        texts = spark.read.parquet(str(file)).selectExpr("to_json(struct(*)) as text")
        held[file.relative_to(tmp_path / "warehouse/data").parts[0]] = texts.where(
            "text like '%visitor-0%' or text like '%account-0%'").count()
    assert {name for name, rows in held.items() if rows} == {"user_keys"}
    for table in ("user_keys", "rejected_events"):
        assert not (tmp_path / "warehouse/data" / table).stat().st_mode & 0o077
