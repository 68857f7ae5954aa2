"""kill -9 at any moment: the archive is what it was before the change, or after it, and needs no hand."""

from __future__ import annotations

import random
import signal
import time

import pytest
from writer_steps import MODEL, apply, batch, held, kind_of, perform, state_before

from terraseek.archive import Archive, Record


def kill_once(writer, first: int, pause: float, rng: random.Random) -> int:
    """Start at step `first`, kill at a random moment, check; returns the step to go on with."""
    aim = first + rng.randrange(5)
    process = writer.start(first, first + 40)
    writer.wait_for(aim, process)
    time.sleep(rng.random() * pause)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = int([line for line in writer.begun() if line != "end"][-1])
    archive = Archive.open(writer.archive.uri, MODEL)
    found, before = held(archive), state_before(last)
    after = apply(last, before)
    assert found in (before, after), f"killed in step {last} ({kind_of(last)}): a state in between"
    assert archive.verify().problems == ()
    return last if found == before else last + 1


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="quick"), pytest.param(200, id="200-kills", marks=pytest.mark.slow)]
)
def test_random_kills_leave_before_or_after(writer, kills) -> None:
    rng = random.Random(20)
    step = 0
    for _ in range(kills):
        step = kill_once(writer, step, 0.05, rng)
    # Nothing needs cleaning up: the next writer goes on at once, and what compaction leaves is no more than is used.
    archive = Archive.open(writer.archive.uri, MODEL)
    state = state_before(step)
    for later in range(step, step + 5):
        perform(archive, later)
        state = apply(later, state)
    assert held(archive) == state
    ranked = archive.search(batch(0)[1][0], k=500)
    assert sorted(ranked.ids) == sorted(state)


def test_the_same_add_again_after_a_kill_neither_doubles_nor_loses(writer) -> None:
    process = writer.start(0, 40)
    writer.wait_for(1, process)
    process.kill()
    process.wait()
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
    archive.add([Record(id="a", source="s")], [[1.0] * 8])
    assert len(Archive.create(tmp_path / "a", MODEL, exist_ok=True)) == 1
