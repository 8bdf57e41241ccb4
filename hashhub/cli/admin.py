"""`hashhub token …` and `hashhub status`."""

from __future__ import annotations

import os
from typing import Final

import click

from hashhub.cli.session import Session, choice, chosen, command, spelled
from hashhub.cli.terminal import clean, note, plain, print_json, say, table
from hashhub.errors import AlreadyExists, InvalidArgument
from hashhub.model import Principal, Role


@click.group("token")
def token() -> None:
    """Tokens: who may do what."""


@command(token, "create")
@click.argument("name")
@click.option("--role", type=choice(Role), required=True, help="What it may do.")
@click.option("--contributor", default="", metavar="ID", help="For whom a contributor's token writes.")
@click.option(
    "--purpose", "purposes", multiple=True, metavar="TEXT", help="Why its holder may see entries; repeatable."
)
@click.option(
    "--out", metavar="FILE", help="Write the secret to a new file that only you can read, instead of printing it."
)
def create_token(
    session: Session, *, name: str, role: str, contributor: str, purposes: tuple[str, ...], out: str | None
) -> None:
    """Create a token and print its secret.

    The hub keeps only the secret's hash: it cannot be shown again.
    """
    new = Principal(name=name, role=chosen(Role, role), contributor=contributor, purposes=purposes)
    with session.connect() as hub:
        # The file comes first: a secret that could not be written down would be lost.
        file = _new_file(out) if out else None
        try:
            secret = hub.create_token(new)
        except BaseException:
            if file is not None and out is not None:
                os.close(file)
                os.unlink(out)  # noqa: PTH108 - beside os.close, which has no other form
            raise
    if file is not None:
        with os.fdopen(file, "w", encoding="ascii") as f:
            f.write(secret + "\n")
    if session.json:
        print_json({**_described(new), **({} if out else {"secret": secret})})
        return
    if out:
        note(f"wrote the secret of {name} to {clean(out)}")
    else:
        say(secret)


@command(token, "list")
def list_tokens(session: Session) -> None:
    """List the tokens, without their secrets."""
    with session.connect() as hub:
        found = list(hub.list_tokens())
    if session.json:
        for p in found:
            print_json(_described(p))
        return
    table(
        ("token", "role", "contributor", "purposes"),
        [(p.name, spelled(p.role), p.contributor or "-", ", ".join(p.purposes) or "-") for p in found],
    )


@command(token, "delete")
@click.argument("name")
def delete_token(session: Session, *, name: str) -> None:
    """Delete a token: it stops working within a second."""
    with session.connect() as hub:
        hub.delete_token(name)
    if session.json:
        print_json({"name": name, "deleted": True})
        return
    say(f"deleted {clean(name)}")


@command(None, "status")
def status(session: Session) -> None:
    """Show the state of the hub."""
    with session.connect() as hub:
        found = hub.status()
    if session.json:
        print_json(plain(found))
        return
    behind = found.revision - found.matcher_revision
    say(clean(f"hashhub {found.version} on {found.database.lower()}, revision {found.revision}"))
    say(
        "the matcher has caught up"
        if behind <= 0
        else f"the matcher is at revision {found.matcher_revision}, catching up"
    )
    table(
        ("algorithm", "digests", "in the tail", "engine"),
        [(a.algorithm, f"{a.digest_count:,}", f"{a.tail_count:,}", a.engine) for a in found.algorithms],
    )
    for warning in found.warnings:
        say(f"warning: {clean(warning)}")


def _described(p: Principal) -> dict[str, object]:
    return {"name": p.name, "role": p.role, "contributor": p.contributor, "purposes": list(p.purposes)}


def _new_file(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as e:
        raise AlreadyExists(f"{path!r} exists already; name a new file") from e
    except OSError as e:
        raise InvalidArgument.field("out", f"cannot be written: {e.strerror or type(e).__name__}") from e


COMMANDS: Final = (token, status)
