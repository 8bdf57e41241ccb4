"""What terms let whom have, by which way out; and that a change of them is one at once, for everybody, on record."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest

from hashhub.errors import AlreadyExists, FailedPrecondition, HashHubError, InvalidArgument, PermissionDenied, Reason
from hashhub.hub import Hub, access
from hashhub.hub.access import DisclosureChannel, permits
from hashhub.model import (
    TLP,
    Actor,
    Contributor,
    ContributorKind,
    EventKind,
    Group,
    HashSet,
    Import,
    Marking,
    Principal,
    Role,
    Unclassified,
    Verdict,
    now,
)
from hashhub.store import Registry, Store
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, digest, item, writer

# docs/terms.md in short. `named`: only where terms name recipients; `bulk`, `redistribution`: only with that term. What
# may leave at all leaves in bulk; CLEAR may leave without `redistribution` only as long as nobody is named.
TABLE: Final = """
    label         acts for  ANSWER  LIST        FEED        EXPORT
    CLEAR         itself    yes     bulk        bulk        bulk,redistribution-if-named
    CLEAR         others    yes     bulk        bulk        bulk,redistribution-if-named
    GREEN         itself    yes     bulk        bulk        bulk,redistribution
    GREEN         others    yes     bulk        bulk        bulk,redistribution
    AMBER         itself    yes     bulk        bulk        bulk,redistribution
    AMBER         others    yes     bulk        bulk        bulk,redistribution
    AMBER_STRICT  itself    yes     bulk        bulk        no
    AMBER_STRICT  others    no      no          no          no
    RED           itself    named   named,bulk  named,bulk  no
    RED           others    named   named,bulk  named,bulk  no
"""

AT: Final = now()
GROUPS: Final = {
    g.id: g for g in (Group(id="allies", members=("beta",)), Group(id="rest", members=("gamma",)), Group(id="none"))
}
# Recipients of terms -> whether the token `beta-app` of contributor beta is one of them.
RECIPIENTS: Final[dict[tuple[str, ...], bool | None]] = {
    (): None,
    ("contributors/beta",): True,
    ("tokens/beta-app",): True,
    ("groups/allies",): True,
    ("contributors/gamma", "groups/allies"): True,
    ("contributors/gamma",): False,
    ("tokens/beta",): False,
    ("contributors/beta-app",): False,
    ("groups/rest",): False,
    ("groups/none",): False,  # nobody is in it
    ("groups/unknown",): False,
    ("groups/beta",): False,
}


def _cells() -> dict[tuple[TLP, bool, DisclosureChannel], set[str]]:
    header, *rows = (line.split() for line in TABLE.strip().splitlines())
    ways = [DisclosureChannel(name) for name in header[3:]]
    return {
        (TLP(label), acts == "others", way): set(cell.split(","))
        for label, acts, *cells in rows
        for way, cell in zip(ways, cells, strict=True)
    }


def test_the_whole_table() -> None:
    cells = _cells()
    assert len(cells) == len(TLP) * 2 * len(DisclosureChannel)
    combinations = itertools.product(
        TLP, (False, True), DisclosureChannel, RECIPIENTS.items(), ((), ("x",), ("x", "y"), ("y",)), ((), ("x",)),
        (False, True), (False, True),
        ((None, True), (AT + timedelta(days=1), True), (AT, False), (AT - timedelta(days=1), False)),
    )  # fmt: skip
    seen: set[bool] = set()
    for label, acts, way, (recipients, is_named), permitted, held, bulk, redistribution, (
        expires,
        lives,
    ) in combinations:
        if label is TLP.RED and not recipients:
            continue  # such terms cannot be made
        hash_set = HashSet(
            contributor="alpha", id="list",
            marking=Marking(
                tlp=label, recipients=recipients, permitted_purposes=permitted, bulk=bulk,
                redistribution=redistribution,
                expire_time=expires,
            ),
        )  # fmt: skip
        cell = cells[label, acts, way]
        expected = (
            lives
            and "no" not in cell
            and is_named is not False
            and (not permitted or bool(set(permitted) & set(held)))
            and (bulk or "bulk" not in cell)
            and (redistribution or "redistribution" not in cell)
            and (redistribution or not recipients or "redistribution-if-named" not in cell)
        )
        for role in (Role.CONSUMER, Role.CONTRIBUTOR):
            caller = Principal(name="beta-app", role=role, contributor="beta", purposes=held, acts_for_others=acts)
            assert permits(caller, hash_set, GROUPS, way, AT) is expected, (caller, hash_set, way)
        seen.add(expected)
        for always in (
            Principal(name="o", role=Role.OPERATOR, contributor="operator"),
            Principal(name="a", role=Role.AUDITOR, contributor="operator", acts_for_others=acts),
            Principal(name="own", role=Role.CONSUMER, contributor="alpha", acts_for_others=acts),
            Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha"),
        ):
            assert permits(always, hash_set, GROUPS, way, AT)
    assert seen == {False, True}


def test_red_without_recipients_would_admit_nobody() -> None:
    """Such terms are refused; were they in a database all the same, they would not be read as terms for everybody."""
    marking = msgspec.structs.replace(Marking(tlp=TLP.RED, recipients=("contributors/beta",), bulk=True))
    msgspec.structs.force_setattr(marking, "recipients", ())
    hash_set = HashSet(contributor="alpha", id="list", marking=marking)
    for way in DisclosureChannel:
        assert not permits(Principal(name="b", role=Role.CONSUMER, contributor="beta"), hash_set, GROUPS, way, AT)


def test_a_token_without_a_contributor_owns_nothing() -> None:
    hash_set = HashSet(contributor="alpha", id="list", marking=Marking(recipients=("groups/none", "contributors/x")))
    assert not permits(Principal(name="p", role=Role.CONSUMER), hash_set, GROUPS, DisclosureChannel.ANSWER, AT)


class TestSight:
    def _registry(self, *markings: Marking) -> Registry:
        sets = [HashSet(contributor="alpha", id=f"s{i}", marking=m) for i, m in enumerate(markings)]
        return Registry(1, {}, {s.name: s for s in sets}, GROUPS)

    def test_it_says_what_permits_says(self) -> None:
        registry = self._registry(
            *(
                Marking(tlp=tlp, bulk=bulk, recipients=recipients, disclose_existence=bulk)
                for tlp, bulk, recipients in itertools.product(TLP, (False, True), RECIPIENTS)
                if recipients or tlp is not TLP.RED
            )
        )
        for acts, way in itertools.product((False, True), DisclosureChannel):
            caller = Principal(name="beta-app", role=Role.CONSUMER, contributor="beta", acts_for_others=acts)
            sight = access.sight(caller, registry, way)
            sets = registry.hash_sets.items()
            assert sight.visible == {n for n, s in sets if permits(caller, s, GROUPS, way, now())}
            assert sight.disclosed == {n for n, s in sets if n not in sight.visible and s.marking.disclose_existence}

    def test_it_is_worked_out_once_for_each_caller_and_way_out(self) -> None:
        registry = self._registry(Marking(permitted_purposes=("x",)))
        one = Principal(name="one", role=Role.CONSUMER, contributor="beta")
        assert access.sight(one, registry, DisclosureChannel.ANSWER) is access.sight(
            one, registry, DisclosureChannel.ANSWER
        )
        # Whatever decides makes another caller, even under the same name.
        for change in ({"purposes": ("x",)}, {"role": Role.OPERATOR}, {"contributor": "alpha"}):
            other = msgspec.structs.replace(one, **change)
            assert access.sight(other, registry, DisclosureChannel.ANSWER).visible == {"alpha/s0"}
        assert access.sight(one, registry, DisclosureChannel.ANSWER).visible == frozenset()

    def test_it_ends_when_terms_expire(self, monkeypatch: pytest.MonkeyPatch) -> None:
        end = now() + timedelta(days=1)
        registry = self._registry(Marking(expire_time=end, disclose_existence=True), Marking())
        one = Principal(name="one", role=Role.CONSUMER, contributor="beta")
        assert access.sight(one, registry, DisclosureChannel.ANSWER).visible == {"alpha/s0", "alpha/s1"}
        monkeypatch.setattr(access, "now", lambda: end)
        monkeypatch.setattr(access, "time", SimpleNamespace(time=end.timestamp))
        after = access.sight(one, registry, DisclosureChannel.ANSWER)
        assert after.visible == {"alpha/s1"}
        assert after.disclosed == {"alpha/s0"}

    def test_another_hubs_registry_is_another(self) -> None:
        """Two hubs in one process may be at the same revision."""
        one = Principal(name="one", role=Role.CONSUMER, contributor="beta")
        here, there = self._registry(Marking()), self._registry(Marking(permitted_purposes=("x",)))
        assert here.revision == there.revision
        assert access.sight(one, here, DisclosureChannel.ANSWER).visible
        assert not access.sight(one, there, DisclosureChannel.ANSWER).visible


def test_groups_named_by_a_contributors_terms() -> None:
    sets = [
        HashSet(contributor="alpha", id="one", marking=Marking(recipients=("groups/allies", "contributors/beta"))),
        HashSet(contributor="alpha", id="two", marking=Marking(recipients=("groups/none",))),
        HashSet(contributor="beta", id="one", marking=Marking(recipients=("groups/rest",))),
    ]
    registry = Registry(1, {}, {s.name: s for s in sets}, GROUPS)
    assert access.groups_named_by("alpha", registry) == {"allies", "none"}
    assert access.groups_named_by("gamma", registry) == frozenset()


class TestChangesOfTerms:
    """They hold in every process with the next call, and matching goes on."""

    @pytest.fixture
    def pair(self, open_hub: Open) -> tuple[Desk, Desk]:
        here, there = Desk(open_hub()), Desk(open_hub(publisher=False))
        here.hash_set("alpha/list")
        here.contributor("beta")
        here.contribute("alpha/list", item(1))
        return here, there

    @pytest.fixture
    def beta(self) -> Principal:
        return Principal(name="beta-app", role=Role.CONSUMER, contributor="beta")

    def _sees(self, desk: Desk, who: Principal) -> bool:
        deadline = time.monotonic() + 180
        while True:
            try:
                return desk.verdict(1, who=who) is Verdict.MATCH
            except HashHubError as e:  # another process's matcher may not have caught up with the import
                assert e.reason is Reason.MATCHER_NOT_READY
                assert time.monotonic() < deadline

    def test_terms_groups_and_expiry(self, pair: tuple[Desk, Desk], beta: Principal) -> None:
        here, there = pair
        hub = here.hub

        def terms(**fields: Any) -> None:
            hub.hash_sets.update(
                writer("alpha"),
                HashSet(contributor="alpha", id="list", marking=Marking(**fields)),
                [f"marking.{name}" for name in fields],
            )

        deadline = time.monotonic() + 180
        while not self._sees(there, beta) and time.monotonic() < deadline:
            pass  # it follows the import
        hub.groups.create(OPERATOR, Group(id="allies", members=("beta",)))
        for change, sees in (
            (lambda: terms(permitted_purposes=("training",)), False),
            (lambda: terms(permitted_purposes=()), True),
            (lambda: terms(recipients=("groups/allies",)), True),
            (lambda: hub.groups.update(OPERATOR, Group(id="allies"), ["members"]), False),
            (lambda: hub.groups.update(OPERATOR, Group(id="allies", members=("beta", "alpha")), ["members"]), True),
            (lambda: terms(recipients=("contributors/alpha",)), False),
            (lambda: terms(recipients=()), True),
            (lambda: terms(expire_time=now()), False),
            (lambda: terms(expire_time=None), True),
            (lambda: terms(tlp=TLP.AMBER_STRICT), True),
        ):
            change()
            for desk in (here, there):
                assert self._sees(desk, beta) is sees
                assert self._sees(desk, OPERATOR)
        acting = msgspec.structs.replace(beta, acts_for_others=True)
        assert [self._sees(d, acting) for d in pair] == [False, False]

    def test_a_name_that_went_never_comes_back_as_somebody_else(self, desk: Desk) -> None:
        desk.contributor("beta")
        desk.hub.tokens.create(OPERATOR, Principal(name="app", role=Role.CONSUMER, contributor="beta"))
        desk.hub.groups.create(OPERATOR, Group(id="allies"))
        desk.hash_set("alpha/one", marking=Marking(recipients=("tokens/app",)))
        desk.hash_set("alpha/two", marking=Marking(recipients=("groups/allies", "tokens/app")))
        with pytest.raises(FailedPrecondition) as refused:
            desk.hub.groups.delete(OPERATOR, "allies")
        assert refused.value.reason is Reason.NAMED_BY_TERMS
        assert refused.value.metadata["hashSets"] == "alpha/two"
        # It can be emptied all the same.
        desk.hub.groups.update(OPERATOR, Group(id="allies"), ["members"])
        # Whoever names a token does not keep it from being deleted; terms then mean nobody, and other terms can change.
        desk.hub.tokens.delete(OPERATOR, "app")
        assert desk.hub.hash_sets.get(OPERATOR, "alpha", "one").marking.recipients == ("tokens/app",)
        terms = Marking(bulk=True, recipients=("tokens/app", "contributors/beta"))
        desk.hub.hash_sets.update(writer("alpha"), HashSet(contributor="alpha", id="one", marking=terms), ["marking"])
        three = HashSet(contributor="alpha", id="three", marking=Marking(recipients=("tokens/app",)))
        with pytest.raises(InvalidArgument):
            desk.hub.hash_sets.create(writer("alpha"), three)
        with pytest.raises(AlreadyExists):
            desk.hub.tokens.create(OPERATOR, Principal(name="app", role=Role.CONSUMER, contributor="beta"))
        # Terms that name them no more let them go, for good.
        cleared = HashSet(contributor="alpha", id="two")
        desk.hub.hash_sets.update(writer("alpha"), cleared, ["marking.recipients"])
        desk.hub.groups.delete(OPERATOR, "allies")
        with pytest.raises(AlreadyExists):
            desk.hub.groups.create(OPERATOR, Group(id="allies"))


class TestRecipients:
    @pytest.mark.parametrize(
        "recipient",
        ["", "beta", "contributors/", "contributors/nobody", "groups/nobody", "tokens/nobody", "policies/any"],
    )
    def test_each_must_be_typed_and_exist(self, desk: Desk, recipient: str) -> None:
        desk.hash_set("alpha/list")
        desk.contributor("beta")
        sets = desk.hub.hash_sets
        for new_id, call in (
            ("new", partial(sets.create, writer("alpha"))),
            ("list", partial(sets.update, writer("alpha"), mask=["marking.recipients"])),
        ):
            for validate_only in (False, True):
                with pytest.raises(InvalidArgument) as refused:
                    call(
                        _set(id=new_id, marking=Marking(recipients=("contributors/beta", recipient))),
                        validate_only=validate_only,
                    )
                assert [v.field for v in refused.value.violations] == ["marking.recipients[1]"]
        assert desk.hub.hash_sets.get(OPERATOR, "alpha", "list").marking == Marking()

    def test_one_term_changes_and_the_others_stay(self, desk: Desk) -> None:
        desk.contributor("beta")
        before = Marking(
            tlp=TLP.GREEN, recipients=("contributors/beta",), permitted_purposes=("x",), legal_basis="law", bulk=True,
            redistribution=True, disclose_existence=True, expire_time=now() + timedelta(days=9),
        )  # fmt: skip
        desk.hash_set("alpha/list", marking=before)
        for term in Marking.__struct_fields__:
            value = getattr(Marking(tlp=TLP.CLEAR), term)
            changed = desk.hub.hash_sets.update(
                writer("alpha"),
                HashSet(contributor="alpha", id="list", marking=Marking(tlp=TLP.CLEAR)),
                [f"marking.{term}"],
            )
            assert changed.marking == msgspec.structs.replace(before, **{term: value})
            desk.hub.hash_sets.update(
                writer("alpha"), HashSet(contributor="alpha", id="list", marking=before), ["marking"]
            )

    def test_red_keeps_somebody_whoever_comes_first(self, any_desk: Desk) -> None:
        """Two updates at once, each of which is fine alone: terms of TLP:RED that name nobody never come about."""
        any_desk.contributor("beta")
        marking = Marking(recipients=("contributors/beta",))
        any_desk.hash_set("alpha/list", marking=marking)
        owner, hub = writer("alpha"), any_desk.hub
        red = Marking(tlp=TLP.RED, recipients=("groups/x",))
        for _ in range(10):
            outcomes = _at_once(
                lambda: hub.hash_sets.update(owner, _set(marking=red), ["marking.tlp"]),
                lambda: hub.hash_sets.update(owner, _set(), ["marking.recipients"]),
            )
            assert sorted(outcomes) == [False, True]
            after = hub.hash_sets.get(owner, "alpha", "list").marking
            assert (after.tlp is TLP.RED) == bool(after.recipients)
            hub.hash_sets.update(owner, HashSet(contributor="alpha", id="list", marking=marking), ["marking"])

    def test_two_updates_of_one_marking_keep_each_others_terms(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        owner, hub = writer("alpha"), any_desk.hub
        changes: dict[str, Any] = {
            "bulk": True,
            "redistribution": True,
            "legal_basis": "law",
            "disclose_existence": True,
        }

        new = _set(marking=Marking(**changes))
        done = _at_once(*(partial(hub.hash_sets.update, owner, new, [f"marking.{term}"]) for term in changes))
        assert done == [True] * len(changes)
        assert hub.hash_sets.get(owner, "alpha", "list").marking == Marking(**changes)

    def test_a_token_that_names_itself_gains_nothing(self, desk: Desk) -> None:
        """Recipients narrow: a contributor can name itself in its own terms, and in nobody else's."""
        desk.contributor("beta")
        desk.hash_set("alpha/list", marking=Marking(recipients=("contributors/alpha",)))
        for paths in (["marking"], ["marking.recipients"]):
            with pytest.raises(PermissionDenied):
                desk.hub.hash_sets.update(
                    writer("beta"), HashSet(contributor="alpha", id="list", marking=Marking()), paths
                )
        own = desk.hub.hash_sets.create(
            writer("beta"), HashSet(contributor="beta", id="own", marking=Marking(recipients=("contributors/beta",)))
        )
        names = [s.name for s in desk.hub.hash_sets.list(writer("beta"), None, 10, "")[0]]
        assert names == [own.name]

    @pytest.mark.parametrize("purposes", [("",), ("x", " ")])
    def test_purposes_say_something(self, desk: Desk, purposes: tuple[str, ...]) -> None:
        with pytest.raises(InvalidArgument, match="permitted_purposes"):
            desk.hash_set("alpha/list", marking=Marking(permitted_purposes=purposes))


class TestWhatIsHidden:
    def test_pages_of_hash_sets_do_not_tell_of_hidden_ones(self, desk: Desk) -> None:
        """Neither a short page nor its token says that there is more than the caller may see."""
        desk.contributor("beta")
        for name in ("a", "b", "c", "d"):
            marking = Marking(recipients=("contributors/alpha",)) if name in "bd" else Marking()
            desk.hash_set(f"alpha/{name}", marking=marking)
        list_sets = desk.hub.hash_sets.list
        page, after = list_sets(writer("beta"), None, 1, "")
        assert ([s.name for s in page], after) == (["alpha/a"], "alpha/a")
        page, after = list_sets(writer("beta"), None, 1, after)
        assert ([s.name for s in page], after) == (["alpha/c"], "")
        assert [s.id for s in list_sets(OPERATOR, "alpha", 10, "")[0]] == ["a", "b", "c", "d"]
        assert list_sets(OPERATOR, "beta", 10, "") == ([], "")

    def test_listing_unclassified_items_needs_an_operator_and_is_for_good(self, desk: Desk) -> None:
        desk.contributor("alpha")
        wanted = HashSet(contributor="alpha", id="list", unclassified=Unclassified.LISTED)
        for validate_only in (True, False):
            with pytest.raises(PermissionDenied):
                desk.hub.hash_sets.create(writer("alpha"), wanted, validate_only=validate_only)
        assert desk.hub.hash_sets.create(OPERATOR, wanted).unclassified is Unclassified.LISTED
        for field in ("unclassified", "accepted_revision"):
            with pytest.raises(InvalidArgument, match="cannot change"):
                desk.hub.hash_sets.update(OPERATOR, wanted, [field])

    def test_nobody_accepts_or_retires_by_creating_or_updating(self, desk: Desk) -> None:
        contributor = Contributor(
            id="alpha", display_name="A", kind=ContributorKind.NGO, jurisdiction="GB", objections_accepted_revision=99,
            retire_time=now(),
        )  # fmt: skip
        made = desk.hub.contributors.create(OPERATOR, contributor)
        assert (made.objections_accepted_revision, made.retire_time) == (0, None)
        own = desk.hub.hash_sets.create(writer("alpha"), HashSet(contributor="alpha", id="l", accepted_revision=99))
        assert own.accepted_revision == 0
        for field in ("objections_accepted_revision", "retire_time"):
            with pytest.raises(InvalidArgument, match="cannot change"):
                desk.hub.contributors.update(OPERATOR, contributor, [field])


class TestAcceptance:
    def test_of_what_was_seen_and_back(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        accept = desk.hub.hash_sets.accept
        seen = desk.hub.revision()
        desk.contribute("alpha/list", item(1))
        assert accept(OPERATOR, "alpha", "list", seen).accepted_revision == seen
        at = desk.hub.revision()
        assert accept(OPERATOR, "alpha", "list", seen).accepted_revision == seen
        assert desk.hub.revision() == at  # saying it again says nothing new
        for revision in (0, -1, at + 1, 1 << 70):
            with pytest.raises(InvalidArgument, match="accepted_revision"):
                accept(OPERATOR, "alpha", "list", revision)
            with pytest.raises(InvalidArgument, match="accepted_revision"):
                desk.hub.contributors.accept_objections(OPERATOR, "alpha", revision)
        assert accept(OPERATOR, "alpha", "list", 1, "looked at the wrong list").accepted_revision == 1
        assert desk.hub.contributors.accept_objections(OPERATOR, "alpha", at).objections_accepted_revision == at


class TestRetirement:
    def test_nothing_new_comes_from_it_and_what_it_said_stands(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        waiting = desk.add(desk.open("alpha/list"), [item(2)])
        retired = desk.hub.contributors.retire(OPERATOR, "alpha", "merged with beta", withdraw_entries=False)
        assert retired.retire_time is not None
        assert desk.hub.contributors.retire(OPERATOR, "alpha", withdraw_entries=False) == retired
        source = Import(
            id="", contributor="alpha", hash_set="list", connector="c", connector_version="1", source_digest="0" * 64
        )
        for attempt in (
            lambda: desk.hub.hash_sets.create(OPERATOR, HashSet(contributor="alpha", id="new")),
            lambda: desk.hub.contribute.open(OPERATOR, source),
            lambda: desk.hub.contribute.commit(OPERATOR, waiting.id, batch_count=1),
            lambda: desk.hub.tokens.create(OPERATOR, Principal(name="new", role=Role.CONSUMER, contributor="alpha")),
        ):
            with pytest.raises(FailedPrecondition) as refused:
                attempt()
            assert refused.value.reason is Reason.CONTRIBUTOR_RETIRED
        assert desk.known(1, 2) == [1]
        # Its terms can still be narrowed, and its entries withdrawn.
        desk.hub.hash_sets.update(OPERATOR, HashSet(contributor="alpha", id="list"), ["marking"])
        with pytest.raises(AlreadyExists):
            desk.contributor("alpha")


class TestRequestIds:
    def test_each_principal_has_its_own(self, any_desk: Desk) -> None:
        for name in ("alpha", "beta"):
            any_desk.contributor(name)
        create = any_desk.hub.hash_sets.create
        made = [
            create(writer(name), HashSet(contributor=name, id="list"), request_id="r") for name in ("alpha", "beta")
        ]
        assert [s.name for s in made] == ["alpha/list", "beta/list"]
        assert create(writer("alpha"), HashSet(contributor="alpha", id="list"), request_id="r") == made[0]
        with pytest.raises(AlreadyExists, match="request_id"):
            create(writer("alpha"), HashSet(contributor="alpha", id="other"), request_id="r")

    def test_one_does_not_read_anothers_answer(self, desk: Desk) -> None:
        """A guessed id would otherwise give a stranger what the first caller was told."""
        desk.hash_set("alpha/list")
        new = HashSet(contributor="alpha", id="list", display_name="New")
        first = desk.hub.hash_sets.update(writer("alpha"), new, ["display_name"], request_id="r")
        desk.hub.hash_sets.update(
            writer("alpha"), HashSet(contributor="alpha", id="list", review_depth=3), ["review_depth"]
        )
        again = desk.hub.hash_sets.update(OPERATOR, new, ["display_name"], request_id="r")
        assert (first.review_depth, again.review_depth) == (0, 3)


def _at_once(*calls: Callable[[], object]) -> list[bool]:
    """Make the calls at the same moment; return for each that ended whether it was let through."""
    outcomes: list[bool] = []
    start = threading.Barrier(len(calls))

    def make(call: Callable[[], object]) -> None:
        start.wait()
        try:
            call()
        except InvalidArgument:
            outcomes.append(False)
        else:
            outcomes.append(True)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _set(**fields: Any) -> HashSet:
    return HashSet(**{"contributor": "alpha", "id": "list", **fields})


_LISTED = Contributor(id="alpha", display_name="New", kind=ContributorKind.NGO, jurisdiction="GB")
_APP = Principal(name="app", role=Role.CONSUMER, contributor="alpha", purposes=("x",))
BOSS: Final = Principal(name="boss", role=Role.OPERATOR, contributor="operator")
WRITES: Final[dict[str, tuple[Principal, Callable[[Hub, Principal], object], EventKind, str]]] = {
    "contributors.create": (
        BOSS, lambda h, p: h.contributors.create(p, msgspec.structs.replace(_LISTED, id="new")),
        EventKind.CONTRIBUTOR_CREATED, "contributors/new",
    ),
    "contributors.update": (
        BOSS, lambda h, p: h.contributors.update(p, _LISTED, ["display_name"]), EventKind.CONTRIBUTOR_UPDATED,
        "contributors/alpha",
    ),
    "contributors.retire": (
        BOSS, lambda h, p: h.contributors.retire(p, "alpha", withdraw_entries=False),
        EventKind.CONTRIBUTOR_RETIRED, "contributors/alpha",
    ),
    "contributors.accept_objections": (
        BOSS, lambda h, p: h.contributors.accept_objections(p, "alpha", 1), EventKind.OBJECTIONS_ACCEPTED,
        "contributors/alpha",
    ),
    "groups.create": (BOSS, lambda h, p: h.groups.create(p, Group(id="new")), EventKind.GROUP_CREATED, "groups/new"),
    "groups.update": (
        BOSS, lambda h, p: h.groups.update(p, Group(id="allies"), ["members"]), EventKind.GROUP_UPDATED,
        "groups/allies",
    ),
    "groups.delete": (BOSS, lambda h, p: h.groups.delete(p, "allies"), EventKind.GROUP_DELETED, "groups/allies"),
    "hash_sets.create": (
        writer("alpha"), lambda h, p: h.hash_sets.create(p, _set(id="new")), EventKind.HASH_SET_CREATED,
        "hash-sets/alpha/new",
    ),
    "hash_sets.update": (
        writer("alpha"), lambda h, p: h.hash_sets.update(p, _set(review_depth=2), ["review_depth"]),
        EventKind.HASH_SET_UPDATED, "hash-sets/alpha/list",
    ),
    "hash_sets.update its terms": (
        writer("alpha"), lambda h, p: h.hash_sets.update(p, _set(marking=Marking(bulk=True)), ["marking.bulk"]),
        EventKind.TERMS_CHANGED, "hash-sets/alpha/list",
    ),
    "hash_sets.accept": (
        BOSS, lambda h, p: h.hash_sets.accept(p, "alpha", "list", 1), EventKind.HASH_SET_ACCEPTED,
        "hash-sets/alpha/list",
    ),
    "tokens.create": (
        BOSS, lambda h, p: h.tokens.create(p, msgspec.structs.replace(_APP, name="new")), EventKind.TOKEN_CREATED,
        "tokens/new",
    ),
    "tokens.update": (
        BOSS, lambda h, p: h.tokens.update(p, _APP, ["purposes"]), EventKind.TOKEN_UPDATED, "tokens/app",
    ),
    "tokens.rotate": (_APP, lambda h, p: h.tokens.rotate(p, "app"), EventKind.TOKEN_ROTATED, "tokens/app"),
    "tokens.delete": (BOSS, lambda h, p: h.tokens.delete(p, "app"), EventKind.TOKEN_DELETED, "tokens/app"),
}  # fmt: skip


@contextmanager
def _opened(directory: Path) -> Iterator[Store]:
    store = Store.open(directory)
    yield store
    store.close()


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_on_record_and_moves_the_registry(desk: Desk, sqlite_directory: Path, write: str) -> None:
    who, call, kind, subject = WRITES[write]
    desk.hash_set("alpha/list")
    desk.hub.groups.create(OPERATOR, Group(id="allies", members=("alpha",)))
    desk.hub.tokens.create(OPERATOR, msgspec.structs.replace(_APP, purposes=()))
    with _opened(sqlite_directory) as store:
        before, registry = store.revision(), store.resources.registry()
        call(desk.hub, who)
        (event,) = store.history.list_events(limit=1)
        assert event.revision == store.revision() == before + 1
        assert (event.actor, event.kind, event.subject) == (Actor(who.name, who.contributor, who.role), kind, subject)
        if write.startswith("tokens."):
            assert store.resources.registry() is registry, "no token stands in it"
        else:
            assert store.resources.registry() is not registry
            assert store.resources.registry().revision == event.revision
        store.history.verify_history(store.database_id)


def test_the_history_tells_what_the_terms_were(desk: Desk, sqlite_directory: Path) -> None:
    desk.contributor("beta")
    desk.hash_set("alpha/list")
    desk.hub.hash_sets.update(
        writer("alpha"), _set(marking=Marking(recipients=("contributors/beta",))), ["marking.recipients"]
    )
    desk.hub.hash_sets.accept(BOSS, "alpha", "list", 2, "looked at all of it")
    desk.hub.hash_sets.accept(BOSS, "alpha", "list", 1)
    with _opened(sqlite_directory) as store:
        lowered, accepted, changed = store.history.list_events(limit=3)
    assert changed.facts["fields"] == ("marking",)
    assert changed.details is not None
    old, _, new = changed.details["marking"].partition(" -> ")
    assert '"recipients":[]' in old
    assert '"recipients":["contributors/beta"]' in new
    assert accepted.details is not None
    assert accepted.details["comment"] == "looked at all of it"
    assert (accepted.facts["accepted_before"], accepted.facts["accepted_revision"]) == (0, 2)
    assert (lowered.facts["accepted_before"], lowered.facts["accepted_revision"]) == (2, 1)


def test_disclosed_existence_is_told_beyond_the_terms_end(desk: Desk) -> None:
    ended = Marking(expire_time=now(), disclose_existence=True)
    desk.hash_set("alpha/list", marking=ended)
    desk.contribute("alpha/list", item(1))
    told = desk.match(digest("MD5", 1), who=PLATFORM)
    assert (told.verdict, told.withheld, told.matches) == (Verdict.REVIEW, True, ())
    assert desk.hub.entries.list(AUDITOR, "alpha", "list", (), 10, 0)[0]
