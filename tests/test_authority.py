"""An authority that several people use at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from cryptography import x509

from hashhub.authority import Authority

COUNT = 8


def _at_once(directory: Path, act: Callable[[Authority, str], object]) -> None:
    barrier = Barrier(COUNT)

    def run(number: int) -> None:
        authority = Authority(directory)
        barrier.wait(timeout=60)
        act(authority, f"name-{number}")

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(run, range(COUNT)))


def test_what_is_issued_and_revoked_at_once_is_all_on_record(tmp_path: Path) -> None:
    Authority.create(tmp_path, "test")
    _at_once(tmp_path, lambda authority, name: authority.issue(name, [f"DNS:{name}.example"], days=1))
    _at_once(tmp_path, lambda authority, name: authority.renew(name, days=1))
    _at_once(tmp_path, lambda authority, name: authority.revoke(name))
    issued = (tmp_path / "issued").read_text().split()
    serials = {int(serial, 16) for serial in issued[1::2]}
    assert len(serials) == 2 * COUNT
    assert {one.serial_number for one in x509.load_pem_x509_crl((tmp_path / "revoked.pem").read_bytes())} == serials
