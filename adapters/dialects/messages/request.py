"""What the gateway must understand of a request in Anthropic's Messages format, checked before anything is done."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.messages.blocks import (
    Block,
    CacheControl,
    DocumentBlock,
    ImageBlock,
    RedactedThinkingBlock,
    Source,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
)
from adapters.dialects.reading import decoded, said
from domain.errors import InvalidInput, UnsupportedParameter

NOT_PRICED = {
    "mcp_servers": "servers that Anthropic calls are not priced yet; call them from your side",
    "container": "containers are not priced yet; leave it out",
    "compaction": "compaction on the provider's side is not priced yet; leave it out",
    "fallbacks": "fallbacks on the provider's side are not priced; name the model that is to answer",
    "fallback_credit_token": "fallbacks on the provider's side are not priced; leave it out",
    "billing_policy": "only the provider's standard billing is priced; leave it out",
    "thread": "conversations that are kept by the provider are not priced yet; send the messages",
}
MAX_DEPTH = 2
ACCEPTED = {
    "role": "user, assistant or system",
    "type": "a type of Anthropic's Messages API",
    "ttl": "5m or 1h",
}


class Tool(msgspec.Struct):
    """`type` is absent or `custom` where the client runs the tool."""

    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[msgspec.Raw] | None = None
    cache_control: CacheControl | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct):
    type: str
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct):
    type: str
    schema: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[msgspec.Raw]


class _Edit(msgspec.Struct):
    type: str


class _ContextManagement(msgspec.Struct):
    edits: list[_Edit] | None = None


class CountRequest(msgspec.Struct, kw_only=True):
    """What `count_tokens` takes. Other members go to the provider or are refused there, by name."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    system: str | list[msgspec.Raw] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None
    context_management: _ContextManagement | None = None
    speed: str | None = None
    inference_geo: str | None = None
    drop_params: bool | None = None


class Options(CountRequest, kw_only=True):
    """What only an answer has, but for its limit."""

    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None


class MessagesRequest(Options, kw_only=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]


class Blocks(msgspec.Struct, frozen=True):
    """All content of a request, decoded: of the system prompt, and of each message."""

    system: list[Block]
    messages: list[list[Block]]


_decode_messages_request = msgspec.json.Decoder(MessagesRequest).decode
_decode_count_request = msgspec.json.Decoder(CountRequest).decode


def decoded_blocks(request: CountRequest) -> Blocks:
    """Raises msgspec.ValidationError that names the place."""
    return Blocks(
        blocks_of(request.system, "system"),
        [blocks_of(message.content, f"messages[{at}].content") for at, message in enumerate(request.messages)],
    )


def check(body: bytes) -> ClientRequest:
    (request, size), members = decoded(body, _measured_messages_request, ACCEPTED)
    _refuse_what_is_not_priced(request, members)
    if request.service_tier not in (None, "auto", "standard_only"):
        raise UnsupportedParameter("service_tier", "service_tier: only `auto` and `standard_only` are priced.")
    return _client_request(
        request, size, members, len(body), stream=bool(request.stream), output_limit=request.max_tokens
    )


def check_count(body: bytes) -> ClientRequest:
    (request, size), members = decoded(body, _measured_count_request, ACCEPTED)
    _refuse_what_is_not_priced(request, members)
    return _client_request(request, size, members, len(body), stream=False, output_limit=None)


class _Size:
    """Adds up what content holds."""

    def __init__(self) -> None:
        self.text_bytes = 0
        self.images = 0
        self.is_bounded = True

    def add(self, blocks: Sequence[Block], place: str, depth: int = 0) -> None:
        for number, block in enumerate(blocks):
            match block:
                case TextBlock():
                    self.text_bytes += len(block.text.encode())
                case ThinkingBlock():
                    self.text_bytes += len(block.thinking.encode())
                case ToolUseBlock():
                    self.text_bytes += len(block.name.encode()) + len(block.input)
                case ImageBlock():
                    self.images += 1
                case ToolResultBlock():
                    self._add_inner(block.content, f"{place}[{number}].content", depth)
                case DocumentBlock():
                    self._add_document(block.source, f"{place}[{number}].source", depth)
                case RedactedThinkingBlock():
                    pass
                case _:
                    self.is_bounded = False

    def _add_inner(self, content: str | list[msgspec.Raw] | None, place: str, depth: int) -> None:
        """Results hold documents, and documents text: what is nested deeper makes no sense, and is not looked at."""
        if depth < MAX_DEPTH:
            self.add(blocks_of(content, place), place, depth + 1)
        else:
            self.is_bounded = False

    def _add_document(self, source: Source, place: str, depth: int) -> None:
        """A file is unpacked into more than its bytes, and each of its pages is read as an image, too."""
        if source.type == "text":
            self.text_bytes += len((source.data or "").encode())
        elif source.type == "content":
            self._add_inner(source.content, f"{place}.content", depth)
        else:
            self.is_bounded = False


def _measured_messages_request(body: bytes) -> tuple[MessagesRequest, _Size]:
    request = _decode_messages_request(body)
    return request, _measured(request)


def _measured_count_request(body: bytes) -> tuple[CountRequest, _Size]:
    request = _decode_count_request(body)
    return request, _measured(request)


def _measured(request: CountRequest) -> _Size:
    size = _Size()
    blocks = decoded_blocks(request)
    size.add(blocks.system, "system")
    for at, content in enumerate(blocks.messages):
        size.add(content, f"messages[{at}].content")
    for tool in request.tools or ():
        size.text_bytes += len(f"{tool.name}{tool.description or ''}".encode()) + len(tool.input_schema)
    return size


def _refuse_what_is_not_priced(request: CountRequest, members: dict[str, msgspec.Raw]) -> None:
    """What would change the bill in a way that the price does not know is refused, not passed on."""
    for name, remedy in NOT_PRICED.items():
        if name in members and bytes(members[name]) != b"null":
            raise UnsupportedParameter(name, f"{name}: {remedy}.")
    if request.speed not in (None, "standard"):
        raise UnsupportedParameter("speed", "speed: only `standard` is priced.")
    if request.inference_geo not in (None, "global"):
        raise UnsupportedParameter("inference_geo", "inference_geo: only `global` is priced.")
    edits = request.context_management.edits if request.context_management else None
    for number, edit in enumerate(edits or ()):
        if edit.type.startswith("compact"):
            field = f"context_management.edits[{number}].type"
            raise UnsupportedParameter(field, f"{field}: {NOT_PRICED['compaction']}.")
    for number, tool in enumerate(request.tools or ()):
        _check_tool(tool, f"tools[{number}]")


def _check_tool(tool: Tool, place: str) -> None:
    if tool.type not in (None, "custom"):
        raise UnsupportedParameter(
            f"{place}.type",
            f"{place}.type: tools of the provider ({tool.type}) are not priced yet; only `custom` tools are served.",
        )
    if not tool.name:
        raise InvalidInput(f"{place}.name: missing; every tool has a name.", field=f"{place}.name")
    if not bytes(tool.input_schema).startswith(b"{"):
        field = f"{place}.input_schema"
        raise InvalidInput(f"{field}: must be a JSON schema, an object.", field=field)


def _client_request(
    request: CountRequest,
    size: _Size,
    members: dict[str, msgspec.Raw],
    body_bytes: int,
    *,
    stream: bool,
    output_limit: int | None,
) -> ClientRequest:
    return ClientRequest(
        endpoint="messages",
        model=request.model,
        members=said(members),
        body_bytes=body_bytes,
        text_bytes=size.text_bytes,
        stream=stream,
        include_usage=True,
        drop_params=bool(request.drop_params),
        output_limit=output_limit,
        entries=len(request.messages) + len(request.tools or ()) + (request.system is not None),
        images=size.images,
        is_bounded=size.is_bounded,
    )
