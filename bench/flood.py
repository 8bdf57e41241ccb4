"""What a flood of one contributor costs who asks about an item that others list.

    python -m bench.flood [--entries 50000] [--database postgresql://…]

A hub in this process. A reliable contributor lists a few items; one whose word does not count lists an MD5 of them so
many times under other ids, and twice as many PDQ digests around a picture of them: once in a hash set that the asking
platform may not see, and once in one that it sees. Told is the least of some answers, in milliseconds, of the hub, and
of a copy in a hook's local mode, which holds what may be seen.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from hashhub.config import Config
from hashhub.desk.decision import Action, WithoutAnswer
from hashhub.desk.settings import Mode
from hashhub.hashes import Hash
from hashhub.hook.local import LocalJudge, Sync
from hashhub.hook.settings import HookSettings, LocalSettings
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    Marking,
    MatchOptions,
    Principal,
    Query,
    Record,
    Reliability,
    Role,
    Verdict,
)
from hashhub.server.listeners import Listeners

_OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
_PLATFORM: Final = Principal(name="platform", role=Role.CONSUMER, contributor="hotline")
_RANDOM: Final = Random(7)
_ASKED: Final = 15
_BITS: Final = 20  # from the listed picture to the one that is asked about


def _digest(algorithm: str, number: int) -> Hash:
    return Hash(algorithm, Random(f"{algorithm} {number}").randbytes(32 if algorithm == "PDQ" else 16))


def _near(h: Hash, bits: int) -> Hash:
    flips = sum(1 << b for b in _RANDOM.sample(range(256), bits))
    return Hash(h.algorithm, (int.from_bytes(h.digest) ^ flips).to_bytes(32))


def _record(external_id: str, h: Hash) -> Record:
    return Record(position=external_id, external_id=external_id, hashes=(h,))


def _contribute(hub: Hub, name: str, records: list[Record]) -> None:
    contributor, _, set_id = name.partition("/")
    source = hashlib.sha256(f"{name} {records[0].position}".encode()).hexdigest()
    opened = hub.contribute.open(
        _OPERATOR,
        Import(
            id="",
            contributor=contributor,
            hash_set=set_id,
            connector="bench",
            connector_version="1",
            source_digest=source,
        ),
    )
    for number, start in enumerate(range(0, len(records), 1_000)):
        hub.contribute.add(_OPERATOR, opened.id, number, records[start : start + 1_000], ())
    hub.contribute.commit(_OPERATOR, opened.id, batch_count=-(-len(records) // 1_000))


def _fill(hub: Hub, entries: int) -> dict[str, Query]:
    """List everything and return what is asked, by name."""
    for name, reliability in (("hotline", Reliability.A), ("flooder", Reliability.F)):
        kind = ContributorKind.HOTLINE
        hub.contributors.create(
            _OPERATOR,
            Contributor(id=name, display_name=name, kind=kind, jurisdiction="ZZ", reliability=reliability),
        )
    hidden = Marking(tlp=TLP.RED, recipients=("contributors/flooder",))
    for contributor, set_id, marking in (
        ("hotline", "list", Marking(bulk=True)),
        ("flooder", "hidden", hidden),
        ("flooder", "seen", Marking(bulk=True)),
    ):
        hub.hash_sets.create(_OPERATOR, HashSet(contributor=contributor, id=set_id, marking=marking))
    files, pictures = ([_digest(algorithm, i) for i in range(3)] for algorithm in ("MD5", "PDQ"))
    asked = [_near(h, _BITS) for h in pictures]
    _contribute(hub, "hotline/list", [_record(f"item {i}", h) for i, h in enumerate((*files, *pictures))])
    for i, set_id in ((1, "hidden"), (2, "seen")):
        _contribute(hub, f"flooder/{set_id}", [_record(f"file {n}", files[i]) for n in range(entries)])
        planted = {_near(asked[i], _RANDOM.randint(1, 11)).digest: None for _ in range(2 * entries)}
        _contribute(hub, f"flooder/{set_id}", [_record(f"p {n}", Hash("PDQ", d)) for n, d in enumerate(planted)])
    names = ("one entry", "a flood that it may not see", "a flood that it sees")
    return {
        f"{kind}: {name}": Query(hashes=(h,))
        for kind, hashes in (("exact", files), ("near", asked))
        for name, h in zip(names, hashes, strict=True)
    }


def _least(query: Query, ask: Callable[[Query], Verdict]) -> float:
    """Return the least milliseconds of some answers, all of which must be MATCH."""
    times = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        verdict = ask(query)
        times.append(1_000 * (time.perf_counter() - begun))
        assert verdict is Verdict.MATCH, verdict
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--database", default="", help="of PostgreSQL, empty; default: SQLite")
    given = parser.parse_args()
    options = MatchOptions(policy="any")
    with tempfile.TemporaryDirectory() as directory:
        place = {"database": given.database} if given.database else {}
        config = Config(data=f"{directory}/hub", listen="127.0.0.1:0", http="", poll_interval=0.05, **place)
        hub = Hub.open(config)
        doors = Listeners(hub, config)
        doors.start()
        hub.start()
        try:
            queries = _fill(hub, given.entries)
            follows = Principal(name="hook", role=Role.CONSUMER, contributor="hotline", may_mirror=True)
            _, secret = hub.tokens.create(_OPERATOR, follows)
            token_file = Path(directory) / "token"
            token_file.write_text(secret)
            choices = dict.fromkeys(("hub_away", "unreadable", "too_large", "no_perceptual_hash"), Action.HOLD)
            settings = HookSettings(
                policy="any",
                without_answer=WithoutAnswer(**choices),
                mode=Mode.LOCAL,
                hub=doors.grpc_address,
                token_file=str(token_file),
                data=f"{directory}/hook",
                local=LocalSettings(follow=False),
            )
            with Sync(settings) as sync:
                sync.update()
            judge = LocalJudge(settings)
            print(f"{'ms, least of ' + str(_ASKED):40}{'hub':>10}{'copy':>10}")
            for name, query in queries.items():
                of_hub = _least(query, lambda q: hub.match.hashes(_PLATFORM, [q], options)[0][0].verdict)
                of_copy = _least(query, lambda q: judge.judge(q).result.verdict)
                print(f"{name:40}{of_hub:10.2f}{of_copy:10.2f}")
            judge.close()
        finally:
            doors.close()
            hub.close()


if __name__ == "__main__":
    main()
