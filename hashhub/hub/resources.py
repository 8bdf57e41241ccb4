"""Contributors and hash sets: create, read, update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.errors import AlreadyExists, InvalidArgument, NotFound, Violation
from hashhub.hub import access
from hashhub.model import Contributor, HashSet, Principal, Role, now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashhub.schemes import Registry
    from hashhub.store import Store

_FIXED: Final = {
    "id",
    "name",
    "contributor",
    "create_time",
    "scheme",
    "purpose",
}  # changing these would change what entries mean


class Contributors:
    """The organisations that state something."""

    def __init__(self, store: Store) -> None:
        """Keep the store."""
        self._store = store

    def create(
        self, principal: Principal, contributor: Contributor, *, validate_only: bool = False, request_id: str = ""
    ) -> Contributor:
        """Create a contributor. Raises AlreadyExists; InvalidArgument when `takes_from` names one that does not exist."""
        access.allow(principal, Role.OPERATOR)
        self._check_sources(contributor)
        contributor = msgspec.structs.replace(contributor, create_time=now())
        if validate_only:
            _must_be_new(
                "contributor", "Contributor", contributor.id, lambda: self._store.get_contributor(contributor.id)
            )
            return contributor
        return self._store.create_contributor(contributor, request_id=request_id)

    def get(self, principal: Principal, contributor: str) -> Contributor:
        """Return a contributor. Raises NotFound."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        return self._store.get_contributor(contributor)

    def list(self, principal: Principal, page_size: int, after: str) -> tuple[list[Contributor], str]:
        """Return contributors in order of id after `after`, and where to go on (empty: no more)."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        found = self._store.list_contributors(page_size + 1, after)
        return found[:page_size], found[page_size - 1].id if len(found) > page_size else ""

    def update(
        self,
        principal: Principal,
        contributor: Contributor,
        mask: Sequence[str],
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Contributor:
        """Take the masked fields over. Raises NotFound; InvalidArgument for a field that cannot change."""
        access.allow(principal, Role.OPERATOR)
        fields = _masked(contributor, mask)
        if validate_only:
            merged = msgspec.structs.replace(self._store.get_contributor(contributor.id), **fields)
            self._check_sources(merged)
            return merged
        return self._store.update_contributor(contributor.id, fields, self._check_sources, request_id=request_id)

    def _check_sources(self, contributor: Contributor) -> None:
        known = self._store.contributors()
        wrong = [
            Violation(f"takes_from[{i}]", f"there is no contributor {other!r}; create it first", "NOT_FOUND")
            for i, other in enumerate(contributor.takes_from)
            if other not in known
        ]
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field}: {v.description}" for v in wrong), violations=tuple(wrong))


class HashSets:
    """The collections of contributors."""

    def __init__(self, store: Store, registry: Registry) -> None:
        """Keep the store and the schemes."""
        self._store = store
        self._registry = registry

    def create(
        self, principal: Principal, hash_set: HashSet, *, validate_only: bool = False, request_id: str = ""
    ) -> HashSet:
        """Create a hash set; its scheme is pinned to a version. Raises NotFound, AlreadyExists, InvalidArgument (UNKNOWN_SCHEME)."""
        access.allow_writing(principal, hash_set.contributor)
        self._store.get_contributor(hash_set.contributor)
        scheme = hash_set.scheme
        if scheme:
            found = self._registry.get(scheme)
            scheme = f"{found.id}@{found.version}"
        hash_set = msgspec.structs.replace(hash_set, scheme=scheme, create_time=now())
        if validate_only:
            _must_be_new(
                "hash set",
                "HashSet",
                hash_set.name,
                lambda: self._store.get_hash_set(hash_set.contributor, hash_set.id),
            )
            return hash_set
        return self._store.create_hash_set(hash_set, request_id=request_id)

    def get(self, principal: Principal, contributor: str, hash_set: str) -> HashSet:
        """Return a hash set. Raises NotFound, also when its terms do not let the caller see it."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        try:
            found = self._store.get_hash_set(contributor, hash_set)
        except NotFound:
            found = None
        if found is None or not access.may_see(principal, found):
            name = f"{contributor}/{hash_set}"
            raise NotFound(f"there is no hash set {name[:127]!r} that this token may see", kind="HashSet", name=name)
        return found

    def list(
        self, principal: Principal, contributor: str | None, page_size: int, after: str
    ) -> tuple[list[HashSet], str]:
        """Return hash sets in order of name after `after`, and where to go on. Those whose terms hide them are left out."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        found = self._store.list_hash_sets(contributor, page_size + 1, after)
        following = found[page_size - 1].name if len(found) > page_size else ""
        return [s for s in found[:page_size] if access.may_see(principal, s)], following

    def update(
        self,
        principal: Principal,
        hash_set: HashSet,
        mask: Sequence[str],
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> HashSet:
        """Take the masked fields over. Raises NotFound; InvalidArgument for a field that cannot change."""
        access.allow_writing(principal, hash_set.contributor)
        fields = _masked(hash_set, mask)
        if validate_only:
            return msgspec.structs.replace(self._store.get_hash_set(hash_set.contributor, hash_set.id), **fields)
        return self._store.update_hash_set(hash_set.contributor, hash_set.id, fields, request_id=request_id)


def _masked(new: Contributor | HashSet, mask: Sequence[str]) -> dict[str, Any]:
    """Return the fields that the mask names. Raises InvalidArgument for one that cannot change."""
    fields = {f for f in new.__struct_fields__ if f not in _FIXED}
    if wrong := [m for m in mask if m not in fields]:
        raise InvalidArgument(
            f"update_mask: cannot change {', '.join(wrong)}; it can change {', '.join(sorted(fields))}",
            violations=tuple(Violation("update_mask", f"{m} cannot change", "NOT_MUTABLE") for m in wrong),
        )
    return {f: getattr(new, f) for f in sorted(mask)}


def _must_be_new(what: str, kind: str, name: str, look: Callable[[], object]) -> None:
    try:
        look()
    except NotFound:
        return
    raise AlreadyExists(f"{what} {name} exists already", kind=kind, name=name)
