"""What a whole answer and the chunks of a streamed one say in the same words.

Beyond OpenAI's own: `thinking_blocks` (what a model thought, as far as its provider signed it and wants it back),
`citations` in the provider's words, `extra_content` with Google's signatures.
"""

from collections.abc import Sequence
from typing import Any

from domain.answer import Citation, TokenLogprob

ID_PREFIX = "chatcmpl-"


def tool_call(ident: str, name: str, arguments: str, signature: str | None) -> dict[str, Any]:
    call = {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
    return call | extra_content(signature)


def extra_content(signature: str | None) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def thinking_block(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted_thinking_block(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {"content": [_token(token) | {"top_logprobs": [_token(other) for other in token.top]} for token in tokens]}


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": token.bytes}


def citations(cited: Sequence[Citation], text_chars: int) -> dict[str, Any]:
    """`annotations` span the whole text: where in it a source was used stands in the provider's own words."""
    annotations = [
        {
            "type": "url_citation",
            "url_citation": {"url": one.url, "title": one.title or "", "start_index": 0, "end_index": text_chars},
        }
        for one in cited
        if one.url is not None
    ]
    said: dict[str, Any] = {"citations": [one.raw for one in cited]} if cited else {}
    return said | ({"annotations": annotations} if annotations else {})
