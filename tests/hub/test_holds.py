"""What was withdrawn or quarantined by hand: no list brings it back, and each list says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hashhub.hashes import ALGORITHMS
from hashhub.hub.intake import Intake
from hashhub.hub.intake.identity import HeldItems
from hashhub.model import Action, Disposition, Entry, EntryState, Flags, Import, Record, WithdrawalReason
from hashhub.store.holds import Hold, Origin
from tests.hub.conftest import OPERATOR, Desk, Stock, digest, item, near, total, writer


def entry_of(desk: Desk, name: str, number: int, *states: EntryState) -> Entry:
    (entry,) = [e for e in desk.entries(name, *states) if set(e.hashes) & {digest(a, number) for a in ALGORITHMS}]
    return entry


def withdraw(desk: Desk, entry: Entry, *, operator: bool = False) -> None:
    who = OPERATOR if operator else writer(entry.contributor)
    desk.hub.entries.withdraw(who, entry.contributor, entry.hash_set, entry.id, WithdrawalReason.ERROR)


def stays(desk: Desk, done: Import) -> list[str]:
    return [f.position for f in desk.report(done) if f.disposition is Disposition.STAYS_WITHDRAWN]


def _fill(desk: Desk) -> None:
    """A list of three files, the second of which its contributor has withdrawn by hand."""
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, external_id=f"id-{n}") for n in (1, 2, 3)), source="first")
    withdraw(desk, entry_of(desk, "alpha/list", 2))


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(_fill)


class TestWithdrawnByHand:
    @pytest.mark.parametrize("replace", [False, True])
    def test_a_weekly_list_does_not_bring_it_back(self, listed: Desk, replace: bool) -> None:
        for week in range(3):
            items = [item(n, external_id=f"id-{n}", tags=(f"week {week}",)) for n in (1, 2, 3)]
            done = listed.contribute("alpha/list", *items, replace=replace)
            counts = done.counts
            assert (counts.stays_withdrawn, counts.accepted, counts.absent, counts.superseded) == (1, 2, 0, 2)
            assert total(counts) == counts.items == 3
            (line,) = [f for f in listed.report(done) if f.disposition is Disposition.STAYS_WITHDRAWN]
            name = entry_of(listed, "alpha/list", 2).name
            assert (line.position, line.reason, line.entry_id) == ("line 2", "STAYS_WITHDRAWN", 0)
            assert f"{name} was withdrawn by hand" in line.detail
            assert f"hashhub entry restore {name} (the contributor or an operator)" in line.detail
            assert listed.known(1, 2, 3) == [1, 3]

    @pytest.mark.parametrize(
        "fields",
        [
            {"external_id": "id-2", "algorithms": ("SHA256",)},  # another file under the same id
            {"external_id": "a new id"},
            {"algorithms": ("SHA1", "PDQ")},
            {"algorithms": ("MD5",), "value": ""},
        ],
    )
    def test_whatever_it_is_called_now(self, listed: Desk, fields: dict[str, Any]) -> None:
        done = listed.contribute("alpha/list", item(2, **fields), item(4))
        assert stays(listed, done) == ["line 2"]
        assert listed.known(2, 4) == [4]

    def test_nor_what_was_merged_into_another_line(self, listed: Desk) -> None:
        """The first line shares nothing with what was withdrawn; the second one, the same item, does."""
        first = item(2, hashes=(digest("SHA256", 2),), position="line 1")
        second = item(2, algorithms=("MD5", "SHA256"))
        done = listed.contribute("alpha/list", first, second)
        assert (done.counts.stays_withdrawn, done.counts.duplicate) == (1, 1)
        assert listed.match(digest("SHA256", 2)).matches == ()

    def test_an_item_that_is_live_under_another_name_goes_on(self, listed: Desk) -> None:
        listed.hash_set("alpha/other")
        listed.contribute("alpha/other", item(7, external_id="a"), item(7, external_id="b", position="line b"))
        one, _ = listed.entries("alpha/other")
        withdraw(listed, one)
        done = listed.contribute(
            "alpha/other", item(7, external_id="a"), item(7, external_id="b", position="line b", tags=("new",))
        )
        assert stays(listed, done) == ["line 7"]
        assert (done.counts.accepted, done.counts.superseded) == (1, 1)
        assert [e.external_id for e in listed.entries("alpha/other", EntryState.ACTIVE)] == ["b"]

    def test_an_item_with_perceptual_hashes_only(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        both = (digest("PDQ", 1), digest("PHASH", 1))
        any_desk.contribute("alpha/list", item(1, hashes=both))
        withdraw(any_desk, any_desk.entries("alpha/list")[0])
        named = item(1, hashes=both[::-1], external_id="new name")
        other = item(2, hashes=(near(both[0], 40),))
        done = any_desk.contribute("alpha/list", item(1, hashes=both), named, other)
        assert (done.counts.stays_withdrawn, done.counts.accepted) == (2, 1)

    def test_only_in_its_own_hash_set_unless_an_operator_did_it(self, listed: Desk) -> None:
        for name in ("alpha/other", "beta/list"):
            listed.hash_set(name)
            assert listed.contribute(name, item(2)).counts.accepted == 1
        withdraw(listed, entry_of(listed, "alpha/other", 2), operator=True)
        listed.hash_set("alpha/third")
        done = listed.contribute("alpha/third", item(2))
        assert "(only an operator)" in listed.report(done)[0].detail
        assert stays(listed, done) == ["line 2"]
        assert listed.contribute("beta/list", item(2, tags=("t",))).counts.accepted == 1

    def test_what_fell_out_of_a_list_comes_back_with_it(self, listed: Desk) -> None:
        listed.contribute("alpha/list", item(1, external_id="id-1"), replace=True, allow_shrinking=True)
        done = listed.contribute("alpha/list", item(3, external_id="id-3"))
        assert (done.counts.accepted, done.counts.stays_withdrawn) == (1, 0)
        assert listed.known(1, 3) == [1, 3]

    def test_trying_and_doing_say_the_same(self, listed: Desk) -> None:
        items = [item(n, external_id=f"id-{n}", tags=("t",)) for n in (1, 2)]
        tried = listed.contribute("alpha/list", *items, validate_only=True)
        report = [(f.position, f.reason, f.detail) for f in listed.report(tried)]
        done = listed.contribute("alpha/list", *items)
        assert done.counts == tried.counts
        assert [(f.position, f.reason, f.detail) for f in listed.report(done)] == report


class TestDeletedByItsSource:
    def test_an_older_list_does_not_bring_it_back_and_a_newer_one_does(self, listed: Desk) -> None:
        gone = Record(position="gone", action=Action.WITHDRAW, external_id="id-1")
        assert listed.contribute("alpha/list", gone).counts.withdrawn == 1
        items = [item(n, external_id=f"id-{n}") for n in (1, 2, 3)]
        done = listed.contribute("alpha/list", *items, source="first")  # the very list from before the deletion
        assert stays(listed, done) == ["line 1", "line 2"]
        assert "withdrawn by a newer deletion message of the source" in listed.report(done)[0].detail
        assert listed.known(1, 3) == [3]
        assert listed.contribute("alpha/list", *items, source="newer").counts.accepted == 1
        assert listed.known(1, 3) == [1, 3]

    def test_a_list_that_was_begun_before_the_deletion_is_older(self, listed: Desk) -> None:
        items = [item(n, external_id=f"id-{n}", tags=("t",)) for n in (1, 3)]
        begun = listed.add(listed.open("alpha/list", source="begun"), items[:1])
        tried = listed.open("alpha/list", source="tried")
        listed.commit(listed.add(tried, items), validate_only=True)
        gone = Record(position="gone", action=Action.WITHDRAW, external_id="id-1")
        assert listed.contribute("alpha/list", gone).counts.withdrawn == 1
        assert stays(listed, listed.commit(listed.add(begun, items[1:]))) == ["line 1"]
        assert stays(listed, listed.contribute("alpha/list", *items, source="tried")) == ["line 1"]
        assert listed.known(1, 3) == [3]
        assert listed.contribute("alpha/list", *items, source="newer").counts.accepted == 1

    def test_sent_again_after_the_item_was_listed_again_it_deletes_again(self, listed: Desk) -> None:
        gone = Record(position="gone", action=Action.WITHDRAW, external_id="id-1")
        deletion = listed.contribute("alpha/list", gone, source="gone")
        assert listed.contribute("alpha/list", gone, source="gone").id == deletion.id  # nothing came in between
        for week in range(2):
            listed.contribute("alpha/list", item(1, external_id="id-1"), source=f"week {week}")
            assert listed.known(1) == [1]
            again = listed.contribute("alpha/list", gone, source="gone")
            assert (again.counts.withdrawn, again.id != deletion.id) == (1, True)
            assert listed.known(1) == []
            assert listed.contribute("alpha/list", gone, source="gone").id == again.id
        deleted, *_, last = listed.entries("alpha/list", EntryState.WITHDRAWN)
        listed.hub.entries.restore(writer("alpha"), "alpha", "list", last.id)
        assert (listed.known(1), deleted.id) != ([], last.id)
        listed.contribute("alpha/list", gone, source="gone")
        assert listed.known(1) == []

    def test_the_sources_own_times_tell_which_list_is_older(self, listed: Desk) -> None:
        gone = Record(position="gone", action=Action.WITHDRAW, external_id="id-1", source_time="2025-06-02T00:00:00Z")
        assert listed.contribute("alpha/list", gone).counts.withdrawn == 1
        for time, is_held in (("2025-06-01T00:00:00Z", True), ("2025-06-03T00:00:00Z", False)):
            done = listed.contribute("alpha/list", item(1, external_id="id-1", source_time=time))
            assert bool(done.counts.stays_withdrawn) is is_held
            assert listed.known(1) == ([] if is_held else [1])

    def test_stated_again_further_on_it_is_a_restatement(self, listed: Desk) -> None:
        gone = Record(position="gone", action=Action.WITHDRAW, external_id="id-1")
        for _ in range(2):  # the second time, the same list is known from before
            done = listed.contribute("alpha/list", gone, item(1, external_id="id-1", tags=("new",)), source="changes")
            assert done.counts.stays_withdrawn == 0
            assert listed.known(1) == [1]

    @pytest.mark.parametrize(
        ("stated", "deleted", "is_held"),
        [
            ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", True),
            ("2025-01-02T02:00:00+02:00", "2025-01-02T00:00:00Z", True),
            ("2025-01-03T00:00:00.0000Z", "2025-01-02T00:00:00Z", False),
            ("2025-01-01", "2025-01-02T00:00:00Z", False),  # of no known time zone
            ("", "2025-01-02T00:00:00Z", False),
            ("2025-01-01T00:00:00Z", "", False),
            ("yesterday", "today", False),
        ],
    )
    def test_both_times_must_be_known(self, stated: str, deleted: str, is_held: bool) -> None:
        holds = held(origin=Origin.SOURCE, source_time=deleted, external_id="x")
        assert bool(holds.of(item(1, external_id="x", source_time=stated))) is is_held

    def test_the_times_of_deletion_messages_are_handed_on(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, external_id="id-1"), item(2))
        made: list[Intake] = []

        def intake(*args: Any, **options: Any) -> Intake:
            made.append(Intake(*args, **options))
            return made[-1]

        monkeypatch.setattr("hashhub.hub.contribute.Intake", intake)
        time = "2025-01-02T03:04:05Z"
        desk.contribute(
            "alpha/list",
            Record(position="a", action=Action.WITHDRAW, external_id="id-1", source_time=time),
            item(2, position="b", action=Action.WITHDRAW),
        )
        first, second = desk.entries("alpha/list")
        assert made[0].compared.withdrawn.tolist() == [first.id, second.id]
        assert made[0].compared.deletion_times == {first.id: time}


def _fill_with_a_quarantined_file(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1, external_id="id-1"))
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", desk.entries("alpha/list")[0].id)


class TestAnOperatorsQuarantine:
    @pytest.fixture
    def waiting(self, any_stock: Stock) -> Desk:
        return any_stock(_fill_with_a_quarantined_file)

    @pytest.mark.parametrize(
        "fields",
        [
            {"external_id": "id-1", "tags": ("new",)},
            {"external_id": "id-1", "algorithms": ("SHA256",)},
            {"external_id": "a new id"},
            {"algorithms": ("MD5", "SHA256")},
            {"flags": Flags(distributed=True)},
        ],
    )
    def test_no_newer_statement_sheds_it(self, waiting: Desk, fields: dict[str, Any]) -> None:
        for turn in range(2):
            done = waiting.contribute("alpha/list", item(1, **{**fields, "member": f"turn {turn}"}))
            assert (done.counts.accepted, done.counts.quarantined) == (0, 1)
            assert waiting.reasons(done) == {"line 1": ["QUARANTINED_BY_OPERATOR"]}
            algorithms = fields.get("algorithms", ("MD5",))
            assert waiting.match(*(digest(a, 1) for a in algorithms)).matches == ()

    def test_nor_another_hash_set_of_the_contributor(self, waiting: Desk) -> None:
        waiting.hash_set("alpha/other")
        waiting.hash_set("beta/list")
        assert waiting.contribute("alpha/other", item(1)).counts.quarantined == 1
        assert waiting.contribute("beta/list", item(1)).counts.accepted == 1

    def test_a_release_ends_it(self, waiting: Desk) -> None:
        waiting.contribute("alpha/list", item(1, external_id="id-1", tags=("new",)))
        (entry,) = waiting.entries("alpha/list", EntryState.QUARANTINED)
        waiting.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        done = waiting.contribute("alpha/list", item(1, external_id="id-1", tags=("newer",)))
        assert (done.counts.accepted, done.counts.superseded) == (1, 1)
        assert waiting.known(1) == [1]

    def test_the_same_list_again_finds_nothing_new(self, waiting: Desk) -> None:
        (entry,) = waiting.entries("alpha/list")
        done = waiting.contribute("alpha/list", item(1, external_id="id-1"))
        assert (done.counts.quarantined, done.counts.unchanged, done.counts.superseded) == (1, 0, 0)
        assert [f.entry_id for f in waiting.report(done)] == [entry.id]

    @pytest.mark.parametrize("how", ["by hand", "by the source"])
    def test_withdrawing_it_and_stating_it_again_does_not_shed_it(self, waiting: Desk, how: str) -> None:
        (entry,) = waiting.entries("alpha/list", EntryState.QUARANTINED)
        if how == "by hand":
            withdraw(waiting, entry)
            again = waiting.hub.entries.restore(writer("alpha"), "alpha", "list", entry.id)
            assert again.state is EntryState.QUARANTINED
        else:
            gone = Record(position="gone", external_id=entry.external_id, hashes=entry.hashes, action=Action.WITHDRAW)
            assert waiting.contribute("alpha/list", gone).counts.withdrawn == 1
        done = waiting.contribute("alpha/list", item(1, external_id=entry.external_id, tags=("changed",)))
        assert (done.counts.accepted, done.counts.quarantined) == (0, 1)
        assert not waiting.known(1)
        (entry,) = waiting.entries("alpha/list", EntryState.QUARANTINED)
        waiting.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert waiting.known(1)
        assert (
            waiting.contribute("alpha/list", item(1, external_id=entry.external_id, tags=("3",))).counts.accepted == 1
        )


def held(**fields: Any) -> HeldItems:
    hold = {
        "entry_id": 7,
        "hash_set": "",
        "effect": EntryState.WITHDRAWN,
        "origin": Origin.OPERATOR,
        "revision": 5,
        "source_time": "",
        "external_id": "",
        "hashes": (),
        "traces": frozenset[bytes](),
        **fields,
    }
    return HeldItems([Hold(**hold)], trace)


def trace(kind: str, value: bytes) -> bytes:
    return f"{kind} of ".encode() + value


def traces(external_id: str, numbers: Sequence[tuple[str, int]]) -> frozenset[bytes]:
    asked = {trace(name, digest(name, number).digest) for name, number in numbers}
    return frozenset(asked | ({trace("EXTERNAL_ID", external_id.encode())} if external_id else set()))


@pytest.mark.parametrize(
    ("erased", "stated", "is_held"),
    [
        (("x", [("MD5", 1)]), {"external_id": "x", "algorithms": ("MD5",)}, True),
        (("x", [("MD5", 1)]), {"external_id": "x", "hashes": (digest("MD5", 2),)}, True),
        (("", [("MD5", 1), ("PDQ", 1)]), {"external_id": "y", "algorithms": ("MD5",)}, True),
        (("", [("MD5", 1), ("PDQ", 1)]), {"external_id": "y", "algorithms": ("PDQ", "SHA1")}, False),
        (("", [("PDQ", 1), ("PHASH", 1)]), {"algorithms": ("PDQ", "PHASH")}, True),
        (("x", [("MD5", 1)]), {"external_id": "z", "hashes": (digest("MD5", 2),)}, False),
    ],
)
def test_an_erased_entry_is_known_by_its_traces(
    erased: tuple[str, list[tuple[str, int]]],
    stated: dict[str, Any],
    is_held: bool,
) -> None:
    assert bool(held(traces=traces(*erased)).of(item(1, **stated))) is is_held
