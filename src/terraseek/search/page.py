"""What a search answers: a page of hits, and the text that asks for the page after it."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from ..archive import ModelIdentity, Record, ScoreSpread
from ..errors import QueryError
from .formats import feature_collection, hit_csv, hit_mapping

__all__ = ["Cursor", "Hit", "Page"]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One record in its place.

    Attributes:
        rank: 1 is best; goes on through the pages.
        score: cosine with the query, -1..1, rounded to six decimals; None where nothing was ranked.
        record: the record, without its thumbnail.
    """

    rank: int
    score: float | None
    record: Record

    @property
    def id(self) -> str:
        """The record's id."""
        return self.record.id

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return hit_mapping(self.rank, self.score, self.record)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some hits of a search.

    Attributes:
        matched: how many records passed the filter, on all pages together.
        hits: best first.
        next: give this as `after` for the page that follows; None on the last. Opaque.
        model: the model whose vectors were compared.
        spread: where the archive's records at large score for the query; None where nothing was ranked, where the
            archive has fewer than 100 records, and with mode "ann", which has no vectors at hand.
    """

    matched: int
    hits: tuple[Hit, ...]
    next: str | None
    model: ModelIdentity
    spread: ScoreSpread | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the hits."""
        return tuple(hit.id for hit in self.hits)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, schema 1."""
        return {
            "schema": 1,
            "matched": self.matched,
            "hits": [hit.to_json() for hit in self.hits],
            "next": self.next,
            "model": self.model.fingerprint,
            "spread": None if self.spread is None else self.spread.to_json(),
        }

    def to_geojson(self) -> dict[str, Any]:
        """As a GeoJSON FeatureCollection in EPSG:4326 with numberMatched and numberReturned (OGC API Features)."""
        tree = feature_collection([(hit.rank, hit.score, hit.record) for hit in self.hits])
        tree |= {"numberMatched": self.matched, "numberReturned": len(self.hits), "next": self.next}
        return tree

    def to_csv(self) -> str:
        """As CSV with a header; no cell can be a formula of a spreadsheet."""
        return hit_csv([(hit.rank, hit.score, hit.record) for hit in self.hits])


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """Where a page ended: after how many hits, and the score and id of the last.

    The page that follows starts after that place in the order of scores and ids, not after that many hits: records
    that come or go meanwhile neither repeat a hit nor skip one.

    >>> cursor = Cursor(digest="0a", seen=20, score=0.5, id="chip-7")
    >>> Cursor.decode(cursor.encode(), "0a") == cursor
    True
    """

    digest: str
    seen: int
    score: float | None
    id: str

    def encode(self) -> str:
        """As an opaque text that is safe in a URL."""
        text = json.dumps([1, self.digest, self.seen, self.score, self.id], ensure_ascii=False)
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, digest: str) -> Cursor:
        """Read it back.

        Raises:
            QueryError: it is not one of ours, or belongs to another query.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            version, own, seen, score, last = json.loads(data)
            well_formed = isinstance(seen, int) and isinstance(last, str) and isinstance(own, str) and seen >= 0
            if version != 1 or not well_formed or not (score is None or isinstance(score, float)):
                raise ValueError
        except (ValueError, TypeError, binascii.Error, UnicodeError):
            raise QueryError("after is not the `next` of a page") from None
        if own != digest:
            raise QueryError("after is the `next` of another search; ask that one again, or start without it")
        return cls(digest=own, seen=seen, score=score, id=last)

    def precedes(self, score: float | None, name: str) -> bool:
        """Whether a hit comes after this place."""
        if self.score is None or score is None:
            return name > self.id
        return (-score, name) > (-self.score, self.id)
