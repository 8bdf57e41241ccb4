"""How two hubs come together and part: lines, the contributor and token that each has for the other."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hashhub.client import Client
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hashhub.local_files import make_directory
from hashhub.model import Contributor, ContributorKind, Principal, Reliability, Role, now
from hashhub.peers.line import JoinLine, client_of
from hashhub.peers.state import Peer, PeerStatus, all_offers, begin, keep_secret, opened, path_of, remove
from hashhub.peers.taking import Taking
from hashhub.peers.ways import Ways

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE_LIFE: Final = timedelta(days=7)
_GRACE: Final = timedelta(hours=1)  # for which a line's secret works once it was taken, should the taking be cut off


def invitation(directory: Path, hub: Client, name: str, *, address: str, ca: str, country: str) -> str:
    """Return a line that invites a hub; an earlier one works no more. Raises AlreadyExists for one that is joined."""
    if path_of(directory, name).exists():
        with opened(directory, name) as state:
            before = state.peer()
        if before.address:
            raise AlreadyExists(
                f"{name!r} is joined already; to join it anew, leave it first: hashhub peer leave {name}"
            )
        hub.delete_token(before.token)
        remove(directory, name)
    return _line(directory, hub, Peer(name=name, hub=own_name(hub), token=""), address, ca, country).text


def accepted(
    directory: Path,
    hub: Client,
    line: JoinLine,
    letters: Mapping[Reliability, Reliability],
    *,
    address: str,
    ca: str,
    country: str,
) -> str:
    """Take a line, and return the one for who gave it; empty: that one was the answer to an invitation."""
    own = own_name(hub)
    if line.to != own or line.hub == own:
        raise InvalidArgument.field(
            "line", f"invites {line.to}, and this hub is {own}; ask for a line for {own}", "PATTERN"
        )
    given = Peer(
        name=line.hub,
        hub=own,
        token="",
        jurisdiction=line.jurisdiction,
        address=line.address,
        ca=line.ca,
        join_time=now(),
        letters=dict(letters),
    )
    is_answer = path_of(directory, line.hub).exists()
    if is_answer:
        with opened(directory, line.hub) as state:
            before = state.peer()
        if before.address:
            raise AlreadyExists(f"{line.hub!r} is joined already; to join it anew: hashhub peer leave {line.hub}")
    elif not address:
        raise InvalidArgument.field(
            "address", "is needed in the line for the other operator: give --address", "REQUIRED"
        )
    with client_of(line.address, line.secret, line.ca) as there:
        secret = there.rotate_token(line.token, _GRACE)  # from here on the line is of no use to others
    make_directory(directory, field="dir")
    keep_secret(directory, line.hub, secret)
    if not is_answer:
        return _line(directory, hub, given, address, ca, country).text
    with opened(directory, line.hub) as state, state.transaction():
        state.save(replace(given, token=before.token))
    return ""


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


def _line(directory: Path, hub: Client, peer: Peer, address: str, ca: str, country: str) -> JoinLine:
    """Make the contributor and token of a peer, and its state; return the line that gives it the token."""
    try:
        if hub.get_contributor(peer.name).retire_time is not None:
            raise FailedPrecondition(f"the contributor {peer.name} is retired, and no hub can be called so any more")
    except NotFound:
        hub.create_contributor(
            Contributor(
                id=peer.name,
                display_name=f"Hub {peer.name}",
                kind=ContributorKind.CLEARINGHOUSE,
                jurisdiction=peer.jurisdiction,
            )
        )
    until = now() + _LINE_LIFE
    token = f"peer-{peer.name[:48]}-{secrets.token_hex(4)}"  # no name is ever used again
    secret = hub.create_token(
        Principal(name=token, role=Role.PEER, contributor=peer.name, may_mirror=True, expire_time=until)
    )
    make_directory(directory, field="dir")
    begin(directory, replace(peer, token=token))
    return JoinLine(
        hub=peer.hub,
        to=peer.name,
        jurisdiction=country,
        address=address,
        secret=secret,
        token=token,
        expire_time=until,
        ca=ca,
        offered=offered(hub, token),
    )
