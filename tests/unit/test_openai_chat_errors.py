"""What OpenAI and its likes write when something went wrong."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.openai.errors import error_inside, read_error
from adapters.providers.vocabulary import VendorError


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            b'{"error":{"message":"Bad key.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}',
            VendorError(message="Bad key.", error_type="invalid_request_error", code="invalid_api_key"),
        ),
        (b'{"error":{"message":"Slow down.","code":429}}', VendorError(message="Slow down.", code="429")),
        (b'[{"error":{"message":"Bad key.","code":400}}]', VendorError(message="Bad key.", code="400")),
        (b'{"error":"model not found"}', VendorError(message="model not found")),
        (
            b'{"error":{"message":null,"type":"server_error"}}',
            VendorError(message="server_error", error_type="server_error"),
        ),
        (
            b'{"object":"error","message":"No such model","type":"invalid_model","param":null,"code":"1500"}',
            VendorError(message="No such model", error_type="invalid_model", code="1500"),
        ),
        (
            b'{"object":"error","message":{"detail":[{"loc":["body","messages",0],"msg":"Field required"}]},'
            b'"type":"invalid_request_error"}',
            VendorError(message="body.messages.0: Field required", error_type="invalid_request_error"),
        ),
        (b'{"message":"Unauthorized","request_id":"1"}', VendorError(message="Unauthorized")),
        (b'{"detail":"Not Found"}', VendorError(message="Not Found")),
        (b'{"detail":[{"loc":["body"],"msg":"a"},{"msg":"b"},{"loc":[]}]}', VendorError(message="body: a; b")),
    ],
)
def test_an_error_is_found_in_all_its_shapes(body: bytes, error: VendorError) -> None:
    assert read_error(body) == error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"null",
        b"[]",
        b"[3]",
        b"{}",
        b'"x"',
        b'{"error":null}',
        b'{"detail":[]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_says_nothing_is_no_error(body: bytes) -> None:
    assert read_error(body) is None
    assert str(error_inside(body, "a chat completion")) == "The provider's answer is not a chat completion."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "type", "code", "msg", "loc"]), inner, max_size=4
        )
    ),
)


@given(JSON)
def test_whatever_the_shape_reading_never_fails(answer: object) -> None:
    error = read_error(msgspec.json.encode(answer))

    assert error is None or error.message
