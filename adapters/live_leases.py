"""The leases that are open now, from a live tail of the ledgers."""

import time
from collections.abc import Sequence

import msgspec

from adapters.log_reader import CaughtUp, LatestTail
from domain.events import decode_envelope
from domain.ids import AccountId, LeaseId
from domain.ledger import Lease, Ledger

FRESH_S = 5.0


class _Carrier(msgspec.Struct):
    """An event's data, of which only the state after it counts here."""

    after: Ledger


class LiveLeases:
    """Feed it ledger events with `apply`, in any order within an account's: an older one changes nothing."""

    def __init__(self) -> None:
        self._heartbeat: LatestTail | None = None
        self._leases: dict[AccountId, dict[LeaseId, Lease]] = {}
        self._sequences: dict[AccountId, int] = {}

    @property
    def caught_up(self) -> bool:
        """Whether all leases were known a few seconds ago; without that none may be called expired."""
        return self._heartbeat is not None and time.monotonic() - self._heartbeat.last_heard < FRESH_S

    async def follow(self, tail: LatestTail) -> None:
        """Until the tail ends. What was known stays, and grows stale, until another one has caught up."""
        async for message in tail.messages():
            if isinstance(message, CaughtUp):
                self._heartbeat = tail
            else:
                self.apply(message.raw)

    def apply(self, raw: bytes) -> None:
        envelope = decode_envelope(raw)
        account_id = AccountId(envelope.accountid)
        if envelope.sequence <= self._sequences.get(account_id, 0):
            return
        self._sequences[account_id] = envelope.sequence
        leases = msgspec.json.decode(envelope.data, type=_Carrier).after.leases
        if leases:
            self._leases[account_id] = leases
        else:
            self._leases.pop(account_id, None)

    def by_account(self) -> Sequence[tuple[AccountId, LeaseId, Lease]]:
        return [
            (account_id, lease_id, lease)
            for account_id, leases in self._leases.items()
            for lease_id, lease in leases.items()
        ]

    def find(self, account_id: AccountId, lease_id: LeaseId) -> Lease | None:
        return self._leases.get(account_id, {}).get(lease_id)
