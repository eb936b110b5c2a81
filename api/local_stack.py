"""Everything on one machine: the servers that the user does not bring, then the programs, until told to stop."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Protocol

import msgspec

from adapters.embedded.server import ServerFailed
from api.data_lock import hold_data_dir
from api.endpoints import UP, read_services, write_services
from api.local_secrets import make_secrets
from api.local_servers import LocalServers
from api.local_state import READY, LocalState
from api.settings import Settings
from api.startup import StartupError
from api.supervisor import PROGRAM_DEADLINE_S, Program, StopSignal, Supervisor

READY_DEADLINE_S = 120.0
READY_POLL_S = 0.05
READY_TIMEOUT_S = 2.0
STILL_WAITING_S = 5.0
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


class Credentials(Protocol):
    """What the first start makes for the person who runs it, and every later one finds again."""

    @property
    def api_key(self) -> str: ...
    @property
    def admin_email(self) -> str: ...
    @property
    def admin_password(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`prepare` makes the servers usable, then the `programs` start together; the last of them stops first.

    `announce` is told when all serve, `say` whatever else a person should know.
    """

    settings: Settings
    programs: Mapping[str, Sequence[str]]
    prepare: Callable[[Settings], Awaitable[Credentials]]
    announce: Callable[[str, Credentials], None]
    say: Callable[[str], None]


def base_url(settings: Settings) -> str:
    host = ANY_HOST.get(settings.server_host, settings.server_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server_port}"


async def run_local_stack(plan: Plan) -> None:
    """Until a signal asks to stop; nothing is left running then. Raises StartupError."""
    with hold_data_dir(plan.settings.data_dir) as lock:
        check_port(plan.settings)
        make_secrets(plan.settings)
        stack = _LocalStack(plan, lock)
        stack.withdraw()  # what a killed predecessor announced
        stop = StopSignal.from_signals()
        try:
            await stack.run(stop.requested)
        except ServerFailed as failure:
            raise StartupError(str(failure)) from None
        finally:
            try:
                stack.withdraw()
            finally:
                await stack.supervisor.stop(stop.hurry)


def check_port(settings: Settings) -> None:
    """Raises StartupError when the API could not listen."""
    host, port = settings.server_host, settings.server_port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as failure:
        raise StartupError(
            f"cannot listen on {host}:{port} ({failure.strerror}): stop what does, or set AGG_SERVER_PORT"
        ) from None


class _LocalStack:
    def __init__(self, plan: Plan, lock: int) -> None:
        self._plan = plan
        self._settings = plan.settings
        self._lock = lock
        self._servers = LocalServers.of(plan.settings, lock)
        self._announced: dict[str, object] = {}
        self.supervisor = Supervisor(plan.say, self._note_pids)

    async def run(self, stop_requested: asyncio.Event) -> None:
        """Start everything, then rest until told to stop or a program refuses."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop_requested.wait())
        refusal = self.supervisor.refusal
        try:
            await asyncio.wait({starting, stopping, refusal}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await asyncio.wait({stopping, refusal}, return_when=asyncio.FIRST_COMPLETED)
            if refusal.done() and not stopping.done():
                raise StartupError(refusal.result())
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    def withdraw(self) -> None:
        """Tell nobody any more that something runs here; the ports stay noted for the next start."""
        LocalState(self._settings.data_dir / READY).remove()
        services = read_services(self._settings)
        write_services(self._settings, msgspec.structs.replace(services, pids={}))

    async def _start(self) -> None:
        await self.supervisor.start(*self._servers.started_in_order)
        credentials = await self._plan.prepare(self._settings)
        stop_s = self._settings.drain_grace.total_seconds() + PROGRAM_DEADLINE_S
        programs = [
            Program(name, argv, keep_fds=(self._lock,), stop_s=stop_s) for name, argv in self._plan.programs.items()
        ]
        await self.supervisor.start(*programs)
        url = base_url(self._settings)
        await until_ready(url, self._plan.say)
        self._announced = {
            "base_url": url,
            "api_key": credentials.api_key,
            "admin_email": credentials.admin_email,
            "admin_password": credentials.admin_password,
        }
        self._note_pids(self.supervisor.pids)
        self._plan.announce(url, credentials)

    def _note_pids(self, running: Mapping[str, int]) -> None:
        pids = {UP: os.getpid(), **running}
        write_services(self._settings, self._servers.running(pids))
        if self._announced:
            LocalState(self._settings.data_dir / READY).write({**self._announced, "pids": pids})


async def until_ready(url: str, say: Callable[[str], None]) -> None:
    """Says now and then what it waits for. Raises StartupError when `/health/ready` does not answer 200 in time."""
    began = said = time.monotonic()
    while (answer := await asyncio.to_thread(_readiness, url)) is not None:
        now = time.monotonic()
        if now > began + READY_DEADLINE_S:
            raise StartupError(f"the API at {url} is not ready after {READY_DEADLINE_S:.0f} s: {answer}")
        if now > said + STILL_WAITING_S:
            say(f"still waiting for {url}: {answer}")
            said = now
        await asyncio.sleep(READY_POLL_S)


def _readiness(url: str) -> str | None:
    """None when it is ready, else the answer. The standard library's client: this is no reason to import another."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, HTTPException) as failure:
        return str(failure) or type(failure).__name__
    finally:
        connection.close()
    return None if response.status == HTTPStatus.OK else f"{response.status} {body[:200]}"
