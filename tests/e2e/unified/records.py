"""What the gateway keeps of a request, and what the vendor heard of it."""

from collections.abc import Mapping
from typing import Any

from tests.e2e.people import client_of, ended_request
from tests.e2e.running import Program
from tests.e2e.unified.catalogue import Served
from tests.e2e.vendors.server import Heard, StandIn

CLIENTS_OWN = {"cookie", "x-stainless-lang", "x-forwarded-for", "x-private", "anthropic-beta"}


def record_of(program: Program, headers: Mapping[str, str]) -> dict[str, Any]:
    """With the position of a whole answer one read is enough; that of a stream is the admission's."""
    if "x-agg-cost-usd" not in headers:
        return ended_request(program, headers["x-request-id"])
    with client_of(program.base_url, program.api_key) as client:
        answer = client.get(
            f"/api/v1/requests/{headers['x-request-id']}", params={"min_position": headers["x-agg-position"]}
        )
    assert answer.status_code == 200, answer.text
    record = answer.json()["data"]
    assert record["cost_usd"] == headers["x-agg-cost-usd"]
    return record


def heard_by(stand_in: StandIn, served: Served, program: Program, headers: Mapping[str, str]) -> Heard:
    """The only request that the vendor heard for it: with our credentials and with nothing of the client's."""
    (heard,) = stand_in.heard_for(headers["x-request-id"])
    assert dict(served.credentials).items() <= heard.headers.items()
    others = {"authorization", "x-api-key", "x-goog-api-key"} - served.credentials.keys()
    assert (others | CLIENTS_OWN) & heard.headers.keys() == set()
    assert program.api_key not in str(heard)
    assert stand_in.key not in heard.path
    return heard
