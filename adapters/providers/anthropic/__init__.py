"""Anthropic's Messages API as a provider for every dialect."""

from adapters.providers.anthropic.errors import read_error
from adapters.providers.anthropic.vocabulary import HEADERS, AnthropicVocabulary

__all__ = ["HEADERS", "AnthropicVocabulary", "read_error"]
