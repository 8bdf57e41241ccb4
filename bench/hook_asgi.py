"""What the ASGI middleware adds to the upload of a 2-megapixel JPEG on one core, and how much of it is not hashing.

    python -m bench.hook_asgi
    python -m bench.hook_asgi --mode local --copy DIR --policy any

`instant`: a judge that answers at once. `local`: the copy that `hashhub hook sync` keeps in the data directory DIR.
The app is in this process and is handed the form in pieces of 64 KiB, as uvicorn does: with and without the middleware
in turn, each time another picture. `hashing` is what the pool of child processes takes for the same pictures by itself,
digests included, from pieces that are in memory before the clock starts; this process and its children share one core.
`rest` is what the hook adds beyond that: on the clock, and in CPU time of the threads that an upload goes through, the
event loop's and the one that decides, without what digests and the way to a child take. What other threads do ten times
a second, whether there are uploads or not, is in none of them. On a machine that does other things, too, believe the
CPU time, and of the clock the least tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import result
from hashhub.desk.hub import HubAnswer
from hashhub.desk.settings import Mode
from hashhub.hashing.media import digests
from hashhub.hashing.pool import MediaPool
from hashhub.hashing.structure import Limits
from hashhub.hook import Action, Hook, HookSettings, WithoutAnswer, open_hook
from hashhub.hook.asgi import UploadHook
from hashhub.hook.settings import AppSettings, LocalSettings, OnHold
from hashhub.model import Effort, MatchResult, Query, Verdict
from hashhub.testing.pictures import picture

_SIZE: Final = (1632, 1224)  # 2.0 megapixels
_PIECE: Final = 64 * 1024
_BOUNDARY: Final = b"----bench7MA4YWxkTrZu0gW"


class Instant:
    """A judge that knows nothing, at once."""

    def judge(self, query: Query) -> HubAnswer:
        assert query.hashes
        return HubAnswer(result=MatchResult(verdict=Verdict.NO_MATCH), policy="block@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and answer."""
    del scope
    is_more = True
    while is_more:
        message = await receive()
        is_more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def cpu_seconds() -> float:
    """Return the CPU seconds of this thread and of those that decide over uploads."""
    names = ("hook-check", "hook-hashing")
    deciding = [t.ident for t in threading.enumerate() if t.name.startswith(names) and t.ident is not None]
    return time.thread_time() + sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in deciding)


async def upload(to: Any, content: bytes) -> tuple[float, float]:
    """Return the milliseconds that one upload takes, and those of CPU time in the threads that it goes through."""
    head = b'\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"--" + _BOUNDARY + head + content + b"\r\n--" + _BOUNDARY + b"--\r\n"
    pieces = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]
    messages = iter(
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    )
    statuses = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    headers = [
        (b"content-type", b"multipart/form-data; boundary=" + _BOUNDARY),
        (b"content-length", str(len(body)).encode()),
    ]
    start, cpu = time.perf_counter(), cpu_seconds()
    await to({"type": "http", "http_version": "1.1", "path": "/", "headers": headers}, receive, send)
    taken = time.perf_counter() - start, cpu_seconds() - cpu
    assert statuses == [200], statuses
    return taken[0] * 1e3, taken[1] * 1e3


def digesting(content: bytes) -> float:
    """Return the milliseconds of CPU time that the three digests take, over the pieces of an upload."""
    cpu = time.thread_time()
    digests(content[start : start + _PIECE] for start in range(0, len(content), _PIECE))
    return (time.thread_time() - cpu) * 1e3


def hashing(pool: MediaPool, content: bytes, effort: Effort) -> tuple[float, float, float]:
    """Return the milliseconds for hashing alone, by the way that the hook goes; those of CPU time in this thread; and
    those of CPU time in the child.
    """
    pieces = tuple(content[start : start + _PIECE] for start in range(0, len(content), _PIECE))
    start, cpu = time.perf_counter(), time.thread_time()
    with pool.room() as place:
        place.hash(pieces, effort=effort)
    taken = time.perf_counter() - start, time.thread_time() - cpu, place.cpu_seconds
    return taken[0] * 1e3, taken[1] * 1e3, taken[2] * 1e3


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Hook]:
    """Open the hook that is asked for."""
    settings = HookSettings(
        policy=arguments.policy,
        without_answer=WithoutAnswer(**dict.fromkeys(WithoutAnswer.__struct_fields__, Action.HOLD)),
        mode=Mode.LOCAL if arguments.mode == "local" else Mode.ONLINE,
        data=str(arguments.copy),
        effort=Effort(arguments.effort),
        hashing_processes=1,
        local=LocalSettings(follow=False),
        app=AppSettings(on_hold=OnHold.REFUSE),
    )
    with open_hook(settings) if arguments.mode == "local" else Hook(settings, judge=Instant()) as hook:
        yield hook


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--mode", choices=("instant", "local"), default="instant")
    parser.add_argument("--copy", type=Path, default=Path("hashhub-hook"))
    parser.add_argument("--policy", default="block")
    parser.add_argument("--effort", default=Effort.STANDARD.value)
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/hook_asgi.json")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    contents = []
    for seed in range(arguments.count + 2):
        out = io.BytesIO()
        picture(result.SEED + seed, _SIZE).save(out, "JPEG", quality=90)
        contents.append(out.getvalue())
    rows = []
    pool = MediaPool(children=1, max_queued=1, seconds=60.0, memory_bytes=1 << 30, limits=Limits())
    with opened(arguments) as hook, asyncio.Runner() as runner:
        hooked = UploadHook(app, hook=hook)
        for number, content in enumerate(contents):
            row = (
                *runner.run(upload(app, content)),
                *runner.run(upload(hooked, content)),
                *hashing(pool, content, hook.settings.effort),
                digesting(content),
            )
            if number >= 2:  # children start with the first
                rows.append(row)
    pool.close()
    without, without_cpu, hooked_ms, hooked_cpu, hash_ms, hash_cpu, child_cpu, digests_cpu = np.array(rows).T
    rest_cpu = hooked_cpu - without_cpu - hash_cpu - digests_cpu
    figures = {
        "mode": arguments.mode,
        "uploads": arguments.count,
        "app_ms": float(np.median(without)),
        "added_ms": float(np.median(hooked_ms - without)),
        "hashing_ms": float(np.median(hash_ms)),
        "hashing_cpu_ms": float(np.median(child_cpu)),
        "rest_ms": float(np.median(hooked_ms - without - hash_ms)),
        "rest_p10_ms": float(np.percentile(hooked_ms - without - hash_ms, 10)),
        "digests_cpu_ms": float(np.median(digests_cpu)),
        "rest_cpu_ms": float(np.median(rest_cpu)),
        "rest_cpu_p10_ms": float(np.percentile(rest_cpu, 10)),
    }
    result.show([figures])
    parameters = {"mode": arguments.mode, "policy": arguments.policy, "effort": arguments.effort}
    result.save("hook_asgi", parameters, [figures], out=arguments.out)


if __name__ == "__main__":
    main()
