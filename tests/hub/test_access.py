"""Who may do what, for every use-case and every role; and tokens."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from hashhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hub import Hub, access
from hashhub.hub.access import Tokens
from hashhub.hub.policies import ReplaySelection
from hashhub.hub.reconciliation import Operations
from hashhub.model import (
    ConflictAction,
    ConflictFilter,
    ConflictOrder,
    ConflictReason,
    Contributor,
    ContributorKind,
    Group,
    HashSet,
    Import,
    LiveOptions,
    Marking,
    MatchOptions,
    Principal,
    Purpose,
    Query,
    Reliability,
    ReviewKind,
    Role,
    Webhook,
    WebhookEvent,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.reconcile.results import Progress
from hashhub.reconcile.tasks import ROWS, ExtractEntries, ExtractResult, FindLinks, LinksResult, Task
from hashhub.reconcile.work import Job
from hashhub.store import Store
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, Stock, digest, item, writer
from tests.patience import wait_until
from tests.trust.test_policies import text

POLICY = text()
SCHEME = """
id = "own"
version = "2"
region = "NL"
status = "verified"
title = "Own"
source = ["a letter"]
[values.1]
title = "One"
dimensions = { verdict = "csam" }
"""
OWNER, OTHER = writer("alpha"), writer("beta")
PEER = Principal(name="peer", role=Role.PEER, contributor="alpha", may_mirror=True)
WHO = {"operator": OPERATOR, "auditor": AUDITOR, "consumer": PLATFORM, "owner": OWNER, "other": OTHER, "peer": PEER}

EVERYBODY = set(WHO)  # of the hub's own rules: the server lets a peer make few calls (tests/server/test_peers.py)
ALL_BUT_CONSUMER = EVERYBODY - {"consumer", "peer"}
READERS = {"operator", "auditor", "owner"}
WRITERS = {"operator", "owner"}


def _token(name: str, **fields: Any) -> Principal:
    return Principal(**{"name": name, "role": Role.CONSUMER, "contributor": "alpha", **fields})


class _Clock:
    """The clock by which tokens are looked up again: it goes on when a test says so, whatever the machine is at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = time.monotonic()
        monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: self.at, time=time.time))


def _new(name: str) -> Contributor:
    return Contributor(id=name, display_name=name, kind=ContributorKind.NGO, jurisdiction="ZZ")


def _import(**fields: Any) -> Import:
    return Import(
        **{
            "id": "", "contributor": "alpha", "hash_set": "list", "connector": "c", "connector_version": "1",
            "source_digest": "0" * 64, **fields,
        }
    )  # fmt: skip


def _operation(hub: Hub) -> str:
    """Return the name of an operation of alpha's that nobody has worked on."""
    hub.operations.close()
    waiting, _ = hub.operations.list(OWNER, 1, 0)
    return (waiting[0] if waiting else hub.reconciliation.start(OWNER, FindLinks())).id


def _ended_operation(hub: Hub, task: Task | None = None) -> str:
    """Return the name of an operation of alpha's that found nothing."""
    hub.operations.close()

    def find_nothing(job: Job, _: Progress) -> bytes:
        Path(job.out).mkdir(parents=True)
        (Path(job.out) / ROWS).touch()
        is_extract = isinstance(job.task, ExtractEntries)
        made = ExtractResult(revision=1, hash_sets=(), left_out=(), files=())
        return msgspec.json.encode(made if is_extract else LinksResult(revision=1, exact=0, near=0, rows=0))

    hub.reconciliation.run = find_nothing
    operation = hub.reconciliation.start(OWNER, task or FindLinks())
    hub.operations.round()
    return operation.id


def _webhook(name: str) -> Webhook:
    return Webhook(contributor="alpha", id=name, url="https://hooks.invalid/", events=(WebhookEvent.ENTRY_DISPUTED,))


def _conflict(hub: Hub) -> str:
    return hub.conflicts.list(OPERATOR, ConflictFilter(), 1)[0][0].name


# Use-case -> what calls it (with an entry of alpha/list, and an open import into it), and who may.
CASES: dict[str, tuple[Callable[[Hub, Principal, int, Import], object], set[str]]] = {
    "contributors.create": (lambda h, p, *_: h.contributors.create(p, _new("gamma")), {"operator"}),
    "contributors.get": (lambda h, p, *_: h.contributors.get(p, "alpha"), ALL_BUT_CONSUMER),
    "contributors.list": (lambda h, p, *_: h.contributors.list(p, 10, ""), ALL_BUT_CONSUMER),
    "contributors.update": (lambda h, p, *_: h.contributors.update(p, _new("alpha"), ["display_name"]), {"operator"}),
    "contributors.name_hub": (lambda h, p, *_: h.contributors.name_hub(p, "alpha-hub"), {"operator"}),
    "contributors.retire": (lambda h, p, *_: h.contributors.retire(p, "beta", withdraw_entries=False), {"operator"}),
    "contributors.accept_objections": (lambda h, p, *_: h.contributors.accept_objections(p, "beta", 1), {"operator"}),
    "groups.create": (lambda h, p, *_: h.groups.create(p, Group(id="new")), {"operator"}),
    "groups.get": (lambda h, p, *_: h.groups.get(p, "allies"), ALL_BUT_CONSUMER),
    "groups.list": (lambda h, p, *_: h.groups.list(p, 10, ""), ALL_BUT_CONSUMER),
    "groups.update": (lambda h, p, *_: h.groups.update(p, Group(id="allies"), ["members"]), {"operator"}),
    "groups.delete": (lambda h, p, *_: h.groups.delete(p, "allies"), {"operator"}),
    "hash_sets.create": (lambda h, p, *_: h.hash_sets.create(p, HashSet(contributor="alpha", id="new")), WRITERS),
    "hash_sets.get": (lambda h, p, *_: h.hash_sets.get(p, "alpha", "list"), ALL_BUT_CONSUMER),
    "hash_sets.list": (lambda h, p, *_: h.hash_sets.list(p, "alpha", 10, ""), ALL_BUT_CONSUMER),
    "hash_sets.update": (
        lambda h, p, *_: h.hash_sets.update(p, HashSet(contributor="alpha", id="list"), ["display_name"]), WRITERS,
    ),
    "hash_sets.accept": (lambda h, p, *_: h.hash_sets.accept(p, "alpha", "list", 1), {"operator"}),
    "retention.get": (lambda h, p, *_: h.retention.get(p, "alpha", "list"), READERS),
    "retention.update": (lambda h, p, *_: h.retention.update(p, "alpha", "list", drop_request=True), WRITERS),
    "retention.delete": (lambda h, p, *_: h.retention.delete(p, "alpha", "list", validate_only=True), WRITERS),
    "webhooks.create": (lambda h, p, *_: h.webhooks.create(p, _webhook("new"), validate_only=True), WRITERS),
    "webhooks.list": (lambda h, p, *_: h.webhooks.list(p, "alpha"), READERS),
    "webhooks.get": (lambda h, p, *_: h.webhooks.get(p, "alpha", "desk"), READERS),
    "webhooks.update": (lambda h, p, *_: h.webhooks.update(p, _webhook("desk"), ["url"]), WRITERS),
    "webhooks.rotate": (lambda h, p, *_: h.webhooks.rotate(p, "alpha", "desk"), WRITERS),
    # Of their own names, so that both who may can.
    "webhooks.delete": (lambda h, p, *_: h.webhooks.delete(p, "alpha", p.name), WRITERS),
    "webhooks.test": (lambda h, p, *_: h.webhooks.test(p, "alpha", p.name), WRITERS),
    "webhooks.deliveries": (lambda h, p, *_: h.webhooks.deliveries(p, "alpha", "desk", 10, 0), READERS),
    "webhooks.failing": (lambda h, p, *_: h.webhooks.failing(p), EVERYBODY),  # those of them that it may read
    "contribute.open": (lambda h, p, *_: h.contribute.open(p, _import()), WRITERS),
    "contribute.add": (lambda h, p, _, i: h.contribute.add(p, i.id, 1, [item(5)], []), WRITERS),
    "contribute.commit": (lambda h, p, _, i: h.contribute.commit(p, i.id, batch_count=1), WRITERS),
    "contribute.cancel": (lambda h, p, _, i: h.contribute.cancel(p, i.id), WRITERS),
    "contribute.get": (lambda h, p, _, i: h.contribute.get(p, i.id), READERS),
    "contribute.list": (lambda h, p, *_: h.contribute.list(p, "alpha", "list", 10, ""), READERS),
    "contribute.findings": (lambda h, p, _, i: h.contribute.findings(p, i.id, 10, 0), READERS),
    "entries.get": (lambda h, p, e, _: h.entries.get(p, "alpha", "list", e), READERS),
    "entries.list": (lambda h, p, *_: h.entries.list(p, "alpha", "list", (), 10, 0), READERS),
    "entries.withdraw": (lambda h, p, e, _: h.entries.withdraw(p, "alpha", "list", e, WithdrawalReason.ERROR), WRITERS),
    "entries.quarantine": (lambda h, p, e, _: h.entries.quarantine(p, "alpha", "list", e), {"operator"}),
    "entries.release": (lambda h, p, e, _: h.entries.release(p, "alpha", "list", e), {"operator"}),
    "reviews.create": (
        lambda h, p, e, _: h.reviews.create(
            p, "alpha", "list", e, ReviewKind.CONFIRMED, member="gamma" if p is PEER else ""
        ),
        {"operator", "owner", "other"},  # the terms keep it from a peer, also where it is of that contributor
    ),
    "reviews.list": (lambda h, p, e, _: h.reviews.list(p, "alpha", "list", e, 10, 0), ALL_BUT_CONSUMER),
    "conflicts.list": (lambda h, p, *_: h.conflicts.list(p, ConflictFilter(), 10), ALL_BUT_CONSUMER),
    "conflicts.get": (lambda h, p, *_: h.conflicts.get(p, _conflict(h)), READERS),
    "conflicts.assign": (lambda h, p, *_: h.conflicts.assign(p, _conflict(h), "Ann"), {"operator"}),
    "conflicts.resolve": (
        lambda h, p, *_: h.conflicts.resolve(p, _conflict(h), ConflictReason.OTHER, "seen"), WRITERS,
    ),
    "conflicts.reopen": (lambda h, p, *_: h.conflicts.reopen(p, _conflict(h), "a slip"), {"operator"}),
    "conflicts.change": (
        lambda h, p, *_: h.conflicts.change(
            p, ConflictFilter(contributor="alpha"), ConflictOrder(action=ConflictAction.ASSIGN, assignee="Ann"),
        ),
        {"operator"},
    ),
    "conflicts.looked_upto": (lambda h, p, *_: h.conflicts.looked_upto(p), ALL_BUT_CONSUMER),
    "conflicts.summarise": (lambda h, p, *_: h.conflicts.summarise(p, ConflictFilter()), ALL_BUT_CONSUMER),
    "entries.restore": (lambda h, p, e, _: h.entries.restore(p, "alpha", "list", e), WRITERS),
    "entries.erase": (lambda h, p, e, _: h.entries.erase(p, "alpha", "list", e, validate_only=True), {"operator"}),
    "reviews.set_aside": (lambda h, p, e, _: h.reviews.set_aside(p, "alpha", "list", e, 1, "no"), {"operator"}),
    "history.list": (lambda h, p, *_: h.history.list(p, "", "", None, 10, 0), ALL_BUT_CONSUMER),
    "history.receipt": (lambda h, p, *_: h.history.receipt(p, 1), {"operator", "auditor"}),
    "history.redact": (lambda h, p, *_: h.history.redact(p, 1), {"operator"}),
    "history.revert": (
        lambda h, p, *_: h.history.revert(p, "nobody", now(), validate_only=True), {"operator"},
    ),
    "match.hashes": (
        lambda h, p, *_: h.match.hashes(p, [Query(hashes=(digest("MD5", 1),))], MatchOptions(policy="any")),
        EVERYBODY - {"auditor", "peer"},
    ),
    "match.miss": (
        lambda h, p, *_: h.match.miss(p, Query(hashes=(digest("MD5", 1),)), MatchOptions(policy="any")),
        EVERYBODY - {"auditor", "peer"},
    ),
    "match.media": (
        lambda h, p, *_: h.match.media(p, [("x", b"x")], MatchOptions(policy="any")), EVERYBODY - {"auditor", "peer"},
    ),
    "policies.currents": (lambda h, p, *_: h.policies.currents(p), EVERYBODY),
    "policies.get": (lambda h, p, *_: h.policies.get(p, "any"), EVERYBODY),
    "policies.versions": (lambda h, p, *_: h.policies.versions(p, "any"), EVERYBODY),
    "policies.put": (lambda h, p, *_: h.policies.put(p, POLICY), {"operator"}),
    "policies.retire": (lambda h, p, *_: h.policies.retire(p, "mine@1", validate_only=True), {"operator"}),
    "policies.explain": (
        lambda h, p, *_: h.policies.explain(p, Query(hashes=(digest("MD5", 1),)), MatchOptions(policy="any")),
        EVERYBODY,
    ),
    "policies.try_out": (
        lambda h, p, *_: h.policies.try_out(p, "any", "block", since=ReplaySelection()), {"operator", "auditor"},
    ),
    "match.hash_sets": (lambda h, p, *_: h.match.hash_sets(p, []), EVERYBODY),
    "match.policy": (lambda h, p, *_: h.match.policy(p, "any"), EVERYBODY - {"auditor", "peer"}),
    "match.held_policy": (lambda h, p, *_: h.match.held_policy(p, "any"), EVERYBODY - {"auditor", "peer"}),
    "match.effort": (lambda h, p, *_: h.match.effort(p, MatchOptions(policy="any")), EVERYBODY),
    "match.judge": (
        lambda h, p, *_: h.match.judge(
            p, Query(hashes=(digest("MD5", 1),)), MatchOptions(policy="any"), h.policies.get(p, "any").policy, (),
            played={}, withheld=False, cut_short=False,
        ),
        EVERYBODY - {"auditor", "peer"},
    ),
    "live.open": (
        lambda h, p, *_: h.live.open(p, LiveOptions(match=MatchOptions(policy="any"))), EVERYBODY - {"auditor", "peer"},
    ),
    "schemes.list": (lambda h, p, *_: h.schemes.list(p), EVERYBODY),
    "schemes.get": (lambda h, p, *_: h.schemes.get(p, "vic-us"), EVERYBODY),
    "schemes.compare": (lambda h, p, *_: h.schemes.compare(p, "vic-us", "uk-sap", 10, 0), EVERYBODY),
    "schemes.diff": (lambda h, p, *_: h.schemes.diff(p, "vic-us", "vic-us-legacy"), EVERYBODY),
    "schemes.put": (lambda h, p, *_: h.schemes.put(p, SCHEME, validate_only=True), {"operator"}),
    "schemes.sign_off": (lambda h, p, *_: h.schemes.sign_off(p, "own@1", "read it"), {"operator"}),
    "schemes.retire": (lambda h, p, *_: h.schemes.retire(p, "own@1"), {"operator"}),
    "changes.page": (lambda h, p, *_: h.changes.page(msgspec.structs.replace(p, may_mirror=True)), EVERYBODY),
    "operations.list": (lambda h, p, *_: h.operations.list(p, 10, 0), ALL_BUT_CONSUMER),
    "operations.get": (lambda h, p, *_: h.operations.get(p, _operation(h)), READERS),
    "operations.wait": (lambda h, p, *_: h.operations.wait(p, _operation(h), timedelta(0)), READERS),
    "operations.cancel": (lambda h, p, *_: h.operations.cancel(p, _operation(h)), WRITERS),
    "operations.delete": (lambda h, p, *_: h.operations.delete(p, _ended_operation(h)), WRITERS),
    "operations.start": (lambda h, p, *_: h.operations.start(p, "FindLinks", b""), ALL_BUT_CONSUMER),
    "operations.result": (lambda h, p, *_: h.operations.result(p, _ended_operation(h)), READERS),
    "reconciliation.start": (lambda h, p, *_: h.reconciliation.start(p, FindLinks()), ALL_BUT_CONSUMER),
    "reconciliation.rows": (lambda h, p, *_: h.reconciliation.rows(p, _ended_operation(h), 10, 0), READERS),
    "reconciliation.files": (
        lambda h, p, *_: list(h.reconciliation.files(lambda: p, _ended_operation(h, ExtractEntries()), ())), READERS,
    ),
    "tokens.create": (lambda h, p, *_: h.tokens.create(p, Principal(name="new", role=Role.AUDITOR)), {"operator"}),
    "tokens.access": (lambda h, p, *_: h.tokens.access(p, "spare"), {"operator", "auditor"}),
    "tokens.caller": (lambda h, p, *_: h.tokens.caller(p), EVERYBODY),
    "tokens.list": (lambda h, p, *_: h.tokens.list(p), {"operator", "auditor"}),
    "tokens.update": (lambda h, p, *_: h.tokens.update(p, _token("spare"), ["purposes"]), {"operator"}),
    "tokens.rotate": (lambda h, p, *_: h.tokens.rotate(p, "spare"), {"operator"}),
    "tokens.delete": (lambda h, p, *_: h.tokens.delete(p, "spare"), {"operator"}),
    "edges.get": (lambda h, p, *_: h.edges.get(p), ALL_BUT_CONSUMER),
    "status": (lambda h, p, *_: h.status(p), {"operator", "auditor"}),
}  # fmt: skip


def fill(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contribute("alpha/list", item(1))
    (entry,) = desk.entries("alpha/list")
    objection = ReviewKind.FALSE_POSITIVE
    assert number_of(desk.hub.reviews.create(OTHER, "alpha", "list", entry.id, objection).id) == 1
    desk.hub.tokens.create(OPERATOR, _token("spare"))
    desk.hub.tokens.create(OPERATOR, _token(OWNER.name, role=Role.CONTRIBUTOR))
    desk.hub.groups.create(OPERATOR, Group(id="allies", members=("beta",)))
    desk.hub.policies.put(OPERATOR, POLICY)
    another = msgspec.structs.replace(OPERATOR, name="another")
    desk.hub.schemes.put(another, SCHEME.replace('version = "2"', 'version = "1"'))
    for name in ("desk", OPERATOR.name, OWNER.name):
        desk.hub.webhooks.create(OWNER, _webhook(name))
    desk.hash_set("beta/known", purpose=Purpose.BENIGN, marking=Marking(bulk=True))
    desk.contribute("beta/known", item(1))
    assert desk.hub.finder is not None
    desk.hub.finder.catch_up()
    (entry,) = desk.entries("alpha/list")
    desk.hub.reviews.create(writer("beta"), "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)


class TestRoles:
    @pytest.fixture
    def shared(self, stock: Stock) -> Desk:
        return stock(fill)

    @pytest.mark.parametrize("case", CASES)
    def test_every_use_case_lets_in_whom_it_should(self, shared: Desk, case: str) -> None:
        call, allowed = CASES[case]
        (entry,) = shared.entries("alpha/list")
        waiting = shared.add(shared.open("alpha/list"), [item(2)])
        let_in: set[str] = set()
        # Those who may come last: what they do must not change what the others are told.
        for name in sorted(WHO, key=lambda n: n in allowed):
            before = shared.hub.revision()
            try:
                call(shared.hub, WHO[name], entry.id, waiting)
            except PermissionDenied as e:
                assert e.reason in {Reason.ROLE_NOT_ALLOWED, Reason.NOT_YOUR_CONTRIBUTOR}
            except NotFound:
                assert name not in allowed
            except AlreadyExists:
                assert case == "hash_sets.create"
                let_in.add(name)
            else:
                let_in.add(name)
            if name not in let_in:
                assert shared.hub.revision() == before
        assert let_in == allowed

    def test_no_use_case_is_left_out(self) -> None:
        parts = (
            "conflicts",
            "contributors",
            "groups",
            "hash_sets",
            "contribute",
            "entries",
            "reviews",
            "history",
            "match",
            "live",
            "policies",
            "changes",
            "schemes",
            "operations",
            "reconciliation",
            "tokens",
            "retention",
            "webhooks",
            "edges",
        )
        hub_of = {**Hub.__init__.__globals__, "Operations": Operations}
        classes = [
            hub_of[n]
            for n in (
                "Conflicts",
                "Contributors",
                "Groups",
                "HashSets",
                "Contribute",
                "Entries",
                "Reviews",
                "History",
                "Match",
                "Live",
                "Policies",
                "Changes",
                "Schemes",
                "Operations",
                "Reconciliation",
                "Tokens",
                "Retentions",
                "Webhooks",
                "EdgeReports",
            )
        ]
        use_cases = {
            f"{part}.{method}"
            for part, of in zip(parts, classes, strict=True)
            for method in vars(of)
            if not method.startswith("_")
        }
        takes_no_principal = {
            "edges.warnings",  # of `status`
            *(f"tokens.{name}" for name in ("bootstrap", "authenticate", "recall", "begin_session", "close")),
            *(f"changes.{name}" for name in ("wait", "opened", "position_at")),  # of a feed or an export under way
            *(f"operations.{name}" for name in ("directory", "base", "round", "tidy", "close")),
        }
        assert use_cases - takes_no_principal == CASES.keys() - {"status"}


class TestOwnership:
    def test_others_imports_cannot_be_told_from_missing_ones(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contributor("beta")
        there = desk.open("alpha/list").id
        missing = there[:-1] + ("0" if there[-1] != "0" else "1")
        contribute = desk.hub.contribute
        for call in (
            lambda i: contribute.get(OTHER, i),
            lambda i: contribute.cancel(OTHER, i),
            lambda i: contribute.commit(OTHER, i, batch_count=0),
            lambda i: contribute.add(OTHER, i, 0, [], []),
            lambda i: contribute.findings(OTHER, i, 10, 0),
        ):
            said = [_refusal(call, i).replace(i, "ID") for i in (there, missing)]
            assert said[0] == said[1]

    def test_hidden_hash_sets_and_entries_cannot_be_told_from_missing_ones(self, desk: Desk) -> None:
        desk.hash_set("alpha/hidden", marking=Marking(recipients=("contributors/gamma",)))
        desk.hash_set("alpha/open")
        desk.contributor("beta")
        desk.contribute("alpha/hidden", item(1))
        (entry,) = desk.entries("alpha/hidden")
        hub = desk.hub
        assert [s.name for s in hub.hash_sets.list(OTHER, None, 10, "")[0]] == ["alpha/open"]
        assert _refusal(lambda s: hub.hash_sets.get(OTHER, "alpha", s), "hidden") == _refusal(
            lambda s: hub.hash_sets.get(OTHER, "alpha", s), "absent"
        ).replace("absent", "hidden")
        for call in (
            lambda s: hub.reviews.create(OTHER, "alpha", s, entry.id, ReviewKind.CONFIRMED),
            lambda s: hub.reviews.list(OTHER, "alpha", s, entry.id, 10, 0),
        ):
            assert _refusal(call, "hidden") == _refusal(call, "absent").replace("absent", "hidden")

    def test_an_entry_is_found_under_its_own_hash_set_only(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.hash_set("beta/list")
        desk.contribute("alpha/list", item(1))
        (entry,) = desk.entries("alpha/list")
        with pytest.raises(NotFound):
            desk.hub.entries.get(OTHER, "beta", "list", entry.id)
        with pytest.raises(NotFound):
            desk.hub.entries.withdraw(OTHER, "beta", "list", entry.id, WithdrawalReason.ERROR)
        assert desk.known(1) == [1]

    def test_what_entries_mean_cannot_change_under_them(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", scheme="vic-us")
        for field in ("scheme", "purpose", "id", "contributor", "create_time", "nonsense"):
            with pytest.raises(InvalidArgument, match="cannot change"):
                desk.hub.hash_sets.update(OPERATOR, HashSet(contributor="alpha", id="list"), [field])
        desk.hub.hash_sets.update(OWNER, HashSet(contributor="alpha", id="list", review_depth=2), ["review_depth"])
        kept = desk.hub.hash_sets.get(OWNER, "alpha", "list")
        assert (kept.review_depth, kept.scheme) == (2, "vic-us@2.0")

    def test_an_update_repeated_by_its_request_id_undoes_nothing(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        for name, request_id in (("A", "r"), ("B", ""), ("A", "r")):
            changed = HashSet(contributor="alpha", id="list", display_name=name)
            desk.hub.hash_sets.update(OWNER, changed, ["display_name"], request_id=request_id and f"{request_id}1")
            other = msgspec.structs.replace(desk.hub.contributors.get(OPERATOR, "alpha"), display_name=name)
            desk.hub.contributors.update(OPERATOR, other, ["display_name"], request_id=request_id and f"{request_id}2")
        assert desk.hub.hash_sets.get(OWNER, "alpha", "list").display_name == "B"
        assert desk.hub.contributors.get(OPERATOR, "alpha").display_name == "B"

    def test_stricter_terms_hold_at_once(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contributor("beta")
        desk.contribute("alpha/list", item(1))
        assert desk.known(1) == [1]
        strict = HashSet(contributor="alpha", id="list", marking=Marking(recipients=("contributors/beta",)))
        desk.hub.hash_sets.update(OWNER, strict, ["marking"])
        assert desk.known(1) == []

    def test_a_contributor_cannot_take_from_nobody(self, desk: Desk) -> None:
        with pytest.raises(InvalidArgument, match=r"takes_from\[0\]: there is no contributor 'nobody'"):
            desk.contributor("alpha", takes_from=["nobody"])

    def test_what_is_stated_for_the_united_kingdom_stands_under_one_code(self, desk: Desk) -> None:
        by_the_other = msgspec.structs.replace(_new("alpha"), jurisdiction="UK")
        with pytest.raises(InvalidArgument, match="must be GB"):
            desk.hub.contributors.create(OPERATOR, by_the_other)
        desk.contributor("alpha")
        with pytest.raises(InvalidArgument, match="must be GB"):
            desk.hub.contributors.update(OPERATOR, by_the_other, ["jurisdiction"])

    def test_validate_only_creates_nothing(self, desk: Desk) -> None:
        hub = desk.hub
        assert hub.contributors.create(OPERATOR, _new("alpha"), validate_only=True).id == "alpha"
        desk.contributor("alpha")
        hub.hash_sets.create(OWNER, HashSet(contributor="alpha", id="list"), validate_only=True)
        hub.groups.create(OPERATOR, Group(id="allies"), validate_only=True)
        assert hub.groups.list(OPERATOR, 10, "") == ([], "")
        with pytest.raises(NotFound):
            hub.hash_sets.get(OWNER, "alpha", "list")
        desk.hash_set("alpha/list")
        with pytest.raises(AlreadyExists):
            hub.hash_sets.create(OWNER, HashSet(contributor="alpha", id="list"), validate_only=True)
        with pytest.raises(AlreadyExists):
            hub.contributors.create(OPERATOR, _new("alpha"), validate_only=True)
        changed = msgspec.structs.replace(_new("alpha"), reliability=Reliability.A)
        hub.contributors.update(OPERATOR, changed, ["reliability"], validate_only=True)
        assert hub.contributors.get(OPERATOR, "alpha").reliability is Reliability.C
        assert hub.contribute.open(OWNER, _import(), validate_only=True).contributor == "alpha"
        assert hub.contribute.list(OWNER, "alpha", "list", 10, "") == ([], "")


class TestTokens:
    def test_the_first_one_is_the_operators(self, desk: Desk) -> None:
        tokens = desk.hub.tokens
        secret = tokens.bootstrap()
        assert secret is not None
        first = tokens.authenticate(secret)
        assert (first.name, first.role, first.contributor, first.may_mirror) == (
            "operator", Role.OPERATOR, "operator", True,
        )  # fmt: skip
        owner = desk.hub.contributors.get(OPERATOR, "operator")
        assert (owner.display_name, owner.kind, owner.jurisdiction, owner.reliability) == (
            "This hub's operators", ContributorKind.CLEARINGHOUSE, "ZZ", Reliability.F,
        )  # fmt: skip
        assert tokens.bootstrap() is None

    def test_a_hub_whose_operators_tokens_have_all_ended_gets_another_at_its_next_start(self, desk: Desk) -> None:
        tokens = desk.hub.tokens
        assert tokens.bootstrap()
        tokens.update(
            _operator("other"), Principal(name="operator", role=Role.OPERATOR, expire_time=now()), ["expire_time"]
        )
        secret = tokens.bootstrap()
        assert secret is not None
        assert tokens.authenticate(secret).name == "operator-2"
        assert tokens.bootstrap() is None

    def test_an_organisation_called_operator_does_not_become_the_hubs_own(self, desk: Desk) -> None:
        desk.contributor("operator")
        secret = desk.hub.tokens.bootstrap()
        assert secret is not None
        assert desk.hub.tokens.authenticate(secret).contributor == "operator-2"
        made, _ = desk.hub.tokens.create(OPERATOR, Principal(name="audit", role=Role.AUDITOR))
        assert made.contributor == "operator-2"

    def test_each_belongs_to_a_contributor(self, desk: Desk) -> None:
        create = desk.hub.tokens.create
        for role in (Role.CONTRIBUTOR, Role.CONSUMER):
            with pytest.raises(InvalidArgument, match="hashhub contributor create"):
                create(OPERATOR, Principal(name="desk", role=role))
            with pytest.raises(NotFound):
                create(OPERATOR, Principal(name="desk", role=role, contributor="alpha"))
        desk.contributor("alpha")
        for role in Role:
            _, secret = create(OPERATOR, Principal(name=f"desk-{role.lower()}", role=role, contributor="alpha"))
            assert desk.hub.tokens.authenticate(secret).contributor == "alpha"

    def test_secrets_are_not_kept(self, desk: Desk, sqlite_directory: Path) -> None:
        desk.contributor("alpha")
        made, secret = desk.hub.tokens.create(OPERATOR, _token("shop", purposes=("x",)))
        _, second = desk.hub.tokens.rotate(OPERATOR, "shop")
        with sqlite3.connect(next(sqlite_directory.glob("*.db"))) as c:
            kept = "\n".join(c.iterdump())
        c.close()
        assert "shop" in kept
        for shown in (secret, second):
            assert shown.removeprefix("hh_") not in kept
        assert desk.hub.tokens.list(AUDITOR) == [made]

    def test_a_deleted_one_works_for_a_second_at_most(self, open_hub: Open) -> None:
        here, there = open_hub(), open_hub(publisher=False)
        here.contributors.create(OPERATOR, _new("alpha"))
        _, secret = here.tokens.create(OPERATOR, _token("shop"))
        for hub in (here, there):
            assert hub.tokens.authenticate(secret).name == "shop"
        here.tokens.delete(OPERATOR, "shop")
        with pytest.raises(Unauthenticated):
            here.tokens.authenticate(secret)
        time.sleep(1.05)
        with pytest.raises(Unauthenticated) as refused:
            there.tokens.authenticate(secret)
        assert refused.value.reason is Reason.TOKEN_UNKNOWN
        assert secret not in refused.value.message

    def test_a_call_does_not_wait_for_the_database_while_its_token_is_in_use(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database that writes may keep readers waiting for tenths of a second, and everybody with them."""
        clock = _Clock(monkeypatch)
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        _, secret = tokens.create(OPERATOR, _token("shop"))
        tokens.authenticate(secret)
        find_secret, asking = desk.hub.store.tokens.find_secret, []

        go_on = threading.Event()

        def slow(asked_for: bytes) -> Any:
            asking.append(threading.current_thread().name)
            assert go_on.wait(60)
            return find_secret(asked_for)

        monkeypatch.setattr(desk.hub.store.tokens, "find_secret", slow)
        for look in range(1, 6):
            clock.at += 0.6
            # Whoever waited for the database would wait till the end of the test.
            assert {tokens.authenticate(secret).name for _ in range(100)} == {"shop"}
            wait_until(lambda look=look: len(asking) == look)  # type: ignore[misc]  # bound now
            assert {tokens.authenticate(secret).name for _ in range(100)} == {"shop"}
            go_on.set()
            wait_until(lambda: not tokens._to_renew)
            go_on.clear()
            assert asking == ["token-renewal"] * look, "twice a second at most, however many calls there are"

    def test_one_in_use_all_the_time_stops_within_a_second_too(self, open_hub: Open) -> None:
        here, there = open_hub(), open_hub(publisher=False)
        here.contributors.create(OPERATOR, _new("alpha"))
        _, secret = here.tokens.create(OPERATOR, _token("shop"))

        def goes_on(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                there.tokens.authenticate(secret)
                time.sleep(0.01)

        goes_on(1.5)
        here.tokens.delete(OPERATOR, "shop")
        with pytest.raises(Unauthenticated) as refused:  # noqa: PT012 - mostly before its second is over
            goes_on(1.05)
            there.tokens.authenticate(secret)  # a busy machine may make no call in the last of that time
        assert refused.value.reason is Reason.TOKEN_UNKNOWN

    def test_one_that_cannot_be_looked_up_any_more_works_for_a_second_at_most(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = _Clock(monkeypatch)
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        _, secret = tokens.create(OPERATOR, _token("shop"))
        tokens.authenticate(secret)
        asked = []

        def away(_: bytes) -> Any:
            asked.append(threading.current_thread().name)
            raise Unavailable("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(access, "_RENEWAL_PAUSE", 600.0)  # ended by the hub's end
            patch.setattr(desk.hub.store.tokens, "find_secret", away)
            clock.at += 0.75
            assert {tokens.authenticate(secret).name for _ in range(100)} == {"shop"}
            wait_until(lambda: asked)
            assert {tokens.authenticate(secret).name for _ in range(100)} == {"shop"}
            assert asked == ["token-renewal"], "not at every call"
            clock.at += 0.3
            with pytest.raises(Unavailable):
                tokens.authenticate(secret)
        assert tokens.authenticate(secret).name == "shop"

    def test_where_no_thread_can_be_made_it_is_tried_again(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = _Clock(monkeypatch)
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        _, secret = tokens.create(OPERATOR, _token("shop"))
        tokens.authenticate(secret)

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as crowded:
            crowded.setattr("hashhub.background.threading.Thread", fail)
            clock.at += 0.6
            assert tokens.authenticate(secret).name == "shop"
        for _ in range(3):
            assert tokens.recall(secret) is not None, "it is looked up again before its second is over"
            wait_until(lambda: not tokens._to_renew)
            clock.at += 0.6

    def test_what_was_read_before_a_deletion_does_not_bring_it_back(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        _, secret = tokens.create(OPERATOR, _token("shop"))
        find_secret = desk.hub.store.tokens.find_secret
        read, deleted = threading.Event(), threading.Event()

        def slow(digest: bytes) -> Any:
            secret_of_it = find_secret(digest)
            read.set()
            assert deleted.wait(60)
            return secret_of_it

        monkeypatch.setattr(desk.hub.store.tokens, "find_secret", slow)
        with ThreadPoolExecutor(1) as beside:
            earlier = beside.submit(tokens.authenticate, secret)
            assert read.wait(60)
            tokens.delete(OPERATOR, "shop")
            deleted.set()
            assert earlier.result().name == "shop", "it worked when it was asked"
        assert tokens.recall(secret) is None

    def test_one_that_has_ended_says_why_in_every_process_within_a_second(self, open_hub: Open) -> None:
        here, there = open_hub(), open_hub(publisher=False)
        here.contributors.create(OPERATOR, _new("alpha"))
        here.contributors.create(OPERATOR, _new("beta"))
        secrets = {
            name: here.tokens.create(OPERATOR, _token(name, contributor=contributor))[1]
            for name, contributor in (("ended", "alpha"), ("replaced", "alpha"), ("retired", "beta"))
        }
        for secret in secrets.values():
            assert there.tokens.authenticate(secret).role is Role.CONSUMER
        here.tokens.update(OPERATOR, _token("ended", expire_time=now()), ["expire_time"])
        _, renewed = here.tokens.rotate(OPERATOR, "replaced", timedelta(0))
        here.contributors.retire(OPERATOR, "beta", withdraw_entries=False)
        time.sleep(1.05)
        for name, reason in (
            ("ended", Reason.TOKEN_EXPIRED), ("replaced", Reason.SECRET_REPLACED), ("retired", Reason.TOKEN_RETIRED),
        ):  # fmt: skip
            with pytest.raises(Unauthenticated) as refused:
                there.tokens.authenticate(secrets[name])
            assert refused.value.reason is reason
            assert refused.value.metadata == {"token": name}
        assert there.tokens.authenticate(renewed).name == "replaced"
        # An end that was set by mistake is taken back on purpose.
        here.tokens.update(OPERATOR, _token("ended"), ["expire_time"])
        assert there.tokens.authenticate(secrets["ended"]).expire_time is None

    def test_changes_reach_every_process_within_a_second(self, open_hub: Open) -> None:
        here, there = open_hub(), open_hub(publisher=False)
        here.contributors.create(OPERATOR, _new("alpha"))
        _, secret = here.tokens.create(OPERATOR, _token("shop"))
        assert there.tokens.authenticate(secret).purposes == ()
        changed = _token("shop", purposes=("moderation",), acts_for_others=True, may_mirror=True, description="d")
        here.tokens.update(OPERATOR, changed, ["purposes", "acts_for_others", "may_mirror"])
        time.sleep(1.05)
        seen = there.tokens.authenticate(secret)
        assert (seen.purposes, seen.acts_for_others, seen.may_mirror, seen.description) == (
            ("moderation",),
            True,
            True,
            "",
        )
        for field in ("name", "role", "contributor", "create_time", "last_use_time", "nonsense"):
            with pytest.raises(InvalidArgument, match="cannot change"):
                here.tokens.update(OPERATOR, changed, [field])

    def test_rotation_leaves_the_old_secret_for_a_while_and_one_before_it_not(self, desk: Desk) -> None:
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        token, first = tokens.create(OPERATOR, _token("shop"))
        _, second = tokens.rotate(token, "shop")  # a token rotates itself
        assert {tokens.authenticate(s).name for s in (first, second)} == {"shop"}
        _, third = tokens.rotate(OPERATOR, "shop")
        assert {tokens.authenticate(s).name for s in (second, third)} == {"shop"}
        with pytest.raises(Unauthenticated) as refused:
            tokens.authenticate(first)
        assert refused.value.reason is Reason.TOKEN_UNKNOWN
        tokens.rotate(OPERATOR, "shop", timedelta(milliseconds=50))
        time.sleep(0.06)
        with pytest.raises(Unauthenticated):
            tokens.authenticate(third)
        for grace in (timedelta(seconds=-1), timedelta(days=30, seconds=1)):
            with pytest.raises(InvalidArgument, match="grace"):
                tokens.rotate(OPERATOR, "shop", grace)

    def test_an_old_secret_does_not_outlive_its_grace_by_rotating(self, desk: Desk) -> None:
        """Whoever copied a secret before it was replaced could otherwise take the token over, for good."""
        desk.contributor("alpha")
        tokens = desk.hub.tokens
        for name, role in (("shop", Role.CONSUMER), ("boss", Role.OPERATOR)):
            _, old = tokens.create(OPERATOR, _token(name, role=role))
            _, new = tokens.rotate(OPERATOR, name)
            for target in ("shop", name):
                with pytest.raises(Unauthenticated) as refused:
                    tokens.rotate(tokens.authenticate(old), target)
                assert refused.value.reason is Reason.SECRET_REPLACED
            assert tokens.authenticate(new).name == name
            _, newer = tokens.rotate(tokens.authenticate(new), name)
            assert tokens.authenticate(newer).name == name

    def test_a_token_rotates_no_other_and_does_not_learn_which_there_are(self, desk: Desk) -> None:
        desk.contributor("alpha")
        desk.hub.tokens.create(OPERATOR, _token("shop"))
        said = set()
        for name in ("shop", "missing"):
            with pytest.raises(PermissionDenied) as refused:
                desk.hub.tokens.rotate(PLATFORM, name)
            said.add(refused.value.message)
        assert len(said) == 1

    def test_the_last_use_is_written_in_the_background(self, desk: Desk, sqlite_directory: Path) -> None:
        desk.contributor("alpha")
        _, secret = desk.hub.tokens.create(OPERATOR, _token("shop"))
        with _opened(sqlite_directory) as store:
            tokens = Tokens(store, use_seconds=0.05)
            before, revision = now(), store.revision()
            tokens.authenticate(secret)
            deadline = time.monotonic() + 180
            while (used := desk.hub.tokens.list(OPERATOR)[0].last_use_time) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert used is not None
            assert before <= used <= now()
            assert store.revision() == revision  # it is no event
            tokens.close()
            # What is not yet written when a process ends is written then.
            slow = Tokens(store)
            slow.authenticate(secret)
            slow.close()
            later = desk.hub.tokens.list(OPERATOR)[0].last_use_time
            assert later is not None
            assert later > used
            # An update of the token leaves it alone.
            desk.hub.tokens.update(OPERATOR, _token("shop", description="till"), ["description"])
            (kept,) = desk.hub.tokens.list(OPERATOR)
            assert (kept.last_use_time, kept.description) == (later, "till")

    @pytest.mark.parametrize("secret", ["", "hh_guess"])
    def test_unknown_ones_are_refused(self, desk: Desk, secret: str) -> None:
        with pytest.raises(Unauthenticated):
            desk.hub.tokens.authenticate(secret)

    def test_nobody_saws_off_their_own_branch(self, desk: Desk) -> None:
        assert desk.hub.tokens.bootstrap()
        with pytest.raises(InvalidArgument, match="cannot delete the token it is using"):
            desk.hub.tokens.delete(OPERATOR, OPERATOR.name)
        ended = Principal(name=OPERATOR.name, role=Role.OPERATOR, expire_time=now())
        with pytest.raises(InvalidArgument, match="cannot end the token it is using"):
            desk.hub.tokens.update(OPERATOR, ended, ["expire_time"])
        with pytest.raises(NotFound):
            desk.hub.tokens.delete(OPERATOR, "missing")
        with pytest.raises(FailedPrecondition) as refused:
            desk.hub.contributors.retire(OPERATOR, "operator", withdraw_entries=False)
        assert refused.value.reason is Reason.LAST_OPERATOR
        desk.contributor("alpha")
        desk.hub.tokens.create(OPERATOR, _token("second", role=Role.OPERATOR))
        assert desk.hub.contributors.retire(OPERATOR, "operator", withdraw_entries=False).retire_time is not None

    @pytest.mark.parametrize("name", ["", "Shop", "shöp", "a b", "x" * 64, "system"])
    def test_names_are_plain_and_not_the_hubs_own(self, desk: Desk, name: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            desk.hub.tokens.create(OPERATOR, Principal(name=name, role=Role.AUDITOR))
        assert refused.value.violations[0].field == "token_id"

    def test_names_are_taken_once_and_for_ever(self, desk: Desk) -> None:
        desk.contributor("alpha")
        desk.hub.tokens.create(OPERATOR, _token("shop"))
        with pytest.raises(AlreadyExists):
            desk.hub.tokens.create(OPERATOR, _token("shop", role=Role.OPERATOR))
        desk.hub.tokens.delete(OPERATOR, "shop")
        with pytest.raises(AlreadyExists, match="existed"):
            desk.hub.tokens.create(OPERATOR, _token("shop"))
        desk.hub.groups.create(OPERATOR, Group(id="allies"))
        desk.hub.groups.delete(OPERATOR, "allies")
        with pytest.raises(AlreadyExists, match="existed"):
            desk.hub.groups.create(OPERATOR, Group(id="allies"))

    def test_times_and_purposes_make_sense(self, desk: Desk) -> None:
        desk.contributor("alpha")
        for wrong in ({"expire_time": now()}, {"purposes": ("",)}, {"purposes": ("ok", " ")}):
            with pytest.raises(InvalidArgument):
                desk.hub.tokens.create(OPERATOR, _token("shop", **wrong))
        desk.hub.tokens.create(OPERATOR, _token("shop", expire_time=now() + timedelta(days=1)))
        with pytest.raises(InvalidArgument):
            desk.hub.tokens.update(OPERATOR, _token("shop", purposes=("",)), ["purposes"])


@contextmanager
def _opened(directory: Path) -> Iterator[Store]:
    store = Store.open(directory)
    yield store
    store.close()


def _operator(name: str) -> Principal:
    return Principal(name=name, role=Role.OPERATOR)


def _refusal(call: Callable[[str], object], name: str) -> str:
    with pytest.raises(NotFound) as refused:
        call(name)
    return str(refused.value.message)
