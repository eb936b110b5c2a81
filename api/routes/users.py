"""A person's own profile."""

from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.accounts import Accounts
from api.auth import Caller
from api.dependencies import cause_of, position_header
from api.routes.auth import NO_STORE, UserOut, user_out
from commands.change_profile import ChangeProfile
from domain.errors import NotFound, Unavailable
from domain.user import Profile
from projections.positions import Positions


class ProfileIn(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class ProfileController(Controller):
    path = "/users/profile"
    tags = ("users",)

    @get(operation_id="read_profile", summary="The caller's own profile")
    async def read_profile(
        self,
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        wanted: NamedDependency[Positions],
    ) -> Response[UserOut]:
        return Response(user_out(await _profile_of(caller, accounts, wanted)), headers=NO_STORE)

    @put(operation_id="change_profile", summary="Change the caller's own profile")
    async def change_profile(
        self,
        data: JSONBody[ProfileIn],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
    ) -> Response[UserOut]:
        caller.require_session()
        command = ChangeProfile(user_id=caller.user_id, account_id=caller.account_id, name=data.name)
        done = await accounts.change_profile.handle(command, cause_of(request, accounts, caller.actor))
        return Response(user_out(done.profile), headers={**NO_STORE, **position_header(done.position)})


async def _profile_of(caller: Caller, accounts: Accounts, wanted: Positions) -> Profile:
    """Raises Unavailable for a person so new that the view does not show them yet."""
    row = await accounts.reads.user(caller.account_id, caller.user_id, wanted=wanted)
    if row is None:
        raise Unavailable("Your profile is not visible yet; ask again, with min_position to wait.", retry_after_s=1)
    email = await accounts.vault.open(row.user_id, "email", row.email_sealed)
    name = await accounts.vault.open(row.user_id, "name", row.name_sealed)
    if email is None or name is None:
        raise NotFound("user", caller.user_id)
    return Profile(row.user_id, row.account_id, email, name, row.role, row.registered_at)
