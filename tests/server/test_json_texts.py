"""Texts in JSON: which are none, and how they are looked through."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1
from hashhub.server import http_door

if TYPE_CHECKING:
    from tests.server.conftest import Serve

_CHARACTERS = st.one_of(st.characters(), st.characters(categories=["Cs"]), st.sampled_from('"\\/\n\u0416\U0001f600'))


@pytest.fixture(autouse=True, scope="module")
def _as_the_door_reads() -> None:
    http_door.read_texts_at_once()


def _body(text: str) -> str:
    return json.dumps({"queries": [{"label": text}]})


def test_a_door_has_texts_read_so(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_format, "_UNPAIRED_SURROGATE_PATTERN", None)
    serve_hub()
    in_place: object = vars(json_format)["_UNPAIRED_SURROGATE_PATTERN"]
    assert isinstance(in_place, http_door._UnpairedSurrogates)


@given(st.text(_CHARACTERS, max_size=12))
def test_a_text_is_read_as_it_was_meant_unless_it_has_half_a_surrogate_pair(text: str) -> None:
    meant = json.loads(json.dumps(text))  # puts pairs together
    try:
        meant.encode()
    except UnicodeEncodeError:
        with pytest.raises(json_format.ParseError):
            json_format.Parse(_body(text), v1.BatchMatchHashesRequest())
    else:
        read = json_format.Parse(_body(text), v1.BatchMatchHashesRequest())
        assert read.queries[0].label == meant


def test_a_long_text_is_not_looked_through_a_character_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's pattern took 350 ms for 8 MiB, for which all other threads waited: it must still ask ours."""
    asked: list[int] = []
    search = http_door._UnpairedSurrogates.search

    def noted(self: http_door._UnpairedSurrogates, text: str) -> bool:
        asked.append(len(text))
        return search(self, text)

    monkeypatch.setattr(http_door._UnpairedSurrogates, "search", noted)
    json_format.Parse(_body("a" * (8 << 20)), v1.BatchMatchHashesRequest())
    assert asked == [8 << 20]
