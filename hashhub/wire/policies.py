"""Versions of policies, why one comes to a verdict, what another would change: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hashhub import trust, v1
from hashhub.errors import Violation
from hashhub.model import ReasonLine, Verdict
from hashhub.trust import ClauseTrace, DemandTrace, EntryTrace, Example, Failure, Judgement, Trial, VerdictChange
from hashhub.wire import names
from hashhub.wire.fields import read_time, refuse, timestamp
from hashhub.wire.matching import VERDICT, long_name, reason_from_pb, reason_to_pb, short_name

MAX_TOLD: Final = 1_000  # entries in one list of an explanation


def policy_to_pb(version: trust.Version, *, in_list: bool = False, tells_actor: bool = False) -> v1.Policy:
    """Return the message of a version. `in_list`: of policies, under the policy's own name and without its text.
    `tells_actor`: also which token put it.
    """
    policy = version.policy
    return v1.Policy(
        name=names.policy_name(version.name if in_list else version.full_name),
        display_name=policy.title if policy is not None else "",
        explanation=trust.explain(policy) if policy is not None else version.fault,
        version=version.version,
        text="" if in_list else version.text,
        actor=names.token_name(version.actor) if version.actor and tells_actor else "",
        create_time=timestamp(version.create_time),
        retire_time=timestamp(version.retire_time),
        current=version.is_current,
        fault=version.fault,
    )


def trace_to_pb(trace: trust.Trace, verdict: Verdict, revision: int) -> v1.ExplainMatchResponse:
    """Return the message of an explanation, its longest lists shortened."""
    return v1.ExplainMatchResponse(
        verdict=VERDICT.to_pb(verdict),
        reasons=map(_shortened, trace.judgement.reasons),
        conclusion=trace.conclusion,
        closeness=trace.closeness,
        entries=[
            v1.ExplainedEntry(entry=long_name(e.entry), hit=e.hit, claim=e.claim) for e in trace.entries[:MAX_TOLD]
        ],
        clauses=map(_clause_to_pb, trace.clauses),
        disputes=map(_shortened, trace.disputes),
        policy=trace.policy,
        revision=revision,
    )


def _shortened(line: ReasonLine) -> v1.ReasonLine:
    pb = reason_to_pb(line)
    del pb.entries[MAX_TOLD:]
    return pb


def _clause_to_pb(c: ClauseTrace) -> v1.ExplainedClause:
    return v1.ExplainedClause(
        id=c.id,
        title=c.title,
        contributor_count=c.contributors,
        met=c.is_met,
        entries=_long(c.entries),
        demands=[
            v1.ExplainedDemand(
                key=d.key,
                text=d.text,
                fulfilled=_long(d.fulfilled),
                failed=[v1.FailedDemand(entry=long_name(f.entry), why=f.why) for f in d.failed[:MAX_TOLD]],
                fulfilled_count=len(d.fulfilled),
                failed_count=len(d.failed),
            )
            for d in c.demands
        ],
        apart=c.apart,
    )


def trace_from_pb(pb: v1.ExplainMatchResponse) -> trust.Trace:
    """Return an explanation. A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""
    return trust.Trace(
        policy=pb.policy,
        judgement=Judgement(
            VERDICT.get(pb.verdict, Verdict.UNAVAILABLE),
            tuple(reason_from_pb(r, f"reasons[{i}]") for i, r in enumerate(pb.reasons)),
        ),
        closeness=pb.closeness,
        entries=tuple(
            EntryTrace(entry=short_name(e.entry, f"entries[{i}].entry"), hit=e.hit, claim=e.claim)
            for i, e in enumerate(pb.entries)
        ),
        clauses=tuple(
            ClauseTrace(
                id=c.id,
                title=c.title,
                contributors=c.contributor_count,
                is_met=c.met,
                entries=_short(c.entries, f"clauses[{i}].entries"),
                demands=tuple(
                    DemandTrace(
                        key=d.key,
                        text=d.text,
                        fulfilled=_short(d.fulfilled, f"clauses[{i}].demands.fulfilled"),
                        failed=tuple(
                            Failure(short_name(f.entry, f"clauses[{i}].demands.failed"), f.why) for f in d.failed
                        ),
                        fulfilled_count=d.fulfilled_count,
                        failed_count=d.failed_count,
                    )
                    for d in c.demands
                ),
                apart=tuple(c.apart),
            )
            for i, c in enumerate(pb.clauses)
        ),
        disputes=tuple(reason_from_pb(r, f"disputes[{i}]") for i, r in enumerate(pb.disputes)),
        conclusion=pb.conclusion,
    )


def trial_to_pb(trial: Trial, next_page_token: str) -> v1.SimulatePolicyResponse:
    """Return the message of what a policy would change."""
    return v1.SimulatePolicyResponse(
        before=trial.before,
        after=trial.after,
        changes=[
            v1.VerdictChange(
                before=VERDICT.to_pb(c.before),
                after=VERDICT.to_pb(c.after),
                query_count=c.count,
                examples=[
                    v1.VerdictChangeExample(
                        label=e.label,
                        before_reasons=map(reason_to_pb, e.before),
                        after_reasons=map(reason_to_pb, e.after),
                    )
                    for e in c.examples
                ],
            )
            for c in trial.changes
        ],
        next_page_token=next_page_token,
        entry_count=trial.total,
        revision=trial.revision,
    )


def trial_from_pb(pb: v1.SimulatePolicyResponse) -> Trial:
    """Return what a policy would change; where the next answer goes on stays with the caller."""
    return Trial(
        before=pb.before,
        after=pb.after,
        changes=tuple(
            VerdictChange(
                before=VERDICT.get(c.before, Verdict.UNAVAILABLE),
                after=VERDICT.get(c.after, Verdict.UNAVAILABLE),
                count=c.query_count,
                examples=tuple(
                    Example(
                        label=e.label,
                        before=tuple(reason_from_pb(r, "examples.before_reasons") for r in e.before_reasons),
                        after=tuple(reason_from_pb(r, "examples.after_reasons") for r in e.after_reasons),
                    )
                    for e in c.examples
                ),
            )
            for c in pb.changes
        ),
        revision=pb.revision,
        total=pb.entry_count,
    )


def policy_from_pb(pb: v1.Policy, at: str = "policy") -> tuple[trust.Version, str, str]:
    """Return a version, the name that people read, and what it does in words."""
    wrong: list[Violation] = []
    created, retired = (read_time(pb, field, at, wrong) for field in ("create_time", "retire_time"))
    refuse(wrong)
    name = names.parse_policy(pb.name, f"{at}.name").partition("@")[0]
    version = trust.Version(
        name=name,
        version=pb.version,
        text=pb.text,
        fault=pb.fault,
        actor=pb.actor.removeprefix("tokens/"),
        create_time=created,
        retire_time=retired,
        is_current=pb.current,
    )
    return version, pb.display_name, pb.explanation


def _long(entries: Sequence[str]) -> list[str]:
    return [long_name(e) for e in entries[:MAX_TOLD]]


def _short(entries: Iterable[str], field: str) -> tuple[str, ...]:
    return tuple(short_name(e, field) for e in entries)
