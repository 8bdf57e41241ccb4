"""Exchanges: sources as HMA's clients know them, each by the name of the bank that it keeps. They are made, changed and
removed where they are fetched, and only read here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hashhub import v1
from hashhub.errors import NotFound, PermissionDenied
from hashhub.partners import banks
from hashhub.partners.requests import PartnerRequest


class ExchangeAPI(NamedTuple):
    """A sort of exchange: the protocol of its sources, the credentials that they take, and whether they must."""

    protocol: str
    credentials: tuple[str, ...]
    is_required: bool = True

    @property
    def schema(self) -> dict[str, Any]:
        """What it is configured with, as HMA describes it."""
        credentials = {"fields": [_field(name, is_required=self.is_required) for name in self.credentials]}
        return {"config_schema": {"fields": [_field("url")]}, "credentials_schema": credentials}


APIS: Final = MappingProxyType({
    "stopncii": ExchangeAPI("stopncii", ("functions_key", "subscription_key")),
    "ncmec": ExchangeAPI("ncmec", ("user", "password")),
    "fb_threatexchange": ExchangeAPI("threatexchange", ("access_token",)),
    "taxii": ExchangeAPI("taxii", ("user", "password"), is_required=False),
    "misp": ExchangeAPI("misp", ("authorization",), is_required=False),
})  # fmt: skip
"""By HMA's name, where it has one."""


async def sources(request: PartnerRequest) -> list[v1.SourceReport]:
    """Return the sources that the caller may see."""
    return list((await request.ask("AdminService/GetPartners", v1.GetPartnersRequest(), v1.Partners)).sources)


async def listed(request: PartnerRequest) -> dict[str, v1.SourceReport]:
    """Return the sources that the caller may see, by the names of their banks."""
    by_hash_set = {one.hash_set: one for one in await sources(request)}
    if not by_hash_set:
        return {}
    return {b.name: by_hash_set[b.resource] for b in await banks.listed(request) if b.resource in by_hash_set}


async def named(request: PartnerRequest, name: str) -> v1.SourceReport:
    """Return the source of an exchange. Raises NotFound where the caller sees none."""
    if source := (await listed(request)).get(name):
        return source
    raise NotFound(f"Exchange '{name[:80]}' not found", kind="Exchange", name=name[:80])


def api_of(protocol: str) -> str:
    """Return HMA's name of a protocol."""
    return next((name for name, api in APIS.items() if api.protocol == protocol), protocol)


def checked_api(name: str) -> ExchangeAPI:
    """Return a sort of exchange. Raises NotFound."""
    if name in APIS:
        return APIS[name]
    raise NotFound(f"Exchange API '{name[:80]}' not found; there are {', '.join(APIS)}", kind="ExchangeAPI", name="")


def refused() -> PermissionDenied:
    """Return the error for a request that would make, change or remove an exchange, or set its credentials."""
    return PermissionDenied(
        "exchanges are made, changed and removed on the machine that fetches them, where their secrets are: "
        "`hashhub source add` and `remove`, or the source's file"
    )


def fetch_status(source: v1.SourceReport) -> dict[str, Any]:
    """Return how far a source is, as HMA says it."""
    is_well = source.status in {v1.SourceStatus.SOURCE_STATUS_OK, v1.SourceStatus.SOURCE_STATUS_SILENT}
    return {
        "checkpoint_ts": source.success_time.seconds or None,
        "running_fetch_start_ts": source.begin_time.seconds or None,
        "last_fetch_complete_ts": source.end_time.seconds or None,
        "last_fetch_succeeded": is_well if source.end_time.seconds else None,
        "up_to_date": is_well and not source.is_late,
        "fetched_items": source.items,
    }


def _field(name: str, *, is_required: bool = True) -> dict[str, Any]:
    about = "hashhub source add " + ("--url" if name == "url" else f"--credential {name}=file:PATH")
    return {"name": name, "type": "string", "required": is_required, "default": None, "help": about, "choices": None}
