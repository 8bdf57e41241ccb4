"""By which peer each hash set is taken: one way for each, so that what comes by two is one, and none goes round.

The hub that states it, where this one is joined to it, whatever others offer of it: what it withdraws from this hub
comes by no other way. Otherwise the peer with the fewest hubs between, and of these the one that was joined first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashhub.peers.state import Offer, Peer


class Ways:
    """What all peers offer; shared by the threads that follow them."""

    def __init__(self, peers: Iterable[tuple[Peer, Mapping[str, Offer]]] = ()) -> None:
        self._lock = threading.Lock()
        self._peers: dict[str, Peer] = {}
        self._distances: dict[str, dict[str, int]] = {}
        self._filled: set[str] = set()
        for peer, offers in peers:
            self.tell(peer, offers, is_filled=False)

    def tell(self, peer: Peer, offers: Mapping[str, Offer], *, is_filled: bool) -> None:
        """Take over what a peer offers. `is_filled`: it was followed to the end, so that this is all."""
        with self._lock:
            self._peers[peer.name] = peer
            self._distances[peer.name] = {o.local: o.distance for o in offers.values() if not o.problem}
            self._filled |= {peer.name} if is_filled else set()

    def drop(self, name: str) -> None:
        """Forget a peer that is left."""
        with self._lock:
            del self._peers[name], self._distances[name]
            self._filled.discard(name)

    def chosen(self, hub: str, local: str) -> str:
        """Return by which peer a hash set of a hub is taken; empty: by none. It stands here as `local`."""
        with self._lock:
            if hub in self._peers and (hub in self._filled or local in self._distances[hub]):
                return hub if local in self._distances[hub] else ""
            ways = [(of[local], self._joined(name), name) for name, of in self._distances.items() if local in of]
            return min(ways)[2] if ways else ""

    def _joined(self, name: str) -> float:
        at = self._peers[name].join_time
        return at.timestamp() if at else float("inf")
