"""A limit on how long one send may wait for a client that does not read; a send that need not wait pays for none."""

from collections.abc import Awaitable

from api.in_time import in_time

SLOW_CLIENT_S = 30.0
"""A client that takes nothing for so long is not served any further; its request is still accounted."""


async def is_taken(send: Awaitable[None], limit_s: float = SLOW_CLIENT_S) -> bool:
    """Whether the client took it, as far as can be known."""
    try:
        await in_time(send, limit_s)
    except OSError:  # the connection's, and the TimeoutError of a wait
        return False
    return True
