"""An ordinary day, hostile callers included: what each event costs, and what others notice of it.

    python -m bench.day --entries 1000000 --database sqlite
    python -m bench.day --only empty-2,empty-8,empty-31

A hub with two workers takes a list in and takes it again, half changed, a tenth changed and unchanged; it writes
snapshots; one consumer, one contributor and strangers without a token send it what an ordinary commercial day brings,
at least a hundred messages and files; it is killed in the middle of an update. All the while somebody else looks
digests up by the clock and probes its health (bench/prober.py). Every scene is bounded in time, so that the day ends on
a hub that stands still, too: a caller leaves after `--seconds`, and the hub is then given as long again to become idle.

The table of what these events once did is printed again with what they do now, and what cannot be played here names the
test that shows it.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import day_table, hostile, result
from bench.imports import database, last_md5
from bench.prober import Answer, Answers, asking, summary
from bench.updates import import_list, kill_at, write_list
from hashhub import client as hub_client
from hashhub.client import Client
from hashhub.errors import HashHubError
from hashhub.hashes import parse
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Principal, Query, Role, Verdict
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

Facts = dict[str, Any]

SCENES: Final[Mapping[str, str]] = {
    "quiet": "quiet",
    "import": "import",
    "half": "half changed",
    "tenth": "a tenth changed",
    "unchanged": "unchanged",
    "ten": "ten items more",
    "compaction": "snapshots",
    "empty-2": "2 MiB of empty queries",
    "empty-8": "8 MiB of empty queries",
    "empty-31": "31 MiB of empty queries",
    "scans": "scans repeated",
    "scans-left": "scans, sender left",
    "media": "256 media calls",
    "commits": "18 commits",
    "bodies": "30 bodies of 42 MB",
    "slow": "256 slow connections",
    "kill": "killed in an update",
    "after": "quiet again",
}
_UPDATES: Final[Mapping[str, tuple[int, ...]]] = {"half": (2,), "tenth": (2, 10), "unchanged": (2, 10)}
_WATCH_SECONDS: Final = 0.1
_FAMILY_SECONDS: Final = 0.5  # between looks for new processes
_IDLE_CORES: Final = 0.7  # of one process: more than lookups by the clock and probes cost, less than a busy thread
_IDLE_SECONDS: Final = 1.0
_SAID: Final = 200  # characters of what a scene failed of
_PAUSE_SECONDS: Final = 1.0  # between scenes, at most
_BIN_SECONDS: Final = 0.25
_BINS: Final = 1_500  # of a series; a longer day has wider ones, so that the file stays small


class Watch:
    """Samples what a hub's processes take: processor time, memory, and when a snapshot was published."""

    def __init__(self, hub: RunningHub) -> None:
        """Begin at once."""
        self.snapshots: list[float] = []
        self._samples: list[tuple[float, float, float]] = []
        self._hub = hub
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def cost(self, begin: float, end: float) -> Facts:
        """Return processor time and memory between two times. Memory is what no file stands behind (proc(5), RssAnon);
        that of all processes together, most of it and how much more than at the beginning.
        """
        samples = [sample for sample in self._samples if begin <= sample[0] <= end]
        if not samples:
            return {}
        return {
            "cpu_seconds": samples[-1][1] - samples[0][1],
            "memory_peak_mib": max(sample[2] for sample in samples),
            "memory_more_mib": max(sample[2] for sample in samples) - samples[0][2],
        }

    def settle(self, limit: float) -> float | None:
        """Wait until the hub does no more than usual; return how long it took, or None where it was too busy for all
        of these seconds.
        """
        begun = time.monotonic()
        look = min(_IDLE_SECONDS, limit)
        while (at := time.monotonic()) < begun + limit:
            before = _wanted(self._hub.pid)
            time.sleep(look)
            wanted = _wanted(self._hub.pid)
            used = [wanted[pid] - seconds for pid, seconds in before.items() if pid in wanted]
            if max(used, default=0.0) < _IDLE_CORES * (time.monotonic() - at):
                return at - begun
        return None

    def _run(self) -> None:
        members: list[int] = []
        looked = -math.inf
        current = b""
        while not self._ended.wait(_WATCH_SECONDS):
            now = time.monotonic()
            if now >= looked + _FAMILY_SECONDS:
                members, looked = result.family(self._hub.pid), now
            self._samples.append((now, *(sum(values) for values in zip(*map(_usage, members), strict=True))))
            for path in self._hub.data.glob("*/CURRENT"):
                published = path.read_bytes()
                if current and published != current:
                    self.snapshots.append(now)
                current = published


def _wanted(pid: int) -> dict[int, float]:
    """Return the seconds for which each process of a hub ran or waited for a processor (schedstat): on a machine that
    has others to serve, a hub with much to do may get little.
    """
    wanted = {}
    for member in result.family(pid):
        nanoseconds = 0
        for path in Path(f"/proc/{member}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread ended meanwhile
                nanoseconds += sum(map(int, path.read_text("ascii").split()[:2]))
        wanted[member] = nanoseconds / 1e9
    return wanted


def _usage(pid: int) -> tuple[float, float]:
    """Return the seconds of processor that a process and its ended children took, and its own memory in MiB."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:  # it ended meanwhile, and its parent has its time
        return 0.0, 0.0
    kib = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), kib / 1024


class Shown:
    """Shows how far the day is: a bar on a terminal, and a line for each scene everywhere."""

    def __init__(self, scenes: int, entries: int) -> None:
        """`entries` are those of the list that is sent again and again."""
        self._console = Console(soft_wrap=True)
        self._bar: Progress | None = None
        self._entries = entries
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[part]}"))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("starting", total=scenes, part="")
            self._bar.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Show that a scene begins."""
        if self._bar:
            self._bar.update(self._task, description=name, part="")

    def part(self, progress: hub_client.Progress) -> None:
        """Show how far an import is."""
        if self._bar:
            self._bar.update(self._task, part=f"{progress.phase.lower()} {progress.items:,} of {self._entries:,}")

    def end(self, line: str) -> None:
        """Print what a scene showed."""
        if self._bar:
            self._bar.advance(self._task)
        self._console.print(line, markup=False, highlight=False)


class Day:
    """One hub, those who ask it, and the scenes that were played."""

    def __init__(self, options: argparse.Namespace, directory: Path, url: str, shown: Shown) -> None:
        """Nothing starts yet. `url`: of the database; empty: SQLite."""
        self._options = options
        self._directory = directory
        self._shown = shown
        self._answers: Answers
        self._scenes: list[Facts] = []
        self._snapshots: list[float] = []
        self._commit_seconds = 0.0
        ports = _free_ports(2)  # the same ones after a restart, so that others find the hub again
        self._arguments = ["--workers", str(options.workers), *(["--database", url] if url else [])]
        self._arguments += ["--listen", f"127.0.0.1:{ports[0]}", "--http", f"127.0.0.1:{ports[1]}"]

    def play(self, names: Sequence[str]) -> list[Facts]:
        """Play these scenes, which stand in the day's order, and return what is to be kept of them."""
        before, after = _parted(names, "kill")
        with ExitStack() as others:
            with self._running() as (hub, watch), Client(hub.address, hub.token) as client:
                target = self._fill(hub, client, names)
                asked = self._known(client)
                self._answers = others.enter_context(asking(hub.address, target.bystander, asked, http=hub.http))
                for name in before:
                    self._scene(name, watch, partial(self._act, name, client, target))
                if "kill" not in names:
                    others.close()  # before the hub is
                    return self._kept()
                killed = self._kill(hub)
            with self._running() as (hub, watch), Client(hub.address, hub.token) as client:
                self._come_back(client, watch, killed)
                for name in after:
                    self._scene(name, watch, partial(self._act, name, client, target))
                others.close()
        return self._kept()

    def _kill(self, hub: RunningHub) -> Facts:
        """Kill the hub in the middle of an update, and return when."""
        source = self._list("list", self._options.entries, 0, (2, 10, 2))
        self._shown.begin(SCENES["kill"])
        facts = {"begun": time.monotonic(), "listed": last_md5(source)}
        facts["reached"] = kill_at(hub, source, "COMMITTING", self._commit_seconds / 2)
        return facts | {"killed": time.monotonic()}

    def _come_back(self, client: Client, watch: Watch, killed: Facts) -> None:
        """Note how long the hub took until it was ready and answered about an item of the list."""
        ready = time.monotonic()
        query = Query(hashes=(parse("MD5", killed["listed"]),))
        [answer] = client.match_hashes([query], MatchOptions(policy="any"))
        facts = {
            "reached": killed["reached"],
            "ready_seconds": ready - killed["killed"],
            "matched_seconds": time.monotonic() - killed["killed"],
            "verdict": answer.result.verdict,
        }
        self._end("kill", watch, killed["begun"], facts)

    @contextmanager
    def _running(self) -> Iterator[tuple[RunningHub, Watch]]:
        with running_hub(self._directory / "hub", *self._arguments) as hub:
            watch = Watch(hub)
            try:
                yield hub, watch
            finally:
                watch.close()
                self._snapshots += watch.snapshots

    def _fill(self, hub: RunningHub, client: Client, names: Sequence[str]) -> hostile.Target:
        """Make what the scenes need, and return who plays in them."""
        self._shown.begin("filling")
        for contributor in ("bench", "platform", "crowd", "reader"):
            client.create_contributor(
                Contributor(id=contributor, display_name=contributor, kind=ContributorKind.PLATFORM, jurisdiction="US")
            )
        for hash_set in ("known", "list", "waiting", "more"):
            client.create_hash_set(HashSet(contributor="bench", id=hash_set, scheme="vic-us"))
        consumer, contributor, bystander = (
            client.create_token(Principal(name=f"{of}-token", role=role, contributor=of))
            for of, role in (("platform", Role.CONSUMER), ("crowd", Role.CONTRIBUTOR), ("reader", Role.CONSUMER))
        )
        if "ten" in names:
            source = self._directory / "waiting.json"
            with source.open("wb") as out:  # without a category, they are quarantined
                write_many_vics(out, max(1, self._options.entries // 4), seed=result.SEED + 4, values=("null",))
            import_list(client, source, "bench/waiting", self._shown.part)
        if "import" not in names and {*_UPDATES, "kill"} & {*names}:
            self._take("import", client)
        return hostile.Target(
            address=hub.address,
            http=hub.http,
            consumer=consumer,
            contributor=contributor,
            bystander=bystander,
            seconds=self._options.seconds,
            share=self._options.share,
        )

    def _known(self, client: Client) -> dict[str, Verdict]:
        """Import a small list that nothing happens to; return what others ask about, and what is due to them."""
        listed = write_list(self._directory, "known", 10, result.SEED + 2)
        import_list(client, listed, "bench/known")
        unlisted = self._list("nobody", 10, 3)
        return {f"MD5:{last_md5(listed)}": Verdict.MATCH, f"MD5:{last_md5(unlisted)}": Verdict.NO_MATCH}

    def _act(self, name: str, client: Client, target: hostile.Target) -> Facts:
        """Play one scene and return its facts."""
        match name:
            case "quiet" | "after":
                time.sleep(self._options.seconds / 4)
                return {}
            case "ten":
                return import_list(client, self._list("ten", 10, 5), "bench/waiting")
            case "compaction":
                more = self._list("more", max(1, self._options.entries // 4), 6)
                return import_list(client, more, "bench/more", self._shown.part)
            case "empty-2" | "empty-8" | "empty-31":
                return hostile.empty_queries(target, int(name.partition("-")[2]))
            case "scans":
                return hostile.repeated_scans(target)
            case "scans-left":
                return hostile.abandoned_scans(target)
            case "media":
                return hostile.many_media(target)
            case "commits":
                imports = hostile.staged(target, client, "crowd")
                return {"begun": time.monotonic()} | hostile.commits(target, imports)
            case "bodies":
                return hostile.large_bodies(target)
            case "slow":
                return hostile.slow_headers(target)
            case _:
                return self._take(name, client)

    def _take(self, name: str, client: Client) -> Facts:
        """Import the list as it is in one of its editions."""
        source = self._list("list", self._options.entries, 0, _UPDATES.get(name, ()), copy=name == "unchanged")
        begun = time.monotonic()
        facts = import_list(client, source, "bench/list", self._shown.part)
        if name in {"import", "half"}:
            self._commit_seconds = facts["commit_seconds"]
        return {"begun": begun} | facts

    def _list(self, name: str, entries: int, seed: int, editions: Sequence[int] = (), *, copy: bool = False) -> Path:
        return write_list(self._directory, name, entries, result.SEED + seed, editions, copy=int(copy))

    def _scene(self, name: str, watch: Watch, act: Callable[[], Facts]) -> None:
        self._shown.begin(SCENES[name])
        begun = time.monotonic()
        try:
            facts = act()
        except (HashHubError, grpc.RpcError) as e:  # a hub that stands still ends a scene, not the day
            facts = {"failed": f"{type(e).__name__}: {e}"[:_SAID]}
        begun = facts.pop("begun", begun)  # a scene that has to be prepared begins afterwards
        acted = time.monotonic()
        settled = watch.settle(self._options.seconds)
        self._end(name, watch, begun, facts | {"acted_seconds": acted - begun, "busy_after_seconds": settled})
        time.sleep(min(_PAUSE_SECONDS, self._options.seconds / 4))

    def _end(self, name: str, watch: Watch, begun: float, facts: Facts) -> None:
        """Note a scene and print what is known of it so far: lookups that still wait are not."""
        scene = {"scene": name, "label": SCENES[name], "begin": begun, "end": time.monotonic(), **facts}
        if name != "kill":  # of which this hub's processes know the end only
            scene |= watch.cost(begun, scene["end"])
        self._scenes.append(scene)
        self._answers.fetch()
        waiting = f"; {self._answers.outstanding:,} lookups wait" if self._answers.outstanding > 1 else ""
        self._shown.end(f"{scene['label']}: {day_table.told(scene | self._noticed(scene))}{waiting}")

    def _noticed(self, scene: Facts) -> Facts:
        """Return what others noticed of a scene: what became of the calls that were due in it."""
        facts: Facts = {}
        for what, answers in (("lookups", self._answers.lookups), ("health", self._answers.health)):
            due = [answer for answer in answers if scene["begin"] <= answer.due < scene["end"]]
            facts |= {f"{what}_{name}": value for name, value in summary(due, 50, 99).items()}
        return facts

    def _kept(self) -> list[Facts]:
        """Return the scenes with what others noticed, and latencies over time in so many bins; times in seconds since
        the first lookup.
        """
        start = self._answers.lookups[0].due
        scenes = [
            {"kind": "scene"} | scene | self._noticed(scene) | {at: scene[at] - start for at in ("begin", "end")}
            for scene in self._scenes
        ]
        snapshots = [round(at - start, 2) for at in self._snapshots if at >= start]
        series = [
            _series("lookups", self._answers.lookups, start),
            _series("health", self._answers.health, start),
        ]
        return [*scenes, {"kind": "snapshots", "published": snapshots}, *series]


def _series(what: str, answers: Sequence[Answer], start: float) -> Facts:
    """Return median and longest latency and the number of failures by time. Latencies are those of good answers."""
    length = max((answer.due for answer in answers), default=start) - start
    seconds = _BIN_SECONDS * max(1, math.ceil(length / _BIN_SECONDS / _BINS))
    bins: list[list[Answer]] = [[] for _ in range(int(length / seconds) + 1)]
    for answer in answers:
        bins[int((answer.due - start) / seconds)].append(answer)
    good = [[answer.milliseconds for answer in answers if not answer.failure] for answers in bins]
    return {
        "kind": "series",
        "series": what,
        "bin_seconds": seconds,
        "median_ms": [round(float(np.median(latencies)), 2) if latencies else None for latencies in good],
        "max_ms": [round(max(latencies), 2) if latencies else None for latencies in good],
        "failed": [sum(bool(answer.failure) for answer in answers) for answers in bins],
    }


def _parted(names: Sequence[str], at: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names before one and those after it; all and none where it is not among them."""
    where = names.index(at) if at in names else len(names)
    return names[:where], names[where + 1 :]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listening.getsockname()[1] for listening in opened]


def _scenes(text: str) -> list[str]:
    names = text.split(",") if text else list(SCENES)
    if unknown := {*names} - {*SCENES}:
        raise argparse.ArgumentTypeError(f"no such scene: {', '.join(unknown)}; there are {', '.join(SCENES)}")
    return [name for name in SCENES if name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="items in the list (1,000,000)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="(sqlite)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the hub (2)")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="that each hostile caller stays, and each wait is bounded by (20)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the hostile sizes and numbers, 0 to 1 (1)")
    parser.add_argument("--only", type=_scenes, default="", help=f"scenes, comma-separated: {', '.join(SCENES)} (all)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/day.json")
    options = parser.parse_args()
    shown = Shown(len(options.only), options.entries)
    with (
        tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory,
        database(options.database) as url,
        closing(shown),
    ):
        rows = Day(options, Path(directory), url, shown).play(options.only)
    parameters = {
        name: getattr(options, name) for name in ("entries", "database", "workers", "seconds", "share", "only")
    }
    packages = ("grpcio", "protobuf", "msgspec", "sqlalchemy", "psycopg", "numpy", "numba", "Pillow")
    result.save("day", parameters, rows, out=options.out, packages=packages)
    day_table.show(parameters, rows)


if __name__ == "__main__":
    main()
