"""Schemes and policies that are kept in the hub."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class SchemeStatus(StrEnum):
    """Whether a scheme's table was checked against its owner's text. DRAFT never leads to an automatic block."""

    VERIFIED = "VERIFIED"
    DRAFT = "DRAFT"


class DefinitionKind(StrEnum):
    """What can be defined in the hub's store, besides in files."""

    SCHEME = "SCHEME"
    POLICY = "POLICY"


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody answers for a definition: the token, the contributor that it belongs to, when, and what they say."""

    actor: str
    contributor: str
    time: datetime
    comment: str = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a scheme or policy that somebody put into the hub. A version's text never changes.

    `text` is TOML, as in a file. `actor` is the token that put it. `retire_time`: since when it is used no more.
    """

    kind: DefinitionKind
    id: str
    version: str
    text: str
    actor: str = ""
    create_time: datetime | None = None
    sign_offs: tuple[SignOff, ...] = ()
    retire_time: datetime | None = None

    @property
    def name(self) -> str:
        """`ID@VERSION`."""
        return f"{self.id}@{self.version}"
