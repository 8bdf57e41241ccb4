"""What queries hit among what their caller may see. Nothing else counts towards a limit, or shows in what comes out;
its only trace is `withheld`, where terms allow that. The limits are fair: no contributor's entries push out another's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from hashhub import cancellation
from hashhub.answering import videos
from hashhub.frames import reach
from hashhub.hashes import SEARCHED, VPDQ, Hash
from hashhub.model import READINGS, MatchOptions, Purpose, Query, Reliability

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hashhub.answering.lists import EntryHit, Lists, PlayedVideo, VisibleSets
    from hashhub.matcher import Matcher, Matches, SegmentHits
    from hashhub.model import Contributor, HashSet, VideoMatch

MAX_JUDGED: Final = 20_000  # entries judged of one query: far above what honest lists give, and some 0.3 s of work
OF_CONTRIBUTOR: Final = 1_000  # of these, entries of one contributor, and its digests that are looked at: the nearest
_FIRST_DIGESTS: Final = 200  # of these, for many queries at once; the few with more are searched for one by one
# Entries of one digest that a contributor states first, and as many that it states last, which are looked at: of a file
# that a list names again and again (in several series, under several ids) all, of a flood those that it cannot displace
# and its newest word.
ENDS: Final = 12
_MAX_JUDGED_IN_CALL: Final = 200_000  # of all queries of a call together
MIN_JUDGED: Final = 1_000  # of one query, however many there are in a call
_PIECE: Final = 1_000  # digests searched for at once, after which it is looked whether the answer is still wanted
LOOKED_UP: Final = 256  # digests looked up at once, after which it is looked whose share is full
_LOOKED_UP_BESIDE_ONE: Final = 64  # of those near one that is asked about: each may have 2 * ENDS of one contributor
# After which a call looks up nothing more, and frames only then no more: a distance may take in the whole index.
SECONDS: Final = 10.0
_NO_OTHER: Final[dict[tuple[str, str], int]] = {}  # never written to
_FRAME: Final = (videos.FRAME,)
_ALL: Final = 100  # percent
_MOST_ITEMS: Final = 256  # are counted no further: more than weigh by themselves in a day
_NONE_PLAYED: Final[dict[int, PlayedVideo]] = {}  # never written to
SearchedBefore: TypeAlias = "Mapping[str, Sequence[SegmentHits]]"
"""What of a query was searched before, by algorithm."""
_NOT_SEARCHED: Final[SearchedBefore] = {}
_OWN: Final = ("",)  # the variants that a digest of the upload as it was sent is of
_OWN_OR_READING: Final = READINGS | {""}


class Hit:
    """How a query hit an entry most closely: by the digest of `algorithm` that is at `distance` from the query's, which
    is of this `variant` of the upload; empty: of the upload as it was sent.

    `also`: in which other ways it hit the entry (algorithm and variant), and at which distance. `video`: how far the
    frames agree, of one by which a video was hit. `several_frames`: two that are unlike each other hit it.
    """

    __slots__ = (
        "algorithm", "also", "distance", "entry_hit", "hash_set", "query_digest", "rank", "several_frames", "variant",
        "video",
    )  # fmt: skip

    def __init__(
        self,
        entry_hit: EntryHit,
        hash_set: HashSet,
        algorithm: str,
        distance: int,
        query_digest: bytes,
        variant: str = "",
        video: VideoMatch | None = None,
        *,
        several_frames: bool = False,
    ) -> None:
        self.video, self.several_frames = video, several_frames
        self.entry_hit, self.hash_set, self.variant = entry_hit, hash_set, variant
        self.algorithm, self.distance, self.query_digest = algorithm, distance, query_digest
        # The upload itself first, then exact digests, then by distance, then by entry: the order of an answer never
        # depends on chance.
        self.rank: _Rank = (
            variant not in _OWN_OR_READING,
            SEARCHED[algorithm].is_perceptual,
            distance,
            variant,
            entry_hit.hash_set,
            entry_hit.entry_id,
        )
        self.also = _NO_OTHER

    @property
    def entry_id(self) -> int:
        """The entry's id."""
        return self.entry_hit.entry_id

    def add(self, other: Hit) -> None:
        """Take in a less close hit of the same entry."""
        self.video = self.video or other.video
        self.several_frames |= other.several_frames
        for way, distance in (((other.algorithm, other.variant), other.distance), *other.also.items()):
            if way != (self.algorithm, self.variant) and distance < self.also.get(way, distance + 1):
                if self.also is _NO_OTHER:
                    self.also = {}
                self.also[way] = distance


class QueryHits:
    """What one query hit.

    withheld: something that the caller may not see, but may know of. tripped: a digest whose circuit breaker has
    tripped; entries that were hit by nothing else are not among the hits. cut_short: not all entries that the caller
    may see are among the hits.
    """

    __slots__ = ("_by_contributor", "_limit", "_share", "cut_short", "tripped", "withheld")

    def __init__(self, limit: int) -> None:
        self._limit, self._share = limit, min(limit, OF_CONTRIBUTOR)
        self._by_contributor: dict[str, dict[int, Hit]] = {}
        self.withheld = False
        self.tripped = False
        self.cut_short = False

    def add(self, hit: Hit) -> None:
        """Take in a hit; the closest one of an entry stays."""
        own = self._by_contributor.setdefault(hit.hash_set.contributor, {})
        known = own.get(hit.entry_id)
        if known is not None and known.rank <= hit.rank:
            known.add(hit)
            return
        if known is not None:
            hit.add(known)
        own[hit.entry_id] = hit
        if len(own) > 2 * self._share:
            self.cut_short = True
            nearest = sorted(own.values(), key=_rank)[: self._share]
            self._by_contributor[hit.hash_set.contributor] = {h.entry_id: h for h in nearest}

    def nearest(self, limit: int | None = None) -> list[Hit]:
        """Return the hits, the nearest first; beyond the limit an equal share of each contributor's."""
        limit = self._limit if limit is None else limit
        ranked = [sorted(own.values(), key=_rank) for own in self._by_contributor.values()]
        hits = [hit for own in ranked for hit in own[: self._share]]
        if len(hits) > limit:
            turns = [(turn, hit.rank, hit) for own in ranked for turn, hit in enumerate(own[: self._share])]
            hits = [hit for _, _, hit in sorted(turns, key=lambda t: t[:2])[:limit]]
        self.cut_short |= len(hits) < sum(map(len, ranked))
        hits.sort(key=_rank)
        return hits


_Rank = tuple[bool, bool, int, str, str, int]


def _rank(hit: Hit) -> _Rank:
    return hit.rank


class _AskedDigests(NamedTuple):
    """The digests of one algorithm that are asked about: of which query and variants, and counted as which digest."""

    digests: list[bytes]
    askers: list[int]
    variants: list[tuple[str, ...]]
    stands_for: list[bytes]

    def piece(self, low: int, high: int) -> _AskedDigests:
        return _AskedDigests(
            self.digests[low:high], self.askers[low:high], self.variants[low:high], self.stands_for[low:high]
        )


def _asked(queries: Sequence[Query]) -> dict[str, _AskedDigests]:
    """Return what is asked about, by algorithm: first what was sent, then variants.

    Of a query each digest of a variant is asked about once, and one that the upload itself has is the upload's.
    """
    by_algorithm: dict[str, _AskedDigests] = defaultdict(lambda: _AskedDigests([], [], [], []))
    for i, query in enumerate(queries):
        for h in query.hashes:
            digests, askers, variants, stands_for = by_algorithm[h.algorithm]
            digests.append(h.digest)
            askers.append(i)
            variants.append(_OWN)
            stands_for.append(h.digest)
    for i, query in enumerate(queries):
        first = {h.algorithm: h.digest for h in reversed(query.hashes)} if query.variants else {}
        for (algorithm, digest), names in variants_by_hash(query).items():
            digests, askers, variants, stands_for = by_algorithm[algorithm]
            digests.append(digest)
            askers.append(i)
            variants.append(names)
            stands_for.append(first.setdefault(algorithm, digest))
        # Each frame of a video among still pictures; the first one counts for all of them.
        shown = videos.frame_digests(query) if _has_frames(query) else []
        for digest in shown:
            digests, askers, variants, stands_for = by_algorithm["PDQ"]
            digests.append(digest)
            askers.append(i)
            variants.append(_FRAME)
            stands_for.append(shown[0])
    return by_algorithm


def variants_by_hash(query: Query) -> dict[tuple[str, bytes], tuple[str, ...]]:
    """Return the hashes of a query's variants that are not the upload's, each with its variants, readings first."""
    names: dict[tuple[str, bytes], tuple[str, ...]] = {}
    if not query.variants:
        return names
    own = {(h.algorithm, h.digest) for h in query.hashes}
    for variant in sorted(query.variants, key=lambda v: v.variant not in READINGS):
        for h in variant.hashes:
            key = (h.algorithm, h.digest)
            of_hash = names.get(key, ())
            if key not in own and variant.variant not in of_hash:
                names[key] = (*of_hash, variant.variant)
    return names


def _has_frames(query: Query) -> bool:
    return bool(query.frames) or any(variant.frames for variant in query.variants)


def _picture_digests(query: Query) -> list[bytes]:
    """Return the PDQ digests of a queried picture, its own first, and of its variants."""
    own = [h.digest for h in query.hashes if h.algorithm == "PDQ"]
    if not query.variants:
        return own
    return own + [digest for algorithm, digest in variants_by_hash(query) if algorithm == "PDQ"]


def look_up(
    lists: Lists,
    matcher: Matcher,
    queries: Sequence[Query],
    options: MatchOptions,
    *,
    caller: str | None,
    among_frames: bool | None = None,
    played: Mapping[int, PlayedVideo] = _NONE_PLAYED,
    searched: SearchedBefore = _NOT_SEARCHED,
) -> tuple[dict[int, QueryHits], Mapping[str, Contributor]]:
    """Return what each query hit, by its number, and all contributors. A query that hit nothing its caller may know of
    is left out.

    `caller`: whose traffic the queries are, at which the circuit breaker looks; None: nobody's. `among_frames`:
    pictures are looked for among the frames of videos, too; None: if the options name a distance for VPDQ. `played`:
    entries that the first query is taken to hit as videos, as far as the caller sees them. `searched`: what
    `hits_nothing` took in of the only query.

    What hash sets have that the caller sees nothing of is left out by the matcher already, and so are all but the
    nearest digests of each contributor, before a row is read.
    """
    hits = _HitsByQuery(min(MAX_JUDGED, max(MIN_JUDGED, _MAX_JUDGED_IN_CALL // max(1, len(queries)))))
    view = _View(lists)
    until = time.monotonic() + SECONDS
    for algorithm, asked in _asked(queries).items():
        for low in range(0, len(asked.digests), _PIECE):
            cancellation.check()
            piece = asked.piece(low, low + _PIECE)
            if time.monotonic() > until and all(names is _FRAME for names in piece.variants):
                for asker in set(piece.askers):
                    hits[asker].cut_short = True
                continue
            most = _FIRST_DIGESTS if len(piece.digests) > 1 else OF_CONTRIBUTOR
            before = searched.get(algorithm) if len(asked.digests) <= _PIECE else None
            if before is not None and not before:
                continue
            matches = _search(view, matcher, algorithm, piece, options, caller, most, before)
            if len(matches):
                crowded = np.flatnonzero(matches.truncated).tolist() if most < OF_CONTRIBUTOR else []
                _take_in(view, algorithm, matches, piece, hits, until, set(crowded))
                for r in crowded:
                    one = piece.piece(r, r + 1)
                    matches = _search(view, matcher, algorithm, one, options, caller, OF_CONTRIBUTOR)
                    _take_in(view, algorithm, matches, one, hits, until)
    for i, query in enumerate(queries):
        if query.frames:
            _take_in_videos(view, matcher, i, query, options, caller, hits)
        for variant in query.variants:
            if variant.frames:
                derived = Query(hashes=(), frames=variant.frames)
                _take_in_videos(view, matcher, i, derived, options, None, hits, variant.variant)
    if played:
        _take_in_played(view, played, hits)
    # By itself a lookup takes microseconds, which a second index as large would double: who has a file asks for it.
    if among_frames or (among_frames is None and VPDQ.name in options.max_distances):
        _take_in_pictures(view, matcher, queries, options, caller, hits, searched)
    return hits, view.contributors


def set_keys(lists: Lists) -> tuple[list[list[int]], list[list[int]]]:
    """Return by contributor the keys of the hash sets that the caller sees now, and of those it may only know of."""
    view = _View(lists)
    return view.keys(is_visible=True), view.keys(is_visible=False)


def hits_nothing(
    matcher: Matcher,
    query: Query,
    options: MatchOptions,
    *,
    caller: str | None,
    searched: dict[str, Sequence[SegmentHits]] | None = None,
) -> bool:
    """Whether no hash of the query is near any digest, whoever's: what `look_up` asks first, without the database.
    False for one with frames, which are not looked for here.

    `caller`: as in `look_up`; pictures are looked for among frames if the options name a distance for VPDQ. `searched`
    takes in what was searched, up to the first algorithm by which something was hit, for `look_up`.
    """
    searched = {} if searched is None else searched
    if _has_frames(query):
        return False

    def is_miss(algorithm: str, digests: Sequence[bytes], stands_for: Sequence[bytes] | None) -> bool:
        hits: list[SegmentHits] = []
        searched[algorithm] = hits
        distance = options.max_distances.get(algorithm)
        return matcher.hits_nothing(
            algorithm, digests, max_distance=distance, caller=caller, stands_for=stands_for, hits=hits
        )

    has_variants = bool(query.variants)
    for algorithm, asked in _asked((query,)).items():
        if not is_miss(algorithm, asked.digests, asked.stands_for if has_variants else None):
            return False
    distance = options.max_distances.get(VPDQ.name)
    if distance is None or not (own := _picture_digests(query)):
        return True
    return is_miss(VPDQ.name, own, own[:1] * len(own))


def items_doubted(
    lists: Lists, matcher: Matcher, contributor: str, statements: Sequence[tuple[Sequence[Hash], bytes]]
) -> list[int]:
    """Return of how many items each statement (hashes and packed frames) of a contributor may be: as many as its
    digests of one algorithm (`frames.reach`), or as entries that reliable others list with some of its hashes and none
    of each other's. `lists`: as the contributor sees them, so that the number tells nothing of others.
    """
    asked = [
        (at, h)
        for at, (hashes, _) in enumerate(statements)
        for h in hashes
        if h.algorithm in SEARCHED and SEARCHED[h.algorithm].default_max_distance is not None
    ]
    queries = [Query(hashes=(h,)) for _, h in asked]
    by_query, people = look_up(lists, matcher, queries, MatchOptions(policy=""), caller=None)
    shared: defaultdict[int, defaultdict[int, set[Hash]]] = defaultdict(lambda: defaultdict(set))
    for number, hits in by_query.items():
        at, h = asked[number]
        for hit in hits.nearest():
            who = people[hit.hash_set.contributor]
            if who.id != contributor and who.reliability <= Reliability.C:
                shared[at][hit.entry_id].add(h)
    counts = [reach(hashes, packed, _MOST_ITEMS) for hashes, packed in statements]
    for at, hashes_by_entry in shared.items():
        apart, taken = 0, set[Hash]()
        for own in sorted(hashes_by_entry.values(), key=len):  # an entry that binds all of them joins none
            if taken.isdisjoint(own):
                apart += 1
                taken |= own
        counts[at] = max(counts[at], apart)
    return counts


class _HitsByQuery(dict[int, QueryHits]):
    """Hits by the number of their query, at most so many of each; made when there is something to say."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, query: int) -> QueryHits:
        hits = self[query] = QueryHits(self._limit)
        return hits


class _Keys(NamedTuple):
    """Keys of hash sets: all, those that a caller may know of, and these by whether it sees them and contributor."""

    of_all: Mapping[int, str]
    names: Mapping[int, str]
    by_contributor: Mapping[tuple[bool, str], list[int]]


_keys_held: Final[dict[tuple[int, frozenset[str], frozenset[str]], _Keys]] = {}
_MOST_HELD: Final = 64


class _View:
    """Which hash sets the caller sees, by one look at the registry, made after the entries were looked up."""

    def __init__(self, lists: Lists) -> None:
        self.entries = lists.entries
        self._lists = lists

    @cached_property
    def _seen(self) -> VisibleSets:
        return self._lists.seen()

    @property
    def contributors(self) -> Mapping[str, Contributor]:
        """All contributors; none before anything was hit."""
        return self._seen.contributors if "_seen" in self.__dict__ else {}

    @cached_property
    def _keys(self) -> _Keys:
        visible, disclosed = self._seen.visible, self._seen.disclosed
        known = visible | disclosed if disclosed else visible
        of_all = self._lists.hash_set_keys(known)
        held = _keys_held.get((id(of_all), visible, disclosed))
        if held is None or held.of_all is not of_all:  # with a thousand hash sets that is half a millisecond
            names = {key: name for key, name in of_all.items() if name in known}
            by_contributor: defaultdict[tuple[bool, str], list[int]] = defaultdict(list)
            for key, name in names.items():
                by_contributor[name in visible, name.partition("/")[0]].append(key)
            if len(_keys_held) >= _MOST_HELD:
                _keys_held.clear()
            held = _keys_held[id(of_all), visible, disclosed] = _Keys(of_all, names, by_contributor)
        return held

    @property
    def names(self) -> Mapping[int, str]:
        """The names of the hash sets of which the caller may know anything, by key."""
        return self._keys.names

    def is_visible(self, key: int) -> bool:
        """Whether the caller sees the entries of one of these hash sets."""
        return self.names[key] in self._seen.visible

    def keys(self, *, is_visible: bool) -> list[list[int]]:
        """Return by contributor the keys of the hash sets that the caller sees, or of those it may only know of."""
        return [keys for (is_seen, _), keys in self._keys.by_contributor.items() if is_seen == is_visible]

    def known(self) -> list[list[int]]:
        """Return `keys` of both sorts, each by contributor: neither counts towards the other's bounds."""
        return list(self._keys.by_contributor.values())

    def of(self, name: str) -> tuple[HashSet | None, bool, bool]:
        """Return a hash set, whether the caller sees its entries, whether it may know of them; None: it was deleted."""
        return self._seen.hash_sets.get(name), name in self._seen.visible, name in self._seen.disclosed


def _search(
    view: _View,
    matcher: Matcher,
    algorithm: str,
    asked: _AskedDigests,
    options: MatchOptions,
    caller: str | None,
    limit: int,
    before: Sequence[SegmentHits] | None = None,
) -> Matches:
    of = SEARCHED[algorithm]
    rows = np.frombuffer(b"".join(asked.digests), np.uint8).reshape(len(asked.digests), of.digest_bytes)
    return matcher.search(
        algorithm,
        rows,
        max_distance=options.max_distances.get(algorithm, of.default_max_distance),
        limit=limit,
        caller=caller,
        stands_for=None if asked.stands_for == asked.digests else asked.stands_for,
        among=view.known,
        hits=before,
    )


def _take_in(
    view: _View,
    algorithm: str,
    matches: Matches,
    asked: _AskedDigests,
    hits: _HitsByQuery,
    until: float,
    but_for: Collection[int] = (),
) -> None:
    """Look up who has the digests that were matched, the nearest first, and add what the caller may see to the hits of
    the queries. `until`: when no further ones are looked up. `but_for`: places of digests asked about, which are left
    out.
    """
    reached: defaultdict[bytes, list[tuple[int, int, bytes, tuple[str, ...], bool]]] = defaultdict(list)
    owners: dict[bytes, frozenset[int] | None] = {}
    # Of the frames of a video the nearest: those of a still scene are near the same digests by the thousand.
    nearest: dict[tuple[int, bytes], tuple[bool, int, bytes]] = {}
    width = matches.digests.shape[1]
    matched = matches.digests.tobytes()
    lims, distances, tripped = matches.lims.tolist(), matches.distances.tolist(), matches.tripped.tolist()
    for r, (query_digest, asker, variants) in enumerate(zip(asked.digests, asked.askers, asked.variants, strict=True)):
        if r in but_for:
            continue
        if matches.truncated[r]:
            hits[asker].cut_short = True
        for k in range(lims[r], lims[r + 1]):
            digest = matched[k * width : (k + 1) * width]
            owners[digest] = matches.owners[k]
            if variants is _FRAME:
                way = (tripped[k], distances[k], query_digest)
                nearest[asker, digest] = min(way, nearest.get((asker, digest), way))
            else:
                reached[digest].append((asker, distances[k], query_digest, variants, tripped[k]))
    for (asker, digest), (is_tripped, distance, query_digest) in nearest.items():
        reached[digest].append((asker, distance, query_digest, _FRAME, is_tripped))
    in_order = sorted(reached, key=lambda d: (min((way[3][0] not in _OWN_OR_READING, way[1]) for way in reached[d]), d))
    taken: Counter[tuple[int, str]] = Counter()  # entries of each contributor, by query
    at_once = LOOKED_UP if len(asked.digests) > 1 else min(LOOKED_UP, _LOOKED_UP_BESIDE_ONE)
    for start in range(0, len(in_order), at_once):
        cancellation.check()
        part = in_order[start : start + at_once]
        wanted = [w for d in part for w in _wanted(view, d, owners[d], {way[0] for way in reached[d]}, hits, taken)]
        is_late = start > 0 and time.monotonic() > until
        for entry_hit in () if is_late else view.entries.hits_by_digests(algorithm, wanted):
            hash_set, is_visible, is_disclosed = view.of(entry_hit.hash_set)
            if hash_set is None or not (is_visible or is_disclosed):
                continue
            for asker, distance, query_digest, variants, is_tripped in reached[entry_hit.digest]:
                if not entry_hit.entry_id:
                    hits[asker].cut_short |= is_visible
                elif not is_visible:
                    hits[asker].withheld = True
                elif is_tripped:
                    hits[asker].tripped = True
                else:
                    taken[asker, hash_set.contributor] += 1
                    for variant in variants:
                        hits[asker].add(Hit(entry_hit, hash_set, algorithm, distance, query_digest, variant))
        if is_late:
            for digest in part:
                for asker, *_ in reached[digest]:
                    hits[asker].cut_short = True


def _wanted(
    view: _View,
    digest: bytes,
    owners: frozenset[int] | None,
    askers: Collection[int],
    hits: _HitsByQuery,
    taken: Mapping[tuple[int, str], int],
) -> list[tuple[bytes, int, int]]:
    """Return of which hash sets entries with a digest are looked at, and how many, by each contributor's share."""
    keys_of: defaultdict[tuple[str, bool], list[int]] = defaultdict(list)
    for key in view.names if owners is None else owners:
        keys_of[view.names[key].partition("/")[0], view.is_visible(key)].append(key)
    wanted = []
    for (contributor, is_visible), keys in keys_of.items():
        if not is_visible and all(asker in hits and hits[asker].withheld for asker in askers):
            continue
        if is_visible and all(taken[asker, contributor] >= OF_CONTRIBUTOR for asker in askers):
            for asker in askers:
                hits[asker].cut_short = True
        else:
            wanted += [(digest, key, max(1, ENDS // len(keys))) for key in keys]
    return wanted


def _take_in_pictures(
    view: _View,
    matcher: Matcher,
    queries: Sequence[Query],
    options: MatchOptions,
    caller: str | None,
    hits: _HitsByQuery,
    searched: SearchedBefore,
) -> None:
    """Add the videos with a frame near a picture. What is seen and what is disclosed have bounds of their own."""
    asked = _AskedDigests([], [], [], [])
    for i, query in enumerate(queries):
        own = _picture_digests(query)
        asked.digests.extend(own)
        asked.askers.extend([i] * len(own))
        asked.variants.extend([_FRAME] * len(own))
        asked.stands_for.extend(own[:1] * len(own))
    near: defaultdict[bytes, list[videos.NearPicture]] = defaultdict(list)
    owners: dict[bytes, frozenset[int] | None] = {}
    for low in range(0, len(asked.digests), _PIECE):
        cancellation.check()
        piece = asked.piece(low, low + _PIECE)
        before = searched.get(VPDQ.name) if len(asked.digests) <= _PIECE else None
        matches = _search(view, matcher, VPDQ.name, piece, options, caller, OF_CONTRIBUTOR, before)
        for r in np.flatnonzero(matches.truncated).tolist():  # of thousands of frames the nearest are enough
            hits[piece.askers[r]].cut_short = True
        lims, distances, tripped = matches.lims.tolist(), matches.distances.tolist(), matches.tripped.tolist()
        for r, (query_digest, asker) in enumerate(zip(piece.digests, piece.askers, strict=True)):
            for k in range(lims[r], lims[r + 1]):
                picture = videos.NearPicture(asker, distances[k], query_digest, tripped[k])
                digest = matches.digests[k].tobytes()
                near[digest].append(picture)
                owners[digest] = matches.owners[k]
    if not near:
        return
    if disclosed := view.keys(is_visible=False):
        by_asker, _ = videos.shown_in(view.entries, near, owners, disclosed)
        known = {h.entry_id for h in view.entries.hits_by_ids(_ids_of(by_asker))}
        for asker, listed in by_asker.items():
            if any(s.entry_id in known for s in listed):
                hits[asker].withheld = True
    by_asker, cut_short = videos.shown_in(view.entries, near, owners, view.keys(is_visible=True))
    for asker in cut_short:
        hits[asker].cut_short = True
    seen = {hit.entry_id: hit for hit in view.entries.hits_by_ids(_ids_of(by_asker))}
    for asker, listed in by_asker.items():
        standing = [s for s in listed if s.entry_id in seen]
        if any(s.tripped for s in standing):
            hits[asker].tripped = True
        standing = [s for s in standing if not s.tripped]
        places = videos.where_shown(view.entries, standing) if standing else {}
        for s in standing:
            entry_hit = seen[s.entry_id]
            hash_set, is_visible, _ = view.of(entry_hit.hash_set)
            if hash_set is not None and is_visible:
                video = places[s.entry_id]
                hits[asker].add(Hit(entry_hit, hash_set, VPDQ.name, s.distance, s.query_digest, videos.FRAME, video))


def _ids_of(by_asker: Mapping[int, Sequence[videos.FramesNearPicture]]) -> set[int]:
    return {s.entry_id for listed in by_asker.values() for s in listed}


def _take_in_videos(
    view: _View,
    matcher: Matcher,
    asker: int,
    query: Query,
    options: MatchOptions,
    caller: str | None,
    hits: _HitsByQuery,
    variant: str = "",
) -> None:
    """Add the videos that share enough frames with a queried one or a variant. Bounds: as of pictures."""
    near = videos.near_frames(matcher, query, options.max_distances.get(VPDQ.name), caller, view.known)
    if near is None:
        return
    if disclosed := view.keys(is_visible=False):
        overlaps, _ = videos.overlaps(view.entries, near, disclosed)
        if any(view.entries.hits_by_ids(o.entry_id for o in overlaps)):
            hits[asker].withheld = True
    overlaps, cut_short = videos.overlaps(view.entries, near, view.keys(is_visible=True))
    if cut_short:
        hits[asker].cut_short = True
    seen = {hit.entry_id: hit for hit in view.entries.hits_by_ids(o.entry_id for o in overlaps)}
    standing = [o for o in overlaps if o.entry_id in seen]
    if any(o.tripped for o in standing):
        hits[asker].tripped = True
    standing = [o for o in standing if not o.tripped]
    matches = videos.located(view.entries, standing, near) if standing else {}
    is_told_apart = _ALL * len(near.columns.offsets) >= videos.MIN_SHARE * len(query.frames)
    for o in standing:
        entry_hit = seen[o.entry_id]
        hash_set, is_visible, _ = view.of(entry_hit.hash_set)
        if hash_set is not None and is_visible:
            distance, digest = o.nearest
            # What has most of the upload may be harm enough; to clear it, it must have the whole.
            is_part = hash_set.purpose is Purpose.BENIGN and not (o.query_share == _ALL and is_told_apart)
            way = videos.FRAME if is_part else o.variant or variant
            video = matches[o.entry_id]
            hits[asker].add(
                Hit(entry_hit, hash_set, VPDQ.name, distance, digest, way, video, several_frames=o.several_frames)
            )


def _take_in_played(view: _View, played: Mapping[int, PlayedVideo], hits: _HitsByQuery) -> None:
    """Add the videos that a live stream plays and that the caller may see."""
    for entry_hit in view.entries.hits_by_ids(played):
        hash_set, is_visible, _ = view.of(entry_hit.hash_set)
        if hash_set is not None and is_visible:
            one = played[entry_hit.entry_id]
            distance, digest = one.nearest
            several = one.several_frames
            hit = Hit(entry_hit, hash_set, VPDQ.name, distance, digest, one.variant, one.match, several_frames=several)
            hits[0].add(hit)
