"""OpenAI's chat completions, and whatever speaks them, as a provider."""

from adapters.providers.openai.errors import read_error
from adapters.providers.openai.native import ChatPassthrough, CompletionsPassthrough
from adapters.providers.openai.requests import OpenAIChatVocabulary

__all__ = ["ChatPassthrough", "CompletionsPassthrough", "OpenAIChatVocabulary", "read_error"]
