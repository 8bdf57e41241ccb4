from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import DataLoss, HashHubError, InvalidArgument, Reason
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import (
    COSIGNATURE,
    MAX_NOTE,
    MAX_SIGNATURES,
    NoteSigner,
    SignedNote,
    load_private_key,
    new_private_key,
    parse_key,
    parse_note,
    parse_signatures,
)
from hashhub.tlog.policy import LogPolicy, parse_policy
from hashhub.tlog.proof import LogProof, parse_log_proof
from hashhub.tlog.tree import EMPTY_ROOT, inclusion_proof, leaf_hash
from tests.tlog.trees import KeptTree, signer

# Of c2sp.org/signed-note.
_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
_ORIGIN = "log.example.com/hub"


_LOG = signer(_ORIGIN)
_WITNESSES = [signer(f"witness.example.com/{i}", COSIGNATURE, 10 + i) for i in range(4)]


def _tree(size: int) -> KeptTree:
    tree = KeptTree()
    tree.append(leaf_hash(b"%d" % i) for i in range(size))
    return tree


def _checkpoint(size: int = 5, witnesses: tuple[int, ...] = (), origin: str = _ORIGIN) -> bytes:
    text = Checkpoint(origin, size, _tree(size).root).text
    signatures = [_LOG.sign(text), *(_WITNESSES[i].sign(text, 1_700_000_000 + i) for i in witnesses)]
    return str(SignedNote(text, ()).with_signatures(signatures)).encode()


def _policy(*lines: str) -> LogPolicy:
    named = [f"witness w{i} {witness.key}" for i, witness in enumerate(_WITNESSES)]
    return parse_policy("\n".join([f"log {_LOG.key}", *named, *lines]).encode())


def test_the_specifications_note_is_verified_and_written_as_it_stands() -> None:
    key, note = parse_key(_KEY), parse_note(_NOTE.encode())
    assert note.signers([key]) == {key: 0}
    assert (str(key), str(note)) == (_KEY, _NOTE)
    changed = note._replace(text=note.text.upper())
    with pytest.raises(DataLoss) as failed:
        changed.signers([key])
    assert failed.value.reason is Reason.PROOF_FAILED


def test_strangers_signatures_are_passed_over_and_known_ones_must_hold() -> None:
    text = "text\n\nwith an empty line\n"
    stranger = signer(_ORIGIN, seed=9)
    note = SignedNote(text, (stranger.sign(text), _LOG.sign(text)))
    assert parse_note(str(note).encode()) == note
    assert note.signers([_LOG.key]) == {_LOG.key: 0}
    assert note.signers([signer("other").key]) == {}
    forged = _LOG.sign(text)._replace(value=bytes(64))
    with pytest.raises(DataLoss):
        note.with_signatures([forged]).signers([_LOG.key, stranger.key])
    with pytest.raises(DataLoss):  # a good one beside it excuses nothing
        SignedNote(text, (_LOG.sign(text), forged)).signers([_LOG.key])


def test_a_cosignature_is_of_its_time() -> None:
    text = Checkpoint(_ORIGIN, 0, EMPTY_ROOT).text
    witness = _WITNESSES[0]
    older, newer = witness.sign(text, 1_679_315_147), witness.sign(text, 1_679_315_148)
    assert SignedNote(text, (newer, older)).signers([witness.key]) == {witness.key: 1_679_315_148}
    backdated = newer._replace(value=older.value[:8] + newer.value[8:])
    with pytest.raises(DataLoss):
        SignedNote(text, (backdated,)).signers([witness.key])


def test_a_private_key_is_a_pem_file() -> None:
    pem = new_private_key()
    assert NoteSigner("a", load_private_key(pem, "key")).key == NoteSigner("a", load_private_key(pem, "key")).key
    for bad in (b"", pem[:60], pem.replace(b"PRIVATE", b"PUBLIC")):
        with pytest.raises(InvalidArgument):
            load_private_key(bad, "key")


@pytest.mark.parametrize(
    "content",
    [
        _NOTE.replace("\n\n", "\n"),
        _NOTE.removesuffix("\n"),
        _NOTE + "\n",
        _NOTE.replace("—", "-"),
        _NOTE.replace("aQM=", "aQM"),
        _NOTE.replace("aQM=", "aQN="),
        _NOTE.replace("aQM=", "aQM=\t"),
        _NOTE.replace("foo Uw2", "foo  Uw2"),
        _NOTE.replace("foo Uw2", "f+o Uw2"),
        _NOTE.replace("foo Uw2", "f\N{NO-BREAK SPACE}o Uw2"),
        _NOTE.replace("message", "mess\rage"),
        "text\n\n— a AAAA\n",
        "text\n\n" + "— a AAAAAAA=\n" * (MAX_SIGNATURES + 1),
        "x" * MAX_NOTE + _NOTE,
        "",
        "\n\n",
    ],
)
def test_what_is_no_note_is_refused(content: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_note(content.encode())


@pytest.mark.parametrize(
    "text",
    ["", "a+b+c", _KEY.replace("530d903a", "530d903b"), _KEY.replace("530d903a", "530D903A"), _KEY[:-1],
     _KEY.replace("foo", "fo o"), _KEY.replace("+A", "+B"), "+".join(_KEY.split("+")[:2])],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_key(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{_ORIGIN}\n5\n",
        f"{_ORIGIN}\n05\n{'A' * 43}=\n",
        f"{_ORIGIN}\n-5\n{'A' * 43}=\n",
        f"{_ORIGIN}\n\N{ARABIC-INDIC DIGIT FIVE}\n{'A' * 43}=\n",
        f"{_ORIGIN}\n{1 << 63}\n{'A' * 43}=\n",
        f"{_ORIGIN}\n5\nAAAA\n",
        f"{_ORIGIN}\n5\n{'A' * 43}=\n\nmore\n",
        f"\n5\n{'A' * 43}=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_checkpoint(str(SignedNote(text, (_LOG.sign(text),))).encode())


@given(st.sets(st.integers(0, 3)))
def test_a_quorum_counts_as_the_policy_says(cosigned: set[int]) -> None:
    checkpoint = _checkpoint(witnesses=tuple(cosigned))
    first, second, third, fourth = (i in cosigned for i in range(4))
    quorums = {
        "none": True,
        "w0": first,
        "two": first + second + third >= 2,
        "both": first + second + third >= 2 and fourth,
    }
    for quorum, is_enough in quorums.items():
        policy = _policy("# a comment", "", " group\ttwo 2 w0 w1 w2", "group both all two w3", f"quorum {quorum}")
        if is_enough:
            believed = policy.believe(checkpoint)
            assert believed.witnessed == {f"w{i}": 1_700_000_000 + i for i in cosigned}
            assert (believed.key, believed.checkpoint.size) == (_LOG.key, 5)
        else:
            with pytest.raises(DataLoss):
                policy.believe(checkpoint)


def test_a_log_is_believed_under_its_own_name_only() -> None:
    with pytest.raises(DataLoss, match="no log of the policy"):
        _policy("quorum none").believe(_checkpoint(origin="log.example.com/other"))
    with pytest.raises(DataLoss, match="no log of the policy"):
        parse_policy(f"log {signer(_ORIGIN, seed=2).key}\nquorum none".encode()).believe(_checkpoint())


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("quorum w9",),
        ("quorum none", "quorum none"),
        ("quorum none more",),
        ("group g 2 w0", "quorum g"),
        ("group g 0 w0", "quorum g"),
        ("group g any", "quorum none"),
        ("group g any g", "quorum g"),
        ("group g any none", "quorum g"),
        ("group none any w0", "quorum none"),
        ("group w1 any w0", "quorum w1"),
        ("group g any w0 w0", "quorum g"),
        ("group g any w0", "group h any w0", "quorum none"),
        (f"witness again {_WITNESSES[0].key}", "quorum none"),
        (f"witness log {_LOG.key}", "quorum none"),
        (f"log {_LOG.key}", "quorum none"),
        (f"log {_WITNESSES[0].key}", "quorum none"),
        ("lgo x", "quorum none"),
        ("quorum none\r",),
        (*(f"group g{i} any w0" for i in range(65)), "quorum none"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        _policy(*lines)


@pytest.mark.parametrize("size", [1, 5, 256, 300])
def test_a_proof_holds_for_its_entry_alone(size: int) -> None:
    index, policy = size * 2 // 3, _policy("quorum w1")
    hashes = tuple(inclusion_proof(index, size, _tree(size).read))
    proof = LogProof(index, hashes, _checkpoint(size, (1,)), b"salt" * (size % 2))
    text = proof.encode()
    assert parse_log_proof(text) == proof
    assert proof.verify(b"%d" % index, policy).checkpoint.size == size
    for wrong in (replace(proof, index=index + 1), replace(proof, checkpoint=_checkpoint(size + 1, (1,)))):
        with pytest.raises(DataLoss):
            wrong.verify(b"%d" % index, policy)
    with pytest.raises(DataLoss):
        proof.verify(b"%d" % (index + 1), policy)
    with pytest.raises(DataLoss, match="quorum"):
        proof.verify(b"%d" % index, _policy("quorum w2"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("c2sp", "C2SP"),
        ("index 3", "index 03"),
        ("index 3", "index  3"),
        ("index 3", "extra AA\nindex 3"),
        ("index 3", "extra \nindex 3\nAAAA"),
        ("index 3\n", "index 3\n" + f"{'A' * 43}=\n" * 64),
        ("index 3\n", f"extra {'A' * 70_000}\nindex 3\n"),
        ("index 3\n", "index 3\nAAAA\n"),
    ],
)
def test_what_is_no_proof_is_refused(before: str, after: str) -> None:
    text = LogProof(3, tuple(inclusion_proof(3, 5, _tree(5).read)), _checkpoint()).encode().decode()
    with pytest.raises(InvalidArgument):
        parse_log_proof(text.replace(before, after, 1).encode())


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 400))
def test_whatever_strangers_send_is_refused_in_one_way(noise: bytes, start: int, end: int) -> None:
    proof = LogProof(3, tuple(inclusion_proof(3, 5, _tree(5).read)), _checkpoint(5, (0, 1))).encode()
    changed = proof[:start] + noise + proof[max(start, end) :]
    policy = _policy("group two 2 w0 w1", "quorum two")
    try:
        parse_log_proof(changed).verify(b"3", policy)
    except HashHubError:
        pass
    else:  # what nothing vouches for is all that may differ
        read = parse_log_proof(changed)
        assert (read.index, read.hashes) == (3, parse_log_proof(proof).hashes)
    for parse in (
        parse_policy,
        parse_note,
        parse_checkpoint,
        lambda content: parse_signatures(content.decode("latin1")),
    ):
        with contextlib.suppress(HashHubError):
            parse(noise)
