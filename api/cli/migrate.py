"""`agg migrate`: streams and tables, forward only."""

import asyncio

import rich_click as click

from api.cli.environment import settings_of_command
from api.endpoints import resolve_endpoints
from api.settings import Settings
from api.startup import StartupError


@click.command("migrate")
def command() -> None:
    """Bring the streams of NATS and the tables of PostgreSQL up to date.

    Running it again changes nothing. `agg up` does it by itself.
    """
    for applied in asyncio.run(bring_up_to_date(settings_of_command())):
        click.echo(applied)


async def bring_up_to_date(settings: Settings) -> list[str]:
    """What was applied. Raises StartupError."""
    endpoints = resolve_endpoints(settings)
    from domain.errors import Unavailable
    from migrations.apply import MigrationError, migrate

    try:
        return await migrate(endpoints)
    except Unavailable as failure:
        raise StartupError(f"NATS does not answer: start it, or correct AGG_NATS_URL ({failure})") from failure
    except OSError as failure:
        place = f"{endpoints.database.host}:{endpoints.database.port}"
        raise StartupError(
            f"PostgreSQL does not answer at {place}: start it, or correct AGG_DATABASE_HOST and AGG_DATABASE_PORT"
        ) from failure
    except MigrationError as failure:
        raise StartupError(f"migration failed: {failure}") from failure
