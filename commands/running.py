"""A request that wants an answer, and one that is on its way to its end."""

from datetime import datetime

import msgspec

from commands.credit_leases import Reservation
from commands.holds import Held
from commands.route_plan import Candidate, RoutePlan
from domain.catalog import Model
from domain.errors import ProviderError
from domain.failover import GiveUp
from domain.ids import AccountId, KeyId, UserId
from domain.ports import PreparedCall
from domain.pricing import Price, ceiling_nanos
from domain.request import RequestEnded
from domain.upstream import ProviderCall


class AnswerRequest(msgspec.Struct, frozen=True):
    """`input_bound` is more tokens than the input can have; of `choices` each has at most `call.max_output_tokens`.
    No `price`: the use is held and charged at the handler's `unpriced_nanos` until there is one. With a `route` that is
    not plain, its candidates take the place of `model`, `price` and these bounds."""

    call: ProviderCall
    account_id: AccountId
    key_id: KeyId | None
    user_id: UserId | None
    at: datetime
    started_s: float
    model: Model
    price: Price | None
    choices: int
    input_bound: int
    route: RoutePlan | None = None

    @property
    def asked_for(self) -> str:
        """The route or the model, by the one name that the catalogue has for it, however it was spelt."""
        routed = self.routed
        return self.model.model if routed is None else routed.trail[0].name

    @property
    def routed(self) -> RoutePlan | None:
        return None if self.route is None or self.route.is_plain else self.route

    def alone(self) -> Candidate:
        """The only one, of a plain model."""
        return Candidate("", self.model, self.price, self.model.provider, self.call.upstream_model, self.model.provider)

    def call_of(self, candidate: Candidate) -> ProviderCall:
        routed = self.routed
        if routed is None:
            return self.call
        output = routed.ask.sizes.max_output_tokens(candidate.model)
        return msgspec.structs.replace(self.call, upstream_model=candidate.upstream_model, max_output_tokens=output)

    def dearest_nanos(self, unpriced_nanos: int) -> int:
        """The most that it may cost, whoever of its candidates answers."""
        routed = self.routed
        if routed is None:
            return self.ceiling_nanos(self.alone(), unpriced_nanos)
        return max([self.ceiling_nanos(candidate, unpriced_nanos) for candidate in routed.candidates])

    def ceiling_nanos(self, candidate: Candidate, unpriced_nanos: int) -> int:
        """The most that it may cost there, as it was reckoned with its bounds, if it was."""
        if candidate.price is None:
            return unpriced_nanos
        plan = self.route
        known = None if plan is None else plan.ceiling_of(candidate)
        if known is not None:
            return known
        if plan is not None and not plan.is_plain:
            return candidate.ceiling_nanos(plan.ask.sizes, self.choices, unpriced_nanos)
        return ceiling_nanos(self.input_bound, self.call.max_output_tokens * self.choices, candidate.price.rates)


class Running(msgspec.Struct):
    """An admitted request until its end. The caller sets `client_gone` when nobody reads the answer any more.

    `candidate` is who is called, or was last, by the call `prepared`, and `attempts` how many calls there were up to
    that one. `asked`: a provider works for it now; `hedged`: for a while two did. `ceiling_nanos` is the most that it
    may cost at the candidate, `more` what was reserved since its admission, and `held` its places within the limits of
    what it fell back to.
    """

    command: AnswerRequest
    reservation: Reservation
    prepared: PreparedCall
    candidate: Candidate
    ceiling_nanos: int
    admitted_position: int = 0
    client_gone: bool = False
    upstream_s: float = 0.0
    first_token_s: float | None = None
    delivered_chars: int = 0
    end: RequestEnded | None = None
    end_position: int = 0
    attempts: int = 1
    asked: bool = True
    hedged: bool = False
    gave_up: GiveUp | None = None
    more: tuple[Reservation, ...] = ()
    held: tuple[Held, ...] = ()

    @property
    def held_nanos(self) -> int:
        held = self.reservation.amount_nanos
        return held + sum([each.amount_nanos for each in self.more]) if self.more else held

    def release(self, spent_nanos: int) -> None:
        """All that is reserved for it; `spent_nanos` of that was spent."""
        self.reservation.release(spent_nanos)
        for each in self.more:
            each.release(0)
        for held in self.held:
            held.ended(self.end.tokens.total if self.end else 0, spent_nanos)

    def forbids_repeat(self, error: Exception) -> bool:
        """Whether a client that is told this error must not ask again by itself: something was, or may be, paid for."""
        if self.end is not None and self.end.cost_nanos:
            return True
        if self.gave_up is not None and error is self.gave_up.error:
            return self.gave_up.possibly_billed
        return not isinstance(error, ProviderError)
