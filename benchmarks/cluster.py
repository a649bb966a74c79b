"""Whether every way of running the stages ends well on a standalone cluster.

A master and two workers on loopback, with a secret, whose executors stand in other directories and know nothing of
this checkout.

    python benchmarks/cluster.py [--ways pipeline-embedded …] [--scratch DIRECTORY] [--no-save]

    pipeline-embedded    all stages in one driver, the embedded warehouse, two ranks of Horovod
    pipeline-hive        all stages in one driver, a Hive metastore, ranks of torch.distributed
    stages-embedded      every stage alone, each in a driver of its own, torch.distributed
    stages-hive          the same with a Hive metastore and Horovod
    packed               all stages in one driver by `./spark-submit.sh --pack-environment`, the embedded warehouse

A job is right if it ends with 0, says that it wrote rows into each of its tables, and listened on nothing but loopback.
Writes benchmarks/results/cluster.json: the seconds of each job.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from purchasepath.stages import PIPELINE  # noqa: E402
from tests.distributed.cluster_jobs import SecureCluster, secure_cluster  # noqa: E402
from tests.distributed.sockets import exposed  # noqa: E402

SMALL = ("simulate.users=150", "simulate.days=28", "dataset.rows_per_group=32", "model.width=16", "model.layers=1",
         "training.epochs=1", "training.timeout_minutes=2", "spark.shuffle_partitions=2",
         "evaluate.baselines=[popular_7d,markov_1]")


@dataclass(frozen=True)
class Way:
    """How the stages are run: all in one driver or each alone, with which catalog and ranks."""

    jobs: Sequence[str]
    catalog: str
    backend: str
    packed: bool = False

    def run(self, cluster: SecureCluster, shop: Path, job: str) -> dict[str, int]:
        """Rows of the job's tables, as it says. Raises AssertionError where it did not end well.

        `shop`: where the user stands; all paths are the defaults, relative to it.
        """
        settings, options = [f"training.backend={self.backend}", f"warehouse.catalog={self.catalog}"], []
        if self.catalog == "hive":
            metastore = f"jdbc:derby:;databaseName={shop / 'metastore'};create=true"
            settings.append(f"spark.conf.spark.hadoop.javax.jdo.option.ConnectionURL={metastore}")
            options = ["--driver-java-options", f"-Dderby.stream.error.file=\"{shop / 'derby.log'}\""]
        done = cluster.run(job, *overrides(*settings), stand_in=shop, options=options, packed=self.packed)
        assert done.code == 0, done.output[-4000:]
        assert done.listened
        assert not exposed(done.listened), exposed(done.listened)
        last = PIPELINE[-2] if job == "pipeline" else job  # the report has no tables
        rows = rows_of(shop, last)
        assert all(rows.values()), rows
        return rows


WAYS = {
    "pipeline-embedded": Way(("pipeline",), "embedded", "horovod"),
    "pipeline-hive": Way(("pipeline",), "hive", "torch"),
    "stages-embedded": Way(PIPELINE, "embedded", "torch"),
    "stages-hive": Way(PIPELINE, "hive", "horovod"),
    "packed": Way(("pipeline",), "embedded", "horovod", packed=True),
}


def overrides(*more: str) -> list[str]:
    """A small shop's settings, and more."""
    return [part for override in (*SMALL, *more) for part in ("--set", override)]


def rows_of(shop: Path, job: str) -> dict[str, int]:
    """What the newest run of a job says that it has written."""
    newest = max((shop / "var/runs").glob(f"*-{job}-*.json"))
    return dict(json.loads(newest.read_text(encoding="utf-8"))["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--scratch", type=Path, help="directory for shops and cluster; a temporary one by default")
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    rows = []
    with TemporaryDirectory(dir=options.scratch) as scratch, secure_cluster(Path(scratch)) as cluster:
        for name in options.ways:
            shop = Path(scratch) / f"shop {name}"
            shop.mkdir()
            for job in WAYS[name].jobs:
                clock = time.perf_counter()
                written = WAYS[name].run(cluster, shop, job)
                rows.append({"case": f"{name}, {job}", "value": round(time.perf_counter() - clock, 1),
                             "unit": "seconds", "rows": written})
                print(f"{rows[-1]['case']}: {rows[-1]['value']} s, {written}", flush=True)
    if not options.no_save:
        results = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
                   "config": {"small": SMALL}, "rows": rows}
        file = ROOT / "benchmarks" / "results" / "cluster.json"
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
