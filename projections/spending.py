"""What was charged to a key, to an account, or for a name that its callers ask for. Sums are in nano-USD.

`usage` knows who answered, `route_spend` by what route. A name's spend is what it answered as a model, by whatever way,
and what was charged to those who asked for it as a route, or came to it from a route that falls back to it and were
answered by one of its deployments, as they are declared now. So a model may be counted too high, for routes lead to it
that are not asked for by its name; what came to a fallback in vain, and was answered further on, is not counted there.
"""

from datetime import datetime

from domain.ids import AccountId
from domain.ports import Database

OF_KEY = "SELECT coalesce(sum(cost_nanos), 0)::bigint AS spent FROM usage WHERE key_id = $1 AND hour >= $2"
OF_ACCOUNT = "SELECT coalesce(sum(cost_nanos), 0)::bigint AS spent FROM usage WHERE account_id = $1 AND hour >= $2"
OF_NAME = """
    WITH RECURSIVE way AS (
        SELECT $2::text AS route
        UNION
        SELECT routes.name FROM routes JOIN way ON way.route = ANY (routes.fallbacks)
    ), as_model AS (
        SELECT sum(cost_nanos) AS spent FROM usage
        WHERE account_id = $1 AND hour >= $3 AND $2 IN (model, provider || '/' || model)
    ), as_route AS (
        SELECT sum(cost_nanos) AS spent FROM route_spend
        WHERE account_id = $1 AND route = ANY (ARRAY(SELECT way.route FROM way))
          AND hour >= $3 AND $2 NOT IN (model, provider || '/' || model)
          AND (route = $2 OR deployment = ANY (ARRAY(SELECT unnest(deployments) FROM routes WHERE name = $2)))
    )
    SELECT (coalesce(as_model.spent, 0) + coalesce(as_route.spent, 0))::bigint AS spent FROM as_model, as_route"""


async def account_of(database: Database, key_id: str) -> AccountId | None:
    """Whose key it is; None when nobody has heard of it."""
    rows = await database.fetch("SELECT account_id FROM keys WHERE key_id = $1", key_id)
    return AccountId(rows[0]["account_id"]) if rows else None


async def spent_by_key(database: Database, key_id: str, start: datetime) -> int:
    """In the hours that begin at `start` or later, as are those below; an hour is that of the end."""
    return (await database.fetch(OF_KEY, key_id, start))[0]["spent"]


async def spent_by_account(database: Database, account_id: AccountId, start: datetime) -> int:
    return (await database.fetch(OF_ACCOUNT, account_id, start))[0]["spent"]


async def spent_on_name(database: Database, account_id: AccountId, name: str, start: datetime) -> int:
    """`name` is a model (also `provider/model`), a route, or both. Of routes an hour is that of the admission, as it is
    for the limits themselves."""
    return (await database.fetch(OF_NAME, account_id, name, start))[0]["spent"]
