"""Tables and charts of the results: `python -m bench.report` renews bench/README.md and bench/charts from
bench/results.

What stands between `<!-- NAME -->` and `<!-- end -->` in the README is written here, headings and all; the words around
it are written by people. A section or a chart that nothing was measured for is left out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

from bench import report_tables as tables
from bench import result
from bench.report_charts import CHARTS, draw

_README: Final = Path(__file__).parent / "README.md"


class Section(NamedTuple):
    """One generated part of the README."""

    heading: str
    words: str
    charts: tuple[str, ...]
    body: Callable[[Path], str]


SECTIONS: Final = {
    "targets": Section(
        "## Figures to reach",
        "One core, radius 31, uniform digests; target, then measured.",
        (),
        tables.targets,
    ),
    "matchers": Section(
        "## Matchers",
        """\
Each engine has a process of its own and gets the same distinct digests and the same queries. Four queries of five are
about nothing stored; the others are near a stored digest, half of them at exactly the radius. Recall is against a
comparison with every digest. "FAISS MultiHash … reloaded" was written to a file and read again, which packs its hash
maps. BinaryHNSW, pynear and usearch return nearest neighbours, at most 100 of them, so that large clusters cost them
recall; that is their interface, not a setting. "Resident" is what the process grew by, mapped files as far as the
queries touched them; "on disk" is the saved index, which for ours is also what memory it can come to use.""",
        ("latency", "recall", "memory", "throughput"),
        tables.matchers,
    ),
    "radii": Section("### By radius", "", ("radius",), tables.radii),
    "imports": Section(
        "## Imports",
        """\
One VICS 2.0 file; the time runs from the first byte read to the first match of its last record. The bare driver writes
the same rows, packed and sorted already, into the same tables.""",
        (),
        tables.imports,
    ),
    "updates": Section(
        "## Updates",
        """\
A list of one million is imported, then comes again as the step says, a second after the one before; a lookup is due
every 20 ms by the clock, at one of two workers. Client, workers, database and whoever looks up share two cores, and it
is always the turn of whoever looks up, who would have a machine of their own. Where the machine itself stood still, as
one that others share does, nothing on it could answer: figures of such a minute say more of the machine. Figures to
reach: 35,000 entries/s (SQLite: 40,000), half changed 1.5 of an import's time, a tenth 0.9, all changed 25,000
entries/s, commit of the import 12 s, of an unchanged list 15 s, p99 25 ms; a killed hub ready in 5 s; the same with ten
million there.""",
        (),
        tables.updates,
    ),
    "exports": Section(
        "## Exports",
        """\
Entries of one hash set through a real server and a real client into a file; a tenth of them for STIX and MISP, whose
objects others' libraries make. Figures to reach: 50,000 entries/s for VICS, tables and lines, 2,000 for STIX and
MISP, in memory that does not grow with the list.""",
        (),
        tables.exports,
    ),
    "reconcile": Section(
        "## Reconciliation",
        """\
Three digests an entry in a store on SQLite, written as an extract; then hash sets of two exact digests an entry, or of
one PDQ digest, seven entries of ten a set's own, the others from a pool that all take from. Each overlap is computed in
a process of its own, the median of several runs; its CPU time and memory include what Python loads. Figures to reach:
100,000 entries/s; exact under 30 s and 2 GB, near under 60 s.""",
        (),
        tables.reconcile,
    ),
    "agreement": Section(
        "## Agreement",
        """\
How far thirty contributors agree about a million items, of which each states some: alpha and its interval, the
consensus of the others, confusion, drift and rows for crosswalks. Synthetic, two digests an entry; each run in a
process of its own, from an extract on the disk. Figures to reach: 60 s and 4 GB.""",
        (),
        tables.agreement,
    ),
    "overhead": Section(
        "## What the server adds",
        """\
The same batches go in turn to the matcher in this process, to a server over a socket, and to a gRPC server that answers
as many bytes and does nothing
else: what gRPC in Python costs whoever uses it. What is left is the hub's own. Back to back, each way alone, everything
finds warmer caches.""",
        (),
        tables.overhead,
    ),
    "terms": Section(
        "## What terms add",
        """\
One query, asked of a hub in this process: its digest is listed by 20 contributors, each in a hash set under terms of
its own; and one that nobody lists. In turn with the checks of authorisation and terms, and with these replaced by
"yes". Figures to reach: under 30 µs, and nothing.""",
        (),
        tables.terms,
    ),
    "mirror": Section(
        "## A local copy, and terms that change",
        """\
A hub with two workers holds one hash set; `hashhub mirror` takes it in, then follows. Then the set's terms are changed
while look-ups go on. Figures to reach for 1 M entries: the first copy under 60 s, 1,000 changes under 1 s, changed
terms in every worker within 1 s.""",
        (),
        tables.mirror,
    ),
    "hook-local": Section(
        "## A hook that decides by itself",
        """\
`hashhub hook sync` from nothing, then followed while a judge in another process is asked: from the hub's answer to an
import and to a withdrawal until the judge knows. Then decisions by hashes over a copy that was written directly, half
MD5 and half PDQ; hashing is not included. Figures to reach: 1 M entries under 60 s, 1,000 changes under 1 s, a decision
by 10 M digests under 1 ms.""",
        (),
        tables.hook_local,
    ),
    "adversaries": Section(
        "## Adversaries",
        """\
Random sequences of what each character can do, each step held against a model of what must not happen: nobody's
statement stops matching or turns clean by another's doing, what is hidden changes no answer, what was withdrawn by hand
stays so. One core.""",
        (),
        tables.adversaries,
    ),
    "day": Section(
        "## An ordinary day",
        """\
One hub takes a list in and takes it again, changed and unchanged; a consumer, a contributor and strangers send it what
a commercial day brings; it is killed in the middle of an update. Lookups by the clock and probes of health go on all
the time; what a scene shows of them is what became of the calls that were due in it. A scene begins whether or not the
hub is still busy with the one before. "What it did" was measured before: two cores, SQLite, one worker. Memory is what
no file stands behind. NONE among answers: the caller left without one.""",
        ("day",),
        tables.day,
    ),
    "server": Section(
        "## The server under load",
        """\
The load generator runs on the same cores as the server; both sides' use of them is given. At fixed rates (offered)
latency counts from when a call was due. Errors are all calls that were not answered OK. "single beside big": while two
batches of 1,000 are always in progress; its hashes/s count both. h2load repeats one request. Memory is of all the hub's
processes, pages that they share counted once.""",
        (),
        tables.server,
    ),
    "false-positives": Section(
        "## False positives",
        """\
Every synthetic picture is another scene and no picture both asks and is listed, so that each match is false. Lists
longer than the pictures at hand are padded with digests of the same statistics. **The padding has fewer near pairs than
pictures have**, as the list of padding alone shows: for padded lists, believe the larger of the measured rate and of
what all pairs of pictures let expect ("by pairs"). In parentheses: what it is below with 95 % confidence; no match
observed is not a rate of zero. Pictures of quality below 50 take no part: hygiene keeps them out of lists.""",
        ("false-positives",),
        tables.false_positives,
    ),
    "alterations": Section(
        "## Altered pictures",
        """\
Share of altered pictures whose PDQ hash lies within 31 bits of the original's, and so is found. Turned: with the
query's rotations and flips, derived from its hash. What cuts, frames or tilts a picture moves a PDQ hash too far, for
every matcher alike.""",
        (),
        tables.alterations,
    ),
    "video": Section(
        "## Video",
        """\
A clip of 1920 x 1080 at 30 frames a second to hashes, on one core; processor time, since others used the machine.
Compared: frames at the same time, with the reference's PDQ of the decoded frame at full size, and with what vPDQ's own
program writes. Below: a queried video of 600 frames against the frames of listed videos, of which some have entries.
Listed: the frames of a listed video, 20 bits of each changed; clip: 60 of these among 540 others, too few for a hit;
intro: nothing but ten frames that all listed videos share.""",
        (),
        tables.video,
    ),
    "live": Section(
        "## Live streams",
        """\
From sending a frame to its answer, over gRPC from another process on the same two cores. Frames beyond what the hub can
do are skipped, the oldest first, and counted as unanswered.""",
        (),
        tables.live,
    ),
    "hashing": Section(
        "## Hashing a picture",
        """\
CPU time of one core for one synthetic photograph, all steps in one run, in turn; beside each, its share of what the
reference (`pdqhash`) takes for PDQ alone. "file" begins with the bytes of a JPEG file, the others with its pixels.
Figures to reach: PDQ at most 5 ns a pixel up to 2 megapixels and 7 above (10, 84 and 336 ms); the whole path of a file
0.6 of `pdqhash`; all eight turns together 1.5 of one. `perception` has OpenCV decode, at lower resolution for pHash.
Below: pictures of all sizes of which hash and quality were compared with the reference's, and how many differed.""",
        ("hashing",),
        tables.hashing,
    ),
    "about": Section("## Where the numbers come from", "", (), tables.about),
}  # fmt: skip


def renew(text: str, directory: Path, drawn: Collection[str]) -> str:
    """Return the README with every section between its markers renewed. `drawn`: the charts that there are."""

    def section(found: re.Match[str]) -> str:
        of = SECTIONS[found[1]]
        pictures = [f"![{c}](charts/{c}.svg)\n\n{tables.wrapped(CHARTS[c].reading)}" for c in of.charts if c in drawn]
        body = of.body(directory)
        parts = [of.heading, tables.wrapped(of.words), *pictures, body] if body or pictures else []
        return "\n\n".join([f"<!-- {found[1]} -->", *filter(None, parts), "<!-- end -->"])

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", section, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=result.RESULTS, help="directory of the results")
    parser.add_argument(
        "--out", type=Path, default=_README.parent, help="directory for README.md and charts; default: bench"
    )
    options = parser.parse_args()
    drawn = draw(options.results, options.out / "charts")
    text = renew(_README.read_text("utf-8"), options.results, drawn)
    (options.out / "README.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
