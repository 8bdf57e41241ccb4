"""The queue: uploads that wait for a person, what persons decide, and what the hub is told of it.

                 confirm                              release (two persons, where the settings say so)
    UNANSWERED ──────────▶ REMOVED   ◀───────────▶   RELEASED
    HELD, BLOCKED ─▲          │  a decision can be taken back by the other one, never undone: each is an event

Nothing here shows a picture, or holds one. A release is of one upload, by its reference: what looks alike may differ.

What goes back to the hub is about the entries that were hit. To confirm an upload says CONFIRMED of each. To object to
an entry (FALSE_POSITIVE, NOT_ILLEGAL_HERE) needs an upload that is the listed file, bit for bit: an upload that only
comes near in a perceptual hash is another picture, and what it shows says nothing about the entry. Otherwise whoever
draws pictures that come near would have others' entries disputed by the persons who clear them.
"""

from __future__ import annotations

from hashhub.desk.queue.later_answers import LaterAnswer, LaterAnswers
from hashhub.desk.queue.reviews import Feedback, FeedbackState, Reviews
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.stored_decision import Hit
from hashhub.desk.queue.view import WAITING, Code, Group, Listing, Queue, QueuedUpload

__all__ = [
    "WAITING",
    "Code",
    "Feedback",
    "FeedbackState",
    "Group",
    "Hit",
    "LaterAnswer",
    "LaterAnswers",
    "Listing",
    "Queue",
    "QueuedUpload",
    "Reviews",
    "Rulings",
]
