"""A hook in local mode answers as the hub does: whatever happened to the lists, by whatever was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import pytest

from hashhub.client import Client, mirror
from hashhub.hashes import SEARCHED, Hash
from hashhub.hook.examiner import options_of
from hashhub.model import (
    Entry,
    EntryState,
    Marking,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    ReviewKind,
    Unclassified,
    VariantHashes,
    Verdict,
    VideoFrame,
    now,
    number_of,
)
from tests.hook.local_copies import Local
from tests.hub.conftest import OPERATOR, digest, item, near
from tests.hub.receiving import mirroring
from tests.hub.test_videos import picture, video
from tests.mirror.conftest import Site

_SETS: Final = ("alpha/one", "alpha/two", "beta/one", "gamma/one", "fine/one")
_WHO: Final = msgspec.structs.replace(mirroring(), purposes=("moderation",))
_TERMS: Final = (
    Marking(bulk=True),
    Marking(bulk=True),
    Marking(bulk=True, permitted_purposes=("moderation",)),
    Marking(bulk=True, permitted_purposes=("research",)),
    Marking(bulk=True, recipients=("contributors/receiver",)),
    Marking(bulk=True, recipients=("contributors/alpha",)),
)
_ASKED: Final = ("MD5", "SHA1", "PDQ")
_REVIEWERS: Final = ("alpha", "beta", "gamma")
_ITEMS: Final = 24


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


class World:
    """Random days of a hub with several contributors."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.random = site, Random(seed)
        for name in _SETS:
            benign = name.startswith("fine")
            site.desk.hash_set(
                name,
                marking=Marking(bulk=True),
                purpose=Purpose.BENIGN if benign else Purpose.CSAM,
                unclassified=Unclassified.LISTED,
            )
        site.desk.contributor("receiver")

    def step(self) -> None:
        steps = [self.contribute] * 4 + [self.list_videos] * 2 + [self.withdraw, self.quarantine, self.terms]
        steps += [self.review] * 3 + [self.accept, self.contributor, self.expire]
        self.random.choice(steps)()

    def contribute(self) -> None:
        numbers = self.random.sample(range(_ITEMS), self.random.randrange(1, 14))
        items = [
            item(n, algorithms=self.random.choice((_ASKED, ("MD5", "PDQ"), ("PDQ",))), quality=90, tags=("x",))
            for n in numbers
        ]
        replace = self.random.random() < 0.3
        self.site.desk.contribute(self.random.choice(_SETS), *items, replace=replace, allow_shrinking=True)

    def list_videos(self) -> None:
        first = self.random.randrange(20)
        shown = list(video(range(first, first + self.random.randrange(3, 20))))
        if self.random.random() < 0.5:  # a listed picture is one of its frames
            shown += shots(self.random.sample(range(_ITEMS), 2), begin=1000 * len(shown))
        record = Record(position="1", frames=tuple(shown))
        self.site.desk.contribute(self.random.choice(_SETS), record)

    def withdraw(self) -> None:
        if ids := [e.id for e in self._entries(EntryState.ACTIVE)]:
            self.site.hub.store.transitions.withdraw(self.random.sample(ids, min(len(ids), 4)), "FALSE_POSITIVE")

    def quarantine(self) -> None:
        if entries := self._entries(EntryState.ACTIVE):
            e = self.random.choice(entries)
            self.site.hub.entries.quarantine(OPERATOR, e.contributor, e.hash_set, e.id)

    def review(self) -> None:
        if entries := self._entries(EntryState.ACTIVE):
            e = self.random.choice(entries)
            who = self.random.choice(
                (OPERATOR, *(msgspec.structs.replace(OPERATOR, contributor=c) for c in _REVIEWERS))
            )
            self.site.hub.reviews.create(
                who, e.contributor, e.hash_set, e.id, self.random.choice([*ReviewKind][:4]), "x"
            )

    def accept(self) -> None:
        self.site.hub.hash_sets.accept(OPERATOR, "fine", "one", self.site.hub.revision())

    def terms(self) -> None:
        contributor, _, set_id = self.random.choice(_SETS).partition("/")
        fields = {"marking": self.random.choice(_TERMS)}
        self.site.hub.store.resources.update_hash_set(contributor, set_id, fields)

    def expire(self) -> None:
        contributor, _, set_id = self.random.choice(_SETS).partition("/")
        fields = {"marking": Marking(bulk=True, expire_time=now())}
        self.site.hub.store.resources.update_hash_set(contributor, set_id, fields)

    def contributor(self) -> None:
        fields = self.random.choice(({"takes_from": ("alpha",)}, {"takes_from": ()}))
        self.site.hub.store.resources.update_contributor(self.random.choice(("beta", "gamma")), fields, lambda _: None)

    def queries(self) -> list[Query]:
        asked = [self._query(n) for n in range(_ITEMS)]
        videos = [video(range(first, first + 12), bits=self.random.choice((0, 9))) for first in (0, 7, 15)]
        videos += [(*shots([n, n + 1]), *video(range(50, 60), begin=2000)) for n in (3, 11)]
        pictures = [Query(hashes=(near(Hash("PDQ", picture(n)), 5),)) for n in range(0, 24, 3)]
        return asked + pictures + [Query(hashes=(), frames=shown) for shown in videos]

    def _query(self, number: int) -> Query:
        kind = self.random.randrange(5)
        pdq = digest("PDQ", number)
        if kind == 0:
            return Query(hashes=(digest("MD5", number),), label=f"{number}")
        if kind == 1:
            return Query(hashes=tuple(digest(a, number) for a in _ASKED))
        if kind == 2:
            return Query(hashes=(near(pdq, self.random.randrange(1, 34)),))
        if kind == 3:
            variants = (VariantHashes("trimmed", (pdq,)), VariantHashes("mirrored", (near(pdq, 20),)))
            return Query(hashes=(digest("PDQ", 1000 + number),), variants=variants)
        return Query(hashes=(digest("SHA1", number), near(pdq, 10)))

    def active_entries(self) -> dict[str, list[Entry]]:
        return {name: self.site.desk.entries(name, EntryState.ACTIVE) for name in _SETS}

    def _entries(self, *states: EntryState) -> list[Entry]:
        return [e for name in _SETS for e in self.site.desk.entries(name, *states)]


def shots(numbers: list[int], *, begin: int = 0) -> tuple[VideoFrame, ...]:
    """Frames that show items, a second each."""
    return tuple(VideoFrame(begin + 1000 * i, 90, digest("PDQ", n).digest) for i, n in enumerate(numbers))


def comparable(result: MatchResult) -> MatchResult:
    """The answer without what the feed does not tell, and that no decision rests on."""
    matches = [
        msgspec.structs.replace(
            m,
            reviews=dict(sorted(m.reviews.items())),
            entry=msgspec.structs.replace(
                m.entry,
                id=number_of(m.entry.id),
                extra="",
                hashes=tuple(sorted(m.entry.hashes, key=lambda h: (h.algorithm, h.digest))),
            ),
        )
        for m in result.matches
    ]
    # A copy knows that its lists have no entry; a hub asks whether there are lists, and tells nobody of entries.
    reasons = tuple(line for line in result.reasons if line.code != "NOTHING_LISTED")
    return msgspec.structs.replace(result, matches=tuple(matches), reasons=reasons)


def brute_force(
    site: Site, entries_by_set: Mapping[str, Sequence[Entry]], who: Principal, query: Query
) -> set[tuple[str, str, int]]:
    """Which of the active entries are within an algorithm's distance of the query's own hashes, one by one: name,
    algorithm and distance of the nearest.
    """
    nearest: dict[str, tuple[bool, int, str]] = {}
    sets = site.hub.store.resources.registry().hash_sets
    for name, hash_set in sets.items():
        if not admits(who, hash_set.marking):
            continue
        for entry in entries_by_set[name]:
            for own, other in ((a, b) for a in query.hashes for b in entry.hashes if a.algorithm == b.algorithm):
                of = SEARCHED[own.algorithm]
                apart = distance(own, other)
                if apart <= (of.default_max_distance or 0) and (of.is_perceptual or not apart):
                    way = (of.is_perceptual, apart, own.algorithm)
                    nearest[entry.name] = min(way, nearest.get(entry.name, way))
    return {(name, algorithm, apart) for name, (_, apart, algorithm) in nearest.items()}


def admits(who: Principal, marking: Marking) -> bool:
    return (
        (marking.expire_time is None or marking.expire_time > now())
        and (not marking.permitted_purposes or bool(set(marking.permitted_purposes) & set(who.purposes)))
        and (not marking.recipients or f"contributors/{who.contributor}" in marking.recipients)
    )


def distance(a: Hash, b: Hash) -> int:
    return (int.from_bytes(a.digest) ^ int.from_bytes(b.digest)).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_the_copy_answers_as_the_hub(site: Site, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAGE", 5 + seed * 20)
    world = World(site, seed)
    secret = site.token(_WHO)
    locals_ = [Local(site, tmp_path, secret, policy) for policy in ("block", "any")]
    verdicts: set[Verdict] = set()
    entries_by_set, read_at = world.active_entries(), -1  # read again once there is another revision
    crossed = 0  # answers in which a picture hit a video, or a part of a video something
    for local in locals_:
        local.sync()
    judges = [local.judge() for local in locals_]
    try:
        with Client(site.doors.grpc_address, secret, timeout=60.0) as hub:
            for _ in range(7):
                for _ in range(world.random.randrange(1, 6)):
                    world.step()
                site.hub.follower.catch_up()  # what went past the use-cases
                for local, judge in zip(locals_, judges, strict=True):
                    local.sync()
                    judge.catch_up()
                    options = options_of(local.settings)
                    for query in world.queries():
                        theirs, ours = hub.match(query, options), judge.judge(query)
                        if theirs.revision != ours.revision:  # the hub's clock withdrew something meanwhile
                            local.sync()
                            judge.catch_up()
                            theirs, ours = hub.match(query, options), judge.judge(query)
                        assert comparable(ours.result) == comparable(theirs.result)
                        assert (ours.policy, ours.revision) == (theirs.policy, theirs.revision)
                        assert not ours.result.withheld
                        verdicts.add(ours.result.verdict)
                        crossed += any(m.variant == "frame" for m in ours.result.matches)
                        if not query.variants and not query.frames:
                            told = {
                                (m.entry.name, m.algorithm, m.distance) for m in ours.result.matches if not m.variant
                            }
                            if ours.revision != read_at:
                                entries_by_set, read_at = world.active_entries(), ours.revision
                            assert told == brute_force(site, entries_by_set, _WHO, query)
    finally:
        for judge in judges:
            judge.close()
    assert len(verdicts) > 1
    assert crossed
