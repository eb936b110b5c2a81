"""What verifying the log finds: each finding names a place, what is wrong there, and what to do about it."""

from collections import Counter
from typing import Literal

import msgspec

Stream = Literal["EVT", "REQ"]

REMEDIES = {
    "position_missing": "restore the messages from a replica, a backup or the archive",
    "unreadable": "verify with the release that wrote it; if that cannot read it either, restore the message",
    "unknown_fact": "verify with the release that wrote it",
    "wrong_subject": "restore the message: it stands under a subject that is not its own",
    "sequence_broken": "restore the aggregate's events from a replica, a backup or the archive",
    "chain_broken": "an earlier event of the aggregate was changed or lost: compare it with the archive, restore it",
    "state_differs": "correct with a compensating event; then look for what wrote a state that the facts do not give",
    "balance_differs": "correct with a compensating entry; then look for what wrote the balance",
    "postings_unbalanced": "correct with a compensating entry",
    "charge_split": "correct with a compensating entry: the parts of the charge do not add up to it",
    "charge_range": "requests were skipped or charged twice: rate the range anew, correct with a compensating entry",
    "writer_gap": "restore the messages from a replica, a backup or the archive",
    "writer_conflict": "two processes wrote under one name, or an event was changed: compare with the archive",
    "end_without_admission": "restore the admission from the archive; without it nobody is charged for the request",
    "admitted_twice": "look for who wrote the second admission; credit the account for the second charge",
    "attempt_gap": "restore the missing attempts from a replica, a backup or the archive; no charge depends on them",
    "charge_differs": "rate the range anew and correct the difference with a compensating entry",
    "uncharged": "see that `agg work` runs: it charges what has ended",
    "archive_differs": "find out which copy is genuine (the chain tells for EVT) and restore the other",
    "archive_missing": "rebuild the event_archive projection",
    "archive_only": "the log lost what the archive still has: restore the stream from it",
}
FINDINGS_KEPT = 1_000


class Finding(msgspec.Struct, frozen=True):
    """`position` is where to look, such as `EVT:12`."""

    code: str
    position: str
    detail: str
    remedy: str


class Findings:
    """Counts them all and keeps the first thousand: a log that is broken everywhere fits in memory too."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def add(self, code: str, stream: Stream, position: int, detail: str) -> None:
        self.counts[code] += 1
        if len(self.kept) < FINDINGS_KEPT:
            self.kept.append(Finding(code, f"{stream}:{position}", detail, REMEDIES[code]))

    @property
    def total(self) -> int:
        return self.counts.total()


class Order:
    """The positions of one stream follow each other without a gap: nothing is ever deleted from it."""

    def __init__(self, stream: Stream, findings: Findings) -> None:
        self.last = 0
        self._stream: Stream = stream
        self._findings = findings

    def check(self, position: int) -> None:
        if position != self.last + 1:
            missing = range(self.last + 1, position)
            detail = f"{len(missing)} messages before it are missing, from {self._stream}:{self.last + 1} on"
            self._findings.add("position_missing", self._stream, position, detail)
        self.last = position
