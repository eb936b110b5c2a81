"""The locks of the clients that have environments of their own: hashes, exact versions, no addresses."""

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "e2e/foreign"


def read_json(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text())


def test_every_python_package_is_pinned_by_hash_and_named_without_an_address() -> None:
    lock = (FOLDER / "requirements.lock").read_text()
    packages = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]

    assert [package for package in packages if not re.search(r"==.*--hash=sha256:[0-9a-f]{64}", package, re.S)] == []
    assert "://" not in lock


def test_every_node_package_is_pinned_by_hash_and_named_without_an_address() -> None:
    locked = read_json("package-lock.json")["packages"]
    packages = {name: entry for name, entry in locked.items() if name}

    assert packages
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []


def test_the_node_packages_that_we_ask_for_have_exact_versions() -> None:
    wanted = read_json("package.json")["dependencies"]
    locked = read_json("package-lock.json")["packages"]

    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
