"""The tool calls of one choice, put together from what each provider makes of `tool_calls`."""

import secrets
from typing import Any

import msgspec

from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import AnswerEvent, ToolArguments, ToolStarted


class FunctionCall(msgspec.Struct, gc=False):
    """Mistral's `arguments` may be an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: FunctionCall | None = None


class ToolCalls:
    """OpenAI sends the first fragment of a call with index, id and name, and the others with the index only. Mistral
    and Gemini send calls whole, some without an index or an id, or all with index 0; vLLM may repeat the id."""

    def __init__(self, choice: int) -> None:
        self.count = 0
        self._choice = choice
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def read(self, call: ToolCall) -> list[AnswerEvent]:
        """A fragment, or all of a call. Raises ErrorInAnswer for arguments of no call."""
        function = call.function
        if function is None:
            return []
        number = self._continued(call, function)
        arguments = _text_of(function.arguments)
        if number is None and function.name:
            return self._start(call, function.name, arguments)
        if not arguments:
            return []
        if number is None:
            raise ErrorInAnswer("The provider called a tool without its name.")
        return [ToolArguments(number, arguments, self._choice)]

    def read_whole(self, call: ToolCall) -> list[AnswerEvent]:
        function = call.function
        if function is None:
            return []
        if not function.name:
            raise ErrorInAnswer("The provider called a tool without its name.")
        return self._start(call, function.name, _text_of(function.arguments))

    def _continued(self, call: ToolCall, function: FunctionCall) -> int | None:
        at_index = None if call.index is None else self._by_index.get(call.index)
        with_id = self._by_id.get(call.id) if call.id else None
        if function.name:
            return with_id if call.index is None or at_index == with_id else None
        if call.index is not None:
            return at_index
        if call.id:
            return with_id
        return self.count - 1 if self.count else None

    def _start(self, call: ToolCall, name: str, arguments: str) -> list[AnswerEvent]:
        number = self.count
        self.count += 1
        ident = call.id or f"call_{secrets.token_hex(12)}"
        self._by_id[ident] = number
        if call.index is not None:
            self._by_index[call.index] = number
        started = ToolStarted(number, ident, name, self._choice)
        return [started, ToolArguments(number, arguments, self._choice)] if arguments else [started]


def _text_of(arguments: str | dict[str, Any] | None) -> str:
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""
