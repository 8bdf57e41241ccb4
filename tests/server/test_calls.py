"""The calls, through a real door: what goes in, what comes out, and how lists are read to their end."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1
from hashhub.errors import AlreadyExists, InvalidArgument, NotFound
from hashhub.server import pages

if TYPE_CHECKING:
    from tests.server.conftest import Served


SOURCE = "ab" * 32


def _digest(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _hash_set(served: Served, contributor: str, name: str = "list") -> str:
    served.new_contributor(contributor)
    made = served.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(
            parent=f"contributors/{contributor}", hash_set_id=name, hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
        ),
        v1.HashSet,
    )
    return str(made.name)


def _create_import(hash_set: str, source: str) -> v1.CreateImportRequest:
    request = v1.CreateImportRequest(parent=hash_set)
    getattr(request, "import").MergeFrom(v1.Import(connector="test", connector_version="1", source_digest=source))
    return request


def _contribute(served: Served, hash_set: str, labels: list[str], source: str = SOURCE) -> v1.Import:
    """Contribute one entry per label, the MD5 of the label."""
    opened = served.call(
        "ContributionService/CreateImport",
        _create_import(hash_set, source),
        v1.Import,
    )
    records = [
        v1.Record(
            position=f"line {i}",
            hashes=[v1.Hash(algorithm="MD5", digest=_digest(label))],
            external_id=label,
            action=v1.Action.ACTION_CONTRIBUTE,
        )
        for i, label in enumerate(labels)
    ]
    served.call("ContributionService/AddRecords", v1.AddRecordsRequest(name=opened.name, records=records), v1.Import)
    done: v1.Import = served.call(
        "ContributionService/CommitImport", v1.CommitImportRequest(name=opened.name, batch_count=1), v1.Import
    )
    return done


def _match(served: Served, label: str, **options: Any) -> v1.MatchHashesResponse:
    answer: v1.MatchHashesResponse = served.call(
        "MatchService/MatchHashes",
        v1.MatchHashesRequest(
            query=v1.Query(label=label, hashes=[v1.Hash(algorithm="MD5", digest=_digest(label))]),
            options=v1.MatchOptions(policy="any", **options),
        ),
        v1.MatchHashesResponse,
        who="CONSUMER",
    )
    return answer


def _pages(served: Served, method: str, request: Any, answer: Any, items: str, size: int) -> list[Any]:
    found: list[Any] = []
    request.page_size = size
    while True:
        page = served.call(method, request, answer)
        assert len(getattr(page, items)) <= size
        assert page.revision > 0
        found += getattr(page, items)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


_ERROR = v1.WithdrawalReason.WITHDRAWAL_REASON_ERROR


def test_from_a_contribution_to_a_verdict_to_a_withdrawal(served: Served) -> None:
    hash_set = _hash_set(served, "journey")
    assert _match(served, "journey-1").result.verdict == v1.Verdict.VERDICT_NO_MATCH
    done = _contribute(served, hash_set, ["journey-1", "journey-2", "journey-1"])
    assert done.state == v1.ImportState.IMPORT_STATE_COMMITTED
    assert (done.counts.item_count, done.counts.accepted_count, done.counts.duplicate_count) == (3, 2, 1)
    assert done.revision >= done.commit_revision > 0

    answer = _match(served, "journey-1")
    assert answer.result.verdict == v1.Verdict.VERDICT_MATCH
    assert (answer.policy, answer.result.label) == ("any@1", "journey-1")
    (match,) = answer.result.matches
    assert match.entry.name.startswith(f"{hash_set}/entries/")
    assert match.entry.provenance.position == "line 0"
    assert getattr(match.entry.provenance, "import") == done.name
    assert {e for r in answer.result.reasons for e in r.entries} == {match.entry.name}

    findings = _pages(
        served,
        "ContributionService/ListFindings",
        v1.ListFindingsRequest(parent=done.name),
        v1.ListFindingsResponse,
        "findings",
        1,
    )
    assert v1.Disposition.DISPOSITION_DUPLICATE in {f.disposition for f in findings}

    withdrawal = v1.WithdrawEntryRequest(name=match.entry.name, reason=_ERROR)
    gone = served.call("ContributionService/WithdrawEntry", withdrawal, v1.Entry)
    assert gone.state == v1.EntryState.ENTRY_STATE_WITHDRAWN
    assert _match(served, "journey-1").result.verdict == v1.Verdict.VERDICT_NO_MATCH


def test_a_batch_answers_in_the_order_of_its_queries(served: Served) -> None:
    _contribute(served, _hash_set(served, "batch"), ["batch-1", "batch-3"])
    queries = [
        v1.Query(label=f"batch-{i}", hashes=[v1.Hash(algorithm="MD5", digest=_digest(f"batch-{i}"))]) for i in range(5)
    ]
    answer = served.call(
        "MatchService/BatchMatchHashes",
        v1.BatchMatchHashesRequest(queries=queries, options=v1.MatchOptions(policy="any")),
        v1.BatchMatchHashesResponse,
    )
    found = {r.label: r.verdict == v1.Verdict.VERDICT_MATCH for r in answer.results}
    assert list(found) == [q.label for q in queries]
    assert [label for label, known in found.items() if known] == ["batch-1", "batch-3"]


def test_media_that_cannot_be_read_raises_alone_and_is_unavailable_in_a_batch(served: Served) -> None:
    broken = v1.Media(label="b", content=b"\x89PNG\r\n\x1a\n" + b"broken")
    options = v1.MatchOptions(policy="any")
    with pytest.raises(InvalidArgument, match=r"(?i)read|picture|image"):
        served.call(
            "MatchService/MatchMedia", v1.MatchMediaRequest(media=broken, options=options), v1.MatchMediaResponse
        )
    answer = served.call(
        "MatchService/BatchMatchMedia",
        v1.BatchMatchMediaRequest(media=[broken, v1.Media(label="t", content=b"text")], options=options),
        v1.BatchMatchMediaResponse,
    )
    assert [r.result.label for r in answer.results] == ["b", "t"]
    assert answer.results[0].result.verdict == v1.Verdict.VERDICT_UNAVAILABLE


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_of_contributors_add_up(served: Served, size: int) -> None:
    for i in range(5):
        try:
            served.new_contributor(f"paged-{i}")
        except AlreadyExists:
            break
    found = _pages(
        served,
        "ContributorService/ListContributors",
        v1.ListContributorsRequest(),
        v1.ListContributorsResponse,
        "contributors",
        size,
    )
    names = [c.name for c in found]
    assert names == sorted(set(names))
    assert {f"contributors/paged-{i}" for i in range(5)} <= set(names)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_of_entries_add_up_with_contributions_in_between(served: Served, size: int) -> None:
    hash_set = _hash_set(served, f"growing-{size}")
    first = [f"growing-{size}-{i}" for i in range(5)]
    _contribute(served, hash_set, first)
    request = v1.ListEntriesRequest(parent=hash_set, page_size=size)
    page = served.call("ContributionService/ListEntries", request, v1.ListEntriesResponse)
    _contribute(served, hash_set, [f"growing-{size}-late"], source="cd" * 32)
    found = list(page.entries)
    if page.next_page_token:
        request.page_token = page.next_page_token
        found += _pages(served, "ContributionService/ListEntries", request, v1.ListEntriesResponse, "entries", size)
    ids = [e.external_id for e in found]
    assert ids[: len(first)] == first
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("method", "request_", "answer", "items"),
    [
        ("MatchService/ListPolicies", v1.ListPoliciesRequest, v1.ListPoliciesResponse, "policies"),
        ("MatchService/ListSchemes", v1.ListSchemesRequest, v1.ListSchemesResponse, "schemes"),
        ("AdminService/ListTokens", v1.ListTokensRequest, v1.ListTokensResponse, "tokens"),
    ],
)
def test_short_lists_are_paged_too(served: Served, method: str, request_: Any, answer: Any, items: str) -> None:
    one_by_one = [i.name for i in _pages(served, method, request_(), answer, items, 1)]
    at_once = [i.name for i in _pages(served, method, request_(), answer, items, 1000)]
    assert one_by_one == at_once
    assert len(at_once) >= 2


def test_schemes_say_what_their_values_imply(served: Served) -> None:
    answer = served.call("MatchService/ListSchemes", v1.ListSchemesRequest(), v1.ListSchemesResponse, who="CONSUMER")
    schemes = {s.name: s for s in answer.schemes}
    (industry,) = (s for name, s in schemes.items() if name.startswith("schemes/ncmec-industry@"))
    assert {"A1", "A2", "B1", "B2"} <= {v.value for v in industry.values}
    assert all(v.dimensions for v in industry.values)


def test_a_page_token_works_for_its_own_list_only(served: Served) -> None:
    first, second = _hash_set(served, "token-one"), _hash_set(served, "token-two")
    _contribute(served, first, ["token-1", "token-2"])
    request = v1.ListEntriesRequest(parent=first, page_size=1)
    token = served.call("ContributionService/ListEntries", request, v1.ListEntriesResponse).next_page_token
    for other in (
        v1.ListEntriesRequest(parent=second, page_token=token),
        v1.ListEntriesRequest(parent=first, page_token=token, states=[v1.EntryState.ENTRY_STATE_ACTIVE]),
        v1.ListEntriesRequest(parent=first, page_token=token[:-2]),
        v1.ListEntriesRequest(parent=first, page_token="!"),  # noqa: S106 - no password
    ):
        with pytest.raises(InvalidArgument) as caught:
            served.call("ContributionService/ListEntries", other, v1.ListEntriesResponse)
        assert [(v.field, v.reason) for v in caught.value.violations] == [("page_token", "PAGE_TOKEN")]


@given(st.text(max_size=80))
def test_no_text_makes_the_token_reader_fail_otherwise(token: str) -> None:
    reads: list[Callable[[], object]] = [
        lambda: pages.decode(token, 0, "q"),
        lambda: pages.decode(token, "", "q"),
    ]
    for read in reads:
        try:
            read()
        except InvalidArgument:
            continue
        assert token == ""


@given(st.integers(1, 2**63 - 1), st.text("abz09-/._@", min_size=1, max_size=200), st.text(max_size=5))
def test_tokens_hold_their_position(number: int, text: str, question: str) -> None:
    assert pages.decode(pages.encode(number, question), 0, question) == number
    assert pages.decode(pages.encode(text, question), "", question) == text
    for token in (pages.encode(number, question, "other"), pages.encode(text, question)):
        with pytest.raises(InvalidArgument):
            pages.decode(token, 0, question)


FORGED = st.one_of(
    st.integers(max_value=-1),
    st.integers(min_value=1 << 63),
    st.booleans(),
    st.floats(),
    st.text().filter(lambda text: not (text.isascii() and text.isprintable())),
    st.text("a", min_size=1000, max_size=3000),
    st.lists(st.none()),
    st.dictionaries(st.text(), st.none(), max_size=1),
    st.none(),
)


@given(FORGED)
def test_no_position_that_no_list_can_have_given_is_taken(forged: Any) -> None:
    """The question's digest is no secret, so anybody can put a position of their own behind it."""
    reads: list[tuple[Callable[[str], object], object]] = [
        (lambda token: pages.decode(token, 0, "q"), forged),
        (lambda token: pages.decode(token, "", "q"), forged),
    ]
    for read, position in reads:
        text = json.dumps([pages._digest(("q",)), position])
        token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        with pytest.raises(InvalidArgument):
            read(token)


@pytest.mark.parametrize(("asked", "given_"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_page_sizes_are_coerced(asked: int, given_: int) -> None:
    assert pages.size(asked) == given_


def test_a_negative_page_size_is_refused(served: Served) -> None:
    with pytest.raises(InvalidArgument) as caught:
        served.call(
            "ContributorService/ListContributors", v1.ListContributorsRequest(page_size=-1), v1.ListContributorsResponse
        )
    assert caught.value.violations[0].field == "page_size"


def test_hash_sets_of_one_contributor_and_of_all(served: Served) -> None:
    one, other = _hash_set(served, "sets-one"), _hash_set(served, "sets-other")
    ask = "ContributorService/ListHashSets"
    of_one = served.call(ask, v1.ListHashSetsRequest(parent="contributors/sets-one"), v1.ListHashSetsResponse)
    of_all = served.call(ask, v1.ListHashSetsRequest(parent="contributors/-"), v1.ListHashSetsResponse)
    assert [s.name for s in of_one.hash_sets] == [one]
    assert {one, other} <= {s.name for s in of_all.hash_sets}


def test_updates_take_the_masked_fields_only(served: Served) -> None:
    made = served.new_contributor("masked")
    update = "ContributorService/UpdateContributor"
    made.display_name, made.reliability, made.jurisdiction = "New", v1.Reliability.RELIABILITY_A, "not valid"
    request = v1.UpdateContributorRequest(contributor=made)
    request.update_mask.paths.append("display_name")
    changed = served.call(update, request, v1.Contributor)
    assert (changed.display_name, changed.reliability, changed.jurisdiction) == (
        "New",
        v1.Reliability.RELIABILITY_F,
        "GB",
    )
    # No mask: what is set. A partial resource is enough.
    partial = v1.Contributor(name=made.name, reliability=v1.Reliability.RELIABILITY_B)
    changed = served.call(update, v1.UpdateContributorRequest(contributor=partial), v1.Contributor)
    assert (changed.display_name, changed.reliability) == ("New", v1.Reliability.RELIABILITY_B)
    # `*`: everything, so everything must be right.
    whole = v1.UpdateContributorRequest(contributor=v1.Contributor(name=made.name))
    whole.update_mask.paths.append("*")
    with pytest.raises(InvalidArgument) as caught:
        served.call(update, whole, v1.Contributor)
    assert {"contributor.display_name", "contributor.kind"} <= {v.field for v in caught.value.violations}
    request.update_mask.paths.append("name")
    with pytest.raises(InvalidArgument) as caught:
        served.call(update, request, v1.Contributor)
    assert [(v.field, v.reason) for v in caught.value.violations] == [("update_mask", "UNKNOWN_FIELD")]


def test_a_hash_set_keeps_its_scheme(served: Served) -> None:
    name = _hash_set(served, "fixed")
    update = "ContributorService/UpdateHashSet"
    changed = served.call(update, v1.UpdateHashSetRequest(hash_set=v1.HashSet(name=name, review_depth=2)), v1.HashSet)
    assert changed.review_depth == 2
    with pytest.raises(InvalidArgument, match="scheme"):
        served.call(update, v1.UpdateHashSetRequest(hash_set=v1.HashSet(name=name, scheme="vic-us")), v1.HashSet)


def test_the_hubs_violations_carry_the_clients_paths(served: Served) -> None:
    contributor = v1.Contributor(
        display_name="X",
        kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO,
        jurisdiction="ZZ",
        takes_from=["contributors/home", "contributors/nobody"],
    )
    with pytest.raises(InvalidArgument) as caught:
        served.call(
            "ContributorService/CreateContributor",
            v1.CreateContributorRequest(contributor_id="paths", contributor=contributor),
            v1.Contributor,
        )
    assert [v.field for v in caught.value.violations] == ["contributor.takes_from[1]"]
    with pytest.raises(InvalidArgument) as caught:
        served.call(
            "ContributorService/CreateHashSet",
            v1.CreateHashSetRequest(
                parent="contributors/home",
                hash_set_id="s",
                hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM, scheme="nonsense"),
            ),
            v1.HashSet,
        )
    assert [v.field for v in caught.value.violations] == ["hash_set.scheme"]


def test_validate_only_writes_nothing(served: Served) -> None:
    request = v1.CreateContributorRequest(
        contributor_id="imagined",
        contributor=v1.Contributor(display_name="X", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ"),
        validate_only=True,
    )
    served.call("ContributorService/CreateContributor", request, v1.Contributor)
    with pytest.raises(NotFound):
        served.call(
            "ContributorService/GetContributor", v1.GetContributorRequest(name="contributors/imagined"), v1.Contributor
        )


def test_an_import_is_found_only_under_its_whole_name(served: Served) -> None:
    done = _contribute(served, _hash_set(served, "named"), ["named-1"])
    foreign = done.name.replace("contributors/named", "contributors/home")
    with pytest.raises(NotFound):
        served.call("ContributionService/GetImport", v1.GetImportRequest(name=foreign), v1.Import)
    assert (
        served.call("ContributionService/GetImport", v1.GetImportRequest(name=done.name), v1.Import).name == done.name
    )
    listed = served.call(
        "ContributionService/ListImports",
        v1.ListImportsRequest(parent="contributors/named/hashSets/list"),
        v1.ListImportsResponse,
    )
    assert [i.name for i in listed.imports] == [done.name]


def test_reviews_are_kept_with_their_author(served: Served) -> None:
    _contribute(served, _hash_set(served, "reviewed"), ["reviewed-1"])
    entry = _match(served, "reviewed-1").result.matches[0].entry.name
    review = v1.Review(kind=v1.ReviewKind.REVIEW_KIND_FALSE_POSITIVE, comment="a test")
    made = served.call("ReviewService/CreateReview", v1.CreateReviewRequest(parent=entry, review=review), v1.Review)
    assert (made.author, made.kind) == ("contributors/operator", v1.ReviewKind.REVIEW_KIND_FALSE_POSITIVE)
    listed = served.call("ReviewService/ListReviews", v1.ListReviewsRequest(parent=entry), v1.ListReviewsResponse)
    assert [r.name for r in listed.reviews] == [made.name]
    (match,) = _match(served, "reviewed-1").result.matches
    assert [(r.kind, r.review_count) for r in match.reviews] == [(v1.ReviewKind.REVIEW_KIND_FALSE_POSITIVE, 1)]


def test_a_request_id_must_be_short(served: Served) -> None:
    request = v1.WithdrawEntryRequest(
        name="contributors/home/hashSets/x/entries/1", reason=_ERROR, request_id="r" * 129
    )
    with pytest.raises(InvalidArgument) as caught:
        served.call("ContributionService/WithdrawEntry", request, v1.Entry)
    assert caught.value.violations[0].field == "request_id"


def test_an_event_has_the_name_by_which_its_details_are_erased(served: Served) -> None:
    served.new_contributor("named-in-an-event")
    [event] = served.call(
        "HistoryService/ListEvents",
        v1.ListEventsRequest(subject="contributors/named-in-an-event"),
        v1.ListEventsResponse,
    ).events
    assert event.name == f"events/{event.event_revision}"
    redacted = served.call("HistoryService/RedactEvent", v1.RedactEventRequest(name=event.name), v1.Event)
    assert (redacted.name, redacted.redacted) == (event.name, True)
