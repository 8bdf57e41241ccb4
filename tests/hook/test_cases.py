"""A report about one item: its copies are stopped at once, and nobody else's uploads are."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from hashhub.cli import main
from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, NotFound, PermissionDenied, Unavailable
from hashhub.hashes import Hash, parse
from hashhub.hashing import hash_media
from hashhub.hook import Action, open_hook
from hashhub.hook.case_judge import CaseIndex, CaseJudge, _Near
from hashhub.hook.case_scan import Stored, Unread, scan_for_case
from hashhub.hook.cases import (
    MOST_COPIES,
    Case,
    CaseOutcome,
    CasePurpose,
    Cases,
    CaseState,
    CopyState,
    Item,
    Scan,
    Standing,
    item_of,
    item_of_hashes,
    page,
    rules,
)
from hashhub.hook.judges import Judged
from hashhub.hook.records import Records
from hashhub.hook.settings import CaseSettings
from hashhub.model import (
    TLP,
    Effort,
    HashSet,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    ReasonLine,
    Role,
    Verdict,
    VideoFrame,
)
from hashhub.testing import videos
from hashhub.testing.pictures import picture
from hashhub.testing.videos import ALTERATIONS, Clip, clip
from tests.hook import bucket_server
from tests.hook.conftest import jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed, MakeHook

SEED = 41  # of the picture that is reported; on no list


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "hook")
    yield records
    records.close()


@pytest.fixture
def cases(records: Records) -> Cases:
    return Cases(records, CaseSettings())


@pytest.fixture(scope="module")
def item() -> Item:
    return item_of(hash_media(jpeg(SEED), dihedral=True, effort=Effort.STANDARD))


def opened(cases: Cases, item: Item, **given: Any) -> Case:
    usual: dict[str, Any] = {
        "purpose": CasePurpose.INTIMATE_IMAGE,
        "complaint": "T-1",
        "reason": "came by the form",
        "actor": "ann",
        "receive_time": datetime.now(UTC),
    }
    return cases.open(item, **usual | given)


def query(content: bytes) -> Query:
    return hash_media(content, effort=Effort.STANDARD).query()


@cache
def footage() -> Clip:
    return clip(77, seconds=6, size=(160, 120))


def filmed(video: Clip) -> bytes:
    return videos.encoded(video)


@cache
def film() -> bytes:
    return filmed(footage())


def still(video: Clip) -> bytes:
    """A picture out of a video: one of the frames that are hashed, larger."""
    return encoded(Image.fromarray(np.ascontiguousarray(video.frames[10])).resize((640, 480)))


def encoded(changed: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    changed.save(out, kind)
    return out.getvalue()


class TestCopies:
    @pytest.mark.parametrize(
        "changed",
        [
            jpeg(SEED),
            encoded(picture(SEED, (512, 384))),
            encoded(picture(SEED, (512, 384)).resize((400, 300))),
            encoded(ImageOps.mirror(picture(SEED, (512, 384)))),
            encoded(picture(SEED, (512, 384)).rotate(90, expand=True)),
            encoded(ImageOps.expand(picture(SEED, (512, 384)), border=60, fill="black")),
        ],
        ids=["itself", "encoded again", "smaller", "mirrored", "turned", "bordered"],
    )
    def test_what_is_the_same_or_nearly_is_hit(self, cases: Cases, item: Item, changed: bytes) -> None:
        case = opened(cases, item)
        assert [h.case for h in CaseIndex(cases).hits(query(changed))] == [case.name]

    def test_others_are_not(self, cases: Cases, item: Item) -> None:
        opened(cases, item)
        index = CaseIndex(cases)
        assert not any(index.hits(query(jpeg(seed))) for seed in range(100, 106))

    @pytest.mark.parametrize("bits", [31, 32])
    def test_the_distance_is_31_bits_inclusive(self, cases: Cases, item: Item, bits: int) -> None:
        opened(cases, item)
        pdq = next(h for h, variant in item.hashes if h.algorithm == "PDQ" and not variant)
        flipped = int.from_bytes(pdq.digest) ^ ((1 << bits) - 1)
        hits = CaseIndex(cases).hits(Query(hashes=(Hash("PDQ", flipped.to_bytes(32)),)))
        assert len(hits) == (bits <= 31)

    def test_a_flat_picture_stops_that_file_and_no_other_flat_one(self, cases: Cases) -> None:
        flat = encoded(Image.new("RGB", (300, 200), (200, 200, 200)))
        reported = item_of(hash_media(flat, dihedral=True, effort=Effort.STANDARD))
        case = opened(cases, reported)
        assert case.exact_only
        assert any("PDQ" in line for line in case.not_searched)
        index = CaseIndex(cases)
        assert index.hits(query(flat))
        for colour in ((200, 200, 201), (10, 10, 10), (255, 255, 255)):
            assert not index.hits(query(encoded(Image.new("RGB", (300, 200), colour))))

    @pytest.mark.parametrize(
        "texts",
        [
            ["MD5:d41d8cd98f00b204e9800998ecf8427e"],  # of no bytes
            ["PDQ:" + "00" * 32],
            ["PHOTODNA:" + "ab" * 144],
        ],
    )
    def test_a_hash_that_would_stop_strangers_opens_nothing(self, texts: list[str]) -> None:
        with pytest.raises(InvalidArgument, match="none of them can be looked for"):
            item_of_hashes([parse(*text.split(":")) for text in texts])

    def test_by_hashes_alone(self, cases: Cases) -> None:
        own = query(jpeg(SEED)).hashes
        case = opened(cases, item_of_hashes(own))
        assert CaseIndex(cases).hits(query(encoded(picture(SEED, (512, 384)))))[0].case == case.name
        assert any("PHASH" in line for line in case.not_searched)


class TestPicturesAndVideos:
    """A still taken from a video, and a video that shows a picture."""

    def test_a_video_that_shows_the_picture_of_a_case_is_held(self, cases: Cases) -> None:
        case = opened(cases, item_of(hash_media(still(footage()), dihedral=True, effort=Effort.STANDARD)))
        index = CaseIndex(cases)
        [hit] = index.hits(query(film()))
        assert (hit.case, hit.action, hit.algorithm, hit.variant) == (case.name, Action.HOLD, "PDQ", "frame")
        mirrored = footage()._replace(frames=[np.flip(frame, axis=1) for frame in footage().frames])
        assert index.hits(query(filmed(mirrored)))
        assert not index.hits(query(filmed(clip(78, seconds=6, size=(160, 120)))))
        cases.confirm(case.name, actor="bob", reason="looked")
        assert [h.action for h in index.hits(query(film()))] == [Action.HOLD], "the rest of it nobody has judged"
        assert [h.action for h in index.hits(query(still(footage())))] == [Action.BLOCK]

    def test_a_picture_out_of_the_video_of_a_case_is_held(self, cases: Cases) -> None:
        case = opened(cases, item_of(hash_media(film())))
        cases.confirm(case.name, actor="bob", reason="looked")
        index = CaseIndex(cases)
        for copy in (still(footage()), encoded(ImageOps.expand(Image.open(io.BytesIO(still(footage()))), 60, "black"))):
            [hit] = index.hits(query(copy))
            assert (hit.case, hit.action, hit.algorithm, hit.variant) == (case.name, Action.HOLD, "VPDQ", "frame")
        assert not index.hits(query(jpeg(7)))
        [whole] = index.hits(query(filmed(ALTERATIONS["scaled"](footage()))))
        assert (whole.action, whole.variant) == (Action.BLOCK, "")

    def test_a_whole_copy_is_told_before_a_nearer_part_of_one(self, cases: Cases) -> None:
        frames = hash_media(film()).video_frames
        pictured = Hash("PDQ", frames[2].digest)
        hashes = tuple((Hash("VPDQ", f.digest), "") for f in frames)
        case = opened(cases, Item(hashes=((pictured, ""), *hashes)))
        cases.confirm(case.name, actor="bob", reason="looked")
        [hit] = CaseIndex(cases).hits(Query(hashes=(), frames=frames))
        assert (hit.algorithm, hit.action) == ("VPDQ", Action.BLOCK)

    def test_black_and_flat_frames_meet_nothing(self, cases: Cases) -> None:
        """A video begins with black, and so do all others."""
        black, grey = (np.full((120, 160, 3), shade, np.uint8) for shade in (0, 128))
        dull = footage()._replace(frames=[*[black] * 20, *[grey] * 20])
        begins_black = footage()._replace(frames=[*dull.frames, *footage().frames])
        opened(cases, item_of(hash_media(filmed(begins_black))))
        other = clip(79, seconds=6, size=(160, 120))
        index = CaseIndex(cases)
        assert not index.hits(query(filmed(other._replace(frames=[*dull.frames, *other.frames]))))
        for frame in (black, grey):
            assert not index.hits(query(encoded(Image.fromarray(frame))))
        claimed = tuple(VideoFrame(i, 100, bytes(32)) for i in range(3))
        assert not index.hits(Query(hashes=(), frames=claimed)), "whatever quality is claimed of it"
        weak = [msgspec.structs.replace(f, quality=49) for f in hash_media(film()).video_frames]
        assert not index.hits(Query(hashes=(), frames=tuple(weak)))

    @pytest.mark.parametrize("bits", [31, 32])
    def test_frames_count_up_to_31_bits_inclusive(self, cases: Cases, bits: int) -> None:
        frames = hash_media(film()).video_frames
        opened(cases, Item(hashes=((Hash("PDQ", frames[0].digest), ""),)))
        far = int.from_bytes(frames[0].digest)
        for bit in Random(bits).sample(range(256), bits):
            far ^= 1 << bit
        shot = VideoFrame(0, 90, far.to_bytes(32))
        assert len(CaseIndex(cases).hits(Query(hashes=(), frames=(shot,)))) == (bits <= 31)

    def test_an_old_video_with_the_picture_in_it_is_listed_by_a_scan(
        self, tmp_path: Path, cases: Cases, make_settings: Callable[..., HookSettings]
    ) -> None:
        (tmp_path / "shown.mp4").write_bytes(film())
        (tmp_path / "still.png").write_bytes(still(footage()))
        (tmp_path / "other.mp4").write_bytes(filmed(clip(78, seconds=6, size=(160, 120))))
        pictured = opened(cases, item_of(hash_media(still(footage()))))
        recorded = opened(cases, item_of(hash_media(film())))
        paths = (tmp_path / name for name in ("other.mp4", "shown.mp4", "still.png"))
        stored = [
            Stored(path.name, "1", 0.0, lambda path=path: path.open("rb"))  # type: ignore[misc]
            for path in paths
        ]
        for case in (pictured, recorded):
            scan_for_case(make_settings(), cases, case.name, stored, place="archive", actor="ann")
            assert [copy.place for copy in cases.copies(case.name)] == ["shown.mp4", "still.png"]
        [shown, _] = cases.copies(pictured.name)
        assert shown.how.endswith("by its variant frame")

    def test_of_a_video_that_the_hub_hashed_it_is_not_known_whether_a_case_is_about_it(
        self, make_hook: MakeHook, make_settings: Callable[..., HookSettings], listed: Listed
    ) -> None:
        hook = make_hook(hashing="HUB", cache_seconds=60)
        other = filmed(clip(78, seconds=6, size=(160, 120)))
        assert hook.check(other).action is Action.ALLOW
        records = Records(Path(make_settings().data))
        cases = Cases(records, CaseSettings())
        very_file = opened(cases, item_of_hashes([parse("MD5", "ab" * 16)]))
        assert hook.check(other).action is Action.ALLOW, "the digests of a file are known"
        pictured = opened(cases, item_of(hash_media(still(footage()))))
        decision = hook.check(other)
        assert (decision.action, decision.verdict) == (Action.HOLD, Verdict.REVIEW)
        assert "CASES_UNREAD" in {line.code for line in decision.reasons}
        assert hook.check(listed.unknown).action is Action.ALLOW
        assert very_file.exact_only
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        records.write("UPDATE hook_case SET until = ?, change = change + 9 WHERE id = ?", (past, pictured.name))
        assert hook.check(other).action is Action.ALLOW, "nobody confirmed it in time, and nobody has noted that"
        records.close()


def test_frames_made_to_be_near_every_case_are_compared_in_bounded_memory() -> None:
    """Whoever uploads a video made to be near what he reported himself takes no more memory than anybody."""
    pdq = next(h for h in hash_media(jpeg(SEED)).hashes if h.algorithm == "PDQ").digest

    def near(number: int) -> bytes:
        flips = Random(number).sample(range(256), 15)
        return (int.from_bytes(pdq) ^ sum(1 << bit for bit in flips)).to_bytes(32)

    of_cases = _Near((f"case-{n // 20}", near(n)) for n in range(10_000))
    frames = [near(100_000 + n) for n in range(100)]
    tracemalloc.start()
    try:
        found_in = {name for name, _, _ in of_cases.nearest(frames)}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found_in) == 500
    assert peak < 250 << 20


class TestActions:
    def test_a_complaint_holds_and_a_person_blocks(self, cases: Cases, item: Item) -> None:
        case = opened(cases, item)
        assert case.action is Action.HOLD
        assert cases.confirm(case.name, actor="bob", reason="looked").action is Action.BLOCK
        assert cases.dispute(case.name, actor="bob", reason="a news photograph", by="U-7").action is Action.HOLD
        assert cases.close(case.name, CaseOutcome.REJECTED, actor="bob", reason="news").case.action is Action.ALLOW
        assert cases.hashes(case.name) == []
        assert not CaseIndex(cases).hits(query(jpeg(SEED)))

    def test_an_open_index_learns_of_every_step(self, cases: Cases, item: Item) -> None:
        index = CaseIndex(cases)
        known = query(jpeg(SEED))
        assert index.hits(known) == []
        case = opened(cases, item)
        assert [h.action for h in index.hits(known)] == [Action.HOLD]
        cases.confirm(case.name, actor="bob", reason="looked")
        assert [h.action for h in index.hits(known)] == [Action.BLOCK]
        cases.close(case.name, CaseOutcome.WITHDRAWN, actor="bob", reason="asked for")
        assert index.hits(known) == []

    def test_an_upheld_case_goes_on_stopping(self, cases: Cases, item: Item) -> None:
        case = opened(cases, item)
        cases.confirm(case.name, actor="bob", reason="looked")
        record = cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="gone", incomplete=True)
        assert not record.is_complete
        assert "nothing that was uploaded before was looked through" in record.missing
        assert [h.action for h in CaseIndex(cases).hits(query(jpeg(SEED)))] == [Action.BLOCK]

    def test_nobody_is_silenced_for_ever_by_a_complaint_that_nobody_reads(
        self, records: Records, cases: Cases, item: Item
    ) -> None:
        case = opened(cases, item)
        index = CaseIndex(cases)
        assert index.hits(query(jpeg(SEED)))
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        records.write("UPDATE hook_case SET until = ?, change = change + 1 WHERE id = ?", (past, case.name))
        assert not index.hits(query(jpeg(SEED))), "before anybody has noted it"
        assert not index.has_cases()
        assert not index.reads_frames()
        assert cases.get(case.name).state is CaseState.EXPIRED
        assert cases.hashes(case.name) == []
        assert [e.kind for e in records.events(subject=case.name)] == ["case.opened", "case.expired"]

    def test_who_may_work_on_cases(self, records: Records, item: Item) -> None:
        cases = Cases(records, CaseSettings(people=("ann", "bob"), two_persons=True))
        with pytest.raises(PermissionDenied):
            opened(cases, item, actor="mallory")
        case = opened(cases, item)
        with pytest.raises(PermissionDenied, match="another person"):
            cases.confirm(case.name, actor="ann", reason="mine")
        with pytest.raises(PermissionDenied):
            cases.confirm(case.name, actor="mallory", reason="theirs")
        assert cases.get(case.name).state is CaseState.OPEN
        cases.confirm(case.name, actor="bob", reason="looked")

    def test_a_flood_of_complaints_is_bounded(self, records: Records, item: Item) -> None:
        cases = Cases(records, CaseSettings(max_open=2))
        first = opened(cases, item)
        opened(cases, item)
        with pytest.raises(LimitExceeded, match="max_open"):
            opened(cases, item)
        cases.close(first.name, CaseOutcome.REJECTED, actor="ann", reason="no")
        opened(cases, item)

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"reason": " "}, "reason"),
            ({"reason": "a\x1b[2J"}, "reason"),
            ({"complaint": "x" * 201}, "complaint"),
            ({"receive_time": datetime(2026, 1, 1)}, "received"),  # noqa: DTZ001 - that is the fault
            ({"receive_time": datetime.now(UTC) + timedelta(days=1)}, "received"),
            ({"by_rules": ("none",)}, "rule"),
            ({"by_rules": ()}, "rule"),
            ({"by_rules": ("us-take-it-down",), "purpose": CasePurpose.CSAM}, "rule"),
        ],
    )
    def test_a_case_that_makes_no_sense_is_refused(
        self, records: Records, cases: Cases, item: Item, given: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidArgument, match=field):
            opened(cases, item, **given)
        assert records.events() == []

    def test_every_step_is_an_event_without_digests(self, records: Records, cases: Cases, item: Item) -> None:
        case = opened(cases, item, places=("https://example.invalid/1",))
        cases.confirm(case.name, actor="bob", reason="looked")
        cases.taken_down(case.name, (), actor="bob", reason="deleted")
        cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done", incomplete=True)
        events = records.events(subject=case.name)
        assert [(e.kind, e.actor) for e in events] == [
            ("case.opened", "ann"),
            ("case.confirmed", "bob"),
            ("case.copies_removed", "bob"),
            ("case.closed", "bob"),
        ]
        assert records.verify() == 4
        told = str(events) + page(cases.record(case.name))
        assert not any(h.digest.hex() in told for h, _ in item.hashes)


class Fixed:
    """A judge that answers always the same, or not at all."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def judge(self, query: Query) -> Judged:
        if self.verdict is None:
            raise Unavailable("the hub is away")
        return Judged(result=MatchResult(verdict=self.verdict, label=query.label), policy="block@1", revision=7)

    def revision(self) -> int:
        return 7

    def close(self) -> None:
        pass


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_case_makes_an_answer_no_milder_and_no_match(
    records: Records, cases: Cases, item: Item, make_settings: Callable[..., HookSettings], verdict: Verdict
) -> None:
    judge = CaseJudge(Fixed(verdict), records, make_settings())
    before = judge.judge(query(jpeg(SEED)))
    assert (before.result.verdict, before.at_least) == (verdict, Action.ALLOW)
    case = opened(cases, item)
    after = judge.judge(query(jpeg(SEED)))
    assert after.result.verdict is (Verdict.MATCH if verdict is Verdict.MATCH else Verdict.REVIEW)
    assert after.at_least is Action.HOLD
    assert [line.clause for line in after.result.reasons] == [case.name]
    assert judge.judge(query(jpeg(7))) == Fixed(verdict).judge(query(jpeg(7)))


class Saying(Fixed):
    """One verdict for all, with what a policy says of it."""

    def judge(self, query: Query) -> Judged:
        judged = super().judge(query)
        said = (ReasonLine(code="NO_ENTRY", text="no entry within the distance"),)
        return msgspec.structs.replace(judged, result=msgspec.structs.replace(judged.result, reasons=said))


def test_the_reason_that_decides_comes_first(
    make_hook: MakeHook, records: Records, cases: Cases, item: Item, make_settings: Callable[..., HookSettings]
) -> None:
    opened(cases, item)
    stopped = CaseJudge(Saying(Verdict.NO_MATCH), records, make_settings()).judge(query(jpeg(SEED)))
    assert [line.code for line in stopped.result.reasons] == ["CASE_HOLD", "NO_ENTRY"]
    listed = CaseJudge(Saying(Verdict.MATCH), records, make_settings()).judge(query(jpeg(SEED)))
    assert [line.code for line in listed.result.reasons] == ["NO_ENTRY", "CASE_HOLD"]
    hook = make_hook(judge=Saying(Verdict.NO_MATCH))
    unreadable, text = hook.check(jpeg(7)[:3000]), hook.check(b"a text")
    assert [line.code for line in unreadable.reasons] == ["UNREADABLE_MEDIA", "NO_ENTRY"]
    assert [line.code for line in text.reasons] == ["NO_ENTRY", "EXACT_ONLY"]  # it is allowed, because of the first


def test_the_choice_for_an_absent_hub_is_made_no_milder(
    records: Records, cases: Cases, item: Item, make_settings: Callable[..., HookSettings]
) -> None:
    from hashhub.hook import WithoutAnswer

    opened(cases, item)
    for choice in (Action.ALLOW, Action.HOLD, Action.BLOCK):
        chosen = WithoutAnswer(hub_away=choice, unreadable=choice, too_large=choice, no_perceptual_hash=choice)
        judge = CaseJudge(Fixed(None), records, make_settings(without_answer=chosen))
        judged = judge.judge(query(jpeg(SEED)))
        assert judged.at_least is (Action.BLOCK if choice is Action.BLOCK else Action.HOLD)
        with pytest.raises(Unavailable):
            judge.judge(query(jpeg(7)))


def test_cases_that_cannot_be_read_hold(
    records: Records, make_settings: Callable[..., HookSettings], item: Item, cases: Cases
) -> None:
    judge = CaseJudge(Fixed(Verdict.NO_MATCH), records, make_settings())
    with sqlite3.connect(Path(make_settings().data) / "hook.db") as db:
        db.execute("ALTER TABLE hook_case RENAME TO gone")
    judged = judge.judge(query(jpeg(7)))
    assert (judged.result.verdict, judged.at_least) == (Verdict.REVIEW, Action.HOLD)
    assert judged.result.reasons[0].code == "CASES_UNREAD"


def test_a_running_hook_stops_copies_at_once_and_with_the_hub_away(
    make_hook: MakeHook, make_settings: Callable[..., HookSettings], listed: Listed, item: Item
) -> None:
    hook = make_hook()
    copy = encoded(picture(SEED, (512, 384)))
    assert hook.check(copy).action is Action.ALLOW
    records = Records(Path(make_settings().data))  # as another process would
    cases = Cases(records, CaseSettings())
    case = opened(cases, item)
    held = hook.check(copy)
    assert (held.action, held.verdict) == (Action.HOLD, Verdict.REVIEW)
    cases.confirm(case.name, actor="bob", reason="looked")
    assert hook.check(copy).action is Action.BLOCK
    assert hook.check(listed.unknown).action is Action.ALLOW
    records.close()
    chosen = msgspec.structs.replace(make_settings().without_answer, hub_away=Action.ALLOW)
    settings = make_settings(hub="127.0.0.1:9", answer_seconds=0.2, without_answer=chosen)
    away = open_hook(settings)  # started again, without a hub
    try:
        # Until the processes that hash have started, nobody can look; what may be a copy is never let through.
        decision = away.check(copy)
        until = time.monotonic() + 180
        while decision.action is not Action.BLOCK and time.monotonic() < until:
            assert decision.action is Action.HOLD
            decision = away.check(copy)
        assert (decision.action, decision.reasons[0].clause) == (Action.BLOCK, case.name)
    finally:
        away.close()


class TestScan:
    def files(self, directory: Path) -> list[Stored | Unread]:
        def stored(path: Path) -> Stored:
            return Stored(str(path), str(path.stat().st_mtime_ns), 0.0, lambda: path.open("rb"))

        return [stored(path) for path in sorted(directory.iterdir())]

    def test_old_copies_are_listed_once_and_files_are_hashed_once(
        self, tmp_path: Path, cases: Cases, item: Item, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "copy.png").write_bytes(encoded(picture(SEED, (512, 384))))
        (archive / "other.jpg").write_bytes(jpeg(7))
        (archive / "text.txt").write_text("a text")
        (archive / "torn.jpg").write_bytes(jpeg(7)[:3000])
        case = opened(cases, item)

        def scan(name: str) -> Any:
            return scan_for_case(make_settings(), cases, name, self.files(archive), place="archive", actor="ann")

        first = scan(case.name)
        assert (first.scan.looked, first.scan.copies, first.new_copies, first.remembered) == (4, 1, 1, 0)
        assert [Path(u.place).name for u in first.unread] == ["torn.jpg"]
        again = scan(case.name)
        assert (again.scan.copies, again.new_copies, again.remembered) == (1, 0, 3)
        assert [c.state for c in cases.copies(case.name)] == [CopyState.THERE]
        cases.confirm(case.name, actor="bob", reason="looked")
        with pytest.raises(FailedPrecondition, match="1 copy is not recorded as removed"):
            cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        cases.taken_down(case.name, (), actor="bob", reason="deleted")
        with pytest.raises(FailedPrecondition, match="1 file could not be read"):
            cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        (archive / "torn.jpg").unlink()
        back = scan(case.name)
        assert back.new_copies == 1, "it was recorded as removed, and is there"
        (archive / "copy.png").unlink()
        scan(case.name)
        cases.taken_down(case.name, (), actor="bob", reason="deleted now")
        record = cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        assert record.is_complete
        assert [c.standing for c in record.case.clocks] == [Standing.MET]
        assert "Complete." in page(record)

    def test_a_scan_that_was_cut_off_goes_on(
        self, tmp_path: Path, cases: Cases, item: Item, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        for name, seed in (("a.jpg", SEED), ("b.jpg", 7), ("c.jpg", 8)):
            (archive / name).write_bytes(jpeg(seed))
        case = opened(cases, item)

        def cut() -> Iterator[Stored | Unread]:
            yield from self.files(archive)
            raise KeyboardInterrupt

        settings = make_settings()
        with pytest.raises(KeyboardInterrupt):
            scan_for_case(settings, cases, case.name, cut(), place="archive", actor="ann")
        assert cases.scans(case.name) == [], "a look that did not end is none"
        done = scan_for_case(settings, cases, case.name, self.files(archive), place="archive", actor="ann")
        assert done.scan.copies == 1
        assert done.remembered >= 1

    def test_a_place_that_the_case_does_not_list_is_refused(self, cases: Cases, item: Item) -> None:
        case = opened(cases, item, places=("a", "b"))
        with pytest.raises(NotFound):
            cases.taken_down(case.name, ("a", "c"), actor="ann", reason="x")
        assert cases.get(case.name).copies_there == 2, "nothing of it was recorded"
        assert cases.taken_down(case.name, ("a",), actor="ann", reason="no copy", stays=True) == 1
        assert cases.get(case.name).copies_there == 1

    def test_copies_of_one_case_are_bounded(self, cases: Cases, item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
        assert MOST_COPIES == 100_000
        monkeypatch.setattr("hashhub.hook.cases.MOST_COPIES", 2)
        case = opened(cases, item, places=("a", "b"))
        with pytest.raises(LimitExceeded):
            cases.add_copy(case.name, "c", "MD5 exactly", actor="ann")


class TestClocks:
    def test_rules_have_a_source_and_a_time_or_say_that_there_is_none(self) -> None:
        for rule in rules().values():
            assert rule.source
            assert rule.text
            assert rule.hours is None or rule.hours in {24, 48}
            if rule.hours is None:
                assert "No number of hours" in rule.text

    def test_the_clock_runs_from_when_the_complaint_came(self, cases: Cases, item: Item) -> None:
        came = datetime.now(UTC) - timedelta(hours=47)
        case = opened(cases, item, receive_time=came, by_rules=("us-take-it-down", "eu-dsa-16"))
        [us, eu] = case.clocks
        assert us.due is not None
        assert abs(us.due - came - timedelta(hours=48)) < timedelta(seconds=1)
        assert (us.standing, eu.due, eu.standing) == (Standing.RUNNING, None, Standing.NO_NUMBER)
        late = opened(cases, item, receive_time=came - timedelta(hours=2))
        assert [c.standing for c in late.clocks] == [Standing.OVERDUE]
        assert any("was due at" in line for line in cases.record(late.name).missing)

    def test_what_was_done_in_time_stays_so_when_it_is_looked_at_and_said_again(self, cases: Cases, item: Item) -> None:
        came = datetime.now(UTC) - timedelta(hours=47)
        case = opened(cases, item, receive_time=came, places=("a",))
        cases.confirm(case.name, actor="bob", reason="looked")

        def look(hours: float, unread: int = 0) -> None:
            at = came + timedelta(hours=hours)
            cases.add_scan(
                case.name,
                Scan(place="archive", begin_time=at, end_time=at, looked=1, unread=unread, copies=0),
                actor="bob",
            )

        def standing() -> Standing:
            return cases.get(case.name).clocks[0].standing

        look(2)
        assert standing() is Standing.RUNNING, "a copy is there"
        assert cases.taken_down(case.name, ("a",), actor="bob", reason="deleted") == 1
        assert standing() is Standing.MET
        gone = cases.copies(case.name)
        assert cases.taken_down(case.name, ("a",), actor="eve", reason="told twice") == 0
        assert cases.copies(case.name) == gone
        look(200)
        assert standing() is Standing.MET, "nothing was found in that look"
        assert cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done").is_complete
        look(300, unread=1)
        look(400)
        assert standing() is Standing.OVERDUE, "what could not be read may have been there"

    def test_where_no_copy_was_found_the_look_is_what_was_to_be_done(self, cases: Cases, item: Item) -> None:
        case = opened(cases, item)
        at = datetime.now(UTC)
        cases.confirm(case.name, actor="bob", reason="looked")
        cases.add_scan(
            case.name, Scan(place="archive", begin_time=at, end_time=at, looked=1, unread=0, copies=0), actor="bob"
        )
        assert [clock.standing for clock in cases.get(case.name).clocks] == [Standing.MET]


@pytest.mark.timeout(120)
def test_ten_thousand_cases(records: Records, item: Item) -> None:
    """An answer reads what changed, and not all cases again."""
    cases = Cases(records, CaseSettings(max_open=20_000))
    with records.transaction():
        for number in range(10_000):
            name = f"case-{number:012x}"
            digest = number.to_bytes(16, "big")
            records.write(
                "INSERT INTO hook_case (id, state, outcome, change, until, facts) VALUES (?, 'OPEN', '', ?, '', '{}')",
                (name, number + 1),
            )
            records.write("INSERT INTO case_hash VALUES (?, 'MD5', ?, '')", (name, digest))
            spread = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8) * 4
            records.write("INSERT INTO case_hash VALUES (?, 'PDQ', ?, '')", (name, spread))
    index = CaseIndex(cases)
    asked = []
    read = cases.hashes

    def hashes(name: str) -> Any:
        asked.append(name)
        return read(name)

    cases.hashes = hashes  # type: ignore[method-assign]
    known = Query(hashes=(Hash("MD5", (1234).to_bytes(16, "big")),))
    assert [h.case for h in index.hits(known)] == [f"case-{1234:012x}"]
    assert len(asked) == 10_000
    opened(cases, item)
    assert index.hits(query(jpeg(SEED)))
    assert len(asked) == 10_001


class TestCommands:
    def run(self, tmp_path: Path, *line: str) -> Any:
        settings = tmp_path / "hook.toml"
        if not settings.exists():
            settings.write_text(
                f'policy = "block"\ndata = "{tmp_path}/hook"\nhub = "127.0.0.1:9"\nhashing_processes = 1\n'
                '[without_answer]\nhub_away = "allow"\nunreadable = "hold"\ntoo_large = "hold"\n'
                'no_perceptual_hash = "allow"\n'
            )
        done = CliRunner().invoke(main, ["hook", *line, "--settings", str(settings), "--json"])
        return done.exit_code, [json.loads(one) for one in done.stdout.splitlines() if one.startswith("{")]

    def test_from_a_complaint_to_a_closed_case(self, tmp_path: Path) -> None:
        reported = tmp_path / "reported.jpg"
        reported.write_bytes(jpeg(SEED))
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "copy.png").write_bytes(encoded(picture(SEED, (512, 384))))
        code, [case] = self.run(
            tmp_path, "case", "open", str(reported), "--purpose", "intimate-image", "--complaint", "T-1", "--reason",
            "form", "--rule", "us-take-it-down",
        )  # fmt: skip
        assert code == 0
        name = case["name"]
        assert case["action"] == "HOLD"
        code, [scanned] = self.run(tmp_path, "case", "scan", name, str(archive))
        assert [c["place"] for c in scanned["copies"]] == [str(archive / "copy.png")]
        assert self.run(tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "x")[0] == 1
        assert self.run(tmp_path, "case", "confirm", name, "--reason", "looked")[0] == 0
        (archive / "copy.png").unlink()
        code, [done] = self.run(tmp_path, "case", "taken-down", name, "--all", "--reason", "deleted")
        assert done["recorded"] == 1
        sheet = tmp_path / "record.md"
        code, [record] = self.run(
            tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "done", "--page", str(sheet)
        )
        assert (code, record["is_complete"], record["missing"]) == (0, True, [])
        assert record["case"]["clocks"][0]["standing"] == "MET"
        assert "Complete." in sheet.read_text()
        assert [c["name"] for c in self.run(tmp_path, "case", "list", "--state", "closed")[1]] == [name]
        assert self.run(tmp_path, "case", "get", "case-none")[0] == 1

    def test_what_lies_behind_a_link_was_looked_through_or_is_a_gap(self, tmp_path: Path) -> None:
        for folder in ("archive/2026", "elsewhere"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "elsewhere/copy.png").write_bytes(encoded(picture(SEED, (96, 64))))
        (tmp_path / "archive/current").symlink_to("2026")  # looked through by its own name
        (tmp_path / "archive/old").symlink_to(tmp_path / "elsewhere")
        archive, digest = str(tmp_path / "archive"), hash_media(encoded(picture(SEED, (96, 64)))).digests[0].text
        _, [case] = self.run(
            tmp_path, "case", "open", "--hash", digest, "--purpose", "other", "--complaint", "T-1", "--reason", "form"
        )
        name = case["name"]
        _, [scanned] = self.run(tmp_path, "case", "scan", name, archive)
        assert [unread["place"] for unread in scanned["unread"]] == [f"{archive}/old"]
        assert self.run(tmp_path, "case", "confirm", name, "--reason", "looked")[0] == 0
        assert self.run(tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "x")[0] == 1
        _, [scanned] = self.run(tmp_path, "case", "scan", name, archive, str(tmp_path / "elsewhere"))
        assert (scanned["unread"], scanned["new_copies"]) == ([], 1)

    def test_a_place_that_is_not_there_is_refused_and_no_gap_for_ever(self, tmp_path: Path) -> None:
        (tmp_path / "archive").mkdir()
        _, [case] = self.run(
            tmp_path, "case", "open", "--hash", "MD5:0123456789abcdef0123456789abcdef", "--purpose", "other",
            "--complaint", "T-1", "--reason", "form",
        )  # fmt: skip
        for paths in (("arhcive",), ("archive", "arhcive")):
            code, [error] = self.run(tmp_path, "case", "scan", case["name"], *(str(tmp_path / path) for path in paths))
            assert (code, error["error"]["reason"]) == (1, "RESOURCE_NOT_FOUND")
        _, [record] = self.run(tmp_path, "case", "get", case["name"])
        assert record["scans"] == []

    @pytest.mark.parametrize(
        ("received", "said"),
        [
            ("0001-01-01T00:00:00+05:00", "long ago"),
            ("2026-10-25T02:30:00", "time zone"),  # by which clock? the law's hours count from it
            ("2026-10-25 02:30", "time zone"),
        ],
    )
    def test_a_time_of_a_complaint_that_is_none_is_refused(self, tmp_path: Path, received: str, said: str) -> None:
        code, [error] = self.run(
            tmp_path, "case", "open", "--hash", "MD5:0123456789abcdef0123456789abcdef", "--purpose", "other",
            "--complaint", "T-1", "--reason", "form", "--received", received,
        )  # fmt: skip
        assert code in {1, 2}
        assert said in error["error"]["message"]

    def test_a_confirmed_case_is_shared_with_a_set_of_its_purpose_only(self, tmp_path: Path, listed: Listed) -> None:
        item = item_of(hash_media(jpeg(77)))  # the hub is shared with other tests
        for name, purpose in (("cases", Purpose.CSAM), ("benign", Purpose.BENIGN)):
            listed.operator.create_hash_set(
                HashSet(contributor="app", id=name, purpose=purpose, marking=Marking(tlp=TLP.GREEN))
            )
        token = tmp_path / "token"
        token.write_text(
            listed.operator.create_token(Principal(name="app-desk", role=Role.CONTRIBUTOR, contributor="app"))
        )
        self.run(tmp_path, "case", "list")
        records = Records(tmp_path / "hook")
        cases = Cases(records, CaseSettings())
        csam = opened(cases, item, purpose=CasePurpose.CSAM).name
        intimate = opened(cases, item).name
        at = ("--server", listed.hub.address, "--token-file", str(token), "--reason", "agreed")
        assert self.run(tmp_path, "case", "share", csam, "--hash-set", "app/cases", *at)[0] == 1, "not confirmed"
        for name in (csam, intimate):
            cases.confirm(name, actor="bob", reason="looked")
        assert self.run(tmp_path, "case", "share", csam, "--hash-set", "app/benign", *at)[0] == 1
        assert self.run(tmp_path, "case", "share", intimate, "--hash-set", "app/cases", *at)[0] == 1
        code, [shared] = self.run(tmp_path, "case", "share", csam, "--hash-set", "app/cases", *at)
        own = [h for h, variant in item.hashes if not variant]
        assert (code, shared["hashes"]) == (0, len(own))
        answer = listed.operator.match(Query(hashes=tuple(own[:1])), MatchOptions(policy="any"))
        assert {m.entry.hash_set for m in answer.result.matches} == {"cases"}
        assert [e.kind for e in records.events(subject=csam)][-1] == "case.shared"
        records.close()


def test_copies_in_a_bucket_are_found_and_what_is_too_large_is_unread(
    store: str, records: Records, cases: Cases, item: Item, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket_server.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hashhub.hook.scan_memory._YOUNG_SECONDS", -60.0)  # the files are of this moment
    app = bucket_server.client(store)
    app.create_bucket(Bucket="cases")
    contents = {
        "media/copy.png": encoded(picture(SEED, (512, 384))),
        "media/other.jpg": jpeg(7),
        "media/large.jpg": jpeg(SEED) + b"\0" * 2_000_000,
        "elsewhere/copy.jpg": jpeg(SEED),
    }
    for key, content in contents.items():
        app.put_object(Bucket="cases", Key=key, Body=content)
    case = opened(cases, item)
    file = tmp_path / "hook.toml"
    file.write_text(
        f'policy = "block"\ndata = "{tmp_path / "hook"}"\nmax_bytes = 1000000\nhashing_processes = 1\n'
        '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\nno_perceptual_hash = "allow"\n'
        f'[bucket]\nendpoint = "{store}"\npath_style = true\n'
    )
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "copy.jpg").write_bytes(jpeg(SEED))
    line = ["hook", "case", "scan", case.name, "s3://cases/media/", str(folder), "--settings", str(file), "--json"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["scan"]["place"] == f"s3://cases/media/, {folder}"
    assert (told["scan"]["looked"], told["scan"]["copies"]) == (4, 2)
    assert {c["place"] for c in told["copies"]} == {"s3://cases/media/copy.png", str(folder / "copy.jpg")}
    assert [u["place"] for u in told["unread"]] == ["s3://cases/media/large.jpg"]
    again = json.loads(CliRunner().invoke(main, line).stdout)
    assert (again["remembered"], again["new_copies"]) == (3, 0)
    for place in ("s3://none/", "s3://cases/medai/"):  # a prefix that nothing has is no place either
        missing = CliRunner().invoke(main, ["hook", "case", "scan", case.name, place, "--settings", str(file)])
        assert missing.exit_code != 0
        assert "Traceback" not in missing.output
    assert len(cases.scans(case.name)) == 2, "a look at what is not there is none"


def test_who_confirms_while_another_closes_revives_no_case(
    cases: Cases, records: Records, item: Item, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say that it blocks copies, and have no hash by which it could."""
    case = opened(cases, item)
    has_read = threading.Event()
    get = cases.get

    def slowly(name: str) -> Case:
        read = get(name)
        has_read.set()
        time.sleep(0.5)
        return read

    monkeypatch.setattr(cases, "get", slowly)
    confirming = threading.Thread(
        target=lambda: cases.confirm(case.name, actor="bob", reason="it is so"), name="confirming"
    )
    confirming.start()
    assert has_read.wait(180)
    other_records = Records(tmp_path / "hook")
    other = Cases(other_records, CaseSettings())
    other.close(case.name, CaseOutcome.REJECTED, actor="ann", reason="it is not so")
    confirming.join()
    left = other.get(case.name)
    assert (left.state, left.outcome, left.action) == (CaseState.CLOSED, CaseOutcome.REJECTED, Action.ALLOW)
    assert [event["kind"] for event in other.record(case.name).history][-1] == "case.closed"
    other_records.close()


def test_a_place_that_may_keep_one_file_says_nothing_of_another(cases: Cases, item: Item) -> None:
    case = opened(cases, item)
    cases.confirm(case.name, actor="bob", reason="it is so")
    cases.add_copy(case.name, "a.jpg", "PDQ at distance 28", actor="ann")
    cases.taken_down(case.name, ("a.jpg",), actor="ann", reason="another picture", stays=True)
    assert not cases.add_copy(case.name, "a.jpg", "PDQ at distance 28", actor="ann")
    [copy] = cases.copies(case.name)
    assert copy.state is CopyState.STAYS
    assert cases.add_copy(case.name, "a.jpg", "SHA256 exactly", actor="ann")
    [copy] = cases.copies(case.name)
    assert (copy.state, copy.how) == (CopyState.THERE, "SHA256 exactly")
    cases.taken_down(case.name, ("a.jpg",), actor="ann", reason="it may stay", stays=True)
    assert not cases.add_copy(case.name, "a.jpg", "SHA256 exactly", actor="ann")
