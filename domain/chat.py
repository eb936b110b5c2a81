"""The one neutral shape of a conversation as it is asked: between the vocabulary of a client and that of a provider.

A dialect (`adapters/dialects`) reads a client's words into a `ChatAsk`; a vendor's vocabulary (`adapters/providers`)
writes them for its provider. What a provider cannot express is refused by the client's own name for it, or dropped
and told, if the client said so (`Expressible`). Nothing that would change the answer is dropped silently; `HINTS`, and
marks of what to cache, are passed over where the provider has no use for them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn, TypeAlias

import msgspec

from domain.errors import UnsupportedParameter

Role = Literal["system", "developer", "user", "assistant", "tool"]
CacheTtl = Literal["5m", "1h"]
"""Where a part carries one, the provider may cache the prompt up to and including it."""


class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """`signature` is the provider's own token over its thoughts (Gemini), to be given back unchanged."""

    text: str
    cache: CacheTtl | None = None
    signature: str | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """Either `url` or base64 `data` with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: CacheTtl | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True, tag="document"):
    """One of `url`, base64 `data` with its `media_type`, plain `text`."""

    url: str | None = None
    data: str | None = None
    text: str | None = None
    media_type: str | None = None
    title: str | None = None
    cache: CacheTtl | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True, tag="audio"):
    """Base64 `data`; `format` as `wav` or `mp3`."""

    data: str
    format: str


class Thinking(msgspec.Struct, frozen=True, kw_only=True, tag="thinking"):
    text: str
    signature: str | None = None


class RedactedThinking(msgspec.Struct, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    text: str


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, tag="tool_use"):
    """`arguments` is the text of a JSON object, as the model wrote it; models do write it wrong."""

    id: str
    name: str
    arguments: str
    signature: str | None = None
    cache: CacheTtl | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, tag="tool_result"):
    """Answers the `ToolUse` with this id; `name` is that of its tool, known from the conversation."""

    tool_use_id: str
    name: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    cache: CacheTtl | None = None


Part: TypeAlias = Text | Image | Document | Audio | Thinking | RedactedThinking | Refusal | ToolUse | ToolResult


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A `tool` turn holds all results of one assistant turn, and nothing else."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters` is a JSON schema; None takes no arguments."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None
    cache: CacheTtl | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """`name` with `tool` only."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`schema`, a JSON schema, with `json_schema` only."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw(b"{}")
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much to think: in words (`none minimal low medium high xhigh max`) or tokens. `budget_tokens` 0 is not at
    all. `shown` is whether the client wants to read the thoughts; None leaves it to the provider."""

    effort: str | None = None
    budget_tokens: int | None = None
    shown: bool | None = None


class ChatAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. None and empty mean: not said.

    `extras` are members that the dialect does not know, still encoded, under the client's name: a provider takes those
    it knows as its own and refuses the rest. `names` says what the client calls an option where that is not the name
    of the field. Nulls of the client are left out everywhere. `output_bound` is what was reserved: where a provider
    must be told a limit and the client named none, it is not more than this.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: msgspec.Raw | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    user: str | None = None
    metadata: msgspec.Raw | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    output_bound: int | None = None
    extras: Mapping[str, msgspec.Raw] = {}
    names: Mapping[str, str] = {}

    @property
    def forces_one_tool(self) -> bool:
        """Then a model calls this tool and no other: whoever asks for one call at a time gets it."""
        choice = self.tool_choice
        if choice is None:
            return False
        return choice.mode == "tool" or (choice.mode == "required" and len(self.tools) == 1)


class Expressible:
    """Collects, while a provider's request is written, what the provider has no words for.

    `options` are names of `ChatAsk`'s fields and of `extras`; a refused one raises UnsupportedParameter under the
    client's name for it, unless the client allowed to leave it out: then it stands in `dropped`.
    """

    def __init__(self, provider: str, names: Mapping[str, str], *, drop: bool) -> None:
        self._provider = provider
        self._names = names
        self._drop = drop
        self.dropped: list[str] = []

    def refuse(self, option: str, why: str) -> None:
        """An option: `why` is a sentence such as "Anthropic's models have no seed"."""
        name = self._names.get(option, option)
        if self._drop:
            self.dropped.append(name)
            return
        raise UnsupportedParameter(
            name, f"{name}: {why}; leave it out, or send `drop_params: true`.", capability=option
        )

    def refuse_names(self, turns: Sequence[Turn], why: str) -> None:
        """For a provider that cannot be told who of several users, or assistants, speaks."""
        if any(turn.name is not None for turn in turns):
            self.refuse("name", why)

    def refuse_details(self, turns: Sequence[Turn], why: str) -> None:
        """For a provider that cannot be told how closely to look at an image. `auto` tells nothing."""
        if any(_is_detailed(part) for turn in turns for part in turn.parts):
            self.refuse("detail", why)

    def refuse_content(self, place: str, kind: str, why: str) -> NoReturn:
        """Part of the conversation itself, at `messages[0].content[1]`: never left out, whatever the client allowed.
        `kind` is the capability that is missing: `image document audio tools …`."""
        raise UnsupportedParameter(place, f"{place}: {why}.", capability=kind)

    def refuse_unless(self, ask: ChatAsk, supported: frozenset[str]) -> None:
        """Every option that was said and is neither among `supported` nor a hint, and every extra."""
        for option in OPTIONS:
            said = getattr(ask, option)
            if option not in supported | HINTS and said is not None and said != ():
                self.refuse(option, f"{self._provider} has no such parameter")
        for name in ask.extras:
            if name not in supported:
                self.refuse(name, f"{self._provider} has no such parameter")


OPTIONS = tuple(
    name
    for name in ChatAsk.__struct_fields__
    if name not in ("model", "turns", "stream", "output_bound", "extras", "names")
)
HINTS = frozenset({"user", "metadata", "prompt_cache_key"})
"""Options that change nothing of an answer, only who is blamed, what is filed and what is found in a cache: every
client of some kind sends them, so a provider without a place for them is not told, and the client is not refused."""


def _is_detailed(part: Part) -> bool:
    if isinstance(part, ToolResult):
        return any(_is_detailed(inner) for inner in part.parts)
    return isinstance(part, Image) and part.detail not in (None, "auto")
