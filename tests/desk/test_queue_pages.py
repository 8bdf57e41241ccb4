"""The pages about the queue and the vault: followed as they stand, and their tables."""

from __future__ import annotations

import shutil
import tomllib
from typing import TYPE_CHECKING

import msgspec
import pytest

from hashhub.desk import settings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.vault import rules
from tests.docs.test_readme import ROOT
from tests.hook.guide import steps

if TYPE_CHECKING:
    from tests.hook.guide import Reader

pytest.importorskip("starlette", reason="the sidecar needs hashhub[hook]")
pytest.importorskip("cryptography", reason="the vault needs hashhub[hook]")


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.mark.timeout(240)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_queue_is_as_told(reader: Reader) -> None:
    printed = {step.text: reader.follow(step) for step in steps(page("docs/hook/queue.md"))}
    reader.close()
    upload = reader.environment["UPLOAD"]
    assert upload in printed["hashhub hook queue list"]
    records = Records(reader.work / "hashhub-hook")
    try:
        assert (records.count(UploadState.REMOVED), records.count(UploadState.HELD)) == (1, 1)
        assert records.verify() == len(records.events())
    finally:
        records.close()


@pytest.mark.timeout(240)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_vault_is_as_told(reader: Reader) -> None:
    printed = {step.text: reader.follow(step) for step in steps(page("docs/hook/vault.md"))}
    assert reader.environment["UPLOAD"] in printed["hashhub hook vault list"]
    assert (reader.work / "evidence.bin").read_bytes() == (reader.work / "uploads/listed.png").read_bytes()


def test_the_tables_have_what_there_is() -> None:
    queue, vault = page("docs/hook/queue.md"), page("docs/hook/vault.md")
    for state in UploadState:
        assert f"`{state}`" in queue
    for code in RulingCode:
        assert f"| `{code.lower().replace('_', '-')}` |" in queue
    for section, text in ((settings.VaultSettings, vault), (settings.QueueSettings, queue)):
        table = text[text.index("| setting | default |") :]
        for field in msgspec.structs.fields(section):
            assert f"`{field.name}`" in table, field.name
    data = tomllib.loads((ROOT / "hashhub/desk/data/retention.toml").read_text("utf-8"))
    assert set(data) == set(rules())
    for country, rule in rules().items():
        assert f"| {country} |" in vault
        assert rule.rule in vault
        assert rule.source in vault
