"""What every completion of OpenAI's says of itself, whole or in chunks: its id, when it was made, of which model."""

from typing import Any

import msgspec

from adapters.dialects.openai_usage import completion_usage
from domain.answer import FinishReason, Started
from domain.upstream import ProviderCall, Usage

DONE = b"data: [DONE]\n\n"
FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
}


def about(call: ProviderCall, *, ident: str, model: str, prefix: str, kind: str) -> dict[str, Any]:
    """The members that come before `choices`. `ident` and `model` as the provider said, empty when it did not."""
    ident = ident or call.request_id
    return {
        "id": ident if ident.startswith(prefix) else prefix + ident,
        "object": kind,
        "created": int(call.request_id.removeprefix("req_")[:12], 16) // 1000,
        "model": model or call.upstream_model,
    }


class Chunks:
    """What all chunks of one streamed answer have in common; settled when the first is written."""

    def __init__(self, call: ProviderCall, *, prefix: str, kind: str) -> None:
        self._call = call
        self._prefix = prefix
        self._kind = kind
        self._started = Started()
        self._opening = b""

    def start(self, started: Started) -> None:
        """Too late once a chunk is written: all have one id."""
        if not self._opening:
            self._started = started

    @property
    def opening(self) -> bytes:
        """Of an event, up to the elements of `choices`; `]}` and the event's end are still to come."""
        if not self._opening:
            members = self._about()
            if self._call.include_usage:
                members["usage"] = None
            self._opening = b"data: " + msgspec.json.encode(members)[:-1] + b',"choices":['
        return self._opening

    def usage(self, usage: Usage | None) -> bytes:
        """The last chunk, for a client that asked for it."""
        if usage is None or not self._call.include_usage:
            return b""
        members = {**self._about(), "choices": [], "usage": completion_usage(usage.tokens)}
        return b"data: " + msgspec.json.encode(members) + b"\n\n"

    def _about(self) -> dict[str, Any]:
        return about(
            self._call, ident=self._started.id, model=self._started.model, prefix=self._prefix, kind=self._kind
        )
