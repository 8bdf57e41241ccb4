"""Hash sets and entries by name; and the terms that lists state, a floor for those of the set with their entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import FailedPrecondition, NotFound, Reason
from hashhub.model import TLP, HashSet, Marking
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.schema import COMMITTED, UPSERT, WITHDRAWN


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


_floors = msgspec.json.Decoder(tuple[Marking, ...]).decode


def refuse_looser(hash_set: HashSet, floors: Iterable[Marking], whose: str) -> None:
    """Raise FailedPrecondition, saying how to tighten them, where a hash set's terms let more than a floor."""
    must: dict[str, str] = {}
    for floor in sorted(floors, key=lambda f: list(TLP).index(f.tlp)):
        must |= hash_set.marking.looser_than(floor, hash_set.contributor)
    if must:
        name = hash_set.name
        raise FailedPrecondition(
            f"the terms of {name} must let no more than those {whose}; looser are {', '.join(must)}. To tighten them: "
            f"hashhub hash-set update {name} {' '.join(must.values())}; or use another one for the list",
            reason=Reason.TERMS_TOO_LOOSE,
            metadata={"hashSet": name, "terms": ",".join(must)},
        )


def refuse_looser_than_list(c: Connection, set_key: int, terms: bytes | None) -> None:
    """Raise as `refuse_looser` where the hash set cannot take a list of these terms."""
    if terms is not None:
        refuse_looser(_hash_set(c, set_key), _floors(terms), "that the list states of its items")


def refuse_looser_than_standing(c: Connection, db: Database, set_key: int, after: HashSet) -> None:
    """Raise as `refuse_looser` where the new terms of a hash set let more than those of an entry that stands in it."""
    refuse_looser(after, standing(c, db, set_key), "under which entries stand in it")


def standing(c: Connection, db: Database, set_key: int) -> tuple[Marking, ...]:
    """Return the floors under which entries stand in a hash set."""
    t = s.imports
    of_set = sa.select(t.c.key, t.c.revision, t.c.terms).where(t.c.hash_set == set_key, t.c.terms.is_not(None))
    has_entries = (
        "SELECT 1 FROM change x CROSS JOIN entry e WHERE x.revision = ? AND x.kind = ? "
        'AND e.id BETWEEN x.first_entry AND x.last_entry AND e."import" = ? AND e.state <> ? LIMIT 1'
    )
    floors: list[Marking] = []
    for key, revision, terms in c.execute(of_set.where(t.c.state == COMMITTED).order_by(t.c.key.desc())).all():
        new = [f for f in _floors(terms) if f not in floors]
        if new and db.execute(c, has_entries, (revision, UPSERT, key, WITHDRAWN)).first() is not None:
            floors += new
    return tuple(floors)


def refuse_restoring(c: Connection, db: Database, ids: Sequence[int]) -> None:
    """Raise as `refuse_looser` where withdrawn entries would stand again under looser terms than their own."""
    sql = (
        'SELECT DISTINCT e.hash_set, i.terms FROM entry e JOIN "import" i ON i.key = e."import" '
        "WHERE i.terms IS NOT NULL AND e.id {keys}"
    )
    for set_key, terms in set(db.by_keys(sql, "int8", (), ids, c)):
        refuse_looser(_hash_set(c, set_key), _floors(terms), "under which the entries were listed")


def _hash_set(c: Connection, key: int) -> HashSet:
    content = c.execute(sa.select(s.hash_set.c.content).where(s.hash_set.c.key == key)).scalar_one()
    return msgspec.json.decode(content, type=HashSet)
