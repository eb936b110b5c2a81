"""HTTP over one connection, spoken byte by byte."""

import json
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"


class Wire:
    """One connection, spoken by hand."""

    def __init__(self, base_url: str, key: str) -> None:
        place = urlsplit(base_url)
        assert place.hostname
        assert place.port
        self._socket = socket.create_connection((place.hostname, place.port), timeout=60)
        self._key = key
        self.headers: dict[bytes, bytes] = {}

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        """Who still reads or writes in another thread is at its end, too."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def head(self, length: int | None, path: str = CHAT, *more: str) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self._key}", *more]
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def drip(self, data: bytes, pause_s: float) -> None:
        """One byte at a time until it is closed."""
        for byte in data:
            try:
                self._socket.sendall(bytes((byte,)))
            except OSError:
                return
            time.sleep(pause_s)

    def answer(self) -> tuple[int, bytes]:
        """Status and body; (0, …) when it was closed without one. `headers` are then the answer's."""
        received = b""
        while b"\r\n\r\n" not in received and (more := self._read()):
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        if not head:
            return 0, b""
        fields = self.headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", 0)) and (more := self._read()):
            body += more
        return int(head.split(b" ")[1]), body

    def rest(self) -> bytes:
        """All that comes until it is closed."""
        return b"".join(iter(self._read, b""))

    def is_closed(self) -> bool:
        return not self._read()

    def _read(self) -> bytes:
        try:
            return self._socket.recv(65_536)
        except ConnectionError:
            return b""


def code_in(body: bytes) -> str:
    answer = json.loads(body)
    return answer["error"]["code"] if "error" in answer else answer["code"]
