"""The one Store: what is kept, what may be seen, and in which order changes become visible.

    create_import ─ put_batch … ─ begin_commit ─ allocate_entries, stage_entries … ─ finish_commit
         OPEN           OPEN       COMMITTING      rows that nobody sees yet           COMMITTED: the revision moves

Revision: one counter. Every visible write increases it in its own transaction and holds its lock until the commit, so that the order of
revisions is the order in which they became visible, on both databases.

Visibility: an entry belongs to an import and is visible once that import is COMMITTED; committing a million entries changes one row
of `import` and adds one `change` row for each contiguous range. Reads therefore look at the import.

Staging: entries go in as they come; their hashes are gathered in memory and written in large runs sorted by digest, because the
table of hashes is clustered by digest and rows in random order would touch a page each. Each piece of entries comes with a STAGED
change row that tells matchers to take its digests in, so that little is left to do at the commit.

Lease: only the process that began a commit may stage into it. Each step renews the lease and checks it in the same transaction, so a
process that was taken for dead and is not cannot add to what its successor stages.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.model import (
    Change,
    ChangeKind,
    Classification,
    Contributor,
    Counts,
    Disposition,
    Entry,
    EntryState,
    Finding,
    HashSet,
    Import,
    ImportState,
    Principal,
    Provenance,
    Review,
    ReviewKind,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import Database, Row, locate
from hashhub.store.packing import (
    WIDTHS,
    EntryRow,
    digests_by_algorithm,
    distinct,
    pack_entries,
    pack_reasons,
    unpack_details,
    unpack_flags,
    unpack_hashes,
    unpack_reasons,
)
from hashhub.store.requests import Request
from hashhub.store.staging import PIECE, Commit, merged, runs

LAST_ENTRY: Final = 2**63 - 1
"""An entry id after all others: `changes(revision, LAST_ENTRY, …)` starts behind the whole revision."""

_LEASE: Final = timedelta(seconds=60)  # longer than any step of a commit; a crashed process's import waits this long
_RUN: Final = 256 * 1024 * 1024  # bytes of gathered digests and ids that are sorted and written together
_ID_PAGE: Final = 200_000  # ids read at a time
_IN_SIZES: Final = (1, 8, 64, 512)  # keys in one statement on SQLite
_PAGE: Final = 10_000  # rows read or purged at a time where the caller did not say

_ENTRY_STATES: Final = {code: state for state, code in s.ENTRY_STATES.items()}
_IMPORT_STATES: Final = {code: state for state, code in s.IMPORT_STATES.items()}
_DISPOSITIONS: Final = {code: d for d, code in s.DISPOSITIONS.items()}
_REVIEW_KINDS: Final = {code: k for k, code in s.REVIEW_KINDS.items()}
_CHANGE_KINDS: Final = {code: k for k, code in s.CHANGE_KINDS.items()}
_ACTIVE: Final = s.ENTRY_STATES[EntryState.ACTIVE]
_WITHDRAWN: Final = s.ENTRY_STATES[EntryState.WITHDRAWN]
_COMMITTED: Final = s.IMPORT_STATES[ImportState.COMMITTED]
_COMMITTING: Final = s.IMPORT_STATES[ImportState.COMMITTING]
_OPEN: Final = s.IMPORT_STATES[ImportState.OPEN]
_CANCELLED: Final = s.IMPORT_STATES[ImportState.CANCELLED]
_STAGED: Final = s.CHANGE_KINDS["STAGED"]
_UPSERT: Final = s.CHANGE_KINDS[ChangeKind.UPSERT]
_WITHDRAW: Final = s.CHANGE_KINDS[ChangeKind.WITHDRAW]

# What `_entry` reads, in its order.
_ENTRY_SQL: Final = (
    "SELECT e.id, e.hash_set, e.state, e.position, e.external_id, e.classification, e.flags, e.hashes, e.details, e.reasons, "
    'e.update_revision, e."import"'
)

_REVIEW_SQL: Final = (
    "SELECT r.id, r.entry, r.author, r.kind, r.comment, r.create_time, r.revision, e.id FROM entry e "
    "JOIN reviewed a ON a.hash_set = e.hash_set AND a.entry = e.id JOIN review r ON r.id = a.review"
)
_NO_PAIRS: Final = np.empty((0, 2), np.int64)
_STAGED_AROUND: Final = (
    "SELECT 1 FROM allocation a WHERE e.id BETWEEN a.first_entry AND a.last_entry"  # true while e is invisible
)


class Position(NamedTuple):
    """A revision of one history: a database that was restored from a backup and written to has the revision with another stamp."""

    revision: int
    stamp: int


class MatcherChange(NamedTuple):
    """One row of the feed that matchers follow, about entries `first_entry` to `last_entry`, both inclusive.

    STAGED: take the digests in. They may belong to a commit that is never finished; a hit then finds no entries.
    UPSERT: the entries match from now on. `import_key`, if it is not 0: their digests were in that import's STAGED rows before.
    WITHDRAW: they no longer match; ask `still_active` before dropping a digest, other entries may have it. It does not know of
    staged entries whose hashes are not written yet: when their import's UPSERT comes, ask again about what was dropped meanwhile
    (`withdrawn_while_staged`).
    """

    revision: int
    kind: str
    first_entry: int
    last_entry: int
    import_key: int


class _Source(NamedTuple):
    """What a COMMITTED import says about its entries."""

    import_id: str
    connector: str
    connector_version: str
    source_digest: str
    revision: int


class Store:
    """Everything the hub keeps. Thread-safe; several processes may open the same database.

    Methods raise Unavailable (DATABASE_UNAVAILABLE) when the database is away or busy, and LimitExceeded (DISK_FULL) when a write does not
    fit; neither leaves anything half-written. A write with a `request_id` returns the first call's result when it is repeated, and
    raises AlreadyExists when the id was used for something else.
    """

    def __init__(self, database: Database) -> None:
        """Use `Store.open`."""
        self._db = database
        self._commits: dict[str, Commit] = {}
        # Leases that the database still shows as held, because giving them up could not be written.
        self._given_up: list[str] = []
        self._sources: dict[int, _Source] = {}
        self._set_names: dict[int, tuple[str, str]] = {}
        self._classifications: dict[int, Classification] = {}
        self._classification_ids: dict[bytes, int] = {}
        self._registry: tuple[int, Mapping[str, Contributor], Mapping[str, HashSet]] = (-1, {}, {})
        row = self._db.fetch("SELECT database_id FROM metadata")[0]
        self.database_id: str = row[0]
        """Random name of this database: what was derived from another one (a snapshot) does not belong to it."""

    @classmethod
    def open(cls, database: str | Path, *, create: bool = True) -> Store:
        """Open the database at a directory, a SQLite file or a postgresql+psycopg:// URL, and bring its tables up to date.

        Open it in each worker process, not before forking.

        Raises:
            InvalidArgument: `database` is neither a path nor a supported URL.
            FailedPrecondition: it does not exist and `create` is false; it was written by a newer hashhub; psycopg is missing.
        """
        return cls(Database(locate(database), create=create))

    def close(self) -> None:
        """Close the connections."""
        self._db.close()

    @property
    def kind(self) -> str:
        """SQLITE or POSTGRESQL."""
        return "SQLITE" if self._db.is_sqlite else "POSTGRESQL"

    def ping(self) -> None:
        """Raise Unavailable when the database does not answer."""
        self.revision()

    def revision(self) -> int:
        """Return the last revision. Reads made after this call see at least everything up to it."""
        return self.position().revision

    def position(self) -> Position:
        """Return the last revision, as `revision` does, with its stamp."""
        sql = "SELECT m.revision, coalesce(r.stamp, 0) FROM metadata m LEFT JOIN revision r ON r.revision = m.revision"
        return Position(*self._db.fetch(sql)[0])

    def has_been_at(self, position: Position) -> bool:
        """Whether this position is in the database's past; if not, it was restored from a backup made before."""
        return bool(self._db.fetch(self._db.sql("SELECT 1 FROM revision WHERE revision = ? AND stamp = ?"), position))

    # Contributors, hash sets, tokens

    def create_contributor(self, contributor: Contributor, *, request_id: str = "") -> Contributor:
        """Store a contributor. Raises AlreadyExists when the id is taken."""
        request = Request(request_id, "create_contributor", msgspec.structs.replace(contributor, create_time=None))
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Contributor)) is not None:
                return first
            if _content(c, s.contributor, s.contributor.c.id == contributor.id) is not None:
                raise AlreadyExists(
                    f"contributor {contributor.id} exists already; update it or choose another id",
                    kind="Contributor",
                    name=contributor.id,
                )
            contributor = msgspec.structs.replace(contributor, create_time=contributor.create_time or now())
            c.execute(sa.insert(s.contributor).values(id=contributor.id, content=_json(contributor)))
            self._registry_changed(c)
            return request.remember(c, contributor)

    def get_contributor(self, contributor_id: str) -> Contributor:
        """Return the contributor. Raises NotFound."""
        row = self._db.read(lambda c: _content(c, s.contributor, s.contributor.c.id == contributor_id))
        if row is None:
            raise NotFound(f"there is no contributor {contributor_id[:63]!r}", kind="Contributor", name=contributor_id)
        return msgspec.json.decode(row, type=Contributor)

    def update_contributor(self, contributor: Contributor, *, request_id: str = "") -> Contributor:
        """Replace all fields of a contributor except its id and create_time. Raises NotFound."""
        request = Request(request_id, "update_contributor", msgspec.structs.replace(contributor, create_time=None))
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Contributor)) is not None:
                return first
            old = _content(c, s.contributor, s.contributor.c.id == contributor.id)
            if old is None:
                raise NotFound(
                    f"there is no contributor {contributor.id}; create it first",
                    kind="Contributor",
                    name=contributor.id,
                )
            created = msgspec.json.decode(old, type=Contributor).create_time
            contributor = msgspec.structs.replace(contributor, create_time=created)
            c.execute(
                sa.update(s.contributor).where(s.contributor.c.id == contributor.id).values(content=_json(contributor))
            )
            self._registry_changed(c)
            return request.remember(c, contributor)

    def list_contributors(self, page_size: int, after: str = "") -> list[Contributor]:
        """Return up to `page_size` contributors with ids after `after`, in the order of their ids."""
        t = s.contributor
        query = sa.select(t.c.content).where(t.c.id > after).order_by(t.c.id).limit(page_size)
        rows = self._db.read(lambda c: c.execute(query).scalars().all())
        return [msgspec.json.decode(row, type=Contributor) for row in rows]

    def contributors(self) -> Mapping[str, Contributor]:
        """Return all contributors by id; read again only when a contributor or hash set has changed."""
        return self._read_registry()[1]

    def create_hash_set(self, hash_set: HashSet, *, request_id: str = "") -> HashSet:
        """Store a hash set. Raises AlreadyExists when the name is taken, NotFound when there is no such contributor."""
        request = Request(request_id, "create_hash_set", msgspec.structs.replace(hash_set, create_time=None))
        t = s.hash_set
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, HashSet)) is not None:
                return first
            if _content(c, s.contributor, s.contributor.c.id == hash_set.contributor) is None:
                raise NotFound(
                    f"there is no contributor {hash_set.contributor}; create it first",
                    kind="Contributor",
                    name=hash_set.contributor,
                )
            if _content(c, t, _set_is(hash_set.contributor, hash_set.id)) is not None:
                raise AlreadyExists(
                    f"hash set {hash_set.name} exists already; update it or choose another id",
                    kind="HashSet",
                    name=hash_set.name,
                )
            hash_set = msgspec.structs.replace(hash_set, create_time=hash_set.create_time or now())
            c.execute(sa.insert(t).values(contributor=hash_set.contributor, id=hash_set.id, content=_json(hash_set)))
            self._registry_changed(c)
            return request.remember(c, hash_set)

    def get_hash_set(self, contributor: str, hash_set: str) -> HashSet:
        """Return the hash set. Raises NotFound."""
        row = self._db.read(lambda c: _content(c, s.hash_set, _set_is(contributor, hash_set)))
        if row is None:
            raise _no_hash_set(contributor, hash_set)
        return msgspec.json.decode(row, type=HashSet)

    def update_hash_set(self, hash_set: HashSet, *, request_id: str = "") -> HashSet:
        """Replace all fields of a hash set except its name and create_time. Raises NotFound."""
        request = Request(request_id, "update_hash_set", msgspec.structs.replace(hash_set, create_time=None))
        where = _set_is(hash_set.contributor, hash_set.id)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, HashSet)) is not None:
                return first
            old = _content(c, s.hash_set, where)
            if old is None:
                raise _no_hash_set(hash_set.contributor, hash_set.id)
            created = msgspec.json.decode(old, type=HashSet).create_time
            hash_set = msgspec.structs.replace(hash_set, create_time=created)
            c.execute(sa.update(s.hash_set).where(where).values(content=_json(hash_set)))
            self._registry_changed(c)
            return request.remember(c, hash_set)

    def list_hash_sets(self, contributor: str | None, page_size: int, after: str = "") -> list[HashSet]:
        """Return up to `page_size` hash sets, of one contributor or of all, after the name `after` (CONTRIBUTOR/SET).

        They are in the order of contributor, then id.
        """
        t = s.hash_set
        after_contributor, _, after_id = after.partition("/")
        query = sa.select(t.c.content).order_by(t.c.contributor, t.c.id).limit(page_size)
        query = query.where(sa.tuple_(t.c.contributor, t.c.id) > sa.tuple_(after_contributor, after_id))
        if contributor is not None:
            query = query.where(t.c.contributor == contributor)
        rows = self._db.read(lambda c: c.execute(query).scalars().all())
        return [msgspec.json.decode(row, type=HashSet) for row in rows]

    def hash_sets(self) -> Mapping[str, HashSet]:
        """Return all hash sets by name (CONTRIBUTOR/SET); read again only when a contributor or hash set has changed."""
        return self._read_registry()[2]

    def put_token(self, digest: bytes, principal: Principal) -> None:
        """Store who a token belongs to, under the token's digest. Raises AlreadyExists when the principal's name is taken."""
        t = s.token
        with self._db.write() as c:
            self._db.lock(c)
            if c.execute(sa.select(t.c.name).where(t.c.name == principal.name)).first() is not None:
                raise AlreadyExists(
                    f"a token named {principal.name} exists already; delete it or choose another name",
                    kind="Token",
                    name=principal.name,
                )
            c.execute(sa.insert(t).values(digest=digest, name=principal.name, content=_json(principal)))
            self._db.next_revision(c)

    def find_token(self, digest: bytes) -> Principal | None:
        """Return whose token has this digest, or None."""
        rows = self._db.fetch(self._db.sql("SELECT content FROM token WHERE digest = ?"), (digest,))
        return msgspec.json.decode(rows[0][0], type=Principal) if rows else None

    def list_tokens(self) -> list[Principal]:
        """Return who has a token, in the order of names."""
        rows = self._db.fetch("SELECT content FROM token ORDER BY name")
        return [msgspec.json.decode(row[0], type=Principal) for row in rows]

    def delete_token(self, name: str) -> None:
        """Delete a token. Raises NotFound."""
        with self._db.write() as c:
            self._db.lock(c)
            if not c.execute(sa.delete(s.token).where(s.token.c.name == name)).rowcount:
                raise NotFound(f"there is no token named {name[:63]!r}", kind="Token", name=name)
            self._db.next_revision(c)

    # Imports

    def create_import(self, new: Import, *, request_id: str = "") -> Import:
        """Open an import, or return the one that has the same hash set, source digest, connector, version and `replace`.

        An OPEN or COMMITTING one is to be resumed, a COMMITTED one was done before. It counts as done only while nothing has been
        withdrawn from the hash set since, other than by a newer statement about the same item; and a replacing one only while it is
        the last one committed there: A, then B, then A again is three replacements. `id`, state, counts and times of `new` do not
        matter. Raises NotFound when there is no such hash set.
        """
        fresh = Import(
            id="",
            contributor=new.contributor,
            hash_set=new.hash_set,
            connector=new.connector,
            connector_version=new.connector_version,
            source_digest=new.source_digest,
            replace=new.replace,
        )
        request = Request(request_id, "create_import", fresh)
        t = s.imports
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Import)) is not None:
                return first
            set_key = _set_key(c, new.contributor, new.hash_set)
            same = _import_rows(
                c,
                t.c.hash_set == set_key,
                t.c.source_digest == new.source_digest,
                t.c.connector == new.connector,
                t.c.connector_version == new.connector_version,
                t.c.replace == new.replace,
                t.c.state != _CANCELLED,
            )
            if same:
                found = same[0]
                if found.state is not ImportState.COMMITTED or _is_last_word(c, set_key, found):
                    return request.remember(c, found)
            at = now()
            created = msgspec.structs.replace(fresh, id=f"imp-{secrets.token_hex(8)}", create_time=at)
            c.execute(
                sa.insert(t).values(
                    id=created.id,
                    hash_set=set_key,
                    connector=created.connector,
                    connector_version=created.connector_version,
                    source_digest=created.source_digest,
                    replace=created.replace,
                    state=_OPEN,
                    batch_count=0,
                    finding_count=0,
                    counts=_json(created.counts),
                    revision=0,
                    create_time=s.to_millis(at),
                    lease="",
                    lease_until=0,
                )
            )
            return request.remember(c, created)

    def get_import(self, import_id: str) -> Import:
        """Return the import. Raises NotFound."""
        return self._db.read(lambda c: _one_import(c, import_id))

    def list_imports(
        self, contributor: str = "", hash_set: str = "", page_size: int = 100, after: str = ""
    ) -> list[Import]:
        """Return up to `page_size` imports, the newest first, after the import id `after`; empty names stand for all."""
        t = s.imports
        where = []
        if contributor:
            where.append(s.hash_set.c.contributor == contributor)
        if hash_set:
            where.append(s.hash_set.c.id == hash_set)
        if after:
            where.append(t.c.key < sa.select(t.c.key).where(t.c.id == after).scalar_subquery())
        return self._db.read(lambda c: _import_rows(c, *where, limit=page_size))

    def put_batch(self, import_id: str, index: int, payload: bytes) -> Import:
        """Store one batch of an OPEN import and return the import.

        The same index again with the same payload changes nothing. Raises Conflict when the payload differs, FailedPrecondition
        (IMPORT_INCOMPLETE) when an earlier batch is missing and (IMPORT_CLOSED) when the import is not OPEN.
        """
        t, b = s.imports, s.staged_batch
        with self._db.write() as c:
            row = c.execute(
                sa.select(t.c.key, t.c.state, t.c.batch_count).where(t.c.id == import_id).with_for_update()
            ).first()
            if row is None:
                raise _no_import(import_id)
            key, state, count = row
            if state != _OPEN:
                raise _closed(import_id, state)
            if index > count or index < 0:
                raise FailedPrecondition(
                    f"import {import_id} has {count} batches, so the next one has index {count}, got {index}; send the missing ones",
                    reason=Reason.IMPORT_INCOMPLETE,
                    metadata={"nextBatch": str(count)},
                )
            if index == count:
                c.execute(sa.insert(b).values({"import": key, "index": index, "payload": payload}))
                c.execute(sa.update(t).where(t.c.key == key).values(batch_count=count + 1))
            elif c.scalar(sa.select(b.c.payload).where(b.c["import"] == key, b.c.index == index)) != payload:
                raise Conflict(
                    f"batch {index} of import {import_id} was stored with other content; "
                    "cancel the import and start again if the source has changed"
                )
            return _one_import(c, import_id)

    def batches(self, import_id: str) -> Iterator[bytes]:
        """Yield the payloads of the stored batches in order, one at a time; none once the import is COMMITTED or CANCELLED."""
        sql = self._db.sql(
            'SELECT b.payload FROM staged_batch b JOIN "import" i ON i.key = b."import" WHERE i.id = ? AND b."index" = ?'
        )
        for index in itertools.count():
            commit = self._commits.get(import_id)
            if commit is not None and time.monotonic() - commit.renewed > _LEASE.total_seconds() / 4:
                with self._db.write() as c:
                    self._renew(c, commit)
            rows = self._db.fetch(sql, (import_id, index))
            if not rows:
                return
            yield rows[0][0]

    def begin_commit(self, import_id: str) -> Import:
        """Take an OPEN import to COMMITTING, or take over one whose commit was left unfinished, and return it.

        This process then holds the import's lease until `finish_commit`, `cancel_import` or `release_commit`. Every step, reading the
        batches too, renews it; 60 s after the last one others may take the commit over. What an unfinished commit had staged is
        purged first. A COMMITTED import is returned as it is.

        Raises:
            Conflict: another call is committing this import, or another import into the same hash set; retry later.
            FailedPrecondition: the import is CANCELLED.
        """
        lease = secrets.token_hex(8)
        t = s.imports
        if import_id in self._commits:
            raise Conflict(f"import {import_id} is being committed; wait until it is done, then retry", retry_after=1.0)
        with self._db.write() as c:
            self._db.lock(c)
            found = _one_import(c, import_id)
            if found.state is ImportState.COMMITTED:
                return found
            if found.state is ImportState.CANCELLED:
                raise _closed(import_id, _CANCELLED)
            key, set_key = c.execute(sa.select(t.c.key, t.c.hash_set).where(t.c.id == import_id)).one()
            busy = c.execute(
                sa.select(t.c.id).where(
                    t.c.hash_set == set_key,
                    t.c.state == _COMMITTING,
                    t.c.lease_until > s.to_millis(now()),
                    t.c.lease.not_in(self._given_up),
                )
            ).first()
            if busy is not None:
                raise Conflict(
                    f"import {busy[0]} into the same hash set is being committed; wait until it is done, then retry",
                    retry_after=1.0,
                )
            c.execute(
                sa.update(t)
                .where(t.c.key == key)
                .values(state=_COMMITTING, lease=lease, lease_until=s.to_millis(now() + _LEASE))
            )
        commit = Commit(import_id, key, set_key, lease)
        with self._releasing(commit):
            if found.state is ImportState.COMMITTING:
                self._purge(commit)
            begun = self.get_import(import_id)
        self._commits[import_id] = commit
        return begun

    def release_commit(self, import_id: str) -> None:
        """Give up the lease after a failed commit, so that the next `begin_commit` need not wait. Does nothing without one."""
        commit = self._commits.pop(import_id, None)
        if commit is not None:
            self._release(commit)

    def expire_leases(self) -> None:
        """End all leases: for a server that has just started and knows that it is the only one (see `lock_data`)."""
        with self._db.write() as c:
            c.execute(sa.update(s.imports).where(s.imports.c.state == _COMMITTING).values(lease="", lease_until=0))

    def allocate_entries(self, import_id: str, n: int) -> int:
        """Reserve `n` consecutive entry ids for an import being committed and return the first; they are never given again."""
        commit = self._commit(import_id)
        m = s.metadata
        with self._db.write() as c:
            self._db.lock(c)
            self._renew(c, commit)
            after: int = c.execute(
                sa.update(m).values(next_entry=m.c.next_entry + n).returning(m.c.next_entry)
            ).scalar_one()
            first = after - n
            if n:
                c.execute(
                    sa.insert(s.allocation).values(
                        {"first_entry": first, "last_entry": after - 1, "import": commit.key}
                    )
                )
        commit.allocations.append((first, after - 1))
        return first

    def classification_ids(self, classifications: Sequence[Classification]) -> list[int]:
        """Return the id under which each classification is stored, storing those that are new."""
        contents = [_json(x) for x in classifications]
        missing = {x for x in contents if x not in self._classification_ids}
        if missing:
            self._store_classifications(missing)
        return [self._classification_ids[x] for x in contents]

    def stage_entries(self, import_id: str, entries: Sequence[EntryRow]) -> None:
        """Write entries of an import being committed; nobody sees them before `finish_commit`.

        Their ids are ascending and from `allocate_entries`. Pass 5,000 to 20,000 at a time: the fewer, the shorter other writers wait;
        the more, the less each costs. Raises Conflict when another process has taken over the commit.
        """
        if not entries:
            return
        commit = self._commit(import_id)
        first, last = entries[0].id, entries[-1].id
        if not any(a <= first <= last <= b for a, b in commit.allocations):
            raise InvalidArgument.field(
                "entries", f"ids {first} to {last} were not allocated to {import_id}", "NOT_ALLOCATED"
            )
        rows = pack_entries(commit.hash_set, commit.key, entries)
        with commit.lock:
            with self._db.write() as c:
                self._db.insert(c, s.entry, rows)
                self._db.lock(c)  # after the rows: on PostgreSQL others can write meanwhile
                self._renew(c, commit)
                self._db.insert(c, s.change, [(self._db.next_revision(c), first, last, _STAGED, commit.key)])
            commit.gather(rows)
            commit.ranges.append((first, last))
            if commit.size >= _RUN:
                self._write_run(commit)

    def add_findings(self, import_id: str, findings: Iterable[Finding]) -> None:
        """Append lines to the report of an import being committed; nobody sees them before `finish_commit`."""
        self._add_findings(self._commit(import_id), findings)

    def _add_findings(self, commit: Commit, findings: Iterable[Finding]) -> None:
        t = s.imports
        with commit.lock:
            source = iter(findings)
            while piece := list(itertools.islice(source, PIECE)):
                with self._db.write() as c:
                    self._renew(c, commit)
                    start: int = c.execute(
                        sa.update(t)
                        .where(t.c.key == commit.key)
                        .values(finding_count=t.c.finding_count + len(piece))
                        .returning(t.c.finding_count)
                    ).scalar_one() - len(piece)
                    self._db.insert(
                        c,
                        s.finding,
                        [
                            (commit.key, i, f.position, s.DISPOSITIONS[f.disposition], f.reason, f.detail, f.entry_id)
                            for i, f in enumerate(piece, start)
                        ],
                    )

    def finish_commit(
        self,
        import_id: str,
        *,
        counts: Counts,
        findings: Iterable[Finding] = (),
        supersede: Sequence[int] = (),
        absent: Sequence[int] = (),
        withdraw: Sequence[int] = (),
        reviews: Iterable[tuple[int, str, ReviewKind, str]] = (),
        restated: NDArray[np.int64] = _NO_PAIRS,
    ) -> Import:
        """Make everything that was staged visible at one new revision, and return the COMMITTED import.

        In the same transaction the given entries of earlier imports are withdrawn, with the reason SUPERSEDED, ABSENT_FROM_LIST or
        WITHDRAWN_BY_SOURCE, and `reviews` (entry id, author, kind, comment) are added. `restated`, int64[n, 2], has pairs of entries about the
        same item, the earlier one first: its reviews count for the later one too. `findings` go before it, as `add_findings` does.
        Raises Conflict when another process has taken over the commit.
        """
        commit = self._commit(import_id)
        self.add_findings(import_id, findings)
        t = s.imports
        with commit.lock:
            self._write_run(commit)
            with self._db.write() as c:
                self._db.lock(c)
                self._renew(c, commit)
                revision = self._db.next_revision(c)
                ids: set[int] = set()
                for chosen, reason in (
                    (withdraw, "WITHDRAWN_BY_SOURCE"),
                    (supersede, "SUPERSEDED"),
                    (absent, "ABSENT_FROM_LIST"),
                ):
                    self._withdraw(c, sorted(set(chosen) - ids), reason, revision, commit.key)
                    ids.update(chosen)
                if withdraw or absent:
                    _lost(c, [commit.hash_set], revision)
                self._db.insert(
                    c,
                    s.change,
                    [(revision, first, last, _UPSERT, commit.key) for first, last in merged(commit.ranges)],
                )
                at = now()
                self._inherit(c, commit.hash_set, restated)
                if stated := [
                    _review_row(entry, author, kind, comment, at, revision) for entry, author, kind, comment in reviews
                ]:
                    before: int = c.scalar(sa.select(sa.func.max(s.review.c.id))) or 0
                    c.execute(sa.insert(s.review), stated)
                    new = sa.select(sa.literal(commit.hash_set), s.review.c.entry, s.review.c.id)
                    c.execute(sa.insert(s.reviewed).from_select(list(s.reviewed.c), new.where(s.review.c.id > before)))
                c.execute(sa.delete(s.allocation).where(s.allocation.c["import"] == commit.key))
                c.execute(
                    sa.update(t)
                    .where(t.c.key == commit.key)
                    .values(
                        state=_COMMITTED,
                        counts=_json(counts),
                        revision=revision,
                        commit_time=s.to_millis(at),
                        lease="",
                        lease_until=0,
                    )
                )
        self._commits.pop(import_id, None)
        self._sweep_batches()
        return self.get_import(import_id)

    def cancel_import(
        self, import_id: str, *, counts: Counts | None = None, findings: Iterable[Finding] = ()
    ) -> Import:
        """Purge what an import has staged, and return it CANCELLED. Cancelling twice is a success.

        `counts` and `findings` stay as its report: what a commit would have done.

        Raises FailedPrecondition (IMPORT_CLOSED) when it is COMMITTED, Conflict while another process is committing it.
        """
        t = s.imports
        lease = secrets.token_hex(8)
        with self._db.write() as c:
            self._db.lock(c)
            found = _one_import(c, import_id)
            if found.state is ImportState.CANCELLED:
                return found
            if found.state is ImportState.COMMITTED:
                raise _closed(import_id, _COMMITTED)
            key, set_key, holder, until = c.execute(
                sa.select(t.c.key, t.c.hash_set, t.c.lease, t.c.lease_until).where(t.c.id == import_id)
            ).one()
            ours = self._commits.get(import_id)
            if until > s.to_millis(now()) and (ours is None or ours.lease != holder):
                raise Conflict(
                    f"import {import_id} is being committed by another process; retry later", retry_after=1.0
                )
            c.execute(
                sa.update(t)
                .where(t.c.key == key)
                .values(state=_COMMITTING, lease=lease, lease_until=s.to_millis(now() + _LEASE))
            )
        self._commits.pop(import_id, None)
        commit = Commit(import_id, key, set_key, lease)
        with self._releasing(commit):
            self._purge(commit)
            self._add_findings(commit, findings)
            with self._db.write() as c:
                self._renew(c, commit)
                c.execute(
                    sa.update(t)
                    .where(t.c.key == key)
                    .values(state=_CANCELLED, counts=_json(counts or Counts()), lease="", lease_until=0)
                )
        self._sweep_batches()
        return self.get_import(import_id)

    def findings(
        self,
        import_id: str,
        page_size: int,
        after_ordinal: int = -1,
        dispositions: Iterable[Disposition] | None = None,
    ) -> list[tuple[int, Finding]]:
        """Return up to `page_size` lines of an import's report with their ordinals, after `after_ordinal`.

        `dispositions` keeps only those. A COMMITTED import has a report, and a CANCELLED one that was only tried; others have none
        yet. Raises NotFound for an unknown import.
        """
        f, t = s.finding, s.imports
        query = (
            sa.select(f.c.ordinal, f.c.position, f.c.disposition, f.c.reason, f.c.detail, f.c.entry)
            .join(t, t.c.key == f.c["import"])
            .where(t.c.id == import_id, t.c.state.in_((_COMMITTED, _CANCELLED)), f.c.ordinal > after_ordinal)
            .order_by(f.c.ordinal)
            .limit(page_size)
        )
        if dispositions is not None:
            query = query.where(f.c.disposition.in_([s.DISPOSITIONS[d] for d in dispositions]))
        rows = self._db.read(lambda c: c.execute(query).all())
        if not rows:
            self.get_import(import_id)
        return [
            (ordinal, Finding(position, _DISPOSITIONS[disposition], reason, detail, entry))
            for ordinal, position, disposition, reason, detail, entry in rows
        ]

    # Entries

    def entries_by_digests(
        self, algorithm: str, digests: Sequence[bytes], *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> dict[bytes, list[Entry]]:
        """Return the visible entries in `states` that have one of the digests, by digest, in the order of their ids.

        Digests that nobody has are not in the result.
        """
        code = s.ALGORITHM_CODES[algorithm]
        found: dict[bytes, list[Entry]] = {}
        sql = (
            f"{_ENTRY_SQL}, h.digest FROM hash h JOIN entry e ON e.id = h.entry WHERE h.algorithm = ? AND h.digest {{digests}} "
            f"AND e.state IN ({_codes(s.ENTRY_STATES[state] for state in states)}) ORDER BY h.digest, h.entry"
        )
        for row in self._by_keys(sql, "digests", "bytea", (code,), sorted(set(digests))):
            if (entry := self._entry(row)) is not None:
                found.setdefault(row[12], []).append(entry)
        return found

    def get_entry(self, contributor: str, hash_set: str, entry_id: int) -> Entry:
        """Return a visible entry in any state. Raises NotFound, also when it is in another hash set."""
        found = self.get_entries([entry_id]).get(entry_id)
        if found is None or (found.contributor, found.hash_set) != (contributor, hash_set):
            raise _no_entry(f"{contributor}/{hash_set}/{entry_id}")
        return found

    def get_entries(self, ids: Iterable[int]) -> dict[int, Entry]:
        """Return the visible entries with these ids, in any state, by id in ascending order; unknown ids are left out."""
        sql = f"{_ENTRY_SQL} FROM entry e WHERE e.id {{ids}} ORDER BY e.id"
        rows = self._by_keys(sql, "ids", "int8", (), sorted(set(ids)))
        return {row[0]: entry for row in rows if (entry := self._entry(row)) is not None}

    def list_entries(
        self,
        contributor: str,
        hash_set: str,
        states: Iterable[EntryState] = tuple(EntryState),
        page_size: int = 1000,
        after_id: int = 0,
    ) -> list[Entry]:
        """Return up to `page_size` visible entries of a hash set in `states` with ids after `after_id`, by id. Raises NotFound."""
        set_key = self._set_key(contributor, hash_set)
        sql = self._db.sql(
            f"{_ENTRY_SQL} FROM entry e WHERE e.hash_set = ? AND e.state = ? AND e.id > ? "
            f"AND NOT EXISTS ({_STAGED_AROUND}) ORDER BY e.id LIMIT ?"
        )
        # One query for each state: each walks the index in order.
        rows = [
            row
            for state in set(states)
            for row in self._db.fetch(sql, (set_key, s.ENTRY_STATES[state], after_id, page_size))
        ]
        rows.sort(key=lambda row: row[0])
        return [entry for row in rows[:page_size] if (entry := self._entry(row)) is not None]

    def existing_by_external_ids(self, contributor: str, hash_set: str, ids: Iterable[str]) -> dict[str, list[Entry]]:
        """Return the visible entries of a hash set with these external ids that are not WITHDRAWN, by external id, oldest first."""
        sql = f"{_ENTRY_SQL} FROM entry e WHERE e.hash_set = ? AND e.external_id {{ids}} AND e.state <> {_WITHDRAWN} ORDER BY e.id"
        rows = self._by_keys(sql, "ids", "text", (self._set_key(contributor, hash_set),), sorted({x for x in ids if x}))
        found: dict[str, list[Entry]] = {}
        for row in rows:
            if (entry := self._entry(row)) is not None:
                found.setdefault(row[4], []).append(entry)
        return found

    def active_ids(
        self, contributor: str, hash_set: str, *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> NDArray[np.int64]:
        """Return the ids of a hash set's visible entries in `states`, int64[n] ascending. Raises NotFound.

        A replacing import wants QUARANTINED ones too: what its list does not hold any more should be withdrawn in either state.
        """
        set_key = self._set_key(contributor, hash_set)
        parts = [np.empty(0, np.int64)]
        for state in set(states):
            parts += self._ids_in_state(set_key, s.ENTRY_STATES[state], f"AND NOT EXISTS ({_STAGED_AROUND})")
        return np.sort(np.concatenate(parts))

    def entry_count(self, contributor: str, hash_set: str, state: EntryState = EntryState.ACTIVE) -> int:
        """Return how many visible entries of a hash set are in a state. Raises NotFound."""
        # All of them through the index, less what is staged: joining each one's import would take a second for a million.
        sql = self._db.sql(
            "SELECT (SELECT count(*) FROM entry WHERE hash_set = ? AND state = ?) - (SELECT count(*) FROM allocation a "
            "CROSS JOIN entry e WHERE e.id BETWEEN a.first_entry AND a.last_entry AND e.hash_set = ? AND e.state = ?)"
        )
        wanted = (self._set_key(contributor, hash_set), s.ENTRY_STATES[state])
        count: int = self._db.fetch(sql, wanted * 2)[0][0]
        return count

    def set_entry_state(
        self,
        entry_id: int,
        state: EntryState,
        reasons: tuple[str, ...],
        *,
        expected: EntryState,
        supersede: Sequence[int] = (),
        request_id: str = "",
    ) -> tuple[Entry, int]:
        """Move a visible entry to another state; return it with the revision at which that became visible.

        At the same revision the entries `supersede` of its hash set, about the same item, are withdrawn with the reason SUPERSEDED, and
        their reviews count for this one too. An entry that is in `state` already stays as it is, with its reasons, and the current
        revision is returned. Raises NotFound, and Conflict when the entry is in neither `state` nor `expected`.
        """
        request = Request(request_id, "set_entry_state", (entry_id, state, reasons, expected))
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, tuple[Entry, int])) is not None:
                return first
            states = self._visible_states(c, sorted({entry_id, *supersede}))
            current = states.get(entry_id)
            if current is None:
                raise _no_entry(str(entry_id))
            if current == s.ENTRY_STATES[state]:
                revision: int = c.scalar(sa.select(s.metadata.c.revision)) or 0
            elif current != s.ENTRY_STATES[expected]:
                raise Conflict(
                    f"entry {entry_id} is {_ENTRY_STATES[current]}, expected {expected}; read it again, then retry",
                    metadata={"state": str(_ENTRY_STATES[current])},
                )
            else:
                revision = self._db.next_revision(c)
                kind = _UPSERT if state is EntryState.ACTIVE else _WITHDRAW
                c.execute(
                    sa.update(s.entry)
                    .where(s.entry.c.id == entry_id)
                    .values(state=s.ENTRY_STATES[state], reasons=pack_reasons(reasons), update_revision=revision)
                )
                self._db.insert(c, s.change, [(revision, entry_id, entry_id, kind, 0)])
                overtaken = [i for i in sorted(supersede) if states.get(i, _WITHDRAWN) != _WITHDRAWN]
                self._withdraw(c, overtaken, "SUPERSEDED", revision, 0)
                set_key: int = c.execute(sa.select(s.entry.c.hash_set).where(s.entry.c.id == entry_id)).scalar_one()
                self._inherit(c, set_key, np.array([(i, entry_id) for i in supersede], np.int64).reshape(-1, 2))
                if state is EntryState.WITHDRAWN:
                    _lost(c, [set_key], revision)
            rows = c.exec_driver_sql(self._db.sql(f"{_ENTRY_SQL} FROM entry e WHERE e.id = ?"), (entry_id,)).all()
            entry = self._entry(rows[0])
            if entry is None:
                raise _no_entry(str(entry_id))
            return request.remember(c, (entry, revision))

    def withdraw_entries(self, ids: Iterable[int], reason: str) -> int:
        """Withdraw visible entries for one reason, all at one revision, and return that; those WITHDRAWN already stay as they are.

        Raises NotFound when there is no such entry; then none is withdrawn.
        """
        wanted = sorted(set(ids))
        with self._db.write() as c:
            self._db.lock(c)
            states = self._visible_states(c, wanted)
            unknown = [i for i in wanted if i not in states]
            if unknown:
                raise _no_entry(str(unknown[0]))
            live = [i for i in wanted if states[i] != _WITHDRAWN]
            if not live:
                return c.scalar(sa.select(s.metadata.c.revision)) or 0
            revision = self._db.next_revision(c)
            self._withdraw(c, live, reason, revision, 0)
            _lost(c, self._sets_of(c, live), revision)
            return revision

    # Reviews

    def add_review(self, review: Review, *, also: Sequence[int] = (), request_id: str = "") -> Review:
        """Append a review of a visible entry and return it with its id, time and revision. Raises NotFound.

        It counts for the entries `also` too, by which the contributor states the same item.
        """
        review = msgspec.structs.replace(review, id=0, create_time=None, revision=0)
        request = Request(request_id, "add_review", review)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Review)) is not None:
                return first
            if not self._visible_states(c, [review.entry_id]):
                raise _no_entry(str(review.entry_id))
            at, revision = now(), self._db.next_revision(c)
            row = _review_row(review.entry_id, review.author, review.kind, review.comment, at, revision)
            key = c.execute(sa.insert(s.review).values(row).returning(s.review.c.id)).scalar_one()
            e = s.entry
            about = sa.select(e.c.hash_set, e.c.id, sa.literal(key)).where(e.c.id.in_({review.entry_id, *also}))
            c.execute(sa.insert(s.reviewed).from_select(list(s.reviewed.c), about))
            return request.remember(c, msgspec.structs.replace(review, id=key, create_time=at, revision=revision))

    def reviews_of(self, entry_ids: Iterable[int]) -> dict[int, list[Review]]:
        """Return the reviews that count for the entries by entry id, the oldest first; entries without one are left out.

        A review's own `entry_id` is that of the entry that it was stated about: this one, or an earlier one about the same item.
        """
        sql = f"{_REVIEW_SQL} WHERE e.id {{ids}} ORDER BY e.id, r.id"
        found: dict[int, list[Review]] = {}
        for row in self._by_keys(sql, "ids", "int8", (), sorted(set(entry_ids))):
            found.setdefault(row[7], []).append(_review(row))
        return found

    def list_reviews(self, entry_id: int, page_size: int, after: int = 0) -> list[Review]:
        """Return up to `page_size` reviews that count for an entry, as `reviews_of` does, with ids after `after`."""
        sql = self._db.sql(f"{_REVIEW_SQL} WHERE e.id = ? AND r.id > ? ORDER BY r.id LIMIT ?")
        return [_review(row) for row in self._db.fetch(sql, (entry_id, after, page_size))]

    def withdrawn_with_reviews(self, contributor: str, hash_set: str) -> Iterator[Entry]:
        """Yield a hash set's WITHDRAWN entries that have reviews, by id. Raises NotFound."""
        set_key = self._set_key(contributor, hash_set)
        # The reviewed ones first: there are far fewer of them than of withdrawn ones.
        sql = self._db.sql(
            f"{_ENTRY_SQL} FROM (SELECT DISTINCT entry FROM reviewed "  # noqa: S608 - our own text
            "WHERE hash_set = ? AND entry > ? ORDER BY entry LIMIT ?) a "
            "CROSS JOIN entry e WHERE e.id = a.entry ORDER BY e.id"
        )
        after = 0
        while rows := self._db.fetch(sql, (set_key, after, _PAGE)):
            after = rows[-1][0]
            yield from (entry for row in rows if row[2] == _WITHDRAWN and (entry := self._entry(row)) is not None)

    # Feeds

    def changes(self, after_revision: int, after_entry: int = LAST_ENTRY, limit: int = 1000) -> list[Change]:
        """Return up to `limit` changes behind the position (revision, entry id), in the order of revisions, then entry ids.

        A range that the position lies in is cut. To go on, pass the last change's revision and the last entry id that was dealt with;
        the position (R, LAST_ENTRY) is behind all of revision R.
        """
        sql = self._db.sql(
            "SELECT revision, first_entry, last_entry, kind FROM change "
            "WHERE revision >= ? AND (revision > ? OR last_entry > ?) AND kind <> ? ORDER BY revision, first_entry LIMIT ?"
        )
        rows = self._db.fetch(sql, (after_revision, after_revision, after_entry, _STAGED, limit))
        return [
            Change(
                revision=revision,
                kind=ChangeKind(_CHANGE_KINDS[kind]),
                first_entry=max(first, after_entry + 1) if revision == after_revision else first,
                last_entry=last,
            )
            for revision, first, last, kind in rows
        ]

    def matcher_changes(self, after_revision: int, limit: int = 1000) -> list[MatcherChange]:
        """Return the changes after a revision, STAGED ones too; always whole revisions, so it may be more than `limit` rows."""
        sql = self._db.sql(
            'SELECT revision, kind, first_entry, last_entry, "import" FROM change WHERE revision > ? AND revision <= ? '
            "ORDER BY revision, first_entry LIMIT ?"
        )
        rows = list(self._db.fetch(sql, (after_revision, LAST_ENTRY, limit)))
        if len(rows) == limit:
            last = rows[-1][0]
            rows = [row for row in rows if row[0] < last]
            rows += self._db.fetch(sql, (last - 1, last, LAST_ENTRY))
        return [MatcherChange(r, _CHANGE_KINDS[kind], first, end, key) for r, kind, first, end, key in rows]

    def withdrawn_while_staged(self, import_key: int, revision: int) -> list[tuple[int, int]]:
        """Return the ranges of entries withdrawn between an import's first STAGED row and its commit at `revision`."""
        sql = self._db.sql(
            "SELECT first_entry, last_entry FROM change WHERE kind = ? AND revision < ? AND revision > "  # noqa: S608 - our own number
            f'(SELECT min(revision) FROM change WHERE "import" = ? AND kind = {_STAGED}) ORDER BY revision, first_entry'
        )
        rows = self._db.fetch(sql, (_WITHDRAW, revision, import_key))
        return [(row[0], row[1]) for row in rows]

    def digests_of_range(
        self, first: int, last: int, *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> dict[str, NDArray[np.uint8]]:
        """Return the distinct digests of the entries `first` to `last` in `states`: algorithm to uint8[n, digest_bytes].

        Entries that are staged count too: this is for matchers, which take a STAGED range in (ACTIVE) and look at what a WITHDRAW
        range had (WITHDRAWN, QUARANTINED). Raises DataLoss when stored hashes cannot be read.
        """
        sql = self._db.sql(
            "SELECT id, hashes FROM entry WHERE id BETWEEN ? AND ? "  # noqa: S608 - our own numbers
            f"AND state IN ({_codes(s.ENTRY_STATES[x] for x in states)}) ORDER BY id LIMIT ?"
        )
        packed: list[bytes] = []
        while True:
            rows = self._db.fetch(sql, (first, last, _PAGE))
            packed += [row[1] for row in rows]
            if len(rows) < _PAGE:
                return digests_by_algorithm(packed)
            first = rows[-1][0] + 1

    def still_active(self, algorithm: str, digests: Sequence[bytes] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say of each digest whether an ACTIVE entry, visible or staged, has it: bool[n]."""
        wanted = [bytes(d) for d in digests]
        sql = "SELECT DISTINCT h.digest FROM hash h JOIN entry e ON e.id = h.entry WHERE h.algorithm = ? AND e.state = ? AND h.digest {digests}"
        code = s.ALGORITHM_CODES[algorithm]
        active = {row[0] for row in self._by_keys(sql, "digests", "bytea", (code, _ACTIVE), sorted(set(wanted)))}
        return np.fromiter((d in active for d in wanted), np.bool_, len(wanted))

    def all_digests(self, chunk: int = 200_000) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield the distinct digests of all ACTIVE entries, visible or staged: (algorithm, uint8[n, digest_bytes]), n <= chunk.

        They come by algorithm, then in byte order, in bounded memory: a chunk, a byte for each entry ever stored, and the digests that
        are staged. It is not one snapshot: read `revision()` before, and follow `matcher_changes` from there after; that ends in the
        right set.
        """
        # What was announced as STAGED may not be in the table of hashes yet. An import that commits meanwhile is there by then.
        staged = self._staged_digests()
        dead = self._dead_entries()
        sql = self._db.sql(
            "SELECT digest, entry FROM hash WHERE algorithm = ? AND (digest, entry) > (?, ?) ORDER BY digest, entry LIMIT ?"
        )
        for algorithm, code in s.ALGORITHM_CODES.items():
            width = WIDTHS[code]
            waiting = staged.get(algorithm, np.empty((0, width), np.uint8))
            order = waiting.view(f"S{width}").ravel()
            taken = 0
            after: tuple[bytes, int] = (b"", 0)
            emitted = b""
            while True:
                rows = self._db.fetch(sql, (code, *after, chunk))
                matrix = np.frombuffer(b"".join([row[0] for row in rows]), np.uint8).reshape(-1, width)
                entries = np.fromiter((row[1] for row in rows), np.int64, len(rows))
                matrix = matrix[~dead[np.minimum(entries, len(dead) - 1)] | (entries >= len(dead))]
                upto = int(np.searchsorted(order, rows[-1][0], "right")) if len(rows) == chunk else len(order)
                matrix = distinct(np.concatenate([matrix, waiting[taken:upto]]))
                taken = upto
                # A digest's entries may lie on both sides of a page's end.
                matrix = matrix[int(len(matrix) > 0 and matrix[0].tobytes() == emitted) :]
                for start in range(0, len(matrix), chunk):
                    yield algorithm, matrix[start : start + chunk]
                if len(rows) < chunk:
                    break
                emitted = matrix[-1].tobytes() if len(matrix) else emitted
                after = rows[-1][0], rows[-1][1]

    # Inside

    def _read_registry(self) -> tuple[int, Mapping[str, Contributor], Mapping[str, HashSet]]:
        revision = self._db.fetch("SELECT registry_revision FROM metadata")[0][0]
        held = self._registry
        if held[0] != revision:
            # Read after the revision: at worst the content is newer than its label, and is read again.
            contributors = [
                msgspec.json.decode(row[0], type=Contributor)
                for row in self._db.fetch("SELECT content FROM contributor ORDER BY id")
            ]
            sets = [
                msgspec.json.decode(row[0], type=HashSet)
                for row in self._db.fetch("SELECT content FROM hash_set ORDER BY contributor, id")
            ]
            held = (
                revision,
                MappingProxyType({x.id: x for x in contributors}),
                MappingProxyType({x.name: x for x in sets}),
            )
            self._registry = held
        return held

    def _registry_changed(self, c: Connection) -> None:
        c.execute(sa.update(s.metadata).values(registry_revision=self._db.next_revision(c)))

    def _set_key(self, contributor: str, hash_set: str) -> int:
        return self._db.read(lambda c: _set_key(c, contributor, hash_set))

    def _commit(self, import_id: str) -> Commit:
        commit = self._commits.get(import_id)
        if commit is None:
            raise Conflict(f"import {import_id} is not being committed by this process; begin its commit again")
        return commit

    def _renew(self, c: Connection, commit: Commit) -> None:
        """Extend the lease in this transaction; raise Conflict when it was lost. Locks the import's row."""
        t = s.imports
        renewed = c.execute(
            sa.update(t)
            .where(t.c.key == commit.key, t.c.lease == commit.lease, t.c.state == _COMMITTING)
            .values(lease_until=s.to_millis(now() + _LEASE))
        )
        commit.renewed = time.monotonic()
        if not renewed.rowcount:
            self._commits.pop(commit.import_id, None)
            raise Conflict(
                f"the commit of import {commit.import_id} was taken over or cancelled; read its state before going on"
            )

    def _release(self, commit: Commit) -> None:
        t = s.imports
        self._given_up.append(commit.lease)
        with self._db.write() as c:
            c.execute(
                sa.update(t).where(t.c.key == commit.key, t.c.lease == commit.lease).values(lease="", lease_until=0)
            )
        self._given_up.remove(commit.lease)

    @contextmanager
    def _releasing(self, commit: Commit) -> Iterator[None]:
        """Give up the lease when the body raises; if even that fails, the lease runs out."""
        try:
            yield
        except BaseException:
            with suppress(HashHubError):
                self._release(commit)
            raise

    def _write_run(self, commit: Commit) -> None:
        """Write the gathered hashes in order. The caller holds `commit.lock`."""
        try:
            with self._releasing(commit):
                for rows in commit.take_run():
                    with self._db.write() as c:
                        self._renew(c, commit)
                        self._db.insert(c, s.hash_, rows)
        except BaseException:
            # Part of the run is gone from memory: only a new begin_commit, which purges, can go on.
            self._commits.pop(commit.import_id, None)
            raise

    def _purge(self, commit: Commit) -> None:
        """Remove what the import staged, in pieces, so that other writers do not wait."""
        a = s.allocation
        ranges = self._db.read(
            lambda c: c.execute(sa.select(a.c.first_entry, a.c.last_entry).where(a.c["import"] == commit.key)).all()
        )
        page = self._db.sql(
            'SELECT id, hashes FROM entry WHERE id BETWEEN ? AND ? AND "import" = ? ORDER BY id LIMIT ?'
        )
        delete_hash = self._db.sql("DELETE FROM hash WHERE algorithm = ? AND digest = ? AND entry = ?")
        for first, last in ranges:
            while rows := self._db.fetch(page, (first, last, commit.key, _PAGE)):
                keys = sorted(
                    (s.ALGORITHM_CODES[h.algorithm], h.digest, row[0]) for row in rows for h in unpack_hashes(row[1])
                )
                with self._db.write() as c:
                    self._renew(c, commit)
                    if keys:
                        c.exec_driver_sql(delete_hash, keys)
                    c.execute(sa.delete(s.entry).where(s.entry.c.id.between(rows[0][0], rows[-1][0])))
        f = s.finding
        with self._db.write() as c:
            self._renew(c, commit)
            c.execute(sa.delete(f).where(f.c["import"] == commit.key))
            is_staged = s.change.c.kind == sa.literal_column(
                str(_STAGED)
            )  # spelt out, so that the partial index serves
            c.execute(sa.delete(s.change).where(s.change.c["import"] == commit.key, is_staged))
            c.execute(sa.delete(a).where(a.c["import"] == commit.key))
            c.execute(sa.update(s.imports).where(s.imports.c.key == commit.key).values(finding_count=0))

    def _sweep_batches(self) -> None:
        """Delete the batches of imports that are done with, one at a time; also those that a crash left behind.

        It never fails a commit that has succeeded: what it leaves, the next one sweeps.
        """
        b, t = s.staged_batch, s.imports
        over = (
            sa.select(b.c["import"], b.c.index)
            .join(t, t.c.key == b.c["import"])
            .where(t.c.state.in_([_COMMITTED, _CANCELLED]))
        )
        with suppress(Unavailable, LimitExceeded):
            for key, index in self._db.read(lambda c: c.execute(over).all()):
                with self._db.write() as c:
                    c.execute(sa.delete(b).where(b.c["import"] == key, b.c.index == index))

    def _store_classifications(self, contents: Iterable[bytes]) -> None:
        t = s.classification
        with self._db.write() as c:
            self._db.lock(c)
            for content in sorted(contents):
                digest = hashlib.sha256(content).digest()
                key = c.scalar(sa.select(t.c.id).where(t.c.content_digest == digest))
                if key is None:
                    key = c.execute(
                        sa.insert(t).values(content_digest=digest, content=content).returning(t.c.id)
                    ).scalar_one()
                self._classification_ids[content] = key

    def _classification(self, key: int) -> Classification:
        found = self._classifications.get(key)
        if found is None:
            rows = self._db.fetch(self._db.sql("SELECT content FROM classification WHERE id = ?"), (key,))
            found = self._classifications[key] = msgspec.json.decode(rows[0][0], type=Classification)
        return found

    def _set_name(self, key: int) -> tuple[str, str]:
        found = self._set_names.get(key)
        if found is None:
            rows = self._db.fetch(self._db.sql("SELECT contributor, id FROM hash_set WHERE key = ?"), (key,))
            found = self._set_names[key] = (rows[0][0], rows[0][1])
        return found

    def _source(self, key: int) -> _Source | None:
        """Return what an import says about its entries, or None while it is not COMMITTED. COMMITTED is for ever, so it is kept."""
        found = self._sources.get(key)
        if found is None:
            sql = 'SELECT id, connector, connector_version, source_digest, revision FROM "import" WHERE key = ? AND state = ?'
            rows = self._db.fetch(self._db.sql(sql), (key, _COMMITTED))
            if rows:
                found = self._sources[key] = _Source(*rows[0])
        return found

    def _entry(self, row: Row) -> Entry | None:
        """Build an entry from the columns of `_ENTRY_SQL`; None when it is not visible, its import being uncommitted."""
        source = self._source(row[11])
        if source is None:
            return None
        contributor, hash_set = self._set_name(row[1])
        details = unpack_details(row[8])
        return Entry(
            id=row[0],
            contributor=contributor,
            hash_set=hash_set,
            hashes=unpack_hashes(row[7]),
            state=_ENTRY_STATES[row[2]],
            provenance=Provenance(
                import_id=source.import_id,
                connector=source.connector,
                connector_version=source.connector_version,
                source_digest=source.source_digest,
                position=row[3],
                member=details.member,
            ),
            classification=None if row[5] is None else self._classification(row[5]),
            flags=unpack_flags(row[6]),
            external_id=row[4] or "",
            media_type=details.media_type,
            media_size=details.media_size,
            series=details.series,
            tags=details.tags,
            quality=details.quality,
            source_time=details.source_time,
            reasons=unpack_reasons(row[9]),
            create_revision=source.revision,
            update_revision=row[10] or source.revision,
        )

    def _ids_in_state(self, set_key: int, state: int, condition: str = "") -> Iterator[NDArray[np.int64]]:
        """Yield the ids of a hash set's entries in a state, ascending, int64[n] a page."""
        sql = self._db.sql(
            "SELECT e.id FROM entry e WHERE e.hash_set = ? AND e.state = ? AND e.id > ? "  # noqa: S608 - our own text
            f"{condition} ORDER BY e.id LIMIT ?"
        )
        after = 0
        while rows := self._db.fetch(sql, (set_key, state, after, _ID_PAGE)):
            after = rows[-1][0]
            yield np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def _staged_digests(self) -> dict[str, NDArray[np.uint8]]:
        """Return the distinct digests of the entries of uncommitted imports, as `digests_of_range` does."""
        found: dict[str, list[NDArray[np.uint8]]] = {}
        for first, last in self._db.fetch("SELECT first_entry, last_entry FROM allocation"):
            for algorithm, rows in self.digests_of_range(first, last).items():
                found.setdefault(algorithm, []).append(rows)
        return {algorithm: distinct(np.concatenate(parts)) for algorithm, parts in found.items()}

    def _dead_entries(self) -> NDArray[np.bool_]:
        """Return for each entry id up to the last whether that entry is not ACTIVE."""
        dead = np.zeros(self._db.fetch("SELECT next_entry FROM metadata")[0][0], np.bool_)
        for (set_key,) in self._db.fetch("SELECT key FROM hash_set"):
            for code in _ENTRY_STATES.keys() - {_ACTIVE}:
                for ids in self._ids_in_state(set_key, code):
                    dead[ids[ids < len(dead)]] = True
        return dead

    def _withdraw(self, c: Connection, ids: Sequence[int], reason: str, revision: int, import_key: int) -> None:
        """Set entries to WITHDRAWN and write their change rows; `ids` are distinct and ascending."""
        ranges = runs(ids)
        sql = self._db.sql(
            "UPDATE entry SET state = ?, reasons = ?, update_revision = ? WHERE id BETWEEN ? AND ? AND state <> ?"
        )
        if ranges:
            packed = pack_reasons((reason,))
            c.exec_driver_sql(sql, [(_WITHDRAWN, packed, revision, first, last, _WITHDRAWN) for first, last in ranges])
            self._db.insert(c, s.change, [(revision, first, last, _WITHDRAW, import_key) for first, last in ranges])

    def _inherit(self, c: Connection, hash_set: int, restated: NDArray[np.int64]) -> None:
        """Let the reviews of the first of each pair of entries, int64[n, 2], count for the second too."""
        if not len(restated):
            return
        # Read here, in the transaction, so that no review that comes in during a long commit is left behind.
        with_reviews = c.exec_driver_sql(
            self._db.sql("SELECT DISTINCT entry FROM reviewed WHERE hash_set = ?"), (hash_set,)
        )
        pairs = restated[np.isin(restated[:, 0], np.fromiter((row[0] for row in with_reviews), np.int64))]
        if len(pairs):
            sql = self._db.sql(
                "INSERT INTO reviewed SELECT hash_set, ?, review FROM reviewed WHERE hash_set = ? AND entry = ? "
                "ON CONFLICT DO NOTHING"
            )
            c.exec_driver_sql(sql, [(later, hash_set, earlier) for earlier, later in pairs.tolist()])

    def _sets_of(self, c: Connection, ids: Sequence[int]) -> list[int]:
        def fetch(text: str, parameters: Row) -> Sequence[Row]:
            return c.exec_driver_sql(text, parameters).all()

        sql = "SELECT DISTINCT e.hash_set FROM entry e WHERE e.id {ids}"
        return sorted({row[0] for row in _by_keys(self._db, fetch, sql, "ids", "int8", (), ids)})

    def _by_keys(self, sql: str, name: str, kind: str, before: Row, keys: Sequence[Any]) -> Iterator[Row]:
        return _by_keys(self._db, self._db.fetch, sql, name, kind, before, keys)

    def _visible_states(self, c: Connection, ids: Sequence[int]) -> dict[int, int]:
        sql = (
            "SELECT e.id, e.state FROM entry e WHERE e.id {ids} "
            "AND NOT EXISTS (SELECT 1 FROM allocation a WHERE e.id BETWEEN a.first_entry AND a.last_entry)"
        )

        def fetch(text: str, parameters: Row) -> Sequence[Row]:
            return c.exec_driver_sql(text, parameters).all()

        return {row[0]: row[1] for row in _by_keys(self._db, fetch, sql, "ids", "int8", (), ids)}


def _by_keys(
    database: Database,
    fetch: Callable[[str, Row], Sequence[Row]],
    sql: str,
    name: str,
    kind: str,
    before: Row,
    keys: Sequence[Any],
) -> Iterator[Row]:
    """Yield the rows of `sql`, in which `{name}` stands for a condition on sorted keys, a chunk of keys at a time.

    SQLite gets few different statements, so that the driver has them prepared; PostgreSQL takes an array.
    """
    if not database.is_sqlite:
        text = database.sql(sql.format(**{name: f"= ANY(?::{kind}[])"}))
        for start in range(0, len(keys), _PAGE):
            yield from fetch(text, (*before, list(keys[start : start + _PAGE])))
        return
    for start in range(0, len(keys), _IN_SIZES[-1]):
        part = keys[start : start + _IN_SIZES[-1]]
        size = next(n for n in _IN_SIZES if n >= len(part))
        text = sql.format(**{name: f"IN ({', '.join('?' * size)})"})
        yield from fetch(text, (*before, *part, *([part[-1]] * (size - len(part)))))


def _content(c: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> bytes | None:
    found: bytes | None = c.scalar(sa.select(table.c.content).where(where))
    return found


def _set_is(contributor: str, hash_set: str) -> sa.ColumnElement[bool]:
    return sa.and_(s.hash_set.c.contributor == contributor, s.hash_set.c.id == hash_set)


def _set_key(c: Connection, contributor: str, hash_set: str) -> int:
    key: int | None = c.scalar(sa.select(s.hash_set.c.key).where(_set_is(contributor, hash_set)))
    if key is None:
        raise _no_hash_set(contributor, hash_set)
    return key


def _lost(c: Connection, set_keys: Sequence[int], revision: int) -> None:
    """Note that entries were withdrawn from the hash sets, with nothing in their place."""
    t = s.hash_set
    c.execute(sa.update(t).where(t.c.key.in_(set_keys)).values(withdraw_revision=revision))


def _import_rows(c: Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Import]:
    """Return imports, the newest first."""
    t, h = s.imports, s.hash_set
    query = (
        sa.select(
            t.c.id,
            h.c.contributor,
            h.c.id,
            t.c.connector,
            t.c.connector_version,
            t.c.source_digest,
            t.c.replace,
            t.c.state,
            t.c.batch_count,
            t.c.counts,
            t.c.revision,
            t.c.create_time,
            t.c.commit_time,
        )
        .join(h, h.c.key == t.c.hash_set)
        .where(*where)
        .order_by(t.c.key.desc())
        .limit(limit)
    )
    return [
        Import(
            id=row[0],
            contributor=row[1],
            hash_set=row[2],
            connector=row[3],
            connector_version=row[4],
            source_digest=row[5],
            replace=row[6],
            state=_IMPORT_STATES[row[7]],
            batch_count=row[8],
            counts=msgspec.json.decode(row[9], type=Counts),
            revision=row[10],
            create_time=s.from_millis(row[11]),
            commit_time=None if row[12] is None else s.from_millis(row[12]),
        )
        for row in c.execute(query)
    ]


def _is_last_word(c: Connection, set_key: int, done: Import) -> bool:
    """Whether the hash set still holds what a COMMITTED import left in it, or newer statements about the same items."""
    t, h = s.imports, s.hash_set
    last = sa.select(sa.func.max(t.c.revision)).where(t.c.hash_set == set_key, t.c.state == _COMMITTED)
    withdrawn: int = c.execute(sa.select(h.c.withdraw_revision).where(h.c.key == set_key)).scalar_one()
    return withdrawn <= done.revision and (not done.replace or done.revision == c.scalar(last))


def _one_import(c: Connection, import_id: str) -> Import:
    rows = _import_rows(c, s.imports.c.id == import_id)
    if not rows:
        raise _no_import(import_id)
    return rows[0]


def _review_row(entry: int, author: str, kind: ReviewKind, comment: str, at: datetime, revision: int) -> dict[str, Any]:
    return {
        "entry": entry,
        "author": author,
        "kind": s.REVIEW_KINDS[kind],
        "comment": comment,
        "create_time": s.to_millis(at),
        "revision": revision,
    }


def _review(row: Row) -> Review:
    return Review(
        id=row[0],
        entry_id=row[1],
        author=row[2],
        kind=_REVIEW_KINDS[row[3]],
        comment=row[4],
        create_time=s.from_millis(row[5]),
        revision=row[6],
    )


def _codes(codes: Iterable[int]) -> str:
    """Return codes for an IN list; NULL, which nothing equals, when there are none."""
    return ", ".join(map(str, codes)) or "NULL"


def _json(value: object) -> bytes:
    """Return canonical JSON: equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def _no_import(import_id: str) -> NotFound:
    return NotFound(f"there is no import {import_id[:63]!r}", kind="Import", name=import_id)


def _no_hash_set(contributor: str, hash_set: str) -> NotFound:
    name = f"{contributor}/{hash_set}"
    return NotFound(f"there is no hash set {name[:127]!r}; create it first", kind="HashSet", name=name)


def _no_entry(name: str) -> NotFound:
    return NotFound(f"there is no entry {name[:150]!r}", kind="Entry", name=name)


def _closed(import_id: str, state: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"import {import_id} is {_IMPORT_STATES[state]}; start a new import",
        reason=Reason.IMPORT_CLOSED,
        metadata={"state": str(_IMPORT_STATES[state])},
    )
