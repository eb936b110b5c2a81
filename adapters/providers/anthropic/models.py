"""What the generations of Claude take, as documented in November 2026. The API answers 400 to what a model does not."""

from typing import Literal

import msgspec

Thinks = Literal["never", "by_budget", "either_way", "by_effort"]
"""`by_budget` is `enabled` with a number of tokens, `by_effort` is `adaptive`, `either_way` takes both."""
Off = Literal["disabled", "between_tools"]

ALL_EFFORTS = ("low", "medium", "high", "xhigh", "max")


class ModelTraits(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of a model that is newer than this table.

    `max_output`: tokens, what is asked for when the client does not say. `thinks_unasked`: without being told to.
    `off`: the word that turns thinking off where it is on; None where it is always on. `samples`: has temperature,
    top_p and top_k. `forces_tools`: can be made to call one. `system_turns`: reads system messages further down.
    """

    max_output: int = 128_000
    thinks: Thinks = "by_effort"
    thinks_unasked: bool = True
    off: Off | None = "disabled"
    efforts: tuple[str, ...] = ALL_EFFORTS
    samples: bool = False
    forces_tools: bool = True
    system_turns: bool = False


_NEWEST = ModelTraits()
_ALWAYS_THINKING = ModelTraits(off=None, system_turns=True)
_NOT_FORCED = ModelTraits(off=None, system_turns=True, forces_tools=False)
_GENERATION_4_6 = ModelTraits(
    thinks="either_way", thinks_unasked=False, efforts=("low", "medium", "high", "max"), samples=True
)
_MANUAL = ModelTraits(max_output=64_000, thinks="by_budget", thinks_unasked=False, efforts=(), samples=True)
_OPUS_4 = ModelTraits(max_output=32_000, thinks="by_budget", thinks_unasked=False, efforts=(), samples=True)
_GENERATION_3_5 = ModelTraits(max_output=8_192, thinks="never", thinks_unasked=False, efforts=(), samples=True)
_OLDEST = ModelTraits(max_output=4_096, thinks="never", thinks_unasked=False, efforts=(), samples=True)

_FAMILIES = {
    "claude-2": _OLDEST,
    "claude-3": _OLDEST,
    "claude-3-5": _GENERATION_3_5,
    "claude-3-7": _MANUAL,
    "claude-haiku-4": _MANUAL,
    "claude-haiku-5": _NEWEST,
    "claude-sonnet-4": _MANUAL,
    "claude-sonnet-4-6": _GENERATION_4_6,
    "claude-sonnet-5": _NEWEST,
    "claude-sonnet-5-5": ModelTraits(off="between_tools", forces_tools=False),
    "claude-opus-4": _OPUS_4,
    "claude-opus-4-5": ModelTraits(
        max_output=64_000, thinks="by_budget", thinks_unasked=False, efforts=("low", "medium", "high"), samples=True
    ),
    "claude-opus-4-6": _GENERATION_4_6,
    "claude-opus-4-7": ModelTraits(thinks_unasked=False),
    "claude-opus-4-8": ModelTraits(thinks_unasked=False, system_turns=True),
    "claude-opus-5": ModelTraits(system_turns=True),
    "claude-opus-5-5": _NOT_FORCED,
    "claude-fable-5": _ALWAYS_THINKING,
    "claude-fable-5-1": _NOT_FORCED,
    "claude-fable-5-2": _NOT_FORCED,
    "claude-mythos-5": _ALWAYS_THINKING,
    "claude-mythos-5-1": _NOT_FORCED,
    "claude-mythos-5-2": _NOT_FORCED,
    "claude-mythos-preview": ModelTraits(thinks="either_way", off=None, efforts=("low", "medium", "high", "max")),
}
_LONGEST_FIRST = sorted(_FAMILIES, key=len, reverse=True)


def traits_of(model: str) -> ModelTraits:
    """By the longest family the name begins with."""
    for family in _LONGEST_FIRST:
        if model.startswith(family):
            return _FAMILIES[family]
    return _NEWEST
