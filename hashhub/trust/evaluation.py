"""From statements to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import combinations

import msgspec

from hashhub.model import (
    Contributor,
    Entry,
    EntryState,
    HashSet,
    Purpose,
    Review,
    ReviewKind,
    SchemeStatus,
    Verdict,
)
from hashhub.schemes.dimensions import worlds
from hashhub.trust.policy import COUNTABLE, HARMFUL, Clause, Dispute, Policy


class Statement(msgspec.Struct, frozen=True):
    """An entry that was hit, who states it, in which hash set, and every review of it."""

    entry: Entry
    contributor: Contributor
    hash_set: HashSet
    reviews: tuple[Review, ...] = ()


class ReasonCode(StrEnum):
    """Stable codes of reason lines. Removing or renaming one is a breaking change."""

    CLAUSE_MET = "CLAUSE_MET"
    CLAUSE_NOT_MET = "CLAUSE_NOT_MET"
    DISPUTED = "DISPUTED"
    UNDECIDED = "UNDECIDED"
    BENIGN_SET = "BENIGN_SET"
    TEST_ENTRY = "TEST_ENTRY"
    NOT_A_HARM_CLAIM = "NOT_A_HARM_CLAIM"
    NOT_ACTIVE = "NOT_ACTIVE"
    NOTHING_KNOWN = "NOTHING_KNOWN"


class ReasonLine(msgspec.Struct, frozen=True):
    """One reason: its code, the clause or kind of dispute it comes from (may be empty), a sentence, the sorted names of entries."""

    code: ReasonCode
    clause: str
    text: str
    entries: tuple[str, ...] = ()


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and the reasons for it, the decisive one first."""

    verdict: Verdict
    reasons: tuple[ReasonLine, ...]


class _Claim(StrEnum):
    HARM = "HARM"  # every verdict that it leaves possible is harmful
    UNDECIDED = "UNDECIDED"  # harm is possible, or nobody has decided
    NONE = "NONE"  # no verdict that it leaves possible is harmful
    BENIGN = "BENIGN"
    TEST = "TEST"


def evaluate(policy: Policy, statements: Sequence[Statement], contributors: Mapping[str, Contributor]) -> Judgement:
    """Return the policy's verdict about one item. Pure; the order of statements, reviews and contributors does not matter.

    `contributors` is everybody whom the hub knows, for who takes material from whom; the statements' own are added.

    1. Entries that are not ACTIVE count for nothing.
    2. Each other entry is a claim: of harm, undecided, of no harm, benign (its set's purpose), or a test item (likewise).
    3. What stands against a match is collected, as far as the policy lets it dispute one.
    4. Each clause looks for enough pairwise independent contributors among the entries that fulfil it.
    5. MATCH if a clause is met and nothing is disputed; otherwise REVIEW if anything is claimed, undecided or disputed; otherwise
       the policy's verdict on test items; otherwise BENIGN; otherwise NO_MATCH.
    """
    # (1)
    active = sorted((s for s in statements if s.entry.state is EntryState.ACTIVE), key=_key)
    passive = [s for s in statements if s.entry.state is not EntryState.ACTIVE]
    # (2)
    by_claim: dict[_Claim, list[Statement]] = {claim: [] for claim in _Claim}
    for s in active:
        by_claim[_claim(s)].append(s)
    asserting = [*by_claim[_Claim.HARM], *by_claim[_Claim.UNDECIDED]]
    tests, benign, harmless = by_claim[_Claim.TEST], by_claim[_Claim.BENIGN], by_claim[_Claim.NONE]
    # (3)
    disputes = _disputes(policy, asserting, benign, harmless)
    if benign and tests and not asserting:
        disputes.append(
            _line(ReasonCode.DISPUTED, Dispute.BENIGN_SET, "a test set and a benign set both hold it", benign + tests)
        )
    # (4)
    origins = _Origins({**contributors, **{s.contributor.id: s.contributor for s in statements}})
    met = [line for c in policy.clauses if (line := _met(c, asserting, origins)) is not None]
    # (5)
    rest = [
        _line(code, "", text, found)
        for code, text, found in (
            (ReasonCode.UNDECIDED, "an entry leaves open whether it claims harm", by_claim[_Claim.UNDECIDED]),
            (ReasonCode.TEST_ENTRY, "a set of test items holds it", tests),
            (ReasonCode.BENIGN_SET, "a set of benign items holds it", benign),
            (ReasonCode.NOT_A_HARM_CLAIM, "an entry examined it and claims no harm", harmless),
            (ReasonCode.NOT_ACTIVE, "an entry in quarantine or withdrawn counts for nothing", passive),
        )
        if found
    ]
    unmet = _unmet(policy, asserting) if asserting and not met else []
    reasons = (*disputes, *met, *unmet, *rest)
    if disputes:
        return Judgement(Verdict.REVIEW, reasons)
    if met:
        return Judgement(Verdict.MATCH, reasons)
    if asserting:
        return Judgement(Verdict.REVIEW, reasons)
    if tests:
        return Judgement(policy.test, reasons)
    if benign:
        return Judgement(Verdict.BENIGN, reasons)
    nothing = _line(ReasonCode.NOTHING_KNOWN, "", "no active entry claims harm", ())
    return Judgement(Verdict.NO_MATCH, reasons or (nothing,))


def _verdicts(s: Statement) -> frozenset[str]:
    """Return the verdicts that the entry leaves possible, by name.

    A classified entry speaks for itself: where its value carries no verdict (COPINE 1) the purpose of the set does not lend it one.
    """
    if s.entry.classification is None:
        return frozenset({"csam" if s.hash_set.purpose is Purpose.CSAM else "exploitative"})
    return frozenset(s.entry.classification.dimensions.get("verdict", ("unclassified",)))


def _claim(s: Statement) -> _Claim:
    if s.hash_set.purpose is Purpose.TEST:
        return _Claim.TEST
    if s.hash_set.purpose is Purpose.BENIGN:
        # A harmful value in a benign set is a mistake on one side or the other; it must not clear the item.
        stated = _verdicts(s) if s.entry.classification is not None else frozenset[str]()
        return _Claim.UNDECIDED if stated & HARMFUL else _Claim.BENIGN
    stated = _verdicts(s)
    if stated <= HARMFUL:
        return _Claim.HARM
    return _Claim.UNDECIDED if stated & COUNTABLE else _Claim.NONE


def _disputes(
    policy: Policy, asserting: Sequence[Statement], benign: Sequence[Statement], harmless: Sequence[Statement]
) -> list[ReasonLine]:
    """Return a line for each kind of dispute that the policy admits and that stands, in the order of `Dispute`."""
    lines: list[ReasonLine] = []
    for kind in Dispute:
        if kind not in policy.disputed_by:
            continue
        if kind is Dispute.BENIGN_SET:
            found = [*benign, *asserting] if benign and asserting else []
            text = "a set of benign items holds it too"
        elif kind is Dispute.CONFLICTING_VERDICTS:
            found = _conflicting([*asserting, *harmless]) if asserting else []
            text = "two entries' verdicts cannot both hold"
        else:
            found = [s for s in asserting if _stands(ReviewKind(kind.value), s.reviews)]
            text = f"a review says {kind.value.replace('_', ' ').lower()}"
        if found:
            lines.append(_line(ReasonCode.DISPUTED, kind, text, found))
    return lines


def _conflicting(statements: Sequence[Statement]) -> list[Statement]:
    meant = [(s, worlds({"verdict": tuple(sorted(_verdicts(s)))})["verdict"]) for s in statements]
    return [s for s, a in meant if any(a.isdisjoint(b) for _, b in meant)]


def _stands(kind: ReviewKind, reviews: Iterable[Review]) -> bool:
    """Whether a review of this kind stands: its author has not confirmed the entry in a later review.

    An author's latest word counts, and nobody's confirmation outweighs another's doubt.
    """
    latest: dict[str, Review] = {}
    for r in reviews:
        if r.kind in {kind, ReviewKind.CONFIRMED} and (r.author not in latest or _age(r) > _age(latest[r.author])):
            latest[r.author] = r
    return any(r.kind is kind for r in latest.values())


def _age(r: Review) -> tuple[int, int, bool]:
    # Ids are unique; should two reviews carry the same one all the same, doubt outweighs confirmation.
    return r.revision, r.id, r.kind is not ReviewKind.CONFIRMED


def _met(c: Clause, asserting: Sequence[Statement], origins: _Origins) -> ReasonLine | None:
    by_contributor: dict[str, list[Statement]] = {}
    for s in asserting:
        if _fulfils(c, s):
            by_contributor.setdefault(s.contributor.id, []).append(s)
    group = origins.independent(sorted(by_contributor), c.contributors)
    if group is None:
        return None
    return _line(ReasonCode.CLAUSE_MET, c.id, c.title, [s for name in group for s in by_contributor[name]])


def _fulfils(c: Clause, s: Statement) -> bool:
    classification = s.entry.classification
    status = classification.status if classification is not None else None
    return (
        s.hash_set.purpose in {Purpose.CSAM, Purpose.EXPLOITATIVE}
        and _verdicts(s).issubset(c.verdicts)
        and (not c.reliability or s.contributor.reliability in c.reliability)
        and (not c.verified_scheme or status is SchemeStatus.VERIFIED)
        and (c.drafts or status is not SchemeStatus.DRAFT)
        and s.hash_set.review_depth >= c.min_review_depth
    )


def _unmet(policy: Policy, asserting: Sequence[Statement]) -> list[ReasonLine]:
    return [
        _line(ReasonCode.CLAUSE_NOT_MET, c.id, f"not met: {c.title}", [s for s in asserting if _fulfils(c, s)])
        for c in policy.clauses
    ]


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

    def independent(self, names: Sequence[str], count: int) -> tuple[str, ...] | None:
        """Return the first `count` of `names` that are pairwise independent, or None."""
        for group in combinations(names, count):
            if all(self.of(a).isdisjoint(self.of(b)) for a, b in combinations(group, 2)):
                return group
        return None


def _line(code: ReasonCode, clause: str, text: str, statements: Iterable[Statement]) -> ReasonLine:
    return ReasonLine(code, str(clause), text, tuple(sorted({s.entry.name for s in statements})))


def _key(s: Statement) -> tuple[str, str, int]:
    return s.entry.contributor, s.entry.hash_set, s.entry.id
