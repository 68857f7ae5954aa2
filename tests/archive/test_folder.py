"""Folders: scenes of one file per band, whole or with bands missing, and STAC documents, which are named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from terraseek.archive import Source, find_sources
from terraseek.archive.folder import group_by_band, look_into
from terraseek.errors import Refused

BANDS = ("B04", "B03", "B02")


def files(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"II*\0")
    return sorted(folder / name for name in names)


def test_files_of_one_scene_by_the_order_of_the_bands(tmp_path: Path) -> None:
    found = files(tmp_path, "T_B02.tif", "T_B03.tif", "T_B04.tif", "T_B05.tif", "U_B02.tif", "photo.png")
    scenes, grouped = group_by_band(found, BANDS)
    assert grouped == set(found[:4])
    scene = scenes[found[0]]
    assert list(scene.files) == [*BANDS]
    assert (scene.prefix, scene.missing, scene.others) == (tmp_path / "T", (), ("B05",))
    assert len(scenes) == 1
    named = files(tmp_path / "apart", "T_8_A.tif", "T_B_4.tif", "T_B05.tif")
    scenes, grouped = group_by_band(named, ("8_A", "B_4"))
    assert (len(scenes), grouped) == (1, set(named))


def test_a_scene_without_a_band_is_refused_once_for_what_is_missing(tmp_path: Path) -> None:
    files(tmp_path, *(f"T33_{band}.tif" for band in ("B02", "B03", "B04", "TCI")), "whole.tif")
    [refused, other] = find_sources([tmp_path], bands=("B04", "B03", "B99"))
    assert refused == Refused(
        source=str(tmp_path / "T33"),
        reason="no file for its band B99 (such as T33_B99.tif); there are B02, B03, B04, TCI",
    )
    assert isinstance(other, Source)
    assert other.path.name == "whole.tif"
    [refused, _] = find_sources([tmp_path], bands=("B04", "B98", "B03", "B99"))
    assert isinstance(refused, Refused)
    assert "no file for its bands B98, B99 (such as T33_B98.tif, T33_B99.tif)" in refused.reason


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (("scene_1.tif", "scene_2.tif"), ("1", "2", "3")),  # two scenes with three bands each
        (("roof_red.png", "roof_green.png"), ("red", "green", "blue")),  # two photos
        (("area_red.tif", "area_old.tif"), ("red", "green", "blue")),
    ],
    ids=["numbers", "photos", "one"],
)
def test_files_that_merely_end_alike_are_each_a_source(
    tmp_path: Path, names: tuple[str, ...], bands: tuple[str, ...]
) -> None:
    files(tmp_path, *names)
    found = [source for source in find_sources([str(tmp_path)], bands=bands) if isinstance(source, Source)]
    assert sorted(source.path.name for source in found) == sorted(names)


def test_of_stac_in_a_folder_one_document_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files(tmp_path / "stac" / "a", "thumbnail.png")
    for name in ("a/item.json", "a/other.json", "catalog.json"):
        (tmp_path / "stac" / name).write_text(json.dumps({"type": "Catalog", "stac_version": "1.0.0"}))
    assert look_into(tmp_path / "stac").stac_document() == tmp_path / "stac" / "catalog.json"
    found = list(find_sources([tmp_path / "stac"]))
    assert [source.path.name for source in found if isinstance(source, Source)] == ["thumbnail.png"]
    [record] = caplog.records
    assert record.getMessage() == (
        f"{tmp_path}/stac holds STAC documents, which are not added with their folder: "
        f"add {tmp_path}/stac/catalog.json by its own name"
    )


def test_other_json_in_a_folder_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files(tmp_path, "photo.png")
    (tmp_path / "photo.json").write_text('{"labels": ["sea"]}')
    (tmp_path / "places.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "broken.json").write_bytes(b"\xff\x00{")
    os.mkfifo(tmp_path / "pipe.json")  # opening it would wait for ever
    assert len(list(find_sources([tmp_path]))) == 1
    assert caplog.records == []
