"""How the clients of each AI route are told of a failure: as a whole answer, or as an event of a stream that runs."""

from typing import Protocol

from adapters.dialects.messages import errors as anthropic
from adapters.dialects.responses import errors as responses
from api.errors import Answer, Failure, openai_error, problem


class WholeErrors(Protocol):
    def whole(self, failure: Failure, request_id: str) -> Answer: ...


class ErrorFormat(WholeErrors, Protocol):
    def event(self, failure: Failure, request_id: str) -> bytes:
        """A whole server-sent event, after which the stream ends."""
        ...


class OpenAIErrors:
    def whole(self, failure: Failure, request_id: str) -> Answer:
        return openai_error(failure, request_id)

    def event(self, failure: Failure, request_id: str) -> bytes:
        return b"data: " + openai_error(failure, request_id).body + b"\n\n"


class ResponsesErrors(OpenAIErrors):
    """As OpenAI's, but for the event: it has a type."""

    def event(self, failure: Failure, request_id: str) -> bytes:
        return responses.error_event(failure.kind.code, failure.detail)


class AnthropicErrors:
    """Anthropic's clients know the same statuses; the type of an error follows from its status."""

    def whole(self, failure: Failure, request_id: str) -> Answer:
        openai = openai_error(failure, request_id)
        body = anthropic.error_body(openai.status, failure.detail, request_id)
        return Answer(openai.status, {**openai.headers, "request-id": request_id}, body)

    def event(self, failure: Failure, request_id: str) -> bytes:
        return anthropic.error_event(openai_error(failure, request_id).status, failure.detail, request_id)


class ProblemErrors:
    """Of the routes that are not for AI clients."""

    def whole(self, failure: Failure, request_id: str) -> Answer:
        return problem(failure, request_id)
