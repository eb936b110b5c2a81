"""Fixtures that every folder may ask for. They start on first use: unit tests pay nothing."""

from collections.abc import AsyncIterator

import pytest_asyncio
from hypothesis import HealthCheck, settings

from adapters.endpoints import ServiceEndpoints
from tests.support import open_directory, running_servers

# On Hypothesis's own profile, which draws the same examples each time where CI is set: nothing is timed, for a machine
# that is busy, or that draws its first text, fails no test.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[ServiceEndpoints]:
    """The three real servers, once a session; tests keep apart by names of their own."""
    with open_directory() as directory:
        async with running_servers(directory) as endpoints:
            yield endpoints
