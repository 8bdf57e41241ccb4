"""Page tokens: where a list goes on. Opaque to callers, and of use only for the list that gave them.

A token is URL-safe base64 of a JSON array: a short digest of the question (method, parent, filters) and the position. A
token for another question is refused, because going on from a foreign position would silently leave things out. What
no list can have given is refused, too, because the databases would fail on it.

Before a token leaves the hub it is sealed: positions are internal numbers, which count what others do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from hashhub.errors import InvalidArgument

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 1000
_MAX_TOKEN: Final = 1024  # characters; the longest position is two ids of 63
_MAX_INT64: Final = (1 << 63) - 1
_NONCE: Final = 16  # bytes
_STEP: Final = 64  # a sealed token's length says no more than that

_T = TypeVar("_T", int, str)


def size(page_size: int) -> int:
    """Return how many to give: 100 for 0, at most 1000. Raises InvalidArgument for a negative size."""
    if page_size < 0:
        raise InvalidArgument.field("page_size", f"must not be negative, got {page_size}", "OUT_OF_RANGE")
    return min(page_size or DEFAULT_SIZE, MAX_SIZE)


def encode(after: int | str, *question: object) -> str:
    """Return the token to go on behind `after` in the answer to `question`; empty for 0 or "": no more pages."""
    if not after:
        return ""
    text = json.dumps([_digest(question), after], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(token: str, first: _T, *question: object) -> _T:
    """Return the position that `token` holds, or `first` for an empty token.

    Raises InvalidArgument for a token that is damaged or belongs to another question.
    """
    if not token:
        return first
    after: Any = _read(token, question)
    is_number = type(after) is int and 0 <= after <= _MAX_INT64  # as the databases hold ids and counts; no bool
    is_name = isinstance(after, str) and after.isascii() and after.isprintable()
    if type(after) is not type(first) or not (is_number or is_name):
        raise _wrong()
    return after  # of the same type as `first`


def sealing(handle: Callable[..., Any], key: bytes) -> Callable[..., Any]:
    """Return a servicer's method that lists, so that its tokens are sealed under a key outside of it."""

    def call(principal: Any, request: Any, *rest: Any) -> Any:
        request.page_token = _opened(request.page_token, key)
        answer = handle(principal, request, *rest)
        answer.next_page_token = _sealed(answer.next_page_token, key)
        return answer

    return call


def _sealed(token: str, key: bytes) -> str:
    if not token:
        return ""
    body = token.encode().ljust(-(-len(token) // _STEP) * _STEP)
    nonce = hmac.digest(key, body, "sha256")[:_NONCE]
    return base64.urlsafe_b64encode(nonce + _masked(body, key, nonce)).decode()


def _opened(token: str, key: bytes) -> str:
    if not token:
        return ""
    try:
        sealed = base64.b64decode(token if len(token) <= 2 * _MAX_TOKEN else "", altchars=b"-_", validate=True)
    except ValueError as e:
        raise _wrong() from e
    nonce, body = sealed[:_NONCE], _masked(sealed[_NONCE:], key, sealed[:_NONCE])
    if not hmac.compare_digest(nonce, hmac.digest(key, body, "sha256")[:_NONCE]):
        raise _wrong()
    return body.decode().rstrip()


def _masked(body: bytes, key: bytes, nonce: bytes) -> bytes:
    mask = hashlib.shake_256(key + nonce).digest(len(body))
    return (int.from_bytes(body) ^ int.from_bytes(mask)).to_bytes(len(body))


def _read(token: str, question: tuple[object, ...]) -> object:
    if len(token) > _MAX_TOKEN:
        raise _wrong()
    try:
        position = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as e:
        raise _wrong() from e
    match position:
        case [digest, after] if digest == _digest(question):
            return after
        case _:
            raise _wrong()


def _digest(question: tuple[object, ...]) -> int:
    return zlib.crc32("\0".join(map(str, question)).encode())


def _wrong() -> InvalidArgument:
    return InvalidArgument.field(
        "page_token", "is damaged, or belongs to another list, parent or filter; start again without it", "PAGE_TOKEN"
    )
