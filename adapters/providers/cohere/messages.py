"""A conversation in Cohere's words: one message for each turn, and one for each result of a tool."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from domain.chat import (
    Document,
    Expressible,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)

Json: TypeAlias = dict[str, Any]
Block: TypeAlias = Callable[[Part], Json | None]

NO_RESULT = "(empty)"
"""Cohere refuses a result of a tool that is empty; a blank one says no more."""
FAILED = "The tool failed:"
"""Cohere has no flag for the result of a tool that failed."""


def messages_of(turns: Sequence[Turn], expressible: Expressible) -> list[Json]:
    """Raises UnsupportedParameter. Places are named as if each message were one of the client's, which for OpenAI's
    format they are. Marks of what to cache stay out, for Cohere caches by itself; so do other providers' signatures and
    the thoughts that they hide."""
    expressible.refuse_names(turns, "Cohere's messages have no names")
    messages: list[Json] = []
    for turn in turns:
        place = f"messages[{len(messages)}]"
        if turn.role == "tool":
            results = (part for part in turn.parts if isinstance(part, ToolResult))
            messages += [
                _tool_message(result, f"messages[{number}]", expressible)
                for number, result in enumerate(results, len(messages))
            ]
        elif turn.role == "assistant":
            messages.append(_assistant_message(turn.parts, place, expressible))
        else:
            role, block = ("user", _user_block) if turn.role == "user" else ("system", _text_block)
            messages.append({"role": role, "content": _content(_blocks(turn.parts, block, place, expressible))})
    return messages


def _assistant_message(parts: Sequence[Part], place: str, expressible: Expressible) -> Json:
    """Beside tool calls the text is what they are planned for."""
    blocks = _blocks(parts, _assistant_block, place, expressible)
    calls = [part for part in parts if isinstance(part, ToolUse)]
    if not calls:
        return {"role": "assistant", "content": _content(blocks)}
    message: Json = {"role": "assistant", "tool_calls": [_tool_call(call) for call in calls]}
    if plan := "".join(block["text"] for block in blocks if block["type"] == "text"):
        message["tool_plan"] = plan
    if thinking := [block for block in blocks if block["type"] == "thinking"]:
        message["content"] = thinking
    return message


def _tool_call(call: ToolUse) -> Json:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }


def _tool_message(result: ToolResult, place: str, expressible: Expressible) -> Json:
    blocks = _blocks(result.parts, _result_block, place, expressible)
    if result.is_error:
        blocks.insert(0, _text(FAILED))
    blank = all(block["type"] == "text" and not block["text"].strip() for block in blocks)
    return {"role": "tool", "tool_call_id": result.tool_use_id, "content": NO_RESULT if blank else _content(blocks)}


def _blocks(parts: Iterable[Part], block_of: Block, place: str, expressible: Expressible) -> list[Json]:
    """Without empty texts, which say nothing and are refused. Tool calls have a place of their own."""
    blocks: list[Json] = []
    for number, part in enumerate(parts):
        is_empty = isinstance(part, Text | Thinking | Refusal) and not part.text
        if is_empty or isinstance(part, ToolUse | RedactedThinking):
            continue
        block = block_of(part)
        if block is None:
            kind = str(type(part).__struct_config__.tag)
            expressible.refuse_content(f"{place}.content[{number}]", kind, f"Cohere takes no such {kind} here")
        else:
            blocks.append(block)
    return blocks


def _content(blocks: list[Json]) -> str | list[Json]:
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _text_block(part: Part) -> Json | None:
    return _text(part.text) if isinstance(part, Text) else None


def _user_block(part: Part) -> Json | None:
    if not isinstance(part, Image):
        return _text_block(part)
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": part.detail} if part.detail else {})}


def _assistant_block(part: Part) -> Json | None:
    if isinstance(part, Thinking):
        return {"type": "thinking", "thinking": part.text}
    return _text(part.text) if isinstance(part, Refusal) else _text_block(part)


def _result_block(part: Part) -> Json | None:
    if isinstance(part, Document) and part.text is not None:
        data = {"text": part.text} | ({"title": part.title} if part.title else {})
        return {"type": "document", "document": {"data": data}}
    return _text_block(part)
