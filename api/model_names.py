"""From the name a client asks for to a model that this process can serve."""

from collections.abc import Collection

from adapters.live_directory import LiveDirectory
from domain.catalog import Model


def find_model(directory: LiveDirectory, providers: Collection[str], name: str) -> Model | None:
    """A catalogue name (`gpt-4o`, `sim/echo`), or `provider/name` for one whose name has no provider in it."""
    model = directory.model(name)
    if model is None and "/" in name:
        provider, _, rest = name.partition("/")
        model = directory.model(rest)
        if model is not None and model.provider != provider:
            return None
    return model if model is not None and model.provider in providers else None


def served_models(directory: LiveDirectory, providers: Collection[str]) -> list[Model]:
    """By name."""
    served = [model for model in directory.models().values() if model.provider in providers]
    return sorted(served, key=lambda model: model.model)
