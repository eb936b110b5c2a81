"""Deployments, routes and limits in the catalogue file: what may be written, what is refused by its place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.catalog.declared_routing import declaration_of, sections_of
from adapters.catalog.file import read_catalog, read_declaration
from domain.declaration import Declaration
from domain.deployment import Deployment, Limits
from domain.errors import InvalidInput

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = """
[[models]]
model = "m"
provider = "groq"
upstream_model = "llama"
owned_by = "meta"
context_length = 1000
max_output_tokens = 100
valid_from = "2026-01-01"
usd_per_million = { input = "2.50", output = "10" }
"""
DECLARED = """
[[deployments]]
name = "gpt-eu"
model = "gpt-4o"
provider = "openai"
upstream_model = "gpt-4o"
key_ref = "OPENAI_API_KEY_2"
limits = { rpm = 500 }

[[routes]]
name = "fast"
deployments = ["gpt-eu"]
total_timeout_s = 60
attempt_timeout_s = 30

[routes.cache]
ttl_s = 60
hit_percent = 10
scope = "shared"
semantic = { embedding_model = "text-embedding-3-small", threshold = 0.9 }

[[limits]]
scope = "key"
subject = "*"
requests_per_minute = 60
spend_usd_per_day = "1.50"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.toml"


def test_deployments_routes_and_limits_stand_beside_models(path: Path) -> None:
    path.write_text(MODEL + DECLARED)

    declared = read_declaration(path, NOW)

    assert declared.deployments == (
        Deployment(
            name="gpt-eu",
            model="gpt-4o",
            provider="openai",
            upstream_model="gpt-4o",
            key_ref="OPENAI_API_KEY_2",
            limits=Limits(rpm=500),
        ),
    )
    ((fast, cache),) = [(each.route, each.cache) for each in declared.routes]
    assert (fast.deployments, fast.total_timeout_s, fast.attempts_max) == (("gpt-eu",), 60.0, 3)
    assert cache is not None and cache.semantic is not None
    assert (cache.ttl_s, cache.scope, cache.semantic.threshold, cache.hit_percent) == (60, "shared", 0.9, 10)
    (limits,) = declared.limits
    assert (limits.name, limits.requests_per_minute, limits.spend_per_day_nanos) == ("key:*", 60, 1_500_000_000)
    assert len(read_catalog(path, NOW)) == 1


def test_what_is_declared_is_written_as_it_was_read(path: Path) -> None:
    path.write_text(DECLARED)
    declared = read_declaration(path, NOW)

    sections = sections_of(declared)

    assert declaration_of(sections.deployments, sections.routes, sections.limits, NOW) == declared


def test_nothing_is_declared_by_no_file_and_by_one_of_models_alone(path: Path) -> None:
    path.write_text(MODEL)

    assert read_declaration(None, NOW) == read_declaration(path, NOW) == Declaration()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("ttl_s = 60", "ttl_s = 0"), "routes[0] (fast).cache: ttl_s is between"),
        (
            ("hit_percent = 10", "hit_percent = 120"),
            "routes[0] (fast).cache: hit_percent is 120; give 0 (hits are free)",
        ),
        (("hit_percent = 10", "hit_percent = -1"), "routes[0] (fast).cache: hit_percent is -1; give 0"),
        (("hit_percent = 10", "hit_percent = 0.5"), "routes[0] (fast).cache.hit_percent: Expected `int`, got `float`"),
        (("ttl_s", "ttl"), "routes[0] (fast).cache: Object contains unknown field `ttl`; take it out"),
        (("threshold", "thresh"), "routes[0] (fast).cache.semantic: Object"),
        (("threshold = 0.9", "threshold = 1.5"), "routes[0] (fast).cache.semantic: threshold is above 0 and at most 1"),
        (("rpm", "rpx"), "deployments[0] (gpt-eu).limits: Object contains unknown field `rpx`"),
        (('name = "fast"', 'nam = "fast"'), "routes[0]: Object contains unknown field `nam`"),
        (('"1.50"', "1.5"), "limits[0] (*).spend_usd_per_day: Expected `str | null`"),
        (('"1.50"', '"lots"'), "limits[0] (*): spend_usd_per_day: amounts are decimal strings"),
        (('"key"', '"door"'), "limits[0] (*).scope: Invalid enum value 'door'"),
        (("[[limits]]", "[[limit]]"), "unknown field `limit`"),
        (("[routes.cache]", "[routes.cache"), "at line 16"),
        (('key_ref = "OPENAI_API_KEY_2"', 'api_key = "sk-hunter2"'), "unknown field `api_key`"),
    ],
)
def test_a_section_that_says_something_else_is_refused_by_its_number_and_name(
    path: Path, change: tuple[str, str], complaint: str
) -> None:
    path.write_text(DECLARED.replace(*change))

    with pytest.raises(InvalidInput) as refusal:
        read_declaration(path, NOW)

    assert complaint in str(refusal.value) and str(path) in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
