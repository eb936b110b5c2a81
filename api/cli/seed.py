"""`agg seed`: somebody to log in as, and a key to call with."""

import asyncio

import msgspec
import rich_click as click

from api.cli.environment import settings_of_command


@click.command("seed")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(as_json: bool) -> None:
    """Make the first admin and an API key with demo credit, or show the ones that were made."""
    settings = settings_of_command()
    from api.seed import seed

    seeded = asyncio.run(seed(settings))
    shown = {"api_key": seeded.api_key, "admin_email": seeded.admin_email, "admin_password": seeded.admin_password}
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return
    for name, value in shown.items():
        click.echo(f"{name:<16}{value}")
