"""An answer without measure is given up before it fills the memory."""

import gzip

import pytest

from domain.errors import ProviderBroken
from tests.broken_upstream import STREAM_HEAD, Do, Filler, Step, chunk, head
from tests.provider_ways import STREAMS, WHOLES, Way, answered

MIB = 1024 * 1024
FILLER = Filler(chunk(b" " * MIB), 70)
CHUNKED = "transfer-encoding: chunked\r\n"
BOMB = gzip.compress(b" " * (70 * MIB), 1)
GIANTS: dict[str, tuple[Step, ...]] = {
    "announced": (head(f"content-length: {70 * MIB}\r\n"), Do.STALL),
    "in chunks": (head(CHUNKED), FILLER, Do.STALL),
    "until the end of the connection": (b"HTTP/1.0 200 OK\r\n\r\n", Filler(b" " * MIB, 70), Do.STALL),
    "with an error status": (head(CHUNKED, status=500), FILLER, Do.STALL),
    "compressed": (head(f"content-encoding: gzip\r\ncontent-length: {len(BOMB) + 1000}\r\n"), BOMB, Do.STALL),
}


@pytest.mark.parametrize("script", GIANTS.values(), ids=GIANTS.keys())
async def test_a_body_above_the_limit_is_given_up_while_it_still_comes(script: tuple[Step, ...]) -> None:
    outcome = await answered(WHOLES[0], *script)

    assert isinstance(outcome.error, ProviderBroken)
    assert "64 MiB" in str(outcome.error)


@pytest.mark.parametrize("way", STREAMS, ids=str)
async def test_an_event_above_the_limit_is_given_up_while_it_still_comes(way: Way) -> None:
    outcome = await answered(way, STREAM_HEAD + chunk(b"data: "), Filler(chunk(b"x" * MIB), 12), Do.STALL)

    assert isinstance(outcome.error, ProviderBroken)
    assert "8 MiB" in str(outcome.error)
