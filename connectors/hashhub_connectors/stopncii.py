"""StopNCII hash records, as FetchHashes answers them: intimate pictures of adults that were shared without consent.

They are kept apart from child sexual abuse material: each item has the tag `purpose:ncii`, the purpose of no hash set
here, so that it waits in quarantine wherever it is imported, and its value is of the scheme `stopncii`, which says
nothing of abuse.

`hashStatus` decides: Withdrawn and Deleted are withdrawals, all others the item's value. A provider's Blocked is a
confirmation, NotBlocked an objection; other feedback is kept in `extra`. `caseNumbers` belong to the people who asked
for help, and are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import msgspec

from hashhub import hashes
from hashhub.connector import (
    NCII_TAG,
    Certainty,
    Exported,
    Guess,
    Items,
    Known,
    LeftOut,
    Loss,
    Option,
    check_options,
    partial,
    read_flag,
)
from hashhub.model import MAX_TEXT, Entry, EntryState, HashFault, Record, RecordReview, Reject, ReviewKind
from hashhub_connectors import exchange, items
from hashhub_connectors.outgoing import Output, UnsupportedFields, no_place_for_hash, withheld
from hashhub_connectors.source import ClassifiedFormat, JSONReader

SCHEME: Final = "stopncii"
_TYPES: Final = {"imagepdq": ("PDQ", ""), "videomd5": ("MD5", "video")}
_GONE: Final = frozenset({"withdrawn", "deleted"})
_FEEDBACK: Final = {"Blocked": ReviewKind.CONFIRMED, "NotBlocked": ReviewKind.NOT_ILLEGAL_HERE}
_FIELDS: Final = frozenset({"signalType", "hashValue", "hashStatus"})
_RECORD: Final[Known] = {
    **dict.fromkeys(("lastModtimestamp", *_FIELDS)),
    **{name: items.EXTRA[name] for name in ("CSPFeedbacks", "hashRegions")},
}
_ENVELOPE: Final[Known] = dict.fromkeys(
    ("count", "nextPageToken", "nextSetTimestamp", "hasMoreRecords", exchange.CHANGES_ONLY)
)
_FORM: Final = "StopNCII"
_MOMENT: Final = re.compile(r"[1-9][0-9]{0,17}")  # seconds or milliseconds; 0 says nothing
_NO_PLACE: Final = UnsupportedFields(
    _FORM, "flags", "external_id", "media_size", "series", "quality", "expire_time", "member"
)


class StopNCII(ClassifiedFormat):
    """Reads StopNCII hash records. Positions are `hashRecords[12]`, or `[12]` in a bare array."""

    name = SCHEME
    version = "3"
    summary = "StopNCII hash records in JSON: adults' intimate pictures, kept apart from abuse material"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content is enough
        """Return a guess from names that only StopNCII uses."""
        start = exchange.start_of(head)
        if start[:1] in {b"{", b"["} and (b'"hashRecords"' in start or (b'"hashStatus"' in start)):
            return Guess(Certainty.CERTAIN, "it is JSON with StopNCII's hashRecords")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield a Record or Reject for each hash record. Raises MalformedSource for JSON cut off or another's."""
        check_options(self, options)
        return _read(JSONReader(source, "top level"))


def _read(reader: JSONReader) -> Items:
    left_out = LeftOut()

    has_more = has_records = is_delta = False
    if reader.peek() == "[":
        for position, one in exchange.elements(reader, ""):
            yield _record(one, position, left_out)
        reader.end()
        return left_out
    if reader.peek() != "{":
        reader.fail("the file is not StopNCII JSON; expected an object with hashRecords, or an array of them")
    for key in reader.members():
        if key == "hashRecords":
            if has_records:
                reader.fail("hashRecords is given twice; expected it once")
            if reader.peek() != "[":
                reader.fail("hashRecords is not an array; expected an array of records")
            has_records = True
            for position, one in exchange.elements(reader, "hashRecords"):
                yield _record(one, position, left_out)
            reader.where = "top level"
            continue
        value = reader.read()
        left_out.beyond({key: value}, _ENVELOPE)
        is_delta |= key == exchange.CHANGES_ONLY and value is True
        # A token for a further page says so as well as the flag does.
        has_more |= (key == "hasMoreRecords" and read_flag(value) is True) or (key == "nextPageToken" and bool(value))
    reader.end()
    if not has_records:
        reader.fail("the file has no hashRecords; expected an array of StopNCII's records")
    if has_more:
        yield partial("hasMoreRecords", "the file is one page of an answer, and says that another follows")
    if is_delta:
        yield exchange.changes_only()
    return left_out


def _record(one: object, position: str, left_out: LeftOut) -> Record | Reject:
    left_out.beyond(one, _RECORD)
    if not isinstance(one, dict):
        return Reject(position, "NOT_AN_OBJECT", f"expected an object with a hashValue, found {items.kind(one)}")
    if refused := items.given_twice(position, one, _FIELDS):
        return refused
    wrong = next((key for key in sorted(_FIELDS) if not isinstance(one.get(key), str | None)), "")
    status = one.get("hashStatus") or ""
    if wrong or len(status) > MAX_TEXT:
        return Reject(
            position, "BAD_FIELD", f"{wrong or 'hashStatus'} is {items.kind(one.get(wrong))}; expected a word"
        )
    faults: list[HashFault] = []
    kind = (one.get("signalType") or "").strip()
    algorithm, media_type = _TYPES.get(kind.casefold(), (kind[:40] or "signalType", ""))
    pairs = [(algorithm, one.get("hashValue") or "")] if one.get("hashValue") else []
    value = items.text(status, "hashStatus", faults)
    if value.casefold() in _GONE:
        return items.withdrawal(position, pairs, faults)
    reviews, unread = _feedback(one.get("CSPFeedbacks"), faults)
    beyond = {"CSPFeedbacks": unread, "hashRegions": one.get("hashRegions")}
    return items.finish(
        position,
        pairs,
        faults,
        value=value,
        scheme=SCHEME if value else "",
        media_type=media_type,
        tags=(NCII_TAG,),
        source_time=items.text(one.get("lastModtimestamp") or "", "lastModtimestamp", faults),
        reviews=reviews,
        extra=items.extra_of(beyond, left_out, faults),
    )


def _feedback(listed: object, faults: list[HashFault]) -> tuple[tuple[RecordReview, ...], list[object]]:
    """Return the feedback that speaks for or against an item, as reviews, and the rest as it is."""
    if listed is None:
        return (), []
    if not isinstance(listed, list):
        faults.append(items.bad_field("CSPFeedbacks", "an array", listed))
        return (), []
    said: dict[tuple[ReviewKind, str], str] = {}
    unread: list[object] = []
    for one in listed:
        value = one.get("feedbackValue") if isinstance(one, dict) else None
        kind = _FEEDBACK.get(value) if isinstance(value, str) else None
        if kind is None or not isinstance(one, dict):
            unread.append(one)
            continue
        source = items.text(one.get("source"), "CSPFeedbacks", faults)
        words = ", ".join((str(value), *items.tags(one.get("tags"), "CSPFeedbacks", faults)))
        said.setdefault((kind, f"csp:{source}" if source else ""), items.text(words, "CSPFeedbacks", faults))
    return tuple(RecordReview(kind, author, words) for (kind, author), words in said.items()), unread


class StopNCIIWriter:
    """Writes entries of the scheme `stopncii` with the tag `purpose:ncii` as hash records, one for each hash; those
    withdrawn as Withdrawn.

    Nothing else: a record of StopNCII says that the person shown is an adult, which no list of abuse material states.
    """

    name = SCHEME
    version = "1"
    summary = "StopNCII hash records in JSON: entries of the scheme stopncii only; withdrawals as Withdrawn"
    options: tuple[Option, ...] = ()
    reads_back = SCHEME
    has_withdrawals = True
    suffix = ".json"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries; see hashhub.connector.Writer."""
        check_options(self, options)
        return _write(entries, target, exported)


def _write(entries: Iterable[Entry], target: BinaryIO, exported: Exported) -> Iterator[Loss]:
    sink = Output(target)
    time = int(exported.time.timestamp())
    sink.put(b'{"nextPageToken":null,"hasMoreRecords":false,"nextSetTimestamp":%d,"hashRecords":[' % time)
    listing = exchange.JSONArray(sink)
    count = 0
    is_first = True
    for entry in entries:
        if (loss := _kept_back(entry, exported)) is not None:
            yield loss
            continue
        losses: list[Loss] = []
        signals = []
        for h in entry.hashes:
            if (kind := _signal_type(entry, h.algorithm)) is not None:
                signals.append((kind, hashes.encode(h)))
            else:
                losses += no_place_for_hash(entry, _FORM, [h.algorithm])
        if not signals:
            yield exchange.no_hash(entry, _FORM)
            continue
        yield from losses
        if is_first:
            is_first = False
            yield Loss("", "terms", "NO_PLACE", f"{_FORM} has no place for handling terms")
        is_withdrawal = entry.state is EntryState.WITHDRAWN
        record: dict[str, Any] = {}
        if not is_withdrawal:
            record, losses = _fields(entry, [kind for kind, _ in signals])
            yield from losses
        classification = entry.classification
        status = "Withdrawn" if is_withdrawal or classification is None else classification.value
        moment = int(entry.source_time) if _is_moment(entry.source_time) else 0  # of a time that nobody stated
        for kind, digest in signals:
            listing.add(
                exchange.encode(
                    {
                        "lastModtimestamp": moment,
                        "signalType": kind,
                        "hashValue": digest,
                        "hashStatus": status,
                        "caseNumbers": {},
                        **record,
                    }
                )
            )
            count += 1
    changes = b',"%s":true' % exchange.CHANGES_ONLY.encode() if exported.is_delta else b""
    sink.put(b'\n],"count":%d%s}\n' % (count, changes))
    sink.flush()


def _kept_back(entry: Entry, exported: Exported) -> Loss | None:
    if (loss := withheld(entry, exported, has_withdrawals=True)) is not None:
        return loss
    classification = entry.classification
    is_ncii = NCII_TAG in entry.tags and classification is not None and classification.scheme == SCHEME
    if classification is None or not is_ncii or not exchange.survives(classification.value):
        detail = "a record of StopNCII says that an adult is shown, which this entry does not state"
        return Loss(entry.name, "entry", "ANOTHER_PURPOSE", detail)
    return exchange.withdrawal_of_all(entry, exported)


def _signal_type(entry: Entry, algorithm: str) -> str | None:
    if algorithm == "PDQ":
        return "ImagePDQ"
    is_video = entry.media_type.casefold().partition("/")[0] == "video"
    return "VideoMD5" if algorithm == "MD5" and is_video else None


def _fields(entry: Entry, kinds: list[str]) -> tuple[dict[str, Any], list[Loss]]:
    """Return what a record says beside its hash, and what is lost."""
    losses: list[Loss] = []
    if len(kinds) > 1:
        detail = f"{len(kinds)} hashes of the item are records of their own, which nothing binds together"
        losses.append(Loss(entry.name, "hashes", "HASHES_PARTED", detail))
    # With several records the first tells what is read of all.
    read_as = "video" if kinds[0] == "VideoMD5" else ""
    if entry.media_type != read_as:
        losses.append(Loss(entry.name, "media_type", "NO_PLACE", f"{_FORM} knows videos, and no other media type"))
    if entry.tags != (NCII_TAG,):
        losses.append(Loss(entry.name, "tags", "NO_PLACE", f"{_FORM} has no place for tags"))
    if entry.source_time and not _is_moment(entry.source_time):
        losses.append(Loss(entry.name, "source_time", "UNWRITABLE_TEXT", "a time is a number of seconds here"))
    losses += _NO_PLACE.losses(entry)
    beyond: dict[str, Any] = {}
    if entry.extra:
        own = _own_extra(entry)
        if own is None:
            losses.append(Loss(entry.name, "extra", "NO_PLACE", f"{_FORM} has no place for it"))
        else:
            beyond = own
    return beyond, losses


def _is_moment(text: str) -> bool:
    return _MOMENT.fullmatch(text) is not None


def _own_extra(entry: Entry) -> dict[str, Any] | None:
    """Return what another StopNCII file said of the item, if that is what `extra` holds."""
    if entry.provenance.connector != SCHEME:
        return None
    try:
        own = msgspec.json.decode(entry.extra)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    if not isinstance(own, dict) or own.keys() - {"CSPFeedbacks", "hashRegions"}:
        return None
    faults: list[HashFault] = []
    reviews, unread = _feedback(own.get("CSPFeedbacks"), faults)
    read = items.extra_of({"CSPFeedbacks": unread, "hashRegions": own.get("hashRegions")}, LeftOut(), [])
    return own if not reviews and not faults and read == entry.extra else None
