"""Notes on complete sources: a cache, so that losing it costs reading again and nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from terraseek.archive import Archive, Record


def put(archive: Archive, *sources: str) -> None:
    records = [Record(id=f"{name}1", source=name) for name in sources]
    archive.add(records, np.ones((len(records), archive.dim)), complete=dict.fromkeys(sources, "state"))


def test_notes_follow_what_is_in(archive: Archive) -> None:
    put(archive, "a", "it's b")
    archive.add([], np.empty((0, archive.dim)), complete={"empty": "all nodata"})
    assert archive.source_states() == {"a": "state", "it's b": "state", "empty": "all nodata"}
    archive.remove(["a1"])
    assert archive.source_states() == {"it's b": "state", "empty": "all nodata"}
    archive.compact()
    put(archive, "a")
    archive.forget_sources(frozenset({"it's b"}))
    assert archive.source_states() == {"a": "state", "empty": "all nodata"}
    archive.forget_sources(None)
    assert archive.source_states() == {}


@pytest.mark.parametrize("damage", ["data", "manifests", "gone"])
def test_damaged_notes_are_made_anew_and_cost_no_record(archive: Archive, damage: str, caplog) -> None:
    put(archive, "a", "b")
    home = Path(archive.uri) / "sources.lance"
    if damage == "gone":
        import shutil

        shutil.rmtree(home)
    else:
        for path in (home / {"data": "data", "manifests": "_versions"}[damage]).iterdir():
            path.write_bytes(path.read_bytes()[:20])
    fresh = Archive.open(archive.uri)
    with caplog.at_level(logging.WARNING):
        assert fresh.source_states() == {}
    assert ("damaged" in caplog.text) == (damage != "gone")
    put(fresh, "b", "c")
    assert Archive.open(archive.uri).source_states() == {"b": "state", "c": "state"}
    fresh.compact()
    assert fresh.ids() == ("a1", "b1", "c1")
    assert fresh.verify().ok


def test_making_and_filling_an_archive_says_nothing_on_stderr(tmp_path: Path) -> None:
    code = (
        "from terraseek.archive import *; import numpy as np;"
        f"a = Archive.create({str(tmp_path / 'a')!r}, ModelIdentity(fingerprint='f', dim=2));"
        "a.add([Record(id='r', source='s')], np.ones((1, 2)), complete={'s': 'v'}); a.compact()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
