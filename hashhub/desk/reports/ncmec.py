"""NCMEC's CyberTipline: `report` as XML, and one `fileDetails` for each file.

Source: CyberTipline Reporting API, documentation of 2025-06-11 and its schema. The order of elements is enforced there;
flags may only be true; a time needs a zone, which the schema does not ask for and the service does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from hashhub.desk.reports.draft import (
    NOT_FILED,
    Draft,
    FileAnnotation,
    IncidentType,
    IpEvent,
    OmissionTracker,
    Relevance,
    RenderedReport,
    ReportedFile,
    zoned,
)
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash, is_exact

Node: TypeAlias = "tuple[str, dict[str, str], str | list[Node]]"

_MOST_URGENT: Final = 3_000  # characters of escalateToHighPriority
_MOST_HASHES: Final = 64  # originalFileHash of one file
_NOT_ASKED: Final = "the CyberTipline has no place for it"


def render(draft: Draft) -> RenderedReport:
    """Return the report and the details of its files. Raises InvalidArgument for what the schema would refuse."""
    out = OmissionTracker(draft)
    if draft.incident.type is None:
        names = "; ".join(IncidentType)
        raise InvalidArgument.field("incident.type", f"NCMEC takes no report without one; state which it is: {names}")
    if not draft.reporter.email:
        raise InvalidArgument.field("reporter.email", "NCMEC takes no report without it; set it in the settings")
    files = {"ncmec-report.draft.xml": _document([("report", {}, _report(draft, out))])}
    for number, file in enumerate(draft.files):
        details = _details(number, file, out, industry_mou=draft.reporter.industry_mou)
        files[f"ncmec-file-{number + 1}.draft.xml"] = _document([("fileDetails", {}, details)])
    missing = (
        "reportId and fileId: 0 until whoever files the report has opened it and sent the file",
        *(
            f"files.{file.reference}.viewed: whether a person at the company looked at the file, if one states it"
            for file in draft.files
            if file.viewed is None
        ),
    )
    return RenderedReport(files=files, dropped=out.dropped(_NOT_ASKED), missing=missing)


def _report(draft: Draft, out: OmissionTracker) -> list[Node]:
    incident, reporter = draft.incident, draft.reporter
    if len(incident.urgent) > _MOST_URGENT:
        raise InvalidArgument.field("incident.urgent", f"must have at most {_MOST_URGENT} characters for NCMEC")
    out.takes("incident.type", "incident.urgent", "incident.time", "incident.description", "note")
    out.takes("incident.annotations", "incident.urls", "reporter.platform")
    summary: list[Node] = [
        *_text("incidentType", incident.type or ""),
        *_text("platform", reporter.platform),
        *_text("escalateToHighPriority", incident.urgent),
    ]
    if incident.annotations:
        flags = dict.fromkeys(incident.annotations)
        summary.append(("reportAnnotations", {}, [(a, {}, "true") for a in flags]))
    summary += [
        *_text("incidentDateTime", zoned(incident.time)),
        *_text("incidentDateTimeDescription", incident.description),
    ]
    report: list[Node] = [("incidentSummary", {}, summary)]
    if incident.urls:
        report.append(("internetDetails", {}, [("webPageIncident", {}, [("url", {}, url) for url in incident.urls])]))
    out.takes("reporter.first_name", "reporter.last_name", "reporter.email", "reporter.company_text")
    out.takes("reporter.terms", "reporter.legal_url")
    person: list[Node] = [
        *_text("firstName", reporter.first_name),
        *_text("lastName", reporter.last_name),
        *_text("email", reporter.email),
    ]
    by: list[Node] = [
        ("reportingPerson", {}, person),
        *_text("companyTemplate", reporter.company_text),
        *_text("termsOfService", reporter.terms),
        *_text("legalURL", reporter.legal_url),
    ]
    report.append(("reporter", {}, by))
    if subject := list(_subject(draft, out)):
        report.append(("personOrUserReported", {}, subject))
    report += _text("additionalInfo", draft.note)
    return report


def _subject(draft: Draft, out: OmissionTracker) -> Iterator[Node]:
    subject = draft.subject
    out.takes("subject")
    person: list[Node] = [
        *_text("firstName", subject.first_name),
        *_text("lastName", subject.last_name),
        *(("email", {}, email) for email in subject.emails if email),
    ]
    if person:
        yield "personOrUserReportedPerson", {}, person
    yield from _text("espIdentifier", subject.account_id)
    yield from _text("screenName", subject.screen_name)
    yield from (("displayName", {}, name) for name in subject.display_names if name)
    yield from (("profileUrl", {}, url) for url in subject.profile_urls if url)
    yield from (_ip_event(event) for event in subject.ip_events)


def _ip_event(event: IpEvent) -> Node:
    parts = [
        *_text("ipAddress", event.address),
        *_text("eventName", event.kind),
        *_text("dateTime", zoned(event.time) if event.time else ""),
        *_text("port", str(event.port) if event.port is not None else ""),
    ]
    return "ipCaptureEvent", {}, parts


def _details(number: int, file: ReportedFile, out: OmissionTracker, *, industry_mou: bool) -> list[Node]:
    at = f"files[{number}]"
    for field in ("file_name", "upload_id", "time", "url", "viewed", "exif_viewed", "public", "relevance", "note"):
        out.takes(f"{at}.{field}")
    details: list[Node] = [
        # Both are known once the report was opened and the file was sent, which hashhub does not do.
        ("reportId", {}, "0"),
        ("fileId", {}, "0"),
        *_text("originalFileName", file.file_name),
        *_text("uploadedToEspTimestamp", zoned(file.time)),
        *_text("locationOfFile", file.url),
        *_boolean("fileViewedByEsp", file.viewed),
        *_boolean("exifViewedByEsp", file.exif_viewed),
        *_boolean("publiclyAvailable", file.public),
        *_text("fileRelevance", file.relevance),
    ]
    is_reported = file.relevance is Relevance.REPORTED
    annotations = [a for a in dict.fromkeys(file.annotations) if is_reported or a is not FileAnnotation.POTENTIAL_MEME]
    for i, annotation in enumerate(file.annotations):
        if annotation in annotations:
            out.takes(f"{at}.annotations[{i}]")
        else:
            out.drops(f"{at}.annotations[{i}]", "only a file of the relevance Reported may be a potential meme")
    if annotations:
        details.append(("fileAnnotations", {}, [(a, {}, "true") for a in annotations]))
    if file.classification is not None:
        if not industry_mou:
            out.drops(
                f"{at}.classification",
                "only companies that signed NCMEC's industry memorandum classify (reporter.industry_mou)",
            )
        elif not is_reported:
            out.drops(f"{at}.classification", "only a file of the relevance Reported may be classified")
        else:
            out.takes(f"{at}.classification")
            details += _text("industryClassification", file.classification)
    details += _hashes(at, file, out)
    lists = [f"{s.hash_set} by {s.algorithm} at distance {s.distance}" for s in file.seen]
    if lists:
        out.takes(f"{at}.seen")
        details.append(("additionalInfo", {}, f"Recognised by: {'; '.join(lists)}"))
    # The app's own name for an upload is not what its file was called.
    details += _text("additionalInfo", f"Upload in our records: {file.upload_id}" if file.upload_id else "")
    details += _text("additionalInfo", file.note)
    return details


def _hashes(at: str, file: ReportedFile, out: OmissionTracker) -> Iterator[Node]:
    exact: list[Hash] = []
    perceptual: list[Hash] = []
    for i, h in enumerate(file.hashes):
        if is_exact(h.algorithm) and len(exact) < _MOST_HASHES:
            exact.append(h)
        elif is_exact(h.algorithm):
            out.drops(f"{at}.hashes[{i}]", f"a file has at most {_MOST_HASHES} originalFileHash")
            continue
        else:
            perceptual.append(h)
        out.takes(f"{at}.hashes[{i}]")
    for h in exact:
        yield "originalFileHash", {"hashType": h.algorithm}, h.digest.hex()
    if perceptual:
        pairs: list[Node] = [
            ("nameValuePair", {}, [("name", {}, h.algorithm), ("value", {}, h.text.partition(":")[2])])
            for h in perceptual
        ]
        yield "details", {"type": "HASH"}, pairs


def _text(name: str, value: str) -> Iterator[Node]:
    if value:
        yield name, {}, str(value)


def _boolean(name: str, value: bool | None) -> Iterator[Node]:  # noqa: FBT001 - it is the value
    if value is not None:
        yield name, {}, "true" if value else "false"


def _document(nodes: list[Node]) -> bytes:
    head = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {NOT_FILED}. A person checks it and files it, or does not. -->\n'
    )
    return (head + "".join(_xml(node, "") for node in nodes)).encode("utf-8")


def _xml(node: Node, indent: str) -> str:
    name, attributes, content = node
    start = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
    if isinstance(content, str):
        return f"{indent}<{name}{start}>{_escaped(content)}</{name}>\n"
    inner = "".join(_xml(child, f"{indent}  ") for child in content)
    return f"{indent}<{name}{start}>\n{inner}{indent}</{name}>\n"


def _escaped(text: str) -> str:
    return escape(text, {'"': "&quot;"})
