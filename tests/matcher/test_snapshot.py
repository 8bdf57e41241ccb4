"""Snapshots: published whole or not at all, shared between processes, checked, and replaced."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hashhub.errors import DataLoss, FailedPrecondition, LimitExceeded, Reason, Unavailable
from hashhub.matcher import Matcher, compaction, index
from hashhub.matcher.snapshot import _HUGE_PAGE, Directory, Snapshot, _File

Digests = NDArray[np.uint8]


def digests(seed: int, n: int, width: int = 32) -> Digests:
    return np.random.default_rng(seed).integers(0, 256, (n, width), dtype=np.uint8)


PDQ, MD5, PHOTODNA = digests(1, 6_000), digests(2, 500, 16), digests(3, 50, 144)


def current(path: Path) -> Path:
    return path / "snapshots" / (path / "CURRENT").read_text().strip()


def publish(path: Path) -> None:
    with Matcher(path) as matcher:
        matcher.apply(1, add={"PDQ": PDQ, "MD5": MD5, "PHOTODNA": PHOTODNA})
        matcher.compact()
        matcher.apply(2, withdraw={"PDQ": PDQ[:3]})
        matcher.compact()
    for path_of_older in (path / "snapshots").iterdir():
        if path_of_older != current(path):
            shutil.rmtree(path_of_older)


def holds_everything(matcher: Matcher) -> bool:
    return bool(
        matcher.count("PDQ") == 5_997
        and len(matcher.search("PDQ", PDQ, max_distance=31)) == 5_997
        and matcher.contains("MD5", MD5).all()
        and len(matcher.search("PHOTODNA", PHOTODNA, max_distance=0)) == 50
    )


def test_a_snapshot_is_opened_as_it_was(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 2
        assert holds_everything(matcher)
        matcher.verify()
        assert matcher.status().algorithms["PDQ"].tail == 0
        assert matcher.status().error is None


def test_a_snapshot_that_is_being_verified_is_removed_only_once_another_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    # What a process leaves that is killed before the newer one is current: so the one in use is the third.
    shutil.copytree(current(tmp_path), tmp_path / "snapshots" / "3-00000000")
    with Matcher(tmp_path) as matcher:
        matcher.apply(3, withdraw={"PDQ": PDQ[3:4]})
        opened = Directory.open

        def verified_meanwhile(directory: Directory, name: str, known: Snapshot | None = None) -> Snapshot:
            matcher.verify()
            return opened(directory, name, known)

        monkeypatch.setattr(Directory, "open", verified_meanwhile)
        matcher.compact()
        assert not matcher.status().damaged
        assert matcher.status().snapshot_revision == 3
        assert len(list((tmp_path / "snapshots").iterdir())) == 2


def test_withdrawals_of_kept_segments_are_kept(tmp_path: Path) -> None:
    """A segment whose files are linked into the next snapshot has its withdrawn bits written anew."""
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        before = {p.stat().st_ino for p in current(tmp_path).glob("*.rows")}
        matcher.apply(3, withdraw={"PDQ": PDQ[3:5]})
        matcher.compact()
        assert {p.stat().st_ino for p in current(tmp_path).glob("*.rows")} == before, "the same files, linked"
        assert len(list(current(tmp_path).glob("*.withdrawn"))) == 1
        matcher.apply(4, add={"PDQ": PDQ[3:4]})
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 3
        assert not matcher.contains("PDQ", PDQ[:5]).any()
        assert matcher.status().algorithms["PDQ"].withdrawn == 5


def test_many_withdrawals_are_dropped_for_good(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        matcher.apply(3, withdraw={"PDQ": PDQ[:4_000]})
        matcher.compact()
        assert matcher.status().algorithms["PDQ"].withdrawn == 0
        assert matcher.count("PDQ") == 2_000


def test_everything_withdrawn_leaves_an_empty_snapshot(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        matcher.apply(3, withdraw={"PDQ": PDQ, "MD5": MD5, "PHOTODNA": PHOTODNA})
        matcher.compact()
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 3
        assert matcher.count("PDQ") == 0
        assert len(matcher.search("PDQ", PDQ[:3], max_distance=31)) == 0


def test_two_snapshots_are_kept_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        for k in range(4):
            matcher.apply(3 + k, add={"PDQ": digests(10 + k, 100)})
            matcher.compact()
    assert len(list((tmp_path / "snapshots").iterdir())) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CURRENT", "publisher.lock", "snapshots"]


def test_compacting_nothing_new_writes_nothing(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        before = current(tmp_path)
        matcher.compact()
        assert current(tmp_path) == before


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def unlink(path: Path) -> None:
    path.unlink()


def own_copy(path: Path) -> None:
    """Break the hard link to the older snapshot, so that damage reaches this one only."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("*.rows", truncate),
        ("*.ids", unlink),
        ("*.start", truncate),
        ("*.withdrawn", truncate),
        ("manifest.json", flip),
        ("manifest.json", unlink),
    ],
)
def test_damage_seen_on_opening_is_set_aside(tmp_path: Path, pattern: str, harm: Callable[[Path], None]) -> None:
    publish(tmp_path)
    harm(max(current(tmp_path).glob(pattern), key=lambda p: p.stat().st_size))
    with Matcher(tmp_path, publisher=False) as reader:
        assert reader.status().damaged, "a reader says so and leaves it where it is"
        assert reader.revision == 0
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 0
        assert matcher.status().damaged
        assert matcher.status().error
        assert len(matcher.search("PDQ", PDQ[:1], max_distance=31)) == 0
        assert [p.name.split("-")[0] for p in (tmp_path / "snapshots").iterdir()] == ["damaged"]
        matcher.rebuild(2, [("PDQ", PDQ[3:]), ("MD5", MD5), ("PHOTODNA", PHOTODNA)])
        assert not matcher.status().damaged
        assert holds_everything(matcher)
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 2
        assert holds_everything(matcher)


def test_a_damaged_snapshot_gives_way_to_the_sound_one_before(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        matcher.apply(3, add={"PDQ": digests(9, 5_000)})
        matcher.compact()
    harmed = max(current(tmp_path).glob("*.rows"), key=lambda p: p.stat().st_size)
    own_copy(harmed)
    truncate(harmed)
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 2, "older, and complete: the caller tails from here"
        assert not matcher.status().damaged
        assert holds_everything(matcher)


@pytest.mark.parametrize("part", ["rows", "fingerprints", "directory"])
def test_damage_inside_a_file_is_found_by_verifying(tmp_path: Path, part: str) -> None:
    publish(tmp_path)
    flip(max(current(tmp_path).glob(f"*.{part}"), key=lambda p: p.stat().st_size))
    with Matcher(tmp_path, publisher=False) as matcher:
        with pytest.raises(DataLoss) as raised:
            matcher.verify()
        assert matcher.status().damaged
        assert raised.value.metadata["part"] == part


@pytest.mark.parametrize("key", ["format", "revision", "permutations"])
def test_a_manifest_is_believed_only_as_a_whole(tmp_path: Path, key: str) -> None:
    publish(tmp_path)
    manifest = current(tmp_path) / "manifest.json"
    body = json.loads(manifest.read_text())
    body[key] = {"PDQ": list(range(256))} if key == "permutations" else 99
    manifest.write_text(json.dumps(body))
    with Matcher(tmp_path, publisher=False) as matcher:
        assert matcher.status().damaged


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"permutations": {"PDQ": list(range(256))}},
        {"permutations": None},
        {"revision": "soon"},
        {"segments": [None]},
    ],
)
def test_a_snapshot_of_another_make_is_not_read(tmp_path: Path, change: dict[str, object]) -> None:
    """Even when its own digest is right."""
    import hashlib

    publish(tmp_path)
    manifest = current(tmp_path) / "manifest.json"
    body = json.loads(manifest.read_text()) | change
    del body["sha256"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    manifest.write_text(json.dumps({"sha256": digest, **body}))
    with Matcher(tmp_path, publisher=False) as matcher:
        assert matcher.status().damaged


@pytest.mark.parametrize("name", ["\u00b2-x", "7\u00b2", "-", ".x", "lost+found"])
def test_a_directory_that_is_no_snapshots_is_left_alone(tmp_path: Path, name: str) -> None:
    publish(tmp_path)
    (tmp_path / "snapshots" / name).mkdir()
    with Matcher(tmp_path, publisher=True) as matcher:
        assert not matcher.status().damaged
        assert matcher.snapshot_revision


def test_an_interrupted_publication_leaves_the_old_snapshot(tmp_path: Path) -> None:
    publish(tmp_path)
    left = tmp_path / "snapshots" / ".building-0123"
    left.mkdir()
    (left / "half.rows").write_bytes(b"half")
    with Matcher(tmp_path) as matcher:
        assert holds_everything(matcher)
    assert not left.exists()


def test_a_vanished_snapshot_directory_is_an_empty_start(tmp_path: Path) -> None:
    publish(tmp_path)
    shutil.rmtree(current(tmp_path))
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 0
        matcher.apply(1, add={"PDQ": PDQ})
        matcher.compact()
        assert matcher.status().snapshot_revision == 1


def test_a_snapshot_that_vanishes_while_it_is_mapped_stays_usable(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path, publisher=False) as matcher:
        shutil.rmtree(tmp_path / "snapshots")
        assert holds_everything(matcher)


def test_one_publisher_to_a_directory(tmp_path: Path) -> None:
    with Matcher(tmp_path):
        with pytest.raises(FailedPrecondition) as raised:
            Matcher(tmp_path)
        assert raised.value.reason is Reason.DATA_IN_USE
        with Matcher(tmp_path, publisher=False) as reader:
            assert reader.revision == 0
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 0


def test_a_full_disk_leaves_the_old_snapshot_and_the_tail(tmp_path: Path) -> None:
    """A limit on file sizes stands in for the disk; the kernel reports both from the same call."""
    code = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hashhub.errors import HashHubError
from hashhub.matcher import Matcher
import time
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
digests = np.random.default_rng(4).integers(0, 256, (20_000, 32), dtype=np.uint8)
with Matcher(Path(sys.argv[1]), compact_after=10**9) as matcher:
    matcher.search("PDQ", digests[:1], max_distance=31)
    matcher.apply(3, add={"PDQ": digests})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        matcher.compact()
    except HashHubError as e:
        print(type(e).__name__)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert matcher.status().snapshot_revision == 2
    assert matcher.contains("PDQ", digests).all()
    assert len(matcher.search("PDQ", digests[:10], max_distance=31)) == 10
    matcher.compact()
    assert matcher.status().snapshot_revision == 3
"""
    publish(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True, timeout=100
    )
    assert ran.stdout.strip() in {"Unavailable", "LimitExceeded"}
    assert not list((tmp_path / "snapshots").glob(".building-*"))
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 3


def test_a_really_full_disk_is_named() -> None:
    """/dev/full is the one device that always answers ENOSPC."""
    from hashhub.matcher.snapshot import disk_errors

    with (
        pytest.raises(LimitExceeded) as raised,
        disk_errors("writing a snapshot"),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert raised.value.reason is Reason.DISK_FULL


def test_a_reader_adopts_and_keeps_what_it_knows_beyond(tmp_path: Path) -> None:
    publish(tmp_path)
    late = digests(20, 3)
    with Matcher(tmp_path) as matcher, Matcher(tmp_path, publisher=False) as reader:
        assert not reader.refresh(), "nothing new"
        for each in (matcher, reader):
            each.apply(3, add={"PDQ": late[:2]})
        reader.apply(4, add={"PDQ": late[2:]}, withdraw={"PDQ": late[:1]})
        matcher.compact()
        assert reader.refresh()
        assert not reader.refresh()
        assert reader.revision == 4
        assert reader.status().snapshot_revision == 3
        assert reader.contains("PDQ", late).tolist() == [False, True, True]
        assert reader.count("PDQ") == 5_999


def test_a_reader_that_was_behind_is_brought_forward(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path) as matcher, Matcher(tmp_path, publisher=False) as reader:
        matcher.apply(3, add={"PDQ": digests(21, 4)}, withdraw={"MD5": MD5[:1]})
        matcher.compact()
        assert reader.refresh()
        assert reader.revision == 3
        assert reader.contains("PDQ", digests(21, 4)).all()
        reader.apply(2, add={"MD5": MD5[:1]})
        assert not reader.contains("MD5", MD5[:1])[0], "an older change is part of the state already"


def test_a_reader_that_rebuilt_in_memory_adopts_no_older_snapshot(tmp_path: Path) -> None:
    late = digests(22, 3)
    with Matcher(tmp_path, publisher=False) as reader:
        reader.rebuild(5, [("PDQ", late, np.ones(len(late), np.int64))], or_in_memory=True)
        publish(tmp_path)
        assert not reader.refresh()
        assert reader.contains("PDQ", late).all()
        with Matcher(tmp_path) as matcher:
            matcher.apply(6, add={"PDQ": late})
            matcher.compact()
        reader.apply(6)
        assert reader.refresh()
        assert reader.contains("PDQ", late).all()


def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    """A reader in another process: adopts what is published here, keeps up with changes, ends where the publisher
    is.
    """
    code = """
import sys, time
from pathlib import Path
import numpy as np
from hashhub.matcher import Matcher
with Matcher(Path(sys.argv[1]), publisher=False) as reader:
    print("ready", reader.revision, flush=True)
    while True:
        word = sys.stdin.readline().split()
        if not word:
            break
        if word[0] == "apply":
            revision = int(word[1])
            reader.apply(revision, add={"PDQ": np.full((1, 32), revision, np.uint8)})
            print("applied", flush=True)
        elif word[0] == "refresh":
            adopted, status = reader.refresh(), reader.status()
            print("refreshed", adopted, reader.revision, status.snapshot_revision, reader.count("PDQ"), flush=True)
"""
    publish(tmp_path)
    with (
        Matcher(tmp_path) as matcher,
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None

        def ask(text: str) -> str:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(text + "\n")
            other.stdin.flush()
            return other.stdout.readline().strip()

        assert other.stdout.readline().strip() == "ready 2"
        for revision in range(3, 9):
            matcher.apply(revision, add={"PDQ": np.full((1, 32), revision, np.uint8)})
            if revision % 2:
                assert ask(f"apply {revision}") == "applied"
                assert ask(f"apply {revision + 1}") == "applied", "ahead of the publisher"
            else:
                matcher.compact()
                assert ask("refresh") == f"refreshed True {revision} {revision} {5_997 + revision - 2}"
        other.stdin.close()
        assert other.wait(180) == 0


def test_progress_is_reported(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    with Matcher(tmp_path) as matcher:
        matcher.rebuild(1, [("PDQ", PDQ)], progress=lambda phase, share: seen.append((phase, share)))
        matcher.verify(progress=lambda phase, share: seen.append((phase, share)))
    assert {phase for phase, _ in seen} >= {"sort", "index", "verify"}
    assert all(0 <= share <= 1 for _, share in seen)


def test_a_large_rebuild_drops_repeats_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.matcher.compaction._SPOOL_ROWS", 1_000)
    with Matcher(tmp_path) as matcher:
        matcher.rebuild(1, (("PDQ", PDQ[k % 40 * 100 : k % 40 * 100 + 200]) for k in range(200)))
        assert matcher.count("PDQ") == 4_100
        assert matcher.contains("PDQ", PDQ[:4_100]).all()


def test_a_rebuild_needs_memory_for_two_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks go before what they were sorted into is merged with the rest."""
    monkeypatch.setattr(compaction, "_SPOOL_ROWS", 1_000)
    monkeypatch.setattr(index, "_SORT_BITS", 6)  # what counting takes would be more than such small chunks
    compaction._gathered([("SHA256", digests(k, 10_000)) for k in range(3)], 1, None)  # loads the kernels
    chunks = 63
    tracemalloc.start()
    try:
        gathered = compaction._gathered((("SHA256", digests(k, 10_000)) for k in range(chunks)), 1, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rows, owners = gathered["SHA256"]
    assert len(rows) == chunks * 10_000
    assert peak < 2.2 * (rows.nbytes + 8 * len(rows) + owners.numbers.nbytes)  # with the key of a hash set beside each


def test_an_opened_snapshot_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """Arrays are mapped: opening reads none of them."""
    with Matcher(tmp_path) as matcher:
        matcher.rebuild(1, [("SHA256", digests(5, 400_000))])
    with Matcher(tmp_path, publisher=False) as matcher:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with Matcher(tmp_path, publisher=False) as again:
            assert again.count("SHA256") == 400_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1_000
        assert matcher.count("SHA256") == 400_000


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (0,),
        (_HUGE_PAGE,),
        (_HUGE_PAGE - 1, 1, 0),
        (1, _HUGE_PAGE - 1, _HUGE_PAGE),
        (5 * _HUGE_PAGE + 3, 7),
        (17,) * 5,
    ],
)
def test_a_file_is_what_was_written_however_its_pieces_fill_pages(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 256, sum(pieces), dtype=np.uint8)
    file = _File(tmp_path / "part", np.dtype(np.uint8))
    for piece in np.split(values, np.cumsum(pieces, dtype=int)[:-1]) if pieces else ():
        file.append(piece)
    described = file.finish()
    file.close()
    content = (tmp_path / "part").read_bytes()
    assert content == values.tobytes()
    assert described == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_snapshot_that_cannot_become_current_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again every half minute: on a full disk each would take what room there is."""
    publish(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if self.name.startswith(".CURRENT"):
            raise OSError(errno.ENOSPC, "no space left on device")
        return replace(self, target)

    with Matcher(tmp_path, compact_after=10**9) as matcher:
        matcher.apply(3, add={"PDQ": digests(5, 10)})
        with monkeypatch.context() as full:
            full.setattr(Path, "replace", fails)
            for _ in range(2):
                with pytest.raises(LimitExceeded):
                    matcher.compact()
        assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
        matcher.compact()
        assert matcher.status().snapshot_revision == 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("matcher", "matcher is a file, where the matcher expects a directory"),
        ("matcher/snapshots", "matcher/snapshots is a file, where the matcher expects a directory"),
        ("matcher/publisher.lock/", "matcher/publisher.lock is a directory, where the matcher expects a file"),
    ],
)
def test_what_stands_in_the_way_is_named_and_what_to_do(tmp_path: Path, name: str, what: str) -> None:
    in_the_way = tmp_path / name
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.mkdir() if name.endswith("/") else in_the_way.write_bytes(b"x")
    with pytest.raises(Unavailable, match=what) as raised:
        Matcher(tmp_path / "matcher")
    assert "move it away" in raised.value.message
    assert str(tmp_path) not in raised.value.message
    in_the_way.rename(tmp_path / "away")
    with Matcher(tmp_path / "matcher") as matcher:
        matcher.apply(1, add={"PDQ": PDQ})
        matcher.compact()


def test_what_stands_in_the_place_of_the_pointer_stops_publishing_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "CURRENT").unlink()
    (tmp_path / "CURRENT").mkdir()
    with Matcher(tmp_path) as matcher:
        assert holds_everything(matcher)
        matcher.apply(3, add={"PDQ": digests(5, 10)})
        with pytest.raises(Unavailable, match="CURRENT is a directory, where the matcher expects a file"):
            matcher.compact()
        (tmp_path / "CURRENT").rmdir()
        matcher.compact()
        assert matcher.status().snapshot_revision == 3
