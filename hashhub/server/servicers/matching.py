"""Matching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from hashhub import v1, wire
from hashhub.errors import Reason, Unavailable
from hashhub.hub.match import SearchTrace
from hashhub.model import LivePicture, MatchResult, Principal, VideoFrame
from hashhub.server.live import FrameRate, Inbox, read_into
from hashhub.server.pipeline import Conversation
from hashhub.server.servicers.requests import EVERYBODY, MATCHERS, Service, listed, served
from hashhub.trust import Policy

_LOOK_SECONDS: Final = 0.5  # how soon a stream notices that its caller has gone or the server stops
IDLE_SECONDS: Final = 30.0  # without a frame, after which a stream is ended
LONGEST_SECONDS: Final = 12 * 3600.0


def _size(frame: LivePicture | VideoFrame) -> int:
    return len(frame.content) if isinstance(frame, LivePicture) else 0


def _answer(
    result: MatchResult, revision: int, policy: Policy, hash_sets: Iterable[v1.HashSet] = ()
) -> v1.MatchHashesResponse:
    pb = wire.MATCH_RESULT.to_pb(result)
    return v1.MatchHashesResponse(result=pb, policy=policy.full_name, revision=revision, hash_sets=hash_sets)


class MatchService(Service):
    """Matching."""

    @served(MATCHERS)
    def match_hashes(self, principal: Principal, request: v1.MatchHashesRequest) -> v1.MatchHashesResponse:
        options = wire.options_from_pb(request.options)
        query = wire.query_from_pb(request.query)
        policy = self.hub.match.policy(principal, options.policy)
        (result,), revision = self.hub.match.hashes(principal, [query], options, policy=policy)
        return _answer(result, revision, policy, self._hash_sets(principal, request, result))

    def match_hashes_at_once(
        self, principal: Principal, request: v1.MatchHashesRequest
    ) -> v1.MatchHashesResponse | Callable[[], v1.MatchHashesResponse]:
        """Match one item that hits nothing; of any other return what matches it and may wait. Never waits itself."""
        options = wire.options_from_pb(request.options)
        policy = self.hub.match.held_policy(principal, options.policy)
        if policy is None:
            return lambda: self.match_hashes(principal, request)
        query, searched = wire.query_from_pb(request.query), SearchTrace()
        missed = self.hub.match.miss(principal, query, options, searched)
        if missed is not None:
            return _answer(*missed, policy)

        def match() -> v1.MatchHashesResponse:
            (result,), revision = self.hub.match.hashes(principal, [query], options, policy=policy, searched=searched)
            return _answer(result, revision, policy, self._hash_sets(principal, request, result))

        return match

    def _hash_sets(
        self, principal: Principal, request: v1.MatchHashesRequest | v1.MatchMediaRequest, result: MatchResult
    ) -> Iterable[v1.HashSet]:
        if not request.with_hash_sets:
            return ()
        return map(wire.bank_to_pb, self.hub.match.hash_sets(principal, result.matches))

    @served(MATCHERS)
    def batch_match_hashes(
        self, principal: Principal, request: v1.BatchMatchHashesRequest
    ) -> v1.BatchMatchHashesResponse:
        options = wire.options_from_pb(request.options)
        queries = wire.queries_from_pb(request)
        policy = self.hub.match.policy(principal, options.policy)
        results, revision = self.hub.match.hashes(principal, queries, options, policy=policy)
        return wire.match_results_to_pb(results, policy.full_name, revision)

    @served(MATCHERS, limiter="media")
    def match_media(
        self, principal: Principal, request: v1.MatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.MatchMediaResponse:
        options = wire.options_from_pb(request.options)
        media = [(request.media.label, request.media.content)]
        policy = self.hub.match.policy(principal, options.policy)
        (result,), revision = self.hub.match.media(principal, media, options, single=True, charge=charge, policy=policy)
        return v1.MatchMediaResponse(
            result=wire.MEDIA_RESULT.to_pb(result),
            policy=policy.full_name,
            revision=revision,
            hash_sets=self._hash_sets(principal, request, result.result),
        )

    @served(MATCHERS, limiter="media")
    def batch_match_media(
        self, principal: Principal, request: v1.BatchMatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.BatchMatchMediaResponse:
        options = wire.options_from_pb(request.options)
        media = [(m.label, m.content) for m in request.media]
        policy = self.hub.match.policy(principal, options.policy)
        results, revision = self.hub.match.media(principal, media, options, single=False, charge=charge, policy=policy)
        return v1.BatchMatchMediaResponse(
            results=map(wire.MEDIA_RESULT.to_pb, results), policy=policy.full_name, revision=revision
        )

    @served(MATCHERS, limiter="live")
    def match_live(
        self, caller: Callable[[], Principal], request: v1.MatchLiveRequest, conversation: Conversation
    ) -> Iterator[v1.MatchLiveResponse]:
        principal = caller()
        stream = self.hub.live.open(principal, wire.live_start_from_pb(request))
        inbox: Inbox[LivePicture | VideoFrame] = Inbox(_size)
        read_into(inbox, map(wire.live_frame_from_pb, conversation.requests), _size)
        pace = FrameRate(self.hub.live.rate)
        ends_at = time.monotonic() + LONGEST_SECONDS
        while conversation.is_wanted() and not inbox.is_over:
            self._check(inbox, ends_at)
            frame, skipped = inbox.take(_LOOK_SECONDS, lambda: conversation.take_frame(pace))
            stream.skip(skipped)
            # Each frame is authorised anew.
            if frame is None:
                answer = stream.look_again(caller())
            else:
                answer = stream.frame(
                    caller(),
                    frame,
                    check_media=conversation.check_media,
                    charge_media=conversation.charge_media,
                )
            if answer is not None:
                yield wire.LIVE_ANSWER.to_pb(answer)
        if (answer := stream.end()) is not None:
            yield wire.LIVE_ANSWER.to_pb(answer)

    def _check(self, inbox: Inbox[LivePicture | VideoFrame], ends_at: float) -> None:
        """Raise Unavailable when the stream is to end here."""
        now = time.monotonic()
        if self.is_stopping():
            raise Unavailable("the server is stopping; open another stream", retry_after=1.0)
        if now - inbox.last_at > IDLE_SECONDS:
            raise Unavailable(
                f"no frame came for {IDLE_SECONDS:g} s; open another stream when there is one",
                reason=Reason.SLOW_SENDER,
            )
        if now > ends_at:
            raise Unavailable(
                f"a stream is watched for {LONGEST_SECONDS / 3600:g} hours at most; open another", retry_after=0.1
            )

    list_policies = listed(
        EVERYBODY,
        lambda hub: hub.policies.currents,
        lambda version: wire.policy_to_pb(version, in_list=True),
        key=lambda one: one.name,
    )
    list_schemes = listed(
        EVERYBODY,
        lambda hub: hub.schemes.list,
        lambda listed: wire.scheme_to_pb(listed.scheme, listed.definition),
        key=lambda listed: listed.scheme.name,
    )
