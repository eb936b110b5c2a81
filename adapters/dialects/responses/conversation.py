"""Input items as turns: what an assistant thought, said and called is one, and the results of its calls the next."""

from collections.abc import Sequence

from adapters.dialects.data_uri import is_data_uri, media_type_and_data
from adapters.dialects.responses.wire import (
    AskedResponse,
    CacheBreakpoint,
    Content,
    InputFile,
    InputImage,
    InputText,
    Item,
    OutputText,
    ReasoningText,
    RefusalContent,
)
from domain.chat import (
    CacheTtl,
    Document,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from domain.errors import InvalidInput, UnsupportedParameter

REDACTED = "redacted_thinking:"
"""Before the `encrypted_content` of thoughts that a provider shows to nobody, to tell it from a signature."""
PDF = "application/pdf"
PARAGRAPHS = "\n\n"


class _OpenTurn:
    def __init__(self, role: Role) -> None:
        self.role: Role = role
        self.parts: list[Part] = []
        self.results: list[ToolResult] = []

    def closed(self) -> list[Turn]:
        turns = [Turn(role=self.role, parts=tuple(self.parts))]
        return [*turns, Turn(role="tool", parts=tuple(self.results))] if self.results else turns


class _Conversation:
    def __init__(self) -> None:
        self.turns: list[_OpenTurn] = []
        self._calls: dict[str, tuple[str, _OpenTurn]] = {}

    def take(self, item: Item, place: str) -> None:
        match item.kind:
            case "message" if item.role == "assistant":
                self._assistant().parts += _parts(item.content, f"{place}.content")
            case "message":
                self._next(item.role or "user").parts += _parts(item.content, f"{place}.content")
            case "reasoning":
                self._assistant().parts += _thinking(item)
            case "function_call":
                self._call(item, place)
            case "function_call_output":
                self._result(item, place)
            case kind:
                raise UnsupportedParameter(
                    f"{place}.type",
                    f"{place}.type: {kind} is not supported here; use functions.",
                    capability="custom_tools",
                )

    def say(self, role: Role, text: str) -> None:
        self._next(role).parts.append(Text(text=text))

    def _next(self, role: Role) -> _OpenTurn:
        self.turns.append(_OpenTurn(role))
        return self.turns[-1]

    def _assistant(self) -> _OpenTurn:
        """The turn that goes on, until a call of it has its result."""
        last = self.turns[-1] if self.turns else None
        return last if last and last.role == "assistant" and not last.results else self._next("assistant")

    def _call(self, item: Item, place: str) -> None:
        call_id, name = _needed(item.call_id, f"{place}.call_id"), _needed(item.name, f"{place}.name")
        turn = self._assistant()
        turn.parts.append(ToolUse(id=call_id, name=name, arguments=item.arguments or "{}", signature=item.signature))
        self._calls[call_id] = (name, turn)

    def _result(self, item: Item, place: str) -> None:
        """Beside the other results of its turn, wherever it stands."""
        call_id = _needed(item.call_id, f"{place}.call_id")
        name, turn = self._calls.get(call_id, ("", None))
        if turn is None:
            field = f"{place}.call_id"
            raise InvalidInput(
                f"{field}: no function_call before has the call_id {call_id!r}; send it too.", field=field
            )
        parts = _result_parts(_parts(item.output, f"{place}.output"), f"{place}.output")
        turn.results.append(ToolResult(tool_use_id=call_id, name=name, parts=parts))


def turns_of(asked: AskedResponse) -> tuple[Turn, ...]:
    """Raises InvalidInput and UnsupportedParameter, at the client's own place."""
    conversation = _Conversation()
    if asked.instructions:
        conversation.say("system", asked.instructions)
    if isinstance(asked.input, str):
        conversation.say("user", asked.input)
    else:
        for place, item in enumerate(asked.input):
            conversation.take(item, f"input[{place}]")
    return tuple(turn for open_turn in conversation.turns for turn in open_turn.closed())


def _needed(value: str | None, field: str) -> str:
    if not value:
        raise InvalidInput(f"{field}: missing; calls and their outputs have one.", field=field)
    return value


def _thinking(item: Item) -> list[Part]:
    """Nothing for an item that OpenAI would have stored: it has neither text nor secret."""
    secret = item.encrypted_content or ""
    if secret.startswith(REDACTED):
        return [RedactedThinking(data=secret.removeprefix(REDACTED))]
    contents = item.content if isinstance(item.content, list) else []
    texts = [part.text for part in contents if isinstance(part, ReasoningText)]
    text = PARAGRAPHS.join(texts or [summary.text for summary in item.summary or ()])
    return [Thinking(text=text, signature=secret or None)] if text or secret else []


def _parts(content: str | Sequence[Content] | None, place: str) -> list[Part]:
    if content is None or isinstance(content, str):
        return [Text(text=content or "")]
    return [_part(part, f"{place}[{number}]") for number, part in enumerate(content)]


def _part(part: Content, place: str) -> Part:
    match part:
        case InputText():
            return Text(text=part.text, cache=_cache(part.prompt_cache_breakpoint))
        case OutputText():
            return Text(text=part.text, signature=part.signature)
        case RefusalContent():
            return Refusal(text=part.refusal)
        case InputImage():
            return _image(part, place)
        case InputFile():
            return _document(part, place)
        case _:
            field = f"{place}.type"
            raise InvalidInput(f"{field}: reasoning_text stands in items of type reasoning only.", field=field)


def _image(image: InputImage, place: str) -> Image:
    url = image.image_url
    if not url:
        raise _no_stored_file(f"{place}.file_id" if image.file_id else f"{place}.image_url", "image_url", "image")
    cache = _cache(image.prompt_cache_breakpoint)
    if not is_data_uri(url):
        return Image(url=url, detail=image.detail, cache=cache)
    media_type, data = media_type_and_data(url, f"{place}.image_url")
    return Image(data=data, media_type=media_type, detail=image.detail, cache=cache)


def _document(file: InputFile, place: str) -> Document:
    cache = _cache(file.prompt_cache_breakpoint)
    if file.detail not in (None, "auto"):
        field = f"{place}.detail"
        raise UnsupportedParameter(field, f"{field}: only OpenAI's own models know this for files; leave it out.")
    if file.file_url:
        return Document(url=file.file_url, title=file.filename, cache=cache)
    if not file.file_data:
        field = f"{place}.file_id" if file.file_id else f"{place}.file_data"
        raise _no_stored_file(field, "file_data or file_url", "document")
    media_type, data = PDF, file.file_data
    if is_data_uri(file.file_data):
        media_type, data = media_type_and_data(file.file_data, f"{place}.file_data")
    return Document(data=data, media_type=media_type, title=file.filename, cache=cache)


def _no_stored_file(field: str, remedy: str, kind: str) -> UnsupportedParameter:
    return UnsupportedParameter(field, f"{field}: nothing is stored here; send {remedy}.", capability=kind)


def _result_parts(parts: Sequence[Part], place: str) -> tuple[Text | Image | Document, ...]:
    fitting: list[Text | Image | Document] = []
    for number, part in enumerate(parts):
        if not isinstance(part, Text | Image | Document):
            field = f"{place}[{number}].type"
            raise InvalidInput(f"{field}: an output is made of input_text, input_image and input_file.", field=field)
        fitting.append(part)
    return tuple(fitting)


def _cache(said: CacheBreakpoint | None) -> CacheTtl | None:
    """Thirty minutes, where they are said, are kept by an hour only."""
    if said is None:
        return None
    return "1h" if said.ttl else "5m"
