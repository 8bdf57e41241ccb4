"""Cases in records of their own, and the item that is reported."""

from __future__ import annotations

import pytest

from hashhub.desk.cases.item import CaseItem, item_of
from hashhub.desk.cases.life import Cases
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.hashing import hash_media
from hashhub.model import Effort
from tests.desk.cases.parts import SEED
from tests.hook.conftest import jpeg


@pytest.fixture
def cases(records: Records) -> Cases:
    return Cases(records, CaseSettings())


@pytest.fixture(scope="module")
def item() -> CaseItem:
    return item_of(hash_media(jpeg(SEED), effort=Effort.STANDARD))
