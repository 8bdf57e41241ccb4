"""The mutations fit the source, so that what they show is about the code that there is."""

from __future__ import annotations

from tests.mutations.__main__ import ROOT, mutations


def test_each_changes_one_place() -> None:
    for mutation in mutations():
        assert (ROOT / mutation.file).read_text("utf-8").count(mutation.old) == 1, mutation.name
        assert mutation.old != mutation.new, mutation.name
        assert all((ROOT / test.partition("::")[0]).exists() for test in mutation.tests), mutation.name
