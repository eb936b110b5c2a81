"""Files for browsers: our own, and vendored packages as the manifest lists them. Nothing is fetched at run time."""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec

MANIFEST = "manifest.json"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
LARGEST_TOTAL_BYTES = 4_000_000


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`files` are SHA-256 hashes by path below this directory."""

    package: str
    version: str
    license: str
    files: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    packages: list[Package]


@cache
def read_asset(name: str) -> bytes | None:
    """None for a name that browsers have no business with."""
    if media_type_of(name) is None or name not in _files(_root()):
        return None
    return _root().joinpath(name).read_bytes()


def read_page(name: str) -> str:
    return _root().joinpath(name).read_text()


def media_type_of(name: str) -> str | None:
    return MEDIA_TYPES.get(f".{name.rpartition('.')[2]}")


def fingerprint_of(name: str) -> str:
    """Changes with the content, so that browsers may keep it for ever."""
    content = read_asset(name)
    assert content is not None, name
    return hashlib.sha256(content).hexdigest()[:12]


def mistakes(root: Traversable | None = None) -> list[str]:
    """What the manifest and the directory disagree on, one line each."""
    root = root or _root()
    manifest = msgspec.json.decode(root.joinpath(MANIFEST).read_bytes(), type=Manifest)
    found = _files(root)
    listed = {name: sha256 for package in manifest.packages for name, sha256 in package.files.items()}
    wrong = [
        f"{name}: {reason}" for name, sha256 in listed.items() if (reason := _wrong(root, name, sha256, name in found))
    ]
    wrong += [
        f"{name}: not in {MANIFEST}; vendored files are listed there" for name in _vendored(found - listed.keys())
    ]
    total = sum(len(root.joinpath(name).read_bytes()) for name in found)
    if total > LARGEST_TOTAL_BYTES:
        wrong.append(f"{total:,} bytes in all, at most {LARGEST_TOTAL_BYTES:,} belong into a repository of code")
    return wrong


def _wrong(root: Traversable, name: str, sha256: str, present: bool) -> str | None:
    if not present:
        return "missing"
    actual = hashlib.sha256(root.joinpath(name).read_bytes()).hexdigest()
    return None if actual == sha256 else f"its SHA-256 is {actual}, the manifest says {sha256}"


def _vendored(names: set[str]) -> list[str]:
    """Each package has a directory of its own; what stands beside the manifest is ours."""
    return sorted(name for name in names if "/" in name)


def _files(directory: Traversable, prefix: str = "") -> set[str]:
    names: set[str] = set()
    for entry in directory.iterdir():
        if entry.is_file():
            names.add(prefix + entry.name)
        elif entry.name != "__pycache__":
            names |= _files(entry, f"{prefix}{entry.name}/")
    return names


def _root() -> Traversable:
    return resources.files("api.assets")
