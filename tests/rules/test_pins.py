"""setup.py: ranges of fragile packages have a reason, and an environment made from it is what runs here."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from purchasepath.doctor.checks import pinned, satisfies, setup_literals
from tests.rules.reading import ROOT

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["pyspark", "pyarrow", "numpy", "torch", "mlflow"])
def test_fragile_packages_have_an_upper_bound_and_say_why(name: str) -> None:
    lines = re.findall(rf'^( *#.*\n)? *"{name}>=[\d.]+,<[\d.]+",(.*)$', SETUP, re.MULTILINE)
    assert lines
    assert any("#" in before + after for before, after in lines)


@pytest.mark.parametrize("name", ["PETASTORM", "HOROVOD"])
def test_what_is_edited_is_one_release(name: str) -> None:
    assert re.fullmatch(r"[a-z]+==[\d.]+", setup_literals(ROOT)[name])


def test_installed_packages_are_the_pinned_ones() -> None:
    for requirement in pinned(ROOT):
        name = re.split("[=<>]", requirement)[0]
        assert satisfies(version(name), requirement.removeprefix(name)), f"{requirement}, found {version(name)}"


def test_executors_that_score_need_no_training_packages() -> None:
    literals = setup_literals(ROOT)
    names = {re.split("[=<>]", pin)[0] for pin in [*literals["BASE"], *literals["EXTRAS"]["score"]]}
    assert not names & {"horovod", "petastorm", "mlflow", "plotly"}
