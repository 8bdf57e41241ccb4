"""The clamd door by itself: the protocol, what is answered when, and who may try to break it."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from hashhub.desk.records import Records
from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, Reason
from hashhub.hook import Action, DecisionRecord, Hook, HookSettings, WithoutAnswer, load_settings
from hashhub.hook.clamd import IncomingCommands, SizeLimitError
from hashhub.hook.clamd_chain import Chain
from hashhub.hook.core import Upload
from hashhub.hook.settings import ClamdSettings
from tests.examples import examples
from tests.hook.clamd_parts import (
    CLEAN,
    DOUBTED,
    KNOWN,
    OpenDoor,
    clamd_settings,
    open_door,
    stream,
    until_closed,
)

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, MakeHook

WITHOUT = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
)
FOUND = re.compile(rb"stream: Hashhub\.Policy\.Hold-([0-9a-f]{20}) FOUND")
Settings = Callable[..., HookSettings]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    def make(*, hook: dict[str, Any] | None = None, **given: Any) -> HookSettings:
        usual: dict[str, Any] = {"data": str(tmp_path / "hook"), "hashing_processes": 1}
        return HookSettings(
            policy="block", without_answer=WITHOUT, clamd=clamd_settings(**given), **(usual | (hook or {}))
        )

    return make


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    directory = tmp_path_factory.mktemp("door")
    given = HookSettings(
        policy="block",
        without_answer=WITHOUT,
        data=str(directory / "hook"),
        hashing_processes=1,
        clamd=clamd_settings(socket=str(directory / "clamd.sock")),
    )
    with open_door(given) as door:
        yield door


@pytest.fixture
def one_door(shared: OpenDoor) -> Iterator[OpenDoor]:
    """A door with all settings as they come. Its judge and who is told are each test's own."""
    shared.judge.asked = 0
    yield shared
    shared.judge.is_away = False
    shared.judge.before = lambda: None
    shared.told.does = lambda _checked, _content: None


# The protocol, beside what ClamAV 1.4.3 answers to the same bytes


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"PING", b"PONG\n"),
        (b"PING\n", b"PONG\n"),
        (b"PING\r\n", b"PONG\n"),
        (b"nPING\n", b"PONG\n"),
        (b"zPING\0", b"PONG\0"),
        (b"zPING\0zPING\0", b"PONG\0"),
        (b"nPING\nnVERSION\n", b"PONG\n"),
        (b"zINSTREAM\0" + stream(CLEAN), b"stream: OK\0"),
        (b"nINSTREAM\n" + stream(CLEAN), b"stream: OK\n"),
        (b"nINSTREAM\n" + stream(CLEAN, 1), b"stream: OK\n"),
        (b"INSTREAM\n" + stream(CLEAN), b"UNKNOWN COMMAND\n"),
        (b"INSTREAM" + stream(CLEAN), b"UNKNOWN COMMAND\n"),
        (b"zINSTREAM\0" + b"\xff\xff\xff\xff" + b"x" * 100, b"INSTREAM size limit exceeded. ERROR\0"),
        (b"zINSTREAM\0" + b"\x80\0\0\0" + b"x" * 100, b"INSTREAM size limit exceeded. ERROR\0"),
        (b"zIDSESSION\0zEND\0", b""),
        (b"IDSESSION\n", b"UNKNOWN COMMAND\n"),
        (b"zIDSESSION\0zFOO\0zPING\0", b"1: Command invalid inside IDSESSION. ERROR\0"),
        (b"zIDSESSION\0PING\n", b"1: Command invalid inside IDSESSION. ERROR\n"),
        (b"zIDSESSION\0zPING\0zRELOAD\0", b"1: PONG\x002: Command invalid inside IDSESSION. ERROR\0"),
        (b"zIDSESSION\0zIDSESSION\0", b"1: Command invalid inside IDSESSION. ERROR\0"),
        (b"zIDSESSION\0zINSTREAM\0\xff\xff\xff\xffabc", b"1: INSTREAM size limit exceeded. ERROR\0"),
        (b"zEND\0", b"UNKNOWN COMMAND\0"),
        (b"STATS\n", b"UNKNOWN COMMAND\n"),
        (b"VERSIONCOMMANDS\n", b"UNKNOWN COMMAND\n"),
        (b"zFOO\0", b"UNKNOWN COMMAND\0"),
        (b"FOO", b"UNKNOWN COMMAND\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"UNKNOWN COMMAND\n"),
        (b"\0", b"UNKNOWN COMMAND\n"),
        (b"\n", b"UNKNOWN COMMAND\n"),
        (b"z\0", b"UNKNOWN COMMAND\0"),
        (b"zping\0", b"UNKNOWN COMMAND\0"),
        (b"zPING x\0", b"UNKNOWN COMMAND\0"),
        (b"zVERSION \0", b"UNKNOWN COMMAND\0"),
        (b"zSTREAM\0", b"UNKNOWN COMMAND\0"),
        (b"zSCAN\0", b"UNKNOWN COMMAND\0"),
        (b"z" + b"A" * 1_000_000, b"UNKNOWN COMMAND\0"),
        (b"A" * 1_000_000, b"UNKNOWN COMMAND\n"),
    ],
)
def test_answers_are_those_of_clamd(one_door: OpenDoor, sent: bytes, answered: bytes) -> None:
    assert one_door.say(sent) == answered


def test_commands_that_would_be_anothers_business_are_refused(one_door: OpenDoor) -> None:
    for name in (b"SCAN", b"CONTSCAN", b"MULTISCAN", b"ALLMATCHSCAN"):
        answer = one_door.say(b"z%s /etc/pass:wd\0" % name)
        assert answer == b"/etc/pass?wd: paths are not read here, send the bytes with INSTREAM. ERROR\0"
    for name in (b"RELOAD", b"SHUTDOWN", b"FILDES"):
        answer = one_door.say(b"n%s\n" % name)
        assert answer.startswith(name)
        assert answer.endswith(b". ERROR\n")
    answer = one_door.say(b"zIDSESSION\0zSCAN /a\0zPING\0zEND\0")
    assert answer == b"1: /a: paths are not read here, send the bytes with INSTREAM. ERROR\x002: PONG\0"
    assert one_door.say(b"PING") == b"PONG\n"  # still there


def test_a_descriptor_that_is_sent_is_not_taken(one_door: OpenDoor, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(KNOWN)
    with socket.socket(socket.AF_UNIX) as connected, (tmp_path / "file").open("rb") as file:
        connected.connect(one_door.path)
        connected.settimeout(60)
        socket.send_fds(connected, [b"zFILDES\0x"], [file.fileno()])
        assert until_closed(connected).endswith(b". ERROR\0")


def test_versions_say_that_nobody_looks_for_viruses(one_door: OpenDoor) -> None:
    version = one_door.say(b"zVERSION\0")
    assert version.startswith(b"hashhub ")
    assert version.endswith(b"/0/nobody looks for viruses\0")
    commands = one_door.say(b"nVERSIONCOMMANDS\n")
    assert commands == version[:-1] + b"| COMMANDS: PING VERSION VERSIONCOMMANDS STATS INSTREAM IDSESSION END\n"


def test_a_command_may_come_in_bits(one_door: OpenDoor) -> None:
    with one_door.connect() as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for bit in (b"PI", b"NG"):
            connected.sendall(bit)
        assert until_closed(connected) == b"PONG\n"
    everything = b"zIDSESSION\0zPING\0zINSTREAM\0" + stream(KNOWN, 3) + b"zVERSION\0zEND\0"
    with one_door.connect() as connected:
        for byte in everything:
            connected.sendall(bytes((byte,)))
        answers = sorted(until_closed(connected).split(b"\0")[:-1])
    assert answers[0] == b"1: PONG"
    assert FOUND.fullmatch(answers[1].removeprefix(b"2: "))
    assert answers[2].startswith(b"3: hashhub ")


def test_a_session_numbers_its_answers(one_door: OpenDoor) -> None:
    rng = random.Random(11)
    contents = [rng.choice((KNOWN, CLEAN, b"")) for _ in range(40)]
    sent = b"".join(b"nINSTREAM\n" + stream(content, rng.choice((1, 5, 100))) for content in contents)
    answer = one_door.say(b"nIDSESSION\n", sent, b"nSTATS\n", b"nEND\n")
    answers = dict(line.split(b": ", 1) for line in answer.splitlines() if re.match(rb"\d+: ", line))
    assert len(answers) == len(contents) + 1
    for i, content in enumerate(contents, 1):
        text = answers[str(i).encode()]
        assert FOUND.fullmatch(text) if content == KNOWN else text == b"stream: OK", (content, text)
    assert answers[b"41"] == b"POOLS: 1"


def test_ten_thousand_commands_in_a_session(one_door: OpenDoor) -> None:
    answer = one_door.say(b"zIDSESSION\0" + b"zPING\0" * 10_000 + b"zEND\0")
    assert answer.split(b"\0") == [*(b"%d: PONG" % i for i in range(1, 10_001)), b""]


def test_stats_are_true(settings: Settings) -> None:
    may_go, are_in = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        are_in.release()
        may_go.wait(180)

    with open_door(settings(hook={"max_waiting": 2})) as door, ExitStack() as stack:
        door.judge.before = wait
        assert b"THREADS: live 0  idle 2 max 2 " in door.say(b"zSTATS\0")
        clients = [stack.enter_context(door.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(b"zINSTREAM\0" + stream(CLEAN))
        for _ in range(2):
            assert are_in.acquire(timeout=180)
        while b"QUEUE: 1 items" not in (stats := door.say(b"zSTATS\0")):
            pass
        assert stats.startswith(b"POOLS: 1\n\nSTATE: VALID PRIMARY\nTHREADS: live 2  idle 0 max 2 ")
        assert stats.endswith(b"\nEND\0")
        may_go.set()
        assert {until_closed(client) for client in clients} == {b"stream: OK\0"}


# What is answered


def test_a_listed_picture_is_found_by_a_real_hub(make_hook: MakeHook, listed: Listed) -> None:
    hook = make_hook(clamd=clamd_settings())
    with open_door(hook.settings, hook=hook) as door:
        assert FOUND.fullmatch(door.say(b"zINSTREAM\0" + stream(listed.known))[:-1])
        assert door.say(b"zINSTREAM\0" + stream(listed.unknown, 1 << 20)) == b"stream: OK\0"
        assert FOUND.fullmatch(door.say(b"zINSTREAM\0" + stream(listed.known[:3000]))[:-1])  # unreadable: held


def test_no_name_says_why(one_door: OpenDoor) -> None:
    names = [one_door.say(b"zINSTREAM\0" + stream(content)) for content in (KNOWN, DOUBTED)]
    one_door.judge.is_away = True
    names.append(one_door.say(b"zINSTREAM\0" + stream(CLEAN + b", while the hub is away")))
    assert all(FOUND.fullmatch(name[:-1]) for name in names)
    assert len({FOUND.sub(b"", name) for name in names}) == 1  # but for the reference they are alike
    assert len(set(names)) == 3


def test_what_is_held_is_an_error_where_that_is_chosen(settings: Settings) -> None:
    with open_door(settings(on_hold="ERROR")) as door:
        assert re.fullmatch(
            rb"stream: Hashhub\.Policy\.Hold-[0-9a-f]{20} ERROR\0", door.say(b"zINSTREAM\0" + stream(DOUBTED))
        )
        assert FOUND.fullmatch(door.say(b"zINSTREAM\0" + stream(KNOWN))[:-1])


def test_found_is_answered_after_it_was_recorded(one_door: OpenDoor) -> None:
    recorded: list[tuple[str, bytes, bool]] = []
    answers: list[bytes] = []

    def record(checked: DecisionRecord, content: IO[bytes] | None) -> None:
        assert content is not None
        content.seek(0)
        recorded.append((checked.decision.reference, content.read(), bool(answers)))
        assert checked.door == "clamd"

    one_door.told.does = record
    answers.append(one_door.say(b"zINSTREAM\0" + stream(KNOWN, 5)))
    match = FOUND.fullmatch(answers[0][:-1])
    assert match is not None
    assert recorded == [(match[1].decode(), KNOWN, False)]


@pytest.mark.parametrize("error", [LimitExceeded("no room", reason=Reason.DISK_FULL), OSError(28, "no room")])
def test_what_cannot_be_kept_is_neither_found_nor_ok(one_door: OpenDoor, error: Exception) -> None:
    def fail(_checked: DecisionRecord, _content: IO[bytes] | None) -> None:
        raise error

    one_door.told.does = fail
    answers = {one_door.say(b"zINSTREAM\0" + stream(content)) for content in (KNOWN, DOUBTED, CLEAN)}
    assert answers == {b"stream: no answer can be given now, the log of hashhub hook clamd says why. ERROR\0"}


def test_a_stream_beyond_the_limit_is_counted(settings: Settings) -> None:
    given = settings(stream_max_length=100)
    with open_door(given) as door:
        assert door.say(b"zINSTREAM\0" + stream(b"x" * 100, 7)) == b"stream: OK\0"
        for chunk in (200, 50, 101):
            assert door.say(b"zINSTREAM\0" + stream(b"x" * 101, chunk)) == b"INSTREAM size limit exceeded. ERROR\0"
        assert door.say(b"zIDSESSION\0zPING\0zINSTREAM\0" + stream(b"x" * 101)) == (
            b"1: PONG\x002: INSTREAM size limit exceeded. ERROR\0"
        )
        assert door.judge.asked == 1
    records = Records(Path(given.data))
    assert records.rows("SELECT action, verdict, no_answer, count FROM tally WHERE door = 'clamd'") == [
        ("REFUSED", "UNAVAILABLE", "TOO_LARGE", 4)
    ]
    records.close()


def test_an_answer_reaches_who_is_still_sending(settings: Settings) -> None:
    with open_door(settings(stream_max_length=1 << 20)) as door, door.connect() as connected:
        # All of it is sent before anything is read: the door takes it in, else the connection would be reset.
        connected.sendall(b"zINSTREAM\0" + stream(bytes(8 << 20), 1 << 16))
        assert until_closed(connected) == b"INSTREAM size limit exceeded. ERROR\0"


# Busy days and hostile callers


def test_two_hundred_at_once_are_all_answered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hook.clamd.BEHIND_SECONDS", 60.0)  # their threads may have to wait to send
    with open_door(settings(connections=50)) as door, ThreadPoolExecutor(200) as pool:
        contents = [KNOWN if i % 10 == 0 else CLEAN + str(i).encode() for i in range(200)]
        answers = list(pool.map(lambda content: door.say(b"zINSTREAM\0" + stream(content, 10)), contents))
    for content, answer in zip(contents, answers, strict=True):
        assert FOUND.fullmatch(answer[:-1]) if content == KNOWN else answer == b"stream: OK\0"


def test_who_says_nothing_is_not_waited_for(settings: Settings) -> None:
    answers = {
        b"": b"COMMAND READ TIMED OUT\n",
        b"zPIN": b"COMMAND READ TIMED OUT\n",
        b"zINSTREAM\0": b"INSTREAM read timed out. ERROR\0",
        b"zINSTREAM\0\0\0\0\5ab": b"INSTREAM read timed out. ERROR\0",
        b"zIDSESSION\0zPING\0": b"1: PONG\x00COMMAND READ TIMED OUT\0",
        b"zIDSESSION\0zINSTREAM\0\0\0": b"1: INSTREAM read timed out. ERROR\0",
    }
    # All at once, so that there is time for what they do say.
    with open_door(settings(command_seconds=4.0, read_seconds=4.0)) as door, ThreadPoolExecutor(len(answers)) as pool:
        assert dict(zip(answers, pool.map(door.say, answers), strict=True)) == answers
        assert door.judge.asked == 0


def test_a_stream_that_drips_ends(settings: Settings) -> None:
    with open_door(settings(stream_seconds=0.5)) as door, door.connect() as connected:
        connected.sendall(b"zINSTREAM\0")
        connected.settimeout(0.02)
        answer = b""
        for _ in range(3000):
            with suppress(OSError):
                connected.sendall(struct.pack("!L", 1) + b"x")
            with suppress(TimeoutError):
                answer = connected.recv(100)
                break
        assert answer == b"INSTREAM read timed out. ERROR\0"


def test_who_leaves_in_the_middle_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Upload] = []
    closed: list[Upload] = []
    receive, close = Hook.receive, Upload.close

    def noted(hook: Hook, **given: Any) -> Upload:
        opened.append(receive(hook, **given))
        return opened[-1]

    def ended(upload: Upload) -> None:
        closed.append(upload)
        close(upload)

    monkeypatch.setattr(Hook, "receive", noted)
    monkeypatch.setattr(Upload, "close", ended)
    with open_door(settings(connections=3)) as door:
        for i in range(12):  # more than there are places
            with door.connect() as connected:
                connected.sendall((b"zINSTREAM\0", b"zIDSESSION\0zINSTREAM\0")[i % 2] + stream(KNOWN, 7)[: -4 - i])
        assert door.say(b"zINSTREAM\0" + stream(CLEAN)) == b"stream: OK\0"
        assert door.judge.asked == 1
    assert len(opened) == 13
    assert set(map(id, closed)) == set(map(id, opened))


def test_an_upload_whose_client_has_left_is_decided_over(settings: Settings) -> None:
    recorded: list[str] = []
    may_go, is_in = threading.Event(), threading.Event()

    def record(checked: DecisionRecord, _content: IO[bytes] | None) -> None:
        recorded.append(checked.decision.action)

    def wait() -> None:
        is_in.set()
        may_go.wait(180)

    with open_door(settings()) as door:
        door.judge.before, door.told.does = wait, record
        with door.connect() as connected:
            connected.sendall(b"zINSTREAM\0" + stream(KNOWN))
            assert is_in.wait(180)
        may_go.set()
    assert recorded == ["BLOCK"]  # closing the door waits for it


@settings_of_hypothesis(max_examples=examples(200), deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    spare=st.integers(-5, 5),
)
def test_a_stream_is_its_bytes_however_it_is_cut(chunks: list[bytes], cuts: list[int], spare: int) -> None:
    content = b"".join(chunks)
    most = max(0, len(content) + spare)
    sent = b"zINSTREAM\0" + b"".join(struct.pack("!L", len(c)) + c for c in chunks) + bytes(4) + b"nPING\n"

    async def read() -> tuple[bytes, str]:
        reader = asyncio.StreamReader()
        incoming = IncomingCommands(reader)

        async def feed() -> None:
            place = 0
            for cut in itertools.cycle(cuts):
                reader.feed_data(sent[place : place + cut])
                place += cut
                await asyncio.sleep(0)
                if place >= len(sent):
                    break
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        assert (await incoming.command(60)).name == "INSTREAM"
        received = b"".join([piece async for piece in incoming.pieces(most, 60)])
        after = (await incoming.command(60)).name
        await feeding
        return received, after

    if len(content) > most:
        with pytest.raises(SizeLimitError):
            asyncio.run(read())
    else:
        assert asyncio.run(read()) == (content, "PING")


def test_random_bytes_harm_nobody(one_door: OpenDoor) -> None:
    rng = random.Random(4)
    words = [b"z", b"n", b"\0", b"\n", b"INSTREAM", b"IDSESSION", b"PING", b"END", b"SCAN /a", b"\0\0\0\1", b"\xff" * 4]
    for _ in range(100):
        sent = b"".join(rng.choice(words) for _ in range(rng.randrange(1, 30)))
        with one_door.connect() as connected, suppress(OSError):
            connected.sendall(sent)
            connected.shutdown(socket.SHUT_WR)
            answer = until_closed(connected)
            assert b"FOUND" not in answer
    assert one_door.say(b"zPING\0") == b"PONG\0"


# Opening


def test_a_unix_socket_is_for_whom_its_mode_says(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "clamd.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with open_door(settings(listen="", socket=str(path), socket_mode="600")):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(path))
            connected.sendall(b"zPING\0")
            assert connected.recv(100) == b"PONG\0"
        with (
            pytest.raises(FailedPrecondition, match="another program uses it"),
            open_door(settings(listen="", socket=str(path))),
        ):
            pass
        assert path.exists()
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(FailedPrecondition, match="another program"), open_door(settings(listen="", socket=str(path))):
        pass
    assert path.read_text() == "a file"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"chained": ""}, "or `none`, and then nobody looks for viruses"),
        ({"listen": ""}, "must say where clients come in"),
        ({"listen": "0.0.0.0:0"}, "which other machines reach"),
        ({"listen": "127.0.0.1"}, "must be HOST:PORT"),
        ({"chained": "clamav", "without_clamd": "ERROR"}, "must be HOST:PORT"),
    ],
)
def test_the_door_stays_shut(settings: Settings, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says), open_door(settings(**given)):
        pass


def test_settings_come_from_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text(
        'policy = "block"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\n'
        'no_perceptual_hash = "allow"\n[clamd]\nchained = "/run/clamav/clamd.ctl"\n'
    )
    with pytest.raises(InvalidArgument, match=r"without_clamd must be `error` or `hashhub-only`"):
        load_settings(file, {})
    given = load_settings(
        file, {"HASHHUB_HOOK_CLAMD_WITHOUT_CLAMD": "hashhub-only", "HASHHUB_HOOK_CLAMD_ON_HOLD": "error"}
    ).clamd
    assert (given.without_clamd, given.on_hold, given.is_chained) == ("HASHHUB_ONLY", "ERROR", True)
    for wrong in ({"connections": 0}, {"stream_max_length": 0}, {"read_seconds": 0}, {"socket_mode": "rw-"}):
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            ClamdSettings(**wrong)


def test_an_address_that_takes_no_connection_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a name has an address of a machine that is switched off: nothing answers there, not even a refusal."""
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = silent.getsockname()[1]
        answering = stack.enter_context(socket.create_server(("127.0.0.2", port)))
        for _ in range(3):  # its queue is full then: what comes next is dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))

        def answer() -> None:
            connection, _ = answering.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"ClamAV 1.4\0")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        assert asyncio.run(Chain(f"two.example:{port}", seconds=5).version()) == "ClamAV 1.4"
        thread.join(60)
