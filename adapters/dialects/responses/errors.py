"""A failure after the first event, as OpenAI's stream says it."""

import msgspec


def error_event(code: str, message: str, sequence_number: int = 0) -> bytes:
    """The last event of a stream. The flat members are those of the documented event; OpenAI's own clients raise on
    the nested `error` only, and take a stream without it for a good one."""
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    event = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": code,
        "message": message,
        "param": None,
        "error": error,
    }
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
