"""COMPOSITION ROOT: which adapter supplies which port."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from adapters.catalog.declared_provider import DeclaredProvider
from adapters.catalog.file import read_providers
from adapters.credit_recall import NatsCreditRecall
from adapters.durability import verify_durability
from adapters.endpoints import ServiceEndpoints
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.jetstream_idempotency import JetStreamIdempotencyStore
from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.keyring import Keyring
from adapters.live_directory import FILTERS, LiveDirectory
from adapters.log_ends import JetStreamLogEnds
from adapters.log_reader import tail_latest
from adapters.nats_connection import connect_nats
from adapters.passwords import Argon2Passwords
from adapters.pgvector_semantic_cache import PgvectorSemanticCache
from adapters.postgres import open_database
from adapters.tokens import AccessTokens
from adapters.valkey import open_valkey
from adapters.valkey_breakers import SYNC_EVERY_S
from adapters.valkey_limiter import ValkeyLimiter
from adapters.valkey_scripts import BatchedScripts
from adapters.vault import EnvelopeVault, JetStreamWrappedKeys
from api.accounts import AccountParts, Accounts, assemble_accounts
from api.ai_endpoint import AiParts
from api.ai_routes import AiRoute, ai_endpoints
from api.answer_cache import AnswerCache
from api.background import every, run_for_ever, running
from api.caching import LOOK_EVERY_S, CacheStores, compose_caching
from api.connections import Connections
from api.directory_reads import PostgresDirectoryReads
from api.endpoints import resolve_endpoints
from api.given_again import GivenAgain
from api.health_figures import StateFigures
from api.idempotent_posts import IdempotentPosts
from api.local_secrets import resolve_secrets
from api.model_names import ModelNames
from api.open_streams import OpenStreams
from api.providers import accounts_of, open_providers
from api.question_embedding import QuestionEmbedding
from api.rate_limits import RateLimits
from api.recorded_spend import RecordedSpend
from api.request_ends import RecordedEnds
from api.request_id import new_id
from api.routing import Routing, compose_routing
from api.settings import Settings, SettingsError
from api.telemetry import CacheTelemetry, LogTelemetry, RequestTelemetry
from commands.answer_from_cache import AnswerFromCache
from commands.answer_request import AnswerRequestHandler
from commands.apply_catalog import ApplyCatalogHandler
from commands.credit_leases import CreditLeases
from commands.holds import TEND_EVERY_S, Holds
from commands.route_limits import RouteLimits
from commands.store import EventStore
from domain.errors import Unavailable
from domain.ids import RequestId
from domain.money import nanos_from_usd
from domain.ports import Database, LogEnds, Provider

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
    cached_questions: PgvectorSemanticCache
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
        leases = await open_leases(backbone, stack)
        declared_providers = read_providers(settings.catalog)
        reachable = accounts_of(settings, declared_providers)
        providers = await open_providers(reachable, settings, stack)
        opened_later = await stack.enter_async_context(AsyncExitStack())
        connections = Connections(providers, reachable, settings, opened_later)
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
        scripts = open_scripts(valkey, stack)
        holds = open_holds(scripts, backbone, log, stack)
        limits = RateLimits(holds, directory.limits, unpriced_nanos)
        route_limits = RouteLimits(holds, directory.deployments, limits.of_model, unpriced_nanos, time.perf_counter)
        routing = compose_routing(valkey, directory, models, connections, route_limits)
        answer_request = AnswerRequestHandler(leases, requests, connections, now, unpriced_nanos, routing.failover)
        stack.push_async_callback(answer_request.aclose)
        telemetry, cache_telemetry = RequestTelemetry(registry), CacheTelemetry(registry)
        embedding = QuestionEmbedding(
            routing.book, answer_request, limits, telemetry, new_request_id, now, cache_telemetry.of("embedding")
        )
        stack.push_async_callback(embedding.close)
        caching = compose_caching(
            CacheStores(valkey, scripts, backbone.database, keyring.cached_answers),
            directory,
            embedding,
            now,
            cache_telemetry,
        )
        stack.push_async_callback(caching.close)
        parts = AiParts(
            authenticator=accounts.authenticator,
            models=models,
            routes=routing.book,
            answer_request=answer_request,
            given_again=GivenAgain(AnswerFromCache(leases, requests, now), telemetry),
            limits=limits,
            streams=OpenStreams(settings.streams_per_key),
            cache=caching.answers,
            telemetry=telemetry,
            new_request_id=new_request_id,
        )

        async def follow_log() -> None:
            await directory.follow(tail_latest(backbone.nats, "EVT", FILTERS))

        await stack.enter_async_context(
            running(
                run_for_ever("directory", follow_log),
                run_for_ever("semantic cache", caching.questions.look, LOOK_EVERY_S),
                every(TEND_LEASES_S, leases.tend),
                every(SYNC_EVERY_S, routing.tend),
                every(TEND_EVERY_S, holds.tend),
            )
        )
        await routing.begin()
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
            answer_cache=caching.answers,
            cached_questions=caching.questions,
            apply_catalog=ApplyCatalogHandler(backbone.store),
            ai=ai_endpoints(parts, providers),
            idempotent_posts=IdempotentPosts(idempotency, accounts.authenticator, new_request_id),
            valkey=valkey,
            log=log,
            figures=StateFigures(registry),
        )


async def open_leases(backbone: Backbone, stack: AsyncExitStack) -> CreditLeases:
    recall = NatsCreditRecall(backbone.nats, backbone.worker)
    term = backbone.settings.lease_term
    leases = CreditLeases(backbone.store, backbone.worker, now, new_id, recall.announce, term)
    stack.push_async_callback(leases.close)
    await recall.listen(leases.give_back)
    return leases


def open_scripts(valkey: Redis, stack: AsyncExitStack) -> BatchedScripts:
    scripts = BatchedScripts(valkey)
    stack.push_async_callback(scripts.aclose)
    return scripts


def open_holds(scripts: BatchedScripts, backbone: Backbone, log: JetStreamLogEnds, stack: AsyncExitStack) -> Holds:
    limiter = ValkeyLimiter(
        scripts,
        RecordedSpend(backbone.database, log),
        worker=backbone.worker,
        workers=backbone.settings.api_workers,
        clock_ms=lambda: time.time_ns() // 1_000_000,
    )
    stack.push_async_callback(limiter.aclose)
    return Holds(limiter, time.perf_counter)


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
