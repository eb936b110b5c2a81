"""What goes to OpenAI as the client sent it, and text completions as they come back."""

import msgspec
import pytest

from adapters.providers.passthrough import Passthrough
from domain.errors import InvalidInput
from domain.pricing import Tokens
from tests.openai_passing import CHAT, DONE, TEXT, USAGE, call, reader, reply


@pytest.mark.parametrize("passthrough", [CHAT, TEXT])
def test_what_the_client_asked_goes_upstream_under_the_upstream_models_name(passthrough: Passthrough) -> None:
    asked = call(model="fast", messages=[], logit_bias={"1": -100}, stop=None)

    sent = msgspec.json.decode(passthrough.request_body(asked))

    assert sent == {"model": "upstream", "messages": [], "logit_bias": {"1": -100}}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}])
def test_a_stream_always_asks_for_usage(options: dict[str, bool] | None) -> None:
    sent = msgspec.json.decode(CHAT.request_body(call(stream=True, stream_options=options)))

    assert sent["stream_options"] == {**(options or {}), "include_usage": True}


def test_stream_options_that_are_no_object_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as refusal:
        CHAT.request_body(call(stream=True, stream_options=3))

    assert refusal.value.field == "stream_options"


def test_each_endpoint_has_its_path() -> None:
    assert (CHAT.path, TEXT.path) == ("/chat/completions", "/completions")


def test_a_text_completion_passes_through_as_it_is() -> None:
    body = msgspec.json.encode(
        {"object": "text_completion", "model": "m", "choices": [{"text": " world", "finish_reason": "length"}]}
    )

    answer = reply(body, TEXT)

    assert (answer.body, answer.model, answer.finish_reason, answer.output_chars) == (body, "m", "length", 6)


def test_a_streamed_text_completion_passes_through_without_the_usage_nobody_asked_for() -> None:
    reading = reader(passthrough=TEXT)
    text = msgspec.json.encode({"model": "m", "choices": [{"text": " world", "finish_reason": "stop"}], "usage": None})
    usage = msgspec.json.encode({"model": "m", "choices": [], "usage": USAGE})

    pieces = [reading.read(data) for data in (text, usage, b"[DONE]")]

    assert [piece.data for piece in pieces] == [b"data: " + text + b"\n\n", b"", b""]
    assert [piece.output_chars for piece in pieces] == [6, 0, 0]
    assert pieces[0].finish_reason == "stop"
    assert pieces[1].usage is not None
    assert pieces[1].usage.tokens == Tokens(input=12, output=26)
    assert pieces[2].closing == DONE
    assert reading.ended
