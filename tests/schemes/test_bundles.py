"""Values that assert facts of a bundle (`context`), which hold together: written exactly where the statement has them.

The oracle is written out from the page's words and shares no code with the rule: a value may be written when each thing
that it asserts is stated, every fact of a bundle included, and no other value remains possible.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.model import Classification, SchemeStatus
from hashhub.schemes import Scheme
from hashhub.schemes.crosswalk import Relation, compare, translate
from hashhub.schemes.dimensions import DIMENSIONS, words

Meaning = dict[str, tuple[str, ...]]

REGISTRY = schemes.load()
CONTEXTS = tuple(DIMENSIONS["context"].values)


def scheme(name: str, *values: Meaning, status: str = "verified") -> Scheme:
    """A scheme whose values, A, B, …, assert these."""
    tables = "".join(
        f"[values.{chr(ord('A') + i)}]\ntitle = 'x'\n[values.{chr(ord('A') + i)}.dimensions]\n"
        + "".join(f"{n} = {list(v)}\n" for n, v in meaning.items())
        for i, meaning in enumerate(values)
    )
    head = f"id = '{name}'\nversion = '1'\nregion = 'ZZ'\nstatus = '{status}'\ntitle = 'x'\nsource = ['x']\n"
    return schemes.parse((head + tables).encode(), "test")


def stated(meaning: Meaning) -> Classification:
    classification = scheme("source", meaning).resolve("A")
    assert classification is not None
    return classification


def worlds(dimension: str, values: tuple[str, ...]) -> set[str]:
    """What an item may be in a dimension that is no bundle, spelled out."""
    meaning = DIMENSIONS[dimension].worlds
    return {world for value in values for world in meaning.get(value, (value,))}


def claims(meaning: Meaning) -> list[tuple[str, set[str]]]:
    """What is asserted: a fact of a bundle each, and the worlds of any other dimension that excludes some; laws by
    country.
    """
    made: list[tuple[str, set[str]]] = []
    for dimension, values in meaning.items():
        if dimension == "context":
            made += [("context", {value}) for value in values]
        elif dimension == "legal_status":
            for country in {v[:2] for v in values}:
                status = {v[3:] for v in values if v[:2] == country}
                if status != {"illegal", "not-illegal"}:
                    made.append((f"legal_status:{country}", status))
        elif worlds(dimension, values) != worlds(dimension, tuple(DIMENSIONS[dimension].values)):
            made.append((dimension, worlds(dimension, values)))
    return made


def known(source: Meaning, also: Meaning) -> dict[str, set[str]]:
    """What is known of the item; the classification wins over what else is known, country by country."""
    what: dict[str, set[str]] = {}
    for meaning in (also, source):
        fresh: dict[str, set[str]] = {}
        for dimension, values in meaning.items():
            if dimension == "context":
                fresh["context"] = set(values)
            elif dimension == "legal_status":
                for value in values:
                    fresh.setdefault(f"legal_status:{value[:2]}", set()).add(value[3:])
            else:
                fresh[dimension] = worlds(dimension, values)
        what |= fresh
    return what


def expected(source: Classification, target: Scheme, also: Meaning) -> tuple[str | None, tuple[str, ...]]:
    item = known(source.dimensions, also)
    possible, implied = [], []
    for value in target.values.values():
        made = claims(value.dimensions)
        if not made:
            continue
        if all(name == "context" or name not in item or item[name] & sets for name, sets in made):
            possible.append(value.value)
            if all(
                name in item and (sets <= item[name] if name == "context" else item[name] <= sets)
                for name, sets in made
            ):
                implied.append(value.value)
    is_draft = SchemeStatus.DRAFT in {source.status, target.status}
    return (possible[0] if not is_draft and len(possible) == 1 and implied else None), tuple(possible)


contexts = st.sets(st.sampled_from(CONTEXTS), min_size=1).map(lambda s: tuple(sorted(s)))
maybe_contexts = st.one_of(st.none(), contexts)
built_in = [c for s in REGISTRY.list() for v in s.values if (c := s.resolve(v)) is not None]


def subsets(name: str) -> st.SearchStrategy[tuple[str, ...]]:
    values = (
        ("GB:illegal", "GB:not-illegal", "US:illegal") if name == "legal_status" else tuple(DIMENSIONS[name].values)
    )
    return st.sets(st.sampled_from(values), min_size=1).map(lambda s: tuple(sorted(s)))


meanings = st.fixed_dictionaries(
    {}, optional={n: subsets(n) for n in ("context", "verdict", "age_band", "medium", "legal_status")}
)


@st.composite
def with_contexts(draw: st.DrawFn, of: Scheme) -> Scheme:
    """A built-in scheme whose values assert facts of the bundle as well."""
    values = {}
    for name, value in of.values.items():
        context = draw(maybe_contexts)
        more = {} if context is None else {"context": context}
        values[name] = schemes.SchemeValue(value=name, title=value.title, dimensions={**value.dimensions, **more})
    return replace(of, id="with-contexts", values=values)


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("asserted", "said", "is_written"),
        [
            (("meme",), ("meme",), True),
            (("meme",), ("meme", "series"), True),  # more is known than is asked for
            (("meme", "series"), ("meme", "series"), True),
            (("meme", "series"), ("meme",), False),  # a part is not the whole
            (("meme", "series"), ("series", "grid"), False),
            (("meme",), ("series",), False),  # what is said excludes no meme, and states none
            (("meme",), (), False),
            (CONTEXTS, CONTEXTS, True),  # all of a bundle is a claim, and the largest
            (CONTEXTS, CONTEXTS[:-1], False),
            (CONTEXTS, (), False),
        ],
    )
    @pytest.mark.parametrize("besides", [{}, {"verdict": ("csam",)}])
    def test_facts_that_hold_together(
        self, asserted: tuple[str, ...], said: tuple[str, ...], is_written: bool, besides: Meaning
    ) -> None:
        target = scheme("target", {"context": asserted, **besides})
        facts: Meaning = {"context": said} if said else {}
        for source, also in (({**facts, **besides}, {}), (besides, facts)):
            translation = translate(stated(source), target, also=also)
            assert translation.possible == ("A",)
            assert (translation.value == "A") is is_written
            if not is_written:
                (loss,) = translation.losses
                assert loss.dimension == "context"
                assert loss.text == (
                    f"target@1 A asserts {words('context', asserted)}; stated is "
                    f"{words('context', said) if said else 'nothing'}"
                )

    def test_where_both_speak_the_classification_wins(self) -> None:
        statement, also = stated({"context": ("meme",)}), {"context": ("series",)}
        for asserted, value in ((("meme",), "A"), (("series",), None), (("meme", "series"), None)):
            assert translate(statement, scheme("target", {"context": asserted}), also=also).value == value

    def test_where_no_value_asserts_anything_nothing_is_written(self) -> None:
        silent: Meaning = {"verdict": ("unclassified",)}
        translation = translate(stated({"verdict": ("csam",)}), scheme("target", {}, silent))
        assert (translation.value, translation.possible) == (None, ())
        assert [loss.text for loss in translation.losses] == ["no value of target@1 asserts anything"]

    def test_another_fact_rules_no_value_out(self) -> None:
        target = scheme("target", {"verdict": ("csam",)}, {"verdict": ("csam",), "context": ("meme",)})
        for said in ({}, {"context": ("series",)}, {"context": ("meme",)}):
            translation = translate(stated({"verdict": ("csam",), **said}), target)
            assert (translation.value, translation.possible) == (None, ("A", "B"))

    def test_facts_that_the_written_value_does_not_tell_are_named(self) -> None:
        target = scheme("target", {"verdict": ("csam",)})
        for said in (("meme", "series"), CONTEXTS):
            translation = translate(stated({"verdict": ("csam",), "context": said}), target)
            assert translation.value == "A"
            assert [(x.dimension, x.text) for x in translation.losses] == [
                ("context", f"{words('context', said)} is stated; target@1 A does not tell it")
            ]
        assert words("context", ("series", "meme")) == "meme and series"

    def test_two_bundles_never_conflict(self) -> None:
        assert compare({"context": ("meme",)}, {"context": ("grid",)}).relation is Relation.IMPRECISE


@given(st.sampled_from(REGISTRY.list()).flatmap(with_contexts), st.sampled_from(built_in), maybe_contexts, meanings)
def test_what_is_written_is_what_every_claim_of_it_was_stated_for(
    target: Scheme, source: Classification, context: tuple[str, ...] | None, also: Meaning
) -> None:
    if context is not None:
        source = Classification(
            scheme=source.scheme,
            version=source.version,
            region=source.region,
            value=source.value,
            status=source.status,
            dimensions={**source.dimensions, "context": context},
        )
    translation = translate(source, target, also=also)
    assert (translation.value, translation.possible) == expected(source, target, also)


@given(st.sampled_from(REGISTRY.list()), st.sampled_from(built_in), meanings)
def test_over_the_schemes_that_come_with_hashhub(target: Scheme, source: Classification, also: Meaning) -> None:
    if target.id != source.scheme:
        translation = translate(source, target, also=also)
        assert (translation.value, translation.possible) == expected(source, target, also)


@given(st.lists(meanings, min_size=1, max_size=4), meanings, meanings)
def test_over_schemes_of_any_kind(values: list[Meaning], source: Meaning, also: Meaning) -> None:
    target, statement = scheme("target", *values), stated(source)
    translation = translate(statement, target, also=also)
    assert (translation.value, translation.possible) == expected(statement, target, also)
    if translation.value is not None:
        facts = set(target.values[translation.value].dimensions.get("context", ()))
        assert facts <= set(source.get("context") or also.get("context", ()))
    # Who knows more facts of a bundle may write no less.
    more = {**source, "context": CONTEXTS}
    wider = translate(stated(more), target, also=also)
    assert wider.possible == translation.possible
    assert translation.value is None or wider.value == translation.value
