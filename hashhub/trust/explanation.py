"""How a verdict came about: each clause with its truth value, and behind each of its demands the entries that fulfil it
and those that do not, with why; and what another policy would change.

Nothing is decided here a second time. `trace` lets the functions of `decide` work, and reads what they left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import combinations, islice
from typing import Final

import msgspec

from hashhub.hashes import Hash
from hashhub.model import Contributor, ReasonLine, Verdict
from hashhub.trust.decision import Assessment, Judgement, ReasonCode, agree, conclude, contests, weigh
from hashhub.trust.policy import Policy
from hashhub.trust.statement import AssessedStatement, Clause, Closeness, Statement, in_words

_PAIRS: Final = 20  # of contributors that are no two voices: told of a clause
_CLOSENESS: Final = {
    Closeness.FILE: "identical files",
    Closeness.DIGEST: "equal perceptual hashes, and closer ones",
    Closeness.NEAR: "near perceptual hashes, and closer ones",
    Closeness.VARIANT: "variants of the upload, and closer ones",
}
_DOUBTS: Final = frozenset(
    {ReasonCode.DISPUTED, ReasonCode.CLAIM_DISPUTED} | {code for code in ReasonCode if code.startswith("DOUBT_")}
)


class FailedDemand(msgspec.Struct, frozen=True):
    """An entry that does not fulfil a demand, and what it has there instead."""

    entry: str
    why: str


class DemandTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One demand of a clause: its key, itself in words, the entries that fulfil it and those that do not.

    Of the first demand, `claim`, all entries are told that were hit; of the others those that fulfil the first. The
    counts are of all, also where a hub's answer tells the first of many.
    """

    key: str
    text: str
    fulfilled: tuple[str, ...]
    failed: tuple[FailedDemand, ...]
    fulfilled_count: int
    failed_count: int


class ClauseTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A clause: whether it is met, by which entries, and what became of each demand.

    `contributors`: how many independent ones it asks for. `apart`: why those who fulfil it are no two voices.
    """

    id: str
    title: str
    contributors: int
    is_met: bool
    entries: tuple[str, ...]
    demands: tuple[DemandTrace, ...]
    apart: tuple[str, ...] = ()


class EntryTrace(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was hit: how, and what becomes of its claim."""

    entry: str
    hit: str
    claim: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """How a verdict came about. `policy` is NAME@VERSION; `disputes` are the doubts, those that do not weigh included;
    `closeness` says which hits were taken into account; `conclusion` is the last step in words.
    """

    policy: str
    judgement: Judgement
    closeness: str
    entries: tuple[EntryTrace, ...]
    clauses: tuple[ClauseTrace, ...]
    disputes: tuple[ReasonLine, ...]
    conclusion: str


def trace(
    policy: Policy,
    statements: Sequence[Statement],
    contributors: Mapping[str, Contributor],
    *,
    time: datetime,
    query: Sequence[Hash] = (),
    cut_short: bool = False,
) -> Trace:
    """Return how `decide` comes to its verdict about the same."""
    w = weigh(policy, statements, contributors, time)
    judgement = conclude(policy, w, query, cut_short=cut_short)
    becomes = _claims(w)
    clauses = tuple(_clause(policy, i, c, w, becomes) for i, c in enumerate(policy.clauses))
    return Trace(
        policy=policy.full_name,
        judgement=judgement,
        closeness=_CLOSENESS[w.closeness] if w.asserting else "",
        entries=tuple(
            EntryTrace(entry=w.names[x.number], hit=" and ".join(map(in_words, x.statement.ways)), claim=text)
            for x, text in becomes.items()
        ),
        clauses=clauses,
        disputes=tuple(line for line in judgement.reasons if line.code in _DOUBTS),
        conclusion=_conclusion(judgement, clauses, w, cut_short=cut_short),
    )


def _claims(w: Assessment) -> dict[AssessedStatement, str]:
    """Return all statements by name, and what becomes of each one's claim; nothing is said of those that count."""
    becomes: dict[AssessedStatement, str] = {}
    for x in w.passive:
        becomes[x] = f"it is {x.statement.entry.state.lower()}, and counts for nothing"
    for x in w.expired:
        becomes[x] = "it has expired, and counts for nothing"
    for said, text in (
        (w.harmless, "it claims no harm"),
        (w.benign, "its hash set is of benign items"),
        (w.tests, "its hash set is of test items"),
    ):
        becomes.update(dict.fromkeys(said, text))
    counting = set(w.candidates)
    contested = {x.statement.entry.id for d in w.doubts if contests(d, w.closeness) for x in d.said}
    for x in w.asserting:
        if x in counting:
            becomes[x] = ""
        elif x.statement.entry.id in contested:
            becomes[x] = "its claim is disputed"
        else:
            becomes[x] = "it was hit less closely than those by which it is decided"
    return dict(sorted(becomes.items(), key=lambda pair: pair[0].number))


def _clause(policy: Policy, i: int, c: Clause, w: Assessment, becomes: Mapping[AssessedStatement, str]) -> ClauseTrace:
    group = w.groups[i]
    candidates = sorted(w.candidates, key=lambda x: x.number)
    demands = [
        _demand(
            "claim",
            "that claims harm or leaves it open, and whose claim counts",
            _names(w, candidates),
            [FailedDemand(w.names[x.number], text) for x, text in becomes.items() if text],
        )
    ]
    left = list(candidates)
    for demand in policy.demands[i]:
        held = [x for x in candidates if demand.holds(x, w.time)]
        holding = set(held)
        failed = [FailedDemand(w.names[x.number], demand.has(x, w.time)) for x in candidates if x not in holding]
        demands.append(_demand(demand.key, demand.text, _names(w, held), failed))
        left = [x for x in left if x in holding]
    return ClauseTrace(
        id=c.id,
        title=c.title,
        contributors=c.contributors,
        is_met=group is not None,
        entries=_names(w, group or ()),
        demands=tuple(demands),
        apart=() if group is not None or c.contributors == 1 else tuple(islice(_apart(w, left), _PAIRS)),
    )


def _demand(key: str, text: str, fulfilled: tuple[str, ...], failed: Sequence[FailedDemand]) -> DemandTrace:
    return DemandTrace(
        key=key,
        text=text,
        fulfilled=fulfilled,
        failed=tuple(failed),
        fulfilled_count=len(fulfilled),
        failed_count=len(failed),
    )


def _apart(w: Assessment, fulfilling: Sequence[AssessedStatement]) -> Iterable[str]:
    """Yield why contributors that fulfil a clause are no two voices. A common source is not named: it may be hidden."""
    verdicts: dict[str, set[frozenset[str]]] = {}
    for x in fulfilling:
        verdicts.setdefault(x.statement.contributor.id, set()).add(x.verdicts)
    for a, b in combinations(sorted(verdicts), 2):
        if a in w.origins.of(b):
            yield f"{b} takes material from {a}"
        elif b in w.origins.of(a):
            yield f"{a} takes material from {b}"
        elif not w.origins.of(a).isdisjoint(w.origins.of(b)):
            yield f"{a} and {b} take material from one source"
        elif not agree(verdicts[a], verdicts[b]):
            yield f"the verdicts of {a} and {b} cannot both hold"


def _conclusion(judgement: Judgement, clauses: Sequence[ClauseTrace], w: Assessment, *, cut_short: bool) -> str:
    met = [c.id for c in clauses if c.is_met]
    if w.asserting:
        clause = f"met: {', '.join(met)}" if met else "no clause is met"
        text = f"{clause}; {'it is disputed' if w.disputes else 'nothing disputes it'}"
    elif w.tests:
        text = "only sets of test items hold it" + (", and it is disputed" if w.disputes else "")
    elif judgement.verdict is Verdict.BENIGN or (
        cut_short and any(x.closeness is not Closeness.VARIANT for x in w.benign)
    ):
        text = "only sets of benign items hold it, accepted by the operator"
    else:
        text = "nothing that counts claims harm"
    if cut_short:
        text += "; not everything that was hit could be taken into account"
    return f"{judgement.verdict}: {text}"


def _names(w: Assessment, said: Iterable[AssessedStatement]) -> tuple[str, ...]:
    return tuple(w.names[number] for number in sorted({x.number for x in said}))


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A query whose verdict changes: its label, and the reasons for both verdicts."""

    label: str
    before: tuple[ReasonLine, ...]
    after: tuple[ReasonLine, ...]


class VerdictChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many queries get one verdict by the policy before and one by the policy after, and examples of them."""

    before: Verdict
    after: Verdict
    count: int
    examples: tuple[Example, ...] = ()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy (NAME@VERSION) would change: every query is counted in one of the changes, also where both verdicts
    are one. `next_after`: the entry behind which the next call goes on; 0: nothing is left. `total`: entries in all,
    told where it begins. `since_revision`: behind which they became visible.
    """

    before: str
    after: str
    changes: tuple[VerdictChange, ...]
    revision: int
    next_after: int = 0
    total: int = 0
    since_revision: int = 0
