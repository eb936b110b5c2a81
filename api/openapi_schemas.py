"""Schemas as readers like them: a value that may be null has two types, not two schemas; every enum has a type."""

from typing import Any

NULL = {"type": "null"}


def simplify(node: Any) -> Any:
    """The same promise in fewer words, all the way down."""
    if isinstance(node, list):
        return [simplify(item) for item in node]
    if not isinstance(node, dict):
        return node
    simple: dict[str, Any] = {key: simplify(value) for key, value in node.items()}
    for choice in ("anyOf", "oneOf"):
        if isinstance(simple.get(choice), list):
            simple = _merged(simple, choice)
    return _titled(_typed(simple))


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """For a parameter: it can be left out, but not be null."""
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return schema
    rest = [kind for kind in kinds if kind != "null"]
    plain = {**schema, "type": rest[0] if len(rest) == 1 else rest}
    if "enum" in schema:
        plain["enum"] = [value for value in schema["enum"] if value is not None]
    return plain


def _merged(schema: dict[str, Any], choice: str) -> dict[str, Any]:
    """`anyOf: [X, null]` as X with a second type."""
    options = [option for option in schema[choice] if option != NULL]
    if len(options) == len(schema[choice]) or len(options) != 1 or not isinstance(options[0].get("type"), str):
        return schema
    rest = {key: value for key, value in schema.items() if key != choice}
    only = options[0]
    merged = {**only, **rest, "type": [only["type"], "null"]}
    if "enum" in only:
        merged["enum"] = [*only["enum"], None]
    return merged


def _typed(schema: dict[str, Any]) -> dict[str, Any]:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if "type" in schema or not isinstance(values, list) or not values:
        return schema
    return {"type": "string", **schema} if all(isinstance(value, str) for value in values) else schema


def _titled(schema: dict[str, Any]) -> dict[str, Any]:
    """A class's own name is no business of the reader."""
    title = schema.get("title")
    return {**schema, "title": title.lstrip("_")} if isinstance(title, str) else schema


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of your own making, up to 255 visible characters. For 24 hours the same request with the same key "
    "is done once and answered again with the same bytes (`idempotency-replayed: true`); 409 while the first still "
    "runs, 422 for another request.",
    "schema": {"type": "string", "maxLength": 255},
}


def header(text: str, example: str) -> dict[str, Any]:
    """A header of an answer."""
    return {"description": text, "schema": {"type": "string"}, "example": example}
