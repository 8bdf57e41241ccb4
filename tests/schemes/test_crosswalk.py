from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.errors import InvalidArgument
from hashhub.model import Classification
from hashhub.schemes import crosswalk
from hashhub.schemes.crosswalk import Relation, compare
from hashhub.schemes.dimensions import DIMENSIONS

REGISTRY = schemes.load()

Meaning = dict[str, tuple[str, ...]]
LAWS = tuple(f"{j}:{s}" for j in ("GB", "US", "CA") for s in ("illegal", "not-illegal"))


def subsets(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(values), min_size=1).map(lambda s: tuple(sorted(s)))


meanings = st.fixed_dictionaries(
    {}, optional={n: subsets(LAWS if n == "legal_status" else tuple(d.values)) for n, d in DIMENSIONS.items()}
)
classifications = st.sampled_from([c for s in REGISTRY.list() for v in s.values if (c := s.resolve(v)) is not None])


def stated(scheme: str, raw: str) -> Classification:
    classification = REGISTRY.get(scheme).resolve(raw)
    assert classification is not None
    return classification


def relation(a: tuple[str, str], b: tuple[str, str]) -> tuple[Relation, tuple[str, ...]]:
    comparison = compare(stated(*a).dimensions, stated(*b).dimensions)
    return comparison.relation, comparison.conflicting


class TestCompare:
    @given(meanings, meanings)
    def test_is_symmetric_and_files_each_dimension_once(self, a: Meaning, b: Meaning) -> None:
        comparison = compare(a, b)
        assert compare(b, a) == comparison
        filed = [*comparison.conflicting, *comparison.overlapping, *comparison.agreeing, *comparison.one_sided]
        assert len(filed) == len(set(filed))
        assert {n.partition(":")[0] for n in filed} == a.keys() | b.keys()

    @given(meanings)
    def test_nothing_conflicts_with_itself_and_silence_compares_with_nothing(self, a: Meaning) -> None:
        assert compare(a, a).relation is (Relation.AGREE if a else Relation.INCOMPARABLE)
        assert compare(a, {}).relation is Relation.INCOMPARABLE

    @given(meanings, meanings, meanings)
    def test_allowing_more_never_makes_a_conflict(self, a: Meaning, more: Meaning, b: Meaning) -> None:
        wider = {n: tuple(sorted({*v, *more.get(n, ())})) for n, v in a.items()}
        assert set(compare(wider, b).conflicting) <= set(compare(a, b).conflicting)

    @given(meanings, meanings)
    def test_what_shares_a_value_does_not_conflict(self, a: Meaning, b: Meaning) -> None:
        for name in compare(a, b).conflicting:
            dimension, _, jurisdiction = name.partition(":")
            assert not {v for v in a[dimension] if v.startswith(jurisdiction)} & set(b[dimension])

    @pytest.mark.parametrize(
        ("a", "b", "expected", "conflicting"),
        [
            # One letter or number, two meanings.
            (("vic-us", "1"), ("vic-us-legacy", "1"), Relation.AGREE, ()),
            (("vic-us", "0"), ("vic-us-legacy", "5"), Relation.AGREE, ()),
            (("vic-us", "0"), ("vic-us-legacy", "1"), Relation.CONFLICT, ("verdict",)),
            (("uk-sentencing", "A"), ("ncmec-industry", "A1"), Relation.IMPRECISE, ()),
            (("uk-sentencing", "A"), ("ncmec-industry", "A2"), Relation.CONFLICT, ("act",)),
            (("uk-sentencing", "B"), ("ncmec-industry", "B1"), Relation.IMPRECISE, ()),
            (("uk-sentencing", "B"), ("ncmec-industry", "B2"), Relation.CONFLICT, ("act",)),
            (("uk-sentencing", "C"), ("ncmec-industry", "B2"), Relation.IMPRECISE, ()),
            # Before and since puberty contradict each other; either goes with a band in which both occur.
            (("ncmec-industry", "A1"), ("ncmec-industry", "B1"), Relation.CONFLICT, ("age_band",)),
            (("ncmec-industry", "A1"), ("interpol-baseline", "Y"), Relation.IMPRECISE, ()),
            (("ncmec-industry", "B1"), ("interpol-baseline", "Y"), Relation.IMPRECISE, ()),
            # Not shown to meet the Baseline is no statement that it does not.
            (("interpol-baseline", "N"), ("interpol-baseline", "Y"), Relation.IMPRECISE, ()),
            (("interpol-baseline", "N"), ("vic-us", "1"), Relation.INCOMPARABLE, ()),
            # No conclusion contradicts no conclusion.
            (("vic-us", "5"), ("vic-us", "1"), Relation.IMPRECISE, ()),
            (("vic-us", "2"), ("vic-us", "1"), Relation.CONFLICT, ("verdict",)),
            (("vic-us", "3"), ("uk-sentencing", "C"), Relation.CONFLICT, ("verdict",)),
            (("vic-us", "4"), ("uk-sentencing", "A"), Relation.CONFLICT, ("act", "verdict")),
            (("copine", "2"), ("uk-sentencing", "C"), Relation.IMPRECISE, ()),
            (("copine", "9"), ("uk-sap", "2"), Relation.CONFLICT, ("persons",)),
            (("uk-sap", "2"), ("uk-sap", "3"), Relation.CONFLICT, ("persons",)),
        ],
    )
    def test_real_pairs(
        self, a: tuple[str, str], b: tuple[str, str], expected: Relation, conflicting: tuple[str, ...]
    ) -> None:
        assert relation(a, b) == (expected, conflicting)

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ({"age_band": ("prepubescent",)}, {"age_band": ("7-10",)}, Relation.IMPRECISE),
            ({"age_band": ("pubescent",)}, {"age_band": ("7-10",)}, Relation.IMPRECISE),
            ({"age_band": ("prepubescent",)}, {"age_band": ("14-15",)}, Relation.CONFLICT),
            ({"age_band": ("pubescent",)}, {"age_band": ("3-6",)}, Relation.CONFLICT),
            ({"age_band": ("pubescent",)}, {"age_band": ("18+",)}, Relation.CONFLICT),
            ({"medium": ("pseudo-photo",)}, {"medium": ("ai-generated",)}, Relation.IMPRECISE),
            ({"medium": ("photo",)}, {"medium": ("ai-generated",)}, Relation.CONFLICT),
            ({"victim_identified": ("no",)}, {"victim_identified": ("yes",)}, Relation.IMPRECISE),
            ({"self_generated": ("no",)}, {"self_generated": ("yes",)}, Relation.CONFLICT),
            ({"context": ("meme",)}, {"context": ("series",)}, Relation.IMPRECISE),
            ({"legal_status": ("US:illegal",)}, {"legal_status": ("GB:not-illegal",)}, Relation.INCOMPARABLE),
            ({"legal_status": ("US:illegal",)}, {"legal_status": ("US:not-illegal",)}, Relation.CONFLICT),
            ({"legal_status": ("GB:illegal", "US:illegal")}, {"legal_status": ("US:illegal",)}, Relation.AGREE),
        ],
    )
    def test_sets_of_meanings_not_of_names(self, a: Meaning, b: Meaning, expected: Relation) -> None:
        assert compare(a, b).relation is expected

    @pytest.mark.parametrize(
        "wrong", [{"verdict": ("bad",)}, {"colour": ("red",)}, {"verdict": ()}, {"legal_status": ("US",)}]
    )
    def test_what_does_not_exist_is_refused(self, wrong: Meaning) -> None:
        with pytest.raises(InvalidArgument):
            compare(wrong, {})


class TestTranslate:
    @pytest.mark.parametrize(
        ("source", "target", "value", "possible"),
        [
            # SAP to A, B, C is deterministic; back is a set.
            (("uk-sap", "1"), "uk-sentencing", "C", "C"),
            (("uk-sap", "2"), "uk-sentencing", "B", "B"),
            (("uk-sap", "3"), "uk-sentencing", "B", "B"),
            (("uk-sap", "4"), "uk-sentencing", "A", "A"),
            (("uk-sap", "5"), "uk-sentencing", "A", "A"),
            (("uk-sentencing", "A"), "uk-sap", None, "4 5"),
            (("uk-sentencing", "B"), "uk-sap", None, "2 3"),
            (("uk-sentencing", "C"), "uk-sap", None, "1"),
            # Without an age nothing of the industry's; with rank 1, A or B; with rank 2, C at most.
            (("uk-sentencing", "A"), "ncmec-industry", None, "A1 B1"),
            (("uk-sentencing", "C"), "ncmec-industry", None, "A2 B2"),
            (("ncmec-industry", "A1"), "uk-sentencing", None, "A B"),
            (("ncmec-industry", "B1"), "uk-sentencing", None, "A B"),
            (("ncmec-industry", "A2"), "uk-sentencing", None, "C"),
            (("ncmec-industry", "B2"), "uk-sentencing", None, "C"),
            (("ncmec-industry", "A1"), "vic-us", "1", "1"),
            (("ncmec-industry", "B2"), "arachnid-shield", "csam", "csam"),
            (("vic-us", "1"), "uk-sentencing", None, "A B C"),
            (("vic-us", "1"), "ncmec-industry", None, "A1 A2 B1 B2"),
            (("vic-us", "1"), "vic-us-legacy", "1", "1"),
            (("vic-us", "0"), "vic-us-legacy", "5", "5"),
            (("vic-us-legacy", "5"), "vic-us", "0", "0"),
            (("vic-us", "4"), "uk-sentencing", None, ""),
            # Indecent in the UK is not yet illegal in the US.
            (("uk-sentencing", "C"), "vic-us", None, "1"),
            (("copine", "7"), "uk-sentencing", None, "A B"),
            (("copine", "9"), "uk-sentencing", None, "A B"),
            (("copine", "10"), "uk-sentencing", None, "A"),
            # Likely is not shown, and not shown is never written for want of knowledge.
            (("ncmec-industry", "A1"), "interpol-baseline", None, "Y"),
            (("interpol-baseline", "Y"), "vic-us", None, "1"),
        ],
    )
    def test_real_pairs(self, source: tuple[str, str], target: str, value: str | None, possible: str) -> None:
        translation = crosswalk.translate(stated(*source), REGISTRY.get(target))
        assert (translation.value, " ".join(translation.possible)) == (value, possible)
        assert translation.value is not None or translation.losses

    @given(classifications, st.sampled_from(REGISTRY.list()), meanings)
    def test_what_is_emitted_is_implied(self, source: Classification, target: schemes.Scheme, also: Meaning) -> None:
        translation = crosswalk.translate(source, target, also=also)
        for value in translation.possible:
            assert compare(source.dimensions, target.values[value].dimensions).relation is not Relation.CONFLICT
        if translation.value is not None and target.id != source.scheme:
            written = target.values[translation.value].dimensions
            assert translation.possible == (translation.value,)
            # Whatever contradicts the value that was written contradicts what was known: nothing was invented.
            for name in written:
                for other in DIMENSIONS[name].values if name != "legal_status" else LAWS:
                    if compare(written, {name: (other,)}).conflicting:
                        fact = {name: (other,)}
                        assert compare(source.dimensions, fact).conflicting or compare(also, fact).conflicting

    @given(classifications)
    def test_the_scheme_itself_gets_the_value_back(self, source: Classification) -> None:
        translation = crosswalk.translate(source, REGISTRY.get(f"{source.scheme}@{source.version}"))
        assert (translation.value, translation.losses) == (source.value, ())

    @given(st.sampled_from(REGISTRY.list()), classifications)
    def test_a_value_that_asserts_nothing_is_never_written(
        self, target: schemes.Scheme, source: Classification
    ) -> None:
        if target.id != source.scheme:
            translation = crosswalk.translate(source, target)
            silent = {"vic-us": "5", "vic-us-legacy": "0", "interpol-baseline": "N", "arachnid-shield": "test"}
            assert silent.get(target.id) not in translation.possible

    def test_nothing_is_written_on_the_word_of_a_draft(self) -> None:
        also = {"medium": ("photo",), "legal_status": ("GB:illegal",)}
        translation = crosswalk.translate(stated("copine", "8"), REGISTRY.get("uk-sentencing"), also=also)
        assert (translation.value, translation.possible) == (None, ("B",))
        assert [loss.text for loss in translation.losses] == [
            "copine@2001 is a draft, on whose word nothing is written"
        ]

    def test_flags_and_other_knowledge_of_the_entry_count(self) -> None:
        also = {"medium": ("photo",), "legal_status": ("GB:illegal",)}
        assert (
            crosswalk.translate(stated("ncmec-industry", "A2"), REGISTRY.get("uk-sentencing"), also=also).value == "C"
        )
        drawn = {**also, "medium": ("drawn",)}
        translation = crosswalk.translate(stated("ncmec-industry", "A2"), REGISTRY.get("uk-sentencing"), also=drawn)
        assert (translation.value, translation.possible) == (None, ())
        assert "medium" in {loss.dimension for loss in translation.losses}

    def test_the_loss_report_says_what_is_missing_and_what_is_dropped(self) -> None:
        losses = crosswalk.translate(stated("uk-sentencing", "C"), REGISTRY.get("vic-us")).losses
        assert [(x.dimension, x.text) for x in losses] == [
            ("legal_status:US", "vic-us@2.0 1 asserts US:illegal; stated is nothing")
        ]
        losses = crosswalk.translate(stated("uk-sap", "3"), REGISTRY.get("uk-sentencing")).losses
        assert [(x.dimension, x.text) for x in losses] == [
            ("persons", "adult-child is stated; uk-sentencing@2014 B does not tell it")
        ]
