"""Request and response formats of software that cannot be adapted to ours: pict-rs and tusd.

pict-rs (`media.external_validation`, since 0.4.3): posts the file's bytes; 2xx passes, anything else does not.
tusd (`-hooks-http`, version 2, `pre-finish`): posts JSON that says where the finished upload is stored, and reads JSON.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from hashhub.desk.decision import Action, Decision
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound
from hashhub.local_files import open_regular

STATUS: Final = {Action.ALLOW: 200, Action.HOLD: 403, Action.BLOCK: 451}
"""What a caller that looks at the status only is told: neither a held nor a blocked upload may pass as accepted. 409
and 423 would say HOLD more exactly, but clients of tus try those again.
"""

_MOST_NAME: Final = 4096


class _Storage(msgspec.Struct, frozen=True):
    kind: str = msgspec.field(name="Type", default="")
    path: str = msgspec.field(name="Path", default="")


class _Upload(msgspec.Struct, frozen=True):
    upload_id: str = msgspec.field(name="ID", default="")
    storage: _Storage | None = msgspec.field(name="Storage", default=None)


class _Event(msgspec.Struct, frozen=True):
    upload: _Upload = msgspec.field(name="Upload")


class TusdHook(msgspec.Struct, frozen=True):
    """The parts of tusd's hook request that are read. Headers and metadata of the uploader are not."""

    kind: str = msgspec.field(name="Type")
    event: _Event = msgspec.field(name="Event")

    @property
    def is_finished(self) -> bool:
        """Whether it announces an upload whose bytes are all there, or a piece of one: tusd serves each of them."""
        return self.kind == "pre-finish"


def tusd_hook(body: bytes) -> TusdHook:
    """Return what tusd asks. Raises InvalidArgument for anything else."""
    try:
        return msgspec.json.decode(body, type=TusdHook)
    except msgspec.MsgspecError as e:
        raise InvalidArgument.field("body", f"must be a hook request of tusd 2: {e}") from e


def open_tusd_upload(hook: TusdHook, directory: str) -> IO[bytes]:
    """Open the file that tusd stored in `directory`; links and other kinds of files are refused. Raises
    FailedPrecondition without a directory, InvalidArgument for another store or path, NotFound.
    """
    if not directory:
        raise FailedPrecondition("sidecar.tusd_directory is not set; name the directory that tusd stores uploads in")
    storage = hook.event.upload.storage
    if storage is None or storage.kind != "filestore":
        raise InvalidArgument.field(
            "Storage", "must be a filestore; what tusd keeps in a bucket is checked by `hashhub hook watch`"
        )
    outside = InvalidArgument.field("Storage.Path", "must be a file in the directory that sidecar.tusd_directory names")
    if "\0" in storage.path or len(storage.path) > _MOST_NAME:
        raise outside
    root = Path(directory).absolute()
    given = Path(storage.path)
    try:
        names = (given.relative_to(root) if given.is_absolute() else given).parts
    except ValueError as e:
        raise outside from e
    if not names or ".." in names:
        raise outside
    try:
        return _open_below(root, names)
    except FileNotFoundError as e:
        raise NotFound("the file that tusd names is not there; sidecar and tusd must see the same directory") from e
    except OSError as e:
        raise outside from e


def _open_below(root: Path, names: tuple[str, ...]) -> IO[bytes]:
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        return os.fdopen(open_regular(names[-1], folder=at, follow=False), "rb")
    finally:
        os.close(at)


def tusd_answer(decision: Decision) -> dict[str, Any]:
    """Return what tusd reads: nothing for ALLOW, else its client's answer. Some read RejectUpload here, too."""
    if decision.action is Action.ALLOW:
        return {}
    body = msgspec.json.encode({"action": decision.action, "reference": decision.reference}).decode()
    return {
        "HTTPResponse": {
            "StatusCode": STATUS[decision.action],
            "Body": body,
            "Header": {"Content-Type": "application/json"},
        },
        "RejectUpload": True,
    }
