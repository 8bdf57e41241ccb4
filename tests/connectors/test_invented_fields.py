"""Fields that nobody has thought of: nothing of their values is kept, in any format, and each is told by name. What is
kept of the same bytes changes only with a connector's version.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.connector import LeftOut, discover, get
from hashhub.model import Record, Reject
from hashhub_connectors.ncmec_xml import NAMESPACE

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
PDQ = "f8f8f0cce0f4a84f0e370a22028f67f0b36e2ed596623e1d33e6b39c4e9c9b22"
SECRET = "SYNTHETIC PERSON 4711"  # noqa: S105 - none
FIELD = "VictimName"
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"


def read(name: str, data: bytes, options: dict[str, str]) -> tuple[list[Record | Reject], dict[str, str]]:
    """Return what a connector reads, and what it says of fields that it left out."""
    connector = get(name)
    generator: Iterator[Any] = connector.read(io.BytesIO(data), options)
    items: list[Record | Reject] = []
    while True:
        try:
            items.append(next(generator))
        except StopIteration as end:
            left_out = end.value
            break
    assert isinstance(left_out, LeftOut), f"{name} says nothing of what it leaves out"
    return items, {r.position.removeprefix("field "): r.detail for r in left_out.told()}


def vics(**more: Any) -> bytes:
    return json.dumps({"@odata.context": V20, "value": [{"MD5": MD5, **more}]}).encode()


def jsonl(line: dict[str, Any], head: dict[str, Any] | None = None) -> bytes:
    first = {"format": "hashhub-entries", "version": 2, "time": "2026-01-01T00:00:00Z", "is_delta": False}
    return b"\n".join(
        json.dumps(x).encode()
        for x in ({**first, "hash_sets": [], **(head or {})}, {"entry": "nl/a/1", "hashes": [f"MD5:{MD5}"], **line},
                  {"end": 1})
    ) + b"\n"  # fmt: skip


OWN = "extension-definition--a6af0206-0bc2-40c4-919b-20d1aa6da5f9"
FILE = {
    "type": "file",
    "id": "file--5ba3c0d5-d3ae-5b6a-a1b2-4c1b7a5b1f00",
    "spec_version": "2.1",
    "hashes": {"MD5": MD5},
}
EXTRA = json.dumps({FIELD: SECRET})
INVENTED = {FIELD: SECRET}
MISP = {"type": "md5", "value": MD5, "object_relation": "md5", "category": "Other"}
NCMEC = (
    f'<queryResult xmlns="{NAMESPACE}"><images count="1"><image>%s<member id="1">M</member><id>a</id>%s'
    "</image></images></queryResult>"
)

ICSE = (
    "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline"
)
RDS = "SHA-1,MD5,CRC32,FileName,FileSize,ProductCode,OpSystemCode,SpecialCode"

CASES: list[tuple[str, bytes, dict[str, str]]] = [
    ("vics", vics(**INVENTED), {}),
    ("vics", vics(Segments=[{"Start": 1, **INVENTED}]), {}),
    ("vics", vics(Segments=[{"Start": INVENTED}]), {}),
    ("vics", vics(AlternativeHashes=[{"HashName": "SHA1", "HashValue": "00" * 20, **INVENTED}]), {}),
    ("vics", vics(Tags=INVENTED), {}),
    ("vics", vics(MediaFiles=[{"FileName": SECRET, "FilePath": SECRET}]), {}),
    ("vics", vics(IsPrecategorized=INVENTED, PrecategorizationSource=[INVENTED]), {}),
    ("vics", json.dumps({"@odata.context": V20, FIELD: SECRET, "value": [{"MD5": MD5}]}).encode(), {}),
    ("vics", json.dumps({"@odata.context": V20, "value": [{FIELD: SECRET, "Media": [{"MD5": MD5}]}]}).encode(), {}),
    (
        "vics",
        json.dumps(
            {"@odata.context": V20, "value": [{"MD5": f"{n:032x}", FIELD: SECRET} for n in range(1, 999)]}
        ).encode(),
        {},
    ),
    ("vics", vics(**INVENTED, Filler=["x" * 100] * 20_000), {}),
    ("hashhub-jsonl", jsonl(INVENTED), {}),
    ("hashhub-jsonl", jsonl({"extra": EXTRA}), {}),
    ("hashhub-jsonl", jsonl({}, INVENTED), {}),
    ("hashhub-jsonl", jsonl({"reviews": [{"kind": "CONFIRMED", "author": "at", **INVENTED}]}), {}),
    (
        "stopncii",
        json.dumps([{"signalType": "ImagePDQ", "hashValue": PDQ, "hashStatus": "Active", **INVENTED}]).encode(),
        {},
    ),
    (
        "stopncii",
        json.dumps(
            [
                {
                    "signalType": "ImagePDQ",
                    "hashValue": PDQ,
                    "hashStatus": "Active",
                    "CSPFeedbacks": [{"source": "a", **INVENTED}],
                }
            ]
        ).encode(),
        {},
    ),
    (
        "threatexchange",
        json.dumps([{"indicator": MD5, "type": "HASH_MD5", "descriptors": [], **INVENTED}]).encode(),
        {},
    ),
    (
        "threatexchange",
        json.dumps(
            [
                {
                    "indicator": MD5,
                    "type": "HASH_MD5",
                    "descriptors": {"data": [{"owner": {"id": "1", FIELD: SECRET}, "status": "MALICIOUS", **INVENTED}]},
                }
            ]
        ).encode(),
        {},
    ),
    (
        "threatexchange",
        f"signal_type,signal_str,collab,category,tags,{FIELD}\nmd5,{MD5},c,POSITIVE_CLASS,t,{SECRET}\n".encode(),
        {},
    ),
    ("stix", json.dumps({"type": "bundle", "objects": [{**FILE, **INVENTED}]}).encode(), {}),
    ("stix", json.dumps({"type": "bundle", "objects": [{**FILE, "extensions": {OWN: INVENTED}}]}).encode(), {}),
    ("stix", json.dumps({"type": "bundle", "objects": [{**FILE, "extensions": {OWN: {"extra": EXTRA}}}]}).encode(), {}),
    (
        "stix",
        json.dumps(
            {"type": "bundle", "objects": [FILE, {"type": "identity", "id": "identity--1", **INVENTED}]}
        ).encode(),
        {},
    ),
    ("misp", json.dumps({"Event": {"Attribute": [{**MISP, **INVENTED}]}}).encode(), {}),
    ("misp", json.dumps({"Event": {FIELD: SECRET, "Attribute": [MISP]}}).encode(), {}),
    (
        "misp",
        json.dumps(
            {
                "Event": {
                    "Object": [
                        {
                            "name": "file",
                            "Attribute": [MISP, {"type": "text", "object_relation": FIELD, "value": SECRET}],
                        }
                    ]
                }
            }
        ).encode(),
        {},
    ),
    (
        "ncmec-xml",
        (NCMEC % ("", f"<fingerprints><md5>{MD5}</md5></fingerprints><{FIELD}>{SECRET}</{FIELD}>")).encode(),
        {},
    ),
    (
        "ncmec-xml",
        (
            NCMEC % ("", f'<fingerprints><md5>{MD5}</md5></fingerprints><timestamp {FIELD}="{SECRET}">t</timestamp>')
        ).encode(),
        {},
    ),
    ("csv", f"md5,{FIELD}\n{MD5},{SECRET}\n".encode(), {"mapping": '[columns]\nmd5 = "md5"\n'}),
    ("icse-csv", f"{ICSE};{FIELD}\n{MD5};;;1;n;n;n;;;;;Y;{SECRET}\n".encode(), {}),
    (
        "hashkeeper",
        f"file_id,hashset_id,file_name,directory,hash,file_size,{FIELD}\n1,2,a,b,{MD5},7,{SECRET}\n".encode(),
        {},
    ),
    ("ilook", f"V1Hash,HashType,SetDescription,FileName,FileSize,{FIELD}\n{MD5},1,d,a,7,{SECRET}\n".encode(), {}),
    ("nsrl", f"{RDS},{FIELD}\n{'0a' * 20},{MD5},,a,7,1,1,,{SECRET}\n".encode(), {}),
    (
        "arachnid",
        json.dumps(
            {
                "sha1_base32": "A" * 32,
                "sha256_hex": "0b" * 32,
                "classification": "csam",
                "match_type": "exact",
                **INVENTED,
            }
        ).encode(),
        {},
    ),
    ("arachnid", json.dumps({"scanned_hashes": {PDQ: {"classification": "csam", **INVENTED}}}).encode(), {}),
    ("vpdq", json.dumps({"0": {"quality": 100, "hash": PDQ, "timestamp": 0.0, **INVENTED}}).encode(), {}),
]


@pytest.mark.parametrize(("name", "data", "options"), CASES, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(CASES)])
def test_an_invented_field_is_told_and_not_kept(name: str, data: bytes, options: dict[str, str]) -> None:
    items, told = read(name, data, options)
    assert any(isinstance(one, Record) for one in items), items
    assert SECRET not in msgspec.json.encode(items).decode()
    assert SECRET not in str(told)
    assert any(FIELD in field for field in told) or "MediaFiles" in told, told
    if len(items) == 998:
        assert told[FIELD].startswith("left out 998 times")


@given(
    st.sampled_from([case for case in CASES if len(case[1]) < 10_000]),
    st.from_regex(r"Zq[A-Za-z]{3,30}", fullmatch=True),
    st.from_regex(r"SYNTHETIC [A-Za-z0-9 ]{3,60}7", fullmatch=True),
)
def test_no_field_whatever_its_name_is_kept(case: tuple[str, bytes, dict[str, str]], field: str, secret: str) -> None:
    name, data, options = case
    items, told = read(
        name, data.replace(FIELD.encode(), field.encode()).replace(SECRET.encode(), secret.encode()), options
    )
    assert any(isinstance(one, Record) for one in items), items
    assert secret not in f"{msgspec.json.encode(items).decode()}{told}"
    assert field not in msgspec.json.encode(items).decode()
    counted = [LeftOut.times(detail) for one, detail in told.items() if field in one or one == "MediaFiles"]
    assert counted
    assert all(counted)


def test_a_sentence_that_counts_nothing_counts_once() -> None:
    left_out = LeftOut()
    left_out.see("x", 1_234_567)
    assert [LeftOut.times(r.detail) for r in left_out.told()] == [1_234_567]
    assert [LeftOut.times(text) for text in ("", "left out , times:", "left out 9 times", "left out " + "9" * 99)] == [
        1
    ] * 4


@pytest.mark.parametrize(
    "line",
    [
        f"{MD5}  {SECRET}",
        f"{MD5} *{SECRET}",
        f"MD5 ({SECRET}) = {MD5}",
        f"MD5:{MD5}  {SECRET}",
        f"{PDQ},97,{SECRET}",
        f"12345  {MD5}  {SECRET}",
        f"{SECRET}  {MD5}",
    ],
)
def test_file_names_are_told(line: str) -> None:
    items, told = read("hash-lines", line.encode() + b"\n", {})
    assert [type(one) for one in items] == [Record]
    assert SECRET not in str(items)
    assert told == {"file name": "left out 1 time: hashhub keeps no such field"}
    hashdeep = f"%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n7,{MD5},{SECRET}\n"
    assert set(read("hash-lines", hashdeep.encode(), {})[1]) == {"file name"}


def test_columns_and_tables_of_databases_are_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.kdb") as database:
        database.executescript(
            "CREATE TABLE db_properties (name TEXT, value TEXT);"  # noqa: S608 - our own
            "INSERT INTO db_properties VALUES ('schema version','1');"
            f"CREATE TABLE hashes (id INTEGER, md5 BLOB, {FIELD} TEXT);CREATE TABLE comments (comment TEXT);"
            f"INSERT INTO hashes VALUES (1, x'{MD5}', '{SECRET}');INSERT INTO comments VALUES ('{SECRET}');"
        )
    database.close()
    items, told = read("kdb", (tmp_path / "x.kdb").read_bytes(), {})
    assert SECRET not in str(items)
    assert set(told) == {FIELD, "table comments"}


def test_names_are_bounded_and_printable() -> None:
    hostile = {f"{'x' * 5000}{n}": 1 for n in range(20)} | {f"\x1b[31m\u202e\n{n}": 1 for n in range(500)}
    _, told = read("vics", vics(**hostile, Nothing=None, Empty=""), {})
    assert len(told) <= 101
    assert all(len(name) <= 120 and name.isprintable() for name in told)
    assert told["x" * 120].startswith("left out 20 times")
    assert "Nothing" not in told
    assert "Empty" not in told


# Control characters in texts, which are noted.
BELL = "a\x07b"
MORE: list[tuple[str, bytes, dict[str, str]]] = [
    ("csv", f"md5,series\n{MD5},{BELL}\n".encode(), {"mapping": '[columns]\nmd5 = "md5"\nseries = "series"\n'}),
    ("icse-csv", f"{ICSE}\n{MD5};;;1;n;n;n;{BELL};;;;Y\n".encode(), {}),
    (
        "ncmec-xml",
        (NCMEC % ("", f"<fingerprints><md5>{MD5}</md5></fingerprints><timestamp>a&#x85;b</timestamp>")).encode(),
        {},
    ),
    ("hash-lines", f"MD5:{MD5}  name\nPDQ:{PDQ},97\nMD5  {MD5}  C:\\name\n".encode(), {}),
]
# Of each: its version, and the beginning of a digest of what it reads of these cases.
READ = {
    "arachnid": ("1", "cd57b820"),
    "csv": ("5", "747579e3"),
    "hash-lines": ("5", "6c520a98"),
    "hashhub-jsonl": ("4", "dabb30d9"),
    "hashkeeper": ("1", "a518d57a"),
    "icse-csv": ("4", "59134857"),
    "ilook": ("1", "a518d57a"),
    "misp": ("3", "e67bcbc8"),
    "ncmec-xml": ("6", "d316abf3"),
    "nsrl": ("1", "db91d999"),
    "stix": ("3", "c887cab9"),
    "stopncii": ("3", "4a8885a9"),
    "threatexchange": ("4", "51e61934"),
    "vics": ("6", "e75d2d7e"),
    "vpdq": ("1", "da6b587c"),
}
BINARY = {"encase", "kdb"}  # compared in test_forensic.py


def test_every_connector_is_compared() -> None:
    assert READ.keys() | BINARY == discover().keys()


@pytest.mark.parametrize("name", READ)
def test_what_it_reads_has_changed_only_with_its_version(name: str) -> None:
    connector = get(name)
    cases = [(data, options) for n, data, options in (*CASES, *MORE) if n == name]
    read = [list(connector.read(io.BytesIO(data), options)) for data, options in cases]
    digest = hashlib.sha256(msgspec.json.encode(read)).hexdigest()[:8]
    assert (connector.version, digest) == READ[name], "give it a new version where the same bytes give other records"
