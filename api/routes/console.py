"""`/`: what a person sees first. How the gateway is, how to ask it, and where the rest is said."""

from functools import cache

from litestar import Controller, MediaType, get

from api.assets import read_page
from api.openapi import HEADERS, address_of


class ConsoleController(Controller):
    path = "/"
    include_in_schema = False
    response_headers = HEADERS

    @get("/", media_type=MediaType.HTML, sync_to_thread=False)
    def start(self) -> str:
        return _page()


@cache
def _page() -> str:
    page = read_page("console.html")
    for name in ("console.css", "console.js"):
        page = page.replace(f"{{{name.replace('.', '_')}}}", address_of(name))
    return page
