"""`agg serve`: the API alone."""

import rich_click as click

from api.cli.environment import settings_from_environment


@click.command("serve")
@click.option("--supervised", is_flag=True, hidden=True, help="Started by `agg up`, which has given the warnings.")
def command(supervised: bool) -> None:
    """Run the API alone. It keeps nothing, so run as many as you like, with `agg work` beside them."""
    settings = settings_from_environment(warn=not supervised)
    from api.asgi import serve

    serve(settings)
