from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import item, v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    MAX_HASHES_PER_QUERY,
    NO_FLAGS,
    TLP,
    Action,
    AlgorithmStatus,
    ChangedEntry,
    ChangeKind,
    Classification,
    Contributor,
    ContributorKind,
    Counts,
    Coverage,
    Disposition,
    Effort,
    Entry,
    EntryMatch,
    EntryState,
    FeedPage,
    Finding,
    Flags,
    Group,
    HashFault,
    HashSet,
    Import,
    ImportState,
    Marking,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Provenance,
    Purpose,
    Query,
    ReasonLine,
    Record,
    RecordReview,
    Reject,
    Reliability,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
    Status,
    TimeRange,
    Unclassified,
    VariantHashes,
    Verdict,
    VideoFrame,
    VideoMatch,
)
from tests.examples import examples

CONTRIBUTE = v1.Action.ACTION_CONTRIBUTE

# Model values of every kind, valid by construction: what a round trip over the wire must keep.

slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
filled = texts.filter(lambda t: t.strip() != "")
int32s = st.integers(0, 2**31 - 1)
int64s = st.integers(0, 2**63 - 1)
ids = st.integers(1, 2**32 - 1)
import_ids = st.from_regex(r"imp-[0-9a-f]{6}", fullmatch=True)
moments = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis wants them naive
    datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.just(UTC),
)
times = st.none() | moments.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))
hashes = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda name: st.binary(min_size=(n := ALGORITHMS[name].digest_bytes), max_size=n).map(lambda d: Hash(name, d))
)


def tuples(of: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(of, max_size=3).map(tuple)


tri = st.none() | st.booleans()
flag_sets = st.builds(
    Flags, victim_identified=tri, offender_identified=tri, distributed=tri, suspected=tri, self_generated=tri
)
dimensions = st.dictionaries(filled, st.lists(texts, min_size=1, max_size=3).map(tuple), max_size=3)
classifications = st.builds(
    Classification,
    scheme=slugs,
    version=st.sampled_from(["1.0", "2.0", "2014"]),
    region=st.sampled_from(["GB", "US", "ZZ"]),
    value=texts,
    status=st.sampled_from(SchemeStatus),
    dimensions=dimensions,
)
contributors = st.builds(
    Contributor,
    id=slugs,
    display_name=filled,
    kind=st.sampled_from(ContributorKind),
    jurisdiction=st.sampled_from(["GB", "US", "ZZ"]),
    reliability=st.sampled_from(Reliability),
    takes_from=st.lists(slugs.map(lambda s: f"x{s}"), max_size=3).map(tuple),
    create_time=times,
    retire_time=times,
    objections_accepted_revision=int64s,
)
groups = st.builds(
    Group,
    id=slugs,
    display_name=texts,
    members=st.lists(slugs, max_size=3, unique=True).map(tuple),
    create_time=times,
)
markings = st.builds(
    Marking,
    tlp=st.sampled_from([t for t in TLP if t is not TLP.RED]),
    permitted_purposes=tuples(filled),
    legal_basis=texts,
    redistribution=st.booleans(),
    recipients=tuples(st.tuples(st.sampled_from(["contributors", "groups", "tokens"]), slugs).map("/".join)),
    disclose_existence=st.booleans(),
    bulk=st.booleans(),
    expire_time=times,
)
hash_sets = st.builds(
    HashSet,
    contributor=slugs,
    id=slugs,
    display_name=texts,
    scheme=st.sampled_from(["", "vic-us@2.0"]),
    purpose=st.sampled_from(Purpose),
    review_depth=st.integers(0, 100),
    marking=markings,
    unclassified=st.sampled_from(Unclassified),
    accepted_revision=int64s,
    create_time=times,
)
provenances = st.builds(
    Provenance,
    import_id=import_ids,
    connector=slugs,
    connector_version=texts,
    source_digest=st.just("ab" * 32),
    position=texts,
    member=texts,
)
entries = st.builds(
    Entry,
    id=ids,
    contributor=slugs,
    hash_set=slugs,
    hashes=tuples(hashes),
    state=st.sampled_from(EntryState),
    provenance=provenances,
    classification=st.none() | classifications,
    flags=flag_sets,
    external_id=texts,
    media_type=texts,
    media_size=st.none() | int64s,
    series=texts,
    tags=tuples(texts),
    quality=st.none() | st.integers(0, 100),
    source_time=texts,
    extra=texts,
    expire_time=times,
    reasons=tuples(filled),
    create_revision=int64s,
    update_revision=int64s,
)
imports = st.builds(
    Import,
    id=import_ids,
    contributor=slugs,
    hash_set=slugs,
    connector=slugs,
    connector_version=texts,
    source_digest=st.just("cd" * 32),
    replace=st.booleans(),
    has_classifications=tri,
    actor=st.just("") | slugs,
    state=st.sampled_from(ImportState),
    batch_count=int32s,
    counts=st.builds(Counts, **dict.fromkeys(Counts.__struct_fields__, int64s)),
    revision=int64s,
    create_time=times,
    commit_time=times,
)
records = st.builds(
    Record,
    position=filled,
    hashes=tuples(hashes),
    faults=tuples(st.builds(HashFault, algorithm=texts, reason=texts, detail=texts)),
    action=st.sampled_from(Action),
    external_id=texts,
    value=texts,
    region=texts,
    member=texts,
    flags=st.just(NO_FLAGS) | flag_sets,
    media_type=texts,
    media_size=st.none() | int64s,
    series=texts,
    tags=tuples(texts),
    quality=st.none() | st.integers(0, 100),
    source_time=texts,
    extra=texts,
    scheme=texts,
    expire_time=times,
    reviews=tuples(st.builds(RecordReview, kind=st.sampled_from(ReviewKind), author=texts, comment=texts)),
)
rejects = st.builds(Reject, position=filled, reason=filled, detail=texts)
findings = st.builds(
    Finding,
    position=texts,
    disposition=st.sampled_from(Disposition),
    reason=texts,
    detail=texts,
    entry_id=st.just(0) | ids,
)
authors = st.one_of(slugs, st.builds("{}/{}".format, slugs, texts.filter(bool)))
reviews = st.builds(
    Review,
    id=ids,
    entry_id=ids,
    author=authors,
    kind=st.sampled_from(ReviewKind),
    comment=texts,
    actor=st.one_of(st.just(""), slugs),
    role=st.sampled_from(Role),
    sets_aside=st.one_of(st.just(0), ids),
    awaits_acceptance=st.booleans(),
    create_time=times,
    revision=ids,
)
entry_names = st.tuples(slugs, slugs, ids).map(lambda t: f"{t[0]}/{t[1]}/{t[2]}")
feed_reviews = st.builds(
    Review,
    id=ids,
    entry_id=ids,
    author=authors,
    kind=st.sampled_from(ReviewKind),
    role=st.sampled_from(Role),
    sets_aside=st.just(0) | ids,
    awaits_acceptance=st.booleans(),
    revision=int64s,
)
upserts = {"revision": int64s, "kind": st.just(ChangeKind.UPSERT)}
withdrawals = {"revision": int64s, "kind": st.just(ChangeKind.WITHDRAW)}
changes = st.one_of(
    st.builds(
        ChangedEntry,
        **upserts,
        entry=entries,
        reviews=st.lists(feed_reviews, max_size=3, unique_by=lambda r: r.id).map(tuple),
    ),
    st.builds(ChangedEntry, **upserts, hash_set=hash_sets),
    st.builds(ChangedEntry, **upserts, contributor=contributors),
    st.builds(ChangedEntry, **withdrawals, entry_name=entry_names),
    st.builds(ChangedEntry, **withdrawals, hash_set_name=st.tuples(slugs, slugs).map("/".join)),
)
tokens = st.builds(
    Principal,
    name=slugs,
    role=st.sampled_from(Role),
    contributor=st.just("") | slugs,
    purposes=tuples(filled),
    max_effort=st.none() | st.sampled_from(Effort),
)
variant_names = st.sampled_from(["as-stored", "border-removed", "rotate-90", "x-mine", "a", "0" * 63])
video_frames = st.builds(
    VideoFrame,
    offset_ms=st.integers(0, 1 << 40),
    quality=st.integers(0, 100),
    digest=st.binary(min_size=32, max_size=32),
)
queries = st.builds(
    Query,
    hashes=st.lists(hashes, min_size=1, max_size=3).map(tuple),
    label=texts,
    variants=st.just(()) | tuples(st.builds(VariantHashes, variant=variant_names, hashes=tuples(hashes))),
    frames=st.just(()) | st.lists(video_frames, max_size=4).map(lambda f: tuple(sorted(f, key=lambda x: x.offset_ms))),
)
options = st.builds(
    MatchOptions,
    policy=texts,
    max_distances=st.dictionaries(st.sampled_from(sorted(ALGORITHMS)), int32s, max_size=3),
    match_limit=st.integers(1, 1000),
    effort=st.sampled_from(Effort),
)
reasons = st.builds(ReasonLine, code=filled, clause=texts, text=texts, entries=tuples(entry_names))
results = st.builds(
    MatchResult,
    verdict=st.sampled_from(Verdict),
    reasons=tuples(reasons),
    matches=tuples(
        st.builds(
            EntryMatch,
            entry=entries,
            algorithm=st.sampled_from(sorted(ALGORITHMS)),
            distance=int32s,
            query_digest=st.binary(max_size=32),
            reviews=st.dictionaries(st.sampled_from(ReviewKind), int32s, max_size=3),
            marking=markings,
            variant=st.just("") | variant_names,
            video=st.none()
            | st.builds(
                VideoMatch,
                query_share=st.floats(0, 100),
                entry_share=st.floats(0, 100),
                ranges=tuples(st.builds(TimeRange, int64s, int64s, int64s, int64s)),
            ),
        )
    ),
    label=texts,
    truncated=st.booleans(),
    withheld=st.booleans(),
)
media_results = st.builds(
    MediaResult,
    result=results,
    hashes=tuples(hashes),
    quality=st.none() | st.integers(0, 100),
    media_type=texts,
    coverage=st.builds(
        Coverage,
        algorithms=tuples(st.sampled_from(sorted(ALGORITHMS))),
        effort=st.sampled_from(Effort),
        variants=tuples(variant_names),
        frame_count=int32s,
        frames_hashed=int32s,
        gaps=tuples(reasons),
    ),
)
statuses = st.builds(
    Status,
    version=texts,
    database=texts,
    revision=int64s,
    matcher_revision=int64s,
    algorithms=tuples(
        st.builds(AlgorithmStatus, algorithm=texts, digest_count=int64s, tail_count=int64s, engine=texts)
    ),
    warnings=tuples(texts),
)


def _batch(queries: Iterable[v1.Query]) -> v1.BatchMatchHashesRequest:
    return v1.BatchMatchHashesRequest(queries=queries, options=v1.MatchOptions(policy="any"))


def _change_to_pb(change: ChangedEntry) -> v1.Change:
    page = FeedPage(changes=(change,), position="", revision=0, head="", is_complete=True)
    return wire.feed_page_to_pb(v1.ListChangesResponse, page).changes[0]


def _first(from_pbs: Callable[..., list[Any]]) -> Callable[[Any], Any]:
    return lambda pb: from_pbs([pb])[0]


ROUND_TRIPS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Message], Callable[[Any], Any]]] = {
    "group": (groups, wire.GROUP.to_pb, wire.GROUP.from_pb),
    "contributor": (contributors, wire.CONTRIBUTOR.to_pb, wire.CONTRIBUTOR.from_pb),
    "hash set": (hash_sets, wire.HASH_SET.to_pb, wire.HASH_SET.from_pb),
    "marking": (markings, wire.MARKING.to_pb, wire.MARKING.from_pb),
    "flags": (flag_sets, wire.flags_to_pb, wire.flags_from_pb),
    "classification": (classifications, wire.classification_to_pb, wire.classification_from_pb),
    "entry": (entries, wire.entry_to_pb, wire.entry_from_pb),
    "import": (imports, wire.IMPORT.to_pb, wire.IMPORT.from_pb),
    "record": (records, wire.record_to_pb, _first(wire.records_from_pb)),
    "reject": (rejects, wire.REJECT.to_pb, _first(wire.rejects_from_pb)),
    "finding": (findings, lambda f: wire.finding_to_pb(f, "a", "b"), wire.FINDING.from_pb),
    "review": (reviews, lambda r: wire.review_to_pb(r, "a", "b"), wire.REVIEW.from_pb),
    "change": (changes, _change_to_pb, wire.changed_entry_from_pb),
    "token": (tokens, wire.TOKEN.to_pb, wire.TOKEN.from_pb),
    "query": (queries, wire.query_to_pb, wire.query_from_pb),
    "queries": (queries, wire.query_to_pb, _first(lambda pbs: wire.queries_from_pb(_batch(pbs)))),
    "options": (options, wire.options_to_pb, wire.options_from_pb),
    "result": (results, wire.MATCH_RESULT.to_pb, wire.MATCH_RESULT.from_pb),
    "media result": (media_results, wire.MEDIA_RESULT.to_pb, wire.MEDIA_RESULT.from_pb),
    "status": (statuses, wire.STATUS.to_pb, wire.STATUS.from_pb),
}


@pytest.mark.parametrize("kind", ROUND_TRIPS)
@settings(max_examples=examples(40))  # twenty kinds of value
@given(data=st.data())
def test_the_wire_keeps_everything(kind: str, data: st.DataObject) -> None:
    values, to_pb, from_pb = ROUND_TRIPS[kind]
    value = data.draw(values)
    sent = to_pb(value)
    received = type(sent).FromString(sent.SerializeToString())
    assert from_pb(received) == value
    assert to_pb(from_pb(received)) == sent


def test_every_field_of_a_record_takes_part_in_the_round_trip() -> None:
    # A field added to the model and forgotten here would be lost on the way to the hub, for millions of records.
    full = Record(
        position="line 1",
        hashes=(Hash("MD5", b"m" * 16),),
        external_id="x",
        value="1",
        region="US",
        member="m",
        flags=Flags(suspected=False),
        media_type="image/png",
        media_size=0,
        series="s",
        quality=0,
        source_time="t",
    )
    assert wire.records_from_pb([wire.record_to_pb(full)]) == [full]
    fields = {f.name for f in v1.Record.DESCRIPTOR.fields}
    renamed = {"media_size": "media_size_bytes"}
    assert {renamed.get(name, name) for name in Record.__struct_fields__} == fields


def _violations(call: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.violations
    return {v.field: v.reason for v in caught.value.violations}


def test_records_report_every_violation_by_its_path() -> None:
    good = v1.Hash(algorithm="MD5", digest=bytes(16))
    records = [
        v1.Record(action=CONTRIBUTE, position="1", hashes=[good]),
        v1.Record(action=CONTRIBUTE, position="", hashes=[good]),
        v1.Record(
            action=CONTRIBUTE,
            position="3",
            hashes=[good, v1.Hash(algorithm="PDQ", digest=bytes(20)), v1.Hash(algorithm="CRC32", digest=b"x")],
        ),
        v1.Record(action=CONTRIBUTE, position="4", series="x" * 1025, member="a\0b", quality=101, media_size_bytes=-1),
        v1.Record(action=CONTRIBUTE, position="5", hashes=[good] * 65, tags=["x" * 2000]),
        v1.Record(position="6", action=9, reviews=[v1.RecordReview(author="\0")]),  # type: ignore[arg-type]  # unknown
        v1.Record(position="7", hashes=[good]),
        v1.Record(action=CONTRIBUTE, position="8", expire_time=Timestamp(seconds=2**60)),
        v1.Record(action=CONTRIBUTE, position="9", expire_time=Timestamp(nanos=-1), scheme="x" * 1025),
    ]
    assert _violations(lambda: wire.records_from_pb(records)) == {
        "records[1].position": "REQUIRED",
        "records[2].hashes[1].digest": "WRONG_LENGTH",
        "records[2].hashes[2].algorithm": "UNKNOWN_ALGORITHM",
        "records[3].series": "TOO_LONG",
        "records[3].member": "NUL_CHARACTER",
        "records[3].quality": "OUT_OF_RANGE",
        "records[3].media_size_bytes": "OUT_OF_RANGE",
        "records[4].hashes": "TOO_MANY",
        "records[4].tags[0]": "TOO_LONG",
        "records[6].action": "REQUIRED",
        "records[7].expire_time": "OUT_OF_RANGE",
        "records[8].expire_time": "OUT_OF_RANGE",
        "records[8].scheme": "TOO_LONG",
        "records[5].action": "UNKNOWN_VALUE",
        "records[5].reviews[0].kind": "REQUIRED",
        "records[5].reviews[0].author": "NUL_CHARACTER",
    }


def test_a_time_without_its_offset_from_utc_is_refused() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the very case
    with pytest.raises(InvalidArgument, match="offset from UTC"):
        wire.record_to_pb(Record(position="1", expire_time=naive))
    one_hour_east = datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    pb = wire.record_to_pb(Record(position="1", expire_time=one_hour_east.replace(microsecond=1999)))
    assert wire.records_from_pb([pb])[0].expire_time == datetime(2030, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)


def test_every_field_of_a_record_and_an_entry_goes_over_the_wire() -> None:
    """A field that is added to the model and not to the contract is found here, not by whoever loses it."""
    assert {f.wire for f in item.FIELDS} <= set(v1.Record.DESCRIPTOR.fields_by_name)
    assert {f.wire for f in item.KEPT if f.entry_path == f.name} <= set(v1.Entry.DESCRIPTOR.fields_by_name)
    tried: tuple[tuple[type[msgspec.Struct], Any], ...] = ((Record, records), (Entry, entries))
    for kind, strategy in tried:
        stated = set(strategy.wrapped_strategy.kwargs)  # of st.builds
        assert stated >= {f.name for f in item.FIELDS if f.name in kind.__struct_fields__}, "and each is tried"


def test_long_texts_that_are_each_short_enough_are_accepted() -> None:
    pb = v1.Record(action=CONTRIBUTE, position="p" * 1024, series="s" * 1024, member="m" * 1024)
    assert wire.records_from_pb([pb])[0].series == "s" * 1024


def test_rejects_need_position_and_reason() -> None:
    wrong = _violations(lambda: wire.rejects_from_pb([v1.Reject(detail="x\0")]))
    assert wrong == {
        "rejects[0].position": "REQUIRED",
        "rejects[0].reason": "REQUIRED",
        "rejects[0].detail": "NUL_CHARACTER",
    }


def test_aliases_of_algorithms_become_canonical() -> None:
    pb = v1.Record(action=CONTRIBUTE, position="1", hashes=[v1.Hash(algorithm="sha-256", digest=bytes(32))])
    assert wire.records_from_pb([pb])[0].hashes == (Hash("SHA256", bytes(32)),)
    assert wire.options_from_pb(v1.MatchOptions(max_distances={"pdna": 7})).max_distances == {"PHOTODNA": 7}


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_hexadecimal_sent_as_base64_is_recognised(name: str) -> None:
    digest = bytes(ALGORITHMS[name].digest_bytes * 3 // 2)
    with pytest.raises(InvalidArgument, match="base64, not in hexadecimal"):
        wire.query_from_pb(v1.Query(hashes=[v1.Hash(algorithm=name, digest=digest)]))


def test_a_contributor_reports_the_models_violations_by_the_clients_paths() -> None:
    pb = v1.Contributor(display_name=" ", jurisdiction="gb", takes_from=["contributors/b", "c"])
    assert _violations(lambda: wire.CONTRIBUTOR.created(pb, "NOT OK")) == {
        "contributor_id": "PATTERN",
        "contributor.display_name": "REQUIRED",
        "contributor.kind": "REQUIRED",
        "contributor.jurisdiction": "PATTERN",
        "contributor.takes_from[1]": "RESOURCE_NAME",
    }


def test_a_hash_set_reports_its_markings_violations_too() -> None:
    red = v1.Marking(tlp=v1.Tlp.TLP_RED)
    pb = v1.HashSet(review_depth=500, marking=red, purpose=77)  # type: ignore[arg-type]  # unknown
    assert _violations(lambda: wire.new_hash_set_from_pb(pb, "a", "_")) == {
        "hash_set_id": "PATTERN",
        "hash_set.review_depth": "OUT_OF_RANGE",
        "hash_set.marking.recipients": "REQUIRED",
        "hash_set.purpose": "UNKNOWN_VALUE",
    }


def test_a_name_that_cannot_be_read_is_the_only_violation_of_its_field() -> None:
    wrong = _violations(
        lambda: wire.CONTRIBUTOR.from_pb(
            v1.Contributor(name="x", display_name="X", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ")
        )
    )
    assert wrong == {"contributor.name": "RESOURCE_NAME"}


def test_unstated_values_get_the_defaults_that_the_contract_documents() -> None:
    marking = wire.MARKING.from_pb(v1.Marking())
    assert marking.tlp == "AMBER"
    stated = v1.HashSet(purpose=v1.Purpose.PURPOSE_TEST)
    hash_set = wire.new_hash_set_from_pb(stated, "a", "b")
    assert (hash_set.purpose, hash_set.marking.tlp) == ("TEST", "AMBER")
    contributor = wire.CONTRIBUTOR.created(
        v1.Contributor(display_name="A", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ"), "a"
    )
    assert contributor.reliability == "F"
    assert wire.records_from_pb([v1.Record(action=CONTRIBUTE, position="1")])[0].flags is NO_FLAGS


def test_a_purpose_that_is_not_stated_is_no_purpose() -> None:
    with pytest.raises(InvalidArgument, match="PURPOSE_CSAM, PURPOSE_EXPLOITATIVE, PURPOSE_BENIGN, PURPOSE_TEST") as e:
        wire.new_hash_set_from_pb(v1.HashSet(), "a", "b")
    assert [(v.field, v.reason) for v in e.value.violations] == [("hash_set.purpose", "REQUIRED")]


@pytest.mark.parametrize("author", ["nl", "nl/police 7", "nl/a/b"])
def test_the_author_of_a_review_is_named_alike_wherever_it_is_read(author: str) -> None:
    review = Review(id=3, entry_id=7, author=author, kind=ReviewKind.CONFIRMED, revision=9)
    made = Provenance(import_id="i", connector="csv", connector_version="1", source_digest="", position="1")
    entry = Entry(
        id=7,
        contributor="x",
        hash_set="y",
        hashes=(Hash.of("MD5", bytes(16)),),
        state=EntryState.ACTIVE,
        provenance=made,
    )
    stated = ChangedEntry(revision=9, kind=ChangeKind.UPSERT, entry=entry, reviews=(review,))
    change = _change_to_pb(stated)
    alone = wire.review_to_pb(review, entry.contributor, entry.hash_set)
    assert [r.author for r in change.reviews] == [alone.author]
    assert [r.author for r in wire.changed_entry_from_pb(change).reviews] == [author]


@pytest.mark.parametrize("number", [0, 6, 1000])
def test_an_unknown_verdict_is_never_harmless(number: int) -> None:
    pb = v1.MatchResult(verdict=number)  # type: ignore[arg-type]  # what a newer server might send
    assert wire.MATCH_RESULT.from_pb(pb).verdict is Verdict.UNAVAILABLE


def test_options_clamp_the_limit_and_refuse_what_cannot_be() -> None:
    assert wire.options_from_pb(v1.MatchOptions()).match_limit == 100
    assert wire.options_from_pb(v1.MatchOptions(match_limit=5000)).match_limit == 1000
    pb = v1.MatchOptions(match_limit=-1, max_distances={"PDQ": -1, "XYZ": 3})
    assert _violations(lambda: wire.options_from_pb(pb)) == {
        "options.match_limit": "OUT_OF_RANGE",
        "options.max_distances[PDQ]": "OUT_OF_RANGE",
        "options.max_distances[XYZ]": "UNKNOWN_ALGORITHM",
    }


@pytest.mark.parametrize("number", [0, 4, 1000])
def test_an_unknown_effort_is_the_usual_one_when_asked_for_and_the_least_when_told(number: int) -> None:
    options = v1.MatchOptions(effort=number)  # type: ignore[arg-type]  # what a newer client might send
    assert wire.options_from_pb(options).effort is Effort.STANDARD
    told = v1.MediaResult(result=v1.MatchResult(), coverage=v1.Coverage(effort=number))  # type: ignore[arg-type]
    assert wire.MEDIA_RESULT.from_pb(told).coverage.effort is Effort.PLAIN


def test_an_older_hub_says_nothing_of_what_it_looked_for() -> None:
    assert wire.MEDIA_RESULT.from_pb(v1.MediaResult(result=v1.MatchResult())).coverage == Coverage()


def test_what_a_query_of_variants_and_frames_may_hold() -> None:
    pdq, md5 = v1.Hash(algorithm="PDQ", digest=bytes(32)), v1.Hash(algorithm="MD5", digest=bytes(16))

    def variants(*given: tuple[str, list[v1.Hash]], own: int = 1) -> v1.Query:
        return v1.Query(hashes=[md5] * own, variants=[v1.VariantHashes(variant=n, hashes=h) for n, h in given])

    def frames(*given: tuple[int, int, bytes]) -> v1.Query:
        return v1.Query(frames=[v1.VideoFrame(offset_ms=at, quality=q, digest=d) for at, q, d in given])

    whole = variants(*[(f"x-{i}", [pdq]) for i in range(32)], own=MAX_HASHES_PER_QUERY - 32)
    long = frames(*[(i, 100, bytes(32)) for i in range(20_000)])
    assert len(wire.queries_from_pb(_batch([whole]))[0].variants) == 32
    assert len(wire.query_from_pb(long).frames) == 20_000
    wrong = [
        variants(*[(f"x-{i}", [pdq]) for i in range(33)]),
        variants(("crop", [pdq] * MAX_HASHES_PER_QUERY)),
        variants(("Crop", [pdq]), ("", [pdq]), ("none", [pdq]), ("a" * 64, [pdq])),
        variants(("crop", [pdq, v1.Hash(algorithm="PDQ", digest=bytes(31))])),
        frames((5, 100, bytes(32)), (4, 100, bytes(32)), (3, 100, bytes(32))),
        frames((-1, 100, bytes(32))),
        frames((0, 101, bytes(32))),
        frames((0, 100, bytes(16))),
        frames(*[(0, 0, b"")] * 20_001),
    ]
    expected = {
        "queries[0].variants": "TOO_MANY",
        "queries[1].variants": "TOO_MANY",
        **{f"queries[2].variants[{i}].variant": "PATTERN" for i in range(4)},
        "queries[3].variants[0].hashes[1].digest": "WRONG_LENGTH",
        "queries[4].frames[1].offset_ms": "OUT_OF_RANGE",
        "queries[5].frames[0].offset_ms": "OUT_OF_RANGE",
        "queries[6].frames[0].quality": "OUT_OF_RANGE",
        "queries[7].frames[0].digest": "WRONG_LENGTH",
        "queries[8].frames": "TOO_MANY",
    }
    assert _violations(lambda: wire.queries_from_pb(_batch(wrong))) == expected


def test_variants_of_alike_queries_are_not_taken_for_own_hashes() -> None:
    """All these are alike up to the last digest, which is a variant's."""
    own = v1.Hash(algorithm="PDQ", digest=b"a" * 32)
    last = [b"a" * 32, b"b" * 32, b"c" * 32]
    batch = [
        v1.Query(hashes=[own], variants=[v1.VariantHashes(variant="crop", hashes=[v1.Hash(algorithm="PDQ", digest=d)])])
        for d in last
    ]
    read = wire.queries_from_pb(_batch(batch))
    assert [q.hashes for q in read] == [(Hash("PDQ", b"a" * 32),)] * 3
    assert [q.variants for q in read] == [(VariantHashes("crop", (Hash("PDQ", d),)),) for d in last]


def test_a_query_needs_a_hash_and_not_too_many() -> None:
    good = v1.Hash(algorithm="MD5", digest=bytes(16))
    queries = [
        v1.Query(hashes=[good]),
        v1.Query(),
        v1.Query(hashes=[good] * (MAX_HASHES_PER_QUERY + 1)),
        v1.Query(hashes=[good], label="x" * 2000),
    ]
    assert _violations(lambda: wire.queries_from_pb(_batch(queries))) == {
        "queries[1].hashes": "REQUIRED",
        "queries[2].hashes": "TOO_MANY",
        "queries[3].label": "TOO_LONG",
    }


_PDQ_BYTES = v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=bytes(32))]).SerializeToString()
_PDQ_QUERIES = st.binary(min_size=32, max_size=32).map(lambda d: v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=d)]))
_OF_A_NEWER_CLIENT = st.just(v1.Query.FromString(_PDQ_BYTES + b"\x7a\x02hi"))  # field 15
_ODD_QUERIES = st.one_of(
    _PDQ_QUERIES,
    queries.map(wire.query_to_pb),
    st.just(v1.Query(label="a", hashes=[v1.Hash(algorithm="PDQ", digest=bytes(32))])),
    st.just(v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=bytes(31))])),
    st.just(v1.Query(hashes=[v1.Hash(algorithm="PDO", digest=bytes(32))])),
    _OF_A_NEWER_CLIENT,
)


@given(st.lists(_PDQ_QUERIES, max_size=5), st.lists(_ODD_QUERIES, max_size=2), st.lists(_PDQ_QUERIES, max_size=5))
def test_a_batch_is_read_as_its_queries_one_by_one(before: Any, odd: Any, after: Any) -> None:
    batch = [*before, *odd, *after]
    try:
        expected: Any = [wire.query_from_pb(q) for q in batch]
    except InvalidArgument:
        with pytest.raises(InvalidArgument):
            wire.queries_from_pb(_batch(batch))
        return
    encoded = _batch(batch).SerializeToString()
    fields = _batch([]).SerializeToString()
    assert encoded.endswith(fields)
    for sent in (encoded, fields + encoded[: -len(fields)]):  # the fields of a message may come in any order
        assert wire.queries_from_pb(v1.BatchMatchHashesRequest.FromString(sent)) == expected


@pytest.mark.parametrize(
    "send",
    [
        lambda: wire.record_to_pb(Record(position="1", series="\ud800")),
        lambda: wire.record_to_pb(Record(position="\ud800")),
        lambda: wire.record_to_pb(Record(position="1", media_size=1 << 63)),
        lambda: wire.record_to_pb(Record(position="1", quality=1 << 40)),
        lambda: wire.TOKEN.to_pb(Principal(name="\udcff", role="OPERATOR")),  # type: ignore[arg-type]  # bytes
    ],
    ids=["text", "position", "int64", "int32", "command line"],
)
def test_what_protobuf_cannot_hold_is_an_error_of_ours(send: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        send()


def test_a_finding_without_an_entry_names_none() -> None:
    pb = wire.finding_to_pb(Finding("1", "REJECTED", "X", "x"), "a", "b")  # type: ignore[arg-type]  # a str enum's text
    assert pb.entry == ""


def test_an_entry_needs_true_names() -> None:
    assert _violations(
        lambda: wire.entry_from_pb(v1.Entry(name="contributors/a", state=v1.EntryState.ENTRY_STATE_ACTIVE))
    ) == {
        "entry.name": "RESOURCE_NAME",
        "entry.provenance.import": "REQUIRED",
    }


@given(records)
def test_records_are_valid_msgspec_values(record: Record) -> None:
    # What arrived is staged as msgspec's JSON or MessagePack: it must decode again as what it was.
    (received,) = wire.records_from_pb([wire.record_to_pb(record)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(received), type=Record) == record


@settings(max_examples=examples(50))
@given(results, results, st.lists(st.integers(0, 5), max_size=8))
def test_a_batch_of_answers_is_made_of_its_answers(one: MatchResult, other: MatchResult, order: list[int]) -> None:
    # Repeated answers take a short cut; in any order, and with nearly equal neighbours, they must come out as each by
    # itself.
    change = msgspec.structs.replace
    bare = change(one, matches=())
    distinct = [one, other, bare, change(bare, truncated=not bare.truncated), change(bare, withheld=not bare.withheld)]
    distinct.append(change(bare, verdict=other.verdict))
    batch = [change(distinct[which], label=f"{i}" if i % 3 else "") for i, which in enumerate(order)]
    answer = wire.match_results_to_pb(batch, "any", 7)
    assert list(answer.results) == [wire.MATCH_RESULT.to_pb(r) for r in batch]
    assert (answer.policy, answer.revision) == ("any", 7)


def test_a_distance_of_frames_travels() -> None:
    options = MatchOptions(policy="any", max_distances={"VPDQ": 20, "PDQ": 31})
    assert wire.options_from_pb(wire.options_to_pb(options)) == options
