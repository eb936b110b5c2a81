"""A question written for a vendor whose format is also a client's is read back as the same question."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.vocabulary import ChatVocabulary
from api import providers
from api.ai_routes import DIALECTS
from domain.chat import (
    Audio,
    ChatAsk,
    Document,
    Expressible,
    Image,
    Part,
    Reasoning,
    RedactedThinking,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    ToolChoice,
    Turn,
)
from domain.ids import RequestId
from domain.upstream import Endpoint, ProviderCall
from tests.contract.neutral_asks import NAMES, SCHEMAS, WORDS, conversations, texts, tool_uses, tools

DATA = st.just("QUJD")
CACHES = st.sampled_from([None, "5m", "1h"])
NO_THOUGHTS: st.SearchStrategy[Sequence[Part]] = st.just(())
PENALTIES = st.sampled_from([None, -1.5, 0.5])

OPENAI_TURNS = conversations(
    user_parts=st.one_of(
        texts(),
        st.builds(Image, url=st.just("https://i.test/a.png"), detail=st.sampled_from([None, "low"])),
        st.builds(Image, data=DATA, media_type=st.just("image/png")),
        st.builds(Document, data=DATA, media_type=st.just("application/pdf"), title=WORDS),
        st.builds(Audio, data=DATA, format=st.sampled_from(["wav", "mp3"])),
    ),
    said_parts=texts(),
    result_parts=texts(),
    thoughts=NO_THOUGHTS,
    result=st.just({}),
    calls=tool_uses(),
)
ANTHROPIC_TURNS = conversations(
    user_parts=st.one_of(
        texts(cache=CACHES),
        st.builds(Image, url=st.just("https://i.test/a.png"), cache=CACHES),
        st.builds(Image, data=DATA, media_type=st.just("image/webp"), cache=CACHES),
        st.builds(Document, data=DATA, media_type=st.just("application/pdf"), title=st.none() | WORDS, cache=CACHES),
        st.builds(Document, url=st.just("https://i.test/a.pdf"), title=st.none() | WORDS, cache=CACHES),
        st.builds(Document, text=WORDS, media_type=st.just("text/plain"), title=st.none() | WORDS, cache=CACHES),
    ),
    said_parts=texts(cache=CACHES),
    result_parts=st.one_of(
        texts(cache=CACHES), st.builds(Image, data=DATA, media_type=st.just("image/png"), cache=CACHES)
    ),
    thoughts=st.lists(
        st.builds(Thinking, text=WORDS, signature=st.just("c2ln")) | st.builds(RedactedThinking, data=DATA), max_size=2
    ),
    result=st.fixed_dictionaries({"is_error": st.booleans(), "cache": CACHES}),
    calls=tool_uses(cache=CACHES),
)
CHOICES = st.sampled_from([None, *(ToolChoice(mode=mode) for mode in ("auto", "none", "required"))])
RANGE = st.sampled_from([None, 0.25, 0.5])
COUNTS = st.none() | st.integers(1, 99)


@st.composite
def asks(draw: st.DrawFn, turns: st.SearchStrategy[tuple[Turn, ...]], said: dict[str, Any], **tool: Any) -> ChatAsk:
    options = draw(st.fixed_dictionaries(said))
    offered = draw(tools(**tool))
    named = st.sampled_from(offered).map(lambda one: ToolChoice(mode="tool", name=one.name)) if offered else st.none()
    choice = draw(CHOICES | named) if offered else None
    system = draw(st.lists(texts(), max_size=2))
    first = (Turn(role="system", parts=tuple(system)),) if system else ()
    return ChatAsk(model="m", turns=first + draw(turns), tools=offered, tool_choice=choice, **options)


OPENAI_ASKS = asks(
    OPENAI_TURNS,
    {
        "stream": st.booleans(),
        "max_output_tokens": COUNTS,
        "temperature": RANGE,
        "top_p": RANGE,
        "stop": st.lists(WORDS, max_size=2).map(tuple),
        "seed": COUNTS,
        "n": st.sampled_from([None, 2]),
        "presence_penalty": PENALTIES,
        "frequency_penalty": PENALTIES,
        "logprobs": st.sampled_from([None, True]),
        "top_logprobs": st.sampled_from([None, 3]),
        "logit_bias": st.sampled_from([None, msgspec.Raw(b'{"7":1}')]),
        "parallel_tool_calls": st.sampled_from([None, False]),
        "response_format": st.none()
        | st.just(ResponseFormat(kind="json_object"))
        | st.builds(
            ResponseFormat,
            kind=st.just("json_schema"),
            name=NAMES,
            description=st.none() | WORDS,
            schema=SCHEMAS.map(msgspec.Raw),
            strict=st.sampled_from([None, True, False]),
        ),
        "reasoning": st.sampled_from([None, Reasoning(effort="low"), Reasoning(effort="none")]),
        "verbosity": st.sampled_from([None, "low"]),
        "user": st.none() | WORDS,
        "metadata": st.sampled_from([None, msgspec.Raw(b'{"team":"a"}')]),
        "prompt_cache_key": st.none() | WORDS,
        "extras": st.sampled_from([{}, {"top_a": msgspec.Raw(b"0.5")}]),
    },
    strict=st.sampled_from([None, True, False]),
)
ANTHROPIC_ASKS = asks(
    ANTHROPIC_TURNS,
    {
        "stream": st.booleans(),
        "max_output_tokens": st.integers(5_000, 9_000),
        "top_k": COUNTS,
        "temperature": RANGE,
        "stop": st.lists(WORDS, max_size=2).map(tuple),
        "user": st.none() | WORDS,
        "response_format": st.none()
        | st.builds(
            ResponseFormat,
            kind=st.just("json_schema"),
            name=st.just("answer"),
            schema=st.just(msgspec.Raw(b'{"type":"object","properties":{},"additionalProperties":false}')),
            strict=st.just(True),
        ),
    },
    cache=CACHES,
)


def read_back(asked: ChatAsk, vocabulary: ChatVocabulary | None, endpoint: Endpoint) -> ChatAsk:
    assert vocabulary is not None
    expressible = Expressible("p", {}, drop=False)
    members = msgspec.json.decode(vocabulary.request_body(asked, expressible), type=dict[str, msgspec.Raw])
    call = ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint=endpoint,
        upstream_model="m",
        members=members,
        stream=bytes(members.get("stream", b"false")) == b"true",
        include_usage=True,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=100,
    )
    assert DIALECTS.chat[endpoint].check(msgspec.json.encode(members)).stream == asked.stream
    return msgspec.structs.replace(DIALECTS.chat[endpoint].read(call), names={})


@given(OPENAI_ASKS)
def test_a_question_in_openais_words_is_read_as_it_was(asked: ChatAsk) -> None:
    with_top_k = msgspec.structs.replace(asked, top_k=7)

    assert read_back(asked, providers.OPENAI.chat, "chat.completions") == asked
    assert read_back(with_top_k, providers.COMPATIBLE.chat, "chat.completions") == with_top_k


@given(ANTHROPIC_ASKS)
def test_a_question_in_anthropics_words_is_read_as_it_was(asked: ChatAsk) -> None:
    asked = msgspec.structs.replace(asked, model="claude-haiku-4-5")

    read = read_back(asked, providers.ANTHROPIC.chat, "messages")

    assert msgspec.structs.replace(read, model=asked.model) == asked


@given(st.sampled_from(["low", "medium", "high", "xhigh", "max"]), st.sampled_from([None, True, False]))
def test_how_much_to_think_is_read_as_it_was(effort: str, shown: bool | None) -> None:
    turns = (Turn(role="user", parts=(Text(text="Hi"),)),)
    wanted = Reasoning(effort=effort, shown=shown)
    asked = ChatAsk(model="claude-opus-5", turns=turns, max_output_tokens=5_000, reasoning=wanted)

    assert read_back(asked, providers.ANTHROPIC.chat, "messages").reasoning == wanted


@given(WORDS, WORDS)
def test_a_refusal_goes_back_to_openai_as_one(text: str, refusal: str) -> None:
    said = Turn(role="assistant", parts=(Text(text=text), Refusal(text=refusal)))
    only = Turn(role="assistant", parts=(Refusal(text=refusal),))
    turns = (Turn(role="user", parts=(Text(text="Hi"),)), said, only)

    assert read_back(ChatAsk(model="m", turns=turns), providers.OPENAI.chat, "chat.completions").turns == turns
