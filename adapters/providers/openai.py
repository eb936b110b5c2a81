"""OpenAI, and whatever speaks its chat completions: answers pass through as the provider wrote them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated

import msgspec

from adapters.providers.http import ProviderHttp, error_in
from adapters.providers.sse import END_MARK, EventTooLarge, sse_data
from domain.chat import ChatCall, ChatReply, ReplyPiece, Usage
from domain.errors import ProviderBroken
from domain.pricing import Tokens

PATH = "/chat/completions"


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _Usage(msgspec.Struct):
    """Totals below zero or beyond reason are no report; parts are cut to their total."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct):
    """A whole message, or the delta of one."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    """A `chat.completion` or one `chat.completion.chunk`."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()

    @property
    def is_error(self) -> bool:
        """Some put their error beside choices that are empty."""
        return bytes(self.error) not in (b"", b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class OpenAIProvider:
    def __init__(self, name: str, http: ProviderHttp) -> None:
        self.name = name
        self._http = http

    def check(self, members: Mapping[str, msgspec.Raw]) -> None:
        """Every parameter goes to the provider, which knows its own."""

    async def complete(self, call: ChatCall) -> ChatReply:
        body = await self._http.post(PATH, request_body(call), call.request_id)
        answer = self._decoded(body)
        if not answer.choices or answer.is_error:
            raise self._error_inside(body)
        return ChatReply(
            body=body,
            model=answer.model or call.upstream_model,
            finish_reason=answer.choices[0].finish_reason or "stop",
            usage=_usage(answer.usage),
            output_chars=_output_chars(answer.choices),
        )

    async def stream(self, call: ChatCall) -> AsyncGenerator[ReplyPiece]:
        """One piece for all events that came in one read."""
        try:
            async with (
                aclosing(self._http.post_stream(PATH, request_body(call), call.request_id)) as chunks,
                aclosing(sse_data(chunks)) as reads,
            ):
                async for events in reads:
                    pieces, ended, failure = self._pieces(events, call)
                    if pieces:
                        yield _joined(pieces)
                    if failure:
                        raise failure
                    if ended:
                        return
        except EventTooLarge:
            raise ProviderBroken(self.name, "The provider sent an event larger than 8 MiB.") from None
        raise ProviderBroken(self.name, "The provider's stream ended without its end mark.")

    def _pieces(self, events: list[bytes], call: ChatCall) -> tuple[list[ReplyPiece], bool, ProviderBroken | None]:
        """What stands before the end mark or a broken event, and which of them was met."""
        pieces: list[ReplyPiece] = []
        for data in events:
            if data == END_MARK:
                return pieces, True, None
            try:
                pieces.append(self._piece(data, call))
            except ProviderBroken as failure:
                return pieces, False, failure
        return pieces, False, None

    def _piece(self, data: bytes, call: ChatCall) -> ReplyPiece:
        chunk = self._decoded(data)
        usage = _usage(chunk.usage)
        choices = chunk.choices
        if (choices is None and usage is None) or chunk.is_error:
            raise self._error_inside(data)
        only_usage = usage is not None and not choices
        return ReplyPiece(
            data=b""
            if only_usage and not call.include_usage
            else b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n",
            output_chars=_output_chars(choices or ()),
            model=chunk.model or "",
            finish_reason=next((choice.finish_reason for choice in choices or () if choice.finish_reason), None),
            usage=usage,
        )

    def _decoded(self, data: bytes) -> _Answer:
        try:
            return _decode_answer(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._error_inside(data) from None

    def _error_inside(self, data: bytes) -> ProviderBroken:
        error = error_in(data)
        message = error.message if error and error.message else "The provider's answer is not a chat completion."
        return ProviderBroken(self.name, self._http.without_secrets(message))


def _joined(pieces: list[ReplyPiece]) -> ReplyPiece:
    if len(pieces) == 1:
        return pieces[0]
    return ReplyPiece(
        data=b"".join(piece.data for piece in pieces),
        output_chars=sum(piece.output_chars for piece in pieces),
        model=next((piece.model for piece in pieces if piece.model), ""),
        finish_reason=next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), None),
        usage=next((piece.usage for piece in reversed(pieces) if piece.usage), None),
    )


def request_body(call: ChatCall) -> bytes:
    """What the client asked, for the upstream model; a stream always reports usage. Nulls say nothing and stay out."""
    members = {name: value for name, value in call.members.items() if bytes(value) != b"null"}
    members["model"] = msgspec.Raw(msgspec.json.encode(call.upstream_model))
    if call.stream:
        options = msgspec.json.decode(members.get("stream_options", b"{}"), type=dict[str, msgspec.Raw])
        options["include_usage"] = msgspec.Raw(b"true")
        members["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(members)


def _usage(raw: msgspec.Raw) -> Usage | None:
    """OpenAI counts cached and audio input inside `prompt_tokens`, reasoning and audio inside `completion_tokens`."""
    if not raw or bytes(raw) == b"null":
        return None
    try:
        usage = _decode_usage(raw)
    except msgspec.DecodeError:
        return None
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        return None
    inputs = usage.prompt_tokens_details or _InputDetails()
    outputs = usage.completion_tokens_details or _OutputDetails()
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    cached, audio_in = _split(prompt, inputs.cached_tokens, inputs.audio_tokens)
    reasoning, audio_out = _split(completion, outputs.reasoning_tokens, outputs.audio_tokens)
    tokens = Tokens(
        input=prompt - cached - audio_in,
        cached_input=cached,
        audio_input=audio_in,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        audio_output=audio_out,
    )
    return Usage(raw.copy(), tokens)


def _split(total: int, first: int | None, second: int | None) -> tuple[int, int]:
    """Parts of a total, never more than it."""
    one = min(max(first or 0, 0), total)
    return one, min(max(second or 0, 0), total - one)


def _output_chars(choices: list[_Choice] | tuple[()]) -> int:
    count = 0
    for choice in choices:
        message = choice.delta or choice.message
        if message is not None:
            text = len(message.content or "") + len(message.refusal or "") + len(message.reasoning_content or "")
            count += text + (0 if bytes(message.tool_calls) in (b"", b"null", b"[]") else len(message.tool_calls))
    return count
