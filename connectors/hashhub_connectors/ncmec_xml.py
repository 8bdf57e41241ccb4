"""NCMEC Hash Sharing API v2: the `queryResult` that `GET /v2/entries` answers, one document (page) in one file.

An entry's identity is its member's id together with its own id. What one member says about another's entry (feedback)
becomes a review. deletedImage and deletedVideo are withdrawals; a next page makes the source partial. Entries come in
the latest state, so withdrawals and contributions of one document need no order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from hashhub.connector import (
    MAX_LINE,
    PURPOSE_TAG,
    Certainty,
    Guess,
    Items,
    Known,
    LeftOut,
    Option,
    check_options,
    partial,
)
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Action, HashFault, Record, RecordReview, Reject, ReviewKind
from hashhub_connectors import items
from hashhub_connectors.source import ClassifiedFormat, head_text, read_block

SCHEME: Final = "ncmec-industry"  # what the element classification is of
NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
_ROOT: Final = f"{{{NAMESPACE}}}queryResult"
_FIRST_ELEMENT: Final = re.compile(r"<(?:[\w.-]+:)?(\w[\w.-]*)([^>]*)>")
_ITEMS: Final = {
    "image": ("image", Action.CONTRIBUTE),
    "video": ("video", Action.CONTRIBUTE),
    "deletedImage": ("image", Action.WITHDRAW),
    "deletedVideo": ("video", Action.WITHDRAW),
}
_VOTES: Final = {"affirmativeFeedback": ReviewKind.CONFIRMED, "negativeFeedback": ReviewKind.FALSE_POSITIVE}
# What is read of an entry: its elements, with @ their attributes, and as # their texts.
_MEMBER: Final[Known] = {"@id": None, "@timestamp": None}
_TEXT: Final[Known] = {"#": None}
_REASON: Final[Known] = {"@guid": None, "@name": None, "@type": None, "members": {"member": _MEMBER}}
_VOTE: Final[Known] = {
    "@type": None,
    "@lastUpdateTimestamp": None,
    "members": {"@timestamp": None, "member": _MEMBER},
    "reasons": {"reason": _REASON, "members": {"@timestamp": None, "member": _MEMBER}, "member": _MEMBER},
    "member": _MEMBER,
}
_ITEM: Final[Known] = {
    "member": {**_MEMBER, **_TEXT},
    **dict.fromkeys(("timestamp", "id", "classification"), _TEXT),
    "fingerprints": {"*": {"@rel": None, "@href": None, **_TEXT}},  # each is an algorithm
    "feedback": {"@lastUpdateTimestamp": None, **dict.fromkeys(_VOTES, _VOTE)},
}
_OF_LISTS: Final = frozenset({"count", "maxTimestamp"})
_LISTS: Final = frozenset({"images", "videos"})
_DECLARED: Final = re.compile(rb"""<\?xml[^>]{0,200}?encoding=["'](?!utf-?16)""", re.IGNORECASE)
_ITEM_LEVEL: Final = 3  # queryResult / images / image
_MAX_DEPTH: Final = 32  # feedback, the deepest part of an entry, ends at level 8
_MAX_NODES: Final = 20_000  # elements of one entry; a thousand members' feedback on every fingerprint stays below
# What follows the last hyphen is what the environment holds: separate databases of csam and exploitative items.
_ENVIRONMENT: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,26}-)?(csam|exploitative)")


class _Node:
    """An element of an entry: local name (with its namespace if not NCMEC's), attributes, children, text."""

    __slots__ = ("attributes", "children", "name", "parts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[_Node] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.parts).strip()

    def child(self, name: str) -> _Node | None:
        return next((c for c in self.children if c.name == name), None)

    def child_text(self, name: str) -> str:
        element = self.child(name)
        return element.text if element else ""


class _Target:
    """Receives the parser's events and keeps only finished entries: memory is that of the largest one."""

    def __init__(self) -> None:
        self.done: list[tuple[str, _Node]] = []
        self.position = "top level"
        self.has_more = False
        self.left_out = LeftOut()
        self._open: list[_Node] = []
        self._count: dict[str, int] = {}
        self._nodes = self._characters = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != _ROOT:
            raise MalformedSource(
                f"the root element is {tag[:120]!r}; expected queryResult in the namespace {NAMESPACE}",
                position="top level",
            )
        node = _Node(tag.removeprefix(f"{{{NAMESPACE}}}"), attributes)
        self._open.append(node)
        level = len(self._open)
        if level < _ITEM_LEVEL:
            for name in attributes.keys() - _OF_LISTS:
                self.left_out.see(f"{node.name}@{name}")
        if level > _MAX_DEPTH:
            raise MalformedSource(f"elements are nested deeper than {_MAX_DEPTH}", position=self.position)
        if level == _ITEM_LEVEL - 1 and node.name not in {*_LISTS, "paging"}:
            raise MalformedSource(
                f"queryResult holds an unknown element {node.name[:40]!r}, whose items would be lost; expected images, "
                "videos, paging",
                position="top level",
            )
        if level == _ITEM_LEVEL and self._in_list():
            parent = self._open[1].name
            index = self._count.get(parent, 0)
            self._count[parent] = index + 1
            self.position = f"{parent}[{index}]"
            self._nodes = self._characters = 0
        elif level == _ITEM_LEVEL:
            self.has_more |= node.name == "next" and bool(attributes)
            self.left_out.see(f"paging/{node.name}", node.name != "next")
        elif level > _ITEM_LEVEL:
            self._open[-2].children.append(node)
            self._nodes += 1
            self._grow(sum(len(k) + len(v) for k, v in attributes.items()))
            if self._nodes > _MAX_NODES:
                raise MalformedSource(f"the entry has more than {_MAX_NODES} elements", position=self.position)

    def data(self, text: str) -> None:
        if len(self._open) > _ITEM_LEVEL:
            self._grow(len(text))
            self._open[-1].parts.append(text)
        elif not text.isspace():
            self.has_more |= self._open[-1].name == "next"
            self.left_out.see(f"text in {self._open[-1].name}", self._open[-1].name != "next")

    def comment(self, text: str) -> None:
        self.left_out.see("comment", bool(text.strip()))

    def pi(self, target: str, data: str | None = None) -> None:  # noqa: ARG002 - the parser's interface
        self.left_out.see("processing instruction")

    def end(self, tag: str) -> None:  # noqa: ARG002 - the parser's interface
        node = self._open.pop()
        if len(self._open) == _ITEM_LEVEL - 1 and self._in_list():
            self.done.append((self.position, node))

    def close(self) -> None:
        """Nothing is left to do at the end; the parser's interface."""

    def _in_list(self) -> bool:
        return self._open[1].name in _LISTS

    def _grow(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_LINE:
            raise MalformedSource(f"the entry is longer than {MAX_LINE} characters", position=self.position)


def _see_unknown(node: _Node, known: Known, left_out: LeftOut, path: str = "") -> None:
    """Count the attributes, texts and elements of an element that are not read."""
    left_out.see(f"{path}text", "#" not in known and bool(node.text))
    for name in node.attributes:
        left_out.see(f"{path}@{name}", f"@{name}" not in known)
    for child in node.children:
        below = known.get(child.name, known.get("*"))
        if below is None:
            left_out.see(path + child.name)
        else:
            _see_unknown(child, below, left_out, f"{path}{child.name}/")


class NCMECXML(ClassifiedFormat):
    """Reads NCMEC's XML. Positions are `images[3]` and `videos[0]`; `external_id` is `MEMBER-ID/image|video/ID`."""

    name = "ncmec-xml"
    version = "6"
    summary = "NCMEC Hash Sharing API v2, the XML of /v2/entries, with deletions and feedback"
    options: tuple[Option, ...] = (
        Option(
            "environment",
            "the NCMEC environment that the file comes from: csam or exploitative, or a name that ends in -csam or "
            "-exploitative, such as generative-ai-csam; kept as the tag environment:NAME, and its entries wait in "
            "quarantine in a hash set of another purpose",
        ),
    )

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return CERTAIN for queryResult in NCMEC's namespace, LIKELY for another version of it."""
        text = head_text(head).lstrip()
        if not text.startswith("<"):
            return None
        while text.startswith(("<?", "<!")):
            text = text.partition("-->" if text.startswith("<!--") else ">")[2].lstrip()
        root = _FIRST_ELEMENT.match(text)
        if root is None or root[1] != "queryResult":
            return None
        if f'"{NAMESPACE}"' in root[2] or f"'{NAMESPACE}'" in root[2]:
            return Guess(Certainty.CERTAIN, f"its root element is queryResult in the namespace {NAMESPACE}")
        return Guess(Certainty.LIKELY, "its root element is queryResult, though not in the namespace of NCMEC's API v2")

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each child of images and videos. A paging/next makes the source partial.

        Raises MalformedSource for text that is not XML or is cut off, another root or namespace, anything in
        it beside images, videos and paging, a DTD, entities or external references, and an entry of more than MAX_LINE
        characters; InvalidArgument for a malformed environment.
        """
        check_options(self, options)
        tags = _tags(options.get("environment", ""))
        target = _Target()
        for position, node in _entries(source, target):
            _see_unknown(node, _ITEM, target.left_out)
            yield _record(position, node, tags)
        if target.has_more:
            yield partial("paging", "the document is one page of an answer, and says that another follows")
        return target.left_out


def _tags(environment: str) -> tuple[str, ...]:
    if not environment:
        return ()
    environment_name = _ENVIRONMENT.fullmatch(environment)
    if not environment_name:
        raise InvalidArgument.field(
            "options.environment",
            "must be csam or exploitative, or end in -csam or -exploitative, in at most 40 of a-z, 0-9 and -",
            "PATTERN",
        )
    return (f"environment:{environment}", f"{PURPOSE_TAG}{environment_name.group(1)}")


def _entries(source: BinaryIO, target: _Target) -> Iterator[tuple[str, _Node]]:
    """Yield (position, element) of each child of images and videos as soon as it is complete."""
    block = read_block(source)
    if not block:
        raise MalformedSource("the file is empty; expected an XML document", position="line 1")
    # The bytes decide about UTF-16, whatever the document says: programs declare it of files that they then save as
    # UTF-8, which is what NCMEC sends.
    is_wide = block[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in block[:4]
    encoding = "utf-16" if is_wide else None if _DECLARED.match(block) else "utf-8"
    parser: Any = DefusedXMLParser(target=target, encoding=encoding, forbid_dtd=True)
    fed = 0
    while True:
        fed += len(block)
        try:
            _feed(parser, target, block)
        except MalformedSource:
            yield from target.done
            raise
        yield from target.done
        target.done.clear()
        # The parser holds an unfinished tag in memory; text it hands over as it comes.
        if not block:
            return
        if fed - parser.parser.CurrentByteIndex > MAX_LINE + len(block):
            raise MalformedSource(f"a single tag is longer than {MAX_LINE} bytes", position=target.position)
        block = read_block(source)


def _feed(parser: Any, target: _Target, block: bytes) -> None:
    """Give the parser a block, or its end, and map what it raises."""
    try:
        if block:
            parser.feed(block)
        else:
            parser.close()
    except DefusedXmlException as e:
        raise MalformedSource(
            "the document has a DTD, entities or external references, which are refused; remove its DOCTYPE",
            position=f"line {parser.parser.CurrentLineNumber}",
        ) from e
    except (ParseError, ValueError, LookupError) as e:  # the last two: Python cannot read the declared encoding
        what = str(e).partition(":")[0][:60]
        raise MalformedSource(
            f"the text is not XML in UTF-8 or the encoding that it declares, or the file is cut off ({what}); convert "
            "one in another: iconv -f ENCODING -t UTF-8 FILE > NEW, and take the encoding out of its first line",
            position=f"{target.position}, line {parser.parser.CurrentLineNumber}, "
            f"column {parser.parser.CurrentColumnNumber}",
        ) from e


def _record(position: str, node: _Node, tags: tuple[str, ...]) -> Record | Reject:
    if node.name not in _ITEMS:
        return Reject(position, "NOT_AN_OBJECT", f"unknown element {node.name[:40]!r}; expected {', '.join(_ITEMS)}")
    kind, action = _ITEMS[node.name]
    member = node.child("member")
    member_id = member.attributes.get("id", "").strip() if member else ""
    own_id = node.child_text("id")
    if not member_id or not own_id:
        return Reject(position, "MISSING_EXTERNAL_ID", "the entry needs a member with an id, and an id of its own")
    if "/" in member_id:
        return Reject(position, "BAD_FIELD", "the member's id has a /; it could be taken for another member's")
    external_id = f"{member_id}/{kind}/{own_id}"
    if refused := items.bad_id(position, external_id):
        return refused
    faults: list[HashFault] = []
    stated_by = items.text(f"{member_id} {member.text if member else ''}", "member", faults)
    source_time = items.text(node.child_text("timestamp"), "timestamp", faults)
    if action is Action.WITHDRAW:
        return Record(
            position=position,
            action=action,
            external_id=external_id,
            member=stated_by,
            media_type=kind,
            source_time=source_time,
            faults=tuple(faults),
        )
    value = node.child_text("classification")
    if len(value) > MAX_TEXT:
        return Reject(position, "BAD_FIELD", "the classification is far too long; expected one such as A1")
    return items.finish(
        position,
        _fingerprints(node, faults),
        faults,
        external_id=external_id,
        value=items.text(value, "classification", faults),
        scheme=SCHEME,
        member=stated_by,
        media_type=kind,
        tags=tags,
        source_time=source_time,
        reviews=_reviews(node, faults),
    )


def _fingerprints(node: _Node, faults: list[HashFault]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for group in node.children:
        if group.name != "fingerprints":
            continue
        for fingerprint in group.children[: MAX_HASHES_PER_ENTRY + 1]:  # one too many is enough to be refused
            label = fingerprint.name[:40]
            if fingerprint.text:
                pairs.append((label, fingerprint.text))
            elif "href" in fingerprint.attributes:
                faults.append(
                    HashFault(label, "UNSUPPORTED_ALGORITHM", f"{label} is given by a link only; the hash was left out")
                )
    return pairs


def _reviews(node: _Node, faults: list[HashFault]) -> tuple[RecordReview, ...]:
    """Return one review for each member and kind, with what it was about: reasons and fingerprint types.

    Feedback of another kind, and agreement of nobody who has an id, cannot be kept as a review and adds BAD_FIELD.
    """
    said: dict[tuple[ReviewKind, str], dict[str, None]] = {}
    for feedback in node.children:
        if feedback.name != "feedback":
            continue
        for vote in feedback.children:
            about = vote.attributes.get("type", "").strip()
            kind = _VOTES.get(vote.name)
            given = list(_reasons(vote)) if kind else []
            if kind is ReviewKind.FALSE_POSITIVE and (vote.children or vote.attributes) and not given:
                given = [
                    ("", "")
                ]  # doubt is not lost because nobody says whose it is: the hub keeps it as that of nobody known
            if kind is None or not given:
                expected = f"{' or '.join(_VOTES)} by members with an id, found {vote.name[:40]!r}"
                faults.append(HashFault("feedback", "BAD_FIELD", f"feedback was left out: expected {expected}"))
                continue
            for reason, member in given:
                comment = f"{reason} ({about})" if reason and about else reason or about
                said.setdefault((kind, member), {})[comment] = None
    return tuple(
        RecordReview(
            kind,
            items.text(f"ncmec-member:{member}", "feedback member", faults) if member else "",
            items.text("; ".join(c for c in comments if c), "feedback", faults),
        )
        for (kind, member), comments in said.items()
    )


def _members(nodes: list[_Node]) -> Iterator[str]:
    """Yield the ids of the members among `nodes` and below them."""
    for node in nodes:
        if node.name != "member":
            yield from _members(node.children)
        elif member := node.attributes.get("id", "").strip():
            yield member


def _reasons(vote: _Node) -> Iterator[tuple[str, str]]:
    """Yield (reason names, member id): reasons, if any, and the members who gave them are siblings, reasons first."""
    for group in vote.children:
        reasons: list[str] = []
        answered = False
        for child in group.children if group.name == "reasons" else [group]:
            if child.name == "reason":
                if answered:
                    reasons, answered = [], False
                reasons.append(child.attributes.get("name", "").strip())
            else:
                answered = True
            for member in _members([child]):
                yield ", ".join(r for r in reasons if r), member
