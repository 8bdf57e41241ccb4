"""vPDQ's text as a format: one video is one item, both ways."""

from __future__ import annotations

import io
from random import Random

import pytest

from hashhub import vpdq
from hashhub.connector import choose
from hashhub.errors import MalformedSource
from hashhub.model import Entry, Record, Reject, VideoFrame
from hashhub.testing.connectors import ConnectorContract
from hashhub.testing.writers import WriterContract, as_video
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.jsonl import HashhubJSONL
from hashhub_connectors.threatexchange import ThreatExchange
from hashhub_connectors.vpdq import MAX_BYTES, VPDQ, VPDQWriter

READERS = {c.name: c for c in (VPDQ(), HashLines(), ThreatExchange(), HashhubJSONL(), MappedCSV())}


def frames(seed: int, count: int = 3) -> tuple[VideoFrame, ...]:
    random = Random(seed)
    return tuple(VideoFrame(1000 * i, random.randint(50, 100), random.randbytes(32)) for i in range(count))


ONE = vpdq.render(frames(1)).encode()
MANY = b"".join(vpdq.render(frames(n), vpdq.FrameFormat.ARRAY).encode() for n in range(1, 4)) + b'["nonsense"]\n'
EARLIER = b'{"0": {"quality": 97, "hash": "%s", "timestamp": 0.5}}' % (b"ab" * 32)


class TestOneVideo(ConnectorContract):
    connector = VPDQ()
    sample = ONE
    items = 1


class TestManyVideos(ConnectorContract):
    connector = VPDQ()
    sample = MANY
    items = 4


class TestWriter(WriterContract):
    writer = VPDQWriter()
    connector = VPDQ()

    def entry(self, random: Random, number: int) -> Entry:
        made = super().entry(random, number)
        return as_video(made, random) if number % 4 else made


def read(data: bytes) -> list[Record | Reject]:
    return list(VPDQ().read(io.BytesIO(data), {}))


def test_a_file_is_one_video_and_a_line_of_json_another() -> None:
    assert read(ONE) == [Record(position="line 1", frames=frames(1))]
    assert read(b"\n" + b"frame_number,quality,pdq_hash,timestamp\n" + ONE)[0].position == "line 2"
    assert read(EARLIER) == [Record(position="line 1", frames=(VideoFrame(500, 97, b"\xab" * 32),))]
    *videos, refused = read(MANY)
    assert [v.frames for v in videos if isinstance(v, Record)] == [frames(n) for n in range(1, 4)]
    assert isinstance(refused, Reject)
    assert refused.position == "line 4"


@pytest.mark.parametrize("data", [ONE + ONE, ONE + b"0,90,short,0.0\n", b"\xff\xfe" + ONE])
def test_what_may_be_several_videos_is_refused_whole(data: bytes) -> None:
    (refused,) = read(data)
    assert isinstance(refused, Reject)


def test_an_endless_line_is_no_video() -> None:
    with pytest.raises(MalformedSource):
        read(b"[" + b" " * (MAX_BYTES + 10))


@pytest.mark.parametrize("data", [ONE, MANY, EARLIER, b"frame_number,quality,pdq_hash,timestamp\n" + ONE])
def test_files_are_recognised(data: bytes) -> None:
    guesses = [(name, guess) for name, connector in READERS.items() if (guess := connector.detect(data, "clip.txt"))]
    assert choose(guesses)[0] == "vpdq"


def test_a_line_with_a_whole_video_among_hashes_is_an_item() -> None:
    line = vpdq.render(frames(5), vpdq.FrameFormat.ARRAY).encode()
    items = list(HashLines().read(io.BytesIO(b"MD5:" + b"1" * 32 + b"\n" + line), {}))
    assert items[1] == Record(position="line 2", frames=frames(5))
