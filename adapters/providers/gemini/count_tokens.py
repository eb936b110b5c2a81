"""How many tokens a request would have: `countTokens`, which costs nothing."""

import msgspec

from adapters.providers.gemini.errors import error_in_answer
from adapters.providers.gemini.models import method_path, resource_name
from adapters.providers.gemini.request import write_input
from adapters.providers.gemini.usage import Count
from adapters.providers.vocabulary import UNREADABLE
from domain.chat import ChatAsk, Expressible


class _Counted(msgspec.Struct, rename="camel"):
    total_tokens: Count


_decode_counted = msgspec.json.Decoder(_Counted).decode


class CountTokens:
    def path(self, ask: ChatAsk) -> str:
        return method_path(ask.model, "countTokens")

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        """Options that are no input are not looked at. Raises InvalidInput and UnsupportedParameter."""
        request = {"model": resource_name(ask.model)} | write_input(ask, expressible)
        return msgspec.json.encode({"generateContentRequest": request})

    def read(self, body: bytes) -> int:
        """Raises ErrorInAnswer, whatever the bytes are."""
        try:
            return _decode_counted(body).total_tokens
        except UNREADABLE:
            raise error_in_answer(body) from None
