"""One telling change for everything that can be said in the neutral shape, and a conversation in which it is said.

`Change.what` is the place that changes: an option of a question, or `Type.field`, perhaps with the case in brackets.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from domain.chat import (
    Audio,
    ChatAsk,
    Document,
    Image,
    Part,
    Reasoning,
    RedactedThinking,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')
OTHER_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"b":{"type":"string"}}}')
HI = Turn(role="user", parts=(Text(text="Hi"),))
CLOCK = Tool(name="clock", parameters=SCHEMA)
SUN = Tool(name="sun", parameters=SCHEMA)
CALL = ToolUse(id="call_1", name="clock", arguments='{"a":"b"}')
RESULT = ToolResult(tool_use_id="call_1", name="clock", parts=(Text(text="noon"),))
PNG = Image(data="QUJD", media_type="image/png")
LINKED = Image(url="https://i.test/a.png")
PDF = Document(data="QUJD", media_type="application/pdf")
LINKED_PDF = Document(url="https://i.test/a.pdf")
PLAIN = Document(text="A page")
JSON = ResponseFormat(kind="json_schema", name="answer", schema=SCHEMA)


class Change(NamedTuple):
    what: str
    before: ChatAsk
    after: ChatAsk


def ask(*turns: Turn, **said: Any) -> ChatAsk:
    return ChatAsk(model="m", turns=turns or (HI,), **said)


def holding(part: Part, role: Role | None = None) -> ChatAsk:
    """A conversation in which the part stands where such a part belongs."""
    if isinstance(part, ToolResult):
        call = msgspec.structs.replace(CALL, id=part.tool_use_id)
        return ask(HI, Turn(role="assistant", parts=(call,)), Turn(role="tool", parts=(part,)), tools=(CLOCK,))
    if isinstance(part, ToolUse):
        result = msgspec.structs.replace(RESULT, tool_use_id=part.id, name=part.name)
        return ask(HI, Turn(role="assistant", parts=(part,)), Turn(role="tool", parts=(result,)), tools=(CLOCK,))
    if isinstance(part, Thinking | RedactedThinking | Refusal) or role == "assistant":
        return ask(HI, Turn(role="assistant", parts=(part, Text(text="So."))), HI)
    return ask(Turn(role=role or "user", parts=(Text(text="See"), part)), HI)


def _of_part(part: Part, role: Role | None = None, case: str = "", **telling: Any) -> Iterator[Change]:
    kind = type(part).__name__
    for field, value in telling.items():
        changed = msgspec.structs.replace(part, **{field: value})
        yield Change(f"{kind}.{field}{case}", holding(part, role), holding(changed, role))


def _presence(part: Part, what: str) -> Change:
    """Nothing of a kind, and one of it."""
    after = holding(part)
    without = [msgspec.structs.replace(turn, parts=tuple(p for p in turn.parts if p != part)) for turn in after.turns]
    before = msgspec.structs.replace(after, turns=tuple(turn for turn in without if turn.parts))
    return Change(what, before, after)


def _in_result(part: Text | Image | Document, what: str) -> Change:
    fuller = msgspec.structs.replace(RESULT, parts=(*RESULT.parts, part))
    return Change(what, holding(RESULT), holding(fuller))


def options() -> Iterator[Change]:
    telling: dict[str, Any] = {
        "max_output_tokens": 77,
        "temperature": 0.5,
        "top_p": 0.7,
        "top_k": 7,
        "stop": ("END",),
        "seed": 7,
        "n": 2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logprobs": True,
        "logit_bias": msgspec.Raw(b'{"7":1}'),
        "tools": (CLOCK,),
        "response_format": JSON,
        "reasoning": Reasoning(effort="high"),
        "verbosity": "low",
        "user": "u1",
        "metadata": msgspec.Raw(b'{"team":"a"}'),
        "prompt_cache_key": "k",
        "service_tier": "flex",
    }
    for option, value in telling.items():
        yield Change(option, ask(), ask(**{option: value}))
    yield Change("top_logprobs", ask(logprobs=True), ask(logprobs=True, top_logprobs=3))
    yield Change("tool_choice", ask(tools=(CLOCK,)), ask(tools=(CLOCK,), tool_choice=ToolChoice(mode="required")))
    yield Change("tool_choice (without tools)", ask(), ask(tool_choice=ToolChoice(mode="required")))
    yield Change("parallel_tool_calls", ask(tools=(CLOCK,)), ask(tools=(CLOCK,), parallel_tool_calls=False))
    yield Change("extras", ask(), ask(extras={"unheard_of": msgspec.Raw(b"1")}))


def content() -> Iterator[Change]:
    yield from _of_part(Text(text="a"), text="b", cache="5m")
    yield from _of_part(Text(text="a"), "system", " (system)", text="b", cache="1h")
    yield from _of_part(Text(text="a"), "assistant", " (assistant)", text="b", cache="5m", signature="foreign")
    yield from _of_part(PNG, data="REVG", media_type="image/jpeg", detail="low", cache="5m")
    yield from _of_part(LINKED, case=" (linked)", url="https://i.test/b.png", detail="high", cache="5m")
    yield from _of_part(PDF, data="REVG", title="Report", cache="5m")
    yield from _of_part(PDF, case=" (other)", media_type="application/msword")
    yield from _of_part(LINKED_PDF, case=" (linked)", url="https://i.test/b.pdf", title="Report", cache="5m")
    yield from _of_part(PLAIN, case=" (plain)", text="B", title="Report", cache="5m", media_type="text/markdown")
    yield from _of_part(Audio(data="QUJD", format="wav"), data="REVG", format="mp3")
    yield from _of_part(Refusal(text="No."), text="Never.")
    yield from _of_part(CALL, name="sun", arguments='{"a":"c"}', signature="foreign", cache="5m")
    yield from _of_part(CALL, id="call_2")
    yield from _of_part(RESULT, tool_use_id="call_2", name="sun", is_error=True, cache="5m")
    yield from _of_part(RESULT, parts=(Text(text="midnight"),))
    for part in (PNG, LINKED, PDF, LINKED_PDF, PLAIN, Audio(data="QUJD", format="wav"), Refusal(text="No."), CALL):
        yield _presence(part, f"{type(part).__name__} at all")
    for part in (PNG, LINKED, PDF, LINKED_PDF, PLAIN, Text(text="and more")):
        yield _in_result(part, f"{type(part).__name__} in a result")
    yield _in_result(msgspec.structs.replace(PDF, title="Report"), "Document.title in a result")
    looked_at = msgspec.structs.replace(PNG, detail="high")
    without, with_detail = _in_result(PNG, "").after, _in_result(looked_at, "").after
    yield Change("Image.detail in a result", without, with_detail)


def thoughts(own_signature: str | None) -> Iterator[Change]:
    """As the provider itself signs them, and those of another."""
    yield _presence(Thinking(text="Hm.", signature=own_signature), "Thinking at all")
    yield from _of_part(Thinking(text="Hm.", signature=own_signature), text="Ah.")
    if own_signature:
        yield from _of_part(Thinking(text="Hm.", signature=own_signature), signature=own_signature[:-1] + "z")
    yield _presence(Thinking(text="Hm.", signature="other:c2ln"), "Thinking (of another provider)")
    yield _presence(Thinking(text="Hm."), "Thinking (not signed)")
    yield _presence(RedactedThinking(data="c2ln"), "RedactedThinking at all")
    yield from _of_part(RedactedThinking(data="c2ln"), data="ZWxz")


def turns() -> Iterator[Change]:
    words = (Text(text="Be brief."),)
    roles: tuple[Role, ...] = ("system", "user", "assistant", "developer")
    for role in roles:
        plain, named = Turn(role=role, parts=words), Turn(role=role, parts=words, name="ann")
        yield Change(f"Turn.name ({role})", ask(plain, HI), ask(named, HI))
        yield Change(f"Turn.parts ({role})", ask(HI), ask(HI, plain, HI))
    changed: list[tuple[Role, Role]] = [("user", "system"), ("user", "assistant"), ("system", "developer")]
    for before, after in changed:
        first, other = Turn(role=before, parts=words), Turn(role=after, parts=words)
        yield Change(f"Turn.role ({before}, {after})", ask(first, HI), ask(other, HI))


def tools() -> Iterator[Change]:
    telling = {"name": "moon", "description": "Tells it", "parameters": OTHER_SCHEMA, "strict": True, "cache": "5m"}
    for field, value in telling.items():
        changed = msgspec.structs.replace(CLOCK, **{field: value})
        yield Change(f"Tool.{field}", ask(tools=(CLOCK,)), ask(tools=(changed,)))
    lenient = msgspec.structs.replace(CLOCK, strict=False)
    yield Change("Tool.strict (false)", ask(tools=(CLOCK,)), ask(tools=(lenient,)))
    for mode in ("auto", "none", "required"):
        choice = ToolChoice(mode=mode)
        yield Change(f"ToolChoice.mode ({mode})", ask(tools=(CLOCK, SUN)), ask(tools=(CLOCK, SUN), tool_choice=choice))
    one, other = (ToolChoice(mode="tool", name=name) for name in ("clock", "sun"))
    yield Change("ToolChoice.mode (tool)", ask(tools=(CLOCK, SUN)), ask(tools=(CLOCK, SUN), tool_choice=one))
    yield Change(
        "ToolChoice.name", ask(tools=(CLOCK, SUN), tool_choice=one), ask(tools=(CLOCK, SUN), tool_choice=other)
    )


def formats() -> Iterator[Change]:
    yield Change("ResponseFormat.kind", ask(), ask(response_format=ResponseFormat(kind="json_object")))
    for field, value in {"name": "b", "description": "Of a", "schema": OTHER_SCHEMA, "strict": True}.items():
        changed = msgspec.structs.replace(JSON, **{field: value})
        yield Change(f"ResponseFormat.{field}", ask(response_format=JSON), ask(response_format=changed))
    lenient = msgspec.structs.replace(JSON, strict=False)
    yield Change("ResponseFormat.strict (false)", ask(response_format=JSON), ask(response_format=lenient))


def reasoning() -> Iterator[Change]:
    high = Reasoning(effort="high")
    for said in (Reasoning(effort="low"), Reasoning(effort="max"), Reasoning(effort="heroic")):
        yield Change(f"Reasoning.effort ({said.effort})", ask(), ask(reasoning=said))
    yield Change("Reasoning.effort (none)", ask(), ask(reasoning=Reasoning(effort="none")))
    yield Change("Reasoning.budget_tokens", ask(), ask(reasoning=Reasoning(budget_tokens=3_000)))
    yield Change("Reasoning.budget_tokens (0)", ask(), ask(reasoning=Reasoning(budget_tokens=0)))
    for field, value in {"budget_tokens": 3_000, "shown": True}.items():
        changed = msgspec.structs.replace(high, **{field: value})
        yield Change(f"Reasoning.{field} beside effort", ask(reasoning=high), ask(reasoning=changed))
    hidden = msgspec.structs.replace(high, shown=False)
    yield Change("Reasoning.shown (false)", ask(reasoning=high), ask(reasoning=hidden))
    yield Change("Reasoning.shown alone", ask(), ask(reasoning=Reasoning(shown=True)))


def all_changes(own_signature: str | None) -> list[Change]:
    return [*options(), *content(), *thoughts(own_signature), *turns(), *tools(), *formats(), *reasoning()]
