"""Who has a place in the sidecar while senders stall, by a clock that a loaded machine does not slow down."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest

from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.hook.settings import SidecarSettings
from hashhub.hook.sidecar.counts import SidecarMetrics
from hashhub.hook.sidecar.turns import UploadBody, UploadTurns
from tests.hook.test_sidecar_adversaries import HEAD, connected, memory_bytes, until

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, Start

KIB = 1024
T = TypeVar("T")
Receive = Callable[[], Awaitable[dict[str, Any]]]


class _Loop(asyncio.SelectorEventLoop):
    """A loop for which the time passes that is waited for, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0.0
        look = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> Any:
            self._at += timeout or 0.0
            return look(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._at

    def stand_still(self, seconds: float) -> None:
        self._at += seconds


def run(what: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(what)


def sends(size: int, *, piece: int, each: float, stalls: bool = False) -> Receive:
    """A sender of so many bytes, a piece each so many seconds, that then says nothing more."""
    left = size

    async def receive() -> dict[str, Any]:
        nonlocal left
        await asyncio.sleep(3600 if stalls and left <= 0 else each)
        sent = min(piece, left)
        left -= sent
        return {"type": "http.request", "body": b"x" * sent, "more_body": stalls or left > 0}

    return receive


class Place:
    """The sidecar's part that receives."""

    def __init__(self, *, most_lent_bytes: int = 1 << 30, **given: Any) -> None:
        self.settings = SidecarSettings(**given)
        self.counts = SidecarMetrics()
        self.turns = UploadTurns(self.settings, self.counts, most_lent_bytes=most_lent_bytes)
        self.most_at_once = 0

    async def upload(self, receive: Receive, *, deciding: float = 0.01) -> float:
        """Receive an upload and decide over it; return how long that took."""
        began = asyncio.get_running_loop().time()
        with self.turns.turn() as turn:
            body = UploadBody(receive, self.settings, most=1 << 30, turn=turn)
            async for _ in body.pieces():
                self.most_at_once = max(self.most_at_once, self.counts.in_progress)
                assert turn.has_place
            assert body.is_whole
            await asyncio.sleep(deciding)
        return asyncio.get_running_loop().time() - began


def honest() -> Receive:
    return sends(300 * KIB, piece=64 * KIB, each=0.02)


def phone(seconds: int) -> Receive:
    """It sends 10 KiB a second, steadily."""
    return sends(seconds * 10 * KIB, piece=2 * KIB, each=0.2)


async def _amid(place: Place, stalled: list[Receive], others: list[Receive]) -> list[float]:
    held = [asyncio.create_task(place.upload(receive)) for receive in stalled]
    await asyncio.sleep(0.1)
    done = await asyncio.gather(*(place.upload(receive) for receive in others))
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(e, Unavailable) and e.reason is Reason.SLOW_SENDER for e in ended)
    assert place.counts.in_progress == 0
    assert place.most_at_once <= place.settings.max_uploads
    assert place.turns.lent.taken == 0
    return done


@pytest.mark.parametrize("begun", [0, 1, 1000, 5_000_000], ids=["nothing", "a byte", "something", "megabytes"])
def test_forty_senders_that_stall_hold_up_nobody(begun: int) -> None:
    place = Place()
    stalled = [sends(begun, piece=max(begun, 1), each=0.01, stalls=True) for _ in range(40)]
    took = run(_amid(place, stalled, [honest() for _ in range(20)]))
    assert max(took) < 2.0


def test_as_many_as_may_connect_and_stall_hold_up_nobody_for_as_long_as_they_wait() -> None:
    place = Place()
    stalled = [sends(1, piece=1, each=0.01, stalls=True) for _ in range(place.settings.max_connections - 12)]
    took = run(_amid(place, stalled, [honest() for _ in range(12)]))
    assert max(took) < place.settings.wait_seconds


def test_senders_that_trickle_hold_up_nobody() -> None:
    place = Place()
    trickling = [sends(1 << 20, piece=1, each=0.1, stalls=True) for _ in range(40)]
    assert max(run(_amid(place, trickling, [honest() for _ in range(20)]))) < 2.0


def test_a_slow_phone_is_answered_when_nobody_waits() -> None:
    assert run(Place().upload(phone(300))) == pytest.approx(300, abs=1)


def test_a_slow_phone_is_answered_while_others_wait_all_the_time() -> None:
    place = Place(max_uploads=2)

    async def amid() -> int:
        slow = asyncio.create_task(place.upload(phone(120)))
        answered = 0

        async def others() -> None:
            nonlocal answered
            while not slow.done():
                assert await place.upload(honest(), deciding=0.3) < place.settings.wait_seconds
                answered += 1

        await asyncio.gather(*(others() for _ in range(4)))
        await slow
        return answered

    assert run(amid()) > 500


def test_who_is_not_behind_keeps_its_place_and_others_are_told_to_come_back() -> None:
    place = Place(max_uploads=1)

    async def amid() -> None:
        steady = asyncio.create_task(place.upload(sends(600 * KIB, piece=4 * KIB, each=0.2)))
        await asyncio.sleep(1)
        with pytest.raises(LimitExceeded, match="send it again"):
            await place.upload(honest())
        await steady

    run(amid())


def test_what_has_come_of_those_who_lend_their_places_is_bounded() -> None:
    """Memory is for all uploads together, and one that finds none is not looked at."""
    place = Place(max_uploads=4, most_lent_bytes=250_000)

    async def amid() -> list[Any]:
        stalled = [sends(100_000, piece=100_000, each=0.01, stalls=True) for _ in range(4)]
        held = [asyncio.create_task(place.upload(receive)) for receive in stalled]
        await asyncio.sleep(0.1)
        deciding = [asyncio.create_task(place.upload(honest(), deciding=5)) for _ in range(4)]
        await asyncio.sleep(2)
        assert place.turns.lent.taken == 200_000
        assert sum(task.done() for task in held) == 2
        await asyncio.gather(*deciding)
        return await asyncio.gather(*held, return_exceptions=True)

    ended = run(amid())
    assert {e.reason for e in ended} == {Reason.SLOW_SENDER}
    assert place.turns.lent.taken == 0


def test_what_came_while_the_loop_stood_still_is_not_late() -> None:
    place = Place(max_uploads=1)
    ended: list[str] = []

    async def upload(name: str, receive: Receive) -> None:
        await place.upload(receive)
        ended.append(name)

    async def amid() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)
        uploads = [asyncio.create_task(upload("first", sends(2, piece=1, each=0.1)))]
        await asyncio.sleep(0.15)
        uploads.append(asyncio.create_task(upload("second", sends(1, piece=1, each=0.01))))
        await asyncio.sleep(0.02)
        loop.stand_still(1.0)  # within which the first one's last byte came
        await asyncio.gather(*uploads)

    run(amid())
    assert ended == ["first", "second"]


def test_a_sidecar_answers_amid_senders_that_stall(started: Start, listed: Listed) -> None:
    sidecar = started(sidecar="slow_seconds = 600.0\nwait_seconds = 20.0")  # none is cut off while this runs
    with ExitStack() as stack:
        stalled: list[socket.socket] = []
        for _ in range(40):
            stalled.append(stack.enter_context(connected(sidecar.url)))
            stalled[-1].sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(listed.known) + listed.known[:1000])
        until(lambda: memory_bytes(sidecar) >= 32 * 1000)
        for _ in range(3):
            answer = httpx.post(f"{sidecar.url}/check", content=listed.known, timeout=120)
            assert (answer.status_code, answer.json()["action"]) == (200, "BLOCK")
        for connection in stalled:  # what had come of theirs is still there
            connection.sendall(listed.known[1000:])
            answered = b""
            while b"BLOCK" not in answered:
                piece = connection.recv(65536)
                assert piece, answered
                answered += piece
