"""Full synthetic sources of each format, and every way to blank one field of them.

A sample can be given a number, which only decides its digests and ids: two samples differ in nothing else. Every field
of the first item is blanked, and of the others those that tell them from the first.
"""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from defusedxml import ElementTree

from hashhub.connector import Connector
from hashhub.hashes import Hash, encode
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.misp import MISP, TEMPLATE
from hashhub_connectors.ncmec_xml import NAMESPACE, NCMECXML
from hashhub_connectors.stix import EXTENSION, STIX
from hashhub_connectors.threatexchange import ThreatExchange
from hashhub_connectors.vics import VICS
from tests.hub.conftest import digest


class Blanked(NamedTuple):
    """A source with one field blanked: which field and how, the bytes, and the options that it is read with."""

    what: str
    data: bytes
    options: Mapping[str, str]


class Format(NamedTuple):
    """A format: its connector, the hash set's scheme, a full sample, and its blanked variants.

    `positions`: of the items that are asked about, in the order of `hashes_of`'s numbers.
    """

    name: str
    connector: Connector
    scheme: str
    options: Mapping[str, str]
    positions: tuple[str, ...]
    full: bytes
    blanked: Callable[[], Iterator[Blanked]]


ITEMS: Final = 5  # the most that any sample has
_ALGORITHMS: Final = ("MD5", "SHA1", "SHA256", "PDQ", "PHOTODNA")


def numbered(data: bytes, sample: int) -> bytes:
    """Return the source with the digests and ids of another sample."""
    for i in range(ITEMS):
        for name in _ALGORITHMS:
            old, new = _hash(name, 0, i).digest, _hash(name, sample, i).digest
            for spelt in (bytes.hex, lambda d: base64.b64encode(d).decode()):
                data = data.replace(spelt(old).encode(), spelt(new).encode())
    return data.replace(b"syn-0-", f"syn-{sample}-".encode())


def text(algorithm: str, item: int) -> str:
    return encode(_hash(algorithm, 0, item))


def hashes_of(sample: int, item: int) -> tuple[Hash, ...]:
    """Every hash that an item of any format's sample may have."""
    return tuple(_hash(name, sample, item) for name in _ALGORITHMS)


def _hash(algorithm: str, sample: int, item: int) -> Hash:
    return digest(algorithm, 1000 * sample + item)


def _photodna(item: int) -> str:
    return base64.b64encode(_hash("PHOTODNA", 0, item).digest).decode()


# VICS

_CONTEXT: Final = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
_CONTEXT_1: Final = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"


def _vics(*, modern: bool) -> dict[str, Any]:
    media = []
    for i, category in enumerate((1, 2, 3, 0, 5)):
        medium = {
            "MediaID": i,
            "Category": category,
            "MD5": text("MD5", i),
            "SHA1": text("SHA1", i),
            "VictimIdentified": "true",
            "OffenderIdentified": "false",
            "IsDistributed": "true",
            "IsSuspected": "false",
            "SelfGenerated": "true",
            "IsPrecategorized": "false",
            "Series": "SYNTHETIC",
            "Tags": "a, b",
            "MediaSize": 1000,
            "MimeType": "image/jpeg",
            "DateUpdated": "2025-01-02T03:04:05Z",
            "AlternativeHashes": [
                {
                    "MD5": text("MD5", i),
                    "HashName": "SHA256" if modern else "PhotoDNA",
                    "HashValue": text("SHA256", i) if modern else _photodna(i),
                }
            ],
        }
        if modern:
            medium["PhotoDNA"] = _photodna(i)
        media.append(medium)
    return {"@odata.context" if modern else "odata.metadata": _CONTEXT if modern else _CONTEXT_1, "value": media}


def _blank_json(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the document with each member of each object in it removed, empty and null."""
    for path in list(_members(document)):
        if path[:1] == ("value",) and path[1:2] not in {(), (0,)} and path[2:] != ("Category",):
            continue
        for how in ("removed", "empty", "null"):
            variant = copy.deepcopy(document)
            parent = variant
            for step in path[:-1]:
                parent = parent[step]
            if how == "removed":
                del parent[path[-1]]
            else:
                parent[path[-1]] = "" if how == "empty" else None
            yield f"{'.'.join(map(str, path))} {how}", variant


def _members(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield (*at, key)
            yield from _members(member, (*at, key))
    elif isinstance(value, list):
        for i, element in enumerate(value):
            yield from _members(element, (*at, i))


def _vics_format(name: str, scheme: str, *, modern: bool) -> Format:
    def blanked() -> Iterator[Blanked]:
        for what, document in _blank_json(_vics(modern=modern)):
            yield Blanked(what, json.dumps(document).encode(), {})

    return Format(
        name,
        VICS(),
        scheme,
        {},
        tuple(f"value[{i}]" for i in range(5)),
        json.dumps(_vics(modern=modern)).encode(),
        blanked,
    )


# NCMEC

_VOTE: Final = '<members timestamp="2025-01-03T00:00:00Z"><member id="9002"/></members>'


def _ncmec() -> str:
    """Two classified items, one that a member calls wrong, and one that is deleted again."""
    images = []
    for i, value in enumerate(("A1", "B2", "A1")):
        feedback = (
            '<feedback lastUpdateTimestamp="2025-01-03T00:00:00Z">'
            f'<affirmativeFeedback type="Md5">{_VOTE}</affirmativeFeedback></feedback>'
            if i == 0
            else '<feedback><negativeFeedback type="Md5"><reasons><reason guid="g" name="Adult" type="Md5"/>'
            f"{_VOTE}</reasons></negativeFeedback></feedback>"
            if i == 1
            else ""
        )
        prints = "".join(f"<{n.lower()}>{text(n, i)}</{n.lower()}>" for n in ("MD5", "SHA1", "PDQ"))
        images.append(
            f'<image><member id="9001">SYNTHETIC</member><timestamp>2025-01-02T00:00:00Z</timestamp><id>syn-0-{i}</id>'
            f"<classification>{value}</classification><fingerprints>{prints}<pdna>{_photodna(i)}</pdna></fingerprints>"
            f"{feedback}</image>"
        )
    gone = (
        '<deletedImage><member id="9001">SYNTHETIC</member><id>syn-0-2</id>'
        "<timestamp>2025-01-03T00:00:00Z</timestamp></deletedImage>"
    )
    return f'<queryResult xmlns="{NAMESPACE}"><images count="4">{"".join(images)}{gone}</images></queryResult>'


def _blank_xml(document: str) -> Iterator[tuple[str, bytes]]:
    """Yield the document with each element removed and emptied, and each attribute removed and emptied."""
    count = sum(1 for _ in ElementTree.fromstring(document).iter())
    for index in range(1, count):
        root = ElementTree.fromstring(document)
        element = list(root.iter())[index]
        label = f"{index} {element.tag.rpartition('}')[2]}"
        attributes = list(element.attrib)
        parent = next(p for p in root.iter() if element in list(p))
        parent.remove(element)
        yield f"{label} removed", ElementTree.tostring(root)
        root = ElementTree.fromstring(document)
        element = list(root.iter())[index]
        element.text = ""
        for child in list(element):
            element.remove(child)
        yield f"{label} empty", ElementTree.tostring(root)
        for name in attributes:
            for how in ("removed", "empty"):
                root = ElementTree.fromstring(document)
                element = list(root.iter())[index]
                if how == "removed":
                    del element.attrib[name]
                else:
                    element.attrib[name] = ""
                yield f"{label}@{name} {how}", ElementTree.tostring(root)


def _ncmec_format() -> Format:
    options = {"environment": "csam"}

    def blanked() -> Iterator[Blanked]:
        for what, data in _blank_xml(_ncmec()):
            yield Blanked(what, data, options)

    positions = ("images[0]", "images[1]", "images[2]")
    return Format(
        "ncmec-xml",
        NCMECXML(),
        "ncmec-industry",
        options,
        positions,
        _ncmec().encode(),
        blanked,
    )


# The exchange formats, without what others say of an item


# A list without its items is another list; and a record without descriptors is ThreatExchange's word for a deletion.
_SAYS_SOMETHING_ELSE: Final = ("objects removed", "Event.Object removed", "descriptors removed")


def _json_format(
    name: str, connector: Connector, scheme: str, positions: tuple[str, ...], document: dict[str, Any]
) -> Format:
    def blanked() -> Iterator[Blanked]:
        for what, variant in _blank_json(document):
            if not what.endswith(_SAYS_SOMETHING_ELSE):
                yield Blanked(what, json.dumps(variant).encode(), {})

    return Format(name, connector, scheme, {}, positions, json.dumps(document).encode(), blanked)


def _threatexchange_format() -> Format:
    statuses = ("MALICIOUS", "NON_MALICIOUS", "SUSPICIOUS")
    records = [
        {
            "id": f"{i + 1}",
            "indicator": text("MD5", i),
            "type": "HASH_VIDEO_MD5",
            "last_updated": 1735787045,
            "should_delete": False,
            "descriptors": {
                "data": [
                    {"id": "7", "owner": {"id": "99"}, "status": status, "tags": {"data": [{"text": "synthetic"}]}}
                ]
            },
        }
        for i, status in enumerate(statuses)
    ]
    positions = tuple(f"data[{i}]" for i in range(len(statuses)))
    return _json_format("threatexchange", ThreatExchange(), "threatexchange", positions, {"data": records})


def _stix_format() -> Format:
    objects = [
        {
            "type": "file",
            "spec_version": "2.1",
            "id": f"file--{i}",
            "size": 1000,
            "mime_type": "image/jpeg",
            "hashes": {"MD5": text("MD5", i), "SHA-1": text("SHA1", i), "PDQ": text("PDQ", i)},
            "object_marking_refs": ["marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"],
            "extensions": {
                EXTENSION: {
                    "extension_type": "property-extension",
                    "stated_by_ref": "identity--1",
                    "classification": {"scheme": "vic-us@2.0", "value": value},
                    "external_id": f"syn-0-{i}",
                    "series": "SYNTHETIC",
                    "tags": ["a"],
                    "quality": 90,
                    "flags": {"victim_identified": True, "distributed": False},
                    "expire_time": "2099-12-31T00:00:00.000Z",
                }
            },
        }
        for i, value in enumerate(("1", "2", "0", "5"))
    ]
    positions = tuple(f"objects[{i}]" for i in range(len(objects)))
    return _json_format("stix", STIX(), "vic-us", positions, {"type": "bundle", "id": "bundle--1", "objects": objects})


def _misp_format() -> Format:
    objects = [
        {
            "name": "csam-hash",
            "uuid": f"syn-0-{i}",
            "template_uuid": str(TEMPLATE),
            "deleted": False,
            "Attribute": [
                {
                    "type": "md5",
                    "object_relation": "md5",
                    "value": text("MD5", i),
                    "deleted": False,
                    "Tag": [{"name": f'hashhub:classification="ncmec-industry@2022={value}"'}, {"name": "synthetic"}],
                },
                {"type": "text", "object_relation": "external-id", "value": f"syn-0-{i}"},
                {"type": "text", "object_relation": "quality", "value": "90"},
                {"type": "text", "object_relation": "victim-identified", "value": "yes"},
            ],
        }
        for i, value in enumerate(("A1", "B2"))
    ]
    event = {"info": "synthetic", "Orgc": {"name": "Somebody"}, "Object": objects, "Tag": [{"name": "tlp:amber"}]}
    return _json_format("misp", MISP(), "ncmec-industry", ("Event.Object[0]", "Event.Object[1]"), {"Event": event})


# Tables


def _table(rows: list[list[str]], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _blank_table(rows: list[list[str]], delimiter: str, options: Mapping[str, str]) -> Iterator[Blanked]:
    """Yield the table with each cell blank and cut off, and with each column removed."""
    for y, row in enumerate(rows[1:], 1):
        for x, name in enumerate(rows[0]):
            if y > 1 and row[x] == rows[1][x].replace("syn-0-0", f"syn-0-{y - 1}"):
                continue
            for how, cells in (
                ("blank", [*row[:x], " " * (y % 2), *row[x + 1 :]]),
                ("removed", [*row[:x], *row[x + 1 :]]),
            ):
                yield Blanked(f"row {y} {name} {how}", _table([*rows[:y], cells, *rows[y + 1 :]], delimiter), options)
    for x, name in enumerate(rows[0]):
        yield Blanked(f"column {name}", _table([[*r[:x], *r[x + 1 :]] for r in rows], delimiter), options)


_ICSE: Final = [
    "MD5", "SHA1", "PhotoDNA", "Image ID", "Is distributed", "Victim identified", "Offender identified", "Series name",
    "Number of submissions", "File Available", "Media Type", "Baseline",
]  # fmt: skip


def _icse() -> list[list[str]]:
    return [
        _ICSE,
        *(
            [text("MD5", i), text("SHA1", i), _hash("PHOTODNA", 0, i).digest.hex(), f"syn-0-{i}", "Y", "N", "Y",
             "SYNTHETIC", "3", "Y", "Image", baseline]
            for i, baseline in enumerate("YN")
        ),
    ]  # fmt: skip


def _icse_format() -> Format:
    return Format(
        "icse-csv",
        ICSECSV(),
        "interpol-baseline",
        {},
        ("line 2", "line 3"),
        _table(_icse(), ";"),
        lambda: _blank_table(_icse(), ";", {}),
    )


MAPPING: Final = """\
scheme = "uk-sentencing"
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
media_type = "type"
source_time = "added"
expire_time = "until"
quality = "quality"
tags = "tags"
[flags]
victim_identified = "victim"
offender_identified = "offender"
distributed = "distributed"
suspected = "suspected"
self_generated = "self"
[values]
"Cat A" = "A"
"""
_MAPPED: Final = [
    "md5", "sha1", "sha256", "pdq", "pdna", "category", "id", "series", "size", "type", "added", "until", "quality",
    "tags",
    "victim", "offender", "distributed", "suspected", "self",
]  # fmt: skip


def _mapped() -> list[list[str]]:
    return [
        _MAPPED,
        *(
            [text(name, i) for name in ("MD5", "SHA1", "SHA256", "PDQ")]
            + [_photodna(i), value, f"syn-0-{i}", "SYNTHETIC", "1000", "image/jpeg", "2025-01-02", "2099-12-31"]
            + ["90", "a,b", "yes", "no", "yes", "no", "yes"]
            for i, value in enumerate(("Cat A", "B", "C"))
        ),
    ]  # fmt: skip


def _mapped_format() -> Format:
    options = {"mapping": MAPPING}

    def blanked() -> Iterator[Blanked]:
        yield from _blank_table(_mapped(), ",", options)
        # A mapping that does not name a column: the source carries nothing of it.
        for line in MAPPING.splitlines():
            if "=" in line and not line.startswith("value"):  # which columns there are to read is for people to say
                without = MAPPING.replace(f"{line}\n", "")
                yield Blanked(f"mapping without {line}", _table(_mapped(), ","), {"mapping": without})

    return Format(
        "csv",
        MappedCSV(),
        "uk-sentencing",
        options,
        ("line 2", "line 3", "line 4"),
        _table(_mapped(), ","),
        blanked,
    )


# Lines


def _hashdeep() -> list[list[str]]:
    return [["1000", text("MD5", i), text("SHA256", i), f"/synthetic/{i}.jpg"] for i in range(2)]


def _hashdeep_text(rows: list[list[str]]) -> bytes:
    lines = ["%%%% HASHDEEP-1.0", "%%%% size,md5,sha256,filename", *(",".join(row) for row in rows)]
    return "\n".join([*lines, ""]).encode()


def _hashdeep_format() -> Format:
    def blanked() -> Iterator[Blanked]:
        rows = _hashdeep()
        for y, row in enumerate(rows):
            for x, name in enumerate(("size", "md5", "sha256", "filename")):
                for how, cells in (("empty", [*row[:x], "", *row[x + 1 :]]), ("removed", [*row[:x], *row[x + 1 :]])):
                    data = _hashdeep_text([*rows[:y], cells, *rows[y + 1 :]])
                    yield Blanked(f"row {y} {name} {how}", data, {})

    return Format(
        "hashdeep",
        HashLines(),
        "",
        {},
        ("line 3", "line 4"),
        _hashdeep_text(_hashdeep()),
        blanked,
    )


def _sums_format() -> Format:
    def full() -> list[tuple[str, str]]:
        return [(text("MD5", 0), "a.jpg"), (text("SHA1", 1), "b.jpg")]

    def data(rows: list[tuple[str, str]]) -> bytes:
        return "".join(f"{a}  {b}\n" for a, b in rows).encode()

    def blanked() -> Iterator[Blanked]:
        first, second = full()
        yield Blanked("digest empty", data([("", first[1]), second]), {})
        yield Blanked("name empty", data([(first[0], ""), second]), {})

    return Format("sums", HashLines(), "", {}, ("line 1", "line 2"), data(full()), blanked)


FORMATS: Final = (
    _vics_format("vics-2.0", "vic-us", modern=True),
    _vics_format("vics-1.3", "vic-us-legacy", modern=False),
    _ncmec_format(),
    _icse_format(),
    _mapped_format(),
    _hashdeep_format(),
    _sums_format(),
    _threatexchange_format(),
    _stix_format(),
    _misp_format(),
)
