"""`agg catalog`: what is declared, what a file would change, and where models and prices come from."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

from api.cli.environment import settings_of_command
from api.startup import StartupError

if TYPE_CHECKING:
    from adapters.catalog.import_prices import Imported


@click.group("catalog")
def command() -> None:
    """Models and what they cost; deployments, routes and limits."""


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="For scripts: as PUT /api/v1/admin/catalog takes it.")
def show(as_json: bool) -> None:
    """Show the deployments, routes and limits that hold now, whoever declared them."""
    settings = settings_of_command()
    from api.cli.catalog_declared import show_catalog

    show_catalog(settings, as_json=as_json)


@command.command("diff")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def diff(path: Path, as_json: bool) -> None:
    """Show what `agg catalog apply FILE` would change. Exit code 1 if that is anything."""
    settings = settings_of_command()
    from api.cli.catalog_declared import diff_file

    sys.exit(diff_file(settings, path, as_json=as_json))


@command.command("apply")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For scripts: what changed.")
def apply(path: Path, as_json: bool) -> None:
    """Make the catalogue what FILE declares, on all workers at once; a file with a mistake changes nothing.

    Models are published and never taken back. Deployments, routes and limits that an earlier file declared and this
    one does not are removed; those of PUT /api/v1/admin/catalog stay, unless the file names them too.
    """
    settings = settings_of_command()
    from api.cli.catalog_declared import apply_to_log

    apply_to_log(settings, path, as_json=as_json)


@command.command("import-prices")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Only this one, by genai-prices' name; may be repeated.",
)
@click.option("--write", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write the file here.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: what is in it, and what is left out and why.")
def import_prices(providers: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Make a catalogue file from the prices in the installed genai-prices, and from what is kept by hand.

    Without --provider it is the file that ships. With one it is a start for your own (AGG_CATALOG): correct it, and
    declare the provider in it. Nothing is fetched: newer prices come with a newer package. The file goes to stdout,
    or to --write; what is left out is said on stderr.
    """
    from adapters.catalog.import_prices import COMMENT
    from adapters.catalog.import_prices import import_prices as imported_from
    from adapters.catalog.toml_text import catalog_text
    from domain.errors import InvalidInput

    try:
        imported = imported_from(providers, datetime.now(UTC))
    except InvalidInput as error:
        raise StartupError(str(error)) from error
    text = catalog_text(imported.entries, COMMENT)
    if path is not None:
        path.write_text(text, encoding="utf-8")
    if as_json:
        click.echo(msgspec.json.encode(_as_data(imported)).decode())
        return
    if path is None:
        click.echo(text, nl=False)
    for each in imported.left_out:
        click.echo(f"left out: {each.provider} {each.model}: {each.why}", err=True)
    if path is not None:
        click.echo(f"{path}: {len(imported.entries)} models; {len(imported.left_out)} left out")


def _as_data(imported: "Imported") -> dict[str, Any]:
    models = [
        {"model": listed.model, "provider": listed.provider, "prices": prices} for listed, prices in imported.entries
    ]
    return {"models": models, "left_out": imported.left_out}
