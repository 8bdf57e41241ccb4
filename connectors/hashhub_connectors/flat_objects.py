"""Many flat JSON objects of the same keys at once, as columns.

msgspec decodes objects whose keys and types of values are known in a third of the time that the standard library's
scanner needs, but does not say that a key is given twice. Whether one is follows from the number of double quotes in
the text: an object of which each key stands once, whose values are no containers and hold no escaped quotes, has two
for each key and two for each value that is a text; anything else has more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import msgspec
from msgspec import UNSET

_MAX_KEYS: Final = 64
_MAX_CHARACTERS: Final = 2_048  # of all keys
_TYPES: Final = (str, int, bool, NoneType)


class Table(msgspec.Struct, frozen=True):
    """Objects by number: the values of each key; UNSET where an object does not have it."""

    count: int
    columns: Mapping[str, Sequence[Any]]

    def object(self, number: int) -> dict[str, Any]:
        """Return an object."""
        return {key: value for key, values in self.columns.items() if (value := values[number]) is not UNSET}


class FlatObjects:
    """Keys, and the types of their values, as they were seen in objects.

    `is_flat`: False once an object was seen that cannot be read here.
    """

    def __init__(self) -> None:
        self._types: dict[str, set[type]] = {}
        self._optional: set[str] = set()
        self._seen: set[tuple[object, ...]] = set()
        self.is_flat = True

    def see(self, one: object) -> bool:
        """Take note of an object, as `json` decodes it; return whether it has what none before had."""
        if not self.is_flat:
            return False
        if type(one) is not dict:  # no object, or one that has a key twice
            self.is_flat = False
            return True
        look = (*one, *map(type, one.values()))
        if look in self._seen:
            return False
        if self._seen:
            self._optional |= self._types.keys() ^ one.keys()
        self._seen.add(look)
        for key, value in one.items():
            self._types.setdefault(key, set()).add(type(value))
        self.is_flat = (
            len(self._types) <= _MAX_KEYS
            and sum(map(len, self._types)) <= _MAX_CHARACTERS
            # Keys whose JSON form is another text; and True == 1, so that one could pass for the other.
            and all(key.isascii() and key.isprintable() and not {'"', "\\"} & {*key} for key in one)
            and all(types.issubset(_TYPES) and not {int, bool} <= types for types in self._types.values())
        )
        return True

    def types(self, key: str) -> frozenset[type]:
        """Return the types that a key's values have; none for a key that no object has."""
        return frozenset(self._types.get(key, ()))

    @property
    def keys(self) -> Sequence[str]:
        """All keys."""
        return list(self._types)

    def reader(self) -> Callable[[str], Table | None]:
        """Return what reads an array of such objects; it returns None for one of others, and for what is no JSON.

        What it takes is what `json` decodes it to.
        """
        names = {f"key_{number}": key for number, key in enumerate(self._types)}
        fields: list[Any] = []
        for name, key in names.items():
            of_key: Any = None
            for kind in self._types[key]:
                of_key = kind if of_key is None else of_key | kind
            fields.append((name, of_key | msgspec.UnsetType, UNSET) if key in self._optional else (name, of_key))
        struct = msgspec.defstruct(
            "Flat", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False, frozen=True
        )
        decode = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type] # made of what was seen
        values_of: Any = attrgetter(*names) if len(names) > 1 else lambda one: (one.key_0,)
        keys = tuple(self._types)
        has_one_type = {key: len(types) == 1 and key not in self._optional for key, types in self._types.items()}
        quotes = sum(2 + 2 * (str in self._types[key]) for key in keys if has_one_type[key])
        several = [key for key in keys if not has_one_type[key]]

        def read(text: str) -> Table | None:
            try:
                objects = decode(text)
            except (msgspec.DecodeError, RecursionError):
                return None
            columns = dict(zip(keys, zip(*map(values_of, objects), strict=True), strict=True))
            expected = quotes * len(objects) + sum(map(_quotes, map(columns.__getitem__, several)))
            return Table(len(objects), columns) if text.count('"') == expected else None

        return read


def _quotes(values: Iterable[Any]) -> int:
    """Return how many double quotes the key and its values take, where they do not all have the same type."""
    types = list(map(type, values))
    return 2 * (len(types) - types.count(msgspec.UnsetType) + types.count(str))
