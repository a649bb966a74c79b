"""The doctor's findings as a table for people or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from purchasepath.doctor.checks import Finding, examine

USAGE = "./spark-submit.sh doctor [--json], or: doctor --warehouse [DIR] [--config FILE] [--set …] [--json]"
WIDEST = 60
STATES = {True: "ok", False: "FAILED", None: "-"}


def main(arguments: Sequence[str], root: Path) -> int:
    """Print what was found; 0 when all is well, 2 otherwise."""
    if set(arguments) - {"--json"}:
        asked_for_help = set(arguments) <= {"-h", "--help"}
        print(f"usage: {USAGE}", file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    if not arguments:
        print("looking around and trying every part; this takes up to a minute ...", file=sys.stderr, flush=True)
    return report(examine(root), as_json=bool(arguments))


def report(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print the findings; 0 when all is well, 2 otherwise."""
    well = all(finding.ok is not False for finding in findings)
    if as_json:
        print(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print(format_table(findings))
    return 0 if well else 2


def format_table(findings: Sequence[Finding]) -> str:
    """One line per component, and below it what to do about each that failed."""
    rows = [("component", "found", "expected", "")]
    rows += [(f.component, f.found, f.expected, STATES[f.ok]) for f in findings]
    widths = [min(WIDEST, max(len(row[i]) for row in rows)) for i in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
             for row in rows]
    failed = [f for f in findings if f.ok is False]
    advice = [f"  {f.component}: {f.remedy}" for f in failed]
    closing = ["", f"{len(failed)} of {len(findings)} need attention:", *advice] if failed else ["", "all is well"]
    return "\n".join([*lines, *closing])
