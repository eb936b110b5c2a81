"""The frame of every chat and text completion, whole or one chunk of a stream."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from adapters.providers.openai.errors import error_inside
from adapters.providers.openai.usage import usage_of
from domain.upstream import Usage

NO_RAW = msgspec.Raw()


class CompletionChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    error: msgspec.Raw = NO_RAW


ChoiceT = TypeVar("ChoiceT", bound=CompletionChoice)


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NO_RAW


class Completion(msgspec.Struct, Generic[ChoiceT], gc=False):
    """Groq may report the usage of a stream in a place of its own."""

    id: str | None = None
    model: str | None = None
    choices: list[ChoiceT] | None = None
    usage: msgspec.Raw = NO_RAW
    x_groq: _Groq | None = None
    error: msgspec.Raw = NO_RAW


def decoded(decode: Callable[[bytes], Completion[ChoiceT]], data: bytes, what: str) -> Completion[ChoiceT]:
    """Raises ErrorInAnswer, also for an error beside choices, or (OpenRouter) in one."""
    try:
        str(data, "utf-8")
        answer = decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise error_inside(data, what) from None
    if answer.error and bytes(answer.error) != b"null":
        raise error_inside(data, what)
    for choice in answer.choices or ():
        if choice.error and bytes(choice.error) != b"null":
            raise error_inside(b'{"error":' + bytes(choice.error) + b"}", what)
    return answer


def usage_in(completion: Completion[ChoiceT]) -> Usage | None:
    usage = usage_of(completion.usage)
    if usage is None and completion.x_groq is not None:
        return usage_of(completion.x_groq.usage)
    return usage
