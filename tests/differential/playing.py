"""Steps that are played to two hubs at once, and what is made of their answers."""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from io import BytesIO
from random import Random
from typing import Any, Final, NamedTuple

from pyarrow import parquet

from hashhub.server.servicers import ROLES
from tests.differential.asking import Pair, Requests
from tests.differential.comparing import Comparison, without_opaque
from tests.differential.sides import Side
from tests.server.calls import RPCS

WAITS: Final = (0.1, 0.3, 1.0, 3.0)
"""Seconds after which what only reads is asked again where it differs: some of it is done behind a write."""
_READING: Final = re.compile(r"/(Get|List|Match|BatchMatch|Search|Explain|Simulate|Compare|Diff|Read|Summarise|Wait)")


class Difference(NamedTuple):
    step: int
    what: str
    path: str
    old: Any
    new: Any


class Player:
    """Plays each step to both sides, and keeps where they differed; `may_be`: what is declared."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        random: Random,
        on_step: Callable[[str], None],
        may_be: Callable[[Difference], bool],
    ) -> None:
        self.sides, self.random, self._on_step, self._may_be = sides, random, on_step, may_be
        self.steps = 0
        self._seen: set[tuple[str, str]] = set()
        self.found: list[Difference] = []
        self.comparison = Comparison()
        self.requests = Requests(random, self.comparison)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.answered: Counter[tuple[str, str]] = Counter()
        """By call and caller: how often it was answered without an error."""
        self._threads = ThreadPoolExecutor(2)

    # What is played

    def both(self, what: str, ask: Callable[..., Any], *given: Any, reads: bool = False) -> tuple[Any, Any]:
        """Play one step: `ask` each side with what is `given`. What only `reads` is played again for some seconds where
        the answers differ.
        """
        self.steps += 1
        self._on_step(what)
        for wait in (*(WAITS if reads else ()), None):
            old, new = self._threads.map(lambda side: ask(side, *given), self.sides)
            with self.comparison.attempt() as attempt:
                differing = [Difference(self.steps, what, *one) for one in self.comparison.differences(old, new)]
                attempt.succeeded = all(map(self._may_be, differing))
            kinds = {(what[:60], one.path) for one in differing}
            if attempt.succeeded or wait is None or kinds <= self._seen:
                break
            time.sleep(wait)
        self._seen |= kinds
        self.found += differing
        if attempt.succeeded and not is_refusal(old):
            self.requests.take_names(old)
        return old, new

    def call(self, who: str, call: str, request: Any, door: str = "grpc") -> tuple[Any, Any]:
        """Make one call of the contract."""

        def ask(side: Side) -> Any:
            sent, token = self.of_side(request, side), side.tokens.get(who, "")
            if door == "grpc":
                requests = sent if isinstance(sent, list) else [sent]
                told = side.agent("calls", call=call, requests=requests, token=token, address=side.grpc)
                return _opened(told) if call.endswith("/ReadFiles") and not is_refusal(told) else told
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
            return side.post(f"/hashhub.v1.{call}", json.dumps(sent).encode(), headers)

        what = f"{who} by {door}: {call} {json.dumps(self.of_side(request, self.sides[0]), ensure_ascii=False)}"
        self.asked[call, who] += 1
        answers = self.both(what, ask, reads=bool(_READING.search(f"/{call.partition('/')[2]}")))
        if is_refusal(answers[0]):
            self._on_step(f"  refused: {json.dumps(answers[0])}")
        else:
            self.answered[call, who] += 1
        return answers

    def run(self, who: str, *arguments: str | Pair, reads: bool = False, ordered: bool = True) -> tuple[Any, Any]:
        """Run a command; `ordered`: whether its lines come in an order that is told."""

        def ask(side: Side) -> Any:
            environment = {"HASHHUB_SERVER": side.grpc, "HASHHUB_TOKEN": side.tokens.get(who, "")}
            given = [self.of_side(a, side) for a in arguments]
            told = side.agent("commands", arguments=given, environment=environment, directory=str(side.directory))
            lines = {name: _lines(told[name]) for name in ("stdout", "stderr") if name in told}
            return told | (lines if ordered else {n: sorted(of, key=without_opaque) for n, of in lines.items()})

        what = " ".join(a[0] if isinstance(a, Pair) else a for a in arguments)
        return self.both(f"{who}: hashhub {what}", ask, reads=reads)

    def same_file(self, name: str) -> None:
        """Compare a file that the last command wrote."""

        def read(side: Side) -> Any:
            try:
                data = (side.directory / name).read_bytes()
            except OSError as e:
                return type(e).__name__
            try:
                return _lines(side.plain(data.decode()))
            except UnicodeDecodeError:
                return base64.b64encode(data).decode()

        self.both(f"the file {name}", read)

    def of_side(self, value: Any, side: Side) -> Any:
        """Return a request as one side is sent it: what stands for a pair becomes its own."""
        match value:
            case dict():
                return {k: self.of_side(v, side) for k, v in value.items()}
            case list():
                return [self.of_side(v, side) for v in value]
            case Pair():
                return value[side is self.sides[1]]
            case str():
                return value.replace("DIRECTORY", str(side.directory))
        return value

    # What is asked at random

    def play(self, call: str, who: str) -> None:
        """Make a call at random, again with what a refusal asks for, and on to the next page."""
        rpc = RPCS[call]
        is_unary = not rpc.client_streaming and not rpc.server_streaming
        door = "http" if is_unary and self.random.random() < 0.4 else "grpc"
        request = self.requests.request(call)
        for _ in range(5):
            answer, _ = self.call(who, call, self.requests.live() if rpc.client_streaming else request, door)
            mended = self.requests.mended(call, request, _violations(answer))
            if mended is None:
                break
            request = mended
        told = answer.get("body") if isinstance(answer, dict) else answer[-1] if answer else None
        if not isinstance(told, dict) or is_refusal(answer):
            return
        token = self.comparison.met.get("page", [])[-1:]
        if token and told.get("nextPageToken") == token[0][0]:
            self.call(who, call, request | {"page_token": Pair(token[0])}, door)
        if rpc.output_type.name == "Operation" and "done" not in told and not call.startswith("OperationService/"):
            name = self.requests.newest("operation")
            if name is None:  # the answers differed
                return
            self.call(who, "OperationService/WaitOperation", {"name": name})
            self.call(who, "ReconciliationService/ReadResult", {"name": name})
            self.call(who, "ReconciliationService/ReadFiles", {"name": name})

    def turns(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield so many calls with who makes them: each call before any comes again, mostly by who may."""
        calls: list[str] = []
        for _ in range(count):
            calls = calls or self.random.sample(sorted(RPCS), len(RPCS))
            call = calls.pop()
            may = [who for who, role in CALLERS.items() if role in ROLES[call] for _ in range(_TURNS.get(who, 1))]
            others = [who for who in CALLERS if who not in may]
            yield call, self.random.choice(may if (may and self.random.random() < 0.85) or not others else others)


_TURNS: Final = {"operator": 3, "contributor": 2}
CALLERS: Final = {
    "operator": "OPERATOR", "contributor": "CONTRIBUTOR", "open": "CONTRIBUTOR", "consumer": "CONSUMER",
    "auditor": "AUDITOR", "anonymous": "", "stranger": "",
}  # fmt: skip


def is_refusal(answer: Any) -> bool:
    """Whether a call was refused."""
    if not isinstance(answer, dict):
        return isinstance(answer, list) and any(
            isinstance(one, dict) and isinstance(one.get("error"), str) for one in answer
        )
    return bool(answer.get("error")) or answer.get("status", 200) != 200


def _opened(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the files that came in pieces, each as what it holds."""
    files: defaultdict[str, bytes] = defaultdict(bytes)
    for message in messages:
        files[message["path"]] += base64.b64decode(message.get("data", ""))
    return {re.sub(r"-[0-9a-f]{16}(?=\.parquet)", "-#", path): _content(path, data) for path, data in files.items()}


def _content(path: str, data: bytes) -> Any:
    if path.endswith(".parquet"):
        return [{k: str(v) for k, v in row.items()} for row in parquet.read_table(BytesIO(data)).to_pylist()]
    if path.endswith(".html"):  # what people read of it
        words = re.sub(r"(?s)<style.*?</style>|<svg.*?</svg>|<[^>]+>", " ", data.decode())
        return re.sub(r"\s+", " ", unescape(words))
    return json.loads(data) if path.endswith(".json") else _lines(data.decode())


def _violations(answer: Any) -> set[str]:
    """Return the fields that a refusal finds wrong."""
    told = re.findall(r'"field": "([a-z_]+)', json.dumps(answer))
    return set(told) if is_refusal(answer) else set()


def _lines(text: str) -> list[Any]:
    """Return lines, those that are JSON as what they hold."""
    lines: list[Any] = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line) if line.startswith(("{", "[")) else line)
        except ValueError:
            lines.append(line)
    return lines
