"""The persons who decide over uploads: each has a token of their own, of which the hook keeps a digest only, so that
nobody is two persons by an option. Whoever may write the database may make persons; each made or removed is an event.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.records import HOOK
from hashhub.errors import AlreadyExists, InvalidArgument, NotFound, Reason, Unauthenticated
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.records import Records

PREFIX: Final = "hhp_"
ACCOUNT: Final = "account:"
"""Begins the name of an actor that is an account of the machine, and no person."""
_TOKEN_BYTES: Final = 32  # 256 random bits need no slow hash: there is nothing to guess
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MAX_DAYS: Final = 366
_OF_A_PERSON: Final = {"tokenOf": "person"}  # in errors, so that nobody is told what helps with a hub's token


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who may decide, from when until when."""

    name: str
    add_time: datetime
    expire_time: datetime


class People:
    """Who may decide, and by which token."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def add(self, name: str, *, days: int, actor: str) -> str:
        """Return the token of a new person, which is told this once. Raises InvalidArgument or AlreadyExists."""
        if not _NAME.fullmatch(name):
            raise InvalidArgument.field(
                "name", "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
            )
        if name == HOOK:
            raise InvalidArgument.field("name", "is the one by which the records tell what the hook did by itself")
        if not 1 <= days <= _MAX_DAYS:
            raise InvalidArgument.field("days", f"must be 1 to {_MAX_DAYS}", "OUT_OF_RANGE")
        token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        at = now()
        with self._records.transaction():
            if self._records.rows("SELECT 1 FROM person WHERE name = ?", (name,)):
                raise AlreadyExists(f"there is a person {name!r} already; remove them first, or use another name")
            self._records.write(
                "INSERT INTO person VALUES (?, ?, ?, ?)",
                (name, _digest(token), at.isoformat(), (at + timedelta(days=days)).isoformat()),
            )
            self._records.note("person.added", name, actor=actor, days=days)
        return token

    def remove(self, name: str, *, actor: str) -> None:
        """End a person's token at once, and withdraw what they proposed. Raises NotFound."""
        with self._records.transaction():
            if not self._records.write("DELETE FROM person WHERE name = ?", (name,)):
                raise NotFound(f"there is no person {name[:63]!r}; see `hashhub hook queue people list`")
            self._records.note("person.removed", name, actor=actor)
            for (reference,) in self._records.rows("SELECT reference FROM proposal WHERE actor = ?", (name,)):
                self._records.write("DELETE FROM proposal WHERE reference = ?", (reference,))
                self._records.note("release.withdrawn", reference, "who proposed it was removed", actor=actor)

    def everybody(self) -> list[Person]:
        """Return the persons by name."""
        return self._records.structs(Person, "SELECT name, add_time, expire_time FROM person ORDER BY name")

    def who(self, token: str) -> Person:
        """Return whose token this is. Raises Unauthenticated."""
        if not token:
            raise _refused(
                "this needs a person's token: name the file with yours by --person-file, or by "
                "HASHHUB_HOOK_PERSON_FILE; `hashhub hook queue people add NAME --out FILE` makes one",
                Reason.TOKEN_MISSING,
            )
        sql = "SELECT name, add_time, expire_time FROM person WHERE token_digest = ?"
        persons = self._records.structs(Person, sql, (_digest(token),))
        if not persons:
            text = "is no person's, or they were removed; `hashhub hook queue people add NAME --out FILE` makes one"
            raise _refused(f"this token {text}", Reason.TOKEN_UNKNOWN)
        [person] = persons
        if person.expire_time <= now():
            text = "this person's token has ended; remove the person and add them again"
            raise _refused(text, Reason.TOKEN_EXPIRED)
        return person


def _refused(text: str, reason: Reason) -> Unauthenticated:
    return Unauthenticated(text, reason=reason, metadata=_OF_A_PERSON)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
