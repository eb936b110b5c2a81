"""A conversation as Gemini has it: one system instruction, and contents of the roles `user` and `model`."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from adapters.providers.gemini.media import audio_part, document_parts, document_text, file_part, image_part
from adapters.providers.gemini.models import signs_thoughts
from adapters.providers.gemini.thinking import OWN_SIGNATURE
from domain.chat import (
    Audio,
    ChatAsk,
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
from domain.errors import InvalidInput

UNSIGNED = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made."""

Json: TypeAlias = dict[str, object]

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Step:
    """Adjacent turns of one kind (`user model tool`), which Gemini wants as one content."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.parts: list[Json] = []
        self.calls: list[str] = []

    def as_content(self) -> Json:
        return {"role": "model" if self.kind == "model" else "user", "parts": self.parts}


class _Conversation:
    def __init__(self, ask: ChatAsk, expressible: Expressible) -> None:
        self._place = ask.names.get("turns", "messages")
        self._signs_thoughts = signs_thoughts(ask.model)
        self._expressible = expressible
        self.system: list[Json] = []
        self.steps: list[_Step] = []

    def take(self, number: int, turn: Turn) -> None:
        if turn.role in ("system", "developer"):
            self.system += self._system_parts(number, turn)
        elif turn.role == "tool":
            self._take_results([part for part in turn.parts if isinstance(part, ToolResult)])
        elif turn.role == "assistant":
            self._add("model", _said(turn), [part.id for part in turn.parts if isinstance(part, ToolUse)])
            self._sign_first_call()
        else:
            self._add("user", _said(turn))

    def _add(self, kind: str, parts: list[Json], calls: Sequence[str] = ()) -> None:
        if not parts:
            return
        if not self.steps or self.steps[-1].kind != kind:
            self.steps.append(_Step(kind))
        self.steps[-1].parts += parts
        self.steps[-1].calls += calls

    def _sign_first_call(self) -> None:
        """Of the last step."""
        if self._signs_thoughts and self.steps:
            first = next((part for part in self.steps[-1].parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", UNSIGNED)

    def _system_parts(self, number: int, turn: Turn) -> list[Json]:
        for index, part in enumerate(turn.parts):
            if not isinstance(part, Text):
                kind = str(part.__struct_config__.tag)
                place = f"{self._place}[{number}].content[{index}]"
                self._expressible.refuse_content(place, kind, "Gemini's system instruction is text only")
        return _parts(turn.parts)

    def _take_results(self, results: list[ToolResult]) -> None:
        """In the order of the calls, because older models match them by it. What a model cannot see inside of a
        result comes after them, as said by the user."""
        order = {ident: place for place, ident in enumerate(self.steps[-1].calls if self.steps else ())}
        beside: list[Json] = []
        responses: list[Json] = []
        for result in sorted(results, key=lambda one: order.get(one.tool_use_id, len(order))):
            inside: list[Json] = []
            outside: list[Json] = []
            for media in _media_parts(result):
                (inside if self._signs_thoughts and "inlineData" in media else outside).append(media)
            responses.append(_function_response(result, inside))
            if outside:
                beside.append({"text": f"Returned by {result.name}:"})
                beside += outside
        self._add("tool", responses)
        self._add("user", beside)


def write_conversation(ask: ChatAsk, expressible: Expressible) -> Json:
    """`contents` and `systemInstruction`. Raises InvalidInput when nobody but the system says anything."""
    expressible.refuse_names(ask.turns, "Gemini has no names for those who speak")
    expressible.refuse_details(ask.turns, "Gemini decides itself how closely an image is looked at")
    conversation = _Conversation(ask, expressible)
    for number, turn in enumerate(ask.turns):
        conversation.take(number, turn)
    if not conversation.steps:
        place = ask.names.get("turns", "messages")
        raise InvalidInput(f"{place}: Gemini needs at least one message that is not of the system.", field=place)
    body: Json = {"contents": [step.as_content() for step in conversation.steps]}
    if conversation.system:
        body["systemInstruction"] = {"parts": conversation.system}
    return body


def _said(turn: Turn) -> list[Json]:
    """An empty text is left out beside others; alone it is what was said."""
    parts = _parts(turn.parts)
    if not parts and any(isinstance(part, Text) for part in turn.parts):
        return [{"text": ""}]
    return parts


def _parts(parts: Iterable[Part]) -> list[Json]:
    written: list[Json] = []
    for part in parts:
        if isinstance(part, Document):
            written += document_parts(part)
        elif (one := _part(part)) is not None:
            written.append(one)
    return written


def _part(part: Part) -> Json | None:
    """None for what says nothing to Gemini: empty texts, and the thoughts of other providers."""
    match part:
        case Text():
            return _signed({"text": part.text}, part.signature) if part.text or part.signature else None
        case Refusal():
            return {"text": part.text} if part.text else None
        case ToolUse():
            call: Json = {"id": part.id, "name": part.name, "args": _arguments(part.arguments)}
            return _signed({"functionCall": call}, part.signature)
        case Thinking():
            return _own_thought(part)
        case Image():
            return image_part(part)
        case Audio():
            return audio_part(part)
        case _:
            return None


def _signed(part: Json, signature: str | None) -> Json:
    return part | {"thoughtSignature": signature} if signature else part


def _own_thought(thought: Thinking) -> Json | None:
    signature = thought.signature or ""
    if not signature.startswith(OWN_SIGNATURE):
        return None
    return {"text": thought.text, "thought": True, "thoughtSignature": signature.removeprefix(OWN_SIGNATURE)}


def _arguments(text: str) -> msgspec.Raw | Json:
    """What is not the JSON object that it should be is handed on as the text that it is."""
    if not text.strip():
        return {}
    return _object_in(text) or {"arguments": text}


def _object_in(text: str) -> msgspec.Raw | None:
    try:
        _decode_object(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.Raw(text.encode())


def _function_response(result: ToolResult, media: Sequence[Json]) -> Json:
    text = "\n".join(_texts(result))
    answer = {"error": text} if result.is_error else _object_in(text) or {"result": text}
    response: Json = {"id": result.tool_use_id, "name": result.name, "response": answer}
    return {"functionResponse": response | {"parts": list(media)} if media else response}


def _texts(result: ToolResult) -> Iterable[str]:
    for part in result.parts:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, Document) and part.text is not None:
            yield document_text(part)
        elif isinstance(part, Document) and part.title:
            yield part.title


def _media_parts(result: ToolResult) -> Iterable[Json]:
    for part in result.parts:
        if isinstance(part, Image):
            yield image_part(part)
        elif isinstance(part, Document) and part.text is None:
            yield file_part(part)
