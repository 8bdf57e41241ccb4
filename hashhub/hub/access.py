"""Who may do what: roles, ownership, handling terms and tokens. Every use-case asks here, and only here.

Roles (also enforced per call by the server's interceptor):

    CONTRIBUTOR   writes its own contributor's hash sets; reads its own, and what others' markings let it see
    CONSUMER      matches, and nothing else
    OPERATOR      everything
    AUDITOR       reads everything, writes nothing
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final

from hashhub.errors import InvalidArgument, PermissionDenied, Reason, Unauthenticated, Violation
from hashhub.model import HashSet, Principal, Role

if TYPE_CHECKING:
    from hashhub.store import Store

_CACHE_SECONDS: Final = 1.0  # a deleted token works for at most this long
_TOKEN_NAME: Final = re.compile("[a-z0-9-]{1,63}")
_SECRET_BYTES: Final = 32  # 256 bits: out of reach of guessing, so a plain SHA-256 at rest is enough
_SECRET_PREFIX: Final = "hh_"  # noqa: S105 - no secret; lets secret scanners recognise a leaked token


def allow(principal: Principal, *roles: Role) -> None:
    """Raise PermissionDenied unless the principal has one of the roles."""
    if principal.role not in roles:
        raise PermissionDenied(
            f"role {principal.role} may not do this; it takes {' or '.join(roles)}",
            metadata={"role": principal.role, "requiredRoles": ",".join(roles)},
        )


def allow_writing(principal: Principal, contributor: str) -> None:
    """Raise PermissionDenied unless the principal is an operator or writes for this contributor."""
    allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
    if principal.role is Role.CONTRIBUTOR and principal.contributor != contributor:
        raise PermissionDenied(
            "a contributor's token writes only that contributor's own hash sets",
            reason=Reason.NOT_YOUR_CONTRIBUTOR,
            metadata={"contributor": contributor},
        )


def allow_reading(principal: Principal, contributor: str) -> None:
    """Raise PermissionDenied unless the principal may read all that this contributor stated: operator, auditor, itself."""
    allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
    if principal.role is Role.CONTRIBUTOR and principal.contributor != contributor:
        raise PermissionDenied(
            "a contributor's token reads only that contributor's own hash sets; what others share is in the change feed",
            reason=Reason.NOT_YOUR_CONTRIBUTOR,
            metadata={"contributor": contributor},
        )


def may_see(principal: Principal, hash_set: HashSet) -> bool:
    """Tell whether the hash set's terms let the principal see its entries.

    Operators, auditors and the contributor itself always may. Others must be among the recipients, if any are named, and must have
    one of the permitted purposes, if any are named.
    """
    if principal.role in {Role.OPERATOR, Role.AUDITOR}:
        return True
    if principal.contributor and principal.contributor == hash_set.contributor:
        return True
    marking = hash_set.marking
    named = {f"tokens/{principal.name}", f"contributors/{principal.contributor}"}
    if marking.recipients and named.isdisjoint(marking.recipients):
        return False
    return not marking.permitted_purposes or bool(set(principal.purposes) & set(marking.permitted_purposes))


class Tokens:
    """Bearer tokens. Only the SHA-256 of a secret is kept."""

    def __init__(self, store: Store) -> None:
        """Start with an empty cache."""
        self._store = store
        self._cache: dict[bytes, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    def bootstrap(self) -> str | None:
        """Create the first operator's token and return its secret, or return None when any token exists."""
        if self._store.list_tokens():
            return None
        return self._put(Principal(name="operator", role=Role.OPERATOR))

    def create(self, principal: Principal, token: Principal) -> str:
        """Create a token and return its secret, which is not kept.

        Raises InvalidArgument when a contributor's token names no existing contributor; AlreadyExists when the name is taken.
        """
        allow(principal, Role.OPERATOR)
        if token.role is Role.CONTRIBUTOR:
            if not token.contributor:
                raise InvalidArgument.field(
                    "token.contributor", "a contributor's token must name its contributor", "REQUIRED"
                )
            self._store.get_contributor(token.contributor)
        elif token.contributor:
            raise InvalidArgument.field(
                "token.contributor", "only a contributor's token names a contributor", "NOT_ALLOWED"
            )
        if not _TOKEN_NAME.fullmatch(token.name):
            raise InvalidArgument(
                "token_id must be 1 to 63 of a-z, 0-9 and -",
                violations=(Violation("token_id", "must be 1 to 63 of a-z, 0-9 and -", "PATTERN"),),
            )
        return self._put(token)

    def list(self, principal: Principal) -> list[Principal]:
        """Return all tokens in order of name, without secrets."""
        allow(principal, Role.OPERATOR, Role.AUDITOR)
        return sorted(self._store.list_tokens(), key=lambda t: t.name)

    def delete(self, principal: Principal, name: str) -> None:
        """Delete a token. Raises NotFound; InvalidArgument for the caller's own, which would lock it out."""
        allow(principal, Role.OPERATOR)
        if name == principal.name:
            raise InvalidArgument.field(
                "name", "an operator cannot delete the token it is using; use another one", "OWN_TOKEN"
            )
        self._store.delete_token(name)
        with self._lock:
            self._cache.clear()

    def authenticate(self, secret: str) -> Principal:
        """Return who holds the secret. Raises Unauthenticated."""
        if not secret:
            raise Unauthenticated(
                "no token was sent; send `authorization: Bearer <token>` (the first operator's token is in the server's data directory)"
            )
        digest = hashlib.sha256(secret.encode()).digest()
        cached = self._cache.get(digest)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        found = self._store.find_token(digest)
        if found is None:
            raise Unauthenticated(
                "the token is unknown or was deleted; ask the operator for a new one", reason=Reason.TOKEN_UNKNOWN
            )
        with self._lock:
            if len(self._cache) > 10_000:  # noqa: PLR2004 - far above any number of tokens; bounds memory
                self._cache.clear()
            self._cache[digest] = (time.monotonic() + _CACHE_SECONDS, found)
        return found

    def _put(self, token: Principal) -> str:
        secret = _SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        self._store.put_token(hashlib.sha256(secret.encode()).digest(), token)
        return secret
