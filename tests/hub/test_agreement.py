"""From lists that contributors hand over to how far they agree: the store, the extract and the figures in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hashhub import schemes
from hashhub.reconcile import extract as extracts
from hashhub.reconcile.agreement import compute
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.report import page
from hashhub.schemes.crosswalk import Relation
from tests.hub.conftest import Desk, item


def test_what_contributors_hand_over_is_what_is_compared(desk: Desk, tmp_path: Path) -> None:
    lists: dict[str, tuple[str, Any]] = {
        "us/list": ("vic-us@2.0", lambda n: "0" if n < 25 else "1"),
        "uk/list": ("uk-sentencing@2014", lambda n: "A"),
        "hotline/list": ("arachnid-shield@1.0", lambda n: "csam"),
    }
    for name, (scheme, value) in lists.items():
        desk.hash_set(name, scheme=scheme)
        desk.contribute(name, *(item(n, value=value(n)) for n in range(50)))
    # Who only takes what another has is no further voice.
    desk.contributor("copy", takes_from=["hotline"])
    desk.hash_set("copy/list", scheme="arachnid-shield@1.0")
    desk.contribute("copy/list", *(item(n, value="csam") for n in range(50)))
    extracts.write(desk.hub.store, tmp_path / "extract")
    extract = Extract.open(tmp_path / "extract")
    agreement = compute(extract, schemes.load())
    assert agreement.items == 50
    verdicts = {
        c.contributor: (c.share.count, c.share.items) for c in agreement.contributors if c.dimension == "verdict"
    }
    # Of the first 25 each of the others has one against one where `us` is among the others.
    assert verdicts == {"us": (25, 50), "uk": (25, 25), "hotline": (25, 25), "copy": (25, 25)}
    (alpha,) = (d.alpha for d in agreement.dimensions if d.dimension == "verdict")
    assert alpha is not None
    assert alpha < 0.3
    first = agreement.suggestions[0]
    assert first.relation == Relation.CONFLICT
    assert first.share.count == 25
    assert "classified 50 items" in page(title="Three databases", revision=extract.revision, agreement=agreement)
    # A caller that may not see one of the lists gets what it would get if that list did not exist.
    seen = compute(extract.restricted(["us/list", "uk/list"]), schemes.load())
    assert {c.contributor for c in seen.contributors} == {"us", "uk"}
