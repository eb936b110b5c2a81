"""A conversation as Anthropic's `system` and `messages`: users and assistants by turns, results before other words."""

from typing import Literal

import msgspec

from adapters.providers.anthropic.blocks import (
    Block,
    RedactedThinkingBlock,
    ThinkingBlock,
    ToolResultBlock,
    block_of,
)
from domain.chat import Expressible, Text, ToolUse, Turn
from domain.errors import InvalidInput

_SYSTEM_ROLES = ("system", "developer")


class Message(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant", "system"]
    content: list[Block]


class Conversation:
    """Written turn by turn.

    What stands between two answers of the assistant is one user message. System turns among it follow it as a system
    message, where the model reads such (`system_turns`) and there is something to follow; else they join `system`.
    """

    def __init__(self, expressible: Expressible, *, system_turns: bool) -> None:
        self.system: list[Block] = []
        self.messages: list[Message] = []
        self._expressible = expressible
        self._system_turns = system_turns
        self._results: list[Block] = []
        self._words: list[Block] = []
        self._instructions: list[Block] = []

    def write(self, turns: tuple[Turn, ...]) -> None:
        """Raises InvalidInput and UnsupportedParameter, at the place as a client counts that sends every tool's result
        as a message of its own."""
        self._expressible.refuse_names(turns, "Anthropic has no names for those who speak")
        self._expressible.refuse_details(turns, "Anthropic decides itself how closely an image is looked at")
        place = 0
        for turn in turns:
            self._write_turn(turn, place)
            place += len(turn.parts) if turn.role == "tool" else 1
        self._end_user_message()
        if not self.messages:
            raise InvalidInput(
                "messages: Anthropic needs at least one message with text of the user or the assistant.",
                field="messages",
            )

    def _write_turn(self, turn: Turn, place: int) -> None:
        if turn.role in _SYSTEM_ROLES:
            self._write_instructions(turn, place)
        elif turn.role == "assistant":
            self._write_answer(self._blocks(turn, place))
        else:
            for block in self._blocks(turn, place):
                (self._results if isinstance(block, ToolResultBlock) else self._words).append(block)

    def _write_instructions(self, turn: Turn, place: int) -> None:
        for number, part in enumerate(turn.parts):
            if not isinstance(part, Text):
                where = f"messages[{place}].content[{number}]"
                self._expressible.refuse_content(where, "system", "Anthropic's system prompt is text only")
        is_first = not (self.messages or self._results or self._words)
        (self.system if is_first else self._instructions).extend(self._blocks(turn, place))

    def _write_answer(self, blocks: list[Block]) -> None:
        blocks = _thoughts_first(blocks)
        if not blocks:
            return
        self._end_user_message()
        if self.messages and self.messages[-1].role == "assistant":
            self.messages[-1].content.extend(blocks)
        else:
            self.messages.append(Message("assistant", blocks))

    def _end_user_message(self) -> None:
        blocks, instructions = self._results + self._words, self._instructions
        self._results, self._words, self._instructions = [], [], []
        if blocks:
            self.messages.append(Message("user", blocks))
        if instructions and blocks and self._system_turns:
            self.messages.append(Message("system", instructions))
        else:
            self.system += instructions

    def _blocks(self, turn: Turn, place: int) -> list[Block]:
        blocks: list[Block] = []
        calls = 0
        for number, part in enumerate(turn.parts):
            where = f"messages[{place}].content[{number}]"
            if turn.role == "tool":
                where = f"messages[{place + number}].content"
            elif isinstance(part, ToolUse):
                where = f"messages[{place}].tool_calls[{calls}].function.arguments"
                calls += 1
            block = block_of(part, where, self._expressible)
            if block is not None:
                blocks.append(block)
        return blocks


def _thoughts_first(blocks: list[Block]) -> list[Block]:
    """An answer begins with its thoughts and cannot end with them. Thoughts between words stay where they were
    thought, if the answer began with others."""
    if blocks and not _is_thought(blocks[0]):
        blocks = sorted(blocks, key=_is_word)
    while blocks and _is_thought(blocks[-1]):
        blocks = blocks[:-1]
    return blocks


def _is_thought(block: Block) -> bool:
    return isinstance(block, ThinkingBlock | RedactedThinkingBlock)


def _is_word(block: Block) -> bool:
    return not _is_thought(block)
