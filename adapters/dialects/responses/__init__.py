"""OpenAI's Responses API as the client's format: create and stream, without anything stored between two requests."""
