"""Exports through the client: the file, the report, and what the hub alone knows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.connector import Loss
from hashhub.errors import InvalidArgument, NotFound, PermissionDenied
from hashhub.model import TLP, Contributor, ContributorKind, HashSet, Marking
from tests.warm import Warm

OWN_SCHEME = """
id = "uk-own"
version = "3"
region = "GB"
status = "verified"
title = "An operator's own"
source = ["synthetic"]

[values.7]
title = "what VIC 1 says, and more"
dimensions = { verdict = "csam", age_band = "0-2", legal_status = "US:illegal" }

[values.8]
title = "undecided"
dimensions = { verdict = "unclassified" }
"""
LIST = b"md5,kind\n" + b"".join(b"%032x,%d\n" % (n, 7 + n % 2) for n in range(1, 11))
MAPPING = '[columns]\nmd5 = "md5"\nvalue = "kind"\n'


def test_an_operators_own_scheme_is_translated_as_any_other(warmed: Warm, tmp_path: Path) -> None:
    (tmp_path / "schemes").mkdir()
    (tmp_path / "schemes" / "own.toml").write_text(OWN_SCHEME)
    config = tmp_path / "hashhub.toml"
    config.write_text(f"schemes = {json.dumps(str(tmp_path / 'schemes'))}\n")
    with warmed.hub(tmp_path / "data", "--config", str(config)) as hub, Client(hub.address, hub.token) as client:
        client.create_contributor(
            Contributor(id="gb", display_name="GB", kind=ContributorKind.HOTLINE, jurisdiction="GB")
        )
        marking = Marking(tlp=TLP.CLEAR, bulk=True)
        client.create_hash_set(HashSet(contributor="gb", id="known", scheme="uk-own", marking=marking))
        client.import_source(io.BytesIO(LIST), connector="csv", hash_set="gb/known", options={"mapping": MAPPING})

        target, losses = io.BytesIO(), list[Loss]()
        report = client.export(
            target, writer="vics", options={"region": "US"}, hash_sets=["gb/known"], on_loss=losses.append
        )
        categories = [m.get("Category") for m in json.loads(target.getvalue())["value"]]
        assert sorted(categories, key=str) == [1] * 5 + [None] * 5
        assert {(g.field, g.reason, g.count) for g in report.losses} == {
            ("value", "TRANSLATED", 5),
            ("value", "FOREIGN_SCHEME", 5),
        }
        assert len(losses) == 10
        assert (report.taken, report.written) == (10, 10)

        own = io.BytesIO()
        whole = client.export(own, writer="csv", hash_sets=["gb/known"])
        assert whole.is_lossless
        again = client.import_source(
            io.BytesIO(own.getvalue()), connector=whole.reads_back, hash_set="gb/known", options=dict(whole.reading)
        )
        assert again.source.counts.unchanged == again.source.counts.items == 10

        entries = client.export_entries(hash_sets=["gb/known"])
        assert entries.entry_count == len(list(entries.entries)) == 10


def test_errors_are_those_of_the_house(operator: Client, hash_set: str) -> None:
    target = io.BytesIO()
    with pytest.raises(InvalidArgument, match="unknown format"):
        operator.export(target, writer="none", hash_sets=[hash_set])
    with pytest.raises(InvalidArgument, match="is no option of vics"):
        operator.export(target, writer="vics", hash_sets=[hash_set], options={"x": "y"})
    with pytest.raises(NotFound):
        operator.export(target, writer="vics", hash_sets=["police-us/none"])
    with pytest.raises(PermissionDenied):  # TLP:AMBER
        operator.export(target, writer="vics", hash_sets=[hash_set])
    with pytest.raises(InvalidArgument, match="damaged"):
        operator.export(target, writer="vics", position="é")
    assert not target.getvalue()
