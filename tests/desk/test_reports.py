"""Drafts: valid whatever the record holds, silent about what nobody stated, and open about what they leave out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xmlschema
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.cli import main
from hashhub.desk.decision import Decision, DecisionRecord
from hashhub.desk.records import Records
from hashhub.desk.reports.assembly import gather
from hashhub.desk.reports.draft import (
    NOT_FILED,
    Annotation,
    ContentView,
    Draft,
    FileAnnotation,
    Incident,
    IncidentType,
    IndustryClassification,
    IpEvent,
    IpEventKind,
    Relevance,
    RenderedReport,
    ReportedFile,
    Subject,
    said,
)
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.desk.settings import ReporterSettings
from hashhub.errors import InvalidArgument, NotFound
from hashhub.hashes import ALGORITHMS, Hash, is_exact
from hashhub.hook import Action
from hashhub.model import ReasonLine, Verdict
from tests.examples import examples

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("cybertip.xsd"))
GOLDEN = Path(__file__).with_name("golden")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_allowed = st.characters(
    exclude_categories=("Cs", "Cc"),
    exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"
    + "".join(map(chr, range(0xFDD0, 0xFDF0))),
) | st.sampled_from("\n\t&<>\"']]>-")
texts = st.text(_allowed, max_size=40)
few = st.lists(texts.filter(bool), max_size=2).map(tuple)
times = st.datetimes(
    datetime(2000, 1, 1), datetime(2040, 1, 1),  # noqa: DTZ001 - the zone comes from the next line
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]),
)  # fmt: skip
hashes = st.builds(
    lambda name, byte: Hash(name, bytes([byte]) * ALGORITHMS[name].digest_bytes),
    st.sampled_from(["MD5", "SHA1", "SHA256", "PDQ", "PHASH"]),
    st.integers(1, 254),
)


@st.composite
def reported(draw: st.DrawFn) -> ReportedFile:
    viewed = draw(st.sampled_from([None, True, False]))
    return ReportedFile(
        reference=draw(st.text("0123456789abcdef", min_size=20, max_size=20)),
        time=draw(times),
        upload_id=draw(texts),
        file_name=draw(texts),
        url=draw(texts),
        media_type="image/jpeg",
        size_bytes=draw(st.integers(0, 10)),
        hashes=tuple(draw(st.lists(hashes, max_size=70, unique=True))),
        seen=draw(st.sampled_from([(), (ContentView(hash_set="a/b", algorithm="PDQ", distance=3),)])),
        viewed=viewed,
        exif_viewed=draw(st.sampled_from([None, True, False])) if viewed else None,
        public=draw(st.sampled_from([None, True, False])),
        relevance=draw(st.sampled_from(Relevance)),
        classification=draw(st.sampled_from([None, *IndustryClassification])),
        annotations=draw(st.lists(st.sampled_from(FileAnnotation), max_size=3).map(tuple)),
        note=draw(texts),
    )


drafts = st.builds(
    Draft,
    created=times,
    reporter=st.builds(
        ReporterSettings, company=texts, platform=texts, first_name=texts, last_name=texts, email=texts.filter(bool),
        country=texts, legal_url=texts, company_text=texts, terms=texts, c3p_provider_id=texts, nca_organisation=texts,
        industry_mou=st.booleans(),
    ),
    incident=st.builds(
        Incident, time=times, type=st.sampled_from(IncidentType), description=texts, urls=few, urgent=texts,
        annotations=st.lists(st.sampled_from(Annotation), max_size=3).map(tuple),
    ),
    files=st.lists(reported(), min_size=1, max_size=2).map(tuple),
    subject=st.builds(
        Subject, account_id=texts, screen_name=texts, display_names=few, profile_urls=few, first_name=texts,
        last_name=texts, emails=few,
        ip_events=st.lists(
            st.builds(
                IpEvent, address=st.ip_addresses().map(str), time=st.none() | times,
                kind=st.sampled_from(IpEventKind), port=st.none() | st.integers(0, 65_535),
            ),
            max_size=2,
        ).map(tuple),
    ),
    note=texts, declaration=texts, case=texts,
)  # fmt: skip


class TestNCMEC:
    @given(draft=drafts)
    @settings(max_examples=examples(30), deadline=None)
    def test_it_is_valid_and_in_order_whatever_the_record_holds(self, draft: Draft) -> None:
        rendered = render(draft, Recipient.NCMEC)
        assert len(rendered.files) == 1 + len(draft.files)
        for name, content in rendered.files.items():
            SCHEMA.validate(content.decode())
            assert content.splitlines()[1].startswith(f"<!-- {NOT_FILED}".encode()), name
        for number, file in enumerate(draft.files):
            text = rendered.files[f"ncmec-file-{number + 1}.draft.xml"].decode()
            assert ("<fileViewedByEsp>" in text) == (file.viewed is not None)
            assert ("<exifViewedByEsp>" in text) == (file.exif_viewed is not None)
            assert ("<industryClassification>" in text) == (
                draft.reporter.industry_mou and file.classification is not None and file.relevance is Relevance.REPORTED
            )
            if file.relevance is Relevance.SUPPLEMENTAL:
                assert "potentialMeme" not in text
            assert ">false</infant>" not in text

    def test_the_schema_of_these_tests_refuses_what_the_service_refuses(self) -> None:
        good = render(_draft(), Recipient.NCMEC).files["ncmec-report.draft.xml"].decode()
        SCHEMA.validate(good)
        for wrong in (
            good.replace("2026-01-02T03:04:05Z", "2026-01-02T03:04:05"),
            good.replace("Child Sex Tourism", "child sex tourism"),
            re.sub(r"( *<platform>.*</platform>\n)([^!]*?)( *<incidentDateTime>.*\n)", r"\2\3\1", good),
        ):
            assert wrong != good
            with pytest.raises(xmlschema.XMLSchemaException):
                SCHEMA.validate(wrong)

    @pytest.mark.parametrize("lacking", ["type", "email"])
    def test_it_says_what_it_cannot_be_drafted_without(self, lacking: str) -> None:
        draft = _draft()
        if lacking == "type":
            draft = msgspec.structs.replace(draft, incident=Incident(time=AT))
        else:
            draft = msgspec.structs.replace(draft, reporter=ReporterSettings())
        with pytest.raises(InvalidArgument, match=lacking):
            render(draft, Recipient.NCMEC)

    def test_it_is_as_it_was(self) -> None:
        rendered = render(_draft(), Recipient.NCMEC)
        for name, content in rendered.files.items():
            assert content == (GOLDEN / name).read_bytes(), name


def _leaves(rendered: RenderedReport) -> str:
    return "\n".join(content.decode() for content in rendered.files.values())


@given(draft=drafts, recipient=st.sampled_from(Recipient))
@settings(max_examples=examples(50), deadline=None)
def test_whatever_is_said_stands_in_the_report_or_is_named_as_left_out(draft: Draft, recipient: Recipient) -> None:
    rendered = render(draft, recipient)
    dropped = {d.path for d in rendered.dropped}
    assert all(d.why for d in rendered.dropped)
    everything = _leaves(rendered)
    if recipient is Recipient.NCMEC:
        everything = _unescaped(everything)
    else:
        parts = [json.loads(c) for n, c in rendered.files.items() if n.endswith(".json")]
        everything = "\n".join(_strings(parts))
    for path, value in said(draft):
        if (
            path in dropped
            or path == "created"
            or (path.startswith("files") and path.endswith(("reference", "size_bytes")))
        ):
            continue
        wanted = str(value)
        if isinstance(value, datetime):
            wanted = value.isoformat().replace("+00:00", "Z")
        if isinstance(value, bool):
            wanted = str(value).lower()
        if ".hashes[" in path:
            wanted = wanted.partition(":")[2]
        assert wanted in everything, (path, recipient)


def _unescaped(text: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _strings(value: Any) -> list[str]:
    match value:
        case dict():
            return [s for v in value.values() for s in _strings(v)]
        case list():
            return [s for v in value for s in _strings(v)]
        case bool():
            return [str(value).lower()]
    return [str(value)]


@given(draft=drafts)
@settings(max_examples=examples(20), deadline=None)
def test_canada_gets_addresses_and_nothing_else(draft: Draft) -> None:
    [content] = render(draft, Recipient.C3P).files.values()
    value = json.loads(content)
    assert set(value) == {"draft", "provider_id", "internet_addresses"}
    assert set(value["internet_addresses"]) <= {*draft.incident.urls, *(f.url for f in draft.files)}


def test_a_hotline_gets_no_digest_and_no_account() -> None:
    everything = _leaves(render(_draft(), Recipient.HOTLINE))
    assert "https://example.invalid/1" in everything
    for digest in (h.digest.hex() for h in _draft().files[0].hashes):
        assert digest not in everything
    assert "account-7" not in everything
    assert "192.0.2.7" not in everything


def test_of_hashes_alone_no_size_is_claimed() -> None:
    draft = _draft()
    [file] = draft.files
    hashes_only = msgspec.structs.replace(draft, files=(msgspec.structs.replace(file, size_bytes=0),))
    sizes = [b"size_bytes" in content for content in render(hashes_only, Recipient.NCA).files.values()]
    assert not any(sizes)


@pytest.mark.parametrize("recipient", Recipient)
def test_each_draft_begins_with_what_it_is(recipient: Recipient) -> None:
    for name, content in render(_draft(), recipient).files.items():
        head = content.decode().splitlines()[:2]
        assert NOT_FILED in "".join(head), name
        assert ".draft." in name


def test_other_recipients_are_as_they_were() -> None:
    for recipient in (Recipient.NCA, Recipient.C3P, Recipient.HOTLINE):
        for name, content in render(_draft(), recipient).files.items():
            assert content == (GOLDEN / name).read_bytes(), name


@pytest.mark.parametrize("bad", ["a\x00b", "a\x1bb", "a\u202eb", "a\ud800b", "a\uffffb", "a\x85b"])
def test_control_characters_are_refused(bad: str) -> None:
    with pytest.raises(InvalidArgument, match=r"U\+"):
        Incident(time=AT, description=bad)
    with pytest.raises(InvalidArgument, match=r"U\+"):
        Subject(emails=("a@example.invalid", bad))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        Incident(time=AT.replace(tzinfo=None))


def test_who_has_seen_the_exif_has_opened_the_file() -> None:
    with pytest.raises(InvalidArgument, match="viewed = true"):
        ReportedFile(reference="a", time=AT, exif_viewed=True)
    with pytest.raises(InvalidArgument, match="viewed = true"):
        ReportedFile(reference="a", time=AT, viewed=False, exif_viewed=True)


def _draft() -> Draft:
    return Draft(
        created=AT,
        reporter=ReporterSettings(
            company="SYNTHETIC LTD", platform="Synthetic & Sons", first_name="Test", last_name="Person",
            email="reports@example.invalid", country="IE", company_text="Legal process: legal@example.invalid",
            c3p_provider_id="P-0", nca_organisation="SYNTHETIC LTD",
        ),
        incident=Incident(
            time=AT, type=IncidentType.CHILD_SEX_TOURISM, description="a <synthetic> incident",
            urls=("https://example.invalid/1",), annotations=(Annotation.SPAM,),
        ),
        files=(
            ReportedFile(
                reference="0123456789abcdef0123", time=AT, upload_id="post-1.jpg", media_type="image/jpeg",
                size_bytes=1234, url="https://example.invalid/1.jpg",
                hashes=(Hash("MD5", bytes(range(16))), Hash("PDQ", bytes(range(32)))),
                seen=(ContentView(hash_set="police-nl/known", algorithm="MD5", distance=0),),
                annotations=(FileAnnotation.GENERATIVE_AI,), classification=IndustryClassification.A1,
            ),
        ),
        subject=Subject(
            account_id="account-7", screen_name="somebody",
            ip_events=(IpEvent(address="192.0.2.7", time=AT, kind=IpEventKind.UPLOAD),),
        ),
        case="case-0123456789ab", note="SYNTHETIC", declaration="All that was at hand is in it.",
    )  # fmt: skip


def _keep(records: Records, reference: str, *, upload_id: str = "post-1", case: str = "", state: str = "HELD") -> None:
    """Keep an upload's record as the core does."""
    reasons = (ReasonLine(code="CASE_HOLD", clause=case, text="a copy"),) if case else ()
    checked = DecisionRecord(
        decision=Decision(action=Action.HOLD, verdict=Verdict.REVIEW, reasons=reasons, reference=reference),
        time=AT,
        door="api",
        upload_id=upload_id,
        size_bytes=7,
        media_type="image/jpeg",
        hashes=(Hash("MD5", bytes(range(16))), Hash("PDQ", bytes(range(32)))),
    )
    records.write(
        "INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?)",
        (reference, AT.isoformat(), state, "api", upload_id, msgspec.msgpack.encode(checked)),
    )


class TestGather:
    def test_records_and_facts_come_together(self, records: Records) -> None:
        _keep(records, "aa")
        draft = gather(
            records,
            ["aa"],
            reporter=ReporterSettings(company="C"),
            facts='[incident]\ntype = "Child Sex Tourism"\n[files.aa]\nviewed = true\n[[subject.ip_events]]\n'
            'address = "192.0.2.1"\nkind = "Upload"\n',
        )
        assert draft.files[0].hashes[0].algorithm == "MD5"
        assert draft.files[0].viewed is True
        assert draft.incident.time == AT
        assert draft.subject.ip_events[0].kind is IpEventKind.UPLOAD

    def test_facts_that_were_written_on_windows_are_read(self, records: Records) -> None:
        _keep(records, "aa")
        draft = gather(records, ["aa"], reporter=ReporterSettings(), facts='\ufeffnote = """\r\none\r\ntwo"""\r\n')
        assert draft.note == "one\ntwo"

    def test_nothing_is_stated_by_itself(self, records: Records) -> None:
        _keep(records, "aa")
        [file] = gather(records, ["aa"], reporter=ReporterSettings()).files
        assert (file.viewed, file.exif_viewed, file.public, file.classification) == (None, None, None, None)

    def test_an_uploader_cannot_prevent_the_report_by_a_name(self, records: Records) -> None:
        _keep(records, "aa", upload_id="x\x00\x1b[2J\u202e" + "y" * 5000)
        draft = gather(records, ["aa"], reporter=ReporterSettings(email="a@example.invalid"),
                       facts='[incident]\ntype = "Child Sex Tourism"')  # fmt: skip
        for content in render(draft, Recipient.NCMEC).files.values():
            SCHEMA.validate(content.decode())

    @pytest.mark.parametrize(
        "facts",
        [
            "[incident",
            "[other]\na = 1",
            "[files.bb]\nviewed = true",
            "[files.aa]\nhashes = []",
            "[files.aa]\nviewed = 7",
            "[incident]\ntype = 'Something'",
            "[incident]\ntime = 2026-01-01T00:00:00",
            "[subject]\nnickname = 'x'",
            "files = 3",
            "[[files]]\nviewed = true",
            "incident = 'a chat'",
            "[[incident]]\ndescription = 'a chat'",
            "subject = 7",
            "note = ['a chat']",
            "declaration = true",
        ],
    )
    def test_facts_that_cannot_be_are_refused(self, records: Records, facts: str) -> None:
        _keep(records, "aa")
        with pytest.raises(InvalidArgument):
            gather(records, ["aa"], reporter=ReporterSettings(), facts=facts)

    def test_a_case_stands_for_what_it_stopped(self, records: Records) -> None:
        _keep(records, "aa", case="case-1")
        _keep(records, "bb", case="case-2")
        draft = gather(records, ["case-1"], reporter=ReporterSettings())
        assert [f.reference for f in draft.files] == ["aa"]
        with pytest.raises(NotFound):
            gather(records, ["case-3"], reporter=ReporterSettings())
        with pytest.raises(NotFound):
            gather(records, ["cc"], reporter=ReporterSettings())


def test_the_command_writes_drafts_that_only_their_owner_reads(tmp_path: Path, records: Records) -> None:
    _keep(records, "aa")
    (tmp_path / "hook.toml").write_text(
        f'policy = "block"\ndata = "{tmp_path}/hook"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\n'
        'too_large = "hold"\nno_perceptual_hash = "allow"\n[reporter]\nemail = "a@example.invalid"\n'
    )
    (tmp_path / "facts.toml").write_text('[incident]\ntype = "Child Sex Tourism"\n')
    line = ["hook", "report", "draft", "aa", "--to", "ncmec", "--out", str(tmp_path / "out"), "--facts",
            str(tmp_path / "facts.toml"), "--settings", str(tmp_path / "hook.toml")]  # fmt: skip
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert NOT_FILED in done.output
    left_out = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    reasons = [line.partition(": ")[0] for line in left_out]
    assert len(reasons) == len(set(reasons)), "one line for each reason"
    assert any("the CyberTipline has no place for it" in line and "files[0].media_type" in line for line in left_out)
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["ncmec-file-1.draft.xml", "ncmec-report.draft.xml", "ncmec-report.dropped.json"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "out").iterdir())
    beside = json.loads((tmp_path / "out" / "ncmec-report.dropped.json").read_text())
    assert {"files[0].media_type"} <= {d["path"] for d in beside["dropped"]}
    assert [e.kind for e in records.events(subject="aa")] == ["REPORT_DRAFTED"]
    again = CliRunner().invoke(main, line)
    assert again.exit_code == 1
    assert "exists already; name another directory" in again.output


def test_nothing_in_drafts_reaches_a_network() -> None:
    package = Path(__file__).parents[2] / "hashhub/desk/reports"
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        for word in ("socket", "urllib", "httpx", "requests", "http.client", "grpc", "cybertip.org"):
            assert word not in text, f"{path.name}: {word}"


def test_exact_digests_come_as_original_hashes() -> None:
    text = render(_draft(), Recipient.NCMEC).files["ncmec-file-1.draft.xml"].decode()
    for h in _draft().files[0].hashes:
        if is_exact(h.algorithm):
            assert f'<originalFileHash hashType="{h.algorithm}">{h.digest.hex()}<' in text
        else:
            assert f"<name>{h.algorithm}</name>" in text
