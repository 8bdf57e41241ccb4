"""What a program's author gets wrong in types is told in hashhub's words, before anything is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hashhub import wire
from hashhub.client import AsyncClient, Client, contribution
from hashhub.errors import InvalidArgument
from hashhub.model import MatchOptions, Query, Record, Selection

OPTIONS = MatchOptions(policy="block")
LISTENS_NOBODY = "127.0.0.1:1"
PAIR: Any = "MD5:5eb63bbbe01eeed093cb22bb8f5acdc3"


@pytest.mark.parametrize("query", [Query(hashes=PAIR), Query(hashes=(PAIR,)), Query(hashes=PAIR[4]), PAIR])
def test_text_where_a_query_or_its_hashes_are_due_is_refused(query: Any) -> None:
    with Client(LISTENS_NOBODY, "token", retry_seconds=0) as hub:
        with pytest.raises(InvalidArgument, match="parse_pair"):
            hub.match(query, OPTIONS)
        with pytest.raises(InvalidArgument, match="parse_pair"):
            list(hub.match_hashes([query], OPTIONS))


@pytest.mark.parametrize("queries", [PAIR, Query(hashes=())])
def test_one_query_where_several_are_due_is_refused(queries: Any) -> None:
    with (
        Client(LISTENS_NOBODY, "token", retry_seconds=0) as hub,
        pytest.raises(InvalidArgument, match="queries: must be a sequence of Query"),
    ):
        list(hub.match_hashes(queries, OPTIONS))


def test_other_options_and_selections_are_refused() -> None:
    wrong: Any = "block"
    with Client(LISTENS_NOBODY, "token", retry_seconds=0) as hub:
        with pytest.raises(InvalidArgument, match="options: must be MatchOptions"):
            hub.match(Query(hashes=()), wrong)
        with pytest.raises(InvalidArgument, match="selection: must be Selection"):
            list(hub.search_entries(Selection(hashes=(PAIR,))))
        with pytest.raises(InvalidArgument, match="external_ids: must be a sequence of texts"):
            list(hub.search_entries(Selection(external_ids=wrong)))


WRONG: Any = "text"
CALLS: dict[str, Callable[[Client], object]] = {
    "must be LivePicture or VideoFrame": lambda _: wire.live_frame_to_pb(WRONG),  # in the midst of a call
    "must be LiveOptions": lambda hub: list(hub.match_live([], WRONG)),
    "must be one of CONFIRMED": lambda hub: hub.create_review("nl/known/1", WRONG),
    "must be Contributor": lambda hub: hub.create_contributor(WRONG),
    "must be HashSet": lambda hub: hub.create_hash_set(WRONG),
    "must be Principal": lambda hub: hub.create_token(WRONG),
    "must be Webhook": lambda hub: hub.create_webhook(WRONG),
    "must be ConflictFilter": lambda hub: list(hub.list_conflicts(WRONG)),
    "must be one of ACTIVE": lambda hub: list(hub.list_entries("nl/known", WRONG)),
}


@pytest.mark.parametrize("said", CALLS)
def test_what_is_of_another_type_is_refused_in_every_call(said: str) -> None:
    with Client(LISTENS_NOBODY, "token", retry_seconds=0) as hub, pytest.raises(InvalidArgument, match=said):
        CALLS[said](hub)


@pytest.mark.parametrize(
    "item", [WRONG, None, Record(position="1", hashes=(WRONG,)), Record(position="1", hashes=WRONG)]
)
def test_what_is_no_record_is_refused_before_it_is_sent(item: Any) -> None:
    with pytest.raises(InvalidArgument, match="must be Record"):
        list(contribution.cut([item]))


def test_the_client_for_event_loops_stands_beside_the_other() -> None:
    async def ask() -> None:
        async with AsyncClient(LISTENS_NOBODY, "token", retry_seconds=0) as hub:
            await hub.match(Query(hashes=PAIR), OPTIONS)

    with pytest.raises(InvalidArgument, match="parse_pair"):
        asyncio.run(ask())


def test_it_is_imported_only_where_it_is_asked_for() -> None:
    code = "import sys, hashhub.client as c; print('hashhub.client.aio' in sys.modules, c.AsyncClient.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "AsyncClient"]
