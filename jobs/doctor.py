"""What is installed, what works, and what to do about the rest. Runs on a bare Python, outside Spark.

With `--warehouse [DIR]` it reads every file of a warehouse, by default that of the configuration (`--config`, `--set`),
and compares it with what was committed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lib"))  # also where set-up never finished

from purchasepath.doctor.checks import Finding  # noqa: E402
from purchasepath.doctor.report import main, report  # noqa: E402


def examine_warehouse(arguments: Sequence[str]) -> int:
    """Print what was found; 0 when all is as committed, 2 otherwise."""
    from purchasepath.analyses.catalog import ALL_TABLES
    from purchasepath.config import load_config
    from purchasepath.job import Job, argument_parser, guarded
    from purchasepath.storage.audit import audit_warehouse
    from purchasepath.storage.hive import HiveWarehouse

    parser = argument_parser("doctor --warehouse")
    parser.add_argument("directory", nargs="?")
    parser.add_argument("--json", action="store_true")
    options, status = parser.parse_args(arguments), 0

    def work() -> None:
        nonlocal status
        config = load_config(options.config, options.set)
        in_hive = config.warehouse.catalog == "hive" and not options.directory
        audits = HiveWarehouse(Job("doctor", config).spark, config).audit(ALL_TABLES) if in_hive else \
            audit_warehouse(Path(options.directory or config.paths.warehouse).absolute())
        status = report([
            Finding(audit.table, audit.found, "as committed", not audit.faults if audit.known else None,
                    "\n    ".join(audit.faults)) for audit in audits], as_json=options.json)

    return guarded(work) or status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--warehouse"]:
        sys.exit(examine_warehouse(sys.argv[2:]))
    sys.exit(main(sys.argv[1:], ROOT))
