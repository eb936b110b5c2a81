"""The request as it stands on the wire: only what the gateway itself must understand."""

from typing import Annotated, Literal, TypeAlias

import msgspec

NOTHING = msgspec.Raw(b"null")


class CacheBreakpoint(msgspec.Struct):
    """`ttl` is the least time, `30m` when not said."""

    ttl: str | None = None


class GoogleContent(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    """What a provider wants to have back, in the form of Google's own compatible API."""

    google: GoogleContent | None = None


class Signed(msgspec.Struct, kw_only=True):
    extra_content: ExtraContent | None = None

    @property
    def signature(self) -> str | None:
        google = self.extra_content and self.extra_content.google
        return google.thought_signature or None if google else None


class InputText(msgspec.Struct, tag_field="type", tag="input_text"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputImage(msgspec.Struct, tag_field="type", tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputFile(msgspec.Struct, tag_field="type", tag="input_file"):
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class OutputText(Signed, tag_field="type", tag="output_text"):
    text: str


class RefusalContent(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


Content: TypeAlias = InputText | InputImage | InputFile | OutputText | RefusalContent | ReasoningText


class SummaryText(msgspec.Struct):
    text: str


class Item(Signed, kw_only=True):
    """Any input item: which members count, its `type` says."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Content] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Content] | None = None
    summary: list[SummaryText] | None = None
    encrypted_content: str | None = None

    @property
    def kind(self) -> str:
        """A message and a reference may come without a type; only a message has a role."""
        return self.type or ("message" if self.role else "item_reference")


class AskedTool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)
    strict: bool | None = None


class ReasoningOptions(msgspec.Struct):
    """`generate_summary` is the old name of `summary`."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class AskedFormat(msgspec.Struct):
    """All but `type` of a `json_schema`."""

    type: str
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    format: AskedFormat | None = None
    verbosity: str | None = None


class ChosenTool(msgspec.Struct):
    """`name` of one tool; `mode` and `tools` of `allowed_tools`."""

    type: str
    name: str | None = None
    mode: str | None = None
    tools: list["ChosenTool"] | None = None


class CacheOptions(msgspec.Struct):
    ttl: str | None = None


class AskedResponse(msgspec.Struct, kw_only=True):
    """Other members go to the provider or are refused there, by name."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    tools: list[AskedTool] | None = None
    tool_choice: str | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    service_tier: str | None = None
    store: bool | None = None
    background: bool | None = None
    drop_params: bool | None = None


decode_asked = msgspec.json.Decoder(AskedResponse).decode
