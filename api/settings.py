"""Everything that a person configures, read once from the environment. `load_settings` is the only reader."""

import base64
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
)

from api.durations import GoDuration
from api.startup import StartupError

MIN_JWT_SECRET_BYTES = 32
MASTER_KEY_BYTES = 32
FILE_SUFFIX = "_FILE"
SENDABLE_KEY = re.compile(r"[!-~]+")

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda text: str(text).lower())]


class SettingsError(StartupError):
    """A variable is missing or wrong. One line: its name, what is wrong, the remedy."""


def _long_enough(secret: SecretStr) -> SecretStr:
    size = len(secret.get_secret_value().encode())
    if size < MIN_JWT_SECRET_BYTES:
        raise ValueError(
            f"is {size} bytes long and must be at least {MIN_JWT_SECRET_BYTES}: make one with `openssl rand -base64 48`"
        )
    return secret


def _is_master_key(secret: SecretStr) -> SecretStr:
    try:
        size = len(base64.b64decode(secret.get_secret_value(), validate=True))
    except ValueError:
        size = None
    if size != MASTER_KEY_BYTES:
        raise ValueError(f"must be {MASTER_KEY_BYTES} bytes in base64: make one with `openssl rand -base64 32`")
    return secret


def _url(schemes: tuple[str, ...], text: str) -> str:
    for part in text.split(","):
        address = urlsplit(part.strip())  # a ValueError of its own says what is wrong with the address
        if address.scheme not in schemes or not address.hostname:
            raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return text.rstrip("/")


def _sendable(key: str) -> str:
    """As a header: a line end that came with the key is none of it."""
    stripped = key.strip()
    if not SENDABLE_KEY.fullmatch(stripped):
        raise ValueError("must be one word of printable ASCII: copy the provider's key again")
    return stripped


def _provider_key(secret: SecretStr) -> SecretStr:
    return SecretStr(_sendable(secret.get_secret_value()))


def _nats_url(secret: SecretStr) -> SecretStr:
    return SecretStr(_url(("nats", "tls", "ws", "wss"), secret.get_secret_value()))


def _words(text: object) -> object:
    return tuple(word.strip() for word in text.split(",") if word.strip()) if isinstance(text, str) else text


def _log_format() -> Literal["text", "json"]:
    return "text" if sys.stderr.isatty() else "json"


HttpUrl = Annotated[str, AfterValidator(partial(_url, ("http", "https")))]
NatsUrl = Annotated[SecretStr, AfterValidator(_nats_url)]
JwtSecret = Annotated[SecretStr, AfterValidator(_long_enough)]
MasterKey = Annotated[SecretStr, AfterValidator(_is_master_key)]
ProviderKey = Annotated[SecretStr, AfterValidator(_provider_key)]


class Settings(BaseModel):
    """One field for each variable; its alias is the variable's name. None means: not given."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    server_host: str = Field("127.0.0.1", alias="AGG_SERVER_HOST")
    server_port: Port = Field(8080, alias="AGG_SERVER_PORT")

    nats_url: NatsUrl | None = Field(None, alias="AGG_NATS_URL")
    database_host: str | None = Field(None, alias="AGG_DATABASE_HOST")
    database_port: Port = Field(5432, alias="AGG_DATABASE_PORT")
    database_user: str = Field("agg", alias="AGG_DATABASE_USER")
    database_password: SecretStr = Field(SecretStr(""), alias="AGG_DATABASE_PASSWORD")
    database_dbname: str = Field("agg", alias="AGG_DATABASE_DBNAME")
    redis_host: str | None = Field(None, alias="AGG_REDIS_HOST")
    redis_port: Port = Field(6379, alias="AGG_REDIS_PORT")
    redis_password: SecretStr | None = Field(None, alias="AGG_REDIS_PASSWORD")
    redis_db: int = Field(0, ge=0, alias="AGG_REDIS_DB")

    auth_jwt_secret: JwtSecret | None = Field(None, alias="AGG_AUTH_JWT_SECRET")
    auth_jwt_previous_secrets: Annotated[tuple[JwtSecret, ...], BeforeValidator(_words)] = Field(
        (), alias="AGG_AUTH_JWT_PREVIOUS_SECRETS"
    )
    auth_jwt_expiration: GoDuration = Field(timedelta(hours=24), gt=timedelta(0), alias="AGG_AUTH_JWT_EXPIRATION")
    auth_refresh_expiration: GoDuration = Field(
        timedelta(hours=720), gt=timedelta(0), alias="AGG_AUTH_REFRESH_EXPIRATION"
    )
    master_key: MasterKey | None = Field(None, alias="AGG_MASTER_KEY")
    admin_email: str | None = Field(None, alias="AGG_ADMIN_EMAIL")
    admin_password: SecretStr | None = Field(None, alias="AGG_ADMIN_PASSWORD")

    data_dir: Path = Field(Path(".agg"), alias="AGG_DATA_DIR")
    api_workers: int = Field(1, ge=1, le=1000, alias="AGG_API_WORKERS")
    """How many API processes there are: what each may let through alone while Valkey is away is its share."""
    durability: Literal["strict", "relaxed"] = Field("strict", alias="AGG_DURABILITY")
    log_level: LogLevel = Field("info", alias="AGG_LOG_LEVEL")
    log_format: Literal["json", "text"] = Field(default_factory=_log_format, alias="AGG_LOG_FORMAT")
    lease_term: GoDuration = Field(timedelta(seconds=60), ge=timedelta(seconds=1), alias="AGG_LEASE_TERM")
    drain_grace: GoDuration = Field(
        timedelta(seconds=30), ge=timedelta(0), le=timedelta(hours=1), alias="AGG_DRAIN_GRACE"
    )
    """What runs when the API is told to stop may take so long; what takes longer is ended, and charged."""
    streams_per_key: int = Field(256, ge=1, alias="AGG_STREAMS_PER_KEY")
    """That one key may have open in one API process, whatever the catalogue allows."""
    unlisted_models: Literal["refuse", "allow"] = Field("refuse", alias="AGG_UNLISTED_MODELS")
    unpriced_ceiling_usd: Decimal = Field(Decimal("0.01"), gt=0, alias="AGG_UNPRICED_CEILING_USD")
    catalog: Path | None = Field(None, alias="AGG_CATALOG")
    sim_served_log: Path | None = Field(None, alias="AGG_SIM_SERVED_LOG")

    openai_api_key: ProviderKey | None = Field(None, alias="OPENAI_API_KEY")
    anthropic_api_key: ProviderKey | None = Field(None, alias="ANTHROPIC_API_KEY")
    google_ai_api_key: ProviderKey | None = Field(None, alias="GOOGLE_AI_API_KEY")
    cohere_api_key: ProviderKey | None = Field(None, alias="COHERE_API_KEY")
    openai_base_url: HttpUrl | None = Field(None, alias="OPENAI_BASE_URL")
    anthropic_base_url: HttpUrl | None = Field(None, alias="ANTHROPIC_BASE_URL")
    google_ai_base_url: HttpUrl | None = Field(None, alias="GOOGLE_AI_BASE_URL")
    cohere_base_url: HttpUrl | None = Field(None, alias="COHERE_BASE_URL")

    _environ: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def secret_named(self, variable: str) -> str | None:
        """Of a variable that the catalogue names: its value, or what is in the file that `…_FILE` names. Raises
        SettingsError for a file that cannot be read, and for what is no key."""
        path = self._environ.get(variable + FILE_SUFFIX)
        key = _secret_in(variable, Path(path)) if path else self._environ.get(variable)
        if not key:
            return None
        try:
            return _sendable(key)
        except ValueError as wrong:
            raise SettingsError(f"{variable} {wrong}") from None

    @property
    def has_own_nats(self) -> bool:
        return self.nats_url is not None

    @property
    def has_own_database(self) -> bool:
        """Any AGG_DATABASE_* means a server of the user's."""
        return any(name.startswith("database_") for name in self.model_fields_set)

    @property
    def has_own_redis(self) -> bool:
        """Any AGG_REDIS_* means a server of the user's."""
        return any(name.startswith("redis_") for name in self.model_fields_set)


FIELD_OF = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
SECRETS = frozenset(variable for variable, name in FIELD_OF.items() if "SecretStr" in repr(Settings.model_fields[name]))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of this environment; an empty variable counts as not given. Raises SettingsError."""
    given = {name: value for name, value in environ.items() if name in FIELD_OF and value}
    for name in SECRETS:
        if path := environ.get(name + FILE_SUFFIX):
            if name in given:
                raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set: keep one of them")
            given[name] = _secret_in(name, Path(path))
    try:
        settings = Settings.model_validate(given)
        settings._environ = {name: value for name, value in environ.items() if value and name not in FIELD_OF}
        return settings
    except ValidationError as invalid:
        raise SettingsError("; ".join(dict.fromkeys(_explained(invalid, given)))) from None


def _secret_in(name: str, path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is not text"
        raise SettingsError(f"{name}{FILE_SUFFIX} names {path}, which cannot be read: {reason}") from None
    if not text:
        raise SettingsError(f"{name}{FILE_SUFFIX} names {path}, which is empty: put the secret there")
    return text


def _explained(invalid: ValidationError, given: Mapping[str, str]) -> list[str]:
    """One phrase for each wrong value; secrets are not repeated."""
    phrases: list[str] = []
    for error in invalid.errors(include_input=False, include_url=False):
        name = str(error["loc"][0])
        own_words = error["type"] == "value_error"
        reason = str(error["ctx"]["error"]) if own_words and "ctx" in error else _plain(error["msg"])
        shown = name if name in SECRETS else f"{name}={given[name]!r}"
        phrases.append(f"{shown} {reason}")
    return phrases


def _plain(message: str) -> str:
    """Pydantic's sentence, as the end of ours: 'Input should be 'a' or 'b'' becomes 'must be 'a' or 'b''."""
    return message.replace("Input should be", "must be", 1).split(", unable to", 1)[0]
