"""Silence is not a claim: a field that is missing brings no verdict nearer to MATCH, and none nearer to clean.

For each format, each field of a full sample is blanked in turn: removed, empty, null. The sample and the variants are
contributed alike, each with ids and positions of its own, and each item is asked about, by all hashes that it has in
the full sample, under `any` and `block`. Then

- **nearer to MATCH** means higher in NO_MATCH = BENIGN < REVIEW < MATCH. Never allowed, with two exceptions. A deletion
  message that cannot be read any more deletes nothing; it is rejected, and the report says so. And where the operator
  has had unclassified items listed, an item whose classification was blanked is what the operator spoke of: it is
  undecided, so that `any`, which takes that, may say MATCH; `block` never.
- **nearer to clean** means NO_MATCH or BENIGN after MATCH or REVIEW, or BENIGN after anything else. Never allowed,
  unless the item itself became a rejected or quarantined one, or the file as a whole was refused: the report, or the
  error, says so. It is looked for.

What is no field of an item is not blanked: a whole item, and a whole statement of somebody else about it (an element of
feedback). A list without them is another list, which states less.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import pytest

from hashhub import item as fields
from hashhub import v1, wire
from hashhub.connector import Connector
from hashhub.errors import InvalidArgument
from hashhub.hub import Hub
from hashhub.model import (
    MAX_QUERIES,
    Action,
    Contributor,
    ContributorKind,
    Disposition,
    EntryState,
    Flags,
    HashSet,
    Import,
    MatchOptions,
    Purpose,
    Query,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    Unclassified,
    Verdict,
)
from tests.absence.samples import FORMATS, Format, hashes_of, numbered
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, digest, item

RANK: Final = {Verdict.NO_MATCH: 0, Verdict.BENIGN: 0, Verdict.REVIEW: 1, Verdict.MATCH: 2}
LOUD: Final = {Disposition.REJECTED, Disposition.QUARANTINED}
DELETED, DELETION = 2, "images[3]"  # of the NCMEC sample: the item, and the message that deletes it
POLICIES: Final = ("any", "block")


def verdicts(desk: Desk, samples: Iterable[int], count: int) -> dict[int, dict[tuple[str, int], Verdict]]:
    """What is said of each sample's items, by sample."""
    asked = [(sample, i) for sample in samples for i in range(count)]
    told: dict[int, dict[tuple[str, int], Verdict]] = {}
    for policy, start in itertools.product(POLICIES, range(0, len(asked), MAX_QUERIES)):
        part = asked[start : start + MAX_QUERIES]
        queries = [Query(hashes=hashes_of(sample, i), label="upload") for sample, i in part]
        options = MatchOptions(policy=policy, max_distances={"PHOTODNA": 0})
        results, _ = desk.hub.match.hashes(PLATFORM, queries, options)
        for (sample, i), result in zip(part, results, strict=True):
            told.setdefault(sample, {})[policy, i] = result.verdict
    return told


def read(connector: Connector, data: bytes, options: Mapping[str, str]) -> list[Record | Reject]:
    return list(connector.read(io.BytesIO(data), options))


def of_sample(items: list[Record | Reject], sample: int) -> list[Record | Reject]:
    """Return the items as those of one sample among many in one list: with positions and ids of its own."""
    placed: list[Record | Reject] = []
    for one in items:
        own: dict[str, str] = {"position": f"{sample}/{one.position}"}
        if isinstance(one, Record) and one.external_id:
            own["external_id"] = f"{sample}/{one.external_id}"
        placed.append(msgspec.structs.replace(one, **own))
    return placed


def is_nearer(before: Verdict, after: Verdict) -> str:
    """Return what the verdict came nearer to, or nothing."""
    if RANK[after] > RANK[before]:
        return "MATCH"
    if (RANK[before] and not RANK[after]) or (after is Verdict.BENIGN and before is not Verdict.BENIGN):
        return "clean"
    return ""


def is_statement_of_another(what: str) -> bool:
    """Whether a blanked part of a sample is a whole item, or all that somebody else says of one."""
    element, _, how = what.rpartition(" ")
    name = element.rpartition(" ")[2]
    if name in {"images", "image", "deletedImage"}:
        return True
    # The vote itself, and who gave it with everything that says so.
    return name in {"feedback", "negativeFeedback", "affirmativeFeedback"} and how in {"removed", "empty"}


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize(
    ("purpose", "unclassified"),
    [
        (Purpose.CSAM, Unclassified.QUARANTINED),
        (Purpose.CSAM, Unclassified.LISTED),
        (Purpose.BENIGN, Unclassified.QUARANTINED),
    ],
)
def test_no_blank_field_is_a_claim(
    open_hub: Callable[..., Hub], form: Format, purpose: Purpose, unclassified: Unclassified
) -> None:
    desk = Desk(open_hub())
    desk.contributor("alpha", reliability="A")
    name = desk.hash_set("alpha/list", scheme=form.scheme, purpose=purpose, unclassified=unclassified)

    def contribute(items: list[Record | Reject], has: bool | None) -> Import:
        done = desk.contribute(name, *items, has_classifications=has)
        desk.hub.hash_sets.accept(OPERATOR, "alpha", "list", desk.hub.revision())  # so that a benign set weighs
        return done

    def read_sample(sample: int, data: bytes, options: Mapping[str, str]) -> list[Record | Reject]:
        return of_sample(read(form.connector, numbered(data, sample), options), sample)

    count = len(form.positions)
    # What an environment says of all its items does not fit a benign set, so that all of them would wait.
    left_out = {"environment"} if purpose is Purpose.BENIGN else set()
    options = {k: v for k, v in form.options.items() if k not in left_out}
    full_options, full_has = options, form.connector.has_classifications(options)
    contribute(read_sample(0, form.full, options), full_has)
    expected = verdicts(desk, [0], count)[0]
    assert set(expected.values()) - {Verdict.NO_MATCH}, "the sample must say something"
    blanks = dict(enumerate((b for b in form.blanked() if not is_statement_of_another(b.what)), 1))
    loud = 0
    lists: dict[bool | None, dict[int, list[Record | Reject]]] = {}
    for sample, blank in blanks.items():
        options = {k: v for k, v in blank.options.items() if k not in left_out}
        try:
            items = read_sample(sample, blank.data, options)
        except InvalidArgument as refused:  # MalformedSource is one: nothing of the file becomes visible
            assert refused.message
            loud += 1
        else:
            lists.setdefault(form.connector.has_classifications(options), {})[sample] = items
    # One import for all that are read alike: one for each of hundreds of blanks takes a minute. A full sample in it
    # shows that no blank of one item decides about another.
    for number, (has, items_by_sample) in enumerate(lists.items(), len(blanks) + 1):
        full = read_sample(number, form.full, full_options) if has == full_has else []
        done = contribute([*full, *itertools.chain.from_iterable(items_by_sample.values())], has)
        said = {f.position for f in desk.report(done, page_size=1000) if f.disposition in LOUD}
        undecided = undecided_of(desk, name, done)
        told = verdicts(desk, [number, *items_by_sample], count)
        assert told.pop(number) == expected or not full
        for sample, verdict_by_item in told.items():
            blank = blanks[sample]
            for (policy, i), after in verdict_by_item.items():
                position = f"{sample}/{form.positions[i]}"
                nearer = is_nearer(expected[policy, i], after)
                where = f"{blank.what}: {form.positions[i]} under {policy}: {expected[policy, i]} became {after}"
                if nearer == "MATCH" and position in undecided:
                    assert unclassified is Unclassified.LISTED, where
                    assert policy == "any" or after is not Verdict.MATCH, where
                elif nearer == "MATCH":
                    is_deleted_item = form.name == "ncmec-xml" and i == DELETED
                    assert is_deleted_item, where
                    assert f"{sample}/{DELETION}" in said, f"{where}, and no finding says so"
                elif nearer == "clean":
                    assert position in said, f"{where}, and no finding says so"
                loud += bool(nearer)
    assert len(blanks) > 1
    assert loud or purpose is Purpose.BENIGN, "some field must matter"


def undecided_of(desk: Desk, name: str, done: Import) -> set[str]:
    """Return the positions of what was listed by this import without a classification."""
    contributor, _, set_id = name.partition("/")
    positions: set[str] = set()
    after = 0
    while True:
        entries, after = desk.hub.entries.list(AUDITOR, contributor, set_id, (EntryState.ACTIVE,), 1000, after)
        positions |= {
            e.provenance.position
            for e in entries
            if e.provenance.import_id == done.id and e.reasons == ("UNCLASSIFIED",)
        }
        if not after:
            return positions


FULL: Final = Record(
    position="line 1",
    hashes=(digest("MD5", 1), digest("SHA1", 1)),
    external_id="syn-1",
    value="A1",
    region="US",
    scheme="ncmec-industry",
    member="9001",
    flags=Flags(victim_identified=True, distributed=False),
    media_type="image",
    media_size=1000,
    series="SYNTHETIC",
    tags=("purpose:csam",),
    quality=90,
    source_time="2025-01-02T03:04:05Z",
    reviews=(RecordReview(ReviewKind.FALSE_POSITIVE, "9002", "Adult"),),
)


def test_a_record_over_the_wire(open_hub: Callable[..., Hub]) -> None:
    """Whoever writes to the API without a connector may leave out any field of a record, too."""
    desk = Desk(open_hub())
    desk.contributor("alpha", reliability="A")
    full = [
        FULL,
        msgspec.structs.replace(FULL, position="line 2", hashes=(digest("MD5", 2),), external_id="2", reviews=()),
    ]
    names = [f.name for f in fields.FIELDS if f.name != "expire_time"]
    for at, name in enumerate(["", *names, "hashes"]):
        sent = [msgspec.structs.replace(r, **({name: type(getattr(r, name))()} if name else {})) for r in full]
        if name in {"media_size", "quality"}:
            sent = [msgspec.structs.replace(r, **{name: None}) for r in full]
        records = wire.records_from_pb([wire.record_to_pb(r) for r in sent])
        hash_set = desk.hash_set(f"alpha/list-{at}", scheme="ncmec-industry")
        done = desk.contribute(hash_set, *records, has_classifications=True)
        after = [desk.match(*r.hashes, policy="block").verdict for r in full]
        waits = {f.position for f in desk.report(done) if f.disposition in LOUD}
        for record, verdict in zip(full, after, strict=True):
            wanted = Verdict.REVIEW if record.reviews else Verdict.MATCH
            assert verdict is (Verdict.NO_MATCH if record.position in waits else wanted), name
        assert bool(waits) == (name in {"value", "hashes"})
        # Each list for itself: what falls out of a list is not held.
        desk.contribute(hash_set, replace=True, allow_shrinking=True)


def test_an_action_that_is_not_stated_is_neither_of_them() -> None:
    pb = wire.record_to_pb(Record(position="1", action=Action.WITHDRAW, external_id="x"))
    pb.action = v1.Action.ACTION_UNSPECIFIED
    with pytest.raises(InvalidArgument) as refused:
        wire.records_from_pb([pb])
    assert [(v.field, v.reason) for v in refused.value.violations] == [("records[0].action", "REQUIRED")]


class TestResources:
    """The same for what surrounds the entries."""

    def test_a_hash_set_without_a_scheme_explains_no_value(self, open_hub: Callable[..., Hub]) -> None:
        desk = Desk(open_hub())
        desk.contributor("alpha", reliability="A")
        for name, scheme in (("alpha/with", "vic-us"), ("alpha/without", "")):
            desk.hash_set(name, scheme=scheme)
            number = 1 if scheme else 2
            done = desk.contribute(name, item(number, value="1"))
            assert (desk.verdict(number, policy="block") is Verdict.MATCH) is bool(scheme)
            assert desk.reasons(done) == ({} if scheme else {"line 2": ["UNKNOWN_VALUE"]})

    def test_a_contributor_without_reliability_counts_as_the_least_known(self, open_hub: Callable[..., Hub]) -> None:
        desk = Desk(open_hub())
        alpha = Contributor(id="alpha", display_name="A", kind=ContributorKind.HOTLINE, jurisdiction="GB")
        desk.hub.contributors.create(OPERATOR, alpha)
        desk.hash_set("alpha/list", scheme="vic-us")
        desk.contribute("alpha/list", item(1, value="1"))
        assert desk.verdict(1, policy="block") is Verdict.REVIEW

    def test_review_depth_and_purposes_of_a_caller_that_are_not_stated(self, open_hub: Callable[..., Hub]) -> None:
        assert HashSet(contributor="a", id="b").review_depth == 0, "not stated: fulfils no clause that asks for a depth"
        assert PLATFORM.purposes == ()
        assert HashSet(contributor="a", id="b").unclassified is Unclassified.QUARANTINED
        assert HashSet(contributor="a", id="b").accepted_revision == 0
