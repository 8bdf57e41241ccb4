"""Signed contributions at the hub: contributors' keys, what is demanded of a list, and proofs of single entries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import AlreadyExists, FailedPrecondition, LimitExceeded, NotFound, Reason
from hashhub.hub import access
from hashhub.hub.entries import check_comment
from hashhub.model import EntryProof, EventKind, Import, SigningKey, now
from hashhub.signing.manifest import EntriesTree, Manifest, canonical_entry, read_statement, records_of
from hashhub.tlog.tree import HASH_BYTES, TILE_HASHES, Tile, inclusion_proof, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hashhub.hub.entries import Entries
    from hashhub.model import Contributor, HashSet, Principal
    from hashhub.store import Store

MAX_KEYS: Final = 64  # of one contributor, those that were revoked among them
_CLOCKS: Final = timedelta(minutes=5)  # that a signer's may be ahead


class Signatures:
    """Who signed what was contributed."""

    def __init__(self, store: Store, entries: Entries) -> None:
        self._store = store
        self._entries = entries

    def add_key(self, principal: Principal, contributor: str, key: SigningKey) -> Contributor:
        """Register a key. Raises AlreadyExists: its id or the key itself was registered before; NotFound,
        InvalidArgument, FailedPrecondition (CONTRIBUTOR_RETIRED), LimitExceeded.
        """
        from hashhub.signing.envelope import public_text, read_public_key  # cryptography, which few hubs need at once

        access.allow_writing(principal, contributor)
        text = public_text(read_public_key(key.public_key))
        new = SigningKey(id=key.id, public_key=text, create_time=now())

        def add(keys: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
            if any(new.id == other.id or text == other.public_key for other in keys):
                raise AlreadyExists(
                    f"{contributor} has or had a key {new.id}, or this very key; choose another",
                    kind="Key",
                    name=new.id,
                )
            if len(keys) == MAX_KEYS:
                raise LimitExceeded(f"{contributor} has had {MAX_KEYS} keys, and can have no more")
            return (*keys, new)

        return self._store.resources.change_signing_keys(
            contributor, add, EventKind.SIGNING_KEY_ADDED, key.id, by=access.actor(principal)
        )

    def revoke_key(
        self, principal: Principal, contributor: str, key_id: str, comment: str = "", *, stolen: bool
    ) -> Contributor:
        """Revoke a key, for good; one that was revoked may still be said to be stolen. Raises NotFound."""
        access.allow_writing(principal, contributor)
        check_comment(comment, required=False)

        def revoke(keys: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
            if key_id not in {key.id for key in keys}:
                raise NotFound(f"{contributor} has no key {key_id[:63]!r}", kind="Key", name=key_id)
            return tuple(
                msgspec.structs.replace(
                    key, revoke_time=key.revoke_time or now(), stolen=key.stolen or stolen
                ) if key.id == key_id else key
                for key in keys
            )  # fmt: skip

        return self._store.resources.change_signing_keys(
            contributor, revoke, EventKind.SIGNING_KEY_REVOKED, key_id, comment=comment, by=access.actor(principal)
        )

    def check(self, import_: Import, *, is_opened: bool) -> tuple[Manifest, str]:
        """Return what a contributor signed about an import, and the id of its key. Raises InvalidArgument for what is
        no signed manifest; FailedPrecondition (SIGNATURE_REFUSED) where it is about something else, came before, is
        older than a list that stands, or no key of the contributor's that is valid signed it. `is_opened`: it is about
        to be opened, if it was not committed before.
        """
        from hashhub.signing.envelope import read_envelope, signers, trusted_keys

        envelope = read_envelope(import_.signature)
        manifest, source_digest = read_statement(envelope.statement)
        name = f"{import_.contributor}/{import_.hash_set}"
        said = {"hash set": manifest.hash_set, "SHA-256 of the source": source_digest}
        sent = {"hash set": name, "SHA-256 of the source": import_.source_digest}
        for field in ("connector", "connector_version", "replace", "terms"):
            said[field], sent[field] = str(getattr(manifest, field)), str(getattr(import_, field))
        if other := next((field for field in said if said[field] != sent[field]), None):
            raise _refused(
                f"{other} is {said[other]:.130} in what was signed, and {sent[other]:.130} in what was sent; sign "
                "that, with the same options"
            )
        keys = trusted_keys(self._store.resources.get_contributor(import_.contributor))
        own = signers(envelope, keys, import_.contributor)
        valid = [key for key in own if key.valid_before is None and key.is_valid_at(manifest.time)]
        if not valid:
            why = f"{own[0].name} was revoked, or registered after it signed" if own else "no registered key signed it"
            raise _refused(f"{why}; see `hashhub contributor key list {import_.contributor}`, and sign it with another")
        if manifest.time > now() + _CLOCKS:
            raise _refused(
                f"its time, {manifest.time:%Y-%m-%d %H:%M:%SZ}, is ahead; set the signer's clock, sign again"
            )
        if self._store.imports.has_newer_signed(import_, manifest.time, but_the_same=is_opened):
            raise _refused("this or a newer list was signed and committed before it; sign it anew if it shall count")
        return manifest, valid[0].name.partition("/")[2]

    def check_commit(self, import_: Import, hash_set: HashSet) -> None:
        """Raise FailedPrecondition where an import may not be committed: SIGNATURE_REQUIRED, or as `check`, or because
        other entries were sent than those that were signed.
        """
        if not import_.signature:
            if hash_set.require_signature:
                raise FailedPrecondition(
                    f"{hash_set.name} takes only lists that a key of {hash_set.contributor} signed; what was sent is "
                    "kept: give the same command again with --sign-with KEY or --signature FILE.sig",
                    reason=Reason.SIGNATURE_REQUIRED,
                    metadata={"hashSet": hash_set.name},
                )
            return
        manifest, _ = self.check(import_, is_opened=False)
        tree = EntriesTree()
        for leaves in self._leaves(import_.id):
            tree.add(leaves)
        if (tree.size, tree.root.hex()) != (manifest.entry_count, manifest.entries_root):
            raise _refused(
                f"the {tree.size} entries that were sent are not the {manifest.entry_count} that were signed; sign the "
                "file as it is read now, with the same options, and give the command again"
            )

    def proof(self, principal: Principal, contributor: str, hash_set: str, entry_id: int) -> EntryProof:
        """Prove that a list that was signed has what an entry states, word for word. Raises NotFound where no list
        does, or the entry is none that the caller may see.
        """
        entry = self._entries.get(principal, contributor, hash_set, entry_id)
        stated = {leaf_hash(text): text.decode() for text in map(canonical_entry, records_of(entry))}
        keys = {key.id for key in self._store.resources.get_contributor(contributor).signing_keys if not key.stolen}
        for import_ in self._store.imports.signed_imports(contributor, hash_set):
            if import_.signing_key not in keys:
                continue
            leaves = (leaf for some in self._leaves(import_.id) for leaf in some)
            index, leaf = next(((i, leaf) for i, leaf in enumerate(leaves) if leaf in stated), (-1, b""))
            if leaf:
                hashes = self._inclusion(import_.id, index)
                return EntryProof(
                    name=entry.name,
                    signature=import_.signature,
                    signing_key=import_.signing_key,
                    canonical_entry=stated[leaf],
                    index=index,
                    hashes=tuple(hashes),
                )
        raise NotFound(
            f"nobody signed what {entry.name} says, word for word: its list was not signed, or the hub left something "
            "out of the item or merged others into it (see hashhub findings); with the list itself, hashhub verify "
            "FILE tells who signed that",
            kind="EntryProof",
            name=entry.name,
        )

    def _inclusion(self, import_id: str, index: int) -> list[bytes]:
        """Return the proof of the entry at an index, holding no more of the tree than that needs."""
        tree, needed = EntriesTree(), dict[Tile, bytes]()
        for leaves in self._leaves(import_id):
            grown = tree.add(leaves)
            needed |= {t: hashes for t, hashes in grown.items() if t.level or t.number == index // TILE_HASHES}
        needed |= tree.edge

        def read(tiles: Collection[Tile]) -> dict[Tile, bytes]:
            return {tile: needed[tile] for tile in tiles}

        return inclusion_proof(index, tree.size, read)

    def _leaves(self, import_id: str) -> Iterator[list[bytes]]:
        for packed in self._store.imports.leaves(import_id):
            yield [packed[i : i + HASH_BYTES] for i in range(0, len(packed), HASH_BYTES)]


def _refused(why: str) -> FailedPrecondition:
    return FailedPrecondition(f"the signature was refused: {why}", reason=Reason.SIGNATURE_REFUSED)
