"""What a hook costs: while its hub is away, in memory, and besides hashing.

    python -m bench.hook_core --cases 200 --uploads 60

away: decisions while the hub refuses connections, hangs after it accepted, drops packets (a socket whose backlog is
full) or refuses the token; each of them with a hook just opened, one upload after the other and 50 at once; pictures of
2 megapixels and small ones, texts, hashes. From the call to the decision, the record included.
memory: a process that opens a hook and checks pictures, and its children, against one that imports nothing: PSS, and
RSS, which counts what they share once for each.
besides: `Hook.check` of a 2-megapixel JPEG with a judge that answers at once, beside the child process alone; in turn.
record: what it takes to record an upload that is blocked.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from bench import result
from hashhub.desk.hub import Judged
from hashhub.desk.records import Records, UploadState
from hashhub.hashes import parse
from hashhub.hashing.limits import Limits
from hashhub.hashing.pool import MediaPool
from hashhub.hook import Action, Checked, Decision, Hook, HookSettings, NoAnswer, WithoutAnswer, open_hook
from hashhub.hook.upload_bytes import ByteBudget, UploadBytes
from hashhub.model import Effort, MatchResult, Query, Verdict, now
from hashhub.testing.hub_process import running_hub
from hashhub.testing.pictures import picture

_AT_ONCE: Final = 50
_HELD: Final = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.HOLD
)
_PROBE: Final = """
import os, sys
import msgspec

def mib(pid, key):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

def family(pid):
    pids = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in file.read().split():
                pids += family(int(child))
    return pids

before = {key: mib(os.getpid(), key) for key in ("Pss:", "Rss:")}
from hashhub.hook import HookSettings, open_hook
hook = open_hook(msgspec.json.decode(sys.argv[1], type=HookSettings))
jpeg = open(sys.argv[2], "rb").read()
for i in range(20):
    hook.check(jpeg + bytes([i]))
pids = family(os.getpid())
print(*(sum(mib(p, key) for p in pids) - before[key] for key in before), len(pids) - 1)
hook.close()
"""


class AtOnce:
    """A judge that answers at once."""

    def judge(self, query: Query) -> Judged:
        return Judged(result=MatchResult(verdict=Verdict.NO_MATCH), policy="block@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        """Nothing to let go of."""


def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    """Return a synthetic photograph."""
    out = io.BytesIO()
    picture(seed, size).save(out, "JPEG", quality=90)
    return out.getvalue()


@contextmanager
def silent(*, accepts: bool) -> Iterator[str]:
    """Listen and say nothing; unless it `accepts`, its backlog is full, so that no connection comes about."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(512 if accepts else 0)
        for _ in range(0 if accepts else 4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


def away(cases: int) -> list[dict[str, object]]:
    """Time decisions while there is no answer."""
    large, small = jpeg(1, (1632, 1224)), jpeg(2, (320, 240))
    rows = []
    every: list[float] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = stack.enter_context(running_hub(directory / "hub"))
        (directory / "wrong").write_text("hh_wrong", "ascii")
        hubs = {
            "refused": "127.0.0.1:9",
            "hangs": stack.enter_context(silent(accepts=True)),
            "drops": stack.enter_context(silent(accepts=False)),
            "token": hub.address,
        }
        for name, address in hubs.items():
            took: list[float] = []
            for way in ("first", "turn", "at once"):
                settings = HookSettings(
                    policy="block",
                    without_answer=_HELD,
                    hub=address,
                    token_file=str(directory / "wrong"),
                    data=str(directory / f"{name}-{way}"),
                )
                with open_hook(settings) as hook:
                    count = 1 if way == "first" else max(1, cases // len(hubs) // 2)
                    uploads: list[Any] = [
                        (large + bytes([i]), small + bytes([i]), b"text %d" % i, [parse("MD5", f"{i:032x}")])[i % 4]
                        for i in range(min(count, _AT_ONCE) if way == "at once" else count)
                    ]
                    with ThreadPoolExecutor(len(uploads) if way == "at once" else 1) as threads:
                        took += threads.map(partial(_timed, hook), uploads)
            rows.append({"what": "away", "case": name, **_percentiles(took)})
            every += took
    rows.append({"what": "away", "case": "all", **_percentiles(every)})
    return rows


def _timed(hook: Hook, upload: Any) -> float:
    begun = time.perf_counter()
    decision = hook.check(upload)
    took = time.perf_counter() - begun
    if decision.no_answer is not NoAnswer.HUB_AWAY:
        raise SystemExit(f"expected no answer, got {decision}")
    return took


def memory() -> list[dict[str, object]]:
    """Measure processes that check pictures, by where these are hashed."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, running_hub(Path(name) / "hub") as hub:
        directory = Path(name)
        (directory / "token").write_text(hub.token, "ascii")
        (directory / "jpeg").write_bytes(jpeg(1, (1632, 1224)))
        for hashing in ("HUB", "HERE"):
            settings = {
                "policy": "block", "without_answer": _HELD, "hub": hub.address, "hashing": hashing,
                "token_file": str(directory / "token"), "data": str(directory / hashing), "answer_seconds": 10,
            }  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, msgspec.json.encode(settings).decode(), str(directory / "jpeg")],
                capture_output=True,
                text=True,
                check=True,
                timeout=200,
            )
            pss, rss, children = done.stdout.split()
            rows.append({
                "what": "memory", "case": hashing, "pss_mib": round(float(pss), 1), "rss_mib": round(float(rss), 1),
                "children": int(children),
            })  # fmt: skip
    return rows


def besides(uploads: int) -> list[dict[str, object]]:
    """Time what a hook adds to the child process that hashes."""
    alone, hooked, digested, spent = [], [], [], []
    content = jpeg(1, (1632, 1224))
    settings = HookSettings(policy="block", without_answer=_HELD, hashing_processes=1)
    pool = MediaPool(children=1, max_queued=1, seconds=10, memory_bytes=1 << 30, limits=Limits())
    with tempfile.TemporaryDirectory() as name:
        records = Records(Path(name) / "hook")
        with Hook(settings, judge=AtOnce(), records=records) as hook:
            for i in range(uploads + 3):
                data = content + i.to_bytes(4, "big")
                with os.fdopen(os.memfd_create("alone"), "w+b") as file:
                    file.write(data)
                    file.flush()
                    with pool.room() as place:
                        a = _seconds(partial(place.hash, file, effort=Effort.STANDARD))
                cpu = time.process_time()
                b = _seconds(partial(hook.check, data))
                cpu = time.process_time() - cpu
                c = _seconds(partial(_digest, data))
                if i >= 3:  # the first load kernels
                    alone.append(a)
                    hooked.append(b)
                    digested.append(c)
                    spent.append(cpu)
    pool.close()
    ms = {
        "child_ms": np.median(alone),
        "hook_ms": np.median(hooked),
        "digests_ms": np.median(digested),
        "hook_cpu_ms": np.median(spent),  # of this process, all threads, digests included
        "besides_ms": np.median(np.subtract(hooked, alone) - digested),
    }
    return [{"what": "besides", **{name: round(1000 * float(value), 2) for name, value in ms.items()}}]


def _digest(data: bytes) -> None:
    content = UploadBytes(ByteBudget(1 << 30), 1 << 30)
    content.write(data)
    _ = content.digests
    content.drop()


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def record(count: int) -> list[dict[str, object]]:
    """Time the record of an upload."""
    took = []
    with tempfile.TemporaryDirectory() as name:
        records = Records(Path(name) / "hook")
        for i in range(count):
            decision = Decision(action=Action.BLOCK, verdict=Verdict.MATCH, reasons=(), reference=f"{i:020x}")
            checked = Checked(decision=decision, time=now(), door="bench")
            took.append(_seconds(partial(records.add_upload, checked, UploadState.BLOCKED, max_records=10**9)))
        records.close()
    return [{"what": "record", **_percentiles(took)}]


def _percentiles(seconds: list[float]) -> dict[str, object]:
    values = np.array(seconds) * 1000
    return {
        "count": len(seconds),
        "p50_ms": round(float(np.percentile(values, 50)), 2),
        "p99_ms": round(float(np.percentile(values, 99)), 2),
        "max_ms": round(float(values.max()), 2),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--uploads", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = away(options.cases) + memory() + besides(options.uploads) + record(options.uploads * 5)
    for row in rows:
        print(row)
    path = result.save("hook_core", {"cases": options.cases, "uploads": options.uploads}, rows, out=options.out)
    print(path)


if __name__ == "__main__":
    main()
