"""Calls that match, and those that explain what matching goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client.calls import Calls
from hashhub.errors import HashHubError
from hashhub.model import MatchOptions, MatchResult, MediaResult, Query

MATCH_BATCH: Final = 1_000  # what one BatchMatchHashes call takes
MEDIA_BATCH_BYTES: Final = 16 * 1024 * 1024  # of media in one call; the server's default limit is 32 MiB
_MEDIA_BATCH: Final = 100
_MATCH_TIMEOUT: Final = 60.0  # seconds for one batch


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query, the policy that was applied (NAME@VERSION), and the revision it was read at."""

    result: MatchResult
    policy: str
    revision: int


class MatchedMedia(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one media file, the policy that was applied (NAME@VERSION), and the revision it was read at."""

    media: MediaResult
    policy: str
    revision: int


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """The current version of a policy as people read it: `explanation` says what it does, clause by clause."""

    id: str
    display_name: str
    explanation: str
    version: int = 1


class MatchCalls(Calls):
    """Matching, and the policies that it goes by."""

    def match_hashes(self, queries: Iterable[Query], options: MatchOptions) -> Iterator[Matched]:
        """Yield one answer for each query, in order. Any number of queries; they are sent in batches as they are
        consumed. Roles: all but auditor.
        """
        wanted = wire.options_to_pb(options)
        rest = iter(queries)
        while batch := list(islice(rest, MATCH_BATCH)):
            request = v1.BatchMatchHashesRequest(queries=map(wire.query_to_pb, batch), options=wanted)
            answer = self._transport.call(
                "MatchService/BatchMatchHashes", request, v1.BatchMatchHashesResponse, timeout=_MATCH_TIMEOUT
            )
            _check_count(len(answer.results), len(batch))
            for result in answer.results:
                yield Matched(result=wire.match_result_from_pb(result), policy=answer.policy, revision=answer.revision)

    def match(self, query: Query, options: MatchOptions) -> Matched:
        """Return the answer to one query. Many are answered faster by `match_hashes`. Roles: all but auditor."""
        request = v1.MatchHashesRequest(query=wire.query_to_pb(query), options=wire.options_to_pb(options))
        answer = self._transport.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
        return Matched(result=wire.match_result_from_pb(answer.result), policy=answer.policy, revision=answer.revision)

    def match_media(self, media: Iterable[tuple[str, bytes]], options: MatchOptions) -> Iterator[MatchedMedia]:
        """Yield one answer for each (label, content), in order, hashed by the hub: for callers that cannot hash.

        The contents travel to the hub, which keeps them in memory only. A file that it cannot read has the verdict
        UNAVAILABLE. Roles: all but auditor.
        """
        wanted = wire.options_to_pb(options)
        for batch in _media_batches(media):
            request = v1.BatchMatchMediaRequest(media=batch, options=wanted)
            answer = self._transport.call(
                "MatchService/BatchMatchMedia", request, v1.BatchMatchMediaResponse, timeout=_MATCH_TIMEOUT
            )
            _check_count(len(answer.results), len(batch))
            for result in answer.results:
                yield MatchedMedia(
                    media=wire.media_result_from_pb(result), policy=answer.policy, revision=answer.revision
                )

    def list_policies(self) -> Iterator[PolicyText]:
        """Yield the policies in order of name."""
        for page in self._pages("MatchService/ListPolicies", v1.ListPoliciesRequest(), v1.ListPoliciesResponse):
            for pb in page.policies:
                yield PolicyText(
                    id=wire.parse_policy(pb.name),
                    display_name=pb.display_name,
                    explanation=pb.explanation,
                    version=pb.version,
                )


def _check_count(answers: int, queries: int) -> None:
    """Answers are told apart by their order alone: one too few, and the rest would be about other items."""
    if answers != queries:
        raise HashHubError(f"the hub gave {answers} answers to {queries} queries; nothing can be concluded from them")


def _media_batches(media: Iterable[tuple[str, bytes]]) -> Iterator[list[v1.Media]]:
    """Cut into batches of at most 100 files and 16 MiB; a larger file is a batch of its own."""
    batch: list[v1.Media] = []
    size = 0
    for label, content in media:
        if batch and (len(batch) == _MEDIA_BATCH or size + len(content) > MEDIA_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(v1.Media(label=label, content=content))
        size += len(content)
    if batch:
        yield batch
