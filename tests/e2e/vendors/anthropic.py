"""Anthropic's Messages API, as strict as the real one about what it knows."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.e2e.vendors.script import Refusing, Saying, saying_for
from tests.e2e.vendors.server import Answer, Heard, Streamed, Whole

KEY = "sk-ant-stand-in-0123456789"
SIGNATURE = "ErUBCkYIBBgCIkAstandin=="
INPUT, CACHED, WRITTEN_5M, WRITTEN_1H, THOUGHT_TOKENS = 100, 2_000, 300, 40, 70
COUNTED = 2_095
KNOWN = frozenset(
    "model max_tokens messages system stream temperature top_p top_k stop_sequences tools tool_choice thinking "
    "output_config metadata service_tier cache_control".split()
)
BLOCK_MEMBERS = {
    "text": {"text"},
    "thinking": {"thinking", "signature"},
    "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"},
}
ERRORS = {
    400: ("invalid_request_error", "messages: at least one message is required"),
    401: ("authentication_error", "invalid x-api-key"),
    429: ("rate_limit_error", "This request would exceed the rate limit for your organization"),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}


def anthropic(heard: Heard) -> Answer:
    if heard.headers.get("x-api-key") != KEY or "anthropic-version" not in heard.headers:
        return _refusal(401)
    if heard.path == "/v1/messages/count_tokens":
        return Whole({"input_tokens": COUNTED})
    if wrong := _wrong(heard.body):
        return _refusal(400, wrong)
    saying = saying_for(*_last(heard.body["messages"]))
    if isinstance(saying, Refusing):
        return _refusal(saying.status)
    if heard.body.get("stream"):
        return Streamed(list(_events(heard.body["model"], saying)), is_cut=saying.ending == "cut")
    if saying.ending == "fail":
        return Whole(_error(529))
    return Whole(_message(heard.body["model"], _blocks(saying), _stop_reason(saying), usage(saying)))


def usage(saying: Saying) -> dict[str, Any]:
    thought = THOUGHT_TOKENS if saying.thought else 0
    return {
        "input_tokens": INPUT,
        "cache_creation_input_tokens": WRITTEN_5M + WRITTEN_1H,
        "cache_read_input_tokens": CACHED,
        "cache_creation": {"ephemeral_5m_input_tokens": WRITTEN_5M, "ephemeral_1h_input_tokens": WRITTEN_1H},
        "output_tokens": saying.tokens + thought,
        "output_tokens_details": {"thinking_tokens": thought},
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _wrong(body: dict[str, Any]) -> str | None:
    for name in body.keys() - KNOWN:
        return f"{name}: Extra inputs are not permitted"
    if "max_tokens" not in body:
        return "max_tokens: Field required"
    unanswered: set[str] = set()
    for place, message in enumerate(body["messages"]):
        blocks: list[dict[str, Any]] = [] if isinstance(message["content"], str) else message["content"]
        if unanswered != {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}:
            return f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after"
        unanswered = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            for name in block.keys() - BLOCK_MEMBERS[block["type"]] - {"type", "cache_control"}:
                return f"messages.{place}.content.{block['type']}.{name}: Extra inputs are not permitted"
            if block["type"] == "thinking" and block["signature"] != SIGNATURE:
                return f"messages.{place}.content: Invalid `signature` in `thinking` block"
    return None


def _last(messages: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content, []
    results = [block["content"] for block in content if block["type"] == "tool_result"]
    texts = [block["text"] for block in content if block["type"] == "text"]
    return "".join(texts), [result if isinstance(result, str) else result[0]["text"] for result in results]


def _blocks(saying: Saying) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if saying.thought:
        blocks.append({"type": "thinking", "thinking": "".join(saying.thought), "signature": SIGNATURE})
    if saying.words:
        blocks.append({"type": "text", "text": saying.text})
    return blocks + [_tool_use(number, call.name, call.arguments) for number, call in enumerate(saying.calls)]


def _tool_use(number: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    caller = {"type": "direct"}
    return {"type": "tool_use", "id": f"toolu_01Stand{number}", "name": name, "input": arguments, "caller": caller}


def _stop_reason(saying: Saying) -> str:
    return "tool_use" if saying.calls else "end_turn"


def _message(model: str, content: Any, stop_reason: str | None, used: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": f"{model}-served",
        "id": "msg_01StandIn",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": used,
    }


def _events(model: str, saying: Saying) -> Iterator[bytes]:
    first = {name: value for name, value in usage(saying).items() if name != "output_tokens_details"}
    yield _event("message_start", message=_message(model, [], None, {**first, "output_tokens": 1}))
    yield _event("ping")
    for index, block in enumerate(_blocks(saying)):
        opened, deltas = _pieces(block, saying)
        yield _event("content_block_start", index=index, content_block=opened)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        if saying.ending in ("cut", "fade"):
            return
        if saying.ending == "fail":
            yield b"event: error\ndata: " + json.dumps(_error(529)).encode() + b"\n\n"
            return
        yield _event("content_block_stop", index=index)
    last = {name: value for name, value in usage(saying).items() if "tokens" in name}
    end = {"stop_reason": _stop_reason(saying), "stop_sequence": None, "stop_details": None}
    yield _event("message_delta", delta=end, usage=last)
    yield _event("message_stop")


def _pieces(block: dict[str, Any], saying: Saying) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in saying.words]
    if block["type"] == "thinking":
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in saying.thought]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        return {**block, "thinking": "", "signature": ""}, [*thought, signed]
    arguments = json.dumps(block["input"])
    fragments = ["", arguments[:5], arguments[5:]]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in fragments]


def _event(kind: str, **members: Any) -> bytes:
    """Real ones are padded."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})[:-1]}   }}\n\n".encode()


def _error(status: int, message: str = "") -> dict[str, Any]:
    kind, usual = ERRORS[status]
    return {"type": "error", "error": {"type": kind, "message": message or usual}, "request_id": "req_011Stand"}


def _refusal(status: int, message: str = "") -> Whole:
    headers = {"retry-after": "12"} if status == 429 else {}
    return Whole(_error(status, message), status, {**headers, "request-id": "req_011Stand"})
