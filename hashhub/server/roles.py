"""Which role may call what. The table is total: a call that is missing here cannot be served, and the server does not
start.

This is the first of two checks. It needs nothing but the token and runs before the request is even decoded. The hub
then checks ownership and terms, which depend on what is asked for, and for the change feed whether the token may
mirror.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hashhub.model import Role

_OPERATOR: Final = frozenset({Role.OPERATOR})
_WRITERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.AUDITOR})
_OVERSEERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
_MATCHERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.CONSUMER})
_EVERYBODY: Final = frozenset(Role)

ROLES: Final[Mapping[str, frozenset[Role]]] = {
    "AdminService/CreateToken": _OPERATOR,
    "AdminService/ListTokens": _OVERSEERS,
    "AdminService/UpdateToken": _OPERATOR,
    "AdminService/RotateToken": _EVERYBODY,
    "AdminService/DeleteToken": _OPERATOR,
    "AdminService/GetStatus": _OVERSEERS,
    "ChangeService/ListChanges": _EVERYBODY,
    "ChangeService/FollowChanges": _EVERYBODY,
    "ContributionService/CreateImport": _WRITERS,
    "ContributionService/AddRecords": _WRITERS,
    "ContributionService/CommitImport": _WRITERS,
    "ContributionService/CancelImport": _WRITERS,
    "ContributionService/GetImport": _READERS,
    "ContributionService/ListImports": _READERS,
    "ContributionService/ListFindings": _READERS,
    "ContributionService/GetEntry": _READERS,
    "ContributionService/ListEntries": _READERS,
    "ContributionService/ExportEntries": _EVERYBODY,
    "ContributionService/WithdrawEntry": _WRITERS,
    "ContributionService/RestoreEntry": _WRITERS,
    "ContributionService/EraseEntry": _OPERATOR,
    "ContributionService/ReleaseEntry": _OPERATOR,
    "ContributionService/QuarantineEntry": _OPERATOR,
    "ContributionService/SearchEntries": _READERS,
    "ContributionService/ChangeEntries": _WRITERS,
    "ContributionService/ListQueueItems": _READERS,
    "ContributorService/CreateContributor": _OPERATOR,
    "ContributorService/GetContributor": _READERS,
    "ContributorService/ListContributors": _READERS,
    "ContributorService/UpdateContributor": _OPERATOR,
    "ContributorService/RetireContributor": _OPERATOR,
    "ContributorService/AcceptObjections": _OPERATOR,
    "ContributorService/CreateGroup": _OPERATOR,
    "ContributorService/GetGroup": _READERS,
    "ContributorService/ListGroups": _READERS,
    "ContributorService/UpdateGroup": _OPERATOR,
    "ContributorService/DeleteGroup": _OPERATOR,
    "ContributorService/CreateHashSet": _WRITERS,
    "ContributorService/GetHashSet": _READERS,
    "ContributorService/ListHashSets": _READERS,
    "ContributorService/UpdateHashSet": _WRITERS,
    "ContributorService/AcceptHashSet": _OPERATOR,
    "ContributorService/DeleteHashSet": _WRITERS,
    "ContributorService/GetRetention": _READERS,
    "ContributorService/UpdateRetention": _WRITERS,
    "HistoryService/ListEvents": _READERS,
    "HistoryService/RedactEvent": _OPERATOR,
    "HistoryService/RevertActor": _OPERATOR,
    "MatchService/MatchHashes": _MATCHERS,
    "MatchService/BatchMatchHashes": _MATCHERS,
    "MatchService/MatchMedia": _MATCHERS,
    "MatchService/BatchMatchMedia": _MATCHERS,
    "MatchService/MatchLive": _MATCHERS,
    "MatchService/ListPolicies": _EVERYBODY,
    "MatchService/ListSchemes": _EVERYBODY,
    "OperationService/GetOperation": _READERS,
    "OperationService/ListOperations": _READERS,
    "OperationService/WaitOperation": _READERS,
    "OperationService/CancelOperation": _READERS,
    "OperationService/DeleteOperation": _READERS,
    "ReconciliationService/ExtractEntries": _READERS,
    "ReconciliationService/ComputeOverlap": _READERS,
    "ReconciliationService/ComputeAgreement": _READERS,
    "ReconciliationService/FindLinks": _READERS,
    "ReconciliationService/FindGaps": _READERS,
    "ReconciliationService/WriteReport": _READERS,
    "ReconciliationService/ReadResult": _READERS,
    "ReconciliationService/ReadFiles": _READERS,
    "ReconciliationService/ListConflicts": _READERS,
    "ReconciliationService/GetConflict": _READERS,
    "ReconciliationService/SummariseConflicts": _READERS,
    "ReconciliationService/AssignConflict": _OPERATOR,
    "ReconciliationService/ResolveConflict": _WRITERS,
    "PolicyService/ExplainMatch": _EVERYBODY,
    "PolicyService/GetPolicy": _EVERYBODY,
    "PolicyService/ListPolicyVersions": _EVERYBODY,
    "PolicyService/PutPolicy": _OPERATOR,
    "PolicyService/RetirePolicy": _OPERATOR,
    "PolicyService/SimulatePolicy": _OVERSEERS,
    "ReviewService/CreateReview": _WRITERS,
    "ReviewService/ListReviews": _READERS,
    "ReviewService/SetAsideReview": _OPERATOR,
    "SchemeService/CompareSchemes": _EVERYBODY,
    "SchemeService/DiffSchemes": _EVERYBODY,
    "SchemeService/GetScheme": _EVERYBODY,
    "SchemeService/PutScheme": _OPERATOR,
    "SchemeService/RetireScheme": _OPERATOR,
    "SchemeService/SignOffScheme": _OPERATOR,
    "WebhookService/CreateWebhook": _WRITERS,
    "WebhookService/GetWebhook": _READERS,
    "WebhookService/ListWebhooks": _READERS,
    "WebhookService/UpdateWebhook": _WRITERS,
    "WebhookService/DeleteWebhook": _WRITERS,
    "WebhookService/RotateWebhookSecret": _WRITERS,
    "WebhookService/TestWebhook": _WRITERS,
    "WebhookService/ListWebhookDeliveries": _READERS,
}
