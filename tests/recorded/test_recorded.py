"""What earlier releases have written is opened by this version, and says what it said then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hashhub.store import Store
from hashhub.store.schema import tables
from tests.recorded import answers

if TYPE_CHECKING:
    from tests.conftest import PostgreSQL

RELEASES = sorted(path for path in Path(__file__).parent.iterdir() if (path / "expected.json").exists())


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_release_is_opened_and_answers_as_it_did(release: Path, tmp_path: Path, postgresql: PostgreSQL) -> None:
    expected = json.loads((release / "expected.json").read_text("utf-8"))
    answered = json.loads(json.dumps(answers.of(release, tmp_path, postgresql)))
    assert answered.keys() == expected.keys()
    for part, told in expected.items():
        assert _known(answered[part], told) == told, part
    for hub in ("hub", "hub-postgresql"):
        assert {state for _, state, *_ in expected[hub]["entries"]} == {"ACTIVE", "WITHDRAWN", "QUARANTINED"}
        assert {verdict for _, verdict, _ in expected[hub]["verdicts"]} == {"MATCH", "REVIEW", "NO_MATCH"}
    assert expected["doctor"] == [True, True]
    assert expected["hook"]["vault"]
    assert expected["mirror"]


def _known(answer: Any, told: Any) -> Any:
    """Return the answer without fields that its release did not have: later ones may add some."""
    if isinstance(told, dict) and isinstance(answer, dict):
        return {name: _known(value, told[name]) for name, value in answer.items() if name in told}
    if isinstance(told, list) and isinstance(answer, list) and len(told) == len(answer):
        return [_known(*pair) for pair in zip(answer, told, strict=True)]
    return answer


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_release_gets_the_tables_of_the_schema(release: Path, tmp_path: Path) -> None:
    store = Store.open(answers.unpacked(release / "hub.tar.gz", tmp_path / "hub"))
    with store.database.write() as c:
        assert compare_metadata(MigrationContext.configure(c, opts={"compare_type": True}), tables) == []
    store.close()


def test_there_is_a_record_of_this_release_and_it_is_small() -> None:
    assert RELEASES
    assert sum(path.stat().st_size for release in RELEASES for path in release.iterdir()) < 1_000_000 * len(RELEASES)
