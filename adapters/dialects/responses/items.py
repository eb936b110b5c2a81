"""The items of an answer as they grow: each says itself in events, and whole when it is done."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from adapters.dialects.responses.events import Events, fragment_head
from domain.answer import TokenLogprob

Json = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]


class Item(Protocol):
    def began(self) -> bytes: ...

    def done(self, status: Status) -> bytes:
        """The last events of the item."""
        ...

    def whole(self) -> Json:
        """As it stands in the output, once it is done."""
        ...


class TextPart:
    """Once it has a `signature`, no text is added."""

    def __init__(self, events: Events, place: Json) -> None:
        self.signature: str | None = None
        self.logprobs: list[Json] = []
        self._events = events
        self._place = place
        self._head = fragment_head("response.output_text.delta", **place, logprobs=[])
        self._fragments: list[str] = []

    def began(self) -> bytes:
        return self._events.event("response.content_part.added", **self._place, part=self._part("", []))

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> bytes:
        self._fragments.append(text)
        if not logprobs:
            return self._events.fragment(self._head, text)
        written = [_logprob(token) for token in logprobs]
        self.logprobs += written
        return self._events.event("response.output_text.delta", **self._place, delta=text, logprobs=written)

    def done(self) -> bytes:
        part = self.whole()
        return self._events.event(
            "response.output_text.done", **self._place, text=part["text"], logprobs=self.logprobs
        ) + self._events.event("response.content_part.done", **self._place, part=part)

    def whole(self) -> Json:
        return self._part("".join(self._fragments), self.logprobs) | _signed(self.signature)

    def _part(self, text: str, logprobs: list[Json]) -> Json:
        return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}


class RefusalPart:
    def __init__(self, events: Events, place: Json) -> None:
        self._events = events
        self._place = place
        self._head = fragment_head("response.refusal.delta", **place)
        self._fragments: list[str] = []

    def began(self) -> bytes:
        part = {"type": "refusal", "refusal": ""}
        return self._events.event("response.content_part.added", **self._place, part=part)

    def add(self, text: str) -> bytes:
        self._fragments.append(text)
        return self._events.fragment(self._head, text)

    def done(self) -> bytes:
        part = self.whole()
        return self._events.event("response.refusal.done", **self._place, refusal=part["refusal"]) + self._events.event(
            "response.content_part.done", **self._place, part=part
        )

    def whole(self) -> Json:
        return {"type": "refusal", "refusal": "".join(self._fragments)}


class Message:
    """Its parts follow each other: the last one grows."""

    def __init__(self, events: Events, ident: str, index: int) -> None:
        self._events = events
        self._id = f"msg_{ident}_{index}"
        self._index = index
        self._parts: list[TextPart | RefusalPart] = []
        self._status: Status = "in_progress"

    def began(self) -> bytes:
        return self._events.event("response.output_item.added", output_index=self._index, item=self.whole())

    def add_text(self, text: str, logprobs: Sequence[TokenLogprob] = (), signature: str | None = None) -> bytes:
        part, began = self._parts[-1] if self._parts else None, b""
        if not isinstance(part, TextPart) or part.signature:
            part = TextPart(self._events, self._place())
            began = self._begin(part)
        part.signature = signature
        return began + part.add(text, logprobs) if text or logprobs else began

    def add_late_logprobs(self, logprobs: Sequence[TokenLogprob]) -> bytes:
        """Of text that was written before them. Empty when the message does not end with text."""
        part = self._parts[-1]
        return part.add("", logprobs) if isinstance(part, TextPart) else b""

    def add_refusal(self, text: str) -> bytes:
        part, began = self._parts[-1] if self._parts else None, b""
        if not isinstance(part, RefusalPart):
            part = RefusalPart(self._events, self._place())
            began = self._begin(part)
        return began + part.add(text)

    def done(self, status: Status) -> bytes:
        self._status = status
        last = self._parts[-1].done()
        return last + self._events.event("response.output_item.done", output_index=self._index, item=self.whole())

    def whole(self) -> Json:
        content = [part.whole() for part in self._parts]
        return {"id": self._id, "type": "message", "status": self._status, "role": "assistant", "content": content}

    def _place(self) -> Json:
        return {"item_id": self._id, "output_index": self._index, "content_index": len(self._parts)}

    def _begin(self, part: TextPart | RefusalPart) -> bytes:
        ended = self._parts[-1].done() if self._parts else b""
        self._parts.append(part)
        return ended + part.began()


class Reasoning:
    """Thoughts that may be read are its one summary. Once it has a `secret`, nothing is added."""

    def __init__(self, events: Events, ident: str, index: int, secret: str | None = None) -> None:
        self.secret = secret
        self._events = events
        self._id = f"rs_{ident}_{index}"
        self._index = index
        self._place: Json = {"item_id": self._id, "output_index": index, "summary_index": 0}
        self._head = fragment_head("response.reasoning_summary_text.delta", **self._place)
        self._fragments: list[str] = []

    def began(self) -> bytes:
        return self._events.event("response.output_item.added", output_index=self._index, item=self.whole())

    def add(self, text: str) -> bytes:
        began = b""
        if not text:
            return began
        if not self._fragments:
            part = {"type": "summary_text", "text": ""}
            began = self._events.event("response.reasoning_summary_part.added", **self._place, part=part)
        self._fragments.append(text)
        return began + self._events.fragment(self._head, text)

    def done(self, status: Status) -> bytes:
        written = b""
        for part in self._summary():
            written += self._events.event("response.reasoning_summary_text.done", **self._place, text=part["text"])
            written += self._events.event("response.reasoning_summary_part.done", **self._place, part=part)
        return written + self._events.event("response.output_item.done", output_index=self._index, item=self.whole())

    def whole(self) -> Json:
        return {"id": self._id, "type": "reasoning", "summary": self._summary(), "encrypted_content": self.secret}

    def _summary(self) -> list[Json]:
        return [{"type": "summary_text", "text": "".join(self._fragments)}] if self._fragments else []


class FunctionCall:
    """One without any arguments has `{}`, which a client can parse."""

    def __init__(self, events: Events, ident: str, index: int, call_id: str, name: str, signature: str | None) -> None:
        self._events = events
        self._id = f"fc_{ident}_{index}"
        self._index = index
        self._call = {"call_id": call_id or f"call_{ident}_{index}", "name": name}
        self._signature = signature
        self._status: Status = "in_progress"
        self._place: Json = {"item_id": self._id, "output_index": index}
        self._head = fragment_head("response.function_call_arguments.delta", **self._place)
        self._fragments: list[str] = []

    def began(self) -> bytes:
        return self._events.event("response.output_item.added", output_index=self._index, item=self.whole())

    def add(self, fragment: str) -> bytes:
        self._fragments.append(fragment)
        return self._events.fragment(self._head, fragment)

    def done(self, status: Status) -> bytes:
        self._status = status
        written = b"" if any(self._fragments) else self.add("{}")
        call = self.whole()
        written += self._events.event(
            "response.function_call_arguments.done", **self._place, name=call["name"], arguments=call["arguments"]
        )
        return written + self._events.event("response.output_item.done", output_index=self._index, item=call)

    def whole(self) -> Json:
        return {
            "id": self._id,
            "type": "function_call",
            "status": self._status,
            **self._call,
            "arguments": "".join(self._fragments),
            **_signed(self._signature),
        }


def _signed(signature: str | None) -> Json:
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def _logprob(token: TokenLogprob) -> Json:
    return {**_scored(token), "top_logprobs": [_scored(other) for other in token.top]}


def _scored(token: TokenLogprob) -> Json:
    known = token.bytes
    return {
        "token": token.token,
        "bytes": list(token.token.encode() if known is None else known),
        "logprob": token.logprob,
    }
