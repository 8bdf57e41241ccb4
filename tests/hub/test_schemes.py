"""Schemes in the store: put, signed off, retired, in every process, on both databases; and what they never change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from hashhub.config import Config
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason
from hashhub.hub import Hub
from hashhub.hub import schemes as bounds
from hashhub.model import (
    Definition,
    DefinitionKind,
    EntryState,
    EventKind,
    ImportState,
    MatchOptions,
    Principal,
    Query,
    Role,
    SchemeStatus,
    Verdict,
    now,
)
from hashhub.schemes.alignment import CrosswalkRow
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, digest, item, writer
from tests.patience import wait_until

SECOND = Principal(name="second", role=Role.OPERATOR, contributor="operator")


def text(
    name: str = "own@1",
    *,
    one: str = '{ verdict = "csam" }',
    two: str = '{ verdict = "non-pertinent" }',
    status: str = "verified",
    more: str = "",
) -> str:
    """A scheme with two values, 1 and 2."""
    scheme_id, _, version = name.partition("@")
    return f"""
id = "{scheme_id}"
version = "{version}"
region = "NL"
status = "{status}"
title = "Own, two categories"
source = ["a letter"]
{more}
[values.1]
title = "One"
dimensions = {one}
[values.2]
title = "Two"
dimensions = {two}
"""


SWAPPED = {"one": '{ verdict = "non-pertinent" }', "two": '{ verdict = "csam" }'}


def put(hub: Hub, name: str = "own@1", *, signed: bool = True, swapped: bool = False) -> None:
    hub.schemes.put(OPERATOR, text(name, **SWAPPED) if swapped else text(name))
    if signed:
        hub.schemes.sign_off(SECOND, name, "compared with the letter")


def status(hub: Hub, name: str = "own@1") -> SchemeStatus:
    return hub.schemes.get(OPERATOR, name).scheme.status


def verdict(hub: Hub, number: int, policy: str = "block") -> Verdict:
    answers, _ = hub.match.hashes(PLATFORM, [Query(hashes=(digest("MD5", number),))], MatchOptions(policy=policy))
    return answers[0].verdict


class TestPut:
    def test_a_scheme_is_used_at_once_and_is_a_draft_until_somebody_else_signs_it_off(self, any_desk: Desk) -> None:
        hub = any_desk.hub
        made = hub.schemes.put(OPERATOR, text(), comment="the letter of March")
        assert (made.scheme.name, made.scheme.status) == ("own@1", SchemeStatus.DRAFT)
        assert made.definition is not None
        assert (made.definition.actor, made.definition.text) == ("operator", text())
        any_desk.contributor("alpha", reliability="A")
        any_desk.hash_set("alpha/list", scheme="own")
        any_desk.contribute("alpha/list", item(1, value="1"))
        (entry,) = any_desk.entries("alpha/list")
        assert entry.classification is not None
        assert (entry.classification.version, entry.classification.status) == ("1", SchemeStatus.DRAFT)
        assert verdict(hub, 1) is Verdict.REVIEW

        with pytest.raises(FailedPrecondition, match="takes two people") as refused:
            hub.schemes.sign_off(OPERATOR, "own@1", "I am sure")
        assert refused.value.reason is Reason.SECOND_PERSON_NEEDED
        assert status(hub) is SchemeStatus.DRAFT
        signed = hub.schemes.sign_off(SECOND, "own@1", "compared with the letter")
        assert (signed.scheme.status, status(hub)) == (SchemeStatus.VERIFIED, SchemeStatus.VERIFIED)
        # What was stated under a draft stays so; what is stated from now on is not.
        assert any_desk.entries("alpha/list") == [entry]
        assert verdict(hub, 1) is Verdict.REVIEW
        any_desk.contribute("alpha/list", item(2, value="1"))
        assert verdict(hub, 2) is Verdict.MATCH

        before = hub.revision()
        again = hub.schemes.sign_off(SECOND, "own@1", "again")
        assert (again.definition, hub.revision()) == (signed.definition, before)
        events = hub.history.list(AUDITOR, "schemes/own@1", "", None, 10, 0)[0]
        assert [(e.kind, e.actor.name, e.details and e.details.get("reason")) for e in events] == [
            (EventKind.SCHEME_SIGNED_OFF, "second", "compared with the letter"),
            (EventKind.SCHEME_PUT, "operator", "the letter of March"),
        ]
        assert "csam" not in str([(e.facts, e.details) for e in events])  # the text stands in the table, once

    def test_a_text_that_says_draft_is_one_whoever_signs(self, desk: Desk) -> None:
        desk.hub.schemes.put(OPERATOR, text(status="draft"))
        with pytest.raises(InvalidArgument, match="says status"):
            desk.hub.schemes.sign_off(SECOND, "own@1", "read it")
        assert status(desk.hub) is SchemeStatus.DRAFT

    @pytest.mark.parametrize("comment", ["", "  \n"])
    def test_who_signs_says_against_what(self, desk: Desk, comment: str) -> None:
        put(desk.hub, signed=False)
        with pytest.raises(InvalidArgument, match="checked against"):
            desk.hub.schemes.sign_off(SECOND, "own@1", comment)

    def test_nothing_is_written_where_nothing_is_wanted(self, desk: Desk) -> None:
        before = desk.hub.revision()
        assert desk.hub.schemes.put(OPERATOR, text(), validate_only=True).scheme.name == "own@1"
        assert desk.hub.revision() == before
        with pytest.raises(NotFound):
            desk.hub.schemes.get(OPERATOR, "own")
        put(desk.hub, signed=False)
        before = desk.hub.revision()
        tried = desk.hub.schemes.sign_off(SECOND, "own@1", "read it", validate_only=True)
        assert (tried.scheme.status, status(desk.hub)) == (SchemeStatus.VERIFIED, SchemeStatus.DRAFT)
        assert desk.hub.schemes.retire(OPERATOR, "own@1", validate_only=True).scheme.is_retired
        assert not desk.hub.schemes.get(OPERATOR, "own@1").scheme.is_retired
        assert desk.hub.revision() == before

    def test_a_repeated_call_puts_nothing_twice(self, any_desk: Desk) -> None:
        first = any_desk.hub.schemes.put(OPERATOR, text(), request_id="r")
        assert any_desk.hub.schemes.put(OPERATOR, text(), request_id="r").definition == first.definition
        with pytest.raises(AlreadyExists):
            any_desk.hub.schemes.put(OPERATOR, text())

    @pytest.mark.parametrize("name", ["vic-us@2.0", "vic-us@2", "vic-us@02.0.0", "own@1", "own@1.0", "own@01"])
    def test_a_version_is_never_replaced_however_it_is_spelled(self, desk: Desk, name: str) -> None:
        put(desk.hub)
        with pytest.raises(AlreadyExists, match="another version"):
            desk.hub.schemes.put(OPERATOR, text(name))

    def test_a_new_version_of_one_that_comes_with_hashhub_is_not_meant_until_it_is_signed_off(self, desk: Desk) -> None:
        put(desk.hub, "vic-us@3", signed=False, swapped=True)
        desk.hash_set("alpha/before", scheme="vic-us")
        desk.hub.schemes.sign_off(SECOND, "vic-us@3", "Project VIC's letter")
        desk.hash_set("alpha/after", scheme="vic-us")
        schemes = {n: s.scheme for n, s in desk.hub.store.resources.hash_sets().items()}
        assert schemes == {"alpha/before": "vic-us@2.0", "alpha/after": "vic-us@3"}

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ("", "id"),
            ("no toml", "not TOML"),
            ("a = " + "[" * 60_000, "TOML|nested"),
            ("a = " + "{ a = " * 10_000, "TOML|nested"),
            ("a" + ".a" * 30_000 + " = 1", "200 dots"),
            ("a" * 60_000 + " = 1", "text: "),
            (f"['{'a' * 60_000}']", "text: "),
            (text() + f"[values.{'a' * 2000}]", "text: values"),
            (text() + f"[values.{'a' * 2000}]\ntitle = ''", "at most 1024 characters"),
            (text() + f"[values.3]\ntitle = ''\n{'a' * 50_000} = 1", "text: values.3"),
            (
                text() + "".join(f"[values.{n}]\ntitle = ''\naliases = ['{'a' * 9000}']\n" for n in (3, 4)),
                "stands for two",
            ),
            (text(one=f"{{ {'a' * 50_000} = 'red' }}"), "no such dimension"),
            (text(one=f"{{ verdict = '{'a' * 50_000}' }}"), "no such value"),
            (text(f"own@{'1' * 50_000}"), "numbers with dots"),
            (f"n = {'9' * 5000}", "not TOML"),
            ("#" * (64 * 1024 + 1), "at most 65536 bytes"),
            ("é" * 40_000, "at most 65536 bytes"),
            (text("own@" + "9" * 40), "numbers with dots"),
            (text("own@\u0661"), "numbers with dots"),
            (text("own@1\\n"), "numbers with dots"),
            (text("../own@1"), "a-z, 0-9"),
            (text().replace('source = ["a letter"]', 'source = [" "]'), "where the table comes from"),
            (text(one="{ colour = 'red' }"), "no such dimension"),
            (text() + "".join(f"[values.a{i}]\ntitle=''\n" for i in range(500)), "at most 500 values"),
        ],
    )
    def test_what_is_no_scheme_is_refused_with_the_reason(self, desk: Desk, wrong: str, said: str) -> None:
        before = desk.hub.revision()
        with pytest.raises(InvalidArgument, match=said) as refused:
            desk.hub.schemes.put(OPERATOR, wrong)
        assert len(refused.value.message) < 1000
        assert desk.hub.revision() == before

    def test_the_store_takes_no_more_than_every_process_can_read(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bounds, "MAX_VERSIONS", 3)
        for version in range(1, 4):
            desk.hub.schemes.put(OPERATOR, text(f"own@{version}"))
        with pytest.raises(InvalidArgument, match="3 versions"):
            desk.hub.schemes.put(OPERATOR, text("own@4"))
        desk.hub.schemes.put(OPERATOR, text("other@1"))
        monkeypatch.setattr(bounds, "MAX_BYTES_IN_ALL", 5 * len(text("own@1")))
        with pytest.raises(InvalidArgument, match="take at most"):
            desk.hub.schemes.put(OPERATOR, text("third@1", more="# and more"))

    def test_of_two_that_put_a_version_at_once_one_is_told_that_it_exists(self, any_desk: Desk) -> None:
        # One version in two spellings: nothing but the check under the store's lock sees it.
        names = ("own@2", "own@2.0", "own@2.0.0")
        outcomes: list[str] = []
        start = threading.Barrier(len(names))

        def work(name: str) -> None:
            start.wait()
            try:
                outcomes.append(any_desk.hub.schemes.put(OPERATOR, text(name)).scheme.name)
            except AlreadyExists:
                outcomes.append("exists")

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes)[:2] == ["exists", "exists"]
        assert len([s for s in any_desk.hub.schemes.list(PLATFORM) if s.scheme.id == "own"]) == 1

    def test_who_put_and_signed_is_told_to_operators_and_auditors(self, desk: Desk) -> None:
        put(desk.hub)
        for who, actor, comment in ((AUDITOR, "operator", "compared with the letter"), (PLATFORM, "", "")):
            for shown in (desk.hub.schemes.get(who, "own"), desk.hub.schemes.list(who)[-1]):
                if shown.scheme.id != "own":
                    shown = next(s for s in desk.hub.schemes.list(who) if s.scheme.id == "own")  # noqa: PLW2901
                assert shown.definition is not None
                (sign_off,) = shown.definition.sign_offs
                assert (shown.definition.actor, sign_off.comment) == (actor, comment)
                assert (sign_off.actor, sign_off.contributor) == ("second" if actor else "", "operator")


class TestVersions:
    def test_a_new_version_rewrites_nothing_and_new_hash_sets_follow_it(self, any_desk: Desk) -> None:
        hub = any_desk.hub
        put(hub)
        any_desk.contributor("alpha", reliability="A")
        any_desk.hash_set("alpha/old", scheme="own")
        any_desk.contribute("alpha/old", item(1, value="1"), item(2, value="2"))
        old = any_desk.entries("alpha/old")
        verdicts = [verdict(hub, 1), verdict(hub, 2)]
        assert verdicts == [Verdict.MATCH, Verdict.NO_MATCH]

        waiting = any_desk.add(any_desk.open("alpha/old"), [item(3, value="1")])
        put(hub, "own@2", swapped=True)
        assert any_desk.entries("alpha/old") == old
        assert [verdict(hub, 1), verdict(hub, 2)] == verdicts
        # An import that was open goes by the version that its hash set names, as every later one does.
        assert hub.contribute.commit(writer("alpha"), waiting.id, batch_count=1).state is ImportState.COMMITTED
        any_desk.contribute("alpha/old", item(4, value="1"))
        assert [verdict(hub, 3), verdict(hub, 4)] == [Verdict.MATCH, Verdict.MATCH]
        assert {e.classification and e.classification.version for e in any_desk.entries("alpha/old")} == {"1"}

        any_desk.hash_set("alpha/new", scheme="own")
        any_desk.contribute("alpha/new", item(5, value="1"), item(6, value="2"))
        assert [verdict(hub, 5), verdict(hub, 6)] == [Verdict.NO_MATCH, Verdict.MATCH]
        assert {e.classification and e.classification.version for e in any_desk.entries("alpha/new")} == {"2"}

    def test_the_version_is_pinned_when_the_hash_set_is_made(self, desk: Desk) -> None:
        put(desk.hub)
        desk.hash_set("alpha/list", scheme="own")
        put(desk.hub, "own@2", swapped=True)
        assert desk.hub.hash_sets.get(OPERATOR, "alpha", "list").scheme == "own@1"

    def test_what_was_listed_under_a_draft_is_stated_anew_in_another_hash_set(self, desk: Desk) -> None:
        put(desk.hub, signed=False)
        desk.contributor("alpha", reliability="A")
        desk.hash_set("alpha/list", scheme="own")
        desk.contribute("alpha/list", item(1, value="1"))
        desk.hub.schemes.sign_off(SECOND, "own@1", "read it")
        desk.contribute("alpha/list", item(1, value="1"))  # what stands is stated already: nothing changes
        assert verdict(desk.hub, 1) is Verdict.REVIEW
        desk.hash_set("alpha/again", scheme="own")
        desk.contribute("alpha/again", item(1, value="1"))
        assert verdict(desk.hub, 1) is Verdict.MATCH


class TestRetire:
    def test_no_new_hash_set_takes_a_retired_version_and_those_that_have_it_go_on(self, any_desk: Desk) -> None:
        hub = any_desk.hub
        put(hub)
        any_desk.contributor("alpha", reliability="A")
        any_desk.hash_set("alpha/list", scheme="own")
        any_desk.contribute("alpha/list", item(1, value="1"))
        listed = any_desk.entries("alpha/list")
        retired = hub.schemes.retire(OPERATOR, "own@1", "superseded")
        assert retired.scheme.is_retired
        assert hub.schemes.retire(SECOND, "own@1").definition == retired.definition
        for scheme in ("own", "own@1"):
            with pytest.raises(FailedPrecondition, match="retired") as refused:
                any_desk.hash_set("alpha/other", scheme=scheme)
            assert refused.value.reason is Reason.SCHEME_RETIRED
        # Nobody's list stops, or counts for less, because an operator tidied up.
        any_desk.contribute("alpha/list", item(1, value="1"), item(2, value="1"))
        assert any_desk.entries("alpha/list")[0] == listed[0]
        assert [verdict(hub, 1), verdict(hub, 2)] == [Verdict.MATCH, Verdict.MATCH]
        put(hub, "own@2", signed=False)
        any_desk.hash_set("alpha/new", scheme="own")  # a draft before a retired one
        assert hub.hash_sets.get(OPERATOR, "alpha", "new").scheme == "own@2"
        with pytest.raises(FailedPrecondition, match="retired"):
            hub.schemes.sign_off(Principal(name="third", role=Role.OPERATOR), "own@1", "read it")

    def test_what_is_not_in_the_store_is_not_changed_there(self, desk: Desk) -> None:
        with pytest.raises(NotFound, match="in a file"):
            desk.hub.schemes.retire(OPERATOR, "vic-us@2.0")
        with pytest.raises(NotFound, match="no scheme"):
            desk.hub.schemes.retire(OPERATOR, "own@7")
        with pytest.raises(InvalidArgument, match="must name a version"):
            desk.hub.schemes.sign_off(SECOND, "own", "read it")


class TestRevert:
    def undo(self, hub: Hub, actor: str, *, dry: bool = False) -> dict[EventKind, tuple[str, bool]]:
        since = now() - timedelta(hours=1)
        done = hub.history.revert(SECOND, actor, since, comment="stolen", validate_only=dry)
        return {e.event.kind: (e.outcome, e.reverted) for e in done}

    def test_what_a_stolen_token_put_is_retired(self, any_desk: Desk) -> None:
        hub = any_desk.hub
        put(hub, signed=False)
        outcome = {EventKind.SCHEME_PUT: ("the version is retired", True)}
        assert self.undo(hub, "operator", dry=True) == outcome
        assert not hub.schemes.get(OPERATOR, "own").scheme.is_retired
        assert self.undo(hub, "operator") == outcome
        scheme = hub.schemes.get(OPERATOR, "own").scheme
        assert (scheme.is_retired, scheme.text) == (True, text())
        hub.store.history.verify_history(hub.store.database_id)

    def test_hash_sets_that_have_it_are_named(self, desk: Desk) -> None:
        thief = Principal(name="thief", role=Role.OPERATOR, contributor="operator")
        desk.hub.schemes.put(thief, text())
        desk.hash_set("alpha/list", scheme="own")
        told, reverted = self.undo(desk.hub, "thief")[EventKind.SCHEME_PUT]
        assert (told, reverted) == (
            "the version is retired; alpha/list still has it: look at what is imported there", True,
        )  # fmt: skip
        desk.contribute("alpha/list", item(1, value="1"))
        assert [e.state for e in desk.entries("alpha/list")] == [EntryState.ACTIVE]

    def test_a_sign_off_is_taken_back_unless_somebody_else_signed_too(self, any_desk: Desk) -> None:
        hub = any_desk.hub
        thief = Principal(name="thief", role=Role.OPERATOR, contributor="operator")
        for name in ("own@1", "own@2"):
            hub.schemes.put(OPERATOR, text(name))
            hub.schemes.sign_off(thief, name, "trust me")
        hub.schemes.sign_off(SECOND, "own@2", "read it")
        self.undo(hub, "thief")
        assert [status(hub, n) for n in ("own@1", "own@2")] == [SchemeStatus.DRAFT, SchemeStatus.VERIFIED]

    def test_a_retirement_is_taken_back(self, desk: Desk) -> None:
        thief = Principal(name="thief", role=Role.OPERATOR, contributor="operator")
        put(desk.hub)
        desk.hub.schemes.retire(thief, "own@1")
        assert self.undo(desk.hub, "thief") == {EventKind.SCHEME_RETIRED: ("what stood before is put back", True)}
        assert not desk.hub.schemes.get(OPERATOR, "own").scheme.is_retired


class TestEveryProcess:
    @pytest.fixture
    def two(self, database: str, tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
        """Two hubs on one database."""
        is_url = "://" in database
        with ExitStack() as stack:
            hubs = []
            for number in range(2):
                data = str(tmp_path / f"hub-{number}") if is_url else database
                config = Config(data=data, database=database if is_url else "", poll_interval=0.05)
                hubs.append(stack.enter_context(Hub.open(config, publisher=is_url or number == 0)))
                hubs[-1].start()
            yield Desk(hubs[0]), Desk(hubs[1])

    def test_what_one_puts_the_other_uses(self, two: tuple[Desk, Desk]) -> None:
        here, there = two
        put(here.hub)
        # By a look of its own wherever the hub looks at the database anyway, at once.
        assert status(there.hub) is SchemeStatus.VERIFIED
        there.contributor("alpha", reliability="A")
        there.hash_set("alpha/list", scheme="own")
        there.contribute("alpha/list", item(1, value="1"))
        wait_until(lambda: verdict(here.hub, 1) is Verdict.MATCH)
        there.hub.schemes.retire(OPERATOR, "own@1")
        with pytest.raises(FailedPrecondition, match="retired"):
            here.hash_set("alpha/other", scheme="own")

    def test_what_matching_goes_by_follows_with_the_poll_and_costs_no_look(self, two: tuple[Desk, Desk]) -> None:
        here, there = two
        put(here.hub)
        wait_until(lambda: "own@1" in {s.name for s in there.hub.catalogue.held().schemes.list()})
        looks: list[str] = []
        store = there.hub.store
        fetch = store.database.fetch

        def counted(sql: str, *arguments: object) -> object:
            if threading.current_thread() is threading.main_thread():
                looks.append(sql)
            return fetch(sql, *arguments)  # type: ignore[arg-type]

        store.database.fetch = counted  # type: ignore[method-assign, assignment]
        try:
            for _ in range(3):
                query = Query(hashes=(digest("MD5", 99),))
                assert there.hub.match.miss(PLATFORM, query, MatchOptions(policy="any")) is not None
                assert verdict(there.hub, 99, "any") is Verdict.NO_MATCH
        finally:
            store.database.fetch = fetch  # type: ignore[method-assign]
        assert looks == []

    def test_nothing_is_read_anew_while_nothing_changes(self, desk: Desk) -> None:
        put(desk.hub)
        known = desk.hub.catalogue.now()
        assert desk.hub.catalogue.now() is known
        desk.contributor("alpha")  # the registry is another, the schemes are not
        assert desk.hub.catalogue.now().schemes is known.schemes

    def test_it_is_there_after_a_restart(self, open_hub: Open) -> None:
        first = open_hub()
        put(first)
        first.close()
        assert status(open_hub()) is SchemeStatus.VERIFIED


class TestWhatCannotBeUsed:
    """Of a newer hashhub, damaged, or contradicted by a file: the hub goes on, and what refers to it fails closed."""

    def store(self, hub: Hub, name: str, content: str) -> None:
        scheme_id, _, version = name.partition("@")
        hub.store.definitions.put(Definition(kind=DefinitionKind.SCHEME, id=scheme_id, version=version, text=content))

    @pytest.mark.parametrize(
        "content",
        ["", "no toml", "a = " + "[" * 9_000, text("other@1"), text("new@1", one='{ colour = "red" }')],
        ids=["empty", "no toml", "nested", "another's", "newer"],
    )
    def test_a_text_that_cannot_be_read_stops_no_hub(self, open_hub: Open, content: str) -> None:
        first = open_hub()
        put(first)
        self.store(first, "new@1", content)
        first.close()
        hub = open_hub()
        desk = Desk(hub)
        assert status(hub) is SchemeStatus.VERIFIED
        with pytest.raises(NotFound):
            hub.schemes.get(OPERATOR, "new@1")
        with pytest.raises(InvalidArgument, match="unknown scheme"):
            desk.hash_set("alpha/list", scheme="new@1")
        (warning,) = [w for w in hub.status(OPERATOR).warnings if "new@1" in w]
        assert "cannot be read" in warning
        assert verdict(hub, 1) is Verdict.NO_MATCH

    def test_lists_of_its_hash_sets_wait_and_what_is_listed_stands(self, open_hub: Open, tmp_path: Path) -> None:
        directory = tmp_path / "schemes"
        directory.mkdir()
        file = directory / "own.toml"
        file.write_text(text(), "utf-8")
        first = Desk(open_hub(schemes=str(directory)))
        first.contributor("alpha", reliability="A")
        first.hash_set("alpha/list", scheme="own")
        first.contribute("alpha/list", item(1, value="1"))
        first.hub.close()
        file.unlink()  # it may come back, or not
        second = Desk(open_hub(schemes=str(directory)))
        assert verdict(second.hub, 1) is Verdict.MATCH
        waiting = second.add(second.open("alpha/list"), [item(2, value="1")])
        with pytest.raises(FailedPrecondition, match="cannot use the scheme own@1") as refused:
            second.hub.contribute.commit(writer("alpha"), waiting.id, batch_count=1)
        assert refused.value.reason is Reason.SCHEME_UNUSABLE
        put(second.hub)
        assert second.hub.contribute.commit(writer("alpha"), waiting.id, batch_count=1).state is ImportState.COMMITTED

    @pytest.mark.parametrize(
        ("of_file", "is_alike"),
        [
            (text(), True),
            (text(**SWAPPED), False),
            (text("own@1.0"), False),
            (text(more="value_required = true"), False),
        ],
        ids=["alike", "swapped", "of another spelling", "read otherwise"],
    )
    def test_a_file_and_the_store_that_contradict_each_other_are_both_left_out(
        self, open_hub: Open, tmp_path: Path, of_file: str, is_alike: bool
    ) -> None:
        first = Desk(open_hub())
        put(first.hub)
        first.hash_set("alpha/list", scheme="own")
        first.hub.close()
        directory = tmp_path / "schemes"
        directory.mkdir()
        (directory / "own.toml").write_text(of_file, "utf-8")
        second = Desk(open_hub(schemes=str(directory)))
        warnings = [w for w in second.hub.status(OPERATOR).warnings if "own@1" in w]
        names = {s.scheme.name for s in second.hub.schemes.list(OPERATOR)}
        assert ("own@1" in names or "own@1.0" in names) is is_alike
        assert bool(warnings) is not is_alike
        waiting = second.add(second.open("alpha/list"), [item(2, value="1")])
        if is_alike:
            second.hub.contribute.commit(writer("alpha"), waiting.id, batch_count=1)
        else:
            with pytest.raises(FailedPrecondition, match="cannot use"):
                second.hub.contribute.commit(writer("alpha"), waiting.id, batch_count=1)


class TestCompare:
    def test_pages_are_the_whole_in_order(self, desk: Desk) -> None:
        whole, _ = desk.hub.schemes.compare(PLATFORM, "vic-us", "uk-sap", 1000, 0)
        rows: list[CrosswalkRow] = []
        start = 0
        while True:
            page, start = desk.hub.schemes.compare(PLATFORM, "vic-us", "uk-sap", 7, start)
            rows += page
            if not start:
                break
        assert rows == list(whole)
        assert len(rows) == 6 * 5

    def test_what_is_not_there_is_said(self, desk: Desk) -> None:
        with pytest.raises(NotFound, match="scheme list"):
            desk.hub.schemes.compare(PLATFORM, "vic-us", "none", 10, 0)
        with pytest.raises(NotFound, match="scheme list"):
            desk.hub.schemes.diff(PLATFORM, "none", "vic-us")

    def test_versions_of_the_store_are_compared(self, desk: Desk) -> None:
        put(desk.hub)
        put(desk.hub, "own@2", swapped=True)
        difference = desk.hub.schemes.diff(PLATFORM, "own@1", "own@2")
        assert {v.value: v.meant_before for v in difference.values} == {"1": ("2",), "2": ("1",)}


def test_a_definition_of_another_hub_is_as_it_was_put(desk: Desk) -> None:
    """The text travels as it is: comments, order and spacing are somebody's."""
    wanted = "# a remark\r\n" + text()
    put_ = desk.hub.schemes.put(OPERATOR, wanted)
    assert put_.scheme.text == desk.hub.schemes.get(PLATFORM, "own").scheme.text == wanted
    assert put_.definition is not None
    assert msgspec.json.decode(msgspec.json.encode(put_.definition), type=Definition) == put_.definition
