"""`hashhub entry …` and `hashhub review …`: single statements, and what others say about them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import click

from hashhub.cli.session import Session, choice, chosen, command, spelled
from hashhub.cli.terminal import plain, print_json, say, table
from hashhub.model import Entry, EntryState, Review, ReviewKind
from hashhub.schemes.dimensions import words

_ENTRY: Final = click.argument("name", metavar="CONTRIBUTOR/SET/ENTRY")
_DRY_RUN: Final = click.option("--validate-only", is_flag=True, help="Check everything and change nothing.")


@click.group("entry")
def entry() -> None:
    """Media items as one contributor states them."""


@command(entry, "get")
@_ENTRY
def get_entry(session: Session, *, name: str) -> None:
    """Show an entry with everything that is known about it."""
    with session.connect() as hub:
        _show(session, hub.get_entry(name))


@command(entry, "list")
@click.argument("hash_set", metavar="CONTRIBUTOR/SET")
@click.option("--state", "states", multiple=True, type=choice(EntryState), help="Only these; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N entries. Default: all.")
def list_entries(session: Session, *, hash_set: str, states: tuple[str, ...], limit: int | None) -> None:
    """List the entries of a hash set in order of their ids."""
    with session.connect() as hub:
        found: Iterable[Entry] = hub.list_entries(hash_set, [chosen(EntryState, s) for s in states])
        found = islice(found, limit)
        if session.json:
            for e in found:
                print_json(plain(e))
            return
        table(
            ("entry", "state", "hashes", "classification", "why", "position"),
            [
                (
                    e.name,
                    spelled(e.state),
                    ", ".join(h.algorithm for h in e.hashes),
                    _said(e),
                    ", ".join(e.reasons),
                    e.provenance.position,
                )
                for e in found
            ],
        )


@command(entry, "withdraw")
@_ENTRY
@_DRY_RUN
def withdraw_entry(session: Session, *, name: str, validate_only: bool) -> None:
    """Withdraw an entry.

    It stops matching everywhere within a second; its history stays. Doing it twice is a success.
    """
    with session.connect() as hub:
        _show(session, hub.withdraw_entry(name, validate_only=validate_only))


@command(entry, "release")
@_ENTRY
@_DRY_RUN
def release_entry(session: Session, *, name: str, validate_only: bool) -> None:
    """Release a quarantined entry: it matches from now on.

    Needs an operator's token.
    """
    with session.connect() as hub:
        _show(session, hub.release_entry(name, validate_only=validate_only))


@command(entry, "quarantine")
@_ENTRY
@_DRY_RUN
def quarantine_entry(session: Session, *, name: str, validate_only: bool) -> None:
    """Quarantine an active entry: it stops matching.

    It matches again when it is released. Needs an operator's token.
    """
    with session.connect() as hub:
        _show(session, hub.quarantine_entry(name, validate_only=validate_only))


@click.group("review")
def review() -> None:
    """Statements by others about entries. They are only ever added."""


@command(review, "add")
@_ENTRY
@click.option("--kind", type=choice(ReviewKind), required=True, help="What it states.")
@click.option("--comment", default="", metavar="TEXT", help="In your words. No case data.")
@_DRY_RUN
def add_review(session: Session, *, name: str, kind: str, comment: str, validate_only: bool) -> None:
    """State something about an entry.

    The author is whoever the token belongs to.
    """
    with session.connect() as hub:
        _show_reviews(
            session, [hub.create_review(name, chosen(ReviewKind, kind), comment, validate_only=validate_only)]
        )


@command(review, "list")
@_ENTRY
def list_reviews(session: Session, *, name: str) -> None:
    """List the reviews of an entry, oldest first."""
    with session.connect() as hub:
        _show_reviews(session, list(hub.list_reviews(name)))


def _said(e: Entry) -> str:
    c = e.classification
    return f"{c.scheme}@{c.version} {c.value}" if c else "-"


def _show(session: Session, e: Entry) -> None:
    if session.json:
        print_json(plain(e))
        return
    p = e.provenance
    rows: list[tuple[str, object]] = [("entry", e.name), ("state", spelled(e.state))]
    rows += [("why", reason) for reason in e.reasons]
    rows += [("hash", h.text) for h in e.hashes]
    if e.classification:
        c = e.classification
        rows.append(
            ("classification", f"{_said(e)}" + (f" ({c.region})" if c.region else "") + f", {spelled(c.status)}")
        )
        rows += [(name, words(name, values)) for name, values in c.dimensions.items()]
    flags = e.flags
    stated = {f: getattr(flags, f) for f in flags.__struct_fields__ if getattr(flags, f) is not None}
    rows += [(f.replace("_", " "), "yes" if value else "no") for f, value in stated.items()]
    optional = {
        "external id": e.external_id,
        "media type": e.media_type,
        "media size": e.media_size,
        "series": e.series,
        "tags": ", ".join(e.tags),
        "PDQ quality": e.quality,
        "source time": e.source_time,
        "stated by": p.member,
    }
    rows += [(name, value) for name, value in optional.items() if value not in (None, "")]
    rows += [
        ("import", f"{e.contributor}/{e.hash_set}/{p.import_id}"),
        ("read by", f"{p.connector} {p.connector_version}"),
        ("position", p.position),
        ("source SHA-256", p.source_digest),
        ("visible since", f"revision {e.create_revision}"),
        ("last changed", f"revision {e.update_revision}"),
    ]
    table(("field", "value"), rows)


def _show_reviews(session: Session, found: list[Review]) -> None:
    if session.json:
        for r in found:
            print_json(plain(r))
        return
    if not found:
        say("no reviews")
        return
    table(
        ("author", "states", "comment", "time"),
        [
            (r.author, spelled(r.kind), r.comment, r.create_time.isoformat(" ", "seconds") if r.create_time else "-")
            for r in found
        ],
    )


COMMANDS: Final = (entry, review)
