"""docs/contribute/csv.md: its commands do what it says, its mappings are mappings, its lists are whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from hashhub.cli import main
from hashhub_connectors import workbook
from hashhub_connectors.mapping import FLAGS, read_mapping
from hashhub_connectors.words import FALSE_WORDS, TRUE_WORDS, plain

PAGE = (Path(__file__).parents[2] / "docs/contribute/csv.md").read_text("utf-8")
MAPPINGS = re.findall(r"^```toml mapping\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_mapping_is_one() -> None:
    assert len(MAPPINGS) >= 6
    for text in MAPPINGS:
        read_mapping(text)


def test_the_first_is_that_of_the_sample(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["sample", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "liste.toml").read_text("utf-8") == MAPPINGS[0]


def test_whatever_the_proposal_asks_is_answered_or_left_open_in_words(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["sample", str(tmp_path)]).exit_code == 0
    proposed = CliRunner().invoke(main, ["import", str(tmp_path / "liste.csv"), "--format", "csv", "--propose-mapping"])
    questions = [line for line in proposed.stdout.splitlines() if ": say " in line]
    asked = set(re.findall('"([^"]+)"', "\n".join(questions)))
    assert asked == {"x", "unklar", "ja", "nein", "fraglich"}
    for page in ("contribute/csv", "contribute/analyst"):
        text = (Path(__file__).parents[2] / f"docs/{page}.md").read_text("utf-8")
        for word in asked:
            assert re.search(rf"[`*]{word}[`*]", text), f"docs/{page}.md does not say what becomes of {word}"


def test_every_part_of_the_language_is_explained() -> None:
    whole = (
        'delimiter = ","\nencoding = "utf-8"\nheader = true\nskip = 0\nscheme = ""\ndecimal = "."\n'
        'date_order = "dmy"\nutc_offset = "Z"\n[columns]\nmd5 = "a"\n'
    )
    read_mapping(whole)
    for key in tomllib.loads(whole):
        assert f"`{key}`" in PAGE or f"`[{key}]`" in PAGE, key
    from hashhub_connectors import mapping

    for table in mapping.TABLES:
        assert f"`[{table}]`" in PAGE or f"[{table}]\n" in PAGE, table
    for field in (*mapping.DIGESTS, mapping.MIXED, *mapping.TEXTS, *FLAGS, "tags", "algorithm"):
        assert f"`{field}`" in PAGE, field


def test_the_words_that_it_names_are_built_in() -> None:
    yes, no = re.findall(r"\*([^*]*…)\*", PAGE.split("### Flags and words")[1].split("###")[0])
    for told, known in ((yes, TRUE_WORDS), (no, FALSE_WORDS)):
        assert {plain(word) for word in re.split(r",\s+", told.strip("…"))} <= known


def test_the_limits_of_workbooks_are_those_of_the_code() -> None:
    page = " ".join(PAGE.split())
    assert f"{workbook.MAX_FILE >> 30} GiB" in page
    assert f"{workbook.MAX_ROWS:,} rows, {workbook.MAX_COLUMNS:,} columns" in page
    assert f"{workbook.MAX_STRINGS >> 20} MiB of shared texts" in page
    assert f"{workbook.MAX_RATIO} times their size" in page
