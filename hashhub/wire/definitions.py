"""Policies and schemes: versions, what they make of items, how they differ: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import trust, v1
from hashhub.model import Definition, ReasonLine, SchemeStatus, SignOff, Verdict
from hashhub.schemes import Scheme, SchemeValue
from hashhub.schemes.alignment import CrosswalkRow, Difference, FieldChange, Line, ValueDifference
from hashhub.trust import ClauseTrace, DemandTrace, EntryTrace, Example, FailedDemand, Judgement, Trial, VerdictChange
from hashhub.wire import fields
from hashhub.wire.codec import FieldCodec, MessageCodec, messages, name_of, names_of
from hashhub.wire.fields import sendable, timestamp
from hashhub.wire.matching import REASON

MAX_TOLD: Final = 1_000  # entries in one list of an explanation


def _shortened(line: ReasonLine) -> v1.ReasonLine:
    pb = REASON.to_pb(line)
    del pb.entries[MAX_TOLD:]
    return pb


_ENTRY: Final = name_of("Entry", is_required=True)
_SHORTENED: Final = FieldCodec(lambda lines: map(_shortened, lines), messages(ReasonLine).read)
MessageCodec(FailedDemand, v1.FailedDemand, entry=_ENTRY)
MessageCodec(
    DemandTrace,
    v1.ExplainedDemand,
    fulfilled=names_of("Entry", most=MAX_TOLD),
    failed=FieldCodec(lambda failed: messages(FailedDemand).put(failed[:MAX_TOLD]), messages(FailedDemand).read),
)
MessageCodec(
    ClauseTrace,
    v1.ExplainedClause,
    contributors="contributor_count",
    is_met="met",
    entries=names_of("Entry", most=MAX_TOLD),
)
MessageCodec(EntryTrace, v1.ExplainedEntry, entry=_ENTRY)
_JUDGEMENT: Final = MessageCodec(Judgement, v1.ExplainMatchResponse, reasons=_SHORTENED)
_TRACE: Final = MessageCodec(
    trust.Trace,
    v1.ExplainMatchResponse,
    without="judgement",
    entries=FieldCodec(lambda entries: messages(EntryTrace).put(entries[:MAX_TOLD]), messages(EntryTrace).read),
    disputes=_SHORTENED,
)
MessageCodec(Example, v1.VerdictChangeExample, before="before_reasons", after="after_reasons")
MessageCodec(VerdictChange, v1.VerdictChange, count="query_count")
TRIAL: Final = MessageCodec(
    Trial,
    v1.SimulatePolicyResponse,
    without="next_after since_revision",
    total="entry_count",
    derived=lambda trial: {"revision": trial.revision},
)
_VERSION: Final = MessageCodec(
    trust.Version, v1.Policy, at="policy", without="name policy", actor=name_of("Token"), is_current="current"
)


def policy_to_pb(version: trust.Version, *, in_list: bool = False, tells_actor: bool = False) -> v1.Policy:
    """Return the message of a version. `in_list`: under the policy's name, without text. `tells_actor`: who put it."""
    policy = version.policy
    pb = _VERSION.to_pb(
        version,
        name=fields.policy_name(version.name if in_list else version.full_name),
        display_name=policy.title if policy is not None else "",
        explanation=trust.explain(policy) if policy is not None else version.fault,
    )
    if in_list:
        pb.text = ""
    if not tells_actor:
        pb.actor = ""
    return pb


def trace_to_pb(trace: trust.Trace, verdict: Verdict, revision: int) -> v1.ExplainMatchResponse:
    """Return the message of an explanation, its longest lists shortened."""
    pb = _TRACE.to_pb(trace, revision=revision)
    pb.MergeFrom(_JUDGEMENT.to_pb(Judgement(verdict, trace.judgement.reasons)))
    return pb


def trace_from_pb(pb: v1.ExplainMatchResponse) -> trust.Trace:
    """Return an explanation. A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""
    return _TRACE.from_pb(pb, judgement=_JUDGEMENT.from_pb(pb))


_SIGN_OFFS: Final = messages(SignOff)
_VALUES: Final = messages(SchemeValue)
MessageCodec(SchemeValue, v1.SchemeValue)
MessageCodec(SignOff, v1.SignOff, actor=name_of("Token"), contributor=name_of("Contributor"))
MessageCodec(Line, v1.DimensionLine, relation="correspondence", left="first", right="second")
MessageCodec(FieldChange, v1.TextChange, what="field")
MessageCodec(ValueDifference, v1.ValueDifference, lines="dimensions", changes="texts")
CROSSWALK_ROW: Final = MessageCodec(
    CrosswalkRow,
    v1.CrosswalkRow,
    at="row",
    sends="",
    left="value",
    right="other_value",
    relation="correspondence",
    lines="dimensions",
    is_written="written",
    is_written_back="written_back",
)
DIFFERENCE: Final = MessageCodec(
    Difference,
    v1.DiffSchemesResponse,
    at="difference",
    sends="",
    old=name_of("Scheme", "name", is_required=True),
    new=name_of("Scheme", "other_name", is_required=True),
    changes="texts",
)


def scheme_to_pb(scheme: Scheme, definition: Definition | None, *, with_text: bool = False) -> v1.Scheme:
    """Return the message of a scheme, and of what the store says of it where it was put there."""
    with sendable("scheme"):
        pb = v1.Scheme(
            name=fields.scheme_name(scheme.id, scheme.version),
            title=scheme.title,
            region=scheme.region,
            draft=scheme.status is SchemeStatus.DRAFT,
            source="; ".join(scheme.source),
            values=_VALUES.put(tuple(scheme.values.values())),
            lossy=scheme.lossy,
            region_aliases=scheme.region_aliases,
            source_names=scheme.source_names,
            value_required=scheme.value_required,
            text=scheme.text if with_text else "",
        )
        if definition is not None:
            pb.MergeFrom(
                v1.Scheme(
                    stored=True,
                    actor=fields.token_name(definition.actor) if definition.actor else "",
                    create_time=timestamp(definition.create_time),
                    retire_time=timestamp(definition.retire_time),
                    sign_offs=_SIGN_OFFS.put(definition.sign_offs),
                )
            )
        return pb
