"""What HMA's tests ask of its storage, by the routes that its clients have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask import current_app
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal

_SIGNAL_TYPES = {signal_type.get_name(): signal_type for signal_type in (PdqSignal, VideoMD5Signal)}


class Storage:
    """Stands in for the storage of an app."""

    def __init__(self) -> None:
        self._client = current_app.test_client()
        self.exchanges: list[str] = []

    def get_signal_type_configs(self) -> dict[str, Any]:
        listed = self._client.get("/c/signal_type").json
        return {
            one["name"]: SimpleNamespace(signal_type=_SIGNAL_TYPES[one["name"]], enabled=one["enabled_ratio"] > 0)
            for one in listed
        }

    def get_signal_type_index(self, _: Any) -> None:
        """There is no index that would have to be built."""

    def bank_update(self, bank: Any, *, create: bool) -> None:
        assert create
        given = {"name": bank.name, "enabled_ratio": bank.matching_enabled_ratio}
        assert self._client.post("/c/banks", json=given).status_code == 201

    def bank_add_content(self, name: str, signals: dict[Any, str]) -> None:
        assert self.offer(name, signals) == 200

    def offer(self, name: str, signals: dict[Any, str]) -> int:
        given = {signal_type.get_name(): signal for signal_type, signal in signals.items()}
        return self._client.post(f"/c/bank/{name}/signal", json=given).status_code

    def exchange_api_config_update(self, _: Any) -> None:
        """Of the sample exchange there is nothing to set."""

    def exchange_update(self, config: Any, *, create: bool) -> None:
        assert create
        assert config.api == "sample"
        self.exchanges.append(config.name)
        assert self._client.post("/c/banks", json={"name": config.name}).status_code == 201


def get_storage() -> Storage:
    return Storage()
