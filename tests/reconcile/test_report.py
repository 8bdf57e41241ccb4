"""The page for a meeting, and its charts: whole without a network, harmless whatever a name holds, without digests."""

from __future__ import annotations

import base64
import errno
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.errors import InvalidArgument, LimitExceeded
from hashhub.pages import charts
from hashhub.pages.charts import Bar, Cell, Interval
from hashhub.reconcile import agreement as agreeing
from hashhub.reconcile import overlap, report
from hashhub.reconcile.results import (
    Agreement,
    By,
    ConflictTotals,
    Confusion,
    ContributorAgreement,
    DimensionAgreement,
    Gaps,
    Overlap,
    OverlapCell,
    PairConflicts,
    Proportion,
    SuggestedRow,
)
from hashhub.schemes import Scheme, SchemeValue
from tests.examples import examples
from tests.extracts import ListedEntry, ListedSet, synthetic_digest, write_extract

HOSTILE: Final = "<script>alert(1)</script>\"'&\x00\u202e</title></svg><img src=x onerror=alert(1)>"
VOID: Final = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser would find in a page. It fails where elements are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())  # as it is shown
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


def share(count: int = 3, items: int = 4) -> Proportion:
    return agreeing.proportion(count, items)


def scheme_of(text: str) -> Scheme:
    value = SchemeValue(value=text, title=text, dimensions={"verdict": ("csam",)})
    return replace(schemes.load().get("vic-us"), id=text, title=text, source=(text,), values={text: value})


def everything(text: str = "alpha") -> dict[str, Any]:
    """All parts, with one text wherever somebody else chooses one."""
    values = ("csam", "exploitative")
    return {
        "title": text,
        "revision": 1234,
        "overlap": Overlap(
            by=By.CONTRIBUTOR,
            revision=1234,
            names=("a", text),
            entries={"a": 1000, text: 10},
            alone={"a": 995, text: 5},
            cells=(OverlapCell(left="a", right=text, exact=4, near=1), OverlapCell(left=text, right="a", exact=5)),
            max_distances={"PDQ": 31},
        ),
        "agreement": Agreement(
            revision=1234,
            items=77,
            dimensions=(
                DimensionAgreement(
                    dimension="age_band", items=77, contributors=2, metric="ordinal", alpha=0.5, low=0.4, high=0.6
                ),
                DimensionAgreement(
                    dimension="verdict", items=5, contributors=2, metric="nominal", alpha=None, low=None, high=None
                ),
            ),
            contributors=(ContributorAgreement(contributor=text, dimension="verdict", share=share(), by_one_other=2),),
            confusions=tuple(
                Confusion(contributor=text, dimension="verdict", consensus=a, stated=b, share=share(1, 2))
                for a in values
                for b in values
            ),
            drift=tuple(
                ContributorAgreement(contributor=text, dimension="verdict", share=share(n, 9), period=f"2026-Q{n}")
                for n in (1, 2, 3)
            ),
            suggestions=(
                SuggestedRow(
                    scheme=text,
                    value=text,
                    other_scheme="uk@1",
                    other_value="A",
                    share=share(30, 40),
                    relation="CONFLICT",
                    examples=((f"{text}/1", "uk/list/2"),),
                    contributors=(text, "uk"),
                ),
            ),
        ),
        "conflicts": ConflictTotals(
            revision=1234,
            counts=(
                PairConflicts(kind="VERDICT", severity="HIGH", left="a", right=text, count=12),
                PairConflicts(kind=text, severity=text, left="a", right="a", count=1),
            ),
        ),
        "gaps": [
            Gaps(jurisdiction="NL", revision=1234, items=8, by_contributor={text: 8}, by_verdict={text: 8}),
            Gaps(jurisdiction="GB", revision=1234, items=0, by_contributor={}, by_verdict={}),
        ],
        "crosswalks": [(scheme_of(text), schemes.load().get("uk-sap"))],
        "names": {"a": text},
    }


class TestPage:
    def test_says_in_sentences_what_it_shows(self, tmp_path: Path) -> None:
        path = report.write(tmp_path / "new" / "place", report.page(**everything()))
        assert path.name == report.PAGE
        page = Page(path.read_text("utf-8"))
        for sentence in (
            "From a hashhub at revision 1,234.",
            "2 contributors have 1,010 entries; 1,000 entries of these (>99 %) nobody else holds.",
            "The largest share is that of alpha: 50 % of its entries are also in alpha (a).",
            "13 conflicts between them are not resolved.",
            "Krippendorff's alpha for age band is 0.500 (0.400 to 0.600), 77 items.",
            "NL lacks 8 items that partners hold.",
            "GB lacks 0 items that partners hold.",
            "So it is with: Verdict.",
        ):
            assert sentence in page.text
        assert [path.name for path in path.parent.iterdir()] == [report.PAGE]

    def test_loads_nothing_and_runs_nothing(self) -> None:
        html = report.page(**everything())
        page = Page(html)
        policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
        assert (
            policy
            == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
        )
        assert not page.elements.keys() & {
            "script",
            "link",
            "iframe",
            "object",
            "embed",
            "form",
            "base",
            "foreignobject",
        }
        for _, name, value in page.attributes:
            assert not name.startswith("on")
            assert name != "style"
            if name in {"src", "href", "xlink:href", "data", "action"}:
                assert value.startswith(("#", "data:image/svg+xml,"))
        assert "url(" not in html
        assert "@import" not in html
        targets = {value[1:] for _, name, value in page.attributes if name == "href"}
        assert targets <= set(page.ids)
        assert len(page.ids) == len(set(page.ids))

    def test_is_harmless_whatever_strangers_call_themselves(self) -> None:
        usual, hostile = Page(report.page(**everything("x" * len(HOSTILE)))), Page(report.page(**everything(HOSTILE)))
        assert hostile.elements == usual.elements
        assert Counter((t, n) for t, n, _ in hostile.attributes) == Counter((t, n) for t, n, _ in usual.attributes)
        assert "<script>alert(1)</script>" in hostile.text  # as a text
        assert not {"\x00", "\u202e"} & set(hostile.text)

    @settings(max_examples=examples(20))
    @given(st.text(max_size=30))
    def test_any_text_stays_a_text(self, text: str) -> None:
        usual = Page(report.page(**everything())).elements
        elements = Page(report.page(**everything("x" + text))).elements
        # A long label has a title of its own.
        assert {k: n for k, n in elements.items() if k != "title"} == {k: n for k, n in usual.items() if k != "title"}

    def test_has_no_digest_even_if_somebody_is_called_by_one(self, tmp_path: Path) -> None:
        sets = [ListedSet(name=f"{who}/list", scheme="vic-us@2.0") for who in ("a", "b", "c")]
        entries = [
            ListedEntry(
                hash_set=f"{who}/list",
                digests={name: str(item) for name in ("MD5", "SHA1", "SHA256", "PDQ")},
                dimensions={"verdict": ("csam" if item % 3 or who != "c" else "exploitative",)},
                scheme="vic-us@2.0" if who == "a" else "arachnid-shield@1.0",
                value="1" if who == "a" else "csam",
            )
            for item in range(40)
            for who in ("a", "b", "c")
        ]
        extract = write_extract(tmp_path / "extract", sets, entries)
        digests = [synthetic_digest(name, str(n)) for name in ("MD5", "SHA1", "SHA256", "PDQ") for n in range(40)]
        forms = [
            form(digests[0]) for form in (bytes.hex, lambda d: d.hex().upper(), lambda d: base64.b64encode(d).decode())
        ]
        for form in forms:
            assert form not in report.page(**everything(form))
            parts = everything(form) | {
                "overlap": overlap.compute(extract, By.CONTRIBUTOR),
                "agreement": agreeing.compute(extract, schemes.load()),
                "names": dict.fromkeys(("a", "b", "c"), f"The {form} desk"),
            }
            html = report.write(tmp_path / "out", report.page(**parts)).read_text("utf-8")
            assert "a/list/1 and " in Page(html).text  # evidence is entries by name
            assert not re.search(r"[0-9A-Fa-f]{32}", html)
            for digest in digests:
                for text in (digest.hex(), base64.b64encode(digest).decode().rstrip("=")):
                    assert text.lower() not in html.lower()

    def test_names_that_only_look_long_stay_whole(self) -> None:
        for name in ("InternationalPoliceUnit2026", "national-centre-for-missing-children", "Landeskriminalamt"):
            assert name in Page(report.page(**everything(name))).text

    def test_says_what_was_not_computed_and_shows_no_zero_for_it(self) -> None:
        page = Page(report.page(title="Nothing", revision=5))
        for sentence in (
            "Overlap was not computed.",
            "Conflicts were not counted.",
            "Agreement was not computed.",
            "Crosswalks were not computed.",
            "Gaps were not looked for.",
        ):
            assert sentence in page.text
        assert not page.elements["svg"]
        assert not page.elements["table"]
        assert " 0 " not in page.text.partition("Methods")[0]

    def test_says_so_where_only_one_classified(self, tmp_path: Path) -> None:
        extract = write_extract(
            tmp_path,
            [ListedSet(name="a/list"), ListedSet(name="b/list")],
            [
                ListedEntry(hash_set="a/list", digests={"MD5": "1"}, dimensions={"verdict": ("csam",)}),
                ListedEntry(hash_set="b/list", digests={"MD5": "1"}),
            ],
        )
        empty = agreeing.compute(extract, schemes.load())
        page = Page(report.page(title="One", revision=7, agreement=empty))
        assert "no item was classified by two contributors that are independent" in page.text
        assert "alpha for" not in page.text

    def test_says_where_its_parts_are_of_different_revisions(self) -> None:
        parts = everything()
        parts["gaps"] = [msgspec.structs.replace(parts["gaps"][0], revision=99)]
        assert "Not all of it is of revision 1,234: parts are of 99" in Page(report.page(**parts)).text
        assert "Not all of it" not in Page(report.page(**everything())).text

    def test_of_many_lists_pairs_and_says_what_it_leaves_out(self) -> None:
        names = tuple(f"set{n:03}" for n in range(70))
        cells = tuple(OverlapCell(left=a, right=b, exact=1 + i) for i, (a, b) in enumerate(pairwise(names)))
        of_many = Overlap(
            by=By.HASH_SET, revision=1, names=names, entries=dict.fromkeys(names, 100), alone=dict.fromkeys(names, 0),
            cells=cells,
        )  # fmt: skip
        page = Page(report.page(title="Many", revision=1, overlap=of_many))
        assert not page.elements["svg"]
        assert "10 further rows are left out here." in page.text
        assert "9 further rows are left out here." in page.text
        assert "set068set06969" in re.sub(r"\s", "", page.text)  # the strongest pair

    def test_every_chart_has_a_title_and_every_cell_its_number(self) -> None:
        html = report.page(**everything())
        drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
        assert len(drawn) == 7
        for svg in drawn:
            root = ElementTree.fromstring(svg)
            assert root.get("role") == "img"
            assert root.get("aria-label")
            assert root[0].tag.endswith("title")
            assert root[1].tag.endswith("desc")
        assert '<th scope="col"' in html
        assert 'lang="en"' in html
        assert "prefers-color-scheme: dark" in html
        assert "@media print" in html
        assert "size: A4" in html


class TestWriting:
    def test_leaves_an_earlier_page_until_the_new_one_is_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = report.write(tmp_path, "first")

        def full(_file: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(LimitExceeded, match="free some space"):
            report.write(tmp_path, "second")
        assert "first" in path.read_text("utf-8")
        assert list(tmp_path.iterdir()) == [path]

    def test_says_where_it_cannot_write(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InvalidArgument, match="cannot be written"):
            report.write(tmp_path / "file", "x")


# --- Charts -----------------------------------------------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    shown = [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")]
    return [(e.text or "") + "".join(inside.tail or "" for inside in e) for e in shown]


class TestCharts:
    def test_a_heat_map_has_its_numbers_and_is_darker_where_there_is_more(self) -> None:
        cells = {(0, 1): Cell("25 %", 0.25, "a quarter"), (1, 0): Cell("100 %", 1.0, "all")}
        svg = charts.heat_map("Shared", ["a", "b"], ["a", "b"], cells, rows_are="of", columns_are="by")
        opacity = {
            g[0].text: float(g[1].get("fill-opacity", "0"))
            for g in ElementTree.fromstring(svg).iter()
            if g.tag.endswith("}g") and g[0].tag.endswith("}title")
        }
        assert 0 < opacity["a quarter"] < opacity["all"] <= 0.5
        shown = texts(svg)
        assert {"25 %", "100 %", "1  a", "2  b", "1", "2"} <= set(shown)

    def test_columns_that_are_not_the_rows_are_named_below(self) -> None:
        shown = texts(charts.heat_map("C", ["a"], ["x", "y"], {}, rows_are="of", columns_are="by"))
        assert {"a", "1  x", "2  y"} <= set(shown)

    @given(
        st.lists(st.tuples(st.text(max_size=50), st.one_of(st.none(), st.floats(-3, 3))), max_size=8),
        st.lists(st.integers(0, 10**12), max_size=8),
    )
    @settings(max_examples=examples(60))
    def test_what_is_drawn_is_sound_and_within_its_frame(
        self, rows: list[tuple[str, float | None]], counts: list[int]
    ) -> None:
        drawn = [
            charts.intervals(
                "i",
                [Interval(t, v, v and v - 0.1, v and v + 0.1, t) for t, v in rows],
                low=-1,
                high=1,
                marks=[-1, 0, 1],
            ),
            charts.bars("b", [Bar(str(n), n) for n in counts]),
            charts.lines(
                "l", [f"2026-Q{n}" for n in range(4)], {t: [v and min(1, abs(v)), None, 0.5, 1] for t, v in rows}
            ),
        ]
        for svg in drawn:
            root = ElementTree.fromstring(svg)
            width, height = float(root.get("width", "0")), float(root.get("height", "0"))
            for element in root.iter():
                for name, most in (
                    ("x", width),
                    ("x1", width),
                    ("cx", width),
                    ("y", height),
                    ("y2", height),
                    ("cy", height),
                ):
                    assert 0 <= float(element.get(name, "0")) <= most

    def test_what_is_not_defined_has_no_point(self) -> None:
        rows = [Interval("a", None, None, None, "not defined"), Interval("b", 0.5, None, None, "0.5")]
        svg = charts.intervals("i", rows, low=0, high=1, marks=[0, 1])
        assert svg.count("<circle") == 1
        assert "not defined" in texts(svg)

    @pytest.mark.parametrize("quarters", [1, 2, 5, 12, 13, 40])
    def test_labels_of_quarters_do_not_lie_on_each_other(self, quarters: int) -> None:
        periods = [f"{2000 + n // 4}-Q{n % 4 + 1}" for n in range(quarters)]
        series: dict[str, list[float | None]] = {"a name that goes on and on": [0.5] * quarters}
        root = ElementTree.fromstring(charts.lines("l", periods, series))
        at = [float(e.get("x", "")) for e in root.iter() if "".join(e.itertext()).strip() in periods]
        assert at
        assert all(two - one > 7 * 6.2 for one, two in pairwise(at))

    def test_lines_are_told_apart_without_colour_and_broken_where_nothing_is(self) -> None:
        svg = charts.lines("l", ["1", "2", "3"], {"a": [0.5, None, 0.5], "b": [0.1, 0.2, 0.3]})
        drawn = ElementTree.fromstring(svg)
        thick = [e for e in drawn.iter() if e.tag.endswith("}line") and e.get("stroke-width")]
        assert [e.get("stroke-dasharray") for e in thick] == ["7 3", "7 3"]  # two pieces of b, none of a
        assert svg.count("<circle") == 3
        assert svg.count("<polygon") == 4
        assert {"a", "b"} <= set(texts(svg))

    def test_stands_alone_with_colours_for_light_and_dark(self) -> None:
        svg = charts.standalone(charts.bars("Title <b>", [Bar("x", 1)]))
        root = ElementTree.fromstring(svg)
        assert root[0].tag.endswith("style")
        assert "prefers-color-scheme:dark" in (root[0].text or "")
        assert root.get("aria-label") == "Title <b>"
