"""Addresses that a process listens on: how they are written, what stays on this machine, and how they are taken."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import Final

from hashhub.errors import FailedPrecondition, InvalidArgument, Reason

WEB_URL: Final = re.compile(  # https, or http on this machine
    r"""(https://([\w.-]+|\[[\da-fA-F:]+\])|http://(localhost|127\.0\.0\.1|\[::1\]))(:[1-9]\d{0,4})?(/[!"$-~]*)?""",
    re.ASCII,
)


def parse_address(field: str, address: str, *, usual_port: int = 8470) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises InvalidArgument, whose example has `usual_port`."""
    host, colon, port = address.rpartition(":")
    if colon and host and port.isdecimal() and int(port) < 1 << 16 and (":" not in host or host.startswith("[")):
        host = host.strip("[]")
        with suppress(UnicodeError):
            host.encode("idna")  # as it is when it is looked up, which nobody expects to fail so
            return host, int(port)
    raise InvalidArgument.field(
        field,
        f"must be HOST:PORT, such as 127.0.0.1:{usual_port} or [::1]:{usual_port}, got {address[:80]!r}",
        "PATTERN",
    )


def bind(field: str, address: str, *, shared: bool = False) -> socket.socket:
    """Return a bound socket, which others may bind too if `shared`. Raises FailedPrecondition where it cannot be."""
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
        f"cannot listen on {address} ({field}): another program uses it, or it is not this machine's; "
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


def is_loopback_host(host: str) -> bool:
    """Whether what is sent to a host cannot leave this machine. Names other than `localhost` are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name can mean any address, and another one tomorrow


def is_this_machine(host: str) -> bool:
    """Whether every address of a host is one of this machine's own."""
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        for family, kind, _, _, address in addresses:
            with socket.socket(family, kind) as own:
                own.bind(address)
    except (OSError, UnicodeError):
        return False
    return bool(addresses)
