"""A peer's token at the doors."""

from __future__ import annotations

from hashhub.client import Client
from hashhub.model import TLP, ChangeKind, Marking, PeerOrigin, Principal, ReviewKind, Role, WithdrawalReason
from hashhub.server.servicers import ROLES
from tests.hub.conftest import OPERATOR, Desk, item
from tests.hub.test_peers import foreign
from tests.server.conftest import Served


def test_a_peer_may_make_five_calls() -> None:
    assert {method.rpartition("/")[2] for method, roles in ROLES.items() if Role.PEER in roles} == {
        "ListChanges",
        "FollowChanges",
        "CreateReview",
        "GetCheckpoint",
        "RotateToken",
    }


def test_a_peer_by_the_client(served: Served) -> None:
    desk = Desk(served.hub)
    desk.contributor("b")
    desk.hash_set("alpha/list", marking=Marking(tlp=TLP.GREEN, bulk=True))
    desk.contribute("alpha/list", item(1))
    token = Principal(name="hub-b", role=Role.PEER, contributor="b", may_mirror=True)
    _, secret = desk.hub.tokens.create(OPERATOR, token)
    address = served.doors.grpc_address
    with Client(address, served.tokens["OPERATOR"]) as operator, Client(address, secret) as peer:
        assert (operator.name_hub("a"), operator.status().hub) == ("a", "a")
        made = operator.create_contributor(foreign("c--hotline", "c", "d"))
        assert made.origin == PeerOrigin(path=("c", "d"), contributor="hotline")
        moved = operator.update_contributor(foreign("c--hotline", "d"), ["origin"])
        assert moved == operator.get_contributor("c--hotline")
        assert moved.origin == PeerOrigin(path=("d",), contributor="hotline")
        following = peer.follow_changes(withdrawn_entries=True)
        page = next(following)
        assert page.hub == "a"
        (entry,) = [x.entry for x in page.changes if x.entry is not None]
        review = peer.create_review(entry.name, ReviewKind.FALSE_POSITIVE, member="hotline")
        assert review.author == "b/hotline"
        position = next(p.position for p in following if any(x.reviews for x in p.changes))
        operator.withdraw_entry(entry.name, WithdrawalReason.ERROR)
        listed = [x for p in peer.list_changes(position, withdrawn_entries=True) for x in p.changes]
        followed = next(p.changes for p in following if any(x.kind is ChangeKind.WITHDRAW for x in p.changes))
        for (gone,) in (listed, followed):
            assert gone.entry is not None
            assert gone.entry.hashes == entry.hashes
