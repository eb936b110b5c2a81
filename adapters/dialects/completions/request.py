"""A text completion as clients of OpenAI's oldest endpoint ask for it: checked, or read into the neutral shape."""

from typing import Annotated

import msgspec

from adapters.dialects.dialect import BYTES_PER_TOKEN, ClientRequest
from adapters.dialects.reading import decoded, refuse_dear_tier, said, unusual
from domain.chat import ChatAsk, Text, Turn
from domain.errors import InvalidInput, UnsupportedParameter
from domain.upstream import ProviderCall

USUAL_OUTPUT_TOKENS = 16
"""What this endpoint gives when nothing is said."""

_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class CompletionRequest(msgspec.Struct):
    """`prompt` is a text, the tokens of one, or several of either."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    drop_params: bool | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, msgspec.Raw] | None = None
    user: str | None = None
    service_tier: str | None = None

    @property
    def prompts(self) -> list[str | int | list[int]]:
        """Tokens that stand alone are one prompt together."""
        if not isinstance(self.prompt, list):
            return [self.prompt or ""]
        tokens = [part for part in self.prompt if isinstance(part, int)]
        texts = [part for part in self.prompt if not isinstance(part, int)]
        return [*texts, tokens] if tokens else list(self.prompt)


_BY_OTHER_MEANS = frozenset({"best_of", "echo", "suffix"})
"""No neutral shape has them: a provider of another format refuses them by name."""

_decode = msgspec.json.Decoder(CompletionRequest).decode
_KNOWN = frozenset(CompletionRequest.__struct_fields__) - _BY_OTHER_MEANS


def check(body: bytes) -> ClientRequest:
    """Each prompt has its choices: `best_of` are made of which `n` are given."""
    request, members = decoded(body, _decode)
    refuse_dear_tier(request.service_tier)
    if request.stream_options is not None and not request.stream:
        raise InvalidInput("stream_options: only allowed when `stream` is true.", field="stream_options")
    prompts = request.prompts
    return ClientRequest(
        endpoint="completions",
        model=request.model,
        members=said(members),
        body_bytes=len(body),
        text_bytes=sum(_text_bytes(prompt) for prompt in prompts),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        drop_params=bool(request.drop_params),
        choices=max(request.n or 1, request.best_of or 1) * len(prompts),
        output_limit=USUAL_OUTPUT_TOKENS if request.max_tokens is None else request.max_tokens,
        entries=len(prompts),
    )


def _text_bytes(prompt: str | int | list[int]) -> int:
    if isinstance(prompt, str):
        return len(prompt.encode())
    return BYTES_PER_TOKEN * (1 if isinstance(prompt, int) else len(prompt))


def read(call: ProviderCall) -> ChatAsk:
    """For a provider of another format: the prompt as what a user says. Raises InvalidInput, UnsupportedParameter."""
    request, members = decoded(msgspec.json.encode(said(call.members)), _decode)
    return ChatAsk(
        model=call.upstream_model,
        turns=(Turn(role="user", parts=(Text(text=_one_text(request)),)),),
        stream=call.stream,
        max_output_tokens=USUAL_OUTPUT_TOKENS if request.max_tokens is None else request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
        seed=request.seed,
        n=unusual(request.n, 1),
        presence_penalty=unusual(request.presence_penalty, 0),
        frequency_penalty=unusual(request.frequency_penalty, 0),
        logprobs=None if request.logprobs is None else True,
        top_logprobs=request.logprobs or None,
        logit_bias=members["logit_bias"] if request.logit_bias else None,
        user=request.user,
        extras={name: value for name, value in members.items() if not _has_been_read(name, request)},
        names={"max_output_tokens": "max_tokens", "top_logprobs": "logprobs"},
    )


def _one_text(request: CompletionRequest) -> str:
    match request.prompt:
        case str(text) | [str(text)]:
            return text
        case _:
            raise UnsupportedParameter(
                "prompt", "prompt: this model takes exactly one text; send one request for each, and no tokens."
            )


def _has_been_read(name: str, request: CompletionRequest) -> bool:
    """Not to echo, and the best of as many as are given, is what happens anyway."""
    if name == "echo":
        return not request.echo
    if name == "best_of":
        return (request.best_of or 1) <= (request.n or 1)
    return name in _KNOWN
