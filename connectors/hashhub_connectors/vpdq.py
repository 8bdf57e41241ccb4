"""Videos as vPDQ writes them: the frames' PDQ hashes, each with its quality and its time.

    0,100,f8f8…,0.000                        a file is one video, a line a frame, as vPDQ's programs write it
    ["f8f8…,100,0.000", "…"]                 a line is one video, as ThreatExchange sends them: a file may have many
    {"0": {"quality": 100, "hash": …}}       a file is one video, in ThreatExchange's earlier form

A video is one item. Where a time or a frame number goes back the file is refused as a whole, since nobody can tell how
many videos it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final

import msgspec

from hashhub import vpdq
from hashhub.connector import Certainty, Exported, Guess, Items, LeftOut, Loss, Option, check_options
from hashhub.errors import MalformedSource
from hashhub.hygiene import Code
from hashhub.model import Entry, Record, Reject, VideoFrame
from hashhub_connectors import outgoing
from hashhub_connectors.source import UnclassifiedFormat, read_block

MAX_BYTES: Final = 8 << 20  # of one video: 20,000 frames have at most 130 bytes each, in the widest form
_SHOWN: Final = 4  # lines that are looked at to recognise a file
_LINE: Final = re.compile(rb"[0-9]{1,10},[0-9]{1,3},[0-9A-Fa-f]{64},[0-9][0-9.eE+-]*")
_HEADER: Final = re.compile(rb"frame_?(?:number)?,quality,\w*hash,time_?stamp", re.IGNORECASE)
_ARRAY: Final = re.compile(rb'\[\s*"[0-9A-Fa-f]{64},[0-9]{1,3},[0-9]')
_OBJECT: Final = re.compile(rb'\{\s*"[0-9]{1,10}"\s*:\s*\{[^{}]{0,200}"(?:quality|timestamp)"')
_FRAME: Final = dict.fromkeys(("hash", "quality", "timestamp"))
_WHAT: Final = "vPDQ's text"
_NO_PLACE: Final = outgoing.UnsupportedFields(
    _WHAT,
    *("external_id", "flags", "media_type", "media_size", "series", "tags", "quality", "source_time", "expire_time"),
    *("member", "extra"),
    has_frames=True,
)


class VPDQ(UnclassifiedFormat):
    """Reads videos as vPDQ writes them. Positions are `line 12`, of a file that is one video `line 1`."""

    name = "vpdq"
    version = "1"
    summary = "videos as vPDQ writes them: a file of frames, or a line for each video"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the first lines."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if _ARRAY.match(start):
            return Guess(Certainty.CERTAIN, "it begins with the frames of a video as ThreatExchange's vpdq writes them")
        if _OBJECT.match(start):
            return Guess(Certainty.LIKELY, "it is JSON of a video's frames by their numbers")
        lines = [line for raw in start.split(b"\n")[: _SHOWN + 1] if (line := raw.strip())]
        if lines and _HEADER.fullmatch(lines[0]):
            return Guess(Certainty.CERTAIN, "its first line names frame number, quality, hash and time")
        shown = lines[:_SHOWN] if len(start.split(b"\n")) > 1 else lines
        if shown and all(_LINE.fullmatch(line) for line in shown):
            return Guess(Certainty.CERTAIN, "its lines are frame number, quality, hash and time, as vPDQ writes them")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield a Record or Reject for each video. Raises MalformedSource beyond MAX_BYTES and for other than UTF-8."""
        check_options(self, options)
        left_out = LeftOut()
        number = 0
        line = _line(source, 1)
        while line and not line.strip():
            number += 1
            line = _line(source, number + 1)
        if line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b'["') and line.rstrip().endswith(b"]"):
            while line:
                number += 1
                if line.strip():
                    yield _video(f"line {number}", line, left_out)
                line = _line(source, number + 1)
        elif line:
            yield _video(f"line {number + 1}", _rest(source, line), left_out)
        return left_out


class VPDQWriter:
    """Writes each video as a line of its own, a JSON array as ThreatExchange's vpdq has it."""

    name = "vpdq"
    version = "1"
    summary = "videos, a line each, as ThreatExchange's vpdq writes them; nothing else of an entry"
    options: tuple[Option, ...] = ()
    reads_back = "vpdq"
    has_withdrawals = False
    suffix = ".vpdq"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the videos; entries without frames are left out. Raises InvalidArgument for mixed purposes."""
        check_options(self, options)
        listing, values = outgoing.PurposeCheck(exported, _WHAT), outgoing.Speller(_WHAT, "", exported)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)
        yield from outgoing.ClaimList(target, exported, listing, values, _NO_PLACE).write(entries, "", _video_line)


def _video_line(entry: Entry, _value: str) -> tuple[str, Iterable[Loss]] | Loss:
    if not entry.frames:
        return Loss(entry.name, "entry", "NO_HASH", "the entry is no video: it has no frames")
    lost = outgoing.no_place_for_others(entry, _WHAT, ())
    return vpdq.render(entry.frames, vpdq.FrameFormat.ARRAY), lost


def read_video(position: str, text: str) -> tuple[VideoFrame, ...] | Reject:
    """Return the frames of one video, or why they are none."""
    try:
        return vpdq.parse(text)
    except MalformedSource as e:
        goes_back = "go" in e.message and "back" in e.message
        code = Code.VIDEO_FRAME if goes_back else Code.UNPARSABLE_LINE
        return Reject(position, code.value, f"{e.position}: {e.message}")


def _video(position: str, content: bytes, left_out: LeftOut) -> Record | Reject:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject(position, Code.UNPARSABLE_LINE.value, "the text is not UTF-8; expected digits, commas and points")
    frames = read_video(position, text)
    if isinstance(frames, Reject):
        return frames
    if text.lstrip().startswith("{"):
        left_out.beyond(list(msgspec.json.decode(text).values()), _FRAME)
    return Record(position=position, frames=frames)


def _line(source: BinaryIO, number: int) -> bytes:
    line = source.readline(MAX_BYTES + 1)
    if len(line) > MAX_BYTES:
        raise MalformedSource(
            f"the line has more than {MAX_BYTES} bytes; expected one video", position=f"line {number}"
        )
    return line


def _rest(source: BinaryIO, first: bytes) -> bytes:
    content = first + read_block(source, MAX_BYTES + 1 - len(first))
    if len(content) > MAX_BYTES:
        raise MalformedSource(
            f"the file has more than {MAX_BYTES} bytes; expected the frames of one video", position="line 1"
        )
    return content
