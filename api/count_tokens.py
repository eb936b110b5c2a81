"""POST /messages/count_tokens: what an input has, by the provider's own count. Free, so nothing is recorded."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.dialects.messages.dialect import MessagesDialect
from api.ai_answer import FAILED
from api.ai_endpoint import AiParts
from api.ai_errors import ErrorFormat
from api.answer_headers import JSON
from api.body import ClientGone, Receive, read_body
from api.errors import failure_from
from api.send import Send, send_whole
from domain.errors import UnsupportedParameter
from domain.ids import RequestId
from domain.ports import Provider


class CountTokensEndpoint:
    def __init__(
        self, parts: AiParts, providers: Mapping[str, Provider], dialect: MessagesDialect, errors: ErrorFormat
    ) -> None:
        self._parts = parts
        self._providers = providers
        self._dialect = dialect
        self.errors = errors

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        request_id = self._parts.new_request_id()
        ident = (b"x-request-id", request_id.encode())
        try:
            body = self._dialect.counted(await self._count(scope, receive, request_id))
        except ClientGone:
            return
        except Exception as error:
            answer = self.errors.whole(failure_from(error, FAILED), request_id)
            await send_whole(send, answer.status, [*answer.raw_headers, ident], answer.body)
            return
        await send_whole(send, 200, [JSON, ident], body)

    async def _count(self, scope: Any, receive: Receive, request_id: RequestId) -> int:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        await self._parts.authenticator.admit(headers)
        request = self._dialect.check_count(await read_body(receive, headers))
        model, _ = self._parts.models.find(request.model, datetime.now(UTC), request.endpoint)
        call = request.call(request_id, model, model.upstream_model)
        try:
            return await self._providers[model.provider].count_tokens(call)
        except UnsupportedParameter as refused:
            raise self._parts.models.with_remedy(refused, request.endpoint) from None
