"""A conversation in the messages of OpenAI's chat completions."""

import hashlib
from collections.abc import Sequence
from mimetypes import guess_extension
from typing import Any

from domain.chat import (
    Audio,
    Document,
    Expressible,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)

MAX_TOOL_ID_CHARS = 40
"""OpenAI refuses longer ones; other vendors make them."""

_Json = dict[str, Any]


class ChatMessages:
    """Writes turns; raises UnsupportedParameter for content that has no words here.

    Cache markers and the signatures of other vendors' thoughts stay out: OpenAI caches by itself and reads neither.
    """

    def __init__(
        self, expressible: Expressible, *, developer_role: bool, sends_reasoning: bool, refusals: bool
    ) -> None:
        self._expressible = expressible
        self._developer = "developer" if developer_role else "system"
        self._sends_reasoning = sends_reasoning
        self._refusals = refusals
        self._text_kinds = (Text,) if refusals else (Text, Refusal)

    def written(self, turns: Sequence[Turn]) -> list[_Json]:
        messages: list[_Json] = []
        for number, turn in enumerate(turns):
            place = f"messages[{number}]"
            if turn.role == "tool":
                messages += self._results(turn, place)
            elif turn.role == "assistant":
                messages.append(self._assistant(turn, place))
            else:
                role = self._developer if turn.role == "developer" else turn.role
                messages.append(_named({"role": role, "content": self._content(turn, place)}, turn))
        return messages

    def _content(self, turn: Turn, place: str) -> str | list[_Json]:
        written: list[_Json] = []
        for number, part in enumerate(turn.parts):
            at = f"{place}.content[{number}]"
            if isinstance(part, Text):
                written.append(_text(part.text))
            elif turn.role == "user" and isinstance(part, Image):
                written.append(_image(part))
            elif turn.role == "user" and isinstance(part, Document):
                written.append(self._document(part, at))
            elif turn.role == "user" and isinstance(part, Audio):
                audio = {"data": part.data, "format": part.format}
                written.append({"type": "input_audio", "input_audio": audio})
            else:
                self._refuse(part, at, turn.role)
        return _plain(written)

    def _assistant(self, turn: Turn, place: str) -> _Json:
        """Thoughts go back only to providers that want their own back; a refusal is text for those that have none."""
        for number, part in enumerate(turn.parts):
            if isinstance(part, Image | Document | Audio | ToolResult):
                self._refuse(part, f"{place}.content[{number}]", turn.role)
        texts = [_text(part.text) for part in turn.parts if isinstance(part, self._text_kinds)]
        calls = [_call(part) for part in turn.parts if isinstance(part, ToolUse)]
        refusal = "".join(part.text for part in turn.parts if isinstance(part, Refusal)) if self._refusals else ""
        thoughts = "".join(part.text for part in turn.parts if isinstance(part, Thinking))
        message: _Json = {"role": "assistant"}
        if refusal and not texts:
            message["content"] = [{"type": "refusal", "refusal": refusal}]
        elif refusal:
            message |= {"content": _plain(texts), "refusal": refusal}
        elif texts or not calls:
            message["content"] = _plain(texts)
        if thoughts and self._sends_reasoning:
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        return _named(message, turn)

    def _results(self, turn: Turn, place: str) -> list[_Json]:
        messages: list[_Json] = []
        for number, result in enumerate(turn.parts):
            at = f"{place}.content[{number}]"
            if isinstance(result, ToolResult):
                content = self._result(result, at)
                messages.append({"role": "tool", "tool_call_id": _tool_id(result.tool_use_id), "content": content})
            else:
                self._refuse(result, at, turn.role)
        return messages

    def _result(self, result: ToolResult, place: str) -> str | list[_Json]:
        """That a tool failed is said in words: there is no other place for it."""
        texts: list[str] = []
        for number, part in enumerate(result.parts):
            at = f"{place}.content[{number}]"
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, Document) and part.text is not None:
                texts.append(_document_text(part))
            else:
                self._refuse(part, at, "tool")
        if result.is_error:
            texts = [f"Error: {texts[0]}", *texts[1:]] if texts else ["Error"]
        return _plain([_text(text) for text in texts])

    def _document(self, part: Document, place: str) -> _Json:
        if part.text is not None:
            return _text(_document_text(part))
        if part.data is None:
            self._expressible.refuse_content(
                place, "document", "documents by URL are not taken here; send the document itself as base64 data"
            )
        media_type = part.media_type or "application/pdf"
        filename = part.title or f"document{guess_extension(media_type) or ''}"
        return {"type": "file", "file": {"filename": filename, "file_data": _data_url(media_type, part.data or "")}}

    def _refuse(self, part: Part, place: str, role: str) -> None:
        kind = part.__struct_config__.tag
        self._expressible.refuse_content(place, str(kind), f"a message of role {role} takes no {kind} here")


def _named(message: _Json, turn: Turn) -> _Json:
    return {**message, "name": turn.name} if turn.name else message


def _plain(parts: list[_Json]) -> str | list[_Json]:
    """A single text, or none, is a plain string: every provider reads that."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text(text: str) -> _Json:
    return {"type": "text", "text": text}


def _document_text(part: Document) -> str:
    return f"{part.title}\n\n{part.text}" if part.title else part.text or ""


def _image(part: Image) -> _Json:
    url = part.url or _data_url(part.media_type or "image/png", part.data or "")
    return {"type": "image_url", "image_url": {"url": url, "detail": part.detail} if part.detail else {"url": url}}


def _data_url(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


def _call(part: ToolUse) -> _Json:
    function = {"name": part.name, "arguments": part.arguments or "{}"}
    return {"id": _tool_id(part.id), "type": "function", "function": function}


def _tool_id(ident: str) -> str:
    """The same for a call and its result."""
    if len(ident) <= MAX_TOOL_ID_CHARS:
        return ident
    return f"call_{hashlib.sha256(ident.encode()).hexdigest()[:32]}"
