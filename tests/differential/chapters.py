"""What is played: who and what there is, lists in every format and out again, calls at random, and bad days."""

from __future__ import annotations

import importlib
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from hashhub import connector
from hashhub.hashes import Hash
from hashhub.testing.connectors import ConnectorContract
from hashhub.testing.lists import VARIANTS, ListItem, item, list_file, random_items, soiled
from tests.differential.playing import Player
from tests.differential.sides import Side
from tests.hub.conftest import digest

_SETS: Final = {
    "home/list": ("vic-us", "csam", "--tlp", "green"),
    "home/formats": ("vic-us", "csam", "--bulk"),
    "open/fine": ("", "benign", "--tlp", "clear", "--bulk", "--redistribution"),
    "open/list": ("vic-us", "csam", "--tlp", "clear", "--bulk", "--redistribution"),
    "secret/one": ("ncmec-industry", "csam", "--tlp", "red", "--recipient", "contributors/further"),
    "secret/fine": ("", "benign", "--tlp", "red", "--recipient", "groups/inner"),
}
_TOKENS: Final = {
    "contributor": ("contributor", "home"),
    "open": ("contributor", "open"),
    "secret": ("contributor", "secret"),
    "consumer": ("consumer", "platform"),
    "auditor": ("auditor", ""),
}


def world(player: Player) -> None:
    """Make the contributors, groups, hash sets and tokens that everything else is about."""
    for name in ("home", "open", "secret", "platform", "further"):
        kind = "platform" if name == "platform" else "hotline"
        reliability = player.random.choice("abc")
        player.run("operator", "contributor", "create", name, "--kind", kind, "--jurisdiction", "GB",
                   "--reliability", reliability, "--json")  # fmt: skip
    player.run("operator", "group", "create", "allies", "--member", "home", "--json")
    player.run("operator", "group", "create", "inner", "--member", "further", "--member", "secret", "--json")
    for name, (role, contributor) in _TOKENS.items():
        of = ("--contributor", contributor) if contributor else ()
        mirrors = () if role == "auditor" else ("--may-mirror",)
        told = player.run("operator", "token", "create", name, "--role", role, *of, *mirrors, "--json")
        for side, answer in zip(player.sides, told, strict=True):
            side.tokens[name] = answer["stdout"][0]["secret"]
    hook = {"url": "https://hooks.invalid/", "events": ["WEBHOOK_EVENT_ENTRY_DISPUTED"]}
    request = {"parent": "contributors/home", "webhook_id": "desk", "webhook": hook}
    player.call("contributor", "WebhookService/CreateWebhook", request)
    for side in player.sides:
        side.tokens["stranger"] = "hh_nobody"
    for name, (scheme, purpose, *terms) in _SETS.items():
        of = ("--scheme", scheme) if scheme else ()
        player.run("operator", "hash-set", "create", name, *of, "--purpose", purpose, *terms, "--json")
    for name, values, numbers in (
        ("home/list", ("1", "2"), range(1, 30)), ("open/fine", ("",), (1, 4, 5, 60)),
        ("open/list", ("1", "2", "3"), range(20, 50)), ("secret/one", ("A1", "B2"), range(1, 41)),
        ("secret/fine", ("",), (1, 2, 50)),
    ):  # fmt: skip
        _import(player, name, [_item(player.random, n, values) for n in numbers])


def _item(random: Random, number: int, values: tuple[str, ...]) -> ListItem:
    hashes = [digest(algorithm, number) for algorithm in ("MD5", "SHA1", "PDQ")]
    return item(hashes, random.choice(values), external_id=f"x-{number}", series="S", quality=90)


def _import(player: Player, name: str, items: list[ListItem], *arguments: str, dirty: bool = False) -> None:
    listed = list_file("vics-2.0", items, dirty=dirty)
    path = _file(player, f"{name.replace('/', '-')}.json", listed.data)
    who = {"home": "contributor"}.get(name.partition("/")[0], name.partition("/")[0])
    player.run(who, "import", path, "--hash-set", name, "--format", "vics", *arguments, "--json")
    player.run(who, "findings", f"{name}/latest", "--json", reads=True)


def _file(player: Player, name: str, data: bytes) -> str:
    for side in player.sides:
        (side.directory / name).write_bytes(data)
    return f"DIRECTORY/{name}"


# Formats


def _samples() -> Iterator[tuple[str, bytes, Mapping[str, str]]]:
    """Yield each connector's samples that its contract is tested with."""
    for path in sorted((Path(__file__).parents[1] / "connectors").glob("test_*.py")):
        module = importlib.import_module(f"tests.connectors.{path.stem}")
        for made in vars(module).values():
            if isinstance(made, type) and issubclass(made, ConnectorContract) and hasattr(made, "sample"):
                yield made.connector.name, made.sample, made.options


def sources(player: Player, count: int) -> None:
    """Import lists of every format, clean and dirty."""
    random = player.random
    known = list({(name, data): (name, data, options) for name, data, options in _samples()}.values())
    first = list({name: (name, data, options) for name, data, options in known}.values())
    for variant in VARIANTS:
        items = random_items(random.randint(5, 30), seed=random.randint(1, 9), values=("1", "2"),
                             algorithms=("MD5", "SHA1", "SHA256", "PDQ"))  # fmt: skip
        listed = list_file(variant, soiled(items, seed=1) if random.random() < 0.5 else items, dirty=True)
        known.append((listed.connector, listed.data, listed.options))
    chosen = first if count >= len(first) else random.sample(first, count)
    chosen += random.sample(known, max(0, min(len(known), count - len(chosen))))
    for number, (name, data, options) in enumerate(chosen):
        path = _file(player, f"source-{number}", data)
        given = [a for key, value in options.items() for a in _option(player, number, key, value)]
        if number == 0 or random.random() < 0.5:
            player.run("contributor", "formats", "detect", path, "--json", reads=True)
        target = random.choice(("home/list", "home/formats"))
        mode = random.choice(((), (), (), ("--dry-run",), ("--replace", "--allow-shrinking")))
        player.run("contributor", "import", path, "--format", name, "--hash-set", target, *given, *mode, "--json")
        player.run("contributor", "findings", f"{target}/latest", "--json", reads=True)
    player.run("contributor", "entry", "list", "home/formats", "--json", reads=True)


def _option(player: Player, number: int, key: str, value: str) -> tuple[str, str]:
    if key == "mapping":
        return "--mapping", _file(player, f"mapping-{number}.toml", value.encode())
    return "--option", f"{key}={value}"


def exports(player: Player, count: int) -> None:
    """Write files in every format, with what they lose, and read them again."""
    names = sorted(connector.writers())
    for name in player.random.sample(names, min(count, len(names))):
        chosen = player.random.choice((("--hash-set", "home/list"), ("--hash-set", "open/list"), ("--policy", "any")))
        who = player.random.choice(("contributor", "open", "operator", "consumer"))
        player.run(who, "export", "--format", name, *chosen, "--out", f"DIRECTORY/out.{name}", "--losses",
                   "DIRECTORY/losses.csv", "--force", "--for", "others", "--json")  # fmt: skip
        player.same_file(f"out.{name}")
        player.same_file("losses.csv")


# What happens to entries


def updates(player: Player, count: int) -> None:
    """Play newer editions of lists: changed, shorter, with dirt, refused."""
    random = player.random
    for _ in range(count):
        name, values = random.choice((("home/list", ("1", "2")), ("open/list", ("1", "2", "3")), ("open/fine", ("",))))
        numbers = random.sample(range(1, 60), random.randint(3, 40))
        items = [_item(random, n, values) for n in numbers]
        items = [msgspec.structs.replace(i, series=random.choice(("S", "T"))) for i in items]
        if random.random() < 0.5:
            items = soiled(items, seed=random.randint(1, 9))
        mode = random.choice(((), (), ("--replace",), ("--replace", "--allow-shrinking"), ("--dry-run",)))
        _import(player, name, items, *mode, dirty=random.random() < 0.5)


def terms(player: Player, count: int) -> None:
    """Change terms, and look by every role at what follows from them."""
    random = player.random
    for _ in range(count):
        change = random.choice((
            ("--tlp", random.choice(("clear", "green", "amber", "amber-strict", "red"))),
            ("--bulk",), ("--no-bulk",), ("--recipient", "contributors/platform"), ("--clear-recipients",),
            ("--permitted-purpose", "moderation"), ("--clear-purposes",), ("--disclose-existence",),
            ("--conceal-existence",), ("--redistribution",), ("--no-redistribution",), ("--terms-expire", "30d"),
            ("--terms-expire", "never"), ("--max-distance", "PDQ=10"), ("--clear-distances",),
        ))  # fmt: skip
        name = random.choice(("home/list", "open/list", "secret/one", "open/fine"))
        player.run("operator", "hash-set", "update", name, *change, "--json")
        looks(player, 2)
        who = random.choice(("consumer", "contributor", "open", "secret"))
        player.run(who, "changes", "--json", reads=True)


def looks(player: Player, count: int) -> None:
    """Look hashes up, far and near, as several roles and by several policies."""
    random = player.random
    for _ in range(count):
        hashes: list[Hash] = []
        for _ in range(random.randint(1, 4)):
            hashed = digest(random.choice(("MD5", "SHA1", "PDQ")), random.randint(1, 62))
            if hashed.algorithm == "PDQ" and random.random() < 0.6:
                bits = int.from_bytes(hashed.digest)
                for bit in random.sample(range(256), random.randint(0, 40)):
                    bits ^= 1 << bit
                hashed = Hash("PDQ", bits.to_bytes(32))
            hashes.append(hashed)
        who = random.choice(("consumer", "contributor", "open", "secret", "operator"))
        policy = random.choice(("any", "block", "block", "none"))
        player.run(who, "match", *(a for h in hashes for a in ("--hash", h.text)), "--policy", policy, "--json",
                   reads=True)  # fmt: skip


def decisions(player: Player, count: int) -> None:
    """Withdraw, restore, quarantine, release, erase, review: one entry and many."""
    random = player.random
    for _ in range(count):
        name = random.choice(("home/list", "open/list", "open/fine"))
        who = random.choice(({"home": "contributor", "open": "open"}[name.partition("/")[0]], "operator"))
        entry = f"{name}/{random.randint(1, 30)}"
        hashed = digest("MD5", random.randint(1, 50)).text
        many = ("--hash-set", name, *random.choice((("--series", "T"), ("--hash", hashed))))
        which = random.choice(((entry,), (entry,), many, ("--text", f"x-{random.randint(1, 5)}")))
        verb = random.choice(
            ("withdraw", "withdraw", "restore", "quarantine", "release", "erase", "review", "objection")
        )
        if verb == "review":
            kind = random.choice(("confirmed", "false-positive", "not-illegal-here"))
            player.run(random.choice(("open", "contributor", "consumer")), "review", "add", entry, "--kind", kind,
                       "--comment", "x", "--json")  # fmt: skip
        elif verb == "objection":
            player.run(who, "review", "list", entry, "--json", reads=True)
        elif verb == "erase":
            player.run(who, "entry", "erase", entry, "--comment", "x", "--yes", "--json")
        else:
            reason = {"withdraw": ("--reason", random.choice(("error", "false-positive", "requested-by-person-shown")))}
            dry = random.choice(((), (), ("--dry-run",)))
            player.run(who, "entry", verb, *which, *reason.get(verb, ()), "--comment", "x", "--yes", *dry, "--json")
        if random.random() < 0.5:
            player.run("operator", "entry", "list", name, "--json", reads=True)


def restated(player: Player) -> None:
    """Let lists state again what was withdrawn, quarantined, erased and restored by hand, by whom and how it may be."""
    random = player.random
    name, items = "home/held", [_item(player.random, n, ("1", "2")) for n in range(100, 115)]
    player.run("operator", "hash-set", "create", name, "--scheme", "vic-us", "--bulk", "--json")
    _import(player, name, items)
    why = ("error", "false-positive", "not-illegal-here", "requested-by-person-shown")
    for number in random.sample(range(1, 16), 9):
        who, verb = random.choice(("contributor", "operator")), random.choice(("withdraw", "withdraw", "quarantine"))
        reason = ("--reason", random.choice(why)) if verb == "withdraw" else ()
        player.run(who, "entry", verb, f"{name}/{number}", *reason, "--comment", "x", "--json")
        if random.random() < 0.3:
            player.run("operator", "entry", "erase", f"{name}/{number}", "--comment", "x", "--yes", "--json")
    changed = [msgspec.structs.replace(one, series="T", external_id="") for one in items]
    for listed, mode in ((items, ()), (changed, ("--replace", "--allow-shrinking"))):
        _import(player, name, listed, *mode)
        player.run("operator", "entry", "list", name, "--json", reads=True)
        hashes = [hashed for n in range(100, 115) for hashed in ("--hash", digest("MD5", n).text)]
        player.run("contributor", "match", *hashes, "--policy", "any", "--json", reads=True)
        player.run("operator", "entry", "restore", "--hash-set", name, "--comment", "x", "--yes", "--json")


def disputed(player: Player) -> None:
    """Let what speaks against harm come from contributors of every reliability, accepted and not."""
    numbers = (1, 2, 4, 5, 20, 25)
    hashes = [hashed for n in numbers for hashed in ("--hash", digest("MD5", n).text)]
    for reliability in (*player.random.sample("abdef", 2), "c"):
        player.run("operator", "contributor", "update", "open", "--reliability", reliability, "--json")
        if player.random.random() < 0.6:
            player.run("operator", "hash-set", "accept", "open/fine", "--comment", "x", "--json")
        entry = f"home/list/{player.random.randint(1, 28)}"
        kind = player.random.choice(("false-positive", "false-positive", "confirmed", "misclassified"))
        player.run("open", "review", "add", entry, "--kind", kind, "--comment", "x", "--json")
        for policy in ("any", "block"):
            player.run("operator", "match", *hashes, "--policy", policy, "--json", reads=True)
            player.run("operator", "policy", "explain", policy, *hashes[:2], "--json", reads=True)


def mirrored(player: Player) -> None:
    """Keep a copy of what a token may hold, and compare its tables."""
    for who in ("consumer", "open"):
        player.run(who, "mirror", f"DIRECTORY/mirror-{who}", "--json")

        def rows(side: Side, who: str) -> Any:
            with closing(sqlite3.connect(side.directory / f"mirror-{who}" / "mirror.db")) as db:
                tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return {t: sorted(map(repr, db.execute(f"SELECT * FROM {t}"))) for t in tables if t != "meta"}  # noqa: S608

        player.both(f"the copy of {who}", rows, who)


def reverts(player: Player) -> None:
    """Undo what a token did."""
    for dry in (("--dry-run",), ("--yes", "--comment", "x")):
        actor = player.random.choice(("contributor", "open"))
        player.run("operator", "revert", "--actor", actor, "--since", "1h", *dry, "--json")
    everything(player)


# Bad days


def killed(player: Player) -> None:
    """Kill both hubs while an import is open, start them again, and go on with it."""
    player.run("operator", "status", "--json", reads=True)
    for side in player.sides:
        side.stop(signal.SIGKILL)
        side.start()
    looks(player, 2)
    player.run("operator", "history", "list", "--json", reads=True)


def restored(player: Player) -> None:
    """Back both hubs up, go on, lose everything but the withdrawals, and restore."""
    database = {side.name: ("--database", side.database) if side.database else () for side in player.sides}
    arguments = {side.name: ("--data", str(side.data), *database[side.name]) for side in player.sides}

    def command(side: Side, *words: str) -> Any:
        told = side.agent("commands", arguments=[*words, *arguments[side.name], "--json"], environment={},
                          directory=str(side.directory))  # fmt: skip
        return {"code": told["code"], "lines": len(told["stdout"].splitlines())}

    player.both(
        "hashhub backup DIRECTORY/backup", lambda s: command(s, "backup", "create", str(s.directory / "backup"))
    )
    player.both("hashhub doctor", lambda s: command(s, "doctor"))
    decisions(player, 4)
    if any(database.values()):
        return  # there is no second empty database
    for side in player.sides:
        side.stop()
        side.data.rename(side.directory / "lost")
    player.both(
        "hashhub backup restore",
        lambda s: command(s, "backup", "restore", str(s.directory / "backup"), "--withdrawals",
                          str(s.directory / "lost" / "withdrawals.log")),
    )  # fmt: skip
    for side in player.sides:
        side.start()
    everything(player)


def everything(player: Player) -> None:
    """Compare all that can be read."""
    player.run("operator", "history", "list", "--json", reads=True)
    for name in _SETS:
        player.run("operator", "entry", "list", name, "--json", reads=True)
        player.run("operator", "hash-set", "get", name, "--json", reads=True)
    for who in ("contributor", "open", "secret", "consumer"):
        player.run(who, "changes", "--json", reads=True)
        player.run(who, "queue", "--json", reads=True)
    player.run("operator", "reconcile", "conflicts", "list", "--wait", "--json", reads=True)
    player.run("operator", "queue", "--json", reads=True)
    player.run("operator", "status", "--json", reads=True)
    player.run("auditor", "token", "list", "--json", reads=True)
    looks(player, 3)


def resources(player: Player) -> None:
    """Make one of each resource, read it, change it and take it away, by valid requests."""
    for call, request in _VALID:
        player.call("operator", call, request)


def calls(player: Player, count: int) -> None:
    """Make calls at random."""
    for number, (call, who) in enumerate(player.turns(count)):
        if number % 50 == 0:  # what there is by now can be asked about from then on
            player.run("operator", "reconcile", "conflicts", "list", "--wait", "--json", reads=True)
            for lists, request in _LISTS.items():
                player.call("operator", lists, request)
        player.play(call, who)


def imports(player: Player, count: int) -> None:
    """Send lists by single calls: in batches, wrongly counted, cancelled, committed over and over."""
    random = player.random
    for number in range(count):
        new = {"connector": "test", "connector_version": "1", "source_digest": f"{number:064x}"}
        parent = f"contributors/home/hashSets/{random.choice(('list', 'formats'))}"
        player.call("contributor", "ContributionService/CreateImport", {"parent": parent, "import": new})
        if (name := player.requests.newest("import")) is None:
            return
        batches = random.randint(1, 3)
        for index in range(batches):
            request = player.requests.request("ContributionService/AddRecords")
            request |= {"name": name, "batch_index": index if random.random() < 0.9 else index + 1}
            player.call("contributor", "ContributionService/AddRecords", request)
        end = random.choice(("Commit", "Commit", "Commit", "Cancel"))
        counted = {"batch_count": batches} if end == "Commit" else {}
        for _ in range(random.randint(1, 2)):
            player.call("contributor", f"ContributionService/{end}Import", {"name": name, **counted})
        player.call("contributor", "ContributionService/ListFindings", {"parent": name})


_LISTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ReconciliationService/ListConflicts": {"page_size": 1000},
    "WebhookService/ListWebhooks": {"parent": "contributors/home"},
    "OperationService/ListOperations": {},
    "ContributorService/ListContributors": {},
    "ContributorService/ListHashSets": {"parent": "contributors/home"},
    "ContributionService/ListEntries": {"parent": "contributors/home/hashSets/list", "page_size": 20},
    "ContributionService/ListImports": {"parent": "contributors/home/hashSets/list"},
    "HistoryService/ListEvents": {"page_size": 20},
    "MatchService/ListPolicies": {},
    "MatchService/ListSchemes": {},
    "AdminService/ListTokens": {},
}

_HASH_SET: Final = "contributors/home/hashSets/spare"
_WEBHOOK: Final = "contributors/home/webhooks/spare"
_VALID: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    (
        "ContributorService/CreateContributor",
        {
            "contributor_id": "leaving",
            "contributor": {"display_name": "L", "kind": "CONTRIBUTOR_KIND_NGO", "jurisdiction": "GB"},
        },
    ),
    (
        "ContributorService/UpdateContributor",
        {"contributor": {"name": "contributors/leaving", "display_name": "M"}, "update_mask": "displayName"},
    ),
    (
        "ContributorService/RetireContributor",
        {"name": "contributors/leaving", "entries": "RETIRED_ENTRIES_WITHDRAWN", "comment": "closed"},
    ),
    ("ContributorService/CreateGroup", {"group_id": "spare", "group": {"display_name": "G"}}),
    ("ContributorService/GetGroup", {"name": "groups/spare"}),
    (
        "ContributorService/UpdateGroup",
        {"group": {"name": "groups/spare", "members": ["contributors/open"]}, "update_mask": "members"},
    ),
    ("ContributorService/DeleteGroup", {"name": "groups/spare"}),
    (
        "ContributorService/CreateHashSet",
        {"parent": "contributors/home", "hash_set_id": "spare", "hash_set": {"purpose": "PURPOSE_CSAM"}},
    ),
    (
        "ContributorService/UpdateHashSet",
        {"hash_set": {"name": _HASH_SET, "display_name": "S"}, "update_mask": "displayName"},
    ),
    ("ContributorService/GetRetention", {"name": _HASH_SET}),
    ("AdminService/CreateToken", {"token_id": "spare", "token": {"role": "ROLE_AUDITOR"}}),
    ("AdminService/UpdateToken", {"token": {"name": "tokens/spare", "description": "x"}, "update_mask": "description"}),
    ("AdminService/RotateToken", {"name": "tokens/spare"}),
    ("AdminService/DeleteToken", {"name": "tokens/spare"}),
    (
        "WebhookService/CreateWebhook",
        {
            "parent": "contributors/home",
            "webhook_id": "spare",
            "webhook": {"url": "https://hooks.example/x", "events": ["WEBHOOK_EVENT_ENTRY_DISPUTED"]},
        },
    ),
    ("WebhookService/GetWebhook", {"name": _WEBHOOK}),
    (
        "WebhookService/UpdateWebhook",
        {"webhook": {"name": _WEBHOOK, "url": "https://hooks.example/y"}, "update_mask": "url"},
    ),
    ("WebhookService/ListWebhookDeliveries", {"parent": _WEBHOOK}),
    ("WebhookService/RotateWebhookSecret", {"name": _WEBHOOK}),
    ("WebhookService/DeleteWebhook", {"name": _WEBHOOK}),
    ("ContributionService/ListQueueItems", {"parent": "contributors/home"}),
    (
        "ContributorService/DeleteHashSet",
        {"name": _HASH_SET, "comment": "no longer needed"},
    ),  # last: its rows go behind an event whenever there is time
)
