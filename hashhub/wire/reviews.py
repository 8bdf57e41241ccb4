"""Reviews: the messages, to the model and back."""

from __future__ import annotations

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Review, ReviewKind
from hashhub.wire import names
from hashhub.wire.administration import ROLE
from hashhub.wire.fields import Sendable, build, check_text, checked, read_time, refuse, timestamp
from hashhub.wire.records import REVIEW_KIND


def review_to_pb(review: Review, contributor: str, hash_set: str) -> v1.Review:
    """Return the message of a review of an entry in this hash set; a review without an id has no name yet."""

    def name(review_id: int) -> str:
        return names.review_name(contributor, hash_set, review.entry_id, review_id) if review_id else ""

    with Sendable("review", expected="Review, its kind a ReviewKind"):
        return v1.Review(
            name=name(review.id),
            author=names.author_name(review.author) if review.author else "",
            kind=REVIEW_KIND.to_pb(review.kind),
            comment=review.comment,
            create_time=timestamp(review.create_time),
            actor=names.token_name(review.actor) if review.actor else "",
            role=ROLE.to_pb(review.role),
            sets_aside=name(review.sets_aside),
            awaits_acceptance=review.awaits_acceptance,
            create_revision=review.revision,
        )


def review_from_pb(pb: v1.Review, at: str = "review") -> Review:
    wrong: list[Violation] = []
    _, _, entry, review_id = checked(wrong, names.parse_review, pb.name, f"{at}.name") or ("", "", 0, 0)
    aside = checked(wrong, names.parse_review, pb.sets_aside, f"{at}.sets_aside") if pb.sets_aside else None
    values = {
        "id": review_id,
        "entry_id": entry,
        "author": checked(wrong, names.parse_author, pb.author, f"{at}.author") or "",
        "kind": REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "comment": pb.comment,
        "actor": (checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "") if pb.actor else "",
        "role": ROLE.from_pb(pb.role, f"{at}.role", wrong),
        "sets_aside": aside[3] if aside else 0,
        "awaits_acceptance": pb.awaits_acceptance,
        "create_time": read_time(pb, "create_time", at, wrong),
        "revision": pb.create_revision,
    }
    return build(Review, values, wrong, at, {})


def new_review_from_pb(pb: v1.Review, at: str = "review") -> tuple[ReviewKind, str]:
    """Return what a caller states about an entry: kind and comment. Who says so is not for the caller to say."""
    wrong: list[Violation] = []
    kind = REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    check_text(pb.comment, f"{at}.comment", wrong)
    refuse(wrong)
    return kind, pb.comment
