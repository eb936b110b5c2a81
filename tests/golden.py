"""Facts and messages as they were written once, byte for byte. A literal here is never edited.

A fact that must change gets a new tag, and its old literal keeps its old reading.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.account import AccountOpened
from domain.catalog import ModelListed, ModelPriced
from domain.catalog_sources import CatalogApplied
from domain.claim import EmailClaimed
from domain.declared_deployment import DeploymentRemoved, DeploymentSet
from domain.declared_limits import LimitsRemoved, LimitsSet
from domain.declared_route import RouteRemoved, RouteSet
from domain.deployment import Deployment, Limits, Route
from domain.ids import AccountId, KeyId, LeaseId, RequestId, SessionId, UserId
from domain.key import KeyIssued, KeyRevoked
from domain.ledger import (
    CreditGranted,
    CreditLeased,
    LeaseExpired,
    LeaseExtended,
    LeaseReturned,
    ModelUsage,
    UsageCharged,
)
from domain.pricing import Rates, Tier, Tokens
from domain.request import (
    RequestAbandoned,
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestCompleted,
    RequestFailed,
)
from domain.response_cache import CachePolicy
from domain.semantic_cache import SemanticPolicy
from domain.session import SessionClosed, SessionOpened, SessionRefreshed
from domain.user import ProfileChanged, UserRegistered

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)
ACC, USR, KEY, LEA = AccountId("acc1"), UserId("usr1"), KeyId("key1"), LeaseId("lea1")
REQ, SES = RequestId("req_1"), SessionId("ses1")
OF_USER: dict[str, Any] = {"user_id": USR, "account_id": ACC, "at": AT}
OF_LEDGER: dict[str, Any] = {"account_id": ACC, "at": AT}
OF_REQUEST: dict[str, Any] = {
    "request_id": REQ,
    "account_id": ACC,
    "at": AT,
    "lease_id": LEA,
    "model": "gpt-4o",
    "provider": "openai",
    "price_id": "p1",
}
LEASELESS = {name: value for name, value in OF_REQUEST.items() if name != "lease_id"}
EVERY: dict[str, Any] = {"key_id": KEY, "user_id": USR, "stream": True}
MEASURED: dict[str, Any] = {
    "cost_nanos": 30,
    "evidence": "reported",
    "tokens": Tokens(input=10, cached_input=2, output=5),
    "usage": msgspec.Raw(b'{"prompt_tokens": 12}'),
    "upstream_model": "gpt-4o-2024-08-06",
    "duration_ms": 900,
    "first_token_ms": 120,
    "client_gone": True,
}
ROUTED: dict[str, Any] = {"attempts": 2, "deployment": "azure-eu", "hedged": True}

EU = Deployment(
    name="gpt-eu",
    model="gpt-4o",
    provider="openai",
    upstream_model="gpt-4o-2024-08-06",
    base_url="https://eu.api.openai.com/v1",
    key_ref="OPENAI_API_KEY_2",
    region="eu",
    weight=3,
    priority=1,
    limits=Limits(rpm=10, tpm=1_000, concurrent=2),
)
FAST = Route(
    name="fast",
    deployments=("gpt-eu",),
    strategy="sticky",
    fallback_models=("gpt-4o",),
    context_fallbacks=("o3",),
    content_fallbacks=("o1",),
    attempts_max=2,
    attempt_timeout_s=30.0,
    total_timeout_s=60.0,
    hedge_after_s=1.5,
    sticky_by="user",
    retry_unknown=False,
)
CACHED = CachePolicy(
    ttl_s=60, scope="shared", max_bytes=1_000, semantic=SemanticPolicy(embedding_model="e", threshold=0.9)
)

GOLDEN: list[tuple[Any, bytes]] = [
    (
        AccountOpened(account_id=ACC, owner=USR, at=AT),
        b'{"type":"account.opened.v1","account_id":"acc1","owner":"usr1","at":"2026-01-02T03:04:05.678901Z"}',
    ),
    (
        ModelListed(
            model="gpt-4o",
            at=AT,
            provider="openai",
            upstream_model="gpt-4o-2024-08-06",
            context_length=128_000,
            max_output_tokens=16_384,
            owned_by="openai",
            input_modalities=("text", "image"),
            kind="embedding",
            capabilities=("dimensions", "batch"),
        ),
        b'{"type":"catalog.model_listed.v1","model":"gpt-4o","at":"2026-01-02T03:04:05.678901Z","provider":"'
        b'openai","upstream_model":"gpt-4o-2024-08-06","context_length":128000,"max_output_tokens":16384,"ow'
        b'ned_by":"openai","input_modalities":["text","image"],"kind":"embedding","capabilities":["dimension'
        b's","batch"]}',
    ),
    (
        ModelPriced(
            model="gpt-4o",
            at=AT,
            price_id="p1",
            valid_from=LATER,
            rates=Rates(input=2, cached_input=1, above=(Tier(200_000, Rates(input=4, output=6)),)),
            batch=Rates(input=1, above=(Tier(200_000, Rates(input=2)),)),
        ),
        b'{"type":"catalog.model_priced.v1","model":"gpt-4o","at":"2026-01-02T03:04:05.678901Z","price_id":"'
        b'p1","valid_from":"2026-01-02T03:05:05Z","rates":{"input":2,"cached_input":1,"above":[{"above_promp'
        b't_tokens":200000,"rates":{"input":4,"output":6}}]},"batch":{"input":1,"above":[{"above_prompt_toke'
        b'ns":200000,"rates":{"input":2}}]}}',
    ),
    (
        CatalogApplied(
            source="admin",
            at=AT,
            digest="d1",
            deployments=("gpt-eu",),
            routes=("fast",),
            limits=("key:*",),
            whole=True,
        ),
        b'{"type":"catalog.applied.v1","source":"admin","at":"2026-01-02T03:04:05.678901Z","digest":"d1","de'
        b'ployments":["gpt-eu"],"routes":["fast"],"limits":["key:*"],"whole":true}',
    ),
    (
        DeploymentSet(deployment=EU, at=AT),
        b'{"type":"catalog.deployment_set.v1","at":"2026-01-02T03:04:05.678901Z","deployment":{"name":"gpt-e'
        b'u","model":"gpt-4o","provider":"openai","upstream_model":"gpt-4o-2024-08-06","base_url":"https://e'
        b'u.api.openai.com/v1","key_ref":"OPENAI_API_KEY_2","region":"eu","weight":3,"priority":1,"limits":{'
        b'"rpm":10,"tpm":1000,"concurrent":2}}}',
    ),
    (
        DeploymentRemoved(name="gpt-eu", at=AT),
        b'{"type":"catalog.deployment_removed.v1","at":"2026-01-02T03:04:05.678901Z","name":"gpt-eu"}',
    ),
    (
        RouteSet(route=FAST, cache=CACHED, at=AT),
        b'{"type":"catalog.route_set.v1","at":"2026-01-02T03:04:05.678901Z","route":{"name":"fast","deployme'
        b'nts":["gpt-eu"],"strategy":"sticky","fallback_models":["gpt-4o"],"context_fallbacks":["o3"],"conte'
        b'nt_fallbacks":["o1"],"attempts_max":2,"attempt_timeout_s":30.0,"total_timeout_s":60.0,"hedge_after'
        b'_s":1.5,"sticky_by":"user","retry_unknown":false},"cache":{"ttl_s":60,"scope":"shared","max_bytes"'
        b':1000,"semantic":{"embedding_model":"e","threshold":0.9}}}',
    ),
    (
        RouteRemoved(name="fast", at=AT),
        b'{"type":"catalog.route_removed.v1","at":"2026-01-02T03:04:05.678901Z","name":"fast"}',
    ),
    (
        LimitsSet(
            scope="key",
            subject="*",
            at=AT,
            requests_per_minute=60,
            requests_per_day=1_000,
            tokens_per_minute=100_000,
            tokens_per_day=1_000_000,
            concurrent=4,
            spend_per_day_nanos=5_000_000_000,
            spend_per_month_nanos=50_000_000_000,
        ),
        b'{"type":"catalog.limits_set.v1","scope":"key","subject":"*","at":"2026-01-02T03:04:05.678901Z","re'
        b'quests_per_minute":60,"requests_per_day":1000,"tokens_per_minute":100000,"tokens_per_day":1000000,'
        b'"concurrent":4,"spend_per_day_nanos":5000000000,"spend_per_month_nanos":50000000000}',
    ),
    (
        LimitsRemoved(scope="plan", subject="free", at=AT),
        b'{"type":"catalog.limits_removed.v1","scope":"plan","subject":"free","at":"2026-01-02T03:04:05.678901Z"}',
    ),
    (
        EmailClaimed(email_hash="e1f2", user_id=USR, account_id=ACC, at=AT),
        b'{"type":"claim.email_claimed.v1","email_hash":"e1f2","user_id":"usr1","account_id":"acc1","at":"'
        b'2026-01-02T03:04:05.678901Z"}',
    ),
    (
        KeyIssued(
            **OF_USER,
            key_id=KEY,
            name="My key",
            prefix="agg_live_ab",
            last4="wxyz",
            secret_hash="5ec2e7",
            expires_at=LATER,
        ),
        b'{"type":"key.issued.v1","key_id":"key1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","'
        b'user_id":"usr1","name":"My key","prefix":"agg_live_ab","last4":"wxyz","secret_hash":"5ec2e7","ex'
        b'pires_at":"2026-01-02T03:05:05Z"}',
    ),
    (
        KeyRevoked(key_id=KEY, account_id=ACC, at=AT),
        b'{"type":"key.revoked.v1","key_id":"key1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z"}',
    ),
    (
        CreditGranted(
            **OF_LEDGER,
            amount_nanos=5_000_000_000,
            source="promotion",
            reason="Welcome",
            balance_after_nanos=5_000_000_001,
        ),
        b'{"type":"ledger.credit_granted.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","amoun'
        b't_nanos":5000000000,"source":"promotion","reason":"Welcome","balance_after_nanos":5000000001}',
    ),
    (
        CreditLeased(**OF_LEDGER, lease_id=LEA, worker="api-1", amount_nanos=500_000_000, expires_at=LATER),
        b'{"type":"ledger.credit_leased.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","lease_'
        b'id":"lea1","worker":"api-1","amount_nanos":500000000,"expires_at":"2026-01-02T03:05:05Z"}',
    ),
    (
        LeaseExtended(**OF_LEDGER, lease_id=LEA, amount_nanos=100, expires_at=LATER),
        b'{"type":"ledger.lease_extended.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","lease'
        b'_id":"lea1","amount_nanos":100,"expires_at":"2026-01-02T03:05:05Z"}',
    ),
    (
        LeaseReturned(**OF_LEDGER, lease_id=LEA, amount_nanos=50, final=True),
        b'{"type":"ledger.lease_returned.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","lease'
        b'_id":"lea1","amount_nanos":50,"final":true}',
    ),
    (
        LeaseExpired(**OF_LEDGER, lease_id=LEA, released_nanos=70),
        b'{"type":"ledger.lease_expired.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","lease_'
        b'id":"lea1","released_nanos":70}',
    ),
    (
        UsageCharged(
            **OF_LEDGER,
            from_position=7,
            to_position=12,
            amount_nanos=30,
            by_lease={LEA: 30},
            by_model={"gpt-4o": ModelUsage(2, 30, Tokens(input=10, output=5))},
            balance_after_nanos=4_999_999_971,
        ),
        b'{"type":"ledger.usage_charged.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","from_p'
        b'osition":7,"to_position":12,"amount_nanos":30,"by_lease":{"lea1":30},"by_model":{"gpt-4o":{"requ'
        b'ests":2,"cost_nanos":30,"tokens":{"input":10,"output":5}}},"balance_after_nanos":4999999971}',
    ),
    (
        SessionOpened(**OF_USER, session_id=SES, salt="5a17", expires_at=LATER),
        b'{"type":"session.opened.v1","user_id":"usr1","account_id":"acc1","session_id":"ses1","at":"2026-'
        b'01-02T03:04:05.678901Z","salt":"5a17","expires_at":"2026-01-02T03:05:05Z"}',
    ),
    (
        SessionRefreshed(**OF_USER, session_id=SES, generation=2, expires_at=LATER),
        b'{"type":"session.refreshed.v1","user_id":"usr1","account_id":"acc1","session_id":"ses1","at":"20'
        b'26-01-02T03:04:05.678901Z","generation":2,"expires_at":"2026-01-02T03:05:05Z"}',
    ),
    (
        SessionClosed(**OF_USER, session_id=SES, reason="refresh_reuse"),
        b'{"type":"session.closed.v1","user_id":"usr1","account_id":"acc1","session_id":"ses1","at":"2026-'
        b'01-02T03:04:05.678901Z","reason":"refresh_reuse"}',
    ),
    (
        UserRegistered(**OF_USER, email_sealed="s1", name_sealed="s2", password_sealed="s3", role="admin"),
        b'{"type":"user.registered.v1","user_id":"usr1","account_id":"acc1","at":"2026-01-02T03:04:05.6789'
        b'01Z","email_sealed":"s1","name_sealed":"s2","password_sealed":"s3","role":"admin"}',
    ),
    (
        ProfileChanged(**OF_USER, name_sealed="s4"),
        b'{"type":"user.profile_changed.v1","user_id":"usr1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","name_sealed":"s4"}',
    ),
    (
        RequestAdmitted(
            **OF_REQUEST,
            **EVERY,
            endpoint="chat.completions",
            upstream_model="gpt-4o-2024-08-06",
            reserved_nanos=100,
            input_estimate=12,
            input_estimate_nanos=24,
            route="fast",
            choice=msgspec.Raw(b'{"strategy": "weighted"}'),
        ),
        b'{"type":"request.admitted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1"'
        b',"user_id":"usr1","stream":true,"endpoint":"chat.completions","upstream_model":"gpt-4o-2024-08-0'
        b'6","reserved_nanos":100,"input_estimate":12,"input_estimate_nanos":24,"route":"fast","choice":{"'
        b'strategy": "weighted"}}',
    ),
    (
        RequestAttempted(
            **OF_REQUEST,
            **EVERY,
            number=2,
            deployment="azure-eu",
            upstream_model="gpt-4o-2024-08-06",
            error_kind="refused",
            message="Too fast.",
            upstream_status=429,
            tokens=Tokens(input=10),
            cost_nanos=25,
            duration_ms=80,
            evidence="estimated",
        ),
        b'{"type":"request.attempted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1",'
        b'"user_id":"usr1","stream":true,"number":2,"deployment":"azure-eu","upstream_model":"gpt-4o-2024-0'
        b'8-06","error_kind":"refused","message":"Too fast.","upstream_status":429,"tokens":{"input":10},"c'
        b'ost_nanos":25,"duration_ms":80,"evidence":"estimated"}',
    ),
    (
        RequestCompleted(**OF_REQUEST, **EVERY, **MEASURED, **ROUTED, finish_reason="tool_calls"),
        b'{"type":"request.completed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1'
        b'","user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cac'
        b'hed_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","dur'
        b'ation_ms":900,"first_token_ms":120,"client_gone":true,"attempts":2,"deployment":"azure-eu",'
        b'"hedged":true,"finish_reason":"tool_calls"}',
    ),
    (
        RequestFailed(
            **OF_REQUEST, **EVERY, **MEASURED, **ROUTED, error_kind="refused", message="Too fast.", upstream_status=429
        ),
        b'{"type":"request.failed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05.6'
        b'78901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1","'
        b'user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cached'
        b'_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","durati'
        b'on_ms":900,"first_token_ms":120,"client_gone":true,'
        b'"attempts":2,"deployment":"azure-eu","hedged":true,"error_kind":"refused","message":"Too fast.",'
        b'"upstream_status":429}',
    ),
    (
        RequestAbandoned(**OF_REQUEST, **EVERY, **MEASURED, **ROUTED, policy="input_estimate.v1"),
        b'{"type":"request.abandoned.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1'
        b'","user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cac'
        b'hed_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","dur'
        b'ation_ms":900,"first_token_ms":120,"client_gone":true,"attempts":2,"deployment":"azure-eu",'
        b'"hedged":true,"policy":"input_estimate.v1"}',
    ),
    (
        RequestCached(
            **OF_REQUEST,
            **EVERY,
            **MEASURED,
            **ROUTED,
            endpoint="chat.completions",
            route="fast",
            finish_reason="tool_calls",
            similarity=0.9731,
            saved_nanos=270,
        ),
        b'{"type":"request.cached.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05.6'
        b'78901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1","'
        b'user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cached'
        b'_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","durati'
        b'on_ms":900,"first_token_ms":120,"client_gone":true,"attempts":2,"deployment":"azure-eu","hedged"'
        b':true,"endpoint":"chat.completions","route":"fast","finish_reason":"tool_calls","similarity":0.9'
        b'731,"saved_nanos":270}',
    ),
]

LEAN: list[tuple[Any, bytes]] = [
    (
        RequestCompleted(**OF_REQUEST, cost_nanos=0, evidence="none"),
        b'{"type":"request.completed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","cost_nanos":0'
        b',"evidence":"none"}',
    ),
    (
        RequestFailed(**OF_REQUEST, cost_nanos=0, evidence="none", error_kind="broken", message="Cut."),
        b'{"type":"request.failed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05.6'
        b'78901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","cost_nanos":0,"e'
        b'vidence":"none","error_kind":"broken","message":"Cut."}',
    ),
    (
        RequestAbandoned(**OF_REQUEST, cost_nanos=3, evidence="estimated", policy="input_estimate.v1"),
        b'{"type":"request.abandoned.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","cost_nanos":3'
        b',"evidence":"estimated","policy":"input_estimate.v1"}',
    ),
    (
        RequestAdmitted(
            **OF_REQUEST,
            endpoint="chat.completions",
            upstream_model="m",
            reserved_nanos=0,
            input_estimate=1,
            input_estimate_nanos=0,
        ),
        b'{"type":"request.admitted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","endpoint":"cha'
        b't.completions","upstream_model":"m","reserved_nanos":0,"input_estimate":1,"input_estimate_nanos"'
        b":0}",
    ),
    (
        ModelListed(
            model="gpt-4o",
            at=AT,
            provider="openai",
            upstream_model="gpt-4o-2024-08-06",
            context_length=128_000,
            max_output_tokens=16_384,
            owned_by="openai",
            input_modalities=("text", "image"),
        ),
        b'{"type":"catalog.model_listed.v1","model":"gpt-4o","at":"2026-01-02T03:04:05.678901Z","provider"'
        b':"openai","upstream_model":"gpt-4o-2024-08-06","context_length":128000,"max_output_tokens":16384'
        b',"owned_by":"openai","input_modalities":["text","image"]}',
    ),
    (
        ModelPriced(
            model="gpt-4o",
            at=AT,
            price_id="p1",
            valid_from=LATER,
            rates=Rates(input=2_500_000_000, output=10_000_000_000, cached_input=0, audio_input=7),
        ),
        b'{"type":"catalog.model_priced.v1","model":"gpt-4o","at":"2026-01-02T03:04:05.678901Z","price_id"'
        b':"p1","valid_from":"2026-01-02T03:05:05Z","rates":{"input":2500000000,"output":10000000000,"cach'
        b'ed_input":0,"audio_input":7}}',
    ),
    (
        CatalogApplied(source="file", at=AT),
        b'{"type":"catalog.applied.v1","source":"file","at":"2026-01-02T03:04:05.678901Z"}',
    ),
    (
        DeploymentSet(
            deployment=Deployment(name="d", model="gpt-4o", provider="openai", upstream_model="gpt-4o"), at=AT
        ),
        b'{"type":"catalog.deployment_set.v1","at":"2026-01-02T03:04:05.678901Z","deployment":{"name":"d","m'
        b'odel":"gpt-4o","provider":"openai","upstream_model":"gpt-4o"}}',
    ),
    (
        RouteSet(route=Route(name="fast", deployments=("gpt-eu",)), at=AT),
        b'{"type":"catalog.route_set.v1","at":"2026-01-02T03:04:05.678901Z","route":{"name":"fast","deployme'
        b'nts":["gpt-eu"]}}',
    ),
    (
        LimitsSet(scope="account", subject="acc1", at=AT, concurrent=0),
        b'{"type":"catalog.limits_set.v1","scope":"account","subject":"acc1","at":"2026-01-02T03:04:05.67890'
        b'1Z","concurrent":0}',
    ),
    (
        RequestAdmitted(
            **OF_REQUEST,
            **EVERY,
            endpoint="chat.completions",
            upstream_model="gpt-4o-2024-08-06",
            reserved_nanos=100,
            input_estimate=12,
            input_estimate_nanos=24,
        ),
        b'{"type":"request.admitted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1"'
        b',"user_id":"usr1","stream":true,"endpoint":"chat.completions","upstream_model":"gpt-4o-2024-08-0'
        b'6","reserved_nanos":100,"input_estimate":12,"input_estimate_nanos":24}',
    ),
    (
        RequestCompleted(**OF_REQUEST, **EVERY, **MEASURED, finish_reason="tool_calls"),
        b'{"type":"request.completed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1'
        b'","user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cac'
        b'hed_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","dur'
        b'ation_ms":900,"first_token_ms":120,"client_gone":true,"finish_reason":"tool_calls"}',
    ),
    (
        RequestFailed(
            **OF_REQUEST, **EVERY, **MEASURED, error_kind="refused", message="Too fast.", upstream_status=429
        ),
        b'{"type":"request.failed.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05.6'
        b'78901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1","'
        b'user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cached'
        b'_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","durati'
        b'on_ms":900,"first_token_ms":120,"client_gone":true,"error_kind":"refused","message":"Too fast.",'
        b'"upstream_status":429}',
    ),
    (
        RequestAbandoned(**OF_REQUEST, **EVERY, **MEASURED, policy="input_estimate.v1"),
        b'{"type":"request.abandoned.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:0'
        b'5.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","key_id":"key1'
        b'","user_id":"usr1","stream":true,"cost_nanos":30,"evidence":"reported","tokens":{"input":10,"cac'
        b'hed_input":2,"output":5},"usage":{"prompt_tokens": 12},"upstream_model":"gpt-4o-2024-08-06","dur'
        b'ation_ms":900,"first_token_ms":120,"client_gone":true,"policy":"input_estimate.v1"}',
    ),
    (
        RequestAttempted(
            **OF_REQUEST, number=1, deployment="azure-eu", upstream_model="m", error_kind="timeout", message="Late."
        ),
        b'{"type":"request.attempted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05'
        b'.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","number":1,"depl'
        b'oyment":"azure-eu","upstream_model":"m","error_kind":"timeout","message":"Late."}',
    ),
    (
        RequestCached(**LEASELESS, cost_nanos=0, endpoint="chat.completions"),
        b'{"type":"request.cached.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:04:05.6'
        b'78901Z","model":"gpt-4o","provider":"openai","price_id":"p1","cost_nanos":0,"endpoint":"chat.com'
        b'pletions"}',
    ),
    (
        RouteSet(route=Route(name="fast", deployments=("gpt-eu",)), cache=CachePolicy(ttl_s=60, hit_percent=10), at=AT),
        b'{"type":"catalog.route_set.v1","at":"2026-01-02T03:04:05.678901Z","route":{"name":"fast","deploy'
        b'ments":["gpt-eu"]},"cache":{"ttl_s":60,"hit_percent":10}}',
    ),
]

EVT_MESSAGE = (
    b'{"specversion":"1.0","id":"2f6c9a1e-0000-5000-8000-000000000001","source":"/api/api-1","type":"l'
    b'edger.credit_leased.v1","subject":"ledger/acc1","time":"2026-01-02T03:04:05.678901Z","accountid"'
    b':"acc1","sequence":2,"actor":"worker:api-1","correlationid":"req_1","causationid":"c0","prevhash'
    b'":"abababababababababababababababababababababababababababababababab","data":{"type":"ledger.cred'
    b'it_leased.v1","account_id":"acc1","at":"2026-01-02T03:04:05.678901Z","lease_id":"lea1","worker":'
    b'"api-1","amount_nanos":500000000,"expires_at":"2026-01-02T03:05:05Z","after":{"balance_nanos":50'
    b'00000000,"leases":{"lea1":{"worker":"api-1","open_nanos":500000000,"expires_at":"2026-01-02T03:0'
    b'5:05Z","closing":false}},"settled_to":12}}}'
)

REQ_MESSAGE = (
    b'[{"specversion":"1.0","id":"api-1/41","source":"/workers/api-1","type":"request.admitted.v1","su'
    b'bject":"request/req_1","time":"2026-01-02T03:04:05.678901Z","accountid":"acc1","sequence":41,"da'
    b'ta":{"type":"request.admitted.v1","request_id":"req_1","account_id":"acc1","at":"2026-01-02T03:0'
    b'4:05.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","endpoint":'
    b'"chat.completions","upstream_model":"m","reserved_nanos":0,"input_estimate":1,"input_estimate_na'
    b'nos":0}},{"specversion":"1.0","id":"api-1/42","source":"/workers/api-1","type":"request.complete'
    b'd.v1","subject":"request/req_1","time":"2026-01-02T03:04:05.678901Z","accountid":"acc1","sequenc'
    b'e":42,"data":{"type":"request.completed.v1","request_id":"req_1","account_id":"acc1","at":"2026-'
    b'01-02T03:04:05.678901Z","lease_id":"lea1","model":"gpt-4o","provider":"openai","price_id":"p1","'
    b'cost_nanos":0,"evidence":"none"}}]'
)
