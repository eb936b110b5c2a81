"""Vendors' words, each as its vendor says them, and what they mean."""

import pytest

from domain.errors import ProviderBroken, ProviderRefused
from domain.faults import HARMS_DEPLOYMENT, Fault, fault_of, may_be_billed, retry_after_s
from tests.routing import BROKEN, TIMEOUT, UNREACHABLE, every_error, refused

SAID: list[tuple[Fault, ProviderRefused]] = [
    # too long
    ("context", refused(400, "…", error_type="invalid_request_error", code="context_length_exceeded")),
    ("context", refused(400, "This model's maximum context length is 128000 tokens. However, you requested …")),
    ("context", refused(400, "Your input exceeds the context window of this model. Please adjust your input …")),
    ("context", refused(400, "prompt is too long: 210000 tokens > 200000 maximum", error_type="invalid_request_error")),
    ("context", refused(400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, …")),
    ("context", refused(413, "Request exceeds the maximum allowed number of bytes.", error_type="request_too_large")),
    ("context", refused(413, "The provider answered with status 413.")),
    (
        "context",
        refused(
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            error_type="INVALID_ARGUMENT",
            code="INVALID_ARGUMENT",
        ),
    ),
    (
        "context",
        refused(400, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try …"),
    ),
    (
        "context",
        refused(
            422, "Prompt contains 10000 tokens and 0 draft tokens, too large for model with 8192 maximum context …"
        ),
    ),
    ("context", refused(400, "Please reduce the length of the messages or completion.")),
    ("context", refused(400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens.")),
    ("context", refused(400, "request (65646 tokens) exceeds the available context size (65536 tokens), try …")),
    # content
    ("content", refused(400, "…", code="content_filter")),
    (
        "content",
        refused(400, "The response was filtered: the prompt triggered Azure OpenAI's content management policy."),
    ),
    ("content", refused(400, "Your request was rejected as a result of our safety system.", code="moderation_blocked")),
    ("content", refused(400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.")),
    ("content", refused(400, "Output blocked by content filtering policy", error_type="invalid_request_error")),
    ("content", refused(400, "Response was blocked due to SAFETY.", error_type="PROHIBITED_CONTENT")),
    ("content", refused(498, "blocked token")),
    # these look alike, and are not
    ("throttled", refused(429, "This request would exceed your rate limit … Please reduce the prompt length …")),
    ("throttled", refused(429, "You exceeded your current quota, please check your plan and billing details.")),
    ("request", refused(400, "too many tokens: max tokens must be less than or equal to 4096, the maximum output …")),
    ("request", refused(400, "Unsupported value: 'messages[0].role' does not support 'developer' with this model.")),
    ("overloaded", refused(503, "maximum context length")),
    # keys and credit
    ("exhausted", refused(429, "You exceeded your current quota …", error_type="insufficient_quota")),
    ("exhausted", refused(400, "Your credit balance is too low to access the Anthropic API.")),
    ("exhausted", refused(402, "Payment required.")),
    ("credentials", refused(401, "invalid x-api-key", error_type="authentication_error")),
    ("credentials", refused(400, "API key not valid.", error_type="INVALID_ARGUMENT", code="API_KEY_INVALID")),
    ("missing", refused(403, "Your API key does not have permission to use the specified resource.")),
    ("missing", refused(404, "The model `x` does not exist.", code="model_not_found")),
    # state of health
    ("throttled", refused(429, "Resource has been exhausted (e.g. check quota).", error_type="RESOURCE_EXHAUSTED")),
    ("overloaded", refused(529, "Overloaded", error_type="overloaded_error")),
    ("overloaded", refused(502, "The provider answered with status 502.")),
    ("overloaded", refused(408, "Request timeout.")),
    ("missing", refused(301, "The provider answered with status 301.")),
]


@pytest.mark.parametrize(("fault", "error"), SAID, ids=[f"{fault}-{error}"[:60] for fault, error in SAID])
def test_what_a_vendor_says_is_understood(fault: Fault, error: ProviderRefused) -> None:
    assert fault_of(error) == fault


def test_every_error_is_some_fault() -> None:
    assert {fault_of(error) for error in every_error()} >= {"request", "missing", "overloaded", "ours", "unaffordable"}


def test_only_what_was_sent_and_has_no_good_end_may_be_billed() -> None:
    assert may_be_billed(TIMEOUT) and may_be_billed(BROKEN)
    assert not may_be_billed(UNREACHABLE)
    assert not any(may_be_billed(error) for error in every_error() if isinstance(error, ProviderRefused))


@pytest.mark.parametrize("asked_s", [float("nan"), float("inf"), -5.0, None])
def test_a_retry_after_that_is_no_time_is_none(asked_s: float | None) -> None:
    assert retry_after_s(refused(429, retry_after_s=asked_s)) is None
    assert retry_after_s(ProviderBroken("openai", "Cut.")) is None
    assert retry_after_s(refused(503, retry_after_s=0.25)) == 0.25


def test_what_a_client_can_bring_about_alone_does_not_harm_a_deployment() -> None:
    by_clients = [error for fault, error in SAID if fault in ("context", "content", "request", "missing")]

    assert not any(fault_of(error) in HARMS_DEPLOYMENT for error in by_clients)
