"""Errors as OpenAI and its likes write them."""

from typing import Any, cast

import msgspec

from adapters.providers.vocabulary import ErrorInAnswer, VendorError

_Object = dict[str, Any]


def read_error(body: bytes) -> VendorError | None:
    """None when there is no error to be found (HTML, text, any other JSON).

    OpenAI, Azure, Groq and OpenRouter have an `error` object, Ollama a string; Google wraps the object into a list;
    Mistral and vLLM have `message` at the top, FastAPI `detail`, either as a string or as a list of complaints.
    """
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(answer, list):
        answer = next(iter(cast("list[Any]", answer)), None)
    if not isinstance(answer, dict):
        return None
    outer = cast("_Object", answer)
    error = outer.get("error")
    told = cast("_Object", error) if isinstance(error, dict) else outer
    error_type, code = _word(told.get("type")), _word(told.get("code"))
    message = _words(error) or _words(told.get("message")) or _words(told.get("detail"))
    if message is None and told is error:
        message = error_type or code
    return VendorError(message=message, error_type=error_type, code=code) if message else None


def error_inside(data: bytes, what: str) -> ErrorInAnswer:
    """For an answer with a good status that is not `what` it should be: in the provider's words, if it has any."""
    error = read_error(data)
    if error is None:
        return ErrorInAnswer(f"The provider's answer is not {what}.")
    return ErrorInAnswer(error.message, error_type=error.error_type, code=error.code)


def _words(value: object) -> str | None:
    """A text, or what FastAPI complains of: `[{"loc": ["body", "n"], "msg": "not a number"}]`, perhaps in a
    `detail`."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, dict):
        return _words(cast("_Object", value).get("detail"))
    if isinstance(value, list):
        complaints = [
            _complaint(cast("_Object", entry)) for entry in cast("list[Any]", value) if isinstance(entry, dict)
        ]
        return "; ".join(filter(None, complaints)) or None
    return None


def _complaint(entry: _Object) -> str | None:
    message, place = entry.get("msg"), entry.get("loc")
    if not isinstance(message, str):
        return None
    if not isinstance(place, list):
        return message
    return f"{'.'.join(str(step) for step in cast('list[Any]', place))}: {message}"


def _word(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None
