"""The neutral answer as a response: its events when streamed, and what they add up to when whole."""

from collections.abc import Iterator, Sequence

import msgspec

from adapters.dialects.responses.conversation import REDACTED
from adapters.dialects.responses.events import Events
from adapters.dialects.responses.items import FunctionCall, Item, Json, Message, Reasoning
from adapters.dialects.responses.response import INCOMPLETE, ResponseObject
from domain.answer import (
    Answer,
    AnswerEvent,
    Choice,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolArguments,
    ToolStarted,
    Used,
)
from domain.chat import RedactedThinking, Refusal, Text, Thinking, ToolUse
from domain.upstream import ProviderCall, Usage


class ResponseWriter:
    """Of one answer; of its choices only the first.

    A message or thoughts are done where something else begins, calls at the end of the answer: their arguments may
    come in any order.
    """

    def __init__(self, call: ProviderCall) -> None:
        self._response = ResponseObject(call)
        self._events = Events()
        self._items: list[Item] = []
        self._growing: Message | Reasoning | None = None
        self._calls: dict[int, FunctionCall] = {}
        self._logprobs: list[TokenLogprob] = []
        self._reason: FinishReason = "stop"
        self._usage: Usage | None = None
        self._has_begun = False

    def write(self, events: Sequence[AnswerEvent]) -> bytes:
        """Whole server-sent events; empty when there is nothing to say yet."""
        for event in events:
            if type(event) is Started:
                self._response.model = event.model or self._response.model
            elif type(event) is Logprobs and not event.choice:
                self._logprobs += event.tokens
        begun = self._begin() if events else b""
        return begun + b"".join([self._written(event) for event in events])

    def close(self) -> tuple[bytes, bytes]:
        """The rest of what the model said, and the event that says that all is well."""
        rest, response = self.end()
        return rest, self._events.event(f"response.{response['status']}", response=response)

    def end(self) -> tuple[bytes, Json]:
        """The last events of all items, and the whole response."""
        written = [self._begin(), self._late_logprobs()]
        unfinished = self._items[-1] if self._items and self._reason in INCOMPLETE else None
        for item in self._items:
            if item is self._growing or item in self._calls.values():
                written.append(item.done("incomplete" if item is unfinished else "completed"))
        output = [item.whole() for item in self._items]
        return b"".join(written), self._response.ended(output, self._reason, self._usage)

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        response = self._response.begun()
        created = self._events.event("response.created", response=response)
        return created + self._events.event("response.in_progress", response=response)

    def _written(self, event: AnswerEvent) -> bytes:
        if isinstance(event, Started | Logprobs | Citation):
            return b""
        if isinstance(event, Used):
            self._usage = event.usage
            return b""
        return b"" if event.choice else self._of_first_choice(event)

    def _of_first_choice(
        self,
        event: TextDelta
        | ThinkingDelta
        | RedactedThinkingDelta
        | RefusalDelta
        | ToolStarted
        | ToolArguments
        | Finished,
    ) -> bytes:
        match event:
            case TextDelta():
                return self._text(event)
            case ToolArguments():
                return self._calls[event.index].add(event.fragment) if event.fragment else b""
            case ThinkingDelta():
                return self._thinking(event)
            case RedactedThinkingDelta():
                return self._next(self._reasoning(REDACTED + event.data))
            case RefusalDelta():
                return self._refusal(event)
            case ToolStarted():
                return self._call(event)
            case Finished():
                self._reason = event.reason
                return b""

    def _text(self, event: TextDelta) -> bytes:
        if not event.text and not event.signature:
            return b""
        began, message = self._message()
        logprobs, self._logprobs = self._logprobs, []
        return began + message.add_text(event.text, logprobs, event.signature)

    def _refusal(self, event: RefusalDelta) -> bytes:
        if not event.text:
            return b""
        began, message = self._message()
        return began + message.add_refusal(event.text)

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if not event.text and not event.signature:
            return b""
        thoughts, began = self._growing, b""
        if not isinstance(thoughts, Reasoning) or thoughts.secret:
            thoughts = self._reasoning()
            began = self._next(thoughts)
        thoughts.secret = event.signature
        return began + thoughts.add(event.text)

    def _call(self, event: ToolStarted) -> bytes:
        call = FunctionCall(self._events, self._response.ident, len(self._items), event.id, event.name, event.signature)
        began = self._next(call)
        self._calls[event.index] = call
        return began

    def _message(self) -> tuple[bytes, Message]:
        if isinstance(self._growing, Message):
            return b"", self._growing
        message = Message(self._events, self._response.ident, len(self._items))
        return self._next(message), message

    def _reasoning(self, secret: str | None = None) -> Reasoning:
        return Reasoning(self._events, self._response.ident, len(self._items), secret)

    def _next(self, item: Message | Reasoning | FunctionCall) -> bytes:
        ended = self._late_logprobs()
        ended += self._growing.done("completed") if self._growing else b""
        self._growing = None if isinstance(item, FunctionCall) else item
        self._items.append(item)
        return ended + item.began()

    def _late_logprobs(self) -> bytes:
        if not self._logprobs or not isinstance(self._growing, Message):
            return b""
        written = self._growing.add_late_logprobs(self._logprobs)
        self._logprobs = [] if written else self._logprobs
        return written


def whole(answer: Answer, call: ProviderCall) -> bytes:
    writer = ResponseWriter(call)
    choice = answer.choices[0]
    events: list[AnswerEvent] = [Started(answer.id, answer.model), Logprobs(choice.logprobs), *_events_of(choice)]
    writer.write([*events, Used(answer.usage)] if answer.usage else events)
    return msgspec.json.encode(writer.end()[1])


def _events_of(choice: Choice) -> Iterator[AnswerEvent]:
    calls = 0
    for part in choice.parts:
        match part:
            case Text():
                yield TextDelta(part.text, signature=part.signature)
            case Thinking():
                yield ThinkingDelta(part.text, signature=part.signature)
            case RedactedThinking():
                yield RedactedThinkingDelta(part.data)
            case Refusal():
                yield RefusalDelta(part.text)
            case ToolUse():
                yield ToolStarted(calls, part.id, part.name, signature=part.signature)
                yield ToolArguments(calls, part.arguments)
                calls += 1
    yield Finished(choice.finish.reason)
