"""The repository's own source, as syntax trees, for the rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lib" / "purchasepath"
LIBRARY = tuple(sorted(PACKAGE.rglob("*.py")))
JOBS = tuple(sorted((ROOT / "jobs").glob("*.py")))
OWN_CODE = (*LIBRARY, *JOBS, *sorted((ROOT / "environment").glob("*.py")), ROOT / "setup.py")
TESTS = tuple(sorted((ROOT / "tests").rglob("*.py")))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name(file: Path) -> str:
    """`sessions/gaps.py`: a library file below the package; any other below the repository."""
    return str(file.relative_to(PACKAGE if file.is_relative_to(PACKAGE) else ROOT))


def imported(node: ast.AST) -> Iterator[str]:
    """Full names of the modules that an import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:  # `from purchasepath.storage import files` may name a module or a thing in one
            whole = f"{node.module}.{alias.name}"
            yield whole if module_file(whole) else str(node.module)


def imports(file: Path) -> set[str]:
    return {module for node in ast.walk(tree(file)) for module in imported(node)}


def imports_in_functions(file: Path) -> set[str]:
    functions = [n for n in ast.walk(tree(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {module for function in functions for node in ast.walk(function) for module in imported(node)}


def imports_at_run_time(file: Path) -> set[str]:
    """Imports that happen when the module is loaded or its functions run; not those for type checkers alone."""
    def visit(node: ast.AST) -> Iterator[str]:
        yield from imported(node)
        for child in ast.iter_child_nodes(node):
            for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if not for_types:
                yield from visit(child)

    return set(visit(tree(file)))


def module_file(module: str) -> Path | None:
    """File of one of our own modules; None for a package's plain name or anybody else's module."""
    if module.split(".")[0] != "purchasepath":
        return None
    path = ROOT / "lib" / Path(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None
