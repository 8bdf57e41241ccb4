"""Files of other tools: read, or named with what to do."""

from __future__ import annotations

import io
import zipfile

import pytest

from hashhub.client import sources
from hashhub.connector import Certainty, choose, recognise
from hashhub.errors import InvalidArgument
from hashhub.model import Record
from hashhub_connectors.hash_lines import HashLines

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA256 = "a3" * 32
HEAD = "\r\nAlgorithm       Hash          Path\r\n---------       ----          ----\r\n"
TABLE = f"{HEAD}SHA256  {SHA256.upper()}  C:\\a b.jpg\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_powershell(encoding: str) -> None:
    data = TABLE.encode(encoding)
    (name, guess), *_ = recognise(data)
    assert (name, guess.certainty) == ("hash-lines", Certainty.LIKELY)
    (record,) = HashLines().read(io.BytesIO(data), guess.options)
    assert isinstance(record, Record)
    assert record.hashes[0].text == f"SHA256:{SHA256}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("<?xml version='1.0'?>\n<!-- x --><dfxml version='1.0'>", "DFXML"),
        ('[{"id": 1, "hash_digest": "x", "algorithm": "MD5", "deleted": false}]', "Tech Against Terrorism"),
        (f'{{"MediaID": 1, "MD5": "{MD5}"}}\n{{"MD5": "{MD5}"}}\n', "JSON lines of Media"),
        (f"{MD5}\r{MD5}\r", "lines end in CR alone"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(data: str, said: str) -> None:
    what = sources.describe(data.encode())
    assert said in what
    with pytest.raises(InvalidArgument) as refused:
        choose([], what)
    named, todo = what.split("; ", 1)
    assert refused.value.message == f"this is {named}, which no installed connector reads; {todo}"


@pytest.mark.parametrize("data", [f"{MD5}\n", f"{MD5}\r\n", f'[{{"MD5": "{MD5}"}}]', "md5,size\r\nx,1\r\n", "{}"])
def test_lists_are_not_taken_for_them(data: str) -> None:
    assert sources.describe(data.encode()) == ""


def test_a_spanned_archive_of_one_piece_is_opened() -> None:
    made = io.BytesIO()
    made.write(b"PK00")
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("list.txt", MD5 + "\n")
    unpacked = sources.unpack(io.BytesIO(made.getvalue()), "x.zip")
    assert unpacked is not None
    assert unpacked.stream.read() == MD5.encode() + b"\n"
