"""Parts of a conversation as Anthropic's content blocks."""

import base64
import binascii
import hashlib
import re
from typing import Literal, TypeAlias

import msgspec

from adapters.providers.anthropic.foreign import is_own
from domain.chat import (
    Audio,
    CacheTtl,
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
)
from domain.errors import InvalidInput

_IMAGE_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_PDF = "application/pdf"
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


class CacheControl(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Anthropic's own default is five minutes."""

    type: Literal["ephemeral"]
    ttl: CacheTtl | None = None


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    type: Literal["base64", "url", "text"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class TextBlock(msgspec.Struct, frozen=True, omit_defaults=True, tag="text"):
    text: str
    cache_control: CacheControl | None = None


class ImageBlock(msgspec.Struct, frozen=True, omit_defaults=True, tag="image"):
    source: Source
    cache_control: CacheControl | None = None


class DocumentBlock(msgspec.Struct, frozen=True, omit_defaults=True, tag="document"):
    source: Source
    title: str | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking"):
    thinking: str
    signature: str


class RedactedThinkingBlock(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    data: str


class ToolUseBlock(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None


class ToolResultBlock(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_result"):
    tool_use_id: str
    content: "tuple[Block, ...]" = ()
    is_error: bool = False
    cache_control: CacheControl | None = None


Block: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def block_of(part: Part, place: str, expressible: Expressible) -> Block | None:
    """None for what is not said to Anthropic: text without a word, which it rejects, and the thoughts of others, which
    have no signature of its own."""
    match part:
        case Text(text=text) | Refusal(text=text):
            cache = cache_control(part.cache) if isinstance(part, Text) else None
            return TextBlock(text, cache) if text.strip() else None
        case Thinking(signature=signature):
            return ThinkingBlock(part.text, signature) if signature and is_own(signature) else None
        case RedactedThinking():
            return RedactedThinkingBlock(part.data)
        case Image():
            return _image(part, place, expressible)
        case Document():
            return _document(part, place, expressible)
        case Audio():
            return expressible.refuse_content(
                place, "audio", "Anthropic's models do not listen; send the words as text"
            )
        case ToolUse():
            return ToolUseBlock(tool_id(part.id), part.name, _input(part, place), cache_control(part.cache))
        case ToolResult():
            return _tool_result(part, place, expressible)


def cache_control(ttl: CacheTtl | None) -> CacheControl | None:
    return CacheControl("ephemeral", ttl) if ttl else None


def tool_id(ident: str) -> str:
    """Anthropic takes letters, digits, `_` and `-`. Any other id becomes one of its own, the same every time."""
    if _TOOL_ID.fullmatch(ident):
        return ident
    return f"toolu_{hashlib.sha256(ident.encode()).hexdigest()[:24]}"


def _image(image: Image, place: str, expressible: Expressible) -> ImageBlock:
    cache = cache_control(image.cache)
    if image.url is not None:
        return ImageBlock(Source("url", url=image.url), cache)
    media_type = _IMAGE_TYPES.get((image.media_type or "").lower())
    if media_type is None:
        expressible.refuse_content(place, "image", "Anthropic's models see JPEG, PNG, GIF and WebP only")
    return ImageBlock(Source("base64", media_type, image.data), cache)


def _document(document: Document, place: str, expressible: Expressible) -> DocumentBlock:
    return DocumentBlock(_document_source(document, place, expressible), document.title, cache_control(document.cache))


def _document_source(document: Document, place: str, expressible: Expressible) -> Source:
    if document.url is not None:
        return Source("url", url=document.url)
    if document.text is not None:
        return Source("text", "text/plain", document.text)
    media_type = (document.media_type or _PDF).lower()
    if media_type.startswith("text/"):
        return Source("text", "text/plain", _plain(document.data or "", place))
    if media_type != _PDF:
        expressible.refuse_content(place, "document", "Anthropic's models read PDF and plain text only")
    return Source("base64", _PDF, document.data)


def _plain(data: str, place: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidInput(f"{place}: the text of a document is base64 of UTF-8.", field=place) from None


def _input(tool_use: ToolUse, place: str) -> msgspec.Raw:
    if not tool_use.arguments.strip():
        return msgspec.Raw(b"{}")
    try:
        _decode_object(tool_use.arguments)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(
            f"{place}: the arguments of {tool_use.name!r} are not the text of a JSON object, which Anthropic needs.",
            field=place,
        ) from None
    return msgspec.Raw(tool_use.arguments.encode())


def _tool_result(result: ToolResult, place: str, expressible: Expressible) -> ToolResultBlock:
    blocks = [block_of(part, place, expressible) for part in result.parts]
    return ToolResultBlock(
        tool_id(result.tool_use_id),
        tuple(block for block in blocks if block is not None),
        result.is_error,
        cache_control(result.cache),
    )
