"""`hashhub token …` and `hashhub status`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.session import (
    CommandGroup,
    Session,
    choice,
    chosen,
    command,
    given,
    moment,
    options,
    span,
    spelled,
    unless_never,
)
from hashhub.cli.terminal import clean, fields_of, minute, note, say, table, tell
from hashhub.errors import NotFound
from hashhub.model import Effort, Principal, Role, Shares
from hashhub.writing import written

if TYPE_CHECKING:
    from hashhub.client import Client


SECRET_OUT: Final = click.option(
    "--out", metavar="FILE", help="Write the secret to a new file that only you can read, instead of printing it."
)


@main.group("token", cls=CommandGroup)
def token() -> None:
    """Tokens: who may do what."""


def _shares(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, int] | None:
    """Return the shares of `NAME=NUMBER`, None when none is given."""
    shares = {}
    for text in given:
        name, _sign, number = text.replace("-", "_").partition("=")
        if name not in Shares.__struct_fields__ or not number.isdecimal():
            expected = ", ".join(field.replace("_", "-") for field in Shares.__struct_fields__)
            raise click.BadParameter(f"must be NAME=NUMBER, where NAME is one of {expected}; got {text[:60]!r}")
        shares[name] = int(number)
    return shares or None


_AS_SERVER: Final = "default"  # among efforts

_token_options: Final = options(
    click.option("--description", metavar="TEXT", help="Who holds it and where."),
    click.option(
        "--acts-for-others/--acts-for-itself",
        default=None,
        help="Whether its holder answers for clients of its own, which some terms exclude.",
    ),
    click.option("--may-mirror/--may-not-mirror", default=None, help="Whether it reads the change feed."),
    click.option(
        "--expires",
        "expire_time",
        type=moment,
        metavar="TIME",
        help="When it stops working: 2027-01-31 (its beginning, UTC), 2027-01-31T12:00:00Z, 30d, now, never.",
    ),
    click.option(
        "--max-effort",
        type=click.Choice([*(spelled(e) for e in Effort), _AS_SERVER], case_sensitive=False),
        help="With which effort the server hashes its media at most, whatever it asks for; default: as the server's "
        "settings say.",
    ),
    click.option(
        "--share",
        "shares",
        multiple=True,
        callback=_shares,
        metavar="NAME=NUMBER",
        help="How much of each of the server's processes it may take at a time: calls, streams, message-bytes, or "
        "media-seconds (of hashing, a minute). 0: as the server's settings say. Repeatable.",
    ),
)


@command(token, "create")
@click.argument("name")
@click.option("--role", type=choice(Role), required=True, help="What it may do.")
@click.option(
    "--contributor",
    default="",
    metavar="ID",
    help="To whom it belongs. Required, except for an operator's or auditor's: by default those are the hub's own.",
)
@click.option(
    "--purpose", "purposes", multiple=True, metavar="TEXT", help="Why its holder may see entries; repeatable."
)
@_token_options
@SECRET_OUT
def create_token(session: Session, *, name: str, purposes: tuple[str, ...], out: str | None, **options: Any) -> None:
    """Create a token and print its secret.

    The hub keeps only the secret's hash: it cannot be shown again.
    """
    fields = _stated(options)
    if "shares" in fields:
        fields["shares"] = Shares(**fields["shares"])
    new = Principal(name=name, purposes=purposes, **fields)

    def create(hub: Client) -> str:
        _note_unnamed(hub, purposes)  # first: once there is a secret, nothing may keep it from being printed
        return hub.create_token(new)

    show_secret(session, name, out, create)


def _note_unnamed(hub: Client, purposes: tuple[str, ...]) -> None:
    """Say of which purposes no hash set's terms speak: they are free words, and a misspelt one changes nothing."""
    if not purposes:
        return
    named = {purpose for hash_set in hub.list_hash_sets() for purpose in hash_set.marking.permitted_purposes}
    for purpose in dict.fromkeys(purposes):
        if purpose not in named:
            known = f"those that are named: {', '.join(sorted(named))}" if named else "none names any"
            note(clean(f"note: no hash set names the purpose {purpose!r}, so that it changes nothing yet; {known}"))


@command(token, "list")
def list_tokens(session: Session) -> None:
    """List the tokens, without their secrets."""
    with session.connect() as hub:
        tokens = list(hub.list_tokens())
    _show_tokens(session, tokens)


@command(token, "get")
@click.argument("name")
def get_token(session: Session, *, name: str) -> None:
    """Show a token, without its secret."""
    with session.connect() as hub:
        _show_tokens(session, [_token_named(hub, name)])


@command(token, "update")
@click.argument("name")
@click.option("--purpose", "purposes", multiple=True, metavar="TEXT", help="Replaces all of those before; repeatable.")
@click.option("--clear-purposes", is_flag=True, help="Removes all purposes.")
@_token_options
def update_token(
    session: Session, *, name: str, purposes: tuple[str, ...], clear_purposes: bool, **options: Any
) -> None:
    """Change a token. Only what is given changes, within a second everywhere; its role and contributor stay."""
    if purposes and clear_purposes:
        raise click.UsageError("--purpose and --clear-purposes exclude each other")
    fields = _stated(given({**options, "purposes": purposes if purposes or clear_purposes else None}))
    with session.connect() as hub:
        before = _token_named(hub, name)
        if "shares" in fields:
            fields["shares"] = msgspec.structs.replace(before.shares, **fields["shares"])
        changed = msgspec.structs.replace(before, **fields)
        _note_unnamed(hub, purposes)
        _show_tokens(session, [hub.update_token(changed, tuple(fields))])


@command(token, "rotate")
@click.argument("name")
@click.option(
    "--grace",
    type=span,
    default="1d",
    show_default=True,
    metavar="SPAN",
    help="How long the old secret works on: 30d at most, 12h, 90m, 0 for not at all.",
)
@SECRET_OUT
def rotate_token(session: Session, *, name: str, grace: timedelta, out: str | None) -> None:
    """Give a token a new secret and print it. The old one works on for a while.

    Operators rotate any token; every token can rotate itself. A secret that was still working on from an earlier
    rotation ends at once.
    """
    show_secret(session, name, out, lambda hub: hub.rotate_token(name, grace))


@command(token, "delete")
@click.argument("name")
def delete_token(session: Session, *, name: str) -> None:
    """Delete a token: it stops working within a second, and its name is never used again.

    One that terms name cannot be deleted; `token rotate NAME --grace 0` and `token update NAME --expires now` stop it
    as soon.
    """
    with session.connect() as hub:
        hub.delete_token(name)
    session.show_deleted(name)


@command(main, "status")
def status(session: Session) -> None:
    """Show the state of the hub.

    Of each algorithm's digests, those that are new were listed since the last snapshot: they are matched like all
    others, and a restart reads them anew.
    """
    with session.connect() as hub:
        state = hub.status()
    if session.print_if_json(state):
        return
    behind = state.revision - state.matcher_revision
    tell(clean(f"hashhub {state.version} on {state.database.lower()}, revision {state.revision}"))
    tell(
        "the matcher has caught up"
        if behind <= 0
        else f"the matcher is at revision {state.matcher_revision}, catching up"
    )
    table(
        ("algorithm", "digests", "of them new", "engine"),
        [(a.algorithm, f"{a.digest_count:,}", f"{a.tail_count:,}", a.engine) for a in state.algorithms],
        empty="no digests",
    )
    if state.backup_time is None:
        tell("no backup by `hashhub backup` is known")
    else:
        days = (datetime.now(UTC) - state.backup_time) / timedelta(days=1)
        tell(f"last backup {state.backup_time:%Y-%m-%d %H:%M}Z, {days:.1f} days ago")
    for warning in state.warnings:
        tell(f"warning: {clean(warning)}")


def _stated(options: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in options.items() if value is not None}
    if "expire_time" in fields:
        fields["expire_time"] = unless_never(fields["expire_time"])
    if "max_effort" in fields:
        text = fields["max_effort"]
        fields["max_effort"] = None if text.lower() == _AS_SERVER else chosen(Effort, text)
    return fields


def _token_named(hub: Client, name: str) -> Principal:
    for principal in hub.list_tokens():
        if principal.name == name:
            return principal
    raise NotFound(f"there is no token named {name[:63]!r}; see `hashhub token list`", kind="Token", name=name)


def _show_tokens(session: Session, tokens: list[Principal]) -> None:
    session.show(
        tokens,
        ("token", "role", "contributor", "last use", "remarks"),
        lambda t: (t.name, spelled(t.role), t.contributor, minute(t.last_use_time), "; ".join(_remarks(t))),
        as_json=lambda t: {name: value for name, value in fields_of(t).items() if name != "by_old_secret"},
    )


def _remarks(t: Principal) -> list[str]:
    remarks = [f"for {', '.join(t.purposes)}"] if t.purposes else []
    remarks += ["acts for others"] if t.acts_for_others else []
    remarks += ["may mirror"] if t.may_mirror else []
    remarks += [f"effort {spelled(t.max_effort)} at most"] if t.max_effort else []
    remarks += [f"{share.replace('_', '-')} {most}" for share, most in msgspec.structs.asdict(t.shares).items() if most]
    remarks += [f"until {minute(t.expire_time)}"] if t.expire_time else []
    return [*remarks, t.description] if t.description else remarks


def show_secret(session: Session, name: str, out: str | None, make: Callable[[Client], str]) -> None:
    """Print the secret that `make` gets, or write it to a new file."""
    # The file comes first: a secret that could not be written down would be lost.
    with session.connect() as hub, written(out) if out else nullcontext() as file:
        secret = make(hub)
        if file is not None:
            file.write(f"{secret}\n".encode("ascii"))
    if session.print_if_json({"name": name, **({} if out else {"secret": secret})}):
        return
    if out:
        note(f"wrote the secret of {clean(name)} to {clean(out)}")
    else:
        say(secret)
