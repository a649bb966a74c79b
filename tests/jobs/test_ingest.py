"""The ingest job from raw files to tables: all of them or none, and every bad input one clear error."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.ingest import run
from purchasepath.config import load_config
from purchasepath.errors import InputError, TooManyCollisionsError, TooManyRejectedError, UserError
from purchasepath.job import Job, Summary
from purchasepath.process import Terminated
from purchasepath.sources import publication
from purchasepath.storage import open_warehouse
from purchasepath.storage.warehouse import Warehouse
from purchasepath.tables.catalog import EVENTS, INGEST_BOOKS, REJECTED_EVENTS, USER_KEYS
from tests.sources.reading import values, write_files

LINE = "user{0}\t2023-01-01 10:00:{0:02d}\tbrowse-product\t{0}\n"
GOOD = "".join(LINE.format(n) for n in range(20))
ODD = GOOD + LINE.format(3) + "user1\tlate\tlog-out\t5\n"

Ingest = Callable[..., tuple[Summary, Warehouse]]


@pytest.fixture
def ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Runs the job on files of the behaviour log; its summary and the warehouse afterwards."""
    runs = []

    def on(files: dict[str, str] | str, *overrides: str) -> tuple[Summary, Warehouse]:
        runs.append(1)
        raw = files if isinstance(files, str) else write_files(tmp_path / f"raw{len(runs)}", files)
        config = load_config(
            [],
            [
                f"paths.raw={raw}",
                f"paths.warehouse={tmp_path / 'warehouse'}",
                "ingest.source=behaviour_log",
                f"ingest.pseudonym_key_file={tmp_path / 'key'}",
                *overrides,
            ],
        )
        job = Job("ingest", config, spark=spark)
        return run(job), job.warehouse

    return on


def test_tables_books_and_summary(ingest: Ingest) -> None:
    summary, warehouse = ingest({"a.tsv": ODD, "b.tsv.gz": LINE.format(30)}, "ingest.max_rejected_share=0.1")
    assert summary.rows == {"events": 21, "rejected_events": 1, "user_keys": 21}
    assert summary.lines == [
        "behaviour_log, 2 files: read 23 = accepted 21 + duplicates 1 + rejected 1",
        "rejected: 1 x event_ts is not a time",
        "rejected: 1 x event_type is unknown",
    ]
    assert values(warehouse.read(INGEST_BOOKS), "source", "files", "read", "accepted", "duplicates", "rejected") == [
        ("behaviour_log", 2, 23, 21, 1, 1)
    ]
    pseudonyms = {raw: user for user, raw in values(warehouse.read(USER_KEYS), "user_id", "raw_id")}
    assert values(warehouse.read(REJECTED_EVENTS), "raw", "reasons") == [
        (f"{pseudonyms['user1']}\tlate\tlog-out\t5", ["event_ts is not a time", "event_type is unknown"])
    ]
    users = {user for (user,) in values(warehouse.read(EVENTS), "user_id")}
    assert users == {key for (key,) in values(warehouse.read(USER_KEYS), "user_id")}
    assert not any(user.startswith("user") for user in users)


def test_rerun_gives_the_same_rows_and_a_failed_run_changes_nothing(
    ingest: Ingest, spark: SparkSession, tmp_path: Path
) -> None:
    _, first = ingest({"a.tsv": GOOD})
    before = values(first.read(EVENTS), "*")
    _, second = ingest({"b.tsv.gz": GOOD})
    assert values(second.read(EVENTS), "*") == before
    assert second.read(INGEST_BOOKS).count() == 2
    snapshot = second.snapshot
    with pytest.raises(TooManyRejectedError, match=r"(?s)1 of 22 raw rows were rejected \(4.5%\).*log-out"):
        ingest({"a.tsv": ODD})
    after = open_warehouse(spark, load_config([], [f"paths.warehouse={tmp_path / 'warehouse'}"]))
    assert after.snapshot == snapshot
    assert values(after.read(EVENTS), "*") == before


CSV = "timestamp,visitorid,event,itemid,transactionid\n"


@pytest.mark.parametrize(
    ("name", "content", "overrides", "message"),
    [
        ("a.tsv", b"\n \n", [], "every file is empty"),
        ("events.csv", CSV.encode(), ["ingest.source=retailrocket"], "1 files without a single row"),
        ("events.csv", CSV.replace(",", ";").encode(), ["ingest.source=retailrocket"], "with delimiter ';' it fits"),
        (
            "events.csv",
            CSV.replace("itemid", "item").encode(),
            ["ingest.source=retailrocket"],
            "columns itemid are missing",
        ),
        ("a.tsv.gz", gzip.compress(GOOD.encode())[:-20], [], "a.tsv.gz.* cannot be read"),
        (
            "a.tsv.gz",
            gzip.compress((GOOD * 9000 + os.urandom(300_000).hex()).encode(), 1)[:-100_000],
            [],
            r"a.tsv.gz cannot be read: its (gzip )?data end too early",
        ),
        ("a.parquet", b"PAR1" + b"\0" * 100, ["ingest.source=trivago"], "not a complete Parquet file"),
    ],
)
def test_bad_input_is_one_clear_error(
    ingest: Ingest, tmp_path: Path, name: str, content: bytes, overrides: list[str], message: str
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        ingest(str(tmp_path / "bad"), *overrides)
    assert not list((tmp_path / "warehouse").rglob("*.parquet"))


MAPPING = "inputs: [{format: csv, fields: {user_id: u, event_ts: t, event_type: e, item_id: i}}]"


@pytest.mark.parametrize(("change", "message"), [
    (("format: csv", "format: csv, time: {format: YYYY-MM-dd}"), r"time\.format 'YYYY-MM-dd': Spark knows no such"),
    (("user_id: u", "user_id: {sql: coalesce(usr), uses: [u]}"), r"user_id: sql `coalesce.usr.`: column `usr` is not"),
    (("item_id: i", "quantity: {sql: abs(cast(i as int)), uses: [i]}"), r"(?s)quantity: abs\(cast\(i.*try_cast"),
    (("event_ts: t", "event_ts: {sql: 'date_add(t, cast(i as int))', uses: [t, i]}"), r"(?s)event_ts: date_add.*try_"),
])
def test_a_mapping_that_cannot_be_evaluated_is_one_clear_error(
    ingest: Ingest, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "shop.yaml").write_text(MAPPING.replace(*change))
    with pytest.raises(UserError, match=message):
        ingest({"a.csv": "u,t,e,i\nu,2024-01-01,view,2\nu,2024-01-01,view,two\n"},
               f"ingest.source={tmp_path / 'shop.yaml'}")
    assert not list((tmp_path / "warehouse").rglob("*.parquet"))


def test_path_that_does_not_exist(ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or directory"):
        ingest(str(tmp_path / "nowhere"))
    assert not (tmp_path / "key").exists()


def test_damaged_parquet_pages_are_one_clear_error(ingest: Ingest, spark: SparkSession, tmp_path: Path) -> None:
    others = ("session_id", "action_type", "reference", "city", "device", "impressions", "prices")
    wide = [f"'{c}' as {c}" for c in others]
    frame = spark.range(5000).selectExpr(
        "sha2(string(id), 256) as user_id", "1541599523 + id as timestamp", "id as step", *wide
    )
    frame.coalesce(1).write.parquet(str(tmp_path / "p"))
    file = next((tmp_path / "p").glob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[1000:60_000] = b"\xff" * 59_000
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        ingest(str(tmp_path / "bad.parquet"), "ingest.source=trivago")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "path", "events", "users", "line"),
    [
        (
            "retailrocket",
            "events/retailrocket/events.csv.gz",
            104_776,
            18_206,
            "read 104,776 = accepted 104,776 + duplicates 0 + rejected 0",
        ),
        ("rees46", "events/rees46", 17_429, 4_504, "read 17,435 = accepted 17,429 + duplicates 5 + rejected 1"),
        (
            "trivago",
            "events/trivago/*.parquet",
            100_003,
            6_593,
            "read 100,003 = accepted 100,003 + duplicates 0 + rejected 0",
        ),
    ],
)
def test_real_data(
    ingest: Ingest, shared_data: Path, source: str, path: str, events: int, users: int, line: str
) -> None:
    summary, warehouse = ingest(str(shared_data / path), f"ingest.source={source}")
    assert summary.rows["events"] == events
    assert line in summary.lines[0]
    assert warehouse.read(EVENTS).select("user_id").distinct().count() == users
    if source == "retailrocket":
        assert dict(values(warehouse.read(EVENTS).groupBy("event_type").count(), "*")) == {
            "view": 102_242,
            "cart": 2_408,
            "purchase": 126,
        }


def test_a_run_that_is_terminated_publishes_nothing_and_leaves_nothing(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Terminated

    with monkeypatch.context() as terminated, pytest.raises(Terminated):
        terminated.setattr(publication, "books_row", stop)  # by then the other tables are staged
        ingest({"a.tsv": GOOD})
    assert not (tmp_path / "warehouse" / "current").exists()
    assert not list((tmp_path / "warehouse").rglob("*.parquet"))
    assert not list((tmp_path / "warehouse" / "staging").iterdir())


def test_two_exports_that_number_from_one_are_told_together_and_one_by_one(ingest: Ingest, tmp_path: Path) -> None:
    mapping = tmp_path / "shop.yaml"
    mapping.write_text("inputs: [{format: csv, fields: {event_id: id, user_id: u, event_ts: t, event_type: e}}]")
    first, second = ("id,u,t,e\n" + "".join(f"{n},{who}{n},2024-01-01,view\n" for n in (1, 2, 3)) for who in "ab")
    with pytest.raises(TooManyCollisionsError, match="3 of 6 raw rows have the event id of another row"):
        ingest({"a.csv": first, "b.csv": second}, f"ingest.source={mapping}")
    _, warehouse = ingest({"a.csv": first}, f"ingest.source={mapping}")
    with pytest.raises(TooManyCollisionsError, match=r"(?s)3 of 3 .*event id '1', as accepted by an earlier run"):
        ingest({"b.csv": second}, f"ingest.source={mapping}")
    assert warehouse.read(EVENTS).count() == 3
    summary, _ = ingest({"b.csv": second}, f"ingest.source={mapping}", "ingest.max_collision_share=1")
    assert any(line.startswith("3 rows had another row's event id but other contents") for line in summary.lines)
