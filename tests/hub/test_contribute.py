"""Contributing lists: what becomes of every item, and what matches afterwards."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, Reason
from hashhub.hashes import Hash
from hashhub.hub import contribute
from hashhub.model import (
    Action,
    Counts,
    Disposition,
    EntryState,
    Flags,
    Import,
    ImportState,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    Verdict,
    WithdrawalReason,
)
from tests.examples import examples
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, Open, Stock, digest, item, near, total, writer

VIC = "vic-us"


def removal(number: int, **fields: Any) -> Record:
    """An item that asks for the withdrawal of the file with this number."""
    return item(number, **{"position": f"line -{number}", "action": Action.WITHDRAW, **fields})


class TestAList:
    def test_what_it_holds_matches_and_nothing_else(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        done = any_desk.contribute("alpha/list", item(1), item(2), batch=1)
        assert (done.state, done.counts.items, done.counts.accepted) == (ImportState.COMMITTED, 2, 2)
        assert any_desk.report(done) == []
        assert any_desk.known(1, 2, 3) == [1, 2]

    def test_entries_say_where_they_come_from(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list", scheme=VIC)
        done = any_desk.contribute(
            "alpha/list", item(1, value=" 1 ", member="Member", flags=Flags(distributed=False), external_id="x")
        )
        (entry,) = any_desk.entries("alpha/list")
        assert entry.classification is not None
        assert (entry.classification.scheme, entry.classification.value) == (VIC, "1")
        assert entry.flags == Flags(distributed=False)
        where = entry.provenance
        assert (where.import_id, where.position, where.member, where.source_digest) == (
            done.id, "line 1", "Member", done.source_digest,
        )  # fmt: skip

    def test_pieces_that_are_staged_one_after_the_other_are_all_there(
        self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contribute, "PIECE", 5)
        any_desk.hash_set("alpha/list")
        any_desk.contribute("alpha/list", *map(item, range(60)), batch=4)
        assert any_desk.known(*range(61)) == list(range(60))
        assert [entry.provenance.position for entry in any_desk.entries("alpha/list")] == [
            f"line {n}" for n in range(60)
        ]

    def test_thousands_of_withdrawals_do_not_each_take_as_long_as_the_list(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        items = [item(n, algorithms=("MD5",)) for n in range(30_000)]
        desk.contribute("alpha/list", *items, batch=10_000)
        gone = [removal(n, algorithms=("MD5",)) for n in range(1_500)]
        begun = time.process_time()
        done = desk.contribute("alpha/list", *items[1_500:], *gone, batch=10_000)
        assert time.process_time() - begun < 3.0  # 0.4; the whole list gone through for each of them: 5
        assert (done.counts.unchanged, done.counts.withdrawn) == (28_500, 1_500)

    def test_a_long_list_matches_when_commit_returns(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        items = [item(n, algorithms=("MD5", "PDQ")) for n in range(15_000)]
        done = desk.contribute("alpha/list", *items, batch=4_000)
        assert done.counts.accepted == 15_000
        queries = list(range(0, 15_000, 149))
        assert desk.known(*queries, 15_001) == queries
        assert desk.match(near(digest("PDQ", 4711), 31)).verdict is Verdict.MATCH

    def test_a_hash_given_twice_counts_once(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        twice = (digest("MD5", 1), digest("MD5", 1), digest("SHA1", 1))
        any_desk.contribute("alpha/list", item(1, hashes=twice))
        assert any_desk.entries("alpha/list")[0].hashes == twice[1:]


_NUMBERS = st.integers(0, 4)
_ALGORITHMS = st.sampled_from([("MD5",), ("SHA1",), ("MD5", "SHA1"), ("MD5", "SHA1", "SHA256"), ("PDQ",)])


@st.composite
def _items(draw: st.DrawFn) -> Record | Reject:
    """An item of a list made without care: duplicates, conflicts, contradictions, bad digests, withdrawals."""
    number, names = draw(_NUMBERS), draw(_ALGORITHMS)
    hashes = [digest(name, number) for name in names]
    match draw(st.sampled_from("pppppxzwcr")):
        case "x":  # an exact digest of another file
            hashes[0] = digest(hashes[0].algorithm, draw(_NUMBERS))
        case "z":  # a digest of zero bits only, as some tools write for "not computed"
            hashes[-1] = Hash(hashes[-1].algorithm, bytes(len(hashes[-1].digest)))
        case "w":
            by_id = draw(st.booleans())
            return Record(
                position="", action=Action.WITHDRAW, hashes=tuple(hashes), external_id=f"id-{number}" if by_id else ""
            )
        case "c":  # nothing to go by
            hashes = []
        case "r":
            return Reject("", "UNPARSABLE_LINE", "cannot be read")
    return Record(
        position="",
        hashes=tuple(hashes),
        value=draw(st.sampled_from(["1", "1", "1", "2", "", "nonsense"])),
        external_id=draw(st.sampled_from(["", "", f"id-{number}"])),
        quality=draw(st.sampled_from([None, 80, 10])),
        reviews=draw(st.sampled_from([(), (RecordReview(ReviewKind.CONFIRMED, "member"),)])),
    )


_LISTS = st.lists(_items(), max_size=12)


class TestConservation:
    @settings(max_examples=examples(40), phases=[Phase.explicit, Phase.generate])
    @given(lists=st.lists(st.tuples(_LISTS, st.booleans()), min_size=1, max_size=3), batch=st.integers(1, 5))
    def test_every_item_becomes_exactly_one_thing(
        self, open_hub: Open, lists: list[tuple[list[Record | Reject], bool]], batch: int
    ) -> None:
        desk = _desk_once(open_hub)
        name = desk.hash_set(f"gamma/{_fresh()}", scheme=VIC)
        for items, is_full in lists:
            placed = [_at(x, i) for i, x in enumerate(items)]
            replace = is_full and all(isinstance(x, Reject) or x.action is Action.CONTRIBUTE for x in items)
            done = desk.contribute(name, *placed, batch=batch, replace=replace, allow_shrinking=True)
            counts = done.counts
            assert counts.items == len(items) == total(counts)
            report = desk.report(done)
            said = Counter(f.position for f in report if f.disposition is not Disposition.NOTED)
            assert set(said.values()) <= {1}
            assert len(said) == counts.items - counts.accepted
            spoken = Counter(f.disposition for f in report)
            assert [spoken[d] for d in Disposition] == [
                0, counts.quarantined, counts.rejected, counts.duplicate, counts.unchanged, counts.withdrawn,
                counts.stays_withdrawn, counts.noted,
            ]  # fmt: skip
            assert all(f.reason and f.detail for f in report)
            # Each accepted or quarantined item is one entry, at its position, in its state.
            new = {e.id: e for e in desk.entries(name) if e.provenance.import_id == done.id}
            assert len({e.provenance.position for e in new.values()}) == len(new)
            stood = {f.entry_id for f in report if f.disposition is Disposition.QUARANTINED}
            assert len(stood) == counts.quarantined
            assert stood >= {e.id for e in new.values() if e.state is EntryState.QUARANTINED}
            # Others waited before this list, and do so now.
            assert stood <= {e.id for e in desk.entries(name, EntryState.QUARANTINED)}
            assert len([e for e in new.values() if e.state is EntryState.ACTIVE]) == counts.accepted
            # The same list again finds all that it left behind.
            again = desk.contribute(name, *placed, batch=batch, replace=replace, allow_shrinking=True, source=done.id)
            assert again.counts.accepted == 0
            assert not [e for e in desk.entries(name) if e.provenance.import_id == again.id]
            assert (again.counts.superseded, again.counts.absent) == (0, 0)

    @pytest.mark.parametrize(("replace", "before"), [(False, 0), (False, 200), (True, 0)])
    def test_lines_that_wait_are_each_one_entry_however_often_they_are_repeated(
        self, any_desk: Desk, replace: bool, before: int
    ) -> None:
        name = any_desk.hash_set("gamma/list")
        if before:  # so many that entries are looked for by the list's keys
            any_desk.contribute(name, *map(item, range(10, 10 + before)))
        otherwise = item(1, position="line 0", hashes=(digest("MD5", 1), digest("SHA1", 2)))
        once, twice, thrice = (
            [otherwise, *(item(1, position=f"line {n}") for n in range(1, copies + 1))] for copies in (1, 2, 3)
        )
        for items, fresh, superseded in [(twice, 3, 0), (twice, 0, 0), (thrice, 1, 0), (thrice, 0, 0), (once, 0, 2)]:
            waited = {e.id for e in any_desk.entries(name, EntryState.QUARANTINED)}
            done = any_desk.contribute(name, *items, replace=replace, batch=1)
            waiting = {e.id for e in any_desk.entries(name, EntryState.QUARANTINED)}
            assert done.counts == Counts(items=len(items), quarantined=len(items), superseded=superseded)
            assert {f.entry_id for f in any_desk.report(done)} == waiting
            assert (len(waiting - waited), len(waited - waiting)) == (fresh, superseded)
        assert len(any_desk.entries(name, EntryState.ACTIVE)) == before

    def test_one_released_line_settles_all_that_repeat_it(self, any_desk: Desk) -> None:
        name = any_desk.hash_set("gamma/list")
        otherwise = item(1, position="line 0", hashes=(digest("MD5", 1), digest("SHA1", 2)))
        items = [otherwise, *(item(1, position=f"line {n}") for n in (1, 2))]
        any_desk.contribute(name, *items)
        released = next(e for e in any_desk.entries(name) if e.provenance.position == "line 1")
        any_desk.hub.entries.release(OPERATOR, "gamma", "list", released.id)
        for superseded in (1, 0):
            counts = any_desk.contribute(name, *items).counts
            assert counts == Counts(items=3, quarantined=1, unchanged=2, superseded=superseded)


_numbers = iter(range(1_000_000))
_desks: dict[int, Desk] = {}


def _fresh() -> str:
    return f"set-{next(_numbers)}"


def _desk_once(open_hub: Open) -> Desk:
    """One hub for all examples of a test: each has a hash set of its own."""
    key = id(open_hub)
    if key not in _desks:
        _desks.clear()
        _desks[key] = Desk(open_hub())
    return _desks[key]


def _at(x: Record | Reject, index: int) -> Record | Reject:
    if isinstance(x, Reject):
        return Reject(f"line {index}", x.reason, x.detail)
    return Record(**{f: getattr(x, f) for f in Record.__struct_fields__} | {"position": f"line {index}"})


class TestWithinOneList:
    def test_the_same_item_twice_is_one_entry_with_all_that_both_say(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme=VIC)
        first = item(1, algorithms=("MD5",), value="1", flags=Flags(distributed=True), tags=("a",))
        more = item(
            1,
            algorithms=("MD5", "SHA1"),
            position="line 9",
            flags=Flags(distributed=False, suspected=False),
            tags=("b",),
        )
        done = desk.contribute("alpha/list", first, item(2, value="1"), more)
        assert (done.counts.accepted, done.counts.duplicate) == (2, 1)
        assert desk.reasons(done) == {"line 9": ["DUPLICATE_IN_SOURCE"]}
        entry = next(e for e in desk.entries("alpha/list") if e.provenance.position == "line 1")
        assert set(entry.hashes) == {digest("MD5", 1), digest("SHA1", 1)}
        assert entry.flags == Flags(distributed=True, suspected=False)
        assert entry.tags == ("a", "b")
        assert entry.reasons == ()
        assert desk.match(digest("SHA1", 1)).verdict is Verdict.MATCH

    def test_items_with_perceptual_hashes_only_are_the_same_when_all_are(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        both = (digest("PDQ", 1), digest("PHASH", 1))
        done = desk.contribute(
            "alpha/list",
            item(1, hashes=both),
            item(1, hashes=both[::-1], position="line 2"),
            item(1, hashes=both[:1], position="line 3"),
        )
        assert (done.counts.accepted, done.counts.duplicate) == (2, 1)

    def test_two_categories_for_one_item_quarantine_both(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme=VIC)
        done = desk.contribute(
            "alpha/list", item(1, value="1"), item(1, value="2", position="line 2"), item(3, value="1")
        )
        assert (done.counts.accepted, done.counts.quarantined) == (1, 2)
        assert desk.reasons(done) == {"line 1": ["CONFLICTING_CATEGORIES"], "line 2": ["CONFLICTING_CATEGORIES"]}
        assert desk.known(1, 3) == [3]

    def test_two_spellings_of_one_category_are_no_conflict(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="uk-sentencing")
        done = desk.contribute("alpha/list", item(1, value="A"), item(1, value=" a", position="line 2"))
        assert (done.counts.accepted, done.counts.duplicate) == (1, 1)
        again = desk.contribute("alpha/list", item(1, value="a"))
        assert again.counts.unchanged == 1

    @pytest.mark.parametrize(("common", "other"), [("SHA256", "MD5"), ("MD5", "SHA256")])
    def test_one_digest_bound_to_two_others_quarantines_all_that_have_it(
        self, desk: Desk, common: str, other: str
    ) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute(
            "alpha/list",
            item(1, hashes=(digest(common, 1), digest(other, 1))),
            item(2, hashes=(digest(common, 1), digest(other, 2))),
            item(3, hashes=(digest(common, 1),)),
            item(4),
        )
        assert done.counts.accepted == 1
        assert {p: r[0] for p, r in desk.reasons(done).items()} == dict.fromkeys(
            ("line 1", "line 2", "line 3"), "CONTRADICTORY_BINDING"
        )
        assert desk.match(digest(common, 1)).verdict is Verdict.NO_MATCH

    def test_a_contradiction_along_a_chain_quarantines_all_of_it(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute(
            "alpha/list",
            item(1, hashes=(digest("MD5", 1), digest("SHA1", 1))),
            item(2, hashes=(digest("SHA1", 1), digest("SHA256", 1))),
            item(3, hashes=(digest("SHA256", 1), digest("MD5", 2))),
        )
        assert (done.counts.accepted, done.counts.quarantined) == (0, 3)
        assert {r for reasons in desk.reasons(done).values() for r in reasons} == {"CONTRADICTORY_BINDING"}

    def test_what_contradicts_another_item_is_not_merged_with_its_own_id(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute(
            "alpha/list",
            item(1, external_id="x", hashes=(digest("MD5", 1), digest("SHA1", 1))),
            item(2, external_id="x", hashes=(digest("MD5", 1),)),
            item(3, external_id="y", hashes=(digest("MD5", 1), digest("SHA1", 2))),
        )
        assert (done.counts.quarantined, done.counts.accepted) == (3, 0)
        assert desk.reasons(done).keys() == {"line 1", "line 2", "line 3"}

    def test_one_id_for_two_files_quarantines_both(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute("alpha/list", item(1, external_id="x"), item(2, external_id="x"))
        assert done.counts.quarantined == 2
        assert desk.known(1, 2) == []

    def test_both_go_when_that_id_is_withdrawn(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, external_id="x"), item(2, external_id="x"))
        desk.contribute("alpha/list", removal(1, external_id="x"))
        assert {e.state for e in desk.entries("alpha/list")} == {EntryState.WITHDRAWN}

    def test_a_suspect_duplicate_makes_the_union_suspect(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        blurred = item(1, algorithms=("MD5", "PDQ"), quality=10, position="line 2")
        done = desk.contribute("alpha/list", item(1), blurred)
        assert (done.counts.quarantined, done.counts.duplicate) == (1, 1)
        assert desk.entries("alpha/list", EntryState.QUARANTINED)[0].reasons == ("LOW_QUALITY",)

    def test_a_duplicate_without_category_takes_the_other_ones(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme=VIC)  # which demands one
        done = desk.contribute("alpha/list", item(1), item(1, value="1", position="line 2"))
        assert (done.counts.accepted, done.counts.duplicate) == (1, 1)
        assert desk.known(1) == [1]

    def test_an_unusable_hash_is_noted_and_the_rest_kept(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        done = desk.contribute("alpha/list", item(1, hashes=(digest("MD5", 1), Hash("SHA1", bytes(20)))))
        (note,) = desk.report(done)
        assert (note.disposition, note.reason, note.position) == (Disposition.NOTED, "ALL_ZERO", "line 1")
        assert note.entry_id == desk.entries("alpha/list")[0].id
        assert (done.counts.accepted, done.counts.noted) == (1, 1)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"value": "9"}, "UNKNOWN_VALUE"),
            ({"value": ""}, "UNCLASSIFIED"),
            ({"value": "1", "region": "GB"}, "REGION_MISMATCH"),
        ],
    )
    def test_what_does_not_fit_the_scheme_waits_for_a_person(
        self, desk: Desk, fields: dict[str, str], reason: str
    ) -> None:
        desk.hash_set("alpha/list", scheme=VIC)
        done = desk.contribute("alpha/list", item(1, **fields))
        assert desk.reasons(done) == {"line 1": [reason]}
        (entry,) = desk.entries("alpha/list", EntryState.QUARANTINED)
        assert entry.reasons == (reason,)
        assert desk.known(1) == []
        # What the list said is kept as it said it, and the list as it is finds nothing new: it waits as before.
        assert (entry.classification.value if entry.classification else "") == fields["value"]
        again = desk.contribute("alpha/list", item(1, **fields), source="again")
        assert (again.counts.quarantined, again.counts.superseded, desk.reasons(again)) == (1, 0, {"line 1": [reason]})

    def test_a_released_unknown_value_never_blocks_by_itself(self, desk: Desk) -> None:
        desk.contributor("alpha", reliability="A")
        desk.hash_set("alpha/list", scheme=VIC)
        desk.contribute("alpha/list", item(1, value="9"))
        (entry,) = desk.entries("alpha/list")
        desk.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert desk.verdict(1, policy="block") is Verdict.REVIEW


def _fill_with_four(desk: Desk) -> None:
    """Two files with ids, one without, one with a perceptual hash only."""
    desk.hash_set("alpha/list")
    desk.contribute(
        "alpha/list", item(1, external_id="a"), item(2, external_id="b"), item(3), item(4, algorithms=("PDQ",))
    )


class TestWithdrawalsInAList:
    @pytest.fixture
    def stocked(self, stock: Stock) -> Desk:
        return stock(_fill_with_four)

    def test_by_id_by_digest_and_by_the_very_same_hashes(self, stocked: Desk) -> None:
        done = stocked.contribute(
            "alpha/list",
            removal(1, external_id="a", hashes=()),
            removal(3, algorithms=("SHA1",)),
            removal(4, algorithms=("PDQ",)),
            removal(9),
        )
        assert (done.counts.withdrawn, done.counts.items) == (4, 4)
        assert stocked.reasons(done) == {
            "line -1": ["WITHDRAWN_BY_SOURCE"],
            "line -3": ["WITHDRAWN_BY_SOURCE"],
            "line -4": ["WITHDRAWN_BY_SOURCE"],
            "line -9": ["UNKNOWN_EXTERNAL_ID"],
        }
        assert stocked.known(1, 2, 3) == [2]
        assert stocked.match(digest("PDQ", 4)).verdict is Verdict.NO_MATCH
        gone = stocked.entries("alpha/list", EntryState.WITHDRAWN)
        assert {e.reasons for e in gone} == {("WITHDRAWN_BY_SOURCE",)}

    @pytest.mark.parametrize("how", [{"external_id": "a", "hashes": ()}, {}])
    def test_the_last_word_withdraws(self, stocked: Desk, how: dict[str, Any]) -> None:
        done = stocked.contribute("alpha/list", item(1, external_id="a", tags=("new",)), removal(1, **how))
        assert stocked.reasons(done) == {"line 1": ["SUPERSEDED"], "line -1": ["WITHDRAWN_BY_SOURCE"]}
        assert stocked.known(1, 2) == [2]

    def test_the_last_word_withdraws_what_was_new(self, stocked: Desk) -> None:
        done = stocked.contribute("alpha/list", item(7), removal(7), item(8, algorithms=("PHASH",)),
                                  removal(8, algorithms=("PHASH",)))  # fmt: skip
        assert (done.counts.duplicate, done.counts.withdrawn, done.counts.accepted) == (2, 2, 0)
        assert stocked.known(7) == []

    @pytest.mark.parametrize("how", [{"external_id": "a", "hashes": ()}, {}])
    @pytest.mark.parametrize("tags", [(), ("new",)])
    def test_the_last_word_states_again(self, stocked: Desk, how: dict[str, Any], tags: tuple[str, ...]) -> None:
        done = stocked.contribute("alpha/list", removal(1, **how), item(1, external_id="a", tags=tags))
        assert stocked.known(1, 2) == [1, 2]
        assert stocked.reasons(done)["line -1"] == ["SUPERSEDED"]
        assert len(stocked.entries("alpha/list", EntryState.ACTIVE)) == 4

    def test_only_its_own_hash_set(self, stocked: Desk) -> None:
        stocked.hash_set("beta/list")
        stocked.contribute("beta/list", removal(3), removal(1, external_id="a"))
        assert stocked.known(1, 3) == [1, 3]


class TestMembers:
    """Sources such as NCMEC's, in which several members state things under ids of their own."""

    def test_the_same_picture_by_two_members_stays_two_entries(self, desk: Desk) -> None:
        desk.hash_set("clearing/list")
        done = desk.contribute(
            "clearing/list",
            item(1, external_id="m1-1", member="One"),
            item(1, external_id="m2-1", member="Two", position="line 2"),
        )
        assert done.counts.accepted == 2
        assert {m.entry.provenance.member for m in desk.match(digest("MD5", 1)).matches} == {"One", "Two"}
        desk.contribute("clearing/list", removal(1, external_id="m1-1", hashes=()))
        assert [m.entry.provenance.member for m in desk.match(digest("MD5", 1)).matches] == ["Two"]
        desk.contribute("clearing/list", removal(1, external_id="m2-1", hashes=()))
        assert desk.known(1) == []

    def test_an_update_replaces_the_entry(self, desk: Desk) -> None:
        desk.hash_set("clearing/list")
        desk.contribute("clearing/list", item(1, external_id="m1-1"))
        done = desk.contribute("clearing/list", item(2, external_id="m1-1"))
        assert (done.counts.accepted, done.counts.superseded) == (1, 1)
        assert desk.known(1, 2) == [2]
        assert desk.entries("clearing/list", EntryState.WITHDRAWN)[0].reasons == ("SUPERSEDED",)

    def test_feedback_becomes_reviews_once(self, desk: Desk) -> None:
        desk.hash_set("clearing/list")
        doubt = RecordReview(ReviewKind.FALSE_POSITIVE, "member-two", "not it")
        desk.contribute("clearing/list", item(1, external_id="m1-1", reviews=(doubt,)))
        sure = RecordReview(ReviewKind.CONFIRMED, "member-three")
        for source in ("second", "third"):
            again = item(1, external_id="m1-1", reviews=(doubt, sure))
            assert desk.contribute("clearing/list", again, source=source).counts.unchanged == 1
        (entry,) = desk.entries("clearing/list")
        reviews, _ = desk.hub.reviews.list(OPERATOR, "clearing", "list", entry.id, 100, 0)
        assert [(r.author, r.kind, r.comment) for r in reviews] == [
            ("clearing/member-two", ReviewKind.FALSE_POSITIVE, "not it"),
            ("clearing/member-three", ReviewKind.CONFIRMED, ""),
        ]


class TestAgainstItsOwnHashSet:
    def test_an_identical_item_is_left_alone(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list", scheme=VIC)
        any_desk.contribute("alpha/list", item(1, value="1"), item(2, value="1"))
        before = any_desk.entries("alpha/list")
        later = item(1, value="1", source_time="2030-01-01", position="line 77")
        done = any_desk.contribute("alpha/list", later, item(3, value="1"))
        assert (done.counts.unchanged, done.counts.accepted) == (1, 1)
        assert any_desk.reasons(done) == {"line 77": ["IDENTICAL_ENTRY"]}
        assert any_desk.entries("alpha/list")[:2] == before

    @pytest.mark.parametrize(
        "change", [{"value": "2"}, {"tags": ("t",)}, {"algorithms": ("MD5", "SHA1", "PDQ")}, {"member": "Two"}]
    )
    def test_a_newer_statement_replaces_the_older(self, any_desk: Desk, change: dict[str, Any]) -> None:
        any_desk.hash_set("alpha/list", scheme=VIC)
        any_desk.contribute("alpha/list", item(1, value="1"))
        done = any_desk.contribute("alpha/list", item(1, **{"value": "1", **change}))
        assert (done.counts.accepted, done.counts.superseded) == (1, 1)
        (entry,) = any_desk.entries("alpha/list", EntryState.ACTIVE)
        assert entry.provenance.import_id == done.id
        assert any_desk.known(1) == [1]

    def test_two_contributors_of_one_digest_are_two_statements(self, any_desk: Desk) -> None:
        for name in ("alpha/list", "beta/list"):
            any_desk.hash_set(name)
            any_desk.contribute(name, item(1))
        assert {m.entry.contributor for m in any_desk.match(digest("MD5", 1)).matches} == {"alpha", "beta"}
        for contributor in ("alpha", "beta"):
            assert any_desk.known(1) == [1]
            (entry,) = any_desk.entries(f"{contributor}/list")
            any_desk.hub.entries.withdraw(writer(contributor), contributor, "list", entry.id, WithdrawalReason.ERROR)
        assert any_desk.known(1) == []


class TestQuarantine:
    def test_released_it_matches_and_withdrawn_it_never_does_again(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list", scheme=VIC)
        any_desk.contribute("alpha/list", item(1, value="9"))
        (entry,) = any_desk.entries("alpha/list")
        entries = any_desk.hub.entries
        assert any_desk.known(1) == []
        assert entries.release(OPERATOR, "alpha", "list", entry.id).state is EntryState.ACTIVE
        assert any_desk.match(digest("MD5", 1)).verdict is not Verdict.NO_MATCH
        assert entries.quarantine(OPERATOR, "alpha", "list", entry.id).reasons == ("QUARANTINED_BY_OPERATOR",)
        assert any_desk.match(digest("MD5", 1)).verdict is Verdict.NO_MATCH
        entries.release(OPERATOR, "alpha", "list", entry.id)
        withdrawn = entries.withdraw(writer("alpha"), "alpha", "list", entry.id, WithdrawalReason.ERROR)
        assert withdrawn.reasons == ("WITHDRAWN_BY_CONTRIBUTOR",)
        assert entries.withdraw(writer("alpha"), "alpha", "list", entry.id, WithdrawalReason.ERROR) == withdrawn
        any_desk.contribute("alpha/list", item(2, value="1"))
        (other,) = [e for e in any_desk.entries("alpha/list") if e.state is EntryState.ACTIVE]
        assert entries.withdraw(OPERATOR, "alpha", "list", other.id, WithdrawalReason.ERROR).reasons == (
            "WITHDRAWN_BY_OPERATOR",
        )
        assert any_desk.match(digest("MD5", 1)).verdict is Verdict.NO_MATCH
        for move in (entries.release, entries.quarantine):
            with pytest.raises(FailedPrecondition) as refused:
                move(OPERATOR, "alpha", "list", entry.id)
            assert refused.value.reason is Reason.ENTRY_WITHDRAWN

    def test_validate_only_moves_nothing(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        (entry,) = desk.entries("alpha/list")
        tried = desk.hub.entries.withdraw(
            OPERATOR, "alpha", "list", entry.id, WithdrawalReason.ERROR, validate_only=True
        )
        assert tried.state is EntryState.WITHDRAWN
        assert desk.known(1) == [1]

    @pytest.mark.parametrize("algorithms", [("MD5", "PDQ"), ("PDQ",)])
    def test_the_same_list_again_changes_nothing(self, any_desk: Desk, algorithms: tuple[str, ...]) -> None:
        any_desk.hash_set("alpha/list")
        suspect = item(1, algorithms=algorithms, quality=10)
        any_desk.contribute("alpha/list", suspect)
        for is_released in (False, True):
            again = any_desk.contribute("alpha/list", suspect)
            assert (again.counts.unchanged, again.counts.superseded) == (is_released, 0)
            assert again.counts.quarantined == (not is_released)
            (entry,) = any_desk.entries("alpha/list")
            any_desk.hub.entries.release(OPERATOR, "alpha", "list", entry.id)  # nor once an operator has decided


def _fill_with_nine(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in range(8)), item(8, algorithms=("MD5", "PDQ"), quality=1))


class TestReplacing:
    @pytest.fixture
    def stocked(self, any_stock: Stock) -> Desk:
        return any_stock(_fill_with_nine)

    def test_what_the_list_lacks_is_withdrawn(self, stocked: Desk) -> None:
        done = stocked.contribute("alpha/list", *(item(n) for n in range(3, 10)), replace=True)
        assert (done.counts.unchanged, done.counts.accepted, done.counts.superseded, done.counts.absent) == (5, 2, 1, 3)
        assert stocked.known(*range(11)) == list(range(3, 10))
        gone = stocked.entries("alpha/list", EntryState.WITHDRAWN)
        assert sorted(e.reasons for e in gone) == [("ABSENT_FROM_LIST",)] * 3 + [("SUPERSEDED",)]

    def test_quarantined_entries_go_too(self, stocked: Desk) -> None:
        done = stocked.contribute("alpha/list", *(item(n) for n in range(8)), replace=True)
        assert done.counts.absent == 1
        assert stocked.entries("alpha/list", EntryState.QUARANTINED) == []

    def test_a_list_that_shrank_is_refused_until_insisted_upon(self, stocked: Desk) -> None:
        with pytest.raises(FailedPrecondition) as refused:
            stocked.contribute("alpha/list", item(1), item(2), source="short", replace=True)
        assert refused.value.reason is Reason.LIST_SHRANK
        assert refused.value.metadata == {"kept": "2", "active": "9"}
        assert stocked.known(*range(8)) == list(range(8))
        waiting = stocked.open("alpha/list", source="short", replace=True)
        assert waiting.batch_count == 1
        done = stocked.commit(waiting, allow_shrinking=True)
        assert (done.counts.unchanged, done.counts.absent) == (2, 7)
        assert stocked.known(*range(8)) == [1, 2]

    def test_an_empty_list_is_refused_too(self, stocked: Desk) -> None:
        with pytest.raises(FailedPrecondition, match="keeps 0 of 9"):
            stocked.contribute("alpha/list", replace=True)

    def test_other_hash_sets_stay(self, stocked: Desk) -> None:
        stocked.hash_set("alpha/other")
        stocked.hash_set("beta/list")
        for name in ("alpha/other", "beta/list"):
            stocked.contribute(name, item(20), item(1))
        stocked.contribute("alpha/list", item(30), replace=True, allow_shrinking=True)
        assert stocked.known(1, 2, 20, 30) == [1, 20, 30]

    def test_back_to_an_earlier_list(self, stocked: Desk) -> None:
        for numbers in ((0, 1), (2, 3), (0, 1)):
            items = [item(n) for n in numbers]
            stocked.contribute("alpha/list", *items, replace=True, allow_shrinking=True, source=f"version {numbers}")
            assert stocked.known(*range(8)) == list(numbers)


class TestOneSourceOnce:
    def test_the_same_source_is_the_same_import(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        done = any_desk.contribute("alpha/list", item(1), source="file")
        revision = any_desk.hub.revision()
        again = any_desk.contribute("alpha/list", item(1), source="file")
        assert again == done
        assert any_desk.hub.revision() == revision

    def test_a_cut_off_import_goes_on_where_it_stopped(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        begun = any_desk.add(any_desk.open("alpha/list", source="file"), [item(1)], [item(2)])
        with pytest.raises(FailedPrecondition) as refused:
            any_desk.hub.contribute.commit(writer("alpha"), begun.id, batch_count=3)
        assert refused.value.reason is Reason.IMPORT_INCOMPLETE
        # The last batch is sent again: its answer was lost.
        any_desk.hub.contribute.add(writer("alpha"), begun.id, 1, [item(2)], [])
        resumed = any_desk.open("alpha/list", source="file")
        assert (resumed.id, resumed.batch_count) == (begun.id, 2)
        done = any_desk.commit(any_desk.add(resumed, [item(3)]))
        assert done.counts.accepted == 3
        assert any_desk.known(1, 2, 3) == [1, 2, 3]

    def test_two_imports_at_once_into_one_set(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        one = any_desk.add(any_desk.open("alpha/list"), [item(1), item(2)])
        two = any_desk.add(any_desk.open("alpha/list"), [item(2), item(3)])
        assert any_desk.commit(two).counts.accepted == 2
        done = any_desk.commit(one)
        assert (done.counts.accepted, done.counts.unchanged) == (1, 1)
        assert any_desk.known(1, 2, 3) == [1, 2, 3]

    def test_cancelled_it_leaves_nothing(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        begun = any_desk.add(any_desk.open("alpha/list", source="file"), [item(1)])
        assert any_desk.hub.contribute.cancel(writer("alpha"), begun.id).state is ImportState.CANCELLED
        with pytest.raises(FailedPrecondition) as refused:
            any_desk.commit(begun)
        assert refused.value.reason is Reason.IMPORT_CLOSED
        with pytest.raises(FailedPrecondition) as refused:
            any_desk.add(begun, [item(2)])
        assert refused.value.reason is Reason.IMPORT_CLOSED
        assert any_desk.known(1) == []
        assert any_desk.contribute("alpha/list", item(1), source="file").counts.accepted == 1

    def test_a_trial_reports_and_stores_nothing(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list", scheme=VIC)
        any_desk.contribute("alpha/list", item(1, value="1"))
        revision = any_desk.hub.revision()
        items: list[Record | Reject] = [item(1, value="1"), item(2, value="1"), item(3, value="9")]
        items.append(Reject("line 4", "BAD_FIELD", "no"))
        tried = any_desk.contribute("alpha/list", *items, source="file", validate_only=True)
        assert tried.state is ImportState.CANCELLED
        assert any_desk.reasons(tried) == {
            "line 1": ["IDENTICAL_ENTRY"], "line 3": ["UNKNOWN_VALUE"], "line 4": ["BAD_FIELD"],
        }  # fmt: skip
        assert any_desk.hub.revision() == revision
        assert any_desk.known(1, 2, 3) == [1]
        done = any_desk.contribute("alpha/list", *items, source="file")
        assert done.counts == tried.counts

    def test_a_failed_commit_can_be_repeated_at_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.hash_set("alpha/list")
        begun = desk.add(desk.open("alpha/list"), [item(1)])
        database = desk.hub.store.database
        real = database.insert

        def full(*_: object) -> None:
            raise LimitExceeded("the disk is full", reason=Reason.DISK_FULL)

        monkeypatch.setattr(database, "insert", full)
        with pytest.raises(LimitExceeded):
            desk.commit(begun)
        monkeypatch.setattr(database, "insert", real)
        assert desk.known(1) == []
        assert desk.commit(begun).counts.accepted == 1
        assert desk.known(1) == [1]


class TestRefusals:
    def test_a_source_must_say_what_it_is(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        blank = Import(
            id="", contributor="alpha", hash_set="list", connector="", connector_version="", source_digest="12"
        )
        with pytest.raises(InvalidArgument) as refused:
            desk.hub.contribute.open(writer("alpha"), blank)
        assert {v.field for v in refused.value.violations} == {
            "import.connector", "import.connector_version", "import.source_digest",
        }  # fmt: skip

    def test_a_batch_must_not_be_too_large(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        opened = desk.open("alpha/list")
        with pytest.raises(LimitExceeded, match="at most 10000 items, got 10001"):
            desk.hub.contribute.add(writer("alpha"), opened.id, 0, [], [Reject("x", "BAD_FIELD", "x")] * 10_001)

    def test_a_consumer_sees_what_was_committed_only(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.add(desk.open("alpha/list"), [item(1)])
        assert desk.verdict(1, who=PLATFORM) is Verdict.NO_MATCH
