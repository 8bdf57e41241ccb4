"""Contributors, groups and hash sets: small rows of JSON. With the definitions of schemes and policies they are read as
a whole, a Registry, which is kept until one changes.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Violation,
)
from hashhub.model import (
    SYSTEM,
    TLP,
    Actor,
    Contributor,
    ContributorKind,
    Definition,
    EventKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Role,
    SigningKey,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest, no_hash_set
from hashhub.store.events import Facts, append_event, touch_resource
from hashhub.store.schema import COMMITTED, UPSERT, WITHDRAWN

_KINDS: Final = (Contributor, HashSet, Group, Definition)  # as _REGISTRY has their tables
_decode_floors: Final = msgspec.json.Decoder(tuple[Marking, ...]).decode
_T = TypeVar("_T", bound=Contributor | Group | HashSet)

OWN_CONTRIBUTOR: Final = "operator"  # wanted as the id of the hub's own contributor
_NAMES_SHOWN: Final = 20  # of the hash sets that stand in a deletion's way
# One statement, so that all of it is of one moment.
_REGISTRY: Final = (
    "SELECT 0, registry_revision, NULL FROM metadata UNION ALL SELECT 1, 0, content FROM contributor "
    "UNION ALL SELECT 2, 0, content FROM hash_set WHERE delete_revision = 0 "
    "UNION ALL SELECT 3, 0, content FROM contributor_group UNION ALL SELECT 4, 0, content FROM definition"
)


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Registry:
    """Contributors and groups by id, hash sets by name, definitions: of one `revision`; a token's makes no other."""

    revision: int
    contributors: Mapping[str, Contributor]
    hash_sets: Mapping[str, HashSet]
    groups: Mapping[str, Group]
    definitions: tuple[Definition, ...] = ()


class _CachedRegistry(NamedTuple):
    """The Registry as of a revision, and its rows by table, so that only those that are new are decoded."""

    as_of: int
    rows: tuple[dict[bytes, Any], ...]
    registry: Registry


class Resources:
    """The part of the Store that knows who contributes what, under which terms."""

    def __init__(self, database: Database) -> None:
        self._db = database
        # One value, so that of two threads that read at once neither leaves the other's half.
        self._held = _CachedRegistry(-1, ({}, {}, {}, {}), Registry(-1, {}, {}, {}))

    def hash_set_keys(self, names: Collection[str] = ()) -> Mapping[int, str]:
        """Return all hash sets' names by key; where `names` are known, nothing is read."""
        return self._db.hash_set_names(names)

    def registry(self) -> Registry:
        """Return all contributors, hash sets, groups and definitions: one small look unless something changed."""
        revision = self._db.fetch("SELECT registry_revision FROM metadata")[0][0]
        held = self._held
        if held.as_of == revision:
            return held.registry
        rows: tuple[dict[bytes, Any], ...] = ({}, {}, {}, {})
        for table, at, content in self._db.fetch(_REGISTRY):
            if table == 0:
                revision = at
            else:
                known = held.rows[table - 1].get(content)
                rows[table - 1][content] = (
                    msgspec.json.decode(content, type=_KINDS[table - 1]) if known is None else known
                )
        self._number(rows[1])
        registry = held.registry
        # After a change of a token all rows are the same, and what was worked out for the Registry goes on to hold.
        if held.as_of < 0 or any(new.keys() != old.keys() for new, old in zip(rows, held.rows, strict=True)):
            registry = Registry(
                revision,
                _by_key(rows[0].values(), "id"),
                _by_key(rows[1].values(), "name"),
                _by_key(rows[2].values(), "id"),
                tuple(rows[3].values()),
            )
        self._held = _CachedRegistry(revision, rows, registry)
        return registry

    def _number(self, hash_sets: dict[bytes, HashSet]) -> None:
        """Give those that have none their number, which is their key in another order of the hub's own."""
        fresh = {content: x for content, x in hash_sets.items() if not x.bank_number}
        if fresh:
            keys = {name: key for key, name in self.hash_set_keys([x.name for x in fresh.values()]).items()}
            secret = self._db.fetch("SELECT secret FROM metadata")[0][0]
            for content, x in fresh.items():
                hash_sets[content] = msgspec.structs.replace(x, bank_number=_number_of(keys[x.name], secret))

    @property
    def held(self) -> Registry:
        """What `registry` returned last, without a look at the database; empty before the first."""
        return self._held.registry

    def contributors(self) -> Mapping[str, Contributor]:
        """Return all contributors by id."""
        return self.registry().contributors

    def hash_sets(self) -> Mapping[str, HashSet]:
        """Return all hash sets by name (CONTRIBUTOR/SET)."""
        return self.registry().hash_sets

    # Contributors

    def create_contributor(
        self, contributor: Contributor, *, by: Actor = SYSTEM, validate_only: bool = False, request_id: str = ""
    ) -> Contributor:
        """Store a contributor. Raises AlreadyExists when the id is taken."""
        contributor = msgspec.structs.replace(
            contributor, create_time=None, retire_time=None, objections_accepted_revision=0, signing_keys=()
        )
        request = IdempotentRequest(request_id, "create_contributor", contributor, by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Contributor)) is not None:
                return first
            if _read(c, Contributor, contributor.id) is not None:
                raise _taken("contributor", "Contributor", contributor.id)
            return request.remember(c, _create(c, by, EventKind.CONTRIBUTOR_CREATED, contributor))

    def get_contributor(self, contributor_id: str) -> Contributor:
        """Return the contributor. Raises NotFound."""
        return self._db.read(lambda c: _existing(c, Contributor, contributor_id))

    def update_contributor(
        self,
        contributor_id: str,
        fields: Mapping[str, Any],
        check: Callable[[Contributor], None],
        *,
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Contributor:
        """Replace fields of a contributor in one transaction, unless `check` of it raises. Raises NotFound."""
        request = IdempotentRequest(request_id, "update_contributor", (contributor_id, fields), by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Contributor)) is not None:
                return first
            before = _existing(c, Contributor, contributor_id)
            after = msgspec.structs.replace(before, **fields)
            check(after)
            return request.remember(c, _update(c, by, EventKind.CONTRIBUTOR_UPDATED, before, after))

    def retire_contributor(self, contributor_id: str, *, comment: str = "", by: Actor = SYSTEM) -> Contributor:
        """Retire a contributor for good. Raises NotFound, FailedPrecondition (LAST_OPERATOR)."""
        with self._db.write_in_order() as c:
            before = _existing(c, Contributor, contributor_id)
            if before.retire_time is not None:
                return before
            operators = _working_operators(c)
            if operators and all(token.contributor == contributor_id for token in operators):
                raise FailedPrecondition(
                    f"contributor {contributor_id} holds the last operator's token; create one of another contributor "
                    "first",
                    reason=Reason.LAST_OPERATOR,
                    metadata={"contributor": contributor_id},
                )
            after = msgspec.structs.replace(before, retire_time=now())
            return _update(c, by, EventKind.CONTRIBUTOR_RETIRED, before, after, details={"comment": comment})

    def accept_objections(
        self, contributor_id: str, revision: int, *, comment: str = "", by: Actor = SYSTEM
    ) -> Contributor:
        """Let a contributor's objections beyond the daily number weigh up to `revision`, which may go back."""
        field, event = "objections_accepted_revision", EventKind.OBJECTIONS_ACCEPTED
        return self._accept(Contributor, contributor_id, field, revision, event, comment, by)

    def change_signing_keys(
        self,
        contributor_id: str,
        change: Callable[[tuple[SigningKey, ...]], tuple[SigningKey, ...]],
        event: EventKind,
        key_id: str,
        *,
        comment: str = "",
        by: Actor = SYSTEM,
    ) -> Contributor:
        """Make of a contributor's keys what `change` returns. Raises what that raises, NotFound, and
        FailedPrecondition (CONTRIBUTOR_RETIRED).
        """
        with self._db.write_in_order() as c:
            check_active(c, contributor_id)
            before = _existing(c, Contributor, contributor_id)
            after = msgspec.structs.replace(before, signing_keys=change(before.signing_keys))
            if after == before:
                return before
            facts = {"signing_key": key_id}
            return _update(c, by, event, before, after, facts=facts, details={"comment": comment})

    def list_contributors(self, page_size: int, after: str = "") -> list[Contributor]:
        """Return up to `page_size` contributors with ids after `after`, in the order of their ids."""
        return [x for x in self.contributors().values() if x.id > after][:page_size]

    def own_contributor(self) -> str:
        """Return the id of the hub's own contributor, and create one when there is none that is not retired."""
        with self._db.write_in_order() as c:
            own: str = c.execute(sa.select(s.metadata.c.own_contributor)).scalar_one()
            known = _read(c, Contributor, own) if own else None
            if known is not None and known.retire_time is None:
                return own
            taken = set(c.execute(sa.select(s.contributor.c.id)).scalars())
            names = chain([OWN_CONTRIBUTOR], (f"{OWN_CONTRIBUTOR}-{number}" for number in count(2)))
            own = next(name for name in names if name not in taken)
            kind, name = ContributorKind.CLEARINGHOUSE, "This hub's operators"
            contributor = Contributor(id=own, display_name=name, kind=kind, jurisdiction="ZZ")
            _create(c, SYSTEM, EventKind.CONTRIBUTOR_CREATED, contributor)
            c.execute(sa.update(s.metadata).values(own_contributor=own))
            return own

    def hub(self) -> str:
        """Return what this hub is called among hubs; empty: it has no name yet."""
        name: str = self._db.fetch("SELECT hub FROM metadata")[0][0]
        return name

    def name_hub(self, name: str, *, by: Actor = SYSTEM) -> str:
        """Give this hub its name, for good: others keep what it states under it. Raises FailedPrecondition."""
        with self._db.write_in_order() as c:
            known: str = c.execute(sa.select(s.metadata.c.hub)).scalar_one()
            if known and known != name:
                raise FailedPrecondition(
                    f"this hub is called {known}, and others know it by that name; it cannot have another one",
                    reason=Reason.HUB_NAMED,
                    metadata={"hub": known},
                )
            if not known:
                append_event(c, by, EventKind.HUB_NAMED, facts={"hub": name})
                c.execute(sa.update(s.metadata).values(hub=name))
            return name

    # Groups

    def create_group(
        self, group: Group, *, by: Actor = SYSTEM, validate_only: bool = False, request_id: str = ""
    ) -> Group:
        """Store a group. Raises AlreadyExists: its name is or was in use; InvalidArgument: no such member."""
        group = msgspec.structs.replace(group, create_time=None)
        request = IdempotentRequest(request_id, "create_group", group, by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Group)) is not None:
                return first
            _check_members(c, group)
            check_unused(c, "groups", "Group", group.id)
            c.execute(sa.insert(s.used_name).values(kind="groups", id=group.id))
            return request.remember(c, _create(c, by, EventKind.GROUP_CREATED, group))

    def get_group(self, group_id: str) -> Group:
        """Return the group. Raises NotFound."""
        return self._db.read(lambda c: _existing(c, Group, group_id))

    def list_groups(self, page_size: int, after: str = "") -> list[Group]:
        """Return up to `page_size` groups with ids after `after`, in the order of their ids."""
        return [x for x in self.registry().groups.values() if x.id > after][:page_size]

    def update_group(
        self,
        group_id: str,
        fields: Mapping[str, Any],
        *,
        add_members: Sequence[str] = (),
        remove_members: Sequence[str] = (),
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Group:
        """Replace fields of a group, then add and remove members. Raises NotFound, InvalidArgument: no such member."""
        content = (group_id, fields, add_members, remove_members)
        request = IdempotentRequest(request_id, "update_group", content, by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, Group)) is not None:
                return first
            before = _existing(c, Group, group_id)
            after = msgspec.structs.replace(before, **fields)
            members = (m for m in dict.fromkeys((*after.members, *add_members)) if m not in remove_members)
            after = msgspec.structs.replace(after, members=tuple(members))
            _check_members(c, after)
            return request.remember(c, _update(c, by, EventKind.GROUP_UPDATED, before, after))

    def delete_group(self, group_id: str, *, by: Actor = SYSTEM) -> None:
        """Delete a group; its name is never used again. Raises NotFound, FailedPrecondition (NAMED_BY_TERMS)."""
        with self._db.write_in_order() as c:
            before = _existing(c, Group, group_id)
            _check_unnamed(c, group_id)
            c.execute(sa.delete(s.contributor_group).where(s.contributor_group.c.id == group_id))
            registry_changed(c, by, EventKind.GROUP_DELETED, f"groups/{group_id}", before, None)

    # Hash sets

    def create_hash_set(
        self,
        hash_set: HashSet,
        *,
        most: int = sys.maxsize,
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> HashSet:
        """Store a hash set. `most`: that its contributor may have.

        Raises LimitExceeded beyond that, AlreadyExists when the name is taken, NotFound when there is no such
        contributor, FailedPrecondition when that is retired, InvalidArgument when a recipient does not exist.
        """
        hash_set = msgspec.structs.replace(hash_set, create_time=None, accepted_revision=0, floors=(), bank_number=0)
        request = IdempotentRequest(request_id, "create_hash_set", hash_set, by.name)
        t = s.hash_set
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, HashSet)) is not None:
                return first
            check_active(c, hash_set.contributor)
            used = sa.select(t.c.delete_revision).where(t.c.contributor == hash_set.contributor, t.c.id == hash_set.id)
            deleted = c.scalar(used)
            if deleted:
                raise AlreadyExists(
                    f"hash set {hash_set.name} existed and was deleted, and its name is never used again; choose "
                    "another",
                    kind="HashSet",
                    name=hash_set.name,
                )
            if deleted is not None:
                raise _taken("hash set", "HashSet", hash_set.name)
            _check_terms(c, hash_set.marking)
            live = sa.select(sa.func.count()).where(t.c.contributor == hash_set.contributor, t.c.delete_revision == 0)
            if c.execute(live).scalar_one() >= most:
                raise LimitExceeded(
                    f"contributor {hash_set.contributor} has {most} hash sets, and may have no more; list in one of "
                    "them, delete one, or ask the operator (setting max_hash_sets)",
                    reason=Reason.TOO_LARGE,
                )
            return request.remember(c, _create(c, by, EventKind.HASH_SET_CREATED, hash_set))

    def floors(self, contributor: str, hash_set: str) -> tuple[Marking, ...]:
        """Return the terms that came with lists whose entries stand in the hash set. Raises NotFound."""
        return self._db.read(lambda c: standing(c, self._db, self._db.key_of_set(contributor, hash_set, c)))

    def get_hash_set(self, contributor: str, hash_set: str) -> HashSet:
        """Return the hash set. Raises NotFound."""
        return self._db.read(lambda c: _existing(c, HashSet, f"{contributor}/{hash_set}"))

    def update_hash_set(
        self,
        contributor: str,
        hash_set_id: str,
        fields: Mapping[str, Any],
        *,
        may_open: bool = True,
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> HashSet:
        """Replace these fields of a hash set (`display_name`, `marking`, `marking.tlp`, …), in one transaction.

        `may_open`: whether its last recipient may go. Raises NotFound; InvalidArgument when a recipient does not exist,
        or the terms that come out cannot be; FailedPrecondition when they are looser than those of entries in it.
        """
        request = IdempotentRequest(request_id, "update_hash_set", (contributor, hash_set_id, fields), by.name)
        with self._db.write_in_order(dry=validate_only) as c:
            if (first := request.replayed(c, HashSet)) is not None:
                return first
            before = _existing(c, HashSet, f"{contributor}/{hash_set_id}")
            after = _with_fields(before, fields)
            if before.marking.recipients and not after.marking.recipients and not may_open:
                raise InvalidArgument.field(
                    "update_mask",
                    "the new terms name no recipients, which would open the hash set to all whom its label allows; if "
                    "that is meant, name `marking.recipients` in the mask, too",
                    "OPENS_HASH_SET",
                )
            if after.marking != before.marking:
                _check_terms(c, after.marking, named=before.marking.recipients)
                refuse_looser_than_standing(c, self._db, self._db.key_of_set(contributor, hash_set_id, c), after)
            kind = EventKind.HASH_SET_UPDATED if after.marking == before.marking else EventKind.TERMS_CHANGED
            return request.remember(c, _update(c, by, kind, before, after))

    def accept_hash_set(
        self, contributor: str, hash_set_id: str, revision: int, *, comment: str = "", by: Actor = SYSTEM
    ) -> HashSet:
        """Let what a set says against harm weigh up to `revision`, which may go back. Raises NotFound."""
        name = f"{contributor}/{hash_set_id}"
        return self._accept(HashSet, name, "accepted_revision", revision, EventKind.HASH_SET_ACCEPTED, comment, by)

    def list_hash_sets(self, contributor: str | None, page_size: int, after: str = "") -> list[HashSet]:
        """Return up to `page_size` hash sets, of one contributor or of all, by name, after the name `after`."""
        own = (x for x in self.hash_sets().values() if contributor in {None, x.contributor})
        behind = after.partition("/")[::2]
        return [x for x in own if (x.contributor, x.id) > behind][:page_size]

    def note_expired_terms(self, at: datetime) -> list[str]:
        """Append an event for each hash set whose terms have run out since the last call; return the sets' names."""
        told: list[str] = []
        t = s.event
        for hash_set in self.hash_sets().values():
            expiry, subject = hash_set.marking.expire_time, f"hash-sets/{hash_set.name}"
            if expiry is None or expiry > at:
                continue
            millis = s.to_millis(expiry)
            with self._db.write_in_order() as c:
                # One for each time that the terms had: prolonged terms expire again.
                since = (t.c.subject == subject, t.c.kind == EventKind.TERMS_EXPIRED, t.c.time >= millis)
                if c.scalar(sa.select(sa.func.max(t.c.revision)).where(*since)) is None:
                    append_event(c, SYSTEM, EventKind.TERMS_EXPIRED, subject=subject, facts={"expire_time": millis})
                    told.append(hash_set.name)
        return told

    def _accept(
        self, kind: type[_T], name: str, field: str, revision: int, event: EventKind, comment: str, by: Actor
    ) -> _T:
        """Set the field of a resource that says up to which revision the operator accepts what it says."""
        with self._db.write_in_order() as c:
            before = _existing(c, kind, name)
            _check_accepted(c, revision)
            after = msgspec.structs.replace(before, **{field: revision})
            if after == before:
                return after
            facts = {"accepted_revision": revision, "accepted_before": getattr(before, field)}
            return _update(c, by, event, before, after, facts=facts, details={"comment": comment})


def _create(c: Connection, by: Actor, kind: EventKind, new: _T) -> _T:
    """Write a new resource and its event, and return it with its time."""
    new = msgspec.structs.replace(new, create_time=now())
    names = {"contributor": new.contributor} if isinstance(new, HashSet) else {}
    c.execute(sa.insert(_TABLES[type(new)]).values(id=new.id, content=to_json(new), **names))
    registry_changed(c, by, kind, _subject(new), None, new)
    return new


def _update(c: Connection, by: Actor, kind: EventKind, before: _T, after: _T, **told: Any) -> _T:
    """Write what a resource is from now on, and its event, told as `registry_changed` has it."""
    name = _subject(after).partition("/")[2]
    c.execute(sa.update(_TABLES[type(after)]).where(_is(type(after), name)).values(content=to_json(after)))
    registry_changed(c, by, kind, _subject(after), before, after, **told)
    return after


def registry_changed(
    c: Connection,
    by: Actor,
    kind: EventKind,
    subject: str,
    before: msgspec.Struct | None,
    after: msgspec.Struct | None,
    *,
    facts: Facts | None = None,
    details: Mapping[str, str] | None = None,
) -> int:
    """Append the event of a changed resource, with what it was and is as erasable details, and return its revision."""
    changed = {
        name: (_plain(getattr(before, name, None)), _plain(getattr(after, name, None)))
        for name in (after or before).__struct_fields__  # type: ignore[union-attr]  # one of them is given
        if getattr(before, name, None) != getattr(after, name, None) and name not in _OUTPUT_ONLY
    }
    values = {
        name: new if before is None else old if after is None else f"{old} -> {new}"
        for name, (old, new) in changed.items()
    }
    touch_resource(c, subject)
    revision = append_event(
        c,
        by,
        kind,
        subject=subject,
        facts={"fields": tuple(sorted(changed)), **(facts or {})},
        details={**values, **(details or {})},
        undo={
            "before": None if before is None else to_json(before),
            "after": None if after is None else to_json(after),
        },
    )
    c.execute(sa.update(s.metadata).values(registry_revision=revision))
    return revision


def _by_key(items: Iterable[_T], key: str) -> Mapping[str, _T]:
    return MappingProxyType({getattr(x, key): x for x in sorted(items, key=lambda x: getattr(x, key).split("/"))})


def _number_of(key: int, secret: bytes) -> int:
    """Return the number of a hash set's key: a permutation of 20 bits under the secret, by a Feistel network; 0 is no
    number, and 0 is given for keys beyond.
    """
    left, right = key >> 10, key & 1023
    if left >= 1024:  # noqa: PLR2004 - a million hash sets
        return 0
    for step in range(8):
        mask = int.from_bytes(
            hmac.digest(secret, b"bank number" + bytes((step, right >> 8, right & 255)), "sha256")[:2]
        )
        left, right = right, left ^ (mask & 1023)
    return 1 + (left << 10 | right)


_OUTPUT_ONLY: Final = {"floors", "bank_number"}  # of a hash set
_TABLES: Final[dict[type, sa.Table]] = {Contributor: s.contributor, Group: s.contributor_group, HashSet: s.hash_set}
_COLLECTIONS: Final[dict[type, str]] = {Contributor: "contributors", Group: "groups", HashSet: "hash-sets"}
_MISSING: Final[dict[type, str]] = {
    Contributor: "there is no contributor {!r}; create it first",
    Group: "there is no group {!r}",
}


def _subject(resource: Contributor | Group | HashSet) -> str:
    """Return what events call a resource."""
    return f"{_COLLECTIONS[type(resource)]}/{resource.name if isinstance(resource, HashSet) else resource.id}"


def _is(kind: type[_T], name: str) -> sa.ColumnElement[bool]:
    contributor, _, own = name.rpartition("/")
    t = _TABLES[kind].c
    if kind is HashSet:
        return sa.and_(t.contributor == contributor, t.id == own, t.delete_revision == 0)
    return t.id == name


def _read(c: Connection, kind: type[_T], name: str) -> _T | None:
    content: bytes | None = c.scalar(sa.select(_TABLES[kind].c.content).where(_is(kind, name)))
    return None if content is None else msgspec.json.decode(content, type=kind)


def _existing(c: Connection, kind: type[_T], name: str) -> _T:
    """Return a resource. Raises NotFound."""
    resource = _read(c, kind, name)
    if resource is None:
        if kind is HashSet:
            raise no_hash_set(*name.rpartition("/")[::2])
        raise NotFound(_MISSING[kind].format(name[:63]), kind=kind.__name__, name=name)
    return resource


def check_active(c: Connection, contributor_id: str) -> None:
    """Raise NotFound when there is no such contributor, FailedPrecondition when it is retired."""
    if _existing(c, Contributor, contributor_id).retire_time is not None:
        raise FailedPrecondition(
            f"contributor {contributor_id} was retired: nothing new comes from it; use another contributor",
            reason=Reason.CONTRIBUTOR_RETIRED,
            metadata={"contributor": contributor_id},
        )


def _check_unnamed(c: Connection, group_id: str) -> None:
    """Raise FailedPrecondition when the terms of a hash set name this group."""
    contents = c.execute(
        sa.select(s.hash_set.c.content)
        .where(s.hash_set.c.delete_revision == 0)
        .order_by(s.hash_set.c.contributor, s.hash_set.c.id)
    ).scalars()
    hash_sets = [msgspec.json.decode(content, type=HashSet) for content in contents]
    names = [x.name for x in hash_sets if f"groups/{group_id}" in x.marking.recipients]
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise FailedPrecondition(
            f"the terms of {shown}{more} name groups/{group_id}; change those terms first, or empty the group: then it "
            "admits nobody",
            reason=Reason.NAMED_BY_TERMS,
            metadata={"hashSets": shown, "hashSetCount": str(len(names))},
        )


def check_unused(c: Connection, kind: str, message: str, name: str) -> None:
    """Raise AlreadyExists when something of this kind (`groups`, `tokens`) has or had the name."""
    used = s.used_name
    if c.execute(sa.select(used.c.id).where(used.c.kind == kind, used.c.id == name)).first():
        raise AlreadyExists(
            f"a {message.lower()} named {name} exists or existed, and terms may have meant it; choose another name",
            kind=message,
            name=name,
        )


def _check_members(c: Connection, group: Group) -> None:
    known = set(c.execute(sa.select(s.contributor.c.id)).scalars())
    _refuse(
        Violation(f"members[{i}]", f"there is no contributor {member!r}; create it first", "NOT_FOUND")
        for i, member in enumerate(group.members)
        if member not in known
    )


def _check_terms(c: Connection, marking: Marking, named: Sequence[str] = ()) -> None:
    """Raise InvalidArgument unless every recipient exists, or was `named` before, and no purpose is empty."""
    columns = {"contributors": s.contributor.c.id, "groups": s.contributor_group.c.id, "tokens": s.token.c.name}
    wrong = [
        Violation(f"marking.permitted_purposes[{i}]", "must not be empty", "REQUIRED")
        for i, purpose in enumerate(marking.permitted_purposes)
        if not purpose.strip()
    ]
    for i, recipient in enumerate(marking.recipients):
        collection, _, name = recipient.partition("/")
        column = columns[collection]
        if recipient not in named and c.execute(sa.select(column).where(column == name)).first() is None:
            said = f"there is no {collection.removesuffix('s')} {name!r}; create it first"
            wrong.append(Violation(f"marking.recipients[{i}]", said, "NOT_FOUND"))
    _refuse(wrong)


def _check_accepted(c: Connection, revision: int) -> None:
    """Raise InvalidArgument for a revision that the hub has not reached: nobody can have looked at it yet."""
    last: int = c.execute(sa.select(s.metadata.c.revision)).scalar_one()
    if not 1 <= revision <= last:
        raise InvalidArgument.field(
            "accepted_revision", f"must be 1 to the hub's revision {last}, got {revision}", "OUT_OF_RANGE"
        )


def _refuse(violations: Iterable[Violation]) -> None:
    if wrong := tuple(violations):
        raise InvalidArgument("; ".join(f"{v.field}: {v.description}" for v in wrong), violations=wrong)


def _with_fields(before: HashSet, fields: Mapping[str, Any]) -> HashSet:
    """Return the hash set with these fields; `marking.X` replaces one of its terms and leaves the others."""
    whole = {name: value for name, value in fields.items() if "." not in name}
    terms = {name.removeprefix("marking."): value for name, value in fields.items() if "." in name}
    if terms:
        whole["marking"] = msgspec.structs.replace(whole.get("marking", before.marking), **terms)
    return msgspec.structs.replace(before, **whole)


def _working_operators(c: Connection) -> list[Principal]:
    """Return the operators' tokens that work now."""
    tokens = [msgspec.json.decode(x, type=Principal) for x in c.execute(sa.select(s.token.c.content)).scalars()]
    contributors = [
        msgspec.json.decode(x, type=Contributor) for x in c.execute(sa.select(s.contributor.c.content)).scalars()
    ]
    retired = {x.id for x in contributors if x.retire_time is not None}
    at = now()
    return [
        t
        for t in tokens
        if t.role is Role.OPERATOR and t.contributor not in retired and (t.expire_time is None or t.expire_time > at)
    ]


def _plain(value: object) -> str:
    """Return a field as the history shows it."""
    return value or "" if value is None or isinstance(value, str) else to_json(value).decode()


def to_json(value: object) -> bytes:
    """Return canonical JSON: equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def _taken(what: str, kind: str, name: str) -> AlreadyExists:
    return AlreadyExists(f"{what} {name} exists already; update it or choose another id", kind=kind, name=name)


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
        refuse_looser(_hash_set(c, set_key), _decode_floors(terms), "that the list states of its items")


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
        new = [f for f in _decode_floors(terms) if f not in floors]
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
        refuse_looser(_hash_set(c, set_key), _decode_floors(terms), "under which the entries were listed")


def _hash_set(c: Connection, key: int) -> HashSet:
    content = c.execute(sa.select(s.hash_set.c.content).where(s.hash_set.c.key == key)).scalar_one()
    return msgspec.json.decode(content, type=HashSet)
