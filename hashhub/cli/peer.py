"""`hashhub peer …`: other hubs that this one is joined to."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command, directory_option, options
from hashhub.cli.terminal import clean, minute, note, table
from hashhub.errors import InvalidArgument
from hashhub.local_files import named_file
from hashhub.model import Reliability
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.peers.joining import OwnAddress
    from hashhub.peers.state import Followed, Offer, Peer

_DIRECTORY: Final = directory_option("peers", "Where it is kept who is joined, and how far each was followed")
_LETTERS: Final = click.option(
    "--reliability", "letters", multiple=True, metavar="A=B", help="Letter here for one there; others are F."
)
_ADDRESS: Final = click.option("--address", metavar="HOST:PORT", help="Where the other hub reaches this one, by TLS.")
_OWN_CA: Final = click.option(
    "--own-ca-file", metavar="FILE", help="PEM file with the authority of this hub's certificate, unless it is public."
)
_COUNTRY: Final = click.option(
    "--country", default="ZZ", show_default=True, metavar="CODE", help="This hub's (ISO 3166-1)."
)
_OWN: Final = options(_ADDRESS, _OWN_CA, _COUNTRY)


@main.group("peer", cls=CommandGroup)
def peer() -> None:
    """Peers: other hubs that this one is joined to."""


@command(peer, "name")
@click.argument("name")
def name_hub(session: Session, *, name: str) -> None:
    """Give this hub the name by which others know it, for good: 1 to 63 of a-z, 0-9 and -."""
    with session.connect() as hub:
        name = hub.name_hub(name)
    session.answer({"hub": name}, f"this hub is {clean(name)}")


@command(peer, "invite")
@click.argument("name")
@_DIRECTORY
@_OWN
def invite(session: Session, *, name: str, directory: Path, **own: Any) -> None:
    """Print a line that invites the hub NAME, for its operator. It is a secret, works once and for seven days.

    NAME is what that hub is called: `hashhub peer join` there refuses the line otherwise.
    """
    from hashhub.peers.joining import invitation

    with session.connect() as hub:
        line = invitation(directory, hub, name, _own(own))
    session.answer({"line": line}, line)
    note("give it to the operator of that hub, by a way that nobody else reads; `hashhub peer join` takes the answer")


@command(peer, "join")
@click.argument("line", metavar="LINE|-")
@_DIRECTORY
@_OWN
@_LETTERS
@click.option("--yes", is_flag=True, help="Do not ask.")
def join(session: Session, *, line: str, directory: Path, letters: tuple[str, ...], yes: bool, **own: Any) -> None:
    """Join the hub whose operator gave LINE (`-`: on standard input), and print the line for that operator.

    Who invited gives the line that came back to the same command, and is joined.
    """
    from hashhub.peers import line as lines
    from hashhub.peers.joining import accepted

    said = lines.read(sys.stdin.read() if line == "-" else line)
    rows = [("hub", said.hub), ("country", said.jurisdiction), ("address", said.address)]
    rows += [("its certificate", "of the authority in the line" if said.ca else "of a public authority")]
    rows += [("offers", ", ".join(f"{n} hash sets {tlp}" for tlp, n in said.offered.items()) or "nothing yet")]
    table(("", ""), rows, err=True)
    if not yes:
        click.confirm(f"Join {clean(said.hub)}?", abort=True, err=True)
    with session.connect() as hub:
        answer = accepted(directory, hub, said, _letters(letters), _own(own))
    session.answer({"name": said.hub, "line": answer}, answer or f"joined {clean(said.hub)}")
    if answer:
        note(f"give it to the operator of {clean(said.hub)}, by a way that nobody else reads")


def _own(given: dict[str, Any]) -> OwnAddress:
    from hashhub.peers.joining import OwnAddress

    file = given["own_ca_file"]
    ca = named_file("own-ca-file", file).decode("ascii", "replace") if file else ""
    return OwnAddress(given["address"] or "", ca, given["country"])


def _letters(given: tuple[str, ...]) -> dict[Reliability, Reliability]:
    try:
        return {Reliability(there): Reliability(here) for there, _, here in (text.partition("=") for text in given)}
    except ValueError as e:
        raise InvalidArgument.field("reliability", "must be as A=B, with letters from A to F", "PATTERN") from e


@command(peer, "list", local=True)
@_DIRECTORY
def list_peers(session: Session, *, directory: Path) -> None:
    """List the peers: since when, how far behind, what comes and goes by label, and what holds it up."""
    _show(session, directory)


def _show(session: Session, directory: Path) -> None:
    from hashhub.peers.state import names, opened

    rows = []
    for name in names(directory):
        with opened(directory, name) as state:
            rows.append((state.peer(), state.followed(), state.offers(), state.given().offered, state.count()))
    session.show(
        rows,
        ("peer", "status", "joined", "complete at", "entries", "hash sets taken", "given"),
        lambda row: _row(*row),
        empty="no peer; hashhub peer invite begins with one",
        as_json=lambda row: _as_json(*row),
    )
    if session.json:
        return
    ways = {o.local: one.name for one, _, offers, *_ in rows for o in offers.values() if o.is_taken}
    joined = {one.name for one, *_ in rows}
    for one, followed, offers, *_ in rows:
        told = [followed.detail, *(f"{o.local}: {o.problem}" for o in offers.values() if o.problem)]
        told += [f"{o.local}: a second person is needed for: {o.waits}" for o in offers.values() if o.waits]
        for o in offers.values():
            if not o.is_taken and not o.problem and o.hub not in joined:
                told.append(
                    f"{o.local}: not taken from this peer, which says that {o.distance - 1} hubs are between; "
                    f"what stands of it comes from {ways.get(o.local, 'none')}"
                )
        for text in filter(None, told):
            note(f"{clean(one.name)}: {clean(text)}")


def _row(
    one: Peer, followed: Followed, offers: dict[str, Offer], offered: dict[str, int], count: int
) -> tuple[object, ...]:
    taken = Counter(str(o.told.marking.tlp) for o in offers.values() if o.is_taken)
    labels = [", ".join(f"{n} {tlp}" for tlp, n in sorted(sets.items())) or "-" for sets in (taken, offered)]
    status = followed.status if one.address else "INVITED"
    return one.name, status, minute(one.join_time), minute(followed.complete_time), count, *labels


def _as_json(
    one: Peer, followed: Followed, offers: dict[str, Offer], offered: dict[str, int], count: int
) -> dict[str, object]:
    return {
        "name": one.name,
        "status": followed.status if one.address else "INVITED",
        "join_time": one.join_time,
        "complete_time": followed.complete_time,
        "answer_time": followed.answer_time,
        "entries": count,
        "detail": followed.detail,
        "offers": [
            {
                "hash_set": o.local,
                "tlp": o.told.marking.tlp,
                "is_taken": o.is_taken,
                "problem": o.problem,
                "waits": o.waits,
                "distance": o.distance,
            }
            for o in offers.values()
        ],
        "given": offered,
    }


@command(peer, "change", local=True)
@click.argument("name")
@_DIRECTORY
@_LETTERS
def change(session: Session, *, name: str, directory: Path, letters: tuple[str, ...]) -> None:
    """Give a peer's contributors other letters, in place of all that were given before.

    `hashhub peer run` takes them over within a minute. Who is trusted less may lose what it gives in others' names.
    """
    from msgspec.structs import replace

    from hashhub.peers.state import opened

    given = _letters(letters)
    with opened(directory, name) as state, state.transaction():
        state.save(replace(state.peer(), letters=given))
    session.answer({"name": name, "letters": given}, f"letters of {clean(name)}: {', '.join(letters) or 'all F'}")


@command(peer, "run")
@_DIRECTORY
def run_all(session: Session, *, directory: Path) -> None:
    """Follow all peers, until interrupted: what they state and withdraw is stated and withdrawn here.

    One process does so for a hub; a second one says so and ends. DIR/peers.prom has metrics. In the end peers are
    listed.
    """
    from hashhub.peers.joining import own_name
    from hashhub.peers.run import run

    stop = threading.Event()
    with session.connect() as hub, stopping_on_signals(stop.set):
        run(directory, hub, own_name(hub), stop, lambda problem: note(clean(problem)))
    _show(session, directory)


@command(peer, "leave")
@click.argument("name")
@_DIRECTORY
@click.option("--yes", is_flag=True, help="Do not ask.")
def leave(session: Session, *, name: str, directory: Path, yes: bool) -> None:
    """Leave a peer: what it stated, or handed on, is withdrawn here, and what this hub offered it is withdrawn there.

    Kept are the history, the withdrawn entries with it, and the contributors; entries that another peer offers as well
    are taken from that one.
    """
    from hashhub.peers.joining import left
    from hashhub.peers.state import opened

    with opened(directory, name) as state:
        count = state.count()
    if not yes:
        click.confirm(f"Leave {clean(name)}, and withdraw {count:,} entries?", abort=True, err=True)
    with session.connect() as hub:
        left(directory, hub, name)
    session.answer({"name": name, "withdrawn": count}, f"left {clean(name)}; withdrawn here: {count:,} entries")
