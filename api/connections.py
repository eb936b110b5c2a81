"""The providers as routes reach them: each under its usual key, and deployments that have a key or an address of their
own."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack

import msgspec
import structlog

from api.providers import Account, open_account
from api.settings import Settings, SettingsError
from domain.deployment import Deployment
from domain.ports import Provider

log = structlog.get_logger()


class Connections(Mapping[str, Provider]):
    """By `Deployment.connection`, which is a provider's name for all that have nothing of their own.

    What was replaced stays open until the end, for calls may still be under way. `version` is another number after
    each change.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        accounts: Mapping[str, Account],
        settings: Settings,
        stack: AsyncExitStack,
    ) -> None:
        self.version = 0
        self._providers = dict(providers)
        self._accounts = accounts
        self._settings = settings
        self._stack = stack
        self._own: dict[str, Account] = {}
        self._unusable: frozenset[str] = frozenset()
        self._unopened: frozenset[str] = frozenset()
        """What was warned of already."""

    def __getitem__(self, connection: str) -> Provider:
        return self._providers[connection]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    async def keep(self, deployments: Iterable[Deployment]) -> None:
        """Open what is declared and not open yet, or declared anew."""
        wanted = {each.connection: self._account(each) for each in deployments if each.connection != each.provider}
        for connection in self._own.keys() - {name for name, account in wanted.items() if account is not None}:
            del self._own[connection], self._providers[connection]
            self.version += 1
        for connection, account in wanted.items():
            if account is not None and self._own.get(connection) != account:
                await self._open(connection, account)

    async def _open(self, connection: str, account: Account) -> None:
        """What cannot be opened is left out, and keeps no other from being opened."""
        try:
            self._providers[connection] = await open_account(account, self._stack)
        except ValueError as unusable:
            if connection not in self._unopened:
                log.warning("deployment_cannot_be_opened", connection=connection, reason=type(unusable).__name__)
            self._unopened |= {connection}
            return
        self._unopened -= {connection}
        self._own[connection] = account
        self.version += 1

    def _account(self, deployment: Deployment) -> Account | None:
        """None where its provider is not reachable from here, or its key is not in the environment."""
        usual = self._accounts.get(deployment.provider)
        try:
            key = self._settings.secret_named(deployment.key_ref) if deployment.key_ref else (usual and usual.key)
        except SettingsError as unusable:
            if deployment.connection not in self._unusable:
                log.warning("deployment_with_unusable_key", deployment=deployment.name, reason=str(unusable))
            self._unusable |= {deployment.connection}
            return None
        self._unusable -= {deployment.connection}
        if usual is None or key is None:
            if deployment.connection not in self._own:
                log.debug("deployment_without_key", deployment=deployment.name, variable=deployment.key_ref)
            return None
        return msgspec.structs.replace(usual, base_url=deployment.base_url or usual.base_url, key=key)
