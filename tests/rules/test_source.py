"""What no file of ours does: unpickle, run strings, hide costs in Spark, grow without end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.rules.reading import JOBS, LIBRARY, OWN_CODE, PACKAGE, ROOT, TESTS, imports, name, tree

FORBIDDEN_CALLS = {
    "torch.load": "weights are read by safetensors; torch.load unpickles",
    "torch.save": "it pickles",
    "yaml.load": "yaml.safe_load runs nothing",
    "yaml.unsafe_load": "yaml.safe_load runs nothing",
    "np.load": "it may unpickle",
    "F.rand": "two attempts of a task would differ",
    "F.randn": "two attempts of a task would differ",
    "F.monotonically_increasing_id": "it depends on the partitions",
    "F.udf": "use built-in functions; scoring has the only UDF",
    "F.pandas_udf": "use built-in functions; scoring has the only UDF",
    "eval": "it runs strings",
    "exec": "it runs strings",
}
ALLOWED_CALLS = {
    ("sources/raw.py", "F.monotonically_increasing_id"): "only the order of one file's numbers counts, none is stored",
}
PICKLERS = {"pickle", "dill", "joblib", "shelve", "marshal"}

PYTHON_IN_SPARK = {
    "scoring": "the model is Python",
    "sessions/engine": "cuts and sums whole columns; decision 8 says what rows cost",
    "datasets/writer.py": "cuts row groups of equal rows, which Spark's own writer cannot",
    "training/barrier.py": "a rank is the task of a barrier stage",
    "storage/copies.py": "copies files, of which no row is looked at",
    "storage/executors.py": "tries whether executors reach the driver's files, and start Python at all",
    "synthetic": "draws a visitor's walk from a generator of their own",
    "doctor": "tries whether a Python worker starts",
}
PARQUET_CALLS = {"ParquetFile", "ParquetWriter", "ParquetDataset", "read_table", "read_pandas", "read_metadata",
                 "read_schema"}
"""What opens a Parquet file; `write_table` is a writer's method, too, and is forbidden as `pq.write_table`."""
ROW_FUNCTIONS = {"mapInArrow", "mapInPandas", "applyInPandas", "applyInArrow", "mapPartitions", "foreachPartition"}


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.Call))


def method_calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    return ((call.func.attr, call) for call in calls(file) if isinstance(call.func, ast.Attribute))


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def test_no_forbidden_call() -> None:
    found = [f"{name(file)}:{call.lineno} {ast.unparse(call.func)}: {FORBIDDEN_CALLS[ast.unparse(call.func)]}"
             for file in OWN_CODE for call in calls(file) if ast.unparse(call.func) in FORBIDDEN_CALLS
             and (name(file), ast.unparse(call.func)) not in ALLOWED_CALLS]
    assert not found


def test_nothing_is_pickled() -> None:
    assert not [name(file) for file in OWN_CODE if {m.split(".")[0] for m in imports(file)} & PICKLERS]


def test_every_join_says_how() -> None:
    def of_frames(call: ast.Call) -> bool:
        left = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        return any(k.arg == "on" for k in call.keywords) or (len(call.args) > 1 and not left.endswith("path"))

    unsaid = [f"{name(file)}:{call.lineno}" for file in LIBRARY for method, call in method_calls(file)
              if method == "join" and of_frames(call) and not any(k.arg == "how" for k in call.keywords)]
    assert not unsaid


def test_python_runs_in_spark_only_where_nothing_else_can_do_it() -> None:
    users = {name(file) for file in LIBRARY for method, _ in method_calls(file) if method in ROW_FUNCTIONS}
    assert not [u for u in users if not any(u == place or u.startswith(f"{place}/") for place in PYTHON_IN_SPARK)]


def test_parquet_is_opened_in_one_place_which_never_forgets_checksums() -> None:
    opened = [f"{name(file)}:{call.lineno} {ast.unparse(call.func)}" for file in (*LIBRARY, *JOBS)
              for call in calls(file)
              if ast.unparse(call.func).split(".")[-1] in PARQUET_CALLS or ast.unparse(call.func) == "pq.write_table"]
    elsewhere = [place for place in opened if not place.startswith(("storage/parquet.py:", "doctor/probes/"))]
    assert opened
    assert not elsewhere
    datasets = [name(file) for file in (*LIBRARY, *JOBS) if "pyarrow.dataset" in imports(file)]
    assert not datasets


def test_a_file_tells_one_story_in_under_350_lines() -> None:
    assert not [f"{name(file)} has {lines(file)}" for file in (*OWN_CODE, *TESTS) if lines(file) >= 350]


def test_a_job_is_thin() -> None:
    assert not [f"{name(file)} has {lines(file)} lines" for file in JOBS if lines(file) >= 60]


def test_every_module_says_what_it_is() -> None:
    silent = [name(file) for file in OWN_CODE if not ast.get_docstring(tree(file))]
    assert not [file for file in silent if not file.endswith("__init__.py")]


def test_every_package_of_the_library_has_tests() -> None:
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    tested = {p.parent.name for p in (ROOT / "tests").glob("*/test_*.py")}
    assert not packages - tested
