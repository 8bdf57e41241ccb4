"""What judging adds to an answer.

    python -m bench.policies

One item is listed by 20 contributors, each of whose entries is hit. Each policy judges it again and again, in this
thread; a round's time is the CPU's, so that what else the machine does counts little. `trace` is what `hashhub policy
explain` asks for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from bench import result
from hashhub import schemes, trust
from hashhub.hashes import Hash
from hashhub.model import Contributor, ContributorKind, Entry, EntryState, HashSet, Provenance, Reliability
from hashhub.trust import Clause, Policy, Statement, Way

_ENTRIES: Final = 20
_NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
_MD5: Final = Hash("MD5", bytes(range(16)))
_PDQ: Final = Hash("PDQ", bytes(range(32)))


def statements(entries: int) -> list[Statement]:
    """Entries of as many contributors, every third of whom takes material from one of seven sources; half of them are
    hit by an identical file as well.
    """
    known = schemes.load()
    values = ("vic-us", "1"), ("uk-sentencing", "A"), ("", "")
    made = []
    for i in range(entries):
        name, (scheme, value) = f"contributor-{i}", values[i % len(values)]
        contributor = Contributor(
            id=name,
            display_name=name,
            kind=ContributorKind.HOTLINE,
            jurisdiction=("NL", "GB", "US")[i % 3],
            reliability=Reliability("ABCDF"[i % 5]),
            takes_from=(f"source-{i % 7}",) if i % 3 == 0 else (),
        )
        entry = Entry(
            id=i + 1,
            contributor=name,
            hash_set="list",
            hashes=(_MD5, _PDQ),
            state=EntryState.ACTIVE,
            provenance=Provenance(
                import_id="i", connector="bench", connector_version="1", source_digest="", position=""
            ),
            classification=known.get(scheme).resolve(value) if scheme else None,
            create_revision=i + 1,
        )
        way = Way("PDQ", 5)
        made.append(
            Statement(
                entry,
                contributor,
                HashSet(contributor=name, id="list", scheme=scheme, review_depth=2),
                "MD5" if i % 2 else way.algorithm,
                0 if i % 2 else way.distance,
                also=(way,) if i % 2 else (),
                stated_time=_NOW - timedelta(days=i),
            )
        )
    return made


def every_demand(block: Policy) -> Policy:
    """A policy whose clauses make every demand there is."""
    clause = Clause(
        id="all",
        title="all",
        contributors=2,
        verdicts=("csam", "exploitative"),
        reliability=(Reliability.A, Reliability.B, Reliability.C),
        verified_scheme=True,
        min_review_depth=1,
        jurisdictions=("NL", "US"),
        dimensions={"age_band": ("<18",)},
        legal_status=("US:illegal",),
        stated_within_days=365,
        algorithms=("PDQ", "MD5"),
        max_distance={"PDQ": 16},
        variants=("none", "turned"),
    )
    return msgspec.structs.replace(block, name="all", clauses=(clause, msgspec.structs.replace(clause, id="again")))


def measure(rounds: int, entries: int = _ENTRIES) -> list[dict[str, Any]]:
    """Measure each policy, and a trace by one."""
    made = statements(entries)
    people = {s.contributor.id: s.contributor for s in made}
    policies = trust.load()
    policies["all"] = every_demand(policies["block"])
    ways: dict[str, Callable[[Policy], object]] = {
        "decide": lambda p: trust.decide(p, made, people, time=_NOW, query=(_MD5, _PDQ)),
        "trace": lambda p: trust.trace(p, made, people, time=_NOW, query=(_MD5, _PDQ)),
    }
    rows = []
    for name, call in ways.items():
        for policy in policies.values():
            taken = []
            for _ in range(rounds):
                start = time.thread_time_ns()
                call(policy)
                taken.append(time.thread_time_ns() - start)
            microseconds = np.array(taken[rounds // 10 :]) / 1000
            rows.append(
                {
                    "what": name,
                    "policy": policy.name,
                    "entries": entries,
                    "median_us": float(np.median(microseconds)),
                    "p90_us": float(np.percentile(microseconds, 90)),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000, help="judgements by each policy (10000)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/policies.json")
    options = parser.parse_args()
    rows = measure(options.rounds)
    result.show(rows)
    result.save("policies", {"rounds": options.rounds}, rows, out=options.out, packages=("msgspec",))


if __name__ == "__main__":
    main()
