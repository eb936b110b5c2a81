"""What another vendor's model left in a conversation in Anthropic's format: Anthropic itself would refuse all of it."""

import re
from typing import TypeAlias

import msgspec

_SUSPECT = re.compile(rb'"extra_content"|"signature"\s*:\s*"(?:[^":]*:|")')
"""Cheaper than to decode: most conversations have known one model only."""

_Members: TypeAlias = dict[str, msgspec.Raw]

_decode_messages = msgspec.json.Decoder(list[_Members]).decode
_decode_blocks = msgspec.json.Decoder(list[_Members]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def without_foreign(messages: msgspec.Raw) -> msgspec.Raw:
    """Without the thoughts that Anthropic did not sign, and without Gemini's signatures of calls."""
    if not _SUSPECT.search(messages):
        return messages
    return msgspec.Raw(_encode([_cleaned(message) for message in _decode_messages(messages)]))


def _cleaned(message: _Members) -> _Members:
    content = bytes(message.get("content", b""))
    if not content.startswith(b"["):
        return message
    blocks = [block for block in _decode_blocks(content) if not _is_foreign_thought(block)]
    for block in blocks:
        block.pop("extra_content", None)
    return {**message, "content": msgspec.Raw(_encode(blocks))}


def _is_foreign_thought(block: _Members) -> bool:
    if bytes(block.get("type", b"")) != b'"thinking"' or "signature" not in block:
        return False
    return not is_own(_decode_text(block["signature"]))


def is_own(signature: str) -> bool:
    """Anthropic's are base64; those of another provider have its name and a colon before them, or are empty."""
    return bool(signature) and ":" not in signature
