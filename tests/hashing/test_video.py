"""Videos to frames: those of the reference, at their times, of every kind of file; and nothing of a damaged one."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashhub import vpdq
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.hashing import Limits, MediaHashes, hash_media
from hashhub.hashing.coverage import coverage
from hashhub.hashing.pool import MediaPool
from hashhub.hashing.structure import SIGNATURE_BYTES, media_type_of
from hashhub.model import Effort, VideoFrame
from hashhub.testing.videos import ALTERATIONS, CONTAINERS, LETTERBOXED, Clip, clip, encoded

av = pytest.importorskip("av")
pdqhash = pytest.importorskip("pdqhash")

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "ts": "video/mp2t",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
    "avi": "video/x-msvideo",
    "asf": "video/x-ms-asf",
    "mpeg": "video/mpeg",
    "webm": "video/webm",
    "webm-vp8": "video/webm",
}


@cache
def six_seconds() -> Clip:
    return clip(3, seconds=6, size=(160, 120))


@cache
def file(container: str = "mp4") -> bytes:
    return encoded(six_seconds(), container)


def hashed(data: bytes, **limits: Any) -> MediaHashes:
    return hash_media(data, limits=Limits(**limits))


def times(media: MediaHashes) -> list[int]:
    return [frame.offset_ms for frame in media.video_frames]


def distance(a: VideoFrame, b: VideoFrame) -> int:
    return (int.from_bytes(a.digest) ^ int.from_bytes(b.digest)).bit_count()


def share(of: MediaHashes, among: MediaHashes) -> float:
    """The share of frames that the other has as well, as vPDQ counts it."""
    good = [frame for frame in of.video_frames if frame.quality >= 50]
    return sum(any(distance(a, b) <= 31 for b in among.video_frames) for a in good) / len(good)


def decoded(data: bytes, **options: str) -> list[Any]:
    with av.open(io.BytesIO(data), options=options) as container:
        return list(container.decode(video=0))


class TestFrames:
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_every_kind_of_file_has_a_frame_each_second(self, container: str) -> None:
        media = hashed(file(container))
        assert media.media_type == MEDIA_TYPES[container]
        assert (media.width, media.height) == (160, 120)
        assert media.not_perceptual is None
        assert media.skipped is None
        assert media.frames_hashed == media.frame_count == len(media.video_frames)
        for second in range(6):
            assert any(abs(time - 1000 * second) <= 100 for time in times(media))
        assert media.digests[0].digest == hashlib.md5(file(container)).digest()  # noqa: S324 - what hash sets hold

    @pytest.mark.parametrize(
        ("codec", "container", "pixels"),
        [
            ("libx264", "mp4", "yuv420p10le"),
            ("libx264", "mkv", "yuv444p"),
            ("mjpeg", "avi", "yuvj420p"),
            ("prores_ks", "mov", "yuv422p10le"),
            ("ffv1", "mkv", "gray16le"),
            ("rawvideo", "avi", "bgr24"),
            ("rawvideo", "avi", "yuyv422"),
            ("qtrle", "mov", "argb"),
            ("utvideo", "avi", "gbrp"),
        ],
    )
    def test_they_are_the_references_bit_for_bit(self, codec: str, container: str, pixels: str) -> None:
        """PDQ by the C++ reference, of frames at full size, converted with swscale's defaults."""
        data = encoded(six_seconds(), container, codec=codec, pixels=pixels)
        frames = decoded(data)
        media = hashed(data)
        begin = frames[0].time
        for hashed_frame in media.video_frames:
            frame = next(f for f in frames if round((f.time - begin) * 1000) == hashed_frame.offset_ms)
            rgb = frame.to_ndarray(format="rgb24", src_colorspace="ITU601")
            bits, quality = pdqhash.compute(rgb)
            assert hashed_frame.digest == np.packbits(bits).tobytes()
            assert hashed_frame.quality == quality

    def test_they_are_those_of_vpdqs_own_program(self) -> None:
        """`vpdq-hash-video -r 1` of vPDQ 0.2.5 with FFmpeg 7.1 wrote the text of this synthetic clip."""
        reference = vpdq.parse(Path(__file__).with_name("vpdq_reference.txt").read_text("ascii"))
        media = hash_media(Path(__file__).with_name("vpdq_reference.mp4"))
        assert [frame for frame in media.video_frames if frame.offset_ms % 1000 == 0] == list(reference)

    def test_frames_that_none_builds_on_are_decoded_where_they_are_hashed(self) -> None:
        """A B-frame that falls on a second: skipping what need not be decoded must not move the sample."""
        data = encoded(six_seconds(), options={"preset": "fast", "bf": "3", "b-pyramid": "none", "sc_threshold": "0"})
        kinds = {
            av.video.frame.PictureType(frame.pict_type).name
            for frame in decoded(data)
            if round(frame.time * 1000) % 1000 == 0
        }
        assert "B" in kinds
        assert set(range(0, 6000, 1000)) <= set(times(hashed(data)))

    def test_odd_and_tiny_sizes(self) -> None:
        for size in ((161, 121), (34, 18), (16, 200)):
            media = hashed(encoded(clip(3, seconds=2, size=size), "avi", codec="mjpeg", pixels="yuvj444p"))
            assert (media.width, media.height) == size
            assert media.frames_hashed == 2

    def test_alpha_is_left_out(self) -> None:
        """A picture under alpha 0 is seen by whoever drops alpha."""
        rgba = [np.dstack((frame, np.zeros(frame.shape[:2], np.uint8))) for frame in six_seconds().frames]
        plain = hashed(encoded(six_seconds(), "mov", codec="qtrle", pixels="rgb24"))
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mov") as output:
            stream: Any = output.add_stream("qtrle", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "argb"
            for pixels in rgba:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
            output.mux(stream.encode(None))
        assert hashed(buffer.getvalue()).video_frames == plain.video_frames

    def test_a_display_matrix_turns_nothing(self) -> None:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as output:
            stream: Any = output.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.set_display_rotation(90)
            for pixels in six_seconds().frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
            output.mux(stream.encode(None))
        assert decoded(buffer.getvalue())[0].rotation != 0
        media = hashed(buffer.getvalue())
        assert (media.width, media.height) == (160, 120)
        assert share(media, hashed(file())) == 1

    def test_a_cut_gets_a_frame_besides(self) -> None:
        video = clip(5, seconds=6.4, size=(160, 120), scene_seconds=0.8)
        cuts = hashed(encoded(video))
        assert cuts.frames_hashed == cuts.frame_count
        for begin in range(0, 64, 8):  # eight scenes, of which six frames a second apart would miss some
            scene = hashed(encoded(Clip(video.frames[begin : begin + 8], 10)), video_interval_ms=100)
            assert min(distance(a, b) for a in scene.video_frames for b in cuts.video_frames) <= 10
        still = hashed(encoded(Clip([six_seconds().frames[0]] * 60, 10)))
        assert times(still) == [0, 1000, 2000, 3000, 4000, 5000]
        assert len({frame.digest for frame in still.video_frames}) <= 3  # of a still scene each frame counts

    def test_flicker_does_not_make_a_hash_of_every_frame(self) -> None:
        black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
        media = hashed(encoded(Clip([black, white] * 50, 50)))
        assert media.frames_hashed <= 2 + 100 / 8 + 1

    def test_alterations_are_found_again(self) -> None:
        original = clip(7, seconds=12, size=(160, 120))
        listed = hashed(encoded(original))
        for name, alter in ALTERATIONS.items():
            altered = hashed(encoded(alter(original)))
            assert max(share(altered, listed), share(listed, altered)) >= 0.8, name
        assert share(hashed(encoded(LETTERBOXED(original))), listed) == 0
        assert share(hashed(encoded(clip(8, seconds=12, size=(160, 120)))), listed) == 0


class TestTimes:
    def test_the_interval_is_as_declared(self) -> None:
        assert times(hashed(file(), video_interval_ms=500))[:5] == [0, 500, 1000, 1500, 2000]

    def test_variable_rates_follow_the_presentation_time(self) -> None:
        shown = [i * i for i in range(60)]  # in hundredths of a second
        media = hashed(encoded(six_seconds(), times=shown, time_base=Fraction(1, 100)))
        firsts: dict[int, int] = {}
        for time in shown:
            firsts.setdefault(time // 100, time * 10)
        assert set(firsts.values()) <= set(times(media))
        assert media.skipped is None

    def test_negative_times_and_edit_lists_hide_nothing(self) -> None:
        """The muxer writes an edit list that begins at 0: players leave the first 25 frames out."""
        data = encoded(
            six_seconds(),
            times=[i - 25 for i in range(60)],
            time_base=Fraction(1, 10),
            muxer_options={"avoid_negative_ts": "disabled"},
        )
        assert b"elst" in data
        assert hashed(data).video_frames == hashed(file()).video_frames
        matroska = encoded(six_seconds(), "mkv", times=[i - 25 for i in range(60)], time_base=Fraction(1, 10))
        assert times(hashed(matroska)) == times(hashed(file("mkv")))

    def test_broken_times_hide_nothing(self) -> None:
        """Frames that claim to be shown within one millisecond: those after cuts are hashed all the same."""
        frames = clip(5, seconds=6, size=(160, 120), scene_seconds=1).frames
        data = encoded(
            Clip(frames, 10),
            "mkv",
            codec="mjpeg",
            pixels="yuvj420p",
            times=list(range(60)),
            time_base=Fraction(1, 90_000),
        )
        media = hashed(data)
        scenes = hashed(encoded(Clip(frames[::10], 1)))
        assert media.video_frames[-1].offset_ms <= 6000
        for scene in scenes.video_frames:
            assert min(distance(scene, frame) for frame in media.video_frames) <= 31

    def test_what_browsers_record_has_no_length(self) -> None:
        live = encoded(six_seconds(), "webm", muxer_options={"live": "1"})
        assert times(hashed(live)) == times(hashed(file("webm")))

    def test_times_are_those_that_vpdq_writes(self) -> None:
        text = vpdq.render(hashed(file()).video_frames)
        assert [line.split(",")[3] for line in text.splitlines()][:3] == ["0.000", "1.000", "2.000"]
        assert vpdq.parse(text) == hashed(file()).video_frames


class TestLimits:
    def test_key_frames_alone_are_said_to_be_so(self) -> None:
        media = hashed(file(), key_frames_only=True)
        assert times(media) == [0, 2000, 4000]
        assert (media.frames_hashed, media.frame_count) == (3, 6)
        assert media.skipped == "key frames alone were read, as was asked for: 3 of 6 frames were hashed"
        assert [gap.code for gap in coverage(media, Effort.PLAIN).gaps] == ["FRAMES_SKIPPED", "VARIANTS_SKIPPED"]
        assert [gap.code for gap in coverage(hashed(file()), Effort.PLAIN).gaps] == ["VARIANTS_SKIPPED"]
        whole = {frame.offset_ms: frame for frame in hashed(file()).video_frames}
        assert all(whole[frame.offset_ms] == frame for frame in media.video_frames)

    @pytest.mark.parametrize("muxer_options", [{}, {"live": "1"}])
    def test_what_is_too_long_for_all_frames_is_read_by_key_frames(self, muxer_options: dict[str, str]) -> None:
        data = encoded(six_seconds(), "webm", muxer_options=muxer_options)
        media = hashed(data, max_video_pixels=160 * 120 * 30)
        assert times(media) == [0, 2000, 4000]
        assert media.skipped is not None
        assert media.skipped.startswith("key frames alone were read, because the video is long or large: 3 of 6")
        fewer = hashed(data, max_video_pixels=160 * 120 * 10)
        assert 0 < fewer.frames_hashed < 3

    def test_frames_are_bounded_and_stay_evenly_spaced(self) -> None:
        media = hashed(file(), video_interval_ms=100, max_video_frames=8)
        assert 4 <= media.frames_hashed <= 8 < media.frame_count
        assert media.skipped is not None
        assert times(media)[-1] >= 4000
        assert hashed(file(), max_video_frames=1).frames_hashed == 1

    @pytest.mark.parametrize(
        ("limits", "name"),
        [
            ({"max_video_seconds": 5}, "max_video_seconds"),
            ({"max_pixels": 160 * 120 - 1}, "max_pixels"),
            ({"max_side": 159}, "max_side"),
        ],
    )
    def test_a_video_beyond_a_limit_is_refused(self, limits: dict[str, int], name: str) -> None:
        with pytest.raises(LimitExceeded) as caught:
            hashed(file(), **limits)
        assert (caught.value.reason, caught.value.metadata["limit"]) == (Reason.MEDIA_TOO_LARGE, name)

    def test_a_length_that_is_not_true_costs_no_more(self) -> None:
        """A file that claims a tenth of a second, and goes on for six."""
        data = bytearray(file("mkv"))
        at = data.index(b"\x44\x89\x88") + 3  # duration, a float of 8 bytes, in milliseconds
        data[at : at + 8] = struct.pack(">d", 100.0)
        with pytest.raises(LimitExceeded) as caught:
            hashed(bytes(data), max_video_pixels=160 * 120 * 10)
        assert caught.value.metadata["limit"] == "max_video_pixels"

    def test_bounds_are_checked(self) -> None:
        with pytest.raises(InvalidArgument, match="max_video_frames"):
            Limits(max_video_frames=20_001)
        with pytest.raises(InvalidArgument, match="video_interval_ms"):
            Limits(video_interval_ms=0)


class TestDamage:
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_a_file_that_is_cut_off_is_an_error_wherever_it_is_cut(self, container: str) -> None:
        data = file(container)
        for part in range(1, 16):
            end = len(data) * part // 16
            if end % {"ts": 188, "mpeg": 2048}.get(container, len(data)) == 0:
                end -= 9  # a stream that ends between two packets is a shorter one
            if end < SIGNATURE_BYTES:
                continue
            with pytest.raises(HashHubError) as caught:
                hashed(data[:end])
            assert caught.value.reason is Reason.UNREADABLE_MEDIA

    def test_so_is_one_whose_index_comes_first(self) -> None:
        data = encoded(six_seconds(), muxer_options={"movflags": "faststart"})
        fragmented = encoded(six_seconds(), muxer_options={"movflags": "frag_keyframe+empty_moov"})
        assert hashed(fragmented).video_frames == hashed(data).video_frames
        for whole in (data, fragmented):
            for missing in (1, 50, len(whole) // 3):
                with pytest.raises(InvalidArgument, match="cut off"):
                    hashed(whole[:-missing])

    @pytest.mark.parametrize(
        "data",
        [
            b"RIFF\x24\0\0\0AVI LIST",
            b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
            b"\x1aE\xdf\xa3\x01",
            b"FLV\x01\x05\0\0\0\x09\0\0\0\0",
            b"OggS\0",
            b"\0\0\x01\xb3" + bytes(100),
            b"\0\0\x01\xba" + bytes(100),
            (b"G" + b"\0" * 187) * 20,
        ],
    )
    def test_a_beginning_alone_is_an_error(self, data: bytes) -> None:
        with pytest.raises(InvalidArgument) as caught:
            hashed(data)
        assert caught.value.reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "flv"])
    def test_a_damaged_second_is_an_error(self, container: str) -> None:
        data = bytearray(file(container))
        middle = len(data) // 2
        for at in range(middle, middle + len(data) // 4):  # all of a key frame and what builds on it
            data[at] = 0xA5
        with pytest.raises(HashHubError) as caught:
            hashed(bytes(data))
        assert caught.value.reason is Reason.UNREADABLE_MEDIA

    def test_any_bytes_are_hashed_or_refused_by_the_family(self) -> None:
        rng = np.random.default_rng(1)
        for container in CONTAINERS:
            data = file(container)
            for _ in range(6):
                changed = bytearray(data)
                at = int(rng.integers(4, len(data) // 8))  # headers above all
                changed[at : at + 4] = rng.integers(0, 256, 4, np.uint8).tobytes()
                try:
                    media = hashed(bytes(changed), max_video_seconds=3600)
                except HashHubError:
                    continue
                assert media.video_frames or media.not_perceptual

    def test_a_file_that_changes_meanwhile_is_an_error(self) -> None:
        class Growing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = super().read(size)
                if not data and len(self.getbuffer()) == len(file("mkv")):  # digests are done
                    at = super().tell()
                    super().seek(0, 2)
                    self.write(b"\0" * 64)
                    super().seek(at)
                return data

        with pytest.raises(InvalidArgument, match="changed while it was read"):
            hash_media(Growing(file("mkv")))

    def test_it_refers_to_nothing(self, tmp_path: Path) -> None:
        """A data reference, by which QuickTime finds frames in another file."""
        other = tmp_path / "other.mov"
        other.write_bytes(file("mov"))
        data = file("mov")
        alias = str(other).encode()
        reference = struct.pack(">I4sI", 12 + len(alias) + 1, b"url ", 0) + alias + b"\0"
        at = data.index(b"url \0\0\0\1") - 4
        patched = data[:at] + reference + data[at + 12 :]
        for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
            begin = patched.index(name) - 4
            size = struct.unpack(">I", patched[begin : begin + 4])[0] + len(reference) - 12
            patched = patched[:begin] + struct.pack(">I", size) + patched[begin + 4 :]
        gone = patched.replace(data[data.index(b"mdat") + 4 : data.index(b"moov") - 4], b"")
        with pytest.raises(HashHubError):
            hashed(gone)


def _muxed(muxer: str, build: Callable[[Any], None]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as output:
        build(output)
    return buffer.getvalue()


def _sound(output: Any) -> None:
    stream = output.add_stream("aac", rate=44_100)
    stream.layout = "mono"
    for i in range(20):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, i * 1024
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


class TestStreams:
    def test_sound_alone_has_no_frames(self) -> None:
        media = hashed(_muxed("mp4", _sound))
        assert media.video_frames == ()
        assert media.not_perceptual == "the file (video/mp4) holds no video frames"
        assert len(media.digests) == 3

    def test_further_videos_are_said_to_be_there(self) -> None:
        def two(output: Any) -> None:
            streams = [output.add_stream("mpeg4", rate=10) for _ in range(2)]
            for stream in streams:
                stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for pixels in six_seconds().frames:
                for stream in streams:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                    output.mux(stream.encode(frame))
            for stream in streams:
                output.mux(stream.encode(None))

        media = hashed(_muxed("matroska", two))
        assert media.skipped == "the file has 1 more video stream, which was not looked at"
        assert share(media, hashed(file())) == 1

    def test_a_picture_that_changes_its_size_is_followed(self) -> None:
        """MPEG-2 and H.264 in transport streams may; each part is hashed at its own size."""
        small = encoded(clip(4, seconds=4, size=(128, 96)), "ts")
        media = hashed(file("ts") + small)
        assert share(hashed(small), media) == 1
        assert share(hashed(file("ts")), media) == 1

    def test_an_unknown_codec_is_an_error(self) -> None:
        data = file("avi").replace(b"FMP4", b"QQQQ").replace(b"fmp4", b"qqqq")
        with pytest.raises(InvalidArgument, match="cannot be decoded here"):
            hashed(data)


class TestDoors:
    def test_without_the_extra_the_file_is_digested_and_the_answer_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video = file()  # made by what is then missing
        monkeypatch.setitem(sys.modules, "av", None)
        media = hashed(video)
        assert media.video_frames == ()
        assert media.not_perceptual is not None
        assert "pip install 'hashhub[video]'" in media.not_perceptual
        assert len(media.digests) == 3

    def test_frames_are_hashed_only_where_pdq_is_asked_for(self) -> None:
        media = hash_media(file(), algorithms=["MD5"])
        assert media.not_perceptual == "frames of videos are hashed by PDQ, which was not asked for"
        assert [h.algorithm for h in media.digests] == ["MD5"]

    def test_every_kind_of_source_gives_the_same(self, tmp_path: Path) -> None:
        class Pipe(io.RawIOBase):
            def __init__(self, data: bytes) -> None:
                self.left = io.BytesIO(data)

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                return self.left.readinto(buffer)

        path = tmp_path / "video.mp4"
        path.write_bytes(file())
        whole = hashed(file())
        behind = io.BytesIO(b"before it" + file())
        behind.seek(9)
        assert hash_media(path) == hash_media(Pipe(file())) == hash_media(behind) == whole  # type: ignore[arg-type]
        with pytest.raises(LimitExceeded):
            hash_media(Pipe(file()), limits=Limits(max_bytes=1000))  # type: ignore[arg-type]
        assert hash_media(path, limits=Limits(max_bytes=1000)) == whole  # a file is never in memory as a whole

    def test_the_query_has_its_frames(self) -> None:
        media = hashed(file())
        query = media.query("label")
        assert query.frames == media.video_frames
        assert query.hashes == media.digests

    def test_child_processes_give_the_same(self) -> None:
        pool = MediaPool(children=1, max_queued=10, seconds=60, memory_bytes=1 << 30, limits=Limits())
        try:
            with pool.room() as place:
                for container in ("mp4", "webm"):
                    assert place.hash(file(container)) == hashed(file(container))
                with pytest.raises(InvalidArgument) as caught:
                    place.hash(file()[:-100])
                assert caught.value.reason is Reason.UNREADABLE_MEDIA
        finally:
            pool.close()


class TestSignatures:
    @pytest.mark.parametrize(
        ("head", "media_type"),
        [
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video/quicktime"),
            (b"\0\0\0\x14ftyp3gp4\0\0\0\0isom", "video/3gpp"),
            (b"\0\0\0\x14ftypM4A \0\0\0\0isom", "video/mp4"),  # a name alone makes no sound of a video
            (b"\0\0\0\x08wide\0\0\0\0mdat", "video/quicktime"),
            (b"\0\0\x02\0moov", "video/quicktime"),
            (b"FLV\x01\x05\0\0\0\x09", "video/x-flv"),
            (b"\0\0\x01\xba\x44", "video/mpeg"),
            (b"\0\0\x01\xb3\x14", "video/mpeg"),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm"),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "video/x-matroska"),
            (b"G" + b"\0" * 187, "application/octet-stream"),
            (b"G" * 1024, "video/mp2t"),
            ((b"G" + b"\0" * 187) * 5, "video/mp2t"),
            ((b"\0\0\0\0G" + b"\0" * 187) * 5, "video/mp2t"),
            (b"free lunch", "application/octet-stream"),
            (b"#EXTM3U\n#EXT-X-VERSION:3\n", "application/octet-stream"),  # a playlist is not opened
            (b"ffconcat version 1.0\nfile /etc/passwd\n", "application/octet-stream"),
        ],
    )
    def test_first_bytes_say_what_it_is(self, head: bytes, media_type: str) -> None:
        assert media_type_of(head) == media_type


def _grey_avi() -> bytes:
    def build(output: Any) -> None:
        stream = output.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray"
        shade = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(shade, format="gray")
            frame.pts = i
            output.mux(stream.encode(frame))

    return _muxed("avi", build)


def test_lines_that_stand_from_the_bottom_up_are_read() -> None:
    upright = _grey_avi()
    mark = b"\0BottomUp\0"  # at the end of the stream's format: FFmpeg then hands the lines out backwards
    at = upright.index(b"strf") + 4
    length = int.from_bytes(upright[at : at + 4], "little")
    longer = (length + len(mark)).to_bytes(4, "little")
    data = bytearray(upright[:at] + longer * 2 + upright[at + 8 : at + 4 + length] + mark + upright[at + 4 + length :])
    for place in (0, 12, data.index(b"strl") - 8):
        size = int.from_bytes(data[place + 4 : place + 8], "little") + len(mark)
        data[place + 4 : place + 8] = size.to_bytes(4, "little")
    turned = hashed(bytes(data)).video_frames
    assert len(turned) == len(hashed(upright).video_frames) == 2
    assert turned[0].quality > 0


def test_all_other_streams_are_named() -> None:
    def build(output: Any) -> None:
        streams = [output.add_stream("mpeg4", rate=25) for _ in range(3)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), format="yuv420p")
            frame.pts = 0
            output.mux([*stream.encode(frame), *stream.encode(None)])

    assert hashed(_muxed("mp4", build)).skipped == "the file has 2 more video streams, which were not looked at"


@pytest.mark.parametrize("edges", [(40, 0), (0, 50), (16, 24)])
@pytest.mark.parametrize("level", [0, 235])
def test_the_border_that_all_frames_have_is_cut(edges: tuple[int, int], level: int) -> None:
    shown = clip(3, seconds=5)
    down, across = edges
    framed = [np.pad(f, ((down, down), (across, across), (0, 0)), constant_values=level) for f in shown.frames]
    black, white = np.zeros_like(framed[0]), np.full_like(framed[0], 255)
    framed[0] = black  # a fade
    framed[-1] = black if level else white
    data = encoded(shown._replace(frames=[np.ascontiguousarray(f) for f in framed]))
    listed = hash_media(encoded(shown)).video_frames
    cut = hash_media(data, effort=Effort.STANDARD)
    assert hash_media(data).without_border == ()
    near = [min(distance(f, own) for own in listed) for f in cut.without_border if f.quality >= 50]
    assert len(near) >= 4
    assert max(near) <= 20
    assert cut.query().variants[0].variant == "border-removed"
    assert hash_media(encoded(shown), effort=Effort.STANDARD).without_border == ()


def _faded(frame: Any, colour: int, share: float) -> Any:
    return (frame * (1 - share) + colour * share).astype(np.uint8)


_BARS: dict[str, Any] = {
    "fades in from black and out to white": lambda frames: [
        _faded(f, 0 if i < 10 else 255, max(1 - i / 10, (i - 39) / 10, 0)) for i, f in enumerate(frames)
    ],
    "is white at times": lambda frames: [np.full_like(f, 255) if i in {20, 30} else f for i, f in enumerate(frames)],
    "has titles on black and on white": lambda frames: [
        _title(frames[0], 0),
        *frames[1:-10],
        *[_title(frames[0], 235)] * 10,
    ],
    "stands between pillars": lambda frames: [f.transpose(1, 0, 2) for f in frames],
    "has a mark on its picture": lambda frames: [_marked(f) for f in frames],
}


def _title(frame: Any, colour: int) -> Any:
    card = np.full_like(frame, colour)
    card[90:110, 100:220] = 255 - colour
    return card


def _marked(frame: Any) -> Any:
    frame = frame.copy()
    frame[50:60, 280:310] = 255
    return frame


@pytest.mark.parametrize("what", _BARS)
def test_a_letterboxed_video_that(what: str) -> None:
    shown = clip(5, seconds=5)
    barred = [np.pad(f, ((40, 40), (0, 0), (0, 0))) for f in shown.frames]
    frames = [np.ascontiguousarray(f) for f in _BARS[what](barred)]
    upright = what != "stands between pillars"
    listed = hash_media(
        encoded(shown if upright else shown._replace(frames=[f.transpose(1, 0, 2) for f in shown.frames]))
    ).video_frames
    cut = hash_media(encoded(shown._replace(frames=frames)), effort=Effort.STANDARD).without_border
    near = [min(distance(f, own) for own in listed) for f in cut if f.quality >= 50]
    assert sum(bits <= 31 for bits in near) >= 3


def test_a_border_of_a_part_is_not_cut() -> None:
    shown = clip(5, seconds=5)
    barred = [np.pad(f[40:-40], ((40, 40), (0, 0), (0, 0))) if i < 30 else f for i, f in enumerate(shown.frames)]
    data = encoded(shown._replace(frames=[np.ascontiguousarray(f) for f in barred]))
    assert hash_media(data, effort=Effort.STANDARD).without_border == ()
