"""setup.py: every pin has its reason, and an environment made from it is what runs here."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from purchasepath.doctor.checks import pinned, satisfies, setup_literals
from tests.rules.reading import ROOT

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["pyspark", "pyarrow", "numpy", "pandas", "petastorm", "torch", "mlflow", "chispa"])
def test_fragile_packages_are_pinned_exactly_and_say_why(name: str) -> None:
    lines = re.findall(rf'^ *"{name}==[\d.]+",(.*)$', SETUP, re.MULTILINE)
    assert lines
    assert any("#" in reason for reason in lines)


def test_installed_packages_are_the_pinned_ones() -> None:
    for requirement in pinned(ROOT):
        name = re.split("[=<>]", requirement)[0]
        assert satisfies(version(name), requirement.removeprefix(name)), f"{requirement}, found {version(name)}"


def test_executors_that_score_need_no_training_packages() -> None:
    literals = setup_literals(ROOT)
    names = {re.split("[=<>]", pin)[0] for pin in [*literals["BASE"], *literals["EXTRAS"]["score"]]}
    assert not names & {"horovod", "petastorm", "mlflow", "plotly"}
