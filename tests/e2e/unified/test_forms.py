"""Structured answers through each client's own `parse`, and the free calls beside the answers."""

from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from tests.e2e.running import Program
from tests.e2e.unified.catalogue import ALL, ANTHROPIC, COHERE, GOOGLE, Served
from tests.e2e.unified.clients import Clients, valid
from tests.e2e.unified.conftest import StandIns
from tests.e2e.unified.records import heard_by
from tests.e2e.unified.talks import user
from tests.e2e.unified.ways import ANTHROPIC_TOOLS
from tests.e2e.vendors import anthropic as vendor_anthropic
from tests.e2e.vendors import gemini as vendor_gemini

every_vendor = pytest.mark.parametrize("served", ALL, ids=str)


class Weather(BaseModel):
    city: str
    celsius: int


OSLO = Weather(city="Oslo", celsius=7)


def by_chat(clients: Clients, model: str) -> Weather | None:
    reply = clients.openai.chat.completions.parse(model=model, messages=[user("json")], response_format=Weather)
    return reply.choices[0].message.parsed


def by_chat_stream(clients: Clients, model: str) -> Weather | None:
    asked: dict[str, Any] = {"messages": [user("json")], "response_format": Weather}
    with clients.openai.chat.completions.stream(model=model, **asked) as stream:
        return stream.get_final_completion().choices[0].message.parsed


def by_response(clients: Clients, model: str) -> Weather | None:
    return clients.openai.responses.parse(model=model, input="json", text_format=Weather).output_parsed


def by_message(clients: Clients, model: str) -> Weather | None:
    asked: dict[str, Any] = {"max_tokens": 100, "messages": [user("json")]}
    return clients.anthropic.messages.parse(model=model, output_format=Weather, **asked).parsed_output


def by_langchain(clients: Clients, model: str) -> Weather | None:
    answer = clients.langchain(model).with_structured_output(Weather, method="json_schema").invoke("json")
    assert isinstance(answer, Weather)
    return answer


@every_vendor
@pytest.mark.parametrize(
    "parse", [by_chat, by_chat_stream, by_response, by_message, by_langchain], ids=lambda parse: parse.__name__
)
def test_a_form_is_filled_in(
    program: Program, clients: Clients, stand_ins: StandIns, parse: Any, served: Served
) -> None:
    assert parse(clients, served.model) == OSLO

    schema = schema_in(served, heard_by(stand_ins[served.provider], served, program, clients.headers).body)
    assert schema["properties"].keys() == {"city", "celsius"}
    assert sorted(schema["required"]) == ["celsius", "city"]
    if served is ANTHROPIC:
        assert schema["additionalProperties"] is False


def schema_in(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    match served:
        case _ if served is ANTHROPIC:
            wanted = body["output_config"]["format"]
            assert wanted["type"] == "json_schema"
            return wanted["schema"]
        case _ if served is GOOGLE:
            assert body["generationConfig"]["responseMimeType"] == "application/json"
            return body["generationConfig"]["responseJsonSchema"]
        case _ if served is COHERE:
            assert body["response_format"]["type"] == "json_object"
            return body["response_format"]["json_schema"]
        case _ if "text" in body:
            return body["text"]["format"]["schema"]
        case _:
            return body["response_format"]["json_schema"]["schema"]


@pytest.mark.parametrize(
    ("served", "count"), [(ANTHROPIC, vendor_anthropic.COUNTED), (GOOGLE, vendor_gemini.COUNTED)], ids=str
)
def test_tokens_are_counted_by_the_vendor(clients: Clients, stand_ins: StandIns, served: Served, count: int) -> None:
    counted = clients.anthropic.messages.count_tokens(
        model=served.model, system="Be brief.", messages=[user("words 5")], tools=ANTHROPIC_TOOLS
    )
    (heard,) = stand_ins[served.provider].heard_for(clients.headers["x-request-id"])

    assert valid(counted).input_tokens == count
    assert "words 5" in str(heard.body)
    assert "Be brief." in str(heard.body)
    assert "weather" in str(heard.body)


@pytest.mark.parametrize("served", [ALL[0], COHERE, ALL[-1]], ids=str)
def test_where_nobody_counts_the_refusal_names_models_of_which_it_is_known(clients: Clients, served: Served) -> None:
    with pytest.raises(anthropic.BadRequestError, match="Models that can: "):
        clients.anthropic.messages.count_tokens(model=served.model, messages=[user("words 5")])


def test_both_clients_list_the_same_models(clients: Clients) -> None:
    of_anthropic = [valid(model) for model in clients.anthropic.models.list()]
    of_openai = [valid(model) for model in clients.openai.models.list()]

    assert [model.id for model in of_anthropic] == [model.id for model in of_openai]
    assert {served.model for served in ALL} <= {model.id for model in of_openai}
    assert {model.type for model in of_anthropic} == {"model"}


def test_a_model_is_found_by_both_clients(clients: Clients) -> None:
    assert valid(clients.anthropic.models.retrieve(ANTHROPIC.model)).display_name == ANTHROPIC.model
    assert valid(clients.openai.models.retrieve(ANTHROPIC.model)).owned_by == "anthropic"


def test_a_model_can_be_named_with_its_provider(clients: Clients) -> None:
    reply = clients.openai.chat.completions.create(model=f"google/{GOOGLE.model}", messages=[user("words 1")])

    assert reply.choices[0].message.content == "word0 "
    assert clients.headers["x-agg-model"] == GOOGLE.model
