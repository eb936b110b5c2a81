"""Lists, a page at a time: what all of them take and give."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from litestar.params import QueryParameter

from api.routes.reads import ReadOut
from projections.paging import LARGEST_PAGE, Page
from projections.positions import Reached

Row = TypeVar("Row")
Out = TypeVar("Out")
View = TypeVar("View", bound="ReadPageOut")

PAGE = 50
PageLimit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class ReadPageOut(ReadOut, kw_only=True):
    data: list[dict[str, Any]]
    has_more: bool
    next_cursor: str | None


def page_out(kind: Callable[..., Out], page: Page[Row], shown: Callable[[Row], object], **more: object) -> Out:
    """`more` is what this list says beside its rows."""
    has_more = page.next_cursor is not None
    return kind(data=[shown(row) for row in page.rows], has_more=has_more, next_cursor=page.next_cursor, **more)


def read_page_out(kind: type[View], page: Page[Row], shown: Callable[[Row], dict[str, Any]], reached: Reached) -> View:
    return page_out(kind, page, shown, position=str(reached), as_of=reached.as_of)
