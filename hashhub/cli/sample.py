"""`hashhub sample`: small synthetic files to try the commands on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, print_json, table
from hashhub.errors import AlreadyExists, InvalidArgument
from hashhub.hashes import Encoding, Hash, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.testing.lists import Item

_LISTED: Final = 20  # items beside the picture


@command(None, "sample", local=True)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def sample(session: Session, *, directory: Path) -> None:
    """Write synthetic sample files into DIR: lists to import, and uploads to check against them.

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
        **{
            f"release/part{n}.txt": (
                lists.list_file("md5sum", lists.random_items(_LISTED, seed=6 + n)).data,
                f"part {n} of 2 of a list, 20 lines as md5sum prints them",
            )
            for n in (1, 2)
        },
        "known.txt": (_known(lists.random_items(_LISTED, seed=9)), "20 known files as NSRL lists them"),
        "opinions.json": (_opinions(hashes), "an answer of Arachnid Shield about the picture that list.json holds"),
        "uploads/listed.png": (listed.getvalue(), "a picture that list.json holds"),
        "uploads/unlisted.png": (unlisted.getvalue(), "a picture that it does not hold"),
    }


def _known(items: Sequence[Item]) -> bytes:
    header = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
    rows = (f'"{i.digest("SHA1")}","{i.digest("MD5")}","","synthetic",1,1,"0",""\n' for i in items)
    return (header + "".join(rows)).encode()


def _opinions(hashes: Sequence[Hash]) -> bytes:
    sha1 = next(encode(h, Encoding.BASE32) for h in hashes if h.algorithm == "SHA1")
    answer = {"sha1_base32": sha1, "classification": "csam", "match_type": "exact", "near_match_details": []}
    return json.dumps([answer]).encode()


COMMANDS: Final = (sample,)
