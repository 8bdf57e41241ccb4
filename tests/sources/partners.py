"""Partners on loopback, which keep items, page them as their protocols say, and misbehave where a test wants it."""

from __future__ import annotations

import base64
import json
import random
import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

SECRET = "open sesame"  # noqa: S105 - of the mock
_NCMEC = "https://hashsharing.ncmec.org/hashsharing/v2"


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Item:
    """`digests`: by algorithm. `time`: of the last change, in seconds."""

    id: str
    digests: dict[str, str]
    time: int
    value: str
    is_gone: bool = False


@dataclass
class MockPartner(ABC):
    """`answer`: what takes the place of the protocol's own answer, when a test sets it; None: the own one."""

    items: dict[str, Item] = field(default_factory=dict)
    clock: int = 1_700_000_000
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Reply | None] = lambda _: None
    url: str = ""

    protocol: ClassVar[str]
    scheme: ClassVar[str] = ""
    credentials: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[tuple[str, str], ...]] = ()
    algorithms: ClassVar[tuple[str, ...]] = ("PDQ",)
    values: ClassVar[tuple[str, ...]] = ("x",)
    comes_back: ClassVar[bool] = True

    @abstractmethod
    def own_answer(self, asked: Asked) -> Reply:
        """Answer as the partner does when it behaves."""

    def add(self, rng: random.Random) -> Item:
        self.clock += 1
        sizes = {"PDQ": 32, "MD5": 16, "SHA1": 20}
        digests = {name: rng.randbytes(sizes[name]).hex() for name in self.algorithms}
        one = Item(str(uuid.UUID(bytes=rng.randbytes(16), version=4)), digests, self.clock, rng.choice(self.values))
        self.items[one.id] = one
        return one

    def change(self, rng: random.Random) -> None:
        """Make one change at random."""
        standing = [i for i in self.items.values() if not i.is_gone]
        gone = [i for i in self.items.values() if i.is_gone]
        what = rng.random()
        if what < 0.5 or len(standing) < 3:
            self.add(rng)
        elif what < 0.75:
            self.remove(rng.choice(standing))
        elif what < 0.85 and gone and self.comes_back:
            self.touch(rng.choice(gone), is_gone=False)
        else:
            self.touch(rng.choice(standing), value=rng.choice(self.values))

    def remove(self, item: Item) -> None:
        self.touch(item, is_gone=True)

    def touch(self, item: Item, **fields: Any) -> None:
        self.clock += 1
        item.time = self.clock
        for name, value in fields.items():
            setattr(item, name, value)

    def digests(self) -> set[bytes]:
        return {bytes.fromhex(d) for i in self.items.values() if not i.is_gone for d in i.digests.values()}

    def since(self, time: int) -> list[Item]:
        return sorted((i for i in self.items.values() if i.time >= time), key=lambda i: i.time)

    @contextmanager
    def serving(self) -> Iterator[MockPartner]:
        partner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(
                    parts.path,
                    dict(parse_qsl(parts.query, keep_blank_values=True)),
                    {k.lower(): v for k, v in self.headers.items()},
                )
                partner.asked.append(asked)
                reply = partner.answer(asked) or partner.own_answer(asked)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/base"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _json(value: object, **headers: str) -> Reply:
    return Reply(200, json.dumps(value).encode(), {"content-type": "application/json", **headers})


def _is_basic(asked: Asked) -> bool:
    word = base64.b64encode(f"{SECRET}:{SECRET}".encode()).decode()
    return asked.headers.get("authorization") == f"Basic {word}"


class StopNCIIPartner(MockPartner):
    protocol = "stopncii"
    credentials = ("functions_key", "subscription_key")
    values = ("Received", "Active")

    def own_answer(self, asked: Asked) -> Reply:
        keys = asked.headers.get("x-functions-key"), asked.headers.get("ocp-apim-subscription-key")
        if asked.path != "/base/FetchHashes" or keys != (SECRET, SECRET):
            return Reply(401, b"")
        size = int(asked.query["pageSize"])
        start = asked.query["startTimestamp"]
        of, _, after = asked.query.get("nextPageToken", f"{start}-{start}").partition("-")
        if of != start:
            return Reply(400, b"")  # a token is of one question
        items = self.since(int(after))
        page, more = items[:size], len(items) > size
        return _json(
            {
                "count": len(page),
                "nextPageToken": f"{start}-{items[size].time}" if more else None,
                "nextSetTimestamp": self.clock,
                "hasMoreRecords": more,
                "hashRecords": [
                    {
                        "lastModtimestamp": i.time,
                        "signalType": "ImagePDQ",
                        "hashValue": i.digests["PDQ"],
                        "hashStatus": "Withdrawn" if i.is_gone else i.value,
                        "caseNumbers": {"1": "Active"},
                        "CSPFeedbacks": [],
                    }
                    for i in page
                ],
            }
        )


class NCMECPartner(MockPartner):
    protocol = "ncmec"
    scheme = "ncmec-industry"
    credentials = ("user", "password")
    algorithms = ("MD5", "PDQ")
    values = ("A1", "A2", "B1", "B2")

    def own_answer(self, asked: Asked) -> Reply:
        if asked.path != "/base/v2/entries" or not _is_basic(asked):
            return Reply(401, b"")
        begin, until = (datetime.fromisoformat(asked.query[name]).timestamp() for name in ("from", "to"))
        items = [i for i in self.since(int(begin)) if i.time <= until]
        items.sort(key=lambda i: i.id)  # in no order of time
        start = int(asked.query.get("start", 1)) - 1
        page, more = items[start : start + 7], start + 7 < len(items)
        link = ""
        if more:
            query = urlencode({**asked.query, "start": start + 8, "size": 7, "max": len(items)}).replace("&", "&amp;")
            link = f"<paging><next>/v2/entries?{query}</next></paging>"
        listed = "".join(map(self.entry, page))
        return Reply(
            200, f'<queryResult xmlns="{_NCMEC}"><images>{listed}</images><videos/>{link}</queryResult>'.encode()
        )

    @staticmethod
    def entry(i: Item) -> str:
        time = datetime.fromtimestamp(i.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        head = f'<member id="9001">Synthetic</member><timestamp>{time}</timestamp><id>{i.id}</id>'
        if i.is_gone:
            return f"<deletedImage>{head}</deletedImage>"
        prints = "".join(f"<{name.lower()}>{digest}</{name.lower()}>" for name, digest in i.digests.items())
        return f"<image>{head}<classification>{i.value}</classification><fingerprints>{prints}</fingerprints></image>"


class ThreatExchangePartner(MockPartner):
    protocol = scheme = "threatexchange"
    credentials = ("access_token",)
    values = ("MALICIOUS", "INVESTIGATION_SEED")

    def own_answer(self, asked: Asked) -> Reply:
        if asked.path != "/base/threat_updates/" or asked.query.get("access_token") != SECRET:
            return Reply(401, b"")
        items, size = self.since(int(asked.query.get("after") or asked.query["start_time"])), int(asked.query["limit"])
        page, more = items[:size], len(items) > size
        query = urlencode({**asked.query, "after": items[size].time if more else 0})
        paging = {"paging": {"next": f"{self.url}/threat_updates/?{query}"}} if more else {}
        return _json({"data": [self.update(i) for i in page], **paging})

    @staticmethod
    def update(i: Item) -> dict[str, object]:
        head = {"id": str(uuid.UUID(i.id).int % 10**15), "indicator": i.digests["PDQ"], "type": "HASH_PDQ"}
        if i.is_gone:
            return {**head, "last_updated": i.time, "should_delete": True}
        descriptor = {"id": "2", "owner": {"id": "99"}, "status": i.value, "tags": {"data": []}}
        return {**head, "last_updated": i.time, "should_delete": False, "descriptors": {"data": [descriptor]}}


class TAXIIPartner(MockPartner):
    protocol = "taxii"
    credentials = ("user", "password")
    options = (("classified", "no"),)
    algorithms = ("MD5",)
    comes_back = False  # a revocation is for good

    def own_answer(self, asked: Asked) -> Reply:
        media = "application/taxii+json;version=2.1"
        if asked.path != "/base/objects/" or not _is_basic(asked) or asked.headers.get("accept") != media:
            return Reply(401, b"")
        after = asked.query.get("added_after")
        since = int(datetime.fromisoformat(after).timestamp()) + 1 if after else 0
        of, _, begin = asked.query.get("next", f"{since}-{since}").partition("-")
        if of != str(since):
            return Reply(400, b"")  # a token is of one question
        items, size = self.since(int(begin)), int(asked.query["limit"])
        page, more = items[:size], len(items) > size
        headers = {"x-taxii-date-added-last": _stix_time(page[-1].time)} if page else {}
        envelope: dict[str, object] = {"objects": [self.indicator(i) for i in page]} if page else {}
        envelope |= {"more": True, "next": f"{since}-{items[size].time}"} if more else {}
        return Reply(200, json.dumps(envelope).encode(), {"content-type": media, **headers})

    @staticmethod
    def indicator(i: Item) -> dict[str, object]:
        return {
            "type": "indicator", "spec_version": "2.1", "id": f"indicator--{i.id}",
            "created": _stix_time(1_700_000_000), "modified": _stix_time(i.time),
            "valid_from": _stix_time(1_700_000_000),
            "pattern": f"[file:hashes.MD5 = '{i.digests['MD5']}']", "pattern_type": "stix",
            **({"revoked": True} if i.is_gone else {}),
        }  # fmt: skip


def _stix_time(time: int) -> str:
    return (datetime.fromtimestamp(time, UTC) + timedelta(0)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class MISPPartner(MockPartner):
    protocol = "misp"
    options = (("classified", "no"),)
    algorithms = ("MD5",)

    def events(self) -> dict[str, list[Item]]:
        """Return the items by event: one for each first digit of an id."""
        events: dict[str, list[Item]] = {}
        for i in self.items.values():
            events.setdefault(f"{i.id[0] * 8}-0000-4000-8000-000000000000", []).append(i)
        return {key: listed for key, listed in events.items() if not all(i.is_gone for i in listed)}

    def own_answer(self, asked: Asked) -> Reply:
        events = self.events()
        if asked.path == "/base/manifest.json":
            return _json({k: {"info": "synthetic", "timestamp": max(i.time for i in v)} for k, v in events.items()})
        key = re.fullmatch(r"/base/(.*)\.json", asked.path)
        if key is None or key[1] not in events:
            return Reply(404, b"")
        listed = events[key[1]]
        attributes = [
            {"type": "md5", "category": "Payload delivery", "value": i.digests["MD5"], "uuid": i.id, "to_ids": True,
             "timestamp": str(i.time)}
            for i in listed if not i.is_gone
        ]  # fmt: skip
        time = str(max(i.time for i in listed))
        return _json({"Event": {"uuid": key[1], "info": "synthetic", "timestamp": time, "Attribute": attributes}})


PARTNERS = (StopNCIIPartner, NCMECPartner, ThreatExchangePartner, TAXIIPartner, MISPPartner)
