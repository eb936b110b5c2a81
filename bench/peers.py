"""Other gateways, installed into a directory of their own and started the way their makers advise, with one worker."""

import os
import secrets
import subprocess
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from bench.processes import Cores, Failed, family, free_port, plain_environment, running, tail, tool
from bench.target import MODEL, Target, fetch, until

KEY = "dummy"
LITELLM_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{port}/v1
      api_key: {key}
general_settings:
  master_key: {master_key}
litellm_settings:
  telemetry: false
  set_verbose: false
"""
LITELLM_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
}

PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "^1.15.2"},
    "overrides": {"@hono/node-server": "1.13.8"},
}
"""With the server that a fresh installation brings (1.19), every stream of Portkey 1.15.2 ends with status 500."""

Peer = Callable[[Path, Target, Cores], AbstractContextManager[Target]]


@contextmanager
def litellm(directory: Path, mock: Target, cores: Cores) -> Generator[Target]:
    """LiteLLM's proxy: no database, no callbacks, and the one master key without which it does not start."""
    python = directory / "venv" / "bin" / "python"
    if not python.exists():
        _install([tool("uv"), "venv", "--quiet", "--python", "3.11", str(directory / "venv")], directory)
    if not (python.parent / "litellm").exists():
        _install([tool("uv"), "pip", "install", "--quiet", "--python", str(python), "litellm[proxy]"], directory)
    version = _output([str(python), "-c", "from importlib.metadata import version; print(version('litellm'))"])
    port, config, master_key = free_port(), directory / "config.yaml", f"sk-{secrets.token_hex(32)}"
    config.write_text(LITELLM_CONFIG.format(model=MODEL, port=mock.port, key=KEY, master_key=master_key))
    argv = [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with _served(directory, argv, LITELLM_ENVIRONMENT, port, "/health/liveliness", cores) as pids:
        yield Target(
            name="litellm", version=version, port=port, headers={"authorization": f"Bearer {master_key}"}, pids=pids
        )


@contextmanager
def portkey(directory: Path, mock: Target, cores: Cores) -> Generator[Target]:
    """Portkey's gateway on node."""
    package = directory / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_bytes(msgspec.json.encode(PORTKEY_PACKAGE))
        _install([tool("npm"), "install", "--silent", "--no-audit", "--no-fund"], directory)
    version = msgspec.json.decode((package / "package.json").read_bytes())["version"]
    port = free_port()
    argv = [tool("node"), str(package / "build" / "start-server.js"), "--headless", f"--port={port}"]
    headers = {
        "authorization": f"Bearer {KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{mock.port}/v1",
    }
    with _served(directory, argv, {"NODE_ENV": "production"}, port, "/", cores) as pids:
        yield Target(name="portkey", version=version, port=port, headers=headers, pids=pids)


PEERS: dict[str, Peer] = {"litellm": litellm, "portkey": portkey}


@contextmanager
def _served(
    directory: Path, argv: list[str], environment: dict[str, str], port: int, path: str, cores: Cores
) -> Generator[set[int]]:
    """The processes of a peer that answers."""
    log = directory / "peer.log"
    log.unlink(missing_ok=True)
    path_of_node = os.pathsep.join([str(Path(argv[0]).parent), os.environ.get("PATH", "")])
    with running(argv, log=log, env=plain_environment(PATH=path_of_node, **environment), cwd=directory) as child:
        try:
            until(lambda: _answer(f"http://127.0.0.1:{port}{path}"), directory.name, log, child)
        except Failed as failure:
            raise Failed(f"{failure}\n{tail(log)}") from None
        pids = family([child.pid])
        cores.measured(pids)
        yield pids


def _answer(url: str) -> str | None:
    try:
        return fetch(url).decode(errors="replace") or "nothing"
    except OSError:
        return None


def _install(argv: list[str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{Path(argv[0]).name} could not install {directory.name}: {done.stderr[-500:]}")


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
