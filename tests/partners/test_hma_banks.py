"""Banks and their contents by HMA's routes: whose they are, what they are called, what their clients may do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hashhub import v1
from tests.partners.conftest import FORM, HMAClient, client, form
from tests.server.conftest import Serve, Served

SIGNAL = "facd8bcb2a49bcebdec1985298d5fe84bcd006c187c598c720c3c087b3fdb318"
OTHER_SIGNAL = "37dd1015291fb5416c1a128a4cbe4ec2c1e1aefefbbaecb78b1194b2d88734b1"


def new_client(hub: Served, contributor: str, role: str = "CONTRIBUTOR") -> HMAClient:
    """A client of a contributor that is new here."""
    hub.new_contributor(contributor)
    token = v1.Token(role=f"ROLE_{role}", contributor=f"contributors/{contributor}")
    request = v1.CreateTokenRequest(token_id=contributor, token=token)
    made = hub.call("AdminService/CreateToken", request, v1.CreateTokenResponse)
    return HMAClient(hub.doors.http_address, made.secret)


def add(here: HMAClient, bank: str, signal: str = SIGNAL, **said: Any) -> int:
    answer = here.json("POST", f"/c/bank/{bank}/signal", {"pdq": signal, **said})
    assert answer.status == 200, answer.body
    number = answer.json["id"]
    assert isinstance(number, int)
    return number


def create(here: HMAClient, bank: str) -> None:
    assert here.json("POST", "/c/banks", {"name": bank}).status == 201


def open_to_all(here: HMAClient, hub: Served, name: str, **terms: Any) -> None:
    """Let everybody have a hash set that was made as a bank."""
    request = v1.UpdateHashSetRequest(hash_set=v1.HashSet(name=name, marking=v1.Marking(tlp=v1.Tlp.TLP_GREEN, **terms)))
    request.update_mask.paths.extend(["marking.tlp", "marking.recipients"])
    hub.call("ContributorService/UpdateHashSet", request, v1.HashSet, who=here.token)


def test_a_bank_is_its_own_contributors_until_it_says_more(hub: Served, home: HMAClient) -> None:
    other = new_client(hub, "other")
    create(other, "SECRET")
    number = add(other, "SECRET")
    assert home.get("/c/banks").json == []
    assert home.lookup(SIGNAL).json == {}
    assert home.get("/c/bank/OTHER__SECRET").status == 404
    assert home.get(f"/c/bank/OTHER__SECRET/content/{number}").status == 404
    assert other.lookup(SIGNAL).json == {"SECRET": [{"bank_content_id": number, "distance": "0"}]}
    open_to_all(other, hub, "contributors/other/hashSets/secret")
    assert home.lookup(SIGNAL).json == {"OTHER__SECRET": [{"bank_content_id": number, "distance": "0"}]}
    assert [bank["name"] for bank in home.get("/c/banks").json] == ["OTHER__SECRET"]


def test_two_contributors_have_a_bank_of_one_name_and_none_takes_the_others(hub: Served, home: HMAClient) -> None:
    other = new_client(hub, "other")
    for one in (home, other):
        create(one, "KNOWN")
    numbers = add(home, "KNOWN"), add(other, "KNOWN")
    assert len(set(numbers)) == 2
    open_to_all(other, hub, "contributors/other/hashSets/known")
    assert set(home.lookup(SIGNAL).json) == {"KNOWN", "OTHER__KNOWN"}
    assert home.lookup(SIGNAL, banks="OTHER__KNOWN").json.keys() == {"OTHER__KNOWN"}
    assert home.json("POST", "/c/banks", {"name": "OTHER__KNOWN"}).status == 400
    assert home.json("PUT", "/c/bank/KNOWN", {"name": "OTHER__KNOWN"}).status == 400
    for refused in (
        home.json("PUT", "/c/bank/OTHER__KNOWN", {"enabled": False}),
        home.json("PUT", "/c/bank/OTHER__KNOWN", {"name": "MINE"}),
        home.json("POST", "/c/bank/OTHER__KNOWN/signal", {"pdq": OTHER_SIGNAL}),
        home.send("DELETE", f"/c/bank/OTHER__KNOWN/content/{numbers[1]}"),
        home.send("DELETE", "/c/bank/OTHER__KNOWN"),
    ):
        assert refused.status == 403, refused.body
    assert set(other.lookup(SIGNAL).json) == {"KNOWN"}


def test_ids_that_would_be_written_alike_are_told_apart(hub: Served, home: HMAClient) -> None:
    hub.new_contributor("a")
    hub.new_contributor("a--b")
    for name, set_id in (("a", "b--c"), ("a--b", "c"), ("a", "b-c"), ("home", "a--b-c")):
        marking = v1.Marking(tlp=v1.Tlp.TLP_GREEN)
        wanted = v1.HashSet(purpose=v1.Purpose.PURPOSE_TEST, marking=marking)
        request = v1.CreateHashSetRequest(parent=f"contributors/{name}", hash_set_id=set_id, hash_set=wanted)
        hub.call("ContributorService/CreateHashSet", request, v1.HashSet)
    names = [bank["name"] for bank in home.get("/c/banks").json]
    assert len(names) == 4
    assert len(set(names)) == 4
    assert "A__B_C" in names


def test_a_renamed_bank_keeps_its_contents_and_frees_its_name(hub: Served, home: HMAClient) -> None:
    create(home, "OLD")
    number = add(home, "OLD")
    assert home.json("PUT", "/c/bank/OLD", {"name": "NEW"}).json["name"] == "NEW"
    assert home.get("/c/bank/OLD").status == 404
    assert home.lookup(SIGNAL).json == {"NEW": [{"bank_content_id": number, "distance": "0"}]}
    create(home, "OLD")
    assert add(home, "OLD") != number
    assert home.json("PUT", "/c/bank/OLD", {"name": "NEW"}).status == 403
    assert set(home.lookup(SIGNAL).json) == {"NEW", "OLD"}


def test_a_deleted_bank_matches_nothing_and_its_name_is_free(hub: Served, home: HMAClient) -> None:
    create(home, "SHORT")
    add(home, "SHORT")
    assert home.send("DELETE", "/c/bank/SHORT").status == 200
    assert home.lookup(SIGNAL).json == {}
    assert home.send("DELETE", "/c/bank/SHORT").status == 200
    create(home, "SHORT")
    assert home.lookup(SIGNAL).json == {}


def test_no_bank_is_created_where_nobody_said_what_it_states(serve_hub: Serve) -> None:
    here = client(serve_hub())
    answer = here.json("POST", "/c/banks", {"name": "BANK"})
    assert answer.status == 400
    assert "hma_purpose" in answer.json["message"]


def test_only_who_may_write_writes(hub: Served, home: HMAClient) -> None:
    create(home, "BANK")
    number = add(home, "BANK")
    reader = client(hub, "CONSUMER")
    assert reader.json("POST", "/c/banks", {"name": "MINE"}).status == 403
    assert reader.json("POST", "/c/bank/BANK/signal", {"pdq": OTHER_SIGNAL}).status == 403
    assert reader.send("DELETE", f"/c/bank/BANK/content/{number}").status == 403
    auditor = client(hub, "AUDITOR")
    assert auditor.lookup(SIGNAL).status == 403
    assert auditor.get("/c/banks").json == [{"name": "HOME__BANK", "matching_enabled_ratio": 1.0}]
    assert auditor.json("POST", "/c/bank/HOME__BANK/signal", {"pdq": OTHER_SIGNAL}).status == 403


def test_a_ratio_of_nought_is_off_and_any_other_always_matches(home: HMAClient) -> None:
    # As Coop sends it: a path with two slashes, and the ratio as a text.
    assert home.json("POST", "//c/banks", {"name": "COOP_1_BANK", "enabled_ratio": "0.01"}).status == 201
    add(home, "COOP_1_BANK")
    assert all(home.lookup(SIGNAL).json for _ in range(30))
    assert home.json("PUT", "/c/bank/COOP_1_BANK", {"enabled_ratio": 0}).json["matching_enabled_ratio"] == 0
    assert home.lookup(SIGNAL).json == {}
    assert home.get("/m/raw_lookup", signal_type="pdq", signal=SIGNAL).json == {"matches": []}
    for wrong in (2, -1, "x", "nan", True, [1]):
        assert home.json("PUT", "/c/bank/COOP_1_BANK", {"enabled_ratio": wrong}).status == 400, wrong


def test_a_content_that_is_taken_out_matches_nowhere_at_once(hub: Served, home: HMAClient) -> None:
    create(home, "BANK")
    number = add(home, "BANK")
    assert home.send("DELETE", f"/c/bank/BANK/content/{number}").json == {"deleted": 1}
    assert home.lookup(SIGNAL).json == {}
    assert home.get(f"/c/bank/BANK/content/{number}").status == 404
    assert home.send("DELETE", f"/c/bank/BANK/content/{number}").json == {"deleted": 0}
    query = v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=bytes.fromhex(SIGNAL))])
    request = v1.MatchHashesRequest(query=query, options=v1.MatchOptions(policy="any"))
    told = hub.call("MatchService/MatchHashes", request, v1.MatchHashesResponse, who="CONTRIBUTOR")
    assert told.result.verdict == v1.Verdict.VERDICT_NO_MATCH


def test_a_disabled_content_is_not_answered_until_its_time(home: HMAClient) -> None:
    create(home, "BANK")
    number = add(home, "BANK", note="seen twice")
    path = f"/c/bank/BANK/content/{number}"
    soon = int(time.time()) + 3
    assert home.json("PUT", path, {"disable_until_ts": soon}).json["disable_until_ts"] == soon
    assert home.lookup(SIGNAL).json == {}
    while not (found := home.lookup(SIGNAL).json):
        assert time.time() < soon + 60
        time.sleep(0.1)
    assert time.time() >= soon
    assert found == {"BANK": [{"bank_content_id": number, "distance": "0"}]}
    assert home.json("PUT", path, {"disable_until_ts": 0}).json["disable_until_ts"] == 0
    assert home.lookup(SIGNAL).json == {}
    kept = home.get(path).json
    assert (kept["disable_until_ts"], kept["note"]) == (0, "seen twice")
    assert home.json("PUT", path, {"note": "lost?"}).status == 400
    assert home.json("PUT", path, {"disable_until_ts": 1}).json["disable_until_ts"] == 1
    assert home.lookup(SIGNAL).json == found
    for wrong in (-1, 9_999_999_999, "soon", None):
        assert home.json("PUT", path, {"disable_until_ts": wrong}).status == 400, wrong


def test_a_contents_number_is_small_unique_and_outlives_its_notes(home: HMAClient) -> None:
    numbers = []
    for bank in ("ONE", "TWO", "THREE"):
        create(home, bank)
        numbers += [add(home, bank), add(home, bank, OTHER_SIGNAL)]
    assert len(set(numbers)) == 6
    assert all(0 < number < 1 << 53 for number in numbers)
    for note in ("first", "second", ""):
        assert home.json("PUT", f"/c/bank/ONE/content/{numbers[0]}", {"note": note}).json["id"] == numbers[0]
        assert home.get(f"/c/bank/ONE/content/{numbers[0]}").json.get("note", "") == note
    assert home.lookup(SIGNAL, banks="ONE").json == {"ONE": [{"bank_content_id": numbers[0], "distance": "0"}]}
    assert home.get(f"/c/bank/TWO/content/{numbers[0]}").status == 404
    for wrong in ("0", "1", "x", "99999999999999999999", "-1"):
        assert home.get(f"/c/bank/ONE/content/{wrong}").status == 404


def import_list(hub: Served, name: str, signals: list[str]) -> None:
    """Commit a list into a hash set of the home contributor."""
    create_import = v1.CreateImportRequest(parent=f"contributors/home/hashSets/{name}")
    source = getattr(create_import, "import")
    source.connector, source.connector_version, source.source_digest = "lines", "1", "0" * 64
    opened = hub.call("ContributionService/CreateImport", create_import, v1.Import, who="CONTRIBUTOR")
    records = [
        v1.Record(
            position=str(i),
            hashes=[v1.Hash(algorithm="PDQ", digest=bytes.fromhex(signal))],
            action=v1.Action.ACTION_CONTRIBUTE,
        )
        for i, signal in enumerate(signals)
    ]
    added = v1.AddRecordsRequest(name=opened.name, records=records)
    hub.call("ContributionService/AddRecords", added, v1.Import, who="CONTRIBUTOR")
    commit = v1.CommitImportRequest(name=opened.name, batch_count=1)
    hub.call("ContributionService/CommitImport", commit, v1.Import, who="CONTRIBUTOR")


def test_what_came_by_a_list_is_a_content_too_and_its_notes_stand_in_the_list(hub: Served, home: HMAClient) -> None:
    numbers = set()
    for bank in ("LIST", "OTHER", "THIRD"):
        create(home, bank)
        import_list(hub, bank.lower(), [SIGNAL])
        numbers |= {match["bank_content_id"] for match in home.lookup(SIGNAL, banks=bank).json[bank]}
    assert len(numbers) == 3
    for bank in ("OTHER", "THIRD"):
        assert home.send("DELETE", f"/c/bank/{bank}").status == 200
    ((match,),) = home.lookup(SIGNAL).json.values()
    path = f"/c/bank/LIST/content/{match['bank_content_id']}"
    assert home.send("GET", path, None, None, include_signals="true").json["signals"] == {"pdq": SIGNAL}
    assert home.json("PUT", path, {"note": "x"}).status == 400
    assert home.json("PUT", path, {"disable_until_ts": 0}).status == 200
    assert home.lookup(SIGNAL).json == {}
    assert home.json("PUT", path, {"disable_until_ts": 1}).status == 200
    assert home.send("DELETE", path).json == {"deleted": 1}
    assert home.lookup(SIGNAL).json == {}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"pdq": "short"},
        {"pdq": 7},
        {"photodna": "AA"},
        {"pdq": SIGNAL, "note": "x" * 256},
        {"pdq": SIGNAL, "note": 3},
        {"pdq": "0" * 64},
    ],
)
def test_what_is_no_signal_is_refused_with_the_reason_and_adds_nothing(home: HMAClient, said: dict[str, Any]) -> None:
    create(home, "BANK")
    answer = home.json("POST", "/c/bank/BANK/signal", said)
    assert answer.status == 400
    assert answer.json["message"]
    assert home.lookup(SIGNAL).json == {}


def test_a_file_with_metadata_in_a_form(home: HMAClient, picture: bytes, blank: bytes) -> None:
    create(home, "BANK")
    body = form("photo", picture, metadata='{"content_id": "7", "json": {"a": [1]}}', note="from a form")
    answer = home.send("POST", "/c/bank/BANK/content", body, FORM)
    assert answer.status == 200, answer.body
    kept = home.get(f"/c/bank/BANK/content/{answer.json['id']}").json
    assert kept["metadata"] == {"content_id": "7", "content_uri": None, "json": {"a": [1]}, "collab": None}
    assert kept["note"] == "from a form"
    assert "metadata" not in home.get(f"/c/bank/BANK/content/{answer.json['id']}", include_metadata="false").json
    for wrong in ('{"content_id": 7}', "[", '{"other": 1}', "[" * 10_000):
        refused = form("photo", picture, metadata=wrong)
        assert home.send("POST", "/c/bank/BANK/content", refused, FORM).status == 400, wrong[:20]
    assert home.file("/c/bank/BANK/content", "photo", blank).status == 400


def test_a_bank_behind_a_thousand_others_is_never_read_as_clean(hub: Served, home: HMAClient) -> None:
    for bank in ("CROWD", "FAR"):
        create(home, bank)
    number = int(SIGNAL, 16)
    import_list(
        hub, "crowd", [f"{number ^ (1 << i % 250) ^ (1 << (i + i // 250 + 1) % 250):064x}" for i in range(1100)]
    )
    add(home, "FAR", f"{number ^ ((1 << 20) - 1):064x}")
    assert home.lookup(SIGNAL).json.keys() == {"CROWD"}
    assert home.lookup(SIGNAL).headers["hashhub-truncated"] == "true"
    assert home.lookup(SIGNAL, banks="FAR").status == 503
    assert home.json("PUT", "/c/bank/CROWD", {"enabled": False}).status == 200
    assert home.lookup(SIGNAL).status == 503
