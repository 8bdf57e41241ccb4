"""Who may do what, for every use-case and every role; and tokens."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Reason, Unauthenticated
from hashhub.hub import Hub
from hashhub.model import (
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    Marking,
    MatchOptions,
    Principal,
    Query,
    Reliability,
    Review,
    ReviewKind,
    Role,
)
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, digest, item, writer

OWNER, OTHER = writer("alpha"), writer("beta")
WHO = {"operator": OPERATOR, "auditor": AUDITOR, "consumer": PLATFORM, "owner": OWNER, "other": OTHER}

EVERYBODY = set(WHO)
ALL_BUT_CONSUMER = EVERYBODY - {"consumer"}
READERS = {"operator", "auditor", "owner"}
WRITERS = {"operator", "owner"}


def _new(name: str) -> Contributor:
    return Contributor(id=name, display_name=name, kind=ContributorKind.NGO, jurisdiction="ZZ")


def _import(**fields: Any) -> Import:
    return Import(
        **{
            "id": "", "contributor": "alpha", "hash_set": "list", "connector": "c", "connector_version": "1",
            "source_digest": "0" * 64, **fields,
        }
    )  # fmt: skip


_REVIEW = Review(id=0, entry_id=0, author="", kind=ReviewKind.CONFIRMED)

# Use-case -> what calls it (with an entry of alpha/list, and an open import into it), and who may.
CASES: dict[str, tuple[Callable[[Hub, Principal, int, Import], object], set[str]]] = {
    "contributors.create": (lambda h, p, *_: h.contributors.create(p, _new("gamma")), {"operator"}),
    "contributors.get": (lambda h, p, *_: h.contributors.get(p, "alpha"), ALL_BUT_CONSUMER),
    "contributors.list": (lambda h, p, *_: h.contributors.list(p, 10, ""), ALL_BUT_CONSUMER),
    "contributors.update": (lambda h, p, *_: h.contributors.update(p, _new("alpha"), ["display_name"]), {"operator"}),
    "hash_sets.create": (lambda h, p, *_: h.hash_sets.create(p, HashSet(contributor="alpha", id="new")), WRITERS),
    "hash_sets.get": (lambda h, p, *_: h.hash_sets.get(p, "alpha", "list"), ALL_BUT_CONSUMER),
    "hash_sets.list": (lambda h, p, *_: h.hash_sets.list(p, "alpha", 10, ""), ALL_BUT_CONSUMER),
    "hash_sets.update": (
        lambda h, p, *_: h.hash_sets.update(p, HashSet(contributor="alpha", id="list"), ["display_name"]), WRITERS,
    ),
    "contribute.open": (lambda h, p, *_: h.contribute.open(p, _import()), WRITERS),
    "contribute.add": (lambda h, p, _, i: h.contribute.add(p, i.id, 1, [item(5)], []), WRITERS),
    "contribute.commit": (lambda h, p, _, i: h.contribute.commit(p, i.id, batch_count=1), WRITERS),
    "contribute.cancel": (lambda h, p, _, i: h.contribute.cancel(p, i.id), WRITERS),
    "contribute.get": (lambda h, p, _, i: h.contribute.get(p, i.id), READERS),
    "contribute.list": (lambda h, p, *_: h.contribute.list(p, "alpha", "list", 10, ""), READERS),
    "contribute.findings": (lambda h, p, _, i: h.contribute.findings(p, i.id, 10, 0), READERS),
    "entries.get": (lambda h, p, e, _: h.entries.get(p, "alpha", "list", e), READERS),
    "entries.list": (lambda h, p, *_: h.entries.list(p, "alpha", "list", (), 10, 0), READERS),
    "entries.withdraw": (lambda h, p, e, _: h.entries.withdraw(p, "alpha", "list", e), WRITERS),
    "entries.quarantine": (lambda h, p, e, _: h.entries.quarantine(p, "alpha", "list", e), {"operator"}),
    "entries.release": (lambda h, p, e, _: h.entries.release(p, "alpha", "list", e), {"operator"}),
    "reviews.create": (
        lambda h, p, e, _: h.reviews.create(p, "alpha", "list", e, _REVIEW), {"operator", "owner", "other"},
    ),
    "reviews.list": (lambda h, p, e, _: h.reviews.list(p, "alpha", "list", e, 10, 0), ALL_BUT_CONSUMER),
    "match.hashes": (
        lambda h, p, *_: h.match.hashes(p, [Query(hashes=(digest("MD5", 1),))], MatchOptions(policy="any")),
        EVERYBODY - {"auditor"},
    ),
    "match.media": (
        lambda h, p, *_: h.match.media(p, [("x", b"x")], MatchOptions(policy="any")), EVERYBODY - {"auditor"},
    ),
    "match.policies": (lambda h, p, *_: h.match.policies(p), EVERYBODY),
    "match.schemes": (lambda h, p, *_: h.match.schemes(p), EVERYBODY),
    "changes.page": (lambda h, p, *_: h.changes.page(msgspec.structs.replace(p, may_mirror=True)), EVERYBODY),
    "tokens.create": (lambda h, p, *_: h.tokens.create(p, Principal(name="new", role=Role.CONSUMER)), {"operator"}),
    "tokens.list": (lambda h, p, *_: h.tokens.list(p), {"operator", "auditor"}),
    "tokens.delete": (lambda h, p, *_: h.tokens.delete(p, "spare"), {"operator"}),
    "status": (lambda h, p, *_: h.status(p), {"operator", "auditor"}),
}  # fmt: skip


class TestRoles:
    @pytest.fixture
    def shared(self, desk: Desk) -> Desk:
        desk.hash_set("alpha/list")
        desk.contributor("beta")
        desk.contribute("alpha/list", item(1))
        desk.hub.tokens.create(OPERATOR, Principal(name="spare", role=Role.CONSUMER))
        return desk

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
                assert name not in allowed or case == "tokens.delete"
            except AlreadyExists:
                assert case == "hash_sets.create"
                let_in.add(name)
            else:
                let_in.add(name)
            if name not in let_in:
                assert shared.hub.revision() == before
        assert let_in == allowed

    def test_no_use_case_is_left_out(self) -> None:
        parts = ("contributors", "hash_sets", "contribute", "entries", "reviews", "match", "changes", "tokens")
        hub_of = Hub.__init__.__globals__
        classes = [
            hub_of[n]
            for n in ("Contributors", "HashSets", "Contribute", "Entries", "Reviews", "Match", "Changes", "Tokens")
        ]
        found = {
            f"{part}.{method}"
            for part, of in zip(parts, classes, strict=True)
            for method in vars(of)
            if not method.startswith("_")
        }
        takes_no_principal = {"tokens.bootstrap", "tokens.authenticate", "changes.wait"}
        assert found - takes_no_principal == CASES.keys() - {"status"}


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
        desk.hash_set("alpha/hidden", marking=Marking(recipients=("gamma",)))
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
            lambda s: hub.reviews.create(OTHER, "alpha", s, entry.id, _REVIEW),
            lambda s: hub.reviews.list(OTHER, "alpha", s, entry.id, 10, 0),
        ):
            assert _refusal(call, "hidden") == _refusal(call, "absent").replace("absent", "hidden")

    def test_an_entry_is_found_under_its_own_hash_set_only(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.hash_set("beta/list")
        desk.contribute("alpha/list", item(1))
        (entry,) = desk.entries("alpha/list")
        for call in (desk.hub.entries.get, desk.hub.entries.withdraw):
            with pytest.raises(NotFound):
                call(OTHER, "beta", "list", entry.id)
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
        desk.contribute("alpha/list", item(1))
        assert desk.known(1) == [1]
        strict = HashSet(contributor="alpha", id="list", marking=Marking(recipients=("beta",)))
        desk.hub.hash_sets.update(OWNER, strict, ["marking"])
        assert desk.known(1) == []

    def test_a_contributor_cannot_take_from_nobody(self, desk: Desk) -> None:
        with pytest.raises(InvalidArgument, match=r"takes_from\[0\]: there is no contributor 'nobody'"):
            desk.contributor("alpha", takes_from=["nobody"])

    def test_validate_only_creates_nothing(self, desk: Desk) -> None:
        hub = desk.hub
        assert hub.contributors.create(OPERATOR, _new("alpha"), validate_only=True).id == "alpha"
        desk.contributor("alpha")
        hub.hash_sets.create(OWNER, HashSet(contributor="alpha", id="list"), validate_only=True)
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
    def test_the_first_one_is_made_once(self, desk: Desk) -> None:
        secret = desk.hub.tokens.bootstrap()
        assert secret is not None
        assert desk.hub.tokens.authenticate(secret) == Principal(name="operator", role=Role.OPERATOR)
        assert desk.hub.tokens.bootstrap() is None

    def test_secrets_are_not_kept(self, desk: Desk, sqlite_directory: Path) -> None:
        secret = desk.hub.tokens.create(OPERATOR, Principal(name="shop", role=Role.CONSUMER, purposes=("x",)))
        with sqlite3.connect(next(sqlite_directory.glob("*.db"))) as c:
            kept = "\n".join(c.iterdump())
        c.close()
        assert "shop" in kept
        assert secret not in kept
        assert secret.removeprefix("hh_") not in kept
        assert desk.hub.tokens.list(AUDITOR) == [Principal(name="shop", role=Role.CONSUMER, purposes=("x",))]

    def test_a_deleted_one_works_for_a_second_at_most(self, open_hub: Open) -> None:
        here, there = open_hub(), open_hub(publisher=False)
        secret = here.tokens.create(OPERATOR, Principal(name="shop", role=Role.CONSUMER))
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

    @pytest.mark.parametrize("secret", ["", "hh_guess"])
    def test_unknown_ones_are_refused(self, desk: Desk, secret: str) -> None:
        with pytest.raises(Unauthenticated):
            desk.hub.tokens.authenticate(secret)

    def test_nobody_saws_off_their_own_branch(self, desk: Desk) -> None:
        with pytest.raises(InvalidArgument, match="cannot delete the token it is using"):
            desk.hub.tokens.delete(OPERATOR, OPERATOR.name)
        with pytest.raises(NotFound):
            desk.hub.tokens.delete(OPERATOR, "missing")

    @pytest.mark.parametrize("name", ["", "Shop", "shöp", "a b", "x" * 64])
    def test_names_are_plain(self, desk: Desk, name: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            desk.hub.tokens.create(OPERATOR, Principal(name=name, role=Role.CONSUMER))
        assert refused.value.violations[0].field == "token_id"

    def test_names_are_taken_once(self, desk: Desk) -> None:
        desk.hub.tokens.create(OPERATOR, Principal(name="shop", role=Role.CONSUMER))
        with pytest.raises(AlreadyExists):
            desk.hub.tokens.create(OPERATOR, Principal(name="shop", role=Role.OPERATOR))

    def test_a_contributors_token_names_its_contributor(self, desk: Desk) -> None:
        create = desk.hub.tokens.create
        with pytest.raises(InvalidArgument):
            create(OPERATOR, Principal(name="desk", role=Role.CONTRIBUTOR))
        with pytest.raises(NotFound):
            create(OPERATOR, Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha"))
        with pytest.raises(InvalidArgument):
            create(OPERATOR, Principal(name="desk", role=Role.CONSUMER, contributor="alpha"))
        desk.contributor("alpha")
        secret = create(OPERATOR, Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha"))
        assert desk.hub.tokens.authenticate(secret).contributor == "alpha"


def _refusal(call: Callable[[str], object], name: str) -> str:
    with pytest.raises(NotFound) as refused:
        call(name)
    return str(refused.value.message)
