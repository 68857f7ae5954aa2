"""Options that lead off this disk: hosts that may be asked, and what STAC APIs are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .settings import allowed_hosts

if TYPE_CHECKING:
    from ..geo import StacQuery, Web

__all__ = ["AllowHost", "ItemBbox", "ItemDatetime", "ItemWhere", "MaxItems", "StacCollection", "make_query", "make_web"]

AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST[:PORT]", help="A host that may be read from; may be repeated. By default none."),
]
StacCollection = Annotated[list[str] | None, typer.Option(help="STAC API: items of this collection; may be repeated.")]
ItemBbox = Annotated[str | None, typer.Option(metavar="W,S,E,N", help="STAC API: items that meet this box, degrees.")]
ItemDatetime = Annotated[str | None, typer.Option(metavar="A/B", help="STAC API: items of this time, 2024-06 say.")]
ItemWhere = Annotated[
    list[str] | None,
    typer.Option(metavar="TEST", help="STAC API: items such as 'eo:cloud_cover < 10'; may be repeated."),
]
MaxItems = Annotated[int | None, typer.Option(min=1, help="STAC API: take at most so many items (10,000).")]


def make_web(hosts: Sequence[str] | None) -> Web:
    """The hosts of the command line and of the settings."""
    from ..geo import Web

    return Web(hosts=tuple(dict.fromkeys([*(hosts or ()), *allowed_hosts()])))


def make_query(
    sources: Sequence[str],
    *,
    collections: Sequence[str] | None,
    bbox: str | None,
    datetime: str | None,
    where: Sequence[str] | None,
    max_items: int | None,
) -> StacQuery:
    """What the options ask of the STAC APIs among `sources`.

    Raises:
        UsageError: there are such options and no address that could be one.
        QueryError: a value that makes no sense.
    """
    from ..archive import parse_bbox
    from ..geo import StacQuery, is_address

    given: dict[str, Any] = {
        "collections": tuple(collections or ()) or None,
        "bbox": None if bbox is None else parse_bbox(bbox),
        "datetime": datetime,
        "where": tuple(where or ()) or None,
        "max_items": max_items,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given and not any(is_address(source) for source in sources):
        raise UsageError(
            "--stac-collection, --bbox, --datetime, --where and --max-items say what a STAC API is asked for, "
            "and no source is the address of one"
        )
    return StacQuery(**given)
