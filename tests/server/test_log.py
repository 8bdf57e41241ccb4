"""The log and its receipts at the doors."""

from __future__ import annotations

import hashlib
import http.client

from hashhub import v1
from hashhub.tlog.checkpoint import parse_checkpoint
from hashhub.tlog.note import parse_key
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.proof import parse_log_proof
from tests.server.conftest import Served


def _get(served: Served, path: str, verb: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(served.doors.http_address, timeout=30)
    try:
        connection.request(verb, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_strangers_read_the_log_and_nothing_else(served: Served) -> None:
    status, headers, body = _get(served, "/log/checkpoint")
    checkpoint, note = parse_checkpoint(body)
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert note.signers([parse_key(served.hub.log.view().verifier_key)])
    width = min(checkpoint.size, 255)
    for path, size in ((f"0/000.p/{width}", 32), (f"entries/000.p/{width}", 34)):
        status, headers, body = _get(served, f"/log/tile/{path}")
        assert (status, len(body), headers["content-type"]) == (200, size * width, "application/octet-stream")
        assert headers["cache-control"] == "no-store"  # a new log has the same paths
    for path, code in (("tile/0/x999/999", 404), ("tile/0/1", 400), ("", 400), ("../log.key", 400), ("tile", 400)):
        assert _get(served, f"/log/{path}")[0] == code, path
    assert _get(served, "/log/checkpoint", "POST")[0] == 405


def test_a_receipt_is_got_by_its_event(served: Served) -> None:
    served.new_contributor("receipted")
    events = served.call("HistoryService/ListEvents", v1.ListEventsRequest(page_size=1), v1.ListEventsResponse)
    receipt = served.call("HistoryService/GetReceipt", v1.GetReceiptRequest(name=events.events[0].name), v1.Receipt)
    policy = parse_policy(f"log {served.hub.log.view().verifier_key}\nquorum none".encode())
    believed = parse_log_proof(receipt.proof).verify(hashlib.sha256(receipt.content).digest(), policy)
    assert believed.checkpoint.size >= events.events[0].event_revision
