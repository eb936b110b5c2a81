"""What a run found, for people and for scripts."""

from collections.abc import Iterable, Sequence

import msgspec

from bench.gateway import Settled
from bench.hotspots import Hotspot
from bench.measure import Measurement, Scenario

OURS = "gateway"
LEGEND = """\
CPU is user + system of all threads of the measured process, per request. `req/s per core` is 1e6 / CPU.
`added` is the time over asking the mock directly with as many at once in this run; above one at a time it is mostly
waiting in line for a busy core. `beside` is the CPU that the servers and the worker next to the API used meanwhile.
"""


class Memory(msgspec.Struct, kw_only=True):
    """Resident MB of the measured process at the start, and after each half of so many requests."""

    requests: int
    start_mb: float
    half_mb: float
    end_mb: float

    @property
    def second_half_mb(self) -> float:
        return self.end_mb - self.half_mb


class Gate(msgspec.Struct, kw_only=True):
    """CPU in microseconds a request without giving the answer: until it is admitted, and the server around that."""

    concurrency: int
    plain_us: float
    gated_us: float


class Subject(msgspec.Struct, kw_only=True):
    """One target's run."""

    name: str
    version: str
    rss_before_mb: float = 0.0
    rss_after_mb: float = 0.0
    idle_percent: dict[str, float] = {}
    """Of a core, by process."""
    measurements: list[Measurement] = []
    memory: Memory | None = None
    settled: Settled | None = None
    gate: Gate | None = None
    hotspots: dict[str, list[Hotspot]] = {}
    """By scenario."""
    failure: str = ""


class Report(msgspec.Struct, kw_only=True):
    seconds: float
    pinned: bool
    subjects: list[Subject] = []

    @property
    def good(self) -> bool:
        """Everything ran, every answer was complete, and what was charged is what was served."""
        return all(
            not subject.failure
            and not any(measurement.failures for measurement in subject.measurements)
            and (subject.settled is None or subject.settled.agrees)
            for subject in self.subjects
        )


def as_text(report: Report) -> str:
    parts = [f"{report.seconds:g} s each, {'pinned' if report.pinned else 'not pinned'} to cores", "", LEGEND]
    parts += _scenarios(report)
    parts += _ratios(report)
    for subject in report.subjects:
        parts += _about(subject)
    return "\n".join(parts)


def _scenarios(report: Report) -> Iterable[str]:
    found: dict[Scenario, list[Measurement]] = {}
    for subject in report.subjects:
        for measurement in subject.measurements:
            found.setdefault(measurement.scenario, []).append(measurement)
    for scenario, measurements in found.items():
        yield scenario.title
        yield _table(
            [
                "",
                "req/s",
                "CPU µs",
                "a chunk",
                "req/s per core",
                "p50 ms",
                "p99 ms",
                "added p50",
                "added p99",
                "first",
                "beside µs",
            ],
            [_row(measurement) for measurement in measurements],
            (0, 10),
        )
        for measurement in measurements:
            for failure, count in measurement.failures.items():
                yield f"  {measurement.target}: {count} × {failure}"
        yield ""


def _row(m: Measurement) -> list[str]:
    beside = ", ".join(f"{name} {us:.0f}" for name, us in m.beside_us.items())
    times = [f"{m.p50_ms:.2f}", f"{m.p99_ms:.2f}", _signed(m.added_p50_ms), _signed(m.added_p99_ms)]
    first = f"{m.first_p50_ms:.2f}"
    chunk = "" if m.chunk_us is None else f"{m.chunk_us:.1f}"
    return [m.target, f"{m.rate:,.0f}", f"{m.cpu_us:,.0f}", chunk, f"{m.rate_per_core:,.0f}", *times, first, beside]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _ratios(report: Report) -> Iterable[str]:
    """How many times the peer's figure is ours; for requests/s, how many times ours is the peer's."""
    ours = next((subject for subject in report.subjects if subject.name == OURS), None)
    if ours is None:
        return
    own = {measurement.scenario: measurement for measurement in ours.measurements}
    for peer in report.subjects:
        if peer.name in (OURS, "mock") or not peer.measurements:
            continue
        rows: list[list[str]] = []
        for m in peer.measurements:
            o = own.get(m.scenario)
            if o is not None:
                rows.append(
                    [
                        m.scenario.title,
                        _times(m.cpu_us, o.cpu_us),
                        _times(o.rate, m.rate),
                        _times(m.p50_ms, o.p50_ms),
                        _times(m.p99_ms, o.p99_ms),
                    ]
                )
        yield f"{OURS} : {peer.name} {peer.version}"
        yield _table(["", "CPU less", "req/s more", "p50 less", "p99 less"], rows)
        yield f"  resident memory: {_times(peer.rss_after_mb, ours.rss_after_mb)} less"
        yield ""


def _times(more: float, less: float) -> str:
    return f"{more / less:.1f}×" if less else "?"


def _about(subject: Subject) -> Iterable[str]:
    name = f"{subject.name} {subject.version}".strip()
    if subject.failure:
        yield f"{name}: {subject.failure}"
    if subject.rss_before_mb:
        yield f"{name}: resident {subject.rss_before_mb:.0f} MB before, {subject.rss_after_mb:.0f} MB after"
        idle = ", ".join(f"{process} {percent:.1f} %" for process, percent in subject.idle_percent.items())
        yield f"  CPU of a core while nobody asks: {idle}"
    if memory := subject.memory:
        yield (
            f"  memory over {memory.requests:,} requests: {memory.start_mb:.1f} MB, {memory.half_mb:.1f} MB at half, "
            f"{memory.end_mb:.1f} MB at the end: {memory.second_half_mb:+.1f} MB in the second half"
        )
    if settled := subject.settled:
        charged = settled.remark or f"charged {settled.charged_nanos:,} nano-USD, due {settled.expected_nanos:,}"
        yield (
            f"  {'agrees' if settled.agrees else 'DOES NOT AGREE'}: upstream answered {settled.upstream_answers:,}, "
            f"clients have {settled.client_answers:,}; {charged}"
        )
    if gate := subject.gate:
        yield (
            f"  the gate, {gate.concurrency} at once: {gate.gated_us:.0f} µs until it is admitted, plain "
            f"{gate.plain_us:.0f}: {gate.gated_us - gate.plain_us:+.0f} (by samples, all but giving the answer)"
        )
    for miss, hit in _misses_and_hits(subject):
        yield f"  a hit, {hit.concurrency} at once: {hit.cpu_us / miss.cpu_us:.2f} of a miss"
    for title, spots in subject.hotspots.items():
        yield f"  where the CPU goes ({title}): in it alone, and with what it called"
        rows = [
            [f"{spot.own_percent:.1f} %", f"{spot.total_percent:.1f} %", spot.module, spot.function] for spot in spots
        ]
        yield _table(["own", "total", "module", "function"], rows, (2, 3))


def _misses_and_hits(subject: Subject) -> Iterable[tuple[Measurement, Measurement]]:
    found = {m.scenario: m for m in subject.measurements}
    for hit in subject.measurements:
        miss = found.get(Scenario("gated", hit.concurrency))
        if hit.kind == "hit" and miss is not None and miss.cpu_us:
            yield miss, hit


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """Columns of `words` to the left, numbers to the right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines: list[str] = []
    for line in [head, *rows]:
        cells = [
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)
