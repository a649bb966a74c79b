"""Every byte of a warehouse compared with what its commits wrote: `./spark-submit.sh doctor --warehouse`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from purchasepath.errors import DamagedWarehouseError
from purchasepath.storage.contents import FileFacts
from purchasepath.storage.snapshots import Snapshot, Snapshots


@dataclass(frozen=True)
class TableAudit:
    """What a table holds, and what of it is not as it was committed. `known`: whether its commit named its files."""

    table: str
    found: str
    known: bool
    faults: tuple[str, ...] = ()

    @classmethod
    def of_files(cls, table: str, files: Collection[FileFacts]) -> TableAudit:
        """A table without a fault."""
        known = [facts.rows for facts in files if facts.rows is not None]
        rows = f"{sum(known):,} rows, " if known else ""
        megabytes = sum(facts.bytes for facts in files) / 1e6
        return cls(table, f"{len(files):,} files, {rows}{megabytes:,.1f} MB", known=True)


def audit_warehouse(root: Path) -> Iterator[TableAudit]:
    """Table by table of the newest snapshot, all files read whole.

    Raises DamagedWarehouseError where there is no snapshot at all, or none that can be trusted.
    """
    snapshot = Snapshots(root, keep=1).pin() if root.is_dir() else None
    if snapshot is None:
        raise DamagedWarehouseError([f"{root}: no embedded warehouse is there"])
    try:
        for table in snapshot.tables():
            yield _audit(snapshot, table)
    finally:
        snapshot.release()


def _audit(snapshot: Snapshot, table: str) -> TableAudit:
    try:
        contents = snapshot.contents(table)
        if contents is None:
            snapshot.table(table)
            return TableAudit(table, "written before commits named their files", known=False)
        snapshot.verify(table, whole=True)
    except DamagedWarehouseError as damage:
        return TableAudit(table, f"{len(damage.faults)} faults", True, tuple(damage.faults))
    return TableAudit.of_files(table, contents.values())
