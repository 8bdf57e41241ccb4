"""Variants of an upload: searched like it, told apart from it, and worth what the policy says."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from PIL import Image

from hashhub.answering import lookup
from hashhub.errors import InvalidArgument, LimitExceeded, Reason
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hashing import hash_media
from hashhub.hub import Hub
from hashhub.matcher import CircuitBreaker
from hashhub.model import (
    READINGS,
    VARIANTS,
    Effort,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Purpose,
    Query,
    Role,
    VariantHashes,
    Verdict,
    VideoFrame,
)
from hashhub.testing.pictures import picture
from hashhub.trust import ReasonCode
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, Open, digest, item, near
from tests.hub.test_lookup import HIDDEN, flood, neighbours

ANY = MatchOptions(policy="any")


def ask(
    desk: Desk,
    *own: Hash,
    policy: str = "any",
    who: Principal = PLATFORM,
    of: Mapping[str, Hash] | None = None,
    **variants: Hash | Sequence[Hash],
) -> MatchResult:
    """Ask about an upload and its variants: `border_removed=HASH`, or `of` their names."""
    query = Query(
        hashes=own,
        variants=tuple(
            VariantHashes(name.replace("_", "-"), (given,) if isinstance(given, Hash) else tuple(given))
            for name, given in {**variants, **(of or {})}.items()
        ),
    )
    return desk.hub.match.hashes(who, [query], MatchOptions(policy=policy))[0][0]


def ways(answer: MatchResult) -> list[tuple[str, str, int, str]]:
    return [(m.entry.provenance.position, m.algorithm, m.distance, m.variant) for m in answer.matches]


@pytest.fixture
def listed(desk: Desk) -> Desk:
    """Two hotlines, each of a reliability that counts, list the picture 1."""
    for name in ("alpha", "beta"):
        desk.hash_set(f"{name}/list")
        desk.contribute(f"{name}/list", item(1, algorithms=("PDQ", "MD5")))
    return desk


class TestVerdicts:
    def test_a_variant_goes_to_a_person_unless_a_policy_says_otherwise(self, listed: Desk) -> None:
        upload, known = digest("PDQ", 99), near(digest("PDQ", 1), 12)
        assert ask(listed, known, policy="block").verdict is Verdict.MATCH
        answer = ask(listed, upload, border_removed=known, policy="block")
        assert answer.verdict is Verdict.REVIEW
        assert ways(answer) == [("line 1", "PDQ", 12, "border-removed")] * 2
        assert answer.matches[0].query_digest == known.digest
        block = listed.hub.policies.get(OPERATOR, "block").text
        mine = block.replace('name = "block"', 'name = "mine"').replace(
            "contributors = 2\n", 'contributors = 2\nvariants = ["none", "border-removed"]\n'
        )
        listed.hub.policies.put(OPERATOR, mine)
        assert ask(listed, upload, border_removed=known, policy="mine").verdict is Verdict.MATCH
        assert ask(listed, upload, crop=known, policy="mine").verdict is Verdict.REVIEW
        assert ask(listed, known, policy="mine").verdict is Verdict.MATCH

    def test_any_takes_all_that_hashhub_makes(self, listed: Desk) -> None:
        for name in sorted(VARIANTS):
            answer = ask(listed, digest("PDQ", 99), of={name: digest("PDQ", 1)})
            assert (answer.verdict, ways(answer)[0]) == (Verdict.MATCH, ("line 1", "PDQ", 0, name))
            other = ask(listed, digest("PDQ", 99), of={f"x-{name}": digest("PDQ", 1)})
            assert other.verdict is Verdict.REVIEW, "somebody else's counts where a policy names it"

    def test_a_reading_is_the_upload_itself(self, listed: Desk) -> None:
        for name in sorted(READINGS):
            answer = ask(listed, digest("PDQ", 99), policy="block", of={name: digest("PDQ", 1)})
            assert (answer.verdict, ways(answer)[0]) == (Verdict.MATCH, ("line 1", "PDQ", 0, name))

    def test_the_upload_itself_comes_first_however_near_a_variant_is(self, listed: Desk) -> None:
        far = near(digest("PDQ", 1), 30)
        answer = ask(listed, far, border_removed=digest("PDQ", 1), policy="block")
        assert (answer.verdict, ways(answer)[0]) == (Verdict.MATCH, ("line 1", "PDQ", 30, ""))
        answer = ask(listed, far, border_removed=digest("PDQ", 1), as_stored=near(digest("PDQ", 1), 2), policy="block")
        assert ways(answer)[0] == ("line 1", "PDQ", 2, "as-stored")

    def test_all_ways_count_towards_a_clause(self, listed: Desk) -> None:
        """One entry that is hit by the upload at 30 and by a variant at 4 fulfils a clause about either."""
        text = listed.hub.policies.get(OPERATOR, "any").text.replace('name = "any"', 'name = "mine"')
        head, _, _ = text.partition("variants = [")
        for variants, most, verdict in (
            ('["border-removed"]', 4, Verdict.MATCH),
            ('["border-removed"]', 3, Verdict.REVIEW),
            ('["none"]', 30, Verdict.MATCH),
            ('["none"]', 29, Verdict.REVIEW),
            ('["crop"]', 31, Verdict.REVIEW),
        ):
            listed.hub.policies.put(OPERATOR, f"{head}variants = {variants}\nmax_distance = {{ PDQ = {most} }}\n")
            far, close = near(digest("PDQ", 1), 30), near(digest("PDQ", 1), 4)
            assert ask(listed, far, border_removed=close, policy="mine").verdict is verdict, (variants, most)

    def test_a_digest_that_the_upload_has_itself_is_the_upload_s(self, listed: Desk) -> None:
        own = near(digest("PDQ", 1), 3)
        assert ways(ask(listed, own, border_removed=own)) == [("line 1", "PDQ", 3, "")] * 2
        both = ask(listed, digest("PDQ", 99), content_box=own, as_stored=own)
        assert ways(both) == [("line 1", "PDQ", 3, "as-stored")] * 2

    def test_a_benign_part_clears_nothing(self, desk: Desk) -> None:
        desk.hash_set("good/list", purpose=Purpose.BENIGN)
        desk.contribute("good/list", item(1, algorithms=("PDQ",)))
        desk.hub.hash_sets.accept(OPERATOR, "good", "list", desk.hub.revision())
        for policy in ("any", "block"):
            assert ask(desk, digest("PDQ", 1), policy=policy).verdict is Verdict.BENIGN
            assert ask(desk, digest("PDQ", 99), as_stored=digest("PDQ", 1), policy=policy).verdict is Verdict.BENIGN
            answer = ask(desk, digest("PDQ", 99), content_box=digest("PDQ", 1), policy=policy)
            assert answer.verdict is Verdict.NO_MATCH
            assert [r.code for r in answer.reasons] == [ReasonCode.BENIGN_SET, ReasonCode.VARIANTS_SKIPPED]

    def test_what_is_explained_is_what_is_answered(self, listed: Desk) -> None:
        query = Query(hashes=(digest("PDQ", 99),), variants=(VariantHashes("crop", (digest("PDQ", 1),)),))
        trace, verdict, _ = listed.hub.policies.explain(OPERATOR, query, MatchOptions(policy="block"))
        assert verdict is Verdict.REVIEW
        assert {e.hit for e in trace.entries} == {"PDQ at distance 0 of the upload's variant crop"}
        trial = listed.hub.policies.try_out(OPERATOR, "any", "block", queries=[query])
        assert [(c.before, c.after, c.count) for c in trial.changes] == [(Verdict.MATCH, Verdict.REVIEW, 1)]


class TestPolicies:
    def test_a_misspelt_variant_is_refused_when_it_is_put(self, desk: Desk) -> None:
        text = desk.hub.policies.get(OPERATOR, "any").text.replace('name = "any"', 'name = "mine"')
        for change in (
            lambda t: desk.hub.policies.put(OPERATOR, t),
            lambda t: desk.hub.policies.try_out(
                OPERATOR, "any", "", text=t, queries=[Query(hashes=(digest("PDQ", 1),))]
            ),
        ):
            with pytest.raises(InvalidArgument, match="hashhub makes no 'boarder-removed'"):
                change(text.replace('"none",', '"none", "boarder-removed",'))
            change(text.replace('"none",', '"none", "x-boarder",'))


class TestSearch:
    def test_as_by_comparing_everything_with_everything(self, open_hub: Open) -> None:
        """The nearest way of each entry, by the upload's own digests first: the oracle looks at all pairs."""
        rng, desk = Random(4), Desk(open_hub(near_variants_alarm=0))
        desk.hash_set("alpha/list")
        algorithms = ("PDQ", "PHASH", "MD5")
        entries = {
            n: [
                digest(a, n) if a == "MD5" else near(digest(a, n % 5), rng.randint(0, 12))
                for a in rng.sample(algorithms, 2)
            ]
            for n in range(40)
        }
        desk.contribute("alpha/list", *(item(n, hashes=tuple(h), external_id=str(n)) for n, h in entries.items()))
        names = ["", "as-stored", "border-removed", "crop", "rotate-90"]
        queries, expected = [], []
        for _ in range(60):
            asked: dict[str, list[Hash]] = {}
            for name in rng.sample(names, rng.randint(1, 4)):
                of = rng.choices(algorithms, k=rng.randint(1, 3))
                asked[name] = [
                    digest(a, rng.randrange(50)) if a == "MD5" else near(digest(a, rng.randrange(7)), rng.randint(0, 9))
                    for a in of
                ]
            asked.setdefault("", [digest("MD5", 1000)])
            queries.append(_query(asked))
            expected.append(_oracle(asked, entries))
        answers, _ = desk.hub.match.hashes(PLATFORM, queries, ANY)
        assert [
            {m.entry.provenance.position: (m.variant, m.algorithm == "MD5", m.distance) for m in a.matches}
            for a in answers
        ] == (expected)
        assert sum(map(len, expected)) > 300
        for query, nearest in zip(queries, expected, strict=True):
            missed = desk.hub.match.miss(PLATFORM, query, ANY)
            assert (missed is None) is bool(nearest), "what is answered at once knows of variants, too"

    def test_what_has_frames_is_not_answered_at_once(self, desk: Desk) -> None:
        query = Query(hashes=(digest("MD5", 1),))
        assert desk.hub.match.miss(PLATFORM, query, ANY) is not None
        video = msgspec.structs.replace(query, frames=(VideoFrame(0, 100, bytes(32)),))
        assert desk.hub.match.miss(PLATFORM, video, ANY) is None

    def test_what_may_not_be_seen_is_not_seen_through_a_variant(self, listed: Desk) -> None:
        listed.hash_set("secret/red", marking=HIDDEN)
        before = ask(listed, digest("PDQ", 99), crop=digest("PDQ", 7))
        listed.contribute("secret/red", item(7, algorithms=("PDQ",)))
        assert ask(listed, digest("PDQ", 99), crop=digest("PDQ", 7)) == before
        assert ask(listed, digest("PDQ", 99), crop=digest("PDQ", 7), who=OPERATOR).verdict is Verdict.MATCH

    def test_a_variant_with_an_algorithm_that_has_no_distance_needs_one(self, listed: Desk) -> None:
        with pytest.raises(InvalidArgument) as refused:
            ask(listed, digest("PDQ", 99), crop=digest("PHOTODNA", 1))
        assert refused.value.reason is Reason.DISTANCE_REQUIRED


class TestFloods:
    def test_entries_near_variants_push_out_none_that_the_upload_hits(
        self, listed: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also of the contributor that lists them, and of others."""
        monkeypatch.setattr(lookup, "MAX_JUDGED", 50)
        monkeypatch.setattr(lookup, "MIN_JUDGED", 50)
        crowd = digest("PDQ", 5)
        listed.contributor("hostile")
        listed.hash_set("hostile/list")
        flood(listed, "hostile/list", neighbours(crowd, 1_200, 4))
        listed.contribute("alpha/list", *(item(100 + i, hashes=(h,)) for i, h in enumerate(neighbours(crowd, 200, 3))))
        upload = near(digest("PDQ", 1), 31)
        answer = ask(listed, upload, crop=[crowd, *neighbours(crowd, 20, 2)], policy="block")
        assert answer.verdict is Verdict.MATCH
        assert ways(answer)[:2] == [("line 1", "PDQ", 31, "")] * 2
        assert {m.entry.contributor for m in answer.matches} == {"alpha", "beta", "hostile"}
        assert ReasonCode.JUDGEMENT_CUT_SHORT in {r.code for r in answer.reasons}

    def test_a_search_that_takes_too_long_gives_its_time_to_the_upload(
        self, listed: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who has the digests near the upload's own is looked up first, then who has those near its variants'."""
        monkeypatch.setattr(lookup, "LOOKED_UP", 1)
        asked: list[bytes] = []
        entries = listed.hub.store.entries
        look = entries.hits_by_digests

        def noted(algorithm: str, wanted: Any) -> Any:
            asked.extend(w[0] for w in wanted if algorithm == "PDQ")
            return look(algorithm, wanted)

        monkeypatch.setattr(entries, "hits_by_digests", noted)
        for n in (3, 4):
            listed.contribute("alpha/list", item(n, hashes=(near(digest("PDQ", 1), n), near(digest("PHASH", 1), n))))
            listed.contribute("beta/list", item(n, hashes=(near(digest("PDQ", 2), n), near(digest("PHASH", 1), n - 1))))
        ask(listed, digest("PDQ", 1), digest("PHASH", 1), crop=digest("PDQ", 2), as_stored=near(digest("PDQ", 1), 1))
        own = [digest("PDQ", 1).digest, *(near(digest("PDQ", 1), n).digest for n in (3, 4))]
        crops = [near(digest("PDQ", 2), n).digest for n in (3, 4)]
        in_order = list(dict.fromkeys(asked))
        assert in_order[0] == own[0]
        assert (set(in_order[:3]), set(in_order[3:])) == (set(own), set(crops))


class TestCircuitBreaker:
    @pytest.fixture
    def touchy(self, desk: Desk) -> Desk:
        # Before any search.
        desk.hub.matcher.breaker.__init__(CircuitBreaker(share=0.5, min_hits=20))  # type: ignore[misc]
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",)))
        return desk

    def test_an_upload_counts_once_however_many_variants_it_has(self, touchy: Desk) -> None:
        near_it = neighbours(digest("PDQ", 1), 2_000, 4)
        for n in range(19):
            ask(touchy, digest("PDQ", 100 + n), crop=near_it[n * 100 : n * 100 + 100])
            ask(touchy, digest("PDQ", 100 + n), crop=near_it[n * 100 : n * 100 + 100])
        assert touchy.hub.status(OPERATOR).warnings == ()
        for _ in range(2):  # a search is counted, and the next one is told
            tripped = ask(touchy, digest("PDQ", 150), crop=near_it[1_950:])
        assert (tripped.verdict, tripped.matches) == (Verdict.REVIEW, ())
        assert tripped.reasons[-1].code == ReasonCode.CIRCUIT_BREAKER
        assert ask(touchy, digest("PDQ", 151), crop=digest("PDQ", 1)).verdict is Verdict.MATCH, "never at distance 0"

    def test_variants_of_one_that_has_no_digest_of_the_algorithm_count_once(self, touchy: Desk) -> None:
        near_it = neighbours(digest("PDQ", 1), 400, 4)
        for n in range(19):
            ask(touchy, digest("MD5", n), crop=near_it[n * 20 : n * 20 + 20])
        assert touchy.hub.status(OPERATOR).warnings == ()

    def test_variants_of_a_copy_do_not_count(self, touchy: Desk) -> None:
        near_it = neighbours(digest("PDQ", 1), 100, 4)
        for h in near_it:
            ask(touchy, digest("PDQ", 1), crop=h)
        assert touchy.hub.status(OPERATOR).warnings == ()

    def test_variants_that_hit_nothing_hide_no_flood(self, touchy: Desk) -> None:
        """A digest that half of all uploads are near trips, also where each comes with a hundred variants."""
        for n, h in enumerate(neighbours(digest("PDQ", 1), 25, 4)):
            ask(touchy, h, crop=[digest("PDQ", 1_000 * (n + 1) + i) for i in range(100)])
        assert len(touchy.hub.status(OPERATOR).warnings) == 1

    def test_misses_answered_at_once_count_once(self, touchy: Desk) -> None:
        for n in range(30):
            far = tuple(digest("PDQ", 1_000 * (n + 1) + i) for i in range(50))
            query = Query(hashes=(far[0],), variants=(VariantHashes("crop", far[1:]),))
            assert touchy.hub.match.miss(PLATFORM, query, ANY) is not None
        for h in neighbours(digest("PDQ", 1), 35, 4):
            ask(touchy, h)
        assert len(touchy.hub.status(OPERATOR).warnings) == 1


def _query(asked: dict[str, list[Hash]]) -> Query:
    variants = tuple(VariantHashes(name, tuple(h)) for name, h in asked.items() if name)
    return Query(hashes=tuple(asked[""]), variants=variants)


def _oracle(asked: dict[str, list[Hash]], entries: dict[int, list[Hash]]) -> dict[str, tuple[str, bool, int]]:
    """The nearest way of each entry: variant, whether by the identical file, distance."""
    nearest = {}
    for n, hashes in entries.items():
        best = min(
            (
                (name not in {"", *READINGS}, ALGORITHMS[h.algorithm].is_perceptual, d, name)
                for name, of_name in asked.items()
                for h in of_name
                for other in hashes
                if h.algorithm == other.algorithm
                and (name == "" or h not in asked[""])
                and (d := (int.from_bytes(h.digest) ^ int.from_bytes(other.digest)).bit_count())
                <= (ALGORITHMS[h.algorithm].default_max_distance or 0)
            ),
            default=None,
        )
        if best is not None:
            _, is_perceptual, distance, name = best
            nearest[f"line {n}"] = (name, not is_perceptual, distance)
    return nearest


# --- Media ------------------------------------------------------------------------------------------------------------


def _bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


LISTED, OTHER = _bytes(picture(11)), _bytes(picture(12))
TEXT = b"%PDF-1.7 synthetic"
Asked = list[tuple[bytes, Effort]]


@pytest.fixture
def watched() -> Callable[[Hub], Asked]:
    """Return a function that lists a picture, and returns a list of what the hub hashes from then on, and how."""

    def watch(hub: Hub) -> Asked:
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        hashes = tuple(h for h in hash_media(LISTED).hashes if ALGORITHMS[h.algorithm].is_perceptual)
        desk.contribute("alpha/list", item(1, hashes=hashes, quality=100))
        asked: Asked = []
        hash_ = hub.match.media_pool.hash_by_child

        def noted(content: Any, is_wanted: Callable[[], bool], *, effort: Effort) -> Any:
            asked.append((content, effort))
            return hash_(content, is_wanted, effort=effort)

        hub.match.media_pool.hash_by_child = noted  # type: ignore[method-assign]
        return asked

    return watch


def media(hub: Hub, *files: bytes, who: Principal = PLATFORM, charge: Any = None, **options: Any) -> list[MediaResult]:
    named = [(str(i), content) for i, content in enumerate(files)]
    return hub.match.media(
        who, named, MatchOptions(**{"policy": "any", **options}), **({"charge": charge} if charge else {})
    )[0]


class TestEffort:
    def test_crops_are_looked_for_only_of_what_nothing_is_known(
        self, open_hub: Open, watched: Callable[[Hub], Asked]
    ) -> None:
        hub = open_hub()
        asked = watched(hub)
        charged: list[float] = []
        answers = media(hub, LISTED, OTHER, TEXT, LISTED[:1000], effort=Effort.THOROUGH, charge=charged.append)
        assert [a.result.verdict for a in answers] == [
            Verdict.MATCH, Verdict.NO_MATCH, Verdict.NO_MATCH, Verdict.UNAVAILABLE,
        ]  # fmt: skip
        assert [(c, e) for c, e in asked if c == OTHER] == [(OTHER, Effort.STANDARD), (OTHER, Effort.THOROUGH)]
        assert [e for c, e in asked if c != OTHER] == [Effort.STANDARD] * 3
        assert len(charged) == 5, "each time"
        assert {a.coverage.effort for a in answers} == {Effort.THOROUGH}
        counted = hub.match.tally.read()["verdicts"]
        assert counted == {"MATCH": 1, "NO_MATCH": 2, "UNAVAILABLE": 1}, "each file once"

    @pytest.mark.parametrize(
        ("setting", "cases"),
        [
            (
                "thorough",
                [
                    (None, "THOROUGH", "THOROUGH"),
                    (None, "STANDARD", "STANDARD"),
                    (None, "PLAIN", "PLAIN"),
                    ("STANDARD", "THOROUGH", "STANDARD"),
                    ("PLAIN", "THOROUGH", "PLAIN"),
                ],
            ),
            ("standard", [("THOROUGH", "THOROUGH", "STANDARD"), ("PLAIN", "PLAIN", "PLAIN")]),
            ("plain", [(None, "STANDARD", "PLAIN")]),
        ],
    )
    def test_whoever_asks_for_more_than_it_may_gets_less_and_is_told(
        self, open_hub: Open, watched: Callable[[Hub], Asked], setting: str, cases: list[tuple[str | None, str, str]]
    ) -> None:
        hub = open_hub(max_effort=setting, media_workers=1)
        asked = watched(hub)
        for token, effort, given in cases:
            asked.clear()
            who = msgspec.structs.replace(PLATFORM, max_effort=Effort(token) if token else None)
            answers = media(hub, OTHER, LISTED[:1000], who=who, effort=Effort(effort))
            of_picture = [e for content, e in asked if content == OTHER]
            thorough = [Effort.STANDARD, Effort.THOROUGH]
            assert of_picture == (thorough if given == "THOROUGH" else [Effort(given)])
            for answer in answers:
                assert answer.coverage.effort is Effort(given)
                told = [gap.code for gap in answer.coverage.gaps if gap.code == ReasonCode.EFFORT_REDUCED]
                assert told == [ReasonCode.EFFORT_REDUCED] * (given != effort)
            codes = {r.code for r in answers[0].result.reasons}
            assert (ReasonCode.EFFORT_REDUCED in codes) is (given != effort)

    def test_a_second_look_that_fails_leaves_no_clean_answer(
        self, open_hub: Open, watched: Callable[[Hub], Asked], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub = open_hub()
        watched(hub)
        hash_ = hub.match.media_pool.hash_by_child

        def costly(content: bytes, is_wanted: Callable[[], bool], *, effort: Effort) -> Any:
            if effort is Effort.THOROUGH:
                raise LimitExceeded("too long", reason=Reason.MEDIA_TOO_COSTLY)
            return hash_(content, is_wanted, effort=effort)

        monkeypatch.setattr(hub.match.media_pool, "hash_by_child", costly)
        first, second = media(hub, LISTED, OTHER, effort=Effort.THOROUGH)
        assert first.result.verdict is Verdict.MATCH
        assert (second.result.verdict, second.hashes) == (Verdict.UNAVAILABLE, ())
        assert [r.code for r in second.result.reasons] == ["MEDIA_TOO_COSTLY"]
        assert hub.match.tally.read()["verdicts"] == {"MATCH": 1, "UNAVAILABLE": 1}
        with pytest.raises(LimitExceeded):
            hub.match.media(PLATFORM, [("", OTHER)], MatchOptions(policy="any", effort=Effort.THOROUGH), single=True)


class TestCoverage:
    def test_of_a_picture(self, open_hub: Open, watched: Callable[[Hub], Asked]) -> None:
        hub = open_hub()
        watched(hub)
        turned = _bytes(picture(11).transpose(Image.Transpose.ROTATE_90))
        (answer,) = media(hub, turned)
        covered = answer.coverage
        assert covered.algorithms == ("MD5", "SHA1", "SHA256", "PDQ", "PHASH", "DHASH")
        assert (covered.frame_count, covered.frames_hashed, covered.gaps) == (1, 1, ())
        assert "rotate-270" in covered.variants
        assert answer.result.verdict is Verdict.MATCH
        assert answer.result.matches[0].variant == "rotate-270"
        (answer,) = media(hub, turned, policy="block")
        assert answer.result.verdict is Verdict.REVIEW

    def test_no_match_never_stands_alone_where_something_was_left_out(self, open_hub: Open) -> None:
        hub = open_hub()
        blank = _bytes(Image.new("RGB", (300, 200), (90, 90, 90)))
        frames = [picture(n, (64, 48)).quantize() for n in range(40)]
        long = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
        answers = media(hub, TEXT, b"", blank, long, OTHER)
        assert {a.result.verdict for a in answers} == {Verdict.NO_MATCH}
        told = [[g.code for g in a.coverage.gaps] for a in answers]
        assert told == [["EXACT_ONLY"], ["EXACT_ONLY"], ["LOW_QUALITY"], ["FRAMES_SKIPPED"], []]
        for answer in answers:
            assert [line.code for line in answer.result.reasons[:2]] == ["NOTHING_LISTED", "NOTHING_KNOWN"]
            assert answer.result.reasons[2:] == answer.coverage.gaps
        assert (answers[3].coverage.frame_count, answers[3].coverage.frames_hashed) == (40, 32)
        assert answers[0].coverage.algorithms == ("MD5", "SHA1", "SHA256")

    def test_what_could_not_be_read_was_not_looked_for(self, open_hub: Open) -> None:
        (answer,) = media(open_hub(), LISTED[:1000])
        assert answer.result.verdict is Verdict.UNAVAILABLE
        assert (answer.coverage.algorithms, answer.coverage.frames_hashed) == ((), 0)
        assert answer.coverage.gaps == answer.result.reasons


def test_a_token_keeps_its_effort(any_desk: Desk) -> None:
    any_desk.contributor("platform")
    tokens = any_desk.hub.tokens
    secret = tokens.create(
        OPERATOR,
        Principal(name="up", role=Role.CONSUMER, contributor="platform", max_effort=Effort.STANDARD),
    )[1]
    assert tokens.authenticate(secret).max_effort is Effort.STANDARD
    tokens.update(OPERATOR, Principal(name="up", role=Role.CONSUMER, max_effort=None), ["max_effort"])
    assert next(t for t in tokens.list(OPERATOR) if t.name == "up").max_effort is None
