"""Walk towards a listed digest by a hub's answers, and tell how many of its bits were learned: before and after.

    python -m bench.oracle [--bits 256]

The hub has one closed hash set with entries of synthetic digests; the attacker has a token that may match and not list,
and one digest that is 20 bits from a listed one. `by distance`: it turns one bit after the other, and sees whether the
entry came nearer. `by verdict`: it goes outwards until the entry is hit no more, and turns bits at the edge: who still
hits turned a wrong bit. `by search`: it asks again with other `max_distances`. A bit counts as learned where the
attacker knows it, and rightly; without a question none does. Before: `near_variants_alarm = 0`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from random import Random

from hashhub.config import Config
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.model import (
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    MatchOptions,
    MatchResult,
    Principal,
    Query,
    Record,
    Role,
    Verdict,
)

_OPERATOR = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
_WRITER = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="nl")
_ATTACKER = Principal(name="attacker", role=Role.CONSUMER)
_BITS = 256
_START = 20  # bits that the attacker's first digest is away
_WALK = "NEAR_VARIANTS"


class Oracle:
    """A hub as the attacker sees it, and how often it was asked."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.questions, self.is_noticed = hub, 0, False

    def ask(self, value: int, **distances: int) -> MatchResult | None:
        """Return the answer about a digest; None once a walk was noticed, and nothing is told."""
        self.questions += 1
        query = Query(hashes=(Hash("PDQ", value.to_bytes(_BITS // 8)),))
        options = MatchOptions(policy="any", max_distances=distances)
        result = self.hub.match.hashes(_ATTACKER, [query], options)[0][0]
        self.is_noticed |= any(line.code == _WALK for line in result.reasons)
        return None if self.is_noticed else result

    def distance(self, value: int) -> int | None:
        """Return how far away the entry is said to be; None: it is not said."""
        result = self.ask(value)
        if result is None or not result.matches or any(r.code == "DISTANCE_WITHHELD" for r in result.reasons):
            return None
        return result.matches[0].distance

    def is_hit(self, value: int, **distances: int) -> bool | None:
        """Return whether something is hit; None: it is not said."""
        result = self.ask(value, **distances)
        return None if result is None else result.verdict is not Verdict.NO_MATCH


def by_distance(oracle: Oracle, start: int, bits: int) -> dict[int, int]:
    """Return the bits that are known: a bit that was right takes the entry one further away."""
    known: dict[int, int] = {}
    before = oracle.distance(start)
    for bit in range(bits):
        after = oracle.distance(start ^ 1 << bit)
        if before is None or after is None:
            break
        known[bit] = start >> bit & 1 if after > before else ~start >> bit & 1
    return known


def by_verdict(oracle: Oracle, start: int, bits: int) -> dict[int, int]:
    """Return the bits that are known: at the edge one more right bit that is turned loses the entry."""
    value = start
    for bit in range(bits):  # outwards
        answer = oracle.is_hit(value ^ 1 << bit)
        if answer is None:
            return {}
        if not answer:
            break
        value ^= 1 << bit
    known: dict[int, int] = {}
    for bit in range(bits):
        answer = oracle.is_hit(value ^ 1 << bit)
        if answer is None:
            break
        known[bit] = ~value >> bit & 1 if answer else value >> bit & 1
    return known


def by_search(oracle: Oracle, start: int, bits: int) -> dict[int, int]:
    """Return the bits that are known, by as small a `max_distances` as the first digest is away."""
    edge = next((d for d in range(32) if oracle.is_hit(start, PDQ=d)), None)
    known: dict[int, int] = {}
    for bit in range(bits) if edge is not None else ():
        answer = oracle.is_hit(start ^ 1 << bit, PDQ=edge or 0)
        if answer is None:
            break
        known[bit] = ~start >> bit & 1 if answer else start >> bit & 1
    return known


ATTACKS: dict[str, Callable[[Oracle, int, int], dict[int, int]]] = {
    "by distance": by_distance,
    "by verdict": by_verdict,
    "by search": by_search,
}


def attack(name: str, alarm: int, bits: int = _BITS) -> dict[str, object]:
    """Return what came of an attack on a new hub."""
    random = Random("oracle")
    listed = [random.randbytes(_BITS // 8) for _ in range(20)]
    target = int.from_bytes(listed[0])
    start = target
    for bit in random.sample(range(_BITS), _START):
        start ^= 1 << bit
    with tempfile.TemporaryDirectory() as data, Hub.open(Config(data=data, near_variants_alarm=alarm)) as hub:
        hub.start()
        hub.contributors.create(
            _OPERATOR,
            Contributor(id="nl", display_name="NL", kind=ContributorKind.HOTLINE, jurisdiction="NL"),
        )
        hub.hash_sets.create(_OPERATOR, HashSet(contributor="nl", id="known"))
        opened = hub.contribute.open(
            _WRITER,
            Import(
                id="", contributor="nl", hash_set="known", connector="bench", connector_version="1",
                source_digest="0" * 64,
            ),
        )  # fmt: skip
        records = [Record(position=str(n), hashes=(Hash("PDQ", digest),)) for n, digest in enumerate(listed)]
        hub.contribute.add(_WRITER, opened.id, 0, records, [])
        hub.contribute.commit(_WRITER, opened.id, batch_count=1)
        oracle = Oracle(hub)
        known = ATTACKS[name](oracle, start, bits)
    right = sum(target >> bit & 1 == value for bit, value in known.items())
    return {
        "attack": name,
        "near_variants_alarm": alarm,
        "questions": oracle.questions,
        "bits learned": 2 * right - len(known),  # a wrong one costs as much as a right one gives
        "of": bits,
        "noticed": oracle.is_noticed,
    }


def main() -> None:
    """Print a line for each attack, before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=_BITS, help="how many bits the attacker goes for")
    bits = parser.parse_args().bits
    for name in ATTACKS:
        for alarm in (0, Config().near_variants_alarm):
            print(json.dumps(attack(name, alarm, bits)))


if __name__ == "__main__":
    main()
