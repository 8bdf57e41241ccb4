"""Schemes over the wire: what the client sends and reads is what the hub holds."""

from __future__ import annotations

import pytest

from hashhub import schemes
from hashhub.client import Client
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.model import Principal, Role, SchemeStatus
from hashhub.schemes import alignment
from hashhub.testing.hub_process import RunningHub

TEXT = """
# as its owner wrote it
id = "wired"
version = "1"
region = "CA"
region_aliases = ["Canada"]
status = "verified"
title = "Wired é"
source = ["a letter", "another"]
lossy = ["no age"]
value_required = true
source_names = ["vic-ca"]
[values.1]
title = "One"
note = "a remark"
aliases = ["I"]
dimensions = { verdict = "csam", context = ["meme", "series"] }
[values.2]
title = "Two"
"""


@pytest.fixture(scope="module")
def others(hub: RunningHub, operator: Client) -> dict[Role, Client]:
    """A client of each role at this hub, the operator another one than `operator`."""
    made = {}
    for role in set(Role) - {Role.PEER}:
        token = Principal(name=f"wired-{role.lower()}", role=role, contributor="police-us")
        made[role] = Client(hub.address, operator.create_token(token))
    return made


def test_a_scheme_from_its_text_to_its_end(hub: RunningHub, operator: Client, others: dict[Role, Client]) -> None:
    author = Client(hub.address, operator.create_token(Principal(name="wired-author", role=Role.OPERATOR)))
    tried = operator.put_scheme(TEXT, validate_only=True)
    assert (tried.id, tried.create_time is not None) == ("wired@1", True)
    with pytest.raises(NotFound):
        operator.get_scheme("wired")
    put = author.put_scheme(TEXT, "the letter")
    read = operator.get_scheme("wired")
    assert read == put
    assert (read.text, read.status, read.stored, read.sign_offs) == (TEXT, SchemeStatus.DRAFT, True, ())
    table = schemes.parse(TEXT.encode(), "test")
    assert {v.value: (v.title, v.note, v.aliases, v.dimensions) for v in read.values} == {
        v.value: (v.title, v.note, v.aliases, v.dimensions) for v in table.values.values()
    }
    assert (read.title, read.region, read.region_aliases) == (table.title, table.region, table.region_aliases)
    assert (read.lossy, read.source_names, read.value_required) == (table.lossy, table.source_names, True)
    with pytest.raises(AlreadyExists, match="another version") as exists:
        operator.put_scheme(TEXT)
    assert exists.value.metadata["resourceName"] == "wired@1"

    for same in (author, operator):  # who made the author's token may be the author
        with pytest.raises(FailedPrecondition) as own:
            same.sign_off_scheme("wired@1", "sure")
        assert own.value.reason is Reason.SECOND_PERSON_NEEDED
    signed = others[Role.OPERATOR].sign_off_scheme("wired@1", "compared")
    assert (signed.status, [s.comment for s in signed.sign_offs]) == (SchemeStatus.VERIFIED, ["compared"])
    retired = operator.retire_scheme("wired@1", "over")
    assert retired.retire_time is not None
    listed = next(s for s in operator.list_schemes() if s.id == "wired@1")
    assert (listed.text, listed.sign_offs, listed.retire_time) == ("", signed.sign_offs, retired.retire_time)
    events = list(operator.list_events("schemes/wired@1"))
    assert [e.kind for e in events] == ["SCHEME_RETIRED", "SCHEME_SIGNED_OFF", "SCHEME_PUT"]

    for role, client in others.items():
        seen = client.get_scheme("wired@1")
        assert [v.value for v in seen.values] == ["1", "2"]
        assert bool(seen.actor) is (role in {Role.OPERATOR, Role.AUDITOR})
        assert len(list(client.compare_schemes("wired", "vic-us"))) == 2 * 6
        if role is not Role.OPERATOR:
            with pytest.raises(PermissionDenied):
                client.put_scheme(TEXT.replace('"1"', '"2"'))
            with pytest.raises(PermissionDenied):
                client.sign_off_scheme("wired@1", "me too")
            with pytest.raises(PermissionDenied):
                client.retire_scheme("wired@1")


def test_a_crosswalk_and_a_difference_come_as_they_were_worked_out(operator: Client) -> None:
    known = schemes.load()
    for a, b in (("copine", "uk-sap"), ("vic-us", "vic-us-legacy"), ("interpol-baseline", "copine")):
        left, right = known.get(a), known.get(b)
        assert list(operator.compare_schemes(a, right.name)) == list(alignment.rows(left, right))
        assert operator.diff_schemes(a, b) == alignment.diff(left, right)


@pytest.mark.parametrize("name", ["", "a/b", "x@", "@1", "x" * 300, "é"])
def test_what_is_no_name_is_refused(operator: Client, name: str) -> None:
    for call in (
        operator.get_scheme,
        lambda n: operator.sign_off_scheme(n, "read"),
        operator.retire_scheme,
        lambda n: operator.diff_schemes(n, "vic-us"),
        lambda n: list(operator.compare_schemes("vic-us", n)),
    ):
        with pytest.raises((InvalidArgument, NotFound)) as refused:
            call(name)
        assert len(refused.value.message) < 300
