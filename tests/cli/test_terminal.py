"""What a stranger's text may do to an operator's terminal: nothing."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.cli.terminal import clean, counted, plain, print_json, progress
from hashhub.model import Contributor, ContributorKind

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07",  # control sequences
    "\x9b31m",  # the same in one 8-bit character
    "\r\x08\x7f",  # over what stands there
    "a\u202egnp.exe",  # the direction of writing
    "\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u202a\u202b\u202c\u202d",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad",  # invisible
    "\u2028\u2029\x85",  # ends of lines, to some
    "\U000e0041\U000e007f",  # tags
    "\ue000\uffff",  # of no agreed meaning
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def printed(value: object, capfdbinary: pytest.CaptureFixture[bytes]) -> bytes:
    print_json(value)
    return capfdbinary.readouterr().out


@given(VALUES.filter(lambda v: isinstance(v, dict)))
def test_json_is_printable_ascii_on_one_line_and_says_the_same(
    capfdbinary: pytest.CaptureFixture[bytes], value: dict[str, Any]
) -> None:
    out = printed(value, capfdbinary)
    assert out.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in out[:-1])
    assert json.loads(out) == value


@pytest.mark.parametrize("text", HOSTILE)
def test_json_of_a_hostile_contributor_moves_no_cursor_and_turns_no_line(
    capfdbinary: pytest.CaptureFixture[bytes], text: str
) -> None:
    contributor = Contributor(
        id="x",
        display_name=f"X{text}",
        kind=ContributorKind.NGO,
        jurisdiction="ZZ",
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    out = printed(plain(contributor), capfdbinary)
    assert out[:-1].isascii()
    assert out[:-1].decode().isprintable()
    assert json.loads(out)["display_name"] == f"X{text}"


def test_json_escapes_what_lies_beyond_the_first_plane_in_two_parts(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    out = printed({"a": "\U0001f600\N{LATIN SMALL LETTER O WITH DIAERESIS}"}, capfdbinary)
    assert out == b'{"a":"\\ud83d\\ude00\\u00f6"}\n'


@given(st.text() | st.sampled_from(HOSTILE))
def test_tables_show_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = clean(text)
    assert len(shown.splitlines()) <= 1
    for character in shown:
        category = unicodedata.category(character)
        assert category not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, hex(ord(character))
        assert unicodedata.bidirectional(character) not in {
            "LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip


def test_a_noun_is_in_the_number_of_what_is_counted() -> None:
    told = [counted(n, "copy", "copies") for n in (0, 1, 2, 1000)]
    assert told == ["0 copies", "1 copy", "2 copies", "1,000 copies"]
    assert counted(2, "upload") == "2 uploads"


def test_each_stage_of_a_long_import_has_a_remaining_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum takes a thousandth of what the import does, which must not count as done, nor as its speed."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(unit_bytes=True) as advance:
        for done in range(0, 1_000_001, 100_000):
            advance(done, 1_000_000, "checksum")
        for done in range(0, 5_001, 1_000):
            advance(done, 1_000_000, f"importing {done} items")
            time.sleep(0.12)
        advance(1_000_000, None, "committing")
        time.sleep(0.12)
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue()))
    importing = [line for line in lines if line.startswith("importing 5000")]
    assert importing
    # Two minutes, and more on a busy machine, whose pauses are longer; with the checksum counted, seconds.
    assert all(re.search(r" 0:(0[1-9]|[1-5][0-9]):[0-9]{2}", line) for line in importing), importing
    assert not any(line.rstrip().endswith(" 0:00:00") for line in lines if line.startswith(("importing", "committing")))
