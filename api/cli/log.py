"""`agg log`: the record of everything that happened, read as it is stored."""

import rich_click as click

from api.cli.environment import settings_from_environment
from api.cli.suggest import SuggestingGroup

WHAT = {"EVT": "EVT", "REQ": "REQ", "ALL": "all"}


@click.group("log", cls=SuggestingGroup)
def command() -> None:
    """Read and verify the log: the record of everything that happened.

    It has two streams. EVT holds the facts of accounts: users, keys, prices, and all movements of credit. REQ holds the
    life of AI requests. A position such as EVT:12 or REQ:34 names one message; `x-agg-position` in the API's answers
    is one.
    """


@command.command("tail")
@click.option(
    "--stream",
    type=click.Choice(list(WHAT.values()), case_sensitive=False),
    metavar="EVT|REQ|all",
    default="all",
    show_default=True,
    help="EVT: facts of accounts. REQ: the life of AI requests.",
)
@click.option("--account", metavar="ID", help="Only events of this account.")
@click.option("--type", "type_prefix", metavar="PREFIX", default="", help="Only types that begin so, e.g. `ledger.`")
@click.option(
    "-n", "lines", metavar="N", type=click.IntRange(min=0), default=10, show_default=True, help="Begin N events back."
)
@click.option("--no-follow", is_flag=True, help="Stop after those instead of waiting for new ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def tail(stream: str, account: str | None, type_prefix: str, lines: int, no_follow: bool, as_json: bool) -> None:
    """Show the latest events and then every new one as it is recorded, until Ctrl-C."""
    settings = settings_from_environment()
    from api.cli.log_tail import Wanted, follow_log

    wanted = Wanted(WHAT[stream.upper()], account, type_prefix)
    follow_log(settings, wanted, lines=lines, follow=not no_follow, as_json=as_json)


@command.command("show")
@click.argument("position", metavar="POSITION")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def show(position: str, as_json: bool) -> None:
    """Show one message with its events, decoded. POSITION is EVT:12 or REQ:34."""
    settings = settings_from_environment()
    from api.cli.log_access import read_position
    from api.cli.log_show import show_message

    place = read_position(position)
    if place is None:
        raise click.BadParameter(f"{position!r} is no position; write EVT:12 or REQ:34", param_hint="POSITION")
    raise SystemExit(show_message(settings, *place, as_json=as_json))


@command.command("verify")
@click.option("--json", "as_json", is_flag=True, help="A report for scripts.")
def verify(as_json: bool) -> None:
    """Read the whole log and prove it: nothing missing, nothing changed, every request charged exactly once.

    EVT: events of each aggregate are numbered without a gap and chained by hash, carry the state that their facts
    give, and money adds up. REQ: each writer's events are all there, each request has one admission and one end, and
    what it cost is in exactly one charge. Both are compared with the archive in Postgres, when that answers.

    Exit code 0: the log is sound. 1: it is not; each finding says where and what to do. 2: it could not be read.
    """
    settings = settings_from_environment()
    from api.cli.log_verify import verify_log

    raise SystemExit(verify_log(settings, as_json=as_json))
