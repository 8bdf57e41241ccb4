"""Walks over the boxes of HEIC and AVIF files before a decoder does: what they would cost, and whether all is there.

ISO/IEC 14496-12 (boxes, tracks), 23008-12 (items, grids), and the AV1 image format. A few dozen bytes can name a grid
of gigapixels, the same bytes a thousand times, or a place behind the file's end; libheif fills a missing tile with
grey, and pillow-heif leaves out a picture whose codec it lacks. Whatever is raised besides LimitExceeded means damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hashhub.hashing.structure import Limits, check_size, too_large

_MAX_BOXES: Final = 100_000  # and items, extents, NAL units and OBUs likewise; a photograph has some hundred
_MAX_SHARING: Final = 4  # bytes that all items and descriptions name together, as multiples of the file's
_MAX_NESTING: Final = 8  # derived pictures within derived pictures

# What is a picture of its own or a part of one. Not `tmap`, how to brighten another for a screen that can.
_CODED: Final = frozenset({b"hvc1", b"hev1", b"lhv1", b"av01", b"avc1", b"vvc1", b"evc1", b"jpeg", b"j2k1", b"unci"})
_DERIVED: Final = frozenset({b"grid", b"iovl", b"iden"})


class _Box(NamedTuple):
    kind: bytes
    begin: int  # of its content
    end: int


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    is_hidden: bool = False
    extents: list[tuple[int, int]] = field(default_factory=list)  # begin and end in the file
    properties: list[_Box] = field(default_factory=list)


@dataclass(slots=True)
class _MetaBox:
    primary: int | None
    items: dict[int, _Item]
    references: list[tuple[bytes, int, tuple[int, ...]]]  # kind, from, to


class Contents(NamedTuple):
    """What a decoder has to give. `pictures`: items of their own. `frames`: of the longest track. `has_tiles`: a
    picture is put together from others. `has_film`: a phone's film goes with it; it is not read.
    """

    pictures: int
    frames: int
    has_tiles: bool
    has_film: bool


def check_boxes(data: bytes, limits: Limits, parts_coded_as: frozenset[bytes]) -> Contents:
    """Return what the file holds. `parts_coded_as`: item types that the decoder reads; a picture of another kind is
    damaged. Raises LimitExceeded (MEDIA_TOO_LARGE); ValueError or IndexError for a part that is missing.
    """
    budget = _Budget()
    boxes = list(_boxes(data, 0, len(data), budget))
    begins = [n for n, box in enumerate(boxes) if box.kind == b"ftyp"]
    top = boxes[: begins[1]] if len(begins) > 1 else boxes  # a film that was put behind it is a file of its own
    metas = [box for box in top if box.kind == b"meta"]
    if len(metas) > 1:
        raise ValueError("two lists of items")
    pictures = 0
    has_tiles = False
    frames = 0
    samples: set[tuple[int, int]] = set()
    for box in top:
        if box.kind == b"moov":
            for track in _tracks(data, box, limits, budget):
                frames = max(frames, len(track))
                samples.update(track)
    if metas:
        meta = _read_meta(data, metas[0], budget)
        shown = _check_items(data, meta, limits, parts_coded_as, budget)
        has_tiles = any(meta.items[item].kind in _DERIVED for item in shown)
        # The still that stands for a sequence where none can be shown is its first frame.
        pictures = sum(not samples.issuperset(meta.items[item].extents) for item in shown) if samples else len(shown)
    return Contents(pictures, frames, has_tiles, len(begins) > 1 or any(box.kind == b"mpvd" for box in top))


class _Budget:
    """Counts what is walked over."""

    def __init__(self) -> None:
        self._left = _MAX_BOXES

    def take(self, count: int = 1) -> None:
        """Raise LimitExceeded (MEDIA_TOO_LARGE) once more was taken than there is."""
        self._left -= count
        if self._left < 0:
            raise too_large("blocks", _MAX_BOXES, "boxes", "the picture's file has more boxes and items")


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("cut off")
    return int.from_bytes(data[at : at + size])


def _boxes(data: bytes, at: int, end: int, budget: _Budget) -> Iterator[_Box]:
    """Yield the boxes within. One that says that it is longer ends where they end: what is in it is looked at."""
    while at + 8 <= end:
        budget.take()
        size, head = _number(data, at, 4), 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        yield _Box(data[at + 4 : at + 8], at + head, min(at + size, end))
        at += size


def _first(boxes: list[_Box], kind: bytes) -> _Box | None:
    return next((box for box in boxes if box.kind == kind), None)


def _read_meta(data: bytes, box: _Box, budget: _Budget) -> _MetaBox:
    boxes = list(_boxes(data, box.begin + 4, box.end, budget))
    items: dict[int, _Item] = {}
    if entries := _first(boxes, b"iinf"):
        version = data[entries.begin]
        for entry in _boxes(data, entries.begin + (6 if version == 0 else 8), entries.end, budget):
            if entry.kind == b"infe" and (version := _number(data, entry.begin, 1)) >= 2:  # noqa: PLR2004
                width = 2 if version == 2 else 4  # noqa: PLR2004 - the version
                at = entry.begin + 4
                kind = data[at + width + 2 : at + width + 6]
                items[_number(data, at, width)] = _Item(kind, bool(data[entry.begin + 3] & 1))
    idat = _first(boxes, b"idat")
    if places := _first(boxes, b"iloc"):
        _read_places(data, places, idat, items, budget)
    if properties := _first(boxes, b"iprp"):
        _read_properties(data, properties, items, budget)
    primary = _first(boxes, b"pitm")
    references = _first(boxes, b"iref")
    return _MetaBox(
        None if primary is None else _number(data, primary.begin + 4, 2 if data[primary.begin] == 0 else 4),
        items,
        [] if references is None else list(_references(data, references, budget)),
    )


def _read_places(data: bytes, box: _Box, idat: _Box | None, items: dict[int, _Item], budget: _Budget) -> None:
    """Note where the bytes of each item are. Raises ValueError for a picture's that are not in the file."""
    version = data[box.begin]
    sizes = _number(data, box.begin + 4, 2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2  # noqa: PLR2004 - the version
    count = _number(data, box.begin + 6, wide)
    at = box.begin + 6 + wide
    shared = 0
    for _ in range(count):
        budget.take()
        item = items.get(_number(data, at, wide), _Item())
        at += wide
        method = 0
        if version:
            method = _number(data, at, 2) & 15
            at += 2
        is_outside = _number(data, at, 2) != 0  # in another file
        base = _number(data, at + 2, of_base)
        extents = _number(data, at + 2 + of_base, 2)
        at += 4 + of_base
        budget.take(extents)
        for _ in range(extents):
            at += of_index if version else 0
            begin = base + _number(data, at, of_offset)
            length = _number(data, at + of_offset, of_length)
            at += of_offset + of_length
            limit = len(data)
            if method == 1 and idat is not None:
                begin, limit = begin + idat.begin, idat.end
            end = begin + length if length else limit
            if item.kind in _CODED | _DERIVED and (is_outside or method > 1 or end > limit or begin >= limit):
                raise ValueError("a part of the picture is not in the file")
            shared += max(0, min(end, limit) - begin)
            item.extents.append((begin, end))
    if shared > _MAX_SHARING * len(data):
        raise too_large("shared_bytes", _MAX_SHARING, "times the file", "the items name the same bytes more often")


def _read_properties(data: bytes, box: _Box, items: dict[int, _Item], budget: _Budget) -> None:
    boxes = list(_boxes(data, box.begin, box.end, budget))
    container = _first(boxes, b"ipco")
    properties = [] if container is None else list(_boxes(data, container.begin, container.end, budget))
    for association in boxes:
        if association.kind != b"ipma":
            continue
        at = association.begin
        wide = 2 if data[at] == 0 else 4
        wide_index = 2 if data[at + 3] & 1 else 1
        count = _number(data, at + 4, 4)
        at += 8
        for _ in range(count):
            item = items.get(_number(data, at, wide), _Item())
            of_item = _number(data, at + wide, 1)
            budget.take(1 + of_item)
            at += wide + 1
            for _ in range(of_item):
                index = _number(data, at, wide_index) & (0x7FFF if wide_index == 2 else 0x7F)  # noqa: PLR2004
                at += wide_index
                if 0 < index <= len(properties):
                    item.properties.append(properties[index - 1])


def _references(data: bytes, box: _Box, budget: _Budget) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    wide = 2 if data[box.begin] == 0 else 4
    for reference in _boxes(data, box.begin + 4, box.end, budget):
        count = _number(data, reference.begin + wide, 2)
        budget.take(count)
        first = reference.begin + wide + 2
        targets = tuple(_number(data, at, wide) for at in range(first, first + count * wide, wide))
        yield reference.kind, _number(data, reference.begin, wide), targets


def _check_items(
    data: bytes, meta: _MetaBox, limits: Limits, parts_coded_as: frozenset[bytes], budget: _Budget
) -> list[int]:
    """Return the items that are pictures of their own, after a look at what each would cost and whether it is there."""
    pictures = {number: item for number, item in meta.items.items() if item.kind in _CODED | _DERIVED}
    parts: dict[int, tuple[int, ...]] = {}
    aside: set[int] = set()  # thumbnails, transparency, depth; what another is made of
    described = 0
    for kind, source, targets in meta.references:
        if kind == b"dimg":
            parts[source] = parts.get(source, ()) + targets
            aside.update(targets)
        elif kind in {b"thmb", b"auxl"}:
            aside.add(source)
        elif kind == b"cdsc" and source in meta.items:  # a copy of EXIF or XMP for each picture that it describes
            described += len(targets) * sum(end - begin for begin, end in meta.items[source].extents)
    if described > _MAX_SHARING * len(data):
        raise too_large("shared_bytes", _MAX_SHARING, "times the file", "more pictures share the same metadata")
    for item in pictures.values():
        for width, height in _sizes(data, item):
            check_size(limits, width, height)
        match item.kind:
            case b"hvc1" | b"hev1":
                _check_hevc(data, item, budget)
            case b"av01":
                _check_av1(b"".join(data[begin:end] for begin, end in item.extents), limits, budget)
    shown = [
        number for number, item in pictures.items() if number == meta.primary or not (item.is_hidden or number in aside)
    ]
    if meta.primary is not None and meta.primary not in pictures:
        raise ValueError("the picture to show is of an unknown kind")
    costs: dict[int, int] = {}
    total = sum(_cost(data, number, pictures, parts, costs, parts_coded_as) for number in shown)
    if total > limits.max_total_pixels:
        raise too_large("max_total_pixels", limits.max_total_pixels, "pixels in all frames", "the tiles are more")
    return shown


def _sizes(data: bytes, item: _Item) -> Iterator[tuple[int, int]]:
    """Yield widths and heights that are declared for the item."""
    for box in item.properties:
        if box.kind == b"ispe":
            yield _number(data, box.begin + 4, 4), _number(data, box.begin + 8, 4)
    if item.kind in {b"grid", b"iovl"} and item.extents:
        payload = b"".join(data[begin:end] for begin, end in item.extents)
        wide = 4 if _number(payload, 1, 1) & 1 else 2
        # Version, flags; then rows and columns, or four 16-bit values of the ground's colour.
        at = 4 if item.kind == b"grid" else 10
        yield _number(payload, at, wide), _number(payload, at + wide, wide)


def _cost(
    data: bytes,
    number: int,
    pictures: dict[int, _Item],
    parts: dict[int, tuple[int, ...]],
    costs: dict[int, int],
    coded_as: frozenset[bytes],
    depth: int = 0,
) -> int:
    """Return the pixels that are decoded or put together for an item; those of a part count each time it is used."""
    if depth > _MAX_NESTING:
        raise ValueError("pictures within pictures without end")
    if number not in costs:
        item = pictures[number]
        own = max((width * height for width, height in _sizes(data, item)), default=0)
        of_parts = parts.get(number, ()) if item.kind in _DERIVED else ()
        for part in of_parts:
            if part not in pictures or pictures[part].kind not in coded_as | _DERIVED:
                raise ValueError("a part of the picture is missing")
        costs[number] = own + sum(_cost(data, part, pictures, parts, costs, coded_as, depth + 1) for part in of_parts)
    return costs[number]


_SLICES: Final = range(32)  # types of NAL units that hold parts of a picture (ITU-T H.265, table 7-1)


def _check_hevc(data: bytes, item: _Item, budget: _Budget) -> None:
    """Raise ValueError unless the item is whole NAL units, a part of a picture among them. Three zero bytes within one
    are a hole, which decoders fill with grey (7.4.2); at its end some encoders leave zeros.
    """
    configuration = _first(item.properties, b"hvcC")
    if configuration is None:
        raise ValueError("no decoder configuration")
    wide = (_number(data, configuration.begin + 21, 1) & 3) + 1
    units = b"".join(data[begin:end] for begin, end in item.extents)
    has_slice = False
    at = 0
    while at < len(units):
        budget.take()
        size = _number(units, at, wide)
        at += wide
        if size < 2 or at + size > len(units) or units.find(b"\0\0\0", at, at + size - 3) >= 0:  # noqa: PLR2004
            raise ValueError("the picture has a hole")
        has_slice = has_slice or (units[at] >> 1 & 0x3F) in _SLICES
        at += size
    if not has_slice:
        raise ValueError("no picture")


def _check_av1(units: bytes, limits: Limits, budget: _Budget) -> None:
    """Raise LimitExceeded (MEDIA_TOO_LARGE) for larger frames, which libavif scales (AV1, 5.3: units, mostly sized)."""
    at = 0
    while at < len(units):
        budget.take()
        kind, has_extension, has_size = units[at] >> 3 & 15, units[at] & 4, units[at] & 2
        at += 2 if has_extension else 1
        size = len(units) - at
        if has_size:
            size = 0
            for shift in range(0, 56, 7):
                byte = _number(units, at, 1)
                size |= (byte & 0x7F) << shift
                at += 1
                if not byte & 0x80:
                    break
        if at + size > len(units):
            raise ValueError("cut off")
        if kind == 1:
            check_size(limits, *_av1_size(_Bits(units[at : at + min(size, 1024)])))
        at += size


class _Bits:
    """Reads numbers of any count of bits, the first bit the highest."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("cut off")
        return self._value >> self._left & (1 << count) - 1


def _av1_size(bits: _Bits) -> tuple[int, int]:
    """Return the largest width and height that a sequence header allows its frames (section 5.5.1)."""
    bits.read(4)  # profile, whether still
    if bits.read(1):  # reduced header
        bits.read(5)
    else:
        delay_bits = 0
        has_model = False
        if bits.read(1):  # timing
            bits.read(64)
            if bits.read(1):
                zeros = 0
                while not bits.read(1):
                    zeros += 1
                bits.read(zeros)
            has_model = bool(bits.read(1))
            if has_model:
                delay_bits = bits.read(5) + 1
                bits.read(42)
        has_delay = bits.read(1)
        for _ in range(bits.read(5) + 1):  # operating points
            bits.read(12)
            if bits.read(5) > 7:  # noqa: PLR2004 - as the specification says
                bits.read(1)
            if has_model and bits.read(1):
                bits.read(2 * delay_bits + 1)
            if has_delay and bits.read(1):
                bits.read(4)
    of_width, of_height = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(of_width) + 1, bits.read(of_height) + 1


_CONTAINERS: Final = frozenset({b"trak", b"mdia", b"minf", b"stbl"})


def _tracks(data: bytes, moov: _Box, limits: Limits, budget: _Budget) -> Iterator[list[tuple[int, int]]]:
    """Yield the samples of each track, their beginnings and ends, after a look at the size of their frames."""
    for track in _boxes(data, moov.begin, moov.end, budget):
        if track.kind != b"trak":
            continue
        tables: dict[bytes, _Box] = {}
        inner = [track]
        while inner:
            box = inner.pop()
            if box.kind in _CONTAINERS:
                inner.extend(_boxes(data, box.begin, box.end, budget))
            else:
                tables.setdefault(box.kind, box)
        samples = _samples(data, tables, limits, budget)
        description = tables.get(b"stsd")
        if description is not None and b"av01" in data[description.begin : description.end]:
            for begin, end in samples:
                _check_av1(data[begin:end], limits, budget)
        yield samples


def _samples(data: bytes, tables: dict[bytes, _Box], limits: Limits, budget: _Budget) -> list[tuple[int, int]]:
    """Return where the samples of a track are (ISO/IEC 14496-12, 8.7). Raises ValueError for one not in the file."""
    sizes, chunks, runs = tables.get(b"stsz"), tables.get(b"stco") or tables.get(b"co64"), tables.get(b"stsc")
    if sizes is None or chunks is None or runs is None:
        raise ValueError("a track without samples")
    common, count = _number(data, sizes.begin + 4, 4), _number(data, sizes.begin + 8, 4)
    if count > limits.max_source_frames:
        raise too_large("max_source_frames", limits.max_source_frames, "frames", "the picture has more frames")
    wide = 4 if chunks.kind == b"stco" else 8
    chunk_count, run_count = _number(data, chunks.begin + 4, 4), _number(data, runs.begin + 4, 4)
    samples: list[tuple[int, int]] = []
    for run in range(run_count):
        at = runs.begin + 8 + 12 * run
        budget.take()
        first, per_chunk = _number(data, at, 4), _number(data, at + 4, 4)
        last = _number(data, at + 12, 4) if run + 1 < run_count else chunk_count + 1
        for chunk in range(max(first, 1), min(last, chunk_count + 1)):
            budget.take()
            place = _number(data, chunks.begin + 8 + wide * (chunk - 1), wide)
            for _ in range(min(per_chunk, count - len(samples))):
                size = common or _number(data, sizes.begin + 12 + 4 * len(samples), 4)
                if place + size > len(data):
                    raise ValueError("a frame is not in the file")
                samples.append((place, place + size))
                place += size
    if len(samples) < count:
        raise ValueError("a frame is not in the file")
    return samples
