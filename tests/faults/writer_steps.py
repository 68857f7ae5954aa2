"""A sequence of changes whose every state is known beforehand; run by tests and by the process they kill."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from terraseek.archive import Archive, ModelIdentity, Record, ann

DIM = 8
KINDS = ("add", "add", "remove", "index", "add", "compact")
MODEL = ModelIdentity(fingerprint="faults", dim=DIM)
POOL = 240


def batch(step: int) -> tuple[list[Record], np.ndarray]:
    """The records that step `step` adds: some new, some updates of earlier ones."""
    rng = np.random.default_rng(step)
    chosen = rng.permutation(POOL)[:40]
    records = [
        Record(id=f"r{at}", source=f"s{at % 5}", properties={"step": step}, thumbnail=bytes([step % 251]) * 200)
        for at in map(int, chosen)
    ]
    return records, rng.standard_normal((len(records), DIM))


def kind_of(step: int) -> str:
    return KINDS[step % len(KINDS)]


def apply(step: int, state: dict[str, int]) -> dict[str, int]:
    """The state after a step, {id: step that wrote it}: what the archive must then hold."""
    if kind_of(step) == "add":
        return state | {record.id: step for record in batch(step)[0]}
    if kind_of(step) == "remove":
        gone = {record.id for record in batch(step)[0]}
        return {name: written for name, written in state.items() if name not in gone}
    return state


def state_before(step: int) -> dict[str, int]:
    """What the archive holds when steps 0 to `step` - 1 are done."""
    state: dict[str, int] = {}
    for earlier in range(step):
        state = apply(earlier, state)
    return state


def perform(archive: Archive, step: int) -> None:
    kind = kind_of(step)
    records, vectors = batch(step)
    if kind == "add":
        archive.add(records, vectors, complete={"s0": str(step)})
    elif kind == "remove":
        archive.remove([record.id for record in records])
    elif kind == "index":
        build_small_index(archive)
    else:
        archive.compact()


def build_small_index(archive: Archive) -> None:
    """An index over records too few to be worth one, but for the sake of what can go wrong with it."""
    with patch.object(ann, "MINIMUM_ROWS", 1):
        archive.build_index()


def held(archive: Archive) -> dict[str, int]:
    return {record.id: int(record.properties["step"]) for record in archive.get(archive.ids())}
