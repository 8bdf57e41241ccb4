"""Media hashed in child processes: whatever a file does, it costs its limits and its own answer."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashing import Limits, MediaHashes, hash_media
from hashhub.hashing import child as protocol
from hashhub.hashing.decoding import load_decoders
from hashhub.hashing.pool import Content, MediaPool, _send
from hashhub.model import Effort
from hashhub.testing.pictures import picture
from tests.patience import wait_until

GIB = 1 << 30


@cache
def good() -> bytes:
    return encoded(picture(3, (256, 192)))


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    load_decoders()  # registers HEIF
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@cache
def costly() -> bytes:
    """A small file that takes many seconds: a blank picture of 50 megapixels."""
    return encoded(Image.new("RGB", (10_000, 5000)))


@pytest.fixture(autouse=True)
def patient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that waits for its core is not stopped, but where a test is about that."""
    monkeypatch.setattr("hashhub.hashing.pool.WALL", 1000)


@pytest.fixture
def new_pool() -> Iterator[Callable[..., MediaPool]]:
    """Return a function that makes pools; all are closed in the end."""
    pools: list[MediaPool] = []

    def make(**settings: Any) -> MediaPool:
        usual: dict[str, Any] = {
            "children": 1,
            "max_queued": 100,
            "seconds": 60.0,
            "memory_bytes": 4 * GIB,
            "limits": Limits(),
        }
        pools.append(MediaPool(**usual | settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def hashed(pool: MediaPool, data: Content, **options: Any) -> MediaHashes:
    with pool.room() as place:
        return place.hash(data, **options)


def processes(parent: int) -> list[int]:
    """The children of a process."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]


def template_of(pool: MediaPool) -> int:
    process = pool.template.process
    assert process is not None
    return process.pid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class TestAnswers:
    def test_they_are_those_of_the_same_process(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(limits=Limits(max_pixels=1 << 20))
        animation = encoded(
            picture(1, (64, 64)), "GIF", save_all=True, append_images=[picture(n, (64, 64)) for n in (2, 3)]
        )
        still = picture(4, (200, 150))
        formats = [encoded(still, name) for name in ("JPEG", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000")]
        for data in (good(), animation, *formats, encoded(still, "JPEG", progressive=True), b"text", b""):
            for effort in Effort:
                assert hashed(pool, data, effort=effort) == hash_media(data, effort=effort)
        for data in (good()[:900], costly(), b"\xff\x0a and then JPEG XL"):
            with pytest.raises(HashHubError) as alone:
                hash_media(data, limits=Limits(max_pixels=1 << 20))
            with pytest.raises(type(alone.value)) as pooled:
                hashed(pool, data)
            assert (pooled.value.message, pooled.value.reason, pooled.value.metadata) == (
                alone.value.message,
                alone.value.reason,
                alone.value.metadata,
            )

    def test_each_of_many_threads_gets_its_own(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(children=2)
        files = [encoded(picture(n, (64, 48))) for n in range(40)]
        broken = [file[:300] for file in files]
        expected = {file: hash_media(file) for file in files}

        def ask(file: bytes) -> MediaHashes | Reason:
            try:
                return hashed(pool, file)
            except InvalidArgument as e:
                return e.reason

        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(ask, [*files, *broken]))
        assert answers[:40] == [expected[file] for file in files]
        assert answers[40:] == [Reason.UNREADABLE_MEDIA] * 40

    def test_cpu_seconds_of_a_call_are_told_whatever_became_of_its_files(
        self, new_pool: Callable[..., MediaPool]
    ) -> None:
        pool = new_pool(seconds=0.2)
        with pool.room() as place:
            place.hash(good())
            of_one = place.cpu_seconds
            assert 0 < of_one < 10
            with pytest.raises(InvalidArgument):
                place.hash(good()[:900])
            with pytest.raises(LimitExceeded):
                place.hash(costly())
            assert 0.1 < place.cpu_seconds - of_one < 10  # the kernel counts in ticks


class TestOpenFiles:
    """A file that is open here goes to a child as a descriptor."""

    def test_answers_are_those_for_its_bytes(self, new_pool: Callable[..., MediaPool], tmp_path: Path) -> None:
        pool = new_pool(limits=Limits(max_bytes=300_000))
        path = tmp_path / "file"
        for data in (good(), b"text" * 500_000, b"", encoded(picture(4, (200, 150)), "JPEG")):
            path.write_bytes(data)
            with path.open("rb") as file:
                file.read(10)  # where it stands does not matter
                assert hashed(pool, file, effort=Effort.THOROUGH) == hash_media(data, effort=Effort.THOROUGH)
                assert hashed(pool, file) == hash_media(data)  # it can be asked for again
        for data, reason in ((good()[:900], Reason.UNREADABLE_MEDIA), (good() * 9, Reason.MEDIA_TOO_LARGE)):
            path.write_bytes(data)
            with path.open("rb") as file, pytest.raises(HashHubError) as refused:
                hashed(pool, file)
            assert refused.value.reason is reason
        assert hashed(pool, good()) == hash_media(good())  # bytes and files take turns

    def test_a_child_holds_none_of_those_it_is_done_with(
        self, new_pool: Callable[..., MediaPool], tmp_path: Path
    ) -> None:
        pool = new_pool()
        for n, data in enumerate((good(), good()[:900], b"text")):
            (tmp_path / str(n)).write_bytes(data)
            with (tmp_path / str(n)).open("rb") as file, suppress(InvalidArgument):
                hashed(pool, file)
        (child,) = processes(template_of(pool))
        opened = [str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()]
        assert {name for name in opened if not name.startswith("socket:")} == {"/dev/null"}

    def test_what_may_never_end_is_not_read(self, new_pool: Callable[..., MediaPool], tmp_path: Path) -> None:
        pool = new_pool()
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", Path("/dev/zero")):
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - a descriptor
                with pytest.raises(InvalidArgument, match="not a regular file") as refused:
                    hashed(pool, file)
                assert refused.value.reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("change", ["grows", "shrinks", "is written anew", "is read only"])
    def test_one_that_changes_while_it_is_read_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"synthetic" * 1000)
        os.utime(path, (1, 1))

        def meanwhile(file: Any, **options: Any) -> MediaHashes:
            hashes = hash_media(file, **options)
            if change == "grows":
                with path.open("ab") as more:
                    more.write(b"more")
            elif change == "shrinks":
                os.truncate(path, 100)
            elif change == "is written anew":
                with path.open("r+b") as again:
                    again.write(b"other")
                os.utime(path, (1, 1))  # who hides it has no say over the time of the last change
            return hashes

        monkeypatch.setattr(protocol, "hash_media", meanwhile)
        task = protocol.Task(effort=Effort.PLAIN, limits=Limits())
        if change == "is read only":
            assert protocol._of_file(path.open("rb"), task) == hash_media(path)
            return
        with pytest.raises(InvalidArgument, match="changed while it was read") as refused:
            protocol._of_file(path.open("rb"), task)
        assert refused.value.reason is Reason.UNREADABLE_MEDIA

    def test_a_long_one_may_take_longer(self, new_pool: Callable[..., MediaPool], tmp_path: Path) -> None:
        path = tmp_path / "long"
        with path.open("wb") as file:
            file.truncate(200 << 20)  # half a second to digest
        pool = new_pool(seconds=0.1)
        with path.open("rb") as file:
            assert hashed(pool, file).size_bytes == 200 << 20
        with pytest.raises(LimitExceeded):
            hashed(pool, costly())


class TestThreads:
    def test_children_decode_with_one_and_the_template_has_no_other(self, new_pool: Callable[..., MediaPool]) -> None:
        """libheif, libde265 and dav1d otherwise start some for each picture."""
        pool = new_pool()
        still = picture(4, (640, 480))
        for name in ("HEIF", "AVIF", "WEBP"):
            assert hashed(pool, encoded(still, name)).frames
            (child,) = processes(template_of(pool))
            assert len(list(Path(f"/proc/{child}/task").iterdir())) == 1
        assert len(list(Path(f"/proc/{template_of(pool)}/task").iterdir())) == 1


class TestLimits:
    def test_a_file_that_takes_too_long_is_stopped_and_the_next_is_hashed(
        self, new_pool: Callable[..., MediaPool]
    ) -> None:
        pool = new_pool(seconds=0.2)
        for _ in range(3):
            with pytest.raises(LimitExceeded, match="not checked") as stopped:
                hashed(pool, costly())
            assert stopped.value.reason is Reason.MEDIA_TOO_COSTLY
            assert stopped.value.retry_after is None  # it would take as long again
            assert hashed(pool, good()) == hash_media(good())
        assert len(processes(template_of(pool))) == 1

    def test_a_file_that_waits_for_its_core_is_stopped_by_the_clock(
        self, new_pool: Callable[..., MediaPool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool = new_pool(seconds=0.5)
        hashed(pool, good())
        (child,) = processes(template_of(pool))
        os.kill(child, signal.SIGSTOP)
        with monkeypatch.context() as hurried:
            hurried.setattr("hashhub.hashing.pool.WALL", 1)
            with pytest.raises(LimitExceeded) as stopped:
                hashed(pool, good())
        assert stopped.value.reason is Reason.MEDIA_TOO_COSTLY
        assert hashed(pool, good()).frames

    def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_is_hashed(
        self, new_pool: Callable[..., MediaPool]
    ) -> None:
        pool = new_pool(memory_bytes=256 << 20)
        for _ in range(2):
            with pytest.raises(LimitExceeded) as refused:
                hashed(pool, costly())
            assert (refused.value.reason, refused.value.metadata["limit"]) == (Reason.MEDIA_TOO_LARGE, "memory")
            assert hashed(pool, good()) == hash_media(good())

    def test_a_costly_file_does_not_keep_others_from_the_other_children(
        self, new_pool: Callable[..., MediaPool]
    ) -> None:
        pool = new_pool(children=2)
        is_wanted = threading.Event()
        is_wanted.set()
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(hashed, pool, costly(), effort=Effort.THOROUGH, is_wanted=is_wanted.is_set)
            wait_until(lambda: pool.calls == 1)
            for n in range(5):
                assert hashed(pool, encoded(picture(n, (64, 48)))).frames
            assert not slow.done()
            is_wanted.clear()
            with pytest.raises(Unavailable):
                slow.result(60)


class TestCallersWhoHaveGone:
    def test_hashing_is_stopped(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool()
        hashed(pool, good())
        (child,) = processes(template_of(pool))
        looks = iter([True] * 3)
        with pool.room() as place:
            with pytest.raises(Unavailable) as stopped:
                place.hash(costly(), effort=Effort.THOROUGH, is_wanted=lambda: next(looks, False))
            assert 0 < place.cpu_seconds < 10
        assert stopped.value.reason is Reason.DEADLINE_EXCEEDED
        assert not is_alive(child)
        assert hashed(pool, good()).frames

    def test_waiting_is_ended(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool()
        is_wanted = threading.Event()
        is_wanted.set()
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(hashed, pool, costly(), effort=Effort.THOROUGH, is_wanted=is_wanted.is_set)
            wait_until(pool.children.empty)
            looks = iter([True] * 3)
            with pytest.raises(Unavailable) as stopped:
                hashed(pool, good(), is_wanted=lambda: next(looks, False))
            assert stopped.value.reason is Reason.DEADLINE_EXCEEDED
            assert not slow.done()
            is_wanted.clear()
        assert pool.calls == 0


class TestRoom:
    def test_beyond_it_a_caller_is_told_at_once_when_to_come_back(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(max_queued=1)
        with pool.room(), pool.room():
            with pytest.raises(LimitExceeded) as refused, pool.room():
                pass
            assert refused.value.reason is Reason.TOO_MANY_REQUESTS
            assert refused.value.retry_after is not None
            assert 0.5 <= refused.value.retry_after <= 30
        with pool.room(), pool.room():
            assert pool.calls == 2


class TestEndings:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
    def test_a_child_that_dies_loses_its_file_only(
        self, new_pool: Callable[..., MediaPool], number: signal.Signals
    ) -> None:
        pool = new_pool()
        hashed(pool, good())
        (child,) = processes(template_of(pool))
        with ThreadPoolExecutor(2) as threads:
            lost = threads.submit(hashed, pool, costly(), effort=Effort.THOROUGH)
            wait_until(pool.children.empty)
            waiting = threads.submit(hashed, pool, good())
            os.kill(child, number)
            with pytest.raises(Unavailable) as died:
                lost.result(60)
            assert died.value.reason is Reason.MEDIA_PROCESS_DIED
            assert waiting.result(60) == hash_media(good())

    def test_a_child_that_dies_idle_loses_nothing(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool()
        for _ in range(3):
            hashed(pool, good())
            (child,) = processes(template_of(pool))
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: not is_alive(child))  # noqa: B023 - called before the next turn
            assert hashed(pool, good()).frames

    def test_another_template_takes_the_place_of_one_that_died(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(children=2)
        for _ in range(2):
            hashed(pool, good())
            template = template_of(pool)
            (child, *_) = processes(template)
            os.kill(template, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: not is_alive(child))  # noqa: B023 - called before the next turn
            assert [hashed(pool, good()).size_bytes for _ in range(4)] == [len(good())] * 4
            assert template_of(pool) != template

    def test_children_end_with_the_pool(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(children=2)
        pool.start()
        wait_until(lambda: pool.template.process is not None and len(processes(template_of(pool))) == 1)
        pids = [template_of(pool), *processes(template_of(pool))]
        pool.close()
        wait_until(lambda: not any(map(is_alive, pids)))
        with pytest.raises(Unavailable):
            hashed(pool, good())

    def test_a_pool_that_closes_while_it_starts_does_not_warn(
        self, new_pool: Callable[..., MediaPool], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A worker that has nothing to do is done before its children are there: nothing is wrong with them."""
        pool = new_pool(children=2)
        pool.close()
        pool.start()
        wait_until(lambda: not any(thread.name == "media-start" for thread in threading.enumerate()))
        assert not caplog.records

    def test_a_file_in_progress_when_the_pool_closes_is_unavailable(
        self, new_pool: Callable[..., MediaPool], caplog: pytest.LogCaptureFixture
    ) -> None:
        """No process has crashed on it: it is to be asked about again, rather than to count as unreadable."""
        pool = new_pool()
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(hashed, pool, costly(), effort=Effort.THOROUGH)
            wait_until(lambda: pool.children.empty() and pool.template.process is not None)
            wait_until(lambda: bool(processes(template_of(pool))))
            pool.close()
            with pytest.raises(Unavailable) as ended:
                slow.result(60)
        assert ended.value.reason is not Reason.MEDIA_PROCESS_DIED
        assert not caplog.records

    def test_children_end_with_a_hub_that_is_killed(self) -> None:
        """Even one that has a file in its hands."""
        program = (
            "import sys, threading, time\n"
            "from hashhub.hashing import Limits\n"
            "from hashhub.hashing.pool import MediaPool\n"
            "from hashhub.model import Effort\n"
            "pool = MediaPool(children=2, max_queued=9, seconds=600, memory_bytes=1 << 32, limits=Limits())\n"
            "data = sys.stdin.buffer.read()\n"
            "def ask():\n"
            "    with pool.room() as place: place.hash(data, effort=Effort.THOROUGH)\n"
            "threading.Thread(target=ask, daemon=True).start()\n"
            "while pool.template.process is None or not pool.template.generation: time.sleep(0.01)\n"
            "print(pool.template.process.pid, flush=True); time.sleep(600)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hub:
            assert hub.stdin is not None
            assert hub.stdout is not None
            hub.stdin.write(costly())
            hub.stdin.close()
            template = int(hub.stdout.readline())
            wait_until(lambda: bool(processes(template)))
            pids = [template, *processes(template)]
            assert all(map(is_alive, pids))
            hub.kill()
        wait_until(lambda: not any(map(is_alive, pids)))


class TestWhatAChildHas:
    def test_nothing_of_the_hubs(
        self, new_pool: Callable[..., MediaPool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HASHHUB_DATABASE", "postgresql+psycopg://hub:secret@db/hub")
        with (tmp_path / "open").open("w") as held:
            os.set_inheritable(held.fileno(), True)
            pool = new_pool()
            hashed(pool, good())
            template = template_of(pool)
            (child,) = processes(template)
            assert b"secret" not in Path(f"/proc/{template}/environ").read_bytes()
            opened = [str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()]
            assert sum(name.startswith("socket:") for name in opened) == 1
            assert {name for name in opened if not name.startswith("socket:")} == {"/dev/null"}

    def test_no_right_to_write_a_file_or_a_core_dump(self, new_pool: Callable[..., MediaPool]) -> None:
        pool = new_pool(memory_bytes=1 * GIB)
        hashed(pool, good())
        (child,) = processes(template_of(pool))
        limits = Path(f"/proc/{child}/limits").read_text("ascii")
        for name in ("Max core file size", "Max file size"):
            assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith(name)] == [["0", "0"]]
        (memory,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max address space")]
        assert GIB < int(memory) < 2 * GIB
        assert Path(f"/proc/{child}/oom_score_adj").read_text("ascii") == "1000\n"


class TestSending:
    """Of a file's bytes to a child, which may be one that a hostile file has taken over."""

    def test_pieces_come_whole_however_many_and_in_their_order(self) -> None:
        pieces: list[Any] = [b"a", memoryview(b"--bc")[2:], bytearray(b"d" * 3000), b"", b"e" * 300_000] * 700
        ours, theirs = socket.socketpair()
        received = bytearray()

        def receive() -> None:
            while piece := theirs.recv(1 << 20):
                received.extend(piece)

        reading = threading.Thread(target=receive)
        reading.start()
        with theirs:
            with ours:
                ours.setblocking(False)
                _send(ours, list(pieces), time.monotonic() + 180)
            reading.join()
        assert received == b"".join(pieces)

    def test_who_takes_them_in_byte_by_byte_is_not_waited_for(self) -> None:
        ours, theirs = socket.socketpair()
        is_over = threading.Event()

        def trickle() -> None:
            while not is_over.wait(0.005):
                theirs.recv(4096)

        reading = threading.Thread(target=trickle)
        reading.start()
        with ours, theirs:
            ours.setblocking(False)
            begun = time.monotonic()
            with pytest.raises(TimeoutError):
                _send(ours, [bytes(1 << 28)], begun + 0.5)
            assert time.monotonic() - begun < 60  # to take all of it in, 320
            is_over.set()
            reading.join()
