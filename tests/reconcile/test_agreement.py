"""How far contributors agree: against the published coefficient, against brute force, and against people who cheat."""

from __future__ import annotations

import itertools
import random
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.model import EntryState, Purpose
from hashhub.reconcile import agreement as agreement_module
from hashhub.reconcile import items as items_module
from hashhub.reconcile.agreement import MAX_SUGGESTIONS, MIN_ITEMS, compute, proportion, words_of
from hashhub.reconcile.alpha import NOMINAL, ORDINAL, Alpha, alpha
from hashhub.reconcile.consensus import Independence, Votes, dawid_skene, others
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.items import Statements, mask_of
from hashhub.reconcile.results import (
    Agreement,
    ContributorAgreement,
    DimensionAgreement,
    Proportion,
    SuggestedRow,
)
from hashhub.schemes.crosswalk import Relation
from hashhub.schemes.dimensions import every_world, worlds
from tests.examples import examples
from tests.extracts import ListedEntry, ListedSet, write_extract

SCHEMES = schemes.load()
BANDS = ("0-2", "3-6", "7-10", "11-13", "14-15", "16-17")
ACTS = ("none", "nudity", "posing", "lascivious-focus", "nonpenetrative", "penetrative", "sadism", "bestiality")

# Values by observer and unit: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section D.
PUBLISHED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)


def statements(dimension: str, stated: Mapping[tuple[int, int], Sequence[str]]) -> Statements:
    """By item and contributor, the values that each leaves possible."""
    rows = sorted(stated)
    masks = [mask_of(dimension, worlds({dimension: tuple(stated[row])})[dimension]) for row in rows]
    return Statements(
        np.array([item for item, _ in rows], np.int32),
        np.array([contributor for _, contributor in rows], np.int32),
        np.array(masks, np.uint16),
        np.zeros(len(rows), np.int16),
    )


def independence(count: int, related: Sequence[tuple[int, int]] = ()) -> Independence:
    takes_from: dict[str, list[str]] = {}
    for taker, giver in related:
        takes_from.setdefault(str(taker), []).append(str(giver))
    return Independence([str(n) for n in range(count)], takes_from)


def alpha_of(
    dimension: str,
    metric: str,
    stated: Mapping[tuple[int, int], Sequence[str]],
    *,
    among: Independence | None = None,
    seed: int = 1,
) -> Alpha:
    among = among or independence(8)
    of_items = statements(dimension, stated)
    return alpha(dimension, metric, of_items, among, others(of_items, among), seed=seed)


class TestAlpha:
    @pytest.mark.parametrize(("metric", "published"), [(NOMINAL, 0.743), (ORDINAL, 0.815)])
    def test_is_that_of_the_published_example(self, metric: str, published: float) -> None:
        stated = {
            (item, observer): (ACTS[value],)
            for observer, values in enumerate(PUBLISHED)
            for item, value in enumerate(values)
            if value
        }
        figure = alpha_of("act", metric, stated)
        assert figure.alpha == pytest.approx(published, abs=0.0006)
        assert (figure.items, figure.contributors) == (11, 4)

    @settings(max_examples=examples(150))
    @given(st.data(), st.sampled_from([("age_band", BANDS), ("act", ACTS)]), st.sampled_from([NOMINAL, ORDINAL]))
    def test_is_that_of_the_package_where_each_statement_is_one_value(
        self, data: st.DataObject, of: tuple[str, tuple[str, ...]], metric: str
    ) -> None:
        dimension, values = of
        table = data.draw(st.lists(st.lists(st.integers(-1, len(values) - 1), min_size=4, max_size=4), max_size=30))
        stated = {
            (item, person): (values[value],)
            for item, row in enumerate(table)
            for person, value in enumerate(row)
            if value >= 0
        }
        compared = [row for row in table if sum(value >= 0 for value in row) > 1]
        figure = alpha_of(dimension, metric, stated)
        if len({value for row in compared for value in row if value >= 0}) < 2:
            assert figure.alpha is None
            return
        units = np.array([[np.nan if value < 0 else value for value in row] for row in compared]).T
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = krippendorff.alpha(
                reliability_data=units, value_domain=list(range(len(values))), level_of_measurement=metric
            )
        assert figure.alpha == pytest.approx(expected)

    @settings(max_examples=examples(80))
    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 8), st.integers(0, 4)),
            st.sampled_from(
                [
                    ("0-2",),
                    ("7-10",),
                    ("11-13", "14-15"),
                    ("prepubescent",),
                    ("pubescent",),
                    ("16-17",),
                    BANDS,
                    ("18+",),
                ]
            ),
            max_size=30,
        ),
        st.sets(st.sampled_from([(0, 1), (2, 3), (3, 4), (4, 0)])),
    )
    def test_of_sets_and_of_people_who_are_not_independent_is_brute_force(
        self, stated: dict[tuple[int, int], tuple[str, ...]], related: set[tuple[int, int]]
    ) -> None:
        among = independence(5, sorted(related))
        figure = alpha_of("age_band", NOMINAL, stated, among=among)
        meaning = {key: worlds({"age_band": values})["age_band"] for key, values in stated.items()}
        partners = {
            key: [other for other in stated if other[0] == key[0] and not among.related[key[1], other[1]]]
            for key in stated
        }
        compared = [key for key in stated if partners[key]]

        def differ(a: tuple[int, int], b: tuple[int, int]) -> bool:
            return meaning[a].isdisjoint(meaning[b])

        within = sum(differ(a, b) / len(partners[a]) for a in compared for b in partners[a])
        overall = sum(differ(a, b) for a, b in itertools.product(compared, repeat=2))
        if not overall:
            assert figure.alpha is None
        else:
            assert figure.alpha == pytest.approx(1 - (len(compared) - 1) * within / overall)

    def test_says_nothing_where_nobody_could_differ(self) -> None:
        nothing = Alpha(0, 0, None, None, None)
        assert alpha_of("verdict", NOMINAL, {}) == nothing
        assert alpha_of("verdict", NOMINAL, {(0, 0): ("csam",), (1, 1): ("exploitative",)}) == nothing
        agreed = alpha_of("verdict", NOMINAL, {(n, p): ("csam",) for n in range(40) for p in range(3)})
        assert agreed == Alpha(40, 3, None, None, None)

    def test_of_words_that_overlap_is_no_disagreement_and_of_words_that_do_not_is_one_even_in_a_single_band(
        self,
    ) -> None:
        stated: dict[tuple[int, int], tuple[str, ...]] = {}
        for item in range(20):
            stated[item, 0] = ("7-10",) if item % 2 else ("16-17",)
            stated[item, 1] = ("prepubescent",) if item % 2 else ("pubescent",)
        assert alpha_of("age_band", ORDINAL, stated).alpha == 1.0
        stated[0, 1] = ("prepubescent",)
        far = alpha_of("age_band", ORDINAL, stated).alpha
        del stated[0, 0], stated[0, 1]
        stated[0, 0], stated[0, 1] = ("prepubescent",), ("pubescent",)
        close = alpha_of("age_band", ORDINAL, stated).alpha
        assert far is not None
        assert close is not None
        assert far < close < 1

    def test_has_the_interval_of_a_plain_bootstrap_also_where_items_are_drawn_in_groups(self) -> None:
        chance = random.Random(3)
        stated = {}
        for item in range(5_000):
            truth = chance.choice(BANDS)
            for person in chance.sample(range(6), 3):
                stated[item, person] = (truth if chance.random() < 0.8 else chance.choice(BANDS),)
        figure = alpha_of("age_band", NOMINAL, stated)
        assert figure.alpha is not None
        assert figure.low is not None
        assert figure.high is not None
        values = {
            item: [v for (i, _), (v,) in rows]
            for item, rows in itertools.groupby(sorted(stated.items()), lambda r: r[0][0])
        }
        drawn = []
        for _ in range(150):
            several = [values[chance.randrange(5_000)] for _ in range(5_000)]
            frequency = Counter(itertools.chain.from_iterable(several))
            total = sum(frequency.values())
            within = sum((9 - sum(n * n for n in Counter(of_item).values())) / 2 for of_item in several)
            drawn.append(1 - (total - 1) * within / (total * total - sum(n * n for n in frequency.values())))
        assert figure.low == pytest.approx(np.percentile(drawn, 2.5), abs=0.006)
        assert figure.high == pytest.approx(np.percentile(drawn, 97.5), abs=0.006)
        assert figure.low < figure.alpha < figure.high

    def test_of_a_handful_of_items_has_no_interval(self) -> None:
        few = {(item, person): (BANDS[item],) for item in range(4) for person in range(2)}
        assert alpha_of("age_band", NOMINAL, few)[2:] == (1.0, None, None)


class TestWilson:
    @pytest.mark.parametrize(
        ("count", "items", "low", "high"),
        # R 4.3, prop.test(x, n, correct = FALSE)
        [
            (8, 10, 0.4901625, 0.9433178),
            (0, 10, 0.0, 0.2775328),
            (10, 10, 0.7224672, 1.0),
            (50, 100, 0.4038315, 0.5961685),
        ],
    )
    def test_is_the_known_interval(self, count: int, items: int, low: float, high: float) -> None:
        share = proportion(count, items)
        assert [share.low, share.high] == pytest.approx([low, high], abs=1e-6)

    def test_of_nothing_nothing_is_known(self) -> None:
        assert proportion(0, 0) == Proportion(count=0, items=0, low=0.0, high=1.0)


def test_dawid_skene_recovers_who_errs_and_how() -> None:
    random_ = np.random.default_rng(5)
    items, people, classes = 3_000, 5, 3
    truth = random_.choice(classes, items, p=[0.6, 0.3, 0.1])
    right = [0.95, 0.9, 0.85, 0.8, 0.4]
    item, person = (a.ravel() for a in np.meshgrid(np.arange(items), np.arange(people), indexing="ij"))
    errs = random_.random(len(item)) > np.array(right)[person]
    code = np.where(errs, (truth[item] + random_.integers(1, classes, len(item))) % classes, truth[item])
    answers = Votes(item, person, code, np.ones(len(item)))
    model = dawid_skene(answers, items=items, people=people, start=np.eye(classes), rounds=100)
    assert model.shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    assert model.errors.sum(axis=2) == pytest.approx(np.ones((classes, people)))
    assert np.einsum("cpc->p", model.errors) / classes == pytest.approx(right, abs=0.05)
    assert (model.posterior(answers, items).argmax(axis=0) == truth).mean() > 0.95


def _meaning(dimension: str, words: str) -> frozenset[str]:
    world = words.removeprefix("other ")
    return frozenset({world}) if "/" in words or world != words else worlds({dimension: (words,)})[dimension]


@pytest.mark.parametrize("dimension", ["age_band", "act", "medium", "verdict"])
def test_what_is_left_is_said_in_words_that_mean_just_that(dimension: str) -> None:
    names = sorted(every_world(dimension))
    chance = random.Random(dimension)
    for _ in range(100):
        left = frozenset(chance.sample(names, chance.randint(1, len(names))))
        parts = words_of(dimension, mask_of(dimension, left)).split(" or ")
        meaning: set[str] = set()
        for part in parts:
            meaning |= _meaning(dimension, part)
        assert meaning == left
    assert (
        words_of("age_band", mask_of("age_band", worlds({"age_band": ("prepubescent",)})["age_band"])) == "prepubescent"
    )
    assert words_of("age_band", mask_of("age_band", worlds({"age_band": ("<18",)})["age_band"])) == "<18"
    assert words_of("legal_status:GB", 1) == "illegal"


# --- Whole extracts ---------------------------------------------------------------------------------------------------


def computed(directory: Path, entries: Sequence[ListedEntry], sets: Sequence[ListedSet] = ()) -> Agreement:
    named = {s.name for s in sets}
    more = [ListedSet(name=name) for name in sorted({e.hash_set for e in entries} - named)]
    return compute(write_extract(directory, [*sets, *more], entries), SCHEMES)


def says(
    contributor: str, item: int | str, value: str = "csam", dimension: str = "verdict", **more: Any
) -> ListedEntry:
    more.setdefault("digests", {"MD5": str(item)})
    return ListedEntry(hash_set=f"{contributor}/list", dimensions={dimension: (value,)}, **more)


def shares(agreement: Agreement, dimension: str = "verdict") -> dict[str, tuple[int, int]]:
    return {c.contributor: (c.share.count, c.share.items) for c in agreement.contributors if c.dimension == dimension}


class TestItems:
    def test_only_what_several_state_in_active_entries_counts_and_nothing_unsaid(self, tmp_path: Path) -> None:
        agreement = computed(
            tmp_path,
            [
                says("a", 1),
                says("b", 1),
                says("a", 2),  # nobody else's
                says("a", 3),
                says("b", 3, state=EntryState.QUARANTINED),
                says("a", 4),
                ListedEntry(hash_set="b/list", digests={"MD5": "4"}),  # says nothing
                says("a", 5),
                ListedEntry(hash_set="b/list", digests={"MD5": "5"}, dimensions={"verdict": ("unclassified",)}),
                says("a", 6),
                ListedEntry(hash_set="test/list", digests={"MD5": "6"}, dimensions={"verdict": ("csam",)}),
                says("a", 7, digests={"PDQ": "7"}),
                says("b", 7, digests={"PDQ": "7"}),  # near or not: no exact digest
            ],
            [ListedSet(name="test/list", purpose=Purpose.TEST)],
        )
        assert agreement.items == 1
        assert shares(agreement) == {"a": (1, 1), "b": (1, 1)}
        assert [(d.dimension, d.items, d.alpha) for d in agreement.dimensions] == [("verdict", 1, None)]

    def test_of_nothing_there_is_nothing(self, tmp_path: Path) -> None:
        empty = Agreement(revision=7, items=0, dimensions=(), contributors=(), confusions=(), drift=(), suggestions=())
        assert computed(tmp_path / "a", [says("a", 1)]) == empty
        assert computed(tmp_path / "b", [], [ListedSet(name="a/list")]) == empty

    def test_entries_are_joined_over_others_by_any_exact_digest(self, tmp_path: Path) -> None:
        agreement = computed(
            tmp_path,
            [
                says("a", 0, digests={"MD5": "x"}),
                says("b", 0, digests={"MD5": "x", "SHA1": "x"}),
                says("c", 0, "exploitative", digests={"SHA1": "x", "SHA256": "x"}),
                says("d", 0, digests={"SHA256": "x"}),
            ],
        )
        assert agreement.items == 1
        assert shares(agreement) == {"a": (1, 1), "b": (1, 1), "c": (0, 1), "d": (1, 1)}

    def test_several_entries_of_one_contributor_are_one_statement(self, tmp_path: Path) -> None:
        agreement = computed(
            tmp_path,
            [
                says("a", 1, "prepubescent", "age_band"),
                ListedEntry(hash_set="a/more", digests={"MD5": "1"}, dimensions={"age_band": ("7-10", "14-15")}),
                says("b", 1, "7-10", "age_band"),
                # It contradicts itself, and so says nothing of item 2.
                says("a", 2, "0-2", "age_band"),
                ListedEntry(hash_set="a/more", digests={"MD5": "2"}, dimensions={"age_band": ("14-15",)}),
                says("b", 2, "0-2", "age_band"),
            ],
        )
        assert shares(agreement, "age_band") == {"a": (1, 1), "b": (1, 1)}
        assert {(c.contributor, c.consensus, c.stated) for c in agreement.confusions} == {
            ("a", "7-10", "7-10/before"),
            ("b", "7-10/before", "7-10"),
        }

    def test_who_binds_digests_of_two_files_joins_no_items_of_others(self, tmp_path: Path) -> None:
        honest = [
            says(who, name, verdict, digests={"MD5": name, "SHA1": name})
            for name, verdict in (("x", "csam"), ("y", "non-pertinent"))
            for who in ("a", "b")
        ]
        # These know one digest each, so that everything hangs together by them.
        single = [says("c", 0, digests={"MD5": "x"}), says("c", 0, "non-pertinent", digests={"SHA1": "y"})]
        bound = [says("mallory", 0, digests={"MD5": "x", "SHA1": "y"})]
        before = computed(tmp_path / "before", [*honest, *single])
        after = computed(tmp_path / "after", [*honest, *single, *bound])
        assert shares(before) == {"a": (2, 2), "b": (2, 2), "c": (2, 2)}
        assert after.items == 2
        # Its entry is taken for a statement about y, by its stronger digest, and has one voice there.
        assert shares(after) == shares(before) | {"mallory": (0, 1)}

    def test_a_flood_of_one_digest_is_one_statement(self, tmp_path: Path) -> None:
        flood = [says("mallory", 1, "non-pertinent") for _ in range(3_000)]
        agreement = computed(tmp_path, [*flood, says("a", 1), says("b", 1), says("c", 1)])
        assert shares(agreement)["mallory"] == (0, 1)


class TestConsensus:
    def test_is_that_of_the_others_and_there_is_none_where_they_are_split(self, tmp_path: Path) -> None:
        agreement = computed(
            tmp_path,
            [says("a", 1), says("b", 1, "non-pertinent"), says("c", 1), says("a", 2), says("b", 2), says("c", 2)],
        )
        # Of item 1, b is against both others, and these have one against one.
        assert shares(agreement) == {"a": (1, 1), "b": (1, 2), "c": (1, 1)}

    def test_one_who_states_everything_does_not_move_how_others_are_measured_elsewhere(self, tmp_path: Path) -> None:
        chance = random.Random(11)
        names = ("a", "b", "c", "d")
        honest = []
        for item in range(400):
            truth = chance.choice(BANDS)
            for who in chance.sample(names, 3):
                value = truth if chance.random() < 0.85 else chance.choice(BANDS)
                honest.append(says(who, item, value, "age_band"))
        listed = [says("victim", f"v{item}", chance.choice(BANDS), "age_band") for item in range(400)]
        # It contradicts the victim about all that this one lists, and lists ten times as much beside.
        flood = [says("mallory", f"v{item}", "18+", "age_band") for item in range(4_000)]
        before = computed(tmp_path / "before", [*honest, *listed])
        after = computed(tmp_path / "after", [*honest, *listed, *flood])

        def of_honest(agreement: Agreement) -> list[ContributorAgreement]:
            return [c for c in agreement.contributors if c.contributor in names]

        assert len(of_honest(before)) == len(names)
        assert of_honest(after) == of_honest(before)
        victim = next(c for c in after.contributors if c.contributor == "victim")
        # It is told that this is one other's word.
        assert (victim.share.count, victim.share.items, victim.by_one_other) == (0, 400, 400)

    def test_who_errs_at_random_decides_no_split(self, tmp_path: Path) -> None:
        chance = random.Random(2)
        entries = []
        for item in range(600):
            truth = chance.choice(("csam", "exploitative"))
            entries += [says(who, item, truth) for who in ("a", "b", "c")]
            entries.append(says("noise", item, chance.choice(("csam", "exploitative"))))
        agreement = computed(tmp_path, entries)
        assert shares(agreement)["a"] == (600, 600)
        right, items = shares(agreement)["noise"]
        assert items == 600
        assert 240 < right < 360
        rows = [c for c in agreement.confusions if c.contributor == "noise"]
        assert {(c.consensus, c.stated) for c in rows} == set(itertools.product(("csam", "exploitative"), repeat=2))
        assert sum(c.share.count for c in rows) == 600
        assert all(c.share.low < c.share.count / c.share.items < c.share.high for c in rows)

    def test_a_few_who_are_right_prevail_over_more_who_guess(self, tmp_path: Path) -> None:
        chance = random.Random(4)
        entries = []
        for item in range(500):
            truth = chance.choice(ACTS)
            for who in ("a", "b", "c"):
                value = truth if chance.random() < 0.95 else chance.choice(ACTS)
                entries.append(says(who, item, value, "act"))
            entries += [says(f"guess{n}", item, chance.choice(ACTS), "act") for n in range(4)]
        agreement = shares(computed(tmp_path, entries), "act")
        right, items = agreement["a"]
        assert items > 400  # two others of six agree, which is no majority
        assert right / items > 0.9
        assert all(agreement[f"guess{n}"][0] / agreement[f"guess{n}"][1] < 0.3 for n in range(4))

    def test_who_takes_material_from_another_does_not_vote_with_it(self, tmp_path: Path) -> None:
        entries = []
        for item in range(30):
            entries += [
                says("origin", item),
                says("copy", item),
                says("second", item),
                says("other", item, "comparison"),
            ]
        sets = [
            ListedSet(name="copy/list", takes_from=("origin",)),
            ListedSet(name="second/list", takes_from=("copy",)),
        ]
        agreement = computed(tmp_path / "a", entries, sets)
        # Whatever the copies say: origin is measured by `other` alone, and it by the three as by one.
        assert {c.contributor: (c.share.count, c.by_one_other) for c in agreement.contributors} == {
            "origin": (0, 30),
            "copy": (0, 30),
            "second": (0, 30),
            "other": (0, 30),
        }
        alone = computed(tmp_path / "b", [e for e in entries if not e.hash_set.startswith("other")], sets)
        assert (alone.contributors, alone.dimensions) == ((), ())

    def test_two_who_name_one_source_are_not_independent_even_if_it_lists_nothing(self, tmp_path: Path) -> None:
        sets = [ListedSet(name=f"{who}/list", takes_from=("elsewhere",)) for who in ("a", "b")]
        assert not computed(tmp_path, [says("a", 1), says("b", 1)], sets).contributors

    def test_drift_is_by_quarter_of_what_was_stated(self, tmp_path: Path) -> None:
        entries = []
        for item in range(40):
            then = datetime(2025, 12, 31, 23, tzinfo=UTC) if item < 20 else datetime(2026, 1, 1, tzinfo=UTC)
            wrong = "exploitative" if item >= 20 else "csam"
            entries += [says("a", item), says("b", item), says("late", item, wrong, create_time=then)]
        agreement = computed(tmp_path, entries)
        drift = {d.period: (d.share.count, d.share.items) for d in agreement.drift if d.contributor == "late"}
        assert drift == {"2025-Q4": (20, 20), "2026-Q1": (0, 20)}
        assert {d.period for d in agreement.drift if d.contributor == "a"} == {"2026-Q1"}


def majority(stated: Sequence[tuple[frozenset[str], float]]) -> frozenset[str]:
    """What all leave possible; else what is common to the heaviest group that leaves one world possible, if it is more
    than half and the only one.
    """
    whole = sum(weight for _, weight in stated)
    by_world: dict[str, float] = {}
    for possible, weight in stated:
        for world in possible:
            by_world[world] = by_world.get(world, 0) + weight
    most = max(by_world.values(), default=0)
    groups = {
        frozenset.intersection(*(possible for possible, _ in stated if world in possible))
        for world, weight in by_world.items()
        if weight > most - 1e-9
    }
    return groups.pop() if len(groups) == 1 and most > whole / 2 + 1e-9 else frozenset()


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d"]),
            st.integers(0, 5),
            st.sampled_from([("0-2",), ("3-6",), ("prepubescent",), ("pubescent",), ("11-13", "14-15"), BANDS]),
        ),
        max_size=24,
    ),
    st.sampled_from([{}, {"b": ("a",)}, {"c": ("x",), "d": ("x",)}]),
)
def test_shares_are_those_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int, tuple[str, ...]]],
    takes_from: dict[str, tuple[str, ...]],
) -> None:
    entries = [
        ListedEntry(hash_set=f"{who}/list", digests={"SHA1": str(item)}, dimensions={"age_band": values})
        for who, item, values in rows
    ]
    sets = [ListedSet(name=f"{who}/list", takes_from=takes_from.get(who, ())) for who in "abcd"]
    agreement = computed(tmp_path_factory.mktemp("extract"), entries, sets)
    left: dict[tuple[int, str], frozenset[str]] = {}
    for who, item, values in rows:
        left[item, who] = left.get((item, who), every_world("age_band")) & worlds({"age_band": values})["age_band"]
    left = {key: stated for key, stated in left.items() if stated}
    origins = {who: {who, *takes_from.get(who, ())} for who in "abcd"}
    expected: dict[str, tuple[int, int]] = {}
    for (item, who), stated in left.items():
        strangers = {
            name: other
            for (of_item, name), other in left.items()
            if of_item == item and origins[name].isdisjoint(origins[who])
        }
        weights = {a: 1 / sum(not origins[a].isdisjoint(origins[b]) for b in strangers) for a in strangers}
        agreed = majority([(strangers[name], weights[name]) for name in strangers])
        if agreed:
            count, items = expected.get(who, (0, 0))
            expected[who] = (count + (not stated.isdisjoint(agreed)), items + 1)
    # These are too few items to learn from who errs.
    assert shares(agreement, "age_band") == expected


# --- Suggestions ------------------------------------------------------------------------------------------------------


def carries(contributor: str, item: int, scheme: str, value: str, **more: Any) -> ListedEntry:
    meaning = SCHEMES.get(scheme).resolve(value) if scheme in {s.name for s in SCHEMES.list()} else None
    return ListedEntry(
        hash_set=f"{contributor}/list",
        digests={"MD5": str(item)},
        dimensions=meaning.dimensions if meaning else {},
        scheme=scheme,
        value=value,
        **more,
    )


def row_of(agreement: Agreement, value: str, other: str) -> SuggestedRow:
    (row,) = (s for s in agreement.suggestions if (s.value, s.other_value) == (value, other))
    return row


class TestSuggestions:
    def test_the_most_surprising_come_first_with_their_evidence(self, tmp_path: Path) -> None:
        entries = []
        for item in range(60):
            # What one calls non-pertinent another lists as abuse: the tables exclude that.
            entries += [carries("us", item, "vic-us@2.0", "0"), carries("hotline", item, "arachnid-shield@1.0", "csam")]
        for item in range(100, 160):
            entries += [
                carries("us", item, "vic-us@2.0", "1"),
                carries("uk", item, "uk-sentencing@2014", "A" if item < 130 else "B"),
            ]
        agreement = computed(tmp_path, entries)
        first = agreement.suggestions[0]
        assert first.relation == Relation.CONFLICT
        assert {(first.scheme, first.value), (first.other_scheme, first.other_value)} == {
            ("vic-us@2.0", "0"),
            ("arachnid-shield@1.0", "csam"),
        }
        assert (first.share.count, first.share.items) == (60, 60)
        assert first.contributors == ("hotline", "us")
        assert len(first.examples) == 3
        for left, right in first.examples:
            assert left.startswith("us/" if first.scheme == "vic-us@2.0" else "hotline/")
            assert right.startswith("hotline/" if first.scheme == "vic-us@2.0" else "us/")
        forth, back = row_of(agreement, "1", "A"), row_of(agreement, "A", "1")
        assert (forth.share.count, forth.share.items) == (30, 60)
        assert (back.share.count, back.share.items) == (30, 30)
        assert [(b, a) for a, b in forth.examples] == list(back.examples)

    def test_one_to_one_in_data_and_incomparable_in_the_tables_comes_before_the_rest(self, tmp_path: Path) -> None:
        entries = []
        for item in range(60):
            entries += [carries("a", item, "unheard-of@1", "x"), carries("b", item, "arachnid-shield@1.0", "csam")]
            entries += [
                carries("a", item + 100, "vic-us@2.0", "1"),
                carries("b", item + 100, "arachnid-shield@1.0", "csam"),
            ]
        agreement = computed(tmp_path, entries)
        assert row_of(agreement, "x", "csam").relation == ""
        assert {(s.value, s.other_value) for s in agreement.suggestions} == {
            ("x", "csam"),
            ("csam", "x"),
            ("1", "csam"),
            ("csam", "1"),
        }

    def test_nothing_is_suggested_from_few_items_or_by_people_who_are_not_independent(self, tmp_path: Path) -> None:
        def pair(items: int) -> list[ListedEntry]:
            return [
                entry
                for item in range(items)
                for entry in (carries("a", item, "vic-us@2.0", "1"), carries("b", item, "uk-sentencing@2014", "A"))
            ]

        assert not computed(tmp_path / "few", pair(MIN_ITEMS - 1)).suggestions
        assert len(computed(tmp_path / "enough", pair(MIN_ITEMS)).suggestions) == 2
        copies = [ListedSet(name="b/list", takes_from=("a",))]
        assert not computed(tmp_path / "copies", pair(MIN_ITEMS), copies).suggestions

    def test_who_carries_two_values_of_one_scheme_carries_none(self, tmp_path: Path) -> None:
        entries = []
        for item in range(MIN_ITEMS):
            entries += [carries("a", item, "vic-us@2.0", "1"), carries("a", item, "vic-us@2.0", "2")]
            entries.append(carries("b", item, "uk-sentencing@2014", "A"))
        assert not computed(tmp_path, entries).suggestions


def test_two_runs_are_equal_and_a_caller_sees_only_its_hash_sets(tmp_path: Path) -> None:
    chance = random.Random(8)
    sets = [ListedSet(name=f"{who}/list") for who in "abcde"]
    entries = [
        says(who, item, chance.choice(ACTS), "act", create_time=datetime(2025, chance.randint(1, 12), 3, tzinfo=UTC))
        for item in range(300)
        for who in chance.sample("abcde", 3)
    ]
    extract = write_extract(tmp_path / "all", sets, entries)
    assert compute(extract, SCHEMES) == compute(extract, SCHEMES)
    seen = compute(extract.restricted([s.name for s in sets[:3]]), SCHEMES)
    only = write_extract(tmp_path / "only", sets[:3], [e for e in entries if e.hash_set[0] in "abc"])
    assert seen == compute(only, SCHEMES)


def listed_by_three(directory: Path) -> Extract:
    """Write what three contributors list by schemes of their own."""
    chance = random.Random(9)
    entries = [
        ListedEntry(
            hash_set=f"{who}/list",
            digests={name: str(item) for name in chance.sample(["MD5", "SHA1", "SHA256"], chance.randint(1, 3))},
            dimensions={"act": (chance.choice(ACTS),)},
            scheme=scheme,
            value=chance.choice(sorted(SCHEMES.get(scheme).values)),
        )
        for item in range(120)
        for who, scheme in (("a", "vic-us@2.0"), ("b", "uk-sentencing@2014"), ("c", "arachnid-shield@1.0"))
    ]
    return write_extract(directory, [ListedSet(name=f"{who}/list") for who in "abc"], entries)


def test_parts_give_equal_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = listed_by_three(tmp_path)
    whole = compute(extract, SCHEMES)
    assert whole.items > 50
    assert whole.suggestions
    monkeypatch.setattr(agreement_module, "PAIRS", 20)
    monkeypatch.setattr(items_module, "ROWS_AT_ONCE", 250)
    assert compute(extract, SCHEMES) == whole


def test_age_comes_first_and_progress_is_told(tmp_path: Path) -> None:
    entries = [
        ListedEntry(
            hash_set=f"{who}/list",
            digests={"MD5": str(item)},
            dimensions={
                "verdict": ("csam",),
                "age_band": (BANDS[item % 2],),
                "legal_status": ("GB:illegal", "NL:illegal" if who == "a" else "NL:not-illegal"),
                "context": ("meme",),
            },
        )
        for item in range(2)
        for who in "ab"
    ]
    told: list[tuple[int, int, str]] = []
    sets = [ListedSet(name=f"{who}/list") for who in "ab"]
    agreement = compute(write_extract(tmp_path, sets, entries), SCHEMES, progress=lambda *step: told.append(step))
    assert [(d.dimension, d.metric) for d in agreement.dimensions] == [
        ("age_band", ORDINAL),
        ("age_band", NOMINAL),
        ("verdict", NOMINAL),
        ("legal_status:GB", NOMINAL),
        ("legal_status:NL", NOMINAL),
    ]
    assert isinstance(agreement.dimensions[0], DimensionAgreement)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1]
    assert len(agreement.suggestions) <= MAX_SUGGESTIONS


class _GoneError(Exception):
    """Whoever asked has gone."""


def test_it_stops_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    def gone(done: int, _steps: int, _what: str) -> None:
        if done:
            raise _GoneError

    extract = write_extract(tmp_path, [ListedSet(name=f"{who}/list") for who in "ab"], [says("a", 1), says("b", 1)])
    with pytest.raises(_GoneError):
        compute(extract, SCHEMES, progress=gone)
