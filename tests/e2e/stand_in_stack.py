"""The local stack with real servers but programs of a few lines, so that its behaviour can be tried alone.

python -m tests.e2e.stand_in_stack up [KIND]        KIND of API: good (default), stubborn, refusing, slow
"""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

from api.endpoints import resolve_endpoints
from api.local_secrets import resolve_secrets
from api.local_stack import Plan, run_local_stack
from api.local_state import SECRETS, LocalState
from api.settings import Settings, load_settings
from api.startup import StartupError


@dataclass(frozen=True)
class Seeded:
    api_key: str
    admin_email: str = "admin@example.com"
    admin_password: str = "p" * 16


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def api(kind: str) -> None:
    settings = load_settings(os.environ)
    resolve_endpoints(settings)
    resolve_secrets(settings)
    if kind == "refusing":
        say("this is why")
        sys.exit(2)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "slow":
        time.sleep(3600)
    HTTPServer((settings.server_host, settings.server_port), Ready).serve_forever()


def up(kind: str) -> None:
    here = (sys.executable, "-m", "tests.e2e.stand_in_stack")
    plan = Plan(
        settings=load_settings(os.environ),
        programs={"worker": ("/bin/sleep", "3600"), "api": (*here, "api", kind)},
        prepare=prepare,
        announce=lambda url, seeded: say(f"serving at {url} with {seeded.api_key}"),
        say=say,
    )
    try:
        asyncio.run(run_local_stack(plan))
    except StartupError as failure:
        say(f"refused: {failure}")
        sys.exit(2)


async def prepare(settings: Settings) -> Seeded:
    resolve_endpoints(settings)
    return Seeded(LocalState(settings.data_dir / SECRETS).keep("api_key", lambda: os.urandom(8).hex()))


if __name__ == "__main__":
    {"up": up, "api": api}[sys.argv[1]](*sys.argv[2:] or ["good"])
