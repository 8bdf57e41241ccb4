"""A transparency log as C2SP writes it: what is hashed, signed and proved. It knows neither a database nor a hub.

tree        the Merkle tree of RFC 6962 in tiles (c2sp.org/tlog-tiles): append, roots, proofs and their verification
note        signed notes, their keys, and cosignatures of witnesses (c2sp.org/signed-note, tlog-cosignature)
checkpoint  the size and root of a log, signed (c2sp.org/tlog-checkpoint)
policy      whose signatures are enough (c2sp.org/tlog-policy)
submission  what a log sends a witness (c2sp.org/tlog-witness)
proof       that an entry is in a log, in one text (c2sp.org/tlog-proof@v1)

Whatever comes from others is bounded and canonical, or it is refused: InvalidArgument for what is malformed, DataLoss
with the reason PROOF_FAILED or LOG_INCONSISTENT for what is well-formed and does not hold.
"""
