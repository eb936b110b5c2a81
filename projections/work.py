"""A worker: owns its share of all checkpoints and keeps each of them up to date."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from domain.errors import Unavailable
from domain.ports import Database, LogReader
from projections.checkpoints import Fenced, claim_share, create_missing, release
from projections.fold import Folder
from projections.projection import Claim, Projection

CLAIM_EVERY_S = 1.0

log = structlog.get_logger()


class Worker:
    """`name` is unique among all workers that run."""

    def __init__(
        self, name: str, projections: Sequence[Projection[Any]], database: Database, reader: LogReader
    ) -> None:
        self._name = name
        self._projections = {projection.name: projection for projection in projections}
        self._database = database
        self._reader = reader
        self._running: dict[Claim, asyncio.Task[Any]] = {}
        self._folders: dict[Claim, Folder] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Outages of the log or the database are waited out."""
        try:
            await self._until_created(stop)
            while not stop.is_set():
                await self._claim()
                await _wait(stop, CLAIM_EVERY_S)
        finally:
            await self._end(set(self._running))
            with suppress(Unavailable):
                await release(self._database, self._name)

    async def _until_created(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await create_missing(self._database, list(self._projections.values()))
                break
            except Unavailable as failure:
                log.warning("projections_wait", reason=str(failure))
                await _wait(stop, CLAIM_EVERY_S)

    async def _claim(self) -> None:
        """Start what is ours and does not run, end what is no longer ours."""
        try:
            owned = await claim_share(self._database, self._name, list(self._projections), self._complete())
        except Unavailable as failure:
            log.warning("projections_keep_claims", reason=str(failure))
            return
        ended = {claim for claim, task in self._running.items() if task.done()}
        await self._end(ended | (self._running.keys() - owned))
        for claim in owned - self._running.keys():
            folder = Folder(self._projections[claim.projection], claim, self._database, self._reader)
            self._folders[claim] = folder
            self._running[claim] = asyncio.create_task(folder.run(), name=str(claim))

    def _complete(self) -> dict[Claim, int]:
        positions = {claim: folder.complete_at for claim, folder in self._folders.items()}
        return {claim: position for claim, position in positions.items() if position is not None}

    async def _end(self, claims: set[Claim]) -> None:
        tasks = {claim: self._running.pop(claim) for claim in claims}
        for claim in claims:
            del self._folders[claim]
        for task in tasks.values():
            task.cancel()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for claim, result in zip(tasks, results, strict=True):
            if isinstance(result, Exception) and not isinstance(result, Fenced):
                log.error("projection_failed", claim=str(claim), exc_info=result)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
