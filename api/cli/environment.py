"""The only place, beside `api/asgi`, that hands the process environment to the settings."""

import os

import rich_click as click

from api.logs import configure_logs
from api.settings import Settings, load_settings
from api.settings_report import unknown_names


def settings_from_environment(*, warn: bool = True) -> Settings:
    """Logs go where these say from now on. With `warn`, meaningless names are said on stderr. Raises SettingsError."""
    if warn:
        for warning in unknown_names(os.environ):
            click.echo(f"warning: {warning}", err=True)
    settings = load_settings(os.environ)
    configure_logs(settings)
    return settings


def settings_of_command() -> Settings:
    """For a command that ends by itself: its output is all on stdout, only trouble is said on stderr."""
    settings = settings_from_environment()
    from api.logs import configure_logs

    configure_logs(settings.model_copy(update={"log_level": "warning"}))
    return settings
