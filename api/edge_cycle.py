"""How an answer leaves: its head waits for the first piece of its body, and both go out as one write.

ASGI asks for that: nothing is sent before there is a piece of a body. uvicorn writes the head at once, and on uvloop
every write is a system call, the dearest thing that a short answer does.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

LINE_END = b"\r\n"
SAYABLE = bytes(each for each in range(256) if each == 0x09 or (each >= 0x20 and each != 0x7F))
"""In a header's value."""
DIFFERENT_NAMES = 1000
CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION = b"content-length: ", b"transfer-encoding: ", b"connection: "
FRAMING = frozenset({CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION})
WITHOUT_BODY = frozenset({204, 304})


class EdgeCycle(RequestResponseCycle):
    """One request and its answer."""

    _head = b""
    _says_close = False

    async def send(self, message: Any) -> None:
        """Raises RuntimeError for what is no HTTP answer."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.transport.is_closing():
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._headers(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._give(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"An answer does not go on with {kind!r} here.")

    def _headers(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        all_lines = [STATUS_LINE[status].removesuffix(LINE_END)]
        for name, value in headers:
            begin = _begin(name)
            all_lines.append(begin + value)
            if begin in FRAMING:
                self._frame(begin, value.lower())
        lines = LINE_END.join(all_lines) + LINE_END
        if len(lines.translate(None, SAYABLE)) != len(LINE_END) * len(all_lines):
            raise RuntimeError("A header's value has a character that no header has.")
        if not self.keep_alive and not self._says_close:
            lines += b"connection: close\r\n"
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in WITHOUT_BODY:
            self.chunked_encoding = True
            lines += b"transfer-encoding: chunked\r\n"
        return lines + LINE_END

    def _frame(self, begin: bytes, value: bytes) -> None:
        """As these headers say."""
        if begin == CONTENT_LENGTH and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif begin == TRANSFER_ENCODING and value == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif begin == CONNECTION and b"close" in value:
            self.keep_alive = False
            self._says_close = True

    def _give(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        self.transport.write(head + self._framed(body, more=more))
        if more:
            return
        if self.expected_content_length:
            raise RuntimeError("The body is shorter than its content-length says.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            return b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if len(body) > self.expected_content_length:
            raise RuntimeError("The body is longer than its content-length says.")
        self.expected_content_length -= len(body)
        return body


@lru_cache(maxsize=DIFFERENT_NAMES)
def _begin(name: bytes) -> bytes:
    """Of a header's line."""
    if HEADER_RE.search(name):
        raise RuntimeError("A header's name has a character that no header has.")
    return name.lower() + b": "
