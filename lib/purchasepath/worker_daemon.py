"""Spark's daemon of Python workers, whose workers begin with Arrow and pandas; silent where one was hung up on.

Workers are forked from it: what it has imported none of them imports again, a tenth of a short run's time.

Over Unix sockets a worker learns at once that nobody reads on, as after a `limit`, and Spark 4.3's daemon prints the
traceback of a job that is well. `conf/spark/local.conf` names this module; Spark runs it as `python -m`.
"""

from __future__ import annotations

import sys
import traceback
from types import SimpleNamespace

import pandas  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
from pyspark import daemon


def print_unless_hung_up() -> None:
    """The traceback of what is being handled, but for a closed connection."""
    if not isinstance(sys.exc_info()[1], BrokenPipeError | ConnectionResetError):
        traceback.print_exc()


if __name__ == "__main__":
    daemon.traceback = SimpleNamespace(print_exc=print_unless_hung_up, format_exc=traceback.format_exc)  # type: ignore[assignment]
    daemon.manager()
