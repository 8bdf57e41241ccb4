"""Two schemes side by side: the relation of each pair and why, what differs between versions, and the picture."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.schemes import Scheme, picture
from hashhub.schemes.alignment import MIRRORED, ChangeOfValue, Correspondence, CrosswalkRow, diff, row_count, rows
from hashhub.schemes.crosswalk import Relation, compare, translate
from hashhub.schemes.dimensions import DIMENSIONS
from tests.schemes.test_bundles import Meaning, claims, meanings, scheme

REGISTRY = schemes.load()
LISTED = st.sampled_from(REGISTRY.list())
C = Correspondence


def pair(a: Meaning, b: Meaning) -> CrosswalkRow:
    (row,) = rows(scheme("left", a), scheme("right", b))
    return row


def between(a: str, b: str) -> dict[tuple[str, str], CrosswalkRow]:
    return {(row.left, row.right): row for row in rows(REGISTRY.get(a), REGISTRY.get(b))}


def oracle(a: Meaning, b: Meaning) -> Correspondence:
    """The relation by what is claimed: in each dimension the worlds that are left, of a bundle the facts that hold."""

    def told(meaning: Meaning) -> dict[str, frozenset[str]]:
        by_name: dict[str, frozenset[str]] = {}
        for name, values in claims(meaning):
            by_name[name] = by_name.get(name, frozenset()) | values
        return by_name

    left, right = told(a), told(b)
    if left == right:
        return C.CORRESPONDS if left or (a and compare(a, b).relation is Relation.AGREE) else C.INCOMPARABLE
    shared = left.keys() & right.keys()
    if any(n != "context" and not left[n] & right[n] for n in shared):
        return C.CONFLICTS
    if not shared:
        return C.INCOMPARABLE

    def takes_in(wide: dict[str, frozenset[str]], narrow: dict[str, frozenset[str]]) -> bool:
        return all(n in narrow and (wide[n] <= narrow[n] if n == "context" else narrow[n] <= wide[n]) for n in wide)

    if takes_in(left, right):
        return C.BROADER
    return C.NARROWER if takes_in(right, left) else C.OVERLAPS


class TestRelations:
    @given(meanings, meanings)
    def test_is_what_the_claims_say(self, a: Meaning, b: Meaning) -> None:
        row = pair(a, b)
        mirrored = pair(b, a)
        assert mirrored.relation is MIRRORED[row.relation]
        assert [MIRRORED[line.relation] for line in mirrored.lines] == [line.relation for line in row.lines]
        assert row.relation is oracle(a, b)
        # Every dimension that either states has its line, with what each states.
        assert {line.dimension.partition(":")[0] for line in row.lines} == a.keys() | b.keys()
        for line in row.lines:
            assert line.left or line.right
            assert line.text.startswith(f"{line.dimension}: ")

    @given(LISTED, LISTED)
    def test_an_export_writes_only_what_is_broader_or_the_same(self, a: Scheme, b: Scheme) -> None:
        for row in rows(a, b):
            if row.is_written and a.name != b.name:
                assert row.relation in {C.CORRESPONDS, C.NARROWER}
                classification = a.resolve(row.left)
                assert classification is not None
                assert translate(classification, b).value == row.right
            if row.is_written_back and a.name != b.name:
                assert row.relation in {C.CORRESPONDS, C.BROADER}

    @given(LISTED, LISTED, st.integers(0, 60))
    def test_rows_are_every_value_with_every_value_from_anywhere_on(self, a: Scheme, b: Scheme, start: int) -> None:
        whole = list(rows(a, b))
        assert [(r.left, r.right) for r in whole] == list(itertools.product(a.values, b.values))
        assert len(whole) == row_count(a, b)
        assert list(rows(a, b, start)) == whole[start:]

    @pytest.mark.parametrize(
        ("a", "b", "relation", "why"),
        [
            ({"verdict": ("csam",)}, {"verdict": ("csam",)}, C.CORRESPONDS, "verdict: both say csam"),
            (
                {"verdict": ("csam", "exploitative")},
                {"verdict": ("csam",)},
                C.BROADER,
                "verdict: left A says csam or exploitative; right A is more exact: csam",
            ),
            (
                {"verdict": ("csam",), "act": ("posing",)},
                {"verdict": ("csam",)},
                C.NARROWER,
                "verdict: both say csam; act: only left A says posing",
            ),
            (
                {"act": ("posing", "nudity")},
                {"act": ("posing", "none")},
                C.OVERLAPS,
                "act: left A says nudity or posing, right A none or posing, which can hold together",
            ),
            (
                {"verdict": ("csam",), "medium": ("photo",)},
                {"verdict": ("non-pertinent",), "medium": ("photo",)},
                C.CONFLICTS,
                "verdict: left A says csam, right A non-pertinent, which cannot both hold",
            ),
            (
                {"verdict": ("csam",)},
                {"medium": ("photo",)},
                C.INCOMPARABLE,
                "medium: only right A says photo; verdict: only left A says csam",
            ),
            ({}, {}, C.INCOMPARABLE, "neither says anything"),
            # What excludes nothing compares with nothing, and with its like.
            (
                {"verdict": ("unclassified",)},
                {"verdict": ("csam",)},
                C.INCOMPARABLE,
                "verdict: left A says unclassified (which excludes nothing), right A says csam",
            ),
            (
                {"verdict": ("unclassified",)},
                {"verdict": ("unclassified",)},
                C.CORRESPONDS,
                "verdict: both say unclassified",
            ),
            # Facts that hold together: more of them is the narrower value, and none contradicts another.
            (
                {"context": ("meme",)},
                {"context": ("meme", "series")},
                C.BROADER,
                "context: left A says meme; right A is more exact: meme and series",
            ),
            (
                {"context": ("meme",)},
                {"context": ("grid",)},
                C.OVERLAPS,
                "context: left A says meme, right A grid, which can hold together",
            ),
            # One country's law says nothing of another's.
            (
                {"legal_status": ("GB:illegal",)},
                {"legal_status": ("US:not-illegal",)},
                C.INCOMPARABLE,
                "legal_status:GB: only left A says GB:illegal; legal_status:US: only right A says US:not-illegal",
            ),
        ],
    )
    def test_and_why_in_words(self, a: Meaning, b: Meaning, relation: Correspondence, why: str) -> None:
        row = pair(a, b)
        assert (row.relation, row.why) == (relation, why)

    def test_project_vic_swaps_0_and_5(self) -> None:
        table = between("vic-us", "vic-us-legacy")
        same = {p for p, row in table.items() if row.relation is C.CORRESPONDS}
        assert same == {("0", "5"), ("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "0")}
        assert {p for p, row in table.items() if row.is_written} == {("0", "5"), ("1", "1"), ("4", "4")}
        assert table["1", "5"].relation is C.CONFLICTS

    def test_the_uks_old_levels_are_narrower_than_its_categories(self) -> None:
        table = between("uk-sap", "uk-sentencing")
        narrower = {p for p, row in table.items() if row.relation is C.NARROWER}
        assert narrower == {("1", "C"), ("2", "B"), ("3", "B"), ("4", "A"), ("5", "A")}
        assert {p for p, row in table.items() if row.is_written} == narrower
        assert {row.relation for p, row in table.items() if p not in narrower} == {C.CONFLICTS}
        assert not any(row.is_written_back for row in table.values())

    def test_two_versions_of_one_scheme_are_told_by_version(self) -> None:
        legacy = scheme("left", {"verdict": ("csam",)})
        (row,) = rows(legacy, scheme("left", {"verdict": ("comparison",)}))
        assert "left@1 A says csam" in row.why


class TestDiff:
    def test_value_by_value_and_dimension_by_dimension(self) -> None:
        old = scheme(
            "one", {"verdict": ("csam",), "act": ("posing",)}, {"verdict": ("exploitative",)}, {"medium": ("text",)}
        )
        new = scheme("two", {"verdict": ("csam", "exploitative"), "medium": ("photo",)}, {"verdict": ("exploitative",)})
        difference = diff(old, new)
        assert (difference.old, difference.new) == ("one@1", "two@1")
        assert [(v.value, v.change, [line.text for line in v.lines]) for v in difference.values] == [
            (
                "A",
                ChangeOfValue.CHANGED,
                [
                    "act: posing before; nothing is said of it any more",
                    "medium: photo, of which nothing was said before",
                    "verdict: csam before, csam or exploitative now, which takes in more",
                ],
            ),
            ("C", ChangeOfValue.REMOVED, ["medium: text"]),
        ]
        back = diff(new, old)
        assert [(v.value, v.change) for v in back.values] == [
            ("A", ChangeOfValue.CHANGED),
            ("C", ChangeOfValue.ADDED),
        ]
        assert "verdict: csam or exploitative before, csam now, which is more exact" in {
            line.text for line in back.values[0].lines
        }

    def test_swapped_meanings_are_pointed_out(self) -> None:
        difference = diff(REGISTRY.get("vic-us-legacy"), REGISTRY.get("vic-us"))
        assert {v.value: v.meant_before for v in difference.values if v.meant_before} == {"0": ("5",), "5": ("0",)}

    def test_what_is_no_value_is_told_as_well(self) -> None:
        head = b'id = "a"\nversion = "1"\nregion = "GB"\nstatus = "draft"\ntitle = "A"\nsource = ["s"]\n'
        value = b'[values.1]\ntitle = "One"\ndimensions = { verdict = "csam" }\n'
        old = schemes.parse(head + value, "old")
        new = schemes.parse(
            head.replace(b'"GB"', b'"NL"')
            + b'value_required = true\nregion_aliases = ["x"]\n'
            + value
            + b'aliases = ["I"]\n',
            "new",
        )
        difference = diff(old, new)
        assert {(c.what, c.before, c.after) for c in difference.changes} == {
            ("region", "GB", "NL"),
            ("region_aliases", "", "x"),
            ("value_required", "no", "yes"),
        }
        (changed,) = difference.values
        assert [(c.what, c.before, c.after) for c in changed.changes] == [("aliases", "", "I")]
        assert changed.lines == ()

    @given(LISTED, LISTED)
    def test_nothing_differs_from_itself_and_what_does_is_told_both_ways(self, a: Scheme, b: Scheme) -> None:
        assert (diff(a, a).changes, diff(a, a).values) == ((), ())
        there, back = diff(a, b), diff(b, a)
        assert {v.value for v in there.values} == {v.value for v in back.values}
        turned = {ChangeOfValue.ADDED: ChangeOfValue.REMOVED, ChangeOfValue.REMOVED: ChangeOfValue.ADDED}
        kinds = {v.value: v.change for v in back.values}
        for v in there.values:
            assert kinds[v.value] is turned.get(v.change, v.change)
            assert v.change is not ChangeOfValue.CHANGED or v.lines or v.changes


class TestPicture:
    def draw(self, a: Scheme, b: Scheme) -> Any:
        return ElementTree.fromstring(picture.draw(a, b, rows(a, b)))

    @given(LISTED, LISTED)
    def test_every_pair_is_in_it_by_a_line_or_a_sign(self, a: Scheme, b: Scheme) -> None:
        root = self.draw(a, b)
        text = "{http://www.w3.org/2000/svg}"
        lines = [p.get("class") for p in root.iter(f"{text}path") if p.find(f"{text}title") is not None]
        table = list(rows(a, b))
        drawn = {C.CORRESPONDS, C.BROADER, C.NARROWER, C.OVERLAPS}
        assert sorted(map(str, lines)) == sorted(r.relation for r in table if r.relation in drawn)
        signs = [t.find(f"{text}title") for t in root.iter(f"{text}text") if t.get("class") == "m"]
        assert len(signs) == len(table) + len(b.values)
        assert picture.draw(a, b, rows(a, b)) == picture.draw(a, b, rows(a, b))

    def test_relations_differ_by_form_and_not_by_colour_alone(self) -> None:
        root = self.draw(REGISTRY.get("uk-sap"), REGISTRY.get("ncmec-industry"))
        text = "{http://www.w3.org/2000/svg}"
        legend = [p for p in root.iter(f"{text}path") if p.find(f"{text}title") is None]
        assert len({p.get("stroke-dasharray") for p in legend}) == len(legend) == 4
        assert len(set(picture.SIGNS.values())) == len(Correspondence)
        assert root.get("role") == "img"
        title, description = root.find(f"{text}title"), root.find(f"{text}desc")
        assert title is not None
        assert description is not None
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert title.text == "Crosswalk of uk-sap@2007 and ncmec-industry@2022"
        assert re.search(r"\d+ overlaps, \d+ conflicts", description.text or "")
        style = root.find(f"{text}style")
        assert style is not None
        assert "prefers-color-scheme: dark" in (style.text or "")

    def test_a_strangers_text_is_text(self) -> None:
        hostile = '</text><script>alert(1)</script>"\x07\u202e&amp;\U000f0000'
        toml = hostile.replace("\\", "\\\\").replace('"', '\\"').replace("\x07", "\\u0007")
        one = schemes.parse(
            (
                f'id = "a"\nversion = "1"\nregion = "ZZ"\nstatus = "draft"\ntitle = "{toml}"\nsource = ["s"]\n'
                f'[values."{toml}"]\ntitle = "{toml}"\ndimensions = {{ verdict = "csam" }}\n'
            ).encode(),
            "test",
        )
        drawn = picture.draw(one, one, rows(one, one))
        root = ElementTree.fromstring(drawn)
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        assert "\x07" not in drawn
        assert "\u202e" not in drawn
        assert "&lt;script&gt;" in drawn

    def test_nothing_stands_outside(self) -> None:
        acts: list[Meaning] = [{"act": (v,)} for v in DIMENSIONS["act"].values]
        many = acts * 3
        for a, b in ((scheme("a", *many), scheme("b", many[0])), (scheme("a", many[0]), scheme("b", *many))):
            root = self.draw(a, b)
            width, height = float(root.get("width", 0)), float(root.get("height", 0))
            for box in root.iter("{http://www.w3.org/2000/svg}rect"):
                assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width
                assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height
