"""The command line. A command's module is imported when it is asked for, so that each starts fast."""

import sys
from importlib import import_module

import rich_click as click

from api.cli.suggest import SuggestingGroup
from api.startup import StartupError

WRONG_USE = 2

# name → the module whose `command` is a click command or group
COMMANDS = {
    "up": "api.cli.up",
    "serve": "api.cli.serve",
    "work": "api.cli.work",
    "migrate": "api.cli.migrate",
    "seed": "api.cli.seed",
    "config": "api.cli.config",
    "catalog": "api.cli.catalog",
    "log": "api.cli.log",
    "trace": "api.cli.trace",
}


class LazyGroup(SuggestingGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def agg() -> None:
    """One OpenAI-compatible API in front of every AI provider, with money that can be proven from the log.

    New here? `agg up` starts everything on this machine and says how to send the first request. Every command finds
    what `agg up` runs in the same AGG_DATA_DIR, or the servers that AGG_NATS_URL, AGG_DATABASE_* and AGG_REDIS_* name.

    Exit codes: 0 good, 1 the answer is no, 2 wrong use or not able to start.
    """


def main() -> None:
    """Exit codes: 0 good, 1 the answer is no, 2 wrong use or not able to start."""
    try:
        agg(prog_name="agg")
    except StartupError as failure:
        click.echo(f"agg: {failure}", err=True)
        sys.exit(WRONG_USE)
