"""Copies of the item of a case are stopped, and nobody else's uploads are."""

from __future__ import annotations

import io
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from hashhub.desk.cases.index import CaseDigests, CaseIndex
from hashhub.desk.cases.item import CaseItem, item_of, item_of_hashes
from hashhub.desk.cases.life import Cases
from hashhub.desk.cases.page import page
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash, parse
from hashhub.hashing import DEFAULT_LIMITS, hash_media
from hashhub.hook import Action
from hashhub.hook.archive import Source, scan_for_case
from hashhub.model import Effort, Query, Verdict, VideoFrame
from hashhub.scans.engine import ListedFile
from hashhub.testing.pictures import picture
from hashhub.testing.videos import ALTERATIONS, clip
from tests.desk.cases.parts import SEED, encoded, film, filmed, footage, opened, query, still
from tests.hashing.assets import MP4
from tests.hook.conftest import jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed, MakeHook


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
    def test_what_is_the_same_or_nearly_is_hit(self, cases: Cases, item: CaseItem, changed: bytes) -> None:
        case = opened(cases, item)
        assert [h.case for h in CaseIndex(cases).hits(query(changed))] == [case.name]

    def test_others_are_not(self, cases: Cases, item: CaseItem) -> None:
        opened(cases, item)
        index = CaseIndex(cases)
        assert not any(index.hits(query(jpeg(seed))) for seed in range(100, 106))

    @pytest.mark.parametrize("bits", [31, 32])
    def test_the_distance_is_31_bits_inclusive(self, cases: Cases, item: CaseItem, bits: int) -> None:
        opened(cases, item)
        pdq = next(h for h, variant in item.hashes if h.algorithm == "PDQ" and not variant)
        flipped = int.from_bytes(pdq.digest) ^ ((1 << bits) - 1)
        hits = CaseIndex(cases).hits(Query(hashes=(Hash("PDQ", flipped.to_bytes(32)),)))
        assert len(hits) == (bits <= 31)

    def test_a_flat_picture_stops_that_file_and_no_other_flat_one(self, cases: Cases) -> None:
        flat = encoded(Image.new("RGB", (300, 200), (200, 200, 200)))
        reported = item_of(hash_media(flat, effort=Effort.STANDARD))
        case = opened(cases, reported)
        assert case.exact_only
        assert any("PDQ" in line for line in case.not_searched)
        index = CaseIndex(cases)
        assert index.hits(query(flat))
        for colour in ((200, 200, 201), (10, 10, 10), (255, 255, 255)):
            assert not index.hits(query(encoded(Image.new("RGB", (300, 200), colour))))

    def test_the_film_of_a_reported_motion_photo_is_said_not_to_be_looked_for(self, cases: Cases) -> None:
        case = opened(cases, item_of(hash_media(jpeg(SEED) + MP4, effort=Effort.STANDARD)))
        assert not case.exact_only
        assert any("motion photo" in line for line in case.not_searched)
        assert cases.get(case.name).not_searched == case.not_searched
        record = cases.record(case.name)
        assert record.case.not_searched == case.not_searched
        assert "- not looked for: the film behind the picture" in page(record)
        assert not opened(cases, item_of(hash_media(jpeg(7), effort=Effort.STANDARD))).not_searched

    def test_frames_that_were_not_hashed_are_said_not_to_be_looked_for(self, cases: Cases) -> None:
        frames = [picture(seed, (64, 48)) for seed in range(5)]
        out = io.BytesIO()
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
        media = hash_media(out.getvalue(), limits=msgspec.structs.replace(DEFAULT_LIMITS, max_frames=2))
        assert media.frames_hashed < media.frame_count
        assert any("of 5 frames" in line for line in opened(cases, item_of(media)).not_searched)

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
        case = opened(cases, item_of(hash_media(still(footage()), effort=Effort.STANDARD)))
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
        case = opened(cases, CaseItem(hashes=((pictured, ""), *hashes)))
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
        opened(cases, CaseItem(hashes=((Hash("PDQ", frames[0].digest), ""),)))
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
        stored: list[ListedFile[Source]] = [
            ListedFile(lambda path=path: path.open("rb"), path.name, "1")  # type: ignore[misc]
            for path in paths
        ]
        for case in (pictured, recorded):
            scan_for_case(make_settings(), cases, case.name, stored, place="archive", actor="ann")
            assert [copy.place for copy in cases.copies.listed(case.name)] == ["shown.mp4", "still.png"]
        [shown, _] = cases.copies.listed(pictured.name)
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

    of_cases = CaseDigests((f"case-{n // 20}", near(n)) for n in range(10_000))
    frames = [near(100_000 + n) for n in range(100)]
    tracemalloc.start()
    try:
        found_in = {name for name, _, _ in of_cases.nearest(frames)}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found_in) == 500
    assert peak < 250 << 20


@pytest.mark.timeout(120)
def test_ten_thousand_cases(records: Records, item: CaseItem) -> None:
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
