"""What hashhub writes, judged by the software that reads it."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from hashhub.connector import Exported, get_writer
from hashhub.hashes import Hash
from hashhub.model import TLP, Entry, EntryState, HashSet, Marking, Provenance
from hashhub.testing.writers import as_withdrawn, known_schemes, written

PROVENANCE = Provenance(
    import_id="imp", connector="csv", connector_version="1", source_digest="00" * 32, position="line 1"
)
KNOWN = known_schemes()


def exported(scheme: str = "", *, is_delta: bool = False) -> Exported:
    hash_set = HashSet(
        contributor="nl", id="known", scheme=KNOWN[scheme].name if scheme else "", marking=Marking(tlp=TLP.CLEAR)
    )
    return Exported({hash_set.name: hash_set}, KNOWN, datetime(2026, 1, 2, tzinfo=UTC), is_delta)


def of_file(number: int, content: bytes, *, media_type: str = "") -> Entry:
    return Entry(
        id=number,
        contributor="nl",
        hash_set="known",
        hashes=(
            Hash("MD5", hashlib.md5(content, usedforsecurity=False).digest()),
            Hash("SHA1", hashlib.sha1(content, usedforsecurity=False).digest()),
            Hash("SHA256", hashlib.sha256(content).digest()),
        ),
        state=EntryState.ACTIVE,
        provenance=PROVENANCE,
        media_type=media_type,
        media_size=len(content),
    )


def command(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize("algorithms", ["md5", "sha1", "md5,sha256", "sha256,sha1,md5"])
def test_hashdeeps_own_audit_accepts_the_list(tmp_path: Path, algorithms: str) -> None:
    hashdeep = command("hashdeep")
    listed, other = [b"first" * 10, b"second"], b"neither"
    folder = tmp_path / "files"
    folder.mkdir()
    for number, content in enumerate([*listed, other]):
        (folder / f"{number}").write_bytes(content)
    entries = [of_file(n, content) for n, content in enumerate(listed, 1)]
    data, _ = written(get_writer("hashdeep"), entries, exported(), {"algorithms": algorithms})
    known = tmp_path / "known.txt"
    known.write_bytes(data)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [hashdeep, *arguments, "-b", "-k", str(known)]
        return subprocess.run(
            [*call, *(str(p) for p in sorted(folder.iterdir()))],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    matching = run("-m")
    assert sorted(matching.stdout.split()) == ["0", "1"], matching
    assert not matching.stderr
    assert run("-x").stdout.split() == ["2"]
    assert "Audit failed" in run("-a", "-v").stdout  # a file is there that nobody lists
    (folder / "2").unlink()
    audit = run("-a", "-v", "-v")
    assert "Hash collision" not in audit.stdout
    assert "No match" not in audit.stdout
    assert audit.stdout.count("Moved from nl/known/") == 2, audit.stdout


@pytest.mark.parametrize(("tool", "algorithm"), [("md5sum", "MD5"), ("sha1sum", "SHA1"), ("sha256sum", "SHA256")])
def test_the_sum_tools_check_the_list(tmp_path: Path, tool: str, algorithm: str) -> None:
    program = command(tool)
    entries = [of_file(n, b"content %d" % n) for n in (1, 2, 3)]
    data, _ = written(get_writer("hash-lines"), entries, exported(), {"algorithm": algorithm, "names": "yes"})
    (tmp_path / "sums").write_bytes(data)
    (tmp_path / "nl" / "known").mkdir(parents=True)
    for n in (1, 2, 3):
        (tmp_path / "nl" / "known" / f"{n}").write_bytes(b"content %d" % n)
    done = subprocess.run(
        [program, "--check", "--strict", "sums"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done
    assert done.stdout.count(": OK") == 3


def test_threatexchange_reads_the_ncmec_document() -> None:
    client = pytest.importorskip("threatexchange.exchanges.clients.ncmec.hash_api")
    scheme = KNOWN["ncmec-industry"]
    entries = [of_file(n, b"%d" % n, media_type=kind) for n, kind in enumerate(("image/png", "video/mp4", "image"), 1)]
    entries = [msgspec.structs.replace(e, classification=scheme.resolve("A2")) for e in entries]
    entries.append(as_withdrawn(of_file(4, b"4", media_type="video")))
    data, losses = written(
        get_writer("ncmec-xml"), entries, exported("ncmec-industry", is_delta=True), {"member": "9001"}
    )
    assert not [loss for loss in losses if loss.field == "entry"]
    document = client.ET.iterparse(io.BytesIO(data))
    for _, element in document:  # as the client does with an answer
        element.tag = element.tag.rpartition("}")[2]
    parsed = client.GetEntriesResponse.from_xml(client._XMLWrapper(document.root), 0)
    assert [(u.member_id, u.entry_type.value, u.id, u.deleted, u.classification) for u in parsed.updates] == [
        (9001, "image", "known/1", False, "A2"),
        (9001, "image", "known/3", False, "A2"),
        (9001, "video", "known/2", False, "A2"),
        (9001, "video", "known/4", True, None),
    ]
    assert parsed.updates[0].fingerprints == {
        "md5": entries[0].hashes[0].digest.hex(),
        "sha1": entries[0].hashes[1].digest.hex(),
    }
    assert not parsed.next
