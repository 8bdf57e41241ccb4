"""Sources: partners' endpoints that hash sets are kept equal to. They reach a hub by the client alone.

    settings ──> protocol: pages of a partner ──> state: staged ──> connector, import ──> state: position
       │             (stopncii, ncmec, …)           │                    │
       └── secrets, bounds                          └── goes on after a  └── first tried, and held where the list
                                                        kill                 drops or comes after a silence

A fetch is applied as one import or not at all. `fetch` has one fetch, `schedule` all sources' in turn, `partner` the
bounded HTTP; a module for each protocol has its paging and nothing of its items, which its connector reads.
"""
