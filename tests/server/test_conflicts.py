"""Conflicts as a client meets them, over the real doors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from hashhub.client import Client
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
)
from hashhub.hashes import Hash
from hashhub.model import (
    ConflictFilter,
    ConflictKind,
    ConflictReason,
    ConflictState,
    HashSet,
    Import,
    Marking,
    Principal,
    Purpose,
    Record,
    Role,
    Severity,
)
from tests.server.conftest import OPERATOR

if TYPE_CHECKING:
    from tests.server.conftest import Served


class Parties:
    """Two contributors at a hub, that contradict each other about so many items, and clients for them."""

    def __init__(self, served: Served, items: int) -> None:
        self._served = served
        served.new_contributor("left")
        served.new_contributor("right")
        for name, purpose in (("left", Purpose.CSAM), ("right", Purpose.BENIGN)):
            hash_set = HashSet(contributor=name, id="list", purpose=purpose, marking=Marking(bulk=True))
            served.hub.hash_sets.create(OPERATOR, hash_set)
            self._list(name, items)
        served.new_contributor("third")
        finder = served.hub.finder
        assert finder is not None
        finder.catch_up()

    def _list(self, name: str, items: int) -> None:
        who = Principal(name=f"{name}-desk", role=Role.CONTRIBUTOR, contributor=name)
        hub = self._served.hub.contribute
        opened = hub.open(
            who,
            Import(
                id="",
                contributor=name,
                hash_set="list",
                connector="test",
                connector_version="1",
                source_digest=hashlib.sha256(name.encode()).hexdigest(),
            ),
        )
        digests = (Hash("MD5", hashlib.md5(bytes([n]), usedforsecurity=False).digest()) for n in range(items))
        records = [Record(position=f"line {n}", hashes=(h,)) for n, h in enumerate(digests)]
        hub.add(who, opened.id, 0, records, [])
        hub.commit(who, opened.id, batch_count=1)

    def client(self, contributor: str) -> Client:
        secret = self._served.tokens["OPERATOR"]
        if contributor:
            token = Principal(name=f"{contributor}-token", role=Role.CONTRIBUTOR, contributor=contributor)
            _, secret = self._served.hub.tokens.create(OPERATOR, token)
        return Client(self._served.doors.grpc_address, secret)


@pytest.fixture
def parties(serve_hub: Any) -> Parties:
    return Parties(serve_hub(), 3)


def test_conflicts_over_the_wire(parties: Parties) -> None:
    with parties.client("") as operator, parties.client("left") as left, parties.client("third") as third:
        assert operator.await_conflicts()
        conflicts = list(operator.list_conflicts())
        assert [c.kind for c in conflicts] == [ConflictKind.BENIGN_AGAINST_HARMFUL] * 3
        assert [c.name for c in operator.list_conflicts(limit=2)] == [c.name for c in conflicts[:2]]
        wanted = ConflictFilter(
            kinds=(ConflictKind.BENIGN_AGAINST_HARMFUL,), contributor="left", other="right", jurisdiction="GB",
            severities=(Severity.LOW,), states=(ConflictState.OPEN,), hash_set="left/list",
        )  # fmt: skip
        assert len(list(operator.list_conflicts(wanted))) == 3
        name = conflicts[0].name
        of_entry = ConflictFilter(entry=operator.get_conflict(name).left.statements[0].entry)
        assert [c.name for c in operator.list_conflicts(of_entry)] == [name]
        whole = operator.get_conflict(name)
        assert {whole.left.statements[0].entry.rpartition("/")[0], whole.right.hash_set} == {"left/list", "right/list"}
        assert whole.left.statements[0].digests == whole.right.statements[0].digests
        assert whole.why
        assert operator.assign_conflict(name, "Ann", validate_only=True).assignee == ""
        assert operator.assign_conflict(name, "Ann").assignee == "Ann"
        view = left.resolve_conflict(name, ConflictReason.DECIDED_FOR, "ours is right", decided_for="left")
        assert (view.state, view.resolutions[0].closes, view.assignee) == (ConflictState.ASSIGNED, False, "")
        with pytest.raises(Conflict):
            operator.resolve_conflict(name, ConflictReason.OTHER, "x", etag="0" * 16)
        closed = operator.resolve_conflict(name, ConflictReason.LEFT_STANDING, "both stand", etag=whole.etag)
        assert [r.reason for r in closed.resolutions] == [ConflictReason.DECIDED_FOR, ConflictReason.LEFT_STANDING]
        with pytest.raises(FailedPrecondition) as again:
            operator.resolve_conflict(name, ConflictReason.OTHER, "x")
        assert again.value.reason is Reason.CONFLICT_CLOSED
        summary = operator.summarise_conflicts()
        assert {c.state: c.count for c in summary.counts} == {ConflictState.OPEN: 2, ConflictState.RESOLVED: 1}
        assert [(c.contributor, c.conflicts, c.items) for c in summary.contributors] == [
            ("left", 3, 3), ("right", 3, 3),
        ]  # fmt: skip
        assert next(operator.list_events(f"conflicts/{name}")).kind == "CONFLICT_RESOLVED"
        assert operator.reopen_conflict(name, "a slip", validate_only=True).state is ConflictState.RESOLVED
        assert operator.reopen_conflict(name, "a slip").state is ConflictState.ASSIGNED
        assert operator.reopen_conflict(name, "a slip").state is ConflictState.ASSIGNED
        assert next(operator.list_events(f"conflicts/{name}")).kind == "CONFLICT_REOPENED"
        operator.resolve_conflict(name, ConflictReason.LEFT_STANDING, "both stand")
        # Somebody else's conflict is no conflict at all.
        assert list(third.list_conflicts()) == []
        assert third.summarise_conflicts().counts == ()
        with pytest.raises(NotFound):
            third.get_conflict(name)
        with pytest.raises(NotFound):
            third.resolve_conflict(name, ConflictReason.OTHER, "x")
        with pytest.raises(PermissionDenied):
            left.assign_conflict(name, "me")
        with pytest.raises(PermissionDenied, match="operators and auditors"):
            left.await_conflicts()
        for wrong in (
            ConflictFilter(other="right"),
            ConflictFilter(since_revision=-1),
            ConflictFilter(entry="left/list/x"),
            ConflictFilter(entry="left/list"),
            ConflictFilter(assignee="x" * 2000),
        ):
            with pytest.raises(InvalidArgument):
                list(operator.list_conflicts(wrong))


def test_a_page_begins_only_where_one_of_its_own_list_ended(parties: Parties) -> None:
    """What a page token says is a random name: it counts nothing, and gives nobody a page that it may not see."""
    with parties.client("left") as left, parties.client("third") as third:
        names = [c.name for c in left.list_conflicts()]
        pages = [
            parties._served.hub.conflicts.list(
                Principal(name="x", role=Role.CONTRIBUTOR, contributor=contributor), ConflictFilter(), 1, names[0]
            )[0]
            for contributor in ("left", "third")
        ]
        assert [[c.name for c in page] for page in pages] == [[names[1]], []]
        assert list(third.list_conflicts()) == []


def test_wrong_names_are_refused_or_not_there(parties: Parties) -> None:
    with parties.client("") as operator:
        for name in ("x/y", "", "0" * 64, "../tokens", "Ann", "0123456789abcdef"):
            with pytest.raises(HashHubError) as refused:
                operator.get_conflict(name)
            assert isinstance(refused.value, NotFound | InvalidArgument)
