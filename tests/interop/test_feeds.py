"""Feeds in partners' formats, taken by the `threatexchange` package as it is published."""

from __future__ import annotations

import time
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from hashhub.model import EntryState, Principal, ReviewKind, Role, number_of
from tests.hub.conftest import OPERATOR
from tests.partners.feeding import LIST, Feeding
from tests.server.conftest import Serve, patient_matchers, serve_hub

__all__ = ["patient_matchers", "serve_hub"]

requests = pytest.importorskip("requests")
pytest.importorskip("threatexchange")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def feeding(serve_hub: Serve) -> Feeding:
    return Feeding.of(serve_hub())


class Copy:
    """What the package keeps of an exchange, as its command line does."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.state: dict[Any, Any] = {}
        self.checkpoint: Any = None

    def fetch(self, most_pages: int = 1000) -> None:
        for delta, _ in zip(self.api.fetch_iter([], self.checkpoint), range(most_pages), strict=False):
            for key, value in delta.updates.items():
                merged = self.api.fetch_value_merge(self.state.get(key), value)
                if merged is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = merged
            self.checkpoint = delta.checkpoint


def threatexchange(feeding: Feeding) -> Copy:
    from threatexchange.exchanges.clients.fb_threatexchange.api import ThreatExchangeAPI
    from threatexchange.exchanges.impl import fb_threatexchange_api as impl

    client = ThreatExchangeAPI(f"12345678|{feeding.token}", endpoint_override=f"{feeding.url}/threatexchange/line/list")
    config = impl.FBThreatExchangeCollabConfig(name="hub", privacy_group=1)
    return Copy(impl.FBThreatExchangeSignalExchangeAPI(client, config))


def ncmec(feeding: Feeding) -> Copy:
    from threatexchange.exchanges.impl import ncmec_api as impl

    environment = SimpleNamespace(value=f"{feeding.url}/ncmec/line/list")  # the package's own are an enumeration
    config = impl.NCMECCollabConfig(name="hub", environment=environment)
    return Copy(impl.NCMECSignalExchangeAPI(config, "any", feeding.token))


def as_ncmec(feeding: Feeding) -> dict[str, set[str]]:
    return {str(number_of(e.id)): {h.digest.hex() for h in e.hashes} for e in feeding.standing() if e.media_type}


def test_ncmecs_client_stays_equal_over_random_changes(feeding: Feeding) -> None:
    random = Random(8)
    copy = ncmec(feeding)
    feeding.add(random, 300)
    for number in range(500):
        feeding.change(random)
        if number % 50 == 49:
            time.sleep(6)  # the package asks up to five seconds ago, and for no window that is empty
            copy.fetch()
            told = {u.id.rpartition("/")[2]: set(u.fingerprints.values()) for u in copy.state.values()}
            assert told == as_ncmec(feeding)
    client = copy.api.get_client(copy.api.collab.environment)
    assert client.status() == client.members()[0]


def test_ncmecs_client_gives_feedback(feeding: Feeding) -> None:
    """Its reader of reasons looks for the document's root within the document, so that a reason is given to it."""
    from threatexchange.exchanges.clients.ncmec.hash_api import FeedbackType, FingerprintType, NCMECEndpoint

    feeding.contribute(*(feeding.record(Random(n)) for n in range(9)))
    copy = ncmec(feeding)
    copy.fetch()
    wanted = Principal(name="voter", role=Role.CONTRIBUTOR, contributor="reader", may_mirror=True)
    _, feeding.token = feeding.desk.hub.tokens.create(OPERATOR, wanted)
    api = ncmec(feeding).api
    client = api.get_client(api.collab.environment)
    first, second, *_ = copy.state.values()
    client.submit_upvote(first.member_id, first.id, FingerprintType.md5)
    reasons = client._get(NCMECEndpoint.feedback, path="PDQ/reasons")
    guid = next(one.get("guid") for one in reasons if one.get("name") == "False positive")
    for _ in range(2):
        client.submit_feedback(second.member_id, second.id, FingerprintType.pdq, FeedbackType.downvote, guid)
    stated = [feeding.desk.hub.reviews.list(OPERATOR, "line", *number(u.id), 9, 0)[0] for u in (first, second)]
    assert [[(r.author, r.kind) for r in about] for about in stated] == [
        [("reader", ReviewKind.CONFIRMED)], [("reader", ReviewKind.FALSE_POSITIVE)],
    ]  # fmt: skip


def number(told: str) -> tuple[str, int]:
    hash_set, _, own = told.rpartition("/")
    return hash_set, int(own)


def as_threatexchange(feeding: Feeding) -> set[tuple[str, str]]:
    types = {("MD5", True): "HASH_VIDEO_MD5", ("MD5", False): "HASH_MD5"}
    return {
        (types.get((h.algorithm, e.media_type.startswith("video")), "HASH_PDQ"), h.digest.hex())
        for e in feeding.standing()
        for h in e.hashes
    }


@pytest.mark.parametrize("seed", range(2))
def test_threatexchange_stays_equal_over_random_changes(feeding: Feeding, seed: int) -> None:
    """Also where it breaks off between two pages, and where the terms are taken back for a time."""
    random = Random(seed)
    copy = threatexchange(feeding)
    feeding.add(random, 300)
    is_shared = True
    for number in range(500):
        feeding.change(random)
        if number % 100 == 99:
            is_shared = not is_shared
            feeding.share(bulk=is_shared)
        if random.random() < 0.15:
            fetch(copy, most_pages=1, is_shared=is_shared)
        if number % 25 == 24:
            fetch(copy, is_shared=is_shared)
            assert copy.state.keys() == (as_threatexchange(feeding) if is_shared else set())
    feeding.share(bulk=True)
    feeding.add(random, 3)
    copy.fetch()
    assert copy.state.keys() == as_threatexchange(feeding)


def fetch(copy: Copy, most_pages: int = 1000, *, is_shared: bool) -> None:
    try:
        copy.fetch(most_pages)
    except requests.HTTPError as e:
        assert not is_shared
        assert e.response.status_code == 404


def test_the_packages_client_learns_what_group_it_reads(feeding: Feeding) -> None:
    client = threatexchange(feeding).api.client
    (group,) = client.get_threat_privacy_groups_member()
    assert (group.name, group.threat_updates_enabled) == ("line/list", True)
    assert client.get_privacy_group(int(group.id)) == group


def test_stopnciis_client_is_told_each_withdrawal(serve_hub: Serve) -> None:
    """By its answers. What the package itself makes of them keeps withdrawn hashes."""
    from threatexchange.exchanges.clients.stopncii.api import StopNCIIAPI, StopNCIICaseStatus, StopNCIISignalType
    from threatexchange.exchanges.collab_config import CollaborationConfigBase
    from threatexchange.exchanges.impl import stop_ncii_api as impl

    feeding, random = Feeding.of(serve_hub(), is_ncii=True), Random(5)
    credentials = impl.StopNCIICredentials._from_str(f"{feeding.token},any,{feeding.url}/stopncii/line/list")
    assert credentials is not None
    api = impl.StopNCIISignalExchangeAPI.for_collab(
        CollaborationConfigBase(name="hub", api="stop_ncii", enabled=True), credentials
    )
    assert isinstance(api.api, StopNCIIAPI)
    copy = Copy(api)
    told: dict[tuple[StopNCIISignalType, str], StopNCIICaseStatus] = {}
    since = StopNCIIAPI.DEFAULT_START_TIME
    for number in range(150):
        feeding.change(random)
        if number % 15 != 14:
            continue
        copy.fetch()
        for answer in api.api.fetch_hashes_iter(start_timestamp=since):
            assert answer.count == len(answer.hashRecords)
            told |= {(r.signalType, r.hashValue): r.hashStatus for r in answer.hashRecords}
            since = answer.nextSetTimestamp
        stands = {key for key, status in told.items() if status is StopNCIICaseStatus.Active}
        expected = {
            (StopNCIISignalType.ImagePDQ if h.algorithm == "PDQ" else StopNCIISignalType.VideoMD5, h.digest.hex())
            for e in feeding.standing()
            for h in e.hashes
            if h.algorithm == "PDQ" or e.media_type.startswith("video")
        }
        assert stands == expected
        assert {h for _, h in copy.state} >= {h for _, h in expected}
    assert StopNCIICaseStatus.Withdrawn in told.values()


def test_stopnciis_client_submits_hashes_and_feedback(serve_hub: Serve) -> None:
    from threatexchange.exchanges.clients.stopncii import api

    feeding = Feeding.of(serve_hub(), is_ncii=True)
    feeding.contribute(feeding.record(Random(1)))
    (one,) = feeding.standing()
    pdq, submitted = next(h.digest.hex() for h in one.hashes if h.algorithm == "PDQ"), Random(2).randbytes(32).hex()

    def client(contributor: str) -> Any:
        wanted = Principal(name=f"{contributor}-writes", role=Role.CONTRIBUTOR, contributor=contributor)
        _, token = feeding.desk.hub.tokens.create(OPERATOR, wanted)
        keys = dict.fromkeys(api.StopNCIIEndpoint, token)
        return api.StopNCIIAPI("any", token, keys, f"{feeding.url}/stopncii/line/list")

    line, reader = client("line"), client("reader")
    for _ in range(2):
        line.submit_hash(api.StopNCIISignalType.ImagePDQ, submitted, {"tag"})
    assert [h.digest.hex() for e in feeding.desk.entries(LIST, EntryState.QUARANTINED) for h in e.hashes] == [submitted]
    for _ in range(2):
        reader.submit_feedback(api.StopNCIISignalType.ImagePDQ, pdq, api.StopNCIICSPFeedbackValue.NotBlocked)
    with pytest.raises(requests.HTTPError):
        reader.submit_hash(api.StopNCIISignalType.ImagePDQ, submitted)
    (review,) = feeding.desk.hub.reviews.list(OPERATOR, "line", "list", number_of(one.id), 9, 0)[0]
    assert (review.author, review.kind) == ("reader", ReviewKind.NOT_ILLEGAL_HERE)
