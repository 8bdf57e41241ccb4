"""Pictures that were made to come near a listed one: each answer says so, and a policy can ask for more."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import combinations
from random import Random

import pytest

from hashhub.hashes import Hash
from hashhub.model import (
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    ReviewKind,
    Role,
    VariantHashes,
    Verdict,
)
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, Open, digest, near, writer
from tests.hub.test_videos import noisy, video

ALONE = "ONE_PERCEPTUAL_ALGORITHM"
ALL = ("MD5", "SHA256", "PDQ", "PHASH", "DHASH")


def record(number: int, *algorithms: str, category: str = "1", **fields: object) -> Record:
    hashes = tuple(digest(a, number) for a in algorithms)
    return Record(position=f"line {number}", hashes=hashes, value=category, **fields)  # type: ignore[arg-type]


@dataclass
class Ask:
    desk: Desk

    def __call__(self, *hashes: Hash, policy: str = "block-corroborated", **fields: object) -> MatchResult:
        query = Query(hashes=hashes, **fields)  # type: ignore[arg-type]
        return self.desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy=policy))[0][0]

    def verdicts(self, *hashes: Hash, **fields: object) -> tuple[Verdict, Verdict]:
        return tuple(self(*hashes, policy=p, **fields).verdict for p in ("block", "block-corroborated"))  # type: ignore[return-value]


@pytest.fixture
def ask(desk: Desk) -> Ask:
    """A hub with a reliable contributor's list, of which all digests are known to a forger."""
    desk.contributor("police", reliability="A")
    desk.hash_set("police/known", scheme="vic-us")
    desk.contribute("police/known", record(1, *ALL), record(2, "PDQ"))
    return Ask(desk)


def codes(result: MatchResult) -> set[str]:
    return {line.code for line in result.reasons}


def test_a_thousand_forged_pictures_block_nobody_and_the_listed_one_is_blocked(ask: Ask) -> None:
    random = Random("forged")
    forged = []
    for n in range(1_000):
        value = int.from_bytes(digest("PDQ", 1).digest)
        for bit in random.sample(range(256), n % 32):
            value ^= 1 << bit
        # What the upload has besides is its own.
        others = [digest(a, 1_000 + n) for a in ("MD5", "SHA256", "PHASH", "DHASH")]
        forged.append(Query(hashes=(Hash("PDQ", value.to_bytes(32)), *others)))
    hub = ask.desk.hub
    answers, _ = hub.match.hashes(PLATFORM, forged, MatchOptions(policy="block-corroborated"))
    assert {a.verdict for a in answers} == {Verdict.REVIEW}
    assert all(ALONE in codes(a) for a in answers if a.matches)
    other = Principal(name="other", role=Role.CONSUMER)  # of whose traffic the circuit breaker knows nothing
    uncorroborated, _ = hub.match.hashes(other, forged[:100], MatchOptions(policy="block"))
    assert {a.verdict for a in uncorroborated} == {Verdict.MATCH}
    assert all(ALONE in codes(a) for a in uncorroborated)
    again = ask(*(digest(a, 1) for a in ALL))
    assert again.verdict is Verdict.MATCH, "whatever was forged before"
    assert ALONE not in codes(again)


@pytest.mark.parametrize("several", [c for n in (1, 2, 3) for c in combinations(ALL, n)])
def test_what_bears_a_hit_out(ask: Ask, several: tuple[str, ...]) -> None:
    """An exact digest does, and two kinds of perceptual algorithm. PHASH is forged along with PDQ."""
    kinds = {"pdq" if a in {"PDQ", "PHASH"} else a.lower() for a in several}
    borne_out = len(kinds - {"md5", "sha256"}) > 1 or bool(kinds & {"md5", "sha256"})
    hashes = [near(digest(a, 1), 3) if a in {"PDQ", "PHASH", "DHASH"} else digest(a, 1) for a in several]
    assert ask.verdicts(*hashes) == (Verdict.MATCH, Verdict.MATCH if borne_out else Verdict.REVIEW)
    assert (ALONE in codes(ask(*hashes, policy="any"))) is not borne_out


def test_neither_another_entry_nor_a_variant_bears_it_out(ask: Ask) -> None:
    desk = ask.desk
    # Two entries of one algorithm; and a forger who lists the forged picture beside.
    desk.contribute(
        "police/known", record(3, "PDQ"), Record(position="x", hashes=(near(digest("PDQ", 2), 9),), value="1")
    )
    assert ask.verdicts(digest("PDQ", 2)) == (Verdict.MATCH, Verdict.REVIEW)
    desk.hash_set("forger/list")
    desk.contribute("forger/list", record(77, "MD5", category=""))
    desk.hash_set("other/list")
    desk.contribute("other/list", record(2, "PDQ", category=""))
    assert ask.verdicts(near(digest("PDQ", 2), 5), digest("MD5", 77)) == (Verdict.MATCH, Verdict.REVIEW)
    turned = VariantHashes(variant="rotate-90", hashes=(near(digest("PDQ", 1), 2), near(digest("DHASH", 1), 2)))
    assert ask(near(digest("PDQ", 1), 5), variants=(turned,)).verdict is Verdict.REVIEW


def test_a_still_picture_shown_for_a_while_is_one_frame(ask: Ask) -> None:
    ask.desk.contribute("police/known", record(4, "MD5", frames=video(range(8))))
    ask.desk.contribute("police/known", record(5, "SHA1", frames=video([90])))
    shown = tuple(type(f)(f.offset_ms, f.quality, noisy(f.digest, 4, n)) for n, f in enumerate(video([90] * 8)))
    assert ask.verdicts(frames=shown) == (Verdict.MATCH, Verdict.REVIEW)
    assert ALONE in codes(ask(frames=shown))
    assert ask.verdicts(frames=video(range(8), bits=5)) == (Verdict.MATCH, Verdict.MATCH)
    assert ALONE not in codes(ask(frames=video(range(8), bits=5)))


def test_a_confirmation_counts_only_where_a_policy_says_so_and_by_whom_it_counts(ask: Ask) -> None:
    desk = ask.desk
    shipped = desk.hub.policies.get(OPERATOR, "block-corroborated").text
    trusting = shipped.replace('"SECOND_FRAME"]', '"SECOND_FRAME", "CONFIRMED"]').replace("block-corr", "trusting-corr")
    desk.hub.policies.put(OPERATOR, trusting)
    for name, reliability, takes_from in (("stranger", "F", ()), ("copier", "B", ["police"]), ("hotline", "C", ())):
        desk.contributor(name, reliability=reliability, takes_from=takes_from)
    (entry,) = [e for e in desk.entries("police/known") if e.provenance.position == "line 2"]

    def review(who: Principal, kind: ReviewKind = ReviewKind.CONFIRMED) -> None:
        desk.hub.reviews.create(who, "police", "known", entry.id, kind)

    def verdicts() -> list[Verdict]:
        return [
            ask(near(digest("PDQ", 2), 9), policy=p).verdict for p in ("block-corroborated", "trusting-corroborated")
        ]

    for who in ("police", "stranger", "copier"):
        review(writer(who))
        assert verdicts() == [Verdict.REVIEW] * 2
    review(writer("hotline"))
    assert verdicts() == [Verdict.REVIEW, Verdict.MATCH]
    review(writer("hotline"), ReviewKind.MISCLASSIFIED)
    assert verdicts() == [Verdict.REVIEW] * 2


def test_a_benign_verdict_says_so_as_well(ask: Ask) -> None:
    ask.desk.hash_set("memes/list", purpose=Purpose.BENIGN)
    ask.desk.contribute("memes/list", record(9, "PDQ", "MD5", category=""))
    ask.desk.hub.hash_sets.accept(OPERATOR, "memes", "list", ask.desk.hub.revision())
    assert ask(near(digest("PDQ", 9), 8)).verdict is Verdict.BENIGN
    assert ALONE in codes(ask(near(digest("PDQ", 9), 8)))
    assert ALONE not in codes(ask(digest("MD5", 9)))
    assert ALONE not in codes(ask(digest("PDQ", 500)))


def test_a_flood_on_one_entry_alarms_and_changes_no_verdict(open_hub: Open, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(open_hub(near_hits_alarm=10))
    desk.hash_set("nl/known")
    desk.contribute("nl/known", record(1, "PDQ", "MD5", category=""), record(2, "PDQ", category=""))
    (flooded,) = [e.name for e in desk.entries("nl/known") if e.provenance.position == "line 1"]
    for n in range(9):
        desk.match(near(digest("PDQ", 1), n))
        desk.match(digest("MD5", 1))  # an honest file, however often it comes
    desk.match(digest("PDQ", 2))
    assert not [w for w in desk.hub.status(OPERATOR).warnings if "near_hits_alarm" in w]
    with caplog.at_level(logging.WARNING):
        assert [desk.match(near(digest("PDQ", 1), 9)).verdict for _ in range(3)] == [Verdict.MATCH] * 3
    (warning,) = [w for w in desk.hub.status(OPERATOR).warnings if "near_hits_alarm" in w]
    assert flooded in warning
    assert desk.hub.match.near_hits.alarming() == {flooded: 12}
    assert len([r for r in caplog.records if flooded in r.getMessage()]) == 1


def test_floods_are_counted_in_bounded_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry in four answers is found among more entries than are counted, and nothing is counted too often."""
    from hashhub.config import Config
    from hashhub.hub.near_hits import NearHitCounter
    from hashhub.model import ReasonLine

    monkeypatch.setattr("hashhub.hub.near_hits.MOST_COUNTED", 8)
    counter = NearHitCounter(Config(near_hits_alarm=100))
    random = Random("flood")
    for n in range(1_000):
        name = "nl/known/1" if n % 4 == 0 else f"nl/known/{random.randrange(2, 10_000)}"
        counter.note([MatchResult(verdict=Verdict.REVIEW, reasons=(ReasonLine(code=ALONE, entries=(name,)),))])
    assert list(counter.alarming()) == ["nl/known/1"]
    assert 100 <= counter.alarming()["nl/known/1"] <= 250
