"""Events of the history, tokens and the state of a hub: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import (
    Actor,
    AlgorithmStatus,
    Effort,
    Event,
    EventKind,
    Principal,
    RevertedEvent,
    Role,
    Shares,
    Status,
)
from hashhub.wire import names
from hashhub.wire.fields import EnumMap, Sendable, build, check_text, checked, collect, read_time, refuse, timestamp

EFFORT: Final = EnumMap(Effort, v1.Effort, "EFFORT_", Effort.STANDARD)
ROLE: Final = EnumMap(Role, v1.Role, "ROLE_")


def event_to_pb(event: Event) -> v1.Event:
    actor = event.actor
    return v1.Event(
        name=names.event_name(event.revision),
        event_time=timestamp(event.time),
        actor=names.token_name(actor.name) if actor.contributor and actor.name else actor.name,
        contributor=names.contributor_name(actor.contributor) if actor.contributor else "",
        role=ROLE.to_pb(actor.role),
        kind=event.kind,
        subject=names.subject_name(event.subject),
        reason=event.reason,
        facts={
            name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in event.facts.items()
        },
        details=event.details or {},
        redacted=event.details is None,
        digest=event.digest,
        event_revision=event.revision,
    )


def event_from_pb(pb: v1.Event, at: str = "event") -> Event:
    """Return an event of the history; its facts are text."""
    wrong: list[Violation] = []
    time = read_time(pb, "event_time", at, wrong)
    if time is None or pb.kind not in set(EventKind):
        wrong.append(Violation(f"{at}.kind", f"is not known to this version: {pb.kind[:40]!r}", "UNKNOWN_VALUE"))
    role = ROLE.from_pb(pb.role, f"{at}.role", wrong)
    subject = checked(wrong, names.parse_subject, pb.subject, f"{at}.subject") or ""
    contributor = ""
    if pb.contributor:
        contributor = checked(wrong, names.parse_contributor, pb.contributor, f"{at}.contributor") or ""
    refuse(wrong)
    return Event(
        revision=pb.event_revision,
        time=time,  # type: ignore[arg-type]  # refused above
        actor=Actor(pb.actor.removeprefix("tokens/"), contributor, role),
        kind=EventKind(pb.kind),
        subject=subject,
        reason=pb.reason,
        facts=dict(pb.facts),
        details=None if pb.redacted else dict(pb.details),
        digest=pb.digest,
    )


def reverted_event_to_pb(reverted: RevertedEvent) -> v1.RevertedEvent:
    return v1.RevertedEvent(
        event=event_to_pb(reverted.event),
        outcome=reverted.outcome,
        reverted=reverted.reverted,
        entry_count=reverted.entry_count,
    )


def reverted_event_from_pb(pb: v1.RevertedEvent) -> RevertedEvent:
    return RevertedEvent(
        event=event_from_pb(pb.event), outcome=pb.outcome, reverted=pb.reverted, entry_count=pb.entry_count
    )


def token_to_pb(token: Principal) -> v1.Token:
    with Sendable("token", expected="Principal, its role a Role"):
        return v1.Token(
            name=names.token_name(token.name),
            role=ROLE.to_pb(token.role),
            contributor=names.contributor_name(token.contributor) if token.contributor else "",
            purposes=token.purposes,
            description=token.description,
            acts_for_others=token.acts_for_others,
            may_mirror=token.may_mirror,
            max_effort=None if token.max_effort is None else EFFORT.to_pb(token.max_effort),
            shares=v1.TokenShares(
                calls=token.shares.calls,
                streams=token.shares.streams,
                message_bytes=token.shares.message_bytes,
                media_seconds=token.shares.media_seconds,
            )
            if token.shares != Shares()
            else None,
            create_time=timestamp(token.create_time),
            expire_time=timestamp(token.expire_time),
            last_use_time=timestamp(token.last_use_time),
        )


def token_from_pb(pb: v1.Token, *, token_id: str | None = None, at: str = "token") -> Principal:
    """Return the token's principal. `token_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    name = checked(wrong, names.parse_token, pb.name, f"{at}.name") if token_id is None else token_id
    contributor = ""
    if pb.contributor:
        contributor = checked(wrong, names.parse_contributor, pb.contributor, f"{at}.contributor") or ""
    role = ROLE.from_pb(pb.role, f"{at}.role", wrong)
    for i, purpose in enumerate(pb.purposes):
        check_text(purpose, f"{at}.purposes[{i}]", wrong)
    check_text(pb.description, f"{at}.description", wrong)
    create_time, expire_time, last_use_time = (
        read_time(pb, field, at, wrong) for field in ("create_time", "expire_time", "last_use_time")
    )
    max_effort = EFFORT.from_pb(pb.max_effort, f"{at}.max_effort", wrong) if pb.max_effort else None
    shares = collect(wrong, _shares, pb.shares, f"{at}.shares", Shares())
    refuse(wrong)
    return Principal(
        name=name or "",
        role=role,
        contributor=contributor,
        purposes=tuple(pb.purposes),
        description=pb.description,
        acts_for_others=pb.acts_for_others,
        may_mirror=pb.may_mirror,
        max_effort=max_effort,
        shares=shares,
        create_time=create_time,
        expire_time=expire_time,
        last_use_time=last_use_time,
    )


def _shares(pb: v1.TokenShares, at: str) -> Shares:
    values = {
        "calls": pb.calls,
        "streams": pb.streams,
        "message_bytes": pb.message_bytes,
        "media_seconds": pb.media_seconds,
    }
    return build(Shares, values, [], at, {f"shares.{name}": f"{at}.{name}" for name in values})


def status_to_pb(status: Status) -> v1.Status:
    return v1.Status(
        version=status.version,
        database=status.database,
        matcher_revision=status.matcher_revision,
        algorithms=[
            v1.AlgorithmStatus(
                algorithm=a.algorithm, digest_count=a.digest_count, tail_count=a.tail_count, engine=a.engine
            )
            for a in status.algorithms
        ],
        warnings=status.warnings,
        revision=status.revision,
        backup_time=timestamp(status.backup_time),
    )


def status_from_pb(pb: v1.Status) -> Status:
    return Status(
        version=pb.version,
        database=pb.database,
        revision=pb.revision,
        matcher_revision=pb.matcher_revision,
        algorithms=tuple(
            AlgorithmStatus(
                algorithm=a.algorithm, digest_count=a.digest_count, tail_count=a.tail_count, engine=a.engine
            )
            for a in pb.algorithms
        ),
        warnings=tuple(pb.warnings),
        backup_time=read_time(pb, "backup_time", "", []),
    )
