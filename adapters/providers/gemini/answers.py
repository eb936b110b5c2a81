"""Gemini's answers, each event of a stream being a `GenerateContentResponse` like the whole one."""

import re
from typing import Annotated
from uuid import uuid4

import msgspec

from adapters.providers.gemini.errors import error_in_answer
from adapters.providers.gemini.models import bare_name
from adapters.providers.gemini.thinking import OWN_SIGNATURE
from adapters.providers.gemini.usage import UsageSoFar
from adapters.providers.vocabulary import UNREADABLE, ErrorInAnswer
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolArguments,
    ToolStarted,
    Used,
)

_FINISHES: dict[str | int, FinishReason] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
}
"""All others are a stop."""
_FAILURES = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "PUP_LIMITED_DISABLED",
    }
)
_UNFINISHED = (None, "FINISH_REASON_UNSPECIFIED")
_FIT_FOR_AN_ID = re.compile(r"[A-Za-z0-9_-]{8,26}")
"""OpenAI takes ids of tool calls of at most 40 characters, Anthropic none with others than these."""

_Index = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class _FunctionCall(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Token(msgspec.Struct, rename="camel"):
    token: str | None = None
    log_probability: float | None = None


class _TopTokens(msgspec.Struct):
    candidates: list[_Token] | None = None


class _LogprobsResult(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_TopTokens] | None = None


class _Source(msgspec.Struct):
    uri: str | None = None
    title: str | None = None


class _CitationMetadata(msgspec.Struct, rename="camel"):
    citation_sources: list[msgspec.Raw] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | int | None = None
    finish_message: str | None = None
    index: _Index | None = None
    logprobs_result: _LogprobsResult | None = None
    citation_metadata: _CitationMetadata | None = None


class _PromptFeedback(msgspec.Struct, rename="camel"):
    block_reason: str | int | None = None


class _Response(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw()
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_source = msgspec.json.Decoder(_Source).decode


class _ChoiceSoFar:
    def __init__(self) -> None:
        self.calls = 0
        self.is_finished = False


class GeminiReader:
    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceSoFar] = {}
        self._usage = UsageSoFar()
        self._is_started = False
        self._answer_id = ""

    @property
    def ended(self) -> bool:
        """Events may still follow it: the last one often has only the final usage."""
        return bool(self._choices) and all(choice.is_finished for choice in self._choices.values())

    def read(self, data: bytes) -> list[AnswerEvent]:
        """Raises ErrorInAnswer, also for an end that is a failure of the model."""
        if data == b"[DONE]":
            return []
        try:
            response = _decode_response(data)
            if response.error and bytes(response.error) != b"null":
                raise error_in_answer(data)
            return self._events(response)
        except UNREADABLE:
            raise error_in_answer(data) from None

    def close(self) -> list[AnswerEvent]:
        """Of a whole answer: what it left out. Raises ErrorInAnswer when there was no answer in it."""
        if not self._choices:
            raise ErrorInAnswer("Gemini answered without a candidate.")
        return [
            self._finished(number, choice, "STOP") for number, choice in self._choices.items() if not choice.is_finished
        ]

    def _events(self, response: _Response) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if not self._is_started:
            self._is_started = True
            self._answer_id = response.response_id or ""
            events.append(Started(self._answer_id, bare_name(response.model_version or "")))
        for position, candidate in enumerate(response.candidates or ()):
            self._read_candidate(candidate, position if candidate.index is None else candidate.index, events)
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason and not response.candidates:
            self._read_block(events)
        if (usage := self._usage.take(response.usage_metadata)) is not None:
            events.append(Used(usage))
        return events

    def _read_block(self, events: list[AnswerEvent]) -> None:
        if not self._choices:
            self._choices[0] = _ChoiceSoFar()
        for number, choice in self._choices.items():
            if not choice.is_finished:
                events.append(self._finished(number, choice, "SAFETY"))

    def _read_candidate(self, candidate: _Candidate, number: int, events: list[AnswerEvent]) -> None:
        choice = self._choices.get(number) or self._choices.setdefault(number, _ChoiceSoFar())
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._read_part(part, number, choice, events)
        if candidate.logprobs_result is not None:
            events.append(Logprobs(_tokens(candidate.logprobs_result), number))
        if candidate.citation_metadata is not None:
            events += [_citation(raw, number) for raw in candidate.citation_metadata.citation_sources or ()]
        reason = candidate.finish_reason
        if reason in _UNFINISHED:
            return
        if reason in _FAILURES:
            raise ErrorInAnswer(candidate.finish_message or f"Gemini gave up: {reason}.", code=str(reason))
        if not choice.is_finished:
            events.append(self._finished(number, choice, reason))

    def _finished(self, number: int, choice: _ChoiceSoFar, reason: str | int | None) -> Finished:
        choice.is_finished = True
        finish = _FINISHES.get(reason or "", "stop")
        return Finished("tool_calls" if finish == "stop" and choice.calls else finish, number)

    def _read_part(self, part: _Part, number: int, choice: _ChoiceSoFar, events: list[AnswerEvent]) -> None:
        signature = part.thought_signature or None
        if part.function_call is not None:
            self._read_call(part.function_call, signature, number, choice, events)
        elif part.thought:
            if part.text:
                events.append(ThinkingDelta(part.text, number))
            if signature is not None:
                events.append(ThinkingDelta("", number, OWN_SIGNATURE + signature))
        elif part.text or signature is not None:
            events.append(TextDelta(part.text or "", number, signature))

    def _read_call(
        self, call: _FunctionCall, signature: str | None, number: int, choice: _ChoiceSoFar, events: list[AnswerEvent]
    ) -> None:
        if not call.name:
            raise ErrorInAnswer("Gemini called a function without a name.")
        index = choice.calls
        choice.calls += 1
        ident = call.id or f"call_{self._call_prefix()}_{number}_{index}"
        events.append(ToolStarted(index, ident, call.name, number, signature))
        events.append(ToolArguments(index, _arguments(call.args), number))

    def _call_prefix(self) -> str:
        """Differs between the answers of a conversation."""
        if not _FIT_FOR_AN_ID.fullmatch(self._answer_id):
            self._answer_id = uuid4().hex[:24]
        return self._answer_id


def _arguments(args: msgspec.Raw) -> str:
    """Compact. Numbers stay as the model wrote them."""
    if not args or bytes(args) == b"null":
        return "{}"
    text = str(msgspec.json.format(bytes(args), indent=-1), "utf-8")
    if not text.startswith("{"):
        raise ErrorInAnswer("Gemini called a function with arguments that are no object.")
    return text


def _tokens(result: _LogprobsResult) -> tuple[TokenLogprob, ...]:
    tops = result.top_candidates or []
    return tuple(
        _token(chosen, tuple(_token(one) for one in tops[place].candidates or ()) if place < len(tops) else ())
        for place, chosen in enumerate(result.chosen_candidates or ())
    )


def _token(token: _Token, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(token.token or "", token.log_probability or 0.0, top=top)


def _citation(raw: msgspec.Raw, number: int) -> Citation:
    str(raw, "utf-8")
    source = _decode_source(raw)
    return Citation(raw.copy(), number, source.uri, source.title)
