"""How two hubs come together and part: lines, the contributor and token that each has for the other."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from hashhub.client import Client
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hashhub.local_files import make_directory
from hashhub.model import Contributor, ContributorKind, PeerStatus, Principal, Reliability, Role, now
from hashhub.peers.line import JoinLine, client_of
from hashhub.peers.state import Peer, all_offers, begin, keep_secret, opened, path_of, remove
from hashhub.peers.taking import Taking
from hashhub.peers.ways import Ways

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE_LIFE: Final = timedelta(days=7)
_GRACE: Final = timedelta(hours=1)  # for which a line's secret works once it was taken, should the taking be cut off


class OwnAddress(NamedTuple):
    """What a line says of this hub: where it is reached, the PEM of its certificate's authority, and its country."""

    address: str
    ca: str
    country: str


def invitation(directory: Path, hub: Client, name: str, own: OwnAddress) -> str:
    """Return a line that invites a hub; an earlier one works no more. Raises AlreadyExists for one that is joined."""
    if before := _invited(directory, name):
        hub.delete_token(before.token)
        remove(directory, name)
    return _line(directory, hub, Peer(name=name, hub=own_name(hub), token=""), own).text


def accepted(
    directory: Path, hub: Client, line: JoinLine, letters: Mapping[Reliability, Reliability], own: OwnAddress
) -> str:
    """Take a line, and return the one for who gave it; empty: that one was the answer to an invitation."""
    name = own_name(hub)
    if line.to != name or line.hub == name:
        told = f"invites {line.to}, and this hub is {name}; ask for a line for {name}"
        raise InvalidArgument.field("line", told, "PATTERN")
    before = _invited(directory, line.hub)
    if before is None and not own.address:
        told = "is needed in the line for the other operator: give --address"
        raise InvalidArgument.field("address", told, "REQUIRED")
    with client_of(line.address, line.secret, line.ca) as there:
        secret = there.rotate_token(line.token, _GRACE)  # from here on the line is of no use to others
    make_directory(directory, field="dir")
    keep_secret(directory, line.hub, secret)
    given = Peer(
        name=line.hub, hub=name, token=before.token if before else "", jurisdiction=line.jurisdiction,
        address=line.address, ca=line.ca, join_time=now(), letters=dict(letters),
    )  # fmt: skip
    if before is None:
        return _line(directory, hub, given, own).text
    with opened(directory, line.hub) as state, state.transaction():
        state.save(given)
    return ""


def _invited(directory: Path, name: str) -> Peer | None:
    """Return the peer that was invited, if any. Raises AlreadyExists for one that is joined."""
    if not path_of(directory, name).exists():
        return None
    with opened(directory, name) as state:
        peer = state.peer()
    if peer.address:
        raise AlreadyExists(f"{name!r} is joined already; to join it anew, leave it first: hashhub peer leave {name}")
    return peer


def left(directory: Path, hub: Client, name: str) -> None:
    """Leave a peer: end what it is offered, and withdraw what came by it and by no other."""
    with opened(directory, name) as state:
        peer = state.peer()
        with suppress(NotFound):
            hub.delete_token(peer.token)
        with state.transaction():
            state.save(replace(peer, is_left=True))
        with state.locked(wait=True):  # which the process that follows gives up within a second
            others = ((p, offers) for p, offers in all_offers(directory) if p.name != name)
            ways = Ways(others)
            ways.tell(peer, {}, is_filled=False)
            Taking(state, hub, peer.hub, ways).failed(PeerStatus.REFUSED, "it is left")
    remove(directory, name)


def own_name(hub: Client) -> str:
    """Return what this hub is called among hubs. Raises FailedPrecondition where it has no name yet."""
    if name := hub.status().hub:
        return name
    raise FailedPrecondition("this hub has no name among hubs yet; give it one, for good: hashhub peer name NAME")


def offered(hub: Client, token: str) -> dict[str, int]:
    """Return how many hash sets a peer has of this hub, by label."""
    sets = {one.name: one.marking.tlp for one in hub.list_hash_sets()}
    told = Counter(sets[name].value for name, ways in hub.access(token).items() if name in sets and not ways["FEED"])
    return dict(sorted(told.items()))


def _line(directory: Path, hub: Client, peer: Peer, own: OwnAddress) -> JoinLine:
    """Make the contributor and token of a peer, and its state; return the line that gives it the token."""
    try:
        if hub.get_contributor(peer.name).retire_time is not None:
            raise FailedPrecondition(f"the contributor {peer.name} is retired, and no hub can be called so any more")
    except NotFound:
        kind, title = ContributorKind.CLEARINGHOUSE, f"Hub {peer.name}"
        made = Contributor(id=peer.name, display_name=title, kind=kind, jurisdiction=peer.jurisdiction)
        hub.create_contributor(made)
    until = now() + _LINE_LIFE
    token = f"peer-{peer.name[:48]}-{secrets.token_hex(4)}"  # no name is ever used again
    secret = hub.create_token(
        Principal(name=token, role=Role.PEER, contributor=peer.name, may_mirror=True, expire_time=until)
    )
    make_directory(directory, field="dir")
    begin(directory, replace(peer, token=token))
    return JoinLine(
        hub=peer.hub, to=peer.name, jurisdiction=own.country, address=own.address, secret=secret, token=token,
        expire_time=until, ca=own.ca, offered=offered(hub, token),
    )  # fmt: skip
