"""`hashhub` for tests that run it many times: each time a process of its own, forked from one that has loaded it once.

    hashhub ARGUMENTS    a small program that stands in front on the path: it hands over its arguments, environment,
       │                 directory and open files, passes signals on, and ends as the command does
       └── forked        runs what the script `hashhub` runs; the processes in which a hub hashes media and compares
                         lists are likewise forked, each from one that has loaded the libraries

Loading takes a third of a second of CPU time a command and two seconds a hub, which most tests are not about. What is
about starts, workers and what a process inherits starts `hashhub` itself. A hub may be killed as one that was started.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest

from hashhub.hashing import pool
from hashhub.testing import hub_process
from hashhub.testing.hub_process import RunningHub, running_hub

CLI: Final = "hashhub.cli"
HASHING: Final = "hashhub.hashing.child"
FIRST: Final = "HASHHUB_TESTS_FIRST"  # a variable with Python that a test has done before the command
JOBS: Final = "hashhub.reconcile.child_job"
_NUMBER: Final = struct.Struct("!q")
_PATIENCE: Final = 180.0  # seconds for what takes a millisecond; a busy machine is no failure

# What stands for the program: nothing but what takes no time to load.
_IN_FRONT: Final = """#!{python} -IS
import os, signal, socket, struct, sys

connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
told = b"\\0".join(os.fsencode(text) for text in (
    os.getcwd(), str(len(sys.argv)), *sys.argv, *(f"{{k}}={{v}}" for k, v in os.environ.items())
))
socket.send_fds(connection, [struct.pack("!q", len(told))], [0, 1, 2])
connection.sendall(told)
number = struct.Struct("!q")


def received():
    data = connection.recv(number.size, socket.MSG_WAITALL)
    return number.unpack(data)[0] if len(data) == number.size else -signal.SIGKILL


child = received()
if child > 0:
    with open(f"{{__file__}}.{{os.getpid()}}", "w") as file:
        print(child, file=file)
for name in ("SIGTERM", "SIGINT", "SIGHUP"):
    signal.signal(getattr(signal, name), lambda given, _: os.kill(child, given))
code = received()
if code < 0:  # the command was ended by a signal
    signal.signal(-code, signal.SIG_DFL) if code != -signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Warm:
    """The loaded program: `path` is a directory with `hashhub` in it, `program` that file."""

    def __init__(self) -> None:
        # Not under pytest's directory: a socket's path must be short.
        self._directory = tempfile.TemporaryDirectory(prefix="hashhub-warm-")
        self.path = Path(self._directory.name)
        self.program = self.path / "hashhub"
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_") and k != "COLUMNS"}
        hashes = {k: v for k, v in surroundings.items() if k in pool.ENVIRONMENT} | pool.SETTINGS
        hashing, jobs = self.path / "hashes-media", self.path / "compares-lists"
        self._processes = [
            self._start(HASHING, hashing, hashes | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}),
            self._start(JOBS, jobs, surroundings),
            self._start(CLI, self.program, surroundings, str(hashing), str(jobs)),
        ]

    def _start(
        self, module: str, program: Path, environment: dict[str, str], *arguments: str
    ) -> subprocess.Popen[bytes]:
        address = f"{program}.socket"
        program.write_text(_IN_FRONT.format(python=sys.executable, path=address), "utf-8")
        program.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listening:  # what comes before it has loaded waits
            listening.bind(address)
            listening.listen(64)
            descriptor = listening.fileno()
            command = [sys.executable, "-m", __name__, module, str(descriptor), *arguments]
            root = str(Path(__file__).parents[1])
            environment = environment | {"PYTHONPATH": os.pathsep.join([root, environment.get("PYTHONPATH", "")])}
            return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, env=environment)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """What `hashhub.testing` starts meanwhile is forked."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hub_process, "PROGRAM", (str(self.program),))
            yield

    @contextlib.contextmanager
    def hub(self, data: Path, *arguments: str) -> Iterator[RunningHub]:
        """`running_hub`, forked. Its process id is that of the hub, and not that of the program in front."""
        with contextlib.ExitStack() as stack:
            with self.used():
                hub = stack.enter_context(running_hub(data, *arguments))
            yield msgspec.structs.replace(hub, pid=self._behind(hub.pid))

    def _behind(self, front: int) -> int:
        """Return the process that was forked for the program in front with this process id."""
        file = Path(f"{self.program}.{front}")
        until = time.monotonic() + _PATIENCE
        while not (file.exists() and (text := file.read_text("ascii")).endswith("\n")):
            assert time.monotonic() < until, "the program in front was not told whom it stands for"
            time.sleep(0.01)
        return int(text)

    def close(self) -> None:
        for process in self._processes:
            process.communicate()  # the end of its input is its end
        self._directory.cleanup()


def _load(module: str, arguments: list[str]) -> None:
    """Load what the program would load, each thing in its place; it must leave no thread and no log handler."""
    if module == HASHING:
        from hashhub.hashing import child, quiet_pillow

        quiet_pillow()
        child._load()
        return
    from hashhub import cli, connector
    from hashhub.matcher import warm_up
    from hashhub.reconcile import child_job

    if module == JOBS:
        from hashhub.reconcile import agreement, extract, gaps, links, overlap, report  # noqa: F401 - loaded by a job

        importlib.import_module("duckdb")
        extract.arrow()
        warm_up()
        return
    # Alembic makes the tables of each new database, and takes a fifth of a second to import.
    for name in ("hashhub.client", "grpc._channel", "click._textwrap", "alembic.command", "rich.table"):
        importlib.import_module(name)
    for found in pkgutil.walk_packages(cli.__path__, f"{CLI}."):  # which load on demand what a command needs
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    from hashhub.server.process import load_program

    connector.discover()
    connector.writers()
    load_program()
    warm_up()

    hashing, jobs = arguments
    pool.subprocess = _forking(hashing, "-P", "-m", HASHING)  # type: ignore[assignment,attr-defined]
    child_job.subprocess = _forking(jobs, "-m", JOBS)  # type: ignore[assignment,attr-defined]


def _forking(program: str, *options: str) -> SimpleNamespace:
    """Return what those two take of `subprocess`: `program` stands for an interpreter with these options."""

    def popen(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        assert command[1 : len(options) + 1] == [*options]
        return subprocess.Popen([program, *command[len(options) + 1 :]], **more)

    return SimpleNamespace(
        Popen=popen, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )


def _serve(listening: socket.socket) -> bool:
    """Fork a process for each connection until the standard input ends. True in one that was forked, False then."""
    wakened, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    callers: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for descriptor in (listening.fileno(), wakened, 0):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    for child in callers:
                        os.kill(child, signal.SIGKILL)
                    return False
                if key.fd == wakened:
                    os.read(wakened, 4096)
                    _tell_ends(callers, selector)
                elif key.fd == listening.fileno():
                    connection = listening.accept()[0]
                    child = _forked(connection, [*callers.values(), listening], (wakened, waker, selector.fileno()))
                    if child == 0:
                        return True
                    callers[child] = connection
                    selector.register(connection, selectors.EVENT_READ, child)
                    with contextlib.suppress(OSError):
                        connection.sendall(_NUMBER.pack(child))
                elif key.data in callers:  # whoever waited was killed
                    selector.unregister(key.fd)
                    os.kill(key.data, signal.SIGKILL)


def _tell_ends(callers: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            connection = callers.pop(child)
            with contextlib.suppress(KeyError):
                selector.unregister(connection)
            with connection, contextlib.suppress(OSError):
                connection.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _forked(connection: socket.socket, sockets: list[socket.socket], descriptors: tuple[int, ...]) -> int:
    """Fork. The child gets what the caller has, and nothing of what is only this process's."""
    size, files, _, _ = socket.recv_fds(connection, _NUMBER.size, 3)
    told = connection.recv(_NUMBER.unpack(size)[0], socket.MSG_WAITALL)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (connection, *sockets):
            one.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        directory, count, *texts = (os.fsdecode(text) for text in told.split(b"\0"))
        os.chdir(directory)
        sys.argv[:] = texts[: int(count)]
        os.environ.clear()
        os.environ.update(dict(text.split("=", 1) for text in texts[int(count) :]))
        for descriptor in (*descriptors, *files):
            os.close(descriptor)
        _open_standard_streams()
        main = sys.modules["__main__"]  # the script, to whoever looks for the program's name or starts it again
        main.__package__, main.__spec__ = None, None
        main.__file__ = str(Path(sys.executable).with_name("hashhub"))
    else:
        for file in files:
            os.close(file)
    return child


def _open_standard_streams() -> None:
    """Open them as an interpreter does that starts with these files."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        is_terminal = os.isatty(number)
        raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
        buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(
            buffer, before.encoding, before.errors, line_buffering=number == 2 or (number == 1 and is_terminal)
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _main() -> None:
    module, descriptor, *arguments = sys.argv[1:]
    _load(module, arguments)
    assert threading.active_count() == 1, "a process with threads cannot be forked safely"
    gc.collect()
    gc.freeze()
    listening = socket.socket(fileno=int(descriptor))
    listening.set_inheritable(False)
    code = 0
    try:
        if _serve(listening):
            exec(os.environ.pop(FIRST, ""), {})  # noqa: S102 - our own
            importlib.import_module(module).main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else end.code is not None
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
        code = 1
    # As the interpreter ends, but for the third of a second that it takes to forget all modules.
    threading._shutdown()  # type: ignore[attr-defined] # what an interpreter calls
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(code)


if __name__ == "__main__":
    _main()
