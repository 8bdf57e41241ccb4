"""Calls about policies and schemes: their versions, what they make of items, and how they correspond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client.transport import Calls, Listing, hash_set_name, policy_name
from hashhub.errors import InvalidArgument
from hashhub.model import MatchOptions, Query, SchemeStatus, SignOff, Verdict
from hashhub.schemes import SchemeValue
from hashhub.schemes.alignment import CrosswalkRow, Difference
from hashhub.trust import Example, Trace, Trial, VerdictChange
from hashhub.wire.codec import FieldCodec, MessageCodec, name_of

TRIAL_BATCH: Final = 1_000  # queries in one SimulatePolicy call
_TRIAL_TIMEOUT: Final = 120.0  # seconds for one batch, most of them at rest
_EXAMPLES: Final = 5  # of each change


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a policy. `name` is NAME@VERSION; `actor` the token that put it, empty for one of a file.

    `is_current`: callers that pin no version are answered by it. `fault`: why its text cannot be read; then queries by
    it are UNAVAILABLE.
    """

    name: str
    id: str
    version: int
    display_name: str
    explanation: str
    text: str
    actor: str
    create_time: datetime | None
    retire_time: datetime | None
    is_current: bool
    fault: str


def _id_of(pb: v1.Policy) -> str:
    return str(wire.parse_policy(pb.name).partition("@")[0])


_VERSION: Final = MessageCodec(
    PolicyVersion,
    v1.Policy,
    at="policy",
    id=FieldCodec(str, lambda pb, *_: _id_of(pb)),
    name=FieldCodec(str, lambda pb, *_: f"{_id_of(pb)}@{pb.version}"),
    actor=name_of("Token"),
    is_current="current",
)


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """How a policy comes to a verdict, at a revision."""

    trace: Trace
    revision: int


class PolicyCalls(Calls):
    """Versions of policies, explanations, trials."""

    def get_policy(self, reference: str) -> PolicyVersion:
        """Return the version that `NAME` (the newest that is not retired) or `NAME@VERSION` means."""
        return self._ask(v1.GetPolicyRequest(name=policy_name(reference)), _VERSION.from_pb)

    def list_policy_versions(self, name: str) -> Listing[PolicyVersion]:
        """Yield all versions of a policy, the oldest first, retired ones included."""
        return self._list(v1.ListPolicyVersionsRequest(parent=policy_name(name)), "policies", _VERSION.from_pb)

    def put_policy(self, text: str, comment: str = "", *, validate_only: bool = False) -> PolicyVersion:
        """Put the next version of a policy (TOML); it applies at once to callers that pin none. Role: operator."""
        return self._ask(v1.PutPolicyRequest(text=text, comment=comment, validate_only=validate_only), _VERSION.from_pb)

    def retire_policy(self, reference: str, comment: str = "", *, validate_only: bool = False) -> PolicyVersion:
        """Retire `NAME@VERSION`; where it was the newest, the one before is current again. Role: operator."""
        request = v1.RetirePolicyRequest(name=policy_name(reference), comment=comment, validate_only=validate_only)
        return self._ask(request, _VERSION.from_pb)

    def explain_match(self, query: Query, options: MatchOptions) -> Explained:
        """Return how the policy of the options comes to its verdict about one item."""
        request = v1.ExplainMatchRequest(query=wire.query_to_pb(query), options=wire.options_to_pb(options))
        return self._ask(request, lambda pb: Explained(trace=wire.trace_from_pb(pb), revision=pb.revision))

    def simulate_policy(
        self,
        before: str,
        after: str = "",
        *,
        text: str = "",
        queries: Iterable[Query] | None = None,
        since: datetime | int | None = None,
        hash_sets: Sequence[str] = (),
        max_distances: Mapping[str, int] | None = None,
        limit: int | None = None,
        progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    ) -> Trial:
        """Return what changes when the policy `after`, or that of the TOML `text`, takes the place of `before`. Nothing
        is stored. Roles: operator, auditor.

        Of queries; or of entries by their own hashes, those that became visible since a time or behind a revision, or
        all, of `hash_sets` (`CONTRIBUTOR/SET`) or of all, until `limit` or more were judged. `progress` is told how
        many were, and of how many. It goes on in batches, at the hub's pace, and ends where the caller stops it.
        """
        request = v1.SimulatePolicyRequest(
            before=before,
            after=after,
            text=text,
            hash_sets=map(hash_set_name, hash_sets),
            max_distances=max_distances or {},
        )
        if isinstance(since, int):
            request.since_revision = since
        elif (stamp := wire.timestamp(since)) is not None:
            request.since_time.CopyFrom(stamp)
        by_entries = since is not None or bool(hash_sets)
        if by_entries == (queries is not None):
            raise InvalidArgument.field("queries", "give queries, or since or hash_sets, not both", "REQUIRED")
        taken = _TrialSum()
        if queries is not None:
            rest, done = iter(queries), 0
            while batch := list(islice(rest, TRIAL_BATCH)):
                del request.queries[:]
                request.queries.extend(map(wire.query_to_pb, batch))
                taken.add(self._tried(request))
                done += len(batch)
                progress(done, None)
            return taken.trial()
        done, total = 0, 0
        while True:
            answer = self._tried(request)
            taken.add(answer)
            total = total or answer.entry_count
            done += sum(c.query_count for c in answer.changes)
            progress(min(done, total) if total else done, total or None)
            if not answer.next_page_token or (limit is not None and done >= limit):
                return taken.trial()
            request.page_token = answer.next_page_token

    def _tried(self, request: v1.SimulatePolicyRequest) -> v1.SimulatePolicyResponse:
        answer: v1.SimulatePolicyResponse = self._transport.call(request, timeout=_TRIAL_TIMEOUT)
        # All batches are judged by the versions that the first was judged by, whatever is put meanwhile.
        request.before = answer.before
        if not request.text:
            request.after = answer.after
        return answer


class _TrialSum:
    """The answers to the batches of a trial, summed up."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Verdict, Verdict]] = Counter()
        self._examples: dict[tuple[Verdict, Verdict], list[Example]] = {}
        self._last: Trial | None = None

    def add(self, answer: v1.SimulatePolicyResponse) -> None:
        trial = wire.TRIAL.from_pb(answer)
        self._last = self._last or trial
        for c in trial.changes:
            self._counts[c.before, c.after] += c.count
            shown = self._examples.setdefault((c.before, c.after), [])
            shown += c.examples[: _EXAMPLES - len(shown)]

    def trial(self) -> Trial:
        order = list(Verdict)
        pairs = sorted(self._counts, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
        last = self._last or Trial(before="", after="", changes=(), revision=0)
        changes = tuple(
            VerdictChange(before=b, after=a, count=self._counts[b, a], examples=tuple(self._examples[b, a]))
            for b, a in pairs
        )
        return msgspec.structs.replace(last, changes=changes, total=self._counts.total())


class SchemeTable(msgspec.Struct, frozen=True, kw_only=True):
    """A classification scheme as the hub knows it, `id@version`; a DRAFT table never leads to an automatic block.

    `stored`: it is of the hub's store; which token put it is told to operators and auditors. `text`: its TOML, where
    one scheme was asked for. The rest is as in its file (docs/reconcile/schemes.md).
    """

    id: str
    title: str
    region: str
    status: SchemeStatus
    source: str
    values: tuple[SchemeValue, ...]
    lossy: tuple[str, ...] = ()
    region_aliases: tuple[str, ...] = ()
    source_names: tuple[str, ...] = ()
    value_required: bool = False
    stored: bool = False
    actor: str = ""
    create_time: datetime | None = None
    retire_time: datetime | None = None
    sign_offs: tuple[SignOff, ...] = ()
    text: str = ""


_SCHEME: Final = MessageCodec(
    SchemeTable,
    v1.Scheme,
    at="scheme",
    id=name_of("Scheme", "name", is_required=True),
    status=FieldCodec(str, lambda pb, *_: SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED),
    actor=name_of("Token"),
)


class SchemeCalls(Calls):
    """Classification schemes, named ID@VERSION; where only ID is given, the one that a new hash set would get."""

    def list_schemes(self) -> Listing[SchemeTable]:
        """Yield the classification schemes in order of name."""
        return self._list(v1.ListSchemesRequest(), "schemes", _SCHEME.from_pb)

    def get_scheme(self, scheme: str) -> SchemeTable:
        """Return a scheme with its text. Raises NotFound."""
        return self._ask(v1.GetSchemeRequest(name=f"schemes/{scheme}"), _SCHEME.from_pb)

    def put_scheme(self, text: str, comment: str = "", *, validate_only: bool = False) -> SchemeTable:
        """Put a version of a scheme, given as TOML, into the store. It is a draft until somebody else signs it off.
        Raises AlreadyExists when there is that version. Role: operator.
        """
        return self._ask(v1.PutSchemeRequest(text=text, comment=comment, validate_only=validate_only), _SCHEME.from_pb)

    def sign_off_scheme(self, scheme: str, comment: str, *, validate_only: bool = False) -> SchemeTable:
        """Answer for a version that another token put. Role: operator."""
        request = v1.SignOffSchemeRequest(name=f"schemes/{scheme}", comment=comment, validate_only=validate_only)
        return self._ask(request, _SCHEME.from_pb)

    def retire_scheme(self, scheme: str, comment: str = "", *, validate_only: bool = False) -> SchemeTable:
        """Let no new hash set take a version of the store. Role: operator."""
        request = v1.RetireSchemeRequest(name=f"schemes/{scheme}", comment=comment, validate_only=validate_only)
        return self._ask(request, _SCHEME.from_pb)

    def compare_schemes(self, scheme: str, other: str) -> Listing[CrosswalkRow]:
        """Yield how each value of one scheme stands to each of another, in their order. Raises NotFound."""
        request = v1.CompareSchemesRequest(name=f"schemes/{scheme}", other_name=f"schemes/{other}")
        return self._list(request, "rows", wire.CROSSWALK_ROW.from_pb)

    def diff_schemes(self, old: str, new: str) -> Difference:
        """Return the differences between two schemes, or two versions of one. Raises NotFound."""
        request = v1.DiffSchemesRequest(name=f"schemes/{old}", other_name=f"schemes/{new}")
        return self._ask(request, wire.DIFFERENCE.from_pb)
