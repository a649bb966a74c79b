"""A Petastorm wheel that works with today's pyarrow, NumPy and Python: found in the user's cache, or built into it.

Petastorm 0.12.1 is the last line that visits row groups in another order in every epoch; it was written for pyarrow
below 15, NumPy below 2 and Python with distutils. Its release on the index is a wheel, so the wheel is what `EDITS` are
made to. What pyarrow removed, data sets of pieces, is a module of ours (`petastorm_additions/legacy_parquet.py`).
Not edited, as nothing here imports them, are `petastorm.spark` and `petastorm.tf_utils`.

The built wheel has the same bytes wherever it is built: entries are stored, not compressed (zlib's output differs
from version to version), in the order of the release and with one time for all. Its version says that it is edited.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from wheels import Edit, cache_directory, edited, find_kept, keep, sum_of

RELEASED, VERSION = "0.12.1", "0.12.1+purchasepath1"
"""The version that is edited, and what it is called afterwards; the latter's number counts changes of the edits."""
RELEASED_SHA256 = "25f7737bbbd8ebcbe6aac9546c50ee7e739902facd434c1dd2d4c6fe7c0acfe9"
ADDITIONS = Path(__file__).with_name("petastorm_additions")
"""Modules that are added to the package `petastorm`."""
PACKED_AT = (2022, 12, 16, 20, 52, 16)
"""The time of every entry: when the release was packed."""


LEGACY_IMPORT = ("from pyarrow import parquet as pq\n", "from petastorm import legacy_parquet as pq\n")
METADATA = f"petastorm-{RELEASED}.dist-info/METADATA"
PIECES = "pyarrow 15 removed ParquetDataset's pieces and ParquetDatasetPiece; the module added here has them"
NUMPY_2 = "NumPy 2 removed the name"

EDITS = (
    Edit("petastorm/arrow_reader_worker.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/py_dict_reader_worker.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/reader.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/etl/dataset_metadata.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/etl/metadata_util.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/etl/petastorm_generate_metadata.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/etl/rowgroup_indexing.py", *LEGACY_IMPORT, PIECES),
    Edit("petastorm/fs_utils.py", "pyarrow.localfs", "fsspec.filesystem('file')",
         "pyarrow 16 removed its Python file systems; those of other schemes are fsspec's already"),
    Edit("petastorm/utils.py", "from pyarrow.filesystem import LocalFileSystem",
         "from fsspec.implementations.local import LocalFileSystem", "the same: what fs_utils now opens"),
    Edit("petastorm/hdfs/namenode.py", "from pyarrow.hdfs import HadoopFileSystem",
         "from fsspec.implementations.arrow import HadoopFileSystem",
         "the same: pyarrow.fs.HadoopFileSystem with the methods that Petastorm calls"),
    Edit("petastorm/hdfs/namenode.py", "if not name.startswith('_'):",
         "if callable(method) and not name.startswith('_'):", "that class has cached properties beside its methods"),
    Edit("petastorm/hdfs/namenode.py", "from distutils.version import LooseVersion\n", "",
         "Python 3.12 has no distutils; the next edit is where it was used"),
    Edit("petastorm/hdfs/namenode.py", """\
        if LooseVersion(pyarrow.__version__) < LooseVersion('0.12.0'):
            hostname = url.hostname or 'default'
            driver = driver
        else:
            hostname = six.text_type(url.hostname or 'default')
            driver = six.text_type(driver)

        kwargs = dict(user=user)
        if LooseVersion(pyarrow.__version__) < LooseVersion('0.17.0'):
            # Support for libhdfs3 was removed in v0.17.0, we include it here for backwards
            # compatibility
            kwargs['driver'] = driver
        return pyarrow.hdfs.connect(hostname, url.port or 8020, **kwargs)
""", """\
        return HadoopFileSystem(url.hostname or 'default', url.port or 8020, user=user, skip_instance_cache=True)
""", "the same; every call connects anew, as failover expects"),
    Edit("petastorm/utils.py", "from future.utils import raise_with_traceback\n", "",
         "Python 2 and 3 in one; the next edit is where it was used"),
    Edit("petastorm/utils.py", """\
            except Exception:  # pylint: disable=broad-except
                raise_with_traceback(DecodeFieldError('Decoding field "{}" failed'.format(field_name)))
""", """\
            except Exception as error:  # pylint: disable=broad-except
                raise DecodeFieldError('Decoding field "{}" failed'.format(field_name)) from error
""", "plain Python 3, so that the package `future` is not needed"),
    Edit("petastorm/arrow_reader_worker.py", "column_as_numpy.astype(np.unicode_)",
         "np.array(column.to_pylist(), dtype=np.str_)",
         f"{NUMPY_2}; and pandas 3 has text in arrays of its own, which astype keeps"),
    Edit("petastorm/arrow_reader_worker.py", "if pa.types.is_string(column.type):",
         "if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):",
         "text that went through pandas 3 (predicates, transforms) comes back with 64-bit offsets"),
    Edit("petastorm/arrow_reader_worker.py", "copy=False, left_index=True", "left_index=True",
         "pandas 3 never copies and warns of the argument"),
    Edit("petastorm/arrow_reader_worker.py", "        predicates_data_frame[erase_mask] = None\n", "",
         "pandas 3 puts no null into a column of another type; these rows are dropped a few lines further down"),
    Edit("petastorm/arrow_reader_worker.py", "            other_data_frame[erase_mask] = None\n", "", "the same"),
    Edit("petastorm/unischema.py", "                    np.unicode_: T.StringType(),\n", "",
         f"{NUMPY_2}; np.str_ is in that mapping"),
    Edit("petastorm/unischema.py", "np.unicode_", "np.str_", NUMPY_2),
    Edit("petastorm/unischema.py", "np.string_", "np.bytes_", NUMPY_2),
    Edit("petastorm/predicates.py", "np.in1d", "np.isin", "NumPy 2.4 removed the name"),
    Edit("petastorm/weighted_sampling_reader.py", "dtype=np.float)", "dtype=float)", "NumPy 1.24 removed the name"),
    Edit("petastorm/__init__.py", f"__version__ = '{RELEASED}'", f"__version__ = '{VERSION}'", "it is edited"),
    Edit(METADATA, f"\nVersion: {RELEASED}\n", f"\nVersion: {VERSION}\n", "it is edited"),
    Edit(METADATA, "Requires-Dist: future (>=0.10.2)\n", "", "no longer imported"),
)


def wheel_directory(requirement: str) -> Path:
    """Cache directory for exactly these edits: `…/petastorm-0.12.1/1a2b3c4d`. It is pure Python, one for all hosts."""
    additions = [(file.name, file.read_bytes()) for file in _additions()]
    edits = hashlib.sha256(repr((RELEASED_SHA256, VERSION, EDITS, additions)).encode()).hexdigest()[:8]
    return cache_directory(requirement, edits)


def find_petastorm(requirement: str) -> Path | None:
    """The wheel built earlier with these edits, if there is one and it is as it was built."""
    return find_kept(wheel_directory(requirement))


def build_petastorm(python: Path, requirement: str, run: Callable[..., int]) -> Path:
    """Edit the released wheel, which `python`'s pip downloads, and keep the result in the cache; its path."""
    with tempfile.TemporaryDirectory(prefix="purchasepath-petastorm-") as scratch:
        run([python, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", scratch, requirement])
        released = next(Path(scratch).glob("petastorm-*.whl"))
        found = sum_of(released)
        if found != RELEASED_SHA256:
            raise RuntimeError(f"{released.name} has the SHA-256 sum {found}, the release that these edits are for "
                               f"{RELEASED_SHA256}; see where pip took it from: {python} -m pip config list")
        return keep(edit_wheel(released, Path(scratch) / "edited"), wheel_directory(requirement))


def edit_wheel(released: Path, directory: Path) -> Path:
    """The edited wheel in `directory`: the release's entries, those added, and a RECORD of them all."""
    with zipfile.ZipFile(released) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    for edit in EDITS:
        text = contents.get(edit.file, b"").decode("utf-8")
        contents[edit.file] = edited(text, edit, f"petastorm {RELEASED}").encode("utf-8")
    contents |= {f"petastorm/{file.name}": file.read_bytes() for file in _additions()}
    before, after = f"petastorm-{RELEASED}.dist-info/", f"petastorm-{VERSION}.dist-info/"
    contents = {name.replace(before, after): content for name, content in contents.items()}
    record = f"{after}RECORD"
    contents.pop(record, None)
    contents[record] = _record(contents, record).encode("utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / released.name.replace(RELEASED, VERSION, 1)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, PACKED_AT)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a Unix file, on every host
            archive.writestr(entry, content)
    return wheel


def _record(contents: dict[str, bytes], record: str) -> str:
    """RECORD's lines: path, sum and size of every entry; of RECORD itself the path alone."""
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{record},,\n"


def _additions() -> list[Path]:
    return sorted(ADDITIONS.glob("*.py"))
