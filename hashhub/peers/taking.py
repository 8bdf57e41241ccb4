"""What becomes here of a page of a peer's feed.

(1) whoever states something, and the terms of what is taken: made or brought in line; a term is tightened before
    anything else, and loosened once every entry was given anew under the new terms
(2) hash sets that are offered no more, or come by another way now
(3) entries, as an import for each hash set: those that are stated, and those that are not any more
(4) once all is given: what stands here, and was not given, is withdrawn

All of it can be done again: a kill repeats a page.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from uuid import UUID, uuid5

from msgspec.structs import replace

from hashhub import connector as connectors
from hashhub.client import Client
from hashhub.errors import (
    Cancelled,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hygiene import Code
from hashhub.model import (
    TLP,
    ChangeKind,
    Contributor,
    Entry,
    EntryState,
    FeedPage,
    HashSet,
    Marking,
    PeerOrigin,
    PeerStatus,
    Provenance,
    RecordReview,
    Reliability,
    Review,
    ReviewKind,
    now,
)
from hashhub.peers.line import client_of
from hashhub.peers.state import KeptReview, Offer, PeerState, secret
from hashhub.peers.ways import Ways

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT: Final = "hashhub-jsonl"
_STANDING: Final = (EntryState.ACTIVE, EntryState.QUARANTINED)
_log = logging.getLogger(__name__)
_REVIEWS_AT_ONCE: Final = 20
_REVIEW_PAUSE: Final = 60.0  # seconds after a review was too many
WAITING_PAUSE: Final = 30.0  # seconds until what waits for a second person is looked at again
_MAX_SLUG: Final = 63
_FOR_GOOD: Final = frozenset(
    {Reason.TOKEN_UNKNOWN, Reason.TOKEN_EXPIRED, Reason.TOKEN_RETIRED, Reason.ROLE_NOT_ALLOWED}
)
_REVIEWS: Final = UUID("5c0c1c8e-9f0e-4f57-8a63-2f5a0d9f4b11")
MOST_ENTRIES: Final = 20_000_000
"""Of one peer: a feed without an end must not fill this hub."""
_MOST_OFFERS: Final = 10_000
_SET_FIELDS: Final = ("display_name", "review_depth", "unclassified")
_CONTRIBUTOR_FIELDS: Final = ("display_name", "kind", "jurisdiction", "takes_from", "origin")


class Taking:
    """Takes from one peer; its state is locked."""

    def __init__(self, state: PeerState, hub: Client, own: str, ways: Ways) -> None:
        """`own`: the name of this hub."""
        self._state, self._hub, self._own, self._ways = state, hub, own, ways
        self.peer = state.peer()
        self._followed = state.followed()
        self._contributors = state.contributors()
        self._offers = state.offers()
        self._changes: dict[str, dict[str, Entry]] = {}
        self._schemes: frozenset[str] | None = None
        self._reviews_after = self._waiting_after = 0.0  # by the monotonic clock
        self._waiting: list[str] = []
        self.revision = 0
        """Of the peer, up to which this run has taken all that it gives."""

    @property
    def position(self) -> str:
        """Where the peer's feed is to be read on; empty: from its beginning."""
        return self._followed.position

    def check(self, there: Client) -> None:
        """Send on what was said here of what the peer states, and begin a new pass where the own hub was restored, or
        something comes by this way that did not before. Raises what either hub answers.
        """
        with self._state.transaction():
            self.peer = self._state.peer()
            self._read_own()
            self._choose()
            self._settle_waiting()
            self._save()
        self._send_reviews(there)

    def apply(self, page: FeedPage) -> None:
        """Do steps (1) to (4) with a page, and keep its position. Raises what the own hub answers; FailedPrecondition
        where another hub than the peer gave the page.
        """
        if page.hub != self.peer.name:
            raise FailedPrecondition(f"the hub at {self.peer.address} is {page.hub!r}; expected {self.peer.name!r}")
        with self._state.transaction():
            before = self._followed
            self._followed = replace(before, position=page.position, answer_time=now(), status=PeerStatus.OK, detail="")
            self._changes = defaultdict(dict)
            for line in page.changes:
                if line.contributor is not None:
                    self._contributors[line.contributor.id] = line.contributor
                    self._state.put(line.contributor.id, line.contributor)
                elif line.hash_set is not None:
                    self._offer(line.hash_set)
                elif line.hash_set_name:
                    self._lose(line.hash_set_name)
                elif line.kind is ChangeKind.UPSERT and line.entry is not None:
                    self._state_entry(replace(line.entry, reviews=self._reviews(line.reviews)))
                else:
                    self._drop(line.entry_name)
            self._choose()
            self._import_all()
            if page.is_complete and self._followed.number == before.number:
                self._complete()
                self.revision = page.revision
            self._save()

    def failed(self, status: PeerStatus, detail: str) -> None:
        """Keep why the peer is not followed now. REFUSED: withdraw all that came by it."""
        with self._state.transaction():
            self._followed = replace(self._followed, status=status, detail=detail)
            if status is PeerStatus.REFUSED:
                for name in list(self._offers):
                    self._lose(name)
                self._begin_pass()
            self._save()

    def note_error(self, error: HashHubError) -> None:
        """Keep what the peer answered: one that does not know the position is read anew, of one that lets this hub in
        no more all is withdrawn, and what another one stated stands.
        """
        if self.position and _is_unknown_position(error):
            with self._state.transaction():
                self._begin_pass()
                self._save()
        else:
            self.failed(PeerStatus.REFUSED if error.reason in _FOR_GOOD else PeerStatus.AWAY, error.message)

    def connected(self, directory: Path) -> Client:
        """Return a client of the peer. Raises InvalidArgument."""
        return client_of(self.peer.address, secret(directory, self.peer.name), self.peer.ca)

    def _save(self) -> None:
        self._state.save(self._followed)
        self._tell()

    def _tell(self) -> None:
        self._ways.tell(self.peer, self._offers, is_filled=self._followed.complete_time is not None)

    def _begin_pass(self) -> None:
        followed = self._followed
        self._followed = replace(followed, position="", number=followed.number + 1, is_filling=True)

    def _read_own(self) -> None:
        """Read the own hub's feed on: a hub that was restored from a backup does not know the position."""
        position = self._followed.own_position
        names = {offer.local: name for name, offer in self._offers.items() if offer.is_taken}
        try:
            for page in self._hub.list_changes(position, from_now=not position):
                for entry in (line.entry for line in page.changes if line.reviews):
                    if entry is not None and (name := names.get(f"{entry.contributor}/{entry.hash_set}")):
                        self._keep_reviews(name, entry)
                position = page.position
        except (FailedPrecondition, InvalidArgument) as e:
            if not _is_unknown_position(e):
                raise
            position = ""
            self._begin_pass()
        self._followed = replace(self._followed, own_position=position)

    def _keep_reviews(self, name: str, entry: Entry) -> None:
        """Keep what members of this hub, or of others beyond it, said of an entry, for whom it came from."""
        number = self._state.number(name, entry.external_id)
        for review in self._hub.list_reviews(entry.name) if number else ():
            if review.kind is not ReviewKind.SET_ASIDE and review.author.partition("/")[0] != entry.contributor:
                made = str(uuid5(_REVIEWS, f"{self._own}/{entry.name}/{review.id}"))
                kept = KeptReview(
                    entry=f"{name}/{number}", kind=review.kind, comment=review.comment, member=review.author
                )
                self._state.keep_review(made, kept)

    def _send_reviews(self, there: Client) -> None:
        """Send reviews, each once. One that is too many for the peer waits, and what is taken from it does not."""
        if time.monotonic() < self._reviews_after:
            return
        for made, one in self._state.reviews(_REVIEWS_AT_ONCE):
            is_done = True
            try:
                there.create_review(one.entry, one.kind, one.comment, member=one.member, request_id=made)
            except (Unavailable, LimitExceeded, Unauthenticated, Cancelled):
                is_done = False
                self._reviews_after = time.monotonic() + _REVIEW_PAUSE
            except HashHubError as e:  # the entry stands there no more, or is not shown any more
                _log.warning("peer %s: a review of %s was not taken: %s", self.peer.name, one.member, e.message)
            with self._state.transaction():
                self._state.tried_review(made, is_done=is_done)

    # Step 1.

    def _offer(self, told: HashSet) -> None:
        """Note what is offered, and bring what stands of it here in line."""
        if len(self._offers) >= _MOST_OFFERS and told.name not in self._offers:
            raise LimitExceeded(f"{self.peer.name} offers more than {_MOST_OFFERS:,} hash sets; ask its operator")
        stated = self._contributors.get(told.contributor)
        if stated is None:
            return  # told before its hash sets by every hub
        before = self._offers.get(told.name)
        try:
            origin = self._origin(stated)
        except InvalidArgument:
            return  # it went round
        local = f"{local_id(origin)}/{told.id}"
        if before is not None and before.local != local:  # nobody's author changes but a forger's
            self._lose(told.name)
            before = None
        if self._own in origin.path:
            return
        number, is_taken = self._followed.number, before is not None and before.is_taken
        offer = Offer(
            hub=origin.hub, local=local, told=told, distance=len(origin.path), number=number, is_taken=is_taken
        )
        self._put(offer)
        self._tell()
        if self._ways.chosen(origin.hub, offer.local) == self.peer.name:
            # Its entries follow where it is offered for the first time, and in a pass.
            is_taken = before is None or before.is_taken or self._followed.is_filling
            self._bring_in_line(replace(offer, is_taken=is_taken))

    def _put(self, offer: Offer) -> None:
        self._offers[offer.told.name] = offer
        self._state.put(offer.told.name, offer)

    def _bring_in_line(self, offer: Offer) -> None:
        """Make a hash set what the peer says of it, and keep why it is not, or what of it waits."""
        self._waiting = []
        try:
            self._describe(offer)
        except (Unavailable, LimitExceeded):
            raise
        except HashHubError as e:  # of this one hash set: others are taken all the same
            offer = replace(offer, is_taken=False, problem=e.message)
        self._put(replace(offer, waits="; ".join(self._waiting), describes=self._describes(offer)))

    def _describes(self, offer: Offer) -> bool:
        return self._ways.describing(offer.hub, offer.local.partition("/")[0]) == self.peer.name

    def _describe(self, offer: Offer) -> None:
        stated = self._contributors[offer.told.contributor]
        owner = self._contributor(stated, {stated.id})
        _, _, own_id = offer.local.partition("/")
        marking = _here(offer.told.marking, owner)
        scheme = offer.told.scheme if offer.told.scheme in self._known_schemes() else ""
        closed = replace(marking, bulk=False)
        wanted = replace(offer.told, contributor=owner, id=own_id, scheme=scheme, marking=closed, floors=())
        try:
            here = self._hub.get_hash_set(offer.local)
        except NotFound:
            here = self._hub.create_hash_set(wanted)
        if changed := [f for f in _SET_FIELDS if getattr(here, f) != getattr(wanted, f)]:
            self._hub.update_hash_set(wanted, changed)
        if marking.bulk and not here.marking.bulk:
            opened = replace(here, marking=replace(here.marking, bulk=True))
            self._ask(f"bulk of {here.name}", lambda: self._hub.update_hash_set(opened, ["marking.bulk"]))
        marking = replace(marking, bulk=marking.bulk and here.marking.bulk)
        self._set_terms(here, _strictest(here.marking, marking))
        if marking.looser_than(here.marking, owner) and not self._followed.is_filling:
            self._begin_pass()

    def _set_terms(self, here: HashSet, marking: Marking) -> None:
        """Give a hash set these terms. Bulk is not given but in `_describe`, where it may have to wait."""
        marking = replace(marking, bulk=marking.bulk and here.marking.bulk)
        fields = Marking.__struct_fields__
        if changed := [f"marking.{f}" for f in fields if getattr(marking, f) != getattr(here.marking, f)]:
            self._hub.update_hash_set(replace(here, marking=marking), changed)

    def _ask(self, what: str, call: Callable[[], object]) -> None:
        """Do what may take a second person here; where it does, it waits, and nothing else does."""
        try:
            call()
        except FailedPrecondition as e:
            if e.reason is not Reason.SECOND_PERSON_NEEDED:
                raise
            self._waiting.append(what)

    def _settle_waiting(self) -> None:
        """Bring in line what waited for a second person, now and then, whom another peer described before, and all once
        letters were changed here.
        """
        has_changed = self._followed.letters != self.peer.letters
        if not has_changed and time.monotonic() < self._waiting_after:
            return
        self._waiting_after = time.monotonic() + WAITING_PAUSE
        for offer in list(self._offers.values()):
            if offer.is_taken and (has_changed or offer.waits or self._describes(offer) > offer.describes):
                self._bring_in_line(offer)
        self._followed = replace(self._followed, letters=self.peer.letters)

    def _known_schemes(self) -> frozenset[str]:
        if self._schemes is None:
            self._schemes = frozenset(scheme.id for scheme in self._hub.list_schemes())
        return self._schemes

    def _origin(self, stated: Contributor) -> PeerOrigin:
        """Return whose statements these are, seen from here. Raises InvalidArgument for what came in a circle."""
        if stated.origin is None:
            return PeerOrigin(path=(self.peer.name,), contributor=stated.id)
        return PeerOrigin(path=(self.peer.name, *stated.origin.path), contributor=stated.origin.contributor)

    def _contributor(self, stated: Contributor, seen: set[str]) -> str:
        """Make whoever states something, or bring it in line; return its id here. Raises FailedPrecondition where that
        id is another's.
        """
        origin = self._origin(stated)
        own_id = local_id(origin)
        others = [self._contributors[one] for one in stated.takes_from if one in self._contributors]
        takes_from = {self._supplier(one, {*seen, one.id}) for one in others if one.id not in seen} - {own_id, ""}
        suppliers, letter = tuple(sorted(takes_from)), self.peer.letters.get(stated.reliability, Reliability.F)
        letter = max(letter, stated.reliability) if stated.origin else letter  # of both the lower one
        wanted = replace(stated, id=own_id, reliability=letter, takes_from=suppliers, origin=origin, retire_time=None)
        try:
            here = self._hub.get_contributor(own_id)
        except NotFound:
            here = self._hub.create_contributor(replace(wanted, reliability=Reliability.F))
        if here.origin is None or (here.origin.hub, here.origin.contributor) != (origin.hub, origin.contributor):
            raise FailedPrecondition(
                f"another contributor of this hub is called {own_id}, so that {origin.contributor} of {origin.hub} "
                "cannot be; expected an id that nobody has"
            )
        if self._ways.describing(origin.hub, own_id) in {"", self.peer.name}:
            if changed := [name for name in _CONTRIBUTOR_FIELDS if getattr(here, name) != getattr(wanted, name)]:
                self._hub.update_contributor(wanted, changed)
            if here.reliability != wanted.reliability:
                grade = f"reliability {wanted.reliability} of {own_id}"
                self._ask(grade, lambda: self._hub.update_contributor(wanted, ["reliability"]))
        return own_id

    def _supplier(self, stated: Contributor, seen: set[str]) -> str:
        """Return the id here of somebody from whom another takes; empty: of nobody, for it went round."""
        if stated.origin is None or self._own not in stated.origin.path:
            return self._contributor(stated, seen)
        own = stated.origin.contributor if stated.origin.hub == self._own else local_id(stated.origin)
        try:
            return self._hub.get_contributor(own).id
        except NotFound:
            return ""

    # Step 2.

    def _choose(self) -> None:
        """Begin to take what comes by this way now, and cease to take what comes by another."""
        for name, offer in list(self._offers.items()):
            chosen = "" if offer.problem else self._ways.chosen(offer.hub, offer.local)
            if chosen == self.peer.name and not offer.is_taken:
                self._begin_pass()
            elif chosen != self.peer.name and offer.is_taken:
                self._put(replace(offer, is_taken=False))
                self._state.forget_entries(name)
                if not chosen:
                    self._withdraw_unheld(offer)

    def _lose(self, name: str) -> None:
        """Forget a hash set that is offered no more; what stands here of it stays where another peer offers it."""
        offer = self._offers.pop(name, None)
        self._state.forget_offer(name)
        self._changes.pop(name, None)
        self._tell()
        if offer is not None and offer.is_taken and not self._ways.chosen(offer.hub, offer.local):
            self._withdraw_unheld(offer)

    # Step 3.

    def _state_entry(self, entry: Entry) -> None:
        name = f"{entry.contributor}/{entry.hash_set}"
        offer = self._offers.get(name)
        if offer is None or not offer.is_taken:
            return
        number = int(entry.name.rpartition("/")[2])
        stated = self._contributors[entry.contributor]
        origin = self._origin(stated)
        key = entry.external_id or f"{origin.hub}/{origin.contributor}/{entry.hash_set}/{number}"
        self._state.hold(name, key, number, self._followed.number)
        self._changes[name][key] = replace(entry, external_id=key)

    def _drop(self, entry_name: str) -> None:
        name, _, number = entry_name.rpartition("/")
        if key := self._state.release(name, int(number)):
            self._changes[name][key] = _withdrawal(self._offers[name], key)

    def _reviews(self, reviews: Iterable[Review]) -> tuple[RecordReview, ...]:
        """Return what others say of an entry; what this hub's members said came from here."""
        return tuple(
            RecordReview(r.kind, r.author, r.comment)
            for r in reviews
            if r.kind is not ReviewKind.SET_ASIDE and r.author.partition("/")[0] != self._own
        )

    def _import_all(self) -> None:
        if self._state.count() > MOST_ENTRIES:
            raise LimitExceeded(
                f"{self.peer.name} states more than {MOST_ENTRIES:,} entries, and more than that is taken of no peer"
            )
        for name, entries in self._changes.items():
            if entries:
                self._import(self._offers[name], entries.values())
        self._changes = defaultdict(dict)

    def _import(self, offer: Offer, entries: Collection[Entry]) -> None:
        """Import what is stated and withdrawn. An item without a value says by being listed what its hash set says."""
        valued = [one for one in entries if one.classification is not None or Code.UNCLASSIFIED in one.reasons]
        others = [one for one in entries if one.classification is None and Code.UNCLASSIFIED not in one.reasons]
        for has_values, part in (("yes", valued), ("no", others)):
            if part:
                options = {"hash_set": offer.local, "classifications": has_values}
                with self._document(offer, part) as document:
                    self._hub.import_source(document, hash_set=offer.local, connector=_FORMAT, options=options)

    @contextmanager
    def _document(self, offer: Offer, entries: Iterable[Entry]) -> Iterator[BinaryIO]:
        contributor, _, own_id = offer.local.partition("/")
        terms = HashSet(contributor=contributor, id=own_id, marking=_here(offer.told.marking, contributor))
        told = connectors.Exported({offer.local: terms}, {}, now(), is_delta=True)  # no two are the same
        here = (replace(entry, contributor=contributor, hash_set=own_id) for entry in entries)
        with tempfile.TemporaryFile() as document:
            for loss in connectors.get_writer(_FORMAT).write(here, cast("BinaryIO", document), told, {}):
                if loss.field == "entry":
                    raise FailedPrecondition(f"{loss.entry}: {loss.detail}")
            document.flush()
            yield cast("BinaryIO", document)

    # Step 4.

    def _complete(self) -> None:
        if self._followed.is_filling:
            number = self._followed.number
            for name, offer in list(self._offers.items()):
                if offer.number < number:
                    self._lose(name)
                elif offer.is_taken:
                    self._state.forget_entries(name, number)
                    self._withdraw_unheld(offer)
                    here = self._hub.get_hash_set(offer.local)
                    self._set_terms(here, _here(offer.told.marking, here.contributor))
        self._followed = replace(self._followed, is_filling=False, complete_time=now())

    def _withdraw_unheld(self, offer: Offer) -> None:
        """Withdraw what stands here of a hash set without the peer stating it."""
        try:
            standing = list(self._hub.list_entries(offer.local, _STANDING))
        except NotFound:
            return
        keys = [e.external_id for e in standing if not self._state.number(offer.told.name, e.external_id)]
        if keys:
            self._import(offer, [_withdrawal(offer, key) for key in keys])


def _is_unknown_position(error: HashHubError) -> bool:
    """Whether a hub does not know a position: it was restored, or gave it to another token."""
    if isinstance(error, InvalidArgument):
        return [v.field for v in error.violations] == ["position"]
    return error.reason is Reason.POSITION_UNKNOWN


def local_id(origin: PeerOrigin) -> str:
    """Return what a hub's contributor is called here: `hub--contributor`, shortened where that is too long."""
    name = f"{origin.hub}--{origin.contributor}"
    if len(name) <= _MAX_SLUG:
        return name
    return f"{name[: _MAX_SLUG - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _here(marking: Marking, owner: str) -> Marking:
    """Return a peer's terms as they hold here. Recipients that it names are its own members, and nobody here."""
    return replace(marking, recipients=(f"contributors/{owner}",) if marking.recipients else ())


def _strictest(one: Marking, other: Marking) -> Marking:
    """Return terms that let no more than either does; purposes that have none in common are those of `other`."""
    both = set(one.permitted_purposes) & set(other.permitted_purposes)
    legal = one.legal_basis if other.legal_basis in one.legal_basis else f"{one.legal_basis}; {other.legal_basis}"
    return Marking(
        tlp=max(one.tlp, other.tlp, key=list(TLP).index),
        permitted_purposes=tuple(sorted(both)) or other.permitted_purposes or one.permitted_purposes,
        legal_basis=legal.removeprefix("; "),
        redistribution=one.redistribution and other.redistribution,
        recipients=one.recipients or other.recipients,
        disclose_existence=one.disclose_existence and other.disclose_existence,
        bulk=one.bulk and other.bulk,
        max_distances={
            name: min(distance, other.max_distances[name])
            for name, distance in one.max_distances.items()
            if name in other.max_distances
        },
        expire_time=min(filter(None, (one.expire_time, other.expire_time)), default=None),
    )


def _withdrawal(offer: Offer, key: str) -> Entry:
    contributor, _, own_id = offer.local.partition("/")
    nothing = Provenance(import_id="", connector="", connector_version="", source_digest="", position="")
    return Entry(
        id=1, contributor=contributor, hash_set=own_id, hashes=(), state=EntryState.WITHDRAWN, provenance=nothing,
        external_id=key,
    )  # fmt: skip
