"""A response as an OpenAI client asks for it: checked whole, with one clear error, before anything is done."""

from collections.abc import Iterator, Mapping

import msgspec

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.reading import OURS, decoded, refuse_dear_tier, said
from adapters.dialects.responses.wire import (
    AskedResponse,
    AskedTool,
    Content,
    InputFile,
    InputImage,
    InputText,
    Item,
    RefusalContent,
    decode_asked,
)
from domain.errors import InvalidInput, UnsupportedParameter

NOT_SERVED = {
    "previous_response_id": "nothing is stored here; send the whole conversation in `input`",
    "conversation": "nothing is stored here; send the whole conversation in `input`",
    "prompt": "prompt templates are not stored here; send `instructions` and `input`",
    "background_options": "there are no background responses; leave it out",
    "context_management": "compaction is not priced; leave it out",
}
NOT_TRUE = {
    "background": "there are no background responses; leave it out",
    "store": "nothing is stored here; send false, or leave it out",
}
ITEM_TYPES = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    }
)
TOOL_TYPES = frozenset({"function", "custom"})
ACCEPTED = {
    "role": "system, developer, user or assistant",
    "type": "input_text, input_image, input_file, output_text or refusal",
    "truncation": "auto or disabled",
}


class _ItemType(msgspec.Struct):
    type: str | None = None


class _ItemTypes(msgspec.Struct):
    input: list[_ItemType]


_decode_item_types = msgspec.json.Decoder(_ItemTypes).decode


def check(body: bytes) -> ClientRequest:
    """Raises InvalidInput that names the place and what fits there; UnsupportedParameter for what is not priced."""
    try:
        asked, members = decoded(body, decode_asked, ACCEPTED)
    except InvalidInput as invalid:
        raise _unserved_item(body) or invalid from None
    _refuse_what_is_not_served(asked, members)
    _refuse_tools(asked.tools or [])
    items = asked.input if isinstance(asked.input, list) else []
    for place, item in enumerate(items):
        _refuse_item(item, f"input[{place}]")
    parts = list(_parts(items))
    texts = [*_texts(asked), *(text for part in parts if (text := _text_of(part)))]
    schemas = sum(len(tool.parameters) for tool in asked.tools or ())
    return ClientRequest(
        endpoint="responses",
        model=asked.model,
        members={name: value for name, value in members.items() if name not in OURS},
        body_bytes=len(body),
        text_bytes=sum(len(text.encode()) for text in texts) + schemas,
        stream=bool(asked.stream),
        include_usage=True,
        drop_params=bool(asked.drop_params),
        output_limit=asked.max_output_tokens,
        entries=max(1, len(items)) + len(asked.tools or ()) + (1 if asked.instructions else 0),
        images=sum(isinstance(part, InputImage) for part in parts),
        is_bounded=not any(isinstance(part, InputFile) for part in parts),
    )


def _parts(items: list[Item]) -> Iterator[Content]:
    for item in items:
        for content in (item.content, item.output):
            if isinstance(content, list):
                yield from content


def _texts(asked: AskedResponse) -> Iterator[str]:
    """All text that stands in no part."""
    yield asked.instructions or ""
    for tool in asked.tools or ():
        yield tool.description or ""
    if isinstance(asked.input, str):
        yield asked.input
        return
    for item in asked.input:
        yield from (text for text in (item.content, item.output) if isinstance(text, str))
        yield (item.name or "") + (item.arguments or "") + (item.input or "")
        yield from (summary.text for summary in item.summary or ())


def _text_of(part: Content) -> str:
    if isinstance(part, InputImage | InputFile):
        return ""
    return part.refusal if isinstance(part, RefusalContent) else part.text


def _refuse_what_is_not_served(asked: AskedResponse, members: Mapping[str, msgspec.Raw]) -> None:
    """What needs something stored, and what would change the bill in a way that the price does not know."""
    refused = [(name, remedy) for name, remedy in NOT_SERVED.items() if name in said(members)]
    refused += [(name, remedy) for name, remedy in NOT_TRUE.items() if getattr(asked, name)]
    if refused:
        name, remedy = refused[0]
        raise UnsupportedParameter(name, f"{name}: {remedy}.")
    refuse_dear_tier(asked.service_tier)
    if asked.reasoning and asked.reasoning.mode not in (None, "standard"):
        raise UnsupportedParameter("reasoning.mode", "reasoning.mode: only `standard` is priced.")
    if asked.prompt_cache_options:
        _refuse_long_cache(asked.prompt_cache_options.ttl, "prompt_cache_options.ttl")


def _refuse_tools(tools: list[AskedTool]) -> None:
    for place, tool in enumerate(tools):
        if tool.type not in TOOL_TYPES:
            field = f"tools[{place}].type"
            raise UnsupportedParameter(
                field, f"{field}: `{tool.type}` is not priced; use `function`.", capability="built_in_tools"
            )
        if not tool.name:
            field = f"tools[{place}].name"
            raise InvalidInput(f"{field}: missing; a tool is called by its name.", field=field)


def _refuse_item(item: Item, place: str) -> None:
    if refused := _refused_type(item.kind, place):
        raise refused
    if item.kind == "message":
        for member, value in (("role", item.role), ("content", item.content)):
            if value is None:
                raise InvalidInput(f"{place}.{member}: missing; a message has one.", field=f"{place}.{member}")
    for member, content in (("content", item.content), ("output", item.output)):
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, InputText | InputImage | InputFile) and part.prompt_cache_breakpoint:
                field = f"{place}.{member}[{number}].prompt_cache_breakpoint.ttl"
                _refuse_long_cache(part.prompt_cache_breakpoint.ttl, field)


def _refuse_long_cache(ttl: str | None, field: str) -> None:
    if ttl not in (None, "30m"):
        raise UnsupportedParameter(field, f"{field}: only `30m` is priced.")


def _unserved_item(body: bytes) -> UnsupportedParameter | None:
    """Items that are not served have members of other shapes, which are not what is wrong with them."""
    try:
        items = _decode_item_types(body).input
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    refusals = (_refused_type(item.type, f"input[{place}]") for place, item in enumerate(items) if item.type)
    return next((refusal for refusal in refusals if refusal), None)


def _refused_type(kind: str, place: str) -> UnsupportedParameter | None:
    if kind in ITEM_TYPES:
        return None
    field = f"{place}.type"
    if kind == "item_reference":
        return UnsupportedParameter(field, f"{field}: nothing is stored here to refer to; send the item itself.")
    return UnsupportedParameter(
        field, f"{field}: `{kind}` is not served here; use message, reasoning, function_call or function_call_output."
    )
