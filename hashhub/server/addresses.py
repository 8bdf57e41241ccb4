"""Addresses that a hub listens on: how they are written, whether they are safe, and how they are taken."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from hashhub.errors import FailedPrecondition, InvalidArgument, Reason

if TYPE_CHECKING:
    from hashhub.config import Config


def parse_address(field: str, address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises InvalidArgument."""
    host, colon, port = address.rpartition(":")
    if colon and host and port.isdecimal() and int(port) < 1 << 16 and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    raise InvalidArgument.field(
        field, f"must be HOST:PORT, such as 127.0.0.1:8470 or [::1]:8470, got {address[:80]!r}", "PATTERN"
    )


def check_exposure(config: Config) -> None:
    """Raise InvalidArgument when a door would be open to other machines in clear text and nobody said that this is
    intended.
    """
    for field, address, secured in (
        ("listen", config.listen, bool(config.tls_certificate)),
        ("http", config.http, False),
    ):
        if not address or secured or config.insecure_listen or _is_loopback(parse_address(field, address)[0]):
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


def bind(field: str, address: str, *, shared: bool) -> socket.socket:
    """Return a socket bound to the address. Raises FailedPrecondition when it is taken or not this machine's."""
    host, port = parse_address(field, address)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as e:
        raise taken(field, address) from e
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(where)
    except OSError as e:
        bound.close()
        raise taken(field, address) from e
    return bound


def taken(field: str, address: str) -> FailedPrecondition:
    """Return the error for an address that cannot be listened on."""
    return FailedPrecondition(
        f"cannot listen on {address} ({field}): another program uses the port, or the address is not this machine's; "
        "stop the other program or choose another address",
        reason=Reason.ADDRESS_IN_USE,
        metadata={"address": address},
    )


def with_port(field: str, address: str, port: int) -> str:
    """Return the address with another port."""
    return shown(parse_address(field, address)[0], port)


def shown(host: str, port: int) -> str:
    """Return `HOST:PORT`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name can mean any address, and another one tomorrow
