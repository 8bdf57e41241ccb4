"""What a hub tells of the hubs that it is joined to, to operators alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.hub import edges
from hashhub.model import REPORT, PeerStatus, Principal, Role, now
from hashhub.peers.run import keep_given, write_reports
from hashhub.peers.state import all_offers, secret
from tests.peers.conftest import Nation


def test_a_hub_tells_how_far_its_peers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = Nation(tmp_path, "a"), Nation(tmp_path, "b", peers=str(tmp_path / "b-peers"))
    try:
        a.contribute("line", "list")
        b.contribute("desk", "own")
        a.invite(b)
        b.settle()
        keep_given(b.peers, b.hub, [peer for peer, _ in all_offers(b.peers)])
        write_reports(b.peers)
        [peer] = b.hub.partners().peers
        assert (peer.name, peer.status, peer.is_late) == ("a", PeerStatus.OK, False)
        assert (peer.taken, peer.given) == ({"GREEN": 1}, {"GREEN": 1})
        assert not b.hub.status().warnings
        assert secret(b.peers, "a") not in (b.peers / REPORT).read_text()
        token = b.hub.create_token(Principal(name="desk", role=Role.CONTRIBUTOR, contributor="desk"))
        with Client(b.address, token) as desk:
            assert desk.partners().peers == ()

        later = now() + timedelta(hours=1)
        monkeypatch.setattr(edges, "now", lambda: later)
        [peer] = b.hub.partners().peers
        assert peer.is_late
        [silent, behind] = b.hub.status().warnings
        assert "hashhub peer run" in silent
        assert behind.startswith("peer a")
    finally:
        a.close()
        b.close()
