from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from terraseek.archive import open_archive
from terraseek.search import Query, Retriever

from .conftest import Run


def test_finds_its_own_kind(run: Run, archive: Path, pictures: Path) -> None:
    page = run("search", archive, "--image", pictures / "sea1.png", "-k", 3, "--json").json
    assert page["matched"] == 12
    assert {Path(hit["source"]).name for hit in page["hits"]} == {"sea0.png", "sea1.png", "sea2.png"}
    assert Path(page["hits"][0]["source"]).name == "sea1.png"


def test_equals_the_python_call(run: Run, archive: Path, pictures: Path) -> None:
    told = run("search", archive, "--image", pictures / "roof0.png", "-k", 5, "--json").json
    found = Retriever(*open_archive(archive)).search(Query(image=(pictures / "roof0.png",), k=5))
    assert told == json.loads(json.dumps(found.to_json()))


def test_several_examples_and_the_negative(run: Run, archive: Path, pictures: Path) -> None:
    ids = {Path(hit["source"]).stem: hit["id"] for hit in run("search", archive, "-k", 12, "--json").json["hits"]}
    any_of = run(
        "search", archive, "--like", ids["sea0"], "--like", ids["roof0"], "--combine", "max", "-k", 4, "--json"
    )
    assert {Path(hit["source"]).stem[:-1] for hit in any_of.json["hits"]} == {"sea", "roof"}
    away = run("search", archive, "--like", ids["sea0"], "--not-like", ids["sand0"], "-k", 10, "--json").json
    assert Path(away["hits"][-1]["source"]).stem.startswith("sand")


def test_pages_go_on_where_they_ended(run: Run, archive: Path, pictures: Path) -> None:
    query = ("search", archive, "--image", pictures / "sand0.png")
    whole = run(*query, "-k", 12, "--json").json
    first = run(*query, "-k", 5, "--json").json
    second = run(*query, "-k", 7, "--json", "--after", first["next"]).json
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == [hit["id"] for hit in whole["hits"]]
    assert second["next"] is None


def test_crop_searches_with_a_window(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    both = Image.new("RGB", (64, 32))
    for column, name in ((0, "sea0.png"), (32, "roof0.png")):
        with Image.open(pictures / name) as half:
            both.paste(half, (column, 0))
    both.save(tmp_path / "both.png")
    page = run("search", archive, "--image", tmp_path / "both.png", "--crop", "32,0,32,32", "-k", 1, "--json").json
    assert Path(page["hits"][0]["source"]).name == "roof0.png"
    outside = run("search", archive, "--image", tmp_path / "both.png", "--crop", "40,0,32,32")
    assert outside.code == 2
    assert "64 x 32" in outside.err


def test_output_formats(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    query = ("search", archive, "--image", pictures / "grass0.png", "-k", 4)
    geojson = run(*query, "--geojson").json
    assert geojson["type"] == "FeatureCollection"
    assert (geojson["numberMatched"], geojson["numberReturned"]) == (12, 4)
    rows = list(csv.DictReader(io.StringIO(run(*query, "--csv").out)))
    assert [row["id"] for row in rows] == [feature["id"] for feature in geojson["features"]]
    assert run(*query, "--csv", "--json").code == 2
    table = run(*query)
    assert rows[0]["id"] in table.out
    assert "4 of 12" in table.err
    assert run(*query, "--sheet", tmp_path / "sheet.png").code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bbox", "1,2,3"), "4 are needed"),
        (("--bbox", "10,51,11,50"), "south 51 is above north 50"),
        (("--datetime", "yesterday"), "yesterday"),
        (("--where", "cloud_cover <"), "where"),
        (("--labels-any", "baech"), "baech"),
        (("--weight", "text"), "--weight"),
        (("--within", "nowhere.geojson"), "nowhere.geojson"),
        (("--image", "nowhere.png"), "nowhere.png"),
    ],
)
def test_bad_conditions_are_one_clear_line(run: Run, archive: Path, options: tuple[str, str], said: str) -> None:
    result = run("search", archive, *options)
    assert result.code in (2, 3)
    assert said in result.err
    assert result.err.strip().count("\n") == 0
