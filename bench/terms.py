"""What authorisation and terms add to an answer.

    python -m bench.terms

A hub in this process, on SQLite. One digest is listed by 20 contributors, each in a hash set under terms of its own.
The same query is answered in turn under those terms and with the checks of hashhub/hub/access.py replaced by "yes";
what they add is the median of the differences. The answers are the same both ways. The query that hits nothing is there
to show that it pays for none of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from bench import result
from hashhub.config import Config
from hashhub.hashes import Hash
from hashhub.hub import Hub, access
from hashhub.model import (
    Contributor,
    ContributorKind,
    Group,
    HashSet,
    Import,
    Marking,
    MatchOptions,
    Principal,
    Query,
    Record,
    Reliability,
    Role,
)

_ENTRIES: Final = 20
_OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
_CONSUMER: Final = Principal(
    name="platform", role=Role.CONSUMER, contributor="contributor-0", purposes=("detection", "blocking")
)
_OPTIONS: Final = MatchOptions(policy="block")


def fill(hub: Hub, listed: Hash, entries: int) -> None:
    """List one digest in so many hash sets, each of another contributor; all terms name a group with the consumer in
    it.
    """
    for i in range(entries):
        name = f"contributor-{i}"
        hub.contributors.create(
            _OPERATOR,
            Contributor(
                id=name,
                display_name=name,
                kind=ContributorKind.HOTLINE,
                jurisdiction="ZZ",
                reliability=Reliability.C,
            ),
        )
        if not i:
            hub.groups.create(_OPERATOR, Group(id="members", members=(_CONSUMER.contributor,)))
        others = tuple(f"contributors/contributor-{n}" for n in range(i))
        marking = Marking(recipients=(*others[-3:], "groups/members"), permitted_purposes=("research", "blocking"))
        hub.hash_sets.create(_OPERATOR, HashSet(contributor=name, id="list", marking=marking))
        opened = hub.contribute.open(
            _OPERATOR,
            Import(
                id="",
                contributor=name,
                hash_set="list",
                connector="bench",
                connector_version="1",
                source_digest=f"{i:064x}",
            ),
        )
        hub.contribute.add(_OPERATOR, opened.id, 0, [Record(position="line 1", hashes=(listed,))], [])
        hub.contribute.commit(_OPERATOR, opened.id, batch_count=1)


def measure(rounds: int, entries: int = _ENTRIES) -> list[dict[str, Any]]:
    """Measure a query that hits `entries` entries, and one that hits none."""
    listed, unknown = Hash("MD5", bytes(range(16))), Hash("MD5", bytes(range(1, 17)))
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name, Hub.open(Config(data=name)) as hub:
        hub.start()
        fill(hub, listed, entries)
        return [
            {"query": "hit", "entries": entries, **_in_turn(hub, listed, entries, rounds)},
            {"query": "miss", "entries": 0, **_in_turn(hub, unknown, 0, rounds)},
        ]


def _in_turn(hub: Hub, asked: Hash, entries: int, rounds: int) -> dict[str, float]:
    query = [Query(hashes=(asked,))]
    every_set = frozenset(f"contributor-{i}/list" for i in range(_ENTRIES))
    everything = access.Sight(every_set, frozenset(), frozenset(), float("inf"))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for i in range(rounds + rounds // 10):
        for with_terms in (True, False) if i % 2 else (False, True):
            unchecked = patch.multiple(access, allow=lambda *_: None, sight=lambda *_: everything)
            with nullcontext() if with_terms else unchecked:
                start = time.perf_counter()
                [answer], _ = hub.match.hashes(_CONSUMER, query, _OPTIONS)
                took = time.perf_counter() - start
            assert len(answer.matches) == entries, "the consumer sees all of them"
            if i >= rounds // 10:  # the first ones warm up
                seconds[with_terms].append(took)
    checked, free = np.array(seconds[True]), np.array(seconds[False])
    return {
        "with_terms_us": float(np.median(checked)) * 1e6,
        "without_us": float(np.median(free)) * 1e6,
        "terms_add_us": float(np.median(checked - free)) * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5_000, help="answers each way (5000)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/terms.json")
    options = parser.parse_args()
    rows = measure(options.rounds)
    result.show(rows)
    result.save("terms", {"rounds": options.rounds, "policy": _OPTIONS.policy}, rows, out=options.out)


if __name__ == "__main__":
    main()
