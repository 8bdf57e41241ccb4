"""Contributors, groups and hash sets: create, read, update, retire, accept."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Unpack

import msgspec

from hashhub.conversion import refuse
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason, Violation
from hashhub.hub import access
from hashhub.hub.access import DisclosureChannel
from hashhub.hub.entries import check_comment
from hashhub.hub.selections import BulkOrder
from hashhub.model import (
    Contributor,
    EntryAction,
    EntryState,
    Group,
    HashSet,
    Marking,
    Principal,
    Role,
    Selection,
    Unclassified,
    WithdrawalReason,
)
from hashhub.model.resources import wrong_in_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.hub.schemes import Catalogue
    from hashhub.hub.selections import Selections
    from hashhub.store import Store, WriteOptions

_READERS: Final = (Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
CONTRIBUTOR_FIELDS: Final = ("display_name", "kind", "jurisdiction", "reliability", "takes_from", "origin")
GROUP_FIELDS: Final = ("display_name", "members")
GB_NOT_UK: Final = "must be GB for the United Kingdom, as ISO 3166-1 has it, not UK"
"""Refused although it looks like a code: what is asked about one of the two would lack what stands under the other."""
# Changing the scheme or the purpose, or what an unclassified item becomes, would change what entries mean.
_HASH_SET_FIELDS: Final = (
    "display_name",
    "marking",
    *(f"marking.{term}" for term in Marking.__struct_fields__),
    "review_depth",
    "bank",
    "require_signature",
)


class Contributors:
    """The organisations that state something, or match, or both."""

    def __init__(self, store: Store, selections: Selections) -> None:
        self._store = store
        self._selections = selections

    def create(self, principal: Principal, contributor: Contributor, **options: Unpack[WriteOptions]) -> Contributor:
        """Create a contributor. Raises AlreadyExists; InvalidArgument (`takes_from`, jurisdiction)."""
        access.allow(principal, Role.OPERATOR)
        self._check(contributor)
        return self._store.resources.create_contributor(contributor, by=access.actor(principal), **options)

    def get(self, principal: Principal, contributor: str) -> Contributor:
        """Return a contributor. Raises NotFound."""
        access.allow(principal, *_READERS)
        return self._store.resources.get_contributor(contributor)

    def list(self, principal: Principal, page_size: int, after: str) -> tuple[list[Contributor], str]:
        """Return contributors in order of id after `after`, and where to go on (empty: no more)."""
        access.allow(principal, *_READERS)
        contributors = self._store.resources.list_contributors(page_size + 1, after)
        return contributors[:page_size], contributors[page_size - 1].id if len(contributors) > page_size else ""

    def update(
        self, principal: Principal, contributor: Contributor, mask: Sequence[str], **options: Unpack[WriteOptions]
    ) -> Contributor:
        """Take the masked fields over. Raises NotFound; InvalidArgument for a field that cannot change."""
        access.allow(principal, Role.OPERATOR)
        return self._store.resources.update_contributor(
            contributor.id,
            access.masked(contributor, mask, CONTRIBUTOR_FIELDS),
            self._check,
            by=access.actor(principal),
            **options,
        )

    def retire(
        self, principal: Principal, contributor: str, comment: str = "", *, withdraw_entries: bool
    ) -> Contributor:
        """Retire a contributor, for good: its tokens stop working within a second, its webhooks are told nothing more.
        What it stated goes on to match, or, with `withdraw_entries`, is withdrawn, as by an operator. Idempotent.

        Raises NotFound; FailedPrecondition (LAST_OPERATOR); InvalidArgument for a withdrawal without a comment.
        """
        access.allow(principal, Role.OPERATOR)
        by = access.actor(principal)
        check_comment(comment, required=withdraw_entries)  # before it is retired, for good
        retired = self._store.resources.retire_contributor(contributor, comment=comment, by=by)
        if withdraw_entries:
            order = BulkOrder(EntryAction.WITHDRAW, WithdrawalReason.OTHER, comment)
            live = (EntryState.ACTIVE, EntryState.QUARANTINED)
            self._selections.change(principal, Selection(contributor=contributor, states=live), order)
        return retired

    def accept_objections(
        self, principal: Principal, contributor: str, revision: int, comment: str = ""
    ) -> Contributor:
        """Let objections beyond the daily number weigh up to a revision. Raises NotFound, InvalidArgument."""
        access.allow(principal, Role.OPERATOR)
        return self._store.resources.accept_objections(
            contributor, revision, comment=comment, by=access.actor(principal)
        )

    def name_hub(self, principal: Principal, name: str) -> str:
        """Give the hub the name by which other hubs know it, for good. Raises InvalidArgument, FailedPrecondition."""
        access.allow(principal, Role.OPERATOR)
        refuse(wrong_in_hub("hub", name))
        return self._store.resources.name_hub(name, by=access.actor(principal))

    def _check(self, contributor: Contributor) -> None:
        known = self._store.resources.contributors()
        wrong = [] if contributor.jurisdiction != "UK" else [Violation("jurisdiction", GB_NOT_UK, "PATTERN")]
        wrong += [
            Violation(f"takes_from[{i}]", f"there is no contributor {other!r}; create it first", "NOT_FOUND")
            for i, other in enumerate(contributor.takes_from)
            if other not in known
        ]
        origin, before = contributor.origin, known.get(contributor.id)
        if before is not None and _author(before) != _author(contributor):
            wrong.append(Violation("origin", "cannot change but for the hubs before the author's own", "NOT_MUTABLE"))
        if origin is not None and self._store.resources.hub() in origin.path:
            wrong.append(Violation("origin.path", "must not lead through this hub", "SELF_REFERENCE"))
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field}: {v.description}" for v in wrong), violations=tuple(wrong))
        for other in known.values():
            if origin is not None and other.id != contributor.id and _author(other) == _author(contributor):
                raise AlreadyExists(
                    f"what {origin.contributor} of hub {origin.hub} states is kept as contributor {other.id} already; "
                    "change the path of that one",
                    kind="Contributor",
                    name=other.id,
                )


def _author(contributor: Contributor) -> tuple[str, str] | None:
    """Return the hub and the contributor there whose statements a contributor stands for; None: it is of this hub."""
    origin = contributor.origin
    return (origin.hub, origin.contributor) if origin is not None else None


class Groups:
    """Named lists of contributors that terms can name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, principal: Principal, group: Group, **options: Unpack[WriteOptions]) -> Group:
        """Create a group. Raises AlreadyExists when its name is or was in use, InvalidArgument for a member."""
        access.allow(principal, Role.OPERATOR)
        return self._store.resources.create_group(group, by=access.actor(principal), **options)

    def get(self, principal: Principal, group: str) -> Group:
        """Return a group. Raises NotFound."""
        access.allow(principal, *_READERS)
        return self._store.resources.get_group(group)

    def list(self, principal: Principal, page_size: int, after: str) -> tuple[list[Group], str]:
        """Return groups in order of id after `after`, and where to go on (empty: no more)."""
        access.allow(principal, *_READERS)
        groups = self._store.resources.list_groups(page_size + 1, after)
        return groups[:page_size], groups[page_size - 1].id if len(groups) > page_size else ""

    def update(
        self,
        principal: Principal,
        group: Group,
        mask: Sequence[str],
        *,
        add_members: Sequence[str] = (),
        remove_members: Sequence[str] = (),
        **options: Unpack[WriteOptions],
    ) -> Group:
        """Take the masked fields over, then add and remove members. Raises NotFound, InvalidArgument."""
        access.allow(principal, Role.OPERATOR)
        return self._store.resources.update_group(
            group.id,
            access.masked(group, mask, GROUP_FIELDS),
            add_members=add_members,
            remove_members=remove_members,
            by=access.actor(principal),
            **options,
        )

    def delete(self, principal: Principal, group: str) -> None:
        """Delete a group; its name is never used again. Raises NotFound; FailedPrecondition (NAMED_BY_TERMS)."""
        access.allow(principal, Role.OPERATOR)
        self._store.resources.delete_group(group, by=access.actor(principal))


class HashSets:
    """The collections of contributors."""

    def __init__(self, store: Store, catalogue: Catalogue, max_hash_sets: int) -> None:
        """`max_hash_sets`: that one contributor may have."""
        self._store = store
        self._catalogue = catalogue
        self._most = max_hash_sets

    def create(self, principal: Principal, hash_set: HashSet, **options: Unpack[WriteOptions]) -> HashSet:
        """Create a hash set; its scheme is pinned to a version. Raises NotFound, AlreadyExists, LimitExceeded,
        FailedPrecondition, InvalidArgument; PermissionDenied when somebody else than an operator wants unclassified
        items listed.
        """
        access.allow_writing(principal, hash_set.contributor)
        if hash_set.unclassified is Unclassified.LISTED:
            why = (
                "only an operator makes a hash set that lists unclassified items; leave it out, or ask the operator to "
                "create the set"
            )
            access.allow(principal, Role.OPERATOR, why=why)
        scheme = hash_set.scheme
        if scheme:
            table = self._catalogue.now().schemes.get(scheme)
            if table.is_retired:
                raise FailedPrecondition(
                    f"scheme {table.name} was retired, so that no new hash set takes it; choose another version or put "
                    "one",
                    reason=Reason.SCHEME_RETIRED,
                )
            scheme = table.name
        self._refuse_same_bank(hash_set)
        created = self._store.resources.create_hash_set(
            msgspec.structs.replace(hash_set, scheme=scheme), most=self._most, by=access.actor(principal), **options
        )
        # From here on answers of this process know that there is a list.
        return self._store.resources.registry().hash_sets.get(created.name, created)

    def get(self, principal: Principal, contributor: str, hash_set: str) -> HashSet:
        """Return a hash set. Raises NotFound, also when its terms do not let the caller see any of its entries."""
        access.allow(principal, *_READERS)
        registry = self._store.resources.registry()
        name = f"{contributor}/{hash_set}"
        if name not in access.sight(principal, registry, DisclosureChannel.ANSWER).visible:
            raise NotFound(f"there is no hash set {name[:127]!r} that this token may see", kind="HashSet", name=name)
        floors = (
            self._store.resources.floors(contributor, hash_set) if access.reads_all_of(principal, contributor) else ()
        )
        return msgspec.structs.replace(registry.hash_sets[name], floors=floors)

    def list(
        self, principal: Principal, contributor: str | None, page_size: int, after: str
    ) -> tuple[list[HashSet], str]:
        """Return hash sets that the caller may see, in order of name after `after`, and where to go on."""
        access.allow(principal, *_READERS)
        registry = self._store.resources.registry()
        visible = access.sight(principal, registry, DisclosureChannel.ANSWER).visible
        behind = after.split("/")
        rest = (
            hash_set
            for name, hash_set in registry.hash_sets.items()
            if name in visible and contributor in {None, hash_set.contributor} and name.split("/") > behind
        )
        page = list(islice(rest, page_size + 1))
        return page[:page_size], page[page_size - 1].name if len(page) > page_size else ""

    def update(
        self, principal: Principal, hash_set: HashSet, mask: Sequence[str], **options: Unpack[WriteOptions]
    ) -> HashSet:
        """Take the masked fields over; `marking.X` names one of its terms. Raises NotFound; InvalidArgument;
        FailedPrecondition (TERMS_TOO_LOOSE) for terms looser than those of entries in it.
        """
        access.allow_writing(principal, hash_set.contributor)
        if "bank" in mask:
            self._refuse_same_bank(hash_set)
        self._store.commits.settle()  # which entries stand is asked of their rows
        updated = self._store.resources.update_hash_set(
            hash_set.contributor,
            hash_set.id,
            access.masked(hash_set, mask, _HASH_SET_FIELDS),
            may_open="marking.recipients" in mask,  # on purpose, not by leaving them out of new terms
            by=access.actor(principal),
            **options,
        )
        known = self._store.resources.registry().hash_sets.get(updated.name, updated)
        return msgspec.structs.replace(updated, bank_number=known.bank_number)

    def _refuse_same_bank(self, hash_set: HashSet) -> None:
        """Raise AlreadyExists where another hash set of the contributor has its name as a bank."""
        for other in self._store.resources.registry().hash_sets.values():
            is_own = other.contributor == hash_set.contributor and other.id != hash_set.id
            if is_own and other.bank_name == hash_set.bank_name:
                raise AlreadyExists(
                    f"hash set {other.name} is the bank {other.bank_name} already; choose another name for one of them",
                    kind="HashSet",
                    name=other.name,
                )

    def accept(
        self, principal: Principal, contributor: str, hash_set: str, revision: int, comment: str = ""
    ) -> HashSet:
        """Let what a hash set says against harm weigh up to a revision. Raises NotFound, InvalidArgument."""
        access.allow(principal, Role.OPERATOR)
        return self._store.resources.accept_hash_set(
            contributor, hash_set, revision, comment=comment, by=access.actor(principal)
        )
