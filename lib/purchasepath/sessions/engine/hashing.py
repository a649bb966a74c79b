"""Numbers that stand for ids: the same in every process, computed for whole columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def hash_ids(ids: pa.Array) -> np.ndarray:
    """A hash (uint64) of every string: of its length and its bytes, eight at a time, by steps of splitmix64.

    Not for secrets. Two ids may share a hash; whoever needs to tell them apart compares the ids.
    """
    if pa.types.is_dictionary(ids.type):
        return hash_ids(ids.dictionary)[ids.indices.to_numpy()]
    starts, data = _layout(ids)
    sizes = np.diff(starts)
    hashes = np.empty(len(ids), dtype=np.uint64)
    for size in np.unique(sizes):  # pseudonyms have one length
        rows = slice(None) if (sizes == size).all() else np.flatnonzero(sizes == size)
        hashes[rows] = _hash_words(_words(data, starts[:-1][rows], int(size)), int(size))
    return hashes


def places(ids: pa.Array, among: pa.Array) -> np.ndarray:
    """Place of every id in `among`, a few; -1 for ids that are not there."""
    if pa.types.is_dictionary(ids.type):  # a comparison per id, not per row
        return places(ids.dictionary, among)[ids.indices.to_numpy()]
    return pc.index_in(ids, among).fill_null(-1).to_numpy()


def mix(numbers: np.ndarray) -> np.ndarray:
    """Scatters numbers (any 64-bit integers) over all of uint64: splitmix64."""
    state = numbers.view(np.uint64) + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def spark_hash(numbers: np.ndarray) -> np.ndarray:
    """What Spark's `hash` gives for these ints (int32), by which it deals rows to partitions: Murmur3, seed 42."""
    k = numbers.astype(np.int32).view(np.uint32) * np.uint32(0xCC9E2D51)
    h = _rotate(k, 15) * np.uint32(0x1B873593) ^ np.uint32(42)
    h = _rotate(h, 13) * np.uint32(5) + np.uint32(0xE6546B64) ^ np.uint32(4)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return (h ^ (h >> np.uint32(16))).view(np.int32)


def _layout(ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(offset of every string and of the end, all bytes)."""
    _, offsets, data = ids.buffers()
    if offsets is None or data is None:
        return np.zeros(len(ids) + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    starts = np.frombuffer(offsets, dtype=np.int32)[ids.offset:ids.offset + len(ids) + 1].astype(np.int64)
    return starts, np.frombuffer(data, dtype=np.uint8)


def _words(data: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """uint64 (strings, words): the bytes of strings of one size, filled up with zeros."""
    if size % 8 == 0 and len(starts) and starts[-1] - starts[0] == size * (len(starts) - 1):  # they lie side by side
        return data[starts[0]:starts[-1] + size].view(np.uint64).reshape(len(starts), size // 8)
    padded = np.zeros((len(starts), -(-size // 8) * 8), dtype=np.uint8)
    padded[:, :size] = data[starts[:, None] + np.arange(size)]
    return padded.view(np.uint64)


def _hash_words(words: np.ndarray, size: int) -> np.ndarray:
    state = np.full(len(words), np.uint64(size), dtype=np.uint64)
    for column in range(words.shape[1]):
        state = mix(state ^ words[:, column])
    return mix(state)


def _rotate(numbers: np.ndarray, by: int) -> np.ndarray:
    return numbers << np.uint32(by) | numbers >> np.uint32(32 - by)
