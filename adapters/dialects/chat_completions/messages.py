"""A client's messages as turns."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from adapters.dialects.chat_completions.asked import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    ThinkingBlock,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from adapters.dialects.data_uri import is_data_uri, media_type_and_data
from domain.chat import (
    Audio,
    CacheTtl,
    Document,
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
from domain.errors import InvalidInput, UnsupportedParameter


def turns_of(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """Results of tools that follow each other are one turn. Raises InvalidInput and UnsupportedParameter."""
    turns: list[Turn] = []
    tool_names: dict[str, str] = {}
    for is_result, group in groupby(enumerate(messages), lambda entry: isinstance(entry[1], ToolMessage)):
        if is_result:
            turns.append(_results(group, tool_names))
            continue
        for index, message in group:
            turn = _turn(message, f"messages[{index}]")
            tool_names |= {part.id: part.name for part in turn.parts if isinstance(part, ToolUse)}
            turns.append(turn)
    return tuple(turns)


def _results(group: Iterable[tuple[int, Message]], tool_names: dict[str, str]) -> Turn:
    results: list[ToolResult] = []
    for index, message in group:
        assert isinstance(message, ToolMessage)
        place = f"messages[{index}]"
        name = tool_names.get(message.tool_call_id)
        if name is None:
            raise InvalidInput(
                f"{place}.tool_call_id: no assistant message before it has a tool call with this id; "
                f"use the id of the call that it answers.",
                field=f"{place}.tool_call_id",
            )
        parts = tuple(
            part for part in _parts(message.content, f"{place}.content") if isinstance(part, Text | Image | Document)
        )
        results.append(ToolResult(tool_use_id=message.tool_call_id, name=name, parts=parts, cache=message.cache))
    return Turn(role="tool", parts=tuple(results))


def _turn(message: Message, place: str) -> Turn:
    match message:
        case AssistantMessage():
            parts = _said_by_assistant(message, place)
            return Turn(role="assistant", parts=_with_cache(parts, message.cache), name=message.name)
        case UserMessage():
            role = "user"
        case SystemMessage():
            role = "system"
        case DeveloperMessage():
            role = "developer"
        case ToolMessage():
            raise AssertionError("belongs to a turn of results")
    parts = _parts(message.content, f"{place}.content")
    return Turn(role=role, parts=_with_cache(parts, message.cache), name=message.name)


def _with_cache(parts: list[Part], cache: CacheTtl | None) -> tuple[Part, ...]:
    """A mark on the message stands on the last of its parts that can bear one."""
    for place in reversed(range(len(parts)) if cache else ()):
        part = parts[place]
        if isinstance(part, Text | Image | Document | ToolUse):
            parts[place] = msgspec.structs.replace(part, cache=cache)
            break
    return tuple(parts)


def _parts(
    content: str | Sequence[TextPart | RefusalPart | ImagePart | FilePart | AudioPart], place: str
) -> list[Part]:
    if isinstance(content, str):
        return [Text(text=content)]
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: TextPart | RefusalPart | ImagePart | FilePart | AudioPart, place: str) -> Part:
    match part:
        case TextPart():
            return Text(text=part.text, cache=part.cache)
        case RefusalPart():
            return Refusal(text=part.refusal)
        case AudioPart():
            return Audio(data=part.input_audio.data, format=part.input_audio.format)
        case ImagePart():
            return _image(part, f"{place}.image_url.url")
        case FilePart():
            return _document(part, f"{place}.file")


def _image(part: ImagePart, place: str) -> Image:
    url, detail = part.image_url.url, part.image_url.detail
    if not is_data_uri(url):
        return Image(url=url, detail=detail, cache=part.cache)
    media_type, data = media_type_and_data(url, place)
    return Image(data=data, media_type=media_type, detail=detail, cache=part.cache)


def _document(part: FilePart, place: str) -> Document:
    file = part.file
    if file.file_data is None:
        raise UnsupportedParameter(
            f"{place}.file_id",
            f"{place}.file_id: a file uploaded elsewhere is not known to this provider; "
            f"send it as file_data (data:<type>/<subtype>;base64,<data>).",
            capability="file_id",
        )
    media_type, data = media_type_and_data(file.file_data, f"{place}.file_data")
    return Document(data=data, media_type=media_type, title=file.filename, cache=part.cache)


def _said_by_assistant(message: AssistantMessage, place: str) -> list[Part]:
    """In the order in which a model makes them. One that said nothing said an empty text."""
    _refuse_what_cannot_be_told(message, place)
    parts = _thoughts(message, place)
    parts += _parts(message.content, f"{place}.content") if message.content else ()
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    if message.extra_content and message.extra_content.signature:
        _sign(parts, message.extra_content.signature)
    parts += [_tool_use(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())]
    return parts or [Text(text="")]


def _refuse_what_cannot_be_told(message: AssistantMessage, place: str) -> None:
    for name, value, remedy in (
        ("function_call", message.function_call, "use `tool_calls` instead"),
        ("audio", message.audio, "send what was said as text"),
    ):
        if bytes(value) != b"null":
            raise UnsupportedParameter(f"{place}.{name}", f"{place}.{name}: not supported here; {remedy}.")


def _thoughts(message: AssistantMessage, place: str) -> list[Part]:
    if message.thinking_blocks:
        return [
            _thought(block, f"{place}.thinking_blocks[{index}]") for index, block in enumerate(message.thinking_blocks)
        ]
    return [Thinking(text=message.reasoning_content)] if message.reasoning_content else []


def _thought(block: ThinkingBlock, place: str) -> Part:
    if block.type == "thinking" and block.thinking is not None:
        return Thinking(text=block.thinking, signature=block.signature or None)
    if block.type == "redacted_thinking" and block.data is not None:
        return RedactedThinking(data=block.data)
    raise InvalidInput(
        f"{place}: no thinking block; use thinking with `thinking` and `signature`, or redacted_thinking with `data`.",
        field=place,
    )


def _sign(parts: list[Part], signature: str) -> None:
    """A model may sign a text that is empty."""
    for place in reversed(range(len(parts))):
        part = parts[place]
        if isinstance(part, Text):
            parts[place] = msgspec.structs.replace(part, signature=signature)
            return
    parts.append(Text(text="", signature=signature))


def _tool_use(call: ToolCall, place: str) -> ToolUse:
    if call.type != "function" or call.function is None:
        raise UnsupportedParameter(
            f"{place}.type", f"{place}.type: only calls of functions are supported here.", capability="custom_tools"
        )
    return ToolUse(
        id=call.id,
        name=call.function.name,
        arguments=call.function.arguments or "",
        signature=call.extra_content and call.extra_content.signature,
    )
