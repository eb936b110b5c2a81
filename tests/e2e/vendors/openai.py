"""OpenAI's API, and what others make of it: `OPENAI` reports caches and reasoning, `COMPATIBLE` thinks aloud."""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.vendors import openai_responses
from tests.e2e.vendors.script import Refusing, Saying, saying_for
from tests.e2e.vendors.server import Answer, Heard, Streamed, Vendor, Whole

KEY, COMPATIBLE_KEY = "sk-stand-in-0123456789", "nim-stand-in-0123456789"
PROMPT, CACHED, WRITTEN, REASONING, THOUGHT_TOKENS = 1_000, 600, 100, 20, 70
EMBEDDED_TOKENS = 8
ERRORS = {
    400: ("invalid_request_error", "invalid_value", "Invalid value."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-stand**********6789."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests"),
    500: ("server_error", None, "The server had an error"),
    503: ("server_error", None, "The engine is currently overloaded"),
}
END = b"data: [DONE]\n\n"

Json = dict[str, Any]


def openai_usage(saying: Saying) -> Json:
    output = saying.tokens + REASONING
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": output,
        "total_tokens": PROMPT + output,
        "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0, "cache_write_tokens": WRITTEN},
        "completion_tokens_details": {
            "reasoning_tokens": REASONING,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def compatible_usage(saying: Saying) -> Json:
    output = saying.tokens + (THOUGHT_TOKENS if saying.thought else 0)
    return {
        "queue_time": 0.018,
        "prompt_tokens": PROMPT,
        "completion_tokens": output,
        "total_tokens": PROMPT + output,
        "total_time": 0.25,
    }


def vector(text: str, dimensions: int) -> list[float]:
    return [0.25 * len(text)] * dimensions


@dataclass(frozen=True)
class _Api:
    """`thinks_aloud`: whether thoughts stand beside the answer."""

    key: str
    usage: Callable[[Saying], Json]
    thinks_aloud: bool

    def __call__(self, heard: Heard) -> Answer:
        if heard.headers.get("authorization") != f"Bearer {self.key}":
            return _refusal(401)
        body = heard.body
        if heard.path == "/v1/embeddings":
            return _embeddings(body)
        if heard.path == "/v1/responses":
            saying = saying_for(*openai_responses.last(body["input"]))
            used = openai_responses.usage(self.usage(saying)) if isinstance(saying, Saying) else {}
            return (
                _refusal(saying.status) if isinstance(saying, Refusing) else openai_responses.answer(body, saying, used)
            )
        saying = saying_for(body["prompt"], []) if "prompt" in body else saying_for(*_last(body["messages"]))
        if isinstance(saying, Refusing):
            return _refusal(saying.status)
        kind = _TextCompletion() if "prompt" in body else _ChatCompletion(self.thinks_aloud)
        if body.get("stream"):
            return Streamed(list(self._events(kind, body, saying)), is_cut=saying.ending == "cut")
        if saying.ending == "fail":
            return Whole(_error(500))
        return Whole({**_about(body, kind.whole), "choices": [kind.choice(saying)], "usage": self.usage(saying)})

    def _events(self, kind: "_TextCompletion | _ChatCompletion", body: Json, saying: Saying) -> Iterator[bytes]:
        chunk = {**_about(body, kind.part), "obfuscation": "aX9"}
        include_usage = body.get("stream_options", {}).get("include_usage")
        chunk |= {"usage": None} if include_usage else {}
        for piece in kind.pieces(saying):
            yield _event({**chunk, "choices": [{"index": 0, **piece, "logprobs": None, "finish_reason": None}]})
        if saying.ending == "fail":
            yield _event(_error(500))
        if saying.ending != "whole":
            return
        finish = {"index": 0, **kind.nothing, "logprobs": None, "finish_reason": _finish_reason(saying)}
        yield _event({**chunk, "choices": [finish]})
        if include_usage:
            yield _event({**chunk, "choices": [], "usage": self.usage(saying)})
        yield END


OPENAI: Vendor = _Api(KEY, openai_usage, thinks_aloud=False)
COMPATIBLE: Vendor = _Api(COMPATIBLE_KEY, compatible_usage, thinks_aloud=True)


@dataclass(frozen=True)
class _TextCompletion:
    whole = part = "text_completion"
    nothing = {"text": ""}  # noqa: RUF012  # read only

    def choice(self, saying: Saying) -> Json:
        return {"index": 0, "text": saying.text, "logprobs": None, "finish_reason": "stop"}

    def pieces(self, saying: Saying) -> Iterator[Json]:
        for word in saying.words:
            yield {"text": word}


@dataclass(frozen=True)
class _ChatCompletion:
    thinks_aloud: bool
    whole, part = "chat.completion", "chat.completion.chunk"
    nothing = {"delta": {}}  # noqa: RUF012  # read only

    def choice(self, saying: Saying) -> Json:
        message: Json = {"role": "assistant", "content": saying.text or None, "refusal": None, "annotations": []}
        if saying.thought and self.thinks_aloud:
            message["reasoning_content"] = "".join(saying.thought)
        if saying.calls:
            message["tool_calls"] = _calls(saying)
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(saying)}

    def pieces(self, saying: Saying) -> Iterator[Json]:
        yield {"delta": {"role": "assistant", "content": "" if saying.words else None, "refusal": None}}
        for thought in saying.thought if self.thinks_aloud else ():
            yield {"delta": {"reasoning_content": thought}}
        for word in saying.words:
            yield {"delta": {"content": word}}
        for index, call in enumerate(_calls(saying)):
            arguments = call["function"]["arguments"]
            begun = {**call, "function": {**call["function"], "arguments": ""}}
            yield {"delta": {"tool_calls": [{"index": index, **begun}]}}
            for fragment in (arguments[:5], arguments[5:]):
                yield {"delta": {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}}


def _calls(saying: Saying) -> list[Json]:
    return [
        {"id": f"call_stand{number}", "type": "function", "function": {"name": call.name, "arguments": call.json}}
        for number, call in enumerate(saying.calls)
    ]


def _finish_reason(saying: Saying) -> str:
    return "tool_calls" if saying.calls else "stop"


def _about(body: Json, kind: str) -> Json:
    return {
        "id": "chatcmpl-stand-in",
        "object": kind,
        "created": 1_790_000_000,
        "model": f"{body['model']}-served",
        "service_tier": "default",
        "system_fingerprint": "fp_stand_in",
    }


def _last(messages: Sequence[Json]) -> tuple[str, list[str]]:
    results: list[str] = []
    while messages[-1 - len(results)]["role"] == "tool":
        results.insert(0, _text(messages[-1 - len(results)]["content"]))
    return ("", results) if results else (_text(messages[-1]["content"]), [])


def _text(content: str | list[Json]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _embeddings(body: Json) -> Whole:
    """Of tokens, too: they are this vendor's own."""
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [vector(text, body.get("dimensions", 3)) for text in inputs]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(one) if as_base64 else one}
        for index, one in enumerate(vectors)
    ]
    used = {"prompt_tokens": EMBEDDED_TOKENS * len(data), "total_tokens": EMBEDDED_TOKENS * len(data)}
    return Whole({"object": "list", "data": data, "model": f"{body['model']}-served", "usage": used})


def _packed(one: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(one)}f", *one)).decode()


def _event(content: Json) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _error(status: int) -> Json:
    kind, code, message = ERRORS[status]
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _refusal(status: int) -> Whole:
    return Whole(_error(status), status, {"retry-after-ms": "7000", "retry-after": "7"} if status == 429 else {})
