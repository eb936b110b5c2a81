"""The one neutral shape of an answer: events in the order in which a model makes them, and the whole they add up to.

A vendor's vocabulary reads a provider's answer, streamed or whole, into these events; a dialect writes them for its
client, streamed or (folded to `Answer`) whole.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from domain.chat import RedactedThinking, Refusal, Text, Thinking, ToolUse
from domain.upstream import Usage

FinishReason = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause"]
"""`stop_sequence`, `refusal` and `pause` are finer than OpenAI's words: there they are stop, content_filter, stop."""


class Started(msgspec.Struct, frozen=True, tag="started"):
    """`id` and `model` as the provider says; empty when it does not."""

    id: str = ""
    model: str = ""


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    text: str
    choice: int = 0
    signature: str | None = None


class ThinkingDelta(msgspec.Struct, frozen=True, tag="thinking"):
    """Thoughts that may be shown, or (`text` empty) their `signature`, which ends them."""

    text: str
    choice: int = 0
    signature: str | None = None


class RedactedThinkingDelta(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    data: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, tag="refusal"):
    text: str
    choice: int = 0


class ToolStarted(msgspec.Struct, frozen=True, tag="tool_started"):
    """`index` counts the tool calls of a choice from 0, without a gap."""

    index: int
    id: str
    name: str
    choice: int = 0
    signature: str | None = None


class ToolArguments(msgspec.Struct, frozen=True, tag="tool_arguments"):
    """A fragment of the arguments' JSON text."""

    index: int
    fragment: str
    choice: int = 0


class TokenLogprob(msgspec.Struct, frozen=True):
    """Natural logarithms. `bytes` are the token's UTF-8 bytes, where known."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


class Logprobs(msgspec.Struct, frozen=True, tag="logprobs"):
    tokens: tuple[TokenLogprob, ...]
    choice: int = 0


class Citation(msgspec.Struct, frozen=True, tag="citation"):
    """A source of the text so far, in the provider's own words; `url` and `title` where it names them."""

    raw: msgspec.Raw
    choice: int = 0
    url: str | None = None
    title: str | None = None


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """`stop_sequence` is the one that was met. Comes once for each choice."""

    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None


class Used(msgspec.Struct, frozen=True, tag="used"):
    """The provider's report; a later one replaces an earlier one."""

    usage: Usage


AnswerEvent: TypeAlias = (
    Started
    | TextDelta
    | ThinkingDelta
    | RedactedThinkingDelta
    | RefusalDelta
    | ToolStarted
    | ToolArguments
    | Logprobs
    | Citation
    | Finished
    | Used
)
AnswerPart: TypeAlias = Text | Thinking | RedactedThinking | Refusal | ToolUse


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[AnswerPart, ...]
    finish: Finished
    logprobs: tuple[TokenLogprob, ...] = ()
    citations: tuple[Citation, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`choices` by their number, at least one. A choice that was never finished has finished with `stop`."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None


def output_chars(events: Iterable[AnswerEvent]) -> int:
    """Of what a model wrote, for estimates."""
    count = 0
    for event in events:
        if isinstance(event, TextDelta | ThinkingDelta | RefusalDelta):
            count += len(event.text)
        elif isinstance(event, ToolArguments):
            count += len(event.fragment)
        elif isinstance(event, ToolStarted):
            count += len(event.name)
    return count


class _ChoiceSoFar:
    def __init__(self) -> None:
        self.parts: list[AnswerPart] = []
        self.tools: dict[int, int] = {}
        self.logprobs: list[TokenLogprob] = []
        self.citations: list[Citation] = []
        self.finish: Finished | None = None

    def take(self, event: AnswerEvent) -> None:  # noqa: C901  # one line for each kind of event
        match event:
            case TextDelta():
                self._take_text(event)
            case ThinkingDelta():
                self._take_thinking(event)
            case RefusalDelta():
                self._take_refusal(event)
            case RedactedThinkingDelta():
                self.parts.append(RedactedThinking(data=event.data))
            case ToolStarted():
                self.tools[event.index] = len(self.parts)
                self.parts.append(ToolUse(id=event.id, name=event.name, arguments="", signature=event.signature))
            case ToolArguments():
                place = self.tools[event.index]
                tool = self.parts[place]
                assert isinstance(tool, ToolUse)
                self.parts[place] = msgspec.structs.replace(tool, arguments=tool.arguments + event.fragment)
            case Logprobs():
                self.logprobs += event.tokens
            case Citation():
                self.citations.append(event)
            case Finished():
                self.finish = event
            case Started() | Used():
                raise AssertionError("belongs to the answer, not to a choice")

    def _take_text(self, event: TextDelta) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Text) and last.signature is None:
            self.parts[-1] = Text(text=last.text + event.text, signature=event.signature)
        else:
            self.parts.append(Text(text=event.text, signature=event.signature))

    def _take_thinking(self, event: ThinkingDelta) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Thinking) and last.signature is None:
            self.parts[-1] = Thinking(text=last.text + event.text, signature=event.signature)
        else:
            self.parts.append(Thinking(text=event.text, signature=event.signature))

    def _take_refusal(self, event: RefusalDelta) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Refusal):
            self.parts[-1] = Refusal(text=last.text + event.text)
        else:
            self.parts.append(Refusal(text=event.text))


def whole(events: Iterable[AnswerEvent]) -> Answer:
    """What the events add up to."""
    ident, model, usage = "", "", None
    choices: dict[int, _ChoiceSoFar] = {}
    for event in events:
        if isinstance(event, Started):
            ident, model = event.id or ident, event.model or model
        elif isinstance(event, Used):
            usage = event.usage
        else:
            choices.setdefault(event.choice, _ChoiceSoFar()).take(event)
    made = [
        Choice(
            parts=tuple(choice.parts),
            finish=choice.finish or Finished("stop", number),
            logprobs=tuple(choice.logprobs),
            citations=tuple(choice.citations),
        )
        for number, choice in sorted((choices or {0: _ChoiceSoFar()}).items())
    ]
    return Answer(id=ident, model=model, choices=tuple(made), usage=usage)
