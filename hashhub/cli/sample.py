"""`hashhub sample`: small synthetic files to try the commands on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import click

from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, print_json, table
from hashhub.errors import AlreadyExists, InvalidArgument

_LISTED: Final = 20  # items beside the picture


@command(None, "sample", local=True)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def sample(session: Session, *, directory: Path) -> None:
    """Write synthetic sample files into DIR: a list to import, and uploads to check against it.

    Nothing is overwritten. The pictures are drawn by hashhub, the other hashes are random.
    """
    files = _files()
    taken = [name for name in files if (directory / name).exists()]
    if taken:
        raise AlreadyExists(f"{taken[0]} exists already in {str(directory)!r}; name another directory")
    for name, (content, _) in files.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as e:
            raise InvalidArgument.field("directory", f"cannot be written: {e.strerror or type(e).__name__}") from e
    if session.json:
        for name, (_, what) in files.items():
            print_json({"file": str(directory / name), "what": what})
        return
    table(("file", "what"), [(clean(str(directory / name)), what) for name, (_, what) in files.items()])


def _files() -> dict[str, tuple[bytes, str]]:
    """Return the content of each file, and what it is."""
    from hashhub.hashing import hash_media
    from hashhub.testing import lists
    from hashhub.testing.pictures import picture

    listed, unlisted = (io.BytesIO() for _ in range(2))
    picture(1, (320, 240)).save(listed, "PNG")
    picture(2, (320, 240)).save(unlisted, "PNG")
    hashes = hash_media(listed.getvalue(), algorithms=("MD5", "SHA1")).hashes
    items = [lists.item(hashes, "1", external_id="sample-1"), *lists.random_items(_LISTED, seed=5, values=("1", "2"))]
    return {
        "list.json": (lists.list_file("vics-2.0", items).data, "a VICS 2.0 list (US) of 21 items"),
        "sums.txt": (
            lists.list_file("sha256sum", lists.random_items(_LISTED, seed=6, algorithms=("SHA256",))).data,
            "20 lines as sha256sum prints them",
        ),
        "uploads/listed.png": (listed.getvalue(), "a picture that list.json holds"),
        "uploads/unlisted.png": (unlisted.getvalue(), "a picture that it does not hold"),
    }


COMMANDS: Final = (sample,)
