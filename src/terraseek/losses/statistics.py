"""What a loss needs to know about the label distribution, taken from the training split alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..relevance import label_rarity

__all__ = ["LabelStatistics"]


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """How often each label, and each pair of labels, occurs among the training samples.

    Frequencies, not counts: duplicating the data set changes nothing.

    Attributes:
        frequency_C: share of samples that carry label c, float64.
        cooccurrence_CC: share of samples that carry both c and d; its diagonal is `frequency_C`.

    Examples:
        >>> statistics = LabelStatistics.from_labels(torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]]))
        >>> statistics.frequency_C.tolist()
        [0.75, 0.5, 0.25]
        >>> [round(r, 3) for r in statistics.rarity().tolist()]
        [0.667, 1.0, 2.0]
    """

    frequency_C: Tensor
    cooccurrence_CC: Tensor

    @classmethod
    def from_labels(cls, labels_NC: Any) -> LabelStatistics:
        """Count multi-hot labels of the training split: a tensor, a numpy array or nested lists, entries 0 or 1.

        Raises:
            ConfigError: the labels are not a table of zeros and ones with at least one row.
        """
        labels_NC = torch.as_tensor(labels_NC)
        if labels_NC.ndim != 2 or 0 in labels_NC.shape:
            raise ConfigError(f"statistics need multi-hot labels (N, C) with N, C >= 1, not {tuple(labels_NC.shape)}")
        labels_NC = labels_NC.detach().cpu().to(torch.float64)
        if not ((labels_NC == 0) | (labels_NC == 1)).all():
            raise ConfigError("statistics need multi-hot labels: found an entry that is neither 0 nor 1")
        cooccurrence_CC = labels_NC.T @ labels_NC / len(labels_NC)
        return cls(cooccurrence_CC.diagonal().clone(), cooccurrence_CC)

    @property
    def num_labels(self) -> int:
        """Number of labels C."""
        return len(self.frequency_C)

    def rarity(self, gamma: float = 1.0, kappa: float = 30.0) -> Tensor:
        """Rarity of each label, (C,): see `terraseek.relevance.label_rarity`."""
        return _rarity(self.frequency_C, gamma, kappa)

    def pair_rarity(self, gamma: float = 1.0, kappa: float = 30.0) -> Tensor:
        """Rarity of each pair of labels, (C, C), symmetric; the diagonal holds `rarity`, against its own median."""
        upper = torch.ones_like(self.cooccurrence_CC, dtype=torch.bool).triu(1)
        rarity_CC = torch.zeros_like(self.cooccurrence_CC)
        if upper.any():
            rarity_CC[upper] = _rarity(self.cooccurrence_CC[upper], gamma, kappa)
        return rarity_CC + rarity_CC.T + torch.diag(self.rarity(gamma, kappa))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, to be saved with the model; `from_dict` reads them back without loss."""
        return {"frequency": self.frequency_C.tolist(), "cooccurrence": self.cooccurrence_CC.tolist()}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> LabelStatistics:
        """Undo `to_dict`.

        Raises:
            ConfigError: a key is missing or the tables do not fit together.
        """
        try:
            frequency_C = torch.tensor(tree["frequency"], dtype=torch.float64)
            cooccurrence_CC = torch.tensor(tree["cooccurrence"], dtype=torch.float64)
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"label statistics need the tables 'frequency' and 'cooccurrence': {error}") from None
        if frequency_C.ndim != 1 or cooccurrence_CC.shape != (len(frequency_C),) * 2:
            shapes = f"{tuple(frequency_C.shape)} and {tuple(cooccurrence_CC.shape)}"
            raise ConfigError(f"label statistics have shapes {shapes}, they must be (C,) and (C, C)")
        return cls(frequency_C, cooccurrence_CC)


def _rarity(frequency: Tensor, gamma: float, kappa: float) -> Tensor:
    rarity: Tensor = label_rarity(frequency, gamma, kappa)
    return rarity
