"""Many readers beside one writer: each look shows one version as a whole, and later looks show later ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from terraseek.archive import Archive, ModelIdentity, Record

from .object_store import BUCKET, serve_s3

RECORDS, GENERATIONS = 50, 8
MODEL = ModelIdentity(fingerprint="readers", dim=8)


def generation(archive: Archive, number: int) -> None:
    """Replace every record, in one commit."""
    records = [Record(id=f"r{n:03}", source="s", properties={"generation": number}) for n in range(RECORDS)]
    archive.add(records, np.random.default_rng(number + 1).normal(size=(RECORDS, MODEL.dim)))


def check_readers(uri: str, options: dict[str, str], readers: int) -> None:
    archive = Archive.create(uri, MODEL, storage_options=options or None)
    generation(archive, 0)
    command = [sys.executable, str(Path(__file__).with_name("reader.py")), uri, json.dumps(options)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(readers)]
    try:
        first = [process.stdout.readline() for process in processes if process.stdout]  # they are at it
        for number in range(1, GENERATIONS):
            generation(archive, number)
            if number % 4 == 0:
                archive.compact()
        generation(archive, -1)
        lines = [begin + process.communicate(timeout=60)[0] for begin, process in zip(first, processes, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for text in lines:
        looks = [json.loads(line) for line in text.splitlines()]
        assert {count for _, _, count in looks} == {RECORDS}
        assert all(len(seen) == 1 for _, seen, _ in looks), "a look that mixes two versions"
        assert [version for version, _, _ in looks] == sorted(version for version, _, _ in looks)
        seen = [number for _, (number,), _ in looks]
        assert seen[:-1] == sorted(seen[:-1])
        assert seen[-1] == -1
        assert len(set(seen)) > 2, "the reader does not follow the writer"


def test_readers_on_disk(tmp_path: Path) -> None:
    check_readers(str(tmp_path / "archive"), {}, readers=2)


@pytest.mark.slow
def test_readers_on_object_storage() -> None:
    with serve_s3() as options:
        check_readers(f"s3://{BUCKET}/readers", options, readers=3)
