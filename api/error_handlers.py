"""Litestar's way into `errors`: ours, its own HTTP exceptions, and what nobody expected."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from api.body import BodyTooDeep
from api.errors import INTERNAL, Answer, Failure, FieldError, Kind, failure_of, openai_error, pointer_to, problem
from api.request_id import request_id_of
from domain.errors import AggregatorError

AI_ROUTES = ("chat/completions", "completions", "embeddings", "responses", "messages", "models")
_AI_PATH = re.compile(rf"(?:/api)?/v1/(?:{'|'.join(AI_ROUTES)})(?:/.*)?")

CODES = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    503: "unavailable",
}
TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
    "datetime": "a time in RFC 3339, such as 2030-01-31T12:00:00Z",
}

_PLACE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+?)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.+?)`")
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>.+?)`(?:, got `(?P<got>.+?)`)?$")

NO_DATA = "Object missing required field `data`"
NO_BODY = FieldError("Send an object in JSON as the body.", pointer="")

logger = structlog.get_logger()


def answer_aggregator_error(request: Request[Any, Any, Any], error: AggregatorError) -> Response[bytes]:
    failure = failure_of(error)
    if failure is INTERNAL:
        logger.error("error_without_status", error=type(error).__name__, exc_info=error)
    return _respond(request, failure)


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, ValidationException):
        return _respond(request, _invalid(error))
    if error.status_code >= 500:
        return answer_unexpected(request, error)
    status = error.status_code
    kind = Kind(status, CODES.get(status, "http_error"), HTTPStatus(status).phrase)
    return _respond(request, Failure(kind, _detail(request, error), dict(error.headers or {})))


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    logger.error(
        "request_failed", method=request.method, path=request.url.path, request_id=_id_of(request), exc_info=error
    )
    return _respond(request, INTERNAL)


def answer_too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    """Only what a client sends is nested as it pleases."""
    kind = Kind(400, CODES[400], HTTPStatus.BAD_REQUEST.phrase)
    return _respond(request, Failure(kind, str(BodyTooDeep())))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[bytes]]] = {
    AggregatorError: answer_aggregator_error,
    HTTPException: answer_http_exception,
    RecursionError: answer_too_deep,
    Exception: answer_unexpected,
}


def speaks_openai(path: str) -> bool:
    return _AI_PATH.fullmatch(path) is not None


def render(failure: Failure, path: str, request_id: str) -> Answer:
    """In the words of the route that was asked."""
    return openai_error(failure, request_id) if speaks_openai(path) else problem(failure, request_id)


def field_error(message: str) -> FieldError:
    """From msgspec's words on what it could not decode to ours: the place, and what would be accepted."""
    place = _PLACE.search(message)
    path = place["path"] if place else ""
    said = message[: place.start()] if place else message
    if missing := _MISSING.match(said):
        return FieldError("This field is required.", pointer=pointer_to(f"{path}.{missing['name']}"))
    if unknown := _UNKNOWN.match(said):
        name = unknown["name"]
        return FieldError(f"There is no field {name!r} here; remove it.", pointer=pointer_to(f"{path}.{name}"))
    return FieldError(_expectation(said), pointer=pointer_to(path))


def _respond(request: Request[Any, Any, Any], failure: Failure) -> Response[bytes]:
    answer = render(failure, request.url.path, _id_of(request))
    headers = dict(answer.headers)
    media_type = headers.pop("content-type")
    if request.url.path.startswith("/api/v1/auth/"):
        headers["cache-control"] = "no-store"
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media_type)


def _id_of(request: Request[Any, Any, Any]) -> str:
    return request_id_of(request.scope)  # type: ignore[arg-type]  # a scope is a dict


def _detail(request: Request[Any, Any, Any], error: HTTPException) -> str:
    if isinstance(error, NotFoundException):
        return f"There is nothing at {request.url.path}."
    if isinstance(error, MethodNotAllowedException):
        return f"{request.method} is not possible at {request.url.path}."
    if isinstance(error.__cause__, SerializationException):
        return f"The body is not JSON: {error.detail}."
    return error.detail


def _invalid(error: ValidationException) -> Failure:
    fields = tuple(_fields(error))
    kind = Kind(422, "invalid_value", "The request is not valid")
    if not fields:
        return Failure(kind, error.detail)
    first = fields[0]
    where = first.parameter or (first.pointer or "").lstrip("/").replace("/", ".")
    return Failure(kind, f"{where}: {first.detail}" if where else first.detail, fields=fields)


def _fields(error: ValidationException) -> list[FieldError]:
    """Litestar names the parameter; of the body, only msgspec's own error has the whole path."""
    extra: list[dict[str, Any]] = error.extra if isinstance(error.extra, list) else []
    found = [
        FieldError(_expectation(said["message"]), parameter=said.get("key"))
        for said in extra
        if said.get("source") not in (None, "body")
    ]
    if len(found) < len(extra) and isinstance(error.__cause__, msgspec.ValidationError):
        said = str(error.__cause__)
        found.append(NO_BODY if said == NO_DATA else field_error(said.replace("`$.data", "`$", 1)))
    return found


def _expectation(said: str) -> str:
    wrong = _WRONG_TYPE.match(said)
    if not wrong:
        return said.rstrip(".") + "."
    wanted = " or ".join(TYPE_NAMES.get(name, f"`{name}`") for name in wrong["wanted"].split(" | "))
    got = TYPE_NAMES.get(wrong["got"] or "")
    return f"Expected {wanted}, got {got}." if got else f"Expected {wanted}."
