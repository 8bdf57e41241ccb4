"""Pictures and videos to perceptual hashes, and the entry for media of any kind: `hash_media`.

    bytes ── signature ──┬─ a picture: decode within limits ── upright, opaque, 8-bit RGB ── PDQ, pHash, dHash per frame
                         │                                                            └─ variants, if asked for: PDQ
                         ├─ a video: exact digests as a stream ── PDQ of a frame a second (`hashing.video`)
                         └─ anything else: exact digests, and a sentence that says why there is no more

The signature alone decides: a picture that cannot be decoded is an error. docs/match/media.md.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, Violation
from hashhub.hashes import Hash, algorithm
from hashhub.hashing.decoding import opened_picture, require_extra
from hashhub.hashing.perceptual import BORDER_REMOVED, PERCEPTUAL_ALGORITHMS, perceptual_hashes
from hashhub.hashing.structure import DEFAULT_LIMITS, SIGNATURE_BYTES, Limits, media_type_of, stray_bytes, too_large
from hashhub.hashing.video import hash_video
from hashhub.model import Effort, Query, VariantHashes, VideoFrame

if TYPE_CHECKING:
    from PIL import Image

# The registry's names and hashlib's.
_HASHLIB_NAMES: Final[dict[str, str]] = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256"}

DIGEST_ALGORITHMS: Final = tuple(_HASHLIB_NAMES)

_CHUNK_BYTES: Final = 1 << 20
_TURNED: Final = {Effort.PLAIN: (), Effort.STANDARD: ("PDQ",), Effort.THOROUGH: PERCEPTUAL_ALGORITHMS}
"""Of which algorithms a picture's rotations and flips are computed: those of PDQ take a twentieth of the time."""


class Variant(msgspec.Struct, frozen=True):
    """The perceptual hashes of a picture derived from the frame. `name`: a `Transform`'s, one of `model.READINGS` or of
    `hashing.variants`. `quality`: PDQ's, 0 to 100; None without PDQ.
    """

    name: str
    hashes: tuple[Hash, ...]
    quality: int | None = None


class FrameHashes(msgspec.Struct, frozen=True, kw_only=True):
    """The perceptual hashes of one frame.

    Attributes:
        index: Position in the file, from 0.
        timestamp_ms: When the frame is first shown, from the start; 0 for a still picture and for pages.
        hashes: One a requested perceptual algorithm, in the order of `PERCEPTUAL_ALGORITHMS`.
        quality: PDQ's measure of how much there is to hash, 0 to 100; None if PDQ was not asked for.
        variants: Of further pictures derived from it, those of each name together; what was asked for, else empty.
    """

    index: int
    timestamp_ms: int
    hashes: tuple[Hash, ...]
    quality: int | None
    variants: tuple[Variant, ...] = ()


class MediaHashes(msgspec.Struct, frozen=True, kw_only=True):
    """Everything computed from one file.

    Attributes:
        media_type: Detected from the first bytes, `application/octet-stream` if unknown; never taken from a name.
        size_bytes: Length of the file.
        width: Of the upright first frame, in pixels; None unless the picture was decoded. Likewise `height`.
        frame_count: Frames in the file, of which `frames` may be a sample; of a video, the frames that its length and
            its cuts ask for (`Limits.video_interval_ms`). 0 unless decoded.
        frames: Of a picture, in file order. One whose hashes all equal an earlier frame's is left out.
        frames_hashed: Frames of a picture or video that were hashed, those left out of `frames` included.
        video_frames: Of a video, in the order of their times.
        without_border: The same, of a long video fewer, without the border that all of them have, unless the effort is
            PLAIN; empty if there is none.
        digests: Exact hashes of the bytes.
        not_perceptual: Why there are neither frames nor video frames, as a sentence for people; None if there are.
        skipped: What of the file was not looked at, such as a film behind a picture, as a sentence for people; None if
            nothing is known to be left out.
        variants_skipped: Which variants of a picture were asked for and not derived, and why, as a sentence for people;
            None if all were.
    """

    media_type: str
    size_bytes: int
    width: int | None
    height: int | None
    frame_count: int
    frames: tuple[FrameHashes, ...]
    digests: tuple[Hash, ...]
    not_perceptual: str | None
    frames_hashed: int = 0
    video_frames: tuple[VideoFrame, ...] = ()
    without_border: tuple[VideoFrame, ...] = ()
    skipped: str | None = None
    variants_skipped: str | None = None

    @property
    def hashes(self) -> tuple[Hash, ...]:
        """All distinct hashes: digests first, then the frames' own, then those of their variants."""
        own = chain.from_iterable(frame.hashes for frame in self.frames)
        turned = chain.from_iterable(variant.hashes for frame in self.frames for variant in frame.variants)
        return tuple(dict.fromkeys(chain(self.digests, own, turned)))

    def query(self, label: str = "") -> Query:
        """Return the question who knows this file: its own hashes, and apart from them those of variants, by name."""
        if len(self.frames) == 1 and not self.frames[0].variants:  # most pictures: of each algorithm one
            return Query(hashes=self.digests + self.frames[0].hashes, label=label, frames=self.video_frames)
        own = chain.from_iterable([frame.hashes for frame in self.frames])
        by_name: dict[str, dict[Hash, None]] = {}
        for frame in self.frames:
            for variant in frame.variants:
                by_name.setdefault(variant.name, {}).update(dict.fromkeys(variant.hashes))
        variants = [VariantHashes(name, tuple(hashes)) for name, hashes in by_name.items()]
        if self.without_border:
            variants.append(VariantHashes(BORDER_REMOVED, (), self.without_border))
        return Query(
            hashes=tuple(dict.fromkeys(chain(self.digests, own))),
            label=label,
            variants=tuple(variants),
            frames=self.video_frames,
        )


def hash_media(
    data: bytes | bytearray | memoryview | Path | BinaryIO,
    *,
    algorithms: Collection[str] | None = None,
    effort: Effort = Effort.PLAIN,
    limits: Limits = DEFAULT_LIMITS,
) -> MediaHashes:
    """Return the hashes of one media file.

    Args:
        data: The bytes, a path, or an open binary stream, which is read from where it stands to its end and left open.
        algorithms: Names of the algorithms to compute, by default all of `DIGEST_ALGORITHMS` and
            `PERCEPTUAL_ALGORITHMS`. Without a perceptual one no picture is decoded, so nothing beyond the base install
            is needed.
        effort: Which further pictures to derive from each frame and hash, for queries (`hashing.variants`), but for
            PLAIN also the seven rotations and flips: by PDQ, with THOROUGH by all algorithms. They are the hashes of
            the transformed pixels, not estimates (of PDQ, but for rounding). See `pdq_dihedral` for the estimate. A
            video's frames are hashed without their common border as well.
        limits: Bounds on what a picture or video may cost.

    Raises:
        InvalidArgument: UNREADABLE_MEDIA for a picture or video that is truncated, damaged or in a format not decoded
            here, or for a stream that cannot be read; UNKNOWN_ALGORITHM for an algorithm that is unknown or not
            computed here.
        LimitExceeded: MEDIA_TOO_LARGE, with the limit's name in the metadata.
        NotFound: RESOURCE_NOT_FOUND, if there is no file at the path.
        FailedPrecondition: MISSING_EXTRA, if a picture is to be hashed and the `hashing` extra is not installed.
    """
    wanted = _wanted(algorithms)
    if isinstance(data, Path):
        try:
            stream: BinaryIO = data.open("rb")
        except FileNotFoundError as e:
            raise NotFound("there is no media file at the given path; check the path") from e
        except (OSError, ValueError) as e:  # ValueError: a NUL in the path
            raise InvalidArgument(
                f"the media file cannot be opened ({type(e).__name__}); expected a readable file",
                reason=Reason.UNREADABLE_MEDIA,
            ) from e
        with stream:
            return _hash_stream(stream, wanted, limits, effort)
    if isinstance(data, bytes | bytearray | memoryview):
        data = io.BytesIO(data)
    return _hash_stream(data, wanted, limits, effort)


def _wanted(algorithms: Collection[str] | None) -> frozenset[str]:
    """Return the canonical names asked for, all of them computed here."""
    computed = (*DIGEST_ALGORITHMS, *PERCEPTUAL_ALGORITHMS)
    if algorithms is None:
        return frozenset(computed)
    wanted = frozenset(algorithm(name).name for name in algorithms)
    for name in sorted(wanted.difference(computed)):
        expected = f"must be among {', '.join(computed)}"
        raise InvalidArgument(
            f"{name} cannot be computed here; algorithms {expected}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithms", expected, "NOT_COMPUTED"),),
        )
    return wanted


def _hash_stream(stream: BinaryIO, wanted: frozenset[str], limits: Limits, effort: Effort) -> MediaHashes:
    chunks = read_chunks(stream)
    head = b""
    for chunk in chunks:  # a raw stream may give less than was asked for
        head += chunk
        if len(head) >= SIGNATURE_BYTES:
            break
    media_type = media_type_of(head)

    is_picture = media_type.startswith("image/")
    if is_picture and not wanted.isdisjoint(PERCEPTUAL_ALGORITHMS):
        data = _collect(chain((head,), chunks), limits)
        # Decode first: no digest is handed out for a picture that could not be looked at.
        # A viewer that passes over stray bytes shows the picture behind them.
        picture = _hash_picture(data[stray_bytes(head) :], media_type, wanted, limits, effort)
        return msgspec.structs.replace(picture, size_bytes=len(data), digests=digests((data,), wanted))

    is_video = media_type.startswith("video/")
    if is_video and "PDQ" in wanted and can_read_videos():
        return _hash_video(stream, chain((head,), chunks), len(head), media_type, wanted, limits, effort)

    counter = _Counter()
    exact = digests(counter.count(chain((head,), chunks)), wanted)
    return MediaHashes(
        media_type=media_type,
        size_bytes=counter.total,
        width=None,
        height=None,
        frame_count=0,
        frames=(),
        digests=exact,
        not_perceptual=_why_exact_only(media_type, wanted),
    )


def _why_exact_only(media_type: str, wanted: frozenset[str]) -> str:
    match media_type.partition("/")[0]:
        case "image":
            return "no perceptual algorithm was asked for"
        case "video" if "PDQ" not in wanted:
            return "frames of videos are hashed by PDQ, which was not asked for"
        case "video":
            return (
                f"frames of videos ({media_type}) need libraries that are not installed; run: pip install "
                "'hashhub[video]'"
            )
    return f"not a picture or a video ({media_type}): only exact digests can be computed"


def can_read_videos() -> bool:
    """Whether the libraries are installed by which frames of videos are hashed."""
    try:
        require_extra("video")
    except FailedPrecondition:
        return False
    return True


def _hash_video(
    stream: BinaryIO,
    chunks: Iterator[bytes],
    read: int,
    media_type: str,
    wanted: frozenset[str],
    limits: Limits,
    effort: Effort,
) -> MediaHashes:
    """Return digests, in one pass, then frames. `read`: bytes read already. A stream that cannot seek is kept in
    memory.
    """
    counter = _Counter()
    if _is_seekable(stream):
        begin = stream.tell() - read
        before = _state(stream)
        exact = digests(counter.count(chunks), wanted)
        _length(stream, begin)
    else:
        data = _collect(chunks, limits, "video")
        exact = digests(counter.count(iter((data,))), wanted)
        stream, begin, before = io.BytesIO(data), 0, None
    video = hash_video(stream, media_type, limits, cuts_border=effort is not Effort.PLAIN)
    if _state(stream) != before or _length(stream, begin) != counter.total:
        raise InvalidArgument(
            "the file changed while it was read, so that digests and frames may be of different contents; hash it "
            "again once it is complete",
            reason=Reason.UNREADABLE_MEDIA,
            metadata={"mediaType": media_type},
        )
    frames = video.frames if video is not None else ()
    return MediaHashes(
        media_type=media_type,
        size_bytes=counter.total,
        width=video.width if video is not None else None,
        height=video.height if video is not None else None,
        frame_count=video.asked if video is not None else 0,
        frames=(),
        digests=exact,
        not_perceptual=None if frames else f"the file ({media_type}) holds no video frames",
        frames_hashed=len(frames),
        video_frames=frames,
        without_border=video.without_border if video is not None else (),
        skipped=video.skipped if video is not None else None,
        variants_skipped=video.variants_skipped if video is not None else None,
    )


def _is_seekable(stream: BinaryIO) -> bool:
    try:
        return stream.seekable() and stream.tell() >= 0
    except (AttributeError, OSError, ValueError):
        return False


def _length(stream: BinaryIO, begin: int) -> int:
    """Return the length of the stream from `begin`, where it stands then."""
    try:
        end = stream.seek(0, io.SEEK_END)
        stream.seek(begin)
    except (OSError, ValueError) as e:
        raise InvalidArgument(
            f"the media could not be read twice ({type(e).__name__}); give bytes or a regular file",
            reason=Reason.UNREADABLE_MEDIA,
        ) from e
    return end - begin


def _state(stream: BinaryIO) -> tuple[int, int] | None:
    """Return size and time of the last change of the file, None if the stream is none."""
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class _Counter:
    """Counts the bytes that pass through."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.total += len(chunk)
            yield chunk


def _collect(chunks: Iterator[bytes], limits: Limits, what: str = "picture") -> bytes:
    pieces: list[bytes] = []
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limits.max_bytes:
            raise too_large("max_bytes", limits.max_bytes, "bytes", f"the {what}'s file is larger", what)
        pieces.append(chunk)
    return b"".join(pieces)


def _hash_picture(data: bytes, media_type: str, wanted: frozenset[str], limits: Limits, effort: Effort) -> MediaHashes:
    """Return what is known of a picture but its digests."""
    size = (0, 0)
    count = 0
    frames: dict[tuple[Hash, ...], FrameHashes] = {}
    windows = 0
    variants_skipped: str | None = None
    with opened_picture(data, media_type, limits) as picture:
        if effort is Effort.THOROUGH:
            from hashhub.hashing.variants import windows_a_frame

            shared = min(picture.frame_count, limits.max_frames)
            windows = windows_a_frame(shared) if "PDQ" in wanted else 0
            variants_skipped = _why_fewer_windows(windows, shared, wanted)
        for frame in picture.frames(with_readings=effort is not Effort.PLAIN):
            size = size if any(size) else frame.shown.size
            count += 1
            hashes, quality = perceptual_hashes(frame.shown, wanted, _TURNED[effort])
            variants = [Variant(t, of_transform, quality) for t, of_transform in hashes.items() if t is not None]
            for name, reading in frame.readings:
                of_reading, its_quality = perceptual_hashes(reading, wanted)
                variants.append(Variant(name, of_reading[None], its_quality))
            if effort is not Effort.PLAIN and "PDQ" in wanted and hashes[None] not in frames:
                variants += _derived(frame.shown, windows, {*hashes[None]}.union(*(v.hashes for v in variants)))
            hashed = FrameHashes(
                index=frame.index,
                timestamp_ms=frame.timestamp_ms,
                hashes=hashes[None],
                quality=quality,
                variants=tuple(variants),
            )
            if earlier := frames.get(hashed.hashes):  # what is hidden in two blank frames may differ
                further = tuple(v for v in variants if v not in earlier.variants)
                hashed = msgspec.structs.replace(earlier, variants=(*earlier.variants, *further))
            frames[hashed.hashes] = hashed
        return MediaHashes(
            media_type=media_type,
            size_bytes=len(data),
            width=size[0],
            height=size[1],
            frame_count=picture.frame_count,
            frames=tuple(frames.values()),
            digests=(),
            not_perceptual=None,
            frames_hashed=count,
            skipped=picture.skipped,
            variants_skipped=variants_skipped,
        )


def _why_fewer_windows(windows: int, frames: int, wanted: frozenset[str]) -> str | None:
    """Return which windows onto each of so many frames are left out, and why; None if none are."""
    from hashhub.hashing.variants import MOST_WINDOWS

    if "PDQ" not in wanted:
        return "no crops were looked for: they are hashed by PDQ, which was not asked for"
    if windows == MOST_WINDOWS:
        return None
    how_many = f"only {windows} of {MOST_WINDOWS}" if windows else "no"
    return f"{how_many} crops of each frame were looked for: {frames} frames share the hashes that a query may have"


def _derived(shown: Image.Image, windows: int, known: set[Hash]) -> Iterator[Variant]:
    """Yield the variants of a frame by name, with the lowest quality of any, without hashes that are `known`."""
    from hashhub.hashing.variants import derive

    by_name: dict[str, dict[Hash, int]] = {}
    for name, of_variant, quality in derive(shown, windows):
        if of_variant not in known:
            known.add(of_variant)
            by_name.setdefault(name, {})[of_variant] = quality
    for name, hashes in by_name.items():
        yield Variant(name, tuple(hashes), min(hashes.values()))


def digests(chunks: Iterable[bytes], algorithms: Collection[str] = DIGEST_ALGORITHMS) -> tuple[Hash, ...]:
    """Return the hash of the joined chunks for each of `algorithms` that is in DIGEST_ALGORITHMS. No chunk is kept."""
    # None of these protects a secret: they name files, as every contributed hash set does. FIPS builds refuse MD5
    # otherwise.
    running = {
        name: hashlib.new(_HASHLIB_NAMES[name], usedforsecurity=False)
        for name in DIGEST_ALGORITHMS
        if name in algorithms
    }
    for chunk in chunks:
        for state in running.values():
            state.update(chunk)
    return tuple(Hash.of(name, state.digest()) for name, state in running.items())


def read_chunks(stream: BinaryIO, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """Yield what is left of the stream in chunks. Raises InvalidArgument (UNREADABLE_MEDIA) if it gives no bytes."""
    while True:
        try:
            chunk = stream.read(chunk_bytes)
        except (OSError, ValueError) as e:  # ValueError: the stream is closed
            raise InvalidArgument(
                f"the media could not be read to its end ({type(e).__name__}); give bytes or an open binary stream",
                reason=Reason.UNREADABLE_MEDIA,
            ) from e
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidArgument(
                f"the stream gave {type(chunk).__name__}, expected bytes; open it in binary mode",
                reason=Reason.UNREADABLE_MEDIA,
            )
        if not chunk:
            return
        yield bytes(chunk)
