"""`python -m migrations.check`: do all migrations apply to an empty database and log, and do they fit our SQL?

SQL is any text in our modules that begins with a verb of SQL: literals wherever they stand, composed text where it is
a module's constant. Each is prepared against the migrated database, which finds every wrong name and type.
"""

import ast
import asyncio
import importlib
import pkgutil
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import asyncpg

from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.endpoints import DatabaseEndpoint, RedisEndpoint, ServiceEndpoints
from migrations.apply import connect, migrate

PACKAGES = ("projections", "adapters")
_SQL = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s", re.ASCII)


def main() -> int:
    directory = Path(tempfile.mkdtemp(prefix="agg-migrations-"))
    directory.chmod(0o711)
    try:
        mistakes = asyncio.run(check(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(mistakes) or "migrations apply, and every query fits them", file=sys.stderr)  # noqa: T201
    return 1 if mistakes else 0


async def check(directory: Path) -> list[str]:
    """What is wrong, one line each."""
    nats, postgres = NatsServer(directory / "nats"), PostgresServer(directory / "postgres")
    await asyncio.gather(nats.start(), postgres.start())
    try:
        redis = RedisEndpoint(host="127.0.0.1", port=0, password=None)
        endpoints = ServiceEndpoints(nats_url=nats.endpoint, database=postgres.endpoint, redis=redis)
        await migrate(endpoints)
        again = await migrate(endpoints)
        return [f"applied twice: {name}" for name in again] + await unfit_queries(postgres.endpoint)
    finally:
        await asyncio.gather(nats.stop(), postgres.stop())


async def unfit_queries(endpoint: DatabaseEndpoint) -> list[str]:
    connection = await connect(endpoint)
    mistakes: list[str] = []
    try:
        for module in _modules():
            for query in sorted(queries_of(module)):
                try:
                    await connection.prepare(query)
                except asyncpg.PostgresError as mistake:
                    mistakes.append(f"{module.__name__}: {mistake}: {' '.join(query.split())[:100]}")
    finally:
        await connection.close()
    return mistakes


def queries_of(module: ModuleType) -> set[str]:
    assert module.__file__
    literals = _literals(ast.parse(Path(module.__file__).read_text()))
    return {text for text in (*literals, *_constants(module)) if _SQL.match(text)}


def _constants(module: ModuleType) -> Iterator[str]:
    for value in vars(module).values():
        for text in value.values() if isinstance(value, dict) else (value,):
            if isinstance(text, str):
                yield text


def _literals(tree: ast.AST) -> Iterator[str]:
    """Without the parts of composed strings: those are no whole query."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def _modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            yield importlib.import_module(found.name)


if __name__ == "__main__":
    sys.exit(main())
