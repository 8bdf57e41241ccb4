"""A database of an earlier version, with rows, becomes one of this version without losing what it says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from hashhub.errors import FailedPrecondition
from hashhub.model import SYSTEM, EntryState, EventKind, ReviewKind, Role
from hashhub.store import Store
from hashhub.store import database as module
from hashhub.store.packing import pack_hashes
from hashhub.store.schema import tables as schema

_ROWS: Final[dict[str, list[dict[str, Any]]]] = {
    "contributor": [
        {"id": name, "content": {"id": name, "display_name": name, "kind": "HOTLINE", "jurisdiction": "GB"}}
        for name in ("alpha", "beta")
    ],
    "hash_set": [
        {"contributor": "alpha", "id": name, "content": {"contributor": "alpha", "id": name}}
        for name in ("list", "second")
    ],
    "import": [
        {
            "id": f"imp-{key}", "hash_set": 1, "connector": "test", "connector_version": "1",
            "source_digest": source, "replace": False, "state": 3, "batch_count": 0, "finding_count": 0, "counts": {},
            "revision": revision, "create_time": 0, "commit_time": 0, "lease": "", "lease_until": 0,
        }
        for key, source, revision in ((1, "first", 3), (2, "second", 9))
    ],
    "review": [
        {"id": 7, "entry": 1, "author": "beta", "kind": 2, "comment": "no", "create_time": 0, "revision": 4},
        {"id": 8, "entry": 2, "author": "gamma", "kind": 1, "comment": "", "create_time": 0, "revision": 5},
    ],
    "change": [
        {"revision": 3, "first_entry": 1, "last_entry": 3, "kind": 2, "import": 1},
        {"revision": 6, "first_entry": 2, "last_entry": 2, "kind": 3, "import": 0},
        {"revision": 8, "first_entry": 3, "last_entry": 3, "kind": 3, "import": 0},
        {"revision": 9, "first_entry": 4, "last_entry": 4, "kind": 2, "import": 2},
    ],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the tables of the first version, and rows."""
    if request.param == "sqlite":
        name = str(tmp_path / "older.db")
        engine = sa.create_engine(f"sqlite:///{name}")
    else:
        name = request.getfixturevalue("postgresql").create_database()
        engine = sa.create_engine(name)
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).with_name("migrations")))
    with engine.begin() as c:
        config.attributes["connection"], config.attributes["tables"] = c, schema
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(c)
        for table, rows in _ROWS.items():
            c.execute(sa.insert(tables.tables[table]), [_stored(row) for row in rows])
        entries = [
            {
                "id": i, "hash_set": 1, "import": 1 if i < 4 else 2, "state": state, "position": f"line {i}",
                "flags": 0, "hashes": pack_hashes(()), "reasons": reasons, "update_revision": revision,
            }
            for i, state, reasons, revision in (
                (1, 1, None, 0), (2, 3, '["WITHDRAWN_BY_CONTRIBUTOR"]', 6), (3, 3, '["SUPERSEDED"]', 8),
                (4, 1, None, 0),
            )
        ]  # fmt: skip
        c.execute(sa.insert(tables.tables["entry"]), entries)
        c.execute(sa.update(tables.tables["metadata"]).values(revision=9, next_entry=5))
    engine.dispose()
    return name


def _stored(row: dict[str, Any]) -> dict[str, Any]:
    return {k: json.dumps(v).encode() if isinstance(v, dict) else v for k, v in row.items()}


def test_what_was_said_is_still_said(older: str) -> None:
    store = Store.open(older)
    assert [e.id for e in store.entries.list_entries("alpha", "list")] == [1, 2, 3, 4]
    by_entry = store.entries.reviews_of([1, 2, 3, 4])
    assert {i: [(r.id, r.entry_id, r.kind) for r in reviews] for i, reviews in by_entry.items()} == {
        1: [(7, 1, ReviewKind.FALSE_POSITIVE)], 2: [(8, 2, ReviewKind.CONFIRMED)],
    }  # fmt: skip
    assert [r.author for r in store.entries.list_reviews(1, 10)] == ["beta"]
    withdrawn = store.entries.list_entries("alpha", "list", (EntryState.WITHDRAWN,))
    assert [e.id for e in withdrawn if e.id in by_entry] == [2]
    store.close()


def test_a_withdrawal_from_before_counts_and_a_supersession_does_not(older: str, fill: Any) -> None:
    store = Store.open(older)
    # Revision 6 took an entry away after the first import (3); nothing but a supersession came after that.
    assert store.imports.create_import(fill.new(source_digest="first")).id != "imp-1"
    assert store.imports.create_import(fill.new(source_digest="second")).id == "imp-2"
    store.close()


def test_it_has_a_history_of_its_own(older: str, fill: Any) -> None:
    store = Store.open(older)
    position = store.history.position()
    assert position.revision == 10  # the upgrade is the first event
    fill.register(store, "gamma")
    assert store.history.has_been_at(position)
    assert store.history.has_been_at(store.history.position())
    assert not store.history.has_been_at(position._replace(digest=bytes(32)))
    store.close()
    again = Store.open(older)
    assert again.history.has_been_at(position)
    assert again.history.verify_history(again.database_id) == again.history.position()
    [begun] = again.history.list_events(kinds=[EventKind.HISTORY_BEGUN])
    assert begun.actor == SYSTEM
    again.close()


_MARKINGS: Final = {
    "named": (["beta", "desk"], ["contributors/beta", "tokens/beta", "tokens/desk"]),
    "blank": ([""], ["groups/unknown-recipients"]),
    "gone": (["nobody", "beta"], ["groups/unknown-recipients", "contributors/beta", "tokens/beta"]),
    "open": ([], []),
}
_ENTRIES: Final[list[tuple[str, str, str, list[str], str, str, EntryState, tuple[str, ...]]]] = [
    # case, hash set, connector, reasons, detail of the finding, value, what it becomes, with which reasons
    ("in somebody's benign set", "harm", "hash-lines", ["IN_BENIGN_SET"],
     "its MD5 digest is in a benign hash set of the hub", "", EntryState.ACTIVE, ()),
    ("bound otherwise by another", "harm", "hash-lines", ["CONTRADICTORY_BINDING"],
     "another hash set of the hub binds its MD5 digest to a different SHA1 digest", "", EntryState.ACTIVE, ()),
    ("both", "harm", "hash-lines", ["IN_BENIGN_SET", "CONTRADICTORY_BINDING"],
     "another hash set of the hub binds its MD5 digest to …; its MD5 digest is in a benign hash set of the hub", "",
     EntryState.ACTIVE, ()),
    ("bound twice by itself", "harm", "hash-lines", ["CONTRADICTORY_BINDING"],
     "items with one digest in common have different SHA1 digests", "", EntryState.QUARANTINED,
     ("CONTRADICTORY_BINDING",)),
    ("its own and another's", "harm", "hash-lines", ["CONTRADICTORY_BINDING"],
     "MD5: the item has two different digests.; another hash set of the hub binds its MD5 digest", "",
     EntryState.QUARANTINED, ("CONTRADICTORY_BINDING",)),
    ("blank, too", "harm", "hash-lines", ["IN_BENIGN_SET", "BLANK_PICTURE"],
     "PDQ: …; its MD5 digest is in a benign hash set of the hub", "", EntryState.QUARANTINED,
     ("IN_BENIGN_SET", "BLANK_PICTURE")),
    ("by an operator", "harm", "hash-lines", ["QUARANTINED_BY_OPERATOR"], "", "", EntryState.QUARANTINED,
     ("QUARANTINED_BY_OPERATOR",)),
    ("no finding tells", "harm", "hash-lines", ["CONTRADICTORY_BINDING"], "", "", EntryState.QUARANTINED,
     ("CONTRADICTORY_BINDING",)),
    ("no category, VICS", "harm", "vics", [], "", "", EntryState.ACTIVE, ("UNCLASSIFIED",)),
    ("a category, VICS", "harm", "vics", [], "", "1", EntryState.ACTIVE, ()),
    ("no category, hash lines", "harm", "hash-lines", [], "", "", EntryState.ACTIVE, ()),
    ("no category, CSV with categories", "harm", "csv", [], "", "", EntryState.ACTIVE, ("UNCLASSIFIED",)),
    ("a category, CSV", "harm", "csv", [], "", "1", EntryState.ACTIVE, ()),
    ("no category, blank, VICS", "harm", "vics", ["BLANK_PICTURE"], "PDQ: …", "", EntryState.QUARANTINED,
     ("BLANK_PICTURE", "UNCLASSIFIED")),
    ("benign, VICS", "good", "vics", [], "", "", EntryState.ACTIVE, ()),
]  # fmt: skip


@pytest.fixture
def strained(older: str) -> str:
    """The older database with what the upgrade must read anew."""
    engine = sa.create_engine(older if "://" in older else f"sqlite:///{older}")
    with engine.begin() as c:
        tables = sa.MetaData()
        tables.reflect(c)

        def add(table: str, **row: Any) -> int:
            key = c.execute(sa.insert(tables.tables[table]).values(_stored(row))).inserted_primary_key
            return int(key[0]) if key else 0

        sets = {
            name: add(
                "hash_set",
                contributor="alpha",
                id=name,
                content={"contributor": "alpha", "id": name, "purpose": purpose},
            )
            for name, purpose in (("harm", "CSAM"), ("good", "BENIGN"))
        }
        for name, (recipients, _) in _MARKINGS.items():
            marking = {"tlp": "AMBER", "recipients": recipients}
            add(
                "hash_set", contributor="beta", id=name, content={"contributor": "beta", "id": name, "marking": marking}
            )
        value = add("classification", content_digest=b"x", content={
            "scheme": "vic-us", "version": "2", "region": "US", "value": "1", "status": "VERIFIED",
            "dimensions": {"verdict": ["csam"]},
        })  # fmt: skip
        imports: dict[tuple[str, str], int] = {}
        for i, (_, hash_set, connector, reasons, detail, stated, _, _) in enumerate(_ENTRIES, 100):
            if (hash_set, connector) not in imports:
                imports[hash_set, connector] = add(
                    "import", id=f"imp-{hash_set}-{connector}", hash_set=sets[hash_set], connector=connector,
                    connector_version="1", source_digest="s", replace=False, state=3, batch_count=0, finding_count=0,
                    counts={},
                    revision=9, create_time=0, commit_time=0, lease="", lease_until=0,
                )  # fmt: skip
            key = imports[hash_set, connector]
            c.execute(sa.insert(tables.tables["entry"]).values(
                {"id": i, "hash_set": sets[hash_set], "import": key, "state": 2 if reasons else 1,
                 "position": f"line {i}", "flags": 0,
                 "hashes": pack_hashes(()), "reasons": json.dumps(reasons) if reasons else None, "update_revision": 0,
                 "classification": value if stated else None}
            ))  # fmt: skip
            if detail:
                c.execute(sa.insert(tables.tables["finding"]).values(
                    {"import": key, "ordinal": i, "position": f"line {i}", "disposition": 2, "reason": reasons[0],
                     "detail": detail, "entry": i}
                ))  # fmt: skip
        for review, author, revision in (
            (20, "beta", 9),
            (21, "", 9),
            (22, "desk", 7),
            (23, "beta", 7),
            (24, "operator", 7),
        ):
            c.execute(sa.insert(tables.tables["review"]).values(
                id=review, entry=100, author=author, kind=2, comment="", create_time=0, revision=revision
            ))  # fmt: skip
        for name, role, contributor in (
            ("desk", "OPERATOR", ""), ("alpha-desk", "CONTRIBUTOR", "alpha"), ("platform", "CONSUMER", ""),
            ("beta", "CONSUMER", ""),
            ("operator", "CONSUMER", ""),
        ):  # fmt: skip
            content = {"name": name, "role": role, "contributor": contributor}
            c.execute(
                sa.insert(tables.tables["token"]).values(
                    digest=name.encode(), name=name, content=json.dumps(content).encode()
                )
            )
        c.execute(sa.update(tables.tables["metadata"]).values(next_entry=200))
    engine.dispose()
    return older


def test_only_what_others_said_is_lifted_and_only_what_was_said_is_a_claim(strained: str) -> None:
    store = Store.open(strained)
    entries = store.entries.get_entries(range(100, 200))
    for i, (case, *_, state, reasons) in enumerate(_ENTRIES, 100):
        assert (entries[i].state, entries[i].reasons) == (state, reasons), case
    [released] = store.history.list_events(kinds=[EventKind.ENTRIES_RELEASED])
    assert (released.subject, released.facts["entries"], released.actor) == ("hash-sets/alpha/harm", 3, SYSTEM)
    fed = [i for c in store.feeds.changes(released.revision) for i in store.feeds.change_ids(c).after(0, 99)]
    assert fed == [100, 101, 102]  # matchers and mirrors learn of it
    assert all(entries[i].update_revision == released.revision for i in fed)
    assert store.history.verify_history(store.database_id) == store.history.position()
    store.close()


def test_benign_sets_weigh_as_far_as_they_went_and_are_listed(strained: str) -> None:
    store = Store.open(strained)
    accepted = store.resources.get_hash_set("alpha", "good").accepted_revision
    assert accepted >= max(e.create_revision for e in store.entries.list_entries("alpha", "good"))
    assert store.resources.get_hash_set("alpha", "harm").accepted_revision == 0
    [begun] = store.history.list_events(kinds=[EventKind.HISTORY_BEGUN])
    assert begun.facts["benign_sets"] == ("alpha/good",)
    [event] = store.history.list_events(kinds=[EventKind.HASH_SET_ACCEPTED])
    assert event.subject == "hash-sets/alpha/good"
    store.close()


def test_recipients_become_what_they_named_and_nobody_gains_sight(strained: str) -> None:
    store = Store.open(strained)
    for name, (_, recipients) in _MARKINGS.items():
        assert store.resources.get_hash_set("beta", name).marking.recipients == tuple(recipients), name
    store.close()


def test_every_token_belongs_to_a_contributor_that_is_nobody_elses(strained: str) -> None:
    store = Store.open(strained)
    tokens = {t.name: t for t in store.tokens.list_tokens()}
    contributors = store.resources.contributors()
    assert tokens["desk"].contributor == "operator"
    assert tokens["alpha-desk"].contributor == "alpha"
    assert tokens["platform"].contributor == "platform"
    # A consumer's token that happens to be called like an organisation does not come to see what that one may see.
    assert tokens["beta"].contributor == "beta-2"
    assert tokens["operator"].contributor == "operator-2"
    assert {t.contributor for t in tokens.values()} <= contributors.keys()
    assert {n for n, t in tokens.items() if t.may_mirror} == {"desk", "alpha-desk"}
    token = store.tokens.find_secret(b"platform")
    assert token is not None
    assert token.token.name == "platform"
    store.close()


def test_what_a_source_said_is_not_what_an_organisation_said(strained: str) -> None:
    store = Store.open(strained)
    said = {r.id: (r.author, r.role, r.actor) for r in store.entries.list_reviews(100, 10)}
    assert said == {
        20: ("alpha/beta", Role.CONTRIBUTOR, ""),
        21: ("alpha/unnamed", Role.CONTRIBUTOR, ""),
        22: ("operator", Role.OPERATOR, "desk"),
        23: ("beta", Role.CONTRIBUTOR, ""),
        24: ("operator", Role.OPERATOR, "operator"),  # the first operator's token was called so
    }
    store.close()


def test_an_older_hashhub_refuses_the_database(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(older).close()
    monkeypatch.setattr(module, "SCHEMA_VERSION", "0002")
    with pytest.raises(FailedPrecondition, match="upgrade hashhub"):
        Store.open(older)


@pytest.mark.slow
def test_a_million_entries_are_upgraded(older: str) -> None:
    engine = sa.create_engine(older if "://" in older else f"sqlite:///{older}")
    count = 1_000_000 if engine.dialect.name == "sqlite" else 200_000
    with engine.begin() as c:
        c.execute(sa.text("UPDATE \"import\" SET connector = 'vics' WHERE key = 2"))
        rows = sa.text(
            'INSERT INTO entry (id, hash_set, "import", state, position, flags, hashes, update_revision) '
            "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
            "SELECT i, 1, 2, 1, 'x', 0, :none, 0 FROM n"
        )
        c.execute(rows, {"last": count + 9, "none": b""})
        c.execute(sa.text("UPDATE metadata SET next_entry = :n"), {"n": count + 10})
    engine.dispose()
    began = time.monotonic()
    store = Store.open(older)
    assert time.monotonic() - began < 120  # some ten seconds; the bound is for a loaded machine
    assert store.entries.entry_count("alpha", "list") == count + 2
    assert all(
        e.reasons == ("UNCLASSIFIED",) for e in store.entries.list_entries("alpha", "list", [EntryState.ACTIVE], 50, 10)
    )
    assert store.history.verify_history(store.database_id) == store.history.position()
    store.close()
