from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import wire
from hashhub.errors import InvalidArgument

slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
import_ids = st.from_regex(r"[a-z]{1,5}-[0-9a-f]{1,20}", fullmatch=True)
ids = st.integers(1, 2**32 - 1)


@given(slugs, slugs, import_ids, ids, ids)
def test_names_are_read_as_they_were_built(
    contributor: str, hash_set: str, import_id: str, entry: int, review: int
) -> None:
    assert wire.parse_contributor(wire.contributor_name(contributor)) == contributor
    assert wire.parse_contributor_or_all(wire.contributor_name(contributor)) == contributor
    assert wire.parse_hash_set(wire.hash_set_name(contributor, hash_set)) == (contributor, hash_set)
    assert wire.parse_import(wire.import_name(contributor, hash_set, import_id)) == (contributor, hash_set, import_id)
    assert wire.parse_entry(wire.entry_name(contributor, hash_set, entry)) == (contributor, hash_set, entry)
    assert wire.parse_review(wire.review_name(contributor, hash_set, entry, review)) == (
        contributor,
        hash_set,
        entry,
        review,
    )
    assert wire.parse_group(wire.group_name(contributor)) == contributor
    assert wire.parse_token(wire.token_name(contributor)) == contributor
    assert wire.parse_policy(wire.policy_name(contributor)) == contributor
    assert wire.parse_scheme(wire.scheme_name(contributor, "2.0")) == f"{contributor}@2.0"


PARSERS: list[Callable[[str, str], Any]] = [
    wire.parse_contributor,
    wire.parse_contributor_or_all,
    wire.parse_hash_set,
    wire.parse_import,
    wire.parse_entry,
    wire.parse_review,
    wire.parse_group,
    wire.parse_token,
    wire.parse_policy,
    wire.parse_scheme,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text() | st.from_regex(r"contributors/.*/hashSets/.*/entries/.*"))
def test_any_text_is_a_name_or_an_error_with_its_field(parse: Callable[[str, str], Any], text: str) -> None:
    try:
        parse(text, "parent.name")
    except InvalidArgument as e:
        assert [v.field for v in e.violations] == ["parent.name"]


def test_a_dash_means_all_contributors() -> None:
    assert wire.parse_contributor_or_all("contributors/-") is None


@pytest.mark.parametrize(
    "name",
    [
        "contributors/a/hashSets/b/entries/0",
        "contributors/a/hashSets/b/entries/01",
        "contributors/a/hashSets/b/entries/4294967296",
        "contributors/a/hashSets/b/entries/1/",
        "contributors/A/hashSets/b/entries/1",
        "contributors/a/hashSets//entries/1",
        "contributors/a/hashSets/b/entries/1\n",
        "",
    ],
)
def test_entry_names_have_one_spelling(name: str) -> None:
    with pytest.raises(InvalidArgument):
        wire.parse_entry(name)


def test_the_largest_entry_id_is_one() -> None:
    assert wire.parse_entry("contributors/a/hashSets/b/entries/4294967295")[2] == 2**32 - 1
