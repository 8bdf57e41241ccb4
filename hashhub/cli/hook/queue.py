"""`hashhub hook queue`: what waits for a person, and what persons decide. Metadata only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.hook import Desk, account, at_desk, by_person, hook
from hashhub.cli.session import CommandGroup, Session, choice, command
from hashhub.cli.terminal import clean, counted, minute, note, say
from hashhub.desk.queue.reviews import FeedbackState, LaterAnswers, ReviewSender
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import WAITING, ReviewQueue, RulingCode
from hashhub.desk.records import UploadState

if TYPE_CHECKING:
    from hashhub.desk.queue.view import UploadGroup

_SHOWN_DIGEST: Final = 60


@hook.group("queue", cls=CommandGroup)
def queue() -> None:
    """Decide over uploads that wait for a person. Shows metadata, never a picture."""


@queue.group("people", cls=CommandGroup)
def people() -> None:
    """Say who may decide: each person has a token of their own."""


@command(queue, "list", local=True)
@at_desk
@click.option(
    "--state", "states", type=choice(UploadState), multiple=True, help="Instead of what waits: uploads in this state."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Groups to show.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Groups to leave out first.")
def list_queue(session: Session, desk: Desk, *, states: tuple[UploadState, ...], limit: int, skip: int) -> None:
    """List uploads, those that hit the same entries as one group: matches first, then reviews, then those without an
    answer.
    """
    listing = ReviewQueue(desk.records, desk.settings).page(states=states or WAITING, limit=limit, skip=skip)
    if listing.damaged:
        note(
            f"{counted(listing.damaged, 'record')} cannot be read (RECORD_DAMAGED), so that nothing can be decided: "
            "keep hook.db as it is, and restore a backup beside it"
        )
    session.show(
        listing.groups,
        ("reference", "state", "verdict", "uploads", "since", "lists"),
        lambda g: (
            g.uploads[0].reference, g.uploads[0].state, _verdict(g), g.count, minute(g.oldest), ", ".join(g.lists),
        ),
        empty="no uploads",
    )  # fmt: skip
    if session.json:
        return
    more = f"; {listing.not_read} more were not looked at" if listing.not_read else ""
    note(f"{counted(listing.waiting, 'upload')} in {counted(listing.group_count, 'group')}{more}")


@command(queue, "get", local=True)
@click.argument("reference", metavar="REFERENCE")
@by_person
def get_upload(session: Session, desk: Desk, *, reference: str) -> None:
    """Show one upload: which entries it hit and how, reasons, hashes, decisions and what happened."""
    upload = ReviewQueue(desk.records, desk.settings).get(reference, actor=desk.person(needed=False))
    if session.print_if_json(upload):
        return
    say(f"reference  {upload.reference}")
    say(f"state      {upload.state}")
    say(f"etag       {upload.etag}")
    say(f"verdict    {upload.verdict}{f' ({upload.no_answer})' if upload.no_answer else ''}")
    say(f"upload     {clean(upload.upload_id) or '-'}, by {upload.door}, {upload.size_bytes} bytes {upload.media_type}")
    say(f"policy     {upload.policy or '-'} at revision {upload.revision}")
    for reason in upload.reasons:
        say(f"reason     {reason.code}: {clean(reason.text)}")
    for copies in upload.coverage.unsearched:
        say(f"unsearched {copies}")
    for digest in upload.hashes:
        say(f"hash       {digest if len(digest) <= _SHOWN_DIGEST else digest[:_SHOWN_DIGEST] + '…'}")
    for hit in upload.hits:
        how = (
            "is the listed file" if hit.exact else f"distance {hit.distance}{f', {hit.variant}' if hit.variant else ''}"
        )
        say(f"hit        {hit.entry}: {hit.algorithm}, {how}")
    for case in upload.cases:
        say(f"case       {case.case}: copies are now {case.action}; {case.how}")
    if upload.later_answer is not None:
        answer = upload.later_answer
        gone = f"; not found any more: {', '.join(answer.gone)}" if answer.gone else ""
        added = f"; new: {', '.join(answer.added)}" if answer.added else ""
        say(f"now        {answer.verdict} at revision {answer.revision}{gone}{added}")
    if upload.proposal is not None:
        say(f"proposed   release by {upload.proposal.actor}: {upload.proposal.code}; another person must say the same")
    for ruling in upload.rulings:
        said = " ".join(part for part in (ruling.ruling, ruling.code, clean(ruling.comment)) if part)
        say(f"decided    {said}, by {' and '.join(ruling.actors)}")
    for report in upload.reports:
        say(f"reported   to {clean(report.recipient)} as {clean(report.filed_as)}, by {report.actor}")
    for told in upload.feedback:
        say(f"feedback   {told.entry}: {told.kind or '-'} {told.state}{f' ({told.detail})' if told.detail else ''}")
    for event in upload.events:
        say(f"event      {event.time:%Y-%m-%d %H:%M:%SZ} {event.kind} {event.actor} {clean(event.reason)}".rstrip())


@command(queue, "decide", local=True)
@click.argument("reference", metavar="REFERENCE")
@click.argument("decision", type=click.Choice(["confirm", "release", "withdraw", "escalate"]))
@by_person
@click.option("--code", type=choice(RulingCode), help="Why it is released.")
@click.option("--comment", default="", metavar="TEXT", help="Why, in your words; stays with the hook.")
@click.option("--etag", default="", metavar="TEXT", help="As `get` showed it. Refused when it is another by now.")
@click.option("--no-send", is_flag=True, help="Leave the reviews for `hashhub hook queue send`.")
def decide(
    session: Session,
    desk: Desk,
    *,
    reference: str,
    decision: str,
    code: RulingCode | None,
    comment: str,
    etag: str,
    no_send: bool,
) -> None:
    """Decide over one upload. confirm: it is what was found, and is removed. release: it is let go, for a reason; by
    two persons where the settings say so; what was removed, with --etag only. withdraw: end a release that was
    proposed. escalate: hand it on.
    """
    if etag and decision not in {"confirm", "release"}:
        raise click.UsageError("--etag is of what is confirmed or released; leave it out")
    if (decision == "release") != (code is not None):
        raise click.UsageError("a release needs --code, and nothing else takes one")
    actor = desk.person()
    queued = ReviewQueue(desk.records, desk.settings)
    rulings = Rulings(desk.records, desk.settings, queue=queued)
    if code is not None:
        rulings.release(reference, code=code, actor=actor, comment=comment, etag=etag)
    elif decision == "confirm":
        rulings.confirm(reference, actor=actor, comment=comment, etag=etag)
    else:
        {"withdraw": rulings.withdraw, "escalate": rulings.escalate}[decision](reference, actor=actor, comment=comment)
    if not no_send:
        ReviewSender(desk.records, desk.settings).send()
    upload = queued.get(reference)
    if session.print_if_json(upload):
        return
    say(f"{reference} is {upload.state}")
    if upload.proposal is not None:
        say(f"another person must say the same: {upload.proposal.code}")
    for told in upload.feedback:
        say(f"{told.entry}: {told.kind or 'nothing'} {told.state}{f' ({told.detail})' if told.detail else ''}")


@command(queue, "reported", local=True)
@click.argument("reference", metavar="REFERENCE")
@by_person
@click.option("--to", "recipient", required=True, metavar="NAME", help="To whom the report was filed, such as ncmec.")
@click.option("--filed-as", required=True, metavar="NUMBER", help="The recipient's number of the report.")
def reported(
    session: Session,
    desk: Desk,
    *,
    reference: str,
    recipient: str,
    filed_as: str,
) -> None:
    """Note that you filed a report about an upload: for how long it must be kept counts from now on."""
    actor = desk.person()
    Rulings(desk.records, desk.settings).reported(reference, recipient=recipient, filed_as=filed_as, actor=actor)
    session.answer(
        {"reference": reference, "recipient": recipient, "filed_as": filed_as},
        f"{reference} was reported to {clean(recipient)} as {clean(filed_as)}",
    )


@command(queue, "send", local=True)
@at_desk
@click.option("--again", is_flag=True, help="Those that were refused, too: the token was changed.")
def send(session: Session, desk: Desk, *, again: bool) -> None:
    """Send the reviews that wait to the hub, each once."""
    reviews = ReviewSender(desk.records, desk.settings)
    if again:
        reviews.resend(actor=account())
    fates = reviews.send()
    session.answer(
        {fate.lower(): count for fate, count in fates.items() if fate in _SENDING},
        ", ".join(f"{count} {fate.lower()}" for fate, count in fates.items() if count) or "nothing waits",
    )


_SENDING: Final = (FeedbackState.SENT, FeedbackState.QUEUED, FeedbackState.REFUSED, FeedbackState.GONE)


@command(queue, "recheck", local=True)
@at_desk
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Uploads to ask about.")
def recheck(session: Session, desk: Desk, *, limit: int) -> None:
    """Ask the hub again about uploads that were held or blocked. What was withdrawn there is shown, not released."""
    from hashhub.hook.examiner import HubJudge

    judge = HubJudge(desk.settings)
    try:
        asked, changed = LaterAnswers(desk.records).recheck(judge, limit=limit)
    finally:
        judge.close()
    session.answer({"asked": asked, "changed": changed}, f"{asked} asked, {changed} changed")


@command(queue, "forget", local=True)
@at_desk
def forget_uploads(session: Session, desk: Desk) -> None:
    """Delete the rows of uploads that were decided over so long ago that the settings say so (`records.keep_days`). A
    running hook does so each hour.
    """
    from hashhub.desk.rounds import forget

    count = forget(desk.records, desk.settings, actor=account())
    session.answer({"forgotten": count}, f"{count} forgotten")


def _verdict(group: UploadGroup) -> str:
    first = group.uploads[0]
    verdict = group.no_answer or group.verdict
    return f"{verdict}, now {first.verdict_now}" if first.verdict_now not in {"", verdict} else verdict


@command(people, "add", local=True)
@click.argument("name", metavar="NAME")
@at_desk
@click.option("--out", required=True, metavar="FILE", help="New file for the person's token, for its owner only.")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="Days until it ends.")
def add_person(session: Session, desk: Desk, *, name: str, out: str, days: int) -> None:
    """Let a person decide. Hand them the file, and keep no copy: whoever holds it is that person."""
    from hashhub.desk.people import People
    from hashhub.desk.vault_keys import write_private

    with desk.records.transaction():  # no person without a file
        write_private(Path(out), People(desk.records).add(name, days=days, actor=account()) + "\n")
    session.answer({"name": name, "file": out}, f"{name} may decide, by the token in {out}")


@command(people, "list", local=True)
@at_desk
def list_people(session: Session, desk: Desk) -> None:
    """List who may decide, and until when."""
    from hashhub.desk.people import People

    session.show(
        People(desk.records).everybody(),
        ("name", "since", "until"),
        lambda p: (p.name, f"{p.add_time:%Y-%m-%d}", f"{p.expire_time:%Y-%m-%d}"),
        empty="no persons",
    )


@command(people, "remove", local=True)
@click.argument("name", metavar="NAME")
@at_desk
def remove_person(session: Session, desk: Desk, *, name: str) -> None:
    """End a person's token at once, and what they proposed."""
    from hashhub.desk.people import People

    People(desk.records).remove(name, actor=account())
    session.answer({"name": name}, f"{name} may decide no more")
