"""What a stand-in says: as the last words of the user ask, or what it makes of the results of its tools.

`words N` and `think N` say N words, the latter after a thought; `tools N` calls the weather tool N times; `json` fills
in a form; `cut N` breaks off after N words and `fade N` ends there as if it were whole; `fail` is an error inside a
good answer, `refuse STATUS` an error status.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

CITIES = ("Oslo", "Bergen")
THOUGHT = ("Let me ", "think.")
FORM = ('{"city":', '"Oslo",', '"celsius":7}')
SAID_BEFORE_FAILING = 2
CALL_TOKENS = 11

Ending = Literal["whole", "cut", "fade", "fail"]
ENDINGS: dict[str, Ending] = {"cut": "cut", "fade": "fade"}


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]

    @property
    def json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True)
class Saying:
    words: tuple[str, ...] = ()
    thought: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    ending: Ending = "whole"

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def tokens(self) -> int:
        """Without the thought."""
        return len(self.words) + CALL_TOKENS * len(self.calls)


@dataclass(frozen=True)
class Refusing:
    status: int


def saying_for(text: str, results: Sequence[str]) -> Saying | Refusing:
    """`results` are those of the tools called last; with them there is nothing else to say."""
    if results:
        return Saying(words=("It is ", " and ".join(results)))
    verb, number = (*text.split(), "", "")[:2]
    count = int(number) if number else 1
    if verb == "refuse":
        return Refusing(count)
    if verb == "tools":
        return Saying(calls=tuple(Call("weather", {"city": city}) for city in CITIES[:count]))
    if verb == "json":
        return Saying(words=FORM)
    if verb == "fail":
        return Saying(words=words(SAID_BEFORE_FAILING), ending="fail")
    ending = ENDINGS.get(verb, "whole")
    return Saying(words=words(count), thought=THOUGHT if verb == "think" else (), ending=ending)


def words(count: int) -> tuple[str, ...]:
    return tuple(f"word{number} " for number in range(count))
