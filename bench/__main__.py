"""What it costs: `python -m bench [--streams] [--peer litellm] [--peer portkey] …`. One run, so that ratios hold.

Exit 0 when every answer was complete and what was charged is what was served, 1 when not.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import uvloop

from bench.gateway import Running, gateway, resting_balance, settled
from bench.hotspots import RATE_HZ, fold, record, share_of
from bench.measure import GATED, KINDS, PACED, STREAMS, Meter, Scenario
from bench.mock_upstream import CHUNKS, INPUT_TOKENS
from bench.peers import PEERS
from bench.processes import Cores, Failed, cpu_s, family, rss_mb
from bench.rebuild import NAMES as READ_MODELS_MEASURED
from bench.rebuild import main as rebuild
from bench.report import OURS, Gate, Memory, Report, Subject, as_text
from bench.target import Target, mock_counts, mock_upstream

COST_NANOS = INPUT_TOKENS * 150 + CHUNKS * 600
"""gpt-4o-mini: 0.15 and 0.60 USD a million tokens."""
BUSY = Scenario("plain", 64)
GATE_KINDS = {"plain", "gated"}
GATE_S, GATE_HZ = 8, 500
ANSWERING = "api/ai_answer.py", "AiAnswer.run"
"""From the admission on; what is not in it is the way there, and the server around."""
SETTLE_S, IDLE_S = 1.0, 3.0
MEMORY_REQUESTS = 100_000


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="bench", description=__doc__)
    words.add_argument("--seconds", type=float, default=5.0, help="how long each scenario is measured (5)")
    words.add_argument("--concurrency", type=_numbers, default=(1, 16, 64, 256), help="1,16,64,256")
    words.add_argument("--streams", action="store_true", help="streams too, in a burst and 10 ms apart")
    words.add_argument("--peer", action="append", choices=sorted(PEERS), default=[], help="install and measure it too")
    words.add_argument("--peers-in", type=Path, help="a directory in which installed peers are kept and found again")
    words.add_argument("--memory", action="store_true", help=f"resident memory over {MEMORY_REQUESTS:,} requests")
    words.add_argument("--profile", type=int, default=0, metavar="SECONDS", help="the gateway's hot spots, by py-spy")
    words.add_argument(
        "--rebuild",
        type=int,
        default=0,
        metavar="EVENTS",
        help="build the read models of so many events, then the rest",
    )
    words.add_argument("--no-gateway", action="store_true", help="only the peers")
    words.add_argument("--no-pin", action="store_true", help="leave processes to the scheduler")
    words.add_argument("--json", action="store_true", help="the whole report as JSON")
    return words


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def scenarios(options: argparse.Namespace) -> list[Scenario]:
    """A stream that lasts half a second, one at a time, says nothing: too few fit into the time."""
    kinds = [kind for kind in KINDS if options.streams or kind not in STREAMS]
    both = [Scenario(kind, concurrency) for kind in kinds for concurrency in options.concurrency]
    return [scenario for scenario in both if scenario.kind not in PACED or scenario.concurrency > 1]


class Bench:
    """One run: the mock first, then whoever stands between."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._cores = Cores(pinned=not options.no_pin)
        self._scenarios = scenarios(options)
        self.report = Report(seconds=options.seconds, pinned=self._cores.pinned)

    def run(self) -> Report:
        with mock_upstream(self._directory, self._cores) as mock:
            self._served = lambda: mock_counts(mock).answered
            self._meter = Meter(self._cores, self._options.seconds, self._served)
            self._measured(mock, self._subject(mock))
            if not self._options.no_gateway:
                self._guarded("gateway", lambda: self._gateway(mock))
            for name in dict.fromkeys(self._options.peer):
                self._guarded(name, lambda name=name: self._peer(name, mock))
        return self.report

    def _gateway(self, mock: Target) -> None:
        with gateway(mock, self._cores) as running:
            before, served_before = resting_balance(running), self._served()
            subject = self._subject(running.target)
            self._measured(running.target, subject)
            if self._options.memory:
                subject.memory = self._memory(running.target)
            if self._options.profile:
                for kind in dict.fromkeys(scenario.kind for scenario in self._scenarios):
                    scenario = Scenario(kind, BUSY.concurrency)
                    samples = self._sampled(running, scenario, self._options.profile)
                    subject.hotspots[scenario.title] = fold(samples)
            if {scenario.kind for scenario in self._scenarios} >= GATE_KINDS:
                subject.gate = self._gate(running, subject)
            answers = self._meter.answered.get(running.target.name, 0)
            subject.settled = settled(running, mock, before, served_before, answers, COST_NANOS)

    def _peer(self, name: str, mock: Target) -> None:
        place = (self._options.peers_in or self._directory).resolve() / name
        say(f"{name}: installing and starting")
        with PEERS[name](place, mock, self._cores) as target:
            subject = self._subject(target)
            self._measured(target, subject)
            if self._options.memory:
                subject.memory = self._memory(target)

    def _subject(self, target: Target) -> Subject:
        subject = Subject(name=target.name, version=target.version)
        self.report.subjects.append(subject)
        return subject

    def _measured(self, target: Target, subject: Subject) -> None:
        subject.rss_before_mb = rss_mb(family(target.pids))
        subject.idle_percent = idle_percent(target)
        for scenario in self._scenarios:
            if not _applies(scenario, target):
                continue
            say(f"{target.name}: {scenario.title}")
            subject.measurements.append(self._meter.measure(target, scenario))
        subject.rss_after_mb = rss_mb(family(target.pids))

    def _memory(self, target: Target) -> Memory:
        start, half = rss_mb(family(target.pids)), MEMORY_REQUESTS // 2
        after: list[float] = []
        for number in (1, 2):
            say(f"{target.name}: memory, half {number} of {MEMORY_REQUESTS:,} requests")
            self._meter.measure(target, BUSY, requests=half)
            after.append(rss_mb(family(target.pids)))
        return Memory(requests=MEMORY_REQUESTS, start_mb=start, half_mb=after[0], end_mb=after[1])

    def _sampled(self, running: Running, scenario: Scenario, seconds: int, rate_hz: int = RATE_HZ) -> str:
        """Samples while the load runs; what this costs is not among the measurements."""
        target, taken = running.target, list[str]()
        say(f"{target.name}: profile, {scenario.title}")
        meter = Meter(self._cores, seconds + 2, self._served)
        pid = running.ready.pids["api"]
        meter.measure(target, scenario, meanwhile=lambda: taken.append(record(pid, seconds, rate_hz)))
        self._meter.answered[target.name] += meter.answered[target.name]
        return taken[0]

    def _gate(self, running: Running, subject: Subject) -> Gate:
        """By shares of samples, for no clock tells the steps of interleaved requests apart."""
        concurrency = BUSY.concurrency if BUSY in self._scenarios else self._scenarios[0].concurrency
        outside: dict[str, float] = {}
        for kind in sorted(GATE_KINDS):
            scenario = Scenario(kind, concurrency)
            whole = next(m.cpu_us for m in subject.measurements if m.scenario == scenario)
            samples = self._sampled(running, scenario, GATE_S, GATE_HZ)
            outside[kind] = whole * (1 - share_of(samples, *ANSWERING))
        return Gate(concurrency=concurrency, plain_us=outside["plain"], gated_us=outside["gated"])

    def _guarded(self, name: str, measure: Callable[[], None]) -> None:
        """One that does not run does not spoil the others."""
        try:
            measure()
        except Failed as failure:
            self.report.subjects.append(Subject(name=name, version="", failure=str(failure)))


def _applies(scenario: Scenario, target: Target) -> bool:
    if scenario.kind in GATED:
        return target.name == OURS
    return scenario.kind != "translated" or target.messages_path is not None or target.name == "mock"


def idle_percent(target: Target) -> dict[str, float]:
    """Of one core, while nobody asks for anything: its own under its name, and that of its helpers."""
    time.sleep(SETTLE_S)
    groups = {target.name: family(target.pids), **{name: family(pids) for name, pids in target.beside.items()}}
    before = {name: cpu_s(pids) for name, pids in groups.items()}
    time.sleep(IDLE_S)
    return {name: 100 * (cpu_s(pids) - before[name]) / IDLE_S for name, pids in groups.items()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    if options.rebuild:
        uvloop.run(rebuild(options.rebuild, list(READ_MODELS_MEASURED)))
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="agg-bench-", ignore_cleanup_errors=True))
        )
        report = Bench(options, directory).run()
    print(msgspec.json.format(msgspec.json.encode(report)).decode() if options.json else as_text(report))
    return 0 if report.good else 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
