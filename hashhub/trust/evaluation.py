"""From statements to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import combinations
from typing import Final

import msgspec

from hashhub.model import (
    Classification,
    Contributor,
    Entry,
    EntryState,
    HashSet,
    Purpose,
    ReasonLine,
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
    """Stable codes of reason lines, told in docs/reasons.md. Removing or renaming one is a breaking change."""

    # What a policy finds.

    CLAUSE_MET = "CLAUSE_MET"
    CLAUSE_NOT_MET = "CLAUSE_NOT_MET"
    HARM_CLAIMED = "HARM_CLAIMED"
    DRAFT_SCHEME = "DRAFT_SCHEME"
    DISPUTED = "DISPUTED"
    UNDECIDED = "UNDECIDED"
    BENIGN_SET = "BENIGN_SET"
    TEST_ENTRY = "TEST_ENTRY"
    NOT_A_HARM_CLAIM = "NOT_A_HARM_CLAIM"
    NOT_ACTIVE = "NOT_ACTIVE"
    NOTHING_KNOWN = "NOTHING_KNOWN"

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


class _Claim(StrEnum):
    HARM = "HARM"  # every verdict that it leaves possible is harmful
    UNDECIDED = "UNDECIDED"  # harm is possible, or nobody has decided
    NONE = "NONE"  # no verdict that it leaves possible is harmful
    BENIGN = "BENIGN"  # its set is of benign items
    TEST = "TEST"  # its set is of test items


def evaluate(policy: Policy, statements: Sequence[Statement], contributors: Mapping[str, Contributor]) -> Judgement:
    """Return the policy's verdict about one item. Pure; the order of statements, reviews and contributors does not matter.

    `contributors` is everybody whom the hub knows, for who takes material from whom; the statements' own are added.

    1. Entries that are not ACTIVE count for nothing.
    2. Each other entry makes a claim: of harm, undecided, of no harm, benign (its set's purpose), or a test item (likewise).
    3. What stands against a match is collected, as far as the policy lets it dispute one.
    4. Each clause looks for enough pairwise independent contributors among the entries that fulfil it.
    5. MATCH if a clause is met and nothing is disputed; otherwise REVIEW if anything is claimed, undecided or disputed; otherwise
       the policy's verdict on test items; otherwise BENIGN; otherwise NO_MATCH.
    """
    # (1) what counts at all
    active = [s for s in statements if s.entry.state is EntryState.ACTIVE]
    passive = [s for s in statements if s.entry.state is not EntryState.ACTIVE]
    # (2) what it claims
    claims: dict[_Claim, list[Statement]] = {claim: [] for claim in _Claim}
    for s in active:
        for claim in _claims(s):
            claims[claim].append(s)
    harmful, undecided, tests, benign = (claims[c] for c in (_Claim.HARM, _Claim.UNDECIDED, _Claim.TEST, _Claim.BENIGN))
    asserting = [*harmful, *undecided]
    # (3) what stands against it
    disputes = _disputes(policy, asserting, benign, claims[_Claim.NONE])
    if benign and tests and not asserting:
        disputes.append(
            _line(ReasonCode.DISPUTED, "", "a set of test items and one of benign items hold it", benign + tests)
        )
    # (4) what suffices
    origins = _Origins({**contributors, **{s.contributor.id: s.contributor for s in statements}})
    met = [line for c in policy.clauses if (line := _met(c, asserting, origins)) is not None]
    # (5) the verdict, and all that led to it
    reasons = [*disputes, *met]
    if not met:
        reasons += _unmet(policy, asserting)
    reasons += _lines(ReasonCode.HARM_CLAIMED, "an entry claims harm", harmful)
    reasons += _lines(ReasonCode.UNDECIDED, "an entry leaves open whether it claims harm", undecided)
    reasons += _lines(ReasonCode.TEST_ENTRY, "a set of test items holds it", tests)
    reasons += _lines(ReasonCode.BENIGN_SET, "a set of benign items holds it", benign)
    reasons += _lines(ReasonCode.NOT_A_HARM_CLAIM, "an entry examined it and claims no harm", claims[_Claim.NONE])
    reasons += _lines(ReasonCode.NOT_ACTIVE, "an entry in quarantine or withdrawn counts for nothing", passive)
    reasons = reasons or [_line(ReasonCode.NOTHING_KNOWN, "", "no entry holds it", ())]
    if disputes:
        verdict = Verdict.REVIEW
    elif met:
        verdict = Verdict.MATCH
    elif asserting:
        verdict = Verdict.REVIEW
    elif tests:
        verdict = policy.test
    elif benign:
        verdict = Verdict.BENIGN
    else:
        verdict = Verdict.NO_MATCH
    return Judgement(verdict, tuple(reasons))


def _verdicts(s: Statement) -> frozenset[str]:
    """Return the verdicts that the entry leaves possible: its classification's or, where that carries none, its set's purpose."""
    classification = _classified(s.entry)
    if classification is not None:
        return frozenset(classification.dimensions["verdict"])
    return frozenset(_PURPOSES.get(s.hash_set.purpose, ()))


def _classified(entry: Entry) -> Classification | None:
    """Return the entry's classification if it carries a verdict."""
    found = entry.classification
    return found if found is not None and "verdict" in found.dimensions else None


def _claims(s: Statement) -> tuple[_Claim, ...]:
    stated = _verdicts(s)
    if s.hash_set.purpose is Purpose.TEST:
        return (_Claim.TEST,)
    if s.hash_set.purpose is Purpose.BENIGN:
        # A harmful value in a benign set is a mistake on one side or the other: it must neither clear the item nor accuse it.
        return (_Claim.BENIGN, _Claim.UNDECIDED) if stated & HARMFUL else (_Claim.BENIGN,)
    if stated <= HARMFUL:
        return (_Claim.HARM,)
    return (_Claim.UNDECIDED,) if stated & COUNTABLE else (_Claim.NONE,)


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
            lines.append(_line(ReasonCode.DISPUTED, kind.value, text, found))
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
    classification = _classified(s.entry)
    return (
        s.hash_set.purpose in _PURPOSES
        # `unclassified` allows every verdict, so a clause that takes it takes whatever may be harmful.
        and ("unclassified" in c.verdicts or _verdicts(s).issubset(c.verdicts))
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
        _line(ReasonCode.CLAUSE_NOT_MET, c.id, f"not met: {c.title}", [s for s in asserting if _fulfils(c, s)])
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

    def independent(self, names: Sequence[str], count: int) -> tuple[str, ...] | None:
        """Return the first `count` of `names` that are pairwise independent, or None."""
        for group in combinations(names, count):
            if all(self.of(a).isdisjoint(self.of(b)) for a, b in combinations(group, 2)):
                return group
        return None


def _line(code: ReasonCode, clause: str, text: str, statements: Iterable[Statement]) -> ReasonLine:
    names = tuple(sorted({s.entry.name for s in statements}))
    return ReasonLine(code=code.value, clause=clause, text=text, entries=names)


def _lines(code: ReasonCode, text: str, statements: Sequence[Statement]) -> list[ReasonLine]:
    return [_line(code, "", text, statements)] if statements else []
