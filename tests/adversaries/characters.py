"""The characters by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.adversaries.careless import Careless
from tests.adversaries.curious import Curious
from tests.adversaries.hostile import Hostile
from tests.adversaries.lost import Lost
from tests.adversaries.sequences import Character

CHARACTERS: Final[Mapping[str, type[Character]]] = {c.name: c for c in (Hostile, Curious, Careless, Lost)}
