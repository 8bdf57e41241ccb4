"""What went wrong among strangers, tried again: the findings of the trial that the hub's rules for strangers come from.

    python -m bench.findings

Each case is a short script at a real hub of its own: what somebody tries, what the hub answers, and whether that is
sound. The exit code is 1 when any answer is not. All of it goes by the hub's use-cases, so that the file also runs in a
checkout of an earlier version: what that version lacks is left out of the calls (`_known`), or told as lacking.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import io
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

import grpc

from hashhub import model
from hashhub.config import Config
from hashhub.errors import HashHubError
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    RecordReview,
    Reliability,
    Review,
    ReviewKind,
    Role,
    Verdict,
)
from hashhub.server.doors import Doors
from hashhub_connectors.vics import VICS

OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
PLATFORM: Final = Principal(name="platform", role=Role.CONSUMER, contributor="platform")
_sources = count()

# Since terms have `bulk`, a mask must say on purpose that no recipients are meant.
_ALL_TERMS: Final = ("marking", "marking.recipients") if "bulk" in Marking.__struct_fields__ else ("marking",)


class Line(NamedTuple):
    """One thing that was tried, what came of it, and whether that is sound."""

    finding: int
    tried: str
    answer: str
    is_sound: bool


def writer(contributor: str) -> Principal:
    return Principal(name=f"{contributor}-desk", role=Role.CONTRIBUTOR, contributor=contributor)


def digest(algorithm: str, seed: object) -> Hash:
    """Return the synthetic hash of a seed."""
    return Hash(algorithm, Random(f"{algorithm} {seed}").randbytes(ALGORITHMS[algorithm].digest_bytes))


def near(value: Hash, bits: int, seed: object = 0) -> Hash:
    """Return a hash exactly so many bits away."""
    number = int.from_bytes(value.digest)
    for bit in Random(f"{value.digest.hex()} {seed}").sample(range(8 * len(value.digest)), bits):
        number ^= 1 << bit
    return Hash(value.algorithm, number.to_bytes(len(value.digest)))


def item(seed: object, *algorithms: str, **fields: Any) -> Record:
    """Return what a connector reads about one synthetic file."""
    return Record(
        position=f"line {seed}", hashes=tuple(digest(a, seed) for a in algorithms or ("MD5", "SHA1")), **fields
    )


def _known(kind: Callable[..., Any], **fields: Any) -> Any:
    """Make a value with those of the fields that this version knows."""
    names = set(getattr(kind, "__struct_fields__", ())) or set(inspect.signature(kind).parameters)
    return kind(**{name: value for name, value in fields.items() if name in names})


class Desk:
    """A hub with few contributors, and short ways to act at it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.contributor("platform", "F")

    def contributor(self, name: str, reliability: str, *sets: HashSet) -> str:
        self.hub.contributors.create(
            OPERATOR,
            Contributor(
                id=name,
                display_name=name,
                kind=ContributorKind.HOTLINE,
                jurisdiction="GB",
                reliability=Reliability(reliability),
            ),
        )
        for hash_set in sets:
            self.hub.hash_sets.create(OPERATOR, hash_set)
        return name

    def lists(
        self, name: str, *records: Any, validate_only: bool = False, source: str = "", carries: bool | None = None
    ) -> Import:
        """Hand a list over; `carries`: whether its format carries classifications."""
        contributor, _, set_id = name.partition("/")
        source = source or f"source {next(_sources)}"
        opened = _known(
            Import,
            id="",
            contributor=contributor,
            hash_set=set_id,
            connector="test",
            connector_version="1",
            source_digest=hashlib.sha256(source.encode()).hexdigest(),
            has_classifications=carries,
        )
        who = writer(contributor)
        opened = self.hub.contribute.open(who, opened)
        if not opened.batch_count:
            self.hub.contribute.add(who, opened.id, 0, records, [])
        return self.hub.contribute.commit(who, opened.id, batch_count=1, validate_only=validate_only)

    def why(self, done: Import) -> str:
        """Return the reasons in an import's report."""
        lines = self.hub.contribute.findings(OPERATOR, done.id, 100, 0)[0]
        return ", ".join(sorted({f"{f.disposition} {f.reason}" for f in lines})) or "every item ACCEPTED"

    def match(self, *hashes: Hash, policy: str = "block", who: Principal = PLATFORM) -> MatchResult:
        return self.hub.match.hashes(who, [Query(hashes=hashes)], MatchOptions(policy=policy))[0][0]

    def verdicts(self, *hashes: Hash) -> str:
        return ", ".join(f"`{policy}`: {self.match(*hashes, policy=policy).verdict}" for policy in ("block", "any"))

    def entry(self, name: str, which: int = -1) -> str:
        contributor, _, set_id = name.partition("/")
        return self.hub.entries.list(OPERATOR, contributor, set_id, (), 1000, 0)[0][which].name

    def review(self, entry: str, kind: ReviewKind, who: Principal) -> None:
        contributor, hash_set, number = entry.split("/")
        review = Review(id=0, entry_id=int(number), author="", kind=kind)
        takes_kind = "kind" in inspect.signature(self.hub.reviews.create).parameters
        said: Any = kind if takes_kind else review
        self.hub.reviews.create(who, contributor, hash_set, int(number), said)

    def withdraw(self, entry: str, who: Principal) -> None:
        contributor, hash_set, number = entry.split("/")
        reasons = getattr(model, "WithdrawalReason", None)
        takes_reason = "reason" in inspect.signature(self.hub.entries.withdraw).parameters
        more: Sequence[Any] = [reasons.ERROR] if reasons is not None and takes_reason else []
        self.hub.entries.withdraw(who, contributor, hash_set, int(number), *more)


def _set(name: str, **fields: Any) -> HashSet:
    contributor, _, set_id = name.partition("/")
    return HashSet(contributor=contributor, id=set_id, **fields)


def _hotline(desk: Desk) -> str:
    return desk.contributor("hotline", "A", _set("hotline/list", scheme="vic-us", marking=Marking(tlp=TLP.GREEN)))


# 1: what others list quarantines and clears


def others_lists(desk: Desk) -> Iterator[Line]:
    _hotline(desk)
    hidden = Marking(tlp=TLP.RED, recipients=("contributors/stranger",))
    sets = [
        _set("stranger/benign", purpose=Purpose.BENIGN, marking=Marking(tlp=TLP.GREEN)),
        _set("stranger/hidden", purpose=Purpose.BENIGN, marking=hidden),
        _set("stranger/csam", marking=Marking(tlp=TLP.GREEN)),
    ]
    desk.contributor("stranger", "F", *sets)
    for number, (name, hashes, what) in enumerate(
        (
            ("benign", ("MD5",), "lists an MD5 as benign"),
            ("hidden", ("MD5",), "lists an MD5 as benign in a TLP:RED set"),
            ("csam", ("MD5", "SHA1"), "binds an MD5 to a made-up SHA1"),
        )
    ):
        strange = item(f"1 {number}", *hashes)
        if name == "csam":
            strange = Record(position="line 1", hashes=(digest("MD5", f"1 {number}"), digest("SHA1", "made up")))
        desk.lists(f"stranger/{name}", strange)
        done = desk.lists("hotline/list", item(f"1 {number}", value="1"))
        answer = desk.verdicts(digest("MD5", f"1 {number}"))
        sound = done.counts.accepted == 1 and answer == "`block`: MATCH, `any`: MATCH"
        yield Line(1, f"reliability F {what}; the hotline's later list", f"{desk.why(done)}; {answer}", sound)


# 2: taking another's objection back


def forged_authors(desk: Desk) -> Iterator[Line]:
    desk.contributor("nl", "A")
    desk.contributor("objected", "A", _set("objected/list", scheme="vic-us", marking=Marking(tlp=TLP.GREEN)))
    for number, author in enumerate(("nl", "operator", "")):
        desk.lists("objected/list", item(f"2 {number}", value="1", external_id=f"{number}"))
        who = writer("nl") if author == "nl" else OPERATOR
        desk.review(desk.entry("objected/list"), ReviewKind.FALSE_POSITIVE, who)
        before = desk.match(digest("MD5", f"2 {number}")).verdict
        again = item(
            f"2 {number}",
            value="1",
            external_id=f"{number}",
            series="again",
            reviews=(RecordReview(ReviewKind.CONFIRMED, author),),
        )
        desk.lists("objected/list", again)
        after = desk.match(digest("MD5", f"2 {number}")).verdict
        objector = "nl" if author == "nl" else "the operator"
        yield Line(
            2,
            f"{objector} objects; the item is sent again with a CONFIRMED review by {author!r}",
            f"{before}, then {after}",
            (before, after) == (Verdict.REVIEW, Verdict.REVIEW),
        )


# 3: floods, near items, copies


def crowds(desk: Desk) -> Iterator[Line]:
    _hotline(desk)
    desk.lists("hotline/list", item(3, "PDQ", value="1"))
    picture = digest("PDQ", 3)
    hidden = Marking(tlp=TLP.RED, recipients=("contributors/stranger",))
    sets = [_set("stranger/hidden", marking=hidden), _set("stranger/csam", marking=Marking(tlp=TLP.GREEN))]
    desk.contributor("stranger", "F", *sets, _set("stranger/benign", purpose=Purpose.BENIGN))
    desk.contributor("friend", "F", _set("friend/csam", marking=Marking(tlp=TLP.GREEN)))
    copy = near(picture, 25)
    before = desk.match(copy).verdict
    desk.lists(
        "stranger/hidden", *(Record(position=f"line {i}", hashes=(near(copy, 1 + i % 10, i),)) for i in range(1_100))
    )
    after = desk.match(copy).verdict
    yield Line(
        3,
        "1,100 hidden digests nearer to a re-encoded picture",
        f"{before}, then {after}",
        before is after is Verdict.MATCH,
    )
    desk.lists("stranger/benign", Record(position="line 1", hashes=(near(picture, 30),)))
    answer = desk.match(picture).verdict
    yield Line(3, "a benign PDQ 30 bits from an exact match", str(answer), answer is Verdict.MATCH)
    for name in ("stranger/csam", "friend/csam"):
        desk.lists(name, item("3 copied"))
    answer = desk.match(digest("MD5", "3 copied")).verdict
    yield Line(3, "two of reliability F list the same", f"`block`: {answer}", answer is Verdict.REVIEW)


# 4: terms


def terms(desk: Desk) -> Iterator[Line]:
    strict = _set("hotline/strict", marking=Marking(tlp=TLP.AMBER_STRICT))
    secret = _set("hotline/secret", marking=Marking(tlp=TLP.RED, recipients=("contributors/hotline",)))
    benign = _set(
        "hotline/benign", purpose=Purpose.BENIGN, marking=Marking(tlp=TLP.RED, recipients=("contributors/hotline",))
    )
    desk.contributor("hotline", "A", strict, secret, benign)
    desk.lists("hotline/strict", item("4 strict"))
    provider = _known(Principal, name="provider", role=Role.CONSUMER, contributor="platform", acts_for_others=True)
    answer = desk.match(digest("MD5", "4 strict"), policy="any", who=provider).verdict
    yield Line(4, "AMBER+STRICT, asked by a service provider for its clients", str(answer), answer is Verdict.NO_MATCH)
    try:
        desk.hub.hash_sets.create(OPERATOR, _set("hotline/nobody", marking=Marking(tlp=TLP.RED, recipients=("",))))
        desk.lists("hotline/nobody", item("4 nobody"))
        stranger = Principal(name="stranger", role=Role.CONSUMER)
        said = f"created; {desk.match(digest('MD5', '4 nobody'), policy='any', who=stranger).verdict} for a stranger"
    except HashHubError as e:
        said = f"refused: {e.message}"
    yield Line(4, 'RED with recipients [""]', said[:90], said.startswith("refused"))
    desk.contributor("prober", "F", _set("prober/own"))
    desk.lists("hotline/secret", item("4 secret"))
    desk.lists("hotline/benign", item("4 benign"))
    for seed in ("secret", "benign"):
        garbage = Record(position="line 1", hashes=(digest("MD5", f"4 {seed}"), digest("SHA1", "garbage")))
        probe = garbage if seed == "secret" else item("4 benign", "MD5")
        done = desk.lists("prober/own", probe, validate_only=True)
        yield Line(
            4,
            f"validate_only with an MD5 of a hidden {seed} set",
            desk.why(done),
            desk.why(done) == "every item ACCEPTED",
        )


# 5: what is not said


def _vics(region: str, *media: dict[str, Any]) -> list[Any]:
    context = f"https://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{region}/$metadata#Media"
    text = json.dumps({"@odata.context": context, "value": list(media)})
    return list(VICS().read(io.BytesIO(text.encode()), {}))


def missing_values(desk: Desk) -> Iterator[Line]:
    for name in ("one", "two"):
        desk.contributor(name, "A", _set(f"{name}/list"))
        medium = {"MediaID": 1, "MD5": digest("MD5", 5).digest.hex(), "SHA1": digest("SHA1", 5).digest.hex()}
        done = desk.lists(f"{name}/list", *_vics("US", medium), carries=True)
    answer = desk.match(digest("MD5", 5)).verdict
    yield Line(
        5,
        "two reliable VICS lists with an item without Category",
        f"{desk.why(done)}; `block`: {answer}",
        answer is not Verdict.MATCH,
    )
    desk.contributor("uk", "A", _set("uk/list", scheme="uk-sap"))
    medium = {"MediaID": 1, "MD5": digest("MD5", "5 uk").digest.hex(), "Category": 1}
    try:
        done = desk.lists("uk/list", *_vics("UK", medium), carries=True)
        verdict = desk.match(digest("MD5", "5 uk")).verdict
        said = f"{desk.why(done)}; `block`: {verdict}"
    except HashHubError as e:
        verdict, said = Verdict.NO_MATCH, f"refused: {e.message}"
    yield Line(
        5,
        "a VICS list of UK context (CAID numbers) into a uk-sap set",
        said[:100],
        verdict is Verdict.NO_MATCH,
    )


# 6: what was corrected by hand


def corrections(desk: Desk) -> Iterator[Line]:
    _hotline(desk)
    desk.lists("hotline/list", item(6, value="1", external_id="6"), source="weekly 1")
    desk.withdraw(desk.entry("hotline/list"), writer("hotline"))
    for what, source in (("next week's", "weekly 2"), ("the very same", "weekly 1")):
        done = desk.lists("hotline/list", item(6, value="1", external_id="6"), source=source)
        answer = desk.match(digest("MD5", 6), policy="any").verdict
        yield Line(6, f"withdrawn by hand, then {what} list", f"{desk.why(done)}; {answer}", answer is Verdict.NO_MATCH)


# 7: the feed


def feed(desk: Desk) -> Iterator[Line]:
    open_terms = _known(Marking, tlp=TLP.GREEN, bulk=True)
    desk.contributor("hotline", "A", _set("hotline/list", marking=open_terms))
    reader = _known(Principal, name="reader", role=Role.CONTRIBUTOR, contributor="platform", may_mirror=True)
    yield _stream(desk, reader)
    if not hasattr(desk.hub.changes, "page"):
        lacks = "its position names a revision only, which an import of any size is; terms are no changes"
        yield Line(7, "a list of 3,000, read in pages, each in a new attempt", lacks, is_sound=False)
        return
    desk.lists("hotline/list", *(item(f"7 {i}") for i in range(3_000)))
    copied: set[str] = set()

    def read(position: str) -> str:
        while True:
            page = desk.hub.changes.page(reader, position, page_size=400)  # each from the position alone
            for line in page.changes:
                if line.entry is not None:
                    copied.add(line.entry.name)
                elif line.hash_set_name:
                    copied.difference_update({e for e in copied if e.startswith(f"{line.hash_set_name}/")})
            position = page.position
            if page.is_complete:
                return str(position)

    position = read("")
    yield Line(
        7, "a list of 3,000, read in pages, each in a new attempt", f"{len(copied):,} held", len(copied) >= 3_000
    )
    held = len(copied)
    for what, terms_, expected in (
        ("the hash set is given to somebody else", Marking(tlp=TLP.RED, recipients=("contributors/hotline",)), 0),
        ("and opened again", open_terms, held),
    ):
        desk.hub.hash_sets.update(OPERATOR, _set("hotline/list", marking=terms_), _ALL_TERMS)
        position = read(position)
        yield Line(7, what, f"{len(copied):,} held", len(copied) == expected)


def _stream(desk: Desk, reader: Principal) -> Line:
    """Follow the feed over gRPC, and delete the token meanwhile."""
    config = Config(data="", listen="127.0.0.1:0", http="", drain_seconds=0.0)
    made: Any = desk.hub.tokens.create(OPERATOR, reader)
    secret = made if isinstance(made, str) else made[1]
    doors = Doors(desk.hub, config, listen=config.listen, http="")
    doors.start()
    try:
        with grpc.insecure_channel(doors.grpc_address) as channel:
            follow: Any = channel.unary_stream("/hashhub.v1.ChangeService/FollowChanges", None, None)
            desk.lists("hotline/list", item("7 before"))
            stream = follow(b"", metadata=(("authorization", f"Bearer {secret}"),), timeout=60)
            next(stream)
            desk.hub.tokens.delete(OPERATOR, reader.name)
            time.sleep(2)
            desk.lists("hotline/list", item("7 after"))
            answer = ""
            try:
                while not answer:
                    answer = "what was listed later arrives" * (digest("MD5", "7 after").digest in next(stream))
            except grpc.RpcError as e:
                answer = e.code().name
            return Line(7, "a followed stream whose token was deleted", answer, answer == "UNAUTHENTICATED")
    finally:
        doors.close()


# 8: who did what


def history(desk: Desk) -> Iterator[Line]:
    _hotline(desk)
    desk.lists("hotline/list", item(8, value="1"))
    entry = desk.entry("hotline/list")
    desk.review(entry, ReviewKind.FALSE_POSITIVE, OPERATOR)
    desk.withdraw(entry, writer("hotline"))
    desk.hub.hash_sets.update(writer("hotline"), _set("hotline/list", marking=Marking(tlp=TLP.CLEAR)), ("marking",))
    events: Sequence[Any] = ()
    if hasattr(desk.hub, "history"):
        events = desk.hub.history.list(OPERATOR, "", "", None, 100, 0)[0]
    for what, kind in (
        ("imported", "IMPORT_COMMITTED"),
        ("reviewed", "ENTRIES_REVIEWED"),
        ("withdrew", "ENTRIES_WITHDRAWN"),
        ("changed terms", "TERMS_CHANGED"),
    ):
        told = [f"{e.actor.name}, {e.time:%H:%M:%S}, {e.subject} {e.reason}".rstrip() for e in events if e.kind == kind]
        yield Line(8, f"who {what}?", told[0] if told else "nothing is on record", bool(told))


CASES: Final[Sequence[Callable[[Desk], Iterator[Line]]]] = (
    others_lists,
    forged_authors,
    crowds,
    terms,
    missing_values,
    corrections,
    feed,
    history,
)


def lines() -> Iterator[Line]:
    """Try every case at a hub of its own."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as data, Hub.open(Config(data=data)) as hub:
            hub.start()
            yield from case(Desk(hub))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    logging.disable(logging.WARNING)  # refusals are expected here
    unsound = 0
    for line in lines():
        print(
            f"{line.finding}  {'sound  ' if line.is_sound else 'UNSOUND'}  {line.tried}\n            {line.answer}",
            flush=True,
        )
        unsound += not line.is_sound
    print(f"{unsound} answers are not sound" if unsound else "every answer is sound")
    sys.exit(1 if unsound else 0)


if __name__ == "__main__":
    main()
