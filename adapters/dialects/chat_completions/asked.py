"""The wire shape of a request for a chat completion, as far as another provider can be told of it.

Beyond OpenAI's own: `cache_control` on messages, parts and tools; `reasoning_content`, `thinking_blocks` and
`extra_content` on what an assistant said, as our answers have them and clients send them back.
"""

from typing import Literal, TypeAlias

import msgspec

from domain.chat import CacheTtl


class CacheControl(msgspec.Struct):
    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(msgspec.Struct):
    """OpenAI's own mark. `ttl` is the least time, `30m` when not said."""

    ttl: str | None = None


class Cacheable(msgspec.Struct, kw_only=True):
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None

    @property
    def cache(self) -> CacheTtl | None:
        """Thirty minutes, where they are said, are kept by an hour only."""
        if self.cache_control is not None:
            return self.cache_control.ttl or "5m"
        if self.prompt_cache_breakpoint is not None:
            return "1h" if self.prompt_cache_breakpoint.ttl else "5m"
        return None


class Google(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    google: Google | None = None

    @property
    def signature(self) -> str | None:
        return self.google.thought_signature or None if self.google else None


class TextPart(Cacheable, tag_field="type", tag="text"):
    text: str


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class ImagePart(Cacheable, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Cacheable, tag_field="type", tag="file"):
    file: File


class InputAudio(msgspec.Struct):
    data: str
    format: str


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: CalledFunction | None = None
    extra_content: ExtraContent | None = None


class ThinkingBlock(msgspec.Struct):
    """`data` of `redacted_thinking`, the others of `thinking`."""

    type: str
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


SystemContent: TypeAlias = str | list[TextPart]
UserPart: TypeAlias = TextPart | ImagePart | FilePart | AudioPart
ToolPart: TypeAlias = TextPart | ImagePart | FilePart


class SystemMessage(Cacheable, tag_field="role", tag="system"):
    content: SystemContent
    name: str | None = None


class DeveloperMessage(Cacheable, tag_field="role", tag="developer"):
    content: SystemContent
    name: str | None = None


class UserMessage(Cacheable, tag_field="role", tag="user"):
    content: str | list[UserPart]
    name: str | None = None


class AssistantMessage(Cacheable, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None
    extra_content: ExtraContent | None = None
    function_call: msgspec.Raw = msgspec.Raw(b"null")
    audio: msgspec.Raw = msgspec.Raw(b"null")


class ToolMessage(Cacheable, tag_field="role", tag="tool"):
    content: str | list[ToolPart]
    tool_call_id: str


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class FunctionTool(Cacheable):
    type: str = "function"
    function: Function | None = None


class ChosenFunction(msgspec.Struct):
    name: str


class ChosenTool(msgspec.Struct):
    type: str
    function: ChosenFunction | None = None


class JsonSchema(msgspec.Struct):
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class AskedFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class Asked(msgspec.Struct, kw_only=True):
    """Every member that has a place in the neutral shape; `stream_options` and the like are read elsewhere."""

    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, msgspec.Raw] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: str | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: AskedFormat | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    prompt_cache_key: str | None = None
