"""Images, documents and audio as Gemini takes them: their bytes, or a URL that it fetches itself."""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from domain.chat import Audio, Document, Image

_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".csv": "text/csv",
    ".css": "text/css",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".rtf": "text/rtf",
    ".txt": "text/plain",
    ".xml": "text/xml",
    ".mp4": "video/mp4",
    ".mp3": "audio/mp3",
    ".wav": "audio/wav",
}
_FILES_HOST = "generativelanguage.googleapis.com"
"""Files that were uploaded there have a type already."""


def image_part(image: Image) -> dict[str, object]:
    return _part(image.url, image.data, image.media_type, "image/jpeg")


def document_parts(document: Document) -> list[dict[str, object]]:
    """A file has no name here, so its title goes before it."""
    if document.text is not None:
        return [{"text": document_text(document)}]
    title: list[dict[str, object]] = [{"text": f"{document.title}:"}] if document.title else []
    return [*title, file_part(document)]


def file_part(document: Document) -> dict[str, object]:
    return _part(document.url, document.data, document.media_type, "application/pdf")


def document_text(document: Document) -> str:
    return "\n\n".join(said for said in (document.title, document.text) if said)


def audio_part(audio: Audio) -> dict[str, object]:
    return _part(None, audio.data, f"audio/{audio.format}", "")


def _part(url: str | None, data: str | None, media_type: str | None, fallback: str) -> dict[str, object]:
    """`fallback` is taken where neither the client nor the URL says what it is; Gemini must be told."""
    if data is not None:
        return {"inlineData": {"mimeType": media_type or fallback, "data": data}}
    place = url or ""
    file: dict[str, object] = {"fileUri": place}
    known = media_type or _type_of(place)
    if known or _host_of(place) != _FILES_HOST:
        file["mimeType"] = known or fallback
    return {"fileData": file}


def _type_of(url: str) -> str | None:
    try:
        return _TYPES.get(PurePosixPath(urlsplit(url).path).suffix.lower())
    except ValueError:
        return None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
