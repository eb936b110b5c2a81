"""Server-sent events of one response: numbered from 0 without a gap."""

import msgspec

_encode = msgspec.json.Encoder().encode


class Events:
    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, **members: object) -> bytes:
        data = _encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def fragment(self, head: bytes, fragment: str) -> bytes:
        """`head` is of `fragment_head`."""
        number = self._number
        self._number = number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (head, _encode(fragment), number)


def fragment_head(kind: str, **members: object) -> bytes:
    """Of an event that comes often: all of it that stays the same."""
    data = _encode({"type": kind, **members})
    return b'event: %b\ndata: %b,"delta":' % (kind.encode(), data[:-1])
