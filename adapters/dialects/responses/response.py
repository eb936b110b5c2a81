"""The `response` object: what was answered, what it used, and the request's own words given back."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters.dialects.reading import said
from domain.answer import FinishReason
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

INCOMPLETE: Mapping[FinishReason, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What is given back, as it stands when the request does not say it."""
FIXED: Mapping[str, Any] = {
    "background": False,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
}


class _InputDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int


class _Usage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: _InputDetails
    output_tokens: int
    output_tokens_details: _OutputDetails
    total_tokens: int


class ResponseObject:
    """Of one answer; `model` may become known later. Ids and time come from the request's id."""

    def __init__(self, call: ProviderCall) -> None:
        self.ident = call.request_id.removeprefix("req_")
        self.model = call.upstream_model
        self._created_at = int(self.ident[:12], 16) // 1000
        members = said(call.members)
        self._echo = {name: _on_one_line(members[name]) if name in members else usual for name, usual in ECHOED.items()}

    def begun(self) -> dict[str, Any]:
        return self._object("in_progress", None, (), None)

    def ended(self, output: Sequence[Mapping[str, Any]], reason: FinishReason, usage: Usage | None) -> dict[str, Any]:
        incomplete = INCOMPLETE.get(reason)
        status = "incomplete" if incomplete else "completed"
        return self._object(status, {"reason": incomplete} if incomplete else None, output, usage)

    def _object(
        self,
        status: str,
        incomplete: Mapping[str, str] | None,
        output: Sequence[Mapping[str, Any]],
        usage: Usage | None,
    ) -> dict[str, Any]:
        return {
            "id": f"resp_{self.ident}",
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "error": None,
            "incomplete_details": incomplete,
            "model": self.model,
            "output": output,
            "usage": usage and _usage(usage.tokens),
            **self._echo,
            **FIXED,
        }


def _on_one_line(member: msgspec.Raw) -> msgspec.Raw:
    """As the data of an event is. Between the values of JSON a line break is a space, and inside them there is none."""
    return msgspec.Raw(bytes(member).replace(b"\n", b" ").replace(b"\r", b" "))


def _usage(tokens: Tokens) -> _Usage:
    return _Usage(
        input_tokens=tokens.prompt,
        input_tokens_details=_InputDetails(tokens.cached_input, tokens.cache_write_5m + tokens.cache_write_1h),
        output_tokens=tokens.completion,
        output_tokens_details=_OutputDetails(tokens.reasoning),
        total_tokens=tokens.total,
    )
