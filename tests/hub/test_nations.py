"""The three invented nations go in whole, and differ as they were made to."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from hashhub.model import Record, Reject
from hashhub.schemes import load
from hashhub.testing import nations
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS


def read(name: str) -> Iterator[Record]:
    data = io.BytesIO(nations.files()[name][0])
    mapping = {"mapping": nations.files()["gb.toml"][0].decode()}
    readers: dict[str, Callable[[], Iterator[Record | Reject]]] = {
        "us.json": lambda: VICS().read(data, {}),
        "gb.csv": lambda: MappedCSV().read(data, mapping),
        "nl.xml": lambda: NCMECXML().read(data, {}),
        "harmless.txt": lambda: HashLines().read(data, {}),
        "uploads.txt": lambda: HashLines().read(data, {}),
    }
    records = readers[name]()
    for record in records:
        assert isinstance(record, Record), record
        yield record


@pytest.mark.parametrize(
    ("name", "nation", "scheme"),
    [("us.json", "us", "vic-us"), ("gb.csv", "gb", "uk-sentencing"), ("nl.xml", "nl", "ncmec-industry")],
)
def test_every_item_goes_in_with_a_value_of_its_scheme(name: str, nation: str, scheme: str) -> None:
    records, listed = list(read(name)), nations.listed(nation)
    assert len(records) == len(listed)
    assert all(load().get(scheme).resolve(record.value) for record in records)
    values = {one.digest("MD5"): (one.value, {name for name, _ in one.digests}) for one in listed}
    for record in records:
        md5 = next(h.digest.hex() for h in record.hashes if h.algorithm == "MD5")
        assert (record.value, {h.algorithm for h in record.hashes}) == values[md5]


def test_they_share_items_by_exact_digests_and_some_only_by_a_near_hash() -> None:
    digests = {n: {h for r in read(f) for h in r.hashes} for n, f in (("us", "us.json"), ("nl", "nl.xml"))}
    md5 = {n: {h for h in hashes if h.algorithm == "MD5"} for n, hashes in digests.items()}
    copies = {one.copy[0]: one for one in nations.world()}
    only_near = [copies[h] for h in md5["nl"] if h in copies and copies[h].hashes[0] in md5["us"]]
    assert len(md5["us"] & md5["nl"]) > 100
    assert only_near
    for one in only_near:
        bits = (int.from_bytes(h.digest) for h in (one.hashes[2], one.copy[2]))
        assert (next(bits) ^ next(bits)).bit_count() == 10


def test_one_harmless_file_is_listed() -> None:
    harmless = {h for r in read("harmless.txt") for h in r.hashes}
    assert len(harmless) == 20
    assert len(harmless & {h for r in read("us.json") for h in r.hashes}) == 1
    assert len(list(read("uploads.txt"))) == 100
