"""A hub of one environment, with everything around it: its commands, its calls, its hook."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

_AGENT: Final = Path(__file__).with_name("agent.py")
_STOP_SECONDS: Final = 30.0


class Side:
    """One hub over a directory of its own, started anew as often as it takes."""

    def __init__(self, name: str, python: str, directory: Path, database: str) -> None:
        """`database`: the URL of an empty PostgreSQL database; empty: SQLite."""
        self.name, self.directory, self.database = name, directory, database
        self.python = str(Path(python).absolute())
        directory.mkdir()
        cache = Path(tempfile.gettempdir(), "hashhub-differential", sha256(python.encode()).hexdigest()[:16])
        cache.mkdir(parents=True, exist_ok=True)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HASHHUB_", "PYTHON")) and k != "COLUMNS"},
            "HASHHUB_KERNEL_CACHE": str(cache),
            "PYTHONHASHSEED": "0",  # what comes out of a set comes in the same order
        }
        self.data = directory / "hub"
        self.tokens: dict[str, str] = {}
        self.places: dict[str, str] = {str(directory): "DIRECTORY"}
        self._agents: dict[str, subprocess.Popen[str]] = {}
        self._others: dict[str, subprocess.Popen[str]] = {}
        self._hub: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the hub, and forget where the last one listened."""
        arguments = ["serve", "--json", "--data", str(self.data), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        arguments += ["--database", self.database] if self.database else []
        self._hub, ready = self._started(arguments)
        self.grpc, self.http = ready["listen"], ready["http"].removeprefix("http://")
        self.places |= {self.grpc: "HUB", self.http: "HTTP"}
        if "operator" not in self.tokens:  # a restored hub has the token, and not its file
            self.tokens["operator"] = (self.data / "operator.token").read_text("ascii").strip()

    def _started(self, arguments: list[str]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-P", "-m", "hashhub.cli", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.directory,
                env=self._environment,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: {arguments[0]} did not start: see {self.directory / 'log'}")
        return process, json.loads(line)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the hub, by SIGKILL as a power cut would."""
        if self._hub is not None:
            self._hub.send_signal(how)
            self._hub.communicate(timeout=_STOP_SECONDS)
            self._hub = None

    def serve(self, name: str, *arguments: str) -> dict[str, Any]:
        """Start another command that goes on until the end; return its first line."""
        self._others[name], ready = self._started([*arguments, "--json"])
        return ready

    def end(self, name: str) -> int:
        """End what `serve` started; return its exit code."""
        process = self._others.pop(name)
        process.terminate()
        process.communicate(timeout=_STOP_SECONDS)
        return process.returncode

    def agent(self, part: str, **asked: Any) -> Any:
        """Ask one of this environment's agents, which is started at its first task."""
        process = self._agents.get(part)
        if process is None:
            command = [self.python, "-P", str(_AGENT), part]
            with (self.directory / "log").open("ab") as log:
                process = self._agents[part] = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=self.directory,
                    env=self._environment,
                )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        return json.loads(self.plain(line)) if line else {"error": "the agent ended"}

    def plain(self, text: str) -> str:
        """Return a text without where this side happens to be."""
        for place, name in self.places.items():
            text = text.replace(place, name)
        return text

    def post(self, path: str, body: bytes, headers: dict[str, str], address: str = "", method: str = "POST") -> Any:
        """Make one request over HTTP, to the hub unless an address is given."""
        connection = http.client.HTTPConnection(address or self.http, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = self.plain(answer.read().decode("utf-8", "backslashreplace"))
        finally:
            connection.close()
        try:
            told = json.loads(text)
        except ValueError:
            told = text
        return {"status": answer.status, "type": answer.getheader("content-type", ""), "body": told}

    def close(self) -> None:
        for process in (*self._agents.values(), *self._others.values()):
            process.kill()
            process.communicate()
        if self._hub is not None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory / "hub", ignore_errors=True)
