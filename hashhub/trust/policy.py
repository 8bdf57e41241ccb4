"""Policies as data: load, check, explain."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, Violation
from hashhub.model import Reliability, Verdict
from hashhub.schemes.dimensions import DIMENSIONS

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Verdicts by which an entry claims harm, or by which nobody has decided yet. `comparison` and `non-pertinent` claim no
# harm.
HARMFUL: Final = frozenset({"csam", "exploitative"})
COUNTABLE: Final = HARMFUL | {"unclassified"}
# Deciding whether k of n contributors are pairwise independent is exponential in k; nobody has five independent
# sources.
MAX_CONTRIBUTORS: Final = 5


def excludes_harm(dimensions: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a classification's dimensions state a verdict, and none that claims harm or leaves it open."""
    verdicts = dimensions.get("verdict", ())
    return bool(verdicts) and COUNTABLE.isdisjoint(verdicts)


class Dispute(StrEnum):
    """What may stand against a match and send it to a person instead."""

    BENIGN_SET = "BENIGN_SET"  # a set of benign items holds it too
    CONFLICTING_VERDICTS = "CONFLICTING_VERDICTS"  # contributors' verdicts cannot both hold
    FALSE_POSITIVE = "FALSE_POSITIVE"  # somebody's review says that the entry is wrong
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"  # somebody's review says that it is not illegal in their jurisdiction
    MISCLASSIFIED = "MISCLASSIFIED"  # somebody's review says that the classification is wrong


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to reach MATCH: `contributors` pairwise independent contributors, each with an entry that fulfils all the
    rest.

    `verdicts`: every verdict that the entry leaves possible is one of these; `unclassified` takes entries that leave
    open whether they claim harm. `reliability`: the contributor's is one of these; empty
    means any. `verified_scheme`: the entry is classified, verdict included, in a scheme whose table was verified.
    `drafts`: entries classified in a draft scheme count too. `min_review_depth`: so many people looked at each item of
    the hash set.
    """

    id: str
    title: str
    contributors: int
    verdicts: tuple[str, ...]
    reliability: tuple[Reliability, ...] = ()
    verified_scheme: bool = False
    drafts: bool = False
    min_review_depth: int = 0


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named rule: any clause gives MATCH unless something in `disputed_by` stands against it.

    `disputed_from`: whose objection, conflicting verdict or benign set stands against a match: contributors of this
    reliability or better (A is the best), and operators. `independent_from`: whose entries count where a clause asks
    for independent contributors. `test` is the verdict when only sets of test items hold it. There is no default for
    any of these.
    """

    name: str
    title: str
    description: str
    disputed_by: tuple[Dispute, ...]
    disputed_from: Reliability
    independent_from: Reliability
    test: Verdict
    clauses: tuple[Clause, ...] = msgspec.field(name="clause")

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation. msgspec hands it on as a ValidationError where it decodes."""
        wrong: list[Violation] = []
        if not _NAME.fullmatch(self.name):
            wrong.append(Violation("name", "must be 1 to 63 of a-z, 0-9 and -", "PATTERN"))
        if not self.title.strip() or not self.description.strip():
            wrong.append(Violation("title, description", "must not be empty", "REQUIRED"))
        if self.test not in {Verdict.MATCH, Verdict.REVIEW, Verdict.NO_MATCH}:
            wrong.append(Violation("test", "must be MATCH, REVIEW or NO_MATCH", "INVALID"))
        if not self.clauses:
            wrong.append(
                Violation("clause", "a policy needs at least one clause; an empty one would decide nothing", "REQUIRED")
            )
        if len({c.id for c in self.clauses}) < len(self.clauses):
            wrong.append(Violation("clause", "two clauses have the same id", "DUPLICATE"))
        for c in self.clauses:
            wrong += _check(c)
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))


def load(extra: Path | None = None) -> dict[str, Policy]:
    """Return the policies by name: those that come with hashhub and, if given, every `*.toml` in the directory `extra`.

    Raises InvalidArgument naming the file for an empty policy, an unknown key or value, and for a name that is taken: a
    policy that callers rely on does not change its meaning because a file appeared.
    """
    sources = sorted(
        (f for f in files(__package__).joinpath("data").iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    policies_by_file = [(f.name, parse(f.read_bytes(), f.name)) for f in sources]
    if extra is not None:
        if not extra.is_dir():
            raise InvalidArgument.field(
                "policies", f"{extra.name!r} is no directory; name one that holds *.toml files", "NOT_FOUND"
            )
        try:
            policies_by_file += [(f.name, parse(f.read_bytes(), f.name)) for f in sorted(extra.glob("*.toml"))]
        except OSError as e:
            raise InvalidArgument.field("policies", f"cannot read {extra.name!r}: {e.strerror}", "UNREADABLE") from e
    policies: dict[str, Policy] = {}
    for file, policy in policies_by_file:
        if policy.name in policies:
            raise InvalidArgument.field(file, f"the name {policy.name!r} is taken; choose another", "DUPLICATE")
        policies[policy.name] = policy
    return policies


def parse(text: bytes, file: str) -> Policy:
    """Return the policy that a TOML file defines; `file` is what errors call it. Raises InvalidArgument naming it."""
    try:
        return msgspec.convert(tomllib.loads(text.decode()), Policy)
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(file, "is not UTF-8; save it as UTF-8", "NOT_UTF8") from e
    except tomllib.TOMLDecodeError as e:
        raise InvalidArgument.field(file, f"is not TOML: {e}", "NOT_TOML") from e
    except msgspec.ValidationError as e:
        raise InvalidArgument.field(file, f"{e}; docs/policies.md tells each key", "BAD_KEY") from e
    except InvalidArgument as e:
        raise InvalidArgument.field(file, e.message, "INVALID") from e


def explain(policy: Policy) -> str:
    """Return the policy in sentences, for `hashhub policy explain`."""
    lines = [f"{policy.name}: {policy.title}", policy.description, "", "MATCH when"]
    for i, c in enumerate(policy.clauses):
        lines.append(f"  {'or ' if i else ''}[{c.id}] {c.title}: {_demands(c)}.")
    lines += ["", "unless it is disputed, which gives REVIEW:"]
    lines += [f"  - {_DISPUTES[d]}" for d in policy.disputed_by] or ["  - nothing disputes a match under this policy"]
    if policy.disputed_by:
        lines += [
            (
                f"by a contributor of reliability {_or_better(policy.disputed_from)}, or by an operator's review. "
                "Benign sets,"
            ),
            (
                "and reviews and harmless verdicts beyond the daily number, dispute as far as an operator has accepted "
                "them."
            ),
            "Reviews that an operator has set aside dispute nothing.",
        ]
    lines += [
        "Everybody else's doubts are told among the reasons, and change nothing. What was hit less closely (an",
        "identical file, then an equal perceptual hash, then a near one) never disputes what was hit more closely.",
        "",
        "REVIEW when something claims harm, or is undecided, without fulfilling a clause.",
        "BENIGN when only sets of benign items hold it that an operator has accepted.",
        f"{policy.test} when only sets of test items hold it.",
        "NO_MATCH when nothing holds it, or only entries that claim no harm (non-pertinent, comparison).",
        "REVIEW at least when not everything that was hit could be taken into account.",
        "Entries in quarantine, withdrawn and expired entries count for nothing.",
        "An entry that its source could have classified and did not is undecided.",
        (
            "Contributors are independent when neither takes material from the other, directly or through others, and "
            "no third feeds both."
        ),
    ]
    if any(c.contributors > 1 for c in policy.clauses):
        lines.append(
            f"Only contributors of reliability {_or_better(policy.independent_from)} count as independent ones."
        )
    return "\n".join(lines)


def _or_better(reliability: Reliability) -> str:
    return f"{reliability}" if reliability is Reliability.A else f"A to {reliability}"


_DISPUTES: Final = {
    Dispute.BENIGN_SET: "a set of benign items holds it too",
    Dispute.CONFLICTING_VERDICTS: "two entries' verdicts cannot both hold",
    Dispute.FALSE_POSITIVE: (
        "a review calls an entry that claims harm a false positive, and its author has not confirmed the entry since"
    ),
    Dispute.NOT_ILLEGAL_HERE: "a review says that it is not illegal in the reviewer's jurisdiction",
    Dispute.MISCLASSIFIED: "a review says that an entry that claims harm is misclassified",
}


def _demands(c: Clause) -> str:
    people = "1 contributor" if c.contributors == 1 else f"{c.contributors} pairwise independent contributors"
    demands = [f"{people} with an entry whose verdict is {' or '.join(c.verdicts)}"]
    if c.reliability:
        demands.append(f"of reliability {' or '.join(c.reliability)}")
    if c.verified_scheme:
        demands.append("classified in a verified scheme")
    if c.min_review_depth:
        demands.append(f"in a hash set where at least {c.min_review_depth} people looked at each item")
    demands.append("draft schemes count" if c.drafts else "draft schemes do not count")
    return ", ".join(demands)


def _check(c: Clause) -> list[Violation]:
    where = f"clause {c.id!r}"
    wrong: list[Violation] = []
    if not _NAME.fullmatch(c.id):
        wrong.append(Violation(where, "id must be 1 to 63 of a-z, 0-9 and -", "PATTERN"))
    if not c.title.strip():
        wrong.append(Violation(where, "title must not be empty", "REQUIRED"))
    if not 1 <= c.contributors <= MAX_CONTRIBUTORS:
        wrong.append(Violation(where, f"contributors must be between 1 and {MAX_CONTRIBUTORS}", "OUT_OF_RANGE"))
    if not c.verdicts or not COUNTABLE.issuperset(c.verdicts):
        allowed = ", ".join(v for v in DIMENSIONS["verdict"].values if v in COUNTABLE)
        wrong.append(Violation(where, f"verdicts must be some of {allowed}", "INVALID"))
    if c.verified_scheme and c.drafts:
        wrong.append(Violation(where, "verified_scheme and drafts exclude each other", "INVALID"))
    if c.min_review_depth < 0:
        wrong.append(Violation(where, "min_review_depth must be 0 or more", "OUT_OF_RANGE"))
    return wrong
