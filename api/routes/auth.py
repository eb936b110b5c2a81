"""Registering, logging in and out, and refreshing a session."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from api.accounts import Accounts, header_bytes
from api.dependencies import cause_of, position_header
from commands.log_in import LogIn
from commands.log_out import LogOut
from commands.refresh_session import RefreshSession
from commands.register import Register
from domain.ids import SessionId
from domain.ports import TokenPair
from domain.user import Profile

NO_STORE = {"cache-control": "no-store"}
VISIBLE_S = 1.0
"""A write is answered when this process acts on it, or after so long anyway: it is recorded."""


class RegisterIn(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    password: str
    name: str


class LoginIn(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    password: str


class RefreshIn(msgspec.Struct, forbid_unknown_fields=True):
    refresh_token: str


class TokensOut(msgspec.Struct, kw_only=True):
    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    token_type: str = "Bearer"  # noqa: S105  (a scheme, no secret)


class UserOut(msgspec.Struct):
    id: str
    email: str
    name: str
    role: str
    account_id: str
    created_at: datetime


class AccountOut(msgspec.Struct):
    id: str


class RegisteredOut(TokensOut, kw_only=True):
    user: UserOut
    account: AccountOut


class AuthController(Controller):
    path = "/auth"
    tags = ("auth",)

    @post("/register", operation_id="register", summary="Register, with an account of one's own, and log in")
    async def register(
        self, data: JSONBody[RegisterIn], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> Response[RegisteredOut]:
        command = Register(email=data.email, password=data.password, name=data.name)
        done = await accounts.register.handle(command, cause_of(request, accounts, "anonymous"))
        await _until_open(accounts, done.opened.session_id)
        user = user_out(done.profile)
        body = RegisteredOut(user=user, account=AccountOut(user.account_id), **_tokens(done.tokens))
        return Response(body, headers=_headers(done.position))

    @post("/login", status_code=200, operation_id="log_in", summary="Log in with e-mail and password")
    async def log_in(
        self, data: JSONBody[LoginIn], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> Response[TokensOut]:
        command = LogIn(email=data.email, password=data.password)
        done = await accounts.log_in.handle(command, cause_of(request, accounts, "anonymous"))
        await _until_open(accounts, done.opened.session_id)
        return Response(TokensOut(**_tokens(done.tokens)), headers=_headers(done.position))

    @post("/refresh", status_code=200, operation_id="refresh_session", summary="Trade a refresh token for new tokens")
    async def refresh(
        self, data: JSONBody[RefreshIn], request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
    ) -> Response[TokensOut]:
        command = RefreshSession(refresh_token=data.refresh_token)
        done = await accounts.refresh_session.handle(command, cause_of(request, accounts, "anonymous"))
        return Response(TokensOut(**_tokens(done.tokens)), headers=_headers(done.position))

    @post(
        "/logout",
        status_code=204,
        operation_id="log_out",
        summary="End this session, or all of them; also when it has ended already",
    )
    async def log_out(
        self,
        request: Request[Any, Any, Any],
        accounts: NamedDependency[Accounts],
        all: FromQuery[bool] = False,
    ) -> Response[None]:
        claims = accounts.authenticator.claims_of(header_bytes(request.scope))
        command = LogOut(
            user_id=claims.user_id, account_id=claims.account_id, session_id=claims.session_id, everywhere=all
        )
        position = await accounts.log_out.handle(command, cause_of(request, accounts, f"user:{claims.user_id}"))
        directory = accounts.directory
        await directory.until(lambda: directory.session(claims.session_id) is None, VISIBLE_S)
        return Response(None, headers=_headers(position))


def user_out(profile: Profile) -> UserOut:
    return UserOut(
        profile.user_id, profile.email, profile.name, profile.role, profile.account_id, profile.registered_at
    )


def _tokens(pair: TokenPair) -> Mapping[str, Any]:
    return {
        "access_token": pair.access_token,
        "expires_in": pair.expires_in_s,
        "refresh_token": pair.refresh_token,
        "refresh_expires_in": pair.refresh_expires_in_s,
    }


def _headers(position: int) -> dict[str, str]:
    return {**NO_STORE, **position_header(position)}


async def _until_open(accounts: Accounts, session_id: SessionId) -> None:
    """So that the very next request may use the token."""
    directory = accounts.directory
    await directory.until(lambda: directory.session(session_id) is not None, VISIBLE_S)
