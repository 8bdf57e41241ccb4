"""A second person for what is grave: who makes the same call as somebody else did, word for word, agrees to it.

Nothing is done in anybody's name: the second person needs the rights for the call, and says all that it says.
"""

from __future__ import annotations

import hashlib
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import FailedPrecondition, Reason
from hashhub.hub import access
from hashhub.hub.proofs import LOGIN
from hashhub.model import Principal, Role, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.store import Store
    from hashhub.store.approvals import Approval

TIME: Final = timedelta(days=7)  # for which a call waits
MOST: Final = 100  # that wait of one token and person: whoever stole it hides no others' behind more


class Approvals:
    """What waits for a second person, where the deployment demands one."""

    def __init__(self, store: Store, *, demanded: bool, by_login: bool) -> None:
        """`by_login`: people log in, so that whom a token's secret names is nobody's word but its maker's."""
        self._store = store
        self.demanded: Final = demanded
        self._by_login = by_login

    def waiting(self) -> list[Approval]:
        """Return the calls that wait, the oldest first: those of tokens that work, for one that ended may be stolen."""
        working = {token.name for token in self._store.tokens.list_tokens() if access.works(self._store, token)}
        return [one for one in self._store.approvals.list(now() - TIME) if one.token in working]

    def warnings(self) -> list[str]:
        """Return what keeps anybody from agreeing."""
        if not self.demanded:
            return []
        tokens = [token for token in self._store.tokens.list_tokens() if access.works(self._store, token)]
        operators = [token for token in tokens if token.role is Role.OPERATOR]
        if self._by_login:
            can_agree = any(identity.startswith(LOGIN) for token in operators for identity in token.identities)
        else:
            persons = [token for token in operators if token.person]
            can_agree = any(
                one.person.casefold() != other.person.casefold()
                and not access.may_be_one_person(self._store, one.name, other.name)
                for one, other in itertools.combinations(persons, 2)
            )
        if can_agree:
            return []
        told = (
            "second_person is demanded, and no two persons have operators' tokens that neither made for the other: "
            "nobody can agree; have the hub's first token give one to each person (`hashhub token create NAME --role "
            "operator --person NAME`, or by --identity OIDC:VALUE where people log in), or demand none"
        )
        return [told]

    def agreed(
        self, principal: Principal, call: str, request: bytes, request_id: str = "", check: Callable[[], object] = list
    ) -> Principal:
        """Return the caller with the person who made this call before, also where the caller repeats it by its
        `request_id`. Raises FailedPrecondition where nobody else has, from when on it waits, and for a machine.
        `check`: raises where it would be refused, and nobody is asked to agree to it.
        """
        # What was asked for before people logged in, or after, is another: whose a token is was its maker's word then.
        name = hashlib.sha256(call.encode() + (b"\1" if self._by_login else b"\0") + request).hexdigest()
        person = self._store.approvals.taken(name, request_id, by=access.actor(principal))
        if person is not None:
            return msgspec.structs.replace(principal, second_person=person)
        check()
        if not principal.person or (self._by_login and not principal.identity.startswith(LOGIN)):
            advice = (
                "log in (`hashhub login`)"
                if self._by_login
                else "use a person's token, or say whose it is (`hashhub token update NAME --person NAME`)"
            )
            told = f"{call} needs two persons here, and token {principal.name} alone is none; {advice}"
            raise FailedPrecondition(told, reason=Reason.SECOND_PERSON_NEEDED)
        waiting = self.waiting()
        first = next((one for one in waiting if one.id == name), None)
        is_another = first is not None and self._is_another(first, principal)
        if first is not None and is_another:
            second = msgspec.structs.replace(principal, second_person=first.person)
            if self._store.approvals.take(first, request_id, by=access.actor(second)):
                return second
        elif first is None:
            own = [one for one in waiting if (one.token, one.person) == (principal.name, principal.person)]
            if len(own) >= MOST:
                raise FailedPrecondition(
                    f"{len(own)} calls of {principal.person} wait for a second person, and no more can: have them made "
                    f"or wait until they are {TIME.days} days old",
                    reason=Reason.SECOND_PERSON_NEEDED,
                )
            self._store.approvals.ask(name, call, now() - TIME, by=access.actor(principal))
        same = "" if first is None or is_another else ", and whoever asked for it may hold this token as well"
        raise FailedPrecondition(
            f"{call} waits for a second person, who makes the same call within {TIME.days} days (approval "
            f"{name[:16]}){same}; `hashhub queue` has what waits",
            reason=Reason.SECOND_PERSON_NEEDED,
            metadata={"approval": name[:16], "call": call},
        )

    def _is_another(self, first: Approval, principal: Principal) -> bool:
        # Of `Ada <42>`, whom an issuer knows, the name may change between the two calls.
        one, other = (person.casefold().rpartition("<")[2] for person in (first.person, principal.person))
        may_be_one = not self._by_login and access.may_be_one_person(self._store, first.token, principal.name)
        return one != other and not may_be_one
