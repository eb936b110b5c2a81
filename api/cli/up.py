"""`agg up`: everything on this machine."""

import asyncio
import sys

import rich_click as click

from api.cli.environment import settings_from_environment
from api.cli.welcome import welcome
from api.local_stack import Credentials, Plan, run_local_stack
from api.settings import Settings

# Stopped last first: the API before the worker.
PROGRAMS = {
    "worker": (sys.executable, "-m", "api.cli", "work", "--supervised"),
    "api": (sys.executable, "-m", "api.cli", "serve", "--supervised"),
}


@click.command("up")
def command() -> None:
    """Run NATS, PostgreSQL, Valkey, the API and a worker here, until Ctrl-C.

    Servers that AGG_NATS_URL, AGG_DATABASE_* or AGG_REDIS_* name are used instead of started.
    """
    settings = settings_from_environment()
    from api.logs import configure_logs

    configure_logs(settings)
    plan = Plan(
        settings=settings,
        programs=PROGRAMS,
        prepare=_migrate_and_seed,
        announce=lambda url, credentials: click.echo(welcome(url, credentials)),
        say=lambda line: click.echo(f"agg up: {line}", err=True),
    )
    asyncio.run(run_local_stack(plan))


async def _migrate_and_seed(settings: Settings) -> Credentials:
    from api.cli.migrate import bring_up_to_date
    from api.seed import seed

    await bring_up_to_date(settings)
    return await seed(settings)
