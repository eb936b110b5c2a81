"""What every aggregate is: a kind, an initial state, and how a fact changes it."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from domain.ids import bucket_of

State = TypeVar("State")


class Address(msgspec.Struct, frozen=True):
    """Where one aggregate's facts live. All facts of an account share its bucket.

    `ident` is a subject token: letters, digits, `_` and `-` only.
    """

    kind: str
    ident: str
    bucket: int

    @property
    def subject(self) -> str:
        return f"evt.{self.bucket}.{self.kind}.{self.ident}"


class Aggregate(msgspec.Struct, Generic[State], frozen=True):
    """`evolve` never raises: a fact cannot be refused."""

    kind: str
    state_type: type[State]
    evolve: Callable[[State, Any], State]

    def initial(self) -> State:
        return self.state_type()

    def at(self, ident: str, owner: str | None = None) -> Address:
        """The address of `ident`, in the bucket of the account that owns it."""
        return Address(self.kind, ident, bucket_of(owner or ident))

    def fold(self, facts: Iterable[Any], state: State | None = None) -> State:
        current = self.initial() if state is None else state
        for fact in facts:
            current = self.evolve(current, fact)
        return current
