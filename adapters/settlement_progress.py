"""Where settlement stands, and which worker owns it, in Postgres. One range holds all buckets."""

from contextlib import suppress

from domain.errors import Unavailable
from domain.ids import BUCKETS
from domain.ports import Database
from domain.settlement import Progress

OWNED_S = 10


class PostgresSettlementProgress:
    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker

    async def own(self) -> bool:
        rows = await self._database.fetch(
            """
            INSERT INTO settlement AS held (bucket_from, bucket_to, owner, owned_until)
            VALUES (0, $1, $2, now() + make_interval(secs => $3))
            ON CONFLICT (bucket_from) DO UPDATE SET owner = excluded.owner, owned_until = excluded.owned_until
            WHERE held.owner = excluded.owner OR held.owned_until < now()
            RETURNING owner
            """,
            BUCKETS,
            self._worker,
            OWNED_S,
        )
        return bool(rows)

    async def disown(self) -> None:
        """Let another worker go on at once; when the database is away, it does so a little later."""
        with suppress(Unavailable):
            await self._database.fetch(
                "UPDATE settlement SET owned_until = '-infinity' WHERE owner = $1 RETURNING owner", self._worker
            )

    async def load(self) -> Progress | None:
        rows = await self._database.fetch(
            "SELECT resume_position, settled_position, evt_position, writers FROM settlement WHERE bucket_from = 0"
        )
        return Progress(**dict(rows[0].items())) if rows else None

    async def save(self, progress: Progress) -> None:
        """An owner that was replaced changes nothing."""
        await self._database.fetch(
            """
            UPDATE settlement SET resume_position = $2, settled_position = $3, evt_position = $4, writers = $5,
                open_requests = $6, open_leases = $7, oldest_open_at = $8, updated_at = now()
            WHERE bucket_from = 0 AND owner = $1
            RETURNING bucket_from
            """,
            self._worker,
            progress.resume_position,
            progress.settled_position,
            progress.evt_position,
            progress.writers,
            progress.open_requests,
            progress.open_leases,
            progress.oldest_open_at,
        )
