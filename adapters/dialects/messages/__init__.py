"""Anthropic's Messages API, as the format a client speaks."""
