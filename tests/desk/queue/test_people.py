"""Who acts is who holds the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashhub.desk.people import People
from hashhub.desk.records import Records
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unauthenticated


def records_path(records: Records) -> str:
    path: str = records.rows("PRAGMA database_list")[0][2]
    return path


def test_who_acts_is_who_holds_the_token(records: Records) -> None:
    people = People(records)
    token = people.add("ann", days=1, actor="account:root")
    assert people.who(token).name == "ann"
    assert [p.name for p in people.everybody()] == ["ann"]
    with pytest.raises(HashHubError):
        people.add("ann", days=1, actor="account:root")
    for wrong in ("", "ann", token[:-1], token + "x", "\udcff"):
        with pytest.raises(Unauthenticated):
            people.who(wrong)
    records.write("UPDATE person SET expire_time = '2020-01-01T00:00:00+00:00'")
    with pytest.raises(Unauthenticated) as error:
        people.who(token)
    assert error.value.reason is Reason.TOKEN_EXPIRED
    for name in ("", "Ann", "a b", "a/b", "é", "x" * 64, "hook"):
        with pytest.raises(InvalidArgument):
            people.add(name, days=1, actor="account:root")
    people.remove("ann", actor="account:root")
    with pytest.raises(Unauthenticated):
        people.who(token)
    assert token not in Path(records_path(records)).read_bytes().decode("latin-1")
    assert [e.kind for e in records.events()] == ["person.added", "person.removed"]
