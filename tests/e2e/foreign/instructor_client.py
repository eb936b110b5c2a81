"""What `instructor` makes of the gateway, as one JSON object: each scenario with its result and its requests' ids.

Run in .venv-foreign: instructor's openai SDK is older than ours.    AGG_URL AGG_KEY SIM_MODEL REAL_MODEL
"""
# pyright: reportMissingImports=false, reportUnknownParameterType=false

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Literal

import anthropic
import instructor
import openai
from instructor import Mode
from instructor.core import InstructorRetryException
from pydantic import BaseModel, Field

URL, KEY = os.environ["AGG_URL"], os.environ["AGG_KEY"]
SIM, REAL = os.environ["SIM_MODEL"], os.environ["REAL_MODEL"]
ADA = {"name": "Ada Lovelace", "age": 36}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = Field(ge=0)


class Weather(BaseModel):
    """What the weather is like somewhere."""

    city: str
    unit: Literal["C", "F"]


Result = Any
ids: list[str] = []


def note(response: Any) -> None:
    ids.append(response.headers["x-request-id"])


def openai_client(mode: Mode) -> Any:
    http = openai.DefaultHttpxClient(trust_env=False, event_hooks={"response": [note]})
    return instructor.from_openai(openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, http_client=http), mode=mode)


def anthropic_client(mode: Mode) -> Any:
    http = anthropic.DefaultHttpxClient(trust_env=False, event_hooks={"response": [note]})
    return instructor.from_anthropic(anthropic.Anthropic(base_url=URL, api_key=KEY, http_client=http), mode=mode)


def asks(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def calling(**calls: Any) -> dict[str, Any]:
    return {"model": SIM, "messages": asks("Who, and where?"), "extra_body": {"sim": {"calls": calls}}}


def sim_tools() -> Result:
    person, completion = openai_client(Mode.TOOLS).create_with_completion(response_model=Person, **calling(Person=ADA))
    return {"person": person.model_dump(), "usage": completion.usage.model_dump(include={"completion_tokens"})}


def sim_partial() -> Result:
    partials = openai_client(Mode.TOOLS).create_partial(response_model=Person, **calling(PartialPerson=ADA))
    return [each.model_dump() for each in partials]


def sim_parallel() -> Result:
    """Mode.PARALLEL_TOOLS offers several models at once."""
    called = calling(Person=ADA, Weather={"city": "Paris", "unit": "C"})
    found = openai_client(Mode.PARALLEL_TOOLS).create(response_model=Iterable[Person | Weather], **called)
    return [{type(each).__name__: each.model_dump()} for each in found]


def sim_never_valid() -> Result:
    """It asks again with what was wrong, and gives up."""
    try:
        openai_client(Mode.TOOLS).create(
            response_model=Person, max_retries=2, **calling(Person={"name": "Ada", "age": -1})
        )
    except InstructorRetryException as failure:
        return {"attempts": failure.n_attempts, "why": str(failure.__cause__)}
    return None


def real_whole(mode: Mode, question: str = "Who wrote the first program?") -> Result:
    person = openai_client(mode).create(model=REAL, messages=asks(question), response_model=Person)
    return person.model_dump()


def real_partial(mode: Mode) -> Result:
    partials = openai_client(mode).create_partial(
        model=REAL, messages=asks("Who wrote the first program?"), response_model=Person
    )
    return [each.model_dump() for each in partials]


def real_anthropic(mode: Mode) -> Result:
    person = anthropic_client(mode).create(
        model=REAL,
        max_tokens=200,
        messages=asks("Who wrote the first program?"),
        response_model=Person,
    )
    return person.model_dump()


SCENARIOS: dict[str, Callable[[], Result]] = {
    "sim tools": sim_tools,
    "sim partial": sim_partial,
    "sim parallel": sim_parallel,
    "sim never valid": sim_never_valid,
    "tools": lambda: real_whole(Mode.TOOLS),
    "json": lambda: real_whole(Mode.JSON),
    "json schema": lambda: real_whole(Mode.JSON_SCHEMA),
    "responses": lambda: real_whole(Mode.RESPONSES_TOOLS),
    "tools asked again": lambda: real_whole(Mode.TOOLS, "Somebody doubtful?"),
    "json asked again": lambda: real_whole(Mode.JSON, "Somebody doubtful?"),
    "responses asked again": lambda: real_whole(Mode.RESPONSES_TOOLS, "Somebody doubtful?"),
    "json partial": lambda: real_partial(Mode.JSON),
    "json schema partial": lambda: real_partial(Mode.JSON_SCHEMA),
    "tools partial": lambda: real_partial(Mode.TOOLS),
    "anthropic tools": lambda: real_anthropic(Mode.TOOLS),
    "anthropic json": lambda: real_anthropic(Mode.JSON),
}


def outcome(scenario: Callable[[], Result]) -> dict[str, Any]:
    ids.clear()
    try:
        return {"result": scenario(), "request_ids": list(ids)}
    except Exception:
        return {"failed": traceback.format_exc(), "request_ids": list(ids)}


if __name__ == "__main__":
    json.dump({name: outcome(scenario) for name, scenario in SCENARIOS.items()}, sys.stdout)
