"""The schemes and policies that hold now: those of hashhub, of the operator's directories, and of the store.

Files are read once, at the start. What is in the store takes effect in every process without a restart: it is part of
the store's registry, and is read anew only when that changes.
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
    from collections.abc import Mapping

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
        self._policy_files = policy_files
        start = CatalogueState(scheme_files, PolicyVersions(policy_files))
        self._built: tuple[Registry | None, list[Definition], CatalogueState] = (None, [], start)

    def now(self) -> CatalogueState:
        """Return what holds now, by one small look at the database. Raises Unavailable."""
        return self._of(self._store.resources.registry())

    def held(self) -> CatalogueState:
        """Return what held at this process's last look at the database, without one: matching costs no further look.

        The follower looks at every poll.
        """
        return self._of(self._store.resources.held)

    def _of(self, registry: Registry) -> CatalogueState:
        of, policies_then, known = self._built
        if of is registry:
            return known
        warnings: list[str] = []
        of_schemes = [d for d in registry.definitions if d.kind is DefinitionKind.SCHEME]
        of_policies = [d for d in registry.definitions if d.kind is DefinitionKind.POLICY]
        stored = self._schemes.with_stored(of_schemes, warnings)
        policies = known.policies if of_policies == policies_then else PolicyVersions(self._policy_files, of_policies)
        warnings += [f"{fault}; queries by it are UNAVAILABLE until then" for fault in policies.faults]
        for warning in warnings:
            if warning not in known.warnings:
                _log.warning("%s", warning)
        known = CatalogueState(stored, policies, tuple(warnings), {d.name: d for d in of_schemes})
        self._built = (registry, of_policies, known)
        return known
