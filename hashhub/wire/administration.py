"""Events of the history, tokens and the state of a hub: the messages, to the model and back."""

from __future__ import annotations

from typing import Any, Final

from hashhub import v1
from hashhub.model import Actor, AlgorithmStatus, Event, EventKind, Principal, RevertedEvent, Shares, Status
from hashhub.wire import names
from hashhub.wire.codec import TEXT, TEXTS, FieldCodec, Ids, MessageCodec, message, name_of, word
from hashhub.wire.enums import ROLE


def _facts(facts: dict[str, Any]) -> dict[str, str]:
    return {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in facts.items()}


def _event_fields(event: Event) -> dict[str, Any]:
    actor = event.actor
    return {
        "name": names.event_name(event.revision),
        "contributor": names.contributor_name(actor.contributor) if actor.contributor else "",
        "role": ROLE.to_pb(actor.role),
        "redacted": event.details is None,
    }


_ACTOR: Final = MessageCodec(
    Actor,
    v1.Event,
    name=FieldCodec(str, lambda pb, *_: pb.actor.removeprefix("tokens/"), "actor"),
    contributor=name_of("Contributor"),
)
EVENT: Final = MessageCodec(
    Event,
    v1.Event,
    at="event",
    revision="event_revision",
    time="event_time",
    actor=FieldCodec(
        lambda actor: names.token_name(actor.name) if actor.contributor and actor.name else actor.name,
        lambda pb, _field, at, *_: _ACTOR.from_pb(pb, at),
    ),
    kind=word(EventKind),
    subject=name_of("Subject"),
    facts=FieldCodec(_facts, lambda pb, *_: dict(pb.facts)),
    details=FieldCodec(lambda details: details or {}, lambda pb, *_: None if pb.redacted else dict(pb.details)),
    derived=_event_fields,
)
_SHARES: Final = message(Shares)
MessageCodec(Shares, v1.TokenShares, inner="shares.")
TOKEN: Final = MessageCodec(
    Principal,
    v1.Token,
    at="token",
    sends="Principal, its role a Role",
    ids=Ids(("name",), names.token_name, lambda name, field: (names.parse_token(name, field),)),
    without="by_old_secret",
    contributor=name_of("Contributor"),
    purposes=TEXTS,
    description=TEXT,
    shares=FieldCodec(lambda shares: None if shares == Shares() else _SHARES.put(shares), _SHARES.read),
)
MessageCodec(AlgorithmStatus, v1.AlgorithmStatus)
STATUS: Final = MessageCodec(Status, v1.Status)
REVERTED_EVENT: Final = MessageCodec(RevertedEvent, v1.RevertedEvent, event=message(Event))
