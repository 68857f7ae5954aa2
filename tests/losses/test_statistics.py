from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from terraseek.errors import ConfigError
from terraseek.losses import LabelStatistics

TABLES = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@settings(deadline=None, max_examples=30)
@given(TABLES, st.integers(2, 4))
def test_duplicating_the_data_set_changes_nothing(labels: np.ndarray, times: int) -> None:
    once, often = LabelStatistics.from_labels(labels), LabelStatistics.from_labels(np.tile(labels, (times, 1)))
    torch.testing.assert_close(once.frequency_C, often.frequency_C)
    torch.testing.assert_close(once.cooccurrence_CC, often.cooccurrence_CC)
    torch.testing.assert_close(once.rarity(), often.rarity())
    torch.testing.assert_close(once.pair_rarity(), often.pair_rarity())


@settings(deadline=None, max_examples=30)
@given(TABLES)
def test_counts_equal_loops_and_survive_json(labels: np.ndarray) -> None:
    statistics = LabelStatistics.from_labels(labels)
    n, c = labels.shape
    for a in range(c):
        for b in range(c):
            both = sum(1 for row in labels if row[a] and row[b]) / n
            assert float(statistics.cooccurrence_CC[a, b]) == pytest.approx(both)
    again = LabelStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    assert torch.equal(again.frequency_C, statistics.frequency_C)
    assert torch.equal(again.cooccurrence_CC, statistics.cooccurrence_CC)


def test_pair_rarity_by_hand() -> None:
    # pairs: (0,1) in 2 of 4, (0,2) in 1 of 4, (1,2) never; median of 2/4 and 1/4 is 3/8
    statistics = LabelStatistics.from_labels([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
    rarity = statistics.pair_rarity(gamma=1.0, kappa=10.0)
    assert rarity[0, 1].item() == pytest.approx(0.75)
    assert rarity[2, 0].item() == pytest.approx(1.5)
    assert rarity[1, 2].item() == pytest.approx(10.0)
    torch.testing.assert_close(rarity.diagonal(), statistics.rarity(1.0, 10.0))


def test_unseen_labels_are_as_rare_as_the_clip_allows() -> None:
    rarity = LabelStatistics.from_labels([[1, 0], [1, 0]]).rarity(gamma=1.0, kappa=30.0)
    assert rarity.tolist() == [1.0, 30.0]


@pytest.mark.parametrize("labels", [[1, 0], [[0.5, 1.0]], [[2, 0]], np.zeros((0, 3)), np.zeros((3, 0))])
def test_refuses_what_is_no_label_table(labels: object) -> None:
    with pytest.raises(ConfigError, match="multi-hot"):
        LabelStatistics.from_labels(labels)


@pytest.mark.parametrize("tree", [{}, {"frequency": [0.5], "cooccurrence": [[0.5, 0.1]]}, {"frequency": "x"}])
def test_refuses_damaged_dicts(tree: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="label statistics"):
        LabelStatistics.from_dict(tree)
