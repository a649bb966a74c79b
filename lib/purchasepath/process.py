"""The process of a job: its clock."""

from __future__ import annotations

import os
import time


def run_in_utc() -> None:
    """Makes UTC the zone of this process and of those it starts, whatever the machine's is."""
    os.environ["TZ"] = "UTC"
    time.tzset()
