"""Imports, with their rejects and findings: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Counts, Finding, Import, Reject
from hashhub.wire import names
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, name_of
from hashhub.wire.fields import Violations, check_text, checked, refuse, require


def _read_entry(pb: v1.Finding, field: str, at: str, wrong: list[Violation]) -> int:
    parts = checked(wrong, names.parse_entry, pb.entry, f"{at}.{field}") if pb.entry else None
    return parts[2] if parts else 0


_COUNTS: Final[dict[str, Any]] = {name: f"{name}_count" for name in Counts.__struct_fields__}
MessageCodec(Counts, v1.ImportCounts, **(_COUNTS | {"items": "item_count"}))
IMPORT: Final = MessageCodec(
    Import,
    v1.Import,
    at="import",
    sends="",
    ids=Ids(
        ("contributor", "hash_set", "id"),
        lambda contributor, hash_set, id_: names.import_name(contributor, hash_set, id_) if id_ else "",
        names.parse_import,
    ),
    actor=name_of("Token"),
    revision="commit_revision",
)
REJECT: Final = MessageCodec(Reject, v1.Reject, at="reject", sends="Reject")
FINDING: Final = MessageCodec(
    Finding, v1.Finding, at="finding", entry_id=FieldCodec(lambda _: "", _read_entry, "entry")
)


def rejects_from_pb(rejects: Iterable[v1.Reject], at: str = "rejects") -> list[Reject]:
    """Return the rejects, or raise InvalidArgument with the violations of all of them."""
    wrong = Violations()
    rejects_read = []
    for i, pb in enumerate(rejects):
        require(pb, f"{at}[{i}]", ("position", "reason"), wrong)
        for field in ("position", "reason", "detail"):
            check_text(getattr(pb, field), f"{at}[{i}].{field}", wrong)
        rejects_read.append(Reject(pb.position, pb.reason, pb.detail))
    refuse(wrong)
    return rejects_read


def finding_to_pb(finding: Finding, contributor: str, hash_set: str) -> v1.Finding:
    """Return the message of a finding of an import into this hash set."""
    entry = names.entry_name(contributor, hash_set, finding.entry_id) if finding.entry_id else ""
    return FINDING.to_pb(finding, entry=entry)
