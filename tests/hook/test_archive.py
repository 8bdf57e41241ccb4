"""What was uploaded before: everything is checked or said to be unread, and nothing is downloaded twice."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.cli.hook.scan_page import ObjectFindings
from hashhub.desk.cases.item import item_of
from hashhub.desk.cases.life import Cases
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.errors import Conflict, PermissionDenied, Unavailable
from hashhub.hashing import hash_media
from hashhub.hook import Action, Decision, Hook, HookSettings, NoAnswer, open_hook
from hashhub.hook.archive import ScannedObject, only_scan, scan_for_case, scan_memory, scan_storage, stored_in
from hashhub.hook.places import FolderPlace, S3Place, StoredObject, place_of
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    Effort,
    HashSet,
    Marking,
    Purpose,
    ReasonLine,
    Reliability,
    Verdict,
)
from tests.desk.cases.parts import opened
from tests.hashing.assets import MP4
from tests.hook.bucket_parts import Answers, Scene
from tests.hook.conftest import HELD, Listed, jpeg

if TYPE_CHECKING:
    from hashhub.hashing.pool import MediaPool

OLD = time.time() - 3600


class Archive:
    def __init__(self, scene: Scene, data: Path, hashers: MediaPool) -> None:
        self.scene = scene
        self.judge = Answers()
        self.hook = Hook(
            HookSettings(
                policy="block", without_answer=HELD, data=str(data), hashing_processes=1, max_bytes=100_000,
                bucket=scene.section, answer_seconds=20.0,  # a loaded machine is no reason for another answer
            ),
            judge=self.judge,
        )  # fmt: skip
        assert self.hook.hashing is not None
        self.hook.hashing.pool = hashers  # started once for all tests
        self.place = place_of(scene.section.quarantine, scene.section)

    def put(self, name: str, content: bytes) -> None:
        self.scene.upload(name, content)
        if self.scene.kind == "folder":
            os.utime(self.scene.root / "incoming" / name, (OLD, OLD))

    def scan(self) -> dict[str, ScannedObject]:
        with only_scan(self.hook.settings), scan_memory(self.hook.settings) as memory:
            scanned = {s.name: s for s in scan_storage(self.hook, self.place, memory=memory, jobs=2)}
            self.gone = memory.end(self.place.url, len(scanned))
            return scanned


@pytest.fixture
def archive(scene: Scene, tmp_path: Path, hashers: MediaPool, monkeypatch: pytest.MonkeyPatch) -> Archive:
    if scene.kind != "folder":
        monkeypatch.setattr("hashhub.scans.engine.YOUNG_SECONDS", -60.0)  # the store's objects are of this moment
    return Archive(scene, tmp_path / "data", hashers)


def test_every_object_is_checked_and_downloaded_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    known, unknown = jpeg(1, (96, 64)), jpeg(2, (96, 64))
    archive.judge.know(known)
    contents = {"a/known.jpg": known, "b.jpg": unknown, "cut.jpg": unknown[:500], "large": bytes(200_000)}
    for name, content in contents.items():
        archive.put(name, content)
    reads: list[str] = []
    place = type(archive.place)
    whole = place.read

    def counted(self: Any, stored: StoredObject) -> Iterator[bytes]:
        reads.append(stored.name)
        return whole(self, stored)

    monkeypatch.setattr(place, "read", counted)
    first = archive.scan()
    actions = {name: s.decision.action for name, s in first.items() if s.decision is not None}
    assert actions == {
        "a/known.jpg": Action.BLOCK, "b.jpg": Action.ALLOW, "cut.jpg": Action.HOLD, "large": Action.HOLD,
    }  # fmt: skip
    assert first["large"].decision is not None
    assert first["large"].decision.no_answer is NoAnswer.TOO_LARGE
    assert sorted(reads) == ["a/known.jpg", "b.jpg", "cut.jpg"]
    reads.clear()
    archive.judge.know(unknown)  # the lists have grown
    second = archive.scan()
    assert second["b.jpg"].decision is not None
    assert second["b.jpg"].decision.action is Action.BLOCK
    assert second["b.jpg"].is_remembered
    # What cannot be decoded, and what matched by its digests, was not hashed: there is nothing to remember.
    assert sorted(reads) == ["a/known.jpg", "cut.jpg"]
    archive.put("b.jpg", jpeg(3, (96, 64)))
    third = archive.scan()
    assert third["b.jpg"].decision is not None
    assert third["b.jpg"].decision.action is Action.ALLOW
    assert archive.scene.contents("incoming").keys() == contents.keys()  # nothing is moved


def test_a_scan_that_is_cut_short_is_continued(archive: Archive) -> None:
    for number in range(12):
        archive.put(f"{number:02}.jpg", jpeg(2, (96, 64)) + bytes([number]))
    with scan_memory(archive.hook.settings) as memory:
        cut = list(itertools.islice(scan_storage(archive.hook, archive.place, memory=memory, jobs=1), 7))
    rest = archive.scan()
    assert len(rest) == 12
    assert sum(s.is_remembered for s in rest.values()) >= len(cut) - 1  # the last is remembered after it is told


def test_a_hub_that_is_away_ends_the_scan_and_not_in_a_clean_report(archive: Archive) -> None:
    for number in range(30):
        archive.put(f"{number:02}.jpg", jpeg(2, (96, 64)) + bytes([number]))
    archive.judge.is_away = True
    with pytest.raises(Unavailable, match="did not answer"):
        archive.scan()
    assert archive.judge.asked <= 2 * (2 + 4)  # two misses done and four objects under way, each asked about twice
    archive.judge.is_away = False
    assert len(archive.scan()) == 30


def test_an_object_that_cannot_be_read_is_said_to_be_unread(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "denied.jpg"):
        archive.put(name, jpeg(2, (96, 64)))
    place = type(archive.place)
    whole = place.read

    def refusing(self: Any, stored: StoredObject) -> Iterator[bytes]:
        if stored.name == "denied.jpg":
            raise PermissionDenied("access is denied")
        return whole(self, stored)

    monkeypatch.setattr(place, "read", refusing)
    scanned = archive.scan()
    assert scanned["denied.jpg"].error is not None
    assert scanned["denied.jpg"].decision is None
    assert scanned["a.jpg"].decision is not None


def test_an_object_that_changes_while_it_is_read_is_not_taken_for_either(archive: Archive) -> None:
    content = jpeg(2, (96, 64))
    archive.put("a.jpg", content)
    stored = archive.place.look("a.jpg")
    assert stored is not None
    archive.put("a.jpg", jpeg(3, (96, 64)) + b"longer")
    with pytest.raises(Conflict):
        list(archive.place.read(stored))
    if isinstance(archive.place, FolderPlace):
        archive.put("b", bytes(3 << 20))
        stored = archive.place.look("b")
        assert stored is not None
        pieces = archive.place.read(stored)
        next(pieces)
        archive.put("b", bytes(5))
        with pytest.raises(Conflict):
            list(pieces)


def test_an_unchanged_object_is_one_upload_until_the_answer_changes(
    listed: Listed, make_settings: Callable[..., HookSettings], tmp_path: Path
) -> None:
    """Scans before and after what persons decide; and then another hub's entry, another file of the same name."""
    folder = tmp_path / "media"
    folder.mkdir()
    content = jpeg(41)
    (folder / "a.jpg").write_bytes(content)
    (folder / "cut.jpg").write_bytes(content[:900])
    (folder / "large").write_bytes(bytes(200_000))
    settings = make_settings(policy="any", max_bytes=100_000)
    place = FolderPlace(str(folder))

    def lists(contributor: str) -> None:
        listed.operator.create_contributor(
            Contributor(
                id=contributor,
                display_name=contributor,
                kind=ContributorKind.HOTLINE,
                jurisdiction="FR",
                reliability=Reliability.B,
            )
        )
        marking = Marking(tlp=TLP.GREEN)
        hash_set = HashSet(contributor=contributor, id="known", purpose=Purpose.CSAM, marking=marking)
        listed.operator.create_hash_set(hash_set)
        lines = "".join(f"{h.text}\n" for h in hash_media(content).hashes if h.algorithm == "MD5").encode()
        listed.operator.import_source(io.BytesIO(lines), hash_set=f"{contributor}/known", connector="hash-lines")

    def scan() -> dict[str, ScannedObject]:
        with open_hook(settings) as hook, scan_memory(settings) as memory:
            scanned = {s.name: s for s in scan_storage(hook, place, memory=memory, jobs=2)}
            memory.end(place.url, len(scanned))
            return scanned

    def decision(scanned: dict[str, ScannedObject], name: str = "a.jpg") -> Decision:
        given = scanned[name].decision
        assert given is not None
        return given

    lists("one-more")
    first, second = scan(), scan()
    assert decision(first).action is Action.BLOCK
    assert [s.decision and s.decision.reference for s in second.values()] == [
        decision(first, name).reference for name in second
    ]
    records = Records(Path(settings.data))
    queue = ReviewQueue(records, settings)
    rulings = Rulings(records, settings, queue=queue)
    assert records.count(UploadState.HELD, UploadState.BLOCKED) == 3  # what nobody could read, too
    recorded = len(records.events())
    reference = decision(first).reference
    rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="may stay")
    for _ in range(2):  # neither back in the queue nor allowed: it is said who has decided what
        after = scan()
        assert (decision(after).reference, decision(after).action) == (reference, Action.BLOCK)
        assert after["a.jpg"].state is UploadState.RELEASED
    assert queue.get(reference).state == "RELEASED"
    assert records.count(UploadState.BLOCKED) == 0
    assert [e.kind for e in records.events()[recorded:]] == ["upload.released"]
    assert sum(n for [n] in records.rows("SELECT count FROM tally WHERE door = 'scan' AND action = 'BLOCK'")) == 4
    lists("another-one")  # of which that person knew nothing
    after = scan()
    assert decision(after).reference != reference
    assert after["a.jpg"].state is UploadState.BLOCKED
    rulings.confirm(decision(after).reference, actor="ann")
    still_there = scan()
    assert decision(still_there).reference == decision(after).reference
    assert still_there["a.jpg"].state is UploadState.REMOVED
    (folder / "a.jpg").write_bytes(content + b"another file")  # which only PDQ would tell
    assert decision(scan()).action is Action.ALLOW
    (folder / "a.jpg").write_bytes(content)
    again = scan()
    assert again["a.jpg"].state is UploadState.BLOCKED
    assert decision(again).reference not in {reference, decision(after).reference}
    (Path(settings.data) / "scan.db").unlink()  # only a memory: without it nothing is missed, and recorded once more
    assert scan()["a.jpg"].state is UploadState.BLOCKED
    records.close()


def test_what_a_later_answer_released_is_not_said_to_be_released_by_a_person(
    listed: Listed, make_settings: Callable[..., HookSettings], tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "new.jpg").write_bytes(listed.unknown)
    records = Records(Path(make_settings().data))

    def scan(**changes: Any) -> ScannedObject:
        settings = make_settings(**changes)
        with open_hook(settings) as hook, scan_memory(settings) as memory:
            [scanned] = scan_storage(hook, FolderPlace(str(folder)), memory=memory, jobs=1)
        return scanned

    held = scan(hub="127.0.0.1:1")
    assert held.state is UploadState.UNANSWERED
    assert held.decision is not None
    recorded = records.get_upload(held.decision.reference)
    assert recorded is not None
    allowed = msgspec.structs.replace(recorded[1].decision, action=Action.ALLOW, verdict=Verdict.NO_MATCH)
    records.set_upload(UploadState.RELEASED, msgspec.structs.replace(recorded[1], decision=allowed))
    after = scan()
    assert after.decision is not None
    assert (after.decision.action, after.state) == (Action.ALLOW, None)
    records.close()


def test_a_case_is_looked_for_by_what_a_scan_has_hashed_and_beside_one(archive: Archive) -> None:
    content = jpeg(2, (96, 64))
    archive.put("a.jpg", content)
    settings = archive.hook.settings
    with only_scan(settings), scan_memory(settings) as memory:
        scanning = scan_storage(archive.hook, archive.place, memory=memory, jobs=1)
        for _ in scanning:
            pass
        memory.end(archive.place.url, 1)
        archive.put("b.jpg", content)
        records = Records(Path(settings.data))
        cases = Cases(records, settings.case)
        item = item_of(hash_media(content, effort=Effort.STANDARD))
        case = opened(cases, item).name
        look = partial(scan_for_case, settings, cases, case, place=archive.place.url, actor="ann")
        found = look(stored_in(archive.place, settings.max_bytes))
        assert (found.scan.copies, found.remembered) == (2, 1)
        assert look(stored_in(archive.place, settings.max_bytes)).remembered == 2
        records.close()
    rest = archive.scan()
    assert all(s.is_remembered for s in rest.values())  # and by a scan what a case has had hashed
    archive.scene.remove("incoming", "b.jpg")
    archive.scan()
    assert archive.gone == 1


def test_an_object_that_both_scans_look_at_is_in_the_queue_once(
    listed: Listed, make_settings: Callable[..., HookSettings], tmp_path: Path
) -> None:
    """The case has it hashed while the archive's scan records it."""
    folder = tmp_path / "media"
    folder.mkdir()
    path = folder / "a.jpg"
    path.write_bytes(listed.known)
    os.utime(path, (OLD, OLD))
    settings = make_settings()
    place = FolderPlace(str(folder))

    def scan() -> ScannedObject:
        with open_hook(settings) as hook, scan_memory(settings) as memory:
            [scanned] = scan_storage(hook, place, memory=memory, jobs=1)
            memory.end(place.url, 1)
            return scanned

    records = Records(Path(settings.data))
    cases = Cases(records, settings.case)
    case = opened(cases, item_of(hash_media(listed.known, effort=Effort.STANDARD))).name
    look = partial(scan_for_case, settings, cases, case, place=place.url, actor="ann")
    [stored] = stored_in(place, settings.max_bytes)
    read = stored.item
    assert not isinstance(read, str)
    scans: list[ScannedObject] = []

    def opened_beside_a_scan() -> IO[bytes]:
        scans.append(scan())
        return read()

    assert look([msgspec.structs.replace(stored, item=opened_beside_a_scan)]).scan.copies == 1
    scans.append(scan())
    assert {s.state for s in scans} == {UploadState.BLOCKED}
    assert records.count(UploadState.HELD, UploadState.BLOCKED) == 1
    [reference] = {s.decision.reference for s in scans if s.decision is not None}
    queued = ReviewQueue(records, settings).get(reference)
    # The first scan knew it by its digest and had no reason to decode it; the case had.
    assert {hit.algorithm for hit in queued.hits} == {"MD5", "PDQ"}
    assert [about.case for about in queued.cases] == [case]
    assert any(line.code.startswith("CASE_") for line in queued.reasons)
    assert [e.kind for e in queued.events] == ["upload.blocked", "upload.reasons_added"]
    assert scan().decision == scans[-1].decision
    assert records.count(UploadState.HELD, UploadState.BLOCKED) == 1
    # Another file in its place is no upload that was recorded.
    path.write_bytes(listed.known + b"another file")
    [stored] = stored_in(place, settings.max_bytes)
    look([stored])
    with scan_memory(settings) as memory:
        assert memory.recall(stored).reference == ""
    records.close()


def test_what_the_scan_of_the_archive_looked_at_in_part_is_so_for_a_case_as_well(
    archive: Archive, tmp_path: Path
) -> None:
    """They share a memory, and what one of them remembers is not looked at again by the other."""
    archive.put("moving.jpg", jpeg(7, (96, 64)) + MP4)
    archive.scan()
    settings = archive.hook.settings
    records = Records(tmp_path / "cases")
    cases = Cases(records, settings.case)
    case = opened(cases, item_of(hash_media(jpeg(8, (96, 64))))).name
    stored = stored_in(archive.place, settings.max_bytes)
    done = scan_for_case(settings, cases, case, stored, place=archive.place.url, actor="ann")
    assert (done.remembered, done.scan.partly) == (1, 1)
    [again] = archive.scan().values()
    assert again.is_remembered
    assert again.decision is not None
    assert "FRAMES_SKIPPED" in {line.code for line in again.decision.reasons}
    records.close()


def test_an_object_of_which_not_all_was_looked_at_is_decided_over_alike_in_each_scan(archive: Archive) -> None:
    archive.hook.settings = msgspec.structs.replace(archive.hook.settings, on_frames_skipped=Action.HOLD)
    archive.put("moving.jpg", jpeg(7, (96, 64)) + MP4)
    actions = [scanned.decision and scanned.decision.action for _ in range(3) for scanned in archive.scan().values()]
    assert actions == [Action.HOLD] * 3


def test_one_scan_at_a_time(archive: Archive) -> None:
    settings = archive.hook.settings
    with only_scan(settings), pytest.raises(Conflict), only_scan(settings):
        pass


def test_a_listing_is_read_as_it_comes(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten million objects a scan holds those that it is at."""
    archive.put("a.jpg", jpeg(2, (96, 64)))
    stored = archive.place.look("a.jpg")
    assert stored is not None
    listed = 0

    def endless(self: Any, below: str = "") -> Iterator[StoredObject]:
        nonlocal listed
        while True:
            listed += 1
            yield stored

    monkeypatch.setattr(type(archive.place), "objects", endless)
    scan = scan_storage(archive.hook, archive.place, jobs=2)
    assert len(list(itertools.islice(scan, 10))) == 10
    assert listed <= 10 + 2 * 2 + 1


def test_the_command_reports(listed: Listed, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "known.jpg").write_bytes(listed.known)
    (folder / "new.jpg").write_bytes(listed.unknown)
    (folder / "link").symlink_to(folder / "new.jpg")
    (tmp_path / "token").write_text(listed.token)
    settings = tmp_path / "hook.toml"
    settings.write_text(
        f'policy = "block"\nhub = "{listed.hub.address}"\ntoken_file = "{tmp_path / "token"}"\n'
        f'data = "{tmp_path / "data"}"\nhashing_processes = 1\nanswer_seconds = 20\n'
        '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\nno_perceptual_hash = "allow"\n'
    )
    command = ["hook", "scan", str(folder), "--settings", str(settings), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 3, done.output  # the link was not read
    assert "UNREAD  link" in done.output
    lines = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    actions = {line["name"]: line["decision"] and line["decision"]["action"] for line in lines}
    assert actions == {"known.jpg": "BLOCK", "new.jpg": "ALLOW", "link": None}
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["objects"], summary["counts"]) == (3, {"ALLOW": 1, "BLOCK": 1, "UNREAD": 1})
    assert summary["states"] == {"BLOCKED": 1}
    page = (tmp_path / "out/report.html").read_text("ascii")
    [reference] = [line["decision"]["reference"] for line in lines if line["name"] == "known.jpg"]
    [decided] = [line["decision"] for line in lines if line["name"] == "new.jpg"]
    for told in (reference, "known.jpg", "link", "is a link or no file", decided["policy"], listed.hub.address):
        assert told in page
    assert f"<td>{decided['revision']}</td>" in page
    assert all(f"{name}/known</td>" in page for name in ("police-nl", "hotline-de"))
    records = Records(tmp_path / "data")
    hook_settings = HookSettings(policy="block", without_answer=HELD)
    Rulings(records, hook_settings).release(reference, code=RulingCode.OTHER, actor="ann", comment="may stay")
    records.close()
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert f"BLOCK  {reference}  known.jpg" in done.output
    assert "a person has released it" in done.output
    assert "1 of them were released by a person" in done.output
    assert "a person has released it" in (tmp_path / "out/report.html").read_text("ascii")
    (folder / "link").unlink()
    done = CliRunner().invoke(main, [*command, "--fail-on-block"], catch_exceptions=False)
    assert done.exit_code == 1, done.output


def test_the_page_escapes_names_and_does_not_grow(make_settings: Callable[..., HookSettings]) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=y>\x1b[2J\u202e.jpg"
    line = ReasonLine(code="CLAUSE_MET", text=f"listed {hostile}", entries=tuple(f"a/b/{hostile}{n}" for n in range(9)))
    findings = ObjectFindings(f"s3://app/{hostile}", make_settings(policy="block"))

    def add(number: int) -> None:
        decision = Decision(
            action=Action.HOLD if number % 3 else Action.BLOCK,
            verdict=Verdict.REVIEW,
            reasons=(line, ReasonLine(code=f"CODE_{number}", entries=(f"x/{number}/y",))),
            reference=f"{number:020x}",
            policy=f"p@{number}",
            revision=number + 1,
        )
        given: dict[str, Any] = {
            "name": f"{number}{hostile}",
            "where": "",
            "state": UploadState.REMOVED if number % 2 else None,
        }
        if number % 5:
            findings.add(ScannedObject(**given, decision=decision))
        else:
            findings.add(ScannedObject(**given, error=PermissionDenied(hostile)))

    def size() -> int:
        return len(repr([vars(findings)[name] for name in ("hits", "unread", "codes", "lists", "counts")]))

    for number in range(8_000):
        add(number)
    before = size()
    for number in range(8_000, 16_000):
        add(number)
    assert size() < before + 1_000
    page = findings.page()
    page.encode("ascii", "xmlcharrefreplace")
    assert set(re.findall(r"<(\w+)", page)) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "svg", "desc", "text", "rect"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    }
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert page.count("The first 1,000 of") == 3
    assert "confirmed, and still there" in page
    assert "and 5 more" in page
    assert "0 to" not in page
    assert "2 to 16000" in page


def test_a_place_elsewhere_is_refused(scene: Scene) -> None:
    from hashhub.errors import InvalidArgument

    for where in ("http://example.com/x", "s3://", "gs://bucket/x"):
        with pytest.raises(InvalidArgument, match="place"):
            place_of(where, scene.section)
    assert isinstance(place_of("s3://b", scene.section), S3Place)


@pytest.mark.parametrize("scene", ["bucket"], indirect=True)
def test_what_a_reader_would_decode_into_other_bytes_is_said_to_be_unread(archive: Archive) -> None:
    scene = archive.scene
    content = gzip.compress(jpeg(1, (96, 64)))
    scene.app.put_object(Bucket=scene.bucket, Key="incoming/z.jpg", Body=content, ContentEncoding="gzip")
    scanned = archive.scan()["z.jpg"]
    assert scanned.decision is None
    assert scanned.error is not None
    assert "Content-Encoding" in scanned.error.message
