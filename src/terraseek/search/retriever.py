"""The one search behind Python and the command line: a Query in, a Page of Hits out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..archive import Archive, Ranking, Record, View
from ..encoders import OnnxEncoder
from ..errors import QueryError, UsageError
from ..typing import Encoder, FloatArray, ImageArray
from .diversity import mmr
from .example import read_example
from .feedback import logistic_direction, rocchio_direction, unit_direction
from .page import Cursor, Hit, Page
from .query import Example, Query

__all__ = ["Retriever"]

Scored: TypeAlias = list[tuple[float | None, str]]
POOL = 5
"""Diversity chooses among this many times k candidates."""


class Retriever:
    """Searches an archive. Safe to share between threads, as the archive is.

    Args:
        archive: what is searched.
        encoder: the model that made the archive; may be left out where no search brings an image or a text.

    Raises:
        ModelMismatchError: the encoder is another model than the archive's.

    Examples:
        >>> import tempfile
        >>> from terraseek.archive import ModelIdentity
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     archive = Archive.create(f"{folder}/a", ModelIdentity(fingerprint="demo", dim=2))
        ...     records = [Record(id=name, source="scene.tif") for name in ("north", "northeast", "east")]
        ...     _ = archive.add(records, np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.1]]))
        ...     Retriever(archive).search(Query(like="north", k=1)).ids
        ('northeast',)
    """

    def __init__(self, archive: Archive, encoder: Encoder | None = None) -> None:
        if encoder is not None:
            archive.check_model(encoder)
        self.archive = archive
        self.encoder = encoder

    def search(self, query: Query) -> Page:
        """The best `query.k` records among those that pass its conditions.

        Raises:
            QueryError: a label that no record has, or an `after` of another search.
            NotFoundError: `like` or `not_like` name a record that is not there.
            UsageError: the query brings an image or a text and there is no encoder for it, or one without a text side.
            ImageError: an example image cannot be read.
        """
        examples = self._encode(query)
        # One version answers all of it: what it resembles, how many match, which are the hits and what they are.
        return self.archive.read(lambda view: self._page(view, query, self._combine(view, query, examples)))

    def _page(self, view: View, query: Query, vectors_ND: FloatArray) -> Page:
        digest = query.digest()
        cursor = None if query.after is None else Cursor.decode(query.after, digest)
        if not len(vectors_ND):
            return self._listing(view, query, digest, cursor)
        spread = view.spread(vectors_ND) if query.mode == "exact" else None
        if query.diversity:
            return replace(self._diverse(view, query, vectors_ND), spread=spread)
        found, rankings = self._following(view, query, vectors_ND, cursor)
        records = _records_of(rankings, [name for _, name in found[: query.k]])
        return replace(self._made(query, cursor, digest, rankings[0].matched, found, records), spread=spread)

    def _following(
        self, view: View, query: Query, vectors_ND: FloatArray, cursor: Cursor | None
    ) -> tuple[Scored, list[Ranking]]:
        """Up to k + 1 hits after the cursor: the one too many tells whether there is a further page."""
        fetch = query.k + 1 + (cursor.seen if cursor else 0)
        while True:
            rankings = [view.search(vector_D, fetch, query.filter, mode=query.mode) for vector_D in vectors_ND]
            found = [pair for pair in _best_of(rankings) if cursor is None or cursor.precedes(*pair)]
            # Records that came since the last page may push what follows it further back.
            if len(found) > query.k or fetch >= rankings[0].matched:
                return found[: query.k + 1], rankings
            fetch = min(rankings[0].matched, 2 * fetch)

    def _listing(self, view: View, query: Query, digest: str, cursor: Cursor | None) -> Page:
        ids = view.ids(query.filter)
        found: Scored = [(None, name) for name in ids if cursor is None or name > cursor.id]
        records = view.get([name for _, name in found[: query.k]], thumbnails=False)
        return self._made(query, cursor, digest, len(ids), found, records)

    def _diverse(self, view: View, query: Query, vectors_ND: FloatArray) -> Page:
        pool = view.search(vectors_ND[0], query.k * POOL, query.filter, mode=query.mode)
        order = mmr(view.vectors(pool.ids), np.array(pool.scores), query.k, query.diversity)
        found: Scored = [(pool.scores[at], pool.ids[at]) for at in order]
        return self._made(query, None, "", pool.matched, found, _records_of([pool], [name for _, name in found]))

    def _made(
        self,
        query: Query,
        cursor: Cursor | None,
        digest: str,
        matched: int,
        found: Scored,
        records: Sequence[Record],
    ) -> Page:
        seen = cursor.seen if cursor else 0
        shown = found[: query.k]
        following = None
        if len(found) > query.k:
            score, last = shown[-1]
            following = Cursor(digest=digest, seen=seen + len(shown), score=score, id=last).encode()
        hits = tuple(
            Hit(rank=rank, score=score, record=record)
            for rank, ((score, _), record) in enumerate(zip(shown, records, strict=True), start=seen + 1)
        )
        return Page(matched=matched, hits=hits, next=following, model=self.archive.model)

    # -- from examples to vectors ---------------------------------------------------------------------------------

    def vectors(self, query: Query) -> FloatArray:
        """The unit vectors that a query searches with: one, or with combine="max" one per example, (N, D).

        A query without examples has none.
        """
        examples = self._encode(query)
        return self.archive.read(lambda view: self._combine(view, query, examples))

    def _encode(self, query: Query) -> dict[str, FloatArray]:
        return {
            "image": self._encode_images(query),
            "text": self._encode_texts(query.text),
            "vector": np.empty((0, self.archive.dim)) if query.vector is None else self._own(query.vector),
        }

    def _combine(self, view: View, query: Query, examples: Mapping[str, FloatArray]) -> FloatArray:
        liked_PD, avoided_ND = (
            view.vectors(ids) if ids else np.empty((0, view.dim)) for ids in (query.like, query.not_like)
        )
        sides = {**examples, "like": liked_PD}
        if query.combine == "max":
            return np.concatenate(list(sides.values())).astype(np.float32)
        if query.feedback and any(map(len, examples.values())):
            del sides["like"]  # marks on the hits of the examples, no examples themselves
        present = {name: rows_ND for name, rows_ND in sides.items() if len(rows_ND)}
        if not present:
            return np.empty((0, self.archive.dim), np.float32)
        # The mean of each side is made a unit vector first: two examples must not count twice beside one text.
        means = [query.weights.get(name, 1.0) * unit_direction(rows.mean(axis=0)) for name, rows in present.items()]
        total_D = unit_direction(np.sum(means, axis=0))
        if query.feedback == "logistic":
            moved_D = logistic_direction(total_D, liked_PD, avoided_ND)
        else:
            confirmed_PD = liked_PD if query.feedback else liked_PD[:0]
            moved_D = rocchio_direction(total_D, confirmed_PD, avoided_ND, gamma=query.negative_weight)
        return moved_D[None].astype(np.float32)

    def _own(self, vectors_ND: FloatArray) -> FloatArray:
        if vectors_ND.shape[1] != self.archive.dim:
            raise QueryError(f"vector has {vectors_ND.shape[1]} dimensions, the archive has {self.archive.dim}")
        rows: FloatArray = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        return rows

    def pixels(self, example: Example, collections: Sequence[str] | None = None) -> ImageArray:
        """An example as it is embedded: a file read as `read_example` does, an array as it is.

        Raises:
            ImageError: the file cannot be read.
            UsageError: a scene that does not say how it is to be read, see `read_example`.
        """
        if isinstance(example, (str, Path)):
            return read_example(self.archive, example, collections=collections)
        return example

    def _encode_images(self, query: Query) -> FloatArray:
        if not query.image:
            return np.empty((0, self.archive.dim))
        images = [self.pixels(example, query.collections) for example in query.image]
        return self._encoder("an image").encode_images(images)

    def _encode_texts(self, texts: Sequence[str]) -> FloatArray:
        if not texts:
            return np.empty((0, self.archive.dim))
        encoder = self._encoder("a text")
        if isinstance(encoder, OnnxEncoder) and not encoder.has_text:
            raise UsageError(
                f"the model of {self.archive.uri}, {encoder.directory} ({encoder.config.architecture}), has no text "
                "side: search by image, or make an archive with a model trained on captions (`terraseek train` with a "
                "recipe that has a section [text])"
            )
        return encoder.encode_texts(texts)

    def _encoder(self, what: str) -> Encoder:
        if self.encoder is None:
            name = self.archive.model.describe()
            raise UsageError(f"searching by {what} needs the model that made the archive: {name}; name its directory")
        return self.encoder


def _best_of(rankings: Sequence[Ranking]) -> Scored:
    """Every record found with its best score, best first.

    Of the k best by maximum each is among the k best of the example it resembles most, so nothing is missed.
    """
    if len(rankings) == 1:
        return list(zip(rankings[0].scores, rankings[0].ids, strict=True))
    best: dict[str, float] = {}
    for ranking in rankings:
        for name, score in zip(ranking.ids, ranking.scores, strict=True):
            best[name] = max(score, best.get(name, -2.0))
    ordered = sorted((-score, name) for name, score in best.items())[: max(len(r.ids) for r in rankings)]
    return [(-score, name) for score, name in ordered]


def _records_of(rankings: Sequence[Ranking], ids: Sequence[str]) -> list[Record]:
    wanted = set(ids)
    found: dict[str, Record] = {}
    for ranking in rankings:
        found |= {record.id: record for record in ranking.records(sorted(wanted - found.keys()))}
    return [found[name] for name in ids]
