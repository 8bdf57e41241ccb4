"""Who holds a lease, and whether that process has ended."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from hashhub.holders import end, has_ended, new_holder

_PROCESS = "from hashhub.holders import new_holder; print(new_holder(), flush=True); input()"


def test_a_process_has_ended_once_it_is_killed() -> None:
    command = [sys.executable, "-c", _PROCESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        holder = process.stdout.readline().strip()
        assert has_ended(holder) is False
        process.kill()
    assert has_ended(holder) is True


def test_a_holder_of_this_process_ends_before_it() -> None:
    one, other = new_holder(), new_holder()
    assert (has_ended(one), has_ended(other)) == (False, False)
    end(one)
    assert (has_ended(one), has_ended(other)) == (True, False)


def test_another_process_with_its_number_is_not_the_holder() -> None:
    assert has_ended(re.sub(r"x[0-9]+(x[0-9a-f]+)$", r"x1\1", new_holder())) is True


@pytest.mark.parametrize(
    "holder",
    ["", "0123456789abcdef", "0123456789abcdefx1x1xab", pytest.param(f"{new_holder()}-", id="more"), "x1x1xab"],
)
def test_what_is_of_another_machine_cannot_be_told(holder: str) -> None:
    assert has_ended(holder) is None
