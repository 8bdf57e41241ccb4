"""Signed contributions: what a contributor signs, in which form, and whose signature it is. Nothing here asks a hub.

manifest  a contribution in a few lines, with the Merkle root of its canonical entries, as an in-toto statement
envelope  a statement with its signature, as DSSE or as OpenSSH has it, and the public keys that verify it
"""
