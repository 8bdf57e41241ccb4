"""Schemes that were put into a hub's store, beside those in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub import schemes
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.model import Definition
    from hashhub.schemes import Scheme


class StoredSchemes:
    """The schemes in files, and those of the store beside them."""

    def __init__(self, files: schemes.SchemeRegistry) -> None:
        self._files = files
        self._read: dict[Definition, Scheme | str] = {}  # what was read before, or why it cannot be: texts never change
        self._with: tuple[Sequence[Definition], schemes.SchemeRegistry, list[str]] = ((), files, [])

    def with_stored(self, definitions: Sequence[Definition], warnings: list[str]) -> schemes.SchemeRegistry:
        """Return them all, and add to the warnings what is left out: a text that this hashhub cannot read, and a
        version that a file says something else of, in both places. Then nobody's values are read by a meaning that
        their hash set was not made with.
        """
        if definitions != self._with[0]:
            said: list[str] = []
            disputed = set()
            known = {s.key: s for s in self._files.list()}
            read = {}
            for definition in sorted(definitions, key=lambda d: d.name):
                scheme = read[definition] = self._read.get(definition) or _read(definition)
                if isinstance(scheme, str):
                    said.append(scheme)
                elif scheme.key not in known:
                    known[scheme.key] = scheme
                elif not known[scheme.key].means_what(scheme):
                    disputed.add(scheme.key)
                    said.append(
                        f"scheme {scheme.name} was put into the store, and a file defines it otherwise: neither is "
                        "used, and lists of its hash sets are not taken in; take the file away, or put another version"
                    )
            self._read = read
            usable = [s for key, s in known.items() if key not in disputed]
            self._with = (definitions, schemes.SchemeRegistry(usable), said)
        warnings += self._with[2]
        return self._with[1]


def _read(definition: Definition) -> Scheme | str:
    """Return the scheme, or why this hashhub cannot read it."""
    try:
        return schemes.of_definition(definition)
    except InvalidArgument as e:
        return (
            f"scheme {definition.name} in the store cannot be read and is left out, so that lists of its hash sets are "
            f"not taken in ({e.message[:200]}); it may be of a newer hashhub: upgrade, or put another version"
        )
