"""Reconciliation: what databases share, where they contradict each other, how far they agree.

    store ──> extract (Parquet) ──> overlap, links, agreement, gaps ──> report

Everything reads the extract, columns on disk that analysts can open as well, and changes no statement or verdict.
`columns` describes the files, `results` the answers. `hub.reconciliation` passes the hash sets that the caller may see,
and no others are read.
"""
