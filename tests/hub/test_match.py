"""Matching uploads: what is found, who may see it, and what the policies make of it."""

from __future__ import annotations

import io
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashhub.errors import InvalidArgument, LimitExceeded, Reason
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hashing import hash_media
from hashhub.hashing.decoding import load_decoders
from hashhub.hub import Hub, match
from hashhub.matcher import CircuitBreaker
from hashhub.model import (
    TLP,
    Effort,
    Marking,
    MatchOptions,
    MediaResult,
    Principal,
    Purpose,
    Query,
    ReviewKind,
    Role,
    Verdict,
    now,
)
from hashhub.testing.pictures import picture
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, digest, item, near, writer

ANY = MatchOptions(policy="any")


def accept(desk: Desk, name: str) -> None:
    """Accept what a hash set says against harm, as it stands."""
    contributor, _, set_id = name.partition("/")
    desk.hub.hash_sets.accept(OPERATOR, contributor, set_id, desk.hub.revision())


class TestDistances:
    @pytest.mark.parametrize(("algorithm", "most"), [("PDQ", 31), ("PHASH", 10), ("DHASH", 10)])
    def test_the_default_distance_is_inclusive(self, desk: Desk, algorithm: str, most: int) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=(algorithm,)))
        listed = digest(algorithm, 1)
        for bits in (0, 1, most - 1, most):
            answer = desk.match(near(listed, bits))
            assert answer.verdict is Verdict.MATCH
            (match,) = answer.matches
            assert (match.algorithm, match.distance) == (algorithm, bits)
            assert match.query_digest == near(listed, bits).digest
        assert desk.match(near(listed, most + 1)).verdict is Verdict.NO_MATCH

    def test_the_caller_may_choose_another(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",)))
        asked = near(digest("PDQ", 1), 40)
        assert desk.match(asked, who=OPERATOR, max_distances={"PDQ": 40}).verdict is Verdict.MATCH
        assert desk.match(asked, who=OPERATOR, max_distances={"PDQ": 39}).verdict is Verdict.NO_MATCH
        assert desk.match(digest("PDQ", 1), max_distances={"PDQ": 0}).verdict is Verdict.MATCH

    @pytest.mark.parametrize("wrong", [{"PDQ": -1}, {"PDQ": 257}, {"MD5": 1}, {"ROT13": 1}])
    def test_a_distance_out_of_range_is_refused(self, desk: Desk, wrong: dict[str, int]) -> None:
        with pytest.raises(InvalidArgument) as refused:
            desk.match(digest("PDQ", 1), max_distances=wrong)
        assert refused.value.violations[0].field == f"options.max_distances[{next(iter(wrong))}]"

    def test_photodna_needs_one(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PHOTODNA",)))
        listed = digest("PHOTODNA", 1)
        with pytest.raises(InvalidArgument) as refused:
            desk.match(listed)
        assert refused.value.reason is Reason.DISTANCE_REQUIRED
        other = bytes([listed.digest[0] ^ 1, *listed.digest[1:]])
        wide = desk.match(Hash("PHOTODNA", other), who=OPERATOR, max_distances={"PHOTODNA": 1})
        assert wide.verdict is Verdict.MATCH
        assert desk.match(Hash("PHOTODNA", other), max_distances={"PHOTODNA": 0}).verdict is Verdict.NO_MATCH

    def test_an_exact_digest_comes_before_a_near_one(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute(
            "alpha/list", item(1, algorithms=("PDQ",)), item(2, algorithms=("MD5",)), item(3, algorithms=("MD5", "PDQ"))
        )
        answer = desk.match(digest("PDQ", 1), near(digest("PDQ", 3), 5), digest("MD5", 2))
        assert [(m.entry.provenance.position, m.distance) for m in answer.matches] == [
            ("line 2", 0), ("line 1", 0), ("line 3", 5),
        ]  # fmt: skip

    def test_an_entry_found_in_several_ways_is_told_once_at_its_nearest(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PDQ", "PHASH")))
        answer = desk.match(near(digest("PDQ", 1), 20), near(digest("PDQ", 1), 7), near(digest("PHASH", 1), 9))
        (match,) = answer.matches
        assert (match.algorithm, match.distance) == ("PDQ", 7)


class TestCalls:
    def test_answers_come_in_the_order_of_the_questions(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(0, 20, 2)))
        queries = [Query(hashes=(digest("MD5", n),), label=str(n)) for n in range(20)]
        answers, revision = desk.hub.match.hashes(PLATFORM, queries, ANY)
        assert [a.label for a in answers] == [str(n) for n in range(20)]
        assert [a.verdict is Verdict.MATCH for a in answers] == [True, False] * 10
        assert answers[1].reasons[0].code == "NOTHING_KNOWN"
        assert revision == desk.hub.revision()

    def test_a_miss_asks_no_database(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []
        database, caller = desk.hub.store.database, threading.get_ident()
        fetch = database.fetch

        def noted(sql: str, *args: Any) -> Any:
            if threading.get_ident() == caller:  # others look for changes
                asked.append(sql)
            return fetch(sql, *args)

        monkeypatch.setattr(database, "fetch", noted)
        assert desk.match(digest("PDQ", 1), digest("MD5", 1)).verdict is Verdict.NO_MATCH
        assert asked == []

    def test_it_is_told_that_there_is_no_list_to_compare_with(self, desk: Desk) -> None:
        """Also to who hits what it may not see: nothing tells of that."""

        def codes(*numbers: int) -> set[tuple[str, ...]]:
            hashes = [digest("MD5", n) for n in numbers]
            queries = [Query(hashes=(h,)) for h in hashes]
            missed = [desk.hub.match.miss(PLATFORM, query, ANY) for query in queries]
            results = [*desk.hub.match.hashes(PLATFORM, queries, ANY)[0], *(m[0] for m in missed if m is not None)]
            return {tuple(line.code for line in result.reasons) for result in results}

        assert codes(99) == {("NOTHING_LISTED", "NOTHING_KNOWN")}
        desk.hash_set("alpha/hidden", marking=Marking(recipients=("contributors/alpha",)))
        desk.contribute("alpha/hidden", item(1))
        assert codes(1, 99) == {("NOTHING_LISTED", "NOTHING_KNOWN")}
        desk.hash_set("alpha/shown")
        assert codes(1, 99) == {("NOTHING_KNOWN",)}
        desk.contribute("alpha/shown", item(2))
        assert codes(1, 99) == {("NOTHING_KNOWN",)}

    def test_a_policy_must_be_chosen(self, desk: Desk) -> None:
        for name, words in (("", "is required"), ("lenient", "no policy 'lenient'; choose one of any, block")):
            with pytest.raises(InvalidArgument, match=words):
                desk.match(digest("MD5", 1), policy=name)
            with pytest.raises(InvalidArgument, match=words):
                desk.hub.match.media(PLATFORM, [("x", b"x")], MatchOptions(policy=name))

    def test_limits(self, desk: Desk) -> None:
        query = Query(hashes=(digest("MD5", 1),))
        assert len(desk.hub.match.hashes(PLATFORM, [query] * 1000, ANY)[0]) == 1000
        with pytest.raises(LimitExceeded, match="at most 1000 queries, got 1001"):
            desk.hub.match.hashes(PLATFORM, [query] * 1001, ANY)
        with pytest.raises(LimitExceeded, match="at most 100 files, got 101"):
            desk.hub.match.media(PLATFORM, [("", b"x")] * 101, ANY)
        with pytest.raises(InvalidArgument, match=r"queries\[0\].hashes needs at least one"):
            desk.match()
        with pytest.raises(InvalidArgument, match="match_limit"):
            desk.match(digest("MD5", 1), match_limit=-1)

    def test_what_is_left_out_is_said(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(1, external_id=f"x{i}", position=f"line {i}") for i in range(5)))
        answer = desk.match(digest("MD5", 1), match_limit=3)
        assert (len(answer.matches), answer.truncated) == (3, True)
        assert desk.match(digest("MD5", 1), match_limit=5).truncated is False

    def test_more_digests_than_are_considered(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        centre = digest("PDQ", 1)
        numbers = [int.from_bytes(centre.digest) ^ (1 << a) ^ (1 << b) for a in range(50) for b in range(a)]
        cluster = [Hash("PDQ", n.to_bytes(32)) for n in numbers]
        desk.contribute("alpha/list", *(item(i, hashes=(h,)) for i, h in enumerate(cluster)))
        answer = desk.match(centre, match_limit=1000)
        assert (len(answer.matches), answer.truncated, answer.verdict) == (1000, True, Verdict.MATCH)


class TestPolicies:
    def test_block_takes_two_independent_contributors(self, any_desk: Desk) -> None:
        any_desk.contributor("alpha")
        any_desk.contributor("copy", takes_from=["alpha"])
        any_desk.contributor("third", takes_from=["copy"])
        any_desk.contributor("beta")
        for name, block in (
            ("alpha", Verdict.REVIEW),
            ("copy", Verdict.REVIEW),  # it has it from alpha
            ("third", Verdict.REVIEW),  # so has it, through copy
            ("beta", Verdict.MATCH),
        ):
            any_desk.hash_set(f"{name}/list")
            any_desk.contribute(f"{name}/list", item(1))
            assert any_desk.verdict(1, policy="any") is Verdict.MATCH
            assert any_desk.verdict(1, policy="block") is block

    def test_independence_follows_what_is_known_now(self, desk: Desk) -> None:
        for name in ("alpha", "beta"):
            desk.hash_set(f"{name}/list")
            desk.contribute(f"{name}/list", item(1))
        assert desk.verdict(1, policy="block") is Verdict.MATCH
        beta = desk.hub.contributors.get(OPERATOR, "beta")
        changed = type(beta)(**{f: getattr(beta, f) for f in beta.__struct_fields__} | {"takes_from": ("alpha",)})
        desk.hub.contributors.update(OPERATOR, changed, ["takes_from"])
        assert desk.verdict(1, policy="block") is Verdict.REVIEW

    @pytest.mark.parametrize(
        ("reliability", "scheme", "value", "verdict"),
        [
            ("A", "uk-sentencing", "A", Verdict.MATCH),
            ("B", "uk-sentencing", "A", Verdict.REVIEW),
            ("A", "", "", Verdict.REVIEW),
            ("A", "copine", "9", Verdict.REVIEW),  # its table is a draft
        ],
    )
    def test_block_takes_one_of_reliability_a_with_a_verified_scheme(
        self, desk: Desk, reliability: str, scheme: str, value: str, verdict: Verdict
    ) -> None:
        desk.contributor("alpha", reliability=reliability)
        desk.hash_set("alpha/list", scheme=scheme)
        desk.contribute("alpha/list", item(1, value=value))
        answer = desk.match(digest("MD5", 1), policy="block")
        assert answer.verdict is verdict
        assert ("DRAFT_SCHEME" in {r.code for r in answer.reasons}) == (scheme == "copine")

    def test_two_draft_schemes_never_block(self, desk: Desk) -> None:
        for name in ("alpha", "beta"):
            desk.contributor(name, reliability="A")
            desk.hash_set(f"{name}/list", scheme="copine")
            desk.contribute(f"{name}/list", item(1, value="9"))
        assert desk.verdict(1, policy="block") is Verdict.REVIEW

    def test_a_disputing_review_sends_it_to_a_person_until_taken_back(self, any_desk: Desk) -> None:
        for name in ("alpha", "beta"):
            any_desk.hash_set(f"{name}/list")
            any_desk.contribute(f"{name}/list", item(1))
        (entry,) = any_desk.entries("alpha/list")

        def review(kind: ReviewKind) -> None:
            made = any_desk.hub.reviews.create(writer("beta"), "alpha", "list", entry.id, kind)
            assert made.author == "beta"

        assert any_desk.verdict(1, policy="block") is Verdict.MATCH
        review(ReviewKind.FALSE_POSITIVE)
        answer = any_desk.match(digest("MD5", 1), policy="block")
        assert answer.verdict is Verdict.REVIEW
        assert answer.reasons[0].code == "DISPUTED"
        assert {m.entry.contributor: m.reviews for m in answer.matches} == {
            "alpha": {ReviewKind.FALSE_POSITIVE: 1}, "beta": {},
        }  # fmt: skip
        review(ReviewKind.CONFIRMED)
        assert any_desk.verdict(1, policy="block") is Verdict.MATCH

    def test_benign_and_test_sets(self, desk: Desk) -> None:
        for name, purpose in (("good", Purpose.BENIGN), ("trial", Purpose.TEST)):
            desk.hash_set(f"{name}/list", purpose=purpose)
        desk.contribute("good/list", item(1), item(3))
        desk.contribute("trial/list", item(2))
        assert desk.verdict(1, policy="block") is Verdict.NO_MATCH
        accept(desk, "good/list")
        assert desk.verdict(1, policy="block") is Verdict.BENIGN
        assert desk.verdict(2, policy="block") is Verdict.REVIEW
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(4, algorithms=("PDQ",)))
        assert desk.match(digest("MD5", 3), digest("PDQ", 4)).verdict is Verdict.REVIEW
        desk.contribute("good/list", item(5))
        assert desk.verdict(5, policy="block") is Verdict.NO_MATCH, "it came after the acceptance"

    def test_an_expired_entry_counts_no_more_from_that_moment(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.hash_set("alpha/list")
        end = now() + timedelta(hours=1)
        desk.contribute("alpha/list", item(1, expire_time=end))
        assert desk.verdict(1) is Verdict.MATCH
        monkeypatch.setattr("hashhub.answering.answer.now", lambda: end)
        answer = desk.match(digest("MD5", 1))
        assert (answer.verdict, answer.matches) == (Verdict.NO_MATCH, ())
        assert [r.code for r in answer.reasons] == ["EXPIRED"]


class TestTerms:
    @pytest.fixture
    def secretive(self, desk: Desk) -> Desk:
        """One list for two named recipients, one for a purpose, one that says at least that it exists."""
        desk.hash_set("alpha/named", marking=Marking(tlp=TLP.RED, recipients=("tokens/platform", "contributors/beta")))
        desk.hash_set("alpha/purpose", marking=Marking(permitted_purposes=("victim-identification",)))
        desk.hash_set("alpha/hinted", marking=Marking(recipients=("contributors/beta",), disclose_existence=True))
        desk.contribute("alpha/named", item(1))
        desk.contribute("alpha/purpose", item(2))
        desk.contribute("alpha/hinted", item(3))
        return desk

    @pytest.mark.parametrize(
        ("who", "seen"),
        [
            (PLATFORM, [1]),
            (Principal(name="other", role=Role.CONSUMER), []),
            (Principal(name="unit", role=Role.CONSUMER, purposes=("victim-identification",)), [2]),
            (writer("beta"), [1, 3]),
            (writer("alpha"), [1, 2, 3]),
            (OPERATOR, [1, 2, 3]),
        ],
        ids=lambda x: x.name if isinstance(x, Principal) else "",
    )
    def test_each_caller_sees_what_the_terms_allow(self, secretive: Desk, who: Principal, seen: list[int]) -> None:
        assert [n for n in (1, 2, 3) if secretive.verdict(n, who=who) is Verdict.MATCH] == seen

    def test_hidden_is_like_unknown(self, secretive: Desk) -> None:
        other = Principal(name="other", role=Role.CONSUMER)
        hidden, unknown = secretive.match(digest("MD5", 1), who=other), secretive.match(digest("MD5", 9), who=other)
        assert (hidden.verdict, hidden.matches, hidden.withheld, hidden.truncated) == (
            unknown.verdict, unknown.matches, unknown.withheld, unknown.truncated,
        )  # fmt: skip
        assert [(r.code, r.entries) for r in hidden.reasons] == [(r.code, r.entries) for r in unknown.reasons]

    def test_that_something_exists_is_said_where_the_terms_allow(self, secretive: Desk) -> None:
        answer = secretive.match(digest("MD5", 3))
        assert (answer.verdict, answer.withheld, answer.matches) == (Verdict.REVIEW, True, ())
        assert answer.reasons[-1].code == "WITHHELD"
        assert "alpha" not in str(answer)

    def test_what_is_withheld_does_not_weaken_what_is_seen(self, secretive: Desk) -> None:
        secretive.hash_set("beta/list")
        secretive.contribute("beta/list", item(3), item(1))
        answer = secretive.match(digest("MD5", 3))
        assert (answer.verdict, answer.withheld) == (Verdict.MATCH, True)
        assert [m.entry.contributor for m in answer.matches] == ["beta"]

    def test_what_a_caller_may_not_see_does_not_count_for_it(self, secretive: Desk) -> None:
        secretive.hash_set("beta/list")
        secretive.contribute("beta/list", item(1))
        assert secretive.verdict(1, policy="block") is Verdict.MATCH
        other = Principal(name="other", role=Role.CONSUMER)
        assert secretive.verdict(1, policy="block", who=other) is Verdict.REVIEW

    def test_matches_carry_the_terms(self, secretive: Desk) -> None:
        assert secretive.match(digest("MD5", 1)).matches[0].marking.tlp is TLP.RED


class TestCircuitBreaker:
    def test_a_digest_that_matches_everything_goes_to_a_person(self, desk: Desk) -> None:
        # Before any search.
        desk.hub.matcher.breaker.__init__(CircuitBreaker(share=0.5, min_hits=20))  # type: ignore[misc]
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",)), item(2, algorithms=("PDQ",)))
        flood = [Query(hashes=(near(digest("PDQ", 1), n),)) for n in range(32)]
        desk.hub.match.hashes(PLATFORM, flood, ANY)
        altered = near(digest("PDQ", 1), 3)
        answer = desk.match(altered)
        assert (answer.verdict, answer.matches) == (Verdict.REVIEW, ())
        assert answer.reasons[-1].code == "CIRCUIT_BREAKER"
        both = desk.match(altered, digest("PDQ", 2))
        assert both.verdict is Verdict.MATCH
        assert [m.entry.provenance.position for m in both.matches] == ["line 2"]
        assert desk.match(digest("PDQ", 1)).verdict is Verdict.MATCH, "a copy of the listed picture itself"
        assert desk.match(digest("PDQ", 2)).reasons[-1].code != "CIRCUIT_BREAKER"
        (warning,) = desk.hub.status(OPERATOR).warnings
        assert digest("PDQ", 1).digest[:4].hex() in warning
        assert digest("PDQ", 1).digest.hex() not in warning

    @pytest.mark.parametrize(("algorithm", "bits"), [("MD5", 0), ("PDQ", 0), ("PDQ", 3)])
    def test_a_flood_of_one_upload_lowers_no_verdict(self, desk: Desk, algorithm: str, bits: int) -> None:
        # Before any search.
        desk.hub.matcher.breaker.__init__(CircuitBreaker(share=0.5, min_hits=20))  # type: ignore[misc]
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=(algorithm,)))
        for _ in range(100):
            assert desk.match(near(digest(algorithm, 1), bits)).verdict is Verdict.MATCH
        assert desk.hub.status(OPERATOR).warnings == ()


def _bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def original() -> Image.Image:
    return picture(11)


class TestMedia:
    @pytest.fixture
    def knowing(self, desk: Desk, original: Image.Image) -> Desk:
        """A hub that lists one picture by its perceptual hashes."""
        hashes = tuple(h for h in hash_media(_bytes(original)).hashes if ALGORITHMS[h.algorithm].is_perceptual)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, hashes=hashes, quality=100))
        return desk

    def ask(self, hub: Hub, content: bytes, *, effort: Effort = Effort.STANDARD, single: bool = False) -> MediaResult:
        options = MatchOptions(policy="any", effort=effort)
        return hub.match.media(PLATFORM, [("upload", content)], options, single=single)[0][0]

    def test_a_re_encoded_picture_is_found(self, knowing: Desk, original: Image.Image) -> None:
        answer = self.ask(knowing.hub, _bytes(original, "JPEG", quality=60))
        assert answer.result.verdict is Verdict.MATCH
        assert (answer.result.label, answer.media_type) == ("upload", "image/jpeg")
        assert {h.algorithm for h in answer.hashes} == {"MD5", "SHA1", "SHA256", "PDQ", "PHASH", "DHASH"}
        assert self.ask(knowing.hub, _bytes(picture(12))).result.verdict is Verdict.NO_MATCH

    def test_a_turned_picture_is_found_unless_plain_files_are_asked_for(
        self, knowing: Desk, original: Image.Image
    ) -> None:
        turned = _bytes(original.transpose(Image.Transpose.ROTATE_90))
        assert self.ask(knowing.hub, turned, effort=Effort.PLAIN).result.verdict is Verdict.NO_MATCH
        assert self.ask(knowing.hub, turned).result.verdict is Verdict.MATCH

    def test_one_frame_of_an_animation_is_enough(self, knowing: Desk, original: Image.Image) -> None:
        frames = [picture(n).quantize() for n in (20, 21)]
        moving = _bytes(frames[0], "GIF", save_all=True, append_images=[frames[1], original.quantize()], duration=500)
        assert self.ask(knowing.hub, moving).result.verdict is Verdict.MATCH
        still = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)
        assert self.ask(knowing.hub, still).result.verdict is Verdict.NO_MATCH

    @pytest.mark.parametrize("image_format", ["HEIF", "AVIF", "WEBP", "TIFF"])
    def test_so_is_a_picture_of_any_format_and_a_damaged_one_is_never_clean(
        self, knowing: Desk, original: Image.Image, image_format: str
    ) -> None:
        load_decoders()  # registers HEIF
        whole = _bytes(original.copy(), image_format)
        assert self.ask(knowing.hub, whole).result.verdict is Verdict.MATCH
        files = [(str(share), whole[: int(len(whole) * share)]) for share in (0.3, 0.6, 0.9)]
        results, _ = knowing.hub.match.media(PLATFORM, files, ANY)
        assert [r.result.verdict for r in results] == [Verdict.UNAVAILABLE] * 3
        assert {r.result.reasons[0].code for r in results} == {"UNREADABLE_MEDIA"}

    def test_an_unreadable_file_is_never_clean(self, knowing: Desk, original: Image.Image) -> None:
        good = _bytes(original)
        cut = good[: len(good) // 2]
        results, _ = knowing.hub.match.media(PLATFORM, [("a", cut), ("b", good), ("c", cut)], ANY)
        assert [(r.result.label, r.result.verdict) for r in results] == [
            ("a", Verdict.UNAVAILABLE), ("b", Verdict.MATCH), ("c", Verdict.UNAVAILABLE),
        ]  # fmt: skip
        assert results[0].result.reasons[0].code == "UNREADABLE_MEDIA"
        with pytest.raises(InvalidArgument) as refused:
            self.ask(knowing.hub, cut, single=True)
        assert refused.value.reason is Reason.UNREADABLE_MEDIA

    def test_a_batch_that_takes_too_long_is_answered_for_what_was_not_begun(
        self, knowing: Desk, original: Image.Image, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(match, "MEDIA_SECONDS", -1)
        good = _bytes(original)
        results, _ = knowing.hub.match.media(PLATFORM, [("a", good), ("b", good)], ANY)
        assert [(r.result.label, r.result.verdict) for r in results] == [
            ("a", Verdict.UNAVAILABLE), ("b", Verdict.UNAVAILABLE),
        ]  # fmt: skip
        assert {r.result.reasons[0].code for r in results} == {"DEADLINE_EXCEEDED"}

    def test_each_file_is_charged_whatever_became_of_it(self, knowing: Desk, original: Image.Image) -> None:
        files = [("a", _bytes(original)), ("b", _bytes(original)[:500]), ("c", b"text")]
        charged: list[float] = []
        knowing.hub.match.media(PLATFORM, files, ANY, charge=charged.append)
        assert len(charged) == 3
        assert charged[0] > charged[2] > 0

        def refuse(_: float) -> None:
            raise LimitExceeded("spent")

        with pytest.raises(LimitExceeded, match="spent"):
            knowing.hub.match.media(PLATFORM, files, ANY, charge=refuse)

    def test_too_large_a_picture_is_never_clean(self, open_hub: Open, original: Image.Image) -> None:
        hub = open_hub(max_media_pixels=1000)
        assert self.ask(hub, _bytes(original)).result.verdict is Verdict.UNAVAILABLE
        with pytest.raises(LimitExceeded) as refused:
            self.ask(hub, _bytes(original), single=True)
        assert refused.value.reason is Reason.MEDIA_TOO_LARGE

    def test_a_blank_picture_is_remarked_upon(self, knowing: Desk) -> None:
        blank = self.ask(knowing.hub, _bytes(Image.fromarray(np.full((300, 400, 3), 200, np.uint8))))
        assert blank.quality is not None
        assert blank.quality < 50
        assert blank.result.reasons[-1].code == "LOW_QUALITY"
        assert blank.result.verdict is Verdict.NO_MATCH

    def test_what_is_no_picture_is_compared_as_a_file_and_says_so(self, desk: Desk, tmp_path: Path) -> None:
        document = b"%PDF-1.7 synthetic"
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, hashes=hash_media(document).hashes[:1]))
        for content, verdict in ((document, Verdict.MATCH), (document + b".", Verdict.NO_MATCH)):
            answer = self.ask(desk.hub, content)
            assert (answer.result.verdict, answer.quality, answer.media_type) == (verdict, None, "")
            assert answer.result.reasons[-1].code == "EXACT_ONLY"


def test_policies_and_schemes_are_for_everybody(desk: Desk) -> None:
    for who in (OPERATOR, AUDITOR, PLATFORM, writer("alpha")):
        assert [version.name for version in desk.hub.policies.currents(who)] == ["any", "block", "block-corroborated"]
        assert "vic-us@2.0" in {s.scheme.name for s in desk.hub.schemes.list(who)}
