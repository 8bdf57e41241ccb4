"""Versions of policies: those of files, and those that were put into a hub's store beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.model import Definition
from hashhub.trust.policy import Policy, parse

_REFERENCE: Final = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:@([1-9][0-9]{0,6}))?")
_SHOWN: Final = 20  # names in a message


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
        """`definitions`: of policies, in the store. A version whose text cannot be read keeps its place: nobody is
        answered by another one instead.
        """
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
        """Return the version that `NAME` or `NAME@VERSION` means, one that was retired or cannot be read included.

        Raises InvalidArgument when there is none.
        """
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
