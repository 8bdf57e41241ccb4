"""A process that is killed while it publishes a snapshot, behind whichever step: the next one misses nothing, and what
was left is cleared away.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from hashhub.matcher import Matcher
from hashhub.matcher.snapshot import KEPT
from tests.killed import Killable, Steps, killable
from tests.matcher.test_search import brute, listed

_ALGORITHMS: Final = {"PDQ": 32, "MD5": 16}
_DISTANCES: Final = {"PDQ": 31, "MD5": 0}
_FIRST, _ADDED, _WITHDRAWN = 600, 500, 250


def digests(algorithm: str, start: int, stop: int) -> NDArray[np.uint8]:
    """The synthetic digests with these numbers."""
    shape = (_FIRST + _ADDED, _ALGORITHMS[algorithm])
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)[start:stop]


def change(matcher: Matcher) -> None:
    """Do what the store did behind the snapshot, again or for the first time."""
    revision = matcher.revision + 1
    matcher.apply(
        revision,
        add={name: digests(name, _FIRST, _FIRST + _ADDED) for name in _ALGORITHMS},
        withdraw={name: digests(name, 0, _WITHDRAWN) for name in _ALGORITHMS},
    )


def check(matcher: Matcher) -> None:
    """All that stands is found, also from some bits away, and nothing that was withdrawn."""
    for name, distance in _DISTANCES.items():
        standing = digests(name, _WITHDRAWN, _FIRST + _ADDED)
        queries = digests(name, _WITHDRAWN - 10, _WITHDRAWN + 10)
        if distance:
            queries = queries ^ np.array([3] + [0] * (queries.shape[1] - 1), np.uint8)
        answers = listed(matcher.search(name, queries, max_distance=distance))
        assert answers == brute(queries, standing, distance, name)
        assert matcher.contains(name, standing).all()


def publish(directory: str, steps: Steps) -> None:
    with Matcher(Path(directory), threads=1) as matcher:
        change(matcher)
        steps.count_files_in(directory)
        matcher.compact()


@pytest.fixture(scope="module")
def publishing() -> Iterator[Killable]:
    with killable(publish) as process:
        yield process


def check_files(directory: Path) -> None:
    """Nothing is there but what has to be."""
    assert sorted(path.name for path in directory.iterdir()) == ["CURRENT", "publisher.lock", "snapshots"]
    assert len(list((directory / "snapshots").iterdir())) <= KEPT


def test_whatever_step_it_was_at(tmp_path: Path, publishing: Killable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    first = tmp_path / "first"
    with Matcher(first) as matcher:
        for revision in (1, 2, 3):  # snapshots that are removed, too
            rows = {name: digests(name, (revision - 1) * 200, revision * 200) for name in _ALGORITHMS}
            matcher.apply(revision, add=rows)
            matcher.compact()
    step = 0
    worn = shutil.copytree(first, tmp_path / "worn")  # killed again and again
    while True:
        step += 1
        fresh = shutil.copytree(first, tmp_path / str(step))
        code = publishing.work(str(fresh), step)
        publishing.work(str(worn), step)
        with Matcher(fresh) as matcher:
            assert not matcher.status().error
            change(matcher)
            check(matcher)
            matcher.compact()
        check_files(fresh)
        with Matcher(fresh, publisher=False) as matcher:
            check(matcher)
        shutil.rmtree(fresh)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 20
    with Matcher(worn) as matcher:
        check(matcher)
    check_files(worn)
