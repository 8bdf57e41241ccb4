"""What partners' clients say of entries, as reviews by the contributor whose token sends it."""

from __future__ import annotations

import hashlib
from typing import Final

from hashhub import v1
from hashhub.errors import AlreadyExists, Conflict
from hashhub.partners.requests import PartnerRequest

_PAGE: Final = 1000


async def latest(request: PartnerRequest, entry: str) -> v1.Review:
    """Return what the sender's contributor stated of an entry last; an empty review: nothing. Raises NotFound for an
    entry that the sender may not see, and PermissionDenied where it may not review.
    """
    author = f"contributors/{request.contributor}"
    asked = v1.ListReviewsRequest(parent=entry, page_size=_PAGE)
    last = v1.Review()
    while True:
        page = await request.ask("ReviewService/ListReviews", asked, v1.ListReviewsResponse)
        for review in page.reviews:
            if review.author == author and review.kind != v1.ReviewKind.REVIEW_KIND_SET_ASIDE:
                last = review
        if not (token := page.next_page_token):
            return last
        asked.page_token = token


async def add(request: PartnerRequest, entry: str, kind: v1.ReviewKind, comment: str, last: v1.Review) -> None:
    """Add a review, unless it says what the contributor's `last` one says. Raises Conflict where another request of
    this token was faster; then there is a later one.
    """
    if (last.kind, last.comment) == (kind, comment):
        return
    follows = hashlib.sha256(f"{entry} {last.name}".encode()).hexdigest()
    asked = v1.CreateReviewRequest(parent=entry, review=v1.Review(kind=kind, comment=comment), request_id=follows)
    try:
        await request.ask("ReviewService/CreateReview", asked, v1.Review)
    except AlreadyExists as e:
        raise Conflict("another review of this entry was sent at the same time; send this one again") from e
