"""A provider that the catalogue file declares: it speaks a protocol that we know, at an address of its own."""

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from domain.declaration import is_this_machine

BUILT_IN = frozenset({"openai", "anthropic", "google", "cohere", "sim"})

_NAME = re.compile(r"[a-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DeclaredProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`base_url` ends where the protocol's own paths begin (`…/v1`), without a slash. `api_key_env` names the variable
    of the environment that holds the key; None for a server that wants none."""

    name: str
    protocol: Literal["openai"] = "openai"
    base_url: str
    api_key_env: str | None = None


def checked(declared: Sequence[DeclaredProvider]) -> tuple[DeclaredProvider, ...]:
    """Raises ValueError that names the provider and the remedy."""
    for number, provider in enumerate(declared):
        if not _NAME.fullmatch(provider.name):
            raise ValueError(f"provider {provider.name!r}: a name is made of a-z, 0-9, _ and -")
        if provider.name in BUILT_IN or any(provider.name == other.name for other in declared[:number]):
            raise ValueError(f"provider {provider.name!r}: the name is taken; choose another")
        if provider.api_key_env is not None and not _VARIABLE.fullmatch(provider.api_key_env):
            raise ValueError(f"provider {provider.name!r}: api_key_env is the name of a variable, such as GROQ_API_KEY")
        _check_url(provider)
    return tuple(msgspec.structs.replace(each, base_url=each.base_url.rstrip("/")) for each in declared)


def _check_url(provider: DeclaredProvider) -> None:
    place = f"provider {provider.name!r}: base_url"
    try:
        url = urlsplit(provider.base_url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"{place} is no address ({error})") from None
    if url.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", provider.base_url):
        raise ValueError(f"{place} is an http(s) address such as https://api.groq.com/openai/v1")
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise ValueError(f"{place} has no credentials, query or fragment; the key comes from api_key_env")
    if url.scheme == "http" and not is_this_machine(host):
        raise ValueError(f"{place}: keys and prompts are sent over https; http is for this machine (127.0.0.1) only")
