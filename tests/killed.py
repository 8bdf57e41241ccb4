"""A process that is killed before whichever step of its work. Steps are what Python tells an audit hook of the files in
a directory (opened, renamed, linked, removed), and what the work itself counts.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final, TypeAlias
from unittest import mock

from hashhub.matcher import warm_up

_FORKING: Final = "import sys; from tests.killed import fork_for_each_line; fork_for_each_line(sys.argv[1])"


class Steps:
    """The steps of one process, which dies before one of them."""

    def __init__(self, killed_before: int) -> None:
        """`killed_before`: counted from one; a step that never comes kills nobody."""
        self._killed_before = killed_before
        self._count = 0

    def step(self) -> None:
        """Count one, and die if it is the last."""
        self._count += 1
        if self._count == self._killed_before:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_files_in(self, directory: str) -> None:
        """Count from now on what is done with files there."""

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            if (
                event.split(".", maxsplit=1)[0] in {"os", "open", "shutil"}
                and arguments
                and directory in str(arguments[0])
            ):
                self.step()

        sys.addaudithook(audit)


Work: TypeAlias = Callable[[str, Steps], None]


class Killable:
    """A process that forks another one for each piece of work: what takes long to load is loaded once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def work(self, argument: str, killed_before: int) -> int:
        """Have the work done, of one line, until before that step; return the process's exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(killed_before, argument, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def killable(work: Work) -> Iterator[Killable]:
    """Give a process that does this, a function of a module."""
    with subprocess.Popen(
        [sys.executable, "-c", _FORKING, f"{work.__module__}:{work.__qualname__}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        yield Killable(process)
        process.communicate()


def fork_for_each_line(name: str) -> None:
    """Read lines, the step to die before and an argument, and tell the exit code of each."""
    module, _, function = name.partition(":")
    work: Work = getattr(import_module(module), function)
    import_module("grpc._channel")  # which grpc loads with the first channel
    warm_up()
    gc.freeze()  # a child that looks through it would copy it
    with mock.patch.object(os, "fsync"):  # what is there after a power cut is not asked
        for line in sys.stdin:
            killed_before, _, argument = line.rstrip("\n").partition(" ")
            if not (child := os.fork()):
                work(argument, Steps(int(killed_before)))
                os._exit(0)
            sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
            sys.stdout.flush()
