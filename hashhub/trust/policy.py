"""Policies as data: load, check, compare, say in sentences; and their versions, of files and of the hub's store."""

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

from hashhub.conversion import converted, refuse
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable, Violation
from hashhub.hashes import SEARCHED
from hashhub.model import VARIANTS, Definition, Reliability, Verdict
from hashhub.schemes import read_toml, toml_in
from hashhub.schemes.dimensions import DIMENSIONS, possible
from hashhub.trust.statement import NO_VARIANT, AssessedStatement, Clause, Demand, demands_of, or_better

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
_REFERENCE: Final = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:@([1-9][0-9]{0,6}))?")
_SHOWN: Final = 20  # names in a message


def excludes_harm(dimensions: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a classification's dimensions state a verdict, and none that claims harm or leaves it open."""
    verdicts = dimensions.get("verdict", ())
    return bool(verdicts) and COUNTABLE.isdisjoint(verdicts)


class Dispute(StrEnum):
    """A ground on which a match may be disputed and sent to a person instead."""

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
        refuse(wrong)


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
        policies_by_file += [(name, parse(text, name)) for name, text in toml_in(extra, "policies")]
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


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a policy. `fault`: why it cannot be read, and then there is no `policy`; queries by it are
    UNAVAILABLE. `actor`: the token that put it, and `create_time` when; it has neither where it comes from a file.
    `is_current`: callers that name no version are answered by it; told by `PolicyVersions`, and not part of a version.
    """

    name: str
    version: int
    text: str
    policy: Policy | None = None
    fault: str = ""
    actor: str = ""
    create_time: datetime | None = None
    retire_time: datetime | None = None
    is_current: bool = False

    @property
    def full_name(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"

    @property
    def is_from_file(self) -> bool:
        """Whether it comes with hashhub or from a file of the operator's, and not from the store."""
        return self.create_time is None


class PolicyVersions:
    """All versions of all policies, of one moment."""

    def __init__(self, files: Mapping[str, Policy], definitions: Sequence[Definition] = ()) -> None:
        """`definitions`: of policies, in the store. One that cannot be read keeps its place."""
        self._versions: dict[str, dict[int, Version]] = {}
        self._read: dict[str, Policy] = {}  # by what means them: asked with every query
        for policy in files.values():
            self._add(Version(name=policy.name, version=policy.version, text=policy.text, policy=policy))
        for definition in definitions:
            self._add(_read(definition))

    def _add(self, made: Version) -> None:
        versions = self._versions.setdefault(made.name, {})
        other = versions.get(made.version)
        if other is not None:  # a file has a version that was put as well
            policy = made.policy
            if other.policy is not None and policy is not None and policy == other.policy:
                return
            fault = (
                f"policy {made.full_name} was put into the store, and a file defines it otherwise; give the file "
                "another version, or take it away"
            )
            made = msgspec.structs.replace(made, policy=None, fault=fault)
        versions[made.version] = made

    def get(self, reference: str, field: str = "options.policy") -> Policy:
        """Return the policy that `NAME` (its newest version that is not retired) or `NAME@VERSION` means.

        Raises InvalidArgument naming what there is when there is none, or it was retired; Unavailable when its text
        cannot be read: another version would answer another question. `field`: where the caller wrote it.
        """
        policy = self._read.get(reference)
        if policy is None:
            policy = self._read[reference] = self._readable(self._of(reference, field))
        return policy

    def known(self, reference: str) -> Policy | None:
        """Return the policy as `get` does, None where that raises."""
        try:
            return self.get(reference)
        except HashHubError:
            return None

    def version(self, reference: str) -> Version:
        """Return the version that `NAME` or `NAME@VERSION` means, also a retired one. Raises InvalidArgument."""
        name, number = _parts(reference)
        version = self._versions.get(name, {}).get(number) if number else None
        return self._told(version or self._of(reference))

    def current(self, name: str) -> Version | None:
        """Return the newest version that is not retired."""
        return max(
            (v for v in self._versions.get(name, {}).values() if v.retire_time is None),
            key=lambda v: v.version,
            default=None,
        )

    def currents(self) -> list[Version]:
        """Return the current version of each policy, by name."""
        return [self._told(v) for name in sorted(self._versions) if (v := self.current(name)) is not None]

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a policy, the oldest first."""
        return [self._told(v) for _, v in sorted(self._versions.get(name, {}).items())]

    def _told(self, version: Version) -> Version:
        current = self.current(version.name)
        is_current = current is not None and current.version == version.version
        return msgspec.structs.replace(version, is_current=is_current)

    def next_version(self, name: str) -> int:
        """Return the number of the next version: no number is given twice, also of one that was retired."""
        return max(self._versions.get(name, {}), default=0) + 1

    @property
    def faults(self) -> list[str]:
        """Why versions that are not retired cannot be read."""
        return [
            v.fault for name in sorted(self._versions) for v in self.versions(name) if v.fault and not v.retire_time
        ]

    def _of(self, reference: str, field: str = "policy") -> Version:
        if not reference:
            raise InvalidArgument.field(
                field,
                f"is required: which statements suffice is a safety decision; choose one of {self._known()}",
                "REQUIRED",
            )
        name, number = _parts(reference)
        version = self._versions.get(name, {}).get(number) if number else self.current(name)
        if version is not None and version.retire_time is None:
            return version
        there = ", ".join(v.full_name for v in self.versions(name) if v.retire_time is None)
        if version is not None or (name in self._versions and not there):
            what = f"policy {(version.full_name if version else name)!r} was retired"
            raise InvalidArgument.field(field, f"{what}; choose one of {there or self._known()}", "RETIRED")
        raise InvalidArgument.field(
            field,
            f"there is no policy {reference[:80]!r}; choose one of {there or self._known()}",
            "UNKNOWN",
        )

    def _readable(self, version: Version) -> Policy:
        if version.policy is None:
            raise Unavailable(
                f"{version.fault}; until then it answers nothing; callers can pin another version",
                reason=Reason.POLICY_UNREADABLE,
                metadata={"policy": version.full_name},
            )
        return version.policy

    def _known(self) -> str:
        names = [v.name for v in self.currents()]
        return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _parts(reference: str) -> tuple[str, int]:
    match = _REFERENCE.fullmatch(reference)
    return ("", 0) if match is None else (match[1], int(match[2] or 0))


def _read(d: Definition) -> Version:
    policy: Policy | None = None
    fault = ""
    try:
        read = parse(d.text.encode(), d.name, version=int(d.version))
        if read.name == d.id:
            policy = read
        else:
            fault = f"the text of policy {d.name} in the store is of {read.name!r}"
    except (InvalidArgument, ValueError) as e:
        fault = (
            f"policy {d.name} in the store cannot be read ({str(e)[:200]}); it may be of a newer hashhub: upgrade, put "
            "another version, or retire this one"
        )
    number = int(d.version) if d.version.isdecimal() else 0
    return Version(
        name=d.id,
        version=number,
        text=d.text,
        policy=policy,
        fault=fault,
        actor=d.actor or "system",
        create_time=d.create_time,
        retire_time=d.retire_time,
    )
