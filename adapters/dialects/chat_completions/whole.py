"""A whole answer as a `chat.completion`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.dialects.chat_completions import words
from adapters.dialects.openai_completion import FINISH_REASONS, about
from adapters.dialects.openai_usage import completion_usage
from domain.answer import Answer, AnswerPart, Choice
from domain.chat import RedactedThinking, Refusal, Text, Thinking, ToolUse
from domain.upstream import ProviderCall


def whole(answer: Answer, call: ProviderCall) -> bytes:
    body = about(call, ident=answer.id, model=answer.model, prefix=words.ID_PREFIX, kind="chat.completion")
    body["choices"] = [_choice(choice) for choice in answer.choices]
    if answer.usage is not None:
        body["usage"] = completion_usage(answer.usage.tokens)
    return msgspec.json.encode(body)


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.finish.choice,
        "message": _message(choice),
        "logprobs": words.logprobs(choice.logprobs) if choice.logprobs else None,
        "finish_reason": FINISH_REASONS[choice.finish.reason],
    }


def _message(choice: Choice) -> dict[str, Any]:
    text = choice.text
    refusal = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
    tool_calls = [
        words.tool_call(part.id, part.name, part.arguments, part.signature)
        for part in choice.parts
        if isinstance(part, ToolUse)
    ]
    signatures = [part.signature for part in choice.parts if isinstance(part, Text) and part.signature]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (tool_calls or refusal) else None,
        "refusal": refusal or None,
    }
    if tool_calls:
        message["tool_calls"] = tool_calls
    message |= _thinking(choice.parts)
    message |= words.extra_content(signatures[-1] if signatures else None)
    return message | words.citations(choice.citations, len(text))


def _thinking(parts: Sequence[AnswerPart]) -> dict[str, Any]:
    thoughts = "".join(part.text for part in parts if isinstance(part, Thinking))
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Thinking) and part.signature:
            blocks.append(words.thinking_block(part.text, part.signature))
        elif isinstance(part, RedactedThinking):
            blocks.append(words.redacted_thinking_block(part.data))
    return ({"reasoning_content": thoughts} if thoughts else {}) | ({"thinking_blocks": blocks} if blocks else {})
