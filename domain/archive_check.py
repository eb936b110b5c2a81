"""Comparing a stream with its second copy, message by message."""

from collections.abc import Mapping, Sequence

from domain.findings import Findings, Stream
from domain.ports import LogMessage


class ArchiveCheck:
    """`archived_to` is the archive's last position, read before the stream's own: the archive never runs ahead.

    A copy that is behind is no mistake; a hole in what it has passed is one.
    """

    def __init__(self, stream: Stream, archived_to: int, head: int, findings: Findings) -> None:
        self.compared = 0
        self.behind = max(0, head - archived_to)
        self._stream: Stream = stream
        self._archived_to = archived_to
        self._findings = findings
        if archived_to > head:
            detail = f"the archive goes up to {stream}:{archived_to}, the log ends at {stream}:{head}"
            findings.add("archive_only", stream, head + 1, detail)

    def compare(self, messages: Sequence[LogMessage], archived: Mapping[int, tuple[str, bytes]]) -> None:
        """`archived` holds subject and bytes of all that the archive has between the first and the last message."""
        for message in messages:
            copy = archived.get(message.position)
            if copy is None and message.position > self._archived_to:
                continue
            self.compared += 1
            if copy is None:
                self._findings.add("archive_missing", self._stream, message.position, "the archive passed it by")
            elif copy != (message.subject, message.raw):
                self._findings.add("archive_differs", self._stream, message.position, "log and archive differ here")
        for position in sorted(archived.keys() - {message.position for message in messages}):
            self._findings.add("archive_only", self._stream, position, "the archive has it and the log does not")
