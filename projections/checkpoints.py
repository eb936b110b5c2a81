"""Where projections stand, kept in the same transaction as their rows, and who owns which range of buckets."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from domain.ids import BUCKETS, bucket_of
from domain.ports import Connection, Database, Row
from projections.intake import Batch, Known
from projections.projection import Claim, Projection

OWNED_FOR = timedelta(seconds=10)
WRITERS_KEPT = timedelta(days=1)
"""A writer retries for seconds; its last event number is kept for this long after its last event."""
PRUNE_EVERY = 4096
CLAIMING_LOCK = 7_210_001

WHERE_CLAIM = "projection = $1 AND stream = $2 AND bucket_from = $3 AND bucket_to = $4"


class Fenced(Exception):
    """Someone else moved the checkpoint or owns it now: what was not committed is void."""


def _claim_args(claim: Claim) -> tuple[object, ...]:
    return claim.projection, claim.stream, claim.bucket_from, claim.bucket_to


async def create_missing(database: Database, projections: Sequence[Projection[Any]]) -> None:
    """Every stream of a projection starts as one row for all buckets."""
    pairs = [(projection.name, stream) for projection in projections for stream in projection.streams]
    query = """
        INSERT INTO checkpoints (projection, stream, bucket_from, bucket_to)
        SELECT p, s, 0, $3 FROM unnest($1::text[], $2::text[]) AS wanted (p, s)
        WHERE NOT EXISTS (SELECT FROM checkpoints WHERE projection = p AND stream = s)
        ON CONFLICT DO NOTHING"""
    async with database.transaction() as connection:
        await connection.execute(query, [name for name, _ in pairs], [stream for _, stream in pairs], BUCKETS)


LOAD = f"SELECT position FROM checkpoints WHERE {WHERE_CLAIM} AND owner = $5 FOR SHARE"  # noqa: S608  (constants)
MOVE = f"""
    UPDATE checkpoints
    SET position = $5, updated_at = now(), fresh_at = CASE WHEN $6 THEN now() ELSE fresh_at END
    WHERE {WHERE_CLAIM} AND position = $7 AND owner = $8"""  # noqa: S608
CUT = f"UPDATE checkpoints SET bucket_to = $5, owner = NULL, owned_until = NULL WHERE {WHERE_CLAIM}"  # noqa: S608


async def load(database: Database, claim: Claim) -> tuple[int, Known]:
    """The position and what goes with it, as of one instant. Raises Fenced when the claim is no longer the owner's."""
    async with database.transaction() as connection:
        found = await connection.fetch(LOAD, *_claim_args(claim), claim.owner)
        if not found:
            raise Fenced
        return found[0]["position"], await _load_known(connection, claim)


async def _load_known(connection: Connection, claim: Claim) -> Known:
    """Requests are of the request log only; so are writers' numbers."""
    ranged = claim.projection, claim.bucket_from, claim.bucket_to
    parked = await connection.fetch(
        "SELECT DISTINCT account_id FROM parked_events"
        " WHERE projection = $1 AND bucket >= $2 AND bucket < $3 AND account_id <> ''",
        *ranged,
    )
    known = Known(parked_accounts={row["account_id"] for row in parked})
    if claim.stream == "REQ":
        opened = await connection.fetch(
            "SELECT request_id FROM open_requests WHERE projection = $1 AND bucket >= $2 AND bucket < $3", *ranged
        )
        writers = await connection.fetch(
            "SELECT source, sequence FROM writer_positions WHERE projection = $1 AND bucket_from = $2",
            claim.projection,
            claim.bucket_from,
        )
        known.open_requests = {row["request_id"] for row in opened}
        known.writers = {row["source"]: row["sequence"] for row in writers}
    return known


async def move(connection: Connection, claim: Claim, old: int, batch: Batch, *, fresh: bool) -> None:
    """Compare and set. Taken first in a transaction it also locks out a rival until we commit. Raises Fenced."""
    if not await connection.execute(MOVE, *_claim_args(claim), batch.last, fresh, old, claim.owner):
        raise Fenced
    await _note_requests(connection, claim, batch)
    await _note_writers(connection, claim, batch)


async def _note_requests(connection: Connection, claim: Claim, batch: Batch) -> None:
    if batch.closed:
        await connection.execute(
            "DELETE FROM open_requests WHERE projection = $1 AND request_id = ANY($2::text[])",
            claim.projection,
            batch.closed,
        )
    if batch.opened:
        opened = batch.opened.items()
        rows = [(claim.projection, ident, bucket_of(account), position) for ident, (account, position) in opened]
        await connection.copy("open_requests", ("projection", "request_id", "bucket", "position"), rows)


async def _note_writers(connection: Connection, claim: Claim, batch: Batch) -> None:
    if batch.writers:
        await connection.execute(
            """
            INSERT INTO writer_positions (projection, bucket_from, source, sequence, seen_at)
            SELECT $1, $2, source, sequence, $5 FROM unnest($3::text[], $4::bigint[]) AS seen (source, sequence)
            ON CONFLICT (projection, bucket_from, source)
            DO UPDATE SET sequence = excluded.sequence, seen_at = excluded.seen_at""",
            claim.projection,
            claim.bucket_from,
            list(batch.writers),
            list(batch.writers.values()),
            batch.time,
        )
    if batch.first // PRUNE_EVERY != batch.last // PRUNE_EVERY:
        await connection.execute(
            "DELETE FROM writer_positions WHERE projection = $1 AND bucket_from = $2 AND seen_at < $3",
            claim.projection,
            claim.bucket_from,
            batch.time - WRITERS_KEPT,
        )


async def _confirm_fresh(connection: Connection, worker: str, complete: Mapping[Claim, int]) -> None:
    if complete:
        await connection.execute(
            """
            UPDATE checkpoints AS kept SET fresh_at = now()
            FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[]) AS seen (projection, stream, start, at)
            WHERE kept.projection = seen.projection AND kept.stream = seen.stream AND kept.bucket_from = seen.start
                AND kept.position = seen.at AND kept.owner = $5""",
            [claim.projection for claim in complete],
            [claim.stream for claim in complete],
            [claim.bucket_from for claim in complete],
            list(complete.values()),
            worker,
        )


async def claim_share(
    database: Database, worker: str, names: Sequence[str], complete: Mapping[Claim, int] | None = None
) -> set[Claim]:
    """Extend what this worker owns, take or give back rows until it has its share; what it owns now.

    `complete` are claims that stand at the end of their stream: what their rows show is all there is.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", CLAIMING_LOCK)
        await connection.execute(
            "INSERT INTO workers VALUES ($1, now() + $2)"
            " ON CONFLICT (worker) DO UPDATE SET seen_until = excluded.seen_until",
            worker,
            OWNED_FOR,
        )
        await connection.execute("DELETE FROM workers WHERE seen_until < now()")
        await _confirm_fresh(connection, worker, complete or {})
        (count,) = await connection.fetch(
            "SELECT (SELECT count(*) FROM workers) AS workers, count(*) AS rows,"
            " count(*) FILTER (WHERE owner = $1) AS mine FROM checkpoints WHERE projection = ANY($2::text[])",
            worker,
            names,
        )
        share = -(-count["rows"] // count["workers"])
        if count["mine"] > share:
            await _give_back(connection, worker, names, count["mine"] - share)
        return {_claim(row, worker) for row in await _extend(connection, worker, names, share)}


async def _extend(connection: Connection, worker: str, names: Sequence[str], share: int) -> list[Row]:
    return await connection.fetch(
        """
        UPDATE checkpoints SET owner = $1, owned_until = now() + $2
        WHERE (projection, stream, bucket_from) IN (
            SELECT projection, stream, bucket_from FROM checkpoints
            WHERE projection = ANY($3::text[]) AND (owner IS NULL OR owner = $1 OR owned_until < now())
            ORDER BY owner IS DISTINCT FROM $1, projection, stream, bucket_from LIMIT $4)
        RETURNING projection, stream, bucket_from, bucket_to""",
        worker,
        OWNED_FOR,
        names,
        share,
    )


async def _give_back(connection: Connection, worker: str, names: Sequence[str], surplus: int) -> None:
    await connection.execute(
        """
        UPDATE checkpoints SET owner = NULL, owned_until = NULL
        WHERE (projection, stream, bucket_from) IN (
            SELECT projection, stream, bucket_from FROM checkpoints WHERE owner = $1 AND projection = ANY($2::text[])
            ORDER BY projection DESC, stream DESC, bucket_from DESC LIMIT $3)""",
        worker,
        names,
        surplus,
    )


async def release(database: Database, worker: str) -> None:
    """Give everything back at once, so that nobody waits for it to lapse."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE checkpoints SET owner = NULL, owned_until = NULL WHERE owner = $1", worker)
        await connection.execute("DELETE FROM workers WHERE worker = $1", worker)


async def split(database: Database, claim: Claim, at: int) -> None:
    """Make two rows of one, both where the one was. What it knew of writers holds for both. Raises Fenced."""
    async with database.transaction() as connection:
        if not await connection.execute(CUT, *_claim_args(claim), at):
            raise Fenced
        await connection.execute(
            "INSERT INTO checkpoints (projection, stream, bucket_from, bucket_to, position, fresh_at)"
            " SELECT projection, stream, $4, $5, position, fresh_at FROM checkpoints"
            " WHERE projection = $1 AND stream = $2 AND bucket_from = $3",
            claim.projection,
            claim.stream,
            claim.bucket_from,
            at,
            claim.bucket_to,
        )
        await connection.execute(
            "INSERT INTO writer_positions (projection, bucket_from, source, sequence, seen_at)"
            " SELECT projection, $3, source, sequence, seen_at FROM writer_positions"
            " WHERE projection = $1 AND bucket_from = $2",
            claim.projection,
            claim.bucket_from,
            at,
        )


def _claim(row: Row, owner: str) -> Claim:
    return Claim(row["projection"], row["stream"], row["bucket_from"], row["bucket_to"], owner)
