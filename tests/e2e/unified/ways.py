"""The ways in which a client can ask for a text, and what it is told, in one shape for all of them."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import openai
from langchain_core.messages import AIMessage, AIMessageChunk

from tests.e2e.unified.clients import Clients, valid

ANTHROPIC_FINISHES = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CHAT_TOOLS: Any = [{"type": "function", "function": WEATHER}]
RESPONSES_TOOLS: Any = [{"type": "function", "strict": False, **WEATHER}]
ANTHROPIC_TOOLS: Any = [
    {"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER["parameters"]}
]


@dataclass(frozen=True)
class Told:
    """`finish` in the words of a chat completion. `prompt` and `output` count all classes of theirs."""

    text: str
    finish: str
    prompt: int
    output: int
    cached: int
    reasoning: int
    model: str
    headers: Mapping[str, str]
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


Way = Callable[..., Told]


def chat(clients: Clients, model: str, text: str, **options: Any) -> Told:
    reply = clients.openai.chat.completions.create(model=model, messages=[_user(text)], **options)
    return _of_completion(valid(reply), clients.headers)


def chat_stream(clients: Clients, model: str, text: str, **options: Any) -> Told:
    asked: dict[str, Any] = {"messages": [_user(text)], "stream_options": {"include_usage": True}, **options}
    with clients.openai.chat.completions.stream(model=model, **asked) as stream:
        for event in stream:
            if event.type == "chunk":
                valid(event.chunk)
        return _of_completion(stream.get_final_completion(), clients.headers)


def chat_async(clients: Clients, model: str, text: str) -> Told:
    async def asked() -> Told:
        async with _async_openai(clients) as client:
            raw = await client.chat.completions.with_raw_response.create(model=model, messages=[_user(text)])
            return _of_completion(valid(raw.parse()), raw.headers)

    return asyncio.run(asked())


def chat_async_stream(clients: Clients, model: str, text: str) -> Told:
    async def asked() -> Told:
        async with _async_openai(clients) as client:
            stream = await client.chat.completions.create(
                model=model, messages=[_user(text)], stream=True, stream_options={"include_usage": True}
            )
            chunks = [valid(chunk) async for chunk in stream]
            return _of_chunks(chunks, stream.response.headers)

    return asyncio.run(asked())


def completion(clients: Clients, model: str, text: str) -> Told:
    reply = valid(clients.openai.completions.create(model=model, prompt=text))
    choice = reply.choices[0]
    return Told(choice.text, choice.finish_reason, *_usage(reply.usage), reply.model, clients.headers)


def completion_stream(clients: Clients, model: str, text: str) -> Told:
    stream = clients.openai.completions.create(
        model=model, prompt=text, stream=True, stream_options={"include_usage": True}
    )
    chunks: list[Any] = [valid(_with_finish(chunk)) for chunk in stream]
    said = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    finish = next(choice.finish_reason for choice in chunks[-2].choices)
    return Told(said, finish, *_usage(chunks[-1].usage), chunks[0].model, clients.headers)


def responses(clients: Clients, model: str, text: str, **options: Any) -> Told:
    return _of_response(valid(clients.openai.responses.create(model=model, input=text, **options)), clients.headers)


def responses_stream(clients: Clients, model: str, text: str, **options: Any) -> Told:
    stream = clients.openai.responses.create(model=model, input=text, stream=True, **options)
    events: list[Any] = [valid(event) for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = _of_response(events[-1].response, clients.headers)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == told.text
    return told


def messages(clients: Clients, model: str, text: str, **options: Any) -> Told:
    asked: dict[str, Any] = {"max_tokens": 4_000, "messages": [_user(text)], **options}
    return _of_message(valid(clients.anthropic.messages.create(model=model, **asked)), clients.headers)


def messages_stream(clients: Clients, model: str, text: str, **options: Any) -> Told:
    asked: dict[str, Any] = {"max_tokens": 4_000, "messages": [_user(text)], **options}
    with clients.anthropic.messages.stream(model=model, **asked) as stream:
        for event in stream:
            valid(event)
        return _of_message(valid(stream.get_final_message()), clients.headers)


def langchain(clients: Clients, model: str, text: str, tools: Any = None) -> Told:
    return _of_langchain(_bound(clients, model, tools).invoke(text), clients.headers)


def langchain_stream(clients: Clients, model: str, text: str, tools: Any = None) -> Told:
    whole: AIMessageChunk | None = None
    for chunk in _bound(clients, model, tools).stream(text):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return _of_langchain(whole, clients.headers)


TEXT_WAYS: tuple[Way, ...] = (
    *(chat, chat_stream, chat_async, chat_async_stream, completion, completion_stream),
    *(responses, responses_stream, messages, messages_stream, langchain, langchain_stream),
)
TOOL_WAYS: tuple[tuple[Way, Any], ...] = (
    (chat, CHAT_TOOLS),
    (chat_stream, CHAT_TOOLS),
    (responses, RESPONSES_TOOLS),
    (responses_stream, RESPONSES_TOOLS),
    (messages, ANTHROPIC_TOOLS),
    (messages_stream, ANTHROPIC_TOOLS),
    (langchain, CHAT_TOOLS),
    (langchain_stream, CHAT_TOOLS),
)


def _user(text: str) -> Any:
    return {"role": "user", "content": text}


def _async_openai(clients: Clients) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=clients.openai.base_url,
        api_key=clients.openai.api_key,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        max_retries=0,
    )


def _bound(clients: Clients, model: str, tools: Any) -> Any:
    chat_model = clients.langchain(model, stream_usage=True)
    return chat_model.bind_tools(tools) if tools else chat_model


def _usage(usage: Any) -> tuple[int, int, int, int]:
    inputs, outputs = usage.prompt_tokens_details, usage.completion_tokens_details
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    cached, reasoning = inputs.cached_tokens if inputs else 0, outputs.reasoning_tokens if outputs else 0
    return usage.prompt_tokens, usage.completion_tokens, cached, reasoning


def _of_completion(reply: Any, headers: Mapping[str, str]) -> Told:
    choice = reply.choices[0]
    calls = tuple((call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ())
    text = choice.message.content or ""
    return Told(text, choice.finish_reason, *_usage(reply.usage), reply.model, headers, calls)


def _of_chunks(chunks: list[Any], headers: Mapping[str, str]) -> Told:
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    (finish,) = [
        choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason is not None
    ]
    return Told(text, finish, *_usage(chunks[-1].usage), chunks[0].model, headers)


def _with_finish(chunk: Any) -> Any:
    """Its type does not know that a stream's choices finish at its end only; OpenAI's own do not either."""
    for choice in chunk.choices:
        choice.finish_reason = choice.finish_reason or "stop"
    return chunk


def _of_response(reply: Any, headers: Mapping[str, str]) -> Told:
    calls = tuple((item.name, json.loads(item.arguments)) for item in reply.output if item.type == "function_call")
    used = reply.usage
    assert used.total_tokens == used.input_tokens + used.output_tokens
    assert reply.status == "completed"
    return Told(
        reply.output_text,
        "tool_calls" if calls else "stop",
        used.input_tokens,
        used.output_tokens,
        used.input_tokens_details.cached_tokens,
        used.output_tokens_details.reasoning_tokens,
        reply.model,
        headers,
        calls,
    )


def _of_message(reply: Any, headers: Mapping[str, str]) -> Told:
    used, details = reply.usage, reply.usage.output_tokens_details
    return Told(
        "".join(block.text for block in reply.content if block.type == "text"),
        ANTHROPIC_FINISHES[reply.stop_reason],
        used.input_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens,
        used.output_tokens,
        used.cache_read_input_tokens,
        details.thinking_tokens if details else 0,
        reply.model,
        headers,
        tuple((block.name, block.input) for block in reply.content if block.type == "tool_use"),
    )


def _of_langchain(reply: AIMessage, headers: Mapping[str, str]) -> Told:
    used: Any = reply.usage_metadata
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]
    return Told(
        str(reply.text),
        reply.response_metadata["finish_reason"],
        used["input_tokens"],
        used["output_tokens"],
        used["input_token_details"].get("cache_read", 0),
        used["output_token_details"].get("reasoning", 0),
        reply.response_metadata["model_name"],
        headers,
        tuple((call["name"], call["args"]) for call in reply.tool_calls),
    )
