from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.archive import Archive, Record
from terraseek.data import load_dataset, synthesize

from ..archive.test_ingest import save_scene
from .conftest import Run


def test_adding_again_changes_nothing(run: Run, archive: Path, pictures: Path) -> None:
    again = run("archive", "add", archive, pictures, "--json").json
    assert (again["added"], again["updated"], again["unchanged"]) == (0, 0, 12)
    assert run("archive", "status", archive, "--json").json["records"] == 12


def test_bad_files_are_listed_and_the_rest_goes_in(run: Run, archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8))
    picture.save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.quantize(16).save(folder / "palette.png")
    picture.save(folder / "wrong-extension.jpg", format="PNG")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(folder / "sixteen.png")

    result = run("archive", "add", archive, folder)
    assert result.code == 5
    for name in ("truncated.jpg", "empty.png", "text.jpg"):
        assert name in result.err
    for name in ("whole.jpg", "cmyk.jpg", "palette.png", "wrong-extension.jpg", "sixteen.png"):
        assert name not in result.err
    assert run("archive", "status", archive, "--json").json["records"] == 12 + 5

    report = run("archive", "add", archive, folder, "--json")
    assert report.code == 5
    assert {Path(item["source"]).name for item in report.json["refused"]} == {"truncated.jpg", "empty.png", "text.jpg"}


def test_an_archive_is_not_made_among_other_files(
    run: Run, make_model: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    model = make_model()
    before = sorted(pictures.iterdir())
    for dry in ((), ("--dry-run",)):
        refused = run("archive", "create", pictures, "--model", model, *dry)
        assert (refused.code, refused.out, refused.err.strip().count("\n")) == (2, "", 0)
        assert f"{pictures} is a folder of other files (grass0.png ...); an archive needs one of its own" in refused.err
    assert sorted(pictures.iterdir()) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".hidden").touch()
    assert run("archive", "create", empty, "--model", model).code == 0
    assert "there is an archive at" in run("archive", "create", empty, "--model", model).err
    # What a creation that was cut short has left is no other file.
    shutil.rmtree(empty / "records.lance")
    (empty / "notes.txt").write_text("mine")
    assert run("archive", "create", empty, "--model", model).code == 0


def test_a_folder_without_images_is_said_to_be_one(run: Run, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    result = run("archive", "add", archive, tmp_path / "empty")
    assert result.code == 0
    assert "nothing was found to add" in result.err
    assert "nothing was found" not in run("archive", "add", archive, tmp_path / "pictures").err
    save_scene(tmp_path / "sea.tif", np.zeros((64, 64, 3), np.uint8), nodata=0)
    sea = run("archive", "add", archive, tmp_path / "sea.tif")
    assert (sea.code, sea.err) == (0, "")
    assert sea.out.startswith("0 added, 0 updated, 0 removed, 1 scene without data, 0 sources unchanged")
    assert run("archive", "add", archive, tmp_path / "sea.tif", "--json").json["unchanged"] == 1
    (tmp_path / "empty" / "catalog.json").write_text('{"type": "Catalog", "stac_version": "1.0.0"}')
    result = run("archive", "add", archive, tmp_path / "empty")
    assert result.code == 0
    assert f"add {tmp_path / 'empty' / 'catalog.json'} by its own name" in result.err


def test_what_is_not_there_is_not_found_and_a_part_of_it_is_partial(
    run: Run, archive: Path, pictures: Path, tmp_path: Path
) -> None:
    nowhere, nothing = tmp_path / "nowhere", tmp_path / "nothing.tif"
    for dry in ((), ("--dry-run",)):
        none = run("archive", "add", archive, nowhere, nothing, "--json", *dry)
        assert (none.code, len(none.json["refused"])) == (3, 2)
        assert f"nothing is at {nowhere} and 1 other, so nothing was added" in none.err
    some = run("archive", "add", archive, nowhere, pictures)
    assert (some.code, "12 sources unchanged" in some.out) == (5, True)
    assert f"refused {nowhere}: no such file" in some.err
    # What is there and cannot be used is not missing, nor is what no file can be called.
    (tmp_path / "broken.png").write_bytes(b"")
    assert run("archive", "add", archive, tmp_path / "broken.png").code == 5
    assert run("archive", "add", archive, "https://nobody.example.org/a.tif").code == 5


def test_bands_that_do_not_fit_the_model_are_foreseen_or_named(
    run: Run, archive: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    save_scene(folder / "scene.tif", np.random.default_rng(2).integers(1, 4000, (64, 64, 4)).astype(np.uint16))
    Image.new("RGB", (8, 8), "navy").save(folder / "picture.png")
    for dry in ((), ("--dry-run",)):
        result = run("archive", "add", archive, folder, "--band", 1, "--band", 4, *dry)
        assert result.code == 2
        assert "2 bands are declared (1, 4), the model takes 3: name 3, in the model's order (--band" in result.err
    assert run("archive", "status", archive, "--json").json["records"] == 12

    grey = tmp_path / "grey"
    one = {"bands": 1, "mean": (127.0,), "std": (128.0,)}
    assert run("archive", "create", grey, "--model", make_model("grey-mean", **one)).code == 0
    result = run("archive", "add", grey, folder, "--band", 4)
    assert result.code == 5
    assert f"refused {folder / 'picture.png'}: it gives 3 bands, the model takes 1: " in result.err
    assert "1 added" in result.out
    other = ("--collection", "other")  # that one is declared with the one band
    result = run("archive", "add", grey, folder / "picture.png", folder / "scene.tif", *other)
    assert (result.code, result.err.count("it gives 3 bands")) == (5, 2)


def test_predicted_labels_are_kept_and_filtered_by_score(
    run: Run, make_model: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    uri = tmp_path / "predicted"
    run("archive", "create", uri, "--model", make_model("seer", concepts=("reddish", "greenish")))
    assert run("archive", "add", uri, pictures, "--predict-labels", "--min-score", "0.3").code == 0
    status = run("archive", "status", uri, "--json").json
    assert set(status["predicted"]) == {"reddish", "greenish"}
    assert status["labels"] == {}
    hits = run("search", uri, "--predicted-any", "reddish", "--min-score", "0.65", "--json").json["hits"]
    assert [hit["id"].startswith("sand") for hit in hits] == [True] * 3
    assert all(hit["predicted"]["reddish"] >= 0.65 for hit in hits)
    assert "reddish 0.6" in run("search", uri, "--predicted-any", "reddish").out
    assert "no record has the label 'reddish'" in run("search", uri, "--labels-any", "reddish").err


def test_labels_cannot_be_predicted_by_a_model_without_concepts(run: Run, archive: Path, pictures: Path) -> None:
    refused = run("archive", "add", archive, pictures, "--predict-labels")
    assert refused.code == 2
    assert "predicts no labels" in refused.err


def test_dry_run_writes_nothing(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(pictures / "sea0.png", more / "new.png")
    foreseen = run("archive", "add", archive, more, "--dry-run", "--json").json
    assert (foreseen["dry_run"], foreseen["added"]) == (True, 1)
    assert run("archive", "status", archive, "--json").json["records"] == 12


def test_another_model_is_refused(run: Run, archive: Path, pictures: Path, make_model: Callable[..., Path]) -> None:
    other = make_model("other", label_names=("sea", "sand"))
    for command in (("archive", "add", archive, pictures), ("search", archive, "--image", pictures / "sea0.png")):
        result = run(*command, "--model", other)
        assert result.code == 4
        assert "holds vectors of the model" in result.err


def test_the_archive_keeps_its_model(run: Run, archive: Path, pictures: Path, make_model: Callable[..., Path]) -> None:
    shutil.rmtree(archive.parent / "mean-colour")
    assert run("search", archive, "--image", pictures / "sea0.png", "-k", 1).code == 0


def test_a_flipped_bit_in_the_kept_model_is_named(run: Run, archive: Path, pictures: Path) -> None:
    network = archive / "model" / "image.onnx"
    data = bytearray(network.read_bytes())
    data[len(data) // 2] ^= 1
    network.write_bytes(data)
    for command in (("search", archive, "--image", pictures / "sea0.png"), ("archive", "verify", archive)):
        result = run(*command)
        assert result.code == 4
        assert "image.onnx" in result.err
        assert "archive repair" not in result.err


def test_remove_by_filter_then_compact(run: Run, archive: Path) -> None:
    assert run("archive", "remove", archive).code == 2
    foreseen = run("archive", "remove", archive, "--collection", "default", "--dry-run", "--json").json
    assert foreseen["removed"] == 12
    ids = [hit["id"] for hit in run("search", archive, "-k", 2, "--json").json["hits"]]
    assert run("archive", "remove", archive, *ids, "--json").json["removed"] == 2
    assert run("archive", "status", archive, "--json").json["records"] == 10
    assert run("archive", "compact", archive).code == 0


def test_removing_what_is_not_there_is_told(run: Run, archive: Path) -> None:
    ids = [hit["id"] for hit in run("search", archive, "-k", 2, "--json").json["hits"]]
    none = run("archive", "remove", archive, "nobody", "no one", "--json")
    assert (none.code, none.json["removed"], none.json["missing"]) == (3, 0, ["nobody", "no one"])
    assert "'nobody' and 1 other;" in none.err
    assert run("archive", "remove", archive, "nobody").out == ""
    some = run("archive", "remove", archive, ids[0], "nobody", ids[1], "--json")
    assert (some.code, some.json["removed"], some.json["missing"]) == (5, 2, ["nobody"])
    assert "nobody: no such record" in some.err
    assert run("archive", "status", archive, "--json").json["records"] == 10
    assert run("archive", "remove", archive, "--collection", "none").code == 0


def test_a_data_set_comes_in_with_labels_and_captions(run: Run, archive: Path, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    synthesize(scenes, images=20, seed=2, size=64)
    assert run("archive", "add", archive, "--dataset", "ucmerced-ml").code == 2
    assert run("archive", "add", archive, scenes, "--split", "test").code == 2
    assert run("archive", "add", archive).code == 2
    command = ("archive", "add", archive, "--dataset", "ucmerced-ml", "--root", scenes)
    assert run(*command, "--option", "seed=1").code == 2
    assert run(*command, "--option", "split=1").code == 2
    assert run(*command, "--collection", "").code != 0
    wrong = run(*command, "--split", "tset")
    assert (wrong.code, "did you mean 'test'" in wrong.err) == (2, True)
    data = load_dataset("ucmerced-ml", scenes)
    assert run(*command, "--split", "test", "--json").json["added"] == data.splits["test"]
    assert run(*command, "--json").json["added"] == 20 - data.splits["test"]
    found = {hit["id"]: hit for hit in run("search", archive, "--collection", "ucmerced-ml", "--json").json["hits"]}
    assert {name: tuple(hit["labels"]) for name, hit in found.items()} == {
        sample.id: tuple(sorted(sample.labels)) for sample in data.samples
    }
    counts = run("archive", "facets", archive, "--collection", "ucmerced-ml", "--json").json
    assert counts["labels"] == {
        name: n for name, n in zip(data.label_names, data.labels_NC.sum(axis=0).tolist(), strict=True) if n
    }
    assert (counts["matched"], counts["collections"]) == (20, {"ucmerced-ml": 20})
    next(scenes.rglob("*.tif")).write_bytes(b"")
    assert run(*command, "--refresh").code == 5


def test_captions_of_a_data_set_are_kept(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in pictures.iterdir())
    rows = ["path,labels,captions", *(f"{name},sea|water,a {name}|a second one" for name in names)]
    (pictures / "samples.csv").write_text("\n".join(rows) + "\n")
    options = ("--option", "labels=['water', 'sea']")
    told = run("archive", "add", archive, "--dataset", "table", "--root", pictures, *options)
    assert told.code == 0, told.err
    hits = run("search", archive, "--collection", "table", "-k", 20, "--json").json["hits"]
    assert {hit["caption"] for hit in hits} == {f"a {name}" for name in names}
    assert all(hit["properties"]["captions"] == [hit["caption"], "a second one"] for hit in hits)
    assert all(hit["labels"] == ["sea", "water"] for hit in hits)


def test_facets_and_duplicates(run: Run, archive: Path, pictures: Path, tmp_path: Path) -> None:
    twins = tmp_path / "twins"
    twins.mkdir()
    shutil.copy(pictures / "sea0.png", twins / "twin.png")
    assert run("archive", "add", archive, twins, "--collection", "twins").code == 0
    told = run("archive", "duplicates", archive, "--threshold", 1, "--json").json
    (group,) = (group for group in told["groups"] if any(name.startswith("twin-") for name in group["ids"]))
    assert (group["score"], told["threshold"]) == (1.0, 1.0)
    assert any(name.startswith("sea0-") for name in group["ids"])
    assert run("archive", "duplicates", archive, "--collection", "twins", "--json").json["groups"] == []
    table = run("archive", "duplicates", archive, "--threshold", 1)
    assert all(name in table.out for name in group["ids"])
    assert run("archive", "duplicates", archive, "--threshold", "2").code == 2
    assert "twins" in run("archive", "facets", archive).out
    store = Archive.open(archive)
    store.add([Record(id="old", source="s", datetime=datetime(1999, 1, 1, tzinfo=UTC))], np.ones((1, store.dim)))
    assert run("archive", "facets", archive, "--json").json["years"] == {"1999": 1}
    assert ["year", "1999", "1"] in [line.split() for line in run("archive", "facets", archive).out.splitlines()]


def test_status_is_readable_and_versioned(run: Run, archive: Path) -> None:
    status = run("archive", "status", archive, "--json").json
    assert status["schema"] == 1
    assert status["collections"] == {"default": 12}
    assert "12 from 12 sources" in run("archive", "status", archive).out


@pytest.mark.parametrize("option", ["chip=0", "no_such=1", "scaling.kind=bright", "size.x=1", "bands.x=1"])
def test_bad_chipping_is_named(run: Run, archive: Path, pictures: Path, option: str) -> None:
    result = run("archive", "add", archive, pictures, "--set", option)
    assert result.code == 2
    assert option.split("=")[0].split(".")[-1] in result.err


def test_verify_and_repair_a_sound_archive(run: Run, archive: Path) -> None:
    report = run("archive", "verify", archive, "--json").json
    assert (report["ok"], report["records"], report["intact"]) == (True, 12, 12)
    assert run("archive", "verify", archive).code == 0
    assert run("archive", "repair", archive, "--json").json["removed"] == []


def test_verify_names_damage_and_repair_ends_it(run: Run, archive: Path) -> None:
    data = max((archive / "records.lance" / "data").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    for at in range(len(content) // 4, len(content) // 2, 97):
        content[at] ^= 0xFF
    data.write_bytes(content)
    found = run("archive", "verify", archive)
    assert found.code == 4
    assert "archive repair" in found.err
    assert run("archive", "repair", archive).code == 0
    assert run("archive", "verify", archive).code == 0


def test_index_of_a_small_archive_is_refused_in_one_line(run: Run, archive: Path) -> None:
    result = run("archive", "index", archive)
    assert result.code == 2
    assert result.err.strip().count("\n") == 0


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_export_and_import_give_the_same_answers(
    run: Run, archive: Path, pictures: Path, tmp_path: Path, suffix: str
) -> None:
    out, copy = tmp_path / f"all{suffix}", tmp_path / "copy"
    assert run("archive", "export", archive, out, "--json").json["records"] == 12
    assert run("archive", "create", copy, "--model", archive / "model").code == 0
    assert run("archive", "import", copy, out, "--json").json["records"] == 12
    query = ("--image", pictures / "roof1.png", "-k", 12, "--json")
    first, second = (run("search", uri, *query).json["hits"] for uri in (archive, copy))
    assert [hit["id"] for hit in first] == [hit["id"] for hit in second]
    # What an ingest knows its sources by came along.
    assert run("archive", "add", copy, pictures, "--json").json["unchanged"] == 12


def test_what_only_an_ingest_reads_is_shown_nowhere(run: Run, archive: Path, tmp_path: Path) -> None:
    for form in ("--json", "--geojson", "--csv"):
        told = run("search", archive, "-k", 3, form)
        assert (told.code, "source_state" in told.out) == (0, False)
    for suffix in (".csv", ".geojson"):
        assert run("archive", "export", archive, tmp_path / f"all{suffix}").code == 0
        assert "source_state" not in (tmp_path / f"all{suffix}").read_text()
    run("archive", "export", archive, tmp_path / "all.json")
    [item, *_] = json.loads((tmp_path / "all.json").read_text())["features"]
    assert "source_state" not in item["properties"]
    assert item["properties"]["terraseek:properties"].keys() == {"source_state"}
    told = run("search", archive, "--where", "source_stat = 'x'")
    assert "no record has the property 'source_stat'" in told.err
    assert "source_state" not in told.err


def test_export_writes_the_format_that_is_asked_for(run: Run, archive: Path, tmp_path: Path) -> None:
    for name, *asked in (("a", "--stac"), ("b.csv", "--format", "stac"), ("c.geojson", "--stac", "--format", "stac")):
        assert run("archive", "export", archive, tmp_path / name, *asked, "--json").json["records"] == 12
        assert "emb:vector" in json.loads((tmp_path / name).read_text())["features"][0]["properties"]
    assert run("archive", "export", archive, tmp_path / "table.txt", "--format", "csv").code == 0
    assert (tmp_path / "table.txt").read_text().startswith("id,")
    for asked in (("--stac", "--format", "csv"), ("--format", "xml")):
        assert run("archive", "export", archive, tmp_path / "none.json", *asked).code == 2
    assert not (tmp_path / "none.json").exists()


def test_export_of_an_unknown_kind_is_refused(run: Run, archive: Path, tmp_path: Path) -> None:
    result = run("archive", "export", archive, tmp_path / "all.xyz")
    assert result.code == 2
    assert ".xyz" in result.err


@pytest.mark.parametrize("command", ["create", "create --dry-run", "status", "below"])
def test_a_file_is_no_place_for_an_archive(
    run: Run, make_model: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("not an archive", encoding="utf-8")
    if command == "status":
        result = run("archive", "status", place)
    elif command == "below":
        result = run("archive", "create", place / "coast", "--model", make_model())
    else:
        result = run("archive", *command.split(), place, "--model", make_model())
    assert result.code == 2
    assert f"{place} is a file" in result.err
    assert place.read_text(encoding="utf-8") == "not an archive"


def test_an_empty_text_is_no_place_for_an_archive(
    run: Run, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for command in (("create", "", "--model", model), ("status", " ")):
        result = run("archive", *command)
        assert (result.code, "has no name" in result.err) == (2, True)
    assert not list(Path.cwd().iterdir())


def test_an_unknown_scheme_is_a_mistake_of_usage(run: Run) -> None:
    result = run("archive", "status", "ftp://host/coast")
    assert result.code == 2
    assert "s3://, gs:// or az://" in result.err


def test_the_dry_run_of_an_index_foresees_that_it_is_refused(run: Run, archive: Path) -> None:
    for more in ((), ("--dry-run",)):
        result = run("archive", "index", archive, *more)
        assert (result.code, "at least 1000 records" in result.err) == (2, True)


def test_status_says_how_many_labels_it_leaves_out(run: Run, archive: Path) -> None:
    store = Archive.open(archive)
    labels = tuple(f"label-{at:02d}" for at in range(20))
    store.add([Record(id="r", source="s", labels=labels)], np.ones((1, store.dim)))
    shown = run("archive", "status", archive).out
    assert "label-11 1, and 8 more (see archive facets)" in shown
    assert "label-12" not in shown
