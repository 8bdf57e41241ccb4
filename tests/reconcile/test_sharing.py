"""Overlap, links and gaps against brute force over small extracts."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.cancellation import scope
from hashhub.errors import HashHubError, InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Purpose
from hashhub.reconcile import comparison
from hashhub.reconcile import gaps as gap_module
from hashhub.reconcile import links as link_module
from hashhub.reconcile import overlap as overlap_module
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.gaps import gaps
from hashhub.reconcile.links import links
from hashhub.reconcile.overlap import compute
from hashhub.reconcile.results import By, Gap, Overlap
from tests.examples import examples
from tests.reconcile.small import Small, small_extract

JURISDICTIONS = {"alpha": "GB", "beta": "GB", "gamma": "NL", "delta": "DE"}
SETS = ("alpha/a", "alpha/b", "beta/a", "gamma/a", "delta/a")
HARMLESS = ("comparison", "non-pertinent")
MD5 = [Hash("MD5", bytes([n]) * 16) for n in range(6)]
# The same beginning: what is told apart by part of a digest only is not told apart.
SHA1 = [Hash("SHA1", bytes(19) + bytes([n])) for n in range(5)]
# Numbers of set bits: pairs at 0, at exactly the limit, and just beyond it.
PDQ = [Hash("PDQ", (2**ones - 1).to_bytes(32, "big")) for ones in (0, 1, 31, 32, 63, 200)]
PHASH = [Hash("PHASH", (2**ones - 1).to_bytes(8, "big")) for ones in (0, 10, 11, 40)]

dimensions = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "context": st.sampled_from([("grid",), ("meme",), ("grid", "series")]),
            "verdict": st.sampled_from(
                [("csam",), ("exploitative",), ("csam", "comparison"), HARMLESS, ("comparison",), ("unclassified",)]
            ),
        },
    ),
)
entries = st.builds(
    Small,
    hash_set=st.sampled_from(SETS),
    hashes=st.lists(st.sampled_from([*MD5, *SHA1, *PDQ, *PHASH]), min_size=1, max_size=4, unique=True).map(tuple),
    is_active=st.sampled_from([True, True, True, False]),
    dimensions=dimensions,
    is_unclassified=st.sampled_from([False, False, True]),
)
purposes = st.dictionaries(st.sampled_from(SETS), st.sampled_from(list(Purpose)))


def distance(a: Hash, b: Hash) -> int:
    return (int.from_bytes(a.digest) ^ int.from_bytes(b.digest)).bit_count()


def is_exact(a: Small, b: Small) -> bool:
    return any(h in b.hashes and not ALGORITHMS[h.algorithm].is_perceptual for h in a.hashes)


def is_grid(e: Small) -> bool:
    return "grid" in (e.dimensions or {}).get("context", ())


def nearness(a: Small, b: Small, algorithm: str) -> int | None:
    if is_grid(a) or is_grid(b):
        return None
    pairs = itertools.product(a.hashes, b.hashes)
    near = [distance(x, y) for x, y in pairs if x.algorithm == y.algorithm == algorithm]
    return min((d for d in near if d <= comparison.PERCEPTUAL[algorithm]), default=None)


def is_near(a: Small, b: Small) -> bool:
    return any(nearness(a, b, algorithm) is not None for algorithm in comparison.PERCEPTUAL)


def group_of(e: Small, by: By) -> str:
    contributor = e.hash_set.split("/")[0]
    return {By.HASH_SET: e.hash_set, By.CONTRIBUTOR: contributor, By.JURISDICTION: JURISDICTIONS[contributor]}[by]


def components(number: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    label = list(range(number))
    for _ in range(number):
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    return label


@pytest.fixture(params=[1, 3])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """In how many parts the digests are looked at, of small extracts too."""
    if request.param > 1:
        monkeypatch.setattr(overlap_module, "PART", 4)
    return int(request.param)


def written(chosen: Sequence[Small], of: Mapping[str, Purpose] | None = None, **more: Any) -> Iterator[Extract]:
    with tempfile.TemporaryDirectory() as directory:
        yield small_extract(Path(directory), chosen, JURISDICTIONS, of, **more)


@settings(max_examples=examples(20))
@given(chosen=st.lists(entries, max_size=14), by=st.sampled_from(By), near=st.booleans())
def test_overlap_is_what_a_comparison_of_all_pairs_finds(chosen: list[Small], by: By, near: bool, parts: int) -> None:
    for extract in written(chosen):
        computed = compute(extract, by, near=near)
        active = [e for e in chosen if e.is_active]
        assert set(computed.names) == {group_of(e, by) for e in chosen}
        shared: dict[tuple[str, str], list[int]] = {
            (a, b): [0, 0] for a in computed.names for b in computed.names if a != b
        }
        alone = dict.fromkeys(computed.names, 0)
        for e in active:
            own = group_of(e, by)
            exact = {group_of(o, by) for o in active if is_exact(e, o)} - {own}
            weak = {group_of(o, by) for o in active if near and is_near(e, o)} - exact - {own}
            for at, others in ((0, exact), (1, weak)):
                for other in others:
                    shared[own, other][at] += 1
            alone[own] += not exact and not weak
        assert {(c.left, c.right): [c.exact, c.near] for c in computed.cells} == shared
        assert computed.alone == alone
        assert computed.entries == {name: sum(group_of(e, by) == name for e in active) for name in computed.names}
        assert computed.max_distances == (comparison.PERCEPTUAL if near else {})


def test_more_hash_sets_than_a_word_has_bits(tmp_path: Path) -> None:
    # Each shares its digest with the next one only, the last one with nobody; the first and the 70th are near.
    names = [f"alpha/s{n:03}" for n in range(70)]
    chosen = [
        Small(name, (Hash("MD5", n.to_bytes(16)), *([Hash("MD5", (n + 1).to_bytes(16))] * (n < 68))))
        for n, name in enumerate(names)
    ]
    chosen[0] = chosen[0]._replace(hashes=(*chosen[0].hashes, PDQ[0]))
    chosen[69] = chosen[69]._replace(hashes=(*chosen[69].hashes, PDQ[2]))
    extract = small_extract(tmp_path, chosen, JURISDICTIONS)
    computed = compute(extract, By.HASH_SET, near=True)
    held = {(c.left, c.right): (c.exact, c.near) for c in computed.cells if c.exact or c.near}
    neighbours = {(names[n], names[n + 1]): (1, 0) for n in range(68)}
    assert held == {
        **neighbours,
        **{(b, a): found for (a, b), found in neighbours.items()},
        (names[0], names[69]): (0, 1),
        (names[69], names[0]): (0, 1),
    }
    assert computed.alone == dict.fromkeys(names, 0)


@settings(max_examples=examples(20))
@given(chosen=st.lists(entries, max_size=14))
def test_links_connect_what_all_pairs_connect(chosen: list[Small]) -> None:
    for extract in written(chosen):
        name = {f"{e.hash_set}/{n}": n - 1 for n, e in enumerate(chosen, 1)}
        listed = list(links(extract))
        told = [(name[x.left], name[x.right], x) for x in listed]
        # Numbers are of each hash set: the entries of one go before those of the next.
        active = sorted((n for n, e in enumerate(chosen) if e.is_active), key=lambda n: (chosen[n].hash_set, n))
        rank = {n: place for place, n in enumerate(active)}
        pairs = [(a, b) for a, b in itertools.combinations(active, 2) if is_exact(chosen[a], chosen[b])]
        exact = [(a, b) for a, b, link in told if link.is_exact]
        assert set(exact) <= set(pairs)
        assert len(set(exact)) == len(exact)
        item = components(len(chosen), pairs)
        assert components(len(chosen), exact) == item
        for a, b, link in told:
            assert rank[a] < rank[b]
            assert link.algorithm in link.why
            if link.is_exact:
                assert link.distance == 0
                assert any(h.algorithm == link.algorithm and h in chosen[b].hashes for h in chosen[a].hashes)
            else:
                assert item[a] != item[b]
                assert nearness(chosen[a], chosen[b], link.algorithm) == link.distance
        # What is near in any way is connected by near and exact links of that algorithm.
        for algorithm in comparison.PERCEPTUAL:
            near = [(a, b) for a, b, link in told if not link.is_exact and link.algorithm == algorithm]
            assert len(set(near)) == len(near)
            reached = components(len(chosen), [*exact, *near])
            for a, b in itertools.combinations(active, 2):
                if nearness(chosen[a], chosen[b], algorithm) is not None:
                    assert reached[a] == reached[b]
        assert [x for x in listed if x.is_exact] == list(links(extract, near=False))


def test_a_digest_that_many_share_is_a_star(tmp_path: Path) -> None:
    chosen = [Small(SETS[n % 5], (MD5[0], PDQ[0])) for n in range(3000)]
    chosen += [Small("delta/a", (PDQ[1],)) for _ in range(2000)]
    listed = list(links(small_extract(tmp_path, chosen, JURISDICTIONS)))
    exact = [x for x in listed if x.is_exact]
    assert len(exact) == 2999
    assert {x.left for x in exact} == {"alpha/a/1"}
    # 1,999 that have the same PDQ digest, and one link to the item that is near.
    assert len(listed) - len(exact) == 2000


def test_a_crowd_of_near_digests_gives_a_bounded_number_of_links(tmp_path: Path) -> None:
    # 300 digests with one bit set each, all near all others: 44,850 pairs.
    chosen = [
        Small(SETS[n % 5], (Hash("PDQ", (1 << n % 256 | 1 << (n * 7 + 3) % 256).to_bytes(32, "big")),))
        for n in range(300)
    ]
    distinct = len({e.hashes for e in chosen})
    listed = list(links(small_extract(tmp_path, chosen, JURISDICTIONS)))
    assert len(chosen) - 1 <= len(listed) <= distinct * link_module.MOST_NEAR + len(chosen) - distinct
    assert len({x.right for x in listed}) == 299


def claims(e: Small, of: Mapping[str, Purpose]) -> bool:
    if of.get(e.hash_set, Purpose.CSAM) not in {Purpose.CSAM, Purpose.EXPLOITATIVE}:
        return False
    verdict = (e.dimensions or {}).get("verdict")
    return verdict is None or bool(set(verdict) & {"csam", "exploitative", "unclassified"})


def verdict_of(e: Small, of: Mapping[str, Purpose]) -> str:
    if e.is_unclassified:
        return "unclassified"
    if e.dimensions is None:
        return of.get(e.hash_set, Purpose.CSAM).value.lower()
    stated = e.dimensions.get("verdict", ("unclassified",))
    return " or ".join(
        v for v in ("csam", "exploitative", "comparison", "non-pertinent", "unclassified") if v in stated
    )


@settings(max_examples=examples(20))
@given(chosen=st.lists(entries, max_size=14), of=purposes, near=st.booleans())
def test_gaps_are_what_all_pairs_leave(chosen: list[Small], of: dict[str, Purpose], near: bool) -> None:
    for extract in written(chosen, of):
        counted, items = gaps(extract, "GB", near=near)
        listed = list(items)
        claiming = [n for n, e in enumerate(chosen) if e.is_active and claims(e, of)]
        own = [n for n in claiming if group_of(chosen[n], By.JURISDICTION) == "GB"]
        lacking = [
            n
            for n in claiming
            if n not in own
            and not any(is_exact(chosen[n], chosen[o]) or (near and is_near(chosen[n], chosen[o])) for o in own)
        ]
        pairs = [(a, b) for a, b in itertools.combinations(lacking, 2) if is_exact(chosen[a], chosen[b])]
        label = components(len(chosen), pairs)
        expected = []
        for item in sorted({label[n] for n in lacking}):
            members = [(n, chosen[n]) for n in lacking if label[n] == item]
            expected.append(
                Gap(
                    entries=tuple(f"{e.hash_set}/{n + 1}" for n, e in members),
                    entry_count=len(members),
                    jurisdictions=tuple(sorted({group_of(e, By.JURISDICTION) for _, e in members})),
                    contributors=tuple(sorted({group_of(e, By.CONTRIBUTOR) for _, e in members})),
                    verdicts=tuple(sorted({verdict_of(e, of) for _, e in members})),
                )
            )
        assert [with_sorted_verdicts(g) for g in listed] == expected
        assert counted.items == len(listed)
        for name, counts in (("contributors", counted.by_contributor), ("verdicts", counted.by_verdict)):
            values = {v for g in listed for v in getattr(g, name)}
            assert counts == {v: sum(v in getattr(g, name) for g in listed) for v in values}


def with_sorted_verdicts(gap: Gap) -> Gap:
    return Gap(
        entries=gap.entries,
        jurisdictions=gap.jurisdictions,
        contributors=gap.contributors,
        verdicts=tuple(sorted(gap.verdicts)),
        entry_count=gap.entry_count,
    )


def test_an_entry_that_binds_two_files_hides_neither_from_the_gaps(tmp_path: Path) -> None:
    """Somebody lists the MD5 of what GB holds with the SHA-1 of what it lacks."""
    chosen = [
        Small("alpha/a", (MD5[0],)),
        Small("delta/a", (SHA1[1],)),
        Small("gamma/a", (MD5[0], SHA1[1])),
    ]
    counted, items = gaps(small_extract(tmp_path, chosen, JURISDICTIONS), "GB")
    assert [g.entries for g in items] == [("delta/a/2",)]
    assert counted.by_contributor == {"delta": 1}


@pytest.mark.parametrize(
    ("purpose", "verdict"), [(Purpose.BENIGN, None), (Purpose.TEST, None), (Purpose.CSAM, ("non-pertinent",))]
)
def test_who_claims_no_harm_hides_nothing_from_its_country(
    tmp_path: Path, purpose: Purpose, verdict: tuple[str, ...] | None
) -> None:
    own = Small("alpha/a", (MD5[0],), dimensions=None if verdict is None else {"verdict": verdict})
    chosen = [own, Small("delta/a", (MD5[0],))]
    counted, items = gaps(small_extract(tmp_path, chosen, JURISDICTIONS, {"alpha/a": purpose}), "GB")
    assert counted.items == len(list(items)) == 1


def test_an_item_of_many_entries_names_the_first_thousand(tmp_path: Path) -> None:
    chosen = [Small("delta/a", (MD5[0],)) for _ in range(1500)]
    _, items = gaps(small_extract(tmp_path, chosen, JURISDICTIONS), "GB")
    (gap,) = items
    assert gap.entry_count == 1500
    assert gap.entries == tuple(f"delta/a/{n}" for n in range(1, gap_module.MOST_NAMED + 1))


@pytest.mark.parametrize("text", ["", "gb", "GBR", "G'", "*"])
def test_gaps_ask_for_a_country_code(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="jurisdiction"):
        gaps(small_extract(tmp_path, [], JURISDICTIONS), text)


@settings(max_examples=5)
@given(chosen=st.lists(entries, min_size=2, max_size=10), hidden=st.lists(entries, max_size=6))
def test_what_may_not_be_seen_changes_nothing(chosen: list[Small], hidden: list[Small]) -> None:
    """The results are those of a world without the hidden set, whose entries come last and so move no number."""
    secret = [e._replace(hash_set="delta/secret") for e in hidden]
    allowed = {e.hash_set for e in chosen}
    for whole in written([*chosen, *secret]):
        for alone in written(chosen):
            part = whole.restricted(allowed)
            assert compute(part, By.JURISDICTION, near=True) == compute(alone, By.JURISDICTION, near=True)
            assert list(links(part)) == list(links(alone))
            told, items = gaps(part, "NL")
            expected, expected_items = gaps(alone, "NL")
            assert (told, list(items)) == (expected, list(expected_items))


def test_work_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    extract = small_extract(tmp_path, [Small("alpha/a", (MD5[0],)), Small("beta/a", (MD5[0],))], JURISDICTIONS)
    with scope(lambda: False):
        for work in (
            lambda: compute(extract, By.HASH_SET),
            lambda: list(links(extract)),
            lambda: gaps(extract, "NL"),
        ):
            with pytest.raises(HashHubError):
                work()

    def stop(_done: int, _of: int, _what: str) -> None:
        raise KeyboardInterrupt

    for work in (
        lambda: compute(extract, By.HASH_SET, progress=stop),
        lambda: list(links(extract, progress=stop)),
        lambda: gaps(extract, "NL", progress=stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            work()


def test_an_unread_iterator_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    extract = small_extract(tmp_path / "x", [Small("alpha/a", (MD5[0],)), Small("beta/a", (MD5[0],))], JURISDICTIONS)
    _, items = gaps(extract, "NL")
    del items
    listed = links(extract)
    next(listed)
    del listed
    assert list((tmp_path / "temporary").iterdir()) == []


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40))
def test_components(pairs: list[tuple[int, int]]) -> None:
    left = np.array([a for a, _ in pairs], np.int64)
    right = np.array([b for _, b in pairs], np.int64)
    ids, labels = comparison.components(left, right)
    expected = components(41, pairs)
    assert dict(zip(ids.tolist(), labels.tolist(), strict=True)) == {n: expected[n] for p in pairs for n in p}


def test_components_of_a_long_chain() -> None:
    order = np.random.default_rng(1).permutation(20_000)
    ids, labels = comparison.components(order[:-1], order[1:])
    assert len(ids) == 20_000
    assert not labels.any()


def test_no_result_holds_a_digest(tmp_path: Path) -> None:
    chosen = [Small(s, (MD5[1], SHA1[1], PDQ[5])) for s in SETS]
    extract = small_extract(tmp_path, chosen, JURISDICTIONS)
    told: list[Overlap | object] = [compute(extract, By.HASH_SET, near=True), *links(extract)]
    counted, items = gaps(extract, "FR")
    text = repr([told, counted, *items])
    for h in chosen[0].hashes:
        assert h.digest.hex() not in text
        assert repr(h.digest)[2:-1] not in text
