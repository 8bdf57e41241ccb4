"""Uploads hashed by real child processes: given up, joined, closed meanwhile."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import pytest
from PIL import Image

from hashhub.errors import Cancelled, Reason, Unavailable
from hashhub.hashing import hash_media
from hashhub.hashing.media import MediaHashes
from hashhub.hook import Action, HookSettings, NoAnswer
from hashhub.hook.hashing import FEW_BYTES, UploadBytes, UploadHasher
from hashhub.model import Effort
from hashhub.senders import ByteBudget
from tests.hook.conftest import HELD, MakeHook, jpeg
from tests.patience import wait_until


def plain(shade: int, side: int = 600) -> bytes:
    """Return a picture of one colour. A child takes long over one of 6000 pixels a side."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 90, 90)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def content_of(given: bytes) -> UploadBytes:
    content = UploadBytes(ByteBudget(1 << 30), 1 << 28)
    content.write(given)
    return content


@pytest.fixture
def hashing() -> Iterator[UploadHasher]:
    settings = HookSettings(policy="block", without_answer=HELD, hub="127.0.0.1:1", hashing_processes=1)
    hashing = UploadHasher(settings)
    yield hashing
    hashing.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def stop_child(hashing: UploadHasher) -> Callable[[], None]:
    """Have the only child stand still, so that what it is given next does not come to its end; return what lets it go
    on. One that nobody wants an outcome of is killed all the same.
    """
    hashing.warm_up()
    child = hashing.pool.children.get(timeout=60)
    hashing.pool.children.put(child)
    os.kill(child.id[0], signal.SIGSTOP)
    return lambda: os.kill(child.id[0], signal.SIGCONT)


def submitted(hashing: UploadHasher, content: UploadBytes) -> tuple[Future[MediaHashes], Callable[[], None]]:
    """Have a content hashed by a child that stands still; return what lets it go on besides."""
    go_on, begun = stop_child(hashing), hashing.hashed
    future = hashing.submit(content)
    wait_until(lambda: hashing.hashed > begun)
    return future, go_on


def test_who_is_gone_stops_the_child_and_nobody_else(hashing: UploadHasher) -> None:
    content = content_of(plain(1))
    future, _ = submitted(hashing, content)
    hashing.give_up(content, future)
    error = future.exception(timeout=60)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.DEADLINE_EXCEEDED
    # It says nothing about the content, which the next one gets hashed, by another child.
    assert {h.algorithm for h in hashing.submit(content).result(timeout=60).hashes} >= {"PDQ", "MD5"}
    content.drop()


def test_who_joins_is_not_let_down_by_the_first(hashing: UploadHasher) -> None:
    content, same_content = content_of(plain(2)), content_of(plain(2))
    future, go_on = submitted(hashing, content)
    joined = hashing.submit(same_content)
    hashing.give_up(content, future)
    content.drop()
    go_on()
    assert joined.result(timeout=60).frames
    assert hashing.hashed == 1
    same_content.drop()


def test_who_joined_and_leaves_stops_nothing(hashing: UploadHasher) -> None:
    content = content_of(plain(3))
    future, go_on = submitted(hashing, content)
    hashing.give_up(content, hashing.submit(content))
    go_on()
    assert future.result(timeout=60).frames
    # When both leave, nobody is waited for.
    other = content_of(plain(4))
    future, _ = submitted(hashing, other)
    hashing.give_up(other, hashing.submit(other))
    hashing.give_up(other, future)
    assert isinstance(future.exception(timeout=60), Unavailable)
    content.drop()
    other.drop()


def test_what_waits_and_is_given_up_is_not_hashed(hashing: UploadHasher) -> None:
    content, queued_content = content_of(plain(5)), content_of(jpeg(6))
    future, go_on = submitted(hashing, content)
    queued = hashing.submit(queued_content)
    hashing.give_up(queued_content, queued)
    assert queued.cancelled()
    again = hashing.submit(queued_content)
    go_on()
    assert again.result(timeout=60).frames
    assert future.done(), "first come, first served"
    assert hashing.hashed == 2
    content.drop()
    queued_content.drop()


def test_closing_waits_for_what_is_in_hand_and_in_the_queue(hashing: UploadHasher) -> None:
    content, queued_content = content_of(plain(5)), content_of(jpeg(6))
    future, go_on = submitted(hashing, content)
    queued = hashing.submit(queued_content)
    assert not queued.running(), "the only child is busy"
    go_on()
    hashing.close()
    assert future.result(timeout=0).frames
    assert queued.result(timeout=0).frames
    assert isinstance(hashing.submit(content_of(b"")).exception(timeout=0), Unavailable)
    content.drop()
    queued_content.drop()


def test_a_decision_that_is_abandoned_while_it_is_hashed_is_none(
    make_hook: MakeHook, threads: ThreadPoolExecutor
) -> None:
    hook = make_hook()
    assert hook.hashing is not None
    stop_child(hook.hashing)
    with hook.receive() as upload:
        upload.write(plain(7))
        deciding = threads.submit(upload.decide)
        wait_until(lambda: hook.hashing is not None and hook.hashing.hashed == 1)
        upload.abandon()
        with pytest.raises(Cancelled):
            deciding.result(timeout=60)
    wait_until(lambda: hook.memory_bytes == 0)
    assert hook.counts.total() == 0
    assert hook.check(jpeg(8)).no_answer is None


def test_an_upload_that_is_hashed_when_its_processes_end_is_not_unreadable(
    make_hook: MakeHook, threads: ThreadPoolExecutor
) -> None:
    """It is asked about again: where what cannot be read is allowed, nobody has looked at it yet."""
    hook = make_hook(without_answer=msgspec.structs.replace(HELD, unreadable=Action.ALLOW))
    assert hook.hashing is not None
    stop_child(hook.hashing)
    deciding = threads.submit(hook.check, plain(9))
    wait_until(lambda: hook.hashing is not None and hook.hashing.hashed == 1)
    hook.hashing.pool.close()
    decision = deciding.result(timeout=60)
    assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)


class TestUploadBytes:
    """However it came, a child and who asks for a file get what was digested."""

    @pytest.mark.parametrize("count", [0, 1, 5000, FEW_BYTES - 1, FEW_BYTES, FEW_BYTES + 1])
    @pytest.mark.parametrize("cut", [100, 4096, 70_000])
    def test_pieces_and_file_are_the_same(self, count: int, cut: int) -> None:
        given = bytes(range(256)) * (count // 256 + 1)
        memory = ByteBudget(1 << 30)
        content = UploadBytes(memory, 1 << 28)
        reused = bytearray(cut)
        for number, start in enumerate(range(0, count, cut)):
            piece = given[start : min(start + cut, count)]
            view = memoryview(piece)
            reused[: len(piece)] = piece
            content.write((piece, view, memoryview(reused)[: len(piece)], bytearray(piece))[number % 4])
            view.release()
            reused[:] = bytes(cut)  # as a caller with one buffer does
        pieces = content.pieces()
        assert b"".join(pieces) == given[:count]
        assert len(pieces) <= count / 4096 * 2 + 1
        for _ in range(2):
            file = content.open()
            assert file is not None
            with file:
                assert file.read() == given[:count]
        assert memory.taken == count
        content.drop()
        assert (content.open(), content.pieces(), memory.taken) == (None, (), 0)

    def test_a_child_takes_pieces_as_it_takes_a_file(self, hashing: UploadHasher) -> None:
        given = jpeg(9)
        few, filed = content_of(given[:20]), content_of(jpeg(10))
        few.write(memoryview(given)[20:9000])
        few.write(given[9000:])
        file = filed.open()
        assert file is not None
        file.close()
        assert len(few.pieces()) == 3
        assert not filed.pieces()
        for content, of in ((few, given), (filed, jpeg(10))):
            media = hashing.submit(content).result(timeout=60)
            assert media.query() == hash_media(of, effort=Effort.STANDARD).query()
            content.drop()


def test_threads_that_hash_leave_none_behind(hashing: UploadHasher, threads: ThreadPoolExecutor) -> None:
    """More uploads than children, from threads that wait: each has its outcome, whoever it came from."""
    contents = [content_of(jpeg(20 + number % 3, (256, 192))) for number in range(12)]
    barrier = threading.Barrier(4)

    def hash_some(start: int) -> None:
        barrier.wait()
        for content in contents[start::4]:
            assert hashing.submit(content).result(timeout=60).frames
            content.drop()

    for done in [threads.submit(hash_some, start) for start in range(4)]:
        done.result(timeout=60)
    assert hashing.hashed == 3, "the same content is hashed once"


def test_who_joins_what_was_just_given_up_has_it_hashed(hashing: UploadHasher, threads: ThreadPoolExecutor) -> None:
    """The child is about to be stopped for the one that left; that says nothing to the one that came since."""
    content = content_of(plain(7))
    joined: list[Future[object]] = []

    class Watched(dict[bytes, int]):
        def get(self, key: bytes, default: int = 0) -> int:  # type: ignore[override]
            wanted = super().get(key, default)
            if wanted == 0 and not joined:
                joined.append(hashing.submit(content))  # type: ignore[arg-type]
            return wanted

    hashing.wanted = Watched()
    stop_child(hashing)
    left = hashing.submit(content)
    wait_until(lambda: hashing.hashed == 1)
    hashing.give_up(content, left)
    wait_until(lambda: bool(joined))
    assert joined[0].result(timeout=60).frames  # type: ignore[attr-defined]
    assert hashing.in_hand == {}
    content.drop()
