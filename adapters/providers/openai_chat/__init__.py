"""OpenAI's chat completions, and whatever speaks them, as a provider."""

from adapters.providers.openai_chat.errors import read_error
from adapters.providers.openai_chat.native import ChatPassthrough, CompletionsPassthrough
from adapters.providers.openai_chat.requests import OpenAIChatVocabulary

__all__ = ["ChatPassthrough", "CompletionsPassthrough", "OpenAIChatVocabulary", "read_error"]
