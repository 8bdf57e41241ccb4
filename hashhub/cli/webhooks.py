"""`hashhub webhook …`: who is called when an entry is disputed, and how the calls went."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.admin import SECRET_OUT, show_secret
from hashhub.cli.session import CommandGroup, Session, choice, command, given, span, spelled
from hashhub.cli.terminal import minute
from hashhub.model import DeliveryState, Webhook, WebhookDelivery, WebhookEvent

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
    from hashhub.client import names

    names.webhook(name)  # refuses what is no CONTRIBUTOR/WEBHOOK
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
    events = tuple(dict.fromkeys(events))
    fields = given({"url": options["url"], "events": events or None, "description": options["description"]})
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
        lambda w: (w.name, w.url, ", ".join(map(spelled, w.events)), w.actor or "-", "; ".join(_remarks(w))),
        empty="no webhooks",
    )


def _remarks(w: Webhook) -> list[str]:
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
