"""What our routes promise beyond what their signatures say: credentials, errors, headers, positions, and the chat
route, which is raw ASGI.

It is read off the handlers where it can be: who depends on `caller` needs a credential, who depends on a minimum
position takes one.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from api.chat_request import ChatRequest
from api.error_handlers import speaks_openai
from api.openapi_schemas import simplify, without_null

DESCRIPTION = """\
One OpenAI-compatible API in front of every AI provider. Every request and every charge is a durable event.

**Credentials.** Send an API key or an access token as `Authorization: Bearer …`.

**AI routes** (chat, models) also answer under `/v1` and speak OpenAI's errors; all others answer errors as
`application/problem+json` (RFC 9457) with a stable `code`.

**Reading your own writes.** A write answers `x-agg-position`, such as `EVT:12`; a chat completion answers `REQ:34`.
Send it with a read as `?min_position=` or `x-agg-min-position`: the read waits until it shows that write.

**Money** is exact: a decimal string in USD (`cost_usd`) beside an integer in nano-USD (`cost_nanos`).
"""

TAGS = {
    "chat": "Chat completions, as OpenAI's clients ask for them.",
    "models": "What you may use, with price and size.",
    "requests": "Your AI requests: search, and one request from admission to charge.",
    "usage": "Tokens and cost over time.",
    "billing": "The balance at any instant, and every movement of it.",
    "keys": "API keys. Making and revoking them takes a log-in.",
    "auth": "Register, log in and out, refresh a session.",
    "users": "Your own profile.",
    "health": "For load balancers and Prometheus; no credentials.",
}

CHAT_PATH = "/api/v1/chat/completions"
CREDENTIALS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
A_LOG_IN: list[dict[str, list[str]]] = [{"bearer": []}]
MIN_POSITION = ("min_position", "wanted")
"""Dependencies of a handler that waits: for one stream, or for both."""
SESSION_ONLY = frozenset({"issue_key", "revoke_key", "change_profile", "log_out"})

ERRORS = {
    400: "The request is not HTTP or JSON that we could read",
    401: "No credential, or none that holds",
    402: "Not enough credit: retrying does not help",
    403: "An API key may not do this; log in",
    404: "There is no such thing, or it is another account's",
    409: "It conflicts with what is recorded",
    413: "The body is too large",
    422: "The request is not valid: `errors` names the places",
    429: "Too much at once; `retry-after` says when to come back",
    502: "The provider failed",
    503: "The log or the read models cannot answer now; `retry-after` says when to come back",
    504: "The provider took too long",
}
OF_OPERATION: Mapping[str, Mapping[int, str]] = {
    "register": {409: "The e-mail address is taken", 429: ERRORS[429]},
    "log_in": {401: "Wrong e-mail or password", 429: ERRORS[429]},
    "refresh_session": {401: "The session has ended, or the refresh token was used twice (`refresh_reuse`)"},
}
CHAT_ERRORS = (400, 401, 402, 404, 409, 413, 429, 502, 503, 504)


def complete(found: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """Add it to what Litestar found out."""
    document: dict[str, Any] = simplify(found)
    handlers = _handlers(app)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            handler = handlers.get(operation.get("operationId", ""))
            if handler is not None:
                _complete_operation(operation, handler, path, method)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(SCHEMAS)
    schemas.update(simplify(_chat_schemas()))
    document["paths"] = dict(sorted({**document["paths"], CHAT_PATH: {"post": _chat_completion()}}.items()))
    return document


def _handlers(app: Litestar) -> dict[str, HTTPRouteHandler]:
    found = [handler for route in app.routes for handler in getattr(route, "route_handlers", ())]
    return {str(handler.operation_id): handler for handler in found if isinstance(handler, HTTPRouteHandler)}


def _complete_operation(operation: dict[str, Any], handler: HTTPRouteHandler, path: str, method: str) -> None:
    asks = set(handler.parsed_fn_signature.parameters)
    ident = operation["operationId"]
    known = "caller" in asks or ident == "log_out"
    waits = [name for name in MIN_POSITION if name in asks]
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = without_null(parameter["schema"])
    operation["security"] = [] if not known else A_LOG_IN if ident in SESSION_ONLY else CREDENTIALS
    if waits:
        parameters += _min_position(both=waits == ["wanted"])
    if not parameters:
        del operation["parameters"]
    expected = _errors_of(operation, path, known=known)
    responses = {status: answer for status, answer in operation["responses"].items() if int(status) < 300}
    written = {"x-agg-position": _POSITION_HEADER} if method != "get" and asks & {"accounts"} else {}
    for status, answer in responses.items():
        answer["description"] = HTTPStatus(int(status)).phrase
        answer["headers"] = {**answer.get("headers", {}), "x-request-id": _ID_HEADER, **written}
    operation["responses"] = {**responses, **_answers(expected, openai=speaks_openai(path))}
    if ident == "read_usage":
        responses["200"]["content"] = _USAGE
    if ident in ("health", "ready"):
        operation["responses"]["503"] = {**responses["200"], "description": "Not now; the body says what is down"}


def _errors_of(operation: dict[str, Any], path: str, *, known: bool) -> dict[int, str]:
    """Health has none: its own body says how things are, with 200 or 503."""
    ident = operation["operationId"]
    if "health" in operation.get("tags", ()):
        return {}
    statuses: set[int] = {503}
    if known:
        statuses.add(401)
    if ident in SESSION_ONLY:
        statuses.add(403)
    if "requestBody" in operation:
        statuses |= {400, 413}
    if "requestBody" in operation or any(known["in"] != "path" for known in operation.get("parameters", ())):
        statuses.add(400 if speaks_openai(path) else 422)
    if "{" in path:
        statuses.add(404)
    return {**{status: ERRORS[status] for status in statuses}, **OF_OPERATION.get(ident, {})}


def _answers(expected: Mapping[int, str], *, openai: bool) -> dict[str, Any]:
    media, schema = ("application/json", "OpenAIError") if openai else ("application/problem+json", "Problem")
    answers: dict[str, Any] = {}
    for status, text in sorted(expected.items()):
        headers = {"x-request-id": _ID_HEADER, **_ERROR_HEADERS.get(status, {})}
        content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        answers[str(status)] = {"description": text, "headers": headers, "content": content}
    return answers


def _min_position(*, both: bool) -> list[dict[str, Any]]:
    example = "EVT:12,REQ:34" if both else "EVT:12"
    text = (
        f"Wait until the answer shows the log up to here, as `x-agg-position` gave it (`{example}`); "
        "503 with `retry-after` if that takes longer than five seconds."
    )
    schema = {"type": "string", "pattern": "^(EVT|REQ):[0-9]+(,(EVT|REQ):[0-9]+)*$" if both else "^EVT:[0-9]+$"}
    return [
        {"name": name, "in": place, "required": False, "description": text, "schema": schema}
        for name, place in (("min_position", "query"), ("x-agg-min-position", "header"))
    ]


def _chat_schemas() -> dict[str, Any]:
    """As the route itself decodes them."""
    (_, schemas) = msgspec.json.schema_components([ChatRequest], ref_template="#/components/schemas/Chat{name}")
    text = msgspec.json.encode({f"Chat{name}": schema for name, schema in schemas.items()})
    return msgspec.json.decode(text.replace(b"Chat_", b"Chat").replace(b"ChatChat", b"Chat"))


def _chat_completion() -> dict[str, Any]:
    answer = {
        "application/json": {"schema": {"$ref": "#/components/schemas/ChatCompletion"}},
        "text/event-stream": {
            "schema": {"type": "string", "description": "`data: {chunk}` lines, then `data: [DONE]`."}
        },
    }
    sent = {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}, "examples": _EXAMPLES}}
    ok = {"description": "A chat completion, or its chunks", "headers": _CHAT_HEADERS, "content": answer}
    return {
        "tags": ["chat"],
        "operationId": "create_chat_completion",
        "summary": "Complete a chat, plain or streamed",
        "description": "OpenAI's chat completion. Parameters beyond these go to the provider as they are. In a stream, "
        "cost and position come as comment lines before `[DONE]`, because headers are sent before they are known.",
        "security": CREDENTIALS,
        "requestBody": {"required": True, "content": sent},
        "responses": {"200": ok, **_answers({status: ERRORS[status] for status in CHAT_ERRORS}, openai=True)},
    }


def _header(text: str, example: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}, "example": example}


def _text(text: str = "") -> dict[str, Any]:
    return {"type": "string", **({"description": text} if text else {})}


_ID_HEADER = _header("Names this request in our logs", "0197f0c2a1b87a6f9c3e5d2b4a6c8e0f")
_POSITION_HEADER = _header("Where this write stands in the log", "EVT:12")
_RETRY = {"retry-after": _header("Seconds to wait, at most 120; not always there", "1")}
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"www-authenticate": _header("How to authenticate", 'Bearer realm="ai-aggregator"')},
    402: {"x-should-retry": _header("Always false: SDKs do not retry", "false")},
    429: _RETRY,
    503: _RETRY,
}
_CHAT_HEADERS = {
    "x-request-id": _header(
        "The request's id, for `GET /api/v1/requests/{request_id}`", "req_0197f0c2a1b87a6f9c3e5d2b"
    ),
    "x-agg-provider": _header("Who served it", "openai"),
    "x-agg-model": _header("As the catalogue names it", "gpt-4o"),
    "x-agg-cost-usd": _header("What it cost; in a stream a comment line says it", "0.000105"),
    "x-agg-cache": _header("Whether the cache answered", "bypass"),
    "x-agg-attempts": _header("Upstream calls that were made", "1"),
    "x-agg-position": _header("Where its end stands in the log; of a stream, its admission", "REQ:34"),
}
_HELLO = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}
_EXAMPLES = {
    "plain": {"summary": "Plain", "value": _HELLO},
    "streamed": {"summary": "Streamed", "value": {**_HELLO, "stream": True}},
}
_OBJECT: dict[str, Any] = {"type": "object"}
_USAGE = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["data", "totals", "position", "as_of"],
            "properties": {
                "data": {"type": "array", "items": _OBJECT},
                "totals": _OBJECT,
                "position": _text("How far this view has read the log"),
                "as_of": {"type": "string", "format": "date-time"},
            },
        }
    },
    "text/csv": {"schema": _text("The same rows, with `format=csv`")},
}
SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": _text("Stable for a code: `/problems/{code}`"),
            "title": _text("The same for every occurrence"),
            "status": {"type": "integer"},
            "detail": _text("What happened, and what to do"),
            "code": _text("For programs: stable"),
            "request_id": _text(),
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {
                        "detail": _text(),
                        "pointer": _text("JSON pointer into the body"),
                        "parameter": _text("Of the query or the path"),
                    },
                },
            },
        },
    },
    "OpenAIError": {
        "type": "object",
        "description": "As OpenAI's clients expect it",
        "required": ["error", "request_id"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": _text(),
                    "type": _text(),
                    "param": {"type": ["string", "null"]},
                    "code": _text(),
                },
            },
            "request_id": _text(),
        },
    },
    "ChatCompletion": {
        "type": "object",
        "description": "The provider's `chat.completion`",
        "properties": {
            "id": _text(),
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": _text(),
            "choices": {"type": "array", "items": _OBJECT},
            "usage": _OBJECT,
        },
    },
}
