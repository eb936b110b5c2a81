"""Text completions: OpenAI's endpoint before chat completions, which some clients still speak."""
