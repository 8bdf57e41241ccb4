"""Who may do what: roles, ownership, handling terms and tokens. Every use case asks here, and only here.

    CONTRIBUTOR   writes its own contributor's hash sets; reads its own, and what others' terms let it see
    CONSUMER      matches; with `may_mirror` it also reads the change feed
    OPERATOR      everything
    AUDITOR       reads everything, writes nothing
    PEER          another hub: reads, by the change feed, what may leave this one; states its members' reviews

`permits` (`model.terms`) decides what terms let a caller see; `sight` gives its answers for all hash sets at once, and
`VisibleLists` the store by them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import secrets
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import msgspec

from hashhub.answering.lists import VisibleSets
from hashhub.background import Background
from hashhub.conversion import refuse
from hashhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Violation,
)
from hashhub.hub.proofs import LOGIN, SESSION_PREFIX, SESSION_SECONDS, SessionIssuer, is_identity
from hashhub.hygiene import Code
from hashhub.model import (
    SYSTEM,
    Actor,
    Caller,
    EntryState,
    EventKind,
    HashSet,
    Principal,
    Role,
    Withdrawal,
    WithdrawalReason,
    now,
)
from hashhub.model.terms import OVERSEERS as OVERSEERS  # noqa: PLC0414 - use cases have it from here
from hashhub.model.terms import DisclosureChannel as DisclosureChannel  # noqa: PLC0414 - as above
from hashhub.model.terms import permits as permits  # noqa: PLC0414 - as above
from hashhub.model.terms import reads_all_of as reads_all_of  # noqa: PLC0414 - as above
from hashhub.model.terms import refusal, withheld, without_oversight

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from hashhub.hashes import Hash
    from hashhub.hub.certificates import ClientCertificates
    from hashhub.hub.people import IdentityProvider
    from hashhub.model import Entry, Group
    from hashhub.store import Registry, Store
    from hashhub.store.entries import EntryTable

_log = logging.getLogger("hashhub.access")

_CACHE_SECONDS: Final = 1.0  # a deleted or expired token works for at most this long
_RENEWED_SECONDS: Final = 0.5  # how old may be what is known of a token before it is looked up again beside its calls
_RENEWAL_PAUSE: Final = 0.1  # seconds after one could not be looked up
_CACHED_TOKENS: Final = 10_000  # far above any number of tokens; bounds memory
_TOKEN_NAME: Final = re.compile("[a-z0-9-]{1,63}")
_DIGEST_BYTES: Final = 32
_SECRET_BYTES: Final = 32  # 256 bits: out of reach of guessing, so a plain SHA-256 at rest is enough
_SECRET_PREFIX: Final = "hh_"  # noqa: S105 - no secret; lets secret scanners recognise a leaked token
_QUIET_SECONDS: Final = 60.0  # between two lines about the operator's token
_GRACE: Final = timedelta(days=1)
_MIN_OWN_GRACE: Final = timedelta(hours=1)
_MAX_GRACE: Final = timedelta(days=30)  # a secret that was replaced because it may be known must not live on unnoticed
TOKEN_FIELDS: Final = (
    "description", "purposes", "acts_for_others", "may_mirror", "max_effort", "expire_time", "shares", "identities",
    "addresses", "person", "excluded",
)  # fmt: skip
_USE_SECONDS: Final = 60.0  # how often the last use of tokens is written
_CACHED_SIGHTS: Final = 4_096  # one for each token and way out that is in use

# Why an entry was withdrawn, as far as outsiders are told. The wish of the person shown is one of those that they are
# not told, and so that its absence does not give it away, neither are all reasons that are no correction of the entry.
TOLD: Final = frozenset({WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR})


def allow(principal: Principal, *roles: Role, why: str = "") -> None:
    """Raise PermissionDenied unless the principal has one of the roles. `why`: what is said then."""
    if principal.role not in roles:
        raise PermissionDenied(
            why or f"role {principal.role} may not do this; it takes {' or '.join(roles)}",
            metadata={"role": principal.role, "requiredRoles": ",".join(roles)},
        )


def allow_writing(principal: Principal, contributor: str) -> None:
    """Raise PermissionDenied unless the principal is an operator or writes for this contributor."""
    allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
    _allow_own(principal, contributor, "writes", f"use a token of {contributor[:63]}")


def allow_reading(principal: Principal, contributor: str) -> None:
    """Raise PermissionDenied unless the principal may read all that this contributor stated."""
    allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
    _allow_own(principal, contributor, "reads", "what others share is in the change feed")


def _allow_own(principal: Principal, contributor: str, does: str, advice: str) -> None:
    if principal.role is Role.CONTRIBUTOR and principal.contributor != contributor:
        told = (
            f"this token is of {principal.contributor} and {does} its hash sets only, not those of "
            f"{contributor[:63]}; {advice}"
        )
        raise PermissionDenied(told, reason=Reason.NOT_YOUR_CONTRIBUTOR, metadata={"contributor": contributor})


def actor(principal: Principal) -> Actor:
    """Return who is recorded with what the principal writes."""
    return Actor(principal.name, principal.contributor, principal.role, principal.person, principal.second_person)


def masked(new: object, mask: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
    """Return the values of the fields that the mask names. Raises InvalidArgument for one that cannot change."""
    if wrong := [m for m in mask if m not in fields]:
        raise InvalidArgument(
            f"update_mask: cannot change {', '.join(wrong)}; it can change {', '.join(fields)}",
            violations=tuple(Violation("update_mask", f"{m} cannot change", "NOT_MUTABLE") for m in wrong),
        )
    return {path: attrgetter(path)(new) for path in sorted(mask)}


def why_hidden(
    principal: Principal, hash_set: HashSet, registry: Registry, way_out: DisclosureChannel, at: datetime
) -> str:
    """Return why `permits` refuses a hash set of the registry, empty where it does not."""
    return refusal(principal, hash_set, registry.groups, way_out, at, has_origin=_has_origin(hash_set, registry))


def _has_origin(hash_set: HashSet, registry: Registry) -> bool:
    owner = registry.contributors.get(hash_set.contributor)
    return owner is None or owner.origin is not None


def may_export(
    principal: Principal,
    hash_set: HashSet,
    groups: Mapping[str, Group],
    at: datetime,
    *,
    member: str = "",
    receivers: Sequence[Principal] = (),
) -> bool:
    """Whether the hash set's terms let the principal hand its entries on in a file, for `member`, or for somebody
    outside.

    Its own contributor's always. Of others as `permits` says of EXPORT to a consumer: an operator's hand makes nobody a
    recipient. For a member it is enough that one of its working tokens (`receivers`) may list them; who hands them on
    must oversee, or be somebody who may export.
    """
    if principal.contributor and principal.contributor == hash_set.contributor:
        return True
    if member:
        if principal.role not in OVERSEERS and not permits(principal, hash_set, groups, DisclosureChannel.EXPORT, at):
            return False
        return member == hash_set.contributor or any(
            permits(without_oversight(r), hash_set, groups, DisclosureChannel.LIST, at) for r in receivers
        )
    return permits(without_oversight(principal), hash_set, groups, DisclosureChannel.EXPORT, at)


class Visibility(NamedTuple):
    """What a principal may see through one channel: names (CONTRIBUTOR/SET) of hash sets. `disclosed`: of which it may
    only know that they know something. `closed`: those of both that it may not list. `until`: when some terms expire,
    in seconds since 1970.
    """

    visible: frozenset[str]
    disclosed: frozenset[str]
    closed: frozenset[str]
    until: float


# By registry: what was worked out for one goes with it.
_sights: WeakKeyDictionary[Registry, dict[tuple[object, ...], Visibility]] = WeakKeyDictionary()


def sight(principal: Principal, registry: Registry, way_out: DisclosureChannel) -> Visibility:
    """Return what `permits` says now of every hash set. Existence is disclosed beyond the expiry of terms."""
    held = _sights.setdefault(registry, {})
    p = principal
    key = (way_out, p.name, p.role, p.contributor, p.purposes, p.acts_for_others)
    known = held.get(key)
    if known is None or known.until <= time.time():
        if len(held) >= _CACHED_SIGHTS:
            held.clear()
        known = held[key] = _look(principal, registry, way_out, now())
    return known


def _look(principal: Principal, registry: Registry, way_out: DisclosureChannel, at: datetime) -> Visibility:
    sets = registry.hash_sets
    visible = frozenset(name for name, s in sets.items() if not why_hidden(principal, s, registry, way_out, at))
    disclosed = frozenset(name for name, s in sets.items() if name not in visible and s.marking.disclose_existence)
    closed = frozenset(
        name for name in visible | disclosed if why_hidden(principal, sets[name], registry, DisclosureChannel.LIST, at)
    )
    ends = [s.marking.expire_time for s in sets.values() if s.marking.expire_time is not None]
    until = min((end.timestamp() for end in ends if end > at), default=float("inf"))
    return Visibility(visible, disclosed, closed, until)


def disclosed(principal: Principal, entry: Entry) -> Entry:
    """Return the entry as the principal may read it; every channel that shows an entry uses this. Outsiders are not
    told that a withdrawal was asked for, nor who made one in which words; of the reasons only those that correct the
    entry.
    """
    if reads_all_of(principal, entry.contributor):
        return entry
    if entry.state is not EntryState.WITHDRAWN:
        if entry.withdrawal is None and Code.WITHDRAWAL_PENDING not in entry.reasons:
            return entry
        reasons = tuple(r for r in entry.reasons if r != Code.WITHDRAWAL_PENDING)
        return msgspec.structs.replace(entry, reasons=reasons, withdrawal=None)
    made = entry.withdrawal
    if made is None or made.reason not in TOLD:
        return msgspec.structs.replace(entry, reasons=(), withdrawal=None)
    return msgspec.structs.replace(entry, withdrawal=Withdrawal(reason=made.reason, revision=made.revision))


def as_withdrawn(entry: Entry) -> Entry:
    """Return an entry as whoever was given it, and may not use it any more, is told: why, only of a withdrawal."""
    if entry.state is EntryState.WITHDRAWN:
        return entry
    return msgspec.structs.replace(entry, state=EntryState.WITHDRAWN, reasons=(), withdrawal=None)


class VisibleLists:
    """The store, as terms let the principal see it in an answer."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self._store, self._principal = store, principal

    @property
    def entries(self) -> EntryTable:
        """Reads them."""
        return self._store.entries

    def seen(self) -> VisibleSets:
        """Return what is seen now, by one look at the registry."""
        registry = self._store.resources.registry()
        of = sight(self._principal, registry, DisclosureChannel.ANSWER)
        return VisibleSets(registry.contributors, registry.hash_sets, of.visible, of.disclosed)

    def has_any(self) -> bool:
        """Return whether terms let the principal know of a hash set; nothing is asked of entries, which would show."""
        of = sight(self._principal, self._store.resources.held, DisclosureChannel.ANSWER)
        return bool(of.visible or of.disclosed)

    def hash_set_keys(self, names: Collection[str]) -> Mapping[int, str]:
        """Return the names of hash sets, these among them, by their keys."""
        return self._store.resources.hash_set_keys(names)

    def disclosed(self, entry: Entry, asked: frozenset[Hash]) -> Entry:
        """Return the entry as the principal may read it; if not listed, with the digests asked about only."""
        entry = disclosed(self._principal, entry)
        listed = sight(self._principal, self._store.resources.held, DisclosureChannel.LIST).visible
        if f"{entry.contributor}/{entry.hash_set}" in listed:
            return entry
        return msgspec.structs.replace(entry, hashes=tuple(h for h in entry.hashes if h in asked))


def check_address(principal: Principal, peer: str) -> None:
    """Raise PermissionDenied for a call from elsewhere than a token's addresses. `peer`: as gRPC tells it."""
    with suppress(ValueError):  # of a peer without an address, which is in none of the networks
        host = unquote(peer.partition(":")[2]) if peer.startswith("http:") else unquote(peer).rpartition(":")[0]
        address = ipaddress.ip_address(host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]"))
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in ipaddress.ip_network(network) for network in principal.addresses):
            return
    told = (
        f"token {principal.name} is let in from {', '.join(principal.addresses)} only; call from there, or ask an "
        "operator (`hashhub token update NAME --from NETWORK`)"
    )
    raise PermissionDenied(told, reason=Reason.ADDRESS_NOT_ALLOWED, metadata={"token": principal.name})


def check_proof(principal: Principal, method: str) -> None:
    """Raise Unauthenticated for an ID token that is sent with another call than the one that begins a session."""
    if principal.identity.startswith(LOGIN) and not principal.by_session and method != "AdminService/BeginSession":
        raise Unauthenticated(
            "an ID token begins a session (`hashhub login`), and is sent with no other call; send the session's secret",
            reason=Reason.ID_TOKEN_INVALID,
        )


def caller(principal: Principal) -> str:
    """Return whose traffic the principal's queries are, where the circuit breaker counts."""
    return principal.contributor or principal.name


def works(store: Store, token: Principal) -> bool:
    """Whether a token has not expired, and its contributor was not retired."""
    owner = store.resources.contributors().get(token.contributor)
    return owner is not None and owner.retire_time is None and not _is_over(token.expire_time, now())


def groups_named_by(contributor: str, registry: Registry) -> frozenset[str]:
    """Return the ids of the groups that the terms of this contributor's hash sets name."""
    return frozenset(
        recipient.removeprefix("groups/")
        for hash_set in registry.hash_sets.values()
        if hash_set.contributor == contributor
        for recipient in hash_set.marking.recipients
        if recipient.startswith("groups/")
    )


def may_be_one_person(store: Store, one: str, other: str) -> bool:
    """Whether one person may hold both tokens: one of them made the other, or gave it a secret, an identity or a
    person, itself or by tokens that it made; or somebody other than the hub itself made both.
    """
    lines = _line(store, one), _line(store, other)
    return any(name in {one, other} or is_made for name, is_made in lines[0].items() if name in lines[1])


def _says_whose(facts: Mapping[str, object]) -> bool:
    """Whether a change of a token may say whose it is. A revert does not tell what it changed."""
    fields = str(facts.get("fields", "identities"))
    return "identities" in fields or "person" in fields


def _line(store: Store, token: str) -> dict[str, bool]:
    """Return the token and those whose holders may have had its secret; and whether each was made by another one."""
    line: dict[str, bool] = {}
    rest, seen = [(token, 0)], set()
    while rest:
        name, before = rest.pop()
        if (name, before) in seen:
            continue
        seen.add((name, before))
        line.setdefault(name, False)
        at = before
        while events := store.history.list_events(
            subjects=[f"tokens/{name}"],
            kinds=[EventKind.TOKEN_CREATED, EventKind.TOKEN_ROTATED, EventKind.TOKEN_UPDATED],
            before_revision=at,
            limit=1000,
        ):
            at = events[-1].revision
            makers = [
                (e.actor.name, e.revision)
                for e in events
                if e.actor.name not in {name, SYSTEM.name}
                and (e.kind is not EventKind.TOKEN_UPDATED or _says_whose(e.facts))
            ]
            line[name] |= bool(makers)
            rest += makers
    return line


class Tokens:
    """Tokens, and what proves that a caller is one: a secret, of which only the SHA-256 is kept; a certificate or an ID
    token that names one of its identities; or a session that was got with one of these.
    """

    def __init__(
        self,
        store: Store,
        certificates: ClientCertificates | None = None,
        people: IdentityProvider | None = None,
        use_seconds: float = _USE_SECONDS,
        session_key: Path | None = None,
        *,
        second_person: bool = False,
    ) -> None:
        """`certificates`: None where none are taken; `people`: likewise, ID tokens. `use_seconds`: how often the
        last use of tokens is written, in the background. `session_key`: see SessionIssuer. `second_person`: callers
        are told that grave calls take one.
        """
        self._second_person = second_person
        self._store = store
        self._certificates, self._people = certificates, people
        self._quiet_until = 0.0
        self._sessions = SessionIssuer(session_key)
        # By the SHA-256 of a secret, or by what else was sent, which is no such number.
        self._cache: dict[bytes | str, tuple[float, Principal]] = {}
        self._forgotten = 0  # how often
        self._to_renew: set[bytes | str] = set()
        self._lock = threading.Lock()
        self._used: dict[str, datetime] = {}
        self._use = Background(
            "token-use",
            self._note_use,
            complaint="the last use of tokens is not written",
            pause=use_seconds,
            longest_pause=use_seconds,
        )
        self._renewal = Background(
            "token-renewal", self._renew, complaint="tokens are not looked up before a call needs it"
        )
        self.threads = [self._use, self._renewal]

    def close(self) -> None:
        """Write down the last uses; a crash loses those of the last while."""
        self._renewal.close()
        self._use.close()
        try:
            self._note_use()
        except HashHubError as e:
            _log.warning("the last use of tokens could not be written: %s", e.message)

    def _note_use(self) -> None:
        with self._lock:
            times, self._used = self._used, {}
        if not times:
            return
        try:
            self._store.tokens.note_token_use(times)
        except BaseException:
            with self._lock:
                self._used = {**times, **self._used}
            raise

    def bootstrap(self, keep: Callable[[str], None] = lambda _: None) -> str | None:
        """Create an operator's token and return its secret when none works, else None. `keep` gets the secret first."""
        if any(t.role is Role.OPERATOR and works(self._store, t) for t in self._store.tokens.list_tokens()):
            return None
        own = self._store.resources.own_contributor()
        number = 1
        while True:
            name = "operator" if number == 1 else f"operator-{number}"
            token = Principal(name=name, role=Role.OPERATOR, contributor=own, may_mirror=True, create_time=now())
            with suppress(AlreadyExists):  # names are never used again
                return self._put(token, SYSTEM, keep)
            number += 1

    def create(self, principal: Principal, token: Principal) -> tuple[Principal, str]:
        """Create a token and return it with its secret, which is not kept; one that has identities gets none. An
        operator's or auditor's token that names no contributor belongs to this hub's operators. Raises InvalidArgument,
        NotFound, FailedPrecondition, AlreadyExists.
        """
        allow(principal, Role.OPERATOR)
        _check_name(token.name)
        _check(token)
        at = now()
        if _is_over(token.expire_time, at):
            raise InvalidArgument.field("token.expire_time", "must be in the future", "OUT_OF_RANGE")
        contributor = token.contributor
        if not contributor:
            if token.role not in OVERSEERS:
                told = (
                    f"a {token.role.lower()}'s token must name its contributor; "
                    "create one first with `hashhub contributor create ID --kind … --jurisdiction …`"
                )
                raise InvalidArgument.field("token.contributor", told, "REQUIRED")
            contributor = self._store.resources.own_contributor()
        made = {"create_time": at, "creator": principal.name, "last_use_time": None}
        token = msgspec.structs.replace(token, contributor=contributor, **made)
        return token, self._put(token, actor(principal))

    def list(self, principal: Principal) -> list[Principal]:
        """Return all tokens in order of name, without secrets."""
        allow(principal, Role.OPERATOR, Role.AUDITOR)
        return self._store.tokens.list_tokens()

    def caller(self, principal: Principal) -> Caller:
        """Return what the hub knows of who calls."""
        groups = self._store.resources.registry().groups.items() if principal.contributor else ()
        return Caller(
            name=principal.name,
            role=principal.role,
            contributor=principal.contributor,
            groups=tuple(sorted(name for name, group in groups if principal.contributor in group.members)),
            person=principal.person,
            second_person=self._second_person,
        )

    def access(self, principal: Principal, name: str) -> dict[str, dict[DisclosureChannel, str]]:
        """Return what a token has now of every hash set (CONTRIBUTOR/SET), in order of names: by each way out why not,
        empty where it has. Raises NotFound.
        """
        allow(principal, Role.OPERATOR, Role.AUDITOR)
        token = self._store.tokens.find_token(name)
        if token is None:
            raise NotFound(f"there is no token named {name[:63]!r}", kind="Token", name=name)
        registry, at = self._store.resources.registry(), now()
        ended = "" if works(self._store, token) else "the token has expired, or its contributor was retired"

        def why_not(hash_set: HashSet, way: DisclosureChannel) -> str:
            return ended or withheld(
                token, hash_set, registry.groups, way, at, has_origin=_has_origin(hash_set, registry)
            )

        return {
            name: {way: why_not(known, way) for way in DisclosureChannel}
            for name, known in sorted(registry.hash_sets.items())
        }

    def update(self, principal: Principal, token: Principal, mask: Sequence[str]) -> Principal:
        """Take the masked fields over; an `expire_time` of None means never. Raises NotFound, InvalidArgument."""
        allow(principal, Role.OPERATOR)
        fields = masked(token, mask, TOKEN_FIELDS)
        _check(token)
        if "expire_time" in mask and token.name == principal.name and _is_over(token.expire_time, now()):
            told = "an operator cannot end the token it is using; use another one"
            raise InvalidArgument.field("token.expire_time", told, "OWN_TOKEN")
        updated = self._store.tokens.update_token(token.name, fields, by=actor(principal))
        self._forget()
        return updated

    def rotate(self, principal: Principal, name: str, grace: timedelta | None = None) -> tuple[Principal, str]:
        """Give a token another secret, and return both. The one before works for `grace`, by default a day; older ones
        stop. Raises PermissionDenied unless the caller is an operator or the token itself; NotFound, InvalidArgument;
        Unauthenticated for a caller with an old secret, which would outlive its grace.
        """
        if name != principal.name or principal.identity:
            # Nor does a certificate, which may be stolen, or a person get a secret that would outlive it.
            allow(principal, Role.OPERATOR)
        if principal.by_old_secret:
            told = f"token {principal.name} got a new secret, and the old one rotates nothing; use the new one"
            raise Unauthenticated(told, reason=Reason.SECRET_REPLACED, metadata={"token": principal.name})
        grace = _GRACE if grace is None else grace
        if principal.role is not Role.OPERATOR and grace < _MIN_OWN_GRACE:
            # Whoever has copied a secret must not be able to lock its owner out at once.
            told = "must be an hour at least when a token rotates itself; ask an operator for less"
            raise InvalidArgument.field("grace", told, "OUT_OF_RANGE")
        if not timedelta(0) <= grace <= _MAX_GRACE:
            raise InvalidArgument.field("grace", f"must be 0 to {_MAX_GRACE.days} days", "OUT_OF_RANGE")
        secret = _new_secret()
        token = self._store.tokens.rotate_token(name, _digest(secret), now() + grace, by=actor(principal))
        self._forget()
        return token, secret

    def delete(self, principal: Principal, name: str) -> None:
        """Delete a token; its name is never used again. Raises NotFound; InvalidArgument for the caller's own."""
        allow(principal, Role.OPERATOR)
        if name == principal.name:
            told = "an operator cannot delete the token it is using; use another one"
            raise InvalidArgument.field("name", told, "OWN_TOKEN")
        self._store.tokens.delete_token(name, by=actor(principal))
        self._forget()

    def begin_session(self, principal: Principal) -> tuple[str, datetime]:
        """Return a secret that a caller may send instead of a certificate or an ID token, and until when it works.
        Raises FailedPrecondition for one who has neither: a session, which may have been stolen, begins no other one.
        """
        if not principal.identity or principal.by_session:
            raise FailedPrecondition(
                "a session is for whoever calls with a client certificate, at the address that takes them "
                "(listen_certificates), or with a person's ID token; a token's secret works as it is",
                reason=Reason.CERTIFICATE_MISSING,
            )
        people = self._people if principal.certificate is None else None
        seconds, issuer = (people.session_seconds, people.issuer) if people is not None else (SESSION_SECONDS, "")
        return self._sessions.begin(principal, seconds, issuer)

    def recall(self, sent: str | bytes) -> Principal | None:
        """Return who `authenticate` says that it is, if that was looked up less than a second ago. A token in use is
        looked up again in the background before the second is over, however slow the database is.
        """
        digest = _key_of(sent)
        cached = self._cache.get(digest)
        left = cached[0] - time.monotonic() if cached else 0.0
        if cached is None or left <= 0:
            return None
        if left < _CACHE_SECONDS - _RENEWED_SECONDS and digest not in self._to_renew:
            with self._lock:
                self._to_renew.add(digest)
            try:
                self._renewal.start()
            except RuntimeError:  # no thread can be made: calls look their tokens up themselves, and try again
                with self._lock:
                    self._to_renew.discard(digest)
            self._renewal.wake()
        return cached[1]

    def authenticate(self, sent: str | bytes) -> Principal:
        """Return who holds a secret, or a certificate (PEM, which the listener has verified). Raises Unauthenticated:
        it is unknown, or has ended.
        """
        if not sent:
            raise Unauthenticated(
                "no token was sent; send `authorization: Bearer <token>` (the first operator's token is in the "
                "server's data directory)"
            )
        if (cached := self.recall(sent)) is not None:
            return cached
        return self._looked_up(_key_of(sent))

    def _looked_up(self, digest: bytes | str) -> Principal:
        """Return whose what was sent is, as the store knows it now."""
        started, forgotten = time.monotonic(), self._forgotten  # before the look: what changes after it is seen later
        token = self._working(digest)
        with self._lock:
            self._used[token.name] = datetime.now(UTC)
            if len(self._cache) > _CACHED_TOKENS:
                self._cache.clear()
            if forgotten == self._forgotten:
                self._cache[digest] = (started + _CACHE_SECONDS, token)
        # Where no thread can be made the next call tries again: no call fails because its use cannot be noted.
        with suppress(RuntimeError):
            self._use.start(at_once=False)
        return token

    def _renew(self) -> None:
        """Look the tokens up again whose calls asked for it. One that does not work any more is forgotten."""
        while not self._renewal.is_stopping:
            with self._lock:
                digest = next(iter(self._to_renew), None)
            if digest is None:
                return
            try:
                self._looked_up(digest)
            except Unauthenticated:
                with self._lock:
                    self._cache.pop(digest, None)
            except HashHubError:
                self._renewal.wait(_RENEWAL_PAUSE)  # calls look it up themselves then, and are told what is wrong
            finally:
                with self._lock:
                    self._to_renew.discard(digest)

    def _working(self, sent: bytes | str) -> Principal:
        if isinstance(sent, str):
            is_session = sent.startswith(SESSION_PREFIX)
            token, until = self._token_of_session(sent) if is_session else self._token_of_person(sent), None
        elif len(sent) != _DIGEST_BYTES:
            token, until = self._token_of_certificate(sent), None
        elif (secret := self._store.tokens.find_secret(sent)) is not None:
            token, until = secret
        else:
            raise _unknown()
        at = now()
        if _is_over(until, at):
            text, reason = "got a new secret, and this one's time is over; use the new one", Reason.SECRET_REPLACED
        elif _is_over(token.expire_time, at):
            text, reason = "has expired; ask the operator to extend it or for a new one", Reason.TOKEN_EXPIRED
        elif not works(self._store, token):
            text = f"belongs to contributor {token.contributor}, which was retired; use another one's token"
            reason = Reason.TOKEN_RETIRED
        elif token.person.rpartition("<")[2].removesuffix(">") in token.excluded:
            text, reason = "is no longer this person's; ask the operator", Reason.PERSON_UNKNOWN
        else:
            is_of_the_machine = token.role is Role.OPERATOR and not token.creator and not token.identity
            if is_of_the_machine and self._people is not None and time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + _QUIET_SECONDS
                _log.warning("token %s is used, which no person has to log in for: is the issuer away?", token.name)
            return token if until is None else msgspec.structs.replace(token, by_old_secret=True)
        # Whoever sends this holds its secret.
        raise Unauthenticated(f"token {token.name} {text}", reason=reason, metadata={"token": token.name})

    def _token_of_certificate(self, pem: bytes) -> Principal:
        proof, identities = self._taken().read(pem)
        token = self._token_with(identities, "the certificate", Reason.CERTIFICATE_UNKNOWN)
        return msgspec.structs.replace(token, certificate=proof)

    def _token_of_person(self, id_token: str) -> Principal:
        if self._people is None:
            raise _unknown()
        identities, person = self._people.read(id_token)
        token = self._token_with(identities, "the ID token", Reason.PERSON_UNKNOWN)
        return msgspec.structs.replace(token, person=person)

    def _token_with(self, identities: Sequence[str], proof: str, reason: Reason) -> Principal:
        """Return the one token that has some of the identities."""
        found = self._store.tokens.find_identities(identities)
        if len({token.name for _, token in found}) != 1:
            raise Unauthenticated(
                f"{proof} proves {'several tokens' if found else 'no token'} ({', '.join(identities)[:200]}); "
                "the operator gives a name in it to one by `hashhub token update NAME --identity …`",
                reason=reason,
            )
        identity, token = found[0]
        return msgspec.structs.replace(token, identity=identity)

    def _token_of_session(self, secret: str) -> Principal:
        session = self._sessions.read(secret)
        if session.certificate is not None:
            self._taken().check(session.certificate)
        elif self._people is None or session.issuer != self._people.issuer:
            raise _unknown()
        token = self._store.tokens.find_token(session.token)
        if token is None or session.identity not in token.identities:
            raise _unknown()
        proof = {"identity": session.identity, "certificate": session.certificate, "by_session": True}
        return msgspec.structs.replace(token, person=session.person or token.person, **proof)

    def _taken(self) -> ClientCertificates:
        if self._certificates is None:
            told = "this hub takes no certificates (tls_client_ca); use a token"
            raise Unauthenticated(told, reason=Reason.CERTIFICATE_UNKNOWN)
        return self._certificates

    def _forget(self) -> None:
        with self._lock:
            self._forgotten += 1
            self._cache.clear()

    def _put(self, token: Principal, by: Actor, keep: Callable[[str], None] = lambda _: None) -> str:
        secret = "" if token.identities else _new_secret()
        keep(secret)
        self._store.tokens.put_token(_digest(secret) if secret else b"", token, by=by)
        return secret


def _is_over(expire_time: datetime | None, at: datetime) -> bool:
    return expire_time is not None and expire_time <= at


def _new_secret() -> str:
    return _SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key_of(sent: str | bytes) -> bytes | str:
    """Return by what a caller is looked up: a certificate, a session or an ID token itself; of a secret the SHA-256."""
    if isinstance(sent, bytes) or sent.startswith(SESSION_PREFIX) or "." in sent:
        return sent
    return _digest(sent)


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "the token is unknown or was deleted; ask the operator for a new one", reason=Reason.TOKEN_UNKNOWN
    )


def _check_name(name: str) -> None:
    if not _TOKEN_NAME.fullmatch(name):
        raise InvalidArgument.field("token_id", "must be 1 to 63 of a-z, 0-9 and -", "PATTERN")
    if name == SYSTEM.name:
        wrong = f"must not be {SYSTEM.name!r}: by that name the history calls the hub itself"
        raise InvalidArgument.field("token_id", wrong, "PATTERN")


def _is_network(text: str) -> bool:
    """Whether a text is a network, one of IPv4 written as such: callers' addresses are read so."""
    with suppress(ValueError):
        return not getattr(ipaddress.ip_network(text).network_address, "ipv4_mapped", None)
    return False


_LISTS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "purposes": (str.strip, "must not be empty"),
    "identities": (
        is_identity,
        "must be URI:… or DNS:… as in the certificate, in small letters, no pattern; or OIDC:… of people's claim; once",
    ),
    "addresses": (_is_network, "must be a network, as 192.0.2.0/24, without bits of a host"),
    "excluded": (re.compile(r"[^<>\s]+").fullmatch, "must be as the issuer calls the person: of `Ada <42>` the 42"),
}


def _check(token: Principal) -> None:
    """Raise InvalidArgument for what does not belong into its list, for an identity that stands there twice, and for a
    person whom a list would show as another.
    """
    wrong = [
        Violation(f"token.{field}[{i}]", f"{expected}; got {text[:80]!r}", "PATTERN")
        for field, (belongs, expected) in _LISTS.items()
        for i, text in enumerate(getattr(token, field))
        if not belongs(text) or (field == "identities" and text in token.identities[:i])
    ]
    if token.person != token.person.strip() or not token.person.isprintable():
        told = "must have no space around it and nothing that cannot be seen, or one person could look like two"
        wrong.append(Violation("token.person", told, "PATTERN"))
    refuse(wrong)
