"""Provider calls over HTTP/1.1: one keep-alive pool a provider, and every failure translated once.

aiohttp rather than httpx: the same call costs 70 µs of CPU instead of 900, and a cancelled call closes its upstream
connection at once (docs/decisions/0003-provider-http-client.md).
"""

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from adapters.providers.retry_after import retry_after_s
from adapters.providers.vocabulary import ErrorInAnswer, VendorError
from domain.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 300.0
"""Between two reads: how long a provider may think before its first byte, or pause in a stream."""
KEEP_ALIVE_S = 20.0
MAX_CONNECTIONS = 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
MESSAGE_CHARS = 500


ReadError = Callable[[bytes], VendorError | None]


class ProviderHttp:
    """`headers` carry the provider's credentials and go with every call; `read_error` knows how its errors look.
    Redirects are not followed."""

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
        self._base = base_url.rstrip("/")
        self._headers = dict(headers)
        self._read_error = read_error
        self._tls = tls
        self._read_timeout_s = read_timeout_s
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ssl=True if self._tls is None else self._tls
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=True,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept-encoding", "user-agent"),
            headers={**self._headers, "accept-encoding": "identity", "content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._read_timeout_s),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: bytes, request_id: str) -> bytes:
        """The body of a 2xx answer. Raises the ProviderError family."""
        async with self._answer(path, body, request_id) as answer:
            return await self._read(answer)

    async def post_stream(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[bytes]:
        """The chunks of a 2xx answer as they come. Raises the ProviderError family; a cut is never a normal end."""
        async with self._answer(path, body, request_id) as answer:
            async for chunk in answer.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def _answer(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None, "open() comes first"
        url = self._urls.get(path) or self._urls.setdefault(path, URL(self._base + path, encoded=True))
        try:
            async with self._session.post(
                url, data=body, headers={"x-agg-request-id": request_id}, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise await self._refusal(answer)
                yield answer
        except ProviderError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._translated(error) from error

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        """Counted as it comes: what a compressed body grows to stands nowhere before."""
        too_large = ProviderBroken(self.provider, "The provider's answer is larger than 64 MiB.")
        if (answer.content_length or 0) > MAX_BODY_BYTES:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise too_large
            pieces.append(piece)
        return b"".join(pieces)

    async def _refusal(self, answer: aiohttp.ClientResponse) -> ProviderRefused:
        said = f"The provider answered with status {answer.status}."
        error = self._read_error(await self._read(answer)) or VendorError(message=said)
        return ProviderRefused(
            self.provider,
            self.without_secrets(error.message or said),
            status=answer.status,
            error_type=error.error_type and self.without_secrets(error.error_type),
            code=error.code and self.without_secrets(error.code),
            retry_after_s=retry_after_s(answer.headers, datetime.now(UTC)) or error.retry_after_s,
        )

    def without_secrets(self, message: str) -> str:
        """A provider's own words, shortened, without the credentials that some of them quote."""
        for value in self._headers.values():
            for secret in (value, value.removeprefix("Bearer ")):
                message = message.replace(secret, "***")
        return message[:MESSAGE_CHARS]

    def broken(self, error: ErrorInAnswer) -> ProviderBroken:
        return ProviderBroken(self.provider, self.without_secrets(str(error)))

    def _translated(self, error: Exception) -> ProviderError:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return ProviderUnreachable(self.provider, "The provider could not be reached.")
        if isinstance(error, TimeoutError):
            return ProviderTimeout(self.provider, "The provider did not answer in time.")
        if isinstance(error, aiohttp.ClientPayloadError):
            return ProviderBroken(self.provider, "The provider's answer was cut off.")
        if isinstance(error, aiohttp.ClientResponseError):
            return ProviderBroken(self.provider, "The provider's answer is not valid HTTP.")
        return ProviderBroken(self.provider, "The connection to the provider was lost.")
