"""Files with fields that nobody has thought of, through a hub: nothing of their values is kept anywhere, and what is
left out is told by name and number, also beforehand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from hashhub.connector import discover, writers
from hashhub.testing.hub_process import RunningHub
from tests.connectors.test_forensic import encase
from tests.connectors.test_invented_fields import BINARY, CASES, FIELD, MD5, PDQ, SECRET

Run = Callable[..., Result]
MARK = "ada-4711"
PERSON = f"Ada {MARK} {MARK}@example.invalid /home/{MARK}/case"
KEPT = "series-0815"  # of a field that is kept: where a value that is kept would be found
# What stands beside items, and in no field.
BESIDE: list[tuple[str, bytes, dict[str, str], str]] = [
    ("hash-lines", f"# by {PERSON}\n{MD5}  {PERSON}\n".encode(), {}, "comment line"),
    ("hash-lines", f"%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n## Invoked from: {PERSON}\n7,{MD5},{PERSON}\n".encode(),
     {}, "comment line"),
    ("hash-lines", f"{'0' * 41}|md5sum\n{'0' * 40}1|{PERSON}\n{MD5.upper()}|0000000000000000\n".encode(), {},
     "name of the index"),
    ("csv", f"{PERSON}\nmd5\n{MD5}\n".encode(), {"mapping": 'skip = 1\n[columns]\nmd5 = "md5"\n'},
     "line before the table"),
    ("encase", encase(bytes.fromhex(MD5)).replace("synthetic".encode("utf-16-le"), f" {MARK}".encode("utf-16-le")),
     {}, "name and category in the header"),
    ("stix", json.dumps({"type": "bundle", "objects": [{"type": "observed-data", "objects": {
        "0": {"type": "file", "hashes": {"MD5": MD5}}, "1": {"type": "user-account", "display_name": PERSON}}}]}
     ).encode(), {}, "object of the type user-account"),
    ("misp", json.dumps({"Event": {"Orgc": {"name": "o", "contacts": PERSON}, "Attribute": [
        {"type": "filename|md5", "value": f"{PERSON}|{MD5}", "comment": PERSON}]}}).encode(), {}, "Orgc.contacts"),
    ("ncmec-xml", next(d for n, d, _ in CASES if n == "ncmec-xml").replace(b"</images>", f"<!-- {PERSON} --></images>"
     .encode()).replace(SECRET.encode(), b"x"), {}, "comment"),
    ("hashhub-jsonl", next(d for n, d, _ in CASES if n == "hashhub-jsonl").replace(
        f'"{FIELD}": "{SECRET}"'.encode(),
        f'"state": "WITHDRAWN", "withdrawal": {{"reason": "ERROR", "comment": "{PERSON}"}}'.encode()),
     {}, "withdrawal.comment"),
]  # fmt: skip


def kdb(tmp_path: Path) -> bytes:
    with sqlite3.connect(tmp_path / "x.kdb") as database:
        database.executescript(
            "CREATE TABLE db_properties (name TEXT, value TEXT);"  # noqa: S608 - our own
            f"INSERT INTO db_properties VALUES ('schema version','1'), ('{FIELD}', '{PERSON}');"
            f"CREATE TABLE hashes (id INTEGER, md5 BLOB, sha2_256 BLOB, {FIELD} TEXT);"
            "CREATE TABLE comments (comment TEXT);"
            f"INSERT INTO hashes VALUES (1, x'{MD5}', NULL, '{PERSON}');INSERT INTO comments VALUES ('{PERSON}');"
        )
    database.close()
    return (tmp_path / "x.kdb").read_bytes()


def left_out(run: Run, *arguments: str) -> dict[str, int]:
    """Return what an import or its preview tells of fields: how often each was left out."""
    done = run("import", *arguments, "--json")
    # Answers of Shield are reviews of entries, of which there are none here.
    assert done.exit_code == (1 if "arachnid" in arguments else 0), (arguments, done.output)
    assert MARK not in done.output
    report = json.loads(done.stdout)
    assert report["counts"]["items"]
    assert report["findings_complete"]
    groups = [g for g in report["findings"] if g["reason"] == "FIELD_LEFT_OUT"]
    return {g["positions"][0].removeprefix("field "): g["count"] for g in groups}


def test_no_value_of_an_invented_field_is_kept_anywhere(hub: RunningHub, run: Run, police: str, tmp_path: Path) -> None:
    cases: list[tuple[str, bytes, dict[str, str], str]] = [
        (name, data.replace(SECRET.encode(), PERSON.encode()), options, FIELD) for name, data, options in CASES
    ]
    database = kdb(tmp_path)
    cases += [*BESIDE, ("kdb", database, {}, "table comments"), ("kdb", database, {}, f"db_properties {FIELD}")]
    assert {name for name, *_ in cases} == discover().keys()
    assert discover().keys() >= BINARY
    sets: list[str] = []
    for number, (name, data, options, field) in enumerate(cases):
        assert MARK.encode() in data or MARK.encode("utf-16-le") in data
        file = tmp_path / f"{number}.bin"
        file.write_bytes(data)
        sets.append(f"{police}/left-out-{number}")
        made = run("hash-set", "create", sets[-1], "--purpose", "benign" if name == "nsrl" else "csam", "--bulk")
        assert made.exit_code == 0, made.stderr
        arguments = [str(file), "--format", name, "--hash-set", sets[-1]]
        for option, value in options.items():
            (tmp_path / "m.toml").write_text(value)
            arguments += ["--mapping", str(tmp_path / "m.toml")] if option == "mapping" else []
        before = left_out(run, *arguments, "--dry-run")
        after = left_out(run, *arguments)
        assert before == after
        assert all(after.values())
        assert any(field in told for told in after) or "MediaFiles" in after, (name, after)
    kept = tmp_path / "kept.csv"
    kept.write_text(f"md5,series\n{MD5},{KEPT}\n")
    (tmp_path / "m.toml").write_text('[columns]\nmd5 = "md5"\nseries = "series"\n')
    left_out(run, str(kept), "--mapping", str(tmp_path / "m.toml"), "--hash-set", sets[0])

    answers: list[Any] = [run("match", "--hash", f"MD5:{MD5}", "--hash", f"PDQ:{PDQ}", "--json")]
    answers += [run("history", "list", "--json"), run("findings", sets[0])]
    for name in sets:
        answers += [run("entry", "list", name, "--json"), run("findings", f"{name}/latest", "--json")]
    assert not [answer.stderr for answer in answers if answer.exit_code]
    own, out = str(tmp_path / "own.token"), tmp_path
    run("token", "create", "police-own", "--contributor", police, "--role", "contributor", "--out", own)
    answers += [
        run("export", "--format", form, "--hash-set", sets[n], "--out", f"{out}/{n}.{form}.out", "--token-file", own)
        for form in writers()
        for n in range(0, len(sets), 5)
    ]
    assert any(KEPT in answer.output for answer in answers)
    assert not [answer.output for answer in answers if MARK in answer.output]
    written = {f: f.read_bytes() for f in tmp_path.glob("*.out")}
    assert {f.suffixes[0][1:] for f, content in written.items() if content} >= {"hashhub-jsonl", "vics", "csv"}
    stored = {f: f.read_bytes() for f in hub.data.rglob("*") if f.is_file()}
    assert any(KEPT.encode() in content for content in stored.values())
    assert any(KEPT.encode() in content for content in written.values())
    for where, content in (stored | written).items():
        assert MARK.encode() not in content, where
        assert MARK.encode("utf-16-le") not in content, where
