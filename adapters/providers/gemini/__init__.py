"""Google AI's Gemini API (`https://generativelanguage.googleapis.com`, v1beta, key in `x-goog-api-key`)."""

from adapters.providers.gemini.chat import GeminiVocabulary
from adapters.providers.gemini.count_tokens import CountTokens
from adapters.providers.gemini.embeddings import GeminiEmbeddings
from adapters.providers.gemini.errors import read_error

__all__ = ["CountTokens", "GeminiEmbeddings", "GeminiVocabulary", "read_error"]
