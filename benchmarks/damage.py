"""What becomes of damage: bits flipped at random, files deleted, cut off and exchanged in a small shop's warehouse and
dataset. Every damage is followed by reading the table as a stage does, and is put right again.

    python benchmarks/damage.py [--flips 1000] [--others 60] [--seed 7] [--scratch DIRECTORY]

Counts per table and way of reading: `detected` (an error that a user can put right, exit code 2), `harmless` (the same
rows), `unnoticed` (other rows: none may be), `traceback` (an error that names nothing). A small table's files are read
whole when it is opened; a large one's are not, so that half of the damage is done as if every table were large: then
sizes, the files' ends and the checksums of pages that are read have to do.

Writes benchmarks/results/damage.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib")]

from jobs.pipeline import load_stage  # noqa: E402
from purchasepath.config import Config, load_config  # noqa: E402
from purchasepath.datasets.manifest import Manifest  # noqa: E402
from purchasepath.job import Job, guarded  # noqa: E402
from purchasepath.scoring.evaluation import read_examples  # noqa: E402
from purchasepath.sessions.engine.source import FileSource  # noqa: E402
from purchasepath.storage import contents, open_warehouse  # noqa: E402
from purchasepath.storage.session import build_session  # noqa: E402
from purchasepath.tables.catalog import EVENTS, SESSIONS  # noqa: E402
from purchasepath.tables.features import USER_FEATURES  # noqa: E402
from purchasepath.tables.types import Table  # noqa: E402

STAGES = ("simulate", "ingest", "sessionize", "features", "dataset")
DETECTED, HARMLESS, UNNOTICED, TRACEBACK = "detected", "harmless", "unnoticed", "traceback"
OUTCOMES = (DETECTED, HARMLESS, UNNOTICED, TRACEBACK)
Rows = tuple[int, ...]
"""Number of rows and two sums over a hash of every column: equal for equal rows in any order."""


@dataclass(frozen=True)
class Target:
    """Something stored: its files, and its rows as a stage reads them."""

    name: str
    files: Sequence[Path]
    read: Callable[[], Rows]


def build_shop(spark: SparkSession, scratch: Path, users: int) -> Config:
    """A shop as far as its dataset."""
    config = load_config([], [
        f"simulate.users={users}", "simulate.days=28", "dataset.rows_per_group=64",
        f"ingest.pseudonym_key_file={scratch}/key",
        *(f"paths.{name}={scratch}/{name}" for name in ("raw", "warehouse", "dataset", "models", "runs"))])
    for stage in STAGES:
        load_stage(stage).run(Job(stage, config, spark=spark))
    return config


def targets_of(spark: SparkSession, config: Config) -> list[Target]:
    """EVENTS and SESSIONS, read by Spark and by tasks themselves; features; EXAMPLES; and what describes them."""
    current, dataset = (Path(config.paths.warehouse) / "current").resolve(), Path(config.paths.dataset)
    manifest = Manifest.load(dataset)

    def of_table(table: Table, read: Callable[[SparkSession, Config, Table], Rows], by: str) -> Target:
        files = sorted((current / table.name).resolve().rglob("*.parquet"))
        return Target(f"{table.name}, read by {by}", files, lambda: read(spark, config, table))

    descriptions = [current / "commit.json", (current / EVENTS.name).resolve() / contents.FILE_NAME]
    return [
        of_table(EVENTS, read_by_spark, "Spark"), of_table(EVENTS, read_by_tasks, "tasks"),
        of_table(SESSIONS, read_by_spark, "Spark"), of_table(SESSIONS, read_by_tasks, "tasks"),
        of_table(USER_FEATURES, read_by_spark, "Spark"),
        Target("examples", sorted((dataset / manifest.version).rglob("*.parquet")),
               lambda: read_dataset(spark, config)),
        Target("manifest", [dataset / "manifest.json"], lambda: read_dataset(spark, config)),
        Target("commit and list of files", descriptions, lambda: read_by_spark(spark, config, EVENTS)),
    ]


def read_by_spark(spark: SparkSession, config: Config, table: Table) -> Rows:
    return digest(open_warehouse(spark, config).read(table))


def read_by_tasks(spark: SparkSession, config: Config, table: Table) -> Rows:
    """As sessionize reads: files that tasks open as columns, of which it reads no lists."""
    files = open_warehouse(spark, config).data_files(table)
    columns = [c for c in table.columns if c.name not in table.partition_by and not c.type.startswith("array")]
    names, ddl = [c.name for c in columns], ", ".join(f"`{c.name}` {c.type}" for c in columns)
    schema = pa.schema([table.arrow_schema().field(name) for name in names])

    def plain(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:  # tasks read words as dictionaries, which Spark does not take back
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()

    return digest(FileSource(spark, table, [file.address for file in files]).map(plain, names, ddl))


def read_dataset(spark: SparkSession, config: Config) -> Rows:
    """As evaluate reads, beside what the manifest says."""
    manifest = Manifest.load(config.paths.dataset)
    manifest.verify(config.paths.dataset)
    train = digest(read_examples(spark, config.paths.dataset, manifest, "train"))
    return (*train, int(manifest.fingerprint, 16))


def digest(rows: DataFrame) -> Rows:
    hashed = F.xxhash64(*[F.col(name).cast("string") if kind.startswith("map") else F.col(name)
                          for name, kind in rows.dtypes])
    row = rows.agg(F.count(F.lit(1)), F.sum(hashed.cast("decimal(38,0)")), F.bit_xor(hashed)).first()
    assert row is not None
    return tuple(int(value or 0) for value in row)


# Damage.

@contextmanager
def flipped(files: Sequence[Path], rng: random.Random) -> Iterator[None]:
    """One bit of one file, any with the same chance; its times stay, as where a disk or a cable did it."""
    file = rng.choices(files, [file.stat().st_size for file in files])[0]
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    with replaced({file: bytes(content)}):
        yield


@contextmanager
def cut_off(files: Sequence[Path], rng: random.Random) -> Iterator[None]:
    file = rng.choice(files)
    content = file.read_bytes()
    with replaced({file: content[:rng.randrange(len(content))]}):
        yield


@contextmanager
def exchanged(files: Sequence[Path], rng: random.Random) -> Iterator[None]:
    """Two files in each other's place; one alone is doubled under another name."""
    if len(files) > 1:
        one, other = rng.sample(list(files), 2)
        with replaced({one: other.read_bytes(), other: one.read_bytes()}):
            yield
        return
    double = files[0].with_name(f"again-{files[0].name}")
    double.write_bytes(files[0].read_bytes())
    try:
        yield
    finally:
        double.unlink()


@contextmanager
def deleted(files: Sequence[Path], rng: random.Random) -> Iterator[None]:
    file = rng.choice(files)
    aside = file.with_name(f".aside-{file.name}")
    file.rename(aside)
    try:
        yield
    finally:
        aside.rename(file)


@contextmanager
def replaced(new: dict[Path, bytes]) -> Iterator[None]:
    """Other contents, in place."""
    old = {file: (file.read_bytes(), file.stat()) for file in new}

    def put(file: Path, content: bytes) -> None:
        file.write_bytes(content)
        os.utime(file, ns=(old[file][1].st_atime_ns, old[file][1].st_mtime_ns))

    try:
        for file, content in new.items():
            put(file, content)
        yield
    finally:
        for file, (content, _) in old.items():
            put(file, content)


OTHERS = {"deleted": deleted, "cut off": cut_off, "exchanged": exchanged}


def try_damage(target: Target, truth: Rows, damage: Callable[[Sequence[Path], random.Random], object],
               rng: random.Random) -> str:
    """What becomes of it."""
    found: list[Rows] = []
    with damage(target.files, rng), redirect_stderr(StringIO()):  # type: ignore[attr-defined]
        code = guarded(lambda: found.append(target.read()))
    if code:
        return DETECTED if code == 2 else TRACEBACK
    return HARMLESS if found == [truth] else UNNOTICED


@contextmanager
def as_if_large(large: bool) -> Iterator[None]:
    """No table is read whole when it is opened."""
    before = contents.WHOLE_BYTES
    contents.WHOLE_BYTES = -1 if large else before
    try:
        yield
    finally:
        contents.WHOLE_BYTES = before


def run(targets: Sequence[Target], *, flips: int, others: int, seed: int) -> Counter[tuple[str, str]]:
    """(case, outcome) → how often."""
    rng, counts = random.Random(seed), Counter[tuple[str, str]]()
    truths = {target.name: target.read() for target in targets}
    if any(target.read() != truths[target.name] for target in targets):
        raise SystemExit("reading twice gives other rows: nothing could be told of damage")
    for number in range(flips + others):
        target = targets[number % len(targets)]
        large = number // len(targets) % 2 == 1
        kind = "a bit flipped" if number < flips else list(OTHERS)[number % len(OTHERS)]
        with as_if_large(large):
            outcome = try_damage(target, truths[target.name], OTHERS.get(kind, flipped), rng)
        counts[f"{target.name}{', as if large' if large else ''}: {kind}", outcome] += 1
        if number % 50 == 49:
            print(f"{number + 1:,} of {flips + others:,}: " + told(counts), flush=True)
    return counts


def told(counts: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{sum(n for (_, o), n in counts.items() if o == outcome):,} {outcome}" for outcome in OUTCOMES)


def save(counts: Counter[tuple[str, str]], options: argparse.Namespace, file: Path) -> None:
    rows = [{"case": case, "value": counts[case, outcome], "unit": outcome}
            for case in sorted({case for case, _ in counts}) for outcome in OUTCOMES if counts[case, outcome]]
    total = [{"case": "all", "value": sum(n for (_, o), n in counts.items() if o == outcome), "unit": outcome}
             for outcome in OUTCOMES]
    file.write_text(json.dumps({
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "config": {"flips": options.flips, "others": options.others, "seed": options.seed, "users": options.users},
        "rows": [*total, *rows]}, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--others", type=int, default=60, help="files deleted, cut off and exchanged")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--users", type=int, default=150, help="visitors of the shop")
    parser.add_argument("--scratch", type=Path, help="directory for the shop; a temporary one by default")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(dir=options.scratch) as scratch:
        settings = load_config([], [f"paths.warehouse={scratch}/warehouse", "spark.shuffle_partitions=4",
                                    "spark.conf.spark.ui.enabled=false"])
        spark = build_session("damage", settings, master="local[2]")
        targets = targets_of(spark, build_shop(spark, Path(scratch), options.users))
        counts = run(targets, flips=options.flips, others=options.others, seed=options.seed)
        spark.stop()
    for case in sorted({case for case, _ in counts}):
        print(f"{case:<64}" + ", ".join(f"{counts[case, o]:,} {o}" for o in OUTCOMES if counts[case, o]))
    print("all: " + told(counts))
    if not options.no_save:
        save(counts, options, ROOT / "benchmarks" / "results" / "damage.json")


if __name__ == "__main__":
    main()
