"""The calls: each converts its request, asks the hub, and converts the answer. Nothing else happens here.

A servicer's methods are the RPCs' names in snake_case, are explained by the contract, and say who may call them
(`requests.served`). They take
`(principal, request)`, one that streams or hashes media also whether it is wanted. They know no transport: what they
raise is mapped to a status outside, and what they return is encoded outside.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from hashhub import v1, wire
from hashhub.hub import Hub
from hashhub.server import pages
from hashhub.server.pipeline import Method
from hashhub.server.servicers.administration import AdminService, HistoryService
from hashhub.server.servicers.contribution import ChangeService, ContributionService, ReviewService
from hashhub.server.servicers.contributors import ContributorService, WebhookService
from hashhub.server.servicers.definitions import PolicyService, SchemeService
from hashhub.server.servicers.matching import MatchService
from hashhub.server.servicers.reconciliation import OperationService, ReconciliationService
from hashhub.server.servicers.requests import Service, terms_of

_SERVICERS: Final[Mapping[str, type[Service]]] = {
    servicer.__name__: servicer
    for servicer in (
        AdminService, ChangeService, ContributionService, ContributorService, HistoryService, MatchService,
        OperationService, ReconciliationService, PolicyService, ReviewService, SchemeService, WebhookService,
    )
}  # fmt: skip
FILES: Final = tuple(
    descriptor_pool.Default().FindServiceByName(f"{v1.__name__}.{service}").file for service in _SERVICERS
)


def _snake(rpc: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower()


ROLES: Final = {
    f"{service.name}/{rpc.name}": terms_of(getattr(_SERVICERS[service.name], _snake(rpc.name))).roles
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
}
"""Who may make which call, as the servicers say."""


def _dated(handle: Callable[..., Any], hub: Hub) -> Callable[..., Any]:
    """Return a servicer's method whose answers say the hub's revision where they say none of their own."""

    def call(principal: Any, request: Any, *rest: Any) -> Any:
        answer = handle(principal, request, *rest)
        answer.revision = answer.revision or hub.revision()
        return answer

    return call


def _agreed(handle: Callable[..., Any], grave: Callable[[Any], bool], hub: Hub, call: str) -> Callable[..., Any]:
    """Return a servicer's method whose grave requests take a second person. Comments and ids of requests may differ,
    and pages are one request.
    """

    def made(principal: Any, request: Any, *rest: Any) -> Any:
        if grave(request) and not getattr(request, "validate_only", False):
            said, tried = (type(request).FromString(request.SerializeToString()) for _ in range(2))
            check: Callable[[], object] = list
            if hasattr(tried, "validate_only"):
                tried.validate_only = True
                check = functools.partial(handle, principal, tried, *rest)
            for field in ("comment", "request_id", "page_size", "page_token"):
                if field in said.DESCRIPTOR.fields_by_name:
                    said.ClearField(field)
            text, request_id = said.SerializeToString(deterministic=True), getattr(request, "request_id", "")
            principal = hub.approvals.agreed(principal, call, text, request_id, check)
        return handle(principal, request, *rest)

    return made


def methods(hub: Hub, is_stopping: Callable[[], bool], max_message_bytes: int) -> dict[str, Method]:
    """Return every call of the contract by its path."""
    servicers = {name: servicer(hub, is_stopping) for name, servicer in _SERVICERS.items()}

    def call(service: ServiceDescriptor, rpc: MethodDescriptor) -> Method:
        servicer, name = servicers[service.name], _snake(rpc.name)
        handle = getattr(servicer, name)
        terms = terms_of(handle)
        if terms.grave is not None and hub.approvals.demanded:
            handle = _agreed(handle, terms.grave, hub, f"{service.name}/{rpc.name}")
        if "revision" in rpc.output_type.fields_by_name and not rpc.server_streaming:
            handle = _dated(handle, hub)
        if "next_page_token" in rpc.output_type.fields_by_name:
            handle = pages.sealing(handle, hub.page_key)
        return Method(
            name=f"{service.name}/{rpc.name}",
            request=GetMessageClass(rpc.input_type),
            answer=GetMessageClass(rpc.output_type),
            streams=rpc.server_streaming,
            listens=rpc.client_streaming,
            roles=tuple(sorted(terms.roles)),
            limiter=terms.limiter,
            handle=handle,
            bounds=wire.bounds_of(rpc.input_type, max_message_bytes),
            at_once=getattr(servicer, f"{name}_at_once", None),
        )

    calls = [
        call(service, rpc) for file in FILES for service in file.services_by_name.values() for rpc in service.methods
    ]
    return {method.path: method for method in calls}
