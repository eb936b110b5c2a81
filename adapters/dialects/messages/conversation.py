"""From Anthropic's conversation to turns: results of tools get turns of their own, right after those who called."""

from collections.abc import Sequence

import msgspec

from adapters.dialects.messages.blocks import (
    Block,
    DocumentBlock,
    ExtraContent,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
)
from domain.chat import Document, Image, Part, RedactedThinking, Role, Text, Thinking, ToolResult, ToolUse, Turn
from domain.errors import InvalidInput, UnsupportedParameter


class Conversation:
    """Takes content in its order; raises InvalidInput and UnsupportedParameter that name its place."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._tool_names: dict[str, str] = {}
        self._after_assistant = 0

    def take(self, role: Role, blocks: Sequence[Block], place: str) -> None:
        parts: list[Part] = []
        results: list[ToolResult] = []
        for number, block in enumerate(blocks):
            at = f"{place}[{number}]"
            if isinstance(block, ToolResultBlock):
                results.append(self._result(block, at))
            else:
                parts.append(self._part(block, at))
        if results:
            self._add_results(tuple(results))
        if parts:
            self.turns.append(Turn(role=role, parts=tuple(parts)))
        if role == "assistant":
            self._after_assistant = len(self.turns)

    def _add_results(self, results: tuple[ToolResult, ...]) -> None:
        """Anthropic takes user messages in a row for one."""
        at = self._after_assistant
        if at < len(self.turns) and self.turns[at].role == "tool":
            self.turns[at] = Turn(role="tool", parts=self.turns[at].parts + results)
        else:
            self.turns.insert(at, Turn(role="tool", parts=results))

    def _result(self, block: ToolResultBlock, place: str) -> ToolResult:
        name = self._tool_names.get(block.tool_use_id)
        if name is None:
            field = f"{place}.tool_use_id"
            raise InvalidInput(f"{field}: no tool_use block with this id stands before it.", field=field)
        inner = f"{place}.content"
        return ToolResult(
            tool_use_id=block.tool_use_id,
            name=name,
            parts=tuple(
                _shown(part, f"{inner}[{number}]") for number, part in enumerate(blocks_of(block.content, inner))
            ),
            is_error=bool(block.is_error),
            cache=block.cache_control and block.cache_control.lifetime,
        )

    def _part(self, block: Block, place: str) -> Part:
        match block:
            case ToolUseBlock():
                self._tool_names[block.id] = block.name
                return ToolUse(
                    id=block.id,
                    name=block.name,
                    arguments=bytes(block.input).decode(),
                    signature=_signature(block.extra_content),
                    cache=block.cache_control and block.cache_control.lifetime,
                )
            case ThinkingBlock():
                return Thinking(text=block.thinking, signature=block.signature or None)
            case RedactedThinkingBlock():
                return RedactedThinking(data=block.data)
            case _:
                return _shown(block, place)


def with_cache_at_the_end(turns: Sequence[Turn], lifetime: str) -> tuple[Turn, ...]:
    """What `cache_control` of the whole request means: its last part that can carry it does."""
    for at in range(len(turns) - 1, -1, -1):
        parts = turns[at].parts
        for number in range(len(parts) - 1, -1, -1):
            part = parts[number]
            if isinstance(part, Text | Image | Document | ToolUse | ToolResult):
                marked = msgspec.structs.replace(part, cache=part.cache or lifetime)
                turn = msgspec.structs.replace(turns[at], parts=(*parts[:number], marked, *parts[number + 1 :]))
                return (*turns[:at], turn, *turns[at + 1 :])
    return tuple(turns)


def _shown(block: Block, place: str) -> Text | Image | Document:
    """What may stand in a result of a tool, too."""
    match block:
        case TextBlock():
            if block.citations:
                raise _only_anthropic(f"{place}.citations", "citations", "citations")
            return Text(text=block.text, cache=block.cache_control and block.cache_control.lifetime)
        case ImageBlock():
            return _image(block, place)
        case DocumentBlock():
            return _document(block, place)
        case _:
            kind = str(getattr(block, "type", None) or type(block).__struct_config__.tag)
            raise _only_anthropic(f"{place}.type", f"`{kind}` blocks here", kind)


def _image(block: ImageBlock, place: str) -> Image:
    if block.transformations:
        raise _only_anthropic(f"{place}.transformations", "transformations of images", "image")
    source, cache = block.source, block.cache_control and block.cache_control.lifetime
    if source.type == "url" and source.url:
        return Image(url=source.url, cache=cache)
    if source.type == "base64" and source.data is not None:
        return Image(data=source.data, media_type=source.media_type or "image/png", cache=cache)
    raise _unreadable(f"{place}.source", source.type, ("base64", "url"), "image")


def _document(block: DocumentBlock, place: str) -> Document:
    if block.citations and block.citations.enabled:
        raise _only_anthropic(f"{place}.citations", "citations", "citations")
    if block.context:
        raise _only_anthropic(f"{place}.context", "`context` of a document", "document")
    source, title = block.source, block.title
    cache = block.cache_control and block.cache_control.lifetime
    if source.type == "url" and source.url:
        return Document(url=source.url, title=title, cache=cache)
    if source.type == "base64" and source.data is not None:
        media_type = source.media_type or "application/pdf"
        return Document(data=source.data, media_type=media_type, title=title, cache=cache)
    if source.type == "text" and source.data is not None:
        return Document(text=source.data, media_type="text/plain", title=title, cache=cache)
    if source.type == "content" and source.content is not None:
        text = _joined_text(source.content, f"{place}.source.content")
        return Document(text=text, media_type="text/plain", title=title, cache=cache)
    raise _unreadable(f"{place}.source", source.type, ("base64", "url", "text", "content"), "document")


def _joined_text(content: str | list[msgspec.Raw], place: str) -> str:
    texts: list[str] = []
    for number, block in enumerate(blocks_of(content, place)):
        if not isinstance(block, TextBlock):
            raise _only_anthropic(f"{place}[{number}]", "documents of more than text", "document")
        texts.append(block.text)
    return "\n".join(texts)


def _signature(extra: ExtraContent | None) -> str | None:
    return extra.google.thought_signature if extra and extra.google else None


def _unreadable(place: str, kind: str, readable: tuple[str, ...], capability: str) -> InvalidInput:
    """A source that is incomplete, or that only Anthropic can fetch."""
    if kind in readable:
        return InvalidInput(f"{place}: incomplete; a `{kind}` source has its content.", field=place)
    return _only_anthropic(f"{place}.type", f"sources of the type `{kind}`", capability)


def _only_anthropic(place: str, what: str, capability: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        place, f"{place}: only Anthropic's own models take {what}; leave it out.", capability=capability
    )
