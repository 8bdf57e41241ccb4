"""Whose doubt weighs against a match, and that everybody's is told."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from hashhub import trust
from hashhub.hashes import Hash
from hashhub.model import EntryState, Purpose, Reliability, Review, ReviewKind, Role, Verdict
from hashhub.trust import Dispute, Statement
from tests.trust.conftest import ANY, BLOCK, MD5, TIME, codes, contributor, decide, judge, review, states

FP, OK, ASIDE = ReviewKind.FALSE_POSITIVE, ReviewKind.CONFIRMED, ReviewKind.SET_ASIDE
F = contributor("loud", "F")
SHA1, OTHER_SHA1 = (Hash.of("SHA1", bytes([n] * 20)) for n in (1, 2))
EVERY_DISPUTE = msgspec.structs.replace(ANY, disputed_by=tuple(Dispute))
EVERYBODY = msgspec.structs.replace(BLOCK, disputed_from=Reliability.F, independent_from=Reliability.F)


def matching(*reviews: Review | tuple[ReviewKind, str]) -> list[Statement]:
    """Two independent statements, the first under these reviews."""
    return [states("a", entry_id=1, reviews=reviews), states("b", entry_id=2)]


class TestByWhom:
    @pytest.mark.parametrize("reliability", Reliability)
    def test_an_objection_a_verdict_and_a_benign_set_weigh_from_c_on(self, reliability: Reliability) -> None:
        who = contributor("who", reliability)
        expected = Verdict.REVIEW if reliability <= Reliability.C else Verdict.MATCH
        doubts = {
            Dispute.FALSE_POSITIVE: matching((FP, "who")),
            Dispute.BENIGN_SET: [*matching(), states(who, purpose=Purpose.BENIGN, entry_id=3)],
            Dispute.CONFLICTING_VERDICTS: [*matching(), states(who, "vic-us:0", entry_id=3)],
        }
        for kind, statements in doubts.items():
            assert judge(BLOCK, *statements, known=[who]) is expected
            code = "DISPUTED" if expected is Verdict.REVIEW else "DOUBT_LESS_RELIABLE"
            assert (code, kind) in codes(BLOCK, *statements, known=[who])

    def test_a_policy_may_count_everybody(self) -> None:
        assert judge(EVERYBODY, *matching((FP, "loud"))) is Verdict.REVIEW
        assert judge(EVERYBODY, states(F), states(contributor("e", "E"), entry_id=2)) is Verdict.MATCH

    @pytest.mark.parametrize("author", ["c", "c/police-7"])
    def test_who_objects_to_its_own_entry_takes_back_its_own_claim_only(self, author: str) -> None:
        """No number bounds what a contributor says of its own entries, so it must not dispute others' by listing what
        they list.
        """
        own = states("c", entry_id=3, reviews=((FP, author),))
        assert judge(BLOCK, *matching(), own) is Verdict.MATCH
        assert ("CLAIM_DISPUTED", "FALSE_POSITIVE") in codes(BLOCK, *matching(), own)
        assert judge(BLOCK, states("a"), own) is Verdict.REVIEW
        by_operator = states("c", entry_id=3, reviews=(review(FP, author, role=Role.OPERATOR, entry_id=3),))
        assert judge(BLOCK, *matching(), by_operator) is Verdict.REVIEW

    def test_the_operator_always_counts(self) -> None:
        for author in ("loud", "operator", "nobody-knows"):
            assert judge(BLOCK, *matching(review(FP, author, role=Role.OPERATOR))) is Verdict.REVIEW
            assert judge(BLOCK, *matching(review(FP, author, role=Role.AUDITOR))) is Verdict.MATCH

    def test_a_member_has_the_reliability_of_its_contributor(self) -> None:
        assert judge(BLOCK, *matching((FP, "x/police-7"))) is Verdict.REVIEW
        assert judge(BLOCK, *matching((FP, "loud/police-7"))) is Verdict.MATCH

    @pytest.mark.parametrize("kind", [ReviewKind.NOT_ILLEGAL_HERE, ReviewKind.MISCLASSIFIED])
    def test_a_kind_that_the_policy_does_not_name_is_told(self, kind: ReviewKind) -> None:
        assert judge(BLOCK, *matching((kind, "x"))) is Verdict.MATCH
        assert ("DOUBT_NOT_IN_POLICY", kind.value) in codes(BLOCK, *matching((kind, "x")))

    def test_contradicting_others_does_not_make_them_dispute_each_other(self) -> None:
        alone = states(contributor("alpha", "A"), "vic-us:1")
        against = states(F, "vic-us:2", entry_id=2)
        assert judge(BLOCK, alone, against) is Verdict.MATCH
        told = codes(BLOCK, alone, against)
        assert ("DOUBT_CLAIMS_HARM", "CONFLICTING_VERDICTS") in told
        # What it claims itself carries nothing any more, where a policy would have let it.
        innocent = states("b", "vic-us:0", entry_id=3)
        assert judge(EVERY_DISPUTE, against) is Verdict.MATCH
        assert judge(EVERY_DISPUTE, against, innocent) is Verdict.REVIEW

    def test_a_contributor_disputes_itself_like_anybody_else(self) -> None:
        own = states("a", purpose=Purpose.BENIGN, entry_id=3)
        assert judge(BLOCK, *matching(), own) is Verdict.REVIEW
        loud = [states(F, entry_id=3), states(F, purpose=Purpose.BENIGN, entry_id=4), states(F, "vic-us:0", entry_id=5)]
        assert judge(BLOCK, *matching(), *loud) is Verdict.MATCH
        assert judge(
            BLOCK, states("a"), states("a", entry_id=2), states("a", purpose=Purpose.EXPLOITATIVE, entry_id=3)
        ) is (Verdict.REVIEW)


class TestTakenBack:
    def test_by_the_same_author_only(self) -> None:
        for other in ("y", "x/member", "operator", "", "X"):
            assert judge(BLOCK, *matching((FP, "x"), (OK, other))) is Verdict.REVIEW
        assert judge(BLOCK, *matching((FP, "x"), (OK, "x"))) is Verdict.MATCH
        assert judge(BLOCK, *matching((FP, "x/member"), (OK, "x"))) is Verdict.REVIEW
        assert judge(BLOCK, *matching((FP, "x"), (FP, "y"), (OK, "x"))) is Verdict.REVIEW

    def test_not_by_the_operator_but_set_aside_by_it(self) -> None:
        by_operator = review(OK, "operator", number=2, role=Role.OPERATOR)
        assert judge(BLOCK, *matching(review(FP, "x"), by_operator)) is Verdict.REVIEW
        aside = review(ASIDE, "operator", number=2, role=Role.OPERATOR, sets_aside=1)
        assert judge(BLOCK, *matching(review(FP, "x"), aside)) is Verdict.MATCH
        assert ("DOUBT_SET_ASIDE", "FALSE_POSITIVE") in codes(BLOCK, *matching(review(FP, "x"), aside))

    def test_nobody_else_sets_anything_aside(self) -> None:
        for role in (Role.CONTRIBUTOR, Role.AUDITOR, Role.CONSUMER):
            aside = review(ASIDE, "b", number=2, role=role, sets_aside=1)
            assert judge(BLOCK, *matching(review(FP, "x"), aside)) is Verdict.REVIEW

    def test_one_objection_set_aside_leaves_the_others(self) -> None:
        aside = review(ASIDE, "operator", number=3, role=Role.OPERATOR, sets_aside=1)
        for author in ("x", "y"):
            assert judge(BLOCK, *matching(review(FP, "x"), review(FP, author, number=2), aside)) is Verdict.REVIEW

    def test_a_confirmation_that_was_set_aside_takes_nothing_back(self) -> None:
        aside = review(ASIDE, "operator", number=3, role=Role.OPERATOR, sets_aside=2)
        assert judge(BLOCK, *matching(review(FP, "x"), review(OK, "x", number=2), aside)) is Verdict.REVIEW

    def test_each_statement_that_sets_one_aside_takes_its_effect(self) -> None:
        reviews = [review(FP, "x")]
        for number, expected in ((2, Verdict.MATCH), (3, Verdict.REVIEW), (4, Verdict.MATCH), (5, Verdict.REVIEW)):
            reviews.append(review(ASIDE, "operator", number=number, role=Role.OPERATOR, sets_aside=number - 1))
            assert judge(BLOCK, *matching(*reviews)) is expected
            assert judge(BLOCK, *matching(*reversed(reviews))) is expected

    def test_nobody_else_brings_back_what_was_set_aside(self) -> None:
        aside = review(ASIDE, "operator", number=2, role=Role.OPERATOR, sets_aside=1)
        for role in (Role.CONTRIBUTOR, Role.AUDITOR, Role.CONSUMER):
            against = review(ASIDE, "b", number=3, role=role, sets_aside=2)
            assert judge(BLOCK, *matching(review(FP, "x"), aside, against)) is Verdict.MATCH


class TestAccepted:
    def test_a_benign_set_weighs_as_far_as_it_was_accepted(self) -> None:
        for accepted, disputed, alone in (
            (True, Verdict.REVIEW, Verdict.BENIGN),
            (False, Verdict.MATCH, Verdict.NO_MATCH),
        ):
            benign = states("z", purpose=Purpose.BENIGN, entry_id=3, accepted=accepted)
            assert judge(BLOCK, *matching(), benign) is disputed
            assert judge(BLOCK, benign) is alone
            assert (("DOUBT_NOT_ACCEPTED", "BENIGN_SET") in codes(BLOCK, *matching(), benign)) is not accepted
            assert (("DOUBT_NOT_ACCEPTED", "BENIGN_SET") in codes(BLOCK, benign)) is not accepted
            assert ("BENIGN_SET", "") in codes(BLOCK, benign)

    def test_what_was_never_accepted_is_not(self) -> None:
        benign = states("z", purpose=Purpose.BENIGN, accepted=False)
        never = msgspec.structs.replace(
            benign,
            entry=msgspec.structs.replace(benign.entry, create_revision=0),
            hash_set=msgspec.structs.replace(benign.hash_set, accepted_revision=0),
        )
        assert judge(BLOCK, never) is Verdict.NO_MATCH

    def test_harmless_verdicts_beyond_the_daily_number(self) -> None:
        for accepted, expected in ((True, Verdict.REVIEW), (False, Verdict.MATCH)):
            harmless = states("z", "vic-us:0", entry_id=3, reasons=["AWAITS_ACCEPTANCE"], accepted=accepted)
            assert judge(BLOCK, *matching(), harmless) is expected
        assert judge(BLOCK, *matching(), states("z", "vic-us:0", entry_id=3, accepted=False)) is Verdict.REVIEW

    def test_objections_beyond_the_daily_number(self) -> None:
        waiting = review(FP, "who", number=5, awaits_acceptance=True)
        for accepted_revision, expected in ((4, Verdict.MATCH), (5, Verdict.REVIEW), (6, Verdict.REVIEW)):
            who = msgspec.structs.replace(contributor("who"), objections_accepted_revision=accepted_revision)
            assert judge(BLOCK, *matching(waiting), known=[who]) is expected
            told = codes(BLOCK, *matching(waiting), known=[who])
            assert (("DOUBT_NOT_ACCEPTED", "FALSE_POSITIVE") in told) is (expected is Verdict.MATCH)

    def test_repeating_an_objection_beyond_the_daily_number_loses_nothing(self) -> None:
        again = review(FP, "x", number=2, awaits_acceptance=True)
        assert judge(BLOCK, *matching(review(FP, "x"), again)) is Verdict.REVIEW
        assert judge(BLOCK, *matching(review(FP, "loud", role=Role.OPERATOR, awaits_acceptance=True))) is Verdict.REVIEW


class TestCloseness:
    @pytest.mark.parametrize(
        "doubt",
        [
            states("z", purpose=Purpose.BENIGN, entry_id=3, distance=30),
            states("z", "vic-us:0", entry_id=3, distance=30),
            states("z", entry_id=3, distance=30, reviews=[(FP, "x")]),
            states("z", entry_id=3, distance=30, reviews=[review(FP, "x", entry_id=3, role=Role.OPERATOR)]),
        ],
        ids=["benign set", "verdict", "review", "operator's review"],
    )
    def test_a_near_hit_disputes_near_ones_only(self, doubt: Statement) -> None:
        assert judge(BLOCK, *matching(), doubt) is Verdict.MATCH
        assert "DOUBT_LESS_CLOSE" in {code for code, _ in codes(BLOCK, *matching(), doubt)}
        near = [states("a", distance=20), states("b", entry_id=2, distance=31)]
        assert judge(BLOCK, *near) is Verdict.MATCH
        assert judge(BLOCK, *near, doubt) is Verdict.REVIEW
        # Where the identical files alone make no match, near hits support it, and dispute it.
        mixed = [states("a"), states("b", entry_id=2, distance=31)]
        assert judge(BLOCK, *mixed) is Verdict.MATCH
        assert judge(BLOCK, *mixed, doubt) is Verdict.REVIEW

    def test_an_equal_perceptual_hash_lies_between(self) -> None:
        equal = [states("a", distance=0), states("b", entry_id=2, distance=0)]
        near, same = (states("z", purpose=Purpose.BENIGN, entry_id=3, distance=d) for d in (1, 0))
        assert judge(BLOCK, *equal, near) is Verdict.MATCH
        assert judge(BLOCK, *equal, same) is Verdict.REVIEW
        assert judge(BLOCK, *matching(), same) is Verdict.MATCH

    def test_an_exact_hit_disputes_near_ones(self) -> None:
        near = [states("a", distance=20), states("b", entry_id=2, distance=31)]
        assert judge(BLOCK, *near, states("z", purpose=Purpose.BENIGN, entry_id=3)) is Verdict.REVIEW

    def test_a_near_doubt_beside_an_exact_claim_that_is_no_match(self) -> None:
        benign = states("z", purpose=Purpose.BENIGN, entry_id=3, distance=9)
        assert judge(BLOCK, states("a"), benign) is Verdict.REVIEW
        assert ("DOUBT_LESS_CLOSE", "BENIGN_SET") in codes(BLOCK, states("a"), benign)


class TestObjections:
    def test_one_stands_against_all_that_support_the_match(self) -> None:
        assert judge(BLOCK, *matching((FP, "x")), states("c", entry_id=3), states("d", entry_id=4)) is Verdict.REVIEW

    def test_one_that_was_carried_over_to_somebody_who_does_not_count_stands_against_that_claim_only(self) -> None:
        of_another_item = review(FP, "x", entry_id=900)
        restated = states(F, entry_id=3, reviews=[of_another_item])
        assert judge(BLOCK, *matching(), restated) is Verdict.MATCH
        assert ("CLAIM_DISPUTED", "FALSE_POSITIVE") in codes(BLOCK, *matching(), restated)
        assert judge(EVERY_DISPUTE, restated) is Verdict.REVIEW
        # Restating sheds nothing: its contributor's word counts, or the claim itself is lost.
        assert judge(BLOCK, *matching(of_another_item)) is Verdict.REVIEW

    def test_on_benign_test_and_harmless_entries_they_change_nothing(self) -> None:
        for odd in (
            states("z", purpose=Purpose.TEST, entry_id=3, reviews=[(FP, "x")]),
            states(F, "vic-us:0", entry_id=3, reviews=[(FP, "x")]),
            states(F, purpose=Purpose.BENIGN, entry_id=3, reviews=[(FP, "x")]),
        ):
            assert judge(BLOCK, *matching(), odd) is Verdict.MATCH


class TestUnclassified:
    LISTED = ("UNCLASSIFIED",)

    def test_it_is_undecided_whatever_the_set_is_for(self) -> None:
        listed = [states(who, entry_id=i, reasons=self.LISTED) for i, who in enumerate("abc", 1)]
        assert judge(BLOCK, *listed) is Verdict.REVIEW
        assert judge(BLOCK, *listed, states("d", entry_id=9)) is Verdict.REVIEW
        assert judge(ANY, listed[0]) is Verdict.MATCH
        assert ("UNDECIDED", "") in codes(BLOCK, *listed)
        assert ("HARM_CLAIMED", "") not in codes(BLOCK, *listed)

    def test_in_a_benign_set_it_clears_nothing(self) -> None:
        assert judge(BLOCK, states("z", purpose=Purpose.BENIGN, reasons=self.LISTED)) is Verdict.REVIEW

    def test_it_disputes_nobody(self) -> None:
        assert judge(BLOCK, *matching(), states("z", entry_id=3, reasons=self.LISTED)) is Verdict.MATCH


class TestBindings:
    @pytest.mark.parametrize("policy", [BLOCK, ANY], ids=["block", "any"])
    def test_a_contradiction_is_a_reason_and_no_dispute(self, policy: trust.Policy) -> None:
        agreeing = [states("a", hashes=[MD5, SHA1]), states("b", entry_id=2, hashes=[MD5, SHA1])]
        assert ("CONTRADICTORY_BINDING", "") not in codes(policy, *agreeing)
        for who in (F, contributor("z", "A")):
            odd = states(who, entry_id=3, hashes=[MD5, OTHER_SHA1])
            assert judge(policy, *agreeing, odd) is Verdict.MATCH
            assert ("CONTRADICTORY_BINDING", "") in codes(policy, *agreeing, odd)

    def test_one_to_what_was_asked(self) -> None:
        bound = states("a", hashes=[MD5, SHA1])

        def told(*query: Hash) -> list[str]:
            lines = decide(BLOCK, [bound], query=query).reasons
            return [name for line in lines if line.code == "CONTRADICTORY_BINDING" for name in line.entries]

        assert told(MD5, OTHER_SHA1) == [bound.entry.name]
        assert told(MD5, SHA1) == told(MD5) == told(OTHER_SHA1) == []
        assert told(MD5, SHA1, OTHER_SHA1) == [], "alternatives: of two files"

    def test_different_perceptual_hashes_contradict_nothing(self) -> None:
        one, two = (Hash.of("PDQ", bytes([n] * 32)) for n in (7, 8))
        assert ("CONTRADICTORY_BINDING", "") not in codes(
            BLOCK, states("a", hashes=[MD5, one]), states("b", entry_id=2, hashes=[MD5, two])
        )


class TestExpired:
    def test_an_expired_entry_counts_for_nothing(self) -> None:
        for expire_time, verdict in ((TIME, Verdict.REVIEW), (TIME + timedelta(milliseconds=1), Verdict.MATCH)):
            statements = [states("a", expire_time=expire_time), states("b", entry_id=2)]
            assert judge(BLOCK, *statements) is verdict
            assert (("EXPIRED", "") in codes(BLOCK, *statements)) is (verdict is Verdict.REVIEW)
        assert judge(ANY, states("a", expire_time=TIME)) is Verdict.NO_MATCH

    def test_withdrawn_ones_are_withdrawn(self) -> None:
        gone = states("a", state=EntryState.WITHDRAWN, expire_time=TIME)
        assert codes(ANY, gone) == {("NOT_ACTIVE", "")}


def test_entries_are_named_in_the_order_of_their_numbers() -> None:
    lines = decide(BLOCK, [states("a", entry_id=n) for n in (10, 9, 100)]).reasons
    assert {line.entries for line in lines if len(line.entries) == 3} == {("a/csam/9", "a/csam/10", "a/csam/100")}
