"""Contributors and groups: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Contributor, ContributorKind, Group, Reliability
from hashhub.wire import names
from hashhub.wire.fields import EnumMap, Sendable, Violations, build, checked, collect, read_time, refuse, timestamp

_KIND: Final = EnumMap(ContributorKind, v1.ContributorKind, "CONTRIBUTOR_KIND_")
_RELIABILITY: Final = EnumMap(Reliability, v1.Reliability, "RELIABILITY_", Reliability.F)


def contributor_to_pb(contributor: Contributor) -> v1.Contributor:
    with Sendable("contributor", expected="Contributor"):
        return v1.Contributor(
            name=names.contributor_name(contributor.id),
            display_name=contributor.display_name,
            kind=_KIND.to_pb(contributor.kind),
            jurisdiction=contributor.jurisdiction,
            reliability=_RELIABILITY.to_pb(contributor.reliability),
            takes_from=[names.contributor_name(other) for other in contributor.takes_from],
            create_time=timestamp(contributor.create_time),
            retire_time=timestamp(contributor.retire_time),
            objections_accepted_revision=contributor.objections_accepted_revision,
        )


def contributor_from_pb(
    pb: v1.Contributor, *, contributor_id: str | None = None, at: str = "contributor"
) -> Contributor:
    """Return the contributor. `contributor_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    own_id = (
        checked(wrong, names.parse_contributor, pb.name, f"{at}.name") if contributor_id is None else contributor_id
    )
    taken = tuple(
        checked(wrong, names.parse_contributor, name, f"{at}.takes_from[{i}]") or "-"
        for i, name in enumerate(pb.takes_from)
    )
    values = {
        "id": own_id or "",
        "display_name": pb.display_name,
        "kind": _KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "jurisdiction": pb.jurisdiction,
        "reliability": _RELIABILITY.from_pb(pb.reliability, f"{at}.reliability", wrong),
        "takes_from": taken,
        "create_time": read_time(pb, "create_time", at, wrong),
        "retire_time": read_time(pb, "retire_time", at, wrong),
        "objections_accepted_revision": pb.objections_accepted_revision,
    }
    id_field = f"{at}.name" if contributor_id is None else "contributor_id"
    return build(Contributor, values, wrong, at, {"id": id_field})


def contributors_from_pb(contributors: Sequence[str], at: str) -> tuple[str, ...]:
    """Return the ids of contributors from their names, each once."""
    wrong = Violations()
    ids = [checked(wrong, names.parse_contributor, name, f"{at}[{i}]") for i, name in enumerate(contributors)]
    refuse(wrong)
    return tuple(dict.fromkeys(contributor for contributor in ids if contributor is not None))


def group_to_pb(group: Group) -> v1.Group:
    with Sendable("group", expected="Group, its members a sequence of ids"):
        return v1.Group(
            name=names.group_name(group.id),
            display_name=group.display_name,
            members=[names.contributor_name(member) for member in group.members],
            create_time=timestamp(group.create_time),
        )


def group_from_pb(pb: v1.Group, *, group_id: str | None = None, at: str = "group") -> Group:
    """Return the group. `group_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    own_id = checked(wrong, names.parse_group, pb.name, f"{at}.name") if group_id is None else group_id
    nobody: tuple[str, ...] = ()
    members = collect(wrong, contributors_from_pb, pb.members, f"{at}.members", nobody)
    values = {
        "id": own_id or "",
        "display_name": pb.display_name,
        "members": members,
        "create_time": read_time(pb, "create_time", at, wrong),
    }
    return build(Group, values, wrong, at, {"id": f"{at}.name" if group_id is None else "group_id"})
