"""Content blocks of a conversation, as Anthropic's clients write them.

Types that are not listed here are not ours to judge: Anthropic adds some every few months, for its own models.
"""

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from domain.chat import CacheTtl

T = TypeVar("T")


class CacheControl(msgspec.Struct):
    """Only what has a price: an unknown time to live is refused."""

    type: Literal["ephemeral"]
    ttl: CacheTtl | None = None

    @property
    def lifetime(self) -> CacheTtl:
        return self.ttl or "5m"


class Citations(msgspec.Struct):
    enabled: bool | None = None


class Google(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    """Where Google's own compatible formats carry the signature that must come back with a tool call."""

    google: Google | None = None


class Source(msgspec.Struct):
    """Of an image or a document. `content` is text, or a list of text and image blocks."""

    type: str
    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    content: str | list[msgspec.Raw] | None = None


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    text: str
    citations: list[Any] | None = None
    cache_control: CacheControl | None = None


class ImageBlock(msgspec.Struct, tag_field="type", tag="image"):
    source: Source
    transformations: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class DocumentBlock(msgspec.Struct, tag_field="type", tag="document"):
    source: Source
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    """`input` is an object."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    name: Annotated[str, msgspec.Meta(min_length=1)]
    input: msgspec.Raw
    extra_content: ExtraContent | None = None
    cache_control: CacheControl | None = None


class ToolResultBlock(msgspec.Struct, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    data: str


class OtherBlock(msgspec.Struct):
    """Of a type that the gateway does not know."""

    type: str


KnownBlock: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock
)
Block: TypeAlias = KnownBlock | OtherBlock

_decode_known = msgspec.json.Decoder(KnownBlock).decode
_decode_other = msgspec.json.Decoder(OtherBlock).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_KNOWN_TYPES = frozenset(
    "text image document tool_use tool_result thinking redacted_thinking".split(),
)


def blocks_of(content: str | list[msgspec.Raw] | None, place: str) -> list[Block]:
    """`place` as in `messages[0].content`. Raises msgspec.ValidationError that names the place as msgspec would."""
    if content is None:
        return []
    if isinstance(content, str):
        return [TextBlock(text=content)]
    return [_block(raw, f"{place}[{number}]") for number, raw in enumerate(content)]


def _block(raw: msgspec.Raw, place: str) -> Block:
    try:
        block = _decode_known(raw)
    except msgspec.ValidationError as error:
        other = _other(raw, place)
        if other.type in _KNOWN_TYPES:
            raise placed(error, place) from None
        return other
    if isinstance(block, ToolUseBlock):
        _check_object(block.input, f"{place}.input")
    return block


def _other(raw: msgspec.Raw, place: str) -> OtherBlock:
    try:
        return _decode_other(raw)
    except msgspec.ValidationError as error:
        raise placed(error, place) from None


def _check_object(raw: msgspec.Raw, place: str) -> None:
    try:
        _decode_object(raw)
    except msgspec.ValidationError as error:
        raise placed(error, place) from None


def placed(error: msgspec.ValidationError, place: str) -> msgspec.ValidationError:
    """The same error of a part, as one of the whole."""
    reason, at, path = str(error).partition(" - at `")
    if not at:
        return msgspec.ValidationError(f"{reason} - at `$.{place}`")
    if path.startswith("key in "):
        return msgspec.ValidationError(f"{reason} - at `key in $.{place}{path.removeprefix('key in $')}")
    return msgspec.ValidationError(f"{reason} - at `$.{place}{path.removeprefix('$')}")
