"""Pages for people: HTML and SVG by Jinja2, from templates that stand beside the modules that fill them.

`base.html` is what all pages share: one style for light, dark and paper, and a policy by which a page runs nothing and
loads nothing. `parts.html` has tables and figures; `charts` draws.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jinja2 import Environment

_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT: Final = frozenset("\t\n\r\u200c\u200d")  # without the joiners Persian and some emoji cannot be read


def clean(text: str) -> str:
    """Replace control characters, most of which XML refuses, and what would turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in _UNPRINTABLE and c not in _KEPT else c for c in text)


def render(template: str, cut: Callable[[str], str] = str, /, **values: Any) -> str:
    """Fill a template, named by its path in this distribution; values are passed through `cut`, cleaned and escaped."""
    return _environment(cut).get_template(template).render(values)


@cache
def _environment(cut: Callable[[str], str]) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    return Environment(
        loader=FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(cut(str(value))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
