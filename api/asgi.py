"""The API as one ASGI application: Litestar, and before it the hot path that speaks raw ASGI."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Controller, Litestar, Router
from litestar.di import Provide

from api.accounts import Accounts
from api.ai_errors import ProblemErrors
from api.ai_routes import AiRoute
from api.body import receive_in_time
from api.compose import Services, open_services
from api.dependencies import provide_caller, provide_wanted
from api.drain import CLOSE, Drain, Draining
from api.error_handlers import EXCEPTION_HANDLERS, render
from api.errors import Failure, Kind, failure_of, openai_error
from api.heap import keep_what_is_loaded
from api.idempotent_posts import has_key
from api.openapi import openapi_config
from api.parts import Part
from api.request_id import add_request_id, request_id_of
from api.routes.admin_catalog import AdminCatalogController
from api.routes.admin_operations import AdminOperationsController
from api.routes.auth import AuthController
from api.routes.billing import BillingController
from api.routes.console import ConsoleController
from api.routes.health import HealthController
from api.routes.keys import KeyController
from api.routes.models import ModelsController
from api.routes.requests import RequestsController
from api.routes.usage import UsageController
from api.routes.users import ProfileController
from api.send import send_whole
from api.server import run_server
from api.settings import Settings
from api.startup import StartupError

BASES = ("/api/v1", "/v1")
"""The AI routes answer under both."""
PARTS: Mapping[Part, tuple[type[Controller], ...]] = {
    "auth": (AuthController,),
    "ai": (ModelsController,),
    "users": (ProfileController, KeyController),
    "billing": (BillingController,),
    "analytics": (UsageController, RequestsController),
    "admin": (AdminCatalogController, AdminOperationsController),
    "console": (),
}
"""What may be served apart; `ai` has the AI routes as well, `console` the page at `/`. Health and the description are
everywhere."""
ALL_PARTS = frozenset(PARTS)

ServicesFrom = Callable[[Settings], AbstractAsyncContextManager[Services]]


class Application:
    """`services_from` opens what the API serves from; a test passes its own. Only `parts` are served."""

    def __init__(
        self,
        settings: Settings,
        services_from: ServicesFrom = open_services,
        parts: frozenset[Part] = ALL_PARTS,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._services_from = services_from
        self._services: Services | None = None
        self.drain = Drain()
        self._ai: dict[str, AiRoute] = {}
        self.failure: StartupError | None = None
        self.litestar = self._litestar()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.litestar(scope, receive, send)
            return
        route = self._ai.get(scope["path"])
        if self.drain.refuses(scope["path"]):
            await _answer_draining(route, scope, send)
            return
        if route is not None and scope["method"] != "POST":
            await _answer_wrong_method(scope, send)
            return
        app = self._in_time if route is None else route
        if self._services is not None and scope["method"] == "POST" and has_key(scope):
            errors = ProblemErrors() if route is None else route.errors
            await self._services.idempotent_posts(app, errors, scope, receive, send)
        else:
            await app(scope, receive, send)

    async def _in_time(self, scope: Any, receive: Any, send: Any) -> None:
        await self.litestar(scope, receive_in_time(receive), send)

    def _litestar(self) -> Litestar:
        controllers = [each for part in PARTS if part in self._parts for each in PARTS[part]]
        openai = [ModelsController] if "ai" in self._parts else []
        pages = [ConsoleController] if "console" in self._parts else []
        return Litestar(
            route_handlers=[
                HealthController,
                *pages,
                Router("/api/v1", route_handlers=controllers),
                Router("/v1", route_handlers=openai, include_in_schema=False),
            ],
            dependencies={
                "services": Provide(self._provide_services, sync_to_thread=False),
                "accounts": Provide(self._provide_accounts, sync_to_thread=False),
                "drain": Provide(self._provide_drain, sync_to_thread=False),
                "caller": Provide(provide_caller),
                "wanted": Provide(provide_wanted, sync_to_thread=False),
            },
            exception_handlers={**EXCEPTION_HANDLERS},
            before_send=[add_request_id],
            lifespan=[self._lifespan],
            openapi_config=openapi_config(),
            logging_config=None,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Litestar) -> AsyncGenerator[None]:
        try:
            async with self._services_from(self._settings) as services:
                self._services = services
                if "ai" in self._parts:
                    self._ai = {base + path: endpoint for base in BASES for path, endpoint in services.ai.items()}
                keep_what_is_loaded()
                yield
        except StartupError as failure:
            self.failure = failure
            raise
        finally:
            self._services, self._ai = None, {}

    def _provide_services(self) -> Services:
        assert self._services is not None, "the lifespan opens the services"
        return self._services

    def _provide_drain(self) -> Drain:
        return self.drain

    def _provide_accounts(self) -> Accounts:
        return self._provide_services().accounts


async def _answer_wrong_method(scope: Any, send: Any) -> None:
    kind = Kind(405, "method_not_allowed", "Method not allowed")
    failure = Failure(kind, f"{scope['method']} is not possible here; use POST.", {"allow": "POST"})
    answer = openai_error(failure, request_id_of(scope))
    await send_whole(send, answer.status, answer.raw_headers, answer.body)


async def _answer_draining(route: AiRoute | None, scope: Any, send: Any) -> None:
    """In the words of the route that was asked."""
    failure, request_id = failure_of(Draining()), request_id_of(scope)
    answer = route.errors.whole(failure, request_id) if route else render(failure, scope["path"], request_id)
    headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), CLOSE]
    await send_whole(send, answer.status, headers, answer.body)


def serve(settings: Settings, parts: frozenset[Part] = ALL_PARTS) -> None:
    """Until SIGTERM. Raises StartupError when something that it needs is missing or wrong."""
    application = Application(settings, parts=parts)
    # What we refuse to start for is said once, in one line; uvicorn would put a traceback before it.
    logging.getLogger("uvicorn.error").addFilter(lambda _record: application.failure is None)
    try:
        run_server(application, settings, application.drain)
    except SystemExit:
        if application.failure is None:
            raise
    if application.failure is not None:
        raise application.failure
