"""Keep-alive connections to one provider."""

import asyncio
import contextlib
import socket
import ssl
from functools import lru_cache
from urllib.parse import urlsplit

import aiohappyeyeballs

from adapters.providers.http_connection import CutOff, HttpConnection, NotConnected, TimedOut

CONNECT_TIMEOUT_S = 5.0
"""For the name, the connection and its TLS handshake together."""
NEXT_ADDRESS_S = 0.25
"""Until the next of several addresses is tried beside one that does not answer (RFC 8305)."""
KEEP_ALIVE_S = 20.0
MAX_CONNECTIONS = 1024
SWEEPS_A_TIMEOUT = 4
LONGEST_SWEEP_S = 1.0


class HttpPool:
    """`read_timeout_s` is how long a provider may be silent while it is waited for; one timer looks after all calls, so
    it may take a quarter more. `tls`: None trusts what this machine trusts."""

    def __init__(self, base_url: str, read_timeout_s: float, tls: ssl.SSLContext | None) -> None:
        """Raises ValueError for what is no http or https address."""
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("a provider's address begins with http:// or https:// and names a host")
        self.authority = url.netloc.rpartition("@")[2].encode("idna").decode("ascii")
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = (tls or trusted()) if url.scheme == "https" else None
        self._read_timeout_s = read_timeout_s
        self._busy: set[HttpConnection] = set()
        self._idle: list[HttpConnection] = []
        self._connecting = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        self._is_open = True
        self._sweep()

    def close(self) -> None:
        """Calls under way end as if their connection was lost."""
        self._is_open = False
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._busy:
            connection.fail(CutOff())
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    @property
    def idle(self) -> int:
        return sum(connection.is_reusable for connection in self._idle)

    def take_idle(self) -> HttpConnection | None:
        """The one used last. Give it back."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                self._busy.add(connection)
                return connection
            connection.abort()
        return None

    async def connect(self) -> HttpConnection:
        """A new one. Give it back. Raises NotConnected."""
        if not self._is_open or len(self._busy) + self._connecting >= MAX_CONNECTIONS:
            raise NotConnected("too many calls are under way")
        self._connecting += 1
        try:
            connection = await self._connected()
        finally:
            self._connecting -= 1
        if not self._is_open:
            connection.abort()
            raise NotConnected("closed meanwhile")
        self._busy.add(connection)
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """An answer that was not read to its end takes its connection with it."""
        self._busy.discard(connection)
        if connection.is_reusable and self._is_open:
            connection.begin_idling()
            self._idle.append(connection)
        else:
            connection.abort()

    async def _connected(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                wire = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1
                )
                with contextlib.suppress(OSError):
                    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                host = self._host if self._tls else None
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(loop), sock=wire, ssl=self._tls, server_hostname=host
                )
        except (OSError, TimeoutError) as error:
            raise NotConnected from error
        return connection

    def _sweep(self) -> None:
        """Silent calls fail, and what was idle for too long is closed."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in tuple(self._busy):
            since_s = connection.waits_since_s
            if since_s is not None and now_s - since_s > self._read_timeout_s:
                connection.fail(TimedOut())
        fresh = [one for one in self._idle if one.is_reusable and now_s - one.idle_since_s < KEEP_ALIVE_S]
        for connection in set(self._idle).difference(fresh):
            connection.abort()
        self._idle = fresh
        self._sweeper = loop.call_later(min(LONGEST_SWEEP_S, self._read_timeout_s / SWEEPS_A_TIMEOUT), self._sweep)


@lru_cache(maxsize=1)
def trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
