"""What readers are shown: queries over tables that were built from a history."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import pytest_asyncio

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import PostgresDatabase
from domain.errors import BehindPosition, InvalidInput, NotFound
from domain.ids import AccountId, RequestId, UserId, bucket_of
from projections.balances import BALANCES, Balance, read_balance
from projections.directory import find_account, find_user, list_keys
from projections.event_archive import read_archive
from projections.lag import read_lags
from projections.ledger_entries import LEDGER_ENTRIES, balance_as_of, list_entries
from projections.logins import list_logins
from projections.positions import read_positions, wait_for
from projections.read_models import READ_MODELS
from projections.request_attempts import list_attempts, locate_attempts
from projections.requests import (
    REQUESTS,
    RequestSearch,
    find_request,
    search_requests,
)
from projections.usage import COUNTERS, GROUPS, USAGE, read_usage
from tests import money
from tests.histories import ACCOUNTS, NOON, ListedLog, everyday_story, request_message, request_messages
from tests.integration.test_folding import build
from tests.read_models import read_models

ACCOUNT = AccountId("acc_00000003")
STRANGER = AccountId("acc_nobody")
BEFORE, AFTER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(servers: ServiceEndpoints) -> AsyncGenerator[PostgresDatabase]:
    async with read_models(servers.database) as opened:
        await build(opened, ListedLog([*await everyday_story(), *request_messages(4000, batch=64)]), READ_MODELS)
        yield opened


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("group_by", GROUPS)
async def test_usage_adds_up_to_the_same_totals_however_it_is_grouped(
    database: PostgresDatabase, group_by: str
) -> None:
    report = await read_usage(database, ACCOUNT, BEFORE, AFTER, group_by)  # type: ignore[arg-type]
    by_day = await read_usage(database, ACCOUNT, BEFORE, AFTER, "day")

    assert report.totals == by_day.totals
    assert report.totals.requests > 50
    for name in COUNTERS:
        assert getattr(report.totals, name) == sum(getattr(row, name) for row in report.rows)
    assert [row.group for row in report.rows] == sorted(row.group for row in report.rows)


async def test_usage_of_a_span_is_that_of_the_hours_that_begin_in_it(database: PostgresDatabase) -> None:
    nothing = await read_usage(database, ACCOUNT, BEFORE, datetime(2026, 11, 1, tzinfo=UTC), "hour")
    first_hour = await read_usage(
        database, ACCOUNT, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 1, 1, tzinfo=UTC), "hour"
    )

    assert nothing.rows == [] and nothing.totals.requests == 0
    assert [row.group for row in first_hour.rows] == ["2026-11-01T00:00:00Z"]


async def test_usage_and_requests_agree(database: PostgresDatabase) -> None:
    report = await read_usage(database, ACCOUNT, BEFORE, AFTER)
    page = await search_requests(database, ACCOUNT, RequestSearch(limit=200))
    ended = [row for row in page.rows if row.status != "open"]

    assert page.next_cursor is None
    assert len(ended) == report.totals.requests
    assert sum(row.cost_nanos or 0 for row in ended) == report.totals.cost_nanos
    assert sum(row.tokens.output for row in ended if row.tokens) == report.totals.output


async def test_a_routed_request_shows_its_choice_and_its_attempts(servers: ServiceEndpoints) -> None:
    choice = msgspec.Raw(b'{"strategy": "weighted", "chosen": "d1", "considered": [{"name": "d1", "weight": 3}]}')
    admitted = msgspec.structs.replace(money.admitted("r"), route="fast", choice=choice)
    lost = msgspec.structs.replace(money.attempted("r", 2), error_kind="hedged", evidence="estimated")
    attempts = [money.attempted("r", 1), lost]
    end = msgspec.structs.replace(money.completed("r", 5), attempts=3, deployment="d3", hedged=True)
    log = [
        request_message(1, [admitted, attempts[0]]),
        request_message(2, [attempts[1]], first=3),
        request_message(3, [end], first=4),
    ]
    account, ident = money.ACCOUNT, admitted.request_id
    async with read_models(servers.database) as opened:
        await build(opened, ListedLog(log, chunk=1), [REQUESTS])
        row = await find_request(opened, account, ident)
        shown = await list_attempts(opened, account, ident)

        assert (row.route, row.attempts, row.deployment, row.hedged, row.cost_nanos) == ("fast", 3, "d3", True, 5)
        assert row.choice["considered"] == [{"name": "d1", "weight": 3}]
        assert [(each.number, each.deployment, each.error_kind, each.cost_nanos, each.evidence) for each in shown] == [
            *((1, "d1", "refused", 4, "reported"), (2, "d2", "hedged", 4, "estimated"))
        ]
        assert await list_attempts(opened, STRANGER, ident) == []
        assert await locate_attempts(opened, ident) == [1, 2]


async def test_an_answer_from_the_cache_is_a_request_that_says_what_it_saved(servers: ServiceEndpoints) -> None:
    free, dear = money.cached("r1"), msgspec.structs.replace(money.cached("r2", 5, "l1"), route="fast", similarity=0.97)
    log = [
        request_message(1, [free, money.admitted("r3")]),
        request_message(2, [dear, money.completed("r1", 9)], first=3),
        request_message(3, [money.cached("r3", 7), money.completed("r3", 2)], first=5),
    ]
    async with read_models(servers.database) as opened:
        await build(opened, ListedLog(log, chunk=1), [REQUESTS, USAGE])
        rows = {row.request_id: row for row in (await search_requests(opened, money.ACCOUNT, RequestSearch())).rows}
        used = await read_usage(opened, money.ACCOUNT, datetime(2026, 1, 1, tzinfo=UTC), AFTER)

    assert {ident: (row.cost_nanos, row.saved_nanos, row.similarity) for ident, row in rows.items()} == {
        "r1": (0, 90, None),
        "r2": (5, 90, 0.97),
        "r3": (2, None, None),
    }
    assert (rows["r2"].route, rows["r2"].choice, rows["r2"].lease_id, rows["r1"].lease_id) == ("fast", None, "l1", "")
    assert {row.status for row in rows.values()} == {"completed"}
    assert (used.totals.requests, used.totals.failed, used.totals.cost_nanos) == (3, 0, 7)


async def test_pages_of_requests_follow_each_other_newest_first(database: PostgresDatabase) -> None:
    everything = (await search_requests(database, ACCOUNT, RequestSearch(limit=200))).rows
    paged: list[str] = []
    cursor = None
    while True:
        page = await search_requests(database, ACCOUNT, RequestSearch(limit=7, cursor=cursor))
        paged += [row.request_id for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert paged == [row.request_id for row in everything]
    assert [row.admitted_position for row in everything] == sorted(
        (row.admitted_position for row in everything), reverse=True
    )


async def test_requests_are_found_by_model_status_and_time(database: PostgresDatabase) -> None:
    everything = (await search_requests(database, ACCOUNT, RequestSearch(limit=200))).rows
    middle = everything[len(everything) // 2].admitted_at
    search = RequestSearch(limit=200, model="gpt-4o", status="completed", end=middle)
    found = (await search_requests(database, ACCOUNT, search)).rows

    assert found
    assert found == [
        row for row in everything if row.model == "gpt-4o" and row.status == "completed" and row.admitted_at < middle
    ]


async def test_another_accounts_things_are_not_there(database: PostgresDatabase) -> None:
    (row, *_) = (await search_requests(database, ACCOUNT, RequestSearch(limit=1))).rows
    request_id = RequestId(row.request_id)

    assert (await find_request(database, ACCOUNT, request_id)) == row
    with pytest.raises(NotFound):
        await find_request(database, STRANGER, request_id)
    with pytest.raises(NotFound):
        await find_user(database, STRANGER, UserId("user_0"))
    with pytest.raises(NotFound):
        await find_account(database, STRANGER)
    assert (await search_requests(database, STRANGER, RequestSearch())).rows == []
    assert (await list_keys(database, STRANGER)).rows == []
    assert (await list_entries(database, STRANGER)).rows == []
    assert (await list_logins(database, STRANGER, UserId("user_0"))).rows == []
    assert (await read_usage(database, STRANGER, BEFORE, AFTER)).rows == []


async def test_a_balance_and_its_ledger_agree_at_any_instant(database: PostgresDatabase) -> None:
    account = ACCOUNTS[2]
    balance = await read_balance(database, account)
    entries = (await list_entries(database, account)).rows
    hours = [await balance_as_of(database, account, NOON + timedelta(hours=hour, minutes=-1)) for hour in range(5)]

    assert balance.balance_nanos == entries[0].balance_after_nanos == sum(entry.amount_nanos for entry in entries)
    assert (balance.leased_nanos, balance.available_nanos, balance.settled_to) == (500, 4_003, 22)
    assert hours == [0, 5_002, 4_702, 4_502, 4_503]
    assert all(sum(leg.amount_nanos for leg in entry.legs) == 0 for entry in entries)
    assert await read_balance(database, STRANGER) == Balance(account_id=STRANGER)


async def test_ledger_pages_follow_each_other(database: PostgresDatabase) -> None:
    first = await list_entries(database, ACCOUNTS[0], limit=3)
    rest = await list_entries(database, ACCOUNTS[0], limit=3, cursor=first.next_cursor)

    assert [len(first.rows), len(rest.rows)] == [3, 1]
    assert rest.next_cursor is None
    assert first.rows[-1].position > rest.rows[0].position
    with pytest.raises(InvalidInput):
        await list_entries(database, ACCOUNTS[0], cursor="nonsense")


async def test_people_keys_and_logins(database: PostgresDatabase) -> None:
    account, user = ACCOUNTS[4], UserId("user_4")
    found = await find_user(database, account, user)
    live = (await list_keys(database, account)).rows
    ever = (await list_keys(database, account, revoked=True)).rows
    logins = (await list_logins(database, account, user)).rows

    assert (found.name_sealed, found.role) == ("n2", "member")
    assert (await find_account(database, account)).owner == user
    assert [key.key_id for key in live] == [f"key_{account}_2", f"key_{account}_0"]
    assert [key.revoked_at for key in ever] == [None, NOON, None]
    assert [login.session_id for login in logins] == ["user_4_2", "user_4_1", "user_4_0"]
    assert [(login.refreshes, login.end_reason) for login in logins] == [(0, None), (0, "logout"), (1, None)]


async def test_the_catalogue_shows_the_last_listing_and_every_price(database: PostgresDatabase) -> None:
    models = await database.fetch("SELECT model, context_length FROM models ORDER BY model")
    prices = await database.fetch("SELECT model, rates FROM prices ORDER BY model, price_id")

    assert [tuple(row.values()) for row in models] == [("m", 150), ("n", 200)]
    assert [(row["model"], row["rates"]["input"]) for row in prices] == [("m", 100), ("m", 150), ("n", 200)]


async def test_the_archive_is_read_in_the_order_of_the_stream(database: PostgresDatabase) -> None:
    first = await read_archive(database, "EVT", limit=10)
    rest = await read_archive(database, "EVT", after=10)

    assert [message.position for message in first + rest] == list(range(1, len(await everyday_story()) + 1))


async def test_lag_is_the_age_of_what_is_not_shown_yet(database: PostgresDatabase) -> None:
    log = ListedLog([*await everyday_story(), *request_messages(4000, batch=64)])
    level = await read_lags(database, log, NOON + timedelta(hours=1))
    for _ in range(3):
        log.add("REQ", b"[]")
    oldest = await log.time_at("REQ", len(log.messages["REQ"]) - 2)
    assert oldest is not None
    behind = await read_lags(database, log, oldest + timedelta(seconds=4))

    assert {(lag.messages, lag.seconds) for lag in level} == {(0, 0.0)}
    assert {(lag.messages, lag.seconds) for lag in behind if lag.stream == "REQ"} == {(3, 4.0)}
    assert {lag.parked for lag in level} == {0}


async def settle(database: PostgresDatabase, settled: int, charged: int, buckets: tuple[int, int] = (0, 256)) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO settlement (bucket_from, bucket_to, settled_position, evt_position) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (bucket_from) DO UPDATE SET bucket_to = excluded.bucket_to,"
            " settled_position = excluded.settled_position, evt_position = excluded.evt_position",
            *(*buckets, settled, charged),
        )


async def test_money_is_read_only_after_settlement_and_its_charges(database: PostgresDatabase) -> None:
    shown = (await read_positions(database, LEDGER_ENTRIES)).positions["EVT"]
    money = (LEDGER_ENTRIES, BALANCES)

    await settle(database, settled=9, charged=shown)
    with pytest.raises(BehindPosition) as unsettled:
        await wait_for(database, money, {"REQ": 10}, timeout_s=0.05)
    assert (unsettled.value.wanted, unsettled.value.reached) == ("REQ:10", "REQ:9")

    await settle(database, settled=10, charged=shown + 1)
    with pytest.raises(BehindPosition) as unseen:
        await wait_for(database, money, {"REQ": 10}, timeout_s=0.05)
    assert unseen.value.wanted == f"EVT:{shown + 1}"

    await settle(database, settled=10, charged=shown)
    await wait_for(database, money, {"REQ": 10}, timeout_s=0.05)
    await wait_for(database, money, {"EVT": shown}, timeout_s=0.05)


async def test_money_of_one_account_waits_for_its_own_settlement(database: PostgresDatabase) -> None:
    cut = bucket_of(ACCOUNT) + 1
    await settle(database, settled=50, charged=0, buckets=(0, cut))
    await settle(database, settled=5, charged=0, buckets=(cut, 256))

    await wait_for(database, [BALANCES], {"REQ": 50}, account_id=ACCOUNT, timeout_s=0.05)
    with pytest.raises(BehindPosition):
        await wait_for(database, [BALANCES], {"REQ": 50}, timeout_s=0.05)


async def test_every_read_model_says_how_fresh_it_is(database: PostgresDatabase) -> None:
    for projection in READ_MODELS:
        reached = await read_positions(database, projection)

        assert set(reached.positions) == set(projection.streams)
        assert datetime.now(UTC) - reached.as_of < timedelta(minutes=5)
