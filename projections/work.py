"""A worker: owns its share of all checkpoints and keeps each of them up to date."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from domain.errors import Unavailable
from domain.ports import Database, LogReader
from projections.checkpoints import Fenced, claim_share, create_missing, release
from projections.fold import Folder
from projections.projection import Claim, Projection
from projections.strand import Strand

CLAIM_EVERY_S = 1.0
END_S = 3.0
"""What has not ended by then is left behind: the checkpoint fences it."""

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
        self._running: dict[frozenset[Claim], asyncio.Task[Any]] = {}
        self._folders: dict[frozenset[Claim], Folder] = {}

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
        committed = {claim: at for folder in self._folders.values() for claim, at in folder.committed.items()}
        try:
            owned = await claim_share(self._database, self._name, list(self._projections), self._complete())
        except Unavailable as failure:
            log.warning("projections_keep_claims", reason=str(failure))
            return
        went_back = {claim for claim, at in owned.items() if at < committed.get(claim, 0)}
        if went_back:
            log.warning("projections_went_back", claims=[str(claim) for claim in went_back])
        await self._end({claims for claims, task in self._running.items() if task.done() or claims & went_back})
        groups = self._groups(owned)
        await self._end(self._running.keys() - groups.keys())
        for claims in groups.keys() - self._running.keys():
            strands = [Strand(self._projections[claim.projection], claim) for claim in sorted(claims, key=str)]
            folder = Folder(strands, self._database, self._reader, caught_up=groups[claims])
            self._folders[claims] = folder
            self._running[claims] = asyncio.create_task(folder.run())

    def _groups(self, owned: Iterable[Claim]) -> dict[frozenset[Claim], bool]:
        """Which claims to fold together, and whether they have caught up: then they stand at the same place. One that
        has to catch up, or failed, is alone, so that it holds no other up."""
        ahead = {claim for claims, folder in self._folders.items() if folder.caught_up for claim in claims}
        caught_up = ahead.intersection(owned)
        groups = {frozenset({claim}): False for claim in owned if claim not in caught_up}
        for stream in {claim.stream for claim in caught_up}:
            groups[frozenset(claim for claim in caught_up if claim.stream == stream)] = True
        return groups

    def _complete(self) -> dict[Claim, int]:
        places = {claims: folder.complete_at for claims, folder in self._folders.items()}
        return {claim: place for claims, place in places.items() if place is not None for claim in claims}

    async def _end(self, groups: set[frozenset[Claim]]) -> None:
        tasks = {claims: self._running.pop(claims) for claims in groups}
        for claims in groups:
            del self._folders[claims]
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=END_S)
        for claims, task in tasks.items():
            if not task.done():
                log.error("projection_stuck", claims=sorted(map(str, claims)))
            elif not task.cancelled() and not isinstance(failure := task.exception(), Fenced):
                log.error("projection_failed", claims=sorted(map(str, claims)), exc_info=failure)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
