"""The AI routes as /docs describes them: they are raw ASGI, so no handler's signature says what they take."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from adapters.dialects.chat_completions.check import ChatRequest
from adapters.dialects.completions.request import CompletionRequest
from adapters.dialects.embeddings import EmbeddingsRequest
from adapters.dialects.messages.request import CountRequest, MessagesRequest
from adapters.dialects.responses.wire import AskedResponse
from api.openapi_schemas import IDEMPOTENCY_KEY, header


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`takes` is what the route decodes; its schemas are named with `prefix`. `ends` is a stream's last event, None
    where there are no streams."""

    path: str
    operation_id: str
    summary: str
    description: str
    takes: Any
    prefix: str
    example: Mapping[str, Any]
    ends: str | None = None
    style: Literal["openai", "anthropic"] = "openai"
    is_charged: bool = True


_HELLO = [{"role": "user", "content": "Hello"}]
ROUTES: Sequence[Route] = (
    Route(
        path="/chat/completions",
        operation_id="create_chat_completion",
        summary="Complete a chat, plain or streamed",
        description="OpenAI's chat completion.",
        takes=ChatRequest,
        prefix="Chat",
        example={"model": "sim/echo", "messages": _HELLO},
        ends="`data: [DONE]`",
    ),
    Route(
        path="/completions",
        operation_id="create_completion",
        summary="Complete a prompt, plain or streamed",
        description="OpenAI's older completion.",
        takes=CompletionRequest,
        prefix="Completion",
        example={"model": "sim/echo", "prompt": "Hello"},
        ends="`data: [DONE]`",
    ),
    Route(
        path="/responses",
        operation_id="create_response",
        summary="Create a response, plain or streamed",
        description="OpenAI's response, stateless: the whole conversation comes with each request, nothing is stored.",
        takes=AskedResponse,
        prefix="Responses",
        example={"model": "sim/echo", "input": "Hello"},
        ends="`response.completed`",
    ),
    Route(
        path="/messages",
        operation_id="create_message",
        summary="Create a message, plain or streamed",
        description="Anthropic's message, with its errors and streaming events.",
        takes=MessagesRequest,
        prefix="Messages",
        example={"model": "sim/echo", "max_tokens": 100, "messages": _HELLO},
        ends="`message_stop`",
        style="anthropic",
    ),
    Route(
        path="/messages/count_tokens",
        operation_id="count_message_tokens",
        summary="Count a message's input tokens",
        description="By the provider's own count; free of charge, and not recorded.",
        takes=CountRequest,
        prefix="Count",
        example={"model": "sim/echo", "messages": _HELLO},
        style="anthropic",
        is_charged=False,
    ),
    Route(
        path="/embeddings",
        operation_id="create_embeddings",
        summary="Create embeddings",
        description="OpenAI's embeddings; base64 of little-endian float32 where `encoding_format` says so.",
        takes=EmbeddingsRequest,
        prefix="Embeddings",
        example={"model": "sim/embed", "input": "Hello"},
    ),
)


def ai_schemas() -> dict[str, Any]:
    """As the routes themselves decode them."""
    found: dict[str, Any] = {}
    for route in ROUTES:
        _, schemas = msgspec.json.schema_components(
            [route.takes], ref_template=f"#/components/schemas/{route.prefix}_{{name}}"
        )
        found |= {f"{route.prefix}_{name}": schema for name, schema in schemas.items()}
    return found


def ai_paths(errors: Mapping[str, dict[str, Any]], credentials: Sequence[dict[str, list[str]]]) -> dict[str, Any]:
    """`errors` are the answers with an error, by style."""
    return {f"/api/v1{route.path}": {"post": _operation(route, errors[route.style], credentials)} for route in ROUTES}


def _operation(route: Route, errors: dict[str, Any], credentials: Sequence[dict[str, list[str]]]) -> dict[str, Any]:
    examples = {"plain": {"summary": "Plain", "value": route.example}}
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    text = route.description
    if route.ends:
        examples["streamed"] = {"summary": "Streamed", "value": {**route.example, "stream": True}}
        answer["text/event-stream"] = {
            "schema": {"type": "string", "description": f"Server-sent events; the last is {route.ends}."}
        }
        text += (
            " In a stream, cost and position come as comment lines before the last event, because headers are sent "
            "before they are known."
        )
    schema = {"$ref": f"#/components/schemas/{route.prefix}_{route.takes.__name__}"}
    headers = HEADERS if route.is_charged else {"x-request-id": HEADERS["x-request-id"]}
    return {
        "tags": ["ai"],
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": text,
        "security": list(credentials),
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}},
        "responses": {"200": {"description": "The answer", "headers": headers, "content": answer}, **errors},
    }


HEADERS = {
    "x-request-id": header("The request's id, for `GET /api/v1/requests/{request_id}`", "req_0197f0c2a1b87a6f9c3e5d2b"),
    "x-agg-provider": header("Who served it", "openai"),
    "x-agg-model": header("As the catalogue names it", "gpt-4o"),
    "x-agg-cost-usd": header("What it cost; in a stream a comment line says it", "0.000105"),
    "x-agg-cache": header("`hit`, `miss`, or `bypass` where the cache was not asked", "bypass"),
    "x-agg-cache-similarity": header("How near the question is that was answered; only where it was another", "0.9731"),
    "x-agg-attempts": header("Upstream calls that were made; 0 when the cache answered", "1"),
    "x-agg-position": header("Where its end stands in the log; of a stream, its admission", "REQ:34"),
    "ratelimit-policy": header(
        "The limits that it counts in; `x-ratelimit-*` as OpenAI has them", '"key-requests-minute";q=600;w=60'
    ),
    "ratelimit": header("What is left of each, and when it is whole again", '"key-requests-minute";r=599;t=60'),
    "x-agg-degraded": header("`limits`: each worker goes by its own share just now", "limits"),
    "x-agg-dropped": header("Parameters left out as `drop_params` allowed; not there when none was", "seed"),
}
