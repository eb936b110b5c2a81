"""A whole answer as Anthropic's Message, and the words that streamed and whole answers share."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.dialects.dialect import BYTES_PER_TOKEN
from domain.answer import Answer, AnswerPart, FinishReason
from domain.chat import RedactedThinking, Refusal, Text, Thinking, ToolUse
from domain.pricing import Tokens
from domain.upstream import ProviderCall

STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def whole(answer: Answer, call: ProviderCall) -> bytes:
    """Only its first choice: the format has one. Log probabilities and sources have no place in it."""
    choice = answer.choices[0]
    chars = sum(_chars(part) for part in choice.parts)
    tokens = answer.usage.tokens if answer.usage else estimated(call, chars)
    return msgspec.json.encode(
        {
            "id": message_id(call),
            "type": "message",
            "role": "assistant",
            "model": answer.model or call.upstream_model,
            "content": _content(choice.parts),
            "stop_reason": stop_reason(
                choice.finish.reason,
                calls_tools=any(isinstance(part, ToolUse) for part in choice.parts),
                refuses=any(isinstance(part, Refusal) for part in choice.parts),
            ),
            "stop_sequence": choice.finish.stop_sequence,
            "usage": usage_of(tokens),
        }
    )


def message_id(call: ProviderCall) -> str:
    return f"msg_{call.request_id}"


def stop_reason(reason: FinishReason, *, calls_tools: bool, refuses: bool) -> str:
    """Some say `stop` beside a tool call that was forced, or beside a refusal in words."""
    if reason == "stop" and calls_tools:
        return "tool_use"
    if reason == "stop" and refuses:
        return "refusal"
    return STOP_REASONS[reason]


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """Its input excludes what the cache was read and written; its output includes thoughts."""
    usage: dict[str, Any] = {
        "input_tokens": tokens.prompt - tokens.cached_input - tokens.cache_write_5m - tokens.cache_write_1h,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_read_input_tokens": tokens.cached_input,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": tokens.completion,
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage


def estimated(call: ProviderCall, output_chars: int) -> Tokens:
    """For the case that the provider does not report its usage: the format always does."""
    return Tokens(input=call.input_estimate, output=-(-output_chars // BYTES_PER_TOKEN))


def tool_use_block(ident: str, name: str, arguments: msgspec.Raw, signature: str | None) -> dict[str, Any]:
    """Gemini's signature goes out where Google's own compatible formats have it, and comes back with the history."""
    block: dict[str, Any] = {"type": "tool_use", "id": ident, "name": name, "input": arguments}
    if signature is not None:
        block["extra_content"] = {"google": {"thought_signature": signature}}
    return block


def is_object(arguments: str) -> bool:
    try:
        _decode_object(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _content(parts: Sequence[AnswerPart]) -> list[dict[str, Any]]:
    """Text that another format had to part, for a signature that has no place here, is one again."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text | Refusal):
            if content and content[-1]["type"] == "text":
                content[-1]["text"] += part.text
            elif part.text:
                content.append({"type": "text", "text": part.text})
        else:
            content.append(_block(part))
    return content


def _block(part: Thinking | RedactedThinking | ToolUse) -> dict[str, Any]:
    match part:
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
        case RedactedThinking():
            return {"type": "redacted_thinking", "data": part.data}
        case ToolUse():
            return tool_use_block(part.id, part.name, _input(part.arguments), part.signature)


def _input(arguments: str) -> msgspec.Raw:
    """What is not an object, though `input` has to be one, is put into one: `{"arguments": "<text>"}`."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    if is_object(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode({"arguments": arguments}))


def _chars(part: AnswerPart) -> int:
    match part:
        case Text() | Refusal() | Thinking():
            return len(part.text)
        case ToolUse():
            return len(part.name) + len(part.arguments)
        case RedactedThinking():
            return 0
