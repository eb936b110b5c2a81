import base64
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from api.settings import FIELD_OF, Settings, SettingsError, load_settings
from api.settings_report import describe, unknown_names

LONG_SECRET = "s" * 32
MASTER_KEY = base64.b64encode(b"k" * 32).decode()


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_empty_environment_is_the_embedded_default() -> None:
    settings = load_settings({})

    assert (settings.server_host, settings.server_port) == ("127.0.0.1", 8080)
    assert settings.data_dir == Path(".agg")
    assert settings.durability == "strict"
    assert settings.auth_jwt_expiration == timedelta(hours=24)
    assert settings.auth_refresh_expiration == timedelta(hours=720)
    assert not (settings.has_own_nats or settings.has_own_database or settings.has_own_redis)


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGG_SERVER_PORT", "9999")

    assert load_settings({}).server_port == 8080


def test_values_arrive_in_their_own_types() -> None:
    settings = load_settings(
        {
            "AGG_SERVER_PORT": "9000",
            "AGG_AUTH_JWT_SECRET": LONG_SECRET,
            "AGG_AUTH_JWT_PREVIOUS_SECRETS": f"{'a' * 32}, {'b' * 32}",
            "AGG_AUTH_JWT_EXPIRATION": "1h30m",
            "AGG_MASTER_KEY": MASTER_KEY,
            "AGG_UNPRICED_CEILING_USD": "0.25",
            "AGG_LOG_LEVEL": "DEBUG",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/",
        }
    )

    assert settings.server_port == 9000
    assert [secret.get_secret_value()[0] for secret in settings.auth_jwt_previous_secrets] == ["a", "b"]
    assert settings.auth_jwt_expiration == timedelta(minutes=90)
    assert settings.unpriced_ceiling_usd == Decimal("0.25")
    assert settings.log_level == "debug"
    assert settings.openai_base_url == "http://127.0.0.1:9/v1"


def test_an_empty_variable_counts_as_not_given() -> None:
    settings = load_settings({"AGG_NATS_URL": "", "AGG_SERVER_PORT": "", "AGG_DATABASE_HOST": ""})

    assert settings == load_settings({})
    assert not settings.has_own_database


def test_any_name_of_a_group_means_a_server_of_the_users() -> None:
    assert load_settings({"AGG_DATABASE_PASSWORD": "p"}).has_own_database
    assert load_settings({"AGG_REDIS_PORT": "6380"}).has_own_redis


def test_a_short_jwt_secret_is_refused_with_the_remedy() -> None:
    assert refusal({"AGG_AUTH_JWT_SECRET": "hunter2"}) == (
        "AGG_AUTH_JWT_SECRET is 7 bytes long and must be at least 32: make one with `openssl rand -base64 48`"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGG_SERVER_PORT", "http"),
        ("AGG_SERVER_PORT", "0"),
        ("AGG_SERVER_PORT", "70000"),
        ("AGG_DURABILITY", "maybe"),
        ("AGG_LOG_FORMAT", "xml"),
        ("AGG_AUTH_JWT_EXPIRATION", "24"),
        ("AGG_AUTH_JWT_EXPIRATION", "0"),
        ("AGG_MASTER_KEY", "c2hvcnQ="),
        ("AGG_MASTER_KEY", "päss"),
        ("AGG_NATS_URL", "http://127.0.0.1:4222"),
        ("AGG_NATS_URL", "nats://[::1"),
        ("AGG_AUTH_JWT_PREVIOUS_SECRETS", f"{LONG_SECRET},short"),
        ("AGG_UNPRICED_CEILING_USD", "NaN"),
        ("AGG_REDIS_DB", "-1"),
        ("OPENAI_BASE_URL", "api.example.com"),
    ],
)
def test_a_wrong_value_is_explained_in_one_line_that_starts_with_the_name(name: str, value: str) -> None:
    assert refusal({name: value}).startswith(name)


def test_all_wrong_values_are_told_at_once() -> None:
    line = refusal({"AGG_SERVER_PORT": "x", "AGG_DURABILITY": "y"})

    assert "AGG_SERVER_PORT='x'" in line
    assert "AGG_DURABILITY='y'" in line


def test_a_refused_secret_is_not_repeated() -> None:
    assert "hunter2" not in refusal({"AGG_AUTH_JWT_SECRET": "hunter2", "AGG_MASTER_KEY": "hunter2"})


@pytest.mark.parametrize("key", ["sk-1\r\nx-evil: 1", "sk-1 sk-2", "sk-\u20ac", "sk-\0"])
def test_a_providers_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY must be one word") as refused:
        load_settings({"OPENAI_API_KEY": key})
    with pytest.raises(SettingsError, match="TEAM_KEY must be one word") as named:
        load_settings({"TEAM_KEY": key}).secret_named("TEAM_KEY")
    assert key not in str(refused.value) + str(named.value)


def test_a_line_end_that_was_copied_with_a_providers_key_is_none_of_it() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-1\n", "TEAM_KEY": " sk-2\r\n"})
    assert settings.openai_api_key
    assert settings.openai_api_key.get_secret_value() == "sk-1"
    assert settings.secret_named("TEAM_KEY") == "sk-2"


def test_settings_shown_by_accident_hide_their_secrets() -> None:
    settings = load_settings({"AGG_AUTH_JWT_SECRET": LONG_SECRET, "AGG_NATS_URL": "nats://u:hunter2@127.0.0.1:4222"})

    assert LONG_SECRET not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_a_secret_may_come_out_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{LONG_SECRET}\n")

    settings = load_settings({"AGG_AUTH_JWT_SECRET_FILE": str(file)})

    assert settings.auth_jwt_secret is not None
    assert settings.auth_jwt_secret.get_secret_value() == LONG_SECRET


def test_a_secret_file_that_is_missing_empty_or_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert "No such file" in refusal({"OPENAI_API_KEY_FILE": str(file)})
    file.touch()
    assert "is empty" in refusal({"OPENAI_API_KEY_FILE": str(file)})
    assert "both" in refusal({"OPENAI_API_KEY": "k", "OPENAI_API_KEY_FILE": str(file)})


def test_an_unknown_name_is_warned_about_with_the_nearest_known_one() -> None:
    warnings = unknown_names({"AGG_SERVER_PROT": "1", "AGG_QQQQQQQQ": "1", "AGG_SERVER_PORT": "1", "PATH": "/"})

    assert warnings == [
        "AGG_QQQQQQQQ is not a setting and has no effect",
        "AGG_SERVER_PROT is not a setting and has no effect: did you mean AGG_SERVER_PORT?",
    ]


def test_secret_files_are_known_names() -> None:
    assert unknown_names({"AGG_MASTER_KEY_FILE": "x", "AGG_AUTH_JWT_SECRET_FILE": "x"}) == []


def test_every_setting_is_described_with_its_origin_and_without_its_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    environ = {
        "AGG_DATA_DIR": str(tmp_path),
        "AGG_NATS_URL": "nats://user:hunter2@127.0.0.1:4222",
        "OPENAI_API_KEY_FILE": str(tmp_path / "key"),
    }

    shown = {setting.name: setting for setting in describe(load_settings(environ), environ)}

    assert set(shown) == set(FIELD_OF)
    assert (shown["AGG_NATS_URL"].value, shown["AGG_NATS_URL"].origin) == ("nats://********@127.0.0.1:4222", "env")
    assert (shown["OPENAI_API_KEY"].value, shown["OPENAI_API_KEY"].origin) == ("********", "file")
    assert (shown["AGG_AUTH_JWT_EXPIRATION"].value, shown["AGG_SERVER_PORT"].origin) == ("24h", "default")


def test_every_field_has_a_variable() -> None:
    assert set(FIELD_OF.values()) == set(Settings.model_fields)
