"""Uploads through every door of the hook, and what persons make of those that are held."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from hashhub.hashing import hash_media
from hashhub.testing.lists import item, list_file
from hashhub.testing.pictures import ALTERATIONS, picture
from tests.differential.asking import Pair
from tests.differential.comparing import without_opaque
from tests.differential.playing import Player
from tests.differential.sides import Side
from tests.hook.web import FORM_TYPE, File, form

_SETTINGS: Final = """
policy = "{policy}"
mode = "{mode}"
token_file = "{directory}/consumer.token"
hub = "{hub}"
data = "{directory}/{name}"
hashing_processes = 1
waiting_seconds = 60.0
answer_seconds = 20.0
on_match = "{on_match}"
without_answer = {{hub_away = "hold", unreadable = "hold", too_large = "hold", no_perceptual_hash = "allow"}}
local = {{follow = false}}
vault = {{encryption = "key-file", key_file = "{directory}/key", days = 30, days_without_report = 30}}
clamd = {{chained = "none", listen = "127.0.0.1:{clamd}"}}
[bucket]
quarantine = "{directory}/{name}-in"
held = "{directory}/{name}-held"
public = "{directory}/{name}-out"
settle_seconds = 0.1
jobs = 1
"""


@cache
def _picture(seed: int, alteration: str = "") -> bytes:
    made = picture(seed, (320, 240))
    made = ALTERATIONS[alteration](made, Random(seed)) if alteration else made
    out = io.BytesIO()
    made.convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


class Uploads:
    """The uploads of a run: listed pictures as they are and altered, others, and what is none."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._alterations = sorted(ALTERATIONS)

    def one(self) -> tuple[str, bytes]:
        random = self._player.random
        seed = random.randint(1, 6)
        match random.randint(0, 7):
            case 0:
                return "nothing", b""
            case 1:
                return "no picture", b"some text that is no picture"
            case 2:
                return "half a picture", _picture(seed)[:2000]
            case 3 | 4:
                alteration = random.choice(self._alterations)
                return f"picture {seed} after {alteration}", _picture(seed, alteration)
        return f"picture {seed}", _picture(seed)


def listed(player: Player) -> None:
    """Let the hub have pictures 1 to 3, of which two contributors state the first."""
    for who, name, seeds in (("contributor", "home/pictures", (1, 2)), ("open", "open/pictures", (1, 3))):
        player.run("operator", "hash-set", "create", name, "--scheme", "vic-us", "--tlp", "clear", "--bulk", "--json")
        items = [item(hash_media(_picture(seed)).hashes, "1", external_id=f"p-{seed}", quality=90) for seed in seeds]
        for side in player.sides:
            (side.directory / "pictures.json").write_bytes(list_file("vics-2.0", items).data)
        player.run(who, "import", "DIRECTORY/pictures.json", "--hash-set", name, "--format", "vics", "--json")


def _settings(player: Player, name: str, **given: Any) -> str:
    for side in player.sides:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        side.places[f"127.0.0.1:{port}"] = f"CLAMD {name}"
        values = {"policy": "block", "mode": "online", "on_match": "block", "clamd": port, "hub": side.grpc} | given
        text = _SETTINGS.format(directory=side.directory, name=name, **values)
        (side.directory / f"{name}.toml").write_text(text)
        (side.directory / "consumer.token").write_text(side.tokens["consumer"])
        for place in ("in", "held", "out"):
            (side.directory / f"{name}-{place}").mkdir(exist_ok=True)
    return f"DIRECTORY/{name}.toml"


def uploads(player: Player, count: int, doors: tuple[str, ...]) -> None:
    """Send uploads through each of these doors, and look at what is on record then."""
    listed(player)
    player.run("operator", "hook", "vault", "key", "--out", "DIRECTORY/key")
    made = Uploads(player)
    for door in doors:
        mode = player.random.choice(("online", "local"))
        policy = player.random.choice(("any", "block"))
        settings = _settings(player, door, mode=mode, policy=policy, on_match=player.random.choice(("block", "hold")))
        if mode == "local":
            player.run("operator", "hook", "sync", "--settings", settings, "--json")
        _DOORS[door](player, settings, made, count)
        _recorded(player, settings)


def _recorded(player: Player, settings: str) -> None:
    """Compare what is on record, and decide over some of it."""
    player.run("operator", "hook", "queue", "people", "add", "anna", "--settings", settings, "--out",
               "DIRECTORY/anna", "--json")  # fmt: skip
    old, _ = player.run("operator", "hook", "queue", "list", "--settings", settings, "--json", reads=True)
    references = player.comparison.met.get("reference", [])
    here = [pair for pair in references if json.dumps(old).count(pair[0])]
    for pair in here[:6]:
        player.run("operator", "hook", "queue", "get", Pair(pair), "--settings", settings, "--json", reads=True)
        verdict = player.random.choice(("confirm", "release", "escalate"))
        code = ("--code", "different-picture") if verdict == "release" else ()
        player.run("operator", "hook", "queue", "decide", Pair(pair), verdict, *code, "--settings", settings,
                   "--person-file", "DIRECTORY/anna", "--json")  # fmt: skip
    player.run("operator", "hook", "queue", "send", "--settings", settings, "--json")
    for words in (("queue", "list"), ("queue", "list", "--state", "released"), ("vault", "list"), ("case", "list")):
        player.run("operator", "hook", *words, "--settings", settings, "--json", reads=True)


def _middleware(door: str) -> Any:
    def send(player: Player, settings: str, made: Uploads, count: int) -> None:
        for _ in range(count):
            what, data = made.one()
            as_form = player.random.random() < 0.5
            body = form(File("file", "a.jpg", data), File("note", None, b"x", None)) if as_form else data
            asked = {
                "door": door,
                "settings": settings,
                "body": base64.b64encode(body).decode(),
                "content_type": FORM_TYPE if as_form else "image/jpeg",
            }
            player.both(
                f"{door}{' by a form' if as_form else ''}: {what}",
                lambda side, told: _loaded(side.agent("uploads", **player.of_side(told, side))),
                asked,
            )
        for side in player.sides:
            side.agent("uploads", door=door, settings=player.of_side(settings, side), close=True)

    return send


def _loaded(told: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with its body as what it holds."""
    try:
        return told | {"body": json.loads(told["body"])}
    except (KeyError, ValueError):
        return told


def _sidecar(player: Player, settings: str, made: Uploads, count: int) -> None:
    addresses = {}
    for side in player.sides:
        ready = side.serve("sidecar", "hook", "serve", "--settings", player.of_side(settings, side), "--listen",
                           "127.0.0.1:0", "--quiet")  # fmt: skip
        addresses[side.name] = ready["listen"]
    for path in ("/healthz", "/openapi.json"):
        player.both(f"sidecar {path}", lambda s, p: s.post(p, b"", {}, addresses[s.name], "GET"), path, reads=True)
    for number in range(count):
        what, data = made.one()
        headers = {"Content-Type": "image/jpeg", "Hashhub-Upload-Id": f"u/{number}"}
        body = data
        if player.random.random() < 0.3:
            body, headers["Content-Type"] = form(File("file", "a.jpg", data)), FORM_TYPE
        player.both(
            f"sidecar /check: {what}",
            lambda s, *told: s.post("/check", *told, addresses[s.name]),
            body,
            headers,
        )
    player.both("the sidecar ends", lambda s: s.end("sidecar"))


def _clamd(player: Player, settings: str, made: Uploads, count: int) -> None:
    addresses = {}
    for side in player.sides:
        ready = side.serve("clamd", "hook", "clamd", "--settings", player.of_side(settings, side))
        addresses[side.name] = next(v for v in ready.values() if isinstance(v, str) and v.startswith("127.0.0.1:"))

    def ask(side: Side, command: bytes, data: bytes | None) -> str:
        host, port = addresses[side.name].split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(command)
            if data is not None:
                connection.sendall(struct.pack("!I", len(data)) + data + struct.pack("!I", 0) if data else bytes(4))
            told = b""
            while piece := connection.recv(4096):
                told += piece
                if told.endswith(b"\0"):
                    break
        return side.plain(told.decode("utf-8", "replace"))

    for command in (b"zPING\0", b"zVERSION\0", b"zCOMMANDS\0", b"zNONSENSE\0"):
        player.both(f"clamd {command.decode()}", ask, command, None)
    for _ in range(count):
        what, data = made.one()
        player.both(f"clamd INSTREAM: {what}", ask, b"zINSTREAM\0", data)
    player.both("clamd ends", lambda s: s.end("clamd"))


def _filled(player: Player, made: Uploads, count: int, place: str) -> None:
    for number in range(count):
        what, data = made.one()
        for side in player.sides:
            (side.directory / place).mkdir(exist_ok=True)
            Path(side.directory / place / f"{number}-{what.replace(' ', '-')}.jpg").write_bytes(data)


def _bucket(player: Player, settings: str, made: Uploads, count: int) -> None:
    _filled(player, made, count, "bucket-in")
    for _ in range(2):
        player.run("operator", "hook", "watch", "--settings", settings, "--once", "--json", ordered=False)

        def files(side: Side) -> list[str]:
            places = (side.directory / f"bucket-{place}" for place in ("in", "held", "out"))
            names = (str(p.relative_to(side.directory)) for d in places for p in d.rglob("*") if p.is_file())
            return sorted(names, key=without_opaque)

        player.both("the places", files)


def _scan(player: Player, settings: str, made: Uploads, count: int) -> None:
    _filled(player, made, count, "archive")
    for _ in range(2):
        player.run(
            "operator",
            "hook",
            "scan",
            "DIRECTORY/archive",
            "--jobs",
            "1",
            "--settings",
            settings,
            "--json",
            ordered=False,
        )
    player.run("consumer", "scan", "DIRECTORY/archive", "--policy", "any", "--jobs", "1", "--json", ordered=False)
    player.run("operator", "hook", "check", "DIRECTORY/archive", "--settings", settings, "--json", ordered=False)


_DOORS: Final = {
    "asgi": _middleware("asgi"),
    "wsgi": _middleware("wsgi"),
    "sidecar": _sidecar,
    "clamd": _clamd,
    "bucket": _bucket,
    "scan": _scan,
}
DOORS: Final = tuple(_DOORS)
