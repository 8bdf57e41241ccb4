"""What our writers share: output in pieces, which entries may be written, which value is given, and losses.

state     ACTIVE; WITHDRAWN ones as withdrawals of a delta, where the format has them; QUARANTINED never
claim     where being in the file is a claim (`PurposeCheck`), only entries that make it
value     the entry's own in the file's scheme, or what `translate` allows; otherwise none
text      as it is, or not at all: what the connector would read as another text is left out
extra     only in the format that it came from
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import BinaryIO, Final, NamedTuple

import msgspec

from hashhub.connector import Exported, LeftOut, Loss
from hashhub.errors import InvalidArgument
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_TEXT,
    NO_FLAGS,
    TLP,
    Classification,
    Entry,
    EntryState,
    HashFault,
    HashSet,
    Marking,
    Purpose,
)
from hashhub.schemes.crosswalk import translate
from hashhub_connectors.items import BROKEN, read_extra

_PIECE: Final = 1 << 16  # bytes that are written at a time
_REMEMBERED: Final = 4096  # values: entries have few, and a hostile list must not fill memory
_SHOWN: Final = 3  # of several reasons why there is no value
_VERDICTS: Final[Mapping[Purpose, frozenset[str]]] = {
    Purpose.CSAM: frozenset({"csam"}),
    Purpose.EXPLOITATIVE: frozenset({"exploitative"}),
    Purpose.BENIGN: frozenset({"non-pertinent"}),
}
_CLAIMS: Final = {
    Purpose.CSAM: "child sexual abuse material",
    Purpose.EXPLOITATIVE: "exploitative material",
    Purpose.BENIGN: "benign",
    Purpose.TEST: "a test item",
}
# Fields of entries that a format may have no place for, with what says nothing and what a sentence calls them.
_FIELDS: Final = {
    "external_id": ("", "the contributor's own id"),
    "flags": (NO_FLAGS, "flags"),
    "media_type": ("", "the media type"),
    "media_size": (None, "the size of the media"),
    "series": ("", "the series"),
    "tags": ((), "tags"),
    "quality": (None, "the PDQ quality"),
    "source_time": ("", "the source's own time stamp"),
    "expire_time": (None, "the time at which the entry expires"),
    "member": ("", "who inside the contributor states it"),
    "extra": ("", "what the source said beyond the hub's fields"),
}
_PATHS: Final = {"member": "provenance.member"}
# With what spreadsheets begin a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Output:
    """Text, or its bytes, on its way to a binary stream in pieces."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._parts: list[bytes] = []
        self._length = 0

    def put(self, text: str | bytes) -> None:
        """Write the text, some time."""
        self._parts.append(text.encode() if isinstance(text, str) else text)
        self._length += len(text)
        if self._length >= _PIECE:
            self.flush()

    def flush(self) -> None:
        """Write all that was put."""
        self._target.write(b"".join(self._parts))
        self._parts.clear()
        self._length = 0


def is_plain(text: str) -> bool:
    """Whether connectors read this text as it is: without control characters, and without white space around it."""
    return text.strip() == text and (text.isprintable() or BROKEN.search(text) is None) and len(text) <= MAX_TEXT


def unwritable(entry: Entry, field: str) -> Loss:
    """Return the loss of a text that would be read as another one."""
    return Loss(
        entry.name,
        field,
        "UNWRITABLE_TEXT",
        "it has line breaks or other control characters, white space around it, or what the format separates with",
    )


class Cells:
    """Texts for the cells of one delimited file: quoted where they must be, and no formulas."""

    def __init__(self, delimiter: str, *, keeps_formulas: bool = False) -> None:
        """`keeps_formulas`: texts that a spreadsheet would calculate are written all the same."""
        self._delimiter = delimiter
        self._keeps_formulas = keeps_formulas

    def text(self, entry: Entry, field: str, text: str) -> tuple[str, Loss | None]:
        """Return the cell of a text of the entry, or an empty one and why it cannot be written."""
        if not text:
            return "", None
        if not is_plain(text):
            return "", unwritable(entry, field)
        if text.startswith(FORMULA) and not self._keeps_formulas:
            return "", Loss(
                entry.name,
                field,
                "FORMULA",
                "a spreadsheet would calculate a text that begins with = + - or @; the option formulas=keep writes it",
            )
        return self.quoted(text), None

    def quoted(self, text: str) -> str:
        """Return the text as a cell."""
        if '"' in text or self._delimiter in text or "\n" in text or "\r" in text:
            return '"' + text.replace('"', '""') + '"'
        return text


def keeps_formulas(given: str) -> bool:
    """Return what the option `formulas` says. Raises InvalidArgument."""
    if given not in {"", "keep", "drop"}:
        raise InvalidArgument.field("options.formulas", f"is {given[:40]!r}; expected keep or drop", "WORD")
    return given == "keep"


def with_known_extra(entry: Entry) -> tuple[Entry, Loss | None]:
    """Return the entry, its `extra` without fields that no connector keeps; and that loss."""
    if not entry.extra or entry.state is EntryState.WITHDRAWN or _is_known_extra(entry.extra):
        return entry, None
    loss = Loss(entry.name, "extra", "UNKNOWN_FIELD", "it has fields that hashhub does not keep")
    return msgspec.structs.replace(entry, extra=""), loss


@lru_cache(maxsize=_REMEMBERED)
def _is_known_extra(text: str) -> bool:
    left_out, faults = LeftOut(), list[HashFault]()
    read = read_extra(text, left_out, faults)
    return bool(read) and not faults and not any(left_out.told())


class UnsupportedFields:
    """The fields that a format has no place for."""

    def __init__(self, what: str, *fields: str, has_frames: bool = False) -> None:
        """`what`: the format, for sentences. `fields`: two or more. `has_frames`: videos keep their frames."""
        self._has_frames = has_frames
        self._frames = f"{what} has no place for the frames of a video"
        self._fields = fields
        self._defaults = tuple(_FIELDS[f][0] for f in fields)
        self._values = attrgetter(*(_PATHS.get(f, f) for f in fields))
        self._details = {f: f"{what} has no place for {_FIELDS[f][1]}" for f in fields}

    def losses(self, entry: Entry) -> Iterator[Loss]:
        """Yield a loss for each of the fields in which the entry says something."""
        if entry.frame_count and not self._has_frames:
            yield Loss(entry.name, "frames", "NO_PLACE", self._frames)
        values = self._values(entry)
        if values == self._defaults:
            return
        for field, value, default in zip(self._fields, values, self._defaults, strict=True):
            if value != default:
                yield Loss(entry.name, field, "NO_PLACE", self._details[field])


def no_place_for_hash(entry: Entry, what: str, algorithms: Iterable[str]) -> Iterator[Loss]:
    """Yield a loss for each algorithm whose digests a format cannot hold."""
    for name in dict.fromkeys(algorithms):
        yield Loss(entry.name, f"hash:{name}", "NO_PLACE", f"{what} has no place for {name} digests")


def only_one_hash(entry: Entry, what: str, algorithms: Iterable[str]) -> Iterator[Loss]:
    """Yield a loss for each algorithm of which the entry has several digests, and a format takes one."""
    for name in dict.fromkeys(algorithms):
        yield Loss(entry.name, f"hash:{name}", "MORE_THAN_ONE", f"{what} takes one {name} digest of an item")


def no_place_for_others(entry: Entry, what: str, algorithms: Iterable[str]) -> Iterator[Loss]:
    """Yield the losses of all digests but the first one of each of these algorithms."""
    own = [h.algorithm for h in entry.hashes]
    yield from no_place_for_hash(entry, what, (a for a in own if a not in algorithms))
    yield from only_one_hash(entry, what, (a for a in algorithms if own.count(a) > 1))


def withheld(entry: Entry, exported: Exported, *, has_withdrawals: bool) -> Loss | None:
    """Return why an entry must not be written in its state, or None where it may be."""
    if entry.state is EntryState.ACTIVE:
        return None
    if entry.state is EntryState.QUARANTINED:
        return Loss(entry.name, "entry", "QUARANTINED", "an entry in quarantine leaves by no file")
    if not exported.is_delta:
        return Loss(entry.name, "entry", "WITHDRAWN", "a withdrawn entry has no place in a full list")
    if not has_withdrawals:
        return Loss(
            entry.name,
            "entry",
            "NO_WITHDRAWALS",
            "the format cannot say that an entry is withdrawn: tell the recipient, or give it the full list",
        )
    return None


class PurposeCheck:
    """A file in which being listed is a claim: that of the purpose which all hash sets of the export share."""

    def __init__(self, exported: Exported, what: str, *allowed: Purpose) -> None:
        """`allowed`: purposes the format can mean; none: any. Raises InvalidArgument for others, or several."""
        purposes = sorted({s.purpose for s in exported.hash_sets.values()})
        if len(purposes) > 1:
            raise _mixed(purposes, what)
        self.purpose = purposes[0] if purposes else None
        if self.purpose is not None and allowed and self.purpose not in allowed:
            raise InvalidArgument.field(
                "hash_sets",
                f"have the purpose {self.purpose}, and {what} says of every item that it is {_CLAIMS[allowed[0]]}; "
                "choose another format",
                "PURPOSES",
            )
        self._what = what

    def refuses(self, entry: Entry) -> Loss | None:
        """Return why listing the entry would claim what nobody stated, or None where it states this claim."""
        verdicts = _VERDICTS.get(self.purpose) if self.purpose is not None else None
        stated = () if entry.classification is None else entry.classification.dimensions.get("verdict", ())
        if Code.UNCLASSIFIED in entry.reasons or (entry.classification is not None and not stated):
            return Loss(
                entry.name,
                "entry",
                "UNDECIDED",
                f"nobody has decided what it is, and {self._what} says of every item that it is listed for a reason",
            )
        if verdicts is None or not stated or verdicts.issuperset(stated):
            return None
        return Loss(
            entry.name,
            "entry",
            "OTHER_CLAIM",
            f"its verdict is {' or '.join(stated)}, and the file says of every item that it is "
            f"{_CLAIMS[self.purpose] if self.purpose else 'listed'}",
        )


class Spelling(NamedTuple):
    """What a file may say of an entry's classification: `value`, or nothing; why, where that is not all."""

    value: str
    reason: str = ""
    detail: str = ""


_NOTHING: Final = Spelling("")


class Speller:
    """The values of one scheme, as a format spells them."""

    def __init__(
        self, what: str, scheme: str, exported: Exported, is_spelled: Callable[[str], bool] = is_plain
    ) -> None:
        """`scheme`: `id@version`, its id where the file names no version, or empty where it has no place for values.

        Without a version it is that of the hash sets, if they are of this scheme. `is_spelled`: whether the format can
        spell a value.
        """
        self._what = what
        self._id, _, version = scheme.partition("@")
        own_id, _, own_version = only_scheme(exported).partition("@")
        version = version or (own_version if own_id == self._id else "")
        target = exported.schemes.get(self._id)
        self._version = version or ("" if target is None else target.version)
        self._target = None if target is None or target.version != self._version else target
        self._is_spelled = is_spelled
        self._known: dict[tuple[str, str, str], Spelling] = {}

    def of(self, entry: Entry) -> Spelling:
        """Return what the file says of the entry's classification."""
        classification = entry.classification
        if classification is None:
            return _NOTHING
        key = (classification.scheme, classification.version, classification.value)
        said = self._known.get(key)
        if said is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            said = self._known[key] = self._say(classification)
        return said

    def _say(self, stated: Classification) -> Spelling:
        name, value = f"{stated.scheme}@{stated.version}", stated.value
        if not self._id:
            return Spelling("", "NO_PLACE", f"{self._what} has no place for values of {name}")
        target = self._target
        if stated.scheme == self._id and self._version in {"", stated.version}:
            if self._is_spelled(value):
                return Spelling(value)
            resolved = None if target is None else target.resolve(value)
            if resolved is not None and self._is_spelled(resolved.value):
                return Spelling(resolved.value, "RESPELLED", f"{value!r} is written as {resolved.value!r}")
            return Spelling("", "UNWRITABLE_TEXT", f"{self._what} cannot spell the value {value[:40]!r}")
        if target is None:
            return Spelling(
                "", "FOREIGN_SCHEME", f"{name} cannot be translated: the scheme {self._id} is not known here"
            )
        translation = translate(stated, target)
        losses = [loss.text for loss in translation.losses]
        more = f"; and {len(losses) - _SHOWN} more" if len(losses) > _SHOWN else ""
        why = "; ".join(losses[:_SHOWN]) + more
        if translation.value is None or not self._is_spelled(translation.value):
            return Spelling("", "FOREIGN_SCHEME", f"{name} {value} is no value of {target.name}: {why}")
        return Spelling(
            translation.value,
            "TRANSLATED",
            f"{name} {value} is written as {target.name} {translation.value}" + (f": {why}" if why else ""),
        )


class ClaimList:
    """A list in which being listed is a claim: a line for each entry that makes it, and what the line does not say."""

    def __init__(
        self, target: BinaryIO, exported: Exported, listing: PurposeCheck, values: Speller, no_place: UnsupportedFields
    ) -> None:
        self._output = Output(target)
        self._exported = exported
        self._listing = listing
        self._values = values
        self._no_place = no_place

    def write(
        self, entries: Iterable[Entry], head: str, line_of: Callable[[Entry, str], tuple[str, Iterable[Loss]] | Loss]
    ) -> Iterator[Loss]:
        """Write `head` and the lines. `line_of`: an entry's, by its value as the list spells it, and what that lacks;
        or why there is none.
        """
        self._output.put(head)
        for entry in entries:
            refused = withheld(entry, self._exported, has_withdrawals=False) or self._listing.refuses(entry)
            said = _NOTHING if refused else self._values.of(entry)
            line = refused or line_of(entry, said.value)
            if isinstance(line, Loss):
                yield line
                continue
            text, losses = line
            self._output.put(text)
            yield from losses
            if said.reason:
                yield Loss(entry.name, "value", said.reason, said.detail)
            yield from self._no_place.losses(entry)
        self._output.flush()


def only_scheme(exported: Exported) -> str:
    """Return the name `id@version` of the scheme that all hash sets with one share; empty for none or several."""
    names = {s.scheme for s in exported.hash_sets.values() if s.scheme}
    return names.pop() if len(names) == 1 else ""


def about_the_file(
    exported: Exported, what: str, *, scheme: str = "", listed: bool = False, has_purpose: bool = False
) -> Iterator[Loss]:
    """Yield what the file does not say of all its entries.

    `listed`: being in the file is the claim. `has_purpose`: it tells which. `scheme`: what its values are of, where it
    does not name that.
    """
    sets = exported.hash_sets.values()
    if terms := [s for s in sets if _binds(s.marking)]:
        yield Loss("", "terms", "NO_PLACE", f"{what} has no place for terms ({_told(terms)}): tell the recipient")
    if len(contributors := sorted({s.contributor for s in sets})) > 1:
        yield Loss("", "contributor", "NO_PLACE", f"{what} does not tell who states what: {', '.join(contributors)}")
    purposes = sorted({s.purpose for s in sets if listed or not s.scheme})
    if purposes and not has_purpose:
        yield Loss(
            "",
            "purpose",
            "NO_PLACE",
            f"{what} does not tell what being listed means, which is {', '.join(purposes)}: tell the recipient",
        )
    if scheme and sets:
        yield Loss("", "scheme", "NO_PLACE", f"{what} does not tell of which scheme its values are: {scheme}")


def _binds(marking: Marking) -> bool:
    """Whether the terms ask anything of whoever has the entries; what they let the hub do is not for outside."""
    return (
        marking.tlp is not TLP.CLEAR
        or bool(marking.permitted_purposes or marking.legal_basis or marking.recipients)
        or marking.expire_time is not None
    )


def _told(sets: Iterable[HashSet]) -> str:
    labels = [f"{s.name} TLP:{s.marking.tlp.replace('_', '+')}" for s in sets]
    return ", ".join(labels[:_SHOWN]) + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")


def refuse_mixed_purposes(exported: Exported, what: str) -> None:
    """Refuse benign or test items beside others: a value would say of the one what holds of the other."""
    purposes = sorted({s.purpose for s in exported.hash_sets.values()})
    if len(purposes) > 1 and {Purpose.BENIGN, Purpose.TEST} & set(purposes):
        raise _mixed(purposes, what)


def _mixed(purposes: Iterable[str], what: str) -> InvalidArgument:
    detail = f"have the purposes {', '.join(purposes)}, which {what} cannot tell apart; export them to a file each"
    return InvalidArgument.field("hash_sets", detail, "PURPOSES")
