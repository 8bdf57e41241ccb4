"""Some sequences of each adversary; tests/adversaries plays many."""

from __future__ import annotations

import pytest

from tests.adversaries.characters import CHARACTERS
from tests.adversaries.sequences import run


@pytest.mark.parametrize("name", CHARACTERS)
def test_nobody_brings_about_what_must_not_be(name: str) -> None:
    failures = list(run(CHARACTERS[name], 27, range(4)))
    assert not failures, "\n\n".join(map(str, failures))
