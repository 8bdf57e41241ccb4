"""Requests at random, made from the contract: what a field may hold, by its name, its type and what was met so far."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from tests.differential.comparing import Comparison
from tests.hub.conftest import digest
from tests.server.calls import RPCS
from tests.server.test_every_call import BEGUN, NAMES, VALUES, _values

_PATTERNS: Final = {
    "import": r"contributors/[^/]+/hashSets/[^/]+/imports/[^/]+",
    "review": r"contributors/[^/]+/hashSets/[^/]+/entries/\d+/reviews/\d+",
    "entry": r"contributors/[^/]+/hashSets/[^/]+/entries/\d+",
    "hash set": r"contributors/[^/]+/hashSets/[^/]+",
    "webhook": r"contributors/[^/]+/webhooks/[^/]+",
    "contributor": r"contributors/[^/]+",
    **{kind: rf"{kind}s/[^/]+" for kind in ("group", "token", "operation", "conflict", "event", "scheme")},
    "policy": r"policies/[^/]+",
}
_IS: Final = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
# What a call's `name` and `parent` name, by what its own name ends with.
_OF_CALL: Final[Mapping[str, Mapping[str, str]]] = {
    "name": {
        "HashSet": "hash set", "Retention": "hash set", "Contributor": "contributor", "Objections": "contributor",
        "Group": "group", "Token": "token", "Import": "import", "Records": "import", "Entry": "entry",
        "Review": "review", "AsideReview": "review", "Webhook": "webhook", "WebhookSecret": "webhook",
        "Operation": "operation", "Result": "operation", "Files": "operation", "Conflict": "conflict",
        "Policy": "policy", "PolicyVersions": "policy", "Scheme": "scheme", "Schemes": "scheme", "OffScheme": "scheme",
        "Event": "event",
    },
    "parent": {
        "Import": "hash set", "Imports": "hash set", "Findings": "import", "Entries": "hash set",
        "HashSet": "contributor", "HashSets": "contributor", "Review": "entry", "Reviews": "entry",
        "Webhook": "contributor", "Webhooks": "contributor", "WebhookDeliveries": "webhook", "Policy": "policy",
        "QueueItems": "contributor", "PolicyVersions": "policy",
    },
}  # fmt: skip
_CONTRIBUTORS: Final = (
    *("contributor", "contributors", "takes_from", "members", "add_members", "remove_members", "decided_for", "other"),
)
# What fields of these names name, wherever they are.
_OF_FIELD: Final = {
    **dict.fromkeys(_CONTRIBUTORS, "contributor"),
    **dict.fromkeys(("hash_set", "hash_sets"), "hash set"),
    **dict.fromkeys(("entry", "names"), "entry"),
    **dict.fromkeys(("actor", "assignee"), "token"),
    "imports": "import", "subject": "hash set", "other_name": "scheme", "recipients": "contributor",
}  # fmt: skip
_SELDOM: Final = {"page_token": 0.0, "page_size": 0.3, "validate_only": 0.2, "request_id": 0.1, "etag": 0.05}
_KEPT: Final = re.compile(
    r"contributors/(home|open|secret|platform|further)|.*/hashSets/(list|fine|one|formats|pictures)|(tokens|schemes|policies)/(?!spare).*"
)
_TAKES: Final = re.compile(r"/(Delete|Retire|Rotate|UpdateToken|Cancel|SignOff)")
_POLICY: Final = """
name = "{name}"
title = "Of a run"
description = "{number} contributors state it."
disputed_by = ["BENIGN_SET"]
disputed_from = "{grade}"
independent_from = "{grade}"
test = "REVIEW"
[[clause]]
id = "some"
title = "some state it"
contributors = {number}
verdicts = ["csam"]
"""
_SCHEME: Final = """
id = "{name}"
version = "{number}"
region = "CA"
status = "draft"
title = "Of a run"
source = ["a letter"]
[values.A]
title = "Illegal"
dimensions = {{ verdict = "csam", age_band = "<18" }}
[values.B]
title = "Undecided"
dimensions = {{ verdict = "unclassified" }}
"""


class Pair(tuple[str, str]):
    """A value of the old hub and the one of the new hub that is its pair."""

    __slots__ = ()


class Requests:
    """Makes requests for any call, about what was met so far."""

    def __init__(self, random: Random, comparison: Comparison) -> None:
        self._random, self._comparison = random, comparison
        self._names: defaultdict[str, list[Pair]] = defaultdict(list)

    def take_names(self, old: Any) -> None:
        """Keep the names in an answer of the old hub, each with what the new one calls the same."""
        match old:
            case dict():
                for value in old.values():
                    self.take_names(value)
            case list():
                for value in old:
                    self.take_names(value)
            case str():
                kind = next((kind for kind, pattern in _IS.items() if pattern.fullmatch(old)), None)
                if kind is not None and old not in (name for name, _ in self._names[kind]):
                    self._names[kind].append(Pair((old, self._comparison.of_new(old))))

    def newest(self, kind: str) -> Pair | None:
        """Return the name of this kind that was met last."""
        return self._names[kind][-1] if self._names[kind] else None

    def request(self, call: str) -> dict[str, Any]:
        """Return a request that may get past the call's checks."""
        message = RPCS[call].input_type
        left_out = {
            f.name for one in message.oneofs for f in self._random.sample(list(one.fields), len(one.fields) - 1)
        }
        fields = [f for f in message.fields if f.name not in left_out]
        made = {f.name: v for f in fields if (v := self._maybe(call, f)) is not None}
        return self._spared(call, {**made, **BEGUN.get(call, {})})

    def live(self) -> list[dict[str, Any]]:
        """Return the messages of a live stream: how to look it up, and some frames."""
        random = self._random
        frames = [
            {"offset_ms": 500 * n, "quality": 90, "digest": _digest("PDQ", random.randint(1, 60))}
            for n in range(random.randint(1, 8))
        ]
        return [{"start": random.choice(VALUES["LiveStart"])}, *({"frame": frame} for frame in frames)]

    def mended(self, call: str, request: dict[str, Any], wrong: set[str]) -> dict[str, Any] | None:
        """Return a request with other values of the fields that a refusal finds wrong; None: there are none."""
        fields = [f for f in RPCS[call].input_type.fields if f.name in wrong]
        again = {f.name: v for f in fields if (v := self._value(call, f)) is not None}
        if self._random.random() < 0.3:  # what is wrong may be that it is there at all
            request = {name: v for name, v in request.items() if name not in again}
            return self._spared(call, request)
        return self._spared(call, request | again) if again else None

    def _spared(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request, about something else where it would take away what a run rests on."""
        name = request.get("name", "")
        told = name[0] if isinstance(name, Pair) else str(name)
        if _TAKES.search(call) and _KEPT.fullmatch(told):
            spare = [one for names in self._names.values() for one in names if one[0].startswith(self._place(told))]
            number = self._random.randint(1, 9)
            request["name"] = self._random.choice(spare) if spare else f"{told.rpartition('/')[0]}/spare-{number}"
        if call.endswith("RevertActor"):
            request["validate_only"] = True
        if call.endswith("ListConflicts"):  # whose order goes by when the hub came upon them
            request.pop("page_size", None)
        if "records" in request:
            request.pop("columns", None)
        return request

    @staticmethod
    def _place(name: str) -> str:
        """Return what the names of spare things beside this one begin with."""
        return f"{name.rpartition('/')[0]}/spare-"

    def _maybe(self, call: str, field: FieldDescriptor) -> Any:
        is_named = field.name in _OF_CALL or (field.message_type is not None and field.name != "since")
        probability = _SELDOM.get(field.name, 0.9 if is_named else 0.45)
        return self._value(call, field) if self._random.random() < probability else None

    def _value(self, call: str, field: FieldDescriptor) -> Any:
        random, name = self._random, field.name
        if name == "text" and call.startswith(("PolicyService", "SchemeService")):
            template = _POLICY if call.startswith("Policy") else _SCHEME
            return template.format(
                name=f"spare-{random.randint(1, 4)}", number=random.randint(1, 3), grade=random.choice("ABC")
            )
        if name.endswith("_id") and name != "request_id":
            return f"spare-{random.randint(1, 9)}"
        if name == "expire_time":
            return "2099-01-01T00:00:00Z"
        if name == "position" and random.random() < 0.4 and (met := self._comparison.met.get("position")):
            return Pair(random.choice(met[-20:]))
        kind = _OF_CALL.get(name, {}).get(re.sub(r"^[A-Z][a-z]+", "", call.partition("/")[2])) or _OF_FIELD.get(name)
        if kind is not None and field.message_type is None:
            value: Any = self._name(kind)
            return [value] if field.is_repeated else value
        value = self._of_type(call, field)
        return [value] if field.is_repeated and not isinstance(value, list) and value is not None else value

    def _name(self, kind: str) -> Any:
        """Return a name of this kind: mostly of something that is there, mostly of something new."""
        random, names = self._random, self._names[kind]
        if names and random.random() < 0.9:
            return random.choice(names[-15:] if random.random() < 0.6 else names)
        return random.choice([n for n in NAMES[kind] if not n.startswith("@")])

    def _of_type(self, call: str, field: FieldDescriptor) -> Any:
        random, message = self._random, field.message_type
        if message is None or message.GetOptions().map_entry:
            possible = _values(field)
            return random.choice(possible) if possible else None
        match message.name:
            case "Record":
                hashes = [
                    {"algorithm": a, "digest": _digest(a, random.randint(1, 60))}
                    for a in random.sample(("MD5", "SHA1", "PDQ"), random.randint(1, 3))
                ]
                return [
                    {"position": f"line {n}", "hashes": hashes, "action": "ACTION_CONTRIBUTE", "value": "1"}
                    for n in range(1, random.randint(2, 4))
                ]
            case "Reject":
                return {"position": f"line {random.randint(10, 20)}", "reason": "NO_HASH", "detail": "it has none"}
            case "Import":
                taken = f"{random.randint(1, 10**9):064x}"
                return {"connector": "test", "connector_version": "1", "source_digest": taken}
            case "FieldMask":
                of = next(f.message_type for f in RPCS[call].input_type.fields if f.message_type not in {None, message})
                return random.choice([f.json_name for f in of.fields if f.name not in {"name", "etag"}])
            case "Contributor" | "Group" | "Token":
                made = {
                    f.name: v
                    for f in message.fields
                    if f.name not in {"name", "etag"} and "revision" not in f.name and random.random() < 0.8
                    and (v := self._value(call, f)) is not None
                }  # fmt: skip
                if call.partition("/")[2].startswith("Update"):
                    kind = message.name.lower()
                    spare = [one for one in self._names[kind] if one[0].startswith(f"{kind}s/spare-")]
                    made["name"] = random.choice(spare) if spare else f"{kind}s/spare-1"
                return made
        if message.name not in VALUES:
            nested = (f for f in message.fields if random.random() < 0.6)
            return {f.name: v for f in nested if (v := self._value(call, f)) is not None}
        return random.choice(VALUES[message.name])


def _digest(algorithm: str, number: int) -> str:
    return base64.b64encode(digest(algorithm, number).digest).decode()
