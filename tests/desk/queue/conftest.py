"""A queue in records of its own, with what is decided in it and what is said of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hashhub.desk.queue.reviews import LaterAnswers, ReviewSender
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import Records
from hashhub.hook import HookSettings
from tests.desk.queue.parts import settings_in
from tests.hook.waiting import records_of


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    return settings_in(tmp_path)


@pytest.fixture
def records(settings: HookSettings) -> Records:
    return records_of(settings)


@pytest.fixture
def queue(records: Records, settings: HookSettings) -> ReviewQueue:
    return ReviewQueue(records, settings)


@pytest.fixture
def rulings(records: Records, settings: HookSettings, queue: ReviewQueue) -> Rulings:
    return Rulings(records, settings, queue=queue)


@pytest.fixture
def reviews(records: Records, settings: HookSettings) -> ReviewSender:
    return ReviewSender(records, settings)


@pytest.fixture
def later(records: Records) -> LaterAnswers:
    return LaterAnswers(records)


@pytest.fixture
def two(records: Records, tmp_path: Path) -> Rulings:
    """Releases need two persons."""
    return Rulings(records, settings_in(tmp_path, two_person_release=True))


@pytest.fixture
def asking(make_settings: Callable[..., HookSettings]) -> tuple[HookSettings, Records]:
    settings = make_settings()
    return settings, records_of(settings)
