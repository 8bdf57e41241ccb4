"""From queries to answers: what is hit among lists, and what a policy makes of it.

lists.py      what is read: a hub's store as one caller sees it, or a copy of what a token may hold
lookup.py     search; whose are the digests that were hit?
videos.py     shares of frames; stretches.py: where two videos agree
answer.py     the statements that a policy judges; verdict, reasons, matches

It reads, and decides nothing about who may see what: whoever makes the `Lists` does.
"""
