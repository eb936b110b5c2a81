"""Every member of a client's request reaches the neutral question, is refused, or is meant for the gateway itself."""

from typing import Any, cast, get_type_hints

import msgspec
import pytest
from anthropic.types import message_create_params as messages
from openai.types import completion_create_params as completions
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses

from api.ai_routes import DIALECTS
from domain.chat import ChatAsk
from domain.errors import UnsupportedParameter
from domain.ids import RequestId
from domain.upstream import Endpoint, ProviderCall
from tests.contract.client_members import BASE, FOR_THE_GATEWAY, NESTED, RESTS_ON, TELLING, Members

REQUESTS: dict[Endpoint, tuple[Any, ...]] = {
    "chat.completions": (chat.CompletionCreateParamsStreaming, chat.CompletionCreateParamsNonStreaming),
    "completions": (completions.CompletionCreateParamsStreaming, completions.CompletionCreateParamsNonStreaming),
    "responses": (responses.ResponseCreateParamsStreaming, responses.ResponseCreateParamsNonStreaming),
    "messages": (messages.MessageCreateParamsStreaming, messages.MessageCreateParamsNonStreaming),
}
TAKEN_FROM_NEW_MODELS = {"messages": {"temperature", "top_k", "top_p"}}
"""The SDK no longer names them; older models still have them."""
MEMBERS = [(cast(Endpoint, endpoint), name) for endpoint, telling in TELLING.items() for name in telling]
INNER = [(cast(Endpoint, endpoint), name) for endpoint, nested in NESTED.items() for name in nested]


def neutral(endpoint: Endpoint, members: Members) -> ChatAsk:
    """Through the check, as every request. `names` only say how things are called."""
    dialect = DIALECTS.chat[endpoint]
    request = dialect.check(msgspec.json.encode(members))
    call = ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint=endpoint,
        upstream_model="theirs",
        members=request.members,
        stream=request.stream,
        include_usage=request.include_usage,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=100,
    )
    return msgspec.structs.replace(dialect.read(call), names={})


def is_understood(endpoint: Endpoint, before: Members, after: Members) -> bool:
    """Or refused by a name."""
    asked = neutral(endpoint, before)
    try:
        return neutral(endpoint, after) != asked
    except UnsupportedParameter as refusal:
        assert refusal.field
        return True


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_every_member_that_the_vendors_sdk_knows_is_tried(endpoint: Endpoint) -> None:
    known = {name for request in REQUESTS[endpoint] for name in get_type_hints(request)}

    assert TELLING[endpoint].keys() - known == TAKEN_FROM_NEW_MODELS.get(endpoint, set())
    assert known <= TELLING[endpoint].keys()


@pytest.mark.parametrize(("endpoint", "name"), MEMBERS)
def test_a_member_is_understood_or_refused_or_meant_for_the_gateway(endpoint: Endpoint, name: str) -> None:
    before = {**BASE[endpoint], **RESTS_ON[endpoint].get(name, {})}
    after = {**before, name: TELLING[endpoint][name]}

    assert is_understood(endpoint, before, after) == (name not in FOR_THE_GATEWAY[endpoint])


@pytest.mark.parametrize(("endpoint", "name"), INNER)
def test_what_stands_further_down_is_understood_or_refused(endpoint: Endpoint, name: str) -> None:
    before, after = NESTED[endpoint][name]

    assert is_understood(endpoint, {**BASE[endpoint], **before}, {**BASE[endpoint], **after})


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_a_member_that_nobody_knows_yet_is_an_extra(endpoint: Endpoint) -> None:
    asked = neutral(endpoint, {**BASE[endpoint], "of_tomorrow": {"a": 1}})

    assert asked.extras == {"of_tomorrow": msgspec.Raw(b'{"a":1}')}


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_null_says_nothing(endpoint: Endpoint) -> None:
    nulls = dict.fromkeys(TELLING[endpoint].keys() - BASE[endpoint].keys())

    assert neutral(endpoint, {**BASE[endpoint], **nulls}) == neutral(endpoint, BASE[endpoint])


@pytest.mark.parametrize("endpoint", ["responses", "chat.completions"])
def test_not_to_store_is_what_happens_anyway(endpoint: Endpoint) -> None:
    assert neutral(endpoint, {**BASE[endpoint], "store": False}) == neutral(endpoint, BASE[endpoint])
