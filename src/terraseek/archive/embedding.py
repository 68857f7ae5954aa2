"""From pieces to records with vectors, and where it is asked for with what the model sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..encoders import OnnxEncoder
from ..errors import UsageError
from ..images import printable
from ..typing import ConceptEncoder, Encoder, FloatArray
from .pieces import Piece
from .record import Record

__all__ = ["Embedder"]


class Embedder:
    """Makes the vectors of an ingest and, with `predict_labels`, its predicted labels.

    Args:
        encoder: the archive's model.
        predict_labels: keep the words that the model predicts with this score or more; None predicts none.

    Attributes:
        bands: how many the model takes; None where it does not say.

    Raises:
        UsageError: the model predicts no words, or the score is not in 0..1.
    """

    def __init__(self, encoder: Encoder, predict_labels: float | None = None) -> None:
        self.encoder = encoder
        self.bands = encoder.config.bands if isinstance(encoder, OnnxEncoder) else None
        self.predict_labels = predict_labels
        if predict_labels is None:
            return
        if not 0 <= predict_labels <= 1:
            raise UsageError(f"predict_labels keeps scores from 0..1 upwards, not from {predict_labels:g}")
        if not isinstance(encoder, ConceptEncoder) or not encoder.concepts:
            raise UsageError("the model predicts no labels: use one that was trained on captions, with concepts")

    def check_bands(self, declared: Sequence[str]) -> None:
        """Refuse a choice of bands that cannot fit, before anything is read.

        Raises:
            UsageError: bands are declared, and the model takes another number of them.
        """
        if declared and self.bands is not None and len(declared) != self.bands:
            raise UsageError(
                f"{_counted(len(declared))} declared ({', '.join(map(printable, declared))}), the model takes "
                f"{self.bands}: name {self.bands}, in the model's order (--band, once for each)"
            )

    @property
    def state(self) -> str:
        """Belongs to the state of every source: asking for other labels makes unchanged sources be read again."""
        return "" if self.predict_labels is None else f"+labels>={self.predict_labels:g}"

    def __call__(self, pieces: Sequence[Piece]) -> tuple[list[Record], FloatArray]:
        """The records of some pieces, and their vectors, (N, D)."""
        images = [piece.pixels_HWB for piece in pieces]
        records = [piece.record for piece in pieces]
        if self.predict_labels is None or not isinstance(self.encoder, ConceptEncoder):
            return records, self.encoder.encode_images(images)
        vectors_ND, scores_NC = self.encoder.encode_images_and_concepts(images)
        named = [self._named(scores_C) for scores_C in scores_NC]
        return [replace(record, predicted=found) for record, found in zip(records, named, strict=True)], vectors_ND

    def _named(self, scores_C: FloatArray) -> dict[str, float]:
        assert isinstance(self.encoder, ConceptEncoder)
        assert self.predict_labels is not None
        scored = zip(self.encoder.concepts, scores_C.tolist(), strict=True)
        # Four digits: more is noise of the network, and rows with fewer distinct numbers pack better.
        return {name: round(score, 4) for name, score in scored if score >= self.predict_labels}


def _counted(bands: int) -> str:
    return "1 band is" if bands == 1 else f"{bands} bands are"
