"""How many uploads a second the sidecar decides over, and how soon, with the hub and the generator on the same cores.

    python -m bench.hook_sidecar --seconds 20

JPEGs of 2 megapixels, all different, are posted to /check. Closed loop: `--connections` callers, each as soon as it is
answered. Open loop: at fixed times, `--rate` a second, whether or not the last ones were answered; latency counts from
when a picture should have been sent. `judge`: `hub` is a real hub on this machine, which knows one picture in ten;
`instant` answers in the sidecar's own process, so that what is left is receiving, hashing and deciding. CPU seconds a
picture are given by process: on a machine that does other things, too, they are what can be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import itertools
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench import result
from hashhub.client import Client
from hashhub.desk.hub import Judged
from hashhub.hashing import hash_media
from hashhub.hook import Action, Hook, HookSettings, WithoutAnswer
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    HashSet,
    Marking,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Reliability,
    Role,
    Verdict,
)
from hashhub.testing.hub_process import running_hub
from hashhub.testing.pictures import picture
from hashhub.testing.sidecar_process import running_sidecar

_SIZE: Final = (1632, 1224)  # 2 megapixels
_COUNTER: Final = itertools.count(1)
_LISTED: Final = 10  # one picture of so many
_ANSWER_SECONDS: Final = 10.0  # a busy machine is no reason for another answer
_HELD: Final = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
)


class Instant:
    """A judge that knows nothing and says so at once."""

    def judge(self, query: Query) -> Judged:
        return Judged(result=MatchResult(verdict=Verdict.NO_MATCH), policy="none@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


def _serve_instant(directory: str, pipe: Connection) -> None:
    from hashhub.hook.settings import SidecarSettings
    from hashhub.hook.sidecar import serve

    settings = HookSettings(
        policy="none", without_answer=_HELD, data=directory, sidecar=SidecarSettings(listen="127.0.0.1:0")
    )
    with Hook(settings, judge=Instant()) as hook:
        serve(hook, on_ready=pipe.send)


@contextmanager
def sidecars(judge: str, pictures: list[bytes], directory: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Run a sidecar, and a hub if it is asked; yield the address, and the process of each by its name."""
    with ExitStack() as stack:
        if judge == "instant":
            spawn = multiprocessing.get_context("spawn")
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve_instant, args=(str(directory / "hook"), theirs))
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            assert process.pid is not None
            yield ours.recv(), {"sidecar": process.pid}
            return
        hub = stack.enter_context(running_hub(directory / "hub"))
        operator = stack.enter_context(Client(hub.address, hub.token, timeout=60.0))
        operator.create_contributor(
            Contributor(
                id="nl",
                display_name="NL",
                kind=ContributorKind.HOTLINE,
                jurisdiction="NL",
                reliability=Reliability.A,
            )
        )
        operator.create_hash_set(
            HashSet(contributor="nl", id="known", purpose=Purpose.CSAM, marking=Marking(tlp=TLP.GREEN))
        )
        hashes = [h.text for p in pictures[::_LISTED] for h in hash_media(p).hashes if h.algorithm == "MD5"]
        operator.import_source(io.BytesIO("\n".join(hashes).encode()), hash_set="nl/known", connector="hash-lines")
        operator.create_contributor(
            Contributor(id="app", display_name="App", kind=ContributorKind.PLATFORM, jurisdiction="IE")
        )
        token = operator.create_token(Principal(name="app-hook", role=Role.CONSUMER, contributor="app"))
        (directory / "token").write_text(token)
        file = directory / "hook.toml"
        choices = "\n".join(f'{name} = "{getattr(_HELD, name).lower()}"' for name in WithoutAnswer.__struct_fields__)
        file.write_text(
            f'policy = "any"\nhub = "{hub.address}"\ntoken_file = "{directory / "token"}"\n'
            f'data = "{directory / "hook"}"\n'
            f"answer_seconds = {_ANSWER_SECONDS}\n[without_answer]\n{choices}\n"
        )
        sidecar = stack.enter_context(running_sidecar(file))
        yield sidecar.url.removeprefix("http://"), {"sidecar": sidecar.pid, "hub": hub.pid}


def cpu_seconds(pid: int) -> float:
    """Return what a process and its children have taken so far, those that have ended included."""
    process = psutil.Process(pid)
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class Caller(threading.local):
    """A connection for each thread, kept open."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=120)

    def post(self, content: bytes) -> None:
        self._connection.request("POST", "/check", content)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        assert b'"HUB_AWAY"' not in answer, answer


def _another(pictures: list[bytes], number: int) -> bytes:
    """Return a picture that is no file that was sent before: the hook remembers for a while what it hashed."""
    content = pictures[number % len(pictures)]
    is_listed = number % len(pictures) % _LISTED == 0  # known by its file, so it stays as it is
    return content if is_listed else content + next(_COUNTER).to_bytes(8, "big")


def closed(address: str, pictures: list[bytes], *, connections: int, seconds: float) -> tuple[int, float, list[float]]:
    """Return how many were answered, in how many seconds, and how long each took."""
    caller = Caller(address)
    until = time.perf_counter() + seconds
    times: list[float] = []

    def run(first: int) -> None:
        number = first
        while (began := time.perf_counter()) < until:
            caller.post(_another(pictures, number))
            times.append(time.perf_counter() - began)
            number += connections

    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(run, range(connections)))
    return len(times), time.perf_counter() - began, times


def opened(address: str, pictures: list[bytes], *, rate: float, seconds: float) -> tuple[int, float, list[float]]:
    """Return the same of pictures that are sent at fixed times."""
    caller = Caller(address)
    count = round(rate * seconds)
    began = time.perf_counter() + 0.1

    def run(number: int) -> float:
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        caller.post(_another(pictures, number))
        return time.perf_counter() - due

    with ThreadPoolExecutor(64) as threads:
        times = list(threads.map(run, range(count)))
    return count, time.perf_counter() - began, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=60, help="different pictures")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each way")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pictures = []
    for seed in range(arguments.pictures):
        out = io.BytesIO()
        picture(seed, _SIZE).save(out, "JPEG", quality=88)
        pictures.append(out.getvalue())
    rows: list[dict[str, Any]] = []
    for judge in ("hub", "instant"):
        with tempfile.TemporaryDirectory() as directory, sidecars(judge, pictures, Path(directory)) as (address, pids):
            for content in pictures[:8]:  # starts the children
                Caller(address).post(content)
            for loop in ("closed", "open"):
                before = {name: cpu_seconds(pid) for name, pid in pids.items()}
                own = time.process_time()
                if loop == "closed":
                    count, seconds, times = closed(
                        address, pictures, connections=arguments.connections, seconds=arguments.seconds
                    )
                else:
                    count, seconds, times = opened(address, pictures, rate=arguments.rate, seconds=arguments.seconds)
                spent = {f"{name}_cpu_ms": (cpu_seconds(p) - before[name]) / count * 1000 for name, p in pids.items()}
                p50, p99 = np.quantile(times, (0.5, 0.99)) * 1000
                rows.append(
                    {
                        "judge": judge,
                        "loop": loop,
                        "pictures": count,
                        "pictures_per_second": count / seconds,
                        "p50_ms": float(p50),
                        "p99_ms": float(p99),
                        **spent,
                        "generator_cpu_ms": (time.process_time() - own) / count * 1000,
                        "load_after": os.getloadavg()[0],
                    }
                )
    result.show(rows)
    parameters = {k: v for k, v in vars(arguments).items() if k != "out"} | {
        "mean_bytes": round(float(np.mean([len(p) for p in pictures])))
    }
    result.save("hook_sidecar", parameters, rows, out=arguments.out, packages=("uvicorn", "starlette", "numba"))


if __name__ == "__main__":
    main()
