"""The declared part of the catalogue, for administrators: deployments, routes with their cache policies, limits."""

from contextlib import suppress
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from adapters.catalog.declared_provider import DeclaredProvider
from adapters.catalog.declared_routing import DeploymentEntry, LimitsEntry, RouteEntry, declaration_of, sections_of
from adapters.live_directory import LiveDirectory
from api.accounts import Accounts
from api.auth import Caller
from api.catalog_file import known_providers
from api.compose import Services
from api.dependencies import cause_of, position_header
from api.routes.auth import VISIBLE_S
from commands.apply_catalog import ADMIN, ApplyCatalog
from commands.catalog_changes import CatalogChange
from domain.declaration import Declaration
from domain.declared_limits import amounts
from domain.errors import InvalidInput, Unavailable


class CatalogIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All there is to be, in the members of the catalogue file. `providers`, if it is sent, is what was read: they are
    declared in the file alone."""

    deployments: tuple[DeploymentEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    limits: tuple[LimitsEntry, ...] = ()
    providers: tuple[DeclaredProvider, ...] | None = None


class CatalogOut(msgspec.Struct, kw_only=True):
    providers: tuple[DeclaredProvider, ...]
    deployments: tuple[DeploymentEntry, ...]
    routes: tuple[RouteEntry, ...]
    limits: tuple[LimitsEntry, ...]


class CatalogChangedOut(msgspec.Struct, kw_only=True):
    changes: tuple[CatalogChange, ...]


class AdminCatalogController(Controller):
    path = "/admin/catalog"
    tags = ("admin",)

    @get(operation_id="read_catalog", summary="Providers, deployments, routes and limits, as they are declared now")
    async def read_catalog(self, services: NamedDependency[Services], caller: NamedDependency[Caller]) -> CatalogOut:
        """As the log has it, whichever worker is asked."""
        caller.require_admin()
        sections = sections_of(await services.apply_catalog.declared())
        return CatalogOut(
            providers=services.declared_providers,
            deployments=sections.deployments,
            routes=sections.routes,
            limits=sections.limits,
        )

    @put(operation_id="replace_catalog", summary="Replace all deployments, routes and limits, or none of them")
    async def replace_catalog(
        self,
        data: JSONBody[CatalogIn],
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
    ) -> Response[CatalogChangedOut]:
        """Also those that the catalogue file declared; that file is applied again once it has changed."""
        caller.require_admin()
        if data.providers is not None and data.providers != services.declared_providers:
            raise InvalidInput(
                "providers: they are declared in the catalogue file (AGG_CATALOG) and read at start; send what was "
                "read, or leave them out.",
                field="providers",
            )
        cause = cause_of(request, accounts, caller.actor)
        declaration = declaration_of(data.deployments, data.routes, data.limits, cause.at)
        providers = known_providers(services.declared_providers)
        command = ApplyCatalog(cause=cause, source=ADMIN, declaration=declaration, providers=providers, whole=True)
        done = await services.apply_catalog.handle(command)
        directory = accounts.directory
        await directory.until(lambda: _shows(directory, declaration), VISIBLE_S)
        return Response(CatalogChangedOut(changes=done.changes), headers=position_header(done.position))


def _shows(directory: LiveDirectory, declared: Declaration) -> bool:
    """Whether this worker has heard of it."""
    if directory.deployments() != {each.name: each for each in declared.deployments}:
        return False
    if directory.routes() != {each.route.name: each for each in declared.routes}:
        return False
    with suppress(Unavailable):
        shown = {limits.name: amounts(limits) for limits in directory.limits()}
        return shown == {limits.name: amounts(limits) for limits in declared.limits}
    return False
