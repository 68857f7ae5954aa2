"""kill -9 at any moment: the archive is what it was before the change, or after it, and needs no hand."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import numpy as np
import pytest
from writer_steps import KINDS, MODEL, apply, batch, held, kind_of, perform, state_before

from terraseek.archive import Archive, Record
from terraseek.archive.ann import has_index


def kill_once(writer, first: int, pause: float, rng: random.Random, tally: Counter[str]) -> int:
    """Start at step `first`, kill at a random moment, check; returns the step to go on with."""
    aim = first + rng.randrange(len(KINDS))
    process = writer.start(first, first + 40)
    writer.wait_for(aim)
    time.sleep(rng.random() * pause)
    writer.kill(process)
    last = writer.begun()[-1]
    archive = Archive.open(writer.archive.uri, MODEL)
    found, before = held(archive), state_before(last)
    after = apply(last, before)
    assert found in (before, after), f"killed in step {last} ({kind_of(last)}): a state in between"
    assert archive.verify().problems == ()
    check_searches(archive, found)
    tally[kind_of(last)] += 1
    return last if found == before else last + 1


def check_searches(archive: Archive, state: dict[str, int]) -> None:
    """Both ways of searching find what is there, whatever became of the index."""
    query = batch(0)[1][0]
    exact = archive.search(query, k=500)
    assert sorted(exact.ids) == sorted(state)
    if has_index(archive.snapshot().table) and state:
        near = archive.search(query, k=500, mode="ann")
        assert set(near.ids) <= set(state)
        scores = dict(zip(exact.ids, exact.scores, strict=True))
        assert all(score == scores[name] for name, score in zip(near.ids, near.scores, strict=True))
        assert near.ids[0] == exact.ids[0]


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="quick"), pytest.param(200, id="200-kills", marks=pytest.mark.slow)]
)
def test_random_kills_leave_before_or_after(writer, kills, capsys) -> None:
    rng = random.Random(20)
    step = 0
    tally: Counter[str] = Counter()
    for _ in range(kills):
        step = kill_once(writer, step, 0.05, rng, tally)
    if kills > len(KINDS):
        assert set(tally) == set(KINDS), "some kind of change was never hit"
        with capsys.disabled():
            sys.stderr.write(f"\n{kills} kills, by what they hit: {dict(sorted(tally.items()))}; {step} steps done\n")
    # Nothing needs cleaning up: the next writer goes on at once, and what compaction leaves is no more than is used.
    archive = Archive.open(writer.archive.uri, MODEL)
    state = state_before(step)
    for later in range(step, step + len(KINDS)):
        perform(archive, later)
        state = apply(later, state)
    assert held(archive) == state
    check_searches(archive, state)


def test_the_same_add_again_after_a_kill_neither_doubles_nor_loses(writer) -> None:
    process = writer.start(0, 40)
    writer.wait_for(1)
    writer.kill(process)
    archive = Archive.open(writer.archive.uri, MODEL)
    for _ in range(2):
        for step in (0, 1):
            perform(archive, step)
    assert held(archive) == state_before(2)
    assert len(archive) == len(state_before(2))


def test_a_kill_while_an_archive_is_made(tmp_path) -> None:
    """What a kill can leave of `create`: the folder, the lock file, data of a table that was never committed."""
    (tmp_path / "a" / "records.lance" / "_transactions").mkdir(parents=True)
    (tmp_path / "a" / "writer.lock").write_text("4711 on another")
    archive = Archive.create(tmp_path / "a", MODEL)
    archive.add([Record(id="a", source="s")], np.ones((1, 8)))
    assert len(Archive.create(tmp_path / "a", MODEL, exist_ok=True)) == 1
