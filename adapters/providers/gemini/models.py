"""What follows from the name of a Gemini model: where it is called, and how old it is."""

import re
from urllib.parse import quote

_PREFIX = "models/"
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST = (3, 0)
"""What an alias such as `gemini-flash-latest` is taken for."""


def resource_name(model: str) -> str:
    """`models/gemini-2.5-flash`, whether or not the prefix is there already."""
    return _PREFIX + model.removeprefix(_PREFIX)


def bare_name(model: str) -> str:
    return model.removeprefix(_PREFIX)


def method_path(model: str, method: str) -> str:
    return f"/v1beta/models/{quote(bare_name(model), safe='')}:{method}"


def gemini_version(model: str) -> tuple[int, int] | None:
    """Major and minor; None for what is no Gemini, such as Gemma."""
    name = bare_name(model)
    if found := _VERSION.match(name):
        return int(found[1]), int(found[2] or 0)
    return _NEWEST if name.startswith("gemini-") else None


def signs_thoughts(model: str) -> bool:
    """Whether it refuses a history whose function calls are not signed; those can also see what a tool returns."""
    version = gemini_version(model)
    return version is not None and version >= (3, 0)
