"""The schemes and policies that hold now: those that come with hashhub, those of the operator's directories, and those
that were put into the store.

What is in files is read once, at the start. What is in the store takes effect in every process without a restart: it
is part of the store's registry, which is the same object until something changes, and is read anew only then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hashhub import schemes
from hashhub.model import DefinitionKind
from hashhub.schemes.stored import StoredSchemes
from hashhub.trust import PolicyVersions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashhub.model import Definition
    from hashhub.store import Registry, Store
    from hashhub.trust import Policy

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """The schemes, and all versions of all policies, of one moment. `warnings`: what of the store is left out, and why;
    what refers to it finds nothing.
    """

    schemes: schemes.SchemeRegistry
    policies: PolicyVersions
    warnings: tuple[str, ...] = ()
    scheme_definitions: Mapping[str, Definition] = field(default_factory=dict)  # by ID@VERSION: those of the store


class Catalogue:
    """What holds now; safe to use from any thread."""

    def __init__(self, store: Store, scheme_files: schemes.SchemeRegistry, policy_files: Mapping[str, Policy]) -> None:
        self._store = store
        self.scheme_files = scheme_files
        self._schemes = StoredSchemes(scheme_files)
        self._policies = _Policies(policy_files)
        self._built: tuple[Registry | None, CatalogueState] = (
            None,
            CatalogueState(scheme_files, PolicyVersions(policy_files)),
        )

    def now(self) -> CatalogueState:
        """Return what holds now, by one small look at the database. Raises Unavailable."""
        return self._of(self._store.resources.registry())

    def held(self) -> CatalogueState:
        """Return what held at this process's last look at the database, without one: matching costs no further look.

        The follower looks at every poll.
        """
        return self._of(self._store.resources.held)

    def _of(self, registry: Registry) -> CatalogueState:
        of, known = self._built
        if of is registry:
            return known
        warnings: list[str] = []
        of_schemes = [d for d in registry.definitions if d.kind is DefinitionKind.SCHEME]
        of_policies = [d for d in registry.definitions if d.kind is DefinitionKind.POLICY]
        known = CatalogueState(
            self._schemes.with_stored(of_schemes, warnings),
            self._policies.with_stored(of_policies, warnings),
            tuple(warnings),
            {d.name: d for d in of_schemes},
        )
        for warning in warnings:
            if warning not in self._built[1].warnings:
                _log.warning("%s", warning)
        self._built = (registry, known)
        return known


class _Policies:
    """The policies in files, and those of the store beside them."""

    def __init__(self, files: Mapping[str, Policy]) -> None:
        self._files = files
        self._with: tuple[Sequence[Definition], PolicyVersions] = ((), PolicyVersions(files))

    def with_stored(self, definitions: Sequence[Definition], warnings: list[str]) -> PolicyVersions:
        """Return them all, and add to the warnings what cannot be read: queries by it are UNAVAILABLE."""
        if definitions != self._with[0]:
            self._with = (definitions, PolicyVersions(self._files, definitions))
        policies = self._with[1]
        warnings += [f"{fault}; queries by it are UNAVAILABLE until then" for fault in policies.faults]
        return policies
