"""Does NATS sync every write before it acknowledges it? Asked through an ordinary connection.

The only place where a server says so is its JetStream report, which belongs to the system account. An account may see
it when the system account exports it (the embedded configuration and compose.yaml do):

    SYS { exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream, accounts: [AGG] }] }
    AGG { imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }] }
"""

from collections.abc import AsyncIterator

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError

REPORT = "$SYS.REQ.SERVER.PING.JSZ"
CONNECT_TIMEOUT_S = 5
FIRST_ANSWER_S = 2.0
FURTHER_ANSWERS_S = 0.3


class _Storage(msgspec.Struct):
    sync_always: bool = False


class _JetStream(msgspec.Struct):
    config: _Storage = msgspec.field(default_factory=_Storage)
    disabled: bool = False


class _Server(msgspec.Struct):
    name: str


class _Report(msgspec.Struct):
    server: _Server
    data: _JetStream | None = None


async def verify_durability(nats_url: str) -> str | None:
    """None when every server that answers syncs always; else one line that says what is wrong and what to do.

    `nats_url` may list several servers, separated by commas. Raises nothing: no connection is an answer too.
    """
    servers = [url.strip() for url in nats_url.split(",")]
    try:
        client = await nats.connect(
            servers, connect_timeout=CONNECT_TIMEOUT_S, allow_reconnect=False, reconnect_time_wait=0, error_cb=_quiet
        )
    except (Error, OSError, TimeoutError) as failure:
        return f"NATS cannot be reached: {failure}"
    try:
        return verdict([msgspec.json.decode(answer.data, type=_Report) async for answer in _ask(client)])
    finally:
        await client.close()


def verdict(reports: list[_Report]) -> str | None:
    """Of the answers of all servers, those without JetStream left aside."""
    storing = [report for report in reports if report.data and not report.data.disabled]
    if not storing:
        return (
            f"NATS does not show whether it syncs every write: let its system account export {REPORT} to ours "
            f"(see compose.yaml), or set AGG_DURABILITY=relaxed"
        )
    lazy = sorted(report.server.name for report in storing if report.data and not report.data.config.sync_always)
    if lazy:
        return (
            f"NATS server {', '.join(lazy)} acknowledges writes that are not on disk: set `sync_interval: always` "
            f"in its jetstream block, or set AGG_DURABILITY=relaxed"
        )
    return None


async def _ask(client: Client) -> AsyncIterator[Msg]:
    """Every server of the cluster answers for itself; the end is a short silence."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(REPORT, b"", reply=inbox)
    patience_s = FIRST_ANSWER_S
    while True:
        try:
            answer = await subscription.next_msg(timeout=patience_s)
        except (TimeoutError, NoRespondersError):
            return
        if answer.headers and answer.headers.get("Status") == "503":
            return
        yield answer
        patience_s = FURTHER_ANSWERS_S


async def _quiet(error: Exception) -> None:
    """The failed connection is reported by the caller."""
