"""One hash a line: `ALGORITHM:digest` for all of an entry's digests, or plain digests of one algorithm.

Being in such a list is the claim, so that only entries which make the claim of their hash set are written. Lines know
nothing of one another: that two digests are of one item is lost, and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.model import Entry
from hashhub_connectors import outgoing
from hashhub_connectors.outgoing import ClaimList, PurposeCheck, Speller, UnsupportedFields

_WHAT: Final = "a list of hashes"
_YES_NO: Final = {"": False, "no": False, "yes": True}


class HashLinesWriter:
    """Writes lists of hashes."""

    name = "hash-lines"
    version = "1"
    summary = "one hash a line, ALGORITHM:digest, or plain digests of one algorithm"
    options: tuple[Option, ...] = (
        Option(
            "algorithm", "write the digests of this algorithm alone, without its name; entries without one are lost"
        ),
        Option("names", "yes: with algorithm, the entry's name behind each digest, as md5sum writes file names"),
    )
    reads_back = "hash-lines"
    has_withdrawals = False
    suffix = ".txt"

    def reading_options(self, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Return the algorithm of a plain list."""
        algorithm = _algorithm(options)
        return {"algorithm": algorithm} if algorithm else {}

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the lines. Raises InvalidArgument for an unknown algorithm, and hash sets of several purposes."""
        check_options(self, options)
        algorithm, has_names = _algorithm(options), _has_names(options)
        listing, values = PurposeCheck(exported, _WHAT), Speller(_WHAT, "", exported)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)

        def lines_of(entry: Entry, _value: str) -> tuple[str, list[Loss]] | Loss:
            chosen = [h for h in entry.hashes if algorithm in {"", h.algorithm}]
            if not chosen:
                return Loss(entry.name, "entry", "NO_HASH", f"the entry has no {algorithm or 'hash'}")
            end = f"  {entry.name}\n" if has_names else "\n"
            losses = []
            if len(chosen) > 1:
                what = f"its {len(chosen)} digests stand in lines of their own"
                detail = f"{what}: nothing tells that they are of one item"
                losses.append(Loss(entry.name, "hashes", "ONE_A_LINE", detail))
            if algorithm:
                left = sorted({h.algorithm for h in entry.hashes} - {algorithm})
                detail = f"the list is one of {algorithm} digests"
                losses += [Loss(entry.name, f"hash:{name}", "NO_PLACE", detail) for name in left]
            return "".join((hashes.encode(h) if algorithm else h.text) + end for h in chosen), losses

        head = "" if algorithm else "# ALGORITHM:digest\n"  # other tools' plain lists know no comments
        yield from ClaimList(target, exported, listing, values, _NO_PLACE).write(entries, head, lines_of)


_NO_PLACE: Final = UnsupportedFields(
    _WHAT,
    *("external_id", "flags", "media_type", "media_size", "series", "tags", "quality", "source_time", "expire_time"),
    *("member", "extra"),
)


def _algorithm(options: Mapping[str, str]) -> str:
    given = options.get("algorithm", "")
    try:
        return hashes.algorithm(given).name if given else ""
    except InvalidArgument as e:
        known = ", ".join(hashes.ALGORITHMS)
        raise InvalidArgument.field(
            "options.algorithm", f"is {given[:40]!r}; expected one of {known}", "UNKNOWN_ALGORITHM"
        ) from e


def _has_names(options: Mapping[str, str]) -> bool:
    given = options.get("names", "")
    if given not in _YES_NO:
        raise InvalidArgument.field("options.names", f"is {given[:40]!r}; expected yes or no", "WORD")
    if _YES_NO[given] and not options.get("algorithm"):
        raise InvalidArgument.field("options.names", "goes with the option algorithm: give both", "REQUIRED")
    return _YES_NO[given]
