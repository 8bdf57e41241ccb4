from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import trust
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.model import Contributor, EntryState, Purpose, Reliability, Review, ReviewKind, Role, Verdict
from hashhub.trust import Dispute, ReasonCode, Statement
from tests.trust.conftest import (
    ANY,
    BLOCK,
    MD5,
    NEARNESS,
    POLICIES,
    REGISTRY,
    TIME,
    codes,
    contributor,
    decide,
    judge,
    review,
    states,
)

FP, OK = ReviewKind.FALSE_POSITIVE, ReviewKind.CONFIRMED
A = contributor("alpha", "A")


class TestAny:
    def test_the_three_plain_cases(self) -> None:
        assert judge(ANY, states("a")) is Verdict.MATCH
        assert judge(ANY, states("b", purpose=Purpose.BENIGN)) is Verdict.BENIGN
        assert judge(ANY, states("a"), states("b", purpose=Purpose.BENIGN)) is Verdict.REVIEW
        assert judge(ANY) is Verdict.NO_MATCH

    @pytest.mark.parametrize("value", ["copine:1", "copine:8", "vic-us:5", "vic-us:2", "interpol-baseline:N"])
    def test_anything_that_may_be_harmful(self, value: str) -> None:
        assert judge(ANY, states("a", value)) is Verdict.MATCH

    @pytest.mark.parametrize("value", ["vic-us:0", "vic-us:4", "vic-us-legacy:5"])
    def test_what_claims_no_harm_is_no_match_and_not_benign_either(self, value: str) -> None:
        assert judge(ANY, states("a", value)) is Verdict.NO_MATCH
        assert codes(ANY, states("a", value)) == {("NOT_A_HARM_CLAIM", "")}


class TestBlock:
    def test_two_independent_contributors(self) -> None:
        assert (
            judge(BLOCK, states("a"), states("b", purpose=Purpose.EXPLOITATIVE)) is Verdict.REVIEW
        )  # csam, exploitative
        assert judge(BLOCK, states("a"), states("b")) is Verdict.MATCH
        assert judge(BLOCK, states("a"), states("a", entry_id=2)) is Verdict.REVIEW
        assert judge(BLOCK, states("a")) is Verdict.REVIEW

    @pytest.mark.parametrize(
        ("reliability", "value", "expected"),
        [
            ("A", "vic-us:1", Verdict.MATCH),
            ("A", "ncmec-industry:B2", Verdict.MATCH),
            ("A", "vic-us:2", Verdict.MATCH),
            ("A", "interpol-baseline:Y", Verdict.MATCH),
            ("B", "vic-us:1", Verdict.REVIEW),
            ("F", "vic-us:1", Verdict.REVIEW),
            ("A", "", Verdict.REVIEW),  # no scheme
            ("A", "copine:8", Verdict.REVIEW),  # a draft
            ("A", "interpol-baseline:N", Verdict.REVIEW),  # verified, but the verdict is not its
            ("A", "vic-us:5", Verdict.REVIEW),
            ("A", "vic-us:0", Verdict.NO_MATCH),
        ],
    )
    def test_one_reliable_contributor_with_a_verified_scheme(
        self, reliability: str, value: str, expected: Verdict
    ) -> None:
        assert judge(BLOCK, states(contributor("a", reliability), value)) is expected

    def test_drafts_never_count(self) -> None:
        assert judge(BLOCK, states("a", "copine:8"), states("b", "copine:8")) is Verdict.REVIEW
        assert judge(BLOCK, states("a", "copine:8"), states("b")) is Verdict.REVIEW
        assert ("DRAFT_SCHEME", "") in codes(BLOCK, states("a", "copine:8"), states("b"))
        assert judge(BLOCK, states("a", "copine:8"), states("b"), states("c")) is Verdict.MATCH

    def test_undecided_entries_never_count(self) -> None:
        assert judge(BLOCK, states("a", "vic-us:5"), states("b")) is Verdict.REVIEW

    @pytest.mark.parametrize("purpose", [Purpose.CSAM, Purpose.EXPLOITATIVE])
    def test_the_purpose_of_the_set_is_no_verdict_for_a_value_that_carries_none(self, purpose: Purpose) -> None:
        silent = [states(contributor(c, "A"), "interpol-baseline:N", purpose=purpose, depth=9) for c in ("a", "b")]
        assert judge(BLOCK, *silent) is Verdict.REVIEW
        assert ("UNDECIDED", "") in codes(BLOCK, *silent)
        assert ("HARM_CLAIMED", "") not in codes(BLOCK, *silent)
        assert judge(BLOCK, silent[0], states("c", purpose=purpose)) is Verdict.REVIEW
        benign = states("n", "interpol-baseline:N", purpose=Purpose.BENIGN)
        assert judge(BLOCK, benign) is Verdict.BENIGN

    def test_what_is_not_active_counts_for_nothing(self) -> None:
        for state in (EntryState.QUARANTINED, EntryState.WITHDRAWN):
            assert judge(BLOCK, states("a"), states("b", state=state)) is Verdict.REVIEW
            assert judge(BLOCK, states("a", state=state)) is Verdict.NO_MATCH
            assert (
                judge(BLOCK, states(A, "vic-us:1"), states("b", purpose=Purpose.BENIGN, state=state)) is Verdict.MATCH
            )

    def test_test_items_block_nobody(self) -> None:
        test = states("t", purpose=Purpose.TEST)
        assert judge(BLOCK, test) is Verdict.REVIEW
        assert judge(BLOCK, test, states("u", purpose=Purpose.TEST)) is Verdict.REVIEW
        assert judge(BLOCK, test, states("a")) is Verdict.REVIEW
        assert judge(BLOCK, test, states(A, "vic-us:1")) is Verdict.MATCH
        assert judge(ANY, test) is Verdict.MATCH
        assert judge(ANY, test, states("b", purpose=Purpose.BENIGN)) is Verdict.REVIEW
        assert judge(BLOCK, states("t", "vic-us:1", purpose=Purpose.TEST), states("a")) is Verdict.REVIEW


class TestIndependence:
    @pytest.mark.parametrize(
        ("network", "expected"),
        [
            ({}, Verdict.MATCH),
            ({"a": ["b"]}, Verdict.REVIEW),
            ({"b": ["a"]}, Verdict.REVIEW),
            ({"a": ["x"], "x": ["b"]}, Verdict.REVIEW),
            ({"a": ["x"], "x": ["y"], "y": ["b"]}, Verdict.REVIEW),
            ({"a": ["s"], "b": ["s"]}, Verdict.REVIEW),
            ({"a": ["x"], "x": ["s"], "b": ["s"]}, Verdict.REVIEW),
            ({"a": ["x"], "b": ["y"]}, Verdict.MATCH),
            ({"x": ["a", "b"]}, Verdict.MATCH),
            ({"a": ["x"], "x": ["a"]}, Verdict.MATCH),
            ({"a": ["b"], "b": ["a"]}, Verdict.REVIEW),
        ],
    )
    def test_neither_from_the_other_and_no_common_source(
        self, network: dict[str, list[str]], expected: Verdict
    ) -> None:
        known = [
            contributor(c, takes_from=network.get(c, ())) for c in ("a", "b", "x", "y")
        ]  # `s` is unknown to the hub
        assert judge(BLOCK, states(known[0]), states(known[1]), known=known) is expected

    def test_the_independent_pair_is_found_among_many_dependent_ones(self) -> None:
        crowd = [contributor(f"copy-{i}", takes_from=["a"]) for i in range(30)]
        assert judge(BLOCK, states("a"), *(states(c) for c in crowd)) is Verdict.REVIEW
        assert judge(BLOCK, states("a"), *(states(c) for c in crowd), states("z")) is Verdict.MATCH

    def test_three_pairwise(self) -> None:
        policy = msgspec.structs.replace(BLOCK, clauses=(msgspec.structs.replace(BLOCK.clauses[0], contributors=3),))
        b, c = contributor("b", takes_from=["s"]), contributor("c", takes_from=["s"])
        assert judge(policy, states("a"), states(b), states(c)) is Verdict.REVIEW
        assert judge(policy, states("a"), states(b), states("d")) is Verdict.MATCH


class TestDisputes:
    def test_a_false_positive_review_stands_against_everything(self) -> None:
        assert judge(BLOCK, states("a", reviews=[(FP, "x")]), states("b")) is Verdict.REVIEW
        assert judge(BLOCK, states("a", reviews=[(FP, "x")]), states("b"), states("c")) is Verdict.REVIEW
        assert ("DISPUTED", "FALSE_POSITIVE") in codes(BLOCK, states("a", reviews=[(FP, "x")]), states("b"))

    def test_until_its_own_author_confirms_the_entry(self) -> None:
        def verdict(*reviews: tuple[ReviewKind, str]) -> Verdict:
            return judge(BLOCK, states("a", reviews=reviews), states("b"))

        assert verdict((FP, "x"), (OK, "x")) is Verdict.MATCH
        assert verdict((OK, "x"), (FP, "x")) is Verdict.REVIEW
        assert verdict((FP, "x"), (OK, "y")) is Verdict.REVIEW
        assert verdict((FP, "x"), (ReviewKind.DUPLICATE, "x")) is Verdict.REVIEW

    def test_other_reviews_dispute_where_the_policy_says_so(self) -> None:
        strict = msgspec.structs.replace(BLOCK, disputed_by=tuple(Dispute))
        for kind in (ReviewKind.NOT_ILLEGAL_HERE, ReviewKind.MISCLASSIFIED):
            item = (states("a", reviews=[(kind, "x")]), states("b"))
            assert judge(BLOCK, *item) is Verdict.MATCH
            assert judge(strict, *item) is Verdict.REVIEW
        for kind in (ReviewKind.DUPLICATE, ReviewKind.CONFIRMED):
            assert judge(strict, states("a", reviews=[(kind, "x")]), states("b")) is Verdict.MATCH

    @pytest.mark.parametrize("other", ["vic-us:0", "vic-us:4"])
    def test_conflicting_verdicts(self, other: str) -> None:
        assert judge(BLOCK, states(A, "vic-us:1"), states("b"), states("c", other)) is Verdict.REVIEW
        assert ("DISPUTED", "CONFLICTING_VERDICTS") in codes(BLOCK, states(A, "vic-us:1"), states("c", other))

    @pytest.mark.parametrize("other", ["vic-us:2", "arachnid-shield:harmful-abusive-material"])
    def test_another_harm_takes_no_match_away_and_confirms_none(self, other: str) -> None:
        """However many state it, and in however many ways."""
        match = (states(A, "vic-us:1"),)
        contradiction = [states(f"c{n}", other, entry_id=10 + n, distance=n % 2) for n in range(5)]
        assert judge(BLOCK, *match, *contradiction) is Verdict.MATCH
        assert judge(BLOCK, states("a"), states("b", entry_id=2), *contradiction) is Verdict.MATCH
        assert ("DOUBT_CLAIMS_HARM", "CONFLICTING_VERDICTS") in codes(BLOCK, *match, *contradiction)
        assert judge(BLOCK, states("a"), states("c", other, entry_id=2)) is Verdict.REVIEW

    @pytest.mark.parametrize("other", ["vic-us:5", "copine:2", "copine:5", "uk-sentencing:C", "interpol-baseline:N"])
    def test_compatible_verdicts(self, other: str) -> None:
        assert judge(BLOCK, states(A, "vic-us:1"), states("c", other)) is Verdict.MATCH

    def test_a_benign_set(self) -> None:
        benign = states("nist", purpose=Purpose.BENIGN)
        assert judge(BLOCK, states("a"), states("b"), benign) is Verdict.REVIEW
        assert judge(BLOCK, benign) is Verdict.BENIGN
        assert judge(BLOCK, benign, states("c", "vic-us:0")) is Verdict.BENIGN

    def test_a_harmful_value_in_a_benign_set_clears_nothing_and_accuses_nobody(self) -> None:
        odd = states(A, "vic-us:1", purpose=Purpose.BENIGN)
        for policy in (ANY, BLOCK):
            assert judge(policy, odd) is Verdict.REVIEW
            assert judge(policy, odd, states("b")) is Verdict.REVIEW
            assert judge(policy, states("n", "vic-us:0", purpose=Purpose.BENIGN)) is Verdict.BENIGN


# Properties: whatever stands in the store.

SHA1, OTHER_SHA1 = (Hash.of("SHA1", bytes([n] * 20)) for n in (1, 2))
NAMES = ("a", "b", "c", "d", "e")
VALUES = ("", *(f"{s.id}:{v}" for s in REGISTRY.list() for v in s.values))
people = st.fixed_dictionaries(
    {n: st.tuples(st.sampled_from("ABCDF"), st.sets(st.sampled_from([*NAMES, "s", "u"]), max_size=2)) for n in NAMES}
).map(lambda d: {n: contributor(n, r, sorted(t - {n})) for n, (r, t) in d.items()})
policies = st.builds(
    msgspec.structs.replace,
    st.sampled_from([ANY, BLOCK]),
    disputed_by=st.sets(st.sampled_from(Dispute)).map(lambda s: tuple(sorted(s))),
    disputed_from=st.sampled_from(Reliability),
    independent_from=st.sampled_from(Reliability),
    clauses=st.just(ANY.clauses) | st.just(BLOCK.clauses) | st.just(BLOCK.clauses[:1]),
)
Case = tuple[trust.Policy, dict[str, Contributor], list[Statement]]


@st.composite
def reviews_of(draw: st.DrawFn, entry_id: int, authors: Sequence[str], roles: Sequence[Role]) -> list[Review]:
    return [
        review(
            draw(st.sampled_from(ReviewKind)),
            draw(st.sampled_from(authors)),
            number=number,
            entry_id=draw(st.sampled_from([entry_id, entry_id, 900])),
            role=draw(st.sampled_from(roles)),
            awaits_acceptance=draw(st.booleans()),
            sets_aside=draw(st.integers(0, 3)),
        )
        for number in range(1, draw(st.integers(0, 3)) + 1)
    ]


AUTHORS = ("x", "y", "loud", "loud/one", "x/one", "a", "e", "")
ROLES = (Role.CONTRIBUTOR, Role.CONTRIBUTOR, Role.OPERATOR)


@st.composite
def statements_of(
    draw: st.DrawFn,
    who: Contributor,
    entry_id: int,
    authors: Sequence[str] = AUTHORS,
    roles: Sequence[Role] = ROLES,
) -> Statement:
    return states(
        who,
        draw(st.sampled_from(VALUES)),
        purpose=draw(st.sampled_from(Purpose)),
        state=draw(st.sampled_from([EntryState.ACTIVE, EntryState.ACTIVE, EntryState.ACTIVE, *EntryState])),
        reviews=draw(reviews_of(entry_id, authors, roles)),
        entry_id=entry_id,
        distance=draw(st.sampled_from([None, None, 0, 3, 30])),
        hashes=draw(st.sampled_from([(MD5,), (MD5, SHA1), (MD5, OTHER_SHA1)])),
        reasons=draw(st.sampled_from([(), (), ("UNCLASSIFIED",), ("AWAITS_ACCEPTANCE",)])),
        accepted=draw(st.booleans()),
        expire_time=draw(st.sampled_from([None, None, TIME, TIME + timedelta(days=1)])),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    known = draw(people)
    made = [
        draw(statements_of(known[draw(st.sampled_from(NAMES))], entry_id))
        for entry_id in range(1, draw(st.integers(0, 6)) + 1)
    ]
    return draw(policies), known, made


class TestProperties:
    @given(cases(), st.randoms())
    def test_order_does_not_matter(self, case: Case, rng: random.Random) -> None:
        policy, known, made = case
        shuffled = [msgspec.structs.replace(s, reviews=tuple(rng.sample(s.reviews, len(s.reviews)))) for s in made]
        rng.shuffle(shuffled)
        people_shuffled = dict(sorted(known.items(), reverse=True))
        assert decide(policy, shuffled, people_shuffled.values()) == decide(policy, made, known.values())

    @given(cases(), st.data())
    def test_a_false_positive_review_never_brings_a_match_nearer(self, case: Case, data: st.DataObject) -> None:
        policy, known, made = case
        if made:
            i = data.draw(st.integers(0, len(made) - 1))
            at = data.draw(st.integers(0, 9))
            author = data.draw(st.sampled_from(["x", "z"]))
            more = Review(id=100, entry_id=made[i].entry.id, author=author, kind=FP, revision=at)
            after = [*made[:i], msgspec.structs.replace(made[i], reviews=(*made[i].reviews, more)), *made[i + 1 :]]
            assert (
                NEARNESS[judge(policy, *after, known=known.values())]
                <= NEARNESS[judge(policy, *made, known=known.values())]
            )

    @given(cases(), st.sampled_from(VALUES), st.data())
    def test_a_dependent_contributor_never_makes_independence(
        self, case: Case, value: str, data: st.DataObject
    ) -> None:
        # All that count hang together through one source; a further one from the same source changes nothing.
        policy = msgspec.structs.replace(case[0], clauses=BLOCK.clauses[:1])
        known = {n: contributor(n, takes_from=[*(c.takes_from), "source"]) for n, c in case[1].items()}
        made = [msgspec.structs.replace(s, contributor=known[s.contributor.id]) for s in case[2]]
        through = data.draw(st.sampled_from(["source", *NAMES]))
        known["late"] = contributor("late", takes_from=[through])
        assert judge(
            policy, *made, states(known["late"], value, entry_id=99), known=known.values()
        ) is not Verdict.MATCH or any(s.hash_set.purpose is Purpose.TEST for s in made)

    @given(cases(), st.sampled_from(NAMES))
    def test_a_benign_statement_never_brings_a_match_nearer_where_it_disputes(self, case: Case, who: str) -> None:
        policy, known, made = case
        benign = states(known[who], purpose=Purpose.BENIGN, entry_id=99)
        before, after = judge(policy, *made, known=known.values()), judge(policy, *made, benign, known=known.values())
        assert NEARNESS[after] <= NEARNESS[before]
        counted = msgspec.structs.replace(policy, disputed_by=tuple(Dispute), disputed_from=Reliability.F)
        assert judge(counted, *made, benign, known=known.values()) is not Verdict.MATCH

    @given(cases())
    def test_every_verdict_has_reasons_that_name_what_decided_it(self, case: Case) -> None:
        policy, known, made = case
        decision = decide(policy, made, known.values())
        assert decision.reasons
        assert {r.code for r in decision.reasons} <= {c.value for c in ReasonCode}
        assert {n for r in decision.reasons for n in r.entries} == {s.entry.name for s in made}
        decisive = {r.code: r for r in decision.reasons}
        match decision.verdict:
            case Verdict.MATCH:
                assert "DISPUTED" not in decisive
                line = decisive.get("CLAUSE_MET") or decisive["TEST_ENTRY"]
                assert line.entries
                assert line.clause in {"", *(c.id for c in policy.clauses)}
            case Verdict.REVIEW:
                assert any(decisive.get(c) for c in ("DISPUTED", "HARM_CLAIMED", "UNDECIDED", "TEST_ENTRY"))
            case Verdict.BENIGN:
                assert "BENIGN_SET" in decisive
            case _:
                assert not decisive.keys() & {"HARM_CLAIMED", "UNDECIDED", "CLAUSE_MET", "DISPUTED"}

    @given(cases(), st.data())
    def test_who_does_not_count_takes_no_match_away_and_clears_nothing(self, case: Case, data: st.DataObject) -> None:
        policy, known, made = case
        policy = msgspec.structs.replace(policy, disputed_from=Reliability.C)
        hostile = contributor("hostile", data.draw(st.sampled_from("DEF")))
        everybody = [*known.values(), hostile]
        before = judge(policy, *made, known=everybody)
        # Whatever it states, under reviews of its own and such as it carried over from other items.
        more = []
        for entry_id in range(50, 50 + data.draw(st.integers(1, 4))):
            s = data.draw(statements_of(hostile, entry_id, ("hostile", "hostile/nl", "loud"), (Role.CONTRIBUTOR,)))
            carried_over = review(FP, "x", number=9, entry_id=900)
            more.append(msgspec.structs.replace(s, reviews=(*s.reviews, carried_over)))
        # And whatever it says of others' statements.
        said = review(data.draw(st.sampled_from([k for k in ReviewKind if k is not OK])), "hostile", number=8)
        made = [msgspec.structs.replace(s, reviews=(*s.reviews, said)) for s in made]
        after = judge(policy, *made, *more, known=everybody)
        if before is Verdict.MATCH and _claims_something(made):
            assert after is Verdict.MATCH
        if before is Verdict.REVIEW:
            assert after in {Verdict.REVIEW, Verdict.MATCH}

    @given(cases())
    def test_what_was_hit_less_closely_takes_no_match_away(self, case: Case) -> None:
        policy, known, made = case
        for closeness in trust.Closeness:
            close = [s for s in made if s.closeness <= closeness]
            if _claims_something(close) and judge(policy, *close, known=known.values()) is Verdict.MATCH:
                assert judge(policy, *made, known=known.values()) is Verdict.MATCH

    @given(st.lists(st.sampled_from("DEF"), max_size=30), st.data())
    def test_contributors_below_c_never_match_under_block(self, reliabilities: list[str], data: st.DataObject) -> None:
        many = [contributor(f"c{i}", r) for i, r in enumerate(reliabilities)]
        agreeing = [states(c, entry_id=i) for i, c in enumerate(many, 1)]
        anything = [data.draw(statements_of(c, i)) for i, c in enumerate(many[:6], 100)]
        assert judge(BLOCK, *agreeing, known=many) is not Verdict.MATCH
        assert judge(BLOCK, *agreeing, *anything, known=many) is not Verdict.MATCH
        one = states(contributor("good", "C"), entry_id=99)
        assert judge(BLOCK, *agreeing, one, known=many) is Verdict.REVIEW

    @given(cases())
    def test_a_judgement_cut_short_is_never_clean(self, case: Case) -> None:
        policy, known, made = case
        whole, part = (decide(policy, made, known.values(), cut_short=x) for x in (False, True))
        assert part.verdict is (Verdict.MATCH if whole.verdict is Verdict.MATCH else Verdict.REVIEW)
        assert "JUDGEMENT_CUT_SHORT" in {r.code for r in part.reasons} - {r.code for r in whole.reasons}

    @given(cases())
    def test_drafts_alone_never_match_under_block(self, case: Case) -> None:
        _, known, made = case
        drafts = [s for s in made if s.entry.classification is not None and s.entry.classification.scheme == "copine"]
        assert judge(BLOCK, *drafts, known=known.values()) is not Verdict.MATCH


def _claims_something(statements: Sequence[Statement]) -> bool:
    return bool({"HARM_CLAIMED", "UNDECIDED"} & {code for code, _ in codes(ANY, *statements)})


def policy_file(clause: str = "", **changes: str) -> str:
    keys = {
        "name": '"mine"',
        "title": '"Mine"',
        "description": '"D."',
        "disputed_by": '["FALSE_POSITIVE"]',
        "disputed_from": '"C"',
        "independent_from": '"C"',
        "test": '"REVIEW"',
        **changes,
    }
    text = "\n".join(f"{k} = {v}" for k, v in keys.items() if v)
    return text + "\n" + (clause or '[[clause]]\nid = "one"\ntitle = "t"\ncontributors = 1\nverdicts = ["csam"]\n')


class TestPolicyFiles:
    def test_a_new_policy_needs_no_code(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text(policy_file())
        mine = trust.load(tmp_path)["mine"]
        assert judge(mine, states("a", "vic-us:1")) is Verdict.MATCH
        assert judge(mine, states("a", "vic-us:2")) is Verdict.REVIEW

    def test_review_depth(self) -> None:
        clause = msgspec.structs.replace(ANY.clauses[0], min_review_depth=3)
        policy = msgspec.structs.replace(ANY, clauses=(clause,))
        assert judge(policy, states("a", depth=3)) is Verdict.MATCH
        assert judge(policy, states("a", depth=2)) is Verdict.REVIEW

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("name =", "is not TOML"),
            (policy_file("clause = []"), "at least one clause"),
            (policy_file("colour = 1"), "clause|colour"),
            (policy_file(colour='"red"'), "colour"),
            (policy_file(test=""), "test"),
            (policy_file(test='"BENIGN"'), "test"),
            (policy_file(disputed_by=""), "disputed_by"),
            (policy_file(disputed_from=""), "disputed_from"),
            (policy_file(independent_from=""), "independent_from"),
            (policy_file(disputed_from='"G"'), "disputed_from"),
            (policy_file(disputed_by='["RAIN"]'), "RAIN"),
            (policy_file(name='"Mine!"'), "name"),
            (policy_file(title='" "'), "title"),
            (policy_file(name='"block"'), "taken"),
            (policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 0\nverdicts = ["csam"]\n'), "contributors"),
            (policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 6\nverdicts = ["csam"]\n'), "contributors"),
            (policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 1\nverdicts = []\n'), "verdicts"),
            (
                policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 1\nverdicts = ["comparison"]\n'),
                "verdicts",
            ),
            (
                policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 1\nverdicts = ["csam"]\nweight = 2\n'),
                "weight",
            ),
            (
                policy_file(
                    '[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 1\nverdicts = ["csam"]\n'
                    "verified_scheme = true\ndrafts = true\n"
                ),
                "exclude each other",
            ),
            (policy_file('[[clause]]\nid = "x"\ntitle = "t"\ncontributors = 1\nverdicts = ["csam"]\n' * 2), "same id"),
            (
                policy_file(
                    '[[clause]]\nid = "X"\ntitle = ""\ncontributors = 1\nverdicts = ["csam"]\nmin_review_depth = -1\n'
                ),
                "id must.*title must.*min_review_depth",
            ),
        ],
    )
    def test_a_bad_file_is_refused_by_name_and_key(self, tmp_path: Path, text: str, names: str) -> None:
        (tmp_path / "bad-one.toml").write_text(text)
        with pytest.raises(InvalidArgument, match=rf"bad-one\.toml.*({names})") as e:
            trust.load(tmp_path)
        assert str(tmp_path) not in e.value.message

    def test_a_missing_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="no directory"):
            trust.load(tmp_path / "absent")

    @given(st.binary(max_size=60))
    def test_no_bytes_give_any_other_error(self, data: bytes) -> None:
        with pytest.raises(InvalidArgument):
            trust.parse(data, "x.toml")


class TestExplain:
    @pytest.mark.parametrize("name", sorted(POLICIES))
    def test_every_clause_and_dispute_is_explained(self, name: str) -> None:
        policy = POLICIES[name]
        text = trust.explain(policy)
        for c in policy.clauses:
            assert f"[{c.id}]" in text
            assert c.title in text
        assert text.count("\n  - ") == len(policy.disputed_by)
        assert f"{policy.test} when only sets of test items" in text

    def test_whose_word_counts_is_explained(self) -> None:
        strict = msgspec.structs.replace(BLOCK, disputed_from=Reliability.A, independent_from=Reliability.B)
        text = trust.explain(strict)
        assert "by a contributor of reliability A, or by an operator's review" in text
        assert "Only contributors of reliability A to B count as independent ones" in text
        assert "independent ones" not in trust.explain(ANY), "it asks for one contributor"
        for words in ("accepted", "set aside", "less closely", "expired", "everything that was hit"):
            assert words in text

    def test_a_policy_that_nothing_disputes_says_so(self) -> None:
        assert "nothing disputes" in trust.explain(msgspec.structs.replace(ANY, disputed_by=()))


def test_policies_and_disputes_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    for word in (*POLICIES, *Dispute, "disputed_from", "independent_from", *trust.Clause.__struct_fields__):
        assert f"`{word}`" in page or f"\n{word} = " in page
    sample = page.split("```toml\n")[1].split("```")[0]
    assert trust.parse(sample.encode(), "docs").name == "three-hotlines"
