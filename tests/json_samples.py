"""What `--json` prints, recorded: a sample for each command, or the command whose sample holds for it, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LINES = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()]
SAMPLES: dict[str, Any] = {line["command"]: line["prints"] for line in _LINES if "prints" in line}
ALIKE: dict[str, str] = {line["command"]: line["like"] for line in _LINES if "like" in line}


def page() -> str:
    """Return the samples as Markdown."""
    parts = ["# What commands print with --json\n"]
    for command, sample in SAMPLES.items():
        like = ", ".join(f"`hashhub {other}`" for other, one in ALIKE.items() if f"{command} ".startswith(f"{one} "))
        parts.append(f"## `hashhub {command}`\n")
        parts.append(f"Likewise: {like}.\n" if like else "")
        parts.append(f"```json\n{json.dumps(sample, indent=2, ensure_ascii=False)}\n```\n")
    return "\n".join(part for part in parts if part)
