"""`hashhub hook case`, from a complaint to a closed case."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of
from hashhub.desk.cases.life import Cases
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.hashing import hash_media
from hashhub.model import TLP, HashSet, Marking, MatchOptions, Principal, Purpose, Query, Role
from hashhub.testing.pictures import picture
from tests.desk.cases.parts import SEED, encoded, opened
from tests.hook.conftest import jpeg

if TYPE_CHECKING:
    from tests.hook.conftest import Listed
from tests.hashing.assets import MP4


class TestCommands:
    def run(self, tmp_path: Path, *line: str) -> Any:
        settings = tmp_path / "hook.toml"
        if not settings.exists():
            settings.write_text(
                f'policy = "block"\ndata = "{tmp_path}/hook"\nhub = "127.0.0.1:9"\nhashing_processes = 1\n'
                '[without_answer]\nhub_away = "allow"\nunreadable = "hold"\ntoo_large = "hold"\n'
                'no_perceptual_hash = "allow"\n'
            )
        done = CliRunner().invoke(main, ["hook", *line, "--settings", str(settings), "--json"])
        return done.exit_code, [json.loads(one) for one in done.stdout.splitlines() if one.startswith("{")]

    def test_from_a_complaint_to_a_closed_case(self, tmp_path: Path) -> None:
        reported = tmp_path / "reported.jpg"
        reported.write_bytes(jpeg(SEED))
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "copy.png").write_bytes(encoded(picture(SEED, (512, 384))))
        code, [case] = self.run(
            tmp_path, "case", "open", str(reported), "--purpose", "intimate-image", "--complaint", "T-1", "--reason",
            "form", "--rule", "us-take-it-down",
        )  # fmt: skip
        assert code == 0
        name = case["name"]
        assert case["action"] == "HOLD"
        code, [scanned] = self.run(tmp_path, "case", "scan", name, str(archive))
        assert [c["place"] for c in scanned["copies"]] == [str(archive / "copy.png")]
        assert self.run(tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "x")[0] == 1
        assert self.run(tmp_path, "case", "confirm", name, "--reason", "looked")[0] == 0
        (archive / "copy.png").unlink()
        code, [done] = self.run(tmp_path, "case", "taken-down", name, "--all", "--reason", "deleted")
        assert done["recorded"] == 1
        sheet = tmp_path / "record.md"
        code, [record] = self.run(
            tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "done", "--page", str(sheet)
        )
        assert (code, record["is_complete"], record["missing"]) == (0, True, [])
        assert record["case"]["clocks"][0]["standing"] == "MET"
        assert "Complete." in sheet.read_text()
        assert [c["name"] for c in self.run(tmp_path, "case", "list", "--state", "closed")[1]] == [name]
        assert self.run(tmp_path, "case", "get", "case-none")[0] == 1

    def test_what_lies_behind_a_link_was_looked_through_or_is_a_gap(self, tmp_path: Path) -> None:
        for folder in ("archive/2026", "elsewhere"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "elsewhere/copy.png").write_bytes(encoded(picture(SEED, (96, 64))))
        (tmp_path / "archive/current").symlink_to("2026")  # looked through by its own name
        (tmp_path / "archive/old").symlink_to(tmp_path / "elsewhere")
        archive, digest = str(tmp_path / "archive"), hash_media(encoded(picture(SEED, (96, 64)))).digests[0].text
        _, [case] = self.run(
            tmp_path, "case", "open", "--hash", digest, "--purpose", "other", "--complaint", "T-1", "--reason", "form"
        )
        name = case["name"]
        _, [scanned] = self.run(tmp_path, "case", "scan", name, archive)
        assert [unread["place"] for unread in scanned["unread"]] == [f"{archive}/old"]
        assert self.run(tmp_path, "case", "confirm", name, "--reason", "looked")[0] == 0
        assert self.run(tmp_path, "case", "close", name, "--outcome", "upheld", "--reason", "x")[0] == 1
        _, [scanned] = self.run(tmp_path, "case", "scan", name, archive, str(tmp_path / "elsewhere"))
        assert (scanned["unread"], scanned["new_copies"]) == ([], 1)

    def test_what_was_looked_at_in_part_is_named_each_time(self, tmp_path: Path) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "moving.jpg").write_bytes(jpeg(7, (96, 64)) + MP4)
        os.utime(archive / "moving.jpg", (0, 0))
        _, [case] = self.run(
            tmp_path, "case", "open", "--hash", "MD5:0123456789abcdef0123456789abcdef", "--purpose", "other",
            "--complaint", "T-1", "--reason", "form",
        )  # fmt: skip
        for remembered in (0, 1):
            _, [scanned] = self.run(tmp_path, "case", "scan", case["name"], str(archive))
            assert (scanned["scan"]["partly"], scanned["remembered"]) == (1, remembered)
            assert [file["place"] for file in scanned["scan"]["partial"]] == [str(archive / "moving.jpg")]
        line = ["hook", "case", "scan", case["name"], str(archive), "--settings", str(tmp_path / "hook.toml")]
        said = CliRunner().invoke(main, line).output
        assert "1 looked at in part only" in said
        assert f"looked at in part: {archive / 'moving.jpg'}: the film behind the picture" in said

    def test_a_place_that_is_not_there_is_refused_and_no_gap_for_ever(self, tmp_path: Path) -> None:
        (tmp_path / "archive").mkdir()
        _, [case] = self.run(
            tmp_path, "case", "open", "--hash", "MD5:0123456789abcdef0123456789abcdef", "--purpose", "other",
            "--complaint", "T-1", "--reason", "form",
        )  # fmt: skip
        for paths in (("arhcive",), ("archive", "arhcive")):
            code, [error] = self.run(tmp_path, "case", "scan", case["name"], *(str(tmp_path / path) for path in paths))
            assert (code, error["error"]["reason"]) == (1, "RESOURCE_NOT_FOUND")
        _, [record] = self.run(tmp_path, "case", "get", case["name"])
        assert record["scans"] == []

    @pytest.mark.parametrize(
        ("received", "said"),
        [
            ("0001-01-01T00:00:00+05:00", "long ago"),
            ("2026-10-25T02:30:00", "time zone"),  # by which clock? the law's hours count from it
            ("2026-10-25 02:30", "time zone"),
        ],
    )
    def test_a_time_of_a_complaint_that_is_none_is_refused(self, tmp_path: Path, received: str, said: str) -> None:
        code, [error] = self.run(
            tmp_path, "case", "open", "--hash", "MD5:0123456789abcdef0123456789abcdef", "--purpose", "other",
            "--complaint", "T-1", "--reason", "form", "--received", received,
        )  # fmt: skip
        assert code in {1, 2}
        assert said in error["error"]["message"]

    def test_a_confirmed_case_is_shared_with_a_set_of_its_purpose_only(self, tmp_path: Path, listed: Listed) -> None:
        item = item_of(hash_media(jpeg(77)))  # the hub is shared with other tests
        for name, purpose in (("cases", Purpose.CSAM), ("benign", Purpose.BENIGN)):
            listed.operator.create_hash_set(
                HashSet(contributor="app", id=name, purpose=purpose, marking=Marking(tlp=TLP.GREEN))
            )
        token = tmp_path / "token"
        token.write_text(
            listed.operator.create_token(Principal(name="app-desk", role=Role.CONTRIBUTOR, contributor="app"))
        )
        self.run(tmp_path, "case", "list")
        records = Records(tmp_path / "hook")
        cases = Cases(records, CaseSettings())
        csam = opened(cases, item, purpose=CasePurpose.CSAM).name
        intimate = opened(cases, item).name
        at = ("--server", listed.hub.address, "--token-file", str(token), "--reason", "agreed")
        assert self.run(tmp_path, "case", "share", csam, "--hash-set", "app/cases", *at)[0] == 1, "not confirmed"
        for name in (csam, intimate):
            cases.confirm(name, actor="bob", reason="looked")
        assert self.run(tmp_path, "case", "share", csam, "--hash-set", "app/benign", *at)[0] == 1
        assert self.run(tmp_path, "case", "share", intimate, "--hash-set", "app/cases", *at)[0] == 1
        code, [shared] = self.run(tmp_path, "case", "share", csam, "--hash-set", "app/cases", *at)
        own = [h for h, variant in item.hashes if not variant]
        assert (code, shared["hashes"]) == (0, len(own))
        answer = listed.operator.match(Query(hashes=tuple(own[:1])), MatchOptions(policy="any"))
        assert {m.entry.hash_set for m in answer.result.matches} == {"cases"}
        assert [e.kind for e in records.events(subject=csam)][-1] == "case.shared"
        records.close()
