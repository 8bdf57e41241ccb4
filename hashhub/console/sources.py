"""Sources and peers, as their processes report them. They are made, applied and left by the command line there."""

from __future__ import annotations

from starlette.responses import Response

from hashhub.console.home import ROWS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, ago, alarm, link, number, when, word
from hashhub.console.visit import Screen
from hashhub.model import PeerReport, SourceReport


def show(visit: HubVisit) -> Response:
    """The sources, a page at a time, and before the first of them the peers."""
    partners, after = visit.hub.partners(), visit.query.get("after", "")
    sources, peers = [one for one in partners.sources if one.name > after], partners.peers[:ROWS]
    of_peers = (
        _("peer"), _("status"), _("since"), _("complete at"), "#" + _("entries"), _("hash sets taken"), _("given"),
        _("what holds it up"),
    )  # fmt: skip
    return visit.page(
        _("Sources and peers"),
        live=20,
        facts=[(_("Warning"), alarm(fault)) for fault in partners.faults],
        tables=[(of_peers, [_peer_row(one) for one in peers], _("Peers"))] if peers and not after else [],
        heads=[
            _("source"), _("hash set"), _("protocol"), _("status"), _("last success"), _("next fetch"),
            "#" + _("items"), _("what to do"),
        ],
        rows=[_source_row(one) for one in sources[:ROWS]],
        caption=_("Sources"),
        empty=_(
            "No source is known here. `hashhub source add` makes one and `hashhub peer invite` begins a peer; the "
            "hub's settings `sources` and `peers` name their directories."
        ),
        after=sources[ROWS - 1].name if sources[ROWS:] else "",
    )  # fmt: skip


def _source_row(one: SourceReport) -> tuple[object, ...]:
    return (
        one.name,
        link(f"/lists/{one.hash_set}", one.hash_set) if one.hash_set else "",
        one.protocol,
        word(one.status) if one.is_well else alarm(word(one.status)),
        ago(one.success_time),
        _("now") if one.begin_time else when(one.next_time),
        one.items,
        one.detail,
    )


def _peer_row(one: PeerReport) -> tuple[object, ...]:
    ways = (", ".join(f"{number(n)} {tlp}" for tlp, n in way.items()) for way in (one.taken, one.given))
    status = word(one.status) if one.is_well else alarm(word(one.status))
    return (one.name, status, when(one.join_time), ago(one.complete_time), one.entries, *ways, one.detail)


SCREENS = (Screen("/sources", show, "hashhub status", "contribute/sources.md"),)
