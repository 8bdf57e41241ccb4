"""The synthetic lists and the connectors fit together: what is written in a format is read back, dirt is told apart."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from hashhub.connector import Connector
from hashhub.hashes import Hash, parse
from hashhub.hygiene import Code
from hashhub.model import Action, Record, Reject
from hashhub.testing import lists
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS

CONNECTORS: dict[str, Connector] = {c.name: c for c in (VICS(), NCMECXML(), ICSECSV(), MappedCSV(), HashLines())}
ALGORITHMS = ("MD5", "SHA1", "SHA256", "PHOTODNA", "PDQ")
VALUES = {
    "vics": ("0", "1", "2"),
    "ncmec-xml": ("A1", "B2"),
    "icse-csv": ("Y", "N"),
    "csv": ("A", "B", "C"),
    "hash-lines": ("",),
}
# What a format can hold of an item's hashes.
HELD = {
    "icse-csv": {"MD5", "SHA1", "PHOTODNA"},
    "hashdeep": {"MD5", "SHA256"},
    "md5sum": {"MD5"},
    "md5sum-tagged": {"MD5"},
    "x-ways": {"MD5"},
    "plain-md5": {"MD5"},
    "sha1sum": {"SHA1"},
    "sha256sum": {"SHA256"},
    "plain-sha256": {"SHA256"},
    "plain-pdq": {"PDQ"},
}


def read(listed: lists.ListFile) -> list[Record | Reject]:
    return list(CONNECTORS[listed.connector].read(io.BytesIO(listed.data), listed.options))


def made(variant: str, *, count: int = 40) -> list[lists.ListItem]:
    connector = lists.list_file(variant, []).connector
    return lists.random_items(count, seed=7, algorithms=ALGORITHMS, values=VALUES[connector])


@pytest.mark.parametrize("variant", lists.VARIANTS)
@pytest.mark.parametrize("dirty", [False, True])
def test_every_variant_reads_back_what_was_listed(variant: str, dirty: bool) -> None:
    items = made(variant)
    listed = lists.list_file(variant, items, dirty=dirty)
    results = read(listed)
    assert len(results) == listed.items
    assert listed.items >= len(items)
    records = [r for r in results if isinstance(r, Record) and r.action is Action.CONTRIBUTE]
    held = HELD.get(variant, set(ALGORITHMS))
    wanted = Counter(frozenset(parse(n, t) for n, t in one.digests if n in held) for one in items)
    assert Counter(frozenset(r.hashes) for r in records) == wanted
    by_hash: dict[Hash, Record] = {h: r for r in records for h in r.hashes}
    for one in items:
        record = by_hash[next(parse(n, t) for n, t in one.digests if n in held)]
        assert record.value == one.value
        if listed.connector in {"vics", "icse-csv", "csv"}:
            assert record.flags.victim_identified is one.flags.victim_identified
            assert record.series.removesuffix("; quoted") == one.series
        if listed.connector in {"vics", "csv"}:
            assert record.media_size == one.media_size
            assert record.tags == one.tags


@pytest.mark.parametrize("variant", lists.VARIANTS)
def test_dirt_is_told_apart_and_counted(variant: str) -> None:
    items = lists.soiled(made(variant), seed=3)
    listed = lists.list_file(variant, items, dirty=True)
    results = read(listed)
    assert len(results) == listed.items
    rejects = [r for r in results if isinstance(r, Reject)]
    assert rejects
    assert {r.reason for r in rejects} <= set(Code)
    records = [r for r in results if isinstance(r, Record)]
    assert len(records) >= 40
    assert {f.reason for r in records for f in r.faults} <= set(Code)


def test_the_same_seed_gives_the_same_bytes() -> None:
    for variant in lists.VARIANTS:
        first, again = (lists.list_file(variant, lists.soiled(made(variant), seed=5), dirty=True) for _ in range(2))
        assert first == again
    assert lists.random_items(3, seed=1) != lists.random_items(3, seed=2)


def test_contributors_overlap_and_conflict() -> None:
    items = lists.random_items(400, seed=1)
    shares = lists.overlapping(items, {"a": ("1", "2"), "b": ("A1", "B2"), "c": ("Y",)}, seed=1)
    stated = Counter(one.digests for share in shares.values() for one in share)
    assert set(stated) == {one.digests for one in items}
    assert 100 < sum(n > 1 for n in stated.values()) < 300
    assert {one.value for one in shares["b"]} == {"A1", "B2"}


def test_many_vics_records_are_what_they_say() -> None:
    out = io.BytesIO()
    lists.write_many_vics(out, 12_001, seed=1, photodna=True)
    items = list(VICS().read(io.BytesIO(out.getvalue()), {}))
    assert len(items) == 12_001
    assert all(isinstance(r, Record) and len(r.hashes) == 3 and not r.faults and r.region == "US" for r in items)
    assert len({r.hashes for r in items if isinstance(r, Record)}) == 12_001
    plain = io.BytesIO()
    lists.write_many_vics(plain, 1000, seed=1)
    assert 400 < len(plain.getvalue()) / 1000 < 500
