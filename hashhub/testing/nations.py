"""Three invented national databases of one invented world, each under its own scheme and in its own format.

    us    VICS 2.0       vic-us            says what the law of the United States makes of an item, and no age
    gb    CSV            uk-sentencing     says the act, and no age below 18
    nl    NCMEC XML      ncmec-industry    says act and age, coarsely

Each nation lists a part of the items, classifies them by what its scheme asks, and misreads some, so that what is
computed can be compared with what was put in. Digests are random.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from hashhub.hashes import ALGORITHMS, Hash, encode
from hashhub.testing.lists import ListItem, item, list_file

ITEMS: Final = 600
_SEED: Final = "three nations"
_LISTED: Final = {"us": 0.62, "gb": 0.55, "nl": 0.45}  # the share of the items that each lists
MISREAD: Final = {"us": 0.04, "gb": 0.03, "nl": 0.06}
COPIED: Final = 0.08  # of what the Netherlands list, other copies of a picture: other digests, a near PDQ hash
_BITS_CHANGED: Final = 10
_AGES: Final = ("prepubescent", "pubescent", "doubtful")
_ACTS: Final = ("penetrative", "nonpenetrative", "lascivious-focus", "nudity")
_VALUES: Final = {
    "us": ("1", "2"),
    "gb": ("A", "B", "C"),
    "nl": ("A1", "A2", "B1", "B2"),
}


class InventedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item: its hashes, and the value that each nation would give it without an error."""

    number: int
    values: dict[str, str]
    hashes: tuple[Hash, ...]
    copy: tuple[Hash, ...]  # of the same picture, saved anew


def world() -> list[InventedItem]:
    """Return the items, the same ones each time."""
    random = Random(_SEED)
    return [_one(random, number) for number in range(ITEMS)]


def _one(random: Random, number: int) -> InventedItem:
    age = random.choices(_AGES, (5, 4, 2))[0]
    act = random.choices(_ACTS, (3, 3, 4, 2))[0]
    first, second = (
        {name: random.randbytes(ALGORITHMS[name].digest_bytes) for name in ("MD5", "SHA1", "PDQ")} for _ in range(2)
    )
    bits = int.from_bytes(first["PDQ"])
    for bit in random.sample(range(256), _BITS_CHANGED):
        bits ^= 1 << bit
    second["PDQ"] = bits.to_bytes(32)
    return InventedItem(
        number=number,
        values={
            "us": "2" if age == "doubtful" or act == "nudity" else "1",
            "gb": {"penetrative": "A", "nonpenetrative": "B"}.get(act, "C"),
            "nl": ("A" if age == "prepubescent" else "B") + ("1" if "penetrative" in act else "2"),
        },
        hashes=tuple(Hash(name, digest) for name, digest in first.items()),
        copy=tuple(Hash(name, digest) for name, digest in second.items()),
    )


def listed(nation: str) -> list[ListItem]:
    """Return what a nation lists: `us`, `gb` or `nl`."""
    random = Random(f"{_SEED} {nation}")
    algorithms = {"us": {"MD5", "SHA1", "PDQ"}, "gb": {"MD5", "SHA1"}, "nl": {"MD5", "PDQ"}}[nation]
    items = []
    for one in world():
        if random.random() >= _LISTED[nation]:
            continue
        value = one.values[nation]
        if random.random() < MISREAD[nation]:
            value = random.choice([v for v in _VALUES[nation] if v != value])
        hashes = one.copy if nation == "nl" and random.random() < COPIED else one.hashes
        items.append(
            msgspec.structs.replace(
                item(
                    (h for h in hashes if h.algorithm in algorithms),
                    value,
                    external_id=f"{nation.upper()}-{one.number}",
                    media_size=10_000 + one.number,
                    quality=90 if "PDQ" in algorithms else None,
                ),
                source_time=f"2026-{1 + one.number % 9:02}-01T00:00:00Z",
            )
        )
    return items


def files() -> dict[str, tuple[bytes, str]]:
    """Return the content of each file of the three nations by its name, and what it is."""
    gb, us, nl = (listed(nation) for nation in ("gb", "us", "nl"))
    columns: dict[str, Callable[[ListItem], str]] = {
        "Reference": lambda one: one.external_id,
        "MD5": lambda one: one.digest("MD5"),
        "SHA-1": lambda one: one.digest("SHA1"),
        "Category": lambda one: one.value,
        "Added": lambda one: one.source_time,
    }
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(one) for cell in columns.values()] for one in gb)
    harmless = Random(f"{_SEED} harmless")
    # One of the benign items is listed by the United States: somebody made a mistake.
    benign = [Hash("MD5", harmless.randbytes(16)) for _ in range(19)]
    benign.append(Hash("MD5", bytes.fromhex(us[7].digest("MD5"))))
    uploads = [h for one in world()[:40] for h in one.hashes if h.algorithm in {"MD5", "PDQ"}]
    uploads += [Hash("MD5", harmless.randbytes(16)) for _ in range(20)]
    return {
        "us.json": (list_file("vics-2.0", us).data, f"the United States: VICS 2.0, {len(us)} items"),
        "gb.csv": (table.getvalue().encode(), f"the United Kingdom: a table, {len(gb)} items"),
        "gb.toml": (_MAPPING.encode(), "the column mapping for gb.csv"),
        "nl.xml": (list_file("ncmec-xml", nl).data, f"the Netherlands: NCMEC XML, {len(nl)} items"),
        "harmless.txt": (_lines(benign), "20 files that the United Kingdom knows to be harmless"),
        "uploads.txt": (_lines(uploads), "hashes of 60 uploads, 40 of them in the invented world"),
        "careful.toml": (_CAREFUL.encode(), "a policy to try on them (docs/reconcile/three-nations.md)"),
    }


def _lines(hashes: list[Hash]) -> bytes:
    return "".join(f"{h.algorithm}:{encode(h)}\n" for h in hashes).encode()


_MAPPING: Final = """\
scheme = "uk-sentencing"

[columns]
md5 = "MD5"
sha1 = "SHA-1"
value = "Category"
external_id = "Reference"
source_time = "Added"
"""

_CAREFUL: Final = """\
name = "careful"
title = "Two nations of the same file, or a prepubescent child"
description = "For a service that takes down without a person looking first only what two national lists state."
disputed_by = ["BENIGN_SET", "CONFLICTING_VERDICTS", "FALSE_POSITIVE", "MISCLASSIFIED", "NOT_ILLEGAL_HERE"]
disputed_from = "C"
independent_from = "C"
test = "REVIEW"

[[clause]]
id = "two-nations"
title = "two independent contributors state csam of the same file"
contributors = 2
verdicts = ["csam"]
algorithms = ["MD5", "SHA1", "SHA256"]

[[clause]]
id = "prepubescent"
title = "one of reliability A states csam with a prepubescent child"
contributors = 1
verdicts = ["csam"]
reliability = ["A"]
verified_scheme = true
dimensions = { age_band = ["prepubescent"] }
"""
