"""What is said beside the JSON schema of an answer, for providers that take the schema only."""

import msgspec

from domain.chat import ResponseFormat

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def described(wanted: ResponseFormat) -> msgspec.Raw:
    """The schema with its description inside, unless it has one. What is no object stays as it is."""
    if wanted.description is None:
        return wanted.schema
    try:
        members = _decode_members(wanted.schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return wanted.schema
    members.setdefault("description", msgspec.Raw(msgspec.json.encode(wanted.description)))
    return msgspec.Raw(msgspec.json.encode(members))
