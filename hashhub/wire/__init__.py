"""What goes over the wire, for both ends: messages, resource names and errors, to the model and back.

The server and the client meet here and nowhere else. Every `X_to_pb` makes the message of a model value, every
`X_from_pb` the model value of a message:

contributors.py, hash_sets.py, imports.py, entries.py, reviews.py    one module for each kind of resource
administration.py                                                    history, tokens, status
selections.py                                                        many entries at once, and what waits
schemes.py                                                           schemes, side by side too
records.py, feed.py, exports.py                                      records, lines of the feed, entries in columns
matching.py                                                          the match calls, quickly
policies.py                                                          versions of policies, explanations, trials
fields.py                                                            how a field is read and refused
names.py, status.py                                                  resource names; errors

`from_pb` is a border: it collects *all* violations before it raises, each with the path that the client sees
(`records[3].hashes[1].digest`); `at` is the path of the message itself. What is true of a value wherever it comes from
stands in `hashhub.model`, and its violations are given the client's paths here. `to_pb` sets no `revision`: that
belongs to the answer, and the servicer sets it.

Generated code (`hashhub.v1`) knows nothing of the model, and the model nothing of it.
"""

from __future__ import annotations

from hashhub.wire.administration import (
    event_from_pb,
    event_to_pb,
    reverted_event_from_pb,
    reverted_event_to_pb,
    status_from_pb,
    status_to_pb,
    token_from_pb,
    token_to_pb,
)
from hashhub.wire.bounds import Bounds, bounds_of, check_json, check_repeated, parse
from hashhub.wire.columns import columns_from_pb, columns_to_pb
from hashhub.wire.contributors import (
    contributor_from_pb,
    contributor_to_pb,
    contributors_from_pb,
    group_from_pb,
    group_to_pb,
)
from hashhub.wire.entries import (
    classification_from_pb,
    classification_to_pb,
    dimensions_from_pb,
    dimensions_to_pb,
    entry_from_pb,
    entry_states_from_pb,
    entry_states_to_pb,
    entry_to_pb,
    withdrawal_reason_from_pb,
    withdrawal_reason_to_pb,
)
from hashhub.wire.exports import entries_from_columns_pb, entry_columns_to_pb
from hashhub.wire.feed import changed_entries_to_pb, changed_entry_from_pb, changed_entry_to_pb
from hashhub.wire.fields import drop_output_only, duration_in, read_text, time_in, timestamp
from hashhub.wire.hash_sets import hash_set_from_pb, hash_set_to_pb, marking_from_pb, marking_to_pb
from hashhub.wire.imports import (
    dispositions_from_pb,
    dispositions_to_pb,
    finding_from_pb,
    finding_to_pb,
    import_from_pb,
    import_to_pb,
    reject_to_pb,
    rejects_from_pb,
)
from hashhub.wire.matching import (
    match_result_from_pb,
    match_result_to_pb,
    match_results_to_pb,
    media_result_from_pb,
    media_result_to_pb,
    options_from_pb,
    options_to_pb,
    queries_from_pb,
    query_from_pb,
    query_to_pb,
)
from hashhub.wire.names import (
    contributor_name,
    entry_name,
    event_name,
    group_name,
    hash_set_name,
    import_name,
    parse_author,
    parse_contributor,
    parse_contributor_or_all,
    parse_entry,
    parse_event,
    parse_group,
    parse_hash_set,
    parse_import,
    parse_policy,
    parse_review,
    parse_scheme,
    parse_subject,
    parse_token,
    policy_name,
    review_name,
    scheme_name,
    subject_name,
    token_name,
)
from hashhub.wire.policies import policy_from_pb, policy_to_pb, trace_from_pb, trace_to_pb, trial_from_pb, trial_to_pb
from hashhub.wire.records import flags_from_pb, flags_to_pb, record_to_pb, records_from_pb
from hashhub.wire.reviews import new_review_from_pb, review_from_pb, review_to_pb
from hashhub.wire.schemes import (
    crosswalk_row_from_pb,
    crosswalk_row_to_pb,
    difference_from_pb,
    difference_to_pb,
    scheme_to_pb,
    sign_offs_from_pb,
)
from hashhub.wire.selections import (
    entry_action_from_pb,
    entry_action_to_pb,
    entry_changes_from_pb,
    entry_changes_to_pb,
    optional_reason_from_pb,
    optional_reason_to_pb,
    queue_item_from_pb,
    queue_item_to_pb,
    selection_from_pb,
    selection_to_pb,
)
from hashhub.wire.status import (
    error_to_status,
    status_pb_to_error,
    status_to_error,
)

__all__ = [
    "Bounds",
    "bounds_of",
    "changed_entries_to_pb",
    "changed_entry_from_pb",
    "changed_entry_to_pb",
    "check_json",
    "check_repeated",
    "classification_from_pb",
    "classification_to_pb",
    "columns_from_pb",
    "columns_to_pb",
    "contributor_from_pb",
    "contributor_name",
    "contributor_to_pb",
    "contributors_from_pb",
    "crosswalk_row_from_pb",
    "crosswalk_row_to_pb",
    "difference_from_pb",
    "difference_to_pb",
    "dimensions_from_pb",
    "dimensions_to_pb",
    "dispositions_from_pb",
    "dispositions_to_pb",
    "drop_output_only",
    "duration_in",
    "entries_from_columns_pb",
    "entry_action_from_pb",
    "entry_action_to_pb",
    "entry_changes_from_pb",
    "entry_changes_to_pb",
    "entry_columns_to_pb",
    "entry_from_pb",
    "entry_name",
    "entry_states_from_pb",
    "entry_states_to_pb",
    "entry_to_pb",
    "error_to_status",
    "event_from_pb",
    "event_name",
    "event_to_pb",
    "finding_from_pb",
    "finding_to_pb",
    "flags_from_pb",
    "flags_to_pb",
    "group_from_pb",
    "group_name",
    "group_to_pb",
    "hash_set_from_pb",
    "hash_set_name",
    "hash_set_to_pb",
    "import_from_pb",
    "import_name",
    "import_to_pb",
    "marking_from_pb",
    "marking_to_pb",
    "match_result_from_pb",
    "match_result_to_pb",
    "match_results_to_pb",
    "media_result_from_pb",
    "media_result_to_pb",
    "new_review_from_pb",
    "optional_reason_from_pb",
    "optional_reason_to_pb",
    "options_from_pb",
    "options_to_pb",
    "parse",
    "parse_author",
    "parse_contributor",
    "parse_contributor_or_all",
    "parse_entry",
    "parse_event",
    "parse_group",
    "parse_hash_set",
    "parse_import",
    "parse_policy",
    "parse_review",
    "parse_scheme",
    "parse_subject",
    "parse_token",
    "policy_from_pb",
    "policy_name",
    "policy_to_pb",
    "queries_from_pb",
    "query_from_pb",
    "query_to_pb",
    "queue_item_from_pb",
    "queue_item_to_pb",
    "read_text",
    "record_to_pb",
    "records_from_pb",
    "reject_to_pb",
    "rejects_from_pb",
    "reverted_event_from_pb",
    "reverted_event_to_pb",
    "review_from_pb",
    "review_name",
    "review_to_pb",
    "scheme_name",
    "scheme_to_pb",
    "selection_from_pb",
    "selection_to_pb",
    "sign_offs_from_pb",
    "status_from_pb",
    "status_pb_to_error",
    "status_to_error",
    "status_to_pb",
    "subject_name",
    "time_in",
    "timestamp",
    "token_from_pb",
    "token_name",
    "token_to_pb",
    "trace_from_pb",
    "trace_to_pb",
    "trial_from_pb",
    "trial_to_pb",
    "withdrawal_reason_from_pb",
    "withdrawal_reason_to_pb",
]
