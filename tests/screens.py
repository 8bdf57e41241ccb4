"""Scenes that people put pictures into before they send them: borders, letterboxes, screenshots, captions.

    SCENES["phone-feed"](picture(7), Random(1))

Each takes an RGB picture and returns a new one that shows it, at about its own size, among things that are drawn as
programs draw them: flat grounds, text, icons, other pictures' thumbnails. `Random` decides measures and colours, so one
scene stands for many. What tunes a search and what measures it must not share templates: `TUNING` and `MEASURING` name
disjoint ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from hashhub.testing.pictures import picture

Scene: TypeAlias = Callable[[Image.Image, Random], Image.Image]
_Colour: TypeAlias = tuple[int, int, int]

_WORDS: Final = (
    "again", "about", "river", "window", "people", "never", "today", "light", "garden", "before", "morning", "paper",
    "summer", "travel", "kitchen", "answer", "little", "street", "yellow", "winter", "always", "please", "thanks",
)  # fmt: skip

_LIGHT: Final[tuple[tuple[_Colour, _Colour, _Colour], ...]] = (  # ground, ink, accent
    ((255, 255, 255), (20, 20, 20), (24, 119, 242)),
    ((250, 250, 250), (38, 38, 38), (237, 73, 86)),
    ((242, 242, 247), (60, 60, 67), (52, 199, 89)),
)
_DARK: Final[tuple[tuple[_Colour, _Colour, _Colour], ...]] = (
    ((0, 0, 0), (230, 230, 230), (29, 155, 240)),
    ((18, 18, 18), (225, 225, 225), (255, 69, 0)),
    ((32, 33, 36), (232, 234, 237), (138, 180, 248)),
)


def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(8.0, float(round(size))))


def _words(rng: Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _lines(draw: ImageDraw.ImageDraw, rng: Random, at: tuple[int, int], width: int, count: int, size: int,
           ink: _Colour) -> None:  # fmt: skip
    """Write lines of text that fill most of the width."""
    font = _font(size)
    for i in range(count):
        text = ""
        goal = width * (rng.uniform(0.3, 0.95) if i == count - 1 else rng.uniform(0.85, 1.0))
        while draw.textlength(text + " " + (word := rng.choice(_WORDS)), font=font) < goal:
            text += " " + word
        draw.text((at[0], at[1] + round(1.4 * size * i)), text.strip(), fill=ink, font=font)


def saved(scene: Image.Image, quality: int) -> Image.Image:
    """Return the scene as JPEG of this quality shows it."""
    buffer = io.BytesIO()
    scene.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


def _kept_as(scene: Image.Image, rng: Random) -> Image.Image:
    """Return the scene as it is (PNG) or as JPEG of some quality."""
    return scene if rng.random() < 0.4 else saved(scene, rng.choice([60, 75, 85, 92]))


def _fitted(original: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture scaled to fit within these measures."""
    factor = min(width / original.width, height / original.height)
    size = (max(1, round(original.width * factor)), max(1, round(original.height * factor)))
    return original.resize(size, Image.Resampling.BICUBIC)


def _theme(rng: Random) -> tuple[_Colour, _Colour, _Colour]:
    return rng.choice(_LIGHT if rng.random() < 0.5 else _DARK)


def _framed(original: Image.Image, edges: tuple[int, int, int, int], colour: _Colour) -> Image.Image:
    left, top, right, bottom = edges
    framed = Image.new("RGB", (original.width + left + right, original.height + top + bottom), colour)
    framed.paste(original, (left, top))
    return framed


# ----------------------------------------------------------------------------------------------------------------------
# Borders and bars


def border(original: Image.Image, rng: Random, *, share: float = 0.06) -> Image.Image:
    """Add a border of one width, `share` of the shorter side."""
    edge = max(1, round(min(original.size) * share * rng.uniform(0.7, 1.3)))
    colour = rng.choice([(255, 255, 255), (0, 0, 0)])
    return _kept_as(_framed(original, (edge,) * 4, colour), rng)


def uneven_border(original: Image.Image, rng: Random) -> Image.Image:
    """Add a border of another width on each side, of any colour."""
    side = min(original.size)
    left, top, right, bottom = (max(1, round(side * rng.uniform(0.02, 0.15))) for _ in range(4))
    colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
    return _kept_as(_framed(original, (left, top, right, bottom), colour), rng)


def instant_print(original: Image.Image, rng: Random) -> Image.Image:
    """Lay the picture on the paper of an instant camera: not quite white, broad below."""
    side = min(original.size)
    edge, below = round(side * rng.uniform(0.04, 0.07)), round(side * rng.uniform(0.18, 0.25))
    paper = rng.choice([(250, 248, 240), (236, 233, 226), (245, 245, 247)])
    return saved(_framed(original, (edge, edge, edge, below), paper), rng.choice([70, 85]))


def letterbox(original: Image.Image, rng: Random) -> Image.Image:
    """Lay bars above and below."""
    bar = round(original.height * rng.uniform(0.08, 0.3))
    colour = rng.choice([(0, 0, 0), (0, 0, 0), (16, 16, 16), (255, 255, 255)])
    return _kept_as(_framed(original, (0, bar, 0, bar + rng.randrange(2)), colour), rng)


def pillarbox(original: Image.Image, rng: Random) -> Image.Image:
    """Lay bars to the left and right."""
    bar = round(original.width * rng.uniform(0.08, 0.4))
    colour = rng.choice([(0, 0, 0), (0, 0, 0), (16, 16, 16), (255, 255, 255)])
    return _kept_as(_framed(original, (bar, 0, bar + rng.randrange(2), 0), colour), rng)


def squared(original: Image.Image, rng: Random) -> Image.Image:
    """Pad the picture to a square, as apps do that show squares only."""
    side = round(max(original.size) * rng.choice([1.0, 1.0, 1.08]))
    left, top = (side - original.width) // 2, (side - original.height) // 2
    colour = rng.choice([(255, 255, 255), (0, 0, 0), (240, 240, 240)])
    framed = _framed(original, (left, top, side - original.width - left, side - original.height - top), colour)
    return _kept_as(framed, rng)


# ----------------------------------------------------------------------------------------------------------------------
# Captions


def caption_above(original: Image.Image, rng: Random) -> Image.Image:
    """Write a caption on a white bar above the picture."""
    size = round(original.width * rng.uniform(0.045, 0.075))
    count = rng.randint(1, 3)
    bar = round(size * (1.4 * count + 1))
    scene = _framed(original, (0, bar, 0, 0), (255, 255, 255))
    _lines(ImageDraw.Draw(scene), rng, (size // 2, size // 2), original.width - size, count, size, (10, 10, 10))
    return saved(scene, rng.choice([60, 75, 85]))


def captions_around(original: Image.Image, rng: Random) -> Image.Image:
    """Write captions above and below, on bars of one ground."""
    size = round(original.width * rng.uniform(0.05, 0.09))
    above, below = rng.randint(1, 2), rng.randint(1, 2)
    ground, ink, _ = rng.choice(_LIGHT + _DARK)
    tops = round(size * (1.4 * above + 0.8)), round(size * (1.4 * below + 0.8))
    scene = _framed(original, (0, tops[0], 0, tops[1]), ground)
    draw = ImageDraw.Draw(scene)
    _lines(draw, rng, (size // 2, size // 3), original.width - size, above, size, ink)
    _lines(draw, rng, (size // 2, tops[0] + original.height + size // 3), original.width - size, below, size, ink)
    return saved(scene, rng.choice([60, 75, 85]))


def poster(original: Image.Image, rng: Random) -> Image.Image:
    """Frame the picture on black with a title and a line below, as motivational posters do."""
    side = min(original.size)
    edge, below = round(side * rng.uniform(0.08, 0.14)), round(side * rng.uniform(0.25, 0.35))
    scene = _framed(original, (edge, edge, edge, below), (0, 0, 0))
    draw = ImageDraw.Draw(scene)
    draw.rectangle((edge - 4, edge - 4, edge + original.width + 3, edge + original.height + 3), outline=(255,) * 3)
    under = edge + original.height
    for share, top, words in ((0.3, 0.2, 1), (0.12, 0.7, 4)):
        font, text = _font(below * share), _words(rng, words).upper()
        x = (scene.width - draw.textlength(text, font=font)) / 2
        draw.text((max(2.0, x), under + below * top), text, fill=(255, 255, 255), font=font)
    return _kept_as(scene, rng)


# ----------------------------------------------------------------------------------------------------------------------
# Screens of computers


def viewer(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a viewer: a title bar, a tool bar, and the ground around it."""
    ground, ink, accent = _theme(rng)
    width, height = rng.choice([(1280, 800), (1366, 768), (1024, 768)])
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    bar = rng.randint(28, 44)
    title = tuple(min(255, c + 20) if sum(ground) < 384 else c - 25 for c in ground)
    draw.rectangle((0, 0, width, bar), fill=title)
    draw.text((12, bar // 4), f"{_words(rng, 1)}_{rng.randrange(9999):04}.jpg", fill=ink, font=_font(bar * 0.45))
    for i in range(3):
        draw.rectangle((width - 30 - 34 * i, bar // 3, width - 18 - 34 * i, bar // 3 + 11), outline=ink)
    foot = rng.randint(36, 60)
    for i in range(rng.randint(4, 8)):
        x = width // 2 - 160 + 48 * i
        draw.ellipse((x, height - foot + 8, x + 22, height - foot + 30), fill=accent if i == 2 else None, outline=ink)
    shown = _fitted(original, width - 2 * rng.randint(0, 60), height - bar - foot - 2 * rng.randint(4, 30))
    scene.paste(shown, ((width - shown.width) // 2, bar + (height - bar - foot - shown.height) // 2))
    return _kept_as(scene, rng)


def browser(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in an article: tabs, an address, a headline, paragraphs, a column of small pictures."""
    ground, ink, accent = _theme(rng)
    width, height = rng.choice([(1280, 900), (1440, 900), (1100, 1000)])
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    shade = tuple(min(255, c + 30) if sum(ground) < 384 else c - 30 for c in ground)
    draw.rectangle((0, 0, width, 72), fill=shade)
    draw.rectangle((10, 8, 10 + rng.randint(150, 260), 36), fill=ground)
    draw.rectangle((90, 42, width - 120, 66), fill=ground)
    draw.text((104, 45), f"https://{_words(rng, 1)}.example/{rng.randrange(10**6)}", fill=ink, font=_font(15))
    column = rng.randint(560, 720)
    left = rng.randint(40, 140)
    draw.text((left, 96), _words(rng, 4).capitalize(), fill=ink, font=_font(34))
    _lines(draw, rng, (left, 150), column, rng.randint(1, 3), 17, ink)
    top = 150 + 17 * 5
    shown = _fitted(original, column, height - top - 20)
    scene.paste(shown, (left, top))
    _lines(draw, rng, (left, top + shown.height + 14), column, 40, 17, ink)
    aside = left + column + 50
    for i in range(rng.randint(0, 4)):
        y = 110 + 150 * i
        if aside + 150 < width:
            scene.paste(picture(rng.randrange(10**9, 2 * 10**9), (120, 90)), (aside, y))
            draw.text((aside, y + 98), _words(rng, 2), fill=accent, font=_font(14))
    return _kept_as(scene, rng)


def forum(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a thread: a card on a grey ground, an avatar, text to its right, replies below."""
    dark = rng.random() < 0.4
    ground, card, ink = ((218, 224, 230), (255, 255, 255), (28, 28, 28)) if not dark else (
        (3, 3, 3), (26, 26, 27), (215, 218, 220))  # fmt: skip
    width, height = rng.choice([(1200, 850), (1366, 900)])
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, 0, width, 48), fill=card)
    draw.rectangle((200, 10, 700, 38), outline=ink)
    left, right = rng.randint(60, 160), rng.randint(880, 960)
    top = 70
    draw.rectangle((left, top, right, height), fill=card)
    draw.ellipse((left + 16, top + 14, left + 40, top + 38), fill=(255, 69, 0))
    draw.text((left + 50, top + 16), f"{_words(rng, 1)}{rng.randrange(99)}  {rng.randint(2, 20)} h", fill=ink,
              font=_font(14))  # fmt: skip
    draw.text((left + 16, top + 48), _words(rng, 6), fill=ink, font=_font(22))
    shown = _fitted(original, right - left - 32, rng.randint(430, 560))
    scene.paste(shown, (left + 16 + (right - left - 32 - shown.width) // 2, top + 90))
    y = top + 100 + shown.height
    for i in range(4):
        draw.text((left + 20 + 110 * i, y), _words(rng, 1), fill=ink, font=_font(14))
    _lines(draw, rng, (left + 30, y + 40), right - left - 80, 12, 15, ink)
    return _kept_as(scene, rng)


def desktop(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a window that floats on a desk of one colour or of a gradient, with icons."""
    width, height = 1366, 768
    ends = np.array([[rng.randrange(30, 200) for _ in range(3)] for _ in range(2)], np.uint8)
    if rng.random() < 0.5:
        ends[1] = ends[0]
    scene = Image.fromarray(ends[:, None]).resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(scene)
    for i in range(rng.randint(2, 6)):
        draw.rectangle((20, 20 + 90 * i, 64, 64 + 90 * i), fill=(rng.randrange(256), rng.randrange(256), 90))
        draw.text((14, 68 + 90 * i), _words(rng, 1), fill=(255, 255, 255), font=_font(12))
    shown = _fitted(original, rng.randint(620, 860), 560)
    left, top = rng.randint(120, max(121, width - shown.width - 60)), rng.randint(60, 110)
    ground, ink, _ = _theme(rng)
    draw.rectangle((left - 8, top - 34, left + shown.width + 8, top + shown.height + 26), fill=ground)
    draw.text((left, top - 28), _words(rng, 2), fill=ink, font=_font(16))
    scene.paste(shown, (left, top))
    draw.text((left, top + shown.height + 6), f"{original.width} x {original.height}", fill=ink, font=_font(13))
    draw.rectangle((0, height - 40, width, height), fill=(24, 26, 32))
    for i in range(8):
        draw.rectangle((400 + 56 * i, height - 32, 424 + 56 * i, height - 8), fill=(60 + 20 * i, 120, 200 - 20 * i))
    return _kept_as(scene, rng)


# ----------------------------------------------------------------------------------------------------------------------
# Screens of phones


def _status_bar(draw: ImageDraw.ImageDraw, rng: Random, width: int, height: int, ink: _Colour) -> None:
    font = _font(height * 0.5)
    draw.text((width * 0.07, height * 0.25), f"{rng.randrange(24)}:{rng.randrange(60):02}", fill=ink, font=font)
    for i in range(4):
        x = width * 0.78 + i * height * 0.16
        draw.rectangle((x, height * (0.6 - 0.1 * i), x + height * 0.1, height * 0.72), fill=ink)
    draw.rectangle((width * 0.88, height * 0.35, width * 0.95, height * 0.7), outline=ink)


def _buttons(draw: ImageDraw.ImageDraw, rng: Random, y: int, width: int, count: int, size: int, ink: _Colour) -> None:
    """Draw a row of icons over the whole width."""
    for i in range(count):
        x = round(width * (i + 0.5) / count) - size // 2
        match rng.randrange(3):
            case 0:
                draw.ellipse((x, y, x + size, y + size), outline=ink, width=2)
            case 1:
                draw.polygon([(x, y + size), (x + size // 2, y), (x + size, y + size)], outline=ink)
            case _:
                draw.rectangle((x, y, x + size, y + size), outline=ink, width=2)


def _phone(rng: Random) -> tuple[int, int]:
    width = rng.choice([540, 585, 624, 720])
    return width, round(width * rng.choice([16 / 9, 2.0, 2.17, 2.22]))


def phone_feed(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture over the whole width of a feed: avatar and name above, buttons and a caption below."""
    ground, ink, accent = _theme(rng)
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    _status_bar(draw, rng, width, unit, ink)
    draw.text((unit // 2, round(1.2 * unit)), _words(rng, 1).capitalize(), fill=ink, font=_font(unit * 0.7))
    top = round(2.3 * unit)
    draw.ellipse((unit // 2, top, unit // 2 + unit, top + unit), fill=accent)
    draw.text((2 * unit, top + unit // 4), f"{_words(rng, 1)}_{_words(rng, 1)}", fill=ink, font=_font(unit * 0.45))
    shown = _fitted(original, width, height - 9 * unit)
    at = top + round(1.35 * unit)
    scene.paste(shown, ((width - shown.width) // 2, at))
    at += shown.height + unit // 3
    _buttons(draw, rng, at, width // 2, 3, round(unit * 0.6), ink)
    _lines(draw, rng, (unit // 2, at + unit), width - unit, rng.randint(1, 4), round(unit * 0.4), ink)
    draw.rectangle((0, height - round(1.6 * unit), width, height), fill=ground)
    _buttons(draw, rng, height - round(1.2 * unit), width, 5, round(unit * 0.6), ink)
    return _kept_as(scene, rng)


def phone_gallery(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in the middle of a gallery app, with a strip of small pictures and buttons below."""
    ground, ink, accent = rng.choice([((0, 0, 0), (255, 255, 255), (10, 132, 255)), _LIGHT[0]])
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    _status_bar(draw, rng, width, unit, ink)
    text = f"{rng.randint(1, 28)} {_words(rng, 1)}"
    draw.text((width // 2 - unit * 2, round(1.2 * unit)), text, fill=ink, font=_font(unit * 0.5))
    draw.text((width - 2 * unit, round(1.2 * unit)), "Edit", fill=accent, font=_font(unit * 0.5))
    shown = _fitted(original, width, height - 7 * unit)
    scene.paste(shown, ((width - shown.width) // 2, (height - shown.height) // 2))
    strip = height - 3 * unit
    if strip > (height + shown.height) // 2 + unit // 4 and rng.random() < 0.6:
        for i in range(12):
            small = picture(rng.randrange(10**9, 2 * 10**9), (max(16, unit - 3), max(16, unit)))
            scene.paste(small, (i * unit, strip))
    _buttons(draw, rng, height - round(1.4 * unit), width, rng.choice([4, 5]), round(unit * 0.6), accent)
    return _kept_as(scene, rng)


def phone_chat(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture as a message with rounded corners, among bubbles of text."""
    dark = rng.random() < 0.5
    ground, ink = ((11, 20, 26), (233, 237, 239)) if dark else ((239, 234, 226), (17, 27, 33))
    bubbles = ((32, 44, 51), (0, 92, 75)) if dark else ((255, 255, 255), (217, 253, 211))
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, 0, width, round(2.6 * unit)), fill=bubbles[0])
    _status_bar(draw, rng, width, unit, ink)
    draw.ellipse((unit, round(1.3 * unit), 2 * unit, round(2.3 * unit)), fill=(120, 140, 150))
    draw.text((round(2.4 * unit), round(1.5 * unit)), _words(rng, 2), fill=ink, font=_font(unit * 0.5))
    y = 3 * unit

    def bubble(y: int) -> int:
        mine = rng.random() < 0.5
        wide, lines = rng.randint(4, 8) * unit, rng.randint(1, 3)
        left = width - wide - unit // 2 if mine else unit // 2
        tall = round(unit * (0.6 * lines + 0.4))
        draw.rounded_rectangle((left, y, left + wide, y + tall), unit // 4, fill=bubbles[mine])
        _lines(draw, rng, (left + unit // 4, y + unit // 5), wide - unit // 2, lines, round(unit * 0.42), ink)
        return y + tall + unit // 3

    for _ in range(rng.randint(1, 2)):
        y = bubble(y)
    shown = _fitted(original, round(width * rng.uniform(0.68, 0.8)), round(height * 0.5))
    mine = rng.random() < 0.5
    left = width - shown.width - unit if mine else unit
    rim = unit // 6
    draw.rounded_rectangle((left - rim, y - rim, left + shown.width + rim, y + shown.height + rim), unit // 3,
                           fill=bubbles[mine])  # fmt: skip
    mask = Image.new("L", shown.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, shown.width - 1, shown.height - 1), unit // 4, fill=255)
    scene.paste(shown, (left, y), mask)
    y += shown.height + unit // 2
    while y < height - 4 * unit:
        y = bubble(y)
    draw.rectangle((0, height - 2 * unit, width, height), fill=ground)
    draw.rounded_rectangle((unit // 2, height - round(1.8 * unit), width - 2 * unit, height - unit // 2), unit // 2,
                           fill=bubbles[0])  # fmt: skip
    return _kept_as(scene, rng)


def phone_post(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a post: a column of avatars at the left, text above, counts below, the next post after it."""
    ground, ink, accent = _theme(rng)
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    _status_bar(draw, rng, width, unit, ink)
    y = round(1.6 * unit)
    while y < height - 2 * unit:
        avatar = picture(rng.randrange(10**9, 2 * 10**9), (max(16, unit), max(16, unit)))
        scene.paste(avatar, (unit // 2, y))
        draw.text((2 * unit, y), _words(rng, 2), fill=ink, font=_font(unit * 0.45))
        lines = rng.randint(1, 3)
        _lines(draw, rng, (2 * unit, y + round(0.7 * unit)), width - round(2.6 * unit), lines, round(unit * 0.42), ink)
        y += round(unit * (0.9 + 0.6 * lines))
        if y < 6 * unit:
            shown = _fitted(original, width - round(2.5 * unit), height - y - 4 * unit)
            mask = Image.new("L", shown.size)
            corner = rng.choice([0, unit // 3])
            ImageDraw.Draw(mask).rounded_rectangle((0, 0, shown.width - 1, shown.height - 1), corner, fill=255)
            scene.paste(shown, (2 * unit, y), mask)
            y += shown.height + unit // 4
            original = original.resize((2 * unit, unit))  # once is enough
        for i in range(4):
            draw.text((2 * unit + round(2.3 * unit * i), y), str(rng.randrange(999)), fill=ink, font=_font(unit * 0.35))
        y += unit
        draw.line((0, y - unit // 3, width, y - unit // 3), fill=accent if rng.random() < 0.1 else ink)
    return _kept_as(scene, rng)


def phone_story(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture on a dark or coloured story with bars of progress above and a field to reply below."""
    ground = rng.choice([(0, 0, 0), (18, 18, 18), (88, 40, 120), (20, 60, 110)])
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    ink = (240, 240, 240)
    parts = rng.randint(2, 6)
    for i in range(parts):
        x = unit // 2 + (width - unit) * i // parts
        draw.rectangle((x, unit // 2, x + (width - unit) // parts - 4, unit // 2 + 3), fill=ink)
    draw.ellipse((unit // 2, unit, round(1.5 * unit), 2 * unit), fill=(200, 120, 90))
    draw.text((2 * unit, round(1.2 * unit)), _words(rng, 2), fill=ink, font=_font(unit * 0.45))
    shown = _fitted(original, round(width * rng.uniform(0.86, 1.0)), height - 6 * unit)
    scene.paste(shown, ((width - shown.width) // 2, (height - shown.height) // 2))
    draw.rounded_rectangle((unit // 2, height - round(1.7 * unit), width - 3 * unit, height - unit // 2), unit // 2,
                           outline=ink)  # fmt: skip
    _buttons(draw, rng, height - round(1.4 * unit), width, 9, unit // 2, ink)
    return _kept_as(scene, rng)


def phone_messages(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture on a rounded card with a narrow rim and a line of text, between other messages."""
    ground, ink, accent = _theme(rng)
    card = tuple(min(255, c + 34) if sum(ground) < 384 else c - 22 for c in ground)
    width, height = _phone(rng)
    unit = width // 12
    scene = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(scene)
    _status_bar(draw, rng, width, unit, ink)
    draw.text((width // 2 - unit, round(1.3 * unit)), _words(rng, 1), fill=accent, font=_font(unit * 0.5))
    y = round(2.6 * unit)
    for i in range(rng.randint(0, 3)):
        draw.rounded_rectangle(
            (unit // 3, y, rng.randint(4, 9) * unit, y + unit), unit // 2, fill=accent if i else card
        )
        draw.text((unit, y + unit // 4), _words(rng, 2), fill=ink, font=_font(unit * 0.4))
        y += round(1.3 * unit)
    shown = _fitted(original, round(width * rng.uniform(0.7, 0.88)), round(height * 0.48))
    rim, left = rng.randint(4, 12), rng.choice([unit // 2, width - shown.width - unit])
    draw.rounded_rectangle((left, y, left + shown.width + 2 * rim, y + shown.height + 2 * rim + unit), unit // 3,
                           fill=card)  # fmt: skip
    mask = Image.new("L", shown.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, shown.width - 1, shown.height - 1), unit // 5, fill=255)
    scene.paste(shown, (left + rim, y + rim), mask)
    y += shown.height + 2 * rim
    _lines(draw, rng, (left + unit // 3, y + unit // 5), shown.width - unit, 1, round(unit * 0.42), ink)
    y += round(1.4 * unit)
    for _ in range(2):
        draw.rounded_rectangle(
            (width - rng.randint(4, 8) * unit, y, width - unit // 3, y + unit), unit // 2, fill=accent
        )
        y += round(1.4 * unit)
    _buttons(draw, rng, height - round(1.3 * unit), width, 6, unit // 2, accent)
    return _kept_as(scene, rng)


# ----------------------------------------------------------------------------------------------------------------------
# Hard ones


def blurred_bars(original: Image.Image, rng: Random) -> Image.Image:
    """Fill the bars beside the picture with its own blurred enlargement, as video apps do."""
    wide = rng.random() < 0.5
    size = (round(original.width * 1.5), original.height) if wide else (original.width, round(original.height * 1.5))
    scene = original.resize(size, Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(18))
    scene.paste(original, ((size[0] - original.width) // 2, (size[1] - original.height) // 2))
    return _kept_as(scene, rng)


def gradient_ground(original: Image.Image, rng: Random) -> Image.Image:
    """Lay the picture on a ground whose colour changes from end to end."""
    ends = np.array([[[rng.randrange(256) for _ in range(3)] for _ in range(2)] for _ in range(2)], np.uint8)
    size = (round(original.width * 1.3), round(original.height * 1.3))
    scene = Image.fromarray(ends).resize(size, Image.Resampling.BICUBIC)
    scene.paste(original, (round(original.width * 0.15), round(original.height * 0.15)))
    return _kept_as(scene, rng)


def editor(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in an editor's canvas on a desk whose colour changes from the middle outwards."""
    width, height = 1280, 800
    y, x = np.indices((height, width))
    far = np.hypot(x - width / 2, y - height / 2)[..., None] / 800
    ends = np.array([[rng.randrange(30, 220) for _ in range(3)] for _ in range(2)])
    scene = Image.fromarray((ends[0] + (ends[1] - ends[0]) * np.clip(far, 0, 1)).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    ground, ink, accent = _theme(rng)
    shown = _fitted(original, rng.randint(560, 800), 540)
    left, top = rng.randint(100, 320), rng.randint(90, 150)
    tools = rng.randint(40, 60)
    draw.rectangle((left - tools, top - 40, left + shown.width + 6, top + shown.height + 6), fill=ground)
    for i in range(7):
        draw.rectangle((left - tools + 12, top + 10 + 44 * i, left - tools + 32, top + 30 + 44 * i), outline=ink)
    draw.text((left, top - 32), _words(rng, 3), fill=accent, font=_font(18))
    scene.paste(shown, (left, top))
    return _kept_as(scene, rng)


def studio(original: Image.Image, rng: Random) -> Image.Image:
    """Show the picture in a program for pictures: menus and a tool bar above it, a list with thumbnails at its left,
    panels at its right, a line of text below; the window floats on a desk whose colour changes from corner to corner.
    """
    width, height = rng.choice([(1366, 768), (1440, 900), (1600, 900)])
    corners = np.array([[[rng.randrange(20, 230) for _ in range(3)] for _ in range(2)] for _ in range(2)], np.uint8)
    scene = Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(scene)
    ground, ink, accent = _theme(rng)
    shade = tuple(min(255, c + 18) if sum(ground) < 384 else c - 18 for c in ground)
    list_wide, panel_wide = rng.choice([0, rng.randint(70, 180)]), rng.choice([0, rng.randint(120, 220)])
    bar, foot, rim = rng.randint(44, 80), rng.randint(18, 30), rng.randint(0, 24)
    shown = _fitted(original, width - list_wide - panel_wide - 2 * rim - 80, height - bar - foot - 2 * rim - 90)
    wide = list_wide + shown.width + panel_wide + 2 * rim
    tall = bar + shown.height + foot + 2 * rim
    left, top = rng.randint(10, max(10, width - wide - 20)), rng.randint(10, max(10, height - tall - 50))
    draw.rectangle((left, top, left + wide, top + tall), fill=ground)
    draw.rectangle((left, top, left + wide, top + bar // 2), fill=shade)
    draw.text((left + 10, top + 4), _words(rng, 4), fill=ink, font=_font(bar * 0.25))
    for i in range(rng.randint(3, 9)):
        x = left + 12 + 34 * i
        draw.rectangle((x, top + bar // 2 + 6, x + 14, top + bar - 6), outline=ink, fill=accent if i == 2 else None)
    for i in range((tall - bar - foot) // 80 if list_wide else 0):
        y = top + bar + 8 + 80 * i
        scene.paste(picture(rng.randrange(10**9, 2 * 10**9), (list_wide - 20, 50)), (left + 10, y))
        draw.text((left + 10, y + 54), _words(rng, 1), fill=ink, font=_font(12))
    right = left + list_wide + shown.width + 2 * rim
    for i in range((tall - bar - foot) // 110 if panel_wide else 0):
        y = top + bar + 110 * i
        draw.rectangle((right + 6, y + 4, left + wide - 6, y + 104), fill=shade)
        for j in range(4):
            draw.line((right + 14, y + 22 + 20 * j, left + wide - 16, y + 22 + 20 * j), fill=ink)
            x = rng.randint(right + 16, left + wide - 20)
            draw.ellipse((x - 4, y + 18 + 20 * j, x + 4, y + 26 + 20 * j), fill=accent)
    draw.text((left + 8, top + tall - foot + 2), _words(rng, 3), fill=ink, font=_font(foot * 0.5))
    scene.paste(shown, (left + list_wide + rim, top + bar + rim))
    if rng.random() < 0.5:
        draw.rectangle((0, height - 40, width, height), fill=shade)
    return _kept_as(scene, rng)


def stacked(original: Image.Image, rng: Random) -> Image.Image:
    """Put another picture above or below it, with a gap."""
    other = picture(rng.randrange(10**9, 2 * 10**9), original.size)
    gap = rng.randint(4, 24)
    size = (original.width + 2 * gap, 2 * original.height + 3 * gap)
    scene = Image.new("RGB", size, rng.choice(["white", "black", "#dddddd"]))
    places = [(gap, gap), (gap, 2 * gap + original.height)]
    rng.shuffle(places)
    for shown, place in zip((original, other), places, strict=True):
        scene.paste(shown, place)
    return _kept_as(scene, rng)


def patterned_ground(original: Image.Image, rng: Random) -> Image.Image:
    """Lay the picture on stripes or checks."""
    size = (round(original.width * 1.2), round(original.height * 1.2))
    period = rng.randint(8, 30)
    y, x = np.indices((size[1], size[0])) // period
    on = ((x + y) % 2 if rng.random() < 0.5 else x % 2).astype(bool)
    colours = np.array([[rng.randrange(256) for _ in range(3)] for _ in range(2)], np.uint8)
    scene = Image.fromarray(colours[on.astype(int)])
    scene.paste(original, (round(original.width * 0.1), round(original.height * 0.1)))
    return _kept_as(scene, rng)


def rounded(original: Image.Image, rng: Random) -> Image.Image:
    """Round the corners and add a border."""
    corner = round(min(original.size) * rng.uniform(0.04, 0.1))
    mask = Image.new("L", original.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, original.width - 1, original.height - 1), corner, fill=255)
    edge = round(min(original.size) * rng.uniform(0.03, 0.1))
    scene = _framed(Image.new("RGB", original.size), (edge,) * 4, ground := rng.choice([(255,) * 3, (0,) * 3]))
    scene.paste(ground, (0, 0, *scene.size))
    scene.paste(original, (edge, edge), mask)
    return _kept_as(scene, rng)


def side_by_side(original: Image.Image, rng: Random) -> Image.Image:
    """Put another picture beside it, with a gap."""
    other = picture(rng.randrange(10**9, 2 * 10**9), original.size)
    gap = rng.randint(6, 30)
    scene = Image.new("RGB", (2 * original.width + 3 * gap, original.height + 2 * gap), rng.choice(["white", "black"]))
    first, second = (original, other) if rng.random() < 0.5 else (other, original)
    scene.paste(first, (gap, gap))
    scene.paste(second, (2 * gap + original.width, gap))
    return _kept_as(scene, rng)


def dark_edges(original: Image.Image, rng: Random) -> Image.Image:
    """Darken the picture towards its edges until they are black, then add a black border."""
    y, x = np.indices((original.height, original.width))
    near = np.minimum.reduce([x / original.width, 1 - x / original.width, y / original.height, 1 - y / original.height])
    light = np.clip(near / 0.12, 0, 1)[..., None]
    dark = Image.fromarray((np.asarray(original) * light).astype(np.uint8))
    return border(dark, rng)


def watermarked_border(original: Image.Image, rng: Random) -> Image.Image:
    """Add a border and write across it and the picture."""
    framed = border(original, rng, share=0.08)
    draw = ImageDraw.Draw(framed)
    size = min(original.size) * 0.06
    font = _font(size)
    draw.text((4, framed.height - size * 1.3), f"@{_words(rng, 1)}", fill=(128, 128, 128), font=font)
    return framed


KINDS: Final[dict[str, tuple[dict[str, Scene], dict[str, Scene]]]] = {
    "border": (
        {"border": border, "border-uneven": uneven_border},
        {"border-thin": partial(border, share=0.03), "border-broad": partial(border, share=0.15),
         "instant-print": instant_print},
    ),
    "letterbox": ({"letterbox": letterbox}, {"pillarbox": pillarbox, "squared": squared}),
    "caption": ({"caption-above": caption_above}, {"captions-around": captions_around, "poster": poster}),
    "screenshot": (
        {"viewer": viewer, "forum": forum, "editor": editor, "studio": studio},
        {"browser": browser, "desktop": desktop},
    ),
    "phone": (
        {"phone-feed": phone_feed, "phone-story": phone_story, "phone-messages": phone_messages},
        {"phone-gallery": phone_gallery, "phone-chat": phone_chat, "phone-post": phone_post},
    ),
    "hard": (
        {"blurred-bars": blurred_bars, "rounded": rounded, "watermarked-border": watermarked_border,
         "stacked": stacked},
        {"gradient-ground": gradient_ground, "patterned-ground": patterned_ground, "side-by-side": side_by_side,
         "dark-edges": dark_edges},
    ),
}  # fmt: skip
"""By kind: the templates that a search is tuned on, and those that it is measured on."""

TUNING: Final[dict[str, Scene]] = {name: scene for tuning, _ in KINDS.values() for name, scene in tuning.items()}
MEASURING: Final[dict[str, Scene]] = {name: scene for _, other in KINDS.values() for name, scene in other.items()}
SCENES: Final[dict[str, Scene]] = TUNING | MEASURING
