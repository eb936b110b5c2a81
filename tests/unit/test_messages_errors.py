import json

import pytest

from adapters.dialects.messages import errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_have_the_type_of_their_status(status: int, kind: str) -> None:
    body = errors.error_body(status, "Why “so”?", "r1")

    assert json.loads(body) == {
        "type": "error",
        "error": {"type": kind, "message": "Why “so”?"},
        "request_id": "r1",
    }
    assert errors.error_event(status, "Why “so”?", "r1") == b"event: error\ndata: " + body + b"\n\n"
