"""Reviews of entries."""

from __future__ import annotations

from hashhub import v1, wire
from hashhub.model import Principal
from hashhub.server.roles import OPERATOR, READERS, WRITERS, served
from hashhub.server.servicers.requests import Page, Service, write_options


class ReviewService(Service):
    """Reviews of entries."""

    @served(WRITERS)
    def create_review(self, principal: Principal, request: v1.CreateReviewRequest) -> v1.Review:
        """Add a review."""
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        made = self._hub.reviews.create(
            principal,
            contributor,
            hash_set,
            entry_id,
            *wire.new_review_from_pb(request.review),
            **write_options(request),
        )
        return wire.review_to_pb(made, contributor, hash_set)

    @served(OPERATOR)
    def set_aside_review(self, principal: Principal, request: v1.SetAsideReviewRequest) -> v1.Review:
        """Let an objection weigh no more."""
        contributor, hash_set, entry_id, review_id = wire.parse_review(request.name)
        made = self._hub.reviews.set_aside(
            principal, contributor, hash_set, entry_id, review_id, request.comment, **write_options(request)
        )
        return wire.review_to_pb(made, contributor, hash_set)

    @served(READERS)
    def list_reviews(self, principal: Principal, request: v1.ListReviewsRequest) -> v1.ListReviewsResponse:
        """List the reviews of an entry."""
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        page = Page("reviews", request, contributor, hash_set, entry_id)
        reviews, after = self._hub.reviews.list(principal, contributor, hash_set, entry_id, page.size, page.after(0))
        return v1.ListReviewsResponse(
            reviews=(wire.review_to_pb(r, contributor, hash_set) for r in reviews), next_page_token=page.token(after)
        )
