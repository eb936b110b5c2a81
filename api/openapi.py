"""The OpenAPI description at /docs. The chat route is raw ASGI and describes itself here."""

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    RequestBody,
    Schema,
)

CHAT_PATH = "/api/v1/chat/completions"


def openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="AI Aggregator",
        version="0.1.0",
        description="One OpenAI-compatible API in front of every AI provider. Every request and charge is an event.",
        path="/docs",
        render_plugins=[JsonRenderPlugin()],
    )


def describe_chat(app: Litestar) -> None:
    """Add the route that Litestar does not know of."""
    paths = app.openapi_schema.paths
    assert paths is not None
    paths[CHAT_PATH] = PathItem(post=_create_chat_completion())


def _create_chat_completion() -> Operation:
    message = Schema(type=OpenAPIType.OBJECT, properties={"role": _text(), "content": _text()}, required=["role"])
    body = Schema(
        type=OpenAPIType.OBJECT,
        properties={
            "model": _text(),
            "messages": Schema(type=OpenAPIType.ARRAY, items=message, min_items=1),
            "stream": Schema(type=OpenAPIType.BOOLEAN),
            "max_completion_tokens": Schema(type=OpenAPIType.INTEGER, minimum=1),
        },
        required=["model", "messages"],
    )
    answer = {"application/json": _json(), "text/event-stream": OpenAPIMediaType(schema=_text())}
    return Operation(
        operation_id="create_chat_completion",
        tags=["chat"],
        summary="OpenAI's chat completion, plain or streamed; parameters beyond these go to the provider",
        request_body=RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True),
        responses={
            "200": OpenAPIResponse(description="A chat.completion, or its chunks", content=answer),
            **{
                status: OpenAPIResponse(description=text, content={"application/json": _json()})
                for status, text in ERRORS
            },
        },
    )


ERRORS = (
    ("400", "The request is not valid"),
    ("401", "No or bad credentials"),
    ("402", "Not enough credit"),
    ("404", "No such model"),
    ("502", "The provider failed"),
    ("503", "The log does not answer"),
)


def _text() -> Schema:
    return Schema(type=OpenAPIType.STRING)


def _json() -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT))
