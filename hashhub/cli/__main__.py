"""`python -m hashhub.cli`: the `hashhub` command where no script directory is on the path."""

from __future__ import annotations

from hashhub.cli import main

main(prog_name="hashhub")
