"""A chat completion as an OpenAI client asks for it: checked whole, with one clear error, before anything is done."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.reading import decoded, refuse_dear_tier, said
from domain.errors import InvalidInput, UnsupportedParameter

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


class _CacheLifetime(msgspec.Struct):
    ttl: str | None = None


class _Cacheable(msgspec.Struct, kw_only=True):
    prompt_cache_breakpoint: _CacheLifetime | None = None


class _TextPart(_Cacheable, tag_field="type", tag="text"):
    text: str


class _ImagePart(_Cacheable, tag_field="type", tag="image_url"):
    image_url: _ImageUrl


class _RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class _FilePart(_Cacheable, tag_field="type", tag="file"):
    file: dict[str, Any]


class _AudioPart(_Cacheable, tag_field="type", tag="input_audio"):
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
    drop_params: bool | None = None
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
    prompt_cache_options: _CacheLifetime | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None


_decode_request = msgspec.json.Decoder(ChatRequest).decode


def check(body: bytes) -> ClientRequest:
    """Of two limits a provider may follow either: the larger counts."""
    request, members = decoded(body, _decode_request, ACCEPTED)
    members = said(members)
    parts = [part for message in request.messages if isinstance(message.content, list) for part in message.content]
    _refuse_what_is_not_priced(request, members)
    if parts:
        _refuse_long_caches(request.messages)
    return ClientRequest(
        endpoint="chat.completions",
        model=request.model,
        members=members,
        body_bytes=len(body),
        text_bytes=_text_bytes(request.messages, parts) + len(members.get("tools", b"")),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        drop_params=bool(request.drop_params),
        choices=request.n or 1,
        output_limit=max(request.max_completion_tokens or 0, request.max_tokens or 0) or None,
        entries=len(request.messages) + len(request.tools or ()),
        images=sum([isinstance(part, _ImagePart) for part in parts]),
        is_bounded=not any(isinstance(part, _FilePart | _AudioPart) for part in parts),
    )


def _text_bytes(messages: list[_Message], parts: list[_Part]) -> int:
    whole = sum([len(message.content.encode()) for message in messages if isinstance(message.content, str)])
    return whole + sum([len(part.text.encode()) for part in parts if isinstance(part, _TextPart)])


def _refuse_what_is_not_priced(request: ChatRequest, members: dict[str, msgspec.Raw]) -> None:
    """What would change the bill in a way that the price does not know is refused, not passed on."""
    if not NOT_PRICED.keys().isdisjoint(members):
        name = next(name for name in NOT_PRICED if name in members)
        raise UnsupportedParameter(name, f"{name}: {NOT_PRICED[name]}.")
    refuse_dear_tier(request.service_tier)
    if request.modalities and request.modalities != ["text"]:
        raise UnsupportedParameter("modalities", 'modalities: only ["text"] is priced.')
    _refuse_long_cache(request.prompt_cache_options, "prompt_cache_options")
    if request.stream_options is not None and not request.stream:
        raise InvalidInput("stream_options: only allowed when `stream` is true.", field="stream_options")


def _refuse_long_caches(messages: list[_Message]) -> None:
    for number, message in enumerate(messages):
        for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if isinstance(part, _Cacheable):
                place = f"messages[{number}].content[{index}].prompt_cache_breakpoint"
                _refuse_long_cache(part.prompt_cache_breakpoint, place)


def _refuse_long_cache(said: _CacheLifetime | None, place: str) -> None:
    if said is not None and said.ttl not in (None, "30m"):
        raise UnsupportedParameter(f"{place}.ttl", f"{place}.ttl: only `30m` is priced.")
