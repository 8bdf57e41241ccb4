"""Signed contributions at the hub: what is demanded, what counts, and what a thief can do with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashhub.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
)
from hashhub.model import (
    Action,
    EventKind,
    Flags,
    HashSet,
    Import,
    ImportState,
    Record,
    SigningKey,
    VideoFrame,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.signing.envelope import PrivateKey, public_text, read_envelope, sign
from hashhub.signing.manifest import Manifest, entries_root, read_statement, verify_entry
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, digest, item, writer

KEY, OTHER = Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())
LIST = [item(n, tags=("a",)) for n in range(5)]


class SigningDesk:
    """A desk whose contributor `nl` signs what it hands over to `nl/known`, which demands it."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.hub = desk, desk.hub
        desk.hash_set("nl/known")
        self.demand(True)
        self.add_key("first", KEY)

    def add_key(self, name: str, key: PrivateKey) -> None:
        self.hub.signatures.add_key(writer("nl"), "nl", SigningKey(id=name, public_key=public_text(key.public_key())))

    def demand(self, demanded: bool) -> None:
        wanted = HashSet(contributor="nl", id="known", require_signature=demanded)
        self.hub.hash_sets.update(writer("nl"), wanted, ["require_signature"])

    def envelope(
        self, items: Sequence[Record], *, key: PrivateKey = KEY, source: str = "ab" * 32, **fields: Any
    ) -> bytes:
        count, root = entries_root(items)
        manifest = Manifest(
            hash_set="nl/known",
            connector="test",
            connector_version="1",
            entry_count=count,
            entries_root=root,
            time=now(),
        )
        return sign(msgspec.structs.replace(manifest, **fields).statement("list", source), key)

    def open(self, signature: bytes, *, source: str = "ab" * 32, replace: bool = False) -> Import:
        return self.hub.contribute.open(
            writer("nl"),
            Import(
                id="", contributor="nl", hash_set="known", connector="test", connector_version="1",
                source_digest=source, replace=replace, signature=signature, signing_key="forged",
            ),
        )  # fmt: skip

    def contribute(self, items: Sequence[Record], signature: bytes, *, batch: int = 2, **where: Any) -> Import:
        opened = self.open(signature, **where)
        batches = [items[i : i + batch] for i in range(0, len(items), batch)]
        if opened.state is ImportState.OPEN:
            opened = self.desk.add(opened, *batches[opened.batch_count :])
        return self.desk.commit(opened)

    def refused(self, do: Callable[[], object], reason: Reason = Reason.SIGNATURE_REFUSED) -> None:
        before = self.hub.revision()
        with pytest.raises(FailedPrecondition) as refused:
            do()
        assert (refused.value.reason, self.hub.revision()) == (reason, before)


@pytest.fixture
def signing(desk: Desk) -> SigningDesk:
    return SigningDesk(desk)


def test_a_list_that_must_be_signed_waits_until_it_is(any_desk: Desk) -> None:
    signing = SigningDesk(any_desk)
    signing.refused(lambda: signing.contribute(LIST, b""), Reason.SIGNATURE_REQUIRED)
    assert any_desk.known(*range(5)) == []
    # What was sent is kept: nothing is sent again.
    opened = signing.open(signing.envelope(LIST))
    assert (opened.batch_count, opened.item_count, opened.signing_key) == (3, 5, "first")
    done = any_desk.commit(opened)
    assert (done.counts.accepted, done.signing_key) == (5, "first")
    assert any_desk.known(*range(5)) == list(range(5))
    (event,) = signing.hub.store.history.list_events(kinds=[EventKind.IMPORT_COMMITTED])
    assert event.facts["signing_key"] == "first"
    assert signing.open(done.signature).id == done.id  # the same command again
    assert signing.open(signing.envelope(LIST)).id == done.id  # and by another signature of the same key


def test_each_entry_is_proved_offline(any_desk: Desk) -> None:
    signing = SigningDesk(any_desk)
    any_desk.hash_set("nl/classified", scheme="vic-us")
    items = [
        *(item(n, value="1") for n in range(300)),
        item(300, value="1", region="US", flags=Flags(suspected=False), media_size=7, quality=80, extra='{"a":"b"}'),
        item(301, value="2", scheme="vic-us@2.0", expire_time=now() + timedelta(days=9), tags=("x", "y"), member="m"),
        item(302, value="1", frames=tuple(VideoFrame(n * 1000, 90, digest("PDQ", n).digest) for n in range(3))),
    ]
    signature = signing.envelope(items, hash_set="nl/classified")
    opened = signing.hub.contribute.open(
        writer("nl"),
        Import(
            id="", contributor="nl", hash_set="classified", connector="test", connector_version="1",
            source_digest="ab" * 32, signature=signature,
        ),
    )  # fmt: skip
    any_desk.commit(any_desk.add(opened, *(items[i : i + 50] for i in range(0, len(items), 50))))
    entries = any_desk.entries("nl/classified")
    assert len(entries) == len(items)
    for entry in [*entries[:3], *entries[-4:]]:
        proof = signing.hub.signatures.proof(AUDITOR, "nl", "classified", number_of(entry.id))
        manifest, _ = read_statement(read_envelope(proof.signature).statement)
        verify_entry(proof, manifest)
        assert f'"MD5:{next(h.digest.hex() for h in entry.hashes if h.algorithm == "MD5")}"' in proof.canonical_entry
        for forged in (
            msgspec.structs.replace(proof, canonical_entry=proof.canonical_entry.replace("MD5", "MD4")),
            msgspec.structs.replace(proof, index=proof.index ^ 1),
            msgspec.structs.replace(proof, name="nl/other/1"),
            msgspec.structs.replace(proof, hashes=proof.hashes[:-1]),
        ):
            with pytest.raises(DataLoss):
                verify_entry(forged, manifest)
    with pytest.raises((PermissionDenied, NotFound)):
        signing.hub.signatures.proof(writer("de"), "nl", "classified", number_of(entries[0].id))


def test_what_is_not_word_for_word_what_was_signed_is_not_proved(signing: SigningDesk) -> None:
    items = [item(1, tags=("a",)), item(1, tags=("b",)), item(2)]  # the first two are merged
    signing.contribute(items, signing.envelope(items))
    names = [number_of(e.id) for e in signing.desk.entries("nl/known")]
    with pytest.raises(NotFound, match="word for word"):
        signing.hub.signatures.proof(AUDITOR, "nl", "known", names[0])
    assert signing.hub.signatures.proof(AUDITOR, "nl", "known", names[1]).index == 2
    signing.demand(False)
    signing.desk.contribute("nl/known", item(7))
    with pytest.raises(NotFound, match="nobody signed"):
        signing.hub.signatures.proof(AUDITOR, "nl", "known", names[-1] + 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"hash_set": "nl/other"},
        {"connector": "other"},
        {"connector_version": "2"},
        {"replace": True},
        {"source": "cd" * 32},
        {"key": OTHER},
        {"time": now() + timedelta(hours=1)},
        {"time": now() - timedelta(hours=1)},  # before the key was registered
    ],
)
def test_what_was_signed_about_something_else_is_refused(signing: SigningDesk, fields: dict[str, Any]) -> None:
    signing.refused(lambda: signing.open(signing.envelope(LIST, **fields)))


def test_nobody_signs_one_thing_and_sends_another(signing: SigningDesk) -> None:
    for sent in (LIST[:-1], [*LIST, item(9)], LIST[::-1], [*LIST[:-1], item(4, tags=("b",))]):
        opened = signing.open(signing.envelope(LIST))
        opened = signing.desk.add(opened, sent)
        signing.refused(lambda: signing.desk.commit(opened))  # noqa: B023 - called at once
        assert signing.desk.known(*range(10)) == []
        signing.hub.contribute.cancel(writer("nl"), opened.id)
    # What was sent is kept, and can be signed as it is.
    opened = signing.desk.add(signing.open(signing.envelope(LIST)), LIST[:2])
    signing.refused(lambda: signing.desk.commit(opened))
    assert signing.desk.commit(signing.open(signing.envelope(LIST[:2]))).counts.accepted == 2


def test_a_list_that_was_begun_unsigned_is_sent_again(desk: Desk) -> None:
    desk.hash_set("nl/known")
    signing = SigningDesk.__new__(SigningDesk)
    signing.desk, signing.hub = desk, desk.hub
    before = desk.add(signing.open(b""), LIST)
    desk.hub.hash_sets.update(
        writer("nl"), HashSet(contributor="nl", id="known", require_signature=True), ["require_signature"]
    )
    with pytest.raises(FailedPrecondition):
        desk.commit(before)
    desk.hub.signatures.add_key(writer("nl"), "nl", SigningKey(id="k", public_key=public_text(KEY.public_key())))
    done = signing.contribute(LIST, signing.envelope(LIST))
    assert (done.id != before.id, done.counts.accepted) == (True, 5)


def test_an_envelope_is_used_once(signing: SigningDesk) -> None:
    first = signing.envelope(LIST)
    done = signing.contribute(LIST, first)
    entry = signing.desk.entries("nl/known")[0]
    signing.hub.entries.withdraw(writer("nl"), "nl", "known", number_of(entry.id), WithdrawalReason.ERROR, "")
    # After a withdrawal the same source is a new import: whoever holds the old envelope cannot bring it back.
    signing.refused(lambda: signing.contribute(LIST, first))
    assert signing.contribute(LIST, signing.envelope(LIST)).id != done.id


def test_an_older_list_replaces_no_newer_one(signing: SigningDesk) -> None:
    older_full = signing.envelope(LIST[:2], source="01" * 32, replace=True)
    older_part = signing.envelope([item(8)], source="02" * 32)
    full = signing.envelope(LIST, source="03" * 32, replace=True)
    signing.contribute(LIST, full, source="03" * 32, replace=True)
    signing.refused(lambda: signing.open(older_full, source="01" * 32, replace=True))
    signing.refused(lambda: signing.open(older_part, source="02" * 32))
    # Parts may come in any order, but a full list that was signed before one would undo it.
    full_again = signing.envelope(LIST, source="04" * 32, replace=True)
    parts = [signing.envelope([item(n)], source=f"0{n}" * 32) for n in (5, 6)]
    for n, part in ((6, parts[1]), (5, parts[0])):
        signing.contribute([item(n)], part, source=f"0{n}" * 32)
    signing.refused(lambda: signing.open(full_again, source="04" * 32, replace=True))
    assert signing.desk.known(*range(7)) == list(range(7))


def test_a_revoked_key_signs_nothing_any_more(signing: SigningDesk) -> None:
    signed = signing.envelope(LIST)
    opened = signing.desk.add(signing.open(signed), LIST)
    signing.hub.signatures.revoke_key(writer("nl"), "nl", "first", "rotated", stolen=False)
    signing.refused(lambda: signing.desk.commit(opened))
    signing.refused(lambda: signing.open(signing.envelope(LIST)))
    signing.add_key("second", OTHER)
    done = signing.desk.commit(signing.open(signing.envelope(LIST, key=OTHER)))
    assert (done.counts.accepted, done.signing_key) == (5, "second")
    kinds = (EventKind.SIGNING_KEY_ADDED, EventKind.SIGNING_KEY_REVOKED)
    events = signing.hub.store.history.list_events(kinds=kinds)
    assert [(e.kind, e.facts["signing_key"]) for e in sorted(events, key=lambda e: e.revision)] == [
        (kinds[0], "first"), (kinds[1], "first"), (kinds[0], "second"),
    ]  # fmt: skip


def test_what_a_stolen_key_signed_is_not_proved(signing: SigningDesk) -> None:
    signing.contribute(LIST, signing.envelope(LIST))
    number = number_of(signing.desk.entries("nl/known")[0].id)
    assert signing.hub.signatures.proof(AUDITOR, "nl", "known", number).signing_key == "first"
    signing.hub.signatures.revoke_key(OPERATOR, "nl", "first", stolen=False)
    assert signing.hub.signatures.proof(AUDITOR, "nl", "known", number).signing_key == "first"  # signed before
    signing.hub.signatures.revoke_key(OPERATOR, "nl", "first", stolen=True)
    with pytest.raises(NotFound):
        signing.hub.signatures.proof(AUDITOR, "nl", "known", number)
    assert signing.desk.known(*range(5)) == list(range(5))  # nobody is silenced
    signing.add_key("second", OTHER)
    signing.contribute(LIST, signing.envelope(LIST, key=OTHER))
    assert signing.hub.signatures.proof(AUDITOR, "nl", "known", number).signing_key == "second"


def test_keys_are_their_contributors(signing: SigningDesk) -> None:
    key = SigningKey(id="mine", public_key=public_text(OTHER.public_key()))
    signing.desk.contributor("de")
    with pytest.raises(PermissionDenied):
        signing.hub.signatures.add_key(writer("de"), "nl", key)
    with pytest.raises(PermissionDenied):
        signing.hub.signatures.revoke_key(writer("de"), "nl", "first", stolen=True)
    signing.hub.signatures.add_key(writer("de"), "de", key)
    signing.refused(lambda: signing.open(signing.envelope(LIST, key=OTHER)))
    for again in (
        SigningKey(id="first", public_key=key.public_key),
        SigningKey(id="b", public_key=public_text(KEY.public_key())),
    ):
        with pytest.raises(AlreadyExists):
            signing.hub.signatures.add_key(OPERATOR, "nl", again)
    with pytest.raises(NotFound):
        signing.hub.signatures.revoke_key(OPERATOR, "nl", "none", stolen=False)
    with pytest.raises(InvalidArgument):
        signing.open(b"{}")
    created = signing.hub.contributors.get(OPERATOR, "nl")
    signing.hub.contributors.update(
        OPERATOR, msgspec.structs.replace(created, display_name="N", signing_keys=()), ["display_name"]
    )
    assert [k.id for k in signing.hub.contributors.get(OPERATOR, "nl").signing_keys] == ["first"]


def test_leaves_go_with_what_needs_them(any_desk: Desk) -> None:
    signing = SigningDesk(any_desk)

    def kept() -> int:
        signing.hub.store.imports.sweep_batches()
        return int(signing.hub.store.database.fetch("SELECT count(*) FROM entry_leaves")[0][0])

    cancelled = any_desk.add(signing.open(signing.envelope(LIST, source="01" * 32), source="01" * 32), LIST)
    assert kept() == 1
    signing.hub.contribute.cancel(writer("nl"), cancelled.id)
    assert kept() == 0
    signing.contribute(LIST, signing.envelope(LIST))
    assert kept() == 3
    withdrawing = [item(0, action=Action.WITHDRAW)]
    signing.contribute(withdrawing, signing.envelope(withdrawing, source="02" * 32), source="02" * 32)
    assert kept() == 4
    signing.contribute(LIST, signing.envelope(LIST, source="03" * 32, replace=True), source="03" * 32, replace=True)
    assert kept() == 3
    number = number_of(any_desk.entries("nl/known")[1].id)
    assert signing.hub.signatures.proof(AUDITOR, "nl", "known", number).index == 1
