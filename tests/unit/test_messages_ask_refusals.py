from typing import Any

import pytest

from domain.errors import InvalidInput, UnsupportedParameter
from tests.unit.test_messages_ask import asked, assistant, result, text, use, user


@pytest.mark.parametrize(
    ("members", "field"),
    [
        (
            {"messages": [user({"type": "document", "citations": {"enabled": True}, "source": {"type": "text"}})]},
            "messages[0].content[0].citations",
        ),
        (
            {"messages": [user({"type": "document", "context": "c", "source": {"type": "text"}})]},
            "messages[0].content[0].context",
        ),
        (
            {"messages": [assistant(text("a") | {"citations": [{"type": "char_location"}]})]},
            "messages[0].content[0].citations",
        ),
        (
            {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [user({"type": "search_result"})]}, "messages[0].content[0].type"),
        (
            {"messages": [assistant(use("a")), user(result("a", content=[use("b")]))]},
            "messages[1].content[0].content[0].type",
        ),
        ({"thinking": {"type": "next_years"}}, "thinking.type"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]}, "tools[0].input_examples"),
        (
            {"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution_20260120"]}]},
            "tools[0].allowed_callers",
        ),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ],
)
def test_what_only_anthropic_can_do_is_refused_by_its_place(members: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        asked(**members)

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"messages": [user({"type": "image", "source": {"type": "url"}})]}, "messages[0].content[0].source"),
    ],
)
def test_what_is_incomplete_is_refused_by_its_place(members: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        asked(**members)

    assert not isinstance(refused.value, UnsupportedParameter)
    assert refused.value.field == field
