"""docs/reconcile/three-nations.md, followed literally; and what it says was put into the files is what was, by brute
force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hashhub.testing import nations
from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reconcile/three-nations.md").read_text("utf-8")
NUMBER = re.compile(r"(?<![\w.@/-])-?\d+(?:\.\d+)?(?!\w|\.\w)")


def told() -> dict[str, tuple[str, str]]:
    """Return the last table by its first cell: what was put in, and what was computed."""
    rows = PAGE.split("\n## What was put in")[1].split("|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first: (put_in, computed) for first, put_in, computed, _ in cells}


def truth() -> dict[str, str]:
    """Return what was put into the files, by the table's first cells. Compares every item with every value."""
    world = {one.number: one for one in nations.world()}
    lists = {n: {int(i.external_id[3:]): i for i in nations.listed(n)} for n in ("us", "gb", "nl")}
    misread = {n: {k for k, i in lists[n].items() if i.value != world[k].values[n]} for n in lists}
    copies = {k for k, i in lists["nl"].items() if i.digest("MD5") != world[k].hashes[0].digest.hex()}
    original = lists["nl"].keys() - copies
    us_and_gb = lists["us"].keys() & lists["gb"].keys()
    us_and_nl = lists["us"].keys() & original
    gb_and_nl = lists["gb"].keys() & original
    # A and B are sex acts, as is a 1 of the Netherlands; C and 2 are less.
    acts = {k for k in gb_and_nl if (lists["gb"][k].value == "C") != (lists["nl"][k].value[1] == "2")}
    assert acts <= misread["gb"] | misread["nl"]
    assert not acts & misread["gb"] & misread["nl"]
    verdicts = [k for shared in (us_and_gb, us_and_nl) for k in shared if lists["us"][k].value == "2"]
    harmless = nations.files()["harmless.txt"][0].decode().split()
    listed = {f"MD5:{i.digest('MD5')}" for items in lists.values() for i in items.values()}
    return {
        "items of US, GB, NL": ", ".join(str(len(lists[n])) for n in lists),
        "of both US and GB": str(len(us_and_gb)),
        "Dutch entries that are other copies": str(len(copies)),
        "of these, pictures that the US list": str(len(copies & lists["us"].keys())),
        "acts that contradict each other, all by a misreading": (
            f"{len(acts)}: GB {len(acts & misread['gb'])}, NL {len(acts & misread['nl'])}"
        ),
        f"misread by one of GB and NL, of the {len(gb_and_nl)} that both list": str(
            len(gb_and_nl & (misread["gb"] | misread["nl"]))
        ),
        "US 2 beside a value that is csam": str(len(verdicts)),
        "of these, misread by the US": str(sum(k in misread["us"] for k in verdicts)),
        "the United States misread": f"{len(misread['us'])} of {len(lists['us'])}",
        "the United Kingdom misread": f"{len(misread['gb'])} of {len(lists['gb'])}",
        "the Netherlands misread": f"{len(misread['nl'])} of {len(lists['nl'])}",
        "harmful files among the harmless": str(len(listed & set(harmless))),
    }


def test_what_was_put_in_is_what_the_page_says() -> None:
    assert {first: put_in for first, (put_in, _) in told().items()} == truth()


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_the_story_is_as_written(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hashhub-data") as hub:
        reader = Reader("reconcile/three-nations", tmp_path, {}, HASHHUB_SERVER=hub.address)
        reader.follow(blocks("reconcile/three-nations"))
        # What is between the two others is not told to the third.
        reader.run("hashhub reconcile conflicts summary --token-file nl.token")
        assert reader.printed
        assert not [line for line in reader.printed if re.match(r"(gb|us) +(gb|us) |(gb|us) \(", line)]
    assert reader.ran >= 24
    assert (tmp_path / "overlap.svg").read_bytes() == (ROOT / "docs/reconcile/three-nations-overlap.svg").read_bytes()


def test_the_figures_in_the_sentences_are_those_of_the_commands() -> None:
    """The blocks are what the commands print, by the test above; the truth is what was put in."""
    shown = [line for b in blocks("reconcile/three-nations") if b.language == "text" for line in b.text.splitlines()]
    seen = {n for line in [*shown, *truth().values()] for n in NUMBER.findall(line.replace("+", " "))}
    sentences = re.sub(r"^```.*?^```$|^\|.*?\|$|^#.*?$", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    sentences = re.sub(r"\]\([^)]*\)|section \d", "", sentences)
    given = set(NUMBER.findall(sentences))
    assert given > {"0.870", "-0.122", "288", "41"}
    assert given - CHOSEN <= seen
    for first, (_, computed) in told().items():
        assert set(NUMBER.findall(computed)) <= seen, first


# What no command prints: how the files were made, reckoning, and sizes that are known.
CHOSEN = {
    str(number)
    for number in (
        nations.ITEMS,
        *(round(100 * share) for share in (*nations.MISREAD.values(), nations.COPIED)),
        *(60, 20),  # uploads, of which outside the world
        *(22 + 10, 10 + 28),  # matches before, reviews after
        *(58 + 44,),  # conflicts about the verdict
        *(32, 0.8),  # digits of an MD5; what Krippendorff asks for
    )
}


def test_the_shares_are_those_that_the_files_are_made_with() -> None:
    said = re.findall(r"(\d+) %", PAGE.split("\n## What was put in")[1])
    assert said == [f"{100 * share:.0f}" for share in (*nations.MISREAD.values(), nations.COPIED)]
