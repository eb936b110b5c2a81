"""Somebody to log in as and a key to call with: the first admin, a demo account with credit, and the catalogue."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field

from adapters.live_directory import LiveDirectory
from api.accounts import Accounts
from api.catalog_file import apply_file
from api.compose import Backbone, compose_accounts, now, open_backbone
from api.local_state import SECRETS, LocalState
from api.request_id import new_id
from api.settings import Settings, SettingsError
from commands.apply_catalog import ApplyCatalogHandler
from commands.grant_credit import GrantCredit, GrantCreditHandler
from commands.issue_key import IssueKey
from commands.register import Register
from commands.store import Cause
from domain.errors import EmailTaken, InvalidInput
from domain.ids import AccountId, CommandId, UserId
from domain.ledger import LEDGER
from domain.money import NANOS_PER_USD

DEMO_CREDIT_NANOS = 100 * NANOS_PER_USD
DEMO_EMAIL = "admin@aggregator.example"
PASSWORD_BYTES = 12


@dataclass(frozen=True)
class Seeded:
    api_key: str = field(repr=False)
    admin_email: str
    admin_password: str = field(repr=False)


async def seed(settings: Settings) -> Seeded:
    """Bring the catalogue up to date; make the admin, its credit and its key if missing. Raises StartupError."""
    state = LocalState(settings.data_dir / SECRETS)
    async with AsyncExitStack() as stack:
        backbone = await stack.enter_async_context(open_backbone(settings, "seed"))
        try:
            await _apply_catalog(backbone, settings)
            known = state.read().get("demo")
            if isinstance(known, dict):
                return Seeded(**known)
            accounts = compose_accounts(backbone, LiveDirectory(), stack)
            seeded = await _make_admin(accounts, backbone, settings)
        except InvalidInput as error:
            raise SettingsError(str(error)) from error
    state.update(demo=asdict(seeded))
    return seeded


async def _apply_catalog(backbone: Backbone, settings: Settings) -> None:
    """A file that says what it said last time leaves deployments, routes and limits as they were edited since."""
    command = apply_file(settings.catalog, _cause(), if_changed=True)
    try:
        await ApplyCatalogHandler(backbone.store).handle(command)
    except InvalidInput as error:
        raise SettingsError(f"AGG_CATALOG: {settings.catalog}: {error}") from error


async def _make_admin(accounts: Accounts, backbone: Backbone, settings: Settings) -> Seeded:
    given = settings.admin_password.get_secret_value() if settings.admin_password else None
    email, password = settings.admin_email or DEMO_EMAIL, given or secrets.token_urlsafe(PASSWORD_BYTES)
    command = Register(email=email, password=password, name="Admin", role="admin")
    try:
        made = await accounts.register.handle(command, _cause())
    except EmailTaken:
        raise SettingsError(
            f"{email} is registered already, but its key is not in {SECRETS}: log in and make a key, "
            "or set AGG_ADMIN_EMAIL to another address"
        ) from None
    user_id, account_id = made.profile.user_id, made.profile.account_id
    await _grant(backbone, account_id)
    return Seeded(await _issue_key(accounts, user_id, account_id), email, password)


async def _grant(backbone: Backbone, account_id: AccountId) -> None:
    ledger = await backbone.store.load(LEDGER, LEDGER.at(account_id))
    if ledger.version == 0:
        grant = GrantCredit(
            account_id=account_id, amount_nanos=DEMO_CREDIT_NANOS, source="promotion", reason="demo credit"
        )
        await GrantCreditHandler(store=backbone.store).handle(grant, _cause())


async def _issue_key(accounts: Accounts, user_id: UserId, account_id: AccountId) -> str:
    command = IssueKey(account_id=account_id, user_id=user_id, name="demo")
    return (await accounts.issue_key.handle(command, _cause())).secret


def _cause() -> Cause:
    return Cause(CommandId(new_id()), now(), actor="seed")
