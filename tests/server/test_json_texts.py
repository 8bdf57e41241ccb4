"""Texts in JSON that the library would look through a character at a time, while all other threads wait."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from tests.server.test_bridge import ask

if TYPE_CHECKING:
    from tests.server.conftest import Served

BATCH = "/hashhub.v1.MatchService/BatchMatchHashes"
MEDIA = "/hashhub.v1.MatchService/BatchMatchMedia"
LONG = "a" * (2 << 20)


def test_a_long_text_is_refused_before_it_is_looked_through(served: Served) -> None:
    """It took 350 ms for 8 MiB."""
    for path, body in (
        (BATCH, {"queries": [{"hashes": []}, {"label": LONG}]}),
        (MEDIA, {"media": [{"label": LONG}]}),
        ("/hashhub.v1.MatchService/MatchHashes", {"options": {"policy": LONG}}),
        ("/hashhub.v1.MatchService/MatchHashes", {"options": {"maxDistances": {LONG: 1}}}),
        ("/hashhub.v1.ContributorService/UpdateContributor", {"contributor": {"displayName": LONG}}),
        ("/hashhub.v1.ContributorService/UpdateContributor", {"contributor": {"display_name": LONG}}),
    ):
        answer = ask(served, path, body)
        assert (answer.status, "at most 1048576 characters" in answer.json["message"]) == (400, True), path


def test_long_bytes_are_no_text(served: Served) -> None:
    content = base64.b64encode(b"synthetic" * 400_000).decode()
    answer = ask(served, MEDIA, {"media": [{"label": "x", "content": content}], "options": {"policy": "any"}})
    assert answer.status == 200


def test_half_a_surrogate_pair_is_refused(served: Served) -> None:
    body = json.dumps({"queries": [{"label": "\ud800"}]}).encode()
    assert ask(served, BATCH, body).status == 400
