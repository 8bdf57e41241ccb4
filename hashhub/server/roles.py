"""What a servicer's method says of its call: who may make it, and in which limiter it works.

    @served(READERS, limiter="pages")
    def list_findings(self, principal, request): ...

A method that does not say so, or names a limiter that there is not, cannot be served, and the server does not start.

The role is the first of two checks. It needs nothing but the token and runs before the request is even decoded. The hub
then checks ownership and terms, which depend on what is asked for, and for the change feed whether the token may
mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, get_args

from hashhub.model import Role
from hashhub.server.limiters import LimiterName

OPERATOR: Final = frozenset({Role.OPERATOR})
WRITERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR})
READERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.AUDITOR})
OVERSEERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
MATCHERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.CONSUMER})
EVERYBODY: Final = frozenset(Role)

_F = TypeVar("_F", bound=Callable[..., Any])


class Terms(NamedTuple):
    """Who may make a call, and the limiter in which it works."""

    roles: frozenset[Role]
    limiter: LimiterName


def served(roles: frozenset[Role], *, limiter: LimiterName = "calls") -> Callable[[_F], _F]:
    """Let a servicer's method be called by these roles, in this limiter (`limiters`).

    Raises ValueError where there is no such limiter: a call of the method would be the first to notice.
    """
    if limiter not in get_args(LimiterName):
        raise ValueError(f"there is no limiter {limiter!r}")

    def say(method: _F) -> _F:
        method.served = Terms(roles, limiter)  # type: ignore[attr-defined]  # read by `terms_of`
        return method

    return say


def terms_of(method: Callable[..., Any]) -> Terms:
    """Return what a method says of its call. Raises AttributeError where it says nothing."""
    terms: Terms = method.served  # type: ignore[attr-defined]  # as above
    return terms
