"""The only place, beside `api/asgi`, that hands the process environment to the settings."""

import os

import rich_click as click

from api.settings import Settings, load_settings
from api.settings_report import unknown_names


def settings_from_environment(*, warn: bool = True) -> Settings:
    """Raises SettingsError. With `warn`, names that mean nothing are said on stderr."""
    if warn:
        for warning in unknown_names(os.environ):
            click.echo(f"warning: {warning}", err=True)
    return load_settings(os.environ)
