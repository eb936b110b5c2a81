import os
import stat
from pathlib import Path

import pytest

from adapters.endpoints import DatabaseEndpoint, RedisEndpoint
from api.endpoints import RunningServices, resolve_endpoints, write_services
from api.local_secrets import make_secrets, resolve_secrets
from api.local_state import LocalState
from api.settings import SettingsError, load_settings
from api.settings_report import describe
from api.startup import StartupError

DATABASE = DatabaseEndpoint(host="127.0.0.1", port=1, user="u", password="hunter2", dbname="d")
REDIS = RedisEndpoint(host="127.0.0.1", port=2, password="hunter2")


def test_what_is_kept_is_read_again_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    LocalState(path).update(a=1)
    LocalState(path).update(b="two")

    assert LocalState(path).read() == {"a": 1, "b": "two"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


def test_a_kept_value_is_made_once(tmp_path: Path) -> None:
    state = LocalState(tmp_path / "state.json")

    assert state.keep("key", lambda: "first") == "first"
    assert state.keep("key", lambda: "second") == "first"


def test_a_damaged_file_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")

    with pytest.raises(StartupError, match=r"state\.json cannot be read"):
        LocalState(path).read()


def test_generated_secrets_stay_the_same(tmp_path: Path) -> None:
    settings = load_settings({"AGG_DATA_DIR": str(tmp_path)})
    make_secrets(settings)
    first = resolve_secrets(settings)
    make_secrets(settings)

    assert resolve_secrets(settings) == first
    assert len(first.master_key) == 32
    assert len(first.jwt_secret) >= 32
    assert first.jwt_secret not in repr(first)


def test_given_secrets_win_over_generated_ones(tmp_path: Path) -> None:
    make_secrets(load_settings({"AGG_DATA_DIR": str(tmp_path)}))

    secrets = resolve_secrets(load_settings({"AGG_DATA_DIR": str(tmp_path), "AGG_AUTH_JWT_SECRET": "g" * 32}))

    assert secrets.jwt_secret == "g" * 32


def test_generated_secrets_are_described_as_such(tmp_path: Path) -> None:
    environ = {"AGG_DATA_DIR": str(tmp_path)}
    settings = load_settings(environ)
    make_secrets(settings)

    shown = {setting.name: setting for setting in describe(settings, environ)}

    assert (shown["AGG_MASTER_KEY"].value, shown["AGG_MASTER_KEY"].origin) == ("********", "generated")


def test_without_secrets_the_missing_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AGG_AUTH_JWT_SECRET and AGG_MASTER_KEY must be set"):
        resolve_secrets(load_settings({"AGG_DATA_DIR": str(tmp_path)}))


def test_a_server_of_the_users_wins_over_the_one_that_runs_here(tmp_path: Path) -> None:
    environ = {"AGG_DATA_DIR": str(tmp_path), "AGG_REDIS_HOST": "cache.example", "AGG_REDIS_DB": "3"}
    running = RunningServices(nats_url="nats://here:1", database=DATABASE, redis=REDIS, pids={"up": os.getpid()})
    write_services(load_settings(environ), running)

    endpoints = resolve_endpoints(load_settings(environ))

    assert (endpoints.nats_url, endpoints.database) == ("nats://here:1", DATABASE)
    assert (endpoints.redis.host, endpoints.redis.db) == ("cache.example", 3)
    assert "hunter2" not in repr(endpoints)


def test_servers_of_an_agg_up_that_is_gone_are_not_used(tmp_path: Path) -> None:
    settings = load_settings({"AGG_DATA_DIR": str(tmp_path)})
    write_services(settings, RunningServices(nats_url="nats://here:1", database=DATABASE, redis=REDIS))

    with pytest.raises(SettingsError, match="start it with `just up`, or set AGG_NATS_URL and"):
        resolve_endpoints(settings)
