"""COMPOSITION ROOT: which adapter supplies which port."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from adapters.cache_guard import CacheGuard
from adapters.catalog.declared_provider import DeclaredProvider
from adapters.catalog.file import read_providers
from adapters.credit_recall import NatsCreditRecall
from adapters.durability import verify_durability
from adapters.endpoints import ServiceEndpoints
from adapters.flight_locks import ValkeyFlightLocks
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.jetstream_idempotency import JetStreamIdempotencyStore
from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.keyring import Keyring
from adapters.live_directory import FILTERS, LiveDirectory
from adapters.log_ends import JetStreamLogEnds
from adapters.log_reader import tail_latest
from adapters.nats_connection import connect_nats
from adapters.passwords import Argon2Passwords
from adapters.postgres import open_database
from adapters.single_flight import SingleFlight
from adapters.tokens import AccessTokens
from adapters.valkey import open_valkey
from adapters.valkey_breakers import SYNC_EVERY_S
from adapters.valkey_limiter import ValkeyLimiter
from adapters.valkey_response_cache import FAILURES, ValkeyResponseCache
from adapters.vault import EnvelopeVault, JetStreamWrappedKeys
from api.accounts import AccountParts, Accounts, assemble_accounts
from api.ai_endpoint import AiParts
from api.ai_routes import AiRoute, ai_endpoints
from api.answer_cache import AnswerCache
from api.background import every, run_for_ever, running
from api.connections import Connections
from api.directory_reads import PostgresDirectoryReads
from api.endpoints import resolve_endpoints
from api.health_figures import StateFigures
from api.idempotent_posts import IdempotentPosts
from api.local_secrets import resolve_secrets
from api.model_names import ModelNames
from api.providers import accounts_of, open_providers
from api.rate_limits import RateLimits
from api.recorded_spend import RecordedSpend
from api.request_ends import RecordedEnds
from api.request_id import new_id
from api.routing import Routing, compose_routing
from api.settings import Settings, SettingsError
from api.telemetry import CacheTelemetry, LogTelemetry, RequestTelemetry
from commands.answer_request import AnswerRequestHandler
from commands.apply_catalog import ApplyCatalogHandler
from commands.credit_leases import CreditLeases
from commands.store import EventStore
from domain.errors import Unavailable
from domain.ids import RequestId
from domain.money import nanos_from_usd
from domain.ports import Database, LogEnds, Provider
from domain.response_cache import CachePolicy

TEND_LEASES_S = 1.0


@dataclass(frozen=True)
class Backbone:
    """What every process of ours has: the log, where facts are decided, and the read models' database."""

    settings: Settings
    endpoints: ServiceEndpoints
    worker: str
    nats: Client
    store: EventStore
    database: Database


@dataclass(frozen=True)
class Services:
    """What the API serves from."""

    backbone: Backbone
    registry: CollectorRegistry
    directory: LiveDirectory
    accounts: Accounts
    leases: CreditLeases
    providers: Mapping[str, Provider]
    declared_providers: tuple[DeclaredProvider, ...]
    models: ModelNames
    routing: Routing
    answer_cache: AnswerCache
    apply_catalog: ApplyCatalogHandler
    ai: Mapping[str, AiRoute]
    idempotent_posts: IdempotentPosts
    valkey: Redis
    log: LogEnds
    figures: StateFigures


def now() -> datetime:
    return datetime.now(UTC)


def new_request_id() -> RequestId:
    return RequestId(f"req_{new_id()}")


@asynccontextmanager
async def open_backbone(
    settings: Settings, role: str, *, connections: int = 10, statement_timeout_s: float = 10.0
) -> AsyncGenerator[Backbone]:
    """Raises SettingsError when NATS is away, or lazier than the durability that is asked for."""
    endpoints = resolve_endpoints(settings)
    worker = f"{role}-{new_id()}"
    try:
        connection = await connect_nats(endpoints.nats_url, worker)
    except Unavailable as error:
        raise SettingsError(f"NATS does not answer: start it, or correct AGG_NATS_URL ({error})") from error
    try:
        if settings.durability == "strict" and (doubt := await verify_durability(endpoints.nats_url)):
            raise SettingsError(doubt)
        async with open_database(
            endpoints.database, size=connections, statement_timeout_s=statement_timeout_s
        ) as database:
            store = EventStore(JetStreamEventLog(connection), f"/{role}/{worker}")
            yield Backbone(settings, endpoints, worker, connection, store, database)
    finally:
        await connection.close()


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncGenerator[Services]:
    async with AsyncExitStack() as stack:
        backbone = await stack.enter_async_context(open_backbone(settings, "api"))
        registry = CollectorRegistry()
        requests = GroupCommitRequestLog(backbone.nats, backbone.worker, on_publish=LogTelemetry(registry).published)
        await requests.open()
        stack.push_async_callback(requests.close)
        recall = NatsCreditRecall(backbone.nats, backbone.worker)
        leases = CreditLeases(backbone.store, backbone.worker, now, new_id, recall.announce, settings.lease_term)
        stack.push_async_callback(leases.close)
        await recall.listen(leases.give_back)
        declared_providers = read_providers(settings.catalog)
        reachable = accounts_of(settings, declared_providers)
        providers = await open_providers(reachable, settings, stack)
        connections = Connections(providers, reachable, settings, stack)
        directory = LiveDirectory()
        keyring = Keyring(resolve_secrets(settings).master_key)
        accounts = compose_accounts(backbone, directory, stack)
        models = ModelNames(directory, providers, unlisted=settings.unlisted_models == "allow")
        unpriced_nanos = nanos_from_usd(settings.unpriced_ceiling_usd)
        idempotency = JetStreamIdempotencyStore(
            backbone.nats, keyring.kept_answers, backbone.worker, RecordedEnds(backbone.database, now), now
        )
        stack.push_async_callback(idempotency.close)
        log = JetStreamLogEnds(backbone.nats)
        valkey = open_valkey(backbone.endpoints.redis)
        stack.push_async_callback(valkey.aclose)
        limiter = ValkeyLimiter(
            valkey,
            RecordedSpend(backbone.database, log),
            worker=backbone.worker,
            workers=settings.api_workers,
            clock_ms=lambda: time.time_ns() // 1_000_000,
        )
        stack.push_async_callback(limiter.aclose)
        routing = compose_routing(valkey, directory, models, connections)
        answer_request = AnswerRequestHandler(leases, requests, connections, now, unpriced_nanos, routing.failover)
        answer_cache = open_answer_cache(valkey, keyring, directory, registry)
        parts = AiParts(
            authenticator=accounts.authenticator,
            models=models,
            routes=routing.book,
            answer_request=answer_request,
            limits=RateLimits(limiter, directory.limits, unpriced_nanos),
            cache=answer_cache,
            telemetry=RequestTelemetry(registry),
            new_request_id=new_request_id,
        )

        async def follow_log() -> None:
            await directory.follow(tail_latest(backbone.nats, "EVT", FILTERS))

        await stack.enter_async_context(
            running(
                run_for_ever("directory", follow_log),
                every(TEND_LEASES_S, leases.tend),
                every(SYNC_EVERY_S, routing.tend),
            )
        )
        yield Services(
            backbone=backbone,
            registry=registry,
            directory=directory,
            accounts=accounts,
            leases=leases,
            providers=providers,
            declared_providers=declared_providers,
            models=models,
            routing=routing,
            answer_cache=answer_cache,
            apply_catalog=ApplyCatalogHandler(backbone.store),
            ai=ai_endpoints(parts, providers),
            idempotent_posts=IdempotentPosts(idempotency, accounts.authenticator, new_request_id),
            valkey=valkey,
            log=log,
            figures=StateFigures(registry),
        )


def open_answer_cache(
    valkey: Redis, keyring: Keyring, directory: LiveDirectory, registry: CollectorRegistry
) -> AnswerCache:
    count = CacheTelemetry(registry).count
    guard = CacheGuard(FAILURES, time.monotonic, count)
    cache = ValkeyResponseCache(valkey, keyring.cached_answers, guard, now, time.monotonic, count)

    def policy_of(name: str) -> CachePolicy | None:
        route = directory.routes().get(name)
        return route.cache if route is not None else None

    return AnswerCache(cache, SingleFlight(cache, ValkeyFlightLocks(valkey, guard), new_id), policy_of)


def compose_accounts(backbone: Backbone, directory: LiveDirectory, stack: AsyncExitStack) -> Accounts:
    settings = backbone.settings
    secrets = resolve_secrets(settings)
    passwords = Argon2Passwords()
    stack.callback(passwords.close)
    keyring = Keyring(secrets.master_key)
    access = AccessTokens(
        secrets.jwt_secret,
        ttl_s=int(settings.auth_jwt_expiration.total_seconds()),
        previous=secrets.jwt_previous_secrets,
    )
    return assemble_accounts(
        AccountParts(
            store=backbone.store,
            vault=EnvelopeVault(JetStreamWrappedKeys(backbone.nats.jetstream()), keyring.personal_data),
            passwords=passwords,
            keyring=keyring,
            access=access,
            refresh_lifetime=settings.auth_refresh_expiration,
            directory=directory,
            reads=PostgresDirectoryReads(backbone.database),
            now=now,
            new_id=new_id,
        )
    )
