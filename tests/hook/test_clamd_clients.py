"""The clamd door before the real clamd, asked by programs that know nothing of hashhub: the clients `clamd` and
`clamav-client`, and clamdscan. What is not installed is skipped.
"""

from __future__ import annotations

import asyncio
import io
import random
import re
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from hashhub.errors import InvalidArgument, LimitExceeded
from hashhub.hook import Action, DecisionRecord, HookSettings, WithoutAnswer, clamd_chain
from hashhub.hook.clamd_chain import Chain, ChainAnswer
from tests.hook.clamd_parts import (
    CLEAN,
    KNOWN,
    VIRUS,
    VIRUS_ANSWER,
    OpenDoor,
    RealClamd,
    clamd_settings,
    open_door,
    stream,
    until_closed,
)

HOLD = r"Hashhub\.Policy\.Hold-[0-9a-f]{20}"
VIRUS_FOUND = f"stream: {VIRUS_ANSWER} FOUND".encode()
AWAY = b"stream: the virus scanner does not answer. ERROR\0"
NO_ANSWER = b"stream: the virus scanner gave no answer. ERROR\0"
NOT_UNDERSTOOD = b"stream: the virus scanner's answer was not understood. ERROR\0"


def settings_for(directory: Path, **given: Any) -> HookSettings:
    return HookSettings(
        policy="block",
        without_answer=WithoutAnswer(
            hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
        ),
        data=str(directory / "hook"),
        hashing_processes=1,
        clamd=clamd_settings(**{"without_clamd": "ERROR"} | given),
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealClamd]:
    clamd = RealClamd(tmp_path_factory.mktemp("clamd"), StreamMaxLength="1M", LocalSocketMode="600")
    clamd.start()
    try:
        yield clamd
    finally:
        clamd.stop()


@pytest.fixture(scope="module")
def shared(real: RealClamd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    directory = tmp_path_factory.mktemp("door")
    with open_door(settings_for(directory, chained=real.path, socket=str(directory / "door.sock"))) as door:
        yield door


@pytest.fixture
def chained(shared: OpenDoor) -> Iterator[OpenDoor]:
    yield shared
    shared.told.does = lambda _checked, _content: None


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_client_clamd(chained: OpenDoor, kind: str) -> None:
    clamd = pytest.importorskip("clamd")
    client = (
        clamd.ClamdNetworkSocket("127.0.0.1", chained.port, 60)
        if kind == "tcp"
        else clamd.ClamdUnixSocket(chained.path, 60)
    )
    assert client.ping() == "PONG"
    assert client.version().startswith("ClamAV ")
    assert client.stats().startswith("POOLS: 1\n")
    assert client.instream(io.BytesIO(CLEAN)) == {"stream": ("OK", None)}
    assert client.instream(io.BytesIO(b"abc" + VIRUS)) == {"stream": ("FOUND", VIRUS_ANSWER)}
    status, name = client.instream(io.BytesIO(KNOWN))["stream"]
    assert status == "FOUND"
    assert re.fullmatch(HOLD, name)
    assert client.scan("/etc/passwd") == {
        "/etc/passwd": ("ERROR", "paths are not read here, send the bytes with INSTREAM.")
    }
    with pytest.raises(clamd.ResponseError, match="RELOAD is not done for clients"):
        client.reload()
    client.shutdown()
    assert client.ping() == "PONG"
    with pytest.raises(clamd.BufferTooLongError):
        client.instream(io.BytesIO(bytes(3 << 20)))  # the real clamd's limit, 1 MiB


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_client_clamav_client(chained: OpenDoor, tmp_path: Path) -> None:
    clamav_client = pytest.importorskip("clamav_client")
    scanner = clamav_client.get_scanner({"backend": "clamd", "address": f"127.0.0.1:{chained.port}", "timeout": 60.0})
    assert scanner.info().version.startswith("ClamAV ")
    (tmp_path / "upload").write_bytes(CLEAN)
    assert scanner.scan(str(tmp_path / "upload")).passed is True
    for content, name in ((KNOWN, HOLD), (VIRUS, re.escape(VIRUS_ANSWER))):
        (tmp_path / "upload").write_bytes(content)
        result = scanner.scan(str(tmp_path / "upload"))
        assert (result.state, result.passed) == ("FOUND", False)
        assert re.fullmatch(name, result.details)

    def fail(_checked: DecisionRecord, _content: IO[bytes] | None) -> None:
        raise LimitExceeded("no room")

    chained.told.does = fail
    assert scanner.scan(str(tmp_path / "upload")).state == "ERROR"  # a virus; but nothing could be kept
    with open_door(settings_for(tmp_path, chained="none")) as door:  # our own version is one that it understands
        scanner = clamav_client.get_scanner({"backend": "clamd", "address": f"127.0.0.1:{door.port}", "timeout": 60.0})
        assert scanner.info().version.startswith("hashhub ")
        assert scanner.info().virus_definitions == "0/nobody looks for viruses"


def test_clamdscan(chained: OpenDoor, tmp_path: Path) -> None:
    if shutil.which("clamdscan") is None:
        pytest.skip("clamdscan is not installed: apt-get install clamdscan")
    config = tmp_path / "client.conf"
    config.write_text(f"LocalSocket {chained.path}\n")
    for name, content in (("clean", CLEAN), ("known", KNOWN), ("virus", VIRUS), ("empty", b"")):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).write_bytes(content)

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            ["clamdscan", f"--config-file={config}", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    files = [str(tmp_path / "files" / name) for name in ("clean", "known", "virus")]
    for more in ((), ("--multiscan",)):  # alone, and in a session
        code, told = run("--stream", "--no-summary", *more, *files)
        assert code == 1, told
        assert f"{files[0]}: OK" in told
        assert re.search(rf"{files[1]}: {HOLD} FOUND", told)
        assert f"{files[2]}: {VIRUS_ANSWER} FOUND" in told
    assert run("--stream", "--no-summary", files[0])[0] == 0
    assert run("--ping", "1")[0] == 0
    for way in ((), ("--fdpass",)):  # by path and by descriptor: an error, never OK
        code, told = run("--no-summary", *way, files[0])
        assert code == 2, told
        assert ": OK" not in told


SAID = [
    b"PING", b"PING\n", b"PING\r\n", b"nPING\n", b"zPING\0", b"zPING\0zPING\0", b"VERSION", b"nVERSION\n",
    b"zINSTREAM\0" + stream(CLEAN), b"nINSTREAM\n" + stream(CLEAN, 1), b"INSTREAM\n" + stream(CLEAN),
    b"INSTREAM" + stream(CLEAN), b"zINSTREAM\0" + stream(b""), b"zINSTREAM\0" + stream(VIRUS, 5),
    b"zINSTREAM\0\xff\xff\xff\xffabc", b"zINSTREAM\0\x80\0\0\0abc", b"zINSTREAM\0" + stream(bytes((1 << 20) + 1)),
    b"zINSTREAM\0" + stream(bytes(1 << 20)), b"zIDSESSION\0zEND\0", b"zIDSESSION\0zPING\0zVERSION\0zEND\0",
    b"nIDSESSION\nnINSTREAM\n" + stream(VIRUS) + b"nEND\n", b"IDSESSION\n", b"zIDSESSION\0zFOO\0zPING\0zEND\0",
    b"zIDSESSION\0zRELOAD\0zEND\0", b"zIDSESSION\0zIDSESSION\0zEND\0", b"zIDSESSION\0zINSTREAM\0\xff\xff\xff\xffabc",
    b"zEND\0", b"STATS\n", b"VERSIONCOMMANDS\n", b"zFOO\0", b"nFOO\n", b"FOO\n", b"zfoo bar\0", b"\0", b"\n", b"z\0",
    b"zping\0", b"zPING x\0", b"zPINGx\0", b"zVERSION \0", b"zSCAN\0", b"zSTREAM\0", b"STREAM\n", b"zSESSION\0",
]  # fmt: skip


def test_the_door_answers_what_the_real_clamd_answers(real: RealClamd, shared: OpenDoor) -> None:
    def answer(path: str, said: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(60)
            connected.connect(path)
            with suppress(OSError):
                connected.sendall(said)
            return until_closed(connected)

    for said in SAID:
        assert answer(shared.path, said) == answer(real.path, said), said[:80]


def test_a_session_over_the_real_clamd(chained: OpenDoor) -> None:
    contents = [(CLEAN, b"stream: OK"), (VIRUS, VIRUS_FOUND), (KNOWN, b"stream: Hashhub"), (KNOWN + VIRUS, VIRUS_FOUND)]
    sent = b"".join(b"zINSTREAM\0" + stream(content, 9) for content, _ in contents * 5)
    answers = chained.say(b"zIDSESSION\0" + sent + b"zEND\0").split(b"\0")[:-1]
    texts = dict(answer.split(b": ", 1) for answer in answers)
    for i, (content, begins) in enumerate(contents * 5, 1):
        assert texts[b"%d" % i].startswith(begins), content


@pytest.mark.parametrize(("without", "clean"), [("ERROR", AWAY), ("HASHHUB_ONLY", b"stream: OK\0")])
def test_the_real_clamd_stops_and_starts_again(tmp_path: Path, without: str, clean: bytes) -> None:
    real = RealClamd(tmp_path)
    try:
        with open_door(settings_for(tmp_path, chained=real.path, without_clamd=without)) as door:
            assert door.say(b"zINSTREAM\0" + stream(VIRUS)) == clean  # it was never there
            version = door.say(b"zVERSION\0")
            assert version.endswith(b". ERROR\0") if without == "ERROR" else version.startswith(b"hashhub ")
            real.start()
            assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == b"stream: OK\0"
            with door.connect() as connected:
                begun = stream(CLEAN * 100, 100)
                connected.sendall(b"zINSTREAM\0" + begun[:500])
                assert door.say(b"zINSTREAM\0" + stream(VIRUS)) == VIRUS_FOUND + b"\0"
                real.stop()
                connected.sendall(begun[500:])
                assert until_closed(connected) == clean  # it has seen nothing of it
            assert door.say(b"zINSTREAM\0" + stream(KNOWN)).endswith(b" FOUND\0")  # in any case
            assert door.say(b"zPING\0") == b"PONG\0"
            real.start()
            assert door.say(b"zINSTREAM\0" + stream(VIRUS)) == VIRUS_FOUND + b"\0"
    finally:
        real.stop()


@pytest.mark.parametrize("max_bytes", [1 << 20, 1000], ids=["kept", "too-large"])
def test_who_sends_slowly_keeps_no_one_from_a_small_clamd(tmp_path: Path, max_bytes: int) -> None:
    """It takes few connections at once, and each that waits for a slow client's bytes is one of them."""
    few = {"MaxThreads": "1", "MaxQueue": "2", "MaxConnectionQueueLength": "2"}
    real = RealClamd(tmp_path, **few)
    real.start()
    given = settings_for(tmp_path, chained=real.path, without_clamd="HASHHUB_ONLY", connections=100)
    given = msgspec.structs.replace(given, max_bytes=max_bytes)
    slow = stream(VIRUS + bytes(900), 100)
    try:
        with open_door(given) as door, ExitStack() as slow_ones:
            begun = [slow_ones.enter_context(door.connect()) for _ in range(40)]
            for connected in begun:
                connected.sendall(b"zINSTREAM\0" + slow[:500])
            for _ in range(3):
                assert door.say(b"zINSTREAM\0" + stream(VIRUS)) == VIRUS_FOUND + b"\0"
                assert door.say(b"zINSTREAM\0" + stream(VIRUS + bytes(3000), 100)) == VIRUS_FOUND + b"\0"
            for connected in begun:
                connected.sendall(slow[500:])
                assert until_closed(connected) == VIRUS_FOUND + b"\0"
            assert door.hook.memory_bytes == 0
    finally:
        real.stop()


# What no real clamd does


@contextmanager
def pretended(path: Path) -> Iterator[list[Callable[[socket.socket], None]]]:
    """Listen in a clamd's place; what is done with a connection is the list's last."""
    does: list[Callable[[socket.socket], None]] = [lambda _: None]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def work() -> None:
            while True:
                try:
                    connected, _ = listener.accept()
                except OSError:
                    return
                with connected, suppress(OSError):
                    does[-1](connected)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield does
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def read_all(connected: socket.socket) -> None:
    received = b""
    while not received.endswith(bytes(4)):
        data = connected.recv(65536)
        if not data:
            return
        received = received[-4:] + data


def test_an_answer_in_the_middle_is_read_though_nothing_more_is_taken(tmp_path: Path) -> None:
    """It closed with bytes unread: every write fails, and its answer is still there."""
    with pretended(tmp_path / "clamd.sock") as does:
        has_closed = threading.Event()

        def answer_early(connected: socket.socket) -> None:
            connected.recv(10)
            connected.sendall(b"INSTREAM size limit exceeded. ERROR\0")
            connected.close()
            has_closed.set()

        does.append(answer_early)

        async def scan() -> bytes:
            begun = await Chain(str(tmp_path / "clamd.sock"), seconds=60).scan()
            assert has_closed.wait(180)  # the loop stands still, and has read nothing yet
            await begun.write(b"abc")
            await begun.write(b"def")
            return (await begun.answer()).text

        assert asyncio.run(scan()) == b"INSTREAM size limit exceeded. ERROR"


def test_a_clamd_with_as_many_waiting_as_may_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "clamd.sock")

    async def scan() -> ChainAnswer:
        begun = await Chain(path, seconds=60).scan()
        await begun.write(CLEAN)
        return await begun.answer()

    with (
        closing(socket.socket(socket.AF_UNIX)) as listening,
        closing(socket.socket(socket.AF_UNIX)) as first,
    ):
        listening.bind(path)
        listening.listen(0)
        first.connect(path)

        def answer_second() -> None:
            listening.accept()[0].close()
            with listening.accept()[0] as connected:
                assert connected.recv(10) == b"zINSTREAM\0"
                received = b""
                while not received.endswith(b"\0\0\0\0"):
                    received += connected.recv(1 << 16)
                connected.sendall(b"stream: OK\0")

        listening.settimeout(60)
        later = threading.Timer(0.3, answer_second)
        later.start()
        assert asyncio.run(scan()).text == b"stream: OK"
        later.join(60)


def test_a_clamd_that_takes_no_connection_is_busy_and_not_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an uploader can bring about is not what the operator has chosen for a scanner that is gone."""
    monkeypatch.setattr(clamd_chain, "CONNECT_SECONDS", 0.1)
    path = str(tmp_path / "clamd.sock")
    with (
        closing(socket.socket(socket.AF_UNIX)) as listening,
        closing(socket.socket(socket.AF_UNIX)) as first,
    ):
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        with open_door(settings_for(tmp_path, chained=path, without_clamd="HASHHUB_ONLY")) as door:
            assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == b"stream: the virus scanner is busy. ERROR\0"


@pytest.mark.parametrize("max_bytes", [1000, 262_144, 100 << 20])
@pytest.mark.parametrize("is_crowded", [False, True])
def test_the_real_clamd_gets_each_byte_once_whatever_can_be_kept(
    tmp_path: Path, max_bytes: int, is_crowded: bool
) -> None:
    given = settings_for(tmp_path, chained=str(tmp_path / "real.sock"))
    taken: list[bytes] = []

    def take(connected: socket.socket) -> None:
        assert connected.recv(10) == b"zINSTREAM\0"
        with connected.makefile("rb") as file:
            while length := struct.unpack("!L", file.read(4))[0]:
                taken.append(file.read(length))
        connected.sendall(b"stream: OK\0")

    with (
        pretended(tmp_path / "real.sock") as does,
        open_door(msgspec.structs.replace(given, max_bytes=max_bytes)) as door,
    ):
        does.append(take)
        if is_crowded:
            door.hook.memory.most = 500
        for size in (0, 1, 499, 500, 501, 999, 1000, 1001, 300_000, 5 << 20):
            content = random.Random(size).randbytes(size)
            for chunk in (4096, 300_000):
                taken.clear()
                door.say(b"zINSTREAM\0" + stream(content, chunk))
                assert b"".join(taken) == content
        assert door.hook.memory_bytes == 0


@pytest.mark.parametrize("host", ["clamd..internal", "c" * 64, "clamd\ud800"])
def test_a_host_that_cannot_be_looked_up_is_refused_before_the_first_upload(host: str) -> None:
    with pytest.raises(InvalidArgument, match="must be HOST:PORT"):
        Chain(f"{host}:3310", seconds=1)


def take_ten(connected: socket.socket) -> None:
    """Take ten bytes and close, which resets the connection, as what is too long for a clamd does."""
    connected.recv(10)


def test_what_is_not_understood_is_never_ok(tmp_path: Path) -> None:
    path = tmp_path / "real.sock"
    given = settings_for(tmp_path, chained=str(path), without_clamd="HASHHUB_ONLY", chained_seconds=1)
    # What does answer may take longer on a busy machine.
    patient = settings_for(tmp_path, chained=str(path), without_clamd="HASHHUB_ONLY", chained_seconds=60)
    with pretended(path) as does, open_door(patient) as door:

        def answered(text: bytes, *, early: bool = False) -> bytes:
            def do(connected: socket.socket) -> None:
                if early:
                    connected.sendall(text)
                read_all(connected)
                if not early:
                    connected.sendall(text)

            does.append(do)
            return door.say(b"zINSTREAM\0" + stream(bytes(3 << 20) if early else CLEAN))

        assert answered(b"stream: OK\0") == b"stream: OK\0"
        for text in (b"OK\0", b"stream: OKAY\0", b"\0", b"UNKNOWN COMMAND\0", b"stream: a\nstream: OK\0", b"PONG\0"):
            assert answered(text) == NOT_UNDERSTOOD, text
        assert answered(b"stream: OK\0", early=True) == NOT_UNDERSTOOD  # it has not read the stream
        assert (
            answered(b"INSTREAM size limit exceeded. ERROR\0", early=True) == b"INSTREAM size limit exceeded. ERROR\0"
        )
        assert answered(b"stream: Can't allocate memory ERROR\0") == b"stream: Can't allocate memory ERROR\0"
        for text in (b"", b"stream: O", b"stream: OK\n", b"x" * 1_000_000):
            assert answered(text) == NO_ANSWER, text
        does.append(take_ten)
        assert door.say(b"zINSTREAM\0" + stream(bytes(3 << 20))) == NO_ANSWER
    gone = threading.Event()

    def say_nothing(_connected: socket.socket) -> None:
        gone.wait(180)

    path.unlink(missing_ok=True)
    with pretended(path) as does, open_door(given) as door:
        does.append(say_nothing)
        assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == NO_ANSWER
        gone.set()
    path.unlink()
    with open_door(given) as door:
        assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == b"stream: OK\0"  # as was chosen
