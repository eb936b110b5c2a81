"""The clients under test, and the headers of the answers that they got."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anthropic
import httpx
import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

Answered = TypeVar("Answered", bound=BaseModel)


@dataclass(frozen=True)
class Clients:
    """None of them tries again. `answers` are the headers of each answer, in order."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic
    plain: httpx.Client
    answers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])

    @staticmethod
    @contextmanager
    def at(base_url: str, key: str) -> Generator["Clients", None, None]:
        answers: list[Mapping[str, str]] = []

        def note(response: Any) -> None:
            answers.append(dict(response.headers))

        hooks: dict[str, Any] = {"response": [note]}
        with (
            openai.DefaultHttpxClient(trust_env=False, event_hooks=hooks) as http,
            anthropic.DefaultHttpxClient(trust_env=False, event_hooks=hooks) as other_http,
            httpx.Client(base_url=base_url, headers={"authorization": f"Bearer {key}"}, trust_env=False) as plain,
        ):
            yield Clients(
                openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, http_client=http, max_retries=0),
                anthropic.Anthropic(base_url=base_url, api_key=key, http_client=other_http, max_retries=0),
                plain,
                answers,
            )

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the last answer."""
        return self.answers[-1]

    def langchain(self, model: str, **options: Any) -> ChatOpenAI:
        return ChatOpenAI(model=model, **self._of_langchain(), **options)

    def langchain_embeddings(self, model: str, **options: Any) -> OpenAIEmbeddings:
        return OpenAIEmbeddings(model=model, **self._of_langchain(), **options)

    def _of_langchain(self) -> dict[str, Any]:
        return {
            "api_key": SecretStr(self.openai.api_key),
            "base_url": str(self.openai.base_url),
            "http_client": self.openai._client,
            "max_retries": 0,
        }


def valid(answered: Answered) -> Answered:
    """SDKs build their objects without a look at the types; this looks."""
    type(answered).model_validate(answered.model_dump(exclude_unset=True, by_alias=True), strict=True)
    return answered
