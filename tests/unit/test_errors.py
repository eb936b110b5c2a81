"""Every error of the tree has its place in the table, and reads well both ways."""

import json
import re
from typing import Any

import pytest

from api import errors as http
from api.error_handlers import field_error, render, speaks_openai
from domain import errors
from domain.errors import AggregatorError
from domain.limits import Rule, Verdict

PER_MINUTE = Rule("key", "k", "requests", "minute", 60)
PER_DAY = Rule("key", "k", "spend", "day", 5_000_000_000)
EXAMPLES: dict[type[AggregatorError], tuple[Any, ...]] = {
    errors.ModelNotFound: ("gpt-9",),
    errors.UnsupportedParameter: ("logprobs", "not here"),
    errors.BadCredentials: (),
    errors.SessionEnded: (),
    errors.RefreshReused: (),
    errors.NotFound: ("key", "k1"),
    errors.EmailTaken: (),
    errors.CreditExhausted: (10, 5),
    errors.StaleCursor: (7,),
    errors.BehindPosition: ("EVT:9", "EVT:5"),
    errors.AnswerLost: ("req_1", "it is gone"),
    errors.RateLimited: (Verdict(allowed=False, binding=PER_MINUTE, retry_after_s=900),),
    errors.BudgetExhausted: (Verdict(allowed=False, binding=PER_DAY, retry_after_s=900),),
    errors.DeploymentsFull: (Verdict(allowed=False, binding=PER_MINUTE, retry_after_s=900),),
    errors.ProviderError: ("sim", "it failed"),
    errors.ProviderUnreachable: ("sim", "it failed"),
    errors.ProviderTimeout: ("sim", "it failed"),
    errors.ProviderBroken: ("sim", "it failed"),
}


NOT_AGAIN = {errors.OutcomeUnknown, errors.AnswerLost}
"""What was asked may have been done."""


def whole_tree() -> list[type[AggregatorError]]:
    found = [AggregatorError]
    for cls in found:
        found += [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    return found


def example(cls: type[AggregatorError]) -> AggregatorError:
    if cls is errors.ProviderRefused:
        return errors.ProviderRefused("sim", "too fast", status=429, retry_after_s=900)
    return cls(*EXAMPLES.get(cls, ("it is so",)))


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"^[│ ├└─]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)

    assert sorted(cls.__name__ for cls in whole_tree()) == sorted(drawn[drawn.index("AggregatorError") :])


def test_every_error_has_a_status_and_a_code() -> None:
    assert set(whole_tree()) - set(http.KINDS) == set()


def test_an_error_and_its_row_agree_on_the_code() -> None:
    named = [cls for cls in whole_tree() if isinstance(getattr(cls, "code", None), str)]

    assert {cls: cls.__dict__.get("code", http.KINDS[cls].code) for cls in named} == {
        cls: http.KINDS[cls].code for cls in named
    }


@pytest.mark.parametrize("cls", whole_tree())
def test_every_error_can_be_written_both_ways(cls: type[AggregatorError]) -> None:
    failure = http.failure_of(example(cls))

    problem = http.problem(failure, "req-1")
    written = json.loads(problem.body)
    assert problem.status == written["status"]
    assert written["type"] == f"/problems/{written['code']}"
    assert written["request_id"] == "req-1"
    openai = http.openai_error(failure, "req-1")
    assert set(json.loads(openai.body)["error"]) == {"message", "type", "param", "code"}
    assert problem.headers["content-type"].startswith("application/problem+json")
    for answer in (problem, openai):
        may_retry = answer.headers.get("x-should-retry") != "false"
        assert may_retry == (answer.status != 402 and cls not in NOT_AGAIN)
        assert ("retry-after" in answer.headers) >= (answer.status in {429, 503} and may_retry)
        assert int(answer.headers.get("retry-after", 1)) <= 120


def test_an_error_without_a_row_of_its_own_tells_no_internals() -> None:
    class Surprise(AggregatorError):
        pass

    assert http.failure_of(Surprise("the password is 1234")) is http.INTERNAL


def test_openai_clients_learn_of_a_bad_parameter_by_400() -> None:
    failure = http.failure_of(errors.InvalidInput("no such role", field="messages[0].role"))

    answer = render(failure, "/v1/chat/completions", "r")

    assert answer.status == 400
    assert json.loads(answer.body)["error"] == {
        "message": "no such role",
        "type": "invalid_request_error",
        "param": "messages[0].role",
        "code": "invalid_value",
    }


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (400, "API_KEY_INVALID")])
def test_a_providers_complaint_about_our_credentials_is_not_the_callers(status: int, code: str) -> None:
    refusal = errors.ProviderRefused("sim", "Incorrect API key: sk-…", status=status, code=code)

    failure = http.failure_of(refusal)

    assert (failure.kind.status, failure.kind.code) == (502, "provider_refused")
    assert "sk-" not in failure.detail


@pytest.mark.parametrize(
    ("path", "openai"),
    [
        ("/v1/chat/completions", True),
        ("/api/v1/embeddings", True),
        ("/api/v1/models/gpt-4o", True),
        ("/api/v1/keys", False),
        ("/api/v1/modelshop", False),
        ("/health", False),
    ],
)
def test_ai_routes_speak_openai(path: str, openai: bool) -> None:
    assert speaks_openai(path) is openai


FIELD_ERRORS = [
    ("Expected `int`, got `str` - at `$.limits[2].rpm`", "/limits/2/rpm", "Expected an integer, got a string."),
    ("Expected `str | null`, got `int` - at `$.a`", "/a", "Expected a string or null, got an integer."),
    ("Object missing required field `b` - at `$.a`", "/a/b", "This field is required."),
    ("Object contains unknown field `c`", "/c", "There is no field 'c' here; remove it."),
    ("Invalid RFC3339 encoded datetime - at `$.expires_at`", "/expires_at", "Invalid RFC3339 encoded datetime."),
]


@pytest.mark.parametrize(("said", "pointer", "detail"), FIELD_ERRORS)
def test_decoding_errors_name_place_and_expectation(said: str, pointer: str, detail: str) -> None:
    assert field_error(said) == http.FieldError(detail, pointer=pointer)
