import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.anthropic.usage import overlaid, usage_of
from domain.pricing import Tokens


def usage(**members: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(members))


def tokens(**members: object) -> Tokens | None:
    found = usage_of(usage(**members))
    return found.tokens if found else None


def test_input_excludes_what_the_cache_was_read_and_written() -> None:
    found = tokens(input_tokens=10, cache_read_input_tokens=200, cache_creation_input_tokens=30, output_tokens=4)

    assert found is not None
    assert found == Tokens(input=10, cached_input=200, cache_write_5m=30, output=4)
    assert found.prompt == 240


def test_cache_writes_are_split_by_how_long_they_are_kept() -> None:
    split = {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}

    assert tokens(input_tokens=1, cache_creation_input_tokens=30, cache_creation=split, output_tokens=0) == Tokens(
        input=1, cache_write_5m=20, cache_write_1h=10
    )
    assert tokens(input_tokens=1, cache_creation=split, output_tokens=0) == Tokens(
        input=1, cache_write_5m=20, cache_write_1h=10
    )


def test_a_later_total_of_cache_writes_outweighs_an_earlier_split() -> None:
    first = usage(
        input_tokens=1,
        output_tokens=1,
        cache_creation_input_tokens=10,
        cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 10},
    )

    found = usage_of(overlaid(first, usage(output_tokens=5, cache_creation_input_tokens=25)))

    assert found is not None
    assert found.tokens == Tokens(input=1, cache_write_5m=15, cache_write_1h=10, output=5)


@pytest.mark.parametrize(("thought", "reasoning"), [(0, 0), (3, 3), (9, 5), (-1, 0), (None, 0)])
def test_thoughts_are_part_of_the_output_and_never_more(thought: int | None, reasoning: int) -> None:
    found = tokens(input_tokens=1, output_tokens=5, output_tokens_details={"thinking_tokens": thought})

    assert found == Tokens(input=1, output=5 - reasoning, reasoning=reasoning)


def test_nulls_and_what_is_not_known_are_passed_by() -> None:
    found = tokens(
        input_tokens=7,
        output_tokens=2,
        cache_creation=None,
        cache_creation_input_tokens=None,
        cache_read_input_tokens=None,
        output_tokens_details=None,
        server_tool_use=None,
        service_tier="standard",
    )

    assert found == Tokens(input=7, output=2)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"{",
        b'"\xff"',
        b'{"input_tokens":-1,"output_tokens":1}',
        b'{"input_tokens":1,"output_tokens":1000000001}',
        b'{"input_tokens":1,"output_tokens":"1"}',
        b'{"input_tokens":1.5,"output_tokens":1}',
        b'{"input_tokens":1,"output_tokens":1,"cache_read_input_tokens":-1}',
        b'{"input_tokens":1,"output_tokens":1,"service_tier":"\xff"}',
    ],
)
def test_what_is_not_credible_is_no_report(raw: bytes) -> None:
    assert usage_of(msgspec.Raw(raw)) is None


def test_the_raw_report_is_verbatim_and_does_not_keep_the_body_it_came_in() -> None:
    body = b'{"usage": {"input_tokens": 1, "output_tokens" : 2}}'
    member = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["usage"]

    found = usage_of(member)

    assert found is not None
    assert bytes(found.raw) == b'{"input_tokens": 1, "output_tokens" : 2}'
    assert memoryview(found.raw).obj is not body


def test_of_two_reports_the_last_value_that_is_not_null_counts() -> None:
    merged = overlaid(
        usage(input_tokens=5, output_tokens=1, service_tier="standard"),
        usage(input_tokens=None, output_tokens=40, server_tool_use=None),
    )

    assert msgspec.json.decode(merged) == {
        "input_tokens": 5,
        "output_tokens": 40,
        "service_tier": "standard",
        "server_tool_use": None,
    }


def test_a_report_that_is_not_readable_changes_nothing() -> None:
    assert msgspec.json.decode(overlaid(usage(input_tokens=5), msgspec.Raw(b"[1]"))) == {"input_tokens": 5}


_counts = st.none() | st.integers(min_value=-5, max_value=2 * 10**9)
_reports = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": _counts,
        "output_tokens": _counts,
        "cache_read_input_tokens": _counts,
        "cache_creation_input_tokens": _counts,
        "cache_creation": st.none()
        | st.fixed_dictionaries({"ephemeral_5m_input_tokens": _counts, "ephemeral_1h_input_tokens": _counts}),
        "output_tokens_details": st.none() | st.fixed_dictionaries({"thinking_tokens": _counts}),
    },
)


@given(_reports)
def test_the_classes_add_up_to_the_totals_of_the_report(report: dict[str, int | None]) -> None:
    found = tokens(**report)

    if found is None:
        return
    assert all(count >= 0 for count in msgspec.structs.astuple(found))
    assert found.completion == (report.get("output_tokens") or 0)
    assert found.input == (report.get("input_tokens") or 0)
    written = report.get("cache_creation_input_tokens")
    if written is not None:
        assert found.cache_write_5m + found.cache_write_1h == written
