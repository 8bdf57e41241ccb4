"""A hub's settings: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashhub import config
from hashhub.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("max_efort = 'plain'", {}, "hub.toml: max_efort is unknown; did you mean max_effort?"),
        (
            "max_effort = 'Plane'",
            {},
            "hub.toml: max_effort must be plain, standard or thorough, got 'Plane'; did you mean plain?",
        ),
        ("workers = 0", {}, "hub.toml: workers must be at least 1, got 0"),
        ("workers = [1]", {}, "hub.toml: workers must be a whole number, got [1]"),
        ("", {"HASHHUB_WORKERS": "two"}, "HASHHUB_WORKERS must be a whole number, got 'two'"),
        ("workers = 0", {"HASHHUB_WORKERS": "-1"}, "HASHHUB_WORKERS must be at least 1, got -1"),
        ("", {"HASHHUB_MAX_MESAGE_BYTES": "1"}, "HASHHUB_MAX_MESAGE_BYTES is unknown; did you mean HASHHUB_MAX_MESS"),
    ],
)
def test_an_error_names_where_it_stands_and_what_may(
    tmp_path: Path, text: str, environment: dict[str, str], said: str
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument) as refused:
        config.load(file, environment)
    assert said in str(refused.value)
    assert "`" not in str(refused.value), "nothing of the library's own words"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    with pytest.raises(InvalidArgument, match=r"hub\.toml' cannot be read: No such file or directory; check its path"):
        config.load(file, {})
    for content in (b"workers = = 2\n", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(InvalidArgument, match=r"hub\.toml' cannot be read as TOML: "):
            config.load(file, {})


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("workers = 3\n", "utf-8-sig")
    assert config.load(file, {}).workers == 3


def test_an_option_is_named_as_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("tls_key = 'key.pem'\n")
    with pytest.raises(InvalidArgument, match=r"^--workers must be at least 1, got 0; --tls-certificate must be given"):
        config.load(None, {"HASHHUB_WORKERS": "2"}, workers=0, tls_certificate="cert.pem")
    with pytest.raises(InvalidArgument, match=r"hub.toml: tls_certificate must be given together with tls_key"):
        config.load(file, {})


@pytest.mark.parametrize(
    "name",
    ["SERVER", "TOKEN", "TOKEN_FILE", "KERNEL_CACHE", "HOOK_SETTINGS", "HOOK_DATA", "HOOK_SIDECAR_LISTEN", "POLICY",
     "ACTION", "REFERENCE", "SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8470_TCP", "PORT_8470_TCP_ADDR",
     "SERVICE_PORT_HTTP", "HTTP_PORT", "DATABASE_SERVICE_HOST"],
)  # fmt: skip
def test_a_variable_that_is_somebody_elses_is_let_be(name: str) -> None:
    assert config.load(None, {f"HASHHUB_{name}": "tcp://10.0.0.1:1"}) == config.Config()
