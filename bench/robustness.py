"""How far an upload may be from what is listed and still be found, at which effort, and what that costs in mistakes.

    python -m bench.robustness --count 200 --uploads 2000 --listed 20000 --n 10000000

Four questions, all about synthetic pictures that no tuning has seen (`tests.screens` names templates for
either half, and the seeds are apart):

- recall: each picture is altered in each way and strength, and asked about as it comes (PLAIN), with its border removed
  and its content box (STANDARD), and with windows where those miss (THOROUGH). Found: any of its PDQ digests within 31
  bits of the listed picture's; pHash and dHash within 10, of the picture as it comes.
- unrelated: all digests of uploads, variants included, against those of other pictures, and against a list that is
  padded to its length; hits of pictures and of padding are told apart.
- the same screen: different photographs in the same template with the very same words, buttons and colours around them,
  where the photograph is listed, and where another screenshot is.
- cost: CPU time of each effort on top of hashing the picture plainly.

The figures go to bench/results; docs/match/variants.md has those that a reader needs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from bench import result, workloads
from hashhub.hashing import compiled, perceptual, variants
from hashhub.hashing.pdq import compute
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.testing.pictures import picture
from tests import screens

_Digests = NDArray[np.uint8]
_Picture = Image.Image

_MEASURING_SEED: Final = 40_000_000
_TUNING_SEED: Final = 41_000_000
_UPLOAD_SEED: Final = 42_000_000
_LISTED_SEED: Final = 43_000_000
_TEMPLATE_SEED: Final = 46_000_000
_SIZES: Final = ((512, 384), (384, 512), (640, 480), (560, 420))
_SMALL: Final = (128, 96)  # of pictures that are only to be unlike one another
_UPRIGHT: Final = (False, False)
_EFFORTS: Final = ("PLAIN", "STANDARD", "THOROUGH")
_WITHIN: Final = {"PDQ": 31, "PHASH": 10, "DHASH": 10}
_DEVIATIONS: Final = 1.96  # of the normal distribution: 95 % lie within
_PIECE: Final = 64  # pictures that a process does at a time
_THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


# ----------------------------------------------------------------------------------------------------------------------
# What is done to pictures


def _border(share: float, original: _Picture, rng: Random) -> _Picture:
    edge = max(1, round(min(original.size) * share))
    colour = rng.choice([(255, 255, 255), (0, 0, 0), (rng.randrange(256), rng.randrange(256), rng.randrange(256))])
    framed = Image.new("RGB", (original.width + 2 * edge, original.height + 2 * edge), colour)
    framed.paste(original, (edge, edge))
    return screens.saved(framed, rng.choice([60, 80, 95]))


def _bars(share: float, original: _Picture, rng: Random) -> _Picture:
    """Bars above and below, or at the sides, each `share` of the height or width."""
    down = rng.random() < 0.5
    bar = round((original.height if down else original.width) * share)
    size = (original.width, original.height + 2 * bar) if down else (original.width + 2 * bar, original.height)
    framed = Image.new("RGB", size, rng.choice([(0, 0, 0), (0, 0, 0), (16, 16, 16), (255, 255, 255)]))
    framed.paste(original, (0, bar) if down else (bar, 0))
    return screens.saved(framed, rng.choice([60, 80, 95]))


def cut(left: float, top: float, right: float, bottom: float, original: _Picture) -> _Picture:
    """Return the picture without these shares of its width and height."""
    width, height = original.size
    return original.crop((round(left * width), round(top * height), width - round(right * width),
                          height - round(bottom * height)))  # fmt: skip


def _crop(share: float, original: _Picture, _: Random) -> _Picture:
    return cut(share, share, share, share, original)


def _crop_unevenly(share: float, original: _Picture, rng: Random) -> _Picture:
    left, top, right, bottom = (rng.uniform(0, 2 * share) for _ in range(4))
    return cut(left, top, right, bottom, original)


def _crop_one(share: float, original: _Picture, rng: Random) -> _Picture:
    side = rng.randrange(4)
    left, top, right, bottom = (share if i == side else 0.0 for i in range(4))
    return cut(left, top, right, bottom, original)


def _aspect(share: float, original: _Picture, _: Random) -> _Picture:
    """Cut both ends of the longer side."""
    wide = original.width > original.height
    return cut(share * wide, share * (not wide), share * wide, share * (not wide), original)


def _jpeg(quality: float, original: _Picture, _: Random) -> _Picture:
    return screens.saved(original, round(quality))


def _resize(factor: float, original: _Picture, _: Random) -> _Picture:
    return original.resize((round(original.width * factor), round(original.height * factor)))


def _blur(radius: float, original: _Picture, _: Random) -> _Picture:
    return original.filter(ImageFilter.GaussianBlur(radius * max(original.size) / 1000))


def _brightness(factor: float, original: _Picture, _: Random) -> _Picture:
    return ImageEnhance.Brightness(original).enhance(factor)


def _tilt(degrees: float, original: _Picture, rng: Random) -> _Picture:
    return original.rotate(rng.choice([-1, 1]) * degrees, Image.Resampling.BICUBIC)


def _cropped_on_a_phone(share: float, original: _Picture, rng: Random) -> _Picture:
    return screens.phone_gallery(_crop(share, original, rng), rng)


_Alter = Callable[[float, _Picture, Random], _Picture]

# By name: what is done, its strengths, and whether the altered picture is the one that is listed.
STRENGTHS: Final[dict[str, tuple[_Alter, tuple[float, ...], bool]]] = {
    "border": (_border, (0.01, 0.03, 0.06, 0.12, 0.25), False),
    "letterbox": (_bars, (0.03, 0.08, 0.16, 0.33), False),
    "crop a side": (_crop, (0.01, 0.02, 0.03, 0.04, 0.05, 0.1), False),
    "crop unevenly": (_crop_unevenly, (0.01, 0.02, 0.03), False),
    "crop one side": (_crop_one, (0.03, 0.06, 0.1, 0.15), False),
    "crop to an aspect": (_aspect, (0.03, 0.06, 0.125), False),
    "listed: crop a side": (_crop, (0.03, 0.05, 0.1), True),
    "listed: crop unevenly": (_crop_unevenly, (0.03,), True),
    "listed: crop to an aspect": (_aspect, (0.06, 0.125), True),
    "crop, on a phone": (_cropped_on_a_phone, (0.03,), False),
    "JPEG quality": (_jpeg, (50, 20), False),
    "resize": (_resize, (0.5, 0.25), False),
    "blur": (_blur, (2, 6), False),
    "brightness": (_brightness, (0.7, 1.3), False),
    "tilt": (_tilt, (1, 2), False),
}


def cases() -> Iterator[tuple[str, str, str, Callable[[_Picture, Random], _Picture], bool]]:
    """Yield (half, alteration, strength, what is done, whether the altered picture is the listed one)."""
    for name, (alter, strengths, listed) in STRENGTHS.items():
        for strength in strengths:
            yield "measured", name, f"{strength:g}", partial(alter, strength), listed
    for kind, (tuning, measuring) in screens.KINDS.items():
        for half, templates in (("measured", measuring), ("tuned", tuning)):
            for template, scene in templates.items():
                yield half, kind, template, scene, False


# ----------------------------------------------------------------------------------------------------------------------
# Recall


def pdq(image: _Picture) -> tuple[int, int]:
    """Return (hash, quality)."""
    return compute(np.asarray(image), [_UPRIGHT])[_UPRIGHT]


def _others(image: _Picture) -> tuple[int, int]:
    grey = image.convert("L")
    return tuple(  # type: ignore[return-value] # two of them
        int.from_bytes(np.packbits(of(grey).hash.flatten()).tobytes()) for of in (imagehash.phash, imagehash.dhash)
    )


def nearest(image: _Picture, listed: int, windows: int) -> tuple[int, str]:
    """Return the least distance of an upload's variants, and which that was; (256, "") without any."""
    least = (256, "")
    for derived in variants.derive(image, windows):
        least = min(least, ((int.from_bytes(derived.hash.digest) ^ listed).bit_count(), derived.name))
    return least


def recall_of(number: int) -> list[tuple[int, int, int, int, int]]:
    """Return for each case the distances of one picture: PDQ at each effort, pHash, dHash."""
    rows = []
    size = _SIZES[number % len(_SIZES)]
    for half, name, strength, alter, is_listed in cases():
        rng = Random(f"{number} {name} {strength}")
        original = _original((_MEASURING_SEED if half == "measured" else _TUNING_SEED) + number, size)
        altered = alter(original, rng)
        listed, upload = (altered, original) if is_listed else (original, altered)
        value = pdq(listed)[0]
        plain = (pdq(upload)[0] ^ value).bit_count()
        standard = min(plain, nearest(upload, value, 0)[0])
        thorough = standard
        if standard > _WITHIN["PDQ"]:  # as in a hub: windows after a miss only
            thorough = min(standard, nearest(upload, value, variants.MOST_WINDOWS)[0])
        others = [(a ^ b).bit_count() for a, b in zip(_others(listed), _others(upload), strict=True)]
        rows.append((plain, standard, thorough, others[0], others[1]))
    _ORIGINALS.clear()
    return rows


_ORIGINALS: Final[dict[int, _Picture]] = {}


def _original(seed: int, size: tuple[int, int]) -> _Picture:
    if seed not in _ORIGINALS:
        _ORIGINALS[seed] = picture(seed, size)
    return _ORIGINALS[seed]


def upper_bound(hits: int, queries: int) -> float:
    """Return the upper end of Wilson's interval for a share of which `hits` of `queries` were observed."""
    share, z2 = hits / queries, _DEVIATIONS**2
    spread = _DEVIATIONS * (share * (1 - share) / queries + z2 / (4 * queries**2)) ** 0.5
    return float((share + z2 / (2 * queries) + spread) / (1 + z2 / queries))


def recall(pool: Any, count: int) -> list[dict[str, Any]]:
    measured = np.array(pool.map(recall_of, range(count), chunksize=1))  # (pictures, cases, 5)
    rows: list[dict[str, Any]] = []
    for at, (half, name, strength, _, _) in enumerate(cases()):
        for column, (algorithm, effort) in enumerate(
            [*(("PDQ", effort) for effort in _EFFORTS), ("PHASH", "PLAIN"), ("DHASH", "PLAIN")]
        ):
            distances = measured[:, at, column]
            hits = int((distances <= _WITHIN[algorithm]).sum())
            rows.append(
                {
                    "question": "recall", "half": half, "alteration": name, "strength": strength,
                    "algorithm": algorithm, "effort": effort, "max_distance": _WITHIN[algorithm],
                    "pictures": count, "recall": hits / count, "below": upper_bound(hits, count),
                    "median_distance": float(np.median(distances)), "p95_distance": float(np.percentile(distances, 95)),
                }
            )  # fmt: skip
    return rows


# ----------------------------------------------------------------------------------------------------------------------
# False positives

_WAYS: Final = ("none", *screens.SCENES)


def listed_of(piece: int) -> _Digests:
    """Return the digests of a piece of listed pictures, those of quality."""
    hashes = (pdq(picture(_LISTED_SEED + piece * _PIECE + i, _SMALL)) for i in range(_PIECE))
    return _packed([value for value, quality in hashes if quality >= MIN_PDQ_QUALITY])


def upload_of(number: int) -> tuple[_Digests, list[str]]:
    """Return the digests of an upload and by which variant; every other one is in a border or on a screen."""
    shown = picture(_UPLOAD_SEED + number, _SMALL)
    if number % 2:
        way = _WAYS[1 + number // 2 % (len(_WAYS) - 1)]
        shown = screens.SCENES[way](shown.resize((512, 384)), Random(number))
    value, quality = pdq(shown)
    digests, names = ([value], ["none"]) if quality >= MIN_PDQ_QUALITY else ([], [])
    for derived in variants.derive(shown, variants.MOST_WINDOWS):
        digests.append(int.from_bytes(derived.hash.digest))
        names.append(derived.name)
    return _packed(digests), names


def _packed(values: Sequence[int]) -> _Digests:
    return np.frombuffer(b"".join(value.to_bytes(32) for value in values), np.uint8).reshape(-1, 32)


def unrelated(pool: Any, uploads: int, listed: int, n: int) -> list[dict[str, Any]]:
    """Ask a list of pictures' digests and padding about unrelated uploads."""
    from hashhub.matcher import Matcher

    real = np.concatenate(pool.map(listed_of, range(-(-listed // _PIECE)), chunksize=2))
    asked = pool.map(upload_of, range(uploads), chunksize=8)
    queries = np.concatenate([digests for digests, _ in asked])
    names = np.array([name for _, of_upload in asked for name in of_upload])
    padding = [*workloads.Copula(real).draw(max(0, n - len(real)), np.random.default_rng(result.SEED))]
    rows: list[dict[str, Any]] = []
    for kind, groups in (("pictures", [real]), ("padding", padding)):
        if not sum(map(len, groups)):
            continue
        with Matcher() as matcher:
            matcher.rebuild(1, [("PDQ", group) for group in groups])
            hits = np.diff(matcher.search("PDQ", queries, max_distance=_WITHIN["PDQ"]).lims)
        least = _least(queries, groups[0]) if kind == "pictures" else None
        for name in dict.fromkeys(names):
            of_name = names == name
            count = int(of_name.sum())
            pairs = count * sum(map(len, groups))
            near = int(hits[of_name].sum())
            rows.append(
                {
                    "question": "unrelated", "list": kind, "listed": sum(map(len, groups)), "variant": str(name),
                    "uploads": uploads, "hashes": count, "pairs": pairs,
                    "picture_pairs": uploads * sum(map(len, groups)),
                    "within_31": near, "below": upper_bound(near, pairs),
                    "nearest": None if least is None else int(least[of_name].min()),
                }
            )  # fmt: skip
    return rows


def _least(queries: _Digests, listed: _Digests) -> NDArray[np.int64]:
    """Return the distance from each query to the nearest of the listed, by comparing them all."""
    ours, theirs = (np.ascontiguousarray(digests).view(np.uint64) for digests in (queries, listed))
    least = np.full(len(ours), 256)
    for begin in range(0, len(ours), 256):
        part = ours[begin : begin + 256]
        for start in range(0, len(theirs), 4096):
            other = theirs[start : start + 4096]
            distances = np.zeros((len(part), len(other)), np.uint16)
            for word in range(4):
                distances += np.bitwise_count(part[:, word, None] ^ other[None, :, word])
            least[begin : begin + 256] = np.minimum(least[begin : begin + 256], distances.min(axis=1))
    return least


def same_screen_of(template: str, number: int) -> dict[str, Any]:
    """Return distances between different photographs on the very same screen."""
    scene = screens.SCENES[template]
    words = f"{template} {number}"
    shown = [picture(_TEMPLATE_SEED + 10 * number + i, (512, 384)) for i in range(3)]
    upload, others = shown[0], shown[1:]
    upload_on_screen = scene(upload, Random(words))
    own = pdq(upload_on_screen)[0]
    derived = [
        (int.from_bytes(d.hash.digest), d.name) for d in variants.derive(upload_on_screen, variants.MOST_WINDOWS)
    ]
    answer: dict[str, Any] = {}
    for what, listed in (
        ("original", [pdq(other)[0] for other in others]),
        ("screenshot", [pdq(scene(other, Random(words)))[0] for other in others]),
    ):
        answer[what] = [
            (
                (own ^ value).bit_count(),
                min(((h ^ value).bit_count() for h, name in derived if name in _BOXES), default=256),
                min(((h ^ value).bit_count() for h, name in derived if name not in _BOXES), default=256),
            )
            for value in listed
        ]
    return answer


_BOXES: Final = frozenset({perceptual.BORDER_REMOVED, variants.CONTENT_BOX})


def same_screen(pool: Any, count: int) -> list[dict[str, Any]]:
    names = list(screens.SCENES)
    jobs = [(name, number) for name in names for number in range(count)]
    answers = pool.starmap(same_screen_of, jobs, chunksize=4)
    rows: list[dict[str, Any]] = []
    for name, what in itertools.product(names, ("original", "screenshot")):
        d = np.array([line for (n, _), a in zip(jobs, answers, strict=True) if n == name for line in a[what]])
        within = d <= _WITHIN["PDQ"]
        rows.append(
            {
                "question": "same screen", "template": name, "listed": what, "pairs": len(d),
                "plain_within_31": int(within[:, 0].sum()), "plain_nearest": int(d[:, 0].min()),
                "box_within_31": int((within[:, 1] & ~within[:, 0]).sum()), "box_nearest": int(d[:, 1].min()),
                "window_within_31": int((within[:, 2] & ~within[:, 0]).sum()), "window_nearest": int(d[:, 2].min()),
            }
        )  # fmt: skip
    return rows


# ----------------------------------------------------------------------------------------------------------------------
# Cost


def cost(rounds: int = 25) -> list[dict[str, Any]]:
    """Return the CPU time of a frame's variants, beside PDQ of the frame, both with the kernels if there are any."""
    rows = []
    has_kernels = compiled.load()
    for size in ((640, 480), (1632, 1224), (4000, 3000)):
        base = picture(_MEASURING_SEED, (800, 600))
        for what, shown in (
            ("photograph", base),
            ("bordered", _border(0.06, base, Random(1))),
            ("screen", screens.browser(base, Random(2))),
            ("desktop", screens.desktop(base, Random(2))),
        ):
            image = shown.resize(size, Image.Resampling.BICUBIC)
            works: dict[str, Callable[[], object]] = {
                "pdq_ms": partial(pdq, image),
                "standard_ms": lambda image=image: list(variants.derive(image)),  # type: ignore[misc]
                "thorough_ms": lambda image=image: list(  # type: ignore[misc]
                    variants.derive(image, variants.MOST_WINDOWS)
                ),
            }
            row: dict[str, Any] = {"question": "cost", "width": size[0], "height": size[1], "shown": what,
                                   "kernels": has_kernels}  # fmt: skip
            for name, work in works.items():
                work()
                row[name] = min(_cpu_ms(work) for _ in range(rounds))
            row["hashes_standard"] = len(works["standard_ms"]())  # type: ignore[arg-type]
            row["hashes_thorough"] = len(works["thorough_ms"]())  # type: ignore[arg-type]
            rows.append(row)
    return rows


def _cpu_ms(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e3


_QUESTIONS: Final = ("cost", "same screen", "recall", "unrelated")


def _others_of(path: Path, asked: Sequence[str]) -> list[dict[str, Any]]:
    """Return the figures of an earlier result that are not asked for again."""
    if set(asked) == set(_QUESTIONS) or not path.exists():
        return []
    return [row for row in json.loads(path.read_text("utf-8"))["rows"] if row["question"] not in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="pictures for recall (40)")
    parser.add_argument("--uploads", type=int, default=500, help="unrelated pictures that ask (500)")
    parser.add_argument("--listed", type=int, default=10_000, help="pictures that are listed (10,000)")
    parser.add_argument("--screens", type=int, default=5, help="screens of each template, with three pictures (5)")
    parser.add_argument("--n", type=int, default=1_000_000, help="digests in the padded list (1,000,000)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--questions", default=",".join(_QUESTIONS), help="others keep their figures (all)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/robustness.json")
    options = parser.parse_args()
    path = options.out or result.RESULTS / "robustness.json"
    asked = options.questions.split(",")
    facts = {
        "efforts": _EFFORTS, "max_distances": _WITHIN, "windows": variants.MOST_WINDOWS,
        "count": options.count, "uploads": options.uploads, "listed": options.listed,
        "screens": options.screens, "n": options.n, "questions": asked,
    }  # fmt: skip
    rows = _others_of(path, asked)
    os.environ |= dict.fromkeys(_THREADS, "1")  # of the workers: as in the processes that hash for a hub
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        works: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "cost": partial(pool.apply, cost),
            "same screen": partial(same_screen, pool, options.screens),
            "recall": partial(recall, pool, options.count),
            "unrelated": partial(unrelated, pool, options.uploads, options.listed, options.n),
        }
        for question in asked:
            rows += works[question]()
            result.show([row for row in rows if row["question"] == question])
            result.save(
                "robustness", facts, rows, out=path, packages=("Pillow", "numpy", "imagehash"), seed=_MEASURING_SEED
            )


if __name__ == "__main__":
    main()
