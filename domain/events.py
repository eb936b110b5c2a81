"""The union of all facts, and the envelope they travel in. The only list of tags.

The envelope is CloudEvents 1.0 in JSON. On `EVT` each message is one event; on `REQ` each message is a batch.
An aggregate's event carries the state after it as `data.after`, so a cold aggregate is one read.
"""

from datetime import datetime
from typing import Any, get_args

import msgspec

from domain.account import AccountOpened
from domain.catalog import CatalogEvent
from domain.catalog_sources import CatalogApplied
from domain.claim import EmailClaimed
from domain.declared_deployment import DeploymentEvent
from domain.declared_limits import LimitsEvent
from domain.declared_route import RouteEvent
from domain.key import KeyEvent
from domain.ledger import LedgerEvent
from domain.request import RequestEvent
from domain.session import SessionEvent
from domain.upcasting import UPCASTS, Upcasts, upcast
from domain.user import UserEvent

DeclaredFact = CatalogApplied | DeploymentEvent | LimitsEvent | RouteEvent
AggregateFact = (
    AccountOpened | CatalogEvent | DeclaredFact | EmailClaimed | KeyEvent | LedgerEvent | SessionEvent | UserEvent
)
Fact = AggregateFact | RequestEvent

FACTS: dict[str, type[Any]] = {cls.__struct_config__.tag: cls for cls in get_args(Fact)}  # type: ignore[misc]
_DECODERS = {tag: msgspec.json.Decoder(cls) for tag, cls in FACTS.items()}


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`sequence` counts an aggregate's events from 1, or a worker's request events. `prevhash` is the SHA-256 of
    the aggregate's previous message as stored, empty for the first."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    accountid: str
    sequence: int
    actor: str = ""
    correlationid: str = ""
    causationid: str = ""
    prevhash: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class UnknownFact(Exception):
    """This release does not know the tag: written by a newer one, or not ours."""

    def __init__(self, tag: str) -> None:
        super().__init__(f"unknown event type {tag!r}")
        self.tag = tag


_envelope = msgspec.json.Decoder(Envelope)
_batch = msgspec.json.Decoder(list[Envelope])


def tag_of(fact: object) -> str:
    return fact.__struct_config__.tag  # type: ignore[attr-defined]


def decode_envelope(raw: bytes) -> Envelope:
    return _envelope.decode(raw)


def decode_batch(raw: bytes) -> list[Envelope]:
    return _batch.decode(raw)


def decode_fact(envelope: Envelope, upcasts: Upcasts = UPCASTS) -> Any:
    """The fact an envelope holds, in today's shape. Raises UnknownFact, or msgspec.DecodeError for broken data."""
    decoder = _DECODERS.get(envelope.type)
    if decoder is not None:
        return decoder.decode(envelope.data)
    if envelope.type not in upcasts:
        raise UnknownFact(envelope.type)
    tag, data = upcast(envelope.type, envelope.data, upcasts)
    return msgspec.convert(data, FACTS[tag])
