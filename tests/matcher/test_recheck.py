"""Damage under a running matcher: found in the background, told to every process, and not carried into what is written
from it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from hashhub.errors import DataLoss
from hashhub.matcher import Matcher
from tests.matcher.test_snapshot import PDQ, current, digests, publish
from tests.patience import wait_until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_SECONDS", 0.05)
    monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_LOOK_SECONDS", 0.02)


def flip(file: Path) -> None:
    """Change a byte in place, as a disk or a memory does: whoever has the file mapped sees it."""
    at = file.stat().st_size // 2
    with file.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x55]))


@pytest.mark.parametrize("part", ["rows", "directory", "start", "fingerprints", "ids"])
@pytest.mark.parametrize("is_small", [True, False])
def test_each_file_is_compared_again(
    tmp_path: Path, part: str, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_small:
        monkeypatch.setattr("hashhub.matcher.compaction._PIECE", 4_096)
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        time.sleep(0.3)
        assert not matcher.is_damaged
        flip(max(current(tmp_path).glob(f"*.{part}"), key=lambda p: p.stat().st_size))
        wait_until(lambda: matcher.is_damaged)
        status = matcher.status()
        assert status.damages == 1
        assert part in (status.error or "")
        assert part in status.last_damage
        matcher.rebuild(2, [("PDQ", PDQ)])
        assert not matcher.is_damaged
        assert matcher.status().last_damage, "what was found stays told"
        time.sleep(0.3)
        assert not matcher.is_damaged
        assert matcher.contains("PDQ", PDQ).all()
    with Matcher(tmp_path) as matcher:
        matcher.verify()


def test_one_compares_and_all_know(tmp_path: Path) -> None:
    publish(tmp_path)
    with (
        Matcher(tmp_path) as writer,
        Matcher(tmp_path, publisher=False) as one,
        Matcher(tmp_path, publisher=False) as two,
    ):
        assert one.awaits_publisher
        assert not writer.awaits_publisher
        flip(max(current(tmp_path).glob("*.rows"), key=lambda p: p.stat().st_size))
        wait_until(lambda: writer.is_damaged and one.is_damaged and two.is_damaged)
        assert not one.refresh()
        writer.rebuild(2, [("PDQ", PDQ)])
        for reader in (one, two):
            assert reader.refresh()
            assert not reader.is_damaged
            assert reader.contains("PDQ", PDQ).all()
        time.sleep(0.3)
        assert not one.is_damaged


def test_the_next_one_compares_when_that_process_ends(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path, publisher=False) as reader:
        with Matcher(tmp_path):
            time.sleep(0.2)
        flip(max(current(tmp_path).glob("*.rows"), key=lambda p: p.stat().st_size))
        wait_until(lambda: reader.is_damaged)
        assert not reader.awaits_publisher, "nobody is there who publishes"


def test_damaged_rows_are_not_written_into_a_sound_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_LOOK_SECONDS", 3600.0)  # found by nobody before
    publish(tmp_path)
    with Matcher(tmp_path) as matcher:
        flip(max(current(tmp_path).glob("*.rows"), key=lambda p: p.stat().st_size))
        matcher.apply(3, add={"PDQ": digests(9, 5_000)}, withdraw={"PDQ": PDQ[: len(PDQ) // 2]})
        with pytest.raises(DataLoss):
            matcher.compact()
        assert matcher.is_damaged


def test_nothing_is_published_from_a_damaged_index(tmp_path: Path) -> None:
    publish(tmp_path)
    with Matcher(tmp_path, compact_after=10) as matcher:
        flip(max(current(tmp_path).glob("*.directory"), key=lambda p: p.stat().st_size))
        wait_until(lambda: matcher.is_damaged)
        before = current(tmp_path)
        matcher.apply(3, add={"PDQ": np.asarray(digests(9, 500))})
        time.sleep(1.5)
        assert current(tmp_path) == before
