"""One program for all of these modules: it takes longer to start than they to run."""

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from tests.e2e.running import Program, running_program
from tests.e2e.unified.catalogue import (
    ANTHROPIC,
    COHERE,
    COMPATIBLE,
    COMPATIBLE_KEY_VARIABLE,
    GOOGLE,
    OPENAI,
    catalogue,
)
from tests.e2e.unified.clients import Clients
from tests.e2e.vendors import anthropic, cohere, gemini, openai
from tests.e2e.vendors.server import StandIn, stand_in
from tests.support import open_directory

StandIns = dict[str, StandIn]


@pytest.fixture(scope="package")
def stand_ins() -> Generator[StandIns, None, None]:
    """By the provider's name."""
    with ExitStack() as stack:
        yield {
            OPENAI.provider: stack.enter_context(stand_in(openai.OPENAI, openai.KEY)),
            ANTHROPIC.provider: stack.enter_context(stand_in(anthropic.anthropic, anthropic.KEY)),
            GOOGLE.provider: stack.enter_context(stand_in(gemini.gemini, gemini.KEY)),
            COHERE.provider: stack.enter_context(stand_in(cohere.cohere, cohere.KEY)),
            COMPATIBLE.provider: stack.enter_context(stand_in(openai.COMPATIBLE, openai.COMPATIBLE_KEY)),
        }


@pytest.fixture(scope="package")
def environ(stand_ins: StandIns) -> Generator[dict[str, str], None, None]:
    with open_directory() as directory:
        path = directory / "catalogue.toml"
        path.write_text(catalogue(stand_ins[COMPATIBLE.provider]))
        yield {"AGG_CATALOG": str(path), **_vendors(stand_ins)}


def _vendors(stand_ins: StandIns) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{stand_ins[OPENAI.provider].base_url}/v1",
        "OPENAI_API_KEY": openai.KEY,
        "ANTHROPIC_BASE_URL": stand_ins[ANTHROPIC.provider].base_url,
        "ANTHROPIC_API_KEY": anthropic.KEY,
        "GOOGLE_AI_BASE_URL": stand_ins[GOOGLE.provider].base_url,
        "GOOGLE_AI_API_KEY": gemini.KEY,
        "COHERE_BASE_URL": stand_ins[COHERE.provider].base_url,
        "COHERE_API_KEY": cohere.KEY,
        COMPATIBLE_KEY_VARIABLE: openai.COMPATIBLE_KEY,
    }


@pytest.fixture(scope="package")
def program(environ: dict[str, str]) -> Generator[Program, None, None]:
    with running_program(**environ) as running:
        yield running


@pytest.fixture(scope="package")
def clients(program: Program) -> Generator[Clients, None, None]:
    with Clients.at(program.base_url, program.api_key) as connected:
        yield connected
