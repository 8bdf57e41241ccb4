"""Contributors and groups: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Contributor, Group
from hashhub.wire import names
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, names_of
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


CONTRIBUTOR: Final = MessageCodec(
    Contributor,
    v1.Contributor,
    at="contributor",
    sends="Contributor",
    ids=Ids(
        ("id",),
        names.contributor_name,
        lambda name, field: (names.parse_contributor(name, field),),
        created=("contributor_id",),
    ),
    takes_from=names_of("Contributor"),
)
GROUP: Final = MessageCodec(
    Group,
    v1.Group,
    at="group",
    sends="Group, its members a sequence of ids",
    ids=Ids(("id",), names.group_name, lambda name, field: (names.parse_group(name, field),), created=("group_id",)),
    members=FieldCodec(names_of("Contributor").put, _read_members),
)
