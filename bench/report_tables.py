"""The tables of bench/README.md: each is Markdown, made of the results of a directory; empty without any."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import day_table

OURS: Final = "hashhub"
NAMES: Final = {
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
EXACT: Final = frozenset(NAMES) - {"faiss-ivf", "faiss-hnsw", "usearch", "hashhub"}
MIB: Final = 2**20

Row = Mapping[str, Any]


def load(directory: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the rows of all matching results, each with `commit`, `file` and `parameters` of its run."""
    rows = []
    for path in sorted(directory.glob(pattern)):
        document = json.loads(path.read_text("utf-8"))
        about = {"commit": document["commit"], "file": path.name, "parameters": document["parameters"]}
        rows += [{**about, **row} for row in document["rows"]]
    return rows


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


def wrapped(words: str) -> str:
    """Return a paragraph in lines of at most 120 characters, as in every other page."""
    return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False)


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
            name = NAMES.get(r["engine"], r["engine"])
            name = f"**{name}**" if r["engine"] == OURS else name
            if "failed" in r:
                lines.append([name, r["failed"], *[""] * (len(head) - 2)])
                continue
            lines.append(
                [name, r["recall"], r["p50_us"], r["p99_us"], r["qps_one"], r["qps_all"], r["build_s"], r["memory_mib"],
                 disk_mib(r), r["add_ms"], r["withdraw_ms"], r["open_ms"], _times(r, shown)]
            )  # fmt: skip
        parts.append(f"**{workload}, n = {n:,}, radius {radius}**\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def disk_mib(row: Row) -> float | None:
    found = row.get("disk_bytes")
    return None if found is None else found / MIB


def _times(row: Row, rows: Sequence[Row]) -> str:
    ours = next((r for r in rows if r["engine"] == OURS and "p50_us" in r), None)
    return f"{row['p50_us'] / ours['p50_us']:.1f}x" if ours else "-"


def radii(directory: Path) -> str:
    """Return our latencies by radius."""
    rows = [r for r in load(directory, "matchers-*.json") if r["engine"] == OURS and "p50_us" in r]
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
    ours = {n: next((r for r in rows if r["n"] == n and r["engine"] == OURS), None) for n in sizes}
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
        found = disk_mib(row)
        return None if found is None else found / 1024

    lines = [
        line("p50 of one query, µs", ("≤ 30", "≤ 100", "≤ 900"), lambda r, _: r["p50_us"]),
        line("p99 / p50", ("≤ 3",) * 3, lambda r, _: r["p99_us"] / r["p50_us"]),
        line("recall", ("1",) * 3, lambda r, _: r["recall"]),
        line("against FAISS BinaryFlat", ("≥ 35x", "≥ 300x", "≥ 350x"), lambda _, n: peers(n, ["faiss-flat"]), "x"),
        line("against the fastest exact peer", ("≥ 10x", "≥ 30x", "-"), lambda _, n: peers(n, EXACT), "x"),
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


def updates(directory: Path) -> str:
    """Return the table of lists that come again, and that of hubs that were killed."""
    rows = load(directory, "updates*.json")
    steps = [row for row in rows if "seconds" in row]
    first = {(row["file"], row["database"]): row["seconds"] for row in steps if row["step"] == "import"}
    head = (
        "database", "in the hub before", "list", "entries/s", "time / import's", "commit s", "lookups", "failed",
        "p50 ms", "p99", "longest", "machine stood still: longest ms", "together",
    )  # fmt: skip
    of_steps = table(
        head,
        [
            [r["database"], f"{r['base']:,}", r["step"], r["entries_per_second"],
             r["seconds"] / first[r["file"], r["database"]], r["commit_seconds"], r["lookups"],
             sum(r["lookups_failed"].values()), r["lookup_p50_ms"], r["lookup_p99_ms"], r["lookup_max_ms"],
             r.get("machine_stall_ms"), r.get("machine_stalls_ms")]
            for r in steps
        ],
    )  # fmt: skip
    of_kills = table(
        ("database", "in the hub before", "what was done", "ready again s", "its last entry matches s"),
        [
            [r["database"], f"{r['base']:,}", r["step"], r["ready_seconds"], r["matched_after_seconds"]]
            for r in rows
            if "ready_seconds" in r
        ],
    )
    return "\n\n".join(filter(None, (of_steps, of_kills)))


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
        text += "\n\n" + wrapped(
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
