"""Two hubs that differ only in what a caller may not see answer every call of the contract alike.

The second one has hash sets of another contributor besides, RED, about the same digests and others; with imports,
reviews, findings, conflicts, webhooks, an operation and a token that lie between those which both hubs have. Requests
are made from the contract: of each call, one that gets past its checks, and then one for each value of each field, with
names and digests that both have, that only the second one has, and that neither has. A call of which no request gets
past its checks fails here until `VALUES` or `BEGUN` says what its fields may hold.

Only revisions, times, feed positions, page tokens, secrets and random ids are left out of the comparison. Of calls that
read, how many rows of entries, hashes, reviews and findings they read is compared, too.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import md5
from importlib import import_module
from io import BytesIO
from pkgutil import iter_modules
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from PIL import Image
from pyarrow import parquet

from hashhub import v1, wire
from hashhub.errors import HashHubError, InvalidArgument, StatusCode
from hashhub.hashes import Hash
from hashhub.model import TLP, Group, Marking, Principal, Purpose, ReviewKind, Role, Webhook, WebhookEvent
from hashhub.reconcile.results import Progress
from hashhub.reconcile.work import Job
from hashhub.server.servicers import ROLES
from hashhub.store.database import Database
from tests.adversaries.curious import difference
from tests.hub.conftest import OPERATOR, Desk, digest, item, writer
from tests.hub.test_operations import here
from tests.patience import PATIENCE
from tests.server.calls import RPCS
from tests.server.conftest import Served

_RED: Final = Marking(tlp=TLP.RED, recipients=("contributors/further",))
_OPEN: Final = Marking(tlp=TLP.CLEAR, bulk=True, redistribution=True)
_INNER: Final = Marking(tlp=TLP.RED, recipients=("groups/inner",))
_CALLERS: Final = {"reader": Role.CONSUMER, "CONTRIBUTOR": Role.CONTRIBUTOR}
_LEFT_OUT: Final = re.compile(
    r"revision|head|position|next_\w+|.*_(revision|time|position|token|until)|time|since|secret|etag|database|"
    r"bank_number"  # by a secret of each hub
)
_RANDOM: Final = re.compile(
    r"(?<=imp-)[0-9a-f]+|(?<=op-)[0-9a-f]+|(?<=msg_)[0-9a-f]+|"
    r"(?<=flicts/)[0-9a-f]+|(?<=onflict )[0-9a-f]{16}|(?<=events/)\d+"
)
_DIGESTS_FILE: Final = re.compile(r"(digests/.+)-[0-9a-f]{16}(?=\.parquet)")  # named by content, which has times
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?[.\d]*( ?UTC|Z|\+00:00)?|\d+ \w+ \d{4} at \d\d:\d\d|(?<=evision )[\d,]+"
)
# Which no caller has here: a certificate, and a signed list (tests/hub/test_signatures.py).
_UNANSWERED: Final = {"AdminService/BeginSession", "ContributionService/GetEntryProof"}
_ROUNDS: Final = 60  # in which a request is mended
_READS: Final = re.compile(r"/(Batch)?(Get|List|Search|Match|Explain|Simulate|Summarise|Follow|Export)")
_BESIDE: Final = {"conflicts", "follow", "matcher-recheck", "note-withdrawals", "retention", "tidy", "webhooks"}
_COUNTED: Final = re.compile(r"\b(FROM|JOIN) (entry|hash|frames|reviewed|review|finding|withdrawal|hold)\b")


def _texts(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _picture() -> str:
    file = BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    return _texts(file.getvalue())


class World:
    """A hub, with what is hidden or without, and the names of what is in it."""

    def __init__(self, served: Served, *, has_hidden: bool) -> None:
        self.served, self.has_hidden = served, has_hidden
        self.desk = Desk(served.hub)
        self.names: dict[str, str] = {}
        self.rows = 0  # that were read
        self.steps: list[list[Any]] = []
        self._build()

    def _hide(self, act: Callable[[], Any]) -> None:
        if self.has_hidden:
            act()

    def _token(self, name: str, role: Role, contributor: str) -> None:
        made = Principal(name=name, role=role, contributor=contributor, may_mirror=True)
        _, self.served.tokens[name] = self.served.hub.tokens.create(OPERATOR, made)

    def settle(self) -> None:
        """Do what a hub does by itself after a while."""
        hub = self.served.hub
        assert hub.finder is not None
        hub.follower.catch_up()
        hub.finder.catch_up()
        hub.store.feeds.review_authors()  # read once for all callers
        hub.sender.round()
        hub.sender.settle()

    def _operation(self, name: str, who: str, call: str, request: Any) -> None:
        made = self.served.call(f"ReconciliationService/{call}", request, v1.Operation, who=who)
        wait = v1.WaitOperationRequest(name=made.name)
        while not made.done:
            made = self.served.call("OperationService/WaitOperation", wait, v1.Operation, who=who)
        assert made.HasField("response"), made
        self.names[name] = made.name

    def _run(self, job: Job, progress: Progress) -> bytes:
        """Do a job, and keep what is told of it on the way, which a caller may or may not look at in time."""
        self.steps = []

        def tell(done: int, total: int, doing: str) -> None:
            if [done, total, doing] not in self.steps:
                self.steps.append([done, total, doing])
            progress(done, total, doing)

        return here(job, tell)

    def _webhook(self, contributor: str) -> None:
        url, events = "https://hooks.invalid/", (WebhookEvent.ENTRY_DISPUTED,)
        made = Webhook(contributor=contributor, id="desk", url=url, events=events)
        self.served.hub.webhooks.create(writer(contributor), made)

    def _list(self, name: str, *numbers: int) -> None:
        items = [item(n, algorithms=("MD5", "PDQ"), quality=90) for n in numbers]
        items.append(item(0, hashes=(Hash("MD5", md5(b"", usedforsecurity=False).digest()),)))  # has a finding
        done = self.desk.contribute(name, *items, source=f"{name} {numbers}")
        self.names[f"import of {name}"] = f"contributors/{name.replace('/', '/hashSets/')}/imports/{done.id}"

    def _review(self, who: str, name: str, number: int) -> None:
        contributor, _, set_id = name.partition("/")
        self.served.hub.reviews.create(writer(who), contributor, set_id, number, ReviewKind.FALSE_POSITIVE, "x")

    def _build(self) -> None:
        desk, hub = self.desk, self.served.hub
        for contributor in ("open", "secret", "platform", "further"):
            desk.contributor(contributor)
        # Contributors and groups are a directory that every contributor reads; who names them in terms is hidden.
        hub.groups.create(OPERATOR, Group(id="allies", members=("home",)))
        hub.groups.create(OPERATOR, Group(id="inner", members=("further", "secret")))
        self._hide(lambda: self._token("hidden", Role.CONTRIBUTOR, "secret"))
        self._token("reader", Role.CONSUMER, "platform")
        self._hide(lambda: desk.hash_set("secret/one", marking=_RED))
        self._hide(lambda: self._list("secret/one", *range(1, 41)))
        desk.hash_set("home/list")
        self._hide(lambda: desk.hash_set("secret/fine", marking=_INNER, purpose=Purpose.BENIGN))
        self._list("home/list", 1, 2, 3)
        self._hide(lambda: self._list("secret/fine", 1, 2, 50))
        desk.hash_set("open/fine", marking=_OPEN, purpose=Purpose.BENIGN)
        self._list("open/fine", 1, 4, 5)
        self._hide(lambda: self._webhook("secret"))
        self._webhook("home")
        self._hide(lambda: self._review("further", "secret/one", 1))
        self._hide(self.settle)
        self._review("open", "home/list", 2)
        self._hide(lambda: self._review("secret", "secret/fine", 2))
        self._review("home", "open/fine", 3)
        self.settle()
        hub.reconciliation.run = self._run
        self._hide(lambda: self._operation("hidden operation", "hidden", "FindLinks", v1.FindLinksRequest()))
        self._operation("links", "CONTRIBUTOR", "FindLinks", v1.FindLinksRequest())
        self._operation("extract", "CONTRIBUTOR", "ExtractEntries", v1.ExtractEntriesRequest())
        self._operation("report", "CONTRIBUTOR", "WriteReport", v1.WriteReportRequest(title="A report"))
        self._hide(lambda: desk.open("secret/one"))
        self.names["open import"] = (
            f"contributors/home/hashSets/home/imports/{desk.open('home/list', source='open').id}".replace(
                "hashSets/home", "hashSets/list"
            )
        )
        self._hide(lambda: hub.entries.quarantine(OPERATOR, "secret", "one", 5))
        found = self.served.call(
            "ReconciliationService/ListConflicts", v1.ListConflictsRequest(), v1.ListConflictsResponse
        )
        by_parties = {(c.left.hash_set, c.right.hash_set): c.name for c in found.conflicts}
        for parties, name in by_parties.items():
            is_open = not any("secret" in party for party in parties)
            self.names["conflict" if is_open else "hidden conflict"] = name
        self.settle()


def _hash(algorithm: str, number: int) -> Mapping[str, str]:
    return {"algorithm": algorithm, "digest": _texts(digest(algorithm, number).digest)}


_DIGESTS: Final = [_hash(algorithm, number) for algorithm in ("MD5", "PDQ") for number in (1, 4, 40, 50, 6, 99)]
_ENTRIES: Final = [
    f"contributors/{place}/entries/{number}"
    for place in ("home/hashSets/list", "open/hashSets/fine", "secret/hashSets/one", "secret/hashSets/none")
    for number in (2, 4, 40, 4_000)
]
_SETS: Final = [
    f"contributors/{place}"
    for place in ("home/hashSets/list", "open/hashSets/fine", "secret/hashSets/one", "secret/hashSets/none")
]
_CONTRIBUTORS: Final = [f"contributors/{name}" for name in ("home", "open", "secret", "nobody")]
# By kind, what both hubs have first: what stands for `@` names is looked up in `World.names`.
NAMES: Final[Mapping[str, list[str]]] = {
    "hash set": _SETS,
    "entry": _ENTRIES,
    "contributor": _CONTRIBUTORS,
    "import": [
        "@open import",
        "@import of home/list",
        "@import of secret/one",
        f"{_SETS[2]}/imports/imp-0",
        "imports/x",
    ],
    "review": [
        f"{_ENTRIES[0]}/reviews/1",
        f"{_ENTRIES[5]}/reviews/1",
        f"{_ENTRIES[10]}/reviews/1",
        f"{_ENTRIES[0]}/reviews/9",
    ],
    "webhook": [f"{c}/webhooks/desk" for c in _CONTRIBUTORS],
    "operation": ["@links", "@extract", "@report", "@hidden operation", "operations/op-0"],
    "conflict": ["@conflict", "@hidden conflict", "conflicts/0"],
    "group": ["groups/allies", "groups/inner", "groups/none"],
    "token": ["tokens/contributor", "tokens/reader", "tokens/hidden", "tokens/none"],
    "policy": ["policies/any", "policies/none"],
    "scheme": ["schemes/vic-us@2.0", "schemes/none@1"],
    "event": [f"events/{n}" for n in (3, 100_000)],
}
_ANY: Final = [name for names in NAMES.values() for name in names]
_MATCHED: Final = {"policy": "any"}
_PUBLIC_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"  # of 32 zeros
VALUES: Final[Mapping[str, list[Any]]] = {
    "name": _ANY,
    "parent": _ANY,
    "other_name": NAMES["scheme"],
    "subject": _ANY,
    "actor": NAMES["token"],
    "before": ["any", "block"],
    "after": ["block", "any"],
    "policy": ["any", "block", "none"],
    "hash_sets": [*_SETS, "contributors/secret/hashSets/fine"],
    "recipient": _CONTRIBUTORS,
    "jurisdiction": ["GB", "NL"],
    "jurisdictions": ["GB", "NL"],
    "url": ["https://hooks.invalid/"],
    "format": ["stix"],
    "paths": ["links.jsonl"],
    "request_id": [""],
    "page_token": [""],
    "page_size": [2],
    "position": [""],
    "batch_index": [0],
    "comment": ["a reason"],
    "title": ["A report"],
    "text": ["x", "secret"],
    "entry": _ENTRIES,
    "hash_set": _SETS,
    "contributor": _CONTRIBUTORS,
    "other": _CONTRIBUTORS,
    "assignee": NAMES["token"],
    "hash_set_id": ["another", "one", "list"],
    "webhook_id": ["another", "desk"],
    "Query": [{"hashes": [h]} for h in _DIGESTS],
    "Hash": _DIGESTS,
    "MatchOptions": [_MATCHED, {"policy": "block"}, {**_MATCHED, "max_distances": {"PDQ": 20}}],
    "Media": [{"content": _picture()}],
    "LiveStart": [{"options": _MATCHED, "frames_per_second": 1.0}],
    "Timestamp": ["2020-01-01T00:00:00Z"],
    "Duration": ["3600s"],
    "FieldMask": ["description", "displayName", "url"],
    "Import": [{"connector": "test", "connector_version": "1", "source_digest": "ab" * 32}],
    "Record": [{"position": "line 1", "hashes": [h]} for h in _DIGESTS[:6]],
    "HashSet": [{"name": name, "purpose": "PURPOSE_CSAM"} for name in _SETS],
    "SigningKey": [{"id": "x", "public_key": _PUBLIC_KEY}],
    "Review": [{"kind": "REVIEW_KIND_FALSE_POSITIVE"}, {"kind": "REVIEW_KIND_CONFIRMED"}],
    "Webhook": [
        {"name": f"{c}/webhooks/desk", "url": "https://hooks.invalid/", "events": ["WEBHOOK_EVENT_ENTRY_DISPUTED"]}
        for c in _CONTRIBUTORS
    ],
    "EntrySelection": [
        *({"hashes": [h]} for h in _DIGESTS),
        *({"names": [name]} for name in _ENTRIES),
        *({"parent": parent} for parent in (*_SETS, *_CONTRIBUTORS)),
        *({"imports": [name]} for name in NAMES["import"]),
        *({"external_ids": [x]} for x in ("1", "none")),
        {"text": "line"},
        {"states": ["ENTRY_STATE_QUARANTINED"]},
    ],
}  # fmt: skip


BEGUN: Final[Mapping[str, Mapping[str, Any]]] = {
    "MatchService/MatchLive": {"start": VALUES["LiveStart"][0]},
    "ContributorService/UpdateRetention": {"days": 0},
}
"""What a request must have although no refusal says which field it lacks."""


def _values(field: FieldDescriptor) -> list[Any]:
    """Return what a field may hold, in its JSON form."""
    of_message = field.message_type.name if field.message_type is not None else ""
    values = VALUES.get(of_message or field.name)
    if values is not None:
        pass
    elif field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return []
        values = [{f.name: _values(f)[0] for f in field.message_type.fields if f.message_type is None and _values(f)}]
    elif field.enum_type is not None:
        values = [value.name for value in field.enum_type.values[1:]]
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        values = [True]
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        values = [_texts(bytes(16)) if field.type == FieldDescriptor.TYPE_BYTES else "x"]
    else:
        values = [1]
    return [[value] for value in values] if field.is_repeated else values


class Pair:
    """Both worlds, asked the same."""

    def __init__(self, without: World, having: World) -> None:
        self.without, self.having = without, having
        self.asked = 0
        self.answered: dict[str, set[str]] = {who: set() for who in _CALLERS}
        """By caller, the calls that were answered without an error at least once."""

    def settle(self) -> None:
        self.without.settle()
        self.having.settle()

    def ask(self, call: str, who: str, said: Mapping[str, Any]) -> HashHubError | None:
        """Ask both, see that they answer alike, and return the error of the one without what is hidden."""
        self.asked += 1
        first, error = self._answer(self.without, call, who, said)
        second, _ = self._answer(self.having, call, who, said)
        if first != second:
            pytest.fail(f"{call} of {who} tells what is hidden: {said}: {difference(first, second)}")
        if error is None:
            self.answered[who].add(call)
        return error

    def _answer(self, world: World, call: str, who: str, said: Mapping[str, Any]) -> tuple[Any, HashHubError | None]:
        rpc = RPCS[call]
        request = ParseDict(self._named(world, said), GetMessageClass(rpc.input_type)())
        served, before = world.served, world.rows
        path, answer = f"/hashhub.v1.{call}", GetMessageClass(rpc.output_type)
        steps: list[list[Any]] = []
        encode, metadata = type(request).SerializeToString, served.metadata(who)
        try:
            if rpc.client_streaming:
                calls = served.channel.stream_stream(path, encode, answer.FromString)
                told = list(calls(iter([request]), metadata=metadata, timeout=PATIENCE))
            elif rpc.server_streaming:
                stream = served.channel.unary_stream(path, encode, answer.FromString)(
                    request, metadata=metadata, timeout=PATIENCE
                )
                told = []
                for one in stream:
                    told.append(one)
                    if getattr(one, "complete", False):
                        stream.cancel()
                        break
            else:
                told = [
                    served.channel.unary_unary(path, encode, answer.FromString)(
                        request, metadata=metadata, timeout=PATIENCE
                    )
                ]
        except grpc.RpcError as e:
            error = wire.status_to_error(e)
            assert error.code is not StatusCode.INTERNAL, error
            return _blurred([type(error).__name__, str(error.reason), error.message, dict(error.metadata)], {}), error
        while told and isinstance(told[-1], v1.Operation) and not told[-1].done:  # what it comes to is compared
            wait = v1.WaitOperationRequest(name=told[-1].name)
            told = [served.call("OperationService/WaitOperation", wait, v1.Operation, who=who)]
            steps = world.steps
        ids: dict[str, str] = {}
        if _READS.search(call):
            steps = [*steps, ["rows", world.rows - before]]
        return [_blurred(MessageToDict(one, preserving_proto_field_name=True), ids) for one in told] + steps, None

    def _named(self, world: World, said: Any) -> Any:
        """Return a request with this world's names in it; what is hidden has the name that it has where it is."""
        match said:
            case dict():
                return {key: self._named(world, value) for key, value in said.items()}
            case list():
                return [self._named(world, value) for value in said]
            case str() if said.startswith("@"):
                return world.names.get(said[1:]) or self.having.names.get(said[1:], "operations/op-1")
        return said


def _blurred(value: Any, ids: dict[str, str]) -> Any:
    """Return an answer without what may differ; random ids become the order in which they come."""
    match value:
        case dict():
            # An event's digest is of all before, `content` a salted commitment, and a proof is of the salted log.
            chained = {"digest", "content", "proof"} if "event_revision" in value or "content" in value else set()
            if "verifier_key" in value:  # everybody may know how far the log is, as every answer's revision
                chained |= {"checkpoint", "verifier_key", "consistency_proof"}
            if str(value.get("path")).startswith("digests/") or value.get("path") in {"manifest.json", "report.html"}:
                chained |= {"sha256", "digest", "size_bytes", "size"}  # they hold times
            if "data" in value:
                value = {**value, "data": _content(value["path"], base64.b64decode(value["data"]))}
            return {k: bool(v) if _is_left_out(k, v) or k in chained else _blurred(v, ids) for k, v in value.items()}
        case list():
            return [_blurred(v, ids) for v in value]
        case str():
            value = _TIME.sub("#", _DIGESTS_FILE.sub(r"\1-#", value))
            return _RANDOM.sub(lambda found: ids.setdefault(found[0], f"#{len(ids)}"), value)
    return value


def _is_left_out(name: str, value: Any) -> bool:
    return _LEFT_OUT.fullmatch(name) is not None and not str(value).startswith("line ")  # a position in a source


def _content(path: str, data: bytes) -> Any:
    """Return what a result's file holds, to be compared as an answer is."""
    if path.endswith(".parquet"):
        return [{k: str(v) for k, v in row.items()} for row in parquet.read_table(BytesIO(data)).to_pylist()]
    return json.loads(data) if path.endswith(".json") else _TIME.sub("#", data.decode())


def _requests(pair: Pair, call: str, who: str) -> Iterator[Mapping[str, Any]]:
    """Yield requests of a call: one that gets past its checks, then one for each other value of each field.

    What a refusal says is missing or wrong gets its next value, until nothing is.
    """
    fields = {f.name: f for f in RPCS[call].input_type.fields if _values(f)}
    said: dict[str, Any] = dict(BEGUN.get(call, {}))
    if "validate_only" in fields:
        said["validate_only"] = True
    at: dict[str, int] = {}
    refused: list[Mapping[str, Any]] = []
    for _ in range(_ROUNDS):
        error = pair.ask(call, who, said)
        if not isinstance(error, InvalidArgument):
            break
        refused.append(dict(said))
        wrong = {re.split(r"[.\[]", v.field)[0] for v in error.violations} & fields.keys()
        left = [name for name in sorted(wrong) if at.get(name, -1) + 1 < len(_values(fields[name]))]
        if not left:
            pytest.fail(f"{call}: no request gets past {error.message}: say in VALUES or BEGUN what it takes ({said})")
        for name in left:
            at[name] = at.get(name, -1) + 1
            said[name] = _values(fields[name])[at[name]]
    else:
        pytest.fail(f"{call}: no request gets past its checks: say in VALUES or BEGUN what it takes ({said})")
    if RPCS[call].output_type.name != "Operation":  # which would compute the same once more
        yield said
    for name, field in fields.items():
        for value in _values(field):
            if value != said.get(name, ""):
                others = field.containing_oneof.fields if field.containing_oneof else ()
                other = {**{k: v for k, v in said.items() if k not in {f.name for f in others}}, name: value}
                if other not in refused:  # as it still would be
                    yield other
    if said.pop("validate_only", False):
        yield said


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    from tests.server.conftest import _close, _serve

    def place() -> str:
        if request.param == "sqlite":
            return ""
        made: str = request.getfixturevalue("postgresql").create_database(
            request.getfixturevalue("_postgresql_template")
        )
        return made

    worlds: list[World] = []
    fetch = Database.fetch

    def counted(database: Database, sql: str, parameters: Any = ()) -> Any:
        rows = fetch(database, sql, parameters)
        for world in worlds:
            if world.served.hub.store.database is not database or threading.current_thread().name in _BESIDE:
                continue  # what a hub does by itself happens in either at other times
            if _COUNTED.search(sql):
                world.rows += len(rows)
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "fetch", counted)
        patch.setattr("hashhub.hub.reconciliation.WAIT_LOOK_SECONDS", 0.02)
        patch.setattr("hashhub.hub.webhooks.ROUND_SECONDS", 3600.0)  # `settle` begins the rounds
        patch.setattr("hashhub.hub.webhooks.FIRST_WAIT", 3600.0)
        served = [
            _serve(tmp_path_factory.mktemp(name), database=place(), webhook_gather_seconds=0.0)
            for name in ("without", "having")
        ]
        worlds += [World(served[0], has_hidden=False), World(served[1], has_hidden=True)]
        yield Pair(*worlds)
        for one in served:
            _close(one)


def _order(call: str) -> tuple[bool, bool, str]:
    """Return a key to sort calls by: first what only adds, then what changes, in the end what takes away."""
    verbs = ("/Delete", "/Cancel", "/Withdraw"), ("/Update", "/Change")
    takes, changes = (any(verb in call for verb in some) for some in verbs)
    return takes, changes, call


def test_every_call_of_the_contract_is_asked() -> None:
    files = [
        import_module(f"hashhub.v1.{m.name}").DESCRIPTOR for m in iter_modules(v1.__path__) if m.name.endswith("_pb2")
    ]
    calls = {f"{s.name}/{m.name}" for file in files for s in file.services_by_name.values() for m in s.methods}
    assert calls == RPCS.keys() == ROLES.keys()


def test_no_call_tells_what_is_hidden(pair: Pair) -> None:
    for who, role in _CALLERS.items():  # in this order: who changes things comes last
        before = ""
        for call in sorted(RPCS, key=_order):
            if not _READS.search(before):
                pair.settle()
            before = call
            if role not in ROLES[call]:
                error = pair.ask(call, who, {})
                assert error is not None, f"{call} of {who} is let in"
                continue
            for said in _requests(pair, call, who):
                pair.ask(call, who, said)
        unanswered = {call for call in RPCS if role in ROLES[call]} - pair.answered[who] - _UNANSWERED
        assert not unanswered, f"{who} gets errors alone, which show little: let VALUES have what these calls answer"
