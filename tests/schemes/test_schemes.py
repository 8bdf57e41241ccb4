from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.errors import InvalidArgument, Reason
from hashhub.model import SchemeStatus
from hashhub.schemes import dimensions
from hashhub.schemes.dimensions import is_within

REGISTRY = schemes.load()
MINOR = ("0-2", "11-13", "14-15", "16-17", "3-6", "7-10")
PHOTOGRAPHIC = ("photo", "pseudo-photo", "video")
RANK_1 = ("bestiality", "nonpenetrative", "penetrative", "sadism")


def means(scheme: str, raw: str) -> dict[str, tuple[str, ...]]:
    classification = REGISTRY.get(scheme).resolve(raw)
    assert classification is not None
    return classification.dimensions


class TestTheTables:
    """Every table, value by value: these are the meanings that people rely on, so a change must be made twice."""

    def test_which_schemes_there_are_and_which_may_lead_to_a_block(self) -> None:
        assert {s.name: (s.status.value, s.region, s.value_required) for s in REGISTRY.list()} == {
            "arachnid-shield@1.0": ("VERIFIED", "CA", True),
            "copine@2001": ("DRAFT", "ZZ", True),
            "interpol-baseline@1.0": ("VERIFIED", "ZZ", False),
            "ncmec-industry@2022": ("VERIFIED", "US", False),
            "threatexchange@1.0": ("DRAFT", "ZZ", True),
            "uk-caid@0.1": ("DRAFT", "GB", True),
            "uk-sap@2007": ("VERIFIED", "GB", False),
            "uk-sentencing@2014": ("VERIFIED", "GB", False),
            "vic-us-legacy@1.0": ("VERIFIED", "US", True),
            "vic-us@2.0": ("VERIFIED", "US", True),
        }

    def test_threatexchange(self) -> None:
        undecided = {"verdict": ("unclassified",)}
        harmless = {"verdict": ("non-pertinent",)}
        harmful = {"verdict": ("csam", "exploitative")}
        assert {v: means("threatexchange", v) for v in REGISTRY.get("threatexchange").values} == {
            "MALICIOUS": harmful,
            "NON_MALICIOUS": harmless,
            "SUSPICIOUS": undecided,
            "UNKNOWN": undecided,
            "INVESTIGATION_SEED": undecided,
            "DISPUTED": undecided,
        }
        assert means("threatexchange", "POSITIVE_CLASS") == harmful
        assert means("threatexchange", "NEGATIVE_CLASS") == harmless

    def test_project_vic(self) -> None:
        abuse = {"verdict": ("csam",), "age_band": MINOR, "legal_status": ("US:illegal",)}
        drawn = {
            "verdict": ("exploitative",),
            "baseline_illegal": ("not-shown",),
            "age_band": MINOR,
            "medium": ("ai-generated", "drawn"),
        }
        common = {
            "1": abuse,
            "2": {"verdict": ("exploitative",)},
            "3": drawn,
            "4": {"verdict": ("comparison",), "act": ("none",)},
        }
        pertinent, uncategorized = {"verdict": ("non-pertinent",)}, {"verdict": ("unclassified",)}
        for scheme, table in (
            ("vic-us", {"0": pertinent, **common, "5": uncategorized}),
            ("vic-us-legacy", {"0": uncategorized, **common, "5": pertinent}),
        ):
            assert {v: means(scheme, v) for v in REGISTRY.get(scheme).values} == table

    def test_industry(self) -> None:
        assert {v: means("ncmec-industry", v) for v in REGISTRY.get("ncmec-industry").values} == {
            "A1": {"verdict": ("csam",), "age_band": ("prepubescent",), "act": RANK_1, "legal_status": ("US:illegal",)},
            "A2": {
                "verdict": ("csam",),
                "age_band": ("prepubescent",),
                "act": ("lascivious-focus",),
                "legal_status": ("US:illegal",),
            },
            "B1": {
                "verdict": ("csam",),
                "baseline_illegal": ("not-shown",),
                "age_band": ("pubescent",),
                "act": RANK_1,
                "legal_status": ("US:illegal",),
            },
            "B2": {
                "verdict": ("csam",),
                "baseline_illegal": ("not-shown",),
                "age_band": ("pubescent",),
                "act": ("lascivious-focus",),
                "legal_status": ("US:illegal",),
            },
        }

    def test_uk(self) -> None:
        of_all = {"verdict": ("csam",), "age_band": MINOR, "medium": PHOTOGRAPHIC, "legal_status": ("GB:illegal",)}
        assert {v: means("uk-sentencing", v) for v in REGISTRY.get("uk-sentencing").values} == {
            "A": {**of_all, "act": ("bestiality", "penetrative", "sadism")},
            "B": {**of_all, "act": ("nonpenetrative",)},
            "C": {**of_all, "baseline_illegal": ("not-shown",), "act": ("lascivious-focus", "nudity", "posing")},
        }
        assert {v: means("uk-sap", v) for v in REGISTRY.get("uk-sap").values} == {
            "1": {**of_all, "act": ("lascivious-focus", "posing")},
            "2": {**of_all, "act": ("nonpenetrative",), "persons": ("child-child", "solo")},
            "3": {**of_all, "act": ("nonpenetrative",), "persons": ("adult-child",)},
            "4": {**of_all, "act": ("penetrative",)},
            "5": {**of_all, "act": ("bestiality", "sadism")},
        }

    def test_copine(self) -> None:
        dimensions = {
            v: (d["act"], d["verdict"], d.get("persons"), d.get("baseline_illegal"))
            for v in REGISTRY.get("copine").values
            for d in (means("copine", v),)
        }
        lawful = (("none", "nudity"), ("csam", "exploitative", "non-pertinent"), None, ("not-shown",))
        assert dimensions == {
            "1": lawful,
            "2": lawful,
            "3": lawful,
            "4": (("posing",), ("csam", "exploitative"), None, ("not-shown",)),
            "5": (("posing",), ("csam", "exploitative"), None, ("not-shown",)),
            "6": (("lascivious-focus",), ("csam", "exploitative"), None, ("not-shown",)),
            "7": (("nonpenetrative", "penetrative"), ("csam",), ("child-child", "solo"), None),
            "8": (("nonpenetrative",), ("csam",), ("adult-child",), None),
            "9": (("nonpenetrative", "penetrative"), ("csam",), ("adult-child",), None),
            "10": (("bestiality", "sadism"), ("csam",), None, None),
        }
        assert all(means("copine", v)["age_band"] == MINOR for v in dimensions)

    def test_interpol_and_arachnid(self) -> None:
        assert means("interpol-baseline", "Y") == {
            "verdict": ("csam",),
            "baseline_illegal": ("meets",),
            "age_band": ("0-2", "11-13", "3-6", "7-10"),
            "act": ("bestiality", "lascivious-focus", "nonpenetrative", "penetrative", "sadism"),
            "medium": ("ai-altered", "photo", "video"),
        }
        assert means("interpol-baseline", "N") == {"baseline_illegal": ("not-shown",)}
        assert {v: means("arachnid-shield", v) for v in REGISTRY.get("arachnid-shield").values} == {
            "csam": {"verdict": ("csam",), "age_band": MINOR},
            "harmful-abusive-material": {
                "verdict": ("exploitative",),
                "baseline_illegal": ("not-shown",),
                "age_band": MINOR,
                "act": ("none", "nudity"),
            },
            "no-known-match": {"verdict": ("unclassified",)},
            "test": {"verdict": ("unclassified",)},
        }

    def test_every_scheme_is_documented_as_it_is(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "reconcile/schemes.md").read_text(encoding="utf-8")
        for scheme in REGISTRY.list():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{scheme.name}` |"))
            assert f"| {scheme.status.lower()} |" in row
        for name in dimensions.DIMENSIONS:
            assert f"`{name}`" in page


class TestResolve:
    def test_keeps_the_raw_value_with_scheme_version_and_region(self) -> None:
        classification = REGISTRY.get("vic-us").resolve("1")
        assert classification is not None
        assert (classification.scheme, classification.version, classification.region, classification.value) == (
            "vic-us",
            "2.0",
            "US",
            "1",
        )
        assert classification.status is SchemeStatus.VERIFIED

    @given(
        of=st.sampled_from([(s, v) for s in REGISTRY.list() for v in s.values]),
        upper=st.booleans(),
        space=st.text(" \t\r\n", max_size=3),
    )
    def test_case_and_surrounding_space_do_not_matter(
        self, *, of: tuple[schemes.Scheme, str], upper: bool, space: str
    ) -> None:
        scheme, value = of
        assert scheme.resolve(space + (value.upper() if upper else value.lower()) + space) is scheme.resolve(value)

    @pytest.mark.parametrize(
        ("text", "value"), [("yes", "Y"), ("TRUE", "Y"), ("t", "Y"), ("no", "N"), ("F", "N"), ("false", "N")]
    )
    def test_spellings_of_the_baseline_flag(self, text: str, value: str) -> None:
        classification = REGISTRY.get("interpol-baseline").resolve(text)
        assert classification is not None
        assert classification.value == value

    @given(st.sampled_from(REGISTRY.list()), st.text())
    def test_an_unknown_value_means_nothing(self, scheme: schemes.Scheme, raw: str) -> None:
        known = {t.casefold() for v in scheme.values.values() for t in (v.value, *v.aliases)}
        assert (scheme.resolve(raw) is None) == (raw.strip().casefold() not in known)

    @pytest.mark.parametrize("raw", ["", "00", "1.0", "A", "-1", "11", "1 2"])
    def test_numbers_are_not_guessed_at(self, raw: str) -> None:
        assert REGISTRY.get("vic-us").resolve(raw) is None


class TestRegistry:
    def test_a_bare_id_means_the_newest_verified_version(self, tmp_path: Path) -> None:
        for version, status in (("2.1", "verified"), ("2.0.9", "verified"), ("2.10", "verified"), ("3", "draft")):
            (tmp_path / f"{version}.toml").write_text(scheme_file(id="vic-us", version=version, status=status))
        registry = schemes.load(tmp_path)
        assert registry.get("vic-us").version == "2.10"
        assert registry.get("vic-us@3").status is SchemeStatus.DRAFT
        assert registry.get("copine").version == "2001"  # a draft, for want of a verified one

    @pytest.mark.parametrize("reference", ["vic", "vic-us@9", "", "@", "VIC-US"])
    def test_an_unknown_scheme_is_refused_with_those_that_exist(self, reference: str) -> None:
        with pytest.raises(InvalidArgument, match=r"vic-us@2\.0") as e:
            REGISTRY.get(reference)
        assert e.value.reason is Reason.UNKNOWN_SCHEME

    @pytest.mark.parametrize(
        ("scheme", "stated", "contradicts"),
        [
            ("vic-us", "US", False),
            ("vic-us", "us", False),
            ("vic-us", "UK", True),
            ("vic-us", "Default", False),
            ("vic-us", "CUSTOM", False),
            ("vic-us", "UNKNOWN", False),
            ("vic-us", "", False),
            ("uk-sentencing", "UK", False),
            ("uk-sentencing", "GB", False),
            ("uk-sentencing", "US", True),
            ("copine", "US", False),
        ],
    )
    def test_the_region_that_a_file_states(self, *, scheme: str, stated: str, contradicts: bool) -> None:
        assert REGISTRY.get(scheme).contradicts_region(stated) is contradicts

    @pytest.mark.parametrize(
        ("scheme", "stated", "contradicts"),
        [
            ("vic-us", "", False),
            ("vic-us", "vic-us", False),
            ("vic-us", " VIC-US ", False),
            ("vic-us", "vic-us@2.0", False),
            ("vic-us", "vic-us@2", False),
            ("vic-us", "vic-us@2.1", True),
            ("vic-us", "vic-us@", True),
            ("vic-us", "vic-us@x", True),
            ("vic-us", "@2.0", True),
            ("vic-us", "vic-us-legacy", True),
            ("uk-sap", "uk-caid", True),
            ("uk-sentencing", "uk-caid", True),
            ("copine", "vic-us", True),
        ],
    )
    def test_the_scheme_that_a_source_states(self, *, scheme: str, stated: str, contradicts: bool) -> None:
        assert REGISTRY.get(scheme).contradicts_name(stated) is contradicts

    def test_a_scheme_can_have_other_names_in_sources(self) -> None:
        text = 'source_names = ["vic-ca"]\n' + scheme_file()
        mine = schemes.parse(text.encode(), "mine.toml")
        assert not mine.contradicts_name("vic-ca")
        assert not mine.contradicts_name("vic-ca@1")
        assert mine.contradicts_name("vic-ca@2")
        with pytest.raises(InvalidArgument, match="source_names"):
            schemes.parse(text.replace("vic-ca", "VIC CA").encode(), "mine.toml")

    def test_2_and_2_0_are_one_version(self) -> None:
        texts = [scheme_file(version=version).encode() for version in ("2", "2.0")]
        with pytest.raises(InvalidArgument, match="defined twice"):
            schemes.SchemeRegistry([schemes.parse(text, "mine.toml") for text in texts])


def scheme_file(value: str = "", **changes: str) -> str:
    keys = {
        "id": "mine",
        "version": "1",
        "region": "CA",
        "status": "draft",
        "title": "Mine",
        "source": "a letter",
        **changes,
    }
    text = "\n".join(f'{k} = ["{v}"]' if k == "source" else f'{k} = "{v}"' for k, v in keys.items() if v != "-")
    return text + "\n" + (value or '[values.1]\ntitle = "One"\ndimensions = { verdict = "csam", age_band = "<18" }\n')


def _without(refused: Path, function: Any) -> Any:
    def listed(path: Any = ".") -> Any:
        if Path(path) == refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        return function(path)

    return listed


class TestSchemeFiles:
    def test_a_new_scheme_needs_no_code(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text(scheme_file())
        classification = schemes.load(tmp_path).get("mine").resolve("1")
        assert classification is not None
        assert classification.dimensions == {"age_band": MINOR, "verdict": ("csam",)}

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("id = ", "is not TOML"),
            (scheme_file(source="-"), "source"),
            (scheme_file(source=" "), "source"),
            (scheme_file(id="Mine"), "id"),
            (scheme_file(id="a@b"), "id"),
            (scheme_file(version="v1"), "version"),
            (scheme_file(region="Canada"), "region"),
            (scheme_file(status="VERIFIED"), "status"),
            (scheme_file(title=""), "title"),
            (scheme_file(colour="red"), "colour"),
            (scheme_file("[values]\n"), "values"),
            (scheme_file('[values.1]\ndimensions = { verdict = "csam" }\n'), "values.1"),
            (
                scheme_file('[values.1]\ntitle = "x"\ndimensions = { verdikt = "csam" }\n'),
                r"values\.1\.dimensions: verdikt",
            ),
            (
                scheme_file('[values.1]\ntitle = "x"\ndimensions = { verdict = "bad" }\n'),
                r"values\.1\.dimensions: verdict.*'bad'",
            ),
            (
                scheme_file('[values.1]\ntitle = "x"\ndimensions = { verdict = [] }\n'),
                r"values\.1\.dimensions: verdict",
            ),
            (scheme_file('[values.1]\ntitle = "x"\ndimensions = { verdict = 3 }\n'), r"values\.1"),
            (scheme_file('[values.1]\ntitle = "x"\ndimensions = { legal_status = "illegal" }\n'), "legal_status"),
            (scheme_file('[values.1]\ntitle = "x"\nweight = 3\n'), "weight"),
            (scheme_file('[values.1]\ntitle = "x"\n[values.2]\ntitle = "y"\naliases = ["1"]\n'), r"values\.2"),
            (scheme_file('[values.a]\ntitle = "x"\n[values.A]\ntitle = "y"\n'), r"values\.A"),
            (scheme_file('[values.1]\ntitle = "x"\naliases = [" "]\n'), r"values\.1"),
            (scheme_file('[values." 1"]\ntitle = "x"\n'), "white space"),
            (scheme_file("values = 3"), "values"),
        ],
    )
    def test_a_bad_file_is_refused_by_name_and_key(self, tmp_path: Path, text: str, names: str) -> None:
        (tmp_path / "bad-one.toml").write_text(text)
        with pytest.raises(InvalidArgument, match=rf"bad-one\.toml.*{names}") as e:
            schemes.load(tmp_path)
        assert str(tmp_path) not in e.value.message

    @given(st.binary(max_size=60))
    def test_no_bytes_give_any_other_error(self, data: bytes) -> None:
        with pytest.raises(InvalidArgument):
            schemes.parse(data, "x.toml")

    def test_the_same_version_twice_and_a_missing_directory_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="no directory"):
            schemes.load(tmp_path / "absent")
        (tmp_path / "again.toml").write_text(scheme_file(id="vic-us", version="2.0"))
        with pytest.raises(InvalidArgument, match=r"vic-us@2\.0 is defined twice"):
            schemes.load(tmp_path)

    def test_a_directory_that_cannot_be_listed_is_refused(self, tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("listdir", "scandir"):
                patch.setattr(os, name, _without(tmp_path, getattr(os, name)))
            with pytest.raises(InvalidArgument, match="cannot read"):
                schemes.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("age_band", ("11-13", "3-6", "0-2"), "0-2 or 3-6 or 11-13"),
        ("age_band", ("11-13/before", "3-6"), "3-6 or 11-13/before"),
        ("age_band", ("0-2", "3-6", "7-10", "11-13", "14-15", "16-17"), "<18"),
        ("legal_status", ("GB:illegal",), "GB:illegal"),
        ("of a newer hub", ("b", "a"), "b or a"),
    ],
)
def test_values_are_read_in_their_dimensions_order(name: str, values: tuple[str, ...], expected: str) -> None:
    assert dimensions.words(name, values) == expected


def test_a_hubs_table_is_the_scheme_that_it_was_made_of() -> None:
    for scheme in schemes.load().list():
        told = schemes.of_values(
            scheme.name,
            region=scheme.region,
            status=scheme.status,
            title=scheme.title,
            source="; ".join(scheme.source),
            values=scheme.values.values(),
        )
        assert told.name == scheme.name
        for value in scheme.values:
            assert told.resolve(value) == scheme.resolve(value)
            assert told.resolve(f" {value.upper()} ") == scheme.resolve(value)


@pytest.mark.parametrize(
    ("name", "possible", "values", "is_hit"),
    [
        ("verdict", ("csam",), ("csam",), True),
        ("verdict", ("csam", "exploitative"), ("csam",), False),
        ("verdict", ("csam", "exploitative"), ("csam", "exploitative"), True),
        ("verdict", (), ("csam",), False),
        ("verdict", ("csam",), ("unclassified",), False),  # which excludes nothing
        ("verdict", ("unclassified",), ("unclassified",), True),
        ("verdict", ("unclassified",), ("csam",), False),
        ("age_band", ("0-2",), ("prepubescent",), True),
        ("age_band", ("0-2", "16-17"), ("prepubescent",), False),
        ("age_band", ("prepubescent",), ("0-2",), False),
        ("age_band", ("of-another-version",), ("0-2",), False),
        ("legal_status", ("GB:illegal", "US:not-illegal"), ("GB:illegal",), True),
        ("legal_status", ("GB:illegal", "GB:not-illegal"), ("GB:illegal",), False),
        ("legal_status", ("US:illegal",), ("GB:illegal",), False),
        ("baseline_illegal", ("meets",), ("not-shown",), False),
    ],
)
def test_what_is_within_values(name: str, possible: tuple[str, ...], values: tuple[str, ...], is_hit: bool) -> None:
    assert is_within(name, possible, values) is is_hit
