"""The schemes and policies that hold now; and schemes put, signed off, retired, and laid side by side.

A version's text never changes, and entries keep the classification that they were stated under. Every token may read
every scheme, for without it a classification cannot be read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Unpack

import msgspec

from hashhub import schemes
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason
from hashhub.hub import access
from hashhub.model import Definition, DefinitionKind, EventKind, Role, SchemeStatus, SignOff, now
from hashhub.schemes import alignment
from hashhub.trust import PolicyVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hashhub.model import Actor, Principal
    from hashhub.schemes import Scheme
    from hashhub.schemes.alignment import CrosswalkRow, Difference
    from hashhub.store import Registry, Store, WriteOptions
    from hashhub.trust import Policy

_log: Final = logging.getLogger(__name__)
MAX_BYTES: Final = 64 * 1024  # of one scheme's text; the largest that comes with hashhub has 4 KiB
MAX_VALUES: Final = 500  # of one scheme: a crosswalk compares each with each of another
MAX_VERSIONS: Final = 100  # of one scheme in the store
MAX_BYTES_IN_ALL: Final = 4 * 1024 * 1024  # of the texts in the store: every process reads them when one is put


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """The schemes, and all versions of policies, of one moment. `warnings`: what of the store is left out, and why."""

    schemes: schemes.SchemeRegistry
    policies: PolicyVersions
    warnings: tuple[str, ...] = ()
    scheme_definitions: Mapping[str, Definition] = field(default_factory=dict)  # by ID@VERSION: those of the store


class Catalogue:
    """What holds now of hashhub, the operator's directories and the store; safe to use from any thread.

    Files are read once, at the start. What is in the store is a part of its registry, and holds without a restart.
    """

    def __init__(self, store: Store, scheme_files: schemes.SchemeRegistry, policy_files: Mapping[str, Policy]) -> None:
        self._store = store
        self.scheme_files = scheme_files
        self._policy_files = policy_files
        start = CatalogueState(scheme_files, PolicyVersions(policy_files))
        self._built: tuple[Registry | None, CatalogueState] = (None, start)

    def now(self) -> CatalogueState:
        """Return what holds now, by one small look at the database. Raises Unavailable."""
        return self._of(self._store.resources.registry())

    def held(self) -> CatalogueState:
        """Return what held at this process's last look at the database, at most one poll ago: it costs no look."""
        return self._of(self._store.resources.held)

    def _of(self, registry: Registry) -> CatalogueState:
        of, known = self._built
        if of is registry:
            return known
        if registry.definitions != (of.definitions if of else ()):  # most writes to the registry change none
            by_kind: dict[DefinitionKind, list[Definition]] = {kind: [] for kind in DefinitionKind}
            for definition in registry.definitions:
                by_kind[definition.kind].append(definition)
            stored = by_kind[DefinitionKind.SCHEME]
            usable, warnings = schemes.with_stored(self.scheme_files, stored)
            policies = PolicyVersions(self._policy_files, by_kind[DefinitionKind.POLICY])
            warnings += [f"{fault}; queries by it are UNAVAILABLE until then" for fault in policies.faults]
            for warning in warnings:
                if warning not in known.warnings:
                    _log.warning("%s", warning)
            known = CatalogueState(usable, policies, tuple(warnings), {d.name: d for d in stored})
        self._built = (registry, known)
        return known


class SchemeListing(msgspec.Struct, frozen=True, kw_only=True):
    """A scheme as the hub knows it, and what the store says of it where somebody put it there."""

    scheme: Scheme
    definition: Definition | None = None


class Schemes:
    """The schemes that hold now, and what operators do with them."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def list(self, principal: Principal) -> Sequence[SchemeListing]:
        """Return every scheme that can be used, by id and then version."""
        access.allow(principal, *Role)
        known = self._catalogue.now()
        return [_shown(principal, scheme, known) for scheme in known.schemes.list()]

    def get(self, principal: Principal, name: str) -> SchemeListing:
        """Return the scheme ID@VERSION; a bare ID means the version that a new hash set would get. Raises NotFound."""
        access.allow(principal, *Role)
        known = self._catalogue.now()
        return _shown(principal, _known(known, name), known)

    def put(
        self, principal: Principal, text: str, *, comment: str = "", **options: Unpack[WriteOptions]
    ) -> SchemeListing:
        """Store a version of a scheme, as a draft until signed off. Raises InvalidArgument, AlreadyExists."""
        access.allow(principal, Role.OPERATOR)
        raw = text.encode()
        if len(raw) > MAX_BYTES:
            raise InvalidArgument.field("text", f"must be at most {MAX_BYTES} bytes, got {len(raw)}", "TOO_LONG")
        scheme = schemes.parse(raw, "text", as_draft=True)
        if len(scheme.values) > MAX_VALUES:
            raise InvalidArgument.field(
                "text", f"must hold at most {MAX_VALUES} values, got {len(scheme.values)}", "TOO_MANY"
            )
        for of_file in self._catalogue.scheme_files.list():
            if of_file.key == scheme.key:
                raise AlreadyExists(
                    f"scheme {of_file.name} comes with hashhub or in a file, which nobody replaces; give the text "
                    "another version",
                    kind="Scheme",
                    name=of_file.name,
                )

        def check(stored: Sequence[Definition]) -> None:
            own = [d for d in stored if d.id == scheme.id]
            for d in own:
                if schemes.key_of(d.name) == scheme.key:
                    raise AlreadyExists(
                        f"scheme {d.name} exists already, and {scheme.version} is the same version; give the text "
                        "another version",
                        kind="Scheme",
                        name=d.name,
                    )
            if len(own) >= MAX_VERSIONS:
                raise InvalidArgument.field(
                    "text", f"{scheme.id} has {len(own)} versions, and no more can be put; use another id", "TOO_MANY"
                )
            size = sum(len(d.text.encode()) for d in stored) + len(raw)
            if size > MAX_BYTES_IN_ALL:
                raise InvalidArgument.field(
                    "text", f"all schemes in the store take at most {MAX_BYTES_IN_ALL} bytes, not {size}", "TOO_MANY"
                )

        definition = Definition(kind=DefinitionKind.SCHEME, id=scheme.id, version=scheme.version, text=text)
        put = self._store.definitions.put(definition, check, reason=comment, by=access.actor(principal), **options)
        return self._of(put)

    def sign_off(self, principal: Principal, name: str, comment: str, **options: Unpack[WriteOptions]) -> SchemeListing:
        """Answer for a version that somebody else put, which becomes as verified as its text says. Idempotent. Raises
        InvalidArgument without a comment; NotFound; FailedPrecondition for one that the same person may have put
        (SECOND_PERSON_NEEDED), a retired one (SCHEME_RETIRED), and one whose text says draft.
        """
        access.allow(principal, Role.OPERATOR)
        if not comment.strip():
            raise InvalidArgument.field("comment", "must say what the table was checked against", "REQUIRED")
        by = access.actor(principal)
        sign_off = SignOff(actor=by.name, contributor=by.contributor, time=now(), comment=comment)

        put = self._catalogue.now().scheme_definitions.get(name)
        is_own = put is not None and access.may_be_one_person(self._store, put.actor, by.name)

        def change(before: Definition) -> Definition:
            if any(s.actor == by.name for s in before.sign_offs):
                return before
            if is_own:
                how = (
                    "this token" if before.actor == by.name else f"{before.actor}, which the same person may have made"
                )
                raise FailedPrecondition(
                    f"{before.name} was put with {how}, and a scheme on whose word matches block takes two people; let "
                    "another operator sign it off, with a token that the hub's first token made for them",
                    reason=Reason.SECOND_PERSON_NEEDED,
                )
            if before.retire_time is not None:
                raise FailedPrecondition(
                    f"scheme {before.name} was retired; put another version", reason=Reason.SCHEME_RETIRED
                )
            if schemes.parse(before.text.encode(), before.name).status is SchemeStatus.DRAFT:
                raise InvalidArgument.field(
                    "name",
                    f'the text of {before.name} says status = "draft"; put a version that says verified',
                    "INVALID",
                )
            return msgspec.structs.replace(before, sign_offs=(*before.sign_offs, sign_off))

        return self._change(name, change, EventKind.SCHEME_SIGNED_OFF, by=by, comment=comment, **options)

    def retire(
        self, principal: Principal, name: str, comment: str = "", **options: Unpack[WriteOptions]
    ) -> SchemeListing:
        """Let no new hash set take a version of the store; those that have it go on. Idempotent. Raises NotFound."""
        access.allow(principal, Role.OPERATOR)
        by, at = access.actor(principal), now()

        def change(before: Definition) -> Definition:
            return before if before.retire_time is not None else msgspec.structs.replace(before, retire_time=at)

        return self._change(name, change, EventKind.SCHEME_RETIRED, by=by, comment=comment, **options)

    def compare(
        self, principal: Principal, left: str, right: str, page_size: int, start: int
    ) -> tuple[Sequence[CrosswalkRow], int]:
        """Return rows of two schemes' crosswalk from number `start` on, and where to go on. Raises NotFound."""
        access.allow(principal, *Role)
        known = self._catalogue.now()
        rows = list(islice(alignment.rows(_known(known, left), _known(known, right), start), page_size + 1))
        return rows[:page_size], start + page_size if len(rows) > page_size else 0

    def diff(self, principal: Principal, old: str, new: str) -> Difference:
        """Return what differs between two schemes, or two versions of one. Raises NotFound."""
        access.allow(principal, *Role)
        known = self._catalogue.now()
        return alignment.diff(_known(known, old), _known(known, new))

    def _change(
        self,
        name: str,
        change: Callable[[Definition], Definition],
        event: EventKind,
        *,
        by: Actor,
        comment: str,
        **options: Unpack[WriteOptions],
    ) -> SchemeListing:
        scheme_id, at, _ = name.partition("@")
        if not at:
            raise InvalidArgument.field("name", f"must name a version, as {scheme_id[:63]}@1 does", "REQUIRED")
        if any(scheme.name == name for scheme in self._catalogue.scheme_files.list()):
            raise NotFound(
                f"scheme {name} comes with hashhub or in a file, and is changed there; the store has none of that name",
                kind="Scheme",
                name=name,
            )
        changed = self._store.definitions.change(
            DefinitionKind.SCHEME, name, change, event, reason=comment, by=by, **options
        )
        return self._of(changed)

    def _of(self, definition: Definition) -> SchemeListing:
        """Return what was put or changed, and have this process use it at once."""
        self._catalogue.now()
        return SchemeListing(scheme=schemes.of_definition(definition), definition=definition)


def _shown(principal: Principal, scheme: Scheme, known: CatalogueState) -> SchemeListing:
    """Return the scheme as this caller may read it: who put and signed it is for operators and auditors."""
    definition = known.scheme_definitions.get(scheme.name)
    if definition is not None and principal.role not in access.OVERSEERS:
        sign_offs = tuple(msgspec.structs.replace(s, actor="", comment="") for s in definition.sign_offs)
        definition = msgspec.structs.replace(definition, actor="", sign_offs=sign_offs)
    return SchemeListing(scheme=scheme, definition=definition)


def _known(known: CatalogueState, name: str) -> Scheme:
    try:
        return known.schemes.get(name)
    except InvalidArgument:
        raise NotFound(
            f"there is no scheme {name[:80]!r}; `hashhub scheme list` shows them", kind="Scheme", name=name[:80]
        ) from None
