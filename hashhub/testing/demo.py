"""`python -m hashhub.testing.demo`: a hub, four contributors, their lists, uploads, a conflict and a withdrawal.

Everything is synthetic: pictures of `hashhub.testing.pictures`, their real hashes in lists of `hashhub.testing.lists`.
The hub is a process of its own, spoken to over gRPC. In a pipe the output is plain text.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hashhub import schemes, vpdq
from hashhub.client import Client, ImportReport
from hashhub.errors import HashHubError
from hashhub.hashing import hash_media
from hashhub.hits import how, where
from hashhub.model import (
    Contributor,
    ContributorKind,
    Effort,
    Entry,
    EntryState,
    HashSet,
    MatchOptions,
    Principal,
    Purpose,
    Query,
    Reliability,
    Role,
    Verdict,
    WithdrawalReason,
)
from hashhub.schemes.crosswalk import compare
from hashhub.schemes.dimensions import words
from hashhub.testing.hub_process import running_hub
from hashhub.testing.lists import ListItem, item, list_file, random_items, soiled
from hashhub.testing.pictures import ALTERATIONS, picture
from hashhub.testing.videos import ALTERATIONS as ALTERED_VIDEOS
from hashhub.testing.videos import clip, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZE: Final = (800, 600)
_PLAIN_WIDTH: Final = 150  # columns of tables in a pipe
_COLOURS: Final = {
    Verdict.MATCH: "bold red",
    Verdict.REVIEW: "yellow",
    Verdict.BENIGN: "green",
    Verdict.NO_MATCH: "dim",
    Verdict.UNAVAILABLE: "magenta",
}


def _contributor(own_id: str, name: str, kind: ContributorKind, country: str, grade: Reliability) -> Contributor:
    return Contributor(id=own_id, display_name=name, kind=kind, jurisdiction=country, reliability=grade)


_HOTLINE: Final = _contributor("hotline-uk", "Hotline (United Kingdom)", ContributorKind.HOTLINE, "GB", Reliability.A)
_CLEARINGHOUSE: Final = _contributor(
    "clearinghouse-us", "Clearinghouse (United States)", ContributorKind.CLEARINGHOUSE, "US", Reliability.B
)
_POLICE: Final = _contributor(
    "police-us", "Police unit (United States)", ContributorKind.LAW_ENFORCEMENT, "US", Reliability.B
)
_LIBRARY: Final = _contributor(
    "stock-library", "Library of stock pictures", ContributorKind.PLATFORM, "ZZ", Reliability.B
)

# Picture number -> the value that the contributor's scheme gives it. Pictures 5 and 8 are where national criteria part.
_HOTLINE_SAYS: Final = {n: "ABC"[n % 3] for n in range(10)} | {5: "A", 8: "C"}
_CLEARINGHOUSE_SAYS: Final = {n: ("A1", "A2", "B1", "B2")[n % 4] for n in range(6, 14)} | {8: "A1"}
_POLICE_SAYS: Final = dict.fromkeys((4, 6, 7, 14, 15), "1") | {5: "0"}
_LIBRARY_HAS: Final = (2, 16, 17)

_UPLOADS: Final = (
    ("the file itself", 0, None),
    ("saved again as JPEG 50", 1, "jpeg-50"),
    ("half the size", 6, "resize-half"),
    ("turned by 90 degrees", 7, "rotate-90"),
    ("mirrored", 14, "flip"),
    ("watermarked", 11, "watermark"),
    ("in a border", 13, "border"),
    ("a screenshot", 15, "screenshot"),
    ("nations disagree on it", 5, "jpeg-90"),
    ("a library has it, too", 2, None),
    ("only a library has it", 16, None),
    ("nobody has it", 99, None),
)

_CLIPS: Final = {"recompressed": "at a low bitrate", "trimmed": "its middle", "inserted": "between two other clips"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", metavar="DIR", help="keep the hub's data here instead of in a temporary directory")
    chosen = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    began = time.monotonic()
    # Also when it is told to end, it takes its hub with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        data = Path(chosen.data or stack.enter_context(tempfile.TemporaryDirectory(prefix="hashhub-demo-")))
        if (data / "hub" / "operator.token").exists():
            console.print(f"{data} holds a hub already; name an empty directory with --data", style="red")
            return 1
        try:
            _show(console, data)
        except HashHubError as e:
            console.print(f"the demonstration failed: {e.message}", style="red")
            return 1
    console.print(f"\nThat took {time.monotonic() - began:.0f} seconds. All of it was synthetic.")
    console.print("Keep a hub running:   make serve")
    activate = os.path.relpath(Path(sys.prefix) / "bin" / "activate")
    console.print(
        f"Then, elsewhere:      source {activate}; hashhub status; hashhub connectors list; hashhub scan PATH"
    )
    return 0


def _show(console: Console, data: Path) -> None:
    _title(console, "1. A hub", "embedded SQLite, loopback only, an operator's token written on first start")
    with running_hub(data / "hub") as hub, Client(hub.address, hub.token, retry_seconds=10.0) as operator:
        address = hub.address
        console.print(f"gRPC on {address}, JSON on http://{hub.http}")

        _title(console, "2. Who contributes", "each in its own scheme, under its own terms")
        sets = _create(console, operator)

        _title(console, "3. Their lists", "in the formats that they have, with the dirt that real exports have")
        pictures = {n: picture(n, _SIZE) for n in sorted({*range(18), 99})}
        files = {n: _jpeg(p) for n, p in pictures.items()}
        reports = _contribute(console, operator, address, sets, files, data)

        _title(console, "4. What became of every item", f"the report of {_POLICE.id}'s list")
        _report(console, reports[_POLICE.id])

        library = sets[_LIBRARY.id].name
        accepted = operator.accept_hash_set(library, reports[_LIBRARY.id].source.revision)
        console.print(
            f"\nThe operator accepts what {library} holds as of revision {accepted.accepted_revision}: it may weigh."
        )

        _title(console, "5. Uploads", "hashed where they are; the hub sees hashes only")
        operator.create_contributor(
            Contributor(id="platform", display_name="Platform", kind=ContributorKind.PLATFORM, jurisdiction="IE")
        )
        secret = operator.create_token(Principal(name="platform", role=Role.CONSUMER, contributor="platform"))
        with Client(address, secret) as platform:
            _match(console, platform, pictures, files)

            _title(console, "6. A video", "by its frames, and where they agree")
            _videos(console, operator, platform, data)

        _title(console, "7. A conflict", "compared by meaning, not by code")
        _conflict(console, operator, files)

        _title(console, "8. A withdrawal", "as fast as a contribution")
        _withdraw(console, operator, files)


def _create(console: Console, operator: Client) -> dict[str, HashSet]:
    table = _table("contributor", "kind", "reliability", "hash set", "scheme", "purpose")
    sets = {}
    for who, scheme, purpose in (
        (_HOTLINE, "uk-sentencing", Purpose.CSAM),
        (_CLEARINGHOUSE, "ncmec-industry", Purpose.CSAM),
        (_POLICE, "vic-us", Purpose.CSAM),
        (_LIBRARY, "", Purpose.BENIGN),
    ):
        operator.create_contributor(who)
        made = operator.create_hash_set(HashSet(contributor=who.id, id="known", scheme=scheme, purpose=purpose))
        sets[who.id] = made
        kind = who.kind.lower().replace("_", " ")
        table.add_row(who.display_name, kind, who.reliability, made.name, made.scheme or "-", purpose.lower())
    console.print(table)
    return sets


def _contribute(
    console: Console,
    operator: Client,
    address: str,
    sets: dict[str, HashSet],
    files: dict[int, bytes],
    data: Path,
) -> dict[str, ImportReport]:
    table = _table("list", "format", "items", "accepted", "quarantined", "rejected", "duplicate", "visible after")
    lists = {
        _HOTLINE.id: ("csv", _known(files, _HOTLINE_SAYS, ("MD5", "SHA256", "PDQ")), ("A", "B", "C")),
        _CLEARINGHOUSE.id: (
            "ncmec-xml",
            _known(files, _CLEARINGHOUSE_SAYS, ("MD5", "SHA1", "PDQ")),
            ("A1", "A2", "B1", "B2"),
        ),
        _POLICE.id: ("vics-2.0", _known(files, _POLICE_SAYS, ("MD5", "SHA1", "PDQ")), ("1", "2")),
        _LIBRARY.id: ("sha256sum", _known(files, dict.fromkeys(_LIBRARY_HAS, ""), ("SHA256",)), ("",)),
    }
    reports = {}
    for number, (who, (variant, known, values)) in enumerate(lists.items()):
        algorithms = ("SHA256",) if who == _LIBRARY.id else ("MD5", "SHA1")
        filling = random_items(2_000, seed=number, algorithms=algorithms, values=values)
        dirty = who != _LIBRARY.id
        listed = list_file(variant, soiled(filling, seed=number) + known if dirty else filling + known, dirty=dirty)
        path = data / listed.file_name
        path.write_bytes(listed.data)
        # Each contributor writes with a token of its own, which could not touch another's hash set.
        secret = operator.create_token(Principal(name=who, role=Role.CONTRIBUTOR, contributor=who))
        with Client(address, secret) as contributor:
            began = time.monotonic()
            report = contributor.import_source(
                path, connector=listed.connector, hash_set=sets[who].name, options=listed.options
            )
            elapsed = time.monotonic() - began
        reports[who] = report
        c = report.source.counts
        table.add_row(
            sets[who].name,
            variant,
            *(f"{n:,}" for n in (c.items, c.accepted, c.quarantined, c.rejected, c.duplicate)),
            f"{elapsed:.2f} s",
        )
    console.print(table)
    return reports


def _report(console: Console, report: ImportReport) -> None:
    table = _table("outcome", "reason", "count", "first at", "for example")
    for g in report.groups:
        table.add_row(g.disposition.lower(), g.reason, str(g.count), ", ".join(g.positions), Text(g.detail))
    console.print(table)
    c = report.source.counts
    parts = {
        "accepted": c.accepted,
        "quarantined": c.quarantined,
        "rejected": c.rejected,
        "duplicate": c.duplicate,
        "unchanged": c.unchanged,
        "withdrawn": c.withdrawn,
        "staying withdrawn": c.stays_withdrawn,
    }
    summed = " + ".join(f"{n:,} {name}" for name, n in parts.items())
    console.print(f"Nothing is lost: {summed} = {c.items:,} items.")


def _match(console: Console, platform: Client, pictures: dict[int, Image], files: dict[int, bytes]) -> None:
    queries = []
    for what, number, alteration in _UPLOADS:
        upload = files[number]
        if alteration is not None:
            upload = _jpeg(ALTERATIONS[alteration](pictures[number], Random(number)))
        hashed = hash_media(upload, effort=Effort.STANDARD)
        queries.append(hashed.query(f"picture {number}: {what}"))
    answers = {}
    for policy in ("any", "block"):
        began = time.monotonic()
        answers[policy] = list(platform.match_hashes(queries, MatchOptions(policy=policy)))
        elapsed = (time.monotonic() - began) * 1000
    table = _table("upload", "policy any", "policy block", "known by", "nearest", "why (block)")
    for shown, blocked in zip(answers["any"], answers["block"], strict=True):
        result = blocked.result
        said = {
            e.contributor: f"{e.contributor} {e.classification.value if e.classification else ''}".strip()
            for e in (match.entry for match in reversed(result.matches))
        }
        nearest = how(result.matches[0]) if result.matches else "-"
        table.add_row(
            result.label,
            _verdict(shown.result.verdict),
            _verdict(result.verdict),
            "\n".join(sorted(said.values())) or "-",
            nearest,
            Text(result.reasons[0].text if result.reasons else ""),
        )
    console.print(table)
    console.print(f"{len(queries)} uploads with their variants, rotations and flips: one call, {elapsed:.1f} ms.")


def _videos(console: Console, operator: Client, platform: Client, data: Path) -> None:
    video = clip(7, seconds=12, size=(320, 180))
    listed = data / "clip.txt"
    listed.write_text(vpdq.render(hash_media(encoded(video)).video_frames), "ascii")
    videos = operator.create_hash_set(HashSet(contributor=_HOTLINE.id, id="videos", purpose=Purpose.CSAM))
    operator.import_source(listed, connector="vpdq", hash_set=videos.name)
    table = _table("upload", "policy any", "policy block", "where")
    for name, what in _CLIPS.items():
        query = hash_media(encoded(ALTERED_VIDEOS[name](video))).query(what)
        shown, blocked = (platform.match(query, MatchOptions(policy=p)).result for p in ("any", "block"))
        told = "\n".join(where(shown.matches[0])) if shown.matches else "-"
        table.add_row(what, _verdict(shown.verdict), _verdict(blocked.verdict), told)
    console.print(table)


def _conflict(console: Console, operator: Client, files: dict[int, bytes]) -> None:
    registry = schemes.load()
    for number in (5, 8):
        answer = operator.match(Query(hashes=hash_media(files[number]).hashes), MatchOptions(policy="block"))
        stated: dict[str, Entry] = {m.entry.contributor: m.entry for m in answer.result.matches}
        entries = [e for e in stated.values() if e.classification]
        table = _table(f"picture {number}", *(f"{e.contributor}" for e in entries))
        said = [e.classification for e in entries if e.classification]
        titles = [registry.get(f"{c.scheme}@{c.version}").values[c.value].title for c in said]
        table.add_row("says", *(f"{c.scheme} {c.value}: {t}" for c, t in zip(said, titles, strict=True)))
        for dimension in sorted({d for c in said for d in c.dimensions}):
            table.add_row(dimension, *(words(dimension, c.dimensions.get(dimension, ("unknown",))) for c in said))
        console.print(table)
        for i, a in enumerate(said):
            for b in said[i + 1 :]:
                comparison = compare(a.dimensions, b.dimensions)
                where = f" in {', '.join(comparison.conflicting)}" if comparison.conflicting else ""
                console.print(f"{a.scheme} {a.value} and {b.scheme} {b.value}: {comparison.relation}{where}")
        console.print(
            Text.assemble("Under block: ", _verdict(answer.result.verdict), f". {answer.result.reasons[0].text}\n")
        )


def _withdraw(console: Console, operator: Client, files: dict[int, bytes]) -> None:
    query = Query(hashes=hash_media(files[0]).hashes)
    options = MatchOptions(policy="any")
    before = operator.match(query, options)
    entry = before.result.matches[0].entry
    console.print(Text.assemble(f"{entry.name}: ", _verdict(before.result.verdict), f" at revision {before.revision}"))
    began = time.monotonic()
    withdrawn = operator.withdraw_entry(entry.name, WithdrawalReason.ERROR)
    asked = time.monotonic()
    while True:
        after = operator.match(query, options)
        if all(m.entry.id != entry.id for m in after.result.matches):
            break
    gone = time.monotonic()
    assert withdrawn.state is EntryState.WITHDRAWN
    console.print(
        Text.assemble("after the withdrawal: ", _verdict(after.result.verdict), f" at revision {after.revision}")
    )
    console.print(
        f"Withdrawing took {(asked - began) * 1000:.1f} ms; {(gone - asked) * 1000:.1f} ms later it no longer matched. "
        "Its history stays."
    )


def _known(files: dict[int, bytes], values: dict[int, str], algorithms: Sequence[str]) -> list[ListItem]:
    items = []
    for number, value in values.items():
        media = hash_media(files[number], algorithms=algorithms)
        quality = media.frames[0].quality if media.frames else None
        items.append(item(media.hashes, value, external_id=f"picture-{number}", quality=quality))
    return items


def _jpeg(image: Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def _title(console: Console, title: str, remark: str) -> None:
    console.print(Text.assemble(("\n" + title, "bold"), f"  {remark}"))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _verdict(verdict: Verdict) -> Text:
    return Text(verdict, style=_COLOURS[verdict])


if __name__ == "__main__":
    sys.exit(main())
