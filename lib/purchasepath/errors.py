"""Every error a user can fix: what was expected, what was found, what to do next.

A `UserError` ends a job with exit code 2 and its message, without a traceback. Anything else that
escapes a job is a defect of ours and keeps its traceback (exit code 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from purchasepath.stages import command

_OBEYED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


class UserError(Exception):
    """Something the user can put right; the message says how."""


class ConfigError(UserError):
    """A configuration file or a `--set` that does not fit; lists every fault at once."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("the configuration does not fit:\n" + "\n".join(f"  - {f}" for f in self.faults))


class InputError(UserError):
    """Raw input that cannot be read as the source mapping says."""


class TableMissingError(UserError):
    """A table that an earlier stage should have written is not there."""

    def __init__(self, table: str, stage: str) -> None:
        super().__init__(
            f"table {table} was expected in the warehouse and is not there; "
            f"write it first: {command(stage)}"
        )


class TableMismatchError(UserError):
    """A frame or stored table whose columns differ from the catalog; lists every difference."""

    def __init__(self, table: str, differences: Iterable[str]) -> None:
        self.differences = list(differences)
        super().__init__(
            f"table {table} does not match its declaration (docs/tables.md):\n"
            + "\n".join(f"  - {d}" for d in self.differences)
        )


class TooManyRejectedError(UserError):
    """More rejected raw rows than `ingest.max_rejected_share` allows."""


class TooManyCollisionsError(UserError):
    """More rows with another row's event id and other contents than `ingest.max_collision_share` allows."""


class TooFewRowGroupsError(UserError):
    """Fewer row groups than ranks: some rank would have nothing to read."""

    def __init__(self, found: int, ranks: int) -> None:
        super().__init__(
            f"the dataset has {found} row groups for {ranks} ranks and every rank needs at least one; "
            f"write it again with a smaller dataset.rows_per_group, or train with "
            f"--set training.ranks={max(found, 1)}"
        )


class BundleMismatchError(UserError):
    """A bundle that was trained on other features, another vocabulary or another code contract."""


class DamagedFileError(UserError):
    """A stored file that is not as it was written."""

    def __init__(self, path: object, fault: str) -> None:
        super().__init__(f"{path}: {fault}; put the file back from a copy, or write again what it belongs to. "
                         "Nothing was published. ./spark-submit.sh doctor --warehouse tells what else is damaged")


class FileSystemError(UserError):
    """A file system that Python does not open here."""

    def __init__(self, root: str, why: str, next_step: str) -> None:
        super().__init__(f"{root}: tasks open these files themselves, by pyarrow.fs, and cannot ({why}); {next_step} "
                         "(docs/cluster.md)")


class DamagedWarehouseError(UserError):
    """Stored tables that are not as they were committed; lists every fault."""

    def __init__(self, faults: Iterable[str], *, most: int = 10) -> None:
        self.faults = list(faults)
        more = [f"  and {len(self.faults) - most} more"] if len(self.faults) > most else []
        super().__init__("\n".join([
            "the warehouse is not as it was committed:", *(f"  - {fault}" for fault in self.faults[:most]), *more,
            "nothing was published. Put it back from a copy, or begin with an empty warehouse, "
            "--set paths.warehouse=<new directory>, and run the stages again from `ingest` on; "
            "./spark-submit.sh doctor --warehouse tells everything that is damaged"]))


class PublishError(UserError):
    """Staged rows failed their audit, or another job published the same partition first."""


class ConflictError(PublishError):
    """Another job has published what this one builds on: on top of theirs it can be done again."""


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean `x`?)' for the closest known word, or the list of all known words."""
    choices = sorted(known)
    close = get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else f" (known: {', '.join(choices)})"


def plain_text(text: str, *, lines: bool = False) -> str:
    """`text` with escapes for the signs that a terminal obeys rather than shows, which a shop's data may hold; with
    `lines`, line breaks and tabs stay."""
    kept = "\n\t" if lines else ""
    return _OBEYED.sub(lambda sign: sign[0] if sign[0] in kept else repr(sign[0])[1:-1], text)
