"""Has others witness the log: sends its checkpoints to the witnesses of a policy (c2sp.org/tlog-witness).

Each round takes one checkpoint to all of them. Once the policy's quorum has cosigned it, it stands with the
cosignatures in `log.witnessed` in the data directory, and is what strangers and receipts get.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hashhub.background import Background
from hashhub.errors import HashHubError
from hashhub.hub.outbound import Outbound
from hashhub.local_files import written
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import NoteSignature, SignedNote, parse_number, parse_signatures
from hashhub.tlog.policy import LogPolicy, LogWitness
from hashhub.tlog.submission import Submission

_log = logging.getLogger(__name__)

_MOST_BYTES: Final = 64 * 1024  # of a witness's answer
_OK: Final = 200
_CONFLICT: Final = 409
_PROBLEMS: Final = {
    0: "it cannot be reached (http:// is for this machine alone; others need https://)",
    403: "it does not take the key that signed the checkpoint; give its operator the log's key",
    404: "it does not know this log; give its operator the log's key",
    409: "it has cosigned more entries than this log has: a backup was restored, or the history was rewritten",
    422: "it has cosigned another history of this log: a backup was restored, or the history was rewritten",
}


class LogWitnessRounds:
    """Asks witnesses, again and again. `problems`: why one did not cosign the last time, by its name in the policy."""

    def __init__(
        self,
        policy: LogPolicy,
        newest: Callable[[], str],
        prove: Callable[[int, int], Sequence[bytes]],
        file: Path,
        *,
        seconds: float,
    ) -> None:
        """`newest`: gives a signed checkpoint; `prove`: the proof from one size to another. `file`: where what was
        cosigned is kept. Raises InvalidArgument for a witness whose URL cannot be called.
        """
        self._policy, self._newest, self._prove, self._file = policy, newest, prove, file
        places = [urlsplit(witness.url) for witness in policy.witnesses.values()]
        ports = {str(place.port or (443 if place.scheme == "https" else 80)) for place in places}
        self.outbound = Outbound(",".join(place.netloc for place in places), ports=",".join(ports))
        for witness in policy.witnesses.values():
            self.outbound.check(_address(witness), "log_witnesses")
        self._sizes: dict[str, int] = {}  # that witnesses have cosigned
        self.problems: Mapping[str, str] = {}
        self.thread = Background("witnesses", self.round, complaint="the log is not witnessed", pause=seconds)

    def round(self) -> None:
        """Have the log's newest checkpoint cosigned, unless it was."""
        checkpoint, note = parse_checkpoint(self._newest().encode())
        if self._file.exists() and self._file.read_text("utf-8").startswith(f"{checkpoint.text}\n"):
            return
        names = list(self._policy.witnesses)
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            answers = dict(zip(names, pool.map(lambda name: self._ask(name, checkpoint, note), names), strict=True))
        problems = {name: problem for name, (_, problem) in answers.items() if problem}
        for name, problem in problems.items():
            if problem != self.problems.get(name):
                _log.error("%s did NOT cosign the log at %d entries: %s", name, checkpoint.size, problem)
        self.problems = problems
        cosigned = note.with_signatures(signature for signatures, _ in answers.values() for signature in signatures)
        if self._policy.is_enough(self._policy.witnessed(cosigned)):
            with written(self._file, replace=True) as file:
                file.write(str(cosigned).encode())

    def _ask(self, name: str, checkpoint: Checkpoint, note: SignedNote) -> tuple[list[NoteSignature], str]:
        """Return a witness's cosignature, or why there is none."""
        witness = self._policy.witnesses[name]
        try:
            status, answer = self._submit(name, checkpoint, note)
            if status == _CONFLICT:  # it knows another size than it was asked about
                self._sizes[name] = parse_number(answer.removesuffix("\n"), "size")
                if self._sizes[name] <= checkpoint.size:
                    status, answer = self._submit(name, checkpoint, note)
            if status != _OK:
                return [], _PROBLEMS.get(status, f"it answered with the status {status}")
            self._sizes[name] = checkpoint.size
            lines = parse_signatures(answer)
            signatures = [line for line in lines if (line.name, line.key_id) == (witness.key.name, witness.key.id)]
            SignedNote(note.text, tuple(signatures)).signers([witness.key])
        except HashHubError as e:
            return [], e.message
        return signatures, "" if signatures else "it signed by another key than log_witnesses names"

    def _submit(self, name: str, checkpoint: Checkpoint, note: SignedNote) -> tuple[int, str]:
        size = min(self._sizes.get(name, 0), checkpoint.size)
        submission = Submission(size, tuple(self._prove(size, checkpoint.size)), str(note).encode())
        outcome, answer = self.outbound.ask(_address(self._policy.witnesses[name]), submission.encode(), _MOST_BYTES)
        return outcome.status, answer.decode("utf-8", "replace")


def _address(witness: LogWitness) -> str:
    return witness.url.rstrip("/") + "/add-checkpoint"
