"""What goes over the wire, for both ends: messages, resource names and errors, to the model and back.

A resource is a table of its fields (`codec.py`), `RESOURCE.to_pb` and `RESOURCE.from_pb`; what no table can say, or
what must be quick, has functions `x_to_pb` and `x_from_pb`. `from_pb` collects all violations before it raises, each
with the path that the client sees (`records[3].hashes[1].digest`); `at` is the path of the message itself. `to_pb` sets
no `revision`: that belongs to the answer, and the servicer sets it.
"""

from __future__ import annotations

from hashhub.wire.bounds import Bounds, bounds_of, check_json, parse
from hashhub.wire.codec import flags_from_pb, flags_to_pb
from hashhub.wire.contribution import (
    ENTRY_CHANGES,
    FINDING,
    IMPORT,
    QUEUE_ITEM,
    REJECT,
    REVIEW,
    changed_entry_from_pb,
    exported_from_pb,
    exported_to_pb,
    feed_page_to_pb,
    finding_to_pb,
    new_review_from_pb,
    rejects_from_pb,
    review_to_pb,
    selection_from_pb,
    selection_to_pb,
)
from hashhub.wire.definitions import (
    CROSSWALK_ROW,
    DIFFERENCE,
    TRIAL,
    policy_to_pb,
    scheme_to_pb,
    trace_from_pb,
    trace_to_pb,
)
from hashhub.wire.fields import (
    CONFLICT_REASON,
    DISPOSITION,
    ENTRY_ACTION,
    ENTRY_STATE,
    WITHDRAWAL_REASON,
    conflict_name,
    contributor_name,
    drop_output_only,
    duration_in,
    entry_name,
    event_name,
    group_name,
    hash_set_name,
    import_name,
    operation_name,
    parse_author,
    parse_conflict,
    parse_contributor,
    parse_contributor_or_all,
    parse_entry,
    parse_event,
    parse_group,
    parse_hash_set,
    parse_import,
    parse_operation,
    parse_policy,
    parse_review,
    parse_scheme,
    parse_subject,
    parse_token,
    parse_webhook,
    policy_name,
    read_text,
    review_name,
    scheme_name,
    time_in,
    timestamp,
    token_name,
    webhook_name,
)
from hashhub.wire.items import (
    classification_from_pb,
    classification_to_pb,
    columns_from_pb,
    columns_to_pb,
    dimensions_from_pb,
    entry_from_pb,
    entry_to_pb,
    record_to_pb,
    records_from_pb,
)
from hashhub.wire.matching import (
    LIVE_ANSWER,
    MATCH_RESULT,
    MEDIA_RESULT,
    live_frame_from_pb,
    live_frame_to_pb,
    live_start_from_pb,
    live_start_to_pb,
    match_results_to_pb,
    options_from_pb,
    options_to_pb,
    queries_from_pb,
    query_from_pb,
    query_to_pb,
)
from hashhub.wire.operations import (
    CONFLICT,
    CONFLICT_CHANGES,
    CONFLICT_FILTER,
    CONFLICT_ORDER,
    CONFLICT_SUMMARY,
    GAP,
    LINK,
    operation_from_pb,
    operation_to_pb,
    task_from_pb,
    task_to_pb,
)
from hashhub.wire.resources import (
    CALLER,
    CONTRIBUTOR,
    DELETION,
    DELIVERY,
    EVENT,
    GROUP,
    HASH_SET,
    MARKING,
    RETENTION,
    REVERTED_EVENT,
    STATUS,
    TOKEN,
    WEBHOOK,
    bank_to_pb,
    contributors_from_pb,
    new_hash_set_from_pb,
    withdraws_entries,
)
from hashhub.wire.status import error_of, error_to_status, status_pb_to_error, status_to_error
