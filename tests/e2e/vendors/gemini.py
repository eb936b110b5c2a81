"""Google's Gemini API, whose models of the third generation want their signatures back."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.e2e.vendors.script import Call, Refusing, Saying, saying_for
from tests.e2e.vendors.server import Answer, Heard, Streamed, Whole

KEY = "AIzaStandIn0123456789"
CALL_SIGNATURE, TEXT_SIGNATURE, THOUGHT_SIGNATURE = "Et0BCtoBcall=", "CsoFAb4text=", "AbcTHought="
ANY_CALL_SIGNATURE = "skip_thought_signature_validator"
PROMPT, CACHED, TOOLS_PROMPT, THOUGHT_TOKENS = 1_200, 1_000, 30, 70
COUNTED = 1_195
EMBEDDED_TOKENS = 9
KNOWN = frozenset("contents systemInstruction tools toolConfig generationConfig safetySettings".split())
ERRORS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    503: ("UNAVAILABLE", "This model is currently experiencing high demand."),
}


def gemini(heard: Heard) -> Answer:
    key = heard.headers.get("x-goog-api-key", "")
    if key != KEY:
        return _bad_key(key)
    model, _, method = heard.path.removeprefix("/v1beta/models/").partition(":")
    if method == "batchEmbedContents":
        return _embeddings(heard.body)
    if method == "countTokens":
        return Whole({"totalTokens": COUNTED, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": COUNTED}]})
    if wrong := _wrong(heard.body):
        return _refusal(400, wrong)
    saying = saying_for(*_last(heard.body["contents"]))
    if isinstance(saying, Refusing):
        return _bad_key(key) if saying.status == 401 else _refusal(saying.status)
    if method == "streamGenerateContent?alt=sse":
        return Streamed(list(_events(model, saying)), is_cut=saying.ending == "cut")
    if saying.ending == "fail":
        failed = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "Malformed function call", "index": 0}
        return Whole(_response(model, [failed], saying.tokens))
    return Whole(_response(model, [_candidate(_parts(saying), "STOP")], saying.tokens))


def usage(tokens: int) -> dict[str, Any]:
    return {
        "promptTokenCount": PROMPT,
        "candidatesTokenCount": tokens,
        "totalTokenCount": PROMPT + TOOLS_PROMPT + tokens + THOUGHT_TOKENS,
        "cachedContentTokenCount": CACHED,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": PROMPT}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": CACHED}],
        "toolUsePromptTokenCount": TOOLS_PROMPT,
        "thoughtsTokenCount": THOUGHT_TOKENS,
    }


def vector(text: str, dimensions: int) -> list[float]:
    """Not of unit length when it was shortened, like the real ones."""
    return [0.125 * len(text)] * dimensions


def _embeddings(body: dict[str, Any]) -> Whole:
    texts = [request["content"]["parts"][0]["text"] for request in body["requests"]]
    dimensions = body["requests"][0].get("outputDimensionality", 3)
    embeddings = [{"values": vector(text, dimensions)} for text in texts]
    return Whole({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": EMBEDDED_TOKENS * len(texts)}})


def _wrong(body: dict[str, Any]) -> str | None:
    for name in body.keys() - KNOWN:
        return f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    calls = 0
    for content in body["contents"]:
        responses = [part for part in content["parts"] if "functionResponse" in part]
        if len(responses) != calls:
            return "The number of function response parts is not equal to the number of function call parts."
        called = [part for part in content["parts"] if "functionCall" in part]
        calls = len(called)
        if called and called[0].get("thoughtSignature") not in (CALL_SIGNATURE, ANY_CALL_SIGNATURE):
            return "Function call is missing a thought_signature in functionCall parts."
    return None


def _last(contents: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    parts = contents[-1]["parts"]
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    return "".join(part.get("text", "") for part in parts), [result["result"] for result in results]


def _parts(saying: Saying) -> list[dict[str, Any]]:
    """Of several calls only the first one is signed; words are at their end."""
    parts: list[dict[str, Any]] = []
    if saying.thought:
        thought = "".join(saying.thought)
        parts.append({"text": thought, "thought": True, "thoughtSignature": THOUGHT_SIGNATURE})
    if saying.words:
        parts.append({"text": saying.text, "thoughtSignature": TEXT_SIGNATURE})
    return parts + [_call(call, is_first=number == 0) for number, call in enumerate(saying.calls)]


def _call(call: Call, *, is_first: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.arguments}}
    return part | ({"thoughtSignature": CALL_SIGNATURE} if is_first else {})


def _candidate(parts: Sequence[dict[str, Any]], finish_reason: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return candidate | ({"finishReason": finish_reason} if finish_reason else {})


def _response(model: str, candidates: Sequence[dict[str, Any]], tokens: int) -> dict[str, Any]:
    return {
        "candidates": candidates,
        "usageMetadata": usage(tokens),
        "modelVersion": f"{model}-served",
        "responseId": "6XJFadi3PJOxStandIn",
    }


def _events(model: str, saying: Saying) -> Iterator[bytes]:
    """Every event reports the tokens so far. Calls come before the event with the finish reason."""
    for piece in saying.thought:
        yield _event(_response(model, [_candidate([{"text": piece, "thought": True}])], 0))
    if saying.thought:
        signed = {"text": "", "thought": True, "thoughtSignature": THOUGHT_SIGNATURE}
        yield _event(_response(model, [_candidate([signed])], 0))
    for number, word in enumerate(saying.words, 1):
        yield _event(_response(model, [_candidate([{"text": word}])], number))
    if saying.ending == "fail":
        yield _event(_error(503))
    if saying.ending != "whole":
        return
    for number, call in enumerate(saying.calls):
        yield _event(_response(model, [_candidate([_call(call, is_first=number == 0)])], saying.tokens))
    last = {"text": "", **({"thoughtSignature": TEXT_SIGNATURE} if saying.words else {})}
    yield _event(_response(model, [_candidate([last], "STOP")], saying.tokens))


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\r\n\r\n"


def _bad_key(key: str) -> Whole:
    """Not a 401, and it has been seen to quote the key."""
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    return _refusal(400, f"API key not valid: {key}. Please pass a valid API key.", [reason])


def _error(status: int, message: str = "", details: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    kind, usual = ERRORS[status]
    return {"error": {"code": status, "message": message or usual, "status": kind, "details": details}}


def _refusal(status: int, message: str = "", details: Sequence[dict[str, Any]] = ()) -> Whole:
    """How long to wait stands in the body only."""
    if status == 429:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    return Whole(_error(status, message, details), status)
