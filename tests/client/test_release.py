"""Releases of several parts: one import, visible as a whole or not at all."""

from __future__ import annotations

import hashlib
import io
import subprocess
from pathlib import Path

import pytest

from hashhub.client import Client, ImportPhase, ImportProgress
from hashhub.client.sources import Release
from hashhub.errors import InvalidArgument, MalformedSource, NotFound
from hashhub.hashes import parse_pair
from hashhub.model import Disposition, ImportState, MatchOptions, Query, Record, Reject, Verdict
from hashhub.testing.lists import ListItem, list_file, random_items
from hashhub_connectors.hash_lines import HashLines

POLICY = MatchOptions(policy="any")
LIST = "hash-lines"


def parts(directory: Path, *lists: list[ListItem], variant: str = "md5sum") -> list[Path]:
    paths = [directory / f"part{n}.txt" for n in range(1, len(lists) + 1)]
    for path, items in zip(paths, lists, strict=True):
        path.write_bytes(list_file(variant, items).data)
    return paths


def verdict(operator: Client, item: ListItem) -> Verdict:
    return operator.match(Query(hashes=(parse_pair(f"MD5:{item.digest('MD5')}"),)), POLICY).result.verdict


def digest(*sources: io.BytesIO) -> str:
    return Release(sources).digest(lambda _: None)


def test_all_parts_are_one_import(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(30, seed=201)
    items[25:] = items[:5]  # the third part repeats some of the first
    seen: list[ImportProgress] = []
    paths = parts(tmp_path, items[:10], items[10:20], items[20:])
    report = operator.import_source(paths, connector=LIST, hash_set=hash_set, progress=seen.append)
    counts = report.source.counts
    assert (counts.items, counts.accepted, counts.duplicate) == (30, 25, 5)
    assert len(list(operator.list_imports(hash_set))) == 1
    assert {verdict(operator, items[i]) for i in (0, 15, 22)} == {Verdict.MATCH}
    duplicates = list(operator.list_findings(f"{hash_set}/{report.source.id}", [Disposition.DUPLICATE]))
    assert [f.position for f in duplicates] == [f"part3.txt: line {n}" for n in range(6, 11)]
    assert "part1.txt: line 1" in duplicates[0].detail
    total = sum(p.stat().st_size for p in paths)
    done = [p.done for p in seen if p.phase is ImportPhase.SENDING]
    assert done == sorted(done)
    assert done[-1] == total == seen[-1].total
    assert operator.import_source(paths, connector=LIST, hash_set=hash_set).repeated


def test_a_replacing_release_replaces_by_the_union(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(30, seed=202)
    operator.import_source(parts(tmp_path, items[:20]), connector=LIST, hash_set=hash_set)
    report = operator.import_source(
        parts(tmp_path, items[:10], items[15:]), connector=LIST, hash_set=hash_set, replace=True
    )
    counts = report.source.counts
    assert (counts.unchanged, counts.accepted, counts.absent) == (15, 10, 5)
    assert verdict(operator, items[12]) is Verdict.NO_MATCH
    assert {verdict(operator, items[i]) for i in (0, 17, 29)} == {Verdict.MATCH}


def test_a_damaged_part_leaves_nothing_visible_and_is_named(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(20, seed=203)
    paths = parts(tmp_path, items[:10], items[10:], variant="vics-2.0")
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with pytest.raises(MalformedSource) as caught:
        operator.import_source(paths, connector="vics", hash_set=hash_set)
    assert caught.value.position.startswith("part2.txt: value[")
    assert caught.value.message.count("part2.txt") == 1
    (left,) = operator.list_imports(hash_set)
    assert left.state is ImportState.CANCELLED
    assert verdict(operator, items[0]) is Verdict.NO_MATCH


def test_a_missing_part_is_told_before_anything_is_sent(operator: Client, hash_set: str, tmp_path: Path) -> None:
    paths = parts(tmp_path, random_items(3, seed=204))
    with pytest.raises(NotFound, match="part2"):
        operator.import_source([*paths, tmp_path / "part2.txt"], connector=LIST, hash_set=hash_set)
    with pytest.raises(InvalidArgument, match="got none"):
        operator.import_source([], connector=LIST, hash_set=hash_set)
    assert list(operator.list_imports(hash_set)) == []


def test_a_part_given_twice_stands_for_one_forgotten(operator: Client, hash_set: str, tmp_path: Path) -> None:
    (one,) = parts(tmp_path, random_items(3, seed=205))
    with pytest.raises(InvalidArgument, match="same content as part 1"):
        operator.import_source([one, one], connector=LIST, hash_set=hash_set)
    assert list(operator.list_imports(hash_set)) == []


def test_a_release_that_was_cut_off_is_resumed(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(12_000, seed=206)
    paths = parts(tmp_path, items[:6_000], items[6_000:])

    class Lost(Exception):
        """Stands for whatever ends a run."""

    def stop(progress: ImportProgress) -> None:
        if progress.phase is ImportPhase.SENDING and progress.items >= 9_000:
            raise Lost

    with pytest.raises(Lost):
        operator.import_source(paths, connector=LIST, hash_set=hash_set, progress=stop)
    (left,) = operator.list_imports(hash_set)
    assert (left.state, left.counts.accepted) == (ImportState.OPEN, 0)
    assert verdict(operator, items[0]) is Verdict.NO_MATCH
    report = operator.import_source(paths, connector=LIST, hash_set=hash_set)
    assert report.source.id == left.id
    assert report.resumed_batches == left.batch_count
    assert report.source.counts.accepted == 12_000


def test_the_digest_is_what_sha256sum_gives(tmp_path: Path) -> None:
    paths = parts(tmp_path, *(random_items(3, seed=s) for s in (1, 2, 3)))
    lines = subprocess.run(
        ["sha256sum", *(p.name for p in paths)], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    opened = [path.open("rb") for path in paths]
    assert Release(opened).digest(lambda _: None) == hashlib.sha256(lines).hexdigest()
    assert Release(opened[:1]).digest(lambda _: None) == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    for source in opened:
        source.close()


def test_other_parts_or_another_order_are_another_release() -> None:
    a, b, ab = (io.BytesIO(x) for x in (b"a", b"b", b"ab"))
    assert len({digest(a, b), digest(b, a), digest(ab), digest(a), digest(ab, a)}) == 5


def test_parts_have_names_of_their_own(tmp_path: Path) -> None:
    sources = []
    for directory in ("x", "y"):
        (tmp_path / directory).mkdir()
        path = tmp_path / directory / "same\n.txt"
        path.write_bytes(f"{ord(directory):032x}  a\nnonsense\n".encode())
        sources.append(path.open("rb"))
    memory = io.BytesIO(b"%032x  a\n" % 7)
    release = Release([*sources, memory])
    release.recognise(HashLines(), {})
    items = [i for i in release.read() if "field" not in i.position]
    assert [i.position for i in items] == [
        "same.txt: line 1",
        "same.txt: line 2",
        "same.txt (2): line 1",
        "same.txt (2): line 2",
        "part 3: line 1",
    ]
    assert [type(i) for i in items] == [Record, Reject, Record, Reject, Record]
    for source in sources:
        source.close()
