"""What intake looks for in a source as a whole: contradictions under different ids, parts of lists, and lists in the wrong hash set."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import combinations
from random import Random
from typing import Any

import pytest

from hashhub.connector import Connector, partial
from hashhub.errors import InvalidArgument
from hashhub.model import Action, Disposition, EntryState, Import, Purpose, Record, Reject, Verdict
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NAMESPACE, NCMECXML
from hashhub_connectors.vics import VICS
from tests.hub.conftest import Desk, digest, item

CONFLICT = ["CONFLICTING_CATEGORIES"]
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
V12 = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"


def md5(number: int) -> str:
    return digest("MD5", number).digest.hex()


def read(connector: Connector, text: str, options: Mapping[str, str] | None = None) -> list[Record | Reject]:
    return list(connector.read(io.BytesIO(text.encode()), options or {}))


def ncmec(*entries: str, paging: str = "", environment: str = "") -> list[Record | Reject]:
    """The items of one NCMEC document."""
    text = f'<queryResult xmlns="{NAMESPACE}"><images>{"".join(entries)}</images>{paging}</queryResult>'
    return read(NCMECXML(), text, {"environment": environment} if environment else {})


def entry(number: int, own: str, *, member: int = 9001, value: str = "A1") -> str:
    classified = f"<classification>{value}</classification>" if value else ""
    return (
        f'<image><member id="{member}"/><id>{own}</id>{classified}'
        f"<fingerprints><md5>{md5(number)}</md5></fingerprints></image>"
    )


def two_states(number: int, values: tuple[str, str], **same: Any) -> list[Record]:
    """One file twice, under ids of its own."""
    return [
        item(number, position=f"line {own}", external_id=own, value=v, **same)
        for own, v in zip(("a", "b"), values, strict=True)
    ]


class TestOneFileUnderTwoIds:
    def test_a_mapped_csv(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="uk-sentencing")
        mapping = '[columns]\nmd5 = "md5"\nvalue = "category"\nexternal_id = "id"\n'
        rows = f"md5,category,id\n{md5(1)},A,id1\n{md5(2)},A,id3\n{md5(1)},B,id2\n"
        done = desk.contribute("alpha/list", *read(MappedCSV(), rows, {"mapping": mapping}))
        assert (done.counts.quarantined, done.counts.accepted) == (2, 1)
        assert list(desk.reasons(done).values()) == [CONFLICT, CONFLICT]
        assert desk.known(1, 2) == [2]

    def test_an_icse_export(self, desk: Desk) -> None:
        desk.hash_set("police/list", scheme="interpol-baseline")
        header = (
            "SHA1;MD5;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
            "Number of submissions;File Available;Media Type;BASELINE"
        )
        stated = ((1, "SYN-1", "Y"), (1, "SYN-2", "N"), (2, "SYN-3", "Y"))
        rows = "\n".join([header, *(f";{md5(n)};;{own};;;;;;;Image;{value}" for n, own, value in stated)])
        done = desk.contribute("police/list", *read(ICSECSV(), rows))
        assert (done.counts.quarantined, done.counts.accepted) == (2, 1)
        assert desk.known(1, 2) == [2]

    def test_an_ncmec_member(self, desk: Desk) -> None:
        desk.hash_set("clearing/list", scheme="ncmec-industry")
        other = entry(1, "z", member=9002, value="B2")  # another member may think otherwise
        document = ncmec(entry(1, "x", value="A1"), entry(1, "y", value="B1"), other)
        done = desk.contribute("clearing/list", *document)
        assert desk.reasons(done) == {"images[0]": CONFLICT, "images[1]": CONFLICT}
        assert [m.entry.provenance.member for m in desk.match(digest("MD5", 1)).matches] == ["9002"]

    def test_however_far_apart(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        first, last = two_states(0, ("1", "2"))
        between = [item(n, algorithms=("MD5",), external_id=f"n{n}", value="1") for n in range(1, 5_000)]
        done = desk.contribute("alpha/list", first, *between, last, batch=500)
        assert (done.counts.accepted, done.counts.quarantined) == (4_999, 2)
        (one, _) = [f for f in desk.report(done) if f.disposition is Disposition.QUARANTINED]
        assert one.detail == "the source states '1', '2' for it (also at line b)"

    @pytest.mark.parametrize("values", [("A1", "A1"), (" a1", "A1 ")])
    def test_two_ids_that_agree_stay_two_entries(self, desk: Desk, values: tuple[str, str]) -> None:
        desk.hash_set("alpha/list", scheme="ncmec-industry")
        done = desk.contribute("alpha/list", *two_states(1, values))
        assert (done.counts.accepted, done.counts.duplicate) == (2, 0)
        desk.contribute("alpha/list", item(1, action=Action.WITHDRAW, external_id="a", hashes=()))
        assert desk.known(1) == [1]

    def test_an_item_without_an_id_counts_too(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        named, nameless = item(1, external_id="a", value="1"), item(1, value="2", position="line 2")
        done = desk.contribute("alpha/list", named, nameless)
        assert desk.reasons(done) == {"line 1": CONFLICT, "line 2": CONFLICT}

    @pytest.mark.parametrize("same", [{"external_id": "x"}, {"algorithms": ("PDQ",)}])
    def test_whatever_makes_two_items_the_same(self, desk: Desk, same: dict[str, Any]) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        first = item(1, **{"algorithms": ("MD5",), "value": "1", **same})
        second = item(1, **{"algorithms": ("SHA1",), "value": "2", "position": "line 2", **same})
        assert desk.reasons(desk.contribute("alpha/list", first, second)) == {"line 1": CONFLICT, "line 2": CONFLICT}

    def test_what_the_source_withdraws_again_contradicts_nothing(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        gone = item(1, position="line c", action=Action.WITHDRAW, external_id="a", hashes=())
        first, second = two_states(1, ("2", "1"))
        done = desk.contribute("alpha/list", first, gone, second)
        assert (done.counts.accepted, done.counts.quarantined, done.counts.duplicate) == (1, 0, 1)
        assert desk.known(1) == [1]

    def test_no_two_active_entries_of_a_member_contradict_each_other(self, desk: Desk) -> None:
        random = Random("lists made without care")
        conflicts = 0
        for n in range(40):
            name = desk.hash_set(f"alpha/list-{n}", scheme="vic-us")
            items = [
                item(
                    number := random.randrange(4),
                    algorithms=random.choice((("MD5",), ("SHA1",), ("MD5", "SHA1"))),
                    position=f"line {line}",
                    external_id=random.choice(("", f"id-{number}", f"id-{line}")),
                    member=random.choice(("", "one", "two")),
                    value=random.choice("1112"),
                )
                for line in range(random.randint(2, 7))
            ]
            done = desk.contribute(name, *items, batch=2)
            conflicts += done.counts.quarantined
            for a, b in combinations(desk.entries(name, EntryState.ACTIVE), 2):
                if a.provenance.member == b.provenance.member and set(a.hashes) & set(b.hashes):
                    assert a.classification == b.classification
        assert conflicts


class TestPartsOfLists:
    @pytest.fixture
    def stocked(self, desk: Desk) -> Desk:
        """Ten files, of which a replacing list may lack some."""
        desk.hash_set("alpha/list", scheme="ncmec-industry")
        desk.contribute("alpha/list", *ncmec(*(entry(n, f"syn-{n}") for n in range(10))))
        return desk

    @pytest.mark.parametrize("next_", ["<next>/v2/entries?a&amp;b</next>", '<next href="/v2/entries"/>'])
    def test_a_page_of_ncmec_entries_replaces_nothing(self, stocked: Desk, next_: str) -> None:
        page = ncmec(*(entry(n, f"syn-{n}") for n in range(9)), paging=f"<paging>{next_}</paging>")
        self.refuses(stocked, page, "paging: the document is one page of an answer")
        done = stocked.contribute("alpha/list", *page, source="page")
        assert (done.counts.items, done.counts.unchanged, done.counts.noted) == (9, 9, 1)
        (note,) = stocked.report(done)[-1:]
        assert (note.position, note.disposition, note.reason) == ("paging", Disposition.NOTED, "PARTIAL_SOURCE")

    @pytest.mark.parametrize("paging", ["", "<paging/>", "<paging><next/></paging>", "<paging><next> </next></paging>"])
    def test_the_last_page_is_a_whole_list(self, stocked: Desk, paging: str) -> None:
        done = stocked.contribute(
            "alpha/list", *ncmec(*(entry(n, f"syn-{n}") for n in range(9)), paging=paging), replace=True
        )
        assert (done.counts.absent, done.counts.noted) == (1, 0)

    def test_a_page_without_items_is_a_page_too(self, stocked: Desk) -> None:
        page = ncmec(paging="<paging><next>/v2/entries</next></paging>")
        self.refuses(stocked, page, "paging")
        done = stocked.contribute("alpha/list", *page, source="page")
        assert (done.counts.items, done.counts.noted, len(stocked.report(done))) == (0, 1, 1)

    def test_deletions_make_it_a_list_of_changes(self, stocked: Desk) -> None:
        deleted = '<deletedImage><member id="9001"/><id>syn-9</id></deletedImage>'
        page = ncmec(*(entry(n, f"syn-{n}") for n in range(9)), deleted)
        self.refuses(stocked, page, "the source asks for withdrawals (1)")
        assert stocked.contribute("alpha/list", *page, source="page").counts.withdrawn == 1
        assert stocked.known(*range(10)) == list(range(9))

    def test_what_any_connector_calls_partial_replaces_nothing(self, stocked: Desk) -> None:
        self.refuses(
            stocked,
            [item(1, value="A1"), partial("part 1 of 3", "two more files belong to it")],
            "part 1 of 3: two more",
        )

    @staticmethod
    def refuses(desk: Desk, items: list[Record | Reject], why: str) -> None:
        """Nothing becomes visible, however one insists, and the message says what is wrong and what to do."""
        before = desk.entries("alpha/list")
        for how in ({}, {"allow_shrinking": True}, {"validate_only": True}):
            with pytest.raises(InvalidArgument) as refused:
                desk.contribute("alpha/list", *items, source="page", replace=True, **how)
            assert why in refused.value.message
            assert "import it without replace" in refused.value.message
            assert [v.field for v in refused.value.violations] == ["import.replace"]
        assert desk.entries("alpha/list") == before
        assert desk.known(*range(10)) == list(range(10))


class TestValuesThatNoSchemeExplains:
    def test_the_report_says_what_to_do(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        (found,) = desk.report(desk.contribute("alpha/list", item(1, value="1")))
        assert (found.disposition, found.reason) == (Disposition.QUARANTINED, "UNKNOWN_VALUE")
        assert found.detail == (
            "the hash set has no scheme to say what '1' means; import into one that has "
            "(hashhub hash-set create CONTRIBUTOR/SET --scheme ID)"
        )

    def benign(self, desk: Desk) -> Import:
        """A benign list in the form that Project VIC's has: every item is of category 0."""
        media = ",".join(f'{{"MediaID":{n},"Category":{n % 2},"MD5":"{md5(n)}"}}' for n in range(4))
        items = read(VICS(), f'{{"odata.metadata":"{V12}","value":[{{"MediaID":9,"MD5":"{md5(9)}"}},{media}]}}')
        return desk.contribute("library/list", *items, batch=2)

    def test_a_benign_set_keeps_them_raw(self, desk: Desk) -> None:
        desk.hash_set("library/list", purpose=Purpose.BENIGN)
        done = self.benign(desk)
        assert (done.counts.accepted, done.counts.noted) == (5, 1)
        (note,) = desk.report(done)
        assert (note.position, note.disposition, note.reason) == ("value[1]", Disposition.NOTED, "UNKNOWN_VALUE")
        kept = [e.classification for e in desk.entries("library/list")]
        assert [(c.value, c.scheme, c.dimensions) if c else None for c in kept] == [
            None, ("0", "", {}), ("1", "", {}), ("0", "", {}), ("1", "", {}),
        ]  # fmt: skip
        assert {desk.verdict(n, policy="block") for n in (0, 1, 9)} == {Verdict.BENIGN}
        assert self.benign(desk).counts.unchanged == 5

    def test_a_scheme_that_lacks_them_does_not(self, desk: Desk) -> None:
        desk.hash_set("library/list", purpose=Purpose.BENIGN, scheme="uk-sentencing")
        assert self.benign(desk).counts.quarantined == 5


class TestListsInTheWrongHashSet:
    @pytest.mark.parametrize("environment", ["csam", "exploitative", "generative-ai-csam"])
    @pytest.mark.parametrize("purpose", Purpose)
    def test_an_ncmec_environment_of_another_purpose_waits(
        self, desk: Desk, environment: str, purpose: Purpose
    ) -> None:
        desk.hash_set("clearing/list", scheme="ncmec-industry", purpose=purpose)
        fits = purpose is Purpose.TEST or environment.endswith(purpose.lower())
        done = desk.contribute("clearing/list", *ncmec(entry(1, "x"), entry(2, "y"), environment=environment))
        assert (done.counts.accepted, done.counts.quarantined) == ((2, 0) if fits else (0, 2))
        if not fits:
            assert list(desk.reasons(done).values()) == [["PURPOSE_MISMATCH"]] * 2
            assert desk.known(1, 2) == []
            stated, own = environment.rpartition("-")[2], purpose.lower()
            assert {f.detail for f in desk.report(done)} == {
                f"the source says that its items are {stated}, those of the hash set are {own}; import it into another"
            }

    def test_without_an_environment_the_hash_set_says_what_they_are(self, desk: Desk) -> None:
        desk.hash_set("clearing/list", scheme="ncmec-industry", purpose=Purpose.EXPLOITATIVE)
        assert desk.contribute("clearing/list", *ncmec(entry(1, "x"))).counts.accepted == 1
