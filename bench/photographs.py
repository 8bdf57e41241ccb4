"""How many real photographs are found in bars and borders, in dark posts, on stories and under captions.

    python -m bench.photographs

The photographs are wallpapers of free packages of Debian, fetched by name with `apt-get download` into bench/data, and
never committed. What is drawn around them is made here, by a seed: posts in a dark theme with rounded corners, stories
on a gradient, on their mean colour or on their own blur, captions on a bar of one colour. Every scene is saved as JPEG
of quality 80. Found: a PDQ hash of effort STANDARD within 31 bits of the photograph's.

False hits: all those hashes against the PDQ of unrelated pictures, photographs and synthetic ones.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from bench import result
from hashhub.hashing.pdq import compute
from hashhub.hashing.perceptual import pdq_hashes_of
from hashhub.hashing.variants import derive
from hashhub.testing.pictures import picture
from tests import screens

PACKAGES: Final = ("budgie-backgrounds", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds")
_DRAWN: Final = (
    "abstract", "midnight", "saturnian", "Painting", "Infinite-Sea", "analogpattern", "Fossa", "umang", "/desktop/",
)  # fmt: skip
_LEAST_SIDE: Final = 700
_SIDE: Final = 1600  # that photographs are brought to
_QUALITY: Final = 80
_WITHIN: Final = 31
_APART: Final = 60  # bits: two sizes of one wallpaper are one photograph
_UPRIGHT: Final = (False, False)
_TEXT: Final = "today the light was good down by the water and nobody else around so we took our time"
_WORDS: Final = tuple(_TEXT.split())

Scene = Callable[[Image.Image, Random], Image.Image]
_Colour = tuple[int, int, int]


class Photograph(NamedTuple):
    """A photograph and its PDQ."""

    name: str
    shown: Image.Image
    bits: int


def fetched(packages: Sequence[str]) -> Path:
    """Return the directory where the packages are unpacked; those that are not there yet are fetched."""
    for package in packages:
        directory = result.DATA / "photographs" / package
        if not directory.exists():
            directory.mkdir(parents=True)
            subprocess.run(["/usr/bin/apt-get", "download", "-qq", package], cwd=directory, check=True)
            [archive] = directory.glob("*.deb")
            subprocess.run(["/usr/bin/dpkg-deb", "-x", archive.name, "."], cwd=directory, check=True)
    return result.DATA / "photographs"


def photographs(directory: Path) -> list[Photograph]:
    """Return the photographs of a directory, each once, by name."""
    chosen: list[Photograph] = []
    for path in sorted(directory.rglob("*.jpg")):
        if path.is_symlink() or any(word in str(path.relative_to(directory)) for word in _DRAWN):
            continue
        shown = Image.open(path).convert("RGB")
        if min(shown.size) < _LEAST_SIDE:
            continue
        shown.thumbnail((_SIDE, _SIDE))
        bits = _pdq(shown)
        if all((bits ^ other.bits).bit_count() >= _APART for other in chosen):
            chosen.append(Photograph(path.name, shown, bits))
    return chosen


def _pdq(shown: Image.Image) -> int:
    return compute(np.ascontiguousarray(np.asarray(shown)), [_UPRIGHT])[_UPRIGHT][0]


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8.0, float(round(size))))


def _said(rng: Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _any_colour(rng: Random) -> _Colour:
    return rng.randrange(60, 220), rng.randrange(60, 220), rng.randrange(60, 220)


def _fitted(shown: Image.Image, width: float, height: float) -> Image.Image:
    factor = min(width / shown.width, height / shown.height)
    size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
    return shown.resize(size, Image.Resampling.LANCZOS)


def _rounded(size: tuple[int, int], radius: float) -> Image.Image:
    """Return the mask of a rectangle with round corners."""
    width, height = size
    mask = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 4 * radius, fill=255)
    return mask.resize(size, Image.Resampling.LANCZOS)


def dark_post(shown: Image.Image, rng: Random) -> Image.Image:
    """Show the photograph with round corners in a post on a phone's dark screen, other posts below."""
    width = rng.choice([720, 828, 1080])
    height, unit = round(width * rng.choice([1.78, 2.0, 2.16])), width / 36
    ground = rng.choice([(0, 0, 0), (21, 32, 43), (18, 18, 18), (24, 25, 26), (32, 35, 39)])
    ink, dim = (231, 233, 234), (113, 118, 123)
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    draw.text((unit * 1.5, unit * 0.6), f"{rng.randrange(24)}:{rng.randrange(60):02}", fill=ink, font=_font(unit * 1.1))
    y = unit * 3
    draw.ellipse((unit, y, unit * 4, y + unit * 3), fill=_any_colour(rng))
    draw.text((unit * 5, y), _said(rng, 2), fill=ink, font=_font(unit * 1.2))
    draw.text((unit * 5, y + unit * 1.6), f"@{_said(rng, 1)}", fill=dim, font=_font(unit))
    y += unit * 4
    for _ in range(rng.randrange(1, 4)):
        draw.text((unit * 1.2, y), _said(rng, 7)[:38], fill=ink, font=_font(unit * 1.3))
        y += unit * 1.9
    y += unit * 0.6
    left = rng.choice([unit * 1.2, unit * 5])
    fitted = _fitted(shown, width - left - unit * 1.2, height * 0.55)
    mask = _rounded(fitted.size, rng.choice([12, 16, 20, 24, 32]) * width / 1080)
    scene.paste(fitted, (round(left), round(y)), mask)
    y += fitted.height + unit
    for at in range(4):
        x = left + at * (width - left) / 4
        draw.ellipse((x, y, x + unit * 1.1, y + unit * 1.1), outline=dim, width=2)
        draw.text((x + unit * 1.6, y), str(rng.randrange(900)), fill=dim, font=_font(unit))
    y += unit * 3
    draw.line((0, y, width, y), fill=tuple(level + 25 for level in ground), width=2)
    y += unit
    while y < height - unit * 4:
        draw.ellipse((unit, y, unit * 4, y + unit * 3), fill=_any_colour(rng))
        draw.text((unit * 5, y), _said(rng, 3), fill=ink, font=_font(unit * 1.2))
        draw.text((unit * 5, y + unit * 1.7), _said(rng, 6)[:30], fill=ink, font=_font(unit * 1.2))
        y += unit * 5
    return scene


def story(shown: Image.Image, rng: Random) -> Image.Image:
    """Show the photograph on a story: on its own blur, on a gradient, or on its mean colour that gets darker."""
    width = rng.choice([720, 1080])
    height, unit = round(width * 16 / 9), width / 36
    scene = _behind(shown, rng, width, height)
    draw = ImageDraw.Draw(scene)
    fitted = _fitted(shown, width * rng.uniform(0.75, 0.95), height * 0.6)
    x, y = (width - fitted.width) // 2, round((height - fitted.height) * rng.uniform(0.35, 0.55))
    mask = _rounded(fitted.size, rng.choice([0, 16, 28, 40]) * width / 1080) if rng.random() < 0.7 else None
    scene.paste(fitted, (x, y), mask)
    white = (255, 255, 255)
    for at in range(3):
        bar = (unit + at * (width - 2 * unit) / 3, unit, unit + (at + 1) * (width - 2 * unit) / 3 - 6, unit + 4)
        draw.rectangle(bar, fill=white)
    draw.ellipse((unit, unit * 2, unit * 4, unit * 5), fill=_any_colour(rng))
    draw.text((unit * 5, unit * 2.6), _said(rng, 1), fill=white, font=_font(unit * 1.3))
    if rng.random() < 0.6:
        draw.text((width * 0.2, y + fitted.height + unit * 1.5), _said(rng, 4), fill=white, font=_font(unit * 1.6))
    field = (unit * 1.5, height - unit * 4, width - unit * 8, height - unit * 1.3)
    draw.rounded_rectangle(field, unit * 1.3, outline=white, width=2)
    draw.text((unit * 3, height - unit * 3.3), "Send message", fill=(230, 230, 230), font=_font(unit * 1.2))
    return scene


def _behind(shown: Image.Image, rng: Random, width: int, height: int) -> Image.Image:
    kind = rng.choice(["blur", "gradient", "mean"])
    if kind == "blur":
        factor = max(width / shown.width, height / shown.height) * 1.1
        large = shown.resize((round(shown.width * factor), round(shown.height * factor))).crop((0, 0, width, height))
        return large.filter(ImageFilter.GaussianBlur(width / 18)).point([level * 3 // 4 for level in range(256)] * 3)
    above, below = (np.array([rng.randrange(20, 220) for _ in range(3)], np.float64) for _ in range(2))
    if kind == "mean":
        above = np.asarray(shown.resize((1, 1)), np.float64)[0, 0] * 0.8
        below = above / 2
    down = np.linspace(0, 1, height)[:, None, None]
    ground = np.broadcast_to(above * (1 - down) + below * down, (height, width, 3))
    return Image.fromarray(ground.astype(np.uint8))


def caption(shown: Image.Image, rng: Random) -> Image.Image:
    """Write lines on a bar of one colour above the photograph, and sometimes below."""
    width = rng.choice([600, 800, 1080])
    fitted, size = _fitted(shown, width, width * 2), width * rng.uniform(0.045, 0.075)
    ground = rng.choice([(255, 255, 255), (255, 255, 255), (0, 0, 0), (245, 240, 230)])
    ink = (10, 10, 10) if sum(ground) > 0 else (250, 250, 250)
    count, most = rng.randrange(1, 4), int(fitted.width / size * 1.7)
    above, below = round(size * (1.4 * count + 0.9)), round(size * 2.3) if rng.random() < 0.4 else 0
    scene = Image.new("RGB", (fitted.width, fitted.height + above + below), ground)
    draw = ImageDraw.Draw(scene)
    for line in range(count):
        draw.text((size * 0.6, size * (0.5 + 1.4 * line)), _said(rng, 8)[:most], fill=ink, font=_font(size))
    scene.paste(fitted, (0, above))
    if below:
        draw.text((size * 0.6, above + fitted.height + size * 0.5), _said(rng, 5)[:most], fill=ink, font=_font(size))
    return scene


_BARS: Final = ("border", "border-uneven", "letterbox", "pillarbox", "squared", "instant-print")
KINDS: Final[Mapping[str, tuple[Mapping[str, Scene], int, int]]] = {
    "bars and borders": ({name: screens.SCENES[name] for name in _BARS}, 72, 68),
    "screenshots": ({"dark post": dark_post, "story": story}, 42, 36),
    "captions": ({"caption": caption}, 10, 8),
}
"""The scenes of each kind, how many are asked about, and how many of these are to be found."""


def hashes_of(scene: Image.Image) -> list[int]:
    """Return all PDQ hashes that effort STANDARD looks for."""
    own, _ = pdq_hashes_of(np.ascontiguousarray(np.asarray(scene)), is_turned=True)
    every = [*own.values(), *(derived.hash for derived in derive(scene))]
    return [int.from_bytes(value.digest) for value in every]


def measured(shown: Sequence[Photograph], unrelated: int, seed: int) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Return a row for each kind of scene, and how many pairs of unrelated pictures were compared, hit, and how near
    the nearest is.
    """
    rng = Random(seed)
    others = [_pdq(picture(seed + at, (320, 240))) for at in range(unrelated)]
    rows: list[dict[str, object]] = []
    pairs, hits, nearest = 0, 0, 256
    for kind, (scenes, count, target) in KINDS.items():
        asked = list(itertools.product(sorted(scenes), shown))
        rng.shuffle(asked)
        missed = []
        for name, photograph in asked[:count]:
            scene = screens.saved(scenes[name](photograph.shown, Random(f"{name} {photograph.name}")), _QUALITY)
            hashes = hashes_of(scene.convert("RGB"))
            if min((value ^ photograph.bits).bit_count() for value in hashes) > _WITHIN:
                missed.append(f"{name}: {photograph.name}")
            strangers = [*others, *(other.bits for other in shown if other is not photograph)]
            apart = [(value ^ other).bit_count() for value in hashes for other in strangers]
            pairs, hits = pairs + len(apart), hits + sum(bits <= _WITHIN for bits in apart)
            nearest = min(nearest, *apart)
        of = min(count, len(asked))
        rows.append({"kind": kind, "asked": of, "found": of - len(missed), "target": target, "missed": missed})
    return rows, {"pairs": pairs, "within": hits, "nearest": nearest}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="*", default=PACKAGES)
    parser.add_argument("--unrelated", type=int, default=1000, help="synthetic pictures for false hits")
    parser.add_argument("--seed", type=int, default=result.SEED)
    parser.add_argument("--out", type=Path, help="directory for the result")
    options = parser.parse_args(arguments)
    shown = photographs(fetched(options.packages))
    rows, strangers = measured(shown, options.unrelated, options.seed)
    for row in rows:
        print(f"{row['kind']}: {row['found']} of {row['asked']}, to reach {row['target']}; missed: {row['missed']}")
    apart = (
        f"{strangers['within']} of {strangers['pairs']:,} within {_WITHIN}, the nearest {strangers['nearest']} apart"
    )
    print(f"unrelated pairs: {apart}")
    parameters = {"packages": list(options.packages), "photographs": len(shown), "unrelated": options.unrelated}
    out = options.out / "photographs.json" if options.out else None
    result.save("photographs", parameters, [*rows, strangers], out=out, packages=("numpy", "pillow"), seed=options.seed)


if __name__ == "__main__":
    main()
