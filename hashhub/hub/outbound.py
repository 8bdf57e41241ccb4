"""Calls out of the hub: one signed POST to a place that a stranger named.

Whoever registers a webhook may want it to call what only the hub can reach. So a call goes to public addresses only,
unless the operator allowed more:

    url ──check──> host, port ──resolve──> addresses ──every one must be public──> connect to one of these, as checked

The name is resolved once. No proxy, no redirect and no cookie; TLS is verified against the machine's authorities. Of
the answer only the status is read. All of it together takes SECONDS at most, but for the machine's own resolver.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import hashhub
from hashhub.errors import InvalidArgument, LimitExceeded, Reason
from hashhub.model import DeliveryError

SECONDS: Final = 10.0
DOWNLOAD_SECONDS: Final = 30.0  # as at HMA
_PIECE: Final = 64 * 1024
_HEAD_BYTES: Final = 16_384  # of an answer and what is sent ahead of it: more than any server says before its body
_ADDRESSES: Final = 4  # of one host that are tried
_URL: Final = re.compile(r"https?://[!-~]+")  # printable ASCII: nothing in it ends a line of a request
_UNSAFE: Final = re.compile(r"[\\\"<>^`{|}]")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r?\n)")
_RETRY_AFTER: Final = re.compile(rb"\nretry-after:[ \t]*([0-9]{1,6})[ \t]*\r?\n", re.IGNORECASE)
_INTERIM: Final = range(100, 200)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What is public by the registries of IANA is `is_global`. These are not to be called either: protocol assignments, the
# old anycast relay of 6to4, what was never given out, and Azure's host agent, which has a public address.
_REFUSED: Final = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "168.63.129.16/32"))
)
# Of IPv6 nothing but what is given out as global unicast, which leaves out NAT64 and addresses with one of IPv4 inside;
# and of that not Teredo and 6to4, which have one inside, too, and what stands in documentation.
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")
_TUNNELS: Final = tuple(map(ipaddress.ip_network, ("2001::/23", "2002::/16", "3fff::/20")))


class CallOutcome(NamedTuple):
    """What came of a call. `status`: HTTP's, 0 where none came; `retry_after`: seconds that the answer asks for."""

    status: int
    error: DeliveryError | None
    retry_after: float = 0.0


class Target(NamedTuple):
    """Where a URL leads: `authority` is what the request names as its host."""

    is_tls: bool
    host: str
    port: int
    authority: str
    path: str


class _AllowedTarget(NamedTuple):
    host: str  # empty: a network
    network: _Network | None
    port: int  # 0: those of the setting


class Outbound:
    """Calls within what the operator's settings allow."""

    def __init__(
        self,
        allow: str = "",
        deny: str = "",
        ports: str = "443",
        *,
        resolve: Callable[[str, int], list[str]] | None = None,
    ) -> None:
        """The settings of the same names, lists with commas. Raises InvalidArgument for one that cannot be read."""
        self._allowed = tuple(_allowed(item, "webhook_allow") for item in _items(allow))
        self._denied = tuple(_network(item, "webhook_deny") for item in _items(deny))
        self.ports = frozenset(_port(item, "webhook_ports") for item in _items(ports))
        self._resolve = resolve or _resolve
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def check(self, url: str, field: str = "url") -> Target:
        """Return where a URL leads. Raises InvalidArgument for one that is never called."""
        expected = "must be https://HOST/PATH in ASCII, without a user, a fragment or spaces"
        if not _URL.fullmatch(url) or _UNSAFE.search(url) or "#" in url:
            raise InvalidArgument.field(field, expected, "URL")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as e:
            raise InvalidArgument.field(field, expected, "URL") from e
        if not host or parts.username is not None or parts.password is not None or "%" in host:
            raise InvalidArgument.field(field, expected, "URL")
        is_tls = parts.scheme == "https"
        port = port if port is not None else 443 if is_tls else 80
        # Plain http is tried to a host that is allowed; that it is this machine is seen with the call.
        if not is_tls and not self._is_named(host, {0, port}):
            raise InvalidArgument.field(field, "must begin with https://: what it tells is for nobody else", "URL")
        if port not in self.ports and not self._is_named(host, {port}):
            told = ", ".join(map(str, sorted(self.ports)))
            told = f"must use port {told}, got {port}; the operator's setting webhook_ports allows others"
            raise InvalidArgument.field(field, told, "URL")
        name = f"[{host}]" if ":" in host else host
        default = port == (443 if is_tls else 80)
        query = f"?{parts.query}" if parts.query else ""
        return Target(is_tls, host, port, name if default else f"{name}:{port}", (parts.path or "/") + query)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> CallOutcome:
        """Make a call; whatever goes wrong is in the outcome."""
        try:
            target = self.check(url)
        except InvalidArgument:  # the settings have changed since it was registered
            return CallOutcome(0, DeliveryError.ADDRESS_NOT_ALLOWED)
        given = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        return self._send(target, _head("POST", target, given) + body, SECONDS)

    def ask(self, url: str, body: bytes, most_bytes: int) -> tuple[CallOutcome, bytes]:
        """Make a call with a text, and return the answer's body as well, whatever its status: its first bytes."""
        target = self.check(url)
        answer = _AnswerBody(most_bytes, "POST")
        head = _head("POST", target, {"content-type": "text/plain", "content-length": str(len(body))})
        outcome = self._send(target, head + body, SECONDS, answer)
        return outcome, bytes(answer.body[:most_bytes])

    def get(self, target: Target, seconds: float, read: Callable[[socket.socket, float], CallOutcome]) -> CallOutcome:
        """Ask for what stands at a checked target; `read` takes the answer. Whatever goes wrong is in the outcome."""
        return self._send(target, _head("GET", target, {"accept": "*/*", "accept-encoding": "identity"}), seconds, read)

    def _send(
        self,
        target: Target,
        request: bytes,
        seconds: float,
        read: Callable[[socket.socket, float], CallOutcome] | None = None,
    ) -> CallOutcome:
        deadline = time.monotonic() + seconds
        addresses = self._addresses(target)
        if not addresses:
            return CallOutcome(0, DeliveryError.ADDRESS_NOT_ALLOWED)
        outcome = CallOutcome(0, DeliveryError.CONNECT_FAILED)
        for address in addresses[:_ADDRESSES]:
            if time.monotonic() >= deadline:
                return CallOutcome(0, DeliveryError.TIMED_OUT)
            outcome = self.call(target, address, request, deadline, read)
            if outcome.error is not DeliveryError.CONNECT_FAILED:
                break
        return outcome

    def close(self) -> None:
        """End the calls that are being made."""
        with self._lock:
            self._is_closed = True
            for raw in self._open:
                with suppress(OSError):
                    raw.shutdown(socket.SHUT_RDWR)

    def _addresses(self, target: Target) -> list[_Address]:
        """Return the addresses of the host; none if one of them may not be called, or there is none."""
        try:
            known = [ipaddress.ip_address(text) for text in self._resolve(target.host, target.port)]
        except (OSError, ValueError):
            return []
        addresses = list(dict.fromkeys(known))
        if any(not self._may_call(target, address) for address in addresses):
            return []
        return addresses

    def _may_call(self, target: Target, address: _Address) -> bool:
        if any(address.version == network.version and address in network for network in self._denied):
            return False
        is_allowed = self._is_allowed(target, address)
        if not target.is_tls:
            return is_allowed and address.is_loopback
        return is_allowed or (is_public(address) and not is_own(address, target.port))

    def _is_allowed(self, target: Target, address: _Address) -> bool:
        """Whether the operator allowed this host, if its address is an ordinary one, or network."""
        for item in self._allowed:
            if item.port not in {0, target.port}:
                continue
            if item.network is not None and item.network.version == address.version and address in item.network:
                return True
            if item.host == target.host and not (
                address.is_link_local or address.is_multicast or address.is_unspecified
            ):
                return True
        return False

    def _is_named(self, host: str, ports: Collection[int]) -> bool:
        """Whether the operator allowed this host, by its name or as an address, with one of the ports."""
        return any(i.port in ports and (i.host == host or _is_literal_in(host, i.network)) for i in self._allowed)

    def call(
        self,
        target: Target,
        address: _Address,
        request: bytes,
        deadline: float,
        read: Callable[[socket.socket, float], CallOutcome] | None = None,
    ) -> CallOutcome:
        """Send a request to a checked address of the target, until the deadline. `read`: reads the answer; None: its
        status alone is read.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP's version
        try:
            plain = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            return CallOutcome(0, DeliveryError.CONNECT_FAILED)
        raw = plain.dup()  # outlives the wrapping by TLS, so that `close` can end it from another thread
        with self._lock:
            self._open.add(raw)
            if self._is_closed:
                with suppress(OSError):
                    raw.shutdown(socket.SHUT_RDWR)
        step = DeliveryError.CONNECT_FAILED
        connection: socket.socket = plain
        try:
            plain.settimeout(_left(deadline))
            plain.connect((str(address), target.port))
            step = DeliveryError.TLS_FAILED
            if target.is_tls:
                plain.settimeout(_left(deadline))
                connection = ssl.create_default_context().wrap_socket(plain, server_hostname=target.host)
            step = DeliveryError.NOT_HTTP
            connection.settimeout(_left(deadline))
            connection.sendall(request)
            return (read or _answer)(connection, deadline)
        except TimeoutError:
            return CallOutcome(0, DeliveryError.TIMED_OUT)
        except (OSError, ValueError):  # ValueError: a host name that TLS cannot ask for
            return CallOutcome(0, step)
        finally:
            with self._lock:
                self._open.discard(raw)
            raw.close()
            connection.close()
            plain.close()


def _head(verb: str, target: Target, headers: Mapping[str, str]) -> bytes:
    head = {"host": target.authority, "user-agent": f"hashhub/{hashhub.__version__}", "connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"{verb} {target.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


class Downloads:
    """Files at addresses that callers name, of hosts that the operator names."""

    def __init__(
        self, hosts: str, deny: str, most_bytes: int, *, resolve: Callable[[str, int], list[str]] | None = None
    ) -> None:
        """`hosts`: the setting hma_url_hosts; `deny`: webhook_deny. Raises InvalidArgument for one that cannot be read.

        A host that is named must have public addresses, wherever its name leads; an address or a network is taken at
        its word.
        """
        items = {item: _allowed(item, "hma_url_hosts") for item in _items(hosts)}
        self._named = tuple(items.values())
        literal = ",".join(item for item, target in items.items() if target.network is not None)
        ports = {443, *(target.port for target in self._named if target.port)}
        self._outbound = Outbound(literal, deny, ",".join(map(str, ports)), resolve=resolve)
        self._most_bytes = most_bytes

    def get(self, url: str) -> tuple[bytes, str]:
        """Return the bytes and the media type of what stands at a URL. Raises InvalidArgument, LimitExceeded."""
        self._check_named(url)
        target = self._outbound.check(url)
        answer = _AnswerBody(self._most_bytes, "GET")
        outcome = self._outbound.get(target, DOWNLOAD_SECONDS, answer)
        if outcome.error is not None:
            told = f"status {outcome.status}" if outcome.error is DeliveryError.STATUS else str(outcome.error)
            raise InvalidArgument.field("url", f"Failed to fetch URL: {told}; check it, or send the file", "URL")
        if len(answer.body) > self._most_bytes:
            told = f"what stands at the URL has more than {self._most_bytes} bytes; send smaller files"
            raise LimitExceeded(told, reason=Reason.TOO_LARGE)
        return bytes(answer.body), answer.media_type

    def close(self) -> None:
        """End what is being fetched."""
        self._outbound.close()

    def _check_named(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
            usual = 443 if parts.scheme == "https" else 80
        except ValueError:
            host, port, usual = "", None, 0
        for item in self._named:
            is_meant = bool(host) and (item.host == host or _is_literal_in(host, item.network))
            if is_meant and (port or usual) == (item.port or usual):
                return
        told = "Invalid or unsafe URL provided: its host is none that the operator names (hma_url_hosts)"
        raise InvalidArgument.field("url", told, "URL")


class _AnswerBody:
    """Reads an answer: its media type, and of its body up to `most_bytes` and a piece more; that of GET only if it is
    what was asked for.
    """

    def __init__(self, most_bytes: int, verb: str) -> None:
        self._most_bytes, self._verb = most_bytes, verb
        self.body = bytearray()
        self.media_type = ""

    def __call__(self, connection: socket.socket, deadline: float) -> CallOutcome:
        self.body.clear()
        try:
            answer = http.client.HTTPResponse(_TimedSocket(connection, deadline), method=self._verb)  # type: ignore[arg-type]
            answer.begin()
            is_wanted = answer.status == 200 or self._verb != "GET"  # noqa: PLR2004 - HTTP's OK
            while is_wanted and len(self.body) <= self._most_bytes and (piece := answer.read(_PIECE)):
                self.body.extend(piece)
        except http.client.HTTPException:
            return CallOutcome(0, DeliveryError.NOT_HTTP)
        self.media_type = answer.headers.get_content_type()
        is_whole = answer.length in {None, 0} or len(self.body) > self._most_bytes
        error = DeliveryError.STATUS if answer.status != 200 else None if is_whole else DeliveryError.NOT_HTTP  # noqa: PLR2004
        return CallOutcome(answer.status, error)


class _TimedSocket:
    """A socket from which an answer is read until a deadline, however slowly it comes."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._connection, self._deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(into)


def is_public(address: _Address) -> bool:
    """Whether an address is one of the Internet's, where everybody stands outside."""
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL_V6 and address.is_global and not any(address in network for network in _TUNNELS)
    return address.is_global and not address.is_multicast and not any(address in network for network in _REFUSED)


def is_own(address: _Address, port: int) -> bool:
    """Whether an address is one of this machine's: nothing is sent to find that out."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP's version
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), port))
            own: str = probe.getsockname()[0]
            return ipaddress.ip_address(own.partition("%")[0]) == address
    except OSError:
        return False


def _answer(connection: socket.socket, deadline: float) -> CallOutcome:
    """Read an answer's status, and nothing behind its head."""
    head, begin = b"", 0
    while True:
        end = head.find(b"\r\n\r\n", begin)
        if end >= 0:
            status = _STATUS.match(head, begin)
            if status is None:
                return CallOutcome(0, DeliveryError.NOT_HTTP)
            if int(status[1]) in _INTERIM:
                begin = end + 4  # kept, for interim answers without end are too many bytes, too
                continue
            break
        if len(head) > _HEAD_BYTES:
            return CallOutcome(0, DeliveryError.NOT_HTTP)
        connection.settimeout(_left(deadline))
        piece = connection.recv(4096)
        if not piece:
            return CallOutcome(0, DeliveryError.NOT_HTTP)
        head += piece
    code = int(status[1])
    wait = _RETRY_AFTER.search(head, begin, end + 2)
    is_success = 200 <= code < 300  # noqa: PLR2004 - HTTP's successes
    return CallOutcome(code, None if is_success else DeliveryError.STATUS, float(wait[1]) if wait else 0.0)


def _left(deadline: float) -> float:
    """Return the seconds that are left. Raises TimeoutError when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _resolve(host: str, port: int) -> list[str]:
    known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]).partition("%")[0] for *_, address in known]


def _is_literal_in(host: str, network: _Network | None) -> bool:
    if network is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _items(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _allowed(item: str, field: str) -> _AllowedTarget:
    """Return what one item of `webhook_allow` means: NETWORK, HOST or HOST:PORT."""
    with suppress(ValueError):
        return _AllowedTarget("", ipaddress.ip_network(item), 0)
    host, _, port = item.rpartition(":")
    if not host:
        host, port = item, ""
    host = host.strip("[]").lower().rstrip(".")
    number = _port(port, field) if port else 0
    with suppress(ValueError):
        return _AllowedTarget("", ipaddress.ip_network(host), number)
    if not re.fullmatch(r"[a-z0-9._-]{1,253}", host):
        raise InvalidArgument.field(field, f"must name hosts and networks, with commas; got {item[:80]!r}", "PATTERN")
    return _AllowedTarget(host, None, number)


def _network(item: str, field: str) -> _Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError as e:
        raise InvalidArgument.field(field, f"must name networks, with commas; got {item[:80]!r}", "PATTERN") from e


def _port(item: str, field: str) -> int:
    if not item.isascii() or not item.isdecimal() or not 1 <= int(item) <= 65_535:  # noqa: PLR2004 - all ports
        raise InvalidArgument.field(field, f"must be a port, 1 to 65535; got {item[:80]!r}", "OUT_OF_RANGE")
    return int(item)
