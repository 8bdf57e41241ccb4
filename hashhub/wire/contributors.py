"""Contributors and groups: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Contributor, Group
from hashhub.wire import names
from hashhub.wire.codec import Field, Ids, MessageCodec, names_of
from hashhub.wire.fields import Violations, checked, collect, refuse


def contributors_from_pb(contributors: Sequence[str], at: str) -> tuple[str, ...]:
    """Return the ids of contributors from their names, each once."""
    wrong = Violations()
    ids = [checked(wrong, names.parse_contributor, name, f"{at}[{i}]") for i, name in enumerate(contributors)]
    refuse(wrong)
    return tuple(dict.fromkeys(contributor for contributor in ids if contributor is not None))


def _read_members(pb: v1.Group, field: str, at: str, wrong: list[Violation]) -> tuple[str, ...]:
    nobody: tuple[str, ...] = ()
    return collect(wrong, contributors_from_pb, getattr(pb, field), f"{at}.{field}", nobody)


_CONTRIBUTOR: Final = MessageCodec(
    Contributor,
    v1.Contributor,
    at="contributor",
    sends="Contributor",
    ids=Ids(("id",), names.contributor_name, lambda name, field: (names.parse_contributor(name, field),)),
    takes_from=names_of("Contributor"),
)
_GROUP: Final = MessageCodec(
    Group,
    v1.Group,
    at="group",
    sends="Group, its members a sequence of ids",
    ids=Ids(("id",), names.group_name, lambda name, field: (names.parse_group(name, field),)),
    members=Field(names_of("Contributor").put, _read_members),
)

contributor_to_pb = _CONTRIBUTOR.to_pb
group_to_pb = _GROUP.to_pb


def contributor_from_pb(
    pb: v1.Contributor, *, contributor_id: str | None = None, at: str = "contributor"
) -> Contributor:
    """Return the contributor. `contributor_id`: the id that a create request gives instead of a name."""
    if contributor_id is None:
        return _CONTRIBUTOR.from_pb(pb, at)
    return _CONTRIBUTOR.from_pb(pb, at, id=contributor_id, paths={"id": "contributor_id"})


def group_from_pb(pb: v1.Group, *, group_id: str | None = None, at: str = "group") -> Group:
    """Return the group. `group_id`: the id that a create request gives instead of a name."""
    if group_id is None:
        return _GROUP.from_pb(pb, at)
    return _GROUP.from_pb(pb, at, id=group_id, paths={"id": "group_id"})
