"""Policies: their versions, what one makes of an item and why, and what another one would change. A trial searches once
for both policies, in small pieces with rests between them, so that matching goes on beside it.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

import msgspec
import pyroaring

from hashhub import cancellation, trust
from hashhub.answering.answer import Evidence, check_queries, gather, remarks, seen_in_part
from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hub import access
from hashhub.hub.access import VisibleLists, caller
from hashhub.hub.exchange import changed_ids
from hashhub.model import (
    ChangeKind,
    Definition,
    DefinitionKind,
    Entry,
    EntryState,
    EventKind,
    MatchOptions,
    Principal,
    Query,
    ReasonLine,
    Role,
    Selection,
    Verdict,
    now,
)
from hashhub.schemes import read_toml
from hashhub.store import Scope
from hashhub.trust import Example, Policy, Trace, Trial, VerdictChange, Version
from hashhub.trust import PolicyVersions as Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from hashhub.hub.digest_walks import WalkGuard
    from hashhub.hub.health import Readiness
    from hashhub.hub.match import DisclosureCounter
    from hashhub.hub.schemes import Catalogue
    from hashhub.matcher import Matcher
    from hashhub.store import Store, WriteOptions

MAX_TEXT: Final = 65_536  # bytes of a policy: some hundred clauses
MAX_TRIED: Final = 1_000  # entries whose hashes one call of a trial looks up
_PIECE: Final = 50  # queries of a trial between two rests: some milliseconds
_SHARE: Final = 0.25  # of a core, for all trials of a process together
_EXAMPLES: Final = 3  # of each change, in one answer
_NOTHING: Final = trust.Judgement(
    Verdict.NO_MATCH,
    (ReasonLine(code=trust.ReasonCode.NOTHING_KNOWN, text="no entry within the searched distances"),),
)


class ReplaySelection(msgspec.Struct, frozen=True, kw_only=True):
    """ACTIVE entries whose own hashes are the queries: visible since a revision or time, with ids behind `after`."""

    revision: int = 0
    time: datetime | None = None
    hash_sets: tuple[str, ...] = ()
    after: int = 0


class Policies:
    """The use-cases about policies."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        catalogue: Catalogue,
        readiness: Readiness,
        learned: DisclosureCounter,
        walks: WalkGuard,
        *,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        """`rest` is told for how many seconds a trial leaves the process to others."""
        self._store = store
        self._matcher = matcher
        self._catalogue = catalogue
        self._readiness = readiness
        self._learned, self._walks = learned, walks
        self._rest = rest

    # Versions

    def currents(self, principal: Principal) -> list[Version]:
        """Return the current version of each policy, by name."""
        access.allow(principal, *Role)
        return self._catalogue.now().policies.currents()

    def get(self, principal: Principal, reference: str) -> Version:
        """Return the version that `NAME` (the newest not retired) or `NAME@VERSION` means. Raises NotFound."""
        access.allow(principal, *Role)
        return _found(self._catalogue.now().policies, reference)

    def versions(self, principal: Principal, name: str) -> list[Version]:
        """Return all versions of a policy, the oldest first, retired ones included. Raises NotFound."""
        access.allow(principal, *Role)
        versions = self._catalogue.now().policies.versions(name)
        if not versions:
            raise NotFound(
                f"there is no policy {name[:80]!r}; see `hashhub policy list`", kind="Policy", name=name[:80]
            )
        return versions

    def put(self, principal: Principal, text: str, *, comment: str = "", **options: Unpack[WriteOptions]) -> Version:
        """Store the next version of the policy that the TOML text names; it holds at once. The current version's text
        makes no new one. Raises InvalidArgument for a text that is no policy, or of a wrong version; Conflict where
        somebody else puts the version that it states at the same moment.
        """
        access.allow(principal, Role.OPERATOR)
        versions = self._catalogue.now().policies
        policy = _parsed(text, versions)
        current = versions.current(policy.name)
        if current is not None and current.text == text and not current.fault:
            return _found(versions, policy.name)
        states_version = "version" in read_toml(text.encode(), "text")

        def check(stored: Sequence[Definition]) -> None:
            if states_version and any(d.name == policy.full_name for d in stored):
                raise Conflict(f"somebody else has just put {policy.full_name}; read it, and put yours as the next one")

        made = self._store.definitions.put(
            Definition(kind=DefinitionKind.POLICY, id=policy.name, version="", text=text),
            check,
            reason=comment,
            by=access.actor(principal),
            **options,
            number_from=versions.next_version(policy.name),
        )
        if options.get("validate_only"):
            return Version(
                name=made.id,
                version=int(made.version),
                text=text,
                policy=policy,
                actor=principal.name,
                create_time=made.create_time,
                is_current=True,
            )
        return _found(self._catalogue.now().policies, made.name)

    def retire(
        self, principal: Principal, reference: str, *, comment: str = "", **options: Unpack[WriteOptions]
    ) -> Version:
        """Retire `NAME@VERSION`; the one before may be current again. Raises NotFound, InvalidArgument."""
        access.allow(principal, Role.OPERATOR)
        if "@" not in reference:
            raise InvalidArgument.field(
                "name", "must name the version that is to be retired, as NAME@VERSION", "REQUIRED"
            )
        version = _found(self._catalogue.now().policies, reference)
        if version.is_from_file:
            raise FailedPrecondition(
                f"policy {version.full_name} comes from a file, and cannot be retired here; put a newer version of it, "
                "or, if the file is in the directory of the setting `policies`, take it away and restart"
            )

        def retired(definition: Definition) -> Definition:
            if definition.retire_time is not None:
                raise FailedPrecondition(f"policy {definition.name} was retired before")
            return msgspec.structs.replace(definition, retire_time=now())

        self._store.definitions.change(
            DefinitionKind.POLICY,
            version.full_name,
            retired,
            EventKind.POLICY_RETIRED,
            reason=comment,
            by=access.actor(principal),
            **options,
        )
        return version if options.get("validate_only") else _found(self._catalogue.now().policies, version.full_name)

    # What a policy makes of an item

    def explain(self, principal: Principal, query: Query, options: MatchOptions) -> tuple[Trace, Verdict, int]:
        """Return how the policy comes to its judgement of what the caller may see, the verdict that matching answers
        with, and the revision. The verdict is REVIEW where something else is known. Raises as `Match.hashes`.
        """
        access.allow(principal, *Role)
        policy = self._catalogue.now().policies.get(options.policy)
        check_queries((query,), options)
        self._learned.check(principal, options.max_distances)
        self._readiness.require()
        revision = self._matcher.revision
        evidence = gather(
            VisibleLists(self._store, principal),
            self._matcher,
            [query],
            options,
            stated_times=policy.reads_statement_times,
            caller=caller(principal),
        )
        hits = evidence.hits.get(0)
        trace = trust.trace(
            policy,
            evidence.statements(0) if hits is not None else (),
            evidence.contributors,
            time=now(),
            query=query.hashes,
            cut_short=hits is not None and hits.cut_short,
        )
        self._walks.check(
            principal,
            query,
            [(e.name, hit.algorithm, hit.distance, hit.query_digest) for hit, e in evidence.seen(0)],
        )
        self._learned.note(principal, [told.entry for told in trace.entries])
        if hits is None:
            return trace, trace.judgement.verdict, revision
        verdict = seen_in_part(trace.judgement.verdict, hits)
        judgement = trust.Judgement(trace.judgement.verdict, (*trace.judgement.reasons, *remarks(hits)))
        return msgspec.structs.replace(trace, judgement=judgement), verdict, revision

    # What another policy would change

    def try_out(
        self,
        principal: Principal,
        before: str,
        after: str,
        *,
        text: str = "",
        queries: Sequence[Query] = (),
        since: ReplaySelection | None = None,
        max_distances: Mapping[str, int] | None = None,
    ) -> Trial:
        """Return what becomes of queries, or of the next MAX_TRIED entries of `since`, when `after`, or the policy of
        the TOML `text`, takes the place of `before`. Nothing is stored. Raises as `Match.hashes`; NotFound for a hash
        set.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR)
        versions = self._catalogue.now().policies
        now_in_force = versions.get(before, "before")
        candidate = _parsed(text, versions) if text else versions.get(after, "after")
        if bool(queries) == (since is not None):
            raise InvalidArgument.field("queries", "give queries or since, one of them", "REQUIRED")
        options = MatchOptions(policy=now_in_force.full_name, max_distances=dict(max_distances or {}))
        chosen = _TrialQueries(queries) if since is None else self._queries_of(principal, since, options)
        queries = chosen.queries
        check_queries(queries, options)
        self._readiness.require()
        revision = self._matcher.revision
        changes = _VerdictChanges()
        policies = (now_in_force, candidate)
        for start in range(0, len(queries), _PIECE):
            cancellation.check()
            begun = time.thread_time()
            piece = queries[start : start + _PIECE]
            evidence = gather(
                VisibleLists(self._store, principal),
                self._matcher,
                piece,
                options,
                stated_times=any(p.reads_statement_times for p in policies),
                caller=None,
            )
            for i, query in enumerate(piece):
                changes.add(query, *_judged_by_both(policies, evidence, i, query))
            # As long a rest as leaves others three quarters of what time there is.
            self._rest((time.thread_time() - begun) * (1 / _SHARE - 1))
        return Trial(
            before=now_in_force.full_name,
            after=candidate.full_name,
            changes=changes.counted(),
            revision=revision,
            next_after=chosen.next_after,
            total=chosen.total,
            since_revision=chosen.revision,
        )

    def _queries_of(self, principal: Principal, since: ReplaySelection, options: MatchOptions) -> _TrialQueries:
        """Return the next entries' own hashes as queries."""
        visible = access.sight(principal, self._store.resources.registry(), access.DisclosureChannel.LIST).visible
        for name in since.hash_sets:
            if name not in visible:
                raise NotFound(
                    f"there is no hash set {name[:130]!r}; `hashhub hash-set list` shows them",
                    kind="HashSet",
                    name=name[:130],
                )
        names = frozenset(since.hash_sets) or visible
        revision = since.revision
        if since.time is not None:
            revision = max(revision, self._store.history.revision_before(since.time))
        if not revision:
            return self._standing(names, since.after, options)
        ids = pyroaring.BitMap64()
        for changed in changed_ids(self._store, names, (revision + 1, 0), kind=ChangeKind.UPSERT).values():
            ids |= changed
        start = ids.rank(since.after)
        piece = ids[start : start + MAX_TRIED].to_array().tolist()
        entries = [
            e
            for e in self._store.entries.get_entries(piece).values()
            if e.state is EntryState.ACTIVE and max(e.create_revision, e.update_revision) > revision
        ]
        is_all = start + len(piece) >= len(ids)
        entries = list(map(self._store.entries.with_frames, entries))
        return _TrialQueries(
            _queries(entries, options), 0 if is_all else piece[-1], 0 if since.after else len(ids), revision
        )

    def _standing(self, names: frozenset[str], after: int, options: MatchOptions) -> _TrialQueries:
        """Return the next active entries of the hash sets."""
        total = 0 if after else sum(self._store.entries.entry_count(*name.partition("/")[::2]) for name in names)
        walk = self._store.selector.walk(
            Selection(states=(EntryState.ACTIVE,)), Scope(names), after=after, check=cancellation.check
        )
        rows: list[tuple[Any, ...]] = []
        for piece in walk:
            rows += piece.rows
            if len(rows) > MAX_TRIED:
                break
        taken = rows[:MAX_TRIED]
        next_after = taken[-1][0] if len(rows) > MAX_TRIED else 0
        entries = list(map(self._store.entries.with_frames, self._store.entries.of_rows(taken)))
        return _TrialQueries(_queries(entries, options), next_after, total)


class _TrialQueries(NamedTuple):
    """Queries of one call, the entry behind which the next goes on (0: nothing is left), how many there are in all."""

    queries: Sequence[Query]
    next_after: int = 0
    total: int = 0
    revision: int = 0


class _VerdictChanges:
    """What becomes of verdicts when one policy takes the place of another: counted, with a few examples."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Verdict, Verdict]] = Counter()
        self._examples: dict[tuple[Verdict, Verdict], list[Example]] = {}

    def add(self, query: Query, before: trust.Judgement, after: trust.Judgement) -> None:
        """Count one query."""
        verdicts = before.verdict, after.verdict
        self._counts[verdicts] += 1
        examples = self._examples.setdefault(verdicts, [])
        if before.verdict is not after.verdict and len(examples) < _EXAMPLES:
            examples.append(Example(label=query.label, before=_shown(before.reasons), after=_shown(after.reasons)))

    def counted(self) -> tuple[VerdictChange, ...]:
        """Return each pair of verdicts that queries had, in the order of verdicts."""
        order = {verdict: i for i, verdict in enumerate(Verdict)}
        return tuple(
            VerdictChange(before=b, after=a, count=self._counts[b, a], examples=tuple(self._examples[b, a]))
            for b, a in sorted(self._counts, key=lambda pair: (order[pair[0]], order[pair[1]]))
        )


def _queries(entries: Sequence[Entry], options: MatchOptions) -> list[Query]:
    queries = [Query(hashes=_searchable(e, options), label=e.name, frames=e.frames) for e in entries]
    return [query for query in queries if query.hashes or query.frames]


def _searchable(entry: Entry, options: MatchOptions) -> tuple[Hash, ...]:
    return tuple(
        h
        for h in entry.hashes
        if ALGORITHMS[h.algorithm].default_max_distance is not None or h.algorithm in options.max_distances
    )


def _judged_by_both(
    policies: tuple[Policy, Policy], evidence: Evidence, i: int, query: Query
) -> tuple[trust.Judgement, trust.Judgement]:
    hits = evidence.hits.get(i)
    if hits is None:
        return _NOTHING, _NOTHING
    at, statements, more = now(), evidence.statements(i), remarks(hits)

    def judged(policy: Policy) -> trust.Judgement:
        judgement = trust.decide(
            policy, statements, evidence.contributors, time=at, query=query.hashes, cut_short=hits.cut_short
        )
        return trust.Judgement(seen_in_part(judgement.verdict, hits), (*judgement.reasons, *more))

    return judged(policies[0]), judged(policies[1])


def _shown(reasons: Sequence[ReasonLine]) -> tuple[ReasonLine, ...]:
    return tuple(msgspec.structs.replace(r, entries=r.entries[:_EXAMPLES]) for r in reasons)


def _parsed(text: str, versions: Versions) -> Policy:
    """Return the policy of a text that is not stored, as the version that it would be."""
    if len(text.encode()) > MAX_TEXT:
        raise InvalidArgument.field("text", f"must be at most {MAX_TEXT} bytes, got {len(text.encode())}", "TOO_LONG")
    named = trust.parse(text.encode(), "text")
    trust.check_variants(named)
    return trust.parse(text.encode(), "text", version=versions.next_version(named.name))


def _found(versions: Versions, reference: str) -> Version:
    try:
        return versions.version(reference)
    except InvalidArgument as e:
        raise NotFound(e.violations[0].description, kind="Policy", name=reference[:130]) from e
