"""A Gemini on loopback that knows one person and calls every tool that it may.

It is as strict as the real one about the signatures of its calls. Asked something `doubtful` for the first time, it is
wrong about the person.
"""

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PERSON = {"name": "Ada Lovelace", "age": 36}
NOBODY = {"name": "Ada Lovelace", "age": -1}
ARGUMENTS = {"weather": {"city": "Paris"}, "population": {"city": "Oslo"}}
"""Of its calls; other tools take a person."""
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzdGFuZC1pbg=="
FOREIGN = "skip_thought_signature_validator"
THOUGHT = {"text": "Who is asking?", "thought": True, "thoughtSignature": "dGhvdWdodA=="}
TOKENS = {"input": 100, "output": 20, "reasoning": 5}
"""Of each answer, as the gateway counts them."""
PIECES = 4


class GeminiStandIn:
    """`heard` is what it was asked, by the gateway's id of the request."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.heard: dict[str, dict[str, Any]] = {}


@contextmanager
def gemini_stand_in() -> Generator[GeminiStandIn, None, None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    stand_in = GeminiStandIn(f"http://127.0.0.1:{server.server_port}")
    server.stand_in = stand_in  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.stand_in.heard[self.headers["x-agg-request-id"]] = body  # type: ignore[attr-defined]
        if complaint := _complaint(body):
            error = {"code": 400, "message": complaint, "status": "INVALID_ARGUMENT"}
            return self._send(400, "application/json", json.dumps({"error": error}).encode())
        if ":streamGenerateContent" in self.path:
            events = [b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in _stream(_parts(body))]
            return self._send(200, "text/event-stream", b"".join(events))
        return self._send(200, "application/json", json.dumps(_response(_parts(body), last=True)).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _complaint(body: dict[str, Any]) -> str | None:
    for content in body["contents"]:
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls and calls[0].get("thoughtSignature") not in (SIGNATURE, FOREIGN):
            return "Function call is missing a thought_signature in functionCall parts."
    return None


def _parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    config = body.get("generationConfig", {})
    thoughts = [THOUGHT] if config.get("thinkingConfig", {}).get("includeThoughts") else []
    said = [part for content in body["contents"] for part in content["parts"]]
    person = NOBODY if len(said) == 1 and "doubtful" in said[0]["text"] else PERSON
    if names := _called(body):
        calls = [{"functionCall": {"name": name, "args": ARGUMENTS.get(name, person)}} for name in names]
        return [*thoughts, calls[0] | {"thoughtSignature": SIGNATURE}, *calls[1:]]
    if config.get("responseMimeType") == "application/json" or "schema" in str(body.get("systemInstruction")):
        return [*thoughts, {"text": json.dumps(person)}]
    return [*thoughts, {"text": f"I was told: {json.dumps(_told(body))}"}]


def _called(body: dict[str, Any]) -> list[str]:
    """No tool is called again once it has answered, unless one must be."""
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    declared = [each["name"] for tool in body.get("tools", []) for each in tool["functionDeclarations"]]
    if calling.get("mode") == "ANY":
        return calling.get("allowedFunctionNames", declared)
    return [] if _told(body) else declared


def _told(body: dict[str, Any]) -> list[dict[str, Any]]:
    answered = [part["functionResponse"] for part in body["contents"][-1]["parts"] if "functionResponse" in part]
    return [response["response"] for response in answered]


def _stream(parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    *before, last = [piece for part in parts for piece in _pieces(part)]
    for piece in before:
        yield _response([piece], last=False)
    yield _response([last], last=True)


def _pieces(part: dict[str, Any]) -> list[dict[str, Any]]:
    text = part.get("text", "")
    if len(text) < PIECES or part.get("thought"):
        return [part]
    size = -(-len(text) // PIECES)
    return [{"text": text[start : start + size]} for start in range(0, len(text), size)]


def _response(parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0} | ({"finishReason": "STOP"} if last else {})
    usage = {
        "promptTokenCount": TOKENS["input"],
        "candidatesTokenCount": TOKENS["output"],
        "thoughtsTokenCount": TOKENS["reasoning"],
        "totalTokenCount": sum(TOKENS.values()),
    }
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r3sp0nse1d"}
