"""The OpenAPI description at /docs: the document, and a page that shows it. Everything is served from here, no CDN."""

from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme, Tag
from litestar.params import FromPath

from api.assets import fingerprint_of, media_type_of, read_asset, read_page
from api.openapi_document import DESCRIPTION, TAGS, complete
from domain.errors import NotFound

PATH = "/docs"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
FOR_EVER = "public, max-age=31536000, immutable"


class DocumentPlugin(JsonRenderPlugin):
    """`/docs/openapi.json`, with what Litestar cannot know of our routes."""

    def __init__(self) -> None:
        super().__init__()
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._rendered is None:
            self._rendered = msgspec.json.encode(document(request.app))
        return self._rendered


class PagePlugin(OpenAPIRenderPlugin):
    """`/docs`, and the scripts and styles that it names."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        page = read_page("docs.html")
        places = {
            "docs_css": address_of("docs.css"),
            "docs_js": address_of("docs.js"),
            "rapidoc_js": address_of("rapidoc/rapidoc.min.js"),
            "document": self.get_openapi_json_route(request),
        }
        for name, place in places.items():
            page = page.replace(f"{{{name}}}", place)
        return page.encode()

    def receive_router(self, router: Router) -> None:
        router.register(serve_asset)


@get("/assets/{name:path}", sync_to_thread=False)
def serve_asset(name: FromPath[str]) -> Response[bytes]:
    asked = str(name).lstrip("/")
    content = read_asset(asked)
    if content is None:
        raise NotFound("file", asked)
    return Response(content, media_type=media_type_of(asked), headers={"cache-control": FOR_EVER})


def openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="AI Aggregator",
        version="0.1.0",
        description=DESCRIPTION,
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        components=Components(security_schemes=_SECURITY),
        openapi_router=Router(PATH, route_handlers=[], include_in_schema=False, response_headers=HEADERS),
        render_plugins=[PagePlugin(), DocumentPlugin()],
    )


def document(app: Litestar) -> dict[str, Any]:
    """As it is served."""
    return complete(app.openapi_schema.to_schema(), app)


_SECURITY: dict[str, SecurityScheme | Reference] = {
    "bearer": SecurityScheme(
        type="http",
        scheme="bearer",
        bearer_format="agg_live_… or JWT",
        description="An API key (`agg_live_…`), or the access token of a log-in.",
    ),
    "apiKey": SecurityScheme(
        type="apiKey",
        name="x-api-key",
        security_scheme_in="header",
        description="The same credential in the header that Anthropic's clients use.",
    ),
}


def address_of(name: str) -> str:
    """Where browsers find an asset."""
    return f"{PATH}/assets/{name}?v={fingerprint_of(name)}"
