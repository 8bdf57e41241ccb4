"""Pages are harmless whatever stands in them, and load and run nothing."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

import hashhub
from hashhub.pages import charts, clean, render
from hashhub.pages.charts import Bar

ROOT = Path(hashhub.__file__).parent
TEMPLATES = sorted(str(path.relative_to(ROOT)) for kind in ("*.html", "*.svg") for path in ROOT.rglob(kind))
ONE_SCRIPT = '<script src="{{ site.prefix }}/static/htmx-2.0.11.min.js" defer></script>'
HOSTILE = "<script>alert(1)</script>\"'&\x00\x1b\u202e\u2066\ud800</title></svg>{{ 7 * 7 }}"


def test_no_template_takes_a_value_for_markup() -> None:
    assert len(TEMPLATES) >= 9
    for name in TEMPLATES:
        text = (ROOT / name).read_text("utf-8").replace(ONE_SCRIPT, "", name == "console/templates/layout.html")
        assert not any(way in text for way in ("|safe", "| safe", "autoescape", "<script", "url(", "@import")), name


def test_what_turns_or_ends_a_text_is_replaced_and_languages_stay_readable() -> None:
    for harmless in (
        "Zürich",
        "\u0645\u06cc\u200c\u062e\u0648",
        "👩\u200d👧",
        "東京\u3000駅",
        "two\nlines\r\n\tmore",
    ):
        assert clean(harmless) == harmless
    assert clean("a\x00b\u202ec\ud800d\u2028e\x1bf") == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf"


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE * 9], ids=["short", "long"])
def test_a_chart_holds_any_text(text: str) -> None:
    svg = charts.bars(text, [Bar(text, 1)])
    root = ElementTree.fromstring(svg)
    assert {e.tag.partition("}")[2] for e in root.iter()} <= {"svg", "title", "desc", "text", "tspan", "rect"}
    assert root.get("aria-label") == clean(text)
    assert "{{ 7 * 7 }}" in svg


def outcome(why: list[str]) -> dict[str, object]:
    return {"action": "HOLD", "why": why, "not_looked_for": []}


@given(st.text(max_size=40))
def test_a_page_holds_any_text(text: str) -> None:
    page = render("cli/hook/try.html", outcome=outcome([text]))
    plain = render("cli/hook/try.html", outcome=outcome(["x"]))
    assert page.count("<") == plain.count("<")
    assert clean(text) in html.unescape(page) or not text.strip()
