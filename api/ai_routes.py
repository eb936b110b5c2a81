"""The AI routes: which path speaks which dialect."""

from collections.abc import Mapping
from typing import Any, Protocol

from adapters.dialects.chat_completions.dialect import ChatCompletionsDialect
from adapters.dialects.completions.dialect import CompletionsDialect
from adapters.dialects.dialect import Dialects
from adapters.dialects.embeddings import EmbeddingsDialect
from adapters.dialects.messages.dialect import MessagesDialect
from adapters.dialects.responses.dialect import ResponsesDialect
from api.ai_endpoint import AiEndpoint, AiParts
from api.ai_errors import AnthropicErrors, ErrorFormat, OpenAIErrors, ResponsesErrors
from api.body import Receive
from api.count_tokens import CountTokensEndpoint
from api.send import Send
from domain.ports import Provider


class AiRoute(Protocol):
    """An ASGI application, and how its clients want to be told of failures."""

    errors: ErrorFormat

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None: ...


CHAT, COMPLETIONS, MESSAGES = ChatCompletionsDialect(), CompletionsDialect(), MessagesDialect()
RESPONSES, EMBEDDINGS = ResponsesDialect(), EmbeddingsDialect()
DIALECTS = Dialects(
    chat={dialect.endpoint: dialect for dialect in (CHAT, COMPLETIONS, MESSAGES, RESPONSES)}, embeddings=EMBEDDINGS
)


def ai_endpoints(parts: AiParts, providers: Mapping[str, Provider]) -> Mapping[str, AiRoute]:
    """By path, below `/api/v1` and `/v1`."""
    openai, anthropic = OpenAIErrors(), AnthropicErrors()
    return {
        "/chat/completions": AiEndpoint(parts, CHAT, openai),
        "/completions": AiEndpoint(parts, COMPLETIONS, openai),
        "/embeddings": AiEndpoint(parts, EMBEDDINGS, openai),
        "/messages": AiEndpoint(parts, MESSAGES, anthropic),
        "/messages/count_tokens": CountTokensEndpoint(parts, providers, MESSAGES, anthropic),
        "/responses": AiEndpoint(parts, RESPONSES, ResponsesErrors()),
    }
