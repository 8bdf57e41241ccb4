"""The guides of the upload hook, followed literally: their files are written, their commands run, as a reader would.

What is to run in a terminal of its own goes on in the background. What a page says a command prints must be printed.
"""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.request import urlopen

_BLOCK: Final = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STEP_SECONDS: Final = 300.0
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
# What goes on in a terminal of its own, and the port that it is reached at; None: it is only given a moment.
_SERVERS: Final = (
    ("hashhub serve", 8470),
    ("hashhub hook serve", 8472),
    ("hashhub hook clamd", 3310),
    ("hashhub hook watch", None),
    ("hashhub hook sync --settings hook.toml --follow", None),
    ("uvicorn ", 8000),
    ("flask ", 8000),
    ("python djangoed.py runserver", 8000),
    ("node app.cjs", 8000),
)
_HTTP: Final = 8471  # of the hub
_STORE: Final = f"{sys.executable} -m moto.server -H 127.0.0.1 -p 9000"
_MOMENT: Final = 3.0
_INTERRUPT: Final = "# Ctrl-C:"


class Step(NamedTuple):
    """One thing that a guide has its reader do: write a file (`name`), or run a command that prints such lines."""

    name: str
    text: str
    prints: tuple[str, ...] = ()
    ends_with: int = 0


def steps(page: str) -> list[Step]:
    """Return what a page has its reader do, in order.

    A block with a name after its language is a file, other Python is a program to run, a block without a language has
    commands, and one called `text` what the last command before it prints. A comment `# ends with N` tells how a
    command ends otherwise than with 0, and a line `# Ctrl-C: COMMAND` that what runs in a terminal of its own is
    stopped.
    """
    made: list[Step] = []
    for language, name, block in _BLOCK.findall(page):
        if name:
            made.append(Step(name.strip(), block))
        elif language == "python":
            made.append(Step("", shlex.join(["python", "-c", block])))
        elif language == "text":
            made[-1] = made[-1]._replace(prints=(*made[-1].prints, *block.splitlines()))
        elif not language:
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    end = re.search(r"# ends with ([0-9]+)", line)
                    made.append(Step("", re.sub(r"\s+# .*$", "", line), ends_with=int(end[1]) if end else 0))
    return made


class Reader:
    """Somebody with a page, a shell, and a directory to work in.

    `ports`: other ports of this machine in place of those that pages name, by these; the environment must tell the
    same to what has a port without a page's naming it. Whoever makes one closes it, which stops what still runs.
    """

    def __init__(self, work: Path, environment: Mapping[str, str], *, ports: Mapping[int, int] | None = None) -> None:
        self.work = work
        self.environment = dict(environment)
        self._ports = ports or {}
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def close(self) -> None:
        """Stop what still runs, the last first."""
        while self._running:
            _stop(self._running.pop()[1])

    def follow(self, step: Step) -> str:
        """Do one step. Return what it printed. Raises AssertionError when it is not as the page says."""
        if step.name:
            path = self.work / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(step.text))
            return ""
        if step.text.startswith(_INTERRUPT):
            self._stop(step.text.removeprefix(_INTERRUPT).strip())
            return ""
        for beginning, port in (*_SERVERS, (_STORE, 9000)):
            if step.text.startswith(beginning) and "--once" not in step.text:
                self._start(step.text, port)
                return ""
        line = self.command(self._here(step.text))
        exported = re.match(r"export (\w+)=", line)
        done = subprocess.run(
            ["bash", "-c", f'{line}\nprintf %s "${exported[1]}"' if exported else line],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        told = f"{step.text}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == step.ends_with, told
        assert "Traceback" not in done.stderr, told
        if exported:  # a reader's shell goes on, and each line here is one of its own
            self.environment[exported[1]] = done.stdout
        printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
        for line in step.prints:  # columns have other widths on a page
            wanted = " ".join(self._here(line).split())
            assert any(one.startswith(wanted) for one in printed), f"not printed: {line}\n{told}"
        return done.stdout

    def command(self, line: str) -> str:
        """Return what is run for a line of the page: the line."""
        return line

    def _here(self, text: str) -> str:
        for theirs, ours in self._ports.items():
            text = re.sub(rf'(127\.0\.0\.1(?::|", )|--port ){theirs}\b', rf"\g<1>{ours}", text)
        return text

    def _start(self, line: str, port: int | None) -> None:
        with (self.work / "servers.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(line)}"],
                cwd=self.work,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._running.append((line, process))
        try:
            _wait_for(process, self._ports.get(port, port) if port is not None else None, line)
            if line.startswith("hashhub serve"):  # its doors are open before it is ready, which it says to its reader
                _wait_for_health(self._ports.get(_HTTP, _HTTP))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{(self.work / 'servers.log').read_text('utf-8', 'replace')[-2000:]}") from None

    def _stop(self, beginning: str) -> None:
        [(line, process)] = [one for one in self._running if one[0].startswith(beginning)]
        self._running.remove((line, process))
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()


def _wait_for_health(port: int) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1.0):
            return
        time.sleep(0.1)
    raise AssertionError("the hub is not ready")


def _wait_for(process: subprocess.Popen[bytes], port: int | None, line: str) -> None:
    if port is None:
        time.sleep(_MOMENT)
        assert process.poll() is None, f"{line}: ended with {process.returncode}"
        return
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, f"{line}: ended with {process.returncode}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.1)
    raise AssertionError(f"{line}: nothing answers on port {port}")


def needs_hub(todo: list[Step]) -> bool:
    """Whether a guide's commands ask a hub that it does not start."""
    lines = [step.text for step in todo if not step.name]
    asks = any(line.startswith("hashhub contributor create") for line in lines)
    return asks and not any(line.startswith("hashhub serve") for line in lines)
