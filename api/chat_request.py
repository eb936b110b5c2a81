"""A chat completion as an OpenAI client asks for it: checked whole, with one clear error, before anything is done."""

import re
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from domain.catalog import Model
from domain.errors import InvalidInput, UnsupportedParameter

MESSAGE_OVERHEAD_TOKENS = 16
IMAGE_TOKENS_BOUND = 50_000
"""No provider counts one image as more."""
BYTES_PER_TOKEN = 4
"""For the estimate; the bound takes every byte for a token, which no tokenizer exceeds."""

NOT_PRICED = {
    "audio": "audio answers are not priced yet; leave it out",
    "web_search_options": "web search is not priced yet; leave it out",
    "prediction": "predicted outputs are not priced yet; leave it out",
    "functions": "use `tools` instead",
    "function_call": "use `tool_choice` instead",
}
ACCEPTED = {
    "role": "system, developer, user, assistant or tool",
    "type": "text, image_url, input_audio, file or refusal",
    "detail": "auto, low or high",
}


class _ImageUrl(msgspec.Struct):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class _TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: _ImageUrl


class _RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class _FilePart(msgspec.Struct, tag_field="type", tag="file"):
    file: dict[str, Any]


class _AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    input_audio: dict[str, Any]


_Part: TypeAlias = _TextPart | _ImagePart | _RefusalPart | _FilePart | _AudioPart


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class ChatRequest(msgspec.Struct):
    """What the gateway itself must understand. Other members go to the provider or are refused there, by name."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None

    def output_limit(self, model: Model) -> int:
        """Most output tokens of one choice. Of two limits a provider may follow either."""
        asked = max(self.max_completion_tokens or 0, self.max_tokens or 0)
        return min(asked, model.max_output_tokens) if asked else model.max_output_tokens

    def input_bound(self, body_bytes: int, model: Model) -> int:
        """More tokens than the input can have; at most what the model can hold."""
        bound = body_bytes + MESSAGE_OVERHEAD_TOKENS * len(self.messages)
        for message in self.messages:
            for part in message.content if isinstance(message.content, list) else ():
                if isinstance(part, _ImagePart):
                    bound += IMAGE_TOKENS_BOUND
                elif not isinstance(part, _TextPart | _RefusalPart):
                    return model.context_length
        return min(bound, model.context_length)

    def input_estimate(self) -> int:
        """What the input probably has, for the case that nobody reports it."""
        total = 0
        for message in self.messages:
            content = message.content
            if isinstance(content, str):
                total += len(content.encode())
            elif content:
                total += sum(len(part.text.encode()) for part in content if isinstance(part, _TextPart))
        return max(1, -(-total // BYTES_PER_TOKEN))


_decode_request = msgspec.json.Decoder(ChatRequest).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")


def parse(body: bytes) -> tuple[ChatRequest, dict[str, msgspec.Raw]]:
    """The request and its members, still encoded. Raises InvalidInput that names the place and what fits there."""
    try:
        str(body, "utf-8")
        request = _decode_request(body)
        members = _decode_members(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not UTF-8 (byte {error.start}).", code="invalid_json") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deeply; flatten it.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    _refuse_what_is_not_priced(request, members)
    return request, members


def _invalid(text: str) -> InvalidInput:
    """msgspec says `Expected `int`, got `str` - at `$.max_tokens``; the client reads `max_tokens: Expected …`."""
    found = _PATH.search(text)
    field = found["path"] if found else None
    reason = _PATH.sub("", text)
    missing = re.search(r"missing required field `(\w+)`", reason)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
    if field is None:
        return InvalidInput(f"The body: {reason}.")
    accepted = ACCEPTED.get(field.rpartition(".")[2]) if "nvalid" in reason else None
    return InvalidInput(f"{field}: {reason}; use {accepted}." if accepted else f"{field}: {reason}.", field=field)


def _refuse_what_is_not_priced(request: ChatRequest, members: dict[str, msgspec.Raw]) -> None:
    """What would change the bill in a way that the price does not know is refused, not passed on."""
    for name, remedy in NOT_PRICED.items():
        if name in members and bytes(members[name]) != b"null":
            raise UnsupportedParameter(name, f"{name}: {remedy}.")
    if request.service_tier not in (None, "auto", "default"):
        raise UnsupportedParameter("service_tier", "service_tier: only `auto` and `default` are priced.")
    if request.modalities and request.modalities != ["text"]:
        raise UnsupportedParameter("modalities", 'modalities: only ["text"] is priced.')
    if request.stream_options is not None and not request.stream:
        raise InvalidInput("stream_options: only allowed when `stream` is true.", field="stream_options")
