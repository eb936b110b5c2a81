"""The secrets that everything else is derived from: given, or made once and kept in the data directory."""

import base64
import secrets
from dataclasses import dataclass, field

from api.local_state import SECRETS, LocalState
from api.settings import MASTER_KEY_BYTES, Settings, SettingsError

JWT_SECRET_BYTES = 48

# Under which name the data directory keeps a generated value.
GENERATED = {"AGG_AUTH_JWT_SECRET": "jwt_secret", "AGG_MASTER_KEY": "master_key"}


@dataclass(frozen=True)
class Secrets:
    jwt_secret: str = field(repr=False)
    jwt_previous_secrets: tuple[str, ...] = field(repr=False)
    master_key: bytes = field(repr=False)


def make_secrets(settings: Settings) -> None:
    """Make and keep those that are not given (for `agg up`); later starts find the same ones."""
    state = LocalState(settings.data_dir / SECRETS)
    if settings.auth_jwt_secret is None:
        state.keep(GENERATED["AGG_AUTH_JWT_SECRET"], lambda: secrets.token_urlsafe(JWT_SECRET_BYTES))
    if settings.master_key is None:
        state.keep(
            GENERATED["AGG_MASTER_KEY"], lambda: base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode()
        )


def resolve_secrets(settings: Settings) -> Secrets:
    """Given ones first, then those of the data directory. Raises SettingsError when there are none."""
    kept = LocalState(settings.data_dir / SECRETS).read()
    found = {
        "AGG_AUTH_JWT_SECRET": settings.auth_jwt_secret.get_secret_value() if settings.auth_jwt_secret else None,
        "AGG_MASTER_KEY": settings.master_key.get_secret_value() if settings.master_key else None,
    }
    values = {variable: value or kept.get(GENERATED[variable]) for variable, value in found.items()}
    if missing := [variable for variable, value in values.items() if not value]:
        raise SettingsError(
            f"{' and '.join(missing)} must be set: without `agg up` no secret is generated "
            f"(`openssl rand -base64 48` and `openssl rand -base64 32` make them)"
        )
    return Secrets(
        jwt_secret=str(values["AGG_AUTH_JWT_SECRET"]),
        jwt_previous_secrets=tuple(secret.get_secret_value() for secret in settings.auth_jwt_previous_secrets),
        master_key=base64.b64decode(str(values["AGG_MASTER_KEY"])),
    )
