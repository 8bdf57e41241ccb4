"""How fast a local copy takes a hub in, how fast it follows, and how soon changed terms hold.

    python -m bench.mirror --entries 1000000

first     `hashhub mirror` of one hash set with VICS records, each with MD5 and SHA1, from nothing to complete
changes   1,000 entries withdrawn by hand, one by one; then how long the copy takes to have all of them
list      an import of 1,000 further items; likewise
terms     the recipients of the hash set are changed; for each of two workers, on a connection of its own, how long
          after the call began the first answer comes that no longer knows the entry, and the slowest look-up
          meanwhile. Look-ups go on all the time.

Server and copy share the machine. The hub is filled by an import, as a contributor fills it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil

from bench import result
from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, HashSet, Marking, Principal, Role
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

_MIRROR: Final = "hh_bench-mirror"
_LOOKUP: Final = "hh_bench-lookup"
_CHANGES: Final = 1000


def measure(entries: int, directory: Path) -> dict[str, Any]:
    """Fill a hub, copy it, change it, and return what each took."""
    source, more = directory / "list.json", directory / "more.json"
    with source.open("wb") as out:
        write_many_vics(out, entries, seed=result.SEED)
    with more.open("wb") as out:
        write_many_vics(out, _CHANGES, seed=result.SEED + 1)
    with (
        running_hub(directory / "hub", "--workers", "2") as hub,
        Client(hub.address, hub.token, timeout=120.0) as client,
    ):
        for name in ("bench", "reader"):
            client.create_contributor(
                Contributor(id=name, display_name=name, kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US")
            )
        client.create_hash_set(HashSet(contributor="bench", id="list", scheme="vic-us"))
        client.import_source(source, connector="vics", hash_set="bench/list")
        with closing(Store.open(hub.data)) as store:
            # An auditor's, so that the figures do not depend on terms; what terms cost is told by `terms`.
            mirror = Principal(name="bench-mirror", role=Role.AUDITOR, contributor="reader", may_mirror=True)
            lookup = Principal(name="bench-lookup", role=Role.CONSUMER, contributor="reader")
            for secret, who in ((_MIRROR, mirror), (_LOOKUP, lookup)):
                store.tokens.put_token(hashlib.sha256(secret.encode()).digest(), who)
        with Client(hub.address, _MIRROR) as reader, reader.mirror(directory / "copy") as copy:
            server = sum(map(result.cpu_seconds, result.family(hub.pid)))
            own = result.cpu_seconds()
            first = result.timed(copy.update)
            cpu = sum(map(result.cpu_seconds, result.family(hub.pid))) - server, result.cpu_seconds() - own
            assert copy.state().entries == entries
            with closing(Store.open(hub.data)) as store:
                ids = store.entries.active_ids("bench", "list")[:: max(1, entries // _CHANGES)][:_CHANGES]
                for i in ids.tolist():
                    store.transitions.withdraw([i], "FALSE_POSITIVE")
            changes = result.timed(copy.update)
            assert copy.state().entries == entries - len(ids)
            client.import_source(more, connector="vics", hash_set="bench/list")
            imported = result.timed(copy.update)
            assert copy.state().entries == entries - len(ids) + _CHANGES
        return {
            "entries": entries,
            "first_seconds": first,
            "entries_per_second": entries / first,
            "first_server_cpu_seconds": cpu[0],
            "first_copy_cpu_seconds": cpu[1],
            "copy_mib": (directory / "copy" / "mirror.db").stat().st_size / 2**20,
            "changes_seconds": changes,
            "list_seconds": imported,
            **_terms(hub, client, _md5(more)),
        }


def _terms(hub: RunningHub, client: Client, md5: bytes) -> dict[str, Any]:
    """Hide the hash set from the reader, and return for each worker how soon it no longer answers with it."""
    workers = _connections(hub, 2)
    hidden = dict.fromkeys(workers, 0.0)
    slowest = dict.fromkeys(workers, 0.0)
    counts = dict.fromkeys(workers, 0)
    begun = threading.Event()
    start = 0.0

    def look(worker: str) -> None:
        while not hidden[worker]:
            at = time.perf_counter()
            knows = _knows(workers[worker], md5)
            took = time.perf_counter() - at
            counts[worker] += 1
            if begun.is_set():
                slowest[worker] = max(slowest[worker], took)
                if not knows:
                    hidden[worker] = time.perf_counter() - start
            else:
                assert knows, "the entry should match before the terms change"

    threads = [threading.Thread(target=look, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    start = time.perf_counter()
    begun.set()
    marking = Marking(recipients=("contributors/bench",))
    client.update_hash_set(HashSet(contributor="bench", id="list", marking=marking), ["marking"])
    call = time.perf_counter() - start
    for thread in threads:
        thread.join(30)
    return {
        "terms_call_seconds": call,
        "terms_worker_seconds": max(hidden.values()),
        "terms_first_worker_seconds": min(hidden.values()),
        "terms_slowest_lookup_seconds": max(slowest.values()),
        "terms_lookups": sum(counts.values()),
    }


def _connections(hub: RunningHub, count: int) -> dict[str, http.client.HTTPConnection]:
    """Return kept-alive connections to the HTTP door, by the worker that took each."""
    host, _, port = hub.http.rpartition(":")
    by_worker: dict[str, http.client.HTTPConnection] = {}
    for _ in range(200):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        _knows(connection, bytes(16))
        worker = _process_at(hub, connection)
        if worker is None or worker in by_worker:
            connection.close()
            continue
        by_worker[worker] = connection
        if len(by_worker) == count:
            return by_worker
    raise SystemExit("all connections went to one worker")


def _process_at(hub: RunningHub, connection: http.client.HTTPConnection) -> str | None:
    """Return which of the hub's processes has the other end of a connection."""
    ours = connection.sock.getsockname()
    for pid in result.family(hub.pid):
        for one in psutil.Process(pid).net_connections("tcp"):
            if one.raddr and tuple(one.raddr) == ours:
                return str(pid)
    return None


def _knows(connection: http.client.HTTPConnection, md5: bytes) -> bool:
    digest = base64.b64encode(md5).decode()
    body = json.dumps({"query": {"hashes": [{"algorithm": "MD5", "digest": digest}]}, "options": {"policy": "any"}})
    headers = {"Authorization": f"Bearer {_LOOKUP}", "Content-Type": "application/json"}
    connection.request("POST", "/hashhub.v1.MatchService/MatchHashes", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        raise SystemExit(f"a look-up failed: {text.decode()[:300]}")
    verdict: str = json.loads(text)["result"]["verdict"]
    return verdict != "VERDICT_NO_MATCH"


def _md5(source: Path) -> bytes:
    return bytes.fromhex(source.read_text("ascii").rpartition('"MD5":"')[2][:32])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="entries in the hash set (100,000)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/mirror.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
        row = measure(options.entries, Path(directory))
    print(json.dumps({k: result.rounded(v) for k, v in row.items()}, indent=1), flush=True)
    packages = ("grpcio", "protobuf", "msgspec", "sqlalchemy", "pyroaring")
    result.save("mirror", {"entries": options.entries}, [row], out=options.out, packages=packages)


if __name__ == "__main__":
    main()
