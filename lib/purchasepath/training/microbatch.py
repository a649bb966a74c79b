"""A step's examples cut into parts of similar length, so that little padding is made and computed on.

Legend: B examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from purchasepath.datasets.batch import Batch, batch_from_rows
from purchasepath.datasets.rows import Rows

PART_TOKENS = 245
"""A part costs as much as so many padded events: some 100 small kernels forth and back (docs/experiments.md)."""


def split_by_length(rows: Rows, tokens_per_part: int) -> Iterator[Batch]:
    """The examples, longest first, in the parts of `cut_by_length`, each padded to its longest example.

    Gradients of the parts add up to those of all: losses are sums. Without examples there are no parts.
    """
    rising = rows.take(np.argsort(rows.length_B, kind="stable"))
    for start, end, _ in cut_by_length(rising.length_B, tokens_per_part):
        yield batch_from_rows(rising.slice(start, end))


def cut_by_length(rising: Sequence[int] | np.ndarray, tokens_per_part: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, longest) of the parts of rising lengths, the last part first.

    A part holds at most `tokens_per_part` padded events (one example may be longer). Neighbouring lengths are grouped,
    and groups cut into full parts, so that padded events and parts (`PART_TOKENS` each) cost least; the best grouping
    is found length by length, as shortest paths are.
    """
    lengths, begins = np.unique(np.maximum(rising, 1), return_index=True)
    ends = np.append(begins, len(rising))
    fitting = np.maximum(1, tokens_per_part // lengths)
    costs, cut_at = np.zeros(len(ends)), np.zeros(len(ends), np.int64)
    for last in range(1, len(ends)):  # examples of the first `last` lengths
        rows = ends[last] - ends[:last]
        parts = -(-rows // fitting[last - 1])
        cost = costs[:last] + rows * lengths[last - 1] + parts * PART_TOKENS
        cut_at[last] = cost.argmin()
        costs[last] = cost[cut_at[last]]
    last = len(lengths)
    while last:
        start, end, most = int(ends[cut_at[last]]), int(ends[last]), int(fitting[last - 1])
        while end > start:
            first = max(start, end - most)
            yield first, end, max(1, rising[end - 1])
            end = first
        last = int(cut_at[last])
