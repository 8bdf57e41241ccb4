"""Who acts: a token in its role, or the hub itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Role(StrEnum):
    """What a token may do: write its own contributor's sets; match; everything; read everything."""

    CONTRIBUTOR = "CONTRIBUTOR"
    CONSUMER = "CONSUMER"
    OPERATOR = "OPERATOR"
    AUDITOR = "AUDITOR"


class Actor(msgspec.Struct, frozen=True, array_like=True):
    """Who writes: the token, the contributor that it belongs to, and its role; kept with what it wrote."""

    name: str
    contributor: str
    role: Role


SYSTEM: Final = Actor("system", "", Role.OPERATOR)
"""The hub itself: migrations, expiry, what it does at a start."""
