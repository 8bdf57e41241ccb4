"""What is released installs into an empty environment and works there, and ships under known licences."""

from __future__ import annotations

import re
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from hashhub import __version__
from tests.release import __main__ as release
from tests.release import licences


@pytest.mark.timeout(400)
def test_wheel_and_source_install_alike_and_run_the_quick_starts(tmp_path: Path) -> None:
    """With the dependencies of this environment; `make release` fetches them by the lock, and runs both."""
    programs = [
        release.install(distribution, tmp_path / f"environment-{number}", is_lent=True)
        for number, distribution in enumerate(release.build(tmp_path / "dist"))
    ]
    of_wheel, of_source = ({*release.installed(p)} for p in programs)
    assert len(of_wheel) > 300
    assert of_wheel == of_source
    (work := tmp_path / "work").mkdir()
    assert release.follow(programs[0], work) > 15


def test_the_sbom_is_written(tmp_path: Path) -> None:
    """Not held against the schema of CycloneDX, which takes 40 s: `make release` does that."""
    assert release.sbom(Path(sys.executable), tmp_path, "--no-validate").stat().st_size > 10_000


def test_nothing_ships_under_a_licence_that_is_not_known() -> None:
    told = {name: licences.licences_of(name) for name in licences.shipped()}
    assert len(told) > 60
    elsewhere = {"tzdata", "httpx2-jsfetch"}  # for Windows, and for browsers
    assert {name for name, named in told.items() if named is None} <= elsewhere, "install requirements.lock"
    assert {name for name, named in told.items() if named == set()} == set()
    unknown = {name: named - licences.ALLOWED for name, named in told.items() if named and named - licences.ALLOWED}
    assert unknown == {}


def test_what_wheels_bundle_is_known_and_named_to_people() -> None:
    page = (licences.ROOT / "docs/operate/licences.md").read_text("utf-8")
    libraries = licences.bundled(Path(sysconfig.get_path("purelib")))
    assert {"av", "faiss-cpu", "numpy", "pillow", "pillow-heif"} <= libraries.keys()
    bound = {
        (package, licence) for package, parts in libraries.items() for licence in parts.values() if "GPL" in licence
    }
    missing = [(p, one) for p, one in bound if f"`{p}`" not in page or one not in page]
    assert missing == []


def test_the_version_stands_in_one_place_and_the_changelog_names_it() -> None:
    root = licences.ROOT
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dynamic"] == ["version"]
    assert re.search(rf"^## {re.escape(__version__)}\b", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    recorded = {path.name for path in (root / "tests/recorded").iterdir() if (path / "expected.json").exists()}
    assert {path.stem for path in (root / "proto/released").glob("*.binpb")} == recorded
    assert ".dev" in __version__ or __version__ in recorded
