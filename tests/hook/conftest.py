"""A real hub with a list, a token that may match, and settings of a hook that asks it."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from hashhub.client import Client
from hashhub.hashing import DEFAULT_LIMITS, hash_media
from hashhub.hashing.pool import MediaPool
from hashhub.hook import Action, Hook, HookSettings, WithoutAnswer, open_hook
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.model import TLP, Contributor, ContributorKind, HashSet, Marking, Principal, Purpose, Reliability, Role
from hashhub.testing.hub_process import RunningHub, RunningSidecar, running_sidecar
from hashhub.testing.pictures import picture
from tests.hook.guide import Reader
from tests.warm import Warm

if TYPE_CHECKING:
    from tests.hook.bucket_parts import Bench, Scene
    from tests.hook.local_copies import Local
    from tests.hook.web import Known
    from tests.mirror.conftest import Site

HELD = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
)


class Listed(NamedTuple):
    """A hub on whose lists `police-nl/known` and `hotline-de/known` one picture is, and tokens to ask it with."""

    hub: RunningHub
    operator: Client
    token: str
    mirror_token: str
    known: bytes  # a JPEG that is listed
    unknown: bytes  # one that is not


@cache
def jpeg(seed: int, size: tuple[int, int] = (512, 384)) -> bytes:
    """Return a synthetic photograph."""
    out = io.BytesIO()
    picture(seed, size).save(out, "JPEG", quality=90)
    return out.getvalue()


@contextmanager
def listed_at(hub: RunningHub) -> Iterator[Listed]:
    """List the picture at the hub, and make the tokens."""
    with Client(hub.address, hub.token, timeout=60.0) as operator:
        operator.create_contributor(
            Contributor(id="app", display_name="App", kind=ContributorKind.PLATFORM, jurisdiction="IE")
        )
        known = jpeg(1)
        lines = "".join(f"{h.text}\n" for h in hash_media(known).hashes if h.algorithm in {"MD5", "PDQ"}).encode()
        for name, jurisdiction in (("police-nl", "NL"), ("hotline-de", "DE")):  # `block` wants two that agree
            operator.create_contributor(
                Contributor(
                    id=name,
                    display_name=name,
                    kind=ContributorKind.HOTLINE,
                    jurisdiction=jurisdiction,
                    reliability=Reliability.B,
                )
            )
            operator.create_hash_set(
                HashSet(contributor=name, id="known", purpose=Purpose.CSAM, marking=Marking(tlp=TLP.GREEN, bulk=True))
            )
            report = operator.import_source(io.BytesIO(lines), hash_set=f"{name}/known", connector="hash-lines")
            assert not report.is_refused
        yield Listed(
            hub=hub,
            operator=operator,
            token=operator.create_token(Principal(name="app-hook", role=Role.CONSUMER, contributor="app")),
            mirror_token=operator.create_token(
                Principal(name="app-mirror", role=Role.CONSUMER, contributor="app", may_mirror=True)
            ),
            known=known,
            unknown=jpeg(2),
        )


@pytest.fixture(scope="session")
def listed(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listed]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as hub, listed_at(hub) as listed:
        yield listed


@pytest.fixture(scope="module")
def judge() -> Known:
    """Give a judge that knows two contents."""
    from tests.hook.web import DOUBTED, LISTED, Known

    return Known(listed=[LISTED], doubted=[DOUBTED])


@pytest.fixture(scope="module")
def hook(judge: Known) -> Iterator[Hook]:
    """Give a hook that asks this judge."""
    from tests.hook.web import hook_of

    with hook_of(judge) as hook:
        yield hook


MakeHook = Callable[..., Hook]


@pytest.fixture
def make_settings(listed: Listed, tmp_path: Path) -> Callable[..., HookSettings]:
    """Return a function that makes settings of a hook that asks the hub; what is given differs."""
    token_file = tmp_path / "hook.token"
    token_file.write_text(listed.token)

    def make(**given: Any) -> HookSettings:
        usual: dict[str, Any] = {
            "policy": "block",
            "without_answer": HELD,
            "hub": listed.hub.address,
            "token_file": str(token_file),
            "data": str(tmp_path / "hook"),
            "hashing_processes": 1,
            "answer_seconds": 20.0,  # a loaded machine is no reason for another answer
            "app": AppSettings(on_hold=OnHold.REFUSE),
        }
        return HookSettings(**usual | given)

    return make


@pytest.fixture
def make_hook(make_settings: Callable[..., HookSettings]) -> Iterator[MakeHook]:
    """Return a function that makes hooks, which are closed at the test's end."""
    made: list[Hook] = []

    def make(*, judge: Any = None, **given: Any) -> Hook:
        settings = make_settings(**given)
        made.append(open_hook(settings) if judge is None else Hook(settings, judge=judge))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


@pytest.fixture(scope="session")
def bucket_store() -> Iterator[str]:
    """Start a store that speaks S3; give its URL."""
    from tests.hook.bucket_server import store_server

    with store_server() as url:
        yield url


@pytest.fixture(scope="session")
def hashers() -> Iterator[MediaPool]:
    """Give processes that hash, which take longer to start than most tests take."""
    pool = MediaPool(children=2, max_queued=64, seconds=30.0, memory_bytes=1 << 30, limits=DEFAULT_LIMITS)
    with pool.room() as place:  # no upload of a test waits for the start
        place.hash(jpeg(1, (96, 64)))
    yield pool
    pool.close()


@pytest.fixture(params=["folder", "bucket"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Give three places of each kind in turn."""
    from tests.hook import bucket_server
    from tests.hook.bucket_parts import Scene

    if request.param == "folder":
        return Scene("folder", tmp_path, "")
    for name, value in bucket_server.KEYS.items():
        monkeypatch.setenv(name, value)
    return Scene(request.param, tmp_path, request.getfixturevalue("bucket_store"))


@pytest.fixture(scope="session")
def pictures() -> tuple[bytes, bytes]:
    return jpeg(1, (96, 64)), jpeg(2, (96, 64))


@pytest.fixture
def at_work(scene: Scene, tmp_path: Path, hashers: MediaPool) -> Iterator[Bench]:
    """Give workers over the scene, which are closed at the test's end."""
    from tests.hook.bucket_parts import Bench

    bench = Bench(scene, tmp_path / "data", hashers)
    yield bench
    bench.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a hub of this process, of which a contributor may keep a copy."""
    from tests.mirror.conftest import Site

    site = Site(tmp_path)
    site.desk.contributor("receiver")
    yield site
    site.close()


@pytest.fixture
def local(site: Site, tmp_path: Path) -> Local:
    """Give a hook's settings, and the hub two lists, by which numbers below 10 match."""
    from tests.hook.local_copies import listed_twice

    return listed_twice(site, tmp_path)


@pytest.fixture
def reader(tmp_path: Path, warm: None) -> Iterator[Reader]:
    """Give somebody who follows a page and has hashhub already; their hub and doors have ports of their own."""
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        ports = dict(zip((8470, 8471, 8472, 3310), [server.getsockname()[1] for server in free], strict=True))
    hub, http, sidecar, clamd = (f"127.0.0.1:{port}" for port in ports.values())
    root = Path(__file__).parents[2]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HASHHUB_")},
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "connectors")]),
        "HASHHUB_LISTEN": hub,
        "HASHHUB_HTTP": http,
        "HASHHUB_SERVER": hub,
        "HASHHUB_HOOK_HUB": hub,
        "HASHHUB_HOOK_SIDECAR_LISTEN": sidecar,
        "HASHHUB_HOOK_CLAMD_LISTEN": clamd,
        "HASHHUB_HOOK_ANSWER_SECONDS": "20",  # a loaded machine is no reason for another answer
    }
    follows = Reader(tmp_path, environment, ports=ports)
    yield follows
    follows.close()


# The sidecar

CHOICES = """
[without_answer]
hub_away = "hold"
unreadable = "hold"
too_large = "block"
no_perceptual_hash = "allow"
"""


def hook_toml(directory: Path, listed: Listed, *, top: str = "", sidecar: str = "") -> Path:
    """Write a hook.toml; `top` and `sidecar` are further lines of it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hook.token").write_text(listed.token)
    given = f'policy = "block"\nhub = "{listed.hub.address}"\ntoken_file = "{directory / "hook.token"}"\n'
    given += f'data = "{directory / "data"}"\nhashing_processes = 1\n'
    if "answer_seconds" not in top:
        given += "answer_seconds = 20.0\n"
    file = directory / "hook.toml"
    file.write_text(f"{given}{top}\n{CHOICES}\n[sidecar]\n{sidecar}\n")
    return file


Start = Callable[..., RunningSidecar]


@pytest.fixture(scope="module")
def started(listed: Listed, warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts a sidecar with these lines in its settings, or gives the one that runs."""
    running: dict[tuple[str, str], RunningSidecar] = {}
    with ExitStack() as stack:

        def start(*, top: str = "", sidecar: str = "") -> RunningSidecar:
            if (top, sidecar) not in running:
                file = hook_toml(tmp_path_factory.mktemp("sidecar"), listed, top=top, sidecar=sidecar)
                with warmed.used():
                    running[top, sidecar] = stack.enter_context(running_sidecar(file))
            return running[top, sidecar]

        yield start
