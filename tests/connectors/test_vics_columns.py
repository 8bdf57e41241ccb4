"""Media of VICS that are read many at once: what comes out is what each read alone gives, whatever the list is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from random import Random
from typing import Any

import pytest

from hashhub.columns import RecordColumns
from hashhub.errors import MalformedSource
from hashhub.model import Record, Reject
from hashhub.testing.lists import write_many_vics
from hashhub_connectors import vics, vics_columns, vics_media
from hashhub_connectors.json_stream import JSONReader
from hashhub_connectors.vics import VICS

V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "E8B68FD718D14F83FBFF3F89B9E2F49BC0D24EFD"
PHOTODNA = "ABCD" * 48

USUAL: dict[str, list[Any]] = {
    "MediaID": [1, 2],
    "Category": [1, 2, 0],
    "MD5": [MD5, MD5.upper(), "0" * 32],
    "SHA1": [SHA1, "0" * 40],
    "PhotoDNA": [PHOTODNA, "_-" * 96, "+/" * 96],
    "VictimIdentified": ["true", "false", ""],
    "IsDistributed": [True, False],
    "Series": ["a", "b", "", "é😀"],
    "Tags": ["a", "a,b", "b , a"],
    "MimeType": ["image/jpeg", "IMAGE/PNG"],
    "MediaSize": [5, 0, (1 << 63) - 1],
    "DateUpdated": ["2025-01-02", "2025-01-02T03:04:05Z", ""],
    "IsPrecategorized": ["true", "false"],
    "Camera": ["c", "", "d"],
    "RelativeFilePath": ["\\a\\b.jpg", "a\\"],
}
_TEXTS: list[Any] = ["", " x ", "\x85", 'say "x"', "\x00", None, "x" * 65, "y" * 1025, 5, ["x"]]
_FLAGS: list[Any] = ["maybe", None, True, 1, 1.0, 0]
ODD: dict[str, list[Any]] = {
    "MediaID": ["3", None, 1 << 70],
    "Category": ["1", None, "", True, 1.0, 1.5, -1, 1 << 70, [1]],
    "MD5": ["", None, MD5[:31], "g" * 32, " " * 32, "é" * 32, MD5 + "\n", 7],
    "SHA1": ["", None, MD5, "=" * 40, "z" * 40],
    "PhotoDNA": ["", None, "a" * 192, "ab12" * 48, "A" * 191 + "=", "A" * 190 + "==", "=" * 192, "ab" * 144, "ä" * 192],
    "VictimIdentified": _FLAGS,
    "IsDistributed": _FLAGS,
    "Series": _TEXTS,
    "Tags": _TEXTS,
    "MimeType": _TEXTS,
    "MediaSize": [None, -1, "5", 5.0, True, 1 << 63, 1 << 64],
    "DateUpdated": [None, " 2025", "2025 ", "2 0", "\x85", "d" * 65, 5],
    "IsPrecategorized": [None, True, 1, "x" * 65],
    "Camera": [*_TEXTS, "z" * 1025, 1.5, {"a": 1}],
    "RelativeFilePath": ['c"', None],
    "AlternativeHashes": [None, [], "", [{"HashName": "PDQ", "HashValue": "ab" * 32}]],
    "MediaFiles": [None, [], [{"FileName": "SYNTHETIC"}]],
    "Media": [None, []],
    "Media@odata.nextLink": [None, "x"],
    'o"dd': [1],
}


def random_list(random: Random) -> str:
    """Return a list of Media with the same keys and usual values, but for a few oddities."""
    keys = ["MD5", *random.sample([*USUAL], random.randint(1, len(USUAL)))]
    values = {key: random.sample(USUAL[key], random.randint(1, len(USUAL[key]))) for key in dict.fromkeys(keys)}
    if random.random() < 0.3:
        values["Camera" if random.random() < 0.5 else "MediaSize"] = [None]
    media: list[list[tuple[str, Any]]] = [
        [(key, random.choice(values[key])) for key in values] for _ in range(random.randint(4, 40))
    ]
    gap = random.choice(["", " ", "\r\n\t"])
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        one = random.choice(media)
        match random.randrange(8):
            case 0:
                one.append(random.choice([*one, ("Category", 2)]))  # twice
            case 1:
                one.pop(random.randrange(len(one)))
                one.append(("MD5", MD5)) if not one else None
            case _:
                key = random.choice([*ODD])
                one[:] = [pair for pair in one if pair[0] != key]
                one.insert(random.randint(0, len(one)), (key, random.choice(ODD[key])))
    texts = [
        "{" + f"{gap},".join(f"{json.dumps(key)}{gap}:{json.dumps(value)}" for key, value in one) + "}" for one in media
    ]
    if random.random() < 0.1:
        other = random.choice(["7", "{}", "[]", "null", "NaN", "{", '"x'])
        texts.insert(random.randint(0, len(texts)), other)
    return f'{{"@odata.context":"{V20}","value":[' + f"{gap},{gap}".join(texts) + "]}"


def outcome(items: Iterable[Record | Reject | RecordColumns]) -> tuple[list[Record | Reject], str, int]:
    """Return what was read one by one, how it ended, and how many came as columns."""
    read: list[Record | Reject] = []
    in_columns = 0
    try:
        for one in items:
            read += one.records() if isinstance(one, RecordColumns) else [one]
            in_columns += len(one) if isinstance(one, RecordColumns) else 0
    except MalformedSource as e:
        return read, str(e), in_columns
    return read, "", in_columns


def read(data: str | bytes, *, first: int, block: int = 1 << 18) -> Iterator[Record | Reject | RecordColumns]:
    """Read a list of which the `first` Media are read alone, in pieces of `block` bytes."""
    vics_media._known.clear()
    source = io.BytesIO(data.encode() if isinstance(data, str) else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vics_columns, "SEEN_FIRST", first)
        patch.setattr(vics, "JSONReader", partial(JSONReader, block=block))
        yield from VICS().read_columns(source, {})


def test_lists_are_read_as_each_of_their_media_alone() -> None:
    total = many = 0
    for seed in range(1_500):
        random = Random(seed)
        listed = random_list(random)
        alone, error, _ = outcome(read(listed, first=1 << 40))
        items, same_error, in_columns = outcome(
            read(listed, first=random.randint(1, 8), block=random.choice([300, 3_000, 1 << 18]))
        )
        assert (items, same_error) == (alone, error), f"seed {seed}: {listed}"
        total += len(items)
        many += in_columns
    assert many > total // 8


@pytest.mark.parametrize("key", ODD)
def test_odd_values_are_read_as_alone_when_their_types_were_seen(key: str) -> None:
    """Then they are in the table, and must be told from usual ones there."""
    for before, value in product(ODD[key], repeat=2):
        media = usual(60, Series="s", Tags="t", VictimIdentified="true", DateUpdated="2025")
        for number in (2, 40):
            media[number] |= {key: before}
        for number in (30, 41, 50):
            media[number] |= {key: value}
        listed = written(media)
        expected = outcome(read(listed, first=1 << 40))[0]
        assert outcome(read(listed, first=4))[0] == expected, (before, value)


def usual(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"MediaID": n, "Category": n % 3, "MD5": f"{n:032x}", "SHA1": f"{n:040X}", "MediaSize": n, **more}
        for n in range(count)
    ]


def written(media: list[dict[str, Any]]) -> str:
    return json.dumps({"@odata.context": V20, "value": media})


def test_a_usual_list_comes_as_columns() -> None:
    out = io.BytesIO()
    write_many_vics(out, 5_000, seed=1, photodna=True)
    alone, _, none = outcome(read(out.getvalue(), first=1 << 40))
    items, _, in_columns = outcome(read(out.getvalue(), first=64))
    assert items == alone
    assert none == 0
    assert in_columns >= 4_900


@pytest.mark.parametrize(
    "change",
    [
        {"MD5": None}, {"MD5": "", "SHA1": ""}, {"MD5": "beef"}, {"MD5": "z" * 32}, {"Category": True},
        {"MediaSize": -1}, {"MediaSize": "12"}, {"DateUpdated": " 2025 "}, {"Series": "x" * 100}, {"Camera": "new"},
        {"Tags": ["a"]}, {"MediaFiles": [{"FileName": "x"}]}, {"Series": 'a "quote"'}, {"AlternativeHashes": [7]},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_media_among_usual_ones_is_read_as_alone_and_does_not_stop_the_others(change: dict[str, Any]) -> None:
    media = usual(4_000, Series="s", DateUpdated="2025-01-01", Tags="a")
    media[1_500] |= change
    alone, _, _ = outcome(read(written(media), first=1 << 40))
    items, _, in_columns = outcome(read(written(media), first=16))
    assert items == alone
    assert in_columns > 1_500


def test_a_key_given_twice_is_refused_wherever_it_stands() -> None:
    """msgspec takes the last value and says nothing."""
    listed = written(usual(1_000)).replace(
        '"MediaID": 700, "Category": 1', '"MediaID": 700, "Category": 2, "Category": 1'
    )
    items, _, in_columns = outcome(read(listed, first=16))
    refused = [item for item in items if isinstance(item, Reject)]
    assert [(r.position, r.reason) for r in refused] == [("value[700]", "BAD_FIELD")]
    assert "Category" in refused[0].detail
    assert in_columns == 0  # all stand in one window


def test_quotes_in_values_do_not_hide_a_key_given_twice() -> None:
    media = usual(600, Series='a "')
    twice = written(media).replace('"MediaID": 300,', '"MediaID": 300, "SHA1": "", ')
    items, _, _ = outcome(read(twice, first=8))
    assert [item.position for item in items if isinstance(item, Reject)] == ["value[300]"]


@pytest.mark.parametrize("at", [0, 700, 999])
@pytest.mark.parametrize("wrong", ["NaN", "tru", '"a\nb"', "01", "{", "]", "1,", '"\\ud800"', "1e999", "9" * 5_000])
def test_what_is_no_json_is_told_with_its_byte(at: int, wrong: str) -> None:
    listed = written(usual(1_000)).replace(f'"MediaID": {at},', f'"MediaID": {wrong},')
    assert outcome(read(listed, first=16))[:2] == outcome(read(listed, first=1 << 40))[:2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_are_read_alike(encoding: str) -> None:
    listed = json.dumps({"@odata.context": V20, "value": usual(900, Series="Größe 😀")}, ensure_ascii=False, indent=2)
    data = listed.encode(encoding)
    items, _, in_columns = outcome(read(data, first=16, block=4_096))
    assert items == outcome(read(data, first=1 << 40))[0]
    assert in_columns > 500


def test_a_list_that_is_never_usual_is_seldom_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try decodes a window in vain: a list in which all of them fail must not cost more for it."""
    tries = []
    objects = JSONReader.objects

    def counted(self: JSONReader, decode: Any) -> Any:
        tries.append(1)
        return objects(self, decode)

    monkeypatch.setattr(JSONReader, "objects", counted)
    items, _, in_columns = outcome(read(written(usual(20_000, Series='"')), first=64))
    assert (len(items), in_columns) == (20_000, 0)
    assert len(tries) < 10
