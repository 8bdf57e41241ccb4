"""The table that issue 7 begins with, and beside it what a run of `bench.day` measured.

What each event did stands here as it was measured then: two cores, SQLite, one worker. What it does now is read from
the rows of a run; a scene that was not played leaves a dash, and what no scene plays names the test that shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]
Scenes = Mapping[str, Row]


class Event(NamedTuple):
    """What happens, and what it did. scenes: those that play it, and what they have to say. tests: show the rest."""

    happens: str
    did: str
    scenes: Mapping[str, Callable[[Row, Scenes], str]] = {}
    tests: tuple[str, ...] = ()


class Line(NamedTuple):
    """A line of the table."""

    happens: str
    did: str
    does: str
    commands: tuple[str, ...]


def lines(parameters: Row, rows: Sequence[Row]) -> list[Line]:
    """Return the table of a run."""
    scenes = {row["scene"]: row for row in rows if row["kind"] == "scene"}
    size = f"--entries {parameters['entries']} --database {parameters['database']}"
    if parameters["share"] != 1:
        size += f" --share {parameters['share']}"
    table = []
    for event in EVENTS:
        does = [_does(scenes[name], tell, scenes) for name, tell in event.scenes.items() if name in scenes]
        commands = [f"python -m bench.day {size} --only {','.join(event.scenes)}"] if event.scenes else []
        commands += [f"pytest {test}" for test in event.tests]
        if not event.scenes:
            does = ["not played: see the test"]
        table.append(Line(event.happens, event.did, "; ".join(does) or "-", tuple(commands)))
    return table


def show(parameters: Row, rows: Sequence[Row]) -> None:
    """Print the table: boxed on a terminal, in paragraphs in a pipe."""
    console = Console(soft_wrap=True)
    heads = ("what happens", "what it did", "what it does now", "command")
    if console.is_terminal:
        boxed = Table(*heads, show_lines=True)
        for line in lines(parameters, rows):
            boxed.add_row(*_cells(line))
        Console().print(boxed, markup=False, highlight=False)
        return
    for line in lines(parameters, rows):
        print()
        for head, cell in zip(heads, _cells(line), strict=True):
            print(f"{head}: {cell}")


def _cells(line: Line) -> tuple[str, ...]:
    return line.happens, line.did, line.does, "; ".join(line.commands)


def told(scene: Row) -> str:
    """Return all that is known of one scene, in words."""
    parts = [f"failed: {scene['failed']}"] if "failed" in scene else []
    if "accepted" in scene:
        parts.append(f"{_seconds(scene['seconds'])}, {_seconds(scene['commit_seconds'])} of it the commit")
    if "ready_seconds" in scene:
        parts.append(f"ready {_seconds(scene['ready_seconds'])} after the kill")
    if "answers" in scene:
        parts.append(_messages(scene))
    if "ordinary_picture" in scene:
        parts.append(_ordinary(scene))
    if "cpu_seconds" in scene:
        parts.append(_cost(scene))
    return "; ".join([*parts, _others(scene)])


def _does(scene: Row, tell: Callable[[Row, Scenes], str], scenes: Scenes) -> str:
    return told(scene) if "failed" in scene else tell(scene, scenes)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} s"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _counted(answers: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(answers.items(), key=lambda item: -item[1]))


def _messages(scene: Row) -> str:
    size = f" of {scene['message_mib']:.3g} MiB" if "message_mib" in scene else ""
    if "records" in scene:
        size = f" of {scene['records']:,} records each"
    return f"{scene['messages']:,} sent{size}, told {_counted(scene['answers'])}"


def _ordinary(scene: Row) -> str:
    waited = _seconds(scene["ordinary_picture_seconds"])
    return f"another caller's picture {waited}, {_counted(scene['ordinary_picture'])}"


def _cost(scene: Row) -> str:
    cost = f"hub {_seconds(scene['cpu_seconds'])} of CPU, {scene['memory_more_mib']:+,.0f} MiB"
    if "busy_after_seconds" not in scene:
        return cost
    busy = scene["busy_after_seconds"]
    after = "still busy when the wait ended" if busy is None else f"idle {busy:.1f} s later"
    return f"{cost}, {after}"


def _failed(scene: Row, what: str) -> str:
    failed = scene[f"{what}_failed"]
    return f"{sum(failed.values()):,} failed" + (f" ({_counted(failed)})" if failed else "")


def _others(scene: Row) -> str:
    if not scene["lookups_count"]:
        return "no lookup was due"
    lookups = (
        f"others' lookups: {scene['lookups_count']:,}, {_failed(scene, 'lookups')}, "
        f"p99 {_milliseconds(scene['lookups_p99_ms'])}, longest {_milliseconds(scene['lookups_max_ms'])}"
    )
    if not scene["health_failed"]:
        return lookups
    return f"{lookups}; probes: {scene['health_count']:,}, {_failed(scene, 'health')}"


def _imported(scene: Row, _: Scenes) -> str:
    return f"{scene['accepted']:,} imported: {_seconds(scene['seconds'])}"


def _update(scene: Row, scenes: Scenes) -> str:
    items = scene["accepted"] + scene["unchanged"]
    changed = f"{scene['superseded']:,} of {items:,} changed" if scene["superseded"] else "nothing changed"
    ratio = ""
    if "seconds" in scenes.get("import", {}):
        ratio = f", {scene['seconds'] / scenes['import']['seconds']:.2f} times its import"
    return f"{changed}: {_seconds(scene['seconds'])}{ratio}; {_others(scene)}"


def _unchanged(scene: Row, _: Scenes) -> str:
    bytes_held = scene["memory_more_mib"] * 1024 * 1024 / max(1, scene["unchanged"])
    return (
        f"{scene['unchanged']:,} unchanged: {_seconds(scene['seconds'])}, commit {_seconds(scene['commit_seconds'])}, "
        f"{scene['memory_more_mib']:+,.0f} MiB at most ({bytes_held:,.0f} bytes an item); {_others(scene)}"
    )


def _ten(scene: Row, _: Scenes) -> str:
    return (
        f"ten items into a set with a quarantine: commit {_seconds(scene['commit_seconds'])}, "
        f"{scene['memory_more_mib']:+,.0f} MiB"
    )


def _killed(scene: Row, _: Scenes) -> str:
    when = "in the middle of an update" if scene["reached"] else "before an update came to its commit"
    return (
        f"killed {when}: ready after {_seconds(scene['ready_seconds'])}, an entry answered {scene['verdict']} after "
        f"{_seconds(scene['matched_seconds'])}; {_others(scene)}"
    )


def _hostile(scene: Row, _: Scenes) -> str:
    ordinary = f"{_ordinary(scene)}; " if "ordinary_picture" in scene else ""
    return f"{_messages(scene)}; {ordinary}{_cost(scene)}; {_others(scene)}"


EVENTS: Final = (
    Event(
        "a list of 500,000 comes again with every second item changed",
        "88 s, five times what importing it took, and every match answered UNAVAILABLE for 40 s of it; on PostgreSQL, "
        "100,000: 40 s where the import took 3.4",
        {"import": _imported, "half": _update, "tenth": _update},
    ),
    Event(
        "the hub (2 M entries) is restarted soon after that update",
        "100 s until it is ready, every match UNAVAILABLE; the second worker starts only then",
        {"kill": _killed},
    ),
    Event(
        "one consumer sends 2 MiB of empty queries (`0a 00` repeated)",
        "another caller's match waits 13 s; 8 MiB: 31 s and 3.5 GB; 31 MiB: busy for more than 7 min after the client "
        "left",
        {"empty-2": _hostile, "empty-8": _hostile, "empty-31": _hostile},
    ),
    Event(
        "one 106 KB progressive JPEG with a scan repeated 3,000 times",
        "23 s of a core; a 661 KB one goes on after the client has gone; one a core stops all media matching",
        {"scans": _hostile, "scans-left": _hostile},
    ),
    Event(
        "18 commits of 20,000 records queue; 256 queued media calls",
        "a match waits 13 s; every other gRPC match gets RESOURCE_EXHAUSTED",
        {"commits": _hostile, "media": _hostile},
    ),
    Event(
        "30 requests of 42 MB without a token; 256 slow HTTP connections",
        "+1.3 GB; `/healthz` dead",
        {"bodies": _hostile, "slow": _hostile},
    ),
    Event(
        "restart on a full disk",
        "never ready, though the same data matched before",
        tests=("tests/e2e/test_full_disk.py -k matches_as_before",),
    ),
    Event(
        "PostgreSQL goes away",
        "health and `/healthz` stay SERVING while matches fail",
        tests=("tests/e2e/test_health.py -k database_that_goes_away",),
    ),
    Event(
        "a list of one million is sent again unchanged",
        "some 630 bytes an item held; a ten-item delta loads the set's whole quarantine",
        {"unchanged": _unchanged, "ten": _ten},
    ),
)
