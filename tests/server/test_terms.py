"""Terms, groups and tokens as a client meets them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hashhub import v1
from hashhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Reason, Unauthenticated

if TYPE_CHECKING:
    from tests.server.conftest import Served

_FOREVER = Timestamp(seconds=1 << 62)  # beyond the year 9999


def _hash_set(served: Served, name: str, **marking: Any) -> str:
    made = served.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(
            parent="contributors/home",
            hash_set_id=name,
            hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM, marking=v1.Marking(**marking)),
        ),
        v1.HashSet,
    )
    return str(made.name)


def _update(served: Served, name: str, *paths: str, **marking: Any) -> v1.Marking:
    request = v1.UpdateHashSetRequest(hash_set=v1.HashSet(name=name, marking=v1.Marking(**marking)))
    request.update_mask.paths.extend(paths)
    changed: v1.Marking = served.call("ContributorService/UpdateHashSet", request, v1.HashSet).marking
    return changed


def test_one_term_is_named_by_its_path(served: Served) -> None:
    name = _hash_set(served, "paths", recipients=["contributors/home"], bulk=True, legal_basis="law")
    changed = _update(served, name, "marking.tlp", tlp=v1.Tlp.TLP_RED)
    assert (changed.tlp, list(changed.recipients), changed.bulk, changed.legal_basis) == (
        v1.Tlp.TLP_RED, ["contributors/home"], True, "law",
    )  # fmt: skip
    with pytest.raises(InvalidArgument) as caught:
        _update(served, name, "marking.recipients")
    assert [v.field for v in caught.value.violations] == ["hash_set.marking.recipients"]
    changed = _update(served, name, "marking.recipients", "marking.tlp", tlp=v1.Tlp.TLP_GREEN, legal_basis="ignored")
    assert (changed.tlp, list(changed.recipients), changed.legal_basis) == (v1.Tlp.TLP_GREEN, [], "law")
    # No mask: the terms that are set, and only those.
    changed = _update(served, name, legal_basis="another")
    assert (changed.tlp, changed.bulk, changed.legal_basis) == (v1.Tlp.TLP_GREEN, True, "another")
    # All of them.
    changed = _update(served, name, "marking")
    assert (changed.tlp, changed.bulk, changed.legal_basis) == (v1.Tlp.TLP_AMBER, False, "")
    assert _update(served, name, "*", bulk=True).bulk
    for path in ("marking.nonsense", "marking.", "marking.tlp.x", "display_name.x", "accepted_revision"):
        with pytest.raises(InvalidArgument, match="update_mask"):
            _update(served, name, path)


def test_an_expiry_of_terms_is_set_and_cleared(served: Served) -> None:
    name = _hash_set(served, "expiring", expire_time=Timestamp(seconds=4_000_000_000))
    assert _update(served, name, "marking.bulk", bulk=True).expire_time.seconds == 4_000_000_000
    assert not _update(served, name, "marking.expire_time").HasField("expire_time")


def test_groups_from_creation_to_deletion(served: Served) -> None:
    wanted = v1.Group(display_name="Allies", members=["contributors/home"])
    create = v1.CreateGroupRequest(group_id="allies", group=wanted)
    made = served.call("ContributorService/CreateGroup", create, v1.Group)
    assert (made.name, made.members, made.revision > 0) == ("groups/allies", ["contributors/home"], True)
    assert served.call("ContributorService/GetGroup", v1.GetGroupRequest(name=made.name), v1.Group, who="AUDITOR")
    listed = served.call("ContributorService/ListGroups", v1.ListGroupsRequest(), v1.ListGroupsResponse)
    assert "groups/allies" in [g.name for g in listed.groups]
    request = v1.UpdateGroupRequest(group=v1.Group(name=made.name))
    request.update_mask.paths.append("members")
    changed = served.call("ContributorService/UpdateGroup", request, v1.Group)
    assert (changed.display_name, changed.members) == ("Allies", [])
    request.group.members.append("contributors/nobody")
    with pytest.raises(InvalidArgument) as caught:
        served.call("ContributorService/UpdateGroup", request, v1.Group)
    assert [v.field for v in caught.value.violations] == ["group.members[0]"]
    name = _hash_set(served, "for-allies", recipients=["groups/allies"])
    delete = ("ContributorService/DeleteGroup", v1.DeleteGroupRequest(name=made.name), v1.DeleteGroupResponse)
    with pytest.raises(FailedPrecondition) as refused:
        served.call(*delete)
    assert (refused.value.reason, refused.value.metadata["hashSets"]) == (Reason.NAMED_BY_TERMS, "home/for-allies")
    _update(served, name, "marking.recipients")
    assert served.call(*delete).revision > changed.revision


def _create_token(served: Served, name: str, **fields: Any) -> v1.CreateTokenResponse:
    token = v1.Token(**{"role": v1.Role.ROLE_CONSUMER, "contributor": "contributors/home", **fields})
    answer: v1.CreateTokenResponse = served.call(
        "AdminService/CreateToken", v1.CreateTokenRequest(token_id=name, token=token), v1.CreateTokenResponse
    )
    return answer


def test_a_token_is_updated_and_rotates_itself(served: Served) -> None:
    made = _create_token(served, "shop", purposes=["moderation"], expire_time=Timestamp(seconds=4_000_000_000))
    assert (made.token.contributor, made.token.HasField("create_time")) == ("contributors/home", True)
    request = v1.UpdateTokenRequest(token=v1.Token(name="tokens/shop", may_mirror=True, description="till"))
    changed = served.call("AdminService/UpdateToken", request, v1.Token)
    assert (changed.may_mirror, changed.description, changed.purposes) == (True, "till", ["moderation"])
    request = v1.UpdateTokenRequest(token=v1.Token(name="tokens/shop"))
    request.update_mask.paths.extend(["expire_time", "purposes"])
    changed = served.call("AdminService/UpdateToken", request, v1.Token)
    assert (changed.HasField("expire_time"), changed.purposes, changed.description) == (False, [], "till")
    request.update_mask.paths.append("role")
    with pytest.raises(InvalidArgument, match="update_mask"):
        served.call("AdminService/UpdateToken", request, v1.Token)

    rotate = v1.RotateTokenRequest(name="tokens/shop", grace=Duration(seconds=0))
    with pytest.raises(InvalidArgument, match="an hour"):  # a thief would lock its owner out
        served.call("AdminService/RotateToken", rotate, v1.RotateTokenResponse, who=made.secret)
    rotate.grace.FromSeconds(3600)
    answer = served.call("AdminService/RotateToken", rotate, v1.RotateTokenResponse, who=made.secret)
    assert answer.secret != made.secret
    with pytest.raises(Unauthenticated) as ended:
        served.call("AdminService/RotateToken", rotate, v1.RotateTokenResponse, who=made.secret)
    assert ended.value.reason is Reason.SECRET_REPLACED
    other = v1.RotateTokenRequest(name="tokens/operator")
    with pytest.raises(PermissionDenied):
        served.call("AdminService/RotateToken", other, v1.RotateTokenResponse, who=answer.secret)
    for grace in (Duration(seconds=31 * 86_400), Duration(seconds=1 << 60), Duration(seconds=-1)):
        rotate.grace.CopyFrom(grace)
        with pytest.raises(InvalidArgument, match="grace"):
            served.call("AdminService/RotateToken", rotate, v1.RotateTokenResponse)


def test_refusals_are_logged_with_the_tokens_name(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hashhub.server")
    secret = _create_token(served, "nosy").secret
    with pytest.raises(PermissionDenied):
        served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=secret)
    assert any("code=PERMISSION_DENIED" in m and "token=nosy" in m for m in caplog.messages)
    end = v1.UpdateTokenRequest(token=v1.Token(name="tokens/nosy", expire_time=Timestamp(seconds=1)))
    served.call("AdminService/UpdateToken", end, v1.Token)
    with pytest.raises(Unauthenticated) as ended:
        served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=secret)
    assert ended.value.reason is Reason.TOKEN_EXPIRED
    assert any("reason=TOKEN_EXPIRED" in m and "token=nosy" in m for m in caplog.messages)
    assert secret not in caplog.text


def test_an_empty_id_is_no_id(served: Served) -> None:
    contributor = v1.Contributor(display_name="X", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ")
    for call, request, answer, field in (
        ("CreateContributor", v1.CreateContributorRequest(contributor=contributor), v1.Contributor, "contributor_id"),
        ("CreateGroup", v1.CreateGroupRequest(group=v1.Group()), v1.Group, "group_id"),
        (
            "CreateHashSet",
            v1.CreateHashSetRequest(parent="contributors/home", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)),
            v1.HashSet,
            "hash_set_id",
        ),
    ):
        with pytest.raises(InvalidArgument) as caught:
            served.call(f"ContributorService/{call}", request, answer)
        assert [v.field for v in caught.value.violations] == [field]


def test_times_that_are_none_are_refused(served: Served) -> None:
    token = v1.Token(role=v1.Role.ROLE_AUDITOR, expire_time=_FOREVER)
    create = v1.CreateTokenRequest(token_id="times", token=token)  # noqa: S106 - a name
    with pytest.raises(InvalidArgument) as caught:
        served.call("AdminService/CreateToken", create, v1.CreateTokenResponse)
    assert [(v.field, v.reason) for v in caught.value.violations] == [("token.expire_time", "OUT_OF_RANGE")]
    with pytest.raises(InvalidArgument) as caught:
        _hash_set(served, "times", expire_time=_FOREVER)
    assert [v.field for v in caught.value.violations] == ["hash_set.marking.expire_time"]


def test_retirement_and_acceptance(served: Served) -> None:
    served.new_contributor("leaving")
    accept = v1.AcceptObjectionsRequest(name="contributors/leaving", accepted_revision=1, comment="seen")
    made = served.call("ContributorService/AcceptObjections", accept, v1.Contributor)
    assert made.objections_accepted_revision == 1
    name = _hash_set(served, "accepted")
    request = v1.AcceptHashSetRequest(name=name, accepted_revision=made.revision)
    assert served.call("ContributorService/AcceptHashSet", request, v1.HashSet).accepted_revision == made.revision
    for wrong in (v1.AcceptHashSetRequest(name=name), v1.AcceptHashSetRequest(name=name, accepted_revision=1 << 62)):
        with pytest.raises(InvalidArgument) as caught:
            served.call("ContributorService/AcceptHashSet", wrong, v1.HashSet)
        assert [v.field for v in caught.value.violations] == ["accepted_revision"]
    retire = v1.RetireContributorRequest(
        name="contributors/leaving",
        comment="x" * 2_000,
        entries=v1.RetiredEntries.RETIRED_ENTRIES_KEPT,
    )
    with pytest.raises(InvalidArgument, match="comment"):
        served.call("ContributorService/RetireContributor", retire, v1.Contributor)
    retire.comment = "merged"
    assert served.call("ContributorService/RetireContributor", retire, v1.Contributor).HasField("retire_time")
    with pytest.raises(FailedPrecondition) as refused:
        served.call(
            "ContributorService/CreateHashSet",
            v1.CreateHashSetRequest(
                parent="contributors/leaving", hash_set_id="new", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
            ),
            v1.HashSet,
        )
    assert refused.value.reason is Reason.CONTRIBUTOR_RETIRED


def test_members_come_and_go_one_by_one(served: Served) -> None:
    for name in ("first", "second", "third"):
        served.new_contributor(name)
    create = v1.CreateGroupRequest(group_id="some", group=v1.Group(display_name="Some", members=["contributors/first"]))
    name = served.call("ContributorService/CreateGroup", create, v1.Group).name

    def change(**members: Any) -> list[str]:
        request = v1.UpdateGroupRequest(group=v1.Group(name=name), **members)
        changed = served.call("ContributorService/UpdateGroup", request, v1.Group)
        assert changed.display_name == "Some"
        return list(changed.members)

    added = ["contributors/third", "contributors/second", "contributors/third"]
    assert change(add_members=added) == ["contributors/first", "contributors/third", "contributors/second"]
    assert change(remove_members=["contributors/first", "contributors/home"]) == added[:2]
    assert change(add_members=["contributors/first"], remove_members=added[:2]) == ["contributors/first"]
    for wrong, field in (("contributors/nobody", "group.members[1]"), ("first", "add_members[0]")):
        with pytest.raises(InvalidArgument) as caught:
            change(add_members=[wrong])
        assert [v.field for v in caught.value.violations] == [field]
