"""Statements in few words, and what the policies make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from hashhub import schemes, trust
from hashhub.hashes import Hash
from hashhub.model import (
    Contributor,
    ContributorKind,
    Entry,
    EntryState,
    HashSet,
    Provenance,
    Purpose,
    Reliability,
    Review,
    ReviewKind,
    Role,
    Verdict,
)
from hashhub.trust import Statement

REGISTRY = schemes.load()
POLICIES = trust.load()
ANY, BLOCK = POLICIES["any"], POLICIES["block"]
FROM = Provenance(import_id="i", connector="csv", connector_version="1", source_digest="", position="line 1")
TIME = datetime(2026, 1, 2, tzinfo=UTC)
MD5 = Hash.of("MD5", b"0123456789abcdef")
NEARNESS = {Verdict.NO_MATCH: 0, Verdict.BENIGN: 0, Verdict.REVIEW: 1, Verdict.MATCH: 2}


def contributor(id_: str, reliability: str = "B", takes_from: Iterable[str] = ()) -> Contributor:
    return Contributor(
        id=id_,
        display_name=id_,
        kind=ContributorKind.HOTLINE,
        jurisdiction="ZZ",
        reliability=Reliability(reliability),
        takes_from=tuple(takes_from),
    )


def review(
    kind: ReviewKind,
    author: str = "x",
    *,
    number: int = 1,
    entry_id: int = 1,
    role: Role = Role.CONTRIBUTOR,
    awaits_acceptance: bool = False,
    sets_aside: int = 0,
) -> Review:
    return Review(
        id=number,
        entry_id=entry_id,
        author=author,
        kind=kind,
        revision=number,
        role=role,
        awaits_acceptance=awaits_acceptance,
        sets_aside=sets_aside,
    )


def states(
    who: str | Contributor,
    value: str = "",
    *,
    purpose: Purpose = Purpose.CSAM,
    state: EntryState = EntryState.ACTIVE,
    reviews: Sequence[tuple[ReviewKind, str] | Review] = (),
    entry_id: int = 1,
    depth: int = 0,
    distance: int | None = None,
    hashes: Sequence[Hash] = (MD5,),
    reasons: Sequence[str] = (),
    accepted: bool = True,
    expire_time: datetime | None = None,
) -> Statement:
    """`value` is `scheme:raw`; reviews are (kind, author), oldest first; `distance`: of a hit by PDQ; None: by MD5."""
    by = contributor(who) if isinstance(who, str) else who
    scheme, _, raw = value.partition(":")
    classification = REGISTRY.get(scheme).resolve(raw) if scheme else None
    assert bool(scheme) == (classification is not None)
    entry = Entry(
        id=entry_id,
        contributor=by.id,
        hash_set=purpose.lower(),
        hashes=tuple(hashes),
        state=state,
        provenance=FROM,
        classification=classification,
        reasons=tuple(reasons),
        create_revision=7,
        expire_time=expire_time,
    )
    hash_set = HashSet(
        contributor=by.id,
        id=purpose.lower(),
        purpose=purpose,
        review_depth=depth,
        accepted_revision=7 if accepted else 6,
    )
    made = [r if isinstance(r, Review) else review(*r, number=i, entry_id=entry_id) for i, r in enumerate(reviews, 1)]
    algorithm = "MD5" if distance is None else "PDQ"
    return Statement(entry, by, hash_set, algorithm, distance or 0, tuple(made))


# Whose word counts, and who only speaks.
REVIEWERS = (contributor("x"), contributor("y"), contributor("z"), contributor("loud", "F"))


def decide(
    policy: trust.Policy,
    statements: Sequence[Statement],
    known: Iterable[Contributor] = (),
    *,
    query: Sequence[Hash] = (),
    cut_short: bool = False,
) -> trust.Judgement:
    people = {c.id: c for c in (*REVIEWERS, *known)}
    return trust.decide(policy, statements, people, time=TIME, query=query, cut_short=cut_short)


def judge(policy: trust.Policy, *statements: Statement, known: Iterable[Contributor] = ()) -> Verdict:
    return decide(policy, statements, known).verdict


def codes(policy: trust.Policy, *statements: Statement, known: Iterable[Contributor] = ()) -> set[tuple[str, str]]:
    return {(r.code, r.clause) for r in decide(policy, statements, known).reasons}
