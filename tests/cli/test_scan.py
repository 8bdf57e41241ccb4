"""`hashhub scan`: every file gets an answer, whatever it is called, whatever becomes of it, the hub or the scan."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from hashhub import v1, vpdq, wire
from hashhub.cli import scan
from hashhub.cli.scan_output import FileFindings, scan_directory
from hashhub.cli.session import DONE, INTERRUPTED, REFUSED, UNAVAILABLE, USAGE
from hashhub.client import Client
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, NotFound, Reason, Unavailable
from hashhub.hashing import MediaHashes, Transform, hash_media, pool
from hashhub.model import (
    MAX_FRAMES,
    Coverage,
    Effort,
    MatchResult,
    Query,
    Verdict,
    VideoFrame,
)
from hashhub.scans import tree as scan_tree
from hashhub.scans.engine import UnreadableItem
from hashhub.scans.tree import LINKED_DIRECTORIES, Tree
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.pictures import picture
from hashhub.testing.videos import clip, encoded
from tests.cli.conftest import Run

OLD = 1_000_000_000  # a time at which files of these tests were last written


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def results(directory: Path) -> dict[str, dict[str, Any]]:
    """The answers of the last complete run by file, without the revision, which is the hub's."""
    told = objects((directory / "results.jsonl").read_text("ascii"))
    for one in told:
        del one["revision"]
    by_file = {one["file"]: one for one in told}
    assert len(by_file) == len(told)
    return by_file


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))
    return path


def paint(path: Path, seed: int, size: tuple[int, int] = (128, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    os.utime(path, (OLD, OLD))
    return path


@pytest.fixture
def handed_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Effort]]:
    """What is hashed: the name of each file, and how thoroughly. Cleared by the test."""
    files: list[tuple[str, Effort]] = []
    hash_ = scan.ScanRun.hash

    def noted(self: Any, file: Any, effort: Effort) -> MediaHashes:
        files.append((file.path.name, effort))
        return hash_(self, file, effort)

    monkeypatch.setattr(scan.ScanRun, "hash", noted)
    return files


class _Place:
    """Hashes in this process."""

    cpu_seconds = 0.0

    def hash(self, stream: Any, *, effort: Effort) -> MediaHashes:
        return hash_media(stream, effort=effort)


class InProcess:
    """Stands in for the pool of child processes, which take a second to start."""

    def __init__(self, **settings: Any) -> None:
        """As the real one, of which nothing is needed."""

    @contextmanager
    def room(self) -> Iterator[_Place]:
        yield _Place()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child processes, which take a second to start: for tests that are about something else."""

    monkeypatch.setattr(pool, "MediaPool", InProcess)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two pictures in folders, a text, and one of each kind of trouble."""
    top = tmp_path / "tree"
    paint(top / "a.png", 1)
    paint(top / "deep" / "er" / "b.png", 2)
    write(top / "text.txt", b"synthetic")
    write(top / "cut.png", (top / "a.png").read_bytes()[:500])
    (top / "nowhere").symlink_to("none")
    os.mkfifo(top / "pipe")
    return top


class TestAnswers:
    def test_each_says_what_was_looked_for_and_what_was_not(self, run: Run, tree: Path) -> None:
        done = run("scan", str(tree), "--json")
        assert done.exit_code == UNAVAILABLE
        by_name = {Path(one["file"]).name: one for one in objects(done.stdout)}
        assert set(by_name) == {"a.png", "b.png", "text.txt", "cut.png", "nowhere", "pipe"}
        assert by_name["a.png"]["coverage"]["algorithms"] == ["MD5", "SHA1", "SHA256", "PDQ", "PHASH", "DHASH"]
        assert by_name["a.png"]["coverage"]["gaps"] == []
        text = by_name["text.txt"]
        assert text["coverage"]["algorithms"] == ["MD5", "SHA1", "SHA256"]
        assert [gap["code"] for gap in text["coverage"]["gaps"]] == ["EXACT_ONLY"]
        assert "EXACT_ONLY" in [reason["code"] for reason in text["reasons"]]
        assert text["size"] == 9
        assert text["digests"] == [h.text for h in hash_media(b"synthetic").digests]
        for name in ("cut.png", "nowhere", "pipe"):
            assert (by_name[name]["verdict"], by_name[name]["size"]) == ("UNAVAILABLE", None)
            assert by_name[name]["coverage"]["algorithms"] == []
            assert by_name[name]["coverage"]["gaps"] == by_name[name]["reasons"]
        assert "Of these, 1 looked for by identical digest only (EXACT_ONLY)." in done.stderr

    @pytest.mark.usefixtures("quick")
    def test_a_miss_that_was_not_looked_at_says_so_to_people(self, run: Run, tree: Path) -> None:
        shown = run("scan", str(tree / "text.txt"), str(tree / "a.png")).stdout
        # Another line says that nothing is listed, unless another test has listed something before.
        only = "    only identical files were looked for: not a picture"
        assert re.search(rf"NO_MATCH +\S+/text.txt\n(?:    .*\n)*?{only}", shown)
        assert re.search(r"NO_MATCH +\S+/a.png\n(?!(?:    .*\n)*?    only)", shown)

    def test_hashes_say_it_too(self, run: Run, tree: Path) -> None:
        (one,) = objects(run("hash", str(tree / "text.txt"), "--json").stdout)
        assert [gap["code"] for gap in one["coverage"]["gaps"]] == ["EXACT_ONLY"]
        shown = run("hash", str(tree / "text.txt"), str(tree / "a.png"))
        assert shown.stderr.startswith(f"note: {tree}/text.txt: only identical files were looked for: not a picture")
        assert "a.png" not in shown.stderr

    def test_hashes_of_variants_are_named(self, run: Run, tree: Path) -> None:
        shown = run("hash", str(tree / "a.png"), "--effort", "standard", "--algorithm", "PDQ").stdout.splitlines()
        media = hash_media(tree / "a.png", algorithms=["PDQ"], effort=Effort.STANDARD)
        variants = media.query().variants
        assert len(variants) == len(Transform)
        assert shown == [
            f"{media.frames[0].hashes[0].text}  {tree}/a.png",
            *(f"{v.hashes[0].text}  {tree}/a.png ({v.variant})" for v in variants),
        ]
        (one,) = objects(
            run("hash", str(tree / "a.png"), "--effort", "standard", "--algorithm", "PDQ", "--json").stdout
        )
        assert [v["variant"] for v in one["variants"]] == [v.variant for v in variants] == one["coverage"]["variants"]
        (plain,) = objects(run("hash", str(tree / "a.png"), "--effort", "standard", "--json").stdout)
        assert plain["coverage"]["effort"] == "STANDARD"

    def test_a_file_that_costs_too_much_costs_its_own_answer(self, run: Run, tmp_path: Path) -> None:
        for n in range(5):
            write(tmp_path / "files" / f"{n}.txt", b"synthetic %d" % n)
        Image.new("RGB", (8_000, 7_000)).save(tmp_path / "files" / "2.png")
        done = run("scan", str(tmp_path / "files"), "--file-seconds", "0.2", "--json", "--effort", "plain")
        assert done.exit_code == UNAVAILABLE
        verdicts = {Path(one["file"]).name: one for one in objects(done.stdout)}
        assert verdicts["2.png"]["reasons"][0]["code"] == Reason.MEDIA_TOO_COSTLY
        assert Counter(one["verdict"] for one in verdicts.values()) == {"NO_MATCH": 5, "UNAVAILABLE": 1}
        assert "a process that hashed media ended" not in done.stderr

    @pytest.mark.usefixtures("quick")
    def test_crops_are_looked_for_only_after_a_miss(
        self, run: Run, tree: Path, tmp_path: Path, handed_out: list[tuple[str, Effort]]
    ) -> None:
        files = (str(tree / "a.png"), str(tree / "text.txt"))
        done = run("scan", *files, "--effort", "thorough", "--out", str(tmp_path / "out"), "--json")
        assert sorted(handed_out) == [
            ("a.png", Effort.STANDARD), ("a.png", Effort.THOROUGH), ("text.txt", Effort.STANDARD),
        ]  # fmt: skip
        assert [one["coverage"]["effort"] for one in objects(done.stdout)] == ["THOROUGH", "THOROUGH"]
        before = results(tmp_path / "out")
        handed_out.clear()
        run("scan", *files, "--effort", "thorough", "--out", str(tmp_path / "out"))
        assert handed_out == []
        assert results(tmp_path / "out") == before

    def test_videos_are_looked_for_by_their_frames(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path / "clip.mp4", encoded(clip(3, seconds=2), "mp4"))
        for command in ("scan", "hash"):
            (one,) = objects(run(command, str(path), "--json").stdout)
            assert one["coverage"]["frames_hashed"] == one["coverage"]["frame_count"] > 0
            assert one["coverage"]["algorithms"] == ["MD5", "SHA1", "SHA256", "PDQ"]
            assert [gap["code"] for gap in one["coverage"]["gaps"]] == ["VARIANTS_SKIPPED"]
        lines = run("hash", str(path), "--frames").stdout
        assert vpdq.parse(lines) == hash_media(path).video_frames
        (one,) = objects(run("hash", str(path), "--frames", "--json").stdout)
        assert one["frames"] == lines.splitlines()
        (tmp_path / "a.txt").write_text("synthetic", "ascii")
        for others, code in ((["a.txt"], REFUSED), (["a.txt", "clip.mp4"], USAGE)):
            refused = run("hash", *(str(tmp_path / other) for other in others), "--frames")
            assert (refused.exit_code, refused.stdout) == (code, "")
        # Without the libraries, an answer says what it lacks, and the scan how to get it.
        monkeypatch.setattr("hashhub.hashing.media.can_read_videos", lambda: False)
        monkeypatch.setattr(pool, "MediaPool", InProcess)
        shown = run("scan", str(path), str(path)).stdout
        assert shown.count("only identical files were looked for: frames of videos") == 2
        last = "More could be looked for with a further library: pip install 'hashhub[video]'."
        assert shown.splitlines()[-1] == last

    def test_no_call_is_larger_than_the_hub_takes(self) -> None:
        frames = tuple(VideoFrame(n, 100, b"\1" * 32) for n in range(MAX_FRAMES))
        video = Query(hashes=hash_media(b"synthetic").digests, frames=frames)
        queries = [video, *[hash_media(b"%d" % n).query() for n in range(scan.GROUP - 1)]]
        small = scan.message_parts(queries[1])
        queries[:] = queries[: 1 + scan.GROUP_PARTS // small]  # one more file was ready, and the group is full
        message = v1.BatchMatchHashesRequest(queries=map(wire.query_to_pb, queries))
        descriptor: Any = v1.BatchMatchHashesRequest.DESCRIPTOR
        wire.parse(type(message), message.SerializeToString(), wire.bounds_of(descriptor, 1 << 25))
        assert scan.GROUP_PARTS + scan.message_parts(video) < 100_000


class TestTree:
    def test_every_file_comes_once_and_links_to_directories_are_counted(self, tmp_path: Path) -> None:
        for name in ("b/2", "b/1", "a/x/1", "c"):
            write(tmp_path / name, b"")
        (tmp_path / "a" / "loop").symlink_to("..")
        (tmp_path / "b" / "self").symlink_to("self")
        (tmp_path / "b" / "file").symlink_to("1")
        tree = Tree([str(tmp_path), str(tmp_path / "a" / "loop"), str(tmp_path / "none")])
        shown = [str(path.relative_to(tmp_path)) for path in tree if isinstance(path, Path)]
        once = ["a/x/1", "b/1", "b/2", "b/file", "b/self", "c"]
        assert shown == [*once, *(f"a/loop/{name}" for name in once), "none"]  # a link that was given is followed
        assert tree.skipped == {LINKED_DIRECTORIES: 2}

    def test_it_is_as_deep_as_paths_can_be(self, tmp_path: Path) -> None:
        depth = 1_100
        top = tmp_path / "top"
        top.mkdir()
        here = os.open(top, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.close(here)
        try:
            assert [str(p).removeprefix(str(top)).count("/d") for p in Tree([str(top)]) if isinstance(p, Path)] == [
                depth
            ]
        finally:
            subprocess.run(["rm", "-r", str(top)], check=True)  # Python's own cannot go that deep

    def test_names_held_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for n in range(500):
            write(tmp_path / "many" / f"{n:03}", b"")
        write(tmp_path / "many" / "zz" / "last", b"")
        monkeypatch.setattr(scan_tree, "BATCH", 10)
        read = 0

        class Counting:
            def __init__(self, path: str) -> None:
                self._entries = scandir(path)

            def __iter__(self) -> Iterator[os.DirEntry[str]]:
                return self

            def __next__(self) -> os.DirEntry[str]:
                nonlocal read
                read += 1
                return next(self._entries)

            def close(self) -> None:
                self._entries.close()

        scandir = os.scandir
        names = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", Counting)
            for given, path in enumerate(Tree([str(tmp_path)]), 1):
                assert read <= given + 2 * 10
                names.append(path.name if isinstance(path, Path) else "")
        assert sorted(names) == [*(f"{n:03}" for n in range(500)), "last"]

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("after", [0, 1])
    def test_a_directory_that_cannot_be_listed_is_no_empty_one(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
    ) -> None:
        write(tmp_path / "open" / "1", b"1")
        write(tmp_path / "shut" / "2", b"2")

        class Broken:
            def __init__(self) -> None:
                self._rest = iter(list(scandir(tmp_path / "shut"))[:after])

            def __iter__(self) -> Broken:
                return self

            def __next__(self) -> os.DirEntry[str]:
                for entry in self._rest:
                    return entry
                raise PermissionError(13, "denied")

            def close(self) -> None:
                """Nothing is open."""

        scandir = os.scandir
        shut = str(tmp_path / "shut")
        monkeypatch.setattr(os, "scandir", lambda path: Broken() if path == shut else scandir(path))
        (unlisted,) = (one for one in Tree([str(tmp_path)]) if isinstance(one, UnreadableItem))
        assert unlisted.error.reason is Reason.UNREADABLE_MEDIA
        done = run("scan", str(tmp_path), "--json")
        assert done.exit_code == UNAVAILABLE
        (told,) = (one for one in objects(done.stdout) if one["verdict"] == "UNAVAILABLE")
        assert told["file"] == shut
        assert "cannot be listed (PermissionError)" in told["reasons"][0]["text"]

    def test_what_may_never_end_is_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
            with pytest.raises(InvalidArgument, match="not a regular file"):
                scan_tree.opened(path)
        for gone in (tmp_path / "none", tmp_path / "none" / "none"):
            with pytest.raises(NotFound):
                scan_tree.opened(gone)
        for impossible in (Path("a\0b"), Path("x" * 5_000)):
            with pytest.raises(InvalidArgument, match="cannot be opened"):
                scan_tree.opened(impossible)


@pytest.mark.usefixtures("quick")
class TestManyFiles:
    def test_what_is_held_does_not_grow_with_them(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = write(tmp_path / "files" / "0", b"")
        for n in range(1, 4_000):
            (tmp_path / "files" / f"{n}").hardlink_to(one)  # faster than another file
        os.utime(one, (OLD, OLD))
        most: Counter[str] = Counter()
        lock = threading.Lock()
        opened = scan_tree.opened
        take = scan.ScanRun.take
        now_open = 0

        def counted(path: Path) -> Any:
            nonlocal now_open
            file = opened(path)
            close = file.close

            def closed() -> None:
                nonlocal now_open
                with lock:
                    now_open -= 1
                close()

            class File:
                def __enter__(self) -> Any:
                    return file

                def __exit__(self, *_: object) -> None:
                    closed()

            with lock:
                now_open += 1
                most["open"] = max(most["open"], now_open)
            return File()

        def noted(self: Any, read: Any) -> None:
            take(self, read)
            most["under way"] = max(most["under way"], self.engine.under_way)
            most["ready"] = max(most["ready"], len(self._ready))

        monkeypatch.setattr(scan, "opened", counted)
        monkeypatch.setattr(scan.ScanRun, "take", noted)
        out = tmp_path / "out"
        done = run("scan", str(tmp_path / "files"), "--jobs", "2", "--out", str(out))
        assert done.exit_code == DONE, done.stderr
        assert "4,000 files: 4,000 NO_MATCH." in done.stdout
        assert len(results(out)) == 4_000
        assert 1 <= most["open"] <= 2
        assert most["under way"] <= 2 * scan.AHEAD
        assert most["ready"] <= scan.GROUP
        page = (out / "report.html").read_text("ascii")
        assert len(page) < 100_000
        again = run("scan", str(tmp_path / "files"), "--jobs", "2", "--out", str(out))
        assert "Hashed 0; 4,000 had not changed" in again.stdout
        assert most["ready"] <= scan.GROUP


@pytest.mark.usefixtures("quick")
class TestNames:
    NAMES = (
        b"line\nbreak.txt",
        b"\xff\xfe.txt",
        b"-rf",
        b"<script>alert(1).txt",
        "\u202eevil".encode(),
        b"' x=\"y",
    )

    def test_none_breaks_out_of_a_line_or_the_page(self, run: Run, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path / "files")
        (tmp_path / "files").mkdir()
        for n, name in enumerate(self.NAMES):
            Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"%d" % n)
            Path(os.fsdecode(folder + b"/d" + name)).mkdir()
            Path(os.fsdecode(folder + b"/d" + name + b"/f.png")).write_bytes(b"\x89PNG\r\n\x1a\n cut")
        out = tmp_path / "out"
        done = run("scan", str(tmp_path / "files"), "--out", str(out))
        assert done.exit_code == UNAVAILABLE
        assert len([line for line in done.stdout.splitlines() if line.startswith("NO_MATCH ")]) == len(self.NAMES)
        assert "\u202e" not in done.stdout
        told = results(out)
        shown = {
            bytes.fromhex(one["file_bytes"]) if one["file_bytes"] else os.fsencode(one["file"]) for one in told.values()
        }
        assert shown >= {folder + b"/" + name for name in self.NAMES}
        page = (out / "report.html").read_text("ascii")
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "x=&#34;y" in page
        assert "\u202e" not in html.unescape(page)

    def test_one_that_looks_like_an_option_is_scanned(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "--json", b"1")
        done = run("scan", "--", "--json")
        assert done.stdout.startswith("NO_MATCH     --json\n")


@pytest.fixture
def listed(run: Run, police: str, tmp_path: Path) -> Callable[[Path], None]:
    """Put a file's PDQ hash on a list."""

    hash_set = f"{police}/scanned-{os.getpid()}"
    run("hash-set", "create", hash_set, "--purpose", "csam")

    def put(path: Path) -> None:
        (one,) = objects(run("hash", str(path), "--algorithm", "PDQ", "--json").stdout)
        source = tmp_path / "list.txt"
        source.write_text(one["hashes"][0].removeprefix("PDQ:") + "\n", "ascii")
        arguments = ("--format", "hash-lines", "--hash-set", hash_set, "--option", "algorithm=PDQ")
        assert run("import", str(source), *arguments).exit_code == DONE

    return put


@pytest.mark.usefixtures("quick")
class TestRunAgain:
    def test_nothing_is_hashed_again_and_everything_is_matched_again(
        self,
        run: Run,
        tree: Path,
        tmp_path: Path,
        listed: Callable[[Path], None],
        handed_out: list[tuple[str, Effort]],
    ) -> None:
        paint(tree / "c.png", 7 + os.getpid())
        out = tmp_path / "out"
        command = ("scan", str(tree), "--out", str(out))
        assert run(*command).exit_code == UNAVAILABLE
        first = results(out)
        assert first[str(tree / "c.png")]["verdict"] == "NO_MATCH"
        listed(tree / "c.png")
        handed_out.clear()
        done = run(*command)
        # What had no answer is tried again.
        assert sorted(name for name, _ in handed_out) == ["cut.png", "nowhere", "pipe"]
        second = results(out)
        assert second.pop(str(tree / "c.png"))["verdict"] == "MATCH"
        del first[str(tree / "c.png")]
        assert second == first
        assert "Hashed 0; 4 had not changed since they were hashed." in done.stdout
        page = html.unescape((out / "report.html").read_text("ascii"))
        assert "PDQ exactly" in page
        assert "TLP" in page
        digests = [h for one in objects((out / "results.jsonl").read_text("ascii")) for h in one["digests"]]
        assert digests
        assert not any(digest.partition(":")[2] in page for digest in digests)

    def test_a_hit_says_by_which_variant(self, run: Run, tmp_path: Path, listed: Callable[[Path], None]) -> None:
        known = picture(9 + os.getpid(), (512, 384))
        known.save(tmp_path / "known.png")
        listed(tmp_path / "known.png")
        framed = tmp_path / "tree" / "framed.png"
        framed.parent.mkdir()
        ImageOps.expand(known, 60, "white").save(framed)
        out = tmp_path / "out"
        assert run("scan", str(framed), "--effort", "plain", "--json", "--fail-on", "review").exit_code == DONE
        done = run("scan", str(framed), "--out", str(out), "--json", "--fail-on", "review")
        assert done.exit_code == REFUSED
        (one,) = objects(done.stdout)
        assert one["matches"][0]["variant"] in one["coverage"]["variants"]
        assert one["matches"][0]["variant"] == "border-removed"
        assert results(out)[str(framed)]["matches"] == one["matches"]
        assert "PDQ of its variant border-removed, " in (out / "report.html").read_text("ascii")

    @pytest.mark.parametrize(
        "change", ["content", "same size and time", "replaced by another", "link to another", "younger than a tick"]
    )
    def test_what_changed_is_hashed_again(
        self, run: Run, tmp_path: Path, handed_out: list[tuple[str, Effort]], change: str
    ) -> None:
        top = tmp_path / "tree"
        path = write(top / "a", b"one")
        other = write(tmp_path / "other", b"two")
        write(top / "b", b"stays")
        if change == "link to another":
            (top / "link").symlink_to(path)
            path = top / "link"
        if change == "younger than a tick":
            path.write_bytes(b"now")
        command = ("scan", str(top), "--out", str(tmp_path / "out"))
        assert run(*command).exit_code == DONE
        handed_out.clear()
        match change:
            case "content":
                path.write_bytes(b"two and more")
            case "same size and time":
                path.write_bytes(b"two")
                os.utime(path, (OLD, OLD))
            case "replaced by another":
                other.replace(path)
            case "link to another":
                path.unlink()
                path.symlink_to(other)
        assert run(*command).exit_code == DONE
        assert [name for name, _ in handed_out] == [path.name]
        assert results(tmp_path / "out")[str(path)]["digests"] == [h.text for h in hash_media(path).digests]

    def test_what_lacks_something_that_is_wanted_is_hashed_again(
        self, run: Run, tmp_path: Path, handed_out: list[tuple[str, Effort]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paint(tmp_path / "tree" / "a.png", 3)
        command = ("scan", str(tmp_path / "tree"), "--out", str(tmp_path / "out"))
        plain, standard, thorough = ((*command, "--effort", effort) for effort in ("plain", "standard", "thorough"))
        variants = []
        for line, efforts in (
            (plain, [Effort.PLAIN]),
            (standard, [Effort.STANDARD]),
            (thorough, [Effort.THOROUGH]),
            (thorough, []),
            (standard, []),
            (plain, []),
        ):
            handed_out.clear()
            assert run(*line).exit_code == DONE
            assert [effort for _, effort in handed_out] == efforts, line
            (one,) = results(tmp_path / "out").values()
            variants.append(one["coverage"]["variants"])
        assert set(variants[1]) >= set(Transform)
        assert variants[0] == variants[5] == []  # what an earlier run had more is left out
        monkeypatch.setattr("hashhub.hashing.coverage.__version__", "another")
        handed_out.clear()
        assert run(*plain).exit_code == DONE
        assert len(handed_out) == 1

    def test_files_that_are_gone_are_told(self, run: Run, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        command = ("scan", str(tree), "--out", str(out))
        run(*command)
        (tree / "text.txt").unlink()
        (tree / "cut.png").unlink()
        done = run(*command)
        assert f"Gone since an earlier run: 2 ({tree}/cut.png, {tree}/text.txt)." in done.stdout
        assert str(tree / "text.txt") not in results(out)
        assert "Gone since an earlier run: 2 " in run("scan", str(tree / "deep"), str(tree), "--out", str(out)).stdout
        assert "text.txt" in (out / "report.html").read_text("ascii")
        # Another part of the tree says nothing of it.
        assert "Gone" not in run("scan", str(tree / "deep"), "--out", str(out)).stdout

    def test_its_own_directory_is_left_out(self, run: Run, tree: Path) -> None:
        out = tree / "out"
        for _ in range(2):
            done = run("scan", str(tree), "--out", str(out))
            assert "6 files" in done.stdout
            assert "Not scanned: 1 the directory of this report." in done.stdout


KILL = """
import os, signal, sys
from hashhub.cli import main
from hashhub.cli.scan_output import FileFindings
from hashhub.scans.engine import ScanMemory
owner, name, count = {owner}, {name!r}, {count}
original = getattr(owner, name)
def killing(*arguments, **options):
    global count
    count -= 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(owner, name, killing)
main(sys.argv[1:])
"""


class TestCutShort:
    @pytest.mark.parametrize(
        ("owner", "name", "count", "hashed_before"),
        [
            ("ScanMemory", "remember", 6, 5),
            ("FileFindings", "page", 1, 10),
        ],
    )
    def test_killed_at_any_moment_it_is_continued(
        self,
        run: Run,
        hub: RunningHub,
        tmp_path: Path,
        handed_out: list[tuple[str, Effort]],
        owner: str,
        name: str,
        count: int,
        hashed_before: int,
    ) -> None:
        top = tmp_path / "tree"
        for n in range(9):
            paint(top / f"{n % 3}" / f"{n}.png", n)
        write(top / "text.txt", b"synthetic")
        write(top / "cut.png", b"\x89PNG\r\n\x1a\n cut")
        command = ["scan", str(top), "--out", str(tmp_path / "out")]
        killed = subprocess.run(
            [sys.executable, "-c", KILL.format(owner=owner, name=name, count=count), *command],
            env={**os.environ, "HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)},
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        if name == "remember":
            assert not (tmp_path / "out" / "results.jsonl").exists()
            with (tmp_path / "out" / "results.partial.jsonl").open("ab") as torn:
                torn.write(b'{"file": "/tor')
        assert run(*command).exit_code == UNAVAILABLE
        assert len(handed_out) == 11 - hashed_before
        assert run("scan", str(top), "--out", str(tmp_path / "undisturbed")).exit_code == UNAVAILABLE
        assert results(tmp_path / "out") == results(tmp_path / "undisturbed")
        assert len(results(tmp_path / "out")) == 11
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "report.html", "results.jsonl", "state.sqlite",
        }  # fmt: skip

    @pytest.mark.usefixtures("quick")
    def test_interrupted_it_says_how_to_go_on(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handed_out: list[tuple[str, Effort]]
    ) -> None:
        for n in range(30):
            write(tmp_path / "tree" / f"{n:02}", b"%d" % n)
        monkeypatch.setattr(scan, "GROUP", 10)
        calls = 0
        ask = scan.RetryingHub.__call__

        def interrupted(self: Any, queries: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            return ask(self, queries)

        monkeypatch.setattr(scan.RetryingHub, "__call__", interrupted)
        out = tmp_path / "out"
        command = ("scan", str(tmp_path / "tree"), "--out", str(out))
        done = run(*command)
        assert done.exit_code == INTERRUPTED
        assert done.stderr == "interrupted\n"
        assert "10 files: 10 NO_MATCH." in done.stdout
        assert "Run the same command again to continue" in done.stdout
        assert len((out / "results.partial.jsonl").read_text("ascii").splitlines()) == 10
        assert not (out / "results.jsonl").exists()
        handed_out.clear()
        assert run(*command).exit_code == DONE
        assert len(handed_out) <= 10
        assert len(results(out)) == 30
        in_json = run("scan", str(tmp_path / "tree"), "--json")
        assert in_json.exit_code == DONE

    @pytest.mark.usefixtures("quick")
    def test_a_hub_that_is_away_for_a_while_is_asked_again(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(30):
            write(tmp_path / "tree" / f"{n:02}", b"%d" % n)
        monkeypatch.setattr(scan, "GROUP", 10)
        match_hashes = Client.match_hashes
        answers: list[HashHubError | None] = []
        pauses: list[float] = []

        def away(self: Client, queries: Any, options: Any) -> Any:
            error = answers.pop(0) if answers else None
            if error is not None:
                raise error
            return match_hashes(self, queries, options)

        monkeypatch.setattr(Client, "match_hashes", away)
        monkeypatch.setattr(time, "sleep", pauses.append)
        out = tmp_path / "out"
        command = ("scan", str(tmp_path / "tree"), "--out", str(out))
        gone = Unavailable("the hub does not answer")
        busy = LimitExceeded("too many", reason=Reason.TOO_MANY_REQUESTS, retry_after=7.0)
        answers[:] = [None, gone, gone, busy, None]
        done = run(*command)
        assert done.exit_code == DONE
        assert pauses == [1.0, 2.0, 7.0]
        assert done.stderr.count("asking again in") == 3

        # Beyond patience it ends, and what was hashed stays.
        answers[:] = [None, *[gone] * 9]
        pauses.clear()
        done = run(*command, "--wait-for-hub", "0")
        assert (done.exit_code, pauses) == (UNAVAILABLE, [])
        assert "Run the same command again to continue" in done.stdout
        # One that was never there is not waited for, and neither is one that refuses.
        for first in (gone, InvalidArgument("no such policy")):
            answers[:] = [first]
            assert run(*command).exit_code == (UNAVAILABLE if first is gone else REFUSED)
            assert pauses == []
        answers[:] = [None, InvalidArgument("no such policy")]
        assert run(*command).exit_code == REFUSED
        assert pauses == []
        answers.clear()
        assert run(*command).exit_code == DONE


@pytest.mark.usefixtures("quick")
class TestDirectory:
    def test_it_is_its_owners_alone(self, run: Run, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "new" / "out"
        run("scan", str(tree), "--out", str(out))
        assert stat.S_IMODE(out.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}

    def test_one_run_at_a_time(self, run: Run, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with scan_directory(out):
            refused = run("scan", str(tree), "--out", str(out))
            assert refused.exit_code == REFUSED
            assert "another scan is writing into this directory" in refused.stderr
            assert refused.stdout == ""
        assert run("scan", str(tree), "--out", str(out)).exit_code == UNAVAILABLE

    @pytest.mark.parametrize(
        "how",
        ["writable", "other files", "a file", "link for state", "link for results", "hard link", "pipe for state"],
    )
    def test_what_others_could_have_made_is_refused(self, run: Run, tree: Path, tmp_path: Path, how: str) -> None:
        out = tmp_path / "out"
        out.mkdir(mode=0o700)
        elsewhere = write(tmp_path / "elsewhere", b"")
        match how:
            case "writable":
                out.chmod(0o777)
            case "other files":
                write(out / "letter.txt", b"")
            case "a file":
                out.rmdir()
                write(out, b"")
            case "link for state":
                (out / "state.sqlite").symlink_to(elsewhere)
            case "link for results":
                (out / "results.partial.jsonl").symlink_to(elsewhere)
                assert run("scan", str(tree), "--out", str(out)).exit_code == UNAVAILABLE  # put aside, not followed
                assert elsewhere.read_bytes() == b""
                assert not any(path.is_symlink() for path in out.iterdir())
                return
            case "hard link":
                os.link(elsewhere, out / "state.sqlite")
            case "pipe for state":
                os.mkfifo(out / "state.sqlite")
        refused = run("scan", str(tree), "--out", str(out))
        assert refused.exit_code == REFUSED
        assert refused.stderr.startswith("error: out: ")
        assert elsewhere.read_bytes() == b""

    def test_one_of_another_user_is_refused(
        self, run: Run, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        out.mkdir(mode=0o700)
        monkeypatch.setattr(os, "geteuid", lambda: out.stat().st_uid + 1)
        refused = run("scan", str(tree), "--out", str(out))
        assert refused.exit_code == REFUSED
        assert "belongs to another user" in refused.stderr

    @pytest.mark.parametrize("kind", ["damaged", "another program's", "a later version's"])
    def test_a_state_that_cannot_be_read_is_not_taken_for_an_empty_one(
        self, run: Run, tree: Path, tmp_path: Path, kind: str
    ) -> None:
        out = tmp_path / "out"
        run("scan", str(tree), "--out", str(out))
        before = (out / "results.jsonl").read_bytes()
        if kind == "damaged":
            write(out / "state.sqlite", b"not a database" * 1000)
        else:
            with sqlite3.connect(out / "state.sqlite") as database:
                database.execute(f"PRAGMA {'application_id' if kind.startswith('another') else 'user_version'} = 99")
            database.close()
        refused = run("scan", str(tree), "--out", str(out))
        assert refused.exit_code == REFUSED
        assert "state.sqlite" in refused.stderr
        assert (out / "results.jsonl").read_bytes() == before

    def test_a_wrong_command_line_makes_nothing(self, run: Run, tree: Path, tmp_path: Path) -> None:
        for wrong in (("--jobs", "0"), ("--effort", "most"), ("--max-distance", "PDQ")):
            assert run("scan", str(tree), "--out", str(tmp_path / "out"), *wrong).exit_code == USAGE
        assert not (tmp_path / "out").exists()


class TestReport:
    def test_its_tables_are_bounded_and_say_so(self) -> None:
        findings = FileFindings(["top"])
        for n in range(1_500):
            path = Path("top", f"folder {n}", "file")
            findings.add(path, MatchResult(verdict=Verdict.UNAVAILABLE), Coverage(), "any", 0)
            findings.add(path, MatchResult(verdict=Verdict.REVIEW), Coverage(), "any@1", n + 1)
            findings.lose(f"gone {n}")
        page = findings.page({}, seconds=1.0, match_seconds=0.0, skipped={})
        assert page.count("<tr>") < 3_300
        assert page.count("The first 1,000 of 1,500") == 3
        assert "other folders" in page
        assert "1 to 1500" in page
        assert not re.search(r"(src|href|url)\s*[=(]", page)
        assert "http" not in page.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")
