"""The API's socket, and uvicorn as it is to run here."""

import resource
import socket
from functools import partial
from typing import Any, cast

import uvicorn

from api.drain import Drain
from api.edge_protocol import EdgeProtocol
from api.graceful_server import GracefulServer
from api.settings import Settings
from api.startup import StartupError

KEEP_ALIVE_S = 75
BACKLOG = 2048
MOST_OPEN_FILES = 65_536
"""As many as are asked for, where the system's own limit is higher."""


def bind(settings: Settings) -> socket.socket:
    """Several processes may share the port. Raises StartupError when somebody else has it."""
    bound = socket.socket(socket.AF_INET6 if ":" in settings.server_host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((settings.server_host, settings.server_port))
    except OSError as error:
        raise StartupError(
            f"port {settings.server_port} on {settings.server_host} cannot be used ({error.strerror}): "
            "choose another with AGG_SERVER_PORT"
        ) from None
    return bound


def most_connections() -> int:
    """Half of the files that may be open: the other half is for providers, the log and the servers. Raises the
    process's limit to what the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
        soft = granted
    return (MOST_OPEN_FILES if soft == resource.RLIM_INFINITY else soft) // 2


def run_server(app: Any, settings: Settings, drain: Drain) -> None:
    """Until SIGTERM or SIGINT; what runs then may finish within the drain's grace. Raises StartupError."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=cast(Any, partial(EdgeProtocol, most_connections=most_connections())),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = GracefulServer(config, drain, settings.drain_grace.total_seconds())
    server.run(sockets=[bind(settings)])
