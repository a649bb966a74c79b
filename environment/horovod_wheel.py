"""A Horovod wheel that works with the torch in an environment: found in the user's cache, or built into it.

Horovod's last release (0.28.1) compiles against a current torch with the edits in `EDITS` and one variable: a current
CMake refuses the old policy version that its bundled libraries declare unless it is told otherwise.

The wheel is compiled against one Python, one torch, one platform and the HOROVOD_* options of the build, so all of
these, and the edits, are in the name of its directory: a GPU build is never handed to a CPU host that shares the home
directory. What was built is known by its sum, which lies beside it: a wheel that is no longer the one that was built is
built again.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from wheels import Edit, cache_directory, edited, find_kept, keep, sum_of

BUILD_OPTION = re.compile(r"HOROVOD_(WITH|GPU|CPU_OPERATIONS|CUDA|ROCM|NCCL|NVTX|MPICXX|BUILD|ALLOW_MIXED|CMAKE|DEBUG)")

SOURCE_SUM = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
"""SHA-256 of the released source."""

EDITS = (
    Edit("CMakeLists.txt", "CMAKE_CXX_STANDARD 14", "CMAKE_CXX_STANDARD 20", "torch's headers are C++20"),
    Edit("horovod/torch/CMakeLists.txt", "CMAKE_CXX_STANDARD 14", "CMAKE_CXX_STANDARD 20", "torch's headers are C++20"),
    Edit("cmake/Modules/FindPytorch.cmake", "print(True if ((torch.version.cuda is not None)",
         "import os; print(True if (any(k.startswith('HOROVOD_GPU') for k in os.environ) "
         "and (torch.version.cuda is not None)",
         "torch's default build on Linux knows CUDA, also on hosts whose toolkit is missing or of another version"),
    Edit("horovod/torch/CMakeLists.txt", "from distutils.sysconfig import get_python_inc; print(get_python_inc())",
         "import sysconfig; print(sysconfig.get_path('include'))", "Python 3.12 has no distutils"),
)


def build_options() -> dict[str, str]:
    """Environment of the build: PyTorch with Gloo by default; the caller's HOROVOD_* build options win.

    `HOROVOD_GPU_OPERATIONS=NCCL`, `HOROVOD_WITH_MPI=1`, `HOROVOD_NCCL_HOME` and the like pass through.
    """
    given = {key: value for key, value in os.environ.items() if BUILD_OPTION.match(key)}
    options = {"HOROVOD_WITH_PYTORCH": "1", "HOROVOD_WITH_GLOO": "1",
               "HOROVOD_WITHOUT_TENSORFLOW": "1", "HOROVOD_WITHOUT_MXNET": "1"}
    if "HOROVOD_WITH_MPI" not in given:
        options["HOROVOD_WITHOUT_MPI"] = "1"
    return {**options, **given}


def wheel_directory(python: Path, requirement: str) -> Path:
    """Cache directory for exactly this combination: `…/horovod-0.28.1/cp311-torch2.13.0-linux-x86_64-1a2b3c4d`."""
    asked = ("import sys, sysconfig, torch; "
             "print(f'cp{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__}-{sysconfig.get_platform()}')")
    host = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    options = hashlib.sha256(repr((sorted(build_options().items()), EDITS)).encode()).hexdigest()[:8]
    return cache_directory(requirement, f"{host}-{options}")


def find_horovod(python: Path, requirement: str) -> Path | None:
    """The wheel built earlier for this combination, if there is one and it is as it was built."""
    return find_kept(wheel_directory(python, requirement))


def build_horovod(python: Path, requirement: str, run: Callable[..., int]) -> Path:
    """Build the wheel from the patched source distribution and keep it in the cache; its path.

    The wheel is moved into the cache whole, so an interrupted build leaves nothing behind that looks finished.
    """
    kept = wheel_directory(python, requirement)
    with tempfile.TemporaryDirectory(prefix="purchasepath-horovod-") as scratch:
        source = _patched_source(python, requirement, Path(scratch), run)
        environment = {**os.environ, **build_options(), "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
                       "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}  # pip's cmake first
        environment.setdefault("MAKEFLAGS", f"-j{os.cpu_count() or 1}")
        run([python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir",
             "--wheel-dir", Path(scratch) / "out", source], env=environment)
        wheel = next((Path(scratch) / "out").glob("*.whl"))
        return keep(wheel, kept)


def _patched_source(python: Path, requirement: str, scratch: Path, run: Callable[..., int]) -> Path:
    """Directory with the released source, edited."""
    # --no-build-isolation: pip asks the source for its metadata, and may do so with the tools already installed
    run([python, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation",
         "--dest", scratch, requirement], env={**os.environ, "HOROVOD_SKIP_COMPILE": "1"})
    archive = next(scratch.glob("*.tar.gz"))
    if sum_of(archive) != SOURCE_SUM:
        raise RuntimeError(f"{archive.name} is not the release that is known here: its SHA-256 is {sum_of(archive)}, "
                           f"not {SOURCE_SUM}")
    with tarfile.open(archive) as released:
        released.extractall(scratch)
    source = scratch / archive.name.removesuffix(".tar.gz")
    for edit in EDITS:
        file = source / edit.file
        file.write_text(edited(file.read_text(encoding="utf-8"), edit, requirement), encoding="utf-8")
    return source
