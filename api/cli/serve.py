"""`agg serve`: the API alone."""

from typing import cast

import rich_click as click

from api.cli.environment import settings_from_environment
from api.parts import PARTS, Part


def _parts(_context: click.Context, _option: click.Parameter, text: str) -> frozenset[Part]:
    named = [word.strip() for word in text.split(",")]
    for word in named:
        if word not in PARTS:
            raise click.BadParameter(f"{word!r} is none of {', '.join(PARTS)}")
    return frozenset(cast(list[Part], named))


@click.command("serve")
@click.option(
    "--routes",
    "parts",
    metavar="PARTS",
    default=",".join(PARTS),
    callback=_parts,
    help=f"Serve only these, separated by commas: {', '.join(PARTS)}.",
)
@click.option("--supervised", is_flag=True, hidden=True, help="Started by `agg up`, which has given the warnings.")
def command(parts: frozenset[Part], supervised: bool) -> None:
    """Run the API alone. It keeps nothing, so run as many as you like, with `agg work` beside them; several on one
    machine may share a port."""
    settings = settings_from_environment(warn=not supervised)
    from api.asgi import serve

    serve(settings, parts)
