"""Hasher-Matcher-Actioner (HMA): the routes of its blueprints `hashing`, `matching` and `curation`, and its statuses.

A bank is a hash set that the caller may see, under `names`; what it holds is under `contents`. What a verdict says is
not how HMA answers: it names the banks that match. Two things are kept all the same: what nobody could look for is an
error and never `{}`, and what is known to be harmless, and nothing else, names no bank. A bank to which the operator
gave a policy is named where that says MATCH. What hashhub knows beyond HMA stands in headers, or in each match for who
asks by `statements=true`: clients take every key beside it for a bank.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import json_format

from hashhub import hashes, v1, wire
from hashhub.config import Config, by_bank
from hashhub.errors import HashHubError, InvalidArgument, NotFound, Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.partners import banks, contents, exchanges
from hashhub.partners.banks import HMABank
from hashhub.partners.requests import Headers, PartnerAnswer, PartnerDoor, PartnerRequest

SIGNAL_TYPES: Final[Mapping[str, str]] = MappingProxyType({"pdq": "PDQ", "video_md5": "MD5"})
"""HMA's names of the algorithms that it has for pictures and videos."""
_OF_CONTENT: Final = {"photo": "pdq", "video": "video_md5"}
_ALIVE: Final = b"I-AM-ALIVE"
_TEXT: Final = "text/html; charset=utf-8"  # as Flask sends it
_QUALITY: Final = 50  # PDQ quality below which HMA has no hash of a picture
_MOST_MATCHES: Final = 1000
_PDQ_DISTANCE: Final = 31
_UNANSWERED: Final = frozenset({v1.Verdict.VERDICT_UNSPECIFIED, v1.Verdict.VERDICT_UNAVAILABLE})
_IN_PART: Final = frozenset({"JUDGEMENT_CUT_SHORT", "CIRCUIT_BREAKER"})  # reasons of a REVIEW that may be a MATCH
_Found = dict[str, list[dict[str, Any]]]  # by bank
_Handler = Callable[["HMADoor", PartnerRequest, tuple[str, ...]], Awaitable[PartnerAnswer]]


class HMADoor(PartnerDoor):
    """Answers requests of HMA's clients."""

    name = "HMA"

    def __init__(self, config: Config, is_serving: Callable[[], bool]) -> None:
        """`is_serving`: whether the hub can match now."""
        self._policy, self._purpose = config.hma_verdict_policy, config.hma_purpose
        self._policies = by_bank(config.hma_policies)
        self._distances = {bank: int(distance) for bank, distance in by_bank(config.hma_distances).items()}
        self._distance = self._distances.get("", _PDQ_DISTANCE)
        self._is_serving = is_serving

    def status(self, path: str) -> PartnerAnswer | None:
        """Return the answer to a status route, which needs no token; None for another path."""
        match _segments(path):
            case ("status",) if not self._is_serving():
                return PartnerAnswer(503, b"INDEX-NOT-LOADED", _TEXT)
            case ("status",) | ("status", "live"):
                return PartnerAnswer(200, _ALIVE, _TEXT)
        return None

    def reads(self, verb: str, path: str) -> bool:
        """Whether a request changes nothing. What is looked up is written down only on demand, as all matching is."""
        return verb == "GET" or _segments(path)[:1] != ("c",)

    async def answer(self, request: PartnerRequest) -> PartnerAnswer:
        """Answer a request. Raises a HashHubError, which `refusal` words."""
        segments = _segments(request.path)
        handlers, given = _route(segments)
        handler = handlers.get(request.verb)
        if handler is None:
            allowed = ", ".join(handlers)
            return self.refused(405, f"the method must be one of {allowed}", ((b"allow", allowed.encode()),))
        return await handler(self, request, given)

    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return an error as HMA writes it."""
        return PartnerAnswer(status, json.dumps({"message": message}).encode(), headers=headers)

    def refusal(self, error: HashHubError, path: str = "") -> PartnerAnswer:
        """Return the answer that an error is."""
        answer = super().refusal(error, path)
        if _segments(path)[-1:] != ("lookup",):
            return answer
        # Matrix.org's policyserv looks at no status here and takes what it can decode for an answer in which no bank
        # that it knows is named: clean. A number beyond all others is JSON, and Go's decoder refuses it.
        return replace(answer, body=answer.body[:-1] + b', "not_an_answer": 1e999}')

    # Hashing

    async def hash(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Hash a picture or video: posted, or at an address that the operator allows."""
        return PartnerAnswer.json(await self._hashed(request, *await _file_of(request)))

    async def _hashed(self, request: PartnerRequest, kind: str, content: bytes) -> dict[str, str]:
        """Return the signal of a file by its type; none of a picture that shows too little to be told from others."""
        if kind == "video":
            return {"video_md5": (await asyncio.to_thread(_digest, "MD5", content)).hex()}
        options = self._options("PDQ")
        options.effort = v1.Effort.EFFORT_PLAIN
        asked = v1.MatchMediaRequest(media=v1.Media(content=content), options=options)
        result = (await request.ask("MatchService/MatchMedia", asked, v1.MatchMediaResponse)).result
        signal = _pdq(result)
        if not signal:
            raise _no_picture()
        return {"pdq": signal} if result.quality >= _QUALITY else {}

    # Matching

    async def lookup(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Name the banks that have a signal; or a file, posted or at an address, by the type of its signal."""
        if request.verb == "GET" and not request.query.get("url"):
            found, about = await self._signal(request)
            return PartnerAnswer.json(found, headers=about)
        kind, found, about = await self._file(request, *await _file_of(request))
        wanted = request.query.get("signal_type") if request.verb == "GET" else None
        if wanted is None:
            return PartnerAnswer.json({kind: found}, headers=about)
        _check_type(wanted)
        return PartnerAnswer.json(found if wanted == kind else {}, headers=about)

    async def raw_lookup(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """List what matches a signal, whichever its bank."""
        banked, about = await self._signal(request)
        found = [one for matches in banked.values() for one in matches]
        with_distance = request.query.get("include_distance", "").lower() in {"true", "1"}
        listed = found if with_distance else [one["bank_content_id"] for one in found]
        return PartnerAnswer.json({"matches": listed}, headers=about)

    async def _signal(self, request: PartnerRequest) -> tuple[_Found, Headers]:
        signal, kind = request.query.get("signal"), request.query.get("signal_type")
        if not signal or not kind:
            raise InvalidArgument.field("signal", "is required with `signal_type`, unless there is a `url`", "REQUIRED")
        return await self._banks(request, functools.partial(self._match, request, [_signal_of(kind, signal)]))

    async def _file(self, request: PartnerRequest, kind: str, content: bytes) -> tuple[str, _Found, Headers]:
        """Return a file's type of signal, the banks, and headers. What hits it by its bytes stands under its type, too:
        it is the file itself.
        """

        async def ask(policy: str) -> tuple[v1.MatchResult, v1.MatchHashesResponse | v1.MatchMediaResponse]:
            asked = v1.MatchMediaRequest(
                media=v1.Media(content=content), options=self._options("PDQ", policy), with_hash_sets=True
            )
            try:
                media = await request.ask("MatchService/MatchMedia", asked, v1.MatchMediaResponse)
            except InvalidArgument as e:
                if kind != "video" or e.reason is not Reason.UNREADABLE_MEDIA:
                    raise
                # HMA knows videos by their bytes alone, whatever they are.
                return await self._match(request, await asyncio.to_thread(_exact, content), policy)
            if kind == "photo" and not _pdq(media.result) and not media.result.result.matches:
                raise _no_picture()
            return media.result.result, media

        return _OF_CONTENT[kind], *await self._banks(request, ask)

    async def _match(
        self, request: PartnerRequest, asked: Sequence[Hash], policy: str
    ) -> tuple[v1.MatchResult, v1.MatchHashesResponse]:
        query = v1.Query(hashes=[v1.Hash(algorithm=one.algorithm, digest=one.digest) for one in asked])
        options = self._options(asked[0].algorithm, policy)
        by_hash = v1.MatchHashesRequest(query=query, options=options, with_hash_sets=True)
        given = await request.ask("MatchService/MatchHashes", by_hash, v1.MatchHashesResponse)
        return given.result, given

    def _options(self, algorithm: str, policy: str = "") -> v1.MatchOptions:
        options = v1.MatchOptions(policy=policy or self._policy, match_limit=_MOST_MATCHES)
        farthest = max((self._distance, *self._distances.values()))
        if algorithm == "PDQ" and farthest != _PDQ_DISTANCE:
            options.max_distances["PDQ"] = farthest
        return options

    async def _banks(
        self,
        request: PartnerRequest,
        ask: Callable[[str], Awaitable[tuple[v1.MatchResult, v1.MatchHashesResponse | v1.MatchMediaResponse]]],
    ) -> tuple[_Found, Headers]:
        """Return what matches by bank, and headers: of banks that are asked for, are not off, reach so far, and whose
        policy says so. `ask` matches by a policy; one besides that of the verdict is asked where a bank has it.
        """
        result, given = await ask(self._policy)
        banks_of = {one.name: HMABank.of(one, request.contributor) for one in given.hash_sets}
        policies = {name: self._policies.get(x.name, self._policies.get("", "")) for name, x in banks_of.items()}
        is_named = {"": _answered(result).verdict != v1.Verdict.VERDICT_BENIGN}
        for policy in sorted({*policies.values()} - {""}):
            is_named[policy] = _is_met(result if policy == self._policy else _answered((await ask(policy))[0]))
        named = request.query.get("banks")
        wanted = set(named.split(",")) if named else None
        with_statements = request.query.get("statements", "").lower() == "true"
        found: dict[str, dict[int, dict[str, Any]]] = {}
        unnamed: dict[str, None] = {}
        untold = {name for line in result.reasons if line.code == "DISTANCE_WITHHELD" for name in line.entries}
        for match in result.matches:
            hash_set = wire.hash_set_name(*wire.parse_entry(match.entry.name)[:2])
            bank = banks_of.get(hash_set)
            if bank is None or (wanted is not None and bank.name not in wanted) or not bank.ratio:
                continue
            reach = self._distances.get(bank.name, self._distance)
            if match.algorithm == "PDQ" and match.distance > reach and match.entry.name not in untold:
                continue
            if contents.is_disabled(match.entry, time.time()):
                continue
            if not is_named[policies[hash_set]]:
                unnamed[bank.name] = None
                continue
            number = bank.content_id(match.entry)
            one = {"bank_content_id": number, "distance": str(match.distance)}
            if with_statements:
                one["statement"] = json_format.MessageToDict(match)
            found.setdefault(bank.name, {}).setdefault(number, one)  # the nearest comes first
        if result.truncated and not found:
            told = f"more than {_MOST_MATCHES} entries match, and those that are asked for may be among others"
            raise Unavailable(told)
        banked = {name: list(matches.values()) for name, matches in found.items()}
        headers = ((b"hashhub-unnamed", ",".join(unnamed).encode()),) if unnamed else ()
        return banked, (*_about(result, given.policy, given.revision), *headers)

    async def compare(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Tell how far two signals are apart, for each type that is given."""
        answer: dict[str, Any] = {}
        for kind, pair in (await request.read_json()).items():
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):  # noqa: PLR2004 - a pair
                raise InvalidArgument.field(kind[:40], "must be a list of exactly two signals", "PATTERN")
            distance = hashes.distance(*(_signal_of(kind, one) for one in pair))
            if kind == "pdq":
                answer[kind] = [distance <= self._distance, {"distance": distance}]
            else:
                answer[kind] = [distance == 0, {}]
        return PartnerAnswer.json(answer)

    async def index_status(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Tell the state of what is searched, by type."""
        sizes = await self._sizes(request)
        ready = self._is_serving()
        built = int(time.time()) if ready else -1  # withdrawn and added entries count at once
        return PartnerAnswer.json(
            {kind: {"present": ready, "built_to": built, "size": size} for kind, size in sizes.items()}
        )

    async def signal_type_index(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Tell the same as HMA's curator does."""
        sizes = await self._sizes(request)
        ready, at = self._is_serving(), int(time.time())
        return PartnerAnswer.json({
            kind: {
                "db_size": size, "index_size": size, "index_out_of_date": not ready, "newest_db_item": at,
                "index_built_to": at if ready else -1,
            }
            for kind, size in sizes.items()
        })  # fmt: skip

    async def _sizes(self, request: PartnerRequest) -> dict[str, int]:
        """Return how many digests are searched by type, for who oversees the hub; -1 for all others."""
        kinds = list(SIGNAL_TYPES)
        if (only := request.query.get("signal_type")) is not None:
            _check_type(only)
            kinds = [only]
        if not request.oversees:
            return dict.fromkeys(kinds, -1)
        status = await request.ask("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)
        counts = {one.algorithm: one.digest_count for one in status.algorithms}
        return {kind: counts.get(SIGNAL_TYPES[kind], 0) for kind in kinds}

    # Banks

    async def list_banks(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """List the banks that the caller may see."""
        return PartnerAnswer.json([bank.config for bank in await banks.listed(request)])

    async def create_bank(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """Create a bank of the caller's contributor."""
        bank = await banks.create(request, await request.read_json(), self._purpose)
        return PartnerAnswer.json(bank.config, 201)

    async def get_bank(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Give one bank."""
        return PartnerAnswer.json((await banks.named(request, given[0])).config)

    async def update_bank(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Rename a bank, or switch it."""
        bank = await banks.named(request, given[0])
        return PartnerAnswer.json((await banks.update(request, bank, await request.read_json())).config)

    async def delete_bank(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Delete a bank; one that is not there is deleted."""
        await banks.delete(request, given[0])
        return PartnerAnswer.json({"message": "Done"})

    # Contents of banks

    async def add_content(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Add a posted file, or the file at an address, to a bank."""
        bank = await banks.own(request, given[0])
        said: Mapping[str, Any] = {}
        if request.query.get("url"):
            said = await request.read_json() if request.media_type == "application/json" else {}
            notes = contents.Notes.read(said)
            kind, content = await _fetched(request)
        else:
            form = await request.read_form()
            notes = contents.Notes.read_form(form.fields)
            kind, content = _one_file(form.files)
        signals = await self._hashed(request, kind, content)
        if not signals:
            told = "shows too little to be told from others, and would match them; nothing was added"
            raise InvalidArgument.field(kind, told, "NOT_A_PICTURE")
        return await self._added(request, bank, _signals(signals), notes)

    async def add_signal(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Add signals of one item to a bank."""
        bank = await banks.own(request, given[0])
        said = await request.read_json()
        notes = contents.Notes.read({"note": said.pop("note", None)})
        if not said:
            raise InvalidArgument.field("body", 'has no signals; send {"pdq": …}', "REQUIRED")
        return await self._added(request, bank, _signals(said), notes)

    async def _added(
        self, request: PartnerRequest, bank: HMABank, signals: Mapping[str, Hash], notes: contents.Notes
    ) -> PartnerAnswer:
        """Add an item. That it waits for a person before it matches, HMA has no word for: a header says it."""
        content = await contents.add(request, bank, signals, notes)
        said = {kind: one.digest.hex() for kind, one in signals.items()}
        headers: Headers = ()
        if content.entry.state == v1.EntryState.ENTRY_STATE_QUARANTINED:
            headers = ((b"hashhub-quarantined", ",".join(content.entry.reasons).encode("ascii", "replace")),)
        return PartnerAnswer.json({"id": bank.content_id(content.entry), "signals": said}, headers=headers)

    async def get_content(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Give one content of a bank."""
        bank = await banks.own(request, given[0])
        content = await contents.get(request, bank, given[1])
        return PartnerAnswer.json(
            content.shown(
                with_signals=request.query.get("include_signals", "").lower() == "true",
                with_metadata=request.query.get("include_metadata", "true").lower() == "true",
                names={algorithm: kind for kind, algorithm in SIGNAL_TYPES.items()},
            )
        )

    async def update_content(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Disable a content until a time, enable it, or change its note."""
        bank = await banks.own(request, given[0])
        content = await contents.get(request, bank, given[1])
        return PartnerAnswer.json(await contents.update(request, content, await request.read_json()))

    async def delete_content(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Withdraw a content: it matches nothing from now on."""
        bank = await banks.own(request, given[0])
        return PartnerAnswer.json({"deleted": await contents.delete(request, bank, given[1])})

    # What HMA's curator says of itself

    async def signal_types(self, _: PartnerRequest, __: tuple[str, ...]) -> PartnerAnswer:
        """List the types of signals."""
        return PartnerAnswer.json([{"name": name, "enabled_ratio": 1.0} for name in SIGNAL_TYPES])

    async def content_types(self, _: PartnerRequest, __: tuple[str, ...]) -> PartnerAnswer:
        """List the types of contents."""
        return PartnerAnswer.json([{"name": name, "enabled": True} for name in _OF_CONTENT])

    # Exchanges: sources, each by the name of its bank

    async def list_exchanges(self, request: PartnerRequest, _: tuple[str, ...]) -> PartnerAnswer:
        """List the exchanges that the caller may see."""
        return PartnerAnswer.json(list(await exchanges.listed(request)))

    async def get_exchange(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Give what an exchange is."""
        source = await exchanges.named(request, given[0])
        return PartnerAnswer.json({"name": given[0], "api": exchanges.api_of(source.protocol), "enabled": True})

    async def exchange_status(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Give how far an exchange is."""
        return PartnerAnswer.json(exchanges.fetch_status(await exchanges.named(request, given[0])))

    async def list_exchange_apis(self, _: PartnerRequest, __: tuple[str, ...]) -> PartnerAnswer:
        """List what can be exchanged with."""
        return PartnerAnswer.json(list(exchanges.APIS))

    async def get_exchange_api(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Say whether a sort of exchange takes credentials, and whether a source that the caller may see has some."""
        api = exchanges.checked_api(given[0])
        has_some = any(one.has_credentials for one in await exchanges.sources(request) if one.protocol == api.protocol)
        return PartnerAnswer.json({
            "supports_authentification": bool(api.credentials), "has_set_authentification": has_some
        })  # fmt: skip

    async def exchange_api_schema(self, _: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Give what a sort of exchange is configured with, where sources are made."""
        return PartnerAnswer.json(exchanges.checked_api(given[0]).schema)

    async def refuse_exchange(self, _: PartnerRequest, __: tuple[str, ...]) -> PartnerAnswer:
        """Say where exchanges are made and changed."""
        raise exchanges.refused()

    async def delete_exchange(self, request: PartnerRequest, given: tuple[str, ...]) -> PartnerAnswer:
        """Say where an exchange is removed; one that is not there is, as at an HMA."""
        if given[0] in await exchanges.listed(request):
            raise exchanges.refused()
        return PartnerAnswer.json({"message": "Exchange deleted"})


_ANY: Final = "*"
_ROUTES: Final[tuple[tuple[tuple[str, ...], Mapping[str, _Handler]], ...]] = (
    (("h", "hash"), {"GET": HMADoor.hash, "POST": HMADoor.hash}),
    (("m", "lookup"), {"GET": HMADoor.lookup, "POST": HMADoor.lookup}),
    (("m", "raw_lookup"), {"GET": HMADoor.raw_lookup}),
    (("m", "compare"), {"POST": HMADoor.compare}),
    (("m", "index", "status"), {"GET": HMADoor.index_status}),
    (("c", "banks"), {"GET": HMADoor.list_banks, "POST": HMADoor.create_bank}),
    (("c", "bank", _ANY), {"GET": HMADoor.get_bank, "PUT": HMADoor.update_bank, "DELETE": HMADoor.delete_bank}),
    (("c", "bank", _ANY, "content"), {"POST": HMADoor.add_content}),
    (("c", "bank", _ANY, "signal"), {"POST": HMADoor.add_signal}),
    (
        ("c", "bank", _ANY, "content", _ANY),
        {"GET": HMADoor.get_content, "PUT": HMADoor.update_content, "DELETE": HMADoor.delete_content},
    ),
    (("c", "exchanges"), {"GET": HMADoor.list_exchanges, "POST": HMADoor.refuse_exchange}),
    (("c", "exchanges", "apis"), {"GET": HMADoor.list_exchange_apis}),
    (("c", "exchanges", "api", _ANY), {"GET": HMADoor.get_exchange_api, "POST": HMADoor.refuse_exchange}),
    (("c", "exchanges", "api", _ANY, "schema"), {"GET": HMADoor.exchange_api_schema}),
    (
        ("c", "exchange", _ANY),
        {"GET": HMADoor.get_exchange, "PUT": HMADoor.refuse_exchange, "DELETE": HMADoor.delete_exchange},
    ),
    (("c", "exchange", _ANY, "status"), {"GET": HMADoor.exchange_status}),
    (("c", "signal_type"), {"GET": HMADoor.signal_types}),
    (("c", "signal_type", "index"), {"GET": HMADoor.signal_type_index}),
    (("c", "content_type"), {"GET": HMADoor.content_types}),
)


def _segments(path: str) -> tuple[str, ...]:
    """Return the parts of a path; Coop's begin with two slashes."""
    return tuple(part for part in path.split("/") if part)


def _route(segments: tuple[str, ...]) -> tuple[Mapping[str, _Handler], tuple[str, ...]]:
    """Return a path's handlers by verb, and what stands in it. Raises NotFound."""
    for pattern, handlers in _ROUTES:
        if len(pattern) == len(segments) and all(p in {_ANY, s} for p, s in zip(pattern, segments, strict=True)):
            return handlers, tuple(s for p, s in zip(pattern, segments, strict=True) if p == _ANY)
    raise NotFound("there is no such route; docs/match/hma.md lists those of HMA that there are", kind="Route", name="")


def _signal_of(kind: str, signal: str) -> Hash:
    _check_type(kind)
    try:
        return hashes.parse(SIGNAL_TYPES[kind], signal)
    except InvalidArgument as e:
        raise InvalidArgument.field("signal", f"invalid signal: {e.message}", "NOT_ENCODED") from e


def _signals(given: Mapping[str, Any]) -> dict[str, Hash]:
    """Return signals by their type. Raises InvalidArgument for one that is none."""
    if wrong := [kind for kind, text in given.items() if not isinstance(text, str)]:
        raise InvalidArgument.field(wrong[0][:40], "must be a text", "PATTERN")
    return {kind: _signal_of(kind, text) for kind, text in given.items()}


def _check_type(kind: str) -> None:
    if kind not in SIGNAL_TYPES:
        known = ", ".join(SIGNAL_TYPES)
        raise InvalidArgument.field("signal_type", f"No such SignalType {kind[:40]!r}; there are {known}", "NOT_FOUND")


async def _file_of(request: PartnerRequest) -> tuple[str, bytes]:
    if request.verb == "GET":
        return await _fetched(request)
    return _one_file((await request.read_form()).files)


def _one_file(files: tuple[tuple[str, bytes], ...]) -> tuple[str, bytes]:
    if len(files) != 1:
        text = "Only one file allowed per request" if files else "Missing multipart/form-data file upload"
        raise InvalidArgument.field("photo", f"{text}, in the field `photo` or `video`", "REQUIRED")
    kind, content = files[0]
    return _content_type(kind), content


def _content_type(kind: str) -> str:
    if kind not in _OF_CONTENT:
        raise InvalidArgument.field("content_type", f"no such content_type: {kind[:40]!r}; photo or video", "NOT_FOUND")
    return kind


async def _fetched(request: PartnerRequest) -> tuple[str, bytes]:
    url = request.query.get("url")
    if not url:
        raise InvalidArgument.field("url", "is required", "REQUIRED")
    kind = request.query.get("content_type", "")
    if kind:
        _content_type(kind)
    content, media_type = await request.fetch(url)
    if not kind:
        kind = {"image": "photo", "video": "video"}.get(media_type.partition("/")[0].lower(), "")
        if not kind:
            told = f"unsupported url ContentType: {media_type[:40]!r}; name it by content_type"
            raise InvalidArgument.field("url", told, "NOT_ALLOWED")
    return kind, content


def _pdq(result: v1.MediaResult) -> str:
    return next((h.digest.hex() for h in result.hashes if h.algorithm == "PDQ"), "")


def _no_picture() -> InvalidArgument:
    return InvalidArgument(
        "photo: no picture could be read in the file, so that it is not known to be clean; send a picture, or a video "
        "in the field `video`",
        reason=Reason.UNREADABLE_MEDIA,
    )


def _answered(result: v1.MatchResult) -> v1.MatchResult:
    """Return the result. Raises Unavailable where nobody could look, which is never `{}`."""
    if result.verdict in _UNANSWERED:
        said = "; ".join(reason.text for reason in result.reasons)
        raise Unavailable(f"this could not be looked for, and is not known to be clean: {said or 'try again'}")
    return result


def _is_met(result: v1.MatchResult) -> bool:
    """Return whether a policy says MATCH, or might have if it had judged all that there is."""
    is_match = result.verdict == v1.Verdict.VERDICT_MATCH
    return is_match or any(reason.code in _IN_PART for reason in result.reasons)


def _about(result: v1.MatchResult, policy: str, revision: int) -> Headers:
    """Return what hashhub knows beyond HMA, as headers."""
    codes = ",".join(dict.fromkeys(reason.code for reason in result.reasons))
    verdict = v1.Verdict.Name(result.verdict).removeprefix("VERDICT_")
    said = {"verdict": verdict, "policy": policy, "revision": str(revision), "reasons": codes}
    said |= {name: "true" for name in ("withheld", "truncated") if getattr(result, name)}
    return tuple((f"hashhub-{name}".encode(), value.encode("ascii", "replace")) for name, value in said.items())


def _digest(algorithm: str, content: bytes) -> bytes:
    return hashlib.new(algorithm, content, usedforsecurity=False).digest()


def _exact(content: bytes) -> list[Hash]:
    return [Hash(name, _digest(name, content)) for name in ("MD5", "SHA1", "SHA256")]
