"""Immutable segments: the sorted distinct digests of one algorithm, with the tables that search them.

    part           dtype, shape                      bytes per digest, 256 bits
    rows           uint64[n, words], sorted          32
    directory      uint32[2**d + 1]                  about 1     where each d-bit prefix starts in rows
    start          uint32[m * (2**a + 1)]            -           where each group starts in its table
    fingerprints   uint16[m * (n + LANES)]           32
    ids            uint32[(m - 1) * n]               60          table 0 is in row order and needs none

Once made, only a segment's bitmap of withdrawn rows changes, and which hash sets have its digests (`Owners`). Rows hold
*permuted* bits: chunks of neighbouring bits of PDQ gave 4.0 times the candidates of independent bits, permuted 1.08.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.hashes import SEARCHED, Algorithm, Metric
from hashhub.kernel_cache import compiled_for
from hashhub.matcher import kernels
from hashhub.matcher.plan import SCAN_BELOW, DigestLayout, DigestPart, SearchEngine, choose, layout_for

ANY: Final = 0
"""In place of a hash set's key: it is not known which ones have the digest."""


class Owners:
    """For each row the number of a set of keys of hash sets. One writer at a time; readers need no lock."""

    def __init__(self, count: int) -> None:
        """Nothing is said of any row yet."""
        self.numbers: NDArray[np.uint32] = np.zeros(count, np.uint32)
        self.sets: list[frozenset[int]] = [frozenset()]
        self._number_of: dict[frozenset[int], int] = {frozenset(): 0}
        self.is_changed = False
        self.as_written = self.numbers

    @classmethod
    def stored(
        cls, numbers: NDArray[np.uint32], sets: Iterable[Iterable[int]], as_written: NDArray[np.uint32]
    ) -> Owners:
        """Return what was written: the rows' numbers and the sets. `as_written`: the numbers in a fixed mapping."""
        owners = cls(0)
        owners.numbers, owners.sets, owners.as_written = numbers, [frozenset(keys) for keys in sets], as_written
        owners._number_of = {keys: number for number, keys in enumerate(owners.sets)}
        return owners

    def add(self, at: NDArray[np.int64], sets: Sequence[frozenset[int]], numbers: NDArray[np.uint32]) -> None:
        """Add to the row at each of these places (negative: none) the set with the number beside it."""
        here = at >= 0
        at, before = at[here], self.numbers[at[here]]
        pairs, inverse = np.unique(before.astype(np.uint64) << np.uint64(32) | numbers[here], return_inverse=True)
        unions = [self.sets[pair >> 32] | sets[pair & 0xFFFFFFFF] for pair in pairs.tolist()]
        after = np.array([self._numbered(keys) for keys in unions], np.uint32)[inverse]
        if not np.array_equal(before, after):
            self.numbers[at] = after
            self.is_changed = True

    def add_key(self, at: NDArray[np.int64], key: int) -> None:
        """Add one hash set to the rows at these places (negative: none)."""
        self.add(at, [frozenset({key})], np.zeros(len(at), np.uint32))

    def forget(self, at: NDArray[np.int64]) -> None:
        """Clear the owners of the rows at these places (negative: none)."""
        self.numbers[at[at >= 0]] = 0
        self.is_changed = True

    def _numbered(self, keys: frozenset[int]) -> int:
        number = self._number_of.setdefault(keys, len(self.sets))
        if number == len(self.sets):
            self.sets.append(keys)
        return number


_BIG: Final = np.dtype(">u8")
_MAX_PREFIX_BITS: Final = 28
_ROWS_PER_PREFIX_LOG2: Final = 2
"""Four rows to a directory entry: one or two cache lines, at one byte of directory per digest."""
_SORT_BITS: Final = 16
"""Buckets of the first sorting pass: at 100 M each holds 1,500 rows, which sort inside the second-level cache."""
_MERGED_AT_ONCE: Final = 1 << 22
"""Rows, between which a merge can be given up and tells how far it is: some 20 ms."""
_PAGE: Final = 4_096
_FIRST_RESULTS: Final = 1024
"""Matches a thread has room for before it must search again with more."""
_MOST_RESULTS: Final = 65_536
"""Room that a thread keeps after a search that needed more than that."""
_PREPARED: Final = 1_024
"""Distances for which a segment keeps the prepared search; any Hamming radius fits."""

Rows: TypeAlias = NDArray[np.uint64]
Bitmap: TypeAlias = NDArray[np.uint8]
Progress: TypeAlias = Callable[[str, float], None]
"""Called with the phase (`read`, `sort`, `index`, `write`) and the share of it that is done, 0 to 1."""


class Hits(NamedTuple):
    """What one segment found, in no particular order: query numbers, row numbers and distances, all of one length."""

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: NDArray[np.int32]


@dataclass(frozen=True)
class Space:
    """How digests of one algorithm become rows and back. `permutation[p]`: the digest's bit at bit p of a row."""

    algorithm: Algorithm
    words: int
    permutation: tuple[int, ...]
    forward: NDArray[np.uint64] = field(repr=False)
    backward: NDArray[np.uint64] = field(repr=False)

    def pack(self, digests: NDArray[np.uint8]) -> Rows:
        """Turn uint8[n, digest_bytes] into rows, uint64[n, words]."""
        if not self.permutation:
            return self.plain(digests)
        # One type for the compiler: read-only and strided arrays would each be compiled for.
        taken = np.asarray(digests)
        taken = taken if taken.flags.carray else np.array(taken, order="C")
        out = np.empty((len(taken), self.words), np.uint64)
        kernels.pack(taken, self.forward, out)
        return out

    def pack_few(self, digests: Sequence[bytes]) -> Rows:
        """As `pack`, of digests one by one, in fewer steps. What it returns holds until this thread's next call."""
        count, words = len(digests), self.words
        if not self.permutation:
            width = 8 * words
            padded = b"".join([digest.ljust(width, b"\0") for digest in digests])
            return np.ndarray((count, words), _BIG, padded).astype(np.uint64)
        if count == 1:  # arrays for each digest of an upload are 15 µs of it
            one = _scratch.packing.get(self.algorithm.name) or self._room_for_one()
            one.buffer[:] = digests[0]
            one.pack(one.taken, self.forward, one.out)
            return one.out
        # A buffer that can be written to: see `pack`.
        taken = np.ndarray((count, self.algorithm.digest_bytes), np.uint8, bytearray().join(digests))
        out = np.empty((count, words), np.uint64)
        kernels.pack(taken, self.forward, out)
        return out

    def _room_for_one(self) -> _SingleDigest:
        width = self.algorithm.digest_bytes
        buffer = bytearray(width)
        taken, out = np.ndarray((1, width), np.uint8, buffer), np.empty((1, self.words), np.uint64)
        one = _SingleDigest(buffer, taken, out, compiled_for(kernels.pack, (taken, self.forward, out)))
        _scratch.packing[self.algorithm.name] = one
        return one

    def plain(self, digests: NDArray[np.uint8]) -> Rows:
        """Return the digests as words in their own order of bits, the last one filled with zeros: uint64[n, words]."""
        n, width = digests.shape
        if width % 8:
            padded = np.zeros((n, 8 * self.words), np.uint8)
            padded[:, :width] = digests
            digests = padded
        return np.ascontiguousarray(digests).view(_BIG).astype(np.uint64)

    def unpack(self, rows: Rows, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Turn the rows at these places back into uint8[k, digest_bytes]."""
        out = np.empty((len(at), self.algorithm.digest_bytes), np.uint8)
        kernels.unpack(rows, at, self.backward, out)
        return out


@cache
def _big_words(words: int) -> struct.Struct:
    return struct.Struct(f">{words}Q")


@cache
def space(name: str) -> Space:
    """Return the space of an algorithm, by name. SHA-256 orders its bits, so that it is the same everywhere."""
    algorithm = SEARCHED[name]
    words = -(-algorithm.digest_bytes // 8)
    nothing = np.zeros((0, 0, 0), np.uint64)
    if algorithm.metric is not Metric.HAMMING:
        return Space(algorithm, words, (), nothing, nothing)
    bits = algorithm.bits
    permutation = sorted(range(bits), key=lambda b: hashlib.sha256(f"hashhub {bits} {b}".encode()).digest())
    inverse = [0] * bits
    for place, bit in enumerate(permutation):
        inverse[bit] = place
    return Space(algorithm, words, tuple(permutation), _byte_images(inverse, words), _byte_images(permutation, words))


def _byte_images(places: Sequence[int], words: int) -> NDArray[np.uint64]:
    """Return uint64[bytes, 256, words]: where the bits of each byte value go when bit b moves to places[b]."""
    images = np.zeros((len(places) // 8, 256, words), np.uint64)
    values = np.arange(256)
    for bit, place in enumerate(places):
        ones = (values >> (7 - bit % 8)) & 1 == 1
        images[bit // 8, ones, place // 64] |= np.uint64(1) << np.uint64(63 - place % 64)
    return images


class SegmentParts(NamedTuple):
    """The arrays of a segment, in the order of the table above; the last three are empty when there are no tables."""

    rows: Rows
    directory: NDArray[np.uint32]
    start: NDArray[np.uint32]
    fingerprints: NDArray[np.uint16]
    ids: NDArray[np.uint32]


class _SingleDigest(NamedTuple):
    """One digest in a buffer, which is that of `taken`; the row that it is packed to, and the kernel for both."""

    buffer: bytearray
    taken: NDArray[np.uint8]
    out: Rows
    pack: Callable[..., Any]


class _Scratch(threading.local):
    """Each thread's memory for matches (queries, rows, distances) and for one packed digest, kept between searches."""

    def __init__(self) -> None:
        self.grow(_FIRST_RESULTS)
        self.packing: dict[str, _SingleDigest] = {}  # by algorithm

    def grow(self, size: int) -> None:
        self.room = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int32)


_scratch = _Scratch()


class Segment:
    """Sorted distinct rows that only their withdrawn bits change, by one writer at a time; readers need no lock."""

    def __init__(
        self,
        of: Space,
        parts: SegmentParts,
        dead: Bitmap | None = None,
        name: str | None = None,
        owners: Owners | None = None,
    ) -> None:
        """Wrap finished arrays. dead: uint8[ceil(n / 8)], bit k % 8 of byte k // 8 for row k. name: of its files."""
        self.space = of
        self.parts = parts
        self.name = name
        self.count: int = parts.rows.shape[0]
        # Zeroed by the kernel on first touch: until something is withdrawn this costs address space only.
        self.dead = np.zeros(-(-self.count // 8), np.uint8) if dead is None else dead
        self.owners = owners or Owners(self.count)
        self.withdrawn = 0 if dead is None else int(np.bitwise_count(dead).sum())
        self._prefix_bits = (len(parts.directory) - 1).bit_length() - 1
        self._layout = has_tables(of, self.count)
        self._engines: dict[int, _Prepared] = {}

    @property
    def living(self) -> int:
        """Digests that match."""
        return self.count - self.withdrawn

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, mapped or not."""
        return sum(part.nbytes for part in self.parts) + self.dead.nbytes + self.owners.numbers.nbytes

    def source(self, dead: Bitmap) -> SegmentSource:
        """Return the rows, but those whose bit in `dead` is set, to take into another segment."""
        return SegmentSource(self.parts.rows, dead, is_sorted=True)

    def touch(self) -> None:
        """Read a byte of every page, so that no search has to wait for the kernel to map it or for the disk."""
        for part in self.parts:
            flat = part.reshape(-1)
            if flat.size:
                np.max(flat[:: _PAGE // flat.itemsize])

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return where each row is, withdrawn or not, or -1."""
        return _located(rows, self.parts.rows, self.parts.directory)

    def contains(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is here and not withdrawn."""
        at = self.locate(rows)
        present = at >= 0
        if self.withdrawn:
            present[present] = self._living(at[present])
        return present

    def withdraw(self, at: NDArray[np.int64]) -> int:
        """Stop the rows at these places (negative: none) from matching; return how many did. One writer at a time."""
        changed = int(kernels.set_bits(self.dead, at, True))
        self.owners.forget(at)
        self.withdrawn += changed
        return changed

    def restore(self, at: NDArray[np.int64]) -> int:
        """Let withdrawn rows match again; as `withdraw`."""
        changed = int(kernels.set_bits(self.dead, at, False))
        self.withdrawn -= changed
        return changed

    def plan(self, max_distance: int) -> DigestPart:
        """Return how a search with this distance (inclusive) is answered here."""
        metric = self.space.algorithm.metric
        return choose(self._layout, self.count, max_distance, scan_only=metric is Metric.SQUARED_EUCLIDEAN)

    def search(self, queries: Rows, max_distance: int) -> Hits:
        """Return every living row within `max_distance` (inclusive) of each query, by the engine that `plan` names."""
        return self._engine(max_distance).collect(queries)

    def search_bounded(self, queries: Rows, max_distance: int, most: int) -> Hits | None:
        """As `search`; None where several queries have more than `most` hits together: ask them one by one."""
        return self._engine(max_distance).collect_bounded(queries, most)

    def search_few(self, queries: Rows, max_distance: int) -> Hits | None:
        """As `search`, in fewer steps; None where nothing is hit. `queries`: made by `Space`, no part of other rows."""
        return (self._engines.get(max_distance) or self._engine(max_distance)).collect_own(queries)

    def look_up_few(self, digests: Sequence[bytes]) -> Hits | None:
        """Return which of a few digests are here and not withdrawn, None where none is; only where `Space` moves no
        bits. By Python alone: where other work has used the caches, one takes half of what it takes with NumPy and a
        kernel.
        """
        rows, directory, dead = self._looked_at
        words, shift = self.space.words, 64 - self._prefix_bits
        unpack = _big_words(words).unpack
        numbers, found = [], []
        for number, digest in enumerate(digests):
            wanted = [*unpack(digest.ljust(8 * words, b"\0"))]
            prefix = wanted[0] >> shift
            low, end = directory[prefix], directory[prefix + 1]
            high = end
            while low < high:
                middle = (low + high) >> 1
                if rows[middle * words : (middle + 1) * words].tolist() < wanted:
                    low = middle + 1
                else:
                    high = middle
            is_here = low < end and rows[low * words : (low + 1) * words].tolist() == wanted
            if is_here and not dead[low >> 3] >> (low & 7) & 1:
                numbers.append(number)
                found.append(low)
        if not found:
            return None
        return Hits(np.array(numbers, np.int64), np.array(found, np.int64), np.zeros(len(found), np.int32))

    @cached_property
    def _looked_at(self) -> tuple[memoryview, memoryview, memoryview]:
        """Rows, one behind the other, directory and withdrawn bits, to be read by Python."""
        return self.parts.rows.reshape(-1).data, self.parts.directory.data, self.dead.data

    def _engine(self, max_distance: int) -> _Prepared:
        engine = self._engines.get(max_distance)
        if engine is None:
            if len(self._engines) >= _PREPARED:
                self._engines.clear()
            engine = self._engines[max_distance] = self._prepared(max_distance)
        return engine

    def _prepared(self, max_distance: int) -> _Prepared:
        """Return the search for one distance, with everything that does not depend on the query done."""
        plan = self.plan(max_distance)
        rows, dead = self.parts.rows, self.dead
        if plan.engine is SearchEngine.SORTED:
            return _Kernel(kernels.look_up, (rows, dead, self.parts.directory, self._prefix_bits))
        if plan.engine is SearchEngine.FAISS:
            return _Faiss(self, max_distance)
        if plan.thresholds is not None and self._layout is not None:
            layout, (_, _, start, fingerprints, ids) = self._layout, self.parts
            bits, tables = layout.address_bits, range(layout.tables)
            shape = np.array(
                [
                    [t * bits for t in tables],
                    [layout.fingerprint_bit(t) for t in tables],
                    plan.thresholds.in_chunk,
                    plan.thresholds.in_region,
                ],
                np.int64,
            )
            masks, weights = _flips(bits, max(plan.thresholds.in_chunk))
            return _Kernel(
                kernels.search_tables,
                (rows, dead, start, fingerprints, ids, shape, bits, masks, weights, max_distance),
            )
        if self.space.algorithm.metric is Metric.SQUARED_EUCLIDEAN:
            # Both sides as bytes: their order within a word does not change a sum of squares.
            return _Kernel(kernels.scan_euclidean, (rows.view(np.uint8), dead, max_distance), as_bytes=True)
        return _Kernel(kernels.scan_hamming, (rows, dead, max_distance))

    def _living(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these rows are not withdrawn."""
        living: NDArray[np.bool_] = (self.dead[at >> 3] >> (at & 7).astype(np.uint8)) & 1 == 0
        return living

    def scan_with_faiss(self, queries: Rows, max_distance: int) -> Hits:
        """Scan with FAISS, straight from the rows: a permutation of both sides changes no Hamming distance."""
        import faiss

        # For this thread only: batches are spread over our own threads. On a machine with other work OpenMP's waited
        # for each other: 17 ms for nine queries over 4,500 digests.
        faiss.omp_set_num_threads(1)
        result = faiss.RangeSearchResult(len(queries), True)
        width = 8 * self.space.words
        # The one place where FAISS's strict comparison becomes ours.
        faiss.hamming_range_search(  # type: ignore[attr-defined] # absent from FAISS's stub, present in its module
            faiss.swig_ptr(queries.view(np.uint8)),
            faiss.swig_ptr(self.parts.rows.view(np.uint8)),
            len(queries),
            self.count,
            max_distance + 1,
            width,
            result,
        )
        lims = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
        total = int(lims[-1])
        rows = faiss.rev_swig_ptr(result.labels, total).copy() if total else np.empty(0, np.int64)
        distances = faiss.rev_swig_ptr(result.distances, total).astype(np.int32) if total else np.empty(0, np.int32)
        living = self._living(rows)
        numbers = np.repeat(np.arange(len(queries)), np.diff(lims))
        return Hits(numbers[living], rows[living], distances[living])


def _located(rows: Rows, among: Rows, directory: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return where each row is among sorted ones, of which this is the directory, or -1."""
    out = np.empty(len(rows), np.int64)
    kernels.locate(rows, among, directory, (len(directory) - 1).bit_length() - 1, out)
    return out


def owners_from(segments: Iterable[Segment], rows: Rows) -> Owners:
    """Return what segments know of the owners of sorted rows."""
    owners, directory = Owners(len(rows)), directory_of(rows)
    for segment in segments:
        known = segment.owners
        owners.add(_located(segment.parts.rows, rows, directory), known.sets, known.numbers)
    return owners


@dataclass(slots=True)
class _Kernel:
    """A search by a kernel of ours, which is called with the queries, `arguments` and room for its hits."""

    kernel: Callable[..., int]
    arguments: tuple[Any, ...]
    as_bytes: bool = False
    _own: Callable[..., int] | None = None  # the kernel as `collect_own` calls it

    def count(self, queries: Rows) -> int:
        given = queries.view(np.uint8) if self.as_bytes else queries
        return self.kernel(given, *self.arguments, *_scratch.room)

    def collect_own(self, queries: Rows) -> Hits | None:
        """As `collect`, of rows in an array of their own; None where nothing is hit."""
        given = (queries.view(np.uint8) if self.as_bytes else queries, *self.arguments, *_scratch.room)
        own = self._own
        if own is None:
            own = self._own = compiled_for(self.kernel, given)
        total = own(*given)
        if not total:
            return None
        return _collected(total) if total <= len(_scratch.room[1]) else self.collect(queries)

    def collect(self, queries: Rows) -> Hits:
        hits = self.collect_bounded(queries, sys.maxsize)
        assert hits is not None  # noqa: S101 - nobody has so many
        return hits

    def collect_bounded(self, queries: Rows, most: int) -> Hits | None:
        while True:
            total = self.count(queries)
            if total > most and len(queries) > 1:
                return None
            if total <= len(_scratch.room[1]):
                return _collected(total)
            # Rows withdrawn or restored meanwhile can change the number a little.
            _scratch.grow(total + total // 8 + 64)


def _collected(total: int) -> Hits:
    """Return so many hits that a kernel left in this thread's room."""
    numbers, rows, distances = _scratch.room
    hits = Hits(numbers[:total].copy(), rows[:total].copy(), distances[:total].copy())
    if len(rows) > _MOST_RESULTS:
        _scratch.grow(_FIRST_RESULTS)
    return hits


class _Faiss(NamedTuple):
    """A search by FAISS."""

    segment: Segment
    max_distance: int

    def count(self, queries: Rows) -> int:
        return len(self.collect(queries).rows)

    def collect_own(self, queries: Rows) -> Hits | None:
        hits = self.collect(queries)
        return hits if len(hits.rows) else None

    def collect(self, queries: Rows) -> Hits:
        return self.segment.scan_with_faiss(queries, self.max_distance)

    def collect_bounded(self, queries: Rows, most: int) -> Hits | None:
        # FAISS says how many there are when it holds them all.
        return self.collect(queries) if len(queries) <= max(1, most // (self.segment.count or 1)) else None


_Prepared = _Kernel | _Faiss


@cache
def _flips(bits: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all values of `bits` bits with at most `most` ones, by ascending number of ones, and those numbers."""
    values = np.arange(2**bits, dtype=np.int64)
    ones = np.bitwise_count(values).astype(np.int64)
    order = np.argsort(ones, kind="stable")
    order = order[ones[order] <= most]
    return values[order], ones[order]


# --- Building ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """Rows to take into a segment but for those in `dead`. is_sorted: sorted and distinct, as a segment's are."""

    rows: Rows
    dead: Bitmap | None = None
    is_sorted: bool = False


def build(
    of: Space,
    sources: Iterable[SegmentSource],
    threads: int = 1,
    progress: Progress | None = None,
    *,
    known: Sequence[Segment] = (),
) -> Segment:
    """Return a segment in memory with the distinct rows of all sources. known: what they are out of, with owners."""
    rows = sorted_rows(sources, of.words, threads, progress)
    parts = SegmentParts(rows, directory_of(rows), *_tables_in_memory(of, rows, threads))
    return Segment(of, parts, owners=owners_from(known, rows))


def sorted_rows(
    sources: Iterable[SegmentSource], words: int, threads: int = 1, progress: Progress | None = None
) -> Rows:
    """Return the distinct living rows of all sources, sorted; of one sorted source that all live, its own array. Needs
    memory for one copy of them, and for one of all but the largest of several sorted sources.

    Sorted sources are merged, the smallest first: ten nanoseconds a row, where sorting them again takes fifty.
    """
    told = progress or _silent
    runs: list[SegmentSource] = []
    unsorted: list[SegmentSource] = []
    for source in sources:
        (runs if source.is_sorted else unsorted).append(source)
    if unsorted or not runs:
        runs.append(SegmentSource(_sorted(unsorted, words, threads, told), is_sorted=True))
    if len(runs) == 1 and runs[0].dead is not None:
        runs.append(
            SegmentSource(np.empty((0, words), np.uint64), is_sorted=True)
        )  # merging leaves out what does not live
    while len(runs) > 1:
        runs.sort(key=lambda run: len(run.rows), reverse=True)
        runs.append(SegmentSource(_merged(runs.pop(), runs.pop(), told), is_sorted=True))
    return runs[0].rows


def _merged(a: SegmentSource, b: SegmentSource, told: Progress) -> Rows:
    """Return the distinct living rows of two sorted sources, sorted."""
    total = len(a.rows) + len(b.rows)
    out = np.empty((total, a.rows.shape[1]), np.uint64)
    at = np.zeros(3, np.int64)
    arguments = (a.rows, _dead(a), b.rows, _dead(b), out, at, _MERGED_AT_ONCE)
    while (done := int(at[0] + at[1])) < total:
        told("sort", done / total)
        kernels.merge(*arguments)
    return out[: at[2]]


def _dead(source: SegmentSource) -> Bitmap:
    return np.zeros(-(-len(source.rows) // 8), np.uint8) if source.dead is None else source.dead


def _sorted(sources: Sequence[SegmentSource], words: int, threads: int, told: Progress) -> Rows:
    """Return the distinct living rows of all sources, sorted by buckets, in parallel."""
    pieces = [
        (source.rows, _dead(source), lo, hi) for source in sources for lo, hi in _slices(len(source.rows), threads)
    ]
    total = sum(hi - lo for _, _, lo, hi in pieces)
    bits = min(_SORT_BITS, max(0, total.bit_length() - 4))
    counts = np.zeros((len(pieces), 2**bits), np.int64)
    told("sort", 0.0)
    _run(threads, [(kernels.count_prefixes, *piece, bits, counts[k]) for k, piece in enumerate(pieces)])
    # Bucket by bucket, and within a bucket piece by piece: each piece then writes to places of its own.
    ends = np.cumsum(counts.T.reshape(-1)).reshape(2**bits, len(pieces))
    bounds = np.zeros(2**bits + 1, np.int64)
    if pieces:
        bounds[1:] = ends[:, -1]
    rows = np.empty((int(bounds[-1]), words), np.uint64)
    told("sort", 0.2)
    starts = [np.ascontiguousarray(ends[:, k] - counts[k]) for k in range(len(pieces))]
    _run(threads, [(kernels.scatter, *piece, bits, starts[k], rows) for k, piece in enumerate(pieces)])
    told("sort", 0.6)
    distinct_by_bucket = np.zeros(2**bits, np.int64)
    # More slices than threads: buckets are not equally full.
    slices = _slices(2**bits, 8 * threads if threads > 1 else 1)
    _run(threads, [(kernels.sort_buckets, rows, bounds, lo, hi, distinct_by_bucket) for lo, hi in slices])
    distinct = int(kernels.close_gaps(rows, bounds, distinct_by_bucket))
    told("sort", 1.0)
    return rows[:distinct]


def directory_of(rows: Rows) -> NDArray[np.uint32]:
    """Return where each prefix of the sorted rows starts."""
    bits = min(_MAX_PREFIX_BITS, max(0, len(rows).bit_length() - _ROWS_PER_PREFIX_LOG2))
    directory = np.empty(2**bits + 1, np.uint32)
    kernels.fill_directory(rows, bits, directory)
    return directory


class Tables(NamedTuple):
    """The arrays of one or more tables, one after the other."""

    start: NDArray[np.uint32]
    fingerprints: NDArray[np.uint16]
    ids: NDArray[np.uint32]


def has_tables(of: Space, count: int) -> DigestLayout | None:
    """Return the layout for a segment of `count` rows, or None when it is scanned or looked up instead."""
    if of.algorithm.metric is not Metric.HAMMING or count < SCAN_BELOW:
        return None
    return layout_for(of.algorithm.bits, count)


def tables(of: DigestLayout, rows: Rows, threads: int, progress: Progress | None = None) -> Iterator[Tables]:
    """Yield the tables of sorted rows in order, built by `threads` threads at most that far ahead of the consumer."""
    told = progress or _silent
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(_table, of, rows, number) for number in range(min(threads, of.tables))]
        for number in range(of.tables):
            ready = waiting.pop(0).result()
            if number + threads < of.tables:
                waiting.append(pool.submit(_table, of, rows, number + threads))
            yield ready
            told("index", (number + 1) / of.tables)


def _table(of: DigestLayout, rows: Rows, number: int) -> Tables:
    made = _room(of, len(rows), [number])
    _fill(of, rows, number, made)
    return made


def _room(of: DigestLayout, n: int, numbers: Sequence[int]) -> Tables:
    """Return arrays for these tables of n rows. Table 0 is in row order and has no ids."""
    return Tables(
        np.empty(len(numbers) * (2**of.address_bits + 1), np.uint32),
        np.empty(len(numbers) * (n + kernels.LANES), np.uint16),
        np.empty(sum(number > 0 for number in numbers) * n, np.uint32),
    )


def _fill(of: DigestLayout, rows: Rows, number: int, into: Tables) -> None:
    address, fingerprint = number * of.address_bits, of.fingerprint_bit(number)
    buffer = np.empty(len(rows), np.uint64)
    kernels.build_table(rows, address, of.address_bits, fingerprint, buffer, *into)


def _tables_in_memory(of: Space, rows: Rows, threads: int) -> Tables:
    n = len(rows)
    layout = has_tables(of, n)
    if layout is None:
        return Tables(np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.uint32))
    made = _room(layout, n, range(layout.tables))
    groups, padded = 2**layout.address_bits + 1, n + kernels.LANES

    def part(number: int) -> Tables:
        return Tables(
            made.start[number * groups : (number + 1) * groups],
            made.fingerprints[number * padded : (number + 1) * padded],
            made.ids[(number - 1) * n : number * n] if number else made.ids[:0],
        )

    _run(threads, [(_fill, layout, rows, number, part(number)) for number in range(layout.tables)])
    return made


def _slices(total: int, parts: int) -> list[tuple[int, int]]:
    """Cut range(total) into at most `parts` ranges that differ by one at most."""
    parts = max(1, min(parts, total))
    edges = [total * k // parts for k in range(parts + 1)]
    return list(pairwise(edges))


def _run(threads: int, calls: list[tuple[Any, ...]]) -> None:
    """Make the calls (function, arguments…), at most `threads` at once, and raise what one of them raises."""
    if threads == 1 or len(calls) == 1:
        for function, *arguments in calls:
            function(*arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(*call) for call in calls]:
            job.result()


def _silent(_phase: str, _share: float) -> None:
    """Stand in where the caller wants no progress."""
