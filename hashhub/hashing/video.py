"""A video's file to PDQ hashes of its frames: one each second, and one after each cut.

    container within the file ── the one demuxer of its type ── the default video stream
        ── frames by their time ── decode errors counted ── PDQ of each at full size

Frames are hashed as vPDQ's reference does (facebook/ThreatExchange, vpdq/cpp): as decoded, by BT.601's coefficients,
neither turned nor deinterlaced, without alpha. Edit lists are not followed, so that they hide no frames. A time that is
missing, goes back or leaps by an hour counts as one frame's length. Damage is an error unless its second has a sound
frame (`_Progress`).
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from hashhub.errors import InvalidArgument, Reason
from hashhub.hashing.decoding import require_extra
from hashhub.hashing.structure import SIGNATURE_BYTES, Limits, check_size, errors_of_the_family, packet_bytes, too_large
from hashhub.model import VideoFrame

if TYPE_CHECKING:
    import av
    import numpy as np
    import numpy.typing as npt
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg's names of the one demuxer for each type.
DEMUXERS: Final[dict[str, str]] = {
    "video/3gpp": "mov",
    "video/mp2t": "mpegts",
    "video/mp4": "mov",
    "video/mpeg": "mpeg",
    "video/ogg": "ogg",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-flv": "flv",
    "video/x-matroska": "matroska",
    "video/x-ms-asf": "asf",
    "video/x-msvideo": "avi",
}
_ELEMENTARY: Final = b"\x00\x00\x01\xb3"  # MPEG video without a container
_NO_CHOICE_OF_METADATA: Final = 19  # this PyAV and newer open a file all the same if its metadata are not UTF-8

# Decoders of what cameras, phones, browsers and editors write, by FFmpeg's names. Rarer ones are seldom tested against
# hostile bytes.
_DECODERS: Final = frozenset({
    "av1", "cinepak", "dnxhd", "dvvideo", "ffv1", "flv", "h263", "h264", "hevc", "huffyuv", "libdav1d", "mjpeg",
    "mpeg1video", "mpeg2video", "mpeg4", "mpegvideo", "msmpeg4", "msmpeg4v2", "msmpeg4v1", "prores", "qtrle",
    "rawvideo", "svq1", "svq3", "theora", "utvideo", "vc1", "vp6", "vp6a", "vp6f", "vp8", "vp9", "wmv1", "wmv2", "wmv3",
})  # fmt: skip

_HASHED_COUNTS: Final = 5  # PDQ of a frame takes as long as decoding so many
_SLACK: Final = 2  # times `max_video_pixels`, for what is hashed besides
_LONGEST_STEP_MS: Final = 60 * 60 * 1000  # between two frames; a longer one is a broken time
_RATES: Final = (1.0, 240.0)  # frames a second that are believed; slow motion has 240
_FALLBACK_MS: Final = 40.0  # of a frame, where the file gives no rate
_LEAD_MS: Final = 5000  # a recording that begins between two key frames begins with frames that nobody can decode

# A cut: patches of the picture differ by more than this on the mean (of 255), and by more than so many times what they
# lately did from frame to frame. Synthetic and natural motion stays below; a missed cut costs nothing where its scene
# lasts a second, and one too many costs a hash.
_CUT_DIFFERENCE: Final = 20.0
_CUT_RATIO: Final = 2.5
_CUT_WEIGHT: Final = 0.2  # of the last difference in the running mean
_CUT_SPACING_MS: Final = 250  # and no closer than so many frames, so that neither flicker nor false times
_CUT_SPACING_FRAMES: Final = 8  # make a hash of every frame or hide one
_RECENT: Final = 16  # packets by which the distance of frames is estimated
_PATCHES: Final = (9, 16)  # rows and columns of what is compared
_POINTS: Final = 4  # of a patch, each way
# FFmpeg's formats whose first plane is brightness alone, in the lowest bits of whole bytes.
_PLANAR: Final = re.compile(r"(?:yuva?j?4\d\dp|gray)(?:|8|9le|1[0-6]le)|nv12|nv21")
_SMALL_SIDE: Final = 512  # pixels, the longer one, of the pictures by which a common border is found
_ONE_COLOUR: Final = 14  # levels from the darkest to the lightest pixel of a frame that shows nothing
_AT_ONCE: Final = 512  # of these, some 75 MB
_MOST_CUT: Final = 4_000  # frames without their border: with all others they must fit in a message
_BYTE: Final = 8  # bits
_BOX_HEADER: Final = 8  # bytes of length and type
_TAIL_BYTES: Final = 1 << 18  # of a program stream: several of its longest packets
_PES_HEADER: Final = 6  # bytes
_MPEG_1: Final = 2  # the first bits of a pack's clock
_PACK: Final = b"\x00\x00\x01\xba"
_FLV_TAG_HEADER: Final = 11  # bytes
_MOST_VINT: Final = 8  # bytes of an EBML length
_MAX_BOXES: Final = 1_000_000  # of an ISO base media file, at its top level: two for each fragment


class Video(NamedTuple):
    """What was hashed of a video. `asked`: frames that interval and cuts ask for. `skipped`: what was not looked at.
    `without_border`: frames without their common border, if any. `variants_skipped`: which were left out.
    """

    width: int
    height: int
    asked: int
    frames: tuple[VideoFrame, ...]
    skipped: str | None
    without_border: tuple[VideoFrame, ...] = ()
    variants_skipped: str | None = None


def hash_video(stream: BinaryIO, media_type: str, limits: Limits, *, cuts_border: bool = False) -> Video | None:
    """Return the hashes of the video that begins where the seekable stream stands; None if it holds sound alone.

    `cuts_border`: also of its frames without the border that all of them have.

    Raises:
        InvalidArgument: UNREADABLE_MEDIA, for a file that is cut off or damaged, or in a codec not decoded here.
        LimitExceeded: MEDIA_TOO_LARGE.
        FailedPrecondition: MISSING_EXTRA.
    """
    require_extra("video")
    with errors_of_the_family("file", media_type, "read as a video"):
        window = _Window(stream)
        _check_extent(window, media_type)
        seconds = 0.0
        while True:
            window.seek(0)
            with _opened(window, media_type, limits) as container:
                chosen = _chosen(container)
                if chosen is None:
                    return None
                seconds = seconds or _declared_seconds(container, chosen[0])
                if seconds:
                    return _VideoReading(container, *chosen, media_type, limits, cuts_border=cuts_border).hashed(
                        seconds
                    )
                # What browsers record does not say how long it is. Reading without decoding takes a hundredth of the
                # time.
                seconds = _measured_seconds(container, chosen[0])


def _unreadable(what: str, **metadata: str) -> InvalidArgument:
    return InvalidArgument(what, reason=Reason.UNREADABLE_MEDIA, metadata=metadata)


# ----------------------------------------------------------------------------------------------------------------------
# Containers


class _Window:
    """A seekable stream from where it stands, as a file. FFmpeg gets no name and no descriptor."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._begin = stream.tell()
        self.size = stream.seek(0, 2) - self._begin
        stream.seek(self._begin)

    def read(self, count: int) -> bytes:
        return self._stream.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = self._begin if whence == 0 else 0
        return self._stream.seek(offset + base, whence) - self._begin

    def tell(self) -> int:
        return self._stream.tell() - self._begin


def _refuse(_url: str, _flags: int, _options: object) -> Any:
    raise _unreadable("the video refers to another file, which is not opened; send one that holds its own frames")


@contextmanager
def _opened(window: _Window, media_type: str, limits: Limits) -> Iterator[InputContainer]:
    import av

    demuxer = DEMUXERS[media_type]
    if media_type == "video/mpeg":
        demuxer = "mpegvideo" if window.read(4) == _ELEMENTARY else "mpeg"
        window.seek(0)
    options = {
        "codec_whitelist": ",".join(sorted(_DECODERS)),
        "format_whitelist": f"{demuxer},mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",  # names of the same two
        "protocol_whitelist": "none",
    }
    if demuxer == "mov":
        options |= {"ignore_editlist": "1", "enable_drefs": "0"}
    streams = {"max_pixels": str(limits.max_pixels), "threads": "1"}
    has_choice = int(av.__version__.partition(".")[0]) < _NO_CHOICE_OF_METADATA
    metadata: dict[str, Any] = {"metadata_errors": "ignore"} if has_choice else {}
    with av.open(
        window,
        mode="r",
        format=demuxer,
        options=streams,
        container_options=options,
        io_open=_refuse,
        **metadata,
    ) as container:
        yield container


def _chosen(container: InputContainer) -> tuple[VideoStream, int] | None:
    """Return the default video stream, else the first, and how many others there are. Cover pictures are none."""
    from av.stream import Disposition

    videos = [v for v in container.streams.video if not v.disposition & Disposition.attached_pic]
    if not videos:
        if not container.streams.audio:
            raise _unreadable(
                "the file has neither pictures nor sound that can be read: it is truncated, damaged or no video; send "
                "the complete file"
            )
        return None
    default = next((v for v in videos if v.disposition & Disposition.default), videos[0])
    return default, len(videos) - 1


def _declared_seconds(container: InputContainer, video: VideoStream) -> float:
    """Return the length of the video as its file declares it; 0 if it does not."""
    of_stream = float((video.duration or 0) * _time_base(video))
    seconds = of_stream or (container.duration or 0) / 1e6
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _time_base(video: VideoStream) -> Fraction:
    return video.time_base or Fraction(1, 1000)


def _measured_seconds(container: InputContainer, video: VideoStream) -> float:
    """Return the length of the video by the times of its packets, at least that of one frame."""
    times = (packet.pts if packet.pts is not None else packet.dts for packet in container.demux(video))
    known = [time for time in times if time is not None]
    return max(float((max(known) - min(known)) * _time_base(video)) if known else 0.0, _FALLBACK_MS / 1000)


def _check_extent(window: _Window, media_type: str) -> None:
    """Raise InvalidArgument (UNREADABLE_MEDIA) where the container says that it is longer than its file."""
    match DEMUXERS[media_type]:
        case "mov":
            end = _boxes_end(window)
        case "avi":
            end = _riff_end(window)
        case "matroska":
            end = _segment_end(window.read(4096))
        case "asf":
            end = _asf_end(window.read(1 << 16))
        case "flv":
            end = _flv_end(window)
        case "mpegts":
            end = _transport_end(window)
        case "mpeg":
            window.seek(max(0, window.size - _TAIL_BYTES))
            end = window.size + _missing_of_program(window.read(_TAIL_BYTES))
        case _:
            end = 0
    if end > window.size:
        raise _unreadable(
            f"the {media_type} file is cut off: it ends at byte {window.size:,} and should go on to {end:,} at least; "
            "send the complete file",
            mediaType=media_type,
        )


def _boxes_end(window: _Window) -> int:
    """Return where the last top-level box of an ISO base media file ends (ISO/IEC 14496-12, 4.2: size, type)."""
    at = 0
    for _ in range(_MAX_BOXES):
        window.seek(at)
        header = window.read(16)
        if len(header) < _BOX_HEADER or not header[4:8].strip(b"\0"):  # the end, or the zeros that old files end with
            return at
        size = int.from_bytes(header[:4])
        if size == 0:  # up to the end
            return window.size
        if size == 1:
            size = int.from_bytes(header[8:16])
        if size < _BOX_HEADER:
            return at
        if at + size > window.size:
            return at + size
        at += size
    raise too_large("boxes", _MAX_BOXES, "boxes", "the video has more boxes", "video")


def _riff_end(window: _Window) -> int:
    """Return where the last RIFF chunk of an AVI ends; files beyond 1 GB have several (OpenDML)."""
    at = 0
    for _ in range(_MAX_BOXES):
        window.seek(at)
        header = window.read(8)
        if header[:4] != b"RIFF" or len(header) < _BOX_HEADER:
            return at
        size = int.from_bytes(header[4:8], "little")
        if at + 8 + size > window.size:
            return at + 8 + size
        at += 8 + size + size % 2
    raise too_large("boxes", _MAX_BOXES, "RIFF chunks", "the video has more chunks", "video")


def _segment_end(head: bytes) -> int:
    """Return where the segment of a Matroska file ends; 0 if it does not say (RFC 8794, 4 and 5: id, size, data)."""
    try:
        _, at = _vint(head, 4)  # length of the EBML header
        length, _ = _vint(head, 4)
        at += length
        if head[at : at + 4] != b"\x18\x53\x80\x67":
            return 0
        size, at = _vint(head, at + 4)
    except IndexError:
        return 0
    return 0 if size < 0 else at + size


def _vint(head: bytes, at: int) -> tuple[int, int]:
    """Return an EBML length, -1 for "unknown", and where it ends."""
    width = 9 - head[at].bit_length()
    if width > _MOST_VINT:
        raise IndexError
    value = int.from_bytes(head[at : at + width]) & (1 << 7 * width) - 1
    return (-1 if value == (1 << 7 * width) - 1 else value), at + width


def _flv_end(window: _Window) -> int:
    """Return the size of the file, and one more where it does not end with a tag and its length (FLV 10.1, annex E)."""
    window.seek(max(0, window.size - 4))
    tag_bytes = int.from_bytes(window.read(4))
    at = window.size - 4 - tag_bytes
    if tag_bytes >= _FLV_TAG_HEADER and at > 0:
        window.seek(at + 1)
        if int.from_bytes(window.read(3)) == tag_bytes - _FLV_TAG_HEADER:
            return window.size
    return window.size + 1


def _transport_end(window: _Window) -> int:
    """Return where the last packet of an MPEG-2 transport stream ends."""
    head = window.read(SIGNATURE_BYTES)
    length = packet_bytes(head) or 1
    return -(-window.size // length) * length


def _missing_of_program(tail: bytes) -> int:
    """Return how many bytes lack to the last packet of an MPEG program stream, at least (ISO/IEC 13818-1, 2.5.3)."""
    at = tail.find(_PACK)
    while 0 <= at < len(tail):
        header = tail[at : at + 14]
        if len(header) < _PES_HEADER:
            return _PES_HEADER - len(header)
        code = header[3] if header.startswith(b"\0\0\1") else 0
        if code == _PACK[3]:
            at += 12 if header[4] >> 4 == _MPEG_1 else 14 + (header[-1] & 7)  # MPEG-1, MPEG-2
        elif code > _PACK[3]:
            at += _PES_HEADER + int.from_bytes(header[4:6])
        else:  # the end code, or what is no stream of packets
            return 0
    return max(0, at - len(tail))


# ASF specification, 3.2: the file properties object; id, size, file id, then the size of the file. Flag 1 at 88: live.
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf_end(head: bytes) -> int:
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or head[at + 88 : at + 89] in (b"", b"\x01"):
        return 0
    return int.from_bytes(head[at + 40 : at + 48], "little")


# ----------------------------------------------------------------------------------------------------------------------
# Frames


class _VideoReading:
    """One video on its way to hashes."""

    def __init__(
        self,
        container: InputContainer,
        video: VideoStream,
        others: int,
        media_type: str,
        limits: Limits,
        *,
        cuts_border: bool,
    ) -> None:
        codec: Any = video.codec_context  # None without a decoder, whatever its type says
        if codec is None or codec.codec.name not in _DECODERS:
            name = codec.codec.name if codec is not None else "this"
            raise _unreadable(
                f"videos in {name} codec cannot be decoded here; convert the video to H.264 in MP4",
                mediaType=media_type,
            )
        self._container, self._video, self._others, self._limits = container, video, others, limits
        self._media_type = media_type
        self._border = _Border() if cuts_border else None
        self._size = (codec.width, codec.height)
        check_size(limits, *self._size, "video")
        codec.thread_count = 1
        # Errors end the frame, instead of being painted over by the decoder.
        codec.options = {"err_detect": "explode", "max_pixels": str(limits.max_pixels)}
        rate = float(video.average_rate or video.guessed_rate or 0)
        self._frame_ms = 1000 / rate if _RATES[0] <= rate <= _RATES[1] else _FALLBACK_MS
        self._spent = 0
        self._packets = 0

    def hashed(self, seconds: float) -> Video:
        """Return the hashes; `seconds`: how long the video is said to be."""
        if seconds > self._limits.max_video_seconds:
            raise too_large(
                "max_video_seconds", self._limits.max_video_seconds, "seconds", "the video is longer", "video"
            )
        pixels = max(1, self._size[0] * self._size[1])
        frames = seconds * 1000 / self._frame_ms
        by_key_frames = self._limits.key_frames_only or frames * pixels > self._limits.max_video_pixels
        interval = float(self._limits.video_interval_ms)
        if by_key_frames:  # as many as fit, evenly spaced
            most = max(1, self._limits.max_video_pixels // (pixels * _HASHED_COUNTS))
            interval = max(interval, seconds * 1000 / most)
        progress = _Progress(interval, self._limits, self._frame_ms, by_key_frames=by_key_frames)
        self._run(progress, by_key_frames=by_key_frames)
        progress.finish()
        what, declared = "", self._video.frames
        if progress.damage:
            what = f"the {self._media_type} file is damaged: {progress.damage}"
        elif DEMUXERS[self._media_type] == "mov" and self._packets < declared:
            what = f"the {self._media_type} file is cut off: {self._packets:,} of its {declared:,} frames are there"
        elif not progress.frames and self._packets:
            what = f"none of the frames of the {self._media_type} file can be decoded"
        if what:
            raise _unreadable(f"{what}; send the complete file", mediaType=self._media_type)
        return self._told(progress, by_key_frames=by_key_frames)

    def _told(self, progress: _Progress, *, by_key_frames: bool) -> Video:
        asked = max(progress.asked, len(progress.frames))
        sentences = []
        if by_key_frames and len(progress.frames) < asked:
            why = "as was asked for" if self._limits.key_frames_only else "because the video is long or large"
            sentences.append(f"key frames alone were read, {why}: {len(progress.frames)} of {asked} frames were hashed")
        elif len(progress.frames) < asked:
            sentences.append(f"{len(progress.frames)} of {asked} frames were hashed, as many as are taken of one video")
        if self._others:
            streams = "stream, which was" if self._others == 1 else "streams, which were"
            sentences.append(f"the file has {self._others} more video {streams} not looked at")
        skipped = "; ".join(sentences) or None
        cut, left_out = (self._border.frames(), self._border.left_out) if self._border is not None else ((), 0)
        unsought = f"the last {left_out} frames were looked for with their border alone" if left_out else None
        return Video(*self._size, asked, tuple(progress.frames), skipped, cut, unsought)

    def _run(self, progress: _Progress, *, by_key_frames: bool) -> None:
        """Decode what is needed: all frames that others build on, and those that are hashed."""
        import av

        codec = self._video.codec_context
        for packet in self._container.demux(self._video):
            if packet.size:
                self._packets += 1
                time = self._milliseconds(packet.pts if packet.pts is not None else packet.dts)
                progress.announce(time)
                if by_key_frames:
                    if not (packet.is_keyframe and progress.wants_packet(time, 0.0)):
                        continue
                    codec.skip_frame = "NONKEY"
                else:
                    is_wanted = progress.wants_packet(time, self._milliseconds(packet.duration) or 0.0)
                    codec.skip_frame = "DEFAULT" if is_wanted else "NONREF"
                if packet.is_corrupt:
                    progress.break_at(time)
            try:
                decoded = packet.decode()
            except av.FFmpegError as e:
                if isinstance(e, MemoryError):
                    raise
                progress.break_at(self._milliseconds(packet.pts) if packet.size else None)
                continue
            for frame in decoded:
                self._take(frame, progress, by_key_frames=by_key_frames)

    def _take(self, frame: av.VideoFrame, progress: _Progress, *, by_key_frames: bool) -> None:
        check_size(self._limits, frame.width, frame.height, "video")
        pixels = frame.width * frame.height
        self._spend(pixels)
        is_sound = progress.step(self._milliseconds(frame.pts), is_key=frame.key_frame, is_corrupt=frame.is_corrupt)
        is_cut = not by_key_frames and progress.is_cut(_patches(frame))
        if is_sound and (progress.is_due() or is_cut):
            self._spend(pixels * _HASHED_COUNTS)
            progress.add(*_pdq(frame))
            if self._border is not None:
                self._border.add(progress.now_ms, frame)

    def _spend(self, pixels: int) -> None:
        self._spent += pixels
        if self._spent > _SLACK * self._limits.max_video_pixels:  # it is longer than it was said to be
            bound = self._limits.max_video_pixels
            raise too_large("max_video_pixels", bound, "pixels", "the video has more pixels in all its frames", "video")

    def _milliseconds(self, pts: int | None) -> float | None:
        return None if pts is None else float(pts * _time_base(self._video)) * 1000


class _Progress:
    """Which frames are hashed, and whether damage has cost one. Times are milliseconds.

    A slot is a stretch of one interval; the first sound frame in it is hashed. A frame is sound if nothing failed since
    the last key frame: those after it build on what failed. A slot that passes without a sound frame because of damage
    is lost, and with it the video: what was in it was not looked at.
    """

    def __init__(self, interval: float, limits: Limits, frame_ms: float, *, by_key_frames: bool) -> None:
        self._interval, self._limits, self._frame_ms = interval, limits, frame_ms
        self._by_key_frames = by_key_frames
        self.frames: list[VideoFrame] = []
        self.damage: str | None = None
        self._slots: set[int] = set()  # intervals, as they were asked for, that have frames
        self._extra = 0  # frames that were hashed besides
        # Of the file: times as they stand in it.
        self._origin: float | None = None  # of the first packet
        self._last: float | None = None  # of the last frame
        self._packets = 0
        self._packet_due = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)  # packets' times
        # Of the frames: a clock that never goes back.
        self._clock: float | None = None
        self._due = 0.0
        self._since_hashed = 0
        # Damage.
        self._is_sound = True
        self._broken_until: float | None = None
        # Cuts.
        self._patches: npt.NDArray[np.float32] | None = None
        self._usual: float | None = None
        self._cut_at = -math.inf
        self._since_cut = 0
        self._is_cut_due = False

    @property
    def asked(self) -> int:
        """Frames that the interval and the cuts ask for."""
        return len(self._slots) + self._extra

    def announce(self, time: float | None) -> None:
        """Take note of a packet, in the order of the file."""
        if self._origin is None:
            self._origin = time
        self._packets += 1
        if time is not None:
            self._recent.append(time)
        if self._by_key_frames:
            self._ask(self._since_origin(time))

    def wants_packet(self, time: float | None, duration: float) -> bool:
        """Return whether a frame is hashed that no other may build on; by key frames, whether this one is."""
        at = self._since_origin(time) + 0.5  # times are rounded to the file's own unit
        if self._by_key_frames:
            if 0 <= at < self._packet_due and at >= self._packet_due - self._interval:
                return False
            self._packet_due = (at // self._interval + 1) * self._interval
            return True
        if time is None:
            return True
        # The first frame at or after the beginning of a slot; the one before it began about its duration earlier.
        apart = (max(self._recent) - min(self._recent)) / max(1, len(self._recent) - 1)
        return at // self._interval != (at - 1.5 * max(duration, self._frame_ms, apart)) // self._interval

    def step(self, time: float | None, *, is_key: bool, is_corrupt: bool) -> bool:
        """Take note of a frame, in the order in which they are shown; return whether it is sound."""
        self._since_hashed += 1
        self._since_cut += 1
        if self._clock is None:
            self._clock = 0.0
        else:
            passed = time - self._last if time is not None and self._last is not None else 0.0
            self._clock += passed if 0 < passed <= _LONGEST_STEP_MS else self._frame_ms
        if time is not None:
            self._last = time
        if self._clock > self._limits.max_video_seconds * 1000:
            raise too_large(
                "max_video_seconds", self._limits.max_video_seconds, "seconds", "the video is longer", "video"
            )
        if not self._by_key_frames:
            self._ask(self._clock)
        if is_corrupt:
            self._is_sound = False
        elif is_key:
            self._is_sound = True
        if not self._is_sound:
            self._break_until(self._clock)
        elif self._broken_until is not None and self.frames and self._clock >= self._due + self._interval:
            self._lose(self._due)
        return self._is_sound

    def break_at(self, time: float | None) -> None:
        """Take note that a packet could not be decoded."""
        self._is_sound = False
        at = self._since_origin(time)
        if self._clock is None and at > _LEAD_MS:
            self._lose(at)
        self._break_until(max(at, self._clock or 0.0))

    def finish(self) -> None:
        """Take note that the file ends."""
        if self._broken_until is not None and self.frames and (self._broken_until >= self._due or not self._is_sound):
            self._lose(self._broken_until)  # damage at the very end is what cutting off leaves

    def is_cut(self, patches: npt.NDArray[np.float32]) -> bool:
        """Return whether the frame, of which these are the patches, is hashed because a scene begins."""
        before, self._patches = self._patches, patches
        if before is None:
            return False
        difference = float(abs(patches - before).mean())
        usual = min(difference, _CUT_DIFFERENCE) if self._usual is None else self._usual
        if difference > _CUT_DIFFERENCE and difference > _CUT_RATIO * usual:
            self._is_cut_due = True
        self._usual = usual + _CUT_WEIGHT * (min(difference, _CUT_DIFFERENCE) - usual)
        is_apart = self._now - self._cut_at >= _CUT_SPACING_MS or self._since_cut >= _CUT_SPACING_FRAMES
        if not self._is_cut_due or not is_apart:
            return False
        self._is_cut_due = False
        self._cut_at, self._since_cut = self._now, 0
        return True

    def is_due(self) -> bool:
        """Return whether the frame is hashed because of its time."""
        return self._by_key_frames or self._now + 0.5 >= self._due or self._since_hashed >= _RATES[1]

    def add(self, digest: bytes, quality: int) -> None:
        """Add the hash of the frame."""
        if not self._by_key_frames and self._now + 0.5 < self._due:
            self._extra += 1
        self._since_hashed = 0
        if len(self.frames) == self._limits.max_video_frames:
            self._interval *= 2
            self.frames = self.frames[::2][: self._limits.max_video_frames - 1] or self.frames[:1]
        if len(self.frames) < self._limits.max_video_frames:
            self.frames.append(VideoFrame(self.now_ms, quality, digest))
        self._due = ((self._now + 0.5) // self._interval + 1) * self._interval
        if self._broken_until is not None and self._broken_until < self._due - self._interval:
            self._broken_until = None

    def _ask(self, at: float) -> None:
        self._slots.add(int((at + 0.5) // self._limits.video_interval_ms))

    @property
    def now_ms(self) -> int:
        """When the frame is shown."""
        return round(self._now)

    @property
    def _now(self) -> float:
        return self._clock or 0.0

    def _since_origin(self, time: float | None) -> float:
        if time is None or self._origin is None:
            return self._packets * self._frame_ms
        return time - self._origin

    def _break_until(self, at: float) -> None:
        self._broken_until = at if self._broken_until is None else max(at, self._broken_until)

    def _lose(self, at: float) -> None:
        self.damage = self.damage or f"what it shows {at / 1000:.1f} s from its beginning cannot be decoded"


class _Border:
    """Cuts off the border that all frames have, and hashes what is left. Small grey pictures are kept until there are
    many, and cut by the border of all so far, since dark scenes show none. What counts is how far a pixel is from its
    own frame's edge: borders fade with the frame.
    """

    def __init__(self) -> None:
        self._shown: list[tuple[int, npt.NDArray[np.uint8]]] = []
        self._apart: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]] | None = None  # least and most so far
        self._frames: list[VideoFrame] = []
        self.left_out = 0

    def add(self, offset_ms: int, frame: av.VideoFrame) -> None:
        """Take in the next of the frames that are hashed."""
        import numpy as np

        if len(self._frames) >= _MOST_CUT:
            self.left_out += 1
            return
        factor = min(1.0, _SMALL_SIDE / max(frame.width, frame.height))
        width, height = (max(1, round(side * factor)) for side in (frame.width, frame.height))
        grey = frame.reformat(width, height, "gray", interpolation="AREA", threads=1)
        small = cast("npt.NDArray[np.uint8]", grey.to_ndarray())
        if (self._shown and self._shown[0][1].shape != small.shape) or len(self._shown) == _AT_ONCE:
            self._cut()
        self._shown.append((offset_ms, small))
        if np.ptp(small) <= _ONE_COLOUR:
            return
        edge = min((small[0], small[-1], small[:, 0], small[:, -1]), key=np.ptp)  # the most like one of a border
        apart = small - np.int16(np.median(edge))
        least, most = self._apart or (apart, apart)
        is_alike = least.shape == apart.shape
        self._apart = (np.minimum(least, apart), np.maximum(most, apart)) if is_alike else (apart, apart)

    def frames(self) -> tuple[VideoFrame, ...]:
        """Return the frames without their border, in order; none if there is no border."""
        if self._shown:
            self._cut()
        return tuple(self._frames)

    def _cut(self) -> None:
        import numpy as np

        from hashhub.hashing import pdq
        from hashhub.hashing.variants import common_border

        shape = self._shown[0][1].shape
        if self._apart is not None and self._apart[0].shape == shape:
            left, top, right, bottom = common_border(*self._apart)
        else:
            left, top, (bottom, right) = 0, 0, shape
        for offset_ms, small in self._shown if (bottom - top, right - left) != shape else ():
            cut = np.repeat(small[top:bottom, left:right, None], 3, axis=2)
            [(bits, quality)] = pdq.compute(cut, [(False, False)]).values()
            self._frames.append(VideoFrame(offset_ms, quality, bits.to_bytes(32)))
        self._shown = []


def _patches(frame: av.VideoFrame) -> npt.NDArray[np.float32]:
    """Return the frame's brightness in patches, 0 to 255: of a few pixels, as all take longer than decoding."""
    import numpy as np

    rows, columns = _PATCHES
    down = np.linspace(0, frame.height - 1, rows * _POINTS).astype(int)
    across = np.linspace(0, frame.width - 1, columns * _POINTS).astype(int)
    form = frame.format
    bits = form.components[0].bits
    plane = frame.planes[0]
    if _PLANAR.fullmatch(form.name) and plane.line_size > 0:  # below 0: its lines stand from the bottom up
        kind = np.dtype(np.uint8 if bits == _BYTE else "<u2")
        pixels = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        points = pixels[down[:, None], across] >> (bits - _BYTE)
    else:
        points = frame.reformat(
            columns * _POINTS, rows * _POINTS, "gray", interpolation="FAST_BILINEAR", threads=1
        ).to_ndarray()
    blocks = points.astype(np.float32).reshape(rows, _POINTS, columns, _POINTS)
    return cast("npt.NDArray[np.float32]", blocks.mean(axis=(1, 3)))


def _pdq(frame: av.VideoFrame) -> tuple[bytes, int]:
    """Return PDQ's digest and quality of the frame as vPDQ's reference has it."""
    from hashhub.hashing import pdq

    rgb = frame.reformat(format="rgb24", src_colorspace="ITU601", threads=1)
    pixels = cast("npt.NDArray[np.uint8]", rgb.to_ndarray())
    [(bits, quality)] = pdq.compute(pixels, [(False, False)]).values()
    return bits.to_bytes(32), quality
