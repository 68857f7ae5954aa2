from __future__ import annotations

import numpy as np
import pytest

from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.errors import UsageError
from terraseek.search import near_duplicates


def test_groups_equal_connected_pairs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("terraseek.search.duplicates.BLOCK", 7)  # borders of blocks inside the data
    rng = np.random.default_rng(0)
    base = rng.standard_normal((12, 8))
    vectors = base[rng.integers(0, 12, 40)] + 0.05 * rng.standard_normal((40, 8))
    archive = Archive.create(tmp_path / "a", ModelIdentity(fingerprint="f", dim=8))
    records = [Record(id=f"r{at:02d}", source="s", labels=("even",) if at % 2 == 0 else ()) for at in range(40)]
    archive.add(records, vectors)
    unit = archive.vectors([record.id for record in records]).astype(float)
    alike = np.round(unit @ unit.T, 6) >= 0.99
    reach = np.linalg.matrix_power(alike.astype(float), 40) > 0
    expected = {tuple(f"r{at:02d}" for at in np.flatnonzero(row)) for row in reach if row.sum() > 1}
    groups = near_duplicates(archive, 0.99)
    assert {group.ids for group in groups} == expected
    assert [len(group.ids) for group in groups] == sorted((len(ids) for ids in expected), reverse=True)
    for group in groups:
        at = [int(name[1:]) for name in group.ids]
        pairs = [unit[i] @ unit[j] for i in at for j in at if i < j and alike[i, j]]
        assert group.score == pytest.approx(min(pairs), abs=2e-6)
    even = near_duplicates(archive, 0.99, Filter(labels_any=("even",)))
    assert all(int(name[1:]) % 2 == 0 for group in even for name in group.ids)


def test_nothing_alike_and_nothing_at_all(archive) -> None:
    assert near_duplicates(archive, 1.0) == ()
    assert near_duplicates(archive, 0.98, Filter(ids=())) == ()
    with pytest.raises(UsageError, match=r"threshold is 1\.5"):
        near_duplicates(archive, 1.5)
