from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.archive import Archive, Record, open_archive
from terraseek.search import Query, Retriever, page_sheet

from ..archive.test_ingest import noise, save_scene
from .conftest import Run


def test_words_need_a_model_with_a_text_side(run: Run, archive: Path) -> None:
    result = run("search", archive, "--text", "beach")
    assert result.code == 2
    assert f"the model of {archive}, {archive / 'model'} (mean-colour), has no text side: search by image" in result.err
    assert "terraseek train" in result.err


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


@pytest.mark.parametrize("way", ["rocchio", "logistic"])
def test_marks_are_the_same_here_and_in_python(run: Run, archive: Path, pictures: Path, way: str) -> None:
    ids = {Path(hit["source"]).stem: hit["id"] for hit in run("search", archive, "-k", 12, "--json").json["hits"]}
    right, wrong = (ids["sea0"], ids["sea1"]), (ids["roof0"], ids["sand0"])
    marks = [word for name in right for word in ("--like", name)] + [w for name in wrong for w in ("--not-like", name)]
    image = pictures / "sand1.png"
    told = run("search", archive, "--image", image, *marks, "--feedback", way, "--json").json
    retriever = Retriever(*open_archive(archive))
    found = retriever.search(Query(image=(image,), like=right, not_like=wrong, feedback=way))
    assert told == json.loads(json.dumps(found.to_json()))
    examples = retriever.search(Query(image=(image,), like=right, not_like=wrong))
    assert [hit.score for hit in found.hits] != [hit.score for hit in examples.hits]
    assert run("search", archive, "--image", image, "--feedback", way).code == 2


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


def tile(path: Path, row: int, column: int) -> np.ndarray:
    """The pixels of a picture on a contact sheet whose tiles are 112 pixels wide."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    left = 10 + column * 122 + (10 if column else 0)
    top = 10 + row * 166 + 26
    return pixels[top : top + 112, left : left + 112]


def test_a_sheet_shows_the_example_as_it_was_embedded(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(100, 400, 64).astype(np.uint16), (32, 64))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "deep.png")
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:, :32] = (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(upright).save(tmp_path / "plain.png")
    out = tmp_path / "sheet.png"

    assert run("search", archive, "--image", tmp_path / "deep.png", "--sheet", out).code == 0
    shown = tile(out, 0, 0)[40:72]
    assert shown[:, :8].mean() < 30
    assert shown[:, -8:].mean() > 225

    assert run("search", archive, "--image", tmp_path / "turned.jpg", "--sheet", out).code == 0
    shown = tile(out, 0, 0)[40:72]
    assert shown[:, 8:48, 0].mean() > 150  # the whole picture, upright and not squashed
    assert shown[:, 64:, 0].mean() < 30

    assert run("search", archive, "--image", tmp_path / "plain.png", "--crop", "0,0,32,32", "--sheet", out).code == 0
    assert tile(out, 0, 0)[..., 0].min() > 150


def test_a_sheet_draws_words_and_what_is_no_picture(archive: Path, tmp_path: Path) -> None:
    store = Archive.open(archive)
    ids = store.ids()
    (record,) = store.get(ids[:1])
    store.add([replace(record, thumbnail=b"II*\0 no picture")], store.vectors(ids[:1]))
    retriever = Retriever(store)
    sheet = page_sheet(retriever, retriever.search(Query(k=12)), Query(k=12, text=("a beach", "surf"), like=ids[1]))
    assert sheet.height == 10 + 3 * 166  # what was looked for, and twelve hits in two rows
    sheet.save(tmp_path / "sheet.png")
    for at in ((0, 0), (0, 1), (1, 1)):
        assert len(np.unique(tile(tmp_path / "sheet.png", *at).reshape(-1, 3), axis=0)) > 2, "nothing is written there"


def test_a_search_without_hits_answers_and_draws_nothing(run: Run, archive: Path, tmp_path: Path) -> None:
    found = run("search", archive, "--collection", "none", "--json", "--sheet", tmp_path / "sheet.png")
    assert found.code == 0
    assert found.json["hits"] == []
    assert "nothing to draw" in found.err
    assert not (tmp_path / "sheet.png").exists()
    wrong = run("search", archive, "--sheet", tmp_path / "sheet.xyz")
    assert (wrong.code, wrong.out) == (2, "")
    assert ".png" in wrong.err


NASTY = "a\u202eb\x9b31mc\x1b[31md\u2028e"


def test_a_filter_that_keeps_nothing_names_what_is_not_there(run: Run, archive: Path) -> None:
    for option, name, said in (
        ("--collection", "defalt", "did you mean 'default'?"),
        ("--where", "cloud_cover < 10", "no record has the property 'cloud_cover'"),
        ("--source", "nowhere.png", "no record is of the source 'nowhere.png'"),
    ):
        for command in (("search",), ("archive", "facets"), ("archive", "remove")):
            nothing = run(*command, archive, option, name)
            assert (nothing.code, said in nothing.err) == (0, True), nothing.err
    empty = run("archive", "export", archive, archive.parent / "none.csv", "--collection", "defalt")
    assert "did you mean 'default'?" in empty.err


def test_a_source_is_known_by_a_relative_path(
    run: Run, archive: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    (hit,) = run("search", archive, "--source", "sea0.png", "--json").json["hits"]
    assert hit["source"] == str(pictures / "sea0.png")
    assert run("archive", "remove", archive, "--source", "./sea0.png").out == "1 record removed\n"


def test_a_scene_is_an_example_as_it_is_a_source(run: Run, archive: Path, tmp_path: Path) -> None:
    scene = save_scene(tmp_path / "scene.tif", noise(64, 96, 5))
    how = ("--collection", "s2", "--chip", 32, "--band", "5", "--band", "2", "--band", "1")
    assert run("archive", "add", archive, scene, *how).code == 0
    sheet = tmp_path / "new" / "sheet.png"
    found = run("search", archive, "--image", scene, "--crop", "32,0,32,32", "-k", 1, "--json", "--sheet", sheet)
    assert (found.json["hits"][0]["score"], found.json["hits"][0]["window"]) == (1.0, [32, 0, 32, 32])
    assert run("search", archive, "--image", scene, "--sheet", sheet).code == 0
    assert tile(sheet, 0, 0).std() > 10


def test_what_records_at_large_score_is_said(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    query = ("search", archive, "--image", pictures / "sea0.png", "-k", 5)
    assert run(*query, "--json").json["spread"] is None  # a dozen records have no hundredth part
    assert "half of all records" not in run(*query).err
    store = Archive.open(archive)
    records = [Record(id=f"r{at:03d}", source="s") for at in range(100)]
    store.add(records, np.random.default_rng(0).standard_normal((100, store.dim)))
    spread = run(*query, "--labels-exact", "", "--json").json["spread"]
    assert spread["records"] == 112
    assert spread["median"] < spread["top_percent"] <= 1
    said = f"half of all records score above {spread['median']:.2f}, one in a hundred above {spread['top_percent']:.2f}"
    assert said in run(*query).err
    assert run(*query, "--compare", archive, "--sheet", tmp_path / "both.png").err.count(said) == 2


def test_text_from_data_never_speaks_to_the_terminal(run: Run, archive: Path, tmp_path: Path) -> None:
    store = Archive.open(archive)
    (record,) = store.get(store.ids()[:1])
    odd = replace(record, id="\u202eodd", labels=("=1+1\u202e", "naïve"), caption=NASTY, properties={"note": NASTY})
    store.add([odd], store.vectors([record.id]))
    query = ("search", archive, "--where", "id > 'z'")
    for form in ("--json", "--geojson", "--csv", None):
        found = run(*query, *([form] if form else []))
        assert found.code == 0
        bad = [c for c in found.out + found.err if not c.isprintable() and c != "\n"]
        assert not bad, (form, bad)
        assert "naïve" in found.out
    (hit,) = run(*query, "--json").json["hits"]
    assert (hit["id"], hit["caption"], hit["properties"]) == ("\u202eodd", NASTY, {"note": NASTY})
    missing = run("search", archive, "--like", NASTY)
    assert missing.code == 3
    assert missing.err.strip().isprintable()
    usage = run("search", archive, f"--{NASTY}")
    assert not {"\x1b", "\x9b", "\u202e"} & set(usage.err)


def test_none_of_an_unknown_label_warns_and_goes_on(run: Run, archive: Path) -> None:
    found = run("search", archive, "--labels-none", "baech", "--json")
    assert (found.code, found.json["matched"]) == (0, 12)
    assert found.err.startswith("WARNING: no record has the label 'baech'")


def test_labels_with_commas_stand_in_quotes(run: Run, archive: Path) -> None:
    store = Archive.open(archive)
    (record,) = store.get(store.ids()[:1])
    store.add([replace(record, labels=("Beaches, dunes, sands", "sea"))], store.vectors([record.id]))
    for names in ('"Beaches, dunes, sands"', 'sea, "Beaches, dunes, sands"', "sea"):
        assert run("search", archive, "--labels-all", names, "--json").json["matched"] == 1
    assert run("search", archive, "--labels-all", "Beaches, dunes, sands").code == 2
    assert run("search", archive, "--labels-all", '"Beaches').code == 2
    assert run("search", archive, "--labels-exact", "", "--json").json["matched"] == 11


@pytest.mark.parametrize("option", ["--labels-any", "--labels-none", "--predicted-all"])
def test_an_empty_list_of_labels_is_no_condition_that_all_pass(run: Run, archive: Path, option: str) -> None:
    result = run("archive", "remove", archive, "--collection", "default", option, " , ")
    assert result.code == 2
    assert f"{option} names no label" in result.err
    assert len(Archive.open(archive)) == 12


def test_a_deep_geometry_is_one_clear_line(run: Run, archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep.geojson"
    path.write_text('{"type":"GeometryCollection","geometries":[' * 50_000 + "]}" * 50_000)
    result = run("search", archive, "--within", path)
    assert result.code == 2
    assert "nested too deep" in result.err
    assert result.err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bbox", "1,2,3"), "4 are needed"),
        (("--bbox", "10,51,11,50"), "south 51 is above north 50"),
        (("--datetime", "yesterday"), "yesterday"),
        (("--where", "cloud_cover <"), "where"),
        (("--labels-any", "baech"), "baech"),
        (("--weight", "text"), "--weight"),
        (("--weight", "image=2"), "image has a weight and the search has no image"),
        (("--within", "nowhere.geojson"), "nowhere.geojson"),
        (("--image", "nowhere.png"), "nowhere.png"),
    ],
)
def test_bad_conditions_are_one_clear_line(run: Run, archive: Path, options: tuple[str, str], said: str) -> None:
    result = run("search", archive, *options)
    assert result.code in (2, 3)
    assert said in result.err
    assert result.err.strip().count("\n") == 0


def test_two_archives_side_by_side(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("archive", "create", other, "--model", archive / "model")
    run("archive", "add", other, pictures)
    found = run("search", archive, "--image", pictures / "sea0.png", "--compare", other, "-k", "5", "--json").json
    assert found["overlap"] == {"1": 1.0, "5": 1.0}
    assert found["rank_correlation"] == 1.0
    assert [hit["id"] for hit in found["first"]["hits"]] == [hit["id"] for hit in found["second"]["hits"]]
    sheet = tmp_path / "both.png"
    shown = run("search", archive, "--image", pictures / "sea0.png", "--compare", other, "-k", "5", "--sheet", sheet)
    assert shown.out.count("= sea") == 6
    assert "overlap 1.00 at 1, 1.00 at 5" in shown.err
    assert sheet.is_file()
    assert run("search", archive, "--compare", other, "--csv").code == 2
