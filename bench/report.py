"""Tables and charts of the results: `python -m bench.report` renews bench/README.md and bench/charts from bench/results.

What stands between `<!-- NAME -->` and `<!-- end -->` in the README is written here; the words around it are written by people.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import result

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

Row = Mapping[str, Any]


def load(directory: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the rows of all matching results, each with `machine`, `commit` and `cores` of its run."""
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


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell if isinstance(cell, str) else number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def matchers(directory: Path) -> str:
    """Return a table for each workload and size, at the largest radius measured."""
    rows = load(directory, "matchers-*.json")
    parts = []
    for workload, n in dict.fromkeys((r["workload"], r["n"]) for r in rows):
        here = [r for r in rows if (r["workload"], r["n"]) == (workload, n)]
        radius = max((r["max_distance"] for r in here if "max_distance" in r), default=0)
        shown = [r for r in here if r.get("max_distance", radius) == radius]
        lines: list[list[object]] = []
        for r in shown:
            name = _NAMES.get(r["engine"], r["engine"])
            name = f"**{name}**" if r["engine"] == _OURS else name
            if "failed" in r:
                lines.append([name, r["failed"], *[""] * 10])
                continue
            lines.append(
                [name, r["recall"], r["p50_us"], r["p99_us"], r["qps_one"], r["qps_all"], r["build_s"], r["memory_mib"],
                 r["add_ms"], r["withdraw_ms"], r["open_ms"], _times(r, shown)]
            )  # fmt: skip
        head = (
            "engine", "recall", "p50 µs", "p99 µs", "queries/s, one core", "all cores", "build s", "memory MiB", "add ms",
            "withdraw ms", "open ms", "p50 against ours",
        )  # fmt: skip
        parts.append(f"**{workload}, n = {n:,}, radius {radius}**\n\n{table(head, lines)}")
    return "\n\n".join(parts) or "Not measured."


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
            [r["workload"], f"{r['n']:,}", str(r["max_distance"]), r["matches"] / r["queries"], r["recall"], r["p50_us"],
             r["p99_us"], r["p99_us"] / r["p50_us"], r["qps_one"]]
            for r in rows
        ],
    )  # fmt: skip


def targets(directory: Path) -> str:
    """Return the figures to reach beside what was measured: uniform digests, radius 31."""
    rows = [r for r in load(directory, "matchers-uniform-*.json") if r.get("max_distance") == 31 and "p50_us" in r]
    sizes = (1_000_000, 10_000_000, 100_000_000)
    ours = {n: next((r for r in rows if r["n"] == n and r["engine"] == _OURS), None) for n in sizes}

    def peers(n: int, names: Collection[str]) -> float | None:
        """Return how many times our time the fastest of these needs; nothing where only some of them could be called the fastest."""
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

    lines = [
        line("p50 of one query, µs", ("≤ 30", "≤ 100", "≤ 900"), lambda r, _: r["p50_us"]),
        line("p99 / p50", ("≤ 3",) * 3, lambda r, _: r["p99_us"] / r["p50_us"]),
        line("recall", ("1",) * 3, lambda r, _: r["recall"]),
        line("against FAISS BinaryFlat", ("≥ 35x", "≥ 300x", "≥ 350x"), lambda _, n: peers(n, ["faiss-flat"]), "x"),
        line("against the fastest exact peer", ("≥ 10x", "≥ 30x", "-"), lambda _, n: peers(n, _EXACT), "x"),
        line("memory grown by these queries, GiB", ("-", "≤ 1.4", "≤ 11"), lambda r, _: r["memory_mib"] / 1024),
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
            [r["database"], "MD5, SHA1" + ", PhotoDNA" * (r["variant"] == "mixed"), f"{r['entries']:,}", r["entries_per_second"],
             r["bare_entries_per_second"], r["sending_seconds"], r["commit_seconds"], r["until_matchable_seconds"] * 1e3,
             r["server_beyond_index_mib"], r["client_peak_mib"]]
            for r in rows
        ],
    )  # fmt: skip


def overhead(directory: Path) -> str:
    """Return what the server adds, and import times."""
    rows = load(directory, "overhead*.json")
    head = ("index", "100 queries", "matcher ms", "over gRPC ms", "server adds ms", "typed client ms")
    text = table(
        head,
        [
            [f"{r['n']:,}", r["mix"], r["matcher_ms"], r["grpc_ms"], r["server_adds_ms"], r["typed_client_ms"]]
            for r in rows
        ],
    )
    if rows:
        times = rows[-1]["parameters"]["imports"]
        text += (
            f"\n\n`import hashhub` takes {times['import_hashhub_seconds'] * 1e3:.0f} ms beyond Python's own start and loads, of the "
            f"heavy modules, {times['heavy_modules_loaded_by_hashhub']}; `import hashhub.client` takes "
            f"{times['import_client_seconds'] * 1e3:.0f} ms."
        )
    return text


def server(directory: Path) -> str:
    """Return the table of the running server."""
    rows = load(directory, "server*.json")
    head = (
        "entries", "workers", "calls", "offered/s", "answered/s", "hashes/s", "p50 ms", "p99 ms", "errors", "server, cores",
        "generator, cores", "server MiB",
    )  # fmt: skip
    return table(
        head,
        [
            [f"{r['n']:,}", str(r["workers"]), r["calls"], r.get("offered") or "all it takes", r["calls_per_second"], r["hashes_per_second"],
             r.get("p50_ms"), r.get("p99_ms"), _percent(r.get("errors")), r.get("server_cores"), r.get("generator_cores"), r["server_mib"]]
            for r in rows
        ],
    )  # fmt: skip


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def false_positives(directory: Path) -> str:
    """Return false-positive rates."""
    rows = load(directory, "false-positives.json")
    head = ("algorithm", "radius", "n", "", "pictures that match another", "independent bits would give")
    lines = []
    for r in rows:
        known = r["measured"] or r["false_positive_rate"] > 0
        rate = number(r["false_positive_rate"]) if known else f"0, below {number(r['false_positive_rate_below'])}"
        lines.append(
            [r["algorithm"], str(r["max_distance"]), f"{r['n']:,}", "measured" if r["measured"] else "extrapolated", rate,
             number(r["independent_bits"])]
        )  # fmt: skip
    return table(head, lines)


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


# Charts


def draw(directory: Path, charts: Path) -> None:
    """Draw all charts as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "hashhub", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    )
    charts.mkdir(parents=True, exist_ok=True)
    rows = [r for r in load(directory, "matchers-*.json") if "p50_us" in r]
    at_31 = [r for r in rows if r["max_distance"] == 31]
    uniform = [r for r in at_31 if r["workload"] == "uniform"]
    _latency(uniform, charts / "latency.svg")
    _by_radius(rows, charts / "radius.svg")
    largest = max((r["n"] for r in uniform if r["engine"] == "pynear-mih"), default=0)
    one_size = [r for r in uniform if r["n"] == largest]
    _recall(one_size, charts / "recall.svg")
    _memory(uniform, charts / "memory.svg")
    _throughput(one_size, load(directory, "server*.json"), charts / "throughput.svg")
    _false_positives(load(directory, "false-positives.json"), charts / "false-positives.svg")


def _figure(width: float = 7.0, height: float = 4.2) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


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


def _latency(rows: Sequence[Row], path: Path) -> None:
    figure, axes = _figure()
    _lines(axes, rows, "n", "p50_us")
    axes.set(xscale="log", yscale="log", xlabel="digests", ylabel="p50 of one query, µs",
             title="One query, one core, radius 31, uniform digests (dashed: approximate)")  # fmt: skip
    _legend(axes)
    _save(figure, path)


def _by_radius(rows: Sequence[Row], path: Path) -> None:
    figure, axes = _figure()
    ours = [r for r in rows if r["engine"] == _OURS]
    for workload, n in dict.fromkeys((r["workload"], r["n"]) for r in ours):
        points = sorted((r["max_distance"], r["p50_us"]) for r in ours if (r["workload"], r["n"]) == (workload, n))
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"{workload}, {n:,}")
    axes.set(yscale="log", xlabel="radius, bits", ylabel="p50 of one query, µs", title="hashhub by radius, one core")
    _legend(axes)
    _save(figure, path)


def _recall(rows: Sequence[Row], path: Path) -> None:
    figure, axes = _figure()
    for r in rows:
        style = {k: v for k, v in _style(r["engine"]).items() if k in {"color", "marker", "label"}}
        axes.plot([r["qps_one"]], [r["recall"]], linestyle="", markersize=9 if r["engine"] == _OURS else 6, **style)
    n = rows[0]["n"] if rows else 0
    axes.set(xscale="log", xlabel="queries a second, one core", ylabel="recall", ylim=(0, 1.05),
             title=f"Recall against speed, {n:,} uniform digests, radius 31")  # fmt: skip
    _legend(axes)
    _save(figure, path)


def _memory(rows: Sequence[Row], path: Path) -> None:
    figure, axes = _figure()
    _lines(axes, rows, "n", "memory_mib")
    sizes = sorted({r["n"] for r in rows})
    axes.plot(sizes, [n * 32 / 2**20 for n in sizes], color="grey", linestyle=":", label="the digests alone")
    axes.set(
        xscale="log", yscale="log", xlabel="digests", ylabel="MiB", title="Memory of the index, mapped pages included"
    )
    _legend(axes)
    _save(figure, path)


def _throughput(rows: Sequence[Row], served: Sequence[Row], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for r in rows:
        left.plot([1, r["parameters"]["cores"]], [r["qps_one"], r["qps_all"]], **_style(r["engine"]))
    left.set(yscale="log", xlabel="cores", ylabel="queries a second, batches", title="Engines in process")
    left.set_xticks(sorted({1, *(r["parameters"]["cores"] for r in rows)}))
    _legend(left)
    served = [r for r in served if r["calls"] in {"single", "batch", "json"} and not r["offered"]]
    for n, kind in dict.fromkeys((r["n"], r["calls"]) for r in served):
        points = sorted((r["workers"], r["hashes_per_second"]) for r in served if (r["n"], r["calls"]) == (n, kind))
        right.plot(*zip(*points, strict=True), marker="o", label=f"{kind}, {n:,}")
    right.set(yscale="log", xlabel="worker processes", ylabel="hashes a second", title="Server, load on the same cores")
    right.set_xticks(sorted({r["workers"] for r in served}))
    _legend(right)
    _save(figure, path)


def _false_positives(rows: Sequence[Row], path: Path) -> None:
    figure, axes = _figure()
    for i, (algorithm, radius) in enumerate(dict.fromkeys((r["algorithm"], r["max_distance"]) for r in rows)):
        here = [r for r in rows if (r["algorithm"], r["max_distance"]) == (algorithm, radius)]
        for measured, line in ((True, "-"), (False, ":")):
            points = [
                (r["n"], r["false_positive_rate"])
                for r in here
                if r["measured"] is measured and r["false_positive_rate"] > 0
            ]
            if points:
                label = f"{algorithm}, radius {radius}" + ("" if measured else ", extrapolated")
                axes.plot(
                    *zip(*points, strict=True), color=f"C{i}", linestyle=line, marker="o", markersize=4, label=label
                )
    axes.set(xscale="log", yscale="log", xlabel="pictures in the index", ylabel="share of unrelated pictures that match",
             title="False positives on synthetic pictures (radii that never matched are not shown)")  # fmt: skip
    _legend(axes)
    _save(figure, path)


SECTIONS: Final[dict[str, Callable[[Path], str]]] = {
    "targets": targets,
    "matchers": matchers,
    "radii": radii,
    "imports": imports,
    "overhead": overhead,
    "server": server,
    "false-positives": false_positives,
    "about": about,
}


def renew(text: str, directory: Path) -> str:
    """Return the README with every section between its markers renewed."""

    def section(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n\n{SECTIONS[found[1]](directory)}\n\n<!-- end -->"

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", section, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=result.RESULTS, help="directory of the results")
    parser.add_argument("--readme", type=Path, default=_README, help="file to renew")
    parser.add_argument("--charts", type=Path, default=_CHARTS, help="directory for the charts")
    options = parser.parse_args()
    options.readme.write_text(renew(options.readme.read_text("utf-8"), options.results), "utf-8")
    draw(options.results, options.charts)


if __name__ == "__main__":
    main()
