"""Which files of ours execute something on three walks.

    python -m bench.walks              # --json for programs; --idle: seconds for which processes are watched before

import   a VICS JSON file by `hashhub import`, until the hub answers for it
match    MatchHashes over gRPC, with a hash that is listed
upload   a listed picture through the ASGI hook in local mode, opening the hook included, until it is held and sealed

A file counts when one of its functions is called meanwhile in a process that has to do with it: the command, the hub,
the hook, the children that decode. What a module does as it is imported does not count, nor what threads do that also
do it while nothing is asked of them. Each process marks lines in a file that all of them map: a child that decodes may
write to no other, and is killed in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import grpc

from hashhub import v1
from hashhub.cli.terminal import coloured, print_json, say
from hashhub.hashing import hash_media
from hashhub.hook.asgi import UploadHook
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import item, list_file
from hashhub.testing.pictures import picture

_ROOT: Final = Path(__file__).parent.parent
AT_MOST: Final = {"import": 45, "match": 28, "upload": 32}
_OFF, _IDLE, _MAIN, _ALL = range(4)  # the first byte of the marks: what is marked now
_QUIET_SECONDS: Final = 2.0  # without a new mark, after which a walk is over
# Runs in every process that finds its directory on PYTHONPATH, before anything else.
_TRACER: Final = """
import mmap, os, sys, threading
with open({marks!r}, "r+b") as file:
    marks = mmap.mmap(file.fileno(), 0)
starts, idlers = {starts!r}, set()
def mark(frame, event, argument):
    code = frame.f_code
    if event != "call" or code.co_filename not in starts or not (phase := marks[0]):
        return
    at, thread = starts[code.co_filename] + code.co_firstlineno, threading.get_ident()
    if phase == {idle}:
        idlers.add(thread)
    elif phase == {main} and thread != threading.main_thread().ident:
        return
    bit = 1 if phase == {idle} else 2 if thread in idlers else 4
    while frame is not None and not marks[at] & bit:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return
        frame = frame.f_back
    marks[at] |= bit
sys.setprofile(mark)
threading.setprofile(mark)
"""
_HOOK: Final = """
policy = "any"
on_match = "hold"
mode = "local"
token_file = "{directory}/token"
data = "{directory}/hook"
hashing_processes = 1
local = {{follow = false}}
without_answer = {{hub_away = "hold", unreadable = "hold", too_large = "hold", no_perceptual_hash = "hold"}}
vault = {{encryption = "key-file", key_file = "{directory}/key", days = 1, days_without_report = 1}}
"""


class Tracer:
    """The marks of all processes that are started with `PYTHONPATH` set to `directory`."""

    def __init__(self, directory: Path) -> None:
        self._starts, size = {}, 1
        for path in sorted((*_ROOT.glob("hashhub/**/*.py"), *_ROOT.glob("connectors/**/*.py"))):
            self._starts[str(path)] = size
            size += path.read_bytes().count(b"\n") + 2
        (directory / "marks").write_bytes(bytes(size))
        with (directory / "marks").open("r+b") as file:
            self._marks = mmap.mmap(file.fileno(), 0)
        text = _TRACER.format(marks=f"{directory}/marks", starts=self._starts, idle=_IDLE, main=_MAIN)
        (directory / "sitecustomize.py").write_text(text, "utf-8")

    def begin(self, phase: int, idle_seconds: float = 0.0) -> None:
        """Mark from now on; before that, for so many seconds, what processes do of which nothing is asked."""
        self._marks[0] = _IDLE if idle_seconds else _OFF
        time.sleep(idle_seconds)
        self._marks[0] = phase

    def end(self, quiet_seconds: float) -> list[str]:
        """Return the files of the walk once nothing new is marked for so long, and forget it."""
        seen = b""
        while seen != (seen := self._marks[:]):
            time.sleep(quiet_seconds)
        self._marks[:] = bytes((_OFF, *(bits & 1 for bits in seen[1:])))
        ends = [*list(self._starts.values())[1:], len(seen)]
        return [
            str(Path(path).relative_to(_ROOT))
            for (path, start), end in zip(self._starts.items(), ends, strict=True)
            if any(bits & 4 or bits & 3 == 2 for bits in seen[start:end])
        ]


def upload(directory: str) -> None:
    """Open a hook and, at a line of input, send it the picture; how that is answered is printed."""
    body = Path(directory, "listed.jpg").read_bytes()
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"%d" % len(body))]}

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any], *_: Any) -> None:
        print(message.get("status", ""), flush=True)

    hook = UploadHook(send, settings=Path(directory, "hook.toml"))  # which does not let the app have it
    print("open", flush=True)
    sys.stdin.readline()
    asyncio.run(hook(scope, receive, send))
    sys.stdin.readline()


def _run(hub: RunningHub, command: str) -> None:
    told = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN": hub.token, "HASHHUB_HOOK_HUB": hub.address}
    arguments = (sys.executable, "-m", "hashhub.cli", *command.split())
    subprocess.run(arguments, env=os.environ | told, check=True, capture_output=True)


def _match(hub: RunningHub, md5: bytes) -> None:
    request = v1.MatchHashesRequest(
        query=v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=md5)]), options=v1.MatchOptions(policy="any")
    )
    metadata = (("authorization", f"Bearer {hub.token}"),)
    with grpc.insecure_channel(hub.address) as channel:
        ask: Any = channel.unary_unary("/hashhub.v1.MatchService/MatchHashes")
        answer = v1.MatchHashesResponse.FromString(ask(request.SerializeToString(), metadata=metadata))
    assert answer.result.verdict == v1.Verdict.VERDICT_MATCH


def walk(directory: Path, idle_seconds: float) -> dict[str, list[str]]:
    """Go the three walks over a hub in `directory`; return the files of each."""
    # The tree that the tracer knows, and not the one that is installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (directory, _ROOT, _ROOT / "connectors")))
    tracer, files = Tracer(directory), {}
    quiet_seconds = min(idle_seconds, _QUIET_SECONDS)
    picture(1, (512, 384)).save(directory / "listed.jpg", quality=90)
    hashes = hash_media(directory / "listed.jpg").hashes  # which compiles kernels: without them children go other ways
    md5 = next(h.digest for h in hashes if h.algorithm == "MD5")
    (directory / "list.json").write_bytes(list_file("vics-2.0", [item(hashes, "1", quality=90)]).data)
    (directory / "hook.toml").write_text(_HOOK.format(directory=directory), "utf-8")
    with running_hub(directory / "hub") as hub:
        _run(hub, "contributor create police --kind law-enforcement --jurisdiction US")
        _run(hub, "hash-set create police/list --purpose csam --scheme vic-us --bulk")
        tracer.begin(_ALL, idle_seconds)
        _run(hub, f"import {directory}/list.json --format vics --hash-set police/list")
        files["import"] = tracer.end(quiet_seconds)
        _match(hub, md5)  # whose first call brings up what later ones find
        tracer.begin(_ALL)
        _match(hub, md5)
        files["match"] = tracer.end(quiet_seconds)
        _run(hub, "contributor create app --kind platform --jurisdiction IE")
        _run(hub, f"token create app --contributor app --role consumer --may-mirror --out {directory}/token")
        _run(hub, f"hook vault key --out {directory}/key")
        _run(hub, f"hook sync --settings {directory}/hook.toml")
    tracer.begin(_MAIN)
    program = (sys.executable, "-c", f"from bench.walks import upload; upload({str(directory)!r})")
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdin and process.stdout  # noqa: PT018 - for mypy
        assert process.stdout.readline() == "open\n"
        tracer.begin(_ALL, idle_seconds)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "202\n"
        files["upload"] = tracer.end(quiet_seconds)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=float, default=65.0, help="seconds in which processes are watched idle (65)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lists")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-walks-") as directory:
        files = walk(Path(directory), options.idle)
    if options.json:
        print_json(files)
        return
    for name, walked in files.items():
        style = "bold green" if len(walked) <= AT_MOST[name] else "bold red"
        say(coloured(f"{name}: {len(walked)} files, at most {AT_MOST[name]}", style))
        say("\n".join(walked) + "\n")


if __name__ == "__main__":
    main()
