from __future__ import annotations

import hashlib
import random
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hashhub import hygiene
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hashing.pdq import compute
from hashhub.hygiene import Code, inspect
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    Action,
    Disposition,
    HashFault,
    Record,
    RecordReview,
    ReviewKind,
)
from hashhub.testing.pictures import picture

PERCEPTUAL = ("PDQ", "PHASH", "DHASH", "PHOTODNA")
EXACT = ("MD5", "SHA1", "SHA256")


def usual(name: str, seed: int = 0) -> Hash:
    """A digest that no rule minds: uniformly random bytes."""
    return Hash.of(name, random.Random(f"{name}{seed}").randbytes(ALGORITHMS[name].digest_bytes))


def pdq_of(image: Image.Image) -> tuple[Hash, int]:
    """The PDQ hash and quality of a picture."""
    pdq, quality = compute(np.asarray(image), [(False, False)])[False, False]
    return Hash.of("PDQ", pdq.to_bytes(32)), quality


def record(*hashes: Hash, **fields: object) -> Record:
    return Record(position="line 1", hashes=hashes, **fields)  # type: ignore[arg-type]  # fields of Record by name


class TestCleanRecords:
    def test_usual_hashes_of_every_algorithm_are_accepted_unchanged(self) -> None:
        r = record(*(usual(a) for a in ALGORITHMS), quality=hygiene.MIN_PDQ_QUALITY)
        found = inspect(r)
        assert (found.disposition, found.reasons, found.notes) == (Disposition.ACCEPTED, (), ())
        assert found.hashes is r.hashes

    @given(st.sampled_from(PERCEPTUAL), st.integers(0, 2**32))
    def test_uniformly_random_digests_are_not_suspected(self, name: str, seed: int) -> None:
        assert inspect(record(usual(name, seed))).disposition is Disposition.ACCEPTED

    def test_hashes_of_pictures_are_not_suspected(self) -> None:
        imagehash = pytest.importorskip("imagehash")
        for seed in range(60):
            im = picture(seed, (192, 144))
            pdq, quality = pdq_of(im)
            found = inspect(
                record(
                    pdq,
                    Hash.of("PHASH", np.packbits(imagehash.phash(im).hash).tobytes()),
                    Hash.of("DHASH", np.packbits(imagehash.dhash(im).hash).tobytes()),
                )
            )
            assert found.disposition is Disposition.ACCEPTED, (seed, quality, found.notes)

    def test_a_low_quality_matters_to_pdq_only(self) -> None:
        assert inspect(record(usual("MD5"), quality=3)).disposition is Disposition.ACCEPTED

    def test_the_same_hash_twice_is_no_contradiction(self) -> None:
        assert inspect(record(usual("MD5"), usual("MD5"))).disposition is Disposition.ACCEPTED

    def test_several_perceptual_hashes_of_one_item_are_usual(self) -> None:
        assert inspect(record(usual("PDQ", 1), usual("PDQ", 2))).disposition is Disposition.ACCEPTED


class TestUselessHashes:
    @pytest.mark.parametrize("name", EXACT)
    def test_the_empty_file(self, name: str) -> None:
        empty = Hash.of(name, hashlib.new(name.lower(), b"").digest())
        alone = inspect(record(empty))
        assert (alone.disposition, alone.reasons, alone.hashes) == (Disposition.REJECTED, ("EMPTY_FILE",), ())
        beside = inspect(record(empty, usual("PDQ")))
        assert (beside.disposition, beside.hashes) == (Disposition.ACCEPTED, (usual("PDQ"),))
        assert [code for code, _ in beside.notes] == ["EMPTY_FILE"]
        assert name in beside.notes[0][1]

    @pytest.mark.parametrize("name", ALGORITHMS)
    @pytest.mark.parametrize(("byte", "code"), [(b"\0", "ALL_ZERO"), (b"\xff", "ALL_ONE")])
    def test_placeholders_of_any_algorithm(self, name: str, byte: bytes, code: str) -> None:
        placeholder = Hash.of(name, byte * ALGORITHMS[name].digest_bytes)
        other = usual("SHA256" if name != "SHA256" else "MD5")
        assert inspect(record(placeholder)).reasons == (code,)
        beside = inspect(record(other, placeholder))
        assert (beside.disposition, beside.hashes, beside.notes[0][0]) == (Disposition.ACCEPTED, (other,), code)

    def test_one_bit_makes_the_difference(self) -> None:
        assert inspect(record(Hash.of("MD5", bytes(15) + b"\x01"))).disposition is Disposition.ACCEPTED

    def test_two_placeholders_and_nothing_else(self) -> None:
        found = inspect(record(Hash.of("MD5", bytes(16)), Hash.of("SHA1", b"\xff" * 20)))
        assert (found.disposition, found.reasons) == (Disposition.REJECTED, ("ALL_ZERO",))
        assert [code for code, _ in found.notes] == ["ALL_ZERO", "ALL_ONE"]


class TestSuspiciousHashes:
    @pytest.mark.parametrize(
        ("name", "digest", "code"),
        [
            ("PDQ", bytes.fromhex("ffff0000" * 8), "LOW_ENTROPY"),
            ("PDQ", bytes.fromhex("55aa" * 16), "LOW_ENTROPY"),
            ("PDQ", bytes(range(1, 25)) + bytes(8), "LOW_ENTROPY"),
            ("PHASH", bytes.fromhex("8000000000000000"), "BLANK_PICTURE"),
            ("PHASH", bytes.fromhex("8200000000000000"), "LOW_ENTROPY"),
            ("PHASH", bytes.fromhex("f0f0f0f0f0f0f0f0"), "LOW_ENTROPY"),
            ("DHASH", bytes.fromhex("0000000000000001"), "LOW_ENTROPY"),
            ("DHASH", bytes.fromhex("0f0f0f0f0f0f0f0f"), "LOW_ENTROPY"),
            ("PHOTODNA", bytes(i // 4 for i in range(144)), "LOW_ENTROPY"),
        ],
    )
    def test_the_entry_waits_for_a_person_with_all_its_hashes(self, name: str, digest: bytes, code: str) -> None:
        r = record(usual("MD5"), Hash.of(name, digest))
        found = inspect(r)
        assert (found.disposition, found.reasons) == (Disposition.QUARANTINED, (code,))
        assert found.hashes == r.hashes
        assert name in found.detail(code)

    @pytest.mark.parametrize(("equal_pairs", "suspected"), [(42, False), (43, True)])
    def test_photodna_at_the_bound_of_iped(self, *, equal_pairs: int, suspected: bool) -> None:
        # 143 pairs of neighbours: at least 0.7 of them, 101, must differ.
        digest, values = [0], iter(range(1, 250))  # a leading zero byte has no neighbour before it
        for i in range(143):
            digest.append(digest[-1] if i < equal_pairs else next(values))
        found = inspect(record(Hash.of("PHOTODNA", bytes(digest))))
        assert (found.disposition is Disposition.QUARANTINED) is suspected

    @pytest.mark.parametrize(("ones", "suspected"), [(63, True), (64, False), (192, False), (193, True)])
    def test_pdq_at_the_bounds_of_set_bits(self, *, ones: int, suspected: bool) -> None:
        bits = np.zeros(256, np.uint8)
        bits[np.random.default_rng(3).permutation(256)[:ones]] = 1
        digest = np.packbits(bits).tobytes()
        assert len(set(digest)) > 22  # so that nothing else is wrong with it
        found = inspect(record(Hash.of("PDQ", digest)))
        assert (found.reasons == ("LOW_ENTROPY",)) is suspected

    @pytest.mark.parametrize("size", [(64, 64), (256, 256), (640, 480)])
    def test_pictures_of_one_colour(self, size: tuple[int, int]) -> None:
        imagehash = pytest.importorskip("imagehash")
        rng = random.Random(5)
        colours = [(0, 0, 0), (255, 255, 255), (128, 128, 128), *((*rng.randbytes(3),) for _ in range(20))]
        for colour in colours:
            im = Image.new("RGB", size, colour)
            pdq, _ = pdq_of(im)
            phash = Hash.of("PHASH", np.packbits(imagehash.phash(im).hash).tobytes())
            dhash = Hash.of("DHASH", np.packbits(imagehash.dhash(im).hash).tobytes())
            black = colour == (0, 0, 0)
            assert inspect(record(phash)).reasons == (("ALL_ZERO",) if black else ("BLANK_PICTURE",))
            # At some sizes the rounding noise is regular rather than sparse.
            assert inspect(record(pdq)).reasons in (
                [("ALL_ZERO",)] if black else [("BLANK_PICTURE",), ("LOW_ENTROPY",)]
            )
            assert inspect(record(dhash)).reasons == ("ALL_ZERO",)

    @pytest.mark.parametrize("size", [(64, 64), (100, 100), (640, 480)])
    def test_plain_gradients(self, size: tuple[int, int]) -> None:
        imagehash = pytest.importorskip("imagehash")
        for im in (Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90)):
            small = im.resize(size)
            for name, made in (("PHASH", imagehash.phash(small)), ("DHASH", imagehash.dhash(small))):
                found = inspect(record(Hash.of(name, np.packbits(made.hash).tobytes())))
                assert found.disposition is not Disposition.ACCEPTED

    def test_low_quality(self) -> None:
        found = inspect(record(usual("PDQ"), usual("MD5"), quality=49))
        assert (found.disposition, found.reasons) == (Disposition.QUARANTINED, ("LOW_QUALITY",))
        assert len(found.hashes) == 2

    def test_two_digests_of_one_exact_algorithm(self) -> None:
        found = inspect(record(usual("MD5", 1), usual("SHA256"), usual("MD5", 2)))
        assert (found.disposition, found.reasons) == (Disposition.QUARANTINED, ("CONTRADICTORY_BINDING",))

    def test_every_reason_is_given_once(self) -> None:
        found = inspect(record(Hash.of("PHASH", b"\xf0" * 8), Hash.of("DHASH", b"\x0f" * 8), usual("PDQ"), quality=0))
        assert found.reasons == ("LOW_ENTROPY", "LOW_QUALITY")
        assert "PHASH" in found.detail("LOW_ENTROPY")
        assert "DHASH" in found.detail("LOW_ENTROPY")


class TestRejections:
    def test_no_hash_at_all(self) -> None:
        assert inspect(record()).reasons == ("NO_HASH",)

    def test_faults_are_noted_or_decide_when_nothing_is_left(self) -> None:
        faults = (
            HashFault("md5", "DIGEST_WRONG_LENGTH", "too short"),
            HashFault("x", "UNSUPPORTED_ALGORITHM", "unknown"),
        )
        noted = inspect(record(usual("SHA1"), faults=faults))
        assert (noted.disposition, [c for c, _ in noted.notes]) == (Disposition.ACCEPTED, [f.reason for f in faults])
        alone = inspect(record(faults=faults))
        assert (alone.disposition, alone.reasons) == (Disposition.REJECTED, ("DIGEST_WRONG_LENGTH",))

    @pytest.mark.parametrize(
        "fields",
        [
            {"external_id": "a\0b"},
            {"value": "\ud800"},
            {"series": "x" * (MAX_TEXT + 1)},
            {"tags": ("fine", "not\0fine")},
            {"region": "x" * (MAX_TEXT + 1)},
            {"member": "\udfff"},
            {"media_type": "\0"},
            {"source_time": "\0"},
            {"media_size": -1},
            {"media_size": 2**63},
            {"quality": -1},
            {"quality": 101},
        ],
    )
    def test_a_field_that_cannot_be_stored(self, fields: dict[str, object]) -> None:
        found = inspect(record(usual("MD5"), **fields))
        assert (found.disposition, found.reasons, found.hashes) == (Disposition.REJECTED, ("BAD_FIELD",), ())
        assert next(iter(fields)).removesuffix("s") in found.notes[0][1]

    @pytest.mark.parametrize(
        "fields",
        [
            {"external_id": "é" * MAX_TEXT, "series": "日本" * (MAX_TEXT // 2), "tags": ("ü",) * 40},
            {"media_size": 0, "quality": 100},
            {"media_size": 2**63 - 1},
        ],
    )
    def test_unusual_fields_that_can_be_stored(self, fields: dict[str, object]) -> None:
        assert inspect(record(usual("MD5"), **fields)).disposition is Disposition.ACCEPTED

    def test_more_hashes_than_one_item_can_have(self) -> None:
        many = tuple(usual("PDQ", i) for i in range(MAX_HASHES_PER_ENTRY))
        assert inspect(record(*many)).disposition is Disposition.ACCEPTED
        assert inspect(record(*many, usual("MD5"))).reasons == ("TOO_MANY_HASHES",)
        assert inspect(record(*many, faults=(HashFault("x", "DIGEST_EMPTY", ""),))).reasons == ("TOO_MANY_HASHES",)


class TestWithdrawals:
    def test_an_external_id_or_a_hash_is_enough(self) -> None:
        assert inspect(record(action=Action.WITHDRAW, external_id="7")).disposition is Disposition.ACCEPTED
        suspicious = Hash.of("PDQ", bytes.fromhex("ffff0000" * 8))
        found = inspect(record(suspicious, action=Action.WITHDRAW, quality=1))
        assert (found.disposition, found.hashes) == (Disposition.ACCEPTED, (suspicious,))

    def test_nothing_named(self) -> None:
        assert inspect(record(action=Action.WITHDRAW)).reasons == ("MISSING_EXTERNAL_ID",)
        assert inspect(record(Hash.of("MD5", bytes(16)), action=Action.WITHDRAW)).reasons == ("ALL_ZERO",)


digests = st.sampled_from(list(ALGORITHMS)).flatmap(
    lambda name: st.one_of(
        st.binary(min_size=ALGORITHMS[name].digest_bytes, max_size=ALGORITHMS[name].digest_bytes),
        st.sampled_from([b"\0", b"\xff", b"\xf0"]).map(lambda b: b * ALGORITHMS[name].digest_bytes),
    ).map(lambda digest: Hash.of(name, digest))
)
records = st.builds(
    Record,
    position=st.just("line 1"),
    hashes=st.lists(digests, max_size=5).map(tuple),
    faults=st.lists(
        st.builds(HashFault, st.text(max_size=5), st.sampled_from([c.value for c in Code]), st.text(max_size=9)),
        max_size=2,
    ).map(tuple),
    action=st.sampled_from(Action),
    external_id=st.text(max_size=5),
    value=st.text(max_size=5),
    tags=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    quality=st.none() | st.integers(-1, 101),
    media_size=st.none() | st.integers(-1, 2**64),
)


class TestProperties:
    @given(records)
    def test_whatever_comes_in_is_decided_with_reasons(self, r: Record) -> None:
        found = inspect(r)
        assert found == inspect(r)
        codes = [code for code, _ in found.notes]
        assert set(codes) <= set(Code)
        assert set(found.reasons) <= set(codes)
        assert len(set(found.reasons)) == len(found.reasons)
        assert (found.disposition is Disposition.ACCEPTED) == (not found.reasons)
        assert set(found.hashes) <= set(r.hashes)
        if found.disposition is Disposition.REJECTED:
            assert found.hashes == ()
        else:
            # Every hash was kept or is noted.
            assert len(found.hashes) + sum(c in {"ALL_ZERO", "ALL_ONE", "EMPTY_FILE"} for c in codes) >= len(r.hashes)
            assert found.hashes or r.action is Action.WITHDRAW

    @given(records, st.randoms())
    def test_the_order_of_hashes_does_not_change_the_disposition(self, r: Record, rng: random.Random) -> None:
        shuffled = list(r.hashes)
        rng.shuffle(shuffled)
        other = Record(**{f: getattr(r, f) for f in r.__struct_fields__} | {"hashes": tuple(shuffled)})
        assert inspect(other).disposition is inspect(r).disposition
        assert set(inspect(other).hashes) == set(inspect(r).hashes)


class TestReviewsThatASourceCarries:
    def test_are_kept_with_their_authors(self) -> None:
        said = (RecordReview(ReviewKind.CONFIRMED, "a"), RecordReview(ReviewKind.DUPLICATE, " b ", "x"))
        found = inspect(Record(position="1", hashes=(Hash("MD5", bytes(15) + b"x"),), reviews=said))
        assert found.reviews == (said[0], RecordReview(ReviewKind.DUPLICATE, "b", "x"))
        assert (found.disposition, found.notes) == (Disposition.ACCEPTED, ())

    @pytest.mark.parametrize("kind", ReviewKind)
    @pytest.mark.parametrize("author", ["", " ", "nl"])
    def test_nobody_confirms_and_nobody_sets_aside(self, kind: ReviewKind, author: str) -> None:
        said = RecordReview(kind, author)
        found = inspect(Record(position="1", hashes=(Hash("MD5", bytes(15) + b"x"),), reviews=(said,)))
        is_named = bool(author.strip())
        doubts = kind not in {ReviewKind.CONFIRMED, ReviewKind.SET_ASIDE}
        assert [v.author for v in found.reviews] == (
            [] if kind is ReviewKind.SET_ASIDE else ["nl"] if is_named else [hygiene.UNNAMED] if doubts else []
        )
        assert [code for code, _ in found.notes] == (
            [] if is_named and kind is not ReviewKind.SET_ASIDE else ["BAD_FIELD"]
        )


def test_a_time_without_its_offset_is_no_time() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the very case
    found = inspect(Record(position="1", hashes=(Hash("MD5", bytes(15) + b"x"),), expire_time=naive))
    assert (found.disposition, found.reasons) == (Disposition.REJECTED, ("BAD_FIELD",))
    assert found.detail("BAD_FIELD") == "expire_time must say its offset from UTC."


def test_every_code_is_described() -> None:
    for code in Code:
        assert code.description.endswith(".")
