"""Reconciliation: what databases share, where they contradict each other, how far they agree.

    store ──> extract (Parquet) ──> overlap, links, agreement, gaps ──> report

Everything reads the extract, columns on disk that an analyst opens as well, and nothing here changes a statement or a
verdict. `columns` says what the files hold, `results` what comes out. Who may see which hash sets is decided before:
`hub.reconciliation` gives a function the hash sets that its caller may have, and it looks at no other.
"""
