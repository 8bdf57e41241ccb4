"""The application: one module per use case, put together here. Every use case takes the Principal that asks, and
authorises it before anything else (`access`). The hub knows no wire.

Two paths run through it: `contribute` (with `intake`) and `match`. `follow` keeps the matcher at the store's revision;
`housekeeping` works in the background; `withdrawal_log` and `backup` keep a record outside the database.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import hashhub
from hashhub import structs, trust
from hashhub.errors import FailedPrecondition, LimitExceeded
from hashhub.hashes import ALGORITHMS
from hashhub.hub import access
from hashhub.hub.access import Tokens
from hashhub.hub.approvals import Approvals
from hashhub.hub.backup import last_backup
from hashhub.hub.conflicts import ConflictFinder, Conflicts
from hashhub.hub.contribute import Contribute
from hashhub.hub.edges import EdgeReports
from hashhub.hub.entries import Entries, Reviews
from hashhub.hub.exchange import Changes
from hashhub.hub.exports import Exports
from hashhub.hub.follow import Follower, SnapshotMark
from hashhub.hub.health import Condition, Need, Renewals, Tally
from hashhub.hub.history import History
from hashhub.hub.housekeeping import Housekeeping, RetentionJob, Retentions
from hashhub.hub.live import Live
from hashhub.hub.log import TransparencyLog
from hashhub.hub.match import DisclosureCounter, Match
from hashhub.hub.outbound import Outbound
from hashhub.hub.policies import Policies
from hashhub.hub.queue import Queue
from hashhub.hub.reconciliation import Reconciliation
from hashhub.hub.resources import Contributors, Groups, HashSets
from hashhub.hub.schemes import Catalogue, Schemes
from hashhub.hub.selections import Selections
from hashhub.hub.signatures import Signatures
from hashhub.hub.webhooks import Webhooks, WebhookSender
from hashhub.hub.withdrawal_log import FILE_NAME, WithdrawalLog
from hashhub.matcher import Matcher
from hashhub.model import AlgorithmStatus, EventKind, Principal, Role, Status, now
from hashhub.schemes import load as load_schemes
from hashhub.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from hashhub.background import Background
    from hashhub.config import Config

_log = logging.getLogger(__name__)

__all__ = ["Hub", "Need"]


class Hub:
    """A hub: its store, its matcher, and the use-cases over them."""

    def __init__(self, store: Store, matcher: Matcher, mark: SnapshotMark, config: Config) -> None:
        """Put the parts together; `Hub.open` also makes them. Raises InvalidArgument for bad policy or scheme files."""
        structs.prepare()
        self.store = store
        self.matcher = matcher
        self._data = Path(config.data)
        self.page_key: Final = hmac.digest(store.secret, b"hashhub page token", "sha256")  # seals where lists go on
        self.catalogue = Catalogue(
            store,
            load_schemes(Path(config.schemes) if config.schemes else None),
            trust.load(Path(config.policies) if config.policies else None),
        )
        self._withdrawal_log = WithdrawalLog(Path(config.data) / FILE_NAME, store)
        self.follower = Follower(store, matcher, config.poll_interval, mark, self._withdrawal_log.follow)
        erased = Path(config.data) / "matcher" / store.database_id / "ERASED"
        self.readiness = self.follower.readiness
        self.renewals = Renewals(store)
        open_time = timedelta(days=config.open_import_days)
        self.housekeeping = Housekeeping(
            store,
            matcher,
            self.follower,
            erased,
            open_time,
            self.renewals,
            lambda: self.contribute.tidying.wake(),  # noqa: PLW0108 - it is made below
        )
        self.finder = ConflictFinder(store)
        self.condition = Condition(store, self.readiness)
        self.tally = Tally()
        self._own_certificates = self._certificates = self.people = None
        if config.tls_certificate or config.tls_client_ca:
            from hashhub.hub.certificates import ClientCertificates, HubCertificates

            self._own_certificates = HubCertificates(config)
            if config.tls_client_ca:
                self._certificates = ClientCertificates(config.tls_client_revoked, config.tls_client_ca)
        if config.oidc_issuer:
            from hashhub.hub.people import IdentityProvider

            self.people = IdentityProvider(config)
        self._of_people = [self.people.thread] if self.people is not None else []
        self.tokens = Tokens(
            store,
            self._certificates,
            self.people,
            session_key=self._data / "session.key",
            second_person=config.second_person,
        )
        self.approvals = Approvals(store, demanded=config.second_person, by_login=bool(config.oidc_issuer))
        self.edges = EdgeReports(config)
        self.groups = Groups(store)
        self.hash_sets = HashSets(store, self.catalogue, config.max_hash_sets)
        self.entries = Entries(store, self.follower)
        self.signatures = Signatures(store, self.entries)
        self.contribute = Contribute(store, matcher, self.catalogue, self.follower, self.signatures, self.tally, config)
        self.selections = Selections(store, self.follower)
        self.contributors = Contributors(store, self.selections)
        self.retention = Retentions(store, self.follower)
        self.keeper = RetentionJob(store, self.follower, config)
        self.reviews = Reviews(store, matcher)
        self.conflicts = Conflicts(store)
        self.log = TransparencyLog(store, config)
        self.history = History(store, self.follower, self.log)
        self.learned = DisclosureCounter(store, config)
        self.match = Match(store, matcher, self.catalogue, self.readiness, config, self.tally, self.learned)
        self.live = Live(self.match, config)
        self.policies = Policies(store, matcher, self.catalogue, self.readiness, self.learned, self.match.walks)
        self.changes = Changes(store)
        self.schemes = Schemes(store, self.catalogue)
        self.exports = Exports(store, self.changes, self.catalogue)
        self.reconciliation = Reconciliation(store, config)
        self.operations = self.reconciliation.operations
        self.outbound = Outbound(config.webhook_allow, config.webhook_deny, config.webhook_ports)
        self.webhooks = Webhooks(store, self.outbound)
        self.queue = Queue(store, self.renewals, self.webhooks, self.conflicts, self.approvals)
        self.sender = WebhookSender(store, self.outbound, config.webhook_gather_seconds)
        # What only the process that publishes snapshots does.
        upkeep = (self.housekeeping, self.sender, self.keeper, self.finder)
        threads = [part.thread for part in upkeep]
        threads += [self.log.witnesses.thread] if self.log.witnesses else []
        self._upkeep = threads if mark.is_ours else []

    @classmethod
    def open(
        cls,
        config: Config,
        *,
        publisher: bool = True,
        phase: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> Self:
        """Open the store and the matcher that the configuration names. `publisher`: this process publishes snapshots;
        it first verifies the history, and withdraws again what a restored backup brought back. `phase`: entered around
        long steps.

        Raises Unavailable when the database is away, DataLoss when it or its history is damaged, InvalidArgument for
        settings.
        """
        data = Path(config.data)
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise FailedPrecondition(
                f"the data directory cannot be made ({e.strerror}); choose another with --data"
            ) from e
        with phase("opening the database"):
            store = Store.open(config.database_url() or data)
        matcher: Matcher | None = None
        try:
            # By the database's own id: a snapshot of another database must not answer for this one.
            directory = data / "matcher" / store.database_id
            with phase("opening the snapshot"):
                matcher = Matcher(directory, publisher=publisher)
            if publisher and matcher.revision > store.revision():
                # The database was restored from an older backup: what the snapshot knows beyond it never happened.
                matcher.close()
                try:
                    aside = f"{directory.name}.newer-than-database-{secrets.token_hex(4)}"
                    directory.rename(directory.with_name(aside))
                except OSError as e:
                    raise FailedPrecondition(
                        f"snapshots newer than the database cannot be set aside ({e.strerror}); remove `matcher` from "
                        "the data directory"
                    ) from e
                matcher = Matcher(directory, publisher=publisher)
            hub = cls(store, matcher, SnapshotMark(directory / "POSITION", publisher=publisher), config)
            if publisher:
                with phase("verifying the history"):
                    store.history.verify_history(store.database_id)
                    hub._withdrawal_log.reapply()
                    hub._withdrawal_log.follow()
        except BaseException:
            if matcher is not None:
                matcher.close()
            store.close()
            raise
        return hub

    def take_over(self) -> None:
        """Let commits that a killed hub left begin again at once; only for a hub's first process, and on SQLite."""
        if self.store.kind == "SQLITE":  # in the data directory, which is locked: nobody else can be committing
            try:
                self.store.leases.expire_leases()
                self.store.operations.abandon()
            except LimitExceeded as e:  # a full disk is no reason not to match; leases run out by themselves
                _log.warning("unfinished commits begin again when their leases have run out: %s", e.message)

    def start(self, *, wait: bool = True) -> None:
        """Bring the matcher to the store's revision and keep it there; with `wait`, return when it is."""
        self.follower.start(wait=wait)
        for thread in (*self._upkeep, *self._of_people, self.operations.thread, self.contribute.tidying):
            thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the matcher has caught up: until then matching raises Unavailable."""
        return self.readiness.is_ready

    def threads(self) -> list[Background]:
        """Return what goes on in the background."""
        return [
            self.follower.thread,
            self.follower.noting,
            *self.matcher.threads,
            *self.tokens.threads,
            *self._of_people,
            self.condition.thread,
            self.learned.thread,
            self.operations.thread,
            self.contribute.tidying,
            *self._upkeep,
        ]

    def revision(self) -> int:
        """Return the number of the last visible write."""
        return self.store.revision()

    def backup_time(self) -> datetime | None:
        """Return when the last backup was taken, None when none is known."""
        backup = last_backup(self._data, self.store.database_id)
        return None if backup is None else backup.create_time

    def certificate_end_times(self) -> dict[str, datetime]:
        """Return when the hub's certificates end, by the setting that names the file."""
        return {} if self._own_certificates is None else self._own_certificates.end_times()

    def status(self, principal: Principal) -> Status:
        """Return versions, revisions, counts and warnings. Roles: operator, auditor."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR)
        backup = last_backup(self._data, self.store.database_id)
        matcher = self.matcher.status()
        said = [
            matcher.error,
            matcher.last_damage,
            self._withdrawal_log.warning,
            *(thread.warning for thread in self.threads()),
        ]
        warnings = [w for w in dict.fromkeys(said) if w]
        warnings += self.catalogue.now().warnings
        warnings += self.approvals.warnings()
        warnings += self._certificates.warnings() if self._certificates is not None else []
        warnings += self.edges.warnings()
        warnings += self._own_certificates.warnings() if self._own_certificates is not None else []
        warnings += [
            f"{t.algorithm} digest {t.prefix}… was near {t.hits} different queries of {t.queries} from {t.caller}: "
            "withdraw or quarantine its entries"
            for t in matcher.tripped
        ]
        warnings += self.learned.warnings()
        warnings += self.match.near_hits.warnings()
        warnings += self.match.walks.warnings()
        warnings += self.log.warnings()
        warnings += [
            f"{contributor} withdrew {n} entries at the request of persons shown within a day, to which no second "
            f"person agrees: see `hashhub history contributors/{contributor} --since 24h`, and ask it"
            for contributor, n in sorted(self.store.withdrawal_requests.wishes_today().items())
        ]
        warnings += [
            f"{e.subject} expired with {e.facts['items']} records that were never committed: ask its contributor to "
            "send the source again"
            for e in self.store.history.list_events(kinds=[EventKind.IMPORT_EXPIRED], since=now() - timedelta(days=1))
        ]
        warnings += [
            f"calls of webhook {x.webhook} have not got through since {x.since:%Y-%m-%d %H:%MZ} ({x.error}"
            f"{f', {x.given_up} given up' if x.given_up else ''}): see `hashhub webhook deliveries {x.webhook}`, and "
            "tell its contributor"
            for x, _ in self.webhooks.failing(principal)
        ]
        lines = []
        for a in ALGORITHMS.values():
            known = matcher.algorithms.get(a.name)
            plan = (
                self.matcher.explain(a.name, a.default_max_distance)
                if known and a.default_max_distance is not None
                else None
            )
            lines.append(
                AlgorithmStatus(
                    algorithm=a.name,
                    digest_count=known.count if known else 0,
                    tail_count=known.tail if known else 0,
                    engine=f"{plan.engine}: {plan.why}" if plan else "",
                )
            )
        return Status(
            version=hashhub.__version__,
            database=self.store.kind,
            revision=self.store.revision(),
            matcher_revision=matcher.revision,
            algorithms=tuple(lines),
            warnings=tuple(warnings),
            backup_time=None if backup is None else backup.create_time,
            backup_bytes=sum(file.size_bytes for file in backup.files) if backup else 0,
            hub=self.store.resources.hub(),
        )

    def close(self) -> None:
        """Stop following and close matcher and store."""
        self.operations.close()
        self.contribute.tidying.close()
        self.sender.close()
        for thread in self._of_people:
            thread.tell_to_stop()  # what it waits for is somebody else's, and nothing is lost
        for thread in (*self._upkeep, self.condition.thread):
            thread.close()
        self.follower.close()
        self.match.media_pool.close()
        self.learned.close()
        self.tokens.close()
        self.matcher.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
