"""The common model of classification: twelve independent dimensions, each with a closed list of values.

A statement about a dimension is a *set of possible values*; a missing dimension is unknown. Two things make sets of
names differ from sets of meanings, and both are decided here and nowhere else:

- **Some values overlap.** `prepubescent` and `7-10` do; `prepubescent` and `pubescent` do not, although both allow the
  band 11-13. So every value stands for a set of *worlds* (ways the item may really be), and sets are compared as unions
  of worlds.
- **Some values say what is known, not what is so.** `not-shown` ("not shown to meet the Baseline"), `unclassified` and
  the `no` of `victim_identified` exclude nothing: somebody else may know more. They never contradict anything.

`context` is a bundle of facts rather than one fact (a picture can be a meme *and* part of a series), so it never
contradicts either. `legal_status` holds `JURISDICTION:STATUS` values and is compared within one jurisdiction only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, Violation

_LAW: Final = re.compile(r"([A-Z]{2}):(illegal|not-illegal)")


class Dimension(msgspec.Struct, frozen=True):
    """A dimension. `values`: name to meaning. `worlds`: what a value stands for, where that is not just itself.

    `is_bundle`: the values are facts that can hold together, so that different sets never contradict one another.
    """

    name: str
    description: str
    values: dict[str, str]
    worlds: dict[str, tuple[str, ...]] = {}
    is_bundle: bool = False


# Puberty normally begins between 8 and 14 (NHS, "Early or delayed puberty", nhs.uk/conditions/early-or-delayed-puberty;
# the same in HSE and NICHD pages): later than 13 and not begun, or earlier than 8 and begun, is not what these words
# are used for.
_PREPUBESCENT: Final = ("0-2", "3-6", "7-10/before", "11-13/before")
_PUBESCENT: Final = ("7-10/since", "11-13/since", "14-15", "16-17")

_YES_NO_KNOWLEDGE: Final[dict[str, tuple[str, ...]]] = {"no": ("yes", "no")}

DIMENSIONS: Final[Mapping[str, Dimension]] = MappingProxyType(
    {
        d.name: d
        for d in (
            Dimension(
                "baseline_illegal",
                "whether the item was shown to meet the INTERPOL Baseline, which is illegal in any country",
                {
                    "meets": "shown to meet every criterion",
                    "not-shown": "not shown to meet it; this is never a statement that the item is legal",
                },
                {"not-shown": ("meets", "not-shown")},
            ),
            Dimension(
                "age_band",
                "apparent or known age of the youngest person shown",
                {
                    "0-2": "years",
                    "3-6": "years",
                    "7-10": "years",
                    "11-13": "years",
                    "14-15": "years",
                    "16-17": "years",
                    "18+": "adult",
                    "prepubescent": "a child before puberty, of whatever age",
                    "pubescent": "a child during or after puberty, of whatever age under 18",
                },
                {
                    "7-10": ("7-10/before", "7-10/since"),
                    "11-13": ("11-13/before", "11-13/since"),
                    "prepubescent": _PREPUBESCENT,
                    "pubescent": _PUBESCENT,
                },
            ),
            Dimension(
                "act",
                "the gravest act shown",
                {
                    "none": "nothing sexual and no nudity",
                    "nudity": "nudity, or only indicative of sexual interest",
                    "posing": "erotic or sexualised posing",
                    "lascivious-focus": "focus on the genital, anal or pubic area",
                    "nonpenetrative": "sexual activity without penetration, masturbation included",
                    "penetrative": "sexual activity with penetration",
                    "sadism": "pain or humiliation inflicted as part of the abuse",
                    "bestiality": "sexual activity with an animal",
                },
            ),
            Dimension(
                "persons",
                "who takes part",
                {
                    "solo": "one child",
                    "child-child": "children, no adult",
                    "adult-child": "an adult and a child",
                },
            ),
            Dimension(
                "medium",
                "how the item was made",
                {
                    "photo": "a photograph of what happened",
                    "video": "a film of what happened",
                    "pseudo-photo": (
                        "made so that it looks like a photograph: UK law's word, which includes the two below"
                    ),
                    "ai-generated": "generated by a model",
                    "ai-altered": "a photograph or film of a real person, altered by a model",
                    "drawn": "drawing, cartoon or CGI that does not pass for a photograph",
                    "text": "text",
                },
                {"pseudo-photo": ("pseudo-photo", "ai-generated", "ai-altered")},
            ),
            Dimension(
                "self_generated",
                "whether the person shown made the item",
                {"yes": "made by the person shown", "no": "made by somebody else"},
            ),
            Dimension(
                "victim_identified",
                "whether the victim is known by name to an authority",
                {"yes": "identified", "no": "not identified as far as the contributor knows"},
                _YES_NO_KNOWLEDGE,
            ),
            Dimension(
                "offender_identified",
                "whether the offender is known by name to an authority",
                {"yes": "identified", "no": "not identified as far as the contributor knows"},
                _YES_NO_KNOWLEDGE,
            ),
            Dimension(
                "distributed",
                "whether the item is known to circulate",
                {"yes": "known to circulate", "no": "not known to circulate"},
                _YES_NO_KNOWLEDGE,
            ),
            Dimension(
                "context",
                "circumstances; several can hold together",
                {
                    "meme": "passed around as a joke or in outrage; viral",
                    "series": "belongs to a known series",
                    "grid": "a sheet of several pictures: it must not stand for any one of them",
                    "livestream": "recorded from a live stream",
                    "survivor-requested": "listed because the person shown asked for it",
                },
                is_bundle=True,
            ),
            Dimension(
                "verdict",
                "what the contributor concludes",
                {
                    "csam": "child sexual abuse material by the contributor's law or terms",
                    "exploitative": "sexually exploitative of a child, below that line or of doubtful age",
                    "comparison": "kept for comparison; nothing is said against the item itself",
                    "non-pertinent": "examined and of no concern",
                    "unclassified": "no conclusion yet",
                },
                {"unclassified": ("csam", "exploitative", "comparison", "non-pertinent")},
            ),
            Dimension(
                "legal_status",
                "status by the law of one jurisdiction, written JURISDICTION:STATUS with an ISO 3166-1 code, such as "
                "GB:illegal",
                {"illegal": "illegal to possess there", "not-illegal": "not illegal to possess there"},
            ),
        )
    }
)
"""By name, in the order in which people are shown them. docs/reconcile/schemes.md explains each."""

# Shorthand for scheme files: `age_band = "<18"`.
GROUPS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {"age_band": {"<18": ("0-2", "3-6", "7-10", "11-13", "14-15", "16-17")}}
)


def possible(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Return the sorted distinct values of one dimension, shorthand expanded.

    Raises InvalidArgument naming the dimension or the value that does not exist, or when there is no value: an empty
    set would mean that nothing is possible, and unknown is written by leaving the dimension out.
    """
    dimension = DIMENSIONS.get(name)
    if dimension is None:
        raise InvalidArgument.field(
            name[:40], f"no such dimension; the dimensions are {', '.join(DIMENSIONS)}", "UNKNOWN"
        )
    groups = GROUPS.get(name, {})
    members = {v for value in values for v in groups.get(value, (value,))}
    if not members:
        raise InvalidArgument.field(
            name, "needs at least one value; leave the dimension out when it is unknown", "EMPTY"
        )
    wrong = sorted(v for v in members if not _is_value(dimension, v))
    if wrong:
        known = (
            "JURISDICTION:illegal or JURISDICTION:not-illegal"
            if name == "legal_status"
            else ", ".join(dimension.values)
        )
        raise InvalidArgument(
            f"{name}: no such value {wrong[0][:40]!r}; expected {known}",
            violations=tuple(Violation(name, f"no such value {v[:40]!r}", "UNKNOWN") for v in wrong),
        )
    return tuple(sorted(members))


def words(name: str, values: Collection[str]) -> str:
    """Return the values of one dimension as people read them: in the dimension's order, a whole group by its name.
    Those of a bundle hold together.
    """
    for word, group in GROUPS.get(name, {}).items():
        if set(values) == set(group):
            return word
    order = list(DIMENSIONS[name].values) if name in DIMENSIONS else []
    plain = {v: v.partition("/")[0] for v in values}
    joint = " and " if name in DIMENSIONS and DIMENSIONS[name].is_bundle else " or "
    return joint.join(sorted(values, key=lambda v: order.index(plain[v]) if plain[v] in order else -1))


def worlds(dimensions: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return, for each dimension that is known, the worlds that its values allow. `legal_status` gives one key per
    jurisdiction.

    Raises InvalidArgument for a dimension or value that does not exist.
    """
    worlds_by_key: dict[str, frozenset[str]] = {}
    for name, values in dimensions.items():
        if name == "legal_status":
            for law in possible(name, values):
                jurisdiction, _, status = law.partition(":")
                key = f"legal_status:{jurisdiction}"
                worlds_by_key[key] = worlds_by_key.get(key, frozenset()) | {status}
        else:
            worlds_by_key[name] = _worlds(name, values)
    return worlds_by_key


def is_within(name: str, possible: Collection[str], values: Collection[str]) -> bool:
    """Whether all that an item may be in a dimension is among the values, by name or by meaning: `0-2` is within
    `prepubescent`. Of a bundle one of its facts suffices. An item that says nothing there is within nothing.

    A value that excludes nothing, such as `unclassified`, stands for its own name only.
    """
    if name == "legal_status":
        laws = {v.partition(":")[0] for v in values if v in possible}
        return any({p for p in possible if p.startswith(f"{law}:")} <= set(values) for law in laws)
    if not possible or set(possible) <= set(values):
        return bool(possible)
    if is_bundle(name):
        return not set(possible).isdisjoint(values)
    dimension = DIMENSIONS[name]
    telling = tuple(v for v in values if _worlds(name, (v,)) != every_world(name))
    # What a scheme of an earlier version stated may be no value any more; then only its name says whether it is meant.
    if not telling or not all(_is_value(dimension, v) for v in possible):
        return False
    return _worlds(name, tuple(possible)) <= _worlds(name, telling)


def every_world(name: str) -> frozenset[str]:
    """Return all worlds of a key of `worlds`: a statement that allows all of them says nothing."""
    return _every_world(name.partition(":")[0])


def telling(of: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return those of the keys of `worlds` in which something is asserted: not all worlds are possible."""
    return {name: possible for name, possible in of.items() if is_bundle(name) or possible != every_world(name)}


def is_bundle(name: str) -> bool:
    """Whether the values of this key of `worlds` can hold together."""
    return DIMENSIONS[name.partition(":")[0]].is_bundle


@lru_cache(maxsize=4096)  # statements repeat the few sets that the schemes hold
def _worlds(name: str, values: tuple[str, ...]) -> frozenset[str]:
    meaning = DIMENSIONS[name].worlds if name in DIMENSIONS else {}
    return frozenset(w for v in possible(name, values) for w in meaning.get(v, (v,)))


@lru_cache(maxsize=len(DIMENSIONS))
def _every_world(name: str) -> frozenset[str]:
    if name == "legal_status":
        return frozenset(DIMENSIONS[name].values)
    return _worlds(name, tuple(DIMENSIONS[name].values))


def _is_value(dimension: Dimension, value: str) -> bool:
    if dimension.name == "legal_status":
        return _LAW.fullmatch(value) is not None
    return value in dimension.values
