"""An answer as a `text_completion`, whole or streamed: both have one shape. What is no text stays untold."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.dialects.openai_completion import DONE, FINISH_REASONS, Chunks, about
from adapters.dialects.openai_usage import completion_usage
from domain.answer import (
    Answer,
    AnswerEvent,
    Choice,
    Finished,
    FinishReason,
    Logprobs,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    Used,
)
from domain.chat import Refusal, Text
from domain.upstream import ProviderCall, Usage

ID_PREFIX = "cmpl-"
KIND = "text_completion"
OPEN = b',"logprobs":null,"finish_reason":null}]}\n\n'

_encode = msgspec.json.Encoder().encode


def whole(answer: Answer, call: ProviderCall) -> bytes:
    body = about(call, ident=answer.id, model=answer.model, prefix=ID_PREFIX, kind=KIND)
    body["choices"] = [_choice(choice) for choice in answer.choices]
    if answer.usage is not None:
        body["usage"] = completion_usage(answer.usage.tokens)
    return _encode(body)


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "text": "".join(part.text for part in choice.parts if isinstance(part, Text | Refusal)),
        "index": choice.finish.choice,
        "logprobs": _logprobs(choice.logprobs, 0) if choice.logprobs else None,
        "finish_reason": _finish_reason(choice.finish.reason),
    }


def _finish_reason(reason: FinishReason) -> str:
    """This endpoint knows no tools."""
    return "stop" if reason == "tool_calls" else FINISH_REASONS[reason]


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """`offset` is where in the text the first token stands, in characters."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{other.token: other.logprob for other in token.top} for token in tokens],
        "text_offset": offsets,
    }


class CompletionWriter:
    """The finish reasons come when all is said, so that each choice has one."""

    def __init__(self, call: ProviderCall) -> None:
        self._chunks = Chunks(call, prefix=ID_PREFIX, kind=KIND)
        self._offsets: dict[int, int] = {}
        self._reasons: dict[int, FinishReason] = {}
        self._usage: Usage | None = None

    def write(self, events: Sequence[AnswerEvent]) -> bytes:
        return b"".join([self._event(event) for event in events])

    def close(self) -> tuple[bytes, bytes]:
        chunks = [
            self._chunk(number, "", b',"logprobs":null,"finish_reason":"%b"}]}\n\n' % _finish_reason(reason).encode())
            for number, reason in sorted((self._reasons or {0: "stop"}).items())
        ]
        return b"".join(chunks) + self._chunks.usage(self._usage), DONE

    def _event(self, event: AnswerEvent) -> bytes:
        match event:
            case Started():
                self._chunks.start(event)
                return b""
            case Used():
                self._usage = event.usage
                return b""
            case _:
                self._reasons.setdefault(event.choice, "stop")
                return self._of_choice(event)

    def _of_choice(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta() | RefusalDelta() if event.text:
                return self._chunk(event.choice, event.text, OPEN)
            case Logprobs():
                return self._logprobs(event)
            case Finished():
                self._reasons[event.choice] = event.reason
                return b""
            case _:
                return b""

    def _logprobs(self, event: Logprobs) -> bytes:
        offset = self._offsets.get(event.choice, 0)
        self._offsets[event.choice] = offset + sum(len(token.token) for token in event.tokens)
        said = _encode(_logprobs(event.tokens, offset))
        return self._chunk(event.choice, "", b',"logprobs":' + said + b',"finish_reason":null}]}\n\n')

    def _chunk(self, number: int, text: str, after: bytes) -> bytes:
        return self._chunks.opening + b'{"index":%d,"text":' % number + _encode(text) + after
