"""A streamed answer as `chat.completion.chunk`s."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.dialects.chat_completions import words
from adapters.dialects.openai_completion import DONE, FINISH_REASONS, Chunks
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolStarted,
    Used,
)
from domain.upstream import ProviderCall, Usage

OPEN = b',"logprobs":null,"finish_reason":null}]}\n\n'
ROLE = b'"role":"assistant",'

_encode = msgspec.json.Encoder().encode


class ChatWriter:
    """The finish reasons come when all is said: each choice has one, after whatever a provider says late."""

    def __init__(self, call: ProviderCall) -> None:
        self._chunks = Chunks(call, prefix=words.ID_PREFIX, kind="chat.completion.chunk")
        self._choices: dict[int, _ChoiceWriter] = {}
        self._usage: Usage | None = None

    def write(self, events: Sequence[AnswerEvent]) -> bytes:
        written: list[bytes] = []
        for event in events:
            if isinstance(event, Started):
                self._chunks.start(event)
            elif isinstance(event, Used):
                self._usage = event.usage
            else:
                written.append(self._choice(event.choice).write(event))
        return b"".join(written)

    def close(self) -> tuple[bytes, bytes]:
        choices = [choice for _, choice in sorted(self._choices.items())] or [self._choice(0)]
        chunks = [choice.finish() for choice in choices]
        return b"".join(chunks) + self._chunks.usage(self._usage), DONE

    def _choice(self, number: int) -> "_ChoiceWriter":
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _ChoiceWriter(self._chunks.opening, number)
        return choice


class _ChoiceWriter:
    def __init__(self, opening: bytes, number: int) -> None:
        self._before = opening + b'{"index":%d,"delta":{' % number
        self._text_before = self._before + b'"content":'
        self._role = ROLE
        self._text_chars = 0
        self._thought: list[str] = []
        self._blocks = 0
        self._signature: str | None = None
        self._citations: list[Citation] = []
        self._reason: FinishReason = "stop"

    def write(self, event: AnswerEvent) -> bytes:
        """Empty when there is nothing to say yet."""
        if type(event) is TextDelta:
            return self._text(event)
        if isinstance(event, Logprobs):
            return self._chunk(
                b"", b',"logprobs":' + _encode(words.logprobs(event.tokens)) + b',"finish_reason":null}]}\n\n'
            )
        delta = self._delta(event)
        return self._chunk(_encode(delta)[1:-1], OPEN) if delta else b""

    def finish(self) -> bytes:
        delta: dict[str, Any] = {"content": ""} if self._role else {}
        delta |= words.extra_content(self._signature) | words.citations(self._citations, self._text_chars)
        reason = FINISH_REASONS[self._reason].encode()
        return self._chunk(_encode(delta)[1:-1], b',"logprobs":null,"finish_reason":"%b"}]}\n\n' % reason)

    def _text(self, event: TextDelta) -> bytes:
        text = event.text
        self._thought.clear()
        self._signature = event.signature or self._signature
        self._text_chars += len(text)
        if not text:
            return b""
        if self._role:
            return self._chunk(b'"content":' + _encode(text), OPEN)
        return self._text_before + _encode(text) + b"}" + OPEN

    def _chunk(self, delta: bytes, after: bytes) -> bytes:
        """`delta` without its braces; the first one names the role."""
        role, self._role = self._role, b""
        return self._before + (role if delta else role[:-1]) + delta + b"}" + after

    def _delta(self, event: AnswerEvent) -> dict[str, Any]:
        match event:
            case ToolArguments():
                return {"tool_calls": [{"index": event.index, "function": {"arguments": event.fragment}}]}
            case ThinkingDelta():
                return self._thinking(event)
            case Citation():
                self._citations.append(event)
                return {}
            case Finished():
                self._reason = event.reason
                return {}
            case _:
                self._thought.clear()
                return self._part(event)

    def _part(self, event: AnswerEvent) -> dict[str, Any]:
        match event:
            case ToolStarted():
                call = words.tool_call(event.id, event.name, "", event.signature)
                return {"tool_calls": [{"index": event.index, **call}]}
            case RefusalDelta():
                return {"refusal": event.text}
            case RedactedThinkingDelta():
                return {"thinking_blocks": [self._block(words.redacted_thinking_block(event.data))]}
            case _:
                return {}

    def _thinking(self, event: ThinkingDelta) -> dict[str, Any]:
        """A block is told when it is signed, whole: what was thought since the last one."""
        delta: dict[str, Any] = {"reasoning_content": event.text} if event.text else {}
        self._thought.append(event.text)
        if event.signature:
            block = words.thinking_block("".join(self._thought), event.signature)
            delta["thinking_blocks"] = [self._block(block)]
            self._thought.clear()
        return delta

    def _block(self, block: dict[str, Any]) -> dict[str, Any]:
        """With its number, by which clients gather the lists of several deltas."""
        self._blocks += 1
        return {"index": self._blocks - 1, **block}
