"""Fixtures that every folder may ask for. They start on first use: unit tests pay nothing."""

from collections.abc import AsyncIterator

import pytest_asyncio

from adapters.endpoints import ServiceEndpoints
from tests.support import open_directory, running_servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[ServiceEndpoints]:
    """The three real servers, once a session; tests keep apart by names of their own."""
    with open_directory() as directory:
        async with running_servers(directory) as endpoints:
            yield endpoints
