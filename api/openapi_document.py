"""What our routes promise beyond what their signatures say: credentials, errors, headers, positions.

It is read off the handlers where it can be: who depends on `caller` needs a credential, who depends on a minimum
position takes one.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from api.error_handlers import speaks_openai
from api.errors import KINDS
from api.openapi_ai import ai_paths, ai_schemas
from api.openapi_schemas import IDEMPOTENCY_KEY, header, simplify, without_null

DESCRIPTION = """\
One OpenAI-compatible API in front of every AI provider. Every request and every charge is a durable event.

**Credentials.** Send an API key or an access token as `Authorization: Bearer …`.

**AI routes** also answer under `/v1` and speak OpenAI's errors, `/messages` Anthropic's; all others answer errors as
`application/problem+json` (RFC 9457) with a stable `code`. Each serves every model of its kind, whoever its provider
is. A parameter that a provider cannot honour is refused by name; with `drop_params: true` it is left out, and
`x-agg-dropped` names it.

**Reading your own writes.** A write answers `x-agg-position`, such as `EVT:12`; an AI request answers `REQ:34`.
Send it with a read as `?min_position=` or `x-agg-min-position`: the read waits until it shows that write.

**Money** is exact: a decimal string in USD (`cost_usd`) beside an integer in nano-USD (`cost_nanos`).
"""

TAGS = {
    "ai": "Chats, responses, messages, completions and embeddings, in the formats of OpenAI's and Anthropic's clients.",
    "models": "What you may use, with price and size.",
    "requests": "Your AI requests: search, and one request from admission to charge.",
    "usage": "Tokens and cost over time.",
    "billing": "The balance at any instant, and every movement of it.",
    "keys": "API keys. Making and revoking them takes a log-in.",
    "auth": "Register, log in and out, refresh a session.",
    "users": "Your own profile.",
    "admin": "For administrators: the catalogue of deployments, routes and limits.",
    "health": "For load balancers and Prometheus; no credentials.",
}

CREDENTIALS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
A_LOG_IN: list[dict[str, list[str]]] = [{"bearer": []}]
WAITS = "wanted"
"""The dependency of a handler that waits for a position."""
SESSION_ONLY = frozenset({"issue_key", "revoke_key", "change_profile", "log_out"})

Style = Literal["openai", "anthropic", "problem"]
STYLES: Mapping[Style, tuple[str, str]] = {
    "openai": ("application/json", "OpenAIError"),
    "anthropic": ("application/json", "AnthropicError"),
    "problem": ("application/problem+json", "Problem"),
}
ERRORS = {
    400: "The request is not HTTP or JSON that we could read",
    401: "No credential, or none that holds",
    402: "Not enough credit: retrying does not help",
    403: "An API key may not do this; log in",
    404: "There is no such thing, or it is another account's",
    408: "The body came too slowly",
    409: "It conflicts with what is recorded",
    413: "The body is too large",
    422: "The request is not valid: `errors` names the places",
    429: "Too much at once; `retry-after` says when to come back",
    502: "The provider failed",
    503: "The log or the read models cannot answer now, or this server is being stopped; "
    "`retry-after` says when to come back",
    504: "The provider took too long",
}
ADMINISTRATORS = {403: "Only an administrator may do this"}
OF_OPERATION: Mapping[str, Mapping[int, str]] = {
    "register": {409: "The e-mail address is taken", 429: ERRORS[429]},
    "read_catalog": ADMINISTRATORS,
    "replace_catalog": ADMINISTRATORS,
    "read_providers": ADMINISTRATORS,
    "purge_cache": ADMINISTRATORS,
    "log_in": {401: "Wrong e-mail or password", 429: ERRORS[429]},
    "refresh_session": {401: "The session has ended, or the refresh token was used twice (`refresh_reuse`)"},
}
AI_ERRORS: Mapping[int, str] = {
    **{status: ERRORS[status] for status in (400, 401, 404, 408, 413, 502, 503, 504)},
    402: "Not enough credit, or a budget is used up: retrying does not help",
    409: "The first request with this `Idempotency-Key` still runs, or its answer is lost",
    422: "The `Idempotency-Key` was used for another request",
    429: "A limit of yours is reached, every deployment is at its own, or this key has too many streams open; "
    "`retry-after` says when to come back",
}


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
    schemas.update(simplify(ai_schemas()))
    errors = {style: answers(AI_ERRORS, style) for style in STYLES}
    document["paths"] = dict(sorted({**document["paths"], **ai_paths(errors, CREDENTIALS)}.items()))
    return document


def _handlers(app: Litestar) -> dict[str, HTTPRouteHandler]:
    found = [handler for route in app.routes for handler in getattr(route, "route_handlers", ())]
    return {str(handler.operation_id): handler for handler in found if isinstance(handler, HTTPRouteHandler)}


def _complete_operation(operation: dict[str, Any], handler: HTTPRouteHandler, path: str, method: str) -> None:
    asks = set(handler.parsed_fn_signature.parameters)
    ident = operation["operationId"]
    known = "caller" in asks or ident == "log_out"
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = without_null(parameter["schema"])
    operation["security"] = [] if not known else A_LOG_IN if ident in SESSION_ONLY else CREDENTIALS
    if WAITS in asks:
        parameters += _min_position()
    if method == "post":
        parameters.append(IDEMPOTENCY_KEY)
    if not parameters:
        del operation["parameters"]
    expected = _errors_of(operation, path, known=known)
    responses = {status: answer for status, answer in operation["responses"].items() if int(status) < 300}
    written = {"x-agg-position": _POSITION_HEADER} if method != "get" and asks & {"accounts"} else {}
    for status, answer in responses.items():
        answer["description"] = HTTPStatus(int(status)).phrase
        answer["headers"] = {**answer.get("headers", {}), "x-request-id": _ID_HEADER, **written}
    operation["responses"] = {**responses, **answers(expected, "openai" if speaks_openai(path) else "problem")}
    if ident == "read_usage":
        responses["200"]["content"] = _USAGE
    if ident in ("health", "ready"):
        operation["responses"]["503"] = {**responses["200"], "description": "Not now; the body says why"}


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
        statuses |= {400, 408, 413}
    if "requestBody" in operation or any(known["in"] != "path" for known in operation.get("parameters", ())):
        statuses.add(400 if speaks_openai(path) else 422)
    if "{" in path:
        statuses.add(404)
    return {**{status: ERRORS[status] for status in statuses}, **OF_OPERATION.get(ident, {})}


def answers(expected: Mapping[int, str], style: Style) -> dict[str, Any]:
    media, schema = STYLES[style]
    found: dict[str, Any] = {}
    for status, text in sorted(expected.items()):
        headers = {"x-request-id": _ID_HEADER, **_ERROR_HEADERS.get(status, {})}
        content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        found[str(status)] = {"description": text, "headers": headers, "content": content}
    return found


def _min_position() -> list[dict[str, Any]]:
    text = (
        "Wait until the answer shows the log up to here, as `x-agg-position` gave it (`EVT:12,REQ:34`); "
        "504 with `retry-after` if that takes longer than five seconds."
    )
    schema = {"type": "string", "pattern": "^(EVT|REQ):[0-9]+(,(EVT|REQ):[0-9]+)*$"}
    return [
        {"name": name, "in": place, "required": False, "description": text, "schema": schema}
        for name, place in (("min_position", "query"), ("x-agg-min-position", "header"))
    ]


def _text(text: str = "") -> dict[str, Any]:
    return {"type": "string", **({"description": text} if text else {})}


_ID_HEADER = header("Names this request in our logs", "0197f0c2a1b87a6f9c3e5d2b4a6c8e0f")
_POSITION_HEADER = header("Where this write stands in the log", "EVT:12")
_RETRY = {"retry-after": header("Seconds to wait, at most 120; not always there", "1")}
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"www-authenticate": header("How to authenticate", 'Bearer realm="ai-aggregator"')},
    402: {"x-should-retry": header("Always false: SDKs do not retry", "false")},
    429: {**_RETRY, "x-should-retry": header("False where waiting does not help", "false")},
    503: _RETRY,
}
_CODE = {**_text("For programs: stable"), "examples": sorted({kind.code for kind in KINDS.values()})}
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
            "code": _CODE,
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
                    "code": _CODE,
                },
            },
            "request_id": _text(),
        },
    },
    "AnthropicError": {
        "type": "object",
        "description": "As Anthropic's clients expect it",
        "required": ["type", "error", "request_id"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": _text(), "message": _text()},
            },
            "request_id": _text(),
        },
    },
}
