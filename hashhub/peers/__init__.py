"""Peers: other hubs that this one is joined to. An edge; it knows its own hub and the others by the client alone.

    line: what two operators exchange ──> state: who is joined, and what was taken from it
                                             │
    run: one thread a peer ──> taking: a page of the other's change feed ──> imports into the own hub ──> position

What a contributor `hotline` of the hub `a` states in `known` stands here as `known` of a contributor `a--hotline`, with
where it comes from and through which hubs. A hash set is taken by one way alone (`ways`).
"""
