"""Keys of the vault are rotated by a process that is killed after any of its steps, while a legal hold is set."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from hashhub.desk.vault_keys import make_key
from hashhub.errors import FailedPrecondition, Reason
from tests.desk.test_vault import CONTENT, Place, keep

_ITEMS: Final = 3
# What is called for each item, and the calls around them: the first note says that it begins, the second that it ended.
_STEPS: Final = [
    *(("hashhub.desk.vault_keys:KeyFile", name, number) for name in ("unwrap", "wrap") for number in (1, 2, 3)),
    # The first is that of the first note, in whose transaction nobody else can write.
    *(("hashhub.desk.records:Records", "write", number) for number in (2, 3, 4)),
    *(("hashhub.desk.records:Records", "note", number) for number in (1, 2)),
]
_ROTATE: Final = """
import os, pkgutil, signal, sys
from pathlib import Path
from tests.desk.test_vault import Place
place = Place.__new__(Place)
place.directory = Path(sys.argv[1]); place.data = place.directory / "hook"; place.key = place.directory / "vault.key"
vault = place.open(old_key=str(place.directory / "old.key"), rotating=True)
other = place.open(old_key=str(place.directory / "old.key"), rotating=True)
owner, name, number = pkgutil.resolve_name(sys.argv[2]), sys.argv[3], int(sys.argv[4])
stands_for, calls = getattr(owner, name), []
def killed(*arguments, **named):
    calls.append(arguments)
    if len(calls) != number:
        return stands_for(*arguments, **named)
    done = stands_for(*arguments, **named)
    setattr(owner, name, stands_for)
    other.hold([sys.argv[5]], case="K-1", actor="ann", reason="an order")
    os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(owner, name, killed)
vault.rotate(actor="account:root")
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(("owner", "name", "number"), _STEPS)
def test_killed_after_each_step_nothing_is_lost(place: Place, owner: str, name: str, number: int) -> None:
    references = [keep(place.open()) for _ in range(_ITEMS)]
    old = place.key.rename(place.directory / "old.key")
    make_key(place.key)
    done = subprocess.run(
        [sys.executable, "-c", _ROTATE, str(place.directory), owner, name, str(number), references[-1]],
        cwd=Path(__file__).parents[2],
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    # Each is for one of the two keys, and whoever has the wrong one is told so.
    halfway = place.open(old_key=str(old), rotating=True)
    assert halfway.check(actor="ann").opened == _ITEMS
    by_old = place.open(key_file=str(old), rotating=True).check(actor="ann")
    by_new = place.open(rotating=True).check(actor="ann")
    assert {problem.reason for problem in (*by_old.problems, *by_new.problems)} <= {Reason.VAULT_KEY_LOST}
    assert by_old.opened + by_new.opened == _ITEMS
    left = by_old.opened
    if left:
        with pytest.raises(FailedPrecondition, match="rotate"):
            place.open()
    assert halfway.rotate(actor="account:root") == (left, 0)
    vault = place.open()
    assert vault.check(actor="ann").opened == _ITEMS
    for number_of_file, reference in enumerate(references):
        out = place.directory / f"out-{number_of_file}"
        vault.export(reference, out, actor="ann", reason="why")
        assert out.read_bytes() == CONTENT
    held = [item.reference for item in vault.items() if item.due_time is None]
    assert held == [references[-1]]
    assert place.kinds().count("legal_hold.set") == 1
    assert place.kinds().count("vault.rotation_begun") == 2
