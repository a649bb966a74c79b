"""Events per second of sessionizing, ours beside the usual ways, on the same files and cores, each in a fresh process.

    python benchmarks/sessionize.py --events 5000000 --cases realistic one_user --engines ours spark_window
    python benchmarks/sessionize.py --curve 1000000 10000000        how our cost grows
    python benchmarks/sessionize.py --cases --curve 1000000000 --consume --add     on a disk of 80 GB

Machines are rarely idle: beside the wall clock the CPU time of all processes is told, and rates from both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sessionizers.engines import ENGINES, SPARK, duckdb, polars
from sessionizers.generated_events import CASES, write_events

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "sessionize.json"
PLOT = ROOT / "docs" / "images" / "sessionize.svg"


def main() -> None:
    options = arguments().parse_args()
    if options.engine:
        print(json.dumps(run_here(options.engine, Path(options.source), Path(options.target), options)))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        plans = [(case, options.events, options.engines) for case in options.cases]
        plans += [("realistic", size, ["ours"]) for size in options.curve]
        for case, size, engines in plans:
            source = Path(work) / f"{case}-{size}"
            write_events(source, case, size)
            for engine in engines:
                rows.append(measure(engine, case, size, source, Path(work) / "out", options))
                print(line(rows[-1], rows) if "value" in rows[-1] else rows[-1], flush=True)
            shutil.rmtree(source, ignore_errors=True)  # the last engine may have consumed it
    if not options.no_save:
        kept = earlier(rows) if options.add else []
        save([*kept, *rows], options)
        draw([*kept, *rows])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--curve", nargs="*", type=int, default=[], help="sizes to run ours alone on")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--heap", default="4g", help="heap of the driver, in which local Spark runs all its tasks")
    parser.add_argument("--work", default=None, help="directory for generated files; the system's by default")
    parser.add_argument("--consume", action="store_true", help="ours deletes events once they are in the shuffle, and "
                        "sessions once they are written and counted: what it takes on a small disk")
    parser.add_argument("--add", action="store_true", help="add to the results of earlier runs")
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    return parser


def measure(engine: str, case: str, size: int, source: Path, target: Path,
            options: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own; `failed` where it did not end."""
    command = [sys.executable, __file__, "--engine", engine, "--source", str(source), "--target", str(target),
               "--cores", str(options.cores), "--heap", options.heap, *["--consume"] * options.consume]
    done = subprocess.run(command, env={**os.environ, "POLARS_MAX_THREADS": str(options.cores)},
                          capture_output=True, check=False, text=True)
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        reason = next((text for text in done.stderr.splitlines() if "Error" in text), done.stderr[-300:])
        return {"case": f"{case}/{engine}", "events": size, "failed": reason.strip()}
    figures = json.loads(done.stdout.splitlines()[-1])
    output = figures.pop("output_bytes", None) or sum(file.stat().st_size for file in target.rglob("*.parquet"))
    shutil.rmtree(target)
    return {"case": f"{case}/{engine}", "value": round(size / figures["seconds"]), "unit": "events/s", "events": size,
            "events_per_cpu_second": round(size / figures["cpu_seconds"]), "output_mb": round(output / 1e6, 1),
            **{name: round(value, 2) for name, value in figures.items()}}


def run_here(engine: str, source: Path, target: Path, options: argparse.Namespace) -> dict[str, float]:
    from sessionizers.measuring import measured, spark_figures

    if engine not in SPARK:
        with measured() as used:
            duckdb(source, target, options.cores) if engine == "duckdb" else polars(source, target)
        return used
    from purchasepath.config import load_config
    from purchasepath.storage.session import build_session

    config = load_config([], [f"spark.driver_memory={options.heap}", *local_settings()])
    spark = build_session("benchmark", config, master=f"local[{options.cores}]")
    if options.consume:
        from sessionizers.consuming import ours_consuming

        with measured() as used:
            output = ours_consuming(spark, source, target)
        return used | spark_figures(spark) | output
    with measured() as used:
        SPARK[engine](spark, source, target)
    used |= spark_figures(spark)
    spark.stop()
    return used


def local_settings() -> list[str]:
    """What spark-submit.sh sets on one machine, but for the heap."""
    lines = (ROOT / "conf" / "spark" / "local.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(text.split(maxsplit=1) for text in lines if text and not text.startswith("#"))
    return [f"spark.conf.{key}={value}" for key, value in settings.items() if key != "spark.driver.memory"]


def line(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    case = row["case"].split("/")[0]
    base = next((r for r in rows if r["case"] == f"{case}/ours" and r["events"] == row["events"]), row)
    ratio = base["events_per_cpu_second"] / row["events_per_cpu_second"]
    skew = f"  slowest/median task {row['slowest_to_median']:.1f}" if "slowest_to_median" in row else ""
    return (f"{row['case']:<32} {row['events']:>11,} events {row['seconds']:>8.1f} s {row['value'] / 1e6:>6.2f} M/s   "
            f"{row['cpu_seconds']:>7.1f} CPU s {row['events_per_cpu_second'] / 1e6:>6.3f} M/s per core "
            f"(ours {ratio:>4.1f} x)   {row['peak_mb']:>7,.0f} MB peak  {row.get('shuffle_mb', 0):>7,.0f} MB shuffled  "
            f"{row.get('spill_mb', 0):>6,.0f} MB spilled  {row['output_mb']:>7,.1f} MB out{skew}")


def earlier(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Saved results of everything but what `rows` measured anew."""
    anew = {(row["case"], row["events"]) for row in rows}
    saved = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return [row for row in saved if (row["case"], row["events"]) not in anew]


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    machine = {"cores": os.cpu_count(), "used_cores": options.cores, "processor": platform.machine(),
               "python": platform.python_version(), "load_average": os.getloadavg()[0]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "config": {"heap": options.heap, "events": options.events},
                                   "rows": rows}, indent=1) + "\n", encoding="utf-8")


def draw(rows: list[dict[str, Any]]) -> None:
    """CPU seconds against events, of every engine on realistic events: ours at several sizes is a line."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "purchasepath"  # the same picture is the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for engine in ENGINES:
        points = sorted((row["events"], row["cpu_seconds"]) for row in rows
                        if row["case"] == f"realistic/{engine}" and "value" in row)
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=engine.replace("_", " "))
    axes.set(xscale="log", yscale="log", xlabel="events", ylabel="CPU seconds of all processes",
             title="sessionize: cost against size")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
