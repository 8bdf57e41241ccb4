"""What local mode costs a hook: the first sync, changes, a decision, memory.

    python -m bench.hook_local --entries 1000000 --digests 10000000

sync      `hashhub hook sync` of one hash set with VICS records, each with MD5 and SHA1, from nothing to matchable
changes   with `--follow`: 1,000 items are imported, and 1,000 entries withdrawn by one call; how long after the hub
          committed until another process's judge answers with the last of them, and no more with the last of these
decide    a judge over a copy of so many digests, half MD5 and half PDQ: a picture's hashes with three variants, which
          nothing is near, and one that an entry has; what `judge` takes, hashing not included; memory of a process

Hub, sync and judge share the machine. The copy of `decide` is written to its tables directly: through the feed it would
take as long as ten first syncs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench import result
from hashhub.client import Client
from hashhub.client.mirror import KeptPolicy
from hashhub.desk.settings import Mode
from hashhub.errors import HashHubError
from hashhub.hashes import Hash
from hashhub.hook import Action, HookSettings, WithoutAnswer
from hashhub.hook.local import LocalJudge, Sync
from hashhub.hook.settings import LocalSettings
from hashhub.model import (
    Contributor,
    ContributorKind,
    EntryAction,
    HashSet,
    Marking,
    Principal,
    Query,
    Role,
    Selection,
    VariantHashes,
    Verdict,
    WithdrawalReason,
    now,
)
from hashhub.store import Store
from hashhub.testing.hub_process import running_hub
from hashhub.testing.lists import write_many_vics

_TOKEN: Final = "hh_bench-hook"  # noqa: S105 - of a hub that ends with the bench
_CHANGES: Final = 1000
_HELD: Final = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.HOLD
)


def _settings(directory: Path, hub: str) -> HookSettings:
    (directory / "token").write_text(_TOKEN)
    return HookSettings(
        policy="any",
        without_answer=_HELD,
        mode=Mode.LOCAL,
        hub=hub,
        token_file=str(directory / "token"),
        data=str(directory / "hook"),
        local=LocalSettings(follow=False),
    )


def synced(entries: int, directory: Path) -> dict[str, Any]:
    """Fill a hub, sync from it, change it, and return what each took."""
    source, more = directory / "list.json", directory / "more.json"
    for path, count, seed in ((source, entries, result.SEED), (more, _CHANGES, result.SEED + 1)):
        with path.open("wb") as out:
            write_many_vics(out, count, seed=seed)
    with running_hub(directory / "hub") as hub, Client(hub.address, hub.token, timeout=300.0) as client:
        for name in ("bench", "reader"):
            client.create_contributor(
                Contributor(id=name, display_name=name, kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US")
            )
        client.create_hash_set(HashSet(contributor="bench", id="list", scheme="vic-us", marking=Marking(bulk=True)))
        client.import_source(source, connector="vics", hash_set="bench/list")
        with closing(Store.open(hub.data)) as store:
            who = Principal(name="bench-hook", role=Role.CONSUMER, contributor="reader", may_mirror=True)
            store.tokens.put_token(hashlib.sha256(_TOKEN.encode()).digest(), who)
        settings = _settings(directory, hub.address)
        own, server = result.cpu_seconds(), sum(map(result.cpu_seconds, result.family(hub.pid)))
        begun = time.perf_counter()
        with Sync(settings) as sync:
            sync.update()
            first = time.perf_counter() - begun
            state = sync.state()
        row: dict[str, Any] = {
            "entries": state.entries,
            "digests": state.index_digests,
            "first_seconds": first,
            "first_own_cpu_seconds": result.cpu_seconds() - own,
            "first_hub_cpu_seconds": sum(map(result.cpu_seconds, result.family(hub.pid))) - server,
        }
        follower = multiprocessing.get_context("spawn").Process(target=_follow, args=(settings,), daemon=True)
        follower.start()
        judge = LocalJudge(settings)
        try:
            row |= _changed(client, judge, more)
        finally:
            judge.close()
            follower.terminate()
            follower.join()
    return row


def _follow(settings: HookSettings) -> None:
    with Sync(settings) as sync:
        sync.follow()


def _changed(client: Client, judge: LocalJudge, more: Path) -> dict[str, float]:
    last = Query(hashes=(Hash("MD5", bytes.fromhex(more.read_text("ascii").rpartition('"MD5":"')[2][:32])),))
    # The follower has begun once it has heard of a change.
    client.create_contributor(
        Contributor(id="another", display_name="another", kind=ContributorKind.PLATFORM, jurisdiction="US")
    )
    revision = client.status().revision
    _until(lambda: judge.revision() >= revision)
    client.import_source(more, connector="vics", hash_set="bench/list")
    begun = time.perf_counter()
    _until(lambda: judge.judge(last).result.verdict is not Verdict.NO_MATCH)
    listed = time.perf_counter() - begun
    entry = judge.judge(last).result.matches[0].entry
    selection = Selection(hash_set="bench/list", imports=(f"bench/list/{entry.provenance.import_id}",))
    client.change_entries(selection, EntryAction.WITHDRAW, reason=WithdrawalReason.ERROR)
    begun = time.perf_counter()
    _until(lambda: judge.judge(last).result.verdict is Verdict.NO_MATCH)
    return {"listed_seconds": listed, "withdrawn_seconds": time.perf_counter() - begun}


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if is_so():
                return
        except HashHubError:
            pass
        time.sleep(0.005)
    raise SystemExit("a change did not reach the judge within two minutes")


def decided(digests: int, directory: Path, *, rounds: int) -> dict[str, Any]:
    """Write a copy of so many digests, and return what a decision over it takes."""
    settings = _settings(directory, "127.0.0.1:1")
    with Sync(settings) as sync:
        mirror = sync._mirror  # noqa: SLF001 - filled as the feed would
        _fill(mirror._db, digests // 2)  # noqa: SLF001 - likewise
        text = (Path(__file__).parents[1] / "hashhub" / "trust" / "data" / "any.toml").read_text("utf-8")
        mirror.put_policy(KeptPolicy(reference="any", name="any@1", text=text, fault="", time=now()))
        built = result.timed(sync._index.look)  # noqa: SLF001 - likewise
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        row: dict[str, Any] = pool.apply(_judge, (settings, digests // 2, rounds))
    return {"digests": digests, "index_seconds": built, **row}


def _judge(settings: HookSettings, entries: int, rounds: int) -> dict[str, float]:
    process = psutil.Process()
    before = process.memory_full_info()
    begun = time.perf_counter()
    judge = LocalJudge(settings)
    opened = time.perf_counter() - begun
    random = np.random.default_rng(result.SEED)

    def digest(algorithm: str, size: int) -> Hash:
        return Hash(algorithm, random.integers(0, 256, size, dtype=np.uint8).tobytes())

    def unknown() -> Query:
        return Query(
            hashes=(digest("MD5", 16), digest("SHA1", 20), digest("SHA256", 32), digest("PDQ", 32)),
            variants=tuple(VariantHashes(name, (digest("PDQ", 32),)) for name in ("trimmed", "content", "mirrored")),
        )

    known = [_hashes(int(n)) for n in random.integers(1, entries, rounds)]
    misses = _times(judge, [unknown() for _ in range(rounds)], Verdict.NO_MATCH)
    hits = _times(judge, [Query(hashes=(Hash("MD5", md5), Hash("PDQ", pdq))) for md5, pdq in known], None)
    after = process.memory_full_info()
    judge.close()
    return {
        "open_seconds": opened,
        "miss_p50_ms": float(np.percentile(misses, 50)) * 1e3,
        "miss_p99_ms": float(np.percentile(misses, 99)) * 1e3,
        "hit_p50_ms": float(np.percentile(hits, 50)) * 1e3,
        "hit_p99_ms": float(np.percentile(hits, 99)) * 1e3,
        "private_mib": (after.uss - before.uss) / 2**20,
        "resident_mib": (after.rss - before.rss) / 2**20,
    }


def _times(judge: LocalJudge, queries: list[Query], verdict: Verdict | None) -> list[float]:
    times = []
    for query in queries:
        begun = time.perf_counter()
        answer = judge.judge(query).result
        times.append(time.perf_counter() - begun)
        if (answer.verdict is verdict) is (verdict is None) or (verdict is None and not answer.matches):
            raise SystemExit(f"an answer is wrong: {answer.verdict}")
    return times


def _hashes(number: int) -> tuple[bytes, bytes]:
    pdq = hashlib.sha256(b"%d" % number).digest()
    return hashlib.md5(pdq, usedforsecurity=False).digest(), pdq


def _fill(db: sqlite3.Connection, entries: int) -> None:
    at = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    db.execute("BEGIN")
    db.execute(
        "INSERT INTO contributor VALUES ('bench', 'Bench', 'HOTLINE', 'NL', 'B', '[]', NULL, 0, 1)",
    )
    db.execute(
        "INSERT INTO hash_set VALUES (1, 'bench/list', 'bench', '', '', 'CSAM', 0, 'LISTED', 0, 'GREEN', '[]', '', 0, "
        "'[]', 0, 1, NULL, 1)"
    )
    source = "contributors/bench/hashSets/list/imports/one"
    db.execute("INSERT INTO source VALUES (1, ?, 'bench', '1', '')", (source,))

    def rows() -> Iterator[tuple[Any, ...]]:
        empty = (None,) * 6
        for n in range(1, entries + 1):
            yield (n, 1, 1, f"line {n}", "", "", *empty, "", None, "", "[]", 90, "", None, "[]", 5, 5, 1)

    def hashes() -> Iterator[tuple[int, str, bytes]]:
        for n in range(1, entries + 1):
            md5, pdq = _hashes(n)
            yield n, "MD5", md5
            yield n, "PDQ", pdq

    db.executemany(f"INSERT INTO entry VALUES ({', '.join('?' * 23)})", rows())
    db.executemany("INSERT INTO hash VALUES (?, ?, ?)", hashes())
    db.execute("CREATE INDEX IF NOT EXISTS hash_digest ON hash (digest, algorithm)")
    db.execute(
        "UPDATE meta SET revision = 5, complete = 1, complete_revision = 5, complete_time = ?, answer_time = ?",
        (at, at),
    )
    db.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="entries of the hub; 0: skip (100,000)")
    parser.add_argument("--digests", type=int, default=1_000_000, help="digests of the copy; 0: skip (1,000,000)")
    parser.add_argument("--rounds", type=int, default=2_000, help="decisions of each kind (2,000)")
    parser.add_argument("--keep", help="directory in which the copy of `decide` stays; default: none, it is dropped")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/hook_local.json")
    options = parser.parse_args()
    row: dict[str, Any] = {}
    if options.entries:
        with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
            row |= {f"sync_{k}": v for k, v in synced(options.entries, Path(directory)).items()}
    if options.digests:
        dropped = tempfile.TemporaryDirectory(prefix="hashhub-bench-")
        with nullcontext(options.keep) if options.keep else dropped as directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            decisions = decided(options.digests, Path(directory), rounds=options.rounds)
        row |= {f"decide_{k}": v for k, v in decisions.items()}
    print(json.dumps({k: result.rounded(v) for k, v in row.items()}, indent=1), flush=True)
    asked = {"entries": options.entries, "digests": options.digests, "rounds": options.rounds}
    result.save("hook_local", asked, [row], out=options.out, packages=("grpcio", "protobuf", "numba", "numpy"))


if __name__ == "__main__":
    main()
