"""The typed client: hashhub's types in, hashhub's types out, HashHubError when something is wrong. It hides gRPC
altogether.

    with Client("127.0.0.1:8470", token) as hub:
        for answer in hub.match_hashes([Query(hashes=(parse_pair("PDQ:…"),))], MatchOptions(policy="block")):
            print(answer.result.verdict, answer.revision)

Things are named as commands name them: `CONTRIBUTOR`, `CONTRIBUTOR/SET`, `CONTRIBUTOR/SET/ENTRY`,
`CONTRIBUTOR/SET/IMPORT`. A client may be shared by threads. It needs the base install only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self, TypeVar

import msgspec
from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import connector as connectors
from hashhub import v1, wire
from hashhub.client import contribution
from hashhub.client.contribution import FindingGroup, ImportReport, Phase, Progress
from hashhub.client.mirror import Mirror, MirrorState
from hashhub.client.transport import Transport, is_loopback
from hashhub.errors import HashHubError, InvalidArgument, NotFound
from hashhub.model import (
    Contributor,
    Disposition,
    Entry,
    EntryState,
    Event,
    FeedPage,
    Finding,
    Group,
    HashSet,
    Import,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Query,
    RevertedEvent,
    Review,
    ReviewKind,
    SchemeStatus,
    Status,
    WithdrawalReason,
)

__all__ = [
    "Client",
    "FindingGroup",
    "ImportReport",
    "Matched",
    "MatchedMedia",
    "Mirror",
    "MirrorState",
    "Phase",
    "PolicyText",
    "Progress",
    "SchemeTable",
    "is_loopback",
]

MATCH_BATCH: Final = 1_000  # what one BatchMatchHashes call takes
MEDIA_BATCH_BYTES: Final = 16 * 1024 * 1024  # of media in one call; the server's default limit is 32 MiB
_MEDIA_BATCH: Final = 100
_PAGE: Final = 1_000
_MATCH_TIMEOUT: Final = 60.0  # seconds for one batch
_REVERT_TIMEOUT: Final = 3600.0  # seconds: a million entries take some minutes


class _Page(Protocol):
    """What all answers of List calls share."""

    next_page_token: str


class _PagedRequest(Protocol):
    """What all requests of List calls share."""

    page_size: int
    page_token: str

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


P = TypeVar("P", bound=_Page)


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query, the policy that was applied, and the revision it was read at."""

    result: MatchResult
    policy: str
    revision: int


class MatchedMedia(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one media file, the policy that was applied, and the revision it was read at."""

    media: MediaResult
    policy: str
    revision: int


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as people read it: `explanation` says what it does, clause by clause."""

    id: str
    display_name: str
    explanation: str


class SchemeValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a scheme, and the dimension values that it implies."""

    value: str
    title: str
    dimensions: dict[str, tuple[str, ...]]


class SchemeTable(msgspec.Struct, frozen=True, kw_only=True):
    """A classification scheme as the hub knows it. `id` is `id@version`; a DRAFT table never leads to an automatic
    block.
    """

    id: str
    title: str
    region: str
    status: SchemeStatus
    source: str
    values: tuple[SchemeValue, ...]


class Client:
    """A connection to a hub at `HOST:PORT`. Use it as a context manager, or close it.

    `tls`: None means plain text to loopback addresses and TLS to all others; False says that plain text to another
    machine is intended. `ca_certificates`: PEM bytes, instead of the system's roots. `timeout`: seconds for each
    attempt of an ordinary call. `retry_seconds`: how long to go on trying while the hub is away or busy. Every method
    raises HashHubError.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: bool | None = None,
        ca_certificates: bytes | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
    ) -> None:
        """Connect lazily. Raises InvalidArgument for an address or a token that cannot be one."""
        self._transport = Transport(
            address, token, tls=tls, ca_certificates=ca_certificates, timeout=timeout, retry_seconds=retry_seconds
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._transport.close()

    # Contributors and hash sets

    def create_contributor(self, contributor: Contributor, *, validate_only: bool = False) -> Contributor:
        """Create a contributor. Role: operator."""
        request = v1.CreateContributorRequest(
            contributor_id=contributor.id,
            contributor=wire.contributor_to_pb(contributor),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.contributor_from_pb(
            self._transport.call("ContributorService/CreateContributor", request, v1.Contributor)
        )

    def get_contributor(self, contributor: str) -> Contributor:
        """Return a contributor."""
        request = v1.GetContributorRequest(name=_contributor(contributor))
        return wire.contributor_from_pb(
            self._transport.call("ContributorService/GetContributor", request, v1.Contributor)
        )

    def list_contributors(self) -> Iterator[Contributor]:
        """Yield the contributors in order of name."""
        for page in self._pages(
            "ContributorService/ListContributors", v1.ListContributorsRequest(), v1.ListContributorsResponse
        ):
            yield from map(wire.contributor_from_pb, page.contributors)

    def update_contributor(
        self, contributor: Contributor, fields: Sequence[str], *, validate_only: bool = False
    ) -> Contributor:
        """Set the named fields of a contributor to the values that `contributor` has. Role: operator."""
        request = v1.UpdateContributorRequest(
            contributor=wire.contributor_to_pb(contributor),
            update_mask=FieldMask(paths=fields),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.contributor_from_pb(
            self._transport.call("ContributorService/UpdateContributor", request, v1.Contributor)
        )

    def retire_contributor(self, contributor: str, comment: str = "") -> Contributor:
        """Retire a contributor, for good: its tokens stop working, what it stated stands. Role: operator."""
        request = v1.RetireContributorRequest(name=_contributor(contributor), comment=comment)
        return wire.contributor_from_pb(
            self._transport.call("ContributorService/RetireContributor", request, v1.Contributor)
        )

    def accept_objections(self, contributor: str, revision: int, comment: str = "") -> Contributor:
        """Let a contributor's objections beyond the daily number weigh up to a revision. Role: operator."""
        request = v1.AcceptObjectionsRequest(
            name=_contributor(contributor), accepted_revision=revision, comment=comment
        )
        return wire.contributor_from_pb(
            self._transport.call("ContributorService/AcceptObjections", request, v1.Contributor)
        )

    def create_group(self, group: Group, *, validate_only: bool = False) -> Group:
        """Create a group. Role: operator."""
        request = v1.CreateGroupRequest(
            group_id=group.id, group=wire.group_to_pb(group), validate_only=validate_only, request_id=_request_id()
        )
        return wire.group_from_pb(self._transport.call("ContributorService/CreateGroup", request, v1.Group))

    def get_group(self, group: str) -> Group:
        """Return a group."""
        request = v1.GetGroupRequest(name=_group(group))
        return wire.group_from_pb(self._transport.call("ContributorService/GetGroup", request, v1.Group))

    def list_groups(self) -> Iterator[Group]:
        """Yield the groups in order of name."""
        for page in self._pages("ContributorService/ListGroups", v1.ListGroupsRequest(), v1.ListGroupsResponse):
            yield from map(wire.group_from_pb, page.groups)

    def update_group(
        self,
        group: Group,
        fields: Sequence[str] = (),
        *,
        add_members: Iterable[str] = (),
        remove_members: Iterable[str] = (),
        validate_only: bool = False,
    ) -> Group:
        """Set the named fields of a group to the values that `group` has, then add and remove members.

        Role: operator.
        """
        request = v1.UpdateGroupRequest(
            # Without a mask what is set would be taken over.
            group=wire.group_to_pb(group if fields else Group(id=group.id)),
            update_mask=FieldMask(paths=fields),
            add_members=map(wire.contributor_name, add_members),
            remove_members=map(wire.contributor_name, remove_members),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.group_from_pb(self._transport.call("ContributorService/UpdateGroup", request, v1.Group))

    def delete_group(self, group: str) -> None:
        """Delete a group, which no terms may name; its name is never used again. Role: operator."""
        request = v1.DeleteGroupRequest(name=_group(group))
        self._transport.call("ContributorService/DeleteGroup", request, v1.DeleteGroupResponse, repeatable=False)

    def create_hash_set(self, hash_set: HashSet, *, validate_only: bool = False) -> HashSet:
        """Create a hash set of `hash_set.contributor`."""
        request = v1.CreateHashSetRequest(
            parent=wire.contributor_name(hash_set.contributor),
            hash_set_id=hash_set.id,
            hash_set=wire.hash_set_to_pb(hash_set),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.hash_set_from_pb(self._transport.call("ContributorService/CreateHashSet", request, v1.HashSet))

    def get_hash_set(self, hash_set: str) -> HashSet:
        """Return the hash set `CONTRIBUTOR/SET`."""
        request = v1.GetHashSetRequest(name=_hash_set(hash_set))
        return wire.hash_set_from_pb(self._transport.call("ContributorService/GetHashSet", request, v1.HashSet))

    def list_hash_sets(self, contributor: str | None = None) -> Iterator[HashSet]:
        """Yield the hash sets of one contributor, or of all, in order of name."""
        request = v1.ListHashSetsRequest(parent=_contributor("-" if contributor is None else contributor))
        for page in self._pages("ContributorService/ListHashSets", request, v1.ListHashSetsResponse):
            yield from map(wire.hash_set_from_pb, page.hash_sets)

    def update_hash_set(self, hash_set: HashSet, fields: Sequence[str], *, validate_only: bool = False) -> HashSet:
        """Set the named fields (`display_name`, `marking.tlp`, …) of a hash set to the values that `hash_set` has."""
        request = v1.UpdateHashSetRequest(
            hash_set=wire.hash_set_to_pb(hash_set),
            update_mask=FieldMask(paths=fields),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.hash_set_from_pb(self._transport.call("ContributorService/UpdateHashSet", request, v1.HashSet))

    def accept_hash_set(self, hash_set: str, revision: int, comment: str = "") -> HashSet:
        """Let what `CONTRIBUTOR/SET` says against harm weigh up to a revision. Role: operator."""
        request = v1.AcceptHashSetRequest(name=_hash_set(hash_set), accepted_revision=revision, comment=comment)
        return wire.hash_set_from_pb(self._transport.call("ContributorService/AcceptHashSet", request, v1.HashSet))

    # Contribution

    def import_source(
        self,
        source: Path | BinaryIO,
        *,
        connector: str,
        hash_set: str,
        options: Mapping[str, str] | None = None,
        replace: bool = False,
        validate_only: bool = False,
        allow_shrinking: bool = False,
        keep_on_failure: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> ImportReport:
        """Contribute a source to `CONTRIBUTOR/SET` and return what became of every item.

        `source` is a regular file, or a seekable binary stream. It is read twice: for its digest, which makes the
        import idempotent, and for its items. A run that was cut off is resumed by calling this again with the same
        arguments. `replace` says that the source is the full list: entries that it lacks are withdrawn, unless far too
        many would be (`allow_shrinking`). `validate_only` says what would happen and leaves nothing.

        Raises MalformedSource or InvalidArgument when the source cannot be read to its end or the hub refuses it as a
        whole; the import is then cancelled and nothing of it stays, unless `keep_on_failure`. Raises Unavailable when
        the hub stays away; what it stored is kept for the resume.
        """
        if isinstance(source, Path):
            try:
                opened: BinaryIO = source.open("rb")
            except OSError as e:
                raise NotFound(
                    f"cannot read {str(source)!r}: {e.strerror or type(e).__name__}; check the path and its permissions"
                ) from e
        else:
            opened = source
        try:
            return contribution.send(
                self._transport,
                opened,
                connector=connectors.get(connector),
                parent=_hash_set(hash_set),
                options=options or {},
                replace=replace,
                validate_only=validate_only,
                allow_shrinking=allow_shrinking,
                keep_on_failure=keep_on_failure,
                request_id=_request_id(),
                progress=progress or _ignore,
            )
        finally:
            if opened is not source:
                opened.close()

    def get_import(self, name: str) -> Import:
        """Return the import `CONTRIBUTOR/SET/IMPORT`."""
        request = v1.GetImportRequest(name=_import(name))
        return wire.import_from_pb(self._transport.call("ContributionService/GetImport", request, v1.Import))

    def list_imports(self, hash_set: str) -> Iterator[Import]:
        """Yield the imports of `CONTRIBUTOR/SET`, newest first."""
        request = v1.ListImportsRequest(parent=_hash_set(hash_set))
        for page in self._pages("ContributionService/ListImports", request, v1.ListImportsResponse):
            yield from map(wire.import_from_pb, page.imports)

    def cancel_import(self, name: str) -> Import:
        """End the import `CONTRIBUTOR/SET/IMPORT`, which must not be committed; nothing of it stays."""
        request = v1.CancelImportRequest(name=_import(name))
        return wire.import_from_pb(self._transport.call("ContributionService/CancelImport", request, v1.Import))

    def report(self, name: str) -> ImportReport:
        """Return the report of the import `CONTRIBUTOR/SET/IMPORT` again."""
        return contribution.report(self._transport, _import(name), self.get_import(name))

    def list_findings(self, name: str, dispositions: Iterable[Disposition] = ()) -> Iterator[Finding]:
        """Yield what became of the items of `CONTRIBUTOR/SET/IMPORT`, in the order of the source; accepted ones are
        left out.
        """
        return contribution.findings(self._transport, _import(name), dispositions)

    def get_entry(self, name: str) -> Entry:
        """Return the entry `CONTRIBUTOR/SET/ENTRY`."""
        return wire.entry_from_pb(
            self._transport.call("ContributionService/GetEntry", v1.GetEntryRequest(name=_entry(name)), v1.Entry)
        )

    def list_entries(self, hash_set: str, states: Iterable[EntryState] = ()) -> Iterator[Entry]:
        """Yield the entries of `CONTRIBUTOR/SET` in order of id; no states mean all of them."""
        request = v1.ListEntriesRequest(parent=_hash_set(hash_set), states=wire.entry_states_to_pb(states))
        for page in self._pages("ContributionService/ListEntries", request, v1.ListEntriesResponse):
            yield from map(wire.entry_from_pb, page.entries)

    def withdraw_entry(
        self, name: str, reason: WithdrawalReason, comment: str = "", *, validate_only: bool = False
    ) -> Entry:
        """Withdraw `CONTRIBUTOR/SET/ENTRY`: it stops matching, its history stays, and no list brings it back. Doing it
        twice is a success.

        OTHER needs a comment. Beyond the daily number it is only asked for (`withdrawal.pending`): the entry matches
        until an operator, or another token of the contributor, withdraws it too.
        """
        request = v1.WithdrawEntryRequest(
            name=_entry(name),
            reason=wire.withdrawal_reason_to_pb(reason),
            comment=comment,
            validate_only=validate_only,
            request_id=_request_id(),
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/WithdrawEntry", request, v1.Entry))

    def restore_entry(self, name: str, comment: str = "", *, validate_only: bool = False) -> Entry:
        """Take the withdrawal of `CONTRIBUTOR/SET/ENTRY`, or a request for it, back."""
        request = v1.RestoreEntryRequest(
            name=_entry(name), comment=comment, validate_only=validate_only, request_id=_request_id()
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/RestoreEntry", request, v1.Entry))

    def erase_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Erase everything that `CONTRIBUTOR/SET/ENTRY` says about its item, for ever. Role: operator."""
        request = v1.EraseEntryRequest(name=_entry(name), validate_only=validate_only)
        return wire.entry_from_pb(self._transport.call("ContributionService/EraseEntry", request, v1.Entry))

    def release_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Release the quarantined `CONTRIBUTOR/SET/ENTRY`: it matches from now on. Role: operator."""
        request = v1.ReleaseEntryRequest(name=_entry(name), validate_only=validate_only, request_id=_request_id())
        return wire.entry_from_pb(self._transport.call("ContributionService/ReleaseEntry", request, v1.Entry))

    def quarantine_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Quarantine the active `CONTRIBUTOR/SET/ENTRY`: it stops matching until it is released. Role: operator."""
        request = v1.QuarantineEntryRequest(name=_entry(name), validate_only=validate_only, request_id=_request_id())
        return wire.entry_from_pb(self._transport.call("ContributionService/QuarantineEntry", request, v1.Entry))

    # Matching

    def match_hashes(self, queries: Iterable[Query], options: MatchOptions) -> Iterator[Matched]:
        """Yield one answer for each query, in order. Any number of queries; they are sent in batches as they are
        consumed.
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
        """Return the answer to one query."""
        request = v1.MatchHashesRequest(query=wire.query_to_pb(query), options=wire.options_to_pb(options))
        answer = self._transport.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
        return Matched(result=wire.match_result_from_pb(answer.result), policy=answer.policy, revision=answer.revision)

    def match_media(self, media: Iterable[tuple[str, bytes]], options: MatchOptions) -> Iterator[MatchedMedia]:
        """Yield one answer for each (label, content), in order, hashed by the hub: for callers that cannot hash.

        The contents travel to the hub, which keeps them in memory only. A file that it cannot read has the verdict
        UNAVAILABLE.
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
                    id=wire.parse_policy(pb.name), display_name=pb.display_name, explanation=pb.explanation
                )

    def list_schemes(self) -> Iterator[SchemeTable]:
        """Yield the classification schemes in order of name."""
        for page in self._pages("MatchService/ListSchemes", v1.ListSchemesRequest(), v1.ListSchemesResponse):
            yield from map(_scheme, page.schemes)

    # Reviews and the change feed

    def create_review(self, entry: str, kind: ReviewKind, comment: str = "", *, validate_only: bool = False) -> Review:
        """Add a statement of the caller about `CONTRIBUTOR/SET/ENTRY`."""
        contributor, hash_set, entry_id = wire.parse_entry(_entry(entry))
        review = Review(id=0, entry_id=entry_id, author="", kind=kind, comment=comment)
        request = v1.CreateReviewRequest(
            parent=_entry(entry),
            review=wire.review_to_pb(review, contributor, hash_set),
            validate_only=validate_only,
            request_id=_request_id(),
        )
        answer = self._transport.call("ReviewService/CreateReview", request, v1.Review)
        # What was only checked was not made, so it has no name, number or time.
        if validate_only:
            return msgspec.structs.replace(review, author=wire.parse_author(answer.author))
        return wire.review_from_pb(answer)

    def set_aside_review(self, entry: str, review_id: int, comment: str) -> Review:
        """Let an objection to `CONTRIBUTOR/SET/ENTRY` weigh no more; it stays on record. Role: operator."""
        request = v1.SetAsideReviewRequest(
            name=f"{_entry(entry)}/reviews/{review_id}", comment=comment, request_id=_request_id()
        )
        return wire.review_from_pb(self._transport.call("ReviewService/SetAsideReview", request, v1.Review))

    def list_reviews(self, entry: str) -> Iterator[Review]:
        """Yield the reviews of `CONTRIBUTOR/SET/ENTRY`, oldest first."""
        request = v1.ListReviewsRequest(parent=_entry(entry))
        for page in self._pages("ReviewService/ListReviews", request, v1.ListReviewsResponse):
            yield from map(wire.review_from_pb, page.reviews)

    def list_changes(self, position: str = "", *, from_now: bool = False) -> Iterator[FeedPage]:
        """Yield the pages of the change feed behind a position, up to the first that is complete. Needs a token that
        may mirror.

        Go on later from the last page's `position`; keep it together with what was applied. Empty: everything that the
        token may hold, as it is now; with `from_now` no entry of that, only what changes from now on. Raises
        FailedPrecondition (POSITION_UNKNOWN) when the hub's database was restored from an older backup: start again
        from nothing.
        """
        request = v1.ListChangesRequest(position=_position(position), page_size=_PAGE, from_now=from_now)
        while True:
            answer = self._transport.call("ChangeService/ListChanges", request, v1.ListChangesResponse)
            yield _feed_page(answer)
            if answer.complete:
                return
            request.position, request.from_now = answer.next_position, False

    def follow_changes(self, position: str = "", *, from_now: bool = False) -> Iterator[FeedPage]:
        """Yield the pages of the change feed behind a position, and then those to come; an empty one is a sign of life.

        Position and errors as in `list_changes`; also raises Unavailable when the hub goes away, and Unauthenticated or
        PermissionDenied once the token does not allow it any more.
        """
        request = v1.FollowChangesRequest(position=_position(position), from_now=from_now)
        for answer in self._transport.stream("ChangeService/FollowChanges", request, v1.FollowChangesResponse):
            yield _feed_page(answer)

    def mirror(self, directory: Path) -> Mirror:
        """Return the local copy in `directory` of what the token may hold; close it in the end. See docs/mirror.md."""
        return Mirror(directory, self._transport)

    # The history

    def list_events(
        self, name: str = "", *, actor: str = "", since: datetime | None = None, limit: int | None = None
    ) -> Iterator[Event]:
        """Yield events, the newest first: about `CONTRIBUTOR`, `CONTRIBUTOR/SET`, `CONTRIBUTOR/SET/ENTRY`,
        `tokens/TOKEN`, `groups/GROUP`.

        `actor`: only what this token wrote. The facts of an event are text.
        """
        request = v1.ListEventsRequest(
            subject=_subject(name), actor=_token(actor) if actor else "", since=wire.timestamp(since)
        )
        pages = self._pages("HistoryService/ListEvents", request, v1.ListEventsResponse, size=limit)
        yield from islice((wire.event_from_pb(event) for page in pages for event in page.events), limit)

    def redact_event(self, revision: int) -> Event:
        """Erase the details of an event; the chain still verifies. Role: operator."""
        request = v1.RedactEventRequest(name=wire.event_name(revision))
        return wire.event_from_pb(self._transport.call("HistoryService/RedactEvent", request, v1.Event))

    def revert_actor(
        self,
        actor: str,
        since: datetime,
        comment: str = "",
        *,
        withdrawals_only: bool = False,
        validate_only: bool = False,
    ) -> list[RevertedEvent]:
        """Undo what a token wrote since a time, as far as nobody has changed it since; return what became of each
        event. Role: operator.

        Run it again if it was cut off: it goes on where it was. `validate_only` tells what would become of each.
        """
        request = v1.RevertActorRequest(
            actor=_token(actor),
            since=wire.timestamp(since),
            withdrawals_only=withdrawals_only,
            validate_only=validate_only,
            comment=comment,
        )
        answer = self._transport.call(
            "HistoryService/RevertActor", request, v1.RevertActorResponse, timeout=_REVERT_TIMEOUT
        )
        return [wire.reverted_event_from_pb(pb) for pb in answer.events]

    # Administration

    def create_token(self, principal: Principal) -> str:
        """Create a token and return its secret, which cannot be had again. Role: operator. Not retried: see
        list_tokens.
        """
        request = v1.CreateTokenRequest(token_id=principal.name, token=wire.token_to_pb(principal))
        return self._transport.call(
            "AdminService/CreateToken", request, v1.CreateTokenResponse, repeatable=False
        ).secret

    def list_tokens(self) -> Iterator[Principal]:
        """Yield the tokens, without their secrets, in order of name."""
        for page in self._pages("AdminService/ListTokens", v1.ListTokensRequest(), v1.ListTokensResponse):
            yield from map(wire.token_from_pb, page.tokens)

    def update_token(self, token: Principal, fields: Sequence[str]) -> Principal:
        """Set the named fields of a token to the values that `token` has. Role: operator."""
        request = v1.UpdateTokenRequest(token=wire.token_to_pb(token), update_mask=FieldMask(paths=fields))
        return wire.token_from_pb(self._transport.call("AdminService/UpdateToken", request, v1.Token))

    def rotate_token(self, name: str, grace: timedelta | None = None) -> str:
        """Give a token a new secret and return it; the old one works on for `grace`, by default a day. Not retried.

        Roles: operator; any token for itself.
        """
        request = v1.RotateTokenRequest(name=_token(name), grace=grace)
        return self._transport.call(
            "AdminService/RotateToken", request, v1.RotateTokenResponse, repeatable=False
        ).secret

    def delete_token(self, name: str) -> None:
        """Delete a token: it stops working within a second. Role: operator."""
        request = v1.DeleteTokenRequest(name=_token(name))
        self._transport.call("AdminService/DeleteToken", request, v1.DeleteTokenResponse, repeatable=False)

    def status(self) -> Status:
        """Return the state of the hub. Roles: operator, auditor."""
        return wire.status_from_pb(self._transport.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status))

    def _pages(self, method: str, request: _PagedRequest, answer: type[P], *, size: int | None = None) -> Iterator[P]:
        """Yield the pages of a list, to its end. `size`: of a page, where few of the list are wanted."""
        request.page_size = min(size or _PAGE, _PAGE)
        while True:
            page = self._transport.call(method, request, answer)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _position(text: str) -> str:
    if not text.isascii():
        raise InvalidArgument.field(
            "position", "is damaged; give the one that an earlier answer ended with", "POSITION"
        )
    return text


def _feed_page(answer: v1.ListChangesResponse | v1.FollowChangesResponse) -> FeedPage:
    return FeedPage(
        changes=tuple(map(wire.changed_entry_from_pb, answer.changes)),
        position=answer.next_position,
        revision=answer.revision,
        head=answer.head,
        is_complete=answer.complete,
    )


def _request_id() -> str:
    return str(uuid.uuid4())


def _scheme(pb: v1.Scheme) -> SchemeTable:
    return SchemeTable(
        id=wire.parse_scheme(pb.name),
        title=pb.title,
        region=pb.region,
        status=SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED,
        source=pb.source,
        values=tuple(
            SchemeValue(value=v.value, title=v.title, dimensions=wire.dimensions_from_pb(v.dimensions))
            for v in pb.values
        ),
    )


def _ignore(_: Progress) -> None:
    """Report progress to nobody."""


def _check_count(answers: int, queries: int) -> None:
    """Answers are told apart by their order alone: one too few, and the rest would be about other items."""
    if answers != queries:
        raise HashHubError(f"the hub gave {answers} answers to {queries} queries; nothing can be concluded from them")


def _parts(name: str, shape: str) -> list[str]:
    parts = name.split("/")
    if len(parts) != shape.count("/") + 1 or not all(parts) or not name.isascii():
        raise InvalidArgument.field("name", f"expected {shape}, got {name[:200]!r}", "RESOURCE_NAME")
    return parts


def _contributor(name: str) -> str:
    (contributor,) = _parts(name, "CONTRIBUTOR")
    return wire.contributor_name(contributor)


def _group(name: str) -> str:
    (group,) = _parts(name, "GROUP")
    return wire.group_name(group)


def _token(name: str) -> str:
    (token,) = _parts(name, "TOKEN")
    return wire.token_name(token)


def _subject(name: str) -> str:
    """Return the resource name of what events are about, as commands write it."""
    parts = name.split("/")
    if not name or parts[0] in {"tokens", "groups", "events"}:
        return name
    match parts:
        case [_]:
            return _contributor(name)
        case [_, _]:
            return _hash_set(name)
        case [_, _, last] if not last.isdecimal():
            return _import(name)
    return _entry(name)


def _hash_set(name: str) -> str:
    contributor, hash_set = _parts(name, "CONTRIBUTOR/SET")
    return wire.hash_set_name(contributor, hash_set)


def _import(name: str) -> str:
    contributor, hash_set, import_id = _parts(name, "CONTRIBUTOR/SET/IMPORT")
    return wire.import_name(contributor, hash_set, import_id)


def _entry(name: str) -> str:
    contributor, hash_set, entry_id = _parts(name, "CONTRIBUTOR/SET/ENTRY")
    if not entry_id.isdecimal() or not entry_id.isascii():
        raise InvalidArgument.field(
            "name", f"expected CONTRIBUTOR/SET/ENTRY with a number, got {name[:200]!r}", "RESOURCE_NAME"
        )
    return wire.entry_name(contributor, hash_set, int(entry_id))


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
