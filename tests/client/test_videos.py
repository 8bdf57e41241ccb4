"""Videos over the wire: imported, read, exported, mirrored, matched."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

from hashhub import vpdq
from hashhub.client import Client
from hashhub.model import TLP, HashSet, Marking, MatchOptions, Query, Verdict, VideoFrame


def frames(seed: int, count: int) -> tuple[VideoFrame, ...]:
    random = Random(seed)
    return tuple(VideoFrame(1000 * i, 90, random.randbytes(32)) for i in range(count))


def lines(*videos: tuple[VideoFrame, ...]) -> io.BytesIO:
    return io.BytesIO(b"".join(vpdq.render(v, vpdq.FrameFormat.ARRAY).encode() for v in videos))


def test_videos_travel_whole(operator: Client, tmp_path: Path) -> None:
    marking = Marking(tlp=TLP.CLEAR, bulk=True)
    hash_set = operator.create_hash_set(HashSet(contributor="police-us", id="videos", marking=marking)).name
    # The longest that there may be, and more than one message takes.
    videos = [frames(1, 20_000), *(frames(n, 9_000) for n in range(2, 6))]
    report = operator.import_source(lines(*videos), connector="vpdq", hash_set=hash_set)
    assert report.source.counts.accepted == len(videos)
    listed = {e.provenance.position: e for e in operator.list_entries(hash_set)}
    assert [listed[f"line {n}"].frame_count for n in (1, 2)] == [20_000, 9_000]
    assert listed["line 1"].frames == ()
    assert operator.get_entry(listed["line 1"].name).frames == videos[0]

    result = operator.match(Query(hashes=(), frames=videos[3]), MatchOptions(policy="any")).result
    (match,) = result.matches
    assert result.verdict is Verdict.MATCH
    assert match.video is not None
    assert (match.algorithm, match.entry.frame_count, match.video.entry_share) == ("VPDQ", 9_000, 100.0)

    target = io.BytesIO()
    operator.export(target, writer="hashhub-jsonl", hash_sets=[hash_set])
    for _ in range(2):
        target.write(b"\n")  # another source
        again = operator.import_source(
            io.BytesIO(target.getvalue()),
            connector="hashhub-jsonl",
            hash_set=hash_set,
            options={"hash_set": hash_set, "classifications": "no"},
        )
        assert again.source.counts.unchanged == len(videos)

    with operator.mirror(tmp_path / "copy") as copy:
        copy.update()
    with closing(sqlite3.connect(tmp_path / "copy" / "mirror.db")) as db:
        counts = db.execute("SELECT count(*) FROM frame GROUP BY entry ORDER BY 1 DESC").fetchall()
        assert [n for (n,) in counts] == [20_000, *[9_000] * 4]
