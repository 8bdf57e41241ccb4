"""What `hashhub scan`, `hook scan` and `hook case scan` share: the way of an object, and what is remembered of it.

listing ── memory: as it was? ── else read by a thread ── kept in memory ── answered ── counted, one page
"""
