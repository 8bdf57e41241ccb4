"""Generate `hashhub/v1` from `proto/`: messages, their type stubs, service stubs, and one flat namespace over them.

Run through `make protos`; `make check` runs it into a temporary directory and fails on any difference.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent


def generate(out: Path) -> None:
    """Write the generated package below `out`. Raises SystemExit when protoc refuses a file."""
    sources = sorted(HERE.glob("hashhub/v1/*.proto"))
    target = out / "hashhub" / "v1"
    target.mkdir(parents=True, exist_ok=True)
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(
        [
            "protoc",
            f"-I{HERE}",
            f"-I{well_known}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            *map(str, sources),
        ]
    )
    if code:
        raise SystemExit(code)
    lines = ['"""The wire contract, generated from `proto/` by `make protos`. Do not edit."""', ""]
    exported: list[str] = []
    for source in sources:
        stem = source.stem
        text = source.read_text("utf-8")
        names = re.findall(r"^(?:message|enum) (\w+)", text, re.MULTILINE)
        if names:
            lines.append(f"from hashhub.v1.{stem}_pb2 import (")
            lines += [f"    {name} as {name}," for name in sorted(names)]
            lines.append(")")
        exported += names
        if not re.search(r"^service ", text, re.MULTILINE):
            (target / f"{stem}_pb2_grpc.py").unlink()  # empty: this file declares no service
    (target / "__init__.py").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
