"""What intake looks for in a source as a whole: contradictions under different ids, parts of lists, and lists in the
wrong hash set.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from hashhub.connector import Connector, partial
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.hub.intake import Batch, Intake, Stager
from hashhub.hub.intake.identity import HeldItems
from hashhub.model import (
    TLP,
    Action,
    Disposition,
    EntryState,
    Import,
    Marking,
    Purpose,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    Unclassified,
    Verdict,
    VideoFrame,
    WithdrawalReason,
    number_of,
)
from hashhub.schemes import load
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NAMESPACE, NCMECXML
from hashhub_connectors.stopncii import StopNCII
from hashhub_connectors.threatexchange import ThreatExchange
from hashhub_connectors.vics import VICS
from tests.hub.conftest import OPERATOR, Desk, digest, item, near, total, writer

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
            "(hashhub hash-set create CONTRIBUTOR/SET --purpose csam --scheme ID)"
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
        desk.hub.hash_sets.accept(OPERATOR, "library", "list", done.revision)
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

    @pytest.mark.parametrize("scheme", ["", "vic-us", "threatexchange"])
    @pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.TEST])
    def test_intimate_pictures_of_adults_wait_in_every_one(self, desk: Desk, purpose: Purpose, scheme: str) -> None:
        desk.hash_set("ncii/list", purpose=purpose, scheme=scheme)
        records = [
            {"signalType": "VideoMD5", "hashValue": md5(n), "hashStatus": status}
            for n, status in enumerate(("Active", "Received", "Unheard of"))
        ]
        done = desk.contribute("ncii/list", *read(StopNCII(), json.dumps({"hashRecords": records})))
        assert (done.counts.items, done.counts.quarantined) == (3, 3)
        (reason,) = {code for codes in desk.reasons(done).values() for code in codes}
        assert reason == ("SCHEME_MISMATCH" if scheme else "PURPOSE_MISMATCH")
        assert desk.known(0, 1, 2) == []
        for finding in desk.report(done):
            desk.hub.entries.release(OPERATOR, "ncii", "list", finding.entry_id)
        # What an operator releases is undecided.
        assert Verdict.MATCH not in {desk.verdict(n, policy="block") for n in (0, 1, 2)}


class TestThreatExchangeStatuses:
    @staticmethod
    def codes(desk: Desk, number: int) -> set[str]:
        return {reason.code for reason in desk.match(digest("MD5", number), policy="block").reasons}

    def test_only_malicious_is_a_claim_of_harm(self, desk: Desk) -> None:
        statuses = ("MALICIOUS", "NON_MALICIOUS", "SUSPICIOUS", "DISPUTED", "UNHEARD_OF", "")
        rows = "".join(f"md5,{md5(n)},,{status},\n" for n, status in enumerate(statuses))
        text = f"signal_type,signal_str,collab,category,tags\n{rows}"
        for name in ("platform/list", "another/list"):
            desk.hash_set(name, scheme="threatexchange")
            done = desk.contribute(name, *read(ThreatExchange(), text))
            assert (done.counts.accepted, done.counts.quarantined) == (4, 2)
            assert list(desk.reasons(done).values()) == [["UNKNOWN_VALUE"], ["UNCLASSIFIED"]]
        claims = [n for n in range(len(statuses)) if "HARM_CLAIMED" in self.codes(desk, n)]
        assert claims == [0]
        # What MALICIOUS means is agreed in each privacy group: the scheme is a draft, and blocks nothing by itself.
        assert desk.verdict(0, policy="block") is Verdict.REVIEW
        assert desk.verdict(1, policy="any") is Verdict.NO_MATCH


class TestWhatOthersStateDoesNotMatter:
    """Two worlds: in one of them others, and other hash sets of the contributor, hold the same items otherwise."""

    LIST = (
        item(1, value="1"),
        item(2, algorithms=("MD5",), value="1", external_id="named"),
        item(3, algorithms=("PDQ", "PHASH"), value="2"),
        item(4, value="9"),
        item(5, value=""),
        item(6, value="1", position="line 6a"),
        item(6, value="2", position="line 6b"),
        item(7, action=Action.WITHDRAW),
        item(8, action=Action.WITHDRAW, external_id="named", hashes=()),
        item(9, value="1", algorithms=("MD5", "PDQ"), quality=10),
        item(10, value="1", reviews=(RecordReview(ReviewKind.FALSE_POSITIVE, "nl"),)),
    )

    @staticmethod
    def populate(desk: Desk) -> None:
        """Everything about the items of LIST that somebody else could say of them."""
        red = Marking(tlp=TLP.RED, recipients=("contributors/hidden",))
        desk.hash_set("hidden/list", marking=red)
        desk.hash_set("hidden/good", marking=red, purpose=Purpose.BENIGN)
        desk.hash_set("hidden/other", marking=red, scheme="vic-us")
        desk.hash_set("alpha/own", purpose=Purpose.BENIGN)
        for n in range(1, 11):
            desk.contribute("hidden/list", item(n, hashes=(digest("MD5", n), digest("SHA1", n + 100))))
            desk.contribute("hidden/good", item(n, algorithms=("MD5", "SHA1", "PDQ", "PHASH"), external_id="named"))
            desk.contribute("hidden/other", item(n, algorithms=("MD5", "PDQ"), value="4"))
            desk.contribute("alpha/own", item(n, hashes=(digest("SHA1", n), digest("MD5", n + 200))))
        for entry in desk.entries("hidden/list")[:3]:
            desk.hub.entries.withdraw(writer("hidden"), "hidden", "list", entry.id, WithdrawalReason.ERROR)
        for entry in desk.entries("hidden/other")[:3]:
            desk.hub.entries.quarantine(OPERATOR, "hidden", "other", entry.id)

    @staticmethod
    def report(desk: Desk) -> list[Any]:
        """All that alpha learns of three imports, one of them tried first; entries are counted from its own first
        one.
        """
        desk.hash_set("alpha/list", scheme="vic-us")
        told: list[Any] = []
        changed = [msgspec.structs.replace(x, tags=("changed",)) for x in TestWhatOthersStateDoesNotMatter.LIST]
        for items, options in (
            (TestWhatOthersStateDoesNotMatter.LIST, {"validate_only": True}),
            (TestWhatOthersStateDoesNotMatter.LIST, {}),
            (changed, {}),
            (changed[:3], {"replace": True, "allow_shrinking": True}),
        ):
            done = desk.contribute("alpha/list", *items, source=f"{len(told)}", **options)
            base = min((e.id for e in desk.entries("alpha/list")), default=0)
            lines = [
                (f.position, f.disposition, f.reason, re.sub(r"/\d+", "/N", f.detail), f.entry_id and f.entry_id - base)
                for f in desk.report(done)
            ]
            told.append((done.counts, lines))
        told.append([(e.state, e.reasons, e.hashes) for e in desk.entries("alpha/list")])
        return told

    def test_the_reports_are_the_same(self, open_hub: Callable[..., Hub], tmp_path: Path) -> None:
        alone, among_others = Desk(open_hub(data=str(tmp_path / "a"))), Desk(open_hub(data=str(tmp_path / "b")))
        self.populate(among_others)
        assert self.report(among_others) == self.report(alone)

    def test_what_the_database_is_asked_is_the_same(
        self, open_hub: Callable[..., Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An import takes no longer where others have its items: it asks the database for the same things."""
        asked: list[list[str]] = []
        for world in ("a", "b"):
            desk = Desk(open_hub(data=str(tmp_path / world)))
            if world == "b":
                self.populate(desk)
            desk.hash_set("alpha/list", scheme="vic-us")
            desk.contribute("alpha/list", item(50, value="1"))
            begun = desk.add(desk.open("alpha/list"), self.LIST)
            desk.hub.follower.close()
            store, statements = desk.hub.store, list[str]()
            real = store.database.fetch

            def fetch(
                sql: str,
                parameters: tuple[Any, ...] = (),
                statements: list[str] = statements,
                real: Callable[..., Any] = real,
            ) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    return real(sql, parameters)  # what goes on in the background is no part of the commit
                if "h.digest" in sql or "external_id =" in sql or "external_id IN" in sql:
                    statements.append(sql)
                return real(sql, parameters)

            monkeypatch.setattr(store.database, "fetch", fetch)
            desk.commit(begun, validate_only=True)
            asked.append(statements)
        assert asked[0] == asked[1]
        assert any("h.digest" in sql for sql in asked[0])


@pytest.mark.parametrize("share", [1, 10_000])
def test_a_large_source_reads_the_hash_set_instead_of_asking(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """Both ways find the same, whichever is cheaper."""
    monkeypatch.setattr("hashhub.hub.intake.source.STREAMED_SHARE", share)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in range(50)), item(60, algorithms=("PDQ",)), item(70, quality=1))
    items = [item(n) for n in (1, 2, 3)]
    done = desk.contribute("alpha/list", *items, item(60, algorithms=("PDQ",)), item(70, quality=1), item(99))
    assert (done.counts.unchanged, done.counts.accepted) == (5, 1)


class TestItemsWithoutAValue:
    """`has_classifications`, the scheme's `value_required` and the hash set's purpose decide what an item without a
    value is.
    """

    @pytest.mark.parametrize(
        ("scheme", "purpose", "has", "waits"),
        [
            ("ncmec-industry", "CSAM", True, True),
            ("ncmec-industry", "CSAM", None, True),  # not said: the scheme speaks for it
            ("ncmec-industry", "CSAM", False, False),  # hash lines: the purpose says what they are
            ("vic-us", "CSAM", False, True),  # lists of this scheme hold harmless items too
            ("", "CSAM", True, True),
            ("", "CSAM", None, False),
            ("", "CSAM", False, False),
            ("", "BENIGN", True, False),  # no value means anything there, so that none is missing
            ("ncmec-industry", "BENIGN", True, True),
            ("vic-us", "BENIGN", False, True),
            ("ncmec-industry", "TEST", True, True),
        ],
    )
    def test_waits_where_one_is_due(
        self,
        desk: Desk,
        scheme: str,
        purpose: str,
        has: bool | None,
        waits: bool,
    ) -> None:
        desk.hash_set("alpha/list", scheme=scheme, purpose=Purpose(purpose))
        done = desk.contribute("alpha/list", item(1), has_classifications=has)
        assert (done.counts.accepted, done.counts.quarantined) == ((0, 1) if waits else (1, 0))
        (entry,) = desk.entries("alpha/list")
        assert entry.reasons == (("UNCLASSIFIED",) if waits else ())
        assert desk.reasons(done) == ({"line 1": ["UNCLASSIFIED"]} if waits else {})

    def test_one_value_anywhere_shows_that_the_format_has_them(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute("alpha/list", *map(item, range(5)), item(9, value="A"), batch=2)
        assert {f.reason for f in desk.report(done) if f.position != "line 9"} == {"UNCLASSIFIED"}
        assert done.counts.quarantined == 6

    @pytest.mark.parametrize("scheme", ["ncmec-industry", "vic-us", ""])
    def test_the_operator_can_have_them_listed_as_undecided(self, desk: Desk, scheme: str) -> None:
        desk.hash_set("alpha/list", scheme=scheme, unclassified=Unclassified.LISTED)
        for turn in ("first", "again"):
            done = desk.contribute("alpha/list", item(1), source=turn, has_classifications=True)
            assert (done.counts.accepted, done.counts.unchanged) == ((1, 0) if turn == "first" else (0, 1))
        (entry,) = desk.entries("alpha/list", EntryState.ACTIVE)
        assert entry.reasons == ("UNCLASSIFIED",)

    def test_no_benign_set_has_undecided_entries(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="ncmec-industry", purpose=Purpose.BENIGN, unclassified=Unclassified.LISTED)
        assert desk.contribute("alpha/list", item(1), has_classifications=True).counts.quarantined == 1
        assert desk.verdict(1) is Verdict.NO_MATCH

    def test_a_listed_item_that_waits_for_another_reason_stays_undecided(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us", unclassified=Unclassified.LISTED)
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",), quality=10))
        (entry,) = desk.entries("alpha/list", EntryState.QUARANTINED)
        assert entry.reasons == ("LOW_QUALITY", "UNCLASSIFIED")
        released = desk.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert (released.state, released.reasons) == (EntryState.ACTIVE, ("UNCLASSIFIED",))
        back = desk.hub.entries.quarantine(OPERATOR, "alpha", "list", entry.id)
        assert back.reasons == ("QUARANTINED_BY_OPERATOR", "UNCLASSIFIED")

    def test_a_duplicate_with_a_value_speaks_for_both(self, desk: Desk) -> None:
        for name, unclassified in (("alpha/list", Unclassified.QUARANTINED), ("beta/list", Unclassified.LISTED)):
            desk.hash_set(name, scheme="ncmec-industry", unclassified=unclassified)
            done = desk.contribute(name, item(1), item(1, value="A1", position="line 2"), has_classifications=True)
            assert (done.counts.accepted, done.counts.duplicate) == (1, 1)
            (entry,) = desk.entries(name)
            assert (entry.state, entry.reasons) == (EntryState.ACTIVE, ())

    def test_an_expiry_is_kept_to_the_millisecond(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        until = datetime(2031, 1, 1, 2, 0, 0, 1999, tzinfo=timezone(timedelta(hours=2)))
        for count in ("accepted", "unchanged"):
            assert getattr(desk.contribute("alpha/list", item(1, expire_time=until)).counts, count) == 1
        (entry,) = desk.entries("alpha/list")
        assert entry.expire_time == datetime(2031, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)
        later = desk.contribute("alpha/list", item(1, expire_time=until + timedelta(days=1)))
        assert (later.counts.accepted, later.counts.superseded) == (1, 1)

    def test_undecided_and_listed_by_purpose_are_two_statements(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", unclassified=Unclassified.LISTED)
        desk.contribute("alpha/list", item(1), has_classifications=False)
        done = desk.contribute("alpha/list", item(1), has_classifications=True)
        assert (done.counts.accepted, done.counts.superseded) == (1, 1)
        (entry,) = desk.entries("alpha/list", EntryState.ACTIVE)
        assert entry.reasons == ("UNCLASSIFIED",)


CONTEXTS = {
    region: f"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{region}/$metadata#Media"
    for region in ("US", "UK", "GB", "CA", "AU", "Default", "CUSTOM", "UNKNOWN")
}


class TestSchemeAndRegionThatTheSourceNames:
    @pytest.mark.parametrize(
        ("region", "scheme", "reason"),
        [
            ("US", "vic-us", ""),
            ("US", "vic-us-legacy", "SCHEME_MISMATCH"),
            ("US", "ncmec-industry", "SCHEME_MISMATCH"),
            ("US", "copine", "SCHEME_MISMATCH"),
            ("UK", "uk-sap", "SCHEME_MISMATCH"),  # CAID's numbers are no levels
            ("GB", "uk-sap", "SCHEME_MISMATCH"),
            ("UK", "uk-sentencing", "SCHEME_MISMATCH"),
            ("UK", "vic-us", "REGION_MISMATCH"),
            ("UK", "copine", "SCHEME_MISMATCH"),
            ("CA", "vic-us", "REGION_MISMATCH"),
            ("AU", "copine", "SCHEME_MISMATCH"),
            ("Default", "vic-us", ""),
            ("CUSTOM", "uk-sap", ""),
            ("UNKNOWN", "copine", ""),
        ],
    )
    def test_a_vics_context(self, desk: Desk, region: str, scheme: str, reason: str) -> None:
        desk.hash_set("alpha/list", scheme=scheme)
        document = f'{{"@odata.context":"{CONTEXTS[region]}","value":[{{"Category":1,"MD5":"{md5(1)}"}}]}}'
        done = desk.contribute("alpha/list", *read(VICS(), document))
        assert desk.reasons(done) == ({"value[0]": [reason]} if reason else {})
        (entry,) = desk.entries("alpha/list")
        assert entry.state is (EntryState.QUARANTINED if reason else EntryState.ACTIVE)

    @pytest.mark.parametrize("scheme", ["vic-us", "vic-us-legacy", "uk-sap"])
    def test_a_vics_1_file_names_none(self, desk: Desk, scheme: str) -> None:
        desk.hash_set("alpha/list", scheme=scheme)
        document = f'{{"odata.metadata":"{V12}","value":[{{"Category":1,"MD5":"{md5(1)}"}}]}}'
        assert desk.contribute("alpha/list", *read(VICS(), document)).counts.accepted == 1

    def test_ncmec_icse_and_a_mapping(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="uk-sentencing")
        mapping = '{}[columns]\nmd5 = "md5"\nvalue = "category"\n'
        for items in (
            ncmec(entry(1, "x", value="A1")),
            read(MappedCSV(), f"md5,category\n{md5(1)},A\n", {"mapping": mapping.format('scheme = "uk-sap"\n')}),
            read(
                MappedCSV(), f"md5,category\n{md5(1)},A\n", {"mapping": mapping.format('scheme = "uk-sentencing@9"\n')}
            ),
        ):
            done = desk.contribute("alpha/list", *items, validate_only=True)
            assert [f.reason for f in desk.report(done)] == ["SCHEME_MISMATCH"]
        for scheme in ("", 'scheme = "uk-sentencing"\n', 'scheme = "uk-sentencing@2014"\n'):
            items = read(MappedCSV(), f"md5,category\n{md5(1)},A\n", {"mapping": mapping.format(scheme)})
            assert desk.contribute("alpha/list", *items, validate_only=True).counts.accepted == 1

    def test_a_set_without_a_scheme_says_which_one_to_use(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        (line,) = desk.report(desk.contribute("alpha/list", *ncmec(entry(1, "x"))))
        assert line.reason == "UNKNOWN_VALUE"
        assert "--scheme ncmec-industry)" in line.detail
        odd = item(2, value="1", scheme="x; rm -r / #")  # what people may copy is never the source's own text
        (line,) = desk.report(desk.contribute("alpha/list", odd))
        assert "--scheme ID)" in line.detail

    def test_a_mismatch_never_becomes_a_claim_by_the_purpose(self, desk: Desk) -> None:
        """Released, the item has the value of a scheme that nobody knows here, or none and is undecided."""
        desk.hash_set("alpha/list", scheme="uk-sap")
        document = (
            f'{{"@odata.context":"{CONTEXTS["UK"]}","value":[{{"Category":1,"MD5":"{md5(1)}"}},{{"MD5":"{md5(2)}"}}]}}'
        )
        desk.contribute("alpha/list", *read(VICS(), document), has_classifications=True)
        for waiting in desk.entries("alpha/list"):
            desk.hub.entries.release(OPERATOR, "alpha", "list", waiting.id)
        first, second = desk.entries("alpha/list", EntryState.ACTIVE)
        assert first.classification is not None
        assert (first.classification.scheme, first.classification.dimensions) == ("uk-caid", {})
        assert second.reasons == ("UNCLASSIFIED",)


class TestReviewsThatASourceCarries:
    @staticmethod
    def authors(desk: Desk) -> list[tuple[str, ReviewKind]]:
        (entry,) = desk.entries("alpha/list", EntryState.ACTIVE)
        return [(r.author, r.kind) for r in desk.hub.reviews.list(OPERATOR, "alpha", "list", entry.id, 100, 0)[0]]

    @pytest.mark.parametrize("author", ["nl", "operator", "alpha", "nl/desk", "../nl", " nl ", "/", "unnamed"])
    def test_none_is_anybody_elses_word(self, desk: Desk, author: str) -> None:
        desk.hash_set("alpha/list")
        said = RecordReview(ReviewKind.CONFIRMED, author)
        for tags in ((), ("new",), ("new",)):
            desk.contribute("alpha/list", item(1, reviews=(said,), tags=tags))
        assert self.authors(desk) == [(f"alpha/{author.strip()}", ReviewKind.CONFIRMED)]

    def test_the_hotlines_objection_stands(self, desk: Desk) -> None:
        """Finding 2 of the issue: the contributor objected to sends the item again, confirmed by the one who
        objects.
        """
        for name in ("alpha/list", "beta/list"):
            desk.hash_set(name)
            desk.contribute(name, item(1))
        desk.contributor("nl")
        (entry,) = desk.entries("alpha/list")
        desk.hub.reviews.create(writer("nl"), "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        before = desk.verdict(1, policy="block")
        forged = tuple(RecordReview(ReviewKind.CONFIRMED, name) for name in ("nl", "operator", ""))
        desk.contribute("alpha/list", item(1, reviews=forged))
        assert desk.verdict(1, policy="block") is before is Verdict.REVIEW

    @pytest.mark.parametrize("author", ["", "  "])
    def test_doubt_by_nobody_is_kept_and_confirmation_by_nobody_is_not(self, desk: Desk, author: str) -> None:
        desk.hash_set("alpha/list")
        said = (
            RecordReview(ReviewKind.FALSE_POSITIVE, author),
            RecordReview(ReviewKind.CONFIRMED, author),
            RecordReview(ReviewKind.SET_ASIDE, "member"),
        )
        done = desk.contribute("alpha/list", item(1, reviews=said))
        assert self.authors(desk) == [("alpha/unnamed", ReviewKind.FALSE_POSITIVE)]
        notes = [(f.disposition, f.reason) for f in desk.report(done)]
        assert notes == [(Disposition.NOTED, "BAD_FIELD")] * 3
        assert done.counts.accepted == 1


class TestHarmlessVerdicts:
    @pytest.mark.parametrize(
        ("scheme", "value", "purpose", "is_harmless"),
        [
            ("vic-us", "0", "CSAM", True),  # non-pertinent
            ("vic-us", "4", "CSAM", True),  # comparison
            ("vic-us", "4", "BENIGN", False),  # the set's purpose says it
            ("vic-us", "4", "TEST", False),
            ("vic-us", "1", "CSAM", False),
            ("vic-us", "5", "CSAM", False),  # uncategorized: nobody has decided
            ("vic-us", "9", "CSAM", False),
            ("copine", "1", "CSAM", False),  # may be harmless, may be not
            ("interpol-baseline", "N", "CSAM", False),  # no verdict at all
            ("ncmec-industry", "", "CSAM", False),
        ],
    )
    def test_are_told_apart(self, desk: Desk, scheme: str, value: str, purpose: str, is_harmless: bool) -> None:
        chosen = msgspec.structs.replace(
            desk.hub.store.resources.get_hash_set(*desk.hash_set("alpha/list", scheme=scheme).split("/")),
            purpose=Purpose(purpose),
        )
        stated, stager = item(1, value=value), Stager()
        stager.add(stated)
        batch = Batch.read(stager.staged([]))
        intake = Intake(
            desk.hub.store,
            chosen,
            load().get(scheme),
            lambda _: HeldItems([], lambda *_: b""),
            replace=False,
            has_classifications=True,
        )
        intake.decide(lambda: [batch])
        (new,) = intake.entries([batch], 7)
        assert new.harmless == ([7] if is_harmless else [])


class TestUnlikeHashes:
    """A record of many perceptual hashes that cannot be of one item."""

    def _pan(self, frames: int) -> tuple[Hash, ...]:
        """Digests of which each is near the one before it, as those of a camera that pans, and the last ones are not
        near the first.
        """
        shown = [digest("PDQ", 1)]
        for _ in range(frames - 1):
            shown.append(near(shown[-1], 40))
        return tuple(shown)

    def test_they_wait_alone_and_merged(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        many = tuple(digest("PDQ", n) for n in range(60))
        eight = tuple(near(digest("PDQ", 100 + turn), bits) for turn in range(8) for bits in (0, 3, 8))
        done = desk.contribute(
            "alpha/list",
            Record(position="many", external_id="m", hashes=(digest("MD5", 1), *many)),
            Record(position="turns", external_id="t", hashes=(digest("MD5", 2), *eight)),
            Record(position="pan", external_id="p", hashes=(digest("MD5", 3), *self._pan(60))),
            Record(position="nine", external_id="n", hashes=tuple(digest("DHASH", n) for n in range(30))),
            *(Record(position=f"part {n}", external_id="c", hashes=(digest("PDQ", 200 + n),)) for n in range(9)),
            *(Record(position=f"line {n}", external_id="v", hashes=(h,)) for n, h in enumerate(self._pan(20))),
        )
        assert (done.counts.accepted, done.counts.quarantined, done.counts.duplicate) == (3, 3, 27)
        waiting = {e.external_id: e.reasons for e in desk.entries("alpha/list", EntryState.QUARANTINED)}
        assert waiting == dict.fromkeys("mnc", ("UNLIKE_HASHES",))
        (line,) = [f for f in desk.report(done) if f.position == "many"]
        assert (line.disposition, line.reason) == (Disposition.QUARANTINED, "UNLIKE_HASHES")
        assert "60 pictures" in line.detail
        assert desk.match(many[30]).verdict is Verdict.NO_MATCH

    def test_a_video_has_as_many_frames_as_it_likes(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        frames = tuple(VideoFrame(1000 * n, 90, digest("PDQ", n).digest) for n in range(60))
        assert desk.contribute("alpha/list", Record(position="1", frames=frames)).counts.accepted == 1


class TestQuarantineThatAListEnds:
    """What waits because of its list is judged anew by the next one; what an operator holds is not."""

    @pytest.mark.parametrize("replace", [False, True])
    def test_conflicting_categories(self, any_desk: Desk, replace: bool) -> None:
        desk = any_desk
        desk.hash_set("alpha/list", scheme="vic-us")
        one, two = item(1, value="1", external_id="a"), item(1, position="line 2", value="2", external_id="a")
        others = [item(n, value="1") for n in range(2, 9)]
        first = desk.contribute("alpha/list", one, two, *others, replace=replace)
        assert (first.counts.quarantined, desk.verdict(1)) == (2, Verdict.NO_MATCH)
        again = desk.contribute("alpha/list", one, two, *others, replace=replace)
        assert (again.counts.quarantined, again.counts.unchanged, again.counts.superseded) == (2, 7, 0)
        waiting = [e.id for e in desk.entries("alpha/list", EntryState.QUARANTINED)]
        lines = [f for f in desk.report(again) if f.disposition is Disposition.QUARANTINED]
        assert [(f.reason, f.entry_id) for f in lines] == [("CONFLICTING_CATEGORIES", i) for i in waiting]
        assert f"alpha/list/{number_of(waiting[0])} has stated this before, and waits as before" in lines[0].detail
        checked = desk.contribute("alpha/list", one, *others, replace=replace, validate_only=True)
        corrected = desk.contribute("alpha/list", one, *others, replace=replace)
        for done in (checked, corrected):
            counts = done.counts
            assert (counts.accepted, counts.quarantined, counts.unchanged, counts.superseded) == (1, 0, 7, 2)
            assert counts.items == total(counts)
        assert desk.verdict(1) is Verdict.MATCH
        assert not desk.entries("alpha/list", EntryState.QUARANTINED)
        done = desk.contribute("alpha/list", one, *others, replace=replace)
        assert (done.counts.unchanged, done.counts.superseded) == (8, 0)

    @pytest.mark.parametrize(
        ("reason", "bad", "good"),
        [
            ("CONTRADICTORY_BINDING", [item(1), item(2, hashes=(digest("MD5", 1), digest("SHA1", 2)))], [item(1)]),
            ("REGION_MISMATCH", [item(1, value="1", region="GB")], [item(1, value="1")]),
            ("SCHEME_MISMATCH", [item(1, value="1", scheme="iwf")], [item(1, value="1")]),
            ("PURPOSE_MISMATCH", [item(1, value="1", tags=("purpose:benign",))], [item(1, value="1")]),
        ],
    )
    def test_each_reason_of_the_list(self, desk: Desk, reason: str, bad: list[Record], good: list[Record]) -> None:
        desk.hash_set("alpha/list", scheme="vic-us" if good[0].value else "")
        assert desk.contribute("alpha/list", *bad).counts.quarantined == len(bad)
        assert desk.contribute("alpha/list", *bad, source="again").counts.quarantined == len(bad)
        assert {e.reasons for e in desk.entries("alpha/list", EntryState.QUARANTINED)} == {(reason,)}
        corrected = desk.contribute("alpha/list", *good)
        assert (corrected.counts.accepted, corrected.counts.quarantined) == (1, 0)
        assert desk.verdict(1) is Verdict.MATCH

    def test_another_reason_is_told_of_the_entry_too(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        one = item(1, value="1")
        desk.contribute("alpha/list", one, item(1, position="line 2", value="2"))
        done = desk.contribute("alpha/list", msgspec.structs.replace(one, region="GB"))
        assert (done.counts.quarantined, done.counts.superseded) == (1, 2)
        (entry,) = desk.entries("alpha/list", EntryState.QUARANTINED)
        assert entry.reasons == ("REGION_MISMATCH",)

    def test_an_operators_quarantine_stays(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1), item(2))
        held = next(e for e in desk.entries("alpha/list") if e.provenance.position == "line 1")
        desk.hub.entries.quarantine(OPERATOR, "alpha", "list", held.id)
        done = desk.contribute("alpha/list", item(1), item(2), replace=True)
        assert (done.counts.quarantined, done.counts.unchanged, done.counts.superseded) == (1, 1, 0)
        assert done.counts.items == total(done.counts)
        (line,) = [f for f in desk.report(done) if f.disposition is Disposition.QUARANTINED]
        assert (line.reason, line.entry_id) == ("QUARANTINED_BY_OPERATOR", held.id)
        assert desk.known(1, 2) == [2]

    def test_a_suspicious_hash_stays(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        dim = item(1, algorithms=("MD5", "PDQ"), quality=1)
        desk.contribute("alpha/list", dim)
        done = desk.contribute("alpha/list", dim, item(2))
        assert (done.counts.quarantined, done.counts.accepted, done.counts.superseded) == (1, 1, 0)
        assert desk.reasons(done) == {"line 1": ["LOW_QUALITY"]}
