"""What each vendor says on the wire, part by part, so that any part can be left out, spoilt or said twice."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from domain.pricing import Tokens

SAID = ("Hel", "lo!")
REPORTED = Tokens(input=12, output=3)
MODEL = "model-1"
_encode = msgspec.json.encode


def event(data: Any, name: str | None = None) -> bytes:
    """`data` is encoded, unless it is bytes already."""
    body = data if isinstance(data, bytes) else _encode(data)
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + body + b"\n\n"


class Wire(Protocol):
    """One vendor's format. Counts are JSON as it stands, so that they may be anything; no report is None."""

    name: str
    error: bytes
    """In the middle of a stream."""
    unknown: Sequence[bytes]
    """Events that nobody knows."""
    tools: Sequence[bytes]
    """Of two calls, in order."""

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw: ...

    def whole(self, usage: msgspec.Raw | None) -> bytes: ...

    def begun(self) -> list[bytes]: ...

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]: ...

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        """A report of usage without a finish."""
        ...

    def ended(self) -> list[bytes]: ...


def good_usage(wire: Wire) -> msgspec.Raw:
    return wire.usage(b"12", b"3")


def good_stream(wire: Wire) -> list[bytes]:
    return [*wire.begun(), *wire.finished(good_usage(wire)), *wire.ended()]


def good_whole(wire: Wire) -> bytes:
    return wire.whole(good_usage(wire))


def _with(usage: msgspec.Raw | None, name: str = "usage") -> dict[str, Any]:
    return {} if usage is None else {name: usage}


class OpenAIChat:
    name = "openai chat"
    error = event({"error": {"message": "The server had an error", "type": "server_error"}})
    unknown: Sequence[bytes] = (event({"choices": [], "novelty": {"a": [1]}}),)

    def __init__(self) -> None:
        self.tools: Sequence[bytes] = [
            self._chunk({"tool_calls": [{"index": 0, "id": "t0", "function": {"name": "f", "arguments": ""}}]}),
            self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            self._chunk({"tool_calls": [{"index": 1, "id": "t1", "function": {"name": "g", "arguments": ""}}]}),
            self._chunk({"tool_calls": [{"index": 1, "function": {"arguments": '{"a":'}}]}),
            self._chunk({"tool_calls": [{"index": 1, "function": {"arguments": "1}"}}]}),
        ]

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw:
        return msgspec.Raw(b'{"prompt_tokens":%b,"completion_tokens":%b}' % (count_in, count_out))

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(SAID)}, "finish_reason": "stop"}
        return _encode({"id": "c", "model": MODEL, "choices": [choice], **_with(usage)})

    def begun(self) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""}), *(self._chunk({"content": text}) for text in SAID)]

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]:
        return [self._chunk({}, "stop"), *([] if usage is None else self.used(usage))]

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        return [event({"id": "c", "model": MODEL, "choices": [], "usage": usage})]

    def ended(self) -> list[bytes]:
        return [event(b"[DONE]")]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event({"id": "c", "model": MODEL, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


class OpenAIText(OpenAIChat):
    name = "openai text"

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        choice = {"index": 0, "text": "".join(SAID), "finish_reason": "stop"}
        return _encode({"id": "c", "model": MODEL, "choices": [choice], **_with(usage)})

    def begun(self) -> list[bytes]:
        return [event({"model": MODEL, "choices": [{"index": 0, "text": text}]}) for text in SAID]


class OpenAIResponses:
    name = "openai responses"
    error = event({"type": "error", "code": "server_error", "message": "The server had an error"}, "error")
    unknown: Sequence[bytes] = (event({"type": "response.novelty", "a": [1]}, "response.novelty"), event({}))

    def __init__(self) -> None:
        item = {"type": "function_call", "id": "i0", "call_id": "t0", "name": "f", "arguments": ""}
        self.tools: Sequence[bytes] = [
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.function_call_arguments.delta", output_index=0, delta="{}"),
            self._event("response.output_item.done", output_index=0, item={**item, "arguments": "{}"}),
        ]

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw:
        return msgspec.Raw(b'{"input_tokens":%b,"output_tokens":%b}' % (count_in, count_out))

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        return _encode(self._response("completed", usage))

    def begun(self) -> list[bytes]:
        created = self._event("response.created", response=self._response("in_progress", None))
        return [created, *(self._event("response.output_text.delta", delta=text) for text in SAID)]

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]:
        return [self._event("response.completed", response=self._response("completed", usage))]

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        return [self._event("response.in_progress", response=self._response("in_progress", usage))]

    def ended(self) -> list[bytes]:
        return []

    def _response(self, status: str, usage: msgspec.Raw | None) -> dict[str, Any]:
        message = {"type": "message", "content": [{"type": "output_text", "text": "".join(SAID)}]}
        return {"id": "r", "model": MODEL, "status": status, "error": None, "output": [message], **_with(usage)}

    def _event(self, kind: str, **members: Any) -> bytes:
        return event({"type": kind, **members}, kind)


class Anthropic:
    name = "anthropic"
    error = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
    unknown: Sequence[bytes] = (event({"type": "novelty", "delta": 7}, "novelty"), event({"type": "ping"}, "ping"))

    def __init__(self) -> None:
        def call(number: int) -> list[bytes]:
            block = {"type": "tool_use", "id": f"t{number}", "name": "f", "input": {}}
            delta = {"type": "input_json_delta", "partial_json": '{"a":1}'}
            return [
                self._event("content_block_start", index=number + 1, content_block=block),
                self._event("content_block_delta", index=number + 1, delta=delta),
                self._event("content_block_stop", index=number + 1),
            ]

        self.tools: Sequence[bytes] = [*call(0), *call(1)]

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw:
        return msgspec.Raw(b'{"input_tokens":%b,"output_tokens":%b}' % (count_in, count_out))

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        content = [{"type": "text", "text": "".join(SAID)}]
        message = {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": content}
        return _encode({**message, "stop_reason": "end_turn", **_with(usage)})

    def begun(self) -> list[bytes]:
        message = {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": []}
        texts = ({"type": "text_delta", "text": text} for text in SAID)
        return [
            self._event("message_start", message=message),
            self._event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(self._event("content_block_delta", index=0, delta=delta) for delta in texts),
            self._event("content_block_stop", index=0),
        ]

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]:
        return [self._event("message_delta", delta={"stop_reason": "end_turn"}, **_with(usage))]

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        return [self._event("message_delta", delta={}, usage=usage)]

    def ended(self) -> list[bytes]:
        return [self._event("message_stop")]

    def _event(self, kind: str, **members: Any) -> bytes:
        return event({"type": kind, **members}, kind)


class Gemini:
    name = "gemini"
    error = event({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})
    unknown: Sequence[bytes] = (event({"novelty": {"a": [1]}}),)

    def __init__(self) -> None:
        self.tools: Sequence[bytes] = [
            self._part({"functionCall": {"name": "f", "args": {"a": number}}}) for number in range(2)
        ]

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw:
        return msgspec.Raw(b'{"promptTokenCount":%b,"candidatesTokenCount":%b}' % (count_in, count_out))

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        return _encode(self._response({"text": "".join(SAID)}, "STOP", usage))

    def begun(self) -> list[bytes]:
        return [self._part({"text": text}) for text in SAID]

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]:
        return [event(self._response({"text": ""}, "STOP", usage))]

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        return [event({"usageMetadata": usage, "modelVersion": MODEL})]

    def ended(self) -> list[bytes]:
        return []

    def _part(self, part: dict[str, Any]) -> bytes:
        return event(self._response(part, None, None))

    def _response(self, part: dict[str, Any], finish: str | None, usage: msgspec.Raw | None) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        candidate |= {} if finish is None else {"finishReason": finish}
        return {"candidates": [candidate], "modelVersion": MODEL, "responseId": "r", **_with(usage, "usageMetadata")}


class Cohere:
    name = "cohere"
    unknown: Sequence[bytes] = (event({"type": "novelty", "delta": {}}, "novelty"),)

    def __init__(self) -> None:
        def call(number: int) -> list[bytes]:
            begun = {"id": f"t{number}", "type": "function", "function": {"name": "f", "arguments": ""}}
            more = {"function": {"arguments": '{"a":1}'}}
            return [
                self._event("tool-call-start", index=number, delta={"message": {"tool_calls": begun}}),
                self._event("tool-call-delta", index=number, delta={"message": {"tool_calls": more}}),
                self._event("tool-call-end", index=number),
            ]

        self.tools: Sequence[bytes] = [*call(0), *call(1)]
        self.error = self._event("message-end", delta={"finish_reason": "ERROR", "error": "The model failed"})

    def usage(self, count_in: bytes, count_out: bytes) -> msgspec.Raw:
        return msgspec.Raw(b'{"billed_units":{"input_tokens":%b,"output_tokens":%b}}' % (count_in, count_out))

    def whole(self, usage: msgspec.Raw | None) -> bytes:
        message = {"role": "assistant", "content": [{"type": "text", "text": "".join(SAID)}]}
        return _encode({"id": "c", "message": message, "finish_reason": "COMPLETE", **_with(usage)})

    def begun(self) -> list[bytes]:
        start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
        return [
            self._event("message-start", id="c", delta=start),
            *(self._event("content-delta", index=0, delta={"message": {"content": {"text": text}}}) for text in SAID),
        ]

    def finished(self, usage: msgspec.Raw | None) -> list[bytes]:
        return [self._event("message-end", delta={"finish_reason": "COMPLETE", **_with(usage)})]

    def used(self, usage: msgspec.Raw) -> list[bytes]:
        return [self._event("content-end", index=0, delta={"usage": usage})]

    def ended(self) -> list[bytes]:
        return [event(b"[DONE]")]

    def _event(self, kind: str, **members: Any) -> bytes:
        return event({"type": kind, **members}, kind)
