"""What operators look after: how each deployment is, and what is kept of earlier answers."""

from typing import Any

from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.auth import Caller
from api.compose import Services


class AdminOperationsController(Controller):
    path = "/admin"
    tags = ("admin",)

    @get("/providers", operation_id="read_providers", summary="Each deployment: its breaker, its speed, its load")
    async def read_providers(
        self, services: NamedDependency[Services], caller: NamedDependency[Caller]
    ) -> dict[str, Any]:
        """As this worker sees them; `shared` ones are the same on all."""
        caller.require_admin()
        return {"data": services.routing.shown()}

    @delete("/cache/{account_id:str}", operation_id="purge_cache", summary="Forget the answers kept for an account")
    async def purge_cache(
        self, account_id: FromPath[str], services: NamedDependency[Services], caller: NamedDependency[Caller]
    ) -> None:
        """`shared` names the answers that all accounts may get."""
        caller.require_admin()
        await services.answer_cache.purge(account_id)
