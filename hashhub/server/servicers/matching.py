"""Matching."""

from __future__ import annotations

from collections.abc import Callable

from hashhub import v1, wire
from hashhub.hub import Hub
from hashhub.model import Principal
from hashhub.server.servicers.requests import Page


class Match:
    """Matching."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def match_hashes(self, principal: Principal, request: v1.MatchHashesRequest) -> v1.MatchHashesResponse:
        """Match one item by its hashes."""
        options = wire.options_from_pb(request.options)
        query = wire.query_from_pb(request.query)
        policy = self._hub.match.policy(principal, options.policy)
        (result,), revision = self._hub.match.hashes(principal, [query], options, policy=policy)
        return v1.MatchHashesResponse(
            result=wire.match_result_to_pb(result), policy=policy.full_name, revision=revision
        )

    def match_hashes_at_once(
        self, principal: Principal, request: v1.MatchHashesRequest
    ) -> v1.MatchHashesResponse | None:
        """Match one item that hits nothing; None for any other. Never waits."""
        options = wire.options_from_pb(request.options)
        policy = self._hub.match.held_policy(principal, options.policy)
        if policy is None:
            return None
        missed = self._hub.match.miss(principal, wire.query_from_pb(request.query), options)
        if missed is None:
            return None
        result, revision = missed
        return v1.MatchHashesResponse(
            result=wire.match_result_to_pb(result), policy=policy.full_name, revision=revision
        )

    def batch_match_hashes(
        self, principal: Principal, request: v1.BatchMatchHashesRequest
    ) -> v1.BatchMatchHashesResponse:
        """Match many items by their hashes."""
        options = wire.options_from_pb(request.options)
        queries = wire.queries_from_pb(request)
        policy = self._hub.match.policy(principal, options.policy)
        results, revision = self._hub.match.hashes(principal, queries, options, policy=policy)
        return wire.match_results_to_pb(results, policy.full_name, revision)

    def match_media(
        self, principal: Principal, request: v1.MatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.MatchMediaResponse:
        """Hash one media file and match it."""
        options = wire.options_from_pb(request.options)
        media = [(request.media.label, request.media.content)]
        policy = self._hub.match.policy(principal, options.policy)
        (result,), revision = self._hub.match.media(
            principal, media, options, single=True, charge=charge, policy=policy
        )
        return v1.MatchMediaResponse(result=wire.media_result_to_pb(result), policy=policy.full_name, revision=revision)

    def batch_match_media(
        self, principal: Principal, request: v1.BatchMatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.BatchMatchMediaResponse:
        """Hash several media files and match them."""
        options = wire.options_from_pb(request.options)
        media = [(m.label, m.content) for m in request.media]
        policy = self._hub.match.policy(principal, options.policy)
        results, revision = self._hub.match.media(principal, media, options, single=False, charge=charge, policy=policy)
        return v1.BatchMatchMediaResponse(
            results=map(wire.media_result_to_pb, results), policy=policy.full_name, revision=revision
        )

    def list_policies(self, principal: Principal, request: v1.ListPoliciesRequest) -> v1.ListPoliciesResponse:
        """List the policies."""
        page = Page("policies", request)
        policies, token = page.of(self._hub.policies.currents(principal), lambda p: p.name)
        return v1.ListPoliciesResponse(
            policies=(wire.policy_to_pb(v, in_list=True) for v in policies),
            next_page_token=token,
            revision=self._hub.revision(),
        )

    def list_schemes(self, principal: Principal, request: v1.ListSchemesRequest) -> v1.ListSchemesResponse:
        """List the classification schemes."""
        page = Page("schemes", request)
        schemes, token = page.of(self._hub.schemes.list(principal), lambda s: s.scheme.name)
        return v1.ListSchemesResponse(
            schemes=(wire.scheme_to_pb(s.scheme, s.definition) for s in schemes),
            next_page_token=token,
            revision=self._hub.revision(),
        )
