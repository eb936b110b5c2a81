"""Where projections stand, kept in the same transaction as their rows, and who owns which range of buckets."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from domain.ids import BUCKETS, bucket_of
from domain.ports import Connection, Database, Row
from projections.intake import Batch, Known
from projections.projection import Claim, Projection

OWNED_FOR = timedelta(seconds=10)
WRITERS_KEPT = timedelta(days=1)
"""A writer retries for seconds; its last event number is kept for this long after its last event."""
PRUNE_EVERY = 4096
CLAIMING_LOCK = 7_210_001

KEY = "projection, stream, bucket_from"
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


class Move(msgspec.Struct, frozen=True):
    """A claim's step from `old` to the end of its batch."""

    claim: Claim
    old: int
    batch: Batch


MOVE = """
    WITH held AS (
        SELECT kept.projection, kept.bucket_from
        FROM checkpoints AS kept
        JOIN unnest($5::text[], $6::integer[], $7::integer[], $8::bigint[])
            AS told (projection, bucket_from, bucket_to, old) USING (projection, bucket_from, bucket_to)
        WHERE kept.stream = $1 AND kept.owner = $2 AND kept.position = told.old
        ORDER BY kept.projection, kept.bucket_from FOR UPDATE OF kept
    ), moved AS (
        UPDATE checkpoints AS kept
        SET position = $3, updated_at = now(), fresh_at = CASE WHEN $4 THEN now() ELSE kept.fresh_at END,
            owned_until = now() + $20
        FROM held
        WHERE kept.projection = held.projection AND kept.stream = $1 AND kept.bucket_from = held.bucket_from
        RETURNING kept.projection
    ), outcome AS (
        SELECT count(*) = cardinality($5) AS all_moved FROM moved
    ), closed AS (
        DELETE FROM open_requests AS open
        USING outcome, unnest($9::text[], $10::text[]) AS gone (projection, request_id)
        WHERE all_moved AND open.projection = gone.projection AND open.request_id = gone.request_id
        RETURNING open.request_id
    ), opened AS (
        INSERT INTO open_requests (projection, request_id, bucket, position)
        SELECT come.* FROM outcome, unnest($11::text[], $12::text[], $13::integer[], $14::bigint[]) AS come
        WHERE all_moved AND (SELECT count(*) FROM closed) >= 0
    ), noted AS (
        INSERT INTO writer_positions (projection, bucket_from, source, sequence, seen_at)
        SELECT seen.*, $19 FROM outcome, unnest($15::text[], $16::integer[], $17::text[], $18::bigint[]) AS seen
        WHERE all_moved
        ON CONFLICT (projection, bucket_from, source)
        DO UPDATE SET sequence = excluded.sequence, seen_at = excluded.seen_at
    )
    SELECT all_moved, set_config('synchronous_commit', 'off', true) FROM outcome"""


async def move(connection: Connection, moves: Sequence[Move], *, fresh: bool) -> None:
    """Compare and set, all or none, of claims of one owner whose batches end at the same message. Raises Fenced.

    Taken first in a transaction it also locks out rivals until we commit, in an order that all keep; it extends what
    it moves. Requests and writers are noted only when every position was as expected; requests are closed before any
    is opened.

    The commit does not wait for the disk: rows and position lie in one transaction, so a crash of the database takes
    back both or none, and what it took back is read from the log again (`Worker` looks for a position that went back).
    """
    batch = moves[0].batch
    owner, stream = moves[0].claim.owner, moves[0].claim.stream
    claims = [(told.claim.projection, told.claim.bucket_from, told.claim.bucket_to, told.old) for told in moves]
    closed = [(told.claim.projection, ident) for told in moves for ident in told.batch.closed]
    opened = [
        (told.claim.projection, ident, bucket_of(account), position)
        for told in moves
        for ident, (account, position) in told.batch.opened.items()
    ]
    seen = [
        (told.claim.projection, told.claim.bucket_from, source, sequence)
        for told in moves
        for source, sequence in told.batch.writers.items()
    ]
    columns = (*_columns(claims, 4), *_columns(closed, 2), *_columns(opened, 4), *_columns(seen, 4))
    (outcome,) = await connection.fetch(MOVE, stream, owner, batch.last, fresh, *columns, batch.time, OWNED_FOR)
    if not outcome["all_moved"]:
        raise Fenced
    for told in moves:
        if told.batch.first // PRUNE_EVERY != told.batch.last // PRUNE_EVERY:
            await _forget_writers(connection, told)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) or [()] * width


async def _forget_writers(connection: Connection, move: Move) -> None:
    await connection.execute(
        "DELETE FROM writer_positions WHERE projection = $1 AND bucket_from = $2 AND seen_at < $3",
        move.claim.projection,
        move.claim.bucket_from,
        move.batch.time - WRITERS_KEPT,
    )


async def _confirm_fresh(connection: Connection, worker: str, complete: Mapping[Claim, int]) -> None:
    if complete:
        await connection.execute(
            f"""
            WITH free AS MATERIALIZED (
                SELECT {KEY} FROM checkpoints
                JOIN unnest($1::text[], $2::text[], $3::integer[], $4::bigint[])
                    AS seen (projection, stream, bucket_from, position) USING ({KEY}, position)
                WHERE owner = $5 FOR UPDATE OF checkpoints SKIP LOCKED)
            UPDATE checkpoints SET fresh_at = now() WHERE ({KEY}) IN (SELECT {KEY} FROM free)""",  # noqa: S608
            [claim.projection for claim in complete],
            [claim.stream for claim in complete],
            [claim.bucket_from for claim in complete],
            list(complete.values()),
            worker,
        )


async def claim_share(
    database: Database, worker: str, names: Sequence[str], complete: Mapping[Claim, int] | None = None
) -> dict[Claim, int]:
    """Extend what this worker owns, take or give back rows until it has its share; what it owns now, and its position.

    `complete` are claims that stand at the end of their stream: what their rows show is all there is. A row that is
    just being moved is left alone: its owner keeps it by moving it, and nobody here waits for anybody's rows.
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
        missing = -(-count["rows"] // count["workers"]) - count["mine"]
        await connection.execute(GIVE_BACK, worker, names, max(0, -missing))
        await connection.execute(EXTEND, worker, names, max(0, missing), OWNED_FOR)
        owned = await connection.fetch(
            "SELECT * FROM checkpoints WHERE owner = $1 AND projection = ANY($2::text[])", worker, names
        )
        return {_claim(row, worker): row["position"] for row in owned}


GIVE_BACK = f"""
    WITH free AS MATERIALIZED (
        SELECT {KEY} FROM checkpoints WHERE owner = $1 AND projection = ANY($2::text[])
        ORDER BY projection DESC, stream DESC, bucket_from DESC LIMIT $3 FOR UPDATE SKIP LOCKED)
    UPDATE checkpoints SET owner = NULL, owned_until = NULL WHERE ({KEY}) IN (SELECT {KEY} FROM free)"""  # noqa: S608
EXTEND = f"""
    WITH mine AS MATERIALIZED (
        SELECT {KEY} FROM checkpoints WHERE owner = $1 AND projection = ANY($2::text[]) FOR UPDATE SKIP LOCKED
    ), taken AS MATERIALIZED (
        SELECT {KEY} FROM checkpoints
        WHERE projection = ANY($2::text[]) AND owner IS DISTINCT FROM $1 AND (owner IS NULL OR owned_until < now())
        ORDER BY {KEY} LIMIT $3 FOR UPDATE SKIP LOCKED)
    UPDATE checkpoints SET owner = $1, owned_until = now() + $4
    WHERE ({KEY}) IN (SELECT {KEY} FROM mine UNION ALL SELECT {KEY} FROM taken)"""  # noqa: S608


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
