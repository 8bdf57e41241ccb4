"""Hash sets, their markings and retention: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import TLP, Deletion, HashSet, Marking, Purpose, Retention, Unclassified
from hashhub.wire import names
from hashhub.wire.fields import EnumMap, Sendable, build, check_text, checked, collect, read_time, refuse, timestamp

_PURPOSE: Final = EnumMap(Purpose, v1.Purpose, "PURPOSE_", Purpose.CSAM)
_UNCLASSIFIED: Final = EnumMap(Unclassified, v1.Unclassified, "UNCLASSIFIED_", Unclassified.QUARANTINED)
_TLP: Final = EnumMap(TLP, v1.Tlp, "TLP_", TLP.AMBER)


def hash_set_to_pb(hash_set: HashSet) -> v1.HashSet:
    with Sendable("hash_set", expected="HashSet, its marking a Marking"):
        return v1.HashSet(
            name=names.hash_set_name(hash_set.contributor, hash_set.id),
            display_name=hash_set.display_name,
            scheme=hash_set.scheme,
            purpose=_PURPOSE.to_pb(hash_set.purpose),
            review_depth=hash_set.review_depth,
            marking=marking_to_pb(hash_set.marking),
            create_time=timestamp(hash_set.create_time),
            unclassified=_UNCLASSIFIED.to_pb(hash_set.unclassified),
            accepted_revision=hash_set.accepted_revision,
        )


def hash_set_from_pb(
    pb: v1.HashSet, *, contributor: str | None = None, hash_set_id: str | None = None, at: str = "hash_set"
) -> HashSet:
    """Return the hash set. `contributor` and `hash_set_id`: what a create request gives instead of a name."""
    wrong: list[Violation] = []
    if contributor is None or hash_set_id is None:
        contributor, hash_set_id = checked(wrong, names.parse_hash_set, pb.name, f"{at}.name") or ("", "")
        fields = {"contributor": f"{at}.name", "id": f"{at}.name"}
    else:
        fields = {"contributor": "parent", "id": "hash_set_id"}
        if not pb.purpose:  # what being in the set states is for whoever makes it to say
            wrong.append(
                Violation(f"{at}.purpose", f"must be one of {_PURPOSE.expected}; it is not stated", "REQUIRED")
            )
    values = {
        "contributor": contributor,
        "id": hash_set_id,
        "display_name": pb.display_name,
        "scheme": pb.scheme,
        "purpose": _PURPOSE.from_pb(pb.purpose, f"{at}.purpose", wrong),
        "review_depth": pb.review_depth,
        "marking": collect(wrong, marking_from_pb, pb.marking, f"{at}.marking", Marking()),
        "unclassified": _UNCLASSIFIED.from_pb(pb.unclassified, f"{at}.unclassified", wrong),
        "accepted_revision": pb.accepted_revision,
        "create_time": read_time(pb, "create_time", at, wrong),
    }
    return build(HashSet, values, wrong, at, fields)


def marking_to_pb(marking: Marking) -> v1.Marking:
    return v1.Marking(
        tlp=_TLP.to_pb(marking.tlp),
        permitted_purposes=marking.permitted_purposes,
        legal_basis=marking.legal_basis,
        redistribution=marking.redistribution,
        recipients=marking.recipients,
        disclose_existence=marking.disclose_existence,
        bulk=marking.bulk,
        max_distances=dict(sorted(marking.max_distances.items())),
        expire_time=timestamp(marking.expire_time),
    )


def marking_from_pb(pb: v1.Marking, at: str = "marking") -> Marking:
    wrong: list[Violation] = []
    values = {
        "tlp": _TLP.from_pb(pb.tlp, f"{at}.tlp", wrong),
        "permitted_purposes": tuple(pb.permitted_purposes),
        "legal_basis": pb.legal_basis,
        "redistribution": pb.redistribution,
        "recipients": tuple(pb.recipients),
        "disclose_existence": pb.disclose_existence,
        "bulk": pb.bulk,
        "max_distances": dict(pb.max_distances),
        "expire_time": read_time(pb, "expire_time", at, wrong),
    }
    for i, purpose in enumerate(pb.permitted_purposes):
        check_text(purpose, f"{at}.permitted_purposes[{i}]", wrong)
    # The model names a marking's own fields `marking.…`.
    return build(Marking, values, wrong, at, {f"marking.{name}": f"{at}.{name}" for name in values})


def retention_to_pb(retention: Retention, name: str) -> v1.Retention:
    """Return the message of the retention of the hash set with this resource name."""
    return v1.Retention(
        name=name,
        days=retention.days,
        hold=retention.hold,
        deletion_asked_by=names.token_name(retention.asked_by) if retention.asked_by else "",
        deletion_ask_time=timestamp(retention.ask_time),
    )


def retention_from_pb(pb: v1.Retention, at: str = "retention") -> Retention:
    wrong: list[Violation] = []
    token = (
        checked(wrong, names.parse_token, pb.deletion_asked_by, f"{at}.deletion_asked_by")
        if (pb.deletion_asked_by)
        else ""
    )
    values = {
        "days": pb.days,
        "hold": pb.hold,
        "asked_by": token or "",
        "ask_time": read_time(pb, "deletion_ask_time", at, wrong),
    }
    return build(Retention, values, wrong, at, {})


def deletion_to_pb(deletion: Deletion) -> v1.DeleteHashSetResponse:
    contributor, _, hash_set = deletion.hash_set.partition("/")
    return v1.DeleteHashSetResponse(
        name=names.hash_set_name(contributor, hash_set),
        entry_count=deletion.entries,
        import_count=deletion.imports,
        finding_count=deletion.findings,
        review_count=deletion.reviews,
        hold_count=deletion.holds,
        pending=deletion.pending,
        delete_revision=deletion.revision,
    )


def deletion_from_pb(pb: v1.DeleteHashSetResponse) -> Deletion:
    return Deletion(
        hash_set="/".join(names.parse_hash_set(pb.name)),
        entries=pb.entry_count,
        imports=pb.import_count,
        findings=pb.finding_count,
        reviews=pb.review_count,
        holds=pb.hold_count,
        pending=pb.pending,
        revision=pb.delete_revision,
    )


def withdraws_entries(number: int, field: str = "entries") -> bool:
    """Return whether a contributor's entries are withdrawn with its retirement. Raises InvalidArgument unless it is
    said.
    """
    stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
    if number not in {stands, withdrawn}:
        expected = "must be RETIRED_ENTRIES_KEPT or RETIRED_ENTRIES_WITHDRAWN"
        refuse([Violation(field, f"{expected}; it is not stated" if not number else expected, "REQUIRED")])
    return number == withdrawn
