"""The contract that every writer keeps, as tests: subclass `WriterContract` and run it with pytest.

    class TestMine(WriterContract):
        writer = MyWriter()
        connector = MyConnector()   # the one that its `reads_back` names

What was written is read back and compared with the entries, field by field: whatever differs must be named by a `Loss`,
and each Loss must name a difference. `check_round_trip` does that for any entries, such as those of a hypothesis
strategy. Needs neither pytest nor hypothesis itself: entries come from a fixed seed.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar, Final

import msgspec

from hashhub import schemes
from hashhub.connector import PURPOSE_TAG, Connector, Exported, Loss, Writer, reading_options
from hashhub.errors import InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hygiene import Code
from hashhub.model import (
    NO_FLAGS,
    Action,
    Classification,
    Entry,
    EntryState,
    Flags,
    HashSet,
    Provenance,
    Record,
    Reject,
    VideoFrame,
    Withdrawal,
    WithdrawalReason,
)
from hashhub.schemes import Scheme
from hashhub.schemes.crosswalk import translate

ABOUT_THE_FILE: Final = frozenset({"terms", "contributor", "purpose", "scheme"})
"""What a Loss without an entry may name although no entry has such a field."""
MAX_WRITE: Final = 1 << 20  # bytes; a writer that writes more at a time would not stream
MAX_HELD: Final = 1 << 20  # bytes; what a writer may hold back of the entries that it has taken
TIME: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TEXT_FIELDS: Final = ("series", "source_time", "member", "extra")
_OTHER_FIELDS: Final = ("media_size", "quality", "expire_time")
_MANY: Final = 20_000  # entries of the test of streaming, unless they are too small for it or large enough before
# Texts that break writers: separators, quotes, formulas, markup, escapes, spaces at the ends, other scripts, emptiness.
TEXTS: Final = (
    "plain", "", "with space", ' "quoted" ', 'a"b', "a,b", "a;b", "a\tb", "two\nlines", "cr\r\nlf", "=1+1", "+49", "-1",
    "@x", "'", "<b>&amp;</b>", "]]>", "\\", "\\n", "%%%%", "# no comment", "é à ü", "日本語", "עברית", "🧩",
    "e\u0301", "\u202etxt", " lead", "trail ", "null", "0", "{}", "x" * 1024,
)  # fmt: skip


class Sink(io.RawIOBase):
    """A target that keeps what is written, and how much at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.size = self.largest = 0

    def writable(self) -> bool:
        """Return True: it is a target."""
        return True

    def write(self, data: Any, /) -> int:
        """Take all of `data`."""
        self.parts.append(bytes(data))
        self.size += len(self.parts[-1])
        self.largest = max(self.largest, len(self.parts[-1]))
        return len(self.parts[-1])

    @property
    def data(self) -> bytes:
        """All that was written."""
        return b"".join(self.parts)


def written(
    writer: Writer, entries: Iterable[Entry], exported: Exported, options: Mapping[str, str]
) -> tuple[bytes, list[Loss]]:
    """Return the file of these entries, and what was lost."""
    sink: Any = Sink()
    losses = list(writer.write(entries, sink, exported, options))
    for loss in losses:
        assert loss.field, f"a loss must name a field: {loss}"
        assert _CODE.fullmatch(loss.reason), f"{loss.reason!r} is no UPPER_SNAKE reason"
        assert loss.detail, f"a loss must have a sentence: {loss}"
    return sink.data, losses


def check_round_trip(
    writer: Writer,
    connector: Connector,
    entries: Sequence[Entry],
    exported: Exported,
    options: Mapping[str, str],
) -> tuple[bytes, list[Loss]]:
    """Assert that what was written reads back as these entries, of which no two share a digest, minus exactly what the
    losses name; return file and losses.
    """
    data, losses = written(writer, entries, exported, options)
    reading = reading_options(writer, exported, options)
    assert {o.name for o in connector.options} >= set(reading), "the file is read with options that the connector has"
    items = list(connector.read(io.BytesIO(data), reading)) if data else []
    refused = [i for i in items if isinstance(i, Reject) and i.reason != Code.PARTIAL_SOURCE]
    assert not refused, f"the connector refuses what was written: {refused[:3]}"
    records = [i for i in items if isinstance(i, Record)]
    everywhere = {loss.field for loss in losses if not loss.entry} - ABOUT_THE_FILE
    by_entry: dict[str, list[Loss]] = defaultdict(list)
    for loss in losses:
        if loss.entry:
            by_entry[loss.entry].append(loss)
    unknown = by_entry.keys() - {e.name for e in entries}
    assert not unknown, f"losses of entries that were not given: {sorted(unknown)[:3]}"
    by_hash: dict[Hash, list[int]] = defaultdict(list)
    by_id: dict[str, list[int]] = defaultdict(list)
    by_frames: dict[tuple[VideoFrame, ...], list[int]] = defaultdict(list)
    for number, record in enumerate(records):
        for value in record.hashes:
            by_hash[value].append(number)
        if record.frames:
            by_frames[record.frames].append(number)
        if not record.hashes:
            by_id[record.external_id].append(number)
    told: set[int] = set()
    for entry in entries:
        own = by_entry[entry.name]
        alike = {n for value in entry.hashes for n in by_hash[value]}
        numbers = sorted(alike | set(by_frames.get(entry.frames, ())) | set(_by_id(entry, by_id)))
        told.update(numbers)
        fields = {loss.field for loss in own} | everywhere
        if "entry" in fields:
            assert not numbers, f"{entry.name} is written, although a loss says that it is not: {own}"
            assert len(own) == 1, f"{entry.name} is left out altogether; nothing more can be lost of it: {own}"
            continue
        assert entry.state is not EntryState.QUARANTINED, f"{entry.name} is in quarantine, and was written"
        assert numbers, f"{entry.name} is not written, and no loss says so"
        # What is withdrawn may be named several times over: by each of its hashes.
        may_be_parted = "hashes" in fields or entry.state is EntryState.WITHDRAWN
        assert len(numbers) == 1 or may_be_parted, f"{entry.name} became {len(numbers)} items"
        _compare(entry, [records[n] for n in numbers], own, everywhere, exported)
    assert told == set(range(len(records))), "the file has items that are none of the entries"
    return data, losses


def _by_id(entry: Entry, by_id: Mapping[str, list[int]]) -> Iterator[int]:
    """Yield the records without hashes that name the entry: withdrawals."""
    if entry.state is EntryState.WITHDRAWN:
        for external_id, numbers in by_id.items():
            if _means(entry, external_id):
                yield from numbers


def _means(entry: Entry, external_id: str) -> bool:
    """Whether an id of the file can only be this entry's: its own, or one made of it or of its name."""
    own = entry.external_id
    return bool(own and (external_id == own or external_id.endswith(f"/{own}"))) or external_id.endswith(
        f"/{entry.hash_set}/{entry.id}"
    )


def _compare(
    entry: Entry,
    records: Sequence[Record],
    losses: Sequence[Loss],
    everywhere: set[str],
    exported: Exported,
) -> None:
    lost = {loss.field for loss in losses} | everywhere
    record, name = records[0], entry.name
    if entry.state is EntryState.WITHDRAWN:
        assert all(r.action is Action.WITHDRAW for r in records), f"{name} is withdrawn, and was written as if it stood"
        assert set(lost) <= {"external_id"} | {f for f in lost if f.startswith("hash:")} | everywhere, (
            f"of a withdrawal only what names the entry can be lost: {lost}"
        )
        return
    assert all(r.action is Action.CONTRIBUTE for r in records), f"{name} stands, and was written as withdrawn"
    differs: set[str] = set()
    read_hashes = {h for r in records for h in r.hashes}
    assert read_hashes <= set(entry.hashes), f"{name} got hashes that it does not have"
    differs |= {f"hash:{h.algorithm}" for h in set(entry.hashes) - read_hashes}
    if len(records) > 1:
        differs.add("hashes")
    if (read_frames := next((r.frames for r in records if r.frames), ())) != entry.frames:
        differs.add("frames")
        assert not read_frames, f"{name} got frames that it does not have"
    if _value_differs(entry, record, [x for x in losses if x.field == "value"], exported):
        differs.add("value")
    if record.external_id != entry.external_id:
        differs.add("external_id")
        assert not record.external_id or _means(entry, record.external_id), f"{name} got the id of something else"
    for flag in Flags.__struct_fields__:
        stated, read = getattr(entry.flags, flag), getattr(record.flags, flag)
        if stated is not read:
            differs.add("flags")
            assert read is None, f"{name}: the flag {flag} was {stated} and is {read}"
    if record.media_type != entry.media_type:
        differs.add("media_type")
        wide, narrow = record.media_type.casefold(), entry.media_type.casefold()
        assert narrow.startswith(wide), f"{name}: the media type became another one: {record.media_type!r}"
    tags = tuple(t for t in record.tags if t in entry.tags or not t.startswith(PURPOSE_TAG))
    if tags != entry.tags:
        differs.add("tags")
        assert set(tags) <= set(entry.tags), f"{name} got tags that it does not have: {tags}"
    for field in (*_TEXT_FIELDS, *_OTHER_FIELDS):
        stated = entry.provenance.member if field == "member" else getattr(entry, field)
        read = getattr(record, field)
        if read != stated and not (field == "extra" and _is_same_json(read, stated)):
            differs.add(field)
            empty = "" if field in _TEXT_FIELDS else None
            is_attributed = field == "member" and read.split()[-1:] == [entry.contributor]
            assert is_attributed or read == empty, f"{name}: {field} was {stated!r} and is {read!r}"
    unnamed = differs - lost
    assert not unnamed, f"{name} lost {sorted(unnamed)}, which no loss names: {entry} became {records}"
    groundless = lost - differs - everywhere
    assert not groundless, f"{name}: losses name {sorted(groundless)}, which did not change: {losses}"


def _is_same_json(one: str, other: str) -> bool:
    """Whether two texts are the same JSON: the order of an object's names says nothing."""
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.DecodeError:
        return False


def _value_differs(entry: Entry, record: Record, losses: Sequence[Loss], exported: Exported) -> bool:
    """Whether the value that was read is not the entry's own, in its own scheme; assert that it is what may be said."""
    classification = entry.classification
    if not record.value:
        return classification is not None
    assert classification is not None, f"{entry.name} has no classification, and got the value {record.value!r}"
    own = exported.schemes.get(classification.scheme)
    is_own = own is not None and not own.contradicts_name(record.scheme) and not own.contradicts_region(record.region)
    # A file that does not name its scheme may spell another scheme's value alike: then a loss says so.
    if is_own and record.value == classification.value and (record.scheme or not losses):
        return False
    assert losses, f"{entry.name} was {classification.value!r}, became {record.value!r}, and no loss says so"
    may: set[str | None] = set()
    if is_own and own is not None:
        resolved = own.resolve(classification.value)
        may.add(None if resolved is None else resolved.value)
    for scheme in exported.schemes.values():
        if not scheme.contradicts_name(record.scheme) and not scheme.contradicts_region(record.region):
            may.add(translate(classification, scheme).value)
    assert record.value in may - {None}, f"{entry.name}: {record.value!r} is more than its classification says"
    return True


def known_schemes() -> dict[str, Scheme]:
    """Return the schemes that come with hashhub, by id."""
    registry = schemes.load()
    return {scheme.id: registry.get(scheme.id) for scheme in registry.list()}


class WriterContract:
    """What holds for every writer. Subclasses set `writer`, `connector`, and `options` where needed. `hash_set`: of the
    entries, with a scheme that the format can write. `rounds`: lists written and read back.
    """

    writer: ClassVar[Writer]
    connector: ClassVar[Connector]
    options: ClassVar[Mapping[str, str]] = {}
    hash_set: ClassVar[HashSet] = HashSet(contributor="hotline", id="known", scheme="vic-us@2.0")
    rounds: ClassVar[int] = 60

    def exported(self, *, is_delta: bool = False) -> Exported:
        """Return the description of the export that the writer gets."""
        return Exported({self.hash_set.name: self.hash_set}, known_schemes(), TIME, is_delta)

    def entry(self, random: Random, number: int) -> Entry:
        """Return an ACTIVE entry whose digests nobody else has, with some of everything."""
        return random_entry(random, number, self.hash_set, self.exported().schemes, self.connector.name)

    def test_says_what_it_is(self) -> None:
        """Name, version, summary, options, suffix and the connector are there."""
        assert isinstance(self.writer, Writer)
        assert _NAME.fullmatch(self.writer.name), "the name must be 1 to 63 of a-z, 0-9 and -"
        assert self.writer.version.strip()
        assert self.writer.summary.strip()
        assert all(o.name and o.description for o in self.writer.options)
        assert self.writer.reads_back == self.connector.name
        assert self.writer.suffix.startswith(".")
        assert self.writer.has_withdrawals in {True, False}

    def test_an_empty_export_is_a_whole_file_without_items(self) -> None:
        """No entry at all gives a file that the connector reads, or one of no bytes."""
        for is_delta in (False, True):
            exported = self.exported(is_delta=is_delta)
            data, losses = written(self.writer, [], exported, self.options)
            assert all(not loss.entry for loss in losses)
            if data:
                options = reading_options(self.writer, exported, self.options)
                for one in self.connector.read(io.BytesIO(data), options):
                    assert is_delta, f"an empty export has an item: {one}"
                    assert isinstance(one, Reject), f"an empty delta has an item: {one}"
                    assert one.reason == Code.PARTIAL_SOURCE, f"an empty delta has an item: {one}"

    def test_reads_back_minus_exactly_what_is_lost(self) -> None:
        """The round trip, for many lists."""
        for seed in range(self.rounds):
            random = Random(f"{self.writer.name} {seed}")
            entries = [self.entry(random, number) for number in range(1, random.randint(2, 12))]
            check_round_trip(self.writer, self.connector, entries, self.exported(), self.options)

    def test_every_text_survives_or_is_named(self) -> None:
        """Quotes, line breaks, formulas and other scripts come back as they were, or a loss names the field."""
        random = Random("texts")
        plain = [msgspec.structs.replace(self.entry(random, n), extra="") for n in range(1, len(TEXTS) + 1)]
        for field in ("series", "external_id", "media_type", "source_time", "tags", "member"):
            entries = []
            for entry, text in zip(plain, TEXTS, strict=True):
                value: Any = (text, "second") if field == "tags" and text else () if field == "tags" else text
                if field == "external_id" and text:
                    value = f"{entry.id}{text}"[:1024] if text[0] not in "=+-@ " else f"{text}{entry.id}"
                if field == "member":
                    provenance = msgspec.structs.replace(entry.provenance, member=text)
                    entries.append(msgspec.structs.replace(entry, provenance=provenance))
                else:
                    entries.append(msgspec.structs.replace(entry, **{field: value}))
            check_round_trip(self.writer, self.connector, entries, self.exported(), self.options)

    def test_quarantined_entries_are_never_written(self) -> None:
        """What waits in quarantine leaves by no file, in a delta neither."""
        random = Random("quarantined")
        for is_delta in (False, True):
            entries = [self.entry(random, n) for n in range(1, 6)]
            entries[1] = msgspec.structs.replace(entries[1], state=EntryState.QUARANTINED, reasons=("LOW_QUALITY",))
            _, losses = check_round_trip(
                self.writer, self.connector, entries, self.exported(is_delta=is_delta), self.options
            )
            assert [x for x in losses if x.entry == entries[1].name and x.field == "entry"]

    def test_withdrawn_entries_leave_as_withdrawals_of_a_delta_only(self) -> None:
        """In a delta as withdrawals, where the format has them; otherwise a loss; never as if they stood."""
        random = Random("withdrawn")
        for is_delta in (False, True):
            entries = [self.entry(random, n) for n in range(1, 8)]
            gone = entries[2] = as_withdrawn(entries[2])
            _, losses = check_round_trip(
                self.writer, self.connector, entries, self.exported(is_delta=is_delta), self.options
            )
            is_left_out = any(x.entry == gone.name and x.field == "entry" for x in losses)
            assert is_left_out or (is_delta and self.writer.has_withdrawals)
            if is_delta and self.writer.has_withdrawals and gone.external_id:
                assert not is_left_out, "the format has withdrawals, and the entry has an id"

    def test_what_is_undecided_never_becomes_a_claim(self) -> None:
        """An UNCLASSIFIED entry gets no value, and no place in a file whose every item is a claim."""
        random = Random("unclassified")
        entries = [
            msgspec.structs.replace(self.entry(random, n), classification=None, reasons=("UNCLASSIFIED",))
            for n in range(1, 6)
        ]
        exported = self.exported()
        _, losses = check_round_trip(self.writer, self.connector, entries, exported, self.options)
        reading = reading_options(self.writer, exported, self.options)
        if not self.connector.has_classifications(reading):
            assert {x.entry for x in losses if x.field == "entry"} == {e.name for e in entries}, (
                "the format has no place for a classification: being listed is the claim, which nobody made"
            )

    def test_streams(self) -> None:
        """Written piece by piece while entries come: nothing large at a time, nothing large held back."""
        random = Random("streams")
        first = self.entry(random, 1)
        plain = msgspec.structs.replace(
            first,
            hashes=tuple(_hash(random, name, 1) for name in ALGORITHMS),
            media_type="image/jpeg",
            media_size=1,
            classification=self._some_value(),
            reasons=(),
            extra="",
            tags=(),
        )
        # A file of one entry and one of two tell how many bytes each adds.
        sizes = [
            len(written(self.writer, [_renumbered(plain, n) for n in range(1, k)], self.exported(), self.options)[0])
            for k in (1_001, 2_001)
        ]
        each = (sizes[1] - sizes[0]) / 1000
        assert each > 0, "the entries of this test must be written"
        # Whoever holds a quarter back is found, and so is in any format who holds back all.
        many = round(min(max(_MANY * each, 1.5 * MAX_HELD), 4 * MAX_HELD) / each)
        sink: Any = Sink()
        lag = 0.0

        def entries() -> Iterator[Entry]:
            nonlocal lag
            for number in range(1, many + 1):
                yield _renumbered(plain, number)
                lag = max(lag, number * each - sink.size)

        for _ in self.writer.write(entries(), sink, self.exported(), self.options):
            pass
        assert sink.largest <= MAX_WRITE, f"{sink.largest} bytes were written at once"
        assert lag <= MAX_HELD, f"{lag:.0f} bytes were held back"

    def test_gives_the_same_bytes_twice(self) -> None:
        """The same entries give the same file, also from one writer object."""
        random = Random("twice")
        entries = [self.entry(random, n) for n in range(1, 30)]
        one = written(self.writer, entries, self.exported(), self.options)
        assert one == written(self.writer, entries, self.exported(), self.options)

    def test_refuses_a_wrong_option_before_it_writes(self) -> None:
        """An option that does not exist is an error, and the target stays empty."""
        sink: Any = Sink()
        refused = False
        try:
            for _ in self.writer.write([], sink, self.exported(), {**self.options, "no-such-option": "1"}):
                pass
        except InvalidArgument:
            refused = True
        assert refused, "an unknown option must raise InvalidArgument"
        assert not sink.size, "something was written before the options were checked"

    def _some_value(self) -> Classification | None:
        scheme = self.exported().schemes.get(self.hash_set.scheme.partition("@")[0])
        return None if scheme is None else _claim(scheme)


def random_entry(random: Random, number: int, hash_set: HashSet, known: Mapping[str, Scheme], connector: str) -> Entry:
    """Return an ACTIVE entry with digests by `number` and some of everything, UNCLASSIFIED or foreign values too."""
    names = random.sample(list(ALGORITHMS), random.randint(1, 5))
    hashes = [_hash(random, name, number) for name in names]
    if random.random() < 0.1:
        hashes.append(_hash(random, names[0], number))
    kind = random.random()
    classification: Classification | None = None
    reasons: tuple[str, ...] = ()
    own = known.get(hash_set.scheme.partition("@")[0])
    if kind < 0.6 and own is not None:
        classification = random.choice([own.resolve(value) for value in own.values])
    elif kind < 0.8 and own is not None:
        foreign = random.choice([known[name] for name in sorted(known)])
        classification = random.choice([foreign.resolve(value) for value in foreign.values])
    elif kind < 0.9:
        reasons = ("UNCLASSIFIED",)
    is_own = random.random() < 0.5
    frames = _frames(random, number) if random.random() < 0.1 else ()
    return Entry(
        id=number,
        contributor=hash_set.contributor,
        hash_set=hash_set.id,
        hashes=tuple(dict.fromkeys(hashes)),
        state=EntryState.ACTIVE,
        provenance=Provenance(
            import_id="01",
            connector=connector if is_own else "some-other-format",
            connector_version="1",
            source_digest="00" * 32,
            position=f"line {number}",
            member=random.choice(("", "", "9001 SYNTHETIC & MEMBER", "m/1")),
        ),
        classification=classification,
        reasons=reasons,
        flags=NO_FLAGS if kind < 0.3 else Flags(**{n: random.choice((None, True, False)) for n in _FLAGS}),
        external_id=random.choice(("", f"id-{number}", f"9001/image/{number}", f"a b {number}")),
        media_type=random.choice(("", "image", "image/jpeg", "video", "video/mp4", "application/pdf")),
        media_size=random.choice((None, 0, 12_345, 2**63 - 1)),
        series=random.choice(TEXTS),
        tags=tuple(dict.fromkeys(random.choice(("red", "blue", "a,b", "é", "=1")) for _ in range(random.randrange(3)))),
        quality=random.choice((None, 0, 50, 100)),
        source_time=random.choice(("", "2025-01-02T03:04:05Z", "yesterday")),
        extra=random.choice(("", '{"Synthetic":1}', '{"List":[1,null],"Own":"a \\"b\\""}')),
        expire_time=random.choice((None, None, TIME + timedelta(days=number))),
        create_revision=7,
        update_revision=7,
        frame_count=len(frames),
        frames=frames,
    )


def as_video(entry: Entry, random: Random) -> Entry:
    """Return the entry with frames of its own."""
    frames = _frames(random, entry.id)
    return msgspec.structs.replace(entry, frame_count=len(frames), frames=frames)


def as_withdrawn(entry: Entry) -> Entry:
    """Return the entry as it is once its contributor has withdrawn it."""
    withdrawal = Withdrawal(reason=WithdrawalReason.ERROR, comment="synthetic", actor="somebody", revision=9)
    return msgspec.structs.replace(
        entry,
        state=EntryState.WITHDRAWN,
        reasons=("WITHDRAWN_BY_CONTRIBUTOR",),
        withdrawal=withdrawal,
        update_revision=9,
    )


_FLAGS: Final = Flags.__struct_fields__


def _frames(random: Random, number: int) -> tuple[VideoFrame, ...]:
    count = random.randint(1, 4)
    return tuple(
        VideoFrame(1000 * i, random.randint(0, 100), _hash(random, "PDQ", number).digest) for i in range(count)
    )


def _hash(random: Random, name: str, number: int) -> Hash:
    size = ALGORITHMS[name].digest_bytes
    return Hash(name, number.to_bytes(4) + random.randbytes(size - 4))


def _renumbered(entry: Entry, number: int) -> Entry:
    hashes = tuple(Hash(h.algorithm, number.to_bytes(4) + h.digest[4:]) for h in entry.hashes)
    return msgspec.structs.replace(entry, id=number, hashes=hashes)


def _claim(scheme: Scheme) -> Classification | None:
    """Return a value of a scheme that claims harm."""
    for value in scheme.values:
        classification = scheme.resolve(value)
        if classification is not None and classification.dimensions.get("verdict") == ("csam",):
            return classification
    return None
