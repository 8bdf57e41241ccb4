"""How long a withdrawal at one hub takes to be one at the others, in a ring and in a line of three hubs.

    python -m bench.peers

Three hubs of their own processes, each followed as `hashhub peer run` does. Entries are withdrawn one after the other
at the first, at a steady rate; each is timed from before the call until the feed of another hub tells that it is
withdrawn there, from which on it hits nothing. In the line the third hub has it from the second.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import Final

from bench import result
from hashhub.client import Client
from hashhub.errors import HashHubError
from hashhub.model import (
    TLP,
    ChangeKind,
    Contributor,
    ContributorKind,
    HashSet,
    Marking,
    Reliability,
    WithdrawalReason,
)
from hashhub.peers.joining import OwnAddress, accepted, invitation
from hashhub.peers.line import read
from hashhub.peers.run import run
from hashhub.testing.hub_process import running_hub

TARGET_SECONDS: Final = 2.0
_SHAPES: Final = {"ring": (("a", "b"), ("b", "c"), ("c", "a")), "line": (("a", "b"), ("b", "c"))}
_HERE: Final = "a--hotline/known"


class Arrivals:
    """When the feed of a hub told of each withdrawal, by external id."""

    def __init__(self, hub: Client) -> None:
        self.time_by_id: dict[str, float] = {}
        self._hub = hub
        *_, last = hub.list_changes(from_now=True)
        self._position = last.position
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with suppress(HashHubError):  # once the client is closed
            for page in self._hub.follow_changes(self._position, withdrawn_entries=True):
                at = time.perf_counter()
                for line in page.changes:
                    if line.kind is ChangeKind.WITHDRAW and line.entry is not None:
                        self.time_by_id[line.entry.external_id] = at


def measure(shape: str, entries: int, withdrawals: int, rate: float, directory: Path) -> list[dict[str, object]]:
    """Return a row for each of the two other hubs."""
    with ExitStack() as stack:
        hubs: dict[str, Client] = {}
        addresses: dict[str, str] = {}
        for name in "abc":
            hub = stack.enter_context(running_hub(directory / name))
            hubs[name] = stack.enter_context(Client(hub.address, hub.token))
            hubs[name].name_hub(name)
            addresses[name] = hub.address
        a = hubs["a"]
        a.create_contributor(
            Contributor(id="hotline", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="NL")
        )
        marking = Marking(tlp=TLP.GREEN, bulk=True, redistribution=True)
        a.create_hash_set(HashSet(contributor="hotline", id="known", marking=marking))
        lines = "".join(hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() + "\n" for n in range(entries))
        a.import_source(BytesIO(lines.encode()), hash_set="hotline/known", connector="hash-lines")
        letters = {letter: letter for letter in Reliability}
        for one, other in _SHAPES[shape]:
            line = invitation(directory / f"{one}-peers", hubs[one], other, OwnAddress(addresses[one], "", "NL"))
            own = OwnAddress(addresses[other], "", "DE")
            answer = accepted(directory / f"{other}-peers", hubs[other], read(line), letters, own)
            accepted(directory / f"{one}-peers", hubs[one], read(answer), letters, OwnAddress("", "", "NL"))
        stop = threading.Event()
        threads = [
            threading.Thread(target=run, args=(directory / f"{name}-peers", hubs[name], name, stop, print))
            for name in "abc"
        ]
        for thread in threads:
            thread.start()
        try:
            _wait(lambda: all(_count(hubs[name]) == entries for name in "bc"))
            arrivals = {name: Arrivals(hubs[name]) for name in "bc"}
            begun: dict[str, float] = {}
            chosen = list(a.list_entries("hotline/known"))[:withdrawals]
            first = time.perf_counter()
            for n, entry in enumerate(chosen):
                time.sleep(max(0.0, first + n / rate - time.perf_counter()))
                begun[f"a/{entry.name}"] = time.perf_counter()
                a.withdraw_entry(entry.name, WithdrawalReason.ERROR)
            seconds = time.perf_counter() - first
            _wait(lambda: all(begun.keys() <= of.time_by_id.keys() for of in arrivals.values()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        rows = []
        for name in "bc":
            took = result.percentiles([arrivals[name].time_by_id[one] - at for one, at in begun.items()])
            row = {"shape": shape, "hub": name, "withdrawals_per_second": withdrawals / seconds}
            rows.append({**row, **took, "target_seconds": TARGET_SECONDS})
        return rows


def _count(hub: Client) -> int:
    return sum(1 for _ in hub.list_entries(_HERE)) if any(s.name == _HERE for s in hub.list_hash_sets()) else 0


def _wait(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not is_done():
        if time.monotonic() > until:
            raise TimeoutError("the hubs did not become equal within five minutes")
        time.sleep(0.2)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--withdrawals", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=20.0, help="withdrawals a second")
    parser.add_argument("--shapes", default="ring,line")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for shape in arguments.shapes.split(","):
        with tempfile.TemporaryDirectory() as directory:
            rows += measure(shape, arguments.entries, arguments.withdrawals, arguments.rate, Path(directory))
    result.show(rows)
    parameters = {"entries": arguments.entries, "withdrawals": arguments.withdrawals, "rate": arguments.rate}
    result.save("peers", parameters, rows, out=arguments.out, packages=("grpcio",))


if __name__ == "__main__":
    main()
