"""One direction, one room per vendor, no hidden imports."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.rules.reading import (
    JOBS,
    LIBRARY,
    OWN_CODE,
    PACKAGE,
    imports,
    imports_at_run_time,
    imports_in_functions,
    module_file,
    name,
)

ORDER = ("__init__", "worker_daemon", "stages", "errors", "plain_yaml", "knobs", "places", "times", "tables",
         "learning_config", "config", "faults", "process", "storage", "cost", "job", "sources", "sessions", "features",
         "datasets", "models", "training", "bundle", "scoring", "report", "analyses", "pipeline", "docs")
"""A package imports only from itself and from packages before it."""

ASIDE = {
    # must not share code with what it tests
    "synthetic": {"__init__", "errors", "places", "config", "tables", "synthetic"},
    "doctor": {"__init__", "doctor"},  # runs where nothing is installed
}

ROOMS = {
    "petastorm": {"datasets/reader.py"},
    "horovod": {"training/ranks.py", "training/launch.py", "training/elastic.py", "training/interfaces.py"},
    "mlflow": {"training/tracking.py", "bundle/registry.py"},
    "plotly": {"report/figures.py"},
}
EXAMINED_BY_THE_DOCTOR = {"petastorm": "doctor/probes/petastorm_read.py", "horovod": "doctor/probes/two_ranks.py",
                          "mlflow": "doctor/probes/mlflow_run.py", "plotly": "doctor/probes/plotly_figure.py"}

HEAVY = {"pyspark", "pyarrow", "torch", "mlflow", "horovod", "petastorm", "plotly", "sklearn", "pandas", "numpy",
         "sqlalchemy"}
"""Packages slow to load or not installed everywhere; a function may import them when it is called."""

OWN_IN_FUNCTIONS = {
    "job.py": "a wrong command line or configuration is answered before Spark is loaded",
    "jobs/doctor.py": "a bare Python finds out why nothing is installed",
    "storage/__init__.py": "ranks read files, and load no Spark for it",
    "bundle/registry.py": "scoring from a directory needs no MLflow",
}


def top(module: str) -> str:
    """Package right below ours, or the module where it lies there itself."""
    return module.split(".")[1] if "." in module else "__init__"


def own_imports(file: Path) -> set[str]:
    return {module for module in imports(file) if module.split(".")[0] == "purchasepath"}


def test_a_package_imports_only_from_packages_before_it() -> None:
    wrong = []
    for file in LIBRARY:
        here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert here in ORDER or here in ASIDE, f"{here} has no place in the order yet; give it one"
        allowed = ASIDE.get(here) or set(ORDER[: ORDER.index(here) + 1])
        wrong += [f"{name(file)} imports {module}" for module in own_imports(file) if top(module) not in allowed]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {name(file): {name(found) for module in imports_at_run_time(file) if (found := module_file(module))}
             for file in LIBRARY}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert len(order) == len(LIBRARY)


def room(file: Path) -> str:
    """The folder of a library file; a file right below the package is a room of its own."""
    parent = file.relative_to(PACKAGE).parent
    return str(parent) if parent.parts else file.name


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of the graph, in order; [] where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_folders_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for file in LIBRARY:
        targets = {room(found) for module in imports_at_run_time(file) if (found := module_file(module))}
        graph[room(file)] |= targets - {room(file)}
    assert circle(graph) == []
    assert len(graph) > 20
    assert circle({**graph, "storage": graph["storage"] | {"sources"}}) in (
        ["sources", "storage", "sources"], ["storage", "sources", "storage"])


@pytest.mark.parametrize("vendor", ROOMS)
def test_a_vendor_is_imported_only_in_its_room(vendor: str) -> None:
    found = {name(file) for file in OWN_CODE if any(module.split(".")[0] == vendor for module in imports(file))}
    assert found <= ROOMS[vendor] | {EXAMINED_BY_THE_DOCTOR[vendor]}
    assert EXAMINED_BY_THE_DOCTOR[vendor] in found


def test_imports_in_functions_are_of_heavy_packages_only() -> None:
    wrong = []
    for file in (*LIBRARY, *JOBS):
        allowed = HEAVY | ({"purchasepath"} if name(file) in OWN_IN_FUNCTIONS else set())
        wrong += [f"{name(file)}: {m}" for m in imports_in_functions(file) if m.split(".")[0] not in allowed]
    assert not wrong


def test_the_doctor_needs_nothing_but_python() -> None:
    for file in (PACKAGE / "doctor" / "checks.py", PACKAGE / "doctor" / "report.py"):
        foreign = {m.split(".")[0] for m in imports(file)} - set(sys.stdlib_module_names) - {"purchasepath"}
        assert not foreign
