"""The public data sets of the published tables, split as those tables split them.

Items count from 1 in the files and from `FIRST_ITEM` here, as in our own datasets.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from purchasepath.datasets.manifest import FIRST_ITEM

_SHIFT = FIRST_ITEM - 1
_VALID_SHARE = 0.05

LEAVE_ONE_OUT = "leave-one-out, full ranking, seen items filtered, ties against us"
SR_GNN = "SR-GNN split, every prefix of the test sessions, full ranking, nothing filtered, ties against us"


@dataclass(frozen=True)
class Example:
    """Items and, for each, the item to predict after it; 0 where nothing is asked."""

    items: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Question:
    """Which item follows this history?"""

    history: np.ndarray
    target: int


@dataclass(frozen=True)
class PublishedSet:
    """`train` is learned from, `valid` chooses the epoch, `test` is asked once at the end.

    `num_items` counts the special ids. `asked` are the questions of `valid`, where the ranking needs to know more of a
    history than an example holds. `learns_valid`: the published models learn from `valid` too.
    """

    protocol: str
    num_items: int
    filter_seen: bool
    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Question]
    asked: Sequence[Question] = ()
    learns_valid: bool = False


def load(name: str, directory: Path, max_length: int) -> PublishedSet:
    """The set of this name (a key of `FILES`) from the files below `directory`."""
    files = [directory / file for file in FILES[name]]
    if name == "diginetica":
        return sessions_split(_lists(files[0], "items"), _prefixes(files[1]), max_length)
    read = _lines_of_users if name.startswith("s3rec") else _lines_of_pairs
    return leave_one_out(read(files[0]), max_length)


FILES: Mapping[str, tuple[str, ...]] = {
    "s3rec-beauty": ("s3rec/Beauty.txt.gz",),
    "s3rec-toys": ("s3rec/Toys_and_Games.txt.gz",),
    "diginetica": ("diginetica/train_sessions.parquet", "diginetica/test_prefixes.parquet"),
    "beauty": ("beauty/beauty.txt.gz",),
    "ml-1m": ("ml-1m/ml-1m.txt.gz",),
}


def leave_one_out(histories: Sequence[np.ndarray], max_length: int) -> PublishedSet:
    """Each user's last item is the test, the one before it the validation, the rest is learned from.

    Users with fewer than three items are learned from as a whole.
    """
    long = [history for history in histories if len(history) >= 3]
    short = [history for history in histories if len(history) < 3]
    asked = [Question(history[:-2], int(history[-2])) for history in long]
    return PublishedSet(
        protocol=LEAVE_ONE_OUT,
        num_items=1 + max(int(history.max()) for history in histories),
        filter_seen=True,
        train=list(_windows([*(history[:-2] for history in long), *short], max_length)),
        valid=[last_of(question, max_length) for question in asked],
        test=[Question(history[:-1], int(history[-1])) for history in long],
        asked=asked,
    )


def sessions_split(sessions: Sequence[np.ndarray], test: Sequence[Question], max_length: int) -> PublishedSet:
    """The last 5 % of the training sessions, which are in order of time, choose the epoch."""
    first_valid = round(len(sessions) * (1 - _VALID_SHARE))
    return PublishedSet(
        protocol=SR_GNN,
        num_items=1 + max(int(session.max()) for session in sessions),
        filter_seen=False,
        train=list(_windows(sessions[:first_valid], max_length)),
        valid=list(_windows(sessions[first_valid:], max_length)),
        test=test,
        learns_valid=True,
    )


def last_of(question: Question, max_length: int) -> Example:
    """The question as an example that asks after its last item only."""
    items = question.history[-max_length:]
    targets = np.zeros_like(items)
    targets[-1] = question.target
    return Example(items, targets)


def _windows(histories: Iterable[np.ndarray], max_length: int) -> Iterator[Example]:
    """Histories cut, from their ends, into examples of at most `max_length` items; each predicts what follows it."""
    for history in histories:
        items, targets = history[:-1], history[1:]
        for end in range(len(items), 0, -max_length):
            window = slice(max(0, end - max_length), end)
            yield Example(items[window], targets[window])


def _lines_of_pairs(file: Path) -> list[np.ndarray]:
    """Lines `user item`, each user's in order of time."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        pairs = np.loadtxt(lines, dtype=np.int64)
    order = np.argsort(pairs[:, 0], kind="stable")
    users, items = pairs[order].T
    return np.split(items + _SHIFT, np.flatnonzero(np.diff(users)) + 1)


def _lines_of_users(file: Path) -> list[np.ndarray]:
    """Lines `user item item …`."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [np.array(line.split()[1:], dtype=np.int64) + _SHIFT for line in lines]


def _lists(file: Path, column: str) -> list[np.ndarray]:
    lists = pq.read_table(file, columns=[column])[column].combine_chunks()
    return np.split(lists.values.to_numpy() + _SHIFT, lists.offsets.to_numpy()[1:-1])


def _prefixes(file: Path) -> list[Question]:
    targets = pq.read_table(file, columns=["target"])["target"].to_numpy() + _SHIFT
    return [Question(history, int(target)) for history, target in zip(_lists(file, "prefix"), targets, strict=True)]
