"""`hashhub formats`, and lists that say themselves what they are, in a container or not."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.testing.lists import list_file, random_items

Run = Callable[..., Result]
DONE, REFUSED = 0, 1
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def data(variant: str = "vics-2.0", *, seed: int = 1) -> bytes:
    items = random_items(
        20, seed=seed, algorithms=("MD5", "SHA1", "SHA256"), values=("1",) if "vics" in variant else ("",)
    )
    return list_file(variant, items).data


def zipped(path: Path, **files: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.txt", content)
    return str(path)


def local(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["formats", *arguments], catch_exceptions=False)


def detected(path: Path) -> dict[str, Any]:
    done = local("detect", str(path), "--json")
    assert done.exit_code == DONE, done.stderr
    return objects(done.stdout)[0]


def test_the_formats_are_listed_with_what_can_be_done_with_them() -> None:
    listed = {f["name"]: f for f in objects(local("list", "--json").stdout)}
    assert {"vics", "ncmec-xml", "icse-csv", "csv", "hash-lines"} <= set(listed)
    assert all(set(f) == {"name", "reads", "writes", "summary"} for f in listed.values())
    assert listed["vics"]["reads"] is True
    assert re.search(r"^hash-lines +yes +yes ", local("list").stdout, re.MULTILINE)


def test_a_file_is_recognised_with_the_reason_and_the_command(run: Run, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "a list.json.gz"
    path.write_bytes(gzip.compress(data()))
    answer = detected(path)
    assert (answer["format"], answer["container"]) == ("vics", "a gzip file")
    candidate = answer["candidates"][0]
    assert (candidate["name"], candidate["certainty"], candidate["options"]) == ("vics", "CERTAIN", {})
    assert "2.0.xml/US" in candidate["why"]
    text = local("detect", str(path)).stdout
    assert "a list in a gzip file" in text
    assert candidate["command"] in text
    command = candidate["command"].replace("CONTRIBUTOR/SET", hash_set)
    assert run(*shlex.split(command)[1:]).exit_code == DONE


def test_a_table_is_told_to_need_a_mapping(tmp_path: Path) -> None:
    """Without one the command would be refused."""
    path = tmp_path / "my list.csv"
    path.write_text(f"sha256;category\n{SHA256};1\n")
    answer = detected(path)
    assert answer["format"] == "csv"
    assert answer["candidates"][0]["command"].endswith("--mapping FILE.toml --hash-set CONTRIBUTOR/SET")
    text = local("detect", str(path)).stdout
    assert f"hashhub import '{path}' --propose-mapping" in text


def test_no_mapping_is_proposed_for_what_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(list_file("vics-2.0", random_items(3, seed=5, values=("1",))).data)
    done = CliRunner().invoke(main, ["import", str(path), "--format", "csv", "--hash-set", "a/b"])
    assert done.exit_code == REFUSED
    assert "looks like vics" in done.stderr
    assert "leave --format out" in done.stderr
    assert "[columns]" not in done.stderr


def test_what_may_be_several_things_is_told_and_not_imported(run: Run, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{SHA256}\n")
    assert detected(path)["format"] == ""
    text = local("detect", str(path)).stdout
    assert "possible" in text
    assert "--option algorithm=SHA256" in text
    assert "--format hash-lines" in text
    done = run("import", str(path), "--hash-set", hash_set)
    assert done.exit_code == REFUSED
    assert "cannot tell for sure what this file is: hash-lines (possible: its digests have 64 digits" in done.stderr
    assert "give --format hash-lines with --option algorithm=SHA256 or --option algorithm=PDQ" in done.stderr
    told = run("import", str(path), "--format", "hash-lines", "--option", "algorithm=PDQ", "--hash-set", hash_set)
    assert told.exit_code == DONE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"some words\n", "no format fits this file; formats are arachnid, csv"),
        (b"\xff\xd8\xff\xe0", "this is a picture (JPEG), which no installed connector reads"),
        (b"SQLite format 3\0", "this is a SQLite database, which no installed connector reads"),
        (
            b"",
            "this is an empty file, which no installed connector reads; give a list in one of these formats: arachnid",
        ),
    ],
)
def test_what_is_no_list_is_named(run: Run, hash_set: str, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    for done in (local("detect", str(path)), run("import", str(path), "--hash-set", hash_set)):
        assert done.exit_code == REFUSED
        assert message in done.stderr
        assert done.stdout == ""
    if content:
        done = run("import", str(path), "--format", "vics", "--hash-set", hash_set)
        assert done.exit_code == REFUSED


@pytest.mark.parametrize(
    ("told", "content"),
    [
        (
            "hash-lines",
            b'{"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"}\n',
        ),
        ("vics", b"5eb63bbbe01eeed093cb22bb8f5acdc3  a.jpg\n"),
    ],
)
def test_a_format_that_was_told_wrong_is_said(
    run: Run, hash_set: str, tmp_path: Path, told: str, content: bytes
) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    done = run("import", str(path), "--format", told, "--hash-set", hash_set)
    assert done.exit_code == REFUSED
    assert f"note: it was read as {told}, and looks like " in done.stderr
    assert "leave --format out" in done.stderr


def test_an_unknown_format_lists_the_formats(run: Run, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data())
    done = run("import", str(path), "--format", "nothing", "--hash-set", hash_set)
    assert done.exit_code == REFUSED
    assert "unknown format 'nothing'; installed connectors are arachnid, csv" in done.stderr
    assert "hashhub formats list" in done.stderr


@pytest.mark.parametrize("variant", ["vics-2.0", "vics-1.3-case", "ncmec-xml", "icse-csv", "hashdeep", "md5sum"])
def test_a_list_needs_no_format(run: Run, hash_set: str, tmp_path: Path, variant: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(data(variant))
    done = run("import", str(path), "--hash-set", hash_set, "--json")
    assert done.exit_code == DONE, done.stderr
    assert done.stderr.startswith(f"format: {list_file(variant, []).connector} (")
    assert objects(done.stdout)[0]["counts"]["items"] > 0


def test_what_a_file_says_of_itself_is_used_unless_told_otherwise(run: Run, police: str, tmp_path: Path) -> None:
    hash_set = f"{police}/told-by-its-name"
    assert run("hash-set", "create", hash_set, "--purpose", "csam").exit_code == DONE
    path = tmp_path / "SHA256SUMS"
    path.write_bytes(data("sha256sum"))
    checked = run("import", str(path), "--hash-set", hash_set, "--option", "algorithm=PDQ", "--validate-only", "--json")
    assert checked.exit_code == DONE, checked.stderr
    assert run("import", str(path), "--hash-set", hash_set).exit_code == DONE
    assert run("match", "--hash", "SHA256:" + path.read_text()[:64], "--policy", "any").stdout.startswith("MATCH ")


def test_a_list_in_an_archive_is_the_same_list(run: Run, hash_set: str, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "list.zip", inside=data())
    first = run("import", archive, "--hash-set", hash_set, "--json")
    assert first.exit_code == DONE, first.stderr
    assert "format: vics (in a ZIP archive: " in first.stderr
    assert objects(first.stdout)[0]["counts"]["items"] == 20
    (tmp_path / "list.gz").write_bytes(gzip.compress(data()))
    again = run("import", str(tmp_path / "list.gz"), "--format", "vics", "--hash-set", hash_set, "--json")
    assert objects(again.stdout)[0]["counts"]["unchanged"] == 20
    repeated = run("import", archive, "--format", "vics", "--hash-set", hash_set, "--json")
    assert objects(repeated.stdout)[0]["repeated"] is True  # the source is the archive's own bytes


def test_an_archive_of_several_files_is_named(run: Run, hash_set: str, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "list.zip", one=data(), two=data(), three=data())
    for more in ([], ["--format", "vics"]):
        done = run("import", archive, "--hash-set", hash_set, *more)
        assert done.exit_code == REFUSED
        assert "a ZIP archive with 3 files: unpack it and import each" in done.stderr


def test_a_cut_archive_leaves_nothing(run: Run, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress(data())[:-400])
    done = run("import", str(path), "--format", "vics", "--hash-set", hash_set)
    assert done.exit_code == REFUSED
    assert "the gzip file is damaged or cut off" in done.stderr
    assert run("entry", "list", hash_set, "--json").stdout == ""


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_says_what_it_is_too(run: Run, hash_set: str, tmp_path: Path, packed: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(data()) if packed else data()
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    done = run("import", str(pipe), "--hash-set", hash_set, "--json")
    writer.join()
    assert done.exit_code == DONE, done.stderr
    assert objects(done.stdout)[0]["counts"]["items"] == 20


def test_a_late_context_is_found_in_a_file_and_in_an_archive(run: Run, hash_set: str, tmp_path: Path) -> None:
    document = json.loads(data())
    late = json.dumps({"value": document["value"], **document}).encode()
    assert late.index(b'"value"') < late.index(b"@odata.context")
    (tmp_path / "list.gz").write_bytes(gzip.compress(late))
    done = run("import", str(tmp_path / "list.gz"), "--hash-set", hash_set, "--json")
    assert done.exit_code == DONE, done.stderr
    assert objects(done.stdout)[0]["counts"]["accepted"] == 20
