"""Which digests stop copies of an item: those that no stranger's file has as well, so many at most, and in words what
was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import InvalidArgument
from hashhub.hashes import VPDQ, Hash, is_exact
from hashhub.hygiene import MIN_PDQ_QUALITY, inspect
from hashhub.model import Disposition, Effort, Record
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes

MOST_HASHES: Final = 512
"""Digests of one case: a picture has some 20 with its variants and turns, a video one for each frame."""
_NOT_HASHED: Final = frozenset({ReasonCode.FRAMES_SKIPPED, ReasonCode.VARIANTS_SKIPPED})


class CaseItem(msgspec.Struct, frozen=True, kw_only=True):
    """Digests that stop copies, with their variants (empty: the item itself); and what was left out, in sentences."""

    hashes: tuple[tuple[Hash, str], ...]
    not_searched: tuple[str, ...] = ()


def item_of(media: MediaHashes) -> CaseItem:
    """Return what stops copies of a file: its digests, and PDQ of the picture, its turns and what is in its border; not
    PDQ of a picture with too little in it, which strangers' pictures share, nor what was not hashed.
    """
    from hashhub.hashing.coverage import coverage

    hashes: dict[Hash, str] = {}
    left_out: list[str] = []
    for h in media.digests:
        _take(hashes, h, "", None, left_out)
    for frame in media.frames:
        for h in frame.hashes:
            if h.algorithm == "PDQ":
                _take(hashes, h, "", frame.quality, left_out)
        for variant in frame.variants:
            for h in variant.hashes:
                if h.algorithm == "PDQ":
                    _take(hashes, h, variant.name, variant.quality, left_out)
    for shot in media.video_frames:
        if shot.quality >= MIN_PDQ_QUALITY and _why_useless(Hash("PDQ", shot.digest), shot.quality) is None:
            hashes.setdefault(Hash(VPDQ.name, shot.digest), "")
    left_out += [line.text for line in coverage(media, Effort.STANDARD).gaps if line.code in _NOT_HASHED]
    return _bounded(hashes, left_out)


def item_of_hashes(given: Sequence[Hash]) -> CaseItem:
    """Return what stops copies of an item of which only hashes are known."""
    hashes: dict[Hash, str] = {}
    left_out: list[str] = []
    for h in given:
        if is_exact(h.algorithm) or h.algorithm == "PDQ":
            _take(hashes, h, "", None, left_out)
        else:
            left_out.append(f"{h.algorithm}: cases are looked for by exact digests and PDQ")
    return _bounded(hashes, left_out)


def _take(hashes: dict[Hash, str], h: Hash, variant: str, quality: int | None, left_out: list[str]) -> None:
    if why := _why_useless(h, quality):
        line = f"{h.algorithm}: {why}"
        if line not in left_out:
            left_out.append(line)
    else:
        hashes.setdefault(h, variant)


def _why_useless(h: Hash, quality: int | None) -> str | None:
    """Return why this digest would stop what it is not about, or None."""
    inspection = inspect(Record(position="1", hashes=(h,), quality=quality if h.algorithm == "PDQ" else None))
    if inspection.disposition is Disposition.ACCEPTED:
        return None
    return inspection.notes[0][1] if inspection.notes else "it would match unrelated files"


def _bounded(hashes: dict[Hash, str], left_out: list[str]) -> CaseItem:
    if not hashes:
        why = "; ".join(left_out) or "there are none"
        raise InvalidArgument.field("hashes", f"none of them can be looked for: {why}")
    taken = sorted(hashes.items(), key=lambda pair: (not is_exact(pair[0].algorithm), pair[1]))
    if len(taken) > MOST_HASHES:
        left_out.append(f"{len(taken) - MOST_HASHES} further digests: a case has {MOST_HASHES} at most")
    return CaseItem(hashes=tuple(taken[:MOST_HASHES]), not_searched=tuple(left_out))
