"""`hashhub sample`: small synthetic files to try the commands on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli import main
from hashhub.cli.session import Session, command
from hashhub.hashes import Encoding, Hash, encode
from hashhub.local_files import check, make_directory, written

if TYPE_CHECKING:
    from PIL.Image import Image

    from hashhub.testing.lists import ListItem
    from hashhub.testing.workbooks import Cell

_LISTED: Final = 20  # items beside the picture
_CUT: Final = 0.03  # of the width and of the height, on each side


def _md5(number: int) -> str:
    return hashlib.md5(f"hashhub-sample-{number}".encode(), usedforsecurity=False).hexdigest()


def _sha1(number: int) -> str:
    return hashlib.sha1(f"hashhub-sample-{number}".encode(), usedforsecurity=False).hexdigest()


@command(main, "sample", local=True)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--videos", is_flag=True, help="Also a video and what people make of it; needs the extra video.")
def sample(session: Session, *, directory: Path, videos: bool) -> None:
    """Write synthetic sample files into DIR: lists to import, and uploads to check against them.

    Nothing is overwritten. Pictures and videos are drawn by hashhub, the other hashes are random.
    """
    files = {**_files(), **(_videos() if videos else {})}
    for name in files:
        check(directory / name, taken="name another directory", field="directory")
    for name, (content, _) in files.items():
        path = directory / name
        make_directory(path.parent, field="directory", mode=0o777)
        with written(path, taken="name another directory", field="directory", mode=0o666) as file:
            file.write(content)
    columns = ("file", "what")
    session.show(
        [(str(directory / name), what) for name, (_, what) in files.items()],
        columns,
        lambda file: file,
        as_json=lambda file: dict(zip(columns, file, strict=True)),
    )


def _files() -> dict[str, tuple[bytes, str]]:
    """Return the content of each file, and what it is."""
    from hashhub.hashing import hash_media
    from hashhub.testing import lists, nations
    from hashhub.testing.pictures import picture
    from hashhub.testing.workbooks import workbook

    listed, unlisted = (io.BytesIO() for _ in range(2))
    picture(1, (320, 240)).save(listed, "PNG")
    picture(2, (320, 240)).save(unlisted, "PNG")
    hashes = hash_media(listed.getvalue(), algorithms=("MD5", "SHA1", "PDQ")).hashes
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
        "liste.csv": (_german_csv(_GERMAN_ROWS), "a German Excel export with rows to correct (docs/contribute/csv.md)"),
        "liste.xlsx": (workbook({"Liste": _typed(_GERMAN_ROWS)}), "the same as an Excel workbook"),
        "liste.toml": (_GERMAN_MAPPING.encode(), "the column mapping for both"),
        **{f"nations/{name}": file for name, file in nations.files().items()},
        "uploads/listed.png": (listed.getvalue(), "a picture that list.json holds"),
        "uploads/unlisted.png": (unlisted.getvalue(), "a picture that it does not hold"),
        **_altered(picture(1, (320, 240))),
    }


def _altered(listed: Image) -> dict[str, tuple[bytes, str]]:
    """Return what people make of a picture before they send it."""
    import PIL.ExifTags
    import PIL.Image

    from hashhub.testing.pictures import ALTERATIONS

    large = listed.resize((960, 720), PIL.Image.Resampling.BICUBIC)
    chance = Random(1)  # noqa: S311 - the same files each time
    cut = round(large.width * _CUT), round(large.height * _CUT)
    turned = PIL.Image.Exif()
    turned[PIL.ExifTags.Base.Orientation] = 6  # to be shown turned by 90 degrees
    pictures = {
        "border": (ALTERATIONS["border"](large, chance), "the listed picture in a border"),
        "screenshot": (ALTERATIONS["screenshot"](large, chance), "the listed picture on a screen"),
        "cut": (
            large.crop((*cut, large.width - cut[0], large.height - cut[1])),
            "the listed picture, cut by 3 % on each side",
        ),
        "turned": (large, "the listed picture, to be shown turned, as its EXIF says"),
    }
    files = {}
    for name, (image, what) in pictures.items():
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85, **({"exif": turned} if name == "turned" else {}))
        files[f"altered/{name}.jpg"] = (out.getvalue(), what)
    return files


def _videos() -> dict[str, tuple[bytes, str]]:
    """Return a clip and what people make of it."""
    from hashhub.hashing.decoding import require_extra
    from hashhub.testing.videos import ALTERATIONS, LETTERBOXED, clip, encoded

    require_extra("video")
    original = clip(7, seconds=12, size=(320, 180))
    told = {
        "recompressed": "the same at a low bitrate",
        "scaled": "the same, smaller",
        "slower": "the same with fewer frames a second",
        "trimmed": "its middle",
        "inserted": "the same between two other clips",
        "letterboxed": "the same between black bars",
    }
    alterations = {**ALTERATIONS, "letterboxed": LETTERBOXED}
    return {
        "videos/clip.mp4": (encoded(original), "a clip of 12 seconds with four scenes"),
        **{f"videos/{name}.mp4": (encoded(alterations[name](original)), what) for name, what in told.items()},
    }


def _known(items: Sequence[ListItem]) -> bytes:
    header = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
    rows = (f'"{i.digest("SHA1")}","{i.digest("MD5")}","","synthetic",1,1,"0",""\n' for i in items)
    return (header + "".join(rows)).encode()


def _opinions(hashes: Sequence[Hash]) -> bytes:
    sha1 = next(encode(h, Encoding.BASE32) for h in hashes if h.algorithm == "SHA1")
    answer = {"sha1_base32": sha1, "classification": "csam", "match_type": "exact", "near_match_details": []}
    return json.dumps([answer]).encode()


# Digests are those of the texts hashhub-sample-1, -2 and so on; the third was damaged by Excel, the sixth was cut.
_GERMAN_ROWS: Final = (
    ("Lfd. Nr.", "MD5", "SHA-1", "Baseline", "Selbst erstellt", "Erfasst am", "Größe", "Bemerkung"),
    ("DE-1", _md5(1), _sha1(1), "ja", "nein", "03.02.2026", "284311", ""),
    ("DE-2", _md5(2), _sha1(2), "nein", "ja", "03.02.2026", "91.204.117", "Reihe; zwei Teile"),
    ("DE-3", "1,23457E+31", "", "ja", "nein", "04.02.2026", "5120", ""),
    ("DE-4", _md5(4), "", "ja", "x", "04.02.2026", "733001", 'mit "Anführung"'),
    ("DE-5", _md5(5), "", "", "nein", "04.02.2026", "88120", "noch nicht gesichtet"),
    ("DE-6", _md5(6)[:31], "", "ja", "unklar", "05.02.2026", "40960", ""),
    ("DE-7", _md5(7), _sha1(7), "fraglich", "nein", "05.02.2026", "120455", ""),
    ("DE-8", _md5(8), "", "nein", "", "06.02.2026", "2048", ""),
)
_GERMAN_MAPPING: Final = """\
delimiter = ";"
encoding = "cp1252"
scheme = "interpol-baseline"

[columns]
md5 = "MD5"
sha1 = "SHA-1"
value = "Baseline"
external_id = "Lfd. Nr."
source_time = "Erfasst am"
media_size = "Größe"

[flags]
self_generated = "Selbst erstellt"

[words.self_generated]
true = ["x"]

[values]
"ja" = "Y"
"nein" = "N"
"""


def _german_csv(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(rows)
    return out.getvalue().encode("cp1252")


def _typed(rows: Sequence[Sequence[str]]) -> list[list[Cell]]:
    """Return the rows as a workbook holds them: numbers as numbers, one of which was a digest, and dates as dates."""
    head, *items = rows
    typed: list[list[Cell]] = [list(head)]
    for number, md5, sha1, baseline, own, added, size, remark in items:
        day = datetime.strptime(added, "%d.%m.%Y").replace(tzinfo=UTC).date()
        digest = 1.23457e31 if "+" in md5 else md5
        typed.append(
            [number, digest, sha1 or None, baseline or None, own or None, day, int(size.replace(".", "")), remark]
        )
    return typed
