"""What no honest client sends, on both databases: refused with the field's path or ignored, and never an internal
error.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from hashhub import v1, wire
from hashhub.errors import HashHubError, InvalidArgument, StatusCode
from hashhub.server import pages
from hashhub.server.servicers import FILES
from hashhub.wire import fields
from tests.patience import PATIENCE
from tests.server.test_bridge import ask

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

SET = "contributors/home/hashSets/hostile"
TIMES = ("google.protobuf.Timestamp", "google.protobuf.Duration")
RPCS = {
    f"{service.name}/{rpc.name}": rpc
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
}
FORGED: list[Any] = [
    -1, -(1 << 63), 1 << 63, 1 << 64, 10**400, True, False, 1.5, 1e300, "", "\0", "\ud800", "\N{SNOWMAN}", "x" * 3000,
    None, [],
    [1], [1 << 63, 1], [1, -1], [True, False], ["a", "b"], {},
]  # fmt: skip
POSSIBLE: list[Any] = [
    0,
    1,
    (1 << 63) - 2,
    (1 << 63) - 1,
    "zz",
    "zz/zz",
    [0, (1 << 63) - 1],
    [(1 << 63) - 1, (1 << 63) - 1],
]


@pytest.fixture
def anywhere(database: str, serve_hub: Serve) -> Served:
    """A served hub on each kind of database in turn, with a hash set that holds one entry."""
    served = serve_hub(database=database) if "://" in database else serve_hub()
    served.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(
            parent="contributors/home",
            hash_set_id="hostile",
            hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM),
        ),
        v1.HashSet,
    )
    return served


def _import(served: Served) -> tuple[str, str]:
    """Contribute one item; return the names of the import and of the entry."""
    opening = v1.CreateImportRequest(parent=SET)
    getattr(opening, "import").MergeFrom(v1.Import(connector="t", connector_version="1", source_digest="ab" * 32))
    name = served.call("ContributionService/CreateImport", opening, v1.Import).name
    record = v1.Record(
        position="1",
        hashes=[v1.Hash(algorithm="MD5", digest=bytes(range(16)))],
        action=v1.Action.ACTION_CONTRIBUTE,
    )
    served.call("ContributionService/AddRecords", v1.AddRecordsRequest(name=name, records=[record]), v1.Import)
    served.call("ContributionService/CommitImport", v1.CommitImportRequest(name=name, batch_count=1), v1.Import)
    listed = served.call("ContributionService/ListEntries", v1.ListEntriesRequest(parent=SET), v1.ListEntriesResponse)
    return name, listed.entries[0].name


def _code(served: Served, method: str, request: Message) -> str:
    """Make the call; return the code that it ends with."""
    try:
        served.call(method, request, GetMessageClass(RPCS[method].output_type))
    except InvalidArgument as e:
        assert e.violations, e
        return e.code
    except HashHubError as e:
        return e.code
    return "OK"


def test_page_tokens_that_no_list_gave_are_refused(anywhere: Served) -> None:
    """The digest in a token is public knowledge, so anybody can write a position of their own behind it."""
    import_name, entry_name = _import(anywhere)
    import_id, entry_id = import_name.rpartition("/")[2], entry_name.rpartition("/")[2]
    lists: list[tuple[str, Message, tuple[object, ...], type]] = [
        ("AdminService/ListTokens", v1.ListTokensRequest(), ("tokens",), str),
        ("ContributorService/ListContributors", v1.ListContributorsRequest(), ("contributors",), str),
        ("ContributorService/ListHashSets", v1.ListHashSetsRequest(parent="contributors/-"), ("hashSets", None), str),
        ("ContributionService/ListImports", v1.ListImportsRequest(parent=SET), ("imports", "home", "hostile"), str),
        ("ContributionService/ListFindings", v1.ListFindingsRequest(parent=import_name), ("findings", import_id), int),
        ("ContributionService/ListEntries", v1.ListEntriesRequest(parent=SET), ("entries", "home", "hostile"), int),
        (
            "ReviewService/ListReviews",
            v1.ListReviewsRequest(parent=entry_name),
            ("reviews", "home", "hostile", entry_id),
            int,
        ),
        ("MatchService/ListPolicies", v1.ListPoliciesRequest(), ("policies",), str),
        ("MatchService/ListSchemes", v1.ListSchemesRequest(), ("schemes",), str),
        (
            "SchemeService/CompareSchemes",
            v1.CompareSchemesRequest(name="schemes/vic-us", other_name="schemes/uk-sap"),
            ("crosswalk", "vic-us@2.0", "uk-sap@2007"),
            int,
        ),
    ]
    for method, request, question, kind in lists:
        for position in (*FORGED, *POSSIBLE):
            text = json.dumps([pages._digest(question), position])
            token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
            request.page_token = token  # type: ignore[attr-defined]  # each has one
            code = _code(anywhere, method, request)
            # One of the right kind may be beyond what a column of PostgreSQL holds.
            fits = type(position) is kind and (position in POSSIBLE or position == "")
            assert code == "INVALID_ARGUMENT" or (code == "OK" and fits), (method, position)
    for position in (*FORGED, *POSSIBLE):
        text = json.dumps([pages._digest(("changes",)), position])
        token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        code = _code(anywhere, "ChangeService/ListChanges", v1.ListChangesRequest(position=token))
        assert code == "INVALID_ARGUMENT" or (code == "OK" and position in POSSIBLE), position


def test_ids_are_not_made_up(anywhere: Served) -> None:
    """An empty id is nobody's wish for a name of the hub's choice."""
    contributor = v1.Contributor(display_name="X", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="GB")
    consumer = v1.Token(role=v1.Role.ROLE_CONTRIBUTOR, contributor="contributors/home")
    requests: list[tuple[str, Message, str]] = [
        (
            "ContributorService/CreateContributor",
            v1.CreateContributorRequest(contributor=contributor),
            "contributor_id",
        ),
        (
            "ContributorService/CreateHashSet",
            v1.CreateHashSetRequest(parent="contributors/home", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)),
            "hash_set_id",
        ),
        ("AdminService/CreateToken", v1.CreateTokenRequest(token=consumer), "token_id"),
        ("ContributorService/CreateGroup", v1.CreateGroupRequest(), "group_id"),
        (
            "ContributorService/UpdateContributor",
            v1.UpdateContributorRequest(contributor=contributor),
            "contributor.name",
        ),
        (
            "ContributorService/UpdateHashSet",
            v1.UpdateHashSetRequest(hash_set=v1.HashSet(review_depth=2)),
            "hash_set.name",
        ),
    ]
    before = anywhere.hub.revision()
    for method, request, field in requests:
        with pytest.raises(InvalidArgument) as e:
            anywhere.call(method, request, GetMessageClass(RPCS[method].output_type))
        assert [v.field for v in e.value.violations] == [field], (method, e.value)
    assert anywhere.hub.revision() == before
    everybody = anywhere.call(
        "ContributorService/ListContributors", v1.ListContributorsRequest(), v1.ListContributorsResponse
    )
    assert not [c.name for c in everybody.contributors if "unnamed" in c.name]
    tokens = anywhere.call("AdminService/ListTokens", v1.ListTokensRequest(), v1.ListTokensResponse)
    assert {t.name for t in tokens.tokens} == {
        "tokens/operator",
        "tokens/contributor",
        "tokens/consumer",
        "tokens/auditor",
    }


def _bases(served: Served) -> dict[str, Message]:
    """A sound request of every call that takes a time somewhere; the hub would do what it says."""
    import_name, entry_name = _import(served)
    contributor = v1.Contributor(display_name="X", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="GB")
    opening = v1.CreateImportRequest(parent=SET, validate_only=True)
    getattr(opening, "import").MergeFrom(v1.Import(connector="t", connector_version="1", source_digest="cd" * 32))
    review = v1.Review(kind=v1.ReviewKind.REVIEW_KIND_CONFIRMED)
    known = v1.Contributor(name="contributors/home", display_name="Home")
    return {
        "ContributorService/CreateContributor": v1.CreateContributorRequest(
            contributor_id="x", contributor=contributor, validate_only=True
        ),
        "ContributorService/UpdateContributor": v1.UpdateContributorRequest(contributor=known, validate_only=True),
        "ContributorService/CreateHashSet": v1.CreateHashSetRequest(
            parent="contributors/home",
            hash_set_id="x",
            hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_TEST),
            validate_only=True,
        ),
        "ContributorService/UpdateHashSet": v1.UpdateHashSetRequest(
            hash_set=v1.HashSet(name=SET, display_name="X", marking=v1.Marking()), validate_only=True
        ),
        "ContributionService/CreateImport": opening,
        "ContributionService/AddRecords": v1.AddRecordsRequest(name=import_name, batch_index=0),
        "ReviewService/CreateReview": v1.CreateReviewRequest(parent=entry_name, review=review, validate_only=True),
        "AdminService/CreateToken": v1.CreateTokenRequest(
            token_id="new",  # noqa: S106 - a name
            token=v1.Token(role=v1.Role.ROLE_CONTRIBUTOR, contributor="contributors/home"),
        ),
        "AdminService/UpdateToken": v1.UpdateTokenRequest(token=v1.Token(name="tokens/auditor", description="X")),
        "AdminService/RotateToken": v1.RotateTokenRequest(name="tokens/auditor"),
        "ContributorService/CreateGroup": v1.CreateGroupRequest(
            group_id="x", group=v1.Group(display_name="X"), validate_only=True
        ),
        "HistoryService/ListEvents": v1.ListEventsRequest(),
        "HistoryService/RevertActor": v1.RevertActorRequest(actor="tokens/auditor", comment="X", validate_only=True),
    }


def _times(message: Descriptor, at: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Return the way to every time or duration in a message."""
    for field in message.fields:
        if field.message_type is None or field.message_type in {f.message_type for f in at}:
            continue
        if field.message_type.full_name in TIMES:
            yield (*at, field)
        elif not field.message_type.GetOptions().map_entry:
            yield from _times(field.message_type, (*at, field))


def _set(request: Any, way: tuple[FieldDescriptor, ...], seconds: int, nanos: int) -> None:
    for field in way:
        inner = getattr(request, field.name)
        request = inner.add() if field.is_repeated else inner
    request.SetInParent()
    request.seconds, request.nanos = seconds, nanos


def _is_output_only(way: tuple[FieldDescriptor, ...]) -> bool:
    """Whether it is, or stands in what is."""
    return any(
        field.containing_type is not None and field.name in fields._OUTPUT_ONLY.get(field.containing_type.full_name, ())
        for field in way
    )


def test_times_that_are_none_are_refused_or_ignored(anywhere: Served) -> None:
    bases = _bases(anywhere)
    tried = 0
    for method, rpc in RPCS.items():
        if rpc.server_streaming or f"/hashhub.v1.{method}" not in anywhere.doors.methods:
            continue
        for way in _times(rpc.input_type):
            for seconds, nanos in (
                (10**15, 0), (-(10**15), 0), ((1 << 63) - 1, 0), (-(1 << 63), 0), (0, -1), (0, 2 * 10**9),
                (10**12, -(1 << 31)),
            ):  # fmt: skip
                for base in (bases.get(method), GetMessageClass(rpc.input_type)()):
                    if base is None:
                        continue
                    request = type(base)()
                    request.CopyFrom(base)
                    _set(request, way, seconds, nanos)
                    code = _code(anywhere, method, request)
                    assert code not in {StatusCode.INTERNAL, StatusCode.UNAVAILABLE}, (
                        method,
                        way[-1].full_name,
                        seconds,
                        nanos,
                    )
                    tried += 1
                if method in bases and method != "AdminService/CreateToken":
                    request.CopyFrom(bases[method])
                    _set(request, way, seconds, nanos)
                    # What only the hub says is ignored; what a caller says must be right.
                    expected = "OK" if _is_output_only(way) else "INVALID_ARGUMENT"
                    assert _code(anywhere, method, request) == expected, (method, way[-1].full_name, seconds, nanos)
    assert tried > 100


def test_a_time_that_is_none_is_named_by_its_path(anywhere: Served) -> None:
    import_name, _ = _import(anywhere)
    wrong = Timestamp(seconds=10**15)
    requests: list[tuple[str, Message, str]] = [
        (
            "ContributorService/CreateHashSet",
            v1.CreateHashSetRequest(
                parent="contributors/home",
                hash_set_id="x",
                hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_TEST, marking=v1.Marking(expire_time=wrong)),
            ),
            "hash_set.marking.expire_time",
        ),
        (
            "ContributionService/AddRecords",
            v1.AddRecordsRequest(
                name=import_name,
                records=[
                    v1.Record(
                        position="1",
                        hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))],
                        action=v1.Action.ACTION_CONTRIBUTE,
                        expire_time=wrong,
                    )
                ],
            ),
            "records[0].expire_time",
        ),
        (
            "AdminService/RotateToken",
            v1.RotateTokenRequest(name="tokens/auditor", grace=Duration(seconds=10**15)),
            "grace",
        ),
        ("HistoryService/ListEvents", v1.ListEventsRequest(since=wrong), "since"),
        (
            "AdminService/UpdateToken",
            v1.UpdateTokenRequest(token=v1.Token(name="tokens/auditor", expire_time=wrong)),
            "token.expire_time",
        ),
    ]
    for method, request, field in requests:
        with pytest.raises(InvalidArgument) as e:
            anywhere.call(method, request, GetMessageClass(RPCS[method].output_type))
        assert [v.field for v in e.value.violations] == [field], (method, e.value)


@pytest.mark.parametrize(
    "time",
    ["9999999-01-01T00:00:00Z", "2024-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "1e400", "now", "", 5, 1e300, [], {}],
)
def test_times_in_json_that_are_none_are_refused(served: Served, time: object) -> None:
    for path, body in (
        ("ContributorService/CreateContributor", {"contributor": {"createTime": time}}),
        ("ContributionService/CreateImport", {"import": {"commitTime": time}}),
        ("ContributionService/AddRecords", {"records": [{"expireTime": time}]}),
        ("AdminService/CreateToken", {"token": {"expireTime": time}}),
    ):
        assert ask(served, f"/hashhub.v1.{path}", body).status == 400, path


def test_numbers_in_json_beyond_all_bounds_are_refused(served: Served) -> None:
    for number in (
        b"1e400",
        b"-1e400",
        b"1e18446744073709551616",
        b"9" * 4000,
        b"NaN",
        b"Infinity",
        b'"1e400"',
        b"1.5",
    ):
        answer = ask(served, "/hashhub.v1.ContributorService/ListContributors", b'{"pageSize": ' + number + b"}")
        assert answer.status == 400, number


def test_no_caller_supplies_what_is_output_only(anywhere: Served) -> None:
    """Neither when nor by whom nor how far it counts: the answer has the hub's own values."""
    forged = Timestamp(seconds=1)
    contributor = v1.Contributor(
        display_name="X",
        kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO,
        jurisdiction="GB",
        create_time=forged,
        retire_time=forged,
        objections_accepted_revision=99,
    )
    made = anywhere.call(
        "ContributorService/CreateContributor",
        v1.CreateContributorRequest(contributor_id="x", contributor=contributor),
        v1.Contributor,
    )
    assert made.create_time.seconds > 1
    assert not made.HasField("retire_time")
    assert made.objections_accepted_revision == 0
    benign = v1.HashSet(purpose=v1.Purpose.PURPOSE_BENIGN, accepted_revision=1 << 40, create_time=forged)
    created = anywhere.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(parent="contributors/x", hash_set_id="benign", hash_set=benign),
        v1.HashSet,
    )
    assert (created.accepted_revision, created.create_time.seconds > 1) == (0, True)


def test_the_contract_names_the_same_output_only_fields() -> None:
    stated: dict[str, list[str]] = {}
    for file in (Path(v1.__file__).parents[2] / "proto/hashhub/v1").glob("*.proto"):
        message, is_output = "", False
        for line in file.read_text().splitlines():
            if found := re.match(r"message (\w+)", line):
                message = f"hashhub.v1.{found[1]}"
            elif line.strip().startswith("//"):
                is_output = is_output or line.strip().startswith("// Output only.")
            else:
                if is_output and (field := re.search(r"(\w+) = \d+;", line)):
                    stated.setdefault(message, []).append(field[1])
                is_output = False
    resources = {
        field.message_type.full_name
        for rpc in RPCS.values()
        for field in rpc.input_type.fields
        if field.message_type is not None
    }
    assert {m: sorted(f) for m, f in stated.items() if m in resources or m in fields._OUTPUT_ONLY} == {
        m: sorted(f) for m, f in fields._OUTPUT_ONLY.items()
    }


def test_forged_tokens_leave_no_traceback(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    text = json.dumps([pages._digest(("contributors",)), 1 << 70])
    token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    answer = ask(served, "/hashhub.v1.ContributorService/ListContributors", {"pageToken": token})
    assert (answer.status, answer.json["details"][1]["fieldViolations"][0]["field"]) == (400, "page_token")
    assert not [r for r in caplog.records if r.exc_info]
    ask_grpc: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
        "/hashhub.v1.ContributorService/ListContributors", None, None
    )
    with pytest.raises(grpc.RpcError) as e:
        ask_grpc(
            v1.ListContributorsRequest(page_token=token).SerializeToString(),
            metadata=served.metadata(),
            timeout=PATIENCE,
        )
    assert wire.status_to_error(e.value).code is StatusCode.INVALID_ARGUMENT
