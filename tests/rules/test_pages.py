"""What the pages promise exists: commands, options, files, links; generated pages say what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from purchasepath.config import Config, load_config
from purchasepath.docs.pages import stale_pages
from purchasepath.stages import STAGES
from tests.rules.reading import JOBS, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = {stage.name for stage in STAGES}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def code(page: Path) -> str:
    """Fenced blocks and `inline code` of a page; continued lines are joined."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*fenced, *inline]).replace("\\\n", " ")


def test_generated_pages_are_fresh() -> None:
    assert not stale_pages(), "run: make docs"


def test_every_stage_has_a_job_and_every_job_is_a_stage() -> None:
    assert {job.stem for job in JOBS} == NAMES


def on_pages(pattern: str) -> Iterator[tuple[Path, str]]:
    """Every match of the pattern in the code of a page, with the page."""
    return ((page, found) for page in PAGES for found in re.findall(pattern, code(page), re.MULTILINE))


def test_stages_on_pages_exist() -> None:
    assert not [f"{page.name}: {stage}" for page, stage in on_pages(r"\./spark-submit\.sh +([a-z][\w-]*)")
                if stage not in NAMES]


def test_make_targets_on_pages_exist() -> None:
    assert not [f"{page.name}: make {target}" for page, targets in on_pages(r"^\s*(?:\$ )?make((?: +[a-z-]+)+)")
                for target in targets.split() if target not in TARGETS]


def test_knobs_on_pages_exist() -> None:
    known = {f"{section}.{key}" for section, field in Config.model_fields.items()
             for key in field.annotation.model_fields}  # type: ignore[union-attr]
    assert not [f"{page.name}: --set {knob}" for page, knob in on_pages(r"--set +([a-z]+\.[a-z_]+)")
                if knob not in {*known, "section.key"}]


def test_configurations_on_pages_exist_and_load() -> None:
    for page, file in on_pages(r"--config[ =]+(conf/[\w./-]+\.yaml)"):
        assert load_config([ROOT / file]), f"{page.name}: --config {file}"


def test_links_on_pages_lead_somewhere() -> None:
    links = [(page, target) for page in PAGES
             for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))]
    assert not [f"{page.name} links to {target}" for page, target in links
                if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()]
