"""One telling value for every member that a client's request may have, by the vendors' SDKs, and what it rests on."""

from typing import Any

Members = dict[str, Any]

TOOL_SCHEMA = {"type": "object", "properties": {}}
CHAT_TOOL = {"type": "function", "function": {"name": "clock", "parameters": TOOL_SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "clock", "parameters": TOOL_SCHEMA, "strict": True}
MESSAGES_TOOL = {"name": "clock", "input_schema": TOOL_SCHEMA}

BASE: dict[str, Members] = {
    "chat.completions": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"model": "m", "prompt": "Hi"},
    "responses": {"model": "m", "input": "Hi"},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
}
RESTS_ON: dict[str, dict[str, Members]] = {
    "chat.completions": {
        "tool_choice": {"tools": [CHAT_TOOL]},
        "parallel_tool_calls": {"tools": [CHAT_TOOL]},
        "top_logprobs": {"logprobs": True},
        "stream_options": {"stream": True},
    },
    "completions": {"stream_options": {"stream": True}},
    "responses": {
        "tool_choice": {"tools": [RESPONSES_TOOL]},
        "parallel_tool_calls": {"tools": [RESPONSES_TOOL]},
        "stream_options": {"stream": True},
    },
    "messages": {"tool_choice": {"tools": [MESSAGES_TOOL]}},
}
TELLING: dict[str, Members] = {
    "chat.completions": {
        "audio": {"voice": "alloy", "format": "mp3"},
        "frequency_penalty": 0.5,
        "function_call": "auto",
        "functions": [{"name": "clock"}],
        "logit_bias": {"7": 1},
        "logprobs": True,
        "max_completion_tokens": 77,
        "max_tokens": 77,
        "messages": [{"role": "user", "content": "Bye"}],
        "metadata": {"team": "a"},
        "modalities": ["text", "audio"],
        "model": "other",
        "moderation": {"model": "omni"},
        "n": 2,
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "x"},
        "presence_penalty": 0.5,
        "prompt_cache_key": "k",
        "prompt_cache_options": {"ttl": "30m"},
        "prompt_cache_retention": "24h",
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "safety_identifier": "s1",
        "seed": 7,
        "service_tier": "flex",
        "stop": ["END"],
        "store": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "tool_choice": "required",
        "tools": [CHAT_TOOL],
        "top_logprobs": 3,
        "top_p": 0.5,
        "user": "u1",
        "verbosity": "low",
        "web_search_options": {},
    },
    "completions": {
        "best_of": 3,
        "echo": True,
        "frequency_penalty": 0.5,
        "logit_bias": {"7": 1},
        "logprobs": 2,
        "max_tokens": 77,
        "model": "other",
        "n": 2,
        "presence_penalty": 0.5,
        "prompt": "Bye",
        "seed": 7,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "suffix": "x",
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u1",
    },
    "responses": {
        "access_programs": ["a"],
        "background": True,
        "background_options": {"a": 1},
        "context_management": [{"type": "compaction"}],
        "conversation": "c1",
        "image": {"a": 1},
        "include": ["message.output_text.logprobs"],
        "input": "Bye",
        "instructions": "Be brief.",
        "max_output_tokens": 77,
        "max_tool_calls": 3,
        "metadata": {"team": "a"},
        "model": "other",
        "moderation": {"model": "omni"},
        "parallel_tool_calls": False,
        "previous_response_id": "resp_1",
        "prompt": {"id": "p"},
        "prompt_cache_key": "k",
        "prompt_cache_options": {"ttl": "30m"},
        "prompt_cache_retention": "24h",
        "reasoning": {"effort": "low"},
        "safety_identifier": "s1",
        "service_tier": "flex",
        "store": True,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}},
        "tool_choice": "required",
        "tools": [RESPONSES_TOOL],
        "top_logprobs": 3,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "u1",
    },
    "messages": {
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "container": "c1",
        "diagnostics": {"a": 1},
        "inference_geo": "us",
        "max_tokens": 77,
        "messages": [{"role": "user", "content": "Bye"}],
        "metadata": {"user_id": "u1"},
        "model": "other",
        "output_config": {"effort": "low"},
        "service_tier": "standard_only",
        "speed": "fast",
        "stop_sequences": ["END"],
        "stream": True,
        "system": "Be brief.",
        "temperature": 0.5,
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "tool_choice": {"type": "any"},
        "tools": [MESSAGES_TOOL],
        "top_k": 7,
        "top_p": 0.5,
        "user_profile_id": "p1",
        "workspace_id": "w1",
    },
}

FOR_THE_GATEWAY: dict[str, dict[str, str]] = {
    "chat.completions": {
        "model": "It is looked up in the catalogue, which names the provider's own.",
        "stream_options": "The gateway always asks for usage, and gives it to who asked for it.",
    },
    "completions": {
        "model": "It is looked up in the catalogue, which names the provider's own.",
        "stream_options": "The gateway always asks for usage, and gives it to who asked for it.",
    },
    "responses": {
        "model": "It is looked up in the catalogue, which names the provider's own.",
        "metadata": "It is given back with the answer, as nothing is stored.",
        "max_tool_calls": "It limits tools of the provider, of which none is served.",
        "stream_options": "It says how a stream is padded, which this one is not.",
    },
    "messages": {"model": "It is looked up in the catalogue, which names the provider's own."},
}
"""Members that do not reach the neutral question, and why that loses nothing."""

NESTED: dict[str, dict[str, tuple[Members, Members]]] = {
    "chat.completions": {
        "tools[].function.strict": (
            {"tools": [CHAT_TOOL]},
            {"tools": [{**CHAT_TOOL, "function": {"name": "clock", "parameters": TOOL_SCHEMA, "strict": True}}]},
        ),
        "messages[].name": (
            {"messages": [{"role": "user", "content": "Hi"}]},
            {"messages": [{"role": "user", "content": "Hi", "name": "ann"}]},
        ),
        "messages[].refusal": (
            {"messages": [{"role": "assistant", "content": "Hi"}]},
            {"messages": [{"role": "assistant", "content": "Hi", "refusal": "No."}]},
        ),
        "messages[].audio": (
            {"messages": [{"role": "assistant", "content": "Hi"}]},
            {"messages": [{"role": "assistant", "content": "Hi", "audio": {"id": "a"}}]},
        ),
        "messages[].function_call": (
            {"messages": [{"role": "assistant", "content": "Hi"}]},
            {"messages": [{"role": "assistant", "content": "Hi", "function_call": {"name": "f", "arguments": ""}}]},
        ),
        "content[].prompt_cache_breakpoint": (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "text",
                                "text": "Hi",
                                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                            }
                        ],
                    }
                ]
            },
        ),
        "content[].image_url.detail": (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://i"}}]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://i", "detail": "low"}}],
                    }
                ]
            },
        ),
    },
    "responses": {
        "reasoning.summary": ({}, {"reasoning": {"summary": "auto"}}),
        "reasoning.generate_summary": ({}, {"reasoning": {"generate_summary": "auto"}}),
        "reasoning.context": ({}, {"reasoning": {"context": "all_turns"}}),
        "reasoning.mode": ({}, {"reasoning": {"mode": "pro"}}),
        "text.verbosity": ({}, {"text": {"verbosity": "low"}}),
        "tools[].defer_loading": ({"tools": [RESPONSES_TOOL]}, {"tools": [{**RESPONSES_TOOL, "defer_loading": True}]}),
        "tools[].output_schema": ({"tools": [RESPONSES_TOOL]}, {"tools": [{**RESPONSES_TOOL, "output_schema": {}}]}),
        "tools[].async": ({"tools": [RESPONSES_TOOL]}, {"tools": [{**RESPONSES_TOOL, "async": True}]}),
        "input[].detail of a file": (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "QUJD"}]}]},
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "QUJD", "detail": "low"}]}]},
        ),
        "input[].prompt_cache_breakpoint": (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {"ttl": "30m"}}],
                    }
                ]
            },
        ),
    },
    "messages": {
        "thinking.display": (
            {"thinking": {"type": "adaptive"}},
            {"thinking": {"type": "adaptive", "display": "summarized"}},
        ),
        "output_config.format": ({}, {"output_config": {"format": {"type": "json_schema", "schema": TOOL_SCHEMA}}}),
        "output_config.unheard_of": ({}, {"output_config": {"unheard_of": 1}}),
        "metadata.unheard_of": ({}, {"metadata": {"unheard_of": 1}}),
        "tool_choice.disable_parallel_tool_use": (
            {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto"}},
            {"tools": [MESSAGES_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        "tools[].cache_control": (
            {"tools": [MESSAGES_TOOL]},
            {"tools": [{**MESSAGES_TOOL, "cache_control": {"type": "ephemeral"}}]},
        ),
        "tools[].defer_loading": ({"tools": [MESSAGES_TOOL]}, {"tools": [{**MESSAGES_TOOL, "defer_loading": True}]}),
        "tools[].input_examples": ({"tools": [MESSAGES_TOOL]}, {"tools": [{**MESSAGES_TOOL, "input_examples": [{}]}]}),
        "tools[].allowed_callers": (
            {"tools": [MESSAGES_TOOL]},
            {"tools": [{**MESSAGES_TOOL, "allowed_callers": ["code"]}]},
        ),
        "tools[].strict": ({"tools": [MESSAGES_TOOL]}, {"tools": [{**MESSAGES_TOOL, "strict": True}]}),
    },
}
"""Members further down, without and with them."""
