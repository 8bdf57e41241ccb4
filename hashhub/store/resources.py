"""Contributors, hash sets and tokens: small rows of JSON, read as a whole and kept until one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, NotFound
from hashhub.model import SYSTEM, Actor, Contributor, EventKind, HashSet, Principal, now
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.events import append_event
from hashhub.store.requests import Request


class Resources:
    """The part of the Store that knows who contributes what, and who may call."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._db = database
        self._registry: tuple[int, Mapping[str, Contributor], Mapping[str, HashSet]] = (-1, {}, {})

    def create_contributor(self, contributor: Contributor, *, by: Actor = SYSTEM, request_id: str = "") -> Contributor:
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
            c.execute(sa.insert(s.contributor).values(id=contributor.id, content=to_json(contributor)))
            self._registry_changed(
                c, by, EventKind.CONTRIBUTOR_CREATED, f"contributors/{contributor.id}", None, contributor
            )
            return request.remember(c, contributor)

    def get_contributor(self, contributor_id: str) -> Contributor:
        """Return the contributor. Raises NotFound."""
        row = self._db.read(lambda c: _content(c, s.contributor, s.contributor.c.id == contributor_id))
        if row is None:
            raise _no_contributor(contributor_id)
        return msgspec.json.decode(row, type=Contributor)

    def update_contributor(
        self,
        contributor_id: str,
        fields: Mapping[str, Any],
        check: Callable[[Contributor], None],
        *,
        by: Actor = SYSTEM,
        request_id: str = "",
    ) -> Contributor:
        """Replace these fields of a contributor, in one transaction: of two updates at once neither undoes the other's fields.

        What `check` raises of the new contributor ends it. Raises NotFound.
        """
        where = s.contributor.c.id == contributor_id
        request = Request(request_id, "update_contributor", (contributor_id, fields))
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Contributor)) is not None:
                return first
            if (old := _content(c, s.contributor, where)) is None:
                raise _no_contributor(contributor_id)
            before = msgspec.json.decode(old, type=Contributor)
            contributor = msgspec.structs.replace(before, **fields)
            check(contributor)
            c.execute(sa.update(s.contributor).where(where).values(content=to_json(contributor)))
            self._registry_changed(
                c, by, EventKind.CONTRIBUTOR_UPDATED, f"contributors/{contributor_id}", before, contributor
            )
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

    def create_hash_set(self, hash_set: HashSet, *, by: Actor = SYSTEM, request_id: str = "") -> HashSet:
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
            c.execute(sa.insert(t).values(contributor=hash_set.contributor, id=hash_set.id, content=to_json(hash_set)))
            self._registry_changed(c, by, EventKind.HASH_SET_CREATED, f"hash-sets/{hash_set.name}", None, hash_set)
            return request.remember(c, hash_set)

    def get_hash_set(self, contributor: str, hash_set: str) -> HashSet:
        """Return the hash set. Raises NotFound."""
        row = self._db.read(lambda c: _content(c, s.hash_set, _set_is(contributor, hash_set)))
        if row is None:
            raise _no_hash_set(contributor, hash_set)
        return msgspec.json.decode(row, type=HashSet)

    def update_hash_set(
        self, contributor: str, hash_set_id: str, fields: Mapping[str, Any], *, by: Actor = SYSTEM, request_id: str = ""
    ) -> HashSet:
        """Replace these fields of a hash set, in one transaction, as `update_contributor`. Raises NotFound."""
        where = _set_is(contributor, hash_set_id)
        request = Request(request_id, "update_hash_set", (contributor, hash_set_id, fields))
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, HashSet)) is not None:
                return first
            if (old := _content(c, s.hash_set, where)) is None:
                raise _no_hash_set(contributor, hash_set_id)
            before = msgspec.json.decode(old, type=HashSet)
            hash_set = msgspec.structs.replace(before, **fields)
            c.execute(sa.update(s.hash_set).where(where).values(content=to_json(hash_set)))
            kind = EventKind.HASH_SET_UPDATED if hash_set.marking == before.marking else EventKind.TERMS_CHANGED
            self._registry_changed(c, by, kind, f"hash-sets/{hash_set.name}", before, hash_set)
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

    def put_token(self, digest: bytes, principal: Principal, *, by: Actor = SYSTEM) -> None:
        """Store a token under its secret's digest. Raises AlreadyExists when its name is or was in use."""
        t, used = s.token, s.used_name
        with self._db.write() as c:
            self._db.lock(c)
            if c.execute(sa.select(used.c.id).where(used.c.kind == "tokens", used.c.id == principal.name)).first():
                raise AlreadyExists(
                    f"a token named {principal.name} exists or existed; choose another name",
                    kind="Token",
                    name=principal.name,
                )
            c.execute(sa.insert(used).values(kind="tokens", id=principal.name))
            c.execute(sa.insert(t).values(name=principal.name, content=to_json(principal)))
            c.execute(sa.insert(s.secret).values(digest=digest, token=principal.name))
            append_event(c, by, EventKind.TOKEN_CREATED, subject=f"tokens/{principal.name}")

    def find_token(self, digest: bytes) -> Principal | None:
        """Return the token that a secret with this digest opens now, or None."""
        sql = self._db.sql(
            "SELECT t.content, t.last_use_time FROM secret x JOIN token t ON t.name = x.token "
            "WHERE x.digest = ? AND (x.expire_time IS NULL OR x.expire_time > ?)"
        )
        rows = self._db.fetch(sql, (digest, s.to_millis(now())))
        return _token(rows[0]) if rows else None

    def list_tokens(self) -> list[Principal]:
        """Return the tokens in the order of names."""
        return [_token(row) for row in self._db.fetch("SELECT content, last_use_time FROM token ORDER BY name")]

    def delete_token(self, name: str, *, by: Actor = SYSTEM) -> None:
        """Delete a token; its name is never used again. Raises NotFound."""
        with self._db.write() as c:
            self._db.lock(c)
            c.execute(sa.delete(s.secret).where(s.secret.c.token == name))
            if not c.execute(sa.delete(s.token).where(s.token.c.name == name)).rowcount:
                raise NotFound(f"there is no token named {name[:63]!r}", kind="Token", name=name)
            append_event(c, by, EventKind.TOKEN_DELETED, subject=f"tokens/{name}")

    def registry(self) -> tuple[Mapping[str, Contributor], Mapping[str, HashSet]]:
        """Return what `contributors` and `hash_sets` return, both of one look at the database."""
        return self._read_registry()[1:]

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

    def _registry_changed(
        self,
        c: Connection,
        by: Actor,
        kind: EventKind,
        subject: str,
        before: msgspec.Struct | None,
        after: msgspec.Struct | None,
    ) -> int:
        """Append the event of a changed resource, with what it was and is as erasable details, and return its revision."""
        changed = {
            name: (_plain(getattr(before, name, None)), _plain(getattr(after, name, None)))
            for name in (after or before).__struct_fields__  # type: ignore[union-attr]  # one of them is given
            if getattr(before, name, None) != getattr(after, name, None)
        }
        revision = append_event(
            c,
            by,
            kind,
            subject=subject,
            facts={"fields": tuple(sorted(changed))},
            details={name: f"{old} -> {new}" if before is not None else new for name, (old, new) in changed.items()},
            undo={
                "before": None if before is None else to_json(before),
                "after": None if after is None else to_json(after),
            },
        )
        c.execute(sa.update(s.metadata).values(registry_revision=revision))
        return revision

    def _set_key(self, contributor: str, hash_set: str) -> int:
        return self._db.read(lambda c: key_of_set(c, contributor, hash_set))


def _content(c: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> bytes | None:
    found: bytes | None = c.scalar(sa.select(table.c.content).where(where))
    return found


def _set_is(contributor: str, hash_set: str) -> sa.ColumnElement[bool]:
    return sa.and_(s.hash_set.c.contributor == contributor, s.hash_set.c.id == hash_set)


def _token(row: Row) -> Principal:
    token = msgspec.json.decode(row[0], type=Principal)
    return token if row[1] is None else msgspec.structs.replace(token, last_use_time=s.from_millis(row[1]))


def _plain(value: object) -> str:
    """Return a field as the history shows it."""
    return (
        ""
        if value is None
        else value
        if isinstance(value, str)
        else msgspec.json.encode(value, order="deterministic").decode()
    )


def key_of_set(c: Connection, contributor: str, hash_set: str) -> int:
    """Return the key of a hash set. Raises NotFound."""
    key: int | None = c.scalar(sa.select(s.hash_set.c.key).where(_set_is(contributor, hash_set)))
    if key is None:
        raise _no_hash_set(contributor, hash_set)
    return key


def to_json(value: object) -> bytes:
    """Return canonical JSON: equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def _no_contributor(contributor_id: str) -> NotFound:
    return NotFound(f"there is no contributor {contributor_id[:63]!r}", kind="Contributor", name=contributor_id)


def _no_hash_set(contributor: str, hash_set: str) -> NotFound:
    name = f"{contributor}/{hash_set}"
    return NotFound(f"there is no hash set {name[:127]!r}; create it first", kind="HashSet", name=name)
