"""An answer as the events of Anthropic's stream: blocks one after the other, each opened, filled and closed."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from adapters.dialects.messages.answer import (
    estimated,
    is_object,
    message_id,
    stop_reason,
    tool_use_block,
    usage_of,
)
from domain.answer import (
    AnswerEvent,
    Finished,
    RedactedThinkingDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolStarted,
    Used,
    output_chars,
)
from domain.pricing import Tokens
from domain.upstream import ProviderCall

CLOSING = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_Kind = Literal["text", "thinking", "tool_use"]
_encode = msgspec.json.Encoder().encode


class MessagesWriter:
    """Of one answer, of which it writes choice 0.

    Blocks cannot overlap here, but tool calls of other formats can: while one is unfinished, what belongs to later
    blocks waits. Fragments of arguments go out as the model wrote them, even if they add up to no JSON object.
    """

    def __init__(self, call: ProviderCall) -> None:
        self._call = call
        self._has_started = False
        self._model = call.upstream_model
        self._tokens: Tokens | None = None
        self._chars = 0
        self._finished: Finished | None = None
        self._calls_tools = False
        self._refuses = False
        self._next_index = 0
        self._open: _Kind | None = None
        self._delta = b""
        """What every delta of the open block begins with."""
        self._tool = -1
        self._arguments: list[str] = []
        self._waiting: list[AnswerEvent] = []

    def write(self, events: Sequence[AnswerEvent]) -> bytes:
        if self._open == "text" and len(events) == 1 and type(event := events[0]) is TextDelta and not event.choice:
            self._chars += len(event.text)
            return self._delta + _encode(event.text) + b"}}\n\n" if event.text else b""
        out: list[bytes] = []
        self._learn(events)
        if events and not self._has_started:
            out.append(self._message_start())
        for event in events:
            self._take(event, out)
        return b"".join(out)

    def close(self) -> tuple[bytes, bytes]:
        out: list[bytes] = []
        if not self._has_started:
            out.append(self._message_start())
        self._release(out)
        while self._waiting:
            self._replay(out)
            self._release(out)
        out.append(self._message_delta())
        return b"".join(out), CLOSING

    def _learn(self, events: Sequence[AnswerEvent]) -> None:
        for event in events:
            if isinstance(event, Started):
                self._model = event.model or self._model
            elif isinstance(event, Used):
                self._tokens = event.usage.tokens
            elif event.choice == 0:
                if isinstance(event, Finished):
                    self._finished = event
                self._calls_tools = self._calls_tools or isinstance(event, ToolStarted)
                self._refuses = self._refuses or isinstance(event, RefusalDelta)
        self._chars += output_chars(events)

    def _take(self, event: AnswerEvent, out: list[bytes]) -> None:
        if isinstance(event, Started | Used | Finished) or event.choice:
            return
        if self._open == "tool_use" and not self._continues_tool(event):
            if not self._tool_is_complete():
                self._waiting.append(event)
                return
            self._release(out)
            self._replay(out)
            if self._open == "tool_use":
                self._take(event, out)
                return
        self._put(event, out)

    def _continues_tool(self, event: AnswerEvent) -> bool:
        return isinstance(event, ToolArguments) and event.index == self._tool

    def _tool_is_complete(self) -> bool:
        """Only when the last fragment may end an object is it worth to look at all of them."""
        return (
            bool(self._arguments) and self._arguments[-1].rstrip().endswith("}") and is_object("".join(self._arguments))
        )

    def _replay(self, out: list[bytes]) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._take(event, out)

    def _put(self, event: AnswerEvent, out: list[bytes]) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                if event.text:
                    self._open_if_needed("text", {"type": "text", "text": ""}, out)
                    out.append(self._delta + _encode(event.text) + b"}}\n\n")
            case ThinkingDelta():
                self._put_thinking(event, out)
            case RedactedThinkingDelta():
                self._release(out)
                self._start({"type": "redacted_thinking", "data": event.data}, out)
                self._stop(out)
            case ToolStarted():
                self._release(out)
                block = tool_use_block(event.id, event.name, msgspec.Raw(b"{}"), event.signature)
                self._open_if_needed("tool_use", block, out)
                self._tool = event.index
            case ToolArguments() if event.index == self._tool and event.fragment:
                self._arguments.append(event.fragment)
                out.append(self._delta + _encode(event.fragment) + b"}}\n\n")
            case _:
                pass

    def _put_thinking(self, event: ThinkingDelta, out: list[bytes]) -> None:
        if not event.text and not event.signature:
            return
        self._open_if_needed("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        if event.text:
            out.append(self._delta + _encode(event.text) + b"}}\n\n")
        if event.signature:
            delta = {"type": "signature_delta", "signature": event.signature}
            out.append(_event("content_block_delta", {"index": self._next_index, "delta": delta}))
            self._release(out)

    def _open_if_needed(self, kind: _Kind, block: dict[str, Any], out: list[bytes]) -> None:
        if self._open == kind:
            return
        self._release(out)
        self._start(block, out)
        self._open = kind
        self._delta = _DELTAS[kind] % self._next_index

    def _release(self, out: list[bytes]) -> None:
        """Closes the open block, if there is one."""
        if self._open is not None:
            self._stop(out)
        self._open = None
        self._tool = -1
        self._arguments = []

    def _start(self, block: dict[str, Any], out: list[bytes]) -> None:
        out.append(_event("content_block_start", {"index": self._next_index, "content_block": block}))

    def _stop(self, out: list[bytes]) -> None:
        out.append(_event("content_block_stop", {"index": self._next_index}))
        self._next_index += 1

    def _message_start(self) -> bytes:
        self._has_started = True
        usage = usage_of(self._tokens or estimated(self._call, 0)) | {"output_tokens": 0}
        usage.pop("output_tokens_details", None)
        message = {
            "id": message_id(self._call),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", {"message": message})

    def _message_delta(self) -> bytes:
        finished = self._finished or Finished("stop")
        delta = {
            "stop_reason": stop_reason(finished.reason, calls_tools=self._calls_tools, refuses=self._refuses),
            "stop_sequence": finished.stop_sequence,
        }
        usage = usage_of(self._tokens or estimated(self._call, self._chars))
        return _event("message_delta", {"delta": delta, "usage": usage})


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members}))


def _delta_prefix(delta: str, member: str) -> bytes:
    return (
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        f'"delta":{{"type":"{delta}","{member}":'
    ).encode()


_DELTAS: dict[_Kind, bytes] = {
    "text": _delta_prefix("text_delta", "text"),
    "thinking": _delta_prefix("thinking_delta", "thinking"),
    "tool_use": _delta_prefix("input_json_delta", "partial_json"),
}
