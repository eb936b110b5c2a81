"""The vendors that are known, and the providers that this process can reach: those that have a key or an address of
their own, those that the catalogue file declares, and the simulated one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec
import structlog

from adapters.catalog.declared_provider import DeclaredProvider
from adapters.providers import anthropic, gemini
from adapters.providers.anthropic.native import CountTokensPassthrough, MessagesPassthrough
from adapters.providers.cohere.chat import CohereVocabulary
from adapters.providers.cohere.embeddings import CohereEmbeddings
from adapters.providers.cohere.errors import read_error as read_cohere_error
from adapters.providers.http import ProviderHttp, ReadError
from adapters.providers.http_provider import HttpProvider, Speech
from adapters.providers.openai.embeddings import EmbeddingsPassthrough
from adapters.providers.openai.errors import read_error as read_openai_error
from adapters.providers.openai.native import ChatPassthrough, CompletionsPassthrough
from adapters.providers.openai.requests import OpenAIChatVocabulary
from adapters.providers.openai.responses import ResponsesPassthrough
from adapters.providers.passthrough import Passthrough
from adapters.providers.sim import SimProvider
from adapters.providers.token_counts import TranslatedCount
from api.ai_routes import DIALECTS
from api.settings import Settings
from domain.ports import Provider
from domain.upstream import Endpoint

COMPATIBLE_PASSTHROUGHS: Mapping[Endpoint, Passthrough] = {
    "chat.completions": ChatPassthrough(),
    "completions": CompletionsPassthrough(),
}
OPENAI = Speech(
    passthroughs={
        "chat.completions": ChatPassthrough(own_only=True),
        "completions": CompletionsPassthrough(),
        "responses": ResponsesPassthrough(),
    },
    embeddings_passthrough=EmbeddingsPassthrough(),
    chat=OpenAIChatVocabulary(),
    takes_anything=True,
)
COMPATIBLE = Speech(
    passthroughs=COMPATIBLE_PASSTHROUGHS,
    embeddings_passthrough=EmbeddingsPassthrough(),
    chat=OpenAIChatVocabulary(strict=False, developer_role=False, max_completion_tokens=False),
    takes_anything=True,
)
ANTHROPIC = Speech(
    passthroughs={"messages": MessagesPassthrough()},
    chat=anthropic.AnthropicVocabulary(),
    counter=CountTokensPassthrough(),
)
GOOGLE = Speech(
    chat=gemini.GeminiVocabulary(),
    embeddings=gemini.GeminiEmbeddings(),
    counter=TranslatedCount("google", gemini.CountTokens(), DIALECTS),
)
COHERE = Speech(chat=CohereVocabulary(), embeddings=CohereEmbeddings())


class Vendor(msgspec.Struct, frozen=True):
    """How to reach it: `headers` of a key, and how its errors look."""

    base_url: str
    speech: Speech
    headers: Callable[[str], dict[str, str]]
    read_error: ReadError


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _anthropic(key: str) -> dict[str, str]:
    return {**anthropic.HEADERS, **({"x-api-key": key} if key else {})}


def _google(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key} if key else {}


VENDORS: Mapping[str, Vendor] = {
    "openai": Vendor("https://api.openai.com/v1", OPENAI, _bearer, read_openai_error),
    "anthropic": Vendor("https://api.anthropic.com", ANTHROPIC, _anthropic, anthropic.read_error),
    "google": Vendor("https://generativelanguage.googleapis.com", GOOGLE, _google, gemini.read_error),
    "cohere": Vendor("https://api.cohere.com", COHERE, _bearer, read_cohere_error),
}

log = structlog.get_logger()


class Account(msgspec.Struct, frozen=True):
    """A provider under one key: where it is reached, and how it speaks."""

    provider: str
    vendor: Vendor
    base_url: str
    key: str

    def http(self) -> ProviderHttp:
        return ProviderHttp(self.provider, self.base_url, self.vendor.headers(self.key), self.vendor.read_error)


async def open_providers(
    accounts: Mapping[str, Account], settings: Settings, stack: AsyncExitStack
) -> Mapping[str, Provider]:
    """By name."""
    sim = SimProvider(DIALECTS, settings.sim_served_log)
    stack.callback(sim.close)
    return {sim.name: sim, **{name: await open_account(account, stack) for name, account in accounts.items()}}


async def open_account(account: Account, stack: AsyncExitStack) -> HttpProvider:
    http = account.http()
    await http.open()
    stack.push_async_callback(http.close)
    return HttpProvider(http, account.vendor.speech, DIALECTS)


def accounts_of(settings: Settings, declared: Sequence[DeclaredProvider]) -> Mapping[str, Account]:
    """By provider; `declared` are those of the catalogue file."""
    return {account.provider: account for account in (*_built_in(settings), *_declared(settings, declared))}


def _built_in(settings: Settings) -> Iterator[Account]:
    """With a key or an address; an address alone is a stand-in that wants no key."""
    given = {
        "openai": (settings.openai_api_key, settings.openai_base_url),
        "anthropic": (settings.anthropic_api_key, settings.anthropic_base_url),
        "google": (settings.google_ai_api_key, settings.google_ai_base_url),
        "cohere": (settings.cohere_api_key, settings.cohere_base_url),
    }
    for name, (key, base_url) in given.items():
        if key or base_url:
            vendor = VENDORS[name]
            yield Account(name, vendor, base_url or vendor.base_url, key.get_secret_value() if key else "")


def _declared(settings: Settings, declared: Sequence[DeclaredProvider]) -> Iterator[Account]:
    for provider in declared:
        key = settings.secret_named(provider.api_key_env) if provider.api_key_env else ""
        if key is None:
            log.warning("provider_without_key", provider=provider.name, variable=provider.api_key_env)
            continue
        vendor = Vendor(provider.base_url, COMPATIBLE, _bearer, read_openai_error)
        yield Account(provider.name, vendor, provider.base_url, key)
