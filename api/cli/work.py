"""`agg work`: what follows the log."""

import rich_click as click

from api.cli.environment import settings_from_environment


@click.command("work")
@click.option("--supervised", is_flag=True, hidden=True, help="Started by `agg up`, which has given the warnings.")
def command(supervised: bool) -> None:
    """Run what follows the log: it charges what requests cost and keeps what the API shows up to date.

    Start as many as you like, they share the work.
    """
    settings = settings_from_environment(warn=not supervised)
    from api.worker import work

    work(settings)
