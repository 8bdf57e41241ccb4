from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hashhub.errors import InvalidArgument
from hashhub.hub.witnessing import LogWitnessRounds
from hashhub.tlog.checkpoint import Checkpoint
from hashhub.tlog.note import COSIGNATURE, SignedNote
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.tree import EMPTY_ROOT
from tests.tlog.trees import signer
from tests.witness.judged import check_witness
from tests.witness.served import ServedWitness

_LOG = signer("log.example.com/hub")
_TEXT = Checkpoint(_LOG.key.name, 0, EMPTY_ROOT).text


def _rounds(file: Path, quorum: str, **urls: str) -> LogWitnessRounds:
    keys = {name: signer(f"{name}.example.com", COSIGNATURE, 9 + i).key for i, name in enumerate(urls)}
    lines = "\n".join(f"witness {name} {keys[name]} {url}" for name, url in urls.items())
    note = str(SignedNote(_TEXT, (_LOG.sign(_TEXT),)))
    policy = parse_policy(f"{lines}\n{quorum}\n".encode())
    return LogWitnessRounds(policy, lambda: note, lambda *_: [], file, seconds=1)


def test_our_own_witness_cosigns_what_grows_and_nothing_else(tmp_path: Path) -> None:
    served = ServedWitness(tmp_path / "w", _LOG.key)
    check_witness(served.url, served.key, _LOG, tmp_path / "witnessed")
    served.end(signal.SIGTERM)


def test_witnesses_that_are_away_or_someone_else_are_told_and_hold_nobody_up(tmp_path: Path) -> None:
    served = ServedWitness(tmp_path / "w", _LOG.key)
    urls = {"other": served.url, "away": "http://127.0.0.1:1", "lost": f"{served.url}/nowhere"}
    rounds = _rounds(tmp_path / "witnessed", "quorum other", **urls)
    rounds.round()
    served.end(signal.SIGTERM)
    assert rounds.problems.keys() == urls.keys()
    assert "another key" in rounds.problems["other"]
    assert "reached" in rounds.problems["away"]
    assert not (tmp_path / "witnessed").exists()


@pytest.mark.parametrize("url", ["", "witness.example.com", "https://a b"])
def test_a_witness_needs_a_url_that_can_be_called(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgument):
        _rounds(tmp_path / "witnessed", "quorum w", w=url)
