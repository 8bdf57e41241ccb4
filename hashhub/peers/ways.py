"""By which peer each hash set is taken: one way for each, so that what comes by two is one, and none goes round.

The hub that states it, where this one is joined to it, whatever others offer of it: what it withdraws from this hub
comes by no other way. Otherwise the way that it comes by already, then the peer that is trusted most, then the one that
was joined first. What a peer says of the hubs between decides nothing: it could say anything.

A contributor has one letter here, that of the way on which its first hash set came. A peer that is trusted less gives
nothing in its name.
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
        self._taken: dict[str, dict[str, bool]] = {}  # by peer; whether a hash set, or one of a contributor, is taken
        self._filled: set[str] = set()
        for peer, offers in peers:
            self.tell(peer, offers, is_filled=False)

    def tell(self, peer: Peer, offers: Mapping[str, Offer], *, is_filled: bool) -> None:
        """Take over what a peer offers. `is_filled`: it was followed to the end, so that this is all."""
        with self._lock:
            self._peers[peer.name] = peer
            taken = self._taken[peer.name] = {}
            for offer in offers.values():
                for key in () if offer.problem else (offer.local, offer.local.partition("/")[0]):
                    taken[key] = taken.get(key, False) or offer.is_taken
            self._filled |= {peer.name} if is_filled else set()

    def drop(self, name: str) -> None:
        """Forget a peer that is left."""
        with self._lock:
            del self._peers[name], self._taken[name]
            self._filled.discard(name)

    def chosen(self, hub: str, local: str) -> str:
        """Return by which peer a hash set of a hub is taken; empty: by none. It stands here as `local`."""
        with self._lock:
            if hub in self._peers and (hub in self._filled or local in self._taken[hub]):
                return hub if local in self._taken[hub] else ""
            first = next(iter(self._ways(local.partition("/")[0])), "")
            return next((n for n in self._ways(local) if self._peers[n].trust <= self._peers[first].trust), "")

    def describing(self, hub: str, contributor: str) -> str:
        """Return which peer says who a contributor of a hub is; empty: none does. It is called `contributor` here."""
        with self._lock:
            return hub if hub in self._peers else next(iter(self._ways(contributor)), "")

    def _ways(self, what: str) -> list[str]:
        """Return the peers that offer a hash set, or something of a contributor, the one to be preferred first."""

        def order(name: str) -> tuple[object, ...]:
            peer = self._peers[name]
            joined = peer.join_time.timestamp() if peer.join_time else float("inf")
            return not self._taken[name][what], peer.trust, joined, name

        return sorted((name for name, taken in self._taken.items() if what in taken), key=order)
