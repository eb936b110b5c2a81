"""What a worker did on its own shares of limits, to be told when Valkey is back. Everything in it is bounded."""

from collections.abc import Sequence
from itertools import islice

import msgspec

from domain.ids import RequestId
from domain.limits import Demand, Rule

MAX_ENDED = 10_000

Rules = tuple[Rule, ...]


class Ended(msgspec.Struct, frozen=True):
    """A finish that Valkey has not heard of."""

    rules: Rules
    request_id: RequestId
    tokens: int
    nanos: int


class Running(msgspec.Struct, frozen=True):
    """Admitted here. `asked`: Valkey may have heard of it, too."""

    rules: Rules
    demand: Demand
    asked: bool


class Untold(msgspec.Struct):
    """What happened without Valkey: requests that run, ends of requests that it knows or may know, and by rules what
    ended requests used of which it knows nothing."""

    running: dict[RequestId, Running] = {}
    ended: dict[RequestId, Ended] = {}
    used: dict[Rules, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self.running or self.ended or self.used)

    def run(self, running: Running) -> None:
        ident, rules, asked = running.demand.request_id, running.rules, running.asked
        if before := self.running.get(ident):
            rules = (*before.rules, *(rule for rule in rules if rule not in before.rules))
            asked = asked or before.asked
        self.ended.pop(ident, None)
        self.running[ident] = Running(rules, running.demand, asked)

    def end(self, ended: Ended) -> None:
        """With too many of them, this one's reservation lasts until its deadline."""
        running = self.running.pop(ended.request_id, None)
        if running and not running.asked:
            self.use(ended)
        elif ended.request_id in self.ended or len(self.ended) < MAX_ENDED:
            self.ended.setdefault(ended.request_id, ended)
        else:
            self.use(ended)

    def use(self, ended: Ended) -> None:
        """Minutes have passed when it is told."""
        lasting = tuple(rule for rule in ended.rules if rule.kind in ("tokens", "spend") and rule.window != "minute")
        if lasting and (ended.tokens or ended.nanos):
            tokens, nanos = self.used.get(lasting, (0, 0))
            self.used[lasting] = tokens + ended.tokens, nanos + ended.nanos

    def take_running(self, most: int) -> list[Running]:
        taken = list(islice(self.running.values(), most))
        for one in taken:
            del self.running[one.demand.request_id]
        return taken

    def put_back(self, running: Sequence[Running]) -> None:
        """Valkey may have heard of them. Those that ended meanwhile stay ended."""
        for one in running:
            if one.demand.request_id not in self.ended:
                self.run(Running(one.rules, one.demand, asked=True))

    def close_used(self, ident: str, most: int) -> None:
        """Make ends of some use, each with an id of its own (`ident` is new each time): told twice, it counts once."""
        for index, rules in enumerate(list(islice(self.used, most))):
            tokens, nanos = self.used.pop(rules)
            request_id = RequestId(f"{ident}:{index}")
            self.ended[request_id] = Ended(rules, request_id, tokens, nanos)

    def some_ended(self, most: int) -> list[Ended]:
        return list(islice(self.ended.values(), most))

    def told(self, ended: Sequence[Ended]) -> None:
        for one in ended:
            self.ended.pop(one.request_id, None)
