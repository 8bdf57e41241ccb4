"""Lists of known files are no lists of harm, and what a list is depends on where it is put, never on its format."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path

from hashhub.connector import Connector
from hashhub.model import EntryState, Purpose, Record, Reject, SchemeStatus, Verdict
from hashhub_connectors.encase import EnCase
from hashhub_connectors.nsrl import NSRL
from hashhub_connectors.vics import VICS
from tests.hub.conftest import OPERATOR, Desk, Open, digest

RDS = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'


def md5(number: int) -> str:
    return digest("MD5", number).digest.hex().upper()


def rds(*numbers: int) -> str:
    return RDS + "".join(f'"","{md5(n)}","00000000","a",1,1,"0",""\n' for n in numbers)


def read(connector: Connector, data: str | bytes) -> list[Record | Reject]:
    return list(connector.read(io.BytesIO(data.encode() if isinstance(data, str) else data), {}))


def vics(region: str, *media: dict[str, object]) -> str:
    context = f"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{region}/$metadata#Media"
    return json.dumps({"@odata.context": context, "value": media})


def test_nsrl_files_wait_in_a_set_of_harm_and_match_nobody(desk: Desk) -> None:
    for purpose in (Purpose.CSAM, Purpose.EXPLOITATIVE):
        name = desk.hash_set(f"alpha/{purpose.lower()}", purpose=purpose)
        done = desk.contribute(name, *read(NSRL(), rds(1, 2)), has_classifications=False)
        assert (done.counts.accepted, done.counts.quarantined) == (0, 2)
        assert list(desk.reasons(done).values()) == [["PURPOSE_MISMATCH"]] * 2
        assert "import it into another" in desk.report(done)[0].detail
    assert {desk.verdict(n) for n in (1, 2)} == {Verdict.NO_MATCH}


def test_nsrl_files_are_taken_into_a_benign_set(desk: Desk) -> None:
    name = desk.hash_set("alpha/known", purpose=Purpose.BENIGN)
    done = desk.contribute(name, *read(NSRL(), rds(1, 2)), has_classifications=False)
    assert (done.counts.accepted, done.counts.noted) == (2, 1)
    assert desk.verdict(1) is not Verdict.MATCH


def test_a_known_file_that_somebody_lists_is_never_cleared_by_nsrl_alone(desk: Desk) -> None:
    """RDS means published with some software; only an operator's acceptance lets the set speak against others."""
    known, listed = desk.hash_set("alpha/known", purpose=Purpose.BENIGN), desk.hash_set("beta/list")
    desk.contribute(known, *read(NSRL(), rds(1)), has_classifications=False)
    desk.contribute(listed, *(Record(position="1", hashes=(digest("MD5", 1),)),))
    assert desk.verdict(1) is Verdict.MATCH


def test_one_vics_file_is_what_the_set_says(desk: Desk) -> None:
    """NIST's non-RDS set for CAID and a list of abuse material have the same envelope and may have the same bytes."""
    document = json.dumps(
        {
            "odata.metadata": "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media",
            "value": [{"MediaID": 1, "MD5": md5(1), "Category": 0}],
        }
    )
    desk.hash_set("nist/known", purpose=Purpose.BENIGN)
    desk.hash_set("police/list", scheme="vic-us-legacy")
    desk.hash_set("police/plain")
    outcomes = {}
    for name in ("nist/known", "police/list", "police/plain"):
        desk.contribute(name, *read(VICS(), document), has_classifications=True)
        (entry,) = desk.entries(name)
        outcomes[name] = (entry.state, entry.classification.dimensions if entry.classification else None)
    assert outcomes == {
        "nist/known": (EntryState.ACTIVE, {}),
        "police/list": (EntryState.ACTIVE, {"verdict": ("unclassified",)}),
        "police/plain": (EntryState.QUARANTINED, {}),
    }


def test_a_forensic_tools_set_is_what_the_hash_set_says(desk: Desk) -> None:
    data = (b"HASH\r\n\xff\x00").ljust(1152, b"\0") + digest("MD5", 1).digest + b"\0\0"
    for purpose, matches in ((Purpose.BENIGN, False), (Purpose.CSAM, True)):
        name = desk.hash_set(f"alpha/{purpose.lower()}", purpose=purpose)
        assert desk.contribute(name, *read(EnCase(), data), has_classifications=False).counts.accepted == 1
        assert (desk.verdict(1) is Verdict.MATCH) is matches


def test_numbers_of_caid_wait_until_an_operator_gives_their_table(open_hub: Open, tmp_path: Path) -> None:
    document = vics(
        "UK", {"MD5": md5(1), "Category": 1}, {"MD5": md5(2), "Category": "A"}, {"MD5": md5(3), "Category": 9}
    )

    def states(desk: Desk, name: str, scheme: str) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
        desk.hash_set(name, scheme=scheme)
        desk.contribute(name, *read(VICS(), document), has_classifications=True)
        told = []
        for entry in desk.entries(name):
            assert entry.classification is not None
            assert (entry.classification.scheme, entry.classification.status) == ("uk-caid", SchemeStatus.DRAFT)
            told.append((entry.state.value, entry.classification.dimensions))
        return told

    waits: tuple[str, dict[str, tuple[str, ...]]] = ("QUARANTINED", {})
    before = states(Desk(open_hub()), "alpha/before", "uk-caid")
    assert (before[0], before[1][0], before[2]) == (waits, "ACTIVE", waits)

    text = (files("hashhub.schemes") / "data" / "uk-caid.toml").read_text("utf-8")
    text = text.replace('version = "0.1"', 'version = "1"').replace("[values.A]", '[values.A]\naliases = ["1"]')
    desk = Desk(open_hub(data=str(tmp_path / "hub")))
    desk.hub.schemes.put(OPERATOR, text)
    after = states(desk, "alpha/after", "uk-caid@1")
    assert after[0] == after[1] == ("ACTIVE", after[0][1])
    assert after[0][1]["verdict"] == ("csam",)
    assert after[2] == waits
    assert desk.verdict(1, policy="block") is Verdict.REVIEW  # a draft never blocks


def test_a_region_whose_table_nobody_knows_fails_closed(desk: Desk) -> None:
    for region in ("INTERPOL", "ICSE"):
        name = desk.hash_set(f"alpha/{region.lower()}", scheme="interpol-baseline")
        done = desk.contribute(
            name, *read(VICS(), vics(region, {"MD5": md5(1), "Category": 1})), has_classifications=True
        )
        assert list(desk.reasons(done).values()) == [["SCHEME_MISMATCH"]]
    assert desk.verdict(1) is Verdict.NO_MATCH
