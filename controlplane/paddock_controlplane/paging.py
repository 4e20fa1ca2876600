"""Lists: a page of items and where the next page begins."""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query

T = TypeVar("T")

After = Annotated[str, Query(max_length=200, description="The `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=500)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Items in the order of their ids. `next` is the `after` of the next page, null on the last one."""

    items: list[T]
    next: str | None


def page(items: list[T], *, limit: int, key: str = "id") -> Page[T]:
    """The page made of up to `limit + 1` items: one more than asked for tells that there is a next page."""
    shown = items[:limit]
    return Page(items=shown, next=getattr(shown[-1], key) if len(items) > limit else None)
