"""Every command against a real hub: what it prints, what it changes, and how it ends."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import Result

from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import ListItem, list_file, random_items, soiled
from hashhub.testing.pictures import ALTERATIONS, picture
from tests.e2e.conftest import stop_when

Run = Callable[..., Result]
Start = Callable[..., Any]

DONE, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3
MATCH_KEYS = ["query", "verdict", "reasons", "policy", "matches", "revision"]
ENTRY_KEYS = ["entry", "contributor", "hash_set", "algorithm", "distance", "variant", "classification", "video"]


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write(path: Path, variant: str, items: list[ListItem]) -> str:
    path.write_bytes(list_file(variant, items).data)
    return str(path)


def contribute(run: Run, hash_set: str, source: str, *more: str, format_: str = "vics") -> dict[str, Any]:
    done = run("import", source, "--format", format_, "--hash-set", hash_set, "--json", *more)
    assert done.exit_code == DONE, done.stderr
    return objects(done.stdout)[0]


class TestImport:
    def test_reports_every_item(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        dirty = soiled(random_items(200, seed=1, values=("1", "2")), seed=1)
        report = contribute(run, hash_set, write(tmp_path / "list.json", "vics-2.0", dirty))
        counts = report["counts"]
        assert report["state"] == "COMMITTED"
        assert counts["items"] == len(dirty)
        listed = {
            disposition: sum(g["count"] for g in report["findings"] if g["disposition"] == disposition)
            for disposition in ("REJECTED", "QUARANTINED", "DUPLICATE")
        }
        assert listed == {d: counts[d.lower()] for d in listed}
        assert all(listed.values())

        single = objects(run("findings", report["import"], "--disposition", "rejected", "--json").stdout)
        assert len(single) == counts["rejected"]
        text = run("findings", report["import"]).stdout
        assert "NO_HASH" in text
        assert report["import"] in run("findings", hash_set).stdout
        assert "NO_HASH" in run("findings", report["import"], "--summary").stdout

    def test_prints_a_table_of_outcomes_and_reasons(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        dirty = soiled(random_items(100, seed=2, values=("1",)), seed=2)
        source = write(tmp_path / "list.json", "vics-2.0", dirty)
        done = run("import", source, "--format", "vics", "--hash-set", hash_set)
        assert done.exit_code == DONE
        lines = [line.split() for line in done.stdout.splitlines()]
        assert ["items", str(len(dirty))] in [line[:2] for line in lines]
        assert any(line[:2] == ["rejected", "NO_HASH"] and line[3].startswith("value[") for line in lines)

    def test_a_damaged_list_is_refused_with_its_position(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "list.json"
        source.write_bytes(list_file("vics-2.0", random_items(50, seed=3, values=("1",))).data[:-30])
        done = run("import", str(source), "--format", "vics", "--hash-set", hash_set)
        assert done.exit_code == REFUSED
        assert done.stdout == ""
        first, *more = done.stderr.splitlines()
        assert first.startswith("error: value[49]")
        assert any("nothing of list.json is visible" in line for line in more)
        assert run("entry", "list", hash_set, "--json").stdout == ""

    def test_a_list_of_which_nothing_was_taken_is_refused(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "list.txt"
        source.write_text("d41d8cd98f00b204e9800998ecf8427e  empty\n", "ascii")
        done = run("import", str(source), "--format", "hash-lines", "--hash-set", hash_set)
        assert done.exit_code == REFUSED
        assert "EMPTY_FILE" in done.stdout

    def test_says_what_to_do_about_unclassified_items(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        items = [*random_items(2, seed=31, values=("1",)), *random_items(3, seed=32)]
        report = contribute(run, hash_set, write(tmp_path / "list.json", "vics-2.0", items))
        assert (report["counts"]["accepted"], report["counts"]["quarantined"], report["unclassified"]) == (2, 3, 3)
        done = run("import", write(tmp_path / "again.json", "vics-2.0", [*items, *random_items(1, seed=33)]),
                   "--format", "vics", "--hash-set", hash_set)  # fmt: skip
        assert "Unclassified: 4." in done.stdout  # three of them wait still
        assert "--unclassified listed" in done.stdout

    def test_the_same_list_again_does_nothing(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = write(tmp_path / "list.json", "vics-2.0", random_items(5, seed=4, values=("1",)))
        first = contribute(run, hash_set, source)
        second = contribute(run, hash_set, source)
        assert (first["repeated"], second["repeated"]) == (False, True)
        assert first["import"] == second["import"]
        assert "imported before" in run("import", source, "--format", "vics", "--hash-set", hash_set).stdout

    def test_a_dry_run_keeps_nothing(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = write(tmp_path / "list.json", "vics-2.0", random_items(5, seed=5, values=("1",)))
        assert contribute(run, hash_set, source, "--validate-only")["counts"]["accepted"] == 5
        assert run("entry", "list", hash_set, "--json").stdout == ""

    def test_what_was_only_checked_is_told_as_such_later(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = write(
            tmp_path / "list.json", "vics-2.0", [*random_items(4, seed=21, values=("1",)), ListItem(digests=())]
        )
        checked = run("import", source, "--hash-set", hash_set, "--validate-only")
        assert re.search(r"^accepted +4 +would match$", checked.stdout, re.MULTILINE), checked.stdout
        summary = run("findings", f"{hash_set}/latest", "--summary")
        assert "checked only, nothing was kept" in summary.stdout
        assert "match from now on" not in summary.stdout
        assert objects(run("findings", f"{hash_set}/latest", "--summary", "--json").stdout)[0]["validate_only"] is True
        for options in ((), ("--json",), ("--csv",)):
            single = run("findings", f"{hash_set}/latest", *options)
            assert single.exit_code == DONE
            assert "was checked only: nothing of it was kept" in single.stderr, options
            assert single.stdout

        done = run("import", source, "--hash-set", hash_set)
        assert re.search(r"^accepted +4 +match from now on$", done.stdout, re.MULTILINE), done.stdout
        summary = run("findings", f"{hash_set}/latest", "--summary", "--json")
        assert objects(summary.stdout)[0]["validate_only"] is False
        assert "checked only" not in run("findings", f"{hash_set}/latest").stderr

    def test_a_full_list_withdraws_what_it_lacks(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        items = random_items(10, seed=6, values=("1",))
        contribute(run, hash_set, write(tmp_path / "all.json", "vics-2.0", items))
        few = write(tmp_path / "few.json", "vics-2.0", items[:2])
        refused = run("import", few, "--format", "vics", "--hash-set", hash_set, "--replace")
        assert refused.exit_code == REFUSED
        assert "--allow-shrinking" in refused.stderr
        assert "the same command" not in refused.stderr, "it would be refused again"
        counts = contribute(run, hash_set, few, "--replace", "--allow-shrinking")["counts"]
        assert (counts["unchanged"], counts["absent"]) == (2, 8)

    def test_reads_standard_input(self, run: Run, start: Start, hash_set: str) -> None:
        data = list_file("md5sum", random_items(3, seed=7)).data.decode()
        process = start("import", "-", "--format", "hash-lines", "--hash-set", hash_set, "--json")
        out, err = process.communicate(data, timeout=300)
        assert process.returncode == DONE, err
        assert objects(out)[0]["counts"]["items"] == 3

    def test_takes_the_parts_of_a_release_together(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        items = random_items(6, seed=71)
        parts = [write(tmp_path / f"part{n}.txt", "md5sum", items[3 * n : 3 * n + 3]) for n in (0, 1)]
        arguments = ("--format", "hash-lines", "--hash-set", hash_set)
        refused = run("import", *parts, str(tmp_path / "part2.txt"), *arguments)
        assert refused.exit_code == REFUSED
        assert "part2.txt" in refused.stderr
        assert run("findings", hash_set, "--json").stdout == ""
        done = run("import", *parts, *arguments, "--json")
        assert done.exit_code == DONE, done.stderr
        (report,) = objects(done.stdout)
        assert report["counts"]["items"] == 6
        findings = objects(run("findings", report["import"], "--json").stdout)
        positions = [f["position"] for f in findings if f["reason"] != "FIELD_LEFT_OUT"]
        assert positions == [f"part{n}.txt: line {i}" for n in (0, 1) for i in (1, 2, 3)]
        for wrong in (("-", "-"), ("a", "b", "--propose-mapping")):
            assert run("import", *wrong, "--format", "csv", "--hash-set", hash_set).exit_code == USAGE

    def test_reads_a_pipe_with_a_name(self, start: Start, hash_set: str, tmp_path: Path) -> None:
        """As a shell's `<(gunzip -c list.gz)` gives one: it can be read only once, a source is read twice."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        process = start("import", str(pipe), "--format", "hash-lines", "--hash-set", hash_set, "--json")
        pipe.write_bytes(list_file("md5sum", random_items(3, seed=8)).data)
        out, err = process.communicate(timeout=300)
        assert process.returncode == DONE, err
        assert objects(out)[0]["counts"]["items"] == 3

    def test_a_mapping_that_cannot_be_read_is_named(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        binary = tmp_path / "binary.toml"
        binary.write_bytes(b"\xff\xfe")
        for mapping, cause in ((tmp_path / "none.toml", "No such file or directory"), (binary, "it is not UTF-8 text")):
            done = run("import", "x.csv", "--format", "csv", "--hash-set", hash_set, "--mapping", str(mapping))
            assert done.exit_code == REFUSED
            assert done.stderr == f"error: mapping: cannot read {str(mapping)!r}: {cause}\n"

    def test_a_mapping_is_proposed_and_then_used(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "list.csv"
        source.write_text("md5;remarks\n" + "ab" * 16 + ";synthetic\n", "ascii")
        proposed = run("import", str(source), "--format", "csv", "--propose-mapping")
        assert proposed.exit_code == DONE, proposed.stderr
        mapping = tmp_path / "mapping.toml"
        mapping.write_text(proposed.stdout, "utf-8")
        report = contribute(run, hash_set, str(source), "--mapping", str(mapping), format_="csv")
        assert report["counts"]["items"] == 1
        assert report["counts"]["rejected"] == 0

    def test_a_run_that_was_killed_is_resumed(self, run: Run, start: Start, hash_set: str, tmp_path: Path) -> None:
        source = write(tmp_path / "list.json", "vics-2.0", random_items(60_000, seed=8, values=("1",)))
        arguments = ("import", source, "--format", "vics", "--hash-set", hash_set, "--json")
        process = start(*arguments)

        def is_begun() -> bool:
            imports = objects(run("findings", hash_set, "--json").stdout)
            return bool(imports) and imports[0]["batch_count"] >= 2

        stop_when(process, is_begun)
        process.kill()
        process.wait()
        (left,) = objects(run("findings", hash_set, "--json").stdout)
        assert left["state"] == "OPEN", "the import was over before it could be killed"
        assert left["batch_count"] < 30

        process = start(*arguments)
        out, err = process.communicate(timeout=100)
        assert process.returncode == DONE, err
        (report,) = objects(out)
        assert report["import"].endswith(left["id"])
        assert report["resumed_batches"] >= left["batch_count"]
        assert report["counts"]["accepted"] == report["counts"]["items"] == 60_000


class TestMatching:
    @pytest.fixture
    def items(self, run: Run, hash_set: str, tmp_path: Path) -> list[ListItem]:
        items = random_items(20, seed=abs(hash(hash_set)), values=("1",))
        contribute(run, hash_set, write(tmp_path / "known.json", "vics-2.0", items))
        return items

    def test_answers_in_the_documented_shape(self, run: Run, hash_set: str, items: list[ListItem]) -> None:
        known, unknown = f"MD5:{items[0].digest('MD5')}", "MD5:" + "0a" * 16
        done = run("match", "--hash", known, "--hash", unknown, "--policy", "block", "--json")
        assert done.exit_code == DONE
        hit, missed = objects(done.stdout)
        assert list(hit) == list(missed) == MATCH_KEYS
        assert (hit["query"], hit["verdict"], hit["policy"]) == (known, "MATCH", "block@1")
        (one,) = hit["matches"]
        assert list(one) == ENTRY_KEYS
        assert (one["contributor"], one["hash_set"]) == ("police-us", hash_set)
        assert one["entry"].startswith(f"{hash_set}/")
        assert (one["algorithm"], one["distance"]) == ("MD5", 0)
        assert one["classification"]["value"] == "1"
        assert hit["reasons"][0]["entries"] == [one["entry"]]
        assert (missed["query"], missed["verdict"], missed["matches"]) == (unknown, "NO_MATCH", [])
        assert hit["revision"] == missed["revision"] > 0

    def test_reads_many_hashes_from_a_file(self, run: Run, items: list[ListItem], tmp_path: Path) -> None:
        hashes = tmp_path / "hashes.txt"
        hashes.write_text("# known\n\n" + "".join(f"SHA1:{i.digest('SHA1')}\n" for i in items), "ascii")
        answers = objects(run("match", "--from-file", str(hashes), "--json").stdout)
        assert [a["verdict"] for a in answers] == ["MATCH"] * len(items)
        hashes.write_text("MD5:" + "00" * 16 + "\nMD5:zz\n", "ascii")
        wrong = run("match", "--from-file", str(hashes), "--json")
        assert wrong.exit_code == REFUSED
        assert wrong.stderr.startswith("error: line 2: ")

    @pytest.mark.parametrize(("fail_on", "code"), [(None, DONE), ("match", REFUSED), ("review", REFUSED)])
    def test_fails_where_asked(self, run: Run, items: list[ListItem], fail_on: str | None, code: int) -> None:
        more = ("--fail-on", fail_on) if fail_on else ()
        assert run("match", "--hash", f"MD5:{items[0].digest('MD5')}", *more).exit_code == code
        assert run("match", "--hash", "MD5:" + "0b" * 16, *more).exit_code == DONE

    def test_says_which_policy_was_assumed(self, run: Run, items: list[ListItem]) -> None:
        assumed = run("match", "--hash", f"MD5:{items[0].digest('MD5')}").stdout
        assert "Policy any@1 (the default of this command; programs must choose)" in assumed
        for policy in ("block", "any"):
            query = ("match", "--hash", "MD5:" + "0c" * 16)
            assert f"Policy {policy}@1, revision" in run(*query, "--policy", policy).stdout

    def test_a_withdrawal_stops_matching(self, run: Run, items: list[ListItem]) -> None:
        query = ("match", "--hash", f"MD5:{items[0].digest('MD5')}", "--json")
        entry = objects(run(*query).stdout)[0]["matches"][0]["entry"]
        why = ("--reason", "error")
        assert objects(run("entry", "withdraw", entry, *why, "--validate-only", "--json").stdout)[0]["name"] == entry
        assert objects(run(*query).stdout)[0]["verdict"] == "MATCH"
        assert objects(run("entry", "withdraw", entry, *why, "--json").stdout)[0]["state"] == "WITHDRAWN"
        assert run("entry", "withdraw", entry, *why).exit_code == DONE
        assert objects(run(*query).stdout)[0]["verdict"] == "NO_MATCH"

    def test_scans_trees_and_does_not_call_the_unreadable_clean(self, run: Run, police: str, tmp_path: Path) -> None:
        hash_set = f"{police}/scanned"
        assert run("hash-set", "create", hash_set, "--purpose", "csam").exit_code == DONE
        tree = tmp_path / "tree"
        (tree / "deeper").mkdir(parents=True)
        known = picture(1, (512, 384))
        known.save(tree / "known.png")
        ALTERATIONS["resize-half"](known, Random(1)).save(tree / "deeper" / "smaller.jpg")
        picture(2, (512, 384)).save(tree / "unknown.png")
        (tree / "text.txt").write_text("synthetic", "ascii")
        (tree / "cut.png").write_bytes((tree / "known.png").read_bytes()[:2_000])
        (tree / "gone.jpg").symlink_to("nowhere")
        os.mkfifo(tree / "pipe")
        first, *others = (picture(n, (128, 96)) for n in range(10, 50))
        first.save(tree / "many.gif", save_all=True, append_images=others)
        hashed = objects(run("hash", str(tree / "known.png"), "--algorithm", "PDQ", "--json").stdout)
        line = hashed[0]["hashes"][0].removeprefix("PDQ:")
        (tmp_path / "list.txt").write_text(line + "\n", "ascii")
        contribute(run, hash_set, str(tmp_path / "list.txt"), "--option", "algorithm=PDQ", format_="hash-lines")
        done = run("scan", str(tree), "--json")
        assert done.exit_code == UNAVAILABLE
        answers = {Path(a["query"]).relative_to(tree).as_posix(): a for a in objects(done.stdout)}
        assert all(list(a)[: len(MATCH_KEYS)] == MATCH_KEYS for a in answers.values())
        unavailable = {"cut.png", "gone.jpg", "pipe"}
        assert {n for n, a in answers.items() if a["verdict"] == "UNAVAILABLE"} == unavailable
        assert all(answers[n]["reasons"][0]["text"] for n in unavailable)
        assert {n for n, a in answers.items() if a["verdict"] == "NO_MATCH"} == {"unknown.png", "text.txt", "many.gif"}
        for name in ("known.png", "deeper/smaller.jpg"):
            assert [m["hash_set"] for m in answers[name]["matches"]] == [hash_set], name
            assert answers[name]["matches"][0]["algorithm"] == "PDQ"
        assert answers["known.png"]["matches"][0]["distance"] == 0
        assert "8 files" in done.stderr

        # The most hashes that a file can have are one query's.
        turned = run("scan", str(tree / "many.gif"), "--effort", "thorough", "--json")
        assert objects(turned.stdout)[0]["verdict"] == "NO_MATCH"

        text = run("scan", str(tree / "unknown.png")).stdout
        assert text.startswith("NO_MATCH ")
        for path in (str(tmp_path / "no-such-path"), "x" * 5_000):
            missing = run("scan", path, "--json")
            assert missing.exit_code == UNAVAILABLE
            assert objects(missing.stdout)[0]["verdict"] == "UNAVAILABLE"

    def test_what_may_never_end_is_not_read(self, run: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (str(tmp_path / "pipe"), "/dev/zero"):
            done = run("hash", path)
            assert done.exit_code == REFUSED
            assert "not a regular file" in done.stderr

    def test_nothing_to_look_up_names_no_revision(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert run("scan", str(tmp_path / "empty"), "--policy", "any").stdout.startswith(
            "0 files: nothing. Policy any."
        )
        assert "revision" not in run("scan", str(tmp_path / "empty")).stdout
        assert "\n1 hash: 1 NO_MATCH." in run("match", "--hash", "MD5:" + "0e" * 16).stdout

    def test_input_that_is_not_text_is_refused(self, run: Run) -> None:
        done = run("match", "--from-file", "-", input=b"MD5:\xff\xfe")
        assert done.exit_code == REFUSED
        assert done.stderr == "error: from-file: is not UTF-8 text (byte 4)\n"

    def test_hashes_without_a_hub(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        picture(3, (256, 192)).save(path)
        done = run("hash", str(path), "--server", "127.0.0.1:1")
        assert done.exit_code == DONE
        names = [line.partition(":")[0] for line in done.stdout.splitlines()]
        assert names == ["MD5", "SHA1", "SHA256", "PDQ", "PHASH", "DHASH"]
        assert all(line.endswith(f"  {path}") for line in done.stdout.splitlines())
        both = run("hash", str(path), str(tmp_path / "missing.png"))
        assert both.exit_code == REFUSED
        assert "missing.png" in both.stderr
        assert len(both.stdout.splitlines()) == 6


class TestRecords:
    def test_contributors_and_hash_sets(self, run: Run, police: str) -> None:
        created = run(
            "contributor", "create", "hotline-ca", "--kind", "hotline", "--jurisdiction", "CA",
            "--display-name", "Hotline", "--takes-from", police, "--json",
        )  # fmt: skip
        assert created.exit_code == DONE, created.stderr
        (new,) = objects(created.stdout)
        assert (new["id"], new["kind"], new["reliability"], new["takes_from"]) == (
            "hotline-ca",
            "HOTLINE",
            "F",
            [police],
        )
        (changed,) = objects(
            run("contributor", "update", "hotline-ca", "--reliability", "b", "--takes-from-nobody", "--json").stdout
        )
        assert (changed["reliability"], changed["takes_from"], changed["display_name"]) == ("B", [], "Hotline")
        assert objects(run("contributor", "get", "hotline-ca", "--json").stdout) == [changed]
        assert {c["id"] for c in objects(run("contributor", "list", "--json").stdout)} >= {"hotline-ca", police}
        assert "hotline-ca" in run("contributor", "list").stdout
        assert run("contributor", "update", "hotline-ca").exit_code == REFUSED
        assert (
            run("contributor", "update", "hotline-ca", "--takes-from", police, "--takes-from-nobody").exit_code == USAGE
        )

        name = "hotline-ca/known"
        arguments = (
            "--scheme",
            "vic-us",
            "--tlp",
            "red",
            "--recipient",
            f"contributors/{police}",
            "--review-depth",
            "2",
            "--json",
        )
        (made,) = objects(run("hash-set", "create", name, "--purpose", "csam", *arguments).stdout)
        assert (made["name"], made["scheme"], made["marking"]["tlp"]) == (name, "vic-us@2.0", "RED")
        (changed,) = objects(run("hash-set", "update", name, "--tlp", "amber-strict", "--json").stdout)
        assert changed["marking"] == {**made["marking"], "tlp": "AMBER_STRICT"}
        (same,) = objects(run("hash-set", "update", name, "--tlp", "amber-strict", "--json").stdout)
        assert same["marking"] == changed["marking"]
        assert name in run("hash-set", "list", "hotline-ca").stdout
        assert objects(run("hash-set", "get", name, "--json").stdout)[0]["review_depth"] == 2
        assert run("hash-set", "create", name, "--purpose", "csam").exit_code == REFUSED
        assert run("hash-set", "create", "hotline-ca", "--purpose", "csam").exit_code == REFUSED
        (unsaid,) = objects(run("hash-set", "create", "hotline-ca/unsaid", "--json").stdout)
        assert unsaid["purpose"] == "CSAM"  # what the help says

    def test_entries_and_reviews(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = write(tmp_path / "list.json", "vics-2.0", random_items(3, seed=20, values=("1",)))
        contribute(run, hash_set, source)
        entries = objects(run("entry", "list", hash_set, "--state", "active", "--json").stdout)
        assert [e["state"] for e in entries] == ["ACTIVE"] * 3
        assert len(objects(run("entry", "list", hash_set, "--limit", "2", "--json").stdout)) == 2
        name = entries[0]["name"]
        shown = run("entry", "get", name).stdout
        for fact in (name, "vic-us@2.0 1", "value[0]", entries[0]["hashes"][0]):
            assert fact in shown
        assert objects(run("entry", "quarantine", name, "--json").stdout)[0]["state"] == "QUARANTINED"
        assert name in run("entry", "list", hash_set, "--state", "quarantined").stdout
        assert objects(run("entry", "release", name, "--json").stdout)[0]["state"] == "ACTIVE"

        assert run("review", "list", name).stdout == "no reviews\n"
        added = objects(run("review", "add", name, "--kind", "false-positive", "--comment", "a cat", "--json").stdout)
        assert (added[0]["author"], added[0]["kind"]) == ("operator", "FALSE_POSITIVE")
        assert objects(run("review", "list", name, "--json").stdout) == added
        assert "a cat" in run("review", "list", name).stdout
        checked = run("review", "add", name, "--kind", "confirmed", "--validate-only", "--json")
        assert [r["kind"] for r in objects(checked.stdout)] == ["CONFIRMED"], checked.stderr
        assert objects(run("review", "list", name, "--json").stdout) == added

    def test_tokens(self, run: Run, hub: RunningHub, police: str, tmp_path: Path) -> None:
        create = ("token", "create", "--contributor", police)
        kept = tmp_path / "token"
        done = run(*create, "reader", "--role", "consumer", "--purpose", "moderation", "--out", str(kept))
        assert done.exit_code == DONE, done.stderr
        assert done.stdout == ""
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert kept.read_text("ascii").strip() not in done.stderr
        assert "reader" in run("token", "list").stdout
        assert run("match", "--hash", "MD5:" + "0d" * 16, "--token-file", str(kept)).exit_code == DONE
        denied = run("status", "--token-file", str(kept))
        assert denied.exit_code == REFUSED
        assert denied.stderr.startswith("error: ")
        # A second one of that name is refused, and the file that was to hold its secret is gone again.
        other = tmp_path / "other"
        assert run(*create, "reader", "--role", "consumer", "--out", str(other)).exit_code == REFUSED
        assert not other.exists()
        assert run(*create, "second", "--role", "consumer", "--out", str(kept)).exit_code == REFUSED
        assert "second" not in {token["name"] for token in objects(run("token", "list", "--json").stdout)}
        assert run("token", "delete", "reader").exit_code == DONE
        time.sleep(1.1)  # a deleted token works for at most a second
        refused = run("match", "--hash", "MD5:" + "0d" * 16, "--token-file", str(kept))
        assert refused.exit_code == REFUSED
        (secret,) = run("token", "create", "third", "--role", "auditor").stdout.splitlines()
        kept.write_text(secret, "ascii")
        assert run("status", "--token-file", str(kept)).exit_code == DONE

    def test_what_there_is_to_choose_from(self, run: Run) -> None:
        assert {c["name"] for c in objects(run("connectors", "list", "--json").stdout)} >= {
            "vics", "ncmec-xml", "icse-csv", "csv", "hash-lines", "threatexchange", "stopncii", "stix", "misp",
        }  # fmt: skip
        assert "algorithm" in run("connectors", "list").stdout
        schemes = objects(run("scheme", "list", "--json").stdout)
        assert {s["id"].partition("@")[0] for s in schemes} >= {"vic-us", "uk-sap", "copine", "ncmec-industry"}
        assert "Non-Pertinent" in run("scheme", "show", "vic-us").stdout
        assert run("scheme", "show", "no-such-scheme").exit_code == REFUSED
        assert [p["id"] for p in objects(run("policy", "list", "--json").stdout)] == [
            "any",
            "block",
            "block-corroborated",
        ]
        assert "independent" in run("policy", "explain", "block").stdout
        assert run("policy", "explain", "no-such-policy").exit_code == REFUSED
        (status,) = objects(run("status", "--json").stdout)
        assert status["database"] == "SQLITE"
        assert f"revision {status['revision']}" in run("status").stdout


@pytest.mark.parametrize(
    ("command", "shape"),
    [
        (("hash-set", "create"), "CONTRIBUTOR/SET"),
        (("webhook", "create", "--url", "https://example.org/hook"), "CONTRIBUTOR/WEBHOOK"),
    ],
)
def test_a_name_of_another_shape_is_told_which_is_expected(run: Run, command: tuple[str, ...], shape: str) -> None:
    for name in ("police", "police/a/b", "police/"):
        done = run(*command, name)
        assert done.exit_code == REFUSED
        assert done.stderr == f"error: name: expected {shape}, got {name!r}\n"
    other = run(*command, "polizei-köln/liste")
    assert f"expected {shape} in the letters a-z, digits and -, got 'polizei-köln/liste'" in other.stderr


def test_a_scheme_without_a_version_has_no_empty_place_for_it(run: Run, police: str, tmp_path: Path) -> None:
    source = tmp_path / "list.json"
    source.write_bytes(list_file("vics-2.0", random_items(2, seed=77, algorithms=("MD5",), values=("1",))).data)
    name = f"{police}/of-another-scheme"
    assert run("hash-set", "create", name, "--scheme", "interpol-baseline").exit_code == DONE
    assert "SCHEME_MISMATCH" in run("import", str(source), "--hash-set", name).stdout
    listed = run("entry", "list", name).stdout
    assert "vic-us 1" in listed
    assert "vic-us@ 1" not in listed


def test_a_purpose_that_no_hash_set_names_is_told(run: Run, hash_set: str) -> None:
    assert run("hash-set", "update", hash_set, "--permitted-purpose", "moderation").exit_code == 0
    create = ("token", "create", "--role", "consumer", "--contributor", hash_set.partition("/")[0])
    name = hash_set.partition("/")[0]
    right = run(*create, f"{name}-right", "--purpose", "moderation")
    assert (right.exit_code, right.stderr) == (0, "")
    wrong = run(*create, f"{name}-wrong", "--purpose", "moderatin")
    assert wrong.exit_code == 0
    assert "no hash set names the purpose 'moderatin'" in wrong.stderr
    assert "moderation" in wrong.stderr
    assert "it changes nothing yet" in wrong.stderr
    assert len(wrong.stdout.splitlines()) == 1, "the secret alone"
    changed = run("token", "update", f"{name}-right", "--purpose", "reserch")
    assert "no hash set names the purpose 'reserch'" in changed.stderr
