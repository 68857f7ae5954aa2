"""Where the records at large score for a query."""

from __future__ import annotations

import numpy as np

from terraseek.archive import Archive
from terraseek.archive.index import exact_scores

from .conftest import make_records


def test_equals_the_quantiles_of_all_scores(filled: Archive) -> None:
    queries_QD = filled.vectors(filled.ids()[:2])
    rows_ND = filled.vectors(filled.ids())
    best_N = np.max([exact_scores(rows_ND, query_D) for query_D in queries_QD], axis=0)
    spread = filled.view().spread(queries_QD)
    assert spread is not None
    assert spread.records == len(filled) == 300
    assert abs(spread.median - np.median(best_N)) < 1e-5
    assert abs(spread.top_percent - np.quantile(best_N, 0.99)) < 1e-5
    assert sum(best_N > spread.top_percent) == 3


def test_a_sample_of_a_large_archive_is_the_same_each_time(archive: Archive) -> None:
    archive.add(*make_records(5_000))
    query_1D = archive.vectors(archive.ids()[:1])
    spread = archive.view().spread(query_1D)
    assert spread is not None
    assert spread == Archive.open(archive.uri).view().spread(query_1D)
    assert spread.records == 2_000
    above = (archive.vectors(archive.ids()) @ query_1D[0] > spread.top_percent).mean()
    assert 0.005 < above < 0.02


def test_too_few_records_or_no_query_say_nothing(archive: Archive, filled: Archive) -> None:
    assert filled.view().spread(np.empty((0, archive.dim))) is None
    filled.remove(filled.ids()[99:])
    assert filled.view().spread(filled.vectors(filled.ids()[:1])) is None
