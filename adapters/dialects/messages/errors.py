"""Errors as Anthropic writes them."""

import msgspec

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(status: int, message: str, request_id: str) -> bytes:
    """`{"type":"error","error":{"type","message"},"request_id"}`; the type follows from the HTTP status."""
    kind = TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})


def error_event(status: int, message: str, request_id: str) -> bytes:
    """The same as the last event of a stream."""
    return b"event: error\ndata: " + error_body(status, message, request_id) + b"\n\n"
