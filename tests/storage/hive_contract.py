"""Run by test_hive.py in a process of its own: the warehouse contract against a Hive metastore."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from jobs import doctor
from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.analyses.paths import PATHS
from purchasepath.config import load_config
from purchasepath.errors import DamagedWarehouseError, PublishError, TableMissingError
from purchasepath.storage import open_warehouse
from purchasepath.storage.hive import HiveWarehouse
from purchasepath.storage.parquet import read_parquet
from purchasepath.storage.session import build_session
from purchasepath.storage.warehouse import create_table_sql
from purchasepath.tables.catalog import CALIBRATION, EVENTS, INGEST_BOOKS, RECOMMENDATIONS, SCORES
from tests.storage.hive import hive_settings

root = Path(sys.argv[1])
settings = hive_settings(root)
config = load_config([], settings)
spark = build_session("hive", config, master="local[1]")
warehouse = open_warehouse(spark, config)
assert isinstance(warehouse, HiveWarehouse)
DAY_1 = {"as_of_date": date(2024, 1, 1), "model_name": "a b"}
DAY_2 = {"as_of_date": date(2024, 1, 2), "model_name": "it's"}


def score(user: str, day: dict[str, object]) -> dict[str, object]:
    return {"user_id": user, "score": 0.5, **day}


def users() -> list[str]:
    return sorted(r.user_id for r in warehouse.read(RECOMMENDATIONS).collect())


try:
    warehouse.read(RECOMMENDATIONS)
    raise AssertionError("read a table that was never written")
except TableMissingError:
    pass

with warehouse.transaction("r1") as work:
    assert work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("old1", DAY_1), score("old2", DAY_2)])) == 2
    assert work.write(PATHS, PATHS.frame(spark, [{"path": "view"}])) == 1
assert users() == ["old1", "old2"], users()
comments = {c.name: c.description for c in spark.catalog.listColumns("purchasepath.recommendations")}
assert comments["user_id"] == "keyed pseudonym of the visitor", comments

with warehouse.transaction("r2") as work:
    work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("new2", DAY_2)]), partitions=[DAY_2])
    work.write(PATHS, PATHS.frame(spark, [{"path": "cart"}, {"path": "view"}]))
assert users() == ["new2", "old1"], users()
assert warehouse.read(PATHS).count() == 2

with warehouse.transaction("r3") as work:  # a named partition without rows goes away
    work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), partitions=[DAY_1])
assert users() == ["new2"], users()

try:
    with warehouse.transaction("r4") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("no", DAY_1)]))
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
assert users() == ["new2"], users()

try:
    with warehouse.transaction("r5") as work:
        work.write(PATHS, PATHS.frame(spark, [{"path": "x"}]).selectExpr(
            "nullif(path, 'x') AS path", *[n for n in PATHS.names if n != "path"]))
    raise AssertionError("published nulls")
except PublishError:
    pass


class Killed(BaseException):
    """Stands for the driver's death between two switches."""


class KilledMidway(HiveWarehouse):
    def _apply(self, switches: list[dict[str, object]]) -> None:
        super()._apply(switches[:1])
        raise Killed


try:
    with KilledMidway(spark, config).transaction("r6") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("k1", DAY_1), score("k2", DAY_2)]))
except Killed:
    pass
with warehouse.transaction("r7"):
    pass  # the next transaction finishes what was cut off
assert users() == ["k1", "k2"], users()
assert sorted(warehouse.register([RECOMMENDATIONS, PATHS])) == ["paths", "recommendations"]

with warehouse.transaction("r7b") as first:  # numbers grow with what a transaction sees, not with clocks
    first.write(PATHS, PATHS.frame(spark, [{"path": "cart"}, {"path": "view"}]))
with warehouse.transaction("r7a") as second, open_warehouse(spark, config).transaction("r7c") as beside:
    assert second.number == beside.number == first.number + 1, (first.number, second.number, beside.number)
    second.write(PATHS, PATHS.frame(spark, [{"path": "cart"}, {"path": "view"}]))
with open_warehouse(spark, config).transaction("r7") as third:
    assert third.number == second.number + 1, third.number
[number] = [file.stem for file in (root / "wh" / "_numbers").glob("*.json")]
assert int(number) == second.number, number

older = replace(INGEST_BOOKS, columns=tuple(c for c in INGEST_BOOKS.columns if not c.nullable))
with warehouse.transaction("of an earlier release") as work:
    work.write(older, older.frame(spark, [{"run_id": "old"}]))
spark.sql("DROP TABLE purchasepath.ingest_books")
spark.sql(create_table_sql(older, "purchasepath", f"{root / 'wh' / 'ingest_books' / 'of an earlier release'}"))
assert [(row.run_id, row.run_number) for row in warehouse.read(INGEST_BOOKS).collect()] == [("old", None)]
with warehouse.transaction("of this release") as work:
    work.write(INGEST_BOOKS, INGEST_BOOKS.frame(spark, [{"run_id": "new", "run_number": work.number}]), append=True)
found = [(row.run_id, row.run_number) for row in warehouse.read(INGEST_BOOKS).orderBy("run_id").collect()]
assert found == [("new", work.number), ("old", None)], found

before = warehouse.fingerprints(RECOMMENDATIONS)
assert set(before) == {"as_of_date=2024-01-01/model_name=a b", "as_of_date=2024-01-02/model_name=it%27s"}, before
with warehouse.transaction("r8") as work:  # rows join a partition, another is replaced, a third is new
    day_3 = {"as_of_date": date(2024, 1, 3), "model_name": "m"}
    added = RECOMMENDATIONS.frame(spark, [score("l1", DAY_1), score("l2", DAY_2), score("l3", day_3)])
    kept = warehouse.read(RECOMMENDATIONS).where("user_id = 'nobody'")
    assert work.write(RECOMMENDATIONS, added, partitions=[DAY_2], append=True, kept=kept) == 3
    assert work.write(PATHS, PATHS.frame(spark, [{"path": "buy"}]), append=True) == 1
    assert sorted(row.user_id for row in work.read(RECOMMENDATIONS).collect()) == ["k1", "l1", "l2", "l3"]
    assert work.read(PATHS).count() == 3
    assert "l1" not in users()
assert users() == ["k1", "l1", "l2", "l3"], users()
assert warehouse.read(PATHS).count() == 3
after = warehouse.fingerprints(RECOMMENDATIONS)
assert set(after) == {*before, "as_of_date=2024-01-03/model_name=m"}, after
assert not set(after.values()) & set(before.values()), (before, after)

with warehouse.transaction("r9") as work:  # adding nothing changes nothing
    assert work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark), append=True) == 0
    assert work.write(PATHS, PATHS.frame(spark), append=True) == 0
    assert work.write(CALIBRATION, CALIBRATION.frame(spark), append=True) == 0
    assert work.write(SCORES, SCORES.frame(spark), append=True) == 0
assert warehouse.fingerprints(RECOMMENDATIONS) == after
assert warehouse.read(CALIBRATION).count() == warehouse.read(SCORES).count() == 0

with warehouse.transaction("r10") as work:  # of the others, only the partitions that gain rows move
    work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("m1", DAY_1)]), append=True)
kept = set(warehouse.fingerprints(RECOMMENDATIONS).items()) & set(after.items())
assert {partition for partition, _ in kept} == set(after) - {"as_of_date=2024-01-01/model_name=a b"}, kept

other = open_warehouse(spark, config)
try:
    with warehouse.transaction("r11") as work:
        work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("mine", DAY_2)]), append=True)
        with other.transaction("r12") as theirs:
            theirs.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("theirs", day_3)]), append=True)
    raise AssertionError("added rows to a table that another run had changed")
except PublishError:
    pass
assert users() == ["k1", "l1", "l2", "l3", "m1", "theirs"], users()

with warehouse.transaction("r13") as work:  # the whole table: partitions without rows go away, whatever their names
    work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("last", DAY_1)]))
assert users() == ["last"], users()
def damage(told: str) -> None:
    """A new process would find it, as this one has verified what it read."""
    try:
        open_warehouse(spark, config).read(RECOMMENDATIONS)
        raise AssertionError(f"not found: {told}")
    except DamagedWarehouseError as error:
        assert told in str(error), error  # noqa: PT017


with warehouse.transaction("r20") as work:
    work.write(RECOMMENDATIONS, RECOMMENDATIONS.frame(spark, [score("d1", DAY_1), score("d2", DAY_2)]))
[file] = warehouse.data_files(RECOMMENDATIONS, [DAY_2])  # for tasks that open them themselves
assert read_parquet(file.address, ["user_id"])["user_id"].to_pylist() == ["d2"], file
assert file.bytes == Path(file.address).stat().st_size, file
assert {file.partition for file in warehouse.data_files(RECOMMENDATIONS)} == {
    "as_of_date=2024-01-01/model_name=a b", "as_of_date=2024-01-02/model_name=it%27s"}
assert {file.partition for file in warehouse.data_files(PATHS)} == {""}
assert warehouse.data_files(SCORES) == []
for day in ("as_of_date=2024-01-01", "as_of_date=2024-01-02"):
    file = next((root / "wh" / "recommendations" / "r20" / day).rglob("*.parquet"))
    content = file.read_bytes()
    file.unlink()
    damage(f"{file.name}: is missing")
    file.write_bytes(content[:-1])
    damage(f"{file.name}: has {len(content) - 1:,} bytes, {len(content):,} were written")
    file.write_bytes(content)
    stray = file.with_name("stray.parquet")
    stray.write_bytes(content)
    damage("stray.parquet: no commit wrote this file")
    stray.unlink()
    [crc] = file.parent.glob(f".{file.name}.crc")  # what Hadoop itself compares with, gone with the exchange
    kept = crc.rename(root / "crc")
    file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    damage(f"{file.name}: its content is not what was written")
    [found] = [audit.faults for audit in warehouse.audit(ALL_TABLES) if audit.table == "recommendations"]
    assert len(found) == 1, found
    assert file.name in found[0], found
    file.write_bytes(content)
    kept.rename(crc)
audits = {audit.table: audit for audit in warehouse.audit(ALL_TABLES)}
assert audits["recommendations"].found.startswith("2 files, 2 rows, "), audits
assert not any(audit.faults for audit in audits.values()), audits
assert audits["ingest_books"].found.startswith("2 files, 2 rows, "), audits
assert doctor.examine_warehouse([f"--set={setting}" for setting in settings]) == 0
(root / "wh" / "recommendations" / "r20").rename(root / "aside")
damage("r20: is missing")
(root / "aside").rename(root / "wh" / "recommendations" / "r20")
assert open_warehouse(spark, config).read(RECOMMENDATIONS).count() == 2
listed = root / "wh" / "recommendations" / "r20" / "_files.json"
text = listed.read_text()
listed.write_text(text.replace('"rows": 1', '"rows": 2', 1))
damage("r20/_files.json: the list of its files cannot be read (Checksum error")
listed.with_name("._files.json.crc").unlink(missing_ok=True)
listed.with_name("._files.json.draft.crc").unlink(missing_ok=True)
damage("r20/_files.json: the list of its files is not the one that was committed")
listed.unlink()
damage("r20/_files.json: the list of its files is missing")
properties = {row.key for row in spark.sql("SHOW TBLPROPERTIES purchasepath.recommendations").collect()}
assert {name for name in properties if "files" in name} == {"purchasepath.files.r20"}, properties
spark.sql("ALTER TABLE purchasepath.recommendations UNSET TBLPROPERTIES ('purchasepath.files.r20')")
assert open_warehouse(spark, config).read(RECOMMENDATIONS).count() == 2

younger = EVENTS.column("tie_order")
older = replace(EVENTS, columns=tuple(c for c in EVENTS.columns if c != younger))
with warehouse.transaction("r21") as work:
    work.write(older, older.frame(spark, [{"event_id": "before"}]))
assert [row.tie_order for row in warehouse.read(EVENTS).collect()] == [None]
for run, event_id in (("r22", "after"), ("r23", "again")):
    with warehouse.transaction(run) as work:
        work.write(EVENTS, EVENTS.frame(spark, [{"event_id": event_id, "tie_order": 7}]), append=True)
assert {(row.event_id, row.tie_order) for row in warehouse.read(EVENTS).collect()} == {
    ("before", None), ("after", 7), ("again", 7)}
print("the contract holds")
