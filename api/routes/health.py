"""Whether it lives, whether it may be sent requests, and figures for Prometheus. At the root, without credentials."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.auth import FRESH_S
from api.compose import Services, now
from api.drain import Drain

PROBE_S = 2


class HealthController(Controller):
    path = "/"
    tags = ("health",)

    @get("/health/live", operation_id="live", summary="The process runs", sync_to_thread=False)
    def live(self) -> dict[str, str]:
        return {"status": "ok"}

    @get(
        "/health/ready",
        operation_id="ready",
        summary="It may be sent requests: the log answers, callers are known, nobody has told it to stop",
    )
    async def ready(
        self, services: NamedDependency[Services], drain: NamedDependency[Drain]
    ) -> Response[dict[str, Any]]:
        log_up = services.backbone.nats.is_connected
        fresh = services.directory.is_fresh(FRESH_S)
        status = "stopping" if drain.is_on else "ok" if log_up and fresh else "down"
        return Response(
            {"status": status, "log": log_up, "identities_fresh": fresh}, status_code=200 if status == "ok" else 503
        )

    @get("/health", operation_id="health", summary="Each part that we need, and what its absence means")
    async def health(self, services: NamedDependency[Services]) -> Response[dict[str, Any]]:
        parts = dict(
            zip(
                ("log", "database", "valkey"),
                await asyncio.gather(
                    _probe(services.backbone.nats.flush(PROBE_S)),
                    _probe(services.backbone.database.fetch("SELECT 1")),
                    _probe(services.valkey.ping()),
                ),
                strict=True,
            )
        )
        fresh = services.directory.is_fresh(FRESH_S)
        down = not fresh or parts["log"]["status"] == "down"
        degraded = any(part["status"] == "down" for part in parts.values())
        status = "down" if down else "degraded" if degraded else "ok"
        content = {
            "status": status,
            "durability": _durability(services),
            "identities_fresh": fresh,
            "open_leases": len(services.leases),
            "semantic_cache": "on" if services.cached_questions.can_compare else "off",
            "deployments": {view.deployment: view.phase for view in services.routing.breakers.view()},
            "parts": parts,
        }
        return Response(content, status_code=503 if down else 200)

    @get("/metrics", operation_id="metrics", summary="Figures for Prometheus", media_type="text/plain")
    async def metrics(self, services: NamedDependency[Services]) -> Response[bytes]:
        await services.figures.observe(services.backbone.database, services.log, now())
        services.figures.observe_breakers(services.routing.breakers.view())
        return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)


async def _probe(answer: Awaitable[object]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_S):
            await answer
    except Exception as error:
        return {"status": "down", "reason": type(error).__name__}
    return {"status": "ok", "latency_ms": round((time.perf_counter() - started) * 1000, 2)}


def _durability(services: Services) -> dict[str, str]:
    mode = services.backbone.settings.durability
    loss = "nothing that was acknowledged" if mode == "strict" else "up to two minutes of acknowledged events"
    return {"mode": mode, "a_power_cut_may_lose": loss}
