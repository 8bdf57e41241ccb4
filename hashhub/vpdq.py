"""vPDQ's text forms of a video: its frames' PDQ hashes, each with its quality and its time in seconds.

    lines      frame number, quality, hash, time      what vPDQ's programs write and read, one line a frame
    array      ["hash,quality,time", ...]             ThreatExchange's signal type `video_vpdq`
    object     {"0": {"quality": 100, "hash": "…", "timestamp": 0.0}, ...}     its earlier form; read only

One text is one video: times never go back, frame numbers grow. Times are written to the millisecond. Sources:
facebook/ThreatExchange, vpdq/cpp/io/vpdqio.cpp and python-threatexchange's extensions/vpdq/vpdq_util.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from hashhub.errors import MalformedSource
from hashhub.model import MAX_FRAMES, VideoFrame

MAX_OFFSET_MS: Final = 1 << 31  # 24 days; a time beyond is damage

_LINE_CELLS: Final = 4
_ARRAY_CELLS: Final = 3
_MAX_QUALITY: Final = 100
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
# What C++ streams and Python's `format` make of a float that is neither negative, infinite nor no number.
_SECONDS: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,3})?")
_HEADER: Final = re.compile(r"frame_?(?:number)?,quality,\w*hash,time_?stamp", re.IGNORECASE)


class FrameFormat(StrEnum):
    """The text forms that are written."""

    LINES = "LINES"
    ARRAY = "ARRAY"


def parse(text: str, most: int = MAX_FRAMES) -> tuple[VideoFrame, ...]:
    """Return the frames of one video in the order of their times, from any text form; a header, blank lines and a byte
    order mark are read over. Raises MalformedSource at `line 12` or `value[3]`: no frames, more than `most`, a wrong
    one, times that go back.
    """
    text = text.removeprefix("\ufeff")
    rows = _json_rows(text) if text.lstrip()[:1] in ("[", "{") else _line_rows(text)
    return _in_order(rows, most)


def texts(frames: Iterable[VideoFrame]) -> tuple[str, ...]:
    """Return the frames of one video as the strings of the form `array`."""
    return tuple([f"{f.digest.hex()},{f.quality},{_seconds(f)}" for f in frames])


def of_texts(rows: Sequence[str], most: int = MAX_FRAMES) -> tuple[VideoFrame, ...]:
    """Return the frames that strings of the form `array` say; the other way round than `texts`. Raises as `parse`."""
    return _in_order(_array_rows(rows), most)


def _in_order(rows: Iterator[tuple[str, VideoFrame]], most: int) -> tuple[VideoFrame, ...]:
    frames: list[VideoFrame] = []
    for position, frame in rows:
        if len(frames) == most:
            raise MalformedSource(
                f"the video has more than {most:,} frames; hash one a second, or split the video", position=position
            )
        if frames and frame.offset_ms < frames[-1].offset_ms:
            raise MalformedSource(
                "the time goes back; expected the frames of one video in order, so split a text of several videos",
                position=position,
            )
        frames.append(frame)
    if not frames:
        raise MalformedSource("there are no frames; expected frame number, quality, hash, time", position="line 1")
    return tuple(frames)


def render(frames: Iterable[VideoFrame], form: FrameFormat = FrameFormat.LINES) -> str:
    """Return the text of one video. `parse` gives the same frames back."""
    if form is FrameFormat.ARRAY:
        return msgspec.json.encode(texts(frames)).decode() + "\n"
    return "".join(f"{i},{f.quality},{f.digest.hex()},{_seconds(f)}\n" for i, f in enumerate(frames))


def _seconds(frame: VideoFrame) -> str:
    return f"{frame.offset_ms // 1000}.{frame.offset_ms % 1000:03}"


def _line_rows(text: str) -> Iterator[tuple[str, VideoFrame]]:
    last = -1
    is_first = True
    for number, ended in enumerate(text.split("\n"), 1):
        line = ended.strip()
        if not line:
            continue
        position = f"line {number}"
        if is_first and _HEADER.fullmatch(line):
            is_first = False
            continue
        is_first = False
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != _LINE_CELLS:
            raise MalformedSource(
                f"expected frame number, quality, hash, time; got {len(cells)} cells", position=position
            )
        if not _NUMBER.fullmatch(cells[0]):
            raise MalformedSource("the frame number is not a whole number", position=position)
        if int(cells[0]) <= last:
            raise MalformedSource(
                "the frame number does not grow; expected the frames of one video in order, so split a text of several "
                "videos",
                position=position,
            )
        last = int(cells[0])
        yield position, _frame(cells[2], cells[1], cells[3], position)


def _json_rows(text: str) -> Iterator[tuple[str, VideoFrame]]:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as e:
        raise MalformedSource(f"the text begins like JSON and is none: {e}", position="line 1") from e
    if isinstance(decoded, dict):
        yield from _object_rows(decoded)
        return
    yield from _array_rows(decoded)


def _array_rows(decoded: Iterable[Any]) -> Iterator[tuple[str, VideoFrame]]:
    for at, value in enumerate(decoded):
        position = f"value[{at}]"
        cells = [cell.strip() for cell in value.split(",")] if isinstance(value, str) else []
        if len(cells) != _ARRAY_CELLS:
            raise MalformedSource('expected a string "hash,quality,time"', position=position)
        yield position, _frame(cells[0], cells[1], cells[2], position)


def _object_rows(decoded: dict[str, Any]) -> Iterator[tuple[str, VideoFrame]]:
    """Yield frames of the earlier form by their numbers: an object has no order of its own."""
    for key in decoded:
        if not _NUMBER.fullmatch(key):
            raise MalformedSource("the frame number is not a whole number", position=f"value[{key[:20]!r}]")
    for key in sorted(decoded, key=int):
        position = f"value[{key!r}]"
        fields = decoded[key]
        if not isinstance(fields, dict):
            raise MalformedSource("expected an object with quality, hash and timestamp", position=position)
        digest, quality, seconds = (str(fields.get(name, "")) for name in ("hash", "quality", "timestamp"))
        yield position, _frame(digest, quality, seconds, position)


def _frame(digest: str, quality: str, seconds: str, position: str) -> VideoFrame:
    if not _DIGEST.fullmatch(digest):
        raise MalformedSource("the hash is not PDQ; expected 64 hexadecimal digits", position=position)
    if not _NUMBER.fullmatch(quality) or int(quality) > _MAX_QUALITY:
        raise MalformedSource("the quality is not a whole number of 0 to 100", position=position)
    offset = float(seconds) * 1000 if _SECONDS.fullmatch(seconds) else math.inf
    if offset > MAX_OFFSET_MS:
        raise MalformedSource("the time is not a number of seconds from 0 to 24 days", position=position)
    return VideoFrame(round(offset), int(quality), bytes.fromhex(digest))
