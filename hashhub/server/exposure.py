"""Whether what a hub listens on may be reached from other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub.addresses import is_loopback_host, parse_address
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from hashhub.config import Config


def check_exposure(config: Config) -> None:
    """Raise InvalidArgument when a listener would be open to other machines in clear text and nobody said that this is
    intended.
    """
    for field, address, secured in (
        ("listen", config.listen, bool(config.tls_certificate)),
        ("http", config.http, False),
    ):
        if not address or secured or config.insecure_listen or is_loopback_host(parse_address(field, address)[0]):
            continue
        remedy = (
            "set tls_certificate and tls_key"
            if field == "listen"
            else "keep it on 127.0.0.1 (it speaks no TLS of its own), or leave it out"
        )
        raise InvalidArgument.field(
            field,
            f"{address} is reachable from other machines, and tokens and hashes would cross the network in clear text: "
            f"{remedy}; "
            "or, if a proxy in front ends TLS, say so with insecure_listen",
            "INSECURE",
        )
