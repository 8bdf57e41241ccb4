"""The copy of a hub's lists, from which answers are made in local mode, and the index beside it.

    copy/mirror.db          entries, terms, reviews; the journal of digests that each page touched
    copy/index/snapshots/   the matcher's; written by the process that syncs, mapped by all
    copy/index/mark         the last page of the copy of which the snapshots may know anything

One look is one read transaction, between two pages of the feed. Whatever it holds may be seen: the feed gave it by the
terms. What ends by itself ends here, too. A missing digest would be a missed match: an index is used only if the copy
has been at its mark's page and has a journal of all later ones.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub import frames
from hashhub.answering.lists import VisibleSets
from hashhub.client.mirror import FILE_NAME, JOURNAL_VERSION, SET_ASIDE, KeptPolicy, time_of
from hashhub.errors import DataLoss, Reason, Unavailable
from hashhub.hashes import SEARCHED, VPDQ, Hash
from hashhub.local_files import is_in_the_way, misplaced, obstacle, open_file, read_file, shown
from hashhub.matcher import Matcher
from hashhub.matcher.index import ANY
from hashhub.model import (
    MAX_NUMBER,
    Classification,
    Contributor,
    Entry,
    EntryState,
    Flags,
    HashSet,
    Marking,
    Provenance,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
    VideoFrame,
    id_in_set,
    now,
    set_key_of,
)

COPY: Final = "copy"
"""Directory of the copy, under that of the hook."""
SYNC: Final = "run `hashhub hook sync`"
_KEYS: Final = 500  # values in one statement
_CHUNK: Final = 100_000  # digests read at a time
CLOCKS: Final = timedelta(minutes=1)  # by which the hub's clock and ours may differ
_FLAGS: Final = Flags.__struct_fields__
_ENTRY: Final = (
    "SELECT e.id, h.name, e.position, e.member, e.external_id, "  # noqa: S608 - our own names
    "e.media_type, e.media_size_bytes, e.series, e.tags, "
    "e.quality, e.source_time, e.expire_time, e.reasons, e.create_revision, e.update_revision, "
    f"{', '.join(f'e.{name}' for name in _FLAGS)}, "
    's."import", s.connector, s.connector_version, s.source_digest, '
    "c.scheme, c.region, c.value, c.draft, c.dimensions "
    "FROM entry e JOIN hash_set h ON h.key = e.hash_set JOIN source s ON s.key = e.source "
    "LEFT JOIN classification c ON c.key = e.classification "
)


_HITS: Final = (
    "WITH own AS (SELECT entry FROM hash WHERE digest = ?1 AND algorithm = ?2 "  # noqa: S608 - likewise
    "AND entry BETWEEN ?3 AND ?4) "
    f"{_ENTRY} WHERE e.id IN ("
    "SELECT entry FROM (SELECT entry FROM own ORDER BY entry LIMIT ?5) UNION "
    "SELECT entry FROM (SELECT entry FROM own ORDER BY entry DESC LIMIT ?5)) ORDER BY e.id"
)


_SHARING: Final = (
    "WITH own AS (SELECT DISTINCT entry FROM frame WHERE digest = ?1 AND quality >= ?2 AND entry BETWEEN ?3 AND ?4) "
    "SELECT v.entry, v.digest_count FROM video v WHERE v.entry IN ("
    "SELECT entry FROM (SELECT entry FROM own ORDER BY entry LIMIT ?5) UNION "
    "SELECT entry FROM (SELECT entry FROM own ORDER BY entry DESC LIMIT ?5)) ORDER BY v.entry"
)


class CopyMoment(NamedTuple):
    """The moment of a look. `revision`: the hub's, at which the copy was complete last; `complete_time`: when that
    was; None: never yet. `page`: the last page that was applied, and its mark.
    """

    revision: int
    complete_time: datetime | None
    page: tuple[int, bytes]


class CopyHit(NamedTuple):
    """An entry of the copy that has a digest, not yet read."""

    digest: bytes
    entry_id: int
    hash_set: str
    row: tuple[Any, ...]


class _Registry(NamedTuple):
    contributors: Mapping[str, Contributor]
    hash_sets: Mapping[str, HashSet]
    keys: Mapping[int, str]
    with_entries: frozenset[str]


class ListCopy:
    """The copy's file. Safe to be shared by threads, and by processes that open it each for itself."""

    def __init__(self, directory: Path) -> None:
        """Nothing is opened before the first look."""
        self.path = directory / FILE_NAME
        self._registry: tuple[tuple[int, bytes] | None, _Registry] = (None, _Registry({}, {}, {}, frozenset()))

    @contextmanager
    def look(self) -> Iterator[CopyReader]:
        """Look at the copy as it is now. Raises Unavailable when it is not there, DataLoss when it is damaged."""
        with _mapped(), closing(self._opened()) as db:
            db.execute("PRAGMA mmap_size = 1073741824").close()  # look-ups go straight to the page cache
            if db.execute("SELECT schema_version FROM meta").fetchall() != [(JOURNAL_VERSION,)]:
                raise Unavailable(
                    f"the copy was not made by `hashhub hook sync`, or by one of another version; {SYNC}",
                    reason=Reason.MATCHER_NOT_READY,
                )
            db.execute("BEGIN")
            yield CopyReader(self, db)

    def _opened(self) -> sqlite3.Connection:
        """Return a connection to the file that is there now: it may have been replaced."""
        try:
            status = self.path.stat()
        except FileNotFoundError as e:
            raise Unavailable(
                f"there is no copy of the hub's lists; {SYNC} while the hub is there", reason=Reason.MATCHER_NOT_READY
            ) from e
        except OSError as e:
            raise Unavailable(
                f"the copy of the hub's lists cannot be read: {obstacle(e, 'the hook')}; {SYNC}, which says what to do",
                reason=Reason.MATCHER_NOT_READY,
            ) from e
        if not stat.S_ISREG(status.st_mode):
            raise Unavailable(
                f"the copy of the hub's lists cannot be read: {misplaced(self.path, 'the hook', 'file')}; move it away",
                reason=Reason.MATCHER_NOT_READY,
            )
        return sqlite3.connect(f"file:{self.path.absolute()}?mode=ro", uri=True, isolation_level=None)

    def registry(self, look: CopyReader) -> _Registry:
        """Return contributors and hash sets; read anew only when a page was applied."""
        page = look.moment.page
        known, registry = self._registry
        if known != page:
            registry = _read_registry(look)
            self._registry = (page, registry)
        return registry


def copied_lists(data: Path) -> list[tuple[HashSet, Mapping[str, Contributor]]]:
    """Return the copy's lists, each with the contributors by id. Raises Unavailable unless it is complete."""
    with ListCopy(data / COPY).look() as look:
        if look.moment.complete_time is None:
            raise Unavailable("the copy of the hub's lists is not complete yet")
        seen = look.seen()
        return [(seen.hash_sets[name], seen.contributors) for name in sorted(look.lists())]


class CopyReader:
    """One look at the copy: entries for answers (`answering.lists`), and what an index follows."""

    def __init__(self, copy: ListCopy, db: sqlite3.Connection) -> None:
        self._copy, self._db = copy, db
        self._moment: CopyMoment | None = None

    @property
    def moment(self) -> CopyMoment:
        """The moment that is looked at."""
        if self._moment is None:
            [(revision, complete_time, sequence, mark)] = self.rows(
                "SELECT m.complete_revision, m.complete_time, p.sequence, p.mark FROM meta m, journal_page p "
                "WHERE p.sequence = (SELECT max(sequence) FROM journal_page)"
            )
            self._moment = CopyMoment(revision, time_of(complete_time), (sequence, mark))
        return self._moment

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement gives."""
        return self._db.execute(sql, values).fetchall()

    def records(self, sql: str) -> Iterator[dict[str, Any]]:
        """Yield what a statement gives, by the names of its columns."""
        rows = self._db.execute(sql)
        names = [column[0] for column in rows.description]
        return (dict(zip(names, row, strict=True)) for row in rows)

    def by_keys(self, sql: str, keys: Iterable[Any], values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement with `{keys}` in place of `IN (…)`, so many at a time, behind `values`."""
        listed = sorted(set(keys))
        for start in range(0, len(listed), _KEYS):
            part = listed[start : start + _KEYS]
            marks = f"IN ({', '.join('?' * len(part))})"
            yield from self._db.execute(sql.replace("{keys}", marks), (*values, *part))

    def policy(self, reference: str) -> KeptPolicy | None:
        """Return the policy that was kept under a reference."""
        for row in self.rows("SELECT reference, name, text, fault, time FROM policy WHERE reference = ?", (reference,)):
            return KeptPolicy(
                reference=row[0], name=row[1], text=row[2], fault=row[3], time=datetime.fromisoformat(row[4])
            )
        return None

    # What an index follows

    def has_been_at(self, page: tuple[int, bytes]) -> bool:
        """Whether the copy was at this page, and the journal has all that came behind it."""
        return self.rows("SELECT mark FROM journal_page WHERE sequence = ?", page[:1]) == [page[1:]]

    def has_page(self, sequence: int) -> bool:
        """Whether the journal has all that came behind the page with this number."""
        return bool(self.rows("SELECT 1 FROM journal_page WHERE sequence = ?", (sequence,)))

    def touched(self, after: int) -> Iterator[tuple[int, str, NDArray[np.uint8]]]:
        """Yield what pages behind this one touched: the page, an algorithm, digests, uint8[n, digest_bytes]."""
        sql = "SELECT sequence, algorithm, digests FROM journal WHERE sequence > ? ORDER BY sequence, number"
        for sequence, algorithm, packed in self._db.execute(sql, (after,)):
            if algorithm in SEARCHED:
                yield sequence, algorithm, _digests(algorithm, packed)

    def holders(self, algorithm: str, digests: NDArray[np.uint8]) -> dict[int, NDArray[np.bool_]]:
        """Return which digests some entry has, bool[n] by its hash set's key; of frames, those that match."""
        width = digests.shape[1]
        flat = np.ascontiguousarray(digests).tobytes()
        listed = [flat[at : at + width] for at in range(0, len(flat), width)]
        values: tuple[object, ...]
        if algorithm == VPDQ.name:
            sql, values = (
                "SELECT DISTINCT digest, entry >> 32 FROM frame WHERE quality >= ? AND digest {keys}",
                (frames.MIN_QUALITY,),
            )
            telling = frames.are_telling(digests)
        else:
            sql = "SELECT DISTINCT digest, entry >> 32 FROM hash WHERE algorithm = ? AND digest {keys}"
            values, telling = (algorithm,), np.ones(len(digests), np.bool_)
        held: defaultdict[int, set[bytes]] = defaultdict(set)
        for digest, key in self.by_keys(sql, listed, values):
            held[_known(key)].add(digest)
        return {
            key: np.fromiter((d in of_set for d in listed), np.bool_, len(listed)) & telling
            for key, of_set in held.items()
        }

    def all_digests(self) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield all digests: algorithm, uint8[n, digest_bytes], keys of hash sets int64[n]; some may repeat."""
        parts: dict[str, list[tuple[bytes, int]]] = {name: [] for name in SEARCHED}
        rows = self._db.execute("SELECT algorithm, digest, entry >> 32 FROM hash")
        while page := rows.fetchmany(_CHUNK):
            for algorithm, digest, key in page:
                if algorithm in parts:
                    parts[algorithm].append((digest, _known(key)))
            for algorithm, listed in parts.items():
                if listed:
                    yield algorithm, _digests(algorithm, b"".join([d for d, _ in listed])), _keys(listed)
                    listed.clear()
        rows = self._db.execute("SELECT digest, entry >> 32 FROM frame WHERE quality >= ?", (frames.MIN_QUALITY,))
        while page := rows.fetchmany(_CHUNK):
            digests = _digests(VPDQ.name, b"".join([row[0] for row in page]))
            telling = frames.are_telling(digests)
            yield VPDQ.name, digests[telling], _keys([(d, _known(key)) for d, key in page])[telling]

    # Lists

    @property
    def entries(self) -> CopyReader:
        """Reads them."""
        return self

    def seen(self) -> VisibleSets:
        """Return what is seen now. What the hub still gave when terms had ended is its receiver's own."""
        registry = self._copy.registry(self)
        at = now()
        given_at = self.moment.complete_time or at
        visible, disclosed = set(), set()
        for name, hash_set in registry.hash_sets.items():
            end = hash_set.marking.expire_time
            if end is None or end > at or end + CLOCKS < given_at:
                visible.add(name)
            elif hash_set.marking.disclose_existence:
                disclosed.add(name)
        return VisibleSets(registry.contributors, registry.hash_sets, frozenset(visible), frozenset(disclosed))

    def lists(self) -> frozenset[str]:
        """Return the hash sets that uploads are compared with: they have entries, and their terms have not ended."""
        return self.seen().visible & self._copy.registry(self).with_entries

    def has_any(self) -> bool:
        """Return whether there is an entry of which anything may be known."""
        seen = self.seen()
        return not self._copy.registry(self).with_entries.isdisjoint(seen.visible | seen.disclosed)

    def hash_set_keys(self, names: Collection[str]) -> Mapping[int, str]:  # noqa: ARG002 - of the protocol
        """Return the names of all hash sets by the copy's keys."""
        return self._copy.registry(self).keys

    def disclosed(self, entry: Entry, asked: frozenset[Hash]) -> Entry:
        """Return the entry as it is: the feed gave what may be read of it."""
        del asked
        return entry

    def hits_by_digests(self, algorithm: str, wanted: Collection[tuple[bytes, int, int]]) -> Iterator[CopyHit]:
        """Yield entries by (digest, key of a hash set, most), unread, as `answering.lists.Entries` says."""
        # What was set aside has an id that says nothing of its hash set.
        aside = {(digest, set_key_of(SET_ASIDE), most) for digest, _, most in wanted} if self._has_set_aside else ()
        for digest, key, most in (*wanted, *aside):
            values = digest, algorithm, id_in_set(key, 0), id_in_set(key, MAX_NUMBER), most
            rows = self.rows(_HITS, values)
            for row in rows:
                yield CopyHit(digest, row[0], row[1], row)
            if len(rows) == 2 * most:
                yield CopyHit(digest, 0, rows[-1][1], ())

    @cached_property
    def _has_set_aside(self) -> bool:
        return bool(self.rows("SELECT 1 FROM entry WHERE id >= ? LIMIT 1", (SET_ASIDE,)))

    def hits_by_ids(self, ids: Iterable[int]) -> Iterator[CopyHit]:
        """Yield those of the entries that the copy holds, unread, by id."""
        for row in self.by_keys(f"{_ENTRY} WHERE e.id {{keys}} ORDER BY e.id", ids):
            yield CopyHit(b"", row[0], row[1], row)

    def entries_sharing_frames(self, pairs: Sequence[tuple[bytes, int]], most: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield (digest, entry id, how many distinct digests its frames have), as `answering.lists.Entries` says."""
        aside = {(digest, set_key_of(SET_ASIDE)) for digest, _ in pairs} if self._has_set_aside else ()
        for digest, key in (*pairs, *aside):
            rows = self.rows(
                _SHARING, (digest, frames.MIN_QUALITY, id_in_set(key, 0), id_in_set(key, MAX_NUMBER), most)
            )
            yield from ((digest, *row) for row in rows)
            if len(rows) == 2 * most:
                yield digest, -1, 0

    def frames_of(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the entries that have frames, ascending by id, with these, packed."""
        sql = "SELECT f.entry, f.offset_ms, f.quality, f.digest FROM frame f WHERE f.entry = ? ORDER BY f.number"
        for entry in sorted(set(ids)):
            if rows := self.rows(sql, (entry,)):
                yield entry, frames.pack(VideoFrame(*row[1:]) for row in rows)

    def read_entry(self, hit: CopyHit, /) -> Entry:
        """Return the entry."""
        hashes = self.rows("SELECT algorithm, digest FROM hash WHERE entry = ?", (hit.entry_id,))
        return _entry(hit.row, hashes)

    def with_frame_counts(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries with how many frames those have that are videos."""
        sql = "SELECT f.entry, count(*) FROM frame f WHERE f.entry {keys} GROUP BY f.entry"
        counts = dict(self.by_keys(sql, [e.id for e in entries]))
        return [msgspec.structs.replace(e, frame_count=counts[e.id]) if e.id in counts else e for e in entries]

    def reviews_of(self, entry_ids: Iterable[int]) -> Mapping[int, Sequence[Review]]:
        """Return the reviews that count for the entries by entry id, the oldest first."""
        sql = (
            "SELECT r.entry, r.id, r.author, r.kind, r.role, r.sets_aside, r.awaits_acceptance, r.create_revision "
            "FROM review r WHERE r.entry {keys} ORDER BY r.entry, r.id"
        )
        return {
            entry: [
                Review(
                    id=row[1],
                    entry_id=entry,
                    author=row[2],
                    kind=ReviewKind(row[3]),
                    role=Role(row[4]),
                    sets_aside=row[5],
                    awaits_acceptance=bool(row[6]),
                    revision=row[7],
                )
                for row in of_entry
            ]
            for entry, of_entry in itertools.groupby(self.by_keys(sql, entry_ids), key=itemgetter(0))
        }

    def stated_times(self, entries: Collection[Entry]) -> Mapping[int, datetime]:  # noqa: ARG002 - of the protocol
        """Return nothing: the feed does not say when. A policy that asks for it is refused (`local`)."""
        return {}


def _read_registry(look: CopyReader) -> _Registry:
    contributors: dict[str, Contributor] = {}
    for record in look.records(
        "SELECT id, display_name, kind, jurisdiction, reliability, takes_from, retire_time, "
        "objections_accepted_revision FROM contributor"
    ):
        record["takes_from"] = _texts(record["takes_from"])
        contributors[record["id"]] = msgspec.convert(record, Contributor, strict=False)
    hash_sets, keys = {}, {}
    for record in look.records(
        "SELECT key, name, display_name, scheme, purpose, review_depth, unclassified, accepted_revision, tlp, "
        "permitted_purposes, legal_basis, redistribution, recipients, disclose_existence, bulk, expire_time "
        "FROM hash_set"
    ):
        marking = {field: record.pop(field) for field in Marking.__struct_fields__ if field in record}
        marking |= {field: _texts(marking[field]) for field in ("permitted_purposes", "recipients")}
        keys[record.pop("key")] = name = record.pop("name")
        contributor, _, set_id = name.partition("/")
        record |= {"contributor": contributor, "id": set_id, "marking": marking}
        hash_sets[name] = msgspec.convert(record, HashSet, strict=False)
    with_entries = look.rows("SELECT name FROM hash_set h WHERE EXISTS (SELECT 1 FROM entry WHERE hash_set = h.key)")
    return _Registry(contributors, hash_sets, keys, frozenset(name for (name,) in with_entries))


def _entry(row: tuple[Any, ...], hashes: Sequence[tuple[str, bytes]]) -> Entry:
    contributor, _, set_id = row[1].partition("/")
    flags = row[15 : 15 + len(_FLAGS)]
    source, connector, connector_version, source_digest, scheme, *classified = row[15 + len(_FLAGS) :]
    return Entry(
        id=row[0],
        contributor=contributor,
        hash_set=set_id,
        hashes=tuple([Hash(algorithm, digest) for algorithm, digest in hashes]),
        state=EntryState.ACTIVE,
        provenance=Provenance(
            import_id=source.rpartition("/")[2],
            connector=connector,
            connector_version=connector_version,
            source_digest=source_digest,
            position=row[2],
            member=row[3],
        ),
        classification=None if scheme is None else _classification(scheme, *classified),
        flags=Flags(**{n: None if value is None else bool(value) for n, value in zip(_FLAGS, flags, strict=True)}),
        external_id=row[4],
        media_type=row[5],
        media_size=row[6],
        series=row[7],
        tags=_texts(row[8]),
        quality=row[9],
        source_time=row[10],
        expire_time=time_of(row[11]),
        reasons=_texts(row[12]),
        create_revision=row[13],
        update_revision=row[14],
    )


def _classification(scheme: str, region: str, value: str, draft: int, dimensions: str) -> Classification:
    name, _, version = scheme.partition("@")
    return Classification(
        scheme=name,
        version=version,
        region=region,
        value=value,
        status=SchemeStatus.DRAFT if draft else SchemeStatus.VERIFIED,
        dimensions=msgspec.json.decode(dimensions, type=dict[str, tuple[str, ...]]),
    )


def _digests(algorithm: str, packed: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(packed, np.uint8).reshape(-1, SEARCHED[algorithm].digest_bytes)


def _known(key: int) -> int:
    """Return the key of the hash set that an id says, or that it says none."""
    return ANY if key == set_key_of(SET_ASIDE) else key


def _keys(listed: Sequence[tuple[bytes, int]]) -> NDArray[np.int64]:
    return np.fromiter((key for _, key in listed), np.int64, len(listed))


def _texts(packed: str) -> tuple[str, ...]:
    return msgspec.json.decode(packed, type=tuple[str, ...])


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn errors of SQLite into ours."""
    try:
        yield
    except sqlite3.OperationalError as e:
        raise Unavailable(
            f"the copy of the hub's lists cannot be read now ({e}); check its disk and permissions, or {SYNC}",
            reason=Reason.MATCHER_NOT_READY,
        ) from e
    except sqlite3.DatabaseError as e:
        raise DataLoss(f"the copy of the hub's lists is damaged; remove its directory, then {SYNC}") from e


DIRECTORY: Final = "index"
_MARK: Final = "mark"
_PIECE: Final = 50_000  # digests of the journal taken at a time
_NOWHERE: Final = (0, b"")


class Index:
    """A matcher that follows a copy: one process publishes, the others read that and follow in memory."""

    def __init__(self, copy: ListCopy, directory: Path, *, publisher: bool) -> None:
        """Raises FailedPrecondition (DATA_IN_USE) beside another publisher, Unavailable for a bad directory."""
        self._copy = copy
        self._path = directory
        self._is_publisher = publisher
        self._lock = threading.Lock()
        self._page = _NOWHERE  # the matcher knows nothing of pages behind it
        self._is_sound = publisher  # the publisher's matcher verifies what it opened by itself
        self.matcher = self._open()

    def close(self) -> None:
        """Let go of the files."""
        self.matcher.close()

    def catch_up(self, look: CopyReader) -> bool:
        """Bring the index to a fresh look's moment; False when it was never complete. Raises Unavailable if another
        process has to publish first.
        """
        moment = look.moment
        if moment.complete_time is None:
            return False
        if not self._is_of(look):
            self._renew(look, moment)
        self._follow(look, moment)
        return True

    def look(self, then: Callable[[CopyReader], None] = lambda _: None) -> bool:
        """Bring the index to the moment of a look, and pass that on; False when the copy was never complete."""
        with self._lock:
            self.matcher.refresh()  # before the look: a publisher's snapshot is never ahead of what it committed
            with self._copy.look() as look:
                is_there = self.catch_up(look)
                if is_there:
                    then(look)
            return is_there

    def rebuild(self) -> None:
        """Write the index anew, so that nothing is left on the disk of digests that were dropped."""
        with self._lock, self._copy.look() as look:
            if look.moment.complete_time is not None:
                self._build(look, look.moment)

    def _open(self) -> Matcher:
        # Queries come one at a time, and threads of an app's worker must not wait for each other in a pool.
        return Matcher(self._path, publisher=self._is_publisher, threads=None if self._is_publisher else 1)

    def _is_of(self, look: CopyReader) -> bool:
        """Whether the matcher was made from this copy's past, and can follow from where it is."""
        page = self._page if self._page != _NOWHERE else self._read_mark()
        if self.matcher.revision == 0 or self.matcher.status().damaged:
            return False
        return look.has_been_at(page) and look.has_page(self.matcher.revision)

    def _renew(self, look: CopyReader, moment: CopyMoment) -> None:
        if self._is_publisher:
            self._build(look, moment)
            return
        self.matcher.close()
        self._page, self._is_sound = _NOWHERE, False
        self.matcher = self._open()
        if not self._is_of(look):
            raise Unavailable(
                f"the index beside the copy is missing, or is not of this copy; {SYNC}, which writes it",
                reason=Reason.MATCHER_NOT_READY,
            )

    def _build(self, look: CopyReader, moment: CopyMoment) -> None:
        # The mark first: snapshots without one are believed by nobody. Then the lock is let go of.
        self._remove(_MARK)
        self._remove("CURRENT")
        self.matcher.close()
        snapshots = self._path / "snapshots"
        shutil.rmtree(snapshots, ignore_errors=True)
        self.matcher = self._open()
        if self.matcher.revision:
            # With a new mark it would be believed, should this process be killed before the new one is there.
            raise Unavailable(
                f"{shown(snapshots)} holds an older index that cannot be removed; check its permissions, then {SYNC}",
                reason=Reason.MATCHER_NOT_READY,
            )
        self._write_mark(moment.page)
        self.matcher.rebuild(moment.page[0], look.all_digests(), or_in_memory=True)

    def _follow(self, look: CopyReader, moment: CopyMoment) -> None:
        if not self._is_sound:
            try:
                self.matcher.verify()
            except DataLoss as e:
                raise Unavailable(
                    f"the index beside the copy is damaged; {SYNC} --reindex", reason=Reason.SNAPSHOT_DAMAGED
                ) from e
            self._is_sound = True
        if self._page != moment.page:
            self._write_mark(moment.page)
        if self.matcher.revision >= moment.page[0]:
            return
        parts: defaultdict[str, list[NDArray[np.uint8]]] = defaultdict(list)
        count = 0
        for sequence, algorithm, digests in look.touched(self.matcher.revision):
            parts[algorithm].append(digests)
            count += len(digests)
            if count >= _PIECE:
                # A page may come in several pieces: until the last, the matcher stays behind it.
                self._apply(look, parts, sequence - 1)
                parts.clear()
                count = 0
        self._apply(look, parts, moment.page[0])

    def _apply(self, look: CopyReader, parts: dict[str, list[NDArray[np.uint8]]], sequence: int) -> None:
        withdraw = {}
        for algorithm, listed in parts.items():
            digests = np.unique(np.concatenate(listed), axis=0)
            is_held = np.zeros(len(digests), np.bool_)
            for key, of_set in look.holders(algorithm, digests).items():
                is_held |= of_set
                before = max(sequence - 1, self.matcher.revision)
                self.matcher.apply(before, add={algorithm: digests[of_set]}, hash_set=key)
            withdraw[algorithm] = digests[~is_held]
        self.matcher.apply(max(sequence, self.matcher.revision), withdraw=withdraw)

    def _read_mark(self) -> tuple[int, bytes]:
        """Return the page of the mark; what cannot be read is no page of any copy."""
        try:
            sequence, mark = read_file(self._path / _MARK).decode("ascii").split()
            return int(sequence), bytes.fromhex(mark)
        except (OSError, ValueError):
            return _NOWHERE

    def _write_mark(self, page: tuple[int, bytes]) -> None:
        """Write the mark before what it is of, at once; a torn one is no page of any copy. Where it cannot be written
        it is removed, and the next start indexes anew. Raises Unavailable where neither can be done.
        """
        if not self._is_publisher:
            self._page = page
            return
        line = f"{page[0]:20d} {page[1].hex():16s}\n".encode("ascii")
        path = self._path / _MARK
        try:
            file = open_file(path, os.O_WRONLY | os.O_CREAT)
            try:
                written = os.pwrite(file, line, 0)
            finally:
                os.close(file)
        except OSError:
            written = 0
        if written != len(line):
            self._remove(_MARK)
        self._page = page

    def _remove(self, name: str) -> None:
        """Remove a file of the index. Raises Unavailable where it stays: what it says would be believed."""
        try:
            (self._path / name).unlink(missing_ok=True)
        except OSError as e:
            what = "move it away" if is_in_the_way(e) else "check its disk and permissions"
            raise Unavailable(f"{obstacle(e, 'the hook')}; {what}, then {SYNC}", reason=Reason.MATCHER_NOT_READY) from e
