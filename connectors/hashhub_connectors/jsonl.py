"""hashhub's own JSON lines: everything that an entry says.

    {"format":"hashhub-entries","version":1,"time":…,"is_delta":false,"hash_sets":[{…,"marking":{"tlp":"AMBER",…}}]}
    {"entry":"nl/known/7","hashes":["MD5:…","PDQ:…"],"scheme":"vic-us@2.0","value":"1","external_id":"x-7",…}
    {"end":2}

The last line tells that nothing is missing. Entries of the hash set that the option `hash_set` names are read as they
were stated; all others with their contributor as `member`, and its name before their external id, since somebody else's
statement is not the importer's own. The strictest terms of the file's hash sets are a floor for the importing one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, Final

import msgspec

from hashhub import vpdq
from hashhub.connector import (
    MAX_LINE,
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
    read_hashes,
)
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    NO_FLAGS,
    Action,
    Entry,
    EntryState,
    Flags,
    HashFault,
    HashSet,
    Marking,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    SchemeStatus,
    VideoFrame,
)
from hashhub.schemes import NO_REGION, is_name
from hashhub_connectors import outgoing
from hashhub_connectors.items import MAX_SIZE, MAX_TAGS, as_many_reviews, read_extra
from hashhub_connectors.outgoing import Output

FORMAT: Final = "hashhub-entries"
VERSION: Final = 2
_READ: Final = (1, VERSION)  # the first one had no frames
MAX_VIDEO_LINE: Final = 4 * MAX_LINE  # a video of 20,000 frames has 2 MB of them
_ENTRY: Final = re.compile(r"([a-z0-9-]{1,63})/([a-z0-9-]{1,63})/([0-9]{1,19})")
_HASH_SET: Final = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}")
_MAX_QUALITY: Final = 100
_LONE: Final = re.compile("[\0\ud800-\udfff]")  # what no database keeps


class _Marking(msgspec.Struct, kw_only=True, omit_defaults=True):
    tlp: str
    permitted_purposes: tuple[str, ...] = ()
    legal_basis: str = ""
    redistribution: bool = False
    recipients: tuple[str, ...] = ()
    disclose_existence: bool = False
    bulk: bool = False
    max_distances: dict[str, int] = {}
    expire_time: datetime | None = None


class _HashSet(msgspec.Struct, kw_only=True, omit_defaults=True):
    hash_set: str
    create_time: datetime | None = None
    display_name: str = ""
    scheme: str = ""
    purpose: str
    review_depth: int = 0
    marking: _Marking


class _Head(msgspec.Struct, kw_only=True):
    format: str
    version: int
    time: datetime
    is_delta: bool
    hash_sets: tuple[_HashSet, ...]


class _Withdrawal(msgspec.Struct, kw_only=True, omit_defaults=True):
    reason: str
    comment: str = ""
    revision: int = 0


class _Review(msgspec.Struct, omit_defaults=True):
    kind: ReviewKind
    author: str
    comment: str = ""


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a line says of an entry; the last line has `end` alone."""

    entry: str = ""
    state: str = "ACTIVE"
    hashes: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    scheme: str = ""
    value: str = ""
    region: str = ""
    draft: bool = False
    dimensions: dict[str, tuple[str, ...]] = {}
    flags: dict[str, bool] = {}
    external_id: str = ""
    media_type: str = ""
    media_size: int | None = None
    series: str = ""
    tags: tuple[str, ...] = ()
    quality: int | None = None
    source_time: str = ""
    expire_time: datetime | None = None
    extra: str = ""
    member: str = ""
    reasons: tuple[str, ...] = ()
    withdrawal: _Withdrawal | None = None
    reviews: tuple[_Review, ...] = ()
    import_id: str = ""
    connector: str = ""
    connector_version: str = ""
    source_digest: str = ""
    position: str = ""
    create_revision: int = 0
    update_revision: int = 0
    end: int | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_KNOWN_LINE: Final[Known] = {
    **dict.fromkeys(_Line.__struct_fields__),
    "withdrawal": {"reason": None, "revision": None},
    "reviews": dict.fromkeys(_Review.__struct_fields__),
}
_KNOWN_HEAD: Final[Known] = {
    **dict.fromkeys(_Head.__struct_fields__),
    "hash_sets": {
        **dict.fromkeys(_HashSet.__struct_fields__),
        "marking": dict.fromkeys(_Marking.__struct_fields__),
    },
}
_FLAGS: Final = Flags.__struct_fields__
_TEXTS: Final = ("value", "media_type", "series", "source_time")


class HashhubJSONL:
    """Reads hashhub's own JSON lines. Positions are `line 12`."""

    name = "hashhub-jsonl"
    version = "4"
    summary = "hashhub's own JSON lines, with everything that entries say, and withdrawals"
    options: tuple[Option, ...] = (
        Option(
            "hash_set",
            "CONTRIBUTOR/SET whose entries are the importer's own, and read as they were stated; those of all others "
            "are read as stated by a member",
        ),
        Option(
            "classifications",
            "no: being listed is what the entries say, and none has a value; refused where one has, or is undecided",
        ),
    )

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        """Return whether entries may have values: they do unless the option says no. Raises InvalidArgument."""
        check_options(self, options)
        return _has_classifications(options)

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the first line says it
        """Return a guess by the first line."""
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200]
        if re.match(rb'\{\s*"format"\s*:\s*"hashhub-entries"', first):
            return Guess(Certainty.CERTAIN, f"its first line says that its format is {FORMAT}")
        return None

    def hash_sets(self, source: BinaryIO) -> tuple[HashSet, ...]:
        """Return the file's hash sets, with their terms. Raises as `read`."""
        hash_sets: list[HashSet] = []
        for told in _head(source, LeftOut()).hash_sets:
            contributor, _, own_id = told.hash_set.partition("/")
            try:
                marking = msgspec.convert(msgspec.to_builtins(told.marking), Marking)
                hash_sets.append(
                    HashSet(contributor=contributor, id=own_id, marking=marking, create_time=told.create_time)
                )
            except (msgspec.ValidationError, InvalidArgument) as e:
                raise MalformedSource(
                    f"the terms of {told.hash_set[:80]} cannot be read ({str(e)[:200]}); a newer hashhub may read them",
                    position="line 1",
                ) from e
        return tuple(hash_sets)

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each entry, and a `partial` for a file that holds changes only.

        Raises MalformedSource for another first line, a missing last one, and what stands behind it; InvalidArgument
        for an entry with a value, or an undecided one, where the options say that there are none.
        """
        check_options(self, options)
        own, has_values = _own(options), _has_classifications(options)
        left_out = LeftOut()
        head = _head(source, left_out)
        if not has_values and any(s.scheme for s in head.hash_sets):
            raise InvalidArgument.field(
                "options.classifications",
                "is no, but a hash set of the file has a scheme; leave the option out",
                "WORD",
            )
        number, count = 1, 0
        while line := source.readline(MAX_VIDEO_LINE):
            number += 1
            position = f"line {number}"
            if not line.endswith(b"\n") and len(line) == MAX_VIDEO_LINE:
                raise MalformedSource(f"the line has {MAX_VIDEO_LINE} bytes or more", position=position)
            if not line.strip():
                continue
            try:
                said = _decode_object(line)
                told = msgspec.convert(said, _Line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
                if not line.endswith(b"\n"):
                    raise _cut(position) from e
                count += 1
                yield Reject(position, "NOT_AN_OBJECT", f"the line is no entry: {str(e)[:200]}")
                continue
            if told.end is not None:
                if told.end != count:
                    raise MalformedSource(
                        f"the file ends with {told.end} entries by its own count, but has {count}", position=position
                    )
                if source.read(1).strip():
                    raise MalformedSource("something stands behind the last line", position=position)
                if head.is_delta:
                    yield partial("line 1", "the file holds changes since an earlier one, and not the full list")
                return left_out
            count += 1
            left_out.beyond(said, _KNOWN_LINE)
            if not has_values and (told.value or "UNCLASSIFIED" in told.reasons):
                raise InvalidArgument.field(
                    "options.classifications",
                    f"is no, but {position} has a value or is undecided; leave the option out",
                    "WORD",
                )
            yield _record(position, told, own, left_out)
        raise _cut(f"line {number + 1}")


class HashhubJSONLWriter:
    """Writes hashhub's own JSON lines."""

    name = "hashhub-jsonl"
    version = "4"
    summary = "hashhub's own JSON lines: everything that entries say, terms, deltas with withdrawals"
    options: tuple[Option, ...] = ()
    reads_back = "hashhub-jsonl"
    has_withdrawals = True
    suffix = ".jsonl"

    def reading_options(self, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Return the hash set, where there is one."""
        return {"hash_set": next(iter(exported.hash_sets))} if len(exported.hash_sets) == 1 else {}

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the lines. Nothing is lost but what must not leave."""
        check_options(self, options)
        output = Output(target)
        head = _Head(
            format=FORMAT,
            version=VERSION,
            time=exported.time,
            is_delta=exported.is_delta,
            hash_sets=tuple(_told(s) for _, s in sorted(exported.hash_sets.items())),
        )
        output.put(_encode(head) + b"\n")
        count = 0
        for entry in entries:
            refused = outgoing.withheld(entry, exported, has_withdrawals=True)
            if refused is None and not entry.hashes and not entry.frames and not entry.external_id:
                refused = Loss(
                    entry.name, "entry", "ERASED", "nothing is left by which others know it: tell them the entry's name"
                )
            if refused is not None:
                yield refused
                continue
            entry, loss = outgoing.with_known_extra(entry)  # noqa: PLW2901 - the same one, with less of it
            if loss is not None:
                yield loss
            output.put(_encode(_line(entry)) + b"\n")
            count += 1
        output.put(f'{{"end":{count}}}\n')
        output.flush()


def _told(hash_set: HashSet) -> _HashSet:
    marking = hash_set.marking
    return _HashSet(
        hash_set=hash_set.name,
        create_time=hash_set.create_time,
        display_name=hash_set.display_name,
        scheme=hash_set.scheme,
        purpose=hash_set.purpose,
        review_depth=hash_set.review_depth,
        marking=_Marking(**{name: getattr(marking, name) for name in _Marking.__struct_fields__}),
    )


def _line(entry: Entry) -> _Line:
    provenance, classification, withdrawal = entry.provenance, entry.classification, entry.withdrawal
    line = _Line(
        entry=entry.name,
        hashes=tuple([h.text for h in entry.hashes]),
        frames=vpdq.texts(entry.frames) if entry.frames else (),
        external_id=entry.external_id,
        media_type=entry.media_type,
        media_size=entry.media_size,
        series=entry.series,
        tags=entry.tags,
        quality=entry.quality,
        source_time=entry.source_time,
        expire_time=entry.expire_time,
        extra=entry.extra,
        member=provenance.member,
        reasons=entry.reasons,
        reviews=tuple(_Review(r.kind, r.author, r.comment) for r in entry.reviews),
        import_id=provenance.import_id,
        connector=provenance.connector,
        connector_version=provenance.connector_version,
        source_digest=provenance.source_digest,
        position=provenance.position,
        create_revision=entry.create_revision,
        update_revision=entry.update_revision,
    )
    if entry.state is EntryState.WITHDRAWN:
        line.state = entry.state
    if classification is not None:
        line.scheme = f"{classification.scheme}@{classification.version}"
        line.value = classification.value
        line.region = classification.region
        line.draft = classification.status is SchemeStatus.DRAFT
        line.dimensions = classification.dimensions
    if entry.flags is not NO_FLAGS:
        line.flags = {name: flag for name in _FLAGS if (flag := getattr(entry.flags, name)) is not None}
    if withdrawal is not None:
        line.withdrawal = _Withdrawal(
            reason=withdrawal.reason, comment=withdrawal.comment, revision=withdrawal.revision
        )
    return line


def _head(source: BinaryIO, left_out: LeftOut) -> _Head:
    line = source.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf")
    if not line.strip():
        raise MalformedSource("the file is empty; expected a first line with its format", position="line 1")
    try:
        said = _decode_object(line)
        head = msgspec.convert(said, _Head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise MalformedSource(
            f'the first line is none of hashhub\'s JSON lines; expected {{"format":"{FORMAT}","version":1,…}}',
            position="line 1",
        ) from e
    if head.format != FORMAT or head.version not in _READ:
        raise MalformedSource(
            f"the first line says {head.format[:40]!r}, version {head.version}; expected {FORMAT!r}, up to {VERSION}; "
            "a newer hashhub may read it",
            position="line 1",
        )
    if not line.endswith(b"\n"):
        raise _cut("line 1")
    left_out.beyond(said, _KNOWN_HEAD)
    return head


def _cut(position: str) -> MalformedSource:
    return MalformedSource(
        'the file is cut off: its last line, {"end":COUNT}, is missing; get it again', position=position
    )


def _record(position: str, told: _Line, own: str, left_out: LeftOut) -> Record | Reject:
    name = _ENTRY.fullmatch(told.entry)
    if name is None:
        return Reject(position, "BAD_FIELD", "entry is no name of an entry; expected CONTRIBUTOR/SET/NUMBER")
    if told.state not in {EntryState.ACTIVE, EntryState.WITHDRAWN}:
        return Reject(position, "BAD_FIELD", f"state is {told.state[:40]!r}; expected ACTIVE or WITHDRAWN")
    contributor, hash_set, _ = name.groups()
    external_id, member = told.external_id, told.member
    if f"{contributor}/{hash_set}" != own:
        external_id = f"{contributor}/{hash_set}/{external_id}" if external_id else ""
        member = f"{contributor}/{member}" if member else contributor
    if len(told.hashes) > MAX_HASHES_PER_ENTRY:
        return Reject(position, "TOO_MANY_HASHES", f"the item has more than {MAX_HASHES_PER_ENTRY} hashes")
    if wrong := _wrong(told, external_id, member):
        return Reject(position, "BAD_FIELD", wrong)
    pairs = [(algorithm, digest) for algorithm, _, digest in (text.partition(":") for text in told.hashes)]
    hashes, faults = read_hashes(pairs)
    frames: tuple[VideoFrame, ...] = ()
    if told.frames:
        try:
            frames = vpdq.of_texts(told.frames)
        except MalformedSource as e:
            return Reject(position, "BAD_FIELD", f"frames: {e.position}: {e.message}")
    if told.state == EntryState.WITHDRAWN:
        if not hashes and not external_id and not frames:
            return Reject(position, "MISSING_EXTERNAL_ID", "the withdrawal names neither an id nor a usable hash")
        return Record(
            position=position,
            action=Action.WITHDRAW,
            external_id=external_id,
            hashes=hashes,
            faults=faults,
            frames=frames,
        )
    if not hashes and not frames:
        first = faults[0] if faults else HashFault("", "NO_HASH", "expected at least one hash")
        return Reject(position, first.reason, f"the item has no usable hash: {first.detail}")
    noted: list[HashFault] = []
    extra = read_extra(told.extra, left_out, noted)
    reviews = as_many_reviews(tuple(RecordReview(r.kind, r.author, r.comment) for r in told.reviews), noted)
    return Record(
        position=position,
        hashes=hashes,
        faults=(*faults, *noted),
        external_id=external_id,
        value=told.value,
        scheme=told.scheme if told.value else "",
        region=told.region if told.value and told.region != NO_REGION else "",
        member=member,
        flags=Flags(**told.flags) if told.flags else NO_FLAGS,
        media_type=told.media_type,
        media_size=told.media_size,
        series=told.series,
        tags=told.tags,
        quality=told.quality,
        source_time=told.source_time,
        expire_time=told.expire_time,
        extra=extra,
        reviews=reviews,
        frames=frames,
    )


def _wrong(told: _Line, external_id: str, member: str) -> str:
    """Return what is wrong with the fields of a line, or an empty string."""
    texts: dict[str, Any] = {field: getattr(told, field) for field in _TEXTS}
    for field, text in {**texts, "external_id": external_id, "member": member, "region": told.region}.items():
        if len(text) > MAX_TEXT:
            return f"{field} must be at most {MAX_TEXT} characters, got {len(text)}"
        if _LONE.search(text):
            return f"{field} holds NUL, or half a surrogate pair"
    if len(told.tags) > MAX_TAGS or any(len(t) > MAX_TEXT or _LONE.search(t) for t in told.tags):
        return f"tags must be at most {MAX_TAGS} texts of at most {MAX_TEXT} characters, without NUL"
    if told.media_size is not None and not 0 <= told.media_size <= MAX_SIZE:
        return "media_size must be a whole number of bytes"
    if told.quality is not None and not 0 <= told.quality <= _MAX_QUALITY:
        return f"quality must be between 0 and {_MAX_QUALITY}"
    if told.expire_time is not None and told.expire_time.tzinfo is None:
        return "expire_time must say its offset from UTC"
    if not told.flags.keys() <= set(_FLAGS):
        return f"flags must be of {', '.join(_FLAGS)}"
    if any(len(text) > MAX_TEXT or _LONE.search(text) for r in told.reviews for text in (r.author, r.comment)):
        return f"authors and comments of reviews must be at most {MAX_TEXT} characters, without NUL"
    if told.value and not is_name(told.scheme):
        return "scheme must be ID or ID@VERSION where there is a value"
    return ""


def _own(options: Mapping[str, str]) -> str:
    own = options.get("hash_set", "")
    if own and not _HASH_SET.fullmatch(own):
        raise InvalidArgument.field("options.hash_set", f"is {own[:80]!r}; expected CONTRIBUTOR/SET", "PATTERN")
    return own


def _has_classifications(options: Mapping[str, str]) -> bool:
    given = options.get("classifications", "")
    if given not in {"", "yes", "no"}:
        raise InvalidArgument.field("options.classifications", f"is {given[:40]!r}; expected yes or no", "WORD")
    return given != "no"
