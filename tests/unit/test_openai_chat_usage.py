"""Usage as OpenAI and its likes report it, in disjoint classes that sum to the totals."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.openai.usage import usage_of
from domain.pricing import Tokens


def tokens_of(report: object) -> Tokens | None:
    usage = usage_of(msgspec.Raw(msgspec.json.encode(report)))
    return usage.tokens if usage else None


COUNT = st.none() | st.integers(0, 10**9)
DETAIL = st.none() | st.integers(-10, 10**9)
INPUT_DETAILS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens")


@given(COUNT, COUNT, st.tuples(DETAIL, DETAIL, DETAIL, DETAIL), st.tuples(DETAIL, DETAIL))
def test_whatever_the_details_say_the_classes_sum_to_the_totals(
    prompt: int | None, completion: int | None, inputs: tuple[int | None, ...], outputs: tuple[int | None, ...]
) -> None:
    tokens = tokens_of(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": dict(zip(INPUT_DETAILS, inputs, strict=True)),
            "completion_tokens_details": dict(zip(("reasoning_tokens", "audio_tokens"), outputs, strict=True)),
        }
    )

    if tokens is None:
        assert prompt is None
        assert completion is None
    else:
        assert (tokens.prompt, tokens.completion) == (prompt or 0, completion or 0)
        assert all(count >= 0 for count in msgspec.structs.astuple(tokens))


def test_every_part_of_the_input_has_its_class() -> None:
    tokens = tokens_of(
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_tokens_details": {
                "cached_tokens": 40,
                "cache_write_tokens": 30,
                "audio_tokens": 10,
                "image_tokens": 15,
            },
        }
    )

    assert tokens == Tokens(input=5, cached_input=40, cache_write_5m=30, audio_input=10, image_input=15, output=5)


@pytest.mark.parametrize(
    ("total", "output"),
    [(14_428, 1_499), (11_619, 0), (None, 0)],
)
def test_reasoning_that_the_total_counts_beside_the_completion_is_not_lost(total: int | None, output: int) -> None:
    tokens = tokens_of(
        {
            "prompt_tokens": 10_120,
            "completion_tokens": 1_499,
            "total_tokens": total,
            "completion_tokens_details": {"reasoning_tokens": 2_809},
        }
    )

    assert tokens is not None
    assert (tokens.prompt, tokens.output) == (10_120, output)
    assert tokens.reasoning == (2_809 if output else 1_499)


NO_USAGE: list[object] = [
    None,
    {},
    {"total_tokens": 5},
    {"prompt_tokens": "many"},
    {"prompt_tokens": 3.5},
    {"prompt_tokens": -5},
    {"completion_tokens": -1},
    {"completion_tokens": 10**9 + 1},
    {"completion_tokens": 10**30},
    [],
]


@pytest.mark.parametrize("report", NO_USAGE)
def test_usage_that_says_nothing_sensible_is_no_usage(report: object) -> None:
    assert tokens_of(report) is None


@pytest.mark.parametrize(
    "raw", [b"", b"null", b'{"prompt_tokens":1,"note":"\xff"}', b'{"prompt_tokens":1,"x":' + b"[" * 100_000]
)
def test_bytes_that_could_not_be_kept_are_no_usage(raw: bytes) -> None:
    assert usage_of(msgspec.Raw(raw)) is None


def test_usage_of_zero_is_usage() -> None:
    assert tokens_of({"prompt_tokens": 0, "completion_tokens": 0}) == Tokens()


def test_the_report_is_kept_word_for_word() -> None:
    report = b'{ "prompt_tokens": 3, "cost": 0.00010, "completion_tokens": null }'

    usage = usage_of(msgspec.Raw(report))

    assert usage is not None
    assert bytes(usage.raw) == report
