"""The life of one AI request on the request log: admitted, attempts that failed, then exactly one end. A request that
an earlier answer was enough for is one event, admitted and ended at once.

An end carries every dimension a reader needs, so that folding it asks for nothing else. The first end in the
log is the one that counts; a later one for the same request is void.
"""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from domain.ids import AccountId, KeyId, LeaseId, RequestId, UserId
from domain.pricing import Tokens
from domain.upstream import Endpoint

Evidence = Literal["reported", "estimated", "bounded", "none"]

UNPRICED = "unpriced"
"""The `price_id` of use that has no price yet: quarantined, held at a fixed ceiling, to be rated later."""
CACHE_HIT = "cache_hit"
"""The `price_id` of an answer that was given again."""
SEMANTIC_CACHE_HIT = "semantic_cache_hit"
"""The same of the answer to a similar question."""
NO_LEASE = LeaseId("")
"""Of what cost nothing and was never open: it holds no credit."""
ABANDONED_POLICY = "input_estimate.v1"
"""A request whose worker died is charged the estimated price of its input: the least that its provider billed."""


class RequestFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    request_id: RequestId
    account_id: AccountId
    at: datetime
    lease_id: LeaseId
    model: str
    provider: str
    price_id: str
    key_id: KeyId | None = None
    user_id: UserId | None = None
    stream: bool = False


class RequestAdmitted(RequestFact, frozen=True, kw_only=True, tag="request.admitted.v1", omit_defaults=True):
    """`reserved_nanos` is the most it may cost; `input_estimate` the tokens its input is thought to have.
    `route` is what was asked for, when that was a route, and `choice` why this one came first (domain.routing.Choice).
    """

    endpoint: Endpoint
    upstream_model: str
    reserved_nanos: int
    input_estimate: int
    input_estimate_nanos: int
    route: str = ""
    choice: msgspec.Raw = msgspec.Raw(b"null")


class RequestAttempted(RequestFact, frozen=True, kw_only=True, tag="request.attempted.v1", omit_defaults=True):
    """A call that ended badly, could not be made, or was given up for another (`error_kind` `hedged`), and did not
    answer the request. `number` counts from 1, as they ended.

    `cost_nanos` is what the provider bills for `tokens`, and is charged to nobody. `evidence` `reported`: by its own
    report, so 0 where there was none. `estimated`: it was cut short and may bill its input.
    """

    number: int
    deployment: str
    upstream_model: str
    error_kind: str
    message: str
    upstream_status: int | None = None
    tokens: Tokens = Tokens()
    cost_nanos: int = 0
    duration_ms: int = 0
    evidence: Evidence = "reported"


class RequestEnd(RequestFact, frozen=True, kw_only=True, omit_defaults=True):
    """`cost_nanos` is what the account is charged. `usage` is the provider's own object, verbatim. `attempts` counts
    calls, the last one too; `deployment` is who was called last, empty for a plain model. `hedged`: two of the calls
    ran side by side."""

    cost_nanos: int
    evidence: Evidence
    tokens: Tokens = Tokens()
    usage: msgspec.Raw = msgspec.Raw(b"null")
    upstream_model: str = ""
    duration_ms: int = 0
    first_token_ms: int | None = None
    client_gone: bool = False
    attempts: int = 1
    deployment: str = ""
    hedged: bool = False


class RequestCompleted(RequestEnd, frozen=True, kw_only=True, tag="request.completed.v1", omit_defaults=True):
    finish_reason: str = "stop"


class RequestFailed(RequestEnd, frozen=True, kw_only=True, tag="request.failed.v1", omit_defaults=True):
    """The upstream call ended badly. Output that was delivered before is charged on `evidence`."""

    error_kind: str
    message: str
    upstream_status: int | None = None


class RequestAbandoned(RequestEnd, frozen=True, kw_only=True, tag="request.abandoned.v1", omit_defaults=True):
    """Its worker died. Charged by `policy`, always written out: a later release's policy is not this one's."""

    policy: str


class RequestCached(RequestEnd, frozen=True, kw_only=True, tag="request.cached.v1", omit_defaults=True):
    """Admitted and ended in one: an earlier answer was enough, and nobody was asked.

    `model` and `provider` are who made that answer; `upstream_model` is what the provider said it used. Nothing was
    used now, so there are no tokens and no `evidence`, though a share of the answer's price may be charged: what it
    cost when it was made is `cost_nanos + saved_nanos`. Free ones are under no lease. `similarity` says of the answer
    to another question how near that one is. For a request that was admitted or ended before, it is void.
    """

    endpoint: Endpoint
    lease_id: LeaseId = NO_LEASE
    evidence: Evidence = "none"
    attempts: int = 0
    route: str = ""
    finish_reason: str = "stop"
    similarity: float | None = None
    saved_nanos: int = 0


RequestEnded: TypeAlias = RequestCompleted | RequestFailed | RequestAbandoned | RequestCached
RequestEvent: TypeAlias = RequestAdmitted | RequestAttempted | RequestEnded


def abandoned(admitted: RequestAdmitted, at: datetime) -> RequestAbandoned:
    """The end of a request whose worker is gone."""
    return RequestAbandoned(
        request_id=admitted.request_id,
        account_id=admitted.account_id,
        at=at,
        lease_id=admitted.lease_id,
        model=admitted.model,
        provider=admitted.provider,
        price_id=admitted.price_id,
        key_id=admitted.key_id,
        user_id=admitted.user_id,
        stream=admitted.stream,
        upstream_model=admitted.upstream_model,
        cost_nanos=min(admitted.input_estimate_nanos, admitted.reserved_nanos),
        evidence="estimated",
        tokens=Tokens(input=admitted.input_estimate),
        policy=ABANDONED_POLICY,
    )
