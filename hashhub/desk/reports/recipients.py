"""Who a report is for, and what they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from hashhub.desk.reports import ncmec
from hashhub.desk.reports.draft import NOT_FILED, Draft, OmissionTracker, RenderedReport, ReportedFile, zoned


class Recipient(StrEnum):
    """NCMEC: United States. NCA: United Kingdom. C3P: Canada. HOTLINE: a hotline of INHOPE."""

    NCMEC = "NCMEC"
    NCA = "NCA"
    C3P = "C3P"
    HOTLINE = "HOTLINE"


def render(draft: Draft, recipient: Recipient) -> RenderedReport:
    """Return the draft in a recipient's form, and what it lacks. Raises InvalidArgument for what that form refuses."""
    return RECIPIENTS[recipient](draft)


def _nca(draft: Draft) -> RenderedReport:
    """Under the headings of Schedule 1 of SI 2025/368. These regulations were revoked and made anew as SI 2026/268, in
    force from 7 April 2026, whose schedule was not at hand: a person compares the headings before filing.
    """
    out = OmissionTracker(draft)
    reporter, incident, subject = draft.reporter, draft.incident, draft.subject
    out.takes("reporter", "incident", "subject", "files", "note", "declaration", "case", "created")
    for field in ("c3p_provider_id", "company_text", "terms"):
        out.drops(f"reporter.{field}", "it belongs to another recipient's report")
    for number, file in enumerate(draft.files):
        for field in ("classification", "annotations", "relevance"):
            if getattr(file, field):
                out.drops(f"files[{number}].{field}", "it is in NCMEC's words; say it in `note` in your own")
    for number, _ in enumerate(incident.annotations):
        out.drops(f"incident.annotations[{number}]", "it is in NCMEC's words; say it in the description in your own")
    out.drops("incident.type", "it is in NCMEC's words; say it in the description in your own")
    value = {
        "draft": NOT_FILED,
        "authorised_person": _full(
            {
                "organisation": reporter.nca_organisation,
                "company": reporter.company,
                "service": reporter.platform,
                "first_name": reporter.first_name,
                "last_name": reporter.last_name,
                "email": reporter.email,
                "country": reporter.country,
                "legal_url": reporter.legal_url,
            }
        ),
        "detected_content": [_file(file) for file in draft.files],
        "further_content_information": _full(
            {
                "time": zoned(incident.time),
                "description": incident.description,
                "urls": list(incident.urls),
                "urgent_because": incident.urgent,
            }
        ),
        "user_information": _full(msgspec.to_builtins(subject)),
        "identity_documents": [],
        "other_information": _full({"note": draft.note, "case": draft.case, "written": zoned(draft.created)}),
        "completeness_declaration": draft.declaration,
    }
    missing = [
        *([] if draft.declaration else ["declaration: that all information reasonably available is included"]),
        *([] if reporter.nca_organisation else ["reporter.nca_organisation: your registration with the NCA"]),
        *([] if reporter.email else ["reporter.email: who submits the report"]),
        "identity documents: hashhub holds none; add what you hold",
        "the headings are those of SI 2025/368; compare them with SI 2026/268, which took its place",
    ]
    return RenderedReport(
        files={"nca-report.draft.json": _json(value)}, dropped=out.dropped(""), missing=tuple(missing)
    )


def _c3p(draft: Draft) -> RenderedReport:
    """Only Internet addresses, SOR/2011-292 section 3."""
    out = OmissionTracker(draft)
    addresses: dict[str, None] = {}
    for number, url in enumerate(draft.incident.urls):
        if _is_address(url):
            addresses[url] = None
            out.takes(f"incident.urls[{number}]")
        else:
            out.drops(f"incident.urls[{number}]", "it is no URL or IP address")
    for number, file in enumerate(draft.files):
        if _is_address(file.url):
            addresses[file.url] = None
            out.takes(f"files[{number}].url")
    out.takes("reporter.c3p_provider_id")
    value = {
        "draft": NOT_FILED,
        "provider_id": draft.reporter.c3p_provider_id,
        "internet_addresses": list(addresses),
    }
    missing = [
        *([] if draft.reporter.c3p_provider_id else ["reporter.c3p_provider_id: the identifier that C3P gave you"]),
        *([] if addresses else ["incident.urls: the Internet addresses where the material may be available"]),
        "the police are notified separately, with what they ask for",
    ]
    return RenderedReport(
        files={"c3p-report.draft.json": _json(value)},
        dropped=out.dropped("the designated organisation takes Internet addresses only"),
        missing=tuple(missing),
    )


def _hotline(draft: Draft) -> RenderedReport:
    """URL, time, type and a comment: what hotlines ask for. Nothing of the person who uploaded."""
    out = OmissionTracker(draft)
    out.takes("incident.time", "incident.urls", "incident.description", "reporter.email", "reporter.company", "note")
    reports = []
    for number, file in enumerate(draft.files):
        out.takes(*(f"files[{number}].{field}" for field in ("url", "time", "media_type")))
        reports.append(_full({"url": file.url, "time": zoned(file.time), "media_type": file.media_type}))
    value = {
        "draft": NOT_FILED,
        "urls": list(draft.incident.urls),
        "time": zoned(draft.incident.time),
        "files": reports,
        "comment": draft.incident.description,
        "note": draft.note,
        "reporter": _full({"company": draft.reporter.company, "email": draft.reporter.email}),
    }
    lines = [
        NOT_FILED,
        "",
        "Suspected child sexual abuse material, reported to a hotline.",
        "",
        f"Time: {draft.incident.time.astimezone(UTC).isoformat()}",
        *(f"Address: {url}" for url in draft.incident.urls),
        *(f"File: {f.url or '(no address)'}, uploaded {zoned(f.time)}, {f.media_type or 'type unknown'}"
          for f in draft.files),
        *(["", "Comment:", draft.incident.description] if draft.incident.description else []),
        *(["", "Note:", draft.note] if draft.note else []),
        "",
        f"Reported by: {draft.reporter.company or '(anonymous)'} {draft.reporter.email}".rstrip(),
        "",
    ]  # fmt: skip
    has_address = bool(draft.incident.urls) or any(f.url for f in draft.files)
    return RenderedReport(
        files={"hotline-report.draft.json": _json(value), "hotline-report.draft.txt": "\n".join(lines).encode()},
        dropped=out.dropped("hotlines take addresses, times and comments; the police take the rest"),
        missing=() if has_address else ("incident.urls: a hotline can look only at an address",),
    )


RECIPIENTS: Final[dict[Recipient, Callable[[Draft], RenderedReport]]] = {
    Recipient.NCMEC: ncmec.render,
    Recipient.NCA: _nca,
    Recipient.C3P: _c3p,
    Recipient.HOTLINE: _hotline,
}


def _file(file: ReportedFile) -> Any:
    return _full(
        {
            "reference": file.reference,
            "file_name": file.file_name,
            "upload_id": file.upload_id,
            "uploaded": zoned(file.time),
            "location": file.url,
            "media_type": file.media_type,
            "size_bytes": file.size_bytes or None,  # of hashes alone nobody knows it
            "hashes": [h.text for h in file.hashes],
            "recognised_by": msgspec.to_builtins(file.seen),
            "viewed_by_person": file.viewed,
            "exif_viewed_by_person": file.exif_viewed,
            "publicly_available": file.public,
            "note": file.note,
        }
    )


def _full(value: Any) -> Any:
    """Return what is said, in parts as well: an empty text and a missing value say nothing."""
    match value:
        case dict():
            parts = ((key, _full(part)) for key, part in value.items())
            return {key: part for key, part in parts if part is not None and part not in ("", [])}
        case list() | tuple():
            return [_full(part) for part in value]
    return value


def _is_address(text: str) -> bool:
    if re.fullmatch(r"https?://[^\s/?#]+[^\s]*", text):
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
