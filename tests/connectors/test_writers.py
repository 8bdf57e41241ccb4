"""Every writer of ours keeps the contract that third parties' are held to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, ClassVar

import pytest

from hashhub import schemes
from hashhub.connector import Exported, Loss
from hashhub.model import TLP, Entry, HashSet, Marking
from hashhub.testing.connectors import ConnectorContract
from hashhub.testing.writers import WriterContract
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.csv_writer import CSVWriter
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.hash_lines_writer import HashLinesWriter
from hashhub_connectors.hashdeep_writer import HashdeepWriter
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.icse_writer import ICSEWriter
from hashhub_connectors.jsonl import HashhubJSONL, HashhubJSONLWriter
from hashhub_connectors.ncmec_writer import NCMECWriter
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS
from hashhub_connectors.vics_writer import VICSWriter

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"


def of_scheme(scheme: str) -> HashSet:
    name = schemes.load().get(scheme).name
    return HashSet(contributor="hotline", id="known", scheme=name, marking=Marking(tlp=TLP.GREEN, bulk=True))


class TestVICS20(WriterContract):
    writer = VICSWriter()
    connector = VICS()


class TestVICS13(WriterContract):
    writer = VICSWriter()
    connector = VICS()
    options: ClassVar = {"version": "1.3"}


class TestVICSOfUnitedKingdom(WriterContract):
    writer = VICSWriter()
    connector = VICS()
    hash_set = of_scheme("uk-sentencing")
    options: ClassVar = {"region": "UK"}


class TestNCMEC(WriterContract):
    writer = NCMECWriter()
    connector = NCMECXML()
    hash_set = of_scheme("ncmec-industry")


class TestNCMECOfMember(WriterContract):
    writer = NCMECWriter()
    connector = NCMECXML()
    hash_set = of_scheme("ncmec-industry")
    options: ClassVar = {"member": "9001"}


class TestICSE(WriterContract):
    writer = ICSEWriter()
    connector = ICSECSV()
    hash_set = of_scheme("interpol-baseline")


class TestFullTable(WriterContract):
    writer = CSVWriter()
    connector = MappedCSV()
    hash_set = of_scheme("uk-sap")


class TestFullTableWithFormulas(WriterContract):
    writer = CSVWriter()
    connector = MappedCSV()
    options: ClassVar = {"formulas": "keep"}


MAPPING = """
delimiter = ";"
scheme = "vic-us"
[columns]
md5 = "MD5-Wert"
sha256 = "SHA 256"
value = "Kategorie"
external_id = "Aktenzeichen; alt"
tags = ["Stichworte", "Weitere"]
[flags]
distributed = "Verbreitet"
[values]
"Kinderpornografie" = "1"
"2" = "1"
"""


class TestMappedTable(WriterContract):
    writer = CSVWriter()
    connector = MappedCSV()
    options: ClassVar = {"mapping": MAPPING}


class TestTableWithoutValues(WriterContract):
    writer = CSVWriter()
    connector = MappedCSV()
    options: ClassVar = {"mapping": '[columns]\nmd5 = "a"\npdq = "b"\nsha1 = "c"\n'}


class TestHashLines(WriterContract):
    writer = HashLinesWriter()
    connector = HashLines()


class TestPlainList(WriterContract):
    writer = HashLinesWriter()
    connector = HashLines()
    options: ClassVar = {"algorithm": "PDQ"}


class Late(HashLinesWriter):
    """Writes nothing before it has taken every entry."""

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        yield from super().write(list(entries), target, exported, options)


class OfLittle(WriterContract):
    writer = Late()
    connector = HashLines()
    options: ClassVar = {"algorithm": "MD5"}


def test_who_holds_all_back_is_found_also_where_an_entry_is_33_bytes() -> None:
    with pytest.raises(AssertionError, match="bytes were held back"):
        OfLittle().test_streams()


class TestSums(WriterContract):
    writer = HashLinesWriter()
    connector = HashLines()
    options: ClassVar = {"algorithm": "sha-256", "names": "yes"}


class TestHashdeep(WriterContract):
    writer = HashdeepWriter()
    connector = HashLines()


class TestHashdeepOfTwo(WriterContract):
    writer = HashdeepWriter()
    connector = HashLines()
    options: ClassVar = {"algorithms": "md5,sha256"}


class TestJSONLines(WriterContract):
    writer = HashhubJSONLWriter()
    connector = HashhubJSONL()


class TestReadingJSONLines(ConnectorContract):
    connector = HashhubJSONL()
    items = 4
    self_delimiting = True
    sample = f"""\
{{"format":"hashhub-entries","version":1,"time":"2026-01-02T03:04:05Z","is_delta":false,"hash_sets":[\
{{"hash_set":"nl/known","scheme":"vic-us@2.0","purpose":"CSAM","marking":{{"tlp":"AMBER"}}}}]}}
{{"entry":"nl/known/7","hashes":["MD5:{MD5}"],"scheme":"vic-us@2.0","value":"1","external_id":"é","flags":\
{{"distributed":true}},"expire_time":"2027-01-02T03:04:05Z"}}
{{"entry":"nl/known/8","state":"WITHDRAWN","hashes":["MD5:{MD5}"]}}
no object
{{"entry":"nl/known/9","hashes":["MD5:7b47"]}}
{{"end":4}}
""".encode()
