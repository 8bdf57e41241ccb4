"""Contributors, groups, hash sets, webhooks, tokens, events, status: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import (
    Actor,
    AlgorithmStatus,
    Bank,
    Caller,
    Contributor,
    Deletion,
    DeliveryError,
    Event,
    EventKind,
    Group,
    HashSet,
    Marking,
    Partners,
    PeerOrigin,
    PeerReport,
    Principal,
    Retention,
    RevertedEvent,
    Shares,
    SigningKey,
    SourceReport,
    Status,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
)
from hashhub.wire import fields
from hashhub.wire.codec import TEXT, TEXTS, FieldCodec, Ids, MessageCodec, enums, message, name_of, names_of, word
from hashhub.wire.fields import PURPOSE, ROLE, Violations, checked, collect, refuse


def contributors_from_pb(contributors: Sequence[str], at: str) -> tuple[str, ...]:
    """Return the ids of contributors from their names, each once."""
    wrong = Violations()
    ids = [checked(wrong, fields.parse_contributor, name, f"{at}[{i}]") for i, name in enumerate(contributors)]
    refuse(wrong)
    return tuple(dict.fromkeys(contributor for contributor in ids if contributor is not None))


def _read_members(pb: v1.Group, field: str, at: str, wrong: list[Violation]) -> tuple[str, ...]:
    nobody: tuple[str, ...] = ()
    return collect(wrong, contributors_from_pb, getattr(pb, field), f"{at}.{field}", nobody)


MessageCodec(PeerOrigin, v1.PeerOrigin)
SIGNING_KEY: Final = MessageCodec(SigningKey, v1.SigningKey, at="signing_key", sends="SigningKey")
CONTRIBUTOR: Final = MessageCodec(
    Contributor,
    v1.Contributor,
    at="contributor",
    sends="Contributor",
    ids=Ids(
        ("id",),
        fields.contributor_name,
        lambda name, field: (fields.parse_contributor(name, field),),
        created=("contributor_id",),
    ),
    takes_from=names_of("Contributor"),
)
GROUP: Final = MessageCodec(
    Group,
    v1.Group,
    at="group",
    sends="Group, its members a sequence of ids",
    ids=Ids(("id",), fields.group_name, lambda name, field: (fields.parse_group(name, field),), created=("group_id",)),
    members=FieldCodec(names_of("Contributor").put, _read_members),
)


MARKING: Final = MessageCodec(Marking, v1.Marking, at="marking", inner="marking.", permitted_purposes=TEXTS)
_BANK: Final = MessageCodec(Bank, v1.Bank, inner="bank.")
HASH_SET: Final = MessageCodec(
    HashSet,
    v1.HashSet,
    at="hash_set",
    sends="HashSet, its marking a Marking",
    ids=Ids(("contributor", "id"), fields.hash_set_name, fields.parse_hash_set, created=("parent", "hash_set_id")),
)
RETENTION: Final = MessageCodec(
    Retention,
    v1.Retention,
    at="retention",
    asked_by=name_of("Token", "deletion_asked_by"),
    ask_time="deletion_ask_time",
)
DELETION: Final = MessageCodec(
    Deletion,
    v1.DeleteHashSetResponse,
    hash_set=name_of("HashSet", "name", is_required=True),
    entries="entry_count",
    imports="import_count",
    findings="finding_count",
    reviews="review_count",
    holds="hold_count",
    revision="delete_revision",
)


def bank_to_pb(hash_set: HashSet) -> v1.HashSet:
    """Return what makes a bank of a hash set, and no more of it."""
    name = fields.hash_set_name(hash_set.contributor, hash_set.id)
    return v1.HashSet(name=name, bank=_BANK.to_pb(hash_set.bank), bank_number=hash_set.bank_number)


def new_hash_set_from_pb(pb: v1.HashSet, contributor: str, hash_set_id: str) -> HashSet:
    """Return the hash set of a create request, which has to say what being in it states."""
    wrong = []
    if not pb.purpose:
        wrong.append(Violation("hash_set.purpose", f"must be one of {PURPOSE.expected}; it is not stated", "REQUIRED"))
    return HASH_SET.created(pb, contributor, hash_set_id, wrong=wrong)


def withdraws_entries(number: int, field: str = "entries") -> bool:
    """Return whether a contributor's entries are withdrawn as it retires. Raises InvalidArgument unless it is said."""
    stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
    if number not in {stands, withdrawn}:
        expected = "must be RETIRED_ENTRIES_KEPT or RETIRED_ENTRIES_WITHDRAWN"
        refuse([Violation(field, f"{expected}; it is not stated" if not number else expected, "REQUIRED")])
    return number == withdrawn


_events: Final = enums(WebhookEvent)


WEBHOOK: Final = MessageCodec(
    Webhook,
    v1.Webhook,
    at="webhook",
    sends="Webhook",
    ids=Ids(("contributor", "id"), fields.webhook_name, fields.parse_webhook, created=("parent", "webhook_id")),
    without="create_revision",
    url=TEXT,
    events=FieldCodec(_events.put, lambda *pb: tuple(dict.fromkeys(_events.read(*pb)))),
    description=TEXT,
    actor=name_of("Token"),
)
DELIVERY: Final = MessageCodec(
    WebhookDelivery,
    v1.WebhookDelivery,
    at="delivery",
    ids=Ids(("contributor", "webhook"), fields.webhook_name, fields.parse_webhook, "webhook"),
    error=word(DeliveryError, is_optional=True),
)


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
        lambda actor: fields.token_name(actor.name) if actor.contributor and actor.name else actor.name,
        lambda pb, _field, at, *_: _ACTOR.from_pb(pb, at),
    ),
    kind=word(EventKind),
    subject=name_of("Subject"),
    facts=FieldCodec(
        lambda facts: {name: ", ".join(v) if isinstance(v, tuple) else str(v) for name, v in facts.items()},
        lambda pb, *_: dict(pb.facts),
    ),
    details=FieldCodec(lambda details: details or {}, lambda pb, *_: None if pb.redacted else dict(pb.details)),
    derived=lambda event: {
        "name": fields.event_name(event.revision),
        "contributor": fields.contributor_name(event.actor.contributor) if event.actor.contributor else "",
        "role": ROLE.to_pb(event.actor.role),
        "person": event.actor.person,
        "second_person": event.actor.second_person,
        "redacted": event.details is None,
    },
)
_SHARES: Final = message(Shares)
MessageCodec(Shares, v1.TokenShares, inner="shares.")
TOKEN: Final = MessageCodec(
    Principal,
    v1.Token,
    at="token",
    sends="Principal, its role a Role",
    ids=Ids(("name",), fields.token_name, lambda name, field: (fields.parse_token(name, field),)),
    without="by_old_secret identity certificate by_session second_person",
    contributor=name_of("Contributor"),
    purposes=TEXTS,
    description=TEXT,
    person=TEXT,
    creator=name_of("Token"),
    shares=FieldCodec(lambda shares: None if shares == Shares() else _SHARES.put(shares), _SHARES.read),
)
CALLER: Final = MessageCodec(
    Caller,
    v1.Caller,
    at="caller",
    ids=Ids(("name",), fields.token_name, lambda name, field: (fields.parse_token(name, field),)),
    contributor=name_of("Contributor"),
    groups=names_of("Group"),
)
MessageCodec(AlgorithmStatus, v1.AlgorithmStatus)
STATUS: Final = MessageCodec(Status, v1.Status)
MessageCodec(SourceReport, v1.SourceReport, hash_set=name_of("HashSet"))
MessageCodec(PeerReport, v1.PeerReport)
PARTNERS: Final = MessageCodec(Partners, v1.Partners)
REVERTED_EVENT: Final = MessageCodec(RevertedEvent, v1.RevertedEvent, event=message(Event))
