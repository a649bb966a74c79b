"""The list of stages, and everything that derives from it."""

from __future__ import annotations

import re

import pytest

from purchasepath.analyses.catalog import ALL_TABLES
from purchasepath.stages import BESIDE, PATH, PIPELINE, STAGES, next_command
from purchasepath.tables.catalog import DATASET_TABLES
from tests.rules.reading import JOBS, LIBRARY, ROOT, name

NAMES = {stage.name for stage in STAGES}


def test_a_stage_reads_only_what_stages_before_it_have_written() -> None:
    writer = {table.name: table.written_by for table in (*ALL_TABLES, *DATASET_TABLES)}
    early = [f"{stage.name} reads {thing}" for number, stage in enumerate(PATH) for thing in stage.reads
             if thing in writer and writer[thing] not in PIPELINE[:number]]
    assert not early
    assert sum(thing in writer for stage in STAGES for thing in stage.reads) > 5


def test_the_next_stage_is_the_one_below_in_the_list() -> None:
    assert next_command("ingest") == "./spark-submit.sh sessionize"
    assert [next_command(stage) for stage in ("report", *(stage.name for stage in BESIDE))] == [""] * 4


@pytest.mark.parametrize("file", [*LIBRARY, *JOBS], ids=name)
def test_commands_that_messages_name_exist(file: object) -> None:
    text = file.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert set(re.findall(r"\./spark-submit\.sh ([a-z]+)", text)) <= NAMES


def test_only_the_list_of_stages_names_one_after_another() -> None:
    several = re.compile(r"\b" + r"\b\W{1,6}\b".join(PIPELINE[2:5]) + r"\b")
    code = [*LIBRARY, *JOBS, ROOT / "spark-submit.sh"]
    assert [name(file) for file in code if several.search(file.read_text(encoding="utf-8"))] == []
