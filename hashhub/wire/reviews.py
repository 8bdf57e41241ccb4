"""Reviews: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Review, ReviewKind
from hashhub.wire import names
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, name_of
from hashhub.wire.enums import REVIEW_KIND
from hashhub.wire.fields import check_text, checked, refuse


def _read_aside(pb: v1.Review | v1.FeedReview, field: str, at: str, wrong: list[Violation]) -> int:
    parts = checked(wrong, names.parse_review, getattr(pb, field), f"{at}.{field}") if getattr(pb, field) else None
    return parts[3] if parts else 0


def _no_name(*_: object) -> str:
    """Return no name: `review_to_pb` and the feed know the hash set, which a review does not."""
    return ""


REVIEW_IDS: Final = Ids(("entry_id", "id"), _no_name, lambda name, field: names.parse_review(name, field)[2:])
SETS_ASIDE: Final = FieldCodec(_no_name, _read_aside)
REVIEW: Final = MessageCodec(
    Review,
    v1.Review,
    at="review",
    sends="Review, its kind a ReviewKind",
    ids=REVIEW_IDS,
    author=name_of("Author", is_required=True),
    actor=name_of("Token"),
    sets_aside=SETS_ASIDE,
    revision="create_revision",
)


def review_to_pb(review: Review, contributor: str, hash_set: str) -> v1.Review:
    """Return the message of a review of an entry in this hash set; a review without an id has no name yet."""

    def name(review_id: int) -> str:
        return names.review_name(contributor, hash_set, review.entry_id, review_id) if review_id else ""

    return REVIEW.to_pb(review, name=name(review.id), sets_aside=name(review.sets_aside))


def new_review_from_pb(pb: v1.Review, at: str = "review") -> tuple[ReviewKind, str]:
    """Return what a caller states about an entry: kind and comment. Who says so is not for the caller to say."""
    wrong: list[Violation] = []
    kind = REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    check_text(pb.comment, f"{at}.comment", wrong)
    refuse(wrong)
    return kind, pb.comment
