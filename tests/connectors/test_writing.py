"""What our writers write, format by format: what partners' tools expect, and what must not be said."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.connector import Connector, Exported, Loss, Writer, discover, get_writer, writers
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    TLP,
    Action,
    Entry,
    EntryState,
    Flags,
    HashSet,
    Marking,
    Provenance,
    Purpose,
    Record,
    Reject,
)
from hashhub.testing.writers import TEXTS, as_withdrawn, check_round_trip, known_schemes, written
from hashhub_connectors.csv_writer import own_mapping
from tests.examples import examples

KNOWN = known_schemes()
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_set(name: str = "nl/known", scheme: str = "vic-us", **fields: Any) -> HashSet:
    contributor, _, set_id = name.partition("/")
    fields.setdefault("marking", Marking(tlp=TLP.CLEAR))
    return HashSet(contributor=contributor, id=set_id, scheme=KNOWN[scheme].name if scheme else "", **fields)


def export_of(*sets: HashSet, is_delta: bool = False) -> Exported:
    return Exported({s.name: s for s in sets}, KNOWN, TIME, is_delta)


def an_entry(number: int = 1, scheme: str = "vic-us", value: str = "1", **fields: Any) -> Entry:
    hashes = fields.pop("hashes", tuple(Hash(a.name, number.to_bytes(a.digest_bytes)) for a in ALGORITHMS.values()))
    fields.setdefault("provenance", PROVENANCE)
    return Entry(
        id=number,
        contributor=fields.pop("contributor", "nl"),
        hash_set=fields.pop("hash_set", "known"),
        hashes=hashes,
        state=fields.pop("state", EntryState.ACTIVE),
        classification=KNOWN[scheme].resolve(value) if value else None,
        **fields,
    )


PROVENANCE = Provenance(
    import_id="imp", connector="vics", connector_version="1", source_digest="00" * 32, position="value[0]"
)


def text_of(writer: str, *entries: Entry, exported: Exported | None = None, **options: str) -> tuple[str, list[Loss]]:
    data, losses = written(get_writer(writer), entries, exported or export_of(a_set()), options)
    return data.decode(), losses


def fields_of(losses: list[Loss]) -> set[tuple[str, str]]:
    return {(loss.field, loss.reason) for loss in losses}


def test_all_are_installed_and_read_by_an_installed_connector_or_one_that_comes() -> None:
    assert {"vics", "ncmec-xml", "icse-csv", "csv", "hash-lines", "hashdeep", "nsrl", "hashhub-jsonl"} <= set(writers())
    for name, writer in writers().items():
        assert name == writer.name
        assert writer.reads_back in {*discover(), "nsrl"}


# Property: any entries, through any pair of writer and connector.

_texts = st.one_of(
    st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
)
_values = st.sampled_from([(s.id, v) for s in KNOWN.values() for v in s.values] + [("", "")] * 5)
PAIRS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "vics": ("vic-us", {}),
    "vics 1.3": ("vic-us", {"version": "1.3"}),
    "ncmec-xml": ("ncmec-industry", {}),
    "icse-csv": ("interpol-baseline", {}),
    "csv": ("uk-sentencing", {}),
    "csv with formulas": ("", {"formulas": "keep"}),
    "hash-lines": ("", {}),
    "hash-lines of MD5": ("", {"algorithm": "md5", "names": "yes"}),
    "hashdeep": ("", {"algorithms": "sha1,md5"}),
    "hashhub-jsonl": ("copine", {}),
}


@st.composite
def _entries(draw: st.DrawFn) -> list[Entry]:
    made = []
    for number in range(1, draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(list(ALGORITHMS)), min_size=1, max_size=4))
        hashes = tuple(
            dict.fromkeys(Hash(n, bytes([number, i]) * (ALGORITHMS[n].digest_bytes // 2)) for i, n in enumerate(names))
        )
        scheme, value = draw(_values)
        classification = KNOWN[scheme].resolve(value) if scheme else None
        flag = st.sampled_from([None, True, False])
        made.append(
            Entry(
                id=number,
                contributor="nl",
                hash_set="known",
                hashes=hashes,
                state=draw(st.sampled_from([EntryState.ACTIVE] * 5 + [EntryState.QUARANTINED])),
                provenance=msgspec.structs.replace(
                    PROVENANCE,
                    connector=draw(st.sampled_from(["vics", "ncmec-xml", "other"])),
                    member=draw(st.sampled_from(["", "9001", "9001 A & B", "x"])),
                ),
                classification=classification,
                reasons=() if classification or draw(st.booleans()) else ("UNCLASSIFIED",),
                flags=Flags(**{name: draw(flag) for name in Flags.__struct_fields__}),
                external_id=draw(st.sampled_from(["", f"9001/image/{number}", f"9001/video/{number}", f"{number}"]))
                or f"{number} {draw(_texts)}"[:1024],
                media_type=draw(st.sampled_from(["", "image", "video", "Image/PNG", "text/plain"])),
                media_size=draw(st.none() | st.integers(0, 2**63 - 1)),
                series=draw(_texts),
                tags=tuple(dict.fromkeys(draw(st.lists(_texts.filter(bool), max_size=3)))),
                quality=draw(st.none() | st.integers(0, 100)),
                source_time=draw(st.sampled_from(["", "2025-01-02T03:04:05.123+01:00", "2025-01-02", "x\ny"])),
                extra=draw(st.sampled_from(["", '{"A":1}', '{"MD5":"no"}', "[]", "no json"])),
                expire_time=draw(st.sampled_from([None, TIME])),
            )
        )
    return made


@pytest.mark.parametrize("pair", PAIRS)
@settings(max_examples=examples(60))
@given(entries=_entries())
def test_the_round_trip_loses_exactly_what_is_named(pair: str, entries: list[Entry]) -> None:
    scheme, options = PAIRS[pair]
    writer: Writer = get_writer(pair.split(maxsplit=1)[0])
    connector: Connector = discover()[writer.reads_back]
    exported = export_of(a_set(scheme=scheme))
    check_round_trip(writer, connector, entries, exported, options)


# VICS


def test_vics_names_the_region_of_the_hash_sets_scheme() -> None:
    own, _ = text_of("vics", an_entry())
    assert json.loads(own)["@odata.context"].endswith("/2.0.xml/US/$metadata#Media")
    media = json.loads(own)["value"][0]
    assert list(media)[:4] == ["MediaID", "Category", "MD5", "SHA1"]
    assert (media["Category"], media["MD5"]) == (1, "0" * 31 + "1")
    assert len(media["PhotoDNA"]) == 192
    for scheme in ("uk-sentencing", "ncmec-industry", "vic-us-legacy"):
        other, losses = text_of(
            "vics",
            an_entry(scheme=scheme, value=next(iter(KNOWN[scheme].values))),
            exported=export_of(a_set(scheme=scheme)),
        )
        assert "/2.0.xml/Default/" in other, scheme
        assert "Category" not in json.loads(other)["value"][0]
        assert ("value", "NO_PLACE") in fields_of(losses)


def test_vics_of_13_has_its_own_places_and_tells_no_scheme() -> None:
    text, losses = text_of("vics", an_entry(), version="1.3")
    media = json.loads(text)["value"][0]
    assert "PhotoDNA" not in media
    assert {a["HashName"] for a in media["AlternativeHashes"]} == {"PhotoDNA", "SHA256", "PDQ", "PHASH", "DHASH"}
    assert ("scheme", "NO_PLACE") in fields_of(losses)


def test_vics_swaps_no_categories_between_its_two_tables() -> None:
    """0 and 5 have each other's meaning in the legacy table."""
    exported = export_of(a_set())
    for value in ("0", "5"):
        text, losses = text_of("vics", an_entry(scheme="vic-us-legacy", value=value), exported=exported)
        media = json.loads(text)["value"][0]
        assert media.get("Category") != int(value)
        assert [x for x in losses if x.field == "value"]


def test_vics_never_says_of_a_foreign_value_what_it_does_not_say() -> None:
    text, losses = text_of("vics", an_entry(scheme="uk-sentencing", value="A"))
    assert "Category" not in json.loads(text)["value"][0]
    assert ("value", "FOREIGN_SCHEME") in fields_of(losses)


def test_vics_gives_back_its_own_fields_and_no_case_data() -> None:
    kept, losses = text_of("vics", an_entry(extra='{"PrecategorizationSource":"Tool","IsPrecategorized":"false"}'))
    assert json.loads(kept)["value"][0]["PrecategorizationSource"] == "Tool"
    assert not losses
    for extra in ('{"MediaFiles":[]}', '{"Comments":"x"}', '{"Category":0}', '{"x@odata.type":1}', "[]", "{"):
        text, losses = text_of("vics", an_entry(extra=extra))
        assert set(json.loads(text)["value"][0]) == set(json.loads(text_of("vics", an_entry())[0])["value"][0])
        assert fields_of(losses) == {("extra", "UNWRITABLE_TEXT")}
    foreign = msgspec.structs.replace(PROVENANCE, connector="csv")
    assert fields_of(text_of("vics", an_entry(extra='{"a":1}', provenance=foreign))[1]) == {("extra", "OTHER_FORMAT")}


def test_vics_needs_an_md5() -> None:
    text, losses = text_of("vics", an_entry(hashes=(Hash("SHA1", bytes(20)),)))
    assert json.loads(text)["value"] == []
    assert fields_of(losses) == {("entry", "NO_HASH")}


# What being listed claims


@pytest.mark.parametrize("writer", ["hash-lines", "hashdeep", "icse-csv", "ncmec-xml"])
def test_a_list_claims_for_nobody_what_nobody_claims(writer: str) -> None:
    exported = export_of(a_set())
    common: dict[str, Any] = {"media_type": "image/png", "media_size": 1}
    entries = [
        an_entry(1, **common),
        an_entry(2, value="0", **common),  # non-pertinent
        an_entry(3, value="2", **common),  # exploitative
        an_entry(4, value="", reasons=("UNCLASSIFIED",), **common),
        an_entry(5, scheme="interpol-baseline", value="N", **common),
        an_entry(6, value="", **common),  # being listed is what it says
    ]
    _, losses = text_of(writer, *entries, exported=exported)
    left = {loss.entry: loss.reason for loss in losses if loss.field == "entry"}
    assert left == {
        "nl/known/2": "OTHER_CLAIM",
        "nl/known/3": "OTHER_CLAIM",
        "nl/known/4": "UNDECIDED",
        "nl/known/5": "UNDECIDED",
    }


@pytest.mark.parametrize("writer", ["hash-lines", "hashdeep", "icse-csv", "ncmec-xml", "nsrl", "vics", "csv"])
def test_benign_and_harmful_hash_sets_share_no_file(writer: str) -> None:
    exported = export_of(a_set(), a_set("nl/ok", "", purpose=Purpose.BENIGN))
    with pytest.raises(InvalidArgument, match="export them to a file each"):
        text_of(writer, exported=exported)


def test_harmful_files_are_not_called_known() -> None:
    with pytest.raises(InvalidArgument, match="choose another format"):
        text_of("nsrl", exported=export_of(a_set()))
    for writer in ("icse-csv", "ncmec-xml"):
        with pytest.raises(InvalidArgument, match="choose another format"):
            text_of(writer, exported=export_of(a_set(scheme="", purpose=Purpose.BENIGN)))


def test_nsrl_lists_benign_files_alone() -> None:
    exported = export_of(a_set("nl/ok", "", purpose=Purpose.BENIGN))
    entries = [
        an_entry(1, value="", hash_set="ok", media_size=7),
        an_entry(2, value="1", hash_set="ok"),  # a harmful value in a benign set
        an_entry(3, value="0", hash_set="ok", hashes=(Hash("MD5", b"\xab" * 16),)),
        an_entry(4, value="", hash_set="ok", reasons=("AWAITS_ACCEPTANCE",)),
        an_entry(5, value="", hash_set="ok", hashes=(Hash("PDQ", bytes(32)),)),
    ]
    text, losses = text_of("nsrl", *entries, exported=exported)
    assert text.splitlines() == [
        '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"',
        f'"{"0" * 39}1","{"0" * 31}1","","nl/ok/1",7,,"",""',
        f'"","{"AB" * 16}","","nl/ok/3",,,"",""',
    ]
    left = {loss.entry: loss.reason for loss in losses if loss.field == "entry"}
    assert left == {"nl/ok/2": "OTHER_CLAIM", "nl/ok/4": "NOT_ACCEPTED", "nl/ok/5": "NO_HASH"}
    assert ("purpose", "NO_PLACE") not in fields_of(losses)


def test_the_file_tells_what_it_does_not_say_of_all() -> None:
    sets = a_set(marking=Marking(tlp=TLP.AMBER_STRICT)), a_set("fr/other", "")
    _, losses = text_of("hash-lines", exported=export_of(*sets))
    told = {loss.field: loss.detail for loss in losses}
    assert set(told) == {"terms", "contributor", "purpose"}
    assert "nl/known TLP:AMBER+STRICT" in told["terms"]
    assert "fr, nl" in told["contributor"]
    assert not text_of("hashhub-jsonl", exported=export_of(*sets))[1]


# Tables


@pytest.mark.parametrize("writer", ["csv", "icse-csv"])
def test_no_cell_is_a_formula_unless_told(writer: str) -> None:
    entry = an_entry(series='=HYPERLINK("http://x")', external_id="@1")
    text, losses = text_of(writer, entry)
    assert "HYPERLINK" not in text
    assert {("series", "FORMULA"), ("external_id", "FORMULA")} <= fields_of(losses)
    text, losses = text_of(writer, entry, formulas="keep")
    assert '"=HYPERLINK(""http://x"")"' in text
    assert "FORMULA" not in str(losses)


def test_a_mapping_that_cannot_be_written_is_refused() -> None:
    for mapping, said in (
        ('encoding = "cp1252"\n[columns]\nmd5 = "a"', "files are written in utf-8"),
        ('[columns]\nmd5 = "a"\nseries = "a"', "several fields from one column"),
        ("nonsense", "is not TOML"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            text_of("csv", mapping=mapping)


def test_a_mapped_table_spells_values_as_the_mapping_reads_them() -> None:
    mapping = '[columns]\nmd5 = "MD5"\nvalue = "Kat"\n[values]\n"Missbrauch" = "1"\n"2" = "0"\n'
    entries = [an_entry(n, value=str(n)) for n in (1, 2, 3)]
    text, losses = text_of("csv", *entries, mapping=mapping)
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == ["Missbrauch", "", "3"]
    assert [x.entry for x in losses if (x.field, x.reason) == ("value", "UNWRITABLE_TEXT")] == ["nl/known/2"]


def test_the_full_tables_mapping_is_for_its_scheme() -> None:
    assert 'scheme = "vic-us@2.0"' in own_mapping("vic-us@2.0")
    assert "\nscheme" not in own_mapping("")


# Options


@pytest.mark.parametrize(
    ("writer", "options"),
    [
        ("vics", {"version": "2"}),
        ("vics", {"region": "no region"}),
        ("hash-lines", {"algorithm": "CRC32"}),
        ("hash-lines", {"algorithm": "MD5", "names": "maybe"}),
        ("hash-lines", {"names": "yes"}),
        ("hashdeep", {"algorithms": "md5,md5"}),
        ("hashdeep", {"algorithms": "pdq"}),
        ("csv", {"formulas": "yes"}),
    ],
)
def test_wrong_options_are_refused(writer: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        text_of(writer, an_entry(), **options)


# hashhub's own lines


def read(text: str, **options: str) -> list[Record | Reject]:
    return list(discover()["hashhub-jsonl"].read(io.BytesIO(text.encode()), options))


def test_others_statements_stay_theirs() -> None:
    exported = export_of(a_set(), a_set("fr/other"))
    entries = [
        an_entry(1, external_id="x", hashes=(Hash("MD5", bytes(16)),)),
        an_entry(2, external_id="x", contributor="fr", hash_set="other", hashes=(Hash("MD5", b"\1" * 16),)),
        an_entry(
            3, contributor="fr", hash_set="other", provenance=msgspec.structs.replace(PROVENANCE, member="desk 3"),
        ),
    ]  # fmt: skip
    text, losses = text_of("hashhub-jsonl", *entries, exported=exported)
    assert not losses
    own = [r for r in read(text, hash_set="nl/known") if isinstance(r, Record)]
    assert [(r.external_id, r.member) for r in own] == [("x", ""), ("fr/other/x", "fr"), ("", "fr/desk 3")]
    foreign = [r for r in read(text) if isinstance(r, Record)]
    assert (foreign[0].external_id, foreign[0].member) == ("nl/known/x", "nl")


def test_withdrawals_come_back_as_such_and_a_delta_replaces_nothing() -> None:
    gone = as_withdrawn(an_entry(1, external_id="x"))
    erased = msgspec.structs.replace(as_withdrawn(an_entry(2)), hashes=(), external_id="")
    text, losses = text_of("hashhub-jsonl", gone, erased, exported=export_of(a_set(), is_delta=True))
    assert fields_of(losses) == {("entry", "ERASED")}
    record, note = read(text, hash_set="nl/known")
    assert isinstance(record, Record)
    assert (record.action, record.external_id, record.hashes) == (Action.WITHDRAW, "x", gone.hashes)
    assert isinstance(note, Reject)
    assert note.reason == "PARTIAL_SOURCE"


def test_the_terms_stand_in_the_first_line() -> None:
    marking = Marking(tlp=TLP.AMBER, permitted_purposes=("research",), legal_basis="Art. 6", expire_time=TIME)
    head = json.loads(text_of("hashhub-jsonl", exported=export_of(a_set(marking=marking)))[0].splitlines()[0])
    assert head["hash_sets"][0]["marking"] == {
        "tlp": "AMBER",
        "permitted_purposes": ["research"],
        "legal_basis": "Art. 6",
        "expire_time": "2026-01-02T03:04:05Z",
    }


def test_a_file_that_lacks_or_has_too_much_is_refused() -> None:
    text, _ = text_of("hashhub-jsonl", an_entry(1), an_entry(2))
    lines = text.splitlines(keepends=True)
    for wrong, said in (
        ("".join(lines[:-1]), "cut off"),
        ("".join([*lines[:1], *lines[2:]]), "by its own count"),
        (text + "{}\n", "behind the last line"),
        ("", "is empty"),
        ('{"format":"other","version":1,"time":"2026-01-02T03:04:05Z","is_delta":false,"hash_sets":[]}\n', "'other'"),
        (text.replace('"version":2', '"version":3', 1), "version 3"),
    ):
        with pytest.raises(MalformedSource, match=said):
            read(wrong)


def test_without_classifications_nothing_undecided_passes_for_a_statement() -> None:
    listed = export_of(a_set(scheme=""))
    text, _ = text_of("hashhub-jsonl", an_entry(1, value=""), exported=listed)
    assert len(read(text, classifications="no")) == 1
    connector = discover()["hashhub-jsonl"]
    assert connector.has_classifications({})
    assert not connector.has_classifications({"classifications": "no"})
    for entry in (an_entry(1), an_entry(1, value="", reasons=("UNCLASSIFIED",))):
        with pytest.raises(InvalidArgument, match="has a value or is undecided"):
            read(text_of("hashhub-jsonl", entry, exported=listed)[0], classifications="no")
    with pytest.raises(InvalidArgument, match="has a scheme"):
        read(text_of("hashhub-jsonl", exported=export_of(a_set()))[0], classifications="no")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entry", "nl/known"),
        ("state", "QUARANTINED"),
        ("series", "x" * 1025),
        ("external_id", "a\0b"),
        ("quality", 101),
        ("media_size", -1),
        ("flags", {"nice": True}),
        ("tags", ["x"] * 65),
        ("hashes", ["MD5:" + "0" * 31]),
        ("hashes", []),
        ("hashes", ["MD5:" + f"{n:032x}" for n in range(65)]),
        ("expire_time", "2027-01-01T00:00:00"),
        ("scheme", "no scheme"),
        ("hashes", "MD5"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_accounted_for(field: str, value: object) -> None:
    lines = text_of("hashhub-jsonl", an_entry(1))[0].splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), field: value})
    (refused,) = read("\n".join(lines) + "\n")
    assert isinstance(refused, Reject), refused
    assert refused.position == "line 2"


def test_schemes_known_to_the_hub_alone_keep_their_own_values() -> None:
    """The writer does not know an operator's own scheme, and gives its values as they are."""
    own = msgspec.structs.replace(KNOWN["vic-us"].resolve("1"), scheme="uk-caid", version="7")  # type: ignore[type-var]
    entry = msgspec.structs.replace(an_entry(), classification=own)
    hash_set = msgspec.structs.replace(a_set(), scheme="uk-caid@7")
    text, losses = text_of("vics", entry, exported=export_of(hash_set))
    assert "/2.0.xml/UK/" in text
    assert json.loads(text)["value"][0]["Category"] == 1
    assert not losses
