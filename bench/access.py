"""What it costs a call to find out who calls and whether they may, by each proof.

    python -m bench.access

The server's own pipeline makes a call that does nothing. `added_us` is the difference of medians to the same call where
who calls is known beforehand; kinds are made in turn, so that they meet the same machine. `first_us` is the median of
looking up a proof that was not seen before, which a call waits for once: on SQLite, and with the signature of an ID
token or the chain's names in a certificate. No network is asked in either.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from bench import result
from hashhub import v1
from hashhub.authority import Authority
from hashhub.config import Config
from hashhub.hub import Hub
from hashhub.model import SYSTEM, Contributor, ContributorKind, Principal, Role
from hashhub.server import servicers
from hashhub.server.admission import TokenQuotas, limiters_of
from hashhub.server.metrics import Metrics
from hashhub.server.pipeline import Envelope, Pipeline
from tests.server.issuer import AUDIENCE, Issuer, issuing

TARGET_US: Final = 50.0
_NAME: Final = "URI:spiffe://bench.example/machine"
_OPERATOR: Final = Principal(name=SYSTEM.name, role=Role.OPERATOR)
_PROOFS: Final = (
    "token",
    "token, of a network",
    "certificate",
    "session by certificate",
    "ID token",
    "session by login",
)
_BEGINS: Final = {"certificate": "session by certificate", "ID token": "session by login"}


def proofs(hub: Hub, issuer: Issuer, authority: Authority, count: int) -> dict[str, list[str | bytes]]:
    """Return as many new proofs of each kind; none of them was looked up before."""
    hub.contributors.create(
        _OPERATOR, Contributor(id="home", display_name="Home", kind=ContributorKind.HOTLINE, jurisdiction="GB")
    )
    sent: dict[str, list[str | bytes]] = defaultdict(list)

    def create(name: str, identities: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> str:
        made = Principal(
            name=name, role=Role.CONTRIBUTOR, contributor="home", identities=identities, addresses=addresses
        )
        return hub.tokens.create(_OPERATOR, made)[1]

    create("machines", identities=(_NAME,))
    create("people", identities=("OIDC:analysts",))
    for number in range(count):
        sent["token"].append(create(f"token-{number}"))
        sent["token, of a network"].append(create(f"office-{number}", addresses=("192.0.2.0/24", "127.0.0.0/8")))
        sent["certificate"].append(authority.issue(f"m{number}", [_NAME], days=1).read_bytes())
        sent["ID token"].append(issuer.token(sub=f"u{number}", preferred_username="Ada"))
    return sent


def first(hub: Hub, sent: dict[str, list[str | bytes]]) -> dict[str, float]:
    """Return the median microseconds of the first look at proofs, and add the sessions that they begin."""
    took: dict[str, list[float]] = defaultdict(list)
    for kind in _PROOFS:
        for proof in sent[kind]:
            took[kind].append(result.timed(functools.partial(hub.tokens.authenticate, proof)))
            if begun := _BEGINS.get(kind):
                sent[begun].append(hub.tokens.begin_session(hub.tokens.authenticate(proof))[0])
    return {kind: float(np.median(seconds)) * 1e6 for kind, seconds in took.items()}


def warm(hub: Hub, config: Config, sent: dict[str, list[str | bytes]], count: int) -> dict[str, list[float]]:
    """Return the seconds of so many calls by each kind, and of those that ask nothing (`none`)."""
    begin = servicers.methods(hub, lambda: False, config.max_message_bytes)["/hashhub.v1.AdminService/BeginSession"]
    answer = v1.BeginSessionResponse()
    method = dataclasses.replace(begin, at_once=lambda *_: answer)
    known = hub.tokens.authenticate(sent["token"][0])

    def pipeline(authenticate: Callable[..., Principal], recall: Callable[..., Principal | None]) -> Pipeline:
        quotas = TokenQuotas(config, cores=os.cpu_count() or 1)
        return Pipeline(authenticate, Metrics(), limiters_of(config), quotas, recall)

    asking = pipeline(hub.tokens.authenticate, hub.tokens.recall)
    by_kind = {"none": (pipeline(lambda _: known, lambda _: known), sent["token"][0])}
    by_kind |= {kind: (asking, sent[kind][0]) for kind in _PROOFS}
    took: dict[str, list[float]] = {kind: [] for kind in by_kind}

    async def receive(_: str) -> bytes:
        return b""

    async def run() -> None:
        for _ in range(count):
            for kind, (through, proof) in by_kind.items():
                secret, certificate = ("", proof) if isinstance(proof, bytes) else (f"Bearer {proof}", b"")
                envelope = Envelope(secret, lambda: "ipv4:127.0.0.1:1", certificate, size=0)
                start = time.perf_counter()
                await through.call(
                    method, envelope, receive, method.request.FromString, v1.BeginSessionResponse.SerializeToString
                )
                took[kind].append(time.perf_counter() - start)

    asyncio.run(run())
    asking.close()
    by_kind["none"][0].close()
    return took


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="by each proof")
    parser.add_argument("--proofs", type=int, default=200, help="of each kind, for the first look")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/access.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory, issuing() as issuer:
        ca = Path(directory, "ca")
        authority = Authority.create(ca, "bench")
        authority.issue("hub", ["DNS:localhost"], days=1, server=True)
        config = Config(
            data=str(Path(directory, "data")),
            listen_certificates="127.0.0.1:0",
            tls_certificate=str(ca / "hub.pem"),
            tls_key=str(ca / "hub.key"),
            tls_client_ca=str(ca / "authority.pem"),
            tls_client_revoked=str(ca / "revoked.pem"),
            oidc_issuer=issuer.url,
            oidc_audience=AUDIENCE,
        )
        hub = Hub.open(config)
        try:
            assert hub.people is not None
            hub.people.read_keys()
            sent = proofs(hub, issuer, authority, arguments.proofs)
            first_us = first(hub, sent)
            took = {
                kind: result.percentiles(seconds) for kind, seconds in warm(hub, config, sent, arguments.calls).items()
            }
        finally:
            hub.close()
    nothing = took["none"]["p50_us"]
    rows = [
        {
            "proof": kind,
            "added_us": took[kind]["p50_us"] - nothing,
            "target_us": TARGET_US,
            "call_p50_us": took[kind]["p50_us"],
            "call_p99_us": took[kind]["p99_us"],
            "first_us": first_us[kind],
        }
        for kind in _PROOFS
    ]
    result.show([*rows, {"proof": "none", "call_p50_us": nothing, "call_p99_us": took["none"]["p99_us"]}])
    parameters = {"calls": arguments.calls, "proofs": arguments.proofs, "none_p50_us": nothing}
    packages = ("cryptography", "joserfc", "msgspec")
    result.save("access", parameters, rows, out=arguments.out, packages=packages)


if __name__ == "__main__":
    main()
