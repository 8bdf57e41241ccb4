"""Tables and charts of the results: `python -m bench.report` renews bench/README.md and bench/charts from
bench/results.

What stands between `<!-- NAME -->` and `<!-- end -->` in the README is written here, headings and all; the words around
it are written by people. A section or a chart that nothing was measured for is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import day_table, result

_README: Final = Path(__file__).parent / "README.md"
_CHARTS: Final = Path(__file__).parent / "charts"
_OURS: Final = "hashhub"
_NAMES: Final = {
    "hashhub": "hashhub",
    "faiss-flat": "FAISS BinaryFlat",
    "faiss-multihash-16": "FAISS MultiHash 16-bit",
    "faiss-multihash-16-reloaded": "FAISS MultiHash 16-bit, reloaded",
    "faiss-multihash-23": "FAISS MultiHash 11x23",
    "faiss-ivf": "FAISS BinaryIVF",
    "faiss-hnsw": "FAISS BinaryHNSW",
    "threatexchange": "threatexchange PDQ index",
    "pynear-mih": "pynear MIH",
    "usearch": "usearch HNSW",
}
_ENOUGH: Final = 2  # exact peers that must have run before one of them is called the fastest: more than FAISS alone
_EXACT: Final = frozenset(_NAMES) - {"faiss-ivf", "faiss-hnsw", "usearch", "hashhub"}
_MIB: Final = 2**20

Row = Mapping[str, Any]


def load(directory: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the rows of all matching results, each with `commit`, `file` and `parameters` of its run."""
    rows = []
    for path in sorted(directory.glob(pattern)):
        document = json.loads(path.read_text("utf-8"))
        about = {"commit": document["commit"], "file": path.name, "parameters": document["parameters"]}
        rows += [{**about, **row} for row in document["rows"]]
    return rows


# Tables


def number(value: object) -> str:
    """Return a figure for people: three significant digits, thousands apart."""
    if value is None or value == "":
        return "-"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """Return a share for people."""
    return "-" if share is None else f"{100 * share:.3g} %"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; nothing when it has no rows."""
    lines = ["| " + " | ".join(cell if isinstance(cell, str) else number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]) if lines else ""


def matchers(directory: Path) -> str:
    """Return a table for each workload and size, at the largest radius measured."""
    rows = load(directory, "matchers-*.json")
    parts = []
    for workload, n in sorted({(r["workload"], r["n"]) for r in rows}):
        here = [r for r in rows if (r["workload"], r["n"]) == (workload, n)]
        radius = max((r["max_distance"] for r in here if "max_distance" in r), default=0)
        shown = [r for r in here if r.get("max_distance", radius) == radius]
        head = (
            "engine", "recall", "p50 µs", "p99 µs", "queries/s, one core", "all cores", "build s", "resident MiB",
            "on disk MiB",
            "add ms", "withdraw ms", "open ms", "p50 against ours",
        )  # fmt: skip
        lines: list[list[object]] = []
        for r in shown:
            name = _NAMES.get(r["engine"], r["engine"])
            name = f"**{name}**" if r["engine"] == _OURS else name
            if "failed" in r:
                lines.append([name, r["failed"], *[""] * (len(head) - 2)])
                continue
            lines.append(
                [name, r["recall"], r["p50_us"], r["p99_us"], r["qps_one"], r["qps_all"], r["build_s"], r["memory_mib"],
                 _disk_mib(r), r["add_ms"], r["withdraw_ms"], r["open_ms"], _times(r, shown)]
            )  # fmt: skip
        parts.append(f"**{workload}, n = {n:,}, radius {radius}**\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def _disk_mib(row: Row) -> float | None:
    found = row.get("disk_bytes")
    return None if found is None else found / _MIB


def _times(row: Row, rows: Sequence[Row]) -> str:
    ours = next((r for r in rows if r["engine"] == _OURS and "p50_us" in r), None)
    return f"{row['p50_us'] / ours['p50_us']:.1f}x" if ours else "-"


def radii(directory: Path) -> str:
    """Return our latencies by radius."""
    rows = [r for r in load(directory, "matchers-*.json") if r["engine"] == _OURS and "p50_us" in r]
    rows.sort(key=lambda r: (r["workload"], r["n"], r["max_distance"]))
    head = (
        "workload",
        "n",
        "radius",
        "matches per query",
        "recall",
        "p50 µs",
        "p99 µs",
        "p99 / p50",
        "queries/s, one core",
    )
    return table(
        head,
        [
            [r["workload"], f"{r['n']:,}", str(r["max_distance"]), r["matches"] / r["queries"], r["recall"],
             r["p50_us"],
             r["p99_us"], r["p99_us"] / r["p50_us"], r["qps_one"]]
            for r in rows
        ],
    )  # fmt: skip


def targets(directory: Path) -> str:
    """Return the figures to reach beside what was measured: uniform digests, radius 31."""
    rows = [r for r in load(directory, "matchers-uniform-*.json") if r.get("max_distance") == 31 and "p50_us" in r]
    sizes = (1_000_000, 10_000_000, 100_000_000)
    ours = {n: next((r for r in rows if r["n"] == n and r["engine"] == _OURS), None) for n in sizes}
    if not any(ours.values()):
        return ""

    def peers(n: int, names: Collection[str]) -> float | None:
        """Return how many times our time the fastest of these needs; nothing where only some of them could be called
        the fastest.
        """
        at_n = [r for r in rows if r["n"] == n and r["engine"] in names]
        if len(at_n) < min(len(names), _ENOUGH):
            return None
        found = [r["p50_us"] for r in at_n if r["recall"] == 1]
        mine = ours[n]
        return min(found) / mine["p50_us"] if found and mine else None

    def line(name: str, want: Sequence[str], got: Callable[[Row, int], float | None], suffix: str = "") -> list[object]:
        cells: list[object] = [name]
        for n, target in zip(sizes, want, strict=True):
            mine = ours[n]
            value = got(mine, n) if mine else None
            cells.append(f"{target} · **{number(value)}{suffix}**" if value is not None else f"{target} · -")
        return cells

    def on_disk(row: Row, _: int) -> float | None:
        found = _disk_mib(row)
        return None if found is None else found / 1024

    lines = [
        line("p50 of one query, µs", ("≤ 30", "≤ 100", "≤ 900"), lambda r, _: r["p50_us"]),
        line("p99 / p50", ("≤ 3",) * 3, lambda r, _: r["p99_us"] / r["p50_us"]),
        line("recall", ("1",) * 3, lambda r, _: r["recall"]),
        line("against FAISS BinaryFlat", ("≥ 35x", "≥ 300x", "≥ 350x"), lambda _, n: peers(n, ["faiss-flat"]), "x"),
        line("against the fastest exact peer", ("≥ 10x", "≥ 30x", "-"), lambda _, n: peers(n, _EXACT), "x"),
        line("memory with every page of the index in it, GiB", ("-", "≤ 1.4", "≤ 11"), on_disk),
        line("memory that these queries touched, GiB", ("-",) * 3, lambda r, _: r["memory_mib"] / 1024),
        line("build, two cores, s", ("≤ 1", "≤ 8", "≤ 100"), lambda r, _: r["build_s"]),
        line("open a snapshot, ms", ("≤ 50", "≤ 100", "≤ 500"), lambda r, _: r["open_ms"]),
        line("add one, ms", ("≤ 1",) * 3, lambda r, _: r["add_ms"]),
        line("withdraw one, ms", ("≤ 1",) * 3, lambda r, _: r["withdraw_ms"]),
    ]
    return table(("target · **measured**", "1 M", "10 M", "100 M"), lines)


def imports(directory: Path) -> str:
    """Return the table of imports."""
    rows = load(directory, "imports*.json")
    head = (
        "database", "records", "entries", "entries/s", "bare driver", "send s", "commit s", "until matchable ms",
        "server peak beyond the index MiB", "client peak MiB",
    )  # fmt: skip
    return table(
        head,
        [
            [r["database"], "MD5, SHA1" + ", PhotoDNA" * (r["variant"] == "mixed"), f"{r['entries']:,}",
             r["entries_per_second"],
             r["bare_entries_per_second"], r["sending_seconds"], r["commit_seconds"],
             r["until_matchable_seconds"] * 1e3,
             r["server_beyond_index_mib"], r["client_peak_mib"]]
            for r in rows
        ],
    )  # fmt: skip


def exports(directory: Path) -> str:
    """Return the table of exports."""
    rows = load(directory, "exports*.json")
    head = (
        "format", "entries", "written", "entries/s", "CPU of the client µs an entry", "CPU of the server µs an entry",
        "client peak MiB", "bytes each",
    )  # fmt: skip
    return table(
        head,
        [
            [r["format"], f"{r['taken']:,}", f"{r['written']:,}", r["entries_per_second"],
             r["client_cpu"] / r["taken"] * 1e6, r["server_cpu"] / r["taken"] * 1e6, r["client_peak_mib"],
             r["bytes"] / max(1, r["written"])]
            for r in rows
        ],
    )  # fmt: skip


def reconcile(directory: Path) -> str:
    """Return the tables of the extract and of overlap."""
    rows = load(directory, "reconcile.json")
    extracts = table(
        ("extract", "entries", "files written", "seconds", "CPU seconds", "entries/s", "peak MiB"),
        [
            [r["what"], f"{r['entries']:,}", r["files_written"], r["seconds"], r["cpu_seconds"],
             r["entries_per_second"], r["peak_mib"]]
            for r in rows if "files_written" in r
        ],
    )  # fmt: skip
    overlaps = table(
        ("overlap", "hash sets", "entries in each", "seconds", "CPU seconds", "peak MiB", "seconds of the runs"),
        [
            [r["what"], r["sets"], f"{r['entries_each']:,}", r["seconds"], r["cpu_seconds"], r["peak_mib"],
             ", ".join(map(str, r["seconds_of_runs"]))]
            for r in rows if "sets" in r
        ],
    )  # fmt: skip
    return f"{extracts}\n\n{overlaps}"


def agreement(directory: Path) -> str:
    """Return the table of agreement."""
    rows = load(directory, "agreement.json")
    return table(
        ("entries", "items of several", "seconds", "CPU seconds", "peak MiB", "of it reading the items, s"),
        [
            [f"{r['entries']:,}", f"{r['shared_items']:,}", r["seconds"], r["cpu_seconds"], r["peak_mib"],
             r["steps"]["items"]]
            for r in rows
        ],
    )  # fmt: skip


def overhead(directory: Path) -> str:
    """Return what the server adds, and import times."""
    rows = load(directory, "overhead*.json")
    head = (
        "index", "100 queries", "matcher ms", "server ms", "server adds ms", "gRPC alone ms", "hub adds ms",
        "back to back: matcher ms", "server ms",
        "gRPC alone ms", "with grpc's client ms", "with hashhub's client ms",
    )  # fmt: skip
    text = table(
        head,
        [
            [f"{r['n']:,}", r["mix"], r["matcher_ms"], r["server_ms"], r["server_adds_ms"], r["echo_ms"],
             r["hub_adds_ms"], r["matcher_alone_ms"],
             r["server_alone_ms"], r["echo_alone_ms"], r["grpc_client_alone_ms"], r["typed_client_alone_ms"]]
            for r in rows
        ],
    )  # fmt: skip
    if rows:
        times = rows[-1]["parameters"]["imports"]
        text += "\n\n" + _wrapped(
            f"`import hashhub` takes {times['import_hashhub_seconds'] * 1e3:.0f} ms beyond Python's own start and "
            f"loads, of the heavy modules, {times['heavy_modules_loaded_by_hashhub']}; `import hashhub.client` takes "
            f"{times['import_client_seconds'] * 1e3:.0f} ms."
        )
    return text


def terms(directory: Path) -> str:
    """Return what authorisation and terms add to an answer."""
    rows = load(directory, "terms*.json")
    return table(
        ("query", "entries hit", "with terms µs", "without µs", "terms add µs"),
        [[r["query"], str(r["entries"]), r["with_terms_us"], r["without_us"], r["terms_add_us"]] for r in rows],
    )


def mirror(directory: Path) -> str:
    """Return how fast a local copy takes a hub in, and how soon changed terms hold."""
    rows = load(directory, "mirror*.json")
    head = (
        "entries", "first copy s", "entries/s", "CPU of the server s", "CPU of the copy s", "1,000 withdrawals s",
        "a list of 1,000 s",
        "changed terms hold in every worker after ms", "slowest look-up meanwhile ms",
    )  # fmt: skip
    return table(
        head,
        [
            [f"{r['entries']:,}", r["first_seconds"], r["entries_per_second"], r["first_server_cpu_seconds"],
             r["first_copy_cpu_seconds"],
             r["changes_seconds"], r["list_seconds"], r["terms_worker_seconds"] * 1e3,
             r["terms_slowest_lookup_seconds"] * 1e3]
            for r in rows
        ],
    )  # fmt: skip


def hook_local(directory: Path) -> str:
    """Return what local mode costs a hook: the copy, and a decision by it."""
    rows = load(directory, "hook_local*.json")
    copies = table(
        ("entries", "first sync s", "CPU of the hub s", "CPU of the sync s", "1,000 listed: until matchable s",
         "1,000 withdrawn: until gone s"),
        [
            [f"{r['sync_entries']:,}", r["sync_first_seconds"], r["sync_first_hub_cpu_seconds"],
             r["sync_first_own_cpu_seconds"], r["sync_listed_seconds"], r["sync_withdrawn_seconds"]]
            for r in rows
            if "sync_entries" in r
        ],
    )  # fmt: skip
    decisions = table(
        ("digests", "index from the copy s", "opened s", "nothing near ms (p50)", "p99", "an entry hit ms (p50)", "p99",
         "memory of a process MiB", "with mapped files MiB"),
        [
            [f"{r['decide_digests']:,}", r["decide_index_seconds"], r["decide_open_seconds"], r["decide_miss_p50_ms"],
             r["decide_miss_p99_ms"], r["decide_hit_p50_ms"], r["decide_hit_p99_ms"], r["decide_private_mib"],
             r["decide_resident_mib"]]
            for r in rows
            if "decide_digests" in r
        ],
    )  # fmt: skip
    return f"{copies}\n\n{decisions}"


def adversaries(directory: Path) -> str:
    """Return how many random sequences of each character were played, and how many brought about what must not be."""
    rows = load(directory, "adversaries*.json")
    return table(
        ("character", "sequences", "steps", "failed", "sequences/s"),
        [
            [r["character"], f"{r['sequences']:,}", f"{r['steps']:,}", str(r["failed"]), r["sequences_per_second"]]
            for r in rows
        ],
    )


def day(directory: Path) -> str:
    """Return what events of an ordinary day did and do now."""
    text = ""
    for path in sorted(directory.glob("day*.json")):
        document = json.loads(path.read_text("utf-8"))
        parameters = document["parameters"]
        head = ("what happens", "what it did", "what it does now", "command")
        lines = [
            [line.happens, line.did, line.does, "; ".join(f"`{command}`" for command in line.commands)]
            for line in day_table.lines(parameters, document["rows"])
        ]
        about = f"{parameters['entries']:,} entries, {parameters['database']}, {parameters['workers']} workers"
        text += f"\n\n**{about}**\n\n{table(head, lines)}"
    return text.strip()


def server(directory: Path) -> str:
    """Return the table of the running server."""
    rows = load(directory, "server*.json")
    head = (
        "entries", "workers", "calls", "offered/s", "answered/s", "hashes/s", "p50 ms", "p99 ms", "errors",
        "server, cores",
        "generator, cores", "server MiB",
    )  # fmt: skip
    text = table(
        head,
        [
            [f"{r['n']:,}", str(r["workers"]), r["calls"], r.get("offered") or "all it takes", r["calls_per_second"],
             r["hashes_per_second"],
             r.get("p50_ms"), r.get("p99_ms"), percent(r.get("errors")), r.get("server_cores"),
             r.get("generator_cores"), r["server_mib"]]
            for r in rows
        ],
    )  # fmt: skip
    filled = {f"{r['n']:,} entries in {number(r['parameters']['fill_seconds'])} s" for r in rows}
    return f"{text}\n\nWritten through the store, snapshot included: {', '.join(sorted(filled))}." if rows else ""


def false_positives(directory: Path) -> str:
    """Return false-positive rates: a line for each radius, a column for each list."""
    rows = load(directory, "false-positives.json")
    lists = sorted({(r["n"], r["pictures"]) for r in rows}, key=lambda x: (x[0], -x[1]))
    pictures = max((p for _, p in lists), default=0)
    head = [f"{n:,}" + ", padding alone" * (not p) + ", padded" * (0 < p < n) for n, p in lists]
    lines = []
    for algorithm, radius in dict.fromkeys((r["algorithm"], r["max_distance"]) for r in rows):
        at = {(r["n"], r["pictures"]): r for r in rows if (r["algorithm"], r["max_distance"]) == (algorithm, radius)}
        lines.append([algorithm, str(radius), *(_rate(at[one]) if one in at else "-" for one in lists)])
    text = table(("algorithm", "radius", *head), lines)
    return f"{text}\n\nThere were {pictures:,} pictures to list; others asked." if lines else ""


def _rate(row: Row) -> str:
    rate = percent(row["false_positive_rate"]) if row["queries_matched"] else "none"
    text = f"{rate} (< {percent(row['below'])})"
    if row["expected_below"] is not None:
        text += f"; by pairs {percent(row['expected_from_pairs'])} (< {percent(row['expected_below'])})"
    return text


def alterations(directory: Path) -> str:
    """Return the recall on altered pictures."""
    head = ("alteration", "found", "found, turned", "median distance", "95th percentile")
    return table(
        head,
        [
            [r["alteration"], percent(r["found"]), percent(r["found_turned"]), r["median_distance"], r["p95_distance"]]
            for r in load(directory, "alterations.json")
        ],
    )


def video(directory: Path) -> str:
    """Return how fast a video becomes hashes."""
    head = ("what", "minutes", "frames", "CPU s", "times real time", "compared", "largest distance")
    rows = []
    for path in sorted([*directory.glob("video.json"), *directory.glob("video-vpdq.json")]):
        seconds = json.loads(path.read_text("utf-8"))["parameters"]["seconds"]
        rows += [
            [r["what"], str(round(seconds / 60)), str(r["frames"]), str(r["cpu_s"]), str(r["times_real_time"]),
             str(r.get("compared", "-")), str(r.get("max_distance", "-"))]
            for r in load(directory, path.name)
        ]  # fmt: skip
    hashed = table(head, rows)
    matching = table(
        ("600 frames that are", "frames in the index", "hits", "p50, ms", "longest, ms", "CPU p50, ms"),
        [
            [
                r["query"],
                f"{r['frames']:,}",
                str(r["hits"]),
                *(number(r[c]) for c in ("p50_ms", "max_ms", "cpu_p50_ms")),
            ]
            for r in load(directory, "video-matching.json")
        ],
    )
    return "\n\n".join(filter(None, (hashed, matching)))


def live(directory: Path) -> str:
    """Return how soon frames of live streams are answered."""
    return table(
        ("frames", "streams", "a second each", "answered", "unanswered", "p50, ms", "p99, ms", "cores of the hub"),
        [
            [r["kind"], str(r["streams"]), str(r["rate"]), str(r["frames"]), str(r["unanswered"]),
             *(number(r[c]) for c in ("p50_ms", "p99_ms", "hub_cpu"))]
            for r in load(directory, "live.json")
        ],
    )  # fmt: skip


def hashing(directory: Path) -> str:
    """Return what hashing costs by step and size, and how many pictures have the reference's bits."""
    rows = load(directory, "hashing.json")
    sizes = sorted({r["megapixels"] for r in rows})
    costs = table(
        ("step", *(f"{number(size)} Mpx, ms" for size in sizes), *(f"of pdqhash, {number(size)}" for size in sizes)),
        [
            [step, *(_cost(rows, step, size, "cpu_ms") for size in sizes),
             *(_cost(rows, step, size, "of_pdqhash") for size in sizes)]
            for step in dict.fromkeys(r["step"] for r in rows)
        ],
    )  # fmt: skip
    identity = table(
        ("sizes", "pictures", "pixels", "kernels differ", "by NumPy, too", "NumPy differs", "mirrored forms", "differ",
         "by bits at most"),
        [
            [r["sizes"], f"{r['pictures']:,}", f"{r['pixels']:,}", str(r["kernels_differ"]), f"{r['by_numpy']:,}",
             str(r["numpy_differs"]), f"{r['mirrored']:,}", str(r["mirrored_differ"]), str(r["mirrored_bits"])]
            for r in load(directory, "identity.json")
        ],
    )  # fmt: skip
    return "\n\n".join(filter(None, (costs, identity)))


def _cost(rows: Sequence[Row], step: str, megapixels: float, column: str) -> float | None:
    of = [r[column] for r in rows if (r["step"], r["megapixels"]) == (step, megapixels)]
    return of[0] if of else None


def about(directory: Path) -> str:
    """Return which machine, versions and commits the results come from."""
    lines = []
    for path in sorted(directory.glob("*.json")):
        d = json.loads(path.read_text("utf-8"))
        m = d["machine"]
        lines.append(
            [f"`{path.name}`", f"`{d['commit'][:10]}{'+' * d['commit'].endswith('+')}`", d["time"][:16], m["processor"],
             f"{m['cores']} cores, {m['memory_gib']} GiB", str(m["load_before"])]
        )  # fmt: skip
    return table(("result", "commit", "time, UTC", "processor", "machine", "load before"), lines)


# Charts: each returns a figure, or None when there is nothing to show


def draw(directory: Path, charts: Path) -> frozenset[str]:
    """Draw as SVG every chart that there are results for, and return their names; charts of earlier results go."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "hashhub", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    )
    charts.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for name, chart in CHARTS.items():
        path = charts / f"{name}.svg"
        path.unlink(missing_ok=True)
        figure = chart.figure(directory)
        if figure is not None:
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            drawn.add(name)
    return frozenset(drawn)


def _figure(columns: int = 1) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(8.0 if columns == 1 else 11.0, 4.2), layout="constrained")
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))  # beside the lines, not on them


def _uniform(directory: Path) -> list[dict[str, Any]]:
    rows = load(directory, "matchers-uniform*.json")
    return [r for r in rows if r.get("max_distance") == 31 and "p50_us" in r and r["workload"] == "uniform"]


def _one_size(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of the size at which most engines ran, the largest of several."""
    rows = _uniform(directory)
    engines = {n: sum(r["n"] == n for r in rows) for n in {r["n"] for r in rows}}
    chosen = max(engines, key=lambda n: (engines[n], n), default=None)
    return [r for r in rows if r["n"] == chosen]


def _style(engine: str) -> dict[str, Any]:
    colour = list(_NAMES).index(engine)
    ours = engine == _OURS
    return {
        "color": f"C{colour}", "marker": "o", "markersize": 6 if ours else 4, "linewidth": 2.5 if ours else 1.2,
        "linestyle": "-" if ours or engine in _EXACT else "--", "label": _NAMES[engine],
    }  # fmt: skip


def _lines(axes: Any, rows: Sequence[Row], x: str, y: str) -> None:
    for engine in _NAMES:
        points = sorted((r[x], r[y]) for r in rows if r["engine"] == engine)
        if points:
            axes.plot(*zip(*points, strict=True), **_style(engine))


def _latency(directory: Path) -> Any:
    rows = _uniform(directory)
    if len({r["n"] for r in rows}) < 2:
        return None
    figure, axes = _figure()
    _lines(axes, rows, "n", "p50_us")
    axes.set(xscale="log", yscale="log", xlabel="digests", ylabel="p50 of one query, µs",
             title="One query, one core, radius 31, uniform digests (dashed: approximate)")  # fmt: skip
    _legend(axes)
    return figure


def _by_radius(directory: Path) -> Any:
    ours = [r for r in load(directory, "matchers-*.json") if r["engine"] == _OURS and "p50_us" in r]
    series: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for r in ours:
        series.setdefault((r["workload"], r["n"]), []).append((r["max_distance"], r["p50_us"]))
    series = {key: sorted(points) for key, points in series.items() if len(points) > 1}
    if not series:
        return None
    figure, axes = _figure()
    for (workload, n), points in sorted(series.items()):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"{workload}, {n:,}")
    axes.set(yscale="log", xlabel="radius, bits", ylabel="p50 of one query, µs", title="hashhub by radius, one core")
    _legend(axes)
    return figure


def _recall(directory: Path) -> Any:
    rows = _one_size(directory)
    if len(rows) < 2:
        return None
    figure, axes = _figure()
    for r in rows:
        style = {k: v for k, v in _style(r["engine"]).items() if k in {"color", "marker", "label"}}
        axes.plot([r["qps_one"]], [r["recall"]], linestyle="", markersize=9 if r["engine"] == _OURS else 6, **style)
    axes.set(xscale="log", xlabel="queries a second, one core", ylabel="recall", ylim=(0, 1.05),
             title=f"Recall against speed, {rows[0]['n']:,} uniform digests, radius 31")  # fmt: skip
    _legend(axes)
    return figure


def _memory(directory: Path) -> Any:
    rows = _uniform(directory)
    if not rows:
        return None
    figure, axes = _figure()
    _lines(axes, rows, "n", "memory_mib")
    ours = sorted((r["n"], _disk_mib(r)) for r in rows if r["engine"] == _OURS and r.get("disk_bytes"))
    if ours:
        style = {**_style(_OURS), "marker": "s", "linestyle": "-.", "label": "hashhub, every page of its files"}
        axes.plot(*zip(*ours, strict=True), **style)
    sizes = sorted({r["n"] for r in rows})
    axes.plot(sizes, [n * 32 / _MIB for n in sizes], color="grey", linestyle=":", label="the digests alone")
    axes.set(xscale="log", yscale="log", xlabel="digests", ylabel="MiB", title="Memory of the index after the queries")
    _legend(axes)
    return figure


def _throughput(directory: Path) -> Any:
    engines = _one_size(directory)
    served = [
        r for r in load(directory, "server*.json") if r["calls"] in {"single", "batch", "json"} and r["offered"] is None
    ]
    if not engines and not served:
        return None
    figure, panels = _figure(columns=bool(engines) + bool(served))
    left, right = (panels[0], panels[1]) if engines and served else (panels, panels)
    for r in engines:
        left.plot([1, r["parameters"]["cores"]], [r["qps_one"], r["qps_all"]], **_style(r["engine"]))
    if engines:
        left.set(yscale="log", xlabel="cores", ylabel="queries a second, batches",
                 title=f"Engines in process, {engines[0]['n']:,} digests")  # fmt: skip
        left.set_xticks(sorted({1, *(r["parameters"]["cores"] for r in engines)}))
        _legend(left)
    for n, kind in dict.fromkeys((r["n"], r["calls"]) for r in served):
        points = sorted((r["workers"], r["hashes_per_second"]) for r in served if (r["n"], r["calls"]) == (n, kind))
        right.plot(*zip(*points, strict=True), marker="o", label=f"{kind}, {n:,} entries")
    if served:
        right.set(
            yscale="log", xlabel="worker processes", ylabel="hashes a second", title="Server, load on the same cores"
        )
        right.set_xticks(sorted({r["workers"] for r in served}))
        _legend(right)
    return figure


def _false_positives(directory: Path) -> Any:
    rows = [r for r in load(directory, "false-positives.json") if r["pictures"]]
    algorithms = list(dict.fromkeys(r["algorithm"] for r in rows))
    if not rows:
        return None
    figure, panels = _figure(columns=len(algorithms))
    for axes, algorithm in zip(panels if len(algorithms) > 1 else [panels], algorithms, strict=True):
        here = [r for r in rows if r["algorithm"] == algorithm]
        for i, radius in enumerate(dict.fromkeys(r["max_distance"] for r in here)):
            at = sorted((r for r in here if r["max_distance"] == radius), key=lambda r: r["n"])
            seen, none = ([r for r in at if bool(r["queries_matched"]) is matched] for matched in (True, False))
            beyond = [r for r in at if r["expected_from_pairs"]]

            def points(rows: Sequence[Row], y: str, shift: float = 1.08**i) -> tuple[list[float], list[float]]:
                # Side by side where they would hide each other.
                return [r["n"] * shift for r in rows], [r[y] for r in rows]

            colour = {"color": f"C{i}"}
            axes.plot(
                *points(seen, "false_positive_rate"), marker="o", markersize=4, label=f"radius {radius}", **colour
            )
            axes.vlines(
                points(seen, "n")[0], points(seen, "false_positive_rate")[1], points(seen, "below")[1], **colour
            )
            axes.plot(*points(none, "below"), marker="v", fillstyle="none", linestyle="", **colour)
            axes.plot(*points(beyond, "expected_from_pairs"), marker="x", linestyle="", **colour)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="digests in the list",
            ylabel="share of unrelated pictures that match",
            title=algorithm,
        )
        _legend(axes)
    return figure


def _hashing(directory: Path) -> Any:
    rows = [r for r in load(directory, "hashing.json") if r["step"] not in _NOT_CHARTED]
    if not rows:
        return None
    sizes = sorted({r["megapixels"] for r in rows})
    sizes = [size for size in sizes if len([r for r in rows if r["megapixels"] == size]) > _PDQ_STEPS]
    figure, panels = _figure(len(sizes))
    for axes, size in zip([panels] if len(sizes) == 1 else panels, sizes, strict=True):
        here = sorted((r for r in rows if r["megapixels"] == size), key=lambda r: -r["cpu_ms"])
        ours = [r["step"].startswith(("PDQ", "file:")) for r in here]
        axes.barh(
            [r["step"].replace("MD5, SHA-1, SHA-256", "digests") for r in here],
            [r["cpu_ms"] for r in here],
            color=["C0" if own else "C7" for own in ours],
        )
        axes.set(xlabel="CPU ms", title=f"{number(size)} megapixels")
        axes.tick_params(axis="y", labelsize=7)
    return figure


_NOT_CHARTED: Final = frozenset({"PDQ in NumPy", "file: the same, all eight turns"})
_PDQ_STEPS: Final = 3  # where only PDQ was measured


def _day(directory: Path) -> Any:
    rows = load(directory, "day.json")
    if not rows:
        return None
    from matplotlib import pyplot as plt

    series = {row["series"]: row for row in rows if row["kind"] == "series"}
    [published] = [row["published"] for row in rows if row["kind"] == "snapshots"]
    figure, panels = plt.subplots(2, 1, figsize=(13.0, 7.0), layout="constrained", sharex=True, height_ratios=(3, 1))
    for axes, (what, title) in zip(panels, _DAY_PANELS.items(), strict=True):
        one = series[what]
        seconds = [n * one["bin_seconds"] for n in range(len(one["failed"]))]
        gap = float("nan")
        # Probes are so rare that most bins are empty: their points need marks.
        dots = {"marker": ".", "linestyle": ""} if what == "health" else {}
        for name, style in (("max", {"linewidth": 0.6, "alpha": 0.7}), ("median", {"linewidth": 1.0})):
            latencies = [gap if ms is None else ms for ms in one[f"{name}_ms"]]
            axes.plot(seconds, latencies, label=name, **style, **dots)
        failed = [at for at, count in zip(seconds, one["failed"], strict=True) if count]
        if failed:
            axes.plot(
                failed, [0.02] * len(failed), "|", color="red", transform=axes.get_xaxis_transform(), label="failed"
            )
        if published:
            axes.plot(published, [0.06] * len(published), "^", color="black", markersize=4,
                      transform=axes.get_xaxis_transform(), label="snapshot")  # fmt: skip
        axes.set(yscale="log", ylabel="ms", title=title, xmargin=0.005)
        _legend(axes)
    panels[-1].set(xlabel="seconds")
    for number, scene in enumerate(row for row in rows if row["kind"] == "scene"):
        for axes in panels:
            axes.axvspan(scene["begin"], scene["end"], color=f"C{number % 10}", alpha=0.12, linewidth=0)
        middle = (scene["begin"] + scene["end"]) / 2
        panels[0].text(middle, 0.98, scene["label"], rotation=90, fontsize=6.5, ha="center", va="top",
                       transform=panels[0].get_xaxis_transform())  # fmt: skip
    return figure


_DAY_PANELS: Final = {
    "lookups": "One digest looked up every 20 ms by the clock, over four connections, from when it was due",
    "health": "/healthz every 500 ms, over a new connection each time",
}


class Chart(NamedTuple):
    """How a chart is drawn, and what is said about reading it."""

    figure: Callable[[Path], Any]
    reading: str


CHARTS: Final = {
    "latency": Chart(
        _latency,
        "How the time of one query grows with the list: a flat line is a search that does not care about its size.",
    ),
    "recall": Chart(_recall, "Up is what must be found, right is fast: an exact engine lies on the upper edge."),
    "memory": Chart(
        _memory,
        "What a process grew by; mapped files count as far as the queries touched them, so the square is what ours can "
        "grow to.",
    ),
    "throughput": Chart(
        _throughput,
        "Left: batches in process; a flat line is an engine that uses one core. Right: what the server answers, by "
        "worker processes.",
    ),
    "radius": Chart(_by_radius, "What a wider radius costs."),
    "hashing": Chart(
        _hashing,
        'Coloured: this library. "file" begins with the bytes of a JPEG file, the others with its pixels.',
    ),
    "day": Chart(
        _day,
        "Each band is a scene. The lower line is the median of a quarter of a second (more, on a long day), the upper "
        "one the longest; red strokes below are calls that failed, triangles are published snapshots.",
    ),
    "false-positives": Chart(
        _false_positives,
        "Up is bad. A circle is a measured rate with its upper bound; a triangle is the bound where nothing matched; a "
        "cross is what "
        "pairs of real pictures let expect of a list that was padded.",
    ),
}  # fmt: skip


class Section(NamedTuple):
    """One generated part of the README."""

    heading: str
    words: str
    charts: tuple[str, ...]
    body: Callable[[Path], str]


SECTIONS: Final = {
    "targets": Section(
        "## Figures to reach",
        "One core, radius 31, uniform digests; target, then measured.",
        (),
        targets,
    ),
    "matchers": Section(
        "## Matchers",
        """\
Each engine has a process of its own and gets the same distinct digests and the same queries. Four queries of five are
about nothing stored; the others are near a stored digest, half of them at exactly the radius. Recall is against a
comparison with every digest. "FAISS MultiHash … reloaded" was written to a file and read again, which packs its hash
maps. BinaryHNSW, pynear and usearch return nearest neighbours, at most 100 of them, so that large clusters cost them
recall; that is their interface, not a setting. "Resident" is what the process grew by, mapped files as far as the
queries touched them; "on disk" is the saved index, which for ours is also what memory it can come to use.""",
        ("latency", "recall", "memory", "throughput"),
        matchers,
    ),
    "radii": Section("### By radius", "", ("radius",), radii),
    "imports": Section(
        "## Imports",
        """\
One VICS 2.0 file; the time runs from the first byte read to the first match of its last record. The bare driver writes
the same rows, packed and sorted already, into the same tables.""",
        (),
        imports,
    ),
    "exports": Section(
        "## Exports",
        """\
Entries of one hash set through a real server and a real client into a file; a tenth of them for STIX and MISP, whose
objects others' libraries make. Figures to reach: 50,000 entries/s for VICS, tables and lines, 2,000 for STIX and
MISP, in memory that does not grow with the list.""",
        (),
        exports,
    ),
    "reconcile": Section(
        "## Reconciliation",
        """\
Three digests an entry in a store on SQLite, written as an extract; then hash sets of two exact digests an entry, or of
one PDQ digest, seven entries of ten a set's own, the others from a pool that all take from. Each overlap is computed in
a process of its own, the median of several runs; its CPU time and memory include what Python loads. Figures to reach:
100,000 entries/s; exact under 30 s and 2 GB, near under 60 s.""",
        (),
        reconcile,
    ),
    "agreement": Section(
        "## Agreement",
        """\
How far thirty contributors agree about a million items, of which each states some: alpha and its interval, the
consensus of the others, confusion, drift and rows for crosswalks. Synthetic, two digests an entry; each run in a
process of its own, from an extract on the disk. Figures to reach: 60 s and 4 GB.""",
        (),
        agreement,
    ),
    "overhead": Section(
        "## What the server adds",
        """\
The same batches go in turn to the matcher in this process, to a server over a socket, and to a gRPC server that answers
as many bytes and does nothing
else: what gRPC in Python costs whoever uses it. What is left is the hub's own. Back to back, each way alone, everything
finds warmer caches.""",
        (),
        overhead,
    ),
    "terms": Section(
        "## What terms add",
        """\
One query, asked of a hub in this process: its digest is listed by 20 contributors, each in a hash set under terms of
its own; and one that nobody lists. In turn with the checks of authorisation and terms, and with these replaced by
"yes". Figures to reach: under 30 µs, and nothing.""",
        (),
        terms,
    ),
    "mirror": Section(
        "## A local copy, and terms that change",
        """\
A hub with two workers holds one hash set; `hashhub mirror` takes it in, then follows. Then the set's terms are changed
while look-ups go on. Figures to reach for 1 M entries: the first copy under 60 s, 1,000 changes under 1 s, changed
terms in every worker within 1 s.""",
        (),
        mirror,
    ),
    "hook-local": Section(
        "## A hook that decides by itself",
        """\
`hashhub hook sync` from nothing, then followed while a judge in another process is asked: from the hub's answer to an
import and to a withdrawal until the judge knows. Then decisions by hashes over a copy that was written directly, half
MD5 and half PDQ; hashing is not included. Figures to reach: 1 M entries under 60 s, 1,000 changes under 1 s, a decision
by 10 M digests under 1 ms.""",
        (),
        hook_local,
    ),
    "adversaries": Section(
        "## Adversaries",
        """\
Random sequences of what each character can do, each step held against a model of what must not happen: nobody's
statement stops matching or turns clean by another's doing, what is hidden changes no answer, what was withdrawn by hand
stays so. One core.""",
        (),
        adversaries,
    ),
    "day": Section(
        "## An ordinary day",
        """\
One hub takes a list in and takes it again, changed and unchanged; a consumer, a contributor and strangers send it what
a commercial day brings; it is killed in the middle of an update. Lookups by the clock and probes of health go on all
the time; what a scene shows of them is what became of the calls that were due in it. A scene begins whether or not the
hub is still busy with the one before. "What it did" was measured before: two cores, SQLite, one worker. Memory is what
no file stands behind. NONE among answers: the caller left without one.""",
        ("day",),
        day,
    ),
    "server": Section(
        "## The server under load",
        """\
The load generator runs on the same cores as the server; both sides' use of them is given. At fixed rates (offered)
latency counts from when a call was due. Errors are all calls that were not answered OK. "single beside big": while two
batches of 1,000 are always in progress; its hashes/s count both. h2load repeats one request. Memory is of all the hub's
processes, pages that they share counted once.""",
        (),
        server,
    ),
    "false-positives": Section(
        "## False positives",
        """\
Every synthetic picture is another scene and no picture both asks and is listed, so that each match is false. Lists
longer than the pictures at hand are padded with digests of the same statistics. **The padding has fewer near pairs than
pictures have**, as the list of padding alone shows: for padded lists, believe the larger of the measured rate and of
what all pairs of pictures let expect ("by pairs"). In parentheses: what it is below with 95 % confidence; no match
observed is not a rate of zero. Pictures of quality below 50 take no part: hygiene keeps them out of lists.""",
        ("false-positives",),
        false_positives,
    ),
    "alterations": Section(
        "## Altered pictures",
        """\
Share of altered pictures whose PDQ hash lies within 31 bits of the original's, and so is found. Turned: with the
query's rotations and flips, derived from its hash. What cuts, frames or tilts a picture moves a PDQ hash too far, for
every matcher alike.""",
        (),
        alterations,
    ),
    "video": Section(
        "## Video",
        """\
A clip of 1920 x 1080 at 30 frames a second to hashes, on one core; processor time, since others used the machine.
Compared: frames at the same time, with the reference's PDQ of the decoded frame at full size, and with what vPDQ's own
program writes. Below: a queried video of 600 frames against the frames of listed videos, of which some have entries.
Listed: the frames of a listed video, 20 bits of each changed; clip: 60 of these among 540 others, too few for a hit;
intro: nothing but ten frames that all listed videos share.""",
        (),
        video,
    ),
    "live": Section(
        "## Live streams",
        """\
From sending a frame to its answer, over gRPC from another process on the same two cores. Frames beyond what the hub can
do are skipped, the oldest first, and counted as unanswered.""",
        (),
        live,
    ),
    "hashing": Section(
        "## Hashing a picture",
        """\
CPU time of one core for one synthetic photograph, all steps in one run, in turn; beside each, its share of what the
reference (`pdqhash`) takes for PDQ alone. "file" begins with the bytes of a JPEG file, the others with its pixels.
Figures to reach: PDQ at most 5 ns a pixel up to 2 megapixels and 7 above (10, 84 and 336 ms); the whole path of a file
0.6 of `pdqhash`; all eight turns together 1.5 of one. `perception` has OpenCV decode, at lower resolution for pHash.
Below: pictures of all sizes of which hash and quality were compared with the reference's, and how many differed.""",
        ("hashing",),
        hashing,
    ),
    "about": Section("## Where the numbers come from", "", (), about),
}  # fmt: skip


def _wrapped(words: str) -> str:
    """Return a paragraph in lines of at most 120 characters, as in every other page."""
    return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False)


def renew(text: str, directory: Path, drawn: Collection[str]) -> str:
    """Return the README with every section between its markers renewed. `drawn`: the charts that there are."""

    def section(found: re.Match[str]) -> str:
        of = SECTIONS[found[1]]
        pictures = [f"![{c}](charts/{c}.svg)\n\n{_wrapped(CHARTS[c].reading)}" for c in of.charts if c in drawn]
        body = of.body(directory)
        parts = [of.heading, _wrapped(of.words), *pictures, body] if body or pictures else []
        return "\n\n".join([f"<!-- {found[1]} -->", *filter(None, parts), "<!-- end -->"])

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", section, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=result.RESULTS, help="directory of the results")
    parser.add_argument(
        "--out", type=Path, default=_README.parent, help="directory for README.md and charts; default: bench"
    )
    options = parser.parse_args()
    drawn = draw(options.results, options.out / "charts")
    text = renew(_README.read_text("utf-8"), options.results, drawn)
    (options.out / "README.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
