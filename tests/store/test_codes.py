"""Rows hold numbers for the members of enums: these never change."""

from __future__ import annotations

import pytest

from hashhub.store import schema as s


@pytest.mark.parametrize(
    ("codes", "members"),
    [
        (s.ENTRY_STATES, "ACTIVE QUARANTINED WITHDRAWN"),
        (s.IMPORT_STATES, "OPEN COMMITTING COMMITTED CANCELLED"),
        (
            s.DISPOSITIONS,
            "ACCEPTED QUARANTINED REJECTED DUPLICATE UNCHANGED WITHDRAWN STAYS_WITHDRAWN NOTED",
        ),
        (s.REVIEW_KINDS, "CONFIRMED FALSE_POSITIVE NOT_ILLEGAL_HERE MISCLASSIFIED DUPLICATE SET_ASIDE"),
        (s.DELIVERY_STATES, "PENDING DELIVERED GIVEN_UP DROPPED"),
        (s.DEFINITION_KINDS, "SCHEME POLICY"),
        (s.OPERATION_STATES, "WAITING RUNNING SUCCEEDED FAILED CANCELLED"),
        (s.ROLES, "CONTRIBUTOR CONSUMER OPERATOR AUDITOR PEER"),
        (s.WITHDRAWAL_REASONS, "FALSE_POSITIVE NOT_ILLEGAL_HERE REQUESTED_BY_PERSON_SHOWN ERROR OTHER"),
        (
            s.CONFLICT_KINDS,
            (
                "BENIGN_AGAINST_HARMFUL VERDICT AGE_BAND ACT MEDIUM LEGAL_STATUS CONTRADICTORY_DIGESTS PERSONS "
                "SELF_GENERATED"
            ),
        ),
        (s.CONFLICT_STATES, "OPEN ASSIGNED RESOLVED ENDED"),
    ],
)
def test_members_keep_their_numbers(codes: dict[str, int], members: str) -> None:
    assert [member.name for member in codes] == members.split()  # type: ignore[attr-defined]  # enums
    assert list(codes.values()) == list(range(1, len(codes) + 1))


def test_severities_count_from_nothing() -> None:
    assert {str(severity): code for severity, code in s.SEVERITIES.items()} == {"LOW": 0, "MEDIUM": 1, "HIGH": 2}
