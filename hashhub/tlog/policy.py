"""Whose signatures make a checkpoint believed: a file that whoever verifies keeps (c2sp.org/tlog-policy).

log VKEY [URL]
witness NAME VKEY [URL]
group NAME all|any|NUMBER NAME...
quorum NAME|none
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hashhub.errors import DataLoss, InvalidArgument, Reason
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import COSIGNATURE, ED25519, SignedNote, VerifierKey, parse_key, parse_number

NO_QUORUM: Final = "none"
_MAX_POLICY: Final = 256 * 1024  # bytes
_MAX_LINES: Final = 64  # of a kind
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


class LogWitness(NamedTuple):
    """A witness of a policy, and where it takes checkpoints, if that is said."""

    key: VerifierKey
    url: str


class _Group(NamedTuple):
    needed: int
    members: tuple[str, ...]


class BelievedCheckpoint(NamedTuple):
    """A checkpoint that a policy believes: the log's key, and when each witness cosigned it (seconds since 1970)."""

    checkpoint: Checkpoint
    key: VerifierKey
    witnessed: Mapping[str, int]


@dataclass(frozen=True)
class LogPolicy:
    """The logs and witnesses that are known by name, and which of them are enough."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, LogWitness]
    quorum: str
    _groups: Mapping[str, _Group] = field(repr=False)

    def believe(self, content: bytes) -> BelievedCheckpoint:
        """Return what a checkpoint says. Raises InvalidArgument for a malformed one, and DataLoss (PROOF_FAILED)
        unless a log of this policy signed it under its own name, and witnesses cosigned it, as many as the quorum is.
        """
        checkpoint, note = parse_checkpoint(content)
        key = next((key for key in note.signers(self.logs) if key.name == checkpoint.origin), None)
        if key is None:
            raise DataLoss(
                f"no log of the policy signed this checkpoint of {checkpoint.origin[:100]!r}; check the policy's lines "
                "'log', and whose file this is",
                reason=Reason.PROOF_FAILED,
            )
        witnessed = self.witnessed(note)
        if not self.is_enough(witnessed):
            by = ", ".join(sorted(witnessed)) or "nobody"
            raise DataLoss(
                f"the checkpoint of {checkpoint.origin} at {checkpoint.size} entries was cosigned by {by}, which is "
                f"less than the policy's quorum {self.quorum!r}; ask for it again once witnesses have cosigned it",
                reason=Reason.PROOF_FAILED,
            )
        return BelievedCheckpoint(checkpoint, key, witnessed)

    def witnessed(self, note: SignedNote) -> dict[str, int]:
        """Return when each witness cosigned a note, by its name. Raises DataLoss where a cosignature does not hold."""
        names = {witness.key: name for name, witness in self.witnesses.items()}
        return {names[key]: time for key, time in note.signers(names).items()}

    def is_enough(self, witnessed: Collection[str]) -> bool:
        """Whether these witnesses are the quorum."""
        return self._is_witnessed(self.quorum, witnessed)

    def _is_witnessed(self, name: str, witnessed: Collection[str]) -> bool:
        if group := self._groups.get(name):
            return sum(self._is_witnessed(member, witnessed) for member in group.members) >= group.needed
        return name == NO_QUORUM or name in witnessed


def parse_policy(content: bytes) -> LogPolicy:
    """Return a policy from its file. Raises InvalidArgument, which names the line."""
    if len(content) > _MAX_POLICY or _FORBIDDEN.search(content):
        raise InvalidArgument.field(
            "policy", f"must be a text of at most {_MAX_POLICY} bytes, of tabs and printed signs"
        )
    parser = _PolicyParser()
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = re.findall("[^ \t]+", line)
        if words and not words[0].startswith("#"):
            try:
                parser.take(words[0], words[1:])
            except InvalidArgument as e:
                raise InvalidArgument.field("policy", f"line {number}: {e.message}") from e
    return parser.policy()


class _PolicyParser:
    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, LogWitness] = {}
        self._groups: dict[str, _Group] = {}
        self._members: set[str] = set()
        self._quorum = ""

    def take(self, kind: str, words: Sequence[str]) -> None:
        match (kind, *words):
            case ("log", vkey, *url) if len(url) <= 1:
                self._logs.append(self._new_key(vkey, ED25519, [key.public for key in self._logs]))
            case ("witness", name, vkey, *url) if len(url) <= 1:
                others = [witness.key.public for witness in self._witnesses.values()]
                key = self._new_key(vkey, COSIGNATURE, others)
                self._witnesses[self._new_name(name)] = LogWitness(key, "".join(url))
            case ("group", name, needed, *members) if members:
                self._groups[self._new_name(name)] = self._group(needed, members)
            case ("quorum", name) if not self._quorum:
                if name != NO_QUORUM:
                    self._check_known(name)
                self._quorum = name
            case _:
                raise InvalidArgument.field(
                    kind[:20],
                    "is no line of a policy; expected: log VKEY [URL], witness NAME VKEY [URL], "
                    "group NAME all|any|NUMBER NAME..., one quorum NAME",
                )
        if max(len(self._logs), len(self._witnesses), len(self._groups)) > _MAX_LINES:
            raise InvalidArgument.field(kind, f"is there more than {_MAX_LINES} times")

    def policy(self) -> LogPolicy:
        if not self._quorum:
            raise InvalidArgument.field("policy", "has no line 'quorum'; write 'quorum none' to ask for no witnesses")
        return LogPolicy(tuple(self._logs), self._witnesses, self._quorum, self._groups)

    @staticmethod
    def _new_key(vkey: str, kind: int, others: Sequence[bytes]) -> VerifierKey:
        key = parse_key(vkey, "key")
        if key.kind != kind or key.public in others:
            raise InvalidArgument.field("key", f"must be a key of the type {kind}, named once")
        return key

    def _new_name(self, name: str) -> str:
        if name == NO_QUORUM or name in self._witnesses or name in self._groups:
            raise InvalidArgument.field("name", f"{name[:60]!r} is taken")
        return name

    def _check_known(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise InvalidArgument.field("name", f"{name[:60]!r} is no witness or group of a line above")

    def _group(self, needed: str, members: Sequence[str]) -> _Group:
        for member in members:
            self._check_known(member)
            if member in self._members:
                raise InvalidArgument.field("name", f"{member[:60]!r} is in a group already; it counts once")
            self._members.add(member)
        by_word = {"any": 1, "all": len(members)}
        count = by_word[needed] if needed in by_word else parse_number(needed, "number")
        if not 1 <= count <= len(members):
            raise InvalidArgument.field("number", f"must be from 1 to {len(members)}, all or any")
        return _Group(count, tuple(members))
