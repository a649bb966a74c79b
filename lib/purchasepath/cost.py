"""What a run cost: the time its tasks held cores, what they shuffled and spilled, and what a billion events would cost.

Read from Spark's own status store, which is there with and without the web page. Work outside Spark tasks
(planning, training on one rank in the driver) is not in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BILLION = 1_000_000_000
ENOUGH_TO_EXTRAPOLATE = 100_000
"""With fewer events a run is mostly start and planning, and a thousandfold of that says nothing."""


@dataclass(frozen=True)
class Cost:
    """Sums over the tasks of a run: seconds that a core was held, bytes written to shuffles, bytes spilled to disk."""

    core_seconds: float
    shuffle_bytes: int
    spill_bytes: int
    events: int | None = None
    """Events the run worked through; None where that says nothing."""

    @property
    def events_per_core_second(self) -> float | None:
        return self.events / self.core_seconds if self.events and self.core_seconds else None

    @property
    def core_hours_per_billion_events(self) -> float | None:
        rate = self.events_per_core_second
        return BILLION / rate / 3600 if rate and (self.events or 0) >= ENOUGH_TO_EXTRAPOLATE else None

    def facts(self) -> dict[str, Any]:
        """For the run's manifest."""
        return asdict(self) | {
            "events_per_core_second": self.events_per_core_second,
            "core_hours_per_billion_events": self.core_hours_per_billion_events,
        }

    def __str__(self) -> str:
        spilled = f"{_bytes(self.spill_bytes)} spilled" if self.spill_bytes else "nothing spilled"
        told = f"{self.core_seconds:,.1f} core-seconds, {_bytes(self.shuffle_bytes)} shuffled, {spilled}"
        rate, hours = self.events_per_core_second, self.core_hours_per_billion_events
        told += f"; {rate:,.0f} events/s per core" if rate else ""
        return told + (f", {hours:,.1f} core-hours per billion events" if hours else "")


class Meter:
    """Reads the cost of what a Spark session has run since the meter was made."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._before = {stage.stageId() for stage in self._stages()}

    def read(self, events: int | None = None) -> Cost:
        """Stages beyond `spark.ui.retainedStages` (1000) are forgotten by Spark and not counted."""
        mine = [stage for stage in self._stages() if stage.stageId() not in self._before]
        return Cost(
            core_seconds=sum(stage.executorRunTime() for stage in mine) / 1000,
            shuffle_bytes=sum(stage.shuffleWriteBytes() for stage in mine),
            spill_bytes=sum(stage.diskBytesSpilled() for stage in mine),
            events=events,
        )

    def _stages(self) -> list[Any]:
        context: Any = self._spark.sparkContext
        no_quantiles = context._gateway.new_array(context._jvm.double, 0)
        found = context._jsc.sc().statusStore().stageList(None, False, False, no_quantiles, None)
        return [found.apply(i) for i in range(found.size())]


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
