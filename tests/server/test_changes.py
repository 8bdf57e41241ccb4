"""The change feed through real doors: pages, streams, and whose they are at every moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from hashhub import v1, wire
from hashhub.errors import InvalidArgument, PermissionDenied, Reason, Unauthenticated, Unavailable
from hashhub.model import Marking, Principal, Role
from tests.hub.conftest import Desk, item
from tests.hub.receiving import admit, mirroring
from tests.server.calls import ending
from tests.server.conftest import Serve, Served

READER = mirroring()


@pytest.fixture
def fed(serve_hub: Serve) -> Served:
    """A hub with one list that leaves in bulk, and a token that may mirror."""
    served: Served = serve_hub(drain_seconds=60.0)
    desk = Desk(served.hub)
    desk.hash_set("alpha/list", marking=Marking(bulk=True))
    desk.contribute("alpha/list", *(item(n) for n in range(5)))
    served.tokens[READER.name] = admit(served.hub.store, READER)
    return served


def page(served: Served, position: str = "", *, who: str = READER.name, **fields: Any) -> v1.ListChangesResponse:
    request = v1.ListChangesRequest(position=position, **fields)
    answer: v1.ListChangesResponse = served.call("ChangeService/ListChanges", request, v1.ListChangesResponse, who=who)
    return answer


def follow(served: Served, position: str = "", *, who: str = READER.name) -> Iterator[v1.FollowChangesResponse]:
    ask = served.channel.unary_stream(
        "/hashhub.v1.ChangeService/FollowChanges",
        v1.FollowChangesRequest.SerializeToString,
        v1.FollowChangesResponse.FromString,
    )
    stream: Iterator[v1.FollowChangesResponse] = ask(
        v1.FollowChangesRequest(position=position), metadata=served.metadata(who), timeout=60
    )
    return stream


def positions(changes: Any) -> list[str]:
    return [c.entry.provenance.position for c in changes if c.HasField("entry")]


def test_pages_go_on_where_the_last_one_ended(fed: Served) -> None:
    first = page(fed, page_size=4)
    assert not first.complete
    assert [c.contributor.name or c.hash_set.name for c in first.changes[:2]] == [
        "contributors/alpha",
        "contributors/alpha/hashSets/list",
    ]
    second = page(fed, first.next_position)
    assert positions(first.changes) + positions(second.changes) == [f"line {n}" for n in range(5)]
    assert (second.complete, second.revision) == (True, fed.hub.revision())
    position = fed.hub.store.history.position()
    assert second.head == f"{position.revision}:{position.digest.hex()}"
    entry = second.changes[-1].entry.name
    contributor, hash_set, number = wire.parse_entry(entry)
    fed.hub.store.transitions.withdraw([fed.hub.store.entries.id_of(f"{contributor}/{hash_set}/{number}")], "X")
    third = page(fed, second.next_position)
    assert [(c.kind, c.name, c.HasField("entry")) for c in third.changes] == [
        (v1.ChangeKind.CHANGE_KIND_WITHDRAW, entry, False)
    ]
    assert page(fed, third.next_position).changes == []


@pytest.mark.parametrize("position", ["x", "A" * 400, "", "\x00"])
def test_a_position_of_somebody_else_is_refused(fed: Served, position: str) -> None:
    other = msgspec.structs.replace(READER, name="other")
    fed.tokens["other"] = admit(fed.hub.store, other)
    with pytest.raises(InvalidArgument) as caught:
        page(fed, position or page(fed).next_position, who="other")
    assert caught.value.violations[0].field == "position"


def test_it_takes_a_token_that_may_mirror(fed: Served) -> None:
    for role in Role:
        name = f"plain-{role.lower()}"
        fed.tokens[name] = admit(fed.hub.store, Principal(name=name, role=role, contributor="alpha"))
        with pytest.raises(PermissionDenied, match="may mirror"):
            page(fed, who=name)
        assert isinstance(ending(follow(fed, who=name)), PermissionDenied)


def test_following_gives_what_is_there_and_then_what_comes(fed: Served) -> None:
    stream = follow(fed)
    first = next(stream)
    assert (positions(first.changes), first.complete) == ([f"line {n}" for n in range(5)], True)
    later = threading.Thread(target=Desk(fed.hub).contribute, args=("alpha/list", item(8)))
    later.start()
    second = next(stream)
    later.join()
    assert positions(second.changes) == ["line 8"]
    assert positions(page(fed, first.next_position).changes) == ["line 8"]
    # When the server stops, the reader is told to come back with its position; nobody waits for calls that would never
    # end.
    fed.doors.close()
    error = ending(stream)
    assert isinstance(error, Unavailable)
    assert error.reason is not Reason.DEADLINE_EXCEEDED


def test_a_stream_does_not_outlive_its_token(fed: Served) -> None:
    stream = follow(fed)
    next(stream)
    fed.hub.store.tokens.delete_token(READER.name)
    # What is contributed from now on does not go out by it any more, once the second is over for which tokens are
    # remembered.
    error = ending(stream)
    assert isinstance(error, Unauthenticated)


def test_a_stream_ends_when_its_token_may_not_mirror_any_more(fed: Served) -> None:
    stream = follow(fed)
    next(stream)
    fed.hub.store.tokens.update_token(READER.name, {"may_mirror": False})
    assert isinstance(ending(stream), PermissionDenied)


def test_a_stream_tells_of_changed_terms(fed: Served) -> None:
    stream = follow(fed)
    first = next(stream)
    assert first.complete
    fed.hub.store.resources.update_hash_set("alpha", "list", {"marking": Marking()})
    told = next(stream)
    assert [(c.kind, c.name) for c in told.changes] == [
        (v1.ChangeKind.CHANGE_KIND_WITHDRAW, "contributors/alpha/hashSets/list")
    ]
