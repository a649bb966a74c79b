"""Run by test_incremental.py in a process of its own: sessions with a Hive catalog equal those of one full run.

Events arrive in three runs, before the rules change; on the way the lists of files go missing, as of an earlier
release. The warehouse lies below a directory whose name is no URI's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from purchasepath.config import load_config
from purchasepath.storage import hive_transaction
from purchasepath.storage.session import build_session
from purchasepath.tables.catalog import SESSIONS
from tests.sessions.arrivals import arrivals
from tests.sessions.test_incremental import SMALL, Shop
from tests.storage.hive import hive_settings

root = Path(sys.argv[1]) / "ü a#b+100%20"
root.mkdir()
settings = hive_settings(Path(sys.argv[1]))
spark = build_session("hive", load_config([], settings), master="local[2]")
shop = Shop(spark, root, *SMALL, catalog=[s for s in settings if not s.startswith("paths.")])
modes = []
for number, run in enumerate(arrivals(11, num_users=25, num_runs=3)):
    # once as where Python has no name for a file: moved by Hadoop itself
    hive_transaction.is_local = lambda _, is_local=number != 1: is_local
    modes.append(shop.arrive(run).lines[0].split(" ")[0].rstrip(":"))
    shop.check()
    for listed in (root / "warehouse" / "sessions").glob("*/_files.json"):  # the next run adopts what is there
        spark.sql(f"ALTER TABLE purchasepath.sessions UNSET TBLPROPERTIES ('purchasepath.files.{listed.parent.name}')")
        listed.unlink()
        listed.with_name("._files.json.crc").unlink(missing_ok=True)
        listed.with_name("._files.json.draft.crc").unlink(missing_ok=True)
assert modes == ["full", "incremental", "incremental"], modes
shop.rules = (*SMALL, "gap_minutes=10")
assert shop.sessionize().lines[0].startswith("full (the rules of sessions have changed): ")
shop.check()
places = shop.open("check").warehouse.data_files(SESSIONS)
assert all(Path(file.address).stat().st_size == file.bytes for file in places), places
assert not list((root / "warehouse" / "_staging").glob("*/*")), "scratch was left"
print("sessions are those of one full run")
