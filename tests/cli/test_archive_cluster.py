"""`archive add --engine ray`: the same archive as without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from terraseek.archive import Archive

from .conftest import Run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's own sockets at shutdown
def test_the_same_records_as_without(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: make test-cluster installs it and runs these tests")
    (pictures / "text.png").write_text("not an image")
    other = tmp_path / "other"
    assert run("archive", "create", other, "--model", tmp_path / "mean-colour").code == 0
    result = run("archive", "add", other, pictures, "--engine", "ray", "--workers", 1, "--json")
    assert (result.code, result.json["added"], len(result.json["refused"])) == (5, 12, 1)
    one, two = Archive.open(archive), Archive.open(other)
    assert one.get(one.ids()) == two.get(two.ids())
    assert (one.vectors(one.ids()) == two.vectors(two.ids())).all()
    assert run("archive", "add", other, pictures / "sea0.png", "--engine", "ray", "--json").json["unchanged"] == 1


def test_options_of_the_cluster_need_it(run: Run, archive: Path, pictures: Path) -> None:
    for options in (("--workers", 2), ("--ray-address", "auto")):
        result = run("archive", "add", archive, pictures, *options)
        assert result.code == 2
        assert "go with --engine ray" in result.err


def test_without_ray_the_extra_is_named(
    run: Run, archive: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (pictures / "new.png").write_bytes((pictures / "sea0.png").read_bytes())
    result = run("archive", "add", archive, pictures, "--engine", "ray")
    assert result.code == 1
    assert "terraseek[cluster]" in result.err
