"""docs/contribute/formats.md: its table has every format, and says of each what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from hashhub import connector
from hashhub.connector import NCII_TAG, Exported
from hashhub.model import Classification, HashSet, Purpose, SchemeStatus
from hashhub.testing.writers import TIME, as_video, known_schemes, random_entry, written

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/contribute/formats.md").read_text("utf-8")
FIELDS = {
    *("external_id", "member", "flags", "media_type", "media_size", "series", "tags", "quality", "source_time"),
    *("expire_time", "extra"),
}
KNOWN = known_schemes()


class Row(NamedTuple):
    section: str
    what: str
    reads: str
    writes: str
    loses: str
    checked_by: str


ROWS = {
    name: Row(section, *(cell.strip() for cell in cells.split("|")))
    for name, section, cells in re.findall(r"^\| \[`([\w-]+)`\]\(#([\w-]+)\) \|(.*)\|$", PAGE, re.MULTILINE)
}


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", cell))


def test_every_format_has_its_row_and_section() -> None:
    assert set(ROWS) == {*connector.discover(), *connector.writers()}
    for name, row in ROWS.items():
        assert f"\n## {row.section}\n" in PAGE, name
        assert row.section in {name, "threatexchange"}, name


@pytest.mark.parametrize("name", sorted({*connector.discover(), *connector.writers()}))
def test_in_and_out_are_as_told(name: str) -> None:
    readers, writers = connector.discover(), connector.writers()
    if name in readers:
        assert ROWS[name].reads == "yes"
    else:  # what we write, we read
        assert ROWS[name].reads == f"by `{writers[name].reads_back}`"
    assert ROWS[name].writes == ("yes" if name in writers else "-")
    assert bool(ROWS[name].loses) == (name in writers)


def lost_fields(name: str) -> set[str]:
    """Return the fields of entries that a writer has no place for, by what it says of many that fit it."""
    writer = connector.get_writer(name)
    schemes = {"vics": "vic-us", "ncmec-xml": "ncmec-industry", "icse-csv": "interpol-baseline", "csv": "uk-sap"}
    scheme = schemes.get(name, "threatexchange" if "threatexchange" in name else "")
    is_benign, is_ncii = name == "nsrl", name == "stopncii"
    hash_set = HashSet(
        contributor="nl",
        id="known",
        scheme=KNOWN[scheme].name if scheme else "",
        purpose=Purpose.BENIGN if is_benign else Purpose.CSAM,
        accepted_revision=10 if is_benign else 0,
    )
    entries = [random_entry(Random(n), n, hash_set, KNOWN, writer.reads_back) for n in range(1, 800)]
    if is_ncii:
        value = Classification(
            scheme="stopncii", version="1", region="ZZ", value="Active", status=SchemeStatus.DRAFT, dimensions={}
        )
        entries = [msgspec.structs.replace(e, classification=value, tags=(NCII_TAG, *e.tags)) for e in entries]
    if name == "vpdq":
        entries = [as_video(e, Random(e.id)) for e in entries]
    data, losses = written(writer, entries, Exported({hash_set.name: hash_set}, KNOWN, TIME), {})
    assert len(data) > 1000, "most entries were left out, so that little is said about fields"
    reasons = {"NO_PLACE", "OTHER_FORMAT"}
    return {loss.field.removeprefix("provenance.") for loss in losses if loss.entry and loss.reason in reasons} & FIELDS


@pytest.mark.parametrize("name", sorted(connector.writers()))
def test_what_an_export_loses_is_as_told(name: str) -> None:
    cell = ROWS[name].loses.split(";")[0]
    told = names_in(cell)
    if name == "threatexchange-csv":
        told |= names_in(ROWS["threatexchange"].loses)
    if "every field" in cell:
        told = FIELDS - told
    assert told & FIELDS == lost_fields(name)


def test_who_checked_it_does_so_in_a_test() -> None:
    tests = "\n".join(
        p.read_text("utf-8") for folder in ("interop", "connectors") for p in (ROOT / "tests" / folder).glob("*.py")
    )
    named = {name for row in ROWS.values() for name in names_in(row.checked_by)}
    assert {"hashdeep", "stix2-validator", "pymisp", "threatexchange"} <= named
    for name in named:
        module = name.replace("-", "")
        assert re.search(rf"""["']{module}[."']|^import {module}$""", tests, re.MULTILINE), f"no test uses {name}"


def test_the_page_of_exports_has_every_format_that_is_written() -> None:
    table = (ROOT / "docs/contribute/export.md").read_text("utf-8").split("\n## Formats\n")[1]
    assert set(re.findall(r"^\| `([a-z][\w-]+)` \|", table, re.MULTILINE)) == set(connector.writers())


def test_every_reason_of_a_loss_is_explained() -> None:
    """Reasons are told by what the writers say of entries of any kind, and by the words of their sources."""
    page = (ROOT / "docs/contribute/export.md").read_text("utf-8").split("## Losses")[1].split("## Formats")[0]
    sources = "".join(p.read_text("utf-8") for p in (ROOT / "connectors/hashhub_connectors").glob("*.py"))
    given = set(re.findall(r'(?:Loss|Spelling)\([^()"]*(?:"[a-z]*",\s*)*"([A-Z]+(?:_[A-Z]+)*)"', sources))
    assert {"NO_PLACE", "NO_HARM_CLAIM", "TRANSLATED", "WITHDRAWAL_OF_ALL", "NO_HASH"} <= given
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", page))
    assert given <= told, f"docs/contribute/export.md does not explain {sorted(given - told)}"
    assert {"NO_WITHDRAWALS", "ANOTHER_PURPOSE", "HASHES_PARTED"} <= told
