"""What an item's raw value is in the hash set: decided once for each kind of item, whatever the length of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hashhub.hub.intake.batch import ItemKind
from hashhub.hygiene import Code
from hashhub.model import Classification, Purpose, SchemeStatus
from hashhub.schemes import is_name
from hashhub.trust.policy import excludes_harm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hashhub.model import HashSet
    from hashhub.schemes import Scheme


class Meaning(NamedTuple):
    """What a kind of item is in the hash set.

    `ground`: why its items wait, as (code, detail). `is_raw`: its value is kept although nothing says what it means.
    `spelling`: the value as the scheme spells it. `stated`: its classification's (scheme, value). `is_harmless`: its
    value leaves no harm possible, in a hash set of which that cannot be told from its purpose.
    """

    ground: tuple[str, str] | None
    is_raw: bool
    spelling: str
    stated: tuple[str, str] | None
    is_harmless: bool


class KindMeanings:
    """The kinds of a source's items, numbered as they come."""

    def __init__(self, hash_set: HashSet, scheme: Scheme | None) -> None:
        """`scheme` is the hash set's, or None."""
        self._hash_set = hash_set
        self._scheme = scheme
        self._numbers: dict[ItemKind, int] = {}
        self.kinds: list[ItemKind] = []
        self.meanings: list[Meaning] = []
        self._resolved: dict[str, Classification | None] = {}

    def number(self, kind: ItemKind) -> int:
        """Return the number of a kind."""
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
            self.meanings.append(self._meaning(kind))
        return number

    def are(self, holds: Callable[[ItemKind, Meaning], bool]) -> NDArray[np.bool_]:
        """Return which kinds are so, by number."""
        return np.fromiter(map(holds, self.kinds, self.meanings), np.bool_, len(self.kinds))

    def codes(self, of: Callable[[ItemKind, Meaning], object]) -> NDArray[np.int64]:
        """Return a number for each kind, equal where `of` is."""
        codes: dict[object, int] = {}
        of_kinds = (codes.setdefault(of(k, m), len(codes)) for k, m in zip(self.kinds, self.meanings, strict=True))
        return np.fromiter(of_kinds, np.int64, len(self.kinds))

    def classification(self, kind: ItemKind) -> Classification | None:
        """Return a kind's raw value with what it implies in the hash set's scheme; None without a value.

        One that the scheme lacks, and one that the source says is of another scheme, is kept and implies nothing.
        """
        if not kind.value:
            return None
        scheme_id, version, region = "", "", kind.region
        if not self._is_of_another_scheme(kind):
            if (known := self._resolve(kind.value)) is not None:
                return known
            if self._scheme is not None:
                scheme_id, version, region = self._scheme.id, self._scheme.version, self._scheme.region
        else:
            scheme_id, _, version = kind.scheme.partition("@")
        return Classification(
            scheme=scheme_id,
            version=version,
            region=region,
            value=kind.value,
            # nobody verified what it means: should it be released, it leads to no automatic match
            status=SchemeStatus.DRAFT,
            dimensions={},
        )

    def _meaning(self, kind: ItemKind) -> Meaning:
        classification = self.classification(kind)
        known = self._resolve(kind.value)
        is_told_by_purpose = self._hash_set.purpose in {Purpose.BENIGN, Purpose.TEST}
        is_raw = (
            bool(kind.value) and known is None and self._scheme is None and self._hash_set.purpose is Purpose.BENIGN
        )
        ground = self._ground(kind, known)
        return Meaning(
            ground=ground,
            is_raw=is_raw and ground is None,
            spelling=kind.value if known is None else known.value,
            stated=None if classification is None else (classification.scheme, classification.value),
            is_harmless=classification is not None
            and not is_told_by_purpose
            and excludes_harm(classification.dimensions),
        )

    def _ground(self, kind: ItemKind, known: Classification | None) -> tuple[str, str] | None:
        scheme, purpose = self._scheme, self._hash_set.purpose
        if scheme and scheme.contradicts_region(kind.region):
            return (
                Code.REGION_MISMATCH,
                f"the file says region {kind.region[:20]}, the hash set's scheme is for {scheme.region}",
            )
        if scheme and scheme.contradicts_name(kind.scheme):
            return (
                Code.SCHEME_MISMATCH,
                f"the source's values are of {kind.scheme[:80]!r}, those of the hash set of {scheme.name}",
            )
        if kind.purpose and kind.purpose != purpose and purpose is not Purpose.TEST:
            stated = f"its items are {kind.purpose.lower()}, those of the hash set are {purpose.lower()}"
            remedy = "import it into another" if kind.purpose in set(Purpose) else "no hash set here is for such items"
            return Code.PURPOSE_MISMATCH, f"the source says that {stated}; {remedy}"
        if not kind.value or known is not None:
            return None
        value = repr(kind.value[:40])
        if scheme:
            return Code.UNKNOWN_VALUE, f"the hash set's scheme ({self._hash_set.scheme}) has no value {value}"
        if purpose is Purpose.BENIGN:  # whatever the value means elsewhere, being in the set is the statement
            return None
        name = kind.scheme if is_name(kind.scheme) else "ID"
        command = f"hashhub hash-set create CONTRIBUTOR/SET --purpose {purpose.lower()} --scheme {name}"
        text = f"the hash set has no scheme to say what {value} means; import into one that has ({command})"
        return Code.UNKNOWN_VALUE, text

    def _is_of_another_scheme(self, kind: ItemKind) -> bool:
        scheme = self._scheme
        return scheme is not None and (scheme.contradicts_region(kind.region) or scheme.contradicts_name(kind.scheme))

    def _resolve(self, value: str) -> Classification | None:
        if value not in self._resolved:
            self._resolved[value] = self._scheme.resolve(value) if self._scheme and value else None
        return self._resolved[value]
