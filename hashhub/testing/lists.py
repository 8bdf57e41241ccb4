r"""Synthetic lists of hashes, as contributors would hand them over: every format, with realistic dirt and overlap.

    items = random_items(1000, seed=1, values=("1", "2"))            # or item(hashes_of_a_picture, value="1")
    shares = overlapping(items, {"police-us": ("1", "2"), "hotline-ca": ("A1", "B2")}, seed=1)
    listed = list_file("vics-2.0", soiled(shares["police-us"], seed=1), dirty=True)
    list(get(listed.connector).read(BytesIO(listed.data), listed.options))

The same seed always gives the same bytes. Digests are random or come from pictures of `hashhub.testing.pictures`: no
list in here resembles a real one.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import BinaryIO, Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from hashhub.hashes import ALGORITHMS, Encoding, Hash, encode
from hashhub.model import NO_FLAGS, Flags

_EMPTY_MD5: Final = "d41d8cd98f00b204e9800998ecf8427e"  # of the file of no bytes (RFC 1321, A.5)
_SHARED: Final = 0.3
_SOILED: Final = 0.05
_VICS_1: Final = "http://github.com/ICMEC/ProjectVic/DataModels/{}.xml#{}"
_VICS_2: Final = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/{}.xml/{}/$metadata#{}"
_NCMEC: Final = "https://hashsharing.ncmec.org/hashsharing/v2"


class ListItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a list before it has a format. `digests`: (algorithm, text), since dirty ones are no hashes. `value`:
    raw.
    """

    digests: tuple[tuple[str, str], ...]
    value: str = ""
    external_id: str = ""
    series: str = ""
    tags: tuple[str, ...] = ()
    flags: Flags = NO_FLAGS
    media_type: str = "image/jpeg"
    media_size: int | None = None
    source_time: str = "2025-01-02T03:04:05Z"
    quality: int | None = None

    def digest(self, algorithm: str) -> str:
        """Return the text of the first digest of the algorithm, or nothing."""
        return next((text for name, text in self.digests if name == algorithm), "")


class ListFile(msgspec.Struct, frozen=True, kw_only=True):
    """A list in a format: its bytes, the connector and options that read it, and how many items it holds."""

    file_name: str
    connector: str
    options: dict[str, str]
    data: bytes
    items: int


def item(
    hashes: Iterable[Hash],
    value: str = "",
    *,
    external_id: str = "",
    series: str = "",
    tags: tuple[str, ...] = (),
    flags: Flags = NO_FLAGS,
    media_size: int | None = None,
    quality: int | None = None,
) -> ListItem:
    """Return the item of real hashes, such as those of a picture, in their canonical text."""
    return ListItem(
        digests=tuple((h.algorithm, encode(h)) for h in hashes),
        value=value,
        external_id=external_id,
        series=series,
        tags=tags,
        flags=flags,
        media_size=media_size,
        quality=quality,
    )


def random_items(
    count: int, *, seed: int, algorithms: Sequence[str] = ("MD5", "SHA1"), values: Sequence[str] = ("",)
) -> list[ListItem]:
    """Return `count` items with random digests of the algorithms and values drawn from `values`."""
    random = Random(f"items {seed}")
    return [
        item(
            (Hash(name, random.randbytes(ALGORITHMS[name].digest_bytes)) for name in algorithms),
            random.choice(values),
            external_id=f"syn-{seed}-{i}",
            series=random.choice(("", "", "SYNTHETIC-1", "SYNTHETIC-2")),
            tags=random.choice(((), (), ("synthetic",), ("synthetic", "grid"))),
            flags=Flags(
                victim_identified=random.choice((None, True, False)), distributed=random.choice((None, None, True))
            ),
            media_size=random.randint(1_000, 5_000_000),
            quality=random.randint(50, 100) if "PDQ" in algorithms else None,
        )
        for i in range(count)
    ]


def overlapping(
    items: Sequence[ListItem], contributors: Mapping[str, Sequence[str]], *, seed: int
) -> dict[str, list[ListItem]]:
    """Return what each contributor lists: every item stands with one, and three times in ten with each other one,
    under a value of its scheme (`contributors`) and an id of its own, so that they conflict now and then.
    """
    random = Random(f"overlap {seed}")
    names = list(contributors)
    lists: dict[str, list[ListItem]] = {name: [] for name in names}
    for i, one in enumerate(items):
        owner = random.choice(names)
        for name in names:
            if name == owner or random.random() < _SHARED:
                value = random.choice(contributors[name])
                lists[name].append(msgspec.structs.replace(one, value=value, external_id=f"{name}-{i}"))
    return lists


def soiled(items: Sequence[ListItem], *, seed: int) -> list[ListItem]:
    """Return the items with dirt among them, about one in twenty and one of each kind: no hash, a duplicate,
    another value, a cut digest, no hexadecimal, the empty file's digests, a blank picture's PDQ.
    """
    if not items:
        return []
    random = Random(f"dirt {seed}")
    values = sorted({one.value for one in items})
    kinds: tuple[Callable[[ListItem], ListItem], ...] = (
        lambda one: msgspec.structs.replace(one, digests=()),
        lambda one: one,
        lambda one: msgspec.structs.replace(one, value=random.choice([v for v in values if v != one.value] or values)),
        lambda one: msgspec.structs.replace(one, digests=tuple((n, t[:-1]) for n, t in one.digests)),
        lambda one: msgspec.structs.replace(one, digests=tuple((n, "!" + t[1:]) for n, t in one.digests[:1])),
        lambda one: msgspec.structs.replace(one, digests=(("MD5", _EMPTY_MD5),)),
        lambda one: msgspec.structs.replace(one, digests=(("PDQ", "0" * 64),), quality=0),
    )
    listed = list(items)
    for i in range(max(len(kinds), round(_SOILED * len(items)))):
        dirt = kinds[i % len(kinds)](random.choice(items))
        if i % len(kinds) not in {1, 2}:  # the others are items of their own
            dirt = msgspec.structs.replace(dirt, external_id=f"dirt-{seed}-{i}")
        listed.insert(random.randint(1, len(listed)), dirt)
    return listed


def list_file(variant: str, items: Sequence[ListItem], *, dirty: bool = False) -> ListFile:
    """Return the items that a variant (of VARIANTS) can express, as its file. `dirty` adds a byte order mark, booleans
    and numbers as text, upper case, CR LF, shuffled and extra columns.
    """
    return VARIANTS[variant](items, dirty)


def write_many_vics(
    out: BinaryIO,
    count: int,
    *,
    seed: int,
    photodna: bool = False,
    values: Sequence[str] = ("1", "2"),
    changed_every: Sequence[int] = (),
) -> None:
    """Stream a VICS 2.0 US hash set of `count` random Media of 440 bytes (650 with `photodna`), 2 µs each, for
    benchmarks. `changed_every`: as it is after editions in each of which so many-th Media got another series.
    """
    random = Random(seed)
    head = json.dumps({"@odata.context": _VICS_2.format("2.0", "US", "Media"), "value": []})
    out.write(head.removesuffix("]}").encode())
    digest_bytes = 36 + 144 * photodna
    template = (
        '\n{"MediaID":%d,"Category":%s,"MD5":"%s","SHA1":"%s","VictimIdentified":"%s","OffenderIdentified":"false",'
        '"IsDistributed":"true","IsSuspected":"false","SelfGenerated":"false","Series":"SYNTHETIC-%d",'
        '"Tags":"synthetic",'
        '"MediaSize":%d,"MimeType":"image/jpeg","DateUpdated":"2025-01-02T03:04:05.0000Z","IsPrecategorized":"false",'
        '"RelativeFilePath":"\\\\synthetic\\\\%08d.jpg"%s}'
    )
    step = 5_000
    for first in range(0, count, step):
        records = []
        for i in range(first, min(first + step, count)):
            raw = random.randbytes(digest_bytes)
            digits = raw[:36].hex().upper()
            more = f',"PhotoDNA":"{base64.b64encode(raw[36:]).decode()}"' if photodna else ""
            value = values[raw[0] % len(values)]
            victim = "true" if raw[1] & 1 else "false"
            series = raw[2] % 50
            for edition, every in enumerate(changed_every, 1):
                if i % every == 0:
                    series = 1000 * edition
            records.append(
                template % (i, value, digits[:32], digits[32:], victim, series, 1000 + i % 1_000_000, i, more)
            )
        out.write((("," if first else "") + ",".join(records)).encode())
    out.write(b"\n]}\n")


def _file(name: str, connector: str, data: bytes, items: int, options: dict[str, str] | None = None) -> ListFile:
    return ListFile(file_name=name, connector=connector, options=options or {}, data=data, items=items)


def _vics(items: Sequence[ListItem], dirty: bool, *, version: str, case: bool) -> ListFile:  # noqa: FBT001
    modern = version == "2.0"
    media = [_medium(i, one, modern=modern, dirty=dirty) for i, one in enumerate(items)]
    root = "Cases" if case else "Media"
    context = _VICS_2.format(version, "US", root) if modern else _VICS_1.format(version, root)
    value: list[object] = list(media)
    if case:
        value = [
            {
                "CaseID": "{00000000-0000-0000-0000-000000000000}",
                "CaseNumber": "SYNTHETIC",
                "ContactName": "NOBODY",
                "TotalMediaFiles": len(media) * 2,  # real exporters count another noun
                "Media": media,
            }
        ]
    document = {"@odata.context" if modern else "odata.metadata": context, "value": value}
    text = json.dumps(document, indent=1 if dirty else None)
    data = ("\ufeff" + text.replace("\n", "\r\n") if dirty else text).encode()
    return _file(f"vics-{version}{'-case' if case else ''}.json", "vics", data, len(media))


def _medium(index: int, one: ListItem, *, modern: bool, dirty: bool) -> dict[str, object]:
    md5 = one.digest("MD5")
    medium: dict[str, object] = {} if modern else {"odata.id": f"Media({index})"}
    medium |= {
        "MediaID": index,
        "Category": (int(one.value) if one.value.isdecimal() and not (dirty and index % 5 == 0) else one.value or None),
        "MD5": (md5.upper() if dirty else md5) or None,
        "IsPrecategorized": "false" if dirty else False,
    }
    if sha1 := one.digest("SHA1"):
        medium["SHA1"] = sha1
    flags = {
        "VictimIdentified": one.flags.victim_identified,
        "OffenderIdentified": one.flags.offender_identified,
        "IsDistributed": one.flags.distributed,
        "IsSuspected": one.flags.suspected,
        "SelfGenerated": one.flags.self_generated,
    }
    medium |= {name: str(flag).lower() if dirty else flag for name, flag in flags.items() if flag is not None}
    if one.media_size is not None:
        medium["MediaSize"] = str(one.media_size) if dirty and index % 2 else one.media_size
    medium["Series"] = one.series
    medium["Tags"] = list(one.tags) if dirty and index % 3 == 0 else ",".join(one.tags)
    medium["MimeType"] = one.media_type
    medium["DateUpdated"] = one.source_time
    medium["MediaFiles"] = [{"MD5": md5, "FileName": f"synthetic-{index}.jpg", "FilePath": "\\synthetic\\"}]
    others = [(name, text) for name, text in one.digests if name not in {"MD5", "SHA1"}]
    alternatives: list[dict[str, str]] = []
    for name, text in others:
        if name == "PHOTODNA" and modern:
            medium["PhotoDNA"] = text
        else:
            label = "PhotoDNA" if name == "PHOTODNA" else name
            alternatives.append({"MD5": md5, "HashName": label, "HashValue": text})
    if alternatives or index % 2:  # missing and empty both occur
        medium["AlternativeHashes"] = alternatives
    return medium


def _ncmec(items: Sequence[ListItem], dirty: bool) -> ListFile:  # noqa: FBT001 - the signature of VARIANTS
    """Write images, every seventh as a video, one deletion in twenty, and a member of its own for every third."""
    lists: dict[str, list[str]] = {"image": [], "video": []}
    for i, one in enumerate(items):
        kind = "video" if i % 7 == 3 else "image"
        member = f"<member id={quoteattr(str(9001 + i % 3))}>SYNTHETIC MEMBER {i % 3}</member>"
        identity = f"<timestamp>{one.source_time}</timestamp><id>{escape(one.external_id)}</id>"
        prints = "".join(f"<{_ncmec_tag(n)}>{escape(t)}</{_ncmec_tag(n)}>" for n, t in one.digests)
        value = f"<classification>{escape(one.value)}</classification>" if one.value else ""
        link = '<tmk-pdqf rel="self" href="/v2/synthetic"/>' if dirty and kind == "video" else ""
        feedback = _FEEDBACK if dirty and i % 10 == 0 else "<feedback/>"
        lists[kind].append(
            f"<{kind}>{member}{identity}{value}<fingerprints>{prints}{link}</fingerprints>{feedback}</{kind}>"
        )
        if dirty and i % 20 == 0:
            deleted = f"deleted{kind.capitalize()}"
            lists[kind].append(
                f"<{deleted}>{member}<id>gone-{i}</id><timestamp>{one.source_time}</timestamp></{deleted}>"
            )
    body = "".join(
        f'<{kind}s count="{len(elements)}">{"".join(elements)}</{kind}s>' for kind, elements in lists.items()
    )
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<queryResult xmlns="{_NCMEC}">{body}</queryResult>\n'
    return _file(
        "ncmec.xml",
        "ncmec-xml",
        ("\ufeff" * dirty + text).encode(),
        sum(map(len, lists.values())),
        {"environment": "csam"},
    )


def _ncmec_tag(algorithm: str) -> str:
    return "pdna" if algorithm == "PHOTODNA" else algorithm.lower()


_FEEDBACK: Final = (
    '<feedback lastUpdateTimestamp="2025-01-03T00:00:00Z">'
    '<affirmativeFeedback type="Md5"><members timestamp="2025-01-03T00:00:00Z"><member id="9002"/></members>'
    "</affirmativeFeedback>"
    '<negativeFeedback type="Sha1"><reasons><reason guid="0" name="Synthetic reason" type="Sha1"/>'
    '<members timestamp="2025-01-03T00:00:00Z"><member id="9003"/></members></reasons></negativeFeedback>'
    "</feedback>"
)


def _icse(items: Sequence[ListItem], dirty: bool) -> ListFile:  # noqa: FBT001 - the signature of VARIANTS
    flag = {True: "Y", False: "n" if dirty else "N", None: ""}
    columns: dict[str, Callable[[ListItem], str]] = {
        "MD5": lambda one: one.digest("MD5").upper(),
        "SHA1": lambda one: one.digest("SHA1").upper(),
        "PhotoDNA": lambda one: one.digest("PHOTODNA"),
        "Image ID": lambda one: one.external_id,
        "Is distributed": lambda one: flag[one.flags.distributed],
        "Victim identified": lambda one: flag[one.flags.victim_identified],
        "Offender identified": lambda one: flag[one.flags.offender_identified],
        "Series name": lambda one: f"{one.series}; quoted" if dirty and one.series else one.series,
        "Number of submissions": lambda _: "3",
        "File Available": lambda _: "Y",
        "Media Type": lambda _: "Image",
        "Baseline": lambda one: one.value,
    }
    if dirty:
        columns = {name.lower(): columns[name] for name in sorted(columns)} | {"Remarks": lambda _: ""}
    return _file("icse.csv", "icse-csv", _rows(columns, items, ";", dirty=dirty).encode(), len(items))


_MAPPING: Final = """\
delimiter = ","
encoding = "utf-8"

[columns]
md5 = "md5"
sha1 = "sha1"
sha256 = "sha256"
pdq = "pdq"
photodna = "pdna"
value = "category"
external_id = "id"
series = "series"
media_size = "size"
source_time = "date_added"
quality = "quality"
tags = "tags"

[flags]
self_generated = "self_generated"
victim_identified = "victim"

[values]
"Category A" = "A"
"Category B" = "B"
"Category C" = "C"
"""


def _mapped(items: Sequence[ListItem], dirty: bool) -> ListFile:  # noqa: FBT001 - the signature of VARIANTS
    def word(flag: bool | None) -> str:  # noqa: FBT001 - a value, not a switch
        return "" if flag is None else "yes" if flag else "no"

    columns: dict[str, Callable[[ListItem], str]] = {
        "id": lambda one: one.external_id,
        "md5": lambda one: one.digest("MD5"),
        "sha1": lambda one: one.digest("SHA1"),
        "sha256": lambda one: one.digest("SHA256"),
        "pdq": lambda one: one.digest("PDQ"),
        "pdna": lambda one: one.digest("PHOTODNA"),
        "category": lambda one: f"Category {one.value}" if dirty and one.value in {"A", "B", "C"} else one.value,
        "series": lambda one: one.series,
        "size": lambda one: "" if one.media_size is None else str(one.media_size),
        "date_added": lambda one: one.source_time,
        "quality": lambda one: "" if one.quality is None else str(one.quality),
        "tags": lambda one: ",".join(one.tags),
        "self_generated": lambda one: word(one.flags.self_generated),
        "victim": lambda one: word(one.flags.victim_identified),
    }
    if dirty:
        columns |= {"analyst remarks": lambda _: 'said "synthetic",\nand more'}
    return _file(
        "mapped.csv", "csv", _rows(columns, items, ",", dirty=dirty).encode(), len(items), {"mapping": _MAPPING}
    )


def _rows(
    columns: Mapping[str, Callable[[ListItem], str]], items: Sequence[ListItem], delimiter: str, *, dirty: bool
) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n" if dirty else "\n")
    writer.writerow(columns)
    writer.writerows([cell(one) for cell in columns.values()] for one in items)
    return "\ufeff" * dirty + out.getvalue()


def _sums(items: Sequence[ListItem], dirty: bool, *, algorithm: str, tagged: bool = False) -> ListFile:  # noqa: FBT001
    lines = ["# synthetic", ""] if dirty else []
    written = 0
    for i, one in enumerate(items):
        if not (digest := one.digest(algorithm)):
            continue
        written += 1
        name = f"synthetic/{i} (1).jpg"
        if tagged:
            lines.append(f"{algorithm} ({name}) = {digest}")
        elif dirty and i % 3 == 0:
            lines.append(f"\\{digest.upper()} *synthetic\\\\{i}.jpg")
        else:
            lines.append(f"{digest}  {name}")
    return _file(
        f"{algorithm.lower()}sum{'-tagged' if tagged else ''}.txt",
        "hash-lines",
        _text(lines, dirty=dirty),
        written,
        {"algorithm": algorithm} if algorithm == "SHA256" and not tagged else {},
    )


def _hashdeep(items: Sequence[ListItem], dirty: bool) -> ListFile:  # noqa: FBT001 - the signature of VARIANTS
    lines = ["%%%% HASHDEEP-1.0", "%%%% size,md5,sha256,filename", "## Invoked from: /synthetic", "## "]
    lines += [
        f"{one.media_size or 0},{one.digest('MD5')},{one.digest('SHA256')},/synthetic/{i},{'a, b' * dirty}.jpg"
        for i, one in enumerate(items)
    ]
    return _file("hashdeep.txt", "hash-lines", _text(lines, dirty=dirty), len(items))


def _plain(items: Sequence[ListItem], dirty: bool, *, algorithm: str, headed: bool = False) -> ListFile:  # noqa: FBT001
    lines = ["MD5"] if headed else ["# synthetic"] if dirty else []
    written = 0
    for i, one in enumerate(items):
        if not (digest := one.digest(algorithm)):
            continue
        written += 1
        if dirty and i % 4 == 0 and Encoding.BASE64 in ALGORITHMS[algorithm].encodings and len(digest) % 2 == 0:
            digest = _base64(digest)
        lines.append(digest)
    return _file(
        f"{'x-ways' if headed else 'plain'}-{algorithm.lower()}.txt",
        "hash-lines",
        _text(lines, dirty=dirty),
        written,
        {} if headed else {"algorithm": algorithm},
    )


def _base64(digest: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(digest)).decode()
    except ValueError:
        return digest


def _text(lines: Sequence[str], *, dirty: bool) -> bytes:
    end = "\r\n" if dirty else "\n"
    return ("\ufeff" * dirty + end.join([*lines, ""])).encode()


VARIANTS: Final[Mapping[str, Callable[[Sequence[ListItem], bool], ListFile]]] = {
    **{f"vics-{version}": partial(_vics, version=version, case=False) for version in ("1.1", "1.2", "1.3", "2.0")},
    **{f"vics-{version}-case": partial(_vics, version=version, case=True) for version in ("1.1", "1.2", "1.3", "2.0")},
    "ncmec-xml": _ncmec,
    "icse-csv": _icse,
    "csv": _mapped,
    "md5sum": partial(_sums, algorithm="MD5"),
    "sha1sum": partial(_sums, algorithm="SHA1"),
    "sha256sum": partial(_sums, algorithm="SHA256"),
    "md5sum-tagged": partial(_sums, algorithm="MD5", tagged=True),
    "hashdeep": _hashdeep,
    "plain-md5": partial(_plain, algorithm="MD5"),
    "plain-sha256": partial(_plain, algorithm="SHA256"),
    "plain-pdq": partial(_plain, algorithm="PDQ"),
    "x-ways": partial(_plain, algorithm="MD5", headed=True),
}
