"""From statements to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cache
from itertools import combinations, permutations
from typing import Final

import msgspec

from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    Classification,
    Contributor,
    Entry,
    EntryState,
    HashSet,
    Purpose,
    ReasonLine,
    Reliability,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
    Verdict,
)
from hashhub.schemes.dimensions import worlds
from hashhub.trust.policy import COUNTABLE, HARMFUL, Clause, Dispute, Policy


class Closeness(IntEnum):
    """How closely an entry was hit, the closest first. A less close hit never disputes a closer one."""

    FILE = 0  # by the digest of an exact algorithm
    DIGEST = 1  # by a perceptual digest at distance 0
    NEAR = 2  # by a perceptual digest at a greater distance


class Statement(msgspec.Struct, frozen=True):
    """An entry, who states it in which hash set, by which algorithm and at which distance it was hit, and its
    reviews.
    """

    entry: Entry
    contributor: Contributor
    hash_set: HashSet
    algorithm: str
    distance: int
    reviews: tuple[Review, ...] = ()

    @property
    def closeness(self) -> Closeness:
        """How closely the entry was hit."""
        if not ALGORITHMS[self.algorithm].is_perceptual:
            return Closeness.FILE
        return Closeness.NEAR if self.distance else Closeness.DIGEST


class ReasonCode(StrEnum):
    """Stable codes of reason lines, told in docs/reasons.md. Removing or renaming one is a breaking change."""

    # What a policy finds.
    CLAUSE_MET = "CLAUSE_MET"
    CLAUSE_NOT_MET = "CLAUSE_NOT_MET"
    HARM_CLAIMED = "HARM_CLAIMED"
    DRAFT_SCHEME = "DRAFT_SCHEME"
    DISPUTED = "DISPUTED"
    CLAIM_DISPUTED = "CLAIM_DISPUTED"
    UNDECIDED = "UNDECIDED"
    BENIGN_SET = "BENIGN_SET"
    TEST_ENTRY = "TEST_ENTRY"
    NOT_A_HARM_CLAIM = "NOT_A_HARM_CLAIM"
    NOT_ACTIVE = "NOT_ACTIVE"
    EXPIRED = "EXPIRED"
    NOTHING_KNOWN = "NOTHING_KNOWN"
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
    LOW_QUALITY = "LOW_QUALITY"
    EXACT_ONLY = "EXACT_ONLY"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and the reasons for it, the decisive one first. The codes are those of `ReasonCode`."""

    verdict: Verdict
    reasons: tuple[ReasonLine, ...]


# What being in a hash set states when the entry itself says nothing more precise.
_PURPOSES: Final = {Purpose.CSAM: ("csam",), Purpose.EXPLOITATIVE: ("exploitative",)}
# Remarks in `Entry.reasons` of an active entry (codes of hashhub.hygiene).
_UNCLASSIFIED: Final = "UNCLASSIFIED"
_AWAITS_ACCEPTANCE: Final = "AWAITS_ACCEPTANCE"
_UNDECIDED_VERDICTS: Final = frozenset({"unclassified"})

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


class _Claim(StrEnum):
    HARM = "HARM"  # every verdict that it leaves possible is harmful
    UNDECIDED = "UNDECIDED"  # harm is possible, or nobody has decided
    NONE = "NONE"  # no verdict that it leaves possible is harmful
    BENIGN = "BENIGN"  # its set is of benign items
    TEST = "TEST"  # its set is of test items


class _Doubt(msgspec.Struct, frozen=True):
    """Something that speaks against a match.

    code: DISPUTED (it stands against every match that takes hits of this closeness into account), CLAIM_DISPUTED (the
    claims of these statements count towards no clause, and that is all), or why it does not weigh.
    """

    code: ReasonCode
    kind: Dispute
    closeness: Closeness
    statements: Sequence[Statement]


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
       REVIEW at least.
    """
    # (1) what counts at all
    active: list[Statement] = []
    passive: list[Statement] = []
    expired: list[Statement] = []
    for s in statements:
        if s.entry.state is not EntryState.ACTIVE:
            passive.append(s)
        elif s.entry.expire_time is not None and s.entry.expire_time <= time:
            expired.append(s)
        else:
            active.append(s)
    # (2) what it claims
    claims: dict[_Claim, list[Statement]] = {claim: [] for claim in _Claim}
    for s in active:
        for claim in _claims(s):
            claims[claim].append(s)
    harmful, undecided, harmless, benign, tests = claims.values()
    asserting = [*harmful, *undecided]
    # (3) what stands against it
    people = contributors
    if any(s.contributor.id not in people for s in active):
        people = {**contributors, **{s.contributor.id: s.contributor for s in active}}
    doubts = list(_doubts(policy, asserting, benign, harmless, people)) if asserting else []
    # (4) what suffices
    closeness, met, disputes = _judged(policy, asserting, doubts, _Origins(people))
    # (5) the verdict, and all that led to it
    if asserting:
        verdict = Verdict.MATCH if met and not disputes else Verdict.REVIEW
    elif tests:
        disputes = _disputed_tests(policy, tests, benign)
        verdict = Verdict.REVIEW if disputes else policy.test
    else:
        verdict = Verdict.BENIGN if any(_is_accepted(s) for s in benign) else Verdict.NO_MATCH
    reasons = _told(disputes)
    if cut_short and verdict in {Verdict.NO_MATCH, Verdict.BENIGN}:
        verdict = Verdict.REVIEW
    reasons += _told(d for d in doubts if d.code is ReasonCode.CLAIM_DISPUTED)
    reasons += met or _unmet(policy, asserting)
    if cut_short:
        text = "more entries hold it than one judgement takes into account"
        reasons.append(_line(ReasonCode.JUDGEMENT_CUT_SHORT, "", text, ()))
    reasons += _lines(ReasonCode.HARM_CLAIMED, "an entry claims harm", harmful)
    reasons += _lines(ReasonCode.UNDECIDED, "an entry leaves open whether it claims harm", undecided)
    reasons += _lines(ReasonCode.TEST_ENTRY, "a set of test items holds it", tests)
    reasons += _lines(ReasonCode.BENIGN_SET, "a set of benign items holds it", benign)
    reasons += _lines(ReasonCode.NOT_A_HARM_CLAIM, "an entry examined it and claims no harm", harmless)
    reasons += _told(_without_weight(d, closeness) for d in doubts)
    if not asserting:
        waiting = [s for s in benign if not _is_accepted(s)]
        text = "the operator has not accepted what the set says; it clears nothing"
        reasons += _lines(ReasonCode.DOUBT_NOT_ACCEPTED, text, waiting, Dispute.BENIGN_SET)
    text = "the same digest is bound to different digests of another algorithm"
    reasons += _lines(ReasonCode.CONTRADICTORY_BINDING, text, _contradictory(active, query))
    reasons += _lines(ReasonCode.NOT_ACTIVE, "an entry in quarantine or withdrawn counts for nothing", passive)
    reasons += _lines(ReasonCode.EXPIRED, "an entry that has expired counts for nothing", expired)
    reasons = reasons or [_line(ReasonCode.NOTHING_KNOWN, "", "no entry holds it", ())]
    return Judgement(verdict, tuple(reasons))


def _judged(
    policy: Policy, asserting: Sequence[Statement], doubts: Sequence[_Doubt], origins: _Origins
) -> tuple[Closeness, list[ReasonLine], list[_Doubt]]:
    """Return how close the hits are that decide, the clauses that they meet, and what disputes a match of theirs."""
    closeness = Closeness.FILE
    met: list[ReasonLine] = []
    disputes: list[_Doubt] = []
    levels = sorted({s.closeness for s in asserting})
    for closeness in levels:
        disputes = [d for d in doubts if d.code is ReasonCode.DISPUTED and d.closeness <= closeness]
        candidates = asserting if closeness == levels[-1] else [s for s in asserting if s.closeness <= closeness]
        if contested := {s.entry.id for d in doubts if _contests(d, closeness) for s in d.statements}:
            candidates = [s for s in candidates if s.entry.id not in contested]
        met = [line for c in policy.clauses if (line := _met(policy, c, candidates, origins)) is not None]
        if met or disputes:
            break
    return closeness, met, disputes


# --- Claims -----------------------------------------------------------------------------------------------------------


def _verdicts(s: Statement) -> frozenset[str]:
    """Return the verdicts that the entry leaves possible: its classification's or, where it has none, its set's
    purpose.

    Of an entry whose source says nothing where it could have said something, or says something that is no verdict
    (INTERPOL Baseline N), only the listing is known: nothing is decided, and the set's purpose decides nothing for it.
    """
    if _UNCLASSIFIED in s.entry.reasons:
        return _UNDECIDED_VERDICTS
    classification = _classified(s.entry)
    if classification is not None:
        return frozenset(classification.dimensions["verdict"])
    by_purpose = frozenset(_PURPOSES.get(s.hash_set.purpose, ()))
    return _UNDECIDED_VERDICTS if by_purpose and s.entry.classification is not None else by_purpose


def _classified(entry: Entry) -> Classification | None:
    """Return the entry's classification if it carries a verdict."""
    classification = entry.classification
    return classification if classification is not None and "verdict" in classification.dimensions else None


def _claims(s: Statement) -> tuple[_Claim, ...]:
    stated = _verdicts(s)
    if s.hash_set.purpose is Purpose.TEST:
        return (_Claim.TEST,)
    if s.hash_set.purpose is Purpose.BENIGN:
        # A harmful value in a benign set is a mistake on one side or the other, and a missing one may be either: it
        # must neither clear the item nor accuse it.
        return (_Claim.BENIGN, _Claim.UNDECIDED) if stated & COUNTABLE else (_Claim.BENIGN,)
    if stated <= HARMFUL:
        return (_Claim.HARM,)
    return (_Claim.UNDECIDED,) if stated & COUNTABLE else (_Claim.NONE,)


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
    asserting: Sequence[Statement],
    benign: Sequence[Statement],
    harmless: Sequence[Statement],
    people: Mapping[str, Contributor],
) -> Iterator[_Doubt]:
    """Yield everything that speaks against a match, whether or not it weighs, in the order of `Dispute`."""
    grouped: dict[tuple[Dispute, ReasonCode, Closeness], dict[int, Statement]] = {}
    raised = [
        *((Dispute.BENIGN_SET, _weight(policy, s), s.closeness, s) for s in benign),
        *_conflicts(policy, asserting, harmless),
        *(x for s in asserting if s.reviews for x in _objections(policy, s, people)),
    ]
    for kind, code, closeness, s in raised:
        if kind not in policy.disputed_by:
            code = ReasonCode.DOUBT_NOT_IN_POLICY  # noqa: PLW2901 - whoever raised it
        grouped.setdefault((kind, code, closeness), {})[s.entry.id] = s
    for kind, code, closeness in sorted(grouped, key=_doubt_order):
        yield _Doubt(code, kind, closeness, list(grouped[kind, code, closeness].values()))


_KINDS: Final = {kind: i for i, kind in enumerate(Dispute)}
_CODES: Final = {code: i for i, code in enumerate(ReasonCode)}


def _doubt_order(key: tuple[Dispute, ReasonCode, Closeness]) -> tuple[int, int, int]:
    kind, code, closeness = key
    return _KINDS[kind], _CODES[code], closeness


_Raised = tuple[Dispute, ReasonCode, Closeness, Statement]


def _conflicts(policy: Policy, asserting: Sequence[Statement], harmless: Sequence[Statement]) -> Iterator[_Raised]:
    """Yield the doubts of entries whose verdict cannot hold beside that of an entry that may claim harm.

    Where both sides' words count, the match is disputed. Where only the doubter's does, the other side's claim is:
    otherwise somebody whose word does not count could make those whose does dispute each other, by contradicting them.

    Only a verdict that excludes harm disputes. One that names another harm, or leaves one open, is told and changes
    nothing: it is no reason to let the item pass, and no number bounds how many of them a contributor states in a day.
    """
    by_verdicts: dict[frozenset[str], list[Statement]] = {}
    for s in (*asserting, *harmless):
        by_verdicts.setdefault(_verdicts(s), []).append(s)
    if len(by_verdicts) == 1:
        return
    claiming = {s.entry.id for s in asserting}
    for doubted_verdicts, doubting_verdicts in permutations(by_verdicts, 2):
        if not _exclude(doubted_verdicts, doubting_verdicts):
            continue
        doubted = [s for s in by_verdicts[doubted_verdicts] if s.entry.id in claiming]
        if not doubted:
            continue
        doubting = by_verdicts[doubting_verdicts]
        if doubting_verdicts & HARMFUL:
            for s in doubting:
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.DOUBT_CLAIMS_HARM, s.closeness, s
            continue
        weights = [_weight(policy, s) for s in doubting]
        for s, code in zip(doubting, weights, strict=True):
            if code is not ReasonCode.DISPUTED:
                yield Dispute.CONFLICTING_VERDICTS, code, s.closeness, s
        weighing = [s for s, code in zip(doubting, weights, strict=True) if code is ReasonCode.DISPUTED]
        if not weighing:
            continue
        closest = min(s.closeness for s in weighing)
        equals = [s for s in doubted if _weight(policy, s) is ReasonCode.DISPUTED]
        if equals:
            closeness = max(closest, min(s.closeness for s in equals))
            for s in (*weighing, *equals):
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.DISPUTED, closeness, s
        for s in doubted:
            if _weight(policy, s) is not ReasonCode.DISPUTED:
                yield Dispute.CONFLICTING_VERDICTS, ReasonCode.CLAIM_DISPUTED, max(closest, s.closeness), s


def _agree(one: Iterable[frozenset[str]], other: Iterable[frozenset[str]]) -> bool:
    """Whether some verdict of each can hold together: two who name different harms do not confirm each other."""
    return any(not _exclude(a, b) for a in one for b in other)


@cache
def _exclude(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether two entries that leave these verdicts possible cannot both be right."""
    return _meant(a).isdisjoint(_meant(b))


def _meant(verdicts: frozenset[str]) -> frozenset[str]:
    return worlds({"verdict": tuple(sorted(verdicts))})["verdict"]


_OBJECTIONS: Final = {kind: Dispute(kind.value) for kind in ReviewKind if kind.value in set(Dispute)}


def _objections(policy: Policy, s: Statement, people: Mapping[str, Contributor]) -> Iterator[_Raised]:
    """Yield the objections to an entry that its author has not taken back by a later CONFIRMED.

    An author's latest word counts, and nobody's confirmation outweighs another's doubt. A contributor that objects to
    its own entry takes back its own claim, and nobody else's: otherwise whoever lists what others list could dispute
    all of it, and no number bounds what one says of its own.

    An objection is about the entry on which it was made. The hub carries it over to the entries by which the
    contributor states the item again: there it stands against their claims alone. Otherwise a contributor could fetch
    one objection, restate that item with others' digests, one after the other, and so dispute all their matches.
    """
    ignored = set_aside(s.reviews)
    confirmed: dict[str, tuple[int, int]] = {}
    for r in s.reviews:
        if r.kind is ReviewKind.CONFIRMED and r.id not in ignored:
            confirmed[r.author] = max(confirmed.get(r.author, _age(r)), _age(r))
    for r in s.reviews:
        kind = _OBJECTIONS.get(r.kind)
        if kind is None or (r.author in confirmed and confirmed[r.author] > _age(r)):
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
        yield kind, code, s.closeness, s


def set_aside(reviews: Iterable[Review]) -> set[int]:
    """Return the ids of the reviews that an operator's statement sets aside which is not itself set aside by a newer
    one.
    """
    ignored: set[int] = set()
    for r in sorted(reviews, key=_age, reverse=True):
        if r.kind is ReviewKind.SET_ASIDE and r.role is Role.OPERATOR and r.id not in ignored:
            ignored.add(r.sets_aside)
    return ignored


def _age(r: Review) -> tuple[int, int]:
    return r.revision, r.id


def _contests(d: _Doubt, closeness: Closeness) -> bool:
    """Whether the statements' claims count towards no clause when hits of this closeness are taken into account."""
    return d.code is ReasonCode.CLAIM_DISPUTED and d.closeness <= closeness


def _disputed_tests(policy: Policy, tests: Sequence[Statement], benign: Sequence[Statement]) -> list[_Doubt]:
    """Return what disputes that it is a test item, when nothing else is claimed."""
    closest = min(s.closeness for s in tests)
    weighing = [s for s in benign if s.closeness <= closest and _weight(policy, s) is ReasonCode.DISPUTED]
    return [_Doubt(ReasonCode.DISPUTED, Dispute.BENIGN_SET, closest, [*weighing, *tests])] if weighing else []


def _without_weight(d: _Doubt, closeness: Closeness) -> _Doubt | None:
    """Return the doubt with why it does not weigh in a judgement of hits of this closeness, or None where it does."""
    if d.code is ReasonCode.CLAIM_DISPUTED or (d.code is ReasonCode.DISPUTED and d.closeness <= closeness):
        return None
    return msgspec.structs.replace(d, code=ReasonCode.DOUBT_LESS_CLOSE) if d.code is ReasonCode.DISPUTED else d


def _told(doubts: Iterable[_Doubt | None]) -> list[ReasonLine]:
    """Return a line for each code and kind of doubt, those that do not count included."""
    told: dict[tuple[ReasonCode, Dispute], list[Statement]] = {}
    for d in doubts:
        if d is not None:
            told.setdefault((d.code, d.kind), []).extend(d.statements)
    return [
        _line(code, kind, f"{_DISPUTE_TEXTS[kind]}{_WEIGHT_TEXTS.get(code, '')}", statements)
        for (code, kind), statements in told.items()
    ]


def _contradictory(active: Sequence[Statement], query: Sequence[Hash]) -> list[Statement]:
    """Return the entries that bind an exact digest otherwise than another entry, or the query, that has it too."""
    if not active:
        return []
    # Mostly all state the same hashes, and one speaks for all.
    first = active[0].entry.hashes
    distinct = active[:1] if all(s.entry.hashes == first for s in active) else active
    asked = _exact_digests(query)
    # A query's hashes are alternatives: two of one algorithm are of two files.
    bound = [{a: digests for a, digests in asked.items() if len(digests) == 1}]
    bound += [_exact_digests(s.entry.hashes) for s in distinct]
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
        s
        for s, by_algorithm in zip(active, bound[1:], strict=True)
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


def _met(policy: Policy, c: Clause, candidates: Sequence[Statement], origins: _Origins) -> ReasonLine | None:
    by_contributor: dict[str, list[Statement]] = {}
    for s in candidates:
        if _fulfils(policy, c, s):
            by_contributor.setdefault(s.contributor.id, []).append(s)
    verdicts = {name: {_verdicts(s) for s in own} for name, own in by_contributor.items()}
    group = origins.independent(verdicts, c.contributors)
    if group is None:
        return None
    return _line(ReasonCode.CLAUSE_MET, c.id, c.title, [s for name in group for s in by_contributor[name]])


def _fulfils(policy: Policy, c: Clause, s: Statement) -> bool:
    classification = _classified(s.entry)
    return (
        s.hash_set.purpose in _PURPOSES
        # `unclassified` allows every verdict, so a clause that takes it takes whatever may be harmful.
        and ("unclassified" in c.verdicts or _verdicts(s).issubset(c.verdicts))
        and (c.contributors == 1 or s.contributor.reliability <= policy.independent_from)
        and (not c.reliability or s.contributor.reliability in c.reliability)
        and (not c.verified_scheme or (classification is not None and classification.status is SchemeStatus.VERIFIED))
        and (c.drafts or not _is_draft(s))
        and s.hash_set.review_depth >= c.min_review_depth
    )


def _is_draft(s: Statement) -> bool:
    return s.entry.classification is not None and s.entry.classification.status is SchemeStatus.DRAFT


def _unmet(policy: Policy, asserting: Sequence[Statement]) -> list[ReasonLine]:
    if not asserting:
        return []
    lines = [
        _line(ReasonCode.CLAUSE_NOT_MET, c.id, f"not met: {c.title}", [s for s in asserting if _fulfils(policy, c, s)])
        for c in policy.clauses
    ]
    if not all(c.drafts for c in policy.clauses):
        drafts = [s for s in asserting if _is_draft(s)]
        lines += _lines(
            ReasonCode.DRAFT_SCHEME, "the scheme's table is a draft, which leads to no automatic match", drafts
        )
    return lines


class _Origins:
    """Where contributors' material comes from: everybody reached through `takes_from`, and the contributor itself."""

    def __init__(self, contributors: Mapping[str, Contributor]) -> None:
        self._contributors = contributors
        self._found: dict[str, frozenset[str]] = {}

    def of(self, contributor: str) -> frozenset[str]:
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
        """Return the first `count` contributors that are pairwise independent and whose verdicts can hold together, or
        None. `verdicts`: those that each states.
        """
        for group in combinations(sorted(verdicts), count):
            if all(
                self.of(a).isdisjoint(self.of(b)) and _agree(verdicts[a], verdicts[b])
                for a, b in combinations(group, 2)
            ):
                return group
        return None


def _line(code: ReasonCode, clause: str, text: str, statements: Iterable[Statement]) -> ReasonLine:
    # By number within a set: names as text would come in an order that depends on how many digits the ids have.
    entries = {(s.entry.contributor, s.entry.hash_set, s.entry.id): s.entry for s in statements}
    return ReasonLine(
        code=code.value, clause=str(clause), text=text, entries=tuple(entries[key].name for key in sorted(entries))
    )


def _lines(code: ReasonCode, text: str, statements: Sequence[Statement], clause: str = "") -> list[ReasonLine]:
    return [_line(code, clause, text, statements)] if statements else []
