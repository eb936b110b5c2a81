"""Files that a client sends inside its request, as `data:image/png;base64,…`."""

from domain.errors import InvalidInput

SCHEME = "data:"


def is_data_uri(text: str) -> bool:
    return text[: len(SCHEME)].lower() == SCHEME


def media_type_and_data(uri: str, place: str) -> tuple[str, str]:
    """The media type and what follows, still base64. Raises InvalidInput at `place`."""
    head, _, data = uri.partition(",")
    media_type, *parameters = head[len(SCHEME) :].split(";")
    is_base64 = bool(parameters) and parameters[-1].strip().lower() == "base64"
    if not is_data_uri(uri) or not data or not is_base64 or "/" not in media_type:
        raise InvalidInput(
            f"{place}: not base64 with its media type; use data:<type>/<subtype>;base64,<data>.", field=place
        )
    return media_type.strip().lower(), data
