"""What is set, to what, and by whom; and which names mean nothing."""

import difflib
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from api.durations import format_duration
from api.local_secrets import GENERATED
from api.local_state import SECRETS as SECRETS_FILE
from api.local_state import LocalState
from api.settings import FIELD_OF, FILE_SUFFIX, SECRETS, Settings

MASK = "********"
PREFIX = "AGG_"

Origin = Literal["env", "file", "default", "generated"]


class Setting(msgspec.Struct, frozen=True):
    name: str
    value: str | None
    origin: Origin


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """One warning for each AGG_* name that nothing reads, with the nearest name that something does."""
    known = {*FIELD_OF, *(name + FILE_SUFFIX for name in SECRETS)}
    return [_warning(name, known) for name in sorted(environ) if name.startswith(PREFIX) and name not in known]


def _warning(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting and has no effect" + (f": did you mean {nearest[0]}?" if nearest else "")


def describe(settings: Settings, environ: Mapping[str, str]) -> list[Setting]:
    """Every setting, in the order of the model; secrets masked. Values of this environment's `settings`."""
    generated = LocalState(settings.data_dir / SECRETS_FILE).read()
    return [
        Setting(variable, _shown(getattr(settings, field)), _origin(variable, environ))
        if getattr(settings, field) is not None or GENERATED.get(variable) not in generated
        else Setting(variable, MASK, "generated")
        for variable, field in FIELD_OF.items()
    ]


def _origin(variable: str, environ: Mapping[str, str]) -> Origin:
    if environ.get(variable):
        return "env"
    return "file" if variable in SECRETS and environ.get(variable + FILE_SUFFIX) else "default"


def _shown(value: object) -> str | None:
    if value is None or value == ():
        return None
    if isinstance(value, SecretStr):
        return _masked(value.get_secret_value())
    if isinstance(value, tuple):
        return ", ".join(MASK for _ in value)
    return format_duration(value) if isinstance(value, timedelta) else str(value)


def _masked(secret: str) -> str | None:
    """Of URLs only the credentials; nothing else of a secret is shown."""
    if "://" not in secret:
        return MASK if secret else None
    return ",".join(_without_credentials(url.strip()) for url in secret.split(","))


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    credentials, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{MASK}{at}{place}").geturl() if credentials else url
