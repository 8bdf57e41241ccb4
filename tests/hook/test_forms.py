"""What an app's parser takes for a file has been decided over, or the request is refused."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from python_multipart.multipart import MultipartParser

from hashhub.hook import Action, Decision, WithoutAnswer, forms
from hashhub.hook.forms import BodyRefused, RequestIntake, is_looked_at
from hashhub.hook.hashing import PIECE_BYTES, UploadBytes
from hashhub.hook.settings import AppSettings, HookSettings
from hashhub.model import Verdict
from hashhub.senders import ByteBudget
from tests.examples import examples
from tests.hook.web import BOUNDARY, FORM_TYPE, File, form

JPEG = b"\xff\xd8\xff\xe0 not text \x00" * 40
ALLOWED = WithoutAnswer(
    hub_away=Action.ALLOW, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
)


class Kept:
    """A hook that keeps what it is given; hashing has tests of its own."""

    def __init__(self, app: AppSettings) -> None:
        self.settings = HookSettings(policy="block", without_answer=ALLOWED, app=app)
        self.contents: list[bytes] = []
        self.open = 0

    def receive(self, *, door: str, upload_id: str) -> KeptUpload:
        self.open += 1
        return KeptUpload(self)


class KeptUpload:
    def __init__(self, hook: Kept) -> None:
        self._hook = hook
        self._content = io.BytesIO()
        self._is_open = True

    def write(self, piece: bytes) -> None:
        self._content.write(piece)

    def decide(self) -> Decision:
        self._hook.contents.append(self._content.getvalue())
        return Decision(action=Action.ALLOW, verdict=Verdict.NO_MATCH, reasons=(), reference="r")

    def close(self) -> None:
        if self._is_open:
            self._hook.open -= 1
        self._is_open = False


def files_of(
    body: bytes, content_type: str | None = FORM_TYPE, *, app: AppSettings | None = None, cut: int = 65536, **named: Any
) -> list[bytes]:
    """Return the contents of the files that are decided over. Whatever happens, nothing stays in memory."""
    hook: Any = Kept(app or AppSettings())
    memory = ByteBudget(hook.settings.app.max_total_bytes)
    types = [] if content_type is None else [content_type]
    try:
        with RequestIntake(hook, memory, door="test", content_types=types, **named) as intake:
            for start in range(0, len(body), cut):
                intake.write(body[start : start + cut])
                for ended in intake.take():
                    ended.decide()
            intake.end()
            for ended in intake.take():
                ended.decide()
            assert intake.open_body().read() == body  # what the app gets is what came
    finally:
        assert (memory.taken, hook.open) == (0, 0)
    return list(hook.contents)


def seen(body: bytes, cut: int) -> list[bytes] | int:
    """Return the files that are decided over, or the status by which the form is refused."""
    try:
        return files_of(body, cut=cut)
    except BodyRefused as refused:
        return refused.status


def test_files_are_seen_whatever_they_are_called_and_text_is_not() -> None:
    body = form(
        File("title", None, "Grüße".encode(), None),
        File("a", "a.jpg", JPEG),
        File("b", "b.txt", b"a text with a name", "text/plain"),
        File("c", None, JPEG, None),  # an app may decode or store what has no name
        File("d", None, b"short", "image/png"),
        File("left-empty", "", b"", "application/octet-stream"),
    )
    assert files_of(body) == [JPEG, b"a text with a name", JPEG, b"short"]


@pytest.mark.parametrize("cut", [1, 2, 7, 64, 1000])
def test_it_does_not_matter_how_the_body_is_cut(cut: int) -> None:
    tricky = JPEG + b"\r\n--" + BOUNDARY[:-1] + b"\r\n--\r" + JPEG
    body = form(File("a", "a.jpg", tricky), File("t", None, b"x" * 50, None), File("b", None, b"\xff", None))
    assert files_of(body, cut=cut) == [tricky, b"\xff"]


_MARKER = b"--" + BOUNDARY
_NEARLY = (b"\r", b"\n", b"\r\n", b"-", b"\r\n--", _MARKER[:-1], b"\r\n" + _MARKER[:-1], _MARKER, b"\xff", b"x" * 60)


@given(st.lists(st.sampled_from(_NEARLY), max_size=8).map(b"".join), st.integers(1, 90))
@example(b"x" * 60 + b"\r\n" + _MARKER[:-1] + b"x" * 60, 61)
@settings(max_examples=examples(500), deadline=None)
def test_what_is_nearly_the_boundary_belongs_to_the_file_however_it_is_cut(content: bytes, cut: int) -> None:
    body = form(File("a", "a.jpg", b"\xff" + content))
    assert seen(body, cut) == seen(body, len(body)) == (400 if _MARKER in content else [b"\xff" + content])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("cut", [1, 7, 100, 300, 1 << 16])
def test_each_file_is_seen_in_whatever_a_server_gives_pieces(kind: Callable[[bytes], bytes], cut: int) -> None:
    body = form(File("a", "a.jpg", JPEG), File("b", "b.jpg", JPEG[::-1]), File("c", "c.jpg", JPEG * 2))
    kept = Kept(AppSettings())
    files = []
    with RequestIntake(kept, ByteBudget(1 << 30), door="asgi", content_types=[FORM_TYPE]) as intake:  # type: ignore[arg-type]
        for start in range(0, len(body), cut):
            intake.write(kind(body[start : start + cut]))
            files += [ended.decide() for ended in intake.take()]
        intake.end()
        files += [ended.decide() for ended in intake.take()]
        assert b"".join(intake.body.pieces()) == body
    assert kept.contents == [JPEG, JPEG[::-1], JPEG * 2]


def test_a_long_field_is_a_file() -> None:
    app = AppSettings(max_field_bytes=100)
    assert files_of(form(File("a", None, b"x" * 100, None), File("b", None, b"y" * 101, None)), app=app) == [b"y" * 101]


def test_only_fields_that_are_named_are_looked_at() -> None:
    body = form(File("a", "a.jpg", JPEG), File("b", "b.jpg", JPEG + b"b"))
    assert files_of(body, fields={"b"}) == [JPEG + b"b"]


@pytest.mark.parametrize(
    ("content_type", "body", "is_file"),
    [
        ("image/jpeg", b"text", True),
        (None, JPEG, True),
        ("application/json", b'{"a": "data:image/png;base64,AAAA"}', False),  # documented: text is not decoded
        ("application/json", b'{"a": "\xff\xd8"}', True),
        ("text/plain", JPEG, True),
        ("text/plain", b"cut \xc3", True),
        ("application/x-www-form-urlencoded", form(File("a", "a.jpg", JPEG)), True),
        ("application/vnd.api+json; charset=utf-8", b"{}", False),
        (None, b"text", False),
        ("application/octet-stream", b"", False),
    ],
)
def test_a_body_that_is_no_text_is_a_file(content_type: str | None, body: bytes, is_file: bool) -> None:
    assert files_of(body, content_type, cut=3) == ([body] if is_file else [])


def _saved(picture: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name)
    return buffer.getvalue()


_TEXT_PICTURES = [
    b"P3\n# a comment\n2 1\n255\n255 0 0 0 255 0\n",
    b"P2 # " + b"c" * 70_000 + b"\n 2 1 255 0 255\n",
    b"P1\r\n2 # wide\r\n1\r\n0 1\r\n",
    _saved(Image.new("1", (9, 3)), "XBM"),
    b'/* XPM */\nstatic char *a[] = {\n"1 1 1 1",\n"a c #ff0000",\n"a"\n};\n',
]


@pytest.mark.parametrize("picture", _TEXT_PICTURES)
def test_a_picture_that_is_written_as_text_is_a_file(picture: bytes) -> None:
    assert Image.open(io.BytesIO(picture)).width in {1, 2, 9}  # as an app would
    for content_type in (None, "text/plain", "application/json"):
        assert files_of(picture, content_type, cut=5_000) == [picture]
    assert files_of(form(File("a", None, picture, None), File("b", None, picture, "text/plain"))) == [picture, picture]


@pytest.mark.parametrize(
    "text", [b"P1 ", b"P1 - urgent", b"P2 10", b"P3\n# notes\nfor 2 of us", b"#define WIDTH 10\n", b"/* a comment */"]
)
def test_text_that_only_begins_like_one_is_none(text: bytes) -> None:
    assert files_of(text, "text/plain") == files_of(form(File("a", None, text, None))) == []


B = BOUNDARY.decode()
HEAD = f'--{B}\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n'.encode()
END = b"\r\n--" + BOUNDARY + b"--\r\n"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={B}; boundary=other",
        f"multipart/form-data; boundary*=utf-8''{B}",
        f"multipart/form-data; boundary*0={B}",
        f'multipart/form-data; boundary="{B}',
        f"multipart/form-data, text/plain; boundary={B}",
        f"text/plain, multipart/form-data; boundary={B}",
        f"multipart/form-data boundary={B}",
        f"multipart/form-data; charset=utf-7; boundary={B}",
        f"multipart/mixed; boundary={B}",
        f'multipart/form-data; boundary="{B} "',
        "multipart/form-data; boundary=-",
        "multipart/form-data; boundary=" + "b" * 71,
        f'multipart/form-data; x="\\\\"; boundary={B}; y="; boundary=c; z="',  # Django counts quotes otherwise
        f'multipart/form-data; x="a; b"; boundary={B}',
        f"multipart/form-data; x=boundary; boundary={B}",  # PHP takes what follows the first one
        f'multipart/form-data; x="boundary=c"; boundary={B}',  # so does formidable
        f'multipart/form-data; boundary="{B}boundary=c"',  # Rack takes what follows the last one
        f'multipart/form-data; boundary="c,{B}"',  # and ends at a comma
    ],
)
def test_a_boundary_that_can_be_read_in_two_ways_is_refused(content_type: str) -> None:
    with pytest.raises(BodyRefused):
        files_of(form(File("a", "a.jpg", JPEG)), content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + form(File("a", "a.jpg", JPEG)),
        b"\r\n" + form(File("a", "a.jpg", JPEG)),
        form(File("a", "a.jpg", JPEG)) + b"epilogue",
        form(File("a", "a.jpg", JPEG)) + form(File("a", "a.jpg", JPEG)),
        form(File("a", "a.jpg", JPEG))[:-9],  # cut off
        HEAD + b"\r\n" + JPEG,
        form(File("a", "a.jpg", JPEG + b"\n--" + BOUNDARY + b"\n" + JPEG)),  # Werkzeug ends lines with LF, too
        form(File("a", "a.jpg", JPEG + b"--" + BOUNDARY + b"\r\n\r\n" + JPEG)),  # Django needs no line end before
        form(File("a", "a.jpg", JPEG + b"\r\n--" + BOUNDARY + b" \r\n\r\n" + JPEG)),
        form(File("a", "a.jpg", JPEG)).replace(b"\r\n", b"\n"),
        HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"/9j/4AAQ" + END,
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + JPEG + END,
        HEAD + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n" + JPEG + END,
        HEAD + b'Content-Disposition: form-data; name="b"\r\n\r\n' + JPEG + END,
        HEAD + b"X: a\nContent-Disposition: b\r\n\r\n" + JPEG + END,
        HEAD + b" folded\r\n\r\n" + JPEG + END,
        f"--{B}\r\n\r\n".encode() + JPEG + END,
        f"--{B}\r\nContent-Disposition: form-data\r\n\r\n".encode() + JPEG + END,
        f"--{B}\r\nContent-Disposition: attachment; name=a\r\n\r\n".encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n'.encode() + JPEG + END,
        f"--{B}\r\nContent-Disposition: form-data; name=\"a\"; name*=utf-8''b\r\n\r\n".encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a\\"; filename="b"\r\n\r\n'.encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a"; x="\\\\"; y="; name=b; z="\r\n\r\n'.encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a"; x="\\""; y="; name=b; z="\r\n\r\n'.encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a\\b"\r\n\r\n'.encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name=" a"\r\n\r\n'.encode() + JPEG + END,  # Django strips it
        f'--{B}\r\nContent-Disposition: form-data; name="a\u2003"\r\n\r\n'.encode() + JPEG + END,
        f'--{B}\r\nContent-Disposition: form-data; name="a\\"; filename=\\"b"\r\n\r\n'.encode() + JPEG + END,
        b"".join(HEAD + b"\r\n" + JPEG + b"\r\n" for _ in range(65)) + END[2:],
        HEAD + b"X: " + b"x" * 20000 + b"\r\n\r\n" + JPEG + END,
        HEAD + b"X: " + b"x" * 4222 + b"\r\n\r\n" + JPEG + END,  # a line that python-multipart refuses
        HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(8)) + b"\r\n" + JPEG + END,  # as many headers
        HEAD + b"X: --" + BOUNDARY + b"\r\n\r\n" + JPEG + END,
        HEAD + b"\r\n--" + BOUNDARY + b"\r\n" + HEAD + b"\r\n" + JPEG + END,  # its line begins with the headers' end
        HEAD + b"\r\n" + JPEG + END + b"\r\n",
    ],
)
def test_a_form_that_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    for cut in (65536, 11):
        with pytest.raises(BodyRefused):
            files_of(body, cut=cut)


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data; name=\"a\"; filename*=utf-8''na%C3%AFve.jpg",
        'form-data; name="a"; filename="x.jpg"; filename*=UTF-8\'\'y.jpg',
        'form-data; name="a"; filename="C:\\photos\\a.jpg"',
        'form-data; name="a"; filename="a \\"quoted\\".jpg"',
        'form-data;name=a;filename="Grüße 😀.jpg"',
        'Form-Data; Name="a"; FileName="a.jpg"',
        'form-data; name="a"; filename="a;b.jpg"',
    ],
)
def test_names_that_clients_send_are_taken(disposition: str) -> None:
    body = f"--{B}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + JPEG + END
    assert files_of(body) == [JPEG]


def read_of(read: Callable[[Any], Any], given: bytes | str) -> Any:
    try:
        return read(given)
    except BodyRefused as e:
        return e.status, e.message


@given(st.text("-ab", min_size=1, max_size=12))
@example("-")
@example("a--a")
@example("----WebKitFormBoundary7MA4YWxkTrZu0gW")
@settings(max_examples=examples(1000))
def test_a_boundary_that_ends_as_it_begins_is_refused_whatever_it_is(boundary: str) -> None:
    marker = f"--{boundary}"
    is_refused = any(marker.startswith(marker[start:]) for start in range(1, len(marker)))
    refusal = (400, "the boundary must not end as it begins; choose another")
    expected = refusal if is_refused else boundary.encode()
    assert read_of(forms.boundary_of, f"multipart/form-data; boundary={boundary}") == expected


def test_text_is_a_file_where_a_parser_may_find_a_file_name() -> None:
    """formidable looks for one without regard to quotes."""
    body = f'--{B}\r\nContent-Disposition: form-data; name="a filename=b;"\r\n\r\ntext'.encode() + END
    assert files_of(body) == [b"text"]


def test_a_body_in_another_encoding_is_refused() -> None:
    with pytest.raises(BodyRefused):
        files_of(JPEG, "image/jpeg", content_encodings=["gzip"])
    assert files_of(JPEG, "image/jpeg", content_encodings=["identity"]) == [JPEG]


def test_a_form_without_a_byte_is_the_apps_to_refuse() -> None:
    assert files_of(b"") == []
    assert files_of(b"--" + BOUNDARY + b"--\r\n") == []


# What apps see: the parsers of Werkzeug, Starlette (by python-multipart) and Django.


def by_werkzeug(body: bytes, content_type: str = FORM_TYPE) -> list[tuple[str, bytes]]:
    from werkzeug.formparser import FormDataParser
    from werkzeug.http import parse_options_header

    parser = FormDataParser(stream_factory=lambda *_, **__: io.BytesIO(), silent=False)
    mimetype, options = parse_options_header(content_type)
    _, _, files = parser.parse(io.BytesIO(body), mimetype, len(body), options)
    return [(field, file.stream.read()) for field, file in files.items(multi=True)]


def by_starlette(body: bytes, content_type: str = FORM_TYPE) -> list[tuple[str, bytes]]:
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartParser

    async def stream() -> Any:
        yield body

    async def parse() -> list[tuple[str, bytes]]:
        values = (await MultiPartParser(Headers({"content-type": content_type}), stream()).parse()).multi_items()
        files = [(field, value) for field, value in values if isinstance(value, UploadFile)]
        contents = [(field, await file.read()) for field, file in files]
        for _, file in files:
            await file.close()
        return contents

    return asyncio.run(parse())


def by_django(body: bytes, content_type: str = FORM_TYPE) -> list[tuple[str, bytes]]:
    import django.conf

    if not django.conf.settings.configured:
        django.conf.settings.configure(SECRET_KEY="of tests")  # noqa: S106 - no secret
    from django.core.files.uploadhandler import MemoryFileUploadHandler
    from django.http.multipartparser import MultiPartParser

    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": len(body)}
    _, files = MultiPartParser(meta, io.BytesIO(body), [MemoryFileUploadHandler()], "utf-8").parse()
    return [(field, file.read()) for field, group in files.lists() for file in group]


def files_by(parse: Callable[..., list[tuple[str, bytes]]], *arguments: Any) -> list[tuple[str, bytes]]:
    """Return the files by field. Whatever a parser raises, the app sees none."""
    try:
        return parse(*arguments)
    except Exception:  # noqa: BLE001 - whatever it is
        return []


_PIECES = st.sampled_from(
    [
        *(
            b"--" + BOUNDARY,
            b"--" + BOUNDARY + b"\r\n",
            b"\r\n--" + BOUNDARY + b"--",
            BOUNDARY,
            b"--",
            b"\n--" + BOUNDARY,
        ),
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b";", b'"', b"\\", b"\x00", b"\x0b", b"\x85", b"*"),
        *(b"Content-Disposition: form-data; name=b; filename=c", b"Content-Transfer-Encoding: base64", b"name", b":"),
        *(b'; filename="d"', b"; filename*=utf-8''e", b'name="f"', JPEG, b"text", b"Content-Type: multipart/mixed"),
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Forms with a few of their bytes changed, mostly where it matters."""
    body = bytearray(form(File("t", None, b"text", None), File("a", "a.jpg", JPEG[:20]), File("b", "b.jpg", JPEG[:9])))
    places = [0, len(body), *(at for at in range(len(body)) if body[at : at + 1] in b'\r\n-;"=:')]
    for _ in range(draw(st.integers(1, 4))):
        at = min(draw(st.sampled_from(places)), len(body))
        body[at : at + draw(st.sampled_from([0, 0, 1, 2]))] = draw(_PIECES)
    return bytes(body)


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies(), st.integers(1, 90))
def test_a_form_is_read_or_refused_alike_however_it_is_cut(body: bytes, cut: int) -> None:
    assert seen(body, cut) == seen(body, len(body) or 1)


def parts_by_python_multipart(body: bytes) -> list[bytes]:
    """Return the data of all parts. Raises FormParserError."""
    parts: list[bytes] = []
    ends: list[None] = []

    def add(data: bytes, start: int, end: int) -> None:
        parts[-1] += data[start:end]

    parser = MultipartParser(
        BOUNDARY,
        {"on_part_begin": lambda: parts.append(b""), "on_part_data": add, "on_end": lambda: ends.append(None)},
    )
    parser.write(body)
    assert ends == [None] or not body, "what is taken here comes to its end there"
    return parts


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies())
@example(form(File("a", "a.jpg", JPEG), File("e", "e.jpg", b"\r\n"), File("t", None, b"", None)))
def test_each_part_that_python_multipart_reads_is_a_file_or_text(body: bytes) -> None:
    """None is read otherwise or passed over. It reads more kinds of forms, and none of them is taken."""
    try:
        checked = files_of(body)
    except BodyRefused:
        return
    others = Counter(parts_by_python_multipart(body))
    assert Counter(checked) <= others
    others -= Counter(checked)
    assert all(part.isascii() and b"\0" not in part for part in others)


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies())
@example(form(File("a", "a.jpg", JPEG + b"\n--" + BOUNDARY + b"\n" + JPEG)))
def test_no_parser_sees_a_file_that_was_not_decided_over(body: bytes) -> None:
    try:
        checked = files_of(body)
    except BodyRefused:
        return
    for parse in (by_werkzeug, by_starlette, by_django):
        assert [content for _, content in files_by(parse, body) if content and content not in checked] == [], parse


_SCRAPS = ["a", "\\\\", '\\"', ";", "; ", "=", "c", " ", "name=", "filename="]
_VALUES = st.one_of(
    st.sampled_from(["a", "picture", "boundary=c", "; boundary=c; y=", "; name=picture; y=", "; filename=f; y="]),
    st.lists(st.sampled_from(_SCRAPS), max_size=4).map("".join),
)
_PARAMETERS = st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), _VALUES), max_size=3, unique_by=lambda x: x[0])


@st.composite
def headers(draw: st.DrawFn, first: str, *own: str) -> str:
    """A header with these parameters, and others among them, in quotes and with escapes."""
    others = [f'{name}="{value}"' for name, value in draw(_PARAMETERS)]
    return "; ".join([first, *draw(st.permutations([*own, *others]))])


def _inner(field: str) -> bytes:
    """A form in another boundary, which is a text field's data if that is none."""
    return b"\r\n" + form(File(field, "a.jpg", JPEG), boundary=b"c")


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(headers("multipart/form-data", f"boundary={B}"), headers("form-data", 'name="a"'))
@example(f'multipart/form-data; x="\\\\"; boundary={B}; y="; boundary=c; z="', 'form-data; name="a"')
@example(FORM_TYPE, 'form-data; name="a"; x="\\\\"; y="; name=picture; filename=f; z="')
@example(FORM_TYPE, 'form-data; name=" picture "; filename=f')
def test_no_parser_reads_of_headers_another_form_or_name(content_type: str, disposition: str) -> None:
    """Nothing that it calls a file is passed over, nor what it calls a file of a field that is looked at."""
    head = f"--{B}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    body = head + _inner("picture") + END
    for fields in (None, {"picture"}):
        try:
            checked = files_of(body, content_type, fields=fields)
        except BodyRefused:
            return
        for parse in (by_werkzeug, by_starlette, by_django):
            for field, content in files_by(parse, body, content_type):
                assert content in checked or (fields is not None and field not in fields), parse


def test_unmutated_forms_are_seen_alike_by_all() -> None:
    body = form(File("t", None, b"text", None), File("a", "a.jpg", JPEG), File("b", "b.jpg", b"b"))
    for parse in (by_werkzeug, by_starlette, by_django):
        assert parse(body) == [("a", JPEG), ("b", b"b")], parse
    assert files_of(body) == [JPEG, b"b"]


# Bounds


def test_what_a_request_and_all_of_them_take_is_bounded() -> None:
    with pytest.raises(BodyRefused) as refused:
        files_of(JPEG * 10, "image/jpeg", app=AppSettings(max_request_bytes=1000), cut=100)
    assert refused.value.status == 413
    with pytest.raises(BodyRefused) as refused:
        files_of(JPEG * 10, "image/jpeg", app=AppSettings(max_total_bytes=1000), cut=100)
    assert refused.value.status == 503


def test_paths_are_compared_as_widely_as_any_framework_does() -> None:
    for path in ("/up", "/up/", "//up", "/UP", "/up/2"):
        assert is_looked_at(path, ["/up"])
    assert not is_looked_at("/upload", ["/up"])
    assert not is_looked_at("/", ["/up"])
    assert is_looked_at("/anything", ["/"])
    assert is_looked_at("/anything", None)


class TestBody:
    def test_a_body_gives_what_came_in_pieces_of_bounded_size_and_gives_its_memory_back(self) -> None:
        memory = ByteBudget(1 << 20)
        came = [b"a", b"bc", bytes(3 * PIECE_BYTES + 1), b"d" * 5000, b"e", b"f"]
        body = UploadBytes(memory, 1 << 20, is_digested=False)
        for piece in came:
            body.write(piece)
        assert (b"".join(body.pieces()), body.size, memory.taken) == (b"".join(came), *[len(b"".join(came))] * 2)
        taken = []
        while body.taken:
            taken.append(body.take_piece())
        assert b"".join(taken) == b"".join(came)
        assert max(map(len, taken)) <= PIECE_BYTES
        assert memory.taken == 0
        assert body.take_piece() == b""
        body.drop()
        assert memory.taken == 0

    def test_bytes_that_come_one_by_one_are_joined(self) -> None:
        body = UploadBytes(ByteBudget(1 << 20), 1 << 20)
        for _ in range(10_000):
            body.write(b"x")
        assert len(body.pieces()) == 1

    def test_a_body_can_be_had_as_a_file(self) -> None:
        memory = ByteBudget(1 << 20)
        body = UploadBytes(memory, 1 << 20, is_digested=False)
        body.write(b"ab")
        body.write(bytes(5000))
        file = body.open()
        assert file is not None
        with file:
            assert file.read() == b"ab" + bytes(5000)
        body.drop()
        body.drop()
        assert memory.taken == 0
