"""Calls that match, and those that explain what matching goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client.transport import Calls, Listing, Rpc
from hashhub.errors import HashHubError, InvalidArgument
from hashhub.model import (
    LiveAnswer,
    LiveOptions,
    LivePicture,
    MatchOptions,
    MatchResult,
    MediaResult,
    Query,
    VideoFrame,
)
from hashhub.wire.codec import MessageCodec, name_of

MATCH_BATCH: Final = 1_000  # what one BatchMatchHashes call takes
MEDIA_BATCH_BYTES: Final = 16 * 1024 * 1024  # of media in one call; the server's default limit is 32 MiB
_MEDIA_BATCH: Final = 100
MATCH_TIMEOUT: Final = 60.0  # seconds for one batch


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
    """The current version of a policy, with an explanation of each clause."""

    id: str
    display_name: str
    explanation: str
    version: int = 1


class MatchCalls(Calls):
    """Matching, and the policies that it goes by."""

    def match_hashes(self, queries: Iterable[Query], options: MatchOptions) -> Iterator[Matched]:
        """Yield an answer for each query, in order; they are sent in batches as consumed. Roles: all but auditor."""
        return self._transport.each(_hash_batches(queries, options))

    def match(self, query: Query, options: MatchOptions, *, seconds: float | None = None) -> Matched:
        """Answer one query, within `seconds` if given; many go faster by `match_hashes`. Roles: all but auditor."""
        request = v1.MatchHashesRequest(query=wire.query_to_pb(query), options=wire.options_to_pb(options))

        def read(answer: v1.MatchHashesResponse) -> Matched:
            result = wire.MATCH_RESULT.from_pb(answer.result)
            return Matched(result=result, policy=answer.policy, revision=answer.revision)

        return self._ask(request, read, timeout=seconds)

    def match_media(
        self, media: Iterable[tuple[str, bytes]], options: MatchOptions, *, seconds: float = MATCH_TIMEOUT
    ) -> Iterator[MatchedMedia]:
        """Yield one answer for each (label, content), in order, hashed by the hub: for callers that cannot hash.

        The contents travel to the hub, which keeps them in memory only. A file that it cannot read has the verdict
        UNAVAILABLE. `seconds`: for each batch. Roles: all but auditor.
        """
        wanted = wire.options_to_pb(options)
        return self._transport.each(
            Rpc(
                request=v1.BatchMatchMediaRequest(media=batch, options=wanted),
                read=partial(_matched_media, len(batch)),
                timeout=seconds,
            )
            for batch in _cut(media)
        )

    def match_live(self, frames: Iterable[LivePicture | VideoFrame], options: LiveOptions) -> Iterator[LiveAnswer]:
        """Send the frames of a live stream as they come, and yield the hub's answers.

        Another thread consumes `frames`, which ends the stream, as closing the generator does. A stream that breaks off
        raises why, and is not begun again here: what was shown meanwhile was not watched, and the verdict starts anew.
        Roles: all but auditor.
        """
        return self._transport.stream(live(options), frames, wire.live_frame_to_pb)

    def list_policies(self) -> Listing[PolicyText]:
        """Yield the policies in order of name."""
        return self._list(v1.ListPoliciesRequest(), "policies", _POLICY.from_pb)


def _hash_batches(queries: Iterable[Query], options: MatchOptions) -> Iterator[Rpc[Iterable[Matched]]]:
    """Yield the calls that match any number of queries, in order; a query is taken when its batch is."""
    wanted = wire.options_to_pb(options)
    if isinstance(queries, Query | str):
        raise InvalidArgument.field("queries", "must be a sequence of Query, and not one alone; `match` asks about one")
    rest = iter(queries)
    while batch := list(islice(rest, MATCH_BATCH)):
        request = v1.BatchMatchHashesRequest(queries=map(wire.query_to_pb, batch), options=wanted)
        yield Rpc(request=request, read=partial(_matched, len(batch)), timeout=MATCH_TIMEOUT)


def live(options: LiveOptions) -> Rpc[LiveAnswer]:
    """Return the call that watches a live stream."""
    return Rpc(request=wire.live_start_to_pb(options), read=wire.LIVE_ANSWER.from_pb)


_POLICY: Final = MessageCodec(PolicyText, v1.Policy, at="policy", id=name_of("Policy", "name", is_required=True))


def _matched(queries: int, answer: v1.BatchMatchHashesResponse) -> Iterator[Matched]:
    _check_count(len(answer.results), queries)
    for result in answer.results:
        yield Matched(result=wire.MATCH_RESULT.from_pb(result), policy=answer.policy, revision=answer.revision)


def _matched_media(files: int, answer: v1.BatchMatchMediaResponse) -> Iterator[MatchedMedia]:
    _check_count(len(answer.results), files)
    for result in answer.results:
        yield MatchedMedia(media=wire.MEDIA_RESULT.from_pb(result), policy=answer.policy, revision=answer.revision)


def _check_count(answers: int, queries: int) -> None:
    """Check that there is an answer for each query: answers are matched to queries by their order alone."""
    if answers != queries:
        raise HashHubError(f"the hub gave {answers} answers to {queries} queries; nothing can be concluded from them")


def _cut(media: Iterable[tuple[str, bytes]]) -> Iterator[list[v1.Media]]:
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
