"""Mirrored and turned copies of a listed picture wait for a person, through hooks as they were set up before."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageOps

from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.hook import Action
from hashhub.model import Effort, Query, Verdict
from tests.hook.conftest import Listed, MakeHook


def copies(listed: Listed) -> dict[str, bytes]:
    """Return the listed picture in all other ways that it can lie, and two of these in a border."""
    shown = Image.open(io.BytesIO(listed.known)).convert("RGB")
    made = {turn.name: shown.transpose(turn) for turn in Image.Transpose}
    made["mirrored in a border"] = ImageOps.expand(made["FLIP_LEFT_RIGHT"], border=40, fill="white")
    made["turned in bars"] = ImageOps.pad(made["ROTATE_90"], (800, 600), color="black")
    encoded = {}
    for name, picture in made.items():
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=80)
        encoded[name] = out.getvalue()
    return encoded


@pytest.mark.parametrize("hashing", ["here", "hub"])
def test_they_are_held(make_hook: MakeHook, listed: Listed, hashing: str) -> None:
    hook = make_hook(hashing=hashing)
    decisions = {name: hook.check(content) for name, content in copies(listed).items()}
    assert {name: (d.verdict, d.action) for name, d in decisions.items()} == dict.fromkeys(
        decisions, (Verdict.REVIEW, Action.HOLD)
    )
    assert hook.check(listed.unknown).verdict is Verdict.NO_MATCH


def test_where_they_are_not_looked_for_the_answer_says_so(make_hook: MakeHook, listed: Listed) -> None:
    mirrored = copies(listed)["FLIP_LEFT_RIGHT"]
    of_file: tuple[Hash, ...] = tuple(h for h in hash_media(mirrored).hashes if h.algorithm == "PDQ")
    digests = make_hook(effort=Effort.STANDARD).check(Query(hashes=of_file))
    plain = make_hook(effort=Effort.PLAIN).check(mirrored)
    for decision in (digests, plain):
        assert decision.verdict is Verdict.NO_MATCH
        assert "VARIANTS_SKIPPED" in [line.code for line in decision.reasons]
