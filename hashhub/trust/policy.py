"""Policies as data: load, check, compare, and say in sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from hashhub.conversion import converted
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import SEARCHED
from hashhub.model import VARIANTS, Reliability, Verdict
from hashhub.schemes import read_toml
from hashhub.schemes.dimensions import DIMENSIONS, possible
from hashhub.trust.demands import NO_VARIANT, Clause, Demand, demands_of, or_better
from hashhub.trust.statement import AssessedStatement

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Verdicts by which an entry claims harm, or by which nobody has decided yet. `comparison` and `non-pertinent` claim no
# harm.
HARMFUL: Final = frozenset({"csam", "exploitative"})
COUNTABLE: Final = HARMFUL | {"unclassified"}
# Deciding whether k of n contributors are pairwise independent is exponential in k; nobody has five independent
# sources.
MAX_CONTRIBUTORS: Final = 5
MAX_VERSION: Final = 1_000_000  # far more than anybody makes; catches dates and other numbers that are no version
MAX_DAYS: Final = 36_500
_OTHERS: Final = "x-"  # before the names of variants that hashhub does not make
_JURISDICTION: Final = re.compile(r"[A-Z]{2}")


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


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A version of a named rule: any clause gives MATCH unless something in `disputed_by` stands against it.

    `disputed_from`: whose objection, conflicting verdict or benign set stands against a match: contributors of this
    reliability or better (A is the best), and operators. `independent_from`: whose entries count where a clause asks
    for independent contributors. `test` is the verdict when only sets of test items hold it. There is no default for
    any of these.
    """

    CHOICES: ClassVar = {"test": (Verdict.MATCH.value, Verdict.REVIEW.value, Verdict.NO_MATCH.value)}

    name: str
    version: int = 1
    title: str
    description: str
    disputed_by: tuple[Dispute, ...]
    disputed_from: Reliability
    independent_from: Reliability
    test: Verdict
    clauses: tuple[Clause, ...] = msgspec.field(name="clause")

    @property
    def full_name(self) -> str:
        """`NAME@VERSION`, as answers say it."""
        return f"{self.name}@{self.version}"

    @cached_property
    def text(self) -> str:
        """The TOML that it was read from; empty: none."""
        return ""

    @cached_property
    def demands(self) -> tuple[tuple[Demand, ...], ...]:
        """What each clause asks of an entry: what decides and what explains are one."""
        return tuple(demands_of(c, self.independent_from) for c in self.clauses)

    @cached_property
    def tests(self) -> tuple[tuple[Callable[[AssessedStatement, datetime], bool], ...], ...]:
        """The same as `demands`, bare."""
        return tuple(tuple(demand.holds for demand in demands) for demands in self.demands)

    @cached_property
    def reads_statement_times(self) -> bool:
        """Whether a clause asks when an entry was stated."""
        return any(c.stated_within_days for c in self.clauses)

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation. msgspec hands it on as a ValidationError where it decodes."""
        wrong: list[Violation] = []
        if not _NAME.fullmatch(self.name):
            wrong.append(Violation("name", "must be 1 to 63 of a-z, 0-9 and -", "PATTERN"))
        if not 1 <= self.version <= MAX_VERSION:
            wrong.append(Violation("version", f"must be between 1 and {MAX_VERSION}", "OUT_OF_RANGE"))
        if not self.title.strip() or not self.description.strip():
            wrong.append(Violation("title, description", "must not be empty", "REQUIRED"))
        if self.test not in self.CHOICES["test"]:
            wrong.append(Violation("test", "must be MATCH, REVIEW or NO_MATCH", "INVALID"))
        if not self.clauses:
            wrong.append(
                Violation("clause", "a policy needs at least one clause; an empty one would decide nothing", "REQUIRED")
            )
        if len({c.id for c in self.clauses}) < len(self.clauses):
            wrong.append(Violation("clause", "two clauses have the same id", "DUPLICATE"))
        for c in self.clauses:
            wrong += _check(c, self.independent_from)
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
        try:
            check_variants(policy)
        except InvalidArgument as e:
            raise InvalidArgument.field(file, e.message, "INVALID") from e
        if policy.name in policies:
            raise InvalidArgument.field(file, f"the name {policy.name!r} is taken; choose another", "DUPLICATE")
        policies[policy.name] = policy
    return policies


def parse(text: bytes, file: str, *, version: int | None = None) -> Policy:
    """Return the policy that a TOML file defines; `file` is what errors call it. Raises InvalidArgument naming it.

    `version`: the one that it is to have; a file that states another is refused. Without it, that of the file or 1.
    """
    content = read_toml(text, file)
    stated = content.get("version", version)
    if version is not None:
        if type(stated) is not int or stated != version:
            raise InvalidArgument.field(
                f"{file}: version",
                f"the next one is {version}, got {str(stated)[:40]}; give that, or leave it out",
                "OUT_OF_RANGE",
            )
        content["version"] = version
    policy = converted(content, Policy, called=lambda key: f"{file}: {key}", hint="docs/policies.md has each key")
    policy.__dict__["text"] = text.decode()  # beside the fields: two texts of one meaning are one policy
    return policy


def check_variants(policy: Policy) -> None:
    """Raise InvalidArgument for a variant that hashhub does not make: a misspelt one would silently never count.

    Not a part of reading a policy: one in force goes on, and a mirror may hold a newer hub's. Names with `x-` in front
    are for variants that callers make themselves.
    """
    for c in policy.clauses:
        for name in c.variants:
            if name not in VARIANTS and name != NO_VARIANT and not name.startswith(_OTHERS):
                known = ", ".join((NO_VARIANT, *sorted(VARIANTS)))
                raise InvalidArgument.field(
                    f"clause {c.id!r}",
                    f"variants: hashhub makes no {name!r}; expected some of {known}, or a name that begins with "
                    f"{_OTHERS} for one of your own",
                    "UNKNOWN",
                )


def explain(policy: Policy) -> str:
    """Return the policy in sentences, for `hashhub policy explain`."""
    lines = [f"{policy.full_name}: {policy.title}", policy.description, "", "MATCH when"]
    for i, (c, demands) in enumerate(zip(policy.clauses, policy.demands, strict=True)):
        lines.append(f"  {'or ' if i else ''}[{c.id}] {c.title}: {sentence(c, demands)}.")
    lines += ["", "unless it is disputed, which gives REVIEW:"]
    lines += [f"  - {_DISPUTES[d]}" for d in policy.disputed_by] or ["  - nothing disputes a match under this policy"]
    if policy.disputed_by:
        lines += [
            (
                f"by a contributor of reliability {or_better(policy.disputed_from)}, or by an operator's review. "
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
        "BENIGN when only sets of benign items hold it that an operator has accepted, and not a mere variant of it.",
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
            f"Only contributors of reliability {or_better(policy.independent_from)} count as independent ones."
        )
    return "\n".join(lines)


def sentence(c: Clause, demands: Sequence[Demand]) -> str:
    """Return what a clause asks for in words."""
    people = "1 contributor" if c.contributors == 1 else f"{c.contributors} pairwise independent contributors"
    texts = ", ".join(demand.text for demand in demands)
    return f"{people} with an entry {texts}{', draft schemes count' if c.drafts else ''}"


_DISPUTES: Final = {
    Dispute.BENIGN_SET: "a set of benign items holds it too",
    Dispute.CONFLICTING_VERDICTS: "two entries' verdicts cannot both hold",
    Dispute.FALSE_POSITIVE: (
        "a review calls an entry that claims harm a false positive, and its author has not confirmed the entry since"
    ),
    Dispute.NOT_ILLEGAL_HERE: "a review says that it is not illegal in the reviewer's jurisdiction",
    Dispute.MISCLASSIFIED: "a review says that an entry that claims harm is misclassified",
}


def _check(c: Clause, independent_from: Reliability) -> list[Violation]:
    where = f"clause {c.id!r}"
    wrong: list[Violation] = []

    def refuse(text: str, reason: str = "INVALID") -> None:
        wrong.append(Violation(where, text, reason))

    if not _NAME.fullmatch(c.id):
        refuse("id must be 1 to 63 of a-z, 0-9 and -", "PATTERN")
    if not c.title.strip():
        refuse("title must not be empty", "REQUIRED")
    if not 1 <= c.contributors <= MAX_CONTRIBUTORS:
        refuse(f"contributors must be between 1 and {MAX_CONTRIBUTORS}", "OUT_OF_RANGE")
    if not c.verdicts or not COUNTABLE.issuperset(c.verdicts):
        allowed = ", ".join(v for v in DIMENSIONS["verdict"].values if v in COUNTABLE)
        refuse(f"verdicts must be some of {allowed}")
    if c.verified_scheme and c.drafts:
        refuse("verified_scheme and drafts exclude each other")
    if c.contributors > 1 and c.reliability and min(c.reliability) > independent_from:
        refuse(
            f"nobody of reliability {' or '.join(c.reliability)} counts as independent: independent_from is "
            f"{independent_from}"
        )
    if c.min_review_depth < 0:
        refuse("min_review_depth must be 0 or more", "OUT_OF_RANGE")
    if bad := [j for j in c.jurisdictions if not _JURISDICTION.fullmatch(j)]:
        refuse(
            f"jurisdictions must be ISO 3166-1 alpha-2 codes in capitals, such as NL, got {bad[0][:20]!r}", "PATTERN"
        )
    if "UK" in c.jurisdictions:
        refuse("jurisdictions must be GB for the United Kingdom, as ISO 3166-1 has it: no contributor can be of UK")
    _check_dimensions(c, refuse)
    if not 0 <= c.stated_within_days <= MAX_DAYS:
        refuse(f"stated_within_days must be between 1 and {MAX_DAYS}, or left out", "OUT_OF_RANGE")
    _check_hits(c, refuse)
    return wrong


def _check_dimensions(c: Clause, refuse: Callable[[str], None]) -> None:
    wanted = dict(c.dimensions)
    if c.legal_status:
        if "legal_status" in wanted:
            refuse("legal_status stands beside dimensions and in it; give it once")
        wanted["legal_status"] = c.legal_status
    for name, values in wanted.items():
        try:
            expanded = possible(name, values)
        except InvalidArgument as e:
            refuse(f"dimensions: {e.message}")
            continue
        if name == "legal_status":
            laws = [v.partition(":")[0] for v in expanded]
            if twice := sorted({law for law in laws if laws.count(law) > 1}):
                refuse(f"legal_status names two statuses in {twice[0]}, which exclude each other")
        if name == "verdict":
            # Only entries that claim harm or leave it open are asked about at all.
            sought = COUNTABLE if "unclassified" in c.verdicts else frozenset(c.verdicts)
            if sought.isdisjoint(expanded):
                refuse("verdicts and dimensions.verdict have no value in common, so that no entry fulfils both")


def _check_hits(c: Clause, refuse: Callable[[str], None]) -> None:
    if bad := [a for a in c.algorithms if a not in SEARCHED]:
        refuse(f"algorithms: there is no {bad[0][:20]!r}; expected some of {', '.join(SEARCHED)}")
    for name, distance in c.max_distance.items():
        algorithm = SEARCHED.get(name)
        if algorithm is None:
            refuse(f"max_distance: there is no {name[:20]!r}; expected some of {', '.join(SEARCHED)}")
        elif not algorithm.is_perceptual:
            refuse(f"max_distance: digests of {name} are equal or not, and have no distance; leave it out")
        elif not 0 <= distance <= algorithm.max_possible_distance:
            refuse(f"max_distance of {name} must be between 0 and {algorithm.max_possible_distance}")
        elif c.algorithms and name not in c.algorithms:
            refuse(f"max_distance names {name}, and algorithms leaves it out")
    if bad := [v for v in c.variants if not _NAME.fullmatch(v)]:
        refuse(f"variants must be {NO_VARIANT} or names of a-z, 0-9 and -, got {bad[0][:20]!r}")
