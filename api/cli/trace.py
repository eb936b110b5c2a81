"""`agg trace`: one request, from its admission to its charge."""

import rich_click as click

from api.cli.environment import settings_from_environment


@click.command("trace")
@click.argument("request_id", metavar="REQUEST_ID")
@click.option("--scan", is_flag=True, help="Read the log itself to find the request, without the read models.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(request_id: str, scan: bool, as_json: bool) -> None:
    """Show what happened to one AI request, from admission to charge, as the log has it.

    REQUEST_ID is what the API answered as `x-request-id`, such as req_0197….

    Exit code 0: found. 1: there is no such request. 2: the log could not be read.
    """
    settings = settings_from_environment()
    from api.cli.trace_report import trace_request

    raise SystemExit(trace_request(settings, request_id, scan=scan, as_json=as_json))
