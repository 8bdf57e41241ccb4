"""The queue: uploads that wait for a person, what persons decide, and what the hub is told of it.

                 confirm                              release (two persons, where the settings say so)
    UNANSWERED ──────────▶ REMOVED   ◀───────────▶   RELEASED
    HELD, BLOCKED ─▲          │  a decision can be taken back by the other one, never undone: each is an event

It holds no media. A release is of one upload: what looks alike may differ.

Reviews go back to the hub about the entries that were hit. To confirm an upload says CONFIRMED of each. An objection
needs an upload that is the listed file, bit for bit: otherwise pictures drawn to come near would have others' entries
disputed.
"""
