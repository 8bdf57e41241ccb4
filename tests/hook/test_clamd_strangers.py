"""What who may connect to the clamd door can do to it, and to the others that have uploads scanned."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from hashhub.hook import HookSettings
from hashhub.hook.clamd import ClientWait, IncomingCommands, slowest_beyond_share
from hashhub.hook.clamd_chain import Chain
from tests.hook.clamd_parts import CLEAN, KNOWN, OpenDoor, clamd_settings, open_door, stream, until_closed
from tests.hook.test_clamd import FOUND, WITHOUT, Settings, settings  # noqa: F401 - a fixture
from tests.hook.test_clamd_clients import pretended, read_all
from tests.hook.test_sidecar_turns import run

PLACES = 4


def _answered(door: OpenDoor) -> None:
    """Whoever is honest is answered, and rightly."""
    for _ in range(3):
        assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == b"stream: OK\0"
        assert FOUND.fullmatch(door.say(b"zINSTREAM\0" + stream(KNOWN))[:-1])
        assert door.say(b"zPING\0") == b"PONG\0"


@contextmanager
def _connected(door: OpenDoor, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(stack.enter_context(door.connect()))
            with suppress(ConnectionError):
                connections[-1].sendall(sent)
        yield connections


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever is behind cut off at once; those who are not, last came, and are the last for whom it is done."""
    monkeypatch.setattr("hashhub.hook.clamd.BEHIND_SECONDS", 0.3)


def _send_for_ever(connection: socket.socket, what: bytes) -> None:
    while True:
        connection.sendall(what)


def test_the_share_of_who_is_slow_is_theirs_also_when_others_wait() -> None:
    async def cut_off(rates: dict[float, int]) -> list[float]:
        """Return the rates of those who have no place any more once nobody else is to lose one. `rates`: how many
        clients sent so many bytes a second, for ten seconds.
        """
        at = asyncio.get_running_loop().time()
        conversations = {_Slow(rate, at): rate for rate, count in rates.items() for _ in range(count)}
        while (slowest := slowest_beyond_share(conversations, 8, at)) is not None:
            slowest.cut_off()
        return sorted(rate for waits, rate in conversations.items() if waits.is_cut_off)

    class _Slow(ClientWait):
        def __init__(self, rate: float, at: float) -> None:
            super().__init__()
            self._since[asyncio.timeout(60)] = at - 10.0
            self._received = int(10 * rate)

        def cut_off(self) -> None:
            self.is_cut_off = True

    assert run(cut_off({1e4: 4})) == []
    assert run(cut_off({1e4: 2, 2e4: 2, 3e4: 3})) == [1e4, 1e4, 2e4]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"zPIN",
        b"zINSTREAM\0",
        b"zINSTREAM\0\0\0\0\5ab",
        b"zINSTREAM\0" + stream(bytes(100_000))[:-4],
        b"zINSTREAM\0\0\x10\0\0ab",
        b"zIDSESSION\0",
        b"zIDSESSION\0zPING\0",
        b"zIDSESSION\0zINSTREAM\0" + stream(CLEAN) + b"zINSTREAM\0\0\0",
        b"x" * 1000,
    ],
)
def test_who_says_nothing_more_holds_up_nobody(settings: Settings, sent: bytes) -> None:  # noqa: F811
    with (
        open_door(settings(connections=PLACES, command_seconds=600, read_seconds=600)) as door,
        _connected(door, 3 * PLACES, sent),
    ):
        _answered(door)


def test_who_reads_no_answers_holds_up_nobody(settings: Settings) -> None:  # noqa: F811
    with (
        open_door(settings(connections=PLACES)) as door,
        _connected(door, PLACES, b"zIDSESSION\0") as connections,
    ):
        for connection in connections:
            connection.settimeout(0.2)
            with suppress(OSError):  # until no more is taken
                _send_for_ever(connection, (b"zSCAN " + b"x" * 4000 + b"\0") * 100)
        _answered(door)


def test_who_reads_no_answers_is_let_go_with_what_was_not_taken(
    settings: Settings,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hashhub.hook.clamd.SEND_SECONDS", 0.3)
    with open_door(settings()) as door, door.connect() as connection:
        connection.sendall(b"zIDSESSION\0")
        connection.settimeout(60)
        with pytest.raises(ConnectionError):
            _send_for_ever(connection, (b"zSCAN " + b"x" * 4000 + b"\0") * 100)


def test_a_session_that_waits_for_its_answer_is_not_cut_off(settings: Settings) -> None:  # noqa: F811
    may_go = threading.Event()

    def decides_late() -> None:
        assert may_go.wait(180)

    with (
        open_door(settings(connections=1)) as door,
        door.connect() as session,
        door.connect() as waiting,
    ):
        door.judge.before = decides_late
        session.sendall(b"zIDSESSION\0zINSTREAM\0" + stream(CLEAN))
        waiting.sendall(b"zPING\0")
        waiting.settimeout(1)
        with pytest.raises(TimeoutError):
            waiting.recv(10)
        may_go.set()
        assert session.recv(100) == b"1: stream: OK\0"
        waiting.settimeout(60)
        assert until_closed(waiting) == b"PONG\0"  # now the session says nothing


def test_who_is_slow_but_never_behind_holds_up_nobody(
    settings: Settings,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many streams as there are places, each just fast enough, for as long as a stream may take: the slowest makes
    room, and those that have sent most in their time are answered rightly.
    """
    monkeypatch.setattr("hashhub.hook.clamd.BEHIND_SECONDS", 600.0)
    monkeypatch.setattr("hashhub.hook.clamd.SLOW_SECONDS", 0.05)
    faster, slower = stream(bytes(200_000) + KNOWN), stream(KNOWN)
    with (
        open_door(settings(connections=PLACES, read_seconds=600, stream_seconds=600)) as door,
        _connected(door, PLACES // 2, b"zINSTREAM\0" + faster[:-4]) as fast,
        _connected(door, PLACES // 2, b"zINSTREAM\0" + slower[:-4]) as slow,
    ):
        door.judge.lists(bytes(200_000) + KNOWN)
        _answered(door)
        answers = []
        for connection in slow:
            with suppress(OSError):
                connection.sendall(slower[-4:])
            answers.append(until_closed(connection))
        assert b"INSTREAM read timed out. ERROR\0" in answers
        for connection in fast:
            connection.sendall(faster[-4:])
            assert FOUND.fullmatch(until_closed(connection)[:-1])


def test_a_slow_phone_is_never_behind_and_a_pause_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hook.clamd.BEHIND_SECONDS", 3.0)

    async def behind(steps: list[tuple[float, int]]) -> float:
        """Return how far the client is behind after the last wait of so many seconds, each ended by so many bytes."""
        waits, last = ClientWait(), 0.0
        for seconds, count in steps:
            async with waits.up_to(60):
                await asyncio.sleep(seconds)
                last = waits.behind(asyncio.get_running_loop().time())
                waits.came(count)
        return last

    assert run(behind([(0.2, 2048)] * 300)) < 0.3  # 10 KiB a second
    assert run(behind([(10.0, 1 << 16), (0.1, 1)])) < 0.3
    assert run(behind([(10.0, 1), (0.1, 1)])) > 3.0
    assert run(behind([(0.1, 1)] * 40)) > 3.0


def test_chunks_of_two_bytes_take_no_more_memory_than_others() -> None:
    content = bytes(range(256)) * 400

    async def read() -> tuple[bytes, int]:
        reader = asyncio.StreamReader()
        reader.feed_data(stream(content, 2))
        reader.feed_eof()
        incoming = IncomingCommands(reader)
        tracemalloc.start()
        try:
            pieces = [piece async for piece in incoming.pieces(1 << 20, 60)]
            return b"".join(pieces), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    received, most = asyncio.run(read())
    assert received == content
    assert most < 8 * len(content)


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
def test_a_stream_is_taken_up_to_the_limit(settings: Settings, more: int, chunk: int) -> None:  # noqa: F811
    limit = 5000
    with open_door(settings(stream_max_length=limit)) as door:
        answer = door.say(b"zINSTREAM\0" + stream(bytes(limit + more), chunk))
    assert answer == (b"INSTREAM size limit exceeded. ERROR\0" if more else b"stream: OK\0")


@pytest.mark.parametrize(
    "sent",
    [
        b"zINSTREAM\0" + struct.pack("!L", 0xFFFFFFFF) + b"x" * 100,
        b"zINSTREAM\0" + struct.pack("!L", 5) + b"abcdezVERSION\0" + bytes(4),
        b"zINSTREAM\0" + struct.pack("!L", 5) + b"abcdenPING\nPING" + bytes(4),
        b"zINSTREAM\0nINSTREAM\n" + stream(CLEAN),
        b"z" + b"x" * (1 << 20),
        b"n" + b"INSTREAM" * (1 << 17),
        b"zIDSESSION\0" + b"z" + b"x" * (1 << 20),
        b"INSTREAM\n" + stream(CLEAN),
        b"zINSTREAM\n" + stream(CLEAN) + b"\0",
    ],
)
def test_no_disorder_is_answered_ok(settings: Settings, sent: bytes) -> None:  # noqa: F811
    with open_door(settings()) as door, door.connect() as connection:
        with suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionError):
            answer = until_closed(connection)
        assert b"OK" not in answer
        assert door.judge.asked == 0
        assert door.hook.memory_bytes == 0


@pytest.mark.parametrize(
    "said",
    [
        b"stream: A\nB FOUND\0",
        b"stream: A\rB FOUND\0",
        b"stream: \x1b[2J FOUND\0",
        b"stream: OK\n\0",
        b"stream: OK",
        b"stream: OK OK\0",
        b"OK\0",
        b"x" * 1_000_000,
        b"\0",
        b"",
    ],
)
def test_what_a_real_clamd_should_not_say_is_never_ok_and_on_one_line(
    tmp_path: Path,
    said: bytes,
) -> None:
    path = tmp_path / "clamd.sock"

    def answers(connected: socket.socket) -> None:
        read_all(connected)
        connected.sendall(said)

    with pretended(path) as does, open_door(_chained(tmp_path, path)) as door:
        does.append(answers)
        answer = door.say(b"zINSTREAM\0" + stream(CLEAN))
        assert answer.endswith(b" ERROR\0")
        assert all(byte >= ord(" ") for byte in answer[:-1])
        assert FOUND.fullmatch(door.say(b"zINSTREAM\0" + stream(KNOWN))[:-1])


def _chained(tmp_path: Path, path: Path) -> HookSettings:
    clamd = clamd_settings(chained=str(path), without_clamd="error", chained_seconds=90.0)
    return HookSettings(policy="block", without_answer=WITHOUT, data=str(tmp_path / "hook"), clamd=clamd)


@pytest.mark.parametrize("begun", [b"", b"zIDSESSION\0"], ids=["a command", "a session"])
def test_the_door_ends_though_the_real_clamd_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("hashhub.hook.clamd.END_SECONDS", 0.2)
    has_all, has_ended = threading.Event(), threading.Event()

    def hangs(connected: socket.socket) -> None:
        if connected.recv(10) == b"zINSTREAM\0":
            read_all(connected)
            has_all.set()
            assert has_ended.wait(200)

    with pretended(tmp_path / "clamd.sock") as does:
        does.append(hangs)
        does[0] = hangs
        try:
            with ExitStack() as until_it_ended, open_door(_chained(tmp_path, tmp_path / "clamd.sock")) as door:
                connection = until_it_ended.enter_context(door.connect())
                connection.sendall(begun + b"zINSTREAM\0" + stream(CLEAN))
                assert has_all.wait(180)
            # `open_door` waits for its end for less time than the real clamd is given.
        finally:
            has_ended.set()


def test_the_real_clamd_is_asked_for_its_version_once_for_all_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hook.clamd_chain.VERSION_AGE_SECONDS", 600.0)
    path = tmp_path / "clamd.sock"
    asked: list[int] = []

    def answers(connected: socket.socket) -> None:
        assert connected.recv(100) == b"zVERSION\0"
        asked.append(1)
        connected.sendall(b"ClamAV 1.4.%d/0/today\0" % len(asked))

    with pretended(path) as does:
        does.append(answers)
        with open_door(_chained(tmp_path, path)) as door, door.connect() as session:
            session.sendall(b"zIDSESSION\0" + b"zVERSION\0" * 1000 + b"zEND\0")
            assert until_closed(session).count(b": ClamAV 1.4.1/0/today\0") == 1000
            assert door.say(b"zVERSIONCOMMANDS\0").startswith(b"ClamAV 1.4.1/0/today|")
            assert len(asked) == 1
            monkeypatch.setattr("hashhub.hook.clamd_chain.VERSION_AGE_SECONDS", 0.0)
            assert door.say(b"zVERSION\0") == b"ClamAV 1.4.2/0/today\0"


def test_who_leaves_while_the_version_is_asked_for_takes_it_from_nobody(tmp_path: Path) -> None:
    path = tmp_path / "clamd.sock"
    is_asked, may_answer = threading.Event(), threading.Event()

    def answers(connected: socket.socket) -> None:
        connected.recv(100)
        is_asked.set()
        assert may_answer.wait(60)
        connected.sendall(b"ClamAV 1.4.1/0/today\0")

    async def ask() -> list[str]:
        chain = Chain(str(path), seconds=60)
        first, second = asyncio.create_task(chain.version()), asyncio.create_task(chain.version())
        assert await asyncio.to_thread(is_asked.wait, 60)
        first.cancel()
        await asyncio.wait([first])
        may_answer.set()
        return [await second, await chain.version()]

    with pretended(path) as does:
        does.append(answers)
        assert asyncio.run(ask()) == ["ClamAV 1.4.1/0/today"] * 2
