"""What other vendors' models left in a conversation in OpenAI's formats: OpenAI refuses members it does not know."""

import re
from typing import TypeAlias

import msgspec

from adapters.providers.vocabulary import UNREADABLE

_SUSPECT = re.compile(rb'"(?:extra_content|thinking_blocks|reasoning_content|citations|encrypted_content)"')
"""Cheaper than to decode: most conversations have known one model only."""
_ADDITIONS = ("extra_content", "thinking_blocks", "reasoning_content", "citations")
_OWN_THOUGHTS = re.compile(rb'^"gAAAA')
"""How what OpenAI encrypted begins: it opens nobody else's."""

_Members: TypeAlias = dict[str, msgspec.Raw]

_decode_list = msgspec.json.Decoder(list[_Members]).decode
_encode = msgspec.json.Encoder().encode


def without_foreign(conversation: msgspec.Raw) -> msgspec.Raw:
    """Of `messages` or `input`: without other vendors' thoughts and signatures. What is no such list stays as it is."""
    if not _SUSPECT.search(conversation):
        return conversation
    try:
        entries = _decode_list(conversation)
        return msgspec.Raw(_encode([_cleaned(entry) for entry in entries if not _is_foreign_thought(entry)]))
    except UNREADABLE:
        return conversation


def _cleaned(entry: _Members) -> _Members:
    kept = _without_additions(entry)
    for name in ("tool_calls", "content"):
        if (parts := kept.get(name)) and bytes(parts).startswith(b"["):
            kept[name] = msgspec.Raw(_encode([_without_additions(part) for part in _decode_list(parts)]))
    return kept


def _without_additions(members: _Members) -> _Members:
    return {name: value for name, value in members.items() if name not in _ADDITIONS}


def _is_foreign_thought(entry: _Members) -> bool:
    encrypted = bytes(entry.get("encrypted_content", b"null"))
    return (
        bytes(entry.get("type", b"")) == b'"reasoning"' and encrypted != b"null" and not _OWN_THOUGHTS.match(encrypted)
    )
