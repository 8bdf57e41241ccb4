"""Terms, policies and schemes: who may, what a dry run leaves alone, two at a time, two persons, wrong texts."""

from __future__ import annotations

import difflib
import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import hashhub
from hashhub.model import Group, HashSet, Principal, Purpose, Role
from tests.console.conftest import Console, Page, Serve
from tests.server.conftest import OPERATOR

SCRIPT = '"></textarea><script>alert(1)</script>'
BLOCK = (Path(hashhub.__file__).parent / "trust/data/block.toml").read_text()
CAID = (Path(hashhub.__file__).parent / "schemes/data/uk-caid.toml").read_text()


def text_in(page: Page, do: str = "put") -> str:
    return page.form(do)["text"][0]


def buttons(page: Page) -> set[str]:
    return set(page.read.forms) - {"leave"}


def current(console: Console, policy: str = "block") -> str:
    return str(console.hub.policies.get(OPERATOR, policy).full_name)


def own(name: str, title: str = "Mine") -> str:
    return BLOCK.replace('name = "block"', f'name = "{name}"\nversion = 1').replace("Sure enough", title)


def put(console: Console, name: str, title: str = "Mine") -> None:
    console.hub.policies.put(OPERATOR, own(name, title))


def hash_set(console: Console, name: str, **fields: Any) -> HashSet:
    new = HashSet(contributor="home", id=name, purpose=Purpose.CSAM, **fields)
    made: HashSet = console.hub.hash_sets.create(OPERATOR, new)
    return made


def test_each_role_sees_and_does_only_what_it_may(console: Console) -> None:
    hash_set(console, "seen")
    paths = ("/policies", "/policies/block", "/schemes", "/schemes/uk-caid", "/crosswalk?first=uk-sap&second=uk-caid")
    for path in (*paths, "/terms", "/terms/home/seen"):
        assert console.as_operator().get(path).status == 200, path
        page = console.as_auditor().get(path)
        assert (page.status, buttons(page)) == (200, {"simulate"} if path == "/policies/block" else set())
        page = console.as_contributor().get(path)
        assert (page.status, buttons(page)) == (200, {"check", "change"} if "home" in path else set())
        page = console.as_consumer().get(path)
        assert (page.status, buttons(page)) == (403 if "terms" in path else 200, set())
    # What a page leaves out the hub refuses.
    token = console.as_consumer().get("/reader").form("keep")["form_token"]
    for path, do in (("/policies/block", "put"), ("/policies/block", "simulate"), ("/schemes/uk-caid", "put")):
        page = console.as_operator().get(path)
        assert console.as_consumer().send(page, do, form_token=token, entries="1").status == 403
    assert current(console) == "block@1"


def test_a_form_is_written_into_its_text_and_tried_before_it_holds(console: Console) -> None:
    put(console, "formed")
    operator, path = console.as_operator(), "/policies/formed"
    page = operator.post(path, "check", **{"disputed_from": '"B"', "clause[1].verified_scheme": "false"})
    expected = own("formed").replace('disputed_from = "C"', 'disputed_from = "B"')
    expected = expected.replace("verified_scheme = true", "verified_scheme = false").replace(
        "version = 1", "version = 2"
    )
    assert text_in(page) == expected
    page = operator.send(page, "check", **{"clause[0].contributors": "3"})
    expected = expected.replace("contributors = 2", "contributors = 3")
    assert page.status == 200
    assert "+contributors = 3" in page.words
    assert "3 pairwise independent contributors" in page.words
    hashes = "# last week\nMD5:0123456789abcdef0123456789abcdef\n\nMD5:0123456789abcdef0123456789abcdee"
    page = operator.send(page, "simulate", hashes=hashes)
    assert (page.status, text_in(page)) == (200, expected)
    assert "formed@1 formed@2" in page.words
    assert "no match no match 2" in page.words
    page = operator.send(page, "simulate", hashes="", entries="1")
    assert (page.status, "nothing to judge" in page.words) == (200, True)
    assert current(console, "formed") == "formed@1"
    assert operator.send(page, "put", comment="stricter").words.count("formed@2 holds.") == 1
    assert console.hub.policies.get(OPERATOR, "formed").text == expected
    assert "-disputed_from" in operator.get("/policies/formed@1").words
    assert operator.post(path, "retire", reason="not yet").status == 200
    assert current(console, "formed") == "formed@1"
    assert {"retired", "current"} <= set(operator.get(path).words.split())


def test_of_two_who_change_a_policy_the_second_is_told(console: Console) -> None:
    put(console, "raced")
    first, second = console.as_operator(), console.as_person("Ann")
    pages = [browser.get("/policies/raced") for browser in (first, second)]
    assert first.send(pages[0], "put", disputed_from='"A"').status == 200
    text = text_in(pages[1]).replace("contributors = 2", "contributors = 4")
    page = second.send(pages[1], "put", text=text, comment="mine")
    assert page.status == 400
    assert (text_in(page), page.form("put")["comment"]) == (text, ["mine"])
    assert "/policies/raced@1" in page.read.links
    assert '-disputed_from = "C"\n+disputed_from = "A"' in second.get("/policies/raced@1").words
    assert current(console, "raced") == "raced@2"
    unsaid = text.replace("version = 2\n", "")
    page = second.send(page, "put", text=unsaid)
    assert (page.status, text_in(page), current(console, "raced")) == (400, unsaid, "raced@2")
    assert second.send(page, "put", text=text.replace("version = 2", "version = 3")).status == 200
    assert current(console, "raced") == "raced@3"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('test = "REVIEW"', "test = REVIEW", "line 9"),
        ('disputed_from = "C"', 'disputed_from = "Q"', "must be A, B"),
        ("contributors = 2", "contributors = 9", "two-independent"),
        ("contributors = 2", "contributorz = 2", "contributorz"),
        ('verdicts = ["csam", "exploitative"]', 'verdicts = ["x"]', "verdicts"),
        ("verified_scheme = true", 'verified_scheme = true\nvariants = ["misspelt"]', "reliable-verified"),
        ('[[clause]]\nid = "two', '"""', "line"),
    ],
)
def test_what_is_wrong_stands_beside_the_text_and_nothing_is_lost(
    console: Console, old: str, new: str, where: str
) -> None:
    page = console.as_operator().get("/policies/block")
    text = text_in(page).replace(old, new, 1)
    page = console.as_operator().send(page, "put", text=text, comment="try", hashes="MD5:00")
    assert page.status == 400
    beside = " ".join(re.findall('<strong class="fault">(.*?)</strong>', page.text))
    assert where in html.unescape(beside)
    form = page.form("put")
    assert (form["text"], form["comment"], form["hashes"]) == ([text], ["try"], ["MD5:00"])
    assert current(console) == "block@1"


def test_a_field_that_is_wrong_keeps_what_was_typed(console: Console) -> None:
    for value in ("many", "2\nversion = 9", "", "9"):
        page = console.as_operator().post("/policies/block", "put", **{"clause[0].contributors": value})
        assert page.status == 400
        assert value in {page.form("put")["clause[0].contributors"][0], "9"}
    page = console.as_operator().post("/policies/block", "put", text="no TOML", test='"MATCH"')
    assert (page.status, text_in(page), page.form("put")["test"]) == (400, "no TOML", ['"MATCH"'])
    page = console.as_operator().post("/policies/block", "simulate", hashes="MD5:00", text="x")
    assert (page.status, text_in(page, "simulate")) == (400, "x")
    assert "line 1: " in page.words


def test_a_new_policy_begins_as_a_copy(console: Console) -> None:
    page = console.as_operator().post("/policies/block", "check", text=own("copied"))
    assert (page.status, text_in(page)) == (200, own("copied"))
    assert console.as_operator().send(page, "put").url == "/policies/copied"
    assert (current(console, "copied"), current(console)) == ("copied@1", "block@1")


def test_where_two_persons_are_demanded_a_second_one_puts_the_same(serve_console: Serve) -> None:
    console = serve_console(second_person=True)
    ada, ben = console.as_person("Ada"), console.as_person("Ben")
    page = ada.post("/policies/block", "put", disputed_from='"A"', comment="first")
    text = text_in(page)
    assert (page.status, "second person" in page.words, 'disputed_from = "A"' in text) == (200, True, True)
    assert ada.send(page, "put").status == 200
    assert current(console) == "block@1"
    assert ben.post("/policies/block", "put", text=text, comment="agreed").status == 200
    assert current(console) == "block@2"
    hash_set(console, "guarded")
    page = ada.post("/terms/home/guarded", "change", bulk="True")
    assert (page.status, "second person" in page.words, page.form("change")["bulk"]) == (200, True, ["True"])
    assert not console.hub.hash_sets.get(OPERATOR, "home", "guarded").marking.bulk
    assert ben.post("/terms/home/guarded", "change", bulk="True").status == 200
    assert console.hub.hash_sets.get(OPERATOR, "home", "guarded").marking.bulk


def test_a_scheme_is_tried_put_signed_off_by_another_person_and_retired(console: Console) -> None:
    ann, ben = console.as_person("Ann"), console.as_person("Bert")
    text = CAID.replace('"0.1"', '"1"').replace('"draft"', '"verified"').replace('"Category B"', '"Class B"')
    page = ann.post("/schemes/uk-caid", "check", text=text)
    assert (page.status, "B changed" in page.words, text_in(page)) == (200, True, text)
    assert ann.get("/schemes/uk-caid@1").status == 404
    assert ann.send(page, "put", comment="the table").url == "/schemes/uk-caid@1"
    assert ann.post("/schemes/uk-caid@1", "sign_off", checked_against="it").status == 400
    page = ben.post("/schemes/uk-caid@1", "sign_off", checked_against="the owner's text")
    assert (page.status, buttons(page)) == (200, {"check", "put", "retire"})
    assert "verified" in page.words
    page = ben.post("/schemes/uk-caid@1", "put", text=text.replace("Class B", "Other"), comment="again")
    assert (page.status, "Other" in text_in(page), page.form("put")["comment"]) == (409, True, ["again"])
    assert "B changed" in ann.get("/crosswalk?first=uk-caid@0.1&second=uk-caid@1").words
    page = ann.post("/schemes/uk-caid@1", "put", text=text.replace("values.B", "values.A"))
    assert (page.status, "is not TOML" in page.words) == (400, True)
    page = ann.post("/schemes/uk-caid@1", "put", text=text.replace('age_band = "<18"', 'age_band = "old"', 1))
    assert (page.status, "age_band: no such value" in page.words) == (400, True)
    assert ben.post("/schemes/uk-caid@1", "retire", reason="replaced").status == 200
    assert console.hub.schemes.get(OPERATOR, "uk-caid@1").definition.retire_time


def test_category_words_are_folded(console: Console) -> None:
    for path in ("/schemes", "/schemes/uk-caid", "/crosswalk?first=uk-caid&second=uk-sap"):
        page = console.as_operator().get(path)
        open_words = re.sub(r"<details.*?</details>", "", page.text, flags=re.DOTALL)
        for told in ("csam", "penetrati", "Category A", "nudity", "bestiality", "sexual"):
            assert told not in open_words, (path, told)
        assert "csam" in page.text or path == "/schemes"
        assert "<details open" not in page.text


def test_no_script_of_a_text_runs(console: Console) -> None:
    policy = (
        own("scripted")
        .replace("Mine", SCRIPT.replace('"', '\\"'))
        .replace("two independent contributors state it", "<img src=x>")
    )
    scheme = CAID.replace("uk-caid", "scripted").replace("Category A", SCRIPT.replace('"', '\\"'))
    console.hub.policies.put(OPERATOR, policy, comment=SCRIPT)
    console.hub.schemes.put(OPERATOR, scheme, comment=SCRIPT)
    hash_set(console, "scripted", display_name=SCRIPT)
    page = console.as_operator().post("/terms/home/scripted", "check", legal_basis=SCRIPT, permitted_purposes=SCRIPT)
    assert page.status == 200
    pages = [console.as_operator().get(path) for path in ("/policies", "/policies/scripted", "/schemes/scripted")]
    pages += [console.as_operator().get(f"/crosswalk?first=scripted&second={quote(SCRIPT)}")]
    pages += [console.as_operator().get("/crosswalk?first=scripted&second=uk-sap")]
    pages += [
        console.as_operator().post(
            "/policies/scripted", "check", text=policy.replace("version = 1", f"x = 1 # {SCRIPT}")
        )
    ]
    pages += [
        console.as_operator().post("/policies/scripted", "check", text=policy.replace("version = 1", "version = 2"))
    ]
    for one in (page, *pages):
        assert "<script>" not in one.text
        assert not [tag for tag, _ in one.read.elements if tag in {"img", "iframe", "video"}]
        assert len([tag for tag, _ in one.read.elements if tag == "script"]) == 1


def test_terms_are_shown_as_who_has_what_and_tried_before_they_hold(console: Console) -> None:
    for name, mirrors in (("friend", True), ("other", False)):
        console.served.new_contributor(name)
        app = Principal(name=f"{name}-app", role=Role.CONSUMER, contributor=name, may_mirror=mirrors)
        console.hub.tokens.create(OPERATOR, app)
    console.hub.groups.create(OPERATOR, Group(id="allies", members=("friend", "home")))
    hash_set(console, "tried")
    operator, path = console.as_operator(), "/terms/home/tried"
    assert "home/tried amber answer answer" in operator.get("/terms").words
    page = operator.post(path, "check", tlp="RED", recipients="groups/allies", bulk="True", expire_time="2099-01-31")
    assert page.status == 200
    assert "Everybody answer -" in page.words
    assert "allies answer answer, list, feed" in page.words
    assert "friend-app answer answer, list, feed" in page.words
    assert "other-app answer -" in page.words
    assert console.hub.hash_sets.get(OPERATOR, "home", "tried").marking.tlp == "AMBER"
    assert page.form("change")["recipients"] == ["groups/allies"]
    assert operator.send(page, "change").status == 200
    marking = console.hub.hash_sets.get(OPERATOR, "home", "tried").marking
    assert (marking.tlp, marking.recipients, marking.bulk) == ("RED", ("groups/allies",), True)
    page = operator.post(path, "change", tlp="GREEN", recipients="")
    assert (page.status, page.form("change")["tlp"]) == (400, ["GREEN"])
    assert operator.send(page, "change", open="1").status == 200
    assert console.hub.hash_sets.get(OPERATOR, "home", "tried").marking.recipients == ()
    for wrong in (
        {"tlp": "PINK"},
        {"expire_time": "soon"},
        {"recipients": "x"},
        {"bulk": "?"},
    ):
        page = operator.post(path, "change", legal_basis="kept", **wrong)
        assert (page.status, page.form("change")["legal_basis"]) == (400, ["kept"]), wrong
        assert 'aria-invalid="true"' in page.text, wrong


def test_of_two_who_change_terms_the_second_is_told(console: Console) -> None:
    hash_set(console, "two")
    path = "/terms/home/two"
    first, second = console.as_operator().get(path), console.as_contributor().get(path)
    assert console.as_operator().send(first, "change", tlp="AMBER_STRICT").status == 200
    page = console.as_contributor().send(second, "change", tlp="GREEN", bulk="True")
    assert (page.status, page.form("change")["tlp"]) == (409, ["GREEN"])
    assert console.hub.hash_sets.get(OPERATOR, "home", "two").marking.tlp == "AMBER_STRICT"
    assert console.as_contributor().send(page, "change").status == 200
    assert console.hub.hash_sets.get(OPERATOR, "home", "two").marking.tlp == "GREEN"


def test_only_what_a_form_changes_is_written_into_a_text(console: Console) -> None:
    put(console, "touched")
    page = console.as_operator().get("/policies/touched")
    text = text_in(page).replace("contributors = 2", "contributors = 2  # two # voices")
    changed = {"clause[0].contributors": "3", "clause[1].reliability": '["A", "B"]'}
    written = text_in(console.as_operator().send(page, "check", text=text, **changed))
    differs = [line for line in difflib.ndiff(text.splitlines(), written.splitlines()) if line[0] in "+-"]
    assert [line[0] for line in differs] == ["-", "+", "-", "+"]
    assert "contributors = 3  # two # voices" in written
    assert 'reliability = ["A", "B"]' in written
    # What is not in the text as the form shows it, or would say more than a value, is not written.
    for path in ("clause[7].contributors", "clause[x].contributors", "other.key"):
        page.read.forms["check"]["was"] = [json.dumps({path: "1"})]
        refused = console.as_operator().send(page, "check", text=text, **{path: "2"})
        assert (refused.status, text_in(refused)) == (400, text)
    for value in ("1\nother = 2", "", "x", '"""'):
        refused = console.as_operator().post("/policies/touched", "check", **{"clause[0].contributors": value})
        assert (refused.status, "contributors = 2\n" in text_in(refused)) == (400, True)
