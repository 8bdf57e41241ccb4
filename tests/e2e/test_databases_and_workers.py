"""A PostgreSQL server that goes away, and several worker processes of which some die: no answer is better than a wrong
one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashhub.errors import Reason
from hashhub.model import Verdict, WithdrawalReason
from tests.e2e.conftest import stop_when
from tests.patience import PATIENCE
from tests.processes import workers_of

if TYPE_CHECKING:
    from hashhub.testing.lists import ListItem
    from tests.e2e.conftest import Desk, OpenHub

UNAVAILABLE = 3
AWAY = {Reason.DATABASE_UNAVAILABLE, Reason.MATCHER_NOT_READY, Reason.SERVER_UNAVAILABLE}


def test_a_database_that_goes_away_and_comes_back(
    tmp_path: Path, open_hub: OpenHub, postgresql: Any, postgresql_url: str, wait_until: Callable[..., None]
) -> None:
    with open_hub(tmp_path / "data", "--database", postgresql_url) as desk:
        hash_set = desk.hash_set("hotline/known")
        kept, known = desk.vics("kept.json", 10, seed=30)
        desk.contribute(kept, hash_set)
        source, items = desk.vics("list.json", 30_000, seed=31)  # long enough to be caught in the middle
        assert desk.verdicts(known[0], items[0]) == [Verdict.MATCH, Verdict.NO_MATCH]

        process = desk.start("import", source, "--format", "vics", "--hash-set", hash_set, "--json")
        with desk.client() as hub:
            stop_when(process, lambda: next(iter(hub.list_imports(hash_set))).batch_count >= 2)
        postgresql.stop()
        process.send_signal(signal.SIGCONT)
        end = time.monotonic() + 7  # long enough for what was known a moment ago to have become old
        verdict: Verdict | str = Verdict.NO_MATCH
        while time.monotonic() < end or verdict is Verdict.NO_MATCH:
            assert time.monotonic() < end + PATIENCE
            assert desk.verdict(known[0]) in AWAY
            verdict = desk.verdict(items[-1])
            assert verdict in {Verdict.NO_MATCH, *AWAY}
            time.sleep(0.2)
        assert desk.verdict(items[-1]) in AWAY
        done = desk.run("entry", "withdraw", f"{hash_set}/1", "--reason", "error")
        assert done.exit_code == UNAVAILABLE
        assert "database cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr
        assert process.poll() is None, "the import waits for the database"
        postgresql.start()
        # It all goes on by itself, the import too.
        wait_until(lambda: desk.verdict(known[0]) == Verdict.MATCH)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert '"accepted":30000' in out.replace(" ", "")
        assert desk.verdicts(*items[::3_000], items[-1], *known) == [Verdict.MATCH] * 21
        with desk.client() as hub:
            wait_until(lambda: not hub.status().warnings)
    assert "Traceback" not in (desk.hub.data / "hub.log").read_text("utf-8")


def asked_anew(desk: Desk, item: ListItem, times: int = 12) -> set[Verdict | str]:
    """Ask through as many new connections at once: the kernel deals them out to the workers."""
    with ThreadPoolExecutor(times) as pool:
        return set(pool.map(lambda _: desk.verdict(item), range(times)))


def workers(desk: Desk) -> set[int]:
    """Return the worker processes that the hub has now."""
    return {process.pid for process in workers_of(desk.hub.pid)}


def test_two_workers(
    tmp_path: Path, open_hub: OpenHub, wait_until: Callable[..., None], kill: Callable[[int], None]
) -> None:
    with open_hub(tmp_path / "data", "--workers", "2") as desk:
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 2_000, seed=32)
        assert asked_anew(desk, items[0]) == {Verdict.NO_MATCH}
        desk.contribute(source, hash_set)
        # Soon in every worker, and then for good. A worker takes a list in by pieces, so its first item may match a
        # moment before its last.
        for item in (items[0], items[-1]):
            # Connections that are made together may all be dealt to one worker.
            wait_until(lambda item=item: all(asked_anew(desk, item, 30) == {Verdict.MATCH} for _ in range(3)))
        # For good means that no answer says otherwise; a worker that stood still for some seconds gives none.
        assert asked_anew(desk, items[0], 30) <= {Verdict.MATCH, *AWAY}

        # A withdrawal holds in every worker the moment it is answered.
        with desk.client() as hub:
            entry = next(
                e for e in hub.list_entries(hash_set) if items[1].digest("MD5") in {h.digest.hex() for h in e.hashes}
            )
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
        assert asked_anew(desk, items[1], 30) <= {Verdict.NO_MATCH, *AWAY}
        wait_until(lambda: asked_anew(desk, items[1], 30) == {Verdict.NO_MATCH})

        # One dies: the other answers, and it comes back. No answer is allowed, a wrong one is not.
        before = workers(desk)
        assert len(before) == 2
        for victim in sorted(before):
            kill(victim)
            wait_until(lambda v=victim: v not in workers(desk))
            seen: set[Verdict | str] = set()

            def is_back(seen: set[Verdict | str] = seen) -> bool:
                seen |= asked_anew(desk, items[0])
                return len(workers(desk)) == 2 and asked_anew(desk, items[0], 20) == {Verdict.MATCH}

            wait_until(is_back)
            assert seen <= {Verdict.MATCH, *AWAY}
        assert not workers(desk) & before
        # Both of the new ones take part in everything.
        more, new = desk.vics("more.json", 100, seed=33)
        desk.contribute(more, hash_set)
        wait_until(lambda: asked_anew(desk, new[0]) == {Verdict.MATCH})
        # A worker that is new may still be checking its snapshot; it then says of a miss that it cannot know yet.
        seen = asked_anew(desk, items[1], 30)
        assert seen <= {Verdict.NO_MATCH, *AWAY}
        wait_until(lambda: asked_anew(desk, items[1], 30) == {Verdict.NO_MATCH})

        children = workers(desk)
        os.kill(desk.hub.pid, signal.SIGKILL)
        # Orphans would serve data that nobody holds the lock of.
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
