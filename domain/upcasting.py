"""Events of earlier releases, brought to the shape of today. The log keeps them as they were written."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""From the data of one version to that of the next: pure, and never changed once released."""

Upcasts = Mapping[str, tuple[str, Step]]
"""An outdated tag → the tag that replaced it, and the step between them."""

UPCASTS: Upcasts = {}


def current_tag(tag: str, upcasts: Upcasts = UPCASTS) -> str:
    """The tag that an event has after all its steps; a tag of today is its own."""
    while tag in upcasts:
        tag = upcasts[tag][0]
    return tag


def upcast(tag: str, raw: bytes | msgspec.Raw, upcasts: Upcasts = UPCASTS) -> tuple[str, dict[str, Any]]:
    """Today's tag and data of an outdated event. Raises msgspec.DecodeError for data that is no object."""
    data = msgspec.json.decode(raw, type=dict[str, Any])
    while tag in upcasts:
        tag, step = upcasts[tag]
        data = {**step(data), "type": tag}
    return tag, data
