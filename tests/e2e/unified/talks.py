"""Conversations with tools as users of each client hold them: what they keep of an answer goes back as it is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.unified.clients import Clients, valid
from tests.e2e.unified.ways import ANTHROPIC_TOOLS, CHAT_TOOLS, RESPONSES_TOOLS

WEATHERS = {"Oslo": "rain", "Bergen": "more rain"}


@dataclass(frozen=True)
class Talk:
    """`turn` answers a history; `after` is the history with that answer and what its tools returned."""

    turn: Callable[..., Any]
    after: Callable[[list[Any], Any], list[Any]]
    text: Callable[[Any], str]

    def __str__(self) -> str:
        return self.turn.__name__


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def _weather(arguments: str) -> str:
    return WEATHERS[json.loads(arguments)["city"]]


# OpenAI's chat completions.


def chat(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    reply = clients.openai.chat.completions.create(model=model, messages=history, tools=CHAT_TOOLS, **options)
    return valid(reply).choices[0].message


def chat_stream(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    with clients.openai.chat.completions.stream(model=model, messages=history, tools=CHAT_TOOLS, **options) as stream:
        return stream.get_final_completion().choices[0].message


def _after_chat(history: list[Any], message: Any) -> list[Any]:
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": _weather(call.function.arguments)}
        for call in message.tool_calls or ()
    ]
    return [*history, message, *results]


def _chat_text(message: Any) -> str:
    return message.content


# Anthropic's messages.


def messages(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    asked: dict[str, Any] = {"max_tokens": 4_000, "tools": ANTHROPIC_TOOLS, **options}
    return valid(clients.anthropic.messages.create(model=model, messages=history, **asked))


def messages_stream(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    asked: dict[str, Any] = {"max_tokens": 4_000, "tools": ANTHROPIC_TOOLS, **options}
    with clients.anthropic.messages.stream(model=model, messages=history, **asked) as stream:
        return valid(stream.get_final_message())


def _after_message(history: list[Any], message: Any) -> list[Any]:
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": WEATHERS[block.input["city"]]}
        for block in message.content
        if block.type == "tool_use"
    ]
    said = {"role": "assistant", "content": message.content}
    return [*history, said, {"role": "user", "content": results}] if results else [*history, said]


def _message_text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# OpenAI's responses.


def responses(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    return valid(clients.openai.responses.create(model=model, input=history, tools=RESPONSES_TOOLS, **options))


def responses_stream(clients: Clients, model: str, history: list[Any], **options: Any) -> Any:
    asked: dict[str, Any] = {"input": history, "tools": RESPONSES_TOOLS, **options}
    with clients.openai.responses.stream(model=model, **asked) as stream:
        return stream.get_final_response()


def _after_response(history: list[Any], response: Any) -> list[Any]:
    results = [
        {"type": "function_call_output", "call_id": item.call_id, "output": _weather(item.arguments)}
        for item in response.output
        if item.type == "function_call"
    ]
    return [*history, *response.output, *results]


def _response_text(response: Any) -> str:
    return response.output_text


CHATS = tuple(Talk(turn, _after_chat, _chat_text) for turn in (chat, chat_stream))
MESSAGES = tuple(Talk(turn, _after_message, _message_text) for turn in (messages, messages_stream))
RESPONSES = tuple(Talk(turn, _after_response, _response_text) for turn in (responses, responses_stream))
ALL_TALKS = CHATS + MESSAGES + RESPONSES
