"""By what an answer is found again. Who asks the same once more says it, as a rule, in the very same bytes: the key is
remembered by their hash, which costs a fifth of making it out of what they mean."""

from hashlib import sha256

from adapters.dialects.dialect import ClientRequest
from domain.response_cache import CacheKey, cache_key

REMEMBERED = 10_000
"""Bodies, by their hash: nothing of what was asked is kept."""


class CacheKeys:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bytes], CacheKey | None] = {}

    def of(self, scope: str, request: ClientRequest, body: bytes) -> CacheKey | None:
        """`request` is what `body` says. None for one that is not to be cached; so is one that may leave parameters
        out: the same request without that leave would have been refused."""
        said = scope, request.endpoint, sha256(body).digest()
        known = self._known.get(said)
        if known is None and said not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[said] = _made(scope, request)
        return known


def _made(scope: str, request: ClientRequest) -> CacheKey | None:
    if request.drop_params:
        return None
    return cache_key(scope, request.endpoint, request.model, request.stream, request.members)
