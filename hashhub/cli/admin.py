"""`hashhub token …`, `webhook …` and `status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
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
    clear,
    command,
    expiry_or_none,
    given,
    moment,
    options,
    several,
    span,
    spelled,
)
from hashhub.cli.terminal import clean, fields_of, minute, note, say, table, tell
from hashhub.errors import NotFound
from hashhub.local_files import written
from hashhub.model import DeliveryState, Effort, Principal, Role, Shares, Webhook, WebhookDelivery, WebhookEvent

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
    several(
        "--identity",
        "identities",
        metavar="NAME",
        help="What proves it: a name in client certificates, URI:spiffe://example.org/hub, DNS:hub.example.org; or a "
        "value of people's claim, OIDC:analysts; repeatable. A new one gets no secret then.",
    ),
    several(
        "--from",
        "addresses",
        metavar="NETWORK",
        help="A network that it may call from, as 192.0.2.0/24; repeatable. Otherwise from everywhere.",
    ),
    click.option("--person", metavar="NAME", help="The person who holds it; otherwise a machine does."),
    several(
        "--exclude",
        "excluded",
        metavar="PERSON",
        help="A person whom it lets in no more, whose sessions end within a second: 42 for `Ada <42>` in the history; "
        "repeatable.",
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
@several("--purpose", "purposes", metavar="TEXT", help="Why its holder may see entries; repeatable.")
@_token_options
@SECRET_OUT
def create_token(session: Session, *, name: str, out: str | None, **options: Any) -> None:
    """Create a token and print its secret.

    The hub keeps only the secret's hash: it cannot be shown again.
    """
    fields = _stated(options)
    if "shares" in fields:
        fields["shares"] = Shares(**fields["shares"])
    new = Principal(name=name, **fields)

    def create(hub: Client) -> str:
        _note_unnamed(hub, new.purposes)  # first: once there is a secret, nothing may keep it from being printed
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
@click.option("--tree", is_flag=True, help="Below each token those that it created.")
@click.option("--creator", default="", metavar="TOKEN", help="Only those that this one created.")
def list_tokens(session: Session, *, tree: bool, creator: str) -> None:
    """List the tokens, without their secrets, and who created them, and when."""
    with session.connect() as hub:
        tokens = [t for t in hub.list_tokens() if creator in {"", t.creator}]
    names = {t.name for t in tokens}

    def below(creator: str, indent: str) -> Iterator[Principal]:
        for t in tokens:
            if (t.creator if t.creator in names else "") == creator:
                yield msgspec.structs.replace(t, name=indent + t.name)
                yield from below(t.name, indent + "  ")

    # As JSON each names its creator.
    _show_tokens(session, below("", "") if tree and not session.json else tokens)


@command(main, "access")
@click.argument("name", metavar="TOKEN")
def access(session: Session, *, name: str) -> None:
    """Show what a token has of each hash set now: in answers, lists, the feed and exports, and why not."""
    with session.connect() as hub:
        found = hub.access(name)
    session.show(
        found.items(),
        ("hash set", "answer", "list", "feed", "export"),
        lambda row: (row[0], *(row[1].get(channel) or "yes" for channel in ("ANSWER", "LIST", "FEED", "EXPORT"))),
        as_json=lambda row: {"hash_set": row[0], "refusals": row[1]},
    )


@command(token, "get")
@click.argument("name")
def get_token(session: Session, *, name: str) -> None:
    """Show a token, without its secret."""
    with session.connect() as hub:
        _show_tokens(session, [_token_named(hub, name)])


@command(token, "update")
@click.argument("name")
@several("--purpose", "purposes", metavar="TEXT", help="Replaces all of those before; repeatable.")
@click.option("--clear-purposes", is_flag=True, help="Removes all purposes.")
@click.option("--clear-identities", is_flag=True, help="Nothing but its secret, if it has one, proves it from then on.")
@click.option("--clear-networks", is_flag=True, help="It may call from everywhere.")
@click.option("--clear-excluded", is_flag=True, help="It lets everybody in again whom its identities name.")
@_token_options
def update_token(session: Session, *, name: str, **options: Any) -> None:
    """Change a token. Only what is given changes, within a second everywhere; its role and contributor stay."""
    clear(options, purposes="purposes", identities="identities", networks="addresses", excluded="excluded")
    fields = _stated(given(options))
    with session.connect() as hub:
        before = _token_named(hub, name)
        if "shares" in fields:
            fields["shares"] = msgspec.structs.replace(before.shares, **fields["shares"])
        changed = msgspec.structs.replace(before, **fields)
        _note_unnamed(hub, changed.purposes if "purposes" in fields else ())
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


@command(token, "session")
@click.option(
    "--out", metavar="FILE", help="Write it to a file that only you can read, and renew it there until stopped."
)
def begin_session(session: Session, *, out: str | None) -> None:
    """Print a secret of 15 minutes for HTTP, where no certificate arrives.

    It is got with --certificate and --key, from the hub's address for certificates.
    """
    with session.connect() as hub:
        while True:
            secret, until = hub.begin_session()
            if not out:
                session.answer({"secret": secret, "expire_time": until}, secret)
                return
            with written(out, replace=True) as file:
                file.write(f"{secret}\n".encode("ascii"))
            note(f"wrote {clean(out)}, which works until {minute(until)}")
            time.sleep(max(1.0, (until - datetime.now(UTC)).total_seconds() / 3))


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
        state, partners = hub.status(), hub.partners()
    if session.print_if_json({**fields_of(state), **fields_of(partners)}):
        return
    behind = state.revision - state.matcher_revision
    called = f"hub {state.hub}, " if state.hub else ""
    tell(clean(f"{called}hashhub {state.version} on {state.database.lower()}, revision {state.revision}"))
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
    if partners.sources:
        table(
            ("source", "hash set", "status", "last success", "next fetch"),
            [(s.name, s.hash_set, s.status, minute(s.success_time), minute(s.next_time)) for s in partners.sources],
        )
    if partners.peers:
        table(
            ("peer", "status", "joined", "complete at", "entries"),
            [(p.name, p.status, minute(p.join_time), minute(p.complete_time), p.entries) for p in partners.peers],
        )
    if state.backup_time is None:
        tell("no backup by `hashhub backup` is known")
    else:
        days = (datetime.now(UTC) - state.backup_time) / timedelta(days=1)
        tell(f"last backup {state.backup_time:%Y-%m-%d %H:%M}Z, {days:.1f} days ago, {state.backup_bytes:,} bytes")
    for warning in state.warnings:
        tell(f"warning: {clean(warning)}")


def _stated(options: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in options.items() if value is not None}
    if "expire_time" in fields:
        fields["expire_time"] = expiry_or_none(fields["expire_time"])
    if "max_effort" in fields:
        text = fields["max_effort"]
        fields["max_effort"] = None if text.lower() == _AS_SERVER else chosen(Effort, text)
    return fields


def _token_named(hub: Client, name: str) -> Principal:
    for principal in hub.list_tokens():
        if principal.name == name:
            return principal
    raise NotFound(f"there is no token named {name[:63]!r}; see `hashhub token list`", kind="Token", name=name)


_OF_A_CALL: Final = frozenset({"by_old_secret", "identity", "certificate", "by_session", "second_person"})


def _show_tokens(session: Session, tokens: Iterable[Principal]) -> None:
    session.show(
        tokens,
        ("token", "role", "contributor", "last use", "remarks"),
        lambda t: (t.name, spelled(t.role), t.contributor, minute(t.last_use_time), "; ".join(_remarks(t))),
        as_json=lambda t: {name: value for name, value in fields_of(t).items() if name not in _OF_A_CALL},
    )


def _remarks(t: Principal) -> list[str]:
    remarks = [f"for {', '.join(t.purposes)}"] if t.purposes else []
    remarks += ["acts for others"] if t.acts_for_others else []
    remarks += ["may mirror"] if t.may_mirror else []
    remarks += [f"effort {spelled(t.max_effort)} at most"] if t.max_effort else []
    remarks += [f"{share.replace('_', '-')} {most}" for share, most in msgspec.structs.asdict(t.shares).items() if most]
    remarks += [*t.identities, *(f"from {network}" for network in t.addresses)]
    remarks += [f"held by {t.person}"] if t.person else []
    remarks += [f"not for {person}" for person in t.excluded]
    remarks += [f"until {minute(t.expire_time)}"] if t.expire_time else []
    remarks += [f"created by {t.creator} {minute(t.create_time)}"] if t.creator else []
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
    if not secret:
        note(f"created {clean(name)}; its identities are its proof, and it has no secret")
    elif out:
        note(f"wrote the secret of {clean(name)} to {clean(out)}")
    else:
        say(secret)


_events_option: Final = click.option(
    "--event",
    "events",
    type=choice(WebhookEvent),
    multiple=True,
    help="Events to call for; repeatable. Default of a new one: entry-disputed, when others object to an entry.",
)
_url_help: Final = "Where it is called: https, on a public address."


@main.group("webhook", cls=CommandGroup)
def webhook() -> None:
    """Be called when somebody disputes an entry."""


@command(webhook, "create")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
@click.option("--url", required=True, metavar="URL", help=_url_help)
@_events_option
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@click.option(
    "--all-contributors", is_flag=True, help="Tell it what concerns any contributor; needs an operator's token."
)
@SECRET_OUT
def create_webhook(
    session: Session, *, name: str, events: tuple[WebhookEvent, ...], out: str | None, **options: Any
) -> None:
    """Register a webhook and print its secret, which calls are signed with. It cannot be shown again."""
    from hashhub.client.transport import webhook_name

    webhook_name(name)  # refuses what is no CONTRIBUTOR/WEBHOOK
    owner, _, own_id = name.partition("/")
    new = Webhook(
        contributor=owner,
        id=own_id,
        events=tuple(dict.fromkeys(events)) or (WebhookEvent.ENTRY_DISPUTED,),
        **options,
    )
    show_secret(session, name, out, lambda hub: hub.create_webhook(new))


@command(webhook, "list")
@click.argument("contributor", required=False)
def list_webhooks(session: Session, *, contributor: str | None) -> None:
    """List the webhooks of CONTRIBUTOR, or all that the token may see."""
    with session.connect() as hub:
        _show_webhooks(session, list(hub.list_webhooks(contributor)))


@command(webhook, "get")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
def get_webhook(session: Session, *, name: str) -> None:
    """Show a webhook, without its secret."""
    with session.connect() as hub:
        _show_webhooks(session, [hub.get_webhook(name)])


@command(webhook, "update")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
@click.option("--url", metavar="URL", help=_url_help)
@_events_option
@click.option("--description", metavar="TEXT", help="What it is for.")
def update_webhook(session: Session, *, name: str, events: tuple[WebhookEvent, ...], **options: Any) -> None:
    """Change a webhook. Only what is given changes; `--event` replaces all of them."""
    fields = given({**options, "events": tuple(dict.fromkeys(events)) or None})
    with session.connect() as hub:
        changed = msgspec.structs.replace(hub.get_webhook(name), **fields)
        _show_webhooks(session, [hub.update_webhook(changed, tuple(fields))])


@command(webhook, "delete")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
def delete_webhook(session: Session, *, name: str) -> None:
    """Delete a webhook: it is called no more, and calls that wait are dropped."""
    with session.connect() as hub:
        hub.delete_webhook(name)
    session.show_deleted(name)


@command(webhook, "rotate")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
@click.option(
    "--grace", type=span, metavar="SPAN", help="For how long calls are signed with both: 1d (the default), 12h, 0."
)
@SECRET_OUT
def rotate_webhook(session: Session, *, name: str, grace: timedelta | None, out: str | None) -> None:
    """Give a webhook a new secret and print it. For a while calls are signed with the old one, too."""
    show_secret(session, name, out, lambda hub: hub.rotate_webhook_secret(name, grace))


@command(webhook, "test")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
def test_webhook(session: Session, *, name: str) -> None:
    """Have a webhook called once, now, and say what came of it. Ends with 1 unless it was delivered."""
    with session.connect() as hub:
        delivery = hub.test_webhook(name)
    _show_deliveries(session, [delivery])
    if delivery.state is not DeliveryState.DELIVERED:
        raise click.exceptions.Exit(1)


@command(webhook, "deliveries")
@click.argument("name", metavar="CONTRIBUTOR/WEBHOOK")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
def list_deliveries(session: Session, *, name: str, limit: int) -> None:
    """List the calls of a webhook, the newest first."""
    with session.connect() as hub:
        _show_deliveries(session, list(hub.list_webhook_deliveries(name, limit)))


def _show_webhooks(session: Session, webhooks: list[Webhook]) -> None:
    session.show(
        webhooks,
        ("webhook", "url", "told of", "registered by", "remarks"),
        lambda w: (w.name, w.url, ", ".join(map(spelled, w.events)), w.actor or "-", "; ".join(_webhook_remarks(w))),
        empty="no webhooks",
    )


def _webhook_remarks(w: Webhook) -> list[str]:
    remarks = ["all contributors"] if w.all_contributors else []
    remarks += [f"old secret until {minute(w.old_secret_until)}"] if w.old_secret_until else []
    return [*remarks, w.description] if w.description else remarks


def _show_deliveries(session: Session, deliveries: list[WebhookDelivery]) -> None:
    session.show(
        deliveries,
        ("call", "tells of", "count", "state", "attempts", "last", "answer", "next"),
        lambda d: (
            d.id,
            spelled(d.event) if d.event else "ping",  # as its payload calls it
            d.count,
            spelled(d.state),
            d.attempts,
            minute(d.last_attempt_time),
            f"{d.error or ''} {d.status or ''}".strip() or "-",
            minute(d.next_attempt_time),
        ),
    )
