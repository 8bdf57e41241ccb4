"""Versions of policies, why one comes to a verdict, what another would change: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import trust, v1
from hashhub.model import ReasonLine, Verdict
from hashhub.trust import ClauseTrace, DemandTrace, EntryTrace, Example, FailedDemand, Judgement, Trial, VerdictChange
from hashhub.wire import names
from hashhub.wire.codec import FieldCodec, MessageCodec, messages, name_of, names_of
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
        name=names.policy_name(version.name if in_list else version.full_name),
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
