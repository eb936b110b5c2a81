"""Workers ask each other for idle credit. Best effort: what is missed costs a wait, never money."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from domain.ids import AccountId

SUBJECT = "agg.recall"


class NatsCreditRecall:
    def __init__(self, connection: Client, worker: str) -> None:
        self._connection = connection
        self._worker = worker

    async def announce(self, account_id: AccountId) -> None:
        """Every other worker that listens gives back what it can."""
        with suppress(Error, OSError):
            await self._connection.publish(f"{SUBJECT}.{self._worker}", account_id.encode())

    async def listen(self, give_back: Callable[[AccountId], Awaitable[None]]) -> None:
        async def heard(message: Msg) -> None:
            if message.subject != f"{SUBJECT}.{self._worker}":
                await give_back(AccountId(message.data.decode()))

        await self._connection.subscribe(f"{SUBJECT}.*", cb=heard)
