"""The charts of bench/README.md: each is a figure made of the results of a directory, or None without any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.report_tables import EXACT, MIB, NAMES, OURS, Row, disk_mib, load, number


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
    colour = list(NAMES).index(engine)
    ours = engine == OURS
    return {
        "color": f"C{colour}", "marker": "o", "markersize": 6 if ours else 4, "linewidth": 2.5 if ours else 1.2,
        "linestyle": "-" if ours or engine in EXACT else "--", "label": NAMES[engine],
    }  # fmt: skip


def _lines(axes: Any, rows: Sequence[Row], x: str, y: str) -> None:
    for engine in NAMES:
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
    ours = [r for r in load(directory, "matchers-*.json") if r["engine"] == OURS and "p50_us" in r]
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
        axes.plot([r["qps_one"]], [r["recall"]], linestyle="", markersize=9 if r["engine"] == OURS else 6, **style)
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
    ours = sorted((r["n"], disk_mib(r)) for r in rows if r["engine"] == OURS and r.get("disk_bytes"))
    if ours:
        style = {**_style(OURS), "marker": "s", "linestyle": "-.", "label": "hashhub, every page of its files"}
        axes.plot(*zip(*ours, strict=True), **style)
    sizes = sorted({r["n"] for r in rows})
    axes.plot(sizes, [n * 32 / MIB for n in sizes], color="grey", linestyle=":", label="the digests alone")
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
    for position, scene in enumerate(row for row in rows if row["kind"] == "scene"):
        for axes in panels:
            axes.axvspan(scene["begin"], scene["end"], color=f"C{position % 10}", alpha=0.12, linewidth=0)
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
