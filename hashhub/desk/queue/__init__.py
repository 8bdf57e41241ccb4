"""The queue: uploads that wait for a person, what persons decide, and what the hub is told of it. It holds no media.

                 confirm                              release (two persons, where the settings say so)
    UNANSWERED ──────────▶ REMOVED   ◀───────────▶   RELEASED
    HELD, BLOCKED ─▲          │  a decision can be taken back by the other one, never undone: each is an event

A confirmation says CONFIRMED of each entry that was hit. An objection needs an upload that is the listed file, bit for
bit: otherwise pictures drawn to come near would have others' entries disputed.
"""
