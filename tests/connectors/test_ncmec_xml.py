from __future__ import annotations

import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Action, Record, RecordReview, Reject, ReviewKind
from hashhub_connectors.ncmec_xml import NAMESPACE, NCMECXML

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
MEMBER = '<member id="9001">SYNTHETIC</member>'


def entry(
    prints: str = f"<md5>{MD5}</md5>", more: str = "", kind: str = "image", own: str = "syn-1", member: str = MEMBER
) -> str:
    return f"<{kind}>{member}<id>{own}</id><fingerprints>{prints}</fingerprints>{more}</{kind}>"


def document(images: str = "", videos: str = "") -> bytes:
    return f'<queryResult xmlns="{NAMESPACE}"><images>{images}</images><videos>{videos}</videos></queryResult>'.encode()


def read(data: bytes, **options: str) -> list[Record | Reject]:
    return list(NCMECXML().read(io.BytesIO(data), options))


def one(images: str) -> Record:
    (item,) = read(document(images))
    assert isinstance(item, Record)
    return item


def refused(data: bytes) -> MalformedSource:
    with pytest.raises(MalformedSource) as caught:
        read(data)
    return caught.value


def test_images_videos_and_deletions_have_their_members_identity() -> None:
    items = read(
        document(
            entry(own="a") + entry(own="a", kind="deletedImage", prints=""),
            entry(own="a", kind="video") + '<deletedVideo><member id="7"/><id>b/c</id></deletedVideo>',
        )
    )
    assert [(f.position, f.action, f.external_id, f.media_type, f.member) for f in items if isinstance(f, Record)] == [
        ("images[0]", Action.CONTRIBUTE, "9001/image/a", "image", "9001 SYNTHETIC"),
        ("images[1]", Action.WITHDRAW, "9001/image/a", "image", "9001 SYNTHETIC"),
        ("videos[0]", Action.CONTRIBUTE, "9001/video/a", "video", "9001 SYNTHETIC"),
        ("videos[1]", Action.WITHDRAW, "7/video/b/c", "video", "7"),
    ]


@pytest.mark.parametrize(
    ("environment", "purpose"),
    [
        ("csam", "csam"),
        ("exploitative", "exploitative"),
        ("generative-ai-csam", "csam"),
        ("generative-ai-exploitative", "exploitative"),
    ],
)
def test_the_environment_becomes_a_tag_and_says_what_the_items_are(environment: str, purpose: str) -> None:
    (item,) = read(document(entry()), environment=environment)
    assert isinstance(item, Record)
    assert item.tags == (f"environment:{environment}", f"purpose:{purpose}")
    assert one(entry()).tags == ()


@pytest.mark.parametrize("environment", ["CSAM", "csam list", "industry", "noncsam", "-csam", "x" * 36 + "-csam"])
def test_an_environment_that_does_not_say_what_it_holds_is_refused(environment: str) -> None:
    with pytest.raises(InvalidArgument, match=r"options\.environment"):
        read(document(entry()), environment=environment)


def test_classification_and_time_are_kept_raw() -> None:
    item = one(entry(more="<classification> B2 </classification><timestamp>2025-01-01T12:00:00.000Z</timestamp>"))
    assert (item.value, item.source_time) == ("B2", "2025-01-01T12:00:00.000Z")
    assert one(entry(more="<classification>C9</classification>")).value == "C9"
    assert one(entry()).value == ""


def test_fingerprints_without_text_or_support_are_noted() -> None:
    item = one(
        entry(f'<md5>{MD5}</md5><sha1/><netclean>x</netclean><tmk-pdqf rel="self" href="/v2/x"/><PDQ>{"0f" * 32}</PDQ>')
    )
    assert [h.algorithm for h in item.hashes] == ["MD5", "PDQ"]
    assert [(f.algorithm, f.reason) for f in item.faults] == [
        ("tmk-pdqf", "UNSUPPORTED_ALGORITHM"),
        ("netclean", "UNSUPPORTED_ALGORITHM"),
    ]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (entry(""), "NO_HASH"),
        (entry('<videntifier rel="self" href="/v2/x"/>'), "UNSUPPORTED_ALGORITHM"),
        (entry(f"<md5>{MD5[1:]}</md5>"), "DIGEST_WRONG_LENGTH"),
        (entry(f"<md5>{MD5}</md5>" * (MAX_HASHES_PER_ENTRY + 1)), "TOO_MANY_HASHES"),
        (entry(own=""), "MISSING_EXTERNAL_ID"),
        (entry(member=""), "MISSING_EXTERNAL_ID"),
        (entry(member="<member>X</member>"), "MISSING_EXTERNAL_ID"),
        (entry(member='<member id="1/image"/>'), "BAD_FIELD"),
        (entry(own="x" * MAX_TEXT), "BAD_FIELD"),
        (entry(own="a\nb"), "BAD_FIELD"),
        (entry(more=f"<classification>{'x' * 2000}</classification>"), "BAD_FIELD"),
        ("<deletedImage><id>a</id></deletedImage>", "MISSING_EXTERNAL_ID"),
        (entry(kind="retractedImage"), "NOT_AN_OBJECT"),
        (f'<image xmlns="urn:x"><id>a</id><md5>{MD5}</md5></image>', "NOT_AN_OBJECT"),
    ],
)
def test_unusable_entries_are_refused_where_they_stand(item: str, reason: str) -> None:
    items = read(document(entry(own="a") + item + entry(own="z")))
    assert [f.position for f in items] == ["images[0]", "images[1]", "images[2]"]
    assert isinstance(items[1], Reject)
    assert items[1].reason == reason


def vote(*members: str) -> str:
    return "<members>" + "".join(f'<member id="{m}"/>' for m in members) + "</members>"


def test_feedback_becomes_one_review_for_each_member_and_kind() -> None:
    feedback = (
        "<feedback>"
        f'<affirmativeFeedback type="Md5">{vote("1", "2")}</affirmativeFeedback>'
        f'<affirmativeFeedback type="Sha1">{vote("1")}</affirmativeFeedback>'
        '<negativeFeedback type="Md5"><reasons>'
        f'<reason name="Adult"/>{vote("3")}<reason name="Not a child"/><reason name="Other"/>{vote("3", "4")}'
        "</reasons></negativeFeedback></feedback>"
    )
    assert one(entry(more=feedback)).reviews == (
        RecordReview(ReviewKind.CONFIRMED, "ncmec-member:1", "Md5; Sha1"),
        RecordReview(ReviewKind.CONFIRMED, "ncmec-member:2", "Md5"),
        RecordReview(ReviewKind.FALSE_POSITIVE, "ncmec-member:3", "Adult (Md5); Not a child, Other (Md5)"),
        RecordReview(ReviewKind.FALSE_POSITIVE, "ncmec-member:4", "Not a child, Other (Md5)"),
    )


@pytest.mark.parametrize(
    ("feedback", "count"),
    [
        ("<feedback/>", 0),
        ("<feedback><affirmativeFeedback/><negativeFeedback/></feedback>", 0),
        ("<feedback><affirmativeFeedback><members><member/></members></affirmativeFeedback></feedback>", 0),
        # Doubt counts although nobody known is behind it.
        ("<feedback><negativeFeedback><members><member/></members></negativeFeedback></feedback>", 1),
        ('<feedback><negativeFeedback type="Md5"/></feedback>', 1),
        (f"<feedback><negativeFeedback>{vote('1')}</negativeFeedback></feedback>", 1),
        (f"<feedback><negativeFeedback><reasons>{vote('1')}</reasons></negativeFeedback></feedback>", 1),
        (
            (
                '<feedback><negativeFeedback><reasons><reason><member id="1"/></reason></reasons></negativeFeedback>'
                "</feedback>"
            ),
            1,
        ),
    ],
)
def test_incomplete_feedback_loses_no_member(feedback: str, count: int) -> None:
    record = one(entry(more=feedback))
    assert len(record.reviews) == count
    assert bool(record.faults) == (count == 0 and feedback != "<feedback/>"), "what cannot be kept is told"


def test_what_members_say_cannot_cost_an_entry_its_hashes() -> None:
    strange = "<strangeFeedback/>" * 100 + "".join(
        f'<negativeFeedback><reasons><reason name="{"x" * 2000}"/>{vote(str(i))}</reasons></negativeFeedback>'
        for i in range(100)
    )
    record = one(entry(more=f"<feedback>{strange}</feedback>"))
    assert len(record.reviews) == MAX_HASHES_PER_ENTRY  # what the hub takes; more would cost the whole list
    assert [(f.algorithm, f.reason) for f in record.faults] == [("feedback", "BAD_FIELD"), ("reviews", "BAD_FIELD")]


@pytest.mark.parametrize("prefix", ["", "n:", "hash-sharing:"])
def test_the_namespace_counts_and_the_prefix_does_not(prefix: str) -> None:
    declared = f'xmlns{":" * bool(prefix)}{prefix.removesuffix(":")}="{NAMESPACE}"'
    text = document(entry()).decode().replace(f' xmlns="{NAMESPACE}"', "")
    text = text.replace("</", "\0").replace("<", f"<{prefix}").replace("\0", f"</{prefix}")
    data = text.replace(f"<{prefix}queryResult", f"<{prefix}queryResult {declared}", 1).encode()
    (item,) = read(data)
    assert isinstance(item, Record)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("", "utf-16"), ("", "utf-16-le"), ("", "utf-16-be"), ("utf-16", "utf-16"), ("UTF-8", "utf-16"), ("", "utf-8-sig"),
     ("utf-16", "utf-8"), ("UTF-16LE", "utf-8-sig"), ("ISO-8859-1", "latin-1"), ("iso-8859-1", "latin-1"),
     ("windows-1252", "cp1252"), ("iso-8859-2", "iso8859-2"), ("utf-8", "utf-8")],
)  # fmt: skip
def test_documents_are_read_in_the_encodings_that_programs_save_them_in(declared: str, encoding: str) -> None:
    text = document(entry(own="d\xe9j\xe1")).decode()
    if declared:
        text = f'<?xml version="1.0" encoding="{declared}"?>\r\n{text}'
    (item,) = read(text.encode(encoding))
    assert isinstance(item, Record)
    assert item.external_id.endswith("/d\xe9j\xe1")
    assert item == read(document(entry(own="d\xe9j\xe1")))[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (document(entry()).replace(b"hashsharing/v2", b"hashsharing/v3"), "expected queryResult in the namespace"),
        (document(entry()).replace(f' xmlns="{NAMESPACE}"'.encode(), b""), "expected queryResult in the namespace"),
        (f'<entries xmlns="{NAMESPACE}"/>'.encode(), "expected queryResult"),
        (b"", "is empty"),
        (b"no xml", "not XML"),
        (document(entry()) + b"<a/>", "not XML"),
        (document(entry())[:-1], "cut off"),
        (b'<!DOCTYPE queryResult SYSTEM "http://example.invalid/x.dtd">' + document(entry()), "DTD"),
        (b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + document(entry(own="&b;")), "DTD"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + document(entry(own="&x;")), "DTD"),
        (document(entry(own="&unknown;")), "not XML"),
        (document("<a>" * 40 + "</a>" * 40), "nested deeper"),
        (document(entry(more="<x/>" * 30_000)), "more than 20000 elements"),
        (document(entry(own="\xe9")).decode().encode("latin-1"), "iconv -f ENCODING -t UTF-8 FILE > NEW"),
        (b'<?xml version="1.0" encoding="nonsense"?>' + document(entry()), "the encoding that it declares"),
        (b'<?xml version="1.0" encoding="shift_jis"?>' + document(entry()), "the encoding that it declares"),
        (b'<?xml version="1.0" encoding="hex"?>' + document(entry()), "the encoding that it declares"),
        (document(entry()).decode().encode("utf-16")[:-60], "cut off"),
    ],
)  # fmt: skip
def test_what_is_not_ncmecs_answer_is_refused(data: bytes, message: str) -> None:
    error = refused(data)
    assert message in error.message
    assert "line" in error.position or "top level" in error.position or "images" in error.position


def test_an_error_names_the_item_and_the_line() -> None:
    text = document(entry() + "\n" + entry()).decode()
    cut = text[: text.rindex("<fingerprints>") + 20].encode()
    items: list[Record | Reject] = []
    error: MalformedSource | None = None
    try:
        for item in NCMECXML().read(io.BytesIO(cut), {}):
            items.append(item)  # noqa: PERF402 - what came before the error counts
    except MalformedSource as e:
        error = e
    assert [f.position for f in items] == ["images[0]"]
    assert error is not None
    assert error.position.startswith("images[1], line 2, column ")


def test_entries_before_an_error_are_given_first() -> None:
    items = NCMECXML().read(io.BytesIO(document(entry() + "<image></video>" + entry())), {})
    assert next(items).position == "images[0]"
    with pytest.raises(MalformedSource, match=r"^images\[1\], line 1"):
        next(items)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (f'<queryResult xmlns="{NAMESPACE}"><images><image><id>', "x"),
        (f'<queryResult xmlns="{NAMESPACE}"><images><image a="', "x"),
        (f'<queryResult xmlns="{NAMESPACE}"><images><image><', "x"),
        (f'<queryResult xmlns="{NAMESPACE}"><!--', "x"),
        (f'<queryResult xmlns="{NAMESPACE}"><images><image>', "<a>x</a>"),
    ],
)
def test_ten_megabytes_without_an_end_are_refused_without_keeping_them(begin: str, piece: str) -> None:
    data = begin.encode() + piece.encode() * ((10 << 20) // len(piece))
    tracemalloc.start()
    assert " than " in refused(data).message  # longer than, or more elements than
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 12 << 20


def test_memory_does_not_grow_with_the_file() -> None:
    data = document("".join(entry(own=f"syn-{i}") for i in range(6_000)))
    tracemalloc.start()
    assert sum(1 for _ in NCMECXML().read(io.BytesIO(data), {})) == 6_000
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 6 << 20, f"{used >> 20} MiB for {len(data) >> 20} MiB"


@pytest.mark.parametrize(
    ("paging", "is_partial"),
    [
        ("<paging><next>/v2/entries?a&amp;b</next></paging>", True),
        ('<paging><next href="/v2/entries"/></paging>', True),
        ("<paging><previous>/v2/entries</previous><next>\n </next></paging>", False),
        ("<paging/>", False),
    ],
)
def test_paging_stands_beside_the_entries_and_says_whether_more_follow(paging: str, is_partial: bool) -> None:
    data = document(entry()).replace(b"</queryResult>", f"{paging}<images count='0'/></queryResult>".encode())
    first, *more = read(data)
    assert isinstance(first, Record)
    assert [(f.position, f.reason) for f in more if isinstance(f, Reject)] == [
        ("paging", "PARTIAL_SOURCE")
    ] * is_partial


@pytest.mark.parametrize(
    "unknown", ["<images2><image/></images2>", entry(), '<images xmlns="urn:other"><image/></images>']
)
def test_items_in_an_unknown_place_are_refused_not_lost(unknown: str) -> None:
    data = document(entry()).replace(b"</queryResult>", unknown.encode() + b"</queryResult>")
    with pytest.raises(MalformedSource, match=r"unknown element .* expected images, videos, paging"):
        read(data)


text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@given(text, text, text)
def test_any_text_in_an_entry_gives_one_answer(member: str, own: str, value: str) -> None:
    from xml.sax.saxutils import escape, quoteattr

    data = document(
        entry(
            own=escape(own),
            member=f"<member id={quoteattr(member)}/>",
            more=f"<classification>{escape(value)}</classification>",
        )
    )
    (item,) = read(data)
    if isinstance(item, Record):
        assert item.external_id == f"{member.strip()}/image/{own.strip()}"
        assert item.value == value.strip() or not value.isprintable()
