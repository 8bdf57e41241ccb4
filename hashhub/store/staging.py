"""An import's entries on their way in: what a process holds of a commit, and ranges of entry ids.

Digests are random, and the table of hashes is clustered by digest: rows in the order of entries would touch a page
each. So the hashes of staged entries are gathered here, as compactly as they can be, and handed over sorted in large
runs.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub.frames import matching_digests
from hashhub.hashes import FRAMES, VPDQ
from hashhub.model import Actor
from hashhub.store.packing import NAMES, EntryColumns, Shapes, columns_of, heads_of
from hashhub.store.schema import ACTIVE

_encode: Final = msgspec.msgpack.Encoder().encode
PIECE: Final = 50_000  # rows in one transaction of a run: 0.1 to 0.3 s, so that other writers do not wait long

Piece = tuple[int, NDArray[np.uint8], NDArray[np.int64]]
"""Hashes of one algorithm: its code, digests uint8[n, bytes] and their entries int64[n]."""


class Commit:
    """What this process holds of an import that it is committing."""

    def __init__(
        self, import_id: str, key: int, hash_set: int, lease: str, subject: str, by: Actor, *, since: int = 0
    ) -> None:
        """`since`: the revision at which it began; what the list is compared with is not older."""
        self.import_id = import_id
        self.since = since
        self.subject = subject  # what events call it
        self.by = by
        self.salt = os.urandom(16)
        self._content = hashlib.sha256(self.salt)
        self.key = key
        self.hash_set = hash_set
        self.lease = lease
        self.lock = threading.Lock()
        self.renewed = time.monotonic()
        self.allocations: list[tuple[int, int]] = []
        self.ranges: list[tuple[int, int]] = []  # staged
        # algorithm code -> digests uint8[n, bytes] and entry ids int64[n], in parts
        self.hashes: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = {}
        self.size = 0

    @property
    def contributor(self) -> str:
        """Whose list it is."""
        return self.subject.split("/")[1]

    def content(self) -> str:
        """Return the commitment to what was staged: SHA-256 over a salt and the entries' canonical content, in
        hexadecimal.

        The content of an entry is the MessagePack array [id, position, external id or nil, flags, hashes, details or
        nil].
        """
        return self._content.hexdigest()

    def gather(self, entries: EntryColumns, shapes: Shapes) -> dict[str, NDArray[np.uint8]]:
        """Keep the hashes of packed entries for the next run, and commit to what the entries say. `shapes`: the hashes.

        Return the digests of those that are ACTIVE, by algorithm, not all distinct; those of frames are left out.
        """
        stated = zip(
            entries.ids,
            entries.positions,
            entries.external_ids,
            entries.flags,
            entries.hashes,
            entries.details,
            strict=True,
        )
        self._content.update(_elements(list(stated)))
        ids = np.asarray(entries.ids, np.int64)
        is_active = np.equal(entries.states, ACTIVE)
        all_active = bool(is_active.all())
        active: dict[int, list[NDArray[np.uint8]]] = {}
        for shape, rows, matrix in shapes:
            for code, column in columns_of(shape, matrix):
                digests = np.ascontiguousarray(column)
                self.hashes.setdefault(code, []).append((digests, ids[rows]))
                active.setdefault(code, []).append(digests if all_active else digests[is_active[rows]])
            self.size += matrix.size + 8 * len(shape) * len(rows)
        for entry, packed in zip(entries.ids, entries.frames, strict=True) if any(entries.frames) else ():
            if packed:
                frames = matching_digests(packed)
                self.hashes.setdefault(VPDQ.code, []).append((frames, np.full(len(frames), entry, np.int64)))
                self.size += frames.size + 8 * len(frames)
        active.pop(FRAMES.code, None)
        return {NAMES[code]: np.concatenate(digests) for code, digests in active.items()}

    def take_run(self) -> Run:
        """Hand over the gathered hashes."""
        gathered, self.hashes, self.size = self.hashes, {}, 0
        return Run(gathered)


class Run:
    """Hashes that were gathered, to be written in the order of algorithms and digests, once."""

    def __init__(self, gathered: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]]) -> None:
        """`gathered`: as in `Commit`; it is emptied."""
        self._gathered = gathered
        self.count = sum(len(ids) for parts in gathered.values() for _, ids in parts)

    def pieces(self) -> Iterator[Piece]:
        """Yield all of them; what was gathered of an algorithm is given back before the next."""
        for code in sorted(self._gathered):
            yield from _Column(code, self._gathered.pop(code)).pieces()

    def parts(self, n: int) -> list[Iterator[Piece]]:
        """Return the pieces of each of `n` equal parts, which may be written at once."""
        bounds = [self.count * i // n for i in range(n + 1)]
        columns = [_Column(code, self._gathered.pop(code)) for code in sorted(self._gathered)]
        return [_between(columns, first, last) for first, last in itertools.pairwise(bounds)]


class _Column:
    """A run's hashes of one algorithm."""

    def __init__(self, code: int, parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
        self._code = code
        self._matrix = np.concatenate([digests for digests, _ in parts])
        self._entries = np.concatenate([ids for _, ids in parts])
        # The heads order digests well enough: only the locality of the writes depends on it.
        self._order = np.argsort(heads_of(self._matrix))

    def __len__(self) -> int:
        return len(self._order)

    def pieces(self, first: int = 0, last: int | None = None) -> Iterator[Piece]:
        """Yield those from `first` to before `last`."""
        order = self._order[first:last]
        for start in range(0, len(order), PIECE):
            rows = order[start : start + PIECE]
            yield self._code, np.take(self._matrix, rows, axis=0), self._entries[rows]  # a fifth of what indexing takes


def _between(columns: Sequence[_Column], first: int, last: int) -> Iterator[Piece]:
    """Yield the hashes from `first` to before `last` of all columns together."""
    for column in columns:
        yield from column.pieces(max(0, first), max(0, last))
        first, last = first - len(column), last - len(column)


def _elements(values: Sequence[object]) -> bytes:
    """Return the MessagePack of each value, one after the other: the array of all of them without its head."""
    packed = _encode(values)
    return packed[1 if len(values) < 16 else 3 if len(values) < 65_536 else 5 :]  # noqa: PLR2004 - MessagePack's sizes
