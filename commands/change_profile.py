"""A person changes their own profile."""

import msgspec

from commands.store import Cause, EventStore
from domain.errors import NotFound
from domain.ids import AccountId, UserId
from domain.ports import Vault
from domain.user import USER, Profile, ProfileChanged, User, change_profile, clean_name


class ChangeProfile(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UserId
    account_id: AccountId
    name: str


class ProfileAt(msgspec.Struct, frozen=True, kw_only=True):
    profile: Profile
    position: int


class ChangeProfileHandler:
    """Raises InvalidInput, NotFound, Unavailable."""

    def __init__(self, *, store: EventStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def handle(self, command: ChangeProfile, cause: Cause) -> ProfileAt:
        name = clean_name(command.name)
        address = USER.at(command.user_id, owner=command.account_id)
        current = await self._store.load(USER, address)
        profile = await self._opened(current.state, command.user_id)
        if profile.name == name:
            return ProfileAt(profile=profile, position=current.position)
        changed = ProfileChanged(
            user_id=command.user_id,
            account_id=command.account_id,
            at=cause.at,
            name_sealed=await self._vault.seal(command.user_id, "name", name),
        )
        after = await self._store.change(USER, address, lambda user: change_profile(user, changed), cause)
        return ProfileAt(profile=msgspec.structs.replace(profile, name=name), position=after.position)

    async def _opened(self, user: User, user_id: UserId) -> Profile:
        email = await self._vault.open(user_id, "email", user.email_sealed)
        name = await self._vault.open(user_id, "name", user.name_sealed)
        if user.registered_at is None or email is None or name is None:
            raise NotFound("user", user_id)
        return Profile(user.user_id, user.account_id, email, name, user.role, user.registered_at)
