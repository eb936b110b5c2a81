"""One scenario against one target: what the load saw, and the CPU that the kernel counted meanwhile."""

import subprocess
from collections.abc import Callable

import msgspec

from bench.load import NUMBER, Seen, Spec
from bench.mock_upstream import CHUNKS
from bench.processes import ROOT, Cores, Failed, cpu_s, family, plain_environment, python
from bench.target import MODEL, ROUTE, Target

WARMUP_S = 1.5
PACED_MS = 10
THINK_MS = 50
"""Of a provider, so that a few at a time leave the cores free: `added` is then the gateway, not the waiting line."""
PROMPTS = {
    "thinking": f" think_ms={THINK_MS}",
    "paced": f" interval_ms={PACED_MS}",
    "translated": f" interval_ms={PACED_MS}",
}
PACED = {"paced", "translated"}
STREAMS = {"burst", *PACED}
GATED = {"gated", "hit"}
"""Kinds that only the gateway has: its route `gated` in the way (`bench/gate.toml`)."""
CHAT_END, MESSAGES_END = "data: [DONE]\n\n", 'data: {"type":"message_stop"}\n\n'
KINDS = {
    "plain": "plain",
    "thinking": f"plain, answered after about {THINK_MS} ms",
    "gated": "plain, with limits, a cache that has no answer, and a choice of deployments",
    "hit": "plain, with limits, answered from the cache",
    "burst": "stream, 50 chunks in a burst",
    "paced": f"stream, 50 chunks {PACED_MS} ms apart",
    "translated": f"stream, 50 chunks {PACED_MS} ms apart, asked for as Anthropic's messages",
}


class Scenario(msgspec.Struct, frozen=True, order=True):
    kind: str
    concurrency: int

    @property
    def title(self) -> str:
        return f"{KINDS[self.kind]}, {self.concurrency} at once"


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds a request; `beside_us` is what helpers used, by name."""

    target: str
    kind: str
    concurrency: int
    answers: int
    failures: dict[str, int]
    rate: float
    cpu_us: float
    rate_per_core: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    added_p50_ms: float | None = None
    added_p99_ms: float | None = None
    beside_us: dict[str, float] = {}

    @property
    def chunk_us(self) -> float | None:
        """CPU a chunk, where there are any."""
        return self.cpu_us / CHUNKS if self.kind in STREAMS else None

    @property
    def scenario(self) -> Scenario:
        return Scenario(self.kind, self.concurrency)


class _Said(msgspec.Struct):
    warm: Seen
    seen: Seen


class Meter:
    """`direct` remembers what the mock alone did, so that everybody else's time is time added. `served` is how many
    answers the mock has given; `answered` how many of those reached clients, by target."""

    def __init__(self, cores: Cores, seconds: float, served: Callable[[], int]) -> None:
        self._cores = cores
        self._seconds = seconds
        self._served = served
        self._direct: dict[Scenario, Measurement] = {}
        self.answered: dict[str, int] = {}

    def measure(
        self,
        target: Target,
        scenario: Scenario,
        *,
        requests: int | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Measurement:
        spec = self._spec(target, scenario, requests)
        groups = {"": family(target.pids), **{name: family(pids) for name, pids in target.beside.items()}}
        served_before = self._served()
        with _load(spec, self._cores) as load:
            before = {name: cpu_s(pids) for name, pids in groups.items()}
            said = _ask(load, meanwhile)
            used = {name: cpu_s(pids) - before[name] for name, pids in groups.items()}
        seen = said.seen
        answered = said.warm.answers + seen.answers
        if scenario.kind == "hit":
            answered = self._served() - served_before  # all others were answered from the cache
        self.answered[target.name] = self.answered.get(target.name, 0) + answered
        each = {name: seconds * 1e6 / max(1, seen.answers) for name, seconds in used.items()}
        return self._remember(_measurement(target, scenario, seen, each, self._direct.get(scenario)))

    def _remember(self, measurement: Measurement) -> Measurement:
        if measurement.target == "mock":
            self._direct[measurement.scenario] = measurement
        return measurement

    def _spec(self, target: Target, scenario: Scenario, requests: int | None) -> Spec:
        return Spec(
            port=target.port,
            path=(target.messages_path if scenario.kind == "translated" else None) or target.path,
            headers=target.headers,
            body=request_body(scenario.kind),
            concurrency=scenario.concurrency,
            end=_end(target, scenario),
            numbered=scenario.kind == "gated",
            seconds=self._seconds,
            warmup_s=min(WARMUP_S, self._seconds),
            requests=requests,
        )


def _end(target: Target, scenario: Scenario) -> str:
    """What a whole answer ends with."""
    if scenario.kind not in STREAMS:
        return ""
    return MESSAGES_END if scenario.kind == "translated" and target.messages_path else CHAT_END


def request_body(kind: str) -> str:
    prompt = f"Say the fifty words, {NUMBER}." + PROMPTS.get(kind, "")
    body: dict[str, object] = {
        "model": ROUTE if kind in GATED else MODEL,
        "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": prompt}],
        "max_tokens": 100,
    }
    if kind in STREAMS:
        body |= {"stream": True}
    if kind in ("burst", "paced"):
        body |= {"stream_options": {"include_usage": True}}
    return msgspec.json.encode(body).decode()


def _load(spec: Spec, cores: Cores) -> subprocess.Popen[bytes]:
    """Warmed up and waiting for its word."""
    argv = python("bench.load", msgspec.json.encode(spec).decode())
    load = subprocess.Popen(
        argv, cwd=ROOT, env=plain_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    cores.beside([load.pid])
    assert load.stdout is not None
    if load.stdout.readline().strip() != b"ready":
        raise Failed("the load generator ended before it began")
    return load


def _ask(load: subprocess.Popen[bytes], meanwhile: Callable[[], None]) -> _Said:
    assert load.stdin is not None
    assert load.stdout is not None
    load.stdin.write(b"go\n")
    meanwhile()
    if not (line := load.stdout.readline()):
        raise Failed("the load generator ended before its time")
    return msgspec.json.decode(line, type=_Said)


def _measurement(
    target: Target, scenario: Scenario, seen: Seen, each_us: dict[str, float], direct: Measurement | None
) -> Measurement:
    cpu_us = each_us.pop("")
    return Measurement(
        target=target.name,
        kind=scenario.kind,
        concurrency=scenario.concurrency,
        answers=seen.answers,
        failures=seen.failures,
        rate=seen.rate,
        cpu_us=cpu_us,
        rate_per_core=1e6 / cpu_us if cpu_us else 0.0,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        first_p50_ms=seen.first_p50_ms,
        added_p50_ms=seen.p50_ms - direct.p50_ms if direct else None,
        added_p99_ms=seen.p99_ms - direct.p99_ms if direct else None,
        beside_us=each_us,
    )
