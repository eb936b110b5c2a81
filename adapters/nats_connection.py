"""A connection to NATS that comes back by itself, for ever, and says in the log when it went and came."""

import asyncio
import random
import re
import time
from contextlib import suppress
from typing import Any

import structlog
from nats.aio.client import Client

from domain.errors import Unavailable

RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 2
PINGS_MISSED = 2
"""A server that went silent is left after four to six seconds."""
CONNECT_TIMEOUT_S = 2
PATIENCE_S = 10.0
SAME_ERROR_S = 30.0

_log = structlog.get_logger(__name__)
_USERINFO = re.compile(r"//[^/@\s]*@")


async def connect_nats(url: str, name: str, *, patience_s: float = PATIENCE_S) -> Client:
    """`url` may list several servers, separated by commas. Raises Unavailable when none answers in time.

    Nothing is buffered while there is no connection: a publish fails at once, and who sent it decides.
    """
    client = _Client()
    watch = _Watch(client, name)
    servers = [server.strip() for server in url.split(",") if server.strip()]
    random.shuffle(servers)
    try:
        async with asyncio.timeout(patience_s):
            await client.connect(servers, **watch.options())
    except TimeoutError:
        await client.close()
        raise Unavailable(f"The event log cannot be reached: {watch.reason}") from None
    watch.connected()
    return client


async def leave_server(client: Client) -> bool:
    """Connect to the next server of the cluster, if one is known: this one took our bytes and stayed silent.

    Servers are tried in turn: shuffled again, as nats-py does by itself, the next could be the same.
    """
    if len(client.servers) < 2:
        return False
    await client.force_reconnect()
    return True


class _Client(Client):
    async def close(self) -> None:
        """Also while there is no connection: nats-py would try to send what is left, and fail halfway."""
        if not self.is_connected:
            self._pending, self._pending_data_size = [], 0
        with suppress(OSError):
            await super().close()

    async def _attempt_reconnect(self) -> None:
        """Drop the old socket first: nats-py would wait for a dead peer to take what is still unsent."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        await super()._attempt_reconnect()


class _Watch:
    """Reports to the program's log: a change at once, the same failure again only every half minute.

    Nothing before the first connection: who asked for it gets the `reason` with the refusal.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._said = ""
        self._said_at = 0.0
        self._connected = False
        self.reason = "no answer"

    def connected(self) -> None:
        self._connected = True

    def options(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_WAIT_S,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": PINGS_MISSED,
            "dont_randomize": True,
            "pending_size": 0,
            "error_cb": self._failed,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed,
        }

    async def _failed(self, error: Exception) -> None:
        words = self.reason = _USERINFO.sub("//", f"{type(error).__name__}: {error}")
        if not self._connected:
            return
        now = time.monotonic()
        if words != self._said or now - self._said_at > SAME_ERROR_S:
            self._said, self._said_at = words, now
            _log.warning("nats error", connection=self._name, error=words)

    async def _disconnected(self) -> None:
        if not self._client.is_closed:
            _log.warning("nats disconnected", connection=self._name)

    async def _reconnected(self) -> None:
        self._said = ""
        server = self._client.connected_url
        _log.info("nats reconnected", connection=self._name, server=server.hostname if server else None)

    async def _closed(self) -> None:
        _log.debug("nats connection closed", connection=self._name)
