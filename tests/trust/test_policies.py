"""The language of policies: each demand, what is refused, versions; and that a trace says what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from importlib.resources import files
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import trust
from hashhub.errors import InvalidArgument, Reason, Unavailable
from hashhub.model import (
    READINGS,
    VARIANTS,
    Contributor,
    Definition,
    DefinitionKind,
    EntryState,
    Purpose,
    Reliability,
    Review,
    ReviewKind,
    Role,
    Verdict,
    now,
)
from hashhub.trust import Dispute, HitPath, PolicyVersions, Statement
from tests.trust.conftest import ANY, BLOCK, NEARNESS, REVIEWERS, TIME, contributor, decide, judge, review, states
from tests.trust.test_trust import VALUES, people, statements_of

if TYPE_CHECKING:
    from pathlib import Path

CLAUSE = msgspec.structs.replace(ANY.clauses[0], verdicts=("csam",), drafts=False)
OK, ASIDE, FP = ReviewKind.CONFIRMED, ReviewKind.SET_ASIDE, ReviewKind.FALSE_POSITIVE


def asking(**demands: Any) -> trust.Policy:
    """A policy with one clause: one contributor states csam, and this besides."""
    return msgspec.structs.replace(ANY, clauses=(msgspec.structs.replace(CLAUSE, **demands),))


def hit(s: Statement, *ways: HitPath, stated_days_ago: float | None = None) -> Statement:
    """The statement hit in these ways, the closest first, and stated so long ago."""
    first, *rest = ways or (HitPath(s.algorithm, s.distance),)
    return msgspec.structs.replace(
        s,
        algorithm=first.algorithm,
        distance=first.distance,
        variant=first.variant,
        also=tuple(rest),
        stated_time=None if stated_days_ago is None else TIME - timedelta(days=stated_days_ago),
    )


def text(clause: str = "", **changes: str) -> str:
    """A policy's file with one clause."""
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
    head = "\n".join(f"{k} = {v}" for k, v in keys.items() if v)
    return f'{head}\n[[clause]]\nid = "one"\ntitle = "t"\ncontributors = 1\nverdicts = ["csam"]\n{clause}\n'


def put(number: int, content: str, *, name: str = "mine", retired: bool = False) -> Definition:
    return Definition(
        kind=DefinitionKind.POLICY,
        id=name,
        version=str(number),
        text=content,
        actor="operator",
        create_time=now(),
        retire_time=now() if retired else None,
    )


class TestDemands:
    @pytest.mark.parametrize(
        ("demand", "value", "expected"),
        [
            ({"age_band": ("prepubescent",)}, "vic-us:1", None),
            ({"verdict": ("csam",)}, "vic-us:1", Verdict.MATCH),
            ({"legal_status": ("US:illegal",)}, "vic-us:1", Verdict.MATCH),
            ({"legal_status": ("GB:illegal",)}, "vic-us:1", Verdict.REVIEW),
            ({"age_band": ("0-2",)}, "vic-us:1", Verdict.REVIEW),
            ({"medium": ("photo",)}, "vic-us:1", Verdict.REVIEW),  # it says nothing about that
            ({"medium": ("photo",)}, "", Verdict.REVIEW),  # nor does an entry without a classification
        ],
    )
    def test_dimensions(self, demand: dict[str, tuple[str, ...]], value: str, expected: Verdict | None) -> None:
        statement = states("a", value)
        verdict = judge(asking(dimensions=demand), statement)
        if expected is None:  # as the scheme's table has it
            from hashhub.schemes.dimensions import is_within

            said = statement.entry.classification.dimensions  # type: ignore[union-attr]
            holds = all(is_within(name, said.get(name, ()), values) for name, values in demand.items())
            expected = Verdict.MATCH if holds else Verdict.REVIEW
        assert verdict is expected

    def test_all_that_remains_possible_must_be_within(self) -> None:
        one = states("a", "vic-us:1")
        bands = one.entry.classification.dimensions["age_band"]  # type: ignore[union-attr]
        assert len(bands) > 1
        assert judge(asking(dimensions={"age_band": bands}), one) is Verdict.MATCH
        assert judge(asking(dimensions={"age_band": ("<18",)}), one) is Verdict.MATCH
        for left_out in bands:
            rest = tuple(b for b in bands if b != left_out)
            assert judge(asking(dimensions={"age_band": rest}), one) is Verdict.REVIEW
        assert judge(asking(dimensions={"age_band": bands, "medium": ("photo",)}), one) is Verdict.REVIEW

    def test_legal_status_is_a_word_of_its_own(self) -> None:
        assert judge(asking(legal_status=("US:illegal",)), states("a", "vic-us:1")) is Verdict.MATCH
        assert judge(asking(legal_status=("US:illegal", "GB:illegal")), states("a", "vic-us:1")) is Verdict.MATCH
        assert judge(asking(legal_status=("US:not-illegal",)), states("a", "vic-us:1")) is Verdict.REVIEW

    def test_jurisdictions(self) -> None:
        nl = msgspec.structs.replace(contributor("a"), jurisdiction="NL")
        assert judge(asking(jurisdictions=("NL", "BE")), states(nl)) is Verdict.MATCH
        assert judge(asking(jurisdictions=("BE",)), states(nl)) is Verdict.REVIEW

    @pytest.mark.parametrize(
        ("demands", "ways", "expected"),
        [
            ({"algorithms": ("MD5",)}, [HitPath("MD5", 0)], True),
            ({"algorithms": ("PDQ",)}, [HitPath("MD5", 0)], False),
            ({"algorithms": ("PDQ",)}, [HitPath("MD5", 0), HitPath("PDQ", 30)], True),
            ({"max_distance": {"PDQ": 10}}, [HitPath("PDQ", 10)], True),
            ({"max_distance": {"PDQ": 10}}, [HitPath("PDQ", 11)], False),
            ({"max_distance": {"PDQ": 10}}, [HitPath("PHASH", 11)], True),
            ({"max_distance": {"PDQ": 10, "PHASH": 10}}, [HitPath("PHASH", 11)], False),
            ({"algorithms": ("PDQ",), "max_distance": {"PDQ": 10}}, [HitPath("MD5", 0), HitPath("PDQ", 11)], False),
            ({}, [HitPath("PDQ", 3, "turned")], False),
            ({}, [HitPath("PDQ", 20), HitPath("PDQ", 3, "turned")], True),
            ({"variants": ("none",)}, [HitPath("PDQ", 3, "turned")], False),
            ({"variants": ("turned",)}, [HitPath("PDQ", 3, "turned")], True),
            ({"variants": ("turned",)}, [HitPath("PDQ", 3)], False),
            ({"variants": ("none", "turned")}, [HitPath("PDQ", 3)], True),
            # A reading is the upload as it was sent; a clause may still ask for one of them.
            ({"variants": ("none",)}, [HitPath("PDQ", 3, "as-stored")], True),
            ({"variants": ("as-stored",)}, [HitPath("PDQ", 3, "as-stored")], True),
            ({"variants": ("as-stored",)}, [HitPath("PDQ", 3, "grey-clipped")], False),
            ({"variants": ("as-stored",)}, [HitPath("PDQ", 3)], False),
            ({"variants": ("turned",)}, [HitPath("PDQ", 3, "as-stored")], False),
            # One hit must be what all three ask: neither the near variant nor the far original is.
            ({"max_distance": {"PDQ": 10}}, [HitPath("PDQ", 20), HitPath("PDQ", 3, "turned")], False),
        ],
    )
    def test_how_it_was_hit(self, demands: dict[str, Any], ways: list[HitPath], expected: bool) -> None:
        verdict = judge(asking(**demands), hit(states("a"), *ways))
        assert verdict is (Verdict.MATCH if expected else Verdict.REVIEW)

    def test_block_sends_a_hit_by_a_variant_to_a_person(self) -> None:
        two = [hit(states(c, entry_id=i), HitPath("PDQ", 0, "turned")) for i, c in enumerate("ab", 1)]
        assert judge(BLOCK, *two) is Verdict.REVIEW
        assert judge(BLOCK, *(hit(s, HitPath("PDQ", 30)) for s in two)) is Verdict.MATCH

    def test_what_only_a_variant_hit_disputes_nothing_closer(self) -> None:
        two = [hit(states(c, entry_id=i), HitPath("PDQ", 30)) for i, c in enumerate("ab", 1)]
        benign = hit(states("z", purpose=Purpose.BENIGN, entry_id=3), HitPath("PDQ", 0, "turned"))
        assert judge(BLOCK, *two, benign) is Verdict.MATCH
        assert judge(BLOCK, *two, hit(benign, HitPath("PDQ", 30))) is Verdict.REVIEW

    def test_what_a_reading_hit_was_hit_as_closely_as_by_the_upload(self) -> None:
        two = [hit(states(c, entry_id=i), HitPath("PDQ", 0, "as-stored")) for i, c in enumerate("ab", 1)]
        assert judge(BLOCK, *two) is Verdict.MATCH
        benign = hit(states("z", purpose=Purpose.BENIGN, entry_id=3), HitPath("PDQ", 0))
        assert judge(BLOCK, *two, benign) is Verdict.REVIEW
        assert judge(BLOCK, *two, hit(benign, HitPath("PDQ", 1))) is Verdict.MATCH

    def test_freshness_counts_to_the_day(self) -> None:
        fresh = asking(stated_within_days=30)
        assert judge(fresh, hit(states("a"), stated_days_ago=30)) is Verdict.MATCH
        assert judge(fresh, hit(states("a"), stated_days_ago=30.001)) is Verdict.REVIEW
        assert judge(fresh, states("a")) is Verdict.REVIEW  # nobody knows when: that is not lately

    @pytest.mark.parametrize(
        ("by", "role", "counts"),
        [
            ("a", Role.CONTRIBUTOR, True),
            ("a/unit-7", Role.CONTRIBUTOR, True),
            ("anybody", Role.OPERATOR, True),
            ("x", Role.CONTRIBUTOR, False),
            ("ab", Role.CONTRIBUTOR, False),
            ("x", Role.AUDITOR, False),
        ],
    )
    def test_its_contributor_or_an_operator_confirms_it(self, by: str, role: Role, counts: bool) -> None:
        confirmed = msgspec.structs.replace(review(OK, by, role=role), create_time=TIME - timedelta(days=2))
        old = hit(states("a", reviews=[confirmed]), stated_days_ago=400)
        expected = Verdict.MATCH if counts else Verdict.REVIEW
        assert judge(asking(stated_within_days=30), old) is expected
        aside = review(ASIDE, "operator", number=2, role=Role.OPERATOR, sets_aside=1)
        both = msgspec.structs.replace(old, reviews=(*old.reviews, aside))
        assert judge(asking(stated_within_days=30), both) is Verdict.REVIEW


class TestFiles:
    @pytest.mark.parametrize(
        ("clause", "names"),
        [
            ('dimensions = { size = ["small"] }', "no such dimension"),
            ('dimensions = { act = ["tickling"] }', "no such value"),
            ("dimensions = { act = [] }", "at least one value"),
            ('dimensions = { verdict = ["non-pertinent"] }', "no value in common"),
            ('dimensions = { verdict = ["exploitative"] }', "no value in common"),
            ('legal_status = ["GB"]', "no such value"),
            ('legal_status = ["GB:illegal", "GB:not-illegal"]', "two statuses in GB"),
            ('legal_status = ["GB:illegal"]\ndimensions = { legal_status = ["GB:illegal"] }', "give it once"),
            ('jurisdictions = ["Netherlands"]', "ISO 3166-1"),
            ('jurisdictions = ["NL", "UK"]', "must be GB"),
            ("stated_within_days = -1", "stated_within_days"),
            ("stated_within_days = 40000", "stated_within_days"),
            ('stated_within_days = "soon"', "stated_within_days"),
            ('algorithms = ["MD6"]', "MD6"),
            ("max_distance = { PDQ = 257 }", "256"),
            ("max_distance = { PDQ = -1 }", "256"),
            ("max_distance = { MD5 = 0 }", "no distance"),
            ("max_distance = { ROT13 = 0 }", "ROT13"),
            ('algorithms = ["MD5"]\nmax_distance = { PDQ = 3 }', "leaves it out"),
            ('variants = ["Turned!"]', "variants"),
            ("freshness = 3", "freshness"),
        ],
    )
    def test_what_is_refused(self, clause: str, names: str) -> None:
        with pytest.raises(InvalidArgument, match=names):
            trust.parse(text(clause).encode(), "mine.toml")

    def test_a_file_that_names_a_variant_that_nobody_makes_is_refused(self, tmp_path: Path) -> None:
        """A policy that is in force, or came from a newer hub, is read all the same."""
        misspelt = text('variants = ["none", "boarder-removed"]')
        assert trust.parse(misspelt.encode(), "f").clauses[0].variants == ("none", "boarder-removed")
        (tmp_path / "mine.toml").write_text(misspelt)
        with pytest.raises(InvalidArgument, match="hashhub makes no 'boarder-removed'"):
            trust.load(tmp_path)
        (tmp_path / "mine.toml").write_text(text('variants = ["none", "border-removed", "x-boarder"]'))
        assert set(trust.load(tmp_path)) == {"any", "block", "block-corroborated", "mine"}

    def test_any_names_all_variants(self) -> None:
        assert VARIANTS - READINGS | {"none"} == set(ANY.clauses[0].variants)

    def test_what_could_never_be_met(self) -> None:
        clause = 'reliability = ["D", "E"]'
        assert trust.parse(text(clause).encode(), "f").version == 1
        never = text(clause).replace("contributors = 1", "contributors = 2")
        with pytest.raises(InvalidArgument, match="nobody of reliability D or E"):
            trust.parse(never.encode(), "f")

    @pytest.mark.parametrize(
        "content", [b"\xff", b"a" * 70 + b" = " + b"[" * 5000, b"version = " + b"9" * 5000, b"x = 1", b""]
    )
    def test_what_is_no_policy(self, content: bytes) -> None:
        with pytest.raises(InvalidArgument):
            trust.parse(content, "f")

    @pytest.mark.parametrize("version", ["0", "-1", "1.0", '"1"', "true", "99999999999"])
    def test_a_version_is_a_number(self, version: str) -> None:
        with pytest.raises(InvalidArgument, match="version"):
            trust.parse(text(version=version).encode(), "f")

    def test_every_demand_stands_in_a_sentence(self) -> None:
        clause = (
            'reliability = ["A", "B"]\nverified_scheme = true\nmin_review_depth = 2\njurisdictions = ["NL"]\n'
            'dimensions = { act = ["penetrative"], age_band = ["<18"] }\nlegal_status = ["GB:illegal"]\n'
            'stated_within_days = 90\nalgorithms = ["PDQ", "MD5"]\nmax_distance = { PDQ = 12 }\nvariants = ["turned"]'
        )
        told = trust.explain(trust.parse(text(clause, version="3").encode(), "f"))
        for words in (
            "mine@3", "A or B", "verified scheme", "at least 2 people", "contributor in NL", "GB:illegal", "turned",
            "act can only be penetrative", "age_band can only be <18", "within 90 days", "hit by PDQ or MD5",
            "at most 12 by PDQ",
        ):  # fmt: skip
            assert words in told


class TestVersions:
    def test_the_newest_that_is_not_retired_is_current(self) -> None:
        files = {"mine": trust.parse(text().encode(), "f")}
        policies = PolicyVersions(files, [put(2, text(test='"MATCH"')), put(3, text(test='"NO_MATCH"'), retired=True)])
        assert policies.get("mine").full_name == "mine@2"
        assert policies.get("mine@1").test is Verdict.REVIEW
        assert policies.next_version("mine") == 4
        assert [v.full_name for v in policies.versions("mine")] == ["mine@1", "mine@2", "mine@3"]
        with pytest.raises(InvalidArgument, match=r"mine@3' was retired; choose one of mine@1, mine@2"):
            policies.get("mine@3")
        with pytest.raises(InvalidArgument, match=r"no policy 'mine@4'; choose one of mine@1, mine@2"):
            policies.get("mine@4")

    @pytest.mark.parametrize("wrong", ["", "x", "mine@", "mine@01", "mine@1@1", "@1", "mine@-1", "MINE", "mine@1 "])
    def test_what_is_no_version(self, wrong: str) -> None:
        policies = PolicyVersions({"mine": trust.parse(text().encode(), "f")})
        with pytest.raises(InvalidArgument, match="mine"):
            policies.get(wrong)
        assert policies.known(wrong) is None

    def test_one_that_cannot_be_read_keeps_its_place(self) -> None:
        """Nobody is answered by another version instead."""
        files = {"mine": trust.parse(text().encode(), "f")}
        for broken in ("nonsense", text(version="7"), text(name='"other"'), text("new_key = 1")):
            policies = PolicyVersions(files, [put(2, broken)])
            with pytest.raises(Unavailable, match="mine@2") as refused:
                policies.get("mine")
            assert refused.value.reason is Reason.POLICY_UNREADABLE
            assert policies.get("mine@1").version == 1
            assert len(policies.faults) == 1
            assert (
                PolicyVersions(files, [msgspec.structs.replace(put(2, broken), retire_time=now())]).get("mine").version
                == 1
            )

    def test_a_file_and_the_store_must_not_disagree(self) -> None:
        files = {"mine": trust.parse(text(version="2").encode(), "f")}
        assert PolicyVersions(files, [put(2, text())]).get("mine@2").test is Verdict.REVIEW
        with pytest.raises(Unavailable, match="defines it otherwise"):
            PolicyVersions(files, [put(2, text(test='"MATCH"'))]).get("mine")

    def test_a_policy_whose_versions_are_all_retired_is_gone(self) -> None:
        policies = PolicyVersions({"any": ANY}, [put(1, text(), retired=True)])
        with pytest.raises(InvalidArgument, match="mine' was retired; choose one of any"):
            policies.get("mine")
        assert [v.name for v in policies.currents()] == ["any"]


# Properties: whatever is demanded of whatever stands there.

DIMENSION_DEMANDS: st.SearchStrategy[dict[str, tuple[str, ...]]] = st.sampled_from(
    [
        {},
        {},
        {"age_band": ("<18",)},
        {"age_band": ("0-2", "3-6", "7-10", "11-13")},
        {"act": ("penetrative", "sadism", "bestiality")},
        {"legal_status": ("US:illegal",)},
        {"medium": ("photo", "video")},
        {"verdict": ("csam", "exploitative", "unclassified")},
    ]
)


@st.composite
def clauses(draw: st.DrawFn, number: int) -> trust.Clause:
    verdicts = draw(st.sampled_from([("csam",), ("csam", "exploitative"), ("csam", "exploitative", "unclassified")]))
    verified = draw(st.booleans())
    algorithms = draw(st.sampled_from([(), (), ("MD5",), ("PDQ", "MD5")]))
    distances: dict[str, int] = draw(st.sampled_from([{}, {"PDQ": 3}]))
    return trust.Clause(
        id=f"c{number}",
        title="t",
        contributors=draw(st.integers(1, 3)),
        verdicts=verdicts,
        reliability=draw(st.sampled_from([(), (), (Reliability.A,), (Reliability.A, Reliability.C)])),
        verified_scheme=verified,
        drafts=not verified and draw(st.booleans()),
        jurisdictions=draw(st.sampled_from([(), (), ("NL",), ("NL", "ZZ")])),
        dimensions=draw(DIMENSION_DEMANDS),
        stated_within_days=draw(st.sampled_from([0, 0, 30])),
        algorithms=algorithms,
        max_distance=distances if not algorithms or "PDQ" in algorithms else {},
        variants=draw(st.sampled_from([(), (), ("none", "turned"), ("turned",)])),
    )


@st.composite
def policies(draw: st.DrawFn) -> trust.Policy:
    return msgspec.structs.replace(
        draw(st.sampled_from([ANY, BLOCK])),
        disputed_by=tuple(sorted(draw(st.sets(st.sampled_from(Dispute))))),
        disputed_from=draw(st.sampled_from(Reliability)),
        independent_from=Reliability.F if draw(st.booleans()) else Reliability.C,
        clauses=tuple(draw(clauses(i)) for i in range(draw(st.integers(1, 3)))),
    )


WAYS = st.lists(
    st.builds(HitPath, st.just("PDQ"), st.sampled_from([0, 3, 30]), st.sampled_from(["", "turned"]))
    | st.builds(HitPath, st.just("MD5"), st.just(0), st.sampled_from(["", "turned"])),
    min_size=1,
    max_size=3,
).map(lambda ways: sorted(ways, key=lambda w: (w.closeness, w.distance)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[trust.Policy, dict[str, Contributor], list[Statement]]:
    known = {
        name: msgspec.structs.replace(c, jurisdiction=draw(st.sampled_from(["NL", "GB"])))
        for name, c in draw(people).items()
    }
    made = []
    for entry_id in range(1, draw(st.integers(0, 6)) + 1):
        s = draw(statements_of(known[draw(st.sampled_from(sorted(known)))], entry_id))
        s = msgspec.structs.replace(
            s, reviews=tuple(msgspec.structs.replace(r, create_time=TIME - timedelta(days=r.id)) for r in s.reviews)
        )
        made.append(hit(s, *draw(WAYS), stated_days_ago=draw(st.sampled_from([None, 1, 400]))))
    return draw(policies()), known, made


def traced(policy: trust.Policy, made: Sequence[Statement], known: dict[str, Contributor], **more: Any) -> trust.Trace:
    everybody = {c.id: c for c in (*REVIEWERS, *known.values())}
    return trust.trace(policy, made, everybody, time=TIME, **more)


class TestTraces:
    @given(cases(), st.booleans())
    def test_a_trace_concludes_what_was_decided(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]], cut_short: bool
    ) -> None:
        policy, known, made = case
        verdict = decide(policy, made, known.values(), cut_short=cut_short)
        trace = traced(policy, made, known, cut_short=cut_short)
        assert trace.judgement == verdict
        assert trace.conclusion.startswith(f"{verdict.verdict}: ")
        # From what the trace tells of clauses and disputes alone:
        assert [c.id for c in policy.clauses] == [c.id for c in trace.clauses]
        disputed = any(line.code == "DISPUTED" for line in trace.disputes)
        if any(c.is_met for c in trace.clauses):
            assert (verdict.verdict is Verdict.MATCH) is not disputed
        elif verdict.verdict is Verdict.MATCH:
            assert policy.test is Verdict.MATCH
            assert any(e.claim == "its hash set is of test items" for e in trace.entries)

    @given(cases())
    def test_a_clause_is_met_where_its_demands_say_so(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]]
    ) -> None:
        policy, known, made = case
        trace = traced(policy, made, known)
        names = {s.entry.name: s for s in made}
        for c in trace.clauses:
            claim, *rest = c.demands
            counting = set(claim.fulfilled)
            assert counting | {f.entry for f in claim.failed} == set(names)
            for d in rest:
                assert (d.fulfilled_count, d.failed_count) == (len(d.fulfilled), len(d.failed))
                assert set(d.fulfilled) | {f.entry for f in d.failed} == counting
                assert set(d.fulfilled).isdisjoint(f.entry for f in d.failed)
                assert all(f.why for f in d.failed)
            fulfilling = counting.intersection(*(d.fulfilled for d in rest))
            assert c.is_met is _enough(policy, [names[n] for n in fulfilling], known, c.contributors)
            assert set(c.entries) <= fulfilling
            assert bool(c.entries) is c.is_met

    def test_who_is_no_second_voice(self) -> None:
        a, b = contributor("a"), contributor("b", takes_from=["a"])
        c, d = contributor("c", takes_from=["secret"]), contributor("d", takes_from=["secret"])
        known = {x.id: x for x in (a, b, c, d)}
        first = traced(BLOCK, [states(a), states(b, entry_id=2)], known).clauses[0]
        assert (first.is_met, first.apart) == (False, ("b takes material from a",))
        second = traced(BLOCK, [states(c), states(d, entry_id=2)], known).clauses[0]
        assert second.apart == ("c and d take material from one source",)  # whose, is not the asker's affair


def _enough(policy: trust.Policy, fulfilling: Sequence[Statement], known: dict[str, Contributor], count: int) -> bool:
    """Whether so many contributors among these are pairwise independent and agree, by brute force."""
    everybody = {c.id: c for c in (*REVIEWERS, *known.values())}

    def sources(name: str) -> set[str]:
        reached, todo = set(), [name]
        while todo:
            one = todo.pop()
            if one not in reached:
                reached.add(one)
                todo += everybody[one].takes_from if one in everybody else ()
        return reached

    from hashhub.schemes.dimensions import worlds
    from hashhub.trust.statement import verdicts_of

    def verdicts(name: str) -> list[frozenset[str]]:
        own = [verdicts_of(s) for s in fulfilling if s.contributor.id == name]
        return [worlds({"verdict": tuple(sorted(v))})["verdict"] for v in own]

    people_here = sorted({s.contributor.id for s in fulfilling})
    return any(
        all(
            not sources(a) & sources(b) and any(x & y for x in verdicts(a) for y in verdicts(b))
            for a, b in combinations(group, 2)
        )
        for group in combinations(people_here, count)
    )


class TestProperties:
    """What docs/policies.md promises of every policy, with every demand."""

    @given(cases(), st.data())
    def test_an_objection_brings_no_match_nearer(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]], data: st.DataObject
    ) -> None:
        policy, known, made = case
        if made:
            i = data.draw(st.integers(0, len(made) - 1))
            more = Review(id=100, entry_id=made[i].entry.id, author="z", kind=FP, revision=data.draw(st.integers(0, 9)))
            after = [*made[:i], msgspec.structs.replace(made[i], reviews=(*made[i].reviews, more)), *made[i + 1 :]]
            before = judge(policy, *made, known=known.values())
            assert NEARNESS[judge(policy, *after, known=known.values())] <= NEARNESS[before]

    @given(cases())
    def test_what_was_hit_less_closely_takes_no_match_away(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]]
    ) -> None:
        policy, known, made = case
        for closeness in trust.Closeness:
            close = [s for s in made if s.closeness <= closeness]
            claims = {r.code for r in decide(ANY, close, known.values()).reasons} & {"HARM_CLAIMED", "UNDECIDED"}
            if claims and judge(policy, *close, known=known.values()) is Verdict.MATCH:
                assert judge(policy, *made, known=known.values()) is Verdict.MATCH

    @given(cases(), st.data())
    def test_who_does_not_count_takes_no_match_away(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]], data: st.DataObject
    ) -> None:
        policy, known, made = case
        policy = msgspec.structs.replace(policy, disputed_from=Reliability.C)
        hostile = contributor("hostile", data.draw(st.sampled_from("DEF")))
        everybody = [*known.values(), hostile]
        more = [
            hit(
                data.draw(statements_of(hostile, i, ("hostile",), (Role.CONTRIBUTOR,))),
                *data.draw(WAYS),
                stated_days_ago=1,
            )
            for i in range(50, 50 + data.draw(st.integers(1, 3)))
        ]
        claims = {r.code for r in decide(ANY, made, everybody).reasons} & {"HARM_CLAIMED", "UNDECIDED"}
        if claims and judge(policy, *made, known=everybody) is Verdict.MATCH:
            assert judge(policy, *made, *more, known=everybody) is Verdict.MATCH

    @given(cases(), st.sampled_from(VALUES), st.data())
    def test_derived_material_makes_no_second_voice(
        self,
        case: tuple[trust.Policy, dict[str, Contributor], list[Statement]],
        value: str,
        data: st.DataObject,
    ) -> None:
        """All hang together through one source: a clause that asks for two is met by nobody, whatever else it asks."""
        policy = msgspec.structs.replace(
            case[0], clauses=tuple(msgspec.structs.replace(c, contributors=2) for c in case[0].clauses)
        )
        known = {n: msgspec.structs.replace(c, takes_from=(*c.takes_from, "source")) for n, c in case[1].items()}
        made = [msgspec.structs.replace(s, contributor=known[s.contributor.id]) for s in case[2]]
        late = contributor("late", takes_from=[data.draw(st.sampled_from(["source", *known]))])
        one_more = hit(states(late, value, entry_id=99), *data.draw(WAYS), stated_days_ago=1)
        trace = traced(policy, [*made, one_more], {**known, "late": late})
        assert not any(c.is_met for c in trace.clauses)

    @given(cases(), st.data())
    def test_a_further_hit_in_another_way_brings_no_match_further(
        self, case: tuple[trust.Policy, dict[str, Contributor], list[Statement]], data: st.DataObject
    ) -> None:
        """Who sends more hashes of an item must not lose a match by that."""
        policy, known, made = case
        asserting = [s for s in made if s.hash_set.purpose in {Purpose.CSAM, Purpose.EXPLOITATIVE}]
        active = [s for s in asserting if s.entry.state is EntryState.ACTIVE and not s.reviews]
        also = [msgspec.structs.replace(s, also=(*s.also, *data.draw(WAYS))) for s in active]
        undisputed = msgspec.structs.replace(policy, disputed_by=())
        if judge(undisputed, *active, known=known.values()) is Verdict.MATCH:
            assert judge(undisputed, *also, known=known.values()) is Verdict.MATCH


@pytest.mark.parametrize("text", [b"a" + b".a" * 30_000 + b" = 1", b"a = " + b"[" * 60_000, b"a = " + b"9" * 60_000])
def test_a_text_made_to_be_slow_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"TOML|dots|nested"):
        trust.parse(text, "slow.toml")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("verdicts = ", "verdict = ", "block.toml: clause[0].verdict is unknown; did you mean verdicts?"),
        ('test = "REVIEW"', 'test = "REVEIW"', "block.toml: test must be MATCH, REVIEW or NO_MATCH"),
        ('test = "REVIEW"', 'test = "REVEIW"', "got 'REVEIW'; did you mean REVIEW?"),
        ("contributors = 2", 'contributors = "2"', ".contributors must be a whole number, got '2'"),
        ('test = "REVIEW"', "", "block.toml: test is missing; it must be MATCH"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_may_stand_there(right: str, wrong: str, said: str) -> None:
    text = files("hashhub.trust").joinpath("data", "block.toml").read_text("utf-8")
    assert right in text
    with pytest.raises(InvalidArgument) as refused:
        trust.parse(text.replace(right, wrong, 1).encode(), "block.toml")
    assert said in str(refused.value)


def test_only_verdicts_that_a_test_item_may_have_are_offered() -> None:
    for wrong in ("BLOCK", "BENIGN"):
        with pytest.raises(InvalidArgument, match="test must be MATCH, REVIEW or NO_MATCH"):
            trust.parse(text(test=f'"{wrong}"').encode(), "f")
