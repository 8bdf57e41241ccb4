"""Synthetic pictures that look natural to a perceptual hash, and what everyday handling does to them.

Hashes of white noise or flat shapes are unlike those of photographs, so these are built as photographs are: light that
varies over the scene, objects of every scale hiding each other ("dead leaves"), 1/f texture, a lens and a sensor.

    picture(7)                                   always the same picture
    ALTERATIONS["jpeg-50"](picture(7), Random(1))

Another Pillow release may move some pixels of the text.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

_Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]

_WORDS: Final = (
    "harbour", "market", "bicycle", "lantern", "orchard", "ferry", "tunnel", "meadow", "pottery", "compass",
)  # fmt: skip


def picture(seed: int, size: tuple[int, int] = (512, 384)) -> Image.Image:
    """Return the RGB picture of this seed; `size` is (width, height), each at least 16. The same seed at another size
    is another picture. One core makes over a hundred a second at 256 x 256.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    palette = _palette(rng)
    scene = _light(rng, palette, size)
    texture = Image.new("L", size, int(rng.integers(10, 90)))  # how much of the texture shows, by place
    if rng.random() < 0.5:
        _ridges(rng, palette, scene, texture)
    _occlude(rng, palette, scene, texture)
    if rng.random() < 0.2:
        _write(rng, scene)
    # Texture is mostly shading, so it moves the three channels together.
    shading = _fractal(rng, size) * np.asarray(texture, dtype=np.int16) // 64
    pixels = np.asarray(scene, dtype=np.int16) + shading[:, :, None]
    taken = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return taken.filter(ImageFilter.BoxBlur(0.3))  # the lens; it also softens the shapes' edges


def _palette(rng: np.random.Generator) -> _Pixels:
    """Return the colours of the scene, int16[6, 3]: muted, of one light, and of every brightness."""
    tint = rng.integers(-30, 31, size=3)
    hues = rng.integers(-60, 61, size=(6, 3)) * rng.uniform(0.2, 1.0, size=(6, 1))
    brightness = rng.permutation(np.linspace(25, 230, 6)).reshape(6, 1)
    return np.clip(brightness + tint + hues, 0, 255).astype(np.int16)


def _light(rng: np.random.Generator, palette: _Pixels, size: tuple[int, int]) -> Image.Image:
    """Return a smooth backdrop: a few of the colours, blended across the picture."""
    grid = palette[rng.integers(0, 3, size=tuple(rng.integers(2, 5, size=2)))]
    return Image.fromarray(grid.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def _fractal(rng: np.random.Generator, size: tuple[int, int]) -> _Pixels:
    """Return 1/f noise, most of it within -64..64, int16[height, width]: a sum of octaves of random grids.

    An octave's contrast falls by 2 ** -falloff as its frequency doubles. With 0 the octaves are alike and the amplitude
    spectrum falls as 1/f, the mean of natural scenes (Field 1987); with more it is smoother. The coarse octaves are
    summed at an eighth of the size and enlarged together, which is most of the speed.
    """
    falloff = rng.uniform(-0.1, 0.5)
    small = (max(4, size[0] // 8), max(4, size[1] // 8))
    coarse, weight = _octaves(rng, small, 3, max(small), 34.0, falloff)
    enlarged = Image.fromarray(np.clip(coarse + 128, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine, _ = _octaves(rng, size, max(small), max(size), weight, falloff)
    return np.asarray(enlarged, dtype=np.int16) - 128 + fine


def _octaves(
    rng: np.random.Generator, size: tuple[int, int], first: int, end: int, weight: float, falloff: float
) -> tuple[_Pixels, float]:
    """Return the sum of the octaves with `first`, `2 * first`, … cells a longer side, and the next weight."""
    width, height = size
    total = np.zeros((height, width), dtype=np.int32)
    cells = first
    while cells < end:
        grid_shape = (max(2, cells * height // max(size)), max(2, cells * width // max(size)))
        octave = Image.fromarray(rng.integers(0, 256, size=grid_shape, dtype=np.uint8))
        values = np.asarray(octave.resize(size, Image.Resampling.BICUBIC), dtype=np.int32)
        total += (values - 128) * round(4 * weight)
        cells, weight = cells * 2, weight * 2.0**-falloff
    return (total // 384).astype(np.int16), weight


def _ridges(rng: np.random.Generator, palette: _Pixels, scene: Image.Image, texture: Image.Image) -> None:
    """Lay hills or roofs one before the other, hazier with distance."""
    width, height = scene.size
    layers = int(rng.integers(1, 5))
    haze, ground = palette[rng.integers(0, 6, size=2)].astype(np.int32)
    steps = 33
    x = np.linspace(0, width - 1, steps)
    stepped = rng.random() < 0.3
    for layer in range(1, layers + 1):
        crest = height * (0.25 + 0.6 * layer / (layers + 1) * rng.uniform(0.8, 1.2))
        walk = np.cumsum(rng.integers(-8, 9, size=steps)) * height * 0.006
        y = crest + (walk - walk.mean()) * rng.uniform(0.4, 1.6)
        if stepped:
            y = np.repeat(y[::3], 3)
        outline = [(round(a), round(b)) for a, b in zip(x, y, strict=True)]
        outline += [(width, height), (0, height)]
        colour = haze + (ground - haze) * layer // layers
        ImageDraw.Draw(scene).polygon(outline, fill=(int(colour[0]), int(colour[1]), int(colour[2])))
        ImageDraw.Draw(texture).polygon(outline, fill=int(rng.integers(20, 130)))


def _occlude(rng: np.random.Generator, palette: _Pixels, scene: Image.Image, texture: Image.Image) -> None:
    """Lay objects over the scene, large ones first; their radii follow a power law, as those in natural images do."""
    side = min(scene.size)
    count = int(rng.integers(5, 22))
    for radius in np.sort(side * 0.05 / np.sqrt(rng.uniform(0.008, 0.9, size=count)))[::-1]:
        reach = max(2, round(radius))
        mask = Image.new("L", (2 * reach, 2 * reach))
        _outline(rng, ImageDraw.Draw(mask), reach)
        left = int(rng.integers(-reach, scene.width - reach + 1))
        top = int(rng.integers(-reach, scene.height - reach + 1))
        # Shaded from corner to corner, as a body in light is.
        shade = palette[rng.integers(0, 6)] + rng.integers(-45, 46, size=(2, 2, 1)) + rng.integers(-15, 16, size=3)
        body = Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)).resize(mask.size, Image.Resampling.BILINEAR)
        scene.paste(body, (left, top), mask)
        texture.paste(int(rng.integers(0, 110)), (left, top, left + mask.width, top + mask.height), mask)


def _outline(rng: np.random.Generator, draw: ImageDraw.ImageDraw, reach: int) -> None:
    """Fill a random outline within the square of side 2 * reach: a blob, a rectangle or an ellipse."""
    turn = rng.uniform(0, math.tau)
    flat = rng.uniform(0.35, 1.0)
    kind = rng.random()
    if kind < 0.5:
        wobble = rng.uniform(0.0, 0.3, size=3)
        phase = rng.uniform(0, math.tau, size=3)
        angles = np.linspace(0, math.tau, 40, endpoint=False)
        length = 1 - sum(wobble[k] * (1 + np.sin((k + 2) * angles + phase[k])) / 2 for k in range(3))
        x, y = length * np.cos(angles), flat * length * np.sin(angles)
    elif kind < 0.7:
        x, y = np.array([-0.7, 0.7, 0.7, -0.7]), flat * np.array([-0.7, -0.7, 0.7, 0.7])
        turn = turn if rng.random() < 0.3 else 0.0  # most of what people build stands upright
    else:
        angles = np.linspace(0, math.tau, 32, endpoint=False)
        x, y = np.cos(angles), flat * np.sin(angles)
    points = np.stack((x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)), axis=1)
    draw.polygon(np.rint(reach + reach * points).ravel().tolist(), fill=255)


def _write(rng: np.random.Generator, scene: Image.Image) -> None:
    """Write a few words somewhere, as signs and captions do."""
    words = " ".join(rng.choice(_WORDS, size=int(rng.integers(1, 4))))
    font = ImageFont.load_default(max(8.0, float(round(min(scene.size) * rng.uniform(0.05, 0.14)))))
    at = (float(rng.integers(0, max(1, scene.width // 2))), float(rng.integers(0, max(1, scene.height * 4 // 5))))
    colour = (235, 235, 225) if rng.random() < 0.5 else (20, 20, 30)
    ImageDraw.Draw(scene).text(at, words, fill=colour, font=font)


# ----------------------------------------------------------------------------------------------------------------------
# Alterations

Alteration: TypeAlias = Callable[[Image.Image, Random], Image.Image]


def _jpeg(original: Image.Image, _: Random, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    original.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


def _resize(original: Image.Image, _: Random, factor: float) -> Image.Image:
    size = (max(1, round(original.width * factor)), max(1, round(original.height * factor)))
    return original.resize(size, Image.Resampling.LANCZOS)


def _crop(original: Image.Image, rng: Random, share: float) -> Image.Image:
    """Cut away `share` of the width and of the height, unevenly at the two ends."""
    width, height = round(original.width * (1 - share)), round(original.height * (1 - share))
    left, top = rng.randint(0, original.width - width), rng.randint(0, original.height - height)
    return original.crop((left, top, left + width, top + height))


def _blur(original: Image.Image, _: Random, radius: float) -> Image.Image:
    """Blur with a radius given in thousandths of the longer side, so that it looks alike at every size."""
    return original.filter(ImageFilter.GaussianBlur(radius * max(original.size) / 1000))


def _border(original: Image.Image, rng: Random) -> Image.Image:
    """Add a frame of one colour, 3 to 6 % of the shorter side."""
    edge = max(1, round(min(original.size) * rng.uniform(0.03, 0.06)))
    framed = Image.new("RGB", (original.width + 2 * edge, original.height + 2 * edge), rng.choice(["white", "black"]))
    framed.paste(original, (edge, edge))
    return framed


def _watermark(original: Image.Image, rng: Random) -> Image.Image:
    """Write half-transparent words near a corner."""
    layer = Image.new("RGBA", original.size)
    font = ImageFont.load_default(max(8.0, float(round(min(original.size) * 0.08))))
    at = (
        original.width * rng.choice([0.04, 0.45]),
        original.height * rng.choice([0.05, 0.85]),
    )
    ImageDraw.Draw(layer).text(at, f"© {rng.choice(_WORDS)}.example", fill=(255, 255, 255, 150), font=font)
    return Image.alpha_composite(original.convert("RGBA"), layer).convert("RGB")


def _brightness(original: Image.Image, _: Random, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(original).enhance(factor)


def _contrast(original: Image.Image, rng: Random) -> Image.Image:
    return ImageEnhance.Contrast(original).enhance(rng.choice([0.75, 1.3]))


def _grey(original: Image.Image, _: Random) -> Image.Image:
    return original.convert("L").convert("RGB")


def _tilt(original: Image.Image, rng: Random, degrees: float) -> Image.Image:
    """Rotate by up to so many degrees either way, keeping the size; the corners turn black."""
    angle = rng.choice([-1, 1]) * rng.uniform(degrees / 2, degrees)
    return original.rotate(angle, Image.Resampling.BICUBIC)


def _turn(original: Image.Image, _: Random, transpose: Image.Transpose) -> Image.Image:
    return original.transpose(transpose)


def _screenshot(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a window: a title bar above, a line of text below, saved as JPEG."""
    bar = max(8, round(original.height * rng.uniform(0.05, 0.08)))
    ground, ink = rng.choice([("white", "black"), ("#202124", "#e8eaed")])
    screen = Image.new("RGB", (original.width, original.height + 2 * bar), ground)
    screen.paste(original, (0, bar))
    draw = ImageDraw.Draw(screen)
    font = ImageFont.load_default(max(8.0, bar * 0.6))
    draw.text((bar * 0.5, bar * 0.15), f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}", fill=ink, font=font)
    draw.text((bar * 0.5, original.height + bar * 1.15), " ".join(rng.sample(_WORDS, 3)), fill=ink, font=font)
    draw.ellipse((screen.width - bar * 0.9, bar * 0.2, screen.width - bar * 0.3, bar * 0.8), fill=ink)
    return _jpeg(screen, rng, quality=85)


ALTERATIONS: Final[dict[str, Alteration]] = {
    "jpeg-90": partial(_jpeg, quality=90),
    "jpeg-50": partial(_jpeg, quality=50),
    "jpeg-20": partial(_jpeg, quality=20),
    "resize-half": partial(_resize, factor=0.5),
    "resize-double": partial(_resize, factor=2.0),
    "crop-3": partial(_crop, share=0.03),
    "crop-10": partial(_crop, share=0.10),
    "blur-light": partial(_blur, radius=2.0),
    "blur-heavy": partial(_blur, radius=6.0),
    "border": _border,
    "watermark": _watermark,
    "brighten": partial(_brightness, factor=1.25),
    "darken": partial(_brightness, factor=0.7),
    "contrast": _contrast,
    "grey": _grey,
    "tilt-2": partial(_tilt, degrees=2.0),
    "rotate-90": partial(_turn, transpose=Image.Transpose.ROTATE_90),
    "rotate-180": partial(_turn, transpose=Image.Transpose.ROTATE_180),
    "rotate-270": partial(_turn, transpose=Image.Transpose.ROTATE_270),
    "flip": partial(_turn, transpose=Image.Transpose.FLIP_LEFT_RIGHT),
    "screenshot": _screenshot,
}
"""What happens to pictures on their way, by name. Each takes an RGB picture and returns a new one; `Random` decides the
rest.
"""
