"""`agg work`: projections, settlement and timers in one process."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from adapters.faststream_log import open_log
from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.live_leases import LiveLeases
from adapters.log_reader import tail_latest
from adapters.settlement_progress import PostgresSettlementProgress
from api.background import run_for_ever, running
from api.compose import Backbone, now, open_backbone
from api.heap import keep_what_is_loaded
from api.request_id import new_id
from api.settings import Settings
from api.settlement_runner import SettlementRunner
from commands.settle_usage import SettleUsage
from domain.ports import Database
from projections.projection import Projection
from projections.read_models import READ_MODELS
from projections.work import Worker

CONNECTIONS = 12
"""One for each checkpoint that is committing, and some for claims and settlement."""
STATEMENT_TIMEOUT_S = 60.0
LEDGERS = ("evt.*.ledger.*",)


def work(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises StartupError."""
    import uvloop

    uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        opening = open_backbone(settings, "worker", connections=CONNECTIONS, statement_timeout_s=STATEMENT_TIMEOUT_S)
        backbone = await stack.enter_async_context(opening)
        await _settle(backbone, stack)
        keep_what_is_loaded()
        servers = backbone.endpoints.nats_servers
        await run_projections(servers, backbone.database, READ_MODELS, backbone.worker, stop)


async def _settle(backbone: Backbone, stack: AsyncExitStack) -> None:
    log = await stack.enter_async_context(open_log(backbone.endpoints.nats_servers))
    requests = GroupCommitRequestLog(backbone.nats, backbone.worker)
    await requests.open()
    stack.push_async_callback(requests.close)
    progress = PostgresSettlementProgress(backbone.database, backbone.worker)
    leases = LiveLeases()
    settle = SettleUsage(backbone.store, requests, leases, progress, clock=now, new_id=new_id)
    runner = SettlementRunner(settle, progress, log, now)

    async def follow_log() -> None:
        await leases.follow(tail_latest(backbone.nats, "EVT", LEDGERS))

    stack.push_async_callback(progress.disown)
    await stack.enter_async_context(running(run_for_ever("leases", follow_log), run_for_ever("settlement", runner.run)))


async def run_projections(
    nats_servers: list[str],
    database: Database,
    projections: Sequence[Projection[Any]],
    worker_id: str,
    stop: asyncio.Event,
) -> None:
    """Until `stop` is set. Raises Unavailable when the log cannot be reached at first; later outages are waited out."""
    async with open_log(nats_servers) as log:
        await Worker(worker_id, projections, database, log).run(stop)
