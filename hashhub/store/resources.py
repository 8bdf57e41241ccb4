"""Contributors, hash sets and tokens: small rows of JSON, read as a whole and kept until one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, NotFound
from hashhub.model import Contributor, HashSet, Principal, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.requests import Request


class Resources:
    """The part of the Store that knows who contributes what, and who may call."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._db = database
        self._registry: tuple[int, Mapping[str, Contributor], Mapping[str, HashSet]] = (-1, {}, {})

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
            c.execute(sa.insert(s.contributor).values(id=contributor.id, content=to_json(contributor)))
            self._registry_changed(c)
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
            contributor = msgspec.structs.replace(msgspec.json.decode(old, type=Contributor), **fields)
            check(contributor)
            c.execute(sa.update(s.contributor).where(where).values(content=to_json(contributor)))
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
            c.execute(sa.insert(t).values(contributor=hash_set.contributor, id=hash_set.id, content=to_json(hash_set)))
            self._registry_changed(c)
            return request.remember(c, hash_set)

    def get_hash_set(self, contributor: str, hash_set: str) -> HashSet:
        """Return the hash set. Raises NotFound."""
        row = self._db.read(lambda c: _content(c, s.hash_set, _set_is(contributor, hash_set)))
        if row is None:
            raise _no_hash_set(contributor, hash_set)
        return msgspec.json.decode(row, type=HashSet)

    def update_hash_set(
        self, contributor: str, hash_set_id: str, fields: Mapping[str, Any], *, request_id: str = ""
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
            hash_set = msgspec.structs.replace(msgspec.json.decode(old, type=HashSet), **fields)
            c.execute(sa.update(s.hash_set).where(where).values(content=to_json(hash_set)))
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
            c.execute(sa.insert(t).values(digest=digest, name=principal.name, content=to_json(principal)))
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

    def _registry_changed(self, c: Connection) -> None:
        c.execute(sa.update(s.metadata).values(registry_revision=self._db.next_revision(c)))

    def _set_key(self, contributor: str, hash_set: str) -> int:
        return self._db.read(lambda c: key_of_set(c, contributor, hash_set))


def _content(c: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> bytes | None:
    found: bytes | None = c.scalar(sa.select(table.c.content).where(where))
    return found


def _set_is(contributor: str, hash_set: str) -> sa.ColumnElement[bool]:
    return sa.and_(s.hash_set.c.contributor == contributor, s.hash_set.c.id == hash_set)


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
