"""Gemini's counts, as classes that are disjoint and add up to its own total."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.gemini import GeminiVocabulary
from domain.answer import Used
from domain.pricing import Tokens
from domain.upstream import Usage


def reported(*usages: Any) -> Usage | None:
    """What a stream of such reports comes to."""
    reader, last = GeminiVocabulary().reader(), None
    for usage in usages:
        raw = usage if isinstance(usage, bytes) else msgspec.json.encode(usage)
        for event in reader.read(b'{"candidates":[{}],"usageMetadata":' + raw + b"}"):
            if isinstance(event, Used):
                last = event.usage
    return last


def tokens(*usages: Any) -> Tokens:
    usage = reported(*usages)
    assert usage is not None
    return usage.tokens


def modalities(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def test_the_prompt_includes_the_cache_and_excludes_built_in_tools_and_thoughts_stand_apart() -> None:
    usage = {
        "promptTokenCount": 294,
        "cachedContentTokenCount": 200,
        "toolUsePromptTokenCount": 605,
        "candidatesTokenCount": 230,
        "thoughtsTokenCount": 158,
        "totalTokenCount": 1287,
    }

    assert tokens(usage) == Tokens(input=699, cached_input=200, output=230, reasoning=158)
    assert tokens(usage).total == 1287


def test_audio_and_images_are_counted_apart_without_what_was_cached_of_them() -> None:
    usage = {
        "promptTokenCount": 17713,
        "cachedContentTokenCount": 17379,
        "candidatesTokenCount": 68,
        "promptTokensDetails": modalities(TEXT=16, VIDEO=15680, AUDIO=1917, IMAGE=100),
        "cacheTokensDetails": modalities(AUDIO=1881, TEXT=15, VIDEO=15383, IMAGE=100),
        "candidatesTokensDetails": modalities(TEXT=60, AUDIO=8),
    }

    assert tokens(usage) == Tokens(input=298, cached_input=17379, audio_input=36, output=60, audio_output=8)


def test_images_of_a_prompt_are_counted_apart() -> None:
    usage = {"promptTokenCount": 345, "promptTokensDetails": modalities(TEXT=87, IMAGE=258), "candidatesTokenCount": 1}

    assert tokens(usage) == Tokens(input=87, image_input=258, output=1)


def test_the_last_report_of_a_stream_counts() -> None:
    first, last = {"promptTokenCount": 5, "candidatesTokenCount": 1}, {"promptTokenCount": 5, "candidatesTokenCount": 4}

    assert tokens(first, last) == Tokens(input=5, output=4)


def test_what_the_last_report_lacks_is_kept_from_before() -> None:
    usage = reported(
        {"promptTokenCount": 5, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 11},
        {"promptTokenCount": 5, "totalTokenCount": 11, "serviceTier": "standard"},
    )

    assert usage is not None
    assert usage.tokens == Tokens(input=5, output=4, reasoning=2)
    assert msgspec.json.decode(usage.raw) == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 11,
        "serviceTier": "standard",
    }


def test_an_output_that_only_the_total_knows_is_output() -> None:
    usage = {"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 10}

    assert tokens(usage) == Tokens(input=5, output=2, reasoning=3)


def test_the_report_is_kept_verbatim() -> None:
    raw = b'{"promptTokenCount" : 5,\n "candidatesTokenCount":1,"trafficType":1}'
    usage = reported(raw)

    assert usage is not None
    assert bytes(usage.raw) == raw


def test_parts_are_cut_to_their_total() -> None:
    usage = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 20,
        "candidatesTokenCount": 3,
        "promptTokensDetails": modalities(AUDIO=50, IMAGE=50),
        "candidatesTokensDetails": modalities(AUDIO=50),
    }

    assert tokens(usage) == Tokens(cached_input=10, audio_output=3)
    assert tokens({**usage, "cachedContentTokenCount": 0}) == Tokens(audio_input=10, audio_output=3)


@pytest.mark.parametrize(
    "usage",
    [
        b"null",
        b"{}",
        b"[]",
        b'"many"',
        b'{"promptTokenCount":-1}',
        b'{"promptTokenCount":1.5}',
        b'{"promptTokenCount":"5"}',
        b'{"promptTokenCount":1000000001}',
        b'{"promptTokenCount":5,"candidatesTokenCount":-1}',
        b'{"promptTokenCount":5,"trafficType":"\xff"}',
    ],
)
def test_what_cannot_be_is_no_report(usage: bytes) -> None:
    assert reported(usage) is None


COUNT = st.integers(0, 10**9)
DETAILS = st.none() | st.builds(modalities, TEXT=COUNT, AUDIO=COUNT, IMAGE=COUNT)


@given(st.tuples(*[COUNT] * 5), st.tuples(*[DETAILS] * 3))
def test_the_classes_add_up_to_geminis_total(counts: tuple[int, ...], details: tuple[Any, ...]) -> None:
    prompt, cached, tools, candidates, thoughts = counts
    made = tokens(
        {
            "promptTokenCount": prompt,
            "cachedContentTokenCount": cached,
            "toolUsePromptTokenCount": tools,
            "candidatesTokenCount": candidates,
            "thoughtsTokenCount": thoughts,
            "promptTokensDetails": details[0],
            "cacheTokensDetails": details[1],
            "candidatesTokensDetails": details[2],
        }
    )

    assert made.prompt == prompt + tools
    assert made.completion == candidates + thoughts
    assert all(getattr(made, name) >= 0 for name in Tokens.__struct_fields__)
