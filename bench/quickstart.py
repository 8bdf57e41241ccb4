"""Do the guides of the upload hook work for somebody who has nothing yet, and within fifteen minutes?

    python -m bench.quickstart                      every guide
    python -m bench.quickstart python          one

Each guide is followed literally, as a person with its page and a shell would: in an empty directory with an empty home
and a new virtual environment, its files are written as they stand, its commands are run in their order, what is to run
in a terminal of its own goes on in the background, and what the page says that a command prints must be printed. Two
things differ: hashhub comes from this checkout instead of the package index, and versions are those of the locks. Where
a guide does not start the hub that it asks, one is started first, and so is a clamd that it has behind its door. All
use the ports that the guides name, so that nothing else may use those.

What needs a program that is not installed (clamd, Node) is left out, and the result says so. A guide that does not work
is told, and the others are followed all the same; results of guides that are not followed stay as they are.

Times are on the clock, installation included. That is the same for all, so that it is done once for those that install
nothing else, and counted for each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

from bench import result
from bench.hook_clamd import real_clamd

ROOT: Final = Path(__file__).parent.parent
LIMIT_SECONDS: Final = 900.0
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
_CLAMD: Final = Path("/run/clamav/clamd.ctl")  # where Debian has it
_HTTP: Final = 8471  # of the hub
_STORE: Final = f"{sys.executable} -m moto.server -H 127.0.0.1 -p 9000"
_PUT: Final = """
import boto3
store = boto3.client("s3", endpoint_url="http://127.0.0.1:9000", region_name="us-east-1",
                     aws_access_key_id="app", aws_secret_access_key="synthetic")
store.create_bucket(Bucket="app-media")
for name in ("listed.png", "unlisted.png"):
    store.upload_file(f"uploads/{name}", "app-media", f"incoming/anna/{name}")
"""
# What the reader of a guide has before its settings: a bucket with two uploads.
_BEFORE: Final = {"bucket": (_STORE, f"{sys.executable} -c {shlex.quote(_PUT)}")}
_INSTALLING: Final = ("PIP_", "UV_", "SSL_", "NPM_", "NODE_")  # what a machine says of its package indexes
_INSTALL: Final = "pip install '.[server,hook-local,hook-bucket]'"
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
            ["bash", "-c", f'{line}\nprintf %s "${exported[1]}"' if exported else line],  # noqa: S607 - as a reader
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
                ["bash", "-c", f"exec {self._here(line)}"],  # noqa: S607 - likewise
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


class Newcomer(Reader):
    """Somebody who has nothing yet: an empty home, and an environment into which the page has them install."""

    def __init__(self, directory: Path, environment: Path) -> None:
        home = directory / "home"
        home.mkdir()
        work = directory / "work"
        work.mkdir()
        super().__init__(
            work,
            {
                "HOME": str(home),
                "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "LANG": "C.UTF-8",
                **{name: value for name, value in os.environ.items() if name.startswith(_INSTALLING)},
            },
        )

    def install(self, environment: Path) -> float:
        """Make the virtual environment and install hashhub, unless it has been. Return how many seconds that took."""
        noted = environment / "seconds"
        if not noted.exists():
            at = time.monotonic()
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
            self.follow(Step("", _INSTALL))
            noted.write_text(str(time.monotonic() - at))
        return float(noted.read_text())

    def command(self, line: str) -> str:
        """Return the line with hashhub from this checkout, and versions from the locks."""
        if not line.startswith("pip install"):
            return line
        packages = [p for p in shlex.split(line)[2:] if not p.startswith((".[", "hashhub"))]
        commands = []
        if len(packages) < len(shlex.split(line)[2:]):
            locks = ["hook.requirements.lock", *(["requirements.lock"] if "server" in line else [])]
            commands += [
                *(f"pip install -q --require-hashes -r {ROOT / 'docker' / lock}" for lock in locks),
                f"pip install -q --no-deps --no-build-isolation {ROOT}",
            ]
        if packages:
            versions = self.work.parent / "versions.txt"  # without hashes, which pip would want for all or none
            lock = (ROOT / "requirements.lock").read_text("utf-8")
            versions.write_text("\n".join(re.findall(r"^[\w.-]+==[\w.]+", lock, re.MULTILINE)))
            commands.append(f"pip install -q -c {versions} {shlex.join(packages)}")
        return " && ".join(commands)


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


def _for_each_app(page: str, todo: list[Step]) -> list[Step]:
    """Return the steps, those that ask an app once for each app of the page, which the reader starts and stops.

    Of an app the page says `FILE.py`, served by `COMMAND`, or run by it. Its framework is there already: it is theirs.
    """
    apps = re.findall(r"`\w+\.py`[^`]*?\b(?:served|run) by `([^`]+)`", page)
    if not apps:
        return todo
    asking = [step for step in todo if step.text.startswith("curl ")]
    made = [*(step for step in todo if step not in asking), Step("", "pip install fastapi uvicorn flask django")]
    for app in apps:
        made += [Step("", app), *asking, Step("", f"{_INTERRUPT} {app}")]
    return made


def needs_hub(todo: list[Step]) -> bool:
    """Whether a guide's commands ask a hub that it does not start."""
    lines = [step.text for step in todo if not step.name]
    asks = any(line.startswith("hashhub contributor create") for line in lines)
    return asks and not any(line.startswith("hashhub serve") for line in lines)


def _possible(todo: list[Step]) -> tuple[list[Step], str]:
    """Return the steps without those that need a program that is not there, and which programs those are."""
    missing = [name for name in ("npm", "node", "curl") if shutil.which(name) is None]
    left_out = [step for step in todo if not step.name and step.text.startswith(tuple(f"{name} " for name in missing))]
    closed = {f":{port}/" for beginning, port in _SERVERS for step in left_out if step.text.startswith(beginning)}
    left_out += [step for step in todo if not step.name and any(port in step.text for port in closed)]
    return [step for step in todo if step not in left_out], ", ".join(missing) if left_out else ""


@contextmanager
def _clamd(directory: Path) -> Iterator[None]:
    """Have a clamd where the guide looks for it: the one that runs there, or one with a harmless signature."""
    if _CLAMD.exists():
        yield
        return
    is_ours = not _CLAMD.parent.exists()
    _CLAMD.parent.mkdir(exist_ok=True)
    own = directory / "clamd"
    own.mkdir()
    try:
        with real_clamd(own, _CLAMD):
            yield
    finally:
        _CLAMD.unlink(missing_ok=True)
        if is_ours:
            _CLAMD.parent.rmdir()


def followed(guide: str, shared: Path, *, keep: bool) -> dict[str, Any]:
    """Follow one guide, and return how long its steps took, and what was left out.

    `shared`: the virtual environment of guides that install nothing but hashhub.
    """
    if guide == "clamd" and shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        return {"guide": guide, "steps": 0, "seconds": 0.0, "left_out": "clamd"}
    page = (ROOT / "docs/hook" / f"{guide}.md").read_text("utf-8")
    todo = steps(page)
    directory = Path(tempfile.mkdtemp(prefix=f"{guide}-"))
    begun = time.monotonic()
    times: list[tuple[float, str]] = []
    try:
        with ExitStack() as stack:
            if guide in _BEFORE:
                at_settings = next(n for n, step in enumerate(todo) if step.name == "hook.toml")
                todo[at_settings:at_settings] = [Step("", line) for line in _BEFORE[guide]]
            if needs_hub(todo):
                todo = [Step("", "hashhub serve"), *todo]
            todo, left_out = _possible(_for_each_app(page, todo))
            installs_more = any(step.text.startswith("pip install") for step in todo)
            environment = directory / "venv" if installs_more else shared
            reader = Newcomer(directory, environment)
            stack.callback(reader.close)
            already = (environment / "seconds").exists()
            times.append((reader.install(environment), _INSTALL))
            begun -= times[0][0] if already else 0.0
            if guide == "clamd":
                stack.enter_context(_clamd(directory))
            for step in todo:
                at = time.monotonic()
                reader.follow(step)
                times.append((time.monotonic() - at, step.name or step.text))
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    slowest = max(times)
    return {
        "guide": guide,
        "steps": len(times),
        "seconds": round(time.monotonic() - begun, 1),
        "slowest_seconds": round(slowest[0], 1),
        "slowest": slowest[1][:60],
        "left_out": left_out,
    }


def main() -> None:
    """Follow the guides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    guides = sorted(path.stem for path in (ROOT / "docs/hook").glob("*.md"))
    parser.add_argument("guides", nargs="*", default=guides, help=f"which of {', '.join(guides)} (all)")
    parser.add_argument("--keep", action="store_true", help="leave the directories as they are at the end")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/quickstart.json")
    arguments = parser.parse_args()
    out = arguments.out or result.RESULTS / "quickstart.json"
    rows = {row["guide"]: row for row in json.loads(out.read_text("utf-8"))["rows"]} if out.exists() else {}
    failed = []
    shared = Path(tempfile.mkdtemp(prefix="hook-guides-"))
    for guide in arguments.guides:
        try:
            row = followed(guide, shared, keep=arguments.keep)
            assert row["seconds"] < LIMIT_SECONDS, "longer than fifteen minutes"
        except (AssertionError, subprocess.SubprocessError) as e:
            print(f"{guide} does not work\n{e}", flush=True)
            failed.append(guide)
            continue
        result.show([row])
        rows[guide] = row | {"commit": result.commit()}
        in_order = [rows[name] for name in sorted(rows)]
        result.save(
            "quickstart", {"limit_seconds": LIMIT_SECONDS}, in_order, out=out, packages=("starlette", "uvicorn")
        )
    if not arguments.keep:
        shutil.rmtree(shared)
    if failed:
        raise SystemExit(f"not as its page says: {', '.join(failed)}")


if __name__ == "__main__":
    main()
