"""Overlap and agreement on a Ray cluster, in a process of its own: Ray's driver forks, and may die without a test."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hashhub.errors import Unavailable
from hashhub.reconcile import agreement, engines, items, overlap
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.results import Agreement, Backend, By, Overlap
from tests.reconcile.small import Small, small_extract
from tests.reconcile.test_agreement import SCHEMES, listed_by_three
from tests.reconcile.test_sharing import JURISDICTIONS, MD5, PDQ, SETS, SHA1


class OnRay(NamedTuple):
    """What a process computed. `told`: the overlap's progress; `goes_on`: whether Ray does after its last query."""

    overlap: Overlap
    told: list[int]
    agreement: Agreement
    goes_on: bool


def _computed(shared: Path, listed: Path) -> OnRay:
    """Compute in parts, on one cluster: one starts with a query, and ends with the last one that is answered."""
    import ray

    # Of this process alone.
    overlap.PART = 4  # type: ignore[misc]
    agreement.PAIRS, items.ROWS_AT_ONCE = 20, 250  # type: ignore[misc]
    extract = Extract.open(shared).restricted(SETS[1:])
    cluster = engines.run(extract, ["SELECT 1", "SELECT 2"], None, Backend.RAY)
    next(cluster)
    told: list[int] = []
    found = overlap.compute(
        extract, By.HASH_SET, near=True, engine=Backend.RAY, progress=lambda n, _of, _what: told.append(n)
    )
    agreed = agreement.compute(Extract.open(listed), SCHEMES, engine=Backend.RAY)
    assert ray.is_initialized()
    assert len(list(cluster)) == 1
    return OnRay(found, told, agreed, ray.is_initialized())


@pytest.mark.timeout(300)
def test_overlap_and_agreement_on_ray_are_equal(tmp_path: Path, capfd: Any) -> None:
    chosen = [Small(SETS[n % 5], (MD5[n % 4], SHA1[n % 3], PDQ[n % 6])) for n in range(12)]
    extract = small_extract(tmp_path / "shared", chosen, JURISDICTIONS).restricted(SETS[1:])
    listed = listed_by_three(tmp_path / "listed")
    on_ray = None
    while on_ray is None:
        # Ray gives a node 30 s to start, which a busy machine may need.
        with suppress(Unavailable), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            on_ray = process.submit(_computed, tmp_path / "shared", tmp_path / "listed").result()
    assert on_ray.overlap == overlap.compute(extract, By.HASH_SET, near=True)
    assert sum(c.exact for c in on_ray.overlap.cells) > 0
    assert "alpha/a" not in on_ray.overlap.names
    assert on_ray.told == sorted(on_ray.told)
    assert len(on_ray.told) > 3
    assert on_ray.agreement == agreement.compute(listed, SCHEMES)
    assert on_ray.agreement.suggestions
    assert not on_ray.goes_on
    assert capfd.readouterr() == ("", "")
