"""The models that the tests ask for, what they cost, and what their vendors report."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.e2e.vendors import anthropic, cohere, gemini, openai
from tests.e2e.vendors.script import Saying
from tests.e2e.vendors.server import StandIn

Tokens = dict[str, int]

COMPATIBLE_KEY_VARIABLE = "NIMBUS_API_KEY"
USD_PER_MILLION = {
    "input": "2.50",
    "cached_input": "0.35",
    "cache_write_5m": "3.125",
    "cache_write_1h": "5.05",
    "output": "10.01",
    "reasoning": "12.5005",
}
EMBEDDING_USD_PER_MILLION = "0.1375"


@dataclass(frozen=True)
class Served:
    """A chat model, and the embedding model of the same vendor if it has one. `credentials` are the headers that the
    vendor must hear."""

    provider: str
    model: str
    upstream_model: str
    credentials: Mapping[str, str]
    embedding_upstream_model: str = ""

    @property
    def embedding_model(self) -> str:
        return f"{self.model}-embedding"

    @property
    def served_model(self) -> str:
        """What the vendor says that it was; Cohere does not."""
        return self.upstream_model if self.provider == "cohere" else f"{self.upstream_model}-served"

    def __str__(self) -> str:
        return self.provider


OPENAI = Served("openai", "mini", "gpt-5-mini", {"authorization": f"Bearer {openai.KEY}"}, "text-embedding-3-small")
ANTHROPIC = Served("anthropic", "sonnet", "claude-sonnet-4-5", {"x-api-key": anthropic.KEY})
GOOGLE = Served("google", "flash", "gemini-3-flash-preview", {"x-goog-api-key": gemini.KEY}, "gemini-embedding-001")
COHERE = Served(
    "cohere", "command", "command-a-reasoning-08-2025", {"authorization": f"Bearer {cohere.KEY}"}, "embed-v4.0"
)
COMPATIBLE = Served(
    "nimbus", "nimbus-70b", "llama-4-70b", {"authorization": f"Bearer {openai.COMPATIBLE_KEY}"}, "bge-m3"
)
ALL = (OPENAI, ANTHROPIC, GOOGLE, COHERE, COMPATIBLE)
EMBEDDING = (OPENAI, GOOGLE, COHERE, COMPATIBLE)


def catalogue(compatible: StandIn) -> str:
    """As a user would write it."""
    provider = f"""
[[providers]]
name = "{COMPATIBLE.provider}"
base_url = "{compatible.base_url}/v1"
api_key_env = "{COMPATIBLE_KEY_VARIABLE}"
"""
    chats = (_entry(each, each.model, each.upstream_model, "chat", USD_PER_MILLION) for each in ALL)
    price = {"input": EMBEDDING_USD_PER_MILLION}
    embeddings = (
        _entry(each, each.embedding_model, each.embedding_upstream_model, "embedding", price) for each in EMBEDDING
    )
    return provider + "".join(chats) + "".join(embeddings)


def _entry(served: Served, model: str, upstream_model: str, kind: str, price: Mapping[str, str]) -> str:
    told = ", ".join(f'{name} = "{usd}"' for name, usd in price.items())
    return f"""
[[models]]
model = "{model}"
provider = "{served.provider}"
upstream_model = "{upstream_model}"
owned_by = "{served.provider}"
kind = "{kind}"
context_length = 200000
max_output_tokens = {8192 if kind == "chat" else 0}
valid_from = "2020-01-01"
usd_per_million = {{ {told} }}
"""


def reported(served: Served, saying: Saying) -> Tokens:
    """The tokens that the vendor bills for it, by class."""
    said, thought = saying.tokens, bool(saying.thought)
    match served.provider:
        case "openai":
            return {"input": 300, "cached_input": 600, "cache_write_5m": 100, "output": said, "reasoning": 20}
        case "anthropic":
            prompt = {"input": 100, "cached_input": 2_000, "cache_write_5m": 300, "cache_write_1h": 40}
            return {**prompt, "output": said, "reasoning": 70 * thought}
        case "google":
            return {"input": 230, "cached_input": 1_000, "output": said, "reasoning": 70}
        case "cohere":
            return {"input": 80, "output": said + 70 * thought}
        case _:
            return {"input": 1_000, "output": said + 70 * thought}


def raw_usage(served: Served, saying: Saying) -> dict[str, Any]:
    """The vendor's own report."""
    match served.provider:
        case "openai":
            return openai.openai_usage(saying)
        case "anthropic":
            return anthropic.usage(saying)
        case "google":
            return gemini.usage(saying.tokens)
        case "cohere":
            return cohere.usage(saying)
        case _:
            return openai.compatible_usage(saying)


def price_nanos(tokens: Tokens, usd_per_million: Mapping[str, str] = USD_PER_MILLION) -> int:
    """By hand, not by the code under test: rounded once, half up."""
    nanos = sum(Decimal(usd_per_million[name]) * count * 1_000 for name, count in tokens.items())
    return int(Decimal(nanos).quantize(Decimal(1), ROUND_HALF_UP))


def prompt_of(tokens: Tokens) -> int:
    return sum(count for name, count in tokens.items() if name not in ("output", "reasoning"))


def completion_of(tokens: Tokens) -> int:
    return tokens["output"] + tokens.get("reasoning", 0)
