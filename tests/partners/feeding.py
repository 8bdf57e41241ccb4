"""A hash set that changes at random, in a real hub, and the address and token by which a partner takes it as a feed."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from random import Random

import msgspec

from hashhub.connector import NCII_TAG
from hashhub.hashes import Hash
from hashhub.model import TLP, Entry, EntryState, Marking, Principal, Record, Role
from tests.hub.conftest import OPERATOR, Desk
from tests.hub.test_changes import terms
from tests.server.conftest import Served

SHARED = Marking(tlp=TLP.GREEN, bulk=True)
LIST = "line/list"
NCII = """
id = "stopncii"
version = "1"
region = "ZZ"
status = "draft"
value_required = true
title = "StopNCII, status of a hash"
source = ["synthetic"]
[values.Active]
title = "Active"
dimensions.verdict = "unclassified"
"""


@dataclass
class Feeding:
    """`url`: of the hub's HTTP listener. `token`: of another contributor's, which may read the feed. `is_ncii`: items
    are StopNCII's, which an operator has to release.
    """

    desk: Desk
    url: str
    token: str
    is_ncii: bool
    numbers: count[int] = field(default_factory=count)

    @classmethod
    def of(cls, served: Served, *, is_ncii: bool = False) -> Feeding:
        desk = Desk(served.hub)
        if is_ncii:
            served.hub.schemes.put(OPERATOR, NCII)
        desk.hash_set(LIST, marking=SHARED, scheme="stopncii@1" if is_ncii else "")
        desk.contributor("reader")
        wanted = Principal(name="reader-feed", role=Role.CONSUMER, contributor="reader", may_mirror=True)
        _, token = served.hub.tokens.create(OPERATOR, wanted)
        return cls(desk, f"http://{served.doors.http_address}", token, is_ncii)

    def contribute(self, *records: Record) -> None:
        if not self.is_ncii:
            self.desk.contribute(LIST, *records)
            return
        stated = [msgspec.structs.replace(r, value="Active", scheme="stopncii", tags=(NCII_TAG,)) for r in records]
        before = {e.id for e in self.desk.entries(LIST)}
        self.desk.contribute(LIST, *stated)
        for entry in self.desk.entries(LIST, EntryState.QUARANTINED):
            if entry.id not in before:
                self.desk.hub.entries.release(OPERATOR, "line", "list", entry.id)

    def record(self, random: Random) -> Record:
        """A picture or video, which may share its PDQ with others."""
        number = next(self.numbers)
        kind = random.choice(("image/png", "video/mp4", ""))
        pdq = random.choice((random.randbytes(32), sha256(b"%d" % (number % 3)).digest()))
        hashes = (Hash("MD5", random.randbytes(16)), Hash("PDQ", pdq))
        return Record(position=f"line {number}", hashes=hashes, external_id=f"x{number}", media_type=kind)

    def standing(self) -> list[Entry]:
        return self.desk.entries(LIST, EntryState.ACTIVE)

    def add(self, random: Random, most: int) -> None:
        self.contribute(*(self.record(random) for _ in range(random.randrange(1, most + 1))))

    def share(self, *, bulk: bool) -> None:
        terms(self.desk, LIST, bulk=bulk)

    def change(self, random: Random) -> None:
        """Make one change at random."""
        hub, active = self.desk.hub, self.standing()
        match random.choices(("add", "again", "withdraw", "quarantine", "release"), (5, 2, 5, 2, 2))[0]:
            case "again" if active:
                one = random.choice(active)
                changed = Record(
                    position="line 1",
                    hashes=(one.hashes[0], Hash("PDQ", random.randbytes(32))),
                    external_id=one.external_id,
                    media_type=random.choice(("image/png", "video/mp4")),
                )
                self.contribute(changed)
            case "withdraw" if active:
                chosen = random.sample(active, min(len(active), random.randrange(1, 4)))
                hub.store.transitions.withdraw([e.id for e in chosen], "X")
            case "quarantine" if active:
                hub.entries.quarantine(OPERATOR, "line", "list", random.choice(active).id)
            case "release":
                if waiting := self.desk.entries(LIST, EntryState.QUARANTINED):
                    hub.entries.release(OPERATOR, "line", "list", random.choice(waiting).id)
            case _:
                self.add(random, 3)
