"""Versions of policies, and what they make of items."""

from __future__ import annotations

import re
from typing import NamedTuple

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hub.policies import ReplaySelection
from hashhub.model import Principal
from hashhub.server.roles import EVERYBODY, OPERATOR, OVERSEERS, served
from hashhub.server.servicers.requests import Page, Service, write_options
from hashhub.trust import Version


class PolicyService(Service):
    """Versions of policies, and what they make of items."""

    @served(EVERYBODY)
    def get_policy(self, principal: Principal, request: v1.GetPolicyRequest) -> v1.Policy:
        """Get a version of a policy."""
        return self._policy(principal, self._hub.policies.get(principal, wire.parse_policy(request.name)))

    @served(EVERYBODY)
    def list_policy_versions(
        self, principal: Principal, request: v1.ListPolicyVersionsRequest
    ) -> v1.ListPolicyVersionsResponse:
        """List all versions of a policy."""
        name = wire.parse_policy(request.parent, "parent")
        page = Page("policyVersions", request, name)
        after = page.after(0)
        left = [v for v in self._hub.policies.versions(principal, name) if v.version > after]
        shown = left[: page.size]
        return v1.ListPolicyVersionsResponse(
            policies=(self._policy(principal, v) for v in shown),
            next_page_token=page.token(shown[-1].version if len(left) > len(shown) else 0),
        )

    @served(OPERATOR)
    def put_policy(self, principal: Principal, request: v1.PutPolicyRequest) -> v1.Policy:
        """Put the next version of a policy."""
        made = self._hub.policies.put(
            principal, request.text, comment=wire.read_text(request.comment, "comment"), **write_options(request)
        )
        return self._policy(principal, made)

    @served(OPERATOR)
    def retire_policy(self, principal: Principal, request: v1.RetirePolicyRequest) -> v1.Policy:
        """Retire a version of a policy."""
        retired = self._hub.policies.retire(
            principal,
            wire.parse_policy(request.name),
            comment=wire.read_text(request.comment, "comment"),
            **write_options(request),
        )
        return self._policy(principal, retired)

    @served(EVERYBODY)
    def explain_match(self, principal: Principal, request: v1.ExplainMatchRequest) -> v1.ExplainMatchResponse:
        """Explain a policy's verdict about one item."""
        options = wire.options_from_pb(request.options)
        trace, verdict, revision = self._hub.policies.explain(principal, wire.query_from_pb(request.query), options)
        return wire.trace_to_pb(trace, verdict, revision)

    @served(OVERSEERS, limiter="trials")
    def simulate_policy(self, principal: Principal, request: v1.SimulatePolicyRequest) -> v1.SimulatePolicyResponse:
        """Say what a policy would change."""
        time = wire.time_in(request, "since_time")
        hash_sets = tuple("/".join(wire.parse_hash_set(n, f"hash_sets[{i}]")) for i, n in enumerate(request.hash_sets))
        options = wire.options_from_pb(v1.MatchOptions(max_distances=request.max_distances), "")
        page = Page("trial", _Unpaged(request.page_token), request.since_revision, time, hash_sets)
        after, resolved = _trial_position(page.after("0:0"))
        by_entries = request.HasField("since_revision") or time is not None or bool(hash_sets)
        since = ReplaySelection(
            revision=resolved or request.since_revision,
            time=None if resolved else time,
            hash_sets=hash_sets,
            after=after,
        )
        trial = self._hub.policies.try_out(
            principal,
            request.before,
            request.after,
            text=request.text,
            queries=[wire.query_from_pb(q, f"queries[{i}]") for i, q in enumerate(request.queries)],
            since=since if by_entries else None,
            max_distances=options.max_distances,
        )
        token = page.token(f"{trial.next_after}:{trial.since_revision}") if trial.next_after else ""
        return wire.TRIAL.to_pb(trial, next_page_token=token)

    def _policy(self, principal: Principal, version: Version) -> v1.Policy:
        tells_actor = principal.role in OVERSEERS  # names of operators' tokens are their own affair
        pb = wire.policy_to_pb(version, tells_actor=tells_actor)
        pb.revision = self._hub.revision()  # of each in a list, too
        return pb


def _trial_position(position: str) -> tuple[int, int]:
    """Return behind which entry a trial goes on, and behind which revision its entries became visible."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", position)
    if match is None:
        raise InvalidArgument.field("page_token", "is damaged; start again without it", "PAGE_TOKEN")
    return int(match[1]), int(match[2])


class _Unpaged(NamedTuple):
    """A request that goes on from a token, and says no size."""

    page_token: str
    page_size: int = 0
