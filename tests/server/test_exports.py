"""Exports through the real door: what comes, for whom, how much of the server it takes, and how it ends."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from hashhub import v1, wire
from hashhub.client import Client
from hashhub.errors import InvalidArgument, LimitExceeded, NotFound, PermissionDenied, Unauthenticated, Unavailable
from hashhub.model import TLP, Marking, Principal, Role, now
from tests.hub.conftest import OPERATOR, Desk, item
from tests.hub.test_peers import foreign
from tests.server.calls import ending
from tests.server.conftest import Serve, Served

OPEN = Marking(tlp=TLP.CLEAR, bulk=True)
LIST = "contributors/alpha/hashSets/list"


@pytest.fixture
def listing(serve_hub: Serve) -> Served:
    """A hub with one list that may leave, and one that may not."""
    served: Served = serve_hub(drain_seconds=60.0)
    desk = Desk(served.hub)
    desk.hash_set("alpha/list", marking=OPEN)
    desk.hash_set("alpha/secret", marking=Marking(tlp=TLP.RED, recipients=("contributors/gamma",)))
    desk.contribute("alpha/list", *(item(n, external_id=f"x{n}", tags=("a",)) for n in range(5)))
    desk.contribute("alpha/secret", item(1))
    return served


def export(served: Served, *names: str, who: str = "OPERATOR", **fields: Any) -> Iterator[v1.ExportEntriesResponse]:
    ask = served.channel.unary_stream(
        "/hashhub.v1.ContributionService/ExportEntries",
        v1.ExportEntriesRequest.SerializeToString,
        v1.ExportEntriesResponse.FromString,
    )
    request = v1.ExportEntriesRequest(hash_sets=names, **fields)
    stream: Iterator[v1.ExportEntriesResponse] = ask(request, metadata=served.metadata(who), timeout=60)
    return stream


def with_more_than_the_transport_takes(served: Served) -> Served:
    """Fill a list whose export stays in progress while nobody reads it: 10 MB, as no two items share their series (a
    piece holds a series that all share once).
    """
    desk = Desk(served.hub)
    desk.hash_set("alpha/list", marking=OPEN)
    desk.contribute("alpha/list", *(item(n, series=f"{n}" + "s" * 1000) for n in range(9_000)), batch=3_000)
    return served


def test_gives_what_holds_for_all_entries_and_then_the_entries(listing: Served) -> None:
    head, *pieces = export(listing, LIST, format="vics", recipient="the prosecutor")
    assert (head.revision, head.entry_count, head.delta) == (listing.hub.revision() - 1, 5, False)
    assert [s.name for s in head.hash_sets] == [LIST]
    assert head.hash_sets[0].marking.tlp == v1.Tlp.TLP_CLEAR
    assert not head.entries
    entries = [e for piece in pieces for e in wire.exported_from_pb(piece)]
    assert [(e.external_id, e.provenance.position, e.tags) for e in entries] == [
        (f"x{n}", f"line {n}", ("a",)) for n in range(5)
    ]
    changes = list(export(listing, position=head.next_position))
    assert changes[0].delta
    assert len(changes) == 1


def test_access_says_what_feeds_and_exports_give(serve_hub: Serve) -> None:
    served = serve_hub()
    kinds: dict[str, str] = {}
    desk = Desk(served.hub)
    for tlp in TLP:
        for bulk, redistribution in ((False, False), (True, False), (True, True)):
            name = f"alpha/{tlp.lower().replace('_', '-')}-{bulk + redistribution}"
            recipients = ("contributors/alpha", "contributors/gone", "contributors/home") if tlp is TLP.RED else ()
            leaves = redistribution and tlp in {TLP.CLEAR, TLP.GREEN, TLP.AMBER}
            marking = Marking(tlp=tlp, bulk=bulk, redistribution=leaves, recipients=recipients)
            desk.hash_set(name, marking=marking)
            desk.contribute(name, item(len(kinds)))
            kinds[name] = f"contributors/alpha/hashSets/{name.partition('/')[2]}"
    desk.hub.contributors.create(OPERATOR, foreign("c--hotline", "c"))
    for tlp in (TLP.CLEAR, TLP.GREEN, TLP.AMBER):
        name = f"c--hotline/{tlp.lower()}"
        desk.hash_set(name, marking=Marking(tlp=tlp, bulk=True, redistribution=tlp is TLP.AMBER))
        desk.contribute(name, item(len(kinds)))
        kinds[name] = f"contributors/c--hotline/hashSets/{tlp.lower()}"
    secrets = {}
    for contributor in ("alpha", "home", "gone"):
        for role in Role:
            for may_mirror in (False, True):
                name = f"{contributor}-{role.lower()}-{int(may_mirror)}"
                token = Principal(name=name, role=role, contributor=contributor, may_mirror=may_mirror)
                _, secrets[name] = desk.hub.tokens.create(OPERATOR, token)
    desk.hub.contributors.retire(OPERATOR, "gone", "left", withdraw_entries=False)
    told = Principal(name="home-auditor-1", role=Role.AUDITOR, expire_time=now())
    desk.hub.tokens.update(OPERATOR, told, ["expire_time"])
    said, given = {}, {}
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"]) as operator:
        for name, secret in secrets.items():
            access = operator.access(name)
            said[name] = {way: sorted(n for n in kinds if not access[n][way]) for way in ("FEED", "EXPORT")}
            given[name] = {"FEED": _fed(served, secret), "EXPORT": []}
            for hash_set, resource in kinds.items():
                with contextlib.suppress(grpc.RpcError):
                    if next(export(served, resource, who=secret)).entry_count:
                        given[name]["EXPORT"].append(hash_set)
            given[name]["EXPORT"].sort()
    assert said == given
    assert all(any(given[name][way] for name in given) for way in ("FEED", "EXPORT"))


def _fed(served: Served, secret: str) -> list[str]:
    with Client(served.doors.grpc_address, secret) as client, contextlib.suppress(PermissionDenied, Unauthenticated):
        changes = [change for page in client.list_changes() for change in page.changes]
        return sorted({f"{c.entry.contributor}/{c.entry.hash_set}" for c in changes if c.entry is not None})
    return []


@pytest.mark.parametrize("who", ["CONSUMER", "CONTRIBUTOR"])
def test_every_role_gets_what_the_terms_let_it_hand_on(listing: Served, who: str) -> None:
    assert next(export(listing, LIST, who=who)).entry_count == 5
    hidden, missing = (
        ending(export(listing, f"contributors/alpha/hashSets/{name}", who=who)) for name in ("secret", "nothing")
    )
    assert isinstance(hidden, NotFound)
    assert hidden.message.replace("secret", "nothing") == missing.message
    by_policy = next(export(listing, policy="any", who=who))
    assert [s.name for s in by_policy.hash_sets] == [LIST]
    assert not by_policy.left_out


def test_an_overseer_is_told_what_may_not_leave(listing: Served) -> None:
    for who in ("OPERATOR", "AUDITOR"):
        assert isinstance(ending(export(listing, "contributors/alpha/hashSets/secret", who=who)), PermissionDenied)
        by_policy = next(export(listing, policy="any", who=who))
        assert [(x.hash_set, x.entry_count) for x in by_policy.left_out] == [("contributors/alpha/hashSets/secret", 1)]


@pytest.mark.parametrize(
    "fields", [{}, {"policy": "none"}, {"position": "x"}, {"policy": "any", "position": "x"}, {"recipient": "\0"}]
)
def test_refuses_what_chooses_nothing(listing: Served, fields: dict[str, str]) -> None:
    assert isinstance(ending(export(listing, **fields)), InvalidArgument)


def test_too_many_names_are_refused(listing: Served) -> None:
    names = [f"contributors/alpha/hashSets/n{n}" for n in range(1001)]
    assert isinstance(ending(export(listing, *names)), InvalidArgument)


def test_a_caller_who_goes_away_gives_the_place_back(serve_hub: Serve) -> None:
    served = with_more_than_the_transport_takes(serve_hub())
    room = served.doors.pipeline.limiters["exports"]
    streams = [export(served, LIST) for _ in range(room.most_each)]
    for stream in streams:
        next(stream)
    assert room.depth[0] == room.most_each
    for stream in streams:
        stream.cancel()  # type: ignore[attr-defined]
    until = time.monotonic() + 180
    while room.depth != (0, 0) and time.monotonic() < until:
        time.sleep(0.05)
    assert room.depth == (0, 0)
    assert len(list(export(served, LIST))) == 1 + 5  # pieces of 2,000


def test_a_caller_who_takes_nothing_is_cut_off(serve_hub: Serve) -> None:
    """It held its place for ever; two tokens held all of them."""
    served = with_more_than_the_transport_takes(serve_hub(slow_sender_seconds=1.0))
    # A client that measures its line may take all of it in advance.
    options = (("grpc.http2.bdp_probe", 0),)
    channel = grpc.insecure_channel(served.doors.grpc_address, options)
    stream = export(replace(served, channel=channel), LIST)
    next(stream)
    room = served.doors.pipeline.limiters["exports"]
    until = time.monotonic() + 180
    while room.depth != (0, 0) and time.monotonic() < until:
        time.sleep(0.05)
    assert room.depth == (0, 0)
    assert "CANCELLED" in str(ending(stream))
    channel.close()


def test_one_token_cannot_take_all_places(serve_hub: Serve) -> None:
    served = with_more_than_the_transport_takes(serve_hub(token_streams=1))
    first = export(served, LIST)
    next(first)
    error = ending(export(served, LIST))
    assert isinstance(error, LimitExceeded)
    first.cancel()  # type: ignore[attr-defined]


def test_a_server_that_stops_ends_it(serve_hub: Serve) -> None:
    served = with_more_than_the_transport_takes(serve_hub(drain_seconds=5.0))
    stream = export(served, LIST)
    next(stream)
    served.doors.stopping.set()
    assert isinstance(ending(stream), Unavailable)


def test_a_deleted_token_ends_it(serve_hub: Serve) -> None:
    served = with_more_than_the_transport_takes(serve_hub())
    _, secret = served.hub.tokens.create(OPERATOR, Principal(name="app", role=Role.CONSUMER, contributor="alpha"))
    served.tokens["app"] = secret
    stream = export(served, LIST, who="app")
    next(stream)
    served.hub.tokens.delete(OPERATOR, "app")
    time.sleep(1.2)  # for so long a token that was just let in works on
    received: list[int] = []
    with pytest.raises(grpc.RpcError):
        received.extend(len(piece.entries) for piece in stream)
    assert sum(received) < 9_000


def test_many_entries_take_little_memory(serve_hub: Serve) -> None:
    """30,000 entries go through; what the server holds of them at a time is a few pieces, and their ids."""
    served: Served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("alpha/list", marking=OPEN)
    count = 30_000
    desk.contribute("alpha/list", *(item(n, algorithms=("MD5",)) for n in range(count)), batch=10_000)
    received = 0
    tracemalloc.start()
    try:
        for piece in export(served, LIST):
            received += len(piece.entries)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received == count
    assert peak < 10 << 20, f"{peak >> 20} MiB at once for {count} entries"
