"""The log as a hub shows it: what is signed, withheld, served and proved."""

from __future__ import annotations

import functools
import hashlib
import shutil
import signal
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
import pytest

from hashhub.config import Config
from hashhub.errors import HashHubError, NotFound, PermissionDenied, Reason
from hashhub.hub.log import KEY, LAST, TransparencyLog
from hashhub.model import EventBody, EventKind, Principal
from hashhub.tlog.checkpoint import parse_checkpoint
from hashhub.tlog.note import new_private_key, parse_key
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.proof import parse_log_proof
from hashhub.tlog.tree import ENTRIES, Tile, leaf_hash, root_at, verify_consistency
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, item
from tests.hub.test_entries import ALPHA, entry_of, fill, restore, withdraw
from tests.witness.served import ServedWitness

WITHDRAWN = EventKind.ENTRIES_WITHDRAWN


def _log(desk: Desk) -> TransparencyLog:
    return desk.hub.log


def _refused(call: Callable[[], object]) -> Reason:
    with pytest.raises(HashHubError) as refused:
        call()
    return refused.value.reason


def _withdraw(desk: Desk, who: Principal = ALPHA) -> int:
    """Withdraw an entry, and return at which revision."""
    withdraw(desk, 1, who)
    return desk.hub.store.history.list_events(kinds=[WITHDRAWN], limit=1)[0].revision


def test_each_checkpoint_contains_those_before_and_all_of_it_can_be_fetched(any_desk: Desk) -> None:
    views = [_log(any_desk).view()]
    fill(any_desk)
    for n in range(300, 330):
        any_desk.contribute("alpha/list", item(n))
        views.append(_log(any_desk).view())
    key = parse_key(views[0].verifier_key)
    checkpoints = []
    for view in views:
        checkpoint, note = parse_checkpoint(view.checkpoint.encode())
        assert note.signers([key])
        proof = _log(any_desk).view(checkpoint.size).consistency_proof
        checkpoints.append(checkpoint)
        newest, _ = parse_checkpoint(_log(any_desk).view().checkpoint.encode())
        verify_consistency(checkpoint.size, checkpoint.root, newest.size, newest.root, proof)
    assert checkpoints[-1].size == any_desk.hub.store.revision()

    def read(tiles: Collection[Tile]) -> dict[Tile, bytes]:
        return {tile: _log(any_desk).serve(f"tile/{tile.path(tile.width(newest.size))}")[0] for tile in tiles}

    assert root_at(newest.size, read) == newest.root
    width = min(256, newest.size)
    bundle = _log(any_desk).serve(f"tile/{Tile(ENTRIES, 0).path(width)}")[0]
    leaves = b"".join(leaf_hash(bundle[i + 2 : i + 34]) for i in range(0, len(bundle), 34))
    assert leaves == _log(any_desk).serve(f"tile/{Tile(0, 0).path(width)}")[0]
    for path in (Tile(0, 0).path(newest.size + 1), Tile(0, 9).path(1), Tile(3, 0).path(1), "x", "../log.key"):
        assert _refused(functools.partial(_log(any_desk).serve, f"tile/{path}")) in {
            Reason.RESOURCE_NOT_FOUND, Reason.INVALID_FIELD,
        }  # fmt: skip


def test_a_restored_database_signs_nothing_until_a_new_log_is_begun(open_hub: Open, sqlite_directory: Path) -> None:
    desk = Desk(open_hub())
    fill(desk)
    desk.hub.close()
    saved = shutil.copy(sqlite_directory / "hashhub.db", sqlite_directory / "saved")
    desk = Desk(open_hub())
    _withdraw(desk)
    old = _log(desk).view()
    desk.hub.close()
    shutil.copy(saved, sqlite_directory / "hashhub.db")
    desk = Desk(open_hub())
    desk.contribute("alpha/list", *map(item, range(500, 520)), batch=1)  # as many events as there were before
    assert desk.hub.store.revision() > parse_checkpoint(old.checkpoint.encode())[0].size
    for call in (_log(desk).view, lambda: _log(desk).serve("checkpoint"), lambda: _log(desk).receipt(3)):
        assert _refused(call) is Reason.LOG_WITHHELD
    assert any("restored" in warning for warning in desk.hub.status(OPERATOR).warnings)
    assert desk.known(500) == [500]
    _log(desk).begin(comment="restored on Monday")
    new = parse_checkpoint(_log(desk).view().checkpoint.encode())[0]
    before = parse_checkpoint(old.checkpoint.encode())[0]
    assert (new.origin, new.size) == (f"{before.origin}-2", 1)
    event = desk.hub.store.history.list_events(kinds=[EventKind.LOG_BEGUN])[0]
    assert event.facts["checkpoint"] == f"{before.origin} {before.size} {before.root.hex()}"
    assert _refused(lambda: _log(desk).receipt(3)) is Reason.LOG_WITHHELD
    assert not desk.hub.status(OPERATOR).warnings
    desk.hub.store.history.verify_history(desk.hub.store.database_id)


@pytest.mark.parametrize("lost", [KEY, LAST])
def test_without_its_key_or_its_last_checkpoint_nothing_is_signed(
    desk: Desk, sqlite_directory: Path, lost: str
) -> None:
    first = _log(desk).view()
    (sqlite_directory / lost).unlink()
    assert _refused(_log(desk).view) is Reason.LOG_WITHHELD
    assert lost in " ".join(_log(desk).warnings())
    _log(desk).begin(comment="lost")
    second = _log(desk).view()
    assert second.verifier_key.startswith(first.verifier_key.partition("+")[0] + "-2+")
    assert (sqlite_directory / KEY).stat().st_mode & 0o777 == 0o600


def test_another_name_or_key_or_a_damaged_checkpoint_is_no_reason_to_sign(desk: Desk, sqlite_directory: Path) -> None:
    fill(desk)
    before = _log(desk).view()
    other = TransparencyLog(desk.hub.store, Config(data=str(sqlite_directory), log_origin="other.example.org"))
    assert _refused(other.view) is Reason.LOG_WITHHELD
    own = (sqlite_directory / KEY).read_bytes()
    (sqlite_directory / KEY).write_bytes(new_private_key())
    assert _refused(_log(desk).view) is Reason.LOG_WITHHELD
    (sqlite_directory / KEY).write_bytes(own)
    assert _log(desk).view() == before
    (sqlite_directory / LAST).write_bytes((sqlite_directory / LAST).read_bytes()[:-20])
    assert _refused(_log(desk).view) is Reason.LOG_WITHHELD


def test_checkpoints_are_as_far_apart_as_the_setting_says(open_hub: Open) -> None:
    desk = Desk(open_hub(log_seconds=3600.0))
    first = _log(desk).view()
    fill(desk)
    assert _log(desk).view() == first
    assert _refused(lambda: _log(desk).receipt(desk.hub.store.revision())) is Reason.SERVER_UNAVAILABLE
    assert _refused(lambda: _log(desk).serve("tile/0/000.p/2")) is Reason.RESOURCE_NOT_FOUND


def test_a_receipt_goes_to_whoever_may_read_all_of_its_event(any_desk: Desk) -> None:
    fill(any_desk)
    revision = _withdraw(any_desk)
    policy = parse_policy(f"log {_log(any_desk).view().verifier_key}\nquorum none\n".encode())
    for who in (OPERATOR, AUDITOR, ALPHA):
        content, proof = any_desk.hub.history.receipt(who, revision)
        believed = parse_log_proof(proof).verify(hashlib.sha256(content).digest(), policy)
        assert believed.checkpoint.size == any_desk.hub.store.revision()
        body = msgspec.json.decode(content[32:], type=EventBody)
        assert (body.revision, body.kind, body.subject) == (revision, WITHDRAWN, "entries/alpha/list/1")
    with pytest.raises(PermissionDenied):
        any_desk.hub.history.receipt(PLATFORM, revision)
    restore(any_desk, entry_of(any_desk, 1), ALPHA)
    by_operator = _withdraw(any_desk, OPERATOR)
    with pytest.raises(PermissionDenied):
        any_desk.hub.history.receipt(ALPHA, by_operator)
    tokens = any_desk.hub.store.history.list_events(kinds=[EventKind.CONTRIBUTOR_CREATED])[0].revision
    for hidden in (tokens, 1_000_000):
        with pytest.raises(NotFound, match=f"there is no event {hidden}"):
            any_desk.hub.history.receipt(ALPHA, hidden)


def test_witnesses_cosign_what_strangers_and_receipts_get(
    open_hub: Open, sqlite_directory: Path, tmp_path: Path
) -> None:
    desk = Desk(open_hub())
    fill(desk)
    key = _log(desk).view().verifier_key
    desk.hub.close()
    served = ServedWitness(tmp_path / "w", parse_key(key))
    file = tmp_path / "policy"
    file.write_text(f"log {key}\nwitness w {served.key} {served.url}\nquorum w\n")
    desk, policy = Desk(open_hub(start=False, log_witnesses=str(file))), parse_policy(file.read_bytes())
    assert desk.hub.log.witnesses is not None
    desk.hub.log.witnesses.round()
    assert policy.believe(_log(desk).serve("checkpoint")[0]).witnessed.keys() == {"w"}
    content, proof = _log(desk).receipt(2)
    parse_log_proof(proof).verify(hashlib.sha256(content).digest(), policy)
    revision = _withdraw(desk)
    assert policy.believe(_log(desk).serve("checkpoint")[0]).checkpoint.size < revision
    content, proof = _log(desk).receipt(revision)
    assert (
        _refused(lambda: parse_log_proof(proof).verify(hashlib.sha256(content).digest(), policy)) is Reason.PROOF_FAILED
    )
    served.end(signal.SIGTERM)
    desk.hub.log.witnesses.round()
    assert any("witness w " in warning for warning in desk.hub.status(OPERATOR).warnings)
