"""How many hash sets one contributor may have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from hashhub.config import Config
from hashhub.errors import LimitExceeded
from hashhub.hub import Hub
from hashhub.model import HashSet
from tests.hub.conftest import OPERATOR, Desk, writer


def test_the_limit_holds_also_when_several_are_created_at_once(database: str, tmp_path: object) -> None:
    is_url = "://" in database
    config = Config(
        data=f"{tmp_path}/hub" if is_url else database, database=database if is_url else "", max_hash_sets=5
    )
    with Hub.open(config) as hub:
        hub.start()
        desk = Desk(hub)
        for contributor in ("alpha", "beta"):
            desk.contributor(contributor)

        def create(name: str, *, validate_only: bool = False) -> HashSet:
            return hub.hash_sets.create(
                writer("alpha"), HashSet(contributor="alpha", id=name), validate_only=validate_only
            )

        def attempt(number: int) -> bool:
            try:
                create(f"set-{number}")
            except LimitExceeded:
                return False
            return True

        with ThreadPoolExecutor(8) as several:
            assert sum(several.map(attempt, range(16))) == 5
        kept = hub.hash_sets.list(OPERATOR, "alpha", 100, "")[0]
        assert len(kept) == 5
        for validate_only in (False, True):
            with pytest.raises(LimitExceeded) as refused:
                create("one-more", validate_only=validate_only)
        for words in ("alpha has 5 hash sets", "may have no more", "delete one", "max_hash_sets"):
            assert words in str(refused.value)
        hub.hash_sets.create(writer("beta"), HashSet(contributor="beta", id="first"))  # others have their own
        hub.retention.delete(OPERATOR, "alpha", kept[0].id, comment="not needed")
        create("one-more")
