"""`agg config`: what is set, to what, by whom."""

import os

import msgspec
import rich_click as click

from api.cli.environment import settings_from_environment
from api.settings_report import describe


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(as_json: bool) -> None:
    """Show every setting, its value and where that is from; secrets are masked.

    Origin: env, file (NAME_FILE), generated (by `agg up`) or default.
    """
    shown = describe(settings_from_environment(), os.environ)
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return
    width = max(len(setting.name) for setting in shown)
    for setting in shown:
        click.echo(f"{setting.name:<{width}}  {setting.origin:<9}  {setting.value or '-'}")
