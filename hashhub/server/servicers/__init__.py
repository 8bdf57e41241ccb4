"""The calls: each converts its request, asks the hub, and converts the answer. Nothing else happens here.

A servicer's methods are the RPCs' names in snake_case and take `(principal, request)`, one that streams or hashes media
also whether it is wanted. They know no transport: what they raise is mapped to a status outside, and what they return
is encoded outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from google.protobuf.message_factory import GetMessageClass

from hashhub import wire
from hashhub.hub import Hub
from hashhub.server.interceptors import Method
from hashhub.server.roles import ROLES
from hashhub.server.servicers.administration import Admin
from hashhub.server.servicers.changes import Changes
from hashhub.server.servicers.contribution import Contribution
from hashhub.server.servicers.contributors import Contributors
from hashhub.server.servicers.history import History
from hashhub.server.servicers.matching import Match
from hashhub.server.servicers.operations import Operations
from hashhub.server.servicers.policies import Policies
from hashhub.server.servicers.reconciliation import Reconciliation
from hashhub.server.servicers.reviews import Reviews
from hashhub.server.servicers.schemes import Schemes
from hashhub.server.servicers.webhooks import Webhooks
from hashhub.v1 import (
    admin_service_pb2,
    change_service_pb2,
    contribution_service_pb2,
    contributor_service_pb2,
    history_service_pb2,
    match_service_pb2,
    operation_service_pb2,
    policy_service_pb2,
    reconciliation_service_pb2,
    review_service_pb2,
    scheme_service_pb2,
    webhook_service_pb2,
)

FILES: Final = (
    admin_service_pb2.DESCRIPTOR,
    change_service_pb2.DESCRIPTOR,
    contribution_service_pb2.DESCRIPTOR,
    contributor_service_pb2.DESCRIPTOR,
    history_service_pb2.DESCRIPTOR,
    match_service_pb2.DESCRIPTOR,
    operation_service_pb2.DESCRIPTOR,
    reconciliation_service_pb2.DESCRIPTOR,
    policy_service_pb2.DESCRIPTOR,
    review_service_pb2.DESCRIPTOR,
    scheme_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
)

_CAMEL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def methods(hub: Hub, is_stopping: Callable[[], bool], max_message_bytes: int) -> dict[str, Method]:
    """Return every call of the contract by its path. Raises KeyError or AttributeError when one has no role or no
    servicer.
    """
    servicers = {
        "AdminService": Admin(hub),
        "ChangeService": Changes(hub, is_stopping),
        "ContributionService": Contribution(hub, is_stopping),
        "ContributorService": Contributors(hub),
        "HistoryService": History(hub),
        "MatchService": Match(hub, is_stopping),
        "OperationService": Operations(hub, is_stopping),
        "ReconciliationService": Reconciliation(hub),
        "PolicyService": Policies(hub),
        "ReviewService": Reviews(hub),
        "SchemeService": Schemes(hub),
        "WebhookService": Webhooks(hub),
    }
    calls = [
        Method(
            name=f"{service.name}/{rpc.name}",
            request=GetMessageClass(rpc.input_type),
            answer=GetMessageClass(rpc.output_type),
            streams=rpc.server_streaming,
            listens=rpc.client_streaming,
            roles=ROLES[f"{service.name}/{rpc.name}"],
            handle=getattr(servicers[service.name], _CAMEL.sub("_", rpc.name).lower()),
            bounds=wire.bounds_of(rpc.input_type, max_message_bytes),
            at_once=getattr(servicers[service.name], _CAMEL.sub("_", rpc.name).lower() + "_at_once", None),
            bytes_at_once=getattr(servicers[service.name], _CAMEL.sub("_", rpc.name).lower() + "_bytes_at_once", None),
        )
        for file in FILES
        for service in file.services_by_name.values()
        for rpc in service.methods
    ]
    return {method.path: method for method in calls}
