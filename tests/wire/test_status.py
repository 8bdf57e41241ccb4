from __future__ import annotations

import base64

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from hashhub import errors, v1, wire
from hashhub.errors import HashHubError, InvalidArgument, MalformedSource, Reason, StatusCode, Violation


def _family(kind: type[HashHubError] = HashHubError) -> list[type[HashHubError]]:
    return [kind, *(k for sub in kind.__subclasses__() if sub.__module__ == errors.__name__ for k in _family(sub))]


def _over_the_wire(error: HashHubError) -> HashHubError:
    return wire.status_pb_to_error(status_pb2.Status.FromString(wire.error_to_status(error).SerializeToString()))


@pytest.mark.parametrize(
    "kind", [k for k in _family() if not k.__name__.startswith("_") and not issubclass(k, InvalidArgument)]
)
@given(
    message=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    reason=st.sampled_from(Reason),
    metadata=st.dictionaries(st.text("abc", min_size=1), st.text("xyz"), max_size=3),
    retry_after=st.none() | st.floats(0, 1e6).map(lambda s: round(s, 6)),
)
def test_every_class_comes_back_as_itself(
    kind: type[HashHubError], message: str, reason: Reason, metadata: dict[str, str], retry_after: float | None
) -> None:
    error = kind(message, reason=reason, metadata=metadata, retry_after=retry_after)
    back = _over_the_wire(error)
    assert type(back) is kind
    assert (back.message, back.reason, back.metadata) == (message, reason, metadata)
    assert back.retry_after == (pytest.approx(retry_after) if retry_after is not None else None)


def test_invalid_argument_comes_back_with_its_violations() -> None:
    error = InvalidArgument("two", violations=(Violation("a[0].b", "x", "R"), Violation("c", "y", "S")))
    back = _over_the_wire(error)
    assert type(back) is InvalidArgument
    assert back.violations == error.violations
    assert back.metadata == {"violationCount": "2"}


def test_malformed_source_comes_back_with_its_position_once() -> None:
    back = _over_the_wire(MalformedSource("cut off", position="line 12"))
    assert type(back) is MalformedSource
    assert (back.message, back.position) == ("line 12: cut off", "line 12")


def test_every_status_carries_error_info_with_our_domain() -> None:
    for kind in _family():
        error = MalformedSource("x", position="1") if kind is MalformedSource else kind("x")
        status = wire.error_to_status(error)
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (info.domain, info.reason) == ("hashhub.dev", error.reason)
        assert status.code == code_pb2.Code.Value(error.code)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (errors.NotFound("x", kind="Contributor", name="a"), error_details_pb2.ResourceInfo),
        (errors.AlreadyExists("x", kind="Token", name="a"), error_details_pb2.ResourceInfo),
        (errors.FailedPrecondition("x"), error_details_pb2.PreconditionFailure),
        (errors.LimitExceeded("x"), error_details_pb2.QuotaFailure),
        (errors.Unavailable("x", retry_after=2.0), error_details_pb2.RetryInfo),
        (InvalidArgument.field("a", "b"), error_details_pb2.BadRequest),
    ],
)
def test_the_standard_details_are_there_for_clients_of_other_makers(error: HashHubError, detail: type) -> None:
    details = wire.error_to_status(error).details
    assert any(d.Is(detail.DESCRIPTOR) for d in details)  # type: ignore[attr-defined]  # a message


@pytest.mark.parametrize("error", [errors.NotFound, errors.AlreadyExists])
@pytest.mark.parametrize(
    ("kind", "name", "shown"),
    [
        ("Contributor", "a", "contributors/a"),
        ("HashSet", "a/b", "contributors/a/hashSets/b"),
        ("Import", "a/b/c", "contributors/a/hashSets/b/imports/c"),
        ("Import", "c", "c"),
        ("Entry", "a/b/7", "contributors/a/hashSets/b/entries/7"),
        ("Token", "t", "tokens/t"),
    ],
)
def test_the_resource_is_named_as_the_contract_names_it(
    error: type[errors.NotFound | errors.AlreadyExists], kind: str, name: str, shown: str
) -> None:
    sent = wire.error_to_status(error("x", kind=kind, name=name))
    info = error_details_pb2.ResourceInfo()
    assert sent.details[1].Unpack(info)
    assert (info.resource_type, info.resource_name) == (f"hashhub.v1.{kind}", shown)
    assert getattr(v1, kind).DESCRIPTOR.full_name == info.resource_type
    assert wire.status_pb_to_error(sent).metadata == {"resourceType": kind, "resourceName": name}


def test_no_resource_is_made_up() -> None:
    sent = wire.error_to_status(errors.NotFound("there is no such call"))
    assert not any(d.Is(error_details_pb2.ResourceInfo.DESCRIPTOR) for d in sent.details)


def test_twenty_violations_are_sent_and_all_are_counted() -> None:
    back = _over_the_wire(InvalidArgument("many", violations=tuple(Violation(f"f[{i}]", "d", "R") for i in range(500))))
    assert isinstance(back, InvalidArgument)
    assert [v.field for v in back.violations] == [f"f[{i}]" for i in range(20)]
    assert back.metadata["violationCount"] == "500"


@given(st.text(max_size=3000), st.text(max_size=600), st.integers(1, 100))
def test_any_status_fits_into_the_headers_that_clients_accept(message: str, description: str, count: int) -> None:
    error = InvalidArgument(
        message * 3,
        violations=tuple(Violation(f"f[{i}]{description}", description, "R") for i in range(count)),
        metadata={"key": description},
    )
    status = wire.error_to_status(error)
    percent_encoded = sum(1 if 0x20 <= b < 0x7F and b != 0x25 else 3 for b in status.message.encode())
    assert percent_encoded + len(base64.b64encode(status.SerializeToString())) < 8000
    back = wire.status_pb_to_error(status)
    assert isinstance(back, InvalidArgument)
    assert back.violations


def test_an_unknown_reason_becomes_the_classs_default() -> None:
    status = wire.error_to_status(errors.Conflict("x"))
    info = error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="hashhub.dev")
    status.details[0].Pack(info)
    back = wire.status_pb_to_error(status)
    assert (type(back), back.reason) == (errors.Conflict, Reason.CONCURRENT_CHANGE)


@given(st.integers(-5, 40))
def test_any_code_becomes_an_error(number: int) -> None:
    ours = {code_pb2.Code.Value(code): code for code in StatusCode}
    back = wire.status_pb_to_error(status_pb2.Status(code=number, message="m"))
    assert (back.code, back.message) == (ours.get(number, StatusCode.INTERNAL), "m")


def test_damaged_details_do_not_hide_the_error() -> None:
    status = wire.error_to_status(errors.NotFound("gone"))
    status.details[0].value = b"\xff\xff\xff"
    back = wire.status_pb_to_error(status)
    assert (type(back), back.message) == (errors.NotFound, "gone")
