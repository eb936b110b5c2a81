"""Cohere's API v2: `chat.CohereVocabulary`, `embeddings.CohereEmbeddings`, `errors.read_error`."""
