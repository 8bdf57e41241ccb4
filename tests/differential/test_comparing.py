"""What counts as the same in a differential run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.comparing import Comparison


def differences(comparison: Comparison, old: Any, new: Any) -> list[str]:
    with comparison.attempt() as attempt:
        found = [path for path, _, _ in comparison.differences(old, new)]
        attempt.succeeded = not found
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"name": "home/list/imp-00000000aaaaaaaa"}, {"name": "home/list/imp-00000000bbbbbbbb"}),
        ({"etag": "a"}, {"etag": "b"}),
        ({"seconds": 0.1, "is": 1}, {"seconds": 0.2, "is": 1}),
        (["conflict 0123456789abcdef is open"], ["conflict fedcba9876543210 is open"]),
    ],
)
def test_ids_times_and_salts_may_differ(old: Any, new: Any) -> None:
    assert differences(Comparison(), old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ({"verdict": "MATCH"}, {"verdict": "REVIEW"}, ".verdict"),
        ({"a": 1}, {}, ".a"),
        ({}, {"a": None}, ".a"),
        ([1, 2], [1], "[1:]"),
        (["MD5:00000000000000000000000000000001"], ["MD5:00000000000000000000000000000002"], "[0]"),
        ({"time": "2025-01-02T03:04:05Z"}, {"time": "2025-01-02T03:04:06Z"}, ".time"),
        ("imp-00000000aaaaaaaa and more", "imp-00000000bbbbbbbb and less", ""),
    ],
)
def test_all_else_may_not(old: Any, new: Any, path: str) -> None:
    assert differences(Comparison(), old, new) == [path]


def test_what_was_paired_stays_so() -> None:
    comparison = Comparison()
    assert differences(comparison, ["imp-aaaaaaaa", "imp-bbbbbbbb"], ["imp-cccccccc", "imp-dddddddd"]) == []
    assert differences(comparison, "imp-aaaaaaaa", "imp-cccccccc") == []
    assert differences(comparison, "imp-aaaaaaaa", "imp-dddddddd") == [""]
    assert differences(comparison, "imp-aaaaaaaa", "imp-eeeeeeee") == [""]
    assert comparison.of_new("of home/list/imp-bbbbbbbb") == "of home/list/imp-dddddddd"


def test_an_attempt_that_failed_leaves_no_pairs() -> None:
    comparison = Comparison()
    assert differences(comparison, ["imp-aaaaaaaa", 1], ["imp-cccccccc", 2]) == ["[1]"]
    assert differences(comparison, "imp-aaaaaaaa", "imp-dddddddd") == []
