"""Calls that pass through to OpenAI's chat and text completions."""

from typing import Any

import msgspec

from adapters.providers.openai.native import ChatPassthrough, CompletionsPassthrough
from adapters.providers.passthrough import Passthrough, PassthroughReader
from domain.ids import RequestId
from domain.upstream import ProviderCall, Reply

CHAT, TEXT = ChatPassthrough(), CompletionsPassthrough()
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 12, "completion_tokens": 26, "total_tokens": 38}


def call(*, stream: bool = False, include_usage: bool = False, **members: Any) -> ProviderCall:
    return ProviderCall(
        request_id=RequestId("r"),
        endpoint="chat.completions",
        upstream_model="upstream",
        members={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()},
        stream=stream,
        include_usage=include_usage,
        drop_params=False,
        input_estimate=5,
        max_output_tokens=100,
    )


def reply(body: bytes, passthrough: Passthrough = CHAT) -> Reply:
    return passthrough.reply(body, call())


def reader(*, include_usage: bool = False, passthrough: Passthrough = CHAT) -> PassthroughReader:
    return passthrough.reader(call(stream=True, include_usage=include_usage))
