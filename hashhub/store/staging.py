"""An import's entries on their way in: what a process holds of a commit, and ranges of entry ids.

Digests are random, and the table of hashes is clustered by digest: rows in the order of entries would touch a page
each. So the hashes of staged entries are gathered here, as compactly as they can be, and handed over sorted in large
runs.
"""

from __future__ import annotations

import hashlib
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

    def take_run(self) -> Iterator[Piece]:
        """Hand over the gathered hashes in pieces, ordered by algorithm and digest. Each algorithm's memory is freed
        before the next.
        """
        gathered, self.hashes, self.size = self.hashes, {}, 0
        for code in sorted(gathered):
            digests, entries = map(np.concatenate, zip(*gathered.pop(code), strict=True))
            # The heads order digests well enough: only the locality of the writes depends on it.
            order = np.argsort(heads_of(digests))
            for start in range(0, len(order), PIECE):
                rows = order[start : start + PIECE]
                yield code, np.take(digests, rows, axis=0), entries[rows]  # a fifth of what indexing takes


def _elements(values: Sequence[object]) -> bytes:
    """Return the MessagePack of each value, one after the other: the array of all of them without its head."""
    packed = _encode(values)
    return packed[1 if len(values) < 16 else 3 if len(values) < 65_536 else 5 :]  # noqa: PLR2004 - MessagePack's sizes
