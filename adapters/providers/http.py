"""Provider calls over HTTP/1.1: one keep-alive pool a provider, and every failure translated once.

Our own, because the call is where a gateway's CPU goes (docs/decisions/0003-provider-http-client.md).
"""

import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from adapters.providers.content_encoding import UnreadableBody, decoder_for
from adapters.providers.http_connection import (
    ConnectionGone,
    CutOff,
    HttpConnection,
    HttpFailure,
    NotConnected,
    NotHttp,
    TimedOut,
)
from adapters.providers.http_pool import HttpPool
from adapters.providers.retry_after import retry_after_s
from adapters.providers.vocabulary import ErrorInAnswer, VendorError
from domain.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable

READ_TIMEOUT_S = 300.0
"""Between two reads: how long a provider may think before its first byte, or pause in a stream."""
MAX_BODY_BYTES = 64 * 1024 * 1024
MESSAGE_CHARS = 500
MAX_PATHS = 1000
"""Whose heads are at hand."""
SENDABLE_TARGET = re.compile(r"/[!-~]*")
SENDABLE_NAME = re.compile(r"[a-z0-9-]+")
SENDABLE_VALUE = re.compile(r"[ -~\x80-\xff]*")
FAILURES = (HttpFailure, UnreadableBody)
SAID: Mapping[type[Exception], tuple[type[ProviderError], str]] = {
    NotConnected: (ProviderUnreachable, "The provider could not be reached."),
    TimedOut: (ProviderTimeout, "The provider did not answer in time."),
    CutOff: (ProviderBroken, "The provider's answer was cut off."),
    NotHttp: (ProviderBroken, "The provider's answer is not valid HTTP."),
    ConnectionGone: (ProviderBroken, "The connection to the provider was lost."),
    UnreadableBody: (ProviderBroken, "The provider's answer is encoded in a way that cannot be read."),
}


ReadError = Callable[[bytes], VendorError | None]


class ProviderHttp:
    """`headers` carry the provider's credentials and go with every call; `read_error` knows how its errors look.
    Redirects are not followed. Raises ValueError for an address or headers that cannot be sent."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        read_error: ReadError,
        *,
        tls: ssl.SSLContext | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.provider = provider
        self._pool = HttpPool(base_url, read_timeout_s, tls)
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._headers = dict(headers)
        self._head = _head_of(self._pool.authority, headers)
        self._heads: dict[str, bytes] = {}
        self._read_error = read_error

    async def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        self._pool.close()

    @property
    def idle_connections(self) -> int:
        """That the next calls can be made on."""
        return self._pool.idle

    async def post(self, path: str, body: bytes, request_id: str) -> bytes:
        """The body of a 2xx answer. Raises the ProviderError family."""
        connection = self._pool.take_idle() or await self._connected()
        try:
            await self._answered(connection, path, body, request_id)
            return await self._whole(connection)
        except FAILURES as failure:
            raise self._translated(failure) from failure
        finally:
            self._pool.give_back(connection)

    async def post_stream(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[bytes]:
        """The chunks of a 2xx answer as they come. Raises the ProviderError family; a cut is never a normal end."""
        connection = self._pool.take_idle() or await self._connected()
        try:
            await self._answered(connection, path, body, request_id)
            decoder = decoder_for(connection.headers.get("content-encoding", ""))
            while chunk := await connection.read():
                for piece in decoder.pieces(chunk):
                    yield piece
            decoder.end()
        except FAILURES as failure:
            raise self._translated(failure) from failure
        finally:
            self._pool.give_back(connection)

    async def _connected(self) -> HttpConnection:
        try:
            return await self._pool.connect()
        except HttpFailure as failure:
            raise self._translated(failure) from failure

    async def _answered(self, connection: HttpConnection, path: str, body: bytes, request_id: str) -> None:
        head = self._heads.get(path) or self._head_for(path)
        connection.send(head + f"{request_id}\r\ncontent-length: {len(body)}\r\n\r\n".encode(), body)
        await connection.answered()
        if not 200 <= connection.status < 300:
            raise await self._refusal(connection)

    def _head_for(self, path: str) -> bytes:
        """All of it up to the request's id."""
        target = self._prefix + path
        if not SENDABLE_TARGET.fullmatch(target):
            raise ProviderBroken(self.provider, "The provider has no such path: it has characters that no path has.")
        if len(self._heads) >= MAX_PATHS:
            self._heads.clear()
        head = self._heads[path] = f"POST {target} HTTP/1.1\r\n".encode() + self._head + b"x-agg-request-id: "
        return head

    async def _whole(self, connection: HttpConnection) -> bytes:
        """Counted as it comes: what a compressed body grows to stands nowhere before."""
        if int(connection.headers.get("content-length", 0)) > MAX_BODY_BYTES:
            raise self._too_large()
        decoder = decoder_for(connection.headers.get("content-encoding", ""))
        pieces: list[bytes] = []
        size = 0
        while chunk := await connection.read():
            for piece in decoder.pieces(chunk):
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise self._too_large()
                pieces.append(piece)
        decoder.end()
        return b"".join(pieces)

    async def _refusal(self, connection: HttpConnection) -> ProviderRefused:
        said = f"The provider answered with status {connection.status}."
        try:
            error = self._read_error(await self._whole(connection)) or VendorError(message=said)
        except FAILURES:
            error = VendorError(message=said)  # its status counts all the same
        return ProviderRefused(
            self.provider,
            self.without_secrets(error.message or said),
            status=connection.status,
            error_type=error.error_type and self.without_secrets(error.error_type),
            code=error.code and self.without_secrets(error.code),
            retry_after_s=retry_after_s(connection.headers, datetime.now(UTC)) or error.retry_after_s,
        )

    def _too_large(self) -> ProviderBroken:
        return ProviderBroken(self.provider, "The provider's answer is larger than 64 MiB.")

    def without_secrets(self, message: str) -> str:
        """A provider's own words, shortened, without the credentials that some of them quote."""
        for value in self._headers.values():
            for secret in filter(None, (value, value.removeprefix("Bearer "))):
                message = message.replace(secret, "***")
        return message[:MESSAGE_CHARS]

    def broken(self, error: ErrorInAnswer) -> ProviderBroken:
        return ProviderBroken(self.provider, self.without_secrets(str(error)))

    def _translated(self, failure: Exception) -> ProviderError:
        kind, message = SAID[type(failure)]
        return kind(self.provider, message)


def _head_of(authority: str, headers: Mapping[str, str]) -> bytes:
    lines = {
        "host": authority,
        "content-type": "application/json",
        "accept": "*/*",
        "accept-encoding": "identity",
        **{name.lower(): value for name, value in headers.items()},
    }
    for name, value in lines.items():
        if not SENDABLE_NAME.fullmatch(name) or not SENDABLE_VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} cannot be sent: it has a line end, or characters that no header has")
    return "".join([f"{name}: {value}\r\n" for name, value in lines.items()]).encode("latin-1")
