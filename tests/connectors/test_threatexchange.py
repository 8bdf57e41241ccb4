from __future__ import annotations

import io
import json
import pickle  # noqa: TID251 - what must be refused has to be made
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hashhub import schemes, vpdq
from hashhub.connector import Certainty, Exported, Loss
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import parse
from hashhub.model import (
    Action,
    Classification,
    Entry,
    EntryState,
    HashSet,
    Provenance,
    Purpose,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    VideoFrame,
)
from hashhub_connectors.delimited import Rows
from hashhub_connectors.threatexchange import ThreatExchange, ThreatExchangeCSVWriter, ThreatExchangeWriter

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
PDQ = "ffff0000" * 8
REGISTRY = schemes.load()


def read(data: bytes | str, **options: str) -> list[Record | Reject]:
    return list(ThreatExchange().read(io.BytesIO(data.encode() if isinstance(data, str) else data), options))


def one(te: dict[str, Any], **options: str) -> Record:
    (item,) = read(json.dumps([te]), **options)
    assert isinstance(item, Record), item
    return item


def opinion(owner: str, status: str, **more: Any) -> dict[str, Any]:
    return {"id": f"d{owner}", "owner": {"id": owner}, "status": status, **more}


def signal(*descriptors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "1", "indicator": PDQ, "type": "HASH_PDQ", "descriptors": {"data": [*descriptors]}, **more}


class TestWhatIsWithdrawn:
    @pytest.mark.parametrize("stated", [True, "true", 1])
    def test_should_delete(self, stated: object) -> None:
        record = one(signal(opinion("9", "MALICIOUS"), should_delete=stated))
        assert (record.action, record.hashes, record.external_id) == (Action.WITHDRAW, (parse("PDQ", PDQ),), "1")

    @pytest.mark.parametrize("more", [{}, {"should_delete": False}])
    def test_a_record_without_descriptors(self, more: dict[str, Any]) -> None:
        assert one({"id": "1", "indicator": PDQ, "type": "HASH_PDQ", **more}).action is Action.WITHDRAW

    @pytest.mark.parametrize("descriptors", [None, [], {"data": []}, {"data": None}])
    def test_not_one_whose_descriptors_cannot_be_seen(self, descriptors: object) -> None:
        record = one({"id": "1", "indicator": PDQ, "type": "HASH_PDQ", "descriptors": descriptors})
        assert (record.action, record.value) == (Action.CONTRIBUTE, "")

    def test_not_a_descriptor_by_itself_which_has_none(self) -> None:
        record = one({"raw_indicator": PDQ, "type": "HASH_PDQ", **opinion("9", "MALICIOUS"), "added_on": "2020"})
        assert (record.action, record.value, record.member) == (Action.CONTRIBUTE, "MALICIOUS", "9")
        assert record.source_time == "2020"

    def test_a_word_that_says_neither_withdraws_nothing_and_is_told(self) -> None:
        record = one(signal(opinion("9", "MALICIOUS"), should_delete="maybe"))
        assert record.action is Action.CONTRIBUTE
        assert [f.algorithm for f in record.faults] == ["should_delete"]


class TestOpinions:
    def test_each_owner_keeps_its_own(self) -> None:
        record = one(
            signal(
                opinion("1", "NON_MALICIOUS"), opinion("2", "MALICIOUS"), opinion("3", "MALICIOUS"), opinion("4", "NEW")
            )
        )
        assert (record.value, record.member, record.scheme) == ("MALICIOUS", "2", "threatexchange")
        assert record.reviews == (
            RecordReview(ReviewKind.FALSE_POSITIVE, "te-owner:1", "NON_MALICIOUS"),
            RecordReview(ReviewKind.CONFIRMED, "te-owner:3", "MALICIOUS"),
        )
        assert json.loads(record.extra) == {"opinions": [{"owner": "4", "status": "NEW"}]}

    def test_the_owner_that_is_named_states_the_item(self) -> None:
        te = signal(opinion("1", "NON_MALICIOUS"), opinion("2", "MALICIOUS"))
        record = one(te, owner="1")
        assert (record.value, record.member) == ("NON_MALICIOUS", "")
        assert record.reviews == (RecordReview(ReviewKind.MISCLASSIFIED, "te-owner:2", "MALICIOUS"),)

    @pytest.mark.parametrize("status", ["NON_MALICIOUS", "SUSPICIOUS", "UNKNOWN", "NEVER_HEARD_OF"])
    def test_another_status_is_the_value_and_no_claim_of_harm(self, status: str) -> None:
        record = one(signal(opinion("1", status)))
        assert record.value == status
        known = REGISTRY.get("threatexchange").resolve(status)
        assert known is None or not {"csam", "exploitative"} & set(known.dimensions["verdict"])

    def test_a_descriptor_without_an_owner_states_nothing_and_is_told(self) -> None:
        record = one(signal({"id": "2", "status": "MALICIOUS"}))
        assert (record.value, record.member) == ("", "")
        assert [f.algorithm for f in record.faults] == ["descriptors"]

    def test_reactions_are_opinions_of_whoever_has_no_other(self) -> None:
        reactions = [{"key": "HELPFUL", "value": "1,2"}, {"key": "DISAGREE_WITH_TAGS", "value": "3"}]
        record = one(signal(opinion("1", "MALICIOUS", reactions=[*reactions, {"key": "INGESTED", "value": "4"}])))
        assert record.reviews == (
            RecordReview(ReviewKind.CONFIRMED, "te-owner:2", "HELPFUL"),
            RecordReview(ReviewKind.FALSE_POSITIVE, "te-owner:3", "DISAGREE_WITH_TAGS"),
        )
        assert json.loads(record.extra) == {"opinions": [{"owner": "4", "reaction": "INGESTED"}]}

    def test_a_flood_of_reactions_is_refused_at_once(self) -> None:
        apps = ",".join(map(str, range(1, 120_000)))
        te = signal(opinion("1", "MALICIOUS", reactions=[{"key": "HELPFUL", "value": apps}]))
        (item,) = read(json.dumps([te]))
        assert isinstance(item, Reject)

    def test_case_hides_no_doubt_and_no_second_word_of_one_owner(self) -> None:
        record = one(signal(opinion("1", "malicious"), opinion("2", "Non_Malicious"), opinion("1", "NON_MALICIOUS")))
        assert (record.value, record.member) == ("malicious", "1")
        assert record.reviews == (RecordReview(ReviewKind.FALSE_POSITIVE, "te-owner:2", "Non_Malicious"),)
        assert json.loads(record.extra) == {"opinions": [{"owner": "1", "status": "NON_MALICIOUS"}]}

    def test_a_tag_turns_no_other_status_into_a_claim(self) -> None:
        tags = {"data": [{"text": "classification:vic-us@2.0=1"}]}
        assert one(signal(opinion("1", "MALICIOUS", tags=tags))).value == "1"
        for status in ("NON_MALICIOUS", "SUSPICIOUS", "INVESTIGATION_SEED"):
            record = one(signal(opinion("1", status, tags=tags)))
            assert (record.value, record.tags) == (status, ("classification:vic-us@2.0=1",))


class TestTypes:
    @pytest.mark.parametrize(
        ("stated", "digest", "tags", "media_type"),
        [
            ("HASH_PDQ", PDQ.upper(), [], ""),
            ("HASH_MD5", MD5, ["media_type_video"], "video"),
            ("HASH_VIDEO_MD5", f" {MD5} ", [], "video"),
            ("HASH_SHA256", PDQ, [], ""),
            ("DEBUG_STRING", PDQ, ["signal_type:pdq"], ""),
        ],
    )
    def test_that_are_digests_of_files(self, stated: str, digest: str, tags: list[str], media_type: str) -> None:
        te = {"indicator": digest, "type": stated, "descriptors": {"data": [opinion("1", "MALICIOUS", tags=tags)]}}
        record = one(te)
        assert len(record.hashes) == 1
        assert record.media_type == media_type

    @pytest.mark.parametrize("stated", ["URI", "RAW_URI", "HASH_TEXT_TLSH", "HASH_URL_MD5", "url_md5", ""])
    def test_all_others_are_refused_one_by_one(self, stated: str) -> None:
        (item,) = read(json.dumps([{"id": "1", "indicator": MD5, "type": stated, "descriptors": {"data": []}}]))
        assert isinstance(item, Reject)
        assert item.reason in {"UNSUPPORTED_ALGORITHM", "NO_HASH"}


class TestShapes:
    def test_pages_in_a_list(self) -> None:
        page = {"data": [signal(opinion("1", "MALICIOUS"))], "paging": {"cursors": {}}}
        positions = [item.position for item in read(json.dumps([page, page]))]
        assert positions == ["[0].data[0]", "[1].data[0]"]

    def test_a_page_that_another_follows_is_partial(self) -> None:
        page = {"paging": {"next": "https://example.invalid"}, "data": []}
        (item,) = read(json.dumps(page))
        assert isinstance(item, Reject)
        assert item.reason == "PARTIAL_SOURCE"

    @pytest.mark.parametrize("text", ['{"rows": []}', "{}", '{"data": 7}'])
    def test_json_of_somebody_else_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedSource, match="not ThreatExchange"):
            read(text)

    @pytest.mark.parametrize("protocol", range(6))
    def test_a_pickle_is_named_and_never_opened(self, protocol: int) -> None:
        with pytest.raises(MalformedSource, match="pickle"):
            read(pickle.dumps({"a": [1]}, protocol=protocol))

    def test_an_empty_file_is_refused(self) -> None:
        with pytest.raises(MalformedSource, match="empty"):
            read(b"")

    def test_a_byte_order_mark_and_crlf_change_nothing(self) -> None:
        text = json.dumps([signal(opinion("1", "MALICIOUS"))], indent=1)
        assert read("\ufeff" + text.replace("\n", "\r\n")) == read(text)
        rows = f"signal_type,signal_str,collab,category,tags\npdq,{PDQ},,POSITIVE_CLASS,\n"
        assert read("\ufeff" + rows.replace("\n", "\r\n")) == read(rows)

    def test_fields_that_are_given_twice_are_refused(self) -> None:
        text = f'[{{"indicator": "{PDQ}", "indicator": "{PDQ}", "type": "HASH_PDQ"}}]'
        (item,) = read(text)
        assert isinstance(item, Reject)

    @pytest.mark.parametrize(
        ("category", "value"),
        [("POSITIVE_CLASS", "MALICIOUS"), ("NEGATIVE_CLASS", "NON_MALICIOUS"), ("DISPUTED", "DISPUTED"), ("", "")],
    )
    def test_categories_of_a_dataset(self, category: str, value: str) -> None:
        (row,) = read(f"signal_type,signal_str,collab,category,tags\npdq,{PDQ},the group,{category},a b\n")
        assert isinstance(row, Record)
        assert (row.value, row.member, row.tags) == (value, "the group", ("a", "b"))
        (line,) = read(f"pdq {PDQ} 'the group' {category} a,b\n") if category else (row,)
        assert msgspec.structs.replace(row, position="") == msgspec.structs.replace(line, position="")

    def test_the_frames_of_a_video_are_one_item_in_every_form(self) -> None:
        frames = json.dumps([f"{PDQ},100,0.5", f"{PDQ},90,1.23e+03"])  # as the package writes them, spaces and all
        expected = (VideoFrame(500, 100, bytes.fromhex(PDQ)), VideoFrame(1_230_000, 90, bytes.fromhex(PDQ)))
        quoted = '"' + frames.replace('"', '""') + '"'
        descriptors = {"data": [opinion("1", "MALICIOUS", tags=["signal_type:vpdq", "a"])]}
        for text in (
            f"signal_type,signal_str,collab,category,tags\nvpdq,{quoted},,POSITIVE_CLASS,a\n",
            f"vpdq {frames} 'the group' POSITIVE_CLASS a\n",
            f"vpdq {frames}\n",
            json.dumps([{"indicator": frames, "type": "vpdq", "descriptors": descriptors}]),
            json.dumps([{"indicator": frames, "type": "DEBUG_STRING", "descriptors": descriptors}]),
        ):
            (item,) = read(text)
            assert isinstance(item, Record), (text, item)
            assert (item.hashes, item.frames, item.media_type) == ((), expected, "")
        assert isinstance(item, Record)
        assert (item.value, item.tags) == ("MALICIOUS", ("a",))
        (gone,) = read(json.dumps([{"indicator": frames, "type": "DEBUG_STRING", "should_delete": True}]))
        assert isinstance(gone, Record)
        assert (gone.action, gone.frames) == (Action.WITHDRAW, expected)
        other = [{"id": "7", "indicator": "[nonsense]", "type": "vpdq", "should_delete": True}]
        (by_id,) = read(json.dumps(other))
        assert isinstance(by_id, Record)
        assert (by_id.action, by_id.external_id) == (Action.WITHDRAW, "7")

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [
            ([f"{PDQ},100,5.0", f"{PDQ},100,4.0"], "VIDEO_FRAME"),  # perhaps two videos
            ([], "UNPARSABLE_LINE"),
            ([f"{PDQ[:60]},100,5.0"], "UNPARSABLE_LINE"),
            ([f"{PDQ},101,5.0"], "UNPARSABLE_LINE"),
            ({"0": {"hash": PDQ}}, "UNPARSABLE_LINE"),
        ],
    )
    def test_what_may_be_no_video_or_several_is_refused(self, frames: object, reason: str) -> None:
        (item,) = read(json.dumps([{"id": "1", "indicator": json.dumps(frames), "type": "vpdq", "descriptors": []}]))
        assert isinstance(item, Reject)
        assert item.reason == reason

    def test_the_longest_video_fits_in_every_form(self) -> None:
        frames = tuple(VideoFrame(1000 * i, 90, i.to_bytes(4) * 8) for i in range(20_000))
        text = json.dumps(list(vpdq.texts(frames)))
        quoted = '"' + text.replace('"', '""') + '"'
        rows = f"signal_type,signal_str,collab,category,tags\nvpdq,{quoted},,POSITIVE_CLASS,\n"
        assert ThreatExchange().detect(f"vpdq {text}\n".encode()[:65536], "") is not None
        for data in (rows, f"vpdq {text}\n", json.dumps([{"indicator": text, "type": "vpdq", "descriptors": []}])):
            (item,) = read(data)
            assert isinstance(item, Record)
            assert item.frames == frames
        (short,) = list(Rows(io.BytesIO(b'a\n"' + b"x" * 200_000 + b'"\n'), ","))
        assert isinstance(short, Reject)  # for all other tables a cell is as long as it was

    def test_the_cache_needs_its_type_which_its_name_gives(self) -> None:
        data = f"{MD5},12,2020-07-01,one two\n"
        guess = ThreatExchange().detect(data.encode(), "/x/simple.HASH_VIDEO_MD5.te")
        assert guess is not None
        assert (guess.certainty, guess.options) == (Certainty.LIKELY, {"type": "HASH_VIDEO_MD5"})
        (item,) = read(data, **guess.options)
        assert isinstance(item, Record)
        assert (item.value, item.tags, item.source_time) == ("", ("one", "two"), "2020-07-01")

    def test_an_id_that_cannot_be_kept_makes_no_two_items_one(self) -> None:
        for wrong in ("x" * 2000, "a\x00b"):
            (item,) = read(json.dumps([signal(opinion("1", "MALICIOUS"), id=wrong)]))
            assert isinstance(item, Reject)

    def test_a_header_in_capitals_and_quotes(self) -> None:
        data = f'"Signal_Type","Signal_Str","Category"\n"pdq","{PDQ}","positive_class"\n'
        assert ThreatExchange().detect(data.encode(), "") is not None
        (item,) = read(data)
        assert isinstance(item, Record)
        assert item.value == "MALICIOUS"

    def test_a_wrong_owner_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="owner"):
            read("[]", owner="x")


# --- Writing ----------------------------------------------------------------------------------------------------------

TIME = datetime(2026, 1, 2, tzinfo=UTC)


def entry(number: int = 1, **fields: Any) -> Entry:
    provenance = Provenance(import_id="1", connector="x", connector_version="1", source_digest="", position="1")
    whole = {"hashes": (parse("PDQ", PDQ),), "state": EntryState.ACTIVE, "provenance": provenance, **fields}
    return Entry(id=number, contributor="a", hash_set="b", **whole)


def write(
    *entries: Entry, purpose: Purpose = Purpose.CSAM, is_delta: bool = False, sets: int = 1
) -> tuple[list[dict[str, Any]], list[Loss]]:
    names = ["a/b", "a/c"][:sets]
    hash_sets = {n: HashSet(contributor="a", id=n[-1], purpose=purpose) for n in names}
    target = io.BytesIO()
    exported = Exported(hash_sets, {}, TIME, is_delta)
    losses = list(ThreatExchangeWriter().write(entries, target, exported, {}))
    document = json.loads(target.getvalue())
    return document["data"] if is_delta else document, losses


def value(scheme: str, text: str) -> Classification:
    classification = REGISTRY.get(scheme).resolve(text)
    assert classification is not None
    return classification


class TestWhatIsCalledMalicious:
    @pytest.mark.parametrize(
        ("fields", "purpose"),
        [
            ({"classification": value("vic-us", "1")}, Purpose.CSAM),
            ({"classification": value("vic-us", "2")}, Purpose.EXPLOITATIVE),
            ({"classification": value("threatexchange", "MALICIOUS")}, Purpose.CSAM),
            ({}, Purpose.CSAM),
            ({}, Purpose.EXPLOITATIVE),
        ],
    )
    def test_what_claims_harm(self, fields: dict[str, Any], purpose: Purpose) -> None:
        (record,), _ = write(entry(**fields), purpose=purpose)
        assert record["descriptors"]["data"][0]["status"] == "MALICIOUS"

    @pytest.mark.parametrize(
        ("fields", "purpose"),
        [
            ({"classification": value("vic-us", "0")}, Purpose.CSAM),
            ({"classification": value("vic-us", "4")}, Purpose.CSAM),
            ({"classification": value("vic-us", "5")}, Purpose.CSAM),
            ({"classification": value("interpol-baseline", "N")}, Purpose.CSAM),
            ({"classification": value("copine", "1")}, Purpose.CSAM),
            ({"classification": value("vic-us", "1")}, Purpose.BENIGN),
            ({"classification": value("threatexchange", "MALICIOUS")}, Purpose.BENIGN),
            ({"reasons": ("UNCLASSIFIED",)}, Purpose.CSAM),
            ({"state": EntryState.QUARANTINED}, Purpose.CSAM),
            ({}, Purpose.BENIGN),
            ({}, Purpose.TEST),
        ],
    )
    def test_nothing_else_is_written_and_the_loss_says_so(self, fields: dict[str, Any], purpose: Purpose) -> None:
        records, losses = write(entry(**fields), purpose=purpose)
        assert not records
        assert [(x.entry, x.field) for x in losses] == [("a/b/1", "entry")]

    def test_own_statuses_go_out_as_they_are(self) -> None:
        for status in ("NON_MALICIOUS", "SUSPICIOUS", "DISPUTED"):
            (record,), _ = write(entry(classification=value("threatexchange", status)))
            assert record["descriptors"]["data"][0]["status"] == status


def test_a_withdrawal_by_digest_is_not_written_beside_another_hash_set() -> None:
    gone = entry(state=EntryState.WITHDRAWN)
    (record,), _ = write(gone, is_delta=True)
    assert record["should_delete"] is True
    assert "descriptors" not in record
    records, (loss,) = write(gone, is_delta=True, sets=2)
    assert not records
    assert loss.reason == "WITHDRAWAL_OF_ALL"


def test_csv_is_what_tx_dataset_prints() -> None:
    target = io.BytesIO()
    exported = Exported({"a/b": HashSet(contributor="a", id="b")}, {}, TIME)
    list(ThreatExchangeCSVWriter().write([entry(tags=("x", "y z"))], target, exported, {}))
    assert target.getvalue().decode() == (
        f"signal_type,signal_str,collab,category,tags\r\npdq,{PDQ},,POSITIVE_CLASS,x classification:listed\r\n"
    )
