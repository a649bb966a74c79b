"""Which files run backwards: shapes of records, and whole files of which the beginning tells nothing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from pyspark.sql import SparkSession

from purchasepath.sources.direction import Told, runs_backwards, split_by_direction
from purchasepath.sources.layout import find_source_layouts
from purchasepath.sources.reading import reading_session
from tests.sources.reading import source_of, write_files


def log(seed: int, visitors: int, records: int = 200) -> list[Told]:
    """Records of some visitors at random times, in order of time."""
    rng = Random(seed)
    return sorted(((f"u{rng.randrange(visitors)}", rng.randrange(10**9)) for _ in range(records)), key=lambda r: r[1])


def by_visitor(records: list[Told]) -> list[Told]:
    return sorted(records, key=lambda record: str(record[0]))  # stable


def by_arrival(records: list[Told], jitter_us: int, seed: int) -> list[Told]:
    rng = Random(seed)
    return sorted(records, key=lambda record: record[1] + rng.randrange(jitter_us))


@pytest.mark.parametrize("visitors", [1, 3, 70, 200, 10**6])
def test_sorted_files_run_as_they_are_sorted(visitors: int) -> None:
    for seed in range(20):
        records = log(seed, visitors)
        assert not runs_backwards(records)
        assert runs_backwards(records[::-1])
        if visitors <= 100:  # or there is no second record of a visitor to tell by
            assert not runs_backwards(by_visitor(records))
            assert runs_backwards(by_visitor(records[::-1]))


def test_records_a_little_out_of_order_still_run_forwards() -> None:
    for seed in range(20):
        assert not runs_backwards(by_arrival(log(seed, 50), 10**8, seed))
        assert not runs_backwards(by_arrival(log(seed, 10**6), 10**8, seed))
        assert runs_backwards(by_arrival(log(seed, 10**6), 10**8, seed)[::-1])


def test_records_in_no_order_run_forwards() -> None:
    for seed in range(20):
        records = log(seed, 10**6)
        Random(seed).shuffle(records)
        assert not runs_backwards(records)


def test_records_of_one_instant_or_none_run_forwards() -> None:
    assert not runs_backwards([])
    assert not runs_backwards([("u", 5)] * 9)
    assert runs_backwards([("u", 5), ("u", 5), ("v", 4)])


def test_files_whose_beginning_is_one_instant_are_told_by_their_ends(spark: SparkSession, tmp_path: Path) -> None:
    first, second = [f"u{n},2024-01-01,view\n" for n in range(300)], ["v,2024-01-02,view\n"]
    files = {"up.csv": first + second, "down.csv": second * 300 + first, "packed.csv.gz": second * 300 + first,
             "short.csv": second + first[:1], "day.csv": first, "odd.csv": ["u,no time,view\n"]}
    directory = write_files(tmp_path, {name: "u,t,e\n" + "".join(lines) for name, lines in files.items()})
    source = source_of(format="csv", fields={"user_id": "u", "event_ts": "t", "event_type": "e"})
    reader = reading_session(spark)
    found = split_by_direction(reader, find_source_layouts(reader, source, directory))
    told = {file.name: layout.backwards for layout in found.layouts["events"] for file in layout.files}
    assert {name for name, backwards in told.items() if backwards} == {"down.csv", "packed.csv.gz", "short.csv"}
    assert set(told) == set(files)
    assert found.remarks == ["times run backwards in 3 files, so their events of one instant are in order of their "
                             "types: down.csv, packed.csv.gz, short.csv"]
