"""A common draft from what was recorded and what a person states."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hashhub.conversion import converted
from hashhub.desk.decision import DecisionRecord, read_checked
from hashhub.desk.reports.draft import UNSAID, ContentView, Draft, Incident, ReportedFile, Subject
from hashhub.errors import InvalidArgument, NotFound
from hashhub.model import TLP, now

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.desk.reports.draft import RenderedReport
    from hashhub.desk.reports.recipients import Recipient
    from hashhub.desk.settings import ReporterSettings

T = TypeVar("T", bound=msgspec.Struct)

_FILE_STATED = frozenset(
    {"file_name", "url", "viewed", "exif_viewed", "public", "relevance", "classification", "annotations", "note"}
)
_MOST_NAME = 1_000
_NAMED = frozenset({TLP.CLEAR, TLP.GREEN})  # what may be told beyond those who got the list, by TLP 2.0
_UNNAMED = "a list whose terms do not let it be named"
_SECTIONS = {"incident": dict, "subject": dict, "files": dict, "note": str, "declaration": str}


def gather(
    records: Records, references: Sequence[str], *, reporter: ReporterSettings, facts: str = "", case: str = ""
) -> Draft:
    """Return the draft about uploads, or those that a case stopped. `facts`: TOML of what a person states:
    `[incident]`, `[subject]`, `[files.REFERENCE]`, `note`, `declaration`. Raises NotFound for an unknown upload,
    InvalidArgument for facts that cannot be read or state what the record says.
    """
    stated = _stated(facts)
    references = tuple(dict.fromkeys(_expanded(records, references)))
    by_reference: dict[str, Any] = stated.get("files", {})
    if unknown := sorted(set(by_reference) - set(references)):
        raise InvalidArgument.field("facts", f"state something about {unknown[0]!r}, which is not reported here")
    reported = []
    for reference in references:
        upload = records.get_upload(reference)
        if upload is None:
            raise NotFound(f"no upload {reference[:40]!r} is on record")
        _, checked = upload
        about = by_reference.get(reference, {})
        if not isinstance(about, dict) or set(about) - _FILE_STATED:
            raise InvalidArgument.field("facts", f"files.{reference} may state {', '.join(sorted(_FILE_STATED))}")
        known = {
            "reference": reference,
            "time": checked.time,
            "upload_id": _printed(checked.upload_id),
            "media_type": _printed(checked.media_type),
            "size_bytes": checked.size_bytes,
        }
        entry = _section({**known, **about}, ReportedFile, f"files.{reference}")
        reported.append(msgspec.structs.replace(entry, hashes=checked.hashes, seen=_seen(checked)))
    if not reported:
        raise InvalidArgument.field("reference", "name at least one upload")
    incident = {"time": min(one.time for one in reported), **stated.get("incident", {})}
    return Draft(
        created=now(),
        reporter=reporter,
        incident=_section(incident, Incident, "incident"),
        files=tuple(reported),
        subject=_section(stated.get("subject", {}), Subject, "subject"),
        case=case,
        note=stated.get("note", ""),
        declaration=stated.get("declaration", ""),
    )


def note_drafted(records: Records, draft: Draft, rendered: RenderedReport, recipient: Recipient, *, actor: str) -> None:
    """Record that a report about each of its uploads was drafted for a recipient."""
    with records.transaction():
        for file in draft.files:
            records.note("REPORT_DRAFTED", file.reference, actor=actor, to=recipient, dropped=len(rendered.dropped))


def _stated(facts: str) -> dict[str, Any]:
    try:
        stated = tomllib.loads(facts.removeprefix("\ufeff"))  # which Windows writes
    except ValueError as e:
        raise InvalidArgument.field("facts", f"cannot be read as TOML: {e}") from e
    if unknown := sorted(set(stated) - _SECTIONS.keys()):
        raise InvalidArgument.field("facts", f"may have {', '.join(sorted(_SECTIONS))}, and not {unknown[0]!r}")
    for section, value in stated.items():
        if not isinstance(value, _SECTIONS[section]):
            form = (
                "a text" if _SECTIONS[section] is str else f"a table: [{section}{'.REFERENCE' * (section == 'files')}]"
            )
            raise InvalidArgument.field("facts", f"{section} must be {form}")
    return stated


def _section(values: Any, kind: type[T], section: str) -> T:
    def called(key: str) -> str:
        return f"facts: {section}.{key}" if key else f"facts: {section}"

    return converted(values, kind, called=called, hint="docs/hook/reports.md has what may be stated")


def _expanded(records: Records, references: Sequence[str]) -> Iterator[str]:
    for reference in references:
        if not reference.startswith("case-"):
            yield reference
            continue
        stopped = []
        sql = "SELECT reference, checked FROM upload WHERE reference > :after ORDER BY reference LIMIT :most"
        for name, stored in records.each(sql, {"after": ""}):
            checked = read_checked(stored, name)
            if any(line.clause == reference for line in checked.decision.reasons):
                stopped.append((checked.time, name))
        if not stopped:
            raise NotFound(f"no upload on record was stopped because of {reference[:40]!r}")
        yield from (name for _, name in sorted(stopped))


def _printed(text: str) -> str:
    """Return a stranger's name for an upload without what a draft may not hold, so that it can be written."""
    return UNSAID.sub("\N{REPLACEMENT CHARACTER}", text)[:_MOST_NAME]


def _seen(checked: DecisionRecord) -> tuple[ContentView, ...]:
    if checked.result is None:
        return ()
    by_set = {
        (m.entry.contributor, m.entry.hash_set, m.algorithm): ContentView(
            hash_set=f"{m.entry.contributor}/{m.entry.hash_set}" if m.marking.tlp in _NAMED else _UNNAMED,
            algorithm=m.algorithm,
            distance=m.distance,
            variant=m.variant,
        )
        for m in reversed(checked.result.matches)  # in order of distance: the nearest of each list stays
    }
    return tuple(reversed(by_set.values()))
