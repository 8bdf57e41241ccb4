"""Hash sets and entries by name: keys, and the errors for names that stand for nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import NotFound
from hashhub.store import schema as s


def key_of_set(c: Connection, contributor: str, hash_set: str) -> int:
    """Return the number that rows refer to a hash set by. Raises NotFound."""
    key: int | None = c.scalar(sa.select(s.hash_set.c.key).where(set_is(contributor, hash_set)))
    if key is None:
        raise no_hash_set(contributor, hash_set)
    return key


def set_is(contributor: str, hash_set: str) -> sa.ColumnElement[bool]:
    """Return the condition for the row of a hash set that was not deleted."""
    t = s.hash_set.c
    return sa.and_(t.contributor == contributor, t.id == hash_set, t.delete_revision == 0)


def no_hash_set(contributor: str, hash_set: str) -> NotFound:
    """Return the error for a hash set that does not exist."""
    name = f"{contributor}/{hash_set}"
    return NotFound(f"there is no hash set {name[:127]!r}; create it first", kind="HashSet", name=name)


def no_entry(name: str) -> NotFound:
    """Return the error for an entry that does not exist, or is not visible."""
    return NotFound(
        f"there is no entry {name[:150]!r} that this token may see; take the name from a match or a list of entries",
        kind="Entry",
        name=name,
    )
