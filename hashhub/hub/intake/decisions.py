"""Per-item import decisions: NumPy columns for what every item has, dicts for the rare rest.

Texts are made when the report is written, so that a million items with one fault need no million texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hashhub.hub.intake.batch import CODE, DISPOSITIONS, ItemKind
from hashhub.hygiene import Code
from hashhub.model import Classification, Disposition, Purpose, RecordReview, SchemeStatus
from hashhub.schemes import is_name
from hashhub.store import FindingRun
from hashhub.trust.policy import excludes_harm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from hashhub.model import HashSet
    from hashhub.schemes import Scheme
    from hashhub.store.holds import Hold

ACCEPTED: Final = CODE[Disposition.ACCEPTED]
QUARANTINED: Final = CODE[Disposition.QUARANTINED]
REJECTED: Final = CODE[Disposition.REJECTED]
DUPLICATE: Final = CODE[Disposition.DUPLICATE]
UNCHANGED: Final = CODE[Disposition.UNCHANGED]
WITHDRAWN: Final = CODE[Disposition.WITHDRAWN]
STAYS_WITHDRAWN: Final = CODE[Disposition.STAYS_WITHDRAWN]
WAITS: Final = len(DISPOSITIONS)
"""QUARANTINED, too, and the hash set has an entry that states it and waits for the same reasons: that one goes on."""
_NAMES_SHOWN: Final = 10  # in one sentence, however many there are


class MergedItem(NamedTuple):
    """What the first of several items that are the same states with what the others add, packed as in a batch.

    `frames`: those of another of them; None: it has its own, or none has any.
    """

    external_id: str
    flags: int
    expire_time: int | None
    hashes: bytes
    details: bytes | None
    frames: bytes | None = None


class Decisions:
    """The items of a source by number, in its order.

    outcome: a disposition's code, uint8[n]. kind: see `KindMeanings`, uint32[n]. statements: uint8[n, STATEMENT_BYTES].
    refers_to, int64[n]: of an UNCHANGED item, and of one that WAITS, the entry that states the same; of a DUPLICATE the
    item that it was merged into; -1: nothing. lacks_value, bool[n]: a value was due, and there is none. grounds: why
    hygiene quarantines an item. `waits_for_value`: the sentence about an item that waits for one, or empty.
    """

    def __init__(self, values: KindMeanings, set_name: str) -> None:
        """`set_name`: the hash set's."""
        self.values = values
        self._set_name = set_name
        self.outcome: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.kind: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.statements: NDArray[np.uint8] = np.empty((0, 1), np.uint8)
        self.refers_to: NDArray[np.int64] = np.empty(0, np.int64)
        self.lacks_value: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.grounds: dict[int, tuple[str, ...]] = {}
        self.waits_for_value = ""
        self.merged: dict[int, MergedItem] = {}
        self.reviews: dict[int, tuple[RecordReview, ...]] = {}
        self.withdrawn_by: dict[int, Hold] = {}  # what keeps an item from coming back
        self.overtaken: dict[int, list[int]] = {}  # entries that the source withdrew before, and now states again
        self.opinions: dict[int, str] = {}  # what is said of items that are only opinions, and have an entry
        self.asides: dict[int, tuple[str, str]] = {}  # what is remarked about an item whatever becomes of it
        self._position_of: dict[int, str] = {}  # of items that others were merged into
        self._first_kind: dict[int, int] = {}  # of those: their own kind, before others added to it
        self._held: dict[int, list[tuple[str, str]]] = {}  # what holds say, which comes before what the rules say
        self._remarks: dict[int, list[tuple[str, str]]] = {}

    def begin(self, outcome: NDArray[np.uint8], kind: NDArray[np.uint32], statements: NDArray[np.uint8]) -> None:
        """Take in what hygiene and the kinds say."""
        count = len(outcome)
        self.outcome, self.kind, self.statements = outcome, kind, statements
        self.refers_to = np.full(count, -1, np.int64)
        self.lacks_value = np.zeros(count, np.bool_)

    @property
    def become_entries(self) -> NDArray[np.bool_]:
        """Which items would become entries as things stand."""
        return np.equal(self.outcome, ACCEPTED) | np.equal(self.outcome, QUARANTINED)

    def becomes_entry(self, item: int) -> bool:
        """Whether an item would become an entry as things stand."""
        return bool(self.outcome[item] in (ACCEPTED, QUARANTINED))

    def remark(self, item: int, code: str, detail: str) -> None:
        """Give a reason for what becomes of an item, once for each code."""
        if all(code != given for given, _ in self.remarks(item)):
            self._remarks.setdefault(item, []).append((code, detail))

    def hold(self, item: int, code: str, detail: str) -> None:
        """Let an item wait for an operator."""
        self.outcome[item] = QUARANTINED
        said = self._held.setdefault(item, [])
        if all(code != given for given, _ in said):
            said.append((code, detail))

    def quarantine(self, item: int, code: str, detail: str) -> None:
        """Let an item that would become an entry wait, and say why."""
        if self.becomes_entry(item):
            self.outcome[item] = QUARANTINED
            self.remark(item, code, detail)

    def drop_withdrawn(self, item: int) -> None:
        """Drop an item that would become an entry and that the source withdraws further on."""
        if self.becomes_entry(item):
            self.outcome[item] = DUPLICATE

    def merge(self, first: int, position: str, kind: int, merged: MergedItem, rest: Iterable[int]) -> None:
        """Let the first of several items state what all of them do; `kind`: of all of them together."""
        self.merged[first] = merged
        self._position_of[first] = position
        self._first_kind[first] = int(self.kind[first])
        self.kind[first] = kind
        for item in rest:
            self.outcome[item] = DUPLICATE
            self.refers_to[item] = first

    def refuse(self, item: int, code: str, detail: str) -> None:
        """Refuse an item, and say why."""
        self.outcome[item] = REJECTED
        self._remarks[item] = [(code, detail)]

    def keep_withdrawn(self, item: int, detail: str) -> None:
        """Let an item stay withdrawn, and say by which entry and who may restore it."""
        self.outcome[item] = STAYS_WITHDRAWN
        self._remarks[item] = [(Code.STAYS_WITHDRAWN, detail)]

    def is_undecided(self, item: int) -> bool:
        """Whether an item lacks a value that is due, also after what duplicates of it say."""
        return bool(self.lacks_value[item]) and not self.values.kinds[self.kind[item]].value

    def reasons(self, item: int) -> tuple[str, ...]:
        """Return the codes that an entry of a quarantined item has."""
        reasons = (*self.grounds.get(item, ()), *(str(code) for code, _ in self.remarks(item)))
        return tuple(dict.fromkeys((*reasons, Code.UNCLASSIFIED.value) if self.is_undecided(item) else reasons))

    def waits_for(self, item: int, reasons: tuple[str, ...]) -> bool:
        """Whether an entry that states what the item does and waits for these reasons goes on waiting."""
        return bool(self.outcome[item] == QUARANTINED) and (
            item in self._held or set(reasons) == set(self.reasons(item))
        )

    def unchanged(self, positions: list[str], entries: NDArray[np.int64]) -> FindingRun:
        """Return what is said of items that these entries state already."""
        before, after = f"entry {self._set_name}/", " already states exactly this"
        return FindingRun(Disposition.UNCHANGED, Code.IDENTICAL_ENTRY, before, after, positions, entries)

    def remarks(self, item: int) -> list[tuple[str, str]]:
        """Return why an item became what it did, as (code, detail), but for what hygiene says."""
        outcome = int(self.outcome[item])
        own = self._remarks.get(item, [])
        if outcome == UNCHANGED and item in self.opinions:
            return [(Code.OPINION_ONLY, self.opinions[item])]
        if outcome == UNCHANGED:
            (line,) = self.unchanged([""], self.refers_to[item : item + 1]).findings()
            return [(line.reason, line.detail)]
        if outcome == DUPLICATE:
            if (first := int(self.refers_to[item])) < 0:
                return [(Code.SUPERSEDED, "withdrawn further on in the same source")]
            text = f"the same item as {self._position_of[first]}; its hashes were merged into it"
            return [(Code.DUPLICATE_IN_SOURCE, text)]
        if outcome not in (ACCEPTED, QUARANTINED, WAITS):
            return own
        ground = self.values.meanings[self._first_kind.get(item, self.kind[item])].ground
        said = [ground] if ground is not None else []
        said += self._held.get(item, ())
        if self.waits_for_value and self.lacks_value[item]:
            said.append((Code.UNCLASSIFIED, self.waits_for_value))
        return said + own


def listed(names: Sequence[str], total: int | None = None) -> str:
    """Return names for a sentence, the first ones of very many. `total`: how many there are, if not all are given."""
    total = len(names) if total is None else total
    more = f" and {total - _NAMES_SHOWN} more" if total > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


class Meaning(NamedTuple):
    """What a kind of item is in the hash set. `ground`: why its items wait, as (code, detail). `is_raw`: kept although
    nothing says what its value means. `spelling`: the scheme's. `stated`: (scheme, value). `is_harmless`: its value
    leaves no harm possible, and the hash set's purpose does not tell that.
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
        """Return what a kind's raw value is and implies; None without one. What the scheme lacks implies nothing."""
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
