"""`agg work`: projections, settlement and timers in one process."""

import asyncio
import signal
from contextlib import AsyncExitStack

from adapters.faststream_log import open_log
from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.live_leases import LiveLeases
from adapters.log_reader import tail_latest
from adapters.settlement_progress import PostgresSettlementProgress
from api.background import run_for_ever, running
from api.compose import Backbone, now, open_backbone
from api.logs import configure_logs
from api.request_id import new_id
from api.settings import Settings
from api.settlement_runner import SettlementRunner
from commands.settle_usage import SettleUsage
from domain.ports import LogReader
from projections.read_models import READ_MODELS
from projections.work import Worker

LEDGERS = ("evt.*.ledger.*",)


def work(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises StartupError."""
    import uvloop

    configure_logs(settings)
    uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        backbone = await stack.enter_async_context(open_backbone(settings, "worker"))
        log = await stack.enter_async_context(open_log(backbone.endpoints.nats_url.split(",")))
        await _settle(backbone, log, stack)
        await Worker(backbone.worker, READ_MODELS, backbone.database, log).run(stop)


async def _settle(backbone: Backbone, log: LogReader, stack: AsyncExitStack) -> None:
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
