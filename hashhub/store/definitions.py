"""Definitions of schemes and policies: versions whose text never changes, and what is said of them later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, NotFound
from hashhub.model import SYSTEM, Actor, Definition, DefinitionKind, EventKind, now
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.resources import registry_changed, to_json


class Definitions:
    """The part of the Store that takes versions of schemes and policies. `Resources.registry` has them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(
        self,
        definition: Definition,
        check: Callable[[Sequence[Definition]], None] = lambda _: None,
        *,
        reason: str = "",
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
        number_from: int | None = None,
    ) -> Definition:
        """Store a version of a scheme or policy; `reason` is what its author says of it.

        `number_from`: the store gives the version: one more than any, and at least this. `check` is given all
        definitions of the kind, and ends it by raising. Raises AlreadyExists: a version's text never changes.
        """
        definition = msgspec.structs.replace(
            definition, create_time=None, actor=by.name, sign_offs=(), retire_time=None
        )
        request = IdempotentRequest(request_id, "put_definition", (definition, reason), by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Definition)) is not None:
                return first
            if number_from is not None:
                given = [d.version for d in _definitions(c, definition.kind) if d.id == definition.id]
                numbers = [int(version) + 1 for version in given if version.isdecimal()]
                definition = msgspec.structs.replace(definition, version=str(max([number_from, *numbers])))
            where = _definition_is(definition.kind, definition.id, definition.version)
            if c.scalar(sa.select(s.definition.c.content).where(where)) is not None:
                raise AlreadyExists(
                    f"{definition.kind.lower()} {definition.name} exists already, and a version's text never changes; "
                    "give the new text another version",
                    kind=definition.kind.title(),
                    name=definition.name,
                )
            check(_definitions(c, definition.kind))
            definition = msgspec.structs.replace(definition, create_time=now())
            c.execute(
                sa.insert(s.definition).values(
                    kind=s.DEFINITION_KINDS[definition.kind],
                    id=definition.id,
                    version=definition.version,
                    content=to_json(definition),
                )
            )
            kind = EventKind.SCHEME_PUT if definition.kind is DefinitionKind.SCHEME else EventKind.POLICY_PUT
            details = {"reason": reason} if reason else None
            registry_changed(c, by, kind, _subject_of(definition), None, _noted(definition), details=details)
            return request.remember(c, definition)

    def change(
        self,
        kind: DefinitionKind,
        name: str,
        change: Callable[[Definition], Definition],
        event: EventKind,
        *,
        reason: str = "",
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Definition:
        """Replace the definition `ID@VERSION`, but not its text, by what `change` makes of it. Raises NotFound."""
        request = IdempotentRequest(request_id, "change_definition", (kind, name, event, reason), by.name)
        definition_id, _, version = name.partition("@")
        where = _definition_is(kind, definition_id, version)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Definition)) is not None:
                return first
            content: bytes | None = c.scalar(sa.select(s.definition.c.content).where(where))
            if content is None:
                raise NotFound(f"there is no {kind.lower()} {name[:127]!r} in the store", kind=kind.title(), name=name)
            before = msgspec.json.decode(content, type=Definition)
            after = msgspec.structs.replace(change(before), text=before.text)
            if after == before:
                return after
            c.execute(sa.update(s.definition).where(where).values(content=to_json(after)))
            details = {"reason": reason} if reason else None
            registry_changed(c, by, event, _subject_of(after), _noted(before), _noted(after), details=details)
            return request.remember(c, after)


def _definition_is(kind: DefinitionKind, definition_id: str, version: str) -> sa.ColumnElement[bool]:
    t = s.definition.c
    return sa.and_(t.kind == s.DEFINITION_KINDS[kind], t.id == definition_id, t.version == version)


def _definitions(c: Connection, kind: DefinitionKind) -> list[Definition]:
    contents = c.execute(sa.select(s.definition.c.content).where(s.definition.c.kind == s.DEFINITION_KINDS[kind]))
    return [msgspec.json.decode(content, type=Definition) for content in contents.scalars()]


def _noted(definition: Definition) -> Definition:
    """Return the definition as its events hold it: with the SHA-256 of its text, which stands in the table for good."""
    return msgspec.structs.replace(definition, text=f"SHA-256 {hashlib.sha256(definition.text.encode()).hexdigest()}")


def _subject_of(definition: Definition) -> str:
    collection = "schemes" if definition.kind is DefinitionKind.SCHEME else "policies"
    return f"{collection}/{definition.name}"
