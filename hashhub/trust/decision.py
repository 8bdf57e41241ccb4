"""From statements to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import combinations, permutations
from typing import Final, NamedTuple

import msgspec

from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    Contributor,
    EntryState,
    Purpose,
    ReasonLine,
    Reliability,
    ReviewKind,
    Role,
    Verdict,
)
from hashhub.schemes.dimensions import worlds
from hashhub.trust.policy import COUNTABLE, HARMFUL, Dispute, Policy
from hashhub.trust.statement import (
    AssessedStatement,
    Clause,
    Closeness,
    Statement,
    age_of,
    corroborations,
    is_draft,
    set_aside,
)


class ReasonCode(StrEnum):
    """Stable codes of reason lines, told in docs/reasons.md. Removing or renaming one is a breaking change."""

    # What a policy finds.
    CLAUSE_MET = "CLAUSE_MET"
    CLAUSE_NOT_MET = "CLAUSE_NOT_MET"
    HARM_CLAIMED = "HARM_CLAIMED"
    DRAFT_SCHEME = "DRAFT_SCHEME"
    DISPUTED = "DISPUTED"
    CLAIM_DISPUTED = "CLAIM_DISPUTED"
    ONE_PERCEPTUAL_ALGORITHM = "ONE_PERCEPTUAL_ALGORITHM"
    UNDECIDED = "UNDECIDED"
    BENIGN_SET = "BENIGN_SET"
    TEST_ENTRY = "TEST_ENTRY"
    NOT_A_HARM_CLAIM = "NOT_A_HARM_CLAIM"
    NOT_ACTIVE = "NOT_ACTIVE"
    EXPIRED = "EXPIRED"
    NOTHING_KNOWN = "NOTHING_KNOWN"
    NOTHING_LISTED = "NOTHING_LISTED"
    CONTRADICTORY_BINDING = "CONTRADICTORY_BINDING"
    JUDGEMENT_CUT_SHORT = "JUDGEMENT_CUT_SHORT"

    # Why a doubt does not weigh. The clause is the kind of dispute that it would be.
    DOUBT_LESS_RELIABLE = "DOUBT_LESS_RELIABLE"
    DOUBT_NOT_ACCEPTED = "DOUBT_NOT_ACCEPTED"
    DOUBT_SET_ASIDE = "DOUBT_SET_ASIDE"
    DOUBT_LESS_CLOSE = "DOUBT_LESS_CLOSE"
    DOUBT_NOT_IN_POLICY = "DOUBT_NOT_IN_POLICY"
    DOUBT_CLAIMS_HARM = "DOUBT_CLAIMS_HARM"

    # What the hub adds about the query, its answer or the uploaded file.
    CIRCUIT_BREAKER = "CIRCUIT_BREAKER"
    WITHHELD = "WITHHELD"
    DISTANCE_WITHHELD = "DISTANCE_WITHHELD"
    NEAR_VARIANTS = "NEAR_VARIANTS"
    HIT_BY_VARIANT = "HIT_BY_VARIANT"
    LOW_QUALITY = "LOW_QUALITY"
    EXACT_ONLY = "EXACT_ONLY"
    FRAMES_SKIPPED = "FRAMES_SKIPPED"
    VARIANTS_SKIPPED = "VARIANTS_SKIPPED"
    EFFORT_REDUCED = "EFFORT_REDUCED"


AS_THEY_ARE: Final = ReasonLine(
    code=ReasonCode.VARIANTS_SKIPPED.value,
    text="digests and the frames of videos are looked for as they are: no mirrored, turned or cut copies of pictures",
)
"""What is said of a miss by hashes that nobody could turn, since the picture was not at hand or is a video's."""


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and the reasons for it, the decisive one first. The codes are those of `ReasonCode`."""

    verdict: Verdict
    reasons: tuple[ReasonLine, ...]


_AWAITS_ACCEPTANCE: Final = "AWAITS_ACCEPTANCE"  # a remark in `Entry.reasons` (code of hashhub.hygiene)

_WEIGHT_TEXTS: Final = {
    ReasonCode.CLAIM_DISPUTED: ", so that the claims of these entries count towards no clause",
    ReasonCode.DOUBT_LESS_RELIABLE: ", but not by anybody of the reliability that this policy asks of a dispute",
    ReasonCode.DOUBT_NOT_ACCEPTED: ", which counts once the operator has accepted it",
    ReasonCode.DOUBT_SET_ASIDE: ", which the operator has set aside",
    ReasonCode.DOUBT_LESS_CLOSE: ", but was hit less closely",
    ReasonCode.DOUBT_NOT_IN_POLICY: ", which disputes nothing under this policy",
    ReasonCode.DOUBT_CLAIMS_HARM: ", but these do not exclude harm either, and so speak against no match",
}
_DISPUTE_TEXTS: Final = {
    Dispute.BENIGN_SET: "a set of benign items holds it too",
    Dispute.CONFLICTING_VERDICTS: "two entries' verdicts cannot both hold",
    Dispute.FALSE_POSITIVE: "a review says false positive",
    Dispute.NOT_ILLEGAL_HERE: "a review says not illegal here",
    Dispute.MISCLASSIFIED: "a review says misclassified",
}


# What an entry claims, as positions in a list: see `_claims`.
_HARM: Final = 0  # every verdict that it leaves possible is harmful
_UNDECIDED: Final = 1  # harm is possible, or nobody has decided
_NONE: Final = 2  # no verdict that it leaves possible is harmful
_BENIGN: Final = 3  # its set is of benign items
_TEST: Final = 4  # its set is of test items
_OF_BENIGN, _OF_TEST, _ACTIVE = Purpose.BENIGN, Purpose.TEST, EntryState.ACTIVE


class _Doubt(msgspec.Struct, frozen=True):
    """Something that speaks against a match.

    code: DISPUTED (it stands against every match that takes hits of this closeness into account), CLAIM_DISPUTED (the
    claims of these statements count towards no clause, and that is all), or why it does not weigh.
    """

    code: ReasonCode
    kind: Dispute
    closeness: Closeness
    said: Sequence[AssessedStatement]


class Assessment(NamedTuple):
    """What leads to a verdict, and from which it is told why.

    closeness: of the least close hits that were taken into account. candidates: those among the asserting statements
    that count towards clauses. groups: for each clause the statements that meet it, or None. disputes: what stands
    against a match.
    """

    passive: list[AssessedStatement]
    expired: list[AssessedStatement]
    harmful: list[AssessedStatement]
    undecided: list[AssessedStatement]
    harmless: list[AssessedStatement]
    benign: list[AssessedStatement]
    tests: list[AssessedStatement]
    doubts: list[_Doubt]
    closeness: Closeness
    candidates: list[AssessedStatement]
    groups: list[list[AssessedStatement] | None]
    disputes: list[_Doubt]
    origins: Origins
    names: Sequence[str]
    time: datetime

    @property
    def asserting(self) -> list[AssessedStatement]:
        """What claims harm or leaves it open."""
        return [*self.harmful, *self.undecided]


def decide(
    policy: Policy,
    statements: Sequence[Statement],
    contributors: Mapping[str, Contributor],
    *,
    time: datetime,
    query: Sequence[Hash] = (),
    cut_short: bool = False,
) -> Judgement:
    """Return the policy's verdict about one item. Pure; the order of statements, reviews and contributors does not
    matter.

    `contributors` is everybody whom the decider knows, for who takes material from whom and for the reliability of
    reviewers; the statements' own are added where they are missing. `query`: the hashes asked about. `cut_short`: not
    everything that was hit is among the statements.

    1. Entries that are not ACTIVE, or have expired at `time`, count for nothing.
    2. Each other entry makes a claim: of harm, undecided, of no harm, benign (its set's purpose), or a test item
       (likewise).
    3. Doubts are collected, each with whether it weighs: whose it is, whether the operator accepted it or set it aside.
    4. The closest hits are judged first, then those less close beside them: a clause looks for enough pairwise
       independent contributors among the entries that fulfil it. It ends where a clause is met or a doubt disputes the
       match, so that nothing disputes what was hit more closely.
    5. MATCH if a clause is met and nothing is disputed; otherwise REVIEW if anything is claimed, undecided or disputed;
       otherwise the policy's verdict on test items; otherwise BENIGN; otherwise NO_MATCH. A judgement cut short is
       REVIEW at least. What is said of a part of the upload clears nothing: a variant alone never gives BENIGN.
    """
    return conclude(policy, weigh(policy, statements, contributors, time), query, cut_short=cut_short)


def weigh(
    policy: Policy, statements: Sequence[Statement], contributors: Mapping[str, Contributor], time: datetime
) -> Assessment:
    """Take steps 1 to 4 of `decide`."""
    # (1) what counts at all
    passive: list[AssessedStatement] = []
    expired: list[AssessedStatement] = []
    claims: list[list[AssessedStatement]] = [[], [], [], [], []]
    people = contributors
    ordered, names = _in_order(statements)
    for said in ordered:
        entry = said.statement.entry
        if entry.state is not _ACTIVE:
            passive.append(said)
        elif entry.expire_time is not None and entry.expire_time <= time:
            expired.append(said)
        else:
            # (2) what it claims
            for claim in _claims(said.statement.hash_set.purpose, said.verdicts):
                claims[claim].append(said)
            by = said.statement.contributor
            if by.id not in people:
                people = {**people, by.id: by}
    harmful, undecided, harmless, benign, tests = claims
    asserting = [*harmful, *undecided]
    origins = Origins(people)
    for said in asserting:
        said.is_confirmed = bool(said.statement.reviews) and _is_confirmed(policy, said.statement, people, origins)
    # (3) what stands against it
    doubts = list(_doubts(policy, asserting, benign, harmless, people)) if asserting else []
    # (4) what suffices
    closeness = Closeness.FILE
    candidates: list[AssessedStatement] = []
    groups: list[list[AssessedStatement] | None] = [None] * len(policy.clauses)
    disputes: list[_Doubt] = []
    levels = sorted({said.closeness for said in asserting})
    for closeness in levels:
        disputes = [d for d in doubts if d.code is ReasonCode.DISPUTED and d.closeness <= closeness]
        candidates = asserting if closeness == levels[-1] else [x for x in asserting if x.closeness <= closeness]
        if contested := {x.statement.entry.id for d in doubts if contests(d, closeness) for x in d.said}:
            candidates = [x for x in candidates if x.statement.entry.id not in contested]
        groups = [group_of(policy, i, candidates, origins, time) for i in range(len(policy.clauses))]
        if disputes or any(group is not None for group in groups):
            break
    if not asserting and tests:
        disputes = _disputed_tests(policy, tests, benign)
    return Assessment(
        passive,
        expired,
        harmful,
        undecided,
        harmless,
        benign,
        tests,
        doubts,
        closeness,
        candidates,
        groups,
        disputes,
        origins,
        names,
        time,
    )


def _in_order(statements: Sequence[Statement]) -> tuple[list[AssessedStatement], list[str]]:
    """Return the statements in the order of a reason's entries, and those entries' names by their number."""
    # By number within a set: names as text would come in an order that depends on how many digits the ids have.
    keyed = sorted([(s.entry.contributor, s.entry.hash_set, s.entry.id, i) for i, s in enumerate(statements)])
    ordered: list[AssessedStatement] = []
    names: list[str] = []
    last: tuple[str, str, int] | None = None
    for contributor, hash_set, entry_id, i in keyed:
        if (key := (contributor, hash_set, entry_id)) != last:
            last = key
            names.append(statements[i].entry.name)
        ordered.append(AssessedStatement(statements[i], len(names) - 1))
    return ordered, names


def conclude(policy: Policy, w: Assessment, query: Sequence[Hash], *, cut_short: bool) -> Judgement:
    """Take step 5 of `decide`: the verdict, and all that led to it."""
    asserting = w.asserting
    met = [(c, group) for c, group in zip(policy.clauses, w.groups, strict=True) if group is not None]
    if asserting:
        verdict = Verdict.MATCH if met and not w.disputes else Verdict.REVIEW
    elif w.tests:
        verdict = Verdict.REVIEW if w.disputes else policy.test
    else:
        is_benign = any(_is_accepted(x.statement) and x.closeness is not Closeness.VARIANT for x in w.benign)
        verdict = Verdict.BENIGN if is_benign else Verdict.NO_MATCH
    if cut_short and verdict in {Verdict.NO_MATCH, Verdict.BENIGN}:
        verdict = Verdict.REVIEW
    tell = _ReasonWriter(w.names)
    reasons = tell.doubts(w.disputes)
    reasons += tell.doubts(d for d in w.doubts if d.code is ReasonCode.CLAIM_DISPUTED)
    if met:
        reasons += [tell.line(ReasonCode.CLAUSE_MET, c.title, group, c.id) for c, group in met]
    else:
        reasons += _unmet(policy, w, asserting, tell)
    basis = _basis(w, verdict, met)
    if basis and not any(corroborations(x.statement) for x in basis):
        text = "nothing but one perceptual algorithm ties the upload to these entries"
        reasons.append(tell.line(ReasonCode.ONE_PERCEPTUAL_ALGORITHM, text, basis))
    if cut_short:
        text = "more entries hold it than one judgement takes into account"
        reasons.append(tell.line(ReasonCode.JUDGEMENT_CUT_SHORT, text, ()))
    reasons += tell.lines(ReasonCode.HARM_CLAIMED, "an entry claims harm", w.harmful)
    reasons += tell.lines(ReasonCode.UNDECIDED, "an entry leaves open whether it claims harm", w.undecided)
    reasons += tell.lines(ReasonCode.TEST_ENTRY, "a set of test items holds it", w.tests)
    part = [x for x in w.benign if x.closeness is Closeness.VARIANT]
    whole = [x for x in w.benign if x.closeness is not Closeness.VARIANT]
    reasons += tell.lines(ReasonCode.BENIGN_SET, "a set of benign items holds it", whole)
    text = "a set of benign items holds a variant of it, which says nothing about the rest of the upload"
    reasons += tell.lines(ReasonCode.BENIGN_SET, text, part)
    reasons += tell.lines(ReasonCode.NOT_A_HARM_CLAIM, "an entry examined it and claims no harm", w.harmless)
    reasons += tell.doubts(_without_weight(d, w.closeness) for d in w.doubts)
    if not asserting:
        waiting = [x for x in w.benign if not _is_accepted(x.statement)]
        text = "the operator has not accepted what the set says; it clears nothing"
        reasons += tell.lines(ReasonCode.DOUBT_NOT_ACCEPTED, text, waiting, Dispute.BENIGN_SET)
    text = "the same digest is bound to different digests of another algorithm"
    active = list(dict.fromkeys([*asserting, *w.harmless, *w.benign, *w.tests]))
    reasons += tell.lines(ReasonCode.CONTRADICTORY_BINDING, text, _contradictory(active, query))
    reasons += tell.lines(ReasonCode.NOT_ACTIVE, "an entry in quarantine or withdrawn counts for nothing", w.passive)
    reasons += tell.lines(ReasonCode.EXPIRED, "an entry that has expired counts for nothing", w.expired)
    reasons = reasons or [tell.line(ReasonCode.NOTHING_KNOWN, "no entry holds it", ())]
    return Judgement(verdict, tuple(reasons))


def _basis(
    w: Assessment, verdict: Verdict, met: Sequence[tuple[Clause, list[AssessedStatement]]]
) -> Sequence[AssessedStatement]:
    """Return the statements on which a verdict rests."""
    if asserting := w.asserting:
        return [x for _, group in met for x in group] if verdict is Verdict.MATCH else asserting
    if w.tests:
        return w.tests
    return [x for x in w.benign if _is_accepted(x.statement)] if verdict is Verdict.BENIGN else ()


class _ReasonWriter:
    """Makes reason lines, which name entries in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def line(self, code: ReasonCode, text: str, said: Iterable[AssessedStatement], clause: str = "") -> ReasonLine:
        entries = tuple([self._names[number] for number in sorted({x.number for x in said})])
        return ReasonLine(code=code.value, clause=str(clause), text=text, entries=entries)

    def lines(
        self, code: ReasonCode, text: str, said: Sequence[AssessedStatement], clause: str = ""
    ) -> list[ReasonLine]:
        return [self.line(code, text, said, clause)] if said else []

    def doubts(self, doubts: Iterable[_Doubt | None]) -> list[ReasonLine]:
        """Return a line for each code and kind of doubt, those that do not count included."""
        told: dict[tuple[ReasonCode, Dispute], list[AssessedStatement]] = {}
        for d in doubts:
            if d is not None:
                told.setdefault((d.code, d.kind), []).extend(d.said)
        return [
            self.line(code, f"{_DISPUTE_TEXTS[kind]}{_WEIGHT_TEXTS.get(code, '')}", said, kind)
            for (code, kind), said in told.items()
        ]


# --- Claims -----------------------------------------------------------------------------------------------------------


def _claims(purpose: Purpose, stated: frozenset[str]) -> tuple[int, ...]:
    if purpose is _OF_TEST:
        return (_TEST,)
    if purpose is _OF_BENIGN:
        # A harmful value in a benign set is a mistake on one side or the other, and a missing one may be either: it
        # must neither clear the item nor accuse it.
        return (_BENIGN,) if stated.isdisjoint(COUNTABLE) else (_BENIGN, _UNDECIDED)
    if stated <= HARMFUL:
        return (_HARM,)
    return (_NONE,) if stated.isdisjoint(COUNTABLE) else (_UNDECIDED,)


# --- Doubts -----------------------------------------------------------------------------------------------------------


def _is_accepted(s: Statement) -> bool:
    # Also its last change of state: what was withdrawn while the operator looked, and restored later, was not accepted.
    stands_since = max(s.entry.create_revision, s.entry.update_revision)
    return 0 < s.hash_set.accepted_revision >= stands_since


def _counts(policy: Policy, reliability: Reliability) -> bool:
    """Whether the word of somebody of this reliability disputes a match."""
    return reliability <= policy.disputed_from  # A is the best, and the first in the alphabet


def _weight(policy: Policy, s: Statement) -> ReasonCode:
    """Return DISPUTED if what the entry says against others weighs, otherwise why it does not."""
    if (s.hash_set.purpose is Purpose.BENIGN or _AWAITS_ACCEPTANCE in s.entry.reasons) and not _is_accepted(s):
        return ReasonCode.DOUBT_NOT_ACCEPTED
    return ReasonCode.DISPUTED if _counts(policy, s.contributor.reliability) else ReasonCode.DOUBT_LESS_RELIABLE


def _doubts(
    policy: Policy,
    asserting: Sequence[AssessedStatement],
    benign: Sequence[AssessedStatement],
    harmless: Sequence[AssessedStatement],
    people: Mapping[str, Contributor],
) -> Iterator[_Doubt]:
    """Yield everything that speaks against a match, whether or not it weighs, in the order of `Dispute`."""
    raised: list[_Raised] = [(Dispute.BENIGN_SET, _weight(policy, x.statement), x.closeness, x) for x in benign]
    raised += _conflicts(policy, asserting, harmless)
    for x in asserting:
        if x.statement.reviews:
            raised += _objections(policy, x, people)
    grouped: dict[tuple[Dispute, ReasonCode, Closeness], dict[int, AssessedStatement]] = {}
    for kind, code, closeness, x in raised:
        if kind not in policy.disputed_by:
            code = ReasonCode.DOUBT_NOT_IN_POLICY  # noqa: PLW2901 - whoever raised it
        grouped.setdefault((kind, code, closeness), {})[x.statement.entry.id] = x
    for kind, code, closeness in sorted(grouped, key=_doubt_order):
        yield _Doubt(code, kind, closeness, list(grouped[kind, code, closeness].values()))


_KINDS: Final = {kind: i for i, kind in enumerate(Dispute)}
_CODES: Final = {code: i for i, code in enumerate(ReasonCode)}


def _doubt_order(key: tuple[Dispute, ReasonCode, Closeness]) -> tuple[int, int, int]:
    kind, code, closeness = key
    return _KINDS[kind], _CODES[code], closeness


_Raised = tuple[Dispute, ReasonCode, Closeness, AssessedStatement]


def _conflicts(
    policy: Policy, asserting: Sequence[AssessedStatement], harmless: Sequence[AssessedStatement]
) -> Iterator[_Raised]:
    """Yield the doubts of entries whose verdict cannot hold beside that of an entry that may claim harm.

    Where both sides' words count, the match is disputed. Where only the doubter'x does, the other side'x claim is:
    otherwise somebody whose word does not count could make those whose does dispute each other, by contradicting them.

    Only a verdict that excludes harm disputes. One that names another harm, or leaves one open, is told and changes
    nothing: it is no reason to let the item pass, and no number bounds how many of them a contributor states in a day.
    """
    by_verdicts: dict[frozenset[str], list[AssessedStatement]] = {}
    for x in (*asserting, *harmless):
        by_verdicts.setdefault(x.verdicts, []).append(x)
    if len(by_verdicts) == 1:
        return
    claiming = {x.statement.entry.id for x in asserting}
    for doubted_verdicts, doubting_verdicts in permutations(by_verdicts, 2):
        if not _exclude(doubted_verdicts, doubting_verdicts):
            continue
        doubted = [x for x in by_verdicts[doubted_verdicts] if x.statement.entry.id in claiming]
        if not doubted:
            continue
        doubting = by_verdicts[doubting_verdicts]
        if doubting_verdicts & HARMFUL:
            for x in doubting:
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.DOUBT_CLAIMS_HARM, x.closeness, x
            continue
        for x in doubting:
            if (code := _weight(policy, x.statement)) is not ReasonCode.DISPUTED:
                yield Dispute.CONFLICTING_VERDICTS, code, x.closeness, x
        weighing = [x for x in doubting if _weight(policy, x.statement) is ReasonCode.DISPUTED]
        if not weighing:
            continue
        closest = min(x.closeness for x in weighing)
        equals = [x for x in doubted if _weight(policy, x.statement) is ReasonCode.DISPUTED]
        if equals:
            closeness = max(closest, min(x.closeness for x in equals))
            for x in (*weighing, *equals):
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.DISPUTED, closeness, x
        for x in doubted:
            if _weight(policy, x.statement) is not ReasonCode.DISPUTED:
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.CLAIM_DISPUTED, max(closest, x.closeness), x


def agree(one: Iterable[frozenset[str]], other: Iterable[frozenset[str]]) -> bool:
    """Whether some verdict of each can hold together: two who name different harms do not confirm each other."""
    return any(not _exclude(a, b) for a in one for b in other)


@cache
def _exclude(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether two entries that leave these verdicts possible cannot both be right."""
    return _meant(a).isdisjoint(_meant(b))


def _meant(verdicts: frozenset[str]) -> frozenset[str]:
    return worlds({"verdict": tuple(sorted(verdicts))})["verdict"]


_OBJECTIONS: Final = {kind: Dispute(kind.value) for kind in ReviewKind if kind.value in set(Dispute)}
_JUDGING: Final = frozenset({ReviewKind.CONFIRMED, *_OBJECTIONS})


def _is_confirmed(policy: Policy, s: Statement, people: Mapping[str, Contributor], origins: Origins) -> bool:
    """Whether somebody independent of the entry's contributor, and reliable enough to count beside it, or an operator,
    confirmed it and has not objected since.
    """
    ignored = set_aside(s.reviews)
    standing = [r for r in sorted(s.reviews, key=age_of) if r.kind in _JUDGING and r.id not in ignored]
    for author, last in {r.author: r for r in standing}.items():
        if last.kind is not ReviewKind.CONFIRMED:
            continue
        if last.role is Role.OPERATOR:
            return True
        by = people.get(author.partition("/")[0])
        if (
            by is not None
            and by.reliability <= policy.independent_from
            and origins.of(by.id).isdisjoint(origins.of(s.contributor.id))
        ):
            return True
    return False


def _objections(policy: Policy, x: AssessedStatement, people: Mapping[str, Contributor]) -> Iterator[_Raised]:
    """Yield the objections to an entry that its author has not taken back by a later CONFIRMED.

    An author's latest word counts, and nobody's confirmation outweighs another's doubt. A contributor that objects to
    its own entry takes back its own claim, and nobody else's: otherwise whoever lists what others list could dispute
    all of it, and no number bounds what one says of its own.

    An objection is about the entry on which it was made. The hub carries it over to the entries by which the
    contributor states the item again: there it stands against their claims alone. Otherwise a contributor could fetch
    one objection, restate that item with others' digests, one after the other, and so dispute all their matches.
    """
    s = x.statement
    ignored = set_aside(s.reviews)
    confirmed: dict[str, tuple[int, int]] = {}
    for r in s.reviews:
        if r.kind is ReviewKind.CONFIRMED and r.id not in ignored:
            confirmed[r.author] = max(confirmed.get(r.author, age_of(r)), age_of(r))
    for r in s.reviews:
        kind = _OBJECTIONS.get(r.kind)
        if kind is None or (r.author in confirmed and confirmed[r.author] > age_of(r)):
            continue
        author = people.get(r.author.partition("/")[0])
        if r.id in ignored:
            code = ReasonCode.DOUBT_SET_ASIDE
        elif r.role is not Role.OPERATOR and (author is None or not _counts(policy, author.reliability)):
            code = ReasonCode.DOUBT_LESS_RELIABLE
        elif (
            r.role is not Role.OPERATOR
            and r.awaits_acceptance
            and (author is None or r.revision > author.objections_accepted_revision)
        ):
            code = ReasonCode.DOUBT_NOT_ACCEPTED
        elif r.role is not Role.OPERATOR and r.author.partition("/")[0] == s.contributor.id:
            code = ReasonCode.CLAIM_DISPUTED
        else:
            code = ReasonCode.DISPUTED if r.entry_id == s.entry.id else ReasonCode.CLAIM_DISPUTED
        yield kind, code, x.closeness, x


def contests(d: _Doubt, closeness: Closeness) -> bool:
    """Whether the statements' claims count towards no clause when hits of this closeness are taken into account."""
    return d.code is ReasonCode.CLAIM_DISPUTED and d.closeness <= closeness


def _disputed_tests(
    policy: Policy, tests: Sequence[AssessedStatement], benign: Sequence[AssessedStatement]
) -> list[_Doubt]:
    """Return what disputes that it is a test item, when nothing else is claimed."""
    closest = min(x.closeness for x in tests)
    weighing = [x for x in benign if x.closeness <= closest and _weight(policy, x.statement) is ReasonCode.DISPUTED]
    return [_Doubt(ReasonCode.DISPUTED, Dispute.BENIGN_SET, closest, [*weighing, *tests])] if weighing else []


def _without_weight(d: _Doubt, closeness: Closeness) -> _Doubt | None:
    """Return the doubt with why it does not weigh in a judgement of hits of this closeness, or None where it does."""
    if d.code is ReasonCode.CLAIM_DISPUTED or (d.code is ReasonCode.DISPUTED and d.closeness <= closeness):
        return None
    return msgspec.structs.replace(d, code=ReasonCode.DOUBT_LESS_CLOSE) if d.code is ReasonCode.DISPUTED else d


def _contradictory(active: Sequence[AssessedStatement], query: Sequence[Hash]) -> list[AssessedStatement]:
    """Return the entries that bind an exact digest otherwise than another entry, or the query, that has it too."""
    if not active:
        return []
    # Mostly all state the same hashes, and one speaks for all.
    first = active[0].statement.entry.hashes
    distinct = active[:1] if all(x.statement.entry.hashes == first for x in active) else active
    asked = _exact_digests(query)
    # A query's hashes are alternatives: two of one algorithm are of two files.
    bound = [{a: digests for a, digests in asked.items() if len(digests) == 1}]
    bound += [_exact_digests(x.statement.entry.hashes) for x in distinct]
    common: dict[tuple[str, bytes, str], frozenset[bytes]] = {}
    contradicted: set[tuple[str, bytes, str]] = set()
    for by_algorithm in bound if len(distinct) > 1 or len(bound[0]) > 1 else ():
        for key, digests in _bindings(by_algorithm):
            left = common[key] = common.get(key, digests) & digests
            if not left:
                contradicted.add(key)
    if not contradicted:
        return []
    if len(distinct) < len(active):
        return list(active)
    return [
        x
        for x, by_algorithm in zip(active, bound[1:], strict=True)
        if any(key in contradicted for key, _ in _bindings(by_algorithm))
    ]


def _exact_digests(hashes: Sequence[Hash]) -> dict[str, frozenset[bytes]]:
    by_algorithm: dict[str, frozenset[bytes]] = {}
    for h in hashes:
        if not ALGORITHMS[h.algorithm].is_perceptual:
            present = by_algorithm.get(h.algorithm)
            by_algorithm[h.algorithm] = frozenset((h.digest,)) if present is None else present | {h.digest}
    return by_algorithm


def _bindings(
    by_algorithm: Mapping[str, frozenset[bytes]],
) -> Iterator[tuple[tuple[str, bytes, str], frozenset[bytes]]]:
    """Yield, for each digest and each other algorithm, that algorithm's digests."""
    for a, b in permutations(by_algorithm, 2):
        for digest in by_algorithm[a]:
            yield (a, digest, b), by_algorithm[b]


# --- Clauses ----------------------------------------------------------------------------------------------------------


def group_of(
    policy: Policy, clause: int, candidates: Sequence[AssessedStatement], origins: Origins, time: datetime
) -> list[AssessedStatement] | None:
    """Return the statements by which enough contributors meet a clause; None where they do not."""
    by_contributor: dict[str, list[AssessedStatement]] = {}
    for x in candidates:
        if _fulfils(policy, clause, x, time):
            by_contributor.setdefault(x.statement.contributor.id, []).append(x)
    verdicts = {name: {x.verdicts for x in own} for name, own in by_contributor.items()}
    group = origins.independent(verdicts, policy.clauses[clause].contributors)
    return None if group is None else [x for name in group for x in by_contributor[name]]


def _fulfils(policy: Policy, clause: int, x: AssessedStatement, time: datetime) -> bool:
    for holds in policy.tests[clause]:  # noqa: SIM110 - a generator costs as much as three demands
        if not holds(x, time):
            return False
    return True


def _unmet(
    policy: Policy, w: Assessment, asserting: Sequence[AssessedStatement], tell: _ReasonWriter
) -> list[ReasonLine]:
    if not asserting:
        return []
    lines = [
        tell.line(
            ReasonCode.CLAUSE_NOT_MET,
            f"not met: {c.title}",
            [x for x in asserting if _fulfils(policy, i, x, w.time)],
            c.id,
        )
        for i, c in enumerate(policy.clauses)
    ]
    if not all(c.drafts for c in policy.clauses):
        drafts = [x for x in asserting if is_draft(x.statement)]
        lines += tell.lines(
            ReasonCode.DRAFT_SCHEME, "the scheme's table is a draft, which leads to no automatic match", drafts
        )
    return lines


class Origins:
    """Where contributors' material comes from: everybody reached through `takes_from`, and the contributor itself."""

    def __init__(self, contributors: Mapping[str, Contributor]) -> None:
        self._contributors = contributors
        self._found: dict[str, frozenset[str]] = {}

    def of(self, contributor: str) -> frozenset[str]:
        """Return whose material a contributor has, itself included."""
        if contributor not in self._found:
            reached, todo = {contributor}, [contributor]
            while todo:
                known = self._contributors.get(todo.pop())
                # A source that the hub does not know is a source all the same: two who name it are not independent.
                for other in known.takes_from if known is not None else ():
                    if other not in reached:
                        reached.add(other)
                        todo.append(other)
            self._found[contributor] = frozenset(reached)
        return self._found[contributor]

    def independent(self, verdicts: Mapping[str, set[frozenset[str]]], count: int) -> tuple[str, ...] | None:
        """Return the first `count` pairwise independent contributors whose `verdicts` can hold together, or None."""
        for group in combinations(sorted(verdicts), count):
            if all(
                self.of(a).isdisjoint(self.of(b)) and agree(verdicts[a], verdicts[b]) for a, b in combinations(group, 2)
            ):
                return group
        return None
