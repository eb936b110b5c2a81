"""The providers that this process can reach: those that have a key or an address, and the simulated one."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack

import structlog
from pydantic import SecretStr

from adapters.catalog.declared_provider import DeclaredProvider
from adapters.catalog.file import read_providers
from adapters.providers import anthropic, gemini
from adapters.providers.anthropic.native import CountTokensPassthrough, MessagesPassthrough
from adapters.providers.cohere.chat import CohereVocabulary
from adapters.providers.cohere.embeddings import CohereEmbeddings
from adapters.providers.cohere.errors import read_error as read_cohere_error
from adapters.providers.http import ProviderHttp
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

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
GOOGLE_AI_URL = "https://generativelanguage.googleapis.com"
COHERE_URL = "https://api.cohere.com"

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

log = structlog.get_logger()


async def open_providers(settings: Settings, stack: AsyncExitStack) -> Mapping[str, Provider]:
    """By name. Raises InvalidInput for a catalogue file that cannot be read."""
    sim = SimProvider(DIALECTS, settings.sim_served_log)
    stack.callback(sim.close)
    providers: dict[str, Provider] = {sim.name: sim}
    for http, speech in (*_built_in(settings), *_declared(settings)):
        await http.open()
        stack.push_async_callback(http.close)
        providers[http.provider] = HttpProvider(http, speech, DIALECTS)
    return providers


def _built_in(settings: Settings) -> Iterator[tuple[ProviderHttp, Speech]]:
    """With a key or an address; an address alone is a stand-in that wants no key."""
    if settings.openai_api_key or settings.openai_base_url:
        key = _key(settings.openai_api_key)
        url = settings.openai_base_url or OPENAI_URL
        yield ProviderHttp("openai", url, _bearer(key), read_openai_error), OPENAI
    if settings.anthropic_api_key or settings.anthropic_base_url:
        headers = {**anthropic.HEADERS, **_named("x-api-key", _key(settings.anthropic_api_key))}
        url = settings.anthropic_base_url or ANTHROPIC_URL
        yield ProviderHttp("anthropic", url, headers, anthropic.read_error), ANTHROPIC
    if settings.google_ai_api_key or settings.google_ai_base_url:
        headers = _named("x-goog-api-key", _key(settings.google_ai_api_key))
        url = settings.google_ai_base_url or GOOGLE_AI_URL
        yield ProviderHttp("google", url, headers, gemini.read_error), GOOGLE
    if settings.cohere_api_key or settings.cohere_base_url:
        url = settings.cohere_base_url or COHERE_URL
        yield ProviderHttp("cohere", url, _bearer(_key(settings.cohere_api_key)), read_cohere_error), COHERE


def _declared(settings: Settings) -> Iterator[tuple[ProviderHttp, Speech]]:
    for provider in read_providers(settings.catalog):
        key = settings.provider_keys.get(provider.name)
        if provider.api_key_env and key is None:
            log.warning("provider_without_key", provider=provider.name, variable=provider.api_key_env)
            continue
        yield _compatible(provider, _key(key)), COMPATIBLE


def _compatible(provider: DeclaredProvider, key: str) -> ProviderHttp:
    return ProviderHttp(provider.name, provider.base_url, _bearer(key), read_openai_error)


def _key(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _bearer(key: str) -> dict[str, str]:
    return _named("authorization", f"Bearer {key}" if key else "")


def _named(header: str, value: str) -> dict[str, str]:
    return {header: value} if value else {}
